// look.c: polynomials, bounds and facts of integer expressions (see affine.c).
#include "ir/look.h"
#include "base/limits.h"
#include "ir/fn.h"
#include <assert.h>
#include <math.h>

// Of more facts, as hundreds of guards inside each other make, the outermost and the innermost are looked at: knowing less is sound, and
// a proof's work grows with the square of what is known.
enum { MOST_FACTS = 128 };

static bool has_constant(const Poly *p) { return p->n && !p->m[0].n; }

// Do p and q differ by a constant alone? *less: p is q and something not above 0, so that p >= 0 says more.
static bool differ_by_constant(const Poly *p, const Poly *q, bool *less) {
  int a = has_constant(p), b = has_constant(q);
  if (p->atoms != q->atoms || p->n - a != q->n - b) return false;
  for (int k = 0; k < p->n - a; k++) {
    const Mono *m = &p->m[k + a], *o = &q->m[k + b];
    if (m->c != o->c || m->n != o->n) return false;
    for (int j = 0; j < m->n; j++) if (m->f[j] != o->f[j]) return false;
  }
  *less = (a ? p->m[0].c : 0) <= (b ? q->m[0].c : 0);
  return true;
}

// i + 1 <= n and i + 2 <= n and …: the last says what all say. Else each guard of a chain would be asked of all before it.
static void know(Look *l, const Poly *p) {
  bool less;
  for (int k = 0; k < l->facts.n; k++) {
    if (!differ_by_constant(p, l->facts.v[k], &less)) continue;
    if (less) l->facts.v[k] = p;
    return;
  }
  vec_push(l->a, &l->facts, p);
}

Look look(Ranges *r, ExprTable *x) {
  Look l = {.r = r, .x = x, .a = arena_create()};
  l.values = l.bounds = l.closed = l.halved = map_make(l.a);
  int n = r ? r->facts.n : 0, left_out = n > MOST_FACTS ? n - MOST_FACTS : 0;
  for (int k = 0; k < n; k++) {
    if (k == MOST_FACTS / 2) k += left_out;
    know(&l, r->facts.v[k]);
  }
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

Bounds mono_bounds(Look *l, const Mono *m) {
  Bounds b = outward((double)m->c, (double)m->c);
  for (int k = 0; k < m->n; k++) b = bounds_mul(b, bounds_of(l, m->f[k]));
  return b;
}

Bounds poly_bounds(Look *l, const Poly *p) {
  Bounds sum = {0, 0};
  for (int k = 0; k < p->n; k++) {
    Bounds b = mono_bounds(l, &p->m[k]);
    sum = outward(sum.lo + b.lo, sum.hi + b.hi);
  }
  return sum;
}

// The term of p that is e alone, when e stands nowhere else in p; -1 otherwise.
int sole_term(const Poly *p, const Expr *e) {
  int at = -1, uses = 0;
  if (!(p->atoms & poly_bit(e))) return -1;
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
Bounds bounds_of(Look *l, Expr *e) {
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

// The value is at least p, at most p? Modulo 2^64 a value differs from p by a multiple of 2^64.
bool value_not_above(Look *l, Value v) { return v.exact || poly_bounds(l, v.p).lo > -WORD; }
bool value_not_below(Look *l, Value v) { return v.exact || poly_bounds(l, v.p).hi < WORD; }

static Bounds operand_bounds(Look *l, Expr *e, int k) {
  Value v = value_of(l, e->arg[k]);
  Bounds any = type_bounds((Dtype)e->arg[k]->dtype), b = poly_bounds(l, v.p);
  return v.exact || in_word(b) ? meet(b, any) : any;
}

Value value_atom(Look *l, Expr *e) { return (Value){poly_atom(l->a, e), true}; }

// A result of + - * in e's type: 64 bits wrap as polynomials do; of narrower types only what fits is looked into.
static Value ring(Look *l, Expr *e, const Poly *p, bool exact) {
  if (!p) return value_atom(l, e);
  if (e->dtype == DT_I64) return (Value){p, exact && in_word(poly_bounds(l, p))};
  bool fits = exact && e->dtype != DT_U64 && within(poly_bounds(l, p), type_bounds((Dtype)e->dtype));
  return fits ? (Value){p, true} : value_atom(l, e);
}

static Value sum(Look *l, Expr *e, int64_t sign) {
  Value a = value_of(l, e->arg[0]), b = value_of(l, e->arg[1]);
  return ring(l, e, poly_combine(l->a, 1, a.p, sign, NULL, b.p), a.exact && b.exact);
}

static Value shifted_left(Look *l, Expr *e) {
  if (e->arg[1]->op != OP_CONST || e->arg[1]->u.v.i < 0 || e->arg[1]->u.v.i > 62 || e->arg[1]->u.v.i >= dtypes[e->dtype].bits)
    return value_atom(l, e);
  Value a = value_of(l, e->arg[0]);
  return ring(l, e, poly_combine(l->a, (int64_t)1 << e->arg[1]->u.v.i, a.p, 0, NULL, a.p), a.exact);
}

// x >> c is x // 2^c.
static Value shifted_right(Look *l, Expr *e) {
  int64_t c = e->arg[1]->op == OP_CONST ? e->arg[1]->u.v.i : -1;
  if (c < 0 || c > 30 || (e->dtype != DT_I64 && e->dtype != DT_I32)) return value_atom(l, e);
  Expr *power = expr_int(l->x, (Dtype)e->dtype, (int64_t)1 << c, e->at);
  return value_of(l, expr_op2(l->x, OP_FLOORDIV, e->arg[0], power, e->at));
}

// (d·p + rest) // d is p where 0 <= rest < d; d a constant.
static Value floored(Look *l, Expr *e) {
  Value x = value_of(l, e->arg[0]);
  Expr *d = e->arg[1];
  if (d->op != OP_CONST || d->u.v.i <= 0 || !x.exact || e->dtype == DT_U64) return value_atom(l, e);
  const Poly *whole = poly_const(l->a, 0), *rest = whole;
  for (int k = 0; whole && rest && k < x.p->n; k++) {
    Mono m = x.p->m[k];
    int64_t c = m.c, q = c / d->u.v.i - (c % d->u.v.i < 0);
    const Poly *one = poly_const(l->a, 1);
    whole = poly_combine(l->a, 1, whole, q, &m, one);
    if (rest) rest = poly_combine(l->a, 1, rest, c - q * d->u.v.i, &m, one);
  }
  bool clean = whole && rest && poly_bounds(l, rest).lo >= 0 && poly_bounds(l, rest).hi <= (double)(d->u.v.i - 1);
  return clean ? (Value){whole, true} : value_atom(l, e);
}

static Value remainder_of(Look *l, Expr *e) {
  if (l->whole_mod || e->dtype != DT_I64) return value_atom(l, e);
  Value x = value_of(l, e->arg[0]), d = value_of(l, e->arg[1]);
  Value q = value_of(l, expr_op2(l->x, OP_FLOORDIV, e->arg[0], e->arg[1], e->at));
  const Poly *dq = poly_mul(l->a, d.p, q.p), *p = dq ? poly_combine(l->a, 1, x.p, -1, NULL, dq) : NULL;
  if (!p) return value_atom(l, e);
  bool wraps = poly_bounds(l, d.p).lo <= -1 && poly_bounds(l, x.p).lo <= -WORD;      // INT64_MIN // -1
  return (Value){p, x.exact && d.exact && q.exact && !wraps};
}

// To a wider type nothing changes; to a narrower one where the value fits.
static Value converted(Look *l, Expr *e) {
  Expr *from = e->arg[0];
  if (!dtype_is_int((Dtype)from->dtype) || from->dtype == DT_U64) return value_atom(l, e);
  Value v = value_of(l, from);
  if (!dtype_is_int((Dtype)e->aux) || e->dtype == DT_U64) return value_atom(l, e);
  Bounds b = poly_bounds(l, v.p);
  if (from->dtype == DT_I64 && e->aux == DT_I64) return v;
  if (v.exact || in_word(b)) b = meet(b, type_bounds((Dtype)from->dtype));
  else return value_atom(l, e);
  return within(b, type_bounds((Dtype)e->aux)) ? (Value){v.p, true} : value_atom(l, e);
}

static Value value_new(Look *l, Expr *e) {
  switch (e->op) {
  case OP_CONST:
    if (e->dtype == DT_U64 && e->u.v.u > INT64_MAX) return value_atom(l, e);
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
  default: return value_atom(l, e);
  }
}

Value value_of(Look *l, Expr *e) {
  assert(dtype_is_int((Dtype)e->dtype));
  Value *known = map_get(&l->values, e->id);
  if (known) return *known;
  known = arena_new(l->a, Value);
  *known = value_new(l, e);
  map_put(&l->values, e->id, known);
  return *known;
}

// Facts.

int64_t gcd64(int64_t a, int64_t b) {
  while (b) {
    int64_t t = a % b;
    a = b;
    b = t;
  }
  return a < 0 ? -a : a;
}

// p divided by the common divisor of its coefficients, the constant rounded down: the same over the integers.
const Poly *tighten(Look *l, const Poly *p) {
  int64_t g = 0;
  for (int k = 0; k < p->n; k++) {
    if (p->m[k].c == INT64_MIN) return p;
    if (p->m[k].n) g = gcd64(g, p->m[k].c);
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

const Poly *put_in_all(Look *l, const Poly *p) {
  for (int k = 0; k < l->equals.n; k++) p = put_in(l, p, &l->equals.v[k]);
  return tighten(l, p);
}

void add_fact(Look *l, const Poly *p) {
  int64_t c;
  if (p) p = put_in_all(l, p);
  if (!p || (poly_is_const(p, &c) && c >= 0)) return;
  for (int k = 0; k < l->facts.n; k++)
    if (poly_equal(l->facts.v[k], p)) return;
  vec_push(l->a, &l->facts, p);
}

// a + k <= b, for expressions that have this relation as values.
void add_order(Look *l, Value a, Value b, int64_t k) {
  if (!value_not_below(l, a) || !value_not_above(l, b)) return;
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

void add_condition(Look *l, const Expr *c, bool truth) {
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
