// sema_call.c: calls: every one is inlined.
//
// A function of scalars becomes an expression: its parameters are bound to the argument's values, also whole tensors,
// over which it then works elementwise. Any other function becomes equations that stand before the calling one; its
// tensor parameters are bound to the caller's tensors. An argument that is an expression, or that has to be rounded
// to the parameter's type, first gets an equation of its own.
#include "frontend/sema_int.h"
#include <ctype.h>
#include <string.h>

bool fn_is_scalar(const AFn *fn) {
  for (int i = 0; i < fn->nparams; i++)
    if (fn->param[i].type.shaped || fn->param[i].mut) return false;
  return fn->nresults == 1 && !fn->result[0].type.shaped;
}

bool fn_has_mut(const AFn *fn) {
  for (int i = 0; i < fn->nparams; i++)
    if (fn->param[i].mut) return true;
  return false;
}

bool has_dots(const AFn *fn) {
  for (int i = 0; i < fn->nparams; i++)
    if (fn->param[i].type.dots) return true;
  return false;
}

// The function of the program or library that a call names; NULL: a built-in one or none.
Item *called_function(const Env *v, const AExpr *e) {
  if (e->kind != A_CALL) return NULL;
  Item *item = unit_lookup(&v->fr->s->p->units, v->fr->unit, e->name);
  return item && item->kind == AI_FN ? item : NULL;
}

// Built-in functions.

static void report_count(Env *v, const AExpr *e, int least, int most) {
  Sema *s = v->fr->s;
  const char *want = least == most ? arena_printf(s->a, "%d", most) : arena_printf(s->a, "%d to %d", least, most);
  sema_error(v->fr, E_argument_count, e->at, "`%s` takes %s argument%s, not %d", e->name, want, most == 1 ? "" : "s", e->nargs);
}

// clamp(x, lo, hi) is min(max(x, lo), hi).
static Val clamp(Env *v, const AExpr *e, Val *arg, Span *at) {
  Val low[2] = {NO_VAL, arg[2]};
  Span low_at[2] = {e->at, at[2]};
  Dtype t;
  for (int i = 0; i < 3; i++)
    if (!arg[i].e) return NO_VAL;
  t = join_vals(v->fr->s, 3, arg);
  if (t == DT_BOOL) t = DT_I32;
  for (int i = 0; i < 3; i++) arg[i] = val_shaped(val_as(v->fr->s, &arg[i], t, at[i]), arg[i].shape);
  low[0] = apply_op(v, OP_MAX, 2, arg, at, e->name_at, e->at);
  low[1] = arg[2];
  return apply_op(v, OP_MIN, 2, low, low_at, e->name_at, e->at);
}

static Val built_in(Env *v, const AExpr *e) {
  enum { MOST = 3 };
  Val arg[MOST] = {NO_VAL, NO_VAL, NO_VAL};
  Span at[MOST] = {e->at, e->at, e->at};
  bool clamps = strcmp(e->name, "clamp") == 0;
  Op op = op_by_name(e->name);
  int arity = clamps ? 3 : ops[op].arity;
  if (e->nargs != arity) return report_count(v, e, arity, arity), NO_VAL;
  for (int i = 0; i < arity; i++) arg[i] = expr(v, e->arg[i]), at[i] = e->arg[i]->at;
  return clamps ? clamp(v, e, arg, at) : apply_op(v, op, arity, arg, at, e->name_at, e->at);
}

static Val unknown_function(Env *v, const AExpr *e) {
  Sema *s = v->fr->s;
  Item *item = unit_lookup(&s->p->units, v->fr->unit, e->name);
  if (item && item->kind == AI_FORMAT) {
    sema_error(v->fr, E_format_place, e->name_at, "`%s` is a format; a scalar cannot have it", e->name);
    diag_help(s->d, "a tensor can: `t: %s[i, j] = …`", e->name);
    return NO_VAL;
  }
  if (item || frame_find(v->fr, e->name) || env_index(v, e->name)) {
    sema_error(v->fr, E_unknown_function, e->name_at, "`%s` is not a function", e->name);
    if (!item) diag_help(s->d, "subscripts stand in square brackets: `%s[…]`", e->name);
    return NO_VAL;
  }
  if (reducer_by_name(e->name) != RED_NONE) {
    sema_error(v->fr, E_unknown_function, e->name_at, "`%s` binds its indices in square brackets", e->name);
    diag_help(s->d, "write `%s[i](x[i])`", e->name);
    return NO_VAL;
  }
  const char *near = near_function(v->fr, e->name);
  sema_error(v->fr, E_unknown_function, e->name_at, "function `%s` is not defined", e->name);
  if (near) {
    diag_help(s->d, "did you mean `%s`?", near);
    diag_fix(s->d, e->name_at, near);
  }
  return NO_VAL;
}

// Instances.

static bool calls_itself(const Frame *fr, const AFn *fn) {
  for (; fr; fr = fr->caller)
    if (fr->fn == fn) return true;
  return false;
}

static Frame *instance(Env *v, const AExpr *e, Item *item) {
  enum { MOST_CALLS = 1 << 16 };
  Sema *s = v->fr->s;
  const AFn *fn = item->fn;
  int least = 0;
  while (least < fn->nparams && !fn->param[least].init) least++;
  if (calls_itself(v->fr, fn)) {
    if (map_getp(&s->p->recursive, fn)) return NULL;
    for (const Frame *f = v->fr; f; f = f->fn == fn ? NULL : f->caller) map_putp(&s->p->recursive, f->fn, item);
    sema_error(v->fr, E_recursion, e->at, "`%s` calls itself%s", fn->name, v->fr->fn == fn ? "" : " through other functions");
    diag_note(s->d, "calls are inlined; what repeats along an index is a recurrence: `h[t] = f(h[t - 1] ?? 0, x[t])`");
    return NULL;
  }
  if (s->calls++ >= MOST_CALLS) {
    s->stop = true;
    return sema_error(v->fr, E_limit_nodes, e->at, "more than %d calls after inlining", MOST_CALLS);
  }
  if (v->fr->depth >= LIMIT_CALL_DEPTH) {
    s->stop = true;
    return sema_error(v->fr, E_limit_calls, e->at, "more than %d calls inside each other", LIMIT_CALL_DEPTH);
  }
  if (e->nargs < least || e->nargs > fn->nparams) {
    report_count(v, e, least, fn->nparams);
    diag_label(s->d, fn->name_at, "`%s` is defined here", fn->name);
    return NULL;
  }
  Frame *fr = frame_new(s, fn, item->unit, v->fr, e->at);
  fr->dots = has_dots(fn);
  fr->scalar = fn_is_scalar(fn);
  return signature(fr) ? fr : NULL;
}

Binding *bind_param(Frame *fr, BindKind kind, const AParam *p) {
  Binding *b = frame_bind(fr, kind, p->name, p->name_at);
  b->param = b->declared = true;
  return b;
}

// A type variable stands for one wide type. A literal, seen last, takes what there is.
bool bind_type_variable(Frame *fr, const ADtype *t, Dtype wide, Span at) {
  Sema *s = fr->s;
  for (int i = 0; i < fr->types.n; i++) {
    TypeVar *known = &fr->types.v[i];
    if (known->name != t->name) continue;
    if (known->dtype == wide) return true;
    sema_error(fr->caller ? fr->caller : fr, E_type_variable_conflict, at, "`%s` of `%s` would stand for both %s and %s",
               t->name, fr->fn->name,
               dtypes[known->dtype].name, dtypes[wide].name);
    diag_label(s->d, known->at, "%s here", dtypes[known->dtype].name);
    diag_label(s->d, at, "%s here", dtypes[wide].name);
    diag_help(s->d, "cast one of them: `%s(…)`", dtypes[known->dtype].name);
    return false;
  }
  vec_push(s->a, &fr->types, (TypeVar){t->name, wide, at});
  return true;
}

static bool is_variable(Frame *fr, const ADtype *t) {
  if (t->dtype != DT_NONE) return false;
  Item *item = unit_lookup(&fr->s->p->units, fr->unit, t->name);
  return !(item && item->kind == AI_FORMAT);
}

static bool variable_bound(const Frame *fr, Name name) {
  for (int i = 0; i < fr->types.n; i++)
    if (fr->types.v[i].name == name) return true;
  return false;
}

// Arguments.

typedef struct Arg {
  const AParam *param;
  Span at;
  bool literal;             // binds a type variable only when nothing else does
  Val val;                  // a scalar, or the value of a fill
  Uses *uses;               // subscripts in val
  Tensor *t;                // a tensor; NULL: val
  MutCell *cell;            // of a mut parameter
  Dtype stored;             // storage type as the caller sees it
  const Shape *shape;       // of t, or of a fill that has one
} Arg;

static const Shape *binding_shape(Sema *s, const Binding *b) {
  Shape *shape = arena_new(s->a, Shape);
  shape->rank = b->rank;
  for (int k = 0; k < b->rank; k++) shape->extent[k] = b->extent[k];
  return shape;
}

// An expression over whole tensors, on its own: no index of the equation around the call is seen.
static Env whole_env(Env *v, Index **w, const char *hint) {
  return (Env){.fr = v->fr, .hidden = v->bound ? v->bound : v->hidden, .w = w, .uses = uses_new(v->fr->s), .group = v->group,
               .hint = hint};
}

// Is the value the same for all indices of the equation that calls?
static bool independent(Env *v, const Val *val, Index *const *w, Span at) {
  for (int i = 0; i < val->e->free->n; i++) {
    const Index *ix = val->e->free->ix[i];
    bool own = false;
    for (int k = 0; k < LIMIT_RANK; k++) own = own || w[k] == ix;
    if (own) continue;
    sema_error(v->fr, E_not_scalar, at, "this depends on index `%s` of the equation that calls", ix->name ? ix->name : "?");
    diag_note(v->fr->s->d, "a function with tensors is computed before the equation, once for all indices");
    return false;
  }
  return true;
}

static Tensor *store_whole(Env *v, const Val *val, Index **w, const char *name, Span at) {
  Frame *fr = v->fr;
  Index *ix[LIMIT_RANK];
  int rank = val->shape ? val->shape->rank : 0;
  whole_indices(fr, w, rank, at, ix);
  Tensor *t = named_tensor(fr->s, name, ROLE_LOCAL, (Dtype)val->e->dtype, NULL, rank, val->shape ? val->shape->extent : NULL, at);
  return add_equation(fr, t, rank, ix, val->e, at) ? t : NULL;
}

// The value of an expression over whole tensors, as a tensor.
Tensor *materialise(Env *v, const AExpr *e, const char *name) {
  Item *item = called_function(v, e);
  Index *w[LIMIT_RANK] = {0};
  Env in = whole_env(v, w, name);
  if (item && !fn_is_scalar(item->fn)) {
    Want want = {.name = intern(v->fr->s->names, name)};
    Binding **r = call_results(&in, e, name, 1, &want, false);
    return r ? r[0]->t : NULL;
  }
  Val val = expr(&in, e);
  if (!val.e || !independent(v, &val, w, e->at)) return NULL;
  return plain_read(&val, w) ? val.e->u.t : store_whole(v, &val, w, name, e->at);
}

static void tensor_arg(Env *v, Arg *a, Binding *b) {
  a->shape = b->rank ? binding_shape(v->fr->s, b) : NULL;
  a->stored = b->dtype;
  if (b->kind == BIND_FILL && !b->t) {
    a->val = b->val;
    a->stored = (Dtype)b->val.e->dtype;
    return;
  }
  a->t = binding_tensor(v, b);
  if (a->stored == DT_NONE) a->stored = a->t->dtype;
}

// A name that stands for a tensor with dimensions, else NULL.
static Binding *named_tensor_arg(Env *v, const AExpr *e) {
  if (e->kind != A_NAME || env_index(v, e->name)) return NULL;
  Binding *b = frame_find(v->fr, e->name);
  bool tensor = b && (b->kind == BIND_TENSOR || b->kind == BIND_MUT || b->kind == BIND_FILL);
  return tensor && b->rank > 0 && b->defined && !b->pending ? b : NULL;
}

static bool whole_arg(Env *v, const AExpr *e, const char *name, Arg *a) {
  Index *w[LIMIT_RANK] = {0};
  Env in = whole_env(v, w, name);
  Binding *b = named_tensor_arg(v, e);
  if (b) return tensor_arg(v, a, b), true;
  Val val = expr(&in, e);
  if (!val.e || !independent(v, &val, w, e->at)) return false;
  a->literal = val.lit != LIT_NONE;
  a->stored = (Dtype)val.e->dtype;
  a->val = val;
  a->shape = val.shape;
  if (!val.shape) return true;
  a->t = plain_read(&val, w) ? val.e->u.t : store_whole(v, &val, w, name, e->at);
  if (a->t) a->stored = a->t->dtype;
  return a->t != NULL;
}

static bool mut_arg(Env *v, const AExpr *e, const AParam *p, Arg *a) {
  Binding *b = e->kind == A_NAME ? frame_find(v->fr, e->name) : NULL;
  if (!b || b->kind != BIND_MUT) {
    sema_error(v->fr, E_mut_argument, e->at, "the argument for `mut %s` must be the name of a `mut` parameter", p->name);
    if (b && b->param) {
      diag_label(v->fr->s->d, b->at, "`%s` is not `mut`", e->name);
      diag_help(v->fr->s->d, "mark it: `mut %s`", e->name);
    }
    return false;
  }
  tensor_arg(v, a, b);
  a->cell = b->cell;
  return true;
}

static bool scalar_value(Env *v, const AExpr *e, Arg *a, bool elementwise) {
  Index *w[LIMIT_RANK] = {0};
  Env in = elementwise ? *v : whole_env(v, w, v->hint);
  a->uses = uses_new(v->fr->s);
  if (elementwise) in.uses = a->uses, in.guard = NULL;
  in.in_sub = in.certain = false;
  if (v->pure) in.uses = NULL, in.pure = true, in.pure_code = v->pure_code;
  a->val = expr(&in, e);
  if (!a->val.e) return false;
  a->literal = a->val.lit != LIT_NONE;
  a->stored = (Dtype)a->val.e->dtype;
  if (elementwise) return true;
  if (a->val.shape) {
    sema_error(v->fr, E_not_scalar, e->at, "parameter `%s` is a scalar; this is a tensor of shape %s", a->param->name,
               shape_text(v->fr->s, a->val.shape->rank, a->val.shape->extent));
    diag_label(v->fr->s->d, a->param->at, "`%s`", a->param->name);
    return false;
  }
  return independent(v, &a->val, w, e->at);
}

static bool default_arg(Frame *fr, Arg *a) {
  Env v = {.fr = fr, .pure = true, .pure_code = E_default_value};
  a->val = expr(&v, a->param->init);
  if (!a->val.e) return false;
  a->literal = a->val.lit != LIT_NONE;
  a->stored = (Dtype)a->val.e->dtype;
  return true;
}

static bool one_arg(Env *v, Frame *fr, const AExpr *e, Arg *a) {
  const AParam *p = a->param;
  if (!e) return a->at = p->init->at, default_arg(fr, a);
  a->at = e->at;
  if (p->mut) return mut_arg(v, e, p, a);
  if (!p->type.shaped) return scalar_value(v, e, a, fr->scalar);
  return whole_arg(v, e, fr->prefix ? arena_printf(fr->s->a, "%s_%s", fr->prefix, p->name) : p->name, a);
}

// Parameters of a call, bound in three steps: type variables, scalars, then shapes and tensors.

static bool bind_types(Frame *fr, int n, Arg *arg) {
  bool ok = true;
  for (int literals = 0; literals < 2; literals++)
    for (int i = 0; i < n; i++) {
      const ADtype *t = &arg[i].param->type.dtype;
      if (arg[i].literal != literals || !is_variable(fr, t)) continue;
      if (literals && variable_bound(fr, t->name)) continue;
      ok = bind_type_variable(fr, t, dtype_wide(arg[i].stored), arg[i].at) && ok;
    }
  return ok;
}

static bool bind_scalar(Frame *fr, const Arg *a) {
  TypeRef t = resolve_type(fr, &a->param->type.dtype);
  if (!t.ok) return false;
  if (t.format) {
    sema_error(fr, E_format_place, a->param->type.dtype.at, "`%s` is a format; a scalar cannot have it",
               a->param->type.dtype.name);
    return false;
  }
  Frame *where = fr->caller;
  Val val = val_store(where, a->val, t.dtype, a->at);
  if (!val.e) return false;
  Binding *b = bind_param(fr, BIND_VALUE, a->param);
  b->val = val;
  b->dtype = t.dtype;
  b->uses = a->uses;
  b->arg_at = a->at;
  return true;
}

static bool arg_rank(Frame *fr, const Arg *a) {
  Sema *s = fr->s;
  const AType *type = &a->param->type;
  int rank = a->shape ? a->shape->rank : 0;
  if (type->dots ? rank >= type->rank : rank == type->rank) return true;
  sema_error(fr->caller, E_argument_shape, a->at, "the argument has %d dimension%s, parameter `%s` has %s%d", rank,
             rank == 1 ? "" : "s",
             a->param->name, type->dots ? "at least " : "", type->rank);
  diag_label(s->d, a->at, "shape %s", shape_text(s, rank, a->shape ? a->shape->extent : NULL));
  diag_label(s->d, a->param->at, "parameter `%s` of `%s`", a->param->name, fr->fn->name);
  return false;
}

static bool bind_shapes(Frame *fr, int n, Arg *arg) {
  Shaped *shaped = arena_array(fr->s->a, Shaped, n);
  int count = 0;
  for (int i = 0; i < n; i++) {
    if (!arg[i].param->type.shaped || !arg[i].shape) continue;
    if (!arg_rank(fr, &arg[i])) return false;
    shaped[count++] = (Shaped){.param = arg[i].param, .actual = arg[i].shape, .at = arg[i].at};
  }
  return bind_dots(fr, count, shaped) && solve_dims(fr, count, shaped, false);
}

// The argument rounded to the parameter's type, in a tensor of its own.
static Tensor *rounded(Frame *fr, const Arg *a, Dtype to) {
  Sema *s = fr->s;
  Index *w[LIMIT_RANK] = {0}, *ix[LIMIT_RANK];
  Expr *sub[LIMIT_RANK];
  whole_indices(fr, w, a->t->rank, a->at, ix);
  for (int k = 0; k < a->t->rank; k++) sub[k] = expr_index(s->x, ix[k]);
  Tensor *t = frame_tensor(fr, a->param->name, ROLE_LOCAL, to, NULL, a->t->rank, a->t->extent, a->at);
  Val val = val_of(expr_read(s->x, a->t, a->t->rank, sub, NULL, a->at));
  return add_equation(fr, t, t->rank, ix, stored_body(fr, &val, to, a->at), a->at) ? t : NULL;
}

static bool same_format(Frame *fr, const Arg *a, Format *fmt) {
  if (a->t && a->t->fmt == fmt) return true;
  const char *has = a->t && a->t->fmt ? a->t->fmt->name : dtypes[a->stored].name;
  sema_error(fr->caller, E_format_argument, a->at, "the argument is stored as %s, parameter `%s` as `%s`", has, a->param->name,
             fmt->name);
  diag_label(fr->s->d, a->param->at, "parameter `%s` of `%s`", a->param->name, fr->fn->name);
  diag_help(fr->s->d, "store it in a tensor of that format first: `t: %s[i, j] = x[i, j]`", fmt->name);
  return false;
}

static bool mut_type(Frame *fr, const Arg *a, TypeRef t, Format *fmt) {
  if (a->t->fmt == fmt && (fmt || (t.variable ? dtype_wide(a->t->dtype) == a->t->dtype : a->t->dtype == t.dtype))) return true;
  const char *has = a->t->fmt ? a->t->fmt->name : dtypes[a->t->dtype].name;
  sema_error(fr->caller, E_argument_type, a->at, "the argument is %s, `mut %s` is %s", has, a->param->name,
             fmt ? fmt->name : dtypes[t.dtype].name);
  diag_label(fr->s->d, a->param->at, "parameter `%s` of `%s`", a->param->name, fr->fn->name);
  diag_note(fr->s->d, "a mut parameter is changed in place, so nothing converts");
  return false;
}

static bool bind_tensor(Frame *fr, Arg *a) {
  Expr *extent[LIMIT_RANK];
  int rank;
  TypeRef t = resolve_type(fr, &a->param->type.dtype);
  Format *fmt = t.ok ? type_format(fr, t) : NULL;
  if (!t.ok || (t.format && !fmt) || !type_extents(fr, &a->param->type, &rank, extent)) return false;
  Val fill = a->t ? NO_VAL : val_store(fr->caller, a->val, t.dtype, a->at);
  if (fmt && !same_format(fr, a, fmt)) return false;
  if (a->cell && !mut_type(fr, a, t, fmt)) return false;
  if (!a->t && !fill.e) return false;
  bool as_is = !a->t || a->cell || fmt || t.variable || a->stored == t.dtype || (dtype_wide(a->stored) == t.dtype);
  Tensor *x = as_is ? a->t : rounded(fr, a, t.dtype);
  if (a->t && !x) return false;
  Binding *b = bind_param(fr, a->cell ? BIND_MUT : a->t ? BIND_TENSOR : BIND_FILL, a->param);
  b->t = a->cell ? NULL : x;
  b->cell = a->cell;
  b->val = fill;
  b->dtype = t.dtype;
  b->rank = rank;
  for (int k = 0; k < rank; k++) b->extent[k] = extent[k];
  return true;
}

// A tensor that the call changes may not be another argument of it too.
static bool no_overlap(Frame *fr, int n, const Arg *arg) {
  for (int i = 0; i < n; i++)
    for (int k = 0; arg[i].cell && k < n; k++) {
      if (k == i || !arg[k].t || arg[k].t->root != arg[i].cell->root) continue;
      sema_error(fr->caller, E_mut_argument, arg[k].at, "`%s` is changed by this call and cannot be another argument of it",
                 arg[i].cell->root->name);
      diag_label(fr->s->d, arg[i].at, "changed as `mut %s`", arg[i].param->name);
      return false;
    }
  return true;
}

// Elaborates the arguments of a call and binds the parameters of its frame. Defaults are seen last: they may use
// dimensions and scalars of the function.
static bool bind_arguments(Env *v, Frame *fr, const AExpr *e) {
  int n = fr->fn->nparams;
  Arg *arg = arena_array(fr->s->a, Arg, n);
  bool ok = true;
  for (int i = 0; i < n; i++) arg[i].param = &fr->fn->param[i];
  for (int i = 0; i < e->nargs; i++) ok = one_arg(v, fr, e->arg[i], &arg[i]) && ok;
  if (!ok || !bind_types(fr, e->nargs, arg) || !no_overlap(fr, e->nargs, arg)) return false;
  for (int i = 0; i < e->nargs; i++)
    if (!arg[i].param->type.shaped) ok = bind_scalar(fr, &arg[i]) && ok;
  if (!ok || !bind_shapes(fr, e->nargs, arg)) return false;
  for (int i = e->nargs; i < n; i++) ok = one_arg(v, fr, NULL, &arg[i]) && ok;
  if (!ok || !bind_types(fr, n, arg)) return false;
  for (int i = e->nargs; i < n; i++)
    if (!arg[i].param->type.shaped) ok = bind_scalar(fr, &arg[i]) && ok;
  for (int i = 0; i < n; i++)
    if (arg[i].param->type.shaped) ok = bind_tensor(fr, &arg[i]) && ok;
  return ok;
}

// Where-conditions.

static bool is_kernel_limit(const AExpr *e) {
  return e->kind == A_BINARY && e->op == AO_LE && e->arg[0]->kind == A_NAME && strcmp(e->arg[0]->name, "kernels") == 0;
}

static void kernel_limit(Frame *fr, const AExpr *e) {
  int64_t n;
  Expr *most = extent_expr(fr, e->arg[1], E_not_constant);
  if (!most) return;
  if (!extent_const(most, &n) || n < 0 || n > INT32_MAX) {
    sema_error(fr, E_not_constant, e->arg[1]->at, "the number of kernels must be a constant");
    return;
  }
  fr->s->f->max_kernels = (int)n;
  fr->s->f->max_kernels_at = e->at;
}

static bool ordered(Op op, int64_t d) {
  switch (op) {
  case OP_EQ: return d == 0;
  case OP_NE: return d != 0;
  case OP_LT: return d < 0;
  case OP_LE: return d <= 0;
  case OP_GT: return d > 0;
  default: return d >= 0;
  }
}

// Does a condition over extents hold for all of them, for none, or does it depend?
static Agree decide(Sema *s, Expr *e) {
  Scalar c;
  int64_t d;
  if (expr_fold(e, &c)) return c.u ? AGREE_YES : AGREE_NO;
  if (e->op == OP_AND) {
    Agree a = decide(s, e->arg[0]), b = decide(s, e->arg[1]);
    return a == AGREE_NO || b == AGREE_NO ? AGREE_NO : a == AGREE_YES && b == AGREE_YES ? AGREE_YES : AGREE_UNKNOWN;
  }
  if (ops[e->op].rule != R_COMPARE || e->arg[0]->dtype != DT_I64) return AGREE_UNKNOWN;
  if (extent_difference(e->arg[0], e->arg[1], &d)) return ordered((Op)e->op, d) ? AGREE_YES : AGREE_NO;
  return e->op == OP_EQ ? extents_agree(s, e->arg[0], e->arg[1]) : AGREE_UNKNOWN;
}

// What the names in a condition stand for in this call.
static void note_values(Frame *fr, const AExpr *e) {
  for (int i = 0; i < fr->order.n; i++) {
    Binding *b = frame_find(fr, fr->order.v[i]);
    bool shown = (b->kind == BIND_DIM || b->kind == BIND_VALUE) && b->val.e && mentions(e, b->name);
    if (shown && fr->caller) diag_note(fr->s->d, "`%s` is %s here", b->name, expr_text(fr->s, b->val.e));
  }
}

static void where_condition(Frame *fr, const AExpr *e) {
  Sema *s = fr->s;
  Name kernels = intern(s->names, "kernels");
  if (mentions(e, kernels) && !frame_find(fr, kernels)) {
    sema_error(fr, E_where_form, e->at, "`kernels` stands only in a condition of the form `kernels <= n`");
    return;
  }
  Env v = {.fr = fr, .pure = true, .pure_code = E_where_form};
  Expr *c = expr_condition(&v, e, NULL);
  if (!c) return;
  Agree holds = decide(s, c);
  if (holds == AGREE_NO) {
    sema_error(fr->caller ? fr->caller : fr, E_where_false, fr->caller ? fr->call_at : e->at, "`%s` does not hold here",
               source_text(s, e->at));
    if (fr->caller) diag_label(s->d, e->at, "asked for by `%s`", fr->fn->name);
    note_values(fr, e);
  } else if (holds == AGREE_UNKNOWN || !fr->caller) {
    add_where(s, c, e->at, source_text(s, e->at));
  }
}

void where_conditions(Frame *fr) {
  for (int i = 0; i < fr->fn->nwhere; i++) {
    const AExpr *e = fr->fn->where[i];
    if (!is_kernel_limit(e)) where_condition(fr, e);
    else if (!fr->caller) kernel_limit(fr, e);
  }
}

// Results.

static bool reads_name(const AFn *fn, Name name) {
  for (int i = 0; i < fn->nstmts; i++) {
    const AStmt *st = &fn->stmt[i];
    if (st->e && mentions(st->e, name)) return true;
    if (st->cond && mentions(st->cond, name)) return true;
    for (int k = 0; st->kind == AS_UPDATE && k < st->nsubs; k++)
      if (st->sub[k].kind == SUB_EXPR && mentions(st->sub[k].e, name)) return true;
  }
  return false;
}

// May the result of an inlined function be the tensor that its caller wants it in? Not when values would be rounded
// that the function still reads unrounded.
static bool fits_target(Frame *fr, const AResult *r, const Tensor *t, Dtype dtype, const Format *fmt, int rank) {
  if (t->rank != rank) return false;
  if (t->fmt || fmt) return t->fmt == fmt;
  return dtype == t->dtype || (dtype == dtype_wide(t->dtype) && !reads_name(fr->fn, r->name));
}

static bool target_shape(Frame *fr, Tensor *t, Expr *const *extent, Span at) {
  Sema *s = fr->s;
  for (int k = 0; k < t->rank; k++) {
    Agree agree = extents_agree(s, t->extent[k], extent[k]);
    if (agree == AGREE_NO) return false;
    if (agree == AGREE_UNKNOWN)
      add_where(s, expr_op2(s->x, OP_EQ, t->extent[k], extent[k], at), at,
                arena_printf(s->a, "`%s` has extent %s in dimension %d, the result of `%s` has %s", t->name,
                             expr_text(s, t->extent[k]), k + 1,
                             fr->fn->name, expr_text(s, extent[k])));
  }
  return true;
}

static Tensor *result_tensor(Frame *fr, const AResult *r, const Want *want, Dtype dtype, Format *fmt, int rank,
                             Expr *const *extent) {
  if (!fr->caller) return frame_tensor(fr, r->name, ROLE_RESULT, dtype, fmt, rank, extent, r->name_at);
  if (want && want->t && fits_target(fr, r, want->t, dtype, fmt, rank) && target_shape(fr, want->t, extent, fr->call_at))
    return want->t;
  if (want && want->name) return named_tensor(fr->s, want->name, ROLE_LOCAL, dtype, fmt, rank, extent, r->name_at);
  return frame_tensor(fr, r->name, ROLE_LOCAL, dtype, fmt, rank, extent, r->name_at);
}

static bool declare_result(Frame *fr, const AResult *r, const Want *want) {
  Expr *extent[LIMIT_RANK];
  int rank;
  TypeRef t = resolve_type(fr, &r->type.dtype);
  if (t.ok && t.dtype == DT_NONE) {
    sema_error(fr, E_type_variable_unbound, r->type.dtype.at, "no parameter has the type variable `%s`", r->type.dtype.name);
    const char *near = near_type(fr, r->type.dtype.name);
    if (near) diag_help(fr->s->d, "did you mean `%s`?", near);
    return false;
  }
  if (r->type.dots && !fr->dots)
    return sema_error(fr, E_dots_unmatched, r->type.at,
                      "no parameter has `..`, so there are no leading dimensions to stand for"), false;
  Format *fmt = t.ok ? type_format(fr, t) : NULL;
  if (!t.ok || (t.format && !fmt) || !type_extents(fr, &r->type, &rank, extent)) return false;
  if (!check_extents(fr, t.dtype, fmt, rank, extent, r->type.at)) return false;
  if (fmt && !fmt->v) {
    sema_error(fr, E_format_encode, r->type.at, "`%s` has no `encode`, so a result cannot be stored in it", fmt->name);
    diag_label(fr->s->d, fmt->at, "`%s` is defined here", fmt->name);
    return false;
  }
  Binding *b = frame_bind(fr, BIND_TENSOR, r->name, r->name_at);
  b->result = b->declared = true;
  b->defined = false;
  b->dtype = t.dtype;
  b->rank = rank;
  for (int k = 0; k < rank; k++) b->extent[k] = extent[k];
  b->t = result_tensor(fr, r, want, t.dtype, fmt, rank, extent);
  if (!fr->caller) vec_push(fr->s->a, &fr->s->f->results, b->t);
  return true;
}

bool declare_results(Frame *fr, int nwant, const Want *want) {
  bool ok = true;
  for (int i = 0; i < fr->fn->nresults; i++) {
    bool good = declare_result(fr, &fr->fn->result[i], i < nwant ? &want[i] : NULL);
    if (!good) {
      Binding *b = frame_bind(fr, BIND_POISON, fr->fn->result[i].name, fr->fn->result[i].name_at);
      b->result = true;
    }
    ok = ok && good;
  }
  return ok;
}

static bool has_updates(const AFn *fn) {
  for (int i = 0; i < fn->nstmts; i++)
    if (fn->stmt[i].kind == AS_UPDATE) return true;
  return false;
}

// The first place in the parameters' shapes that has this name.
static const AExpr *dimension_named(const AFn *fn, Name name) {
  for (int i = 0; i < fn->nparams; i++)
    for (int k = 0; k < fn->param[i].type.rank; k++)
      if (mentions(fn->param[i].type.dim[k], name)) return fn->param[i].type.dim[k];
  return NULL;
}

static bool is_no_dimension(Frame *fr, const AType *type, Name name, Span at, const char *what) {
  const AFn *fn = fr->fn;
  Sema *s = fr->s;
  const AExpr *dim = dimension_named(fn, name);
  if (type->shaped && dim) {
    sema_error(fr, E_duplicate_name, at, "%s `%s` has the name of a dimension", what, name);
    diag_label(s->d, dim->at, "dimension `%s`", name);
    return false;
  }
  dim = is_variable(fr, &type->dtype) ? dimension_named(fn, type->dtype.name) : NULL;
  if (!dim) return true;
  sema_error(fr, E_unknown_type, type->dtype.at, "`%s` is a dimension of this function, so it cannot be a type too",
             type->dtype.name);
  diag_label(s->d, dim->at, "dimension `%s`", type->dtype.name);
  return false;
}

// Dimensions have names of their own among tensors and type variables.
static bool distinct_names(Frame *fr) {
  const AFn *fn = fr->fn;
  bool ok = true;
  for (int i = 0; i < fn->nparams; i++)
    ok = is_no_dimension(fr, &fn->param[i].type, fn->param[i].name, fn->param[i].name_at, "parameter") && ok;
  for (int i = 0; i < fn->nresults; i++)
    ok = is_no_dimension(fr, &fn->result[i].type, fn->result[i].name, fn->result[i].name_at, "result") && ok;
  return ok;
}

static bool param_head(Frame *fr, int i) {
  const AFn *fn = fr->fn;
  const AParam *p = &fn->param[i];
  bool ok = true;
  for (int k = 0; k < i; k++) {
    if (fn->param[k].name != p->name) continue;
    sema_error(fr, E_duplicate_name, p->name_at, "two parameters are called `%s`", p->name);
    diag_label(fr->s->d, fn->param[k].name_at, "first here");
    ok = false;
  }
  if (p->type.rank > LIMIT_RANK)
    ok = (sema_error(fr, E_limit_rank, p->type.at, "a tensor has at most %d dimensions", LIMIT_RANK), false);
  if (i > 0 && fn->param[i - 1].init && !p->init)
    ok = (sema_error(fr, E_default_value, p->at, "`%s` has no default but stands after a parameter that has one", p->name), false);
  if (p->mut && !p->type.shaped)
    ok = (sema_error(fr, E_update_not_mut, p->at, "`%s` is a scalar; `mut` marks tensors", p->name), false);
  if (p->init && p->mut)
    ok = (sema_error(fr, E_default_value, p->init->at, "a `mut` parameter cannot have a default"), false);
  return ok;
}

static bool result_head(Frame *fr, int i) {
  const AFn *fn = fr->fn;
  const AResult *r = &fn->result[i];
  bool ok = true;
  for (int k = 0; k < fn->nparams + i; k++) {
    bool param = k < fn->nparams;
    const AResult *other = &fn->result[param ? 0 : k - fn->nparams];
    if ((param ? fn->param[k].name : other->name) != r->name) continue;
    sema_error(fr, E_duplicate_name, r->name_at, "`%s` is %s already", r->name, param ? "a parameter" : "a result");
    diag_label(fr->s->d, param ? fn->param[k].name_at : other->name_at, "first here");
    ok = false;
  }
  return ok;
}

// What can be said of a function's head without a call.
bool signature(Frame *fr) {
  const AFn *fn = fr->fn;
  int n = fn->nparams + fn->nresults;
  bool ok = true;
  if (n > LIMIT_PARAMS) {
    sema_error(fr, E_limit_params, fn->name_at, "`%s` has %d parameters and results; %d is the limit", fn->name, n, LIMIT_PARAMS);
    return false;
  }
  for (int i = 0; i < fn->nparams; i++) ok = param_head(fr, i) && ok;
  for (int i = 0; i < fn->nresults; i++) ok = result_head(fr, i) && ok;
  ok = distinct_names(fr) && ok;
  if (fn->nresults == 0 && !fn_has_mut(fn) && !has_updates(fn)) {
    sema_error(fr, E_no_result, fn->name_at, "`%s` gives nothing: it has no result and changes no `mut` parameter", fn->name);
    ok = false;
  }
  return ok;
}

// Calls.

static Val scalar_call(Env *v, const AExpr *e, Item *item) {
  Sema *s = v->fr->s;
  bool wide = s->wide_ints;
  s->wide_ints = false;
  Frame *fr = instance(v, e, item);
  Val val = NO_VAL;
  if (fr && bind_arguments(v, fr, e)) {
    where_conditions(fr);
    val = scalar_body(v, fr);
  }
  s->wide_ints = wide;
  return val;
}

// Elaborates the body of a called function with tensors; its results by name, NULL after an error. `statement`: the
// call stands alone right of `=`, where it may change tensors.
Binding **call_results(Env *v, const AExpr *e, const char *prefix, int nwant, const Want *want, bool statement) {
  Sema *s = v->fr->s;
  Item *item = called_function(v, e);
  if (fn_has_mut(item->fn) && !statement) {
    sema_error(v->fr, E_call_place, e->at, "`%s` changes a tensor; its call stands alone right of `=`", e->name);
    return diag_help(s->d, "give the call an equation of its own: `t = %s`", source_text(s, e->at)), NULL;
  }
  bool wide = s->wide_ints;
  s->wide_ints = false;
  Frame *fr = instance(v, e, item);
  Binding **results = NULL;
  if (fr) fr->prefix = prefix;
  if (fr && bind_arguments(v, fr, e)) {
    where_conditions(fr);
    bool ok = declare_results(fr, nwant, want);
    function_body(fr);
    results = arena_array(s->a, Binding *, fr->fn->nresults);
    for (int i = 0; i < fr->fn->nresults; i++) {
      results[i] = frame_find(fr, fr->fn->result[i].name);
      ok = ok && results[i]->kind == BIND_TENSOR && results[i]->defined;
    }
    if (!ok) results = NULL;
  }
  s->wide_ints = wide;
  return results;
}

static Val tensor_call(Env *v, const AExpr *e, Item *item) {
  Sema *s = v->fr->s;
  const AFn *fn = item->fn;
  if (v->pure) {
    sema_error(v->fr, v->pure_code, e->at, "`%s` computes with tensors", e->name);
    return NO_VAL;
  }
  if (fn->nresults != 1 && !fn_has_mut(fn)) {
    sema_error(v->fr, E_result_count, e->at, "`%s` has %d results; an expression takes one", e->name, fn->nresults);
    diag_help(s->d, "name them in an equation of their own: `a, b = %s`", source_text(s, e->at));
    return NO_VAL;
  }
  const char *name = v->hint ? arena_printf(s->a, "%s_%s", v->hint, e->name) : e->name;
  Want want = {.name = intern(s->names, name)};
  Binding **r = call_results(v, e, name, 1, &want, false);
  if (!r) return NO_VAL;
  if (r[0]->rank && !v->w) {
    sema_error(v->fr, E_whole_tensor, e->at, "`%s(…)` is a tensor of shape %s and needs subscripts here", e->name,
               shape_text(s, r[0]->rank, r[0]->extent));
    diag_help(s->d, "subscript the call: `%s(…)[…]`", e->name);
    return NO_VAL;
  }
  return read_whole(v, r[0], e->at);
}

// `T(x)` of a type variable reads like a call.
static bool casts_to_variable(const Env *v, const AExpr *e) {
  for (int i = 0; i < v->fr->types.n; i++)
    if (v->fr->types.v[i].name == e->name) return true;
  return false;
}

static Val variable_cast(Env *v, const AExpr *e) {
  AExpr as_cast = *e;
  if (e->nargs != 1) return report_count(v, e, 1, 1), NO_VAL;
  as_cast.kind = A_CAST;
  as_cast.type = (ADtype){DT_NONE, e->name, e->name_at};
  return cast(v, &as_cast);
}

Val call(Env *v, const AExpr *e) {
  Item *item = called_function(v, e);
  if (casts_to_variable(v, e)) return variable_cast(v, e);
  if (item) return fn_is_scalar(item->fn) ? scalar_call(v, e, item) : tensor_call(v, e, item);
  if (op_by_name(e->name) != OP_NONE || strcmp(e->name, "clamp") == 0) return built_in(v, e);
  return unknown_function(v, e);
}
