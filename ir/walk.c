// walk.c: walks over expressions: visit, map, substitution of indices, equality up to bound names.
//
// All are linear in the nodes of the DAG (substitution and equality: once per node and per set of bindings that
// reaches it); memos live in an arena of the call.
#include "ir/expr.h"
#include "base/limits.h"
#include "ir/fn.h"
#include <assert.h>

// Which nodes have been met: the numbers that follow their ids, or 0, at most half full. Walks are what the compiler does most, and most
// are short, so that the first slots lie on the stack.

enum { FEW_IDS = 128 };

typedef struct Met { uint32_t *slot; uint32_t n, cap; Arena *a; } Met;

static uint32_t met_slot(const Met *m, uint32_t key) {
  uint32_t at = (key * 0x9e3779b1u) >> 7 & (m->cap - 1);      // the odd integer nearest 2^32 divided by the golden ratio
  while (m->slot[at] && m->slot[at] != key) at = (at + 1) & (m->cap - 1);
  return at;
}

static void met_grow(Met *m) {
  Met old = *m;
  m->cap *= 4;
  m->slot = arena_array(m->a, uint32_t, m->cap);
  for (uint32_t i = 0; i < old.cap; i++)
    if (old.slot[i]) m->slot[met_slot(m, old.slot[i])] = old.slot[i];
}

// True the first time.
static bool meet(Met *m, const Expr *e) {
  uint32_t key = (uint32_t)e->id + 1, at = met_slot(m, key);
  if (m->slot[at]) return false;
  m->slot[at] = key;
  if (2 * ++m->n > m->cap) met_grow(m);
  return true;
}

// visit

typedef struct Visit { Met met; ExprVisit f; void *cx; } Visit;

static void visit_node(Visit *v, Expr *e) {
  if (!meet(&v->met, e)) return;
  for (uint32_t k = 0; k < e->nargs; k++) visit_node(v, e->arg[k]);
  v->f(v->cx, e);
}

void expr_visit(Arena *scratch, Expr *e, ExprVisit f, void *cx) {
  uint32_t few[FEW_IDS] = {0};
  visit_node(&(Visit){.met = {few, 0, FEW_IDS, scratch}, .f = f, .cx = cx}, e);
}

// search

typedef struct Search { Met met; Op op; const Tensor *t; } Search;

static bool search_node(Search *s, const Expr *e) {
  if (s->op != OP_NONE && e->op == s->op) return true;
  if (s->t && (e->op == OP_READ || e->op == OP_FIELD) && e->u.t == s->t) return true;
  if (e->nargs && !meet(&s->met, e)) return false;
  for (uint32_t k = 0; k < e->nargs; k++)
    if (search_node(s, e->arg[k])) return true;
  return false;
}

static bool search(const Expr *e, Op op, const Tensor *t) {
  uint32_t few[FEW_IDS] = {0};
  Arena *a = arena_create();
  bool found = search_node(&(Search){.met = {few, 0, FEW_IDS, a}, .op = op, .t = t}, e);
  arena_destroy(a);
  return found;
}

bool expr_reads(const Expr *e, const Tensor *t) { return search(e, OP_NONE, t); }
bool expr_has(const Expr *e, Op op) { return search(e, op, NULL); }

static void count_node(void *cx, Expr *e) {
  (void)e;
  ++*(int *)cx;
}

int expr_size(const Expr *e) {
  int n = 0;
  Arena *a = arena_create();
  expr_visit(a, (Expr *)(uintptr_t)e, count_node, &n);
  arena_destroy(a);
  return n;
}

// map

typedef struct Mapping { Map done; ExprTable *x; ExprMap f; void *cx; } Mapping;

enum { FEW_ARGS = 2 * LIMIT_RANK + 2 };     // the most that any operation has (REDUCE)

static Expr *map_node(Mapping *m, Expr *e) {
  Expr *made = map_get(&m->done, e->id), *args[FEW_ARGS];
  if (made) return made;
  bool changed = false;
  assert(e->nargs <= FEW_ARGS);
  for (uint32_t k = 0; k < e->nargs; k++) {
    args[k] = map_node(m, e->arg[k]);
    changed |= args[k] != e->arg[k];
  }
  made = m->f(m->cx, m->x, changed ? expr_rebuild(m->x, e, args) : e);
  map_put(&m->done, e->id, made);
  return made;
}

Expr *expr_map(ExprTable *x, Expr *e, ExprMap f, void *cx) {
  MapSlot few[MAP_FEW] = {0};
  Arena *a = arena_create();
  Expr *made = map_node(&(Mapping){.done = map_on(few, a), .x = x, .f = f, .cx = cx}, e);
  arena_destroy(a);
  return made;
}

// subst

typedef struct Subst {
  ExprTable *x;
  Arena *a;             // of the call
  int n; Index **ix; Expr **by;
  Map done;             // for exactly these pairs
} Subst;

static bool subst_touches(const Subst *s, const Expr *e) {
  for (int k = 0; k < s->n; k++)
    if (expr_uses_index(e, s->ix[k])) return true;
  return false;
}

static Expr *subst_node(Subst *s, Expr *e);

// Would binding ix in e capture an index of what is put in?
static bool subst_captures(const Subst *s, const Expr *e, const Index *ix) {
  for (int k = 0; k < s->n; k++)
    if (s->ix[k] != ix && expr_uses_index(e, s->ix[k]) && expr_uses_index(s->by[k], ix)) return true;
  return false;
}

// s below a binding of ix: without a pair for ix, or with ix renamed.
static Subst *subst_under(const Subst *s, const Index *ix, Expr *fresh) {
  Subst *t = arena_new(s->a, Subst);
  *t = (Subst){.x = s->x, .a = s->a, .done = map_make(s->a)};
  t->ix = arena_array(s->a, Index *, s->n + 1);
  t->by = arena_array(s->a, Expr *, s->n + 1);
  for (int k = 0; k < s->n; k++)
    if (s->ix[k] != ix) t->ix[t->n] = s->ix[k], t->by[t->n++] = s->by[k];
  if (fresh) t->ix[t->n] = (Index *)(uintptr_t)ix, t->by[t->n++] = fresh;
  return t;
}

static bool subst_replaces(const Subst *s, const Index *ix) {
  for (int k = 0; k < s->n; k++)
    if (s->ix[k] == ix) return true;
  return false;
}

static Expr *subst_reduce(Subst *s, Expr *e) {
  int n = e->u.bind->n;
  Expr *lo[LIMIT_RANK], *hi[LIMIT_RANK];
  Index *ix[LIMIT_RANK];
  for (int k = 0; k < n; k++) {
    ix[k] = e->u.bind->ix[k];
    lo[k] = subst_node(s, reduce_lo(e, k));
    hi[k] = subst_node(s, reduce_hi(e, k));
    Expr *fresh = NULL;
    if (subst_captures(s, e, ix[k])) fresh = expr_index(s->x, index_new(s->x, ix[k]->name, ix[k]->at));
    if (fresh || subst_replaces(s, ix[k])) s = subst_under(s, ix[k], fresh);
    if (fresh) ix[k] = fresh->u.ix;
  }
  Expr *cond = subst_node(s, reduce_cond(e)), *term = subst_node(s, reduce_term(e));
  return expr_reduce(s->x, e->u.bind->reducer, n, ix, lo, hi, cond, term, e->at);
}

static Expr *subst_args(Subst *s, Expr *e) {
  Expr *args[FEW_ARGS];
  assert(e->nargs <= FEW_ARGS);
  for (uint32_t k = 0; k < e->nargs; k++) args[k] = subst_node(s, e->arg[k]);
  return expr_rebuild(s->x, e, args);
}

static Expr *subst_index(const Subst *s, Expr *e) {
  for (int k = 0; k < s->n; k++)
    if (s->ix[k] == e->u.ix) return s->by[k];
  return e;
}

static Expr *subst_node(Subst *s, Expr *e) {
  if (e->op == OP_INDEX) return subst_index(s, e);
  if (!subst_touches(s, e)) return e;
  Expr *made = map_get(&s->done, e->id);
  if (made) return made;
  made = e->op == OP_REDUCE ? subst_reduce(s, e) : subst_args(s, e);
  map_put(&s->done, e->id, made);
  return made;
}

Expr *expr_subst(ExprTable *x, Expr *e, int n, Index *const *ix, Expr *const *by) {
  MapSlot few[MAP_FEW] = {0};
  Arena *a = arena_create();
  Subst s = {.x = x, .a = a, .n = n, .ix = (Index **)(uintptr_t)ix, .by = (Expr **)(uintptr_t)by, .done = map_on(few, a)};
  Expr *made = subst_node(&s, e);
  arena_destroy(a);
  return made;
}

static Expr *refresh_node(void *cx, ExprTable *x, Expr *e) {
  (void)cx;
  if (e->op != OP_REDUCE) return e;
  int n = e->u.bind->n;
  Expr *lo[LIMIT_RANK], *hi[LIMIT_RANK], *fresh[LIMIT_RANK];
  Index *ix[LIMIT_RANK], *const *old = e->u.bind->ix;
  for (int k = 0; k < n; k++) {
    lo[k] = expr_subst(x, reduce_lo(e, k), k, old, fresh);
    hi[k] = expr_subst(x, reduce_hi(e, k), k, old, fresh);
    ix[k] = index_new(x, old[k]->name, old[k]->at);
    fresh[k] = expr_index(x, ix[k]);
  }
  Expr *cond = expr_subst(x, reduce_cond(e), n, old, fresh), *term = expr_subst(x, reduce_term(e), n, old, fresh);
  return expr_reduce(x, e->u.bind->reducer, n, ix, lo, hi, cond, term, e->at);
}

Expr *expr_refresh(ExprTable *x, Expr *e) { return expr_has(e, OP_REDUCE) ? expr_map(x, e, refresh_node, NULL) : e; }

// Equality and hash up to names of bound indices.
//
// A scope is the list of index pairs in force, the innermost last. A node is known by its id and the positions at
// which its free indices stand in the scope, so that results are kept across reductions.

typedef struct Pairs { int n, cap; Index **a, **b; } Pairs;

typedef struct Same { Pairs scope; Map equal; Arena *arena; ExprPair pair; void *cx; } Same;

static void pairs_push(Arena *arena, Pairs *p, Index *a, Index *b) {
  if (p->n == p->cap) {
    int cap = p->cap;
    p->a = vec_grow(arena, p->a, &cap, p->n, sizeof *p->a);
    p->b = vec_grow(arena, p->b, &p->cap, p->n, sizeof *p->b);
  }
  p->a[p->n] = a;
  p->b[p->n++] = b;
}

static int position(int n, Index *const *list, const Index *ix) {
  while (n-- > 0)
    if (list[n] == ix) return n;
  return -1;
}

static uint64_t mix64(uint64_t h, uint64_t v) {
  v ^= h + 0x9e3779b97f4a7c15u;          // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)
  v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
  v = (v ^ v >> 27) * 0x94d049bb133111ebu;
  return v ^ v >> 31;
}

// Names e in the scope: its id and where its free indices stand.
static uint64_t scoped_key(uint64_t h, const Expr *e, int n, Index *const *list) {
  h = mix64(h, e->id);
  for (int k = 0; k < e->free->n; k++) h = mix64(h, (uint64_t)(int64_t)position(n, list, e->free->ix[k]));
  return h;
}

static bool same_index(const Same *s, const Index *a, const Index *b) {
  int i = position(s->scope.n, s->scope.a, a), j = position(s->scope.n, s->scope.b, b);
  return i == j && (i >= 0 || a == b);
}

static bool same_expr(Same *s, const Expr *a, const Expr *b);

static bool same_reduce(Same *s, const Expr *a, const Expr *b) {
  int n = a->u.bind->n, outer = s->scope.n;
  bool ok = n == b->u.bind->n && a->u.bind->reducer == b->u.bind->reducer;
  for (int k = 0; ok && k < n; k++) {
    ok = same_expr(s, reduce_lo(a, k), reduce_lo(b, k)) && same_expr(s, reduce_hi(a, k), reduce_hi(b, k));
    pairs_push(s->arena, &s->scope, a->u.bind->ix[k], b->u.bind->ix[k]);
  }
  ok = ok && same_expr(s, reduce_cond(a), reduce_cond(b)) && same_expr(s, reduce_term(a), reduce_term(b));
  s->scope.n = outer;
  return ok;
}

static bool same_leaf(const Same *s, const Expr *a, const Expr *b) {
  switch (a->op) {
  case OP_CONST: return a->u.v.u == b->u.v.u;
  case OP_INDEX: return same_index(s, a->u.ix, b->u.ix);
  case OP_DIM: return s->pair(s->cx, OP_DIM, a->u.dim, b->u.dim);
  case OP_VAR: return s->pair(s->cx, OP_VAR, a->u.var, b->u.var);
  case OP_READ: case OP_FIELD: return s->pair(s->cx, (Op)a->op, a->u.t, b->u.t);
  default: return true;
  }
}

static bool same_inner(Same *s, const Expr *a, const Expr *b) {
  if (a->op == OP_REDUCE) return same_reduce(s, a, b);
  for (uint32_t k = 0; k < a->nargs; k++)
    if (!same_expr(s, a->arg[k], b->arg[k])) return false;
  return true;
}

static bool same_expr(Same *s, const Expr *a, const Expr *b) {
  if (a->op != b->op || a->dtype != b->dtype || a->aux != b->aux || a->nargs != b->nargs || a->depth != b->depth ||
      !same_leaf(s, a, b))
    return false;
  if (a->nargs == 0) return true;
  uint64_t key = scoped_key(scoped_key(0, a, s->scope.n, s->scope.a), b, s->scope.n, s->scope.b);
  if (map_get(&s->equal, key)) return true;
  if (!same_inner(s, a, b)) return false;
  map_put(&s->equal, key, s);
  return true;
}

bool expr_same_as(const Expr *a, const Expr *b, int n, Index *const *ia, Index *const *ib, ExprPair pair, void *cx) {
  MapSlot few[MAP_FEW] = {0};
  Arena *arena = arena_create();
  Same s = {.equal = map_on(few, arena), .arena = arena, .pair = pair, .cx = cx};
  for (int k = 0; k < n; k++) pairs_push(arena, &s.scope, ia[k], ib[k]);
  bool same = same_expr(&s, a, b);
  arena_destroy(arena);
  return same;
}

static bool identical(void *cx, Op op, const void *a, const void *b) {
  (void)cx, (void)op;
  return a == b;
}

bool expr_same(const Expr *a, const Expr *b, int n, Index *const *ia, Index *const *ib) {
  if (n == 0 && a == b) return true;
  return expr_same_as(a, b, n, ia, ib, identical, NULL);
}

typedef struct Hashing { Pairs scope; Map done; Arena *arena; } Hashing;

static uint64_t hash_expr(Hashing *h, const Expr *e);

static uint64_t hash_leaf(const Hashing *h, const Expr *e) {
  switch (e->op) {
  case OP_CONST: return e->u.v.u;
  case OP_DIM: return (uint64_t)e->u.dim->id;
  case OP_VAR: return (uint64_t)e->u.var->id;
  case OP_READ: case OP_FIELD: return (uint64_t)e->u.t->id;
  case OP_INDEX: {
    int at = position(h->scope.n, h->scope.a, e->u.ix);
    return at < 0 ? ~(uint64_t)e->u.ix->id : (uint64_t)at;
  }
  default: return 0;
  }
}

static uint64_t hash_reduce(Hashing *h, const Expr *e, uint64_t key) {
  int n = e->u.bind->n, outer = h->scope.n;
  key = mix64(key, e->u.bind->reducer);
  for (int k = 0; k < n; k++) {
    key = mix64(mix64(key, hash_expr(h, reduce_lo(e, k))), hash_expr(h, reduce_hi(e, k)));
    pairs_push(h->arena, &h->scope, e->u.bind->ix[k], NULL);
  }
  key = mix64(mix64(key, hash_expr(h, reduce_cond(e))), hash_expr(h, reduce_term(e)));
  h->scope.n = outer;
  return key;
}

static uint64_t hash_inner(Hashing *h, const Expr *e) {
  uint64_t key = mix64(mix64((uint64_t)e->op << 16 | (uint64_t)e->dtype << 8 | e->aux, e->nargs), hash_leaf(h, e));
  if (e->op == OP_REDUCE) return hash_reduce(h, e, key);
  for (uint32_t k = 0; k < e->nargs; k++) key = mix64(key, hash_expr(h, e->arg[k]));
  return key;
}

static uint64_t hash_expr(Hashing *h, const Expr *e) {
  if (e->nargs == 0) return hash_inner(h, e);
  uint64_t name = scoped_key(0, e, h->scope.n, h->scope.a), *kept = map_get(&h->done, name);
  if (kept) return *kept;
  kept = arena_new(h->arena, uint64_t);
  *kept = hash_inner(h, e);
  map_put(&h->done, name, kept);
  return *kept;
}

uint64_t expr_shape_hash(const Expr *e, int n, Index *const *ix) {
  MapSlot few[MAP_FEW] = {0};
  Arena *arena = arena_create();
  Hashing h = {.done = map_on(few, arena), .arena = arena};
  for (int k = 0; k < n; k++) pairs_push(arena, &h.scope, ix[k], NULL);
  uint64_t key = hash_expr(&h, e);
  arena_destroy(arena);
  return key;
}
