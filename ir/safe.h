// safe.h: which reads can fail, and where: walks expressions with what is known at each place.
//
// What is known: ranges of the indices in scope, dimensions ≥ 0, the function's where-conditions, and inside the branch of an `if`
// (right of `and`, under a filter) the condition that led there.
#ifndef PLAIT_IR_SAFE_H
#define PLAIT_IR_SAFE_H
#include "ir/affine.h"
#include "ir/fn.h"

// One occurrence of something that may fail: a READ, or a reduction (argmax over an empty range; a range from data).
typedef struct SafeUse {
  Expr *e;
  bool guarded;         // stands where it may not be evaluated
  bool proven;          // cannot fail, given what is known here
  bool whole;           // READ: unguarded, and over the ranges around it reads every element of the tensor
} SafeUse;
typedef void (*SafeVisit)(void *cx, const SafeUse *use);

// Visits every occurrence in q's expressions once per set of facts it stands under. False when the expression has
// too many such contexts to look at; the caller then assumes the worst. `facts` are safe_ranges(f), which is made once and
// comes back as it was.
bool safe_scan(Fn *f, Ranges *facts, Eqn *q, Arena *scratch, SafeVisit visit, void *cx);

// May evaluating e, a part of q, fail for some values of q's indices?
bool safe_may_fail(Fn *f, Ranges *facts, Eqn *q, Expr *e);

// Does e read a tensor of q's own recurrence?
bool safe_reads_scc(const Fn *f, const Eqn *q, Expr *e);

// The facts that hold in every equation of f: dimensions, where-conditions. Push q's indices with safe_indices.
Ranges *safe_ranges(Fn *f, Arena *scratch);
// The same for callers that ask again and again while f gets more tensors: the extents seen so far that are neither a dimension
// nor a number. Begins as { .a = an arena that lives as long }.
typedef struct SafeExtents { Arena *a; Map known; VEC(Expr *) list; int ntensors; } SafeExtents;
Ranges *safe_ranges_again(Fn *f, SafeExtents *seen, Arena *scratch);
void safe_indices(Ranges *r, ExprTable *x, const Eqn *q);
// Is subscript d of this read in range under r?
bool safe_subscript(Ranges *r, ExprTable *x, Expr *read, int d);
#endif
