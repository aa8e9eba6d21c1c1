// test_std.c: the standard library: values of its functions, and its formats bit for bit.
//
// What is expected is computed here in double, from the definition; formats from the layouts of ggml's ggml-common.h
// and its quantize_row_*_ref.
#include "tests/unit/interp_case.h"

static double logistic(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double r_relu(double x) { return x > 0 ? x : 0; }
static double r_leaky(double x) { return x < 0 ? 0.01f * x : x; }
static double r_elu(double x) { return x < 0 ? expm1(x) : x; }
static double r_silu(double x) { return x * logistic(x); }
static double r_gelu(double x) { return 0.5 * x * erfc(-x / sqrt(2)); }
static double r_gelu_tanh(double x) { return x * logistic(2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)); }
static double r_softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }
static double r_mish(double x) { return x * tanh(r_softplus(x)); }
static double r_hardswish(double x) { return x * fmin(fmax(x + 3, 0), 6) / 6; }

typedef struct Scalar1 { const char *name; double (*f)(double); } Scalar1;
static const Scalar1 scalars[] = {
  {"relu", r_relu}, {"leaky_relu", r_leaky}, {"elu", r_elu}, {"sigmoid", logistic}, {"silu", r_silu}, {"gelu", r_gelu},
  {"gelu_tanh", r_gelu_tanh}, {"softplus", r_softplus}, {"mish", r_mish}, {"hardswish", r_hardswish},
};

// Finite arguments of any size give what the definition gives, to a few units; no overflow on the way.
START_TEST(scalar_functions_are_accurate_over_the_whole_range) {
  static const double x[] = {0, 1e-30, -1e-30, 1e-4, -1e-4, 0.5, -0.5, 1, -1, 2.5, -2.5, 7, -7, 12, -12, 30, -30, 87, -87, 100,
                             -100, 1e4, -1e4, 1e18, -1e18, 3e38, -3e38};
  enum { N = sizeof x / sizeof *x };
  for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
    char text[128];
    snprintf(text, sizeof text, "fn f(x: f32[N]) -> y: f32[N] { y = %s(x) }", scalars[i].name);
    Case c = case_of(text);
    put_doubles(&c, "x", DIMS(N), x, N);
    RUN(&c);
    for (int k = 0; k < N; k++) {
      double v = (float)x[k], want = (float)scalars[i].f(v), got = get(&c, "y", k);
      // 32 units of what is there, and what f32 holds no better: the argument of erfc and tanh is rounded, which
      // costs 2 u^2 units where the function falls as exp(-u^2)
      double slack = fabs(want) * 32 * 0x1p-24 * fmax(1, fmin(v * v, 200)) + 1e-37;
      ck_assert_msg(fabs(got - want) <= slack || got == want, "%s(%g) = %.9g, not %.9g", scalars[i].name, v, got, want);
    }
    case_end(&c);
  }
} END_TEST

START_TEST(logit_is_the_inverse_of_sigmoid) {
  Case c = case_of("fn f(p: f64[N]) -> y: f64[N] { y = sigmoid(logit(p)) }");
  static const double p[] = {1e-300, 1e-9, 0.25, 0.5, 0.75, 0.999999};
  put_doubles(&c, "p", DIMS(6), p, 6);
  RUN(&c);
  for (int k = 0; k < 6; k++) ck_assert_close(get(&c, "y", k), p[k], 1e-12);
  case_end(&c);
} END_TEST

// Rows.

START_TEST(softmax_sums_to_one_and_never_overflows) {
  Case c = case_of("fn f(x: f32[N, D]) -> (y: f32[N, D], l: f32[N], g: f32[N, D]) { y = softmax(x)  l = logsumexp(x)  g = log_softmax(x) }");
  const double x[] = {1, 2, 3, 300, 200, -300, -300, -301, -INFINITY, 1e38, 1e38, 0};
  put_doubles(&c, "x", DIMS(4, 3), x, 12);
  RUN(&c);
  for (int i = 0; i < 4; i++) {
    double m = fmax(fmax(x[3 * i], x[3 * i + 1]), x[3 * i + 2]), z = 0;
    for (int j = 0; j < 3; j++) z += exp(x[3 * i + j] - m);
    ck_assert_close(get(&c, "l", i), m + log(z), 1e-6);
    for (int j = 0; j < 3; j++) {
      ck_assert_close(get(&c, "y", 3 * i + j), exp(x[3 * i + j] - m) / z, 1e-5);
      ck_assert(!isnan(get(&c, "g", 3 * i + j)));
    }
  }
  case_end(&c);
} END_TEST

START_TEST(a_row_that_is_masked_out_is_zero_and_has_log_sum_minus_infinity) {
  Case c = case_of("fn f(x: f32[N, D]) -> (y: f32[N, D], l: f32[N], g: f32[N, D]) { y = softmax(x)  l = logsumexp(x)  g = log_softmax(x) }");
  PUT(&c, "x", DIMS(1, 2), -INFINITY, -INFINITY);
  RUN(&c);
  for (int j = 0; j < 2; j++) ck_assert(get(&c, "y", j) == 0 && get(&c, "g", j) == -INFINITY);
  ck_assert(get(&c, "l", 0) == -INFINITY);
  case_end(&c);
} END_TEST

START_TEST(variance_of_far_numbers_keeps_its_digits) {
  Case c = case_of("fn f(x: f32[N, D]) -> (v: f32[N], y: f32[N, D], r: f32[N, D]) { v = variance(x)  y = layer_norm(x)  r = rms_norm(x, 2) }");
  PUT(&c, "x", DIMS(1, 4), 1000001, 1000002, 1000003, 1000004);
  RUN(&c);
  ck_assert_close(get(&c, "v", 0), 1.25, 1e-6);             // of 1, 2, 3, 4
  for (int j = 0; j < 4; j++) ck_assert_close(get(&c, "y", j), (j - 1.5) / sqrt(1.25 + 1e-5), 1e-5);
  for (int j = 0; j < 4; j++) ck_assert_close(get(&c, "r", j), 2, 1e-5);
  case_end(&c);
} END_TEST

START_TEST(rows_are_normalised_summed_and_picked) {
  Case c = case_of("fn f(x: f32[N, D], i: i64[N]) -> (l: f32[N, D], s: f32[N, D], p: f32[N], e: f32[N])\n"
                   "{ l = l2_norm(x)  s = cumsum(x)  p = pick(x, i)  e = cross_entropy(x, i) }");
  PUT(&c, "x", DIMS(2, 3), 3, 4, 0, 0, 0, 0);
  PUT(&c, "i", DIMS(2), 1, 2);
  RUN(&c);
  const double l[] = {0.6, 0.8, 0, 0, 0, 0}, s[] = {3, 7, 7, 0, 0, 0};
  for (int k = 0; k < 6; k++) {
    ck_assert_close(get(&c, "l", k), l[k], 1e-6);
    ck_assert(get(&c, "s", k) == s[k]);
  }
  ck_assert(get(&c, "p", 0) == 4 && get(&c, "p", 1) == 0);
  ck_assert_close(get(&c, "e", 0), log(exp(3) + exp(4) + 1) - 4, 1e-6);
  ck_assert_close(get(&c, "e", 1), log(3), 1e-6);
  case_end(&c);
} END_TEST

// Contractions.

START_TEST(matmul_and_linear_contract) {
  Case c = case_of("fn f(a: f32[B, M, K], b: f32[B, K, N], w: f32[N, K]) -> (c: f32[B, M, N], d: f32[B, M, N])\n"
                   "{ c = matmul(a, b)  d = linear(a, w, 1) }");
  unsigned long long seed = 7;
  double a[2 * 3 * 4], b[2 * 4 * 5], w[5 * 4];
  put_random(&c, "a", DIMS(2, 3, 4), 1, &seed, a);
  put_random(&c, "b", DIMS(2, 4, 5), 1, &seed, b);
  put_random(&c, "w", DIMS(5, 4), 1, &seed, w);
  RUN(&c);
  for (int i = 0; i < 2; i++)
    for (int m = 0; m < 3; m++)
      for (int n = 0; n < 5; n++) {
        double s = 0, t = 1;
        for (int k = 0; k < 4; k++) s += a[(i * 3 + m) * 4 + k] * b[(i * 4 + k) * 5 + n],
            t += a[(i * 3 + m) * 4 + k] * w[n * 4 + k];
        ck_assert(fabs(get(&c, "c", (i * 3 + m) * 5 + n) - s) < 1e-6);
        ck_assert(fabs(get(&c, "d", (i * 3 + m) * 5 + n) - t) < 1e-6);
      }
  case_end(&c);
} END_TEST

// Two query heads share a head of keys; `causal`: query i of S sees keys 0 .. i + T - S.
static void attention_is(const char *name, bool causal) {
  enum { H = 2, S = 3, T = 5, E = 4 };
  char text[256];
  snprintf(text, sizeof text,
           "fn f(q: f32[B, H, S, E], k: f32[B, G, T, E], v: f32[B, G, T, E]) -> o: f32[B, H, S, E] where H %% G == 0, S <= T { o = %s(q, k, v) }", name);
  Case c = case_of(text);
  unsigned long long seed = 11;
  double q[H * S * E], k[T * E], v[T * E];
  put_random(&c, "q", DIMS(1, H, S, E), 2, &seed, q);
  put_random(&c, "k", DIMS(1, 1, T, E), 2, &seed, k);
  put_random(&c, "v", DIMS(1, 1, T, E), 2, &seed, v);
  RUN(&c);
  for (int h = 0; h < H; h++)
    for (int i = 0; i < S; i++) {
      double p[T], z = 0;
      int n = causal ? i + T - S + 1 : T;
      for (int j = 0; j < n; j++) {
        p[j] = 0;
        for (int e = 0; e < E; e++) p[j] += q[(h * S + i) * E + e] * k[j * E + e];
        z += p[j] = exp(p[j] / sqrt(E));
      }
      for (int e = 0; e < E; e++) {
        double o = 0;
        for (int j = 0; j < n; j++) o += p[j] / z * v[j * E + e];
        ck_assert(fabs(get(&c, "o", (h * S + i) * E + e) - o) < 1e-5);
      }
    }
  case_end(&c);
}

START_TEST(attention_weighs_values) {
  attention_is("attention", false);
  attention_is("causal_attention", true);
} END_TEST

START_TEST(rope_turns_pairs) {
  enum { T = 3, H = 2, E = 6 };
  for (int pairs = 0; pairs < 2; pairs++) {
    char text[160];
    snprintf(text, sizeof text, "fn f(x: f32[T, H, E], p: i32[T]) -> y: f32[T, H, E] where E %% 2 == 0 { y = %s(x, p, 100) }",
             pairs ? "rope_pairs" : "rope");
    Case c = case_of(text);
    unsigned long long seed = 5;
    double x[T * H * E], pos[] = {0, 3, 1000};
    put_random(&c, "x", DIMS(T, H, E), 1, &seed, x);
    put_doubles(&c, "p", DIMS(T), pos, T);
    RUN(&c);
    for (int r = 0; r < T * H; r++)
      for (int j = 0; j < E / 2; j++) {
        int a = r * E + (pairs ? 2 * j : j), b = r * E + (pairs ? 2 * j + 1 : j + E / 2);
        double angle = pos[r / H] * pow(100, -2.0 * j / E);
        ck_assert(fabs(get(&c, "y", a) - (x[a] * cos(angle) - x[b] * sin(angle))) < 2e-4);    // 1000 · 2^-23 radians
        ck_assert(fabs(get(&c, "y", b) - (x[b] * cos(angle) + x[a] * sin(angle))) < 2e-4);
      }
    case_end(&c);
  }
} END_TEST

// Formats: decoders of one block, from the layouts.

static float half(const uint8_t *b) { return (float)dtype_decode(DT_F16, b[0] | (uint64_t)b[1] << 8).f; }
static uint32_t word(const uint8_t *b) { return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24; }

static void d_q4_0(const uint8_t *b, float *x) {
  for (int j = 0; j < 16; j++) x[j] = half(b) * ((b[2 + j] & 15) - 8), x[j + 16] = half(b) * ((b[2 + j] >> 4) - 8);
}

static void d_q4_1(const uint8_t *b, float *x) {
  for (int j = 0; j < 16; j++) x[j] = half(b) * (b[4 + j] & 15) + half(b + 2),
      x[j + 16] = half(b) * (b[4 + j] >> 4) + half(b + 2);
}

static int fifth(uint32_t h, int j) { return (int)(h >> j & 1) << 4; }

static void d_q5_0(const uint8_t *b, float *x) {
  for (int j = 0; j < 16; j++) {
    x[j] = half(b) * (((b[6 + j] & 15) | fifth(word(b + 2), j)) - 16);
    x[j + 16] = half(b) * (((b[6 + j] >> 4) | fifth(word(b + 2), j + 16)) - 16);
  }
}

static void d_q5_1(const uint8_t *b, float *x) {
  for (int j = 0; j < 16; j++) {
    x[j] = half(b) * ((b[8 + j] & 15) | fifth(word(b + 4), j)) + half(b + 2);
    x[j + 16] = half(b) * ((b[8 + j] >> 4) | fifth(word(b + 4), j + 16)) + half(b + 2);
  }
}

static void d_q8_0(const uint8_t *b, float *x) {
  for (int j = 0; j < 32; j++) x[j] = half(b) * (int8_t)b[2 + j];
}

static void scale_min(int j, const uint8_t *s, int *sc, int *m) {
  *sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
  *m = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
}

static void d_qk(const uint8_t *b, float *x, const uint8_t *h, const uint8_t *q) {
  for (int c = 0, sub = 0; c < 4; c++)
    for (int high = 0; high < 2; high++, sub++)
      for (int l = 0; l < 32; l++) {
        int sc, m, v = high ? q[32 * c + l] >> 4 : q[32 * c + l] & 15;
        scale_min(sub, b + 4, &sc, &m);
        if (h) v += (h[l] >> sub & 1) << 4;
        x[64 * c + 32 * high + l] = half(b) * (float)sc * (float)v - half(b + 2) * (float)m;
      }
}

static void d_q4_k(const uint8_t *b, float *x) { d_qk(b, x, NULL, b + 16); }
static void d_q5_k(const uint8_t *b, float *x) { d_qk(b, x, b + 16, b + 48); }

static void d_q6_k(const uint8_t *b, float *x) {
  const uint8_t *ql = b, *qh = b + 128;
  const int8_t *sc = (const int8_t *)b + 192;
  float d = half(b + 208);
  for (int n = 0; n < 2; n++)
    for (int l = 0; l < 32; l++) {
      int h = qh[32 * n + l], lo = ql[64 * n + l], lo2 = ql[64 * n + l + 32], is = 8 * n + l / 16;
      x[128 * n + l] = d * sc[is] * (((lo & 15) | (h & 3) << 4) - 32);
      x[128 * n + l + 32] = d * sc[is + 2] * (((lo2 & 15) | (h >> 2 & 3) << 4) - 32);
      x[128 * n + l + 64] = d * sc[is + 4] * ((lo >> 4 | (h >> 4 & 3) << 4) - 32);
      x[128 * n + l + 96] = d * sc[is + 6] * ((lo2 >> 4 | (h >> 6) << 4) - 32);
    }
}

typedef struct Layout { const char *name; int block, bytes, halves[2]; void (*decode)(const uint8_t *, float *); } Layout;
static const Layout layouts[] = {       // halves: where the f16 fields stand
  {"q4_0", 32, 18, {0, 0}, d_q4_0}, {"q4_1", 32, 20, {0, 2}, d_q4_1}, {"q5_0", 32, 22, {0, 0}, d_q5_0},
  {"q5_1", 32, 24, {0, 2}, d_q5_1},
  {"q8_0", 32, 34, {0, 0}, d_q8_0}, {"q4_k", 256, 144, {0, 2}, d_q4_k}, {"q5_k", 256, 176, {0, 2}, d_q5_k},
  {"q6_k", 256, 210, {208, 208}, d_q6_k},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

START_TEST(formats_have_ggufs_layouts) {
  unsigned long long seed = 3;
  for (int f = 0; f < LAYOUTS; f++) {
    const Layout *w = &layouts[f];
    char text[128];
    snprintf(text, sizeof text, "fn f(x: %s[N, D]) -> y: f32[N, D] { y = x }", w->name);
    Case c = case_of(text);
    ck_assert_int_eq(c.f->formats.v[0]->bytes, w->bytes);
    ck_assert_int_eq(c.f->formats.v[0]->block, w->block);
    uint8_t *b = put_space(&c, "x", DIMS(8, 2 * w->block));
    for (int k = 0; k < 16 * w->bytes; k++) b[k] = (uint8_t)(unit_random(&seed) >> 40);
    for (int k = 0; k < 16; k++)                             // of modest size: exponents 8 to 15 of 31
      for (int h = 0; h < 2; h++) b[k * w->bytes + w->halves[h] + 1] = (uint8_t)((b[k * w->bytes + w->halves[h] + 1] & 0x9f) | 0x20);
    RUN(&c);
    for (int k = 0; k < 16; k++) {
      float x[256];
      w->decode(b + k * w->bytes, x);
      for (int i = 0; i < w->block; i++) ck_assert_msg(get(&c, "y", k * w->block + i) == (double)x[i], "%s[%d]", w->name, i);
    }
    case_end(&c);
  }
} END_TEST

// Encoders, after quantize_row_*_ref: the code of each value and the fields before it.

static void put_half(uint8_t *b, float x) {
  uint64_t bits = dtype_encode(DT_F16, (Scalar){.f = (double)x});
  b[0] = (uint8_t)bits, b[1] = (uint8_t)(bits >> 8);
}

static float extreme(const float *x) {
  float most = 0, at = 0;
  for (int k = 0; k < 32; k++)
    if (fabsf(x[k]) > most) most = fabsf(x[k]), at = x[k];
  return at;
}

static int at_most(int v, int most) { return v < most ? v : most; }

// Four and five bits, around zero: codes around `zero`.
static void e_around(const float *x, uint8_t *b, int zero, int head) {
  float d = extreme(x) / (float)-zero, id = d ? 1.0f / d : 0.0f;
  uint32_t h = 0;
  put_half(b, d);
  for (int j = 0; j < 16; j++) {
    int lo = at_most((int8_t)(x[j] * id + ((float)zero + 0.5f)),
                     2 * zero - 1), hi = at_most((int8_t)(x[j + 16] * id + ((float)zero + 0.5f)), 2 * zero - 1);
    b[head + j] = (uint8_t)((lo & 15) | (hi & 15) << 4);
    h |= (uint32_t)(lo >> 4 & 1) << j | (uint32_t)(hi >> 4 & 1) << (j + 16);
  }
  for (int k = 0; head > 2 && k < 4; k++) b[2 + k] = (uint8_t)(h >> 8 * k);
}

static void e_q4_0(const float *x, uint8_t *b) { e_around(x, b, 8, 2); }
static void e_q5_0(const float *x, uint8_t *b) { e_around(x, b, 16, 6); }

static void e_from(const float *x, uint8_t *b, int most, int head) {
  float lo = x[0], hi = x[0];
  for (int k = 0; k < 32; k++) lo = fminf(lo, x[k]), hi = fmaxf(hi, x[k]);
  float d = (hi - lo) / (float)most, id = d ? 1.0f / d : 0.0f;
  uint32_t h = 0;
  put_half(b, d);
  put_half(b + 2, lo);
  for (int j = 0; j < 16; j++) {
    int p = at_most((int)((x[j] - lo) * id + 0.5f), most), q = at_most((int)((x[j + 16] - lo) * id + 0.5f), most);
    b[head + j] = (uint8_t)((p & 15) | (q & 15) << 4);
    h |= (uint32_t)(p >> 4 & 1) << j | (uint32_t)(q >> 4 & 1) << (j + 16);
  }
  for (int k = 0; head > 4 && k < 4; k++) b[4 + k] = (uint8_t)(h >> 8 * k);
}

static void e_q4_1(const float *x, uint8_t *b) { e_from(x, b, 15, 4); }
static void e_q5_1(const float *x, uint8_t *b) { e_from(x, b, 31, 8); }

static void e_q8_0(const float *x, uint8_t *b) {
  float d = fabsf(extreme(x)) / 127, id = d ? 1.0f / d : 0.0f;
  put_half(b, d);
  for (int j = 0; j < 32; j++) b[2 + j] = (uint8_t)(int8_t)roundf(x[j] * id);
}

START_TEST(encoders_write_the_references_bytes) {
  static void (*const encode[])(const float *, uint8_t *) = {e_q4_0, e_q4_1, e_q5_0, e_q5_1, e_q8_0};
  unsigned long long seed = 9;
  for (int f = 0; f < 5; f++) {
    const Layout *w = &layouts[f];
    char text[128];
    snprintf(text, sizeof text, "fn f(x: f32[N, D]) -> y: %s[N, D] { y = x }", w->name);
    Case c = case_of(text);
    double x[64 * 32];
    put_random(&c, "x", DIMS(32, 64), 3, &seed, x);
    float *zero = c.params[0].data;
    for (int k = 0; k < 32; k++) zero[k] = 0, x[k] = 0;      // a block of zeros
    RUN(&c);
    for (int k = 0; k < 64; k++) {
      float v[32];
      uint8_t b[64];
      for (int i = 0; i < 32; i++) v[i] = (float)x[32 * k + i];
      encode[f](v, b);
      ck_assert_msg(memcmp(b, (const uint8_t *)result_data(&c, "y") + k * w->bytes, (size_t)w->bytes) == 0, "%s, block %d",
                    w->name, k);
    }
    case_end(&c);
  }
} END_TEST

int main(void) {
  const TTest *tests[] = {
    scalar_functions_are_accurate_over_the_whole_range, logit_is_the_inverse_of_sigmoid, softmax_sums_to_one_and_never_overflows,
    a_row_that_is_masked_out_is_zero_and_has_log_sum_minus_infinity, variance_of_far_numbers_keeps_its_digits,
    rows_are_normalised_summed_and_picked, matmul_and_linear_contract, attention_weighs_values, rope_turns_pairs,
    formats_have_ggufs_layouts, encoders_write_the_references_bytes,
  };
  return UNIT_RUN("std", tests);
}
