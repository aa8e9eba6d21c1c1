// test_bind.c: what fn_bind makes of the extents of a call's arguments, and what it refuses.
#include "tests/unit/interp_case.h"

// Binds with the extents given by shape(); no data is looked at but scalars'.
static void shape(Case *c, const char *name, int rank, const int64_t *extent) {
  const Tensor *t;
  View *v = param_view(c, name, &t);
  v->rank = rank;
  for (int k = 0; k < rank; k++) v->extent[k] = extent[k];
}

static bool binds(Case *c) {
  c->dims = arena_array(c->a, int64_t, c->f->x->next_dim + 1);
  return fn_bind(c->f, c->params, c->dims, &c->fault);
}

static int64_t dim(Case *c, const char *name) {
  for (int k = 0; k < c->f->dims.n; k++)
    if (strcmp(c->f->dims.v[k]->name, name) == 0) return c->dims[c->f->dims.v[k]->id];
  ck_abort_msg("no dimension %s", name);
  return -1;
}

START_TEST(dimensions_come_from_the_arguments) {
  Case c = case_of("fn f(x: f32[N, D], w: f32[D]) -> y: f32[N] { y[i] = sum[j](x[i, j] * w[j]) }");
  shape(&c, "x", DIMS(3, 5));
  shape(&c, "w", DIMS(5));
  ck_assert(binds(&c));
  ck_assert(dim(&c, "N") == 3 && dim(&c, "D") == 5);
  case_end(&c);
} END_TEST

START_TEST(linear_extents_are_solved) {
  Case c = case_of("fn f(row: i32[M + 1], w: f32[H * E, 2 * K - 3], e: f32[E]) -> y: f32[M] { y[i] = f32(row[i]) }");
  shape(&c, "row", DIMS(7));
  shape(&c, "w", DIMS(12, 5));
  shape(&c, "e", DIMS(4));
  ck_assert(binds(&c));
  ck_assert(dim(&c, "M") == 6 && dim(&c, "H") == 3 && dim(&c, "E") == 4 && dim(&c, "K") == 4);
  case_end(&c);
} END_TEST

START_TEST(an_extent_that_no_dimension_gives_is_refused) {
  const char *text = "fn f(row: i32[M + 1], w: f32[H * E], e: f32[E]) -> y: f32[M] { y[i] = f32(row[i]) }";
  const int64_t bad[][3] = {{0, 12, 4}, {1, 10, 4}, {1, 3, 0}};
  const char *const says[] = {"extent 0 of `row` is 0, which is M + 1 for no M", "extent 0 of `w` is 10, which is H * E for no H",
                              "extent 0 of `w` is 3, which is H * E for no H"};
  for (int k = 0; k < 3; k++) {
    Case c = case_of(text);
    shape(&c, "row", DIMS(bad[k][0]));
    shape(&c, "w", DIMS(bad[k][1]));
    shape(&c, "e", DIMS(bad[k][2]));
    ck_assert(!binds(&c));
    ck_assert(c.fault.code == E_call_shape);
    ck_assert_str_eq(c.fault.text, says[k]);
    case_end(&c);
  }
} END_TEST

START_TEST(extents_must_agree) {
  Case c = case_of("fn f(x: f32[N, D], w: f32[D], u: f32[3]) -> y: f32[N] { y[i] = sum[j](x[i, j] * w[j]) + u[0] }");
  shape(&c, "x", DIMS(3, 5));
  shape(&c, "w", DIMS(6));
  shape(&c, "u", DIMS(3));
  ck_assert(!binds(&c));
  ck_assert(c.fault.code == E_call_shape && c.fault.axis == 0 && c.fault.value == 6 && c.fault.extent == 5);
  ck_assert_str_eq(c.fault.text, "extent 0 of `w` is 6, but D is 5");
  shape(&c, "w", DIMS(5));
  shape(&c, "u", DIMS(4));
  ck_assert(!binds(&c));
  ck_assert_str_eq(c.fault.text, "extent 0 of `u` is 4, but 3 is declared");
  case_end(&c);
} END_TEST

START_TEST(ranks_must_agree) {
  Case c = case_of("fn f(x: f32[N, D]) -> y: f32[N] { y[i] = x[i, 0] }");
  shape(&c, "x", DIMS(3));
  ck_assert(!binds(&c));
  ck_assert(c.fault.code == E_call_rank);
  ck_assert_str_eq(c.fault.text, "`x` has 1 dimension, but 2 are declared");
  case_end(&c);
} END_TEST

START_TEST(a_where_condition_that_fails_shows_its_values) {
  Case c = case_of("fn f(x: f32[H], y: f32[G], p: f32) -> z: f32[H] where H % G == 0, p < 1 { z[i] = x[i] + y[i % G] * p }");
  shape(&c, "x", DIMS(6));
  shape(&c, "y", DIMS(4));
  PUT_SCALAR(&c, "p", 0.5);
  ck_assert(!binds(&c));
  ck_assert(c.fault.code == E_where_failed);
  ck_assert_str_eq(c.fault.text, "where-condition does not hold: H % G == 0 (H = 6, G = 4)");
  shape(&c, "y", DIMS(3));
  ck_assert(binds(&c));
  PUT_SCALAR(&c, "p", 1.5);
  ck_assert(!binds(&c));
  ck_assert_str_eq(c.fault.text, "where-condition does not hold: p < 1 (p = 1.5)");
  case_end(&c);
} END_TEST

START_TEST(extents_of_scalar_arguments_may_not_be_negative_or_huge) {
  const double n[] = {-1, 0, 1e12, 2e12, 1 << 20};
  const Code code[] = {E_call_extent, E_COUNT, E_COUNT, E_limit_extent, E_COUNT};
  for (int k = 0; k < 5; k++) {
    Case c = case_of("fn f(n: i64) -> y: f32[n] { y[i] = f32(i) }");
    PUT_SCALAR(&c, "n", n[k]);
    bool ok = binds(&c);
    ck_assert(ok == (code[k] == E_COUNT));
    if (!ok) ck_assert(c.fault.code == code[k]);
    case_end(&c);
  }
  Case c = case_of("fn f(n: i64) -> y: f32[n, n] { y[i, j] = f32(i) }");
  PUT_SCALAR(&c, "n", 1 << 21);                            // 2^42 elements
  ck_assert(!binds(&c));
  ck_assert(c.fault.code == E_limit_extent);
  ck_assert_str_eq(c.fault.text, "`y` would have more than 1099511627776 elements");
  case_end(&c);
} END_TEST

START_TEST(extents_that_overflow_are_refused) {
  Case c = case_of("fn f(n: i64) -> y: f32[n * n * n] { y[i] = f32(i) }");
  PUT_SCALAR(&c, "n", 9e18);
  ck_assert(!binds(&c));
  ck_assert(c.fault.code == E_limit_extent);
  ck_assert_str_eq(c.fault.text, "extent 0 of `y`: n * n * n overflows");
  case_end(&c);
} END_TEST

START_TEST(rows_of_a_format_are_whole_blocks) {
  Case c = case_of("format q of 32 { d: f32  q: i8[32]  value[k] = d * q[k] }\nfn f(w: q[N, K]) -> y: f32[N] { y[i] = w[i, 0] }");
  shape(&c, "w", DIMS(2, 48));
  ck_assert(!binds(&c));
  ck_assert(c.fault.code == E_call_block && c.fault.axis == 1);
  ck_assert_str_eq(c.fault.text, "extent 1 of `w` is 48, but q is stored in blocks of 32");
  shape(&c, "w", DIMS(3, 64));
  ck_assert(binds(&c));
  case_end(&c);
} END_TEST

START_TEST(packed_rows_are_whole_bytes) {
  Case c = case_of("fn f(w: u4[N, K]) -> y: i32[N] { y[i] = w[i, 0] }");
  shape(&c, "w", DIMS(2, 3));
  ck_assert(!binds(&c));
  ck_assert_str_eq(c.fault.text, "extent 1 of `w` is 3, but u4 is stored in blocks of 2");
  shape(&c, "w", DIMS(3, 2));
  ck_assert(binds(&c));
  case_end(&c);
} END_TEST

START_TEST(locals_are_checked_before_anything_runs) {
  Case c = case_of("fn f(x: f32[N], n: i64) -> y: f32[N] { h[i < n - 5] = x[0]  y[i] = x[i] + sum[j < n - 5](h[j]) }");
  PUT(&c, "x", DIMS(2), 1, 2);
  PUT_SCALAR(&c, "n", 3);
  ck_assert(!binds(&c));
  ck_assert(c.fault.code == E_call_extent && c.fault.value == -2);
  case_end(&c);
} END_TEST

START_TEST(negative_or_absurd_extents_of_arguments_are_refused) {
  Case c = case_of("fn f(x: f32[N]) -> y: f32[N] { y[i] = x[i] }");
  shape(&c, "x", DIMS(-1));
  ck_assert(!binds(&c));
  ck_assert(c.fault.code == E_call_extent);
  shape(&c, "x", DIMS(INT64_MAX));
  ck_assert(!binds(&c));
  ck_assert(c.fault.code == E_limit_extent);
  case_end(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    dimensions_come_from_the_arguments, linear_extents_are_solved, an_extent_that_no_dimension_gives_is_refused,
    extents_must_agree, ranks_must_agree, a_where_condition_that_fails_shows_its_values,
    extents_of_scalar_arguments_may_not_be_negative_or_huge, extents_that_overflow_are_refused,
    rows_of_a_format_are_whole_blocks, packed_rows_are_whole_bytes, locals_are_checked_before_anything_runs,
    negative_or_absurd_extents_of_arguments_are_refused};
  return UNIT_RUN("bind", tests);
}
