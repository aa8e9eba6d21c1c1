// lower_wanted.c: when some element of a tensor is read at all.
//
//   m    = argmax[k](x[k])       m is wanted when N >= 1, and then only is it an error that x is empty
//   y[i] = v[i] + m              (y: f32[N] is a result)
//
// The language computes an element only when something reads it, so what fails in one that nothing reads is not reported. Which elements
// of a definition that may fail are read, `inline` sees to (Note [Elements that nothing reads]): all of them, by readers that are
// wanted themselves. But a reader without elements reads none, nor does a sum without terms. So a fault is reported under a
// condition over dimensions and scalar arguments: that on one way from the tensor to an output nothing is empty.
//
// A condition is a set of clauses, one of which must hold; a clause is a set of lengths that must all be at least 1, a bit each. What
// cannot be said so counts as not empty, so the condition holds whenever an element is read.
#include "ir/rewrite.h"
#include "passes/lower.h"

enum { MAX_CLAUSES = 8, MAX_LENGTHS = 64 };

typedef struct When { int n; uint64_t clause[MAX_CLAUSES]; } When;      // n 0: never; the clause 0: always

// Reads of one tensor: by which equation, and the lengths of its reductions around the read.
typedef struct WantedUse { const Eqn *reader; uint64_t lengths; bool never; } WantedUse;

// What is known of one tensor, or of all tensors of one recurrence: they are wanted together.
typedef struct Want {
  VEC(WantedUse) uses;
  bool output, found, open;
  When when;
} Want;

struct Wanted {
  Pipe *p; Fn *f;
  Ranges *facts;        // while uses are gathered
  const Eqn *q;
  int ntensors;
  Want **of;            // by tensor id
  int n; Expr *length[MAX_LENGTHS];
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

// Adds that this length is at least 1; false: it never is.
static bool add_length(Wanted *w, Expr *length, uint64_t *lengths) {
  int k = 0;
  if (expr_is_const(length)) return length->u.v.i >= 1;
  if (!known_at_call(w, length)) return true;
  while (k < w->n && w->length[k] != length) k++;
  if (k == MAX_LENGTHS) return true;
  if (k == w->n) w->length[w->n++] = length;
  *lengths |= (uint64_t)1 << k;
  return true;
}

// ---- who reads what ----------------------------------------------------------------------------

typedef struct Around { Map seen; uint64_t lengths; bool never; } Around;      // reductions around an expression

static void find_uses(Wanted *w, Around *in, Expr *e);

// The most steps that the range has, where that can be said.
static Expr *longest(Wanted *w, Expr *lo, Expr *hi) {
  ExprTable *x = w->f->x;
  Expr *length = expr_is_int(lo, 0) ? hi : expr_op2(x, OP_SUB, hi, lo, hi->at), *least, *most;
  return range_extremes(w->facts, x, length, &least, &most) ? most : length;
}

static void find_in_reduction(Wanted *w, Around *outer, Expr *e) {
  Binder *b = e->u.bind;
  Around in = { map_make(w->p->scratch), outer->lengths, outer->never };
  ranges_push(w->facts);
  for (int k = 0; k < b->n; k++) {
    find_uses(w, &in, reduce_lo(e, k));
    find_uses(w, &in, reduce_hi(e, k));
    if (!add_length(w, longest(w, reduce_lo(e, k), reduce_hi(e, k)), &in.lengths)) in.never = true;
    ranges_index(w->facts, b->ix[k], reduce_lo(e, k), reduce_hi(e, k));
    in.seen = map_make(w->p->scratch);
  }
  find_uses(w, &in, reduce_cond(e));
  find_uses(w, &in, reduce_term(e));
  ranges_pop(w->facts);
}

static void find_uses(Wanted *w, Around *in, Expr *e) {
  if ((!e->nargs && e->op != OP_READ) || map_get(&in->seen, (uint64_t)e->id + 1)) return;
  map_put(&in->seen, (uint64_t)e->id + 1, e);
  if (e->op == OP_REDUCE) { find_in_reduction(w, in, e); return; }
  if (e->op == OP_READ && e->aux != READ_FAILS)
    vec_push(w->p->scratch, &w->of[e->u.t->id]->uses, (WantedUse){ w->q, in->lengths, in->never });
  for (uint32_t k = 0; k < e->nargs; k++) find_uses(w, in, e->arg[k]);
}

static void find_all(Wanted *w, Eqn *q) {
  Around in = { map_make(w->p->scratch), 0, false };
  w->q = q;
  ranges_push(w->facts);
  safe_indices(w->facts, w->f->x, q);
  find_uses(w, &in, q->body);
  if (q->cond) find_uses(w, &in, q->cond);
  for (int k = 0; k < q->nstore; k++) find_uses(w, &in, q->store[k]);
  ranges_pop(w->facts);
}

// ---- the conditions of all ---------------------------------------------------------------------

static const When *when_wanted(Wanted *w, Want *t);

// The reader has elements, and some of them are wanted.
static void add_use(Wanted *w, Want *t, const WantedUse *u) {
  Want *reader = w->of[u->reader->def->id];
  uint64_t lengths = u->lengths;
  bool never = u->never || reader == t;
  for (int k = 0; k < u->reader->n && !never; k++) never = !add_length(w, u->reader->extent[k], &lengths);
  if (never) return;
  const When *of_reader = when_wanted(w, reader);
  for (int k = 0; k < of_reader->n; k++) add_clause(&t->when, of_reader->clause[k] | lengths);
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
  *w = (Wanted){ .p = p, .f = f, .facts = safe_ranges(f, p->scratch), .ntensors = f->tensors.n };
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
  uint64_t lengths = 0;
  for (int k = 0; k < q->n; k++) if (!add_length(w, q->extent[k], &lengths)) return;
  const When *own = &w->of[q->def->id]->when;
  for (int k = 0; k < own->n; k++) add_clause(when, own->clause[k] | lengths);
}

// Without the lengths that are known here.
static Expr *clause_condition(Lower *l, uint64_t clause) {
  Expr *all = NULL, *one = expr_int(l->x, DT_I64, 1, NO_SPAN);
  for (int k = 0; k < l->wanted->n; k++) {
    Expr *length = l->wanted->length[k];
    if (!(clause >> k & 1) || range_prove_ge0(l->facts, l->x, expr_op2(l->x, OP_SUB, length, one, NO_SPAN))) continue;
    Expr *some = expr_op2(l->x, OP_GE, length, one, NO_SPAN);
    all = all ? expr_op2(l->x, OP_AND, all, some, NO_SPAN) : some;
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
