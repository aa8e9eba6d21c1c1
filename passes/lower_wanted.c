// lower_wanted.c: when some element of a tensor is read at all.
//
//   m    = argmax[k](x[k])       m is wanted when N >= 1, and then only is it an error that x is empty
//   y[i] = v[i] + m              (y: f32[N] is a result)
//
// The language computes an element only when something reads it, so what fails in one that nothing reads is not reported. Which elements
// of a definition that may fail are read, `inline` sees to (Note [Elements that nothing reads]): all of them, by readers that are
// wanted themselves. But a reader without elements reads none, nor does a sum without terms, nor a branch that is not taken
// (`t[1, j] ?? 0` where there is one row). So a fault is reported under a condition over dimensions and scalar arguments: that on one
// way from the tensor to an output nothing is empty, and all guards hold.
//
// A condition is a set of clauses, one of which must hold; a clause is a set of facts that must all hold, a bit each: a length is at least
// 1, a guard is true. What cannot be said so counts as holding, so the condition holds whenever an element is read.
#include "ir/rewrite.h"
#include "passes/lower.h"

enum {
  MAX_CLAUSES = 8, MAX_FACTS = 64,
  MAX_GUARDED = 16,     // branches of an equation that are walked by themselves; each may cost as much as the equation
  MAX_DEPTH = 12,       // of a guard, which is computed again where a fault is reported
};

typedef struct When { int n; uint64_t clause[MAX_CLAUSES]; } When;      // n 0: never; the clause 0: always

// Reads of one tensor: by which equation, and what holds around the read: its reductions have terms, its guards are true.
typedef struct WantedUse { const Eqn *reader; uint64_t facts; bool never; } WantedUse;

// What is known of one tensor, or of all tensors of one recurrence: they are wanted together.
typedef struct Want {
  VEC(WantedUse) uses;
  bool output, found, open;
  When when;
} Want;

struct Wanted {
  Pipe *p; Fn *f;
  Ranges *ranges;       // while uses are gathered
  const Eqn *q;
  int guarded;          // branches of q that were walked by themselves
  int ntensors;
  Want **of;            // by tensor id
  int n; Expr *fact[MAX_FACTS];
};

// ---- conditions --------------------------------------------------------------------------------

// Clauses that hold only where another one does say nothing.
static void add_clause(When *w, uint64_t clause) {
  int n = 0;
  for (int k = 0; k < w->n; k++) if ((w->clause[k] & clause) == w->clause[k]) return;
  for (int k = 0; k < w->n; k++) if ((w->clause[k] & clause) != clause) w->clause[n++] = w->clause[k];
  if (n == MAX_CLAUSES) n = 0, clause = 0;
  w->clause[n] = clause;
  w->n = n + 1;
}

static void see_other(void *cx, Expr *e) {
  bool scalar = e->op == OP_READ && !e->u.t->rank && e->u.t->role == ROLE_PARAM;
  if (e->op == OP_INDEX || e->op == OP_VAR || e->op == OP_FIELD || e->op == OP_REDUCE || (e->op == OP_READ && !scalar)) *(bool *)cx = true;
}

static bool known_at_call(const Wanted *w, Expr *e) {
  bool other = false;
  expr_visit(w->p->scratch, e, see_other, &other);
  return !other;
}

// Adds that e, a bool that is known at the call, is true.
static void add_fact(Wanted *w, Expr *e, uint64_t *facts) {
  int k = 0;
  while (k < w->n && w->fact[k] != e) k++;
  if (k == MAX_FACTS) return;
  if (k == w->n) w->fact[w->n++] = e;
  *facts |= (uint64_t)1 << k;
}

// Adds that this length is at least 1; false: it never is.
static bool add_length(Wanted *w, Expr *length, uint64_t *facts) {
  Expr *one = expr_int(w->f->x, DT_I64, 1, NO_SPAN);
  if (expr_is_const(length)) return length->u.v.i >= 1;
  if (known_at_call(w, length)) add_fact(w, expr_op2(w->f->x, OP_GE, length, one, NO_SPAN), facts);
  return true;
}

// Adds what is known at the call of a guard that comes out so.
static void add_guard(Wanted *w, Expr *guard, bool truth, uint64_t *facts) {
  if (guard->op == (truth ? OP_AND : OP_OR)) {
    add_guard(w, guard->arg[0], truth, facts);
    add_guard(w, guard->arg[1], truth, facts);
  } else if (guard->depth <= MAX_DEPTH && !expr_is_const(guard) && known_at_call(w, guard)) {
    add_fact(w, truth ? guard : expr_op1(w->f->x, OP_NOT, guard, NO_SPAN), facts);
  }
}

// ---- who reads what ----------------------------------------------------------------------------

typedef struct Around { Map seen; uint64_t facts; bool never; } Around;        // reductions and guards around an expression

static void find_uses(Wanted *w, Around *in, Expr *e);

// The most steps that the range has, where that can be said.
static Expr *longest(Wanted *w, Expr *lo, Expr *hi) {
  ExprTable *x = w->f->x;
  Expr *length = expr_is_int(lo, 0) ? hi : expr_op2(x, OP_SUB, hi, lo, hi->at), *least, *most;
  return range_extremes(w->ranges, x, length, &least, &most) ? most : length;
}

// Where the guard comes out so. A guard that says nothing, or one too many: as if it always did.
static void find_guarded(Wanted *w, Around *outer, Expr *guard, bool truth, Expr *e) {
  Around in = { map_make(w->p->scratch), outer->facts, outer->never };
  if (w->guarded < MAX_GUARDED) add_guard(w, guard, truth, &in.facts);
  if (in.facts == outer->facts) { find_uses(w, outer, e); return; }
  w->guarded++;
  find_uses(w, &in, e);
}

static void find_in_reduction(Wanted *w, Around *outer, Expr *e) {
  Binder *b = e->u.bind;
  Around in = { map_make(w->p->scratch), outer->facts, outer->never };
  ranges_push(w->ranges);
  for (int k = 0; k < b->n; k++) {
    find_uses(w, &in, reduce_lo(e, k));
    find_uses(w, &in, reduce_hi(e, k));
    if (!add_length(w, longest(w, reduce_lo(e, k), reduce_hi(e, k)), &in.facts)) in.never = true;
    ranges_index(w->ranges, b->ix[k], reduce_lo(e, k), reduce_hi(e, k));
    in.seen = map_make(w->p->scratch);
  }
  find_uses(w, &in, reduce_cond(e));
  find_guarded(w, &in, reduce_cond(e), true, reduce_term(e));
  ranges_pop(w->ranges);
}

// With `??` only where all subscripts are in range.
static uint64_t facts_of_read(Wanted *w, const Around *in, Expr *e) {
  ExprTable *x = w->f->x;
  uint64_t facts = in->facts;
  for (int d = 0; d < e->u.t->rank && e->aux == READ_DEFAULT; d++) {
    Expr *low = expr_op2(x, OP_GE, e->arg[d], expr_int(x, DT_I64, 0, NO_SPAN), NO_SPAN);
    if (!expr_is_const(e->arg[d])) add_guard(w, low, true, &facts);
    add_guard(w, expr_op2(x, OP_LT, e->arg[d], e->u.t->extent[d], NO_SPAN), true, &facts);
  }
  return facts;
}

static void find_uses(Wanted *w, Around *in, Expr *e) {
  if ((!e->nargs && e->op != OP_READ) || map_get(&in->seen, (uint64_t)e->id + 1)) return;
  map_put(&in->seen, (uint64_t)e->id + 1, e);
  if (e->op == OP_REDUCE) { find_in_reduction(w, in, e); return; }
  if (e->op == OP_READ && e->aux != READ_FAILS)
    vec_push(w->p->scratch, &w->of[e->u.t->id]->uses, (WantedUse){ w->q, facts_of_read(w, in, e), in->never });
  bool lazy = e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
  for (uint32_t k = 0; k < e->nargs; k++) {
    if (lazy && k) find_guarded(w, in, e->arg[0], e->op == OP_OR ? false : k == 1, e->arg[k]);
    else find_uses(w, in, e->arg[k]);
  }
}

static void find_all(Wanted *w, Eqn *q) {
  Around in = { map_make(w->p->scratch), 0, false };
  w->q = q;
  w->guarded = 0;
  ranges_push(w->ranges);
  safe_indices(w->ranges, w->f->x, q);
  if (q->cond) find_uses(w, &in, q->cond);
  if (q->cond) find_guarded(w, &in, q->cond, true, q->body);
  else find_uses(w, &in, q->body);
  for (int k = 0; k < q->nstore; k++) find_uses(w, &in, q->store[k]);
  ranges_pop(w->ranges);
}

// ---- the conditions of all ---------------------------------------------------------------------

static const When *when_wanted(Wanted *w, Want *t);

// The reader has elements, and some of them are wanted.
static void add_use(Wanted *w, Want *t, const WantedUse *u) {
  Want *reader = w->of[u->reader->def->id];
  uint64_t facts = u->facts;
  bool never = u->never || reader == t;
  for (int k = 0; k < u->reader->n && !never; k++) never = !add_length(w, u->reader->extent[k], &facts);
  if (never) return;
  const When *of_reader = when_wanted(w, reader);
  for (int k = 0; k < of_reader->n; k++) add_clause(&t->when, of_reader->clause[k] | facts);
}

static const When *when_wanted(Wanted *w, Want *t) {
  if (t->found) return &t->when;
  t->found = true;
  if (t->output) add_clause(&t->when, 0);
  for (int k = 0; k < t->uses.n && !t->output; k++) add_use(w, t, &t->uses.v[k]);
  return &t->when;
}

static void join_recurrences(Wanted *w) {
  Map of_scc = map_make(w->p->scratch);
  for (int i = 0; i < w->f->eqns.n; i++) {
    Eqn *q = w->f->eqns.v[i];
    Want *first = q->scc ? map_get(&of_scc, (uint64_t)q->scc) : NULL;
    if (first) w->of[q->def->id] = first;
    else if (q->scc) map_put(&of_scc, (uint64_t)q->scc, w->of[q->def->id]);
    w->of[q->def->id]->output |= fn_is_output(q->def);
  }
}

Wanted *lower_find_wanted(Pipe *p) {
  Fn *f = p->fn;
  Wanted *w = arena_new(p->scratch, Wanted);
  Want *all = arena_array(p->scratch, Want, f->tensors.n + 1);
  *w = (Wanted){ .p = p, .f = f, .ranges = safe_ranges(f, p->scratch), .ntensors = f->tensors.n };
  w->of = arena_array(p->scratch, Want *, f->tensors.n + 1);
  for (int i = 0; i < f->tensors.n; i++) w->of[i] = &all[i];
  join_recurrences(w);
  for (int i = 0; i < f->eqns.n; i++) find_all(w, f->eqns.v[i]);
  for (int i = 0; i < f->eqns.n; i++) when_wanted(w, w->of[f->eqns.v[i]->def->id]);
  return w;
}

// ---- what a fault asks -------------------------------------------------------------------------

// In the loops of an output it has elements; outside of them that is to be asked.
static void add_member(Lower *l, const Eqn *q, When *when) {
  Wanted *w = l->wanted;
  if (q->def->id >= w->ntensors) { add_clause(when, 0); return; }
  uint64_t facts = 0;
  for (int k = 0; k < q->n; k++) if (!add_length(w, q->extent[k], &facts)) return;
  const When *own = &w->of[q->def->id]->when;
  for (int k = 0; k < own->n; k++) add_clause(when, own->clause[k] | facts);
}

// Is it known here that a >= b?
static bool is_known(Lower *l, Expr *fact) {
  return fact->op == OP_GE && fact->arg[0]->dtype == DT_I64 && range_prove_ge0(l->facts, l->x, expr_op2(l->x, OP_SUB, fact->arg[0], fact->arg[1], NO_SPAN));
}

// Without the facts that are known here.
static Expr *clause_condition(Lower *l, uint64_t clause) {
  Expr *all = NULL;
  for (int k = 0; k < l->wanted->n; k++) {
    Expr *fact = l->wanted->fact[k];
    if (!(clause >> k & 1) || is_known(l, fact)) continue;
    all = all ? expr_op2(l->x, OP_AND, all, fact, NO_SPAN) : fact;
  }
  return all;
}

// Does q evaluate this read? With what it is no more than an error of, where it is one.
static bool has_read(Lower *l, Eqn *q, const Expr *read) {
  if (read->aux != READ_FAILS) return lower_reads(l, q, read->u.t);
  bool found = expr_reads(q->body, read->u.t) || (q->cond && expr_reads(q->cond, read->u.t));
  for (int k = 0; k < q->nstore && !found; k++) found = expr_reads(q->store[k], read->u.t);
  return found;
}

Expr *lower_wanted(Lower *l, int n, Eqn *const *q) {
  When when = { 0 };
  Expr *any = NULL;
  for (int i = 0; i < n; i++) add_member(l, q[i], &when);
  for (int k = 0; k < when.n; k++) {
    Expr *all = clause_condition(l, when.clause[k]);
    if (!all) return NULL;
    any = any ? expr_op2(l->x, OP_OR, any, all, NO_SPAN) : all;
  }
  return any ? any : expr_bool(l->x, false, NO_SPAN);
}

// A reduction that `split` left inside an expression, or one of a format.
static bool has_reduction(Lower *l, Eqn *q, const Expr *read) {
  (void)read;
  bool found = l->f->formats.n > 0;
  for (uint32_t k = 0; k < q->body->nargs && !found; k++) found = expr_has(q->body->arg[k], OP_REDUCE);
  found |= q->cond && expr_has(q->cond, OP_REDUCE);
  for (int k = 0; k < q->nstore && !found; k++) found = expr_has(q->store[k], OP_REDUCE);
  return found;
}

// Of the members to which the fault may belong; of all where none is known to.
static Expr *wanted_of(Lower *l, bool (*has)(Lower *, Eqn *, const Expr *), const Expr *read) {
  int n = 0;
  Eqn **q = arena_array(l->p->scratch, Eqn *, l->u->m.n);
  for (int i = 0; i < l->u->m.n; i++) if (has(l, l->u->m.v[i].q, read)) q[n++] = l->u->m.v[i].q;
  for (int i = 0; i < l->u->m.n && !n; i++) q[i] = l->u->m.v[i].q;
  return lower_wanted(l, n ? n : l->u->m.n, q);
}

Expr *lower_wanted_read(Lower *l, const Expr *read) { return wanted_of(l, has_read, read); }
Expr *lower_wanted_inside(Lower *l) { return wanted_of(l, has_reduction, NULL); }
