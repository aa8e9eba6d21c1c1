// cost.c: bytes and operations of equations, as expressions over dimensions.
//
//   y[i] = x[i, 0] + x[i, 3]     reads 2 parts of x of N elements each, writes N, computes N
//
// One equation is looked at once (cost_equation); what a set of them moves follows from what each of them touches.
#include "ir/cost.h"
#include "ir/affine.h"
#include "ir/cost_band.h"
#include "ir/rewrite.h"

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

typedef struct Count {
  ExprTable *x; Arena *a;
  Map range;            // Index → Range
  Map noted;            // (read, part) → itself, where it is in `out`
  Ranges *facts;
  Arena *keep;          // where `out` lives
  EqnCost *out;
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
  if (sub->op == OP_INDEX) use_index(&u, sub);
  else expr_visit(c->a, sub, use_index, &u);
  if (u.unknown || u.is_extent) return extent;
  return least(c->x, u.product, extent);
}

// The interval that a subscript runs over: of an index that has a box, without asking for a proof.
static void interval(Count *c, Expr *sub, Expr **lo, Expr **hi) {
  Range *r = sub->op == OP_INDEX ? map_getp(&c->range, sub->u.ix) : NULL;
  if (r && expr_is_int(r->lo, 0) && (r->hi->op == OP_DIM || expr_is_const(r->hi))) { *lo = r->lo; *hi = r->hi; return; }
  if (!range_extremes(c->facts, c->x, sub, lo, hi)) { *lo = *hi = sub; return; }
  *hi = plus(c->x, *hi, num(c->x, 1));
}

static void add_touch(Count *c, Touch u) {
  uint64_t key = hash_bytes(&u.read->id, sizeof u.read->id, u.part);
  if (map_get(&c->noted, key)) return;
  map_put(&c->noted, key, u.read);
  vec_push(c->keep, &c->out->reads, u);
}

static void note_read(Count *c, Expr *e, const Guards *g) {
  Tensor *t = e->u.t;
  if (e->op != OP_READ || e->aux == READ_FAILS || t->table || (!t->rank && t->role == ROLE_PARAM)) return;
  Touch u = { .read = e, .whole = true };
  Expr *count[8], *lo, *hi;
  if (cost_band(c->x, c->facts, e, g, count, &u.part)) {
    u.whole = false;
    u.bytes = box_bytes(c->x, t, count);
    add_touch(c, u);
    return;
  }
  for (int d = 0; d < t->rank; d++) {
    count[d] = distinct(c, e->arg[d], t->extent[d]);
    interval(c, e->arg[d], &lo, &hi);
    u.whole &= count[d] == t->extent[d];
    u.part = hash_bytes((uint32_t[]){ lo->id, hi->id }, 2 * sizeof(uint32_t), u.part);
  }
  u.bytes = box_bytes(c->x, t, count);
  add_touch(c, u);
}

enum { MAX_VISITS = 4096 };      // of nodes under guards; beyond that none is looked at

// Each read once for what holds where it stands.
static void note_reads(Count *c, Expr *e, const Guards *g, Map *seen, int *visits) {
  const Guards none = {0};
  if (g->n && --*visits < 0) g = &none;
  uint64_t key = hash_bytes(&e->id, sizeof e->id, g->hash);
  if (map_get(seen, key)) return;
  map_put(seen, key, e);
  bool lazy = e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
  for (uint32_t k = 0; k < e->nargs; k++) {
    Guards inside = *g;
    if (lazy && k) guards_add(&inside, e->arg[0], e->op == OP_OR ? false : k == 1);
    if (e->op == OP_REDUCE && k + 1 == e->nargs) guards_add(&inside, reduce_cond(e), true);
    note_reads(c, e->arg[k], &inside, seen, visits);
  }
  note_read(c, e, g);
}

static void note_all_reads(Count *c, Eqn *q) {
  Map seen = map_make(c->a);
  int visits = MAX_VISITS;
  Guards none = {0}, when = none;
  if (q->cond) note_reads(c, q->cond, &none, &seen, &visits), guards_add(&when, q->cond, true);
  note_reads(c, q->body, &when, &seen, &visits);
  for (int k = 0; k < q->nstore; k++) note_reads(c, q->store[k], &when, &seen, &visits);
}

// ---- operations --------------------------------------------------------------------------------

// Operations that are done `times` each, and those of the reductions among them.
// A prefix takes a step of its reduction each time.
typedef struct Flops { Count *c; Map seen; Expr *times; int64_t own; Expr *inner; const Expr *prefix; } Flops;

static Flops flops_of(Count *c, Expr *times) { return (Flops){ .c = c, .seen = map_make(c->a), .times = times }; }

static Expr *flops_sum(const Flops *f) { return plus(f->c->x, f->own ? times(f->c->x, num(f->c->x, f->own), f->times) : NULL, f->inner); }

static Expr *binder_steps(Count *c, const Expr *e) {
  Expr *n = num(c->x, 1);
  for (int k = 0; k < e->u.bind->n; k++) {
    Expr *s = steps(c, e->u.bind->ix[k]), *lo, *hi;
    if (!s && range_extremes(c->facts, c->x, reduce_hi(e, k), &lo, &hi)) s = hi;     // triangular: its bound
    if (s) n = times(c->x, n, s);
  }
  return n;
}

static void flops_in(Flops *f, Expr *e) {
  if (!map_add(&f->seen, (uint64_t)e->id + 1)) return;
  if (e->op == OP_REDUCE) {
    Flops inner = flops_of(f->c, e == f->prefix ? f->times : times(f->c->x, f->times, binder_steps(f->c, e)));
    inner.own = 1;
    flops_in(&inner, reduce_term(e));
    flops_in(&inner, reduce_cond(e));
    f->inner = plus(f->c->x, f->inner, flops_sum(&inner));
    return;
  }
  f->own += e->dtype == DT_I64 ? 0 : ops[e->op].flops;
  for (uint32_t k = 0; k < e->nargs; k++) flops_in(f, e->arg[k]);
}

static Expr *equation_flops(Count *c, const Eqn *q) {
  Expr *points = num(c->x, 1);
  for (int k = 0; k < q->n; k++) points = times(c->x, points, q->extent[k]);
  Flops f = flops_of(c, points);
  if (eqn_scan_pos(q) >= 0) f.prefix = q->body;
  flops_in(&f, q->body);
  Expr *sum = flops_sum(&f);
  return sum ? sum : num(c->x, 0);
}

static Expr *written_bytes(Count *c, const Eqn *q) {
  Expr *count[8];
  if (!q->base) return cost_tensor_bytes(c->x, q->def);
  // An update stores one element per value of its indices, at most the tensor.
  Expr *n = num(c->x, 1);
  for (int k = 0; k < q->n; k++) n = times(c->x, n, q->extent[k]);
  for (int d = 0; d < q->def->rank; d++) count[d] = d ? num(c->x, 1) : n;
  return least(c->x, box_bytes(c->x, q->def, count), cost_tensor_bytes(c->x, q->def));
}

void cost_equation(Fn *f, Eqn *q, Arena *keep, EqnCost *out) {
  Arena *a = arena_create();
  Count c = { .x = f->x, .a = a, .range = map_make(a), .noted = map_make(a), .facts = ranges_create(a, f->x), .keep = keep, .out = out };
  *out = (EqnCost){ .q = q };
  for (int k = 0; k < q->n; k++) {
    Range *r = arena_new(a, Range);
    *r = (Range){ num(c.x, 0), q->extent[k] };
    map_putp(&c.range, q->ix[k], r);
    ranges_index(c.facts, q->ix[k], r->lo, r->hi);
  }
  eqn_visit(a, q, note_ranges, &c);
  note_all_reads(&c, q);
  out->flops = equation_flops(&c, q);
  out->write_bytes = written_bytes(&c, q);
  arena_destroy(a);
}

// ---- sets of equations -------------------------------------------------------------------------

// What a set reads of one tensor. Parts that are not the same may overlap: together they are at most the tensor.
typedef struct Parts { Tensor *root; Map seen; Expr *sum; bool whole; int at; } Parts;

typedef struct Set { ExprTable *x; Arena *a; Map of; VEC(Parts *) list; } Set;     // of: root's id → Parts

static Parts *parts_of(Set *s, Tensor *root) {
  Parts *p = map_get(&s->of, (uint64_t)root->id);
  if (p) return p;
  p = arena_new(s->a, Parts);
  *p = (Parts){ .root = root, .seen = map_make(s->a), .at = -1 };
  map_put(&s->of, (uint64_t)root->id, p);
  vec_push(s->a, &s->list, p);
  return p;
}

static void add_part(Set *s, const Touch *u) {
  Parts *p = parts_of(s, u->read->u.t->root);
  p->whole |= u->whole;
  if (p->whole || map_get(&p->seen, u->part)) return;
  map_put(&p->seen, u->part, p);
  p->sum = plus(s->x, p->sum, u->bytes);
}

static Expr *parts_bytes(Set *s, const Parts *p) {
  Expr *all = cost_tensor_bytes(s->x, p->root);
  return p->whole ? all : least(s->x, p->sum, all);
}

static void add_reads(Set *s, int n, const EqnCost *q) {
  Map defined = map_make(s->a);
  for (int i = 0; i < n; i++) map_put(&defined, (uint64_t)q[i].q->def->id, s);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < q[i].reads.n; k++)
      if (!map_get(&defined, (uint64_t)q[i].reads.v[k].read->u.t->id)) add_part(s, &q[i].reads.v[k]);
}

static Traffic *traffic_of(Fn *f, Set *s, Tensor *root, Cost *out) {
  Parts *p = parts_of(s, root);
  if (p->at < 0) {
    p->at = out->traffic.n;
    vec_push(f->a, &out->traffic, (Traffic){ .t = root, .passes = 1 });
  }
  return &out->traffic.v[p->at];
}

void cost_set(Fn *f, int n, const EqnCost *q, bool (*kept)(void *cx, const Tensor *t), void *cx, Cost *out) {
  Arena *a = arena_create();
  Set s = { .x = f->x, .a = a, .of = map_make(a) };
  Expr *flops = num(f->x, 0);
  add_reads(&s, n, q);
  for (int i = 0, reads = s.list.n; i < reads; i++) traffic_of(f, &s, s.list.v[i]->root, out)->read_bytes = parts_bytes(&s, s.list.v[i]);
  for (int i = 0; i < n; i++) {
    flops = plus(f->x, flops, q[i].flops);
    if (!kept(cx, q[i].q->def)) continue;
    Traffic *t = traffic_of(f, &s, q[i].q->def->root, out);
    t->write_bytes = plus(f->x, t->write_bytes, q[i].write_bytes);
  }
  out->flops = flops;
  arena_destroy(a);
}

Expr *cost_touched(Fn *f, int n, const Touch *const *u) {
  Arena *a = arena_create();
  Set s = { .x = f->x, .a = a, .of = map_make(a) };
  for (int i = 0; i < n; i++) add_part(&s, u[i]);
  Expr *bytes = n ? parts_bytes(&s, s.list.v[0]) : num(f->x, 0);
  arena_destroy(a);
  return bytes;
}

void cost_equations(Fn *f, int n, Eqn *const *q, bool (*kept)(void *cx, const Tensor *t), void *cx, Cost *out) {
  Arena *a = arena_create();
  EqnCost *each = arena_array(a, EqnCost, n + 1);
  for (int i = 0; i < n; i++) cost_equation(f, q[i], a, &each[i]);
  cost_set(f, n, each, kept, cx, out);
  arena_destroy(a);
}

// ---- what the reports add up -------------------------------------------------------------------

// Read again in each pass over a row that the cache does not hold.
Expr *cost_read_bytes(ExprTable *x, const Traffic *t, int64_t cache) {
  if (!t->read_bytes || t->passes <= 1 || !t->row_bytes) return t->read_bytes ? t->read_bytes : num(x, 0);
  Expr *again = times(x, num(x, t->passes), t->read_bytes);
  return expr_select(x, expr_op2(x, OP_GT, t->row_bytes, num(x, cache), NO_SPAN), again, t->read_bytes, NO_SPAN);
}

Expr *cost_bytes(ExprTable *x, const Cost *c, int64_t cache) {
  Expr *sum = num(x, 0);
  for (int i = 0; i < c->traffic.n; i++) {
    const Traffic *t = &c->traffic.v[i];
    sum = plus(x, plus(x, sum, cost_read_bytes(x, t, cache)), t->write_bytes ? t->write_bytes : num(x, 0));
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
    sum = plus(f->x, sum, cost_bytes(f->x, &c, INT64_MAX));
  }
  return sum;
}

Expr *cost_minimum(Fn *f) {
  Cost c = {0};
  cost_equations(f, f->eqns.n, f->eqns.v, output, NULL, &c);
  return cost_bytes(f->x, &c, INT64_MAX);
}
