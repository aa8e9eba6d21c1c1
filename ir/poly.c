// poly.c: polynomials over integer expressions.
#include "ir/poly.h"
#include <assert.h>
#include <string.h>

static Poly *poly_new(Arena *a, int n) { return arena_alloc(a, sizeof(Poly) + (size_t)n * sizeof(Mono)); }

Poly *poly_const(Arena *a, int64_t c) {
  Poly *p = poly_new(a, 1);
  if (c != 0) p->m[p->n++] = (Mono){.c = c};
  return p;
}

Poly *poly_atom(Arena *a, Expr *e) {
  Poly *p = poly_new(a, 1);
  p->m[p->n++] = (Mono){.c = 1, .n = 1, .f = {e}};
  p->atoms = poly_bit(e);
  return p;
}

// By degree, then by the factors' ids.
static int mono_order(const Mono *p, const Mono *q) {
  if (p->n != q->n) return p->n < q->n ? -1 : 1;
  for (int k = 0; k < p->n; k++)
    if (p->f[k] != q->f[k]) return p->f[k]->id < q->f[k]->id ? -1 : 1;
  return 0;
}

// The product of the factors of p and by, in order; false when there are too many.
static bool mono_times(const Mono *p, const Mono *by, Mono *out) {
  *out = (Mono){.c = p->c};
  if (!by) return *out = *p, true;
  if (p->n + by->n > POLY_DEGREE) return false;
  for (int i = 0, j = 0; i < p->n || j < by->n;) {
    bool left = j == by->n || (i < p->n && p->f[i]->id <= by->f[j]->id);
    out->f[out->n++] = left ? p->f[i++] : by->f[j++];
  }
  return true;
}

// acc += c · m, keeping the order; false on overflow.
static bool poly_add_term(Poly *acc, const Mono *m, int64_t c) {
  int at = acc->n;
  while (at > 0 && mono_order(m, &acc->m[at - 1]) < 0) at--;
  if (at > 0 && mono_order(m, &acc->m[at - 1]) == 0) {
    if (__builtin_add_overflow(acc->m[at - 1].c, c, &acc->m[at - 1].c)) return false;
    if (acc->m[at - 1].c == 0) {
      memmove(&acc->m[at - 1], &acc->m[at], (size_t)(acc->n - at) * sizeof(Mono));
      acc->n--;
    }
    return true;
  }
  if (acc->n == POLY_TERMS) return false;
  memmove(&acc->m[at + 1], &acc->m[at], (size_t)(acc->n - at) * sizeof(Mono));
  acc->m[at] = *m;
  acc->m[at].c = c;
  acc->n++;
  return true;
}

static bool poly_add(Poly *acc, int64_t k, const Mono *by, const Poly *q) {
  for (int i = 0; k != 0 && i < q->n; i++) {
    Mono m;
    int64_t c;
    if (__builtin_mul_overflow(k, q->m[i].c, &c) || !mono_times(&q->m[i], by, &m) || !poly_add_term(acc, &m, c)) return false;
  }
  return true;
}

static Poly *poly_keep(Arena *a, const Poly *p) {
  Poly *made = poly_new(a, p->n);
  made->n = p->n;
  for (int i = 0; i < p->n; i++)
    for (int j = 0; j < p->m[i].n; j++) made->atoms |= poly_bit(p->m[i].f[j]);
  if (p->n) memcpy(made->m, p->m, (size_t)p->n * sizeof(Mono));
  return made;
}

typedef union Work { Poly p; char room[sizeof(Poly) + POLY_TERMS * sizeof(Mono)]; } Work;

Poly *poly_combine(Arena *a, int64_t s, const Poly *p, int64_t k, const Mono *by, const Poly *q) {
  Work w;
  w.p.n = 0;
  return poly_add(&w.p, s, NULL, p) && poly_add(&w.p, k, by, q) ? poly_keep(a, &w.p) : NULL;
}

Poly *poly_mul(Arena *a, const Poly *p, const Poly *q) {
  Work w;
  w.p.n = 0;
  for (int i = 0; i < p->n; i++)
    if (!poly_add(&w.p, p->m[i].c, &p->m[i], q)) return NULL;
  return poly_keep(a, &w.p);
}

bool poly_is_const(const Poly *p, int64_t *c) {
  if (p->n > 1 || (p->n == 1 && p->m[0].n > 0)) return false;
  *c = p->n ? p->m[0].c : 0;
  return true;
}

bool poly_equal(const Poly *p, const Poly *q) {
  if (p->n != q->n) return false;
  for (int k = 0; k < p->n; k++)
    if (p->m[k].c != q->m[k].c || mono_order(&p->m[k], &q->m[k]) != 0) return false;
  return true;
}

bool mono_divides(const Mono *d, const Mono *m, Mono *cofactor) {
  int i = 0;
  *cofactor = (Mono){.c = 1};
  for (int j = 0; j < m->n; j++) {
    if (i < d->n && d->f[i] == m->f[j]) i++;
    else cofactor->f[cofactor->n++] = m->f[j];
  }
  return i == d->n;
}

static Expr *as_i64(ExprTable *x, Expr *e) { return e->dtype == DT_I64 ? e : expr_cast(x, DT_I64, e, e->at); }

// Terms with a positive coefficient first, so that `N - 1 - i` comes out as people write it.
Expr *poly_expr(ExprTable *x, const Poly *p) {
  Expr *sum = NULL;
  for (int sign = 1; sign >= -1; sign -= 2) {
    for (int i = p->n - 1; i >= 0; i--) {
      const Mono *m = &p->m[i];
      if ((m->c > 0) != (sign > 0)) continue;
      int64_t c = sum && m->c != INT64_MIN ? (m->c < 0 ? -m->c : m->c) : m->c;
      bool minus = sum && m->c < 0 && m->c != INT64_MIN;
      Expr *term = NULL;
      for (int k = 0; k < m->n; k++) {
        Expr *f = as_i64(x, m->f[k]);
        term = term ? expr_op2(x, OP_MUL, term, f, NO_SPAN) : f;
      }
      if (!term) term = expr_int(x, DT_I64, c, NO_SPAN);
      else if (c != 1) term = expr_op2(x, OP_MUL, term, expr_int(x, DT_I64, c, NO_SPAN), NO_SPAN);
      sum = sum ? expr_op2(x, minus ? OP_SUB : OP_ADD, sum, term, NO_SPAN) : term;
    }
  }
  return sum ? sum : expr_int(x, DT_I64, 0, NO_SPAN);
}
