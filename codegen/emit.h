// emit.h: the state of one printing, and what the printer offers to targets.
//
// Kernels are printed body first: what a body uses (dimensions, tensors, helper functions) is known when its head and
// the file's prologue are printed.
#ifndef PLAIT_CODEGEN_EMIT_H
#define PLAIT_CODEGEN_EMIT_H
#include "codegen/math.h"
#include "codegen/name.h"
#include "codegen/target.h"
#include "codegen/uses.h"

// C's binding strengths as in ops.h (c_level), and the two ends that it leaves out.
enum { LEVEL_COND = 0, LEVEL_ADD = 9, LEVEL_MUL = 10, LEVEL_PREFIX = 11, LEVEL_PRIMARY = 12 };

// Values that an integer expression can have; wide enough to be exact below 2^53 and never too narrow above.
typedef struct Range { double lo, hi; } Range;

// What a kernel takes: a dimension, a scalar argument (rank 0) or a tensor in memory.
typedef struct Param { const Dim *dim; const Tensor *t; bool writes; } Param;
// faults: the kernel can report one. from, to: where it stands in the text of all kernels, once it is printed.
typedef struct Params { VEC(Param) list; bool faults; size_t from, to; } Params;

typedef struct Region Region;       // region_c.c
enum { FOLD_FUNCTIONS = 6 };   // sums, products, maxima, minima, argmax, argmin

typedef struct Staged { const Stmt *store; const char *array; bool words; } Staged;      // words: see emit_word
typedef struct Drawn { const Expr *x; const char *array; } Drawn;

// A running sum that is printed in blocks: of its ACC, the array of the block's values, and whether these are its terms (first) or
// already sums.
typedef struct Scan { const Stmt *acc; const char *sums; bool first; } Scan;

struct Emit {
  const Plan *p;
  const Target *t;
  const EmitOptions *opt;
  Arena *a;               // of this printing
  Buf *out;               // where statements go
  int indent;
  Names names;
  const Kernel *kernel;   // being printed
  bool parallel;          // inside a loop that is split over cores
  bool in_region;         // statements at hand are run by all threads of a region (region_c.c), but for those inside of such a loop
  Region *region;         // of the C target
  const char *lane;       // in a LANES loop: the lane's variable
  const Stmt *lane_loop;  // that loop where its lanes are steps side by side, the first of them `lane_first`; else NULL
  const char *lane_first;
  Map lanes;              // Var -> its VAR statement while it is an array of lanes; afterwards `folded`
  Stmt folded;            // a FOLD
  Map read;               // Var -> non-NULL: an expression of the kernel names it
  Map changed;            // Var -> non-NULL: a statement other than its declaration does
  Map any_sign;           // Var -> non-NULL: it may become something else than a magnitude or -inf
  Map first;              // Var -> Expr: what it was declared with
  Map loops;              // Index -> the Stmt of its loop
  Map ranges;             // Expr -> Range
  VEC(const Tensor *) shapes;    // tensors of the program, of those with the same extents the first; empty: not looked for yet
  Map loose;              // Var, Expr -> roundings in it, and one (emit_loose.c)
  Uses used;              // Dims, Tensors (roots), Indices that the kernel (or entry) being printed uses
  VEC(Param) known;       // dimensions, then parameters, results and temporaries in their order, arrays that threads of a region share
  Map number;             // Dim, Tensor -> its place in known, and one
  Map written;            // Tensor (root), same
  bool faults;            // it has FAULT statements
  Map params;             // Kernel -> Params, once it is printed
  bool *op_used;          // [op * DT_COUNT + dtype]: helper functions made from ops.def
  bool *math_used;        // [MATH_COUNT]
  short *rows;            // [(op * DT_COUNT + dtype) * EXACTNESSES * FORMS + aux]: the row of math.def, and one; 0: not looked for yet
  bool *op_host, *math_host;     // those of them that the host calls too
  Map table_used;         // Tensor
  Map packed;             // Tensor -> its ALLOC: local arrays whose elements share words
  Map in_shared;          // Tensor -> its ALLOC: arrays of a thread block
  VEC(Staged) staged;     // stores of the loop being printed whose values go to an array of lanes first
  VEC(Drawn) drawn;       // its random numbers and reads that stand in an array of lanes
  Scan scan;
  unsigned char uses_folds[FOLD_FUNCTIONS][2];      // [row of fold_c.c][64 bits]: bit n for 2^n lanes
  bool uses_strides[5][5];      // by bytes of an element and columns: take_…
  bool turns[9];          // by bytes of an element: does a STAGE statement move such?
  bool packs[3];          // by bytes of an element: words are packed to vectors of such
  bool parts[2][9][16];   // rows of so few elements: taken apart or put together, by bytes and number of elements
  bool uses_parallel, uses_grain, uses_simd, uses_side, uses_streams, uses_lines, uses_block_order, uses_scans, uses_random, uses_clusters;      // in the file
  bool uses_shared;       // the kernel has dynamic shared memory
  const char *entry;      // name of the typed entry
  Map helpers;            // functions that the target has printed: Name -> Name that it got
  Buf *own;               // such functions, behind those of math.def
};

// Names. Dims and tensors (versions as their parameter) have one name in the file, indices and vars one in their block.
const char *emit_dim(Emit *e, const Dim *d);             // marks it used
const char *emit_tensor(Emit *e, const Tensor *t);       // marks its root used
// From here to the end the index of a vector loop is printed as `first`, the first step of a block, which is no use of the index.
typedef struct AtFirst { const Index *ix; Name name; const char *first; } AtFirst;
AtFirst emit_at_first(Emit *e, const Index *ix, const char *first);
void emit_at_first_end(Emit *e, const AtFirst *was);
void emit_written(Emit *e, const Tensor *t);            // marks that the kernel writes it
const char *emit_type(Dtype wide);                       // C type of a value: bool is int
const char *emit_storage(const Tensor *t);               // C type of an element; bytes for formats

// Expressions, in brackets when they bind less than `level`.
const char *emit_expr(Emit *e, const Expr *x, int level);
const char *emit_var(Emit *e, const Var *v);             // a variable, or the lane's element of it
const char *emit_math(Emit *e, Math m);                  // name of a helper; marks it used
// An operation's text of ops.def with its operands in place.
const char *emit_fill(Emit *e, const char *text, Dtype d, const char *const *operand);
const char *emit_strip(Emit *e, const char *s);          // without brackets around all of it; s itself when there are none
const char *emit_element(Emit *e, const Tensor *table, int64_t i);   // the stored element (i4, u4: byte) of a table
// An operation on two values of dtype d given as primaries, as ACC and FOLD need it.
const char *emit_combine(Emit *e, Op op, Dtype d, const char *x, const char *y);
// x converted to the storage type, as text of its C type: what a store writes (i4, u4: the value in an int).
const char *emit_stored(Emit *e, Dtype storage, const Expr *x);
// The same as an int whose upper half (16 bits) or lowest byte (8 bits) is that, for values that have it.
bool emit_has_word(const Emit *e, Dtype storage, const Expr *x);
const char *emit_word(Emit *e, Dtype storage, const Expr *x);
// Row-major position of the first n subscripts, the last extent divided by `block`.
const char *emit_position(Emit *e, const Tensor *t, Expr *const *sub, int n, int64_t block, int level);
// Address of a field of a block: a pointer to bytes.
const char *emit_field(Emit *e, const Tensor *t, int field, Expr *const *sub, int n);

Range emit_range(Emit *e, const Expr *x);                // emit_range.c
bool emit_fits(Emit *e, const Expr *x);                  // an operation of OP_WRAPS that cannot overflow

void emit_find_loose(Emit *e, const Stmt *body);         // emit_loose.c: before a kernel's expressions are asked about
double emit_least(Emit *e, const Expr *x);               // emit_least.c: the float x is at least this, or NaN
bool emit_beside_one(Emit *e, const Expr *sum, uint32_t k);       // operand k of a sum is an exponential whose last digits are lost in it
bool emit_is_loose(Emit *e, const Expr *x);              // the last digits of x's operands are open, so those of a quotient or root are

// Statements.
void emit_line(Emit *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));   // indented, with its line end
void emit_open(Emit *e);                                 // deeper, and a scope of names
void emit_close(Emit *e);
void emit_note(Emit *e, const Stmt *s);                  // its place and its comment
void emit_block(Emit *e, const Stmt *s);                 // s and what follows it
void emit_statement(Emit *e, const Stmt *s);
void emit_array(Emit *e, const Tensor *t, const char *name);     // declares a local array
void emit_know(Emit *e, const Dim *d, const Tensor *t);  // something that kernels may take, behind all that is known so far
const char *emit_index(Emit *e, const Stmt *loop);       // names the loop's index in the present scope
bool emit_is_simple(const Expr *x);                      // costs next to nothing to evaluate in each step
const char *emit_loop_end(Emit *e, const Stmt *s);       // the end of a loop as text that may be evaluated in each step
#endif
