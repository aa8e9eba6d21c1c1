// group_why.c: a remark on each pair of groups that touch and stay apart: why, and the bytes at stake.
#include "passes/group_int.h"
#include <stdlib.h>

// ---- bytes that one kernel would not have moved ------------------------------------------------------

static Expr *plus(Grouping *g, Expr *a, Expr *b) { return expr_is_int(a, 0) ? b : expr_op2(g->f->x, OP_ADD, a, b, NO_SPAN); }

// What b reads of a's, and what both read.
static Expr *at_stake(Grouping *g, const Node *a, const Node *b) {
  Expr *bytes = expr_int(g->f->x, DT_I64, 0, NO_SPAN);
  const Node *few = a->reads.n <= b->reads.n ? a : b, *many = few == a ? b : a;
  for (int k = 0; k < few->reads.n; k++) {
    Tensor *t = few->reads.v[k].t;
    if (t->rank && group_access(many, t)) bytes = plus(g, bytes, cost_tensor_bytes(g->f->x, t));
  }
  for (int k = 0; k < a->u->m.n; k++) {
    Tensor *t = a->u->m.v[k].q->def;
    if (t->rank && group_access(b, t) && !group_access(a, t)) bytes = plus(g, bytes, cost_tensor_bytes(g->f->x, t));
  }
  return bytes;
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

static void remark(Grouping *g, const Offer *o, bool can, bool between) {
  Eqn *from, *to;
  name_pair(g, o->a, o->b, &from, &to);
  Reason why = between ? REASON_ORDER : !can && was_stored(o, from) ? REASON_RECOMPUTE : o->m.why;
  const char *text = arena_printf(g->p->a, "`%s` and `%s` stay in two kernels: %s", from->def->root->name, to->def->root->name, because(g, why, o));
  vec_push(g->p->plan->a, &g->p->plan->remarks, (Remark){ why, from, to, at_stake(g, o->a, o->b), text });
}

typedef struct Apart { int a, b; } Apart;       // nodes; by the order of their groups

static int by_groups(const void *x, const void *y) {
  const Apart *p = x, *q = y;
  return p->a != q->a ? p->a - q->a : p->b - q->b;
}

void group_remarks(Grouping *g) {
  Map seen = map_make(g->p->scratch);
  VEC(Apart) apart = {0};
  int *node = arena_array(g->p->scratch, int, g->n + 1);
  for (int i = 0; i < g->pairs.n; i++) {
    int a = group_find(g, g->pairs.v[i].a), b = group_find(g, g->pairs.v[i].b);
    int ia = g->node[a].u->id, ib = g->node[b].u->id;
    if (ia > ib) { int t = ia; ia = ib; ib = t; }
    uint64_t key = (uint64_t)ia << 32 | (uint64_t)ib;
    if (ia == ib || map_get(&seen, key)) continue;
    map_put(&seen, key, g);
    node[g->node[a].u->id] = a;
    node[g->node[b].u->id] = b;
    vec_push(g->p->scratch, &apart, (Apart){ ia, ib });
  }
  if (apart.n) qsort(apart.v, (size_t)apart.n, sizeof *apart.v, by_groups);
  for (int i = 0; i < apart.n; i++) {
    int a = node[apart.v[i].a], b = node[apart.v[i].b];
    Offer o;
    bool can = group_offer(g, &g->node[a], &g->node[b], &o);
    if (o.m.touches) remark(g, &o, can, can && o.saved > 0);
  }
}
