// sema_format.c: storage formats: fields, helpers, `value`, `encode`.
//
// The fields become tensors of rank 0 or 1 that only the format's own expressions read. Helpers are substituted into
// `value`. Blocks have a constant size, so every subscript of a field is shown to be in range here, by evaluating the
// subscripts for each element of the block (check_reads).
#include "frontend/sema_int.h"
#include <string.h>

// What format_of found for a format, kept so that errors are reported once.
typedef struct Known { Format *fmt; bool busy; } Known;

static Tensor *block_tensor(Sema *s, Name name, Dtype dtype, int rank, int64_t n, Span at) {
  Tensor *t = arena_new(s->a, Tensor);
  *t = (Tensor){.name = name, .id = -1 - s->block_tensors++, .role = ROLE_LOCAL, .dtype = dtype, .stored = true, .rank = rank,
                .eqn_at = -1, .at = at};
  t->root = t;
  if (rank) t->extent[0] = expr_int(s->x, DT_I64, n, at);
  return t;
}

static void bind_block(Frame *fr, Tensor *t, Span at, bool defined) {
  Binding *b = frame_bind(fr, BIND_TENSOR, t->name, at);
  b->t = t;
  b->dtype = t->dtype;
  b->rank = t->rank;
  b->extent[0] = t->extent[0];
  b->defined = defined;
}

// Fields.

static bool field_ok(Frame *fr, const AFormat *a, int k) {
  Sema *s = fr->s;
  const AField *f = &a->field[k];
  if (f->dtype == DT_NONE) return sema_error(fr, E_format_field, f->at, "field `%s` has no concrete dtype", f->name), false;
  if (f->count < 1) return sema_error(fr, E_format_field, f->at, "field `%s` has no elements", f->name), false;
  if (f->count > 8 * LIMIT_BLOCK)
    return sema_error(fr, E_format_field, f->at, "field `%s` has more than %d elements", f->name, 8 * LIMIT_BLOCK), false;
  if (dtypes[f->dtype].bits < 8 && f->count % 2) {
    sema_error(fr, E_format_field, f->at, "field `%s` does not fill whole bytes", f->name);
    diag_note(s->d, "%s is stored two to a byte", dtypes[f->dtype].name);
    return false;
  }
  for (int i = 0; i < k; i++) {
    if (a->field[i].name != f->name) continue;
    sema_error(fr, E_format_field, f->name_at, "two fields are called `%s`", f->name);
    diag_label(s->d, a->field[i].name_at, "first here");
    return false;
  }
  return true;
}

static bool fields(Frame *fr, const AFormat *a, Format *m) {
  Sema *s = fr->s;
  bool ok = true;
  m->nfields = a->nfields;
  m->field = arena_array(s->a, Field, a->nfields);
  for (int k = 0; k < a->nfields; k++) {
    const AField *f = &a->field[k];
    if (!field_ok(fr, a, k)) {
      ok = false;
      continue;
    }
    m->field[k] = (Field){.name = f->name, .dtype = f->dtype, .count = f->count, .array = f->array, .offset = m->bytes};
    m->field[k].t = block_tensor(s, f->name, f->dtype, f->array, f->count, f->name_at);
    m->bytes += (int)dtype_bytes(f->dtype, f->count);
    bind_block(fr, m->field[k].t, f->name_at, true);
  }
  if (a->nfields == 0) return sema_error(fr, E_format_field, a->name_at, "format `%s` has no fields", a->name), false;
  return ok;
}

static const Field *field_named(const Format *m, Name name) {
  for (int k = 0; k < m->nfields; k++)
    if (m->field[k].name == name) return &m->field[k];
  return NULL;
}

// Subscripts of fields, shown by evaluation.

typedef struct Assign { const Index *ix; int64_t value; const struct Assign *up; } Assign;
typedef struct Checker {
  Frame *fr;
  long fuel;
  bool failed;
  const Bound *bound;       // ranges of indices that have no value here
} Checker;

static bool known_value(Checker *c, const Expr *e, const Assign *as, Scalar *out);

static bool known_args(Checker *c, const Expr *e, const Assign *as, Scalar *v) {
  for (uint32_t k = 0; k < e->nargs; k++)
    if (!known_value(c, e->arg[k], as, &v[k])) return false;
  return true;
}

static bool known_lazy(Checker *c, const Expr *e, const Assign *as, Scalar *out) {
  Scalar cond;
  if (!known_value(c, e->arg[0], as, &cond)) return false;
  switch (e->op) {
  case OP_SELECT: return known_value(c, e->arg[cond.u ? 1 : 2], as, out);
  case OP_AND: return cond.u ? known_value(c, e->arg[1], as, out) : (*out = cond, true);
  default: return cond.u ? (*out = cond, true) : known_value(c, e->arg[1], as, out);
  }
}

// The value of an expression that depends on indices with known values only.
static bool known_value(Checker *c, const Expr *e, const Assign *as, Scalar *out) {
  Scalar v[3];
  if (e->op == OP_CONST) return *out = e->u.v, true;
  if (c->fuel-- <= 0) return false;
  if (e->op == OP_INDEX) {
    for (; as; as = as->up)
      if (as->ix == e->u.ix) return out->i = as->value, true;
    return false;
  }
  if (e->op == OP_READ || e->op == OP_REDUCE || e->op == OP_DIM || e->op == OP_UNIFORM || e->op == OP_BITCAST || e->nargs == 0)
    return false;
  if (ops[e->op].props & OP_LAZY) return known_lazy(c, e, as, out);
  if (!known_args(c, e, as, v)) return false;
  if (e->op == OP_CAST) return *out = dtype_cast(v[0], (Dtype)e->arg[0]->dtype, (Dtype)e->aux), true;
  return op_eval((Op)e->op, (Dtype)e->arg[0]->dtype, v, out);
}

static void report_read(Checker *c, const Expr *e, bool known, int64_t value) {
  Sema *s = c->fr->s;
  c->failed = true;
  if (known)
    sema_error(c->fr, E_out_of_bounds, e->at, "this subscript of `%s` takes the value %lld", e->u.t->name, (long long)value);
  else sema_error(c->fr, E_out_of_bounds, e->at, "this subscript of `%s` is not shown to be in range", e->u.t->name);
  diag_note(s->d, "`%s` has %lld elements", e->u.t->name, (long long)e->u.t->extent[0]->u.v.i);
  diag_help(s->d, "limit it with `%%` or `if`, or give a value for other places: `%s[…] ?? 0`", e->u.t->name);
}

static void check_reads(Checker *c, const Expr *e, const Assign *as);

static void check_read(Checker *c, const Expr *e, const Assign *as) {
  Scalar v;
  int64_t lo, hi;
  const Tensor *t = e->u.t;
  for (uint32_t k = 0; k < e->nargs; k++) check_reads(c, e->arg[k], as);
  if (t->rank == 0 || e->aux || t->role == ROLE_TABLE) return;
  int64_t n = t->extent[0]->u.v.i;
  if (known_value(c, e->arg[0], as, &v)) {
    if (v.i < 0 || v.i >= n) report_read(c, e, true, v.i);
  } else if (c->fuel > 0 && (!int_range(e->arg[0], c->bound, &lo, &hi) || lo < 0 || hi >= n)) {
    report_read(c, e, false, 0);
  }
}

// Over all values of the indices of a reduction with constant ranges; else with the ranges alone.
static void check_reduction(Checker *c, const Expr *e, int k, const Assign *as) {
  enum { MOST_STEPS = 1 << 13 };
  Scalar lo, hi, cond;
  if (k < e->u.bind->n) {
    check_reads(c, reduce_lo(e, k), as);
    check_reads(c, reduce_hi(e, k), as);
    if (!known_value(c, reduce_lo(e, k), as, &lo) || !known_value(c, reduce_hi(e, k), as, &hi) || hi.i - lo.i > MOST_STEPS) {
      check_reduction(c, e, k + 1, as);
      return;
    }
    for (int64_t i = lo.i; i < hi.i && !c->failed && c->fuel > 0; i++)
      check_reduction(c, e, k + 1, &(Assign){e->u.bind->ix[k], i, as});
    return;
  }
  check_reads(c, reduce_cond(e), as);
  if (!known_value(c, reduce_cond(e), as, &cond) || cond.u) check_reads(c, reduce_term(e), as);
}

static void check_reads(Checker *c, const Expr *e, const Assign *as) {
  Scalar v;
  if (c->failed || c->fuel-- <= 0) return;
  if (e->op == OP_READ) {
    check_read(c, e, as);
  } else if (e->op == OP_REDUCE) {
    check_reduction(c, e, 0, as);
  } else if ((ops[e->op].props & OP_LAZY) && known_value(c, e->arg[0], as, &v)) {
    if (e->op == OP_SELECT) check_reads(c, e->arg[v.u ? 1 : 2], as);
    else if ((e->op == OP_AND) == (v.u != 0)) check_reads(c, e->arg[1], as);
  } else {
    for (uint32_t k = 0; k < e->nargs; k++) check_reads(c, e->arg[k], as);
  }
}

static bool reads_in_range(Frame *fr, const Expr *e, const Index *ix, int64_t n) {
  Checker c = {.fr = fr, .fuel = 1 << 24};
  if (!ix) check_reads(&c, e, NULL);
  for (int64_t i = 0; ix && i < n && !c.failed; i++) check_reads(&c, e, &(Assign){ix, i, NULL});
  return !c.failed;
}

// Equations.

static bool untyped(Frame *fr, const AStmt *st) {
  if (!st->typed) return true;
  sema_error(fr, E_format_equation, st->type.at, "`%s` has its type already", st->name);
  return false;
}

static bool left_is_index(Frame *fr, const AStmt *st, int want) {
  if (st->nsubs == want) return true;
  sema_error(fr, E_format_equation, st->at, "`%s` has %s, not %d", st->name, want ? "one index, over the block" : "no index",
             st->nsubs);
  return false;
}

// The body of an equation of `rank` indices, in the type that is declared, with the extent n (n < 0: to be found).
typedef struct Body { Index *ix; Expr *extent; Val val; } Body;

static bool block_equation(Frame *fr, const AStmt *st, int64_t n, Dtype dtype, Body *out) {
  Sema *s = fr->s;
  Env v = {.fr = fr, .uses = uses_new(s), .hint = st->name};
  Left left = {0};
  *out = (Body){0};
  if (st->shaped && !left_indices(&v, st, &left)) return false;
  if (left.n > 1) return left_is_index(fr, st, 1);
  if (left.n && n >= 0) {
    Binding shape = {.name = st->name, .at = st->name_at, .rank = 1};
    shape.extent[0] = expr_int(s->x, DT_I64, n, st->at);
    if (!left_extents(&v, st, &left, &shape)) return false;
  }
  Val val = expr(&v, st->e);
  if (!val.e) return false;
  if (left.n && !left.bound[0]->extent && !infer_extent(&v, left.bound[0], v.uses)) return false;
  out->ix = left.n ? left.bound[0]->ix : NULL;
  out->extent = left.n ? left.bound[0]->extent : NULL;
  out->val = val;
  if (dtype != DT_NONE) out->val = val_of(stored_body(fr, &val, dtype, st->e->at));
  return out->val.e != NULL;
}

static bool helper_name(Frame *fr, const Format *m, const AStmt *st) {
  if (!field_named(m, st->name)) return true;
  sema_error(fr, E_format_equation, st->name_at, "field `%s` has its values from the block", st->name);
  diag_help(fr->s->d, "how a field is written stands in `encode(v) { … }`");
  return false;
}

static bool value_equation(Frame *fr, const AStmt *st, Format *m) {
  Body b;
  if (m->value) return sema_error(fr, E_defined_twice, st->name_at, "`value` has two equations"), false;
  if (!untyped(fr, st) || !left_is_index(fr, st, 1) || !block_equation(fr, st, m->block, DT_F32, &b)) return false;
  m->k = b.ix;
  m->value = b.val.e;
  return reads_in_range(fr, m->value, m->k, m->block);
}

static bool decode_part(Frame *fr, const AFormat *a, Format *m) {
  Sema *s = fr->s;
  Name value = intern(s->names, "value");
  bool ok = true, seen = false;
  for (int i = 0; i < a->nstmts; i++) {
    const AStmt *st = &a->stmt[i];
    if (st->kind != AS_EQUATION) {
      ok = (sema_error(fr, E_format_equation, st->at, "a format has equations only"), false);
    } else if (st->name == value) {
      ok = value_equation(fr, st, m) && ok;
      seen = true;
    } else {
      ok = helper_name(fr, m, st) && lambda_equation(fr, st) && ok;
    }
  }
  if (!seen) {
    sema_error(fr, E_format_value, a->name_at, "format `%s` does not say how its values are read", a->name);
    diag_help(s->d, "add an equation such as `value[k] = d * q[k]`");
  }
  return ok && seen;
}

// Encoding.

static Tensor *encode_local(Frame *fr, const AStmt *st, const Body *b, Dtype dtype) {
  Sema *s = fr->s;
  int64_t n = 0;
  if (b->ix && !extent_const(b->extent, &n))
    return sema_error(fr, E_format_equation, st->at, "the extent of `%s` is not constant", st->name);
  if (frame_find(fr, st->name)) return sema_error(fr, E_defined_twice, st->name_at, "`%s` has two equations", st->name);
  Tensor *t = block_tensor(s, st->name, dtype, b->ix != NULL, n, st->name_at);
  t->stored = !dtype_is_wide(dtype);
  return t;
}

static bool encode_field(Frame *fr, const AStmt *st, const Field *f, FormatEqn *q) {
  Body b;
  Binding *known = frame_find(fr, st->name);
  if (known->defined) return sema_error(fr, E_defined_twice, st->name_at, "field `%s` has two equations", st->name), false;
  known->defined = true;
  if (!untyped(fr, st) || !left_is_index(fr, st, f->array) || !block_equation(fr, st, f->count, f->dtype, &b)) return false;
  *q = (FormatEqn){.def = f->t, .ix = b.ix, .extent = b.extent, .body = b.val.e, .field = (Field *)(uintptr_t)f, .at = st->at};
  return reads_in_range(fr, q->body, q->ix, f->count);
}

static bool encode_helper(Frame *fr, const AStmt *st, FormatEqn *q) {
  Body b;
  int64_t n = 1;
  TypeRef t = {.ok = true};
  if (st->typed) t = resolve_type(fr, &st->type);
  if (t.format) return sema_error(fr, E_format_place, st->type.at, "`%s` is a format", st->type.name), false;
  if (!t.ok || (st->typed && t.dtype == DT_NONE) || !block_equation(fr, st, -1, t.dtype, &b)) return false;
  if (b.extent && extent_const(b.extent, &n) && (n < 0 || n > 8 * LIMIT_BLOCK))
    return sema_error(fr, E_limit_block, st->at, "`%s` is larger than a block can be", st->name), false;
  Tensor *def = encode_local(fr, st, &b, t.dtype != DT_NONE ? t.dtype : (Dtype)b.val.e->dtype);
  if (!def) return false;
  bind_block(fr, def, st->name_at, true);
  *q = (FormatEqn){.def = def, .ix = b.ix, .extent = b.extent, .body = b.val.e, .at = st->at};
  return reads_in_range(fr, q->body, q->ix, n);
}

static bool encode_part(Frame *outer, const AFormat *a, Format *m) {
  Sema *s = outer->s;
  const AEncode *e = a->encode;
  Frame *fr = frame_new(s, NULL, outer->unit, NULL, NO_SPAN);
  bool ok = true;
  for (int k = 0; k < m->nfields; k++) bind_block(fr, m->field[k].t, a->field[k].name_at, false);
  if (frame_find(fr, e->var)) return sema_error(fr, E_duplicate_name, e->var_at, "`%s` is a field", e->var), false;
  m->v = block_tensor(s, e->var, DT_F32, 1, m->block, e->var_at);
  bind_block(fr, m->v, e->var_at, true);
  m->encode = arena_array(s->a, FormatEqn, e->nstmts);
  for (int i = 0; i < e->nstmts; i++) {
    const AStmt *st = &e->stmt[i];
    const Field *f = field_named(m, st->name);
    if (st->kind != AS_EQUATION) ok = (sema_error(fr, E_format_equation, st->at, "`encode` has equations only"), false);
    else ok = (f ? encode_field(fr, st, f, &m->encode[m->nencode++]) : encode_helper(fr, st, &m->encode[m->nencode++])) && ok;
  }
  for (int k = 0; k < m->nfields; k++) {
    if (frame_find(fr, m->field[k].name)->defined) continue;
    sema_error(fr, E_encode_field, e->at, "`encode` gives field `%s` no value", m->field[k].name);
    diag_label(s->d, a->field[k].name_at, "field `%s`", m->field[k].name);
    ok = false;
  }
  return ok;
}

static Format *format_new(Sema *s, Item *item) {
  const AFormat *a = item->format;
  Frame *fr = frame_new(s, NULL, item->unit, NULL, NO_SPAN);
  Format *m = arena_new(s->a, Format);
  *m = (Format){.name = a->name, .block = a->block, .at = a->name_at};
  if (a->block > LIMIT_BLOCK)
    return sema_error(fr, E_limit_block, a->name_at, "a block has %lld values; %d is the limit", (long long)a->block,
                      LIMIT_BLOCK);
  if (a->block < 1) return sema_error(fr, E_format_field, a->name_at, "a block has at least one value");
  bool ok = fields(fr, a, m);
  ok = ok && decode_part(fr, a, m);
  ok = (!a->encode || encode_part(fr, a, m)) && ok;
  return ok ? m : NULL;
}

// The format of an item in the function being elaborated; NULL after errors.
Format *format_of(Frame *fr, Item *item) {
  Sema *s = fr->s;
  Known *k = map_getp(&s->formats, item);
  if (k) return k->fmt;
  bool wide = s->wide_ints;
  s->wide_ints = false;
  k = arena_new(s->a, Known);
  map_putp(&s->formats, item, k);
  k->fmt = format_new(s, item);
  if (k->fmt) vec_push(s->a, &s->f->formats, k->fmt);
  s->wide_ints = wide;
  return k->fmt;
}
