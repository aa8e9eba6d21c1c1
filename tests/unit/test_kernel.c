// test_kernel.c: kernels as text, and what plan_verify refuses.
#include "plans.h"
#include "unit.h"
#include <string.h>

START_TEST(a_plan_prints_as_indented_loops) {
  Make m = make_softmax();
  Buf b = buf_make(m.a);
  plan_print(m.p, &b);
  ck_assert_str_eq(b.s,
    "kernel softmax_y(out y, x)\n"
    "  par i in 0 .. N if N * D\n"
    "    var m: f32[16 lanes] = -inf\n"
    "    # m[i] = max[j](x[i, j])\n"
    "    lanes(16) j in 0 .. D\n"
    "      m = max(m, x[i, j])\n"
    "    fold m = max\n"
    "    var z: f32[16 lanes] = 0.0\n"
    "    # z[i] = sum[j](exp(x[i, j] - m[i]))\n"
    "    lanes(16) j in 0 .. D\n"
    "      z = sum(z, exp(x[i, j] - m))\n"
    "    fold z = sum\n"
    "    # y[i, j] = exp(x[i, j] - m[i]) / z[i]\n"
    "    vec j in 0 .. D\n"
    "      y[i, j] = exp(x[i, j] - m) / z\n");
  arena_destroy(m.a);
} END_TEST

// y[i] = t[ids[i]] or a fault, with a temporary, a local array and a filtered argmax: all kinds of statements.
static Make make_everything(void) {
  Make m = make_plan("all");
  Expr *n = make_dim(&m, "N"), *four = make_int(&m, 4);
  Tensor *ids = make_param(&m, "ids", DT_I64, 1, &n), *y = make_result(&m, "y", DT_I64, 1, &n);
  Tensor *h = make_temp(&m, "h", DT_I64, 1, &n, make_int(&m, 0), make_op(&m, OP_MUL, n, make_int(&m, 8)));
  Tensor *s = make_local(&m, "s", DT_F32, 1, &four);
  make_kernel(&m, "all_h");
  make_args(&m, 2, (KernelArg[]){{h, false, true}, {ids, true, false}});
  Expr *i = make_for(&m, "i", n, HOW_PAR_VEC);
  make_store(&m, h, &i, make_read(&m, ids, &i));
  make_end(&m);
  make_kernel(&m, "all_y");
  make_args(&m, 2, (KernelArg[]){{y, false, true}, {h, true, false}});
  i = make_for(&m, "i", n, HOW_PAR);
  make_alloc(&m, s);
  Expr *k = make_for(&m, "k", four, HOW_UNROLL);
  make_store(&m, s, &k, make_cast(&m, DT_F32, k));
  make_end(&m);
  Expr *best = make_var(&m, "best", make_float(&m, -1.0 / 0.0), 1), *at = make_var(&m, "at", make_int(&m, -1), 1);
  k = make_for(&m, "k", four, HOW_SEQ);
  make_if(&m, make_op(&m, OP_GT, k, make_int(&m, 1)));
  make_acc_at(&m, RED_ARGMAX, best, at, make_read(&m, s, &k), k);
  make_end(&m);
  make_end(&m);
  make_fold(&m, RED_ARGMAX, best, at);
  Expr *id = make_let(&m, "id", make_read(&m, h, &i));
  make_if(&m, make_op(&m, OP_GE, id, make_int(&m, 0)));
  make_store(&m, y, &i, make_op(&m, OP_ADD, id, at));
  make_else(&m);
  make_fault(&m, make_site(&m, E_data_subscript, y, ids, 0, n), id);
  make_end(&m);
  make_end(&m);
  vec_push(m.a, &m.p->conds, (Where){.e = make_op(&m, OP_GE, n, make_int(&m, 1))});
  vec_push(m.a, &m.p->cond_sites, make_site(&m, E_call_bounds, y, ids, 0, n));
  return m;
}

START_TEST(every_statement_has_a_line_of_text) {
  Make m = make_everything();
  Buf b = buf_make(m.a);
  plan_print(m.p, &b);
  ck_assert_str_eq(b.s,
    "temp h: i64[N] at 0 in kernels 0 .. 0\n"
    "scratch 0 + N * 8 bytes\n"
    "check N >= 1\n"
    "site 1: subscript out of range, ids subscript 0 of 0 .. N, in the equation of y\n"
    "site 2: subscript out of range for these extents, ids subscript 0 of 0 .. N, in the equation of y\n"
    "\n"
    "kernel all_h(out h, ids)\n"
    "  par vec i in 0 .. N\n"
    "    h[i] = ids[i]\n"
    "\n"
    "kernel all_y(out y, h)\n"
    "  par i in 0 .. N\n"
    "    alloc s: f32[4]\n"
    "    unroll k in 0 .. 4\n"
    "      s[k] = f32(k)\n"
    "    var best: f32 = -inf\n"
    "    var at: i64 = -1\n"
    "    for k in 0 .. 4\n"
    "      if k > 1\n"
    "        best, at = argmax(best, s[k] at k)\n"
    "    fold best, at = argmax\n"
    "    let id: i64 = h[i]\n"
    "    if id >= 0\n"
    "      y[i] = id + at\n"
    "    else\n"
    "      fault 1, id\n");
  arena_destroy(m.a);
} END_TEST

START_TEST(whole_plans_pass_verification) {
  Make all[] = {make_softmax(), make_everything()};
  for (int k = 0; k < 2; k++) {
    Buf why = buf_make(all[k].a);
    ck_assert_msg(plan_verify(all[k].p, &why), "%s", why.s);
    arena_destroy(all[k].a);
  }
} END_TEST

static void must_fail(Make *m, const char *part) {
  Buf why = buf_make(m->a);
  ck_assert(!plan_verify(m->p, &why));
  ck_assert_msg(strstr(why.s, part) != NULL, "`%s` says nothing of `%s`", why.s, part);
  arena_destroy(m->a);
}

// A plan y: f32[N] of x: f32[N] with one open loop over i, to be broken.
typedef struct Broken { Make m; Expr *n, *i; Tensor *x, *y; } Broken;
static Broken make_broken(LoopHow how) {
  Broken b = {.m = make_plan("broken")};
  b.n = make_dim(&b.m, "N");
  b.x = make_param(&b.m, "x", DT_F32, 1, &b.n);
  b.y = make_result(&b.m, "y", DT_F32, 1, &b.n);
  make_kernel(&b.m, "broken_y");
  make_args(&b.m, 2, (KernelArg[]){{b.y, false, true}, {b.x, true, false}});
  b.i = make_for(&b.m, "i", b.n, how);
  return b;
}

START_TEST(an_index_outside_its_loop_is_refused) {
  Broken b = make_broken(HOW_SEQ);
  make_end(&b.m);
  make_store(&b.m, b.y, &b.i, make_float(&b.m, 0));
  must_fail(&b.m, "an index is used outside its loop: i");
} END_TEST

START_TEST(a_variable_outside_its_block_is_refused) {
  Broken b = make_broken(HOW_SEQ);
  make_if(&b.m, make_op(&b.m, OP_GT, b.i, make_int(&b.m, 3)));
  Expr *v = make_let(&b.m, "v", make_read(&b.m, b.x, &b.i));
  make_end(&b.m);
  make_store(&b.m, b.y, &b.i, v);
  must_fail(&b.m, "a variable is used before it is declared: v");
} END_TEST

START_TEST(a_change_of_a_let_is_refused) {
  Broken b = make_broken(HOW_SEQ);
  make_set(&b.m, make_let(&b.m, "v", make_float(&b.m, 1)), make_float(&b.m, 2));
  must_fail(&b.m, "a change of a LET: v");
} END_TEST

START_TEST(lanes_outside_their_loop_are_refused) {
  Broken b = make_broken(HOW_SEQ);
  Expr *v = make_var(&b.m, "v", make_float(&b.m, 0), 16);
  make_store(&b.m, b.y, &b.i, v);
  must_fail(&b.m, "lanes are read outside their loop: v");
} END_TEST

START_TEST(lanes_of_another_number_are_refused) {
  Broken b = make_broken(HOW_SEQ);
  Expr *v = make_var(&b.m, "v", make_float(&b.m, 0), 8), *j = make_for(&b.m, "j", b.n, HOW_LANES);
  make_acc(&b.m, RED_SUM, v, make_read(&b.m, b.x, &j));
  must_fail(&b.m, "lanes are changed outside their loop: v");
} END_TEST

START_TEST(lanes_that_are_no_power_of_two_are_refused) {
  Broken b = make_broken(HOW_LANES);
  b.m.open[1]->lanes = 12;
  must_fail(&b.m, "lanes are no power of two: i");
} END_TEST

START_TEST(a_reduction_inside_an_expression_is_refused) {
  Broken b = make_broken(HOW_SEQ);
  Index *j = index_new(b.m.x, make_name(&b.m, "j"), NO_SPAN);
  Expr *at = expr_index(b.m.x, j), *zero = make_int(&b.m, 0);
  Expr *sum = expr_reduce(b.m.x, RED_SUM, 1, &j, &zero, &b.n, expr_bool(b.m.x, true, NO_SPAN), make_read(&b.m, b.x, &at), NO_SPAN);
  make_store(&b.m, b.y, &b.i, sum);
  must_fail(&b.m, "a reduction inside an expression");
} END_TEST

START_TEST(a_tensor_that_is_no_argument_is_refused) {
  Broken b = make_broken(HOW_SEQ);
  make_store(&b.m, b.x, &b.i, make_float(&b.m, 0));
  must_fail(&b.m, "not among the arguments that it writes: x");
} END_TEST

START_TEST(a_local_array_without_its_alloc_is_refused) {
  Broken b = make_broken(HOW_SEQ);
  Expr *four = make_int(&b.m, 4);
  make_store(&b.m, make_local(&b.m, "s", DT_F32, 1, &four), &b.i, make_float(&b.m, 0));
  must_fail(&b.m, "no ALLOC around the use of s");
} END_TEST

START_TEST(half_bytes_in_a_vector_loop_are_refused) {
  Broken b = make_broken(HOW_VEC);
  Tensor *z = make_result(&b.m, "z", DT_I4, 1, &b.n);
  make_args(&b.m, 1, (KernelArg[]){{z, false, true}});
  make_store(&b.m, z, &b.i, make_int32(&b.m, 1));
  must_fail(&b.m, "half a byte is stored in a vector loop: z");
} END_TEST

START_TEST(two_kernels_of_one_name_are_refused) {
  Broken b = make_broken(HOW_SEQ);
  make_kernel(&b.m, "broken_y");
  must_fail(&b.m, "two kernels have the name broken_y");
} END_TEST

START_TEST(a_fault_without_a_site_is_refused) {
  Broken b = make_broken(HOW_SEQ);
  make_fault(&b.m, arena_new(b.m.a, Site), b.i);
  must_fail(&b.m, "a fault without its site");
} END_TEST

START_TEST(a_place_follows_from_role_and_temps) {
  Make m = make_everything();
  const Place want[] = {PLACE_ARG, PLACE_ARG, PLACE_SCRATCH, PLACE_STACK};
  for (int k = 0; k < 4; k++) ck_assert_int_eq(tensor_place(m.p, m.f->tensors.v[k]), want[k]);
  arena_destroy(m.a);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    a_plan_prints_as_indented_loops, every_statement_has_a_line_of_text, whole_plans_pass_verification, an_index_outside_its_loop_is_refused,
    a_variable_outside_its_block_is_refused, a_change_of_a_let_is_refused, lanes_outside_their_loop_are_refused,
    lanes_of_another_number_are_refused, lanes_that_are_no_power_of_two_are_refused, a_reduction_inside_an_expression_is_refused,
    a_tensor_that_is_no_argument_is_refused, a_local_array_without_its_alloc_is_refused, half_bytes_in_a_vector_loop_are_refused,
    two_kernels_of_one_name_are_refused, a_fault_without_a_site_is_refused, a_place_follows_from_role_and_temps,
  };
  return UNIT_RUN("kernel", tests);
}
