// lower_team.c: reductions along columns, for a GPU.
//
//   s[j] = sum[i](x[i, j])   ──▶   for part < P, j, in parallel:  by a team of R:  s_part[part, j] = sum of the part's rows
//                                  for j, in parallel:            by a team of R:  s[j] = sum[part](s_part[part, j])
//
// Threads lie side by side on columns (gpu_columns.c). A team's threads have the same columns and run a share of the part's rows each;
// what FOLD then combines are the states of one-pass cascades too, which have been brought to one reference. Where columns are
// many, there is one part, and its team finishes. The number of parts follows from the machine and the columns, not from the
// rows' values, so bits are the same in every run. The sum of [16384, 16384] f32 over rows on an H100: 349.8 us where each thread had a range of rows,
// 32 threads lay side by side and 32 merged two parts; 346.1 as it is now.
#include "passes/lower.h"

enum {
  THREADS = 256,                // of a block
  MOST_SIDE = 32,               // of these, side by side: a warp reads 512 bytes of a row
  WIDE = 2048, WIDE_SIDE = 64,  // columns, in vectors, from which on a block has more of them side by side, as long as they leave room for parts
  LEAST_SIDE = 4,
  SHARE = 16,                   // rows of a thread, at least
  TILE = 8,                     // rows that a thread has in flight
  BLOCKS = 2, FEW_BLOCKS = 4, WIDE_BLOCKS = 4,      // of a multiprocessor; where columns alone give less than one for every second of them (measured on an H100)
  FEW_PARTS = 16, FEW_TEAM = 8, // parts up to which a smaller team merges them
  MERGE_SIDE = 8,               // parts come from the shared cache in sectors of 32 bytes: eight f32
  DEFAULT_TEAM = 8              // where the number of columns is not known
};

static Expr *number(Lower *l, int64_t v) { return expr_int(l->x, DT_I64, v, NO_SPAN); }

// As one number where nothing in it is a dimension.
static Expr *op(Lower *l, Op op, Expr *a, Expr *b) {
  Expr *e = expr_op2(l->x, op, a, b, NO_SPAN);
  Scalar v;
  if ((op == OP_MUL || op == OP_FLOORDIV) && expr_is_int(b, 1)) return a;
  return expr_fold(e, &v) ? number(l, v.i) : e;
}

static Expr *up(Lower *l, Expr *a, Expr *b) { return op(l, OP_FLOORDIV, op(l, OP_SUB, op(l, OP_ADD, a, b), number(l, 1)), b); }

// ---- the shape ---------------------------------------------------------------------------------

typedef struct Shape { int team; Expr *parts, *share; } Shape;      // share: rows of a thread

typedef struct Widest { const Index *column; int bits; } Widest;
static void see_width(void *cx, Expr *e) {
  Widest *w = cx;
  if (e->op != OP_READ || !e->u.t->rank || e->arg[e->u.t->rank - 1]->op != OP_INDEX || e->arg[e->u.t->rank - 1]->u.ix != w->column) return;
  if (dtypes[e->u.t->dtype].bits > w->bits) w->bits = dtypes[e->u.t->dtype].bits;
}

// Columns of a thread: 16 bytes of the widest tensor.
static int64_t lanes_of(Lower *l, int n, const Item *items, const Member *const *m, const bool *in, int64_t columns) {
  int bits = 1;
  for (int i = 0; i < n; i++) {
    if (!in[i]) continue;
    Widest w = { items[i].q->ix[m[i]->pos[l->u->ngrid - 1]], bits };
    expr_visit(l->p->scratch, items[i].q->body, see_width, &w);
    bits = w.bits;
  }
  int64_t lanes = l->p->machine->vector_bytes * 8 / bits;
  while (lanes > 1 && columns % lanes) lanes /= 2;
  return lanes > 1 ? lanes : 1;
}

static Shape shape_of(Lower *l, int n, const Item *items, const Member *const *m, const bool *in, Expr *steps) {
  const Group *u = l->u;
  Expr *columns = u->extent[u->ngrid - 1], *points = number(l, 1), *one = number(l, 1);
  Scalar known;
  int64_t lanes = 1;
  bool wide = false;
  int side = THREADS / DEFAULT_TEAM;
  if (expr_fold(columns, &known) && known.i > 0) {
    lanes = lanes_of(l, n, items, m, in, known.i);
    wide = known.i / lanes >= WIDE && known.i / lanes / MOST_SIDE < (int64_t)l->p->machine->cores * BLOCKS;
    for (side = LEAST_SIDE; side < (wide ? WIDE_SIDE : MOST_SIDE) && side < known.i / lanes; side *= 2) { }
  }
  Shape s = { .team = THREADS / side };
  for (int g = 0; g < u->ngrid; g++) points = op(l, OP_MUL, points, u->extent[g]);
  Expr *blocks = op(l, OP_MAX, up(l, points, number(l, lanes * side)), one);
  bool many = expr_fold(blocks, &known) && known.i * 2 >= l->p->machine->cores;
  Expr *most = number(l, (int64_t)l->p->machine->cores * (wide ? WIDE_BLOCKS : many ? BLOCKS : FEW_BLOCKS));
  Expr *parts = op(l, OP_MAX, op(l, OP_MIN, op(l, OP_FLOORDIV, most, blocks), op(l, OP_FLOORDIV, steps, number(l, (int64_t)s.team * SHARE))), one);
  Expr *share = up(l, steps, op(l, OP_MUL, parts, number(l, s.team)));
  s.share = op(l, OP_MAX, op(l, OP_MUL, up(l, share, number(l, TILE)), number(l, TILE)), number(l, TILE));
  s.parts = expr_is_int(parts, 1) ? parts : op(l, OP_MAX, up(l, steps, op(l, OP_MUL, s.share, number(l, s.team))), one);
  return s;
}

// ---- the nests ---------------------------------------------------------------------------------

typedef struct Columns {
  Lower *l;
  int n;                        // members that are not done yet
  Item *items; const Member **m;
  bool *in;
} Columns;

static void start(Columns *c, Index **grid) {
  Item *all = arena_array(c->l->p->scratch, Item, c->l->u->m.n);
  lower_start_items(c->l, all, grid);
  for (int i = 0; i < c->n; i++) c->items[i] = all[c->m[i] - c->l->u->m.v];
}

static Stmt *open_team(Lower *l, Parts *p, int size) {
  p->team = index_new(l->x, intern(l->f->names, "member"), NO_SPAN);
  p->team_size = size;
  return loop_open(l, p->team, number(l, 0), number(l, size), HOW_TEAM);
}

static Expr *least(Lower *l, Expr *a, Expr *b) { return op(l, OP_MIN, a, b); }

// The rows of the part.
static void share_rows(Lower *l, const Shape *s, Expr *part, Expr *steps, Parts *p) {
  Expr *size = number(l, s->team), *first = part ? op(l, OP_MUL, part, size) : number(l, 0), *next = part ? op(l, OP_MUL, op(l, OP_ADD, part, number(l, 1)), size) : size;
  p->team_from = part ? lower_named(l, least(l, op(l, OP_MUL, first, s->share), steps), "first") : number(l, 0);
  p->team_to = part ? lower_named(l, least(l, op(l, OP_MUL, next, s->share), steps), "last") : steps;
  p->from = part ? op(l, OP_ADD, first, expr_index(l->x, p->team)) : expr_index(l->x, p->team);       // in shares
  p->share = s->share;
  p->steps = steps;
}

// Of the part, the thread's.
void lower_own_rows(Lower *l, Parts *p) {
  p->from = lower_named(l, least(l, op(l, OP_MUL, p->from, p->share), p->steps), "from");
  p->to = lower_named(l, least(l, op(l, OP_ADD, p->from, p->share), p->steps), "to");
}

// Those of the members left that read nothing of the others left, and need no loop: they follow in the nest at hand.
static void finish_leaves(Columns *c) {
  Lower *l = c->l;
  NextLoop next;
  Item *ready = arena_array(l->p->scratch, Item, c->n + 1);
  int n = 0, rest = 0;
  for (int i = 0; i < c->n; i++) {
    if (c->in[i]) continue;
    bool leaf = !lower_next_loop(l, &c->items[i], &next);
    for (int k = 0; k < rest; k++) leaf &= !lower_reads(l, c->items[i].q, c->items[k].q->def);
    if (leaf) { ready[n++] = c->items[i]; continue; }
    c->items[rest] = c->items[i];
    c->m[rest++] = c->m[i];
  }
  c->n = rest;
  if (n) lower_block(l, n, ready);
}

static void in_one_part(Columns *c, const Shape *s, Expr *steps) {
  Lower *l = c->l;
  Index *grid[MAX_GRID];
  Stmt *loop[MAX_GRID];
  Parts p = { .count = s->parts };
  l->grid_depth = l->u->ngrid + 1;
  lower_open_grid(l, grid, loop);
  Stmt *team = open_team(l, &p, s->team);
  start(c, grid);
  share_rows(l, s, NULL, steps, &p);
  lower_whole(l, c->n, c->items, c->in, TILE, &p);
  finish_leaves(c);
  loop_close(l, team);
  lower_close_grid(l, loop);
}

static void leave_parts(Columns *c, const Shape *s, Expr *steps, Parts *p) {
  Lower *l = c->l;
  Index *grid[MAX_GRID], *part = index_new(l->x, intern(l->f->names, "part"), NO_SPAN);
  Stmt *loop[MAX_GRID], *parts = loop_open(l, part, number(l, 0), s->parts, HOW_PAR);
  l->grid_depth = l->u->ngrid + 2;
  lower_open_grid(l, grid, loop);
  Stmt *team = open_team(l, p, s->team);
  start(c, grid);
  p->at[0] = part;
  for (int g = 0; g < l->u->ngrid; g++) p->at[g + 1] = grid[g];
  share_rows(l, s, expr_index(l->x, part), steps, p);
  lower_parts(l, c->n, c->items, c->in, TILE, p);
  loop_close(l, team);
  lower_close_grid(l, loop);
  loop_close(l, parts);
}

static void merge_parts(Columns *c, Parts *p) {
  Lower *l = c->l;
  bool few = p->count->op == OP_CONST && p->count->u.v.i <= FEW_PARTS;
  Index *grid[MAX_GRID];
  Stmt *loop[MAX_GRID];
  l->grid_depth = l->u->ngrid + 1;
  lower_open_grid(l, grid, loop);
  Stmt *team = open_team(l, p, few ? FEW_TEAM : THREADS / MERGE_SIDE);
  start(c, grid);
  for (int g = 0; g < l->u->ngrid; g++) p->at[g + 1] = grid[g];
  lower_merge(l, c->n, c->items, c->in, p);
  finish_leaves(c);
  loop_close(l, team);
  lower_close_grid(l, loop);
}

// What is no column, or needs what is none: maps over more than the grid run in parallel.
static void the_others(Columns *c) {
  Lower *l = c->l;
  Index *grid[MAX_GRID];
  Stmt *loop[MAX_GRID];
  l->grid_depth = l->u->ngrid;
  lower_open_grid(l, grid, loop);
  start(c, grid);
  l->spread = true;
  lower_block(l, c->n, c->items);
  l->spread = false;
  lower_close_grid(l, loop);
}

static bool find(Columns *c, Expr **steps) {
  Lower *l = c->l;
  Index *grid[MAX_GRID];
  for (int g = 0; g < l->u->ngrid; g++) grid[g] = index_new(l->x, l->u->grid[g]->name, l->u->grid[g]->at);
  start(c, grid);
  return lower_find_split(l, c->n, c->items, c->m, lower_is_column, c->in, steps);
}

// The kernel with its columns shared by teams; false when it has none. *steps: of the first.
bool lower_team_columns(Lower *l, Stmt **body, Expr **steps) {
  Columns c = { .l = l, .n = l->u->m.n };
  Expr *now;
  int rounds = 0;
  c.items = arena_array(l->p->scratch, Item, c.n + 1);
  c.m = arena_array(l->p->scratch, const Member *, c.n + 1);
  c.in = arena_array(l->p->scratch, bool, c.n + 1);
  for (int i = 0; i < c.n; i++) c.m[i] = &l->u->m.v[i];
  lower_forget(l);
  scope_open(l, NULL, false);
  l->online = true;
  for (; l->u->ngrid && c.n && find(&c, &now); rounds++) {
    Shape s = shape_of(l, c.n, c.items, c.m, c.in, now);
    if (!rounds) *steps = now;
    if (expr_is_int(s.parts, 1)) { in_one_part(&c, &s, now); continue; }
    Parts p = { .count = s.parts };
    leave_parts(&c, &s, now, &p);
    merge_parts(&c, &p);
  }
  if (rounds && c.n) the_others(&c);
  *body = scope_close(l);
  return rounds > 0;
}
