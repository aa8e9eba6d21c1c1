// verify.c: the invariants of expr.h and fn.h, checked after every pass under --check-passes and in tests.
//
// The first thing found is described and ends the search.
#include "ir/fn.h"
#include "base/limits.h"
#include <assert.h>
#include <stdarg.h>
#include <string.h>

typedef struct Verify {
  const Fn *f;
  Buf *why;
  bool ok;
  Arena *a;             // of the call
  const Eqn *q;         // being checked, NULL in the head
  Map seen;             // expressions found good in this place
  bool *defined;        // by tensor id: its equation has been passed
  const Tensor **latest;   // by id of a MUT parameter: its newest version
} Verify;

static bool fail(Verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool fail(Verify *v, const char *fmt, ...) {
  if (!v->ok) return false;
  v->ok = false;
  va_list ap;
  va_start(ap, fmt);
  const char *text = arena_vprintf(v->a, fmt, ap);
  va_end(ap);
  if (v->why) buf_printf(v->why, "%s%s: %s", v->q ? "equation " : "", v->q ? v->q->def->name : v->f->name, text);
  return false;
}

static const char *type_name(const Expr *e) { return dtypes[e->dtype].name; }

static bool wants(Verify *v, const Expr *e, Dtype d, const char *what) {
  return e->dtype == d || fail(v, "%s is %s, not %s", what, type_name(e), dtypes[d].name);
}

// Expressions.

static bool in_fn(const Fn *f, const Tensor *t) {
  if (t->id >= 0 && t->id < f->tensors.n && f->tensors.v[t->id] == t) return true;
  for (int m = 0; m < f->formats.n; m++) {              // fields, and the tensors of `encode`
    const Format *fmt = f->formats.v[m];
    if (fmt->v == t) return true;
    for (int k = 0; k < fmt->nfields; k++)
      if (fmt->field[k].t == t) return true;
    for (int k = 0; k < fmt->nencode; k++)
      if (fmt->encode[k].def == t) return true;
  }
  return false;
}

// Is t, as read by the equation being checked, computed already? Tables and parameters are; equations of one recurrence see each other.
static bool check_visible(Verify *v, const Tensor *t) {
  const Eqn *q = v->q;
  if (!q) return true;
  if (t->role == ROLE_MUT || t->role == ROLE_VERSION)
    return v->latest[t->root->id] == t || fail(v, "reads %s, which is not the newest version of %s", t->name, t->root->name);
  if (t->role == ROLE_PARAM || t->role == ROLE_TABLE || v->defined[t->id]) return true;
  const Eqn *def = fn_def(v->f, t);
  if (!def) return fail(v, "reads %s, which has no equation", t->name);
  bool together = q->scc > 0 && def->scc == q->scc && q->recurrent;
  return together || fail(v, "reads %s before its equation", t->name);
}

static bool check_read(Verify *v, const Expr *e) {
  const Tensor *t = e->u.t;
  if (!in_fn(v->f, t)) return fail(v, "reads %s, which is not of this function", t->name);
  if (e->aux > 2 || (int)e->nargs != t->rank + (e->aux == 1)) return fail(v, "%s has %d dimensions and is read with %d arguments", t->name, t->rank, (int)e->nargs);
  if (e->aux && t->rank == 0) return fail(v, "the scalar %s is read as if it could fail", t->name);
  for (int k = 0; k < t->rank; k++)
    if (!wants(v, e->arg[k], DT_I64, "a subscript")) return false;
  if (e->dtype != dtype_wide(t->dtype)) return fail(v, "a read of %s gives %s", t->name, type_name(e));
  if (read_default(e) && !wants(v, e->arg[t->rank], (Dtype)e->dtype, "the value of ??")) return false;
  return check_visible(v, t);
}

static bool check_field(Verify *v, const Expr *e) {
  const Tensor *t = e->u.t;
  if (!in_fn(v->f, t) || !t->fmt || e->aux >= t->fmt->nfields) return fail(v, "field of %s, which has no such", t->name);
  const Field *f = &t->fmt->field[e->aux];
  if ((int)e->nargs != t->rank + f->array || e->dtype != dtype_wide(f->dtype)) return fail(v, "field %s of %s in a wrong form", f->name, t->name);
  for (uint32_t k = 0; k < e->nargs; k++)
    if (!wants(v, e->arg[k], DT_I64, "a subscript")) return false;
  return check_visible(v, t);
}

static bool check_reduce(Verify *v, const Expr *e) {
  const Binder *b = e->u.bind;
  if (b->reducer <= RED_NONE || b->reducer >= RED_COUNT_ || b->n < 1 || b->n > LIMIT_RANK || (int)e->nargs != 2 * b->n + 2)
    return fail(v, "reduction in a wrong form");
  if (reducers[b->reducer].arg && b->n != 1) return fail(v, "%s binds %d indices", reducers[b->reducer].name, b->n);
  for (int k = 0; k < b->n; k++) {
    if (!wants(v, reduce_lo(e, k), DT_I64, "a range's start") || !wants(v, reduce_hi(e, k), DT_I64, "a range's end")) return false;
    for (int j = 0; j < k; j++)
      if (b->ix[j] == b->ix[k]) return fail(v, "a reduction binds %s twice", b->ix[k]->name);
  }
  if (!wants(v, reduce_cond(e), DT_BOOL, "a filter")) return false;
  return e->dtype == reduce_dtype(b->reducer, (Dtype)reduce_term(e)->dtype) ||
         fail(v, "%s of %s gives %s", reducers[b->reducer].name, type_name(reduce_term(e)), type_name(e));
}

static bool check_conversion(Verify *v, const Expr *e) {
  Dtype to = (Dtype)e->aux;
  if (to <= DT_NONE || to >= DT_COUNT || e->dtype != dtype_wide(to)) return fail(v, "%s to a wrong type", ops[e->op].name);
  if (e->op == OP_CAST) return true;
  Dtype from = expr_stored(e->arg[0]);
  return dtypes[from].bits == dtypes[to].bits || fail(v, "bitcast of %s to %s", dtypes[from].name, dtypes[to].name);
}

// May operands of dtype t take part in the operation? The rules of sema, after its casts.
static bool rule_allows(OpRule rule, Dtype t) {
  switch (rule) {
  case R_ARITH: case R_COMPARE: return t != DT_BOOL;
  case R_FLOAT: case R_ROUND: case R_TEST: return dtype_is_float(t);
  case R_BITS: return !dtype_is_float(t);
  case R_SHIFT: case R_COUNT: return dtype_is_int(t);
  case R_LOGIC: return t == DT_BOOL;
  default: return true;
  }
}

static bool check_operation(Verify *v, const Expr *e) {
  const OpInfo *o = &ops[e->op];
  if (e->op == OP_UNIFORM) {
    if (e->dtype != DT_F32) return fail(v, "uniform gives %s", type_name(e));
    return wants(v, e->arg[0], DT_U64, "the seed") && wants(v, e->arg[1], DT_I64, "the counter");
  }
  if (e->op == OP_SELECT) {
    if (!wants(v, e->arg[0], DT_BOOL, "the condition of if")) return false;
    return wants(v, e->arg[1], (Dtype)e->dtype, "a branch of if") && wants(v, e->arg[2], (Dtype)e->dtype, "a branch of if");
  }
  Dtype t = (Dtype)e->arg[0]->dtype;
  for (int k = 1; k < o->arity; k++)
    if (!wants(v, e->arg[k], t, o->name)) return false;
  if (!rule_allows(o->rule, t)) return fail(v, "%s of %s", o->name, dtypes[t].name);
  return e->dtype == op_dtype((Op)e->op, t) || fail(v, "%s of %s gives %s", o->name, dtypes[t].name, type_name(e));
}

static bool check_node(Verify *v, const Expr *e) {
  if (e->op <= OP_NONE || e->op >= OP_COUNT_ || !dtype_is_wide((Dtype)e->dtype)) return fail(v, "expression of no kind");
  if (ops[e->op].arity >= 0 && (int)e->nargs != ops[e->op].arity) return fail(v, "%s with %d arguments", ops[e->op].name, (int)e->nargs);
  switch (e->op) {
  case OP_CONST: return true;
  case OP_DIM: case OP_INDEX: return wants(v, e, DT_I64, ops[e->op].name);
  case OP_VAR: return fail(v, "variable %s outside a kernel", e->u.var->name);
  case OP_READ: return check_read(v, e);
  case OP_FIELD: return check_field(v, e);
  case OP_REDUCE: return check_reduce(v, e);
  case OP_CAST: case OP_BITCAST: return check_conversion(v, e);
  default: return check_operation(v, e);
  }
}

// All indices bound by reductions in e; fails where one is bound again inside its own scope. Memoised in v->seen.
typedef struct Bound { int n; const Index **ix; } Bound;

static bool bound_has(const Bound *b, const Index *ix) {
  for (int k = 0; k < b->n; k++)
    if (b->ix[k] == ix) return true;
  return false;
}

static void bound_add(Arena *a, Bound *b, const Index *ix) {
  if (bound_has(b, ix)) return;
  int cap = b->n;
  if ((b->n & (b->n - 1)) == 0) b->ix = vec_grow(a, b->ix, &cap, b->n, sizeof *b->ix);   // full at powers of two (and 0)
  b->ix[b->n++] = ix;
}

static const Bound no_bound = {0, NULL};

static const Bound *check_expr(Verify *v, const Expr *e) {
  const Bound *known = map_get(&v->seen, e->id);
  if (known) return known;
  const Bound *only = &no_bound;
  Bound *all = NULL;
  for (uint32_t k = 0; k < e->nargs && v->ok; k++) {
    const Bound *b = check_expr(v, e->arg[k]);
    if (b->n == 0 || b == only) continue;
    if (only == &no_bound && e->op != OP_REDUCE) { only = b; continue; }
    if (!all) all = arena_new(v->a, Bound);
    for (int j = 0; j < only->n; j++) bound_add(v->a, all, only->ix[j]);
    for (int j = 0; j < b->n; j++) bound_add(v->a, all, b->ix[j]);
    only = all;
  }
  if (v->ok) check_node(v, e);
  if (v->ok && e->op == OP_REDUCE) {
    if (!all) all = arena_new(v->a, Bound);
    for (int k = 0; k < e->u.bind->n; k++) {
      if (bound_has(all, e->u.bind->ix[k])) fail(v, "index %s is bound inside its own scope", e->u.bind->ix[k]->name);
    }
    for (int k = 0; k < e->u.bind->n; k++) bound_add(v->a, all, e->u.bind->ix[k]);
  }
  const Bound *made = all ? all : only;
  map_put(&v->seen, e->id, (void *)(uintptr_t)made);
  return made;
}

// e in a place where the n indices of ix are bound.
static bool check_body(Verify *v, const Expr *e, int n, Index *const *ix, const char *what) {
  const Bound *inside = check_expr(v, e);
  for (int k = 0; v->ok && k < e->free->n; k++) {
    int j = 0;
    while (j < n && ix[j] != e->free->ix[k]) j++;
    if (j == n) fail(v, "index %s is free in %s", e->free->ix[k]->name, what);
  }
  for (int k = 0; v->ok && k < n; k++)
    if (bound_has(inside, ix[k])) fail(v, "index %s is bound inside its own scope", ix[k]->name);
  return v->ok;
}

// Extents, where-conditions, sources of dimensions: over dims and scalar arguments only.
static bool check_scalar(Verify *v, const Expr *e, Dtype want, const char *what) {
  if (!e) return fail(v, "%s is missing", what);
  if (e->op == OP_REDUCE || e->op == OP_INDEX || e->op == OP_FIELD) return fail(v, "%s has a %s in it", what, ops[e->op].name);
  if (e->op == OP_READ && (e->u.t->role != ROLE_PARAM || e->u.t->rank)) return fail(v, "%s reads %s", what, e->u.t->name);
  if (map_get(&v->seen, e->id)) return wants(v, e, want, what);
  for (uint32_t k = 0; k < e->nargs; k++)
    if (!check_scalar(v, e->arg[k], (Dtype)e->arg[k]->dtype, what)) return false;
  if (!check_node(v, e)) return false;
  map_put(&v->seen, e->id, (void *)(uintptr_t)&no_bound);
  return wants(v, e, want, what);
}

// Tensors and the head.

static bool check_tensor(Verify *v, const Tensor *t) {
  if (!name_is_valid(t->name)) return fail(v, "name %s is not valid", t->name ? t->name : "(none)");
  if (t->dtype <= DT_NONE || t->dtype >= DT_COUNT || t->rank < 0 || t->rank > LIMIT_RANK) return fail(v, "%s has no type", t->name);
  if (t->fmt && (t->dtype != DT_F32 || t->rank == 0)) return fail(v, "%s is in a format but no tensor of f32", t->name);
  if (!t->root || ((t->root != t) != (t->role == ROLE_VERSION))) return fail(v, "%s has a wrong root", t->name);
  if (t->role == ROLE_VERSION && t->root->role != ROLE_MUT) return fail(v, "%s is a version of no mut parameter", t->name);
  if (t->role == ROLE_LOCAL && !t->stored && !dtype_is_wide(t->dtype)) return fail(v, "%s is %s without being stored so", t->name, dtypes[t->dtype].name);
  if ((t->role == ROLE_TABLE) != (t->table != NULL)) return fail(v, "%s is a table without values, or has values", t->name);
  for (int k = 0; k < t->rank; k++)
    if (!check_scalar(v, t->extent[k], DT_I64, "an extent")) return false;
  if (t->role == ROLE_TABLE && (t->rank != 1 || !expr_is_int(t->extent[0], t->ntable))) return fail(v, "table %s has a wrong extent", t->name);
  return true;
}

static bool check_names(Verify *v) {
  const Fn *f = v->f;
  Map names = map_make(v->a);
  for (int k = 0; k < f->dims.n; k++) {
    Name name = f->dims.v[k]->name;
    if (!name_is_valid(name) || map_getp(&names, name)) return fail(v, "dimension %s has no name of its own", name ? name : "(none)");
    map_putp(&names, name, f->dims.v[k]);
  }
  for (int k = 0; k < f->tensors.n; k++) {
    const Tensor *t = f->tensors.v[k];
    if (t->id != k) return fail(v, "%s has id %d at place %d", t->name, t->id, k);
    if (!check_tensor(v, t)) return false;
    if (map_getp(&names, t->name)) return fail(v, "two things are called %s", t->name);
    map_putp(&names, t->name, f->tensors.v[k]);
  }
  return true;
}

static bool check_lists(Verify *v) {
  const Fn *f = v->f;
  for (int k = 0; k < f->params.n; k++)
    if (!in_fn(f, f->params.v[k]) || f->params.v[k]->role > ROLE_MUT) return fail(v, "parameter %s is none", f->params.v[k]->name);
  if (f->defaults.n > f->params.n) return fail(v, "more defaults than parameters");
  for (int k = 0; k < f->defaults.n; k++) {
    if (!f->defaults.v[k]) continue;
    if (f->params.v[k]->rank) return fail(v, "default of the tensor %s", f->params.v[k]->name);
    if (!check_scalar(v, f->defaults.v[k], dtype_wide(f->params.v[k]->dtype), "a default")) return false;
  }
  for (int k = 0; k < f->results.n; k++) {
    if (f->results.v[k]->role != ROLE_RESULT) return fail(v, "result %s is none", f->results.v[k]->name);
    if (!fn_def(f, f->results.v[k])) return fail(v, "result %s has no equation", f->results.v[k]->name);
  }
  if (f->sources.n != f->dims.n) return fail(v, "%d dimensions have %d sources", f->dims.n, f->sources.n);
  for (int k = 0; k < f->sources.n; k++) {
    const DimSource *s = &f->sources.v[k];
    if (s->axis < 0 || s->axis >= s->t->rank) return fail(v, "dimension %s comes from no extent", s->dim->name);
    if (!check_scalar(v, s->scale, DT_I64, "a scale") || !check_scalar(v, s->offset, DT_I64, "an offset")) return false;
  }
  for (int k = 0; k < f->where.n; k++)
    if (!check_scalar(v, f->where.v[k].e, DT_BOOL, "a where-condition")) return false;
  return true;
}

// Equations.

static bool check_update(Verify *v, const Eqn *q) {
  const Tensor *t = q->def, *base = q->base;
  if (t->role != ROLE_VERSION || !base || base->root != t->root) return fail(v, "update of no mut tensor");
  if (v->latest[t->root->id] != base) return fail(v, "updates %s, which is not the newest version", base->name);
  if (q->nstore != t->rank) return fail(v, "stores with %d subscripts", q->nstore);
  for (int k = 0; k < q->nstore; k++)
    if (!check_body(v, q->store[k], q->n, q->ix, "a subscript") || !wants(v, q->store[k], DT_I64, "a subscript")) return false;
  if (t->fmt && q->store[t->rank - 1]->op != OP_INDEX) return fail(v, "stores parts of rows in a format");
  if (q->cond && (!check_body(v, q->cond, q->n, q->ix, "the filter") || !wants(v, q->cond, DT_BOOL, "the filter"))) return false;
  return true;
}

static bool check_recurrence(Verify *v, const Eqn *q) {
  bool own = expr_reads(q->body, q->def);
  if (own && !q->recurrent && !q->base) return fail(v, "reads itself but is not recurrent");
  if (!q->recurrent) return true;
  if (q->scc <= 0) return fail(v, "is recurrent without a group");
  return (q->order_ix[0] >= 0 && q->order_ix[0] < q->n) || fail(v, "is recurrent in no index");
}

static bool check_eqn(Verify *v, const Eqn *q) {
  const Tensor *t = q->def;
  if (!in_fn(v->f, t) || v->defined[t->id] || t->role == ROLE_PARAM || t->role == ROLE_MUT || t->role == ROLE_TABLE)
    return fail(v, "defines what can't be, or again");
  if (!q->base && (t->role == ROLE_VERSION || q->nstore || q->cond)) return fail(v, "update without a base");
  if (!q->base && q->n != t->rank) return fail(v, "%d indices for %d dimensions", q->n, t->rank);
  for (int k = 0; k < q->n; k++) {
    if (!check_scalar(v, q->extent[k], DT_I64, "an extent")) return false;
    if (!q->base && q->extent[k] != t->extent[k]) return fail(v, "extent %d is not the tensor's", k);
    for (int j = 0; j < k; j++)
      if (q->ix[j] == q->ix[k]) return fail(v, "index %s stands twice", q->ix[k]->name);
  }
  if (q->base && !check_update(v, q)) return false;
  if (!check_body(v, q->body, q->n, q->ix, "the body") || !wants(v, q->body, dtype_wide(t->dtype), "the body")) return false;
  return check_recurrence(v, q);
}

static bool check_eqns(Verify *v) {
  const Fn *f = v->f;
  v->defined = arena_array(v->a, bool, f->tensors.n);
  v->latest = arena_array(v->a, const Tensor *, f->tensors.n);
  for (int k = 0; k < f->tensors.n; k++) v->latest[k] = f->tensors.v[k];
  for (int k = 0; k < f->eqns.n; k++) {
    v->q = f->eqns.v[k];
    v->seen = map_make(v->a);                           // what is visible changes
    if (!check_eqn(v, v->q)) return false;
    v->defined[v->q->def->id] = true;
    if (v->q->base) v->latest[v->q->def->root->id] = v->q->def;
  }
  v->q = NULL;
  return true;
}

// Formats: small functions over one block.

static bool check_format(Verify *v, const Format *m) {
  if (!name_is_valid(m->name) || m->block < 1 || m->block > LIMIT_BLOCK || !m->k || !m->value) return fail(v, "format %s in a wrong form", m->name);
  int64_t bytes = 0;
  for (int k = 0; k < m->nfields; k++) {
    const Field *f = &m->field[k];
    if (f->offset != bytes || f->count < 1 || (!f->array && f->count != 1)) return fail(v, "field %s of %s in a wrong form", f->name, m->name);
    bytes += dtype_bytes(f->dtype, f->count);
  }
  if (bytes != m->bytes) return fail(v, "format %s has %d bytes and fields of %lld", m->name, m->bytes, (long long)bytes);
  if (!check_body(v, m->value, 1, &m->k, "a format's value") || !wants(v, m->value, DT_F32, "a format's value")) return false;
  for (int k = 0; k < m->nencode; k++) {
    const FormatEqn *q = &m->encode[k];
    if (!check_body(v, q->body, q->ix != NULL, &q->ix, "an equation of encode")) return false;
    if (q->ix && !check_scalar(v, q->extent, DT_I64, "an extent")) return false;
    if (!wants(v, q->body, dtype_wide(q->def->dtype), "an equation of encode")) return false;
  }
  return true;
}

bool fn_verify(const Fn *f, Buf *why) {
  Verify v = {.f = f, .why = why, .ok = true, .a = arena_create()};
  v.seen = map_make(v.a);
  if (check_names(&v) && check_lists(&v)) {
    for (int k = 0; v.ok && k < f->formats.n; k++) check_format(&v, f->formats.v[k]);
    if (v.ok) check_eqns(&v);
  }
  arena_destroy(v.a);
  return v.ok;
}
