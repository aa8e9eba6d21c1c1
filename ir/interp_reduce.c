// interp_reduce.c: reductions, term by term, in the order of the index.
#include "ir/interp_int.h"
#include <float.h>
#include <math.h>

static Reducer reducer_of(const Ins *i) { return i->e->u.bind->reducer; }

void reduce_begin(Red *r, const Ins *i) {
  Reducer red = reducer_of(i);
  *r = (Red){.counted = true, .exact = red == RED_PROD, .mag = red == RED_PROD, .partial = 1, .lo = -INFINITY, .hi = -INFINITY};
  if (!reducers[red].arg) r->acc = reducers[red].identity((Dtype)i->to);
}

// ---- values

static bool is_nan(Scalar v, Dtype t) { return dtype_is_float(t) && isnan(v.f); }

// Is a a better extreme than b? A NaN beats all, and the first of equals stays.
static bool beats(Scalar a, Scalar b, Dtype t, bool greatest) {
  if (is_nan(b, t)) return false;
  if (is_nan(a, t)) return true;
  if (dtype_is_float(t)) return greatest ? a.f > b.f : a.f < b.f;
  if (dtypes[t].kind == 'I') return greatest ? a.i > b.i : a.i < b.i;
  return greatest ? a.u > b.u : a.u < b.u;
}

static bool arg_value(Red *r, const Ins *i, Scalar v, int64_t at) {
  if (r->n > 0 && !beats(v, r->acc, (Dtype)i->from, reducer_of(i) == RED_ARGMAX)) return false;
  r->acc = v;
  r->at = at;
  return true;
}

static void fold_value(Red *r, const Ins *i, Scalar v) {
  Scalar pair[2] = {r->acc, v};
  r->acc = settled(i->fn(pair, (Dtype)i->to), (Dtype)i->to);
}

static void logic_value(Red *r, const Ins *i, Scalar v) {
  bool any = reducer_of(i) == RED_ANY, a = r->acc.u, b = v.u;
  r->acc = (Scalar){.u = any ? a || b : a && b};
}

// ---- bounds of a term: Note [Bounds] in interp_bounds.c

// A term that is not finite stays what it is under any algebra when it has no err and ops 0.
static void odd_term(Red *r, const Val *t) {
  r->odd = true;
  if (t->err != 0 || t->ops != 0 || r->maybe) r->fragile = true;
  else if (isnan(t->v.f)) r->nan = true;
}

static void sum_bound(Red *r, const Val *t, Dtype type) {
  double v = scalar_double(t->v, type);
  if (!isfinite(v)) { odd_term(r, t); return; }
  if (r->counted) r->exact += v;
  r->err += r->maybe ? fabs(v) + val_error(t, type) : t->err;
  r->mag += t->mag;
  r->ops = fmax(r->ops, t->ops);
}

static void prod_bound(Red *r, const Val *t, Dtype type) {
  double v = scalar_double(t->v, type), e = val_error(t, type), p = fabs(r->exact);
  if (!isfinite(v)) { odd_term(r, t); return; }
  r->err = p * (r->maybe ? e + fabs(v) + 1 : t->err) + fabs(v) * r->err + r->err * e;
  if (r->counted) r->exact *= v;
  r->mag *= t->mag;
  r->ops += t->ops + 2;
  if (fabs(v) < 1) r->partial *= fabs(v);
}

static bool least(const Ins *i) { return reducer_of(i) == RED_MIN || reducer_of(i) == RED_ARGMIN; }

// The compiled extreme lies between the extreme of the near ends of the terms that count for sure, and that of all
// far ends.
static void extreme_bound(Red *r, const Ins *i, const Val *t) {
  Dtype type = (Dtype)i->from;
  double v = (least(i) ? -1 : 1) * scalar_double(t->v, type), e = val_error(t, type);
  r->err += e + r->maybe;
  if (isnan(v) && e == 0 && !r->maybe) r->nan = true;
  else if (isnan(v) || e == INFINITY) r->fragile = true;
  if (!r->maybe) r->lo = fmax(r->lo, v - e);
  r->hi = fmax(r->hi, v + e);
}

// Called after the value was taken: `wins` when the term is the extreme now.
static void arg_bound(Red *r, const Ins *i, const Val *t, int64_t at, bool wins) {
  Dtype type = (Dtype)i->from;
  double v = (least(i) ? -1 : 1) * scalar_double(t->v, type), e = val_error(t, type);
  r->err += e + r->maybe;
  if (e == INFINITY || (isnan(v) && r->maybe)) r->fragile = true;
  if (wins) r->near = r->maybe ? -INFINITY : v - e;
  if (!r->some || v + e > r->far[0]) {
    r->far[1] = r->some ? r->far[0] : -INFINITY;
    r->far[0] = v + e;
    r->far_at = at;
  } else {
    r->far[1] = fmax(r->far[1], v + e);
  }
  r->some = true;
}

static void logic_bound(Red *r, const Ins *i, const Val *t) {
  bool decides = t->v.u == (reducer_of(i) == RED_ANY);
  if (t->err != 0 || (r->maybe && decides)) r->fragile = true;
  else if (decides) r->sure = true;
}

static void term_bound(Red *r, const Ins *i, const Val *t, int64_t at, bool wins) {
  switch (reducer_of(i)) {
  case RED_SUM: case RED_MEAN: sum_bound(r, t, (Dtype)i->to); return;
  case RED_PROD: prod_bound(r, t, (Dtype)i->to); return;
  case RED_MAX: case RED_MIN: extreme_bound(r, i, t); return;
  case RED_ARGMAX: case RED_ARGMIN: arg_bound(r, i, t, at, wins); return;
  default: logic_bound(r, i, t); return;
  }
}

void reduce_step(const Vm *vm, Red *r, const Ins *i, const Val *term, int64_t at) {
  Val t = *term;
  Reducer red = reducer_of(i);
  bool wins = false, logic = red == RED_ANY || red == RED_ALL;
  if (!reducers[red].arg && i->from != i->to) {            // mean of integers; sum of bool
    t.v = dtype_cast(term->v, (Dtype)i->from, (Dtype)i->to);
    if (vm->bounds) bound_cast((Dtype)i->from, (Dtype)i->to, term, &t);
  }
  if (r->counted) {
    if (reducers[red].arg) wins = arg_value(r, i, t.v, at);
    else if (logic) logic_value(r, i, t.v);
    else fold_value(r, i, t.v);
    r->n++;
  }
  r->most++;
  if (vm->bounds) term_bound(r, i, &t, at, wins);
}

// ---- bounds of the value

static double greatest_finite(Dtype t) { return t == DT_F64 ? DBL_MAX : (double)FLT_MAX; }
static double least_normal(Dtype t) { return t == DT_F64 ? DBL_MIN : (double)FLT_MIN; }

// A sum or product that is not finite, or has a term that is not. A NaN term makes NaN of both in any order.
static double odd_error(const Red *r, const Val *z, Dtype t, bool rescales) {
  if (r->nan && isnan(z->v.f)) return 0;
  if (!r->odd || r->fragile || rescales || r->mag > greatest_finite(t)) return INFINITY;
  return 0;
}

// What rescaling a running sum may add: each of about log2(n) merges multiplies by one more exponential, 4 ulp, and
// subtracts in its argument.
static double rescale_ops(double n) { return (2 * 4 + 3) * (2 + log2(n)); }

// Few terms: the sum is a polynomial of what its terms are. More: an atom with an error of its own; the interpreter's
// part of it is known, the compiled one's holds for any order, two factors moved into or out of it included.
static void sum_error(const Red *r, const Ins *i, Val *z) {
  Dtype t = (Dtype)i->to;
  bool rescales = i->m;
  *z = (Val){.v = z->v, .err = r->err, .mag = r->mag, .ops = r->ops};
  if (!dtype_is_float(t)) { z->mag = z->ops = 0; return; }
  if (r->odd || !isfinite(z->v.f)) {
    z->err = odd_error(r, z, t, rescales);
    z->ops = isnan(z->v.f) && !r->nan;
    return;
  }
  if (r->most <= 1) return;
  if (r->most == 2 && r->ops == 0 && !rescales) { z->ops = 2; return; }
  if (r->mag + r->err > greatest_finite(t)) { z->err = INFINITY; return; }      // another order may pass through an infinity
  double own = t == DT_F32 ? fabs(z->v.f - r->exact) : (r->most - 1) * unit_roundoff(t) * r->mag;
  double theirs = r->most - 1 + r->ops + 2 + (rescales ? rescale_ops(r->most) : 0);
  z->err += own + theirs * unit_roundoff(t) * r->mag;
  bound_atom(z, t);
}

static void mean_error(const Red *r, const Ins *i, Val *z) {
  Dtype t = (Dtype)i->to;
  Val sum = {.v = r->acc};
  int exponent;
  sum_error(r, i, &sum);
  *z = (Val){.v = z->v, .err = sum.err, .mag = sum.mag, .ops = sum.ops};
  if (r->most != r->n) { z->err = INFINITY; return; }
  if (r->n == 0 || !isfinite(z->v.f)) return;
  z->err /= r->n;
  z->mag /= r->n;
  if (frexp(r->n, &exponent) != .5) z->ops += 4;           // by a division or by a product with 1 / n
  (void)t;
}

static void prod_error(const Red *r, const Ins *i, Val *z) {
  Dtype t = (Dtype)i->to;
  *z = (Val){.v = z->v, .err = r->err, .mag = r->mag, .ops = r->ops - 2};
  if (!dtype_is_float(t)) { *z = (Val){.v = z->v, .err = r->err != 0 ? INFINITY : 0}; return; }
  if (r->most == 0) { bound_atom(z, t); z->ops = 0; return; }
  if (r->odd || !isfinite(z->v.f)) {
    z->err = odd_error(r, z, t, true);
    z->ops = 0;
  } else if (r->most > 1 && r->partial < least_normal(t) && r->mag != 0) {
    z->err = INFINITY;                                     // another order may lose everything to underflow
  }
}

static void extreme_error(const Red *r, const Ins *i, Val *z) {
  Dtype t = (Dtype)i->to;
  double v = (least(i) ? -1 : 1) * scalar_double(z->v, t);
  if (r->err == 0 || (r->nan && isnan(v))) z->err = 0;
  else if (r->fragile || isnan(v)) z->err = INFINITY;
  else z->err = fmax(v == r->lo ? 0 : v - r->lo, v == r->hi ? 0 : r->hi - v);
  bound_atom(z, t);
}

// The index is certain when everything is exact, or no other term's far end reaches the winner's near end.
static void arg_error(const Red *r, const Ins *i, Val *z) {
  double rival = r->far_at == r->at ? r->far[1] : r->far[0];
  bool nan = is_nan(r->acc, (Dtype)i->from);
  z->err = r->err == 0 || (!r->fragile && (nan || rival < r->near)) ? 0 : INFINITY;
}

static void value_bound(const Red *r, const Ins *i, Val *z) {
  switch (reducer_of(i)) {
  case RED_SUM: sum_error(r, i, z); break;
  case RED_MEAN: mean_error(r, i, z); break;
  case RED_PROD: prod_error(r, i, z); break;
  case RED_MAX: case RED_MIN: extreme_error(r, i, z); break;
  case RED_ARGMAX: case RED_ARGMIN: arg_error(r, i, z); break;
  default: z->err = r->sure || !r->fragile ? 0 : INFINITY; break;
  }
  if (r->poison) z->err = INFINITY;
}

bool reduce_end(const Vm *vm, Red *r, const Ins *i, Val *out) {
  const ReduceInfo *info = &reducers[reducer_of(i)];
  Dtype t = (Dtype)i->to;
  if (info->arg && r->n == 0) return false;
  out->v = info->arg ? (Scalar){.i = r->at} : r->acc;
  if (info->counts) out->v.f /= r->n;
  out->v = settled(out->v, t);
  if (vm->bounds) value_bound(r, i, out);
  return true;
}
