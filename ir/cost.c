#include "ir/cost.h"
#include "ir/affine.h"
#include "ir/rewrite.h"
#include <math.h>

// ---- small arithmetic on expressions -----------------------------------------------------------

static Expr *num(ExprTable *x, int64_t v) { return expr_int(x, DT_I64, v, NO_SPAN); }

static Expr *times(ExprTable *x, Expr *a, Expr *b) {
  if (expr_is_const(a) && expr_is_const(b)) {
    int64_t v;
    return num(x, __builtin_mul_overflow(a->u.v.i, b->u.v.i, &v) ? INT64_MAX : v);
  }
  return expr_is_int(a, 1) ? b : expr_is_int(b, 1) ? a : expr_is_const(b) ? expr_op2(x, OP_MUL, b, a, NO_SPAN) : expr_op2(x, OP_MUL, a, b, NO_SPAN);
}

static Expr *plus(ExprTable *x, Expr *a, Expr *b) {
  if (!a) return b;
  if (!b) return a;
  if (expr_is_const(a) && expr_is_const(b)) return num(x, a->u.v.i + b->u.v.i);
  return expr_is_int(a, 0) ? b : expr_is_int(b, 0) ? a : expr_op2(x, OP_ADD, a, b, NO_SPAN);
}

static Expr *least(ExprTable *x, Expr *a, Expr *b) {
  if (a == b) return a;
  if (expr_is_const(a) && expr_is_const(b)) return a->u.v.i < b->u.v.i ? a : b;
  return expr_op2(x, OP_MIN, a, b, NO_SPAN);
}

// Bytes of a box of the tensor with these counts along its dimensions (NULL: the whole).
static Expr *box_bytes(ExprTable *x, const Tensor *t, Expr *const *count) {
  Expr *n = num(x, 1);
  for (int d = 0; d < t->rank; d++) n = times(x, n, count ? count[d] : t->extent[d]);
  if (t->fmt) return times(x, num(x, t->fmt->bytes), expr_op2(x, OP_FLOORDIV, n, num(x, t->fmt->block), NO_SPAN));
  int bits = dtypes[t->dtype].bits;
  return bits < 8 ? expr_op2(x, OP_FLOORDIV, n, num(x, 8 / bits), NO_SPAN) : times(x, n, num(x, bits / 8));
}

Expr *cost_tensor_bytes(ExprTable *x, const Tensor *t) { return box_bytes(x, t, NULL); }

// ---- which elements an expression reads --------------------------------------------------------

typedef struct Range { Expr *lo, *hi; } Range;

typedef struct Region { Expr *lo[8], *hi[8], *count[8]; } Region;      // lo, hi: the interval along each dimension, as a key
typedef struct Touched { Tensor *t; VEC(Region) regions; bool whole; } Touched;

typedef struct Count {
  Fn *f; ExprTable *x; Arena *a;
  Map range;            // Index → Range
  Ranges *facts;
  VEC(Touched) touched;
  const bool *defined;  // by tensor id (of the root): made by the set itself
} Count;

static void note_ranges(void *cx, Expr *e) {
  Count *c = cx;
  if (e->op != OP_REDUCE) return;
  for (int k = 0; k < e->u.bind->n; k++) {
    Range *r = arena_new(c->a, Range);
    *r = (Range){ reduce_lo(e, k), reduce_hi(e, k) };
    map_putp(&c->range, e->u.bind->ix[k], r);
    ranges_index(c->facts, e->u.bind->ix[k], r->lo, r->hi);
  }
}

// Steps of an index; NULL where they depend on data or other indices.
static Expr *steps(Count *c, const Index *ix) {
  Range *r = map_getp(&c->range, ix);
  if (!r || !ranges_is_box(c->facts, ix)) return NULL;
  return expr_is_int(r->lo, 0) ? r->hi : expr_op2(c->x, OP_SUB, r->hi, r->lo, NO_SPAN);
}

typedef struct Used { Count *c; Expr *product; bool unknown, is_extent; const Expr *extent; } Used;

static void use_index(void *cx, Expr *e) {
  Used *u = cx;
  if (e->op != OP_INDEX || u->unknown) return;
  Expr *n = steps(u->c, e->u.ix);
  if (!n) { u->unknown = true; return; }
  u->is_extent |= n == u->extent;
  u->product = times(u->c->x, u->product, n);
}

// How many values a subscript takes, at most the extent.
static Expr *distinct(Count *c, Expr *sub, Expr *extent) {
  Used u = { c, num(c->x, 1), false, false, extent };
  expr_visit(c->a, sub, use_index, &u);
  if (u.unknown || u.is_extent) return extent;
  return least(c->x, u.product, extent);
}

static Touched *touched(Count *c, Tensor *t) {
  for (int i = 0; i < c->touched.n; i++) if (c->touched.v[i].t == t) return &c->touched.v[i];
  vec_push(c->a, &c->touched, (Touched){ .t = t });
  return &c->touched.v[c->touched.n - 1];
}

static bool same_region(const Region *a, const Region *b, int rank) {
  for (int d = 0; d < rank; d++) if (a->lo[d] != b->lo[d] || a->hi[d] != b->hi[d]) return false;
  return true;
}

static void note_read(void *cx, Expr *e) {
  Count *c = cx;
  if (e->op != OP_READ || e->aux == READ_FAILS || e->u.t->table) return;
  Tensor *t = e->u.t->root;
  if (c->defined[e->u.t->id] || (!t->rank && t->role == ROLE_PARAM)) return;
  Touched *u = touched(c, t);
  Region r;
  bool whole = true;
  for (int d = 0; d < t->rank; d++) {
    r.count[d] = distinct(c, e->arg[d], t->extent[d]);
    if (!range_extremes(c->facts, c->x, e->arg[d], &r.lo[d], &r.hi[d])) r.lo[d] = r.hi[d] = e->arg[d];
    whole &= r.count[d] == t->extent[d];
  }
  u->whole |= whole;
  for (int i = 0; i < u->regions.n; i++) if (same_region(&u->regions.v[i], &r, t->rank)) return;
  vec_push(c->a, &u->regions, r);
}

static Expr *touched_bytes(Count *c, const Touched *u) {
  Expr *all = cost_tensor_bytes(c->x, u->t), *sum = NULL;
  if (u->whole) return all;
  for (int i = 0; i < u->regions.n; i++) sum = plus(c->x, sum, box_bytes(c->x, u->t, u->regions.v[i].count));
  return least(c->x, sum, all);
}

// ---- operations --------------------------------------------------------------------------------

typedef struct Flops { Count *c; Map *seen; Expr *sum; Expr *times; } Flops;

static void flops_in(Count *c, Map *seen, Expr *e, Expr *mult, Expr **sum);

static Expr *binder_steps(Count *c, const Expr *e) {
  Expr *n = num(c->x, 1);
  for (int k = 0; k < e->u.bind->n; k++) {
    Expr *s = steps(c, e->u.bind->ix[k]), *lo, *hi;
    if (!s && range_extremes(c->facts, c->x, reduce_hi(e, k), &lo, &hi)) s = hi;     // triangular: its bound
    if (s) n = times(c->x, n, s);
  }
  return n;
}

static void flops_in(Count *c, Map *seen, Expr *e, Expr *mult, Expr **sum) {
  if (map_get(seen, (uint64_t)e->id + 1)) return;
  map_put(seen, (uint64_t)e->id + 1, e);
  int own = e->dtype == DT_I64 ? 0 : ops[e->op].flops;
  if (e->op == OP_REDUCE) {
    Expr *inner = times(c->x, mult, binder_steps(c, e));
    Map fresh = map_make(c->a);
    *sum = plus(c->x, *sum, inner);
    flops_in(c, &fresh, reduce_term(e), inner, sum);
    flops_in(c, &fresh, reduce_cond(e), inner, sum);
    return;
  }
  if (own) *sum = plus(c->x, *sum, times(c->x, num(c->x, own), mult));
  for (uint32_t k = 0; k < e->nargs; k++) flops_in(c, seen, e->arg[k], mult, sum);
}

static void start(Count *c, Fn *f, Arena *a) {
  *c = (Count){ .f = f, .x = f->x, .a = a };
  c->range = map_make(a);
  c->facts = ranges_create(a, f->x);
}

static void enter(Count *c, Eqn *q) {
  for (int k = 0; k < q->n; k++) {
    Range *r = arena_new(c->a, Range);
    *r = (Range){ num(c->x, 0), q->extent[k] };
    map_putp(&c->range, q->ix[k], r);
    ranges_index(c->facts, q->ix[k], r->lo, r->hi);
  }
  eqn_visit(c->a, q, note_ranges, c);
}

static Expr *equation_flops(Count *c, const Eqn *q) {
  Expr *points = num(c->x, 1), *sum = NULL;
  for (int k = 0; k < q->n; k++) points = times(c->x, points, q->extent[k]);
  Map seen = map_make(c->a);
  flops_in(c, &seen, q->body, points, &sum);
  return sum ? sum : num(c->x, 0);
}

// ---- sets of equations -------------------------------------------------------------------------

static Expr *written_bytes(Count *c, const Eqn *q) {
  Expr *count[8];
  if (!q->base) return cost_tensor_bytes(c->x, q->def);
  // An update stores one element per value of its indices, at most the tensor.
  Expr *n = num(c->x, 1);
  for (int k = 0; k < q->n; k++) n = times(c->x, n, q->extent[k]);
  for (int d = 0; d < q->def->rank; d++) count[d] = d ? num(c->x, 1) : n;
  return least(c->x, box_bytes(c->x, q->def, count), cost_tensor_bytes(c->x, q->def));
}

static int by_tensor(const Traffic *v, int n, const Tensor *t) {
  for (int i = 0; i < n; i++) if (v[i].t == t) return i;
  return -1;
}

void cost_equations(Fn *f, int n, Eqn *const *q, bool (*kept)(void *cx, const Tensor *t), void *cx, Cost *out) {
  Arena *a = arena_create();
  Count c;
  start(&c, f, a);
  bool *defined = arena_array(a, bool, f->tensors.n + 1);
  for (int i = 0; i < n; i++) defined[q[i]->def->id] = true;
  c.defined = defined;
  Expr *flops = num(f->x, 0);
  for (int i = 0; i < n; i++) {
    ranges_push(c.facts);
    enter(&c, q[i]);
    eqn_visit(a, q[i], note_read, &c);
    flops = plus(f->x, flops, equation_flops(&c, q[i]));
    ranges_pop(c.facts);
  }
  for (int i = 0; i < c.touched.n; i++)
    vec_push(f->a, &out->traffic, (Traffic){ c.touched.v[i].t, touched_bytes(&c, &c.touched.v[i]), NULL });
  for (int i = 0; i < n; i++) {
    if (!kept(cx, q[i]->def)) continue;
    int at = by_tensor(out->traffic.v, out->traffic.n, q[i]->def->root);
    if (at < 0) {
      at = out->traffic.n;
      vec_push(f->a, &out->traffic, (Traffic){ q[i]->def->root, NULL, NULL });
    }
    out->traffic.v[at].write_bytes = plus(f->x, out->traffic.v[at].write_bytes, written_bytes(&c, q[i]));
  }
  out->flops = flops;
  arena_destroy(a);
}

Expr *cost_bytes(ExprTable *x, const Cost *c) {
  Expr *sum = num(x, 0);
  for (int i = 0; i < c->traffic.n; i++) {
    sum = plus(x, sum, c->traffic.v[i].read_bytes ? c->traffic.v[i].read_bytes : num(x, 0));
    sum = plus(x, sum, c->traffic.v[i].write_bytes ? c->traffic.v[i].write_bytes : num(x, 0));
  }
  return sum;
}

static bool always(void *cx, const Tensor *t) { (void)cx; (void)t; return true; }
static bool output(void *cx, const Tensor *t) { (void)cx; return fn_is_output(t); }

Expr *cost_unfused(Fn *f) {
  Expr *sum = num(f->x, 0);
  for (int i = 0; i < f->eqns.n; i++) {
    Cost c = {0};
    cost_equations(f, 1, &f->eqns.v[i], always, NULL, &c);
    sum = plus(f->x, sum, cost_bytes(f->x, &c));
  }
  return sum;
}

Expr *cost_minimum(Fn *f) {
  Cost c = {0};
  cost_equations(f, f->eqns.n, f->eqns.v, output, NULL, &c);
  return cost_bytes(f->x, &c);
}

static double value2(Op op, double a, double b) {
  switch (op) {
  case OP_ADD: return a + b;
  case OP_SUB: return a - b;
  case OP_MUL: return a * b;
  case OP_MIN: return a < b ? a : b;
  case OP_MAX: return a > b ? a : b;
  case OP_FLOORDIV: return b == 0 ? 0 : floor(a / b);
  case OP_MOD: return b == 0 ? 0 : a - b * floor(a / b);
  default: return 0;
  }
}

double cost_value(const Expr *e, const int64_t *dims) {
  switch (e->op) {
  case OP_CONST: return dtype_is_float((Dtype)e->dtype) ? e->u.v.f : (double)e->u.v.i;
  case OP_DIM: return (double)dims[e->u.dim->id];
  case OP_CAST: return cost_value(e->arg[0], dims);
  default: return e->nargs == 2 ? value2((Op)e->op, cost_value(e->arg[0], dims), cost_value(e->arg[1], dims)) : 0;
  }
}
