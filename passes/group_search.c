// group_search.c: the partition of a few units that takes least time by the model, proved by looking at all of them.
//
// Only units that have indices in common, directly or by way of others, can share a kernel: they fall into pieces that are
// decided each for itself. A piece is done when the greedy merging came to the least that any partition could take (each
// tensor read once, one launch). Otherwise, if it has few units, all sets of units that can be one kernel are made, and
// the best way to run all units as a sequence of such sets is found by dynamic programming over the sets of units already
// run; an order of running is what keeps kernels free of circles. Pieces with too many units or sets stay as the greedy
// merging left them.
#include "passes/group_int.h"
#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

enum {
  FEW = 24,             // units of a piece that is searched, when its sets are few
  MAX_SETS = 400,       // sets that can be one kernel
  MAX_TRIES = 4000,     // pairs of a set and a unit looked at, for all pieces of a program
  MAX_MOVES = 200000,   // steps of the programming
  MAX_WAYS = 4000       // edges followed outside the piece
};

// Units that can be one kernel, and those that must have run before.
typedef struct Set { unsigned units, needs; Node node; } Set;

typedef struct Piece {
  int n, unit[FEW];     // in order of rank
  Node *fresh[FEW];     // as the units were before merging
  bool many;            // more than FEW
} Piece;

struct Search {
  Grouping *g;
  int *rank;            // of units, before merging
  VEC(Piece *) pieces;
  int tries;
};

// A piece that is being searched.
typedef struct Look {
  Grouping *g;
  const int *rank;
  const Piece *piece;
  unsigned touch[FEW];  // those it may merge with
  unsigned needs[FEW];  // those that must run before
  unsigned outside[FEW];        // of these, those from which a way leads outside the piece
  VEC(Set *) sets;
  Map known;            // units of a set → it
  int *tries;
} Look;

// ---- pieces -------------------------------------------------------------------------------------

static int root_of(int *up, int i) {
  while (up[i] != i) i = up[i] = up[up[i]];
  return i;
}

static int by_rank(const void *a, const void *b) {
  const Node *x = *(Node *const *)a, *y = *(Node *const *)b;
  return x->rank - y->rank;
}

// Units in order of rank, so that pieces and their units have an order that the source's does not decide.
static Node **by_ranks(Grouping *g) {
  Node **v = arena_array(g->p->scratch, Node *, g->n + 1);
  for (int i = 0; i < g->n; i++) v[i] = &g->node[i];
  if (g->n) qsort(v, (size_t)g->n, sizeof *v, by_rank);
  return v;
}

static void add_unit(Grouping *g, Piece *p, int unit) {
  if (p->n == FEW) { p->many = true; return; }
  p->fresh[p->n] = arena_new(g->p->scratch, Node);
  *p->fresh[p->n] = group_copy(g, &g->node[unit]);
  p->unit[p->n++] = unit;
}

Search *group_search_begin(Grouping *g) {
  Search *s = arena_new(g->p->scratch, Search);
  int *up = arena_array(g->p->scratch, int, g->n + 1);
  Piece **of = arena_array(g->p->scratch, Piece *, g->n + 1);
  *s = (Search){ .g = g, .rank = arena_array(g->p->scratch, int, g->n + 1) };
  for (int i = 0; i < g->n; i++) up[i] = i, s->rank[i] = g->node[i].rank;
  for (int i = 0; i < g->pairs.n; i++) if (g->pairs.v[i].with_others) up[root_of(up, g->pairs.v[i].a)] = root_of(up, g->pairs.v[i].b);
  for (int i = 0; i < g->tied.n; i++) up[root_of(up, g->tied.v[i].a)] = root_of(up, g->tied.v[i].b);
  Node **order = by_ranks(g);
  for (int i = 0; i < g->n; i++) {
    int unit = order[i]->up, r = root_of(up, unit);
    if (!of[r]) {
      of[r] = arena_new(g->p->scratch, Piece);
      vec_push(g->p->scratch, &s->pieces, of[r]);
    }
    add_unit(g, of[r], unit);
  }
  return s;
}

// ---- the least that a piece can take ------------------------------------------------------------------

typedef struct Sum { Grouping *g; Map seen, parts; Work work; } Sum;

// Every part of every tensor once, at most the tensor: what one kernel of all would read.
static void add_reads(Sum *s, const Node *n, const Map *defined) {
  for (int k = 0; k < n->reads.n; k++) {
    const Access *x = &n->reads.v[k];
    double all = s->g->bytes[x->t->root->id], *sum = map_get(&s->seen, (uint64_t)x->t->id);
    if (map_get(defined, (uint64_t)x->t->id) || group_is_value(s->g, x->t)) continue;
    if (!sum) map_put(&s->seen, (uint64_t)x->t->id, sum = arena_new(s->g->p->scratch, double));
    double before = fmin(*sum, all);
    for (int i = 0; i < x->parts.n; i++) {
      uint64_t key = group_mix((uint64_t)x->t->id, x->parts.v[i].id);
      if (map_get(&s->parts, key)) continue;
      map_put(&s->parts, key, s);
      *sum += x->parts.v[i].bytes;
    }
    if (x->whole) *sum = fmax(*sum, all);
    cost_add_bytes(s->g->machine, &s->work, fmin(*sum, all) - before, s->g->home[x->t->root->id]);
  }
}

static int units_reading(const Piece *p, const Tensor *t) {
  int n = 0;
  for (int i = 0; i < p->n; i++) {
    const Access *x = group_access(p->fresh[i], t);
    n += x ? x->units : 0;
  }
  return n;
}

// Operations that the units share at the most: of each value all but one.
static double shared_flops(Grouping *g, const Piece *p) {
  Map seen = map_make(g->p->scratch);
  double flops = 0;
  for (int i = 0; i < p->n; i++)
    for (int k = 0; k < p->fresh[i]->reads.n; k++) {
      const Tensor *t = p->fresh[i]->reads.v[k].t;
      if (!group_is_value(g, t)) continue;
      flops += map_get(&seen, (uint64_t)t->id) ? g->worth[t->id] : 0;
      map_put(&seen, (uint64_t)t->id, p->fresh[i]);
    }
  return flops;
}

static double least(Grouping *g, const Piece *p) {
  Sum s = { .g = g, .seen = map_make(g->p->scratch), .parts = map_make(g->p->scratch) };
  Map defined = map_make(g->p->scratch);
  for (int i = 0; i < p->n; i++)
    for (int k = 0; k < p->fresh[i]->u->m.n; k++) map_put(&defined, (uint64_t)p->fresh[i]->u->m.v[k].q->def->id, g);
  for (int i = 0; i < p->n; i++) {
    add_reads(&s, p->fresh[i], &defined);
    s.work.flops += p->fresh[i]->w.work.flops;
    for (int k = 0; k < p->fresh[i]->u->m.n; k++) {
      const Tensor *t = p->fresh[i]->u->m.v[k].q->def;
      if (!fn_is_output(t) && g->readers[t->id] <= units_reading(p, t)) continue;
      cost_add_bytes(g->machine, &s.work, cost_nominal(g->cost[t->id].write_bytes), g->home[t->root->id]);
    }
  }
  s.work.flops -= shared_flops(g, p);
  return g->machine->launch_us * 1e3 + cost_time(g->machine, &s.work);
}

static double time_now(const Grouping *g, const Piece *p) {
  double ns = 0;
  for (int i = 0; i < p->n; i++)
    if (group_find(g, p->unit[i]) == p->unit[i]) ns += g->machine->launch_us * 1e3 + g->node[p->unit[i]].w.ns;
  return ns;
}

// ---- what must run before what -----------------------------------------------------------------------

static int place_in(const Piece *p, int unit) {
  for (int i = 0; i < p->n; i++) if (p->unit[i] == unit) return i;
  return -1;
}

// Ways to unit i from others of the piece, over units outside it. False: too many to follow.
static bool look_back(Look *l, int i, int *fuel) {
  Grouping *g = l->g;
  Map seen = map_make(g->p->scratch);
  VEC(int) open = {0};
  int lowest = l->piece->fresh[0]->rank;
  vec_push(g->p->scratch, &open, l->piece->unit[i]);
  for (int k = 0; k < open.n; k++) {
    const Edges *e = &g->before[open.v[k]];
    if ((*fuel -= e->to.n) < 0) return false;
    for (int j = 0; j < e->to.n; j++) {
      int from = e->to.v[j], at = place_in(l->piece, from);
      if (at >= 0) l->needs[i] |= 1u << at, l->outside[i] |= k ? 1u << at : 0;
      if (at >= 0 || map_get(&seen, (uint64_t)from) || l->rank[from] < lowest) continue;
      map_put(&seen, (uint64_t)from, l);
      vec_push(g->p->scratch, &open, from);
    }
  }
  return true;
}

static bool find_needs(Look *l) {
  int fuel = MAX_WAYS;
  for (int i = 0; i < l->piece->n; i++) {
    if (!look_back(l, i, &fuel)) return false;
    for (int k = 0; k < i; k++) if (l->needs[i] >> k & 1) l->needs[i] |= l->needs[k];
  }
  return true;
}

// ---- sets of units -------------------------------------------------------------------------------------

static unsigned all_of(const Look *l, const unsigned *of, unsigned units) {
  unsigned v = 0;
  for (int i = 0; i < l->piece->n; i++) if (units >> i & 1) v |= of[i];
  return v;
}

static void add_set(Look *l, unsigned units, Node node) {
  Set *s = arena_new(l->g->p->scratch, Set);
  *s = (Set){ .units = units, .needs = all_of(l, l->needs, units) & ~units, .node = node };
  map_put(&l->known, units, s);
  vec_push(l->g->p->scratch, &l->sets, s);
}

static void try_unit(Look *l, const Set *s, int unit) {
  unsigned units = s->units | 1u << unit;
  bool after = l->needs[unit] & s->units, before = all_of(l, l->needs, s->units) >> unit & 1;
  Offer o;
  if (s->units == units || !(l->touch[unit] & s->units) || (after && before) || map_get(&l->known, units)) return;
  ++*l->tries;
  if (!group_offer(l->g, &s->node, l->piece->fresh[unit], &o)) return;
  Node n = group_copy(l->g, &s->node);
  group_join(l->g, &n, l->piece->fresh[unit], &o.m, &o.sum, o.a == &s->node);
  add_set(l, units, n);
}

// All that can be reached by adding one unit after the other.
static bool make_sets(Look *l) {
  for (int i = 0; i < l->piece->n; i++) add_set(l, 1u << i, group_copy(l->g, l->piece->fresh[i]));
  for (int k = 0; k < l->sets.n; k++)
    for (int unit = 0; unit < l->piece->n; unit++) {
      if (l->sets.n > MAX_SETS || *l->tries > MAX_TRIES) return false;
      try_unit(l, l->sets.v[k], unit);
    }
  return true;
}

// ---- the best sequence ------------------------------------------------------------------------------------

// Units that have run, the least time for that, and what ran last.
typedef struct State { unsigned done; double ns; const Set *last; } State;

typedef struct States { VEC(State *) v; } States;

typedef struct Ways { const Look *l; Map at; States by_count[FEW + 1]; int moves; } Ways;    // at: done + 1 → State

static bool may_run(const Look *l, const Set *s, unsigned done) {
  return !(s->units & done) && !(s->needs & ~done) && !(all_of(l, l->outside, s->units) & s->units);
}

static State *state_at(Ways *w, unsigned done) {
  State *s = map_get(&w->at, (uint64_t)done + 1);
  if (s) return s;
  Arena *a = w->l->g->p->scratch;
  s = arena_new(a, State);
  *s = (State){ .done = done, .ns = DBL_MAX };
  map_put(&w->at, (uint64_t)done + 1, s);
  vec_push(a, &w->by_count[__builtin_popcount(done)].v, s);
  return s;
}

static void run_sets(Ways *w, const State *from) {
  const Look *l = w->l;
  w->moves += l->sets.n;
  for (int k = 0; k < l->sets.n; k++) {
    const Set *s = l->sets.v[k];
    if (!may_run(l, s, from->done)) continue;
    State *to = state_at(w, from->done | s->units);
    double ns = from->ns + l->g->machine->launch_us * 1e3 + s->node.w.ns;
    if (ns < to->ns * (1 - 1e-9)) to->ns = ns, to->last = s;
  }
}

// The state in which all units have run, with the ways there. NULL: too many to look at.
static const State *best_ways(Ways *w) {
  int n = w->l->piece->n;
  state_at(w, 0)->ns = 0;
  for (int count = 0; count < n; count++)
    for (int k = 0; k < w->by_count[count].v.n; k++) {
      if (w->moves > MAX_MOVES) return NULL;
      run_sets(w, w->by_count[count].v.v[k]);
    }
  return state_at(w, (1u << n) - 1);
}

static void put_set(Look *l, const Set *s) {
  Grouping *g = l->g;
  int first = -1;
  for (int i = 0; i < l->piece->n; i++) {
    if (!(s->units >> i & 1)) continue;
    int unit = l->piece->unit[i];
    if (first < 0) {
      g->node[first = unit] = group_copy(g, &s->node);
      g->node[unit].stamp++;
    }
    g->node[unit].up = first;
  }
}

// Puts the best partition in place, where that is better than what is there. False: not all could be looked at.
static bool search_piece(Look *l) {
  const Piece *p = l->piece;
  if (!find_needs(l) || !make_sets(l)) return false;
  Ways w = { .l = l, .at = map_make(l->g->p->scratch) };
  const State *best = best_ways(&w);
  if (!best) return false;
  assert(best->last && "units one after the other are a way");
  if (best->ns >= time_now(l->g, p) * (1 - 1e-9)) return true;
  for (; best->done; best = state_at(&w, best->done & ~best->last->units)) put_set(l, best->last);
  return true;
}

// ---- all pieces --------------------------------------------------------------------------------------------

static void find_touching(Look *l) {
  for (int i = 0; i < l->piece->n; i++)
    for (int k = 0; k < i; k++) {
      Offer o;
      if (!group_offer(l->g, l->piece->fresh[i], l->piece->fresh[k], &o) && !o.m.common) continue;
      l->touch[i] |= 1u << k;
      l->touch[k] |= 1u << i;
    }
}

// Greedy merging kept to the piece.
static bool keeps_to_itself(const Grouping *g, const Piece *p) {
  int units = 0;
  for (int i = 0; i < p->n; i++) {
    int at = group_find(g, p->unit[i]);
    if (place_in(p, at) < 0) return false;
    units += at == p->unit[i] ? g->node[at].units.n : 0;
  }
  return units == p->n;
}

static bool decide_piece(Search *s, const Piece *p) {
  Grouping *g = s->g;
  if (p->many || !keeps_to_itself(g, p)) return false;
  if (p->n == 1) return true;
  if (time_now(g, p) <= least(g, p) * (1 + 1e-9)) return true;
  Look l = { .g = g, .rank = s->rank, .piece = p, .known = map_make(g->p->scratch), .tries = &s->tries };
  find_touching(&l);
  return search_piece(&l);
}

typedef struct Saved { int unit; Node node; } Saved;

bool group_search_end(Search *s) {
  Grouping *g = s->g;
  bool proved = true;
  VEC(Saved) saved = {0};
  for (int i = 0; i < s->pieces.n; i++) {
    const Piece *p = s->pieces.v[i];
    for (int k = 0; k < p->n; k++) vec_push(g->p->scratch, &saved, (Saved){ p->unit[k], g->node[p->unit[k]] });
    proved &= decide_piece(s, p);
  }
  if (group_rank(g)) return proved;
  // Pieces that are best each for itself wait for each other in a circle: greedy merging looked at all of them together.
  for (int i = 0; i < saved.n; i++) g->node[saved.v[i].unit] = saved.v[i].node;
  return false;
}
