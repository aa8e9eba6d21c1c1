// emit_least.c: between which numbers a float lies, so that functions on it can leave out what it never needs.
//
//   x / (t * t + 1), sqrt(abs(x) + 0.5)   ──▶   the divisor is at least 1, the root's argument 0.5, where they are numbers
//   exp(-abs(x)) + 1                      ──▶   the exponential is at most 1, and its last digits are lost in the sum
//
// A GPU's 1 / x and 1 / sqrt(x) want normal numbers: an exact root tests for that and branches, a loose quotient scales both numbers. Rounding
// is monotonic, so bounds of operands, rounded, are bounds of results. A NaN has no bound, and is none of the forms' concern: they hand it on.
// See Note [Exponentials beside a one].
#include "codegen/emit.h"
#include "ir/rewrite.h"
#include <math.h>

enum { DEEP = 8 };      // levels looked down: the work is at most 2^DEEP

static const Range any = { -INFINITY, INFINITY };

static Range bounds(Emit *e, const Expr *x, int deep);

static Range of_sum(Range a, Range b) {
  bool low = isinf(a.lo) || isinf(b.lo), high = isinf(a.hi) || isinf(b.hi);
  return (Range){ low ? -INFINITY : (float)(a.lo + b.lo), high ? INFINITY : (float)(a.hi + b.hi) };
}

static Range negated(Range a) { return (Range){ -a.hi, -a.lo }; }

static double product(double a, double b) { return a == 0 || b == 0 ? 0 : (float)(a * b); }

static Range of_product(Range a, Range b, bool square) {
  double p = product(a.lo, b.lo), q = product(a.lo, b.hi), r = product(a.hi, b.lo), s = product(a.hi, b.hi);
  Range m = { fmin(fmin(p, q), fmin(r, s)), fmax(fmax(p, q), fmax(r, s)) };
  return square ? (Range){ fmax(m.lo, 0), m.hi } : m;
}

static Range of_var(Emit *e, const Expr *x, int deep) {
  const Expr *value = map_getp(&e->changed, x->u.var) ? NULL : map_getp(&e->first, x->u.var);
  return value ? bounds(e, value, deep) : any;
}

static Range hull(Range a, Range b) { return (Range){ fmin(a.lo, b.lo), fmax(a.hi, b.hi) }; }

static Range bounds(Emit *e, const Expr *x, int deep) {
  if (x->op == OP_CONST && dtype_is_float((Dtype)x->dtype)) return x->u.v.f == x->u.v.f ? (Range){ x->u.v.f, x->u.v.f } : any;
  if (!dtype_is_float((Dtype)x->dtype) || !deep--) return any;
  if (x->op == OP_VAR) return of_var(e, x, deep);
  if (x->op == OP_SELECT) return hull(bounds(e, x->arg[1], deep), bounds(e, x->arg[2], deep));
  Range a = x->nargs > 0 ? bounds(e, x->arg[0], deep) : any, b = x->nargs > 1 ? bounds(e, x->arg[1], deep) : any;
  switch (x->op) {
  case OP_ADD: return of_sum(a, b);
  case OP_SUB: return of_sum(a, negated(b));
  case OP_NEG: return negated(a);
  case OP_MUL: return of_product(a, b, x->arg[0] == x->arg[1]);
  case OP_MAX: return (Range){ fmax(a.lo, b.lo), fmax(a.hi, b.hi) };
  case OP_MIN: return (Range){ fmin(a.lo, b.lo), fmin(a.hi, b.hi) };
  case OP_ABS: case OP_EXP: case OP_EXP2: case OP_SQRT: return (Range){ 0, INFINITY };
  default: return any;
  }
}

double emit_least(Emit *e, const Expr *x) { return bounds(e, x, DEEP).lo; }

static bool is_beside_one(Emit *e, const Expr *x, const Expr *other) {
  return x->op == OP_EXP && x->dtype == DT_F32 && fn_exactness(x) == 0 && bounds(e, x->arg[0], DEEP).hi <= 0 && emit_least(e, other) >= 1;
}

bool emit_beside_one(Emit *e, const Expr *sum, uint32_t k) {
  return sum->op == OP_ADD && is_beside_one(e, sum->arg[k], sum->arg[1 - k]);
}

// Note [Exponentials beside a one]
//
// exp(x) of an x that is at most 0, added to something that is 1 or more: a GPU has 2^y by one instruction, within 2^-22 of itself, and y = x * log2(e),
// rounded, is off by |y| * 2^-24 or so. The error of exp(x) is then exp(x) * (2^-22 + |x| * 2^-23.6) at most, of which what is more than the 4.5
// units that ir/interp_bounds.c gives to a function is 2^-25.4 at most, near x = -1.4. The sum is 1 or more, its unit 2^-23 or more, half of which its
// rounding leaves. So two instructions do in the place of eight. Where x may be positive the error grows with it, and is not lost.
