// group_join.c: two groups become one kernel; the time that this saves by the model.
//
// Weights add up, but for what the two have in common: a tensor that both walk by the same indices is read once; one that
// a makes is not read by b, and is not written when nobody else reads it. What is left of the difference in time, and one
// launch, is saved.
#include "passes/group_int.h"
#include <assert.h>
#include <math.h>
#include <string.h>

enum { CHUNKS = 64 };           // shares of a sum over the grid, combined in order (LOWER_CHUNKS)
#define SPILL 3.0               // bytes of the cache's time for 4 stored and loaded in the first level, some three times as fast

// ---- weights -------------------------------------------------------------------------------------

static double whole_bytes(const Grouping *g, const Tensor *t) { return g->bytes[t->root->id]; }

static double bytes_of(const Grouping *g, const Access *x) {
  double all = whole_bytes(g, x->t);
  return x->whole || x->part_bytes > all ? all : x->part_bytes;
}

static void move_bytes(const Grouping *g, Weight *w, const Tensor *t, double bytes) { cost_add_bytes(g->machine, &w->work, bytes, g->home[t->root->id]); }

static bool in_memory(const Grouping *g, const Tensor *t, int inside) { return fn_is_output(t) || g->readers[t->id] > inside; }

// Cores that have a share when the grid has so many points.
static double cores_for(const Grouping *g, double points) { return points >= 1 ? fmin(points, points / ceil(points / g->machine->cores)) : 1; }

static double points_of(int n, Expr *const *extent) {
  double all = 1;
  for (int k = 0; k < n; k++) all *= cost_nominal(extent[k]);
  return all;
}

// Accumulators beyond the registers go to the cache and back at each step.
static double spilled(const Grouping *g, const Weight *w) {
  int over = w->sums - g->machine->registers;
  return over > 0 ? SPILL * over / w->sums * w->sum_steps : 0;
}

static void weigh_time(const Grouping *g, Weight *w, double points, bool scalar) {
  Work all = w->work;
  all.cache += spilled(g, w);
  all.cores = scalar ? (w->sums ? g->machine->cores : 1) : cores_for(g, points);
  w->ns = cost_time(g->machine, &all);
}

static void weigh_member(Grouping *g, Node *n, const Eqn *q) {
  const EqnCost *c = &g->cost[q->def->id];
  n->w.work.flops += cost_nominal(c->flops);
  const Access *own = group_access(n, q->def);
  if (in_memory(g, q->def, own ? own->units : 0)) {
    move_bytes(g, &n->w, q->def, cost_nominal(c->write_bytes));
    n->w.streams++;
  }
  if (q->body->op != OP_REDUCE) return;
  n->w.sums++;
  double steps = cost_nominal_elements(q->def);
  for (int k = 0; k < q->body->u.bind->n; k++) steps *= fmax(1, cost_nominal(reduce_hi(q->body, k)) - cost_nominal(reduce_lo(q->body, k)));
  n->w.sum_steps += steps;
}

void group_weigh(Grouping *g, Node *n) {
  n->w = (Weight){0};
  for (int k = 0; k < n->reads.n; k++) {
    const Access *x = &n->reads.v[k];
    if (group_definer(n, x->t) || group_is_value(g, x->t)) continue;
    move_bytes(g, &n->w, x->t, bytes_of(g, x));
    n->w.streams++;
  }
  for (int i = 0; i < n->u->m.n; i++) weigh_member(g, n, n->u->m.v[i].q);
  weigh_time(g, &n->w, points_of(n->u->ngrid, n->u->extent), !n->u->ngrid);
}

// All but the accumulators alive together, which b's are only when it does not wait for a's.
static void add_weights(const Weight *a, const Weight *b, Weight *sum) {
  *sum = (Weight){ .streams = a->streams + b->streams, .sum_steps = a->sum_steps + b->sum_steps };
  sum->work.dram = a->work.dram + b->work.dram;
  sum->work.shared = a->work.shared + b->work.shared;
  sum->work.cache = a->work.cache + b->work.cache;
  sum->work.flops = a->work.flops + b->work.flops;
}

// ---- what two have in common ---------------------------------------------------------------------

// The merged grid's index for each of a side's.
typedef struct Remap { signed char to[MAX_GRID]; } Remap;

static Remap remap(const Match *m, bool first) {
  Remap r;
  memset(&r, -1, sizeof r);
  for (int k = 0; k < m->n; k++) r.to[first ? m->ga[k] : m->gb[k]] = (signed char)k;
  return r;
}

static Spot remapped(Spot p, const Remap *r) {
  for (int d = 0; d < 8; d++) if (p.grid[d] >= 0) p.grid[d] = r->to[p.grid[d]];
  return p;
}

enum { MOST_SPOTS = 16 };
typedef struct Spots { int n; Spot v[MOST_SPOTS]; } Spots;

static const Spot nowhere = { { -1, -1, -1, -1, -1, -1, -1, -1 } };

// Different ones; when there are too many, one that has no index, which no dependence is matched with.
static void add_spot(Spots *p, Spot x) {
  for (int i = 0; i < p->n; i++) if (!memcmp(&p->v[i], &x, sizeof x)) return;
  if (p->n == MOST_SPOTS) p->v[MOST_SPOTS - 1] = nowhere;
  else p->v[p->n++] = x;
}

// Of members whose reduced indices become the grid's.
static void add_partial_spots(const Grouping *g, const Node *n, const Match *m, const Tensor *t, Spots *out) {
  for (int i = 0; i < n->u->m.n; i++) {
    const Reads *r = &g->reads[n->u->m.v[i].q->def->id];
    for (int k = 0; k < r->v.n; k++) {
      if (r->v.v[k].t != t) continue;
      Spot p = nowhere;
      for (int d = 0; d < t->rank; d++)
        for (int j = 0; j < m->n; j++) if (r->v.v[k].at[d] == -1 - m->red[i * MAX_GRID + j]) p.grid[d] = (signed char)j;
      add_spot(out, p);
    }
  }
}

// Where the merged grid's indices stand in this side's reads of a tensor.
static Spots spots_after(const Grouping *g, const Node *n, const Access *x, const Match *m, bool first) {
  Spots out = { .n = 0 };
  Remap r = remap(m, first);
  if (m->partial == (first ? PARTIAL_FIRST : PARTIAL_SECOND)) add_partial_spots(g, n, m, x->t, &out);
  else for (int k = 0; k < x->spots.n; k++) add_spot(&out, remapped(x->spots.v[k], &r));
  return out;
}

// How the two go about their reads, from before to after merging.
typedef struct Walk { const Node *a, *b; const Match *m; Remap first, second; } Walk;

static int after(const Remap *r, int grid) { return grid < 0 ? -1 : r->to[grid]; }

static bool same_spot(const Walk *w, const Spot *p, const Spot *q, int rank) {
  for (int d = 0; d < rank; d++) if (after(&w->first, p->grid[d]) != after(&w->second, q->grid[d])) return false;
  return true;
}

static bool same_spots(const Walk *w, const Access *x, const Access *y) {
  for (int i = 0; i < x->spots.n; i++)
    for (int j = 0; j < y->spots.n; j++) if (same_spot(w, &x->spots.v[i], &y->spots.v[j], x->t->rank)) return true;
  return false;
}

// Do the two walk x together: by the same grid indices at the same dimensions?
static bool walk_together(const Grouping *g, const Walk *w, const Access *x, const Access *y) {
  if (!w->m->partial) return same_spots(w, x, y);
  Spots p = spots_after(g, w->a, x, w->m, true), q = spots_after(g, w->b, y, w->m, false);
  for (int i = 0; i < p.n; i++)
    for (int j = 0; j < q.n; j++) if (!memcmp(&p.v[i], &q.v[j], sizeof p.v[0])) return true;
  return false;
}

static bool has_part(const Access *x, uint64_t part) {
  for (int i = 0; i < x->parts.n; i++) if (x->parts.v[i].id == part) return true;
  return false;
}

// Bytes that both sides read.
static double common_bytes(const Grouping *g, const Access *x, const Access *y) {
  double bx = bytes_of(g, x), by = bytes_of(g, y), all = whole_bytes(g, x->t), both = x->part_bytes + y->part_bytes;
  for (int i = 0; i < x->parts.n; i++) if (has_part(y, x->parts.v[i].id)) both -= x->parts.v[i].bytes;
  return bx + by - (x->whole || y->whole ? all : fmin(both, all));
}

// Must b's loops wait for those of a: does it read a sum?
static bool waits(const Node *a, const Node *b, const Match *m) {
  bool by_reads = b->reads.n <= a->u->m.n;
  for (int k = 0; m->depends && k < (by_reads ? b->reads.n : a->u->m.n); k++) {
    const Access *x = by_reads ? &b->reads.v[k] : group_access(b, a->u->m.v[k].q->def);
    const Member *d = !x ? NULL : by_reads ? group_definer(a, x->t) : &a->u->m.v[k];
    if (d && d->q->body->op == OP_REDUCE) return true;
  }
  return false;
}

// Bytes of x that one point of the merged grid reads.
static double row_bytes(const Grouping *g, const Node *a, const Access *x, const Match *m) {
  Spots p = spots_after(g, a, x, m, true);
  double row = bytes_of(g, x);
  for (int d = 0; d < x->t->rank && p.n; d++) if (p.v[0].grid[d] >= 0) row /= fmax(1, cost_nominal(x->t->extent[d]));
  return row;
}

// A row that two loops read one after the other comes from memory twice when the cache does not hold it.
static void share_reads(const Grouping *g, const Node *a, const Node *b, const Match *m, Weight *sum) {
  bool later = waits(a, b, m);
  Walk w = { a, b, m, remap(m, true), remap(m, false) };
  const Node *few = a->reads.n <= b->reads.n ? a : b, *many = few == a ? b : a;
  for (int k = 0; k < few->reads.n; k++) {
    const Access *x = &few->reads.v[k], *y = group_access(many, x->t);
    if (!y || group_definer(a, x->t) || group_definer(b, x->t)) continue;
    if (few == b) { const Access *t = x; x = y; y = t; }
    if (x->t->rank && !walk_together(g, &w, x, y)) continue;
    if (group_is_value(g, x->t)) {
      sum->work.flops -= later ? 0 : g->worth[x->t->id];
      continue;
    }
    sum->streams--;
    if (later && row_bytes(g, a, x, m) > (double)g->machine->cache_bytes) continue;
    move_bytes(g, sum, x->t, -common_bytes(g, x, y));
  }
}

// What a makes of t is not read from memory by b; nor written, when nobody else reads it.
static void pass_on(const Grouping *g, const Node *a, const Access *x, const Match *m, Weight *sum) {
  const Access *own = group_access(a, x->t);
  move_bytes(g, sum, x->t, -bytes_of(g, x));
  sum->streams--;
  if (in_memory(g, x->t, x->units + (own ? own->units : 0))) return;
  double bytes = whole_bytes(g, x->t);
  move_bytes(g, sum, x->t, -cost_nominal(g->cost[x->t->id].write_bytes));
  sum->streams--;
  if (x->t->rank <= m->n) return;               // in a variable
  // It lies between two loops of a grid point: in the core's cache, or in a temporary that goes to memory.
  if (pipe_takes(g->p, LOWER_ROW_BUFFERS)) sum->work.cache += 2 * bytes;
  else move_bytes(g, sum, x->t, bytes);
}

static void pass_values(const Grouping *g, const Node *a, const Node *b, const Match *m, Weight *sum) {
  bool by_reads = b->reads.n <= a->u->m.n;
  for (int k = 0; k < (by_reads ? b->reads.n : a->u->m.n); k++) {
    const Access *x = by_reads ? &b->reads.v[k] : group_access(b, a->u->m.v[k].q->def);
    if (x && group_definer(a, x->t)) pass_on(g, a, x, m, sum);
  }
}

// Each grid point adds its share to the sums of the core, which are combined at the end.
static void add_partials(const Grouping *g, const Node *n, double points, Weight *sum) {
  for (int i = 0; i < n->u->m.n; i++) {
    double bytes = g->bytes[n->u->m.v[i].q->def->id], all = 2 * bytes * points;
    if (bytes <= (double)g->machine->cache_bytes) sum->work.cache += n->u->m.v[i].q->n ? all : 0;
    else sum->work.dram += all;
    sum->work.shared += 2 * CHUNKS * bytes;
  }
}

// Of the two in one kernel; and the ns that this saves, its launch included. Below zero it costs time.
static double saves(const Grouping *g, const Node *a, const Node *b, const Match *m, Weight *sum) {
  const Group *host = m->partial == PARTIAL_FIRST ? b->u : a->u;
  Expr *extent[MAX_GRID];
  for (int k = 0; k < m->n; k++) extent[k] = host->extent[m->partial == PARTIAL_FIRST ? m->gb[k] : m->ga[k]];
  double points = points_of(m->n, extent);
  add_weights(&a->w, &b->w, sum);
  sum->sums = m->depends && a->w.sums > b->w.sums ? a->w.sums : m->depends ? b->w.sums : a->w.sums + b->w.sums;
  share_reads(g, a, b, m, sum);
  pass_values(g, a, b, m, sum);
  if (m->partial) add_partials(g, m->partial == PARTIAL_FIRST ? a : b, points, sum);
  weigh_time(g, sum, points, !m->n);
  return g->machine->launch_us * 1e3 + a->w.ns + b->w.ns - sum->ns;
}

bool group_offer(Grouping *g, const Node *a, const Node *b, Offer *o) {
  *o = (Offer){ .a = a, .b = b };
  g->steps++;
  if (!group_match(g, &o->a, &o->b, &o->m)) return false;
  o->saved = saves(g, o->a, o->b, &o->m, &o->sum);
  o->m.why = o->sum.streams > MAX_TENSORS ? REASON_LIMIT : REASON_SLOWER;
  return o->sum.streams <= MAX_TENSORS;
}

// ---- joining --------------------------------------------------------------------------------------

static void set_spots(Grouping *g, Access *a, const Spots *p) {
  a->spots.n = a->spots.cap = 0;
  a->spots.v = NULL;
  for (int i = 0; i < p->n; i++) vec_push(g->p->scratch, &a->spots, p->v[i]);
}

static void remap_accesses(Grouping *g, Node *n, const Match *m, bool first) {
  for (int k = 0; k < n->reads.n; k++, g->steps++) {
    Spots p = spots_after(g, n, &n->reads.v[k], m, first);
    set_spots(g, &n->reads.v[k], &p);
  }
}

static Member moved_member(const Node *n, int i, const Match *m, bool first) {
  Member was = n->u->m.v[i], now = { .q = was.q };
  bool partial = m->partial == (first ? PARTIAL_FIRST : PARTIAL_SECOND);
  for (int k = 0; k < m->n; k++) now.pos[k] = partial ? -1 - m->red[i * MAX_GRID + k] : was.pos[first ? m->ga[k] : m->gb[k]];
  return now;
}

static void take_grid(Group *u, const Group *from, const Match *m, bool first) {
  Group old = *from;
  u->ngrid = m->n;
  for (int k = 0; k < m->n; k++) {
    int at = first ? m->ga[k] : m->gb[k];
    u->grid[k] = old.grid[at];
    u->extent[k] = old.extent[at];
  }
}

static bool keeps_grid(const Node *n, const Match *m, bool first) {
  bool same = m->n == n->u->ngrid && m->partial != (first ? PARTIAL_FIRST : PARTIAL_SECOND);
  for (int k = 0; k < m->n && same; k++) same = (first ? m->ga[k] : m->gb[k]) == k;
  return same;
}

static void merge_access(Grouping *g, Node *into, const Node *other, const Access *x, const Match *m, bool first) {
  Spots p = spots_after(g, other, x, m, first);
  Access *y = group_access(into, x->t);
  if (!y) {
    vec_push(g->p->scratch, &into->reads, (Access){ .t = x->t });
    map_put(&into->read_at, (uint64_t)x->t->id, (void *)(uintptr_t)into->reads.n);
    y = &into->reads.v[into->reads.n - 1];
  }
  for (int i = 0; i < x->parts.n; i++, g->steps++) {
    if (has_part(y, x->parts.v[i].id)) continue;
    vec_push(g->p->scratch, &y->parts, x->parts.v[i]);
    y->part_bytes += x->parts.v[i].bytes;
  }
  y->whole |= x->whole;
  y->units += x->units;
  for (int i = 0; i < y->spots.n; i++) add_spot(&p, y->spots.v[i]);
  set_spots(g, y, &p);
}

static void copy_map(const Grouping *g, Map *m, int n, const Node *from, bool reads) {
  *m = map_make(g->p->scratch);
  for (int k = 0; k < n; k++) {
    int id = reads ? from->reads.v[k].t->id : from->u->m.v[k].q->def->id;
    map_put(m, (uint64_t)id, (void *)(uintptr_t)(k + 1));
  }
}

Node group_copy(const Grouping *g, const Node *n) {
  Node c = *n;
  c.u = arena_new(g->p->a, Group);
  *c.u = *n->u;
  c.u->m.v = arena_array(g->p->a, Member, n->u->m.n);
  c.reads.v = arena_array(g->p->scratch, Access, n->reads.n + 1);
  memcpy(c.u->m.v, n->u->m.v, (size_t)n->u->m.n * sizeof *c.u->m.v);
  if (n->reads.n) memcpy(c.reads.v, n->reads.v, (size_t)n->reads.n * sizeof *c.reads.v);
  c.u->m.cap = c.u->m.n;
  c.reads.cap = c.reads.n;
  c.units.cap = c.units.n;              // what is pushed goes elsewhere
  for (int k = 0; k < c.reads.n; k++) c.reads.v[k].spots.cap = c.reads.v[k].spots.n, c.reads.v[k].parts.cap = c.reads.v[k].parts.n;
  copy_map(g, &c.read_at, n->reads.n, n, true);
  copy_map(g, &c.defines, n->u->m.n, n, false);
  return c;
}

// `other` is left as it was. The grid's order is the larger one's, so that the larger has little to change.
void group_join(Grouping *g, Node *into, const Node *other, const Match *m, const Weight *sum, bool into_first) {
  bool grid_first = m->partial ? m->partial == PARTIAL_SECOND : into_first;
  Node side = *other;
  if (!keeps_grid(into, m, into_first)) {
    for (int i = 0; i < into->u->m.n; i++, g->steps++) into->u->m.v[i] = moved_member(into, i, m, into_first);
    remap_accesses(g, into, m, into_first);
  }
  take_grid(into->u, grid_first == into_first ? into->u : side.u, m, grid_first);
  for (int i = 0; i < side.u->m.n; i++, g->steps++) {
    vec_push(g->p->a, &into->u->m, moved_member(&side, i, m, !into_first));
    map_put(&into->defines, (uint64_t)side.u->m.v[i].q->def->id, (void *)(uintptr_t)into->u->m.n);
  }
  for (int k = 0; k < side.reads.n; k++) merge_access(g, into, &side, &side.reads.v[k], m, !into_first);
  for (int k = 0; k < side.units.n; k++) vec_push(g->p->scratch, &into->units, side.units.v[k]);
  into->nodes += side.nodes;
  into->u->key += side.u->key;
  into->w = *sum;
  into->stamp++;
}
