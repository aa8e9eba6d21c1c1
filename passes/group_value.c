// group_value.c: values that two equations compute alike: the same random number, the same exponential.
//
//   y[i, j] = x[i, j] * keep          keep: if uniform(seed, i * D + j) < p then 0 else 1
//   z[i, j] = r[i, j] * keep
//
// In one kernel they are computed once. So such a value is a tensor to the grouping, one that both read without moving a byte:
// its dimensions are the indices in it, in the order in which they occur. What it is worth are the operations at its top;
// what stands below is another value.
#include "passes/group_int.h"

enum {
  WORTH = 8,            // operations of the least that counts: an exponential
  MOST_VALUES = 4,      // of one equation
  MOST_NODES = 400      // of the expressions looked at in one equation
};

// A value that is being named: a hash of what it is, and its indices by number.
typedef struct Naming { Grouping *g; const Eqn *q; Map memo; int n; Index *ix[8]; int left; bool ok; } Naming;

static uint64_t name_of(Naming *m, const Expr *e);

static uint64_t name_index(Naming *m, Index *ix) {
  for (int k = 0; k < m->n; k++) if (m->ix[k] == ix) return group_mix(11, (uint64_t)k);
  if (m->n == 8) { m->ok = false; return 0; }
  m->ix[m->n] = ix;
  return group_mix(11, (uint64_t)m->n++);
}

static uint64_t name_new(Naming *m, const Expr *e) {
  uint64_t v = group_mix(e->op, (uint64_t)e->dtype << 8 | e->aux);
  if (e->op == OP_INDEX) return group_mix(v, name_index(m, e->u.ix));
  if (e->op == OP_CONST) v = group_mix(v, e->u.v.u);
  else if (e->op == OP_DIM) v = group_mix(v, (uint64_t)e->u.dim->id + 7);
  else if (e->op == OP_READ) v = group_mix(v, (uint64_t)e->u.t->id);
  for (uint32_t k = 0; k < e->nargs && m->ok; k++) v = group_mix(v, name_of(m, e->arg[k]));
  return v;
}

static uint64_t name_of(Naming *m, const Expr *e) {
  uint64_t *seen = map_get(&m->memo, e->id);
  if (seen) return *seen;
  if (--m->left < 0 || e->op == OP_REDUCE) m->ok = false;
  if (!m->ok) return 0;
  seen = arena_new(m->g->p->scratch, uint64_t);
  *seen = name_new(m, e);
  map_put(&m->memo, e->id, seen);
  return *seen;
}

// The extent of an index that has one: left of `=`, or reduced from 0.
static Expr *extent_of(const Eqn *q, const Index *ix, signed char *at) {
  for (int k = 0; k < q->n; k++) if (q->ix[k] == ix) { *at = (signed char)k; return q->extent[k]; }
  const Expr *e = q->body;
  for (int k = 0; e->op == OP_REDUCE && k < e->u.bind->n; k++)
    if (e->u.bind->ix[k] == ix && expr_is_int(reduce_lo(e, k), 0)) { *at = (signed char)(-1 - k); return reduce_hi(e, k); }
  return NULL;
}

static Tensor *value_named(Grouping *g, uint64_t name, int rank, Expr *const *extent, int flops) {
  Tensor *t = map_get(&g->values, name);
  if (t) return t;
  t = arena_new(g->p->scratch, Tensor);
  *t = (Tensor){ .id = g->f->tensors.n + g->nvalues++, .role = ROLE_LOCAL, .dtype = DT_F32, .rank = rank, .root = t };
  for (int k = 0; k < rank; k++) t->extent[k] = extent[k];
  g->worth[t->id] = flops * cost_nominal_elements(t);
  g->unit[t->id] = -1;
  map_put(&g->values, name, t);
  return t;
}

typedef struct Values { Grouping *g; Eqn *q; int n, left; } Values;

static void see_node(void *cx, Expr *e) {
  Values *v = cx;
  if (ops[e->op].flops < WORTH || !e->free->n || v->n == MOST_VALUES) return;
  Naming m = { .g = v->g, .q = v->q, .memo = map_make(v->g->p->scratch), .left = v->left, .ok = true };
  uint64_t name = name_of(&m, e);
  v->left = m.left;
  Read r = { .whole = true };
  Expr *extent[8];
  for (int k = 0; k < m.n && m.ok; k++) {
    extent[k] = extent_of(v->q, m.ix[k], &r.at[k]);
    m.ok = extent[k] != NULL;
    name = m.ok ? group_mix(name, extent[k]->id) : 0;
  }
  if (!m.ok) return;
  r.t = value_named(v->g, name, m.n, extent, ops[e->op].flops);
  vec_push(v->g->p->scratch, &v->g->reads[v->q->def->id].v, r);
  v->n++;
}

void group_find_values(Grouping *g, Eqn *q) {
  Values v = { .g = g, .q = q, .left = MOST_NODES };
  if (!q->base) expr_visit(g->p->scratch, q->body, see_node, &v);
}

int group_most_values(const Fn *f) { return f->eqns.n * MOST_VALUES; }
