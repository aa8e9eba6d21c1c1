#include "ir/turned.h"

static const Index *innermost(const Turned *t) { return t->ix[t->n - 1]; }

static bool has(const Turned *t, const Index *ix) {
  for (int k = 0; k < t->n; k++) if (t->ix[k] == ix) return true;
  return false;
}

// One of the subscripts but the last is the innermost index, the last is another loop's index.
static bool is_turned(const Turned *t, const Expr *e) {
  int n = e->op == OP_READ ? e->u.t->rank : 0, at = -1;
  if (n < 2 || e->u.t->table || e->u.t->fmt || e->u.t->role == ROLE_LOCAL || dtypes[e->u.t->dtype].bits < 8) return false;
  const Expr *last = e->arg[n - 1];
  if (last->op != OP_INDEX || last->u.ix == innermost(t) || !has(t, last->u.ix)) return false;
  for (int k = 0; k + 1 < n; k++) {
    if (expr_has(e->arg[k], OP_VAR) || expr_has(e->arg[k], OP_READ) || expr_uses_index(e->arg[k], last->u.ix)) return false;
    if (expr_is_index(e->arg[k], innermost(t)) && at < 0) at = k;
    else if (expr_uses_index(e->arg[k], innermost(t))) return false;
  }
  return at >= 0;
}

void turned_find(Turned *t, Expr *e) {
  if (is_turned(t, e)) {
    const Index *across = e->arg[e->u.t->rank - 1]->u.ix;
    for (int i = 0; i < t->reads.n; i++) if (t->reads.v[i] == e) return;
    if (t->reads.n == t->most || (t->across && t->across != across)) return;
    t->across = (Index *)(uintptr_t)across;
    vec_push(t->a, &t->reads, e);
    return;
  }
  if (e->op == OP_READ) return;
  uint32_t n = ops[e->op].props & OP_LAZY ? 1 : e->nargs;
  for (uint32_t k = 0; k < n; k++) turned_find(t, e->arg[k]);
}
