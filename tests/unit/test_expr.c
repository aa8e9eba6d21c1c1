// test_expr.c: hash-consed expressions: identity, free indices, substitution, walks, equality, folding.
#include "ir/fn.h"
#include "tests/unit/unit.h"
#include <math.h>
#include <string.h>

typedef struct World {
  Arena *a; Interner *names; Fn *f; ExprTable *x;
  Expr *N, *M;
  Index *ix[4]; Expr *i[4];         // i j k l
  Tensor *v, *m, *h;                // f32[N], f32[N, M], f16[N]
} World;

static World world(void) {
  World w = {.a = arena_create()};
  w.names = intern_create(w.a);
  w.f = fn_new(w.a, w.names, NULL, intern(w.names, "f"));
  w.x = w.f->x;
  w.N = expr_dim(w.x, dim_new(w.x, intern(w.names, "N"), NO_SPAN));
  w.M = expr_dim(w.x, dim_new(w.x, intern(w.names, "M"), NO_SPAN));
  static const char *const names[] = {"i", "j", "k", "l"};
  for (int k = 0; k < 4; k++) w.i[k] = expr_index(w.x, w.ix[k] = index_new(w.x, intern(w.names, names[k]), NO_SPAN));
  Expr *extents[] = {w.N, w.M};
  w.v = fn_tensor(w.f, intern(w.names, "v"), ROLE_PARAM, DT_F32, NULL, 1, extents, NO_SPAN);
  w.m = fn_tensor(w.f, intern(w.names, "m"), ROLE_PARAM, DT_F32, NULL, 2, extents, NO_SPAN);
  w.h = fn_tensor(w.f, intern(w.names, "h"), ROLE_PARAM, DT_F16, NULL, 1, extents, NO_SPAN);
  return w;
}

static Expr *num(World *w, int64_t c) { return expr_int(w->x, DT_I64, c, NO_SPAN); }
static Expr *flt(World *w, double c) { return expr_float(w->x, DT_F32, c, NO_SPAN); }
static Expr *op(World *w, Op o, Expr *a, Expr *b) { return expr_op2(w->x, o, a, b, NO_SPAN); }
static Expr *add(World *w, Expr *a, Expr *b) { return op(w, OP_ADD, a, b); }
static Expr *at1(World *w, Expr *i) { return expr_read(w->x, w->v, 1, &i, NULL, NO_SPAN); }
static Expr *at2(World *w, Expr *i, Expr *j) { return expr_read(w->x, w->m, 2, (Expr *[]){i, j}, NULL, NO_SPAN); }

static Expr *sum(World *w, Index *ix, Expr *hi, Expr *term) {
  Expr *lo = num(w, 0);
  return expr_reduce(w->x, RED_SUM, 1, &ix, &lo, &hi, NULL, term, NO_SPAN);
}

START_TEST(equal_expressions_are_one_object) {
  World w = world();
  uint32_t n = w.x->n;
  ck_assert_ptr_eq(add(&w, w.i[0], num(&w, 1)), add(&w, w.i[0], num(&w, 1)));
  ck_assert_uint_eq(w.x->n, n + 2);
  ck_assert_ptr_ne(add(&w, w.i[0], w.i[1]), add(&w, w.i[1], w.i[0]));
  ck_assert_ptr_ne(add(&w, w.i[0], w.i[1]), op(&w, OP_SUB, w.i[0], w.i[1]));
  ck_assert_ptr_eq(sum(&w, w.ix[0], w.N, at1(&w, w.i[0])), sum(&w, w.ix[0], w.N, at1(&w, w.i[0])));
  ck_assert_ptr_ne(sum(&w, w.ix[0], w.N, flt(&w, 1)), sum(&w, w.ix[1], w.N, flt(&w, 1)));
  arena_destroy(w.a);
} END_TEST

START_TEST(constants_are_told_apart_by_type_and_bits) {
  World w = world();
  ck_assert_ptr_ne(flt(&w, 0.0), flt(&w, -0.0));
  ck_assert_ptr_eq(flt(&w, NAN), flt(&w, -NAN));
  ck_assert_ptr_ne(flt(&w, 1), expr_float(w.x, DT_F64, 1, NO_SPAN));
  ck_assert_ptr_ne(num(&w, 1), expr_int(w.x, DT_I32, 1, NO_SPAN));
  ck_assert_ptr_eq(expr_int(w.x, DT_U32, -1, NO_SPAN), expr_int(w.x, DT_U32, UINT32_MAX, NO_SPAN));
  ck_assert_ptr_eq(flt(&w, 0.1), flt(&w, (double)0.1f));
  ck_assert(expr_is_int(num(&w, 3), 3) && !expr_is_int(num(&w, 3), 4) && !expr_is_int(flt(&w, 3), 3));
  ck_assert(expr_is_true(expr_bool(w.x, true, NO_SPAN)) && expr_is_false(expr_bool(w.x, false, NO_SPAN)));
  arena_destroy(w.a);
} END_TEST

START_TEST(arguments_have_smaller_ids_and_the_table_keeps_growing) {
  World w = world();
  Expr *e = w.i[0], *all[3000];
  for (int k = 0; k < 3000; k++) all[k] = e = add(&w, w.i[0], num(&w, k));
  for (int k = 0; k < 3000; k++) {
    ck_assert_ptr_eq(all[k], add(&w, w.i[0], num(&w, k)));
    for (uint32_t n = 0; n < all[k]->nargs; n++) ck_assert_uint_lt(all[k]->arg[n]->id, all[k]->id);
  }
  ck_assert(!w.x->overflow);
  arena_destroy(w.a);
} END_TEST

START_TEST(free_indices_are_those_not_bound) {
  World w = world();
  Expr *e = sum(&w, w.ix[1], add(&w, w.i[2], num(&w, 1)), at2(&w, w.i[0], w.i[1]));    // sum[j < k + 1](m[i, j])
  ck_assert(expr_uses_index(e, w.ix[0]));
  ck_assert(!expr_uses_index(e, w.ix[1]));
  ck_assert(expr_uses_index(e, w.ix[2]));
  ck_assert_int_eq(e->free->n, 2);
  Expr *lo[] = {num(&w, 0), num(&w, 0)}, *hi[] = {w.N, w.i[0]};                        // sum[i < N, j < i](m[i, j])
  Expr *both = expr_reduce(w.x, RED_SUM, 2, w.ix, lo, hi, NULL, at2(&w, w.i[0], w.i[1]), NO_SPAN);
  ck_assert_int_eq(both->free->n, 0);
  hi[0] = w.i[1];                                                                      // a bound does not see later indices
  ck_assert(expr_uses_index(expr_reduce(w.x, RED_SUM, 2, w.ix, lo, hi, NULL, at2(&w, w.i[0], w.i[1]), NO_SPAN), w.ix[1]));
  arena_destroy(w.a);
} END_TEST

START_TEST(types_follow_the_rules) {
  World w = world();
  ck_assert_int_eq(op(&w, OP_LT, w.i[0], w.N)->dtype, DT_BOOL);
  ck_assert_int_eq(expr_op1(w.x, OP_ISNAN, flt(&w, 1), NO_SPAN)->dtype, DT_BOOL);
  ck_assert_int_eq(expr_op1(w.x, OP_POPCOUNT, w.N, NO_SPAN)->dtype, DT_I32);
  ck_assert_int_eq(expr_read(w.x, w.h, 1, &w.i[0], NULL, NO_SPAN)->dtype, DT_F32);
  ck_assert_int_eq(sum(&w, w.ix[0], w.N, expr_bool(w.x, true, NO_SPAN))->dtype, DT_I32);
  Expr *three[] = {flt(&w, 1), flt(&w, 2), flt(&w, 3)};
  ck_assert_int_eq(expr_op(w.x, OP_FMA, three, NO_SPAN)->dtype, DT_F32);
  ck_assert_int_eq(op(&w, OP_UNIFORM, expr_int(w.x, DT_U64, 1, NO_SPAN), w.i[0])->dtype, DT_F32);
  arena_destroy(w.a);
} END_TEST

START_TEST(casts_that_change_nothing_are_not_made) {
  World w = world();
  Expr *e = at1(&w, w.i[0]), *half = expr_cast(w.x, DT_F16, e, NO_SPAN), *read = expr_read(w.x, w.h, 1, &w.i[0], NULL, NO_SPAN);
  ck_assert_ptr_eq(expr_cast(w.x, DT_F32, e, NO_SPAN), e);
  ck_assert(half->op == OP_CAST && half->dtype == DT_F32 && half->aux == DT_F16);
  ck_assert_ptr_eq(expr_cast(w.x, DT_F16, half, NO_SPAN), half);
  ck_assert_ptr_eq(expr_cast(w.x, DT_F16, read, NO_SPAN), read);
  ck_assert_ptr_ne(expr_cast(w.x, DT_BF16, half, NO_SPAN), half);
  ck_assert_int_eq(expr_stored(read), DT_F16);
  ck_assert_int_eq(expr_stored(expr_read(w.x, w.h, 1, &w.i[0], flt(&w, 0.1), NO_SPAN)), DT_F32);   // 0.1 is no f16
  arena_destroy(w.a);
} END_TEST

START_TEST(substitution_is_simultaneous) {
  World w = world();
  Expr *e = at2(&w, w.i[0], w.i[1]), *swapped = expr_subst(w.x, e, 2, w.ix, (Expr *[]){w.i[1], w.i[0]});
  ck_assert_ptr_eq(swapped, at2(&w, w.i[1], w.i[0]));
  ck_assert_ptr_eq(expr_subst(w.x, e, 1, &w.ix[2], &w.i[0]), e);
  arena_destroy(w.a);
} END_TEST

START_TEST(substitution_does_not_capture) {
  World w = world();
  Expr *e = sum(&w, w.ix[1], w.M, at2(&w, w.i[0], w.i[1]));              // sum[j < M](m[i, j]) with i := j + 1
  Expr *by = add(&w, w.i[1], num(&w, 1)), *made = expr_subst(w.x, e, 1, w.ix, &by);
  ck_assert(made->u.bind->ix[0] != w.ix[1]);
  Expr *fresh = expr_index(w.x, made->u.bind->ix[0]);
  ck_assert_ptr_eq(reduce_term(made), at2(&w, by, fresh));
  ck_assert(expr_uses_index(made, w.ix[1]));
  Expr *plain = expr_subst(w.x, e, 1, w.ix, &w.i[2]);                    // nothing to capture: the index stays
  ck_assert_ptr_eq(plain, sum(&w, w.ix[1], w.M, at2(&w, w.i[2], w.i[1])));
  arena_destroy(w.a);
} END_TEST

START_TEST(bound_indices_are_not_substituted_but_their_ranges_are) {
  World w = world();
  Expr *e = sum(&w, w.ix[0], add(&w, w.i[0], num(&w, 1)), at1(&w, w.i[0]));   // sum[i < (outer i) + 1](v[i])
  Expr *made = expr_subst(w.x, e, 1, w.ix, &w.i[2]);
  ck_assert_ptr_eq(made, sum(&w, w.ix[0], add(&w, w.i[2], num(&w, 1)), at1(&w, w.i[0])));
  arena_destroy(w.a);
} END_TEST

START_TEST(a_refreshed_expression_binds_other_indices) {
  World w = world();
  Expr *e = sum(&w, w.ix[0], w.N, sum(&w, w.ix[1], w.i[0], at2(&w, w.i[0], w.i[1]))), *made = expr_refresh(w.x, e);
  ck_assert_ptr_ne(made, e);
  ck_assert(expr_same(e, made, 0, NULL, NULL));
  ck_assert(made->u.bind->ix[0] != w.ix[0] && reduce_term(made)->u.bind->ix[0] != w.ix[1]);
  ck_assert_int_eq(made->free->n, 0);
  Expr *without = at1(&w, w.i[0]);
  ck_assert_ptr_eq(expr_refresh(w.x, without), without);
  arena_destroy(w.a);
} END_TEST

// 2^60 paths lead through it.
static Expr *lattice(World *w, int levels) {
  Expr *e = w->i[0];
  for (int k = 0; k < levels; k++) e = add(w, e, e);
  return e;
}

static Expr *swap_constant(void *cx, ExprTable *x, Expr *e) {
  ++*(int *)cx;
  return expr_is_int(e, 1) ? expr_int(x, DT_I64, 2, NO_SPAN) : e;
}

static void count(void *cx, Expr *e) {
  (void)e;
  ++*(int *)cx;
}

START_TEST(walks_take_time_in_nodes_not_in_paths) {
  World w = world();
  Expr *e = lattice(&w, 60), *other = expr_subst(w.x, e, 1, w.ix, &w.i[1]);
  int n = 0;
  ck_assert_int_eq(expr_size(e), 61);
  expr_visit(w.a, e, count, &n);
  ck_assert_int_eq(n, 61);
  n = 0;
  ck_assert_ptr_eq(expr_map(w.x, e, swap_constant, &n), e);
  ck_assert_int_eq(n, 61);
  ck_assert(!expr_reads(e, w.v) && !expr_has(e, OP_MUL) && expr_has(e, OP_INDEX));
  ck_assert(expr_same(e, other, 1, &w.ix[0], &w.ix[1]));
  ck_assert(!expr_same(e, other, 0, NULL, NULL));
  ck_assert_uint_eq(expr_shape_hash(e, 1, &w.ix[0]), expr_shape_hash(other, 1, &w.ix[1]));
  Expr *zero = num(&w, 0), *closed = expr_subst(w.x, e, 1, w.ix, &zero);
  Scalar v;
  ck_assert(expr_fold(closed, &v) && v.i == 0);
  ck_assert_ptr_nonnull(expr_refresh(w.x, e));
  arena_destroy(w.a);
} END_TEST

START_TEST(a_map_rebuilds_what_stands_above_a_change) {
  World w = world();
  int n = 0;
  Expr *e = at1(&w, add(&w, w.i[0], num(&w, 1)));
  ck_assert_ptr_eq(expr_map(w.x, e, swap_constant, &n), at1(&w, add(&w, w.i[0], num(&w, 2))));
  ck_assert_int_eq(n, 4);
  arena_destroy(w.a);
} END_TEST

typedef struct Seen { uint32_t ids[16]; int n; } Seen;

static void note(void *cx, Expr *e) {
  Seen *s = cx;
  for (uint32_t k = 0; k < e->nargs; k++) {
    bool found = false;
    for (int j = 0; j < s->n; j++) found |= s->ids[j] == e->arg[k]->id;
    ck_assert(found);
  }
  s->ids[s->n++] = e->id;
}

START_TEST(a_visit_sees_arguments_first) {
  World w = world();
  Seen s = {.n = 0};
  expr_visit(w.a, sum(&w, w.ix[1], w.M, op(&w, OP_MUL, at2(&w, w.i[0], w.i[1]), at1(&w, w.i[1]))), note, &s);
  ck_assert_int_eq(s.n, 9);                           // i, j, M, 0, true, m[i, j], v[j], the product, the sum
  arena_destroy(w.a);
} END_TEST

START_TEST(sameness_is_up_to_names_of_bound_indices) {
  World w = world();
  Expr *a = sum(&w, w.ix[1], w.M, at2(&w, w.i[0], w.i[1])), *b = sum(&w, w.ix[2], w.M, at2(&w, w.i[0], w.i[2]));
  Expr *c = sum(&w, w.ix[2], w.M, at2(&w, w.i[3], w.i[2])), *d = sum(&w, w.ix[2], w.N, at2(&w, w.i[0], w.i[2]));
  Expr *crossed = sum(&w, w.ix[2], w.M, at2(&w, w.i[2], w.i[0]));
  ck_assert(expr_same(a, b, 0, NULL, NULL));
  ck_assert(!expr_same(a, c, 0, NULL, NULL));
  ck_assert(expr_same(a, c, 1, &w.ix[0], &w.ix[3]));
  ck_assert(!expr_same(a, d, 0, NULL, NULL));
  ck_assert(!expr_same(a, crossed, 0, NULL, NULL));
  ck_assert_uint_eq(expr_shape_hash(a, 0, NULL), expr_shape_hash(b, 0, NULL));
  ck_assert_uint_eq(expr_shape_hash(a, 1, &w.ix[0]), expr_shape_hash(c, 1, &w.ix[3]));
  ck_assert_uint_ne(expr_shape_hash(a, 0, NULL), expr_shape_hash(crossed, 0, NULL));
  ck_assert(!expr_same(w.i[0], w.i[1], 2, (Index *[]){w.ix[0], w.ix[1]}, (Index *[]){w.ix[0], w.ix[1]}));
  ck_assert(!expr_same(w.i[1], w.i[1], 1, &w.ix[0], &w.ix[1]));         // j of a is not paired, j of b is
  arena_destroy(w.a);
} END_TEST

START_TEST(constant_expressions_fold_as_they_evaluate) {
  World w = world();
  Scalar v;
  ck_assert(expr_fold(op(&w, OP_FLOORDIV, num(&w, -7), num(&w, 2)), &v) && v.i == -4);
  ck_assert(expr_fold(expr_cast(w.x, DT_F16, flt(&w, 0.1), NO_SPAN), &v) && v.f == 0.0999755859375);      // the nearest f16
  Expr *one = expr_cast(w.x, DT_F16, flt(&w, 1), NO_SPAN);
  ck_assert(expr_fold(expr_make(w.x, OP_BITCAST, DT_I32, DT_U16, NULL, NO_SPAN, 1, &one), &v) && v.i == 0x3C00);
  Expr *inf = expr_cast(w.x, DT_U8, expr_int(w.x, DT_I32, 0x7C, NO_SPAN), NO_SPAN);                       // of f8e5m2
  Expr *eight = expr_make(w.x, OP_BITCAST, DT_F32, DT_F8E5M2, NULL, NO_SPAN, 1, &inf);
  ck_assert(expr_fold(eight, &v) && isinf(v.f));
  ck_assert(expr_fold(expr_make(w.x, OP_BITCAST, DT_I32, DT_U8, NULL, NO_SPAN, 1, &eight), &v) && v.i == 0x7C);
  Expr *no = expr_bool(w.x, false, NO_SPAN), *lazy = op(&w, OP_AND, no, op(&w, OP_LT, w.i[0], w.N));
  ck_assert(!expr_fold(op(&w, OP_LT, w.i[0], w.N), &v));
  ck_assert(!expr_fold(lazy, &v) || v.u == 0);
  ck_assert(expr_fold(expr_select(w.x, no, flt(&w, 1), flt(&w, 2), NO_SPAN), &v) && v.f == 2);
  ck_assert(!expr_fold(w.N, &v) && !expr_fold(at1(&w, num(&w, 0)), &v));
  ck_assert(!expr_fold(sum(&w, w.ix[0], num(&w, 3), flt(&w, 1)), &v));
  Expr *u = op(&w, OP_UNIFORM, expr_int(w.x, DT_U64, 0, NO_SPAN), num(&w, 0));
  ck_assert(expr_fold(u, &v) && v.f == (double)(0x6627e8d5u >> 8) / 16777216.0);
  arena_destroy(w.a);
} END_TEST

START_TEST(one_program_gives_one_sequence_of_ids) {
  World a = world(), b = world();
  Expr *p = sum(&a, a.ix[1], a.M, op(&a, OP_MUL, at2(&a, a.i[0], a.i[1]), at1(&a, a.i[1])));
  Expr *q = sum(&b, b.ix[1], b.M, op(&b, OP_MUL, at2(&b, b.i[0], b.i[1]), at1(&b, b.i[1])));
  ck_assert_uint_eq(p->id, q->id);
  ck_assert_uint_eq(p->hash, q->hash);
  ck_assert_uint_eq(expr_shape_hash(p, 0, NULL), expr_shape_hash(q, 0, NULL));
  arena_destroy(a.a);
  arena_destroy(b.a);
} END_TEST

START_TEST(deep_expressions_are_walked_within_the_stack) {
  World w = world();
  Expr *e = w.i[0];
  for (int k = 0; k < 4000; k++) e = expr_op1(w.x, OP_NEG, e, NO_SPAN);
  ck_assert_int_eq(e->depth, 4001);
  ck_assert_int_eq(expr_size(e), 4001);
  ck_assert_ptr_ne(expr_subst(w.x, e, 1, w.ix, &w.i[1]), e);
  arena_destroy(w.a);
} END_TEST

int main(void) {
  const TTest *tests[] = {equal_expressions_are_one_object,
                          constants_are_told_apart_by_type_and_bits,
                          arguments_have_smaller_ids_and_the_table_keeps_growing,
                          free_indices_are_those_not_bound,
                          types_follow_the_rules,
                          casts_that_change_nothing_are_not_made,
                          substitution_is_simultaneous,
                          substitution_does_not_capture,
                          bound_indices_are_not_substituted_but_their_ranges_are,
                          a_refreshed_expression_binds_other_indices,
                          walks_take_time_in_nodes_not_in_paths,
                          a_map_rebuilds_what_stands_above_a_change,
                          a_visit_sees_arguments_first,
                          sameness_is_up_to_names_of_bound_indices,
                          constant_expressions_fold_as_they_evaluate,
                          one_program_gives_one_sequence_of_ids,
                          deep_expressions_are_walked_within_the_stack};
  return UNIT_RUN("expr", tests);
}
