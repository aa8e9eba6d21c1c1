// group_graph.c: which groups must run before which, kept free of cycles while groups merge.
//
// Every node has a rank and stands before those that need it. Two nodes can't merge when a third must run between them: a
// way from the one to the other of more than one step, all of whose nodes have ranks between theirs. So the search is
// limited to those ranks; merging moves what lies between and hangs on one of the two [Pearce, Kelly, A Dynamic Topological
// Sort Algorithm for Directed Acyclic Graphs, JEA 2007]. One that would take too many steps counts as a way.
#include "passes/group_int.h"
#include <assert.h>
#include <stdlib.h>

enum { SEARCH = 1000 };         // edges followed in one search, beside those of the two nodes themselves

int group_find(const Grouping *g, int node) {
  while (g->node[node].up != node) node = g->node[node].up;
  return node;
}

// ---- ranks -----------------------------------------------------------------------------------------

bool group_rank(Grouping *g) {
  Arena *s = g->p->scratch;
  int n = 0, *node = arena_array(s, int, g->n + 1), *at = arena_array(s, int, g->n + 1), *out = arena_array(s, int, g->n + 1);
  uint64_t *key = arena_array(s, uint64_t, g->n + 1);
  for (int i = 0; i < g->n; i++) if (g->node[i].up == i) key[n] = g->node[i].u->key, at[i] = n, node[n++] = i;
  Order o = order_make(s, n, key);
  for (int i = 0; i < g->n; i++)
    for (int k = 0; k < g->after[i].to.n; k++) {
      int a = group_find(g, i), b = group_find(g, g->after[i].to.v[k]);
      if (a != b) order_edge(&o, at[a], at[b]);
    }
  if (!order_take(&o, out)) return false;
  for (int k = 0; k < n; k++) g->node[node[out[k]]].rank = k;
  return true;
}

// ---- searching between two ranks ---------------------------------------------------------------

// What can be reached from `start`, forward or backward, strictly between the ranks lo and hi; and whether `goal` can by more
// than one step.
typedef struct Reach {
  Grouping *g;
  bool forward;
  int lo, hi, goal, fuel;
  Map seen;
  VEC(int) found, open; // open: those whose edges are still to be followed, a heap: the nearest to the goal first
  bool arrives;
} Reach;

static bool nearer(const Reach *r, int i, int j) {
  int a = r->g->node[r->open.v[i]].rank, b = r->g->node[r->open.v[j]].rank;
  return r->forward ? a > b : a < b;
}

static void swap_open(Reach *r, int i, int j) { int t = r->open.v[i]; r->open.v[i] = r->open.v[j]; r->open.v[j] = t; }

static void open_push(Reach *r, int node) {
  vec_push(r->g->p->scratch, &r->open, node);
  for (int i = r->open.n - 1; i > 0 && nearer(r, i, (i - 1) / 2); i = (i - 1) / 2) swap_open(r, i, (i - 1) / 2);
}

static int open_pop(Reach *r) {
  int top = r->open.v[0];
  r->open.v[0] = r->open.v[--r->open.n];
  for (int i = 0, best;; i = best) {
    best = i;
    for (int c = 2 * i + 1; c <= 2 * i + 2; c++) if (c < r->open.n && nearer(r, c, best)) best = c;
    if (best == i) return top;
    swap_open(r, i, best);
  }
}

static void step(Reach *r, int from, int unit_to, bool direct) {
  int to = group_find(r->g, unit_to);
  r->g->steps++;
  if (to == r->goal) { r->arrives |= !direct; return; }
  int rank = r->g->node[to].rank;
  if (to == from || rank <= r->lo || rank >= r->hi || map_get(&r->seen, (uint64_t)to)) return;
  map_put(&r->seen, (uint64_t)to, r->g);
  vec_push(r->g->p->scratch, &r->found, to);
  open_push(r, to);
}

static void follow(Reach *r, int node, bool direct) {
  const Node *n = &r->g->node[node];
  for (int i = 0; i < n->units.n && !r->arrives; i++) {
    const Edges *e = r->forward ? &r->g->after[n->units.v[i]] : &r->g->before[n->units.v[i]];
    if (!direct && (r->fuel -= e->to.n) < 0) r->arrives = true;
    for (int k = 0; k < e->to.n && !r->arrives; k++) step(r, node, e->to.v[k], direct);
  }
}

static Reach reach(Grouping *g, int start, int goal, bool forward) {
  int a = g->node[start].rank, b = g->node[goal].rank;
  Reach r = { .g = g, .forward = forward, .lo = a < b ? a : b, .hi = a < b ? b : a, .goal = goal, .fuel = SEARCH };
  r.seen = map_make(g->p->scratch);
  follow(&r, start, true);
  while (r.open.n && !r.arrives) follow(&r, open_pop(&r), false);
  return r;
}

static int own_edges(const Grouping *g, int node, bool forward) {
  int n = 0;
  for (int i = 0; i < g->node[node].units.n; i++) n += (forward ? g->after : g->before)[g->node[node].units.v[i]].to.n;
  return n;
}

// The search from the side with fewer edges, which decides unless both sides have something in between.
static Reach reach_cheaply(Grouping *g, int early, int late) {
  bool forward = own_edges(g, early, true) <= own_edges(g, late, false);
  return reach(g, forward ? early : late, forward ? late : early, forward);
}

// Merging two with something on both sides needs both searches to end.
bool group_between(Grouping *g, int a, int b) {
  if (g->node[a].rank > g->node[b].rank) { int t = a; a = b; b = t; }
  Reach r = reach_cheaply(g, a, b);
  if (r.arrives || !r.found.n) return r.arrives;
  return reach(g, r.forward ? b : a, r.forward ? a : b, !r.forward).arrives;
}

// ---- merging ---------------------------------------------------------------------------------------

static int by_rank(const void *a, const void *b) {
  const Node *x = *(Node *const *)a, *y = *(Node *const *)b;
  return x->rank - y->rank;
}

typedef struct Sorted { VEC(Node *) v; } Sorted;

static Sorted sorted(Grouping *g, const Reach *r) {
  Sorted s = {0};
  for (int i = 0; i < r->found.n; i++) vec_push(g->p->scratch, &s.v, &g->node[r->found.v[i]]);
  if (s.v.n > 1) qsort(s.v.v, (size_t)s.v.n, sizeof *s.v.v, by_rank);
  return s;
}

static int by_number(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

// Between the two: first what the later one needs, then the merged node, then what needs the earlier one. They share out the
// ranks that they have.
static void rank_merged(Grouping *g, int early, int late, int into) {
  Reach r = reach_cheaply(g, early, late);
  if (!r.found.n) { g->node[into].rank = g->node[r.forward ? late : early].rank; return; }
  Reach other = reach(g, r.forward ? late : early, r.forward ? early : late, !r.forward);
  assert(!r.arrives && !other.arrives && "nothing stands between groups that merge");
  Reach fr = r.forward ? r : other, br = r.forward ? other : r;
  Sorted after = sorted(g, &fr), before = sorted(g, &br);
  int n = 0, *rank = arena_array(g->p->scratch, int, after.v.n + before.v.n + 2);
  for (int i = 0; i < before.v.n; i++) rank[n++] = before.v.v[i]->rank;
  for (int i = 0; i < after.v.n; i++) rank[n++] = after.v.v[i]->rank;
  rank[n++] = g->node[early].rank;
  rank[n++] = g->node[late].rank;
  qsort(rank, (size_t)n, sizeof *rank, by_number);
  n = 0;
  for (int i = 0; i < before.v.n; i++) before.v.v[i]->rank = rank[n++];
  g->node[into].rank = rank[n++];
  n++;                                          // one rank is left over
  for (int i = 0; i < after.v.n; i++) after.v.v[i]->rank = rank[n++];
}

// Pairs in the order of one side's grid, so that its members have nothing to change.
static void sort_pairs(Match *m, bool first) {
  for (int i = 1; i < m->n; i++)
    for (int k = i; k > 0 && (first ? m->ga[k] < m->ga[k - 1] : m->gb[k] < m->gb[k - 1]); k--) {
      int a = m->ga[k], b = m->gb[k];
      m->ga[k] = m->ga[k - 1]; m->gb[k] = m->gb[k - 1];
      m->ga[k - 1] = a; m->gb[k - 1] = b;
    }
}

void group_merge(Grouping *g, const Offer *o) {
  Match m = o->m;
  int a = (int)(o->a - g->node), b = (int)(o->b - g->node);
  bool first = g->node[a].u->m.n >= g->node[b].u->m.n;
  int into = first ? a : b, other = first ? b : a;
  bool swap = g->node[a].rank > g->node[b].rank;
  rank_merged(g, swap ? b : a, swap ? a : b, into);
  if (!m.partial) sort_pairs(&m, first);
  group_join(g, &g->node[into], &g->node[other], &m, &o->sum, first);
  g->node[other].up = into;
}
