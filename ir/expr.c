// expr.c: the table of hash-consed expressions and the builders; folding of constants.
//
// Hashes and orders come from ids only (of expressions, tensors, dims, indices, variables), so nothing that is
// built or printed depends on where memory lies.
#include "ir/expr.h"
#include "base/limits.h"
#include "ir/fn.h"
#include <assert.h>
#include <math.h>
#include <string.h>

ExprTable *expr_table(Arena *a) {
  ExprTable *x = arena_new(a, ExprTable);
  x->a = a;
  x->cap = 256;
  x->slot = arena_array(a, ExprSlot, x->cap);
  return x;
}

// The finaliser of MurmurHash3 (Appleby, public domain): every input bit reaches every output bit.
static uint32_t mix(uint32_t h, uint64_t v) {
  v ^= h;
  v = (v ^ v >> 33) * 0xff51afd7ed558ccdu;
  v = (v ^ v >> 33) * 0xc4ceb9fe1a85ec53u;
  return (uint32_t)(v ^ v >> 33);
}

static uint64_t payload_hash(const Expr *e) {
  switch (e->op) {
  case OP_CONST: return e->u.v.u;
  case OP_DIM: return (uint64_t)e->u.dim->id;
  case OP_INDEX: return (uint64_t)e->u.ix->id;
  case OP_VAR: return (uint64_t)e->u.var->id;
  case OP_READ: case OP_FIELD: return (uint64_t)e->u.t->id;
  case OP_REDUCE: {
    uint32_t h = mix((uint32_t)e->u.bind->n, e->u.bind->reducer);
    for (int k = 0; k < e->u.bind->n; k++) h = mix(h, (uint64_t)e->u.bind->ix[k]->id);
    return h;
  }
  default: return 0;
  }
}

static uint32_t node_hash(const Expr *e, Expr *const *args) {
  uint32_t h = mix(0, (uint64_t)e->op | (uint64_t)e->dtype << 8 | (uint64_t)e->aux << 16 | (uint64_t)e->nargs << 24);
  h = mix(h, payload_hash(e));
  for (uint32_t k = 0; k < e->nargs; k++) h = mix(h, args[k]->id);
  return h;
}

static bool same_binder(const Binder *a, const Binder *b) {
  return a == b || (a->reducer == b->reducer && a->n == b->n &&
                    memcmp(a->ix, b->ix, (size_t)a->n * sizeof a->ix[0]) == 0);
}

static bool same_payload(const Expr *a, const Expr *b) {
  switch (a->op) {
  case OP_CONST: return a->u.v.u == b->u.v.u;
  case OP_DIM: return a->u.dim == b->u.dim;
  case OP_INDEX: return a->u.ix == b->u.ix;
  case OP_VAR: return a->u.var == b->u.var;
  case OP_READ: case OP_FIELD: return a->u.t == b->u.t;
  case OP_REDUCE: return same_binder(a->u.bind, b->u.bind);
  default: return true;
  }
}

static bool same_node(const Expr *a, const Expr *b, Expr *const *args) {
  return a->hash == b->hash && a->op == b->op && a->dtype == b->dtype && a->aux == b->aux && a->nargs == b->nargs &&
         same_payload(a, b) && (a->nargs == 0 || memcmp(a->arg, args, a->nargs * sizeof args[0]) == 0);
}

static void table_grow(ExprTable *x) {
  ExprSlot *old = x->slot;
  uint32_t cap = x->cap;
  x->cap *= 2;
  x->slot = arena_array(x->a, ExprSlot, x->cap);
  for (uint32_t i = 0; i < cap; i++) {
    if (!old[i].e) continue;
    uint32_t at = old[i].hash & (x->cap - 1);
    while (x->slot[at].e) at = (at + 1) & (x->cap - 1);
    x->slot[at] = old[i];
  }
}

// Sets of free indices.

static const IndexSet no_indices = {.n = 0};

static bool set_has(const IndexSet *s, const Index *ix) {
  for (int k = 0; k < s->n; k++)
    if (s->ix[k] == ix) return true;
  return false;
}

static bool set_covers(const IndexSet *big, const IndexSet *small) {
  for (int k = 0; k < small->n; k++)
    if (!set_has(big, small->ix[k])) return false;
  return true;
}

static IndexSet *set_new(Arena *a, int n) { return arena_alloc(a, sizeof(IndexSet) + (size_t)n * sizeof(Index *)); }

static const IndexSet *set_union(Arena *a, const IndexSet *p, const IndexSet *q) {
  if (set_covers(p, q)) return p;
  if (set_covers(q, p)) return q;
  IndexSet *s = set_new(a, p->n + q->n);
  for (int i = 0, j = 0; i < p->n || j < q->n;) {
    bool both = i < p->n && j < q->n && p->ix[i] == q->ix[j];
    bool left = j == q->n || (i < p->n && p->ix[i]->id <= q->ix[j]->id);
    s->ix[s->n++] = left ? p->ix[i++] : q->ix[j++];
    if (both) j++;
  }
  return s;
}

static const IndexSet *set_without(Arena *a, const IndexSet *p, const Index *ix) {
  if (!set_has(p, ix)) return p;
  IndexSet *s = set_new(a, p->n - 1);
  for (int k = 0; k < p->n; k++)
    if (p->ix[k] != ix) s->ix[s->n++] = p->ix[k];
  return s;
}

// From the inside out: index k of a reduction is bound in the bounds of later ones, the condition and the term.
static const IndexSet *free_of_reduce(Arena *a, const Binder *b, Expr *const *args) {
  const IndexSet *s = set_union(a, args[2 * b->n]->free, args[2 * b->n + 1]->free);
  for (int k = b->n - 1; k >= 0; k--) {
    s = set_without(a, s, b->ix[k]);
    s = set_union(a, s, set_union(a, args[2 * k]->free, args[2 * k + 1]->free));
  }
  return s;
}

static const IndexSet *free_of(Arena *a, const Expr *e, Expr *const *args) {
  if (e->op == OP_REDUCE) return free_of_reduce(a, e->u.bind, args);
  if (e->op == OP_INDEX) {
    IndexSet *s = set_new(a, 1);
    s->n = 1;
    s->ix[0] = e->u.ix;
    return s;
  }
  const IndexSet *s = &no_indices;
  for (uint32_t k = 0; k < e->nargs; k++) s = set_union(a, s, args[k]->free);
  return s;
}

// A constant's value in one representation: integers wrapped, floats rounded, one NaN.
static Scalar canonical(Dtype d, Scalar v) {
  if (dtype_is_float(d) && isnan(v.f)) return (Scalar){.f = (double)NAN};
  return dtype_cast(v, d, d);
}

static void set_payload(Expr *e, const void *u) {
  switch (e->op) {
  case OP_CONST: e->u.v = canonical((Dtype)e->dtype, *(const Scalar *)u); break;
  case OP_DIM: e->u.dim = (Dim *)(uintptr_t)u; break;
  case OP_INDEX: e->u.ix = (Index *)(uintptr_t)u; break;
  case OP_VAR: e->u.var = (Var *)(uintptr_t)u; break;
  case OP_READ: case OP_FIELD: e->u.t = (Tensor *)(uintptr_t)u; break;
  case OP_REDUCE: e->u.bind = (Binder *)(uintptr_t)u; break;
  default: e->u.v.u = 0; break;
  }
}

static uint16_t depth_of(int nargs, Expr *const *args) {
  uint32_t depth = 0;
  for (int k = 0; k < nargs; k++)
    if (args[k]->depth > depth) depth = args[k]->depth;
  return (uint16_t)(depth < UINT16_MAX ? depth + 1 : UINT16_MAX);
}

Expr *expr_make(ExprTable *x, Op op, Dtype dtype, int aux, const void *u, Span at, int nargs, Expr *const *args) {
  assert(op > OP_NONE && op < OP_COUNT_ && dtype_is_wide(dtype) && aux >= 0 && aux <= UINT8_MAX);
  Expr key = {.op = (uint8_t)op, .dtype = (uint8_t)dtype, .aux = (uint8_t)aux, .nargs = (uint32_t)nargs, .at = at};
  set_payload(&key, u);
  key.hash = node_hash(&key, args);
  uint32_t slot = key.hash & (x->cap - 1);
  for (; x->slot[slot].e; slot = (slot + 1) & (x->cap - 1))
    if (x->slot[slot].hash == key.hash && same_node(x->slot[slot].e, &key, args)) return x->slot[slot].e;
  if (x->n >= LIMIT_NODES) x->overflow = true;
  Expr *e = arena_alloc(x->a, sizeof *e + (size_t)nargs * sizeof args[0]);
  *e = key;
  if (nargs) memcpy(e->arg, args, (size_t)nargs * sizeof args[0]);
  e->depth = depth_of(nargs, args);
  e->free = free_of(x->a, &key, args);
  e->id = x->n++;
  x->slot[slot] = (ExprSlot){key.hash, e};
  if (x->n > x->cap / 2) table_grow(x);
  return e;
}

// Builders.

Expr *expr_scalar(ExprTable *x, Dtype wide, Scalar v, Span at) { return expr_make(x, OP_CONST, wide, 0, &v, at, 0, NULL); }

Expr *expr_int(ExprTable *x, Dtype wide, int64_t v, Span at) {
  assert(dtype_is_int(wide));
  return expr_scalar(x, wide, (Scalar){.i = v}, at);
}

Expr *expr_float(ExprTable *x, Dtype wide, double v, Span at) {
  assert(dtype_is_float(wide));
  return expr_scalar(x, wide, (Scalar){.f = v}, at);
}

Expr *expr_bool(ExprTable *x, bool v, Span at) { return expr_scalar(x, DT_BOOL, (Scalar){.u = v}, at); }
Expr *expr_index(ExprTable *x, Index *ix) { return expr_make(x, OP_INDEX, DT_I64, 0, ix, ix->at, 0, NULL); }
Expr *expr_dim(ExprTable *x, Dim *d) { return expr_make(x, OP_DIM, DT_I64, 0, d, d->at, 0, NULL); }
Expr *expr_var(ExprTable *x, Var *v) { return expr_make(x, OP_VAR, v->dtype, 0, v, NO_SPAN, 0, NULL); }

Expr *expr_read(ExprTable *x, Tensor *t, int rank, Expr *const *sub, Expr *otherwise, Span at) {
  Expr *args[LIMIT_RANK + 1];
  assert(rank == t->rank && rank <= LIMIT_RANK);
  for (int k = 0; k < rank; k++) args[k] = sub[k];
  if (otherwise) args[rank] = otherwise;
  return expr_make(x, OP_READ, dtype_wide(t->dtype), otherwise != NULL, t, at, rank + (otherwise != NULL), args);
}

Expr *expr_reduce(ExprTable *x, Reducer r, int n, Index *const *ix, Expr *const *lo, Expr *const *hi, Expr *cond, Expr *term, Span at) {
  Expr *args[2 * LIMIT_RANK + 2];
  assert(n > 0 && n <= LIMIT_RANK);
  Binder *b = arena_alloc(x->a, sizeof *b + (size_t)n * sizeof b->ix[0]);
  *b = (Binder){.reducer = r, .n = n};
  for (int k = 0; k < n; k++) b->ix[k] = ix[k], args[2 * k] = lo[k], args[2 * k + 1] = hi[k];
  args[2 * n] = cond ? cond : expr_bool(x, true, at);
  args[2 * n + 1] = term;
  return expr_make(x, OP_REDUCE, reduce_dtype(r, (Dtype)term->dtype), 0, b, at, 2 * n + 2, args);
}

Expr *expr_cast(ExprTable *x, Dtype to, Expr *e, Span at) {
  bool same = dtype_is_wide(to) ? e->dtype == to : expr_stored(e) == to;
  return same ? e : expr_make(x, OP_CAST, dtype_wide(to), (int)to, NULL, at, 1, &e);
}

Expr *expr_op(ExprTable *x, Op op, Expr *const *args, Span at) {
  int n = ops[op].arity, first = op == OP_SELECT;
  assert(n > 0 && op != OP_CAST && op != OP_BITCAST);
  for (int k = first + 1; k < n; k++) assert(op == OP_UNIFORM || args[k]->dtype == args[first]->dtype);
  assert(op != OP_SELECT || args[0]->dtype == DT_BOOL);
  return expr_make(x, op, op_dtype(op, (Dtype)args[first]->dtype), 0, NULL, at, n, args);
}

Expr *expr_op1(ExprTable *x, Op op, Expr *a, Span at) {
  assert(ops[op].arity == 1);
  return expr_op(x, op, &a, at);
}

Expr *expr_op2(ExprTable *x, Op op, Expr *a, Expr *b, Span at) {
  assert(ops[op].arity == 2);
  return expr_op(x, op, (Expr *[]){a, b}, at);
}

Expr *expr_plus(ExprTable *x, Expr *e, int64_t n) { return n ? expr_op2(x, OP_ADD, e, expr_int(x, DT_I64, n, NO_SPAN), NO_SPAN) : e; }

Expr *expr_select(ExprTable *x, Expr *c, Expr *a, Expr *b, Span at) { return expr_op(x, OP_SELECT, (Expr *[]){c, a, b}, at); }

static const void *payload_of(const Expr *e) {
  switch (e->op) {
  case OP_CONST: return &e->u.v;
  case OP_DIM: return e->u.dim;
  case OP_INDEX: return e->u.ix;
  case OP_VAR: return e->u.var;
  case OP_READ: case OP_FIELD: return e->u.t;
  case OP_REDUCE: return e->u.bind;
  default: return NULL;
  }
}

Expr *expr_rebuild(ExprTable *x, const Expr *e, Expr *const *args) {
  return expr_make(x, (Op)e->op, (Dtype)e->dtype, e->aux, payload_of(e), e->at, (int)e->nargs, args);
}

Index *index_new(ExprTable *x, Name name, Span at) {
  Index *ix = arena_new(x->a, Index);
  *ix = (Index){.name = name, .id = x->next_index++, .at = at};
  return ix;
}

Dim *dim_new(ExprTable *x, Name name, Span at) {
  Dim *d = arena_new(x->a, Dim);
  *d = (Dim){.name = name, .id = x->next_dim++, .at = at};
  return d;
}

Var *var_new(ExprTable *x, Name name, Dtype wide) {
  Var *v = arena_new(x->a, Var);
  *v = (Var){.name = name, .id = x->next_var++, .dtype = wide};
  return v;
}

Var *var_like(ExprTable *x, const Var *v) {
  Var *made = var_new(x, v->name, v->dtype);
  made->quiet = v->quiet;
  return made;
}

// Questions.

bool expr_is_int(const Expr *e, int64_t v) { return e->op == OP_CONST && dtype_is_int((Dtype)e->dtype) && e->u.v.i == v; }
bool expr_is_true(const Expr *e) { return e->op == OP_CONST && e->dtype == DT_BOOL && e->u.v.u; }
bool expr_is_false(const Expr *e) { return e->op == OP_CONST && e->dtype == DT_BOOL && !e->u.v.u; }
bool expr_uses_index(const Expr *e, const Index *ix) { return set_has(e->free, ix); }

int read_rank(const Expr *e) {
  assert(e->op == OP_READ);
  return (int)e->nargs - (e->aux == 1);
}

// The default of `??` may lie between the stored type's values, so that a read with one has the wide type.
Dtype expr_stored(const Expr *e) {
  switch (e->op) {
  case OP_READ: return e->aux == 1 ? (Dtype)e->dtype : e->u.t->dtype;
  case OP_CAST: case OP_BITCAST: return (Dtype)e->aux;
  case OP_FIELD: return e->u.t->fmt->field[e->aux].dtype;
  default: return (Dtype)e->dtype;
  }
}

// Folding. `done` maps ids of inner nodes to their values, so that shared ones are evaluated once.
typedef struct Fold { Map done; Arena *a; } Fold;

static bool fold_node(Fold *f, const Expr *e, Scalar *out);

static bool fold_args(Fold *f, const Expr *e, Scalar *v) {
  for (uint32_t k = 0; k < e->nargs; k++)
    if (!fold_node(f, e->arg[k], &v[k])) return false;
  return true;
}

static bool fold_lazy(Fold *f, const Expr *e, Scalar *out) {
  Scalar c;
  if (!fold_node(f, e->arg[0], &c)) return false;
  switch (e->op) {
  case OP_SELECT: return fold_node(f, e->arg[c.u ? 1 : 2], out);
  case OP_AND: return c.u ? fold_node(f, e->arg[1], out) : (*out = c, true);
  default: return c.u ? (*out = c, true) : fold_node(f, e->arg[1], out);
  }
}

// The stored bits of a bitcast's operand. Those of another bitcast are its own operand's: a NaN's, or the infinity that
// f8e5m2 can hold but no cast makes, would not survive as a value.
static bool fold_bits(Fold *f, const Expr *e, uint64_t *bits) {
  Scalar v;
  if (e->op == OP_BITCAST) return fold_bits(f, e->arg[0], bits);
  if (!fold_node(f, e, &v)) return false;
  *bits = dtype_encode(expr_stored(e), v);
  return true;
}

static bool fold_inner(Fold *f, const Expr *e, Scalar *out) {
  Scalar v[3];
  uint64_t bits;
  if (ops[e->op].props & OP_LAZY) return fold_lazy(f, e, out);
  if (e->op == OP_BITCAST) return fold_bits(f, e->arg[0], &bits) && (*out = dtype_decode((Dtype)e->aux, bits), true);
  if (ops[e->op].arity < 1 || !fold_args(f, e, v)) return false;
  Dtype t = (Dtype)e->arg[0]->dtype;
  switch (e->op) {
  case OP_CAST: *out = dtype_cast(v[0], t, (Dtype)e->aux); return true;
  case OP_UNIFORM: out->f = (double)op_uniform(v[0].u, v[1].i); return true;
  default: return op_eval((Op)e->op, t, v, out);
  }
}

static bool fold_node(Fold *f, const Expr *e, Scalar *out) {
  if (e->op == OP_CONST) return *out = e->u.v, true;
  if (e->free->n || e->nargs == 0 || e->op == OP_READ || e->op == OP_REDUCE || e->op == OP_FIELD) return false;
  Scalar *known = map_get(&f->done, e->id);
  if (known) return *out = *known, true;
  if (!fold_inner(f, e, out)) return false;
  known = arena_new(f->a, Scalar);
  *known = *out;
  map_put(&f->done, e->id, known);
  return true;
}

bool expr_fold(const Expr *e, Scalar *out) {
  if (e->op == OP_CONST) return *out = e->u.v, true;
  Fold f = {.a = arena_create()};
  f.done = map_make(f.a);
  bool ok = fold_node(&f, e, out);
  arena_destroy(f.a);
  return ok;
}
