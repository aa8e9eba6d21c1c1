// narrow.c: the index beside the best value, of argmax and argmin, in 32 bits where all indices fit.
//
// GPUs have registers, shuffles and comparisons of 32 bits; a 64-bit index takes two of each, in every step and in every merge. A vector
// of a CPU holds half as many, and lanes of two widths leave its registers: argmax of [2048, 32768] f32 at 24 GB/s instead of 30. Only where
// nothing but the i32 that the language gives is made of it: "no index yet" has another value afterwards.
#include "passes/pass.h"

typedef struct Narrow {
  ExprTable *x;
  Arena *scratch;
  Ranges *facts;
  Map wide;         // Var → itself: something that does not fit is put there
  Map narrow;       // Var → its new one
} Narrow;

// ---- which -------------------------------------------------------------------------------------

static void see_value(Narrow *w, const Expr *e) {
  if (e && e->op == OP_VAR) map_putp(&w->wide, e->u.var, (void *)(uintptr_t)e);
}

static void see_use(void *cx, Expr *e) {
  bool result = e->op == OP_CAST && e->aux == DT_I32;
  for (uint32_t k = 0; k < e->nargs && !result; k++) see_value(cx, e->arg[k]);
}

static void look(Narrow *w, const Stmt *s) {
  Ranges *facts = w->facts;
  for (; s; s = s->next) {
    bool fits = s->kind == ST_ACC && s->var2 && s->var2->dtype == DT_I64 && range_fits_i32(facts, w->x, s->b);
    if (s->kind == ST_ACC && s->var2 && !fits) map_putp(&w->wide, s->var2, s->var2);
    if (s->kind == ST_SET) map_putp(&w->wide, s->var, s->var);
    Expr *const part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) see_value(w, part[k]);
    for (int k = 0; k < s->nsub; k++) see_value(w, s->sub[k]);
    ranges_push(facts);
    if (s->kind == ST_LOOP) ranges_index(facts, s->ix, s->lo, s->hi);
    look(w, s->body);
    ranges_pop(facts);
    look(w, s->els);
  }
}

static void choose(Narrow *w, const Stmt *all, const Stmt *s) {
  for (; s; s = s->next) {
    bool good = s->kind == ST_ACC && s->var2 && !map_getp(&w->wide, s->var2) && !map_getp(&w->narrow, s->var2);
    if (good && stmts_declare(all, s->var2)) map_putp(&w->narrow, s->var2, var_new(w->x, s->var2->name, DT_I32));
    choose(w, all, s->body);
    choose(w, all, s->els);
  }
}

// ---- change ------------------------------------------------------------------------------------

// i32(i64(v)) is v.
static Expr *renamed(void *cx, ExprTable *x, Expr *e) {
  Narrow *w = cx;
  Var *v = e->op == OP_VAR ? map_getp(&w->narrow, e->u.var) : NULL;
  if (v) return expr_cast(x, DT_I64, expr_var(x, v), e->at);
  const Expr *a = e->op == OP_CAST && e->aux == DT_I32 ? e->arg[0] : NULL;
  return a && a->op == OP_CAST && a->aux == DT_I64 && a->arg[0]->op == OP_VAR && a->arg[0]->dtype == DT_I32 ? a->arg[0] : e;
}

static void change(Narrow *w, Stmt *s) {
  for (; s; s = s->next) {
    Var *declared = s->kind == ST_VAR ? map_getp(&w->narrow, s->var) : NULL, *v = s->var2 ? map_getp(&w->narrow, s->var2) : NULL;
    if (declared) s->var = declared, s->a = expr_int(w->x, DT_I32, -INT32_MAX, NO_SPAN);
    if (v) s->var2 = v;
    if (v && s->kind == ST_ACC) s->b = expr_cast(w->x, DT_I32, s->b, NO_SPAN);
    change(w, s->body);
    change(w, s->els);
  }
}

void narrow_best(ExprTable *x, Arena *scratch, Ranges *facts, Stmt *body) {
  Narrow w = { x, scratch, facts, map_make(scratch), map_make(scratch) };
  look(&w, body);
  stmts_visit(scratch, body, see_use, &w);
  choose(&w, body, body);
  if (!w.narrow.n) return;
  change(&w, body);
  stmts_map(x, body, renamed, &w);
}
