// gpu_vector.c: steps that lie side by side in memory, by one thread: their loads and stores become accesses of 16 bytes.
//
//   for j in first .. first + 8             alloc x_v: bf16[8];  x_v[0 ..] = 8 of x[i, first]
//     y[i, j] = exp(x[i, j] - m)    ──▶     alloc y_v: f32[8]
//                                           unroll v in 0 .. 8:  at j = first + v:  y_v[v] = exp(x_v[v] - m)
//                                           8 of y[i, first] = y_v[0 ..]
//
// A read moves before the steps when all of its elements are in range whatever guards it, or when the guard is the same for all
// steps. A row that the thread keeps is in a local array already.
#include "passes/gpu_vector.h"

typedef struct Found { Expr *read, *guard; bool always; Tensor *local; } Found;      // guard: where it is evaluated at all

typedef struct Work {
  const Vector *c;
  Gpu *g;
  Map variant;          // Var → its LET (or itself): differs between steps
  Map seen;             // (expression, guard) looked at
  VEC(Found) found;
  Index *v;             // the step
} Work;

// ---- what is the same for all steps ------------------------------------------------------------

static void see_variant(void *cx, Expr *e) {
  void **p = cx;
  const Work *w = p[0];
  if ((e->op == OP_INDEX && e->u.ix == w->c->ix) || (e->op == OP_VAR && map_getp(&w->variant, e->u.var))) *(bool *)p[1] = true;
}

static bool varies(Work *w, Expr *e) {
  bool yes = false;
  expr_visit(w->g->scratch, e, see_variant, (void *[]){ w, &yes });
  return yes;
}

// What a step changes is another value for the next.
static void mark_changed(Work *w, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_ACC || s->kind == ST_SET) map_putp(&w->variant, s->var, (void *)(uintptr_t)s);
    if (s->kind == ST_ACC && s->var2) map_putp(&w->variant, s->var2, (void *)(uintptr_t)s);
    mark_changed(w, s->body);
    mark_changed(w, s->els);
  }
}

static void mark_variant(Work *w, const Stmt *s, bool guarded) {
  for (; s; s = s->next) {
    bool declares = s->kind == ST_LET || s->kind == ST_VAR;
    if (declares && (guarded || s->kind == ST_VAR || varies(w, s->a))) map_putp(&w->variant, s->var, (void *)(uintptr_t)s);
    mark_variant(w, s->body, true);
    mark_variant(w, s->els, true);
  }
}

// ---- guards that hold for all steps or for none ------------------------------------------------

static Expr *spelled_out(void *cx, ExprTable *x, Expr *e) {
  const Work *w = cx;
  const Stmt *let = e->op == OP_VAR ? map_getp(&w->variant, e->u.var) : NULL;
  return let && let->kind == ST_LET ? expr_map(x, let->a, spelled_out, cx) : e;
}

static bool divides(const Work *w, const Expr *e, int64_t n) {
  if (e->op == OP_CONST) return e->u.v.i % n == 0;
  if (e->op == OP_INDEX) return e->u.ix == w->c->base && w->c->lanes % n == 0;
  if (e->op == OP_MUL) return divides(w, e->arg[0], n) || divides(w, e->arg[1], n);
  return (e->op == OP_ADD || e->op == OP_SUB) && divides(w, e->arg[0], n) && divides(w, e->arg[1], n);
}

// e = ix + rest, and rest and the first step are multiples of the steps.
static bool is_aligned(Work *w, Expr *e) {
  Expr *coef, *rest;
  Index *ix = w->c->ix;
  return dtype_is_int((Dtype)e->dtype) && affine_split(w->g->x, e, 1, &ix, &coef, &rest) && expr_is_int(coef, 1) && divides(w, rest, w->c->lanes);
}

static bool is_multiple(const Work *w, const Expr *e, int64_t more) { return e->op == OP_CONST && (e->u.v.i + more) % w->c->lanes == 0; }

static bool is_uniform(Work *w, Expr *e) {
  if (!varies(w, e)) return true;
  switch (e->op) {
  case OP_AND: case OP_OR: return is_uniform(w, e->arg[0]) && is_uniform(w, e->arg[1]);
  case OP_NOT: return is_uniform(w, e->arg[0]);
  case OP_LT: case OP_GE: return is_aligned(w, e->arg[0]) && is_multiple(w, e->arg[1], 0);
  case OP_LE: case OP_GT: return is_aligned(w, e->arg[0]) && is_multiple(w, e->arg[1], 1);
  default: return false;
  }
}

static Expr *at_first(Work *w, Expr *e) {
  Index *ix = w->c->ix;
  Expr *first = w->c->first;
  return expr_subst(w->g->x, e, 1, &ix, &first);
}

// ix // n, where vectors begin at multiples of n or of what divides it: the same for all steps.
static Expr *quotient_at_first(void *cx, ExprTable *x, Expr *e) {
  Work *w = cx;
  if (e->op != OP_FLOORDIV || e->dtype != DT_I64 || !is_multiple(w, e->arg[1], 0) || e->arg[1]->u.v.i <= 0 || !is_aligned(w, e->arg[0])) return e;
  return expr_op2(x, OP_FLOORDIV, at_first(w, e->arg[0]), e->arg[1], e->at);
}

// ---- reads -------------------------------------------------------------------------------------

// Accesses have 16 bytes at most.
bool gpu_can_move(const Gpu *g, int bits, int lanes) {
  int all = bits * lanes;
  return all % 8 == 0 && all <= 8 * GPU_MOST_BYTES && (all < 128 ? all : 128) <= 8 * g->m->vector_bytes;
}

static bool fits(const Work *w, const Tensor *t, int bits) {
  const Expr *last = t->extent[t->rank - 1];
  bool rows = t->rank == 1 || (last->op == OP_CONST && last->u.v.i % w->c->lanes == 0);
  return rows && gpu_can_move(w->g, bits, w->c->lanes);
}

// Memory of elements that lie side by side over the steps.
static bool is_side_by_side(Work *w, const Tensor *t, Expr *const *sub, int n) {
  if (n < 1 || t->fmt || t->role == ROLE_TABLE || n != t->rank || !is_aligned(w, sub[n - 1])) return false;
  for (int k = 0; k + 1 < n; k++) if (varies(w, sub[k])) return false;
  return true;
}

// All elements are in range, whatever stands around the read.
static bool is_plain(Work *w, const Expr *e) {
  int last = e->u.t->rank - 1;
  const Expr *extent = e->u.t->extent[last], *bound = w->c->bound;
  for (int k = 0; k < last; k++) if (!gpu_is_grid_index(w->c->n, e->arg[k], e->u.t->extent[k])) return false;
  bool here = e->arg[last]->op == OP_INDEX && e->arg[last]->u.ix == w->c->ix;
  return here && bound && (extent == bound || (extent->op == OP_CONST && bound->op == OP_CONST && bound->u.v.i <= extent->u.v.i));
}

static Tensor *kept_row(Work *w, Expr *e) {
  Index *ix = w->c->ix;
  if (!w->c->rows) return NULL;
  Expr *row = expr_index(w->g->x, w->c->rows->row), *as_row = expr_subst(w->g->x, e, 1, &ix, &row);
  for (int i = 0; i < w->c->rows->kept.n; i++) if (w->c->rows->kept.v[i].read == as_row) return w->c->rows->kept.v[i].local;
  return NULL;
}

// Every access to a tensor that is written is to the element of the same step.
static bool is_own(Work *w, const Expr *e) {
  for (int i = 0; i < w->c->nown; i++) if (w->c->own[i] == tensor_root(e->u.t)) return true;
  return !map_getp(w->c->written, tensor_root(e->u.t));
}

static const Kept *near_row(const Work *w, const Tensor *t) {
  for (int i = 0; w->c->near && i < w->c->near->kept.n; i++) if (w->c->near->kept.v[i].local == t) return &w->c->near->kept.v[i];
  return NULL;
}

static void add_read(Work *w, Expr *e, Expr *guard) {
  const Tensor *t = e->u.t;
  if (!t->rank || (t->role == ROLE_LOCAL && !near_row(w, t) && tensor_place(w->g->plan, t) == PLACE_STACK)) return;
  if (kept_row(w, e) || !is_side_by_side(w, t, e->arg, t->rank) || !fits(w, t, dtypes[t->dtype].bits) || !is_own(w, e)) return;
  if (dtypes[t->dtype].bits < 32 && dtypes[t->dtype].bits * w->c->lanes % 32) return;
  for (int i = 0; i < w->found.n; i++) {
    Found *f = &w->found.v[i];
    if (f->read != e) continue;
    if (!guard) f->always = true;
    else if (!f->always) f->guard = expr_op2(w->g->x, OP_OR, f->guard, guard, NO_SPAN);
    return;
  }
  vec_push(w->g->scratch, &w->found, (Found){ e, guard, !guard, NULL });
}

static Expr *under(Work *w, Expr *guard, Expr *cond, bool truth) {
  cond = expr_map(w->g->x, cond, spelled_out, w);
  if (!truth) cond = expr_op1(w->g->x, OP_NOT, cond, NO_SPAN);
  return gpu_and(w->g, guard, cond);
}

static void look(Work *w, Expr *e, Expr *guard) {
  uint64_t key = (uint64_t)e->id << 32 | (guard ? guard->id + 1 : 0);
  if (!e->nargs || map_get(&w->seen, key + 1)) return;
  map_put(&w->seen, key + 1, e);
  bool lazy = e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
  for (uint32_t k = 0; k < e->nargs; k++) look(w, e->arg[k], lazy && k > 0 ? under(w, guard, e->arg[0], e->op == OP_SELECT ? k == 1 : e->op == OP_AND) : guard);
  if (e->op == OP_READ) add_read(w, e, guard);
}

static void look_at(Work *w, const Stmt *s, Expr *guard) {
  for (; s; s = s->next) {
    Expr *const part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) if (part[k]) look(w, part[k], guard);
    for (int k = 0; k < s->nsub; k++) look(w, s->sub[k], guard);
    if (!s->body && !s->els) continue;
    bool branch = s->kind == ST_IF;
    look_at(w, s->body, branch ? under(w, guard, s->a, true) : guard);
    look_at(w, s->els, branch ? under(w, guard, s->a, false) : guard);
  }
}

// ---- moves -------------------------------------------------------------------------------------

static Tensor *lane_array(Work *w, Block *b, const Tensor *t, Dtype d, bool raw) {
  Gpu *g = w->g;
  Expr *lanes = gpu_int(g, w->c->lanes);
  Tensor *a = fn_tensor(g->f, intern(g->f->names, arena_printf(g->scratch, "%s_v", tensor_root(t)->name)), ROLE_LOCAL, d, NULL, 1, &lanes, NO_SPAN);
  Stmt *s = stmt_new(g->a, ST_ALLOC);
  s->t = a;
  s->space = raw && dtypes[d].bits < 32 ? SPACE_PACKED : SPACE_STACK;
  gpu_add(b, s);
  return a;
}

Stmt *gpu_move(Gpu *g, Tensor *t, int n, Expr *const *sub, Tensor *local, Expr *place, int lanes, bool out) {
  Stmt *s = stmt_new(g->a, ST_MOVE);
  s->t = t;
  s->nsub = n;
  for (int k = 0; k < n; k++) s->sub[k] = sub[k];
  s->t2 = local;
  s->a = place;
  s->lanes = lanes;
  s->out = out;
  return s;
}

static void load(Work *w, Block *b, Found *f) {
  Gpu *g = w->g;
  Expr *sub[8], *zero = gpu_int(g, 0);
  Tensor *t = f->read->u.t;
  bool whole = f->always || is_plain(w, f->read);
  if (!whole && !is_uniform(w, f->guard)) return;
  f->local = lane_array(w, b, t, t->dtype, true);
  for (int k = 0; k < t->rank; k++) sub[k] = at_first(w, f->read->arg[k]);
  Stmt *move = gpu_move(g, t, t->rank, sub, f->local, zero, w->c->lanes, false);
  const Kept *near = near_row(w, t);
  if (near && near->to) move = gpu_if(g, expr_op2(g->x, OP_LT, w->c->first, near->to, NO_SPAN), move, NULL);
  gpu_add(b, whole ? move : gpu_if(g, at_first(w, f->guard), move, NULL));
}

static Expr *from_array(void *cx, ExprTable *x, Expr *e) {
  Work *w = cx;
  if (e->op != OP_READ) return e;
  Expr *v = expr_index(x, w->v), *at = v;
  for (int i = 0; i < w->found.n; i++)
    if (w->found.v[i].read == e && w->found.v[i].local) return expr_make(x, OP_READ, (Dtype)e->dtype, 0, w->found.v[i].local, e->at, 1, &at);
  Tensor *row = w->c->rows ? map_getp(&w->c->rows->arrays, e->u.t) : NULL;
  if (!row) row = kept_row(w, e);
  if (!row) return e;
  at = gpu_plus(w->g, w->c->slot, v);
  return expr_make(x, OP_READ, (Dtype)e->dtype, 0, row, e->at, 1, &at);
}

// What a store writes, as a value of the wide type: the move rounds.
static Expr *wide_value(const Tensor *t, Expr *a) {
  if (a->op != OP_CAST || (Dtype)a->aux != t->dtype) return a;
  Dtype from = (Dtype)a->arg[0]->dtype;
  bool plain = dtype_is_float(t->dtype) ? from == DT_F32 && t->dtype != DT_F64 : !dtype_is_float(from) && from == dtype_wide(t->dtype);
  return plain ? a->arg[0] : a;
}

// Later statements read what is stored: an update's new values.
static bool is_read_later(Work *w, const Tensor *t, Tensor *now) {
  bool yes = false;
  for (int i = 0; i < w->found.n; i++) {
    if (tensor_root(w->found.v[i].read->u.t) != t) continue;
    w->found.v[i].local = now;
    yes = true;
  }
  return yes;
}

// Stores of the steps that become one move.
static void store(Work *w, Block *before, Block *after, Stmt *s) {
  Gpu *g = w->g;
  Expr *sub[8];
  bool memory = s->t->role != ROLE_LOCAL || tensor_place(g->plan, s->t) != PLACE_STACK;
  if (!memory || s->field >= 0 || !is_side_by_side(w, s->t, s->sub, s->nsub) || !fits(w, s->t, dtypes[s->t->dtype].bits)) {
    is_read_later(w, tensor_root(s->t), NULL);
    return;
  }
  for (int k = 0; k < s->nsub; k++) sub[k] = at_first(w, s->sub[k]);
  Tensor *local = lane_array(w, before, s->t, dtype_wide(s->t->dtype), false);
  gpu_add(after, gpu_move(g, s->t, s->nsub, sub, local, gpu_int(g, 0), w->c->lanes, true));
  if (!is_read_later(w, tensor_root(s->t), local)) s->a = wide_value(s->t, s->a);
  s->t = local;
  s->nsub = 1;
  s->sub[0] = expr_index(g->x, w->v);
}

// ---- random numbers ----------------------------------------------------------------------------

// Four neighbours share an evaluation: uniform(seed, c) with c as 4 * quad + word, where quads are those of the steps.
static Expr *in_quads(void *cx, ExprTable *x, Expr *e) {
  Work *w = cx;
  Expr *coef, *rest, *four = gpu_int(w->g, 4), *v = expr_index(x, w->v);
  Index *ix = w->c->ix;
  if (e->op != OP_UNIFORM || e->arg[1]->dtype != DT_I64 || w->c->lanes % 4) return e;
  if (!affine_split(x, e->arg[1], 1, &ix, &coef, &rest) || !expr_is_int(coef, 1) || !divides(w, rest, 4)) return e;
  Expr *quad = gpu_plus(w->g, gpu_div(w->g, at_first(w, e->arg[1]), four), gpu_div(w->g, v, four));
  return expr_op2(x, OP_UNIFORM, e->arg[0], gpu_plus(w->g, gpu_mul(w->g, quad, four), gpu_mod(w->g, v, four)), e->at);
}

static void rows_to_arrays(Work *w, Stmt *s) {
  for (; s; s = s->next) {
    Tensor *row = s->kind == ST_STORE && w->c->rows ? map_getp(&w->c->rows->arrays, s->t) : NULL;
    if (row) {
      s->t = row;
      s->sub[0] = gpu_plus(w->g, w->c->slot, expr_index(w->g->x, w->v));
    }
    rows_to_arrays(w, s->body);
    rows_to_arrays(w, s->els);
  }
}

// Invariant LETs at the beginning; returns what is left.
static Stmt *lift(Work *w, Block *b, Stmt *s) {
  Block rest = gpu_block();
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    bool up = s->kind == ST_LET && !map_getp(&w->variant, s->var) && !gpu_reads_any(w->g, s->a, w->c->written);
    gpu_add(up ? b : &rest, s);
  }
  return rest.first;
}

Stmt *gpu_vector(const Vector *c, Stmt *body) {
  Gpu *g = c->g;
  Work w = { .c = c, .g = g, .variant = map_make(g->scratch), .seen = map_make(g->scratch), .v = gpu_index(g, "v") };
  Block b = gpu_block(), after = gpu_block();
  stmts_map(g->x, body, quotient_at_first, &w);
  mark_changed(&w, body);
  mark_variant(&w, body, false);
  body = lift(&w, &b, body);
  look_at(&w, body, NULL);
  for (int i = 0; i < w.found.n; i++) load(&w, &b, &w.found.v[i]);
  for (Stmt *s = body, *next; s; s->next = next, s = next) {
    next = s->next;
    s->next = NULL;
    stmts_map(g->x, s, from_array, &w);
    if (s->kind == ST_STORE) store(&w, &b, &after, s);
  }
  stmts_map(g->x, body, in_quads, &w);
  rows_to_arrays(&w, body);
  bool named = gpu_uses_index(g, body, c->ix);
  if (named) body = gpu_loop(g, HOW_ONE, c->ix, gpu_plus(g, c->first, expr_index(g->x, w.v)), c->hi, body);
  gpu_add(&b, gpu_loop(g, HOW_UNROLL, w.v, gpu_int(g, 0), gpu_int(g, c->lanes), body));
  gpu_add(&b, after.first);
  return b.first;
}
