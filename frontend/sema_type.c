// sema_type.c: dtypes, literals that adapt, and operations with their conversions made explicit.
#include "frontend/sema_int.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Types.

static const TypeVar *type_variable(const Frame *fr, Name name) {
  for (int i = 0; i < fr->types.n; i++)
    if (fr->types.v[i].name == name) return &fr->types.v[i];
  return NULL;
}

// What other languages call the types.
static const char *familiar_type(Name name) {
  static const char *const table[][2] = {
    {"float", "f32"}, {"float32", "f32"}, {"single", "f32"}, {"double", "f64"}, {"float64", "f64"}, {"half", "f16"},
    {"float16", "f16"}, {"bfloat16", "bf16"}, {"float8", "f8e4m3"}, {"int", "i32"}, {"int32", "i32"}, {"long", "i64"},
    {"int64", "i64"}, {"short", "i16"}, {"int16", "i16"}, {"int8", "i8"}, {"int4", "i4"}, {"uint", "u32"}, {"uint32", "u32"}, {"uint64", "u64"}, {"uint16", "u16"},
    {"uint8", "u8"}, {"byte", "u8"}, {"uint4", "u4"}, {"boolean", "bool"},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (strcmp(name, table[i][0]) == 0) return table[i][1];
  return NULL;
}

static TypeRef unknown_type(const Frame *fr, const ADtype *t) {
  if (map_getp(&fr->s->unknown, t->name)) return (TypeRef){0};
  map_putp(&fr->s->unknown, t->name, (void *)(uintptr_t)t);
  sema_error(fr, E_unknown_type, t->at, "type `%s` is not defined", t->name);
  const char *near = familiar_type(t->name);
  if (!near) near = near_type(fr, t->name);
  if (near) {
    diag_help(fr->s->d, "did you mean `%s`?", near);
    diag_fix(fr->s->d, t->at, near);
  } else {
    diag_note(fr->s->d, "the types are f64 f32 f16 bf16 f8e4m3 f8e5m2, i64 to i4, u64 to u4, bool, formats, and type "
                        "variables, which begin with a capital");
  }
  return (TypeRef){0};
}

// A dtype, a format, or a type variable; variable without a dtype: nothing has bound it yet.
TypeRef resolve_type(const Frame *fr, const ADtype *t) {
  if (t->dtype != DT_NONE) return (TypeRef){.dtype = t->dtype, .ok = true};
  const TypeVar *var = type_variable(fr, t->name);
  if (var) return (TypeRef){.dtype = var->dtype, .variable = true, .ok = var->dtype != DT_NONE};
  Item *item = unit_lookup(&fr->s->p->units, fr->unit, t->name);
  if (item && item->kind == AI_FORMAT) return (TypeRef){.dtype = DT_F32, .format = item, .ok = true};
  if (!isupper((unsigned char)t->name[0])) return unknown_type(fr, t);
  Binding *b = frame_find(fr, t->name);
  if (!b || b->kind != BIND_DIM) return (TypeRef){.variable = true, .ok = true};
  sema_error(fr, E_unknown_type, t->at, "`%s` is a dimension of this function, so it cannot be a type too", t->name);
  return (TypeRef){0};
}

// The Format of a type that is one, else NULL.
Format *type_format(Frame *fr, TypeRef t) {
  return t.format ? format_of(fr, t.format) : NULL;
}

// Values.

Val val_of(Expr *e) { return (Val){.e = e}; }
Val val_shaped(Expr *e, const Shape *shape) { return (Val){.e = e, .shape = shape && shape->rank ? shape : NULL}; }

static const uint64_t int_most[] = {[DT_I64] = INT64_MAX, [DT_I32] = INT32_MAX, [DT_I16] = INT16_MAX, [DT_I8] = INT8_MAX,
                                    [DT_I4] = 7,
                                    [DT_U64] = UINT64_MAX, [DT_U32] = UINT32_MAX, [DT_U16] = UINT16_MAX, [DT_U8] = UINT8_MAX,
                                        [DT_U4] = 15};

// Is the value of an integer literal one of d's?
bool literal_fits(const Val *v, Dtype d) {
  if (v->lit != LIT_INT || !dtype_is_int(d)) return true;
  if (!v->neg || !v->mag) return v->mag <= int_most[d];
  return dtype_is_signed(d) && v->mag <= int_most[d] + 1;
}

// i32, or i64 if it must be (u64 beyond).
static Dtype literal_alone(const Sema *s, const Val *v) {
  if (v->lit == LIT_FLOAT) return s->wide_literals ? DT_F64 : DT_F32;
  if (!s->wide_literals && !s->wide_ints && literal_fits(v, DT_I32)) return DT_I32;
  return literal_fits(v, DT_I64) ? DT_I64 : DT_U64;
}

static Expr *literal_expr(Sema *s, const Val *v, Dtype wide, Span at) {
  if (dtype_is_float(wide)) {
    double f = v->lit == LIT_FLOAT ? v->f : v->neg ? -(double)v->mag : (double)v->mag;
    return expr_float(s->x, wide, f, at);
  }
  uint64_t bits = v->neg ? 0 - v->mag : v->mag;
  return expr_scalar(s->x, wide, (Scalar){.u = bits}, at);
}

Val val_int(Sema *s, bool neg, uint64_t mag, Span at) {
  Val v = {.lit = LIT_INT, .neg = neg, .mag = mag};
  v.e = literal_expr(s, &v, literal_alone(s, &v), at);
  return v;
}

Val val_float(Sema *s, double f, Span at) {
  Val v = {.lit = LIT_FLOAT, .f = f};
  v.e = literal_expr(s, &v, literal_alone(s, &v), at);
  return v;
}

Expr *expr_cast_folded(Sema *s, Dtype to, Expr *e, Span at) {
  if (e->op != OP_CONST) return expr_cast(s->x, to, e, at);
  return expr_scalar(s->x, dtype_wide(to), dtype_cast(e->u.v, (Dtype)e->dtype, to), at);
}

// The value in a wide type: a literal becomes a constant of it, others are cast.
Expr *val_as(Sema *s, const Val *v, Dtype wide, Span at) {
  bool adapts = (v->lit == LIT_FLOAT && dtype_is_float(wide)) ||
                (v->lit == LIT_INT && (dtype_is_float(wide) || (dtype_is_int(wide) && literal_fits(v, wide))));
  return adapts ? literal_expr(s, v, wide, at) : expr_cast_folded(s, wide, v->e, at);
}

static void report_range(const Frame *fr, const Val *v, Dtype d, Span at) {
  sema_error(fr, E_literal_range, at, "%s%llu does not fit %s", v->neg ? "-" : "", (unsigned long long)v->mag, dtypes[d].name);
  if (dtype_is_signed(d))
    diag_note(fr->s->d, "%s holds -%llu to %llu", dtypes[d].name, (unsigned long long)int_most[d] + 1,
              (unsigned long long)int_most[d]);
  else diag_note(fr->s->d, "%s holds 0 to %llu", dtypes[d].name, (unsigned long long)int_most[d]);
}

// The value as it is after it was stored in dtype: converted and rounded.
Val val_store(Frame *fr, Val v, Dtype dtype, Span at) {
  if (!v.e) return v;
  Sema *s = fr->s;
  if (!literal_fits(&v, dtype)) return report_range(fr, &v, dtype, at), NO_VAL;
  Val out = {.shape = v.shape};
  if (v.lit != LIT_NONE && dtype_is_float(dtype)) {
    Scalar exact = {.f = v.lit == LIT_FLOAT ? v.f : v.neg ? -(double)v.mag : (double)v.mag};
    out.e = expr_scalar(s->x, dtype_wide(dtype), dtype_cast(exact, DT_F64, dtype), at);
  } else if (v.lit == LIT_INT && dtype_is_int(dtype)) {
    out.e = literal_expr(s, &v, dtype_wide(dtype), at);
  } else {
    out.e = expr_cast_folded(s, dtype, v.e, at);
  }
  return out;
}

// The type that mixed operands take (language.md, "Types"): a wide dtype.
Dtype join_vals(Sema *s, int n, const Val *v) {
  Dtype j = DT_NONE;
  for (int i = 0; i < n; i++) {
    if (v[i].lit != LIT_NONE) continue;
    j = j == DT_NONE ? (Dtype)v[i].e->dtype : dtype_join(j, (Dtype)v[i].e->dtype);
  }
  for (int i = 0; i < n; i++) {
    if (v[i].lit == LIT_NONE) continue;
    bool adapts = j != DT_NONE && j != DT_BOOL && (dtype_is_float(j) || (v[i].lit == LIT_INT && literal_fits(&v[i], j)));
    if (adapts) continue;
    Dtype alone = literal_alone(s, &v[i]);
    j = j == DT_NONE ? alone : dtype_join(j, alone);
  }
  return j;
}

// Shapes.

static bool is_one(Expr *e) {
  int64_t k;
  return extent_const(e, &k) && k == 1;
}

static void report_shapes(Env *v, const Val *a, Span at_a, const Val *b, Span at_b, Span op_at, int axis_from_last) {
  Sema *s = v->fr->s;
  int i = a->shape->rank - 1 - axis_from_last, k = b->shape->rank - 1 - axis_from_last;
  sema_error(v->fr, E_shape_mismatch, op_at, "cannot combine shapes %s and %s", shape_text(s, a->shape->rank, a->shape->extent),
             shape_text(s, b->shape->rank, b->shape->extent));
  diag_label(s->d, at_a, "%s", shape_text(s, a->shape->rank, a->shape->extent));
  diag_label(s->d, at_b, "%s", shape_text(s, b->shape->rank, b->shape->extent));
  diag_note(s->d, "counted from the last, dimension %d is %s on the left and %s on the right; only the constant 1 stretches",
            axis_from_last + 1,
            expr_text(s, a->shape->extent[i]), expr_text(s, b->shape->extent[k]));
  diag_help(s->d, "with subscripts any alignment can be written: `y[i, j] = a[i, j] + b[j, i]`");
}

// The extent of one dimension of two operands; NULL after an error. Unknown agreement becomes a check at the call.
static Expr *broadcast_extent(Env *v, const Val *a, Span at_a, const Val *b, Span at_b, Span op_at, int axis) {
  Sema *s = v->fr->s;
  Expr *p = a->shape->extent[a->shape->rank - 1 - axis], *q = b->shape->extent[b->shape->rank - 1 - axis];
  if (p == q || is_one(q)) return p;
  if (is_one(p)) return q;
  Agree agree = extents_agree(s, p, q);
  if (agree == AGREE_NO) return report_shapes(v, a, at_a, b, at_b, op_at, axis), NULL;
  if (agree == AGREE_UNKNOWN)
    add_where(s, expr_op2(s->x, OP_EQ, p, q, op_at), op_at,
              arena_printf(s->a, "the operands have shapes %s and %s", shape_text(s, a->shape->rank, a->shape->extent),
                           shape_text(s, b->shape->rank, b->shape->extent)));
  return p;
}

static const Shape *broadcast_two(Env *v, const Val *a, Span at_a, const Val *b, Span at_b, Span op_at) {
  Shape *out = arena_new(v->fr->s->a, Shape);
  int ra = a->shape->rank, rb = b->shape->rank;
  out->rank = ra > rb ? ra : rb;
  for (int axis = 0; axis < out->rank; axis++) {
    Expr **to = &out->extent[out->rank - 1 - axis];
    if (axis >= rb) *to = a->shape->extent[ra - 1 - axis];
    else if (axis >= ra) *to = b->shape->extent[rb - 1 - axis];
    else *to = broadcast_extent(v, a, at_a, b, at_b, op_at, axis);
    if (!*to) return NULL;
  }
  return out;
}

// The shape of an operation on n values, as in NumPy; *out NULL for scalars.
bool broadcast(Env *v, int n, Val *arg, Span *at, Span op_at, const Shape **out) {
  Val all = NO_VAL;
  Span from = op_at;
  for (int i = 0; i < n; i++) {
    if (!arg[i].shape) continue;
    if (all.shape && all.shape != arg[i].shape) {
      all.shape = broadcast_two(v, &all, from, &arg[i], at[i], op_at);
      if (!all.shape) return false;
    } else {
      all.shape = arg[i].shape;
      from = at[i];
    }
  }
  *out = all.shape;
  return true;
}

// Operations.

static bool want_int(Env *v, Op op, const Val *a, Span at, Span op_at) {
  if (!dtype_is_float((Dtype)a->e->dtype)) return true;
  Sema *s = v->fr->s;
  sema_error(v->fr, E_operand_type, op_at, "`%s` takes integers", ops[op].symbol ? ops[op].symbol : ops[op].name);
  diag_label(s->d, at, "this is %s", dtypes[a->e->dtype].name);
  if (op == OP_POPCOUNT) diag_help(s->d, "use `bitcast(u32, …)` for the bits of a stored float");
  else if (op == OP_UNIFORM) diag_help(s->d, "cast it: `i64(%s)`", source_text(s, at));
  else if (op == OP_BITXOR) diag_help(s->d, "a power is written `%s ** 2`", source_text(s, at));
  else diag_help(s->d, "cast it, `i32(%s)`, or use `bitcast` for its bits", source_text(s, at));
  return false;
}

static Val as_int(Sema *s, Val a, Span at) {
  if (a.e->dtype == DT_BOOL) a.e = expr_cast(s->x, DT_I32, a.e, at);
  return a;
}

// A shift count in the type of the left operand: narrowing may not bring a large count into range.
static Expr *shift_count(Env *v, const Val *count, Dtype left, Span at) {
  Sema *s = v->fr->s;
  int64_t lo, hi;
  Dtype from = (Dtype)count->e->dtype;
  if (count->lit == LIT_INT && literal_fits(count, left)) return literal_expr(s, count, left, at);
  if (dtypes[from].bits <= dtypes[left].bits) return expr_cast(s->x, left, count->e, at);
  if (int_range(count->e, v->bound, &lo, &hi) && lo >= INT32_MIN && hi <= INT32_MAX) return expr_cast(s->x, left, count->e, at);
  Expr *c = count->e;
  if (dtype_is_signed(from)) c = expr_op2(s->x, OP_MAX, c, expr_int(s->x, from, -1, at), at);
  c = expr_op2(s->x, OP_MIN, c, expr_int(s->x, from, 64, at), at);
  return expr_cast(s->x, left, c, at);
}

static Expr *apply_shift(Env *v, Op op, Val *arg, Span *at, Span op_at, Span whole) {
  Sema *s = v->fr->s;
  if (!want_int(v, op, &arg[0], at[0], op_at) || !want_int(v, op, &arg[1], at[1], op_at)) return NULL;
  Val left = as_int(s, arg[0], at[0]), right = as_int(s, arg[1], at[1]);
  return expr_op2(s->x, op, left.e, shift_count(v, &right, (Dtype)left.e->dtype, at[1]), whole);
}

static bool want_bool(Env *v, Op op, const Val *a, Span at) {
  if (a->e->dtype == DT_BOOL) return true;
  sema_error(v->fr, E_condition_type, at, "`%s` takes truth values; this is %s", ops[op].symbol, dtypes[a->e->dtype].name);
  diag_help(v->fr->s->d, "compare it with zero: `%s != 0`", source_text(v->fr->s, at));
  return false;
}

static Expr *apply_logic(Env *v, Op op, int n, Val *arg, Span *at, Span whole) {
  Expr *e[3];
  bool ok = true;
  for (int i = 0; i < n; i++) ok = want_bool(v, op, &arg[i], at[i]) && ok, e[i] = arg[i].e;
  return ok ? expr_op(v->fr->s->x, op, e, whole) : NULL;
}

static Expr *apply_uniform(Sema *s, Val *arg, Span *at, Span whole) {
  Expr *e[2] = {val_as(s, &arg[0], DT_U64, at[0]), val_as(s, &arg[1], DT_I64, at[1])};
  return expr_op(s->x, OP_UNIFORM, e, whole);
}

static Dtype operation_type(Sema *s, Op op, int n, const Val *arg) {
  Dtype j = join_vals(s, n, arg);
  Dtype real = s->wide_literals ? DT_F64 : DT_F32;
  bool ints = !dtype_is_float(j);
  switch (ops[op].rule) {
  case R_FLOAT: case R_TEST: return ints ? real : j;
  case R_BITS: return j;
  default: return j == DT_BOOL ? DT_I32 : j;
  }
}

// -c for a constant c is a constant, as it is when written.
static Expr *folded_negation(Sema *s, Expr *e) {
  Scalar v;
  bool constant = e->op == OP_NEG && e->arg[0]->op == OP_CONST && expr_fold(e, &v);
  return constant ? expr_scalar(s->x, (Dtype)e->dtype, v, e->at) : e;
}

static Expr *fold_node(void *cx, ExprTable *x, Expr *e) {
  Expr *c = e->nargs ? e->arg[0] : NULL;
  if (!c || c->op != OP_CONST) return e;
  if (e->op == OP_CAST && dtype_is_wide((Dtype)e->aux)) return expr_cast_folded(cx, (Dtype)e->aux, c, e->at);
  if (e->op != OP_BITCAST) return folded_negation(cx, e);
  Scalar v = dtype_decode((Dtype)e->aux, dtype_encode((Dtype)c->dtype, c->u.v));
  return expr_scalar(x, (Dtype)e->dtype, v, e->at);
}

// Indices replaced, and what becomes constant by it in the form that the same text gives.
Expr *subst_folded(Sema *s, Expr *e, int n, Index *const *ix, Expr *const *by) {
  return expr_map(s->x, expr_subst(s->x, e, n, ix, by), fold_node, s);
}

static Expr *apply_joined(Sema *s, Op op, int n, Val *arg, Span *at, Span whole) {
  Dtype t = operation_type(s, op, n, arg);
  Expr *e[3];
  for (int i = 0; i < n; i++) e[i] = val_as(s, &arg[i], t, at[i]);
  return folded_negation(s, expr_op(s->x, op, e, whole));
}

static Expr *apply_elements(Env *v, Op op, int n, Val *arg, Span *at, Span op_at, Span whole) {
  Sema *s = v->fr->s;
  switch (ops[op].rule) {
  case R_SHIFT: return apply_shift(v, op, arg, at, op_at, whole);
  case R_LOGIC: return apply_logic(v, op, n, arg, at, whole);
  case R_ROUND:
    if (dtype_is_float((Dtype)arg[0].e->dtype)) return expr_op1(s->x, op, arg[0].e, whole);
    return as_int(s, arg[0], at[0]).e;
  case R_COUNT:
    if (!want_int(v, op, &arg[0], at[0], op_at)) return NULL;
    return expr_op1(s->x, op, as_int(s, arg[0], at[0]).e, whole);
  case R_BITS:
    for (int i = 0; i < n; i++)
      if (!want_int(v, op, &arg[i], at[i], op_at)) return NULL;
    return apply_joined(s, op, n, arg, at, whole);
  case R_NONE:
    for (int i = 0; i < n; i++)
      if (!want_int(v, op, &arg[i], at[i], op_at)) return NULL;
    return apply_uniform(s, arg, at, whole);
  default: return apply_joined(s, op, n, arg, at, whole);
  }
}

static Val negated(Sema *s, const Val *a, Span whole) {
  return a->lit == LIT_INT ? val_int(s, !a->neg && a->mag, a->mag, whole) : val_float(s, -a->f, whole);
}

// The operation on values, each written at at[i]; the operator or name stands at op_at.
Val apply_op(Env *v, Op op, int n, Val *arg, Span *at, Span op_at, Span whole) {
  for (int i = 0; i < n; i++)
    if (!arg[i].e) return NO_VAL;
  const Shape *shape;
  if (op == OP_NEG && arg[0].lit != LIT_NONE) return negated(v->fr->s, &arg[0], whole);
  if (!broadcast(v, n, arg, at, op_at, &shape)) return NO_VAL;
  Expr *e = apply_elements(v, op, n, arg, at, op_at, whole);
  return e ? val_shaped(e, shape) : NO_VAL;
}
