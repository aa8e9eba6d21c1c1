// test_affine.c: proofs about index expressions: what must be found, and that nothing false is.
#include "ir/affine.h"
#include "ir/fn.h"
#include "ir/look.h"
#include "tests/unit/unit.h"
#include <string.h>

typedef struct World {
  Arena *a; Fn *f; ExprTable *x; Ranges *r;
  Dim *dim[4]; Expr *d[4];          // N M G H
  Index *ix[4]; Expr *i[4];         // i j k l
  Tensor *n, *data, *bytes;         // scalar i64, i32[N], u8[N]
  Expr *s;                          // n
} World;

static World world(void) {
  World w = {.a = arena_create()};
  Interner *names = intern_create(w.a);
  w.f = fn_new(w.a, names, NULL, intern(names, "f"));
  w.x = w.f->x;
  w.r = ranges_create(w.a, w.x);
  static const char *const dims[] = {"N", "M", "G", "H"}, *const indices[] = {"i", "j", "k", "l"};
  for (int k = 0; k < 4; k++) {
    w.dim[k] = dim_new(w.x, intern(names, dims[k]), NO_SPAN);
    vec_push(w.a, &w.f->dims, w.dim[k]);
    w.d[k] = expr_dim(w.x, w.dim[k]);
    w.ix[k] = index_new(w.x, intern(names, indices[k]), NO_SPAN);
    w.i[k] = expr_index(w.x, w.ix[k]);
  }
  w.n = fn_tensor(w.f, intern(names, "n"), ROLE_PARAM, DT_I64, NULL, 0, NULL, NO_SPAN);
  w.data = fn_tensor(w.f, intern(names, "data"), ROLE_PARAM, DT_I32, NULL, 1, &w.d[0], NO_SPAN);
  w.bytes = fn_tensor(w.f, intern(names, "bytes"), ROLE_PARAM, DT_U8, NULL, 1, &w.d[0], NO_SPAN);
  w.s = expr_read(w.x, w.n, 0, NULL, NULL, NO_SPAN);
  return w;
}

static Expr *num(World *w, int64_t c) { return expr_int(w->x, DT_I64, c, NO_SPAN); }
static Expr *op(World *w, Op o, Expr *a, Expr *b) { return expr_op2(w->x, o, a, b, NO_SPAN); }
static Expr *add(World *w, Expr *a, Expr *b) { return op(w, OP_ADD, a, b); }
static Expr *sub(World *w, Expr *a, Expr *b) { return op(w, OP_SUB, a, b); }
static Expr *mul(World *w, Expr *a, Expr *b) { return op(w, OP_MUL, a, b); }
static Expr *quo(World *w, Expr *a, Expr *b) { return op(w, OP_FLOORDIV, a, b); }
static Expr *mod(World *w, Expr *a, Expr *b) { return op(w, OP_MOD, a, b); }
static void below(World *w, int k, Expr *hi) { ranges_index(w->r, w->ix[k], num(w, 0), hi); }

// 0 <= e < extent, both proved?
static bool in_range(World *w, Expr *e, Expr *extent) {
  return range_prove_ge0(w->r, w->x, e) && range_prove_ge0(w->r, w->x, sub(w, sub(w, extent, e), num(w, 1)));
}

START_TEST(an_index_is_inside_its_own_extent) {
  World w = world();
  below(&w, 0, w.d[0]);
  ck_assert(in_range(&w, w.i[0], w.d[0]));
  ck_assert(!in_range(&w, w.i[0], w.d[1]));
  ck_assert(in_range(&w, sub(&w, sub(&w, w.d[0], num(&w, 1)), w.i[0]), w.d[0]));      // reversed
  ck_assert(!in_range(&w, add(&w, w.i[0], num(&w, 1)), w.d[0]));
  ck_assert(in_range(&w, num(&w, 0), w.d[0]));          // where i is, N is not 0
  arena_destroy(w.a);
} END_TEST

START_TEST(without_a_range_nothing_is_known_of_an_index) {
  World w = world();
  ck_assert(!range_prove_ge0(w.r, w.x, w.i[0]));
  ck_assert(range_prove_ge0(w.r, w.x, w.d[0]));
  ck_assert(!in_range(&w, num(&w, 0), w.d[0]));
  arena_destroy(w.a);
} END_TEST

START_TEST(popped_facts_are_forgotten) {
  World w = world();
  ranges_push(w.r);
  below(&w, 0, w.d[0]);
  ck_assert(in_range(&w, w.i[0], w.d[0]));
  ranges_pop(w.r);
  ck_assert(!range_prove_ge0(w.r, w.x, w.i[0]));
  arena_destroy(w.a);
} END_TEST

START_TEST(flattened_subscripts_stay_inside_a_product_of_dimensions) {
  World w = world();
  below(&w, 0, w.d[0]);
  below(&w, 1, w.d[1]);
  below(&w, 2, w.d[2]);
  Expr *e = add(&w, mul(&w, w.i[0], w.d[1]), w.i[1]);
  ck_assert(in_range(&w, e, mul(&w, w.d[0], w.d[1])));
  Expr *e3 = add(&w, mul(&w, e, w.d[2]), w.i[2]);
  ck_assert(in_range(&w, e3, mul(&w, mul(&w, w.d[0], w.d[1]), w.d[2])));
  ck_assert(!in_range(&w, e3, mul(&w, w.d[0], w.d[1])));
  ck_assert(!in_range(&w, add(&w, mul(&w, w.i[0], w.d[1]), w.i[0]), mul(&w, w.d[0], w.d[1])));
  arena_destroy(w.a);
} END_TEST

START_TEST(quotient_and_remainder_by_a_dimension_invert_flattening) {
  World w = world();
  below(&w, 0, mul(&w, w.d[3], w.d[2]));                // i < H * G
  ck_assert(in_range(&w, quo(&w, w.i[0], w.d[2]), w.d[3]));
  ck_assert(in_range(&w, mod(&w, w.i[0], w.d[2]), w.d[2]));
  ck_assert(!in_range(&w, mod(&w, w.i[0], w.d[2]), w.d[3]));
  arena_destroy(w.a);
} END_TEST

START_TEST(grouped_heads_stay_inside_their_groups) {
  World w = world();
  Expr *zero = num(&w, 0), *head = quo(&w, w.i[0], quo(&w, w.d[3], w.d[2]));       // h // (H // G)
  below(&w, 0, w.d[3]);
  ck_assert(!in_range(&w, head, w.d[2]));
  ranges_assume(w.r, op(&w, OP_EQ, mod(&w, w.d[3], w.d[2]), zero), true);
  ck_assert(in_range(&w, head, w.d[2]));
  arena_destroy(w.a);
} END_TEST

START_TEST(pages_of_sixteen) {
  World w = world();
  Expr *c = num(&w, 16);
  below(&w, 0, mul(&w, w.d[1], c));                     // t < M * 16
  ck_assert(in_range(&w, quo(&w, w.i[0], c), w.d[1]));
  ck_assert(in_range(&w, mod(&w, w.i[0], c), c));
  ck_assert(in_range(&w, op(&w, OP_SHR, w.i[0], num(&w, 4)), w.d[1]));
  ck_assert(in_range(&w, op(&w, OP_BITAND, w.i[0], num(&w, 15)), c));
  ck_assert(!in_range(&w, quo(&w, add(&w, w.i[0], num(&w, 1)), c), w.d[1]));
  arena_destroy(w.a);
} END_TEST

START_TEST(pairs_and_halves_of_an_even_dimension) {
  World w = world();
  Expr *two = num(&w, 2), *half = quo(&w, w.d[0], two);
  below(&w, 0, half);
  ck_assert(in_range(&w, add(&w, mul(&w, two, w.i[0]), num(&w, 1)), w.d[0]));
  ck_assert(in_range(&w, add(&w, w.i[0], half), w.d[0]));
  below(&w, 1, w.d[0]);
  ck_assert(!in_range(&w, quo(&w, w.i[1], two), half));
  ranges_assume(w.r, op(&w, OP_EQ, mod(&w, w.d[0], two), num(&w, 0)), true);
  ck_assert(in_range(&w, quo(&w, w.i[1], two), half));
  Expr *even = op(&w, OP_EQ, mod(&w, w.i[1], two), num(&w, 0));
  ck_assert(!in_range(&w, add(&w, w.i[1], num(&w, 1)), w.d[0]));
  ranges_push(w.r);
  ranges_assume(w.r, even, true);                       // rope's pairs
  ck_assert(in_range(&w, add(&w, w.i[1], num(&w, 1)), w.d[0]));
  ck_assert(!in_range(&w, add(&w, w.i[1], two), w.d[0]));
  ranges_pop(w.r);
  ranges_push(w.r);
  ranges_assume(w.r, even, false);
  ck_assert(in_range(&w, sub(&w, w.i[1], num(&w, 1)), w.d[0]));
  ranges_pop(w.r);
  Expr *other = op(&w, OP_BITXOR, w.i[1], num(&w, 1));  // the partner in a pair; not found, and that is sound
  ck_assert(range_prove_ge0(w.r, w.x, other));
  arena_destroy(w.a);
} END_TEST

START_TEST(guards_are_used) {
  World w = world();
  below(&w, 0, w.d[0]);
  below(&w, 1, num(&w, 3));
  Expr *at = sub(&w, add(&w, w.i[0], w.i[1]), num(&w, 1));       // i + k - 1
  ck_assert(!in_range(&w, at, w.d[0]));
  Expr *inside = op(&w, OP_AND, op(&w, OP_GE, at, num(&w, 0)), op(&w, OP_LT, at, w.d[0]));
  ranges_push(w.r);
  ranges_assume(w.r, inside, true);
  ck_assert(in_range(&w, at, w.d[0]));
  ranges_pop(w.r);
  Expr *outside = op(&w, OP_OR, op(&w, OP_LT, at, num(&w, 0)), op(&w, OP_LE, w.d[0], at));
  ranges_assume(w.r, expr_op1(w.x, OP_NOT, outside, NO_SPAN), true);
  ck_assert(in_range(&w, at, w.d[0]));
  arena_destroy(w.a);
} END_TEST

START_TEST(of_guards_that_differ_by_a_constant_the_strongest_is_looked_at) {
  World w = world();
  below(&w, 0, w.d[0]);
  Look before = look(w.r, w.x);
  for (int k = 1; k <= 100; k++) {
    ranges_push(w.r);
    ranges_assume(w.r, op(&w, OP_LT, add(&w, w.i[0], num(&w, k)), w.d[0]), true);
  }
  Look all = look(w.r, w.x);
  ck_assert_int_le(all.facts.n, before.facts.n);        // N - i - 101 >= 0 in the place of N - i - 1 >= 0
  ck_assert(range_prove_ge0(w.r, w.x, sub(&w, w.d[0], add(&w, w.i[0], num(&w, 101)))));
  ck_assert(!range_prove_ge0(w.r, w.x, sub(&w, w.d[0], add(&w, w.i[0], num(&w, 102)))));
  for (int k = 0; k < 100; k++) ranges_pop(w.r);
  ck_assert(!range_prove_ge0(w.r, w.x, sub(&w, w.d[0], add(&w, w.i[0], num(&w, 2)))));
  arena_destroy(before.a);
  arena_destroy(all.a);
  arena_destroy(w.a);
} END_TEST

START_TEST(a_false_disjunction_and_a_true_one_differ) {
  World w = world();
  below(&w, 0, w.d[0]);
  Expr *either = op(&w, OP_OR, op(&w, OP_LT, w.i[0], w.d[1]), op(&w, OP_LT, w.i[0], w.d[2]));
  ranges_assume(w.r, either, true);
  ck_assert(!in_range(&w, w.i[0], w.d[1]));
  arena_destroy(w.a);
} END_TEST

START_TEST(products_of_an_even_dimension) {
  World w = world();                                    // layer's wk[g * E + e, i], with rope's E % 2 == 0
  below(&w, 0, w.d[2]);
  below(&w, 1, w.d[3]);
  ranges_assume(w.r, op(&w, OP_EQ, mod(&w, w.d[3], num(&w, 2)), num(&w, 0)), true);
  ck_assert(in_range(&w, add(&w, mul(&w, w.i[0], w.d[3]), w.i[1]), mul(&w, w.d[2], w.d[3])));
  ck_assert(!in_range(&w, add(&w, mul(&w, w.i[0], w.d[3]), add(&w, w.i[1], num(&w, 1))), mul(&w, w.d[2], w.d[3])));
  arena_destroy(w.a);
} END_TEST

START_TEST(scans_reach_only_what_lies_before) {
  World w = world();
  below(&w, 0, w.d[0]);
  below(&w, 1, add(&w, w.i[0], num(&w, 1)));            // j <= i
  ck_assert(in_range(&w, w.i[1], w.d[0]));
  ck_assert(range_prove_ge0(w.r, w.x, sub(&w, w.i[0], w.i[1])));
  below(&w, 2, w.i[1]);                                 // k < j
  ck_assert(in_range(&w, add(&w, w.i[2], num(&w, 1)), w.d[0]));
  arena_destroy(w.a);
} END_TEST

START_TEST(where_conditions_bound_scalars) {
  World w = world();
  below(&w, 0, w.s);                                    // r < n
  ck_assert(!in_range(&w, w.i[0], w.d[0]));
  ranges_assume(w.r, op(&w, OP_LE, w.s, w.d[0]), true);
  ck_assert(in_range(&w, w.i[0], w.d[0]));
  arena_destroy(w.a);
} END_TEST

START_TEST(data_is_in_range_only_as_its_type_or_a_guard_says) {
  World w = world();
  below(&w, 0, w.d[0]);
  Expr *byte = expr_cast(w.x, DT_I64, expr_read(w.x, w.bytes, 1, &w.i[0], NULL, NO_SPAN), NO_SPAN);
  Expr *datum = expr_read(w.x, w.data, 1, &w.i[0], NULL, NO_SPAN), *value = expr_cast(w.x, DT_I64, datum, NO_SPAN);
  ck_assert(in_range(&w, byte, num(&w, 256)));
  ck_assert(!in_range(&w, byte, num(&w, 255)));
  ck_assert(!in_range(&w, value, w.d[1]));
  Expr *masked = op(&w, OP_BITAND, op(&w, OP_SHR, byte, mul(&w, num(&w, 2), w.i[0])), num(&w, 3));
  ck_assert(in_range(&w, masked, num(&w, 4)));
  below(&w, 1, w.d[2]);
  ck_assert(in_range(&w, add(&w, mul(&w, num(&w, 4), w.i[1]), masked), mul(&w, w.d[2], num(&w, 4))));     // 2:4 sparsity
  ranges_assume(w.r, op(&w, OP_GE, datum, expr_int(w.x, DT_I32, 0, NO_SPAN)), true);
  ranges_assume(w.r, op(&w, OP_LT, value, w.d[1]), true);
  ck_assert(in_range(&w, value, w.d[1]));
  arena_destroy(w.a);
} END_TEST

START_TEST(clamped_subscripts_are_in_range) {
  World w = world();
  below(&w, 0, w.d[0]);
  Expr *zero = num(&w, 0), *last = sub(&w, w.d[0], num(&w, 1));
  Expr *datum = expr_cast(w.x, DT_I64, expr_read(w.x, w.data, 1, &w.i[0], NULL, NO_SPAN), NO_SPAN);
  ck_assert(in_range(&w, op(&w, OP_MIN, op(&w, OP_MAX, datum, zero), last), w.d[0]));
  ck_assert(in_range(&w, op(&w, OP_MAX, op(&w, OP_MIN, datum, last), zero), w.d[0]));
  ck_assert(!in_range(&w, op(&w, OP_MAX, datum, zero), w.d[0]));
  Expr *before = expr_select(w.x, op(&w, OP_GT, w.i[0], zero), sub(&w, w.i[0], num(&w, 1)), w.i[0], NO_SPAN);
  ck_assert(in_range(&w, before, w.d[0]));
  arena_destroy(w.a);
} END_TEST

START_TEST(wrapped_products_prove_nothing) {
  World w = world();
  Expr *big = mul(&w, w.d[0], w.d[1]);                  // may exceed 2^63
  below(&w, 0, w.d[2]);
  ranges_assume(w.r, op(&w, OP_LT, big, num(&w, 10)), true);
  ck_assert(!range_prove_ge0(w.r, w.x, sub(&w, num(&w, 9), big)));
  Expr *huge = mul(&w, w.s, w.s);
  ck_assert(!range_prove_ge0(w.r, w.x, sub(&w, num(&w, 9), quo(&w, huge, num(&w, 1000)))));
  arena_destroy(w.a);
} END_TEST

START_TEST(extremes_of_an_affine_subscript) {
  World w = world();
  below(&w, 0, w.d[0]);
  ranges_index(w.r, w.ix[1], num(&w, 2), w.d[1]);
  Expr *lo, *hi, *e = add(&w, sub(&w, mul(&w, num(&w, 3), w.i[0]), mul(&w, num(&w, 2), w.i[1])), w.d[2]);   // 3 i - 2 j + G
  ck_assert(range_extremes(w.r, w.x, e, &lo, &hi));
  // i = 0, j = M - 1; i = N - 1, j = 2
  ck_assert(range_prove_ge0(w.r, w.x, sub(&w, lo, add(&w, w.d[2], sub(&w, num(&w, 2), mul(&w, num(&w, 2), w.d[1]))))));
  ck_assert(range_prove_ge0(w.r, w.x, sub(&w, add(&w, w.d[2], sub(&w, num(&w, 2), mul(&w, num(&w, 2), w.d[1]))), lo)));
  ck_assert(range_prove_ge0(w.r, w.x, sub(&w, hi, sub(&w, add(&w, mul(&w, num(&w, 3), w.d[0]), w.d[2]), num(&w, 7)))));
  ck_assert(range_prove_ge0(w.r, w.x, sub(&w, sub(&w, add(&w, mul(&w, num(&w, 3), w.d[0]), w.d[2]), num(&w, 7)), hi)));
  ck_assert(!range_extremes(w.r, w.x, mul(&w, w.i[0], w.d[1]), &lo, &hi));
  below(&w, 2, w.i[0]);
  ck_assert(!range_extremes(w.r, w.x, w.i[2], &lo, &hi));
  arena_destroy(w.a);
} END_TEST

START_TEST(strides_of_an_affine_subscript) {
  World w = world();
  Expr *coef[2], *rest, *e = add(&w, add(&w, mul(&w, add(&w, mul(&w, w.i[0], w.d[0]), w.i[1]), w.d[1]), w.i[2]), num(&w, 5));
  ck_assert(affine_split(w.x, e, 2, (Index *[]){w.ix[0], w.ix[2]}, coef, &rest));
  ck_assert_ptr_eq(coef[0], mul(&w, w.d[0], w.d[1]));
  ck_assert(expr_is_int(coef[1], 1));
  ck_assert(!expr_uses_index(rest, w.ix[0]) && expr_uses_index(rest, w.ix[1]));
  ck_assert(affine_split(w.x, w.d[0], 1, w.ix, coef, &rest));
  ck_assert(expr_is_int(coef[0], 0) && rest == w.d[0]);
  ck_assert(!affine_split(w.x, mul(&w, w.i[0], w.i[0]), 1, w.ix, coef, &rest));
  ck_assert(!affine_split(w.x, quo(&w, w.i[0], num(&w, 2)), 1, w.ix, coef, &rest));
  ck_assert(affine_split(w.x, quo(&w, w.i[1], num(&w, 2)), 1, w.ix, coef, &rest));
  ck_assert(affine_split(w.x, sub(&w, w.i[0], w.i[0]), 1, w.ix, coef, &rest) && expr_is_int(coef[0], 0));
  arena_destroy(w.a);
} END_TEST

START_TEST(thirty_two_bits_are_enough_where_shown) {
  World w = world();
  below(&w, 0, num(&w, 1000));
  below(&w, 1, num(&w, 4096));
  ck_assert(range_fits_i32(w.r, w.x, add(&w, mul(&w, w.i[0], num(&w, 4096)), w.i[1])));
  ck_assert(range_fits_i32(w.r, w.x, mul(&w, w.i[0], num(&w, 2149632))));           // 999 * 2149632 = 2^31 - 1281280
  ck_assert(!range_fits_i32(w.r, w.x, mul(&w, w.i[0], num(&w, 2149633 + 1281280 / 999))));
  ck_assert(!range_fits_i32(w.r, w.x, sub(&w, mul(&w, w.i[0], num(&w, 1 << 22)), mul(&w, w.i[0], num(&w, 1 << 22)))));
  below(&w, 2, w.d[0]);
  ck_assert(!range_fits_i32(w.r, w.x, w.i[2]));
  ranges_assume(w.r, op(&w, OP_LE, w.d[0], num(&w, INT32_MAX)), true);
  ck_assert(range_fits_i32(w.r, w.x, w.i[2]));
  arena_destroy(w.a);
} END_TEST

START_TEST(full_ranges_and_boxes) {
  World w = world();
  below(&w, 0, w.d[0]);
  below(&w, 1, w.i[0]);
  ranges_index(w.r, w.ix[2], num(&w, 1), w.s);
  ck_assert(ranges_is_full(w.r, w.ix[0], w.d[0]));
  ck_assert(!ranges_is_full(w.r, w.ix[0], w.d[1]));
  ck_assert(!ranges_is_full(w.r, w.ix[2], w.s));
  ck_assert(ranges_is_box(w.r, w.ix[0]));
  ck_assert(!ranges_is_box(w.r, w.ix[1]));
  ck_assert(ranges_is_box(w.r, w.ix[2]));
  ck_assert(!ranges_is_box(w.r, w.ix[3]));
  arena_destroy(w.a);
} END_TEST

// Random expressions over all small values: whatever is proved holds.

typedef struct Point { int64_t d[4], i[4], s; int64_t data[5]; } Point;

static Scalar value_at(const World *w, const Expr *e, const Point *p) {
  Scalar v[3] = {{0}}, out = {0};
  switch (e->op) {
  case OP_CONST: return e->u.v;
  case OP_DIM: return (Scalar){.i = p->d[e->u.dim->id]};
  case OP_INDEX: return (Scalar){.i = p->i[e->u.ix->id]};
  case OP_READ: {
    if (e->u.t == w->n) return (Scalar){.i = p->s};
    int64_t at = value_at(w, e->arg[0], p).i;
    return (Scalar){.i = p->data[at >= 0 && at < 5 ? at : 0]};
  }
  default: break;
  }
  for (uint32_t k = 0; k < e->nargs; k++) v[k] = value_at(w, e->arg[k], p);
  if (e->op == OP_SELECT) return v[v[0].u ? 1 : 2];
  if (e->op == OP_CAST) return dtype_cast(v[0], (Dtype)e->arg[0]->dtype, (Dtype)e->aux);
  ck_assert(op_eval((Op)e->op, (Dtype)e->arg[0]->dtype, v, &out));
  return out;
}

static Expr *random_leaf(World *w, unsigned long long *seed, bool indices) {
  unsigned r = (unsigned)(unit_random(seed) >> 40);
  switch (r % (indices ? 8 : 3)) {
  case 0: return num(w, (int64_t)(r / 8 % 9) - 2);
  case 1: return w->d[r / 8 % 4];
  case 2: return r / 8 % 4 ? w->d[r / 8 % 4] : w->s;
  case 7: return expr_cast(w->x, DT_I64, expr_read(w->x, r & 64 ? w->data : w->bytes, 1, &w->i[0], NULL, NO_SPAN), NO_SPAN);
  default: return w->i[r / 8 % 4];
  }
}

static Expr *random_condition(World *w, unsigned long long *seed, int depth, bool indices);

static Expr *random_expr(World *w, unsigned long long *seed, int depth, bool indices) {
  static const Op choice[] = {OP_ADD, OP_ADD, OP_SUB, OP_SUB, OP_MUL, OP_FLOORDIV, OP_MOD, OP_MIN, OP_MAX, OP_SHR, OP_BITAND, OP_SHL};
  unsigned r = (unsigned)(unit_random(seed) >> 40);
  if (depth == 0 || r % 5 == 0) return random_leaf(w, seed, indices);
  Expr *a = random_expr(w, seed, depth - 1, indices), *b = random_expr(w, seed, depth - 1, indices);
  if (r % 17 == 1) return expr_select(w->x, random_condition(w, seed, 1, indices), a, b, NO_SPAN);
  if (r % 17 == 2) return expr_cast(w->x, DT_I64, expr_cast(w->x, r & 32 ? DT_I32 : DT_I8, a, NO_SPAN), NO_SPAN);
  return op(w, choice[r / 64 % (sizeof choice / sizeof *choice)], a, b);
}

static Expr *random_condition(World *w, unsigned long long *seed, int depth, bool indices) {
  static const Op choice[] = {OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE};
  unsigned r = (unsigned)(unit_random(seed) >> 40);
  if (depth && r % 4 == 0) {
    Expr *a = random_condition(w, seed, depth - 1, indices), *b = random_condition(w, seed, depth - 1, indices);
    return op(w, r & 16 ? OP_AND : OP_OR, a, b);
  }
  if (depth && r % 7 == 0) return expr_op1(w->x, OP_NOT, random_condition(w, seed, depth - 1, indices), NO_SPAN);
  Expr *a = random_expr(w, seed, 1, indices), *b = random_expr(w, seed, 1, indices);
  if (r % 3 == 0) return op(w, r & 32 ? OP_EQ : OP_NE, mod(w, a, b), num(w, 0));
  return op(w, choice[r / 64 % 6], a, b);
}

typedef struct Trial { World *w; Expr *lo[4], *hi[4], *cond, *goal; bool truth; int points; } Trial;

// All points at which the ranges and the condition hold: the goal is >= 0 there.
static void check_points(Trial *t, Point *p, int k) {
  if (k < 4) {
    int64_t lo = value_at(t->w, t->lo[k], p).i, hi = value_at(t->w, t->hi[k], p).i;
    if (lo < -9 || hi > 9) lo = hi;                    // too many to look at
    for (p->i[k] = lo; p->i[k] < hi; p->i[k]++) check_points(t, p, k + 1);
    return;
  }
  if ((value_at(t->w, t->cond, p).u != 0) != t->truth) return;
  t->points++;
  int64_t v = value_at(t->w, t->goal, p).i;
  if (v >= 0) return;
  Buf b = buf_make(t->w->a);
  for (int j = 0; j < 4; j++) {
    expr_print(t->lo[j], &b);
    buf_printf(&b, " <= %s < ", t->w->ix[j]->name);
    expr_print(t->hi[j], &b);
    buf_printf(&b, " (%lld); ", (long long)p->i[j]);
  }
  expr_print(t->cond, &b);
  buf_printf(&b, " is %d: ", t->truth);
  expr_print(t->goal, &b);
  ck_abort_msg("%s is %lld at N M G H = %lld %lld %lld %lld n = %lld", b.s, (long long)v, (long long)p->d[0], (long long)p->d[1],
               (long long)p->d[2], (long long)p->d[3], (long long)p->s);
}

// The index bounds only look back, as in a nest of loops.
static Expr *bound_for(World *w, unsigned long long *seed, int k) {
  Expr *e = random_expr(w, seed, 1, false);
  return k && unit_random(seed) >> 62 == 0 ? add(w, w->i[unit_random(seed) >> 40 & (unsigned)(k > 1)], e) : e;
}

static int run_trial(unsigned long long *seed) {
  World w = world();
  Trial t = {.w = &w};
  for (int k = 0; k < 4; k++) {
    t.lo[k] = unit_random(seed) >> 61 ? num(&w, 0) : bound_for(&w, seed, k);
    t.hi[k] = unit_random(seed) >> 63 ? w.d[unit_random(seed) >> 62] : bound_for(&w, seed, k);
    ranges_index(w.r, w.ix[k], t.lo[k], t.hi[k]);
  }
  t.cond = random_condition(&w, seed, 2, true);
  t.truth = unit_random(seed) >> 62 != 0;
  ranges_assume(w.r, t.cond, t.truth);
  t.goal = random_expr(&w, seed, 3, true);
  bool proved = range_prove_ge0(w.r, w.x, t.goal);
  for (int64_t n = 0; proved && n < 3 * 3 * 3 * 3 * 4; n += 1 + (n & 1)) {
    Point p = {.d = {n % 3 + (n % 3 == 2), n / 3 % 3, n / 9 % 3 + 1 - (n % 5 == 0), n / 27 % 3 * 2}, .s = n / 81 - 1};
    for (int j = 0; j < 5; j++) p.data[j] = (int64_t)(unit_random(seed) >> 62) * (j + 1);
    check_points(&t, &p, 0);
  }
  arena_destroy(w.a);
  return proved && t.points;
}

START_TEST(what_is_proved_of_random_expressions_holds_at_all_small_values) {
  unsigned long long seed = 0x1234567u + (unsigned)_i;
  int proved = 0;
  for (int n = 0; n < 500; n++) proved += run_trial(&seed);
  ck_assert_int_gt(proved, 50);                        // enough to mean something
} END_TEST

int main(void) {
  const TTest *tests[] = {an_index_is_inside_its_own_extent,
                          without_a_range_nothing_is_known_of_an_index,
                          popped_facts_are_forgotten,
                          flattened_subscripts_stay_inside_a_product_of_dimensions,
                          quotient_and_remainder_by_a_dimension_invert_flattening,
                          grouped_heads_stay_inside_their_groups,
                          pages_of_sixteen,
                          pairs_and_halves_of_an_even_dimension,
                          guards_are_used, of_guards_that_differ_by_a_constant_the_strongest_is_looked_at,
                          a_false_disjunction_and_a_true_one_differ,
                          products_of_an_even_dimension,
                          scans_reach_only_what_lies_before,
                          where_conditions_bound_scalars,
                          data_is_in_range_only_as_its_type_or_a_guard_says,
                          clamped_subscripts_are_in_range,
                          wrapped_products_prove_nothing,
                          extremes_of_an_affine_subscript,
                          strides_of_an_affine_subscript,
                          thirty_two_bits_are_enough_where_shown,
                          full_ranges_and_boxes,
                          what_is_proved_of_random_expressions_holds_at_all_small_values};
  return UNIT_RUN("affine", tests);
}
