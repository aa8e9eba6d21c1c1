// gpu_scan.c: prefixes along a row: a block has the row, a thread some elements side by side at a time.
//
//   var s = 0                             var s = 0
//   scan j in 0 .. D                      for tile in 0 .. D by 1024
//     s = s + x[i, j]                       let first = tile + thread * 4
//     y[i, j] = s                ──▶        var own = 0;  own = own + 4 of x[i, first]
//                                           before, all = own of the threads before, of all threads
//                                           var run = s + before
//                                           run = run + x[i, first + v];  y[i, first + v] = run, for its four
//                                           s = s + all
//
// The same inside of teams, for a scan beside other loops over a row. Rows that are fewer than multiprocessors get several blocks: gpu_scan_wide.c.
#include "passes/gpu_scan.h"

enum { MOST_LANES = 16, LEAST_STEPS = 64, LEAST_THREADS = 64, MOST_THREADS = 512 };

// ---- is it one? --------------------------------------------------------------------------------

static void see_late(void *cx, Expr *e) {
  void **p = cx;
  if (e->op == OP_VAR && map_getp((const Map *)p[0], e->u.var)) *(bool *)p[1] = true;
}

static bool is_late(const Scan *c, Expr *e) {
  bool yes = false;
  expr_visit(c->g->scratch, e, see_late, (void *[]){ (void *)(uintptr_t)&c->late, &yes });
  return yes;
}

static bool add_sum(Scan *c, Stmt *s) {
  if (c->sums == GPU_MOST_SUMS || s->var2 || !stmt_may_reorder(s) || stmts_declare(c->loop->body, s->var) || map_getp(&c->late, s->var)) return false;
  map_putp(&c->late, s->var, s->var);
  c->acc[c->sums++] = s;
  return true;
}

// Every step has a place of its own.
static bool stores_apart(const Scan *c, const Stmt *s) {
  bool apart = false;
  for (int k = 0; k < s->nsub; k++) apart |= gpu_is_step(c->g, s->sub[k], c->loop->ix);
  return apart && s->field < 0 && dtypes[s->t->dtype].bits >= 8;
}

// An IF around terms is a filter.
static bool add_sums(Scan *c, Stmt *s) {
  for (; s; s = s->next) if ((s->kind == ST_ACC && !add_sum(c, s)) || !add_sums(c, s->body)) return false;
  return true;
}

// What is added does not depend on what a sum is so far, nor does where.
static bool is_plain(Scan *c, Stmt *s, bool filtered) {
  for (; s; s = s->next) {
    bool late = s->a && is_late(c, s->a), filter = s->kind == ST_IF && !s->els && !late && is_plain(c, s->body, true);
    if (s->kind != ST_LET && s->kind != ST_ACC && !filter && (filtered || s->kind != ST_STORE || !stores_apart(c, s))) return false;
    if (s->kind == ST_LET && late) map_putp(&c->late, s->var, s->var);
    if (s->kind == ST_ACC && late) return false;
    for (int k = 0; k < s->nsub; k++) if (is_late(c, s->sub[k])) return false;
  }
  return true;
}

static bool reads_written(const Scan *c, const Stmt *s) {
  for (; s; s = s->next) {
    if ((s->a && gpu_reads_any(c->g, s->a, &c->written)) || reads_written(c, s->body)) return true;
    for (int k = 0; k < s->nsub; k++) if (gpu_reads_any(c->g, s->sub[k], &c->written)) return true;
  }
  return false;
}

bool gpu_scan_find(Scan *c, const Nest *n, Stmt *loop) {
  *c = (Scan){ .n = n, .g = n->g, .loop = loop, .late = map_make(n->g->scratch), .written = gpu_written(n->g, loop->body) };
  bool scans = loop->how == HOW_SCAN && !loop->ordered && expr_is_int(loop->lo, 0) && add_sums(c, loop->body) && c->sums;
  return scans && is_plain(c, loop->body, false) && !reads_written(c, loop->body);
}

typedef struct Widest { Scan *c; int bits; } Widest;
static void see_read(void *cx, Expr *e) {
  Widest *w = cx;
  if (e->op != OP_READ || !e->u.t->rank || e->u.t->fmt || !gpu_is_step(w->c->g, e->arg[e->u.t->rank - 1], w->c->loop->ix)) return;
  if (dtypes[e->u.t->dtype].bits > w->bits) w->bits = dtypes[e->u.t->dtype].bits;
}

void gpu_scan_lanes(Scan *c) {
  const Expr *hi = c->loop->hi;
  Widest w = { c, 8 };
  stmts_visit(c->g->scratch, c->loop->body, see_read, &w);
  int most = c->g->m->vector_bytes * 8 / w.bits;
  c->lanes = 1;
  if (hi->op != OP_CONST) return;
  for (c->lanes = most < 1 ? 1 : most < MOST_LANES ? most : MOST_LANES; c->lanes > 1 && hi->u.v.i % c->lanes; c->lanes /= 2) { }
}

int64_t gpu_scan_tile(const Scan *c) { return (int64_t)c->threads * c->lanes; }

// ---- a tile ------------------------------------------------------------------------------------

typedef struct Renamed { const Scan *c; Var *const *to; } Renamed;
static Expr *renamed(void *cx, ExprTable *x, Expr *e) {
  const Renamed *r = cx;
  for (int k = 0; k < r->c->sums && e->op == OP_VAR; k++) if (e->u.var == r->c->acc[k]->var) return expr_var(x, r->to[k]);
  return e;
}

Stmt *gpu_scan_var(const Scan *c, int k, const char *name, Expr *first) {
  Stmt *s = stmt_new(c->g->a, ST_VAR);
  Reducer r = c->acc[k]->reducer;
  s->var = var_new(c->g->x, intern(c->g->f->names, name), c->acc[k]->var->dtype);
  s->a = first ? first : expr_scalar(c->g->x, s->var->dtype, reducers[r].identity(s->var->dtype), NO_SPAN);
  s->reducer = r;
  return s;
}

Stmt *gpu_scan_add(const Scan *c, int k, Var *to, Expr *value) {
  Stmt *s = stmt_new(c->g->a, ST_ACC);
  s->reducer = c->acc[k]->reducer;
  s->var = to;
  s->a = value;
  return s;
}

static void set_sums(const Scan *c, Stmt *s, Var *const *sum) {
  for (; s; s = s->next) {
    for (int k = 0; k < c->sums; k++) if (s->kind == ST_ACC && s->var == c->acc[k]->var) { s->var = sum[k]; break; }
    set_sums(c, s->body, sum);
  }
}

Stmt *gpu_scan_body(const Scan *c, Var *const *sum, bool whole) {
  Block b = gpu_block();
  for (Stmt *s = gpu_copy(c->g, c->loop->body), *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    if (whole || (s->kind != ST_STORE && (s->kind != ST_LET || !map_getp(&c->late, s->var)))) gpu_add(&b, s);
  }
  set_sums(c, b.first, sum);
  stmts_map(c->g->x, b.first, renamed, &(Renamed){ c, sum });
  return b.first;
}

// The steps of a thread.
static Stmt *steps(const Scan *c, Expr *first, Var *const *sum, bool whole) {
  Gpu *g = c->g;
  Expr *hi = c->loop->hi;
  Stmt *body = gpu_scan_body(c, sum, whole);
  Vector v = { .g = g, .n = c->n, .written = &c->written, .ix = c->loop->ix, .hi = hi, .bound = hi, .first = first, .lanes = c->lanes };
  body = c->lanes > 1 ? gpu_vector(&v, body) : gpu_loop(g, HOW_ONE, c->loop->ix, first, hi, body);
  return gpu_if(g, expr_op2(g->x, OP_LT, first, hi, NO_SPAN), body, NULL);
}

static Stmt *tile_loop(const Scan *c, Expr *from, Expr *to, Index *at, Stmt *body) {
  Stmt *loop = gpu_loop(c->g, HOW_SEQ, at, from, to, body);
  loop->step = gpu_scan_tile(c);
  loop->note = c->loop->note;
  return loop;
}

static Expr *first_of(const Scan *c, Block *b, Index *tile) {
  Expr *first;
  gpu_let(c->g, b, "first", gpu_plus(c->g, expr_index(c->g->x, tile), gpu_mul(c->g, c->member, gpu_int(c->g, c->lanes))), &first);
  return first;
}

static void add_prefix(const Scan *c, Block *b, int k, Var *before, Var **all) {
  Stmt *of_all = gpu_scan_var(c, k, "all", NULL), *prefix = stmt_new(c->g->a, ST_PREFIX);
  prefix->reducer = c->acc[k]->reducer;
  prefix->var = before;
  *all = prefix->var2 = of_all->var;
  prefix->a = of_all->a;
  gpu_add(b, of_all);
  gpu_add(b, prefix);
}

Stmt *gpu_scan_tiles(const Scan *c, Expr *from, Expr *to) {
  Gpu *g = c->g;
  Index *at = gpu_index(g, "tile");
  Block b = gpu_block();
  Var *before[GPU_MOST_SUMS], *all[GPU_MOST_SUMS], *run[GPU_MOST_SUMS];
  Expr *first = first_of(c, &b, at);
  for (int k = 0; k < c->sums; k++) {
    Stmt *own = gpu_scan_var(c, k, "before", NULL);
    before[k] = own->var;
    gpu_add(&b, own);
  }
  gpu_add(&b, steps(c, first, before, false));
  for (int k = 0; k < c->sums; k++) add_prefix(c, &b, k, before[k], &all[k]);
  for (int k = 0; k < c->sums; k++) {
    Stmt *s = gpu_scan_var(c, k, "run", expr_var(g->x, c->acc[k]->var));
    run[k] = s->var;
    gpu_add(&b, s);
    gpu_add(&b, gpu_scan_add(c, k, run[k], expr_var(g->x, before[k])));
  }
  gpu_add(&b, steps(c, first, run, true));
  for (int k = 0; k < c->sums; k++) gpu_add(&b, gpu_scan_add(c, k, c->acc[k]->var, expr_var(g->x, all[k])));
  return tile_loop(c, from, to, at, b.first);
}

Stmt *gpu_scan_totals(const Scan *c, Expr *from, Expr *to, Var *const *sum) {
  Index *at = gpu_index(c->g, "tile");
  Block b = gpu_block();
  Expr *first = first_of(c, &b, at);
  gpu_add(&b, steps(c, first, sum, false));
  Stmt *loop = tile_loop(c, from, to, at, b.first);
  loop->note = NULL;
  loop->unroll = 4;
  return loop;
}

// ---- a block a row -----------------------------------------------------------------------------

// The scan of a nest that has nothing else but its sums and what does not change along it.
static Stmt *only_scan(const Nest *n) {
  for (Stmt *s = n->body; s; s = s->next) {
    if (s->kind == ST_LOOP && !s->next) return s;
    if (s->kind != ST_LET && (s->kind != ST_VAR || s->lanes > 1)) return NULL;
  }
  return NULL;
}

static void choose(Scan *c) {
  const Expr *hi = c->loop->hi;
  c->threads = GPU_THREADS;
  gpu_scan_lanes(c);
  if (hi->op != OP_CONST) { gpu_want(c->g, c->n->k, c->loop->hi); return; }
  for (c->threads = LEAST_THREADS; c->threads < MOST_THREADS && gpu_scan_tile(c) < hi->u.v.i; c->threads *= 2) { }
}

bool gpu_scan(Nest *n) {
  Scan c;
  Stmt *loop = only_scan(n);
  if (!loop || !gpu_scan_find(&c, n, loop) || !gpu_dims_only(n->g, loop->hi)) return false;
  if (loop->hi->op == OP_CONST && loop->hi->u.v.i < LEAST_STEPS) return false;
  Gpu *g = n->g;
  Block b = gpu_block();
  for (Stmt *s = n->body, *next; s != loop; s = next) {
    next = s->next;
    s->next = NULL;
    gpu_add(&b, s);
  }
  if (gpu_scan_columns(&c, n, b.first)) return true;
  choose(&c);
  if (gpu_scan_wide(&c, n, b.first)) return true;
  Frame f = gpu_frame(g);
  c.member = f.t;
  gpu_add(&b, gpu_scan_tiles(&c, loop->lo, loop->hi));
  Expr *blocks = n->n ? n->points : gpu_int(g, 1);
  gpu_close(n, &f, gpu_at(n, n->n, f.b, b.first), (Grid){ .blocks = blocks, .threads = c.threads, .team = c.threads });
  return true;
}
