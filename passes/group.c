// group.c: choose which equations share a kernel.
//
//   m[i]    = max[j](x[i, j])                     kernel over i, in parallel:
//   z[i]    = sum[j](exp(x[i, j] - m[i]))   ──▶     m, z and y of row i
//   y[i, j] = exp(x[i, j] - m[i]) / z[i]
//
// A group has grid indices that run in parallel, and every member has all of them. Two groups can merge when the reads
// between them name the grid's indices plainly at their places: what a grid point reads of the group, the same grid
// point has made. So softmax merges over its rows, and an equation that needs a whole tensor's sum does not merge with it.
// Method: greedy, the pair that saves most bytes first [as XLA's priority fusion]; ties go by a hash of the structure, so the
// order and the names of equations decide nothing. Every pair that touches and stays apart leaves a remark.
#include "passes/group.h"
#include "base/limits.h"
#include "ir/cost.h"
#include "ir/rewrite.h"
#include <assert.h>
#include <string.h>

enum { NOMINAL_EXTENT = 1024, MAX_MEMBERS = 256, MIN_PARALLEL = 8 };

// The READs of one equation.
typedef struct Reads { Arena *a; VEC(Expr *) v; } Reads;

typedef struct Grouping {
  Pipe *p;
  Fn *f;
  bool *live;
  uint64_t *key;        // structural hash by tensor id
  Group **of;           // by tensor id: the group that defines it
  double *bytes;        // by tensor id, at nominal extents
  int64_t *dims;        // nominal extents
  Reads *reads;         // by tensor id: what its equation reads
} Grouping;

static void collect_read(void *cx, Expr *e) {
  Reads *r = cx;
  if (e->op == OP_READ && e->aux != READ_FAILS) vec_push(r->a, &r->v, e);
}

static void find_reads(Grouping *g) {
  g->reads = arena_array(g->p->scratch, Reads, g->f->tensors.n + 1);
  for (int i = 0; i < g->f->eqns.n; i++) {
    Eqn *q = g->f->eqns.v[i];
    g->reads[q->def->id].a = g->p->scratch;
    eqn_visit(g->p->scratch, q, collect_read, &g->reads[q->def->id]);
  }
}

// ---- structural hash -------------------------------------------------------------------------

typedef struct Hasher { Grouping *g; const Eqn *q; Map memo, bound; int nbound; } Hasher;

static uint64_t mix(uint64_t a, uint64_t b) { uint64_t v[2] = { a, b }; return hash_bytes(v, sizeof v, 0x9e3779b97f4a7c15u); }

static uint64_t index_hash(Hasher *h, const Index *ix) {
  for (int k = 0; k < h->q->n; k++) if (h->q->ix[k] == ix) return mix(1, (uint64_t)k);
  uintptr_t n = (uintptr_t)map_getp(&h->bound, ix);
  if (!n) { n = (uintptr_t)++h->nbound; map_putp(&h->bound, ix, (void *)n); }
  return mix(2, n);
}

static uint64_t expr_hash(Hasher *h, const Expr *e) {
  uint64_t *seen = map_get(&h->memo, (uint64_t)e->id + 1);
  if (seen) return *seen;
  uint64_t v = mix(e->op, (uint64_t)e->dtype << 8 | e->aux);
  if (e->op == OP_CONST) v = mix(v, e->u.v.u);
  else if (e->op == OP_DIM) v = mix(v, (uint64_t)e->u.dim->id + 7);
  else if (e->op == OP_INDEX) v = mix(v, index_hash(h, e->u.ix));
  else if (e->op == OP_READ) v = mix(v, h->g->key[e->u.t->id]);
  else if (e->op == OP_REDUCE) v = mix(v, (uint64_t)e->u.bind->reducer << 8 | (uint64_t)e->u.bind->n);
  for (uint32_t k = 0; k < e->nargs; k++) v = mix(v, expr_hash(h, e->arg[k]));
  seen = arena_new(h->g->p->scratch, uint64_t);
  *seen = v;
  map_put(&h->memo, (uint64_t)e->id + 1, seen);
  return v;
}

static uint64_t equation_key(Grouping *g, const Eqn *q) {
  Hasher h = { .g = g, .q = q, .memo = map_make(g->p->scratch), .bound = map_make(g->p->scratch) };
  uint64_t v = mix((uint64_t)q->n, q->base ? g->key[q->base->id] : 3);
  for (int k = 0; k < q->n; k++) v = mix(v, expr_hash(&h, q->extent[k]));
  v = mix(v, expr_hash(&h, q->body));
  if (q->cond) v = mix(v, expr_hash(&h, q->cond));
  for (int k = 0; k < q->nstore; k++) v = mix(v, expr_hash(&h, q->store[k]));
  return mix(v, q->def->stored ? q->def->dtype : 0);
}

static void find_keys(Grouping *g) {
  Fn *f = g->f;
  for (int i = 0; i < f->tensors.n; i++) g->key[i] = mix(5, (uint64_t)f->tensors.v[i]->role);
  for (int i = 0; i < f->params.n; i++) g->key[f->params.v[i]->id] = mix(6, (uint64_t)i);
  for (int i = 0; i < f->tensors.n; i++)
    if (f->tensors.v[i]->table)
      g->key[i] = hash_bytes(f->tensors.v[i]->table, (size_t)f->tensors.v[i]->ntable * sizeof(Scalar), 8);
  for (int i = 0; i < f->eqns.n; i++) {
    Eqn *q = f->eqns.v[i];
    g->key[q->def->id] = equation_key(g, q);
  }
  for (int i = 0; i < f->results.n; i++) g->key[f->results.v[i]->id] = mix(g->key[f->results.v[i]->id], 100 + (uint64_t)i);
}

// ---- units: the groups to start from ---------------------------------------------------------

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

// w[ix…] = value; then the update stores w. Conditions and subscripts that read the tensor go the same way.
static Expr *stage(Fn *f, Eqn *q, Expr *value, const char *what, int at) {
  Index *ix[8]; Expr *by[8], *sub[8];
  for (int k = 0; k < q->n; k++) {
    ix[k] = index_new(f->x, q->ix[k]->name, q->ix[k]->at);
    by[k] = expr_index(f->x, ix[k]);
    sub[k] = expr_index(f->x, q->ix[k]);
  }
  Name hint = intern(f->names, arena_printf(f->a, "%s_%s", q->def->root->name, what));
  Tensor *w = fn_tensor(f, hint, ROLE_LOCAL, (Dtype)value->dtype, NULL, q->n, q->extent, q->at);
  Eqn *r = fn_equation(f, w, q->n, ix, expr_subst(f->x, value, q->n, q->ix, by), q->at);
  for (int k = f->eqns.n - 1; k > at; k--) f->eqns.v[k] = f->eqns.v[k - 1];
  f->eqns.v[at] = r;
  return expr_read(f->x, w, q->n, sub, NULL, q->at);
}

static void stage_updates(Pipe *p) {
  Fn *f = p->fn;
  for (int i = 0; i < f->eqns.n; i++) {
    Eqn *q = f->eqns.v[i];
    Hazard h = { q, false };
    if (q->base) eqn_visit(p->scratch, q, look_for_hazard, &h);
    if (!h.found) continue;
    for (int k = 0; k < q->nstore; k++)
      if (expr_has(q->store[k], OP_READ)) q->store[k] = stage(f, q, q->store[k], "at", i++);
    Expr *cond = q->cond;
    q->body = stage(f, q, cond ? expr_select(f->x, cond, q->body, expr_scalar(f->x, (Dtype)q->body->dtype, (Scalar){0}, q->at), q->at) : q->body, "new", i++);
    if (cond) q->cond = stage(f, q, cond, "if", i++);
  }
}

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
  int scan = eqn_scan_pos(q);
  for (int pos = 0; pos < q->n && u->ngrid < MAX_GRID; pos++) {
    if (pos == block || pos == scan) continue;
    if (q->scc && !recurrence_grid(g, u, pos)) continue;
    u->grid[u->ngrid] = q->ix[pos];
    u->extent[u->ngrid] = q->extent[pos];
    for (int i = 0; i < u->m.n; i++) u->m.v[i].pos[u->ngrid] = pos;
    u->ngrid++;
  }
}

static Group *unit_of(Grouping *g, Eqn *q) {
  Group *u = NULL;
  for (int i = 0; q->scc && i < g->p->groups.n; i++)
    if (g->p->groups.v[i]->m.v[0].q->scc == q->scc) u = g->p->groups.v[i];
  if (!u) {
    u = arena_new(g->p->a, Group);
    vec_push(g->p->a, &g->p->groups, u);
  }
  vec_push(g->p->a, &u->m, (Member){ .q = q });
  u->key = mix(u->key, g->key[q->def->id]);
  g->of[q->def->id] = u;
  return u;
}

static void make_units(Grouping *g) {
  for (int i = 0; i < g->f->eqns.n; i++)
    if (g->live[g->f->eqns.v[i]->def->id]) unit_of(g, g->f->eqns.v[i]);
  for (int i = 0; i < g->p->groups.n; i++) start_grid(g, g->p->groups.v[i]);
}

// ---- what a group reads ------------------------------------------------------------------------

// A tensor read by a group, and which grid index stands plainly at each of its dimensions (-1: none). Equal reads are one.
typedef struct Access { Tensor *t; signed char grid[8]; } Access;

typedef struct Node {
  Group *u;
  VEC(Access) reads;
  bool alive;
  int best;             // the partner it would best merge with; -1: none
  double best_saved;
} Node;

static bool is_index(const Expr *e, const Index *ix) { return e->op == OP_INDEX && e->u.ix == ix; }

static void add_access(Arena *a, Node *n, Access x) {
  for (int i = 0; i < n->reads.n; i++)
    if (n->reads.v[i].t == x.t && !memcmp(n->reads.v[i].grid, x.grid, sizeof x.grid)) return;
  vec_push(a, &n->reads, x);
}

static void find_accesses(Grouping *g, Node *n) {
  for (int i = 0; i < n->u->m.n; i++) {
    const Member *m = &n->u->m.v[i];
    const Reads *r = &g->reads[m->q->def->id];
    for (int k = 0; k < r->v.n; k++) {
      Access x = { .t = r->v.v[k]->u.t };
      memset(x.grid, -1, sizeof x.grid);
      for (int d = 0; d < x.t->rank; d++)
        for (int gi = 0; gi < n->u->ngrid; gi++)
          if (is_index(r->v.v[k]->arg[d], m->q->ix[m->pos[gi]])) x.grid[d] = (signed char)gi;
      add_access(g->p->scratch, n, x);
    }
  }
}

static bool reads_of_group(const Grouping *g, const Node *b, const Group *a) {
  for (int k = 0; k < b->reads.n; k++) if (g->of[b->reads.v[k].t->id] == a) return true;
  return false;
}

static bool reads_of_tensor(const Node *n, const Tensor *t) {
  for (int k = 0; k < n->reads.n; k++) if (n->reads.v[k].t == t) return true;
  return false;
}

// Must a run before b? Because b reads what a makes, or b overwrites what a reads.
static bool precedes(const Grouping *g, const Node *a, const Node *b) {
  if (reads_of_group(g, b, a->u)) return true;
  for (int i = 0; i < b->u->m.n; i++) {
    const Tensor *base = b->u->m.v[i].q->base;
    if (base && (g->of[base->id] == a->u || reads_of_tensor(a, base))) return true;
  }
  return false;
}

// The groups, and which must run before which: edge[a * n + b].
typedef struct Graph { int n; Node *node; bool *edge; } Graph;

static Graph graph_make(Grouping *g) {
  int n = g->p->groups.n;
  Graph r = { n, arena_array(g->p->scratch, Node, n + 1), arena_array(g->p->scratch, bool, (size_t)n * (size_t)n + 1) };
  for (int i = 0; i < n; i++) {
    r.node[i] = (Node){ .u = g->p->groups.v[i], .alive = true, .best = -1 };
    find_accesses(g, &r.node[i]);
  }
  for (int a = 0; a < n; a++)
    for (int b = 0; b < n; b++) if (a != b) r.edge[a * n + b] = precedes(g, &r.node[a], &r.node[b]);
  return r;
}

// Is there a way from a to b of more than one step?
static bool detour(Arena *s, const Graph *r, int a, int b) {
  bool *seen = arena_array(s, bool, r->n);
  int *stack = arena_array(s, int, r->n + 1), top = 0;
  for (int k = 0; k < r->n; k++)
    if (r->node[k].alive && r->edge[a * r->n + k] && k != b) seen[k] = true, stack[top++] = k;
  while (top) {
    int v = stack[--top];
    if (r->edge[v * r->n + b]) return true;
    for (int k = 0; k < r->n; k++)
      if (r->node[k].alive && r->edge[v * r->n + k] && !seen[k] && k != b) seen[k] = true, stack[top++] = k;
  }
  return false;
}

// ---- merging two groups ----------------------------------------------------------------------

typedef struct Match { int n; int a[MAX_GRID], b[MAX_GRID]; double saved; Reason why; bool depends; } Match;

static const Member *definer(const Group *a, const Tensor *t) {
  for (int j = 0; j < a->m.n; j++) if (a->m.v[j].q->def == t) return &a->m.v[j];
  return NULL;
}

// Dependence: grid index ga of a stays with gb of b when every read of a's tensors by b has b's index gb at a's place.
static void match_dependence(const Grouping *g, const Node *a, const Node *b, bool ok[MAX_GRID][MAX_GRID], Match *m) {
  for (int k = 0; k < b->reads.n; k++) {
    const Access *x = &b->reads.v[k];
    if (g->of[x->t->id] != a->u) continue;
    m->depends = true;
    m->saved += g->bytes[x->t->id];
    const Member *d = definer(a->u, x->t);
    for (int ga = 0; ga < a->u->ngrid; ga++)
      for (int gb = 0; gb < b->u->ngrid; gb++) ok[ga][gb] &= x->grid[d->pos[ga]] == gb;
  }
}

// No dependence: groups that read one tensor by the same plain indices can walk it together.
static void match_shared(const Grouping *g, const Node *a, const Node *b, bool ok[MAX_GRID][MAX_GRID], Match *m) {
  for (int s = 0; s < a->reads.n; s++)
    for (int t = 0; t < b->reads.n; t++) {
      const Access *x = &a->reads.v[s], *y = &b->reads.v[t];
      if (x->t != y->t || x->t->rank == 0 || x->t->table) continue;
      m->saved += g->bytes[x->t->id];
      for (int d = 0; d < x->t->rank; d++) if (x->grid[d] >= 0 && y->grid[d] >= 0) ok[x->grid[d]][y->grid[d]] = true;
    }
}

static bool kept(const Match *m, bool second, int pos, const Member *mem) {
  for (int k = 0; k < m->n; k++) if (mem->pos[second ? m->b[k] : m->a[k]] == pos) return true;
  return false;
}

// Does some read run over a lost index and a reduced one, but over no index that is kept? Each grid point would read all of it.
static bool rereads_matrix(const Grouping *g, const Member *mem, const Match *m, bool second) {
  const Eqn *q = mem->q;
  const Reads *r = &g->reads[q->def->id];
  for (int i = 0; i < r->v.n; i++) {
    Expr *e = r->v.v[i];
    bool lost = false, stays = false, reduced = false;
    for (int k = 0; k < q->n; k++) {
      if (!expr_uses_index(e, q->ix[k])) continue;
      if (kept(m, second, k, mem)) stays = true; else lost = true;
    }
    for (int k = 0; k < q->body->u.bind->n; k++) reduced |= expr_uses_index(e, q->body->u.bind->ix[k]);
    if (e->u.t->rank >= 2 && lost && reduced && !stays) return true;
  }
  return false;
}

// Would the merged grid, which lacks some index of u, make u's members slow? They must keep an outer part of their indices, and
// not read a matrix again at every grid point.
static bool suits(const Grouping *g, const Group *u, const Match *m, bool second) {
  if (m->n == u->ngrid) return true;
  for (int i = 0; i < u->m.n; i++) {
    const Member *mem = &u->m.v[i];
    bool lost = false;
    for (int pos = 0; pos < mem->q->n; pos++) {
      bool stays = kept(m, second, pos, mem);
      if (stays && lost && !mem->q->scc) return false;
      lost |= !stays;
    }
    if (mem->q->body->op == OP_REDUCE && rereads_matrix(g, mem, m, second)) return false;
  }
  return true;
}

static bool parallel_enough(const Group *a, const Match *m) {
  double all = 1;
  for (int k = 0; k < m->n; k++) {
    Expr *e = a->extent[m->a[k]];
    all *= expr_is_const(e) ? (double)e->u.v.i : NOMINAL_EXTENT;
  }
  return all >= MIN_PARALLEL;
}

static bool special(const Group *u) { return u->m.v[0].q->base || u->m.v[0].q->def->fmt; }

static Reason no_common_index(const Grouping *g, const Node *a, const Node *b, const Match *m) {
  if (a->u->m.v[0].q->scc || b->u->m.v[0].q->scc) return REASON_RECURRENCE;
  if (!m->depends) return REASON_ITERATION_SPACE;
  for (int k = 0; k < b->reads.n; k++)
    for (int d = 0; d < b->reads.v[k].t->rank; d++)
      if (g->of[b->reads.v[k].t->id] == a->u && b->reads.v[k].grid[d] < 0 && b->u->ngrid == b->reads.v[k].t->rank) return REASON_GATHER;
  for (int i = 0; i < a->u->m.n; i++)
    if (a->u->m.v[i].q->body->op == OP_REDUCE && reads_of_tensor(b, a->u->m.v[i].q->def)) return REASON_REDUCTION;
  return REASON_ITERATION_SPACE;
}

// Can a (first) and b merge, over which grid, and what would it save? false: m->why says why not. Groups that touch no
// common tensor have saved == 0.
static bool match(const Grouping *g, const Node *a, const Node *b, Match *m) {
  bool dep[MAX_GRID][MAX_GRID], share[MAX_GRID][MAX_GRID] = {{0}};
  memset(dep, 1, sizeof dep);
  *m = (Match){ .why = REASON_COUNT };
  match_dependence(g, a, b, dep, m);
  if (!m->depends) match_shared(g, a, b, share, m);
  if (m->saved <= 0) return false;
  if (a->u->m.v[0].q->base || b->u->m.v[0].q->base) { m->why = REASON_ALIAS; return false; }
  if (special(a->u) || special(b->u)) { m->why = REASON_STORED; return false; }
  if (a->u->m.n + b->u->m.n > MAX_MEMBERS) { m->why = REASON_LIMIT; return false; }
  bool taken[MAX_GRID] = {0};
  for (int ga = 0; ga < a->u->ngrid; ga++)
    for (int gb = 0; gb < b->u->ngrid; gb++) {
      if (taken[gb] || !(m->depends ? dep : share)[ga][gb] || a->u->extent[ga] != b->u->extent[gb]) continue;
      taken[gb] = true;
      m->a[m->n] = ga;
      m->b[m->n++] = gb;
      break;
    }
  bool scalars = !a->u->ngrid && !b->u->ngrid;
  if (!m->n && !scalars) { m->why = no_common_index(g, a, b, m); return false; }
  m->why = REASON_ITERATION_SPACE;
  if (!suits(g, a->u, m, false) || !suits(g, b->u, m, true)) return false;
  return scalars || (m->n == a->u->ngrid && m->n == b->u->ngrid) || parallel_enough(a->u, m);
}

static signed char remapped(int grid, const Match *m, bool second) {
  for (int k = 0; k < m->n; k++) if ((second ? m->b[k] : m->a[k]) == grid) return (signed char)k;
  return -1;
}

static void merge_accesses(Grouping *g, Node *a, const Node *b, const Match *m) {
  Node old = *a;
  a->reads.v = NULL;
  a->reads.n = a->reads.cap = 0;
  for (int side = 0; side < 2; side++) {
    const Node *from = side ? b : &old;
    for (int k = 0; k < from->reads.n; k++) {
      Access x = from->reads.v[k];
      for (int d = 0; d < 8; d++) x.grid[d] = x.grid[d] < 0 ? -1 : remapped(x.grid[d], m, side);
      add_access(g->p->scratch, a, x);
    }
  }
}

static void merge(Grouping *g, Group *a, Group *b, const Match *m) {
  Group old = *a;
  for (int k = 0; k < m->n; k++) a->grid[k] = old.grid[m->a[k]], a->extent[k] = old.extent[m->a[k]];
  a->ngrid = m->n;
  for (int i = 0; i < a->m.n; i++) {
    Member was = a->m.v[i];
    for (int k = 0; k < m->n; k++) a->m.v[i].pos[k] = was.pos[m->a[k]];
  }
  for (int i = 0; i < b->m.n; i++) {
    Member n = { .q = b->m.v[i].q };
    for (int k = 0; k < m->n; k++) n.pos[k] = b->m.v[i].pos[m->b[k]];
    vec_push(g->p->a, &a->m, n);
    g->of[n.q->def->id] = a;
  }
  a->key = a->key < b->key ? mix(a->key, b->key) : mix(b->key, a->key);
}

// ---- the greedy choice -----------------------------------------------------------------------

// The pair in the order in which it would run; for groups in no order, by key.
static void orient(const Graph *r, int *a, int *b) {
  bool swap = r->edge[*b * r->n + *a] || (!r->edge[*a * r->n + *b] && r->node[*b].u->key < r->node[*a].u->key);
  if (swap) { int t = *a; *a = *b; *b = t; }
}

static bool match_pair(const Grouping *g, const Graph *r, int *a, int *b, Match *m) {
  orient(r, a, b);
  return match(g, &r->node[*a], &r->node[*b], m);
}

// More bytes first; then the smaller keys, so that nothing but the structure decides.
static bool better(const Graph *r, double saved, int i, int j, double than, int k, int l) {
  if (saved != than) return saved > than;
  uint64_t x = mix(0, r->node[i].u->key) ^ mix(0, r->node[j].u->key), y = mix(0, r->node[k].u->key) ^ mix(0, r->node[l].u->key);
  return x < y;
}

static void consider(Grouping *g, Graph *r, int i, int j) {
  Match m;
  int a = i, b = j;
  Node *n = &r->node[i];
  if (!match_pair(g, r, &a, &b, &m)) return;
  if (n->best >= 0 && !better(r, m.saved, i, j, n->best_saved, i, n->best)) return;
  if (detour(g->p->scratch, r, a, b) || detour(g->p->scratch, r, b, a)) return;
  n->best = j;
  n->best_saved = m.saved;
}

static void find_best(Grouping *g, Graph *r, int i) {
  r->node[i].best = -1;
  for (int j = 0; j < r->n; j++) if (j != i && r->node[j].alive) consider(g, r, i, j);
}

static int best_of_all(const Graph *r) {
  int pick = -1;
  for (int i = 0; i < r->n; i++) {
    const Node *n = &r->node[i], *p = pick < 0 ? NULL : &r->node[pick];
    if (!n->alive || n->best < 0) continue;
    if (!p || better(r, n->best_saved, i, n->best, p->best_saved, pick, p->best)) pick = i;
  }
  return pick;
}

static void merge_nodes(Grouping *g, Graph *r, int a, int b, const Match *m) {
  merge_accesses(g, &r->node[a], &r->node[b], m);
  merge(g, r->node[a].u, r->node[b].u, m);
  r->node[b].alive = false;
  for (int k = 0; k < r->n; k++) {
    r->edge[a * r->n + k] |= r->edge[b * r->n + k];
    r->edge[k * r->n + a] |= r->edge[k * r->n + b];
  }
  r->edge[a * r->n + a] = r->edge[a * r->n + b] = r->edge[b * r->n + a] = false;
}

static void merge_greedily(Grouping *g) {
  Graph r = graph_make(g);
  for (int i = 0; i < r.n; i++) find_best(g, &r, i);
  for (int pick; (pick = best_of_all(&r)) >= 0;) {
    int a = pick, b = r.node[pick].best;
    Match m;
    bool can = match_pair(g, &r, &a, &b, &m) && !detour(g->p->scratch, &r, a, b) && !detour(g->p->scratch, &r, b, a);
    if (!can) { find_best(g, &r, pick); if (r.node[pick].best == b || r.node[pick].best == a) r.node[pick].best = -1; continue; }
    merge_nodes(g, &r, a, b, &m);
    find_best(g, &r, a);
    for (int i = 0; i < r.n; i++) {
      if (!r.node[i].alive || i == a) continue;
      if (r.node[i].best == a || r.node[i].best == b) find_best(g, &r, i);
      else consider(g, &r, i, a);
    }
  }
  int n = 0;
  for (int i = 0; i < r.n; i++) if (r.node[i].alive) g->p->groups.v[n++] = r.node[i].u;
  g->p->groups.n = n;
}

// ---- order, remarks --------------------------------------------------------------------------

// Topological, ready ones by key: the same order whatever the source's. before[i * n + j]: i before j. False for a cycle.
static bool topological(Arena *s, int n, const bool *before, const uint64_t *key, int *out) {
  int *waits = arena_array(s, int, n + 1);
  bool *done = arena_array(s, bool, n + 1);
  for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) waits[j] += before[i * n + j];
  for (int k = 0; k < n; k++) {
    int pick = -1;
    for (int i = 0; i < n; i++) if (!done[i] && !waits[i] && (pick < 0 || key[i] < key[pick])) pick = i;
    if (pick < 0) return false;
    done[pick] = true;
    out[k] = pick;
    for (int j = 0; j < n; j++) waits[j] -= before[pick * n + j];
  }
  return true;
}

static void order_groups(Grouping *g) {
  Pipe *p = g->p;
  Graph r = graph_make(g);
  uint64_t *key = arena_array(p->scratch, uint64_t, r.n + 1);
  int *order = arena_array(p->scratch, int, r.n + 1);
  for (int i = 0; i < r.n; i++) key[i] = r.node[i].u->key;
  bool ordered = topological(p->scratch, r.n, r.edge, key, order);
  assert(ordered && "merging keeps the groups free of cycles");
  for (int k = 0; k < r.n; k++) p->groups.v[k] = r.node[order[k]].u, p->groups.v[k]->id = k;
}

static bool reads_tensor(const Grouping *g, const Eqn *q, const Tensor *t) {
  const Reads *r = &g->reads[q->def->id];
  for (int k = 0; k < r->v.n; k++) if (r->v.v[k]->u.t == t) return true;
  return false;
}

static void order_members(Grouping *g, Group *u) {
  int n = u->m.n;
  Arena *s = g->p->scratch;
  bool *before = arena_array(s, bool, (size_t)n * (size_t)n + 1);
  uint64_t *key = arena_array(s, uint64_t, n + 1);
  int *order = arena_array(s, int, n + 1);
  for (int i = 0; i < n; i++) {
    key[i] = g->key[u->m.v[i].q->def->id];
    for (int j = 0; j < n; j++) before[i * n + j] = i != j && reads_tensor(g, u->m.v[j].q, u->m.v[i].q->def);
  }
  if (!topological(s, n, before, key, order)) return;       // a recurrence keeps its own order
  Member *out = arena_array(s, Member, n + 1);
  for (int k = 0; k < n; k++) out[k] = u->m.v[order[k]];
  memcpy(u->m.v, out, (size_t)n * sizeof *out);
}

// Bytes that one kernel would not have moved: what b reads of a's, and what both read.
static Expr *at_stake(Grouping *g, const Node *a, const Node *b) {
  Expr *bytes = expr_int(g->f->x, DT_I64, 0, NO_SPAN);
  for (int i = 0; i < g->f->tensors.n; i++) {
    Tensor *t = g->f->tensors.v[i];
    if (!t->rank || t->table || !reads_of_tensor(b, t)) continue;
    if (g->of[t->id] != a->u && !reads_of_tensor(a, t)) continue;
    bytes = expr_op2(g->f->x, OP_ADD, bytes, cost_tensor_bytes(g->f->x, t), NO_SPAN);
  }
  return bytes;
}

static void remark(Grouping *g, const Node *na, const Node *nb, const Match *m, bool indirect) {
  const Group *a = na->u, *b = nb->u;
  Eqn *from = a->m.v[0].q, *to = b->m.v[0].q;
  for (int i = 0; i < b->m.n; i++)
    for (int j = 0; j < a->m.n; j++)
      if (reads_tensor(g, b->m.v[i].q, a->m.v[j].q->def)) from = a->m.v[j].q, to = b->m.v[i].q;
  // A map that was not substituted into its reader: inline.c found that to cost more.
  bool map = m->depends && from->def->role == ROLE_LOCAL && from->body->op != OP_REDUCE && !from->recurrent && !from->def->fmt;
  Reason why = indirect ? REASON_ORDER : map ? REASON_RECOMPUTE : m->why;
  const char *text = arena_printf(g->p->a, "`%s` and `%s` stay in two kernels: %s", from->def->root->name, to->def->root->name, reasons[why].what);
  vec_push(g->p->plan->a, &g->p->plan->remarks, (Remark){ why, from, to, at_stake(g, na, nb), text });
}

static void remarks(Grouping *g) {
  Graph r = graph_make(g);
  for (int a = 0; a < r.n; a++)
    for (int b = a + 1; b < r.n; b++) {
      Match m;
      bool can = match(g, &r.node[a], &r.node[b], &m);
      if (m.saved > 0) remark(g, &r.node[a], &r.node[b], &m, can);
    }
}

static bool few_enough(Grouping *g) {
  Fn *f = g->f;
  Pipe *p = g->p;
  if (f->max_kernels < 0 || p->groups.n <= f->max_kernels || p->opt.no_fuse) return true;
  diag_error(p->d, E_kernel_limit, f->max_kernels_at, "`%s` becomes %d kernels, more than the %d it allows", f->name, p->groups.n, f->max_kernels);
  for (int i = 0; i < p->plan->remarks.n && i < 8; i++) {
    Remark *m = &p->plan->remarks.v[i];
    diag_label(p->d, m->b->at, "%s [%s]", m->text, reasons[m->reason].id);
  }
  return false;
}

bool pass_group(Pipe *p) {
  stage_updates(p);
  Fn *f = p->fn;
  Grouping g = { .p = p, .f = f, .live = fn_live(p->scratch, f) };
  g.key = arena_array(p->scratch, uint64_t, f->tensors.n + 1);
  g.of = arena_array(p->scratch, Group *, f->tensors.n + 1);
  g.bytes = arena_array(p->scratch, double, f->tensors.n + 1);
  g.dims = arena_array(p->scratch, int64_t, f->dims.n + 1);
  for (int i = 0; i < f->dims.n; i++) g.dims[i] = NOMINAL_EXTENT;
  for (int i = 0; i < f->tensors.n; i++) g.bytes[i] = 1 + cost_value(cost_tensor_bytes(f->x, f->tensors.v[i]), g.dims);
  Plan *plan = p->plan = arena_new(p->a, Plan);
  *plan = (Plan){ .fn = f, .source = p->source, .a = p->a, .x = f->x };
  find_reads(&g);
  find_keys(&g);
  make_units(&g);
  if (!p->opt.no_fuse) merge_greedily(&g);
  order_groups(&g);
  for (int i = 0; i < p->groups.n; i++) order_members(&g, p->groups.v[i]);
  if (!p->opt.no_fuse) remarks(&g);
  return few_enough(&g);
}

void groups_print(const Pipe *p, Buf *out) {
  for (int i = 0; i < p->groups.n; i++) {
    Group *u = p->groups.v[i];
    buf_printf(out, "kernel %d over", i);
    for (int k = 0; k < u->ngrid; k++) {
      buf_printf(out, "%s %s < ", k ? "," : "", u->grid[k]->name);
      expr_print(u->extent[k], out);
    }
    buf_puts(out, u->ngrid ? ":\n" : " nothing:\n");
    for (int k = 0; k < u->m.n; k++) {
      buf_puts(out, "  ");
      eqn_print(p->fn, u->m.v[k].q, out);
      buf_putc(out, '\n');
    }
  }
  for (int i = 0; p->plan && i < p->plan->remarks.n; i++)
    buf_printf(out, "# %s %s\n", reasons[p->plan->remarks.v[i].reason].id, p->plan->remarks.v[i].text);
}
