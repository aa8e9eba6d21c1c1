// group.c: choose which equations share a kernel.
//
//   m[i]    = max[j](x[i, j])                     kernel over i, in parallel:
//   z[i]    = sum[j](exp(x[i, j] - m[i]))   ──▶     m, z and y of row i
//   y[i, j] = exp(x[i, j] - m[i]) / z[i]
//
// A group has grid indices that run in parallel, and every member has all of them. Two groups can merge when the reads
// between them name the grid's indices plainly at their places: what a grid point reads of the group, the same
// grid point has made (group_match.c). So softmax merges over its rows, and an equation that needs a whole tensor's sum does
// not merge with it. What merges is what saves time by the model of the machine (group_join.c). Every pair that touches and
// stays apart leaves a remark (group_why.c).
#include "passes/group.h"
#include "passes/group_int.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

// ---- order -----------------------------------------------------------------------------------------

static int by_rank(const void *a, const void *b) {
  const Node *x = *(Node *const *)a, *y = *(Node *const *)b;
  return x->rank - y->rank;
}

static void order_groups(Grouping *g) {
  VEC(Node *) alive = {0};
  bool ordered = group_rank(g);
  assert(ordered && "merging keeps the groups free of cycles");
  for (int i = 0; i < g->n; i++) if (g->node[i].up == i) vec_push(g->p->scratch, &alive, &g->node[i]);
  if (alive.n) qsort(alive.v, (size_t)alive.n, sizeof *alive.v, by_rank);
  for (int k = 0; k < alive.n; k++) {
    alive.v[k]->u->id = alive.v[k]->u->kernel = k;
    vec_push(g->p->a, &g->p->groups, alive.v[k]->u);
  }
}

// What is read before it is overwritten comes first: an update that has the tensor as its base waits for the reader.
static void order_updates(const Grouping *g, const Group *u, Order *o) {
  for (int j = 0; j < u->m.n; j++) {
    const Tensor *base = u->m.v[j].q->base;
    for (int i = 0; base && i < u->m.n; i++) {
      const Reads *r = &g->reads[u->m.v[i].q->def->id];
      bool reads = u->m.v[i].q->def == base;
      for (int k = 0; k < r->v.n; k++) reads |= r->v.v[k].t == base;
      if (reads && i != j) order_edge(o, i, j);
    }
  }
}

static void order_members(Grouping *g, Node *node) {
  Group *u = node->u;
  Arena *s = g->p->scratch;
  int *out = arena_array(s, int, u->m.n + 1);
  uint64_t *key = arena_array(s, uint64_t, u->m.n + 1);
  for (int i = 0; i < u->m.n; i++) key[i] = g->key[u->m.v[i].q->def->id];
  Order o = order_make(s, u->m.n, key);
  for (int i = 0; i < u->m.n; i++) {
    const Reads *r = &g->reads[u->m.v[i].q->def->id];
    for (int k = 0; k < r->v.n; k++) {
      uintptr_t from = (uintptr_t)map_get(&node->defines, (uint64_t)r->v.v[k].t->id);
      if (from && (int)from - 1 != i) order_edge(&o, (int)from - 1, i);
    }
  }
  order_updates(g, u, &o);
  if (!order_take(&o, out)) return;             // a recurrence keeps its own order
  Member *m = arena_array(s, Member, u->m.n + 1);
  for (int k = 0; k < u->m.n; k++) m[k] = u->m.v[out[k]];
  memcpy(u->m.v, m, (size_t)u->m.n * sizeof *m);
  for (int k = 0; k < u->m.n; k++) map_put(&node->defines, (uint64_t)m[k].q->def->id, (void *)(uintptr_t)(k + 1));
}

// ---- the grid's order -----------------------------------------------------------------------------------

typedef struct Votes { double v[MAX_GRID][MAX_GRID]; } Votes;

static void vote(Votes *w, const int *dim, int ngrid, double bytes) {
  for (int a = 0; a < ngrid; a++)
    for (int b = 0; b < ngrid; b++) if (dim[a] >= 0 && dim[a] < dim[b]) w->v[a][b] += bytes;
}

static void vote_reads(const Grouping *g, const Node *n, Votes *w) {
  for (int k = 0; k < n->reads.n; k++) {
    const Access *x = &n->reads.v[k];
    for (int p = 0; p < x->spots.n && !group_is_value(g, x->t); p++) {
      int dim[MAX_GRID];
      memset(dim, -1, sizeof dim);
      for (int d = x->t->rank - 1; d >= 0; d--) if (x->spots.v[p].grid[d] >= 0) dim[x->spots.v[p].grid[d]] = d;
      vote(w, dim, n->u->ngrid, g->bytes[x->t->id]);
    }
  }
}

static void vote_writes(const Grouping *g, const Node *n, Votes *w) {
  for (int i = 0; i < n->u->m.n; i++)
    if (!member_is_partial(&n->u->m.v[i], n->u->ngrid)) vote(w, n->u->m.v[i].pos, n->u->ngrid, g->bytes[n->u->m.v[i].q->def->id]);
}

static void swap_grid(Group *u, int a, int b) {
  Index *ix = u->grid[a];
  Expr *e = u->extent[a];
  u->grid[a] = u->grid[b], u->grid[b] = ix;
  u->extent[a] = u->extent[b], u->extent[b] = e;
  for (int i = 0; i < u->m.n; i++) {
    int pos = u->m.v[i].pos[a];
    u->m.v[i].pos[a] = u->m.v[i].pos[b], u->m.v[i].pos[b] = pos;
  }
}

// Most bytes are walked in the order in which they lie. Names are those of the first member that has the indices.
static void order_grid(const Grouping *g, const Node *n) {
  Group *u = n->u;
  Votes w = {0};
  int at[MAX_GRID];
  vote_reads(g, n, &w);
  vote_writes(g, n, &w);
  for (int k = 0; k < u->ngrid; k++) at[k] = k;
  for (int i = 0; i < u->ngrid; i++)
    for (int k = i; k > 0 && w.v[at[k]][at[k - 1]] > w.v[at[k - 1]][at[k]]; k--) {
      int t = at[k];
      at[k] = at[k - 1], at[k - 1] = t;
      swap_grid(u, k, k - 1);
    }
  const Member *first = NULL;
  for (int i = u->m.n - 1; i >= 0; i--) if (!member_is_partial(&u->m.v[i], u->ngrid)) first = &u->m.v[i];
  for (int k = 0; first && k < u->ngrid; k++) u->grid[k] = first->q->ix[first->pos[k]];
}

// Every equation that something needs is in one group.
static bool complete(const Grouping *g) {
  int equations = 0, members = 0;
  for (int i = 0; i < g->f->eqns.n; i++) equations += g->live[g->f->eqns.v[i]->def->id];
  for (int i = 0; i < g->p->groups.n; i++) members += g->p->groups.v[i]->m.n;
  return equations == members;
}

// ---- the pass ---------------------------------------------------------------------------------------------

static bool few_enough(Grouping *g, int launches) {
  Fn *f = g->f;
  Pipe *p = g->p;
  if (f->max_kernels < 0 || launches <= f->max_kernels || p->opt.no_fuse) return true;
  diag_error(p->d, E_kernel_limit, f->max_kernels_at, "`%s` becomes %d kernels, more than the %d it allows", f->name, launches, f->max_kernels);
  for (int i = 0; i < p->plan->remarks.n && i < 8; i++) {
    Remark *m = &p->plan->remarks.v[i];
    diag_label(p->d, m->b->at, "%s [%s]", m->text, reasons[m->reason].id);
  }
  return false;
}

bool pass_group(Pipe *p) {
  group_stage_updates(p);
  Fn *f = p->fn;
  Grouping g = { .p = p, .f = f, .machine = p->machine };
  Plan *plan = p->plan = arena_new(p->a, Plan);
  *plan = (Plan){ .fn = f, .source = p->source, .a = p->a, .x = f->x, .grain = p->machine->grain, .grain_awake = p->machine->grain_awake };
  group_find_units(&g);
  bool ordered = group_rank(&g);
  assert(ordered && "definitions do not read each other in a circle");
  if (!p->opt.no_fuse) {
    Search *s = group_search_begin(&g);
    group_greedily(&g);
    plan->choice.proved = group_search_end(s);
  }
  order_groups(&g);
  assert(complete(&g) && "no equation is lost");
  for (int i = 0; i < g.n; i++) {
    if (g.node[i].up != i) continue;
    order_members(&g, &g.node[i]);
    g.node[i].u->ns = g.node[i].w.ns;
    plan->choice.ns += g.node[i].w.ns;
  }
  int launches = pipe_takes(p, LOWER_SECTIONS) && !p->opt.no_fuse ? group_sections(&g) : p->groups.n;
  plan->choice.ns += launches * g.machine->launch_us * 1e3;
  if (!p->opt.no_fuse) group_remarks(&g);
  if (p->opt.steps) *p->opt.steps = g.steps + f->x->n;
  for (int i = 0; i < g.n; i++) if (g.node[i].up == i) order_grid(&g, &g.node[i]);
  return few_enough(&g, launches);
}

static void print_choice(const Pipe *p, Buf *out) {
  double us = p->plan->choice.ns / 1e3;
  const char *how = p->opt.no_fuse ? "each equation alone" : p->plan->choice.proved ? "no choice takes less time by the model" : "merged while that saved time by the model";
  buf_printf(out, "# %s: %.3g %s\n", how, us < 999.5 ? us : us / 1e3, us < 999.5 ? "us" : "ms");
}

void groups_print(const Pipe *p, Buf *out) {
  for (int i = 0; i < p->groups.n; i++) {
    Group *u = p->groups.v[i];
    bool beside = i && p->groups.v[i - 1]->kernel == u->kernel;
    if (beside) buf_puts(out, "beside it over");
    else buf_printf(out, "kernel %d over", u->kernel);
    for (int k = 0; k < u->ngrid; k++) {
      buf_printf(out, "%s %s < ", k ? "," : "", u->grid[k]->name);
      expr_print(u->extent[k], out);
    }
    buf_puts(out, u->ngrid ? ":\n" : " nothing:\n");
    for (int k = 0; k < u->m.n; k++) {
      buf_puts(out, "  ");
      eqn_print(p->fn, u->m.v[k].q, out);
      buf_puts(out, member_is_partial(&u->m.v[k], u->ngrid) ? "    # each grid point adds its share\n" : "\n");
    }
  }
  if (p->plan) print_choice(p, out);
  for (int i = 0; p->plan && i < p->plan->remarks.n; i++)
    buf_printf(out, "# %s %s\n", reasons[p->plan->remarks.v[i].reason].id, p->plan->remarks.v[i].text);
}
