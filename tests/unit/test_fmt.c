#include "source.h"
#include <ctype.h>

// print(parse(text)), which must parse to the same tree and print the same again.
static char *formatted(const char *text) {
  Source s = source_good(text);
  char *once = strdup(source_formatted(&s));
  Source again = source_good(once);
  ck_assert_msg(ast_equal(s.f, again.f), "%s\nbecame\n%s", text, once);
  const char *twice = source_formatted(&again);
  ck_assert_msg(strcmp(once, twice) == 0, "%s\nbecame\n%s\nthen\n%s", text, once, twice);
  source_free(&s);
  source_free(&again);
  return once;
}

static void check_format(const char *text, const char *want) {
  char *is = formatted(text);
  ck_assert_msg(strcmp(is, want) == 0, "%s\nbecame\n%s\nnot\n%s", text, is, want);
  free(is);
}

static void check_kept(const char *text) { check_format(text, text); }

START_TEST(programs_of_the_language_page_survive) {
  for (int i = 0; i < LANGUAGE_PROGRAMS; i++) {
    char *text = language_program(__FILE__, language_programs[i]);
    free(formatted(text));
    free(text);
  }
} END_TEST

// The others have lines of more than LINE_WIDTH or spaces by hand.
START_TEST(most_programs_of_the_language_page_are_in_canonical_form) {
  static const char *const by_hand[] = {"append", "gated_delta", "moe", "q8_0"};
  for (int i = 0; i < LANGUAGE_PROGRAMS; i++) {
    char *text = language_program(__FILE__, language_programs[i]);
    bool skip = false;
    for (int k = 0; k < 4; k++) skip |= strcmp(by_hand[k], language_programs[i]) == 0;
    if (!skip) check_kept(text);
    free(text);
  }
} END_TEST

START_TEST(spaces_and_indents_are_put_right) {
  check_format("fn f( x:f32[ N,M ],mut y :T )->z:f32[N]{z[i]=x[i,0]*-y+sum[j](x[i,j]if j<2)\ny[i]<-z[i]if i>=0}",
               "fn f(x: f32[N, M], mut y: T) -> z: f32[N] {\n"
               "  z[i] = x[i, 0] * -y + sum[j](x[i, j] if j < 2)\n"
               "  y[i] <- z[i] if i >= 0\n"
               "}\n");
  check_format("const k:f16=1 const t=[1,2]\nimport   \"a\"", "const k: f16 = 1\nconst t = [1, 2]\nimport \"a\"\n");
  check_format("format q of 4{d:f16\nq:u8[ 4 ] value[k]=d encode( v ){d=1}}",
               "format q of 4 {\n  d: f16\n  q: u8[4]\n  value[k] = d\n  encode(v) {\n    d = 1\n  }\n}\n");
  check_format("const c = sum[ p  in a..b,q<=p ,.. ]( x [p]?" "?-1 )", "const c = sum[p in a .. b, q <= p, ..](x[p] ?? -1)\n");
  check_format("const c = not  a and bitcast( i32 , f32( x ) )", "const c = not a and bitcast(i32, f32(x))\n");
  check_format("fn f(x: f32[..,N], y: f32[..]) -> (a: i8) { a = 1 b,c=g( ) }",
               "fn f(x: f32[.., N], y: f32[..]) -> (a: i8) {\n  a    = 1\n  b, c = g()\n}\n");
} END_TEST

START_TEST(brackets_of_the_user_stay_and_double_ones_become_single) {
  check_format("const c = (a * b) + ((c)) * (x[i])[j]", "const c = (a * b) + (c) * (x[i])[j]\n");
} END_TEST

START_TEST(spelling_of_numbers_stays) { check_kept("const c = [0xFF, 0b1_0, 1e-5, 1.50, 1_000]\n"); } END_TEST

START_TEST(equations_side_by_side_are_aligned) {
  check_format("fn f() {\n a = 1\n long[i, j] = 2\n c[i] <- 3\n\n d = 4\n # c\n eleven = 5\n f: f16[i] = 6\n}\n",
               "fn f() {\n"
               "  a          = 1\n"
               "  long[i, j] = 2\n"
               "  c[i]       <- 3\n"
               "\n"
               "  d = 4\n"
               "  # c\n"
               "  eleven    = 5\n"
               "  f: f16[i] = 6\n"
               "}\n");
} END_TEST

START_TEST(an_equation_of_several_lines_ends_its_block) {
  check_kept("fn f() {\n"
             "  a      = b\n"
             "  long_a = x\n"
             "           + y\n"
             "  b = 1\n"
             "}\n");
} END_TEST

START_TEST(semicolons_go) { check_format("fn f() { ; a = 1; b = 2; }", "fn f() {\n  a = 1\n  b = 2\n}\n"); } END_TEST

START_TEST(functions_written_on_one_line_stay_there) {
  check_format("fn silu(x:T)->y:T{y=x/(1+exp(-x))}\nfn relu(x: T) -> y: T { y = max(x, 0) }\n",
               "fn silu(x: T) -> y: T { y = x / (1 + exp(-x)) }\nfn relu(x: T) -> y: T { y = max(x, 0) }\n");
  check_format("fn e(){}", "fn e() {}\n");
  check_format("fn e(){\n}", "fn e() {\n}\n");
} END_TEST

START_TEST(long_things_stand_between_blank_lines) {
  check_format("const a = 1\nfn f() {\n}\n# about g\nfn g() {\n}\nconst b = 1\nconst c = 2\n\n\n\nconst d = 3",
               "const a = 1\n\nfn f() {\n}\n\n# about g\nfn g() {\n}\n\nconst b = 1\nconst c = 2\n\nconst d = 3\n");
} END_TEST

START_TEST(at_most_one_blank_line_stays_and_none_at_the_ends_of_a_body) {
  check_format("\n\n# top\n\n\n\nfn f() {\n\n\n  a = 1\n\n\n\n  b = 2\n\n\n  # end\n\n}\n\n\n# last\n\n\n",
               "# top\n\nfn f() {\n  a = 1\n\n  b = 2\n\n  # end\n}\n\n# last\n");
} END_TEST

START_TEST(comments_keep_their_places) {
  check_kept("# top\n"
             "fn f() {  # brace\n"
             "  # before\n"
             "  a = 1  # behind\n"
             "  # between\n"
             "  b = 2\n"
             "  # end\n"
             "}  # closed\n"
             "# last\n");
  check_kept("import \"a\"  # one\n"
             "# two\n"
             "const c = 1  # three\n");
} END_TEST

START_TEST(comments_behind_neighbouring_lines_are_aligned) {
  check_format("format q of 4 {\n d: f16 # scale\n q: u8[16] # values\n\n value[k] = d # all\n}\n",
               "format q of 4 {\n"
               "  d: f16     # scale\n"
               "  q: u8[16]  # values\n"
               "\n"
               "  value[k] = d  # all\n"
               "}\n");
} END_TEST

START_TEST(a_statement_with_comments_inside_is_kept_as_written) {
  check_format("fn f() {\n"
               "      a = b   # one\n"
               "        +   c  # two\n"
               "\n\n"
               "    +d\n"
               "  e = 1\n"
               "}\n",
               "fn f() {\n"
               "  a = b   # one\n"
               "    +   c  # two\n"
               "\n"
               "    +d\n"
               "  e = 1\n"
               "}\n");
} END_TEST

START_TEST(a_header_with_comments_inside_is_kept_as_written) {
  check_kept("fn f(x: f32[N],   # the input\n"
             "     w: f32[N])   # the weights\n"
             "{\n"
             "  y = 1\n"
             "}\n");
  check_kept("fn f(x: f32[N],   # { is no brace\n"
             "     w: f32[N]) {\n"
             "  y = 1\n"
             "}\n");
  check_kept("const t = [1,  2,  # two\n"
             "           3]\n");
} END_TEST

START_TEST(long_lines_are_broken_before_operators_and_behind_commas) {
  check_format("fn f() {\n"
               "  result[i, j] = first_tensor[i, j] * second_tensor[j] + third_tensor[i] * fourth_tensor[j] - fifth_tensor[i, j] * sixth_tensor[j, i] / seventh\n"
               "  y = some_function(first_argument + 1, second_argument * 2, third_argument ** 3, fourth_argument - 4, fifth_argument + 55)\n"
               "}\n",
               "fn f() {\n"
               "  result[i, j] = first_tensor[i, j] * second_tensor[j] + third_tensor[i] * fourth_tensor[j]\n"
               "                 - fifth_tensor[i, j] * sixth_tensor[j, i] / seventh\n"
               "  y = some_function(first_argument + 1, second_argument * 2, third_argument ** 3, fourth_argument - 4,\n"
               "                    fifth_argument + 55)\n"
               "}\n");
} END_TEST

START_TEST(a_chain_of_ifs_that_does_not_fit_is_a_ladder) {
  check_format("fn f() {\n"
               "  y = if first_condition < 1 then first_value else if second_condition < 2 then second_value else if third_condition then 3 else 4\n"
               "}\n",
               "fn f() {\n"
               "  y = if first_condition < 1 then first_value\n"
               "      else if second_condition < 2 then second_value\n"
               "      else if third_condition then 3\n"
               "      else 4\n"
               "}\n");
} END_TEST

START_TEST(breaks_of_the_user_stay) {
  check_format("fn f(x: f32[N],\n  y: f32[N])\n  where N > 0 {\n  a = sum[i](x[i]\n + y[i]\n if m) +\n 1\n}\n",
               "fn f(x: f32[N],\n"
               "     y: f32[N])\n"
               "  where N > 0\n"
               "{\n"
               "  a = sum[i](x[i]\n"
               "             + y[i]\n"
               "             if m)\n"
               "      + 1\n"
               "}\n");
  check_format("const t = [1, 2,\n3, 4]\n", "const t = [\n  1, 2,\n  3, 4\n]\n");
} END_TEST

START_TEST(a_long_header_is_broken_between_parameters_and_before_where) {
  check_format("fn f(first: f32[N, M], second: f32[N, M], third: f32[N, M], fourth: f32[N, M], fifth: f32[N, M], sixth: f32[N]) -> y: f32[N] where N > 0 { y = first }",
               "fn f(first: f32[N, M], second: f32[N, M], third: f32[N, M], fourth: f32[N, M], fifth: f32[N, M], sixth: f32[N])\n"
               "    -> y: f32[N]\n"
               "  where N > 0\n"
               "{\n"
               "  y = first\n"
               "}\n");
} END_TEST

START_TEST(an_empty_file_stays_empty) {
  check_format("", "");
  check_format("\n\n \t\n", "");
  check_format("# c", "# c\n");
} END_TEST

START_TEST(line_ends_of_other_systems_become_plain) {
  check_format("# a\r\nfn f() {\r\n  a = 1  # b\r\n\r\n  b = 2\r\n}\r\n", "# a\nfn f() {\n  a = 1  # b\n\n  b = 2\n}\n");
} END_TEST

// Trees without source: the printer must put every bracket that the grammar needs.

static unsigned long long seed;
static Arena *arena;
static Interner *names;

static int below(int n) { return (int)(unit_random(&seed) >> 33) % n; }
static bool odds(int n) { return below(n) == 0; }

static Name a_name(void) {
  static const char *const pool[] = {"x", "y", "w", "acc", "kernels", "_t", "N", "q4_1", "Abc9"};
  return intern(names, pool[below(9)]);
}

static AExpr *an_expr(int depth);

static AExpr *with(AKind kind, int nargs, int depth) {
  AExpr *e = arena_new(arena, AExpr);
  *e = (AExpr){.kind = kind, .nargs = nargs, .arg = arena_array(arena, AExpr *, nargs + 1)};
  for (int i = 0; i < nargs; i++) e->arg[i] = an_expr(depth - 1);
  return e;
}

static ADtype a_dtype(void) {
  if (odds(4)) return (ADtype){.name = a_name()};
  return (ADtype){.dtype = (Dtype)(1 + below(DT_COUNT - 1))};
}

static ASub *some_subs(int n, int depth, bool dots) {
  ASub *s = arena_array(arena, ASub, n);
  for (int i = 0; i < n; i++) {
    if (dots && odds(6)) s[i].kind = SUB_DOTS;
    else if (odds(4)) s[i] = (ASub){.kind = SUB_RANGE, .name = a_name(), .lo = an_expr(depth - 1), .hi = an_expr(depth - 1)};
    else s[i] = (ASub){.kind = SUB_EXPR, .e = an_expr(depth - 1)};
  }
  return s;
}

static AExpr *a_leaf(void) {
  AExpr *e = with((AKind)(A_INT + below(7)), 0, 0);
  if (e->kind == A_NAME) e->name = a_name();
  if (e->kind == A_INT) e->i = odds(4) ? unit_random(&seed) : (uint64_t)below(100);
  if (e->kind == A_FLOAT) e->f = odds(4) ? below(1000) * 1e-20 : below(1000) / 8.0;
  return e;
}

static AExpr *a_subscript(int depth) {
  int nsubs = below(4);
  AExpr *e = with(A_SUBSCRIPT, nsubs && odds(2) ? 1 : 2, depth);
  AExpr *base = e->arg[0];
  if (base->kind == A_SUBSCRIPT && base->nargs == 1 && !nsubs) base->parens = true;     // x[i] ?? 0 is one node, (x[i]) ?? 0 two
  e->nsubs = nsubs;
  e->sub = some_subs(nsubs, depth, true);
  return e;
}

static AExpr *a_reduction(int depth) {
  AExpr *e = with(A_REDUCE, 1 + odds(3), depth);
  e->reducer = (Reducer)(RED_NONE + 1 + below(RED_COUNT_ - RED_NONE - 1));
  e->nsubs = 1 + below(3);
  e->sub = some_subs(e->nsubs, depth, true);
  return e;
}

static AExpr *an_operation(int depth) {
  AOp op = (AOp)below(AO_COUNT);
  bool unary = op == AO_NOT || op == AO_NEG || op == AO_BITNOT;
  AExpr *e = with(unary ? A_UNARY : A_BINARY, unary ? 1 : 2, depth);
  e->op = op;
  return e;
}

static AExpr *a_call(int depth) {
  AExpr *e = with(A_CALL, below(4), depth);
  e->name = odds(4) ? intern(names, "min") : a_name();
  return e;
}

static AExpr *a_cast(int depth) {
  AExpr *e = with(odds(3) ? A_BITCAST : A_CAST, 1, depth);
  e->type = a_dtype();
  if (e->kind == A_CAST) e->type = (ADtype){.dtype = (Dtype)(1 + below(DT_COUNT - 1))};     // T(x) is a call
  return e;
}

static AExpr *an_expr(int depth) {
  if (depth <= 0 || odds(6)) return a_leaf();
  AExpr *e = NULL;
  switch (below(8)) {
  case 0: e = with(A_IF, 3, depth); break;
  case 1: e = a_subscript(depth); break;
  case 2: e = a_call(depth); break;
  case 3: e = a_cast(depth); break;
  case 4: e = a_reduction(depth); break;
  default: e = an_operation(depth); break;
  }
  e->parens = odds(8);
  return e;
}

static AType a_type(void) {
  AType t = {.dtype = a_dtype(), .shaped = odds(2)};
  if (!t.shaped) return t;
  t.dots = odds(4);
  t.rank = below(3) + !t.dots;
  t.dim = arena_array(arena, AExpr *, t.rank);
  for (int i = 0; i < t.rank; i++) t.dim[i] = an_expr(2);
  return t;
}

static AStmt a_stmt(bool in_format) {
  AStmt s = {.name = a_name(), .kind = in_format ? AS_EQUATION : (AStmtKind)below(3)};
  s.shaped = s.kind == AS_UPDATE || (s.kind == AS_EQUATION && odds(2));
  s.typed = s.kind == AS_EQUATION && odds(4);
  if (s.typed) s.type = a_dtype();
  if (s.shaped) s.nsubs = 1 + below(4), s.sub = some_subs(s.nsubs, 2, true);
  s.e = s.kind == AS_CALLS ? a_call(3) : an_expr(5);
  if (s.kind == AS_UPDATE && odds(2)) s.cond = an_expr(3);
  if (s.kind != AS_CALLS) return s;
  s.nnames = 2 + below(2);
  s.names = arena_array(arena, Name, s.nnames);
  s.names_at = arena_array(arena, Span, s.nnames);
  for (int i = 0; i < s.nnames; i++) s.names[i] = a_name();
  s.name = s.names[0];
  return s;
}

static AStmt *some_stmts(int n, bool in_format) {
  AStmt *s = arena_array(arena, AStmt, n);
  for (int i = 0; i < n; i++) s[i] = a_stmt(in_format);
  return s;
}

static AFn *a_fn(void) {
  AFn *f = arena_new(arena, AFn);
  *f = (AFn){.name = a_name(), .nparams = below(6), .nresults = below(3), .nwhere = odds(2) ? 1 + below(2) : 0, .nstmts = below(6)};
  f->param = arena_array(arena, AParam, f->nparams);
  for (int i = 0; i < f->nparams; i++)
    f->param[i] = (AParam){.mut = odds(4), .name = a_name(), .type = a_type(), .init = odds(4) ? an_expr(2) : NULL};
  f->result = arena_array(arena, AResult, f->nresults);
  for (int i = 0; i < f->nresults; i++) f->result[i] = (AResult){.name = a_name(), .type = a_type()};
  f->bracketed = f->nresults > 1 || (f->nresults && odds(2));
  f->where = arena_array(arena, AExpr *, f->nwhere);
  for (int i = 0; i < f->nwhere; i++) f->where[i] = an_expr(3);
  f->stmt = some_stmts(f->nstmts, false);
  return f;
}

static AFormat *a_format(void) {
  AFormat *f = arena_new(arena, AFormat);
  *f = (AFormat){.name = a_name(), .block = 1 + below(256), .nfields = below(4), .nstmts = below(3)};
  f->field = arena_array(arena, AField, f->nfields);
  for (int i = 0; i < f->nfields; i++) {
    bool array = odds(2);
    f->field[i] = (AField){.name = a_name(), .dtype = (Dtype)(1 + below(DT_COUNT - 1)), .array = array, .count = array ? below(99) : 1};
  }
  f->stmt = some_stmts(f->nstmts, true);
  if (odds(2)) {
    f->encode = arena_new(arena, AEncode);
    *f->encode = (AEncode){.var = a_name(), .nstmts = below(3)};
    f->encode->stmt = some_stmts(f->encode->nstmts, true);
  }
  return f;
}

static AConst *a_const(void) {
  AConst *c = arena_new(arena, AConst);
  *c = (AConst){.name = a_name(), .typed = odds(2), .table = odds(2), .nvalues = 1};
  if (c->typed) c->type = a_dtype();
  if (c->table) c->nvalues = 1 + below(60);
  c->value = arena_array(arena, AExpr *, c->nvalues);
  for (int i = 0; i < c->nvalues; i++) c->value[i] = an_expr(c->table ? 1 : 4);
  return c;
}

static AItem an_item(void) {
  AItem it = {.kind = (AItemKind)below(4)};
  switch (it.kind) {
  case AI_IMPORT: it.import = arena_new(arena, AImport), it.import->path = "a b.plait"; break;
  case AI_CONST: it.cnst = a_const(); break;
  case AI_FORMAT: it.format = a_format(); break;
  case AI_FN: it.fn = a_fn(); break;
  }
  return it;
}

START_TEST(random_trees_survive_printing_and_parsing) {
  for (int round = 1; round <= 1000; round++) {
    seed = (unsigned long long)round * 0x9e3779b97f4a7c15u;
    arena = arena_create();
    names = intern_create(arena);
    AFile f = {.nitems = 1 + below(4)};
    f.item = arena_array(arena, AItem, f.nitems);
    for (int i = 0; i < f.nitems; i++) f.item[i] = an_item();
    Buf b = buf_make(arena);
    ast_print(&f, NULL, &b);
    Source s = source_good(b.s);
    ck_assert_msg(ast_equal(&f, s.f), "round %d\n%s", round, b.s);
    char *again = formatted(b.s);
    free(again);
    source_free(&s);
    arena_destroy(arena);
  }
} END_TEST

START_TEST(trees_that_differ_are_not_equal) {
  static const char *const programs[] = {
    "const a = 1", "const a = 2", "const b = 1", "const a = 1.0", "const a = x", "const a = x + 1", "const a = x - 1", "const a = -x", "const a = ~x",
    "const a = x[1]", "const a = x[1] ?? 0", "const a = x ?? 0", "const a = x[..]", "const a = x[i in 1 .. 2]", "const a = x[i in 1 .. 3]", "const a = f(1)",
    "const a = f()", "const a = g()", "const a = f32(1)", "const a = f16(1)", "const a = bitcast(f32, 1)", "const a = sum[i](x)", "const a = max[i](x)",
    "const a = sum[i](x if y)", "const a: f32 = 1", "const a: f16 = 1", "const a = [1]", "const a = [1, 2]", "const a = inf", "const a = nan", "const a = true",
    "import \"a\"", "import \"b\"", "fn f() {}", "fn f(x: f32) {}", "fn f(mut x: f32) {}", "fn f(x: f32 = 1) {}", "fn f(x: f32[..]) {}", "fn f(x: f32[.., N]) {}",
    "fn f(x: f32[N]) {}", "fn f(x: T) {}", "fn f() -> x: f32 {}", "fn f() -> (x: f32) {}", "fn f() -> y: f32 {}", "fn f() where a {}", "fn f() { a = 1 }",
    "fn f() { a[i] = 1 }", "fn f() { a: f32[i] = 1 }", "fn f() { a[i] <- 1 }", "fn f() { a[i] <- 1 if b }", "fn f() { a, b = f() }", "fn f() { a, c = f() }",
    "fn f() { a = 1 a = 1 }", "format q of 1 {}", "format q of 2 {}", "format q of 1 { d: u8 }", "format q of 1 { d: i8 }", "format q of 1 { d: u8[1] }",
    "format q of 1 { d: u8[2] }", "format q of 1 { encode(v) {} }", "format q of 1 { encode(w) {} }", "format q of 1 { encode(v) { a = 1 } }",
  };
  enum { N = sizeof programs / sizeof *programs };
  for (int i = 0; i < N; i++)
    for (int k = 0; k < N; k++) {
      Source a = source_good(programs[i]), b = source_good(programs[k]);
      ck_assert_msg(ast_equal(a.f, b.f) == (i == k), "%s / %s", programs[i], programs[k]);
      source_free(&a);
      source_free(&b);
    }
} END_TEST

// A program with other white space, and comments, between its tokens.

static size_t put_space(char *out, int *comments) {
  switch (below(12)) {
  case 0: return (size_t)sprintf(out, "\n");
  case 1: return (size_t)sprintf(out, "\n\n\n\t");
  case 2: return (size_t)sprintf(out, " # c%d.\n", (*comments)++);
  case 3: *comments += 2; return (size_t)sprintf(out, "\n      # c%d.\n # c%d.\r\n", *comments - 2, *comments - 1);
  case 4: return (size_t)sprintf(out, "\n\n# c%d.\n\n\n", (*comments)++);
  default: return (size_t)sprintf(out, "%*s", 1 + below(9), "");
  }
}

static char *respaced(const char *text, int *comments) {
  char *out = calloc(1, 40 * strlen(text) + 100);
  size_t n = 0;
  for (const char *s = text; *s; s++) {
    if (*s == '#') s += strcspn(s, "\n");
    if (!*s) break;
    if (!isspace((unsigned char)*s)) out[n++] = *s;
    else if (s == text || !isspace((unsigned char)s[-1])) n += put_space(out + n, comments);
  }
  return out;
}

static void check_comments(const char *text, int comments, const char *from) {
  int found = 0;
  for (const char *s = text; (s = strstr(s, "# c")); s++, found++) ck_assert_msg(atoi(s + 3) == found, "%s\nbecame\n%s", from, text);
  ck_assert_msg(found == comments, "%s\nbecame\n%s", from, text);
}

#ifndef ROUNDS
#define ROUNDS 600
#endif

START_TEST(comments_anywhere_survive_in_their_order) {
  for (int round = 1; round <= ROUNDS; round++) {
    seed = (unsigned long long)round * 0x9e3779b97f4a7c15u;
    char *text = language_program(__FILE__, language_programs[round % LANGUAGE_PROGRAMS]);
    int comments = 0;
    char *wild = respaced(text, &comments), *tame = formatted(wild);
    Source a = source_good(text), b = source_good(tame);
    ck_assert_msg(ast_equal(a.f, b.f), "%s\nbecame\n%s", wild, tame);
    check_comments(tame, comments, wild);
    source_free(&a);
    source_free(&b);
    free(tame);
    free(wild);
    free(text);
  }
} END_TEST

START_TEST(an_expression_alone_prints_on_one_line) {
  Source s = source_good("const c = a *\n (b + c)\n [ i ] ?? -1");
  Buf b = buf_make(s.a);
  ast_print_expr(s.f->item[0].cnst->value[0], &b);
  ck_assert_str_eq(b.s, "a * (b + c)[i] ?? -1");
  source_free(&s);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    programs_of_the_language_page_survive, most_programs_of_the_language_page_are_in_canonical_form, spaces_and_indents_are_put_right,
    brackets_of_the_user_stay_and_double_ones_become_single, spelling_of_numbers_stays, equations_side_by_side_are_aligned,
    an_equation_of_several_lines_ends_its_block, semicolons_go, functions_written_on_one_line_stay_there, long_things_stand_between_blank_lines,
    at_most_one_blank_line_stays_and_none_at_the_ends_of_a_body, comments_keep_their_places, comments_behind_neighbouring_lines_are_aligned,
    a_statement_with_comments_inside_is_kept_as_written, a_header_with_comments_inside_is_kept_as_written,
    long_lines_are_broken_before_operators_and_behind_commas, a_chain_of_ifs_that_does_not_fit_is_a_ladder, breaks_of_the_user_stay,
    a_long_header_is_broken_between_parameters_and_before_where, an_empty_file_stays_empty, line_ends_of_other_systems_become_plain,
    random_trees_survive_printing_and_parsing, trees_that_differ_are_not_equal, comments_anywhere_survive_in_their_order,
    an_expression_alone_prints_on_one_line,
  };
  return UNIT_RUN("fmt", tests);
}
