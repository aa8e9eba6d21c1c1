// inline.c: substitute the definition of a tensor into its readers.
//
//   t[i] = x[i] * 2          y[i] = x[i] * 2 + 1
//   y[i] = t[i] + 1    ──▶
//
// Moved are definitions without a reduction, unless computing them again costs more time than storing and loading them:
// a definition that is evaluated more often than it has elements (two readers, one side of a contraction) costs its
// operations that many times, less what hides behind the memory traffic of the reader. Kept are also: results (the value is
// stored anyway, readers in the same kernel take it from there), recurrences and block formats.
// [Halide PLDI'13 calls this compute-inline; the weighing is that of XLA's priority fusion.]
//
// Decided first (inline_choose.c, from the readers back to the definitions), then done from the outputs, so that a body is
// written once and where it is needed: time grows with the text that comes out.
//
// Laziness decides one case: a definition that may fail, and of which not every element is read, always moves, so that
// only what is read is checked. See Note [Elements that nothing reads].
#include "passes/inline.h"
#include "base/limits.h"
#include "ir/rewrite.h"
#include "ir/safe.h"
#include <assert.h>

// ---- what is known of each definition ----------------------------------------------------------

// Along all of its indices: where one stands still, few elements are read, and computing them there costs little.
static bool reads_many(const Expr *read) {
  for (int d = 0; d < read->u.t->rank; d++) if (!read->arg[d]->free->n) return false;
  return true;
}

static void see_use(void *cx, const SafeUse *u) {
  Inline *in = cx;
  Info *me = &in->info[in->q->def->id];
  if (!u->proven) me->fails = true;
  if (u->e->op != OP_READ) return;
  map_put(u->proven ? &in->proven : &in->unproven, u->e->id, u->e);
  Info *t = &in->info[u->e->u.t->id];
  t->touched |= me->touched && !u->guarded && reads_many(u->e);
  if (!u->whole || t->whole) return;
  t->whole = true;
  vec_push(in->p->scratch, &in->marked, t);
}

// Whether q wants elements itself is known: its readers have been seen.
static void find_wanted(Inline *in, Ranges *facts, Eqn *q) {
  Info *me = &in->info[q->def->id];
  in->q = q;
  in->marked.n = 0;
  if (fn_is_output(q->def)) me->whole = true;
  me->touched |= me->whole || q->base;
  bool wanted = me->whole;
  me->scanned = safe_scan(in->f, facts, q, in->p->scratch, see_use, in);
  if (!me->scanned) me->fails = true;
  for (int k = 0; k < in->marked.n && !wanted; k++) in->marked.v[k]->whole = false;
}

static void inherit_failure(void *cx, Expr *e) {
  Inline *in = cx;
  Info *me = &in->info[in->q->def->id];
  const Info *t = e->op == OP_READ ? &in->info[e->u.t->id] : NULL;
  if (!t || !t->q || t->q == in->q || !inline_may_move(t)) return;
  me->inherits |= t->fails || t->inherits;
  me->heavy |= t->heavy;
}

// What may move into q fails there: of what q reads, that is known. See Note [Elements that nothing reads].
static void find_forced(Inline *in, Eqn *q) {
  Info *me = &in->info[q->def->id];
  in->q = q;
  me->heavy = me->reduces;
  eqn_visit(in->p->scratch, q, inherit_failure, in);
  bool must = me->fails || (me->inherits && !me->touched && !me->heavy);
  me->forced = must && !me->whole && q->def->role == ROLE_LOCAL && !q->recurrent && !q->def->fmt;
}

// Fills info for all equations: `whole` from readers to definitions, `forced` from definitions to readers.
static void survey(Inline *in) {
  Fn *f = in->f;
  Ranges *facts = safe_ranges(f, in->p->scratch);
  for (int i = 0; i < f->tensors.n; i++) in->info[i].updated_at = NEVER;
  for (int i = 0; i < f->eqns.n; i++) {
    Eqn *q = f->eqns.v[i];
    in->info[q->def->id].q = q;
    in->info[q->def->id].order = i;
    in->info[q->def->id].reduces = expr_has(q->body, OP_REDUCE);
    if (q->base) in->info[q->base->id].updated_at = i;
  }
  for (int i = f->eqns.n - 1; i >= 0; i--) find_wanted(in, facts, f->eqns.v[i]);
  for (int i = 0; i < f->eqns.n; i++) find_forced(in, f->eqns.v[i]);
}

// ---- which reads go ------------------------------------------------------------------------------

// A read in the body of one equation; the same node may stand in another's when it names no index.
static uint64_t read_key(const Eqn *q, const Expr *read) { return (uint64_t)q->def->id << 32 | read->id; }

typedef struct Mark { Inline *in; Info *me; int deepest; } Mark;

static bool goes(const Inline *in, const Info *me, const Expr *read) {
  const Info *t = &in->info[read->u.t->id];
  if (!inline_may_move(t) || read->aux == READ_FAILS || read->u.t == me->q->def) return false;
  if (me->order > t->until) return false;               // a version of a `mut` tensor that it reads is gone by then
  if (t->forced) return true;
  return !t->stays && t->depth + me->q->body->depth <= LIMIT_EXPR_DEPTH;
}

static void mark_read(void *cx, Expr *e) {
  Mark *m = cx;
  if (e->op != OP_READ) return;
  Info *t = &m->in->info[e->u.t->id];
  int until = t->updated_at;
  if (goes(m->in, m->me, e)) {
    map_put(&m->in->going, read_key(m->me->q, e), e);
    if (t->depth > m->deepest) m->deepest = t->depth;
    if (t->until < until) until = t->until;
  }
  if (until < m->me->until) m->me->until = until;
}

// Definitions before readers, so that a definition's depth and the last place where it may be evaluated are known.
static void mark_reads(Inline *in) {
  for (int i = 0; i < in->f->eqns.n; i++) {
    Eqn *q = in->f->eqns.v[i];
    Mark m = { in, &in->info[q->def->id], 0 };
    m.me->until = NEVER;
    eqn_visit(in->p->scratch, q, mark_read, &m);
    m.me->depth = q->body->depth + m.deepest + (m.me->tiny ? 2 * TINY_STEPS : 0);
  }
}

// ---- writing the bodies --------------------------------------------------------------------------

// The body of q, with its indices replaced; in one step of its reduction, also that's (step NULL: none).
typedef struct Env { Inline *in; const Eqn *q; Expr *const *by; Map done; Expr **step; } Env;

static Expr *expand(Env *v, Expr *e);

static Expr *at_index(const Env *v, Expr *e) {
  for (int k = 0; v->by && k < v->q->n; k++) if (v->q->ix[k] == e->u.ix) return v->by[k];
  for (int k = 0; v->step && k < v->q->body->u.bind->n; k++) if (v->q->body->u.bind->ix[k] == e->u.ix) return v->step[k];
  return e;
}

// One step of a tiny reduction: its term, or nothing to add where the filter says so.
static Expr *step_value(Inline *in, const Eqn *q, Expr *const *sub, Expr **step) {
  Env v = { in, q, sub, map_make(in->p->scratch), step };
  const Expr *e = q->body;
  Dtype d = (Dtype)e->dtype;
  Expr *term = expr_cast(in->f->x, d, expand(&v, reduce_term(e)), e->at);
  if (expr_is_true(reduce_cond(e))) return term;
  Expr *nothing = expr_scalar(in->f->x, d, reducers[e->u.bind->reducer].identity(d), e->at);
  return expr_select(in->f->x, expand(&v, reduce_cond(e)), term, nothing, e->at);
}

// All steps, written one after the other, from the value over an empty range.
static Expr *all_steps(Inline *in, const Eqn *q, Expr *const *sub) {
  ExprTable *x = in->f->x;
  const Expr *e = q->body;
  Dtype d = (Dtype)e->dtype;
  Expr *sum = expr_scalar(x, d, reducers[e->u.bind->reducer].identity(d), e->at), *step[LIMIT_RANK];
  int n = e->u.bind->n;
  int64_t at[LIMIT_RANK];
  for (int k = 0; k < n; k++) at[k] = reduce_lo(e, k)->u.v.i;
  for (int k = 0; k >= 0;) {
    for (int j = 0; j < n; j++) step[j] = expr_int(x, DT_I64, at[j], e->at);
    sum = expr_op2(x, (Op)reducers[e->u.bind->reducer].combine, sum, step_value(in, q, sub, step), e->at);
    for (k = n - 1; k >= 0 && ++at[k] == reduce_hi(e, k)->u.v.i; k--) at[k] = reduce_lo(e, k)->u.v.i;
  }
  return sum;
}

// The definition's body at these subscripts. One with a reduction goes through expr_subst, which keeps binders apart.
static Expr *body_at(Inline *in, Info *t, Expr *const *sub) {
  const Eqn *def = t->q;
  if (t->tiny) return all_steps(in, def, sub);
  if (!t->reduces) return expand(&(Env){ in, def, sub, map_make(in->p->scratch), NULL }, def->body);
  if (!t->expanded) t->expanded = expand(&(Env){ in, def, NULL, map_make(in->p->scratch), NULL }, def->body);
  return expr_subst(in->f->x, t->expanded, def->n, def->ix, sub);
}

static bool is_whole_index(const Eqn *q, const Expr *sub, const Expr *extent) {
  for (int k = 0; k < q->n; k++) if (sub->op == OP_INDEX && sub->u.ix == q->ix[k]) return q->extent[k] == extent;
  return false;
}

// The condition under which the read is in range; NULL: always. Nothing is asked of an index that runs over that very extent.
static Expr *in_range(const Env *v, const Expr *read, const Expr *now) {
  ExprTable *x = v->in->f->x;
  Expr *all = NULL, *zero = expr_int(x, DT_I64, 0, now->at);
  for (int d = 0; d < now->u.t->rank; d++) {
    Expr *extent = now->u.t->extent[d];
    if (is_whole_index(v->q, read->arg[d], extent)) continue;
    Expr *both = expr_op2(x, OP_AND, expr_op2(x, OP_GE, now->arg[d], zero, now->at), expr_op2(x, OP_LT, now->arg[d], extent, now->at), now->at);
    all = all ? expr_op2(x, OP_AND, all, both, now->at) : both;
  }
  return all;
}

// What stands for this read, by its subscripts as rewritten. Two reads that become alike may need different checks.
static Map *values_of(Inline *in, const Eqn *q, const Expr *read) {
  Map *m = map_get(&in->values, read_key(q, read));
  if (m) return m;
  m = arena_new(in->p->scratch, Map);
  *m = map_make(in->p->scratch);
  map_put(&in->values, read_key(q, read), m);
  return m;
}

// What stands in the place of `read`, which `now` is with its subscripts rewritten.
static Expr *value_of(Env *v, Expr *read, Expr *now) {
  Inline *in = v->in;
  ExprTable *x = in->f->x;
  Tensor *t = read->u.t;
  bool trusted = now->aux != READ_DEFAULT && in->info[v->q->def->id].scanned && map_get(&in->proven, read->id) && !map_get(&in->unproven, read->id);
  Map *known = values_of(in, v->q, read);
  Expr *value = map_get(known, now->id);
  if (value) return value;
  value = body_at(in, &in->info[t->id], now->arg);
  if (t->stored) value = expr_cast(x, t->dtype, value, now->at);
  Expr *inside = trusted ? NULL : in_range(v, read, now);
  if (inside) value = expr_select(x, inside, value, now->aux == READ_DEFAULT ? read_default(now) : expr_read_fails(x, now), now->at);
  map_put(known, now->id, value);
  return value;
}

static Expr *expand_new(Env *v, Expr *e) {
  Expr *arg[2 * LIMIT_RANK + 2];
  bool changed = false;
  if (e->op == OP_INDEX) return at_index(v, e);
  for (uint32_t k = 0; k < e->nargs; k++) {
    arg[k] = expand(v, e->arg[k]);
    changed |= arg[k] != e->arg[k];
  }
  Expr *made = changed ? expr_rebuild(v->in->f->x, e, arg) : e;
  bool go = e->op == OP_READ && map_get(&v->in->going, read_key(v->q, e)) && !(v->in->f->x->overflow && !v->in->info[e->u.t->id].forced);
  return go ? value_of(v, e, made) : made;
}

static Expr *expand(Env *v, Expr *e) {
  Expr *made = map_get(&v->done, e->id);
  if (made) return made;
  made = expand_new(v, e);
  map_put(&v->done, e->id, made);
  return made;
}

static void want(void *cx, Expr *e) {
  bool *wanted = cx;
  if (e->op == OP_READ) wanted[e->u.t->id] = true;
}

// An equation as it becomes; it is put in place when all are made, since others need the body as it was.
typedef struct Written { Eqn *q; Expr *body, *cond, *store[8]; } Written;

static void write_equation(Inline *in, Eqn *q, Written *w) {
  Env v = { in, q, NULL, map_make(in->p->scratch), NULL };
  *w = (Written){ .q = q, .body = expand(&v, q->body), .cond = q->cond ? expand(&v, q->cond) : NULL };
  for (int k = 0; k < q->nstore; k++) w->store[k] = expand(&v, q->store[k]);
}

static void put_in_place(const Written *w) {
  w->q->body = w->body;
  w->q->cond = w->cond;
  for (int k = 0; k < w->q->nstore; k++) w->q->store[k] = w->store[k];
}

static void write_wanted(Inline *in) {
  Fn *f = in->f;
  bool *wanted = arena_array(in->p->scratch, bool, f->tensors.n + 1);
  Written *w = arena_array(in->p->scratch, Written, f->eqns.n + 1);
  int n = 0;
  for (int i = f->eqns.n - 1; i >= 0; i--) {
    Eqn *q = f->eqns.v[i];
    if (!wanted[q->def->id] && !fn_is_output(q->def) && !q->scc) continue;
    write_equation(in, q, &w[n]);
    expr_visit(in->p->scratch, w[n].body, want, wanted);
    if (w[n].cond) expr_visit(in->p->scratch, w[n].cond, want, wanted);
    for (int k = 0; k < q->nstore; k++) expr_visit(in->p->scratch, w[n].store[k], want, wanted);
    n++;
  }
  for (int i = 0; i < n; i++) put_in_place(&w[i]);
}

bool pass_inline(Pipe *p) {
  Fn *f = p->fn;
  Inline in = { .p = p, .f = f };
  in.info = arena_array(p->scratch, Info, f->tensors.n + 1);
  in.proven = in.unproven = in.going = in.values = map_make(p->scratch);
  survey(&in);
  inline_choose(&in);
  mark_reads(&in);
  write_wanted(&in);
  fn_drop_unread(f, p->scratch);
  return true;
}

// Note [Elements that nothing reads]
// ----------------------------------
// The language computes an element only when something reads it, so an error in an element that nothing reads must not be
// reported. A kernel that stores a whole temporary computes all of it. The two agree when no element can fail, or when
// every element is read. Otherwise the definition is `forced`: it moves into its readers, where each read is checked under
// the guards and ranges of that reader. In
//
//   a[b, t < M * 16] = sum[c](q[b, c] * k[page[b, t // 16], t % 16, c])
//   m[b] = max[t < len[b]](a[b, t])
//
// `page` may hold anything beyond len[b], so `a` moves. A subscript that is then not known to be inside a's own extent
// keeps its check: `if 0 <= t and t < M * 16 then … else a[b, t]`, where the second read is marked as one that fails.
//
// "Every element is read" means: where the reader has any, and its sums have terms. Where dimensions are 0 nothing reads it; then its
// faults are not reported (lower_wanted.c).
//
// What such a one moves into fails there. A map that is read behind guards alone, or at few places, then moves too. Not so a reduction, nor a map in which one stands: a whole product would be computed at each of its readers' steps, for
// the sake of an error that it may report too early. Where the source has the reduction itself behind the guard, it stays there
// (split.c).
