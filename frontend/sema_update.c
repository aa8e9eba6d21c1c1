// sema_update.c: stores to mut tensors, `cache[b, pos[b], e] <- k[b, e] if pos[b] >= 0`.
//
// The names that nothing binds are the update's indices. An update makes a new version of its tensor; reads before it
// see the old one, reads after it the new.
#include "frontend/sema_int.h"

typedef struct Unbound { Frame *fr; int n; Name name[LIMIT_RANK + 1]; Span at[LIMIT_RANK + 1]; } Unbound;

// Names that reductions bind, while their terms are walked.
typedef struct Inner { Name name; const struct Inner *up; } Inner;

static void find_unbound(Unbound *u, const AExpr *e, const Inner *inner);

static bool has_meaning(Unbound *u, Name name, const Inner *inner) {
  for (; inner; inner = inner->up)
    if (inner->name == name) return true;
  for (int i = 0; i < u->n; i++)
    if (u->name[i] == name) return true;
  if (frame_find(u->fr, name)) return true;
  Item *item = unit_lookup(&u->fr->s->p->units, u->fr->unit, name);
  return item && item->kind == AI_CONST;
}

static void unbound_in_reduction(Unbound *u, const AExpr *e, int k, const Inner *inner) {
  Inner own = {NULL, inner};
  if (k == e->nsubs || k == 2 * LIMIT_RANK) {
    for (int i = 0; i < e->nargs; i++) find_unbound(u, e->arg[i], inner);
    return;
  }
  const ASub *sub = &e->sub[k];
  if (sub->kind == SUB_RANGE) {
    find_unbound(u, sub->lo, inner);
    find_unbound(u, sub->hi, inner);
    own.name = sub->name;
  } else if (sub->kind == SUB_EXPR && sub->e->kind == A_NAME) {
    own.name = sub->e->name;
  } else if (sub->kind == SUB_EXPR && sub->e->kind == A_BINARY && sub->e->arg[0]->kind == A_NAME) {
    find_unbound(u, sub->e->arg[1], inner);
    own.name = sub->e->arg[0]->name;
  }
  unbound_in_reduction(u, e, k + 1, own.name ? &own : inner);
}

static void find_unbound(Unbound *u, const AExpr *e, const Inner *inner) {
  if (!e) return;
  if (e->kind == A_REDUCE) {
    unbound_in_reduction(u, e, 0, inner);
    return;
  }
  if (e->kind == A_NAME && u->n <= LIMIT_RANK && !has_meaning(u, e->name, inner)) {
    u->name[u->n] = e->name;
    u->at[u->n++] = e->at;
  }
  bool named = e->kind == A_SUBSCRIPT && e->nsubs && e->arg[0]->kind == A_NAME;   // `x[…]`: x is no index
  for (int i = named; i < e->nargs; i++) find_unbound(u, e->arg[i], inner);
  for (int i = 0; i < e->nsubs; i++)
    if (e->sub[i].kind == SUB_EXPR) find_unbound(u, e->sub[i].e, inner);
}

// `cache[b < B, …] <-`: an index may have its bound where it stands alone on the left.
static const AExpr *left_index(Frame *fr, const ASub *sub, Name name) {
  const AExpr *e = sub->kind == SUB_EXPR ? sub->e : NULL;
  bool bounded = e && e->kind == A_BINARY && (e->op == AO_LT || e->op == AO_LE) && e->arg[0]->kind == A_NAME;
  return bounded && !frame_find(fr, e->arg[0]->name) && (!name || name == e->arg[0]->name) ? e : NULL;
}

static bool left_bound(Env *v, const AExpr *e, Bound *b) {
  Expr *end = extent_expr(v->fr, e->arg[1], E_extent_from_data);
  if (!end) return false;
  b->extent = upper_end(v->fr->s, end, e->op == AO_LE, e->at);
  return b->given = true;
}

// The bound that the left side gives an index, if it does.
static bool bound_on_the_left(Env *v, const AStmt *st, Bound *b) {
  for (int k = 0; k < st->nsubs; k++) {
    const AExpr *e = left_index(v->fr, &st->sub[k], b->name);
    if (e) return left_bound(v, e, b);
  }
  return true;
}

static bool bind_unbound(Env *v, const AStmt *st, int *n, Bound **bound) {
  Unbound u = {.fr = v->fr};
  for (int k = 0; k < st->nsubs; k++) {
    const AExpr *e = left_index(v->fr, &st->sub[k], NULL);
    if (st->sub[k].kind == SUB_EXPR) find_unbound(&u, e ? e->arg[0] : st->sub[k].e, NULL);
  }
  find_unbound(&u, st->e, NULL);
  find_unbound(&u, st->cond, NULL);
  for (int i = 0; i < u.n; i++) {
    if (*n == LIMIT_RANK) return sema_error(v->fr, E_limit_rank, u.at[i], "more than %d indices", LIMIT_RANK), false;
    if (!bind_index(v, u.name[i], u.at[i], &bound[*n]) || !bound_on_the_left(v, st, bound[*n])) return false;
    (*n)++;
  }
  return true;
}

// The tensor stored to; NULL after an error.
static Binding *target(Frame *fr, const AStmt *st) {
  Env v = {.fr = fr};
  Binding *b = frame_find(fr, st->name);
  if (!b) return sema_unknown(&v, st->name, st->name_at), NULL;
  if (b->kind == BIND_POISON) return NULL;
  if (b->kind == BIND_MUT) return b;
  sema_error(fr, E_update_not_mut, st->name_at, "`%s` is not `mut`", st->name);
  diag_label(fr->s->d, b->at, b->param ? "parameter `%s`" : "`%s` is defined here", st->name);
  if (b->param && b->rank) diag_help(fr->s->d, "mark it: `mut %s`", st->name);
  else diag_help(fr->s->d, "an equation defines its tensor: `%s[…] = …`", st->name);
  return NULL;
}

typedef struct Store { int n; Expr *sub[LIMIT_RANK]; Span at[LIMIT_RANK]; } Store;

static bool store_one(Env *v, const ASub *sub, const Binding *b, Store *out) {
  int k = out->n++;
  out->at[k] = sub->at;
  const AExpr *bounded = left_index(v->fr, sub, NULL), *e = bounded ? bounded->arg[0] : sub->e;
  const Bound *ix = e->kind == A_NAME ? env_index(v, e->name) : NULL;
  if (ix) {
    out->sub[k] = expr_index(v->fr->s->x, ix->ix);
    use_index(v, ix->ix, b->extent[k], b->cell->cur, k, b->name, sub->at);
    return true;
  }
  Env in = *v;
  in.in_sub = true;
  out->sub[k] = expr_scalar_int(&in, sub->e, "the subscript", NULL);
  return out->sub[k] != NULL;
}

static bool store_subscripts(Env *v, const AStmt *st, const Binding *b, Store *out) {
  Sema *s = v->fr->s;
  bool ok = true;
  int dots = st->nsubs && st->sub[0].kind == SUB_DOTS, total = st->nsubs - dots + (dots ? v->fr->ndots : 0);
  *out = (Store){0};
  if (total != b->rank) {
    sema_error(v->fr, E_rank_mismatch, st->name_at, "`%s` has %d dimension%s but %d subscript%s here", b->name, b->rank,
               b->rank == 1 ? "" : "s",
               total, total == 1 ? "" : "s");
    diag_label(s->d, b->at, "shape %s", shape_text(s, b->rank, b->extent));
    return false;
  }
  for (int k = 0; dots && k < v->fr->ndots; k++) {
    out->at[out->n] = st->sub[0].at;
    out->sub[out->n++] = expr_index(s->x, v->dots->ix[k]);
  }
  for (int k = dots; k < st->nsubs; k++) {
    if (st->sub[k].kind != SUB_EXPR)
      ok = (sema_error(v->fr, E_index_form, st->sub[k].at, "a store takes expressions as subscripts"), false);
    else ok = store_one(v, &st->sub[k], b, out) && ok;
  }
  return ok;
}

// The extents of the update's indices: from the right side, else from the subscripts on the left.
static bool update_extents(Env *v, Env *left, int n, Bound **bound) {
  bool ok = true;
  for (int i = 0; i < n; i++) {
    if (bound[i]->extent) continue;
    bool right = index_has_use(v->fr->s, bound[i]->ix, v->uses);
    ok = infer_extent(v, bound[i], right ? v->uses : left->uses) && ok;
    bound[i]->given = true;
  }
  return ok;
}

static bool stores_index(const Store *store, const Index *ix) {
  for (int k = 0; k < store->n; k++)
    if (expr_uses_index(store->sub[k], ix)) return true;
  return false;
}

// An index that no subscript on the left has stores to one element for each of its values.
static bool stores_once(Env *v, const AStmt *st, const Store *store, int n, Bound **bound, Expr *cond) {
  Sema *s = v->fr->s;
  int64_t extent;
  for (int i = 0; i < n && !cond; i++) {
    if (stores_index(store, bound[i]->ix)) continue;
    if (extent_const(bound[i]->extent, &extent) && extent <= 1) continue;
    sema_error(v->fr, E_update_twice, st->at, "each value of index `%s` stores to the same element",
               bound[i]->name ? bound[i]->name : "..");
    diag_label(s->d, bound[i]->at, "index `%s`, 0 to %s - 1", bound[i]->name ? bound[i]->name : "..",
               expr_text(s, bound[i]->extent));
    diag_help(s->d, "subscript `%s` with it, reduce over it on the right side, or choose one value with a filter", st->name);
    return false;
  }
  return true;
}

static bool format_rows(Env *v, const Binding *b, const Store *store, int n, Bound **bound, Expr *cond) {
  Sema *s = v->fr->s;
  const Tensor *t = b->cell->cur;
  if (!t->fmt) return true;
  const Expr *last = store->sub[store->n - 1];
  bool ok = last->op == OP_INDEX;
  for (int i = 0; ok && i < n; i++)
    if (bound[i]->ix == last->u.ix) ok = extents_agree(s, bound[i]->extent, b->extent[b->rank - 1]) == AGREE_YES;
  for (int k = 0; ok && k < store->n - 1; k++) ok = !expr_uses_index(store->sub[k], last->u.ix);
  if (ok && cond) ok = !expr_uses_index(cond, last->u.ix);
  if (ok) return true;
  sema_error(v->fr, E_format_update, store->at[store->n - 1], "an update of a tensor in format `%s` stores whole rows",
             t->fmt->name);
  diag_label(s->d, b->at, "`%s` has shape %s", b->name, shape_text(s, b->rank, b->extent));
  diag_help(s->d,
            "the last subscript is an index over the whole last dimension, which stands nowhere else on the left nor in the filter");
  return false;
}

static void new_version(Frame *fr, const AStmt *st, Binding *b, const Store *store, int n, Bound **bound, Expr *body,
                        Expr *cond) {
  Sema *s = fr->s;
  Index *ix[LIMIT_RANK];
  Tensor *base = b->cell->cur;
  Tensor *t = named_tensor(s, b->cell->root->name, ROLE_VERSION, base->dtype, base->fmt, base->rank, base->extent, st->name_at);
  t->root = b->cell->root;
  for (int i = 0; i < n; i++) ix[i] = bound[i]->ix;
  Eqn *q = add_equation(fr, t, n, ix, body, st->at);
  if (!q) return;
  for (int i = 0; i < n; i++) q->extent[i] = bound[i]->extent;
  q->base = base;
  q->nstore = store->n;
  for (int k = 0; k < store->n; k++) q->store[k] = store->sub[k];
  q->cond = cond;
  b->cell->cur = t;
}

void update(Frame *fr, const AStmt *st) {
  Sema *s = fr->s;
  Env v = {.fr = fr, .uses = uses_new(s), .hint = full_name(fr, st->name)};
  Bound *bound[LIMIT_RANK];
  int n = 0;
  Store store;
  Binding *b = target(fr, st);
  if (!b || (st->nsubs && st->sub[0].kind == SUB_DOTS && !index_dots(&v, st->sub[0].at, bound, &n))) return;
  if (!bind_unbound(&v, st, &n, bound)) return;
  Expr *cond = st->cond ? expr_condition(&v, st->cond, NULL) : NULL;
  Env right = v, left = v;
  right.certain = !cond && !fr->caller;
  if (cond) {
    Guard *g = arena_new(s->a, Guard);
    *g = (Guard){cond, NULL};
    right.guard = left.guard = g;
  }
  left.uses = uses_new(s);
  Val val = expr(&right, st->e);
  bool ok = store_subscripts(&left, st, b, &store);
  if (!val.e || !ok || (st->cond && !cond) || !update_extents(&v, &left, n, bound)) return;
  if (!stores_once(&v, st, &store, n, bound, cond) || !format_rows(&v, b, &store, n, bound, cond)) return;
  Expr *body = stored_body(fr, &val, b->cell->cur->dtype, st->e->at);
  if (body) new_version(fr, st, b, &store, n, bound, body, cond);
}
