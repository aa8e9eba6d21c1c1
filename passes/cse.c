// cse.c: make equations that compute the same thing one.
//
//   a[i] = sum[j](x[i, j])        y[i] = a[i] + a[i]
//   b[k] = sum[m](x[k, m])   ──▶
//   y[i] = a[i] + b[i]
//
// Expressions inside one function are shared already (hash-consing); this pass finds equations that are equal up to the names of
// their indices: a norm called twice on one tensor, a mean written out beside `variance`. One of the two must be a
// local, and both must round in the same way.
#include "ir/rewrite.h"
#include "passes/pass.h"

typedef struct Swap { Tensor *from, *to; } Swap;

static Expr *swap_read(void *cx, ExprTable *x, Expr *e) {
  const Swap *s = cx;
  return e->op == OP_READ && e->u.t == s->from ? expr_make(x, OP_READ, (Dtype)e->dtype, e->aux, s->to, e->at, (int)e->nargs, e->arg) : e;
}

static void swap_everywhere(Fn *f, int first, Swap s) {
  for (int i = first; i < f->eqns.n; i++) eqn_map(f->x, f->eqns.v[i], swap_read, &s);
}

static bool plain(const Eqn *q) { return !q->base && !q->recurrent && !q->def->fmt; }

static bool same(const Eqn *a, const Eqn *b) {
  const Tensor *s = a->def, *t = b->def;
  if (a->n != b->n || s->dtype != t->dtype) return false;
  bool rounds_s = s->stored || fn_is_output(s), rounds_t = t->stored || fn_is_output(t);
  if (rounds_s != rounds_t && !dtype_is_wide(s->dtype)) return false;
  for (int k = 0; k < a->n; k++) if (a->extent[k] != b->extent[k]) return false;
  return expr_same(a->body, b->body, a->n, a->ix, b->ix);
}

// The earlier equation that b repeats, or NULL.
static Eqn *twin(const Fn *f, int b, const uint64_t *hash) {
  for (int i = 0; i < b; i++) {
    Eqn *a = f->eqns.v[i];
    if (hash[i] != hash[b] || !plain(a) || !same(a, f->eqns.v[b])) continue;
    if (f->eqns.v[b]->def->role == ROLE_LOCAL) return a;
  }
  return NULL;
}

static void drop(Fn *f, int at) {
  for (int i = at; i + 1 < f->eqns.n; i++) f->eqns.v[i] = f->eqns.v[i + 1];
  f->eqns.n--;
}

bool pass_cse(Pipe *p) {
  Fn *f = p->fn;
  uint64_t *hash = arena_array(p->scratch, uint64_t, f->eqns.n + 1);
  for (int i = 0; i < f->eqns.n; i++) {
    Eqn *q = f->eqns.v[i];
    hash[i] = expr_shape_hash(q->body, q->n, q->ix);
    Eqn *a = plain(q) ? twin(f, i, hash) : NULL;
    if (!a) continue;
    swap_everywhere(f, i + 1, (Swap){ q->def, a->def });
    drop(f, i--);
  }
  return true;
}
