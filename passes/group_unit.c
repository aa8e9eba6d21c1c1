// group_unit.c: what there is to group: each equation (each recurrence) as a group of its own, what it reads, and who
// touches whom.
#include "base/limits.h"
#include "ir/rewrite.h"
#include "passes/group_int.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t group_mix(uint64_t a, uint64_t b) { uint64_t v[2] = { a, b }; return hash_bytes(v, sizeof v, 0x9e3779b97f4a7c15u); }

// ---- updates that read what they overwrite ---------------------------------------------------

// Updates whose right side reads what they overwrite go through a temporary: the language reads old values throughout.
typedef struct Hazard { const Eqn *q; bool found; } Hazard;

static bool stores_plainly(const Eqn *q) {
  if (q->nstore != q->n) return false;
  for (int k = 0; k < q->nstore; k++) {
    bool used = false;
    for (int j = 0; j < q->n; j++) used |= q->store[k]->op == OP_INDEX && q->store[k]->u.ix == q->ix[j];
    for (int j = 0; j < k; j++) used &= q->store[j] != q->store[k];
    if (!used) return false;
  }
  return true;
}

static void look_for_hazard(void *cx, Expr *e) {
  Hazard *h = cx;
  if (e->op != OP_READ || e->u.t->root != h->q->def->root) return;
  bool same = stores_plainly(h->q);
  for (int k = 0; k < h->q->nstore && same; k++) same = e->arg[k] == h->q->store[k];
  h->found |= !same;
}

typedef struct Staging { Pipe *p; VEC(Eqn *) out; } Staging;

// w[ix…] = value; then the update stores w. Conditions and subscripts that read the tensor go the same way.
static Expr *stage(Staging *s, Eqn *q, Expr *value, const char *what) {
  Fn *f = s->p->fn;
  Index *ix[8]; Expr *by[8], *sub[8];
  for (int k = 0; k < q->n; k++) {
    ix[k] = index_new(f->x, q->ix[k]->name, q->ix[k]->at);
    by[k] = expr_index(f->x, ix[k]);
    sub[k] = expr_index(f->x, q->ix[k]);
  }
  Name hint = intern(f->names, arena_printf(f->a, "%s_%s", q->def->root->name, what));
  Tensor *w = fn_tensor(f, hint, ROLE_LOCAL, (Dtype)value->dtype, NULL, q->n, q->extent, q->at);
  Eqn *r = fn_equation(f, w, q->n, ix, expr_subst(f->x, value, q->n, q->ix, by), q->at);
  vec_push(s->p->scratch, &s->out, r);
  return expr_read(f->x, w, q->n, sub, NULL, q->at);
}

static void stage_update(Staging *s, Eqn *q) {
  ExprTable *x = s->p->fn->x;
  Hazard h = { q, false };
  eqn_visit(s->p->scratch, q, look_for_hazard, &h);
  if (!h.found) return;
  for (int k = 0; k < q->nstore; k++)
    if (expr_has(q->store[k], OP_READ)) q->store[k] = stage(s, q, q->store[k], "at");
  Expr *cond = q->cond;
  Expr *zero = expr_scalar(x, (Dtype)q->body->dtype, (Scalar){0}, q->at);
  q->body = stage(s, q, cond ? expr_select(x, cond, q->body, zero, q->at) : q->body, "new");
  if (cond) q->cond = stage(s, q, cond, "if");
}

void group_stage_updates(Pipe *p) {
  Fn *f = p->fn;
  Staging s = { .p = p };
  int n = f->eqns.n;
  for (int i = 0; i < n; i++) {
    if (f->eqns.v[i]->base) stage_update(&s, f->eqns.v[i]);
    vec_push(p->scratch, &s.out, f->eqns.v[i]);
  }
  f->eqns.n = 0;
  for (int i = 0; i < s.out.n; i++) vec_push(f->a, &f->eqns, s.out.v[i]);
  fn_renumber(f);
}

// ---- structural hash -------------------------------------------------------------------------

typedef struct Hasher { Grouping *g; const Eqn *q; Map memo, bound; int nbound; } Hasher;

static uint64_t index_hash(Hasher *h, const Index *ix) {
  for (int k = 0; k < h->q->n; k++) if (h->q->ix[k] == ix) return group_mix(1, (uint64_t)k);
  uintptr_t n = (uintptr_t)map_getp(&h->bound, ix);
  if (!n) { n = (uintptr_t)++h->nbound; map_putp(&h->bound, ix, (void *)n); }
  return group_mix(2, n);
}

static uint64_t expr_hash(Hasher *h, const Expr *e) {
  uint64_t *seen = map_get(&h->memo, (uint64_t)e->id + 1);
  if (seen) return *seen;
  uint64_t v = group_mix(e->op, (uint64_t)e->dtype << 8 | e->aux);
  if (e->op == OP_CONST) v = group_mix(v, e->u.v.u);
  else if (e->op == OP_DIM) v = group_mix(v, (uint64_t)e->u.dim->id + 7);
  else if (e->op == OP_INDEX) v = group_mix(v, index_hash(h, e->u.ix));
  else if (e->op == OP_READ) v = group_mix(v, h->g->key[e->u.t->id]);
  else if (e->op == OP_REDUCE) v = group_mix(v, (uint64_t)e->u.bind->reducer << 8 | (uint64_t)e->u.bind->n);
  for (uint32_t k = 0; k < e->nargs; k++) v = group_mix(v, expr_hash(h, e->arg[k]));
  seen = arena_new(h->g->p->scratch, uint64_t);
  *seen = v;
  map_put(&h->memo, (uint64_t)e->id + 1, seen);
  return v;
}

static uint64_t equation_key(Grouping *g, const Eqn *q) {
  Hasher h = { .g = g, .q = q, .memo = map_make(g->p->scratch), .bound = map_make(g->p->scratch) };
  uint64_t v = group_mix((uint64_t)q->n, q->base ? g->key[q->base->id] : 3);
  for (int k = 0; k < q->n; k++) v = group_mix(v, expr_hash(&h, q->extent[k]));
  v = group_mix(v, expr_hash(&h, q->body));
  if (q->cond) v = group_mix(v, expr_hash(&h, q->cond));
  for (int k = 0; k < q->nstore; k++) v = group_mix(v, expr_hash(&h, q->store[k]));
  return group_mix(v, q->def->stored ? q->def->dtype : 0);
}

static void find_keys(Grouping *g) {
  Fn *f = g->f;
  for (int i = 0; i < f->tensors.n; i++) {
    const Tensor *t = f->tensors.v[i];
    g->key[i] = t->table ? hash_bytes(t->table, (size_t)t->ntable * sizeof(Scalar), 8) : group_mix(5, (uint64_t)t->role);
  }
  for (int i = 0; i < f->params.n; i++) g->key[f->params.v[i]->id] = group_mix(6, (uint64_t)i);
  for (int i = 0; i < f->eqns.n; i++) {
    Eqn *q = f->eqns.v[i];
    g->key[q->def->id] = equation_key(g, q);
  }
  for (int i = 0; i < f->results.n; i++) g->key[f->results.v[i]->id] = group_mix(g->key[f->results.v[i]->id], 100 + (uint64_t)i);
}

// ---- reads -----------------------------------------------------------------------------------

static signed char place_of(const Eqn *q, const Expr *sub) {
  if (sub->op != OP_INDEX) return AT_OTHER;
  for (int k = 0; k < q->n; k++) if (q->ix[k] == sub->u.ix) return (signed char)k;
  for (int k = 0; q->body->op == OP_REDUCE && k < q->body->u.bind->n; k++)
    if (q->body->u.bind->ix[k] == sub->u.ix) return (signed char)(-1 - k);
  return AT_OTHER;
}

static void find_reads(Grouping *g, Eqn *q) {
  EqnCost *c = &g->cost[q->def->id];
  cost_equation(g->f, q, g->p->scratch, c);
  for (int i = 0; i < c->reads.n; i++) {
    const Touch *u = &c->reads.v[i];
    Read r = { .t = u->read->u.t, .part = u->part, .bytes = cost_nominal(u->bytes), .whole = u->whole };
    for (int d = 0; d < r.t->rank; d++) r.at[d] = place_of(q, u->read->arg[d]);
    vec_push(g->p->scratch, &g->reads[q->def->id].v, r);
  }
  group_find_values(g, q);
}

// ---- units -------------------------------------------------------------------------------------

typedef struct OwnReads { const Fn *f; const Eqn *q; int pos; bool plain; } OwnReads;

// Position `pos` may be a grid index of a recurrence when every read of the recurrence's tensors has the reader's own index there.
static void check_own_read(void *cx, Expr *e) {
  OwnReads *o = cx;
  if (e->op != OP_READ) return;
  Eqn *d = fn_def(o->f, e->u.t);
  if (!d || d->scc != o->q->scc) return;
  if (o->pos >= read_rank(e) || o->pos >= o->q->n || e->arg[o->pos]->op != OP_INDEX || e->arg[o->pos]->u.ix != o->q->ix[o->pos]) o->plain = false;
}

static bool recurrence_grid(Grouping *g, Group *u, int pos) {
  for (int i = 0; i < u->m.n; i++) {
    Eqn *q = u->m.v[i].q;
    if (pos >= q->n || q->order_ix[0] == pos || q->extent[pos] != u->m.v[0].q->extent[pos]) return false;
    OwnReads o = { g->f, q, pos, true };
    eqn_visit(g->p->scratch, q, check_own_read, &o);
    if (!o.plain) return false;
  }
  return true;
}

static void start_grid(Grouping *g, Group *u) {
  Eqn *q = u->m.v[0].q;
  // A block of a format is made by one grid point: its index stays inside. So does the last index of a packed type, whose
  // neighbours share a byte; a scatter of them runs in order altogether.
  int block = eqn_block_pos(q);
  bool packed = dtypes[q->def->dtype].bits < 8;
  if (packed) block = q->n - 1;
  if (packed && q->base) return;
  int scan = eqn_scan_pos(q);           // runs in order
  for (int pos = 0; pos < q->n && u->ngrid < MAX_GRID; pos++) {
    if (pos == block || pos == scan) continue;
    if (q->scc && !recurrence_grid(g, u, pos)) continue;
    u->grid[u->ngrid] = q->ix[pos];
    u->extent[u->ngrid] = q->extent[pos];
    for (int i = 0; i < u->m.n; i++) u->m.v[i].pos[u->ngrid] = pos;
    u->ngrid++;
  }
}

static Node *unit_of(Grouping *g, Map *sccs, Eqn *q) {
  int at = q->scc ? (int)(uintptr_t)map_get(sccs, (uint64_t)q->scc) - 1 : -1;
  if (at >= 0) return &g->node[at];
  Node *n = &g->node[at = g->n++];
  *n = (Node){ .u = arena_new(g->p->a, Group), .up = at, .read_at = map_make(g->p->scratch), .defines = map_make(g->p->scratch) };
  vec_push(g->p->scratch, &n->units, at);
  if (q->scc) map_put(sccs, (uint64_t)q->scc, (void *)(uintptr_t)(at + 1));
  return n;
}

static void add_member(Grouping *g, Node *n, Eqn *q) {
  int id = q->def->id;
  g->unit[id] = n->units.v[0];
  vec_push(g->p->a, &n->u->m, (Member){ .q = q });
  map_put(&n->defines, (uint64_t)id, (void *)(uintptr_t)n->u->m.n);
  n->u->key += group_mix(7, g->key[id]);
  n->nodes += expr_size(q->body);
}

Access *group_access(const Node *n, const Tensor *t) {
  uintptr_t at = (uintptr_t)map_get(&n->read_at, (uint64_t)t->id);
  return at ? &n->reads.v[at - 1] : NULL;
}

const Member *group_definer(const Node *n, const Tensor *t) {
  uintptr_t at = (uintptr_t)map_get(&n->defines, (uint64_t)t->id);
  return at ? &n->u->m.v[at - 1] : NULL;
}

static Access *access_new(Grouping *g, Node *n, Tensor *t) {
  Access *a = group_access(n, t);
  if (a) return a;
  vec_push(g->p->scratch, &n->reads, (Access){ .t = t, .units = 1 });
  map_put(&n->read_at, (uint64_t)t->id, (void *)(uintptr_t)n->reads.n);
  return &n->reads.v[n->reads.n - 1];
}

static void add_read(Grouping *g, Node *n, const Member *m, const Read *r) {
  Access *a = access_new(g, n, r->t);
  Spot p;
  memset(&p, -1, sizeof p);
  for (int d = 0; d < r->t->rank; d++)
    for (int k = 0; k < n->u->ngrid; k++) if (r->at[d] == m->pos[k]) p.grid[d] = (signed char)k;
  bool known = false;
  for (int i = 0; i < a->spots.n; i++) known |= !memcmp(&a->spots.v[i], &p, sizeof p);
  if (!known) vec_push(g->p->scratch, &a->spots, p);
  a->whole |= r->whole;
  for (int i = 0; i < a->parts.n; i++) if (a->parts.v[i].id == r->part) return;
  vec_push(g->p->scratch, &a->parts, (Part){ r->part, r->bytes });
  a->part_bytes += r->bytes;
}

static void fill_unit(Grouping *g, Node *n) {
  start_grid(g, n->u);
  for (int i = 0; i < n->u->m.n; i++) {
    const Reads *r = &g->reads[n->u->m.v[i].q->def->id];
    for (int k = 0; k < r->v.n; k++) add_read(g, n, &n->u->m.v[i], &r->v.v[k]);
  }
}

static void make_units(Grouping *g) {
  Map sccs = map_make(g->p->scratch);
  Fn *f = g->f;
  g->node = arena_array(g->p->scratch, Node, f->eqns.n + 1);
  for (int i = 0; i < f->tensors.n; i++) g->unit[i] = -1;
  for (int i = 0; i < f->eqns.n; i++) {
    Eqn *q = f->eqns.v[i];
    if (!g->live[q->def->id]) continue;
    find_reads(g, q);
    add_member(g, unit_of(g, &sccs, q), q);
  }
  for (int i = 0; i < g->n; i++) fill_unit(g, &g->node[i]);
}

// ---- who touches whom ----------------------------------------------------------------------------

enum { ALL_PAIRS = 12, NEAR = 3 };      // readers of one tensor: pairs of all of them, or of each with its next ones

typedef struct Reader { uint64_t shape, key; int unit; } Reader;

// Those that walk alike stand together, then by key: which are neighbours does not depend on the source's order.
static int by_shape(const void *a, const void *b) {
  const Reader *x = a, *y = b;
  if (x->shape != y->shape) return x->shape < y->shape ? -1 : 1;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->unit - y->unit;
}

static uint64_t shape_of(Grouping *g, const Node *n, const Access *a) {
  Hasher h = { .g = g, .q = n->u->m.v[0].q, .memo = map_make(g->p->scratch), .bound = map_make(g->p->scratch) };
  uint64_t v = group_mix(9, (uint64_t)n->u->ngrid);
  for (int k = 0; k < n->u->ngrid; k++) v = group_mix(v, expr_hash(&h, n->u->extent[k]));
  return group_mix(v, hash_bytes(a->spots.v, sizeof(Spot), 4));
}

typedef struct Readers { VEC(Reader) v; } Readers;

static void edge(Grouping *g, int from, int to) {
  if (from == to) return;
  vec_push(g->p->scratch, &g->after[from].to, to);
  vec_push(g->p->scratch, &g->before[to].to, from);
}

static void pair(Grouping *g, Map *paired, int a, int b) {
  uint64_t key = a < b ? (uint64_t)a << 32 | (uint64_t)b : (uint64_t)b << 32 | (uint64_t)a;
  if (a == b || map_get(paired, key)) return;
  map_put(paired, key, g);
  vec_push(g->p->scratch, &g->pairs, (Pair){ .a = a, .b = b });
}

static void pair_readers(Grouping *g, Map *paired, Readers *r) {
  int n = r->v.n, reach = n <= ALL_PAIRS ? n : NEAR;
  if (n > 1) qsort(r->v.v, (size_t)n, sizeof *r->v.v, by_shape);
  for (int i = 1; i < n && n > ALL_PAIRS; i++) vec_push(g->p->scratch, &g->tied, (Pair){ .a = r->v.v[i - 1].unit, .b = r->v.v[i].unit });
  for (int i = 0; i < n; i++)
    for (int j = i + 1; j < n && j <= i + reach; j++) pair(g, paired, r->v.v[i].unit, r->v.v[j].unit);
}

static void find_neighbours(Grouping *g) {
  int n = g->f->tensors.n + g->nvalues;
  Readers *readers = arena_array(g->p->scratch, Readers, n + 1);
  Map paired = map_make(g->p->scratch);
  for (int i = 0; i < g->n; i++) {
    const Node *n = &g->node[i];
    for (int k = 0; k < n->reads.n; k++) {
      const Access *a = &n->reads.v[k];
      int from = g->unit[a->t->id];
      vec_push(g->p->scratch, &readers[a->t->id].v, (Reader){ shape_of(g, n, a), n->u->key, i });
      g->readers[a->t->id]++;
      if (from < 0 || from == i) continue;
      edge(g, from, i);
      pair(g, &paired, from, i);
    }
  }
  // One that overwrites comes after those that read what was there.
  for (int i = 0; i < g->n; i++)
    for (int k = 0; k < g->node[i].u->m.n; k++) {
      const Tensor *base = g->node[i].u->m.v[k].q->base;
      if (!base) continue;
      if (g->unit[base->id] >= 0) edge(g, g->unit[base->id], i);
      for (int r = 0; r < readers[base->id].v.n; r++) edge(g, readers[base->id].v.v[r].unit, i);
    }
  for (int i = 0; i < n; i++)
    if (i >= g->f->tensors.n || (g->f->tensors.v[i]->rank && !g->f->tensors.v[i]->table)) pair_readers(g, &paired, &readers[i]);
}

void group_find_units(Grouping *g) {
  Fn *f = g->f;
  Arena *s = g->p->scratch;
  size_t n = (size_t)f->tensors.n + (size_t)group_most_values(f) + 1;
  g->live = fn_live(s, f);
  g->values = map_make(s);
  g->worth = arena_array(s, double, n);
  g->key = arena_array(s, uint64_t, n);
  g->unit = arena_array(s, int, n);
  g->readers = arena_array(s, int, n);
  g->bytes = arena_array(s, double, n);
  g->reads = arena_array(s, Reads, n);
  g->cost = arena_array(s, EqnCost, n);
  g->after = arena_array(s, Edges, n);
  g->before = arena_array(s, Edges, n);
  g->home = arena_array(s, double, n);
  for (int i = 0; i < f->tensors.n; i++) {
    const Tensor *t = f->tensors.v[i];
    bool known = true;
    for (int d = 0; d < t->rank; d++) known &= cost_is_known(t->extent[d]);
    g->bytes[i] = cost_nominal_bytes(t);
    g->home[i] = known ? g->bytes[i] : INFINITY;
  }
  find_keys(g);
  make_units(g);
  find_neighbours(g);
  for (int i = 0; i < g->n; i++) group_weigh(g, &g->node[i]);
  for (int i = 0; i < g->pairs.n; i++) {
    Pair *p = &g->pairs.v[i];
    Offer o;
    p->can = group_offer(g, &g->node[p->a], &g->node[p->b], &o);
    p->saved = o.saved;
    p->with_others = p->can || o.m.common;
  }
}
