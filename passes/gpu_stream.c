// gpu_stream.c: loops of a team over a part of memory that begins where a vector does, and ends anywhere.
//
//   for n in from .. to                   for(8 at a time) n0 in from + member * 4 .. to - 3 by 1024:  unroll v in 0 .. 4:  s = s + x_v[v]
//     s = s + x[n]                ──▶     let rest = from + (to - from) // 4 * 4
//                                         for n in rest + member .. to by 256:  s = s + x[n]
#include "passes/gpu_team.h"

enum { MOST_LANES = 16, UNROLL = 8 };

typedef struct Widest { Team *t; Index *ix; int bits, reads; } Widest;

static void see_read(void *cx, Expr *e) {
  Widest *w = cx;
  if (e->op != OP_READ || !e->u.t->rank || e->u.t->fmt || e->u.t->role == ROLE_TABLE || tensor_place(w->t->g->plan, e->u.t) == PLACE_STACK) return;
  Expr *last = e->arg[e->u.t->rank - 1];
  if (!gpu_is_step(w->t->g, last, w->ix)) return;
  w->reads++;
  if (dtypes[e->u.t->dtype].bits > w->bits) w->bits = dtypes[e->u.t->dtype].bits;
}

static Stmt *one_by_one(Team *t, Stmt *s, Expr *from) {
  s->lo = gpu_plus(t->g, from, t->member);
  s->step = t->size;
  return s;
}

Stmt *gpu_stream(Team *t, Stmt *s) {
  Gpu *g = t->g;
  Widest w = { .t = t, .ix = s->ix };
  stmts_visit(g->scratch, s->body, see_read, &w);
  int lanes = w.bits ? g->m->vector_bytes * 8 / w.bits : 1;
  if (lanes > MOST_LANES) lanes = MOST_LANES;
  while (lanes > 1 && s->align % lanes) lanes /= 2;
  if (lanes < 2 || gpu_has_loop(s->body) || stmts_have(s->body, ST_ALLOC)) return one_by_one(t, s, s->lo);
  Block b = gpu_block();
  Expr *width = gpu_int(g, lanes), *lo = s->lo, *hi = s->hi, *rest;
  Index *at = gpu_index(g, arena_printf(g->scratch, "%s0", s->ix->name));
  Stmt *tail = gpu_copy(g, s->body);
  Vector v = { .g = g, .n = t->n, .written = &t->written, .ix = s->ix, .hi = hi, .first = expr_index(g->x, at), .lanes = lanes };
  Stmt *loop = gpu_loop(g, HOW_SEQ, at, gpu_plus(g, lo, gpu_mul(g, t->member, width)), expr_op2(g->x, OP_SUB, hi, gpu_int(g, lanes - 1), NO_SPAN), gpu_vector(&v, s->body));
  loop->step = (int64_t)t->size * lanes;
  loop->unroll = w.reads > 2 ? UNROLL / 2 : UNROLL;
  loop->note = s->note;
  s->note = NULL;
  gpu_add(&b, loop);
  gpu_let(g, &b, "rest", gpu_plus(g, lo, gpu_mul(g, gpu_div(g, expr_op2(g->x, OP_SUB, hi, lo, NO_SPAN), width), width)), &rest);
  s->body = tail;
  gpu_add(&b, one_by_one(t, s, rest));
  return b.first;
}
