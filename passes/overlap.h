// overlap.h: what overlap.c finds out about the rows of a loop, and overlap_pipeline.c makes of it.
#ifndef PLAIT_PASSES_OVERLAP_H
#define PLAIT_PASSES_OVERLAP_H
#include "passes/pass.h"

enum { EARLY_READS = 1, EARLY_WRITES = 2, LATE_READS = 4, LATE_WRITES = 8, EARLY = 3, LATE = 12, WRITES = 10, READS = 5 };

// What a row's statements do with a variable or a tensor (its root).
typedef struct Object { const Var *var; const Tensor *t; const Stmt *declared; int does; } Object;    // declared: among the row's own statements

typedef struct Overlap {
  Pipe *p;
  const Kernel *k;
  ExprTable *x;
  Stmt *row;            // the loop over rows
  const Stmt *a, *b;    // loops among its statements: b, the last one, shall run beside a of the next row
  bool leads;           // what stands before `a` is computed a row ahead
  Expr *aligned;        // all its rows begin with a line: arrays need no second half; NULL: they may or not, or none would need one
  const Stmt *line;     // a store of b past the caches, whose rows may begin anywhere in a line; NULL: none
  VEC(Object) object;
  Map number;           // Var, Tensor → place in `object` + 1
  bool late;            // of the statement that is being looked at
  bool failed;
} Overlap;

static inline Expr *number(Overlap *o, int64_t v) { return expr_int(o->x, DT_I64, v, NO_SPAN); }
static inline Expr *binary(Overlap *o, Op op, Expr *a, Expr *b) { return expr_op2(o->x, op, a, b, NO_SPAN); }

static inline Expr *minus(Overlap *o, Expr *a, Expr *b) { return binary(o, OP_SUB, a, b); }

// Both, or (OP_OR) one of them; NULL is no condition yet.
Expr *overlap_joined(Overlap *o, Op op, Expr *a, Expr *b);
bool overlap_is_known(const Expr *cond, bool truth);
// Does the statement of the row belong to what comes late: the last loop, its accumulators and what is behind it?
bool overlap_is_late(const Overlap *o, const Stmt *s);
// Is the statement, before `a`, one that is computed a row ahead? Accumulators of `a` begin with it.
bool overlap_is_ahead(const Overlap *o, const Stmt *s);
// Is an element read where the next row's is written, and nowhere else? Then one array does for both rows.
bool overlap_is_in_place(Overlap *o, const Tensor *t);
// The last loop among statements.
const Stmt *overlap_last_loop(const Stmt *s);

// overlap_pipeline.c: the loop over rows becomes one in which rows run beside one another where `when` holds. Outside of other loops it has a
// core's rows in one piece; in a nest of parallel loops chunks, of so many rows in all; in order all of them.
void pipeline_shares(Overlap *o, Stmt *loop, Expr *when);
void pipeline_chunks(Overlap *o, Stmt *loop, Expr *when, Expr *all);
void pipeline_in_order(Overlap *o, Stmt *loop);
#endif
