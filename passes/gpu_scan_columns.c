// gpu_scan_columns.c: prefixes along columns: threads side by side have columns side by side, and several parts of each where columns are few.
//
//   par k in 0 .. D                  totals:  thread (part, k):  var s = 0;  s = s + x[j, k], for j of its part;  t[part, k] = s
//     scan j in 0 .. N        ──▶    parts:   thread (part, k):  var s = 0;  s = s + t[q, k], for q in 0 .. part
//       s = s + x[j, k]                                          then s = s + x[j, k];  y[j, k] = s, for j of its part
//       y[j, k] = s
//
// Every thread walks its part in order, so a warp reads and writes whole lines. As in gpu_scan_wide.c the input is read twice; where columns alone
// fill the device each is a thread's, once.
#include "passes/gpu_scan.h"

enum {
  MOST_PARTS = 128,             // a thread reads the totals of all parts before its own
  LEAST_STEPS = 64,             // of a part
  FEW = 5,                      // see few
  UNROLL = 8                    // loads do not depend on sums: so many are on their way
};

typedef struct Columns {
  Scan *c; Nest *n; Gpu *g;
  Stmt *before;
  Expr *parts;
  Tensor *total[GPU_MOST_SUMS];
} Columns;

// ---- which walk memory -------------------------------------------------------------------------

typedef struct Walk { const Nest *n; Scan *c; int rows, columns; } Walk;
static void see_read(void *cx, Expr *e) {
  Walk *w = cx;
  if (e->op != OP_READ || !e->u.t->rank || !expr_uses_index(e, w->c->loop->ix)) return;
  Expr *last = e->arg[e->u.t->rank - 1];
  w->rows += expr_uses_index(last, w->c->loop->ix);
  w->columns += gpu_is_step(w->c->g, last, w->n->ix[w->n->n - 1]);
}

static bool walks_columns(Scan *c, const Nest *n) {
  Walk w = { n, c, 0, 0 };
  if (n->n) stmts_visit(c->g->scratch, c->loop->body, see_read, &w);
  return w.columns > 0 && w.rows == 0;
}

// ---- the kernels -------------------------------------------------------------------------------

typedef struct Thread { Frame f; Block b; Expr *id, *point, *part, *from, *to, *all; } Thread;

static Thread begin(Columns *w) {
  Gpu *g = w->g;
  Thread t = { .f = gpu_frame(g), .b = gpu_block() };
  Expr *parts = w->parts, *steps;
  if (parts->op != OP_CONST) gpu_let(g, &t.b, "parts", w->parts, &parts);
  gpu_let(g, &t.b, "steps", gpu_scan_div_up(g, w->c->loop->hi, parts), &steps);
  gpu_let(g, &t.b, "id", gpu_plus(g, gpu_mul(g, t.f.b, gpu_int(g, GPU_THREADS)), t.f.t), &t.id);
  gpu_let(g, &t.b, "point", gpu_mod(g, t.id, w->n->points), &t.point);
  gpu_let(g, &t.b, "part", gpu_div(g, t.id, w->n->points), &t.part);
  gpu_let(g, &t.b, "from", gpu_mul(g, t.part, steps), &t.from);
  gpu_let(g, &t.b, "to", expr_op2(g->x, OP_MIN, gpu_plus(g, t.from, steps), w->c->loop->hi, NO_SPAN), &t.to);
  t.all = gpu_mul(g, w->n->points, parts);
  return t;
}

static void finish(Columns *w, Kernel *k, Thread *t, Stmt *body) {
  Gpu *g = w->g;
  Nest m = *w->n;
  m.k = k;
  m.head = gpu_copy(g, w->n->head);
  body = gpu_at(&m, m.n, t->point, body);
  gpu_add(&t->b, gpu_if(g, expr_op2(g->x, OP_LT, t->id, t->all, NO_SPAN), body, NULL));
  gpu_close(&m, &t->f, t->b.first, (Grid){ .blocks = gpu_div_up(g, gpu_mul(g, w->n->points, w->parts), GPU_THREADS), .threads = GPU_THREADS, .team = 1 });
}

static Stmt *walk(Columns *w, const Thread *t, bool whole) {
  Var *sum[GPU_MOST_SUMS];
  for (int k = 0; k < w->c->sums; k++) sum[k] = w->c->acc[k]->var;
  Stmt *loop = gpu_loop(w->g, HOW_SEQ, w->c->loop->ix, t->from, t->to, gpu_scan_body(w->c, sum, whole));
  loop->unroll = UNROLL;
  loop->note = whole ? w->c->loop->note : NULL;
  return loop;
}

static void totals(Columns *w, Kernel *kernel) {
  Thread t = begin(w);
  Block b = gpu_block();
  gpu_add(&b, gpu_copy(w->g, w->before));
  gpu_add(&b, walk(w, &t, false));
  for (int k = 0; k < w->c->sums; k++) {
    Stmt *s = stmt_new(w->g->a, ST_STORE);
    s->t = w->total[k];
    s->nsub = 1;
    s->sub[0] = t.id;
    s->a = expr_var(w->g->x, w->c->acc[k]->var);
    s->field = -1;
    gpu_add(&b, s);
  }
  finish(w, kernel, &t, b.first);
}

static void parts(Columns *w, Kernel *kernel) {
  Gpu *g = w->g;
  Thread t = begin(w);
  Block b = gpu_block(), adds = gpu_block();
  Index *q = gpu_index(g, "q");
  Expr *at = gpu_plus(g, gpu_mul(g, expr_index(g->x, q), w->n->points), t.point);
  for (int k = 0; k < w->c->sums; k++) {
    Var *sum = w->c->acc[k]->var;
    gpu_add(&adds, gpu_scan_add(w->c, k, sum, expr_make(g->x, OP_READ, sum->dtype, 0, w->total[k], NO_SPAN, 1, &at)));
  }
  gpu_add(&b, gpu_copy(g, w->before));
  Stmt *loop = gpu_loop(g, HOW_SEQ, q, gpu_int(g, 0), t.part, adds.first);
  loop->unroll = UNROLL;
  gpu_add(&b, loop);
  gpu_add(&b, walk(w, &t, true));
  finish(w, kernel, &t, b.first);
}

// ---- when --------------------------------------------------------------------------------------

static int64_t device_threads(const Columns *w) { return (int64_t)w->g->m->cores * w->g->m->threads; }

static Expr *parts_of_column(Columns *w) {
  Gpu *g = w->g;
  Expr *wanted = gpu_min(g, gpu_scan_div_up(g, gpu_int(g, device_threads(w)), w->n->points), gpu_int(g, MOST_PARTS));
  Expr *parts = gpu_min(g, wanted, gpu_div_up(g, w->c->loop->hi, LEAST_STEPS));
  return parts->op == OP_CONST ? parts : expr_op2(g->x, OP_MAX, parts, gpu_int(g, 1), NO_SPAN);      // then divisions by it are plain
}

// A fifth of the threads that the device has at a time, and less, are few: an H100 (270336 threads) takes 0.38 ms for 65536 columns of 2048 with a
// thread each and 0.47 in parts, for 8192 columns of 8192 2.2 and 0.30. NULL: always.
static Expr *few(Columns *w, bool *never) {
  Gpu *g = w->g;
  Expr *limit = gpu_int(g, device_threads(w) / FEW), *steps = w->c->loop->hi, *points = w->n->points;
  bool known = points->op == OP_CONST, long_enough = steps->op == OP_CONST;
  *never = (known && points->u.v.i >= limit->u.v.i) || (long_enough && steps->u.v.i < 2 * LEAST_STEPS);
  Expr *less = known ? NULL : expr_op2(g->x, OP_LT, points, limit, NO_SPAN);
  return gpu_and(g, less, long_enough ? NULL : expr_op2(g->x, OP_GE, steps, gpu_int(g, 2 * LEAST_STEPS), NO_SPAN));
}

static void by_parts(Columns *w, Expr *when) {
  Gpu *g = w->g;
  Kernel *first = gpu_beside(w->n, "totals"), *second = when ? gpu_beside(w->n, "parts") : w->n->k;
  first->grid->when = second->grid->when = gpu_and(g, w->n->k->grid->when, when);
  w->parts = parts_of_column(w);
  for (int k = 0; k < w->c->sums; k++) w->total[k] = gpu_temp(w->n, "total", w->c->acc[k]->var->dtype, gpu_mul(g, w->n->points, w->parts));
  totals(w, first);
  kernel_list_args(g->plan, first);
  vec_push(g->a, &g->out, first);
  parts(w, second);
  if (!when) return;
  kernel_list_args(g->plan, second);
  vec_push(g->a, &g->out, second);
  w->n->k->grid->when = gpu_and(g, w->n->k->grid->when, expr_op1(g->x, OP_NOT, when, NO_SPAN));
}

bool gpu_scan_columns(Scan *c, Nest *n, Stmt *before) {
  Columns w = { .c = c, .n = n, .g = n->g, .before = before };
  bool never;
  if (!walks_columns(c, n)) return false;
  Expr *when = few(&w, &never);
  if (!never) by_parts(&w, when);
  if (!never && !when) return true;
  Block b = gpu_block();
  gpu_add(&b, gpu_copy(w.g, before));
  gpu_add(&b, c->loop);
  c->loop->unroll = UNROLL;
  n->body = b.first;
  gpu_points(n);
  return true;
}
