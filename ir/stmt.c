// stmt.c: statements are built, walked and looked at.
#include "ir/kernel.h"

enum { MOST_LOOPS = 8 };       // of a nest

// ---- building ----------------------------------------------------------------------------------

Stmt *stmt_new(Arena *a, StmtKind kind) {
  Stmt *s = arena_new(a, Stmt);
  s->kind = kind;
  s->field = -1;
  s->lanes = 1;
  return s;
}

Stmt *stmt_alone(Arena *a, const Stmt *s) {
  Stmt *made = arena_new(a, Stmt);
  *made = *s;
  made->next = NULL;
  return made;
}

Stmt *stmt_value(Arena *a, StmtKind kind, Var *var, Expr *value) {
  Stmt *s = stmt_new(a, kind);
  s->var = var;
  s->a = value;
  return s;
}

Stmt *stmt_loop(Arena *a, LoopHow how, Index *ix, Expr *lo, Expr *hi, Stmt *body) {
  Stmt *s = stmt_new(a, ST_LOOP);
  s->how = how;
  s->ix = ix;
  s->lo = lo, s->hi = hi;
  s->body = body;
  return s;
}

Stmt *stmt_either(Arena *a, Expr *cond, Stmt *then, Stmt *els) {
  Scalar known;
  if (expr_fold(cond, &known)) return known.u ? then : els;
  Stmt *s = stmt_value(a, ST_IF, NULL, cond);
  s->body = then;
  s->els = els;
  return s;
}

Stmt *plan_let(Plan *p, StmtKind kind, const char *name, Expr *value) {
  return stmt_value(p->a, kind, var_new(p->x, intern(p->fn->names, name), (Dtype)value->dtype), value);
}

Index *plan_index(Plan *p, const char *name) { return index_new(p->x, intern(p->fn->names, name), NO_SPAN); }

Stmt **stmts_append(Stmt **tail, Stmt *s) {
  *tail = s;
  while (*tail) tail = &(*tail)->next;
  return tail;
}

Stmt *stmts_replace(Stmt *s, StmtMake f, void *cx) {
  Stmt *first = NULL, **tail = &first;
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    tail = stmts_append(tail, f(cx, s));
  }
  return first;
}

void stmts_insert(Stmt **list, const Stmt *before, Stmt *s) {
  while (*list != before) list = &(*list)->next;
  s->next = *list;
  *list = s;
}

// ---- walking -----------------------------------------------------------------------------------

void stmts_visit(Arena *scratch, const Stmt *s, ExprVisit f, void *cx) {
  for (; s; s = s->next) {
    Expr *const part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) if (part[k]) expr_visit(scratch, part[k], f, cx);
    for (int k = 0; k < s->nsub; k++) expr_visit(scratch, s->sub[k], f, cx);
    stmts_visit(scratch, s->body, f, cx);
    stmts_visit(scratch, s->els, f, cx);
  }
}

void stmts_map(ExprTable *x, Stmt *s, ExprMap f, void *cx) {
  for (; s; s = s->next) {
    Expr **part[] = { &s->lo, &s->hi, &s->a, &s->b };
    for (int k = 0; k < 4; k++) if (*part[k]) *part[k] = expr_map(x, *part[k], f, cx);
    for (int k = 0; k < s->nsub; k++) if (s->sub[k]) s->sub[k] = expr_map(x, s->sub[k], f, cx);
    stmts_map(x, s->body, f, cx);
    stmts_map(x, s->els, f, cx);
  }
}

// ---- looking -----------------------------------------------------------------------------------

bool stmts_have(const Stmt *s, StmtKind kind) {
  for (; s; s = s->next) if (s->kind == kind || stmts_have(s->body, kind) || stmts_have(s->els, kind)) return true;
  return false;
}

bool stmt_steps_below(const Stmt *loop, int64_t steps) {
  Scalar lo, hi;
  return expr_fold(loop->lo, &lo) && expr_fold(loop->hi, &hi) && hi.i - lo.i < steps;
}

bool stmts_declare(const Stmt *s, const Var *v) {
  for (; s; s = s->next)
    if (((s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_LINE) && s->var == v) || stmts_declare(s->body, v) || stmts_declare(s->els, v)) return true;
  return false;
}

bool stmt_stores(const Stmt *s) { return s->kind == ST_STORE || (s->kind == ST_STAGE && s->nsub); }

typedef struct Fixed { const Stmt *loop; bool yes; } Fixed;

// Does a statement bind the index, or declare or change the variable?
static bool makes(const Stmt *s, const Expr *name) {
  for (; s; s = s->next) {
    bool here = name->op == OP_INDEX ? s->kind == ST_LOOP && s->ix == name->u.ix : s->var == name->u.var || s->var2 == name->u.var;
    if (here || makes(s->body, name) || makes(s->els, name)) return true;
  }
  return false;
}

static void see_fixed(void *cx, Expr *e) {
  Fixed *f = cx;
  if (e->op == OP_READ || e->op == OP_FIELD) f->yes = false;
  if (f->yes && (e->op == OP_INDEX || e->op == OP_VAR)) f->yes = !expr_is_index(e, f->loop->ix) && !makes(f->loop->body, e);
}

bool stmt_keeps(Arena *scratch, const Stmt *loop, Expr *e) {
  Fixed f = { loop, true };
  expr_visit(scratch, e, see_fixed, &f);
  return f.yes;
}

// Over dimensions and scalar arguments.
static bool is_of_dims(const Expr *e) { return !e->free->n && !expr_has(e, OP_VAR) && !expr_has(e, OP_READ); }

Stmt *stmt_nest(ExprTable *x, Stmt *s, Expr **rows) {
  Stmt *in = NULL;
  *rows = NULL;
  for (int n = 0; n < MOST_LOOPS && s && s->kind == ST_LOOP && s->how == HOW_PAR && !s->step && expr_is_int(s->lo, 0) && is_of_dims(s->hi); n++) {
    *rows = in ? expr_op2(x, OP_MUL, *rows, s->hi, NO_SPAN) : s->hi;
    in = s;
    s = s->body && !s->body->next ? s->body : NULL;
  }
  return in;
}
