#include "ir/kernel.h"

typedef struct Use { bool read, written, stack; } Use;
typedef struct Args { Arena *scratch; Use *use; } Args;

static void see_expr(void *cx, Expr *e) {
  Args *a = cx;
  if (e->op == OP_READ || e->op == OP_FIELD) a->use[e->u.t->id].read = true;
}

static void see_operand(Args *a, Expr *e) { if (e) expr_visit(a->scratch, e, see_expr, a); }

static void see_stmts(Args *a, const Stmt *s) {
  for (; s; s = s->next) {
    see_operand(a, s->lo);
    see_operand(a, s->hi);
    see_operand(a, s->a);
    see_operand(a, s->b);
    for (int k = 0; k < s->nsub; k++) see_operand(a, s->sub[k]);
    if (s->kind == ST_ALLOC) a->use[s->t->id].stack = true;
    if (stmt_stores(s) || (s->kind == ST_MOVE && s->out)) a->use[s->t->id].written = true;
    if (s->kind == ST_MOVE && !s->out) a->use[s->t->id].read = true;
    see_stmts(a, s->body);
    see_stmts(a, s->els);
  }
}

void kernel_list_args(Plan *p, Kernel *k) {
  static const Role order[] = { ROLE_PARAM, ROLE_MUT, ROLE_RESULT, ROLE_LOCAL, ROLE_VERSION };
  Fn *f = p->fn;
  Arena *scratch = arena_create();
  Args a = { scratch, arena_array(scratch, Use, f->tensors.n + 1) };
  see_stmts(&a, k->body);
  k->args.n = 0;
  for (unsigned r = 0; r < sizeof order / sizeof *order; r++)
    for (int i = 0; i < f->tensors.n; i++) {
      const Use *u = &a.use[i];
      Tensor *t = f->tensors.v[i];
      if (t->role == order[r] && !u->stack && (u->read || u->written)) vec_push(p->a, &k->args, (KernelArg){ t, u->read, u->written });
    }
  arena_destroy(scratch);
}
