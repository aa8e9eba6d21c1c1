// gpu_scan.c: prefixes along a row: a block has the row, a thread some elements side by side at a time.
//
//   var s = 0                             var carry = 0
//   scan j in 0 .. D                      for tile in 0 .. D by 1024
//     s = s + x[i, j]                       let first = tile + thread * 4
//     y[i, j] = s                ──▶        var own = 0;  own = own + 4 of x[i, first]
//                                           before, all = own of the threads before, of all threads
//                                           var run = carry + before
//                                           run = run + x[i, first + v];  y[i, first + v] = run, for its four
//                                           carry = carry + all
#include "passes/gpu_vector.h"

enum { MOST_LANES = 16, LEAST_STEPS = 64, LEAST_THREADS = 64, MOST_THREADS = 512 };

typedef struct Scanning {
  Nest *n; Gpu *g;
  Stmt *loop, *acc;             // the scan, and what it adds up
  Stmt *var;                    // the declaration of its accumulator
  int lanes, threads;
  Map written;
} Scanning;

// ---- is it one? --------------------------------------------------------------------------------

static bool is_plain(Scanning *c, Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_ACC) {
      if (c->acc || s->var2 || s->var != c->var->var || (s->reducer == RED_PROD && dtype_is_float(s->var->dtype))) return false;
      c->acc = s;
    } else if (s->kind == ST_STORE) {
      if (s->field >= 0 || dtypes[s->t->dtype].bits < 8) return false;
    } else if (s->kind != ST_LET) {
      return false;
    }
  }
  return c->acc != NULL;
}

// What stands before the accumulation does not know of it.
static bool follows(Scanning *c) {
  for (Stmt *s = c->loop->body; s; s = s->next) {
    Stmt one = *s;
    one.next = NULL;
    if (gpu_uses_var(c->g, &one, c->var->var)) return false;
    if (s == c->acc) return true;
    if (s->kind != ST_LET) return false;
  }
  return false;
}

static bool reads_written(Scanning *c, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->a && gpu_reads_any(c->g, s->a, &c->written)) return true;
    for (int k = 0; k < s->nsub; k++) if (gpu_reads_any(c->g, s->sub[k], &c->written)) return true;
  }
  return false;
}

static bool find(Scanning *c) {
  for (Stmt *s = c->n->body; s; s = s->next) {
    if (s->kind == ST_LET && !c->var) continue;
    if (s->kind == ST_VAR && !c->var && s->lanes <= 1) { c->var = s; continue; }
    if (s->kind != ST_LOOP || s->how != HOW_SCAN || !c->var || c->loop || s->next) return false;
    c->loop = s;
  }
  c->written = gpu_written(c->g, c->n->body);
  return c->loop && expr_is_int(c->loop->lo, 0) && gpu_dims_only(c->g, c->loop->hi) && is_plain(c, c->loop->body) && follows(c) && !reads_written(c, c->loop->body);
}

typedef struct Widest { Scanning *c; int bits; } Widest;
static void see_read(void *cx, Expr *e) {
  Widest *w = cx;
  if (e->op != OP_READ || !e->u.t->rank || e->u.t->fmt || !gpu_is_step(w->c->g, e->arg[e->u.t->rank - 1], w->c->loop->ix)) return;
  if (dtypes[e->u.t->dtype].bits > w->bits) w->bits = dtypes[e->u.t->dtype].bits;
}

static void choose(Scanning *c) {
  const Expr *hi = c->loop->hi;
  Widest w = { c, 8 };
  stmts_visit(c->g->scratch, c->loop->body, see_read, &w);
  int most = c->g->m->vector_bytes * 8 / w.bits;
  c->lanes = 1;
  c->threads = GPU_THREADS;
  if (hi->op != OP_CONST) { gpu_want(c->g, c->n->k, c->loop->hi); return; }
  for (c->lanes = most < 1 ? 1 : most < MOST_LANES ? most : MOST_LANES; c->lanes > 1 && hi->u.v.i % c->lanes; c->lanes /= 2) { }
  for (c->threads = LEAST_THREADS; c->threads < MOST_THREADS && c->threads * c->lanes < hi->u.v.i; c->threads *= 2) { }
}

// ---- a tile ------------------------------------------------------------------------------------

typedef struct Renamed { const Var *from; Var *to; } Renamed;
static Expr *renamed(void *cx, ExprTable *x, Expr *e) {
  const Renamed *r = cx;
  return e->op == OP_VAR && e->u.var == r->from ? expr_var(x, r->to) : e;
}

static Stmt *new_var(Scanning *c, const char *name, Expr *first) {
  return stmt_value(c->g->a, ST_VAR, var_new(c->g->x, intern(c->g->f->names, name), c->var->var->dtype), first);
}

static Stmt *add(Scanning *c, Var *to, Expr *value) {
  Stmt *s = stmt_value(c->g->a, ST_ACC, to, value);
  s->reducer = c->acc->reducer;
  return s;
}

// The steps of a thread, with another accumulator; `whole`: with what follows the accumulation.
static Stmt *steps(Scanning *c, Expr *first, Var *sum, bool whole) {
  Gpu *g = c->g;
  Stmt *body = gpu_copy(g, c->loop->body), *s = body;
  Renamed r = { c->var->var, sum };
  for (; s->kind != ST_ACC; s = s->next) { }
  if (!whole) s->next = NULL;
  s->var = sum;
  stmts_map(g->x, body, renamed, &r);
  Expr *hi = c->loop->hi;
  Vector v = { .g = g, .n = c->n, .written = &c->written, .ix = c->loop->ix, .hi = hi, .bound = hi, .first = first, .lanes = c->lanes };
  body = c->lanes > 1 ? gpu_vector(&v, body) : gpu_loop(g, HOW_ONE, c->loop->ix, first, hi, body);
  return gpu_if(g, expr_op2(g->x, OP_LT, first, hi, NO_SPAN), body, NULL);
}

static Stmt *tile(Scanning *c, Expr *thread, Var *carry) {
  Gpu *g = c->g;
  Expr *identity = c->var->a, *first;
  Index *at = gpu_index(g, "tile");
  Block b = gpu_block();
  gpu_let(g, &b, "first", gpu_plus(g, expr_index(g->x, at), gpu_mul(g, thread, gpu_int(g, c->lanes))), &first);
  Stmt *own = new_var(c, "before", identity), *all = new_var(c, "all", identity), *prefix = stmt_new(g->a, ST_PREFIX), *run = new_var(c, "run", expr_var(g->x, carry));
  prefix->reducer = c->acc->reducer;
  prefix->var = own->var;
  prefix->var2 = all->var;
  prefix->a = identity;
  gpu_add(&b, own);
  gpu_add(&b, steps(c, first, own->var, false));
  gpu_add(&b, all);
  gpu_add(&b, prefix);
  gpu_add(&b, run);
  gpu_add(&b, add(c, run->var, expr_var(g->x, own->var)));
  gpu_add(&b, steps(c, first, run->var, true));
  gpu_add(&b, add(c, carry, expr_var(g->x, all->var)));
  Stmt *loop = gpu_loop(g, HOW_SEQ, at, gpu_int(g, 0), c->loop->hi, b.first);
  loop->step = (int64_t)c->threads * c->lanes;
  loop->note = c->loop->note;
  return loop;
}

bool gpu_scan(Nest *n) {
  Scanning c = { .n = n, .g = n->g };
  if (!n->n || !find(&c)) return false;
  Gpu *g = n->g;
  if (c.loop->hi->op == OP_CONST && c.loop->hi->u.v.i < LEAST_STEPS) return false;
  choose(&c);
  Frame f = gpu_frame(g);
  Block b = gpu_block();
  Stmt **at = &n->body;
  while (*at != c.var) at = &(*at)->next;
  *at = NULL;
  gpu_add(&b, n->body);
  Stmt *carry = new_var(&c, "carry", c.var->a);
  gpu_add(&b, carry);
  gpu_add(&b, tile(&c, f.t, carry->var));
  gpu_close(n, &f, gpu_at(n, n->n, f.b, b.first), (Grid){ .blocks = n->points, .threads = c.threads, .team = c.threads });
  return true;
}
