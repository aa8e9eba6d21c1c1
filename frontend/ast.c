// ast.c: the operators of the grammar, and equality of trees.
#include "frontend/ast.h"
#include "frontend/operators.h"
#include <string.h>

// Binding, loosest first; the levels follow the grammar (parse.y). A comparison does not chain, `**` binds to the right.
const Operator operators[AO_COUNT] = {
  [AO_OR] = {"or", LEVEL_OR, LEVEL_OR, LEVEL_AND},
  [AO_AND] = {"and", LEVEL_AND, LEVEL_AND, LEVEL_NOT},
  [AO_NOT] = {"not", LEVEL_NOT, 0, LEVEL_NOT},
  [AO_EQ] = {"==", LEVEL_COMPARE, LEVEL_BITOR, LEVEL_BITOR},
  [AO_NE] = {"!=", LEVEL_COMPARE, LEVEL_BITOR, LEVEL_BITOR},
  [AO_LT] = {"<", LEVEL_COMPARE, LEVEL_BITOR, LEVEL_BITOR},
  [AO_LE] = {"<=", LEVEL_COMPARE, LEVEL_BITOR, LEVEL_BITOR},
  [AO_GT] = {">", LEVEL_COMPARE, LEVEL_BITOR, LEVEL_BITOR},
  [AO_GE] = {">=", LEVEL_COMPARE, LEVEL_BITOR, LEVEL_BITOR},
  [AO_BITOR] = {"|", LEVEL_BITOR, LEVEL_BITOR, LEVEL_BITXOR},
  [AO_BITXOR] = {"^", LEVEL_BITXOR, LEVEL_BITXOR, LEVEL_BITAND},
  [AO_BITAND] = {"&", LEVEL_BITAND, LEVEL_BITAND, LEVEL_SHIFT},
  [AO_SHL] = {"<<", LEVEL_SHIFT, LEVEL_SHIFT, LEVEL_SUM},
  [AO_SHR] = {">>", LEVEL_SHIFT, LEVEL_SHIFT, LEVEL_SUM},
  [AO_ADD] = {"+", LEVEL_SUM, LEVEL_SUM, LEVEL_PRODUCT},
  [AO_SUB] = {"-", LEVEL_SUM, LEVEL_SUM, LEVEL_PRODUCT},
  [AO_MUL] = {"*", LEVEL_PRODUCT, LEVEL_PRODUCT, LEVEL_UNARY},
  [AO_DIV] = {"/", LEVEL_PRODUCT, LEVEL_PRODUCT, LEVEL_UNARY},
  [AO_FLOORDIV] = {"//", LEVEL_PRODUCT, LEVEL_PRODUCT, LEVEL_UNARY},
  [AO_MOD] = {"%", LEVEL_PRODUCT, LEVEL_PRODUCT, LEVEL_UNARY},
  [AO_NEG] = {"-", LEVEL_UNARY, 0, LEVEL_UNARY},
  [AO_BITNOT] = {"~", LEVEL_UNARY, 0, LEVEL_UNARY},
  [AO_POW] = {"**", LEVEL_POWER, LEVEL_POSTFIX, LEVEL_UNARY},
};

const char *aop_text(AOp op) { return operators[op].text; }

// Names are compared as text: two trees may come from two contexts.

static bool same_text(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

static bool same_dtype(const ADtype *a, const ADtype *b) { return a->dtype == b->dtype && same_text(a->name, b->name); }

static bool same_expr(const AExpr *a, const AExpr *b);

static bool same_sub(const ASub *a, const ASub *b) {
  if (a->kind != b->kind) return false;
  if (a->kind == SUB_EXPR) return same_expr(a->e, b->e);
  return a->kind == SUB_DOTS || (same_text(a->name, b->name) && same_expr(a->lo, b->lo) && same_expr(a->hi, b->hi));
}

static bool same_subs(int n, const ASub *a, int m, const ASub *b) {
  bool same = n == m;
  for (int i = 0; same && i < n; i++) same = same_sub(&a[i], &b[i]);
  return same;
}

static bool same_exprs(int n, AExpr *const *a, int m, AExpr *const *b) {
  bool same = n == m;
  for (int i = 0; same && i < n; i++) same = same_expr(a[i], b[i]);
  return same;
}

static bool same_leaf(const AExpr *a, const AExpr *b) {
  switch (a->kind) {
  case A_INT: return a->i == b->i;
  case A_FLOAT: return memcmp(&a->f, &b->f, sizeof a->f) == 0;
  case A_NAME: case A_CALL: return same_text(a->name, b->name);
  case A_BINARY: case A_UNARY: return a->op == b->op;
  case A_CAST: case A_BITCAST: return same_dtype(&a->type, &b->type);
  case A_REDUCE: return a->reducer == b->reducer;
  default: return true;
  }
}

// Brackets are no part of the tree's meaning; fmt keeps them, ast_equal does not ask.
static bool same_expr(const AExpr *a, const AExpr *b) {
  if (!a || !b) return a == b;
  return a->kind == b->kind && same_leaf(a, b) && same_exprs(a->nargs, a->arg, b->nargs, b->arg) &&
         same_subs(a->nsubs, a->sub, b->nsubs, b->sub);
}

static bool same_type(const AType *a, const AType *b) {
  return same_dtype(&a->dtype, &b->dtype) && a->dots == b->dots && a->shaped == b->shaped &&
         same_exprs(a->rank, a->dim, b->rank, b->dim);
}

static bool same_stmt(const AStmt *a, const AStmt *b) {
  bool same = a->kind == b->kind && same_text(a->name, b->name) && a->typed == b->typed && a->shaped == b->shaped &&
              same_subs(a->nsubs, a->sub, b->nsubs, b->sub) && a->nnames == b->nnames;
  if (same && a->typed) same = same_dtype(&a->type, &b->type);
  for (int i = 0; same && i < a->nnames; i++) same = same_text(a->names[i], b->names[i]);
  return same && same_expr(a->e, b->e) && same_expr(a->cond, b->cond);
}

static bool same_stmts(int n, const AStmt *a, int m, const AStmt *b) {
  bool same = n == m;
  for (int i = 0; same && i < n; i++) same = same_stmt(&a[i], &b[i]);
  return same;
}

static bool same_param(const AParam *a, const AParam *b) {
  return a->mut == b->mut && same_text(a->name, b->name) && same_type(&a->type, &b->type) && same_expr(a->init, b->init);
}

static bool same_fn(const AFn *a, const AFn *b) {
  bool same = same_text(a->name, b->name) && a->nparams == b->nparams && a->nresults == b->nresults &&
              a->bracketed == b->bracketed && same_exprs(a->nwhere, a->where, b->nwhere, b->where);
  for (int i = 0; same && i < a->nparams; i++) same = same_param(&a->param[i], &b->param[i]);
  for (int i = 0; same && i < a->nresults; i++)
    same = same_text(a->result[i].name, b->result[i].name) && same_type(&a->result[i].type, &b->result[i].type);
  return same && same_stmts(a->nstmts, a->stmt, b->nstmts, b->stmt);
}

static bool same_field(const AField *a, const AField *b) {
  return same_text(a->name, b->name) && a->dtype == b->dtype && a->count == b->count && a->array == b->array;
}

static bool same_encode(const AEncode *a, const AEncode *b) {
  if (!a || !b) return a == b;
  return same_text(a->var, b->var) && same_stmts(a->nstmts, a->stmt, b->nstmts, b->stmt);
}

static bool same_format(const AFormat *a, const AFormat *b) {
  bool same = same_text(a->name, b->name) && a->block == b->block && a->nfields == b->nfields;
  for (int i = 0; same && i < a->nfields; i++) same = same_field(&a->field[i], &b->field[i]);
  return same && same_stmts(a->nstmts, a->stmt, b->nstmts, b->stmt) && same_encode(a->encode, b->encode);
}

static bool same_const(const AConst *a, const AConst *b) {
  return same_text(a->name, b->name) && a->typed == b->typed && (!a->typed || same_dtype(&a->type, &b->type)) &&
         a->table == b->table && same_exprs(a->nvalues, a->value, b->nvalues, b->value);
}

static bool same_item(const AItem *a, const AItem *b) {
  if (a->kind != b->kind) return false;
  switch (a->kind) {
  case AI_IMPORT: return same_text(a->import->path, b->import->path);
  case AI_CONST: return same_const(a->cnst, b->cnst);
  case AI_FORMAT: return same_format(a->format, b->format);
  case AI_FN: return same_fn(a->fn, b->fn);
  }
  return false;
}

bool ast_equal(const AFile *a, const AFile *b) {
  bool same = a->nitems == b->nitems;
  for (int i = 0; same && i < a->nitems; i++) same = same_item(&a->item[i], &b->item[i]);
  return same;
}
