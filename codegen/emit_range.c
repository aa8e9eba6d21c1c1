// emit_range.c: which values integer expressions can have, so that index arithmetic prints plainly.
//
// Integers of the language wrap, signed ones of C must not overflow. Where the ranges of operands show that an
// operation stays inside its type it prints as `a * b`, else on unsigned operands. Dimensions are at most LIMIT_EXTENT,
// and so is the product of the extents of a tensor: `i * D + j` is known to fit when some tensor is [N, D].
#include "base/limits.h"
#include "codegen/emit.h"
#include <math.h>
#include <string.h>

enum { MAX_FACTORS = 16 };

// Bounds of a dtype's stored values.
static Range range_of_type(Dtype d) {
  if (d == DT_BOOL) return (Range){0, 1};
  if (dtypes[d].kind == 'U') return (Range){0, ldexp(1, dtypes[d].bits) - 1};
  if (dtypes[d].kind == 'I') return (Range){-ldexp(1, dtypes[d].bits - 1), ldexp(1, dtypes[d].bits - 1) - 1};
  return (Range){-INFINITY, INFINITY};
}

static bool inside(Range a, Range b) { return a.lo >= b.lo && a.hi <= b.hi; }

// 2^63 - 1 is 2^63 as a double; sums and products that come near it count as overflow.
static bool fits_type(Range r, Dtype d) {
  if (d == DT_I64) return r.lo > -0x1p62 && r.hi < 0x1p62;
  return inside(r, range_of_type(d));
}

// The factors of a product; false when there are too many.
static bool factors_of(const Expr *x, const Expr **f, int *n) {
  if (x->op == OP_MUL) return factors_of(x->arg[0], f, n) && factors_of(x->arg[1], f, n);
  if (*n == MAX_FACTORS) return false;
  f[(*n)++] = x;
  return true;
}

// Removes from f the dimensions that are factors of t's extents, each as often as it stands there.
static int strike_extents(const Tensor *t, const Expr **f, int n) {
  const Expr *g[MAX_FACTORS];
  int m = 0;
  for (int k = 0; k < t->rank; k++)
    if (!factors_of(t->extent[k], g, &m)) break;
  for (int i = 0; i < m; i++) {
    int k = 0;
    while (k < n && f[k] != g[i]) k++;
    if (k < n) f[k] = f[--n];
  }
  return n;
}

// Plans have thousands of tensors of a few shapes.
static void find_shapes(Emit *e) {
  const Fn *f = e->p->fn;
  Map seen = map_make(e->a);
  for (int i = 0; i < f->tensors.n; i++) {
    const Tensor *t = f->tensors.v[i];
    uint64_t shape = hash_bytes(t->extent, (size_t)t->rank * sizeof *t->extent, 0);
    const Tensor *same = map_get(&seen, shape);
    if (same && same->rank == t->rank && memcmp(same->extent, t->extent, (size_t)t->rank * sizeof *t->extent) == 0) continue;
    if (!same) map_put(&seen, shape, (void *)(uintptr_t)t);
    vec_push(e->a, &e->shapes, t);
  }
}

// A product is at most the elements of a tensor that has all its dimensions as extents. An index counts as the
// dimension that bounds it.
static double product_bound(Emit *e, const Expr *x) {
  const Expr *f[MAX_FACTORS], *rest[MAX_FACTORS];
  int n = 0;
  double scale = 1;
  if (!factors_of(x, f, &n)) return INFINITY;
  for (int k = 0; k < n; k++) {
    const Stmt *loop = f[k]->op == OP_INDEX ? map_getp(&e->loops, f[k]->u.ix) : NULL;
    if (loop) f[k] = loop->hi;
    if (emit_range(e, f[k]).lo < 0) return INFINITY;
    if (f[k]->op != OP_CONST) continue;
    scale *= (double)f[k]->u.v.i;
    f[k--] = f[--n];
  }
  double best = INFINITY;
  if (!e->shapes.n) find_shapes(e);
  for (int i = 0; i < e->shapes.n; i++) {
    for (int k = 0; k < n; k++) rest[k] = f[k];
    int left = strike_extents(e->shapes.v[i], rest, n);
    double bound = scale * (double)LIMIT_EXTENT;
    for (int k = 0; k < left; k++) bound *= emit_range(e, rest[k]).hi;
    if (bound < best) best = bound;
  }
  return best;
}

static Range hull(Range a, Range b) { return (Range){fmin(a.lo, b.lo), fmax(a.hi, b.hi)}; }

static double product(double a, double b) { return a == 0 || b == 0 ? 0 : a * b; }

static Range range_mul(Emit *e, const Expr *x, Range a, Range b) {
  double p = product(a.lo, b.lo), q = product(a.lo, b.hi), r = product(a.hi, b.lo), s = product(a.hi, b.hi);
  Range m = {fmin(fmin(p, q), fmin(r, s)), fmax(fmax(p, q), fmax(r, s))};
  if (m.lo >= 0 && m.hi >= 0x1p62) m.hi = fmin(m.hi, product_bound(e, x));
  return m;
}

// Of the operation before it wraps.
static Range range_unwrapped(Emit *e, const Expr *x) {
  Range a = emit_range(e, x->arg[0]), b = x->nargs > 1 ? emit_range(e, x->arg[1]) : a;
  switch (x->op) {
  case OP_ADD: return (Range){a.lo + b.lo, a.hi + b.hi};
  case OP_SUB: return (Range){a.lo - b.hi, a.hi - b.lo};
  case OP_MUL: return range_mul(e, x, a, b);
  case OP_NEG: return (Range){-a.hi, -a.lo};
  default: return (Range){-INFINITY, INFINITY};
  }
}

static Range range_shift(Range a, Range b) {
  if (a.lo < 0 || b.lo < 0) return (Range){-INFINITY, INFINITY};
  return (Range){0, floor(ldexp(a.hi, -(int)fmin(b.lo, 64)))};
}

static Range range_op(Emit *e, const Expr *x) {
  const Range any = {-INFINITY, INFINITY};
  if (ops[x->op].props & OP_WRAPS) return range_unwrapped(e, x);
  Range a = x->nargs > 0 ? emit_range(e, x->arg[0]) : any, b = x->nargs > 1 ? emit_range(e, x->arg[1]) : any;
  switch (x->op) {
  case OP_FLOORDIV: return a.lo >= 0 && b.lo >= 0 ? (Range){0, floor(a.hi / fmax(b.lo, 1))} : any;
  case OP_MOD: return b.lo >= 0 ? (Range){0, fmax(b.hi - 1, 0)} : any;
  case OP_MIN: return (Range){fmin(a.lo, b.lo), fmin(a.hi, b.hi)};
  case OP_MAX: return (Range){fmax(a.lo, b.lo), fmax(a.hi, b.hi)};
  case OP_SELECT: return hull(b, emit_range(e, x->arg[2]));
  case OP_BITAND: return a.lo >= 0 && b.lo >= 0 ? (Range){0, fmin(a.hi, b.hi)} : a.lo >= 0 ? (Range){0, a.hi} : b.lo >= 0 ? (Range){0, b.hi} : any;
  case OP_SHR: return range_shift(a, b);
  case OP_POPCOUNT: return (Range){0, 64};
  case OP_CAST: return dtype_is_float((Dtype)x->arg[0]->dtype) || !fits_type(a, (Dtype)x->aux) ? range_of_type((Dtype)x->aux) : a;
  default: return any;
  }
}

static Range range_index(Emit *e, const Expr *x) {
  const Stmt *loop = map_getp(&e->loops, x->u.ix);
  if (!loop) return range_of_type(DT_I64);
  return (Range){emit_range(e, loop->lo).lo, emit_range(e, loop->hi).hi - 1};
}

static Range range_of_dim(Emit *e, const Dim *d) {
  const Grid *g = e->kernel ? e->kernel->grid : NULL;
  for (int i = 0; g && i < g->some.n; i++)
    if (g->some.v[i] == d) return (Range){1, (double)LIMIT_EXTENT};
  return (Range){0, (double)LIMIT_EXTENT};
}

static Range range_new(Emit *e, const Expr *x) {
  switch (x->op) {
  case OP_CONST: {
    double v = dtypes[x->dtype].kind == 'I' ? (double)x->u.v.i : (double)x->u.v.u;
    return (Range){v, v};
  }
  case OP_DIM: return range_of_dim(e, x->u.dim);
  case OP_INDEX: return range_index(e, x);
  case OP_READ: return range_of_type(x->u.t->dtype);
  case OP_FIELD: return range_of_type(x->u.t->fmt->field[x->aux].dtype);
  case OP_VAR: {
    const Range *let = map_getp(&e->ranges, x->u.var);
    return let ? *let : range_of_type((Dtype)x->dtype);
  }
  default: return range_op(e, x);
  }
}

Range emit_range(Emit *e, const Expr *x) {
  Dtype d = (Dtype)x->dtype;
  const Range *known = map_getp(&e->ranges, x);
  if (known) return *known;
  Range r = dtype_is_float(d) ? range_of_type(d) : range_new(e, x);
  if (!dtype_is_float(d) && !fits_type(r, d)) r = range_of_type(d);
  Range *kept = arena_new(e->a, Range);
  *kept = r;
  map_putp(&e->ranges, x, kept);
  return r;
}

bool emit_fits(Emit *e, const Expr *x) { return fits_type(range_unwrapped(e, x), (Dtype)x->dtype); }
