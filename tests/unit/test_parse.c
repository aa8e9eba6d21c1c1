#include "base/limits.h"
#include "source.h"
#include <math.h>
#include <time.h>

// A tree as text: every operation in brackets.

static void show(const AExpr *e, Buf *b);

static void show_subs(int n, const ASub *s, Buf *b) {
  for (int i = 0; i < n; i++) {
    buf_puts(b, i ? ", " : "");
    if (s[i].kind == SUB_DOTS) buf_puts(b, "..");
    if (s[i].kind == SUB_EXPR) show(s[i].e, b);
    if (s[i].kind != SUB_RANGE) continue;
    buf_printf(b, "%s in ", s[i].name);
    show(s[i].lo, b);
    buf_puts(b, " .. ");
    show(s[i].hi, b);
  }
}

static void show_args(const AExpr *e, Buf *b) {
  for (int i = 0; i < e->nargs; i++) {
    buf_puts(b, i ? ", " : "");
    show(e->arg[i], b);
  }
}

static void show_read(const AExpr *e, Buf *b) {
  show(e->arg[0], b);
  if (e->nsubs) {
    buf_puts(b, "[");
    show_subs(e->nsubs, e->sub, b);
    buf_puts(b, "]");
  }
  if (e->nargs == 1) return;
  buf_puts(b, " ?? ");
  show(e->arg[1], b);
}

static void show_reduce(const AExpr *e, Buf *b) {
  buf_printf(b, "%s[", reducers[e->reducer].name);
  show_subs(e->nsubs, e->sub, b);
  buf_puts(b, "](");
  show(e->arg[0], b);
  if (e->arg[1]) {
    buf_puts(b, " if ");
    show(e->arg[1], b);
  }
  buf_puts(b, ")");
}

static void show_bracketed(const AExpr *e, Buf *b) {
  buf_puts(b, "(");
  if (e->kind == A_IF) {
    buf_puts(b, "if ");
    show_args(e, b);
  } else if (e->kind == A_UNARY) {
    buf_printf(b, "%s ", aop_text(e->op));
    show(e->arg[0], b);
  } else if (e->kind == A_BINARY) {
    show(e->arg[0], b);
    buf_printf(b, " %s ", aop_text(e->op));
    show(e->arg[1], b);
  } else {
    show_read(e, b);
  }
  buf_puts(b, ")");
}

static void show(const AExpr *e, Buf *b) {
  switch (e->kind) {
  case A_INT: case A_FLOAT: buf_puts(b, e->text); break;
  case A_INF: buf_puts(b, "inf"); break;
  case A_NAN: buf_puts(b, "nan"); break;
  case A_TRUE: buf_puts(b, "true"); break;
  case A_FALSE: buf_puts(b, "false"); break;
  case A_NAME: buf_puts(b, e->name); break;
  case A_IF: case A_UNARY: case A_BINARY: case A_SUBSCRIPT: show_bracketed(e, b); break;
  case A_REDUCE: show_reduce(e, b); break;
  case A_CALL: buf_printf(b, "%s(", e->name), show_args(e, b), buf_puts(b, ")"); break;
  case A_CAST: buf_printf(b, "%s(", dtypes[e->type.dtype].name), show_args(e, b), buf_puts(b, ")"); break;
  case A_BITCAST: buf_printf(b, "bitcast(%s, ", e->type.name ? e->type.name : dtypes[e->type.dtype].name), show_args(e, b), buf_puts(b, ")"); break;
  }
}

static Source parse_expr(const char *text) {
  char program[4096];
  snprintf(program, sizeof program, "const c = %s\n", text);
  return source_good(program);
}

static const AExpr *expr_of(const Source *s) { return s->f->item[0].cnst->value[0]; }

static void check_expr(const char *text, const char *want) {
  Source s = parse_expr(text);
  Buf b = buf_make(s.a);
  show(expr_of(&s), &b);
  ck_assert_msg(strcmp(b.s, want) == 0, "%s\nis   %s\nnot  %s", text, b.s, want);
  source_free(&s);
}

START_TEST(programs_of_the_language_page_parse) {
  for (int i = 0; i < LANGUAGE_PROGRAMS; i++) {
    char *text = language_program(__FILE__, language_programs[i]);
    Source s = source_good(text);
    const AItem *it = &s.f->item[0];
    ck_assert_int_eq(s.f->nitems, 1);
    ck_assert_str_eq(it->kind == AI_FN ? it->fn->name : it->format->name, language_programs[i]);
    source_free(&s);
    free(text);
  }
} END_TEST

START_TEST(smaller_examples_of_the_language_page_parse) {
  static const char *const programs[] = {
    "const grid = [-1.0, -0.25, 0.25, 1.0]",
    "import \"file.plait\"",
    "fn silu(x: T) -> y: T { y = x / (1 + exp(-x)) }",
    "fn softmax(x: T[.., N]) -> y: T[.., N] { y = x }",
    "fn ramp(n: i64) -> y: f32[n] { y[i] = i }",
    "fn two(x: f32[N]) -> (q: f32[N], s: f32) { q, s = quantise(x) }",
    "fn lo(x: f32[N]) -> y: f32[N] where D % 2 == 0, kernels <= 1 { y[i < N - 2] = x[i] }",
    "fn h(a: f32[T, D], h0: f32[D]) -> h: f32[T, D] { h[t, i] = a[t, i] * (h[t - 1, i] ?? h0[i]) + b[t, i] }",
    "fn t(p: f32[T, E], K: i64) { top[t, r < K] = argmax[e](p[t, e] if not any[q < r](top[t, q] == e)) }",
    "fn q(x: f32[N, M]) -> y: f32[N] { h: q8_0[i, j] = x[i, j] y[i] = sum[..](h) }",
    "fn s(mut c: f32[N], k: f32[N]) { c[n] <- k[n] if k[n] >= 0 }",
    "fn e() {}",
  };
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    Source s = source_good(programs[i]);
    source_free(&s);
  }
} END_TEST

START_TEST(each_operator_binds_tighter_than_those_before_it) {
  static const char *const level[] = {"or", "and", "==", "|", "^", "&", "<<", "+", "*"};
  for (int i = 0; i + 1 < 9; i++) {
    char text[64], want[64];
    snprintf(text, sizeof text, "a %s b %s c", level[i], level[i + 1]);
    snprintf(want, sizeof want, "(a %s (b %s c))", level[i], level[i + 1]);
    check_expr(text, want);
    snprintf(text, sizeof text, "a %s b %s c", level[i + 1], level[i]);
    snprintf(want, sizeof want, "((a %s b) %s c)", level[i + 1], level[i]);
    check_expr(text, want);
  }
} END_TEST

START_TEST(operators_of_one_level_group_from_the_left) {
  static const char *const pair[][2] = {
    {"or", "or"}, {"and", "and"}, {"|", "|"}, {"^", "^"}, {"&", "&"}, {"<<", ">>"}, {"+", "-"}, {"-", "+"}, {"*", "/"},
    {"/", "//"}, {"%", "*"}, {"//", "%"},
  };
  for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
    char text[64], want[64];
    snprintf(text, sizeof text, "a %s b %s c", pair[i][0], pair[i][1]);
    snprintf(want, sizeof want, "((a %s b) %s c)", pair[i][0], pair[i][1]);
    check_expr(text, want);
  }
} END_TEST

START_TEST(power_groups_from_the_right_and_binds_tighter_than_a_sign_before_it) {
  check_expr("a ** b ** c", "(a ** (b ** c))");
  check_expr("-a ** b", "(- (a ** b))");
  check_expr("a ** -b", "(a ** (- b))");
  check_expr("a ** -b ** c", "(a ** (- (b ** c)))");
  check_expr("a * b ** c", "(a * (b ** c))");
  check_expr("-a * ~b", "((- a) * (~ b))");
  check_expr("x[i] ** 2", "((x[i]) ** 2)");
} END_TEST

START_TEST(not_binds_between_and_and_comparisons) {
  check_expr("not a == b", "(not (a == b))");
  check_expr("not a and b", "((not a) and b)");
  check_expr("a or not not b", "(a or (not (not b)))");
} END_TEST

START_TEST(a_default_covers_the_read_before_it) {
  check_expr("x[i + k - 1] ?? 0", "(x[((i + k) - 1)] ?? 0)");
  check_expr("a * x[i] ?? 0 + b", "((a * (x[i] ?? 0)) + b)");
  check_expr("x[i] ?? y[i] ?? -1", "(x[i] ?? (y[i] ?? (- 1)))");
  check_expr("x[i] ?? -y[i] ?? 1", "(x[i] ?? (- (y[i] ?? 1)))");
  check_expr("x ** y[i] ?? 2", "(x ** (y[i] ?? 2))");
  check_expr("x ?? 0", "(x ?? 0)");
  check_expr("(x[i]) ?? 0", "((x[i]) ?? 0)");
} END_TEST

START_TEST(an_if_reaches_as_far_as_it_can) {
  check_expr("if a then b else c + d", "(if a, b, (c + d))");
  check_expr("if a then b else if c then d else e", "(if a, b, (if c, d, e))");
  check_expr("if a then if b then c else d else e", "(if a, (if b, c, d), e)");
  check_expr("(if a then b else c) + d", "((if a, b, c) + d)");
} END_TEST

START_TEST(calls_casts_reads_and_reductions_are_told_apart) {
  check_expr("f()", "f()");
  check_expr("f(a, b + 1)", "f(a, (b + 1))");
  check_expr("softmax(s)[i, j]", "(softmax(s)[i, j])");
  check_expr("min(a, b)", "min(a, b)");
  check_expr("max[j](x[j] if m[j])", "max[j]((x[j]) if (m[j]))");
  check_expr("f32(E)", "f32(E)");
  check_expr("T(E)", "T(E)");
  check_expr("bitcast(f32, u)", "bitcast(f32, u)");
  check_expr("bitcast(T, u)", "bitcast(T, u)");
  check_expr("sum[..](x)", "sum[..](x)");
  check_expr("sum[i, t <= i](x)", "sum[i, (t <= i)](x)");
  check_expr("sum[p in row[r] .. row[r + 1]](v)", "sum[p in (row[r]) .. (row[(r + 1)])](v)");
  check_expr("x[.., i]", "(x[.., i])");
  check_expr("(a)[i]", "(a[i])");
  check_expr("inf + nan", "(inf + nan)");
  check_expr("true or false", "(true or false)");
} END_TEST

START_TEST(a_reduction_without_a_filter_has_no_second_argument) {
  Source s = parse_expr("sum[i](x)");
  ck_assert_int_eq(expr_of(&s)->nargs, 1);
  ck_assert_ptr_null(expr_of(&s)->arg[1]);
  source_free(&s);
} END_TEST

START_TEST(kernels_is_an_ordinary_name) { check_expr("kernels <= 1", "(kernels <= 1)"); } END_TEST

START_TEST(ranges_of_integers_are_no_floats) {
  check_expr("sum[i in 0..n](x)", "sum[i in 0 .. n](x)");
  check_expr("sum[i in 0..5](x)", "sum[i in 0 .. 5](x)");
  check_expr("sum[i in 0x10..1_0](x)", "sum[i in 0x10 .. 1_0](x)");
  check_expr("sum[i in 1.5..2.5](x)", "sum[i in 1.5 .. 2.5](x)");
} END_TEST

static void check_int(const char *text, uint64_t want) {
  Source s = parse_expr(text);
  ck_assert_int_eq(expr_of(&s)->kind, A_INT);
  ck_assert_msg(expr_of(&s)->i == want, "%s", text);
  source_free(&s);
}

START_TEST(integers_have_their_values) {
  check_int("0", 0);
  check_int("007", 7);
  check_int("1_000_000", 1000000);
  check_int("0xff", 255);
  check_int("0XdEaD_bEeF", 0xdeadbeef);
  check_int("0b1010_0101", 0xa5);
  check_int("18446744073709551615", UINT64_MAX);
  check_int("0xffff_ffff_ffff_ffff", UINT64_MAX);
} END_TEST

static void check_float(const char *text, double want) {
  Source s = parse_expr(text);
  ck_assert_int_eq(expr_of(&s)->kind, A_FLOAT);
  ck_assert_msg(expr_of(&s)->f == want, "%s is %a", text, expr_of(&s)->f);
  source_free(&s);
}

START_TEST(floats_are_rounded_correctly) {
  check_float("1.0", 1.0);
  check_float("1e-5", 1e-5);
  check_float("1E+5", 1e5);
  check_float("0.1", 0.1);
  check_float("3.141_592_653_589_793", 3.141592653589793);
  check_float("2.2250738585072011e-308", 2.2250738585072011e-308);
  check_float("9007199254740993.0", 9007199254740992.0);     // half way: to even
  check_float("5e-324", 5e-324);
  check_float("1e-400", 0.0);
  check_float("1e-999999999999999999999", 0.0);
  check_float("0.0000000000000000000000000001e28", 1.0);
} END_TEST

START_TEST(comments_and_semicolons_separate_like_space) {
  Source s = source_good("# first ü €\nfn f(x: f32[N]) -> y: f32[N] { ;; a = x; b = a # c\n; y = b;}\r\n\t# last");
  ck_assert_int_eq(s.f->item[0].fn->nstmts, 3);
  ck_assert_int_eq(s.f->ncomments, 3);
  ck_assert(s.f->comment[0].own_line && !s.f->comment[1].own_line && s.f->comment[2].own_line);
  source_free(&s);
} END_TEST

// Spans.

static const char *cut(const Source *s, Span at) { return arena_strndup(s->a, s->text + at.lo, at.hi - at.lo); }

// The text from the first place of `first` to behind the first of `last`.
static const char *between(const Source *s, const char *first, const char *last) {
  const char *lo = strstr(s->text, first), *hi = strstr(s->text, last) + strlen(last);
  return arena_strndup(s->a, lo, (size_t)(hi - lo));
}

#define SPAN(span, want) ck_assert_str_eq(cut(&s, (span)), (want))

START_TEST(spans_of_expressions_are_exact) {
  Source s = source_parse("const c = ( a + f( x [ i , j ] ?? 0 ) ) * - 2");
  const AExpr *mul = s.f->item[0].cnst->value[0], *add = mul->arg[0], *call = add->arg[1], *read = call->arg[0];
  SPAN(mul->at, "( a + f( x [ i , j ] ?? 0 ) ) * - 2");
  SPAN(mul->name_at, "*");
  SPAN(add->at, "( a + f( x [ i , j ] ?? 0 ) )");
  SPAN(add->name_at, "+");
  SPAN(call->at, "f( x [ i , j ] ?? 0 )");
  SPAN(call->name_at, "f");
  SPAN(read->at, "x [ i , j ] ?? 0");
  SPAN(read->name_at, "x");
  SPAN(read->sub[1].at, "j");
  SPAN(mul->arg[1]->at, "- 2");
  SPAN(mul->arg[1]->name_at, "-");
  ck_assert(add->parens && !mul->parens);
  source_free(&s);
} END_TEST

START_TEST(spans_of_reductions_and_casts_are_exact) {
  Source s = source_parse("const c = sum[p in a .. b + 1, q <= p](i8(x) if bitcast( f32 , y ) > 0)");
  const AExpr *sum = s.f->item[0].cnst->value[0];
  SPAN(sum->at, "sum[p in a .. b + 1, q <= p](i8(x) if bitcast( f32 , y ) > 0)");
  SPAN(sum->name_at, "sum");
  SPAN(sum->sub[0].at, "p in a .. b + 1");
  SPAN(sum->sub[0].name_at, "p");
  SPAN(sum->sub[0].hi->at, "b + 1");
  SPAN(sum->sub[1].at, "q <= p");
  SPAN(sum->arg[0]->at, "i8(x)");
  SPAN(sum->arg[0]->type.at, "i8");
  SPAN(sum->arg[1]->arg[0]->at, "bitcast( f32 , y )");
  SPAN(sum->arg[1]->arg[0]->name_at, "bitcast");
  SPAN(sum->arg[1]->arg[0]->type.at, "f32");
  source_free(&s);
} END_TEST

START_TEST(spans_of_functions_are_exact) {
  Source s = source_parse("# c\nfn f(mut x : f32[.., N] , y: T = 1 + 2) -> (a: f32[ N ], b: i8) where N > 0 , M {\n  a : f16[i] = x[i] ;\n x[i] <- 1 if c\n b, e = g() }  ");
  const AFn *f = s.f->item[0].fn;
  ck_assert_str_eq(cut(&s, f->at), between(&s, "fn f(mut", "g() }"));
  SPAN(f->name_at, "f");
  SPAN(f->param[0].at, "mut x : f32[.., N]");
  SPAN(f->param[0].name_at, "x");
  SPAN(f->param[0].type.at, "f32[.., N]");
  SPAN(f->param[0].type.dtype.at, "f32");
  ck_assert(f->param[0].mut && f->param[0].type.dots && f->param[0].type.rank == 1);
  SPAN(f->param[1].at, "y: T = 1 + 2");
  SPAN(f->param[1].init->at, "1 + 2");
  SPAN(f->result[0].type.at, "f32[ N ]");
  SPAN(f->result[1].name_at, "b");
  SPAN(f->where[0]->at, "N > 0");
  SPAN(f->where[1]->at, "M");
  SPAN(f->stmt[0].at, "a : f16[i] = x[i]");
  SPAN(f->stmt[0].type.at, "f16");
  SPAN(f->stmt[0].sub[0].at, "i");
  SPAN(f->stmt[1].at, "x[i] <- 1 if c");
  SPAN(f->stmt[1].name_at, "x");
  SPAN(f->stmt[2].at, "b, e = g()");
  SPAN(f->stmt[2].names_at[1], "e");
  source_free(&s);
} END_TEST

START_TEST(spans_of_formats_constants_and_imports_are_exact) {
  Source s = source_parse("import \"a b\" const k : f16 = 3 const t = [1, 2]\nformat q of 32 { d: f16 e : u8[16] value[k] = d encode ( v ) { d = 1 } }");
  SPAN(s.f->item[0].import->at, "\"a b\"");
  ck_assert_str_eq(s.f->item[0].import->path, "a b");
  SPAN(s.f->item[1].cnst->at, "const k : f16 = 3");
  SPAN(s.f->item[1].cnst->type.at, "f16");
  SPAN(s.f->item[2].cnst->at, "const t = [1, 2]");
  ck_assert(s.f->item[2].cnst->table && s.f->item[2].cnst->nvalues == 2);
  const AFormat *q = s.f->item[3].format;
  ck_assert_int_eq(q->block, 32);
  SPAN(q->name_at, "q");
  SPAN(q->field[0].at, "d: f16");
  SPAN(q->field[1].at, "e : u8[16]");
  ck_assert(q->field[0].count == 1 && !q->field[0].array && q->field[1].count == 16 && q->field[1].array);
  SPAN(q->stmt[0].at, "value[k] = d");
  SPAN(q->encode->at, "encode ( v ) { d = 1 }");
  SPAN(q->encode->var_at, "v");
  source_free(&s);
} END_TEST

// Errors.

typedef struct Slip { const char *body, *code, *at, *message, *help; } Slip;

static void check_slip(const char *text, const Slip *x) {
  Source s = source_parse(text);
  ck_assert_msg(s.d->errors == 1, "%s\n%s", text, source_messages(&s));
  const Diag *d = s.d->list.v[0];
  const char *at = d->at.hi <= strlen(text) ? cut(&s, d->at) : "";
  ck_assert_msg(strcmp(code_info(d->code)->id, x->code) == 0 && strcmp(at, x->at) == 0, "%s\n%s", text, source_messages(&s));
  ck_assert_msg(strstr(d->text, x->message) != NULL, "%s\n%s", text, source_messages(&s));
  ck_assert_msg(!x->help || (d->help && strstr(d->help, x->help)) || (d->fix && strcmp(d->fix, x->help) == 0), "%s\n%s", text, source_messages(&s));
  source_free(&s);
}

// Each stands as a line of a function, with good lines around it.
START_TEST(a_slip_in_a_statement_is_one_error_at_its_place) {
  static const Slip slips[] = {
    {"y[i] = x[i]<-1", "PLT0109", "<-", "store arrow", "< -"},
    {"y[i] = if a = b then 1 else 2", "PLT0104", "=", "expected `then`, found `=`", "`==` compares"},
    {"y[i] == x[i]", "PLT0104", "==", "expected `=` or `<-`, found `==`", "one `=`"},
    {"y = a = b", "PLT0104", "=", "expected an operator or the next equation, found `=`", "`==` compares"},
    {"y = f(x, axis = 1)", "PLT0104", "=", "expected `,` or `)`, found `=`", "arguments come in order"},
    {"y[i] += 1", "PLT0104", "+", "expected `=` or `<-`, found `+`", "defined once"},
    {"y := 1", "PLT0104", "=", "found `=`", "written with `=`"},
    {"let y = 1", "PLT0104", "let", "`let` is not a word of the language", "no keyword"},
    {"return y", "PLT0104", "return", "`return` is not a word", "results are named"},
    {"for i in 0..n { y[i] = 1 }", "PLT0104", "for", "`for` is not a word", "indices run by themselves"},
    {"y = a && b", "PLT0104", "&&", "`&&` is written `and`", "and"},
    {"y = a || b", "PLT0104", "||", "`||` is written `or`", "or"},
    {"y = !b", "PLT0104", "!", "`!` is written `not`", "not "},
    {"y = f(a, b,)", "PLT0104", ")", "expected an expression, found `)`", "remove the comma"},
    {"y = x[i][j]", "PLT0104", "[", "found `[`", "one pair of brackets"},
    {"y = x[1:2]", "PLT0104", ":", "found `:`", "no slices"},
    {"y = sum[0 .. n](x)", "PLT0104", "..", "found `..`", "a range has an index"},
    {"y = sum[p row[r] .. e](x)", "PLT0104", "row", "found `row`", "`i in a .. b`"},
    {"y = sum[p + 1 in a .. b](x)", "PLT0104", "in", "found `in`", "left of `in`"},
    {"y = sum[i] x[i]", "PLT0104", "x", "expected `(`, found `x`", NULL},
    {"y = 1 + if a then b else c", "PLT0104", "if", "expected an expression, found `if`", "needs brackets"},
    {"y = a == not b", "PLT0104", "not", "expected an expression, found `not`", "(not b)"},
    {"y = a if c else b", "PLT0104", "if", "found `if`", "if c then a else b"},
    {"y = [1, 2]", "PLT0104", "[", "expected an expression, found `[`", "`const`"},
    {"y = if a then b", "PLT0104", "z", "expected `else`, found `z`", NULL},
    {"y = f(x))", "PLT0104", ")", "expected an operator or the next equation, found `)`", NULL},
    {"y = (x]", "PLT0104", "]", "expected `)`, found `]`", NULL},
    {"y = f(x", "PLT0104", "z", "expected `,` or `)`, found `z`", NULL},
    {"y = x[i] +", "PLT0104", "+", "expected an expression after `+`", NULL},
    {"y = f(x,", "PLT0104", ",", "expected an expression after `,`", NULL},
    {"y =", "PLT0104", "=", "expected an expression after `=`", NULL},
    {"y = 1.", "PLT0102", "1.", "digits on both sides", "1.0"},
    {"y = .5", "PLT0102", ".5", "digits on both sides", "0.5"},
    {"y = 1.0f", "PLT0102", "1.0f", "`1.0f` is no number", "no suffix"},
    {"y = 2x", "PLT0102", "2x", "`2x` is no number", "cannot begin with a digit"},
    {"y = 0x", "PLT0102", "0x", "`0x` is no number", NULL},
    {"y = 0b102", "PLT0102", "0b102", "no number", NULL},
    {"y = 1__0", "PLT0102", "1__0", "between two digits", NULL},
    {"y = 1_", "PLT0102", "1_", "between two digits", NULL},
    {"y = 1e999", "PLT0102", "1e999", "larger than any f64", NULL},
    {"y = 18446744073709551616", "PLT0108", "18446744073709551616", "64 bits", NULL},
    {"y = x.T", "PLT0101", ".", "`.` is not a character", "digits on both sides"},
    {"y = x ? a : b", "PLT0101", "?", "`?` is not a character", "if c then a else b"},
    {"y = a @ b", "PLT0101", "@", "`@` is not a character", "matmul"},
    {"y = a × b", "PLT0101", "×", "U+00D7", "`*`"},
    {"y = λ + λ", "PLT0101", "λ", "U+03BB", NULL},
    {"y = a \x01 b", "PLT0101", "\x01", "control character U+0001", NULL},
    {"y = a \xff b", "PLT0107", "\xff", "byte 0xff is not UTF-8", NULL},
    {"y = a # \xc0\x80", "PLT0107", "\xc0", "byte 0xc0 is not UTF-8", NULL},
    {"y = a # \x1b[31m", "PLT0101", "\x1b", "control character U+001B", NULL},
    {"y = \"abc\"", "PLT0104", "\"abc\"", "expected an expression, found a string", NULL},
    {"y = \"abc", "PLT0103", "\"abc", "closing quote", NULL},
    {"y = a < b < c", "PLT0105", "<", "do not chain", "a < b and b < c"},
    {"sum[i] = x[i] sum = sum[j](sum)", "PLT0106", "sum", "name of a reduction", NULL},
    {"f32 = 3", "PLT0106", "f32", "name of a type", NULL},
    {"in = 3", "PLT0106", "in", "a reserved word", NULL},
    {"x <- 3", "PLT0104", "x", "needs subscripts", NULL},
    {"a, b = 3", "PLT0104", "3", "one call", NULL},
    {"append(cache, k)", "PLT0104", "(", "found `(`", "a statement defines a tensor"},
    {"y[i] := x[i]", "PLT0104", ":", "found `:`", "with `=`"},
    {"y = 3 /* c */", "PLT0104", "*", "found `*`", "`#`"},
    {"// two words", "PLT0104", "//", "`//` is floor division", "`#`"},
    {"y = x[i", "PLT0104", "z", "expected `,` or `]`, found `z`", NULL},
    {"y = x[]", "PLT0104", "]", "expected an expression, found `]`", NULL},
    {"y = sum[](x)", "PLT0104", "]", "expected an expression, found `]`", NULL},
    {"y = ()", "PLT0104", ")", "expected an expression, found `)`", NULL},
    {"y 3", "PLT0104", "3", "expected `[`, `,`, `:`, `=` or `<-`, found `3`", NULL},
  };
  for (size_t i = 0; i < sizeof slips / sizeof *slips; i++) {
    char text[512];
    snprintf(text, sizeof text, "fn f(x: f32[N]) -> q: f32[N] {\n  first[i] = x[i]\n  %s\n  z[i] = first[i]\n  q[i] = z[i]\n}\nfn g() { }\n", slips[i].body);
    check_slip(text, &slips[i]);
  }
} END_TEST

START_TEST(a_slip_outside_of_statements_is_one_error_at_its_place) {
  static const Slip slips[] = {
    {"fn f(x, y: f32) { z = x }", "PLT0104", ",", "expected `:`, found `,`", "have a type"},
    {"fn f(f32 x) { z = x }", "PLT0104", "f32", "found `f32`", "the type follows the name"},
    {"fn f(x: f32) -> f32 { z = x }", "PLT0104", "f32", "found `f32`", "a result has a name"},
    {"fn f(x: f32) -> T[N] { z = x }", "PLT0104", "[", "expected `:`, found `[`", "have a type"},
    {"fn f(x: f32,) { z = x }", "PLT0104", ")", "found `)`", "remove the comma"},
    {"fn f(x: f32[N, ..]) { z = x }", "PLT0110", "..", "stands first in a shape", NULL},
    {"fn f(x: f32[.., ..]) { z = x }", "PLT0110", "..", "stands first in a shape", NULL},
    {"fn f(x: f32[]) { z = x }", "PLT0104", "]", "found `]`", NULL},
    {"fn of(x: f32) { z = x }", "PLT0106", "of", "reserved word", NULL},
    {"fn f(x: f32) where { z = x }", "PLT0104", "{", "expected an expression, found `{`", NULL},
    {"fn f(x: f32)\n  z = x\n}", "PLT0104", "z", "found `z`", NULL},
    {"fn f(x: f32) { z = x", "PLT0104", "fn", "expected `}`, found `fn`", NULL},
    {"fn f(x: f32) { z = x }\n}", "PLT0104", "}", "found `}`", "one `}` too many"},
    {"fn f(x: f32) { z = x };", "PLT0104", ";", "found `;`", "need no `;`"},
    {"def f(x: f32) { z = x }", "PLT0104", "def", "`def` is not a word", "fn name"},
    {"z[i] = x[i]", "PLT0104", "z", "expected `fn`, `const`, `format` or `import`", NULL},
    {"fn f(x: f32) wher x { z = x }", "PLT0104", "wher", "expected `where`", "where"},
    {"improt \"a\"", "PLT0104", "improt", "found `improt`", "import"},
    {"import file", "PLT0104", "file", "expected a file name in quotes, found `file`", NULL},
    {"import \"file", "PLT0103", "\"file", "closing quote", NULL},
    {"import \"a\x01\"", "PLT0101", "\x01", "control character", NULL},
    {"const k", "PLT0104", "fn", "expected `:` or `=`, found `fn`", NULL},
    {"const k = [1, 2,]", "PLT0104", "]", "found `]`", "remove the comma"},
    {"const k = []", "PLT0104", "]", "expected an expression, found `]`", NULL},
    {"const k = [1, 2", "PLT0104", "fn", "expected `,` or `]`, found `fn`", NULL},
    {"format q of n { value[k] = 1 }", "PLT0104", "n", "expected an integer, found `n`", NULL},
    {"format q of 3x { value[k] = 1 }", "PLT0102", "3x", "no number", NULL},
    {"format q of 4 { d: u8\nvalue[k] = d\n value[k] <- 1\n }", "PLT0608", "value[k] <- 1", "equations only", NULL},
    {"format q { value[k] = 1 }", "PLT0104", "{", "expected `of`, found `{`", NULL},
    {"format q of 4 { d: T value[k] = 1 }", "PLT0602", "T", "built-in types", NULL},
    {"format q of 4 { d: u8[N] value[k] = 1 }", "PLT0602", "d: u8[N]", "one integer", NULL},
    {"format q of 4 { d value[k] = 1 }", "PLT0104", "value", "found `value`", NULL},
    {"format q of 4 { d: u8 encode v { d = 1 } value[k] = 1 }", "PLT0104", "v", "expected `(`, found `v`", NULL},
    {"format q of 4 { d: u8 encode(v) { d[i] <- 1 } value[k] = 1 }", "PLT0608", "d[i] <- 1", "equations only", NULL},
    {"format q of 4 { encode(v) { d = 1 } encode(w) { d = 1 } }", "PLT0608", "encode(w) { d = 1 }", "one `encode` part", NULL},
    {"format q of 4 {\n d: u8 value[k] = +\n e: u8\n}", "PLT0104", "+", "expected an expression, found `+`", NULL},
    {"\xef\xbb\xbf", "PLT0101", "\xef\xbb\xbf", "byte order mark", NULL},
    {"# \x80", "PLT0107", "\x80", "not UTF-8", NULL},
  };
  for (size_t i = 0; i < sizeof slips / sizeof *slips; i++) {
    char text[512];
    snprintf(text, sizeof text, "%s\nfn last(x: f32[N]) -> y: f32[N] { y[i] = x[i] }\n", slips[i].body);
    check_slip(text, &slips[i]);
  }
} END_TEST

START_TEST(a_missing_brace_at_the_end_points_to_the_open_one) {
  Source s = source_parse("fn f(x: f32) {\n  y = x\n");
  ck_assert_int_eq(s.d->errors, 1);
  ck_assert(strstr(source_messages(&s), "this brace is not closed"));
  ck_assert_str_eq(s.f->item[0].fn->name, "f");
  source_free(&s);
} END_TEST

START_TEST(good_parts_of_a_broken_file_are_in_the_tree) {
  Source s = source_parse("fn a() { x = 1 y = + z = 3\n w = 4 }\nfn ( { }\nfn b() { }\nconst c = \nconst d = 1\n");
  ck_assert_int_eq(s.d->errors, 3);
  ck_assert_int_eq(s.f->nitems, 3);
  ck_assert_int_eq(s.f->item[0].fn->nstmts, 2);
  ck_assert_str_eq(s.f->item[1].fn->name, "b");
  ck_assert_str_eq(s.f->item[2].cnst->name, "d");
  source_free(&s);
} END_TEST

START_TEST(errors_in_different_statements_are_all_found) {
  Source s = source_parse(
    "fn f(x: f32[N]) -> y: f32[N] {\n"
    "  a[i] = x[i] +\n"            // 1
    "  b[i] = x[i]<-1\n"           // 2
    "  let c = 3\n"                // 3
    "  d[i] = x[i][j]\n"           // 4
    "  e = f(x,, y)\n"             // 5
    "  g = 1. + 2\n"               // 6
    "  y[i] = x[i]\n"
    "}\n"
    "const k = )\n"                // 7
    "format q of x {\n"            // 8
    "  d: f16\n"
    "  value[k] = d *\n"           // 9
    "}\n"
    "fn h(x: f32\n"                // 10
    "{ y = 3 $ }\n");              // 11
  ck_assert_msg(s.d->errors == 11, "%s", source_messages(&s));
  source_free(&s);
} END_TEST

START_TEST(errors_past_the_limit_are_counted_only) {
  Buf b;
  Arena *a = arena_create();
  b = buf_make(a);
  buf_puts(&b, "fn f() {\n");
  for (int i = 0; i < 1000; i++) buf_printf(&b, "a%d = )\n", i);
  buf_puts(&b, "}\n");
  Source s = source_parse(b.s);
  ck_assert_int_eq(s.d->errors, 1000);
  ck_assert_int_eq(s.d->list.n, LIMIT_ERRORS);
  source_free(&s);
  arena_destroy(a);
} END_TEST

// Limits.

static char *repeated(const char *head, const char *unit, int n, const char *middle, const char *closing, const char *tail) {
  Arena *a = arena_create();
  Buf b = buf_make(a);
  buf_puts(&b, head);
  for (int i = 0; i < n; i++) buf_puts(&b, unit);
  buf_puts(&b, middle);
  for (int i = 0; i < n; i++) buf_puts(&b, closing);
  buf_puts(&b, tail);
  char *text = strdup(b.s);
  arena_destroy(a);
  return text;
}

static Code code_of(const char *text) {
  Source s = source_parse(text);
  ck_assert_int_le(s.d->errors, 1);
  Code c = s.d->errors ? s.d->list.v[0]->code : E_COUNT;
  source_free(&s);
  return c;
}

START_TEST(nesting_is_accepted_up_to_its_limit_and_no_further) {
  static const struct { const char *unit, *middle, *closing; } forms[] = {
    {"(", "1", ")"}, {"-", "1", ""}, {"~", "1", ""}, {"not ", "1", ""}, {"f(", "1", ")"}, {"x[", "1", "]"}, {"sum[i](", "1", ")"},
    {"sum[", "i", "](x)"}, {"if 1 then 2 else ", "3", ""}, {"if ", "1", " then 2 else 3"}, {"x[i] ?? ", "1", ""}, {"x ** ", "2", ""}, {"f32(", "1", ")"},
    {"bitcast(i32, ", "x", ")"}, {"1 + ", "1", ""}, {"1 and ", "1", ""}, {"", "1", " * 2"}, {"sum[i in 0 .. ", "3", "](x)"},
  };
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    char *good = repeated("const c = ", forms[i].unit, LIMIT_NESTING - 2, forms[i].middle, forms[i].closing, "\n");
    char *bad = repeated("const c = ", forms[i].unit, LIMIT_NESTING + 1, forms[i].middle, forms[i].closing, "\n");
    ck_assert_msg(code_of(good) == E_COUNT, "%s", forms[i].unit);
    ck_assert_msg(code_of(bad) == E_limit_nesting, "%s", forms[i].unit);
    free(good);
    free(bad);
  }
} END_TEST

START_TEST(lists_may_be_longer_than_nesting_may_be_deep) {
  char *args = repeated("const c = f(1", ", 1", 5000, ")", "", "\n"), *stmts = repeated("fn f() {\n", "  a = 1\n", 5000, "}", "", "\n");
  ck_assert_int_eq(code_of(args), E_COUNT);
  ck_assert_int_eq(code_of(stmts), E_COUNT);
  free(args);
  free(stmts);
} END_TEST

START_TEST(a_file_past_the_size_limit_is_one_error) {
  char *text = repeated("", "# 345678\n", LIMIT_SOURCE_BYTES / 9 + 1, "", "", "");
  ck_assert_int_eq(code_of(text), E_limit_source);
  free(text);
} END_TEST

START_TEST(a_zero_byte_is_one_error) {
  Source s = source_parse_n("fn f() { }\0\0\n", 13);
  ck_assert_int_eq(s.d->errors, 1);
  ck_assert_int_eq(s.d->list.v[0]->code, E_bad_character);
  ck_assert_int_eq(s.d->list.v[0]->at.lo, 10);
  source_free(&s);
} END_TEST

// Hostile texts. They must end, soon, with errors; the sanitizers see the rest.

enum { MEGABYTE = 1000000 };

static void check_repeated(const char *pattern, size_t bytes) {
  char *text = repeated("fn f(x: f32[N]) -> y: f32[N] { y[i] = ", pattern, (int)(bytes / strlen(pattern)), "", "", "");
  clock_t start = clock();
  Source s = source_parse(text);
  double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
  ck_assert_msg(s.d->errors > 0, "%s", pattern);
  ck_assert_msg(seconds < 20, "%s: %.1f s", pattern, seconds);     // 0.3 s without sanitizers
  source_free(&s);
  free(text);
}

START_TEST(a_megabyte_of_nesting_is_one_error) {
  static const char *const patterns[] = {"x[", "(", "-", "~", "not ", "if ", "x??", "x**", "f(", "sum[i](", "x+", "if a then b else "};
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
    check_repeated(patterns[i], MEGABYTE);
    char *text = repeated("const c = ", patterns[i], MEGABYTE / 8, "", "", "");
    ck_assert_int_eq(code_of(text), E_limit_nesting);
    free(text);
  }
} END_TEST

START_TEST(a_megabyte_without_a_space_ends_with_errors) {
  static const char *const patterns[] = {"[", "\"", "}", "\xff", "a=", "fn f("};
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) check_repeated(patterns[i], MEGABYTE);
} END_TEST

START_TEST(any_repeated_pattern_ends_with_errors) {
  static const char *const patterns[] = {
    "{", "fn ", "\x01", "a ", "a[", "\na[",
    "format q of 3{", "encode(", "x[", "=", ",", "\xef\xbb\xbf", "1.", "..", "?", "\n}", "\nfn f(", "\na=b a=", "{\na=", "\xce\xbb ", "#\xff\n", "\"\n",
    "<-", "\nencode(v){", "]", ")", "a,", "\na,b=", ";}", "1e", "0x", "const ", "mut ", "import ", "\nimport\n",
  };
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) check_repeated(patterns[i], MEGABYTE / 10);
} END_TEST

START_TEST(random_bytes_end_with_errors) {
  unsigned long long seed = 1;
  char *text = malloc(MEGABYTE);
  for (int round = 0; round < 20; round++) {
    size_t n = round == 0 ? MEGABYTE : 2000;
    for (size_t i = 0; i < n; i++) text[i] = (char)(unit_random(&seed) >> 32);
    if (round % 2 == 0)
      for (size_t i = 0; i < n; i++) text[i] |= text[i] == 0;
    Source s = source_parse_n(text, n);
    ck_assert_int_gt(s.d->errors, 0);
    source_free(&s);
  }
  free(text);
} END_TEST

static const char *const words[] = {
  "fn", "const", "format", "of", "encode", "import", "mut", "where", "if", "then", "else", "in", "and", "or", "not", "true", "inf", "nan",
  "bitcast", "f32", "u8", "sum", "max", "x", "y", "N", "1", "0.5", "\"s\"", "(", ")", "[", "]", "{", "}", ",", ":", ";", "=", "<-", "->", "..",
  "??", "==", "<", ">=", "|", "^", "&", "<<", "+", "-", "*", "/", "//", "%", "**", "~", "\n", "\n", "\n", "\n  y[i] =", "\n x =", "fn f(x: f32[N]) {", "$", "&&",
  "# c\n", "\nfn g() -> y: f32 {", "format q of 4 {", "encode(v) {",
};

START_TEST(random_tokens_end) {
  unsigned long long seed = 2;
  for (int round = 0; round < 3000; round++) {
    char text[4096] = "";
    size_t n = 0;
    for (int i = 0; i < 60; i++) {
      const char *word = words[unit_random(&seed) % (sizeof words / sizeof *words)];
      n += (size_t)snprintf(text + n, sizeof text - n, "%s ", word);
    }
    Source s = source_parse(text);
    ck_assert(s.d->errors > 0 || s.f);
    source_free(&s);
  }
} END_TEST

// The bytes [lo, hi) of text replaced.
static char *spliced(const char *text, size_t lo, size_t hi, const char *with) {
  char *out = malloc(strlen(text) + strlen(with) + 3);
  sprintf(out, "%.*s %s %s", (int)lo, text, with, text + hi);
  return out;
}

// Most slips of one token give one error; a bracket or brace that is gone may give another at the end.
START_TEST(one_wrong_token_gives_few_errors) {
  unsigned long long seed = 3;
  int errors = 0, broken = 0;
  for (int round = 0; round < 4000; round++) {
    char *text = language_program(__FILE__, language_programs[unit_random(&seed) % LANGUAGE_PROGRAMS]);
    size_t lo = unit_random(&seed) % strlen(text), hi = lo + 1;
    const char *word = words[unit_random(&seed) % (sizeof words / sizeof *words)];
    char *wrong = spliced(text, lo, hi, round % 2 ? word : "");
    Source s = source_parse(wrong);
    ck_assert_msg(s.d->errors <= 4, "%s\n%s", wrong, source_messages(&s));
    errors += s.d->errors;
    broken += s.d->errors > 0;
    source_free(&s);
    free(wrong);
    free(text);
  }
  ck_assert_int_gt(broken, 1000);
  ck_assert_msg(errors * 100 < broken * 125, "%d errors in %d programs", errors, broken);
} END_TEST

START_TEST(every_prefix_of_a_program_ends) {
  char *text = language_program(__FILE__, "q8_0");
  for (size_t n = 0; n <= strlen(text); n++) {
    char *part = strndup(text, n);
    Source s = source_parse(part);
    ck_assert_msg(s.d->errors <= 1, "%s\n%s", part, source_messages(&s));
    source_free(&s);
    free(part);
  }
  free(text);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    programs_of_the_language_page_parse, smaller_examples_of_the_language_page_parse, each_operator_binds_tighter_than_those_before_it,
    operators_of_one_level_group_from_the_left, power_groups_from_the_right_and_binds_tighter_than_a_sign_before_it,
    not_binds_between_and_and_comparisons, a_default_covers_the_read_before_it, an_if_reaches_as_far_as_it_can,
    calls_casts_reads_and_reductions_are_told_apart, a_reduction_without_a_filter_has_no_second_argument, kernels_is_an_ordinary_name,
    ranges_of_integers_are_no_floats, integers_have_their_values, floats_are_rounded_correctly, comments_and_semicolons_separate_like_space,
    spans_of_expressions_are_exact, spans_of_reductions_and_casts_are_exact, spans_of_functions_are_exact,
    spans_of_formats_constants_and_imports_are_exact, a_slip_in_a_statement_is_one_error_at_its_place,
    a_slip_outside_of_statements_is_one_error_at_its_place, a_missing_brace_at_the_end_points_to_the_open_one,
    good_parts_of_a_broken_file_are_in_the_tree, errors_in_different_statements_are_all_found, errors_past_the_limit_are_counted_only,
    nesting_is_accepted_up_to_its_limit_and_no_further, lists_may_be_longer_than_nesting_may_be_deep, a_file_past_the_size_limit_is_one_error,
    a_zero_byte_is_one_error, a_megabyte_of_nesting_is_one_error, a_megabyte_without_a_space_ends_with_errors,
    any_repeated_pattern_ends_with_errors, random_bytes_end_with_errors, random_tokens_end,
    one_wrong_token_gives_few_errors, every_prefix_of_a_program_ends,
  };
  return UNIT_RUN("parse", tests);
}
