/* parse.y: the grammar of design/language.md. LALR(1) without conflicts; actions only build the AST (tree.c).

   Recovery. Where `error` stands, the token stream (tokens.c) looks for the next place at which a statement or an item
   starts and hands out RESYNC there, so the parser goes on as if the text between were not there. NO_BODY stands for
   the body that a broken header never got to, and a `}` is made up where one is missing before the next item.

   Depth. `nest` counts what encloses the next token, so that a megabyte of brackets stops at once; tree.c limits the
   height of the tree, for long chains of operators. */
%require "3.8"
%define api.pure full
%define api.prefix {plait_yy}
%define api.token.prefix {T_}
%define api.location.type {Span}
%define api.value.type union
%define parse.error custom
%define parse.lac full
%locations
%expect 0
%param { Parser *p }

%code requires {
#include "frontend/parser.h"
#define YYLTYPE_IS_DECLARED 1
}

%code {
#include <string.h>

int plait_yylex(PLAIT_YYSTYPE *value, Span *at, Parser *p);     // tokens.c
static void plait_yyerror(const Span *at, Parser *p, const char *text);

// Bison calls this YYLLOC_DEFAULT: a rule spans its symbols; an empty one stands, without width, behind the symbol before.
#define YYLLOC_DEFAULT(Current, Rhs, N)                                                            \
  ((Current) = (N) ? (Span){YYRHSLOC(Rhs, 1).file, YYRHSLOC(Rhs, 1).lo, YYRHSLOC(Rhs, N).hi}       \
                   : (Span){YYRHSLOC(Rhs, 0).file, YYRHSLOC(Rhs, 0).hi, YYRHSLOC(Rhs, 0).hi})

#define YYMAXDEPTH 16384      // LIMIT_NESTING levels take at most 10 symbols each

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"       // yynerrs
#endif

#define PUSH(list, ...) vec_push(p->scratch, &(list), __VA_ARGS__)
}

// Aliases are how messages call the tokens.
%token FN "fn" CONST "const" FORMAT "format" OF "of" ENCODE "encode" IMPORT "import" MUT "mut" WHERE "where"
%token IF "if" THEN "then" ELSE "else" IN "in" AND "and" OR "or" NOT "not"
%token TRUE "true" FALSE "false" INF "inf" NAN "nan" BITCAST "bitcast"
%token LPAREN "(" RPAREN ")" LBRACKET "[" RBRACKET "]" LBRACE "{" RBRACE "}"
%token COMMA "," COLON ":" SEMICOLON ";" ASSIGN "=" STORE "<-" ARROW "->" DOTS ".." DEFAULT "??"
%token EQ "==" NE "!=" LT "<" LE "<=" GT ">" GE ">=" BITOR "|" BITXOR "^" BITAND "&" SHL "<<" SHR ">>"
%token PLUS "+" MINUS "-" STAR "*" SLASH "/" FLOORDIV "//" PERCENT "%" POWER "**" TILDE "~"
%token <Name> NAME
%token <uint64_t> INTEGER
%token <double> FLOAT
%token <const char *> STRING
%token <Dtype> DTYPE
%token <Reducer> REDUCER
%token BAD FILE_END RESYNC NO_BODY

%type <AExpr *> expr either both negation comparison bitor bitxor bitand shift sum product unary power postfix fallback
%type <AExpr *> read primary call
%type <AExpr *> init
%type <AOp> compare_op shift_op sum_op product_op unary_op
%type <Exprs> exprs args where
%type <Subs> subscripts dims
%type <ASub> subscript dim
%type <ADtype> dtype
%type <AType> type
%type <AStmt> lhs typed_lhs plain_lhs equation update calls
%type <Stmts> stmts
%type <Names> names
%type <AParam> param
%type <Params> params param_list
%type <AResult> result
%type <Results> result_list
%type <AFn *> fn fn_head
%type <AFormat *> format format_head
%type <Members> members format_body
%type <AEncode *> encode_head
%type <Stmts> body encode_body
%type <AConst *> constant

%%

file: items FILE_END ;

items:
  %empty
| items "import" STRING       { AImport *i = arena_new(p->a, AImport); *i = (AImport){$3, @3}; tree_item(p, AI_IMPORT, i); }
| items constant               { tree_item(p, AI_CONST, $2); }
| items format                { tree_item(p, AI_FORMAT, $2); }
| items fn                    { tree_item(p, AI_FN, $2); }
| items error RESYNC          { p->depth = 0; yyerrok; }
;

constant:
  "const" NAME "=" expr       { $$ = tree_const(p, $2, NULL, $4, @2, @$); }
| "const" NAME ":" dtype "=" expr             { $$ = tree_const(p, $2, &$4, $6, @2, @$); }
| "const" NAME "=" "[" exprs "]"              { $$ = tree_table(p, $2, NULL, $5, @2, @$); }
| "const" NAME ":" dtype "=" "[" exprs "]"    { $$ = tree_table(p, $2, &$4, $7, @2, @$); }
;

/* Functions. */

fn: "fn" fn_head body         { $$ = $2; $$->at = @$; tree_fn_body(p, $$, $3); } ;

fn_head:
  NAME "(" params ")" where   { $$ = tree_fn(p, $1, @1, $3, (Results){0}, false, $5); }
| NAME "(" params ")" "->" result where
                              { Results r = {0}; PUSH(r, $6); $$ = tree_fn(p, $1, @1, $3, r, false, $7); }
| NAME "(" params ")" "->" "(" result_list ")" where
                              { $$ = tree_fn(p, $1, @1, $3, $7, true, $9); }
| error RESYNC                { p->depth = 0; yyerrok;
                                $$ = tree_fn(p, intern(p->names, ""), @1, (Params){0}, (Results){0}, false, (Exprs){0}); }
;

body:
  "{" stmts "}"               { $$ = $2; }
| NO_BODY                     { $$ = (Stmts){0}; }
;

params:
  %empty                      { $$ = (Params){0}; }
| param_list
;
param_list:
  param                       { $$ = (Params){0}; PUSH($$, $1); }
| param_list "," param        { $$ = $1; PUSH($$, $3); }
;
param:
  NAME ":" type init          { $$ = (AParam){false, $1, @1, $3, $4, @$}; }
| "mut" NAME ":" type init    { $$ = (AParam){true, $2, @2, $4, $5, @$}; }
;
init:
  %empty                      { $$ = NULL; }
| "=" expr                    { $$ = $2; }
;

result_list:
  result                      { $$ = (Results){0}; PUSH($$, $1); }
| result_list "," result      { $$ = $1; PUSH($$, $3); }
;
result: NAME ":" type         { $$ = (AResult){$1, @1, $3}; } ;

where:
  %empty                      { $$ = (Exprs){0}; }
| "where" exprs               { $$ = $2; }
;

type:
  dtype                       { $$ = tree_type(p, $1, NULL, @$); }
| dtype "[" dims "]"          { $$ = tree_type(p, $1, &$3, @$); }
;
dims:
  dim                         { $$ = (Subs){0}; PUSH($$, $1); }
| dims "," dim                { $$ = $1; PUSH($$, $3); }
;
dim:
  expr                        { $$ = (ASub){.kind = SUB_EXPR, .at = @$, .e = $1}; }
| ".."                        { $$ = (ASub){.kind = SUB_DOTS, .at = @$}; }
;
dtype:
  DTYPE                       { $$ = (ADtype){$1, NULL, @$}; }
| NAME                        { $$ = (ADtype){DT_NONE, $1, @$}; }
;

/* Formats. */

format: "format" format_head format_body      { $$ = $2; $$->at = @$; tree_format_body(p, $$, $3); } ;

format_head:
  NAME "of" INTEGER           { $$ = tree_format(p, $1, @1, $3); }
| error RESYNC                { p->depth = 0; yyerrok; $$ = tree_format(p, intern(p->names, ""), @1, 1); }
;

format_body:
  "{" members "}"             { $$ = $2; }
| NO_BODY                     { $$ = (Members){0}; }
;

members:
  %empty                      { $$ = (Members){0}; }
| members ";"
| members typed_lhs           { $$ = $1; tree_field(p, &$$, $2); }
| members equation            { $$ = $1; PUSH($$.stmt, $2); }
| members update              { $$ = $1; PUSH($$.stmt, $2); }      // reported by tree_format_body
| members calls               { $$ = $1; PUSH($$.stmt, $2); }
| members "encode" encode_head encode_body    { $$ = $1; tree_encode(p, &$$, $3, $4, span_join(@2, @4)); }
| members error RESYNC        { $$ = $1; p->depth = 0; yyerrok; }
;

encode_head:
  "(" NAME ")"                { $$ = arena_new(p->a, AEncode); $$->var = $2; $$->var_at = @2; }
| error RESYNC                { p->depth = 0; yyerrok; $$ = arena_new(p->a, AEncode); $$->var = intern(p->names, ""); }
;
encode_body:
  "{" stmts "}"               { $$ = $2; tree_check_format_stmts(p, &$2); }
| NO_BODY                     { $$ = (Stmts){0}; }
;

/* Statements. */

stmts:
  %empty                      { $$ = (Stmts){0}; }
| stmts ";"
| stmts equation              { $$ = $1; PUSH($$, $2); }
| stmts update                { $$ = $1; PUSH($$, $2); }
| stmts calls                 { $$ = $1; PUSH($$, $2); }
| stmts error RESYNC          { $$ = $1; p->depth = 0; yyerrok; }
;

plain_lhs:
  NAME                        { $$ = tree_lhs(p, $1, NULL, NULL, @1, @$); }
| NAME "[" subscripts "]"     { $$ = tree_lhs(p, $1, NULL, &$3, @1, @$); }
;
typed_lhs:
  NAME ":" dtype              { $$ = tree_lhs(p, $1, &$3, NULL, @1, @$); }
| NAME ":" dtype "[" subscripts "]"           { $$ = tree_lhs(p, $1, &$3, &$5, @1, @$); }
;
lhs: plain_lhs | typed_lhs ;

equation: lhs "=" expr        { $$ = tree_equation($1, $3, @$); } ;

update:
  lhs "<-" expr               { $$ = tree_update(p, $1, $3, NULL, @$); }
| lhs "<-" expr "if" expr     { $$ = tree_update(p, $1, $3, $5, @$); }
;

calls: NAME "," names "=" expr                { $$ = tree_calls(p, $1, @1, $3, $5, @$); } ;
names:
  NAME                        { $$ = (Names){0}; PUSH($$.name, $1); PUSH($$.at, @1); }
| names "," NAME              { $$ = $1; PUSH($$.name, $3); PUSH($$.at, @3); }
;

/* Expressions, loosest first. */

nest: %empty                  { nest(p, @$); } ;

expr:
  either
| "if" nest expr "then" expr "else" expr      { p->depth--; $$ = tree_if(p, $3, $5, $7, @1, @$); }
;
either: both | either "or" both { $$ = tree_binary(p, AO_OR, $1, $3, @2, @$); } ;
both: negation | both "and" negation { $$ = tree_binary(p, AO_AND, $1, $3, @2, @$); } ;
negation: comparison | "not" nest negation    { p->depth--; $$ = tree_unary(p, AO_NOT, $3, @1, @$); } ;

comparison: bitor | comparison compare_op bitor     { $$ = tree_comparison(p, $2, $1, $3, @2, @$); } ;
compare_op:
  "==" { $$ = AO_EQ; } | "!=" { $$ = AO_NE; } | "<" { $$ = AO_LT; }
| "<=" { $$ = AO_LE; } | ">" { $$ = AO_GT; } | ">=" { $$ = AO_GE; }
;
bitor: bitxor | bitor "|" bitxor              { $$ = tree_binary(p, AO_BITOR, $1, $3, @2, @$); } ;
bitxor: bitand | bitxor "^" bitand            { $$ = tree_binary(p, AO_BITXOR, $1, $3, @2, @$); } ;
bitand: shift | bitand "&" shift              { $$ = tree_binary(p, AO_BITAND, $1, $3, @2, @$); } ;
shift: sum | shift shift_op sum               { $$ = tree_binary(p, $2, $1, $3, @2, @$); } ;
shift_op: "<<" { $$ = AO_SHL; } | ">>" { $$ = AO_SHR; } ;
sum: product | sum sum_op product             { $$ = tree_binary(p, $2, $1, $3, @2, @$); } ;
sum_op: "+" { $$ = AO_ADD; } | "-" { $$ = AO_SUB; } ;
product: unary | product product_op unary     { $$ = tree_binary(p, $2, $1, $3, @2, @$); } ;
product_op: "*" { $$ = AO_MUL; } | "/" { $$ = AO_DIV; } | "//" { $$ = AO_FLOORDIV; } | "%" { $$ = AO_MOD; } ;

unary: power | unary_op nest unary            { p->depth--; $$ = tree_unary(p, $1, $3, @1, @$); } ;
unary_op: "-" { $$ = AO_NEG; } | "~" { $$ = AO_BITNOT; } ;
power: postfix | postfix "**" nest unary      { p->depth--; $$ = tree_binary(p, AO_POW, $1, $4, @2, @$); } ;

postfix: read | read "??" nest fallback       { p->depth--; $$ = tree_default(p, $1, $4, @$); } ;
fallback: postfix | "-" postfix               { $$ = tree_unary(p, AO_NEG, $2, @1, @$); } ;
read: primary | primary "[" nest subscripts "]"     { p->depth--; $$ = tree_subscript(p, $1, $4, @$); } ;

subscripts:
  subscript                   { $$ = (Subs){0}; PUSH($$, $1); }
| subscripts "," subscript    { $$ = $1; PUSH($$, $3); }
;
subscript:
  expr                        { $$ = (ASub){.kind = SUB_EXPR, .at = @$, .e = $1}; }
| NAME "in" expr ".." expr    { $$ = tree_range($1, @1, $3, $5, @$); }
| ".."                        { $$ = (ASub){.kind = SUB_DOTS, .at = @$}; }
;

primary:
  INTEGER                     { $$ = tree_integer(p, $1, @$); }
| FLOAT                       { $$ = tree_float(p, $1, @$); }
| "inf"                       { $$ = tree_leaf(p, A_INF, @$); }
| "nan"                       { $$ = tree_leaf(p, A_NAN, @$); }
| "true"                      { $$ = tree_leaf(p, A_TRUE, @$); }
| "false"                     { $$ = tree_leaf(p, A_FALSE, @$); }
| NAME                        { $$ = tree_name(p, $1, @$); }
| "(" nest expr ")"           { p->depth--; $$ = tree_parens($3, @$); }
| call
| REDUCER "[" nest subscripts "]" "(" expr ")"      { p->depth--; $$ = tree_reduce(p, $1, $4, $7, NULL, @1, @$); }
| REDUCER "[" nest subscripts "]" "(" expr "if" expr ")"
                              { p->depth--; $$ = tree_reduce(p, $1, $4, $7, $9, @1, @$); }
;
call:
  NAME "(" nest args ")"      { p->depth--; $$ = tree_call(p, $1, $4, @1, @$); }
| REDUCER "(" nest args ")"   { p->depth--; $$ = tree_call(p, intern(p->names, reducers[$1].name), $4, @1, @$); }
| DTYPE "(" nest expr ")"     { p->depth--; $$ = tree_cast(p, A_CAST, (ADtype){$1, NULL, @1}, $4, @1, @$); }
| "bitcast" "(" nest dtype "," expr ")"       { p->depth--; $$ = tree_cast(p, A_BITCAST, $4, $6, @1, @$); }
;
args: %empty                  { $$ = (Exprs){0}; } | exprs ;
exprs:
  expr                        { $$ = (Exprs){0}; PUSH($$, $1); }
| exprs "," expr              { $$ = $1; PUSH($$, $3); }
;

%%

// Bison's own failure: its stack is full, which `nest` prevents.
static void plait_yyerror(const Span *at, Parser *p, const char *text) {
  if (!p->stop) diag_error(p->d, E_limit_nesting, *at, "%s", text);
  p->stop = true;
}

// What could stand here, in the terms of slips.c.
static int yyreport_syntax_error(const yypcontext_t *cx, Parser *p) {
  yysymbol_kind_t symbol[YYNTOKENS];
  bool shown = p->d->errors < LIMIT_ERRORS;      // past it errors are only counted
  int n = shown ? yypcontext_expected_tokens(cx, symbol, YYNTOKENS) : 0;
  Expected x = {0};
  for (int i = 0; i < n; i++) x.name[x.n++] = yysymbol_name(symbol[i]);
  if (shown) report_syntax(p, &x);
  else if (!p->stop) diag_error(p->d, E_syntax, *yypcontext_location(cx), "unexpected token");
  p->recovering = true;
  return 0;
}

// A zero byte is in no text file; without it here the scanner's rules need not look for it.
static bool has_zero(Diags *d, uint32_t file) {
  const SourceFile *source = &d->files.v[file];
  const char *zero = memchr(source->text, 0, source->len);
  if (!zero) return false;
  uint32_t lo = (uint32_t)(zero - source->text);
  diag_error(d, E_bad_character, (Span){file, lo, lo + 1}, "zero byte; a source file is UTF-8 text");
  return true;
}

static bool too_large(Diags *d, uint32_t file) {
  const SourceFile *source = &d->files.v[file];
  if (source->len <= LIMIT_SOURCE_BYTES) return false;
  diag_error(d, E_limit_source, (Span){file, 0, 0}, "file has %zu bytes; %d are allowed", source->len, LIMIT_SOURCE_BYTES);
  return true;
}

AFile *parse_file(Arena *a, Interner *names, Diags *d, uint32_t file) {
  if (too_large(d, file) || has_zero(d, file)) return NULL;
  Arena *scratch = arena_create();
  const SourceFile *source = &d->files.v[file];
  Parser p = {.a = a, .scratch = scratch, .names = names, .d = d, .errors = d->errors,
              .file = file, .text = source->text, .len = source->len};
  scan_open(&p);
  plait_yyparse(&p);
  AFile *f = tree_file(&p);
  arena_destroy(scratch);
  return f;
}
