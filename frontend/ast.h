// ast.h: what the parser builds: the text of a file as a tree, nothing checked yet.
//
// Every node carries its span. All nodes live in the module's arena. The printer (ast_print) gives
// source that parses to the same tree; comments are kept for `plait fmt`.
#ifndef PLAIT_FRONTEND_AST_H
#define PLAIT_FRONTEND_AST_H
#include "base/diag.h"
#include "base/str.h"
#include "base/vec.h"
#include "ir/dtype.h"
#include "ir/ops.h"

typedef struct AExpr AExpr;
typedef struct ASub ASub;

typedef enum AKind {
  A_INT,        // i (value as unsigned bits), text keeps the spelling
  A_FLOAT,      // f, text
  A_INF, A_NAN, A_TRUE, A_FALSE,
  A_NAME,       // name
  A_IF,         // arg[0] then arg[1] else arg[2]
  A_BINARY,     // op, arg[0], arg[1]
  A_UNARY,      // op, arg[0]
  A_SUBSCRIPT,  // arg[0][subs] and, with `??`, arg[1] (the default); arg[0] is any primary
  A_CALL,       // name(args): function of the program or the library, scalar built-in, or min/max with two arguments
  A_CAST,       // dtype(arg[0])
  A_BITCAST,    // bitcast(dtype, arg[0])
  A_REDUCE      // reducer[subs](arg[0] if arg[1]); arg[1] NULL without a filter
} AKind;

typedef enum AOp {      // operators of the grammar; the table in ast.c has their text and precedence
  AO_OR, AO_AND, AO_NOT, AO_EQ, AO_NE, AO_LT, AO_LE, AO_GT, AO_GE, AO_BITOR, AO_BITXOR, AO_BITAND, AO_SHL, AO_SHR,
  AO_ADD, AO_SUB, AO_MUL, AO_DIV, AO_FLOORDIV, AO_MOD, AO_NEG, AO_BITNOT, AO_POW, AO_COUNT
} AOp;

// A name in a dtype's place: a built-in dtype, or (dtype == DT_NONE) a format or type variable by name.
typedef struct ADtype { Dtype dtype; Name name; Span at; } ADtype;

struct AExpr {
  AKind kind;
  AOp op;
  Span at;              // the whole expression
  Span name_at;         // of the name, operator or reducer
  Name name;            // A_NAME, A_CALL
  const char *text;     // A_INT, A_FLOAT: as spelt
  uint64_t i; double f;
  ADtype type;          // A_CAST, A_BITCAST
  Reducer reducer;      // A_REDUCE
  int nargs; AExpr **arg;
  int nsubs; ASub *sub; // A_SUBSCRIPT, A_REDUCE
  bool parens;          // written in brackets (kept by fmt)
  int height;           // 1 + the highest part's; the parser keeps it at most LIMIT_NESTING
};

// One subscript. Left of `=` and in a reduction: an index, plain (`i`), bounded (`i < e`, `i <= e`: an A_BINARY
// whose left side is a name; sema decides) or ranged (`i in a .. b`). Elsewhere any expression. `..` stands alone.
struct ASub {
  enum { SUB_EXPR, SUB_RANGE, SUB_DOTS } kind;
  Span at;
  AExpr *e;             // SUB_EXPR
  Name name; Span name_at; AExpr *lo, *hi;   // SUB_RANGE
};

typedef struct AType {
  ADtype dtype;
  bool dots;            // `..` leads the shape
  bool shaped;          // has brackets at all
  int rank; AExpr **dim;   // without the `..`
  Span at;
} AType;

typedef struct AParam { bool mut; Name name; Span name_at; AType type; AExpr *init; Span at; } AParam;   // init: default value or NULL
typedef struct AResult { Name name; Span name_at; AType type; } AResult;

typedef enum AStmtKind { AS_EQUATION, AS_CALLS, AS_UPDATE } AStmtKind;
typedef struct AStmt {
  AStmtKind kind;
  Span at;
  Name name; Span name_at;                  // the tensor defined or stored to
  ADtype type; bool typed;                  // `name: dtype[…] = …`
  bool shaped; int nsubs; ASub *sub;        // brackets on the left
  int nnames; Name *names; Span *names_at;  // AS_CALLS: `a, b = f(x)`
  AExpr *e;                                 // right side
  AExpr *cond;                              // AS_UPDATE: the filter or NULL
} AStmt;

typedef struct AFn {
  Name name; Span name_at; Span at;
  int nparams; AParam *param;
  int nresults; AResult *result;
  bool bracketed;                           // results written in brackets
  int nwhere; AExpr **where;
  int nstmts; AStmt *stmt;
} AFn;

typedef struct AField { Name name; Span name_at; Dtype dtype; int count; bool array; Span at; } AField;   // count 1 without brackets
typedef struct AEncode { Name var; Span var_at; int nstmts; AStmt *stmt; Span at; } AEncode;
typedef struct AFormat {
  Name name; Span name_at; Span at;
  int64_t block;
  int nfields; AField *field;
  int nstmts; AStmt *stmt;                  // helpers and `value`
  AEncode *encode;                          // NULL without
} AFormat;

typedef struct AConst { Name name; Span name_at; Span at; ADtype type; bool typed; bool table; int nvalues; AExpr **value; } AConst;
typedef struct AImport { const char *path; Span at; } AImport;

typedef enum AItemKind { AI_IMPORT, AI_CONST, AI_FORMAT, AI_FN } AItemKind;
typedef struct AItem { AItemKind kind; union { AImport *import; AConst *cnst; AFormat *format; AFn *fn; }; } AItem;

typedef struct AComment { uint32_t lo, hi; bool own_line; } AComment;   // byte range without the line end

typedef struct AFile {
  uint32_t file;        // index in Diags.files
  int nitems; AItem *item;
  int ncomments; AComment *comment;
} AFile;

// Parse one file that was added to d. Returns the tree even after errors when something could be saved (recovery at
// statement and item ends), NULL when nothing could; the caller looks at d->errors.
AFile *parse_file(Arena *a, Interner *names, Diags *d, uint32_t file);

// Source text of a tree, formatted (`plait fmt`); comments at their places. parse(print(t)) equals t.
void ast_print(const AFile *f, const Diags *d, Buf *out);
void ast_print_expr(const AExpr *e, Buf *out);

// Equality that ignores spans and comments (for tests).
bool ast_equal(const AFile *a, const AFile *b);

const char *aop_text(AOp op);
#endif
