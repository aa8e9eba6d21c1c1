// test_fn.c: functions: names, copies, equality, the printed text and the invariants.
#include "frontend/sema.h"
#include "ir/fn.h"
#include "tests/unit/unit.h"
#include <string.h>

typedef struct World { Arena *a; Interner *names; } World;

static World world(void) {
  World w = {.a = arena_create()};
  w.names = intern_create(w.a);
  return w;
}

// One entry of a program, elaborated and verified.
static Fn *elaborate(World *w, const char *text, const char *entry) {
  Diags *d = diags_create(w->a);
  Program *p = program_load(w->a, w->names, d, "a.plait", text, strlen(text), NULL, NULL);
  Fn *f = d->errors ? NULL : program_elaborate(p, entry, w->a);
  Buf b = buf_make(w->a);
  if (d->errors || !f) diags_print(d, &b, false);
  ck_assert_msg(f && !d->errors, "%s\n%s", text, b.s);
  ck_assert_msg(fn_verify(f, &b), "%s\n%s", text, b.s);
  return f;
}

static const char *printed(World *w, const Fn *f) {
  Buf b = buf_make(w->a);
  fn_print(f, &b);
  return b.s;
}

// The body of an equation as text.
static const char *body(World *w, const char *text) {
  Fn *f = elaborate(w, text, NULL);
  Buf b = buf_make(w->a);
  eqn_print(f, f->eqns.v[f->eqns.n - 1], &b);
  return strstr(b.s, " = ") + 3;
}

#define PRINTS(head, source, want)                                                     \
  ck_assert_str_eq(body(&w, "fn f(" head ") -> y: f32[N] { y[i] = " source " }"), want)

// Names.

START_TEST(names_follow_the_lexis) {
  ck_assert(name_is_valid("x") && name_is_valid("_a1") && name_is_valid("Xyz_2"));
  ck_assert(!name_is_valid("") && !name_is_valid("1x") && !name_is_valid("a-b") && !name_is_valid("é") && !name_is_valid(NULL));
  ck_assert(!name_is_valid("if") && !name_is_valid("f32") && !name_is_valid("argmax") && !name_is_valid("bitcast"));
  ck_assert(name_is_reserved("encode") && !name_is_reserved("kernels") && !name_is_reserved("exp"));
} END_TEST

START_TEST(tensors_get_names_of_their_own) {
  World w = world();
  Fn *f = fn_new(w.a, w.names, NULL, intern(w.names, "f"));
  vec_push(w.a, &f->dims, dim_new(f->x, intern(w.names, "N"), NO_SPAN));
  static const char *const hints[] = {"t", "t", "t_2", "t", "N", "if"}, *const want[] = {"t", "t_2", "t_2_2", "t_3", "N_2", "t_4"};
  for (int k = 0; k < 6; k++) {
    Tensor *t = fn_tensor(f, intern(w.names, hints[k]), ROLE_LOCAL, DT_F32, NULL, 0, NULL, NO_SPAN);
    ck_assert_str_eq(t->name, want[k]);
    ck_assert_int_eq(t->id, k);
  }
  arena_destroy(w.a);
} END_TEST

START_TEST(equations_are_found_after_the_list_was_edited) {
  World w = world();
  Fn *f = elaborate(&w, "fn f(x: f32[N]) -> y: f32[N] { a = x + 1; b = a * 2; y = b - a }", NULL);
  Tensor *b = f->eqns.v[1]->def, *y = f->eqns.v[2]->def;
  f->eqns.v[1] = f->eqns.v[2];
  f->eqns.n = 2;
  ck_assert_ptr_null(fn_def(f, b));
  ck_assert_ptr_eq(fn_def(f, y), f->eqns.v[1]);
  fn_renumber(f);
  ck_assert_ptr_eq(fn_def(f, y), f->eqns.v[1]);
  ck_assert_ptr_null(fn_def(f, f->params.v[0]));
  arena_destroy(w.a);
} END_TEST

// Printing.

START_TEST(brackets_are_printed_where_needed_and_only_there) {
  World w = world();
  PRINTS("x: f32[N]", "(x[i] + x[i]) * x[i] - (x[i] - x[i])", "(x[i] + x[i]) * x[i] - (x[i] - x[i])");
  PRINTS("x: f32[N]", "((x[i] * x[i]) + x[i]) - x[i]", "x[i] * x[i] + x[i] - x[i]");
  PRINTS("x: f32[N]", "-(x[i] ** x[i])", "-x[i] ** x[i]");
  PRINTS("x: f32[N]", "(-x[i]) ** (-x[i])", "(-x[i]) ** -x[i]");
  PRINTS("x: f32[N]", "(x[i] ** x[i]) ** (x[i] ** x[i])", "(x[i] ** x[i]) ** x[i] ** x[i]");
  PRINTS("x: f32[N]", "(if x[i] > 0 then x[i] else 0) + 1", "(if x[i] > 0.0 then x[i] else 0.0) + 1.0");
  PRINTS("x: f32[N]", "if not (x[i] > 0 and x[i] < 1) or x[i] == 2 then 0 else x[i]", "if not (x[i] > 0.0 and x[i] < 1.0) or x[i] == 2.0 then 0.0 else x[i]");
  PRINTS("x: f32[N]", "2 * (x[i - 1] ?? 0)", "2.0 * (x[i - 1] ?? 0.0)");
  PRINTS("x: f32[N]", "x[i - 1] ?? -1", "x[i - 1] ?? -1.0");
  arena_destroy(w.a);
} END_TEST

START_TEST(literals_are_bare_beside_an_operand_of_their_type) {
  World w = world();
  PRINTS("x: f32[N]", "x[i] * 2 + 0.1", "x[i] * 2.0 + 0.1");
  PRINTS("x: f64[N]", "f32(x[i] * 0.1)", "f32(x[i] * 0.1)");
  PRINTS("x: f32[N]", "f32(f64(0.1) + 0.2)", "f32(f64(0.1) + 0.2)");
  PRINTS("x: i32[N]", "f32(x[i] & 255)", "f32(x[i] & 255)");
  PRINTS("x: f32[N]", "x[i] - -inf", "x[i] - -inf");
  PRINTS("x: f32[N]", "nan", "nan");
  PRINTS("x: f32[N]", "x[N - 1] + x[0]", "x[N - 1] + x[0]");
  arena_destroy(w.a);
} END_TEST

START_TEST(casts_are_left_off_where_reading_puts_them_back) {
  World w = world();
  PRINTS("x: f32[N], k: i32[N]", "x[i] * k[i]", "x[i] * k[i]");
  PRINTS("x: f32[N], k: i32[N]", "x[k[i]] + x[k[i] + 1]", "x[k[i]] + x[k[i] + 1]");
  PRINTS("x: f32[N], k: i32[N]", "f32(k[i]) * f32(k[i])", "f32(k[i]) * k[i]");
  PRINTS("x: f32[N], k: i32[N]", "f32(f16(x[i]))", "f16(x[i])");
  PRINTS("x: f32[N], k: i32[N]", "x[i] * f32(k[i] > 0)", "x[i] * (k[i] > 0)");
  PRINTS("x: f32[N], k: i32[N]", "sum[j < k[i]](x[j])", "sum[j < k[i]](x[j])");
  arena_destroy(w.a);
} END_TEST

START_TEST(indices_do_not_hide_other_names) {
  World w = world();
  Fn *f = elaborate(&w, "fn f(x: f32[N], g: f32[N]) -> y: f32[N] { y[i] = sum[j](x[j] * g[i]) }", NULL);
  Eqn *q = f->eqns.v[0];
  q->ix[0]->name = intern(w.names, "x");
  q->body->u.bind->ix[0]->name = intern(w.names, "exp");
  Buf b = buf_make(w.a);
  eqn_print(f, q, &b);
  ck_assert_str_eq(b.s, "y[x_2 < N] = sum[exp_2 < N](x[exp_2] * g[x_2])");
  b = buf_make(w.a);
  q->ix[0]->name = q->body->u.bind->ix[0]->name = intern(w.names, "i");
  eqn_print(f, q, &b);
  ck_assert_str_eq(b.s, "y[i < N] = sum[i_2 < N](x[i_2] * g[i])");
  b = buf_make(w.a);
  expr_print(q->body, &b);
  ck_assert_str_eq(b.s, "sum[i_2 < N](x[i_2] * g[i])");
  arena_destroy(w.a);
} END_TEST

START_TEST(a_function_prints_with_what_it_uses) {
  World w = world();
  Fn *f = elaborate(&w, "const grid = [-1, 0.5]\nfn f(mut c: f16[B, S], x: q8_0[B, 64], p: i32[B], s: f32 = 0.1) -> (y: f32[B], z: f32) where B > 0, kernels <= 3 {\n"
                        "c[b, p[b]] <- x[b, 0] * grid[p[b] & 1] if p[b] >= 0\n  t: bf16[b] = c[b, 0]\n  y[b] = t[b] + s\n  z = max(y[0], 0) }", NULL);
  ck_assert_str_eq(strstr(printed(&w, f), "const grid"),
                   "const grid: f32 = [-1.0, 0.5]\n\n"
                   "fn f(mut c: f16[B, S], x: q8_0[B, 64], p: i32[B], s: f32 = 0.1) -> (y: f32[B], z: f32)\n"
                   "  where B > 0, kernels <= 3\n"
                   "{\n"
                   "  c[b < B, p[b]] <- x[b, 0] * grid[p[b] & 1] if p[b] >= 0\n"
                   "  t: bf16[b < B] = c[b, 0]\n"
                   "  y[b < B] = t[b] + s\n"
                   "  z = max(y[0], 0.0)\n"
                   "}\n");
  ck_assert_ptr_nonnull(strstr(printed(&w, f), "format q8_0 of 32 {\n  d: f16\n  q: i8[32]\n"));
  arena_destroy(w.a);
} END_TEST

// What is printed reads back as the same function. Each program is about one part of the language.
static const char *const programs[] = {
  "fn f(x: f32[N], z: f64[N], u: u32[N], w: u64[N], b: i8[N], s: f64 = 0.1, t: f32 = -2.5, k: i32 = -3) -> (y: f32[N], q: f64[N], r: u32[N], v: u64[N],"
  "  c: i64[N], h: f16[N], m: bool[N], e: i8[N]) {\n"
  "  y[i] = x[i] * 2 + 0.1 - -3 + (if x[i] < 0 then -1 else 1) * inf - t\n"
  "  q[i] = z[i] * 0.1 + 1e300 - s + (if z[i] > 0 then 0.1 else 0.2) + x[i] * 0.1\n"
  "  r[i] = (u[i] & 15) + 4000000000 >> 3\n"
  "  v[i] = w[i] * 7 + u[i] // 3 + 18446744073709551615\n"
  "  c[i] = 5000000000 + i * -1 + b[i] + k\n"
  "  h[i] = if isnan(x[i]) then nan else x[i] ** -2 + (-x[i]) ** 2 + -(x[i] ** 2) + 2 ** x[i]\n"
  "  m[i] = not (x[i] == 0 or z[i] != 1 and b[i] <= -1) and true\n"
  "  e[i] = i8(x[i] * 127) + b[i] % 5 - (b[i] // -3) }",

  "fn f(x: f32[N]) -> (a: f64[N], b: i64[N], c: f32[N], d: u32[N], e: i32[N]) {\n"
  "  a[i] = f64(0.1); b[i] = 3; c[i] = 1 + 2; d[i] = u32(7) + 1; e[i] = -2147483648 }",

  "const grid = [-1.0, -0.25, 0.25, 1.0]\nconst ids: i64 = [1, -2, 3]\n"
  "fn f(x: f16[N], g: f32[N], f: bf16[N], p: i32[N], seed: u64) -> (o: f32[N], y: i32[N], z: u16[N], d: f32[N], t: f32[N]) {\n"
  "  o[i] = grid[clamp(p[i], 0, 3)] + ids[i % 3]\n"
  "  y[i] = popcount(p[i]) + bitcast(i32, g[i]) + bitcast(u16, x[i]) + sign(p[i]) + abs(p[i]) + ~p[i] + (p[i] << 3) + (1 << p[i]) + (u32(p[i]) >> p[i])\n"
  "  z[i] = bitcast(u16, f[i]) ^ bitcast(u16, f16(g[i])) | 3\n"
  "  d[i] = if uniform(seed, i) < 0.5 then 0 else x[i] / (1 - 0.5) + uniform(seed + 1, 4 * i + 3)\n"
  "  t[i] = fma(x[i], 2, g[i]) + max(x[i], 0) + min(1, g[i]) + atan2(1, x[i]) + pow(x[i], 2) + sqrt(p[i]) + p[i] / 3 + 1 / p[i] + round(g[i]) + x[i] // 2 }",

  "fn f(x: f32[N, M], row: i32[N + 1], val: f32[Z], len: i32[N]) -> (a: f32[N], b: i32[N], c: f32, d: i32[N], e: bool[N], f: f32[N], g: i32[N], h: f32[N]) {\n"
  "  a[r] = sum[p in row[r] .. row[r + 1]](val[p] if val[p] > 0)\n"
  "  b[i] = sum[j](x[i, j] > 0)\n"
  "  c = max[i, j](abs(x[i, j]))\n"
  "  d[i] = argmax[j](x[i, j] if x[i, j] < c)\n"
  "  e[i] = any[j](x[i, j] == 0) or all[j](x[i, j] > 0)\n"
  "  f[i] = mean[j <= M - 1](x[i, j]) + sum[j < len[i]](x[i, j] ?? 0) + sum[j](if x[i, j] > 0 then x[i, j] else 0 if x[i, j] != 2)\n"
  "  g[i] = prod[j](i32(x[i, j])) + sum[j < M](1) + max[j](i32(x[i, j]))\n"
  "  h[i] = sum[j < M, k <= j](x[i, k] * (x[i, j - 1] ?? x[i, 0])) + mean[j < 3](b[i]) }",

  "fn f(x: f32[N, D]) -> (y: q8_0[N, D], s: f32[N, D]) where D % 32 == 0, kernels <= 5 {\n"
  "  h: q8_0[i, j] = x[i, j]; g: f16[i, j] = h[i, j] * 2; k: bf16 = g; y[i, j] = k[i, j] + 1; s = h + k }",

  "fn f(mut c: f32[B, S], mut q: q8_0[B, D], x: f32[B, D], pos: i32[B], n: i32) where B > 0 {\n"
  "  c[b, pos[b]] <- x[b, 0] if pos[b] >= 0\n"
  "  c[b, s] <- if c[b, s] > 0 then c[b, s] else 0 if s < n\n"
  "  q[b, i] <- x[b, i] + c[b, 0]\n"
  "  c[0, s] <- q[0, s % D] * 2 }",

  "fn f(x: f32[T, H], w: f32[H, H], h0: f32[H]) -> (h: f32[T, H], c: f32[T, H]) {\n"
  "  c[t, i] = (c[t - 1, i] ?? 0) * 0.5 + sum[j](w[i, j] * (h[t - 1, j] ?? h0[j])) + x[t, i]\n"
  "  h[t, i] = tanh(c[t, i]) }",

  "fn f(n: i64, m: i32 = 4) -> (y: f32[n], z: i64[m * 2, n // 2]) { y[i] = i; z[i, j] = i - j }",
  "fn f(x: i4[N, 2 * M], y: u4[N, 2 * M]) -> z: i4[N, 2 * M] { z = x + y }",
  "fn f(x: f32[N, M], w: f32[M], t: i32[N]) -> (y: f32[N, M], l: f32[N]) { y = layer_norm(gelu(x), w, 0, 1e-6); l = logsumexp(x) - pick(x, t) }",
};

START_TEST(printed_functions_read_back_equal) {
  World w = world();
  Fn *f = elaborate(&w, programs[_i], "f");
  const char *text = printed(&w, f);
  Fn *again = elaborate(&w, text, "f");
  ck_assert_msg(fn_equal(f, again), "%s\n%s", text, printed(&w, again));
  ck_assert_str_eq(text, printed(&w, again));
  arena_destroy(w.a);
} END_TEST

START_TEST(copies_are_equal_and_apart) {
  World w = world();
  Fn *f = elaborate(&w, programs[_i], "f");
  Arena *other = arena_create();
  Fn *g = fn_copy(other, f);
  Buf why = buf_make(w.a);
  ck_assert_msg(fn_verify(g, &why), "%s", why.s);
  ck_assert(fn_equal(f, g) && fn_equal(g, f));
  ck_assert_str_eq(printed(&w, f), printed(&w, g));
  ck_assert_ptr_ne(f->eqns.v[0]->body, g->eqns.v[0]->body);
  for (int k = 0; k < f->tensors.n; k++) ck_assert_ptr_ne(f->tensors.v[k], g->tensors.v[k]);
  Tensor *t = fn_tensor(g, f->tensors.v[0]->name, ROLE_LOCAL, DT_F32, NULL, 0, NULL, NO_SPAN);
  ck_assert_str_ne(t->name, f->tensors.v[0]->name);
  arena_destroy(other);
  arena_destroy(w.a);
} END_TEST

START_TEST(equality_sees_every_difference) {
  World w = world();
  const char *base = "fn f(x: f32[N], y: f32[N]) -> z: f32[N] { t[i] = x[i] + y[i]; z[i] = t[i] * 2 }";
  static const char *const others[] = {
    "fn g(x: f32[N], y: f32[N]) -> z: f32[N] { t[i] = x[i] + y[i]; z[i] = t[i] * 2 }",
    "fn f(x: f32[M], y: f32[M]) -> z: f32[M] { t[i] = x[i] + y[i]; z[i] = t[i] * 2 }",
    "fn f(x: f32[N], y: f16[N]) -> z: f32[N] { t[i] = x[i] + y[i]; z[i] = t[i] * 2 }",
    "fn f(x: f32[N], y: f32[N]) -> z: f16[N] { t[i] = x[i] + y[i]; z[i] = t[i] * 2 }",
    "fn f(x: f32[N], y: f32[N]) -> z: f32[N] { t[i] = y[i] + x[i]; z[i] = t[i] * 2 }",
    "fn f(x: f32[N], y: f32[N]) -> z: f32[N] { t[i] = x[i] + y[i]; z[i] = t[i] * 3 }",
    "fn f(x: f32[N], y: f32[N]) -> z: f32[N] { t: f16[i] = x[i] + y[i]; z[i] = t[i] * 2 }",
    "fn f(x: f32[N], y: f32[N]) -> z: f32[N] where N > 0 { t[i] = x[i] + y[i]; z[i] = t[i] * 2 }",
    "fn f(x: f32[N], y: f32[N]) -> z: f32[N] { z[i] = (x[i] + y[i]) * 2 }"};
  Fn *f = elaborate(&w, base, NULL);
  ck_assert(fn_equal(f, elaborate(&w, "fn f(x: f32[N], y: f32[N]) -> z: f32[N] { t[k] = x[k] + y[k]; z[j] = t[j] * 2 }", NULL)));
  for (size_t k = 0; k < sizeof others / sizeof *others; k++) ck_assert_msg(!fn_equal(f, elaborate(&w, others[k], NULL)), "%s", others[k]);
  arena_destroy(w.a);
} END_TEST

// Invariants: a good function, broken in one place.

typedef struct Break { Fn *f; ExprTable *x; Eqn *t, *y; Expr *i; World *w; } Break;

static void broken_by_type(Break *b) { b->y->body = expr_int(b->x, DT_I32, 1, NO_SPAN); }
static void broken_by_free_index(Break *b) { b->t->body = expr_cast(b->x, DT_F32, expr_index(b->x, index_new(b->x, intern(b->w->names, "k"), NO_SPAN)), NO_SPAN); }
static void broken_by_order(Break *b) { b->f->eqns.v[0] = b->y, b->f->eqns.v[1] = b->t; }
static void broken_by_missing_equation(Break *b) { b->f->eqns.n = 1; }
static void broken_by_second_equation(Break *b) { vec_push(b->f->a, &b->f->eqns, b->t); }
static void broken_by_name(Break *b) { b->t->def->name = intern(b->w->names, "if"); }
static void broken_by_equal_names(Break *b) { b->t->def->name = b->y->def->name; }
static void broken_by_extent(Break *b) { b->t->extent[0] = expr_int(b->x, DT_I64, 4, NO_SPAN); }
static void broken_by_data_extent(Break *b) {
  Expr *zero = expr_int(b->x, DT_I64, 0, NO_SPAN);
  b->t->def->extent[0] = b->t->extent[0] = expr_cast(b->x, DT_I64, expr_read(b->x, b->f->params.v[0], 1, &zero, NULL, NO_SPAN), NO_SPAN);
}
static void broken_by_subscript_type(Break *b) {
  Expr *i = expr_cast(b->x, DT_I32, b->i, NO_SPAN);
  b->t->body = expr_make(b->x, OP_READ, DT_F32, 0, b->f->params.v[0], NO_SPAN, 1, &i);
}
static void broken_by_rank(Break *b) { b->t->body = expr_make(b->x, OP_READ, DT_F32, 0, b->f->params.v[0], NO_SPAN, 2, (Expr *[]){b->i, b->i}); }
static void broken_by_operand(Break *b) {
  Expr *one = expr_int(b->x, DT_I32, 1, NO_SPAN);
  b->t->body = expr_make(b->x, OP_EXP, DT_F32, 0, NULL, NO_SPAN, 1, &one);
}
static void broken_by_mixed_operands(Break *b) {
  Expr *args[] = {expr_float(b->x, DT_F32, 1, NO_SPAN), expr_int(b->x, DT_I32, 1, NO_SPAN)};
  b->t->body = expr_make(b->x, OP_ADD, DT_F32, 0, NULL, NO_SPAN, 2, args);
}
static void broken_by_foreign_tensor(Break *b) {
  Fn *g = fn_copy(b->w->a, b->f);
  b->t->body = expr_read(b->x, g->params.v[0], 1, &b->i, NULL, NO_SPAN);
}
static void broken_by_rebinding(Break *b) {
  Expr *zero = expr_int(b->x, DT_I64, 0, NO_SPAN), *n = b->t->extent[0];
  b->t->body = expr_reduce(b->x, RED_SUM, 1, b->t->ix, &zero, &n, NULL, expr_read(b->x, b->f->params.v[0], 1, &b->i, NULL, NO_SPAN), NO_SPAN);
}
static void broken_by_nested_rebinding(Break *b) {
  Index *k = index_new(b->x, intern(b->w->names, "k"), NO_SPAN);
  Expr *zero = expr_int(b->x, DT_I64, 0, NO_SPAN), *n = b->t->extent[0], *e = expr_index(b->x, k);
  Expr *inner = expr_reduce(b->x, RED_SUM, 1, &k, &zero, &n, NULL, expr_read(b->x, b->f->params.v[0], 1, &e, NULL, NO_SPAN), NO_SPAN);
  b->t->body = expr_reduce(b->x, RED_SUM, 1, &k, &zero, &n, NULL, inner, NO_SPAN);
}
static void broken_by_hidden_recurrence(Break *b) { b->t->body = expr_read(b->x, b->t->def, 1, &b->i, NULL, NO_SPAN); }
static void broken_by_variable(Break *b) { b->t->body = expr_var(b->x, var_new(b->x, intern(b->w->names, "v"), DT_F32)); }
static void broken_by_bitcast(Break *b) {
  Expr *x = expr_read(b->x, b->f->params.v[0], 1, &b->i, NULL, NO_SPAN);
  b->t->body = expr_make(b->x, OP_BITCAST, DT_F32, DT_F16, NULL, NO_SPAN, 1, &x);
}
static void broken_by_source(Break *b) { b->f->sources.n = 0; }
static void broken_by_default(Break *b) { b->f->defaults.n = b->f->params.n + 1; }

typedef struct Broken { void (*by)(Break *); const char *says; } Broken;
static const Broken breaks[] = {
  {broken_by_type, "equation y: the body is i32, not f32"},
  {broken_by_free_index, "equation t: index k is free in the body"},
  {broken_by_order, "equation y: reads t before its equation"},
  {broken_by_missing_equation, "f: result y has no equation"},
  {broken_by_second_equation, "equation t: defines what can't be, or again"},
  {broken_by_name, "f: name if is not valid"},
  {broken_by_equal_names, "f: two things are called y"},
  {broken_by_extent, "equation t: extent 0 is not the tensor's"},
  {broken_by_data_extent, "f: an extent reads x"},
  {broken_by_subscript_type, "equation t: a subscript is i32, not i64"},
  {broken_by_rank, "equation t: x has 1 dimensions and is read with 2 arguments"},
  {broken_by_operand, "equation t: exp of i32"},
  {broken_by_mixed_operands, "equation t: add is i32, not f32"},
  {broken_by_foreign_tensor, "equation t: reads x, which is not of this function"},
  {broken_by_rebinding, "equation t: index i is bound inside its own scope"},
  {broken_by_nested_rebinding, "equation t: index k is bound inside its own scope"},
  {broken_by_hidden_recurrence, "equation t: reads t before its equation"},
  {broken_by_variable, "equation t: variable v outside a kernel"},
  {broken_by_bitcast, "equation t: bitcast of f32 to f16"},
  {broken_by_source, "f: 1 dimensions have 0 sources"},
  {broken_by_default, "f: more defaults than parameters"}};

START_TEST(every_broken_invariant_is_named) {
  World w = world();
  Fn *f = elaborate(&w, "fn f(x: f32[N]) -> y: f32[N] { t[i] = x[i] + 1; y[i] = t[i] * 2 }", NULL);
  Break b = {f, f->x, f->eqns.v[0], f->eqns.v[1], expr_index(f->x, f->eqns.v[0]->ix[0]), &w};
  breaks[_i].by(&b);
  Buf why = buf_make(w.a);
  ck_assert(!fn_verify(f, &why));
  ck_assert_str_eq(why.s, breaks[_i].says);
  arena_destroy(w.a);
} END_TEST

START_TEST(an_overwritten_version_is_not_read) {
  World w = world();
  Fn *f = elaborate(&w, "fn f(mut c: f32[N], x: f32[N]) -> y: f32[N] { c[i] <- x[i]; y[i] = c[i] }", NULL);
  Eqn *y = f->eqns.v[1];
  Expr *i = expr_index(f->x, y->ix[0]);
  y->body = expr_read(f->x, f->eqns.v[0]->base, 1, &i, NULL, NO_SPAN);
  Buf why = buf_make(w.a);
  ck_assert(!fn_verify(f, &why));
  ck_assert_str_eq(why.s, "equation y: reads c, which is not the newest version of c");
  f->eqns.v[0]->base = f->eqns.v[0]->def;
  why = buf_make(w.a);
  ck_assert(!fn_verify(f, &why));
  arena_destroy(w.a);
} END_TEST

enum { PROGRAMS = sizeof programs / sizeof *programs, BREAKS = sizeof breaks / sizeof *breaks };

static void add(Suite *s, const TTest *test, int n) {
  TCase *c = tcase_create(test->name);
  tcase_add_loop_test(c, test, 0, n);
  suite_add_tcase(s, c);
}

int main(void) {
  Suite *s = suite_create("fn");
  add(s, names_follow_the_lexis, 1);
  add(s, tensors_get_names_of_their_own, 1);
  add(s, equations_are_found_after_the_list_was_edited, 1);
  add(s, brackets_are_printed_where_needed_and_only_there, 1);
  add(s, literals_are_bare_beside_an_operand_of_their_type, 1);
  add(s, casts_are_left_off_where_reading_puts_them_back, 1);
  add(s, indices_do_not_hide_other_names, 1);
  add(s, a_function_prints_with_what_it_uses, 1);
  add(s, printed_functions_read_back_equal, PROGRAMS);
  add(s, copies_are_equal_and_apart, PROGRAMS);
  add(s, equality_sees_every_difference, 1);
  add(s, every_broken_invariant_is_named, BREAKS);
  add(s, an_overwritten_version_is_not_read, 1);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
