// affine.c: ranges of indices, and proofs about integer expressions.
//
// Expressions become polynomials over atoms (poly.h); facts are polynomials known to be >= 0. To prove p >= 0, a term
// of p that may be negative is cancelled with a fact that has such a term, times a product of non-negative atoms:
//
//     N·D - 1 - (i·D + j)      j <= D - 1:      N·D - i·D - D      i <= N - 1, times D:      0 >= 0
//
// which is Fourier-Motzkin elimination with symbolic coefficients [Pugh, The Omega Test, 1991, for the constant case],
// with two rules for integers: terms are divided by their common divisor and the constant rounded down, and p with a
// floor division q = x // d in it is >= 0 when d·p + d - 1 is, in which d·q lies between x - d + 1 and x.
// x % d is x - d·(x // d), for all d (ops.def). See Note [Wrapping] at the end.
#include "ir/affine.h"
#include "base/limits.h"
#include "ir/fn.h"
#include "ir/poly.h"
#include <assert.h>
#include <math.h>

typedef struct Range { Index *ix; Expr *lo, *hi; } Range;
typedef struct Mark { int ranges, facts; } Mark;

struct Ranges {
  Arena *a;
  ExprTable *x;
  VEC(Range) list;
  VEC(const Poly *) facts;
  VEC(Mark) marks;
};

typedef struct Bounds { double lo, hi; } Bounds;           // real bounds, rounded outwards
typedef struct Value { const Poly *p; bool exact; } Value; // exact: the expression's value is p; else it is p modulo 2^64
typedef struct Equal { const Expr *e; const Poly *p; } Equal;      // e is p, in which it does not stand
typedef struct Floor { Expr *q; const Poly *d, *below, *above; } Floor;   // facts x - d·q >= 0 and d·q - x + d - 1 >= 0, or NULL

// One question. Everything in it is forgotten when it is answered.
typedef struct Look {
  Ranges *r;
  ExprTable *x;
  Arena *a;
  bool whole_mod;       // leave x % d as an atom
  Map values, bounds;   // of expressions, by id
  VEC(const Poly *) facts;
  VEC(const Poly *) given;     // the facts before equals were put in (still good for bounds)
  VEC(Equal) equals;           // put into facts and goals, in order
  VEC(Floor) floors;
  Map closed;           // atoms whose own facts are in
  Map halved;           // MIN, MAX, SELECT that a proof is looking at case by case
  VEC(const Poly *) path;
  int fuel, splits;
  bool cut;             // a goal was given up for its depth
} Look;

enum { FUEL = 400, DEPTH = 16, SPLITS = 3 };   // goals looked at in one proof, how deep they nest, cases in one another
#define WORD 9.2e18                            // a little less than 2^63

static Look look(Ranges *r, ExprTable *x) {
  Look l = {.r = r, .x = x, .a = arena_create(), .fuel = FUEL};
  l.values = l.bounds = l.closed = l.halved = map_make(l.a);
  for (int k = 0; r && k < r->facts.n; k++) vec_push(l.a, &l.facts, r->facts.v[k]);
  return l;
}

// Bounds.

static Bounds outward(double lo, double hi) {
  const double exact = 0x1p53, slack = 0x1p-50;
  return (Bounds){fabs(lo) < exact ? lo : lo - fabs(lo) * slack, fabs(hi) < exact ? hi : hi + fabs(hi) * slack};
}

static Bounds type_bounds(Dtype d) {
  int bits = dtypes[d].bits;
  if (d == DT_BOOL) return (Bounds){0, 1};
  if (dtypes[d].kind == 'U') return outward(0, ldexp(1, bits) - 1);
  return outward(-ldexp(1, bits - 1), ldexp(1, bits - 1) - 1);
}

static double times(double p, double q) { return p == 0 || q == 0 ? 0 : p * q; }   // also for infinities

static Bounds bounds_mul(Bounds p, Bounds q) {
  double a = times(p.lo, q.lo), b = times(p.lo, q.hi), c = times(p.hi, q.lo), d = times(p.hi, q.hi);
  return outward(fmin(fmin(a, b), fmin(c, d)), fmax(fmax(a, b), fmax(c, d)));
}

static Bounds meet(Bounds p, Bounds q) { return (Bounds){fmax(p.lo, q.lo), fmin(p.hi, q.hi)}; }
static Bounds join(Bounds p, Bounds q) { return (Bounds){fmin(p.lo, q.lo), fmax(p.hi, q.hi)}; }
static bool within(Bounds b, Bounds outer) { return b.lo >= outer.lo && b.hi <= outer.hi; }
static bool in_word(Bounds b) { return b.lo > -WORD && b.hi < WORD; }

static Bounds bounds_of(Look *l, Expr *e);

static Bounds mono_bounds(Look *l, const Mono *m) {
  Bounds b = outward((double)m->c, (double)m->c);
  for (int k = 0; k < m->n; k++) b = bounds_mul(b, bounds_of(l, m->f[k]));
  return b;
}

static Bounds poly_bounds(Look *l, const Poly *p) {
  Bounds sum = {0, 0};
  for (int k = 0; k < p->n; k++) {
    Bounds b = mono_bounds(l, &p->m[k]);
    sum = outward(sum.lo + b.lo, sum.hi + b.hi);
  }
  return sum;
}

// The term of p that is e alone, when e stands nowhere else in p; -1 otherwise.
static int sole_term(const Poly *p, const Expr *e) {
  int at = -1, uses = 0;
  for (int i = 0; i < p->n; i++)
    for (int j = 0; j < p->m[i].n; j++)
      if (p->m[i].f[j] == e) uses++, at = i;
  return uses == 1 && p->m[at].n == 1 ? at : -1;
}

// From the fact c·e + rest >= 0: e >= -rest / c, or e <= rest / -c.
static Bounds bounds_from_fact(Look *l, Expr *e, const Poly *g, Bounds b) {
  int at = sole_term(g, e);
  if (at < 0) return b;
  double c = (double)g->m[at].c, rest = 0;
  for (int i = 0; i < g->n; i++)
    if (i != at) rest = outward(0, rest + mono_bounds(l, &g->m[i]).hi).hi;
  if (c > 0) b.lo = fmax(b.lo, outward(ceil(-rest / c), 0).lo);
  else b.hi = fmin(b.hi, outward(0, floor(rest / -c)).hi);
  return b;
}

static Bounds bounds_from_facts(Look *l, Expr *e, Bounds b) {
  for (int k = 0; k < l->facts.n; k++) b = bounds_from_fact(l, e, l->facts.v[k], b);
  for (int k = 0; k < l->given.n; k++) b = bounds_from_fact(l, e, l->given.v[k], b);
  return b;
}

static Bounds floor_bounds(Bounds x, Bounds d) {
  double most = fmax(fabs(x.lo), fabs(x.hi));
  if (d.lo < 0) return (Bounds){-most, most};
  if (d.lo == 0) return (Bounds){fmin(x.lo, 0), fmax(x.hi, 0)};          // d may be 0, or 1
  return outward(floor(x.lo / (x.lo < 0 ? d.lo : d.hi)), floor(x.hi / (x.hi < 0 ? d.hi : d.lo)));
}

static Bounds mod_bounds(Bounds x, Bounds d) {
  double most = fmax(fmax(fabs(x.lo), fabs(x.hi)), fmax(fabs(d.lo), fabs(d.hi)));
  if (d.lo < 0 || (d.lo == 0 && x.lo < 0)) return (Bounds){-most, most};
  double hi = x.lo >= 0 ? x.hi : d.hi - 1;
  return (Bounds){0, d.lo >= 1 ? fmin(hi, d.hi - 1) : hi};                // x % 0 is x
}

static Bounds bits_bounds(const Expr *e, Bounds a, Bounds b, Bounds any) {
  if (e->op == OP_BITAND) {
    if (a.lo < 0 && b.lo < 0) return any;
    return (Bounds){0, a.lo >= 0 && b.lo >= 0 ? fmin(a.hi, b.hi) : a.lo >= 0 ? a.hi : b.hi};
  }
  return a.lo >= 0 && b.lo >= 0 ? meet((Bounds){0, a.hi + b.hi}, any) : any;   // or and xor stay below the sum
}

static Bounds operand_bounds(Look *l, Expr *e, int k);

static Bounds atom_bounds(Look *l, Expr *e) {
  Bounds any = type_bounds((Dtype)e->dtype), a, b;
  switch (e->op) {
  case OP_DIM: return (Bounds){0, (double)LIMIT_EXTENT};
  case OP_READ: case OP_FIELD: return type_bounds(expr_stored(e));
  case OP_CAST: return type_bounds((Dtype)(e->arg[0]->dtype == DT_BOOL ? DT_BOOL : e->aux));
  case OP_POPCOUNT: return (Bounds){0, 64};
  case OP_SIGN: return (Bounds){-1, 1};
  case OP_SELECT: return join(operand_bounds(l, e, 1), operand_bounds(l, e, 2));
  case OP_FLOORDIV: case OP_MOD: case OP_MIN: case OP_MAX: case OP_BITAND: case OP_BITOR: case OP_BITXOR: case OP_SHR: break;
  default: return any;
  }
  a = operand_bounds(l, e, 0), b = operand_bounds(l, e, 1);
  switch (e->op) {
  case OP_FLOORDIV: return meet(floor_bounds(a, b), any);
  case OP_MOD: return meet(mod_bounds(a, b), any);
  case OP_MIN: return (Bounds){fmin(a.lo, b.lo), fmin(a.hi, b.hi)};
  case OP_MAX: return (Bounds){fmax(a.lo, b.lo), fmax(a.hi, b.hi)};
  case OP_SHR: return (Bounds){fmin(a.lo, 0), fmax(a.hi, 0)};
  default: return bits_bounds(e, a, b, any);
  }
}

// While an atom's bounds are being found they are its type's, so that facts in a circle end.
static Bounds bounds_of(Look *l, Expr *e) {
  Bounds *known = map_get(&l->bounds, e->id);
  if (known) return *known;
  known = arena_new(l->a, Bounds);
  *known = type_bounds((Dtype)e->dtype);
  map_put(&l->bounds, e->id, known);
  Bounds b = atom_bounds(l, e);
  *known = b;
  return *known = bounds_from_facts(l, e, b);
}

// Polynomials of expressions.

static Value value_of(Look *l, Expr *e);

// The value is at least p, at most p? Modulo 2^64 a value differs from p by a multiple of 2^64.
static bool not_above(Look *l, Value v) { return v.exact || poly_bounds(l, v.p).lo > -WORD; }
static bool not_below(Look *l, Value v) { return v.exact || poly_bounds(l, v.p).hi < WORD; }

static Bounds operand_bounds(Look *l, Expr *e, int k) {
  Value v = value_of(l, e->arg[k]);
  Bounds any = type_bounds((Dtype)e->arg[k]->dtype), b = poly_bounds(l, v.p);
  return v.exact || in_word(b) ? meet(b, any) : any;
}

static Value atom(Look *l, Expr *e) { return (Value){poly_atom(l->a, e), true}; }

// A result of + - * in e's type: 64 bits wrap as polynomials do; of narrower types only what fits is looked into.
static Value ring(Look *l, Expr *e, const Poly *p, bool exact) {
  if (!p) return atom(l, e);
  if (e->dtype == DT_I64) return (Value){p, exact && in_word(poly_bounds(l, p))};
  bool fits = exact && e->dtype != DT_U64 && within(poly_bounds(l, p), type_bounds((Dtype)e->dtype));
  return fits ? (Value){p, true} : atom(l, e);
}

static Value sum(Look *l, Expr *e, int64_t sign) {
  Value a = value_of(l, e->arg[0]), b = value_of(l, e->arg[1]);
  return ring(l, e, poly_combine(l->a, 1, a.p, sign, NULL, b.p), a.exact && b.exact);
}

static Value shifted_left(Look *l, Expr *e) {
  if (e->arg[1]->op != OP_CONST || e->arg[1]->u.v.i < 0 || e->arg[1]->u.v.i > 62 || e->arg[1]->u.v.i >= dtypes[e->dtype].bits)
    return atom(l, e);
  Value a = value_of(l, e->arg[0]);
  return ring(l, e, poly_combine(l->a, (int64_t)1 << e->arg[1]->u.v.i, a.p, 0, NULL, a.p), a.exact);
}

// x >> c is x // 2^c.
static Value shifted_right(Look *l, Expr *e) {
  int64_t c = e->arg[1]->op == OP_CONST ? e->arg[1]->u.v.i : -1;
  if (c < 0 || c > 30 || (e->dtype != DT_I64 && e->dtype != DT_I32)) return atom(l, e);
  Expr *power = expr_int(l->x, (Dtype)e->dtype, (int64_t)1 << c, e->at);
  return value_of(l, expr_op2(l->x, OP_FLOORDIV, e->arg[0], power, e->at));
}

// (d·p + rest) // d is p where 0 <= rest < d; d a constant.
static Value floored(Look *l, Expr *e) {
  Value x = value_of(l, e->arg[0]);
  Expr *d = e->arg[1];
  if (d->op != OP_CONST || d->u.v.i <= 0 || !x.exact || e->dtype == DT_U64) return atom(l, e);
  const Poly *whole = poly_const(l->a, 0), *rest = whole;
  for (int k = 0; whole && rest && k < x.p->n; k++) {
    Mono m = x.p->m[k];
    int64_t c = m.c, q = c / d->u.v.i - (c % d->u.v.i < 0);
    const Poly *one = poly_const(l->a, 1);
    whole = poly_combine(l->a, 1, whole, q, &m, one);
    if (rest) rest = poly_combine(l->a, 1, rest, c - q * d->u.v.i, &m, one);
  }
  bool clean = whole && rest && poly_bounds(l, rest).lo >= 0 && poly_bounds(l, rest).hi <= (double)(d->u.v.i - 1);
  return clean ? (Value){whole, true} : atom(l, e);
}

static Value remainder_of(Look *l, Expr *e) {
  if (l->whole_mod || e->dtype != DT_I64) return atom(l, e);
  Value x = value_of(l, e->arg[0]), d = value_of(l, e->arg[1]);
  Value q = value_of(l, expr_op2(l->x, OP_FLOORDIV, e->arg[0], e->arg[1], e->at));
  const Poly *dq = poly_mul(l->a, d.p, q.p), *p = dq ? poly_combine(l->a, 1, x.p, -1, NULL, dq) : NULL;
  if (!p) return atom(l, e);
  bool wraps = poly_bounds(l, d.p).lo <= -1 && poly_bounds(l, x.p).lo <= -WORD;      // INT64_MIN // -1
  return (Value){p, x.exact && d.exact && q.exact && !wraps};
}

// To a wider type nothing changes; to a narrower one where the value fits.
static Value converted(Look *l, Expr *e) {
  Expr *from = e->arg[0];
  if (!dtype_is_int((Dtype)from->dtype) || from->dtype == DT_U64) return atom(l, e);
  Value v = value_of(l, from);
  if (!dtype_is_int((Dtype)e->aux) || e->dtype == DT_U64) return atom(l, e);
  Bounds b = poly_bounds(l, v.p);
  if (from->dtype == DT_I64 && e->aux == DT_I64) return v;
  if (v.exact || in_word(b)) b = meet(b, type_bounds((Dtype)from->dtype));
  else return atom(l, e);
  return within(b, type_bounds((Dtype)e->aux)) ? (Value){v.p, true} : atom(l, e);
}

static Value value_new(Look *l, Expr *e) {
  switch (e->op) {
  case OP_CONST:
    if (e->dtype == DT_U64 && e->u.v.u > INT64_MAX) return atom(l, e);
    return (Value){poly_const(l->a, e->u.v.i), true};
  case OP_ADD: return sum(l, e, 1);
  case OP_SUB: return sum(l, e, -1);
  case OP_MUL: {
    Value a = value_of(l, e->arg[0]), b = value_of(l, e->arg[1]);
    return ring(l, e, poly_mul(l->a, a.p, b.p), a.exact && b.exact);
  }
  case OP_NEG: {
    Value a = value_of(l, e->arg[0]);
    return ring(l, e, poly_combine(l->a, -1, a.p, 0, NULL, a.p), a.exact);
  }
  case OP_SHL: return shifted_left(l, e);
  case OP_SHR: return shifted_right(l, e);
  case OP_FLOORDIV: return floored(l, e);
  case OP_MOD: return remainder_of(l, e);
  case OP_CAST: return converted(l, e);
  default: return atom(l, e);
  }
}

static Value value_of(Look *l, Expr *e) {
  assert(dtype_is_int((Dtype)e->dtype));
  Value *known = map_get(&l->values, e->id);
  if (known) return *known;
  known = arena_new(l->a, Value);
  *known = value_new(l, e);
  map_put(&l->values, e->id, known);
  return *known;
}

// Facts.

static int64_t gcd(int64_t a, int64_t b) {
  while (b) {
    int64_t t = a % b;
    a = b;
    b = t;
  }
  return a < 0 ? -a : a;
}

// p divided by the common divisor of its coefficients, the constant rounded down: the same over the integers.
static const Poly *tighten(Look *l, const Poly *p) {
  int64_t g = 0;
  for (int k = 0; k < p->n; k++) {
    if (p->m[k].c == INT64_MIN) return p;
    if (p->m[k].n) g = gcd(g, p->m[k].c);
  }
  if (g <= 1) return p;
  const Poly *made = poly_const(l->a, 0), *one = poly_const(l->a, 1);
  for (int k = 0; made && k < p->n; k++) {
    int64_t c = p->m[k].c, q = c / g - (c % g < 0);
    made = poly_combine(l->a, 1, made, q, &p->m[k], one);
  }
  return made ? made : p;
}

// p with e replaced by what it is equal to.
static const Poly *put_in(Look *l, const Poly *p, const Equal *q) {
  const Poly *made = poly_const(l->a, 0), *one = poly_const(l->a, 1);
  for (int k = 0; made && k < p->n; k++) {
    Mono m = p->m[k];
    const Poly *term = one;
    for (int j = m.n - 1; term && j >= 0; j--) {
      if (m.f[j] != q->e) continue;
      for (int i = j; i + 1 < m.n; i++) m.f[i] = m.f[i + 1];
      m.n--;
      term = poly_mul(l->a, term, q->p);
    }
    made = term ? poly_combine(l->a, 1, made, m.c, &m, term) : NULL;
  }
  return made ? made : p;
}

static const Poly *put_in_all(Look *l, const Poly *p) {
  for (int k = 0; k < l->equals.n; k++) p = put_in(l, p, &l->equals.v[k]);
  return tighten(l, p);
}

static void add_fact(Look *l, const Poly *p) {
  int64_t c;
  if (p) p = put_in_all(l, p);
  if (!p || (poly_is_const(p, &c) && c >= 0)) return;
  for (int k = 0; k < l->facts.n; k++)
    if (poly_equal(l->facts.v[k], p)) return;
  vec_push(l->a, &l->facts, p);
}

// a + k <= b, for expressions that have this relation as values.
static void add_order(Look *l, Value a, Value b, int64_t k) {
  if (!not_below(l, a) || !not_above(l, b)) return;
  const Poly *p = poly_combine(l->a, 1, b.p, -1, NULL, a.p);
  add_fact(l, p ? poly_combine(l->a, 1, p, -k, NULL, poly_const(l->a, 1)) : NULL);
}

// Bounds of the value of e itself; its polynomial's are wider for x % d, which is a difference there.
static Bounds value_bounds(Look *l, Expr *e) {
  Value v = value_of(l, e);
  Bounds any = atom_bounds(l, e), b = poly_bounds(l, v.p);
  return v.exact || in_word(b) ? meet(b, any) : any;
}

// a differs from b: with a >= b known it is greater.
static void add_different(Look *l, Expr *a, Expr *b) {
  Bounds p = value_bounds(l, a), q = value_bounds(l, b);
  if (p.lo >= q.hi) add_order(l, value_of(l, b), value_of(l, a), 1);
  else if (q.lo >= p.hi) add_order(l, value_of(l, a), value_of(l, b), 1);
}

static void add_comparison(Look *l, const Expr *c, bool truth) {
  Dtype d = (Dtype)c->arg[0]->dtype;
  if (!dtype_is_int(d) || d == DT_U64) return;
  Value a = value_of(l, c->arg[0]), b = value_of(l, c->arg[1]);
  switch (c->op) {
  case OP_LT: truth ? add_order(l, a, b, 1) : add_order(l, b, a, 0); return;
  case OP_LE: truth ? add_order(l, a, b, 0) : add_order(l, b, a, 1); return;
  case OP_GT: truth ? add_order(l, b, a, 1) : add_order(l, a, b, 0); return;
  case OP_GE: truth ? add_order(l, b, a, 0) : add_order(l, a, b, 1); return;
  default: break;
  }
  if ((c->op == OP_EQ) == truth) add_order(l, a, b, 0), add_order(l, b, a, 0);
  else add_different(l, c->arg[0], c->arg[1]);
}

static void add_condition(Look *l, const Expr *c, bool truth) {
  switch (c->op) {
  case OP_NOT: add_condition(l, c->arg[0], !truth); return;
  case OP_AND: case OP_OR:
    if ((c->op == OP_AND) != truth) return;          // a disjunction
    add_condition(l, c->arg[0], truth);
    add_condition(l, c->arg[1], truth);
    return;
  case OP_EQ: case OP_NE: case OP_LT: case OP_LE: case OP_GT: case OP_GE: add_comparison(l, c, truth); return;
  default: return;
  }
}

// Keeps what l learnt since it had `from` facts.
static void remember(Ranges *r, const Look *l, int from) {
  for (int k = from; k < l->facts.n; k++) {
    const Poly *p = poly_combine(r->a, 1, l->facts.v[k], 0, NULL, l->facts.v[k]);
    vec_push(r->a, &r->facts, p);
  }
}

// Proofs.

// Over dimensions, scalar arguments and constants?
static bool is_scalar(const Expr *e) {
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
  int64_t a = t->c < 0 ? -t->c : t->c, b = m->c < 0 ? -m->c : m->c, d = gcd(a, b);
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
  Value self = atom(l, e), v = value_of(l, e->arg[which]);
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
  if (dq && not_above(l, x)) f.below = poly_combine(l->a, 1, x.p, -1, NULL, dq);
  if (dq && not_below(l, x)) {
    const Poly *p = poly_combine(l->a, 1, dq, -1, NULL, x.p);
    if (p) p = poly_combine(l->a, 1, p, 1, NULL, d.p);
    if (p) f.above = poly_combine(l->a, 1, p, -1, NULL, poly_const(l->a, 1));
  }
  add_fact(l, f.below);
  add_fact(l, f.above);
  vec_push(l->a, &l->floors, f);
}

static void close_extreme(Look *l, Expr *e) {
  Value self = atom(l, e);
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

static bool prove_goal(Look *l, const Poly *p) {
  if (poly_bounds(l, p).lo >= 0) return true;
  for (int k = 0; k < l->facts.n; k++) close_poly(l, l->facts.v[k]);      // grows as it goes
  close_poly(l, p);
  l->bounds = map_make(l->a);                        // more is known now
  use_equalities(l);
  return prove_deepening(l, put_in_all(l, p));
}

// The interface.

Ranges *ranges_create(Arena *a, ExprTable *x) {
  Ranges *r = arena_new(a, Ranges);
  r->a = a;
  r->x = x;
  return r;
}

void ranges_push(Ranges *r) { vec_push(r->a, &r->marks, (Mark){r->list.n, r->facts.n}); }

void ranges_pop(Ranges *r) {
  assert(r->marks.n > 0);
  Mark m = r->marks.v[--r->marks.n];
  r->list.n = m.ranges;
  r->facts.n = m.facts;
}

void ranges_index(Ranges *r, Index *ix, Expr *lo, Expr *hi) {
  vec_push(r->a, &r->list, (Range){ix, lo, hi});
  Look l = look(r, r->x);
  int from = l.facts.n;
  Value i = value_of(&l, expr_index(r->x, ix)), least = value_of(&l, lo), end = value_of(&l, hi);
  add_order(&l, least, i, 0);
  add_order(&l, i, end, 1);
  add_order(&l, least, end, 1);
  remember(r, &l, from);
  arena_destroy(l.a);
}

void ranges_assume(Ranges *r, Expr *cond, bool truth) {
  Look l = look(r, r->x);
  int from = l.facts.n;
  add_condition(&l, cond, truth);
  remember(r, &l, from);
  arena_destroy(l.a);
}

bool ranges_of(const Ranges *r, const Index *ix, Expr **lo, Expr **hi) {
  for (int k = r->list.n - 1; k >= 0; k--) {
    if (r->list.v[k].ix != ix) continue;
    *lo = r->list.v[k].lo;
    *hi = r->list.v[k].hi;
    return true;
  }
  return false;
}

bool ranges_is_full(const Ranges *r, const Index *ix, const Expr *extent) {
  Expr *lo, *hi;
  return ranges_of(r, ix, &lo, &hi) && expr_is_int(lo, 0) && hi == extent;
}

bool ranges_is_box(const Ranges *r, const Index *ix) {
  Expr *lo, *hi;
  return ranges_of(r, ix, &lo, &hi) && is_scalar(lo) && is_scalar(hi);
}

bool range_prove_ge0(Ranges *r, ExprTable *x, Expr *e) {
  Look l = look(r, x);
  bool ok = prove_goal(&l, value_of(&l, e).p);
  arena_destroy(l.a);
  return ok;
}

// The least (end 0) or greatest (end 1) value of c·ix.
static const Poly *extreme_of(Look *l, const Mono *m, int end) {
  Expr *lo, *hi;
  if (m->n != 1 || !ranges_is_box(l->r, m->f[0]->u.ix) || !ranges_of(l->r, m->f[0]->u.ix, &lo, &hi)) return NULL;
  bool upper = (m->c > 0) == (end == 1);
  Value v = value_of(l, upper ? hi : lo);
  const Poly *p = upper ? poly_combine(l->a, 1, v.p, -1, NULL, poly_const(l->a, 1)) : v.p;
  return p ? poly_combine(l->a, m->c, p, 0, NULL, p) : NULL;
}

static const Poly *extreme(Look *l, const Poly *p, int end) {
  const Poly *made = poly_const(l->a, 0), *one = poly_const(l->a, 1);
  for (int k = 0; made && k < p->n; k++) {
    const Mono *m = &p->m[k];
    int indices = 0;
    for (int j = 0; j < m->n; j++) {
      indices += m->f[j]->op == OP_INDEX;
      if (m->f[j]->op != OP_INDEX && !is_scalar(m->f[j])) return NULL;
    }
    const Poly *part = indices ? extreme_of(l, m, end) : poly_combine(l->a, 0, one, m->c, m, one);
    made = part ? poly_combine(l->a, 1, made, 1, NULL, part) : NULL;
  }
  return made && in_word(poly_bounds(l, made)) ? made : NULL;
}

bool range_extremes(Ranges *r, ExprTable *x, Expr *e, Expr **lo, Expr **hi) {
  Look l = look(r, x);
  l.whole_mod = true;
  Value v = value_of(&l, e);
  const Poly *least = extreme(&l, v.p, 0), *most = least ? extreme(&l, v.p, 1) : NULL;
  if (most) *lo = poly_expr(x, least), *hi = poly_expr(x, most);
  arena_destroy(l.a);
  return most != NULL;
}

// Where among the factors of m one of the indices stands, -1: nowhere, -2: not in the form wanted.
static int factor_of(const Mono *m, int n, Index *const *ix, int *which) {
  int at = -1;
  for (int j = 0; j < m->n; j++) {
    for (int k = 0; k < n; k++) {
      if (!expr_uses_index(m->f[j], ix[k])) continue;
      if (m->f[j]->op != OP_INDEX || at >= 0) return -2;
      at = j;
      *which = k;
    }
  }
  return at;
}

bool affine_split(ExprTable *x, Expr *e, int n, Index *const *ix, Expr **coef, Expr **rest) {
  Look l = look(NULL, x);
  l.whole_mod = true;
  const Poly *p = value_of(&l, e).p, *one = poly_const(l.a, 1), *none = poly_const(l.a, 0);
  const Poly **part = arena_array(l.a, const Poly *, n + 1);             // the last: what has none of the indices
  bool ok = true;
  for (int k = 0; k <= n; k++) part[k] = none;
  for (int i = 0; ok && i < p->n; i++) {
    Mono m = p->m[i];
    int which = n, at = factor_of(&m, n, ix, &which);
    if (at >= 0) {
      for (int j = at; j + 1 < m.n; j++) m.f[j] = m.f[j + 1];
      m.n--;
    }
    part[which] = at == -2 ? NULL : poly_combine(l.a, 1, part[which], m.c, &m, one);
    ok = part[which] != NULL;
  }
  for (int k = 0; ok && k < n; k++) coef[k] = poly_expr(x, part[k]);
  if (ok) *rest = poly_expr(x, part[n]);
  arena_destroy(l.a);
  return ok;
}

static bool value_fits(Ranges *r, ExprTable *x, Expr *e) {
  Look l = look(r, x);
  const Poly *p = value_of(&l, e).p, *one = poly_const(l.a, 1);
  Bounds b = poly_bounds(&l, p);
  bool ok = b.lo >= INT32_MIN && b.hi <= INT32_MAX;
  if (!ok) {
    const Poly *below = poly_combine(l.a, -1, p, INT32_MAX, NULL, one), *above = poly_combine(l.a, 1, p, -(int64_t)INT32_MIN, NULL, one);
    ok = below && above && prove_goal(&l, below) && prove_goal(&l, above);
  }
  arena_destroy(l.a);
  return ok;
}

typedef struct Fits { Ranges *r; ExprTable *x; Map seen; } Fits;

static bool fits(Fits *f, Expr *e) {
  if (!dtype_is_int((Dtype)e->dtype) || map_get(&f->seen, e->id)) return true;
  map_put(&f->seen, e->id, e);
  bool inside = e->op != OP_READ && e->op != OP_FIELD && e->op != OP_REDUCE;     // these are values; their parts are other expressions
  for (uint32_t k = 0; inside && k < e->nargs; k++)
    if (!fits(f, e->arg[k])) return false;
  return value_fits(f->r, f->x, e);
}

bool range_fits_i32(Ranges *r, ExprTable *x, Expr *e) {
  Arena *a = arena_create();
  bool ok = fits(&(Fits){.r = r, .x = x, .seen = map_make(a)}, e);
  arena_destroy(a);
  return ok;
}

// Note [Wrapping]
//
// A polynomial is over the integers, the expression wraps at 64 bits. Sums and products agree with it modulo 2^64, so
// a subscript proved to lie in 0 .. extent - 1 as a polynomial has that value. What is compared or divided does not
// enjoy this: H·E of two dimensions may exceed 2^63. So a Value says whether it is exact, and a fact is taken from an
// expression only where it is, or where its bounds show that wrapping can only make the fact weaker: i < hi with
// hi = H·E holds with the polynomial too, for that is at least the wrapped value when it is not below -2^63.
