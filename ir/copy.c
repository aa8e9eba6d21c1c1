// copy.c: copies of statements.
#include "ir/kernel.h"

static Expr *renamed(void *cx, ExprTable *x, Expr *e) {
  StmtCopy *c = cx;
  if (e->op == OP_INDEX) {
    Expr *to = map_getp(&c->to, e->u.ix);
    return to ? to : e;
  }
  Var *v = e->op == OP_VAR ? map_getp(&c->to, e->u.var) : NULL;
  return v ? expr_var(x, v) : e;
}

Expr *stmt_copy_expr(StmtCopy *c, Expr *e) { return e ? expr_map(c->x, e, renamed, c) : NULL; }

static Var *name_of(StmtCopy *c, Var *v, bool declares) {
  if (v && declares) map_putp(&c->to, v, var_like(c->x, v));
  Var *to = v ? map_getp(&c->to, v) : NULL;
  return to ? to : v;
}

static Index *index_of(StmtCopy *c, Index *ix) {
  if (!ix) return NULL;
  Index *to = index_new(c->x, ix->name, NO_SPAN);
  map_putp(&c->to, ix, expr_index(c->x, to));
  return to;
}

Stmt *stmt_copy(StmtCopy *c, const Stmt *s) {
  Stmt *made = stmt_alone(c->a, s);
  Expr **part[] = { &made->lo, &made->hi, &made->lo2, &made->hi2 };
  for (int k = 0; k < 4; k++) *part[k] = stmt_copy_expr(c, *part[k]);
  made->ix = index_of(c, s->ix), made->ix2 = index_of(c, s->ix2);
  made->a = stmt_copy_expr(c, s->a), made->b = stmt_copy_expr(c, s->b), made->stream = stmt_copy_expr(c, s->stream);
  for (int k = 0; k < s->nsub; k++) made->sub[k] = stmt_copy_expr(c, s->sub[k]);
  made->row = stmt_copy_expr(c, s->row);
  bool declares = s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_LINE;
  made->var = name_of(c, s->var, declares), made->var2 = name_of(c, s->var2, declares);
  made->body = stmts_copy(c, s->body);
  made->els = stmts_copy(c, s->els);
  return made;
}

Stmt *stmts_copy(StmtCopy *c, const Stmt *s) {
  Stmt *first = NULL, **tail = &first;
  for (; s; s = s->next) tail = stmts_append(tail, stmt_copy(c, s));
  return first;
}
