// group_match.c: can two groups become one kernel, and over which grid?
//
// The reads between them must name the grid's indices plainly at their places: what a grid point reads of the group, the
// same grid point has made. Groups that only read a common tensor walk it together, by the indices that stand at one place.
// A group of reductions may also join by its reduced indices: see Member in group.h.
#include "passes/group_int.h"
#include "ir/rewrite.h"
#include <string.h>

typedef bool Pairs[MAX_GRID][MAX_GRID];

// ---- by the indices of the two ------------------------------------------------------------------

static bool is_partial(const Node *n, const Member *m) { return member_is_partial(m, n->u->ngrid); }

// ga stays with gb when every read of a's tensor has b's gb at a's place.
static void match_read(const Node *a, const Node *b, const Member *d, const Access *x, Pairs ok) {
  for (int ga = 0; ga < a->u->ngrid; ga++)
    for (int gb = 0; gb < b->u->ngrid; gb++)
      for (int k = 0; k < x->spots.n; k++)
        ok[ga][gb] &= !is_partial(a, d) && x->spots.v[k].grid[d->pos[ga]] == gb;
}

// Goes over what b reads, or over what a makes, whichever is less.
static void match_dependence(const Node *a, const Node *b, Pairs ok, Match *m) {
  bool by_reads = b->reads.n <= a->u->m.n;
  for (int k = 0; k < (by_reads ? b->reads.n : a->u->m.n); k++) {
    const Access *x = by_reads ? &b->reads.v[k] : group_access(b, a->u->m.v[k].q->def);
    const Member *d = !x ? NULL : by_reads ? group_definer(a, x->t) : &a->u->m.v[k];
    if (!d) continue;
    m->depends = m->touches = true;
    match_read(a, b, d, x, ok);
  }
}

static void match_spots(const Access *x, const Access *y, Pairs ok) {
  for (int i = 0; i < x->spots.n; i++)
    for (int j = 0; j < y->spots.n; j++)
      for (int d = 0; d < x->t->rank; d++) {
        int ga = x->spots.v[i].grid[d], gb = y->spots.v[j].grid[d];
        if (ga >= 0 && gb >= 0) ok[ga][gb] = true;
      }
}

// Goes over the reads of the one with fewer.
static void match_shared(const Node *a, const Node *b, Pairs ok, Match *m) {
  const Node *few = a->reads.n <= b->reads.n ? a : b, *many = few == a ? b : a;
  for (int k = 0; k < few->reads.n; k++) {
    const Access *x = &few->reads.v[k], *y = group_access(many, x->t);
    if (!y || !x->t->rank || x->t->table) continue;
    m->touches = true;
    match_spots(few == a ? x : y, few == a ? y : x, ok);
  }
}

static void take_pairs(const Node *a, const Node *b, Pairs ok, bool *ta, bool *tb, Match *m) {
  for (int ga = 0; ga < a->u->ngrid; ga++)
    for (int gb = 0; gb < b->u->ngrid && !ta[ga]; gb++) {
      if (tb[gb] || !ok[ga][gb] || a->u->extent[ga] != b->u->extent[gb]) continue;
      ta[ga] = tb[gb] = true;
      m->ga[m->n] = ga;
      m->gb[m->n++] = gb;
    }
}

// ---- what a smaller grid does to a group -------------------------------------------------------

// The group's indices that stay the grid's: bit k for grid index k.
static bool kept(unsigned grid, const Group *u, const Member *mem, int pos) {
  for (int k = 0; k < u->ngrid; k++) if (grid >> k & 1 && mem->pos[k] == pos) return true;
  return false;
}

// Does some read run over a lost index and a reduced one, but over no index that is kept? Each grid point would read all of it.
static bool rereads_matrix(const Grouping *g, const Node *n, const Member *mem, unsigned grid) {
  const Eqn *q = mem->q;
  const EqnCost *c = &g->cost[q->def->id];
  for (int i = 0; i < c->reads.n; i++) {
    Expr *e = c->reads.v[i].read;
    bool lost = false, stays = false, reduced = false;
    for (int k = 0; k < q->n; k++) {
      if (!expr_uses_index(e, q->ix[k])) continue;
      if (kept(grid, n->u, mem, k)) stays = true; else lost = true;
    }
    for (int k = 0; k < q->body->u.bind->n; k++) reduced |= expr_uses_index(e, q->body->u.bind->ix[k]);
    if (e->u.t->rank >= 2 && lost && reduced && !stays) return true;
  }
  return false;
}

static const Eqn *recurrence_of(const Node *n) {
  for (int i = 0; n && i < n->u->m.n; i++) if (n->u->m.v[i].q->scc) return n->u->m.v[i].q;
  return NULL;
}

static bool in_grid(const Node *n, const Member *m, int pos) {
  for (int k = 0; k < n->u->ngrid; k++) if (m->pos[k] == pos) return true;
  return false;
}

// Does some read by n of what the recurrence's group makes have the member's index where the steps are counted?
static bool reads_steps(const Node *n, const Member *mem, int pos, const Node *other, const Expr *steps) {
  for (int i = 0; i < n->reads.n; i++) {
    const Access *x = &n->reads.v[i];
    const Member *d = group_definer(other, x->t);
    for (int dim = 0; d && dim < d->q->n; dim++)
      for (int p = 0; p < x->spots.n && d->q->extent[dim] == steps && !in_grid(other, d, dim); p++)
        if (x->spots.v[p].grid[dim] >= 0 && mem->pos[x->spots.v[p].grid[dim]] == pos) return true;
  }
  return false;
}

// Does the member's index, which the smaller grid loses, run with the steps of the other's recurrence? Then both walk memory as that does.
static bool runs_in_order(const Node *n, const Member *mem, int pos, const Node *other) {
  const Eqn *q = recurrence_of(other);
  const Expr *steps = q ? q->extent[q->order_ix[0]] : NULL;
  if (!q || mem->q->extent[pos] != steps) return false;
  const Access *x = group_access(other, mem->q->def);
  for (int p = 0; x && p < x->spots.n; p++) if (x->spots.v[p].grid[pos] < 0) return true;
  return reads_steps(n, mem, pos, other, steps);
}

// Would the smaller grid make the group's members slow? They must keep an outer part of their indices, and not read a matrix
// again at every grid point. other: the group beside it; NULL: of its reduced indices.
static bool suits(const Grouping *g, const Node *n, unsigned grid, const Node *other) {
  if (grid == (1u << n->u->ngrid) - 1) return true;
  for (int i = 0; i < n->u->m.n; i++) {
    const Member *mem = &n->u->m.v[i];
    bool lost = false;
    for (int pos = 0; pos < mem->q->n && !is_partial(n, mem); pos++) {
      bool stays = kept(grid, n->u, mem, pos);
      if (stays && lost && !mem->q->scc) return false;
      lost |= !stays && !runs_in_order(n, mem, pos, other);
    }
    if (mem->q->body->op == OP_REDUCE && !is_partial(n, mem) && rereads_matrix(g, n, mem, grid)) return false;
  }
  return true;
}

static unsigned grid_of(int n, const int *at) {
  unsigned v = 0;
  for (int k = 0; k < n; k++) v |= 1u << at[k];
  return v;
}

// ---- by reduced indices --------------------------------------------------------------------------

static bool combines(const Eqn *q) {
  const Expr *e = q->body;
  if (e->op != OP_REDUCE || q->scc || q->base || q->def->fmt) return false;
  Reducer r = e->u.bind->reducer;
  return reducer_may_reorder(r, (Dtype)e->dtype);
}

// Some read has all indices left of `=`: else it is a product of two, which each grid point would add to as a whole.
static bool walks(const Grouping *g, const Eqn *q) {
  const EqnCost *c = &g->cost[q->def->id];
  for (int i = 0; i < c->reads.n; i++) {
    bool all = true;
    for (int k = 0; k < q->n; k++) all &= expr_uses_index(c->reads.v[i].read, q->ix[k]);
    if (all) return true;
  }
  return false;
}

// All its members reductions, none of which needs another.
static bool can_be_partial(const Grouping *g, const Node *n) {
  if (n->u->m.n > MAX_GRID * MAX_GRID) return false;
  for (int i = 0; i < n->u->m.n; i++) {
    const Member *mem = &n->u->m.v[i];
    if (is_partial(n, mem) || !combines(mem->q) || !walks(g, mem->q) || group_access(n, mem->q->def)) return false;
  }
  return true;
}

// Does the member's reduced index r run as the host's grid index k does? Every read of what the host makes must say so, and some
// read of what both walk.
static bool runs_as(const Grouping *g, const Node *host, int k, const Member *mem, int r) {
  const Expr *e = mem->q->body;
  if (!expr_is_int(reduce_lo(e, r), 0) || reduce_hi(e, r) != host->u->extent[k]) return false;
  const Reads *reads = &g->reads[mem->q->def->id];
  bool seen = false;
  for (int i = 0; i < reads->v.n; i++) {
    const Read *x = &reads->v.v[i];
    const Member *d = group_definer(host, x->t);
    const Access *y = group_access(host, x->t);
    if (d && (is_partial(host, d) || x->at[d->pos[k]] != -1 - r)) return false;
    seen |= d != NULL;
    for (int p = 0; y && p < y->spots.n; p++)
      for (int at = 0; at < x->t->rank; at++) seen |= y->spots.v[p].grid[at] == k && x->at[at] == -1 - r;
  }
  return seen;
}

static int reduced_index(const Grouping *g, const Node *host, int k, const Member *mem, const int *taken, int ntaken) {
  for (int r = 0; r < mem->q->body->u.bind->n; r++) {
    bool used = false;
    for (int j = 0; j < ntaken; j++) used |= taken[j] == r;
    if (!used && runs_as(g, host, k, mem, r)) return r;
  }
  return -1;
}

// The host's grid indices that all members of n reduce over; red gets which of theirs.
static int partial_grid(const Grouping *g, const Node *host, const Node *n, int *grid, int *red) {
  int count = 0;
  for (int k = 0; k < host->u->ngrid; k++) {
    bool all = true;
    for (int i = 0; i < n->u->m.n && all; i++) {
      int r = reduced_index(g, host, k, &n->u->m.v[i], &red[i * MAX_GRID], count);
      red[i * MAX_GRID + count] = r;
      all = r >= 0;
    }
    if (all) grid[count++] = k;
  }
  return count;
}

// The last of several stays inside the grid point, where it is the vector's, if the host's members can have it so.
static bool match_partial(Grouping *g, const Node *host, const Node *n, Partial which, Match *m) {
  if (!host->u->ngrid || !can_be_partial(g, n) || (which == PARTIAL_FIRST && m->depends)) return false;
  int *grid = which == PARTIAL_SECOND ? m->ga : m->gb;
  m->red = arena_array(g->p->scratch, int, (size_t)n->u->m.n * MAX_GRID);
  m->n = partial_grid(g, host, n, grid, m->red);
  m->partial = which;
  if (m->n > 1 && suits(g, host, grid_of(m->n - 1, grid), NULL)) m->n--;
  return m->n > 0 && suits(g, host, grid_of(m->n, grid), NULL);
}

// Where the host's first grid index stands in what both read: the outermost place makes the best walk.
static int outermost(const Node *host, const Match *m) {
  int k = m->partial == PARTIAL_SECOND ? m->ga[0] : m->gb[0], best = 8;
  for (int i = 0; i < host->reads.n; i++)
    for (int p = 0; p < host->reads.v[i].spots.n; p++)
      for (int d = 0; d < best; d++) if (host->reads.v[i].spots.v[p].grid[d] == k) best = d;
  return best;
}

static bool match_either_partial(Grouping *g, const Node *a, const Node *b, Match *m) {
  Match first = *m, second = *m;
  if (!pipe_takes(g->p, LOWER_MIXED_AXES)) return false;
  bool f = match_partial(g, b, a, PARTIAL_FIRST, &first), s = match_partial(g, a, b, PARTIAL_SECOND, &second);
  if (!f && !s) return false;
  *m = s && (!f || outermost(a, &second) <= outermost(b, &first)) ? second : first;
  return true;
}

// ---- both ------------------------------------------------------------------------------------------

// ---- updates --------------------------------------------------------------------------------------

// A map over the grid's points and nothing else; an update of them stores at its own indices.
static bool is_pointwise(const Node *n, const Member *mem) {
  const Eqn *q = mem->q;
  if (q->n != n->u->ngrid || q->scc || q->def->fmt || q->cond || expr_has(q->body, OP_REDUCE) || dtypes[q->def->dtype].bits < 8) return false;
  for (int k = 0; k < q->nstore; k++) if (q->store[k]->op != OP_INDEX) return false;
  return !q->base || q->nstore == q->n;
}

static bool all_pointwise(const Node *n) {
  for (int i = 0; i < n->u->m.n; i++) if (!is_pointwise(n, &n->u->m.v[i])) return false;
  return true;
}

static bool updates(const Node *n) {
  for (int i = 0; i < n->u->m.n; i++) if (n->u->m.v[i].q->base) return true;
  return false;
}

// The merged grid's number of the index of the member that stands at dimension d of what it updates; -1: none.
static int stored_at(const Member *mem, const int *grid, int n, int d) {
  for (int k = 0; k < n; k++) if (mem->q->store[d]->u.ix == mem->q->ix[mem->pos[grid[k]]]) return k;
  return -1;
}

static int position(const int *grid, int n, int g) {
  for (int k = 0; k < n; k++) if (grid[k] == g) return k;
  return -1;
}

// Do all reads of the tensor's versions by `reader` stay at the point that the update stores to?
static bool reads_there(const Node *reader, const int *rgrid, const Member *update, const int *ugrid, int n) {
  const Tensor *root = update->q->def->root;
  for (int k = 0; k < reader->reads.n; k++) {
    const Access *x = &reader->reads.v[k];
    for (int p = 0; p < x->spots.n && x->t->root == root; p++)
      for (int d = 0; d < root->rank; d++) {
        int g = x->spots.v[p].grid[d];
        if (g < 0 || position(rgrid, n, g) != stored_at(update, ugrid, n, d)) return false;
      }
  }
  return true;
}

static bool updates_stay(const Node *u, const int *ugrid, const Node *other, const int *ogrid, int n) {
  for (int i = 0; i < u->u->m.n; i++) {
    const Member *mem = &u->u->m.v[i];
    if (mem->q->base && !(reads_there(u, ugrid, mem, ugrid, n) && reads_there(other, ogrid, mem, ugrid, n))) return false;
  }
  return true;
}

// Updates share a kernel with maps of the same points: each point is read and stored in the order of the equations.
static bool match_updates(const Grouping *g, const Node *a, const Node *b, const Match *m) {
  bool full = m->n == a->u->ngrid && m->n == b->u->ngrid && m->n > 0;
  if (!pipe_takes(g->p, LOWER_UPDATES) || m->partial || !full || !all_pointwise(a) || !all_pointwise(b)) return false;
  return updates_stay(a, m->ga, b, m->gb, m->n) && updates_stay(b, m->gb, a, m->ga, m->n);
}

static bool special(const Group *u) { return u->m.v[0].q->def->fmt; }

static bool gathers(const Node *a, const Node *b) {
  for (int k = 0; k < b->reads.n; k++) {
    const Access *x = &b->reads.v[k];
    if (!group_definer(a, x->t) || b->u->ngrid != x->t->rank) continue;
    for (int p = 0; p < x->spots.n; p++)
      for (int d = 0; d < x->t->rank; d++) if (x->spots.v[p].grid[d] < 0) return true;
  }
  return false;
}

static Reason no_common_index(const Node *a, const Node *b, const Match *m) {
  if (a->u->m.v[0].q->scc || b->u->m.v[0].q->scc) return REASON_RECURRENCE;
  if (!m->depends) return REASON_ITERATION_SPACE;
  if (gathers(a, b)) return REASON_GATHER;
  for (int i = 0; i < a->u->m.n; i++)
    if (a->u->m.v[i].q->body->op == OP_REDUCE && group_access(b, a->u->m.v[i].q->def)) return REASON_REDUCTION;
  return REASON_ITERATION_SPACE;
}

// All reads by b of what a makes are at b's own point.
static bool reads_own_point(const Node *a, const Node *b) {
  for (int i = 0; i < b->reads.n; i++)
    for (int p = 0; group_definer(a, b->reads.v[i].t) && p < b->reads.v[i].spots.n; p++)
      if (b->reads.v[i].spots.v[p].grid[0] != 0) return false;
  return true;
}

// b's members are maps over one index, which steps with a's prefixes; these have no other index and one direction, so that all is one loop.
static bool follows_prefix(const Grouping *g, const Node *a, const Node *b) {
  EqnScan first = { -1, false, false };
  if (a->u->ngrid || b->u->ngrid != 1 || pipe_is_gpu(g->p) || !reads_own_point(a, b)) return false;      // a GPU would run it on one thread
  for (int i = 0; i < a->u->m.n; i++) {
    const Eqn *q = a->u->m.v[i].q;
    EqnScan s = eqn_scan(q);
    if (s.pos < 0 ? q->body->op == OP_REDUCE || q->scc || q->base || q->def->fmt : first.pos >= 0 && s.backward != first.backward) return false;
    if (q->n != 1 || q->extent[0] != b->u->extent[0]) return false;
    if (s.pos >= 0) first = s;
  }
  for (int i = 0; i < b->u->m.n; i++) if (!is_pointwise(b, &b->u->m.v[i]) || b->u->m.v[i].q->base) return false;
  return first.pos >= 0;
}

// Two that need nothing of each other may pair up their other indices as they like. Where the indices in common make one of
// the two slow, its outer ones alone may not.
static bool match_plain(const Grouping *g, const Node *a, const Node *b, Pairs ok, Match *m) {
  bool ta[MAX_GRID] = {0}, tb[MAX_GRID] = {0}, scalars = !a->u->ngrid && !b->u->ngrid;
  take_pairs(a, b, ok, ta, tb, m);
  if (!m->n && m->depends && follows_prefix(g, a, b)) return m->common = true;
  if (!m->n && !scalars) { m->why = no_common_index(a, b, m); return false; }
  memset(ok, !m->depends, sizeof(Pairs));
  take_pairs(a, b, ok, ta, tb, m);
  m->why = REASON_ITERATION_SPACE;
  m->common = true;
  while (m->n && !(suits(g, a, grid_of(m->n, m->ga), b) && suits(g, b, grid_of(m->n, m->gb), a))) m->n--;
  return m->n || scalars;
}

// The one that the other reads comes first; of two that need nothing of each other, the one with the smaller key.
static void orient(const Node **a, const Node **b, Pairs dep, Match *m) {
  const Node *first = *a, *second = *b;
  memset(dep, 1, sizeof(Pairs));
  match_dependence(first, second, dep, m);
  if (m->depends) return;
  match_dependence(second, first, dep, m);
  if (!m->depends && first->u->key <= second->u->key) return;
  *a = second;
  *b = first;
}

bool group_match(Grouping *g, const Node **first, const Node **second, Match *m) {
  Pairs dep, share = {{0}};
  *m = (Match){ .why = REASON_COUNT };
  orient(first, second, dep, m);
  const Node *a = *first, *b = *second;
  if (!m->depends) match_shared(a, b, share, m);
  if (!m->touches) return false;
  if (updates(a) || updates(b)) {
    bool can = match_plain(g, a, b, m->depends ? dep : share, m) && match_updates(g, a, b, m);
    m->why = REASON_ALIAS;
    return can;
  }
  if (special(a->u) || special(b->u)) { m->why = REASON_STORED; return false; }
  if (a->u->m.n + b->u->m.n > MAX_MEMBERS || a->nodes + b->nodes > MAX_NODES) { m->why = REASON_LIMIT; m->common = true; return false; }
  if (match_plain(g, a, b, m->depends ? dep : share, m)) return true;
  return match_either_partial(g, a, b, m);
}
