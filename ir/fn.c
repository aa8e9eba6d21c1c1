// fn.c: functions: making, looking up, copying, comparing.
#include "ir/fn.h"
#include "base/limits.h"
#include <assert.h>
#include <string.h>

bool name_is_reserved(const char *s) {
  static const char *const words[] = {"fn", "const", "format", "of", "encode", "import", "mut", "where", "if", "then", "else",
                                      "in", "and", "or", "not", "true", "false", "inf", "nan", "bitcast"};
  for (size_t k = 0; k < sizeof words / sizeof *words; k++)
    if (strcmp(s, words[k]) == 0) return true;
  return dtype_by_name(s) != DT_NONE || reducer_by_name(s) != RED_NONE;
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

bool name_is_valid(const char *s) {
  if (!s || !is_letter(*s) || name_is_reserved(s)) return false;
  for (; *s; s++)
    if (!is_letter(*s) && !(*s >= '0' && *s <= '9')) return false;
  return true;
}

Fn *fn_new(Arena *a, Interner *names, Diags *d, Name name) {
  Fn *f = arena_new(a, Fn);
  f->name = name;
  f->a = a;
  f->x = expr_table(a);
  f->names = names;
  f->d = d;
  f->max_kernels = -1;
  f->taken = map_make(a);
  return f;
}

static bool dim_named(const Fn *f, Name name) {
  for (int k = 0; k < f->dims.n; k++)
    if (f->dims.v[k]->name == name) return true;
  return false;
}

// The hint itself when it is free, else the first free of hint_2, hint_3, …; the count is kept for the next one.
static Name unique_name(Fn *f, Name hint) {
  if (!hint || !name_is_valid(hint)) hint = intern(f->names, "t");
  Name name = hint;
  int *next = map_getp(&f->taken, hint);
  int n = next ? *next : 2;
  while (map_getp(&f->taken, name) || dim_named(f, name)) name = intern(f->names, arena_printf(f->a, "%s_%d", hint, n++));
  if (next) *next = n;
  int *own = arena_new(f->a, int);
  *own = name == hint ? n : 2;
  map_putp(&f->taken, name, own);
  return name;
}

Tensor *fn_tensor(Fn *f, Name hint, Role role, Dtype dtype, Format *fmt, int rank, Expr *const *extent, Span at) {
  assert(rank >= 0 && rank <= LIMIT_RANK && dtype > DT_NONE && dtype < DT_COUNT && (!fmt || dtype == DT_F32));
  Tensor *t = arena_new(f->a, Tensor);
  *t = (Tensor){.name = unique_name(f, hint), .id = f->tensors.n, .role = role, .dtype = dtype, .fmt = fmt, .rank = rank,
                .root = t, .eqn_at = -1, .at = at};
  t->stored = role != ROLE_LOCAL || fmt || !dtype_is_wide(dtype);
  for (int k = 0; k < rank; k++) t->extent[k] = extent[k];
  vec_push(f->a, &f->tensors, t);
  return t;
}

Eqn *fn_equation(Fn *f, Tensor *def, int n, Index *const *ix, Expr *body, Span at) {
  assert(n <= LIMIT_RANK);
  Eqn *q = arena_new(f->a, Eqn);
  *q = (Eqn){.def = def, .n = n, .body = body, .order_ix = {-1, -1}, .at = at};
  for (int k = 0; k < n; k++) {
    q->ix[k] = ix[k];
    if (k < def->rank) q->extent[k] = def->extent[k];
  }
  def->eqn_at = f->eqns.n;
  vec_push(f->a, &f->eqns, q);
  return q;
}

// The position is a hint: passes edit the list, and fn_renumber after it keeps the look-up quick.
Eqn *fn_def(const Fn *f, const Tensor *t) {
  if (t->role == ROLE_PARAM || t->role == ROLE_MUT || t->role == ROLE_TABLE) return NULL;
  if (t->eqn_at >= 0 && t->eqn_at < f->eqns.n && f->eqns.v[t->eqn_at]->def == t) return f->eqns.v[t->eqn_at];
  for (int k = 0; k < f->eqns.n; k++)
    if (f->eqns.v[k]->def == t) return f->eqns.v[k];
  return NULL;
}

void fn_renumber(Fn *f) {
  for (int k = 0; k < f->tensors.n; k++) f->tensors.v[k]->eqn_at = -1;
  for (int k = 0; k < f->eqns.n; k++) f->eqns.v[k]->def->eqn_at = k;
}

bool fn_is_output(const Tensor *t) { return t->role == ROLE_RESULT || t->role == ROLE_VERSION; }

// Copying. Each kind of object has a map from the old to the new one; ids are kept, so that everything that is
// ordered or hashed by id comes out the same.

typedef struct Copy { const Fn *from; Fn *to; Map exprs, indices, dims, vars, tensors, formats; } Copy;

static Expr *copy_expr(Copy *c, const Expr *e);

#define COPY_LEAF(name, T, map)                              \
  static T *name(Copy *c, const T *old) {                    \
    T *made = old ? map_getp(&c->map, old) : NULL;           \
    if (!old || made) return made;                           \
    made = arena_new(c->to->a, T);                           \
    *made = *old;                                            \
    map_putp(&c->map, old, made);                            \
    return made;                                             \
  }
COPY_LEAF(copy_index, Index, indices)
COPY_LEAF(copy_dim, Dim, dims)
COPY_LEAF(copy_var, Var, vars)
#undef COPY_LEAF

static Format *copy_format(Copy *c, const Format *old);

static void copy_exprs(Copy *c, int n, Expr **list) {
  for (int k = 0; k < n; k++)
    if (list[k]) list[k] = copy_expr(c, list[k]);
}

static Tensor *copy_tensor(Copy *c, const Tensor *old) {
  Tensor *t = old ? map_getp(&c->tensors, old) : NULL;
  if (!old || t) return t;
  t = arena_new(c->to->a, Tensor);
  *t = *old;
  map_putp(&c->tensors, old, t);
  t->fmt = copy_format(c, old->fmt);
  t->root = copy_tensor(c, old->root);
  copy_exprs(c, t->rank, t->extent);
  if (old->table) {
    Scalar *values = arena_array(c->to->a, Scalar, old->ntable);
    memcpy(values, old->table, (size_t)old->ntable * sizeof *values);
    t->table = values;
  }
  return t;
}

static Format *copy_format(Copy *c, const Format *old) {
  Format *m = old ? map_getp(&c->formats, old) : NULL;
  if (!old || m) return m;
  m = arena_new(c->to->a, Format);
  *m = *old;
  map_putp(&c->formats, old, m);
  m->field = arena_array(c->to->a, Field, old->nfields);
  for (int k = 0; k < old->nfields; k++) {
    m->field[k] = old->field[k];
    m->field[k].t = copy_tensor(c, old->field[k].t);
  }
  m->k = copy_index(c, old->k);
  m->value = old->value ? copy_expr(c, old->value) : NULL;
  m->v = copy_tensor(c, old->v);
  m->encode = arena_array(c->to->a, FormatEqn, old->nencode);
  for (int k = 0; k < old->nencode; k++) {
    const FormatEqn *q = &old->encode[k];
    m->encode[k] = (FormatEqn){.def = copy_tensor(c, q->def), .ix = copy_index(c, q->ix), .at = q->at,
                               .extent = q->extent ? copy_expr(c, q->extent) : NULL, .body = copy_expr(c, q->body),
                               .field = q->field ? &m->field[q->field - old->field] : NULL};
  }
  return m;
}

static const void *copy_payload(Copy *c, const Expr *e) {
  switch (e->op) {
  case OP_CONST: return &e->u.v;
  case OP_DIM: return copy_dim(c, e->u.dim);
  case OP_INDEX: return copy_index(c, e->u.ix);
  case OP_VAR: return copy_var(c, e->u.var);
  case OP_READ: case OP_FIELD: return copy_tensor(c, e->u.t);
  case OP_REDUCE: {
    Binder *b = arena_alloc(c->to->a, sizeof *b + (size_t)e->u.bind->n * sizeof b->ix[0]);
    *b = (Binder){.reducer = e->u.bind->reducer, .n = e->u.bind->n};
    for (int k = 0; k < b->n; k++) b->ix[k] = copy_index(c, e->u.bind->ix[k]);
    return b;
  }
  default: return NULL;
  }
}

static Expr *copy_expr(Copy *c, const Expr *e) {
  Expr *made = map_get(&c->exprs, e->id), *args[2 * LIMIT_RANK + 2];
  if (made) return made;
  for (uint32_t k = 0; k < e->nargs; k++) args[k] = copy_expr(c, e->arg[k]);
  made = expr_make(c->to->x, (Op)e->op, (Dtype)e->dtype, e->aux, copy_payload(c, e), e->at, (int)e->nargs, args);
  map_put(&c->exprs, e->id, made);
  return made;
}

static Eqn *copy_eqn(Copy *c, const Eqn *old) {
  Eqn *q = arena_new(c->to->a, Eqn);
  *q = *old;
  q->def = copy_tensor(c, old->def);
  q->base = copy_tensor(c, old->base);
  for (int k = 0; k < q->n; k++) q->ix[k] = copy_index(c, old->ix[k]);
  copy_exprs(c, q->n, q->extent);
  copy_exprs(c, q->nstore, q->store);
  q->body = copy_expr(c, old->body);
  if (old->cond) q->cond = copy_expr(c, old->cond);
  return q;
}

static void copy_head(Copy *c, const Fn *f, Fn *g) {
  Arena *a = g->a;
  for (int k = 0; k < f->tensors.n; k++) {
    Tensor *t = copy_tensor(c, f->tensors.v[k]);
    vec_push(a, &g->tensors, t);
    int *next = arena_new(a, int), *old = map_getp(&f->taken, t->name);
    *next = old ? *old : 2;
    map_putp(&g->taken, t->name, next);
  }
  for (int k = 0; k < f->params.n; k++) vec_push(a, &g->params, copy_tensor(c, f->params.v[k]));
  for (int k = 0; k < f->defaults.n; k++) vec_push(a, &g->defaults, f->defaults.v[k] ? copy_expr(c, f->defaults.v[k]) : NULL);
  for (int k = 0; k < f->results.n; k++) vec_push(a, &g->results, copy_tensor(c, f->results.v[k]));
  for (int k = 0; k < f->dims.n; k++) vec_push(a, &g->dims, copy_dim(c, f->dims.v[k]));
  for (int k = 0; k < f->sources.n; k++) {
    DimSource s = f->sources.v[k];
    s = (DimSource){copy_dim(c, s.dim), copy_tensor(c, s.t), s.axis, copy_expr(c, s.scale), copy_expr(c, s.offset)};
    vec_push(a, &g->sources, s);
  }
  for (int k = 0; k < f->where.n; k++) {
    Where w = f->where.v[k];
    const char *text = w.text ? arena_strndup(a, w.text, strlen(w.text)) : NULL;
    vec_push(a, &g->where, (Where){copy_expr(c, w.e), w.at, text});
  }
  for (int k = 0; k < f->formats.n; k++) vec_push(a, &g->formats, copy_format(c, f->formats.v[k]));
}

Fn *fn_copy(Arena *a, const Fn *f) {
  Fn *g = fn_new(a, f->names, f->d, f->name);
  Arena *scratch = arena_create();
  Map none = map_make(scratch);
  Copy c = {.from = f, .to = g, .exprs = none, .indices = none, .dims = none, .vars = none, .tensors = none, .formats = none};
  g->max_kernels = f->max_kernels;
  g->max_kernels_at = f->max_kernels_at;
  g->at = f->at;
  g->x->next_index = f->x->next_index;
  g->x->next_dim = f->x->next_dim;
  g->x->next_var = f->x->next_var;
  copy_head(&c, f, g);
  for (int k = 0; k < f->eqns.n; k++) vec_push(a, &g->eqns, copy_eqn(&c, f->eqns.v[k]));
  arena_destroy(scratch);
  return g;
}

// Comparing. Tensors of a and b are paired where they are introduced (parameters, equations in order), dims by
// position, tables and formats by what they hold.

typedef struct Equal { const Fn *a, *b; Map pairs; } Equal;

static bool equal_names(Name a, Name b) { return a == b || (a && b && strcmp(a, b) == 0); }

static void pair_up(Equal *q, const void *a, const void *b) { map_putp(&q->pairs, a, (void *)(uintptr_t)b); }

static bool equal_tables(const Tensor *a, const Tensor *b) {
  if (a->role != ROLE_TABLE || b->role != ROLE_TABLE || a->dtype != b->dtype || a->ntable != b->ntable) return false;
  for (int64_t k = 0; k < a->ntable; k++)
    if (dtype_encode(a->dtype, a->table[k]) != dtype_encode(b->dtype, b->table[k])) return false;
  return true;
}

static bool paired(void *cx, Op op, const void *a, const void *b) {
  Equal *q = cx;
  const void *mate = map_getp(&q->pairs, a);
  if (mate || (op != OP_READ && op != OP_FIELD)) return mate == b;
  return equal_tables(a, b);
}

static bool equal_exprs(Equal *q, const Expr *a, const Expr *b, int n, Index *const *ia, Index *const *ib) {
  return a && b ? expr_same_as(a, b, n, ia, ib, paired, q) : a == b;
}

static bool equal_formats(Equal *q, const Format *a, const Format *b) {
  if (!a || !b || map_getp(&q->pairs, a) == b) return (!a && !b) || (a && b);
  if (!equal_names(a->name, b->name) || a->block != b->block || a->bytes != b->bytes || a->nfields != b->nfields ||
      a->nencode != b->nencode || !a->v != !b->v)
    return false;
  pair_up(q, a, b);
  for (int k = 0; k < a->nfields; k++) {
    const Field *x = &a->field[k], *y = &b->field[k];
    if (!equal_names(x->name, y->name) || x->dtype != y->dtype || x->count != y->count || x->array != y->array) return false;
    if (x->t && y->t) pair_up(q, x->t, y->t);
  }
  if (a->v) pair_up(q, a->v, b->v);
  for (int k = 0; k < a->nencode; k++) {
    const FormatEqn *x = &a->encode[k], *y = &b->encode[k];
    if (!x->ix != !y->ix || !x->field != !y->field) return false;
    if (x->field ? x->field - a->field != y->field - b->field : x->def->dtype != y->def->dtype) return false;
    pair_up(q, x->def, y->def);
    if (!equal_exprs(q, x->body, y->body, x->ix != NULL, &x->ix, &y->ix)) return false;
  }
  return equal_exprs(q, a->value, b->value, 1, &a->k, &b->k);
}

static bool equal_tensors(Equal *q, const Tensor *a, const Tensor *b) {
  if (a->role != b->role || a->dtype != b->dtype || a->rank != b->rank || a->stored != b->stored) return false;
  if (!equal_names(a->root->name, b->root->name) || !equal_formats(q, a->fmt, b->fmt)) return false;
  pair_up(q, a, b);
  for (int k = 0; k < a->rank; k++)
    if (!equal_exprs(q, a->extent[k], b->extent[k], 0, NULL, NULL)) return false;
  return true;
}

static bool equal_eqns(Equal *q, const Eqn *a, const Eqn *b) {
  if (a->n != b->n || a->nstore != b->nstore || a->recurrent != b->recurrent || !a->base != !b->base) return false;
  if (a->order_ix[0] != b->order_ix[0] || (a->base && map_getp(&q->pairs, a->base) != b->base)) return false;
  for (int k = 0; k < a->n; k++)
    if (!equal_exprs(q, a->extent[k], b->extent[k], 0, NULL, NULL)) return false;
  for (int k = 0; k < a->nstore; k++)
    if (!equal_exprs(q, a->store[k], b->store[k], a->n, a->ix, b->ix)) return false;
  return equal_exprs(q, a->cond, b->cond, a->n, a->ix, b->ix) && equal_exprs(q, a->body, b->body, a->n, a->ix, b->ix);
}

static bool equal_heads(Equal *q, const Fn *a, const Fn *b) {
  if (!equal_names(a->name, b->name) || a->dims.n != b->dims.n || a->params.n != b->params.n ||
      a->results.n != b->results.n || a->where.n != b->where.n || a->max_kernels != b->max_kernels)
    return false;
  for (int k = 0; k < a->dims.n; k++) {
    if (!equal_names(a->dims.v[k]->name, b->dims.v[k]->name)) return false;
    pair_up(q, a->dims.v[k], b->dims.v[k]);
  }
  for (int k = 0; k < a->params.n; k++) pair_up(q, a->params.v[k], b->params.v[k]);   // extents may name scalars of any place
  for (int k = 0; k < a->params.n; k++) {
    if (!equal_tensors(q, a->params.v[k], b->params.v[k])) return false;
    const Expr *x = k < a->defaults.n ? a->defaults.v[k] : NULL, *y = k < b->defaults.n ? b->defaults.v[k] : NULL;
    if (!equal_exprs(q, x, y, 0, NULL, NULL)) return false;
  }
  for (int k = 0; k < a->where.n; k++)
    if (!equal_exprs(q, a->where.v[k].e, b->where.v[k].e, 0, NULL, NULL)) return false;
  return true;
}

static bool equal_bodies(Equal *q, const Fn *a, const Fn *b) {
  if (a->eqns.n != b->eqns.n) return false;
  for (int k = 0; k < a->eqns.n; k++)                                      // first all: recurrences read what follows
    if (!equal_tensors(q, a->eqns.v[k]->def, b->eqns.v[k]->def)) return false;
  for (int k = 0; k < a->eqns.n; k++)
    if (!equal_eqns(q, a->eqns.v[k], b->eqns.v[k])) return false;
  for (int k = 0; k < a->results.n; k++)
    if (map_getp(&q->pairs, a->results.v[k]) != b->results.v[k]) return false;
  return true;
}

bool fn_equal(const Fn *a, const Fn *b) {
  Arena *scratch = arena_create();
  Equal q = {.a = a, .b = b, .pairs = map_make(scratch)};
  bool equal = equal_heads(&q, a, b) && equal_bodies(&q, a, b);
  arena_destroy(scratch);
  return equal;
}
