// lower_share.c: what two loops over a row both compute, computed once and kept on the stack.
//
//   z = sum[j](exp(x[j] - m))             for j:  e[j] = exp(x[j] - m);  z = z + e[j]
//   y[j] = exp(x[j] - m) / z       ──▶    for j:  y[j] = e[j] / z
//
// The row's buffer has a fixed size, so this is for rows that fit it; lower.c keeps a form without for the others.
// A sum over the beginning of the row shares too (CPU), with maps that ask for nothing behind its end:
//
//   z = sum[j <= i](exp(x[j] - m))                      for j <= i:  e[j] = exp(x[j] - m);  z = z + e[j]
//   y[j] = if j <= i then exp(x[j] - m) / z else 0 ──▶  for j:       y[j] = if j <= i then e[j] / z else 0
#include "passes/lower.h"
#include "ir/affine.h"
#include "ir/rewrite.h"
#include <string.h>

enum {
  HEAVY = 6,            // operations (ops.def, flops) that cost more than a store to the first cache and a load
  HEAVY_GPU = 12,       // that cost more than a register which others could have
  MAX_ROWS = 2          // buffers
};

static const int64_t FAR = (int64_t)1 << 40;

// A member seen along the row: a reduction over it, or a map.
typedef struct Along {
  Eqn *q;
  int phase;            // how many reductions over the row end before it can start
  Expr *e;              // its body or term in the grid's indices and the row's; NULL: it has no loop along the row
  bool plain;           // evaluates e at every step, whatever the data
  Expr *end;            // of its steps, in the grid's indices; NULL: the row's
} Along;

// What gets a row of its own: an expression, and what stands for it in the members: itself, or the read of a result that has it as
// its body (the result is then written once and not read back).
typedef struct Kept { Expr *e, *from; int first; } Kept;

typedef struct Shared {
  Lower *l;
  int n;
  Along *m;
  Index *row;           // stands for the index along the row in all of them
  Expr *steps;
  VEC(Kept) found;
} Shared;

// ---- the members along the row -----------------------------------------------------------------

// The one index of q that is not the grid's, and its steps; NULL: none, or several.
static Index *row_index(Shared *s, const Member *m, Expr **steps) {
  const Eqn *q = m->q;
  Index *found = NULL;
  if (member_is_partial(m, s->l->u->ngrid) || q->scc || q->base || q->def->fmt) return NULL;
  for (int pos = 0; pos < q->n; pos++) {
    bool grid = false;
    for (int g = 0; g < s->l->u->ngrid; g++) grid |= m->pos[g] == pos;
    if (grid) continue;
    if (found) return NULL;
    found = q->ix[pos];
    *steps = q->extent[pos];
  }
  if (q->body->op != OP_REDUCE) return found;
  if (found || q->body->u.bind->n != 1 || !expr_is_int(reduce_lo(q->body, 0), 0)) return NULL;
  *steps = reduce_hi(q->body, 0);
  return q->body->u.bind->ix[0];
}

static int phase_of(const Shared *s, int i) {
  int phase = 0;
  for (int j = 0; j < i; j++) {
    if (!lower_reads(s->l, s->m[i].q, s->m[j].q->def)) continue;
    int after = s->m[j].phase + (s->m[j].q->body->op == OP_REDUCE && s->m[j].e);
    if (after > phase) phase = after;
  }
  return phase;
}

static bool is_of_grid(const Expr *e) { return !expr_has(e, OP_VAR) && !expr_has(e, OP_READ) && !expr_has(e, OP_FIELD); }

// Does the member run over the whole row, or a beginning of it?
static bool is_along(Shared *s, Along *m, Expr *steps, int n, Index **from, Expr **by) {
  if (lower_dims_only(steps)) {
    if (!s->steps) s->steps = steps;
    return s->steps == steps;
  }
  m->end = expr_subst(s->l->x, steps, n, from, by);
  return !pipe_is_gpu(s->l->p) && is_of_grid(m->end);
}

static void look_along(Shared *s, int i) {
  const Member *m = &s->l->u->m.v[i];
  Eqn *q = m->q;
  Expr *steps = NULL, *by[MAX_GRID + 1];
  Index *from[MAX_GRID + 1], *ix = row_index(s, m, &steps);
  int n = 0;
  s->m[i].q = q;
  if (ix) {
    for (int g = 0; g < s->l->u->ngrid; g++, n++) from[n] = q->ix[m->pos[g]], by[n] = expr_index(s->l->x, s->l->u->grid[g]);
    from[n] = ix;
    by[n++] = expr_index(s->l->x, s->row);
  }
  if (ix && is_along(s, &s->m[i], steps, n, from, by)) {
    bool reduce = q->body->op == OP_REDUCE;
    s->m[i].e = expr_subst(s->l->x, reduce ? reduce_term(q->body) : q->body, n, from, by);
    s->m[i].plain = !reduce || expr_is_true(reduce_cond(q->body));
  }
  s->m[i].phase = phase_of(s, i);
}

static bool at_least(Shared *s, Expr *a, Expr *b) {
  return range_prove_ge0(s->l->facts, s->l->x, expr_op2(s->l->x, OP_SUB, a, b, NO_SPAN));
}

// Members whose beginning may lie outside of the row are not along it.
static void check_ends(Shared *s) {
  for (int i = 0; i < s->n; i++)
    if (s->m[i].end && (!s->steps || !at_least(s, s->steps, s->m[i].end) || !at_least(s, s->m[i].end, expr_int(s->l->x, DT_I64, 0, NO_SPAN)))) s->m[i].e = NULL;
}

// ---- what is worth keeping ---------------------------------------------------------------------

typedef struct Work { const Index *row; bool decodes; int flops; } Work;

// An element of 16 bits or fewer is decoded, which a GPU does in one instruction.
static int decoding(const Expr *e) {
  bool narrow = e->op == OP_READ && dtype_is_float(e->u.t->dtype) && !dtype_is_wide(e->u.t->dtype);
  return !narrow ? 0 : dtypes[e->u.t->dtype].bits == 16 ? 2 : 8;
}

static void add_flops(void *cx, Expr *e) {
  Work *w = cx;
  if (expr_uses_index(e, w->row)) w->flops += ops[e->op].flops + (w->decodes ? decoding(e) : 0);
}

// Of a step: what does not change along the row is computed once.
static int flops_of(Shared *s, Expr *e) {
  Work w = { s->row, !pipe_is_gpu(s->l->p), 0 };
  expr_visit(s->l->p->scratch, e, add_flops, &w);
  return w.flops;
}

typedef struct Holds { const Expr *e; bool found; } Holds;
static void look_for(void *cx, Expr *e) { if (e == ((Holds *)cx)->e) ((Holds *)cx)->found = true; }

static bool holds(Shared *s, Expr *in, const Expr *e) {
  Holds h = { e, false };
  expr_visit(s->l->p->scratch, in, look_for, &h);
  return h.found;
}

enum { MAX_DEPTH = 40 };        // that is looked through

// Is e a part of `in` that is evaluated whatever the data?
static bool always(const Expr *in, const Expr *e, int fuel) {
  if (in == e) return true;
  if (fuel <= 0 || in->op == OP_REDUCE) return false;
  uint32_t n = ops[in->op].props & OP_LAZY ? 1 : in->nargs;
  if (in->op == OP_READ) return false;
  for (uint32_t k = 0; k < n; k++) if (always(in->arg[k], e, fuel - 1)) return true;
  return false;
}

// Does the condition say that the row's step is below `end`?
static bool is_below(Shared *s, const Expr *cond, Expr *end) {
  if (cond->op == OP_AND) return is_below(s, cond->arg[0], end) || is_below(s, cond->arg[1], end);
  bool less = cond->op == OP_LT || cond->op == OP_LE, equal = cond->op == OP_LE || cond->op == OP_GE;
  if (!less && cond->op != OP_GT && cond->op != OP_GE) return false;
  Expr *step = cond->arg[less ? 0 : 1], *most = cond->arg[less ? 1 : 0];
  if (!expr_is_index(step, s->row) || expr_uses_index(most, s->row) || !is_of_grid(most)) return false;
  return at_least(s, end, expr_plus(s->l->x, most, equal)) && at_least(s, most, expr_int(s->l->x, DT_I64, -FAR, NO_SPAN));     // it has not wrapped
}

// Is e asked for in `in` at steps below `end` alone?
static bool only_below(Shared *s, Expr *in, const Expr *e, Expr *end, int fuel) {
  if (!holds(s, in, e)) return true;
  if (in == e || fuel <= 0) return false;
  bool cut = in->op == OP_SELECT && is_below(s, in->arg[0], end);
  for (uint32_t k = 0; k < in->nargs; k++) if (!(cut && k == 1) && !only_below(s, in->arg[k], e, end, fuel - 1)) return false;
  return true;
}

// Does member i find e at each step at which it reads it, when member `first` computes it?
static bool reaches(Shared *s, int first, int i, const Expr *e) {
  Expr *end = s->m[first].end;
  return !end || end == s->m[i].end || only_below(s, s->m[i].e, e, end, MAX_DEPTH);
}

// The first member that evaluates e, when a later phase does too.
static int first_of_two(Shared *s, Expr *e) {
  int first = -1;
  bool later = false;
  for (int i = 0; i < s->n; i++) {
    if (!s->m[i].e || !holds(s, s->m[i].e, e)) continue;
    if (first < 0 || s->m[i].phase < s->m[first].phase) first = i;
  }
  for (int i = 0; i < s->n && first >= 0; i++)
    later |= s->m[i].e && s->m[i].phase > s->m[first].phase && holds(s, s->m[i].e, e);
  for (int i = 0; i < s->n && later; i++) later = !s->m[i].e || !holds(s, s->m[i].e, e) || reaches(s, first, i, e);
  return later && s->m[first].plain && always(s->m[first].e, e, MAX_DEPTH) ? first : -1;
}

// Without the parts that are kept already.
static int flops_left(Shared *s, Expr *e) {
  int flops = flops_of(s, e);
  for (int k = 0; k < s->found.n; k++) if (holds(s, e, s->found.v[k].e)) flops -= flops_of(s, s->found.v[k].e);
  return flops;
}

static bool is_heavy(Shared *s, Expr *e) { return pipe_is_gpu(s->l->p) ? flops_left(s, e) >= HEAVY_GPU : flops_of(s, e) >= HEAVY; }

static bool worth_a_buffer(Shared *s, Expr *e) {
  return expr_uses_index(e, s->row) && e->op != OP_READ && dtype_is_float((Dtype)e->dtype) && is_heavy(s, e) && first_of_two(s, e) >= 0;
}

// The outermost parts of e that are.
static void find(Shared *s, Expr *e, Map *seen) {
  if (s->found.n + s->l->nrows >= MAX_ROWS || map_get(seen, (uint64_t)e->id + 1)) return;
  map_put(seen, (uint64_t)e->id + 1, e);
  if (worth_a_buffer(s, e)) {
    vec_push(s->l->p->scratch, &s->found, (Kept){ e, e, first_of_two(s, e) });
    return;
  }
  if (e->op == OP_REDUCE) return;
  for (uint32_t k = 0; k < e->nargs; k++) find(s, e->arg[k], seen);
}

// The read of member i's element in the grid's indices and the row's.
static Expr *plain_read(Shared *s, int i) {
  const Member *m = &s->l->u->m.v[i];
  Expr *sub[8];
  for (int pos = 0; pos < m->q->n; pos++) {
    sub[pos] = expr_index(s->l->x, s->row);
    for (int g = 0; g < s->l->u->ngrid; g++) if (m->pos[g] == pos) sub[pos] = expr_index(s->l->x, s->l->u->grid[g]);
  }
  return expr_read(s->l->x, m->q->def, m->q->n, sub, NULL, m->q->at);
}

// A result that a later loop over the row reads: it need not come back from memory.
static void find_result(Shared *s, int i) {
  const Eqn *q = s->m[i].q;
  if (!s->m[i].e || q->body->op == OP_REDUCE || !fn_is_output(q->def) || s->found.n + s->l->nrows >= MAX_ROWS) return;
  Expr *read = plain_read(s, i);
  bool later = false;
  for (int j = 0; j < s->n; j++) later |= s->m[j].e && s->m[j].phase > s->m[i].phase && holds(s, s->m[j].e, read);
  if (later) vec_push(s->l->p->scratch, &s->found, (Kept){ expr_cast(s->l->x, q->def->dtype, s->m[i].e, q->at), read, i });
}

// ---- the group with equations of their own for them ----------------------------------------------

typedef struct Swap { int n; Expr **from, **to; } Swap;
static Expr *swap_one(void *cx, ExprTable *x, Expr *e) {
  (void)x;
  const Swap *w = cx;
  for (int k = 0; k < w->n; k++) if (e == w->from[k]) return w->to[k];
  return e;
}

// Is what `other` keeps there when the row `own` is computed?
static bool is_there(const Shared *s, const Kept *other, const Kept *own) {
  return !own || (other->first < own->first && s->m[other->first].phase <= s->m[own->first].phase);
}

// e, of a member or (`own`) of a row, with reads in the place of what is kept; what holds others goes first: an expression's id is greater
// than its parts'.
static Expr *swapped(Shared *s, Expr *e, const Swap *w, const Kept *own) {
  uint32_t before = UINT32_MAX;
  for (int round = 0; round < w->n; round++) {
    int next = -1;
    for (int k = 0; k < w->n; k++) if (w->from[k]->id < before && (next < 0 || w->from[k]->id > w->from[next]->id)) next = k;
    if (next < 0) break;
    before = w->from[next]->id;
    Swap one = { 1, &w->from[next], &w->to[next] };
    if (is_there(s, &s->found.v[next], own)) e = expr_map(s->l->x, e, swap_one, &one);
  }
  return e;
}

// e, in the grid's indices and the row's, in those of q.
static Expr *in_own_indices(Shared *s, const Eqn *q, Expr *e) {
  Index *from[MAX_GRID + 1];
  Expr *by[MAX_GRID + 1];
  for (int k = 0; k < q->n; k++) {
    from[k] = k < s->l->u->ngrid ? s->l->u->grid[k] : s->row;
    by[k] = expr_index(s->l->x, q->ix[k]);
  }
  return expr_subst(s->l->x, e, q->n, from, by);
}

// name[grid, row], still without a value, of e's type, up to `end`, and the read of it in the grid's indices.
static Eqn *make_row(Shared *s, Expr *e, const char *name, Expr *end, Expr **read) {
  Lower *l = s->l;
  const Group *u = l->u;
  Index *ix[MAX_GRID + 1];
  Expr *sub[MAX_GRID + 1], *extent[MAX_GRID + 1];
  int n = u->ngrid + 1;
  for (int k = 0; k < n; k++) {
    Index *from = k < u->ngrid ? u->grid[k] : s->row;
    ix[k] = index_new(l->x, from->name, from->at);
    sub[k] = expr_index(l->x, from);
    extent[k] = k < u->ngrid ? u->extent[k] : s->steps;
  }
  Tensor *t = fn_tensor(l->f, intern(l->f->names, arena_printf(l->p->scratch, "%s_row", name)), ROLE_LOCAL, (Dtype)e->dtype, NULL, n, extent, e->at);
  Eqn *q = arena_new(l->p->a, Eqn);
  *q = (Eqn){ .def = t, .n = n, .order_ix = { -1, -1 }, .at = e->at };
  memcpy(q->ix, ix, (size_t)n * sizeof *ix);
  memcpy(q->extent, extent, (size_t)n * sizeof *extent);
  if (end) q->extent[n - 1] = in_own_indices(s, q, end);
  *read = expr_read(l->x, t, n, sub, NULL, e->at);
  return q;
}

static bool is_grid_position(const Group *u, const Member *m, int k) {
  for (int g = 0; g < u->ngrid; g++) if (m->pos[g] == k) return true;
  return false;
}

// A copy of member i in the grid's indices and the row's, with reads in the place of what is kept.
static Eqn *rewritten(Shared *s, int i, Swap *w) {
  Lower *l = s->l;
  const Member *m = &l->u->m.v[i];
  Eqn *q = arena_new(l->p->a, Eqn);
  *q = *m->q;
  Expr *e = swapped(s, s->m[i].e, w, NULL);
  for (int k = 0; k < s->found.n; k++) if (s->found.v[k].first == i && s->found.v[k].from != s->found.v[k].e) e = w->to[k];
  for (int g = 0; g < l->u->ngrid; g++) q->ix[m->pos[g]] = l->u->grid[g];
  if (m->q->body->op == OP_REDUCE) {
    Expr *lo = reduce_lo(m->q->body, 0), *hi = reduce_hi(m->q->body, 0), *yes = expr_bool(l->x, true, q->at), *cond = reduce_cond(m->q->body);
    if (!expr_is_true(cond)) return NULL;
    if (s->m[i].end) hi = s->m[i].end;
    q->body = expr_reduce(l->x, m->q->body->u.bind->reducer, 1, &s->row, &lo, &hi, yes, e, q->at);
    return q;
  }
  for (int k = 0; k < q->n; k++) if (m->q->extent[k] == s->steps && !is_grid_position(l->u, m, k)) q->ix[k] = s->row;
  q->body = e;
  return q;
}

static Group *regroup(Shared *s) {
  Lower *l = s->l;
  Group *u = arena_new(l->p->a, Group);
  *u = *l->u;
  u->m.v = NULL;
  u->m.n = u->m.cap = 0;
  Expr *read[MAX_ROWS], *from[MAX_ROWS];
  Eqn *row[MAX_ROWS];
  for (int k = 0; k < s->found.n; k++) {
    Kept *f = &s->found.v[k];
    row[k] = make_row(s, f->e, s->m[f->first].q->def->root->name, s->m[f->first].end, &read[k]);
    from[k] = f->from;
    l->row_tensor[l->nrows++] = row[k]->def;
  }
  Swap w = { s->found.n, from, read };
  for (int k = 0; k < s->found.n; k++) row[k]->body = in_own_indices(s, row[k], swapped(s, s->found.v[k].e, &w, &s->found.v[k]));
  for (int i = 0; i < s->n; i++) {
    for (int k = 0; k < s->found.n; k++) {
      if (s->found.v[k].first != i) continue;
      Member m = { .q = row[k] };
      for (int g = 0; g < u->ngrid; g++) m.pos[g] = g;
      vec_push(l->p->a, &u->m, m);
    }
    Member m = l->u->m.v[i];
    bool uses = false;
    for (int k = 0; k < s->found.n && s->m[i].e; k++) uses |= s->found.v[k].first == i || holds(s, s->m[i].e, from[k]);
    if (uses) m.q = rewritten(s, i, &w);
    if (!m.q) return NULL;
    vec_push(l->p->a, &u->m, m);
  }
  return u;
}

// A tensor of this kernel alone that has one row for each grid point: it need not be a whole tensor in memory.
static bool is_row(Shared *s, int i) {
  const Member *m = &s->l->u->m.v[i];
  const Tensor *t = m->q->def;
  if (t->role != ROLE_LOCAL || t->fmt || m->q->scc || dtypes[t->dtype].bits < 8 || m->q->n != s->l->u->ngrid + 1 || lower_read_elsewhere(s->l, t)) return false;
  int row = m->q->n - 1;        // the last, so that elements lie in its order
  for (int g = 0; g < s->l->u->ngrid; g++) if (m->pos[g] == row) return false;
  if (!s->steps) s->steps = m->q->extent[row];
  return m->q->extent[row] == s->steps;
}

static void find_rows(Shared *s) {
  for (int i = 0; i < s->n && s->l->nrows < MAX_ROWS; i++)
    if (is_row(s, i)) s->l->row_tensor[s->l->nrows++] = s->l->u->m.v[i].q->def;
}

// The group with rows for what its members share; NULL: there is nothing.
static Group *share_along(Shared *s) {
  Lower *l = s->l;
  for (int i = 0; i < s->n; i++) look_along(s, i);
  find_rows(s);
  check_ends(s);
  if (!s->steps || !lower_dims_only(s->steps)) { l->nrows = 0; return NULL; }
  Map seen = map_make(l->p->scratch);
  for (int i = 0; i < s->n; i++) find_result(s, i);
  for (int i = 0; i < s->n; i++) if (s->m[i].e) find(s, s->m[i].e, &seen);
  return s->found.n ? regroup(s) : l->nrows ? l->u : NULL;
}

// The group with its shared parts as rows of their own, l->row_tensor; NULL when there are none. *steps: of a row.
Group *lower_share(Lower *l, Expr **steps) {
  if (!l->u->ngrid || l->u->m.n > 64) return NULL;
  Shared s = { .l = l, .n = l->u->m.n, .m = arena_array(l->p->scratch, Along, l->u->m.n + 1) };
  s.row = index_new(l->x, intern(l->f->names, "j"), NO_SPAN);
  ranges_push(l->facts);
  for (int g = 0; g < l->u->ngrid; g++) ranges_index(l->facts, l->u->grid[g], expr_int(l->x, DT_I64, 0, NO_SPAN), l->u->extent[g]);
  Group *made = share_along(&s);
  ranges_pop(l->facts);
  *steps = s.steps;
  return made;
}
