// gpu_vector.h: steps side by side by one thread, and rows that threads keep, for the files gpu*.c.
#ifndef PLAIT_PASSES_GPU_VECTOR_H
#define PLAIT_PASSES_GPU_VECTOR_H
#include "passes/gpu.h"

enum { GPU_MOST_BYTES = 64 };         // of one move

// Rows that each thread has a part of: reads from memory (with `row` as their index), and local arrays of the row's length.
typedef struct Kept { Expr *read; Tensor *local; Expr *to; } Kept;       // to: elements from there on are not loaded; NULL: all are
typedef struct Rows { Index *row; VEC(Kept) kept; Map arrays; } Rows;      // arrays: Tensor → the thread's part of it

typedef struct Vector {
  Gpu *g;
  const Nest *n;
  const Map *written;           // Tensor → itself: what all that runs beside it writes is not loaded ahead
  Tensor *const *own; int nown; // tensors of which each thread touches the elements of its own steps only
  Index *ix;                    // of the loop
  Expr *hi;                     // its end
  Expr *bound;                  // hi is no more than this
  Expr *first;                  // the step of lane 0, a multiple of lanes
  const Index *base;            // of a loop around, a multiple of lanes too; NULL: there is none
  int lanes;
  const Rows *rows; Expr *slot; // where in them lane 0 is; NULL: none are kept
  const Rows *near;             // rows in shared memory, of which the thread reads what it wrote itself; NULL: none
} Vector;

// `lanes` steps of a loop with this body, which is used up.
Stmt *gpu_vector(const Vector *c, Stmt *body);
bool gpu_can_move(const Gpu *g, int bits, int lanes);      // so many elements of so many bits, as accesses for which memory is aligned
Stmt *gpu_move(Gpu *g, Tensor *t, int n, Expr *const *sub, Tensor *local, Expr *place, int lanes, bool out);
#endif
