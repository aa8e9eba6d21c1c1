// gpu.h: shared by the files gpu*.c only: kernels for GPUs out of the loops that `lower` made.
#ifndef PLAIT_PASSES_GPU_H
#define PLAIT_PASSES_GPU_H
#include "ir/affine.h"
#include "ir/kernel.h"
#include "ir/safe.h"
#include "passes/pass.h"

enum {
  GPU_THREADS = 256,            // of a block, where nothing asks for another number
  GPU_LANES = 32,               // of a warp
  GPU_STACK_VALUES = 1024,      // of one thread's arrays; more are shared by the threads of a block
  GPU_MAX_GRID = 16             // nested parallel loops
};

typedef struct Gpu {
  Pipe *p; Plan *plan; Fn *f; ExprTable *x;
  Arena *a, *scratch;           // of the module; of the pass
  const Machine *m;
  VEC(Kernel *) out;            // the kernels so far
  SafeExtents extents;
} Gpu;

// What becomes one launch: the iterations of parallel loops, or statements between such.
typedef struct Nest {
  Gpu *g;
  Kernel *k;                    // where it goes
  Stmt *head;                   // LETs at the beginning: what dimensions and arguments alone decide
  Stmt *body;                   // inside the parallel loops
  int n; Index *ix[GPU_MAX_GRID]; Expr *extent[GPU_MAX_GRID];     // these loops, from 0, outermost first; 0: none
  Expr *points;                 // i64, the product of the extents
  Ranges *facts;                // what holds inside
} Nest;

// ---- building (gpu_tree.c) ----

typedef struct Block { Stmt *first, **tail; } Block;       // statements, to be appended to
Block gpu_block(void);
void gpu_add(Block *b, Stmt *s);                           // s and what follows it
Stmt *gpu_let(Gpu *g, Block *b, const char *name, Expr *a, Expr **var);      // var: its value from here on
Stmt *gpu_loop(Gpu *g, LoopHow how, Index *ix, Expr *lo, Expr *hi, Stmt *body);
Stmt *gpu_if(Gpu *g, Expr *cond, Stmt *body, Stmt *els);
Stmt *gpu_copy(Gpu *g, const Stmt *s);                     // with all that is inside
Index *gpu_index(Gpu *g, const char *name);
Expr *gpu_int(const Gpu *g, int64_t v);
Expr *gpu_mul(const Gpu *g, Expr *a, Expr *b);             // these fold what is constant
Expr *gpu_plus(const Gpu *g, Expr *a, Expr *b);
Expr *gpu_minus(const Gpu *g, Expr *a, Expr *b);
Expr *gpu_min(const Gpu *g, Expr *a, Expr *b);
Expr *gpu_div(const Gpu *g, Expr *a, Expr *b);
Expr *gpu_mod(const Gpu *g, Expr *a, Expr *b);
Expr *gpu_div_up(const Gpu *g, Expr *a, int64_t b);        // the least multiple of b that is not below a, by b
Expr *gpu_and(const Gpu *g, Expr *a, Expr *b);             // a or b may be NULL: true

// ---- looking ----

void gpu_subst(Gpu *g, Stmt *s, int n, Index *const *ix, Expr *const *by);
bool gpu_has_loop(const Stmt *s);
bool gpu_dims_only(Gpu *g, Expr *e);                       // dimensions, scalar arguments, constants
bool gpu_uses_index(Gpu *g, const Stmt *s, const Index *ix);
bool gpu_uses_var(Gpu *g, const Stmt *s, const Var *v);    // an expression of s names it
bool gpu_writes(const Stmt *s, const Tensor *t);           // a store or a move to it, or to another version or view
bool gpu_reads_written(Gpu *g, Expr *e, const Stmt *s);    // e reads what s writes
Map gpu_written(Gpu *g, const Stmt *s);                    // what s writes: Tensor → itself
bool gpu_reads_any(Gpu *g, Expr *e, const Map *tensors);
bool gpu_is_step(const Gpu *g, Expr *e, Index *ix);        // e is ix and something that ix is not in
void gpu_want(Gpu *g, Kernel *k, Expr *e);                 // k would be faster if the dimensions in e were numbers

// ---- rearranging ----

Stmt *gpu_alone(Stmt *s);                                  // for one thread: nothing is folded, and nothing runs in parallel
Stmt *gpu_only_loop(Stmt *s);                              // the one loop in a block that else has LETs only; NULL: there is another thing

// ---- schedules ----

bool gpu_is_grid_index(const Nest *n, const Expr *sub, const Expr *extent);  // sub is one of the grid's indices, or a number, and below extent

void gpu_split(Gpu *g, Kernel *k);                         // gpu_split.c: a kernel to nests, and their schedules
Kernel *gpu_beside(const Nest *n, const char *what);       // another kernel for this nest, named after n->k and `what`; not in g->out yet
Tensor *gpu_temp(const Nest *n, const char *name, Dtype d, Expr *values);      // scratch memory between its kernels
void gpu_points(Nest *n);                                  // gpu_points.c: a thread a grid point
bool gpu_scan(Nest *n);                                    // gpu_scan.c: prefixes along rows; false: there are none
bool gpu_turn(Nest *n);                                    // gpu_turn.c: maps across rows; false: it is none
bool gpu_map_nest(Nest *n);                                // gpu_map.c: vectors of elements a thread; false: no map
bool gpu_columns(Nest *n);                                 // gpu_columns.c: columns side by side; false: it has none
bool gpu_teams(Nest *n);                                   // gpu_team.c: several threads a grid point; false: not worth it
void gpu_serial(Nest *n);                                  // the same: one block, for statements that stand outside of parallel loops

// The frame of a kernel: its blocks and threads. `value` gets the numbers of block and thread.
typedef struct Frame { Index *block, *thread; Expr *b, *t; } Frame;
Frame gpu_frame(Gpu *g);
void gpu_close(Nest *n, const Frame *f, Stmt *body, Grid grid);
// `body` at the grid point of this number; gpu_at: for the first `count` indices alone.
Stmt *gpu_at(Nest *n, int count, Expr *point, Stmt *body);
#endif
