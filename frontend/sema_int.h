// sema_int.h: what the files of sema share. Nothing outside frontend/sema*.c includes it.
//
// Elaboration walks the AST of one function with an environment (Env) and builds the Fn. A call makes a Frame: the
// names of one function instance. A value of an expression is a Val: an Expr for one element, with a shape when it is
// a whole tensor. Whole-tensor equations have no indices in the text; their Exprs use the indices Env.w, counted
// from the last dimension, which is how NumPy aligns shapes.
//
//   sema.c        entry points, checking            sema_call.c    calls, arguments, dimensions of a call
//   sema_scope.c  frames, names, messages           sema_stmt.c    equations, order of statements
//   sema_type.c   dtypes, literals, operations      sema_update.c  stores to mut tensors
//   sema_expr.c   expressions                       sema_rec.c     recurrences
//   sema_index.c  indices, extents, reductions      sema_format.c  storage formats
//   sema_poly.c   equality of extents               sema_const.c   constants and tables
//   sema_dims.c   what gives a dimension its value
#ifndef PLAIT_FRONTEND_SEMA_INT_H
#define PLAIT_FRONTEND_SEMA_INT_H
#include "base/limits.h"
#include "frontend/sema.h"

struct Program {
  Arena *a;
  Interner *names;
  Diags *d;
  Units units;
  Map recursive;        // functions whose recursion was reported
  bool silent;          // a trial: errors are not reported
  bool stopped;         // a limit was reached: others that come to it would say the same
};

// One entry being elaborated.
typedef struct Sema {
  Program *p;
  Arena *a;
  Interner *names;
  Diags *d;
  Fn *f;
  ExprTable *x;
  Map formats;          // Item to Format, made when first used
  Map tables;           // Item to Tensor
  Map unknown;          // names reported as unknown, each once in a function
  int nest;             // expressions open around the current one, through all calls
  long steps, calls;    // expressions and calls elaborated: bound the time that doubling calls can take
  bool stop;            // a limit was reached and reported
  bool wide_literals;   // constants are computed in i64 and f64
  bool wide_ints;       // inside subscripts and bounds: integer literals alone are i64
  int scc;              // recurrences so far
  int block_tensors;    // tensors of formats so far
  int stamp;            // searches for an extent so far
} Sema;

// A shape; extents are i64 expressions over dimensions and scalar arguments. NULL stands for rank 0.
typedef struct Shape { int rank; Expr *extent[LIMIT_RANK]; } Shape;

// The value of an expression.
typedef enum Lit { LIT_NONE, LIT_INT, LIT_FLOAT } Lit;
typedef struct Val {
  Expr *e;              // NULL: an error was reported
  const Shape *shape;   // of a whole tensor; NULL for a scalar
  Lit lit;              // a literal adapts to the other operand; e has the type that it takes alone
  bool neg; uint64_t mag;   // LIT_INT: sign and magnitude
  double f;             // LIT_FLOAT
} Val;
#define NO_VAL ((Val){0})

// A condition under which a subscript is evaluated. cond NULL: the range check of `??`.
typedef struct Guard { Expr *cond; const struct Guard *up; } Guard;

// An index in scope.
typedef struct Bound {
  Index *ix;
  Name name;
  Span at;
  Expr *extent;         // upper end of its range (lower end: lo); NULL until inferred
  bool given;           // by a bound or a declared shape; else from subscripts
  bool from_zero;       // its range begins at 0: always left of `=`
  const struct Bound *up;
} Bound;

// What `..` among subscripts stands for.
typedef struct Dots { int n; Index *ix[LIMIT_RANK]; const struct Dots *up; } Dots;

// Where an index stands as a subscript, collected while an equation is elaborated, to find its extent. `inner`
// is the record of an argument that was used at this place: its uses count with the guards of this place added.
typedef struct Uses Uses;
typedef struct Use {
  Index *ix;            // NULL when inner
  bool lone;            // alone as a subscript; else inside a longer one
  Expr *extent;         // lone: of that dimension; NULL: that of axis of t, not known yet
  const Tensor *t; int axis;
  Name tensor;          // as the program calls it
  Span at;
  const Guard *guard;   // innermost; NULL: unguarded
  Uses *inner;
} Use;
struct Uses { VEC(Use) v; int mark; };

// The current version of a mut tensor, shared by all frames that can store to it.
typedef struct MutCell { Tensor *cur; Tensor *root; } MutCell;

typedef enum BindKind {
  BIND_TENSOR,          // t with subscripts, or whole
  BIND_MUT,             // cell->cur
  BIND_VALUE,           // val: a scalar argument, or an equation of a scalar function
  BIND_FILL,            // val for every element of a shape; t once it had to be stored
  BIND_LAMBDA,          // an indexed equation of a scalar function or a helper of a format: val.e over ix
  BIND_DIM,             // val.e
  BIND_NOTHING,         // the left side of a call without results
  BIND_POISON           // an equation in error: reads of it are silent
} BindKind;

typedef struct Binding {
  BindKind kind;
  Name name;
  Span at;
  bool param, result;
  bool defined;         // results: its equation has been seen
  bool seen;            // results in error: so has its equation
  bool pending;         // a recurrence that is being elaborated: only subscripted reads
  bool declared;        // its type was written
  struct Member *member;    // of the recurrence that defines it
  Tensor *t;
  Dtype dtype;          // storage type as declared here, DT_NONE when only the values' type is known
  int rank;
  Expr *extent[LIMIT_RANK];   // as declared here
  MutCell *cell;
  Val val;
  Span arg_at;          // BIND_VALUE of a parameter: its argument
  Uses *uses;           // BIND_VALUE: subscripts in val
  Index *ix[LIMIT_RANK];      // BIND_LAMBDA
} Binding;

typedef struct TypeVar { Name name; Dtype dtype; Span at; } TypeVar;

// The names of one function instance.
typedef struct Frame Frame;
struct Frame {
  Sema *s;
  const AFn *fn;        // NULL for formats and constants
  Unit *unit;           // whose names are seen
  Frame *caller;
  Span call_at;
  int depth;
  const char *prefix;   // of names of its tensors, NULL for the entry
  bool scalar;          // a scalar function, inlined as an expression
  Map bind;             // Name to Binding
  VEC(Name) order;      // names bound, for suggestions
  Map later;            // Name to AStmt: tensors of the statements to come
  VEC(TypeVar) types;
  bool dots; int ndots; Expr *dot_extent[LIMIT_RANK];
};

// Where an expression stands.
typedef struct Group Group;
typedef struct Env {
  Frame *fr;
  const Bound *bound;   // innermost index in scope
  const Bound *hidden;  // indices around a call that its arguments cannot use
  const Dots *dots;     // innermost meaning of `..`
  Index **w;            // whole-tensor equation: index by distance from the last dimension; NULL among indices
  Uses *uses;
  const Guard *guard;
  bool in_sub;          // inside a subscript
  bool certain;         // evaluated for all values of the indices left of `=`, whatever the arguments are
  bool pure;            // an extent or a where-condition: dimensions and scalar arguments only
  Code pure_code;       // reported for data in a pure place
  Group *group;         // recurrence whose tensors may be read
  const char *hint;     // name in full of the tensor whose equation this is: what calls need is named after it
} Env;

// sema_scope.c
Frame *frame_new(Sema *s, const AFn *fn, Unit *unit, Frame *caller, Span call_at);
Binding *frame_bind(Frame *fr, BindKind kind, Name name, Span at);
Binding *frame_find(const Frame *fr, Name name);
const char *full_name(const Frame *fr, const char *name);
Tensor *named_tensor(Sema *s, const char *name, Role role, Dtype dtype, Format *fmt, int rank, Expr *const *extent, Span at);
Tensor *frame_tensor(Frame *fr, const char *hint, Role role, Dtype dtype, Format *fmt, int rank, Expr *const *extent, Span at);
const Bound *env_index(const Env *v, Name name);
// Report an error of a function instance: the calls that led to it are labelled. NULL.
void *sema_error(const Frame *fr, Code code, Span at, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void sema_unknown(const Env *v, Name name, Span at);
const char *near_name(const Frame *fr, const Bound *bound, Name name);
const char *near_function(const Frame *fr, Name name);
const char *near_type(const Frame *fr, Name name);
const char *source_text(const Sema *s, Span at);
const char *expr_text(const Sema *s, const Expr *e);
const char *shape_text(const Sema *s, int rank, Expr *const *extent);
void add_where(Sema *s, Expr *cond, Span at, const char *text);

// sema_type.c
typedef struct TypeRef { Dtype dtype; Item *format; bool variable; bool ok; } TypeRef;
TypeRef resolve_type(const Frame *fr, const ADtype *t);
Format *type_format(Frame *fr, TypeRef t);
Val val_of(Expr *e);
Val val_shaped(Expr *e, const Shape *shape);
Val val_int(Sema *s, bool neg, uint64_t mag, Span at);
Val val_float(Sema *s, double f, Span at);
bool literal_fits(const Val *v, Dtype d);
Expr *val_as(Sema *s, const Val *v, Dtype wide, Span at);      // converted to a wide type; literals adapt
Val val_store(Frame *fr, Val v, Dtype dtype, Span at);         // as if stored in dtype (rounded)
Dtype join_vals(Sema *s, int n, const Val *v);
Expr *subst_folded(Sema *s, Expr *e, int n, Index *const *ix, Expr *const *by);
Val apply_op(Env *v, Op op, int n, Val *arg, Span *at, Span op_at, Span whole);
bool broadcast(Env *v, int n, Val *arg, Span *at, Span op_at, const Shape **out);
Expr *expr_cast_folded(Sema *s, Dtype to, Expr *e, Span at);        // as expr_cast; of a constant: a constant

// sema_expr.c
Val expr(Env *v, const AExpr *e);
Expr *expr_scalar_int(Env *v, const AExpr *e, const char *what, const Shape **shape);  // i64; for subscripts and bounds
Val cast(Env *v, const AExpr *e);                                  // A_CAST
Expr *expr_condition(Env *v, const AExpr *e, const Shape **shape);
Val read_binding(Env *v, Binding *b, const AExpr *e, int nsubs, const ASub *sub, const AExpr *otherwise);
Val read_whole(Env *v, Binding *b, Span at);
Expr *extent_expr(Frame *fr, const AExpr *e, Code code);          // over dimensions and scalars; i64
bool mentions(const AExpr *e, Name name);
Index *whole_index(Env *v, int from_last, Span at);
Tensor *binding_tensor(Env *v, Binding *b);                       // stores a fill

// sema_index.c
typedef struct Left { int n; Bound *bound[LIMIT_RANK]; const Bound *top; Dots *dots; } Left;
Uses *uses_new(Sema *s);
void use_index(Env *v, Index *ix, Expr *extent, const Tensor *t, int axis, Name tensor, Span at);
void use_longer(Env *v, Index *ix, Span at);
void use_inner(Env *v, Uses *inner);
bool index_has_use(Sema *s, const Index *ix, Uses *uses);
Dots *index_dots(Env *v, Span at, Bound **out, int *n);
Expr *upper_end(Sema *s, Expr *bound, bool inclusive, Span at);
bool infer_extent(Env *v, Bound *b, Uses *uses);
bool left_indices(Env *v, const AStmt *st, Left *out);
bool bind_index(Env *v, Name name, Span at, Bound **out);
bool left_extents(Env *v, const AStmt *st, Left *left, const Binding *shape);
bool index_taken(const Env *v, Name name, Span at);
Val reduction(Env *v, const AExpr *e);
Expr *in_range(Sema *s, int n, Expr *const *sub, Expr *const *extent, Span at);

// sema_poly.c
typedef enum Agree { AGREE_YES, AGREE_NO, AGREE_UNKNOWN } Agree;
Agree extents_agree(Sema *s, Expr *a, Expr *b);
Expr *extent_normal(Sema *s, Expr *e);                            // canonical form
bool extent_const(Expr *e, int64_t *out);
bool extent_difference(Expr *a, Expr *b, int64_t *out);  // a - b when it is a constant
Expr *extent_solve(Sema *s, Expr *extent, Expr *scale, Expr *offset, bool *exact);  // (extent - offset) / scale
bool int_range(Expr *e, const Bound *bound, int64_t *lo, int64_t *hi);

// sema_dims.c
// A parameter whose shape gives values to dimensions. Entry: t is the parameter, else `actual` the argument's shape.
typedef struct Shaped { const AParam *param; Tensor *t; const Shape *actual; Span at; } Shaped;
bool bind_dots(Frame *fr, int n, const Shaped *p);
bool solve_dims(Frame *fr, int n, const Shaped *p, bool entry);
bool type_extents(Frame *fr, const AType *type, int *rank, Expr **extent);
bool check_extents(Frame *fr, Dtype dtype, const Format *fmt, int rank, Expr *const *extent, Span at);

// sema_call.c
typedef struct Want { Name name; Tensor *t; } Want;               // of a result: its name in full, or the tensor it is to be
Val call(Env *v, const AExpr *e);
Tensor *materialise(Env *v, const AExpr *e, const char *name);
Item *called_function(const Env *v, const AExpr *e);
bool fn_is_scalar(const AFn *fn);
bool fn_has_mut(const AFn *fn);
// A call right of `=`: results by their names; NULL after an error.
Binding **call_results(Env *v, const AExpr *e, const char *prefix, int nwant, const Want *want, bool statement);
Binding *bind_param(Frame *fr, BindKind kind, const AParam *p);
bool bind_type_variable(Frame *fr, const ADtype *t, Dtype wide, Span at);
void where_conditions(Frame *fr);
bool declare_results(Frame *fr, int nwant, const Want *want);
bool signature(Frame *fr);
bool has_dots(const AFn *fn);

// sema_stmt.c
void function_body(Frame *fr);
Val scalar_body(Env *v, Frame *fr);
bool lambda_equation(Frame *fr, const AStmt *st);                 // a helper of a format
Eqn *add_equation(Frame *fr, Tensor *def, int n, Index *const *ix, Expr *body, Span at);
Expr *stored_body(Frame *fr, const Val *val, Dtype dtype, Span at);
void whole_indices(Frame *fr, Index **w, int rank, Span at, Index **ix);
bool plain_read(const Val *val, Index *const *w);
Binding *define_name(Frame *fr, Name name, Span at);
void poison(Binding *b);

// sema_update.c
void update(Frame *fr, const AStmt *st);

// sema_rec.c
typedef struct Member Member;
struct Member {
  const AStmt *st;
  Binding *b;
  Eqn *eqn;
  bool declared;        // its type was written; else dtype and lit are what infer found so far
  Dtype dtype; Format *fmt; Lit lit;
};
struct Group { int n; Member *m; bool bad; };
void statement_order(Frame *fr, const AStmt **order, Group **group);
bool group_begin(Frame *fr, Group *g);
void group_finish(Frame *fr, Group *g);

// sema_format.c
Format *format_of(Frame *fr, Item *item);

// sema_const.c
typedef struct ConstValue {
  bool table; Dtype dtype;      // storage type; DT_NONE: a literal
  Lit lit; bool neg; uint64_t mag; double f;   // a literal
  Scalar v;                     // typed scalar, wide
  Scalar *values; int64_t n;    // table
} ConstValue;
ConstValue *const_value(Program *p, Item *item);
Val const_val(Sema *s, Item *item, Span at);                       // a scalar
Tensor *const_table(Sema *s, Item *item);
#endif
