// interp.h: the meaning of the language: evaluates a Fn directly, one element at a time, no optimisation.
//
// Elements of locals are computed when something reads them, once. f32 arithmetic is double rounded to float after each
// operation; f64 is double; integers wrap. Every subscript is checked. Chains and recurrences of any length need no C
// stack. Reentrant; a call that would need more than 32 GiB ends in a fault.
#ifndef PLAIT_IR_INTERP_H
#define PLAIT_IR_INTERP_H
#include "ir/fn.h"

// A tensor argument: dense, row-major, in storage type (formats: blocks). Rank 0: one element.
typedef struct View { void *data; int64_t extent[8]; int rank; } View;

// What went wrong in a call. code: E_… of kind CODE_DATA or CODE_LIMIT; the rest as far as it applies.
typedef struct Fault {
  Code code;
  Span at;              // the read, reduction or where-condition
  Name equation;        // tensor whose equation was computed
  Name tensor;          // tensor read or stored to
  int axis;             // which subscript (0-based), -1 when none
  int64_t value;        // of the subscript
  int64_t extent;       // allowed: 0 .. extent - 1
  char text[240];       // the message, one line
} Fault;

// Solve dimensions from the extents of params (views in Fn.params order; rank-0 params are scalars), check agreement,
// `where` conditions and extents of all tensors. dims: value per Dim.id. False with *fault set.
bool fn_bind(const Fn *f, const View *params, int64_t *dims, Fault *fault);

// The value of an expression over dims and scalar arguments (extents, where). False on overflow of its checks.
bool fn_eval_scalar(const Fn *f, const Expr *e, const int64_t *dims, const View *params, Scalar *out);

// Run f. params: in Fn.params order (mut tensors are changed in place). results: in Fn.results order, data allocated by
// the caller with the extents that fn_bind gives. bounds (or NULL): per result, an array of doubles that receives for each element a bound on
// |compiled - interpreted| that follows from the computation: rounding of each operation (ops.def: ulp), any order
// of sums, contraction, and the four freedoms of language.md; infinity where a branch or a rounding step may go either way.
// Mut tensors' bounds come after the results', in params order. False with *fault set.
bool fn_interpret(const Fn *f, const View *params, const View *results, double **bounds, Fault *fault);
#endif
