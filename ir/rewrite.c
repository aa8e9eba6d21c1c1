#include "ir/rewrite.h"
#include "base/limits.h"
#include <assert.h>

void eqn_map(ExprTable *x, Eqn *q, ExprMap f, void *cx) {
  q->body = expr_map(x, q->body, f, cx);
  if (q->cond) q->cond = expr_map(x, q->cond, f, cx);
  for (int k = 0; k < q->nstore; k++) q->store[k] = expr_map(x, q->store[k], f, cx);
}

typedef struct Replace { Expr *from, *to; } Replace;
static Expr *replace_one(void *cx, ExprTable *x, Expr *e) {
  (void)x;
  const Replace *r = cx;
  return e == r->from ? r->to : e;
}

void eqn_replace(ExprTable *x, Eqn *q, Expr *from, Expr *to) {
  Replace r = { from, to };
  eqn_map(x, q, replace_one, &r);
}

typedef struct SetAux { ExprTable *x; const Map *aux; Map made; } SetAux;

static void set_aux(void *cx, Expr *e) {
  SetAux *r = cx;
  Expr *arg[2 * LIMIT_RANK + 2];        // a reduction has the most
  bool changed = false;
  assert(e->nargs <= sizeof arg / sizeof *arg);
  for (uint32_t k = 0; k < e->nargs; k++) {
    Expr *made = map_getp(&r->made, e->arg[k]);
    arg[k] = made ? made : e->arg[k];
    changed |= made != NULL;
  }
  int aux = (int)(uintptr_t)map_getp(r->aux, e) - 1;
  if (aux >= 0) map_putp(&r->made, e, expr_make(r->x, (Op)e->op, (Dtype)e->dtype, aux, NULL, e->at, (int)e->nargs, arg));
  else if (changed) map_putp(&r->made, e, expr_rebuild(r->x, e, arg));
}

void eqn_set_aux(ExprTable *x, Arena *scratch, Eqn *q, const Map *aux) {
  if (!aux->n) return;
  SetAux r = { x, aux, map_make(scratch) };
  expr_visit(scratch, q->body, set_aux, &r);
  Expr *body = map_getp(&r.made, q->body);
  if (body) q->body = body;
}

void eqn_visit(Arena *scratch, Eqn *q, ExprVisit f, void *cx) {
  expr_visit(scratch, q->body, f, cx);
  if (q->cond) expr_visit(scratch, q->cond, f, cx);
  for (int k = 0; k < q->nstore; k++) expr_visit(scratch, q->store[k], f, cx);
}

static void mark_read(void *cx, Expr *e) {
  bool *live = cx;
  if (e->op == OP_READ && e->aux != READ_FAILS) live[e->u.t->id] = true;
}

bool *fn_live(Arena *a, const Fn *f) {
  bool *live = arena_array(a, bool, f->tensors.n + 1);
  for (int i = 0; i < f->eqns.n; i++)
    if (fn_is_output(f->eqns.v[i]->def)) live[f->eqns.v[i]->def->id] = true;
  // Backwards once is enough but for the equations of a recurrence, which read each other both ways.
  for (int round = 0; round < 2; round++)
    for (int i = f->eqns.n - 1; i >= 0; i--) {
      Eqn *q = f->eqns.v[i];
      if (!live[q->def->id]) continue;
      eqn_visit(a, q, mark_read, live);
      if (q->base) live[q->base->id] = true;
    }
  return live;
}

static void count_read(void *cx, Expr *e) {
  bool *read = cx;
  if (e->op == OP_READ) read[e->u.t->id] = true;
}

void fn_drop_unread(Fn *f, Arena *scratch) {
  bool *keep = arena_array(scratch, bool, f->tensors.n + 1);
  for (int i = f->eqns.n - 1; i >= 0; i--) {
    Eqn *q = f->eqns.v[i];
    if (fn_is_output(q->def) || q->scc) keep[q->def->id] = true;
    if (!keep[q->def->id]) continue;
    eqn_visit(scratch, q, count_read, keep);
    if (q->base) keep[q->base->id] = true;
  }
  int n = 0;
  for (int i = 0; i < f->eqns.n; i++)
    if (keep[f->eqns.v[i]->def->id]) f->eqns.v[n++] = f->eqns.v[i];
  f->eqns.n = n;
  fn_renumber(f);
}

Expr *expr_read_fails(ExprTable *x, Expr *read) {
  return expr_make(x, OP_READ, (Dtype)read->dtype, READ_FAILS, read->u.t, read->at, read_rank(read), read->arg);
}

Expr *expr_in_range(ExprTable *x, const Tensor *t, Expr *const *sub, Span at) {
  Expr *all = NULL, *zero = expr_int(x, DT_I64, 0, at);
  for (int d = 0; d < t->rank; d++) {
    Expr *lo = expr_op2(x, OP_GE, sub[d], zero, at), *hi = expr_op2(x, OP_LT, sub[d], t->extent[d], at);
    Expr *both = expr_op2(x, OP_AND, lo, hi, at);
    all = all ? expr_op2(x, OP_AND, all, both, at) : both;
  }
  return all ? all : expr_bool(x, true, at);
}

int eqn_block_pos(const Eqn *q) {
  if (!q->def->fmt) return -1;
  if (!q->base) return q->n - 1;
  Expr *last = q->store[q->nstore - 1];
  for (int k = 0; k < q->n; k++) if (last->op == OP_INDEX && last->u.ix == q->ix[k]) return k;
  return -1;
}

// e is ix + 1.
static bool is_next(const Expr *e, const Index *ix) {
  if (e->op != OP_ADD) return false;
  for (int k = 0; k < 2; k++)
    if (e->arg[k]->op == OP_INDEX && e->arg[k]->u.ix == ix && expr_is_int(e->arg[1 - k], 1)) return true;
  return false;
}

// How far the range of q's reduction goes by its index k: to it or from it on, the element itself left out or not.
static EqnScan scan_along(const Eqn *q, int pos) {
  const Expr *e = q->body, *lo = reduce_lo(e, 0), *hi = reduce_hi(e, 0);
  const Index *k = q->ix[pos];
  bool arg = reducers[e->u.bind->reducer].arg;
  EqnScan none = { -1, false, false };
  if (expr_uses_index(reduce_term(e), k) || expr_uses_index(reduce_cond(e), k)) return none;
  if (expr_is_int(lo, 0) && is_next(hi, k)) return (EqnScan){ pos, false, false };
  if (arg) return none;
  if (expr_is_int(lo, 0) && expr_is_index(hi, k)) return (EqnScan){ pos, true, false };
  if (hi == q->extent[pos] && (expr_is_index(lo, k) || is_next(lo, k))) return (EqnScan){ pos, !expr_is_index(lo, k), true };
  return none;
}

EqnScan eqn_scan(const Eqn *q) {
  EqnScan s = { -1, false, false };
  if (q->body->op != OP_REDUCE || q->scc || q->base || q->def->fmt || q->body->u.bind->n != 1) return s;
  for (int pos = 0; pos < q->n && s.pos < 0; pos++) s = scan_along(q, pos);
  return s;
}

int eqn_scan_pos(const Eqn *q) { return eqn_scan(q).pos; }

Op reduce_op(Reducer r) {
  Op op = reducers[r].combine;
  return op == OP_AND ? OP_BITAND : op == OP_OR ? OP_BITOR : op;
}

Expr *reduce_better(ExprTable *x, Reducer r, Expr *value, Expr *old, Expr *old_at, Expr *nothing) {
  Expr *more = expr_op2(x, r == RED_ARGMAX ? OP_GT : OP_LT, value, old, NO_SPAN);
  if (dtype_is_float((Dtype)value->dtype)) {
    Expr *number = expr_op1(x, OP_NOT, expr_op1(x, OP_ISNAN, old, NO_SPAN), NO_SPAN);
    more = expr_op2(x, OP_OR, more, expr_op2(x, OP_AND, expr_op1(x, OP_ISNAN, value, NO_SPAN), number, NO_SPAN), NO_SPAN);
  }
  return expr_op2(x, OP_OR, more, expr_op2(x, OP_EQ, old_at, nothing, NO_SPAN), NO_SPAN);
}
