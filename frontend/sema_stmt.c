// sema_stmt.c: the statements of a function: equations with and without indices, calls.
#include "frontend/sema_int.h"
#include <string.h>

void poison(Binding *b) {
  b->kind = BIND_POISON;
  b->defined = true;
  b->pending = false;
}

Eqn *add_equation(Frame *fr, Tensor *def, int n, Index *const *ix, Expr *body, Span at) {
  Sema *s = fr->s;
  if (s->stop) return NULL;
  if (s->f->eqns.n >= LIMIT_EQUATIONS) {
    s->stop = true;
    return sema_error(fr, E_limit_equations, at, "more than %d equations after inlining", LIMIT_EQUATIONS);
  }
  return fn_equation(s->f, def, n, ix, body, at);
}

// A value as the body of an equation for a tensor of this type: the store itself rounds from the wide type.
Expr *stored_body(Frame *fr, const Val *val, Dtype dtype, Span at) {
  Sema *s = fr->s;
  if (val->lit != LIT_NONE) return val_store(fr, *val, dtype, at).e;
  return val->e->dtype == dtype_wide(dtype) ? val->e : expr_cast_folded(s, dtype, val->e, at);
}

// Names.

static bool already_defined(Frame *fr, const Binding *b, Name name, Span at) {
  Sema *s = fr->s;
  if (b->kind == BIND_DIM) {
    sema_error(fr, E_duplicate_name, at, "`%s` is a dimension of this function", name);
  } else if (b->kind == BIND_MUT) {
    sema_error(fr, E_equation_of_mut, at, "`%s` is a `mut` parameter and has values already", name);
    diag_label(s->d, b->at, "parameter `%s`", name);
    diag_help(s->d, "change it with `<-`");
    return true;
  } else if (b->param) {
    sema_error(fr, E_parameter_defined, at, "`%s` is a parameter; its values come from the call", name);
    diag_help(s->d, "give the equation another name");
  } else {
    sema_error(fr, E_defined_twice, at, "`%s` has two equations", name);
    diag_label(s->d, b->at, "first here");
    return true;
  }
  diag_label(s->d, b->at, "`%s`", name);
  return true;
}

// The binding that an equation for `name` defines; NULL after an error.
Binding *define_name(Frame *fr, Name name, Span at) {
  Binding *b = frame_find(fr, name);
  if (b && (b->pending || (b->result && !b->defined))) return b;
  if (b && b->result && b->kind == BIND_POISON && !b->t && !b->seen) return b->seen = true, b;
  if (b) return already_defined(fr, b, name, at), NULL;
  b = frame_bind(fr, BIND_TENSOR, name, at);
  b->defined = false;
  return b;
}

// A result whose type and shape are known.
static bool has_shape(const Binding *b) { return b->result && b->kind == BIND_TENSOR; }

// The declared type of what an equation defines. dtype DT_NONE: that of the expression. False after an error.
typedef struct Declared { Dtype dtype; Format *fmt; } Declared;

static bool declared_type(Frame *fr, const AStmt *st, const Binding *b, Declared *out) {
  *out = (Declared){DT_NONE, NULL};
  if (has_shape(b)) *out = (Declared){b->dtype, b->t->fmt};
  if (!st->typed) return true;
  TypeRef t = resolve_type(fr, &st->type);
  if (!t.ok) return false;
  if (t.dtype == DT_NONE) {
    sema_error(fr, E_type_variable_unbound, st->type.at, "no parameter has the type variable `%s`", st->type.name);
    return false;
  }
  Format *fmt = type_format(fr, t);
  if (t.format && !fmt) return false;
  if (fmt && !fmt->v) {
    sema_error(fr, E_format_encode, st->type.at, "`%s` has no `encode`, so an intermediate cannot be stored in it", fmt->name);
    diag_label(fr->s->d, fmt->at, "`%s` is defined here", fmt->name);
    return false;
  }
  if (has_shape(b) && (t.dtype != b->dtype || fmt != out->fmt)) {
    sema_error(fr, E_declared_twice, st->type.at, "result `%s` was declared with another type", st->name);
    diag_label(fr->s->d, b->at, "declared %s", out->fmt ? out->fmt->name : dtypes[b->dtype].name);
    return false;
  }
  *out = (Declared){t.dtype, fmt};
  return true;
}

// Makes the tensor of a local, when no result or recurrence has it already, and binds it.
static bool complete(Frame *fr, Binding *b, const Declared *d, const Val *val, int rank, Expr *const *extent, Span at) {
  Dtype dtype = d->dtype != DT_NONE ? d->dtype : b->t ? b->t->dtype : (Dtype)val->e->dtype;
  if (!check_extents(fr, dtype, d->fmt, rank, extent, at)) return false;
  if (!b->t) b->t = frame_tensor(fr, b->name, ROLE_LOCAL, dtype, d->fmt, rank, extent, at);
  b->dtype = dtype;
  b->rank = rank;
  b->declared = b->declared || d->dtype != DT_NONE;
  for (int k = 0; k < rank; k++) {
    if (!b->t->extent[k]) b->t->extent[k] = extent[k];
    b->extent[k] = b->t->extent[k];
  }
  b->defined = true;
  return true;
}

// Equations with indices.

static bool infer_left(Env *v, Left *left) {
  bool ok = true;
  for (int k = 0; k < left->n; k++)
    if (!left->bound[k]->extent) ok = infer_extent(v, left->bound[k], v->uses) && ok;
  return ok;
}

static bool indexed_equation(Frame *fr, const AStmt *st, Binding *b, Member *member, Group *g) {
  Env v = {.fr = fr, .uses = uses_new(fr->s), .group = g, .certain = has_shape(b) && !fr->caller,
           .hint = full_name(fr, st->name)};
  Index *ix[LIMIT_RANK];
  Expr *extent[LIMIT_RANK];
  Left left;
  Declared d;
  bool typed = declared_type(fr, st, b, &d), ok = left_indices(&v, st, &left);
  bool shaped = ok && left_extents(&v, st, &left, has_shape(b) ? b : NULL);
  Val val = ok ? expr(&v, st->e) : NO_VAL;
  if (!typed || !shaped || !val.e || b->kind == BIND_POISON || !infer_left(&v, &left)) return false;
  for (int k = 0; k < left.n; k++) ix[k] = left.bound[k]->ix, extent[k] = left.bound[k]->extent;
  if (!complete(fr, b, &d, &val, left.n, extent, st->at)) return false;
  Expr *body = stored_body(fr, &val, b->dtype, st->e->at);
  Eqn *q = body ? add_equation(fr, b->t, left.n, ix, body, st->at) : NULL;
  if (member) member->eqn = q;
  return q != NULL;
}

// Equations without.

// A name for an index of a whole-tensor equation that nothing else in the function has.
static Name free_letter(Frame *fr, int k) {
  Name name = intern_n(fr->s->names, &"ijklmnop"[k], 1);
  return frame_find(fr, name) ? intern(fr->s->names, arena_printf(fr->s->a, "%c_%d", "ijklmnop"[k], k)) : name;
}

void whole_indices(Frame *fr, Index **w, int rank, Span at, Index **ix) {
  for (int k = 0; k < rank; k++) {
    Index **from_last = &w[rank - 1 - k];
    if (!*from_last) *from_last = index_new(fr->s->x, NULL, at);
    (*from_last)->name = free_letter(fr, k);
    ix[k] = *from_last;
  }
}

// Is the value just a tensor, read over all of its elements in order?
bool plain_read(const Val *val, Index *const *w) {
  const Expr *e = val->e;
  int rank = val->shape ? val->shape->rank : 0;
  if (e->op != OP_READ || e->aux || e->u.t->rank != rank || rank == 0) return false;
  for (int k = 0; k < rank; k++)
    if (e->arg[k]->op != OP_INDEX || e->arg[k]->u.ix != w[rank - 1 - k]) return false;
  return true;
}

static bool whole_shape(Frame *fr, const AStmt *st, const Binding *b, const Shape *shape) {
  Sema *s = fr->s;
  int rank = shape ? shape->rank : 0;
  bool ok = rank == b->rank;
  for (int k = 0; ok && k < rank; k++) {
    Agree agree = extents_agree(s, b->extent[k], shape->extent[k]);
    ok = agree != AGREE_NO;
    if (agree == AGREE_UNKNOWN)
      add_where(s, expr_op2(s->x, OP_EQ, b->extent[k], shape->extent[k], st->at), st->at,
                arena_printf(s->a, "`%s` is declared %s, its expression has shape %s", st->name,
                             shape_text(s, b->rank, b->extent),
                             shape_text(s, rank, shape->extent)));
  }
  if (ok) return true;
  sema_error(fr, E_shape_mismatch, st->name_at, "`%s` is declared %s, but its expression has shape %s", st->name,
             shape_text(s, b->rank, b->extent),
             shape_text(s, rank, shape ? shape->extent : NULL));
  diag_label(s->d, b->at, "declared here");
  if (b->rank) diag_help(s->d, "with subscripts any shape can be filled: `%s[i] = …`", st->name);
  return false;
}

static bool whole_result(Frame *fr, const AStmt *st, Binding *b, const Val *val, Index **w) {
  Index *ix[LIMIT_RANK];
  Declared d;
  int rank = val->shape ? val->shape->rank : 0;
  if (!declared_type(fr, st, b, &d)) return false;
  if (has_shape(b) && !whole_shape(fr, st, b, val->shape)) return false;
  whole_indices(fr, w, rank, st->at, ix);
  if (!complete(fr, b, &d, val, rank, has_shape(b) ? b->extent : rank ? val->shape->extent : NULL, st->at)) return false;
  Expr *body = stored_body(fr, val, b->dtype, st->e->at);
  return body && add_equation(fr, b->t, rank, ix, body, st->at);
}

static bool whole_equation(Frame *fr, const AStmt *st, Binding *b) {
  Index *w[LIMIT_RANK] = {0};
  Env v = {.fr = fr, .w = w, .uses = uses_new(fr->s), .hint = full_name(fr, st->name)};
  Val val = expr(&v, st->e);
  return val.e && whole_result(fr, st, b, &val, w);
}

// Calls alone right of `=`.

// The tensor that a result became, under the caller's name; a copy where it could not become the caller's own.
static bool take_result(Frame *fr, const AStmt *st, Name name, Span at, Binding *b, Binding *r) {
  AStmt one = *st;
  one.name = name;
  one.name_at = at;
  if (b->t && b->t == r->t) return b->defined = true;
  if (!b->result && !st->typed) {
    b->t = r->t;
    b->dtype = r->dtype;
    b->rank = r->rank;
    for (int k = 0; k < r->rank; k++) b->extent[k] = r->extent[k];
    return b->defined = true;
  }
  Index *w[LIMIT_RANK] = {0};
  Env v = {.fr = fr, .w = w, .uses = uses_new(fr->s)};
  Val val = read_whole(&v, r, at);
  return val.e && whole_result(fr, &one, b, &val, w);
}

// The left side of a call without results: a `mut` parameter that it changes, or a new name that stands for nothing.
static void nothing_defined(Frame *fr, const AStmt *st) {
  Binding *b = frame_find(fr, st->name);
  const AExpr *e = st->e;
  if (!b) {
    frame_bind(fr, BIND_NOTHING, st->name, st->name_at);
    return;
  }
  for (int i = 0; b->kind == BIND_MUT && i < e->nargs; i++)
    if (e->arg[i]->kind == A_NAME && e->arg[i]->name == st->name) return;
  if (b->kind == BIND_NOTHING) return;
  already_defined(fr, b, st->name, st->name_at);
}

static void call_equation(Frame *fr, const AStmt *st, int n, const Name *names, const Span *at) {
  Sema *s = fr->s;
  Env v = {.fr = fr, .hint = full_name(fr, names[0]), .uses = uses_new(s)};
  Item *item = called_function(&v, st->e);
  const AFn *fn = item->fn;
  if (fn->nresults == 0 && n == 1) {
    if (call_results(&v, st->e, v.hint, 0, NULL, true)) nothing_defined(fr, st);
    return;
  }
  Binding **b = arena_array(s->a, Binding *, n);
  Want *want = arena_array(s->a, Want, n);
  for (int i = 0; i < n; i++) {
    b[i] = define_name(fr, names[i], at[i]);
    if (b[i]) want[i] = (Want){intern(s->names, full_name(fr, names[i])), b[i]->result && !st->typed ? b[i]->t : NULL};
    if (b[i] && st->typed) want[i].name = intern(s->names, arena_printf(s->a, "%s_%s", full_name(fr, names[i]), fn->name));
  }
  Binding **r = NULL;
  if (fn->nresults == n) {
    r = call_results(&v, st->e, v.hint, n, want, true);
  } else {
    sema_error(fr, E_result_count, st->at, "`%s` has %d result%s, not %d", fn->name, fn->nresults, fn->nresults == 1 ? "" : "s",
               n);
    diag_label(s->d, fn->name_at, "`%s` is defined here", fn->name);
  }
  for (int i = 0; i < n; i++)
    if (b[i] && (!r || b[i]->kind == BIND_POISON || !take_result(fr, st, names[i], at[i], b[i], r[i]))) poison(b[i]);
}

static bool tensor_function(Frame *fr, const AExpr *e) {
  Env v = {.fr = fr};
  Item *item = called_function(&v, e);
  return item && !fn_is_scalar(item->fn);
}

static void calls(Frame *fr, const AStmt *st) {
  Env v = {.fr = fr, .uses = uses_new(fr->s)};
  if (tensor_function(fr, st->e)) {
    call_equation(fr, st, st->nnames, st->names, st->names_at);
    return;
  }
  if (st->e->kind == A_CALL && (called_function(&v, st->e) || op_by_name(st->e->name) != OP_NONE))
    sema_error(fr, E_result_count, st->at, "`%s` has one result, not %d", st->e->name, st->nnames);
  else if (st->e->kind == A_CALL) expr(&v, st->e);
  else sema_error(fr, E_result_count, st->e->at, "several names take the results of a call");
  for (int i = 0; i < st->nnames; i++) {
    Binding *b = define_name(fr, st->names[i], st->names_at[i]);
    if (b) poison(b);
  }
}

static void equation(Frame *fr, const AStmt *st, Member *member, Group *g) {
  if (!st->shaped && tensor_function(fr, st->e)) {
    call_equation(fr, st, 1, &st->name, &st->name_at);
    return;
  }
  Binding *b = define_name(fr, st->name, st->name_at);
  if (!b) return;
  bool was_poison = b->kind == BIND_POISON;
  bool ok = st->shaped ? indexed_equation(fr, st, b, member, g) : whole_equation(fr, st, b);
  if (ok && !was_poison) return;
  poison(b);
  if (g) g->bad = true;
}

// Statements in order.

static void poison_names(Frame *fr, const AStmt *st) {
  int n = st->kind == AS_CALLS ? st->nnames : 1;
  for (int i = 0; i < n; i++) {
    Name name = st->kind == AS_CALLS ? st->names[i] : st->name;
    Binding *b = frame_find(fr, name);
    poison(b ? b : frame_bind(fr, BIND_POISON, name, st->at));
  }
}

static void run_group(Frame *fr, Group *g) {
  bool ok = group_begin(fr, g);
  for (int i = 0; i < g->n; i++) {
    if (ok) equation(fr, g->m[i].st, &g->m[i], g);
    else poison_names(fr, g->m[i].st);
  }
  if (ok) group_finish(fr, g);
}

static void check_results(Frame *fr) {
  for (int i = 0; i < fr->fn->nresults; i++) {
    const AResult *r = &fr->fn->result[i];
    Binding *b = frame_find(fr, r->name);
    if (b->defined || b->kind == BIND_POISON) continue;
    sema_error(fr, E_result_undefined, r->name_at, "result `%s` has no equation", r->name);
    poison(b);
  }
}

void function_body(Frame *fr) {
  Sema *s = fr->s;
  int n = fr->fn->nstmts;
  const AStmt **order = arena_array(s->a, const AStmt *, n);
  Group **group = arena_array(s->a, Group *, n);
  statement_order(fr, order, group);
  for (int i = 0; i < n && !s->stop; i++) {
    const AStmt *st = order[i];
    if (group[i]) {
      run_group(fr, group[i]);
      i += group[i]->n - 1;
      continue;
    }
    switch (st->kind) {
    case AS_EQUATION: equation(fr, st, NULL, NULL); break;
    case AS_CALLS: calls(fr, st); break;
    case AS_UPDATE: update(fr, st); break;
    }
  }
  if (!s->stop) check_results(fr);
}

// Scalar functions: equations become values.

static bool scalar_equation(Env *v, Frame *fr, const AStmt *st, Binding *b) {
  Env in = {.fr = fr, .w = v->w, .guard = NULL, .pure = v->pure, .pure_code = v->pure_code, .hint = v->hint, .hidden = v->hidden};
  Left left = {0};
  Declared d;
  b->uses = in.uses = v->uses ? uses_new(fr->s) : NULL;
  if (!declared_type(fr, st, b, &d)) return false;
  if (st->shaped) {
    in.w = NULL;
    if (!in.uses) in.uses = uses_new(fr->s);
    if (!left_indices(&in, st, &left)) return false;
  }
  if (d.fmt) return sema_error(fr, E_format_place, st->type.at, "a scalar function keeps nothing in a format"), false;
  if (left.n && b->result) return left_extents(&in, st, &left, b);
  Val val = expr(&in, st->e);
  if (!val.e || (st->shaped && !infer_left(&in, &left))) return false;
  val = d.dtype != DT_NONE ? val_store(fr, val, d.dtype, st->e->at) : val_shaped(val.e, val.shape);   // no longer a literal
  b->kind = left.n ? BIND_LAMBDA : BIND_VALUE;
  b->val = val;
  b->rank = left.n;
  b->dtype = d.dtype;
  for (int k = 0; k < left.n; k++) b->ix[k] = left.bound[k]->ix, b->extent[k] = left.bound[k]->extent;
  return b->defined = val.e != NULL;
}

static bool scalar_statement(Env *v, Frame *fr, const AStmt *st) {
  if (st->kind == AS_UPDATE) return update(fr, st), false;
  if (st->kind == AS_CALLS) {
    calls(fr, st);
    return true;
  }
  Binding *b = define_name(fr, st->name, st->name_at);
  if (!b) return false;
  if (b->kind != BIND_POISON && scalar_equation(v, fr, st, b)) return true;
  poison(b);
  return false;
}

bool lambda_equation(Frame *fr, const AStmt *st) {
  Env v = {.fr = fr, .uses = uses_new(fr->s), .hint = st->name};
  return scalar_statement(&v, fr, st);
}

static bool scalar_result(Frame *fr) {
  const AResult *r = &fr->fn->result[0];
  TypeRef t = resolve_type(fr, &r->type.dtype);
  Binding *b = frame_bind(fr, BIND_VALUE, r->name, r->name_at);
  b->result = b->declared = true;
  b->defined = false;
  b->dtype = t.dtype;
  if (t.ok && !t.format && t.dtype != DT_NONE) return true;
  if (t.format) sema_error(fr, E_format_place, r->type.at, "`%s` is a format; a scalar cannot have it", r->type.dtype.name);
  else if (t.ok)
    sema_error(fr, E_type_variable_unbound, r->type.dtype.at, "no parameter has the type variable `%s`", r->type.dtype.name);
  return false;
}

// The value of a scalar function whose parameters are bound.
Val scalar_body(Env *v, Frame *fr) {
  if (!scalar_result(fr)) return NO_VAL;
  for (int i = 0; i < fr->fn->nstmts; i++)
    if (fr->fn->stmt[i].kind == AS_EQUATION) map_putp(&fr->later, fr->fn->stmt[i].name, (void *)&fr->fn->stmt[i]);
  for (int i = 0; i < fr->fn->nstmts && !fr->s->stop; i++) scalar_statement(v, fr, &fr->fn->stmt[i]);
  if (fr->s->stop) return NO_VAL;
  check_results(fr);
  Binding *b = frame_find(fr, fr->fn->result[0].name);
  if (b->kind != BIND_VALUE || !b->val.e) return NO_VAL;
  if (b->uses) use_inner(v, b->uses);
  return val_shaped(b->val.e, b->val.shape);
}
