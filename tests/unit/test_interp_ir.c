// test_interp_ir.c: functions built by hand, of forms that the front end does not make but passes may.
#include "ir/interp_int.h"
#include "tests/unit/interp_case.h"

typedef struct Hand { Case c; ExprTable *x; Interner *names; } Hand;

static Hand hand(void) {
  Hand h = {.c = {.a = arena_create()}};
  h.names = intern_create(h.c.a);
  h.c.f = fn_new(h.c.a, h.names, NULL, intern(h.names, "f"));
  h.x = h.c.f->x;
  return h;
}

static Expr *i64(Hand *h, int64_t v) { return expr_int(h->x, DT_I64, v, NO_SPAN); }
static Expr *f32(Hand *h, double v) { return expr_float(h->x, DT_F32, v, NO_SPAN); }
static Index *index_of(Hand *h, const char *name) { return index_new(h->x, intern(h->names, name), NO_SPAN); }
static Expr *of(Hand *h, Index *ix) { return expr_index(h->x, ix); }
static Expr *op(Hand *h, Op o, Expr *a, Expr *b) { return expr_op2(h->x, o, a, b, NO_SPAN); }
static Expr *read1(Hand *h, Tensor *t, Expr *s) { return expr_read(h->x, t, 1, &s, NULL, NO_SPAN); }

// A tensor of one dimension with n elements.
static Tensor *tensor(Hand *h, const char *name, Role role, int64_t n) {
  Expr *e = i64(h, n);
  Tensor *t = fn_tensor(h->c.f, intern(h->names, name), role, DT_F32, NULL, 1, &e, NO_SPAN);
  t->stored = role != ROLE_LOCAL;
  if (role == ROLE_PARAM) {
    vec_push(h->c.a, &h->c.f->params, t);
    vec_push(h->c.a, &h->c.f->defaults, (Expr *)NULL);
  }
  if (role == ROLE_RESULT) vec_push(h->c.a, &h->c.f->results, t);
  return t;
}

static Expr *sum(Hand *h, Index *ix, int64_t n, Expr *term) {
  Expr *lo = i64(h, 0), *hi = i64(h, n);
  return expr_reduce(h->x, RED_SUM, 1, &ix, &lo, &hi, NULL, term, NO_SPAN);
}

START_TEST(a_reduction_inside_another_may_bind_the_same_index) {
  Hand h = hand();
  Tensor *x = tensor(&h, "x", ROLE_PARAM, 3), *y = tensor(&h, "y", ROLE_RESULT, 2);
  Index *i = index_of(&h, "i"), *k = index_of(&h, "k");
  Expr *v = read1(&h, x, of(&h, k)), *square = op(&h, OP_MUL, v, v);
  Expr *inner = sum(&h, k, 3, square);                     // closed: k is its own
  Expr *term = op(&h, OP_ADD, op(&h, OP_MUL, square, inner), op(&h, OP_SUB, square, v));
  fn_equation(h.c.f, y, 1, &i, sum(&h, k, 3, term), NO_SPAN);
  PUT(&h.c, "x", DIMS(3), 2, 3, 5);
  RUN(&h.c);
  double want = 0;
  for (int n = 0; n < 3; n++) {
    double u = (const double[]){2, 3, 5}[n];
    want += u * u * (4 + 9 + 25) + (u * u - u);
  }
  ck_assert(get(&h.c, "y", 0) == want && get(&h.c, "y", 1) == want);
  case_end(&h.c);
} END_TEST

START_TEST(an_expression_may_be_very_deep) {
  Hand h = hand();
  Tensor *x = tensor(&h, "x", ROLE_PARAM, 2), *y = tensor(&h, "y", ROLE_RESULT, 2);
  Index *i = index_of(&h, "i");
  Expr *e = read1(&h, x, of(&h, i)), *one = f32(&h, 1);
  for (int k = 0; k < 200000; k++) e = expr_select(h.x, op(&h, OP_LT, e, f32(&h, k)), op(&h, OP_ADD, e, one), e, NO_SPAN);
  fn_equation(h.c.f, y, 1, &i, e, NO_SPAN);
  PUT(&h.c, "x", DIMS(2), -1, 300000);
  h.c.with_bounds = true;
  RUN(&h.c);
  ck_assert(get(&h.c, "y", 0) == 199999);                  // one more at each step: -1 < 0, 0 < 1, …
  ck_assert(get(&h.c, "y", 1) == 300000);
  case_end(&h.c);
} END_TEST

START_TEST(a_read_known_to_fail_does) {
  Hand h = hand();
  Tensor *x = tensor(&h, "x", ROLE_PARAM, 2), *t = tensor(&h, "t", ROLE_LOCAL, 2), *y = tensor(&h, "y", ROLE_RESULT, 3);
  Index *i = index_of(&h, "i");
  Expr *s = of(&h, i), *bad = expr_make(h.x, OP_READ, DT_F32, 2, t, NO_SPAN, 1, &s);
  fn_equation(h.c.f, y, 1, &i, expr_select(h.x, op(&h, OP_LT, s, i64(&h, 2)), read1(&h, x, s), bad, NO_SPAN), NO_SPAN);
  PUT(&h.c, "x", DIMS(2), 1, 2);
  ck_assert(!run(&h.c));
  ck_assert_str_eq(h.c.fault.tensor, "t");
  ck_assert(h.c.fault.code == E_data_subscript && h.c.fault.value == 2 && h.c.fault.extent == 2);
  case_end(&h.c);
} END_TEST

START_TEST(an_element_that_needs_itself_is_no_endless_loop) {
  Hand h = hand();
  Tensor *t = tensor(&h, "t", ROLE_LOCAL, 2), *y = tensor(&h, "y", ROLE_RESULT, 2);
  Index *i = index_of(&h, "i"), *j = index_of(&h, "j");
  fn_equation(h.c.f, t, 1, &i, op(&h, OP_ADD, read1(&h, t, op(&h, OP_SUB, i64(&h, 1), of(&h, i))), f32(&h, 1)), NO_SPAN);
  fn_equation(h.c.f, y, 1, &j, read1(&h, t, of(&h, j)), NO_SPAN);
  ck_assert(!run(&h.c));
  ck_assert(h.c.fault.code == E_internal);
  case_end(&h.c);
} END_TEST

START_TEST(fields_of_a_block_can_be_read) {
  Case c = case_of("format q of 4 { d: f32  q: i8[4]  value[k] = d * q[k]  encode(v) { d = 0.5  q[k] = i8(round(v[k] * 2)) } }\n"
                   "fn f(w: q[N, K], x: f32[K]) -> (y: f32[N], z: f32[N]) { h: q[k] = x[k]  y[i] = w[i, 5]  z[i] = h[0] + f32(i) }");
  Eqn *y = c.f->eqns.v[1], *z = c.f->eqns.v[2];
  ck_assert_str_eq(y->def->name, "y");
  Tensor *w = c.f->params.v[0], *t = c.f->eqns.v[0]->def;
  Expr *one = expr_int(c.f->x, DT_I64, 1, NO_SPAN), *i = expr_index(c.f->x, y->ix[0]), *j = expr_index(c.f->x, z->ix[0]);
  Expr *d = expr_make(c.f->x, OP_FIELD, DT_F32, 0, w, NO_SPAN, 2, (Expr *[]){i, one});
  Expr *q = expr_make(c.f->x, OP_FIELD, DT_I32, 1, w, NO_SPAN, 3, (Expr *[]){i, one, one});
  y->body = expr_op2(c.f->x, OP_MUL, d, expr_cast(c.f->x, DT_F32, q, NO_SPAN), NO_SPAN);
  z->body = expr_cast(c.f->x, DT_F32, expr_make(c.f->x, OP_FIELD, DT_I32, 1, t, NO_SPAN, 2, (Expr *[]){one, j}), NO_SPAN);
  unsigned char *bytes = put_space(&c, "w", DIMS(2, 8));
  for (int b = 0; b < 4; b++) {
    float scale = (float)b + 0.5f;
    memcpy(bytes + 8 * b, &scale, 4);
    for (int k = 0; k < 4; k++) bytes[8 * b + 4 + k] = (unsigned char)(10 * b + k);
  }
  PUT(&c, "x", DIMS(8), 0, 0, 0, 0, 3, 4, 0, 0);
  RUN(&c);
  for (int k = 0; k < 2; k++) {
    ck_assert(get(&c, "y", k) == (2 * k + 1.5) * (10 * (2 * k + 1) + 1));      // block 1 of row k, element 1
    ck_assert(get(&c, "z", k) == (k == 0 ? 6 : 8));        // 3 and 4 in halves
  }
  case_end(&c);
} END_TEST

START_TEST(memory_that_is_not_there_is_refused) {
  Memory m = {0};
  ck_assert(memory_zeroed(&m, SIZE_MAX / 2, 8) == NULL && memory_zeroed(&m, INTERP_MEMORY + 1, 1) == NULL);
  unsigned char *p = memory_zeroed(&m, 100, 3);
  for (int k = 0; k < 300; k++) ck_assert(p[k] == 0);
  ck_assert(memory_zeroed(&m, INTERP_MEMORY - 299, 1) == NULL);      // 300 bytes are taken
  memory_release(&m);
  ck_assert(m.used == 0);
} END_TEST

START_TEST(pieces_of_a_stack_keep_their_place_and_content) {
  Memory m = {0};
  Stack s = {.m = &m};
  enum { MOST = 400 };
  struct { unsigned char *at; size_t n; } piece[MOST];
  unsigned long long seed = 1;
  for (int n = 0, step = 0; step < 5000; step++) {
    if (n < MOST && unit_random(&seed) % 5 < 3) {
      size_t bytes = unit_random(&seed) % 40 == 0 ? 1 + unit_random(&seed) % 200000 : 1 + unit_random(&seed) % 3000;
      piece[n].at = stack_push(&s, bytes);
      ck_assert(piece[n].at != NULL && (uintptr_t)piece[n].at % 16 == 0);
      memset(piece[n].at, n & 255, piece[n].n = bytes);
      n++;
    } else if (n > 0) {
      int to = n - 1 - (int)(unit_random(&seed) % 4);
      n = to < 0 ? 0 : to;
      size_t same = 0;
      while (same < piece[n].n && piece[n].at[same] == (n & 255)) same++;
      ck_assert(same == piece[n].n);
      stack_pop(&s, piece[n].at);
    }
  }
  ck_assert(m.used < 100u << 20);                          // chunks are used again
  memory_release(&m);
} END_TEST

int main(void) {
  const TTest *tests[] = {a_reduction_inside_another_may_bind_the_same_index, an_expression_may_be_very_deep, a_read_known_to_fail_does,
                          an_element_that_needs_itself_is_no_endless_loop, fields_of_a_block_can_be_read,
                          memory_that_is_not_there_is_refused, pieces_of_a_stack_keep_their_place_and_content};
  return UNIT_RUN("interp_ir", tests);
}
