// parser.h: what the scanner (lex.l), the grammar (parse.y) and their helpers share. Private to the front end.
//
//   lex.l ──tokens──▶ tokens.c ──kinds and values──▶ parse.y ──▶ AST (tree.c)
//                        ▲ places to go on after an error │
//                        └──────────── slips.c ◀──────────┘ messages
#ifndef PLAIT_FRONTEND_PARSER_H
#define PLAIT_FRONTEND_PARSER_H
#include "base/limits.h"
#include "frontend/ast.h"

// What is wrong with a token that the parser gets all the same. Reported when the parser takes the token, so that
// what recovery skips stays silent.
typedef enum Slip {
  SLIP_NONE,
  SLIP_AND, SLIP_OR, SLIP_NOT,        // && || !
  SLIP_POINT,                         // a float without digits on one side of its point
  SLIP_NUMBER,                        // digits and letters that make no number
  SLIP_STRING,                        // without its closing quote
  SLIP_CHARACTER,                     // valid text, but no character of the language
  SLIP_CONTROL, SLIP_UTF8, SLIP_BOM
} Slip;

typedef struct Token {
  int kind;             // T_… of the grammar
  uint32_t lo, hi;      // bytes of the file
  Slip slip;
  int line;             // position in Parser.tokens of the first token of its line
} Token;

typedef VEC(AExpr *) Exprs;
typedef VEC(ASub) Subs;
typedef VEC(AStmt) Stmts;
typedef VEC(AParam) Params;
typedef VEC(AResult) Results;
typedef struct Names { VEC(Name) name; VEC(Span) at; } Names;

// What can stand in a format.
typedef struct Members { VEC(AField) field; Stmts stmt; AEncode *encode; } Members;

// Where the parser is, as far as recovery needs to know.
typedef struct Context {
  int open;             // `{` without their `}`
  int brace[4];         // their tokens, outermost first
  bool header;          // after fn, format or encode and before its `{`
} Context;

typedef struct Parser {
  Arena *a;             // of the tree
  Arena *scratch;       // of the parse: tokens, lists that grow
  Interner *names;
  Diags *d;
  uint32_t file;
  const char *text; size_t len;

  // Scanner.
  void *scanner;
  uint32_t scan_lo, scan_hi;          // the match in work
  bool line_begun;                    // a token stands on this line already
  VEC(AComment) comments;

  // Token stream: all tokens read so far, and the ones made up by recovery.
  VEC(Token) tokens;
  int next;                           // position in tokens of the one to hand out next
  int queued; int queue[8];           // made-up kinds to hand out first, last one first
  Context now, before;                // after and before the token handed out last
  int resumed;                        // position in tokens where recovery resumed last
  bool recovering;                    // an error was reported; the next request for a token looks for a place to go on
  int errors;                         // of other files, before
  bool stop;                          // a limit was hit: end the parse, report no more
  bool ended;
  VEC(Name) misused;                  // reserved words that were reported as such: once each

  int depth;                          // of brackets, unary operators and the like around the next token
  VEC(AItem) items;
} Parser;

// lex.l
void scan_open(Parser *p);
Token scan_next(Parser *p);           // T_FILE_END at the end, again and again

// tokens.c
Token *token_at(Parser *p, int i);    // reads ahead as needed; the pointer lasts until the next call
int equation_at(Parser *p, int i);    // position of the token that shows that an equation, update or field starts at token i
                                      // (its `=`, `<-`, `:` or first `,`); -1 when none does
bool first_of_line(Parser *p, int i);
bool starts_item(Parser *p, int i);
// Whether an unfinished equation on the line before took the start of token i's line for its own.
bool swallowed_line(Parser *p, int i);
Span token_span(const Parser *p, const Token *t);
void nest(Parser *p, Span at);        // one level deeper; past LIMIT_NESTING: report and stop

// numbers.c
uint64_t read_integer(Parser *p, const Token *t);
double read_float(Parser *p, const Token *t);

// tree.c: nodes. All take spans as the grammar gives them.
AExpr *tree_leaf(Parser *p, AKind kind, Span at);
AExpr *tree_integer(Parser *p, uint64_t value, Span at);
AExpr *tree_float(Parser *p, double value, Span at);
AExpr *tree_name(Parser *p, Name name, Span at);
AExpr *tree_if(Parser *p, AExpr *cond, AExpr *yes, AExpr *no, Span word, Span at);
AExpr *tree_unary(Parser *p, AOp op, AExpr *e, Span op_at, Span at);
AExpr *tree_binary(Parser *p, AOp op, AExpr *l, AExpr *r, Span op_at, Span at);
AExpr *tree_comparison(Parser *p, AOp op, AExpr *l, AExpr *r, Span op_at, Span at);   // reports chains
AExpr *tree_subscript(Parser *p, AExpr *base, Subs subs, Span at);
AExpr *tree_default(Parser *p, AExpr *read, AExpr *otherwise, Span at);               // read ?? otherwise
AExpr *tree_call(Parser *p, Name name, Exprs args, Span name_at, Span at);
AExpr *tree_cast(Parser *p, AKind kind, ADtype type, AExpr *e, Span word, Span at);
AExpr *tree_reduce(Parser *p, Reducer r, Subs subs, AExpr *e, AExpr *cond, Span word, Span at);
AExpr *tree_parens(AExpr *e, Span at);
ASub tree_range(Name name, Span name_at, AExpr *lo, AExpr *hi, Span at);
AType tree_type(Parser *p, ADtype dtype, const Subs *dims, Span at);
AStmt tree_lhs(Parser *p, Name name, const ADtype *type, const Subs *subs, Span name_at, Span at);
AStmt tree_equation(AStmt lhs, AExpr *e, Span at);
AStmt tree_update(Parser *p, AStmt lhs, AExpr *e, AExpr *cond, Span at);
AStmt tree_calls(Parser *p, Name first, Span first_at, Names rest, AExpr *call, Span at);
AConst *tree_const(Parser *p, Name name, const ADtype *type, AExpr *value, Span name_at, Span at);
AConst *tree_table(Parser *p, Name name, const ADtype *type, Exprs values, Span name_at, Span at);
AFormat *tree_format(Parser *p, Name name, Span name_at, uint64_t block);
AFn *tree_fn(Parser *p, Name name, Span name_at, Params params, Results results, bool bracketed, Exprs where);
void tree_fn_body(Parser *p, AFn *f, Stmts stmts);
void tree_field(Parser *p, Members *m, AStmt lhs);
void tree_encode(Parser *p, Members *m, AEncode *e, Stmts stmts, Span at);
void tree_format_body(Parser *p, AFormat *f, Members m);
void tree_check_format_stmts(Parser *p, const Stmts *stmts);
void tree_item(Parser *p, AItemKind kind, void *item);
AFile *tree_file(Parser *p);          // NULL when nothing could be saved

// slips.c: what went wrong, in the user's words.
void report_slip(Parser *p, const Token *t);
void report_text(Parser *p, uint32_t lo, uint32_t hi);      // invalid or control bytes in a comment or string

// The tokens that could stand where one was found that cannot: their names in the grammar ("+", "NAME").
typedef struct Expected { int n; const char *name[96]; } Expected;
void report_syntax(Parser *p, const Expected *x);
#endif
