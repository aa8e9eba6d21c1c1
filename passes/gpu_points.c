// gpu_points.c: a thread a grid point, for what is not worth more: the schedule that every nest has.
//
//   par i in 0 .. N                     blocks block in 0 .. (N * D + 255) // 256
//     par j in 0 .. D                     threads thread in 0 .. 256
//       …                        ──▶        let point = block * 256 + thread
//                                           if point < N * D
//                                             let i = point // D;  let j = point % D;  …
#include "passes/gpu.h"
#include <string.h>

Frame gpu_frame(Gpu *g) {
  Frame f = { .block = gpu_index(g, "block"), .thread = gpu_index(g, "thread") };
  f.b = expr_index(g->x, f.block);
  f.t = expr_index(g->x, f.thread);
  return f;
}

typedef struct Some { Gpu *g; Grid *grid; } Some;

// A factor of an extent is not 0 where there is a grid point.
static void some_dim(void *cx, Expr *e) {
  Some *s = cx;
  if (e->op == OP_DIM) vec_push(s->g->a, &s->grid->some, e->u.dim);
}

static bool is_product(const Expr *e) { return e->op == OP_DIM || e->op == OP_CONST || (e->op == OP_MUL && is_product(e->arg[0]) && is_product(e->arg[1])); }

void gpu_close(Nest *n, const Frame *f, Stmt *body, Grid grid) {
  Gpu *g = n->g;
  Grid *out = n->k->grid;
  Block b = gpu_block();
  gpu_add(&b, n->head);
  gpu_add(&b, body);
  Stmt *threads = gpu_loop(g, HOW_THREADS, f->thread, gpu_int(g, 0), gpu_int(g, grid.threads), b.first);
  n->k->body = gpu_loop(g, HOW_BLOCKS, f->block, gpu_int(g, 0), grid.blocks, threads);
  grid.when = out->when;
  memcpy(&grid.wants, &out->wants, sizeof grid.wants);
  for (int k = 0; k < n->n; k++) if (is_product(n->extent[k])) expr_visit(g->scratch, n->extent[k], some_dim, &(Some){ g, &grid });
  if (!grid.cluster) grid.cluster = 1;
  if (!grid.stride) grid.stride = 1;
  *out = grid;
}

Stmt *gpu_at(Nest *n, int count, Expr *point, Stmt *body) {
  Gpu *g = n->g;
  Expr *inner = gpu_int(g, 1);
  for (int k = count - 1; k >= 0; k--) {
    Expr *at = gpu_div(g, point, inner);
    if (k > 0) at = gpu_mod(g, at, n->extent[k]);
    body = gpu_loop(g, HOW_ONE, n->ix[k], at, n->extent[k], body);
    inner = gpu_mul(g, inner, n->extent[k]);
  }
  return body;
}

// Two threads must not store halves of one byte.
static bool stores_nibbles(const Stmt *s) {
  for (; s; s = s->next) {
    const Dtype d = s->kind != ST_STORE ? DT_NONE : s->field >= 0 ? s->t->fmt->field[s->field].dtype : s->t->dtype;
    bool local = s->kind == ST_STORE && s->t->role == ROLE_LOCAL && s->field < 0;
    if ((d != DT_NONE && dtypes[d].bits == 4 && !local && s->field < 0) || stores_nibbles(s->body) || stores_nibbles(s->els)) return true;
  }
  return false;
}

void gpu_points(Nest *n) {
  Gpu *g = n->g;
  Frame f = gpu_frame(g);
  bool one = stores_nibbles(n->body);
  int threads = one ? 1 : GPU_THREADS;
  Block b = gpu_block();
  Expr *point;
  Index *all = gpu_index(g, "point");
  if (one) point = expr_index(g->x, all);
  else gpu_let(g, &b, "point", gpu_plus(g, gpu_mul(g, f.b, gpu_int(g, threads)), f.t), &point);
  Stmt *in = gpu_at(n, n->n, point, gpu_alone(n->body));
  if (one) gpu_add(&b, gpu_loop(g, HOW_SEQ, all, gpu_int(g, 0), n->points, in));
  else gpu_add(&b, gpu_if(g, expr_op2(g->x, OP_LT, point, n->points, NO_SPAN), in, NULL));
  gpu_close(n, &f, b.first, (Grid){ .blocks = one ? gpu_int(g, 1) : gpu_div_up(g, n->points, threads), .threads = threads, .team = 1 });
}
