// poly.h: polynomials with 64-bit coefficients over integer expressions ("atoms"), for affine.c.
//
// An atom is an integer expression that arithmetic does not look into: an index, a dimension, a read, a floor division.
// Every operation checks its coefficients and sizes; one that does not fit makes no polynomial.
#ifndef PLAIT_IR_POLY_H
#define PLAIT_IR_POLY_H
#include "ir/expr.h"

enum { POLY_DEGREE = 6, POLY_TERMS = 40 };

// c · f[0] · f[1] …, factors in order of id, repeated for powers.
typedef struct Mono { int64_t c; int n; Expr *f[POLY_DEGREE]; } Mono;

// Sum of terms with different factors, none with c == 0, in a fixed order (the constant first, then by factors' ids).
// `atoms` has a bit for each factor, by id % 64: what lacks it does not have the factor.
typedef struct Poly { uint64_t atoms; int n; Mono m[]; } Poly;

static inline uint64_t poly_bit(const Expr *atom) { return (uint64_t)1 << (atom->id & 63); }

Poly *poly_const(Arena *a, int64_t c);
Poly *poly_atom(Arena *a, Expr *e);
// s·p + k·by·q, where `by` is a product of factors (its c is not used; NULL: 1). NULL on overflow.
Poly *poly_combine(Arena *a, int64_t s, const Poly *p, int64_t k, const Mono *by, const Poly *q);
Poly *poly_mul(Arena *a, const Poly *p, const Poly *q);

bool poly_is_const(const Poly *p, int64_t *c);
bool poly_equal(const Poly *p, const Poly *q);
bool mono_divides(const Mono *d, const Mono *m, Mono *cofactor);    // m = d · cofactor, as products of factors
Expr *poly_expr(ExprTable *x, const Poly *p);     // as an i64 expression; atoms of other types are cast
#endif
