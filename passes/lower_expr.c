// lower_expr.c: expressions to expressions that a kernel can print, and the statements that they need.
//
// A node becomes a LET when it is used more than once, or when a loop around it does not change it. It moves out only
// over loops, and out of guards only where evaluating it cannot fail (`hoistable`). Branches of `if` print as `?:` where nothing in
// them needs a statement, else as an IF that sets a variable; so what a guard protects is never evaluated without it.
// A subscript is proven from the ranges and guards around it, or checked once at the call when it depends on dimensions only,
// or checked where it is read.
#include "base/limits.h"
#include "ir/rewrite.h"
#include "passes/lower.h"
#include <assert.h>

bool lower_is_leaf(const Expr *e) {
  return e->op == OP_CONST || e->op == OP_DIM || e->op == OP_INDEX || e->op == OP_VAR;
}

static void see_data(void *cx, Expr *e) {
  bool argument = e->op == OP_READ && !e->u.t->rank && e->u.t->role == ROLE_PARAM;
  if (e->op == OP_VAR || e->op == OP_FIELD || (e->op == OP_READ && !argument)) *(bool *)cx = true;
}
bool lower_from_data(const Expr *e) {
  bool data = false;
  Arena *a = arena_create();
  expr_visit(a, (Expr *)e, see_data, &data);
  arena_destroy(a);
  return data;
}

static void see_more(void *cx, Expr *e) {
  if (e->op == OP_INDEX || e->op == OP_VAR || e->op == OP_FIELD || e->op == OP_READ) *(bool *)cx = true;
}
bool lower_dims_only(const Expr *e) {
  bool more = false;
  Arena *a = arena_create();
  expr_visit(a, (Expr *)e, see_more, &more);
  arena_destroy(a);
  return !more;
}

bool lower_too_big(Lower *l) {
  if (l->nstmts <= LOWER_MAX_STMTS) return false;
  if (!l->reported && l->p->d)
    diag_error(l->p->d, E_limit_kernel, l->f->at, "kernel `%s` would have more than %d statements", l->k->name, LOWER_MAX_STMTS);
  l->reported = true;
  return true;
}

// Asked for every pair of members at every level of loops: remembered per equation.
typedef struct ReadList { Arena *a; VEC(const Tensor *) t; } ReadList;

static void note_read(void *cx, Expr *e) {
  ReadList *r = cx;
  if (e->op != OP_READ || e->aux == READ_FAILS) return;
  for (int i = 0; i < r->t.n; i++) if (r->t.v[i] == e->u.t) return;
  vec_push(r->a, &r->t, e->u.t);
}

bool lower_reads(Lower *l, Eqn *q, const Tensor *t) {
  ReadList *r = map_getp(&l->reads, q);
  if (!r) {
    r = arena_new(l->p->scratch, ReadList);
    r->a = l->p->scratch;
    eqn_visit(l->p->scratch, q, note_read, r);
    map_putp(&l->reads, q, r);
  }
  for (int i = 0; i < r->t.n; i++) if (r->t.v[i] == t) return true;
  return false;
}

// ---- sites and checks --------------------------------------------------------------------------

Site *lower_site(Lower *l, Code code, Span at, const Eqn *q, const Tensor *t, int axis, Expr *extent) {
  Site *s = arena_new(l->p->a, Site);
  *s = (Site){ .id = l->plan->sites.n + 1, .code = code, .at = at, .axis = axis, .extent = extent };
  s->equation = q ? q->def->root->name : NULL;
  s->tensor = t ? t->root->name : NULL;
  vec_push(l->p->a, &l->plan->sites, s);
  return s;
}

// Of subscript d of a read, which the message shows.
static Site *read_site(Lower *l, Code code, const Eqn *q, const Expr *read, int d) {
  Site *s = lower_site(l, code, read->at, q, read->u.t, d, read->u.t->extent[d]);
  s->e = read;
  return s;
}

Stmt *lower_if_open(Lower *l, Expr *lowered, Expr *fact) {
  Stmt *s = stmt_new(l->p->a, ST_IF);
  s->a = lowered;
  ranges_push(l->facts);
  if (fact) ranges_assume(l->facts, fact, true);
  scope_open(l, NULL, true);
  return s;
}

void lower_if_close(Lower *l, Stmt *s) {
  s->body = scope_close(l);
  ranges_pop(l->facts);
  lower_emit(l, s);
}

// `wanted`: when it is reported; NULL: always.
static void emit_fault(Lower *l, Site *site, Expr *value, Expr *wanted) {
  Stmt *s = stmt_new(l->p->a, ST_FAULT);
  s->site = site;
  s->a = value;
  s->at = site->at;
  if (!wanted) { lower_emit(l, s); return; }
  Stmt *when = stmt_new(l->p->a, ST_IF);
  when->a = wanted;
  when->body = s;
  lower_emit(l, when);
}

void lower_fault_unless(Lower *l, Expr *cond, Site *site, Expr *value, Expr *wanted) {
  Stmt *s = stmt_new(l->p->a, ST_IF);
  s->a = expr_op1(l->x, OP_NOT, cond, site->at);
  if (wanted && expr_is_false(wanted)) return;
  scope_open(l, NULL, true);
  emit_fault(l, site, value, wanted);
  s->body = scope_close(l);
  lower_emit(l, s);
}

static Expr *in_range(Lower *l, Expr *sub, Expr *extent, Span at) {
  Expr *zero = expr_int(l->x, DT_I64, 0, at);
  return expr_op2(l->x, OP_AND, expr_op2(l->x, OP_GE, sub, zero, at), expr_op2(l->x, OP_LT, sub, extent, at), at);
}

static Expr *conjunction(Lower *l, Expr *a, Expr *b) { return !a ? b : !b ? a : expr_op2(l->x, OP_AND, a, b, b->at); }

// A variable for an i64 expression that is named several times in a check.
Expr *lower_named(Lower *l, Expr *e, const char *hint) {
  if (lower_is_leaf(e)) return e;
  Var *v = lower_var(l, hint, (Dtype)e->dtype);
  lower_decl(l, ST_LET, v, e);
  return expr_var(l->x, v);
}

static bool checked_at_call(Lower *l, const Eqn *q, Expr *read, int d);

Expr *lower_check_store(Lower *l, Eqn *q, Expr *const *sub) {
  const Tensor *t = q->def;
  Expr *all = NULL;
  Expr *as_read = expr_read(l->x, q->base, t->rank, sub, NULL, q->at);
  for (int d = 0; d < t->rank; d++) {
    if (t->fmt && d == t->rank - 1) continue;       // whole blocks over the whole last dimension
    if (safe_subscript(l->facts, l->x, as_read, d) || checked_at_call(l, q, as_read, d)) continue;
    Expr *s = lower_named(l, lower_expr(l, sub[d]), "at");
    Expr *ok = in_range(l, s, t->extent[d], q->at);
    lower_fault_unless(l, ok, lower_site(l, E_data_subscript, q->at, q, t, d, t->extent[d]), s, lower_wanted(l, 1, &q));
    all = conjunction(l, all, ok);
  }
  return all;
}

Expr *lower_range_limit(Lower *l, const Eqn *q, Expr *lo, Expr *hi, Expr *wanted) {
  hi = lower_named(l, hi, "to");
  Site *site = lower_site(l, E_data_range, q->body->at, q, NULL, -1, NULL);
  if (expr_is_int(lo, 0)) {
    Expr *ok = lower_named(l, expr_op2(l->x, OP_LE, hi, expr_int(l->x, DT_I64, LIMIT_RANGE, q->at), q->at), "is");
    lower_fault_unless(l, ok, site, hi, wanted);
    return lower_named(l, expr_select(l->x, ok, hi, lo, q->at), "end");
  }
  lo = lower_named(l, lo, "from");
  // hi - lo as an unsigned difference is exact even where the signed one would wrap.
  Expr *len = expr_op2(l->x, OP_SUB, expr_cast(l->x, DT_U64, hi, q->at), expr_cast(l->x, DT_U64, lo, q->at), q->at);
  Expr *fits = expr_op2(l->x, OP_LE, len, expr_int(l->x, DT_U64, LIMIT_RANGE, q->at), q->at);
  Expr *ok = lower_named(l, expr_op2(l->x, OP_OR, expr_op2(l->x, OP_LE, hi, lo, q->at), fits, q->at), "is");
  lower_fault_unless(l, ok, site, hi, wanted);
  return lower_named(l, expr_select(l->x, ok, hi, lo, q->at), "end");
}

bool lower_nonempty(Lower *l, Expr *reduce) {
  if (!expr_is_true(reduce_cond(reduce))) return false;
  for (int k = 0; k < reduce->u.bind->n; k++) {
    Expr *one = expr_int(l->x, DT_I64, 1, reduce->at);
    Expr *len = expr_op2(l->x, OP_SUB, reduce_hi(reduce, k), reduce_lo(reduce, k), reduce->at);
    if (!range_prove_ge0(l->facts, l->x, expr_op2(l->x, OP_SUB, len, one, reduce->at))) return false;
  }
  return true;
}

// ---- where an expression can be computed -------------------------------------------------------

bool lower_is_member(const Lower *l, const Tensor *t) { return map_getp(&l->state, t) != NULL; }

static const Member_state *open_value(Lower *l, const Expr *read) {
  const Member_state *st = map_getp(&l->state, read->u.t);
  if (!st || !st->value) return NULL;
  bool open = false;
  for (Scope *s = l->scope; s; s = s->up) open |= s == st->scope;
  for (int k = 0; k < st->n && open; k++) open = read->arg[k] == st->sub[k];
  return open ? st : NULL;
}

// In range whatever stands around it: each subscript is a loop's index whose loop runs over exactly that extent.
static bool plainly_safe(Lower *l, Expr *e) {
  if (e->aux != READ_PLAIN || e->u.t->fmt) return false;
  for (int d = 0; d < e->u.t->rank; d++) {
    Expr *s = e->arg[d];
    if (s->op != OP_INDEX || !ranges_is_full(l->facts, s->u.ix, e->u.t->extent[d])) return false;
  }
  return true;
}

enum { PINNED = 1 << 20 };      // only where it stands

static int depth_at(Lower *l, Expr *e, bool *stable);

static int depth_of_name(Lower *l, const void *name) {
  Scope *s = map_getp(&l->index_scope, name);
  return s ? s->depth : PINNED;
}

static int depth_fresh(Lower *l, Expr *e, bool *stable) {
  if (e->op == OP_INDEX) return depth_of_name(l, e->u.ix);
  if (e->op == OP_VAR) return depth_of_name(l, e->u.var);
  if (e->op == OP_REDUCE) return PINNED;
  int d = 0;
  if (e->op == OP_READ && (!plainly_safe(l, e) || e->u.t->id >= l->ntensors)) return PINNED;
  if (e->op == OP_READ && lower_is_member(l, e->u.t)) {
    *stable = false;                        // depends on which loops are open
    const Member_state *st = open_value(l, e);
    if (!st) return PINNED;
    d = st->scope->depth;
  }
  for (uint32_t k = 0; k < e->nargs; k++) {
    int a = depth_at(l, e->arg[k], stable);
    if (a > d) d = a;
  }
  return d;
}

static int depth_at(Lower *l, Expr *e, bool *stable) {
  if (e->op == OP_CONST || e->op == OP_DIM) return 0;
  uint64_t key = (uint64_t)e->id + 1;
  uintptr_t seen = (uintptr_t)map_get(&l->depths, key);
  if (seen) return (int)seen - 1;
  seen = (uintptr_t)map_get(&l->depths_now, key);      // true while the same values are open
  if (seen && seen >> 32 == l->epoch) { *stable = false; return (int)(seen & 0xffffffffu) - 1; }
  bool mine = true;
  int d = depth_fresh(l, e, &mine);
  if (mine) map_put(&l->depths, key, (void *)(uintptr_t)(d + 1));
  else map_put(&l->depths_now, key, (void *)((uintptr_t)l->epoch << 32 | (uintptr_t)(d + 1)));
  *stable &= mine;
  return d;
}

// Depth of the outermost block in which e can be evaluated: where its indices and variables are known and it cannot fail,
// whatever guards stand around it here. PINNED: only here.
static int depth_of(Lower *l, Expr *e) {
  bool stable = true;
  return depth_at(l, e, &stable);
}

// The block outside all loops that do not change a value of this depth. Blocks between grid loops take nothing: the
// loops collapse into one only while they stand perfectly nested.
static Scope *scope_at(Lower *l, int depth) {
  if (depth > 0 && depth < l->grid_depth) depth = l->grid_depth;
  Scope *s = l->scope;
  while (s->up && s->depth > depth) s = s->up;
  return s;
}

// Does a loop lie between here and that block? Moving out of a guard alone gains nothing.
static bool crosses_loop(Lower *l, const Scope *to) {
  for (const Scope *s = l->scope; s != to && s; s = s->up) if (s->ix) return true;
  return false;
}

static Expr *memo_find(Lower *l, const Expr *e) {
  for (Scope *s = l->scope; s; s = s->up) {
    Expr *r = map_get(&s->memo, (uint64_t)e->id + 1);
    if (r) return r;
  }
  return NULL;
}

static void add_use(Lower *l, const Expr *e) {
  uint64_t key = (uint64_t)e->id + 1;
  map_put(&l->uses, key, (void *)((uintptr_t)map_get(&l->uses, key) + 1));
}

static void count_args(Lower *l, Expr *e) {
  if (!e->nargs || map_get(&l->counted, (uint64_t)e->id + 1)) return;
  map_put(&l->counted, (uint64_t)e->id + 1, e);
  for (uint32_t k = 0; k < e->nargs; k++) {
    add_use(l, e->arg[k]);
    count_args(l, e->arg[k]);
  }
}

void lower_count(Lower *l, Expr *root) {
  add_use(l, root);
  count_args(l, root);
}

static bool index_arithmetic(const Expr *e) {
  return e->dtype == DT_I64 && (e->op == OP_ADD || e->op == OP_SUB || e->op == OP_MUL || e->op == OP_NEG);
}

static const char *let_name(const Expr *e) {
  return e->op == OP_READ ? e->u.t->root->name : e->dtype == DT_BOOL ? "is" : e->dtype == DT_I64 ? "n" : "t";
}

// The lowered form r of e, in a LET where that pays.
static Expr *settle(Lower *l, Expr *e, Expr *r) {
  if (lower_is_leaf(r)) {
    if (r->op == OP_VAR) map_put(&l->scope->memo, (uint64_t)e->id + 1, r);
    return r;
  }
  bool often = (uintptr_t)map_get(&l->uses, (uint64_t)e->id + 1) > 1;
  if (e->op == OP_READ && !e->u.t->rank && e->u.t->role == ROLE_PARAM) return r;     // an argument of the kernel
  bool cheap = index_arithmetic(e) || e->op == OP_CAST;
  int depth = depth_of(l, e);
  bool moves = !cheap && depth != PINNED && depth < l->scope->depth && crosses_loop(l, scope_at(l, depth));
  if (!(often && !index_arithmetic(e)) && !moves) return r;
  bool can = depth != PINNED;
  if (l->inline_guard && !can) return r;
  if (!can && !often) return r;
  Scope *here = l->scope;
  if (can) l->scope = scope_at(l, depth);     // always: what uses it may move as far
  Var *v = lower_var(l, let_name(e), (Dtype)r->dtype);
  lower_decl(l, ST_LET, v, r);
  Expr *var = expr_var(l->x, v);
  map_put(&l->scope->memo, (uint64_t)e->id + 1, var);
  l->scope = here;
  return var;
}

// ---- reads -------------------------------------------------------------------------------------

static bool independent_loops(Lower *l, Expr *e) {
  for (Scope *s = l->scope; s; s = s->up) {
    if (s->guard) return false;
    if (s->ix && !ranges_is_box(l->facts, s->ix)) return false;
  }
  return !lower_from_data(e);
}

static void add_condition(Lower *l, Expr *cond, Site *site) {
  for (int i = 0; i < l->plan->conds.n; i++) if (l->plan->conds.v[i].e == cond) return;
  vec_push(l->p->a, &l->plan->conds, (Where){ .e = cond, .at = site->at });
  vec_push(l->p->a, &l->plan->cond_sites, site);
}

enum { MAX_COEFFICIENT = 1 << 20 };     // times LIMIT_EXTENT and a few of those: far from 2^63

// The ends of an affine subscript over the loops here, also where a scalar argument in it may be any 64-bit number: with both
// ends inside an extent nothing between them has wrapped, since the distance of the ends is below 2^62.
static bool box_extremes(Lower *l, Expr *s, Expr **lo, Expr **hi) {
  Index *ix[8];
  Expr *coef[8], *rest, *from, *to, *one = expr_int(l->x, DT_I64, 1, s->at);
  int n = 0;
  for (Scope *c = l->scope; c; c = c->up)
    if (c->ix && expr_uses_index(s, c->ix)) {
      if (n == 8) return false;
      ix[n++] = c->ix;
    }
  if (!affine_split(l->x, s, n, ix, coef, &rest)) return false;
  *lo = *hi = rest;
  for (int k = 0; k < n; k++) {
    if (!expr_is_const(coef[k]) || coef[k]->u.v.i > MAX_COEFFICIENT || coef[k]->u.v.i < -MAX_COEFFICIENT) return false;
    if (!ranges_of(l->facts, ix[k], &from, &to) || !expr_is_int(from, 0)) return false;
    Expr *most = expr_op2(l->x, OP_SUB, to, one, s->at);
    if (coef[k]->u.v.i != 1) most = expr_op2(l->x, OP_MUL, coef[k], most, s->at);
    Expr **end = coef[k]->u.v.i > 0 ? hi : lo;
    *end = expr_op2(l->x, OP_ADD, *end, most, s->at);
  }
  return true;
}

// A subscript over dimensions and loops whose ranges depend on nothing else is checked once at the call, at its extremes.
static bool checked_at_call(Lower *l, const Eqn *q, Expr *read, int d) {
  Expr *s = read->arg[d];
  if (l->inline_guard || !independent_loops(l, s)) return false;
  Expr *lo, *hi;
  if (!range_extremes(l->facts, l->x, s, &lo, &hi) && !box_extremes(l, s, &lo, &hi)) return false;
  Expr *extent = read->u.t->extent[d], *ok = in_range(l, lo, extent, read->at);
  ok = conjunction(l, ok, in_range(l, hi, extent, read->at));
  for (Scope *c = l->scope; c; c = c->up) {
    Expr *from, *to;
    if (!c->ix || !ranges_of(l->facts, c->ix, &from, &to)) continue;
    ok = expr_op2(l->x, OP_OR, expr_op2(l->x, OP_LE, to, from, read->at), ok, read->at);
  }
  Expr *needed = lower_wanted_read(l, read);
  if (needed) ok = expr_op2(l->x, OP_OR, expr_op1(l->x, OP_NOT, needed, read->at), ok, read->at);
  add_condition(l, ok, read_site(l, E_call_bounds, q, read, d));
  return true;
}

static bool range_known(Lower *l, Expr *read, int d) { return read == l->granted || safe_subscript(l->facts, l->x, read, d); }

static const Eqn *current_equation(const Lower *l) { return l->current ? l->current : l->k->eqns.v[l->k->eqns.n - 1]; }

// The element at lowered subscripts that are in range.
static Expr *element(Lower *l, Expr *e, Expr *const *sub) {
  if (e->u.t->fmt) return lower_expr(l, lower_decode(l, e->u.t, sub, e->at));
  Expr *at;
  Tensor *local = lower_local(l, e->u.t, sub, &at);
  if (local) return expr_make(l->x, OP_READ, (Dtype)e->dtype, READ_PLAIN, local, e->at, 1, &at);
  Tensor *t = e->u.t->rank == e->u.t->root->rank ? e->u.t->root : e->u.t;        // a flat view stays one
  return expr_make(l->x, OP_READ, (Dtype)e->dtype, READ_PLAIN, t, e->at, t->rank, sub);
}

// A read that may fail: v = 0; if in range then v = element else fault.
static Expr *checked_element(Lower *l, Expr *e, Expr **sub, const bool *known) {
  const Eqn *q = current_equation(l);
  Expr *ok = NULL, *each[8] = {0};
  int unknown = 0;
  for (int d = 0; d < e->u.t->rank; d++) {
    if (known[d]) continue;
    unknown++;
    sub[d] = lower_named(l, sub[d], "at");
    each[d] = in_range(l, sub[d], e->u.t->extent[d], e->at);
    ok = conjunction(l, ok, each[d]);
  }
  Var *v = lower_var(l, e->u.t->root->name, (Dtype)e->dtype);
  lower_decl(l, ST_VAR, v, expr_scalar(l->x, (Dtype)e->dtype, (Scalar){0}, e->at));
  Stmt *s = lower_if_open(l, ok, NULL);
  Stmt *set = stmt_new(l->p->a, ST_SET);
  set->var = v;
  set->a = element(l, e, sub);
  lower_emit(l, set);
  s->body = scope_close(l);
  ranges_pop(l->facts);
  scope_open(l, NULL, true);
  Expr *wanted = lower_wanted_read(l, e);
  for (int d = 0; d < e->u.t->rank; d++) {
    if (!each[d]) continue;
    Site *site = read_site(l, E_data_subscript, q, e, d);
    if (unknown == 1) emit_fault(l, site, sub[d], wanted);       // it is this one
    else lower_fault_unless(l, each[d], site, sub[d], wanted);
  }
  s->els = scope_close(l);
  lower_emit(l, s);
  return expr_var(l->x, v);
}

// The block in which all unproven subscripts are known, when only loops with bounds known there lie between it and here.
static Scope *check_scope(Lower *l, Expr *e, const bool *known) {
  int depth = 0;
  for (int d = 0; d < e->u.t->rank; d++) {
    int own = known[d] ? 0 : depth_of(l, e->arg[d]);
    if (own > depth) depth = own;
  }
  if (depth == PINNED || l->inline_guard) return NULL;
  Scope *to = scope_at(l, depth);
  for (Scope *s = l->scope; s != to; s = s->up) {
    Expr *lo, *hi;
    if (s->guard || !ranges_of(l->facts, s->ix, &lo, &hi)) return NULL;
    if (depth_of(l, lo) > to->depth || depth_of(l, hi) > to->depth) return NULL;
  }
  return to == l->scope ? NULL : to;
}

// No step of the loops between `to` and here is taken.
static Expr *no_steps(Lower *l, const Scope *to) {
  Expr *none = NULL;
  for (Scope *s = l->scope; s != to; s = s->up) {
    Expr *lo, *hi, *one = expr_int(l->x, DT_I64, 1, NO_SPAN);
    ranges_of(l->facts, s->ix, &lo, &hi);
    if (expr_is_const(lo) && expr_is_const(hi) && hi->u.v.i - lo->u.v.i >= one->u.v.i) continue;
    Expr *empty = expr_op2(l->x, OP_LE, hi, lo, NO_SPAN);
    none = none ? expr_op2(l->x, OP_OR, none, empty, NO_SPAN) : empty;
  }
  return none;
}

// A check that does not change in the loops around it stands before them: `t[id[n], j]` checks id[n] once a row, and the loop over j is
// free of branches. When the loops take no step nothing is read, so nothing is reported.
static Expr *check_before_loops(Lower *l, Expr *e, Expr **sub, const bool *known, Scope *to) {
  const Eqn *q = current_equation(l);
  Expr *all = NULL, *none = no_steps(l, to), *wanted = lower_wanted_read(l, e);
  Scope *here = l->scope;
  l->scope = to;
  for (int d = 0; d < e->u.t->rank; d++) {
    if (known[d]) continue;
    sub[d] = lower_named(l, lower_expr(l, e->arg[d]), "at");
    Expr *ok = in_range(l, sub[d], e->u.t->extent[d], e->at);
    Expr *pass = none ? expr_op2(l->x, OP_OR, ok, none, e->at) : ok;
    lower_fault_unless(l, pass, read_site(l, E_data_subscript, q, e, d), sub[d], wanted);
    all = conjunction(l, all, ok);
  }
  all = lower_named(l, all, "ok");
  l->scope = here;
  Expr *v = element(l, e, sub);
  return expr_select(l->x, all, v, expr_scalar(l->x, (Dtype)e->dtype, (Scalar){0}, e->at), e->at);
}

static Expr *failing_read(Lower *l, Expr *e) {
  const Eqn *q = current_equation(l);
  for (int d = 0; d < e->u.t->rank; d++) {
    if (range_known(l, e, d)) continue;
    Expr *s = lower_named(l, lower_expr(l, e->arg[d]), "at");
    lower_fault_unless(l, in_range(l, s, e->u.t->extent[d], e->at), read_site(l, E_data_subscript, q, e, d), s, lower_wanted_read(l, e));
  }
  return expr_scalar(l->x, (Dtype)e->dtype, (Scalar){0}, e->at);
}

static Expr *lower_lazy_parts(Lower *l, Op op, Expr *cond, Expr *fact, Expr *a, Expr *b, Span at);

static Expr *read_with_default(Lower *l, Expr *e, const bool *known) {
  Expr *cond = NULL;
  for (int d = 0; d < e->u.t->rank; d++)
    if (!known[d]) cond = conjunction(l, cond, in_range(l, e->arg[d], e->u.t->extent[d], e->at));
  Expr *plain = expr_make(l->x, OP_READ, (Dtype)e->dtype, READ_PLAIN, e->u.t, e->at, e->u.t->rank, e->arg), *fact = cond;
  if (!cond) return lower_expr(l, plain);
  // Under its own condition it is in range, also where so much else is known that the proof would be given up.
  const Expr *outer = l->granted;
  cond = lower_expr(l, cond);
  l->granted = plain;
  Expr *r = lower_lazy_parts(l, OP_SELECT, cond, fact, plain, read_default(e), e->at);
  l->granted = outer;
  return r;
}

static Expr *lower_read(Lower *l, Expr *e) {
  const Member_state *st = open_value(l, e);
  if (st && e->aux != READ_FAILS) return st->value;
  if (e->aux == READ_FAILS) return failing_read(l, e);
  bool known[8] = {0}, all = true;
  for (int d = 0; d < e->u.t->rank; d++) {
    known[d] = range_known(l, e, d);
    if (!known[d] && e->aux == READ_PLAIN) known[d] = checked_at_call(l, current_equation(l), e, d);
    all &= known[d];
  }
  if (e->aux == READ_DEFAULT) return read_with_default(l, e, known);
  Expr *sub[8];
  for (int d = 0; d < e->u.t->rank; d++) sub[d] = lower_expr(l, e->arg[d]);
  if (all) return element(l, e, sub);
  assert(!l->inline_guard && "a check needs a statement; needs_statements missed it");
  Scope *before = e->u.t->fmt ? NULL : check_scope(l, e, known);
  return before ? check_before_loops(l, e, sub, known, before) : checked_element(l, e, sub, known);
}

// ---- lazy operations ---------------------------------------------------------------------------

typedef struct Need { Lower *l; Map done; int budget; bool needs; } Need;

static void look_for_need(Need *n, Expr *e);

static void look_under(Need *n, Expr *cond, bool truth, Expr *e) {
  Map outside = n->done;
  n->done = map_make(n->l->p->scratch);
  ranges_push(n->l->facts);
  ranges_assume(n->l->facts, cond, truth);
  look_for_need(n, e);
  ranges_pop(n->l->facts);
  n->done = outside;
}

static bool read_needs(Lower *l, Expr *e) {
  if (e->aux == READ_FAILS) return true;
  if (open_value(l, e)) return false;
  if (e->u.t->fmt) return true;       // decoding names many values twice
  for (int d = 0; d < e->u.t->rank; d++)
    if (e->aux == READ_PLAIN && !range_known(l, e, d)) return true;
  return false;
}

static void look_for_need(Need *n, Expr *e) {
  if (n->needs || lower_is_leaf(e) || memo_find(n->l, e) || map_get(&n->done, (uint64_t)e->id + 1)) return;
  map_put(&n->done, (uint64_t)e->id + 1, e);
  if (--n->budget < 0 || e->op == OP_REDUCE || (e->op == OP_READ && read_needs(n->l, e))) { n->needs = true; return; }
  bool lazy = e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
  for (uint32_t k = 0; k < e->nargs; k++) {
    if (lazy && k > 0) look_under(n, e->arg[0], e->op == OP_OR ? false : k == 1, e->arg[k]);
    else look_for_need(n, e->arg[k]);
  }
}

static int tree_size(Map *memo, Expr *e) {
  int seen = (int)(uintptr_t)map_get(memo, (uint64_t)e->id + 1);
  if (seen) return seen;
  int n = 1;
  for (uint32_t k = 0; k < e->nargs && n < LOWER_MAX_TREE; k++) n += tree_size(memo, e->arg[k]);
  if (n > LOWER_MAX_TREE) n = LOWER_MAX_TREE;
  map_put(memo, (uint64_t)e->id + 1, (void *)(uintptr_t)n);
  return n;
}

// What needs no proof, and spares the others'.
static bool surely_needs(Lower *l, Map *done, Expr *e) {
  if (lower_is_leaf(e) || memo_find(l, e) || !map_add(done, (uint64_t)e->id + 1)) return false;
  if (e->op == OP_REDUCE || (e->op == OP_READ && e->aux == READ_FAILS)) return true;
  for (uint32_t k = 0; k < e->nargs; k++) if (surely_needs(l, done, e->arg[k])) return true;
  return false;
}

static bool needs_statements(Lower *l, Expr *e) {
  Need n = { .l = l, .done = map_make(l->p->scratch), .budget = 4 * LOWER_MAX_TREE };
  Map done = map_make(l->p->scratch), memo = map_make(l->p->scratch);
  if (tree_size(&memo, e) >= LOWER_MAX_TREE || surely_needs(l, &done, e)) return true;
  look_for_need(&n, e);
  return n.needs;
}

static bool needs_under(Lower *l, Expr *fact, bool truth, Expr *e) {
  ranges_push(l->facts);
  ranges_assume(l->facts, fact, truth);
  bool needs = needs_statements(l, e);
  ranges_pop(l->facts);
  return needs;
}

bool lower_harmless(Lower *l, Expr *e) { return !needs_statements(l, e); }

static Expr *inline_branch(Lower *l, Expr *fact, bool truth, Expr *e) {
  ranges_push(l->facts);
  ranges_assume(l->facts, fact, truth);
  l->inline_guard++;
  Expr *r = lower_expr(l, e);
  l->inline_guard--;
  ranges_pop(l->facts);
  return r;
}

static Stmt *branch_block(Lower *l, Var *v, Expr *fact, bool truth, Expr *e) {
  ranges_push(l->facts);
  ranges_assume(l->facts, fact, truth);
  scope_open(l, NULL, true);
  Stmt *set = stmt_new(l->p->a, ST_SET);
  set->var = v;
  set->a = lower_expr(l, e);
  lower_emit(l, set);
  ranges_pop(l->facts);
  return scope_close(l);
}

// cond is lowered, fact is the same before lowering. AND and OR come as selects with a constant side.
static Expr *lower_lazy_parts(Lower *l, Op op, Expr *cond, Expr *fact, Expr *a, Expr *b, Span at) {
  bool statements = !l->inline_guard && (needs_under(l, fact, true, a) || needs_under(l, fact, false, b));
  if (!statements) {
    if (op == OP_AND) {
      Expr *r = inline_branch(l, fact, true, a);
      return expr_is_true(r) ? cond : expr_is_false(r) ? r : expr_op2(l->x, OP_AND, cond, r, at);
    }
    if (op == OP_OR) {
      Expr *r = inline_branch(l, fact, false, b);
      return expr_is_false(r) ? cond : expr_is_true(r) ? r : expr_op2(l->x, OP_OR, cond, r, at);
    }
    Expr *x = inline_branch(l, fact, true, a);
    return expr_select(l->x, cond, x, inline_branch(l, fact, false, b), at);
  }
  Var *v = lower_var(l, "v", (Dtype)a->dtype);
  lower_decl(l, ST_VAR, v, expr_scalar(l->x, (Dtype)a->dtype, (Scalar){0}, at));
  Stmt *s = stmt_new(l->p->a, ST_IF);
  s->a = cond;
  s->body = branch_block(l, v, fact, true, a);
  s->els = branch_block(l, v, fact, false, b);
  lower_emit(l, s);
  return expr_var(l->x, v);
}

static Expr *lower_lazy(Lower *l, Expr *e) {
  Expr *cond = lower_expr(l, e->arg[0]);
  if (expr_is_true(cond)) return e->op == OP_OR ? cond : lower_expr(l, e->arg[1]);
  if (expr_is_false(cond)) return e->op == OP_AND ? cond : lower_expr(l, e->arg[e->op == OP_SELECT ? 2 : 1]);
  if (e->op == OP_SELECT) return lower_lazy_parts(l, OP_SELECT, cond, e->arg[0], e->arg[1], e->arg[2], e->at);
  Expr *yes = expr_bool(l->x, true, e->at), *no = expr_bool(l->x, false, e->at);
  if (e->op == OP_AND) return lower_lazy_parts(l, OP_AND, cond, e->arg[0], e->arg[1], no, e->at);
  return lower_lazy_parts(l, OP_OR, cond, e->arg[0], yes, e->arg[1], e->at);
}

// ---- reductions inside expressions -------------------------------------------------------------

static Expr *lower_reduction(Lower *l, Expr *e) {
  Binder *b = e->u.bind;
  const Eqn *q = current_equation(l);
  assert(!l->inline_guard && "a reduction needs statements");
  Var *v2, *v = lower_accumulator(l, b->reducer, "r", (Dtype)reduce_term(e)->dtype, (Dtype)e->dtype, &v2, e->at);
  Index *ix[8];
  Expr *to[8];
  Stmt *loop[8];
  for (int k = 0; k < b->n; k++) {
    Expr *lo0 = expr_subst(l->x, reduce_lo(e, k), k, b->ix, to), *hi0 = expr_subst(l->x, reduce_hi(e, k), k, b->ix, to);
    Expr *lo = lower_expr(l, lo0), *hi = lower_expr(l, hi0);
    if (lower_from_data(lo0) || lower_from_data(hi0)) hi = lower_range_limit(l, q, lo, hi, lower_wanted_inside(l));
    ix[k] = index_new(l->x, b->ix[k]->name, b->ix[k]->at);
    to[k] = expr_index(l->x, ix[k]);
    loop[k] = loop_open(l, ix[k], lo, hi, HOW_SEQ);
    ranges_index(l->facts, ix[k], lo0, hi0);
  }
  Expr *cond = expr_subst(l->x, reduce_cond(e), b->n, b->ix, to), *term = expr_subst(l->x, reduce_term(e), b->n, b->ix, to);
  lower_count(l, term);
  lower_accumulate(l, b->reducer, v, v2, cond, term, ix[b->n - 1]);
  for (int k = b->n - 1; k >= 0; k--) loop_close(l, loop[k]);
  lower_fold_lanes(l, b->reducer, v, v2);
  return v2 ? lower_arg_value(l, v2, e, q, lower_wanted_inside(l)) : expr_var(l->x, v);
}

// ---- comparisons that the ranges decide --------------------------------------------------------

// a - b ≥ k wherever we are?
static bool at_least(Lower *l, Expr *a, Expr *b, int64_t k) {
  Expr *d = expr_op2(l->x, OP_SUB, a, b, a->at);
  if (k) d = expr_op2(l->x, OP_SUB, d, expr_int(l->x, DT_I64, k, a->at), a->at);
  return range_prove_ge0(l->facts, l->x, d);
}

// 1: true here, 0: false here, -1: not known.
static int decided(Lower *l, const Expr *e) {
  if (e->nargs != 2 || e->arg[0]->dtype != DT_I64 || lower_from_data(e)) return -1;
  Expr *a = e->arg[0], *b = e->arg[1];
  switch (e->op) {
  case OP_GE: return at_least(l, a, b, 0) ? 1 : at_least(l, b, a, 1) ? 0 : -1;
  case OP_GT: return at_least(l, a, b, 1) ? 1 : at_least(l, b, a, 0) ? 0 : -1;
  case OP_LE: return at_least(l, b, a, 0) ? 1 : at_least(l, a, b, 1) ? 0 : -1;
  case OP_LT: return at_least(l, b, a, 1) ? 1 : at_least(l, a, b, 0) ? 0 : -1;
  default: return -1;
  }
}

// ---- the walk ----------------------------------------------------------------------------------

static Expr *lower_args(Lower *l, Expr *e) {
  Expr *arg[16];
  assert(e->nargs <= 16 && "only reductions have more");
  for (uint32_t k = 0; k < e->nargs; k++) arg[k] = lower_expr(l, e->arg[k]);
  return expr_rebuild(l->x, e, arg);
}

// x ** 3 and x ** 4 as products, which is within a function's bound: where a square leaves the type's normal numbers, so does the
// power, on the same side. x ** 2 is a rule of `simplify`, since there no value changes.
static Expr *power(Lower *l, Expr *e) {
  double n = expr_is_const(e->arg[1]) ? e->arg[1]->u.v.f : 0;
  Expr *x = lower_expr(l, e->arg[0]);
  if ((n != 3 && n != 4) || (l->inline_guard && !lower_is_leaf(x))) return lower_args(l, e);
  x = lower_named(l, x, "t");
  Expr *square = expr_op2(l->x, OP_MUL, x, x, e->at);
  return expr_op2(l->x, OP_MUL, square, n == 3 ? x : square, e->at);
}

static Expr *lower_node(Lower *l, Expr *e) {
  int known = decided(l, e);
  if (known >= 0) return expr_bool(l->x, known, e->at);
  switch (e->op) {
  case OP_READ: return lower_read(l, e);
  case OP_REDUCE: return lower_reduction(l, e);
  case OP_SELECT: case OP_AND: case OP_OR: return lower_lazy(l, e);
  case OP_POW: return power(l, e);
  default: return lower_args(l, e);
  }
}

Expr *lower_expr(Lower *l, Expr *e) {
  if (lower_is_leaf(e)) return e;
  Expr *seen = memo_find(l, e);
  if (seen) return seen;
  if (lower_too_big(l)) return expr_scalar(l->x, (Dtype)e->dtype, (Scalar){0}, e->at);
  return settle(l, e, lower_node(l, e));
}
