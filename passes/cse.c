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

typedef struct Twins {
  Tensor **to;          // by tensor id: what is read in its place; NULL: itself
  int swaps;
  Map last;             // hash of an equation → its place + 1, the last of that hash
  int *before;          // by place: the one of the same hash before it, + 1; 0: none
} Twins;

static Expr *swap_read(void *cx, ExprTable *x, Expr *e) {
  Tensor *to = e->op == OP_READ ? ((const Twins *)cx)->to[e->u.t->id] : NULL;
  return to ? expr_make(x, OP_READ, (Dtype)e->dtype, e->aux, to, e->at, (int)e->nargs, e->arg) : e;
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

// The first earlier equation that b repeats, or NULL.
static Eqn *twin(const Fn *f, const Twins *t, Eqn *b, uint64_t hash) {
  Eqn *first = NULL;
  if (b->def->role != ROLE_LOCAL) return NULL;
  for (int i = (int)(uintptr_t)map_get(&t->last, hash); i; i = t->before[i - 1])
    if (same(f->eqns.v[i - 1], b)) first = f->eqns.v[i - 1];
  return first;
}

static void remember(Twins *t, uint64_t hash, int at) {
  t->before[at] = (int)(uintptr_t)map_get(&t->last, hash);
  map_put(&t->last, hash, (void *)(uintptr_t)(at + 1));
}

bool pass_cse(Pipe *p) {
  Fn *f = p->fn;
  Twins t = { .to = arena_array(p->scratch, Tensor *, f->tensors.n + 1), .last = map_make(p->scratch) };
  t.before = arena_array(p->scratch, int, f->eqns.n + 1);
  int n = 0;
  for (int i = 0; i < f->eqns.n; i++) {
    Eqn *q = f->eqns.v[i];
    if (t.swaps) eqn_map(f->x, q, swap_read, &t);
    uint64_t hash = expr_shape_hash(q->body, q->n, q->ix);
    Eqn *a = plain(q) ? twin(f, &t, q, hash) : NULL;
    if (a) {
      t.to[q->def->id] = a->def;
      t.swaps++;
      continue;
    }
    if (plain(q)) remember(&t, hash, n);
    f->eqns.v[n++] = q;
  }
  f->eqns.n = n;
  fn_renumber(f);
  return true;
}
