// sema_const.c: constants: scalars, which are literals unless they have a type, and tables.
//
// A constant is computed once, in i64 and f64, from literals and other constants.
#include "frontend/sema_int.h"

typedef struct Calc { Sema s; Frame *fr; Env v; } Calc;

static void calc_init(Calc *c, Program *p, Item *item) {
  *c = (Calc){.s = {.p = p, .a = p->a, .names = p->names, .d = p->d, .wide_literals = true}};
  c->s.f = fn_new(p->a, p->names, p->d, item->name);
  c->s.x = c->s.f->x;
  c->s.formats = map_make(p->a);
  c->s.tables = map_make(p->a);
  c->s.unknown = map_make(p->a);
  c->fr = frame_new(&c->s, NULL, item->unit, NULL, item->at);
  c->v = (Env){.fr = c->fr, .pure = true, .pure_code = E_not_constant};
}

static bool calculate(Calc *c, const AExpr *e, Val *val, Scalar *out) {
  *val = expr(&c->v, e);
  if (!val->e) return false;
  if (expr_fold(val->e, out)) return true;
  sema_error(c->fr, E_not_constant, e->at, "this is not known at compile time");
  return false;
}

static void make_literal(ConstValue *k, Dtype t, Scalar x) {
  k->lit = dtype_is_float(t) ? LIT_FLOAT : LIT_INT;
  k->f = x.f;
  if (k->lit == LIT_FLOAT) return;
  k->neg = dtype_is_signed(t) && x.i < 0;
  k->mag = k->neg ? 0 - x.u : x.u;
}

// A value as one of a declared type.
static bool declared_value(Calc *c, const AExpr *e, Dtype to, Dtype from, Scalar x, Scalar *out) {
  ConstValue k = {0};
  make_literal(&k, from, x);
  Val literal = {.lit = from == DT_BOOL ? LIT_NONE : k.lit, .neg = k.neg, .mag = k.mag, .f = k.f,
                 .e = expr_scalar(c->s.x, from, x, e->at)};
  Val stored = val_store(c->fr, literal, to, e->at);
  if (!stored.e) return false;
  *out = stored.e->u.v;
  return true;
}

static bool scalar_const(Calc *c, const AConst *a, ConstValue *k) {
  Val val;
  Scalar x;
  if (!calculate(c, a->value[0], &val, &x)) return false;
  Dtype t = (Dtype)val.e->dtype;
  if (k->dtype == DT_NONE && t == DT_BOOL) k->dtype = DT_BOOL;
  if (k->dtype != DT_NONE) return declared_value(c, a->value[0], k->dtype, t, x, &k->v);
  make_literal(k, t, x);
  return true;
}

// The type of a table without one: f32 when a value is a float, else i32, or i64 if it must be.
static Dtype table_type(const Dtype *t, const Scalar *x, int n) {
  bool floats = false, bools = true, wide = false;
  for (int i = 0; i < n; i++) {
    floats = floats || dtype_is_float(t[i]);
    bools = bools && t[i] == DT_BOOL;
    wide = wide || (!dtype_is_float(t[i]) && (x[i].i < INT32_MIN || x[i].i > INT32_MAX));
  }
  return floats ? DT_F32 : bools ? DT_BOOL : wide ? DT_I64 : DT_I32;
}

static bool table_const(Calc *c, const AConst *a, ConstValue *k) {
  Arena *mem = c->s.a;
  int n = a->nvalues;
  if (n > LIMIT_TABLE)
    return sema_error(c->fr, E_limit_table, a->at, "the table has %d values; %d is the limit", n, LIMIT_TABLE), false;
  Dtype *t = arena_array(mem, Dtype, n);
  k->table = true;
  k->n = n;
  k->values = arena_array(mem, Scalar, n);
  bool ok = true;
  for (int i = 0; i < n; i++) {
    Val val;
    bool good = calculate(c, a->value[i], &val, &k->values[i]);
    ok = ok && good;
    if (good) t[i] = (Dtype)val.e->dtype;
  }
  if (!ok) return false;
  if (k->dtype == DT_NONE) k->dtype = table_type(t, k->values, n);
  for (int i = 0; i < n; i++) ok = declared_value(c, a->value[i], k->dtype, t[i], k->values[i], &k->values[i]) && ok;
  Expr *extent = expr_int(c->s.x, DT_I64, n, a->at);
  return ok && check_extents(c->fr, k->dtype, NULL, 1, &extent, a->at);
}

static bool const_type(Calc *c, const AConst *a, ConstValue *k) {
  if (!a->typed) return true;
  TypeRef t = resolve_type(c->fr, &a->type);
  if (t.format)
    return sema_error(c->fr, E_format_place, a->type.at, "`%s` is a format; a constant cannot have it", a->type.name), false;
  if (t.ok && t.dtype == DT_NONE)
    return sema_error(c->fr, E_unknown_type, a->type.at, "type `%s` is not defined", a->type.name), false;
  k->dtype = t.dtype;
  return t.ok;
}

// The value of a constant; NULL after an error, which is reported once.
ConstValue *const_value(Program *p, Item *item) {
  if (item->state == CONST_DONE) return item->value;
  if (item->state == CONST_BAD) return NULL;
  if (item->state == CONST_BUSY) {
    item->state = CONST_BAD;
    return diag_error(p->d, E_recursion, item->at, "constant `%s` is defined by itself", item->name);
  }
  Calc c;
  ConstValue *k = arena_new(p->a, ConstValue);
  calc_init(&c, p, item);
  item->state = CONST_BUSY;
  bool ok = const_type(&c, item->cnst, k);
  ok = ok && (item->cnst->table ? table_const(&c, item->cnst, k) : scalar_const(&c, item->cnst, k));
  ok = ok && item->state == CONST_BUSY;
  item->state = ok ? CONST_DONE : p->silent ? CONST_NEW : CONST_BAD;
  item->value = k;
  return ok ? k : NULL;
}

Val const_val(Sema *s, Item *item, Span at) {
  ConstValue *k = const_value(s->p, item);
  if (!k) return NO_VAL;
  if (k->dtype != DT_NONE) return val_of(expr_scalar(s->x, dtype_wide(k->dtype), k->v, at));
  return k->lit == LIT_FLOAT ? val_float(s, k->f, at) : val_int(s, k->neg, k->mag, at);
}

// The tensor of a table in the function being elaborated.
Tensor *const_table(Sema *s, Item *item) {
  Tensor *t = map_getp(&s->tables, item);
  ConstValue *k = t ? NULL : const_value(s->p, item);
  if (t || !k) return t;
  Expr *extent = expr_int(s->x, DT_I64, k->n, item->at);
  t = named_tensor(s, item->name, ROLE_TABLE, k->dtype, NULL, 1, &extent, item->at);
  t->table = k->values;
  t->ntable = k->n;
  map_putp(&s->tables, item, t);
  return t;
}
