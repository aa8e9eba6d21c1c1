// sema_poly.c: extents as polynomials, to show that two are equal and to solve for a dimension.
//
// A polynomial is a sum of monomials over atoms: dimensions, scalar arguments and whatever is not +, -, * (which
// hash-consing makes comparable by address). Products are kept up to MAX_FACTORS atoms and sums up to MAX_TERMS
// monomials; what is larger counts as one atom. Coefficients that overflow make the answer "unknown".
#include "frontend/sema_int.h"
#include <string.h>

enum { MAX_FACTORS = 6, MAX_TERMS = 24 };
typedef struct Mono { int n; Expr *atom[MAX_FACTORS]; int64_t coef; } Mono;
typedef struct Poly { int n; Mono term[MAX_TERMS]; } Poly;

static int mono_order(const Mono *a, const Mono *b) {
  if (a->n != b->n) return a->n > b->n ? -1 : 1;      // constants last
  for (int i = 0; i < a->n; i++)
    if (a->atom[i]->id != b->atom[i]->id) return a->atom[i]->id < b->atom[i]->id ? -1 : 1;
  return 0;
}

static bool poly_add_mono(Poly *p, const Mono *m) {
  int at = 0;
  if (!m->coef) return true;
  while (at < p->n && mono_order(&p->term[at], m) < 0) at++;
  if (at < p->n && mono_order(&p->term[at], m) == 0) {
    if (__builtin_add_overflow(p->term[at].coef, m->coef, &p->term[at].coef)) return false;
    if (p->term[at].coef) return true;
    p->n--;
    memmove(&p->term[at], &p->term[at + 1], (size_t)(p->n - at) * sizeof(Mono));
    return true;
  }
  if (p->n == MAX_TERMS) return false;
  memmove(&p->term[at + 1], &p->term[at], (size_t)(p->n - at) * sizeof(Mono));
  p->term[at] = *m;
  p->n++;
  return true;
}

static void poly_const(Poly *p, int64_t c) {
  p->n = c != 0;
  p->term[0] = (Mono){.coef = c};
}

static void poly_atom(Poly *p, Expr *e) {
  p->n = 1;
  p->term[0] = (Mono){.n = 1, .atom = {e}, .coef = 1};
}

static bool poly_sum(Poly *out, const Poly *a, const Poly *b, int64_t sign) {
  *out = *a;
  for (int i = 0; i < b->n; i++) {
    Mono m = b->term[i];
    if (__builtin_mul_overflow(m.coef, sign, &m.coef) || !poly_add_mono(out, &m)) return false;
  }
  return true;
}

static bool mono_product(const Mono *a, const Mono *b, Mono *out) {
  if (a->n + b->n > MAX_FACTORS || __builtin_mul_overflow(a->coef, b->coef, &out->coef)) return false;
  out->n = 0;
  for (int i = 0, j = 0; i < a->n || j < b->n;) {
    bool left = j == b->n || (i < a->n && a->atom[i]->id <= b->atom[j]->id);
    out->atom[out->n++] = left ? a->atom[i++] : b->atom[j++];
  }
  return true;
}

static bool poly_product(Poly *out, const Poly *a, const Poly *b) {
  Mono m;
  out->n = 0;
  for (int i = 0; i < a->n; i++)
    for (int j = 0; j < b->n; j++)
      if (!mono_product(&a->term[i], &b->term[j], &m) || !poly_add_mono(out, &m)) return false;
  return true;
}

// p / d when it is exact for every value: all coefficients are multiples.
static bool poly_divide(Poly *out, const Poly *p, int64_t d) {
  *out = *p;
  if (d <= 0) return false;
  for (int i = 0; i < p->n; i++) {
    if (p->term[i].coef % d) return false;
    out->term[i].coef /= d;
  }
  return true;
}

static bool poly_is_const(const Poly *p, int64_t *c) {
  if (p->n > 1 || (p->n == 1 && p->term[0].n)) return false;
  *c = p->n ? p->term[0].coef : 0;
  return true;
}

// Steps left: an expression that shares its parts may stand for a very long sum.
typedef struct Fuel { int left; } Fuel;

static void poly_walk(Fuel *f, Poly *out, Expr *e);

static bool poly_division(Poly *out, const Expr *e, const Poly *a, const Poly *b) {
  int64_t d, c;
  Poly q;
  if (!poly_is_const(b, &d) || d <= 0) return false;
  if (poly_is_const(a, &c)) {
    int64_t m = c % d + (c % d < 0 ? d : 0);
    poly_const(out, e->op == OP_MOD ? m : (c - m) / d);
    return true;
  }
  if (!poly_divide(&q, a, d)) return false;
  if (e->op == OP_MOD) poly_const(out, 0);
  else *out = q;
  return true;
}

static bool poly_binary(Fuel *f, Poly *out, Expr *e) {
  Poly a, b;
  poly_walk(f, &a, e->arg[0]);
  poly_walk(f, &b, e->arg[1]);
  switch (e->op) {
  case OP_ADD: return poly_sum(out, &a, &b, 1);
  case OP_SUB: return poly_sum(out, &a, &b, -1);
  case OP_MUL: return poly_product(out, &a, &b);
  default: return poly_division(out, e, &a, &b);
  }
}

static void poly_walk(Fuel *f, Poly *out, Expr *e) {
  enum { DEEPEST = 64 };
  Scalar v;
  bool binary = e->op == OP_ADD || e->op == OP_SUB || e->op == OP_MUL || e->op == OP_FLOORDIV || e->op == OP_MOD;
  poly_atom(out, e);
  if (e->dtype != DT_I64 || e->depth > DEEPEST || f->left-- <= 0) return;
  Poly p;
  if (binary && poly_binary(f, &p, e)) *out = p;
  else if (e->op == OP_CONST) poly_const(out, e->u.v.i);
  else if (!binary && expr_fold(e, &v)) poly_const(out, v.i);
}

static void poly_of(Poly *out, Expr *e) {
  Fuel f = {2000};
  poly_walk(&f, out, e);
}

static Expr *mono_expr(Sema *s, const Mono *m, int64_t coef) {
  Expr *e = NULL;
  for (int i = 0; i < m->n; i++) e = e ? expr_op2(s->x, OP_MUL, e, m->atom[i], e->at) : m->atom[i];
  if (!e) return expr_int(s->x, DT_I64, coef, NO_SPAN);
  return coef == 1 ? e : expr_op2(s->x, OP_MUL, e, expr_int(s->x, DT_I64, coef, e->at), e->at);
}

// Terms with positive coefficients first, so that the text needs no leading minus where it can be helped.
static Expr *poly_expr(Sema *s, const Poly *p) {
  Expr *e = NULL;
  for (int i = 0; i < p->n; i++) {
    if (p->term[i].coef < 0) continue;
    Expr *t = mono_expr(s, &p->term[i], p->term[i].coef);
    e = e ? expr_op2(s->x, OP_ADD, e, t, t->at) : t;
  }
  for (int i = 0; i < p->n; i++) {
    if (p->term[i].coef >= 0) continue;
    if (!e) e = mono_expr(s, &p->term[i], p->term[i].coef);
    else e = expr_op2(s->x, OP_SUB, e, mono_expr(s, &p->term[i], p->term[i].coef == INT64_MIN ? INT64_MIN : -p->term[i].coef),
                      e->at);
  }
  return e ? e : expr_int(s->x, DT_I64, 0, NO_SPAN);
}

Expr *extent_normal(Sema *s, Expr *e) {
  Poly p;
  poly_of(&p, e);
  return poly_expr(s, &p);
}

bool extent_const(Expr *e, int64_t *out) {
  Poly p;
  if (e->op == OP_CONST) return *out = e->u.v.i, true;
  if (e->op == OP_DIM || e->op == OP_READ) return false;
  poly_of(&p, e);
  return poly_is_const(&p, out);
}

static bool difference(Poly *out, Expr *a, Expr *b) {
  Poly p, q;
  poly_of(&p, a);
  poly_of(&q, b);
  return poly_sum(out, &p, &q, -1);
}

bool extent_difference(Expr *a, Expr *b, int64_t *out) {
  Poly d;
  return difference(&d, a, b) && poly_is_const(&d, out);
}

// Is p = 0 one of the conditions that hold at the call?
static bool known_zero(Sema *s, const Poly *p) {
  enum { MOST = 256 };          // conditions looked at
  int64_t c;
  for (int i = 0; i < s->f->where.n && i < MOST; i++) {
    Expr *w = s->f->where.v[i].e;
    Poly q, r;
    if (w->op != OP_EQ || w->arg[0]->dtype != DT_I64 || !difference(&q, w->arg[0], w->arg[1])) continue;
    if (poly_sum(&r, p, &q, -1) && poly_is_const(&r, &c) && c == 0) return true;
    if (poly_sum(&r, p, &q, 1) && poly_is_const(&r, &c) && c == 0) return true;
  }
  return false;
}

// Are two extents equal for all dimensions, for none, or does it depend?
Agree extents_agree(Sema *s, Expr *a, Expr *b) {
  Poly d;
  int64_t c;
  if (a == b) return AGREE_YES;
  if (!difference(&d, a, b)) return AGREE_UNKNOWN;
  if (poly_is_const(&d, &c)) return c ? AGREE_NO : AGREE_YES;
  return known_zero(s, &d) ? AGREE_YES : AGREE_UNKNOWN;
}

// p / m for a monomial m that divides each term.
static bool poly_divide_mono(Poly *out, const Poly *p, const Mono *m) {
  out->n = 0;
  for (int i = 0; i < p->n; i++) {
    Mono t = {.coef = p->term[i].coef / m->coef};
    int j = 0;
    if (p->term[i].coef % m->coef) return false;
    for (int k = 0; k < p->term[i].n; k++) {
      if (j < m->n && p->term[i].atom[k] == m->atom[j]) j++;
      else t.atom[t.n++] = p->term[i].atom[k];
    }
    if (j < m->n || !poly_add_mono(out, &t)) return false;
  }
  return true;
}

// (extent - offset) / scale. *exact: the quotient has no remainder whatever the dimensions are.
Expr *extent_solve(Sema *s, Expr *extent, Expr *scale, Expr *offset, bool *exact) {
  Poly d, q, out;
  poly_of(&q, scale);
  *exact = true;
  if (expr_is_int(scale, 1) && expr_is_int(offset, 0)) return extent;
  if (difference(&d, extent, offset)) {
    if (q.n == 1 && q.term[0].coef > 0 && poly_divide_mono(&out, &d, &q.term[0])) return poly_expr(s, &out);
    *exact = false;
    return expr_op2(s->x, OP_FLOORDIV, poly_expr(s, &d), scale, extent->at);
  }
  *exact = false;
  return expr_op2(s->x, OP_FLOORDIV, expr_op2(s->x, OP_SUB, extent, offset, extent->at), scale, extent->at);
}

// Ranges of integers, for shift counts: what constants, constant bounds and narrow types show.

typedef struct Range { int64_t lo, hi; } Range;

static bool range_of(Expr *e, const Bound *bound, int depth, Range *r);

static bool index_range(const Index *ix, const Bound *bound, Range *r) {
  for (; bound; bound = bound->up) {
    if (bound->ix != ix) continue;
    if (!bound->extent || !bound->from_zero || bound->extent->op != OP_CONST) return false;
    *r = (Range){0, bound->extent->u.v.i - 1};
    return true;
  }
  return false;
}

static bool stored_range(const Expr *e, Range *r) {
  Dtype d = expr_stored(e);
  if (!dtype_is_int(d) || dtypes[d].bits > 32) return false;
  int64_t half = (int64_t)1 << (dtypes[d].bits - 1);
  *r = dtype_is_signed(d) ? (Range){-half, half - 1} : (Range){0, 2 * half - 1};
  return true;
}

static Range products(Range a, Range b) {
  int64_t p[4] = {a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi};
  Range r = {p[0], p[0]};
  for (int i = 1; i < 4; i++) {
    if (p[i] < r.lo) r.lo = p[i];
    if (p[i] > r.hi) r.hi = p[i];
  }
  return r;
}

static int64_t floor_quotient(int64_t a, int64_t d) { return a / d - (a % d < 0); }

static bool binary_range(const Expr *e, Range a, Range b, Range *r) {
  bool positive = b.lo == b.hi && b.lo > 0;
  switch (e->op) {
  case OP_ADD: *r = (Range){a.lo + b.lo, a.hi + b.hi}; return true;
  case OP_SUB: *r = (Range){a.lo - b.hi, a.hi - b.lo}; return true;
  case OP_MUL: *r = products(a, b); return true;
  case OP_FLOORDIV: *r = (Range){positive ? floor_quotient(a.lo, b.lo) : 0,
                                 positive ? floor_quotient(a.hi, b.lo) : 0}; return positive;
  case OP_BITAND: *r = (Range){0, a.lo < 0 ? b.hi : b.lo < 0 || a.hi < b.hi ? a.hi : b.hi}; return a.lo >= 0 || b.lo >= 0;
  case OP_MIN: *r = (Range){a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi}; return true;
  case OP_MAX: *r = (Range){a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi}; return true;
  default: return false;
  }
}

static bool within(Range r) { return r.lo >= INT32_MIN && r.hi <= INT32_MAX; }

static bool range_of(Expr *e, const Bound *bound, int depth, Range *r) {
  enum { DEEPEST = 24 };
  Range a, b;
  if (depth > DEEPEST) return false;
  switch (e->op) {
  case OP_CONST: *r = (Range){e->u.v.i, e->u.v.i}; return dtype_is_int((Dtype)e->dtype) && within(*r);
  case OP_INDEX: return index_range(e->u.ix, bound, r) && within(*r);
  case OP_READ: return stored_range(e, r);
  case OP_REDUCE:
    if (!reducers[e->u.bind->reducer].arg || !expr_is_const(reduce_lo(e, 0)) || !expr_is_const(reduce_hi(e, 0)))
      return stored_range(e, r);
    *r = (Range){reduce_lo(e, 0)->u.v.i, reduce_hi(e, 0)->u.v.i - 1};
    return within(*r);
  case OP_CAST:
    if (!dtype_is_int((Dtype)e->arg[0]->dtype) || !range_of(e->arg[0], bound, depth + 1, r)) return stored_range(e, r);
    if (dtypes[e->aux].bits >= 32 && (dtype_is_signed((Dtype)e->aux) || r->lo >= 0)) return true;
    return stored_range(e, r);
  case OP_MOD:
    if (!range_of(e->arg[1], bound, depth + 1, &b) || b.lo != b.hi || b.lo <= 0) return false;
    *r = (Range){0, b.lo - 1};
    return true;
  default:
    if (e->nargs != 2 || !range_of(e->arg[0], bound, depth + 1, &a) || !range_of(e->arg[1], bound, depth + 1, &b)) return false;
    return binary_range(e, a, b, r) && within(*r);
  }
}

// The values that an integer expression can take, when constants and constant ranges show that they fit 32 bits.
bool int_range(Expr *e, const Bound *bound, int64_t *lo, int64_t *hi) {
  Range r;
  if (!range_of(e, bound, 0, &r)) return false;
  *lo = r.lo;
  *hi = r.hi;
  return true;
}
