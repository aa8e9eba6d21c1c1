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

static Expr *folded(Lower *l, Expr *e) {
  Scalar v;
  return expr_fold(e, &v) ? expr_int(l->x, DT_I64, v.i, NO_SPAN) : e;
}

enum {
  GPU_BLOCKS = 2, GPU_TERMS = 4096,               // chunks of a multiprocessor; terms of a chunk at least
  GPU_MORE_BLOCKS = 32, GPU_MORE_TERMS = 65536,   // and where that leaves so many terms to a chunk
  CPU_TERMS = 2048                                // the same on a CPU, as far as their number is known: what a chunk costs beside its terms is that of some 200 of them
};

// Chunks of a CPU, which one core runs one after the other: their number may be more than there is to do.
static Chunks cpu_chunks(Lower *l, Expr *lo, Expr *hi, bool nested) {
  int64_t count = LOWER_CHUNKS, terms = nested ? 1 : CPU_TERMS;
  Scalar from, to;
  if (expr_fold(lo, &from) && expr_fold(hi, &to)) {
    int64_t fill = to.i > from.i ? (to.i - from.i + terms - 1) / terms : 1;
    if (fill < count) count = fill;
  }
  return (Chunks){ expr_int(l->x, DT_I64, count, NO_SPAN), nested ? 1 : LOWER_CHUNK_ALIGN };
}

// How many chunks a range is cut into, and what their lengths are multiples of. A GPU gets as many as it runs at a time, or fewer where
// there is little to do; where there is much, many more, so that what is read at a time lies close together and all multiprocessors end
// together (H100, 2^28 f32: 348.8 us in 264 chunks, 344.4 in 4096). nested: each step is a loop; states: the parts of a cascade, dearer to merge.
Chunks lower_chunks(Lower *l, Expr *lo, Expr *hi, bool nested, bool states) {
  ExprTable *x = l->x;
  if (!pipe_is_gpu(l->p)) return cpu_chunks(l, lo, hi, nested);
  Chunks c = { NULL, LOWER_CHUNK_ALIGN };
  int64_t terms = nested ? 1 : GPU_TERMS;
  c.count = expr_int(x, DT_I64, (int64_t)l->p->machine->cores * GPU_BLOCKS, NO_SPAN);
  c.align = nested ? 1 : LOWER_CHUNK_ALIGN;
  if (!lower_dims_only(lo) || !lower_dims_only(hi)) return c;
  Expr *one = expr_int(x, DT_I64, 1, NO_SPAN), *round = expr_int(x, DT_I64, terms - 1, NO_SPAN), *each = expr_int(x, DT_I64, terms, NO_SPAN);
  Expr *len = expr_is_int(lo, 0) ? hi : expr_op2(x, OP_SUB, hi, lo, NO_SPAN);
  Expr *fill = terms == 1 ? len : expr_op2(x, OP_FLOORDIV, expr_op2(x, OP_ADD, len, round, NO_SPAN), each, NO_SPAN);
  Expr *more = expr_op2(x, OP_FLOORDIV, len, expr_int(x, DT_I64, GPU_MORE_TERMS, NO_SPAN), NO_SPAN);
  Expr *most = expr_int(x, DT_I64, (int64_t)l->p->machine->cores * GPU_MORE_BLOCKS, NO_SPAN);
  Expr *least = nested || states ? one : expr_op2(x, OP_MAX, expr_op2(x, OP_MIN, more, most, NO_SPAN), one, NO_SPAN);
  c.count = folded(l, expr_op2(x, OP_MAX, expr_op2(x, OP_MIN, fill, c.count, NO_SPAN), least, NO_SPAN));
  return c;
}

// Where chunk c begins that is one of `count` equal ones, to a step: the empty ones of few steps lie between others, or all would be one core's.
Expr *lower_share_start(Lower *l, Expr *c, Expr *len, Expr *count) {
  return expr_op2(l->x, OP_FLOORDIV, expr_op2(l->x, OP_MUL, c, len, NO_SPAN), count, NO_SPAN);
}

// The share of chunk c: equal parts, whole lane groups. from ≤ to ≤ hi, also when the range is empty.
void lower_chunk(Lower *l, const Chunks *all, Expr *c, Expr *lo, Expr *hi, Expr **from, Expr **to) {
  ExprTable *x = l->x;
  Expr *zero = expr_int(x, DT_I64, 0, NO_SPAN), *one = expr_int(x, DT_I64, 1, NO_SPAN), *align = expr_int(x, DT_I64, all->align, NO_SPAN);
  Expr *unit = folded(l, expr_op2(x, OP_MUL, all->count, align, NO_SPAN)), *round = folded(l, expr_op2(x, OP_SUB, unit, one, NO_SPAN));
  Expr *len = expr_is_int(lo, 0) ? hi : expr_op2(x, OP_SUB, hi, lo, NO_SPAN);
  if (!range_prove_ge0(l->facts, x, len)) len = expr_op2(x, OP_MAX, len, zero, NO_SPAN);
  Expr *next = expr_op2(x, OP_ADD, c, one, NO_SPAN);
  if (all->align == 1 && !pipe_is_gpu(l->p)) {
    *from = lower_named(l, plus(l, lo, lower_share_start(l, c, len, all->count)), "from");
    *to = lower_named(l, plus(l, lo, lower_share_start(l, next, len, all->count)), "to");
    return;
  }
  Expr *groups = expr_op2(x, OP_FLOORDIV, expr_op2(x, OP_ADD, len, round, NO_SPAN), unit, NO_SPAN);
  Expr *step = lower_named(l, folded(l, expr_is_int(align, 1) ? groups : expr_op2(x, OP_MUL, groups, align, NO_SPAN)), "step");
  *from = lower_named(l, plus(l, lo, expr_op2(x, OP_MIN, expr_op2(x, OP_MUL, c, step, NO_SPAN), len, NO_SPAN)), "from");
  *to = lower_named(l, plus(l, lo, expr_op2(x, OP_MIN, expr_op2(x, OP_MUL, next, step, NO_SPAN), len, NO_SPAN)), "to");
}

// ---- sums over all of a tensor, in the order of memory ------------------------------------------

typedef struct Flat { Lower *l; const Expr *reduce; Index *ix; Expr *total; Map views; } Flat;

static bool in_order(const Flat *f, const Expr *e) {
  int n = f->reduce->u.bind->n;
  const Tensor *t = e->u.t;
  if (e->op != OP_READ || e->aux || t->rank != n || t->fmt || t->table || lower_is_member(f->l, t) || dtypes[t->dtype].bits < 8) return false;
  for (int k = 0; k < n; k++)
    if (e->arg[k]->op != OP_INDEX || e->arg[k]->u.ix != f->reduce->u.bind->ix[k] || t->extent[k] != reduce_hi(f->reduce, k)) return false;
  return true;
}

static Tensor *view_of(Flat *f, Tensor *t) {
  Tensor *v = map_getp(&f->views, t);
  if (v) return v;
  v = arena_new(f->l->p->a, Tensor);
  *v = *t;
  v->root = tensor_root(t);
  v->rank = 1;
  v->extent[0] = f->total;
  map_putp(&f->views, t, v);
  return v;
}

// Top-down, so that whole reads are seen before the indices in them. NULL: an index stands elsewhere.
static Expr *flattened(Flat *f, Expr *e, Map *memo) {
  Expr *seen = map_get(memo, (uint64_t)e->id + 1), *arg[32], *at = expr_index(f->l->x, f->ix);
  if (seen) return seen;
  if (in_order(f, e)) return expr_make(f->l->x, OP_READ, (Dtype)e->dtype, 0, view_of(f, e->u.t), e->at, 1, &at);
  if (e->op == OP_REDUCE || e->nargs > 32) return NULL;
  for (int k = 0; e->op == OP_INDEX && k < f->reduce->u.bind->n; k++) if (e->u.ix == f->reduce->u.bind->ix[k]) return NULL;
  for (uint32_t k = 0; k < e->nargs; k++) if (!(arg[k] = flattened(f, e->arg[k], memo))) return NULL;
  Expr *made = e->nargs ? expr_rebuild(f->l->x, e, arg) : e;
  map_put(memo, (uint64_t)e->id + 1, made);
  return made;
}

// sum[i, j](x[i, j])  ──▶  sum[n](x[n]): q's reduction over one index, in a copy of q. NULL: it is none over all of what it reads.
static Eqn *flat_eqn(Lower *l, const Eqn *q, Index *ix, Expr *total) {
  const Expr *e = q->body;
  Flat f = { l, e, ix, total, map_make(l->p->scratch) };
  Map memo = map_make(l->p->scratch);
  if (e->u.bind->n < 2 || reducers[reducer_of(q)].arg) return NULL;
  for (int k = 0; k < e->u.bind->n; k++) if (!expr_is_int(reduce_lo(e, k), 0) || !lower_dims_only(reduce_hi(e, k))) return NULL;
  Expr *cond = flattened(&f, reduce_cond(e), &memo), *term = flattened(&f, reduce_term(e), &memo), *zero = expr_int(l->x, DT_I64, 0, NO_SPAN);
  if (!cond || !term) return NULL;
  Eqn *flat = arena_new(l->p->scratch, Eqn);
  *flat = *q;
  flat->body = expr_reduce(l->x, reducer_of(q), 1, &ix, &zero, &total, cond, term, q->at);
  return flat;
}

// All of n items of one range, with their next loop; false when one cannot.
bool lower_flat_items(Lower *l, int n, Item **items, NextLoop *next) {
  const Expr *first = items[0]->q->body;
  Expr *total = NULL;
  Eqn **flat = arena_array(l->p->scratch, Eqn *, n);
  for (int k = 0; k < first->u.bind->n; k++) total = total ? expr_op2(l->x, OP_MUL, total, reduce_hi(first, k), NO_SPAN) : reduce_hi(first, k);
  for (int i = 0; i < n; i++) {
    const Expr *e = items[i]->q->body;
    if (e->u.bind->n != first->u.bind->n) return false;
    for (int k = 0; k < e->u.bind->n; k++) if (reduce_hi(e, k) != reduce_hi(first, k)) return false;
    flat[i] = flat_eqn(l, items[i]->q, index_new(l->x, intern(l->f->names, "n"), NO_SPAN), folded(l, total));
    if (!flat[i]) return false;
  }
  for (int i = 0; i < n; i++) {
    Item *it = arena_new(l->p->scratch, Item);
    *it = *items[i];
    it->q = flat[i];
    items[i] = it;
    lower_next_loop(l, it, &next[i]);
  }
  return true;
}

// A cascade over everything: its parts leave their states.
void lower_split_cascade(Lower *l, int n, Item *items, const bool *in, const NextLoop *next) {
  int first = 0;
  while (!in[first]) first++;
  Expr *lo = lower_expr(l, next[first].lo), *hi = lower_expr(l, next[first].hi);
  Chunks chunks = lower_chunks(l, lo, hi, items[first].q->body->u.bind->n > 1, true);
  Parts p = { .count = chunks.count, .align = chunks.align };
  Index *c = p.at[0] = index_new(l->x, intern(l->f->names, "chunk"), NO_SPAN);
  Stmt *par = loop_open(l, c, expr_int(l->x, DT_I64, 0, NO_SPAN), p.count, HOW_PAR);
  par->parallel_if = lower_work(l);
  lower_chunk(l, &chunks, expr_index(l->x, c), lo, hi, &p.from, &p.to);
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
