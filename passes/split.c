// split.c: make every reduction the whole body of an equation of its own.
//
//   y[i, j] = x[i, j] * rsqrt(mean[k](x[i, k] ** 2))
//     ──▶  s[i] = sum[k](x[i, k] ** 2)
//          y[i, j] = x[i, j] * rsqrt(s[i] / f32(D))
//
// A reduction moves out when all indices that it uses are indices of its equation (one that depends on an index of an
// enclosing reduction stays where it is: it is another value for each of its steps). `mean` becomes a sum and a count.
// A reduction that stands behind a guard and may fail stays too, since moved out it would be evaluated unguarded.
// A filter that only ends a prefix becomes the end of its range.
#include "base/limits.h"
#include "ir/rewrite.h"
#include "ir/safe.h"
#include "passes/pass.h"
#include <stdlib.h>

// The number of terms, f32 or f64 like the sum: the product of the range lengths where they are independent
// of each other and of data and nothing filters; else a sum of ones over the same range.
static Expr *term_count(ExprTable *x, Expr *e, Dtype as) {
  Binder *b = e->u.bind;
  bool box = expr_is_true(reduce_cond(e));
  Expr *n = expr_int(x, DT_I64, 1, e->at), *zero = expr_int(x, DT_I64, 0, e->at);
  for (int k = 0; k < b->n && box; k++) {
    for (int j = 0; j < k; j++)
      box = box && !expr_uses_index(reduce_lo(e, k), b->ix[j]) && !expr_uses_index(reduce_hi(e, k), b->ix[j]);
    Expr *len = expr_is_int(reduce_lo(e, k), 0) ? reduce_hi(e, k) : expr_op2(x, OP_SUB, reduce_hi(e, k), reduce_lo(e, k), e->at);
    if (!expr_is_int(reduce_lo(e, k), 0) || len->op != OP_DIM) len = expr_op2(x, OP_MAX, len, zero, e->at);
    n = expr_is_int(n, 1) ? len : expr_op2(x, OP_MUL, n, len, e->at);
  }
  if (box) return expr_cast(x, as, n, e->at);
  Expr *lo[8], *hi[8];
  for (int k = 0; k < b->n; k++) lo[k] = reduce_lo(e, k), hi[k] = reduce_hi(e, k);
  Expr *one = expr_int(x, DT_I64, 1, e->at);
  return expr_cast(x, as, expr_reduce(x, RED_SUM, b->n, b->ix, lo, hi, reduce_cond(e), one, e->at), e->at);
}

static Expr *lower_mean(void *cx, ExprTable *x, Expr *e) {
  (void)cx;
  if (e->op != OP_REDUCE || e->u.bind->reducer != RED_MEAN) return e;
  Binder *b = e->u.bind;
  Expr *lo[8], *hi[8];
  for (int k = 0; k < b->n; k++) lo[k] = reduce_lo(e, k), hi[k] = reduce_hi(e, k);
  Expr *term = expr_cast(x, e->dtype, reduce_term(e), e->at);
  Expr *sum = expr_reduce(x, RED_SUM, b->n, b->ix, lo, hi, reduce_cond(e), term, e->at);
  return expr_op2(x, OP_DIV, sum, term_count(x, e, (Dtype)e->dtype), e->at);
}

typedef struct Split {
  Pipe *p;
  Ranges *facts;        // what holds in every equation
  Eqn *q;               // whose body is searched
  int nouter; Index *outer[64];   // indices of the enclosing reductions
  Map done;             // visited, in this context of enclosing reductions
  Map *failing;         // Tensor → itself where its definition may fail, or what that reads
  VEC(Expr *) found;
} Split;

typedef struct Reads { Split *s; bool fails; } Reads;
static bool may_fail(Split *s, const Tensor *t);
static void see_read(void *cx, Expr *e) {
  Reads *r = cx;
  if (e->op == OP_READ && !r->fails) r->fails = may_fail(r->s, e->u.t);
}

static void see_use(void *cx, const SafeUse *u) { if (!u->proven) *(bool *)cx = true; }

// May an element of t fail? What is read in it moves into it, perhaps.
static bool may_fail(Split *s, const Tensor *t) {
  Eqn *q = t->role == ROLE_LOCAL ? fn_def(s->p->fn, t) : NULL;
  if (!q || q->scc) return false;
  void *known = map_getp(s->failing, t);
  if (known) return known == t;
  map_putp(s->failing, t, q);
  Reads r = { s, false };
  if (!safe_scan(s->p->fn, s->facts, q, s->p->scratch, see_use, &r.fails)) r.fails = true;
  eqn_visit(s->p->scratch, q, see_read, &r);
  if (r.fails) map_putp(s->failing, t, (void *)t);
  return r.fails;
}

static bool reads_failing(Split *s, Expr *e) {
  Reads r = { s, false };
  expr_visit(s->p->scratch, e, see_read, &r);
  return r.fails;
}

static bool movable(Split *s, Expr *e, bool guarded) {
  for (int k = 0; k < s->nouter; k++)
    if (expr_uses_index(e, s->outer[k])) return false;
  return !guarded || !(safe_may_fail(s->p->fn, s->facts, s->q, e) || reads_failing(s, e));
}

static void find(Split *s, Expr *e, bool guarded);

static void find_in_reduction(Split *s, Expr *e, bool guarded) {
  Binder *b = e->u.bind;
  if (s->nouter + b->n > 64) return;
  Map outside = s->done;
  s->done = map_make(s->p->scratch);
  int n = s->nouter;
  for (int k = 0; k < b->n; k++) {
    find(s, reduce_lo(e, k), guarded);
    find(s, reduce_hi(e, k), guarded);
    s->outer[s->nouter++] = b->ix[k];
  }
  find(s, reduce_cond(e), guarded);
  find(s, reduce_term(e), guarded || !expr_is_true(reduce_cond(e)));
  s->nouter = n;
  s->done = outside;
}

static void find(Split *s, Expr *e, bool guarded) {
  uint64_t key = (uint64_t)e->id * 2 + guarded;
  if (map_get(&s->done, key)) return;
  map_put(&s->done, key, e);
  if (e->op == OP_REDUCE) {
    if (movable(s, e, guarded)) { vec_push(s->p->scratch, &s->found, e); return; }
    find_in_reduction(s, e, guarded);
    return;
  }
  bool lazy = ops[e->op].props & OP_LAZY;
  for (uint32_t k = 0; k < e->nargs; k++)
    find(s, e->arg[k], guarded || (lazy && k > 0) || (e->op == OP_READ && e->aux == 1 && k + 1 == e->nargs));
}

// A new equation that computes e; *read becomes what replaces e in its reader q.
static Eqn *move_out(Pipe *p, Eqn *q, Expr *e, Expr **read) {
  Fn *f = p->fn;
  ExprTable *x = f->x;
  Index *ix[8]; Expr *by[8], *sub[8], *extent[8];
  Index *old[8];
  int n = 0;
  for (int k = 0; k < q->n; k++) {
    if (!expr_uses_index(e, q->ix[k])) continue;
    old[n] = q->ix[k];
    ix[n] = index_new(x, q->ix[k]->name, q->ix[k]->at);
    by[n] = expr_index(x, ix[n]);
    sub[n] = expr_index(x, q->ix[k]);
    extent[n++] = q->extent[k];
  }
  Name hint = intern(f->names, arena_printf(p->scratch, "%s_%s", q->def->root->name, reducers[e->u.bind->reducer].name));
  Tensor *t = fn_tensor(f, hint, ROLE_LOCAL, (Dtype)e->dtype, NULL, n, extent, e->at);
  *read = expr_read(x, t, n, sub, NULL, e->at);
  return fn_equation(f, t, n, ix, expr_subst(x, e, n, old, by), e->at);
}

// Outermost first: an expression made later may hold one made earlier.
static int later_first(const void *a, const void *b) {
  uint32_t ia = (*(Expr *const *)a)->id, ib = (*(Expr *const *)b)->id;
  return ia < ib ? 1 : ia > ib ? -1 : 0;
}

// e with what stands in `by` (expression → replacement) replaced, from the top: what a replaced one holds goes with it.
static Expr *swap_out(ExprTable *x, Map *by, Expr *e) {
  Expr *made = map_getp(by, e), *arg[2 * LIMIT_RANK + 2];
  if (made) return made;
  bool changed = false;
  for (uint32_t k = 0; k < e->nargs; k++) {
    arg[k] = swap_out(x, by, e->arg[k]);
    changed |= arg[k] != e->arg[k];
  }
  made = changed ? expr_rebuild(x, e, arg) : e;
  map_putp(by, e, made);
  return made;
}

static void swap_equation(ExprTable *x, Eqn *q, Map *by) {
  q->body = swap_out(x, by, q->body);
  if (q->cond) q->cond = swap_out(x, by, q->cond);
  for (int k = 0; k < q->nstore; k++) q->store[k] = swap_out(x, by, q->store[k]);
}

typedef struct Eqns { VEC(Eqn *) v; } Eqns;

// Moves reductions of q into new equations, which are appended to `made`.
static void split_equation(Pipe *p, Ranges *facts, Map *failing, Eqn *q, Eqns *made) {
  Split s = { .p = p, .facts = facts, .failing = failing, .q = q, .done = map_make(p->scratch) };
  if (q->body->op == OP_REDUCE) find_in_reduction(&s, q->body, false);
  else find(&s, q->body, q->cond != NULL);
  if (q->cond) find(&s, q->cond, false);
  for (int k = 0; k < q->nstore; k++) find(&s, q->store[k], q->cond != NULL);
  if (!s.found.n) return;
  qsort(s.found.v, (size_t)s.found.n, sizeof *s.found.v, later_first);
  Map by = map_make(p->scratch);
  for (int k = 0; k < s.found.n; k++) {
    Expr *e = s.found.v[k], *read;
    if (q->recurrent && safe_reads_scc(p->fn, q, e)) continue;   // runs inside the recurrence
    vec_push(p->scratch, &made->v, move_out(p, q, e, &read));
    map_putp(&by, e, read);
  }
  swap_equation(p->fn->x, q, &by);
}

// Splits q and all that comes of it; `out` gets them in order, new ones before their reader. `todo`: the one to look at
// next is last.
static void split_all(Pipe *p, Ranges *facts, Map *failing, Eqn *first, Eqns *out) {
  Eqns todo = {0};
  vec_push(p->scratch, &todo.v, first);
  while (todo.v.n) {
    Eqn *q = todo.v.v[todo.v.n - 1];
    Eqns made = {0};
    eqn_map(p->fn->x, q, lower_mean, NULL);
    split_equation(p, facts, failing, q, &made);
    if (!made.v.n) vec_push(p->scratch, &out->v, todo.v.v[--todo.v.n]);
    for (int k = made.v.n - 1; k >= 0; k--) vec_push(p->scratch, &todo.v, made.v.v[k]);
  }
}

// ---- prefixes ----------------------------------------------------------------------------------

// Takes `j <= k` or `j < k` out of a conjunction; *hi becomes the end of j. NULL: cond has none.
static Expr *without_end(ExprTable *x, Expr *cond, const Index *j, const Index *k, Expr **hi) {
  bool compares = (cond->op == OP_LE || cond->op == OP_LT) && expr_is_index(cond->arg[0], j) && expr_is_index(cond->arg[1], k);
  bool turned = (cond->op == OP_GE || cond->op == OP_GT) && expr_is_index(cond->arg[0], k) && expr_is_index(cond->arg[1], j);
  if (compares || turned) {
    Expr *at = cond->arg[turned ? 0 : 1];
    *hi = cond->op == OP_LT || cond->op == OP_GT ? at : expr_op2(x, OP_ADD, at, expr_int(x, DT_I64, 1, cond->at), cond->at);
    return expr_bool(x, true, cond->at);
  }
  if (cond->op != OP_AND) return NULL;
  for (int side = 0; side < 2; side++) {
    Expr *rest = without_end(x, cond->arg[side], j, k, hi), *other = cond->arg[1 - side];
    if (rest) return expr_is_true(rest) ? other : expr_op2(x, OP_AND, side ? other : rest, side ? rest : other, cond->at);
  }
  return NULL;
}

// sum[j < D](x[i, j] if j <= k), k below D, is a prefix like sum[j <= k](x[i, j]), if nothing else in it depends on k.
static void prefix_by_range(ExprTable *x, Eqn *q) {
  const Expr *e = q->body;
  if (e->op != OP_REDUCE || e->u.bind->n != 1 || !expr_is_int(reduce_lo(e, 0), 0)) return;
  Eqn made = *q;
  for (int pos = 0; pos < q->n; pos++) {
    Expr *lo = reduce_lo(e, 0), *hi, *cond = reduce_hi(e, 0) == q->extent[pos] ? without_end(x, reduce_cond(e), e->u.bind->ix[0], q->ix[pos], &hi) : NULL;
    if (!cond) continue;
    made.body = expr_reduce(x, e->u.bind->reducer, 1, e->u.bind->ix, &lo, &hi, cond, reduce_term(e), e->at);
    if (eqn_scan_pos(&made) == pos) q->body = made.body;
    return;
  }
}

bool pass_split(Pipe *p) {
  Fn *f = p->fn;
  Ranges *facts = safe_ranges(f, p->scratch);
  Eqns out = {0};
  Map failing = map_make(p->scratch);
  int n = f->eqns.n;
  for (int i = 0; i < n; i++) split_all(p, facts, &failing, f->eqns.v[i], &out);
  f->eqns.n = 0;
  for (int i = 0; i < out.v.n; i++) {
    prefix_by_range(f->x, out.v.v[i]);
    vec_push(f->a, &f->eqns, out.v.v[i]);
  }
  fn_renumber(f);
  return true;
}
