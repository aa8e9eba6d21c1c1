// kernel_verify.c: the invariants of kernel.h.
//
// A failure is a bug of a pass; the text names the kernel, the statement and what is broken. Method: one walk in
// order, with the indices, variables and local arrays that are visible at each place.
#include "base/limits.h"
#include "ir/kernel.h"
#include <string.h>

typedef struct Seen { const void *object; int lanes; bool folded, let; } Seen;   // index, variable or local array

typedef struct Verify {
  const Plan *p;
  const Kernel *k;
  const Stmt *s;            // being looked at
  Arena *a;
  Buf *why;
  bool ok;
  VEC(Seen) visible;
  Map shown;            // object → where it was shown last, and one; it may have gone since
  const Stmt *lanes;        // the LANES loop around, or NULL
  bool vector;              // inside a VEC loop
} Verify;

static bool fail(Verify *v, const char *what, const char *name) {
  if (!v->ok) return false;
  v->ok = false;
  buf_printf(v->why, "kernel %s: %s%s%s", v->k ? v->k->name : "?", what, name ? " " : "", name ? name : "");
  return false;
}

static Seen *find(Verify *v, const void *object) {
  int last = (int)(uintptr_t)map_getp(&v->shown, object);
  if (!last) return NULL;
  if (last <= v->visible.n && v->visible.v[last - 1].object == object) return &v->visible.v[last - 1];
  for (int i = v->visible.n - 1; i >= 0; i--)
    if (v->visible.v[i].object == object) return &v->visible.v[i];
  return NULL;
}

static void show(Verify *v, Seen seen) {
  vec_push(v->a, &v->visible, seen);
  map_putp(&v->shown, seen.object, (void *)(uintptr_t)v->visible.n);
}

static bool is_argument(const Verify *v, const Tensor *t, bool writes) {
  for (int i = 0; i < v->k->args.n; i++) {
    const KernelArg *arg = &v->k->args.v[i];
    const Tensor *root = tensor_root(arg->t);
    if (root == tensor_root(t) && (writes ? arg->writes : arg->reads)) return true;
  }
  return false;
}

static void check_tensor(Verify *v, const Tensor *t, bool writes) {
  bool scalar = t->rank == 0 && t->role == ROLE_PARAM;
  if (scalar && !writes) return;
  switch (tensor_place(v->p, t)) {
  case PLACE_TABLE: if (writes) fail(v, "a store to the table", t->name); return;
  case PLACE_STACK: if (!find(v, t)) fail(v, "no ALLOC around the use of", t->name); return;
  default: if (!is_argument(v, t, writes)) fail(v, writes ? "not among the arguments that it writes:" : "not among the arguments that it reads:", t->name);
  }
}

static void check_var(Verify *v, const Var *var) {
  const Seen *s = find(v, var);
  if (!s) fail(v, "a variable is used before it is declared:", var->name);
  else if (s->lanes > 1 && !s->folded && (!v->lanes || v->lanes->lanes != s->lanes)) fail(v, "lanes are read outside their loop:", var->name);
}

static void check_node(void *cx, Expr *e) {
  Verify *v = cx;
  if (!dtype_is_wide((Dtype)e->dtype)) fail(v, "an expression of a narrow dtype:", ops[e->op].name);
  switch ((Op)e->op) {
  case OP_INDEX: if (!find(v, e->u.ix)) fail(v, "an index is used outside its loop:", e->u.ix->name); return;
  case OP_VAR: check_var(v, e->u.var); return;
  case OP_FIELD:
    if (!e->u.t->fmt || (int)e->nargs < e->u.t->rank) fail(v, "a field needs its block's number:", e->u.t->name);
    check_tensor(v, e->u.t, false);
    return;
  case OP_READ:
    if (e->aux) fail(v, "a read with a default or that fails:", e->u.t->name);
    if ((int)e->nargs != e->u.t->rank) fail(v, "a read with a wrong number of subscripts:", e->u.t->name);
    if (e->u.t->fmt) fail(v, "a read of a tensor in a format, not of a field:", e->u.t->name);
    check_tensor(v, e->u.t, false);
    return;
  default: return;
  }
}

static void check_expr(Verify *v, Expr *e, Dtype d, const char *what) {
  if (!e) {
    fail(v, "missing:", what);
    return;
  }
  if (d != DT_NONE && (Dtype)e->dtype != d) fail(v, "of the wrong dtype:", what);
  if (expr_has(e, OP_REDUCE)) fail(v, "a reduction inside an expression", NULL);
  expr_visit(v->a, e, check_node, v);
}

static void check_block(Verify *v, const Stmt *s);

static void check_loop(Verify *v, const Stmt *s) {
  check_expr(v, s->lo, DT_I64, "a loop's start");
  check_expr(v, s->hi, DT_I64, "a loop's end");
  if (s->parallel_if) check_expr(v, s->parallel_if, DT_NONE, "parallel_if");
  if (s->row) check_expr(v, s->row, DT_I64, "the end of a row");
  bool power = s->lanes > 0 && (s->lanes & (s->lanes - 1)) == 0;
  bool block = s->how == HOW_LANES || s->how == HOW_VEC || s->how == HOW_PAR_VEC;
  if (block && (s->lanes < 2 || !power)) fail(v, "lanes are no power of two:", s->ix->name);
  if ((s->how == HOW_BLOCKS || s->how == HOW_THREADS) && !v->k->grid) fail(v, "blocks or threads of no GPU:", s->ix->name);
  if (s->step < 0 || (s->step && s->how != HOW_SEQ && s->how != HOW_PAR)) fail(v, "steps of a loop that does not run in order:", s->ix->name);
  if (s->ix2 && (s->step || s->how != HOW_PAR)) fail(v, "shares of a loop that is not shared out:", s->ix->name);
  if (s->how == HOW_UNROLL && (s->lo->op != OP_CONST || s->hi->op != OP_CONST)) fail(v, "an unrolled loop without constant bounds:", s->ix->name);
  int mark = v->visible.n;
  const Stmt *lanes = v->lanes;
  bool vector = v->vector;
  if (s->how == HOW_LANES) v->lanes = s;
  v->vector |= s->how == HOW_VEC || s->how == HOW_PAR_VEC || (s->how == HOW_SCAN && s->lanes > 1);
  show(v, (Seen){.object = s->ix});
  if (s->ix2) show(v, (Seen){.object = s->ix2});
  check_block(v, s->body);
  v->visible.n = mark;
  v->lanes = lanes;
  v->vector = vector;
}

static void check_declaration(Verify *v, const Stmt *s) {
  check_expr(v, s->a, s->var->dtype, s->var->name);
  if (find(v, s->var)) fail(v, "a variable is declared twice:", s->var->name);
  show(v, (Seen){.object = s->var, .lanes = s->kind == ST_VAR ? s->lanes : 1, .let = s->kind == ST_LET});
}

static void check_change(Verify *v, const Stmt *s, const Var *var) {
  Seen *seen = find(v, var);
  if (!seen) fail(v, "a change of an undeclared variable:", var->name);
  else if (seen->let) fail(v, "a change of a LET:", var->name);
  else if (seen->lanes > 1 && seen->folded) fail(v, "a change after FOLD:", var->name);
  else if (seen->lanes > 1 && s->kind != ST_FOLD && (!v->lanes || v->lanes->lanes != seen->lanes)) fail(v, "lanes are changed outside their loop:", var->name);
}

static void check_acc(Verify *v, const Stmt *s) {
  check_change(v, s, s->var);
  check_expr(v, s->a, s->var->dtype, s->var->name);
  if (reducers[s->reducer].arg != (s->var2 != NULL)) fail(v, "arg reducers, and only they, have an index:", s->var->name);
  if (!s->var2) return;
  check_change(v, s, s->var2);
  check_expr(v, s->b, s->var2->dtype, s->var2->name);
}

static void check_fold(Verify *v, const Stmt *s) {
  for (int k = 0; k < 2; k++) {
    const Var *var = k ? s->var2 : s->var;
    if (!var) continue;
    check_change(v, s, var);
    Seen *seen = find(v, var);
    if (seen) seen->folded = true;
  }
}

static void check_store(Verify *v, const Stmt *s) {
  const Tensor *t = s->t;
  check_tensor(v, t, true);
  check_expr(v, s->a, DT_NONE, t->name);
  if ((t->fmt != NULL) != (s->field >= 0)) fail(v, "blocks, and only they, are stored by field:", t->name);
  if (s->field < 0 ? s->nsub != t->rank : s->nsub < t->rank) fail(v, "a store with a wrong number of subscripts:", t->name);
  for (int k = 0; k < s->nsub; k++) check_expr(v, s->sub[k], DT_I64, "a subscript");
  int bits = t->fmt ? dtypes[t->fmt->field[s->field].dtype].bits : dtypes[t->dtype].bits;
  if (s->stream) check_expr(v, s->stream, DT_BOOL, "a condition to stream");
  if (s->stream && !v->vector && !v->lanes) fail(v, "a streaming store outside a vector loop:", t->name);
  if (bits == 4 && (v->vector || v->lanes)) fail(v, "half a byte is stored in a vector loop:", t->name);
}

static void check_alloc(Verify *v, const Stmt *s) {
  for (int k = 0; k < s->t->rank; k++)
    if (s->t->extent[k]->op != OP_CONST && s->space != SPACE_SHARED) fail(v, "a local array without constant extents:", s->t->name);
  if (s->space == SPACE_SHARED) check_expr(v, s->a, DT_I64, "a place in shared memory");
  show(v, (Seen){.object = s->t});
}

static void check_line(Verify *v, const Stmt *s) {
  check_tensor(v, s->t, true);
  if (s->nsub != s->t->rank) fail(v, "a line with a wrong number of subscripts:", s->t->name);
  for (int k = 0; k < s->nsub; k++) check_expr(v, s->sub[k], DT_I64, "a subscript");
  check_expr(v, s->a, DT_I64, "the most steps to a line");
  if (find(v, s->var)) fail(v, "a variable is declared twice:", s->var->name);
  show(v, (Seen){.object = s->var, .lanes = 1, .let = true});
}

static void check_move(Verify *v, const Stmt *s) {
  check_tensor(v, s->t, s->out);
  if (!find(v, s->t2)) fail(v, "no ALLOC around the use of", s->t2->name);
  if (s->nsub != s->t->rank) fail(v, "a move with a wrong number of subscripts:", s->t->name);
  for (int k = 0; k < s->nsub; k++) check_expr(v, s->sub[k], DT_I64, "a subscript");
  check_expr(v, s->a, DT_I64, "a place in a local array");
  if (s->t2->dtype != (s->out ? dtype_wide(s->t->dtype) : s->t->dtype)) fail(v, "a move between unlike elements:", s->t->name);
}

static void check_stage(Verify *v, const Stmt *s) {
  Expr *const bound[] = {s->lo, s->hi, s->lo2, s->hi2};
  for (int k = 0; k < 4; k++) check_expr(v, bound[k], DT_I64, "an end of what is staged");
  int mark = v->visible.n;
  show(v, (Seen){.object = s->ix});
  show(v, (Seen){.object = s->ix2});
  check_expr(v, s->a, DT_NONE, "what is staged");
  for (int k = 0; k < s->nsub; k++) check_expr(v, s->sub[k], DT_I64, "a subscript");
  v->visible.n = mark;
  if (s->stream) check_expr(v, s->stream, DT_BOOL, "a condition to stream");
  if (s->nsub && s->nsub != s->t->rank) fail(v, "staging with a wrong number of subscripts:", s->t->name);
  if (s->a && (s->a->op != OP_READ || s->a->u.t->dtype != s->t->dtype)) fail(v, "what is staged is no read of the array's type:", s->t->name);
  if (s->nsub) check_tensor(v, s->t, true);
  else if (!find(v, s->t)) fail(v, "no ALLOC around the use of", s->t->name);
}

static void check_inside(Verify *v, const Stmt *s) {
  int mark = v->visible.n;
  check_block(v, s);
  v->visible.n = mark;
}

static void check_stmt(Verify *v, const Stmt *s) {
  switch (s->kind) {
  case ST_LOOP: check_loop(v, s); return;
  case ST_LET: case ST_VAR: check_declaration(v, s); return;
  case ST_SET: check_change(v, s, s->var); check_expr(v, s->a, s->var->dtype, s->var->name); return;
  case ST_ACC: check_acc(v, s); return;
  case ST_FOLD: check_fold(v, s); return;
  case ST_STORE: check_store(v, s); return;
  case ST_IF: check_expr(v, s->a, DT_BOOL, "a condition"); check_inside(v, s->body); check_inside(v, s->els); return;
  case ST_FAULT:
    check_expr(v, s->a, DT_NONE, "a fault's value");
    if (!s->site || s->site->id < 1 || s->site->id > v->p->sites.n || v->p->sites.v[s->site->id - 1] != s->site) fail(v, "a fault without its site", NULL);
    return;
  case ST_ALLOC: check_alloc(v, s); return;
  case ST_LINE: check_line(v, s); return;
  case ST_MOVE: check_move(v, s); return;
  case ST_BARRIER: return;
  case ST_FORGET: if (!find(v, s->t)) fail(v, "no ALLOC around the use of", s->t->name); return;
  case ST_PREFIX: check_change(v, s, s->var); check_change(v, s, s->var2); check_expr(v, s->a, s->var->dtype, s->var->name); return;
  case ST_STAGE: check_stage(v, s); return;
  case ST_PREFETCH:
    if (!v->vector && !v->lanes && s->lanes <= 1) fail(v, "a prefetch outside a vector loop:", s->t->name);
    for (int k = 0; k < s->nsub; k++) check_expr(v, s->sub[k], DT_I64, "a subscript");
    return;
  }
}

static void check_block(Verify *v, const Stmt *s) {
  for (; s && v->ok; s = s->next) {
    v->s = s;
    check_stmt(v, s);
  }
}

static void check_names(Verify *v) {
  Interner *names = intern_create(v->a);
  Map seen = map_make(v->a);
  for (int i = 0; i < v->p->kernels.n; i++) {
    Name name = intern(names, v->p->kernels.v[i]->name);
    if (!map_add(&seen, (uint64_t)(uintptr_t)name)) fail(v, "two kernels have the name", name);
  }
}

bool plan_verify(const Plan *p, Buf *why) {
  Arena *a = arena_create();
  Verify v = {.p = p, .a = a, .why = why, .shown = map_make(a), .ok = true};
  if (p->conds.n != p->cond_sites.n) fail(&v, "conditions without messages", NULL);
  for (int i = 0; i < p->kernels.n; i++) {
    v.k = p->kernels.v[i];
    v.visible.n = 0;
    check_block(&v, v.k->body);
  }
  check_names(&v);
  arena_destroy(a);
  return v.ok;
}
