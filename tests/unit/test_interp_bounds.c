// test_interp_bounds.c: bounds on |compiled - interpreted|: they hold for what a compiler may do (other orders,
// contraction, moved factors, one-pass forms, functions that are 4 ulp off), and they are tight enough for tests to fail.
#include "tests/unit/interp_case.h"

static Case bounded(const char *text) {
  Case c = case_of(text);
  c.with_bounds = true;
  return c;
}

// Within the bound, and the bound within `rel` of the value.
#define HOLDS(c, name, k, compiled, rel)                                                                             \
  do {                                                                                                               \
    double v_ = get(c, name, k), b_ = bound(c, name, k), d_ = fabs((double)(compiled) - v_);                         \
    ck_assert_msg(d_ <= b_, "%s[%d]: interpreted %.9g, compiled %.9g: %.3g apart, bound %.3g", name, (int)(k), v_,   \
                  (double)(compiled), d_, b_);                                                                       \
    ck_assert_msg(b_ <= (rel) * fabs(v_), "%s[%d]: bound %.3g of value %.9g is loose", name, (int)(k), b_, v_);      \
  } while (0)

// A value up to `units` units in the last place away.
static float off_by(double x, double units, unsigned long long *seed) {
  float f = (float)x;
  double ulp = (double)nextafterf(fabsf(f), INFINITY) - (double)fabsf(f);
  return (float)(x + (2 * ((double)(unit_random(seed) >> 11) * 0x1p-53) - 1) * (units - .5) * ulp);
}

// The sum of n floats, added in a random order and grouping.
static float sum_anyhow(const float *x, int n, unsigned long long *seed) {
  float t[512];
  memcpy(t, x, (size_t)n * sizeof *t);
  while (n > 1) {
    int i = (int)(unit_random(seed) % (unsigned)n), j = (int)(unit_random(seed) % (unsigned)(n - 1));
    if (j >= i) j++;
    t[i < j ? i : j] = t[i] + t[j];
    t[i < j ? j : i] = t[--n];
  }
  return n ? t[0] : 0;
}

// ---- exactness

START_TEST(one_operation_on_exact_values_is_exact) {
  Case c = bounded("fn f(x: f32[N], w: f32[N]) -> (a: f32[N], b: f32[N], d: f32[N], e: f16[N], g: f32[N], h: bool[N])\n"
                   "{ a[i] = x[i] + w[i]  b[i] = x[i] * w[i]  d[i] = x[i] / w[i]  e[i] = x[i] - w[i]  g[i] = max(x[i], sqrt(abs(w[i])))  h[i] = x[i] < w[i] }");
  unsigned long long seed = 1;
  put_random(&c, "x", DIMS(40), 9, &seed, NULL);
  put_random(&c, "w", DIMS(40), 9, &seed, NULL);
  RUN(&c);
  for (int k = 0; k < 40; k++)
    ck_assert(bound(&c, "a", k) + bound(&c, "b", k) + bound(&c, "d", k) + bound(&c, "e", k) + bound(&c, "g", k) + bound(&c, "h", k) == 0);
  case_end(&c);
} END_TEST

START_TEST(integers_are_exact) {
  Case c = bounded("fn f(x: i32[N], k: u8[N]) -> (a: i32, b: i32[N], d: i32, e: f32) { a = sum[i](x[i] * k[i])  b[i] = (x[i] // 3) ^ (k[i] << 2)  d = argmax[i](x[i] % 7)  e = f32(sum[i](x[i])) }");
  unsigned long long seed = 2;
  put_random(&c, "x", DIMS(30), 1e6, &seed, NULL);
  put_random(&c, "k", DIMS(30), 100, &seed, NULL);
  RUN(&c);
  ck_assert(bound(&c, "a", 0) == 0 && bound(&c, "d", 0) == 0 && bound(&c, "e", 0) == 0);
  for (int k = 0; k < 30; k++) ck_assert(bound(&c, "b", k) == 0);
  case_end(&c);
} END_TEST

START_TEST(moves_selections_and_powers_of_two_are_exact) {
  Case c = bounded("fn f(x: f32[N], m: bool[N]) -> (a: f32[N], b: f32[N]) { a[i] = if m[i] then -x[i] else abs(x[i])  b[i] = x[i] * 0.25 + 0 }");
  PUT(&c, "x", DIMS(3), 1.1, -2.3, 1e30);
  PUT(&c, "m", DIMS(3), 1, 0, 1);
  RUN(&c);
  for (int k = 0; k < 3; k++) ck_assert(bound(&c, "a", k) == 0 && bound(&c, "b", k) == 0);
  case_end(&c);
} END_TEST

// ---- the four freedoms

START_TEST(contraction_is_within_the_bound) {
  Case c = bounded("fn f(a: f32[N], b: f32[N], d: f32[N]) -> (y: f32[N], z: f32[N]) { y[i] = a[i] * b[i] + d[i]  t[i] = a[i] * b[i]  z[i] = d[i] - t[i] }");
  double a[200], b[200], d[200];
  unsigned long long seed = 3;
  put_random(&c, "a", DIMS(200), 4, &seed, a);
  put_random(&c, "b", DIMS(200), 4, &seed, b);
  for (int k = 0; k < 200; k++) d[k] = k % 2 ? -(float)(a[k] * b[k]) : a[k];       // half of them cancel
  put_doubles(&c, "d", DIMS(200), d, 200);
  RUN(&c);
  for (int k = 0; k < 200; k++) {
    double y = (double)fmaf((float)a[k], (float)b[k], (float)d[k]), z = (double)fmaf(-(float)a[k], (float)b[k], (float)d[k]);
    ck_assert(fabs(y - get(&c, "y", k)) <= bound(&c, "y", k) && fabs(z - get(&c, "z", k)) <= bound(&c, "z", k));
    ck_assert(bound(&c, "y", k) <= 3e-7 * (fabs(a[k] * b[k]) + fabs(d[k])));
  }
  case_end(&c);
} END_TEST

START_TEST(a_declared_intermediate_is_not_contracted) {
  Case c = bounded("fn f(a: f32[N], b: f32[N], d: f32[N]) -> y: f32[N] { t: f16[i] = a[i]  u: f16[i] = b[i]  v: f16[i] = t[i] * u[i]  y[i] = v[i] + d[i] }");
  unsigned long long seed = 4;
  put_random(&c, "a", DIMS(9), 4, &seed, NULL);
  put_random(&c, "b", DIMS(9), 4, &seed, NULL);
  put_random(&c, "d", DIMS(9), 4, &seed, NULL);
  RUN(&c);
  for (int k = 0; k < 9; k++) ck_assert(bound(&c, "y", k) == 0);
  case_end(&c);
} END_TEST

START_TEST(sums_in_any_order_are_within_the_bound) {
  Case c = bounded("fn f(x: f32[R, N], w: f32[N]) -> (s: f32[R], d: f32[R], m: f32[R], l: f32[R]) { s[r] = sum[i](x[r, i])  d[r] = sum[i](x[r, i] * w[i])  m[r] = mean[i](x[r, i])  l[r] = sum[i](abs(x[r, i])) }");
  enum { R = 20, N = 300 };
  static double x[R * N], w[N];
  unsigned long long seed = 5;
  put_random(&c, "x", DIMS(R, N), 3, &seed, x);
  put_random(&c, "w", DIMS(N), 3, &seed, w);
  RUN(&c);
  for (int r = 0; r < R; r++)
    for (int trial = 0; trial < 20; trial++) {
      float s[N], d[N], l[N];
      for (int i = 0; i < N; i++) s[i] = (float)x[r * N + i], d[i] = s[i] * (float)w[i], l[i] = fabsf(s[i]);
      double total = (double)sum_anyhow(s, N, &seed);
      ck_assert(fabs(total - get(&c, "s", r)) <= bound(&c, "s", r));
      ck_assert(fabs((double)sum_anyhow(d, N, &seed) - get(&c, "d", r)) <= bound(&c, "d", r));
      ck_assert(fabs((double)((float)total * (1.0f / N)) - get(&c, "m", r)) <= bound(&c, "m", r));
      HOLDS(&c, "l", r, sum_anyhow(l, N, &seed), 2e-5);    // 300 · 2^-24 = 1.8e-5
    }
  case_end(&c);
} END_TEST

// The worst that can be: equal terms, whose roundings all go one way.
START_TEST(long_sums_of_equal_terms_are_within_the_bound) {
  Case c = bounded("fn f(x: f32[N]) -> y: f32 { y = sum[i](x[i]) }");
  enum { N = 1 << 16 };
  double *x = malloc(N * sizeof *x), pairs = (double)0.1f;
  for (int k = 0; k < N; k++) x[k] = 0.1;
  put_doubles(&c, "x", DIMS(N), x, N);
  RUN(&c);
  for (int n = N; n > 1; n /= 2) pairs = (double)((float)pairs + (float)pairs);       // summed as a tree
  ck_assert(fabs(get(&c, "y", 0) - pairs) > 1);            // the orders do differ
  ck_assert(fabs(get(&c, "y", 0) - pairs) <= bound(&c, "y", 0));
  free(x);
  case_end(&c);
} END_TEST

START_TEST(factors_that_move_are_within_the_bound) {
  Case c = bounded("fn f(d: f32[B], m: f32[B], q: u8[B, N], x: f32[B, N]) -> y: f32 { y = sum[b, i]((d[b] * q[b, i] + m[b]) * x[b, i]) }");
  enum { B = 6, N = 32 };
  double d[B], m[B], q[B * N], x[B * N];
  unsigned long long seed = 6;
  put_random(&c, "d", DIMS(B), 0.5, &seed, d);
  put_random(&c, "m", DIMS(B), 4, &seed, m);
  put_random(&c, "x", DIMS(B, N), 1, &seed, x);
  for (int k = 0; k < B * N; k++) q[k] = (double)(unit_random(&seed) % 16);
  put_doubles(&c, "q", DIMS(B, N), q, B * N);
  RUN(&c);
  float total = 0;
  for (int b = 0; b < B; b++) {
    float qx[N], xs[N];
    for (int i = 0; i < N; i++) qx[i] = (float)q[b * N + i] * (float)x[b * N + i], xs[i] = (float)x[b * N + i];
    total += (float)d[b] * sum_anyhow(qx, N, &seed) + (float)m[b] * sum_anyhow(xs, N, &seed);
  }
  ck_assert(fabs((double)total - get(&c, "y", 0)) <= bound(&c, "y", 0));
  ck_assert(bound(&c, "y", 0) < 1e-2);
  case_end(&c);
} END_TEST

START_TEST(a_one_pass_softmax_is_within_the_bound) {
  Case c = bounded("fn f(x: f32[R, N]) -> y: f32[R, N] { m[r] = max[i](x[r, i])  e[r, i] = exp(x[r, i] - m[r])  y[r, i] = e[r, i] / sum[j](e[r, j]) }");
  enum { R = 30, N = 64 };
  static double x[R * N];
  unsigned long long seed = 7;
  put_random(&c, "x", DIMS(R, N), 6, &seed, x);
  for (int i = 0; i < N; i++) x[i] = i * 1e-3;             // one row grows all the time: a new maximum at each step
  put_doubles(&c, "x", DIMS(R, N), x, R * N);
  RUN(&c);
  for (int r = 0; r < R; r++) {
    float m = -INFINITY, z = 0;
    for (int i = 0; i < N; i++) {
      float v = (float)x[r * N + i], more = fmaxf(m, v);
      z = z * off_by(exp((double)(m - more)), 4, &seed) + off_by(exp((double)(v - more)), 4, &seed);
      m = more;
    }
    for (int i = 0; i < N; i++) {
      float e = off_by(exp((double)((float)x[r * N + i] - m)), 4, &seed);
      HOLDS(&c, "y", r * N + i, e / z, 2e-5);
    }
  }
  case_end(&c);
} END_TEST

START_TEST(the_bound_of_a_short_softmax_is_a_few_millionths) {
  Case c = bounded("fn f(x: f32[N]) -> y: f32[N] { m = max[i](x[i])  e[i] = exp(x[i] - m)  y[i] = e[i] / sum[j](e[j]) }");
  unsigned long long seed = 8;
  put_random(&c, "x", DIMS(16), 3, &seed, NULL);
  RUN(&c);
  for (int k = 0; k < 16; k++) ck_assert(bound(&c, "y", k) <= 7e-6 * get(&c, "y", k));
  case_end(&c);
} END_TEST

START_TEST(a_one_pass_layer_norm_is_within_the_bound) {
  Case c = bounded("fn f(x: f32[R, N]) -> y: f32[R, N] { mu[r] = mean[i](x[r, i])  v[r] = mean[i]((x[r, i] - mu[r]) * (x[r, i] - mu[r]))  y[r, i] = (x[r, i] - mu[r]) * rsqrt(v[r] + 1e-5) }");
  enum { R = 20, N = 64 };
  static double x[R * N];
  unsigned long long seed = 9;
  put_random(&c, "x", DIMS(R, N), 2, &seed, x);
  for (int k = 0; k < R / 2 * N; k++) x[k] = (double)(float)(x[k] + 20);       // half of the rows are far from 0
  put_doubles(&c, "x", DIMS(R, N), x, R * N);
  RUN(&c);
  for (int r = 0; r < R; r++) {
    float mu = 0, m2 = 0;                                  // Welford
    for (int i = 0; i < N; i++) {
      float d = (float)x[r * N + i] - mu;
      mu += d / (float)(i + 1);
      m2 += d * ((float)x[r * N + i] - mu);
    }
    float scale = off_by(1 / sqrt((double)(m2 / N + 1e-5f)), 4, &seed);
    for (int i = 0; i < N; i++) {
      double y = (double)(((float)x[r * N + i] - mu) * scale);
      ck_assert(fabs(y - get(&c, "y", r * N + i)) <= bound(&c, "y", r * N + i));
      ck_assert(bound(&c, "y", r * N + i) < (r < R / 2 ? 2e-2 : 3e-4));
    }
  }
  case_end(&c);
} END_TEST

// ---- functions

START_TEST(functions_within_four_ulp_are_within_the_bound) {
  static const char *const name[] = {"exp", "log", "tanh", "sin", "rsqrt", "erf", "cbrt", "log1p", "exp2"};
  for (size_t n = 0; n < sizeof name / sizeof *name; n++) {
    char text[200];
    snprintf(text, sizeof text, "fn f(x: f32[N]) -> (y: f32[N], z: f32[N]) { y[i] = %s(x[i])  z[i] = %s(x[i] * x[i] + 0.5) }", name[n], name[n]);
    Case c = bounded(text);
    double x[100];
    unsigned long long seed = 10 + n;
    put_random(&c, "x", DIMS(100), 3, &seed, x);
    for (int k = 0; k < 100; k++) x[k] = (double)(float)(fabs(x[k]) + 0.01);
    put_doubles(&c, "x", DIMS(100), x, 100);
    RUN(&c);
    Op op = op_by_name(name[n]);
    for (int k = 0; k < 100; k++) {
      Scalar v = {.f = x[k]}, w = {.f = (double)fmaf((float)x[k], (float)x[k], 0.5f)};
      HOLDS(&c, "y", k, off_by(ops[op].f(&v, DT_F64).f, 4, &seed), 7e-7);
      double z = ops[op].f(&w, DT_F64).f;
      ck_assert(fabs((double)off_by(z, 4, &seed) - get(&c, "z", k)) <= bound(&c, "z", k));
      ck_assert(bound(&c, "z", k) < 1e-5 * fmax(1, fabs(z)));
    }
    case_end(&c);
  }
} END_TEST

START_TEST(functions_for_narrow_results_may_be_coarse) {
  Case c = bounded("fn f(x: f32[N]) -> (y: bf16[N], z: f16[N], w: f32[N]) { a[i] = exp(x[i])  b[i] = tanh(x[i])  d[i] = log(x[i]) * 1.5  y[i] = a[i]  z[i] = b[i]  w[i] = d[i]  }");
  double x[64];
  for (int k = 0; k < 64; k++) x[k] = 1 + k / 64.0;
  put_doubles(&c, "x", DIMS(64), x, 64);
  RUN(&c);
  int moved = 0;
  for (int k = 0; k < 64; k++) {
    double y = get(&c, "y", k), step = ldexp(1, ilogb(y) - 7);
    ck_assert(bound(&c, "y", k) == 0 || bound(&c, "y", k) == step);       // bf16: 8 bits; 2^-12 relative seldom crosses
    moved += bound(&c, "y", k) > 0;
    ck_assert(bound(&c, "z", k) <= ldexp(1, ilogb(get(&c, "z", k)) - 10));
    ck_assert(bound(&c, "w", k) <= 2e-6);
  }
  ck_assert(moved > 1 && moved < 20);                      // about 64 · 2 · 2^-12 / 2^-8
  case_end(&c);
} END_TEST

START_TEST(a_function_that_an_f32_result_needs_is_not_coarse) {
  Case c = bounded("fn f(x: f32[N]) -> (y: bf16[N], z: f32[N]) { a[i] = exp(x[i])  y[i] = a[i]  z[i] = a[i] + 1 }");
  PUT(&c, "x", DIMS(2), 0.3, 0.7);
  RUN(&c);
  for (int k = 0; k < 2; k++) ck_assert(bound(&c, "z", k) < 2e-6);
  case_end(&c);
} END_TEST

// ---- steps and branches: `* 5 / 3 * 3 / 5` changes nothing but that the value is rounded, so uncertain

START_TEST(a_rounding_that_may_go_either_way_is_one_step) {
  Case c = bounded("fn f(x: f32[N], e: f32) -> (y: f16[N], k: i32[N]) { y[i] = x[i] * 5 / 3 * 3 / 5  k[i] = i32(round(x[i] * e * 5 / 3 * 3 / 5)) }");
  PUT(&c, "x", DIMS(2), 1, 1 + 0x1p-11);                   // the second lies halfway between two f16
  PUT_SCALAR(&c, "e", 0.5);
  RUN(&c);
  ck_assert(bound(&c, "y", 0) == 0 && bound(&c, "y", 1) == 0x1p-10);
  ck_assert(bound(&c, "k", 0) == 1 && bound(&c, "k", 1) == 0);
  case_end(&c);
} END_TEST

START_TEST(an_uncertain_condition_covers_both_branches) {
  Case c = bounded("fn f(x: f32[N], w: f32[N]) -> (y: f32[N], z: f32[N], b: bool[N]) { s[i] = x[i] * w[i] * 5 / 3 * 3 / 5 * 3  y[i] = if s[i] < 3 then 10 else 20  z[i] = if s[i] < 3 then s[i] else 3  b[i] = s[i] < 3 }");
  PUT(&c, "x", DIMS(3), 1, 1, 1);
  PUT(&c, "w", DIMS(3), 1, 1.1, 0.5);
  RUN(&c);
  ck_assert(bound(&c, "y", 0) == 10 && bound(&c, "y", 1) == 0 && bound(&c, "y", 2) == 0);
  ck_assert(bound(&c, "z", 0) < 2e-6);                     // both branches give 3
  ck_assert(bound(&c, "b", 0) == INFINITY && bound(&c, "b", 1) == 0);
  case_end(&c);
} END_TEST

// The branch not taken reads out of range: the program is right, and its result only uncertain.
START_TEST(a_fault_in_a_branch_not_taken_is_no_fault) {
  Case c = bounded("fn f(x: f32[N], k: i32[N], a: f32[N]) -> (y: f32[N], z: bool[N], s: f32) {\n"
                   "  c[i] = a[i] * 5 / 3 * 3 / 5 < 1\n"
                   "  y[i] = if c[i] then 1 else x[k[i]]\n"
                   "  z[i] = not c[i] and x[k[i]] > 0\n"
                   "  s    = sum[i](x[k[i]] + sum[j < N](x[j + k[i]] if not c[i]) if not c[i]) }");
  PUT(&c, "x", DIMS(2), 1, 2);
  PUT(&c, "k", DIMS(2), 99, 0);
  PUT(&c, "a", DIMS(2), 1 - 0x1p-24, 0.2);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 1 && bound(&c, "y", 0) == INFINITY && bound(&c, "y", 1) == 0);
  ck_assert(get(&c, "z", 0) == 0 && bound(&c, "z", 0) == INFINITY && bound(&c, "z", 1) == 0);
  ck_assert(get(&c, "s", 0) == 0 && bound(&c, "s", 0) == INFINITY);
  case_end(&c);
} END_TEST

START_TEST(an_uncertain_filter_counts_its_term_in_the_bound) {
  Case c = bounded("fn f(x: f32[N], a: f32) -> (s: f32, m: f32, hi: f32, lo: f32) { s = sum[i](x[i] if x[i] * a * 5 / 3 * 3 / 5 < 1)  m = mean[i](x[i] if x[i] * a * 5 / 3 * 3 / 5 < 1)  hi = max[i](x[i] if x[i] * a * 5 / 3 * 3 / 5 < 1)  lo = min[i](x[i] if x[i] * a * 5 / 3 * 3 / 5 < 1) }");
  PUT(&c, "x", DIMS(4), 0.25, 1, 0.5, 2);
  PUT_SCALAR(&c, "a", 1);
  RUN(&c);
  ck_assert(get(&c, "s", 0) == 0.75 && bound(&c, "s", 0) >= 1 && bound(&c, "s", 0) < 1.001);
  ck_assert(bound(&c, "m", 0) == INFINITY);
  ck_assert(get(&c, "hi", 0) == 0.5 && bound(&c, "hi", 0) == 0.5);
  ck_assert(get(&c, "lo", 0) == 0.25 && bound(&c, "lo", 0) == 0);
  case_end(&c);
} END_TEST

START_TEST(argmax_is_certain_when_no_other_term_comes_near) {
  Case c = bounded("fn f(x: f32[R, N], w: f32[N]) -> (a: i32[R], b: i32[R]) { a[r] = argmax[i](x[r, i] * w[i] * 1.1 / 1.3)  b[r] = argmax[i](x[r, i]) }");
  PUT(&c, "x", DIMS(2, 3), 1, 2, 3, 3, 2, 3);
  PUT(&c, "w", DIMS(3), 1, 1, 1);
  RUN(&c);
  ck_assert(bound(&c, "a", 0) == 0 && bound(&c, "a", 1) == INFINITY);       // a tie of rounded values
  ck_assert(bound(&c, "b", 0) == 0 && bound(&c, "b", 1) == 0);              // a tie of exact values
  case_end(&c);
} END_TEST

START_TEST(an_uncertain_subscript_makes_its_element_uncertain) {
  Case c = bounded("fn f(x: f32[N], a: f32[M]) -> y: f32[M] { y[i] = x[i32(a[i] * 5 / 3 * 3 / 5)] }");
  PUT(&c, "x", DIMS(4), 1, 2, 4, 8);
  PUT(&c, "a", DIMS(2), 1.5, 3);                           // 3 is where truncation may go either way
  RUN(&c);
  ck_assert(bound(&c, "y", 0) == 0 && bound(&c, "y", 1) == INFINITY);
  case_end(&c);
} END_TEST

// ---- infinities and NaN

START_TEST(infinities_and_nan_that_were_read_are_certain) {
  Case c = bounded("fn f(x: f32[R, N], w: f32[N]) -> (s: f32[R], m: f32[R], e: f32[R], d: f32[R]) { s[r] = sum[i](x[r, i])  m[r] = max[i](x[r, i])  e[r] = exp(x[r, 0])  d[r] = sum[i](x[r, i] * w[i]) }");
  PUT(&c, "x", DIMS(3, 3), NAN, 1, 2, INFINITY, 1, 2, -INFINITY, INFINITY, 2);
  PUT(&c, "w", DIMS(3), 1, 2, 3);
  RUN(&c);
  for (int r = 0; r < 3; r++) ck_assert(bound(&c, "s", r) == 0 && bound(&c, "m", r) == 0 && bound(&c, "e", r) == 0);
  ck_assert(isnan(get(&c, "s", 0)) && get(&c, "s", 1) == INFINITY && isnan(get(&c, "s", 2)));
  ck_assert(bound(&c, "d", 0) == 0 && isnan(get(&c, "d", 0)));
  case_end(&c);
} END_TEST

START_TEST(what_other_algebra_may_avoid_is_uncertain) {
  Case c = bounded("fn f(x: f32[N], w: f32[N]) -> (a: f32[N], b: f32[N], s: f32) { a[i] = x[i] * w[i]  b[i] = x[i] * w[i] / w[i]  s = sum[i](x[i] * w[i]) }");
  PUT(&c, "x", DIMS(2), 1e30, INFINITY);
  PUT(&c, "w", DIMS(2), 1e30, 0);
  RUN(&c);
  ck_assert(get(&c, "a", 0) == INFINITY && bound(&c, "a", 0) == 0);         // one product: it overflows everywhere
  ck_assert(isnan(get(&c, "a", 1)) && bound(&c, "a", 1) == 0);
  ck_assert(bound(&c, "b", 0) == INFINITY && bound(&c, "s", 0) == INFINITY);
  case_end(&c);
} END_TEST

// f32 ends at 3.4e38. Each s is finite from left to right; the first passes through 6e38 from right to left, no order of the second.
START_TEST(a_sum_that_overflows_in_another_order_is_uncertain) {
  Case c = bounded("fn f(x: f32[R, N]) -> (s: f32[R], m: f32[R], p: f32[R, N], d: f64[R]) { s[r] = sum[i](x[r, i])  m[r] = mean[i](x[r, i])  p[r, k] = sum[i <= k](x[r, i])  d[r] = sum[i](f64(x[r, i])) }");
  PUT(&c, "x", DIMS(2, 3), 3e38, -3e38, 3e38, 1.5e38, -1.5e38, 1e37);
  RUN(&c);
  ck_assert(get(&c, "s", 0) == (double)3e38f && bound(&c, "s", 0) == INFINITY && bound(&c, "m", 0) == INFINITY);
  ck_assert(get(&c, "p", 1) == 0 && bound(&c, "p", 0) == 0 && bound(&c, "p", 1) < 1e33);        // two terms have one order
  ck_assert(bound(&c, "s", 1) < 1e33 && bound(&c, "m", 1) < 1e33 && bound(&c, "p", 5) < 1e33);
  ck_assert(bound(&c, "d", 0) < 1e24);
  case_end(&c);
} END_TEST

START_TEST(the_greatest_of_zeros_of_both_signs_is_either) {
  Case c = bounded("fn f(x: f32[R, N]) -> (m: f32[R], y: f32[R]) { m[r] = max[i](x[r, i])  y[r] = 1 / m[r] }");
  PUT(&c, "x", DIMS(2, 3), 0.0, -0.0, -1, 0.0, 0.0, -1);
  RUN(&c);
  ck_assert(bound(&c, "m", 0) == 0x1p-149 && bound(&c, "y", 0) == INFINITY);
  ck_assert(bound(&c, "m", 1) == 0 && bound(&c, "y", 1) == 0);
  case_end(&c);
} END_TEST

START_TEST(division_by_what_may_be_zero_is_uncertain) {
  Case c = bounded("fn f(x: f32[N], w: f32[N]) -> y: f32[N] { y[i] = 1 / (x[i] * 3 - w[i]) }");
  PUT(&c, "x", DIMS(2), 1.1, 1);
  PUT(&c, "w", DIMS(2), 3.3, 1);
  RUN(&c);
  ck_assert(bound(&c, "y", 0) == INFINITY && bound(&c, "y", 1) < 1e-6);
  case_end(&c);
} END_TEST

// ---- stores

START_TEST(two_stores_to_one_element_leave_either) {
  Case c = bounded("fn f(mut x: f32[N], p: i32[M], v: f32[M]) { x[p[i]] <- v[i] }");
  PUT(&c, "x", DIMS(3), 0, 0, 0);
  PUT(&c, "p", DIMS(3), 1, 2, 1);
  PUT(&c, "v", DIMS(3), 5, 6, 8);
  RUN(&c);
  ck_assert(bound(&c, "x", 0) == 0 && bound(&c, "x", 1) == 3 && bound(&c, "x", 2) == 0);
  case_end(&c);
} END_TEST

START_TEST(a_store_to_an_uncertain_place_leaves_all_uncertain) {
  Case c = bounded("fn f(mut x: f32[N], a: f32) -> y: f32 { x[i32(a * 5 / 3 * 3 / 5)] <- 7  y = x[0] }");
  PUT(&c, "x", DIMS(4), 0, 0, 0, 0);
  PUT_SCALAR(&c, "a", 2);
  RUN(&c);
  ck_assert(bound(&c, "x", 0) == INFINITY && bound(&c, "x", 3) == INFINITY && bound(&c, "y", 0) == INFINITY);
  case_end(&c);
} END_TEST

START_TEST(encoding_uncertain_values_moves_by_a_step) {
  Case c = bounded("format q of 4 { d: f32  q: i8[4]  value[k] = d * q[k]  encode(v) { d = 0.5  q[k] = i8(round(v[k] * 2)) } }\n"
                   "fn f(x: f32[K], a: f32) -> (y: q[K], z: f32[K]) { h: q[k] = x[k] * a * 5 / 3 * 3 / 5  z[k] = h[k]  y[k] = x[k] * a * 5 / 3 * 3 / 5 }");
  PUT(&c, "x", DIMS(4), 3, 6, 9, 10.5);
  PUT_SCALAR(&c, "a", 0.25);                               // 0.75, 1.5, 2.25, 2.625: halves of steps at 0 and 2
  RUN(&c);
  const double want[] = {0.5, 0, 0.5, 0};
  for (int k = 0; k < 4; k++) ck_assert(bound(&c, "y", k) == want[k] && bound(&c, "z", k) == want[k]);
  case_end(&c);
} END_TEST

START_TEST(bounds_of_a_recurrence_grow_with_its_steps) {
  Case c = bounded("fn f(a: f32[T], b: f32[T]) -> h: f32[T] { h[t] = a[t] * (h[t - 1] ?? 0) + b[t] }");
  enum { T = 200 };
  double a[T], b[T];
  unsigned long long seed = 12;
  put_random(&c, "a", DIMS(T), 1, &seed, a);
  put_random(&c, "b", DIMS(T), 1, &seed, b);
  RUN(&c);
  float h = 0;
  for (int t = 0; t < T; t++) {
    h = fmaf((float)a[t], h, (float)b[t]);
    ck_assert(fabs((double)h - get(&c, "h", t)) <= bound(&c, "h", t));
    ck_assert(bound(&c, "h", t) < 1e-4);
  }
  case_end(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    one_operation_on_exact_values_is_exact, integers_are_exact, moves_selections_and_powers_of_two_are_exact,
    contraction_is_within_the_bound, a_declared_intermediate_is_not_contracted, sums_in_any_order_are_within_the_bound,
    long_sums_of_equal_terms_are_within_the_bound, factors_that_move_are_within_the_bound,
    a_one_pass_softmax_is_within_the_bound, the_bound_of_a_short_softmax_is_a_few_millionths,
    a_one_pass_layer_norm_is_within_the_bound, functions_within_four_ulp_are_within_the_bound,
    functions_for_narrow_results_may_be_coarse, a_function_that_an_f32_result_needs_is_not_coarse,
    a_rounding_that_may_go_either_way_is_one_step, an_uncertain_condition_covers_both_branches,
    a_fault_in_a_branch_not_taken_is_no_fault, an_uncertain_filter_counts_its_term_in_the_bound,
    argmax_is_certain_when_no_other_term_comes_near, an_uncertain_subscript_makes_its_element_uncertain,
    infinities_and_nan_that_were_read_are_certain, what_other_algebra_may_avoid_is_uncertain, a_sum_that_overflows_in_another_order_is_uncertain,
    the_greatest_of_zeros_of_both_signs_is_either, division_by_what_may_be_zero_is_uncertain, two_stores_to_one_element_leave_either,
    a_store_to_an_uncertain_place_leaves_all_uncertain, encoding_uncertain_values_moves_by_a_step,
    bounds_of_a_recurrence_grow_with_its_steps};
  return UNIT_RUN("interp_bounds", tests);
}
