// gpu_columns.c: threads side by side on columns, each with a few of them, and teams that share their rows.
//
//   par j in 0 .. D                           let point = block * 32 + thread % 32;  member = thread // 32;  first = point * 4
//     team member in 0 .. 8                   alloc s: f32[4] = 0
//       var s = 0                             for(8 at a time) i in from .. to
//       for i in from .. to            ──▶      alloc x_v: f32[4];  x_v[0 ..] = 4 of x[i, first]
//         s = s + x[i, j]                       unroll v in 0 .. 4:  s[v] = s[v] + x_v[v]
//       fold s = sum                          unroll v in 0 .. 4:  fold s[v] = sum       (over the threads 32 apart)
//       y[j] = s                              if member == 0:  4 of y[first] = s[0 ..]
//
// The threads of a warp read a row's memory side by side, each 16 bytes; the rows of a loop are taken several at a time, so that
// many loads are on their way. Variables become arrays over a thread's columns (jam.c). A block's threads that have no column
// run along with the last that has one: barriers need all of them.
#include "passes/gpu_vector.h"

enum {
  MOST_LANES = 16,
  MOST_WORDS = 92,              // of a thread's arrays, and one more column's: what is computed beside
  RESIDENT = 2,                 // blocks of a multiprocessor that registers leave room for: compilers want to be told, or spill for more
  MOST_ROWS = 8,                // of a loop at a time
  MOST_TILE = 16                // rows of a tile that is unrolled
};

typedef struct Columns {
  Nest *n; Gpu *g;
  Index *ix; Expr *extent;      // of the columns: the nest's last
  Index *member; int team;      // NULL, 1: none
  int threads, side;            // of a block; side by side
  int lanes;                    // columns of a thread
  Map written;
} Columns;

// ---- what it is for ----------------------------------------------------------------------------

typedef struct Access { Columns *c; const Stmt *loop; int columns, rows, bits; } Access;

static void look_at_read(void *cx, Expr *e) {
  Access *a = cx;
  if (e->op != OP_READ || !e->u.t->rank || e->u.t->fmt || e->u.t->role == ROLE_TABLE) return;
  Expr *last = e->arg[e->u.t->rank - 1];
  if (gpu_is_step(a->c->g, last, a->c->ix)) {
    a->columns++;
    if (dtypes[e->u.t->dtype].bits > a->bits) a->bits = dtypes[e->u.t->dtype].bits;
  } else if (gpu_is_step(a->c->g, last, a->loop->ix)) {
    a->rows++;
  }
}

static void look_inside(Access *a, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->a && a->loop) expr_visit(a->c->g->scratch, s->a, look_at_read, a);
    const Stmt *outer = a->loop;
    if (s->kind == ST_LOOP) a->loop = s;
    look_inside(a, s->body);
    a->loop = outer;
    look_inside(a, s->els);
  }
}

// The team's loop among LETs.
static Stmt *team_of(const Nest *n) {
  for (Stmt *s = n->body; s; s = s->next) if (s->kind == ST_LOOP && s->how == HOW_TEAM) return s;
  return NULL;
}

static bool in_order(const Stmt *s) {
  for (; s; s = s->next) {
    if ((s->kind == ST_LOOP && s->how != HOW_SEQ && s->how != HOW_SCAN) || s->kind == ST_ALLOC || !in_order(s->body) || !in_order(s->els)) return false;
  }
  return true;
}

// ---- columns of a thread -----------------------------------------------------------------------

static Stmt *over_columns(Columns *c, Stmt *body) { return gpu_loop(c->g, HOW_PAR, c->ix, gpu_int(c->g, 0), c->extent, body); }

// Words that the arrays of one column take.
static int words_of(Columns *c) {
  JamArrays arrays = { .v = { 0 } };
  int words = 0;
  jam_lanes(c->g->p, over_columns(c, gpu_copy(c->g, c->n->body)), gpu_index(c->g, "first"), 2, &arrays);
  for (int i = 0; i < arrays.v.n; i++) words += (dtypes[arrays.v.v[i].array->dtype].bits + 31) / 32;
  return words;
}

static Expr *vectors(Columns *c) { return gpu_div(c->g, c->extent, gpu_int(c->g, c->lanes)); }

static Expr *all_points(Columns *c) {
  Expr *all = vectors(c);
  for (int k = 0; k + 1 < c->n->n; k++) all = gpu_mul(c->g, c->n->extent[k], all);
  return all;
}

// Too few blocks for the machine.
static bool is_narrow(Columns *c) {
  Expr *all = all_points(c);
  return all->op == OP_CONST && all->u.v.i < (int64_t)c->side * c->g->m->cores / 2;
}

static void choose_lanes(Columns *c, int bits) {
  int64_t most = c->g->m->vector_bytes * 8 / (bits ? bits : 128);
  c->lanes = 1;
  if (c->extent->op != OP_CONST) gpu_want(c->g, c->n->k, c->extent);
  if (c->extent->op != OP_CONST || c->extent->u.v.i < 2 || most < 2 || !jam_can(c->g->p, over_columns(c, c->n->body))) return;
  int words = words_of(c);
  for (c->lanes = most < MOST_LANES ? (int)most : MOST_LANES; c->lanes > 1; c->lanes /= 2)
    if (c->extent->u.v.i % c->lanes == 0 && (c->lanes + 1) * words <= MOST_WORDS && !is_narrow(c)) return;
}

// ---- rows at a time ----------------------------------------------------------------------------

static Expr *minus(Columns *c, Expr *a, Expr *b) { return expr_op2(c->g->x, OP_SUB, a, b, NO_SPAN); }

// Loops inside that run from the tile to its end: their steps are known.
static void unroll_tile(Columns *c, Stmt *s, const Stmt *tile, Var *to) {
  Gpu *g = c->g;
  for (; s; s = s->next) {
    bool here = s->kind == ST_LOOP && s->how == HOW_SEQ && !s->step && s->lo->op == OP_INDEX && s->lo->u.ix == tile->ix && s->hi->op == OP_VAR && s->hi->u.var == to;
    if (!here) { unroll_tile(c, s->body, tile, to); unroll_tile(c, s->els, tile, to); continue; }
    Index *k = gpu_index(g, "k");
    Stmt *one = gpu_loop(g, HOW_ONE, s->ix, gpu_plus(g, s->lo, expr_index(g->x, k)), s->hi, s->body);
    s->how = HOW_UNROLL;
    s->ix = k;
    s->lo = gpu_int(g, 0);
    s->hi = gpu_int(g, tile->step);
    s->body = one;
  }
}

// for tile in lo .. hi by 8, of which the last may be cut   ──▶   whole tiles; if there are rows left: the last
static Stmt *whole_tiles(Columns *c, Stmt *tile) {
  Gpu *g = c->g;
  Stmt *end = tile->body;
  Expr *step = gpu_int(g, tile->step), *next = gpu_plus(g, expr_index(g->x, tile->ix), step), *rest;
  bool cut = end->a != next;
  Block b = gpu_block();
  Stmt *last = cut ? gpu_copy(g, tile->body) : NULL;
  Expr *hi = tile->hi;
  if (cut) tile->hi = minus(c, hi, gpu_int(g, tile->step - 1));
  end->a = next;
  unroll_tile(c, tile->body, tile, end->var);
  gpu_add(&b, tile);
  if (!cut) return b.first;
  gpu_let(g, &b, "rest", gpu_plus(g, tile->lo, gpu_mul(g, gpu_div(g, minus(c, hi, tile->lo), step), step)), &rest);
  gpu_add(&b, gpu_if(g, expr_op2(g->x, OP_LT, rest, hi, NO_SPAN), gpu_loop(g, HOW_ONE, tile->ix, rest, hi, last), NULL));
  return b.first;
}

static bool is_tile(const Stmt *s) {
  return s->kind == ST_LOOP && s->how == HOW_SEQ && s->step > 1 && s->step <= MOST_TILE && gpu_has_loop(s->body) && s->body->kind == ST_LET && s->body->var->dtype == DT_I64;
}

// Rows at a time, for loops over rows.
static Stmt *take_rows(Columns *c, Stmt *s) {
  Block b = gpu_block();
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    Access a = { .c = c, .loop = s };
    if (s->kind == ST_LOOP && s->how == HOW_SEQ && !gpu_has_loop(s->body) && !s->ordered) {
      look_inside(&a, s->body);
      if (a.columns) s->unroll = a.columns > 1 ? MOST_ROWS / 2 : MOST_ROWS;
    } else if (is_tile(s)) {
      gpu_add(&b, whole_tiles(c, s));
      continue;
    } else {
      s->body = take_rows(c, s->body);
      s->els = take_rows(c, s->els);
    }
    gpu_add(&b, s);
  }
  return b.first;
}

// ---- a thread's statements ---------------------------------------------------------------------

// Without a team nothing is folded.
static Stmt *alone(Stmt *s) {
  Block b = gpu_block();
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    if (s->kind == ST_FOLD) continue;
    if (s->kind == ST_LOOP && s->how == HOW_SCAN) s->how = HOW_SEQ;
    s->body = alone(s->body);
    s->els = alone(s->els);
    gpu_add(&b, s);
  }
  return b.first;
}

typedef struct Lanes { Columns *c; Vector v; } Lanes;

static Stmt *lanes_to_vectors(Lanes *l, Stmt *s) {
  Block b = gpu_block();
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    if (s->kind == ST_LOOP && s->ix == l->c->ix) { gpu_add(&b, gpu_vector(&l->v, s->body)); continue; }
    s->body = lanes_to_vectors(l, s->body);
    s->els = lanes_to_vectors(l, s->els);
    gpu_add(&b, s);
  }
  return b.first;
}

static Stmt *in_lanes(Columns *c, Index *first, Stmt *body) {
  Gpu *g = c->g;
  JamArrays arrays = { .v = { 0 } };
  Rows rows = { .row = gpu_index(g, "row"), .arrays = map_make(g->scratch) };
  body = jam_lanes(g->p, over_columns(c, body), first, c->lanes, &arrays);
  for (int i = 0; i < arrays.v.n; i++) map_putp(&rows.arrays, arrays.v.v[i].array, arrays.v.v[i].array);
  Lanes l = { c, { .g = g, .n = c->n, .written = &c->written, .ix = c->ix, .hi = c->extent, .bound = c->extent, .first = expr_index(g->x, first), .lanes = c->lanes,
                   .rows = &rows, .slot = gpu_int(g, 0) } };
  return lanes_to_vectors(&l, body);
}

static bool is_outside(Columns *c, const Stmt *s) {
  if (s->kind == ST_FAULT) return true;
  if (s->kind == ST_MOVE) return s->out;
  return s->kind == ST_STORE && (s->t->role != ROLE_LOCAL || tensor_place(c->g->plan, s->t) != PLACE_STACK);
}

// What others see is done by one thread of a team.
static Stmt *by_first(Columns *c, Expr *first, Stmt *s) {
  Block b = gpu_block();
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    if (is_outside(c, s)) {
      Stmt *last = s;
      for (; next && is_outside(c, next); last = last->next = next, next = next->next, last->next = NULL) { }
      s = gpu_if(c->g, first, s, NULL);
    } else {
      s->body = by_first(c, first, s->body);
      s->els = by_first(c, first, s->els);
    }
    gpu_add(&b, s);
  }
  return b.first;
}

// ---- the frame ---------------------------------------------------------------------------------

static void schedule(Columns *c) {
  Nest *n = c->n;
  Gpu *g = c->g;
  Frame f = gpu_frame(g);
  Block b = gpu_block();
  Index *first = c->lanes > 1 ? gpu_index(g, "first") : c->ix;
  Expr *side = gpu_int(g, c->side), *all = all_points(c), *width = vectors(c), *number, *point, *ok = NULL;
  bool even = all->op == OP_CONST && all->u.v.i % c->side == 0;
  Expr *here = gpu_plus(g, gpu_mul(g, f.b, side), gpu_mod(g, f.t, side));
  c->written = gpu_written(g, n->body);
  Stmt *body = take_rows(c, n->body);
  if (c->team == 1) body = alone(body);
  if (c->lanes > 1) body = in_lanes(c, first, body);
  if (c->team > 1 && !even) {
    gpu_let(g, &b, "number", here, &number);
    gpu_let(g, &b, "point", expr_op2(g->x, OP_MIN, number, minus(c, all, gpu_int(g, 1)), NO_SPAN), &point);
    ok = expr_op2(g->x, OP_LT, number, all, NO_SPAN);
  } else {
    gpu_let(g, &b, "point", c->team > 1 ? here : gpu_plus(g, gpu_mul(g, f.b, side), f.t), &point);
    if (!even) ok = expr_op2(g->x, OP_LT, point, all, NO_SPAN);
  }
  if (c->team > 1) {
    ok = gpu_and(g, expr_op2(g->x, OP_EQ, expr_index(g->x, c->member), gpu_int(g, 0), NO_SPAN), ok);
    body = by_first(c, ok, body);
  }
  body = gpu_loop(g, HOW_ONE, first, gpu_mul(g, gpu_mod(g, point, width), gpu_int(g, c->lanes)), c->extent, body);
  if (n->n > 1) body = gpu_at(n, n->n - 1, gpu_div(g, point, width), body);
  if (c->team > 1) body = gpu_loop(g, HOW_ONE, c->member, gpu_div(g, f.t, side), gpu_int(g, c->team), body);
  else if (ok) body = gpu_if(g, ok, body, NULL);
  gpu_add(&b, body);
  gpu_close(n, &f, b.first, (Grid){ .blocks = gpu_div_up(g, all, c->side), .threads = c->threads, .team = c->team, .stride = c->team > 1 ? c->side : 1,
    .resident = RESIDENT });
}

// The team's statements in the place of its loop.
static void open_team(Columns *c, Stmt *team) {
  Stmt **at = &c->n->body;
  if (!team) return;
  while (*at != team) at = &(*at)->next;
  *at = team->body;
  while (*at) at = &(*at)->next;
  *at = team->next;
  c->member = team->ix;
  c->team = (int)team->hi->u.v.i;
}

bool gpu_columns(Nest *n) {
  Columns c = { .n = n, .g = n->g, .team = 1, .threads = GPU_THREADS };
  Stmt *team = team_of(n);
  if (!n->n || (!team && (!gpu_has_loop(n->body) || !in_order(n->body)))) return false;
  c.ix = n->ix[n->n - 1];
  c.extent = n->extent[n->n - 1];
  open_team(&c, team);
  c.side = c.threads / c.team;
  Access a = { .c = &c };
  look_inside(&a, n->body);
  if (!team && (!a.columns || a.rows)) return false;
  choose_lanes(&c, a.columns ? a.bits : 0);
  if (!team && c.lanes == 1) return false;
  schedule(&c);
  return true;
}
