// emit_least.c: what a float is at least, so that a quotient or a root needs no care for small or negative numbers.
//
//   x / (t * t + 1), sqrt(abs(x) + 0.5)   ──▶   the divisor is at least 1, the root's argument 0.5, where they are numbers
//
// A GPU's 1 / x and 1 / sqrt(x) want normal numbers: an exact root tests for that and branches, a loose quotient scales both numbers. Rounding
// is monotonic, so bounds of operands, rounded, are bounds of results. A NaN has no bound, and is none of the forms' concern: they hand it on.
#include "codegen/emit.h"
#include <math.h>

enum { DEEP = 8 };      // levels looked down: the work is at most 2^DEEP

static double least(Emit *e, const Expr *x, int deep);

static double of_sum(Emit *e, const Expr *x, int deep) {
  double a = least(e, x->arg[0], deep), b = least(e, x->arg[1], deep);
  return isinf(a) || isinf(b) ? -INFINITY : (float)(a + b);
}

static double of_product(Emit *e, const Expr *x, int deep) {
  if (x->arg[0] == x->arg[1]) return 0;
  double a = least(e, x->arg[0], deep), b = least(e, x->arg[1], deep);
  return a >= 0 && b >= 0 ? (float)(a * b) : -INFINITY;
}

static double of_var(Emit *e, const Expr *x, int deep) {
  const Expr *value = map_getp(&e->changed, x->u.var) ? NULL : map_getp(&e->first, x->u.var);
  return value ? least(e, value, deep) : -INFINITY;
}

static double least(Emit *e, const Expr *x, int deep) {
  if (x->op == OP_CONST && dtype_is_float((Dtype)x->dtype)) return x->u.v.f == x->u.v.f ? x->u.v.f : -INFINITY;
  if (!dtype_is_float((Dtype)x->dtype) || !deep) return -INFINITY;
  switch (x->op) {
  case OP_VAR: return of_var(e, x, deep - 1);
  case OP_ADD: return of_sum(e, x, deep - 1);
  case OP_MUL: return of_product(e, x, deep - 1);
  case OP_MAX: return fmax(least(e, x->arg[0], deep - 1), least(e, x->arg[1], deep - 1));
  case OP_MIN: return fmin(least(e, x->arg[0], deep - 1), least(e, x->arg[1], deep - 1));
  case OP_SELECT: return fmin(least(e, x->arg[1], deep - 1), least(e, x->arg[2], deep - 1));
  case OP_ABS: case OP_EXP: case OP_EXP2: case OP_SQRT: return 0;
  default: return -INFINITY;
  }
}

double emit_least(Emit *e, const Expr *x) { return least(e, x, DEEP); }
