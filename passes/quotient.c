// quotient.c: in a loop, a quotient of a coarse value by what the loop does not change becomes a product.
//
//   for j in 0 .. D                       let scale = 2^-64, 2^64 or 1, so that z * scale and its reciprocal are normal
//     y[i, j] = exp(…) / z         ──▶    let inverse = 1 / (z * scale)
//                                         for j in 0 .. D:  y[i, j] = exp(…) * scale * inverse
//
// A division takes 9 instructions on a GPU and 16 cycles for a vector of AVX-512; two products take 2. Their result may be off by
// 2 u, where the language wants quotients rounded once. So this is for values that may be off by 2^-12 (coarse.c) and more: softmax
// to bf16. The product is infinite, zero or NaN where the quotient is: where |z| > 2^126, x * 2^-64 is lost
// to 0 only where x / z is; where |z| < 2^-126, x * 2^64 overflows only where x / z does.
#include "ir/rewrite.h"
#include "passes/pass.h"

enum { LEAST_STEPS = 4 };       // of a loop

typedef struct Denominator { Expr *d, *scale, *inverse; } Denominator;

typedef struct Quotients {
  Pipe *p;
  ExprTable *x;
  const Stmt *loop;
  Map coarse;                   // Tensor → itself: local, of coarse values
  VEC(Denominator) found;       // of the loop at hand
} Quotients;

// ---- what a loop does not change ---------------------------------------------------------------

static bool changes(const Stmt *s, const Var *v) {
  for (; s; s = s->next) {
    bool here = (s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_SET || s->kind == ST_ACC || s->kind == ST_FOLD) && (s->var == v || s->var2 == v);
    if (here || changes(s->body, v) || changes(s->els, v)) return true;
  }
  return false;
}

static bool binds(const Stmt *s, const Index *ix) {
  for (; s; s = s->next) if ((s->kind == ST_LOOP && s->ix == ix) || binds(s->body, ix) || binds(s->els, ix)) return true;
  return false;
}

typedef struct Fixed { const Stmt *loop; bool yes; } Fixed;

static void see_fixed(void *cx, Expr *e) {
  Fixed *f = cx;
  if (e->op == OP_INDEX) f->yes &= f->loop->ix != e->u.ix && !binds(f->loop->body, e->u.ix);
  if (e->op == OP_VAR) f->yes &= !changes(f->loop->body, e->u.var);
  if (e->op == OP_READ || e->op == OP_FIELD) f->yes &= e->op == OP_READ && !e->u.t->rank && e->u.t->role == ROLE_PARAM;
}

static bool is_fixed(const Quotients *q, Expr *e) {
  Fixed f = { q->loop, true };
  expr_visit(q->p->scratch, e, see_fixed, &f);
  return f.yes;
}

// ---- coarse values -----------------------------------------------------------------------------

typedef struct Coarse { const Quotients *q; bool yes; } Coarse;

static void see_coarse(void *cx, Expr *e) {
  Coarse *c = cx;
  bool marked = ops[e->op].callable && ops[e->op].rule == R_FLOAT && fn_exactness(e) != EXACT;
  c->yes |= marked || (e->op == OP_READ && map_getp(&c->q->coarse, e->u.t));
}

static bool is_coarse(const Quotients *q, Expr *e) {
  Coarse c = { q, false };
  expr_visit(q->p->scratch, e, see_coarse, &c);
  return c.yes;
}

// Local arrays that keep such values for a later loop.
static void find_coarse(Quotients *q, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_STORE && s->t->role == ROLE_LOCAL && is_coarse(q, s->a)) map_putp(&q->coarse, s->t, s->t);
    find_coarse(q, s->body);
    find_coarse(q, s->els);
  }
}

// ---- products ----------------------------------------------------------------------------------

static Expr *new_var(Quotients *q, const char *name) { return expr_var(q->x, var_new(q->x, intern(q->p->fn->names, name), DT_F32)); }

static Denominator *denominator(Quotients *q, Expr *d) {
  for (int i = 0; i < q->found.n; i++) if (q->found.v[i].d == d) return &q->found.v[i];
  if (!is_fixed(q, d)) return NULL;
  vec_push(q->p->scratch, &q->found, (Denominator){ d, new_var(q, "scale"), new_var(q, "inverse") });
  return &q->found.v[q->found.n - 1];
}

static Expr *f32(const Quotients *q, double v) { return expr_float(q->x, DT_F32, v, NO_SPAN); }
static Expr *op2(const Quotients *q, Op op, Expr *a, Expr *b) { return expr_op2(q->x, op, a, b, NO_SPAN); }

static Expr *product(void *cx, ExprTable *x, Expr *e) {
  Quotients *q = cx;
  if (e->op != OP_DIV || e->dtype != DT_F32 || e->arg[1]->op == OP_CONST || !is_coarse(q, e->arg[0]) || is_fixed(q, e->arg[0])) return e;
  const Denominator *d = denominator(q, e->arg[1]);
  if (!d) return e;
  return expr_op2(x, OP_MUL, expr_op2(x, OP_MUL, e->arg[0], d->scale, NO_SPAN), d->inverse, NO_SPAN);
}

static void products(Quotients *q, Stmt *s) {
  for (; s; s = s->next) {
    if (s->a) s->a = expr_map(q->x, s->a, product, q);
    products(q, s->body);
    products(q, s->els);
  }
}

// ---- a loop ------------------------------------------------------------------------------------

static void declare(Quotients *q, Stmt ***tail, const Denominator *d) {
  Expr *size = expr_op1(q->x, OP_ABS, d->d, NO_SPAN), *one = f32(q, 1);
  Expr *small = expr_select(q->x, op2(q, OP_LT, size, f32(q, 0x1p-126)), f32(q, 0x1p64), one, NO_SPAN);
  Expr *scale = expr_select(q->x, op2(q, OP_GT, size, f32(q, 0x1p126)), f32(q, 0x1p-64), small, NO_SPAN);
  Expr *const value[] = { scale, op2(q, OP_DIV, one, op2(q, OP_MUL, d->d, d->scale)) };
  Expr *const var[] = { d->scale, d->inverse };
  for (int k = 0; k < 2; k++) *tail = stmts_append(*tail, stmt_value(q->p->a, ST_LET, var[k]->u.var, value[k]));
}

static Stmt *statement(void *cx, Stmt *s);
static Stmt *block(Quotients *q, Stmt *s) { return stmts_replace(s, statement, q); }

// The loop with what it needs before it.
static Stmt *with_parts(Quotients *q, Stmt *loop) {
  Stmt *first = NULL, **tail = &first;
  q->loop = loop;
  q->found.n = 0;
  products(q, loop->body);
  for (int i = 0; i < q->found.n; i++) declare(q, &tail, &q->found.v[i]);
  *tail = loop;
  loop->body = block(q, loop->body);
  return first;
}

static Stmt *statement(void *cx, Stmt *s) {
  bool loop = s->kind == ST_LOOP && !stmt_steps_below(s, LEAST_STEPS);
  if (!loop) s->body = block(cx, s->body);
  s->els = block(cx, s->els);
  return loop ? with_parts(cx, s) : s;
}

bool pass_quotient(Pipe *p) {
  Quotients q = { .p = p, .x = p->plan->x, .coarse = map_make(p->scratch) };
  for (int i = 0; i < p->plan->kernels.n; i++) {
    find_coarse(&q, p->plan->kernels.v[i]->body);
    p->plan->kernels.v[i]->body = block(&q, p->plan->kernels.v[i]->body);
  }
  return true;
}
