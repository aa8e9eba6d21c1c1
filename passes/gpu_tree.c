// gpu_tree.c: building, copying and looking at statements, for the passes for GPUs.
#include "passes/gpu.h"
#include <string.h>

// ---- building ----------------------------------------------------------------------------------

Block gpu_block(void) { return (Block){ NULL, NULL }; }

void gpu_add(Block *b, Stmt *s) {
  Stmt **tail = b->tail ? b->tail : &b->first;
  tail = stmts_append(tail, s);
  b->tail = tail == &b->first ? NULL : tail;
}

Stmt *gpu_let(Gpu *g, Block *b, const char *name, Expr *a, Expr **var) {
  Stmt *s = stmt_value(g->a, ST_LET, var_new(g->x, intern(g->f->names, name), (Dtype)a->dtype), a);
  *var = expr_var(g->x, s->var);
  gpu_add(b, s);
  return s;
}

Stmt *gpu_loop(Gpu *g, LoopHow how, Index *ix, Expr *lo, Expr *hi, Stmt *body) {
  return stmt_loop(g->a, how, ix, lo, hi, body);
}

Stmt *gpu_if(Gpu *g, Expr *cond, Stmt *body, Stmt *els) {
  Stmt *s = stmt_value(g->a, ST_IF, NULL, cond);
  s->body = body;
  s->els = els;
  return s;
}

Stmt *gpu_copy(Gpu *g, const Stmt *s) {
  Block b = gpu_block();
  for (; s; s = s->next) {
    Stmt *c = stmt_alone(g->a, s);
    c->body = gpu_copy(g, s->body);
    c->els = gpu_copy(g, s->els);
    gpu_add(&b, c);
  }
  return b.first;
}

Index *gpu_index(Gpu *g, const char *name) { return index_new(g->x, intern(g->f->names, name), NO_SPAN); }

Expr *gpu_int(const Gpu *g, int64_t v) { return expr_int(g->x, DT_I64, v, NO_SPAN); }

static Expr *folded(const Gpu *g, Op op, Expr *a, Expr *b) {
  Expr *e = expr_op2(g->x, op, a, b, NO_SPAN);
  Scalar v;
  return expr_fold(e, &v) ? gpu_int(g, v.i) : e;
}

Expr *gpu_mul(const Gpu *g, Expr *a, Expr *b) { return expr_is_int(a, 1) ? b : expr_is_int(b, 1) ? a : folded(g, OP_MUL, a, b); }
Expr *gpu_plus(const Gpu *g, Expr *a, Expr *b) { return expr_is_int(a, 0) ? b : expr_is_int(b, 0) ? a : folded(g, OP_ADD, a, b); }
Expr *gpu_minus(const Gpu *g, Expr *a, Expr *b) { return folded(g, OP_SUB, a, b); }
Expr *gpu_min(const Gpu *g, Expr *a, Expr *b) { return folded(g, OP_MIN, a, b); }
Expr *gpu_div(const Gpu *g, Expr *a, Expr *b) { return expr_is_int(b, 1) ? a : folded(g, OP_FLOORDIV, a, b); }
Expr *gpu_mod(const Gpu *g, Expr *a, Expr *b) { return expr_is_int(b, 1) ? gpu_int(g, 0) : folded(g, OP_MOD, a, b); }
Expr *gpu_div_up(const Gpu *g, Expr *a, int64_t b) { return gpu_div(g, gpu_plus(g, a, gpu_int(g, b - 1)), gpu_int(g, b)); }
Expr *gpu_and(const Gpu *g, Expr *a, Expr *b) { return !a ? b : !b ? a : expr_op2(g->x, OP_AND, a, b, NO_SPAN); }

// ---- looking -----------------------------------------------------------------------------------

typedef struct Pairs { int n; Index *const *ix; Expr *const *by; } Pairs;

static Expr *replaced(void *cx, ExprTable *x, Expr *e) {
  const Pairs *p = cx;
  (void)x;
  for (int k = 0; k < p->n && e->op == OP_INDEX; k++) if (p->ix[k] == e->u.ix) return p->by[k];
  return e;
}

void gpu_subst(Gpu *g, Stmt *s, int n, Index *const *ix, Expr *const *by) { stmts_map(g->x, s, replaced, &(Pairs){ n, ix, by }); }

bool gpu_has_loop(const Stmt *s) { return stmts_have(s, ST_LOOP); }

static void see_more(void *cx, Expr *e) {
  if (e->op == OP_INDEX || e->op == OP_VAR || e->op == OP_FIELD || (e->op == OP_READ && (e->u.t->rank || e->u.t->role != ROLE_PARAM))) *(bool *)cx = true;
}

bool gpu_dims_only(Gpu *g, Expr *e) {
  bool more = false;
  expr_visit(g->scratch, e, see_more, &more);
  return !more;
}

typedef struct Used { const Var *v; bool yes; } Used;
static void see_var(void *cx, Expr *e) {
  Used *u = cx;
  u->yes |= e->op == OP_VAR && e->u.var == u->v;
}

bool gpu_uses_var(Gpu *g, const Stmt *s, const Var *v) {
  Used u = { v, false };
  stmts_visit(g->scratch, s, see_var, &u);
  return u.yes;
}

typedef struct Named { const Index *ix; bool yes; } Named;
static void see_index(void *cx, Expr *e) {
  Named *n = cx;
  n->yes |= e->op == OP_INDEX && e->u.ix == n->ix;
}

bool gpu_uses_index(Gpu *g, const Stmt *s, const Index *ix) {
  Named n = { ix, false };
  stmts_visit(g->scratch, s, see_index, &n);
  return n.yes;
}

bool gpu_writes(const Stmt *s, const Tensor *t) {
  for (; s; s = s->next) {
    bool here = s->kind == ST_STORE || (s->kind == ST_MOVE && s->out);
    if ((here && tensor_root(s->t) == t) || gpu_writes(s->body, t) || gpu_writes(s->els, t)) return true;
  }
  return false;
}

typedef struct Written { const Stmt *s; bool yes; } Written;
static void see_read(void *cx, Expr *e) {
  Written *w = cx;
  if (!w->yes && (e->op == OP_READ || e->op == OP_FIELD)) w->yes = gpu_writes(w->s, tensor_root(e->u.t));
}

bool gpu_reads_written(Gpu *g, Expr *e, const Stmt *s) {
  Written w = { s, false };
  expr_visit(g->scratch, e, see_read, &w);
  return w.yes;
}

static void note_written(const Stmt *s, Map *m) {
  for (; s; s = s->next) {
    if (s->kind == ST_STORE || (s->kind == ST_MOVE && s->out)) map_putp(m, tensor_root(s->t), tensor_root(s->t));
    note_written(s->body, m);
    note_written(s->els, m);
  }
}

Map gpu_written(Gpu *g, const Stmt *s) {
  Map m = map_make(g->scratch);
  note_written(s, &m);
  return m;
}

static void see_any(void *cx, Expr *e) {
  void **p = cx;
  if ((e->op == OP_READ || e->op == OP_FIELD) && map_getp((const Map *)p[0], tensor_root(e->u.t))) *(bool *)p[1] = true;
}

bool gpu_reads_any(Gpu *g, Expr *e, const Map *tensors) {
  bool yes = false;
  expr_visit(g->scratch, e, see_any, (void *[]){ (void *)(uintptr_t)tensors, &yes });
  return yes;
}

typedef struct Wanted { Gpu *g; Kernel *k; } Wanted;
static void want_dim(void *cx, Expr *e) {
  Wanted *w = cx;
  Grid *grid = w->k->grid;
  if (e->op != OP_DIM) return;
  for (int i = 0; i < grid->wants.n; i++) if (grid->wants.v[i] == e->u.dim) return;
  vec_push(w->g->a, &grid->wants, e->u.dim);
}

void gpu_want(Gpu *g, Kernel *k, Expr *e) { expr_visit(g->scratch, e, want_dim, &(Wanted){ g, k }); }

bool gpu_is_step(const Gpu *g, Expr *e, Index *ix) {
  Expr *coef, *rest;
  return expr_uses_index(e, ix) && affine_split(g->x, e, 1, &ix, &coef, &rest) && expr_is_int(coef, 1);
}

bool gpu_is_grid_index(const Nest *n, const Expr *sub, const Expr *extent) {
  for (int k = 0; k < n->n; k++) if (sub->op == OP_INDEX && sub->u.ix == n->ix[k] && n->extent[k] == extent) return true;
  return sub->op == OP_CONST && extent->op == OP_CONST && sub->u.v.i >= 0 && sub->u.v.i < extent->u.v.i;
}

// ---- rearranging -------------------------------------------------------------------------------

Stmt *gpu_alone(Stmt *s) {
  Block b = gpu_block();
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    if (s->kind == ST_FOLD) continue;
    if (s->kind == ST_LOOP && s->how != HOW_SCAN) s->how = HOW_SEQ;
    s->body = gpu_alone(s->body);
    s->els = gpu_alone(s->els);
    gpu_add(&b, s);
  }
  return b.first;
}

Stmt *gpu_only_loop(Stmt *s) {
  for (; s && s->kind == ST_LET; s = s->next) {}
  return s && s->kind == ST_LOOP && !s->next ? s : NULL;
}
