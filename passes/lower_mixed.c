// lower_mixed.c: kernels in which some reductions run over the grid that is parallel for the others.
//
//   dx[i, j] = … of row i               for part < 64, in parallel:  dw_part[part, j] = 0
//   dw[j] = sum[i](dy[i, j] * h[i, j])    for i of the part, in order:
//                                  ──▶      row i of dx;  dw_part[part, j] = dw_part[part, j] + dy[i, j] * h[i, j]
//                                       for j, in parallel:  dw[j] = sum[part](dw_part[part, j]), in order
//
// So a norm's gradients read their inputs once. The cut does not depend on the number of threads. [Inductor calls this mix-order
// reduction, nvFuser inner-outer persistence.]
#include "ir/rewrite.h"
#include "passes/lower.h"

// ---- where a share goes ------------------------------------------------------------------------

static Reducer reducer_of(const Item *it) { return it->q->body->u.bind->reducer; }
static Dtype value_type(const Item *it) { return (Dtype)(reducers[reducer_of(it)].arg ? reduce_term(it->q->body)->dtype : it->q->body->dtype); }

static Share *share_of(const Lower *l, const Eqn *q) {
  for (int i = 0; i < l->shares.n; i++) if (l->shares.v[i]->q == q) return l->shares.v[i];
  return NULL;
}

static Tensor *share_tensor(Lower *l, const Eqn *q, const char *what, Dtype d) {
  Expr *extent[8] = { expr_int(l->x, DT_I64, LOWER_CHUNKS, NO_SPAN) };
  for (int k = 0; k < q->n; k++) extent[k + 1] = q->extent[k];
  return fn_tensor(l->f, intern(l->f->names, arena_printf(l->p->scratch, "%s_%s", q->def->root->name, what)), ROLE_LOCAL, d, NULL, q->n + 1, extent, q->at);
}

static void open_shares(Lower *l) {
  for (int i = 0; i < l->u->m.n; i++) {
    if (!member_is_partial(&l->u->m.v[i], l->u->ngrid)) continue;
    Item it = { .q = l->u->m.v[i].q };
    Share *s = arena_new(l->p->scratch, Share);
    *s = (Share){ .q = it.q, .part = share_tensor(l, it.q, "part", value_type(&it)) };
    if (reducers[reducer_of(&it)].arg) s->at = share_tensor(l, it.q, "at", DT_I64);
    vec_push(l->p->scratch, &l->shares, s);
  }
}

// Subscripts: the part, then the equation's own indices.
static void place(Lower *l, const Item *it, Expr **sub) {
  sub[0] = expr_index(l->x, l->part);
  for (int k = 0; k < it->q->n; k++) sub[k + 1] = lower_at_item(l, it, expr_index(l->x, it->q->ix[k]));
}

static void store(Lower *l, const Item *it, Tensor *t, Expr *value) {
  Stmt *s = stmt_new(l->p->a, ST_STORE);
  s->t = t;
  s->nsub = t->rank;
  place(l, it, s->sub);
  s->a = value;
  s->at = it->q->at;
  lower_emit(l, s);
}

static Expr *load(Lower *l, const Item *it, Tensor *t) {
  Expr *sub[8];
  place(l, it, sub);
  return expr_read(l->x, t, t->rank, sub, NULL, it->q->at);
}

static void accumulate(Lower *l, const Item *it, const Share *s, Expr *value, Expr *at) {
  Stmt *acc = stmt_new(l->p->a, ST_ACC);
  acc->reducer = reducer_of(it);
  acc->var = s->acc;
  acc->var2 = s->acc2;
  acc->a = value;
  acc->b = at;
  acc->lanes = 1;
  lower_emit(l, acc);
}

// part = combine(part, value)
static void add_to_share(Lower *l, const Item *it, Expr *value, Expr *at) {
  Share *s = share_of(l, it->q);
  Reducer r = reducer_of(it);
  if (s->acc) {
    accumulate(l, it, s, value, at);
    return;
  }
  Expr *old = load(l, it, s->part);
  if (!s->at) {
    store(l, it, s->part, expr_op2(l->x, reduce_op(r), old, value, it->q->at));
    return;
  }
  Expr *old_at = load(l, it, s->at);
  Expr *better = lower_named(l, reduce_better(l->x, r, value, old, old_at, expr_int(l->x, DT_I64, LOWER_NO_INDEX, it->q->at)), "better");
  store(l, it, s->part, expr_select(l->x, better, value, old, it->q->at));
  store(l, it, s->at, expr_select(l->x, better, at, old_at, it->q->at));
}

// A reduction inside a grid point adds to the part's own variable, where it has one.
bool lower_join_share(const Lower *l, Item *it) {
  const Share *s = share_of(l, it->q);
  it->acc = s->acc;
  it->acc2 = s->acc2;
  return s->acc != NULL;
}

// A reduction that has run over what is inside a grid point.
void lower_finish_share(Lower *l, Item *it) {
  if (share_of(l, it->q)->acc) return;
  lower_fold_lanes(l, reducer_of(it), it->acc, it->acc2);
  add_to_share(l, it, expr_var(l->x, it->acc), it->acc2 ? expr_var(l->x, it->acc2) : NULL);
}

// One with nothing inside: a term for each grid point.
void lower_share_term(Lower *l, Item *it) {
  Expr *e = it->q->body, *cond = lower_at_item(l, it, reduce_cond(e));
  Expr *term = expr_cast(l->x, value_type(it), lower_at_item(l, it, reduce_term(e)), it->q->at);
  const Share *s = share_of(l, it->q);
  if (s->acc && !s->acc2) {
    lower_accumulate(l, reducer_of(it), s->acc, NULL, cond, term, NULL);
    return;
  }
  Stmt *branch = expr_is_true(cond) ? NULL : lower_if_open(l, lower_expr(l, cond), cond);
  Expr *value = lower_named(l, lower_expr(l, term), it->q->def->root->name);
  Expr *at = reducers[reducer_of(it)].arg ? lower_at_item(l, it, expr_index(l->x, e->u.bind->ix[0])) : NULL;
  add_to_share(l, it, value, at);
  if (branch) lower_if_close(l, branch);
}

// ---- the nests ---------------------------------------------------------------------------------

// Loops over the equation's own indices; loop[] as loop_open made them.
static void open_own(Lower *l, Item *it, LoopHow how, Stmt **loop) {
  const Eqn *q = it->q;
  for (int k = 0; k < q->n; k++) {
    Index *ix = index_new(l->x, q->ix[k]->name, q->ix[k]->at);
    loop[k] = loop_open(l, ix, expr_int(l->x, DT_I64, 0, NO_SPAN), q->extent[k], how);
    it->from[it->nbound] = q->ix[k];
    it->to[it->nbound++] = expr_index(l->x, ix);
    it->has_pos[k] = true;
  }
}

static void close_own(Lower *l, const Item *it, Stmt **loop) { for (int k = it->q->n - 1; k >= 0; k--) loop_close(l, loop[k]); }

// One number, which can have lanes, is kept in a variable to the end of the part; a row in memory.
static void clear_share(Lower *l, Share *s) {
  Item it = { .q = s->q };
  Stmt *loop[8];
  if (!s->q->n) {
    lower_open_accumulator(l, &it);
    s->acc = it.acc;
    s->acc2 = it.acc2;
    return;
  }
  open_own(l, &it, HOW_SEQ, loop);
  store(l, &it, s->part, expr_scalar(l->x, s->part->dtype, reducers[reducer_of(&it)].identity(s->part->dtype), s->q->at));
  if (s->at) store(l, &it, s->at, expr_int(l->x, DT_I64, LOWER_NO_INDEX, s->q->at));
  close_own(l, &it, loop);
}

static void close_share(Lower *l, Share *s) {
  Item it = { .q = s->q };
  if (!s->acc) return;
  lower_fold_lanes(l, reducer_of(&it), s->acc, s->acc2);
  store(l, &it, s->part, expr_var(l->x, s->acc));
  if (s->at) store(l, &it, s->at, expr_var(l->x, s->acc2));
}

static void merge_share(Lower *l, const Share *s, Expr *work) {
  Item it = { .q = s->q };
  Stmt *own[8];
  Reducer r = reducer_of(&it);
  open_own(l, &it, HOW_PAR, own);
  if (s->q->n) own[0]->parallel_if = work;
  lower_open_accumulator(l, &it);
  Index *c = l->part = index_new(l->x, intern(l->f->names, "part"), NO_SPAN);
  Stmt *loop = loop_open(l, c, expr_int(l->x, DT_I64, 0, NO_SPAN), expr_int(l->x, DT_I64, LOWER_CHUNKS, NO_SPAN), HOW_SEQ), *some = NULL;
  Expr *none = expr_int(l->x, DT_I64, LOWER_NO_INDEX, NO_SPAN);
  if (s->at) some = lower_if_open(l, expr_op2(l->x, OP_NE, load(l, &it, s->at), none, NO_SPAN), NULL);      // a part without terms takes no part
  Stmt *acc = stmt_new(l->p->a, ST_ACC);
  acc->reducer = r;
  acc->var = it.acc;
  acc->var2 = it.acc2;
  acc->a = load(l, &it, s->part);
  acc->b = s->at ? load(l, &it, s->at) : NULL;
  lower_emit(l, acc);
  if (some) lower_if_close(l, some);
  loop_close(l, loop);
  lower_finish(l, &it, lower_fold(l, r, it.acc, it.acc2, s->q->body, s->q));
  close_own(l, &it, own);
}

// The part's rows of the grid's outermost index, in order.
static void run_part(Lower *l, Expr *count) {
  const Group *u = l->u;
  ExprTable *x = l->x;
  Index *grid[MAX_GRID];
  Stmt *loop[MAX_GRID];
  Expr *part = expr_index(x, l->part), *one = expr_int(x, DT_I64, 1, NO_SPAN), *zero = expr_int(x, DT_I64, 0, NO_SPAN), *end = u->extent[0];
  Expr *from = lower_named(l, lower_share_start(l, part, end, count), "from");
  Expr *to = lower_named(l, lower_share_start(l, expr_op2(x, OP_ADD, part, one, NO_SPAN), end, count), "to");
  for (int g = 0; g < u->ngrid; g++) {
    grid[g] = index_new(x, u->grid[g]->name, u->grid[g]->at);
    loop[g] = loop_open(l, grid[g], g ? zero : from, g ? u->extent[g] : to, HOW_SEQ);
    if (!g) ranges_index(l->facts, grid[0], zero, end);         // a part lies inside the range
  }
  Item *items = arena_array(l->p->scratch, Item, u->m.n);
  lower_start_items(l, items, grid);
  lower_block(l, u->m.n, items);
  for (int g = u->ngrid - 1; g >= 0; g--) loop_close(l, loop[g]);
}

bool lower_has_shares(const Group *u) {
  for (int i = 0; i < u->m.n; i++) if (member_is_partial(&u->m.v[i], u->ngrid)) return true;
  return false;
}

Stmt *lower_mixed(Lower *l, Expr *work, bool online) {
  ExprTable *x = l->x;
  lower_forget(l);
  l->online = online;
  l->shares.n = 0;
  scope_open(l, NULL, false);
  open_shares(l);
  Expr *count = expr_int(x, DT_I64, LOWER_CHUNKS, NO_SPAN);
  l->part = index_new(x, intern(l->f->names, "part"), NO_SPAN);
  Stmt *parts = loop_open(l, l->part, expr_int(x, DT_I64, 0, NO_SPAN), count, HOW_PAR);
  parts->parallel_if = work;
  l->grid_depth = 0;
  for (int i = 0; i < l->shares.n; i++) clear_share(l, l->shares.v[i]);
  run_part(l, count);
  for (int i = 0; i < l->shares.n; i++) close_share(l, l->shares.v[i]);
  loop_close(l, parts);
  for (int i = 0; i < l->shares.n; i++) merge_share(l, l->shares.v[i], work);
  return scope_close(l);
}
