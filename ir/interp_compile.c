// interp_compile.c: an equation's expressions as instructions over slots.
//
// Every node of the DAG gets one slot and is emitted once. A node with several readers may be needed in several lazy
// places, so it becomes a subroutine (Shared): a CALL runs it unless its slot still holds, which it does while none of
// the indices that it depends on has changed. So time does not grow with the tree that the DAG stands for.
// Nodes at every 64th level are subroutines too, which bounds the recursion here.
#include "ir/interp_int.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { EMIT_DEPTH = 64 };

typedef struct Node {
  int uses;
  bool placed;          // ref is valid
  int32_t ref;
  int32_t shared;       // number of its Shared, -1: emitted where it is used
  bool reduces;         // its value comes from a reduction
  bool data;            // reads a tensor's elements
} Node;

typedef struct Compiler {
  Vm *vm;
  Routine *u;
  Arena *a;             // scratch
  Map nodes, indices;   // Expr -> Node; Index -> slot + 1
  bool rebinds;         // two reductions bind one index, maybe one inside the other
  VEC(const Expr *) all;
  VEC(const Expr *) pending;      // shared nodes without code yet, by number
  VEC(Ins) ins;
  VEC(int32_t) refs;
  VEC(Val) konst;
  VEC(Shared) shared;
  VEC(int32_t) reads;
} Compiler;

static Node *node_of(Compiler *c, const Expr *e) { return map_getp(&c->nodes, e); }

static int32_t index_slot(Compiler *c, const Index *ix) {
  uintptr_t slot = (uintptr_t)map_getp(&c->indices, ix);
  if (!slot) map_putp(&c->indices, ix, (void *)(slot = (uintptr_t)(++c->u->nix)));
  return (int32_t)slot - 1;
}

// Is e known before anything runs? (What a format reads is not, whatever the roles of its tensors.)
static bool is_leaf(const Compiler *c, const Expr *e) {
  bool argument = !c->u->fmt && e->op == OP_READ && e->u.t->rank == 0 && e->u.t->role == ROLE_PARAM;
  return e->op == OP_CONST || e->op == OP_DIM || e->op == OP_INDEX || argument;
}

// bitcast of a read is one instruction: the bits are those in memory, which for NaNs the value no longer shows.
static const Expr *through_bitcast(const Compiler *c, const Expr *e) {
  const Expr *x = e->op == OP_BITCAST ? e->arg[0] : e;
  return x->op == OP_READ && x->aux != 1 && !is_leaf(c, x) ? x : e;
}

// ---- what the nodes are

static void collect(Compiler *c, const Expr *root) {
  VEC(const Expr *) todo = {0};
  vec_push(c->a, &todo, root);
  while (todo.n) {
    const Expr *e = todo.v[--todo.n];
    Node *n = node_of(c, e);
    if (!n) {
      n = arena_new(c->a, Node);
      n->shared = -1;
      map_putp(&c->nodes, e, n);
      vec_push(c->a, &c->all, e);
      const Expr *x = through_bitcast(c, e);
      for (uint32_t k = 0; k < x->nargs; k++) vec_push(c->a, &todo, (const Expr *)x->arg[k]);
    }
    n->uses++;
  }
}

static int by_id(const void *a, const void *b) {
  uint32_t x = (*(const Expr *const *)a)->id, y = (*(const Expr *const *)b)->id;
  return (x > y) - (x < y);
}

static bool reads_data(const Compiler *c, const Expr *e) { return (e->op == OP_READ && !is_leaf(c, e)) || e->op == OP_FIELD; }

static void examine(Compiler *c, const Expr *e) {
  Node *n = node_of(c, e);
  const Expr *x = through_bitcast(c, e);
  n->reduces = e->op == OP_REDUCE;
  n->data = reads_data(c, x);
  if ((x->op == OP_READ || x->op == OP_FIELD) && !c->u->fmt) {
    n->reduces = c->vm->reduced[x->u.t->id];
    vec_push(c->a, &c->reads, x->u.t->id);
  }
  for (uint32_t k = 0; k < x->nargs; k++) {
    const Node *arg = node_of(c, x->arg[k]);
    n->reduces |= arg->reduces;
    n->data |= arg->data;
  }
  for (int k = 0; e->op == OP_REDUCE && k < e->u.bind->n; k++) {
    c->rebinds |= map_getp(&c->indices, e->u.bind->ix[k]) != NULL;
    index_slot(c, e->u.bind->ix[k]);
  }
}

static void examine_all(Compiler *c) {
  qsort(c->all.v, (size_t)c->all.n, sizeof c->all.v[0], by_id);      // arguments first
  for (int k = 0; k < c->all.n; k++) examine(c, c->all.v[k]);
  c->u->nslots = c->u->nix;
}

// ---- emission

static int32_t new_slot(Compiler *c) { return c->u->nslots++; }
static int32_t here(const Compiler *c) { return c->ins.n; }

static Ins *emit(Compiler *c, InsKind kind, const Expr *e) {
  vec_push(c->a, &c->ins, (Ins){.kind = (uint8_t)kind, .e = e, .dst = -1});
  return &c->ins.v[c->ins.n - 1];
}

static int32_t konst(Compiler *c, Scalar v, Dtype t) {
  Val z = {.v = v};
  bound_atom(&z, t);
  vec_push(c->a, &c->konst, z);
  return ~(c->konst.n - 1);
}

static int32_t scalar_param(Compiler *c, const Tensor *t) {
  const Fn *f = c->vm->f;
  int k = 0;
  while (f->params.v[k] != t) k++;
  return konst(c, dtype_load(t->dtype, c->vm->params[k].data, 0), dtype_wide(t->dtype));
}

static int32_t leaf_ref(Compiler *c, const Expr *e) {
  switch (e->op) {
  case OP_CONST: return konst(c, e->u.v, (Dtype)e->dtype);
  case OP_DIM: return konst(c, (Scalar){.i = c->vm->dims[e->u.dim->id]}, DT_I64);
  case OP_INDEX: assert(map_getp(&c->indices, e->u.ix) && "index used outside its reduction"); return index_slot(c, e->u.ix);
  default: return scalar_param(c, e->u.t);
  }
}

static int32_t place(Compiler *c, const Expr *e);

static Scalar (*meaning_of(Op op, Dtype t))(const Scalar *, Dtype) {
  const OpInfo *o = &ops[op];
  return dtype_is_float(t) ? o->f : t == DT_I64 || t == DT_I32 ? o->i : o->u;
}

static InsKind op_kind(const Expr *e) {
  return e->op == OP_CAST ? I_CAST : e->op == OP_BITCAST ? I_BITCAST : e->op == OP_UNIFORM ? I_UNIFORM : I_OP;
}

static void emit_op(Compiler *c, const Expr *e, int32_t dst) {
  int32_t a[3] = {0};
  assert(e->nargs >= 1 && e->nargs <= 3);
  for (uint32_t k = 0; k < e->nargs; k++) a[k] = place(c, e->arg[k]);
  Ins *i = emit(c, op_kind(e), e);
  i->nargs = (uint8_t)e->nargs;
  i->from = e->arg[0]->dtype;
  i->to = e->dtype;
  i->dst = dst;
  memcpy(i->a, a, sizeof a);
  if (i->kind != I_OP) return;
  i->fn = meaning_of((Op)e->op, (Dtype)i->from);
  assert(i->fn && "operation without a meaning for its operands");
}

static void emit_move(Compiler *c, const Expr *e, int32_t dst, int32_t from) {
  Ins *i = emit(c, I_MOVE, e);
  i->dst = dst;
  i->a[0] = from;
  i->to = e->dtype;
}

static int32_t emit_jump(Compiler *c, const Expr *e) {
  emit(c, I_JUMP, e);
  return here(c) - 1;
}

static void emit_select(Compiler *c, const Expr *e, int32_t dst) {
  int32_t cond = place(c, e->arg[0]), ctl = c->u->nctl++, branch = here(c);
  Ins *i = emit(c, I_IF, e);
  i->a[0] = cond;
  i->m = ctl;
  emit_move(c, e, dst, place(c, e->arg[1]));
  int32_t jump = emit_jump(c, e);
  c->ins.v[branch].jump = here(c);
  emit_move(c, e, dst, place(c, e->arg[2]));
  c->ins.v[jump].jump = c->ins.v[branch].a[1] = here(c);
  i = emit(c, I_FI, e);
  i->dst = dst;
  i->a[0] = new_slot(c);
  i->m = ctl;
  i->to = e->dtype;
}

static void emit_logic(Compiler *c, const Expr *e, int32_t dst) {
  int32_t first = place(c, e->arg[0]), ctl = c->u->nctl++;
  emit_move(c, e, dst, first);
  int32_t branch = here(c);
  Ins *i = emit(c, I_SHORT, e);
  i->a[0] = first;
  i->n = e->op == OP_OR;
  i->m = ctl;
  emit_move(c, e, dst, place(c, e->arg[1]));
  c->ins.v[branch].jump = here(c);
  i = emit(c, I_JOIN, e);
  i->dst = dst;
  i->a[0] = first;
  i->n = e->op == OP_OR;
  i->m = ctl;
}

// The operands of a read, in refs. Returns where they start.
static int32_t emit_subscripts(Compiler *c, const Expr *e, int n) {
  int32_t sub[LIMIT_RANK + 1];
  assert(n <= LIMIT_RANK + 1);
  for (int k = 0; k < n; k++) sub[k] = place(c, e->arg[k]);
  int32_t first = c->refs.n;
  for (int k = 0; k < n; k++) vec_push(c->a, &c->refs, sub[k]);
  return first;
}

static void env_source(const Format *fmt, const Tensor *t, Ins *i) {
  i->kind = I_ENV;
  if (t->role == ROLE_TABLE) { i->n = ENV_TABLE; return; }
  if (t == fmt->v) { i->n = ENV_BLOCK; return; }
  for (int k = 0; k < fmt->nencode; k++) {
    const FormatEqn *q = &fmt->encode[k];
    if (q->def != t) continue;
    i->n = q->field ? ENV_FIELD : ENV_LOCAL;
    i->m = q->field ? (int32_t)(q->field - fmt->field) : k;
    return;
  }
  for (int k = 0; k < fmt->nfields; k++)
    if (fmt->field[k].t == t) { i->n = ENV_FIELD; i->m = k; return; }
  assert(!"a format reads only its own tensors");
}

static void emit_read(Compiler *c, const Expr *e, int32_t dst, Dtype as) {
  const Expr *otherwise = e->op == OP_READ && e->aux == 1 ? e->arg[e->nargs - 1] : NULL;
  int n = (int)e->nargs - (otherwise != NULL);
  int32_t first = emit_subscripts(c, e, n), read = here(c);
  Ins *i = emit(c, e->op == OP_FIELD ? I_FIELD : I_READ, e);
  i->nargs = (uint8_t)n;
  i->a[0] = first;
  i->dst = dst;
  i->n = e->u.t->id;
  i->from = (uint8_t)as;
  i->to = as ? dtypes[as].wide : e->dtype;
  if (c->u->fmt) env_source(c->u->fmt, e->u.t, i);
  if (!otherwise) return;
  int32_t jump = emit_jump(c, e);
  c->ins.v[read].jump = here(c);
  emit_move(c, e, dst, place(c, otherwise));
  c->ins.v[jump].jump = here(c);
}

static Ins *emit_loop(Compiler *c, const Expr *e, int k, int32_t ctl) {
  int32_t lo = place(c, reduce_lo(e, k)), hi = place(c, reduce_hi(e, k));
  bool data = node_of(c, reduce_lo(e, k))->data || node_of(c, reduce_hi(e, k))->data;
  Ins *i = emit(c, I_LOOP, e);
  i->dst = index_slot(c, e->u.bind->ix[k]);
  i->a[0] = lo;
  i->a[1] = hi;
  i->a[2] = data;
  i->m = ctl;
  return i;
}

// lo, hi, LOOP for each index; the condition, FILTER; the term, STEP; NEXT for each index from the inside out.
static void emit_reduce(Compiler *c, const Expr *e, int32_t dst) {
  int n = e->u.bind->n;
  int32_t loop[LIMIT_RANK], red = c->u->nred++, ctl = c->u->nctl;
  c->u->nctl += n + 1;                             // the last is the filter's
  emit(c, I_REDUCE, e)->n = red;
  for (int k = 0; k < n; k++) {
    emit_loop(c, e, k, ctl + k)->n = red;
    loop[k] = here(c) - 1;
  }
  int32_t filter = -1;
  if (!expr_is_true(reduce_cond(e))) {
    int32_t cond = place(c, reduce_cond(e));
    filter = here(c);
    Ins *i = emit(c, I_FILTER, e);
    i->a[0] = cond;
    i->n = red;
    i->m = ctl + n;
  }
  int32_t term = place(c, reduce_term(e));
  Ins *i = emit(c, I_STEP, e);
  i->a[0] = term;
  i->a[1] = index_slot(c, e->u.bind->ix[0]);
  i->n = red;
  i->m = filter >= 0 ? ctl + n : -1;
  if (filter >= 0) c->ins.v[filter].jump = here(c);
  for (int k = n - 1; k >= 0; k--) {
    i = emit(c, I_NEXT, e);
    i->dst = c->ins.v[loop[k]].dst;
    i->m = ctl + k;
    i->jump = loop[k] + 1;
    c->ins.v[loop[k]].jump = here(c);
  }
  i = emit(c, I_REDUCED, e);
  i->dst = dst;
  i->n = red;
  i->from = reduce_term(e)->dtype;
  i->to = e->dtype;
  i->m = node_of(c, reduce_term(e))->reduces;
}

static void emit_node(Compiler *c, const Expr *e, int32_t dst) {
  switch (e->op) {
  case OP_SELECT: emit_select(c, e, dst); return;
  case OP_AND: case OP_OR: emit_logic(c, e, dst); return;
  case OP_READ: case OP_FIELD: emit_read(c, e, dst, DT_NONE); return;
  case OP_REDUCE: emit_reduce(c, e, dst); return;
  default: break;
  }
  assert(e->op != OP_VAR && "kernel-level variable in an equation");
  const Expr *x = through_bitcast(c, e);
  if (x != e) emit_read(c, x, dst, (Dtype)e->aux);
  else emit_op(c, e, dst);
}

static bool is_shared(const Expr *e, const Node *n) {
  return n->uses > 1 || e->depth % EMIT_DEPTH == 0 || e->depth == UINT16_MAX;
}

// Where a reduction inside another may bind the same index, the slot may change before it is used: a copy will not.
static int32_t call_shared(Compiler *c, const Expr *e, Node *n) {
  if (n->shared < 0) {
    n->shared = c->shared.n;
    n->ref = new_slot(c);
    vec_push(c->a, &c->shared, (Shared){.ref = n->ref});
    vec_push(c->a, &c->pending, e);
  }
  emit(c, I_CALL, e)->n = n->shared;
  if (!c->rebinds) return n->ref;
  int32_t copy = new_slot(c);
  emit_move(c, e, copy, n->ref);
  return copy;
}

// Code that leaves the value of e in the slot (or constant) returned.
static int32_t place(Compiler *c, const Expr *e) {
  Node *n = node_of(c, e);
  if (is_leaf(c, e)) {
    if (!n->placed) n->ref = leaf_ref(c, e);
    n->placed = true;
  } else if (is_shared(e, n)) {
    return call_shared(c, e, n);
  } else {
    emit_node(c, e, n->ref = new_slot(c));
  }
  return n->ref;
}

static void emit_shared(Compiler *c) {
  for (int k = 0; k < c->pending.n; k++) {
    const Expr *e = c->pending.v[k];
    c->shared.v[k].entry = here(c);
    emit_node(c, e, c->shared.v[k].ref);
    emit(c, I_DONE, e)->n = k;
  }
}

// ---- routines

static const int32_t *free_slots(Compiler *c, const Expr *e, int *n) {
  int32_t *slot = arena_array(c->vm->a, int32_t, e->free->n);
  for (int k = 0; k < e->free->n; k++) slot[k] = index_slot(c, e->free->ix[k]);
  *n = e->free->n;
  return slot;
}

// A reduction's instructions need what its I_REDUCED has.
static void finish_reductions(Compiler *c) {
  for (int k = 0; k < c->ins.n; k++) {
    Ins *i = &c->ins.v[k];
    if (i->kind != I_REDUCE && i->kind != I_STEP) continue;
    i->from = reduce_term(i->e)->dtype;
    i->to = i->e->dtype;
    Op combine = reducers[i->e->u.bind->reducer].combine;
    if (combine != OP_NONE) i->fn = meaning_of(combine, (Dtype)i->to);
  }
}

#define COPY_VEC(c, T, vec) memcpy(arena_array((c)->vm->a, T, (vec).n), (vec).n ? (const void *)(vec).v : "", (size_t)(vec).n * sizeof(T))

// The controls of shared expressions come after those of branches and loops.
static Routine *finish(Compiler *c) {
  Routine *u = c->u;
  finish_reductions(c);
  for (int k = 0; k < c->shared.n; k++) c->shared.v[k].ix = free_slots(c, c->pending.v[k], &c->shared.v[k].nix);
  for (int k = 0; k < c->ins.n; k++) {
    Ins *i = &c->ins.v[k];
    if (i->kind == I_CALL || i->kind == I_DONE) i->m = u->nctl + i->n;
  }
  u->nctl += c->shared.n;
  u->nins = c->ins.n;
  u->ins = COPY_VEC(c, Ins, c->ins);
  u->refs = COPY_VEC(c, int32_t, c->refs);
  u->konst = COPY_VEC(c, Val, c->konst);
  u->shared = COPY_VEC(c, Shared, c->shared);
  u->nreads = c->reads.n;
  u->reads = COPY_VEC(c, int32_t, c->reads);
  arena_destroy(c->a);
  return u;
}

static Compiler start(Vm *vm, const Tensor *def, const Format *fmt) {
  Compiler c = {.vm = vm, .a = arena_create(), .u = arena_new(vm->a, Routine)};
  c.nodes = map_make(c.a);
  c.indices = map_make(c.a);
  c.u->def = def;
  c.u->fmt = fmt;
  return c;
}

static void emit_return(Compiler *c, const Expr *body, ReturnKind kind) {
  int32_t out = kind == RET_NOTHING ? 0 : place(c, body);
  Ins *i = emit(c, I_RET, body);
  i->a[0] = out;
  i->n = kind;
}

static Routine *routine_of_body(Compiler *c, const Expr *body) {
  collect(c, body);
  examine_all(c);
  c->u->dtype = (Dtype)body->dtype;
  if (!c->u->fmt) c->vm->reduced[c->u->def->id] |= node_of(c, body)->reduces;
  emit_return(c, body, RET_VALUE);
  emit_shared(c);
  return finish(c);
}

// An update: the condition, which guards all else; where to store; what.
static Routine *routine_of_update(Compiler *c, const Eqn *q) {
  Routine *u = c->u;
  if (q->cond) collect(c, q->cond);
  for (int k = 0; k < q->nstore; k++) collect(c, q->store[k]);
  collect(c, q->body);
  examine_all(c);
  u->dtype = (Dtype)q->body->dtype;
  c->vm->reduced[q->def->id] = c->vm->reduced[q->base->id] || node_of(c, q->body)->reduces;
  u->nstore = q->nstore;
  int32_t guard = -1;
  if (q->cond) {
    int32_t cond = place(c, q->cond);
    guard = here(c);
    emit(c, I_GUARD, q->cond)->a[0] = cond;
  }
  for (int k = 0; k < q->nstore; k++) u->store[k] = place(c, q->store[k]);
  emit_return(c, q->body, RET_STORE);
  if (guard >= 0) {
    c->ins.v[guard].jump = here(c);
    emit_return(c, q->cond, RET_NOTHING);
  }
  emit_shared(c);
  return finish(c);
}

Routine *routine_of_eqn(Vm *vm, const Eqn *q) {
  Compiler c = start(vm, q->def, NULL);
  for (int k = 0; k < q->n; k++) index_slot(&c, q->ix[k]);
  vm->reduced[q->def->id] |= q->recurrent;
  return q->base ? routine_of_update(&c, q) : routine_of_body(&c, q->body);
}

FormatRoutines *routines_of_format(Vm *vm, const Format *fmt) {
  FormatRoutines *known = map_getp(&vm->formats, fmt);
  if (known) return known;
  FormatRoutines *all = arena_new(vm->a, FormatRoutines);
  Compiler c = start(vm, NULL, fmt);
  index_slot(&c, fmt->k);
  all->value = routine_of_body(&c, fmt->value);
  all->encode = arena_array(vm->a, Routine *, fmt->nencode);
  for (int k = 0; k < fmt->nencode; k++) {
    c = start(vm, fmt->encode[k].def, fmt);
    if (fmt->encode[k].ix) index_slot(&c, fmt->encode[k].ix);
    all->encode[k] = routine_of_body(&c, fmt->encode[k].body);
  }
  map_putp(&vm->formats, fmt, all);
  return all;
}
