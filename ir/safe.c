#include "ir/safe.h"
#include "base/limits.h"
#include "ir/rewrite.h"

enum { SAFE_BUDGET = 20000 };   // occurrences looked at per equation

typedef struct Scan {
  Fn *f; Eqn *q;
  Ranges *facts;
  Arena *a;
  SafeVisit visit; void *cx;
  Map done;             // nodes seen in the present context
  bool guarded;
  int budget;
} Scan;

static void see_extents(SafeExtents *seen, const Tensor *t) {
  for (int d = 0; d < t->rank; d++) {
    Expr *e = t->extent[d];
    if (e->op == OP_DIM || e->op == OP_CONST || map_get(&seen->known, e->id)) continue;
    map_put(&seen->known, e->id, e);
    vec_push(seen->a, &seen->list, e);
  }
}

Ranges *safe_ranges_again(Fn *f, SafeExtents *seen, Arena *scratch) {
  Ranges *r = ranges_create(scratch, f->x);
  for (int i = 0; i < f->where.n; i++) ranges_assume(r, f->where.v[i].e, true);
  // Extents are checked at the call (fn_bind); for a dimension the prover knows it already.
  Expr *zero = expr_int(f->x, DT_I64, 0, NO_SPAN), *most = expr_int(f->x, DT_I64, LIMIT_EXTENT, NO_SPAN);
  seen->known.a = seen->a;
  while (seen->ntensors < f->tensors.n) see_extents(seen, f->tensors.v[seen->ntensors++]);
  for (int i = 0; i < seen->list.n; i++) {
    ranges_assume(r, expr_op2(f->x, OP_GE, seen->list.v[i], zero, NO_SPAN), true);
    ranges_assume(r, expr_op2(f->x, OP_LE, seen->list.v[i], most, NO_SPAN), true);
  }
  return r;
}

Ranges *safe_ranges(Fn *f, Arena *scratch) { return safe_ranges_again(f, &(SafeExtents){ .a = scratch }, scratch); }

void safe_indices(Ranges *r, ExprTable *x, const Eqn *q) {
  for (int k = 0; k < q->n; k++) ranges_index(r, q->ix[k], expr_int(x, DT_I64, 0, q->at), q->extent[k]);
}

bool safe_subscript(Ranges *r, ExprTable *x, Expr *read, int d) {
  Expr *s = read->arg[d], *extent = read->u.t->extent[d];
  if (s->op == OP_INDEX && ranges_is_full(r, s->u.ix, extent)) return true;
  Expr *one = expr_int(x, DT_I64, 1, s->at);
  if (!range_prove_ge0(r, x, s)) return false;
  return range_prove_ge0(r, x, expr_op2(x, OP_SUB, expr_op2(x, OP_SUB, extent, s, s->at), one, s->at));
}

static bool reads_whole(Scan *s, Expr *e) {
  if (s->guarded || e->aux != READ_PLAIN) return false;
  for (int d = 0; d < e->u.t->rank; d++) {
    if (e->arg[d]->op != OP_INDEX || !ranges_is_full(s->facts, e->arg[d]->u.ix, e->u.t->extent[d])) return false;
    for (int k = 0; k < d; k++) if (e->arg[k] == e->arg[d]) return false;
  }
  return true;
}

static bool read_proven(Scan *s, Expr *e) {
  if (e->aux == READ_DEFAULT) return true;
  if (e->aux == READ_FAILS) return false;
  for (int d = 0; d < e->u.t->rank; d++) if (!safe_subscript(s->facts, s->f->x, e, d)) return false;
  return true;
}

static void see_tensor(void *cx, Expr *e) { if (e->op == OP_READ && (e->u.t->rank || e->u.t->role != ROLE_PARAM)) *(bool *)cx = true; }
static bool from_data(Scan *s, Expr *e) {
  bool data = false;
  expr_visit(s->a, e, see_tensor, &data);
  return data;
}

static bool reduction_proven(Scan *s, Expr *e) {
  Binder *b = e->u.bind;
  bool empty = !expr_is_true(reduce_cond(e));
  for (int k = 0; k < b->n; k++) {
    if (from_data(s, reduce_lo(e, k)) || from_data(s, reduce_hi(e, k))) return false;
    Expr *one = expr_int(s->f->x, DT_I64, 1, e->at);
    Expr *len = expr_op2(s->f->x, OP_SUB, reduce_hi(e, k), reduce_lo(e, k), e->at);
    empty |= reducers[b->reducer].arg && !range_prove_ge0(s->facts, s->f->x, expr_op2(s->f->x, OP_SUB, len, one, e->at));
  }
  return !(reducers[b->reducer].arg && empty);
}

static bool scan(Scan *s, Expr *e);

static bool scan_guarded(Scan *s, Expr *fact, bool truth, Expr *e) {
  Map outside = s->done;
  bool was = s->guarded;
  s->done = map_make(s->a);
  s->guarded = true;
  ranges_push(s->facts);
  if (fact) ranges_assume(s->facts, fact, truth);
  bool ok = scan(s, e);
  ranges_pop(s->facts);
  s->guarded = was;
  s->done = outside;
  return ok;
}

static bool scan_reduction(Scan *s, Expr *e) {
  Binder *b = e->u.bind;
  Map outside = s->done;
  s->done = map_make(s->a);
  ranges_push(s->facts);
  bool ok = true;
  for (int k = 0; k < b->n && ok; k++) {
    ok = scan(s, reduce_lo(e, k)) && scan(s, reduce_hi(e, k));
    ranges_index(s->facts, b->ix[k], reduce_lo(e, k), reduce_hi(e, k));
  }
  Expr *cond = reduce_cond(e);
  ok = ok && scan(s, cond);
  ok = ok && (expr_is_true(cond) ? scan(s, reduce_term(e)) : scan_guarded(s, cond, true, reduce_term(e)));
  ranges_pop(s->facts);
  s->done = outside;
  return ok;
}

static bool scan_args(Scan *s, Expr *e) {
  bool lazy = e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
  for (uint32_t k = 0; k < e->nargs; k++) {
    bool otherwise = e->op == OP_READ && e->aux == READ_DEFAULT && k + 1 == e->nargs;
    bool ok = lazy && k ? scan_guarded(s, e->arg[0], e->op == OP_OR ? false : k == 1, e->arg[k])
            : otherwise ? scan_guarded(s, NULL, true, e->arg[k]) : scan(s, e->arg[k]);
    if (!ok) return false;
  }
  return true;
}

static bool scan(Scan *s, Expr *e) {
  if (!e->nargs && e->op != OP_READ) return true;
  if (map_get(&s->done, (uint64_t)e->id + 1)) return true;
  map_put(&s->done, (uint64_t)e->id + 1, e);
  if (--s->budget < 0) return false;
  if (e->op == OP_READ) s->visit(s->cx, &(SafeUse){ e, s->guarded, read_proven(s, e), reads_whole(s, e) });
  if (e->op != OP_REDUCE) return scan_args(s, e);
  s->visit(s->cx, &(SafeUse){ e, s->guarded, reduction_proven(s, e), false });
  return scan_reduction(s, e);
}

// A scan of q: `facts` with q's indices, until scan_end.
static Scan scan_begin(Fn *f, Ranges *facts, Eqn *q, Arena *a, SafeVisit visit, void *cx) {
  Scan s = { .f = f, .q = q, .facts = facts, .a = a, .visit = visit, .cx = cx, .budget = SAFE_BUDGET };
  s.done = map_make(a);
  ranges_push(facts);
  safe_indices(facts, f->x, q);
  return s;
}

static void scan_end(Scan *s) { ranges_pop(s->facts); }

static bool scan_equation(Scan *s) {
  Eqn *q = s->q;
  if (q->cond && !scan(s, q->cond)) return false;
  if (!(q->cond ? scan_guarded(s, q->cond, true, q->body) : scan(s, q->body))) return false;
  for (int k = 0; k < q->nstore; k++)
    if (!(q->cond ? scan_guarded(s, q->cond, true, q->store[k]) : scan(s, q->store[k]))) return false;
  return true;
}

bool safe_scan(Fn *f, Ranges *facts, Eqn *q, Arena *scratch, SafeVisit visit, void *cx) {
  Scan s = scan_begin(f, facts, q, scratch, visit, cx);
  bool all = scan_equation(&s);
  scan_end(&s);
  return all;
}

static void see_failure(void *cx, const SafeUse *u) { if (!u->proven) *(bool *)cx = true; }

bool safe_may_fail(Fn *f, Ranges *facts, Eqn *q, Expr *e) {
  bool fails = false;
  Arena *a = arena_create();
  Scan s = scan_begin(f, facts, q, a, see_failure, &fails);
  bool all = scan(&s, e);
  scan_end(&s);
  arena_destroy(a);
  return fails || !all;
}

typedef struct Own { const Fn *f; int scc; bool found; } Own;
static void see_own(void *cx, Expr *e) {
  Own *o = cx;
  if (e->op != OP_READ) return;
  const Eqn *d = fn_def(o->f, e->u.t);
  o->found |= d && d->scc == o->scc;
}

bool safe_reads_scc(const Fn *f, const Eqn *q, Expr *e) {
  if (!q->scc) return false;
  Own o = { f, q->scc, false };
  Arena *a = arena_create();
  expr_visit(a, e, see_own, &o);
  arena_destroy(a);
  return o.found;
}
