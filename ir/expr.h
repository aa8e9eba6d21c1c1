// expr.h: scalar expressions: immutable, hash-consed per table, shared by both levels of the IR.
//
// Identity is pointer equality: building an expression that exists gives the existing one, so common
// subexpressions are one node and an expression is a DAG. `at` is not part of identity (the first builder's span stays).
#ifndef PLAIT_IR_EXPR_H
#define PLAIT_IR_EXPR_H
#include "base/arena.h"
#include "base/diag.h"
#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"
#include "ir/dtype.h"
#include "ir/ops.h"

typedef struct Expr Expr;
typedef struct Tensor Tensor;      // fn.h
typedef struct Format Format;      // fn.h

// A dimension: a symbolic extent that the caller's tensors fix. Always ≥ 0 and ≤ LIMIT_EXTENT.
typedef struct Dim { Name name; int id; Span at; } Dim;

// An index, bound in one place: on the left of an equation or by a reduction. Its range stands where it is bound.
typedef struct Index { Name name; int id; Span at; } Index;

// A kernel-level scalar variable (kernel.h).
// quiet: what it accumulates, a maximum, may pass over a NaN.
typedef struct Var { Name name; int id; Dtype dtype; bool quiet; } Var;

// What a REDUCE binds: reducer and indices. Ranges are arguments of the expression.
typedef struct Binder { Reducer reducer; int n; Index *ix[]; } Binder;

// A set of indices, in order of id.
typedef struct IndexSet { int n; Index *ix[]; } IndexSet;

// Shapes of args by op (all others: operands of ops.def):
//   CONST          none; value in v
//   DIM            none; u.dim. dtype i64
//   INDEX          none; u.ix. dtype i64
//   READ           u.t; args: one i64 subscript per dimension, then, with aux == 1, the default of `??`. aux == 2: known to be out
//                  of range (made by inline: the check of a read whose tensor is never stored; see rewrite.h).
//                  dtype: wide type of the tensor. Rank 0: no args (scalar parameters too).
//   FIELD          u.t a tensor in a format, aux: the field; args: subscripts of the leading dimensions, the block's number,
//                  and for array fields the element. dtype: wide type of the field. Made by `lower`, not by sema.
//   REDUCE         u.bind; args: lo, hi of each index in order (i64; range lo ≤ i < hi, may use earlier indices), then the
//                  condition (bool; a true constant without filter), then the term.
//   CAST           args: x; aux: the dtype cast to (may be narrow); dtype: its wide type. Narrow: rounds there and widens.
//   BITCAST        args: x, a READ or CAST whose stored type (see expr_stored) is as wide as aux; aux: the dtype wanted.
//   functions      (exp, tanh, …) operands; aux: how exact, and in which form, see rewrite.h; 0 but where passes/coarse.c or form.c
//                  has found that less will do.
//   SELECT         cond (bool), then, else; lazy
//   AND, OR        bool, lazy in the second
//   UNIFORM        seed (u64), c (i64); f32
//   VAR            u.var (kernel level only)
struct Expr {
  uint8_t op;           // Op
  uint8_t dtype;        // Dtype of the value, always wide
  uint8_t aux;          // see above
  uint16_t depth;       // 1 + the deepest argument's, saturating
  uint32_t nargs;
  uint32_t id;          // creation order in its table: arguments have smaller ids
  uint32_t hash;
  Span at;
  const IndexSet *free; // the indices free in it; shared between expressions, never NULL
  union { Scalar v; Dim *dim; Index *ix; Tensor *t; Binder *bind; Var *var; } u;
  Expr *arg[];
};

typedef struct ExprSlot { uint32_t hash; Expr *e; } ExprSlot;      // e: NULL when empty

typedef struct ExprTable {
  Arena *a;
  ExprSlot *slot; uint32_t cap, n;  // open addressing; n: expressions made, also the next id
  int next_index, next_dim, next_var;
  bool overflow;                    // more than LIMIT_NODES were asked for: sema reports it, passes stop growing
} ExprTable;

ExprTable *expr_table(Arena *a);

// The general builder: interns. Folds nothing.
Expr *expr_make(ExprTable *x, Op op, Dtype dtype, int aux, const void *u, Span at, int nargs, Expr *const *args);
Expr *expr_scalar(ExprTable *x, Dtype wide, Scalar v, Span at);                 // CONST
Expr *expr_int(ExprTable *x, Dtype wide_int, int64_t v, Span at);
Expr *expr_float(ExprTable *x, Dtype wide_float, double v, Span at);
Expr *expr_bool(ExprTable *x, bool v, Span at);
Expr *expr_index(ExprTable *x, Index *ix);
Expr *expr_dim(ExprTable *x, Dim *d);
Expr *expr_var(ExprTable *x, Var *v);
Expr *expr_read(ExprTable *x, Tensor *t, int rank, Expr *const *sub, Expr *otherwise, Span at);   // otherwise: `??` or NULL
Expr *expr_reduce(ExprTable *x, Reducer r, int n, Index *const *ix, Expr *const *lo, Expr *const *hi, Expr *cond, Expr *term, Span at);
Expr *expr_cast(ExprTable *x, Dtype to, Expr *e, Span at);      // e itself when nothing changes
Expr *expr_op1(ExprTable *x, Op op, Expr *a, Span at);          // dtype from the operation's rule
Expr *expr_op2(ExprTable *x, Op op, Expr *a, Expr *b, Span at); // operands must have one dtype (asserted)
Expr *expr_plus(ExprTable *x, Expr *e, int64_t n);              // e + n for an i64; e itself when n is 0
Expr *expr_op(ExprTable *x, Op op, Expr *const *args, Span at); // the same for any fixed arity (FMA), SELECT and UNIFORM
Expr *expr_select(ExprTable *x, Expr *c, Expr *a, Expr *b, Span at);
Expr *expr_rebuild(ExprTable *x, const Expr *e, Expr *const *args);   // e with other arguments

Index *index_new(ExprTable *x, Name name, Span at);
Dim *dim_new(ExprTable *x, Name name, Span at);
Var *var_new(ExprTable *x, Name name, Dtype wide);
Var *var_like(ExprTable *x, const Var *v);      // a fresh one of this name and kind

static inline bool expr_is_const(const Expr *e) { return e->op == OP_CONST; }
static inline bool expr_is_index(const Expr *e, const Index *ix) { return e->op == OP_INDEX && e->u.ix == ix; }
bool expr_is_int(const Expr *e, int64_t v);                     // an integer constant of this value
bool expr_is_true(const Expr *e);
bool expr_is_false(const Expr *e);

// REDUCE accessors.
static inline Expr *reduce_lo(const Expr *e, int k) { return e->arg[2 * k]; }
static inline Expr *reduce_hi(const Expr *e, int k) { return e->arg[2 * k + 1]; }
static inline Expr *reduce_cond(const Expr *e) { return e->arg[2 * e->u.bind->n]; }
static inline Expr *reduce_term(const Expr *e) { return e->arg[2 * e->u.bind->n + 1]; }
// READ accessors.
int read_rank(const Expr *e);
static inline Expr *read_default(const Expr *e) { return e->aux == 1 ? e->arg[e->nargs - 1] : NULL; }

// The dtype in which a READ's or CAST's value is stored; for others the expression's own.
Dtype expr_stored(const Expr *e);

// Only the first 64 K levels of depth are counted; sema and the passes keep expressions far below (LIMIT_EXPR_DEPTH),
// and the functions below recurse as deep as their expression is.

// Simultaneous substitution of indices: replaces free INDEX ix[k] by by[k]. Fresh Index objects are made for
// reductions that would capture. Memoised over the DAG.
Expr *expr_subst(ExprTable *x, Expr *e, int n, Index *const *ix, Expr *const *by);
// A copy in which every reduction binds fresh Index objects (needed when a body is used twice and lowered into one scope).
Expr *expr_refresh(ExprTable *x, Expr *e);

// Bottom-up rewriting over the DAG: f sees each node once, after its arguments, and returns it or a replacement.
typedef Expr *(*ExprMap)(void *cx, ExprTable *x, Expr *e);
Expr *expr_map(ExprTable *x, Expr *e, ExprMap f, void *cx);

// Visit every node of the DAG once, arguments first.
typedef void (*ExprVisit)(void *cx, Expr *e);
void expr_visit(Arena *scratch, Expr *e, ExprVisit f, void *cx);

bool expr_uses_index(const Expr *e, const Index *ix);    // free in e
bool expr_reads(const Expr *e, const Tensor *t);         // anywhere in e
bool expr_has(const Expr *e, Op op);
int expr_size(const Expr *e);                            // nodes of the DAG

// Structural equality up to renaming of bound indices, with `ia[k]` of a standing for `ib[k]` of b; and a hash
// that is equal for such expressions.
bool expr_same(const Expr *a, const Expr *b, int n, Index *const *ia, Index *const *ib);
uint64_t expr_shape_hash(const Expr *e, int n, Index *const *ix);

// expr_same for expressions of two functions: `pair` says whether two tensors (READ, FIELD), dims or variables, as
// given by op, stand for each other.
typedef bool (*ExprPair)(void *cx, Op op, const void *a, const void *b);
bool expr_same_as(const Expr *a, const Expr *b, int n, Index *const *ia, Index *const *ib, ExprPair pair, void *cx);

// Evaluate a constant expression (no READ, INDEX, DIM, VAR); false when it is not constant.
bool expr_fold(const Expr *e, Scalar *out);
#endif
