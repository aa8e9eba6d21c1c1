// test_call.c: calls of compiled plans: conditions, scratch memory, faults.
#include "built.h"
#include "unit.h"
#include <stdint.h>

// y[i] = h[i] + 1 through a temporary h of N floats; h[i] = x[i], and N >= 2 is asked for.
static Make make_through(void) {
  Make m = make_plan("through");
  Expr *n = make_dim(&m, "N");
  Tensor *x = make_param(&m, "x", DT_F32, 1, &n), *y = make_result(&m, "y", DT_F32, 1, &n);
  Tensor *h = make_temp(&m, "h", DT_F32, 1, &n, make_int(&m, 0), make_op(&m, OP_MUL, n, make_int(&m, 4)));
  make_kernel(&m, "through_h");
  Expr *i = make_for(&m, "i", n, HOW_VEC);
  make_store(&m, h, &i, make_read(&m, x, &i));
  make_end(&m);
  make_kernel(&m, "through_y");
  i = make_for(&m, "i", n, HOW_VEC);
  make_store(&m, y, &i, make_op(&m, OP_ADD, make_read(&m, h, &i), make_float(&m, 1)));
  make_end(&m);
  Site *s = make_site(&m, E_call_bounds, y, x, 0, n);
  Expr *one = make_int(&m, 1);
  s->e = make_read(&m, x, &one);
  vec_push(m.a, &m.p->conds, (Where){.e = make_op(&m, OP_GE, n, make_int(&m, 2))});
  vec_push(m.a, &m.p->cond_sites, s);
  return m;
}

typedef struct Ready { Make m; void *so; CallEntry *entry; float x[8], y[8]; View in, out; int64_t dims[4]; Fault fault; } Ready;

static void make_ready(Ready *r, int n) {
  r->m = make_through();
  r->so = built_load("gcc", "-O1", built_text(&r->m, true));
  r->entry = built_entry(r->so);
  for (int k = 0; k < 8; k++) r->x[k] = (float)k, r->y[k] = -1;
  r->in = view1(r->x, n);
  r->out = view1(r->y, n);
  r->fault = (Fault){0};
  ck_assert(fn_bind(r->m.f, &r->in, r->dims, &r->fault));
}

static CallStatus run(Ready *r, void *scratch, size_t bytes) {
  return call_run(r->m.p, r->entry, &r->in, r->dims, &r->out, scratch, bytes, &r->fault);
}

static void done(Ready *r) {
  dlclose(r->so);
  arena_destroy(r->m.a);
}

START_TEST(scratch_memory_of_the_caller_is_used) {
  Ready r;
  make_ready(&r, 8);
  ck_assert_int_eq(call_scratch_bytes(r.m.p, r.dims, &r.in), 32);
  _Alignas(64) float scratch[8];
  ck_assert_int_eq(run(&r, scratch, sizeof scratch), CALL_OK);
  ck_assert(scratch[7] == 7 && r.y[7] == 8 && r.y[0] == 1);
  done(&r);
} END_TEST

START_TEST(scratch_memory_is_allocated_when_the_caller_has_none) {
  Ready r;
  make_ready(&r, 8);
  ck_assert_int_eq(run(&r, NULL, 0), CALL_OK);
  ck_assert(r.y[7] == 8);
  done(&r);
} END_TEST

START_TEST(scratch_memory_too_small_or_misaligned_is_refused_before_anything_is_written) {
  Ready r;
  make_ready(&r, 8);
  _Alignas(64) char scratch[128];
  ck_assert_int_eq(run(&r, scratch, 31), CALL_SCRATCH);
  ck_assert_int_eq(run(&r, scratch + 4, 64), CALL_SCRATCH);
  ck_assert(r.y[0] == -1);
  done(&r);
} END_TEST

START_TEST(a_condition_that_fails_stops_the_call_before_anything_is_written) {
  Ready r;
  make_ready(&r, 1);
  ck_assert_int_eq(run(&r, NULL, 0), CALL_FAULT);
  ck_assert_int_eq(r.fault.code, E_call_bounds);
  ck_assert_str_eq(r.fault.text, "x[1]: subscript 0 of `x` is out of range for these extents (in `y`)");
  ck_assert(r.y[0] == -1);
  done(&r);
} END_TEST

static const char *text_of_fault(Make *m, const Site *s, int64_t value, const int64_t *dims) {
  static Fault fault;
  call_fault(m->p, s, value, dims, NULL, &fault);
  return fault.text;
}

START_TEST(faults_speak_as_the_interpreter_does) {
  Make m = make_plan("words");
  Expr *n = make_dim(&m, "N"), *i = make_int(&m, 2);
  Tensor *x = make_param(&m, "x", DT_F32, 1, &n), *y = make_result(&m, "y", DT_F32, 1, &n);
  int64_t dims[2] = {7, 7}, none[2] = {0, 0};
  Site *s = make_site(&m, E_data_subscript, y, x, 0, n);
  ck_assert_str_eq(text_of_fault(&m, s, 9, dims), "subscript 0 of `x` is 9, allowed 0..6 (in `y`)");
  ck_assert_str_eq(text_of_fault(&m, s, 9, none), "subscript 0 of `x` is 9, but it has no elements (in `y`)");
  s->e = make_read(&m, x, &i);
  ck_assert_str_eq(text_of_fault(&m, s, -1, dims), "x[2]: subscript 0 of `x` is -1, allowed 0..6 (in `y`)");
  ck_assert_str_eq(text_of_fault(&m, make_site(&m, E_data_argmax_empty, y, NULL, -1, NULL), 0, dims), "the range is empty (in `y`)");
  ck_assert_str_eq(text_of_fault(&m, make_site(&m, E_data_range, y, NULL, -1, NULL), 1ll << 33, dims),
                   "8589934592 steps, at most 2147483648 are allowed (in `y`)");
  arena_destroy(m.a);
} END_TEST

START_TEST(a_size_that_overflows_is_no_size) {
  Make m = make_through();
  m.p->scratch_bytes = make_op(&m, OP_MUL, expr_dim(m.x, m.f->dims.v[0]), make_int(&m, INT64_MAX));
  int64_t dims[1] = {2};
  ck_assert_int_eq(call_scratch_bytes(m.p, dims, NULL), -1);
  arena_destroy(m.a);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    scratch_memory_of_the_caller_is_used, scratch_memory_is_allocated_when_the_caller_has_none,
    scratch_memory_too_small_or_misaligned_is_refused_before_anything_is_written,
    a_condition_that_fails_stops_the_call_before_anything_is_written, faults_speak_as_the_interpreter_does, a_size_that_overflows_is_no_size,
  };
  return UNIT_RUN("call", tests);
}
