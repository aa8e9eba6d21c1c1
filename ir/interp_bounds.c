// interp_bounds.c: how far the compiled value may lie from the interpreted one. See Note [Bounds].
#include "ir/interp_int.h"
#include <float.h>
#include <math.h>

double unit_roundoff(Dtype t) { return t == DT_F64 ? 0x1p-53 : 0x1p-24; }

static double greatest_finite(Dtype t) { return t == DT_F64 ? DBL_MAX : (double)FLT_MAX; }

double scalar_double(Scalar v, Dtype t) {
  if (dtype_is_float(t)) return v.f;
  return dtypes[t].kind == 'I' ? (double)v.i : (double)v.u;
}

double val_error(const Val *a, Dtype t) {
  if (!dtype_is_float(t) || !isfinite(a->v.f)) return a->err;
  if (a->err == 0 && a->ops <= 2) return 0;          // nothing, or one operation on exact values: rounded alike
  double e = a->err + a->ops * unit_roundoff(t) * a->mag * (1 + 0x1p-20);
  return e + fabs(a->v.f) <= greatest_finite(t) ? e : INFINITY;
}

void bound_atom(Val *z, Dtype t) {
  bool real = dtype_is_float(t);
  z->ops = 0;
  z->mag = real && isfinite(z->v.f) ? fabs(z->v.f) : 0;
  if (!(z->err >= 0)) z->err = INFINITY;
}

// 0: NaN; ±2: infinite in type t; 1: finite; 3: so near the limit that rounding decides.
static int class_of(double x, Dtype t) {
  if (isnan(x)) return 0;
  if (t == DT_F64 || isinf(x)) return isinf(x) ? (x > 0 ? 2 : -2) : 1;
  if (fabs(x) <= (double)FLT_MAX * (1 - 1e-5)) return 1;
  return fabs(x) < (double)FLT_MAX * (1 + 1e-5) ? 3 : x > 0 ? 2 : -2;
}

static double spread_in(Dtype t, double mid, double lo, double hi) {
  int c = class_of(mid, t);
  if (c == 3 && lo == mid && hi == mid) return 0;
  if (c == 3 || class_of(lo, t) != c || class_of(hi, t) != c) return INFINITY;
  return c == 1 ? fmax(fabs(lo - mid), fabs(hi - mid)) : 0;
}

double bound_spread(double mid, double lo, double hi) { return spread_in(DT_F64, mid, lo, hi); }

// One unit in the last place of a value of magnitude x; next to a power of two the one beyond it.
static double ulp(double x, Dtype t) {
  int e, digits = t == DT_F64 ? 53 : 24, least = t == DT_F64 ? -1074 : -149;
  if (!isfinite(x) || x == 0) return ldexp(1, least);
  frexp(x * (1 + 0x1p-20), &e);
  return ldexp(1, e - digits < least ? least : e - digits);
}

// ---- functions

static double call(const Ins *i, double x, double y) {
  Scalar a[2] = {{.f = x}, {.f = y}};
  return i->fn(a, (Dtype)i->from).f;
}

// May the operation be coarse where only narrow results depend on it? The scalar functions that round, `**` among them.
static bool may_be_coarse(Op op) { return ops[op].callable && ops[op].rule == R_FLOAT && op != OP_FMA; }

// Error of the function itself, on both sides. The compiled one may flush what lies below the normal numbers.
static double own_error(const Ins *i, double z, double spread, double coarse) {
  Dtype t = (Dtype)i->to;
  double units = ops[i->e->op].ulp, size = fabs(z) + spread, e = 0;
  if (!isfinite(z) || (z == 0 && spread == 0)) return 0;           // special values are as in C's Annex F
  if (units > .5) e = (4 + (t == DT_F64 ? 1 : .5)) * ulp(size, t);     // language.md: within 4 ulp
  else if (units > 0 && spread > 0) e = ulp(size, t);
  if (may_be_coarse((Op)i->e->op)) e = fmax(e, coarse * size);
  if (units > .5 && t == DT_F32 && fabs(z) - e < 0x1p-126) e += 0x1p-126;
  return e;
}

static void finish_function(const Ins *i, double exact, double spread, double coarse, Val *z) {
  Dtype t = (Dtype)i->to;
  bool finite = isfinite(z->v.f), fragile = !finite && isfinite(exact);    // fragile: it overflowed when it was rounded
  double near_limit = fabs(fabs(exact) - greatest_finite(t)) / greatest_finite(t);
  z->err = finite ? spread + own_error(i, exact, spread, coarse) : spread;
  if (may_be_coarse((Op)i->e->op) && near_limit < 2 * coarse) z->err = INFINITY;
  bound_atom(z, t);
  z->ops = fragile;
}

// An infinity or NaN that comes of a fragile one is fragile.
static void inherit_fragile(const Val *a, Val *z) {
  if (!isfinite(z->v.f) && !isfinite(a->v.f)) z->ops = fmax(z->ops, a->ops);
}

static double cosh_spread(double x, double e, double mid, Dtype t) {
  double s = spread_in(t, mid, cosh(x - e), cosh(x + e));
  return fabs(x) < e ? fmax(s, fabs(mid - 1)) : s;
}

// The function's values over [x - e, x + e], as the greatest distance from the one at x.
static double spread_of(const Ins *i, double x, double e, double mid) {
  Dtype t = (Dtype)i->to;
  if (e == 0) return 0;
  if (e == INFINITY) return INFINITY;
  switch (i->e->op) {
  case OP_SIN: case OP_COS: return isfinite(x) ? fmin(e, 2) : 0;
  case OP_ABS: return isfinite(x) ? e : 0;
  case OP_COSH: return cosh_spread(x, e, mid, t);
  case OP_TAN: return fabs(cos(x)) > 2 * e ? spread_in(t, mid, call(i, x - e, 0), call(i, x + e, 0)) : INFINITY;
  default: return spread_in(t, mid, call(i, x - e, 0), call(i, x + e, 0));       // monotone
  }
}

static void bound_unary(const Ins *i, const Val *a, double exact, double coarse, Val *z) {
  double spread = spread_of(i, a->v.f, val_error(a, (Dtype)i->from), exact);
  finish_function(i, exact, spread, coarse, z);
  inherit_fragile(a, z);
}

// Extremes of a function that is monotone in each operand lie at the corners.
static double corners(const Ins *i, double x, double ex, double y, double ey, double mid) {
  Dtype t = (Dtype)i->to;
  double s = spread_in(t, mid, call(i, x - ex, y - ey), call(i, x + ex, y + ey));
  return fmax(s, spread_in(t, mid, call(i, x - ex, y + ey), call(i, x + ex, y - ey)));
}

static double pow_spread(const Ins *i, double x, double ex, double y, double ey, double mid) {
  if (ex == 0 && ey == 0) return 0;
  if (x - ex > 0 || (x == 0 && ex == 0 && y - ey > 0)) return corners(i, x, ex, y, ey, mid);
  bool power = ey == 0 && y == rint(y);                    // an integer power: monotone on each side of 0
  if (!power || (y < 0 && fabs(x) <= ex)) return INFINITY;
  double s = corners(i, x, ex, y, 0, mid);
  return fabs(x) <= ex ? fmax(s, fabs(mid)) : s;
}

static double atan2_spread(const Ins *i, double y, double ey, double x, double ex, double mid) {
  if (ex == 0 && ey == 0) return 0;
  bool crosses = fabs(y) <= ey && x - ex <= 0;             // the cut on the negative axis, or the origin
  return crosses ? 6.3 : corners(i, y, ey, x, ex, mid);
}

static double floordiv_spread(const Ins *i, double x, double ex, double y, double ey, double mid) {
  if (ex == 0 && ey == 0) return 0;
  return fabs(y) <= ey ? INFINITY : corners(i, x, ex, y, ey, mid);
}

// x - n·y, where n = x // y may differ by a step; the last two operations may be one.
static double mod_spread(double x, double ex, double y, double ey, Dtype t) {
  double u = 2 * unit_roundoff(t);
  if (fabs(y) <= ey && ey > 0) return INFINITY;
  if (!isfinite(x) || !isfinite(y) || y == 0) return ex == 0 && ey == 0 ? 0 : INFINITY;
  double q = x / y, eq = (ex + fabs(q) * ey) / (fabs(y) - ey) + fabs(q) * u, n = floor(q);
  if (floor(q - eq) == n && floor(q + eq) == n) return ex + fabs(n) * ey + u * (fabs(x) + fabs(n * y));
  if (ex == 0 && ey == 0) return u * (fabs(x) + fabs(n * y));
  return fabs(y) + ex + (fabs(n) + 1) * ey + u * (fabs(x) + fabs(n * y));
}

static double binary_spread(const Ins *i, const Val *const *a, double exact) {
  Dtype t = (Dtype)i->from;
  double x = a[0]->v.f, y = a[1]->v.f, ex = val_error(a[0], t), ey = val_error(a[1], t);
  if (ex == INFINITY || ey == INFINITY) return isnan(exact) && ((isnan(x) && ex == 0) || (isnan(y) && ey == 0)) ? 0 : INFINITY;
  switch (i->e->op) {
  case OP_POW: return pow_spread(i, x, ex, y, ey, exact);
  case OP_ATAN2: return atan2_spread(i, x, ex, y, ey, exact);
  case OP_FLOORDIV: return floordiv_spread(i, x, ex, y, ey, exact);
  case OP_MOD: return mod_spread(x, ex, y, ey, t);
  default: return corners(i, x, ex, y, ey, exact);         // min, max
  }
}

static bool is_exactly(const Val *a, double v) { return a->v.f == v && a->err == 0 && a->ops == 0; }

static void bound_binary(const Ins *i, const Val *const *a, double exact, double coarse, Val *z) {
  finish_function(i, exact, binary_spread(i, a, exact), coarse, z);
  inherit_fragile(a[0], z);
  inherit_fragile(a[1], z);
  if (i->e->op != OP_POW || !is_exactly(a[1], 2) || !isfinite(z->v.f)) return;
  double x = fabs(a[0]->v.f), e = a[0]->err;               // a square is a polynomial
  z->err = 2 * x * e + e * e + own_error(i, exact, 1e-300, coarse);
  z->mag = a[0]->mag * a[0]->mag;
  z->ops = 2 * a[0]->ops;
}

// ---- + - * /: polynomials

// Infinities and NaN. What comes of an operation on one that is fragile, or of an overflow, other algebra may avoid.
static void bound_odd(const Ins *i, const Val *const *a, double exact, Val *z) {
  Dtype t = (Dtype)i->to;
  bool fragile = false, exact_operands = true, sure_nan = false, finite = true;
  for (int k = 0; k < i->nargs; k++) {
    double v = a[k]->v.f, e = val_error(a[k], t);
    if (isnan(v) && e == 0 && a[k]->ops == 0) sure_nan = true;
    if (!isfinite(v)) finite = false, fragile |= a[k]->ops != 0;
    if (e != 0) exact_operands = false;
  }
  z->mag = 0;
  z->ops = !sure_nan && (finite || isnan(z->v.f));
  double spread = exact_operands ? 0 : INFINITY;
  if (!exact_operands && i->nargs == 2 && val_error(a[0], t) < INFINITY && val_error(a[1], t) < INFINITY)
    spread = corners(i, a[0]->v.f, val_error(a[0], t), a[1]->v.f, val_error(a[1], t), exact);
  z->err = sure_nan ? 0 : fragile ? INFINITY : spread;
  if (isfinite(z->v.f)) bound_atom(z, t);
}

// What ops and mag stand for, as an absolute error.
static double slack(const Val *a, Dtype t) { return a->ops * unit_roundoff(t) * a->mag; }

static void bound_sum(const Val *a, const Val *b, Val *z) {
  const Val *only = is_exactly(a, 0) ? b : is_exactly(b, 0) ? a : NULL;
  z->err = a->err + b->err;
  z->mag = a->mag + b->mag;
  z->ops = only ? only->ops : a->ops + b->ops + 2;
}

static bool is_power_of_two(const Val *a) {
  int e;
  return a->err == 0 && a->ops == 0 && fabs(frexp(a->v.f, &e)) == .5;
}

static void bound_product(const Val *a, const Val *b, Dtype t, Val *z) {
  double x = fabs(a->v.f), y = fabs(b->v.f);
  bool exact = is_power_of_two(a) || is_power_of_two(b);
  z->err = x * b->err + y * a->err + a->err * b->err + slack(a, t) * b->err + slack(b, t) * a->err;
  z->mag = a->mag * b->mag;
  z->ops = a->ops + b->ops + (exact ? 0 : 2);
  if (fabs(z->v.f) < 0x1p-126 && z->mag != 0) z->err += t == DT_F64 ? 0x1p-1074 : 0x1p-149;
}

static void bound_quotient(const Ins *i, const Val *a, const Val *b, double exact, Val *z) {
  Dtype t = (Dtype)i->to;
  double y = fabs(b->v.f), e = val_error(b, t);
  if (y <= e) { z->err = INFINITY; return; }
  bool is_exact = is_power_of_two(b);
  z->err = (a->err + fabs(exact) * e) / (y - e);
  z->mag = a->mag / (y - e);
  z->ops = a->ops + (is_exact ? 0 : 2);
  if (fabs(z->v.f) < 0x1p-126 && z->mag != 0) z->err += t == DT_F64 ? 0x1p-1074 : 0x1p-149;
}

static void bound_negation(const Val *a, Val *z) { *z = (Val){z->v, a->err, a->mag, a->ops}; }

static void bound_fma(const Ins *i, const Val *const *a, Val *z) {
  Dtype t = (Dtype)i->to;
  Val product = {.v = {.f = a[0]->v.f * a[1]->v.f}};
  bound_product(a[0], a[1], t, &product);
  bound_sum(&product, a[2], z);
  if (z->err == 0 && a[0]->ops == 0 && a[1]->ops == 0 && a[2]->ops == 0) z->ops = 2;       // rounded once on both sides
}

static void bound_polynomial(const Ins *i, const Val *const *a, double exact, Val *z) {
  bool odd = !isfinite(z->v.f);
  for (int k = 0; k < i->nargs; k++) odd |= !isfinite(a[k]->v.f);
  if (odd && i->e->op != OP_NEG) { bound_odd(i, a, exact, z); return; }
  switch (i->e->op) {
  case OP_ADD: case OP_SUB: bound_sum(a[0], a[1], z); break;
  case OP_MUL: bound_product(a[0], a[1], (Dtype)i->to, z); break;
  case OP_DIV: bound_quotient(i, a[0], a[1], exact, z); break;
  case OP_FMA: bound_fma(i, a, z); break;
  default: bound_negation(a[0], z); break;
  }
  if (!(z->err >= 0) || isnan(z->mag) || isnan(z->ops)) z->err = INFINITY, z->mag = z->ops = 0;
}

// ---- integers and tests

static double greatest_integer(Dtype t) {
  return t == DT_I32 ? (double)INT32_MAX : t == DT_U32 ? (double)UINT32_MAX : t == DT_I64 ? 0x1p63 : 0x1p64;
}

// Integers are exact unless they come of an uncertain float; then + - * and the like are followed, others are not.
static void bound_integer(const Ins *i, const Val *const *a, Val *z) {
  Dtype t = (Dtype)i->to;
  double x = fabs(scalar_double(a[0]->v, t)), ex = a[0]->err, y = 0, ey = 0;
  if (i->nargs > 1) y = fabs(scalar_double(a[1]->v, t)), ey = a[1]->err;
  z->err = 0;
  if (ex == 0 && ey == 0) return;
  switch (i->e->op) {
  case OP_ADD: case OP_SUB: z->err = ex + ey; break;
  case OP_MUL: z->err = x * ey + y * ex + ex * ey; break;
  case OP_MIN: case OP_MAX: z->err = fmax(ex, ey); break;
  case OP_NEG: case OP_ABS: case OP_BITNOT: z->err = ex; break;
  default: z->err = INFINITY; break;
  }
  if (!(fabs(scalar_double(z->v, t)) + z->err < greatest_integer(t)) || (dtypes[t].kind == 'U' && scalar_double(z->v, t) < z->err))
    z->err = INFINITY;                                     // it may wrap
}

static void bound_compare(const Ins *i, const Val *const *a, Val *z) {
  Dtype t = (Dtype)i->from;
  double x = scalar_double(a[0]->v, t), y = scalar_double(a[1]->v, t), e = val_error(a[0], t) + val_error(a[1], t);
  bool nan = (isnan(x) && val_error(a[0], t) == 0) || (isnan(y) && val_error(a[1], t) == 0);
  z->err = nan || e == 0 || fabs(x - y) > e ? 0 : INFINITY;
}

static void bound_test(const Ins *i, const Val *const *a, Val *z) {
  Dtype t = (Dtype)i->from;
  bool certain = i->e->op == OP_NOT ? a[0]->err == 0 : val_error(a[0], t) < INFINITY;
  z->err = certain ? 0 : INFINITY;
}

void bound_op(const Ins *i, const Val *const *a, double exact, double coarse, Val *z) {
  switch (ops[i->e->op].rule) {
  case R_COMPARE: bound_compare(i, a, z); return;
  case R_TEST: case R_LOGIC: bound_test(i, a, z); return;
  default: break;
  }
  if (!dtype_is_float((Dtype)i->from)) { bound_integer(i, a, z); return; }
  switch (i->e->op) {
  case OP_ADD: case OP_SUB: case OP_MUL: case OP_DIV: case OP_FMA: case OP_NEG: bound_polynomial(i, a, exact, z); return;
  default: break;
  }
  if (i->nargs == 1) bound_unary(i, a[0], exact, coarse, z);
  else bound_binary(i, a, exact, coarse, z);
}

// ---- casts and stores

static Scalar shifted(Scalar v, Dtype t, double by) {
  if (dtype_is_float(t)) return (Scalar){.f = v.f + by};
  double x = scalar_double(v, t) + by;
  return dtype_cast((Scalar){.f = x}, DT_F64, t);
}

// Rounding and truncation are monotone: the ends of the operand's range show how far the result may move.
void bound_cast(Dtype from, Dtype to, const Val *a, Val *z) {
  double e = val_error(a, from);
  Dtype wide = dtype_wide(to);
  double mid = scalar_double(z->v, wide);
  z->err = 0;
  if (e == INFINITY) z->err = INFINITY;
  else if (e != 0 && dtype_is_int(from) && dtype_is_int(to))
    z->err = dtype_cast(dtype_cast(a->v, from, to), wide, from).u == a->v.u ? e : INFINITY;
  else if (e != 0) {
    double lo = scalar_double(dtype_cast(shifted(a->v, from, -e), from, to), wide);
    double hi = scalar_double(dtype_cast(shifted(a->v, from, e), from, to), wide);
    z->err = to == DT_BOOL ? (lo == mid && hi == mid && fabs(scalar_double(a->v, from)) > e ? 0 : INFINITY) : bound_spread(mid, lo, hi);
  }
  double ops_before = a->ops;
  bound_atom(z, wide);
  if (dtype_is_float(from) && !isfinite(a->v.f) && dtype_is_float(to)) z->ops = ops_before;
}

// Note [Bounds]
// ~~~~~~~~~~~~~
// language.md lets a compiler do four things: reassociate sums and products, round a * b + c once, move a factor into
// or out of a sum or mean, and compute a reduction that reads another one over the same index in the same pass. Its
// functions may be off by 4 ulp, or by 2^-12 or 2^-15 where only bf16/f8 or f16 results depend on them. A bound on
// |compiled - interpreted| has to hold for any such compiler, and should be little larger, or tests cannot fail.
//
// Each value carries err, mag and ops. The value is seen as a polynomial (with + - * /) of atoms: what was read, and
// results of functions, reductions, casts and stores. err is how far the atoms' own errors can move it: the usual first
// derivatives, with the second-order term. mag is the polynomial with every term's absolute value, and ops counts
// roundings, the interpreter's and the compiled one's, so that in any order, contracted or not, distributed or not,
// rounding contributes at most ops · u · mag with u = 2^-24 (2^-53 for f64) [Higham, Accuracy and Stability, ch. 3;
// without the 1/(1 - n·u): Jeannerod & Rump 2013]. Cancellation is what mag is for: (a - b) + c may be computed as
// a + (c - b), which rounds at the size of b.
//
// - A single operation on exact values is rounded alike on both sides: err 0 (ops counts two roundings for it, one a side).
// - The value of a function, of min, max or abs, and whatever is cast or stored in a declared type is an atom:
//   algebra does not cross it. A local without a declared type is not: its err, mag and ops are kept with it.
// - Functions: their values at both ends of the operand's range (they are monotone, or are treated one by one), plus 4
//   ulp and half of one for the interpreter; 2^-126 where the result may be flushed.
// - sum of n terms: sum of the errs, plus (n - 1 + ops of the terms + 2) · u · (sum of the mags) for the compiled side;
//   the interpreter's own rounding is known, since it sums in double beside. The 2 is for factors that move. A sum
//   whose term reads a reduction may be computed in one pass by rescaling: 11 · (2 + log2 n) roundings more, for the
//   merges of a tree. A running sum that is rescaled at each of n steps has more in the worst case, but then with
//   random signs, far below the n · u that the sum has anyway. No order overflows while the sum of the mags is a finite f32
//   (f64): every partial sum, of any of the terms, is at most that. Beyond it the sum is uncertain.
// - max, min: from the near ends of the terms to the far ends. argmax, argmin: certain when no other term's far end
//   reaches the winner's near end, or all is exact.
// - A sum of sums is taken as written: that a compiler makes one long chain of additions of both is not counted.
// - Casts, stores, floor and comparisons: how far the result moves over the operand's range; a bool that may change
//   is uncertain (err infinite). `if` with an uncertain condition evaluates both branches, and the error covers both;
//   so do `and`, `or` and filters. An uncertain subscript makes its element uncertain.
// - Infinities and NaN (err 0: the compiled value must be the same). Those that algebra may avoid or make are
//   fragile (ops 1): inf * 0, inf - inf, an overflow. A sum, or another + - * / on one of these, is uncertain; a NaN
//   that was read stays NaN. Where the direct evaluation stays finite the language promises that the compiled does, but
//   for sums of which that was said.
// - Left out: underflow inside a reassociated product of operators (of prod it is considered), and bounds that go through an
//   uncertain subscript of a store (the whole tensor is uncertain then).
