// form.c: mark exponentials for which a shorter form will do, and maxima that need not hand on a NaN.
//
//   m[i]    = max[j](x[i, j])               x[i, j] - m[i] is never above 0: no test for what is too large.
//   z[i]    = sum[j](exp(x[i, j] - m[i]))   A NaN of x is in z, and so in y: m may pass it over.
//   y[i, j] = exp(x[i, j] - m[i]) / z[i]
//
//   g / (1 + exp(-g))                       what is far below 1 is nothing beside it.
//
// The mark is part of Expr.aux, beside that of coarse.c, and Tensor.quiet. Both are set here, on equations as they were written: what fusion
// makes of them has the same values. Targets print a row of math.def for the form where there is one. See Note [Where a maximum covers].
#include "base/limits.h"
#include "ir/rewrite.h"
#include "ir/safe.h"
#include "passes/pass.h"
#include <math.h>

enum {
  DEEP = 8,             // levels that a sign is looked for
  FUEL = 2000,          // nodes of an equation, over all conditions they stand under
  MATCH = 200,          // nodes of a term compared with that of a maximum
};
static const double ADDEND = 0x1p-80;    // beside this much, 2^-125 is nothing

typedef struct ExpUse { Expr *e; Form form; uint64_t shape; } ExpUse;
typedef VEC(ExpUse) ExpUses;

// A sum over the row of a maximum m, of exp(x - m) or what is NaN with it: where m may pass a NaN over, this sum is one.
typedef struct Witness { const Tensor *of; const Eqn *sum; Expr *const *sub; } Witness;     // m[sub], over the sum's indices

typedef struct Forms {
  Fn *f;
  Arena *a;
  Ranges *facts;
  Eqn *q;               // being looked at
  VEC(Expr *) holds;    // conditions that hold where we are
  Map seen;             // nodes under these conditions
  Map site;             // Expr → its place in sites, and one
  ExpUses sites;          // exponentials of the equation
  ExpUses *of;            // by place of the equation
  Map shapes;           // shape → the form of the first, and one; FORMS + 1: they differ
  VEC(Witness) witness;
  int fuel;
} Forms;

static bool is_exponential(const Expr *e) { return (e->op == OP_EXP || e->op == OP_EXP2) && e->dtype == DT_F32; }

// ---- signs -------------------------------------------------------------------------------------

static bool never_below(const Expr *e, int deep);

static bool never_above(const Expr *e, int deep) {
  if (!deep || !dtype_is_float((Dtype)e->dtype)) return false;
  const Expr *a = e->nargs > 0 ? e->arg[0] : NULL, *b = e->nargs > 1 ? e->arg[1] : NULL;
  switch (e->op) {
  case OP_CONST: return e->u.v.f <= 0;
  case OP_NEG: return never_below(a, deep - 1);
  case OP_MUL: return (never_above(a, deep - 1) && never_below(b, deep - 1)) || (never_below(a, deep - 1) && never_above(b, deep - 1));
  case OP_DIV: return never_above(a, deep - 1) && never_below(b, deep - 1);
  case OP_ADD: return never_above(a, deep - 1) && never_above(b, deep - 1);
  case OP_MIN: return never_above(a, deep - 1) || never_above(b, deep - 1);
  default: return false;
  }
}

static bool never_below(const Expr *e, int deep) {
  if (!deep || !dtype_is_float((Dtype)e->dtype)) return false;
  const Expr *a = e->nargs > 0 ? e->arg[0] : NULL, *b = e->nargs > 1 ? e->arg[1] : NULL;
  switch (e->op) {
  case OP_CONST: return e->u.v.f >= 0;
  case OP_ABS: case OP_EXP: case OP_EXP2: case OP_SQRT: return true;
  case OP_NEG: return never_above(a, deep - 1);
  case OP_MUL: return a == b || (never_below(a, deep - 1) && never_below(b, deep - 1));
  case OP_DIV: case OP_ADD: return never_below(a, deep - 1) && never_below(b, deep - 1);
  case OP_MAX: return never_below(a, deep - 1) || never_below(b, deep - 1);
  default: return false;
  }
}

// ---- is it the term of a maximum, or below it? ------------------------------------------------------

typedef struct Match {
  Forms *c;
  const Eqn *q;                 // m[…] = max[…](term)
  Expr *const *sub;             // of the read of m
  Expr *bound[LIMIT_RANK];      // what stands for the indices of the reduction
  int fuel;
} Match;

static Binder *binder_of(const Match *m) { return m->q->body->u.bind; }

static bool matches_index(Match *m, const Expr *pattern, Expr *e) {
  for (int k = 0; k < m->q->n; k++) if (m->q->ix[k] == pattern->u.ix) return m->sub[k] == e;
  const Binder *b = binder_of(m);
  for (int k = 0; k < b->n; k++) {
    if (b->ix[k] != pattern->u.ix) continue;
    if (!m->bound[k]) m->bound[k] = e;
    return m->bound[k] == e;
  }
  return false;
}

static bool matches(Match *m, const Expr *pattern, Expr *e) {
  if (--m->fuel < 0 || pattern->op != e->op || pattern->dtype != e->dtype || pattern->aux != e->aux || pattern->nargs != e->nargs) return false;
  switch (pattern->op) {
  case OP_INDEX: return matches_index(m, pattern, e);
  case OP_CONST: case OP_DIM: return pattern == e;
  case OP_READ: case OP_FIELD: if (pattern->u.t != e->u.t) return false; break;
  case OP_REDUCE: case OP_VAR: return pattern == e && !pattern->free->n;
  default: break;
  }
  for (uint32_t k = 0; k < e->nargs; k++) if (!matches(m, pattern->arg[k], e->arg[k])) return false;
  return true;
}

static bool holds(const Forms *c, const Expr *cond) {
  for (int k = 0; k < c->holds.n; k++) if (c->holds.v[k] == cond) return true;
  return expr_is_true(cond);
}

// Something of the maximum's reduction, for the element at hand.
static Expr *here(const Match *m, Expr *e) {
  Index *ix[2 * LIMIT_RANK];
  Expr *by[2 * LIMIT_RANK];
  int n = 0;
  for (int k = 0; k < m->q->n; k++, n++) ix[n] = m->q->ix[k], by[n] = m->sub[k];
  for (int k = 0; k < binder_of(m)->n; k++)
    if (m->bound[k]) ix[n] = binder_of(m)->ix[k], by[n++] = m->bound[k];
  return expr_subst(m->c->f->x, e, n, ix, by);
}

static bool is_in_range(const Match *m, int k) {
  ExprTable *x = m->c->f->x;
  Expr *at = m->bound[k], *lo = here(m, reduce_lo(m->q->body, k)), *hi = here(m, reduce_hi(m->q->body, k));
  return range_prove_ge0(m->c->facts, x, expr_op2(x, OP_SUB, at, lo, NO_SPAN)) &&
         range_prove_ge0(m->c->facts, x, expr_plus(x, expr_op2(x, OP_SUB, hi, at, NO_SPAN), -1));
}

static bool covers(const Match *m) {
  for (int k = 0; k < binder_of(m)->n; k++) if (!m->bound[k] || !is_in_range(m, k)) return false;
  return holds(m->c, here(m, reduce_cond(m->q->body)));
}

static const Eqn *maximum_of(const Forms *c, const Expr *read) {
  const Eqn *q = read->op == OP_READ && read->aux == READ_PLAIN ? fn_def(c->f, read->u.t) : NULL;
  bool max = q && q->body->op == OP_REDUCE && q->body->u.bind->reducer == RED_MAX && !q->base && !q->scc && !q->cond;
  return max && q->def->dtype == DT_F32 && !q->def->fmt && q->body->dtype == DT_F32 ? q : NULL;
}

static bool is_below(Forms *c, Expr *e, const Expr *maximum, Match *m) {
  *m = (Match){ .c = c, .q = maximum_of(c, maximum), .sub = maximum->arg, .fuel = MATCH };
  return m->q && matches(m, reduce_term(m->q->body), e) && covers(m);
}

// ---- maxima that stand for 0 where they are infinite --------------------------------------------

// s = if isinf(m) then 0 else m: the m.
static const Expr *guarded(const Expr *e) {
  bool guard = e->op == OP_SELECT && e->arg[0]->op == OP_ISINF && e->arg[0]->arg[0] == e->arg[2] && e->arg[2]->op == OP_READ;
  return guard && expr_is_const(e->arg[1]) && e->arg[1]->u.v.f == 0 ? e->arg[2] : NULL;
}

static const Eqn *guard_of(const Forms *c, const Expr *read) {
  const Eqn *q = read->op == OP_READ && read->aux == READ_PLAIN ? fn_def(c->f, read->u.t) : NULL;
  return q && guarded(q->body) && !q->base && !q->scc && !q->cond && q->def->dtype == DT_F32 && !q->def->fmt ? q : NULL;
}

// The m of a read of s, or of what s says.
static const Expr *guarded_maximum(Forms *c, Expr *e) {
  const Eqn *q = guard_of(c, e);
  return guarded(q ? expr_subst(c->f->x, q->body, q->n, q->ix, e->arg) : e);
}

// Does the sum at hand run over all of the maximum's terms, each once?
static bool runs_over(const Match *m, const Expr *sum) {
  const Binder *s = sum->u.bind, *b = binder_of(m);
  if (s->n != b->n || here(m, reduce_cond(m->q->body)) != reduce_cond(sum)) return false;
  for (int k = 0; k < b->n; k++) {
    bool same = m->bound[k] && expr_is_index(m->bound[k], s->ix[k]);
    if (!same || here(m, reduce_lo(m->q->body, k)) != reduce_lo(sum, k) || here(m, reduce_hi(m->q->body, k)) != reduce_hi(sum, k)) return false;
  }
  return true;
}

// ---- exponentials ------------------------------------------------------------------------------

static void note_witness(Forms *c, const Match *m, const Expr *read) {
  const Expr *sum = c->q->body;
  if (runs_over(m, sum)) vec_push(c->a, &c->witness, (Witness){ read->u.t, c->q, read->arg });
}

static bool is_sum(const Expr *e) { return e->op == OP_REDUCE && e->u.bind->reducer == RED_SUM; }

// exp(x - m), or exp(x - s) as a term of the sum that has exp(0) too: what is far below is nothing.
static Form form_below(Forms *c, Expr *e) {
  Expr *a = e->arg[0];
  Match m;
  if (a->op != OP_SUB || a->arg[1]->dtype != DT_F32) return FORM_ANY;
  bool term = is_sum(c->q->body) && reduce_term(c->q->body) == e;
  if (is_below(c, a->arg[0], a->arg[1], &m)) {
    if (term) note_witness(c, &m, a->arg[1]);
    return FORM_NONPOSITIVE;
  }
  const Expr *maximum = term ? guarded_maximum(c, a->arg[1]) : NULL;
  if (!maximum || !is_below(c, a->arg[0], maximum, &m) || !runs_over(&m, c->q->body)) return FORM_ANY;
  note_witness(c, &m, a->arg[1]->op == OP_READ ? a->arg[1] : maximum);
  return FORM_ADDEND;
}

static Form form_here(Forms *c, Expr *e) { return never_above(e->arg[0], DEEP) ? FORM_NONPOSITIVE : form_below(c, e); }

static void judge(Forms *c, Expr *e) {
  Form form = form_here(c, e);
  int at = (int)(uintptr_t)map_getp(&c->site, e) - 1;
  if (at >= 0) {
    if (c->sites.v[at].form != form) c->sites.v[at].form = FORM_ANY;
    return;
  }
  vec_push(c->a, &c->sites, (ExpUse){ e, form, expr_shape_hash(e, e->free->n, e->free->ix) });
  map_putp(&c->site, e, (void *)(uintptr_t)c->sites.n);
}

// ---- all places of an equation -------------------------------------------------------------------

static bool walk(Forms *c, Expr *e);

static void hold(Forms *c, Expr *cond, bool truth) {
  ranges_assume(c->facts, cond, truth);
  if (!truth) return;
  vec_push(c->a, &c->holds, cond);
  if (cond->op == OP_AND) hold(c, cond->arg[0], true), hold(c, cond->arg[1], true);
}

static bool walk_under(Forms *c, Expr *cond, bool truth, Expr *e) {
  Map outside = c->seen;
  int held = c->holds.n;
  c->seen = map_make(c->a);
  ranges_push(c->facts);
  hold(c, cond, truth);
  bool all = walk(c, e);
  ranges_pop(c->facts);
  c->seen = outside, c->holds.n = held;
  return all;
}

static bool walk_reduction(Forms *c, Expr *e) {
  const Binder *b = e->u.bind;
  Map outside = c->seen;
  c->seen = map_make(c->a);
  ranges_push(c->facts);
  bool all = true;
  for (int k = 0; k < b->n; k++) {
    all = all && walk(c, reduce_lo(e, k)) && walk(c, reduce_hi(e, k));
    ranges_index(c->facts, b->ix[k], reduce_lo(e, k), reduce_hi(e, k));
  }
  all = all && walk(c, reduce_cond(e)) && walk_under(c, reduce_cond(e), true, reduce_term(e));
  ranges_pop(c->facts);
  c->seen = outside;
  return all;
}

static bool walk(Forms *c, Expr *e) {
  if (!e->nargs || map_getp(&c->seen, e)) return true;
  map_putp(&c->seen, e, e);
  if (--c->fuel < 0) return false;
  if (is_exponential(e)) judge(c, e);
  if (e->op == OP_REDUCE) return walk_reduction(c, e);
  bool all = true;
  for (uint32_t k = 0; k < e->nargs && all; k++)
    all = e->op == OP_SELECT && k ? walk_under(c, e->arg[0], k == 1, e->arg[k]) : walk(c, e->arg[k]);
  return all;
}

static bool is_addition_of(const Expr *e, uint32_t k) {
  const Expr *other = e->op == OP_ADD ? e->arg[1 - k] : NULL;
  return other && expr_is_const(other) && other->u.v.f >= ADDEND && other->u.v.f < INFINITY;
}

typedef struct Others { Forms *c; Map other; } Others;       // exponentials that something else than such an addition uses

static void note_uses(void *cx, Expr *e) {
  Others *u = cx;
  for (uint32_t k = 0; k < e->nargs; k++)
    if (is_exponential(e->arg[k]) && !is_addition_of(e, k)) map_putp(&u->other, e->arg[k], e);
}

static void judge_addends(Forms *c) {
  Others u = { c, map_make(c->a) };
  expr_visit(c->a, c->q->body, note_uses, &u);
  for (int k = 0; k < c->sites.n; k++) {
    ExpUse *s = &c->sites.v[k];
    if (s->form == FORM_ANY && s->e != c->q->body && !map_getp(&u.other, s->e)) s->form = FORM_ADDEND;
  }
}

// Exponentials of one shape keep one form, lest they be computed twice.
static void keep_shapes(Forms *c) {
  for (int k = 0; k < c->sites.n; k++) {
    const ExpUse *s = &c->sites.v[k];
    uintptr_t known = (uintptr_t)map_get(&c->shapes, s->shape), mine = (uintptr_t)s->form + 1;
    map_put(&c->shapes, s->shape, (void *)(known && known != mine ? FORMS + 1 : mine));
  }
}

static void look_at(Forms *c, int at) {
  c->q = c->f->eqns.v[at];
  c->sites.n = c->holds.n = 0;
  c->seen = map_make(c->a), c->site = map_make(c->a);
  c->fuel = FUEL;
  int witnesses = c->witness.n;
  ranges_push(c->facts);
  safe_indices(c->facts, c->f->x, c->q);
  bool all = c->q->cond ? walk_under(c, c->q->cond, true, c->q->body) : walk(c, c->q->body);
  ranges_pop(c->facts);
  if (!all) {
    c->sites.n = 0, c->witness.n = witnesses;
    return;
  }
  judge_addends(c);
  keep_shapes(c);
  for (int k = 0; k < c->sites.n; k++) vec_push(c->a, &c->of[at], c->sites.v[k]);
}

// ---- maxima that may pass over a NaN ----------------------------------------------------------------

typedef struct Readers { const Forms *c; Map of; const Eqn *q; } Readers;      // Tensor → the equations that read it

typedef struct Reading { struct Reading *next; const Eqn *q; } Reading;

static void note_reader(void *cx, Expr *e) {
  Readers *r = cx;
  if (e->op != OP_READ) return;
  Reading *last = map_getp(&r->of, e->u.t), *one = arena_new(r->c->a, Reading);
  *one = (Reading){ last, r->q };
  map_putp(&r->of, e->u.t, one);
}

static Readers readers_of(const Forms *c) {
  Readers r = { .c = c, .of = map_make(c->a) };
  for (int k = 0; k < c->f->eqns.n; k++) r.q = c->f->eqns.v[k], eqn_visit(c->a, c->f->eqns.v[k], note_reader, &r);
  return r;
}

// Is the sum at `read` one over the row whose maximum stands at sub?
static bool is_beside(const Forms *c, const Witness *w, const Expr *read, Expr *const *sub) {
  if (read->u.t != w->sum->def || read->aux != READ_PLAIN) return false;
  for (int k = 0; k < w->of->rank; k++)
    if (expr_subst(c->f->x, w->sub[k], w->sum->n, w->sum->ix, read->arg) != sub[k]) return false;
  return true;
}

// Is e NaN where the sum that goes with this read of the maximum is?
static bool shows_nan(const Forms *c, const Expr *e, const Expr *maximum) {
  switch (e->op) {
  case OP_READ:
    for (int k = 0; k < c->witness.n; k++)
      if (c->witness.v[k].of == maximum->u.t && is_beside(c, &c->witness.v[k], e, maximum->arg)) return true;
    return false;
  case OP_ADD: case OP_SUB: case OP_MUL: case OP_DIV:
    return shows_nan(c, e->arg[0], maximum) || shows_nan(c, e->arg[1], maximum);
  case OP_NEG: case OP_ABS: case OP_LOG: case OP_LOG2: case OP_SQRT: return shows_nan(c, e->arg[0], maximum);
  case OP_CAST: return dtype_is_float((Dtype)e->aux) && shows_nan(c, e->arg[0], maximum);
  default: return false;
  }
}

typedef struct Shown { const Forms *c; const Expr *maximum; Map seen; } Shown;

// Is each use of the maximum part of something that is NaN where the sum is?
static bool is_shown(Shown *s, const Expr *e) {
  if (map_getp(&s->seen, e)) return true;
  map_putp(&s->seen, e, s);
  if (shows_nan(s->c, e, s->maximum)) return true;
  if (e == s->maximum) return false;
  for (uint32_t k = 0; k < e->nargs; k++) if (!is_shown(s, e->arg[k])) return false;
  return true;
}

typedef struct Maxima { const Forms *c; const Tensor *t; const Expr *body; bool all; } Maxima;

static void see_maximum(void *cx, Expr *e) {
  Maxima *m = cx;
  if (e->op != OP_READ || e->u.t != m->t || !m->all) return;
  Shown s = { m->c, e, map_make(m->c->a) };
  m->all = is_shown(&s, m->body);
}

static bool is_witness(const Forms *c, const Eqn *q, const Tensor *of) {
  for (int k = 0; k < c->witness.n; k++) if (c->witness.v[k].sum == q && c->witness.v[k].of == of) return true;
  return false;
}

static bool may_be_quiet(const Readers *r, const Tensor *t);

static bool reader_is_content(const Readers *r, const Eqn *q, const Tensor *t) {
  if (q->base || q->scc || q->cond || q->nstore) return false;
  if (is_witness(r->c, q, t)) return true;
  if (guarded(q->body) && guarded(q->body)->u.t == t) return may_be_quiet(r, q->def);
  Maxima m = { r->c, t, q->body, true };
  expr_visit(r->c->a, q->body, see_maximum, &m);
  return m.all;
}

static bool may_be_quiet(const Readers *r, const Tensor *t) {
  if (fn_is_output(t)) return false;
  for (const Reading *one = map_getp(&r->of, t); one; one = one->next)
    if (!reader_is_content(r, one->q, t)) return false;
  return true;
}

// The maximum of a witness: of what stands for it, the guard, the one behind.
static Tensor *maximum_behind(const Forms *c, const Tensor *t) {
  const Eqn *q = fn_def(c->f, t);
  const Expr *behind = guarded(q->body);
  return behind ? behind->u.t : q->def;
}

static void quieten(Forms *c) {
  if (!c->witness.n) return;
  Readers r = readers_of(c);
  for (int k = 0; k < c->witness.n; k++) {
    Tensor *t = maximum_behind(c, c->witness.v[k].of);
    if (!t->quiet) t->quiet = may_be_quiet(&r, t);
  }
}

// ---- the pass ----------------------------------------------------------------------------------

static void rewrite(Forms *c, int at) {
  Map aux = map_make(c->a);
  for (int k = 0; k < c->of[at].n; k++) {
    const ExpUse *s = &c->of[at].v[k];
    bool kept = s->form != FORM_ANY && (uintptr_t)map_get(&c->shapes, s->shape) == (uintptr_t)s->form + 1;
    if (kept) map_putp(&aux, s->e, (void *)(uintptr_t)((int)s->form * EXACTNESSES + fn_exactness(s->e) + 1));
  }
  eqn_set_aux(c->f->x, c->a, c->f->eqns.v[at], &aux);
}

static bool has_exponential(const Expr *e) { return expr_has(e, OP_EXP) || expr_has(e, OP_EXP2); }

bool pass_form(Pipe *p) {
  Fn *f = p->fn;
  Forms c = { .f = f, .a = p->scratch, .facts = safe_ranges(f, p->scratch), .shapes = map_make(p->scratch) };
  c.of = arena_array(c.a, ExpUses, f->eqns.n + 1);
  for (int i = 0; i < f->eqns.n; i++) if (has_exponential(f->eqns.v[i]->body)) look_at(&c, i);
  quieten(&c);
  for (int i = 0; i < f->eqns.n; i++) if (c.of[i].n) rewrite(&c, i);
  return true;
}

// Note [Where a maximum covers]
//
// exp(a - m[s]) with m[…] = max[j](t): a is t for some j, found by comparing the two node by node, the row's indices standing for s and each
// reduced index for whatever a has in its place. That j must lie in the reduction's range and satisfy its filter, by the ranges and
// conditions under which the exponential stands. Rounding keeps order, so the difference is not above 0, or it is NaN: of a NaN, or of two
// infinities. The forms bear 88 and more, so that a product which one compiler fuses with the subtraction and the other
// does not is no harm.
//
// The standard library's logsumexp subtracts 0 where m is infinite. Then all terms are exp(-inf), or one is exp(inf); else one is exp(0). A sum
// that has exp(0) does not notice what is below 2^-125.
//
// A maximum that drops NaN is one instruction, one that keeps it three. It may drop them if whoever reads it has them from elsewhere: a sum
// of exp(x - m) over the same row, or what is NaN with that sum. An accumulator of the reduction is then printed without care for NaN; what
// folds lanes and parts keeps it, which costs nothing.
