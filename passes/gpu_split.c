// gpu_split.c: a kernel to nests: what becomes one launch each.
//
//   let t = rsqrt(f32(E))                 kernel 1: par chunk …
//   par chunk in 0 .. 64: …        ──▶    kernel 2: var y; for chunk …; y = …        (one block)
//   var y; for chunk …; y = …             kernel 3: par i …, with t at its head
//   par i in 0 .. N: …
//
// Launches run one after the other, so parallel loops that stand one behind the other need no barrier. What dimensions and
// arguments alone decide is computed by every kernel that needs it; other values that statements between parallel loops
// leave for later ones go through memory.
#include "passes/gpu.h"
#include "ir/safe.h"
#include <stdio.h>
#include <string.h>

typedef struct Segment { Stmt *s; bool par; Expr *when; Stmt *load; } Segment;      // load: LETs of what others left

typedef struct Split {
  Gpu *g;
  Kernel *from;
  VEC(Stmt *) lets;     // computed where they are needed
  VEC(Segment) seg;
  Stmt *serial; Stmt **tail;
} Split;

// ---- segments ----------------------------------------------------------------------------------

static bool is_par(const Stmt *s) { return s->kind == ST_LOOP && (s->how == HOW_PAR || s->how == HOW_PAR_VEC); }

static bool has_par(const Stmt *s) {
  for (; s; s = s->next) if (is_par(s) || has_par(s->body) || has_par(s->els)) return true;
  return false;
}

static void end_serial(Split *sp, Expr *when) {
  if (sp->serial) vec_push(sp->g->scratch, &sp->seg, (Segment){ sp->serial, false, when, NULL });
  sp->serial = NULL;
  sp->tail = &sp->serial;
}

static void add_temp(Gpu *g, int kernel, Tensor *t, Expr *bytes) {
  Plan *plan = g->plan;
  Expr *size = gpu_mul(g, gpu_div_up(g, bytes, 64), gpu_int(g, 64));
  plan_add_temp(plan, (Temp){ t, kernel, kernel, plan->scratch_bytes, size });
  plan->scratch_bytes = expr_op2(plan->x, OP_ADD, plan->scratch_bytes, size, NO_SPAN);
}

static Tensor *new_temp(Split *sp, const Var *v) {
  Tensor *t = fn_tensor(sp->g->f, v->name, ROLE_LOCAL, v->dtype, NULL, 0, NULL, NO_SPAN);
  add_temp(sp->g, sp->from->id, t, gpu_int(sp->g, 8));
  return t;
}

// A local array outside of all loops is one for the whole kernel, whatever its launches.
static void array_to_memory(Split *sp, const Stmt *alloc) {
  int64_t n = 1;
  for (int k = 0; k < alloc->t->rank; k++) n *= alloc->t->extent[k]->u.v.i;
  add_temp(sp->g, sp->from->id, alloc->t, gpu_int(sp->g, dtype_bytes(alloc->t->dtype, n)));
}

typedef struct Known { Split *sp; bool yes; } Known;
static void look(void *cx, Expr *e) {
  Known *k = cx;
  if (e->op == OP_VAR) {
    bool let = false;
    for (int i = 0; i < k->sp->lets.n; i++) let |= k->sp->lets.v[i]->var == e->u.var;
    k->yes &= let;
  }
  if (e->op == OP_READ || e->op == OP_FIELD) k->yes &= !gpu_writes(k->sp->from->body, tensor_root(e->u.t));
}

// A value that every kernel can compute for itself.
static bool anywhere(Split *sp, const Stmt *s) {
  Known k = { sp, true };
  if (s->kind == ST_LET) expr_visit(sp->g->scratch, s->a, look, &k);
  return s->kind == ST_LET && k.yes;
}

static void collect(Split *sp, Stmt *s, Expr *when) {
  Gpu *g = sp->g;
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    if (s->kind == ST_IF && has_par(s) && gpu_dims_only(g, s->a)) {
      end_serial(sp, when);
      collect(sp, s->body, gpu_and(g, when, s->a));
      end_serial(sp, gpu_and(g, when, s->a));
      Expr *other = gpu_and(g, when, expr_op1(g->x, OP_NOT, s->a, NO_SPAN));
      collect(sp, s->els, other);
      end_serial(sp, other);
    } else if (s->kind == ST_ALLOC && !s->t->fmt) {
      array_to_memory(sp, s);
    } else if (anywhere(sp, s)) {
      vec_push(g->scratch, &sp->lets, s);
    } else if (is_par(s)) {
      end_serial(sp, when);
      vec_push(g->scratch, &sp->seg, (Segment){ s, true, when, NULL });
    } else {
      *sp->tail = s;
      sp->tail = &s->next;
    }
  }
}

// ---- values that go through memory -------------------------------------------------------------

static bool changes(const Stmt *s, const Var *v) {
  for (; s; s = s->next) {
    bool here = (s->kind == ST_SET || s->kind == ST_ACC || s->kind == ST_FOLD) && (s->var == v || s->var2 == v);
    if (here || changes(s->body, v) || changes(s->els, v)) return true;
  }
  return false;
}

static void leave(Split *sp, Segment *s, Var *v, Tensor *t) {
  Stmt *store = stmt_new(sp->g->a, ST_STORE), **tail = &s->s;
  store->t = t;
  store->a = expr_var(sp->g->x, v);
  while (*tail) tail = &(*tail)->next;
  *tail = store;
}

static void fetch(Split *sp, Segment *s, Var *v, Tensor *t) {
  Stmt *let = stmt_new(sp->g->a, ST_LET);
  let->var = v;
  let->a = expr_make(sp->g->x, OP_READ, v->dtype, 0, t, NO_SPAN, 0, NULL);
  let->next = s->load;
  s->load = let;
}

// v, declared in segment k, for the segments behind it. False when one of them changes it.
static bool hand_on(Split *sp, int k, Var *v) {
  Tensor *t = NULL;
  for (int i = k + 1; i < sp->seg.n; i++) {
    if (changes(sp->seg.v[i].s, v)) return false;
    if (!gpu_uses_var(sp->g, sp->seg.v[i].s, v)) continue;
    if (!t) leave(sp, &sp->seg.v[k], v, t = new_temp(sp, v));
    fetch(sp, &sp->seg.v[i], v, t);
  }
  return true;
}

static bool hand_all_on(Split *sp) {
  for (int k = 0; k < sp->seg.n; k++)
    for (Stmt *s = sp->seg.v[k].s; s && !sp->seg.v[k].par; s = s->next)
      if ((s->kind == ST_LET || s->kind == ST_VAR) && !hand_on(sp, k, s->var)) return false;
  return true;
}

// ---- kernels -----------------------------------------------------------------------------------

static bool name_taken(const Gpu *g, const char *name) {
  for (int i = 0; i < g->out.n; i++) if (!strcmp(g->out.v[i]->name, name)) return true;
  for (int i = 0; i < g->plan->kernels.n; i++) if (!strcmp(g->plan->kernels.v[i]->name, name)) return true;
  return false;
}

// Of part k of a kernel: the kernel's, and for later parts with a number.
static Name part_name(const Split *sp, int k) {
  if (!k) return sp->from->name;
  for (int n = k + 1;; n++) {
    const char *name = arena_printf(sp->g->scratch, "%s_%d", sp->from->name, n);
    if (!name_taken(sp->g, name)) return intern(sp->g->f->names, name);
  }
}

static Kernel *new_kernel(Split *sp, int k, Expr *when) {
  Kernel *kernel = arena_new(sp->g->a, Kernel);
  kernel->name = part_name(sp, k);
  kernel->id = sp->g->out.n;
  kernel->eqns.v = sp->from->eqns.v;
  kernel->eqns.n = sp->from->eqns.n;
  if (!k) kernel->cost = sp->from->cost;
  kernel->grid = arena_new(sp->g->a, Grid);
  kernel->grid->when = when;
  return kernel;
}

Kernel *gpu_beside(const Nest *n, const char *what) {
  Gpu *g = n->g;
  Kernel *k = arena_new(g->a, Kernel);
  const char *name = arena_printf(g->scratch, "%s_%s", n->k->name, what);
  for (int i = 2; name_taken(g, name); i++) name = arena_printf(g->scratch, "%s_%s_%d", n->k->name, what, i);
  k->name = intern(g->f->names, name);
  k->id = g->out.n;
  k->eqns.v = n->k->eqns.v;
  k->eqns.n = n->k->eqns.n;
  k->grid = arena_new(g->a, Grid);
  return k;
}

Tensor *gpu_temp(const Nest *n, const char *name, Dtype d, Expr *values) {
  Gpu *g = n->g;
  Tensor *t = fn_tensor(g->f, intern(g->f->names, name), ROLE_LOCAL, d, NULL, 1, &values, NO_SPAN);
  add_temp(g, n->k->id, t, gpu_mul(g, values, gpu_int(g, dtype_bytes(d, 1))));
  return t;
}

// The LETs that s and those behind it need, in their order.
static Stmt *head_for(Split *sp, const Stmt *s) {
  Gpu *g = sp->g;
  Stmt *first = NULL;
  for (int i = sp->lets.n - 1; i >= 0; i--) {
    Stmt *let = sp->lets.v[i];
    if (!gpu_uses_var(g, s, let->var) && !gpu_uses_var(g, first, let->var)) continue;
    Stmt *c = arena_new(g->a, Stmt);
    *c = *let;
    c->next = first;
    first = c;
  }
  return first;
}

// LETs before an inner parallel loop move into it.
static bool sinks(Gpu *g, const Stmt *s, const Stmt *nest) {
  for (; s->next; s = s->next) if (s->kind != ST_LET || gpu_reads_written(g, s->a, nest)) return false;
  return is_par(s);
}

static bool fixed(const Nest *n, const Stmt *loop) {
  for (int k = 0; k < n->n; k++) if (expr_uses_index(loop->lo, n->ix[k]) || expr_uses_index(loop->hi, n->ix[k])) return false;
  return expr_is_int(loop->lo, 0) && gpu_dims_only(n->g, loop->hi) && n->n < GPU_MAX_GRID;
}

// The parallel loops that stand one inside the other, from s on.
static void open_nest(Nest *n, Stmt *s) {
  Gpu *g = n->g;
  Stmt *nest = s;
  Block lets = gpu_block();
  while (s && sinks(g, s, nest)) {
    Stmt *loop = s, *before = NULL, **tail = &before;
    for (; loop->next; loop = loop->next) { *tail = loop; tail = &loop->next; }
    if (!fixed(n, loop)) break;
    *tail = NULL;
    gpu_add(&lets, before);
    n->ix[n->n] = loop->ix;
    n->extent[n->n++] = loop->hi;
    n->points = n->points ? gpu_mul(g, n->points, loop->hi) : loop->hi;
    ranges_index(n->facts, loop->ix, loop->lo, loop->hi);
    s = loop->body;
  }
  gpu_add(&lets, s);
  n->body = lets.first;
}

static void schedule(Split *sp, int k, const Segment *s) {
  Gpu *g = sp->g;
  Nest n = { .g = g, .k = new_kernel(sp, k, s->when), .facts = safe_ranges_again(g->f, &g->extents, g->scratch) };
  Block head = gpu_block();
  gpu_add(&head, head_for(sp, s->s));
  gpu_add(&head, s->load);
  n.head = head.first;
  if (s->when) ranges_assume(n.facts, s->when, true);
  if (s->par) open_nest(&n, s->s);
  else n.body = s->s;
  if (!n.n) { if (!gpu_scan(&n)) gpu_serial(&n); }
  else if (!gpu_columns(&n) && !gpu_scan(&n) && !gpu_turn(&n) && !gpu_map_nest(&n) && !gpu_teams(&n)) gpu_points(&n);
  kernel_list_args(g->plan, n.k);
  vec_push(g->a, &g->out, n.k);
}

void gpu_split(Gpu *g, Kernel *k) {
  Split sp = { .g = g, .from = k };
  sp.tail = &sp.serial;
  Stmt *whole = gpu_copy(g, k->body);
  collect(&sp, k->body, NULL);
  end_serial(&sp, NULL);
  if (!hand_all_on(&sp)) {              // one block does it all
    sp.seg.n = sp.lets.n = 0;
    vec_push(g->scratch, &sp.seg, (Segment){ whole, false, NULL, NULL });
  }
  for (int i = 0; i < sp.seg.n; i++) schedule(&sp, i, &sp.seg.v[i]);
}
