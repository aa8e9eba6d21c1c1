// simplify.c: fold constants, apply rules.def, drop equations that nothing reads.
//
//   y[i] = x[i] ** 2 * 1 + (if 2 > 1 then 0.5 else z[i])   ──▶   y[i] = x[i] * x[i] + 0.5
//
// Every step keeps every value, on every type (rules.def). Method: bottom-up over the DAG; a node is rewritten until no rule
// matches. Commuting operations have their constant on the right, so a rule is written once.
#include "ir/rewrite.h"
#include "passes/pass.h"
#include "passes/rules.h"

enum { MAX_STEPS = 32 };        // rewrites of one node; rules shrink expressions, so few are ever needed

typedef struct Compiled { const Rule *rule; Pattern *from, *to; } Compiled;
typedef struct Simplify {
  Arena *a;
  VEC(Compiled) by_op[OP_COUNT_];
  Map fails, harmless;  // expressions in which something may fail, and those without
} Simplify;

static void compile_rules(Simplify *s) {
  for (int i = 0; i < nrules; i++) {
    Compiled c = { &rules[i], pattern_parse(s->a, rules[i].from), pattern_parse(s->a, rules[i].to) };
    if (c.from && c.to) vec_push(s->a, &s->by_op[c.from->op], c);
  }
}

static bool may_fail(Simplify *s, Expr *e) {
  if (e->op == OP_REDUCE || e->op == OP_FIELD || (e->op == OP_READ && (e->u.t->rank || e->u.t->role != ROLE_PARAM))) return true;
  if (!e->nargs || map_get(&s->harmless, e->id)) return false;
  if (map_get(&s->fails, e->id)) return true;
  bool fails = false;
  for (uint32_t k = 0; k < e->nargs && !fails; k++) fails = may_fail(s, e->arg[k]);
  map_put(fails ? &s->fails : &s->harmless, e->id, e);
  return fails;
}

static bool mentions(const Pattern *p, char letter) {
  if (p->letter == letter) return true;
  for (int k = 0; k < p->nargs; k++) if (mentions(p->arg[k], letter)) return true;
  return false;
}

// What the right side leaves out is not evaluated any more: that must not hide an error.
static bool drops_failure(Simplify *s, const Compiled *c, const Binding *b) {
  bool fails = false;
  for (int k = 0; k < 26 && !fails; k++)
    fails = b->by[k] && !mentions(c->to, (char)('a' + k)) && may_fail(s, b->by[k]);
  // Branches that are never taken are no loss.
  bool decided = (ops[c->from->op].props & OP_LAZY) && c->from->arg[0]->op == OP_NONE && !c->from->arg[0]->letter;
  return fails && !decided;
}

static Expr *apply_rules(Simplify *s, ExprTable *x, Expr *e) {
  for (int i = 0; i < s->by_op[e->op].n; i++) {
    Compiled *c = &s->by_op[e->op].v[i];
    Binding b = {{0}};
    if (!rule_applies(c->rule, (Dtype)e->dtype) || !pattern_match(c->from, e, &b) || drops_failure(s, c, &b)) continue;
    Expr *r = pattern_build(x, c->to, &b, e);
    if (r) return r;
  }
  return e;
}

// `and` and `or` keep their order: the right side is evaluated only where the left one asks for it.
static Expr *constant_right(ExprTable *x, Expr *e) {
  bool commutes = (ops[e->op].props & OP_COMMUTES) && !(ops[e->op].props & OP_LAZY);
  bool swap = commutes && e->nargs == 2 && expr_is_const(e->arg[0]) && !expr_is_const(e->arg[1]);
  return swap ? expr_rebuild(x, e, (Expr *[]){ e->arg[1], e->arg[0] }) : e;
}

// (e + c) + d and (e * c) * d with integer constants: one constant. Wraps as the operations do.
static Expr *join_constants(ExprTable *x, Expr *e) {
  bool sum = e->op == OP_ADD || e->op == OP_MUL;
  if (!sum || !dtype_is_int((Dtype)e->dtype) || e->nargs != 2 || !expr_is_const(e->arg[1])) return e;
  Expr *in = e->arg[0];
  if (in->op != e->op || !expr_is_const(in->arg[1])) return e;
  Expr *both = expr_op2(x, (Op)e->op, in->arg[1], e->arg[1], e->at);
  Scalar v;
  return expr_fold(both, &v) ? expr_op2(x, (Op)e->op, in->arg[0], expr_scalar(x, (Dtype)e->dtype, v, e->at), e->at) : e;
}

static Expr *simplify_node(void *cx, ExprTable *x, Expr *e) {
  Simplify *s = cx;
  for (int step = 0; step < MAX_STEPS && e->nargs; step++) {
    Scalar v;
    if (e->op != OP_READ && e->op != OP_REDUCE && e->op != OP_FIELD && expr_fold(e, &v)) return expr_scalar(x, (Dtype)e->dtype, v, e->at);
    Expr *r = apply_rules(s, x, join_constants(x, constant_right(x, e)));
    if (r == e) return e;
    e = r;
  }
  return e;
}

static void simplify_extents(Fn *f, Simplify *s) {
  for (int i = 0; i < f->tensors.n; i++)
    for (int d = 0; d < f->tensors.v[i]->rank; d++) f->tensors.v[i]->extent[d] = expr_map(f->x, f->tensors.v[i]->extent[d], simplify_node, s);
  for (int i = 0; i < f->eqns.n; i++)
    for (int k = 0; k < f->eqns.v[i]->n; k++) f->eqns.v[i]->extent[k] = expr_map(f->x, f->eqns.v[i]->extent[k], simplify_node, s);
}

bool pass_simplify(Pipe *p) {
  Fn *f = p->fn;
  Simplify s = { .a = p->scratch, .fails = map_make(p->scratch), .harmless = map_make(p->scratch) };
  compile_rules(&s);
  simplify_extents(f, &s);
  for (int i = 0; i < f->eqns.n; i++) eqn_map(f->x, f->eqns.v[i], simplify_node, &s);
  fn_drop_unread(f, p->scratch);
  return true;
}
