// print.c: functions as Plait source that reads back.
//
// The text must elaborate to the same expressions, so it follows the typing rules of language.md backwards:
//
//   - A constant is a bare literal only where an operand beside it has the type and is no literal itself; alone
//     only with the type that a literal has alone (i32, f32), or where the place converts (subscripts, bounds).
//     Elsewhere it is written `f64(0.1)`.
//   - A cast is left off only where the operand beside it makes the front end insert exactly that cast, and in
//     subscripts and bounds, which convert to i64.
//   - Every index has its extent as a bound, so that nothing depends on how it is read.
//
// Names: an index that would hide a tensor, a dimension, a function or an outer index gets another name.
#include "ir/fn.h"
#include <assert.h>
#include <math.h>
#include <string.h>

// Binding strength. Operators have theirs in ops.def (1 to 12); these are the ends of the scale.
enum { LOOSE = 0 /* if */, COMPARISON = 4, SUM = 9, UNARY = 11, POSTFIX = 13, PRIMARY = 14 };

typedef struct Printer {
  Buf *out;
  Arena *a;             // of the call
  Interner *names;      // NULL without a function
  const Fn *f;          // whose tensors' names no index may have; NULL: none
  Map taken;            // other names that no index may have; values are not NULL
  Map index;            // Index to its name where that differs from its own
  VEC(Name) bound;      // names of the indices in scope
} Printer;

static void print_expr(Printer *p, const Expr *e, int least);

// Names.

static void take(Printer *p, Name name) { if (name) map_putp(&p->taken, name, (void *)(uintptr_t)name); }

static bool is_bound(const Printer *p, const char *name) {
  for (int k = 0; k < p->bound.n; k++)
    if (strcmp(p->bound.v[k], name) == 0) return true;
  return false;
}

static bool is_free_name(const Printer *p, Name name) {
  bool tensor = p->f && map_getp(&p->f->taken, name);
  return !tensor && name_is_valid(name) && !map_getp(&p->taken, name) && op_by_name(name) == OP_NONE && !is_bound(p, name);
}

static Name index_name(const Printer *p, const Index *ix) {
  Name name = map_getp(&p->index, ix);
  return name ? name : ix->name ? ix->name : "i";
}

// Brings ix into scope; p->bound.n before it is what unbind gets.
static void bind(Printer *p, const Index *ix) {
  Name hint = ix->name && name_is_valid(ix->name) ? ix->name : "i", name = hint;
  for (int n = 2; p->names && !is_free_name(p, name); n++) name = intern(p->names, arena_printf(p->a, "%s_%d", hint, n));
  map_putp(&p->index, ix, (void *)(uintptr_t)name);
  vec_push(p->a, &p->bound, name);
}

static void unbind(Printer *p, int n) { p->bound.n = n; }

// Constants.

static bool is_literal(const Expr *e) { return e->op == OP_CONST && e->dtype != DT_BOOL; }

// The type that the literal has alone: i32 (or i64 where that is too narrow), f32.
static bool is_natural(const Expr *e) {
  if (e->dtype == DT_F32 || e->dtype == DT_BOOL) return true;
  if (e->dtype == DT_I32) return e->u.v.i > INT32_MIN;       // 2147483648 alone is i64
  return e->dtype == DT_I64 && (e->u.v.i > INT32_MAX || e->u.v.i < INT32_MIN) && e->u.v.i > INT64_MIN;
}

static bool is_negative(const Expr *e) {
  if (!is_literal(e)) return false;
  if (dtype_is_float((Dtype)e->dtype)) return !isnan(e->u.v.f) && signbit(e->u.v.f);
  return dtypes[e->dtype].kind == 'I' && e->u.v.i < 0;
}

static void print_literal(Printer *p, const Expr *e) {
  switch (e->dtype) {
  case DT_BOOL: buf_puts(p->out, e->u.v.u ? "true" : "false"); return;
  case DT_F32: buf_float(p->out, e->u.v.f, true); return;
  case DT_F64: buf_float(p->out, e->u.v.f, false); return;
  case DT_U32: case DT_U64: buf_printf(p->out, "%llu", (unsigned long long)e->u.v.u); return;
  default: buf_printf(p->out, "%lld", (long long)e->u.v.i); return;
  }
}

static void print_bare(Printer *p, const Expr *e, int least) {
  bool brackets = is_negative(e) && least > UNARY;
  if (brackets) buf_putc(p->out, '(');
  print_literal(p, e);
  if (brackets) buf_putc(p->out, ')');
}

static void print_typed(Printer *p, const Expr *e) {
  buf_printf(p->out, "%s(", dtypes[e->dtype].name);
  print_literal(p, e);
  buf_putc(p->out, ')');
}

// Operands that are joined to one type: bare[k] says that operand k is written without its type, as a literal or
// without its cast. One that is neither, the anchor, makes the front end find the type.
static bool joins_to(const Expr *e) {
  if (e->op != OP_CAST || e->aux != e->dtype || is_literal(e->arg[0]) || e->dtype == DT_BOOL) return false;
  return dtype_join((Dtype)e->arg[0]->dtype, (Dtype)e->dtype) == e->dtype;
}

static void choose_bare(const Expr *const *arg, int n, bool *bare) {
  int anchor = -1;
  for (int k = 0; k < n; k++)
    if (!is_literal(arg[k]) && (anchor < 0 || (joins_to(arg[anchor]) && !joins_to(arg[k])))) anchor = k;
  for (int k = 0; k < n; k++) bare[k] = anchor >= 0 && k != anchor && (is_literal(arg[k]) || joins_to(arg[k]));
  if (anchor >= 0) return;
  for (int k = 1; k < n; k++) bare[k] = true;          // all literals: the first is typed
  bare[0] = arg[0]->dtype == DT_BOOL;
}

static void print_operand(Printer *p, const Expr *e, bool bare, int least) {
  if (is_literal(e)) {
    if (bare) print_bare(p, e, least);
    else print_typed(p, e);
  } else {
    print_expr(p, bare && e->op == OP_CAST ? e->arg[0] : e, least);
  }
}

// Where the place itself converts to i64: subscripts and bounds of ranges.
static void print_integer(Printer *p, const Expr *e, int least) {
  if (is_literal(e) && e->u.v.i > INT64_MIN) print_bare(p, e, least);
  else if (e->op == OP_CAST && e->aux == DT_I64 && dtype_is_int((Dtype)e->arg[0]->dtype) && !is_literal(e->arg[0]))
    print_expr(p, e->arg[0], least);
  else print_expr(p, e, least);
}

// Alone: a term, a body, a condition.
static void print_alone(Printer *p, const Expr *e, int least) {
  if (is_literal(e) && is_natural(e)) print_bare(p, e, least);
  else print_expr(p, e, least);
}

// Expressions.

static void print_operator(Printer *p, const Expr *e) {
  const OpInfo *o = &ops[e->op];
  bool bare[3] = {false}, logic = o->rule == R_LOGIC;
  if (o->arity == 1) {
    buf_printf(p->out, logic ? "%s " : "%s", o->symbol);
    print_expr(p, e->arg[0], o->level);
    return;
  }
  choose_bare((const Expr *const *)e->arg, 2, bare);
  if (o->rule == R_SHIFT) bare[0] = false, bare[1] = is_literal(e->arg[1]);
  bool right = e->op == OP_POW, apart = o->rule == R_COMPARE;
  print_operand(p, e->arg[0], bare[0], right ? POSTFIX : o->level + apart);
  buf_printf(p->out, " %s ", o->symbol);
  print_operand(p, e->arg[1], bare[1], right ? UNARY : o->level + 1);
}

static void print_function(Printer *p, const Expr *e) {
  const OpInfo *o = &ops[e->op];
  bool bare[3] = {false};
  if (e->op != OP_UNIFORM) choose_bare((const Expr *const *)e->arg, o->arity, bare);
  buf_printf(p->out, "%s(", o->name);
  for (int k = 0; k < o->arity; k++) {
    if (k) buf_puts(p->out, ", ");
    print_operand(p, e->arg[k], bare[k], LOOSE);
  }
  buf_putc(p->out, ')');
}

static void print_select(Printer *p, const Expr *e) {
  bool bare[2];
  choose_bare((const Expr *const *)e->arg + 1, 2, bare);
  buf_puts(p->out, "if ");
  print_expr(p, e->arg[0], LOOSE);
  buf_puts(p->out, " then ");
  print_operand(p, e->arg[1], bare[0], LOOSE);
  buf_puts(p->out, " else ");
  print_operand(p, e->arg[2], bare[1], LOOSE);
}

static void print_subscripts(Printer *p, const Expr *e, int n) {
  if (n) buf_putc(p->out, '[');
  for (int k = 0; k < n; k++) {
    if (k) buf_puts(p->out, ", ");
    print_integer(p, e->arg[k], LOOSE);
  }
  if (n) buf_putc(p->out, ']');
}

static void print_read(Printer *p, const Expr *e) {
  buf_puts(p->out, e->u.t->root->name);
  print_subscripts(p, e, read_rank(e));
  const Expr *other = read_default(e);
  if (!other) return;
  buf_puts(p->out, " ?? ");
  if (is_literal(other)) print_bare(p, other, UNARY);
  else print_expr(p, other, POSTFIX);
}

// Not in the language: pass `decode` makes it.
static void print_field(Printer *p, const Expr *e) {
  const Field *f = &e->u.t->fmt->field[e->aux];
  buf_puts(p->out, e->u.t->root->name);
  print_subscripts(p, e, (int)e->nargs - f->array);
  buf_printf(p->out, ".%s", f->name);
  if (f->array) {
    buf_putc(p->out, '[');
    print_integer(p, e->arg[e->nargs - 1], LOOSE);
    buf_putc(p->out, ']');
  }
}

// A body or term and the filter that may follow; `if` in both would be hard to read.
static void print_filtered(Printer *p, const Expr *e, const Expr *cond) {
  bool filter = cond && !expr_is_true(cond);
  print_alone(p, e, filter ? LOOSE + 1 : LOOSE);
  if (!filter) return;
  buf_puts(p->out, " if ");
  print_expr(p, cond, LOOSE);
}

static void print_range(Printer *p, const Index *ix, const Expr *lo, const Expr *hi) {
  int before = p->bound.n;                            // the bounds do not see ix
  bind(p, ix);
  Name name = p->bound.v[before];
  p->bound.n = before;
  bool zero = !lo || expr_is_int(lo, 0);
  buf_printf(p->out, zero ? "%s < " : "%s in ", name);
  if (!zero) {
    print_integer(p, lo, LOOSE);
    buf_puts(p->out, " .. ");
  }
  print_integer(p, hi, zero ? COMPARISON + 1 : LOOSE);
  vec_push(p->a, &p->bound, name);
}

static void print_reduce(Printer *p, const Expr *e) {
  int outer = p->bound.n;
  buf_printf(p->out, "%s[", reducers[e->u.bind->reducer].name);
  for (int k = 0; k < e->u.bind->n; k++) {
    if (k) buf_puts(p->out, ", ");
    print_range(p, e->u.bind->ix[k], reduce_lo(e, k), reduce_hi(e, k));
  }
  buf_puts(p->out, "](");
  print_filtered(p, reduce_term(e), reduce_cond(e));
  buf_putc(p->out, ')');
  unbind(p, outer);
}

static void print_conversion(Printer *p, const Expr *e) {
  buf_printf(p->out, e->op == OP_CAST ? "%s(" : "bitcast(%s, ", dtypes[e->aux].name);
  if (is_literal(e->arg[0])) print_typed(p, e->arg[0]);
  else print_expr(p, e->arg[0], LOOSE);
  buf_putc(p->out, ')');
}

static int level_of(const Expr *e) {
  if (e->op == OP_SELECT) return LOOSE;
  if (e->op == OP_READ && e->aux == 1) return LOOSE;      // `??` binds tightest, but brackets help the eye
  return ops[e->op].symbol ? ops[e->op].level : PRIMARY;
}

static void print_node(Printer *p, const Expr *e) {
  switch (e->op) {
  case OP_CONST: print_typed(p, e); return;
  case OP_DIM: buf_puts(p->out, e->u.dim->name); return;
  case OP_INDEX: buf_puts(p->out, index_name(p, e->u.ix)); return;
  case OP_VAR: buf_puts(p->out, e->u.var->name); return;
  case OP_READ: print_read(p, e); return;
  case OP_FIELD: print_field(p, e); return;
  case OP_REDUCE: print_reduce(p, e); return;
  case OP_CAST: case OP_BITCAST: print_conversion(p, e); return;
  case OP_SELECT: print_select(p, e); return;
  default: break;
  }
  if (ops[e->op].symbol) print_operator(p, e);
  else print_function(p, e);
}

static void print_expr(Printer *p, const Expr *e, int least) {
  if (e->op == OP_CONST && e->dtype == DT_BOOL) {
    print_literal(p, e);
    return;
  }
  bool brackets = level_of(e) < least;
  if (brackets) buf_putc(p->out, '(');
  print_node(p, e);
  if (brackets) buf_putc(p->out, ')');
}

static Printer printer(Buf *out, Arena *a, Interner *names) {
  return (Printer){.out = out, .a = a, .names = names, .taken = map_make(a), .index = map_make(a)};
}

void expr_print(const Expr *e, Buf *out) {
  Arena *a = arena_create();
  Printer p = printer(out, a, intern_create(a));
  for (int k = 0; k < e->free->n; k++) bind(&p, e->free->ix[k]);
  print_alone(&p, e, LOOSE);
  arena_destroy(a);
}

// Equations.

static void print_type(Printer *p, const Tensor *t) {
  buf_puts(p->out, t->fmt ? t->fmt->name : dtypes[t->dtype].name);
  if (t->rank) buf_putc(p->out, '[');
  for (int k = 0; k < t->rank; k++) {
    if (k) buf_puts(p->out, ", ");
    print_integer(p, t->extent[k], LOOSE);
  }
  if (t->rank) buf_putc(p->out, ']');
}

// `kc[b < B, pos[b], g < G, e < E] <- k[b, g, e] if pos[b] >= 0`: an index has its bound where it stands plainly first.
static void print_update(Printer *p, const Eqn *q) {
  bool bounded[8] = {false};
  for (int k = 0; k < q->n; k++) bind(p, q->ix[k]);
  buf_printf(p->out, "%s[", q->def->root->name);
  for (int k = 0; k < q->nstore; k++) {
    const Expr *s = q->store[k];
    int at = 0;
    if (k) buf_puts(p->out, ", ");
    print_integer(p, s, LOOSE);
    while (at < q->n && !(s->op == OP_INDEX && s->u.ix == q->ix[at])) at++;
    if (at == q->n || bounded[at]) continue;
    bounded[at] = true;
    buf_puts(p->out, " < ");
    print_integer(p, q->extent[at], COMPARISON + 1);
  }
  buf_puts(p->out, "] <- ");
  print_filtered(p, q->body, q->cond);
}

static void print_eqn(Printer *p, const Eqn *q) {
  int outer = p->bound.n;
  if (q->base) {
    print_update(p, q);
    unbind(p, outer);
    return;
  }
  buf_puts(p->out, q->def->name);
  if (q->def->role == ROLE_LOCAL && q->def->stored)
    buf_printf(p->out, ": %s", q->def->fmt ? q->def->fmt->name : dtypes[q->def->dtype].name);
  for (int k = 0; k < q->n; k++) {
    buf_puts(p->out, k ? ", " : "[");
    print_range(p, q->ix[k], NULL, q->extent[k]);
  }
  buf_puts(p->out, q->n ? "] = " : " = ");
  print_alone(p, q->body, LOOSE);
  unbind(p, outer);
}

static void take_names(Printer *p, const Fn *f) {
  p->f = f;
  for (int k = 0; k < f->dims.n; k++) take(p, f->dims.v[k]->name);
}

void eqn_print(const Fn *f, const Eqn *q, Buf *out) {
  Arena *a = arena_create();
  Printer p = printer(out, a, f->names);
  take_names(&p, f);
  print_eqn(&p, q);
  arena_destroy(a);
}

// Functions and what stands before them.

static void print_field_decl(Printer *p, const Field *f) {
  buf_printf(p->out, "  %s: %s", f->name, dtypes[f->dtype].name);
  if (f->array) buf_printf(p->out, "[%d]", f->count);
  buf_putc(p->out, '\n');
}

static void print_encode(Printer *p, const Format *m) {
  buf_printf(p->out, "  encode(%s) {\n", m->v->name);
  for (int k = 0; k < m->nencode; k++) {
    const FormatEqn *q = &m->encode[k];
    int outer = p->bound.n;
    buf_printf(p->out, "    %s", q->field ? q->field->name : q->def->name);
    if (!q->field && q->def->stored) buf_printf(p->out, ": %s", dtypes[q->def->dtype].name);
    if (q->ix) {
      buf_putc(p->out, '[');
      print_range(p, q->ix, NULL, q->extent);
      buf_putc(p->out, ']');
    }
    buf_puts(p->out, " = ");
    print_alone(p, q->body, LOOSE);
    buf_putc(p->out, '\n');
    unbind(p, outer);
  }
  buf_puts(p->out, "  }\n");
}

static void print_format(Printer *p, const Format *m) {
  buf_printf(p->out, "format %s of %lld {\n", m->name, (long long)m->block);
  for (int k = 0; k < m->nfields; k++) print_field_decl(p, &m->field[k]);
  int outer = p->bound.n;
  bind(p, m->k);
  buf_printf(p->out, "  value[%s] = ", index_name(p, m->k));
  print_alone(p, m->value, LOOSE);
  buf_putc(p->out, '\n');
  unbind(p, outer);
  if (m->v) print_encode(p, m);
  buf_puts(p->out, "}\n\n");
}

static void take_format_names(Printer *p, const Format *m) {
  for (int k = 0; k < m->nfields; k++) take(p, m->field[k].name);
  for (int k = 0; k < m->nencode; k++) take(p, m->encode[k].def->name);
  if (m->v) take(p, m->v->name);
}

static void print_table(Printer *p, ExprTable *x, const Tensor *t) {
  buf_printf(p->out, "const %s: %s = [", t->name, dtypes[t->dtype].name);
  for (int64_t k = 0; k < t->ntable; k++) {
    if (k) buf_puts(p->out, ", ");
    print_literal(p, expr_scalar(x, dtype_wide(t->dtype), t->table[k], NO_SPAN));
  }
  buf_puts(p->out, "]\n\n");
}

static void print_preamble(Printer *p, const Fn *f) {
  for (int k = 0; k < f->formats.n; k++) {
    Printer own = printer(p->out, p->a, f->names);
    take_format_names(&own, f->formats.v[k]);
    print_format(&own, f->formats.v[k]);
  }
  ExprTable *x = expr_table(p->a);                    // for literals; the function's own stays as it is
  for (int k = 0; k < f->tensors.n; k++)
    if (f->tensors.v[k]->role == ROLE_TABLE) print_table(p, x, f->tensors.v[k]);
}

static void print_params(Printer *p, const Fn *f) {
  for (int k = 0; k < f->params.n; k++) {
    const Tensor *t = f->params.v[k];
    if (k) buf_puts(p->out, ", ");
    buf_printf(p->out, "%s%s: ", t->role == ROLE_MUT ? "mut " : "", t->name);
    print_type(p, t);
    const Expr *value = k < f->defaults.n ? f->defaults.v[k] : NULL;
    if (!value) continue;
    buf_puts(p->out, " = ");
    if (is_literal(value)) print_literal(p, value);
    else print_expr(p, value, LOOSE);
  }
}

static void print_results(Printer *p, const Fn *f) {
  if (f->results.n == 0) return;
  buf_puts(p->out, f->results.n > 1 ? " -> (" : " -> ");
  for (int k = 0; k < f->results.n; k++) {
    buf_printf(p->out, "%s%s: ", k ? ", " : "", f->results.v[k]->name);
    print_type(p, f->results.v[k]);
  }
  if (f->results.n > 1) buf_putc(p->out, ')');
}

static void print_where(Printer *p, const Fn *f) {
  const char *before = "\n  where ";
  for (int k = 0; k < f->where.n; k++) {
    buf_puts(p->out, before);
    print_expr(p, f->where.v[k].e, LOOSE);
    before = ", ";
  }
  if (f->max_kernels >= 0) buf_printf(p->out, "%skernels <= %d", before, f->max_kernels);
}

void fn_print(const Fn *f, Buf *out) {
  Arena *a = arena_create();
  Printer p = printer(out, a, f->names);
  take_names(&p, f);
  print_preamble(&p, f);
  buf_printf(out, "fn %s(", f->name);
  print_params(&p, f);
  buf_putc(out, ')');
  print_results(&p, f);
  print_where(&p, f);
  buf_puts(out, f->where.n || f->max_kernels >= 0 ? "\n{\n" : " {\n");
  for (int k = 0; k < f->eqns.n; k++) {
    buf_puts(out, "  ");
    print_eqn(&p, f->eqns.v[k]);
    buf_putc(out, '\n');
  }
  buf_puts(out, "}\n");
  arena_destroy(a);
}
