// target_null.c: the smallest target: kernels as plain sequential C functions, without entry points. It shows what a
// target must give, and tests that the printer needs no more.
#include "codegen/emit.h"

static const char *op_text(const OpInfo *o, char kind) { return target_c.op_text(o, kind); }

static void prologue(Emit *e) { buf_puts(e->out, "\n"); }

static void kernel_head(Emit *e, const Kernel *k) {
  const Params *p = map_getp(&e->params, k);
  Buf b = buf_make(e->a);
  for (int i = 0; i < p->list.n; i++) {
    const Param *q = &p->list.v[i];
    const char *name = names_of(&e->names, q->dim ? (const void *)q->dim : q->t);
    if (q->dim) buf_printf(&b, "%slong long %s", i ? ", " : "", name);
    else if (q->t->rank == 0 && q->t->role == ROLE_PARAM) buf_printf(&b, "%s%s %s", i ? ", " : "", emit_storage(q->t), name);
    else buf_printf(&b, "%s%s%s *%s", i ? ", " : "", q->writes ? "" : "const ", emit_storage(q->t), name);
  }
  if (p->faults) buf_printf(&b, "%slong long *fault", p->list.n ? ", " : "");
  emit_line(e, "void %s(%s) {", (const char *)names_of(&e->names, k), b.n ? b.s : "void");
}

static void loop(Emit *e, const Stmt *s) {
  const char *lo = emit_expr(e, s->lo, LEVEL_COND), *hi = emit_expr(e, s->hi, 8);
  names_open(&e->names);
  const char *i = emit_index(e, s);
  if (s->ix2) emit_line(e, "for (long long %s = %s, %s = %s; %s < %s; %s = %s) {", i, lo, names_bind(&e->names, s->ix2, s->ix2->name), hi, i, hi, i, hi);
  else emit_line(e, "for (long long %s = %s; %s < %s; %s += %lld) {", i, lo, i, hi, i, (long long)(s->step ? s->step : 1));
  emit_open(e);
  emit_block(e, s->body);
  emit_close(e);
  emit_line(e, "}");
  names_close(&e->names);
}

// One lane: a sum in the order of its index.
static void lanes_var(Emit *e, const Stmt *s) {
  const char *value = emit_expr(e, s->a, LEVEL_COND);
  emit_line(e, "%s %s = %s;", emit_type(s->var->dtype), names_bind(&e->names, s->var, s->var->name), value);
}

static void fold(Emit *e, const Stmt *s) { (void)e, (void)s; }

// As two loops.
static void stage(Emit *e, const Stmt *s) {
  names_open(&e->names);
  const char *i = names_bind(&e->names, s->ix, s->ix->name), *k = names_bind(&e->names, s->ix2, s->ix2->name);
  const char *lo = emit_expr(e, s->lo, LEVEL_COND), *lo2 = emit_expr(e, s->lo2, LEVEL_COND);
  emit_line(e, "for (long long %s = %s; %s < %s; %s++)", i, lo, i, emit_expr(e, s->hi, 8), i);
  emit_line(e, "  for (long long %s = %s; %s < %s; %s++)", k, lo2, k, emit_expr(e, s->hi2, 8), k);
  emit_line(e, "    %s[(%s - (%s)) * %lld + %s - (%s)] = %s[%s];", emit_tensor(e, s->t), i, lo, (long long)s->t->extent[1]->u.v.i, k, lo2, emit_tensor(e, s->a->u.t),
            emit_position(e, s->a->u.t, s->a->arg, s->a->u.t->rank, 1, LEVEL_COND));
  names_close(&e->names);
}

static void fault(Emit *e, int site, const char *value) {
  emit_line(e, "if (!fault[0]) fault[0] = %d, fault[1] = %s;", site, value);
}

static void entry(Emit *e, Buf *header) { (void)e, (void)header; }

const Target target_null = {
  .name = "null", .restrict_word = "", .function_words = "static inline ", .table_words = "static const ", .aligned_words = "",
  .own_functions = true, .infinity = {"__builtin_inf()", "__builtin_inff()"}, .nan = {"__builtin_nan(\"\")", "__builtin_nanf(\"\")"},
  .op_text = op_text, .prologue = prologue, .kernel_head = kernel_head, .loop = loop, .lanes_var = lanes_var, .fold = fold,
  .stage = stage, .fault = fault, .entry = entry,
};
