// lower_columns.c: reductions along columns, and along few long rows, cut into parts.
//
//   s[j] = sum[i](x[i, j])   ──▶   for part < 64, j, in parallel:  s_part[part, j] = sum of its rows
//                                  for j, in parallel:             s[j] = sum[part](s_part[part, j]), in order
//
// A grid point of a column reads memory far apart, so points run together (`jam`), and then few columns are few tiles: rows are
// shared out instead. A single long row is shared out too, and then what is computed from its sums. One-pass cascades (a
// column's mean and variance) leave all their states. The cut does not depend on the number of threads.
#include "passes/lower.h"

// ---- which members -----------------------------------------------------------------------------

typedef struct Access { const Eqn *q; const Index *column, *reduced; int columns, others; } Access;

// x[…, reduced, …, column] walks a row of memory over grid points. Each of its elements has one grid point, else the parts of all of
// them would be more than what is read.
static void look_at_read(void *cx, Expr *e) {
  Access *a = cx;
  if (e->op != OP_READ || !e->u.t->rank || !expr_uses_index(e, a->reduced) || !expr_uses_index(e, a->column)) return;
  Expr *last = e->arg[e->u.t->rank - 1];
  bool all = last->op == OP_INDEX && last->u.ix == a->column;
  for (int k = 0; k < a->q->n; k++) all &= expr_uses_index(e, a->q->ix[k]);
  if (all) a->columns++;
  else a->others++;
}

bool lower_is_column(Lower *l, const Member *m) {
  const Eqn *q = m->q;
  const Group *u = l->u;
  if (q->body->op != OP_REDUCE || q->scc || q->base || q->def->fmt || q->body->u.bind->n != 1 || q->n != u->ngrid) return false;
  Access a = { q, q->ix[m->pos[u->ngrid - 1]], q->body->u.bind->ix[0], 0, 0 };
  expr_visit(l->p->scratch, q->body, look_at_read, &a);
  return a.columns > 0 && a.others == 0;
}

// in[i]: item i, of member m[i], is a reduction that fits and can run in parts, with the others in one pass. *steps: of its range.
bool lower_find_split(Lower *l, int n, Item *items, const Member *const *m, LowerFits fits, bool *in, Expr **steps) {
  NextLoop *next = arena_array(l->p->scratch, NextLoop, n);
  bool *loops = arena_array(l->p->scratch, bool, n), any = false;
  int first = -1;
  for (int i = 0; i < n; i++) loops[i] = lower_next_loop(l, &items[i], &next[i]) && fits(l, m[i]);
  for (int i = 0; i < n && first < 0; i++) if (loops[i]) first = i;
  if (first < 0 || !expr_is_int(next[first].lo, 0) || !lower_dims_only(next[first].hi)) return false;
  for (int i = 0; i < n; i++) loops[i] = loops[i] && lower_same_loop(&next[first], &next[i]);
  lower_find_cascade(l, n, items, next, loops, in);
  for (int i = 0; i < n; i++) {
    if (in[i] && lower_needs_more(l, n, items, in, i)) in[i] = false;
    any |= in[i];
  }
  *steps = next[first].hi;
  return any;
}

// ---- the two nests -----------------------------------------------------------------------------

static Expr *part_end(Lower *l, Expr *part, Expr *step, Expr *steps) {
  return expr_op2(l->x, OP_MIN, expr_op2(l->x, OP_MUL, part, step, NO_SPAN), steps, NO_SPAN);
}

// Of one part: whole blocks of lanes, where lanes lie along the range.
static Expr *part_steps(Lower *l, Expr *steps, Expr *count, int64_t tile) {
  ExprTable *x = l->x;
  int64_t unit = tile == LOWER_TILE_COLUMN ? 1 : LOWER_CHUNK_ALIGN;
  Expr *round = expr_int(x, DT_I64, LOWER_CHUNKS * unit - 1, NO_SPAN), *all = unit == 1 ? count : expr_int(x, DT_I64, LOWER_CHUNKS * unit, NO_SPAN);
  Expr *step = expr_op2(x, OP_FLOORDIV, expr_op2(x, OP_ADD, steps, round, NO_SPAN), all, NO_SPAN);
  return unit == 1 ? step : expr_op2(x, OP_MUL, step, expr_int(x, DT_I64, unit, NO_SPAN), NO_SPAN);
}

static void leave_parts(Lower *l, Item *items, Index **grid, const bool *in, Expr *steps, int64_t tile, Parts *p, Expr *work) {
  ExprTable *x = l->x;
  Expr *zero = expr_int(x, DT_I64, 0, NO_SPAN), *one = expr_int(x, DT_I64, 1, NO_SPAN);
  Expr *step = part_steps(l, steps, p->count, tile);
  Index *c = index_new(x, intern(l->f->names, "part"), NO_SPAN);
  Stmt *loop = loop_open(l, c, zero, p->count, HOW_PAR), *inner[MAX_GRID];
  loop->parallel_if = work;
  lower_open_grid(l, grid, inner);
  lower_start_items(l, items, grid);
  p->at[0] = c;
  for (int g = 0; g < l->u->ngrid; g++) p->at[g + 1] = grid[g];
  Expr *part = expr_index(x, c);
  p->from = part_end(l, part, step, steps);
  p->to = part_end(l, expr_op2(x, OP_ADD, part, one, NO_SPAN), step, steps);
  lower_parts(l, l->u->m.n, items, in, tile, p);
  lower_close_grid(l, inner);
  loop_close(l, loop);
}

// Combines the parts, then goes on with the members that are not in parts: inside the same grid points, or spread over all cores.
static void merge_parts(Lower *l, Item *items, Index **grid, const bool *in, bool spread, Parts *p, Expr *work) {
  Stmt *loop[MAX_GRID];
  lower_open_grid(l, grid, loop);
  loop[0]->parallel_if = spread ? NULL : work;
  for (int g = 0; g < l->u->ngrid && spread; g++) loop[g]->how = HOW_SEQ;        // they are few
  lower_start_items(l, items, grid);
  for (int g = 0; g < l->u->ngrid; g++) p->at[g + 1] = grid[g];
  lower_merge(l, l->u->m.n, items, in, p);
  if (spread) {
    lower_close_grid(l, loop);
    lower_open_grid(l, grid, loop);
    loop[0]->parallel_if = work;
    lower_start_items(l, items, grid);
    l->spread = true;
  }
  int rest = 0;
  for (int i = 0; i < l->u->m.n; i++) if (!in[i]) items[rest++] = items[i];
  lower_block(l, rest, items);
  lower_close_grid(l, loop);
  l->spread = false;
}

// What a grid point has one of, for a kernel of few of them.
static void few_points(Lower *l) {
  Expr *extent = expr_int(l->x, DT_I64, LOWER_FEW_ROWS, NO_SPAN);
  l->few = true;
  for (int i = 0; i < l->u->m.n; i++) {
    Tensor *t = l->u->m.v[i].q->def;
    if (t->role != ROLE_LOCAL || t->fmt || t->rank != l->u->ngrid || dtypes[t->dtype].bits < 8 || lower_read_elsewhere(l, t)) continue;
    Tensor *c = fn_tensor(l->f, t->name, ROLE_LOCAL, t->dtype, NULL, 1, &extent, t->at);
    Stmt *s = stmt_new(l->p->a, ST_ALLOC);
    s->t = c;
    lower_emit(l, s);
    vec_push(l->p->scratch, &l->few_tensor, t);
    vec_push(l->p->scratch, &l->few_local, c);
  }
}

static bool lower_in_parts(Lower *l, LowerFits fits, int64_t tile, bool spread, Expr *work, Stmt **body, Expr **steps) {
  int n = l->u->m.n;
  Index *grid[MAX_GRID];
  bool *in = arena_array(l->p->scratch, bool, n + 1);
  Item *items = arena_array(l->p->scratch, Item, n + 1);
  const Member **m = arena_array(l->p->scratch, const Member *, n + 1);
  lower_forget(l);
  scope_open(l, NULL, false);
  for (int g = 0; g < l->u->ngrid; g++) grid[g] = index_new(l->x, l->u->grid[g]->name, l->u->grid[g]->at);
  lower_start_items(l, items, grid);
  for (int i = 0; i < n; i++) m[i] = &l->u->m.v[i];
  bool found = l->u->ngrid && lower_find_split(l, n, items, m, fits, in, steps);
  for (int i = 0; i < n && spread; i++) found &= in[i] || lower_expands(items[i].q);
  if (found) {
    Parts p = { .count = expr_int(l->x, DT_I64, LOWER_CHUNKS, NO_SPAN) };
    if (spread) few_points(l);
    l->online = true;
    l->grid_depth = l->u->ngrid + 1;
    leave_parts(l, items, grid, in, *steps, tile, &p, work);
    l->grid_depth = l->u->ngrid;
    merge_parts(l, items, grid, in, spread, &p, work);
  }
  *body = scope_close(l);
  return found;
}

// The kernel with its columns in parts; false when it has none.
bool lower_columns(Lower *l, Expr *work, Stmt **body, Expr **steps) {
  return lower_in_parts(l, lower_is_column, LOWER_TILE_COLUMN, false, work, body, steps);
}

static bool is_row(Lower *l, const Member *m) {
  const Eqn *q = m->q;
  return q->body->op == OP_REDUCE && !q->scc && !q->base && !q->def->fmt && q->body->u.bind->n == 1 && q->n == l->u->ngrid && !lower_is_column(l, m);
}

// The kernel with its rows in parts, and its maps spread; false when more than these is in it.
bool lower_long_rows(Lower *l, Expr *work, Stmt **body, Expr **steps) {
  return lower_in_parts(l, is_row, lower_tile_steps(l), true, work, body, steps);
}
