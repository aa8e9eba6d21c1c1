// test_interp_order.c: what is computed when: recurrences, elements that nothing reads, long chains, updates.
#include "tests/unit/interp_case.h"

// ---- recurrences

START_TEST(a_linear_recurrence_starts_from_its_default) {
  Case c = case_of("fn f(a: f32[T, N], b: f32[T, N], h0: f32[N]) -> h: f32[T, N] { h[t, i] = a[t, i] * (h[t - 1, i] ?? h0[i]) + b[t, i] }");
  double a[12], b[12], h0[3];
  unsigned long long seed = 1;
  put_random(&c, "a", DIMS(4, 3), 1, &seed, a);
  put_random(&c, "b", DIMS(4, 3), 1, &seed, b);
  put_random(&c, "h0", DIMS(3), 1, &seed, h0);
  RUN(&c);
  for (int i = 0; i < 3; i++) {
    float h = (float)h0[i];
    for (int t = 0; t < 4; t++) {
      volatile float product = (float)a[3 * t + i] * h;
      h = product + (float)b[3 * t + i];
      ck_assert(get(&c, "h", 3 * t + i) == (double)h);
    }
  }
  case_end(&c);
} END_TEST

START_TEST(equations_of_one_recurrence_run_together) {
  Case c = case_entry("fn lstm(x: f32[T, 4, N]) -> h: f32[T, N] {\n"
                   "  c[t, i] = sigmoid(x[t, 0, i] + 0.1 * (h[t - 1, i] ?? 0)) * (c[t - 1, i] ?? 0) + sigmoid(x[t, 1, i]) * tanh(x[t, 2, i] + 0.5 * (h[t - 1, i] ?? 0))\n"
                   "  h[t, i] = sigmoid(x[t, 3, i]) * tanh(c[t, i])\n"
                   "}\nfn sigmoid(x: f32) -> y: f32 { y = 1 / (1 + exp(-x)) }", "lstm");
  double x[5 * 4 * 2];
  unsigned long long seed = 2;
  put_random(&c, "x", DIMS(5, 4, 2), 2, &seed, x);
  RUN(&c);
  for (int i = 0; i < 2; i++) {
    double cell = 0, h = 0;
#define X(g) x[(t * 4 + g) * 2 + i]
#define SIGMOID(v) (1 / (1 + exp(-(v))))
    for (int t = 0; t < 5; t++) {
      cell = SIGMOID(X(0) + 0.1 * h) * cell + SIGMOID(X(1)) * tanh(X(2) + 0.5 * h);
      h = SIGMOID(X(3)) * tanh(cell);
      ck_assert_close(get(&c, "h", 2 * t + i), h, 1e-5);
    }
#undef X
#undef SIGMOID
  }
  case_end(&c);
} END_TEST

START_TEST(the_largest_values_are_found_by_a_recurrence_over_rank) {
  Case c = case_of("fn f(p: f32[T, E], k: i64) -> top: i32[T, k] { top[t, r < k] = argmax[e](p[t, e] if not any[q < r](top[t, q] == e)) }");
  double p[2 * 6] = {3, 1, 4, 1, 5, 9, 2, 7, 1, 8, 2, 8};
  put_doubles(&c, "p", DIMS(2, 6), p, 12);
  PUT_SCALAR(&c, "k", 3);
  RUN(&c);
  const double top[] = {5, 4, 2, 3, 5, 1};
  for (int k = 0; k < 6; k++) ck_assert(get(&c, "top", k) == top[k]);
  case_end(&c);
} END_TEST

START_TEST(a_recurrence_may_run_backwards_in_its_other_subscripts) {
  Case c = case_of("fn f(x: f32[T, N]) -> h: f32[T, N] { h[t, i] = x[t, i] + (h[t - 1, N - 1 - i] ?? 0) + (h[t - 2, i] ?? 0) }");
  double x[8 * 3], h[8][3];
  for (int k = 0; k < 24; k++) x[k] = k * 5 % 7;
  put_doubles(&c, "x", DIMS(8, 3), x, 24);
  RUN(&c);
  for (int t = 0; t < 8; t++)
    for (int i = 0; i < 3; i++) {
      h[t][i] = x[3 * t + i] + (t >= 1 ? h[t - 1][2 - i] : 0) + (t >= 2 ? h[t - 2][i] : 0);
      ck_assert(get(&c, "h", 3 * t + i) == h[t][i]);
    }
  case_end(&c);
} END_TEST

// Far more steps than frames may lie on the stack; the last is asked for first.
START_TEST(a_recurrence_of_a_million_steps_needs_no_deep_stack) {
  Case c = case_of("fn f(x: i32[T]) -> y: i32[4] { h[t] = (h[t - 1] ?? 0) * 3 + x[t] + (h[t - 2] ?? 1)  y[i] = h[T - 1 - i] }");
  enum { T = 1000000 };
  double *x = malloc(T * sizeof *x);
  uint32_t *h = malloc(T * sizeof *h);
  for (int t = 0; t < T; t++) x[t] = t * 7 % 11, h[t] = (t ? h[t - 1] : 0) * 3 + (uint32_t)x[t] + (t > 1 ? h[t - 2] : 1);
  put_doubles(&c, "x", DIMS(T), x, T);
  RUN(&c);
  for (int k = 0; k < 4; k++) ck_assert(get(&c, "y", k) == (double)(int32_t)h[T - 1 - k]);
  free(x);
  free(h);
  case_end(&c);
} END_TEST

// In order, elements are computed that nothing reads: their faults stay with them.
START_TEST(a_deep_recurrence_reports_only_faults_that_are_read) {
  const char *text = "fn f(x: f32[M], k: i32[T, 2], which: i32[R]) -> y: f32[R] { h[t, i] = (h[t - 1, i] ?? 0) * 0.5 + x[k[t, i]]  y[r] = h[T - 1, which[r]] }";
  enum { T = 30000 };
  double *k = calloc(2 * T, sizeof *k);
  k[2 * 20000 + 1] = 77;                                   // column 1 fails from step 20000 on
  for (int good = 0; good < 2; good++) {
    Case c = case_of(text);
    PUT(&c, "x", DIMS(1), 1);
    put_doubles(&c, "k", DIMS(T, 2), k, 2 * T);
    PUT(&c, "which", DIMS(1), !good);
    ck_assert(run(&c) == good);
    if (good) ck_assert(get(&c, "y", 0) == 2);             // 1 + 1/2 + 1/4 + … in f32
    else ck_assert_str_eq(c.fault.text, "x[k[t, i]]: subscript 0 of `x` is 77, allowed 0..0 (in `h`)");
    case_end(&c);
  }
  free(k);
} END_TEST

START_TEST(two_deep_recurrences_may_feed_each_other_in_turn) {
  Case c = case_of("fn f(n: i32[T]) -> y: i32 { a[t] = (a[t - 1] ?? 0) + n[t]  b[t < T] = (b[t - 1] ?? 0) + a[T - 1 - t]  y = b[T - 1] }");
  enum { T = 20000 };
  double *n = malloc(T * sizeof *n);
  uint32_t a = 0, y = 0;
  for (int t = 0; t < T; t++) n[t] = t % 3, a += (uint32_t)n[t], y += a;
  put_doubles(&c, "n", DIMS(T), n, T);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == (double)(int32_t)y);
  free(n);
  case_end(&c);
} END_TEST

// ---- elements that nothing reads

START_TEST(an_element_that_nothing_reads_is_never_computed) {
  Case c = case_of("fn f(x: f32[N], k: i32[M]) -> y: f32[2] { h[i] = x[k[i]]  y[i < 2] = h[2 * i] }");
  PUT(&c, "x", DIMS(2), 5, 6);
  PUT(&c, "k", DIMS(3), 1, 99, 0);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 6 && get(&c, "y", 1) == 5);
  case_end(&c);
} END_TEST

START_TEST(an_element_behind_a_false_condition_is_never_computed) {
  Case c = case_of("fn f(x: f32[N], k: i32[N]) -> y: f32[N] { h[i] = x[k[i]] * 2  y[i] = if k[i] < N then h[i] else 0 }");
  PUT(&c, "x", DIMS(3), 5, 6, 7);
  PUT(&c, "k", DIMS(3), 1, 99, 0);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 12 && get(&c, "y", 1) == 0 && get(&c, "y", 2) == 10);
  case_end(&c);
} END_TEST

START_TEST(a_fault_names_the_equation_that_has_it) {
  Case c = case_of("fn f(x: f32[N], k: i32[N]) -> y: f32[N] { h[i] = x[k[i]]  g[i] = h[i] + 1  y[i] = g[i] }");
  PUT(&c, "x", DIMS(2), 5, 6);
  PUT(&c, "k", DIMS(2), 1, 2);
  ck_assert(!run(&c));
  ck_assert_str_eq(c.fault.equation, "h");
  case_end(&c);
} END_TEST

START_TEST(a_huge_tensor_of_which_little_is_read_costs_little) {
  Case c = case_of("fn f(n: i64, x: f32[3]) -> y: f32[3] { h[i < n, j < n] = x[(i * 31 + j) % 3]  y[k] = h[k * 300000, n - 1 - k] }");
  PUT(&c, "x", DIMS(3), 1, 2, 3);
  PUT_SCALAR(&c, "n", 1000000);                            // 10^12 elements
  RUN(&c);
  for (int64_t k = 0; k < 3; k++) ck_assert(get(&c, "y", k) == (double)((k * 300000 * 31 + 999999 - k) % 3 + 1));
  case_end(&c);
} END_TEST

// ---- chains

START_TEST(a_chain_of_fifty_thousand_equations_needs_no_deep_stack) {
  enum { LINKS = 50000 };
  Arena *a = arena_create();
  Buf b = buf_make(a);
  buf_puts(&b, "fn f(x: f32[N]) -> y: f32[N] { t0[i] = x[i]");
  for (int k = 1; k < LINKS; k++) buf_printf(&b, "\nt%d[i] = t%d[i] + %d", k, k - 1, k % 2);
  buf_printf(&b, "\ny[i] = t%d[i] }", LINKS - 1);
  Case c = case_of(b.s);
  PUT(&c, "x", DIMS(2), 1, 100);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 1 + LINKS / 2 && get(&c, "y", 1) == 100 + LINKS / 2);
  case_end(&c);
  arena_destroy(a);
} END_TEST

// Each element reads two of the one before: 2^3000 paths, 3000 · N elements.
START_TEST(each_element_of_a_chain_is_computed_once) {
  enum { LINKS = 3000 };
  Arena *a = arena_create();
  Buf b = buf_make(a);
  buf_puts(&b, "fn f(x: u32[N]) -> y: u32[N] { t0[i] = x[i]");
  for (int k = 1; k < LINKS; k++) buf_printf(&b, "\nt%d[i < N] = t%d[i] + t%d[(i + 1) %% N]", k, k - 1, k - 1);
  buf_printf(&b, "\ny[i] = t%d[i] }", LINKS - 1);
  Case c = case_of(b.s);
  PUT(&c, "x", DIMS(3), 1, 2, 4);
  RUN(&c);
  uint32_t t[3] = {1, 2, 4};
  for (int k = 1; k < LINKS; k++) {
    uint32_t u[3];
    for (int i = 0; i < 3; i++) u[i] = t[i] + t[(i + 1) % 3];
    memcpy(t, u, sizeof t);
  }
  for (int i = 0; i < 3; i++) ck_assert(get(&c, "y", i) == (double)t[i]);
  case_end(&c);
  arena_destroy(a);
} END_TEST

START_TEST(a_fault_at_the_end_of_a_chain_comes_through) {
  enum { LINKS = 20000 };
  Arena *a = arena_create();
  Buf b = buf_make(a);
  buf_puts(&b, "fn f(x: f32[N], k: i32[N]) -> y: f32[N] { t0[i] = x[k[i]]");
  for (int k = 1; k < LINKS; k++) buf_printf(&b, "\nt%d[i] = t%d[i] + 1", k, k - 1);
  buf_printf(&b, "\ny[i] = t%d[i] }", LINKS - 1);
  Case c = case_of(b.s);
  PUT(&c, "x", DIMS(2), 1, 100);
  PUT(&c, "k", DIMS(2), 0, 2);
  ck_assert(!run(&c));
  ck_assert_str_eq(c.fault.equation, "t0");
  ck_assert(c.fault.value == 2);
  case_end(&c);
  arena_destroy(a);
} END_TEST

// ---- updates

START_TEST(the_right_side_of_an_update_reads_old_values) {
  Case c = case_of("fn f(mut x: f32[N]) { x[i] <- x[N - 1 - i] + 1 }");
  PUT(&c, "x", DIMS(4), 1, 2, 3, 4);
  RUN(&c);
  const double want[] = {5, 4, 3, 2};
  for (int k = 0; k < 4; k++) ck_assert(get(&c, "x", k) == want[k]);
  case_end(&c);
} END_TEST

START_TEST(statements_after_an_update_see_the_new_values) {
  Case c = case_of("fn f(mut x: f32[N], p: i32) -> (a: f32[N], b: f32[N]) { a[i] = x[i]  x[p] <- x[p] * 10  x[i] <- x[i] + 1  b[i] = x[i] }");
  PUT(&c, "x", DIMS(3), 1, 2, 3);
  PUT_SCALAR(&c, "p", 1);
  RUN(&c);
  const double a[] = {1, 2, 3}, b[] = {2, 21, 4};
  for (int k = 0; k < 3; k++) ck_assert(get(&c, "a", k) == a[k] && get(&c, "b", k) == b[k] && get(&c, "x", k) == b[k]);
  case_end(&c);
} END_TEST

// g is computed lazily, after the second update, and must see the first.
START_TEST(an_equation_sees_the_version_that_stands_before_it) {
  Case c = case_of("fn f(mut x: f32[N]) -> y: f32[N] { x[i] <- x[i] + 1  g[i] = x[i] * 2  x[i] <- x[i] * 100  y[i] = g[i] + x[i] }");
  PUT(&c, "x", DIMS(2), 1, 2);
  RUN(&c);
  ck_assert(get(&c, "y", 0) == 4 + 200 && get(&c, "y", 1) == 6 + 300);
  case_end(&c);
} END_TEST

START_TEST(an_update_stores_only_where_its_condition_holds) {
  Case c = case_of("fn f(mut cache: f16[B, S], k: f32[B], pos: i32[B]) { cache[b, pos[b]] <- k[b] if pos[b] >= 0 }");
  PUT(&c, "cache", DIMS(3, 2), 1, 2, 3, 4, 5, 6);
  PUT(&c, "k", DIMS(3), 10, 20, 1 + 0x1p-12);
  PUT(&c, "pos", DIMS(3), 1, -1, 0);
  RUN(&c);
  const double want[] = {1, 10, 3, 4, 1, 6};               // 1 + 2^-12 rounds to 1 in f16
  for (int k = 0; k < 6; k++) ck_assert(get(&c, "cache", k) == want[k]);
  case_end(&c);
} END_TEST

START_TEST(a_store_out_of_range_is_a_fault) {
  Case c = case_of("fn f(mut cache: f32[B, S], k: f32[B], pos: i32[B]) { cache[b, pos[b]] <- k[b] }");
  PUT(&c, "cache", DIMS(2, 3), 1, 2, 3, 4, 5, 6);
  PUT(&c, "k", DIMS(2), 10, 20);
  PUT(&c, "pos", DIMS(2), 2, 3);
  ck_assert(!run(&c));
  ck_assert_str_eq(c.fault.text, "cache[b, pos[b]]: subscript 1 of `cache` is 3, allowed 0..2 (in `cache`)");
  ck_assert(get(&c, "cache", 2) == 3);                     // nothing is written before all is computed
  case_end(&c);
} END_TEST

START_TEST(updates_reach_into_many_pages) {
  Case c = case_of("fn f(mut x: i32[N], p: i32[M]) -> s: i64 { x[p[i]] <- 5  x[p[i] + 1] <- x[p[i]] + 1  s = sum[j](i64(x[j])) }");
  enum { N = 3000000 };
  put_space(&c, "x", DIMS(N));
  PUT(&c, "p", DIMS(3), 0, 1500000, N - 2);
  RUN(&c);
  ck_assert(get(&c, "s", 0) == 33 && get(&c, "x", 1500001) == 6 && get(&c, "x", 1500002) == 0);
  case_end(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    a_linear_recurrence_starts_from_its_default, equations_of_one_recurrence_run_together,
    the_largest_values_are_found_by_a_recurrence_over_rank, a_recurrence_may_run_backwards_in_its_other_subscripts,
    a_recurrence_of_a_million_steps_needs_no_deep_stack, a_deep_recurrence_reports_only_faults_that_are_read,
    two_deep_recurrences_may_feed_each_other_in_turn, an_element_that_nothing_reads_is_never_computed,
    an_element_behind_a_false_condition_is_never_computed, a_fault_names_the_equation_that_has_it,
    a_huge_tensor_of_which_little_is_read_costs_little, a_chain_of_fifty_thousand_equations_needs_no_deep_stack,
    each_element_of_a_chain_is_computed_once, a_fault_at_the_end_of_a_chain_comes_through,
    the_right_side_of_an_update_reads_old_values, statements_after_an_update_see_the_new_values,
    an_equation_sees_the_version_that_stands_before_it, an_update_stores_only_where_its_condition_holds,
    a_store_out_of_range_is_a_fault, updates_reach_into_many_pages};
  return UNIT_RUN("interp_order", tests);
}
