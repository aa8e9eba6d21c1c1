// fn.h: the upper level of the IR: one function as a list of equations. It prints as Plait source.
//
// Everything is elaborated: calls are inlined, types and extents are known, casts are explicit, whole-tensor
// equations have indices. `mut` tensors are in static single assignment form: an update defines a new version of
// its tensor (Eqn.base is the version before), and READs name the version they see; all versions share storage.
#ifndef PLAIT_IR_FN_H
#define PLAIT_IR_FN_H
#include "ir/expr.h"

typedef enum Role {
  ROLE_PARAM,       // an input tensor, or a scalar argument (rank 0)
  ROLE_MUT,         // a `mut` parameter as passed in
  ROLE_VERSION,     // a `mut` parameter after an update
  ROLE_RESULT,
  ROLE_LOCAL,
  ROLE_TABLE        // a `const` table: rank 1, values in `table`
} Role;

struct Tensor {
  Name name;        // unique in the Fn; a valid Plait name
  int id;           // position in Fn.tensors
  Role role;
  Dtype dtype;      // storage type; for formats DT_F32 (the type of a read)
  Format *fmt;      // NULL unless stored in a format
  bool stored;      // dtype was declared: values are rounded to it (locals; always for params and results)
  int rank;
  Expr *extent[8];  // i64 over dims and scalar arguments (DIM, READ of rank-0 params, CONST, arithmetic)
  const Scalar *table; int64_t ntable;
  bool quiet;       // a maximum that may pass over a NaN, which its readers have from elsewhere (passes/form.c)
  Tensor *root;     // MUT and VERSION: the parameter itself; else the tensor
  int eqn_at;       // where in Fn.eqns its equation stood when fn_equation or fn_renumber last saw it (see fn_def)
  Span at;
};
// What memory it is: of a version its parameter.
static inline Tensor *tensor_root(const Tensor *t) { return t->root ? t->root : (Tensor *)(uintptr_t)t; }

typedef struct Eqn {
  Tensor *def;
  int n; Index *ix[8];  // indices left of `=`; n == def->rank. Update: the unbound names of both sides
  Expr *extent[8];      // of each index (range 0 .. extent); equal to def->extent unless an update
  Expr *body;           // value of the element; update: the value stored
  // Updates only (def->role == ROLE_VERSION):
  Tensor *base;         // the version before
  int nstore; Expr *store[8];   // subscripts stored to, over ix; format: the last is the index of the whole last dimension
  Expr *cond;           // store only where true; NULL: always
  bool recurrent;       // body reads def, or a tensor defined together with it (Eqn.scc)
  int scc;              // equations that run together in one recurrence have one number > 0; 0: none
  int order_ix[2];      // recurrence: position in ix of the index that runs in order; -1 when none; [1] unused
  Span at;              // the whole statement
} Eqn;

// A block format. Both parts are small functions over one block, in the same IR.
typedef struct Field { Name name; Dtype dtype; int count; bool array; int offset; Tensor *t; } Field;   // offset in bytes; t: in decode
typedef struct FormatEqn { Tensor *def; Index *ix; Expr *extent; Expr *body; Field *field; Span at; } FormatEqn;   // ix NULL for scalars; field: the one stored, or NULL for a local
struct Format {
  Name name;
  int64_t block;    // values
  int bytes;        // of one block
  int nfields; Field *field;
  Index *k;         // the index of `value`
  Expr *value;      // f32, over INDEX k and READs of field tensors (helpers are substituted)
  Tensor *v;        // encode: the block to be stored, f32[block]; NULL when the format can't be written
  int nencode; FormatEqn *encode;   // in order; bodies READ v, locals, and field tensors (the values stored)
  Span at;
};

// A condition that must hold at the call, over dims and scalar arguments.
typedef struct Where { Expr *e; Span at; const char *text; } Where;

// How each dimension gets its value: extent `axis` of parameter `t` equals scale·dim + offset; both i64 over constants,
// scalar arguments and dimensions that stand before it in Fn.sources (`H * E`: E is known, scale is E).
typedef struct DimSource { Dim *dim; Tensor *t; int axis; Expr *scale, *offset; } DimSource;

typedef struct Fn {
  Name name;
  Arena *a;
  ExprTable *x;
  Interner *names;
  Diags *d;             // for messages; NULL in tests
  VEC(Tensor *) tensors;    // all, by id
  VEC(Tensor *) params;     // in the order of the call: tensors, scalars (rank 0), mut
  VEC(Expr *) defaults;     // of params, same order; NULL entries where none (scalars only)
  VEC(Tensor *) results;
  VEC(Dim *) dims;
  VEC(DimSource) sources;   // one per dim
  VEC(Eqn *) eqns;          // in an order in which definitions precede reads, but for recurrences
  VEC(Where) where;
  int max_kernels;          // from `where kernels <= n`; -1 when not asked
  Span max_kernels_at;
  VEC(Format *) formats;    // used by any tensor
  Map taken;                // names of tensors, to the next suffix to try (fn_tensor)
  Span at;
} Fn;

Fn *fn_new(Arena *a, Interner *names, Diags *d, Name name);
Tensor *fn_tensor(Fn *f, Name hint, Role role, Dtype dtype, Format *fmt, int rank, Expr *const *extent, Span at);   // name made unique
Eqn *fn_equation(Fn *f, Tensor *def, int n, Index *const *ix, Expr *body, Span at);      // appended; extents from def
Eqn *fn_def(const Fn *f, const Tensor *t);     // its equation, NULL for params and tables; quick while fn_renumber is kept up
void fn_renumber(Fn *f);                       // after a change of the order or the set of equations
bool fn_is_output(const Tensor *t);            // RESULT, or VERSION
Fn *fn_copy(Arena *a, const Fn *f);            // deep: own table, tensors, equations

// A name that the language accepts for a tensor, dimension or index: its lexis, no reserved word.
bool name_is_valid(const char *s);
bool name_is_reserved(const char *s);          // keywords, dtypes, reductions

// As Plait source: `fn name(params) -> results where … { equations }`; formats and tables that it uses stand before it.
// parse + sema of the text gives an equal function (for programs without updates, in SSA order with them).
void fn_print(const Fn *f, Buf *out);
void expr_print(const Expr *e, Buf *out);      // an expression as source
void eqn_print(const Fn *f, const Eqn *q, Buf *out);
bool fn_equal(const Fn *a, const Fn *b);       // up to names of indices and ids

// Check the invariants of this file and of expr.h; false with a text that names what is broken.
bool fn_verify(const Fn *f, Buf *why);
#endif
