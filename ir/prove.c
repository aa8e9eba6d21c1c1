// prove.c: is a polynomial >= 0 wherever the facts hold? (See affine.c for the method.)
#include "ir/look.h"
#include "ir/fn.h"

enum { FUEL = 400, DEPTH = 16, SPLITS = 3 };   // goals looked at in one proof, how deep they nest, cases in one another

// Over dimensions, scalar arguments and constants?
bool is_scalar(const Expr *e) {
  switch (e->op) {
  case OP_INDEX: case OP_REDUCE: case OP_FIELD: case OP_VAR: return false;
  case OP_READ: return e->u.t->role == ROLE_PARAM && e->u.t->rank == 0;
  default: break;
  }
  for (uint32_t k = 0; k < e->nargs; k++)
    if (!is_scalar(e->arg[k])) return false;
  return true;
}

static bool prove(Look *l, const Poly *p, int depth);

static bool is_bad(Look *l, const Mono *m) { return mono_bounds(l, m).lo < 0; }

static bool not_negative(Look *l, const Mono *m) {
  for (int k = 0; k < m->n; k++)
    if (!(bounds_of(l, m->f[k]).lo >= 0)) return false;
  return true;
}

// Which atoms go first: what is computed from indices or data, then inner indices before outer ones; last what the
// call fixes.
static int64_t rank_of(const Look *l, const Expr *e) {
  if (is_scalar(e)) return 0;
  if (e->op != OP_INDEX) return ((int64_t)1 << 32) + e->id;
  for (int k = l->r->list.n - 1; k >= 0; k--)
    if (l->r->list.v[k].ix == e->u.ix) return k + 2;
  return 1;
}

static const Expr *top_atom(const Look *l, const Mono *m, int64_t *rank) {
  const Expr *top = NULL;
  *rank = 0;
  for (int k = 0; k < m->n; k++) {
    int64_t here = rank_of(l, m->f[k]);
    if (here > *rank) top = m->f[k], *rank = here;
  }
  return top;
}

// A term being cancelled; facts may raise the degree to `degree`.
typedef struct Target { const Mono *m; const Expr *top; int degree; } Target;

static int degree_of(const Poly *p) { return p->n ? p->m[p->n - 1].n : 0; }

static Target target(const Look *l, const Poly *p, const Mono *m) {
  int64_t rank;
  int degree = degree_of(p);
  return (Target){m, top_atom(l, m, &rank), degree > 2 ? degree : 2};
}

// Does term t of the fact g cancel a part of the target when g is multiplied by *by? It has the target's top atom:
// a bound of j is what does away with j, not a bound of N times j.
static bool cancels(Look *l, const Poly *g, const Mono *t, const Target *at, Mono *by) {
  const Mono *m = at->m;
  if ((t->c < 0) != (m->c < 0) || t->c == INT64_MIN || m->c == INT64_MIN || !mono_divides(t, m, by)) return false;
  for (int k = 0; at->top && k < by->n; k++)
    if (by->f[k] == at->top) return false;
  return degree_of(g) + by->n <= at->degree && not_negative(l, by);
}

static bool has_cases(const Look *l, const Mono *m) {
  for (int k = 0; k < m->n; k++) {
    Op op = (Op)m->f[k]->op;
    if ((op == OP_MIN || op == OP_MAX || op == OP_SELECT) && !map_get(&l->halved, m->f[k]->id)) return l->splits < SPLITS;
  }
  return false;
}

static bool has_way(Look *l, const Poly *p, const Mono *m) {
  Target at = target(l, p, m);
  Mono by;
  for (int k = 0; m->n == 1 && k < l->floors.n; k++)
    if (l->floors.v[k].q == m->f[0]) return true;
  for (int k = 0; k < l->facts.n; k++)
    for (int i = 0; i < l->facts.v[k]->n; i++)
      if (cancels(l, l->facts.v[k], &l->facts.v[k]->m[i], &at, &by)) return true;
  return has_cases(l, m);
}

// The bad term with the highest atom; -1 when a bad term can't be cancelled.
static int next_term(Look *l, const Poly *p) {
  int best = -1;
  int64_t highest = -1, rank;
  for (int k = p->n - 1; k >= 0; k--) {
    if (!is_bad(l, &p->m[k])) continue;
    if (!has_way(l, p, &p->m[k])) return -1;
    top_atom(l, &p->m[k], &rank);
    if (rank > highest) best = k, highest = rank;
  }
  return best;
}

// p with term m cancelled by term t of fact g times `by`.
static const Poly *cancelled(Look *l, const Poly *p, const Mono *m, const Poly *g, const Mono *t, const Mono *by) {
  int64_t a = t->c < 0 ? -t->c : t->c, b = m->c < 0 ? -m->c : m->c, d = gcd64(a, b);
  return poly_combine(l->a, a / d, p, -(b / d), by, g);
}

// p = c·q + r with q = x // d: d·p + d - 1, in which d·q gives way to x.
static const Poly *without_floor(Look *l, const Poly *p, const Mono *m) {
  if (m->n != 1) return NULL;
  for (int k = 0; k < l->floors.n; k++) {
    const Floor *f = &l->floors.v[k];
    const Poly *fact = m->c < 0 ? f->below : f->above;
    if (f->q != m->f[0] || !fact || m->c == INT64_MIN) continue;
    const Poly *dp = poly_mul(l->a, f->d, p);
    if (dp) dp = poly_combine(l->a, 1, dp, 1, NULL, f->d);
    if (dp) dp = poly_combine(l->a, 1, dp, -1, NULL, poly_const(l->a, 1));
    if (dp) dp = poly_combine(l->a, 1, dp, m->c < 0 ? m->c : -m->c, NULL, fact);
    return dp ? put_in_all(l, dp) : NULL;
  }
  return NULL;
}

// The facts of one case: e has the value v, and `cond` (or an order of two values) holds.
static bool prove_case(Look *l, const Poly *p, Expr *e, int which, int depth) {
  int before = l->facts.n;
  Value self = value_atom(l, e), v = value_of(l, e->arg[which]);
  add_order(l, self, v, 0);
  add_order(l, v, self, 0);
  if (e->op == OP_SELECT) {
    add_condition(l, e->arg[0], which == 1);
  } else {
    Value other = value_of(l, e->arg[1 - which]);
    e->op == OP_MIN ? add_order(l, v, other, 0) : add_order(l, other, v, 0);
  }
  l->bounds = map_make(l->a);                        // more is known now
  bool ok = prove(l, p, depth - 1);
  l->facts.n = before;
  return ok;
}

static bool prove_cases(Look *l, const Poly *p, const Mono *m, int depth) {
  for (int k = 0; k < m->n; k++) {
    Expr *e = m->f[k];
    if ((e->op != OP_MIN && e->op != OP_MAX && e->op != OP_SELECT) || map_get(&l->halved, e->id) || l->splits >= SPLITS) continue;
    Map halved = l->halved, bounds = l->bounds, values = l->values;
    l->halved = map_make(l->a);                      // splitting an outer one again would only be a waste
    map_put(&l->halved, e->id, e);
    l->splits++;
    bool ok = true;
    for (int which = e->op == OP_SELECT, end = which + 2; ok && which < end; which++) {
      l->bounds = l->values = map_make(l->a);        // what holds in a case is not kept
      ok = prove_case(l, p, e, which, depth);
    }
    l->splits--;
    l->halved = halved;
    l->bounds = bounds;
    l->values = values;
    return ok;
  }
  return false;
}

static bool prove_by_facts(Look *l, const Poly *p, const Mono *m, int depth) {
  Target at = target(l, p, m);
  for (int k = 0; k < l->facts.n; k++) {
    const Poly *g = l->facts.v[k];
    for (int i = 0; i < g->n; i++) {
      Mono by;
      if (!cancels(l, g, &g->m[i], &at, &by)) continue;
      const Poly *next = cancelled(l, p, m, g, &g->m[i], &by);
      if (next && prove(l, next, depth - 1)) return true;
    }
  }
  return false;
}

static bool on_path(const Look *l, const Poly *p) {
  for (int k = 0; k < l->path.n; k++)
    if (poly_equal(l->path.v[k], p)) return true;
  return false;
}

static bool prove(Look *l, const Poly *p, int depth) {
  if (depth == 0 || --l->fuel < 0) return l->cut = true, false;
  p = tighten(l, p);
  if (poly_bounds(l, p).lo >= 0) return true;
  if (l->splits == 0 && on_path(l, p)) return false;
  int at = next_term(l, p);
  if (at < 0) return false;
  int outer = l->path.n;
  vec_push(l->a, &l->path, p);
  const Mono *m = &p->m[at];
  const Poly *floored_p = without_floor(l, p, m);
  bool ok = (floored_p && prove(l, floored_p, depth - 1)) || prove_by_facts(l, p, m, depth) || prove_cases(l, p, m, depth);
  l->path.n = outer;
  return ok;
}

// Short proofs first: a wrong turn near the start can cost no more than the depth at hand allows.
static bool prove_deepening(Look *l, const Poly *p) {
  l->fuel = FUEL;
  for (int depth = 3; depth <= DEPTH; depth += 4) {
    l->cut = false;
    if (prove(l, p, depth)) return true;
    if (!l->cut) return false;                       // deeper is no different
  }
  return false;
}

// d >= 1? Beyond `prove`: a product is when its factors are; and a non-negative e is when e = 0 contradicts the facts
// (H >= 1 and H = G·e).
static const Poly *without_atom(Look *l, const Poly *p, const Expr *e) {
  const Poly *made = poly_const(l->a, 0), *one = poly_const(l->a, 1);
  for (int k = 0; made && k < p->n; k++) {
    bool uses = false;
    for (int j = 0; j < p->m[k].n; j++) uses |= p->m[k].f[j] == e;
    if (!uses) made = poly_combine(l->a, 1, made, p->m[k].c, &p->m[k], one);
  }
  return made ? made : p;
}

static bool zero_is_absurd(Look *l, Expr *e) {
  Look zero = *l;
  zero.values = zero.bounds = map_make(l->a);        // what holds for e = 0 is not kept
  zero.facts.n = zero.facts.cap = zero.path.n = zero.path.cap = zero.floors.n = 0;
  for (int k = 0; k < l->facts.n; k++) {
    const Poly *p = without_atom(l, l->facts.v[k], e);
    vec_push(l->a, &zero.facts, p);
  }
  return prove_deepening(&zero, poly_const(l->a, -1));
}

static bool prove_positive(Look *l, const Poly *d) {
  if (poly_bounds(l, d).lo >= 1) return true;
  const Poly *less = poly_combine(l->a, 1, d, -1, NULL, poly_const(l->a, 1));
  if (less && prove_deepening(l, less)) return true;
  if (d->n != 1 || d->m[0].c < 1 || !not_negative(l, &d->m[0])) return false;
  for (int k = 0; k < d->m[0].n; k++)
    if (!(bounds_of(l, d->m[0].f[k]).lo >= 1) && !zero_is_absurd(l, d->m[0].f[k])) return false;
  return true;
}

// The facts that an atom brings with it.

static void close_poly(Look *l, const Poly *p);

static void close_floor(Look *l, Expr *e) {
  Value x = value_of(l, e->arg[0]), d = value_of(l, e->arg[1]);
  close_poly(l, x.p);
  close_poly(l, d.p);
  if (e->dtype == DT_U64 || !d.exact || !prove_positive(l, d.p)) return;
  Floor f = {.q = e, .d = d.p};
  const Poly *q = poly_atom(l->a, e), *dq = poly_mul(l->a, d.p, q);
  if (dq && value_not_above(l, x)) f.below = poly_combine(l->a, 1, x.p, -1, NULL, dq);
  if (dq && value_not_below(l, x)) {
    const Poly *p = poly_combine(l->a, 1, dq, -1, NULL, x.p);
    if (p) p = poly_combine(l->a, 1, p, 1, NULL, d.p);
    if (p) f.above = poly_combine(l->a, 1, p, -1, NULL, poly_const(l->a, 1));
  }
  add_fact(l, f.below);
  add_fact(l, f.above);
  vec_push(l->a, &l->floors, f);
}

static void close_extreme(Look *l, Expr *e) {
  Value self = value_atom(l, e);
  for (int k = 0; k < 2; k++) {
    Value v = value_of(l, e->arg[k]);
    close_poly(l, v.p);
    e->op == OP_MIN ? add_order(l, self, v, 0) : add_order(l, v, self, 0);
  }
}

// What its type or its operands say about a value: 255 - x >= 0 for a u8.
static void close_bounds(Look *l, Expr *e) {
  Bounds b = bounds_of(l, e);
  const Poly *self = poly_atom(l->a, e), *one = poly_const(l->a, 1);
  if (b.hi < INT32_MAX && b.hi > INT32_MIN) add_fact(l, poly_combine(l->a, -1, self, (int64_t)b.hi, NULL, one));
  if (b.lo > INT32_MIN && b.lo < INT32_MAX && b.lo != 0) add_fact(l, poly_combine(l->a, 1, self, -(int64_t)b.lo, NULL, one));
}

static void close_atom(Look *l, Expr *e) {
  if (map_get(&l->closed, e->id)) return;
  map_put(&l->closed, e->id, e);
  switch (e->op) {
  case OP_INDEX: case OP_DIM: return;
  case OP_FLOORDIV: close_floor(l, e); return;
  case OP_MIN: case OP_MAX: close_extreme(l, e); return;
  case OP_SELECT:
    close_poly(l, value_of(l, e->arg[1]).p);
    close_poly(l, value_of(l, e->arg[2]).p);
    return;
  default: close_bounds(l, e); return;
  }
}

static void close_poly(Look *l, const Poly *p) {
  for (int k = 0; k < p->n; k++)
    for (int j = 0; j < p->m[k].n; j++) close_atom(l, p->m[k].f[j]);
}

// Is there the fact -p >= 0 beside p >= 0?
static bool is_equality(Look *l, const Poly *p) {
  const Poly *minus = poly_combine(l->a, -1, p, 0, NULL, p);
  for (int k = 0; minus && k < l->facts.n; k++)
    if (poly_equal(l->facts.v[k], minus)) return true;
  return false;
}

// An index, dimension or scalar that p = 0 gives as a polynomial of the rest.
static bool solved(Look *l, const Poly *p, Equal *out) {
  for (int k = 0; k < p->n; k++) {
    const Mono *m = &p->m[k];
    if (m->n != 1 || (m->c != 1 && m->c != -1) || (m->f[0]->op != OP_INDEX && m->f[0]->op != OP_DIM && m->f[0]->nargs)) continue;
    if (sole_term(p, m->f[0]) < 0) continue;
    const Poly *rest = poly_combine(l->a, -m->c, p, 1, NULL, poly_atom(l->a, m->f[0]));
    if (rest) return *out = (Equal){m->f[0], rest}, true;
  }
  return false;
}

// e % 2 == 0 makes e = 2·(e // 2): with that put in, facts can be divided by 2 and rounded.
static void use_equalities(Look *l) {
  for (int k = 0; k < l->facts.n; k++) vec_push(l->a, &l->given, l->facts.v[k]);
  for (int k = 0; k < l->facts.n; k++) {
    Equal q;
    if (!is_equality(l, l->facts.v[k]) || !solved(l, l->facts.v[k], &q)) continue;
    vec_push(l->a, &l->equals, q);
    int n = l->facts.n;
    const Poly **old = arena_array(l->a, const Poly *, n);
    for (int j = 0; j < n; j++) old[j] = l->facts.v[j];
    l->facts.n = 0;
    for (int j = 0; j < n; j++) add_fact(l, old[j]);
    k = -1;                                          // again from the start: there is one atom less
  }
}

bool prove_goal(Look *l, const Poly *p) {
  if (poly_bounds(l, p).lo >= 0) return true;
  for (int k = 0; k < l->facts.n; k++) close_poly(l, l->facts.v[k]);      // grows as it goes
  close_poly(l, p);
  l->bounds = map_make(l->a);                        // more is known now
  use_equalities(l);
  return prove_deepening(l, put_in_all(l, p));
}
