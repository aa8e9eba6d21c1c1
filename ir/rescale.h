// rescale.h: how a reduction that reads earlier results over the same range follows when these change.
//
//   m = max[j](x[j]);  z = sum[j](exp(x[j] - m))      m grows to m':  z' = z * exp(m - m')
//   s = sum[j](x[j]);  v = sum[j]((x[j] - s/n)^2)     u moves to u':  v' = v + d*v1 + d^2*v2,  d = u' - u
//
// With that, both run in one pass over the range: the later one works with what the earlier knows so far (its reference), and
// is rescaled when the reference moves. Nothing is known here of softmax or variance: the term of a sum decides, by
//   scale    T(j; u') = T(j; u) * r(u, u')           [online softmax: Milakov & Gimelshein 2018]
//   moment   T(j; u) a polynomial in one u, with the sums of its derivatives by u beside
//                                                  [pairwise variance: Chan, Golub & LeVeque 1979]
// A maximum is not shifted: the direct form rounds each term, and which is greatest may hang on that.
// Any reference gives the same value over the reals, so it may be chosen for accuracy, and must be where r is finite.
#ifndef PLAIT_IR_RESCALE_H
#define PLAIT_IR_RESCALE_H
#include "ir/expr.h"

enum { RESCALE_ATOMS = 4, RESCALE_DEGREE = 4 };

// Something of earlier results that terms read: a maximal part that is free of the reduction's indices. Reductions of one pass
// share it, so that what they compute from it is one expression.
typedef struct Reference {
  Expr *atom;
  bool divides;                 // something is divided by it: 0 is no reference
  Var *was, *now;               // its values before and after it moves; without names until somebody declares them
} Reference;
typedef struct References { Arena *a; VEC(Reference *) v; } References;

typedef struct Rescale {
  int natoms;
  Reference *atom[RESCALE_ATOMS];
  int nstates;                  // sums (or extremes) that run: the term's, then its derivatives' divided by k!
  Expr *term[RESCALE_DEGREE + 1];   // of each
  Expr *factor[RESCALE_DEGREE + 1]; // by which each changes, over `was` and `now`, but for the moment; NULL: it does not
  int moment;                   // the atom in which the term is a polynomial; -1: none
} Rescale;

// Can `reduce` run beside what it reads? `earlier` says which tensors are results of the same pass. False when it reads
// none, or when the algebra does not allow it: a filter or range that depends on them, a rounding cast of what does, a term of
// another shape, one that is very large. References that are new go into refs.
typedef bool (*RescaleEarlier)(void *cx, const Tensor *t);
bool rescale_find(ExprTable *x, const Expr *reduce, RescaleEarlier earlier, void *cx, References *refs, Rescale *out);

// What state k becomes, over VARs: state[] the values before, was[] and now[] the references. While it runs, a scaled
// state that holds nothing (0) stays so, whatever the factor; at the end (`last`) the factor counts as it is, so that an infinite or
// NaN reference gives what the equations give.
Expr *rescale_state(ExprTable *x, const Rescale *r, int k, Var *const *state, bool last);

// May v stand for the reference: is it finite, and not 0 where something is divided by it?
Expr *rescale_usable(ExprTable *x, const Reference *r, Expr *v);
#endif
