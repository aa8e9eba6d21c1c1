// emit_loose.c: where a quotient or a root need not be rounded exactly.
//
// An operation on values that all compilers agree about is rounded alike everywhere. Behind a sum of many terms, a function or a few
// roundings the last digits are nobody's promise (ir/interp_bounds.c says how far they may lie apart), and there a target with a fast
// approximation takes that: GPUs branch for an exact division, and compile it slowly.
#include "codegen/emit.h"
#include "ir/rewrite.h"

enum { SURE = 2, MANY = 64 };      // roundings up to which a value is the same everywhere; of a value whose last digits are open

static int at_most(int n) { return n < MANY ? n : MANY; }

static bool is_zero(const Expr *x) { return x->op == OP_CONST && x->u.v.f == 0; }

static int roundings(Emit *e, const Expr *x);

static int of_both(Emit *e, const Expr *x, bool free) { return at_most(roundings(e, x->arg[0]) + roundings(e, x->arg[1]) + (free ? 0 : 2)); }

// Of a product or a quotient: exact where one of its operands happens to be a power of two.
static int most_of(Emit *e, const Expr *x) {
  int a = roundings(e, x->arg[0]), b = roundings(e, x->arg[1]);
  return a > b ? a : b;
}

// Of a value that is one of its operands, whichever.
static int least_of(Emit *e, const Expr *x, uint32_t first) {
  int least = MANY;
  for (uint32_t k = first; k < x->nargs; k++) {
    int n = roundings(e, x->arg[k]);
    if (n < least) least = n;
  }
  return least;
}

static int known(const Emit *e, const void *of) { return (int)(intptr_t)map_getp(&e->loose, of) - 1; }      // -1: not yet

static int know(Emit *e, const void *of, int n) {
  map_putp(&e->loose, of, (void *)(intptr_t)(n + 1));
  return n;
}

static int count(Emit *e, const Expr *x) {
  switch (x->op) {
  case OP_VAR: return known(e, x->u.var) > 0 ? known(e, x->u.var) : 0;
  case OP_ADD: case OP_SUB: return of_both(e, x, is_zero(x->arg[0]) || is_zero(x->arg[1]));
  case OP_MUL: return most_of(e, x);
  case OP_DIV: return roundings(e, x->arg[1]) > SURE ? MANY : roundings(e, x->arg[0]);
  case OP_NEG: return roundings(e, x->arg[0]);
  case OP_ABS: case OP_SQRT: return roundings(e, x->arg[0]) > SURE ? MANY : 0;
  case OP_MIN: case OP_MAX: return least_of(e, x, 0) > SURE ? MANY : 0;
  case OP_SELECT: return least_of(e, x, 1);
  default: return ops[x->op].rule == R_FLOAT && ops[x->op].ulp > .5 ? MANY : 0;
  }
}

static int roundings(Emit *e, const Expr *x) {
  if (!dtype_is_float((Dtype)x->dtype)) return 0;
  if (!x->nargs) return count(e, x);
  int n = known(e, x);
  return n >= 0 ? n : know(e, x, count(e, x));
}

bool emit_is_loose(Emit *e, const Expr *x) {
  for (uint32_t k = 0; k < x->nargs; k++) if (roundings(e, x->arg[k]) > SURE) return true;
  return false;
}

// ---- variables ---------------------------------------------------------------------------------

static bool is_choice(const Stmt *s) { return s->reducer == RED_MAX || s->reducer == RED_MIN; }

// Of a sum's terms there are many. The greatest of some is one of them: as open as the least open.
static void find_accumulator(Emit *e, const Stmt *s) {
  if (!dtype_is_float(s->var->dtype)) return;
  if (s->reducer == RED_SUM) know(e, s->var, MANY);
  if (is_choice(s) && known(e, s->var) != 0) know(e, s->var, roundings(e, s->a) > SURE ? MANY : 0);
}

static void find_sums(Emit *e, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_LET) know(e, s->var, roundings(e, s->a));
    if (s->kind == ST_VAR && roundings(e, s->a) > SURE) know(e, s->var, MANY);
    if (s->kind == ST_ACC) find_accumulator(e, s);
    find_sums(e, s->body);
    find_sums(e, s->els);
  }
}

// What is also set to something exact is exact.
static void find_sets(Emit *e, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_SET && roundings(e, s->a) <= SURE) know(e, s->var, 0);
    find_sets(e, s->body);
    find_sets(e, s->els);
  }
}

void emit_find_loose(Emit *e, const Stmt *body) {
  find_sums(e, body);
  find_sets(e, body);
}
