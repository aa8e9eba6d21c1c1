// sema_expr.c: expressions: names, reads, conditionals, casts.
#include "frontend/sema_int.h"
#include <string.h>

// Names.

static const Guard *guard_push(Env *v, Expr *cond) {
  Guard *g = arena_new(v->fr->s->a, Guard);
  *g = (Guard){cond, v->guard};
  return g;
}

static Val index_value(Env *v, const Bound *b, Span at) {
  if (v->in_sub) use_longer(v, b->ix, at);
  return val_of(expr_index(v->fr->s->x, b->ix));
}

Index *whole_index(Env *v, int from_last, Span at) {
  if (!v->w[from_last]) v->w[from_last] = index_new(v->fr->s->x, NULL, at);
  return v->w[from_last];
}

// Dimensions, scalar arguments and arithmetic on them: what an extent may be made of.
static void spoil_unless_pure(void *cx, Expr *e) {
  bool scalar = e->op == OP_READ && e->u.t->rank == 0 && e->u.t->role == ROLE_PARAM;
  bool data = e->op == OP_REDUCE || e->op == OP_FIELD || e->op == OP_UNIFORM || (e->op == OP_READ && !scalar);
  if (data || e->op == OP_INDEX) *(bool *)cx = false;
}

static bool is_pure(Expr *e) {
  bool pure = true;
  if (e->op == OP_DIM || e->op == OP_CONST) return true;
  Arena *scratch = arena_create();
  expr_visit(scratch, e, spoil_unless_pure, &pure);
  arena_destroy(scratch);
  return pure;
}

static const char *pure_use(Code code) {
  switch (code) {
  case E_where_form: return "a where-condition states what holds of dimensions and scalar arguments";
  case E_default_value: case E_not_constant: return "the value must be known at compile time";
  default: return "an extent comes from dimensions and scalar arguments";
  }
}

// Data where only dimensions and scalar arguments can stand. In a called function it came with the argument.
static Val not_pure(Env *v, const Binding *b, const char *name, Span at) {
  Frame *fr = v->fr;
  Sema *s = fr->s;
  if (b && b->kind == BIND_VALUE && b->param && fr->caller) {
    sema_error(fr->caller, v->pure_code, b->arg_at, "the argument for `%s` is data; %s", name, pure_use(v->pure_code));
    diag_label(s->d, at, "`%s` uses it here", fr->fn->name);
  } else {
    sema_error(fr, v->pure_code, at, "`%s` is data; %s", name, pure_use(v->pure_code));
  }
  if (v->pure_code == E_extent_from_data)
    diag_help(s->d, "compute over all elements and put the range into the reduction that reads them");
  return NO_VAL;
}

// A scalar equation over dimensions stands for its value in extents.
static Val pure_value(Env *v, Binding *b, Span at) {
  if (b->kind == BIND_VALUE && b->val.e && is_pure(b->val.e)) return b->val;
  if (b->kind == BIND_TENSOR && b->rank == 0 && b->t && b->defined) {
    Eqn *q = fn_def(v->fr->s->f, b->t);
    if (q && !b->t->stored && is_pure(q->body)) return val_of(q->body);
  }
  return not_pure(v, b, b->name, at);
}

static void list_read(Env *v, Buf *text, const Binding *b) {
  static const char *const letters[] = {"i", "j", "k", "l", "m", "n", "o", "p"};
  buf_printf(text, "%s[", b->name);
  for (int k = 0; k < b->rank; k++) {
    const Bound *up = v->bound;
    for (int skip = b->rank - 1 - k; up && skip; skip--) up = up->up;
    buf_printf(text, "%s%s", k ? ", " : "", up ? up->name : letters[k]);
  }
  buf_putc(text, ']');
}

static void report_whole(Env *v, const Binding *b, Span at) {
  Sema *s = v->fr->s;
  Buf text = buf_make(s->a);
  sema_error(v->fr, E_whole_tensor, at, "`%s` is a tensor of %d dimension%s and needs subscripts here", b->name, b->rank,
             b->rank == 1 ? "" : "s");
  diag_label(s->d, b->at, "shape %s", shape_text(s, b->rank, b->extent));
  list_read(v, &text, b);
  diag_help(s->d, "write `%s`", text.s);
}

static bool readable(Env *v, const Binding *b, bool subscripted, Span at) {
  if (b->kind == BIND_POISON) return false;
  if (b->kind == BIND_NOTHING)
    return sema_error(v->fr, E_not_a_value, at, "`%s` stands for nothing: the function called has no result", b->name);
  if (!b->defined && !b->pending) {
    sema_error(v->fr, E_used_before, at, "`%s` is read before its equation", b->name);
    diag_label(v->fr->s->d, b->at, "declared here");
    diag_help(v->fr->s->d, "move the equation of `%s` up", b->name);
    return false;
  }
  if (b->pending && !subscripted && b->rank > 0)
    return sema_error(v->fr, E_cycle, at, "`%s` is read as a whole by an equation that it depends on", b->name);
  if (b->pending && !subscripted) return sema_error(v->fr, E_cycle, at, "`%s` depends on itself", b->name);
  return true;
}

// A fill as a tensor, for places that need one: `t[i, j] = value`.
static Tensor *store_fill(Env *v, Binding *b) {
  Frame *fr = v->fr;
  Sema *s = fr->s;
  Index *ix[LIMIT_RANK];
  for (int k = 0; k < b->rank; k++) ix[k] = index_new(s->x, intern_n(s->names, &"ijklmnop"[k], 1), b->at);
  b->t = frame_tensor(fr, b->name, ROLE_LOCAL, (Dtype)b->val.e->dtype, NULL, b->rank, b->extent, b->at);
  add_equation(fr, b->t, b->rank, ix, b->val.e, b->at);
  return b->t;
}

Tensor *binding_tensor(Env *v, Binding *b) {
  if (b->kind == BIND_MUT) return b->cell->cur;
  if (b->kind == BIND_FILL && !b->t) return store_fill(v, b);
  return b->t;
}

// A whole tensor, element by element: W subscripts aligned at the last dimension; a dimension of extent 1 stretches.
Val read_whole(Env *v, Binding *b, Span at) {
  Sema *s = v->fr->s;
  if (b->kind == BIND_LAMBDA || (!v->w && b->rank > 0)) return report_whole(v, b, at), NO_VAL;
  Shape *shape = arena_new(s->a, Shape);
  Expr *sub[LIMIT_RANK];
  shape->rank = b->rank;
  for (int k = 0; k < b->rank; k++) {
    int64_t c;
    bool one = extent_const(b->extent[k], &c) && c == 1;
    sub[k] = one ? expr_int(s->x, DT_I64, 0, at) : expr_index(s->x, whole_index(v, b->rank - 1 - k, at));
    shape->extent[k] = b->extent[k];
  }
  if (b->kind == BIND_FILL) return val_shaped(b->val.e, shape);
  return val_shaped(expr_read(s->x, binding_tensor(v, b), b->rank, sub, NULL, at), shape);
}

static void note_value_uses(Env *v, const Binding *b, Span at) {
  if (b->uses) use_inner(v, b->uses);
  for (int k = 0; v->in_sub && b->val.e && k < b->val.e->free->n; k++) use_longer(v, b->val.e->free->ix[k], at);
}

static Val binding_value(Env *v, Binding *b, Span at) {
  if (b->kind == BIND_DIM) return b->val;
  if (!readable(v, b, false, at)) return NO_VAL;
  if (v->pure) return pure_value(v, b, at);
  if (b->kind != BIND_VALUE) return read_whole(v, b, at);
  note_value_uses(v, b, at);
  return b->val;
}

// A table as a binding, so that it reads like any other tensor.
static Binding *table_binding(Env *v, Item *item) {
  Sema *s = v->fr->s;
  Tensor *t = const_table(s, item);
  if (!t) return NULL;
  Binding *b = arena_new(s->a, Binding);
  *b = (Binding){.kind = BIND_TENSOR, .name = item->name, .at = item->at, .defined = true, .t = t, .dtype = t->dtype, .rank = 1};
  b->extent[0] = t->extent[0];
  return b;
}

// The binding that a name has as a tensor or value; NULL for indices, scalar constants and unknown names.
static Binding *tensor_named(Env *v, Name name, bool *bad) {
  *bad = false;
  Binding *b = frame_find(v->fr, name);
  if (b) return b;
  Item *item = unit_lookup(&v->fr->s->p->units, v->fr->unit, name);
  if (!item || item->kind != AI_CONST) return NULL;
  ConstValue *c = const_value(v->fr->s->p, item);
  if (!c) return *bad = true, NULL;
  if (!c->table) return NULL;
  b = table_binding(v, item);
  *bad = !b;
  return b;
}

static Val name_value(Env *v, const AExpr *e) {
  const Bound *ix = env_index(v, e->name);
  bool bad;
  if (ix) return index_value(v, ix, e->at);
  Binding *b = tensor_named(v, e->name, &bad);
  if (bad) return NO_VAL;
  if (b) return binding_value(v, b, e->at);
  Item *item = unit_lookup(&v->fr->s->p->units, v->fr->unit, e->name);
  if (item && item->kind == AI_CONST) return const_val(v->fr->s, item, e->at);
  sema_unknown(v, e->name, e->at);
  return NO_VAL;
}

// Reads with subscripts.

// In a scalar function that works on whole tensors, a subscript has their shape, and so has the value read.
typedef struct Subs {
  int n;
  Expr *e[LIMIT_RANK];
  Index *lone[LIMIT_RANK];
  Span at[LIMIT_RANK];
  const Shape *shape[LIMIT_RANK];
  bool ok;
} Subs;

static bool int_literals(Sema *s) {
  bool before = s->wide_ints;
  s->wide_ints = true;
  return before;
}

// An integer expression as i64: a subscript or a bound. Its shape goes to *shape where it may have one.
Expr *expr_scalar_int(Env *v, const AExpr *e, const char *what, const Shape **shape) {
  Sema *s = v->fr->s;
  bool before = int_literals(s);
  Val val = expr(v, e);
  s->wide_ints = before;
  if (!val.e) return NULL;
  if (val.shape && !(shape && v->fr->scalar)) return sema_error(v->fr, E_not_scalar, e->at, "%s is a whole tensor", what);
  if (shape) *shape = val.shape;
  if (!dtype_is_int((Dtype)val.e->dtype)) {
    sema_error(v->fr, E_subscript_type, e->at, "%s is %s, not an integer", what, dtypes[val.e->dtype].name);
    if (e->kind == A_BINARY && e->op == AO_DIV) {
      diag_help(s->d, "`/` gives a float; `//` divides integers");
      diag_fix(s->d, e->name_at, "//");
    } else {
      diag_help(s->d, "cast it: `i32(%s)`", source_text(s, e->at));
    }
    return NULL;
  }
  return val_as(s, &val, DT_I64, e->at);
}

// An index alone: itself, or a scalar parameter that an index was passed for.
static Index *lone_index(Env *v, const AExpr *e) {
  if (e->kind != A_NAME) return NULL;
  const Bound *b = env_index(v, e->name);
  if (b) return b->ix;
  Binding *p = frame_find(v->fr, e->name);
  bool passed = p && p->kind == BIND_VALUE && p->val.e && p->val.e->op == OP_INDEX;
  return passed ? p->val.e->u.ix : NULL;
}

static void one_subscript(Env *v, const AExpr *e, Subs *out) {
  int k = out->n++;
  out->at[k] = e->at;
  out->lone[k] = lone_index(v, e);
  if (out->lone[k]) {
    out->e[k] = expr_index(v->fr->s->x, out->lone[k]);
    return;
  }
  Env in = *v;
  in.in_sub = true;
  out->e[k] = expr_scalar_int(&in, e, "the subscript", &out->shape[k]);
  if (!out->e[k]) out->ok = false;
}

static bool dots_subscripts(Env *v, const ASub *sub, Subs *out) {
  if (!v->fr->dots)
    return sema_error(v->fr, E_dots_unmatched, sub->at,
                      "`..` stands for the leading dimensions of a function whose shapes have `..`"), false;
  if (!v->dots) {
    sema_error(v->fr, E_dots_unmatched, sub->at, "`..` has no indices here");
    diag_help(v->fr->s->d, "bind them on the left, `y[.., i] = …`, or with a reduction, `sum[..](…)`");
    return false;
  }
  for (int k = 0; k < v->dots->n && out->n < LIMIT_RANK; k++) {
    out->at[out->n] = sub->at;
    out->lone[out->n] = v->dots->ix[k];
    out->e[out->n++] = expr_index(v->fr->s->x, v->dots->ix[k]);
  }
  return true;
}

static void report_rank(Env *v, const Binding *b, int got, Span at) {
  Sema *s = v->fr->s;
  if (b->rank == 0) {
    sema_error(v->fr, E_rank_mismatch, at, "`%s` is a scalar; it takes no subscripts", b->name);
  } else {
    sema_error(v->fr, E_rank_mismatch, at, "`%s` has %d dimension%s but %d subscript%s here", b->name, b->rank,
               b->rank == 1 ? "" : "s", got,
               got == 1 ? "" : "s");
  }
  if (b->rank) diag_label(s->d, b->at, "shape %s", shape_text(s, b->rank, b->extent));
}

// The subscripts as expressions; `..` expands. False after an error.
static bool subscripts(Env *v, const Binding *b, int nsubs, const ASub *sub, Span at, Subs *out) {
  *out = (Subs){.ok = true};
  int dots = nsubs && sub[0].kind == SUB_DOTS, total = nsubs - dots + (dots && v->dots ? v->dots->n : 0);
  for (int k = 0; k < nsubs; k++) {
    if (sub[k].kind == SUB_RANGE)
      return sema_error(v->fr, E_index_form, sub[k].at,
                        "a range binds an index; it stands in the brackets of a reduction"), false;
    if (sub[k].kind == SUB_DOTS && k)
      return sema_error(v->fr, E_misplaced_dots, sub[k].at, "`..` comes first among subscripts"), false;
  }
  if (dots && !dots_subscripts(v, &sub[0], out)) return false;
  if (b->kind != BIND_POISON && total != b->rank) return report_rank(v, b, total, at), false;
  for (int k = dots; k < nsubs && out->n < LIMIT_RANK; k++) one_subscript(v, sub[k].e, out);
  return out->ok;
}

static void record_uses(Env *v, const Binding *b, const Subs *subs, bool defaulted) {
  Env guarded = *v;
  if (defaulted) guarded.guard = guard_push(v, NULL);
  for (int k = 0; k < subs->n; k++)
    if (subs->lone[k]) use_index(&guarded, subs->lone[k], b->extent[k], b->t, k, b->name, subs->at[k]);
}

// 0 <= sub < extent for every dimension.
Expr *in_range(Sema *s, int n, Expr *const *sub, Expr *const *extent, Span at) {
  Expr *all = NULL, *zero = expr_int(s->x, DT_I64, 0, at);
  for (int k = 0; k < n; k++) {
    Expr *lo = expr_op2(s->x, OP_LE, zero, sub[k], at), *hi = expr_op2(s->x, OP_LT, sub[k], extent[k], at);
    Expr *both = expr_op2(s->x, OP_AND, lo, hi, at);
    all = all ? expr_op2(s->x, OP_AND, all, both, at) : both;
  }
  return all ? all : expr_bool(s->x, true, at);
}

// Is a subscript in range for all values of the indices, as far as extents alone show?
static bool shown_in_range(Env *v, Expr *sub, Expr *extent, bool lone) {
  if (sub->op == OP_INDEX)
    for (const Bound *b = v->bound; b; b = b->up)
      if (b->ix == sub->u.ix)
        return b->extent ? b->from_zero && extents_agree(v->fr->s, b->extent, extent) == AGREE_YES : lone && !v->guard;
  int64_t lo, hi, n;
  return int_range(sub, v->bound, &lo, &hi) && extent_const(extent, &n) && lo >= 0 && hi < n;
}

static bool all_in_range(Env *v, const Binding *b, const Subs *subs) {
  for (int k = 0; k < subs->n; k++)
    if (!shown_in_range(v, subs->e[k], b->extent[k], subs->lone[k] != NULL)) return false;
  return true;
}

// Where out of range: the default; types are joined like those of two branches.
static Val with_default(Env *v, Expr *cond, Val in, Val out, Span at) {
  Sema *s = v->fr->s;
  Val both[2] = {in, out};
  Dtype t = in.e->dtype == DT_BOOL && out.e->dtype == DT_BOOL ? DT_BOOL : join_vals(s, 2, both);
  if (t == DT_BOOL && in.e->dtype != out.e->dtype) t = DT_I32;
  return val_of(expr_select(s->x, cond, val_as(s, &in, t, at), val_as(s, &out, t, at), at));
}

// A subscript that may leave the range is read from a tensor of indices, t_range[i] = i, which is checked as any read.
static Expr *checked_subscript(Env *v, const Binding *b, Expr *sub, int k, Span at) {
  Frame *fr = v->fr;
  Sema *s = fr->s;
  Index *ix = index_new(s->x, intern(s->names, "i"), at);
  const char *name = arena_printf(s->a, "%s_%s_range", v->hint ? v->hint : fr->fn->name, b->name);
  Tensor *t = named_tensor(s, name, ROLE_LOCAL, DT_I64, NULL, 1, &b->extent[k], at);
  return add_equation(fr, t, 1, &ix, expr_index(s->x, ix), at) ? expr_read(s->x, t, 1, &sub, NULL, at) : NULL;
}

static bool check_subscripts(Env *v, const Binding *b, Subs *subs, Span at) {
  for (int k = 0; k < subs->n; k++) {
    if (shown_in_range(v, subs->e[k], b->extent[k], subs->lone[k] != NULL)) continue;
    subs->e[k] = checked_subscript(v, b, subs->e[k], k, at);
    if (!subs->e[k]) return false;
  }
  return true;
}

static Val read_lambda(Env *v, const Binding *b, Subs *subs, const Val *otherwise, Span at) {
  Sema *s = v->fr->s;
  if (!b->val.e) return NO_VAL;
  if (b->uses) use_inner(v, b->uses);
  if (otherwise) {
    Val in = val_of(subst_folded(s, b->val.e, b->rank, b->ix, subs->e));
    return with_default(v, in_range(s, subs->n, subs->e, b->extent, at), in, *otherwise, at);
  }
  bool known = all_in_range(v, b, subs) || (v->fr->fn && !v->pure && check_subscripts(v, b, subs, at));
  if (known) return val_of(subst_folded(s, b->val.e, b->rank, b->ix, subs->e));
  sema_error(v->fr, E_out_of_bounds, at, "this subscript of `%s` is not shown to be in range", b->name);
  diag_note(s->d, "`%s` has shape %s", b->name, shape_text(s, b->rank, b->extent));
  diag_help(s->d, "limit it, as in `%s[i %% n]`, or give a value for other places: `%s[i] ?? 0`", b->name, b->name);
  return NO_VAL;
}

static Val read_fill(Env *v, Binding *b, const Subs *subs, const Val *otherwise, Span at) {
  Sema *s = v->fr->s;
  if (all_in_range(v, b, subs)) return val_of(b->val.e);
  if (otherwise) return with_default(v, in_range(s, subs->n, subs->e, b->extent, at), val_of(b->val.e), *otherwise, at);
  return val_of(expr_read(s->x, binding_tensor(v, b), b->rank, subs->e, NULL, at));
}

// The subscript with every index at one end of its range; NULL when an extent is not known yet.
static Expr *at_corner(Env *v, Expr *sub, bool last) {
  Sema *s = v->fr->s;
  Index *ix[LIMIT_RANK];
  Expr *by[LIMIT_RANK];
  int n = 0;
  for (const Bound *b = v->bound; b && n < LIMIT_RANK; b = b->up) {
    if (!b->extent) return NULL;
    ix[n] = b->ix;
    Expr *zero = expr_int(s->x, DT_I64, 0, sub->at), *one = expr_int(s->x, DT_I64, 1, sub->at);
    by[n++] = last ? expr_op2(s->x, OP_SUB, b->extent, one, sub->at) : zero;
  }
  return expr_subst(s->x, sub, n, ix, by);
}

// A read that is evaluated for all values of the indices leaves its dimension at one end of them, unless there are
// no elements at all: that is a mistake whatever the arguments are.
static bool surely_outside(Env *v, Expr *sub, Expr *extent, Expr **value, bool *last) {
  int64_t c;
  for (*last = false;; *last = true) {
    *value = at_corner(v, sub, *last);
    if (*value && (*value)->free->n == 0) {
      if (extent_const(*value, &c) && c < 0) return true;
      if (extent_difference(*value, extent, &c) && c >= 0) return true;
    }
    if (*last) return false;
  }
}

static bool reads_inside(Env *v, const Binding *b, const Subs *subs, Span at) {
  Sema *s = v->fr->s;
  Expr *value;
  bool last;
  for (int k = 0; k < subs->n && v->certain && !v->guard; k++) {
    if (subs->lone[k] || !b->extent[k] || !surely_outside(v, subs->e[k], b->extent[k], &value, &last)) continue;
    sema_error(v->fr, E_out_of_bounds, subs->at[k], "subscript %d of `%s` is out of range", k, b->name);
    diag_label(s->d, b->at, "`%s` has shape %s", b->name, shape_text(s, b->rank, b->extent));
    if (v->bound && subs->e[k]->free->n)
      diag_note(s->d, "it is %s where the index is %s", expr_text(s, extent_normal(s, value)), last ? "last" : "0");
    else diag_note(s->d, "it is %s", expr_text(s, extent_normal(s, value)));
    diag_help(s->d, "limit the index, read under a condition, or give a value for such places: `%s ?? 0`", source_text(s, at));
    return false;
  }
  return true;
}

static Val read_tensor(Env *v, Tensor *t, const Subs *subs, const Val *otherwise, Span at) {
  Sema *s = v->fr->s;
  if (!otherwise) return val_of(expr_read(s->x, t, subs->n, subs->e, NULL, at));
  Dtype own = dtype_wide(t->dtype);
  bool adapts = otherwise->lit == LIT_INT ? own != DT_BOOL && literal_fits(otherwise, own)
                                          : otherwise->lit == LIT_FLOAT && dtype_is_float(own);
  bool same = adapts || otherwise->e->dtype == own;
  if (same) return val_of(expr_read(s->x, t, subs->n, subs->e, val_as(s, otherwise, own, at), at));
  for (int k = 0; k < t->rank; k++)
    if (!t->extent[k]) {
      sema_error(v->fr, E_extent_missing, at, "the extents of `%s` are not known yet, which this default of another type needs",
                 t->name);
      diag_help(s->d, "cast the default to %s, or write bounds left of `=`", dtypes[own].name);
      return NO_VAL;
    }
  Val in = val_of(expr_read(s->x, t, subs->n, subs->e, NULL, at));
  return with_default(v, in_range(s, subs->n, subs->e, t->extent, at), in, *otherwise, at);
}

static Val default_value(Env *v, const AExpr *e) {
  Env right = *v;
  right.guard = guard_push(v, NULL);
  Val val = expr(&right, e);
  if (val.e && val.shape && !v->fr->scalar)
    return sema_error(v->fr, E_not_scalar, e->at, "the value after `??` is a whole tensor"), NO_VAL;
  return val;
}

static Val read_elements(Env *v, Binding *b, Subs *subs, const Val *otherwise, Span at) {
  if (b->kind == BIND_LAMBDA) return read_lambda(v, b, subs, otherwise, at);
  if (b->kind == BIND_FILL) return read_fill(v, b, subs, otherwise, at);
  if (!otherwise && !reads_inside(v, b, subs, at)) return NO_VAL;
  return read_tensor(v, binding_tensor(v, b), subs, otherwise, at);
}

// The shape of a value read in a scalar function: that of its subscripts, its default and the tensor's own elements.
static Val shaped_read(Env *v, const Binding *b, const Subs *subs, const Val *otherwise, Val val, Span at) {
  Val part[LIMIT_RANK + 2];
  Span where[LIMIT_RANK + 2];
  int n = 0;
  const Shape *shape;
  if (!val.e || !v->fr->scalar) return val;
  for (int k = 0; k < subs->n; k++) where[n] = subs->at[k], part[n++] = val_shaped(subs->e[k], subs->shape[k]);
  where[n] = at, part[n++] = val_shaped(val.e, b->kind == BIND_LAMBDA ? b->val.shape : NULL);
  where[n] = at, part[n++] = otherwise ? *otherwise : NO_VAL;
  return broadcast(v, n, part, where, at, &shape) ? val_shaped(val.e, shape) : NO_VAL;
}

// `name[subs] ?? otherwise`.
Val read_binding(Env *v, Binding *b, const AExpr *e, int nsubs, const ASub *sub, const AExpr *otherwise) {
  Subs subs;
  if (v->pure && b->kind != BIND_POISON) return not_pure(v, b, b->name, e->at);
  bool ok = readable(v, b, true, e->arg[0]->at) && subscripts(v, b, nsubs, sub, e->at, &subs);
  Val other = otherwise ? default_value(v, otherwise) : NO_VAL;
  if (!ok || (otherwise && !other.e)) return NO_VAL;
  const Val *def = otherwise ? &other : NULL;
  if (b->kind == BIND_VALUE || b->kind == BIND_DIM) return binding_value(v, b, e->at);
  record_uses(v, b, &subs, otherwise != NULL);
  return shaped_read(v, b, &subs, def, read_elements(v, b, &subs, def, e->at), e->at);
}

// What is subscripted when it is no name: a call or an expression in brackets, stored in a tensor of its own.
static Binding *stored_operand(Env *v, const AExpr *e) {
  Sema *s = v->fr->s;
  const char *hint = e->kind == A_CALL ? e->name : "part";
  Tensor *t = materialise(v, e, v->hint ? arena_printf(s->a, "%s_%s", v->hint, hint) : hint);
  if (!t) return NULL;
  Binding *b = arena_new(s->a, Binding);
  *b = (Binding){.kind = BIND_TENSOR, .name = t->name, .at = e->at, .defined = true, .t = t, .dtype = t->dtype, .rank = t->rank};
  for (int k = 0; k < t->rank; k++) b->extent[k] = t->extent[k];
  return b;
}

static Val default_alone(Env *v, const AExpr *e) {
  sema_error(v->fr, E_misplaced_default, e->at,
             "`??` gives the value where a subscript is out of range; there is no subscript here");
  return NO_VAL;
}

static Val subscripted(Env *v, const AExpr *e) {
  const AExpr *of = e->arg[0], *otherwise = e->nargs > 1 ? e->arg[1] : NULL;
  bool bad = false;
  if (e->nsubs == 0) return otherwise ? default_alone(v, e) : expr(v, of);
  if (of->kind != A_NAME) {
    Binding *b = stored_operand(v, of);
    return b ? read_binding(v, b, e, e->nsubs, e->sub, otherwise) : NO_VAL;
  }
  if (env_index(v, of->name))
    return sema_error(v->fr, E_rank_mismatch, of->at, "`%s` is an index; it takes no subscripts", of->name), NO_VAL;
  Binding *b = tensor_named(v, of->name, &bad);
  if (b) return read_binding(v, b, e, e->nsubs, e->sub, otherwise);
  if (bad) return NO_VAL;
  Item *item = unit_lookup(&v->fr->s->p->units, v->fr->unit, of->name);
  if (item && item->kind == AI_CONST)
    sema_error(v->fr, E_rank_mismatch, of->at, "`%s` is a scalar constant; it takes no subscripts", of->name);
  else if (item && item->kind == AI_FN) {
    sema_error(v->fr, E_not_a_value, of->at, "`%s` is a function; its arguments stand in round brackets", of->name);
    diag_help(v->fr->s->d, "to subscript its result, write `%s(…)[…]`", of->name);
  } else sema_unknown(v, of->name, of->at);
  return NO_VAL;
}

// Operators, conditions, casts.

static const Op operator_of[AO_COUNT] = {
  [AO_OR] = OP_OR, [AO_AND] = OP_AND, [AO_NOT] = OP_NOT, [AO_EQ] = OP_EQ, [AO_NE] = OP_NE, [AO_LT] = OP_LT, [AO_LE] = OP_LE,
  [AO_GT] = OP_GT, [AO_GE] = OP_GE, [AO_BITOR] = OP_BITOR, [AO_BITXOR] = OP_BITXOR, [AO_BITAND] = OP_BITAND, [AO_SHL] = OP_SHL,
  [AO_SHR] = OP_SHR, [AO_ADD] = OP_ADD, [AO_SUB] = OP_SUB, [AO_MUL] = OP_MUL, [AO_DIV] = OP_DIV, [AO_FLOORDIV] = OP_FLOORDIV,
  [AO_MOD] = OP_MOD, [AO_NEG] = OP_NEG, [AO_BITNOT] = OP_BITNOT, [AO_POW] = OP_POW,
};

static Val operation(Env *v, const AExpr *e) {
  Val arg[2] = {NO_VAL, NO_VAL};
  Span at[2] = {e->at, e->at};
  bool lazy = e->op == AO_AND || e->op == AO_OR;
  Env right = *v;
  for (int i = 0; i < e->nargs; i++) {
    arg[i] = expr(i && lazy ? &right : v, e->arg[i]);
    at[i] = e->arg[i]->at;
    if (i == 0 && lazy && arg[0].e) right.guard = guard_push(v, arg[0].e);
  }
  return apply_op(v, operator_of[e->op], e->nargs, arg, at, e->name_at, e->at);
}

// A truth value; its shape goes to *shape when the place takes whole tensors (shape NULL: it does not).
Expr *expr_condition(Env *v, const AExpr *e, const Shape **shape) {
  Val c = expr(v, e);
  if (!c.e) return NULL;
  if (c.e->dtype != DT_BOOL) {
    sema_error(v->fr, E_condition_type, e->at, "the condition is %s, not a truth value", dtypes[c.e->dtype].name);
    diag_help(v->fr->s->d, "compare it with zero: `%s != 0`", source_text(v->fr->s, e->at));
    return NULL;
  }
  if (c.shape && !shape) return sema_error(v->fr, E_not_scalar, e->at, "the condition is a whole tensor");
  if (shape) *shape = c.shape;
  return c.e;
}

static Val conditional(Env *v, const AExpr *e) {
  Sema *s = v->fr->s;
  Val part[3] = {NO_VAL, NO_VAL, NO_VAL};
  Span at[3] = {e->arg[0]->at, e->arg[1]->at, e->arg[2]->at};
  part[0].e = expr_condition(v, e->arg[0], &part[0].shape);
  Env branch = *v;
  if (part[0].e) branch.guard = guard_push(v, part[0].e);
  part[1] = expr(&branch, e->arg[1]);
  part[2] = expr(&branch, e->arg[2]);
  if (!part[0].e || !part[1].e || !part[2].e) return NO_VAL;
  const Shape *shape;
  if (!broadcast(v, 3, part, at, e->at, &shape)) return NO_VAL;
  bool bools = part[1].e->dtype == DT_BOOL && part[2].e->dtype == DT_BOOL;
  Dtype t = bools ? DT_BOOL : join_vals(s, 2, &part[1]);
  return val_shaped(expr_select(s->x, part[0].e, val_as(s, &part[1], t, at[1]), val_as(s, &part[2], t, at[2]), e->at), shape);
}

// A dtype written in an expression; DT_NONE after an error.
static Dtype written_dtype(Env *v, const ADtype *type) {
  TypeRef t = resolve_type(v->fr, type);
  if (!t.ok) return DT_NONE;
  if (t.format) {
    sema_error(v->fr, E_format_place, type->at, "`%s` is a format; a scalar cannot have it", type->name);
    return DT_NONE;
  }
  if (t.dtype == DT_NONE) {
    sema_error(v->fr, E_type_variable_unbound, type->at, "type variable `%s` belongs to no parameter of this function",
               type->name);
    return DT_NONE;
  }
  return t.dtype;
}

Val cast(Env *v, const AExpr *e) {
  Sema *s = v->fr->s;
  Dtype to = written_dtype(v, &e->type);
  Val x = expr(v, e->arg[0]);
  if (to == DT_NONE || !x.e) return NO_VAL;
  if (x.lit != LIT_NONE && dtype_is_float(to)) return val_store(v->fr, x, to, e->at);
  return val_shaped(expr_cast_folded(s, to, x.e, e->at), x.shape);
}

// The stored type of what bitcast reinterprets; DT_NONE: it has none.
static Dtype stored_type(Env *v, const AExpr *e, const Val *x) {
  bool bad;
  if (e->kind == A_CAST) return resolve_type(v->fr, &e->type).dtype;
  if (e->kind == A_BITCAST) return resolve_type(v->fr, &e->type).dtype;
  if (e->kind == A_CALL)
    for (int i = 0; i < v->fr->types.n; i++)
      if (v->fr->types.v[i].name == e->name) return v->fr->types.v[i].dtype;
  const AExpr *name = e->kind == A_SUBSCRIPT ? e->arg[0] : e;
  if (e->kind == A_SUBSCRIPT && e->nargs > 1) return (Dtype)x->e->dtype;
  if (e->kind == A_SUBSCRIPT && name->kind == A_CALL) return expr_stored(x->e);
  if (name->kind != A_NAME || env_index(v, name->name)) return DT_NONE;
  Binding *b = tensor_named(v, name->name, &bad);
  if (!b || b->kind == BIND_DIM) return DT_NONE;
  return b->dtype != DT_NONE ? b->dtype : (Dtype)x->e->dtype;
}

static Val bitcast(Env *v, const AExpr *e) {
  Sema *s = v->fr->s;
  Dtype to = written_dtype(v, &e->type);
  Val x = expr(v, e->arg[0]);
  if (to == DT_NONE || !x.e) return NO_VAL;
  Dtype from = stored_type(v, e->arg[0], &x);
  if (from == DT_NONE) {
    sema_error(v->fr, E_bitcast_width, e->arg[0]->at, "bitcast takes a read or a cast, which have a stored type");
    diag_help(s->d, "cast it first: `bitcast(%s, %s(%s))`", dtypes[to].name, dtypes[x.e->dtype].name,
              source_text(s, e->arg[0]->at));
    return NO_VAL;
  }
  if (dtypes[from].bits != dtypes[to].bits) {
    sema_error(v->fr, E_bitcast_width, e->at, "bitcast from %s, %d bits, to %s, %d bits", dtypes[from].name, dtypes[from].bits,
               dtypes[to].name,
               dtypes[to].bits);
    diag_label(s->d, e->arg[0]->at, "stored as %s", dtypes[from].name);
    return NO_VAL;
  }
  bool stored = (x.e->op == OP_READ || x.e->op == OP_CAST) && expr_stored(x.e) == from;
  if (!stored) x.e = expr_make(s->x, OP_CAST, dtype_wide(from), (int)from, NULL, e->arg[0]->at, 1, &x.e);
  return val_shaped(expr_make(s->x, OP_BITCAST, dtype_wide(to), (int)to, NULL, e->at, 1, &x.e), x.shape);
}

static Val dispatch(Env *v, const AExpr *e) {
  Sema *s = v->fr->s;
  switch (e->kind) {
  case A_INT: return val_int(s, false, e->i, e->at);
  case A_FLOAT: return val_float(s, e->f, e->at);
  case A_INF: return val_float(s, __builtin_inf(), e->at);
  case A_NAN: return val_float(s, __builtin_nan(""), e->at);
  case A_TRUE: return val_of(expr_bool(s->x, true, e->at));
  case A_FALSE: return val_of(expr_bool(s->x, false, e->at));
  case A_NAME: return name_value(v, e);
  case A_IF: return conditional(v, e);
  case A_BINARY: case A_UNARY: return operation(v, e);
  case A_SUBSCRIPT: return subscripted(v, e);
  case A_CALL: return call(v, e);
  case A_CAST: return cast(v, e);
  case A_BITCAST: return bitcast(v, e);
  case A_REDUCE:
    if (v->pure) return not_pure(v, NULL, reducers[e->reducer].name, e->at);
    return reduction(v, e);
  }
  return NO_VAL;
}

static Val limited(Env *v, Code code, Span at, const char *text) {
  v->fr->s->stop = true;
  sema_error(v->fr, code, at, "%s", text);
  return NO_VAL;
}

// Nested calls multiply the nesting that the parser allows for one expression.
Val expr(Env *v, const AExpr *e) {
  enum { DEEPEST = 2 * LIMIT_NESTING, MOST_STEPS = 8 * LIMIT_NODES };
  Sema *s = v->fr->s;
  if (s->stop) return NO_VAL;
  if (s->x->overflow)
    return limited(v, E_limit_nodes, e->at, arena_printf(s->a, "more than %d expressions after inlining", LIMIT_NODES));
  if (s->nest >= DEEPEST) return limited(v, E_limit_depth, e->at, "expression and calls are nested too deeply");
  if (s->steps++ >= MOST_STEPS)
    return limited(v, E_limit_nodes, e->at, "the calls in this function multiply beyond what can be inlined");
  s->nest++;
  Val val = dispatch(v, e);
  s->nest--;
  if (val.e && val.e->depth > LIMIT_EXPR_DEPTH)
    return limited(v, E_limit_depth, e->at,
                   arena_printf(s->a, "the expression is more than %d deep after inlining", LIMIT_EXPR_DEPTH));
  return val;
}

// An extent: i64 over dimensions and scalar arguments; `code` reports data in it.
Expr *extent_expr(Frame *fr, const AExpr *e, Code code) {
  Env v = {.fr = fr, .pure = true, .pure_code = code};
  return expr_scalar_int(&v, e, "the extent", NULL);
}

static bool mentions_sub(const ASub *sub, Name name) {
  if (sub->kind == SUB_RANGE) return mentions(sub->lo, name) || mentions(sub->hi, name);
  return sub->kind == SUB_EXPR && mentions(sub->e, name);
}

// Does the text of e have this name, as anything but a called function?
bool mentions(const AExpr *e, Name name) {
  if (e->kind == A_NAME && e->name == name) return true;
  for (int i = 0; i < e->nargs; i++)
    if (e->arg[i] && mentions(e->arg[i], name)) return true;
  for (int i = 0; i < e->nsubs; i++)
    if (mentions_sub(&e->sub[i], name)) return true;
  return false;
}
