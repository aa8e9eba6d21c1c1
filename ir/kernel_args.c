#include "ir/kernel.h"
#include <stdlib.h>

typedef struct Use { Tensor *t; bool read, written, stack; } Use;
typedef struct Args { Arena *scratch; Map of; VEC(Use *) use; } Args;      // of: Tensor -> its Use

// A plan may have many more tensors than a kernel uses.
static Use *use_of(Args *a, Tensor *t) {
  Use *u = map_getp(&a->of, t);
  if (u) return u;
  u = arena_new(a->scratch, Use);
  u->t = t;
  map_putp(&a->of, t, u);
  vec_push(a->scratch, &a->use, u);
  return u;
}

static void see_expr(void *cx, Expr *e) {
  if (e->op == OP_READ || e->op == OP_FIELD) use_of(cx, e->u.t)->read = true;
}

static void see_operand(Args *a, Expr *e) { if (e) expr_visit(a->scratch, e, see_expr, a); }

static void see_stmts(Args *a, const Stmt *s) {
  for (; s; s = s->next) {
    see_operand(a, s->lo);
    see_operand(a, s->hi);
    see_operand(a, s->a);
    see_operand(a, s->b);
    for (int k = 0; k < s->nsub; k++) see_operand(a, s->sub[k]);
    if (s->kind == ST_ALLOC) use_of(a, s->t)->stack = true;
    if (stmt_stores(s) || (s->kind == ST_MOVE && s->out)) use_of(a, s->t)->written = true;
    if (s->kind == ST_MOVE && !s->out) use_of(a, s->t)->read = true;
    see_stmts(a, s->body);
    see_stmts(a, s->els);
  }
}

// Roles without a place are no arguments.
static int place_of(const Use *u) {
  static const int place[] = { [ROLE_PARAM] = 1, [ROLE_MUT] = 2, [ROLE_RESULT] = 3, [ROLE_LOCAL] = 4, [ROLE_VERSION] = 5, [ROLE_TABLE] = 0 };
  return u->stack || !(u->read || u->written) ? 0 : place[u->t->role];
}

static int in_order(const void *a, const void *b) {
  const Use *x = *(Use *const *)a, *y = *(Use *const *)b;
  return place_of(x) != place_of(y) ? place_of(x) - place_of(y) : x->t->id - y->t->id;
}

void kernel_list_args(Plan *p, Kernel *k) {
  Arena *scratch = arena_create();
  Args a = { .scratch = scratch, .of = map_make(scratch) };
  see_stmts(&a, k->body);
  if (a.use.n) qsort(a.use.v, (size_t)a.use.n, sizeof *a.use.v, in_order);
  k->args.n = 0;
  for (int i = 0; i < a.use.n; i++) {
    const Use *u = a.use.v[i];
    if (place_of(u)) vec_push(p->a, &k->args, (KernelArg){ u->t, u->read, u->written });
  }
  arena_destroy(scratch);
}
