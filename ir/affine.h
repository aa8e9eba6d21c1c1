// affine.h: ranges of indices, and proofs about i64 expressions over indices, dimensions and scalar arguments.
//
// Everything here is sound before it is complete: a proof that fails costs a check at run time, one that is wrong is a
// memory error. Arithmetic on coefficients is checked; an overflow makes the proof fail.
#ifndef PLAIT_IR_AFFINE_H
#define PLAIT_IR_AFFINE_H
#include "ir/expr.h"

// What is known at a place: ranges of the indices in scope and conditions that hold. Dimensions are ≥ 0 without saying.
typedef struct Ranges Ranges;
Ranges *ranges_create(Arena *a, ExprTable *x);
void ranges_push(Ranges *r);            // facts from here on …
void ranges_pop(Ranges *r);             // … are forgotten here
// lo ≤ ix < hi. Inside the range it is not empty, so lo < hi is a fact too. A later call for the same index adds to it
// (ranges_of then gives the latest).
void ranges_index(Ranges *r, Index *ix, Expr *lo, Expr *hi);
// `cond` (bool) has this truth value here. Conjunctions are split; what is no comparison of integers is ignored.
void ranges_assume(Ranges *r, Expr *cond, bool truth);

bool ranges_of(const Ranges *r, const Index *ix, Expr **lo, Expr **hi);     // false when ix is not in scope
bool ranges_is_full(const Ranges *r, const Index *ix, const Expr *extent);  // its range is exactly 0 .. extent (same expression)
bool ranges_is_box(const Ranges *r, const Index *ix);                       // its bounds use no index, no data: dims, scalar arguments, constants

// e ≥ 0 wherever the facts hold? e's own sums and products count as over the integers: 0 ≤ e and e < extent, both proved,
// say that the wrapped value is in range too; one of them alone does not where e may exceed 64 bits.
bool range_prove_ge0(Ranges *r, ExprTable *x, Expr *e);
// The least and greatest value that e takes over the indices in scope, both attained when no range is empty, as expressions over dims and
// scalar arguments: for e affine with constant coefficients in indices whose ranges are boxes. Else false.
bool range_extremes(Ranges *r, ExprTable *x, Expr *e, Expr **lo, Expr **hi);
// e = coef[0]·ix[0] + … + rest, with coefficients and rest free of these indices. False when it has no such form.
bool affine_split(ExprTable *x, Expr *e, int n, Index *const *ix, Expr **coef, Expr **rest);
// Does every value of e, and of each partial result in it, fit a 32-bit signed integer?
bool range_fits_i32(Ranges *r, ExprTable *x, Expr *e);
#endif
