// bind.c: from the arguments of a call to the values of its dimensions, and all that can be checked before it runs.
#include "ir/interp_int.h"
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ---- expressions over dimensions and scalar arguments

// Extents and conditions are small; the limits keep a made-up one from taking long or deep into the stack.
enum { EVAL_STEPS = 1 << 16, EVAL_DEPTH = 1000 };

typedef struct Eval { const Fn *f; const int64_t *dims; const View *params; int steps; } Eval;

static bool eval(Eval *c, const Expr *e, Scalar *out);

static bool eval_param(const Eval *c, const Expr *e, Scalar *out) {
  for (int k = 0; k < c->f->params.n && e->u.t->rank == 0; k++) {
    if (c->f->params.v[k] != e->u.t) continue;
    *out = dtype_load(e->u.t->dtype, c->params[k].data, 0);
    return true;
  }
  return false;
}

static bool eval_lazy(Eval *c, const Expr *e, Scalar *out) {
  Scalar cond;
  if (!eval(c, e->arg[0], &cond)) return false;
  if (e->op == OP_SELECT) return eval(c, e->arg[cond.u ? 1 : 2], out);
  if (cond.u == (e->op == OP_OR)) return *out = cond, true;
  return eval(c, e->arg[1], out);
}

// Extents must not wrap: what overflows is no extent.
static bool overflows(Op op, const Scalar *a) {
  int64_t r;
  switch (op) {
  case OP_ADD: return __builtin_add_overflow(a[0].i, a[1].i, &r);
  case OP_SUB: return __builtin_sub_overflow(a[0].i, a[1].i, &r);
  case OP_MUL: return __builtin_mul_overflow(a[0].i, a[1].i, &r);
  case OP_NEG: case OP_ABS: return a[0].i == INT64_MIN;
  case OP_SHL: return a[0].i != 0 && (a[1].i >= 63 || a[0].i > INT64_MAX >> a[1].i || a[0].i < INT64_MIN >> a[1].i);
  default: return false;
  }
}

static bool eval_op(Eval *c, const Expr *e, Scalar *out) {
  Scalar a[3];
  if (ops[e->op].arity < 1 || ops[e->op].arity > 3) return false;
  for (uint32_t k = 0; k < e->nargs; k++)
    if (!eval(c, e->arg[k], &a[k])) return false;
  Dtype t = (Dtype)e->arg[0]->dtype;
  switch (e->op) {
  case OP_CAST: return *out = dtype_cast(a[0], t, (Dtype)e->aux), true;
  case OP_BITCAST: return *out = dtype_decode((Dtype)e->aux, dtype_encode(expr_stored(e->arg[0]), a[0])), true;
  case OP_UNIFORM: return out->f = (double)op_uniform(a[0].u, a[1].i), true;
  default: break;
  }
  if (t == DT_I64 && e->dtype == DT_I64 && overflows((Op)e->op, a)) return false;
  return op_eval((Op)e->op, t, a, out);
}

static bool eval(Eval *c, const Expr *e, Scalar *out) {
  if (++c->steps > EVAL_STEPS) return false;
  switch (e->op) {
  case OP_CONST: return *out = e->u.v, true;
  case OP_DIM: return out->i = c->dims[e->u.dim->id], true;
  case OP_READ: return eval_param(c, e, out);
  case OP_SELECT: case OP_AND: case OP_OR: return eval_lazy(c, e, out);
  default: return eval_op(c, e, out);
  }
}

bool fn_eval_scalar(const Fn *f, const Expr *e, const int64_t *dims, const View *params, Scalar *out) {
  Eval c = {.f = f, .dims = dims, .params = params};
  return e->depth <= EVAL_DEPTH && eval(&c, e, out);
}

bool bind_extents(const Fn *f, const int64_t *dims, const View *params, int n, Expr *const *e, int64_t *out) {
  for (int k = 0; k < n; k++) {
    Scalar v;
    if (!fn_eval_scalar(f, e[k], dims, params, &v)) return false;
    out[k] = v.i;
  }
  return true;
}

// ---- faults

typedef struct Bind { const Fn *f; const View *params; int64_t *dims; Fault *fault; } Bind;

static bool fail(Bind *b, Code code, Span at, const Tensor *t, int axis, int64_t value, int64_t extent) {
  *b->fault = (Fault){.code = code, .at = at, .tensor = t ? t->name : NULL, .axis = axis, .value = value, .extent = extent};
  return false;
}

// The fault's message; false.
static bool __attribute__((format(printf, 2, 3))) say(Bind *b, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(b->fault->text, sizeof b->fault->text, fmt, ap);
  va_end(ap);
  return false;
}

// An expression as text, in `text`; only made when something is wrong.
static const char *show(const Expr *e, char *text, size_t size) {
  Arena *a = arena_create();
  Buf b = buf_make(a);
  if (e->depth < 20) expr_print(e, &b);
  snprintf(text, size, "%.*s", (int)(b.n < size ? b.n : size - 1), b.n ? b.s : "");
  arena_destroy(a);
  return text;
}

// ---- steps

static bool check_view(Bind *b, const Tensor *t, const View *v) {
  if (v->rank != t->rank) {
    fail(b, E_call_rank, t->at, t, -1, v->rank, t->rank);
    return say(b, "`%s` has %d dimension%s, but %d %s declared", t->name, v->rank, v->rank == 1 ? "" : "s", t->rank, t->rank == 1 ? "is" : "are");
  }
  for (int k = 0; k < t->rank; k++) {
    if (v->extent[k] >= 0 && v->extent[k] <= LIMIT_EXTENT) continue;
    fail(b, v->extent[k] < 0 ? E_call_extent : E_limit_extent, t->at, t, k, v->extent[k], LIMIT_EXTENT);
    return say(b, "extent %d of `%s` is %" PRId64 ", allowed 0..%" PRId64, k, t->name, v->extent[k], LIMIT_EXTENT);
  }
  return true;
}

static int param_position(const Fn *f, const Tensor *t) {
  int k = 0;
  while (f->params.v[k] != t) k++;
  return k;
}

static bool unsolvable(Bind *b, const DimSource *s, int64_t extent) {
  char text[80];
  fail(b, E_call_shape, s->t->at, s->t, s->axis, extent, -1);
  return say(b, "extent %d of `%s` is %" PRId64 ", which is %s for no %s", s->axis, s->t->name, extent,
             show(s->t->extent[s->axis], text, sizeof text), s->dim->name);
}

// extent = scale · dim + offset
static bool solve(Bind *b, const DimSource *s) {
  Scalar scale, offset;
  int64_t extent = b->params[param_position(b->f, s->t)].extent[s->axis], rest;
  if (!fn_eval_scalar(b->f, s->scale, b->dims, b->params, &scale) || !fn_eval_scalar(b->f, s->offset, b->dims, b->params, &offset) ||
      __builtin_sub_overflow(extent, offset.i, &rest))
    return unsolvable(b, s, extent);
  if (scale.i == 0 || rest == INT64_MIN || rest % scale.i != 0) return unsolvable(b, s, extent);
  int64_t value = rest / scale.i;
  if (value < 0 || value > LIMIT_EXTENT) return unsolvable(b, s, extent);
  b->dims[s->dim->id] = value;
  return true;
}

// "N = 3, K = 4": the dimensions and scalars of a condition, at most a few.
typedef struct Values { const Bind *b; Buf out; int shown, visited; } Values;

static void show_value(Values *c, const Expr *e, Name name) {
  char item[96];
  Scalar v;
  if (!fn_eval_scalar(c->b->f, e, c->b->dims, c->b->params, &v)) return;
  if (dtype_is_float((Dtype)e->dtype)) snprintf(item, sizeof item, "%.60s = %g", name, v.f);
  else snprintf(item, sizeof item, "%.60s = %" PRId64, name, v.i);
  for (const char *at = c->out.n ? strstr(c->out.s, item) : NULL; at; at = strstr(at + 1, item))
    if (at[strlen(item)] == ',' || at[strlen(item)] == '\0') return;
  buf_printf(&c->out, "%s%s", c->shown++ ? ", " : "", item);
}

static void show_values(Values *c, const Expr *e) {
  enum { VISITED = 200, SHOWN = 6, DEPTH = 50 };
  if (++c->visited > VISITED || c->shown == SHOWN || e->depth > DEPTH) return;
  if (e->op == OP_DIM) show_value(c, e, e->u.dim->name);
  if (e->op == OP_READ) show_value(c, e, e->u.t->name);
  for (uint32_t k = 0; k < e->nargs; k++) show_values(c, e->arg[k]);
}

static bool where_failed(Bind *b, const Where *w) {
  char text[160];
  Arena *a = arena_create();
  Values c = {.b = b, .out = buf_make(a)};
  show_values(&c, w->e);
  fail(b, E_where_failed, w->at, NULL, -1, 0, 0);
  say(b, "where-condition does not hold: %.100s", w->text ? w->text : show(w->e, text, sizeof text));
  size_t n = strlen(b->fault->text);
  if (c.shown) snprintf(b->fault->text + n, sizeof b->fault->text - n, " (%.90s)", c.out.s);
  arena_destroy(a);
  return false;
}

static bool check_where(Bind *b, const Where *w) {
  Scalar v;
  if (!fn_eval_scalar(b->f, w->e, b->dims, b->params, &v)) {
    fail(b, E_where_failed, w->at, NULL, -1, 0, 0);
    return say(b, "where-condition overflows: %.160s", w->text ? w->text : "");
  }
  return v.u ? true : where_failed(b, w);
}

static bool check_agrees(Bind *b, const Tensor *t, const View *v) {
  char text[80];
  for (int k = 0; k < t->rank; k++) {
    Scalar want;
    bool known = fn_eval_scalar(b->f, t->extent[k], b->dims, b->params, &want);
    if (known && want.i == v->extent[k]) continue;
    fail(b, E_call_shape, t->at, t, k, v->extent[k], known ? want.i : -1);
    show(t->extent[k], text, sizeof text);
    if (!known) return say(b, "extent %d of `%s`: %s overflows", k, t->name, text);
    if (t->extent[k]->op == OP_CONST)
      return say(b, "extent %d of `%s` is %" PRId64 ", but %" PRId64 " is declared", k, t->name, v->extent[k], want.i);
    return say(b, "extent %d of `%s` is %" PRId64 ", but %s is %" PRId64, k, t->name, v->extent[k], text, want.i);
  }
  return true;
}

// Extents of a tensor or of the elements that an update stores: none negative, none nor their product too large.
static bool check_extents(Bind *b, const Tensor *t, int n, Expr *const *e, int64_t *out) {
  int64_t elements = 1;
  char text[80];
  for (int k = 0; k < n; k++) {
    bool known = bind_extents(b->f, b->dims, b->params, 1, &e[k], &out[k]);
    if (!known || out[k] < 0 || out[k] > LIMIT_EXTENT) {
      fail(b, known && out[k] < 0 ? E_call_extent : E_limit_extent, t->at, t, k, known ? out[k] : 0, LIMIT_EXTENT);
      show(e[k], text, sizeof text);
      if (!known) return say(b, "extent %d of `%s`: %s overflows", k, t->name, text);
      return say(b, "extent %d of `%s`: %s is %" PRId64 ", allowed 0..%" PRId64, k, t->name, text, out[k], LIMIT_EXTENT);
    }
    if (__builtin_mul_overflow(elements, out[k] ? out[k] : 1, &elements) || elements > LIMIT_EXTENT) {
      fail(b, E_limit_extent, t->at, t, k, out[k], LIMIT_EXTENT);
      return say(b, "`%s` would have more than %" PRId64 " elements", t->name, LIMIT_EXTENT);
    }
  }
  return true;
}

static bool check_storage(Bind *b, const Tensor *t, const int64_t *extent) {
  int64_t unit = t->fmt ? t->fmt->block : t->rank > 0 && dtypes[t->dtype].bits == 4 ? 2 : 1;
  int last = t->rank - 1;
  if (unit == 1 || (last >= 0 && extent[last] % unit == 0)) return true;
  fail(b, E_call_block, t->at, t, last, last >= 0 ? extent[last] : 0, unit);
  return say(b, "extent %d of `%s` is %" PRId64 ", but %s is stored in blocks of %" PRId64, last, t->name, last >= 0 ? extent[last] : 0,
             t->fmt ? t->fmt->name : dtypes[t->dtype].name, unit);
}

static bool bind_dims(Bind *b) {
  for (int k = 0; k < b->f->params.n; k++)
    if (!check_view(b, b->f->params.v[k], &b->params[k])) return false;
  for (int k = 0; k < b->f->sources.n; k++)
    if (!solve(b, &b->f->sources.v[k])) return false;
  for (int k = 0; k < b->f->where.n; k++)
    if (!check_where(b, &b->f->where.v[k])) return false;
  for (int k = 0; k < b->f->params.n; k++)
    if (!check_agrees(b, b->f->params.v[k], &b->params[k])) return false;
  return true;
}

bool fn_bind(const Fn *f, const View *params, int64_t *dims, Fault *fault) {
  Bind b = {.f = f, .params = params, .dims = dims, .fault = fault};
  int64_t extent[LIMIT_RANK];
  if (!bind_dims(&b)) return false;
  for (int k = 0; k < f->tensors.n; k++) {
    const Tensor *t = f->tensors.v[k];
    if (!check_extents(&b, t, t->rank, t->extent, extent) || !check_storage(&b, t, extent)) return false;
  }
  for (int k = 0; k < f->eqns.n; k++) {
    const Eqn *q = f->eqns.v[k];
    if (!check_extents(&b, q->def, q->n, q->extent, extent)) return false;
  }
  return true;
}
