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
#include "ir/fn.h"
#include "ir/look.h"
#include <assert.h>

// Keeps what l learnt since it had `from` facts.
static void remember(Ranges *r, const Look *l, int from) {
  for (int k = from; k < l->facts.n; k++) {
    const Poly *p = poly_combine(r->a, 1, l->facts.v[k], 0, NULL, l->facts.v[k]);
    vec_push(r->a, &r->facts, p);
  }
}

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
