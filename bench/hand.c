// hand.c: cases written by hand, the mark to reach. Vector types, streaming stores, the next row fetched ahead.
//
// cc -O3 -march=native -fopenmp -shared -fPIC hand.c -o libhand.so -lm (bench/run.py does it)
//
// A kernel is hand_NAME(dims, in, out, nt): extents in the order of the program's dimensions (fixed ones first, as
// cases.py lists them: D, N), parameters and results in its order, and whether results go past the caches. Everything is
// float32; D is a multiple of 16, buffers are aligned to pages. The harness tries nt both ways and takes the faster.
#include "vector.h"
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define KERNEL(name) void hand_##name(const int64_t *dims, float *const *in, float *const *out, int nt)
#define TEXT(x) #x
#define OMP(x) _Pragma(TEXT(omp x))
#define PARALLEL(work) OMP(parallel for schedule(static) if (work > 32768))
#define AHEAD 2                   // rows are fetched into the second cache

void set_threads(int n) { omp_set_num_threads(n); }

// ---- Functions. Coefficients: bench/fit.py prints them.

// Within 1 ulp; 0 below -87.3, infinity above 88.7.
static inline V vexp(V x) {
#if defined(__AVX512F__)
  V n = (V)_mm512_roundscale_ps((__m512)(x * 1.442695041f), 8);
#else
  const V magic = all(12582912.0f);
  V n = x * 1.442695041f + magic - magic;
  n = smaller(larger(n, all(-127)), all(128));
#endif
  V r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V p = 0.001375135639f + (V){};
  p = p * r + 0.008368930514f;
  p = p * r + 0.04166953534f;
  p = p * r + 0.1666651834f;
  p = p * r + 0.4999998858f;
  p = p * (r * r) + (r + 1.0f);
#if defined(__AVX512F__)
  return (V)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  I half = __builtin_convertvector(n, I) >> 1, rest = __builtin_convertvector(n, I) - half;
  V y = p * bits((half + 127) << 23) * bits((rest + 127) << 23);
  return choose(x < -87.3f, all(0), y);
#endif
}

// Quotient and root by the estimate of 14 bits and a Newton step: within 2 ulp where nothing leaves the normal range, and
// faster than the instructions, which take 16 to 20 cycles for a vector on Intel's cores.
static inline V quotient(V a, V b) {
#if defined(__AVX512F__)
  V r = (V)_mm512_rcp14_ps((__m512)b);
  r = r * (2.0f - b * r);
  V q = a * r;
  return q + r * (a - b * q);
#else
  return a / b;
#endif
}

static inline V root(V x) {
#if defined(__AVX512F__)
  V r = (V)_mm512_rsqrt14_ps((__m512)x);
  V s = x * r, h = 0.5f * r;
  return s + h * (x - s * s);
#else
  for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// Absolute error below 1e-7.
static inline V verf(V x) {
  x = smaller(larger(x, all(-3.93f)), all(3.93f));
  V s = x * x, p = 1.981526286e-8f + (V){}, q = 0.00096389369f + (V){};
  p = p * s - 1.955369e-6f;
  p = p * s + 0.000142492475f;
  p = p * s + 0.0037367308f;
  p = p * s + 0.050689033303f;
  p = p * s + 0.200804975948f;
  p = p * s + 1.128379107f;
  q = q * s + 0.014426803795f;
  q = q * s + 0.115361265427f;
  q = q * s + 0.511290384377f;
  q = q * s + 1.0f;
  return quotient(x * p, q);
}

static inline V gelu_erf(V x) { return 0.5f * x * (1.0f + verf(x * 0.70710678f)); }
static inline V gelu_tanh(V x) { return quotient(x, 1.0f + vexp(smaller(-1.5957691216f * (x + 0.044715f * x * x * x), all(80)))); }
static inline V silu(V x) { return quotient(x, 1.0f + vexp(smaller(-x, all(80)))); }

static inline void put(float *p, V v, int nt) {
  if (nt) stream(p, v);
  else store(p, v);
}

// ---- Elementwise: one loop, told apart by its body. With streaming stores four pages at once: as many streams as the
// memory keeps open, which is half as fast again as one on some machines.

#define PAGE 1024
#define ELEMENTWISE(n, body)                                                                                         \
  if (nt) {                                                                                                          \
    PARALLEL(n) for (int64_t block = 0; block < n; block += 4 * PAGE) {                                              \
      if (block + 4 * PAGE <= n)                                                                                     \
        for (int64_t at = block; at < block + PAGE; at += LANES)                                                     \
          for (int64_t i = at; i < at + 4 * PAGE; i += PAGE) { V y; body; stream(out[0] + i, y); }                   \
      else                                                                                                           \
        for (int64_t i = block; i < n; i += LANES) { V y; body; stream(out[0] + i, y); }                             \
    }                                                                                                                \
    fence();                                                                                                         \
  } else {                                                                                                           \
    PARALLEL(n) for (int64_t i = 0; i < n; i += LANES) { V y; body; store(out[0] + i, y); }                          \
  }

KERNEL(chain20) {
  const int64_t n = dims[0];
  const float *x = in[0];
  ELEMENTWISE(n, V v = load(x + i); V a5 = root(magnitude(v * 1.1f + 0.3f) + 0.5f); V a7 = a5 * 0.7f - 0.2f;
              V a13 = smaller(larger(quotient(v, a7 * a7 + 1.0f) * 0.5f, all(-4)), all(4)); V a16 = (a13 + a5) * a13 - 0.25f;
              y = quotient(a16, magnitude(a16) + 2.0f) * 1.5f)
}

KERNEL(square_difference) {
  const int64_t n = dims[0];
  const float *p = in[0], *q = in[1];
  ELEMENTWISE(n, V a = load(p + i); V b = load(q + i); y = a * a + b * b - 2.0f * a * b)
}

KERNEL(swiglu) {
  const int64_t n = dims[0] * dims[1];
  const float *g = in[0], *u = in[1];
  ELEMENTWISE(n, y = silu(load(g + i)) * load(u + i))
}

KERNEL(geglu) {
  const int64_t n = dims[0] * dims[1];
  const float *g = in[0], *u = in[1];
  ELEMENTWISE(n, y = gelu_tanh(load(g + i)) * load(u + i))
}

#define ROWS(...)                                                                                                    \
  PARALLEL(n * d) for (int64_t r = 0; r < n; r++) { __VA_ARGS__ }                                                    \
  if (nt) fence();

#define BIAS(f)                                                                                                      \
  const int64_t d = dims[0], n = dims[1];                                                                            \
  const float *x = in[0], *b = in[1];                                                                                \
  float *y = out[0];                                                                                                 \
  if (nt) {                                                                                                          \
    ROWS(for (int64_t i = 0; i < d; i += LANES) stream(y + r * d + i, f(load(x + r * d + i) + load(b + i)));)        \
  } else {                                                                                                           \
    ROWS(for (int64_t i = 0; i < d; i += LANES) store(y + r * d + i, f(load(x + r * d + i) + load(b + i)));)         \
  }

KERNEL(bias_gelu_tanh) { BIAS(gelu_tanh) }
KERNEL(bias_gelu_erf) { BIAS(gelu_erf) }

// ---- Dropout: Philox-4x32-10 for eight counters at a time, one in each 64 bits; four numbers each.

typedef uint64_t W __attribute__((vector_size(64)));

static inline W times32(W a, uint32_t k) {
#if defined(__AVX512F__)
  return (W)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(k));
#else
  return (a & 0xffffffffu) * k;
#endif
}

// Words 0 to 31 that follow 4 * counter, in order.
static inline void philox8(uint64_t counter, uint64_t seed, I w[2]) {
  const W low = (W){} + 0xffffffffu, at = (W){0, 1, 2, 3, 4, 5, 6, 7} + counter;
  W c0 = at & low, c1 = at >> 32, c2 = {0}, c3 = {0};
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    W a = times32(c0, 0xD2511F53u), b = times32(c2, 0xCD9E8D57u);
    c0 = (b >> 32) ^ c1 ^ k0, c1 = b & low;
    c2 = (a >> 32) ^ c3 ^ k1, c3 = a & low;
  }
  W first = c0 | c1 << 32, second = c2 | c3 << 32;
  w[0] = (I)__builtin_shuffle(first, second, (W){0, 8, 1, 9, 2, 10, 3, 11});
  w[1] = (I)__builtin_shuffle(first, second, (W){4, 12, 5, 13, 6, 14, 7, 15});
}

// in[2]: p and the seed, an integer below 2^24, as floats.
KERNEL(dropout_residual) {
  const int64_t n = dims[0] * dims[1];
  const float *x = in[0], *res = in[1], p = in[2][0], keep = 1.0f / (1.0f - p);
  const int32_t limit = (int32_t)ceilf(p * 16777216.0f);
  const uint64_t seed = (uint64_t)in[2][1];
  float *y = out[0];
  PARALLEL(n) for (int64_t b = 0; b < n; b += 2 * LANES) {
    I w[2];
    philox8((uint64_t)b / 4, seed, w);
    for (int k = 0; k < 2 && b + k * LANES < n; k++) {
      const int64_t i = b + k * LANES;
      I number = (I)((w[k] >> 8) & 0xffffff);
      put(y + i, load(res + i) + choose(number < limit, all(0), load(x + i) * keep), nt);
    }
  }
  fence();
}

// ---- Rows

static inline void fetch(const float *row, int64_t i) { __builtin_prefetch(row + i, 0, AHEAD); }

// Two vectors at a time, so that one's latency hides behind the other's.
static inline float row_max(const float *x, int64_t d) {
  V m = load(x), k = m;
  int64_t i = LANES;
  for (; i + 2 * LANES <= d; i += 2 * LANES) m = larger(m, load(x + i)), k = larger(k, load(x + i + LANES));
  for (; i < d; i += LANES) m = larger(m, load(x + i));
  return max_lanes(larger(m, k));
}

// e[i] = exp(x[i] - m) where e is wanted; their sum. The row behind is fetched meanwhile.
static inline float row_exp(const float *x, float *e, float m, int64_t d) {
  V z = {0};
  for (int64_t i = 0; i < d; i += LANES) {
    V v = vexp(load(x + i) - m);
    fetch(x + d, i);
    if (e) store(e + i, v);
    z += v;
  }
  return sum_lanes(z);
}

static inline float row_sum(const float *x, int64_t d) {
  V s[4] = {{0}};
  int64_t i = 0;
  for (; i + 4 * LANES <= d; i += 4 * LANES)
    for (int k = 0; k < 4; k++) s[k] += load(x + i + k * LANES);
  for (; i < d; i += LANES) s[0] += load(x + i);
  return sum_lanes(s[0] + s[1] + (s[2] + s[3]));
}

// Parallel over rows with a row's room for each thread.
#define ROWS_WITH_ROOM(...)                                                                                          \
  _Pragma("omp parallel if (n * d > 32768)") {                                                                       \
    float *e = aligned_alloc(64, (size_t)d * sizeof(float));                                                         \
    _Pragma("omp for schedule(static)") for (int64_t r = 0; r < n; r++) { __VA_ARGS__ }                              \
    free(e);                                                                                                         \
    if (nt) fence();                                                                                                 \
  }

KERNEL(softmax) {
  const int64_t d = dims[0], n = dims[1];
  ROWS_WITH_ROOM(const float *x = in[0] + r * d; float *y = out[0] + r * d;
                 float z = 1.0f / row_exp(x, e, row_max(x, d), d);
                 for (int64_t i = 0; i < d; i += LANES) put(y + i, load(e + i) * z, nt);)
}

KERNEL(log_softmax) {
  const int64_t d = dims[0], n = dims[1];
  ROWS(const float *x = in[0] + r * d; float *y = out[0] + r * d; const float m = row_max(x, d);
       const float l = logf(row_exp(x, 0, m, d));
       for (int64_t i = 0; i < d; i += LANES) put(y + i, load(x + i) - m - l, nt);)
}

KERNEL(rms_norm) {
  const int64_t d = dims[0], n = dims[1];
  ROWS(const float *x = in[0] + r * d; const float *w = in[1]; float *y = out[0] + r * d; V s = {0}; V t = {0};
       int64_t i = 0;
       for (; i + 2 * LANES <= d; i += 2 * LANES) {
         V a = load(x + i); V b = load(x + i + LANES);
         s += a * a; t += b * b;
       }
       for (; i < d; i += LANES) s += load(x + i) * load(x + i);
       const float q = 1.0f / sqrtf(sum_lanes(s + t) / (float)d + 1e-5f);
       for (i = 0; i < d; i += LANES) {
         fetch(x + d, i);
         put(y + i, load(x + i) * q * load(w + i), nt);
       })
}

KERNEL(layer_norm_residual) {
  const int64_t d = dims[0], n = dims[1];
  ROWS_WITH_ROOM(const float *x = in[0] + r * d; const float *res = in[1] + r * d; const float *w = in[2];
                 const float *b = in[3]; float *s = out[0] + r * d; float *y = out[1] + r * d; V sum = {0}; V sq = {0};
                 for (int64_t i = 0; i < d; i += LANES) {
                   V a = load(x + i) + load(res + i);
                   store(e + i, a);
                   put(s + i, a, nt);
                   sum += a;
                 }
                 const float mu = sum_lanes(sum) / (float)d;
                 for (int64_t i = 0; i < d; i += LANES) {
                   V a = load(e + i) - mu;
                   fetch(x + d, i);
                   sq += a * a;
                 }
                 const float q = 1.0f / sqrtf(sum_lanes(sq) / (float)d + 1e-5f);
                 for (int64_t i = 0; i < d; i += LANES) {
                   fetch(res + d, i);
                   put(y + i, (load(e + i) - mu) * q * load(w + i) + load(b + i), nt);
                 })
}

// One pass over the row: the sum is rescaled where the maximum of a stretch exceeds what was before.
static inline float row_logsumexp(const float *x, int64_t d) {
  float m = -INFINITY, z = 0;
  for (int64_t at = 0; at < d; at += 1024) {
    const int64_t len = d - at < 1024 ? d - at : 1024;
    const float stretch = row_max(x + at, len), top = stretch > m ? stretch : m;
    V s = {0};
    for (int64_t i = 0; i < len; i += LANES) s += vexp(load(x + at + i) - top);
    z = (m == top ? z : z * expf(m - top)) + sum_lanes(s);
    m = top;
  }
  return m + logf(z);
}

KERNEL(logsumexp) {
  const int64_t d = dims[0], n = dims[1];
  nt = 0;
  ROWS(out[0][r] = row_logsumexp(in[0] + r * d, d);)
}

KERNEL(cross_entropy) {
  const int64_t d = dims[0], n = dims[1];
  const int32_t *target = (const int32_t *)in[1];
  nt = 0;
  ROWS(out[0][r] = row_logsumexp(in[0] + r * d, d) - in[0][r * d + target[r]];)
}

KERNEL(sum_rows) {
  const int64_t d = dims[0], n = dims[1];
  nt = 0;
  ROWS(out[0][r] = row_sum(in[0] + r * d, d);)
}

KERNEL(sum_all) {
  const int64_t d = dims[0], n = dims[1];
  float s = 0;
  (void)nt;
  _Pragma("omp parallel for schedule(static) reduction(+ : s) if (n * d > 32768)") for (int64_t r = 0; r < n; r++) s +=
      row_sum(in[0] + r * d, d);
  out[0][0] = s;
}

// Each thread has a range of rows, eight rows at a time into its own sums; they are added up at the end.
KERNEL(sum_columns) {
  const int64_t d = dims[0], n = dims[1];
  (void)nt;
  memset(out[0], 0, (size_t)d * sizeof(float));
  _Pragma("omp parallel if (n * d > 32768)") {
    float *s = aligned_alloc(64, (size_t)d * sizeof(float));
    memset(s, 0, (size_t)d * sizeof(float));
    _Pragma("omp for schedule(static)") for (int64_t b = 0; b < n; b += 8) {
      const int64_t rows = n - b < 8 ? n - b : 8;
      const float *x = in[0] + b * d;
      if (rows < 8)
        for (int64_t r = 0; r < rows; r++)
          for (int64_t i = 0; i < d; i += LANES) store(s + i, load(s + i) + load(x + r * d + i));
      else
        for (int64_t i = 0; i < d; i += LANES) {
          const float *p = x + i;
          V a = (load(p) + load(p + d)) + (load(p + 2 * d) + load(p + 3 * d));
          V c = (load(p + 4 * d) + load(p + 5 * d)) + (load(p + 6 * d) + load(p + 7 * d));
          store(s + i, load(s + i) + (a + c));
        }
    }
    _Pragma("omp critical") for (int64_t i = 0; i < d; i += LANES) store(out[0] + i, load(out[0] + i) + load(s + i));
    free(s);
  }
}

// The largest value by vectors, then the first place where it stands, looked for only in the stretch that has it.
KERNEL(argmax) {
  const int64_t d = dims[0], n = dims[1];
  int32_t *ix = (int32_t *)out[0];
  nt = 0;
  ROWS(const float *x = in[0] + r * d; float m = -INFINITY; int64_t where = 0;
       for (int64_t at = 0; at < d; at += 1024) {
         const float stretch = row_max(x + at, d - at < 1024 ? d - at : 1024);
         if (stretch > m) m = stretch, where = at;
       }
       while (x[where] != m) where++;
       ix[r] = (int32_t)where; out[1][r] = m;)
}

// ---- Transpose: 16 by 16 in registers, by tiles that read long stretches and fetch the tile behind them.

static const I low[4] = {
    {0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30},
    {0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29},
    {0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27},
    {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23}};
static const I high[4] = {
    {1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31},
    {2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31},
    {4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31},
    {8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31}};

// Four steps: pairs of rows a step apart exchange what lies off the diagonal.
static inline __attribute__((always_inline)) void transpose16(V v[16]) {
#pragma GCC unroll 4
  for (int s = 0; s < 4; s++)
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
      if (!(i & 1 << s)) {
        V a = v[i], b = v[i + (1 << s)];
        v[i] = __builtin_shuffle(a, b, low[s]);
        v[i + (1 << s)] = __builtin_shuffle(a, b, high[s]);
      }
}

// Rows j to j + 15 of x[D, N], columns i to i + 15, go to rows i to i + 15 of y[N, D].
static inline void transpose_tile(const float *x, const float *b, float *y, int64_t n, int64_t d, int nt) {
  V v[16];
#pragma GCC unroll 16
  for (int k = 0; k < 16; k++) v[k] = load(x + k * n);
  transpose16(v);
#pragma GCC unroll 16
  for (int k = 0; k < 16; k++) put(y + k * d, gelu_erf(v[k] + load(b)), nt);
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

KERNEL(transpose_bias_gelu) {
  const int64_t d = dims[0], n = dims[1], wide = n >= 4096 ? 512 : 64;      // columns of x that are read together
  const float *x = in[0], *b = in[1];
  PARALLEL(n * d) for (int64_t i = 0; i < n; i += wide)
    for (int64_t j = 0; j < d; j += 32) {
      for (int64_t k = j + 32; k < least(j + 64, d); k++)
        for (int64_t c = 0; c < wide; c += LANES) fetch(x + k * n + i, c);
      for (int64_t c = i; c < least(i + wide, n); c += 16)
        for (int64_t k = j; k < least(j + 32, d); k += 16) transpose_tile(x + k * n + c, b + k, out[0] + c * d + k, n, d, nt);
    }
  fence();
}

// ---- Scan: a prefix sum inside each vector by shifted additions, the total carried on.

static const I behind[4] = {
    {16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14},
    {16, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13},
    {16, 16, 16, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
    {16, 16, 16, 16, 16, 16, 16, 16, 0, 1, 2, 3, 4, 5, 6, 7}};

static inline V prefix(V v) {
#pragma GCC unroll 4
  for (int s = 0; s < 4; s++) v += __builtin_shuffle(v, (V){0}, behind[s]);
  return v;
}

KERNEL(cumsum) {
  const int64_t d = dims[0], n = dims[1];
  ROWS(const float *x = in[0] + r * d; float *y = out[0] + r * d; float carry = 0;
       for (int64_t i = 0; i < d; i += LANES) {
         V v = load(x + i); V p = prefix(v) + carry;
         fetch(x + d, i);
         put(y + i, p, nt);
         carry = p[LANES - 1];
       })
}
