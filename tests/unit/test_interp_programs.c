// test_interp_programs.c: the programs of the language page in the interpreter, against straight-line code in double.
//
// The two may differ by the bound that the interpreter gives, since exact arithmetic is one of the things that a
// compiler might come close to; and the bound must be small, or it would say nothing.
#include "tests/unit/interp_case.h"

static const Tensor *tensor_named(const Case *c, const char *name) {
  for (int k = 0; k < c->f->results.n; k++)
    if (strcmp(c->f->results.v[k]->name, name) == 0) return c->f->results.v[k];
  for (int k = 0; k < c->f->params.n; k++)
    if (strcmp(c->f->params.v[k]->name, name) == 0) return c->f->params.v[k];
  ck_abort_msg("no tensor %s", name);
  return NULL;
}

// Element k of `name` is `want`, rounded as stored, within its bound; and the bound is at most `loose`.
static void expect(Case *c, const char *name, int64_t k, double want, double loose) {
  Dtype t = tensor_named(c, name)->dtype;
  double v = get(c, name, k), b = bound(c, name, k);
  double rounded = dtype_is_float(t) ? dtype_cast((Scalar){.f = want}, DT_F64, t).f : want;
  ck_assert_msg(fabs(rounded - v) <= b, "%s[%lld] = %.9g, want %.9g: bound %.3g", name, (long long)k, v, want, b);
  ck_assert_msg(b <= loose, "%s[%lld] = %.9g has a loose bound: %.3g", name, (long long)k, v, b);
}

// Random q4_1 weights, as values in out.
static void put_q4_1(Case *c, const char *name, int rank, const int64_t *extent, unsigned long long *seed, double *out) {
  unsigned char *w = put_space(c, name, rank, extent);
  const Tensor *t;
  int64_t n = view_elements(param_view(c, name, &t));
  for (int64_t b = 0; b < n / 32; b++, w += 20) {
    f16_put(w, ldexp((double)(unit_random(seed) % 1024 + 1024), -14));       // 1/16 .. 1/8
    f16_put(w + 2, -ldexp((double)(unit_random(seed) % 1024 + 1024), -11));  // -1/2 .. -1
    for (int k = 0; k < 16; k++) w[4 + k] = (unsigned char)unit_random(seed);
    for (int k = 0; k < 32; k++) out[32 * b + k] = f16_value(w) * (k < 16 ? w[4 + k] & 15 : w[4 + k - 16] >> 4) + f16_value(w + 2);
  }
}

static double dot(const double *a, const double *b, int n) {
  double s = 0;
  for (int k = 0; k < n; k++) s += a[k] * b[k];
  return s;
}

static void rms_norm(const double *x, const double *w, int n, double eps, double *y) {
  double r = 1 / sqrt(dot(x, x, n) / n + eps);
  for (int k = 0; k < n; k++) y[k] = x[k] * r * w[k];
}

static void softmax(const double *x, int n, double *p) {
  double m = -INFINITY, z = 0;
  for (int k = 0; k < n; k++) m = fmax(m, x[k]);
  for (int k = 0; k < n; k++) z += p[k] = exp(x[k] - m);
  for (int k = 0; k < n; k++) p[k] /= z;
}

static double silu(double x) { return x / (1 + exp(-x)); }

START_TEST(rms_norm_program) {
  Case c = case_file("rms_norm");
  double x[3 * 40], w[40], y[40];
  unsigned long long seed = 1;
  put_random(&c, "x", DIMS(3, 40), 2, &seed, x);
  put_random(&c, "w", DIMS(40), 2, &seed, w);
  PUT_SCALAR(&c, "eps", 1e-5);
  RUN(&c);
  for (int i = 0; i < 3; i++) {
    rms_norm(x + 40 * i, w, 40, 1e-5, y);
    for (int j = 0; j < 40; j++) expect(&c, "y", 40 * i + j, y[j], 1e-5);
  }
  case_end(&c);
} END_TEST

START_TEST(attention_program) {
  enum { B = 2, H = 4, G = 2, S = 3, T = 6, E = 8 };
  Case c = case_file("attention");
  double q[B * H * S * E], k[B * G * T * E], v[B * G * T * E], a[T];
  unsigned long long seed = 2;
  put_random(&c, "q", DIMS(B, H, S, E), 2, &seed, q);
  put_random(&c, "k", DIMS(B, G, T, E), 2, &seed, k);
  put_random(&c, "v", DIMS(B, G, T, E), 2, &seed, v);
  RUN(&c);
  for (int b = 0; b < B; b++)
    for (int h = 0; h < H; h++)
      for (int i = 0; i < S; i++) {
        int g = b * G + h / (H / G);
        const double *row = q + ((b * H + h) * S + i) * E;
        for (int j = 0; j < T; j++) a[j] = dot(row, k + (g * T + j) * E, E) / sqrt(E);
        softmax(a, T, a);
        for (int e = 0; e < E; e++) {
          double o = 0;
          int at = ((b * H + h) * S + i) * E + e;
          for (int j = 0; j < T; j++) o += a[j] * v[(g * T + j) * E + e];
          expect(&c, "o", at, o, 0.03);                    // bf16: steps of 2^-8, functions within 2^-12
        }
      }
  case_end(&c);
} END_TEST

START_TEST(decode_program_looks_at_no_page_beyond_the_length) {
  enum { B = 2, H = 2, E = 4, P = 5, M = 3 };
  Case c = case_file("decode");
  double q[B * H * E], kp[P * 16 * H * E], vp[P * 16 * H * E], ks[P * 16 * H], vs[P * 16 * H], a[M * 16];
  const double page[B * M] = {3, -99, 77, 0, 4, 1}, len[B] = {11, 40};
  unsigned long long seed = 3;
  put_random(&c, "q", DIMS(B, H, E), 1, &seed, q);
  put_random(&c, "kp", DIMS(P, 16, H, E), 100, &seed, kp);
  put_random(&c, "vp", DIMS(P, 16, H, E), 100, &seed, vp);
  put_random(&c, "ks", DIMS(P, 16, H), 0.05, &seed, ks);
  put_random(&c, "vs", DIMS(P, 16, H), 0.05, &seed, vs);
  put_doubles(&c, "page", DIMS(B, M), page, B * M);
  put_doubles(&c, "len", DIMS(B), len, B);
  RUN(&c);
  for (int b = 0; b < B; b++)
    for (int h = 0; h < H; h++) {
      for (int t = 0; t < len[b]; t++) {
        int slot = ((int)page[b * M + t / 16] * 16 + t % 16) * H + h;
        a[t] = dot(q + (b * H + h) * E, kp + slot * E, E) * ks[slot] / sqrt(E);
      }
      softmax(a, (int)len[b], a);
      for (int e = 0; e < E; e++) {
        double o = 0;
        for (int t = 0; t < len[b]; t++) {
          int slot = ((int)page[b * M + t / 16] * 16 + t % 16) * H + h;
          o += a[t] * vp[slot * E + e] * vs[slot];
        }
        expect(&c, "o", (b * H + h) * E + e, o, 2e-3);     // f16: a step
      }
    }
  case_end(&c);
} END_TEST

START_TEST(mlp_in_program) {
  enum { N = 2, D = 64, F = 3 };
  Case c = case_file("mlp_in");
  double x[N * D], r[N * D], g[D], w1[F * D], w3[F * D], s[D], h[D];
  unsigned long long seed = 4;
  put_random(&c, "x", DIMS(N, D), 2, &seed, x);
  put_random(&c, "r", DIMS(N, D), 2, &seed, r);
  put_random(&c, "g", DIMS(D), 2, &seed, g);
  put_q4_1(&c, "w1", DIMS(F, D), &seed, w1);
  put_q4_1(&c, "w3", DIMS(F, D), &seed, w3);
  RUN(&c);
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < D; j++) {
      s[j] = (double)((float)x[i * D + j] + (float)r[i * D + j]);
      ck_assert(get(&c, "s", i * D + j) == s[j] && bound(&c, "s", i * D + j) == 0);
    }
    rms_norm(s, g, D, 1e-5, h);
    for (int o = 0; o < F; o++) expect(&c, "y", i * F + o, silu(dot(h, w1 + o * D, D)) * dot(h, w3 + o * D, D), 0.03);
  }
  case_end(&c);
} END_TEST

START_TEST(dropout_add_program) {
  enum { N = 5, D = 13 };
  Case c = case_file("dropout_add");
  double x[N * D], r[N * D];
  unsigned long long seed = 5;
  put_random(&c, "x", DIMS(N, D), 2, &seed, x);
  put_random(&c, "r", DIMS(N, D), 2, &seed, r);
  PUT_SCALAR(&c, "p", 0.25);
  PUT_SCALAR(&c, "seed", 123456789);
  RUN(&c);
  int dropped = 0;
  for (int k = 0; k < N * D; k++) {
    bool drop = philox_uniform(123456789, k) < 0.25;
    expect(&c, "y", k, r[k] + (drop ? 0 : x[k] / 0.75), 0.02);
    dropped += drop;
  }
  ck_assert(dropped > 5 && dropped < 30);
  case_end(&c);
} END_TEST

START_TEST(spmv_program) {
  Case c = case_file("spmv");
  const double row[] = {0, 2, 2, 5}, col[] = {4, 0, 1, 1, 3};
  double val[5], x[6];
  unsigned long long seed = 6;
  put_doubles(&c, "row", DIMS(4), row, 4);
  put_doubles(&c, "col", DIMS(5), col, 5);
  put_random(&c, "val", DIMS(5), 2, &seed, val);
  put_random(&c, "x", DIMS(6), 2, &seed, x);
  RUN(&c);
  for (int r = 0; r < 3; r++) {
    double y = 0;
    for (int p = (int)row[r]; p < row[r + 1]; p++) y += val[p] * x[(int)col[p]];
    expect(&c, "y", r, y, 4e-6);
  }
  ck_assert(get(&c, "y", 1) == 0 && bound(&c, "y", 1) == 0);
  case_end(&c);
} END_TEST

START_TEST(sparse24_program) {
  enum { O = 4, G = 5 };
  Case c = case_file("sparse24");
  double val[O * G * 2], pos[O * G], x[G * 4];
  unsigned long long seed = 7;
  put_random(&c, "val", DIMS(O, G, 2), 2, &seed, val);
  put_random(&c, "x", DIMS(G * 4), 2, &seed, x);
  for (int k = 0; k < O * G; k++) pos[k] = (double)(unit_random(&seed) % 16);
  put_doubles(&c, "pos", DIMS(O, G), pos, O * G);
  RUN(&c);
  for (int o = 0; o < O; o++) {
    double y = 0;
    for (int g = 0; g < G; g++)
      for (int s = 0; s < 2; s++) y += val[(o * G + g) * 2 + s] * x[4 * g + ((int)pos[o * G + g] >> 2 * s & 3)];
    expect(&c, "y", o, y, 0.01);
  }
  case_end(&c);
} END_TEST

START_TEST(conv3_program) {
  enum { C = 2, N = 5, O = 3 };
  Case c = case_file("conv3");
  double x[C * N], w[O * C * 3];
  unsigned long long seed = 8;
  put_random(&c, "x", DIMS(C, N), 2, &seed, x);
  put_random(&c, "w", DIMS(O, C, 3), 2, &seed, w);
  RUN(&c);
  for (int o = 0; o < O; o++)
    for (int i = 0; i < N; i++) {
      double y = 0;
      for (int k = 0; k < C * 3; k++) {
        int at = i + k % 3 - 1;
        if (at >= 0 && at < N) y += w[o * C * 3 + k] * x[k / 3 * N + at];
      }
      expect(&c, "y", o * N + i, y, 2e-5);
    }
  case_end(&c);
} END_TEST

START_TEST(append_program) {
  enum { B = 3, S = 4, H = 2, E = 3 };
  Case c = case_file("append");
  double cache[B * S * H * E], k[B * H * E];
  const double pos[B] = {2, -1, 0};
  unsigned long long seed = 9;
  put_random(&c, "cache", DIMS(B, S, H, E), 2, &seed, cache);
  put_random(&c, "k", DIMS(B, H, E), 2, &seed, k);
  put_doubles(&c, "pos", DIMS(B), pos, B);
  RUN(&c);
  for (int b = 0; b < B; b++)
    for (int i = 0; i < H * E; i++)
      if (pos[b] >= 0) cache[(b * S + (int)pos[b]) * H * E + i] = k[b * H * E + i];
  for (int i = 0; i < B * S * H * E; i++) ck_assert(get(&c, "cache", i) == cache[i] && bound(&c, "cache", i) == 0);
  case_end(&c);
} END_TEST

// Neighbours turned by pos / base^(2 j / E).
static void rope_pairs(double *x, int n, int pos) {
  for (int j = 0; j < n / 2; j++) {
    double angle = pos * pow(100000, -2.0 * j / n), a = x[2 * j], b = x[2 * j + 1];
    x[2 * j] = a * cos(angle) - b * sin(angle);
    x[2 * j + 1] = b * cos(angle) + a * sin(angle);
  }
}

enum { LB = 2, LD = 32, LH = 4, LG = 2, LE = 8, LF = 32, LS = 6 };

static double f16_rounded(double x) { return dtype_cast((Scalar){.f = x}, DT_F64, DT_F16).f; }

// One sequence through the layer; its caches kc and vc (of positions, groups, elements) are changed.
static void layer(const double *x, const double *g1, double *const *w, const double *g2, double *kc, double *vc, int pos, double *y) {
  double n[LD], q[LH * LE], o[LH * LE], a[LS], u[LD], f[LF];
  rms_norm(x, g1, LD, 1e-5, n);
  for (int k = 0; k < LH * LE; k++) q[k] = dot(n, w[0] + k * LD, LD);
  for (int h = 0; h < LH; h++) rope_pairs(q + h * LE, LE, pos);
  for (int g = 0; g < LG; g++) {
    double k[LE];
    for (int e = 0; e < LE; e++) k[e] = dot(n, w[1] + (g * LE + e) * LD, LD);
    rope_pairs(k, LE, pos);
    for (int e = 0; e < LE; e++) {
      kc[(pos * LG + g) * LE + e] = f16_rounded(k[e]);
      vc[(pos * LG + g) * LE + e] = f16_rounded(dot(n, w[2] + (g * LE + e) * LD, LD));
    }
  }
  for (int h = 0; h < LH; h++) {
    int g = h / (LH / LG);
    for (int t = 0; t <= pos; t++) a[t] = dot(q + h * LE, kc + (t * LG + g) * LE, LE) / sqrt(LE);
    softmax(a, pos + 1, a);
    for (int e = 0; e < LE; e++) {
      o[h * LE + e] = 0;
      for (int t = 0; t <= pos; t++) o[h * LE + e] += a[t] * vc[(t * LG + g) * LE + e];
    }
  }
  for (int i = 0; i < LD; i++) y[i] = x[i] + dot(o, w[3] + i * LH * LE, LH * LE);
  rms_norm(y, g2, LD, 1e-5, u);
  for (int j = 0; j < LF; j++) f[j] = silu(dot(u, w[4] + j * LD, LD)) * dot(u, w[5] + j * LD, LD);
  for (int i = 0; i < LD; i++) y[i] += dot(f, w[6] + i * LF, LF);
}

START_TEST(layer_program) {
  Case c = case_file("layer");
  static double x[LB * LD], g1[LD], g2[LD], kc[LB * LS * LG * LE], vc[LB * LS * LG * LE], weights[7][LF * LD * 4], y[LD];
  double *w[7];
  const char *const names[] = {"wq", "wk", "wv", "wo", "w1", "w3", "w2"};
  const int64_t extents[][2] = {{LH * LE, LD}, {LG * LE, LD}, {LG * LE, LD}, {LD, LH * LE}, {LF, LD}, {LF, LD}, {LD, LF}};
  const double pos[LB] = {3, 0};
  unsigned long long seed = 10;
  put_random(&c, "x", DIMS(LB, LD), 1, &seed, x);
  put_random(&c, "g1", DIMS(LD), 0.3, &seed, g1);
  put_random(&c, "g2", DIMS(LD), 0.3, &seed, g2);
  put_random(&c, "kc", DIMS(LB, LS, LG, LE), 1, &seed, kc);
  put_random(&c, "vc", DIMS(LB, LS, LG, LE), 1, &seed, vc);
  for (int k = 0; k < 7; k++) put_q4_1(&c, names[k], 2, extents[k], &seed, w[k] = weights[k]);
  put_doubles(&c, "pos", DIMS(LB), pos, LB);
  RUN(&c);
  enum { CACHE = LS * LG * LE };
  for (int b = 0; b < LB; b++) {
    layer(x + b * LD, g1, w, g2, kc + b * CACHE, vc + b * CACHE, (int)pos[b], y);
    for (int k = 0; k < CACHE; k++) {
      double step = 2e-3;                                  // f16, of numbers up to 4
      ck_assert(fabs(get(&c, "kc", b * CACHE + k) - kc[b * CACHE + k]) <= fmin(bound(&c, "kc", b * CACHE + k), step));
      ck_assert(fabs(get(&c, "vc", b * CACHE + k) - vc[b * CACHE + k]) <= fmin(bound(&c, "vc", b * CACHE + k), step));
    }
    for (int i = 0; i < LD; i++) {
      int at = b * LD + i;
      ck_assert(fabs(get(&c, "y", at) - y[i]) <= bound(&c, "y", at));
      ck_assert_close(get(&c, "y", at), y[i], 5e-3);
    }
  }
  case_end(&c);
} END_TEST

START_TEST(next_token_program) {
  enum { B = 3, D = 64, V = 20 };
  Case c = case_file("next_token");
  double x[B * D], g[D], w[V * D], n[D];
  unsigned long long seed = 11;
  put_random(&c, "x", DIMS(B, D), 1, &seed, x);
  put_random(&c, "g", DIMS(D), 1, &seed, g);
  unsigned char *block = put_space(&c, "w", DIMS(V, D));
  for (int b = 0; b < V * D / 32; b++, block += 34) {
    f16_put(block, ldexp((double)(unit_random(&seed) % 1024 + 1024), -18));
    for (int k = 0; k < 32; k++) {
      block[2 + k] = (unsigned char)unit_random(&seed);
      w[32 * b + k] = f16_value(block) * (signed char)block[2 + k];
    }
  }
  RUN(&c);
  for (int b = 0; b < B; b++) {
    int best = 0;
    rms_norm(x + b * D, g, D, 1e-5, n);
    for (int v = 1; v < V; v++)
      if (dot(n, w + v * D, D) > dot(n, w + best * D, D)) best = v;
    expect(&c, "next", b, best, 0);
  }
  case_end(&c);
} END_TEST

START_TEST(moe_program) {
  enum { T = 3, D = 32, X = 5, F = 32, K = 2 };
  Case c = case_file("moe");
  static double x[T * D], wr[X * D], w1[X * F * D], w3[X * F * D], w2[X * D * F], s[X], f[F];
  unsigned long long seed = 12;
  put_random(&c, "x", DIMS(T, D), 0.5, &seed, x);
  put_random(&c, "wr", DIMS(X, D), 1, &seed, wr);
  put_q4_1(&c, "w1", DIMS(X, F, D), &seed, w1);
  put_q4_1(&c, "w3", DIMS(X, F, D), &seed, w3);
  put_q4_1(&c, "w2", DIMS(X, D, F), &seed, w2);
  PUT_SCALAR(&c, "k", K);
  RUN(&c);
  for (int t = 0; t < T; t++) {
    int top[K];
    double z = 0, y[D] = {0};
    for (int e = 0; e < X; e++) s[e] = dot(x + t * D, wr + e * D, D);
    softmax(s, X, s);
    for (int r = 0; r < K; r++) {
      top[r] = -1;
      for (int e = 0; e < X; e++)
        if (!(r && e == top[0]) && (top[r] < 0 || s[e] > s[top[r]])) top[r] = e;
      z += s[top[r]];
    }
    for (int r = 0; r < K; r++) {
      const double *a = w1 + top[r] * F * D, *b = w3 + top[r] * F * D, *d = w2 + top[r] * D * F;
      for (int j = 0; j < F; j++) f[j] = silu(dot(x + t * D, a + j * D, D)) * dot(x + t * D, b + j * D, D);
      for (int i = 0; i < D; i++) y[i] += s[top[r]] / z * dot(f, d + i * F, F);
    }
    for (int i = 0; i < D; i++) expect(&c, "y", t * D + i, y[i], 1e-2);
  }
  case_end(&c);
} END_TEST

START_TEST(gated_delta_program) {
  enum { T = 7, K = 4, E = 3 };
  Case c = case_file("gated_delta");
  double q[T * K], k[T * K], v[T * E], g[T], beta[T], s[K][E] = {{0}};
  unsigned long long seed = 13;
  put_random(&c, "q", DIMS(T, K), 1, &seed, q);
  put_random(&c, "k", DIMS(T, K), 0.7, &seed, k);
  put_random(&c, "v", DIMS(T, E), 1, &seed, v);
  put_random(&c, "g", DIMS(T), 1, &seed, g);
  put_random(&c, "beta", DIMS(T), 1, &seed, beta);
  RUN(&c);
  for (int t = 0; t < T; t++)
    for (int j = 0; j < E; j++) {
      double seen = 0, o = 0;
      for (int m = 0; m < K; m++) seen += k[t * K + m] * s[m][j];
      for (int i = 0; i < K; i++) {
        s[i][j] = g[t] * s[i][j] + beta[t] * k[t * K + i] * (v[t * E + j] - g[t] * seen);
        o += q[t * K + i] * s[i][j];
      }
      expect(&c, "o", t * E + j, o, 1e-4);
    }
  case_end(&c);
} END_TEST

START_TEST(layer_norm_grad_program) {
  enum { N = 4, D = 24 };
  Case c = case_file("layer_norm_grad");
  double x[N * D], w[D], dy[N * D], dw[D] = {0}, db[D] = {0}, h[D], g[D];
  unsigned long long seed = 14;
  put_random(&c, "x", DIMS(N, D), 2, &seed, x);
  put_random(&c, "w", DIMS(D), 1, &seed, w);
  put_random(&c, "dy", DIMS(N, D), 1, &seed, dy);
  RUN(&c);
  for (int i = 0; i < N; i++) {
    double mu = 0, var = 0, c1 = 0, c2 = 0;
    for (int j = 0; j < D; j++) mu += x[i * D + j] / D;
    for (int j = 0; j < D; j++) var += (x[i * D + j] - mu) * (x[i * D + j] - mu) / D;
    double r = 1 / sqrt(var + 1e-5);
    for (int j = 0; j < D; j++) {
      h[j] = (x[i * D + j] - mu) * r;
      g[j] = dy[i * D + j] * w[j];
      c1 += g[j] / D;
      c2 += g[j] * h[j] / D;
      dw[j] += dy[i * D + j] * h[j];
      db[j] += dy[i * D + j];
    }
    for (int j = 0; j < D; j++) expect(&c, "dx", i * D + j, r * (g[j] - c1 - h[j] * c2), 1e-4);
  }
  for (int j = 0; j < D; j++) {
    expect(&c, "dw", j, dw[j], 1e-4);
    expect(&c, "db", j, db[j], 2e-6);
  }
  case_end(&c);
} END_TEST

START_TEST(cross_entropy_program) {
  enum { N = 4, V = 50 };
  Case c = case_file("cross_entropy");
  double x[N * V];
  const double target[N] = {0, 49, 7, 7};
  unsigned long long seed = 15;
  put_random(&c, "logits", DIMS(N, V), 5, &seed, x);
  put_doubles(&c, "target", DIMS(N), target, N);
  RUN(&c);
  for (int i = 0; i < N; i++) {
    double z = 0;
    for (int v = 0; v < V; v++) z += exp(x[i * V + v]);
    expect(&c, "loss", i, log(z) - x[i * V + (int)target[i]], 3e-5);
  }
  case_end(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    rms_norm_program, attention_program, decode_program_looks_at_no_page_beyond_the_length, mlp_in_program,
    dropout_add_program, spmv_program, sparse24_program, conv3_program, append_program, layer_program, next_token_program,
    moe_program, gated_delta_program, layer_norm_grad_program, cross_entropy_program};
  return UNIT_RUN("interp_programs", tests);
}
