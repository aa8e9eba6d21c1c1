// group_why.c: a remark on each pair of groups that touch and stay apart: why, and the bytes at stake.
#include "passes/group_int.h"
#include <stdlib.h>

// ---- bytes that one kernel would not have moved ------------------------------------------------------

// What the equations of a node read of each tensor, once it is asked for.
typedef struct Touches { VEC(const Touch *) v; } Touches;
typedef struct Why { Grouping *g; Map *of; } Why;         // of: by node, tensor's id → Touches

static void list_touches(Grouping *g, const Node *n, Map *m) {
  *m = map_make(g->p->scratch);
  for (int i = 0; i < n->u->m.n; i++) {
    const EqnCost *c = &g->cost[n->u->m.v[i].q->def->id];
    for (int k = 0; k < c->reads.n; k++) {
      uint64_t id = (uint64_t)c->reads.v[k].read->u.t->id;
      Touches *list = map_get(m, id);
      if (!list) map_put(m, id, list = arena_new(g->p->scratch, Touches));
      vec_push(g->p->scratch, &list->v, &c->reads.v[k]);
    }
  }
}

static Touches *touches(Why *w, const Node *n, const Tensor *t) {
  Map *m = &w->of[n - w->g->node];
  if (!m->a) list_touches(w->g, n, m);
  return map_get(m, (uint64_t)t->id);
}

static Expr *plus(Why *w, Op op, Expr *a, Expr *b) { return expr_is_int(a, 0) && op == OP_ADD ? b : expr_op2(w->g->f->x, op, a, b, NO_SPAN); }

// Both read t: in one kernel each element once.
static Expr *shared(Why *w, const Node *a, const Node *b, const Tensor *t, Expr *sum) {
  Fn *f = w->g->f;
  Touches *u = touches(w, a, t), *v = touches(w, b, t), all = {0};
  if (!u || !v) return sum;
  for (int i = 0; i < u->v.n; i++) vec_push(w->g->p->scratch, &all.v, u->v.v[i]);
  for (int i = 0; i < v->v.n; i++) vec_push(w->g->p->scratch, &all.v, v->v.v[i]);
  Expr *by_a = cost_touched(f, u->v.n, u->v.v), *by_b = cost_touched(f, v->v.n, v->v.v), *both = cost_touched(f, all.v.n, all.v.v);
  if (by_a == both) return plus(w, OP_ADD, sum, by_b);
  if (by_b == both) return plus(w, OP_ADD, sum, by_a);
  return plus(w, OP_SUB, plus(w, OP_ADD, plus(w, OP_ADD, sum, by_a), by_b), both);
}

// b reads t, which a makes: it would not be read, nor written when nobody else reads it.
static Expr *passed(Why *w, const Node *a, const Node *b, const Access *x, Expr *sum) {
  const Grouping *g = w->g;
  const Access *own = group_access(a, x->t);
  Touches *v = touches(w, b, x->t);
  if (v) sum = plus(w, OP_ADD, sum, cost_touched(g->f, v->v.n, v->v.v));
  bool elsewhere = fn_is_output(x->t) || g->readers[x->t->id] > x->units + (own ? own->units : 0);
  return elsewhere ? sum : plus(w, OP_ADD, sum, g->cost[x->t->id].write_bytes);
}

static Expr *at_stake(Why *w, const Node *a, const Node *b) {
  const Grouping *g = w->g;
  Expr *sum = expr_int(g->f->x, DT_I64, 0, NO_SPAN);
  for (int k = 0; k < b->reads.n; k++) {
    const Access *x = &b->reads.v[k];
    if (group_is_value(g, x->t) || !x->t->rank || group_definer(b, x->t)) continue;
    if (group_definer(a, x->t)) sum = passed(w, a, b, x, sum);
    else if (group_access(a, x->t)) sum = shared(w, a, b, x->t, sum);
  }
  return sum;
}

// ---- remarks ----------------------------------------------------------------------------------------

static bool reads(const Grouping *g, const Eqn *q, const Tensor *t) {
  const Reads *r = &g->reads[q->def->id];
  for (int k = 0; k < r->v.n; k++) if (r->v.v[k].t == t) return true;
  return false;
}

// An equation of a and one of b that reads it; the first of each when none does.
static void name_pair(const Grouping *g, const Node *a, const Node *b, Eqn **from, Eqn **to) {
  *from = a->u->m.v[0].q;
  *to = b->u->m.v[0].q;
  for (int k = 0; k < b->reads.n; k++) {
    const Member *d = group_definer(a, b->reads.v[k].t);
    if (!d) continue;
    *from = d->q;
    for (int i = 0; i < b->u->m.n; i++) if (reads(g, b->u->m.v[i].q, d->q->def)) *to = b->u->m.v[i].q;
  }
}

// A map that was not substituted into its reader: inline.c found that to cost more.
static bool was_stored(const Offer *o, const Eqn *from) {
  return o->m.depends && from->def->role == ROLE_LOCAL && from->body->op != OP_REDUCE && !from->recurrent && !from->def->fmt;
}

static const char *because(Grouping *g, Reason why, const Offer *o) {
  double us = -o->saved / 1e3;
  if (why != REASON_SLOWER) return reasons[why].what;
  return arena_printf(g->p->a, "%s, by %.3g %s", reasons[why].what, us < 999.5 ? us : us / 1e3, us < 999.5 ? "us" : "ms");
}

static void remark(Why *w, const Offer *o, bool can, bool between) {
  Grouping *g = w->g;
  Eqn *from, *to;
  name_pair(g, o->a, o->b, &from, &to);
  Reason why = between ? REASON_ORDER : !can && was_stored(o, from) ? REASON_RECOMPUTE : o->m.why;
  const char *text = arena_printf(g->p->a, "`%s` and `%s` stay in two kernels: %s", from->def->root->name, to->def->root->name, because(g, why, o));
  vec_push(g->p->plan->a, &g->p->plan->remarks, (Remark){ why, from, to, at_stake(w, o->a, o->b), text });
}

// Two that only compute something alike leave no remark: no bytes are at stake.
static bool share_bytes(const Grouping *g, const Offer *o) {
  bool share = o->m.depends;
  for (int k = 0; k < o->a->reads.n && !share; k++) {
    const Tensor *t = o->a->reads.v[k].t;
    share = t->rank && !group_is_value(g, t) && group_access(o->b, t);
  }
  return share;
}

// Nodes by number, and what is at stake at nominal extents.
typedef struct Apart { int a, b, later; double bytes; } Apart;

enum { MOST_REMARKS = 8 };      // of one group with earlier ones: those with most at stake

static double nominal_stake(const Grouping *g, const Node *a, const Node *b) {
  const Node *few = a->reads.n <= b->reads.n ? a : b, *many = few == a ? b : a;
  double bytes = 0;
  for (int k = 0; k < few->reads.n; k++) {
    const Tensor *t = few->reads.v[k].t;
    if (!group_is_value(g, t) && (group_access(many, t) || group_definer(many, t))) bytes += g->bytes[t->id];
  }
  for (int k = 0; few == a && k < a->u->m.n; k++) bytes += group_access(b, a->u->m.v[k].q->def) ? g->bytes[a->u->m.v[k].q->def->id] : 0;
  return bytes;
}

static int by_stake(const void *x, const void *y) {
  const Apart *p = x, *q = y;
  if (p->later != q->later) return p->later - q->later;
  if (p->bytes != q->bytes) return p->bytes > q->bytes ? -1 : 1;
  return p->a != q->a ? p->a - q->a : p->b - q->b;
}

typedef struct Aparts { VEC(Apart) v; } Aparts;

// Pairs of neighbours that stayed apart, numbered by the order of their groups.
static void find_apart(Grouping *g, Aparts *out) {
  Map seen = map_make(g->p->scratch);
  for (int i = 0; i < g->pairs.n; i++) {
    const Node *a = group_node(g, g->pairs.v[i].a), *b = group_node(g, g->pairs.v[i].b);
    if (a->u->id > b->u->id) { const Node *t = a; a = b; b = t; }
    uint64_t key = (uint64_t)a->u->id << 32 | (uint64_t)b->u->id;
    if (a == b || map_get(&seen, key)) continue;
    map_put(&seen, key, g);
    vec_push(g->p->scratch, &out->v, (Apart){ (int)(a - g->node), (int)(b - g->node), b->u->id, nominal_stake(g, a, b) });
  }
  if (out->v.n) qsort(out->v.v, (size_t)out->v.n, sizeof *out->v.v, by_stake);
}

void group_remarks(Grouping *g) {
  Why w = { g, arena_array(g->p->scratch, Map, g->n + 1) };
  Aparts apart = {0};
  find_apart(g, &apart);
  for (int i = 0, made = 0; i < apart.v.n; i++) {
    const Apart *p = &apart.v.v[i];
    Offer o;
    if (i && p->later != p[-1].later) made = 0;
    if (made == MOST_REMARKS) continue;
    bool can = group_offer(g, &g->node[p->a], &g->node[p->b], &o);
    if (!o.m.touches || !share_bytes(g, &o)) continue;
    remark(&w, &o, can, can && o.saved > 0);
    made++;
  }
}
