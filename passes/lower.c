// lower.c: equations to loops and statements.
//
//   kernel over i:                      for i < N, in parallel
//     m[i]    = max[j](x[i, j])           for j < D:  m = max(m, x[i, j])
//     z[i]    = sum[j](exp(x - m))   ──▶  for j < D:  z = z + exp(x[i, j] - m)
//     y[i, j] = exp(x - m) / z            for j < D:  y[i, j] = exp(x[i, j] - m) / z
//
// Nests of loops are made in lower_nest.c, one-pass cascades in lower_online.c, expressions in lower_expr.c, block formats in
// lower_format.c.
#include "passes/lower.h"
#include "ir/cost.h"
#include "ir/rewrite.h"
#include <assert.h>
#include <string.h>

// ---- blocks ------------------------------------------------------------------------------------

void lower_emit(Lower *l, Stmt *s) {
  *l->scope->tail = s;
  l->scope->tail = &s->next;
  l->nstmts++;
}

Scope *scope_open(Lower *l, Index *ix, bool guard) {
  Scope *s = arena_new(l->p->scratch, Scope);
  *s = (Scope){ .up = l->scope, .tail = &s->first, .ix = ix, .guard = guard, .depth = l->scope ? l->scope->depth + 1 : 0 };
  s->memo = map_make(l->p->scratch);
  if (ix) map_putp(&l->index_scope, ix, s);
  l->scope = s;
  return s;
}

Stmt *scope_close(Lower *l) {
  Scope *s = l->scope;
  l->scope = s->up;
  l->epoch++;
  return s->first;
}

Stmt *loop_open(Lower *l, Index *ix, Expr *lo, Expr *hi, LoopHow how) {
  Stmt *s = stmt_new(l->p->a, ST_LOOP);
  s->ix = ix;
  s->lo = lo;
  s->hi = hi;
  s->how = how;
  s->lanes = 1;
  ranges_push(l->facts);
  ranges_index(l->facts, ix, lo, hi);
  scope_open(l, ix, false);
  return s;
}

void loop_close(Lower *l, Stmt *loop) {
  loop->body = scope_close(l);
  ranges_pop(l->facts);
  lower_emit(l, loop);
}

Var *lower_var(Lower *l, const char *hint, Dtype dtype) {
  Name name = intern(l->f->names, hint);
  int *used = map_getp(&l->names, name);
  if (!used) {
    used = arena_new(l->p->scratch, int);
    map_putp(&l->names, name, used);
  }
  if ((*used)++) name = intern(l->f->names, arena_printf(l->p->scratch, "%s%d", hint, *used));
  return var_new(l->x, name, dtype);
}

Stmt *lower_decl(Lower *l, StmtKind kind, Var *v, Expr *a) {
  Stmt *s = stmt_new(l->p->a, kind);
  s->var = v;
  s->a = a;
  s->lanes = 1;
  lower_emit(l, s);
  map_putp(&l->index_scope, v, l->scope);
  return s;
}

// ---- kernels -----------------------------------------------------------------------------------

// Work is counted in elements that a core reads from its second cache and adds up, 0.035 ns each: one that it stores takes as long as two, three
// flops as long as eight.
enum { STORED = 2, FLOPS = 8, READ_IN_FLOPS = 3 };

typedef struct Weight { const Eqn *q; int flops, reads; } Weight;

// What is another at each step of the innermost loop.
static void see_weight(void *cx, Expr *e) {
  Weight *w = cx;
  const Expr *body = w->q->body;
  const Index *ix = body->op == OP_REDUCE ? body->u.bind->ix[body->u.bind->n - 1] : w->q->n ? w->q->ix[w->q->n - 1] : NULL;
  if (!ix || !expr_uses_index(e, ix)) return;
  if (e->dtype != DT_I64) w->flops += ops[e->op].flops;
  w->reads += e->op == OP_READ;
}

// What a step of q's loops takes. stores: it leaves an element in memory.
static int weight(Lower *l, const Eqn *q, bool stores) {
  Weight w = { q, 0, 0 };
  expr_visit(l->p->scratch, q->body, see_weight, &w);
  int sum = w.reads + w.flops * READ_IN_FLOPS / FLOPS + (stores && fn_is_output(q->def) ? STORED : 0);
  return sum ? sum : 1;
}

// Steps of the member that loops most, times what all that loop so much take for one: what a kernel must have of work before it is worth
// splitting over cores. Twenty operations on 9,000 elements are, a sum of them is not.
Expr *lower_work(Lower *l) {
  Expr *most = NULL;
  int loops = -1, heavy = 0;
  for (int i = 0; i < l->u->m.n; i++) {
    const Eqn *q = l->u->m.v[i].q;
    const Expr *e = q->body;
    Expr *work = NULL;
    int n = q->n;
    for (int k = 0; k < q->n; k++) {
      Expr *steps = lower_dims_only(q->extent[k]) ? q->extent[k] : q->def->extent[k];    // of the beginning of a row (lower_share.c)
      work = work ? expr_op2(l->x, OP_MUL, work, steps, NO_SPAN) : steps;
    }
    for (int k = 0; e->op == OP_REDUCE && k < e->u.bind->n; k++) {
      if (!expr_is_int(reduce_lo(e, k), 0) || !lower_dims_only(reduce_hi(e, k))) continue;
      work = work ? expr_op2(l->x, OP_MUL, work, reduce_hi(e, k), NO_SPAN) : reduce_hi(e, k);
      n++;
    }
    if (work && n > loops) loops = n, most = work, heavy = 0;
    if (work && n == loops) heavy += weight(l, q, n == q->n);
  }
  return most && heavy > 1 ? expr_op2(l->x, OP_MUL, most, expr_int(l->x, DT_I64, heavy, NO_SPAN), NO_SPAN) : most;
}

static bool is_output(const Group *u, int i) { return fn_is_output(u->m.v[i].q->def); }

// Named after its outputs, or its last equation: "softmax_y".
static Name kernel_name(Lower *l, int n, Group *const *groups) {
  Buf b = buf_make(l->p->a);
  buf_puts(&b, l->f->name);
  int named = 0;
  for (int k = 0; k < n; k++)
    for (int i = 0; i < groups[k]->m.n; i++)
      if (is_output(groups[k], i) && named++ < 3) buf_printf(&b, "_%s", groups[k]->m.v[i].q->def->root->name);
  const Group *last = groups[n - 1];
  if (!named) buf_printf(&b, "_%s", last->m.v[last->m.n - 1].q->def->name);
  if (map_getp(&l->whole->kernel, intern(l->whole->names, b.s))) buf_printf(&b, "_%d", l->plan->kernels.n);
  map_putp(&l->whole->kernel, intern(l->whole->names, b.s), l->k);
  return intern(l->f->names, b.s);
}

void lower_start_items(Lower *l, Item *items, Index **grid) {
  for (int i = 0; i < l->u->m.n; i++) {
    const Member *m = &l->u->m.v[i];
    items[i] = (Item){ .q = m->q, .shares = member_is_partial(m, l->u->ngrid) };
    for (int g = 0; g < l->u->ngrid && items[i].shares; g++) {
      int k = -1 - m->pos[g];
      items[i].from[items[i].nbound] = m->q->body->u.bind->ix[k];
      items[i].to[items[i].nbound++] = expr_index(l->x, grid[g]);
      items[i].bound |= 1u << k;
      items[i].reduced++;
    }
    for (int g = 0; g < l->u->ngrid && !items[i].shares; g++) {
      items[i].from[items[i].nbound] = m->q->ix[m->pos[g]];
      items[i].to[items[i].nbound++] = expr_index(l->x, grid[g]);
      items[i].has_pos[m->pos[g]] = true;
    }
  }
}

// Nothing loops inside the grid: its innermost loop will be the vector's.
static bool all_leaves(Lower *l, const Item *items) {
  NextLoop n;
  for (int i = 0; i < l->u->m.n; i++) if (lower_next_loop(l, &items[i], &n)) return false;
  return true;
}

static bool kept_outside(void *cx, const Tensor *t) {
  Lower *l = cx;
  return fn_is_output(t) || lower_read_elsewhere(l, t);
}

Expr *lower_flat(Lower *l, int n, Expr *const *sub, Expr *const *extent) {
  Expr *at = n ? sub[0] : expr_int(l->x, DT_I64, 0, NO_SPAN);
  for (int k = 1; k < n; k++) at = expr_op2(l->x, OP_ADD, expr_op2(l->x, OP_MUL, at, extent[k], NO_SPAN), sub[k], NO_SPAN);
  return at;
}

Tensor *lower_local(Lower *l, const Tensor *t, Expr *const *sub, Expr **at) {
  for (int i = 0; i < l->nrows; i++) {
    if (l->row_tensor[i] != t) continue;
    *at = sub[t->rank - 1];
    return l->row_local[i];
  }
  for (int i = 0; i < l->few_tensor.n; i++) {
    if (l->few_tensor.v[i] != t) continue;
    *at = lower_flat(l, t->rank, sub, t->extent);
    return l->few_local.v[i];
  }
  return NULL;
}

// Of one of the rows that are kept.
static int64_t row_values(const Lower *l) { return (pipe_is_gpu(l->p) ? LOWER_GPU_ROW_VALUES : LOWER_ROW_VALUES) / l->nrows; }

// The arrays on the stack that keep rows.
static void alloc_rows(Lower *l) {
  for (int i = 0; i < l->nrows; i++) {
    Tensor *t = l->row_tensor[i];
    Scalar steps;
    int64_t most = row_values(l);
    Expr *extent = expr_int(l->x, DT_I64, expr_fold(t->extent[t->rank - 1], &steps) && steps.i < most ? steps.i : most, NO_SPAN);
    l->row_local[i] = fn_tensor(l->f, t->name, ROLE_LOCAL, t->dtype, NULL, 1, &extent, t->at);
    Stmt *s = stmt_new(l->p->a, ST_ALLOC);
    s->t = l->row_local[i];
    lower_emit(l, s);
  }
}

void lower_forget(Lower *l) {
  l->reads = map_make(l->p->scratch);
  l->few = false;
  l->few_tensor.n = l->few_local.n = 0;
  l->ntensors = l->f->tensors.n;
  l->index_scope = map_make(l->p->scratch);
  l->names = map_make(l->p->scratch);
  l->depths = map_make(l->p->scratch);
  l->depths_now = map_make(l->p->scratch);
  l->uses = map_make(l->p->scratch);
  l->counted = map_make(l->p->scratch);
  l->state = map_make(l->p->scratch);
  for (int i = 0; i < l->u->m.n; i++) map_putp(&l->state, l->u->m.v[i].q->def, arena_new(l->p->scratch, Member_state));
}

void lower_open_grid(Lower *l, Index **grid, Stmt **loop) {
  const Group *u = l->u;
  for (int g = 0; g < u->ngrid; g++) {
    grid[g] = index_new(l->x, u->grid[g]->name, u->grid[g]->at);
    loop[g] = loop_open(l, grid[g], expr_int(l->x, DT_I64, 0, NO_SPAN), u->extent[g], HOW_PAR);
  }
}

void lower_close_grid(Lower *l, Stmt **loop) {
  for (int g = l->u->ngrid - 1; g >= 0; g--) loop_close(l, loop[g]);
}

// The whole kernel, with cascades in one pass or not.
static Stmt *lower_variant(Lower *l, bool online) {
  const Group *u = l->u;
  Index *grid[MAX_GRID];
  Stmt *loop[MAX_GRID];
  lower_forget(l);
  l->online = online;
  scope_open(l, NULL, false);
  lower_open_grid(l, grid, loop);
  if (u->ngrid) loop[0]->parallel_if = lower_work(l);
  alloc_rows(l);
  Item *items = arena_array(l->p->scratch, Item, u->m.n);
  lower_start_items(l, items, grid);
  l->grid_depth = u->ngrid - (u->ngrid > 1 && all_leaves(l, items));
  lower_block(l, u->m.n, items);
  lower_close_grid(l, loop);
  return scope_close(l);
}

// With what loops of a row share kept on the stack; NULL when they share nothing. *steps: of the row.
static Stmt *lower_shared(Lower *l, Expr **steps) {
  Group *plain = l->u, *shared = lower_share(l, steps);
  if (shared) l->u = shared;
  Stmt *body = shared ? lower_variant(l, false) : NULL;
  l->u = plain;
  return body;
}

// `body` for rows of at most so many steps, else what `otherwise` makes.
static Stmt *for_short_rows(Lower *l, Expr *steps, int64_t most, Stmt *body, Stmt *otherwise) {
  Stmt *s = stmt_new(l->p->a, ST_IF);
  s->a = expr_op2(l->x, OP_LE, steps, expr_int(l->x, DT_I64, most, NO_SPAN), NO_SPAN);
  s->body = body;
  s->els = otherwise;
  return s;
}

// Does a member have a value for each of its row's elements?
static bool maps_row(const Lower *l) {
  for (int i = 0; i < l->u->m.n; i++) if (l->u->m.v[i].q->n > l->u->ngrid) return true;
  return false;
}

// Of a row that a core's cache keeps. On a GPU a row that is only reduced is rather read once, by blocks of few registers.
static int64_t cached_steps(const Lower *l) {
  int64_t bytes = l->p->machine->cache_bytes / 2;
  if (pipe_is_gpu(l->p) && bytes > LOWER_GPU_REDUCED && !maps_row(l)) bytes = LOWER_GPU_REDUCED;
  return bytes / (l->row_bytes > 0 ? l->row_bytes : 4);
}

// Where rows fit a core's cache, each loop over a row finds it there, and what loops share is kept; longer rows are read once, by tiles. None
// has more steps than `longest`.
static Stmt *lower_rows(Lower *l, int64_t longest) {
  Expr *steps = NULL;
  Scalar known;
  Stmt *shared = lower_shared(l, &steps);
  int64_t most = shared ? row_values(l) : 0;
  if (shared && expr_fold(steps, &known) && known.i <= most) return shared;
  l->nrows = 0;
  Stmt *direct = lower_variant(l, false);
  int64_t cached = cached_steps(l);
  if (longest <= cached) l->row = NULL;
  bool is_known = l->row && expr_fold(l->row, &known);
  if (l->row && is_known && known.i > cached) return lower_variant(l, true);
  if (shared && expr_fold(steps, &known)) return direct;
  if (l->row && shared) return for_short_rows(l, steps, most < cached ? most : cached, shared, lower_variant(l, true));
  if (shared) return for_short_rows(l, steps, most, shared, direct);
  return l->row && !is_known ? for_short_rows(l, l->row, cached, direct, lower_variant(l, true)) : direct;
}

// Steps from which a column goes in parts.
static int64_t long_column(const Lower *l) {
  int64_t each = l->p->machine->cache_bytes >> 16;       // 16 for a cache of a MiB; where that is tiny, so are the parts
  return LOWER_CHUNKS * (each > LOWER_SPLIT_STEPS ? LOWER_SPLIT_STEPS : each > 0 ? each : 1);
}

static int64_t long_row(const Lower *l) {
  int64_t cached = l->p->machine->cache_bytes / 16;
  return cached < LOWER_LONG_ROW ? cached : LOWER_LONG_ROW;
}

// `parts` where there are few rows, and long ones.
static Stmt *few_long_rows(Lower *l, Expr *steps, Stmt *parts, Stmt *rows) {
  ExprTable *x = l->x;
  Expr *n = l->u->extent[0];
  for (int g = 1; g < l->u->ngrid; g++) n = expr_op2(x, OP_MUL, n, l->u->extent[g], NO_SPAN);
  Expr *few = expr_op2(x, OP_LT, n, expr_int(x, DT_I64, LOWER_FEW_ROWS, NO_SPAN), NO_SPAN);
  Expr *are_long = expr_op2(x, OP_GE, steps, expr_int(x, DT_I64, long_row(l), NO_SPAN), NO_SPAN);
  Scalar a, b;
  bool knows_few = expr_fold(few, &a), knows_long = expr_fold(are_long, &b);
  bool never = n == steps && long_row(l) >= LOWER_FEW_ROWS;        // a square
  if (never || (knows_few && !a.i) || (knows_long && !b.i)) return rows;
  if (knows_few && knows_long) return parts;
  Stmt *s = stmt_new(l->p->a, ST_IF);
  s->a = expr_op2(x, OP_AND, few, are_long, NO_SPAN);
  s->body = parts;
  s->els = rows;
  return s;
}

// The grid reduces some members.
static Stmt *lower_with_shares(Lower *l) {
  Stmt *direct = lower_mixed(l, lower_work(l), false);
  int64_t cached = cached_steps(l);
  Scalar known;
  if (!l->row) return direct;
  if (expr_fold(l->row, &known)) return known.i <= cached ? direct : lower_mixed(l, lower_work(l), true);
  return for_short_rows(l, l->row, cached, direct, lower_mixed(l, lower_work(l), true));
}

enum { TEAM_STEPS = 64 };       // from which a column is worth several threads

static Stmt *lower_gpu_shapes(Lower *l) {
  Stmt *team;
  Expr *steps;
  Scalar known;
  if (!lower_team_columns(l, &team, &steps)) return lower_rows(l, INT64_MAX);
  if (!expr_fold(steps, &known)) return for_short_rows(l, steps, TEAM_STEPS - 1, lower_rows(l, TEAM_STEPS - 1), team);
  return known.i < TEAM_STEPS ? lower_rows(l, TEAM_STEPS - 1) : team;
}

// Long columns go in parts, and few long rows.
static Stmt *lower_shapes(Lower *l) {
  if (lower_has_shares(l->u)) return lower_with_shares(l);
  Stmt *parts;
  Expr *steps;
  Scalar known;
  if (pipe_is_gpu(l->p)) return lower_gpu_shapes(l);
  bool columns = lower_columns(l, lower_work(l), &parts, &steps);
  if (columns && expr_fold(steps, &known)) columns = known.i >= long_column(l);
  if (columns && expr_is_const(steps)) return parts;
  Stmt *rows = lower_rows(l, columns ? long_column(l) - 1 : INT64_MAX);
  if (columns) return for_short_rows(l, steps, long_column(l) - 1, rows, parts);
  if (!lower_long_rows(l, lower_work(l), &parts, &steps)) return rows;
  return few_long_rows(l, steps, parts, rows);
}

static Stmt *lower_group(Lower *l, Group *u) {
  *l = (Lower){ .p = l->p, .plan = l->plan, .f = l->f, .x = l->x, .u = u, .k = l->k, .whole = l->whole, .wanted = l->wanted };
  l->reads = map_make(l->p->scratch);
  l->expansions = map_make(l->p->scratch);
  l->facts = safe_ranges_again(l->f, &l->whole->extents, l->p->scratch);
  for (int i = 0; i < u->m.n; i++) vec_push(l->p->a, &l->k->eqns, u->m.v[i].q);
  return lower_shapes(l);
}

// Groups side by side: n of one kernel number.
static void lower_kernel(Pipe *p, int n, Group **u, Whole *whole) {
  Lower l = { .p = p, .plan = p->plan, .f = p->fn, .x = p->fn->x, .u = u[0], .whole = whole, .wanted = whole->wanted };
  Kernel *k = l.k = arena_new(p->a, Kernel);
  Stmt **tail = &k->body;
  k->id = p->plan->kernels.n;
  k->name = kernel_name(&l, n, u);
  for (int i = 0; i < n; i++) {
    tail = stmts_append(tail, lower_group(&l, u[i]));
  }
  Eqn **q = k->eqns.v;
  cost_equations(p->fn, k->eqns.n, q, kept_outside, &l, &k->cost);
  kernel_list_args(p->plan, k);
  vec_push(p->a, &p->plan->kernels, k);
}

bool lower_read_elsewhere(const Lower *l, const Tensor *t) {
  if (t->id >= l->whole->readers.n) return false;
  const ReaderList *r = &l->whole->readers.of[t->id];
  for (int i = 0; i < r->v.n; i++) if (r->v.v[i].kernel != l->u->kernel) return true;
  return false;
}

typedef struct Listing { Readers *r; Eqn *q; int kernel; } Listing;

static void list_read(void *cx, Expr *e) {
  Listing *c = cx;
  if (e->op != OP_READ || e->aux == READ_FAILS) return;
  ReaderList *r = &c->r->of[e->u.t->id];
  if (!r->v.n || r->v.v[r->v.n - 1].q != c->q) vec_push(r->a, &r->v, (Reader){ c->q, c->kernel });
}

static Readers find_readers(Pipe *p) {
  Readers r = { arena_array(p->scratch, ReaderList, p->fn->tensors.n + 1), p->fn->tensors.n };
  for (int i = 0; i < r.n; i++) r.of[i].a = p->scratch;
  for (int i = 0; i < p->groups.n; i++)
    for (int k = 0; k < p->groups.v[i]->m.n; k++) {
      Eqn *q = p->groups.v[i]->m.v[k].q;
      eqn_visit(p->scratch, q, list_read, &(Listing){ &r, q, p->groups.v[i]->kernel });
      if (q->base) vec_push(p->scratch, &r.of[q->base->id].v, (Reader){ q, p->groups.v[i]->kernel });
    }
  return r;
}

static Whole find_whole(Pipe *p) {
  Arena *a = p->scratch;
  Whole w = { find_readers(p), lower_find_wanted(p), { .a = a }, intern_create(a), map_make(a), map_make(a), map_make(a) };
  for (int i = 0; i < p->source->eqns.n; i++) map_putp(&w.source, intern(w.names, p->source->eqns.v[i]->def->name), p->source->eqns.v[i]);
  return w;
}

bool pass_lower(Pipe *p) {
  Whole whole = find_whole(p);
  for (int i = 0, n; i < p->groups.n; i += n) {
    for (n = 1; i + n < p->groups.n && p->groups.v[i + n]->kernel == p->groups.v[i]->kernel; n++) { }
    lower_kernel(p, n, &p->groups.v[i], &whole);
  }
  return p->d ? p->d->errors == 0 : true;
}
