// group_greedy.c: merge the pair that saves most time, again and again [as XLA's priority fusion].
//
// Pairs wait in a heap by what they save. Merging changes what its neighbours' pairs save; they are weighed again when they
// come to the top. Ties go by the keys of the structure, so that the order and the names of equations decide nothing.
#include "passes/group_int.h"

typedef struct Entry { float saved; uint64_t tie; int a, b; unsigned stamp_a, stamp_b; } Entry;

typedef struct Heap { Arena *a; VEC(Entry) v; } Heap;

// Sums of the same numbers in another order differ in their last bits: what counts are the first.
static bool before(const Entry *x, const Entry *y) { return x->saved != y->saved ? x->saved > y->saved : x->tie < y->tie; }

static void swap(Heap *h, int i, int j) { Entry t = h->v.v[i]; h->v.v[i] = h->v.v[j]; h->v.v[j] = t; }

static void heap_push(Heap *h, Entry e) {
  vec_push(h->a, &h->v, e);
  for (int i = h->v.n - 1; i > 0 && before(&h->v.v[i], &h->v.v[(i - 1) / 2]); i = (i - 1) / 2) swap(h, i, (i - 1) / 2);
}

static Entry heap_pop(Heap *h) {
  Entry top = h->v.v[0];
  h->v.v[0] = h->v.v[--h->v.n];
  for (int i = 0;;) {
    int best = i;
    for (int c = 2 * i + 1; c <= 2 * i + 2; c++) if (c < h->v.n && before(&h->v.v[c], &h->v.v[best])) best = c;
    if (best == i) return top;
    swap(h, i, best);
    i = best;
  }
}

static Entry entry(const Grouping *g, int a, int b, double saved) {
  const Node *x = &g->node[a], *y = &g->node[b];
  return (Entry){ (float)saved, group_mix(0, x->u->key) ^ group_mix(0, y->u->key), a, b, x->stamp, y->stamp };
}

static bool fresh(const Grouping *g, const Entry *e, int a, int b) {
  return e->a == a && e->b == b && g->node[a].stamp == e->stamp_a && g->node[b].stamp == e->stamp_b;
}

// True when the pair merged.
static bool take(Grouping *g, Heap *h, const Entry *e) {
  int a = group_find(g, e->a), b = group_find(g, e->b);
  Offer o;
  if (a == b || !group_offer(g, &g->node[a], &g->node[b], &o)) return false;
  if (!fresh(g, e, a, b) && h->v.n && o.saved < h->v.v[0].saved) { heap_push(h, entry(g, a, b, o.saved)); return false; }
  if (o.saved <= 0 || group_between(g, a, b)) return false;
  group_merge(g, &o);
  return true;
}

static void fill_first(Grouping *g, Heap *h) {
  for (int i = 0; i < g->pairs.n; i++) {
    const Pair *p = &g->pairs.v[i];
    if (p->can) heap_push(h, entry(g, p->a, p->b, p->saved));
  }
}

static void fill(Grouping *g, Heap *h) {
  Map seen = map_make(g->p->scratch);
  for (int i = 0; i < g->pairs.n; i++) {
    int a = group_find(g, g->pairs.v[i].a), b = group_find(g, g->pairs.v[i].b);
    uint64_t key = (uint64_t)(a < b ? a : b) << 32 | (uint64_t)(a < b ? b : a);
    Offer o;
    if (a == b || map_get(&seen, key)) continue;
    map_put(&seen, key, g);
    if (group_offer(g, &g->node[a], &g->node[b], &o)) heap_push(h, entry(g, a, b, o.saved));
  }
}

static int drain(Grouping *g, Heap *h) {
  int merged = 0;
  while (h->v.n) {
    Entry e = heap_pop(h);
    merged += take(g, h, &e);
  }
  return merged;
}

// Again while something merges: what did not fit a part of a group may fit the whole.
void group_greedily(Grouping *g) {
  Heap h = { .a = g->p->scratch };
  fill_first(g, &h);
  while (drain(g, &h)) fill(g, &h);
}
