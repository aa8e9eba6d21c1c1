// test_interp.c: the values of expressions and reductions, rule by rule of the language page. What a test expects is
// computed in the test by other means.
#include "tests/unit/interp_case.h"
#include <float.h>

// ---- arithmetic

START_TEST(f32_operations_round_one_by_one) {
  Case c = case_of("fn f(a: f32[N], b: f32[N], c: f32[N]) -> y: f32[N] { y[i] = a[i] * b[i] + c[i] }");
  const double a[] = {1 + 0x1p-12, 3, 1e20}, b[] = {1 + 0x1p-12, 1.1, 1e20}, d[] = {-1, -3.3, 1};
  put_doubles(&c, "a", DIMS(3), a, 3);
  put_doubles(&c, "b", DIMS(3), b, 3);
  put_doubles(&c, "c", DIMS(3), d, 3);
  RUN(&c);
  for (int k = 0; k < 3; k++) {
    volatile float product = (float)a[k] * (float)b[k], sum = product + (float)d[k];
    ck_assert(get(&c, "y", k) == (double)sum || (isinf(sum) && isinf(get(&c, "y", k))));
  }
  case_end(&c);
} END_TEST

START_TEST(f64_keeps_double_precision) {
  Case c = case_of("fn f(a: f64[N]) -> y: f64[N] { y[i] = a[i] / 3 + 1 }");
  PUT(&c, "a", DIMS(2), 1e-9, 7);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 1e-9 / 3 + 1);
  ck_assert(get(&c, "y", 1) == 7.0 / 3 + 1);
  case_end(&c);
} END_TEST

START_TEST(integers_wrap_at_their_width) {
  Case c = case_of("fn f(a: i32[N], b: u32[N], d: i64[N]) -> (x: i32[N], y: u32[N], z: i64[N], w: i8[N])\n"
                   "{ x[i] = a[i] + a[i]  y[i] = b[i] * b[i]  z[i] = d[i] * 3  w[i] = i8(a[i]) }");
  PUT(&c, "a", DIMS(2), 2000000000, -2000000001);
  PUT(&c, "b", DIMS(2), 70000, 4294967295.0);
  PUT(&c, "d", DIMS(2), 4611686018427387904.0, 5);
  RUN(&c);
  ck_assert(get(&c, "x", 0) == 4000000000.0 - 4294967296.0);
  ck_assert(get(&c, "x", 1) == -4000000002.0 + 4294967296.0);
  ck_assert(get(&c, "y", 0) == (double)(70000ull * 70000ull % 4294967296ull));
  ck_assert(get(&c, "y", 1) == 1);                         // (-1)² modulo 2^32
  ck_assert(get(&c, "z", 0) == -4611686018427387904.0);    // 3 · 2^62 = 2^63 + 2^62 → -2^63 + 2^62
  ck_assert(get(&c, "z", 1) == 15);
  ck_assert(get(&c, "w", 0) == (double)(int8_t)(2000000000 & 255));
  case_end(&c);
} END_TEST

START_TEST(floor_division_and_remainder_follow_the_sign_of_the_divisor) {
  Case c = case_of("fn f(a: i32[N], b: i32[N]) -> (q: i32[N], r: i32[N], d: f32[N]) { q[i] = a[i] // b[i]  r[i] = a[i] % b[i]  d[i] = a[i] / b[i] }");
  const double a[] = {7, -7, 7, -7, 5, -2147483648.0}, b[] = {2, 2, -2, -2, 0, -1};
  put_doubles(&c, "a", DIMS(6), a, 6);
  put_doubles(&c, "b", DIMS(6), b, 6);
  RUN(&c);
  for (int k = 0; k < 4; k++) {
    ck_assert(get(&c, "q", k) == floor(a[k] / b[k]));
    ck_assert(get(&c, "r", k) == a[k] - b[k] * floor(a[k] / b[k]));
    ck_assert(get(&c, "d", k) == (double)(float)(a[k] / b[k]));
  }
  ck_assert(get(&c, "q", 4) == 0 && get(&c, "r", 4) == 5 && isinf(get(&c, "d", 4)));       // 5 == 0 * 0 + 5
  ck_assert(get(&c, "q", 5) == -2147483648.0 && get(&c, "r", 5) == 0);       // wraps
  case_end(&c);
} END_TEST

START_TEST(float_remainder_is_x_minus_y_floor_x_by_y) {
  Case c = case_of("fn f(a: f32[N], b: f32[N]) -> (q: f32[N], r: f32[N]) { q[i] = a[i] // b[i]  r[i] = a[i] % b[i] }");
  const double a[] = {7.5, -7.5, 7.5, -7.5}, b[] = {2, 2, -2, -2};
  put_doubles(&c, "a", DIMS(4), a, 4);
  put_doubles(&c, "b", DIMS(4), b, 4);
  RUN(&c);
  for (int k = 0; k < 4; k++) {
    ck_assert(get(&c, "q", k) == floor(a[k] / b[k]));
    ck_assert(get(&c, "r", k) == a[k] - b[k] * floor(a[k] / b[k]));
  }
  case_end(&c);
} END_TEST

START_TEST(shifts_by_the_width_or_more_give_zero_or_the_sign) {
  Case c = case_of("fn f(a: i32[N], b: u32[N], s: i32[N]) -> (l: i32[N], r: i32[N], u: u32[N]) { l[i] = a[i] << s[i]  r[i] = a[i] >> s[i]  u[i] = b[i] >> s[i] }");
  PUT(&c, "a", DIMS(5), -5, -5, -5, 5, 5);
  PUT(&c, "b", DIMS(5), 4294967295.0, 4294967295.0, 4294967295.0, 8, 8);
  PUT(&c, "s", DIMS(5), 1, 32, -1, 31, 1000);
  RUN(&c);
  const double l[] = {-10, 0, 0, -2147483648.0, 0}, r[] = {-3, -1, -1, 0, 0}, u[] = {2147483647, 0, 0, 0, 0};
  for (int k = 0; k < 5; k++) {
    ck_assert(get(&c, "l", k) == l[k]);
    ck_assert(get(&c, "r", k) == r[k]);
    ck_assert(get(&c, "u", k) == u[k]);
  }
  case_end(&c);
} END_TEST

START_TEST(casts_to_integers_truncate_and_saturate) {
  Case c = case_of("fn f(x: f32[N]) -> (a: i8[N], b: u8[N], d: i32[N], e: i64[N], t: bool[N])\n"
                   "{ a[i] = i8(x[i])  b[i] = u8(x[i])  d[i] = i32(x[i])  e[i] = i64(x[i])  t[i] = bool(x[i]) }");
  PUT(&c, "x", DIMS(6), 1.9, -1.9, 300, -1e30, NAN, 0);
  RUN(&c);
  const double a[] = {1, -1, 127, -128, 0, 0}, b[] = {1, 0, 255, 0, 0, 0}, d[] = {1, -1, 300, -2147483648.0, 0, 0},
               e[] = {1, -1, 300, -9223372036854775808.0, 0, 0}, t[] = {1, 1, 1, 1, 1, 0};
  for (int k = 0; k < 6; k++) {
    ck_assert(get(&c, "a", k) == a[k] && get(&c, "b", k) == b[k] && get(&c, "d", k) == d[k]);
    ck_assert(get(&c, "e", k) == e[k] && get(&c, "t", k) == t[k]);
  }
  case_end(&c);
} END_TEST

// Round to nearest even at 8 bits of fraction, from the bits of the float.
static double bf16_of(double x) {
  float f = (float)x;
  uint32_t u;
  memcpy(&u, &f, 4);
  u += 0x7FFF + (u >> 16 & 1);
  u &= 0xFFFF0000u;
  memcpy(&f, &u, 4);
  return f;
}

START_TEST(a_declared_type_rounds_and_an_undeclared_one_does_not) {
  Case c = case_of("fn f(x: f32[N]) -> (y: f32[N], z: f32[N], w: bf16[N])\n"
                   "{ h: bf16[i] = x[i] * 3  g[i] = x[i] * 3  y[i] = h[i]  z[i] = g[i]  w[i] = x[i] }");
  const double x[] = {1.00390625, 1 / 3.0, 12345.678};
  put_doubles(&c, "x", DIMS(3), x, 3);
  RUN(&c);
  for (int k = 0; k < 3; k++) {
    ck_assert(get(&c, "y", k) == bf16_of((float)x[k] * 3.0f));
    ck_assert(get(&c, "z", k) == (double)((float)x[k] * 3.0f));
    ck_assert(get(&c, "w", k) == bf16_of(x[k]));
  }
  case_end(&c);
} END_TEST

START_TEST(narrow_floats_overflow_as_their_types_do) {
  Case c = case_of("fn f(x: f32[N]) -> (a: f16[N], b: f8e4m3[N], d: f8e5m2[N]) { a[i] = x[i]  b[i] = x[i]  d[i] = x[i] }");
  PUT(&c, "x", DIMS(3), 1e6, -INFINITY, 1.0625);
  RUN(&c);
  ck_assert(get(&c, "a", 0) == INFINITY && get(&c, "a", 1) == -INFINITY && get(&c, "a", 2) == 1.0625);
  ck_assert(get(&c, "b", 0) == 448 && get(&c, "b", 1) == -448 && get(&c, "b", 2) == 1);       // 1.0625: tie to even of 1 and 1.125
  ck_assert(get(&c, "d", 0) == 57344 && get(&c, "d", 1) == -57344 && get(&c, "d", 2) == 1);
  case_end(&c);
} END_TEST

START_TEST(mixed_operands_take_the_wider_type) {
  Case c = case_of("fn f(a: i32[N], b: u32[N], d: u8[N], t: bool[N]) -> (x: i64[N], y: i32[N], z: i32[N], w: f32[N])\n"
                   "{ x[i] = a[i] + b[i]  y[i] = d[i] - 200  z[i] = t[i] + t[i]  w[i] = a[i] * 0.5 }");
  PUT(&c, "a", DIMS(1), -7);
  PUT(&c, "b", DIMS(1), 4294967295.0);
  PUT(&c, "d", DIMS(1), 100);
  PUT(&c, "t", DIMS(1), 1);
  RUN(&c);
  ck_assert(get(&c, "x", 0) == 4294967288.0 && get(&c, "y", 0) == -100 && get(&c, "z", 0) == 2 && get(&c, "w", 0) == -3.5);
  case_end(&c);
} END_TEST

START_TEST(scalar_functions_are_correctly_rounded_or_nearly_so) {
  Case c = case_of("fn f(x: f32[N]) -> (a: f32[N], b: f32[N], d: f32[N], e: f32[N], g: f32[N])\n"
                   "{ a[i] = exp(x[i])  b[i] = rsqrt(abs(x[i]))  d[i] = tanh(x[i])  e[i] = erf(x[i])  g[i] = abs(x[i]) ** 1.5 }");
  double x[50];
  unsigned long long seed = 5;
  put_random(&c, "x", DIMS(50), 8, &seed, x);
  RUN(&c);
  for (int k = 0; k < 50; k++) {
    ck_assert_close(get(&c, "a", k), (double)expl(x[k]), 6.1e-8);
    ck_assert_close(get(&c, "b", k), (double)(1 / sqrtl(fabs(x[k]))), 6.1e-8);
    ck_assert_close(get(&c, "d", k), (double)tanhl(x[k]), 6.1e-8);
    ck_assert_close(get(&c, "e", k), (double)erfl(x[k]), 6.1e-8);
    ck_assert_close(get(&c, "g", k), (double)powl(fabs(x[k]), 1.5L), 6.1e-8);
  }
  case_end(&c);
} END_TEST

START_TEST(round_is_to_nearest_even_and_min_and_max_propagate_nan) {
  Case c = case_of("fn f(x: f32[N]) -> (r: f32[N], lo: f32[N], hi: f32[N], k: f32[N]) { r[i] = round(x[i])  lo[i] = min(x[i], 1)  hi[i] = max(1, x[i])  k[i] = clamp(x[i], -1, 2) }");
  PUT(&c, "x", DIMS(5), 0.5, 1.5, -2.5, NAN, 9);
  RUN(&c);
  const double r[] = {0, 2, -2}, k[] = {0.5, 1.5, -1};
  for (int i = 0; i < 3; i++) ck_assert(get(&c, "r", i) == r[i] && get(&c, "k", i) == k[i]);
  ck_assert(isnan(get(&c, "lo", 3)) && isnan(get(&c, "hi", 3)) && get(&c, "lo", 4) == 1 && get(&c, "hi", 4) == 9 && get(&c, "k", 4) == 2);
  case_end(&c);
} END_TEST

START_TEST(whole_tensors_broadcast_from_the_last_dimension) {
  Case c = case_of("fn f(x: f32[N, D], w: f32[D], s: f32[N, 1]) -> y: f32[N, D] { y = x * w + s }");
  const double x[] = {1, 2, 3, 4, 5, 6}, w[] = {10, 20, 30}, s[] = {0.5, 0.25};
  put_doubles(&c, "x", DIMS(2, 3), x, 6);
  put_doubles(&c, "w", DIMS(3), w, 3);
  put_doubles(&c, "s", DIMS(2, 1), s, 2);
  RUN(&c);
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 3; j++) ck_assert(get(&c, "y", 3 * i + j) == x[3 * i + j] * w[j] + s[i]);
  case_end(&c);
} END_TEST

START_TEST(a_table_is_subscripted_like_a_tensor) {
  Case c = case_of("const grid = [-1.0, -0.25, 0.25, 1.0]\nfn f(q: u8[N]) -> y: f32[N] { y[i] = grid[q[i] & 3] + grid[3] }");
  PUT(&c, "q", DIMS(3), 0, 5, 2);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 0 && get(&c, "y", 1) == 0.75 && get(&c, "y", 2) == 1.25);
  case_end(&c);
} END_TEST

START_TEST(a_tensor_of_no_dimensions_is_one_value) {
  Case c = case_of("fn f(x: f32[N], a: f32) -> (s: f32, t: f32[N]) { s = sum[i](x[i]) * a  t[i] = x[i] - s }");
  PUT(&c, "x", DIMS(3), 1, 2, 3);
  PUT_SCALAR(&c, "a", 0.5);
  RUN(&c);
  ck_assert(get(&c, "s", 0) == 3 && get(&c, "t", 2) == 0);
  case_end(&c);
} END_TEST

// A function that doubles, nested: a tree of 2^60 additions, but 60 different ones.
START_TEST(shared_subexpressions_are_computed_once) {
  char text[2000] = "fn d(x: f32) -> y: f32 { y = x + x }\nfn f(x: f32[N]) -> y: f32[N] { y[i] = ";
  for (int k = 0; k < 60; k++) strcat(text, "d(");
  strcat(text, "x[i]");
  for (int k = 0; k < 60; k++) strcat(text, ")");
  strcat(text, " }");
  Case c = case_entry(text, "f");
  PUT(&c, "x", DIMS(2), 1, 3);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 0x1p60 && get(&c, "y", 1) == 3 * 0x1p60);
  case_end(&c);
} END_TEST

// The shared part stands in both branches and inside a reduction, and depends on its index.
START_TEST(shared_subexpressions_follow_their_indices) {
  Case c = case_of("fn f(x: f32[N], m: i32[N]) -> y: f32[N]\n"
                   "{ y[i] = sum[j < N]((if m[i] > m[j] then (x[j] + 1) * (x[j] + 1) else (x[j] + 1) - x[i]) + sum[k < N]((x[j] + 1) * x[k])) + (x[i] + 1) }");
  const double x[] = {1, 2, 4}, m[] = {3, 1, 2};
  put_doubles(&c, "x", DIMS(3), x, 3);
  put_doubles(&c, "m", DIMS(3), m, 3);
  RUN(&c);
  for (int i = 0; i < 3; i++) {
    double want = x[i] + 1;
    for (int j = 0; j < 3; j++) {
      want += m[i] > m[j] ? (x[j] + 1) * (x[j] + 1) : x[j] + 1 - x[i];
      for (int k = 0; k < 3; k++) want += (x[j] + 1) * x[k];
    }
    ck_assert(get(&c, "y", i) == want);
  }
  case_end(&c);
} END_TEST

// ---- reads

START_TEST(a_bad_subscript_names_everything) {
  Case c = case_of("fn f(table: f32[V, D], ids: i32[T]) -> y: f32[T, D] { y[t, j] = table[ids[t], j] }");
  put_space(&c, "table", DIMS(5, 2));
  PUT(&c, "ids", DIMS(3), 0, 4, 7);
  ck_assert(!run(&c));
  ck_assert(c.fault.code == E_data_subscript);
  ck_assert_str_eq(c.fault.text, "table[ids[t], j]: subscript 0 of `table` is 7, allowed 0..4 (in `y`)");
  ck_assert_str_eq(c.fault.tensor, "table");
  ck_assert_str_eq(c.fault.equation, "y");
  ck_assert(c.fault.axis == 0 && c.fault.value == 7 && c.fault.extent == 5 && c.fault.at.hi > c.fault.at.lo);
  case_end(&c);
} END_TEST

START_TEST(subscripts_never_count_from_the_end) {
  Case c = case_of("fn f(x: f32[N], k: i32[M]) -> y: f32[M] { y[i] = x[k[i]] }");
  PUT(&c, "x", DIMS(3), 1, 2, 3);
  PUT(&c, "k", DIMS(1), -1);
  ck_assert(!run(&c));
  ck_assert_str_eq(c.fault.text, "x[k[i]]: subscript 0 of `x` is -1, allowed 0..2 (in `y`)");
  case_end(&c);
} END_TEST

START_TEST(an_empty_tensor_allows_no_subscript) {
  Case c = case_of("fn f(x: f32[N], k: i32[M]) -> y: f32[M] { y[i] = x[k[i]] }");
  put_space(&c, "x", DIMS(0));
  PUT(&c, "k", DIMS(1), 0);
  ck_assert(!run(&c));
  ck_assert_str_eq(c.fault.text, "x[k[i]]: subscript 0 of `x` is 0, but it has no elements (in `y`)");
  case_end(&c);
} END_TEST

START_TEST(a_default_stands_for_an_element_out_of_range) {
  Case c = case_of("fn f(x: f32[N]) -> y: f32[N] { y[i < N] = (x[i - 1] ?? 10) + (x[i + 1] ?? -20) }");
  PUT(&c, "x", DIMS(3), 1, 2, 3);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 12 && get(&c, "y", 1) == 4 && get(&c, "y", 2) == -18);
  case_end(&c);
} END_TEST

START_TEST(a_default_covers_its_own_subscripts_only) {
  Case c = case_of("fn f(x: f32[N], k: i32[M], j: i32[L]) -> y: f32[L] { y[i] = x[k[j[i]]] ?? 5 }");
  PUT(&c, "x", DIMS(3), 1, 2, 3);
  PUT(&c, "k", DIMS(3), 0, 100, 2);
  PUT(&c, "j", DIMS(3), 1, 2, 3);
  ck_assert(!run(&c));
  ck_assert_str_eq(c.fault.tensor, "k");
  ck_assert(c.fault.value == 3);
  case_end(&c);
  c = case_of("fn f(x: f32[N], k: i32[M]) -> y: f32[M] { y[i < M] = x[k[i + 1] ?? -1] ?? 5 }");
  PUT(&c, "x", DIMS(3), 1, 2, 3);
  PUT(&c, "k", DIMS(3), 0, 100, 2);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 5 && get(&c, "y", 1) == 3 && get(&c, "y", 2) == 5);
  case_end(&c);
} END_TEST

START_TEST(a_default_is_evaluated_only_where_it_is_needed) {
  Case c = case_of("fn f(x: f32[N], d: f32[N], k: i32[N]) -> y: f32[N] { y[i < N] = x[k[i]] ?? d[k[i] - 10] }");
  PUT(&c, "x", DIMS(2), 1, 2);
  PUT(&c, "d", DIMS(2), 3, 4);
  PUT(&c, "k", DIMS(2), 1, 11);                            // d[-9] would fail for the first
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 2 && get(&c, "y", 1) == 4);
  case_end(&c);
} END_TEST

START_TEST(if_and_or_evaluate_only_what_they_need) {
  Case c = case_of("fn f(x: f32[N], k: i32[M]) -> (a: f32[M], b: bool[M], d: bool[M])\n"
                   "{ a[i] = if k[i] < N and k[i] >= 0 then x[k[i]] else -1\n"
                   "  b[i] = k[i] >= 0 and k[i] < N and x[k[i]] > 1\n"
                   "  d[i] = k[i] < 0 or k[i] >= N or x[k[i]] > 1 }");
  PUT(&c, "x", DIMS(2), 1, 2);
  PUT(&c, "k", DIMS(4), 1, 0, 9, -3);
  RUN(&c);
  const double a[] = {2, 1, -1, -1}, b[] = {1, 0, 0, 0}, d[] = {1, 0, 1, 1};
  for (int k = 0; k < 4; k++) ck_assert(get(&c, "a", k) == a[k] && get(&c, "b", k) == b[k] && get(&c, "d", k) == d[k]);
  case_end(&c);
} END_TEST

// ---- reductions

START_TEST(empty_ranges_give_the_neutral_values) {
  Case c = case_of("fn f(x: f32[N], k: i32[N], t: bool[N]) -> (s: f32, p: f32, hi: f32, lo: f32, m: f32, an: bool, al: bool, ih: i32, il: i32, n: i32)\n"
                   "{ s = sum[i](x[i])  p = prod[i](x[i])  hi = max[i](x[i])  lo = min[i](x[i])  m = mean[i](x[i])  an = any[i](t[i])  al = all[i](t[i])\n"
                   "  ih = max[i](k[i])  il = min[i](k[i])  n = sum[i](t[i]) }");
  put_space(&c, "x", DIMS(0));
  put_space(&c, "k", DIMS(0));
  put_space(&c, "t", DIMS(0));
  RUN(&c);
  ck_assert(get(&c, "s", 0) == 0 && get(&c, "p", 0) == 1 && get(&c, "hi", 0) == -INFINITY && get(&c, "lo", 0) == INFINITY);
  ck_assert(isnan(get(&c, "m", 0)) && get(&c, "an", 0) == 0 && get(&c, "al", 0) == 1 && get(&c, "n", 0) == 0);
  ck_assert(get(&c, "ih", 0) == INT32_MIN && get(&c, "il", 0) == INT32_MAX);
  case_end(&c);
} END_TEST

START_TEST(argmax_of_an_empty_range_is_an_error) {
  Case c = case_of("fn f(x: f32[N, M], len: i32[N]) -> y: i32[N] { y[i] = argmax[j < len[i]](x[i, j]) }");
  PUT(&c, "x", DIMS(2, 2), 1, 2, 4, 3);
  PUT(&c, "len", DIMS(2), 2, 0);
  ck_assert(!run(&c));
  ck_assert(c.fault.code == E_data_argmax_empty);
  ck_assert_str_eq(c.fault.text, "argmax[j < len[i]](x[i, j]): the range is empty (in `y`)");
  case_end(&c);
} END_TEST

START_TEST(ties_go_to_the_lowest_index_and_nan_to_the_first) {
  Case c = case_of("fn f(x: f32[N, M]) -> (a: i32[N], b: i32[N], hi: f32[N], lo: f32[N]) { a[i] = argmax[j](x[i, j])  b[i] = argmin[j](x[i, j])  hi[i] = max[j](x[i, j])  lo[i] = min[j](x[i, j]) }");
  PUT(&c, "x", DIMS(3, 4), 1, 3, 3, 1, 5, NAN, 7, NAN, -INFINITY, -INFINITY, -1, -1);
  RUN(&c);
  const double a[] = {1, 1, 2}, b[] = {0, 1, 0};
  for (int k = 0; k < 3; k++) ck_assert(get(&c, "a", k) == a[k] && get(&c, "b", k) == b[k]);
  ck_assert(get(&c, "hi", 0) == 3 && isnan(get(&c, "hi", 1)) && isnan(get(&c, "lo", 1)) && get(&c, "lo", 2) == -INFINITY);
  case_end(&c);
} END_TEST

START_TEST(argmax_gives_the_value_of_its_index) {
  Case c = case_of("fn f(x: f32[N], u: u64[N]) -> (a: i32, b: i32) { a = argmax[j in 2 .. 4](x[j])  b = argmin[j](u[j]) }");
  PUT(&c, "x", DIMS(5), 9, 9, 1, 2, 9);
  PUT(&c, "u", DIMS(5), 18446744073709549568.0, 5, 9, 7, 6);
  RUN(&c);
  ck_assert(get(&c, "a", 0) == 3 && get(&c, "b", 0) == 1);
  case_end(&c);
} END_TEST

START_TEST(filters_evaluate_terms_only_where_they_hold) {
  Case c = case_of("fn f(x: f32[N], k: i32[N]) -> (s: f32, m: f32, a: i32) { s = sum[i](x[k[i]] if k[i] >= 0)  m = mean[i](x[k[i]] if k[i] >= 0)  a = argmax[i](x[k[i]] if k[i] >= 0) }");
  PUT(&c, "x", DIMS(4), 1, 2, 4, 8);
  PUT(&c, "k", DIMS(4), -5, 2, 3, 0);
  RUN(&c);
  ck_assert(get(&c, "s", 0) == 4 + 8 + 1 && get(&c, "m", 0) == (double)(13.0f / 3.0f) && get(&c, "a", 0) == 2);
  case_end(&c);
} END_TEST

START_TEST(ranges_may_come_from_data) {
  Case c = case_of("fn f(row: i32[M + 1], v: f32[Z]) -> y: f32[M] { y[r] = sum[p in row[r] .. row[r + 1]](v[p]) }");
  PUT(&c, "row", DIMS(5), 0, 2, 2, 1, 5);                  // the third range goes backwards: it is empty
  PUT(&c, "v", DIMS(5), 1, 2, 4, 8, 16);
  RUN(&c);
  const double y[] = {3, 0, 0, 2 + 4 + 8 + 16};
  for (int k = 0; k < 4; k++) ck_assert(get(&c, "y", k) == y[k]);
  case_end(&c);
} END_TEST

START_TEST(ranges_from_data_have_a_limit) {
  Case c = case_of("fn f(n: i64[M]) -> y: i64[M] { y[i] = sum[p < n[i]](1) }");
  PUT(&c, "n", DIMS(1), 2147483649.0);                     // 2^31 + 1
  ck_assert(!run(&c));
  ck_assert(c.fault.code == E_data_range && c.fault.value == 2147483649);
  ck_assert_str_eq(c.fault.text, "sum[p < n[i]](1): 2147483649 steps, at most 2147483648 are allowed (in `y`)");
  case_end(&c);
  c = case_of("fn f(n: i64[M]) -> y: bool[M] { y[i] = any[p in 0 - n[i] .. n[i]](true) }");
  PUT(&c, "n", DIMS(1), 9223372036854774784.0);            // the number of steps does not fit 64 bits
  ck_assert(!run(&c));
  ck_assert(c.fault.code == E_data_range);
  case_end(&c);
} END_TEST

START_TEST(later_indices_may_depend_on_earlier_ones) {
  Case c = case_of("fn f(x: f32[N]) -> (y: f32, z: i32) { y = sum[i < N, j <= i, k in j .. i](x[i] * x[j] + x[k])  z = sum[i < N, j < i](1) }");
  const double x[] = {1, 2, 3, 5};
  put_doubles(&c, "x", DIMS(4), x, 4);
  RUN(&c);
  double want = 0;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j <= i; j++)
      for (int k = j; k < i; k++) want += x[i] * x[j] + x[k];
  ck_assert(get(&c, "y", 0) == want && get(&c, "z", 0) == 6);
  case_end(&c);
} END_TEST

START_TEST(means_of_integers_are_floats_and_sums_of_bools_count) {
  Case c = case_of("fn f(k: i32[N]) -> (m: f32, n: i32, p: i32) { m = mean[i](k[i])  n = sum[i](k[i] > 1)  p = prod[i](k[i] * 100000) }");
  PUT(&c, "k", DIMS(4), 1, 2, 3, 5);
  RUN(&c);
  ck_assert(get(&c, "m", 0) == 2.75 && get(&c, "n", 0) == 3);
  ck_assert(get(&c, "p", 0) == (double)(int32_t)(uint32_t)(30ull * 7766279631452241920ull));       // 30 · 10^20 modulo 2^64, then 2^32
  case_end(&c);
} END_TEST

START_TEST(any_and_all_look_at_every_term) {
  Case c = case_of("fn f(x: f32[N], k: i32[M]) -> y: bool { y = any[i](x[k[i]] > 0) }");
  PUT(&c, "x", DIMS(2), 1, 2);
  PUT(&c, "k", DIMS(3), 0, 1, 2);
  ck_assert(!run(&c));                                     // the order is the compiler's: no term may fail
  case_end(&c);
} END_TEST

START_TEST(a_histogram_and_a_prefix_sum_are_reductions) {
  Case c = case_of("fn f(v: f32[N], key: i32[N], bins: i64) -> (h: f32[bins], p: f32[N]) { h[b] = sum[i](v[i] if key[i] == b)  p[k] = sum[j <= k](v[j]) }");
  double v[20], h[4] = {0}, running = 0;
  unsigned long long seed = 3;
  put_random(&c, "v", DIMS(20), 1, &seed, NULL);
  for (int k = 0; k < 20; k++) v[k] = round(get(&c, "v", k) * 64) / 64;        // exact sums
  put_doubles(&c, "v", DIMS(20), v, 20);
  double key[20];
  for (int k = 0; k < 20; k++) key[k] = k * 7 % 5 - 1, h[k * 7 % 5 ? k * 7 % 5 - 1 : 0] += k * 7 % 5 ? v[k] : 0;
  put_doubles(&c, "key", DIMS(20), key, 20);
  PUT_SCALAR(&c, "bins", 4);
  RUN(&c);
  for (int b = 0; b < 4; b++) ck_assert(get(&c, "h", b) == h[b]);
  for (int k = 0; k < 20; k++) ck_assert(get(&c, "p", k) == (running += v[k]));
  case_end(&c);
} END_TEST

START_TEST(f32_sums_round_at_each_term) {
  Case c = case_of("fn f(x: f32[N]) -> y: f32 { y = sum[i](x[i]) }");
  PUT(&c, "x", DIMS(3), 16777216, 1, 1);                   // 2^24 + 1 is no float
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 16777216);
  case_end(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    f32_operations_round_one_by_one, f64_keeps_double_precision, integers_wrap_at_their_width,
    floor_division_and_remainder_follow_the_sign_of_the_divisor, float_remainder_is_x_minus_y_floor_x_by_y,
    shifts_by_the_width_or_more_give_zero_or_the_sign, casts_to_integers_truncate_and_saturate,
    a_declared_type_rounds_and_an_undeclared_one_does_not, narrow_floats_overflow_as_their_types_do,
    mixed_operands_take_the_wider_type, scalar_functions_are_correctly_rounded_or_nearly_so,
    round_is_to_nearest_even_and_min_and_max_propagate_nan, whole_tensors_broadcast_from_the_last_dimension,
    a_table_is_subscripted_like_a_tensor, a_tensor_of_no_dimensions_is_one_value, shared_subexpressions_are_computed_once,
    shared_subexpressions_follow_their_indices, a_bad_subscript_names_everything, subscripts_never_count_from_the_end,
    an_empty_tensor_allows_no_subscript, a_default_stands_for_an_element_out_of_range,
    a_default_covers_its_own_subscripts_only, a_default_is_evaluated_only_where_it_is_needed,
    if_and_or_evaluate_only_what_they_need, empty_ranges_give_the_neutral_values, argmax_of_an_empty_range_is_an_error,
    ties_go_to_the_lowest_index_and_nan_to_the_first, argmax_gives_the_value_of_its_index,
    filters_evaluate_terms_only_where_they_hold, ranges_may_come_from_data, ranges_from_data_have_a_limit,
    later_indices_may_depend_on_earlier_ones, means_of_integers_are_floats_and_sums_of_bools_count,
    any_and_all_look_at_every_term, a_histogram_and_a_prefix_sum_are_reductions, f32_sums_round_at_each_term};
  return UNIT_RUN("interp", tests);
}
