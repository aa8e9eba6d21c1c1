// lower_split.c: full reductions in parts.
//
//   s = sum[i](x[i])   ──▶   for chunk < 64, in parallel:  part[chunk] = sum of its share
//                            s = sum[chunk](part[chunk]), in order
#include "passes/lower.h"

static Tensor *partial(Lower *l, Eqn *q, const char *what, Dtype dtype, Expr *count) {
  Name hint = intern(l->f->names, arena_printf(l->p->scratch, "%s_%s", q->def->root->name, what));
  return fn_tensor(l->f, hint, ROLE_LOCAL, dtype, NULL, 1, &count, q->at);
}

static Reducer reducer_of(const Eqn *q) { return q->body->u.bind->reducer; }

void lower_partials(Lower *l, Eqn *q, Expr *count, Tensor **part) {
  bool arg = reducers[reducer_of(q)].arg;
  Dtype t = (Dtype)(arg ? reduce_term(q->body)->dtype : q->body->dtype);
  part[0] = partial(l, q, "part", t, count);
  part[1] = arg ? partial(l, q, "at", DT_I64, count) : NULL;
}

static Expr *plus(Lower *l, Expr *a, Expr *b) { return expr_is_int(a, 0) ? b : expr_op2(l->x, OP_ADD, a, b, NO_SPAN); }

// The share of chunk c: equal parts, whole lane groups. from ≤ to ≤ hi, also when the range is empty.
void lower_chunk(Lower *l, Expr *c, Expr *lo, Expr *hi, Expr **from, Expr **to) {
  ExprTable *x = l->x;
  Expr *zero = expr_int(x, DT_I64, 0, NO_SPAN), *one = expr_int(x, DT_I64, 1, NO_SPAN);
  Expr *unit = expr_int(x, DT_I64, LOWER_CHUNKS * LOWER_CHUNK_ALIGN, NO_SPAN);
  Expr *round = expr_int(x, DT_I64, LOWER_CHUNKS * LOWER_CHUNK_ALIGN - 1, NO_SPAN);
  Expr *len = expr_is_int(lo, 0) ? hi : expr_op2(x, OP_SUB, hi, lo, NO_SPAN);
  if (!range_prove_ge0(l->facts, x, len)) len = expr_op2(x, OP_MAX, len, zero, NO_SPAN);
  Expr *groups = expr_op2(x, OP_FLOORDIV, expr_op2(x, OP_ADD, len, round, NO_SPAN), unit, NO_SPAN);
  Expr *step = lower_named(l, expr_op2(x, OP_MUL, groups, expr_int(x, DT_I64, LOWER_CHUNK_ALIGN, NO_SPAN), NO_SPAN), "step");
  Expr *next = expr_op2(x, OP_ADD, c, one, NO_SPAN);
  *from = lower_named(l, plus(l, lo, expr_op2(x, OP_MIN, expr_op2(x, OP_MUL, c, step, NO_SPAN), len, NO_SPAN)), "from");
  *to = lower_named(l, plus(l, lo, expr_op2(x, OP_MIN, expr_op2(x, OP_MUL, next, step, NO_SPAN), len, NO_SPAN)), "to");
}

// A cascade over everything: its parts leave their states.
void lower_split_cascade(Lower *l, int n, Item *items, const bool *in, const NextLoop *next) {
  int first = 0;
  while (!in[first]) first++;
  Expr *lo = lower_expr(l, next[first].lo), *hi = lower_expr(l, next[first].hi);
  Parts p = { .count = expr_int(l->x, DT_I64, LOWER_CHUNKS, NO_SPAN) };
  Index *c = p.at[0] = index_new(l->x, intern(l->f->names, "chunk"), NO_SPAN);
  Stmt *par = loop_open(l, c, expr_int(l->x, DT_I64, 0, NO_SPAN), p.count, HOW_PAR);
  par->parallel_if = lower_work(l);
  lower_chunk(l, expr_index(l->x, c), lo, hi, &p.from, &p.to);
  lower_parts(l, n, items, in, lower_tile_steps(l), &p);
  loop_close(l, par);
  lower_merge(l, n, items, in, &p);
}

static void store_at(Lower *l, Tensor *t, Index *c, Expr *value) {
  Stmt *s = stmt_new(l->p->a, ST_STORE);
  s->t = t;
  s->field = -1;
  s->nsub = 1;
  s->sub[0] = expr_index(l->x, c);
  s->a = value;
  lower_emit(l, s);
}

void lower_store_partial(Lower *l, Eqn *q, const Item *it, Tensor *const *part, Index *c) {
  lower_fold_lanes(l, reducer_of(q), it->acc, it->acc2);
  store_at(l, part[0], c, expr_var(l->x, it->acc));
  if (part[1]) store_at(l, part[1], c, expr_var(l->x, it->acc2));
}

static Expr *read_at(Lower *l, Tensor *t, Index *c) {
  Expr *sub = expr_index(l->x, c);
  return expr_read(l->x, t, 1, &sub, NULL, NO_SPAN);
}

Expr *lower_combine_partials(Lower *l, Eqn *q, Tensor *const *part, Expr *count) {
  Reducer r = reducer_of(q);
  Expr *e = q->body, *zero = expr_int(l->x, DT_I64, 0, q->at);
  Var *v2, *v = lower_accumulator(l, r, q->def->root->name, (Dtype)reduce_term(e)->dtype, (Dtype)e->dtype, &v2, q->at);
  Index *c = index_new(l->x, intern(l->f->names, "chunk"), NO_SPAN);
  Stmt *loop = loop_open(l, c, zero, count, HOW_SEQ);
  // A chunk without terms has no index: it takes no part.
  Stmt *some = v2 ? lower_if_open(l, expr_op2(l->x, OP_NE, read_at(l, part[1], c), expr_int(l->x, DT_I64, LOWER_NO_INDEX, q->at), q->at), NULL) : NULL;
  Stmt *s = stmt_new(l->p->a, ST_ACC);
  s->reducer = r;
  s->var = v;
  s->var2 = v2;
  s->a = read_at(l, part[0], c);
  s->b = v2 ? read_at(l, part[1], c) : NULL;
  s->lanes = 1;
  lower_emit(l, s);
  if (some) lower_if_close(l, some);
  loop_close(l, loop);
  return lower_fold(l, r, v, v2, e, q);
}
