// gpu_turn.c: maps that read across the rows of what they write turn tiles in shared memory.
//
//   par i in 0 .. N                       a block for each tile of 64 i and 64 j, at i0, j0:
//     par j in 0 .. D                       tile[j - j0, i - i0 …] = 8 of x[j, i], by each thread, twice
//       y[i, j] = f(x[j, i])       ──▶      barrier
//                                           8 of y[i, j] = f(tile[j - j0 …, i - i0]), by each thread, twice
//
// Both sides are accesses of 16 bytes that a warp makes side by side. See Note [Where an element lies in its tile].
#include "ir/turned.h"
#include "passes/gpu_vector.h"

enum {
  MOST_TILES = 2,               // tensors that are turned
  SIDE = 64, WIDE_SIDE = 32,    // of a tile; of one whose elements have 8 bytes
  LEAST = 16                    // elements along an index, for tiles to be worth it
};

typedef struct Turning {
  Nest *n; Gpu *g;
  Turned turned;
  int side;
  int last, across;             // positions among the nest's indices
  int lanes;                    // elements of a store
  Tensor *tile[MOST_TILES]; int from[MOST_TILES];       // elements of a load
  Expr *i0, *j0;                // where the block's tile begins: along `across`, and along the last index
  Expr *row, *rotation;         // of the element at hand: i - i0; and the vector's number, if the same for all its elements
} Turning;

static Expr *number(Turning *t, int64_t v) { return gpu_int(t->g, v); }
static Expr *minus(Turning *t, Expr *a, Expr *b) { return expr_op2(t->g->x, OP_SUB, a, b, NO_SPAN); }
static Expr *extent_of(Turning *t, int at) { return t->n->extent[at]; }

// ---- is it one? --------------------------------------------------------------------------------

static bool is_straight(const Stmt *s) {
  for (; s; s = s->next)
    if ((s->kind != ST_LET && s->kind != ST_STORE) || s->field >= 0 || (s->kind == ST_STORE && dtypes[s->t->dtype].bits < 8)) return false;
  return true;
}

static int position(const Nest *n, const Index *ix) {
  int k = 0;
  while (n->ix[k] != ix) k++;
  return k;
}

static bool is_short(const Expr *extent) { return extent->op == OP_CONST && extent->u.v.i < LEAST; }

static bool find(Turning *t) {
  Nest *n = t->n;
  if (n->n < 2 || !is_straight(n->body)) return false;
  t->turned = (Turned){ .a = t->g->scratch, .n = n->n, .ix = n->ix, .most = MOST_TILES };
  for (const Stmt *s = n->body; s; s = s->next) if (s->a) turned_find(&t->turned, s->a);
  if (!t->turned.reads.n) return false;
  for (int i = 0; i < t->turned.reads.n; i++) if (gpu_writes(n->body, tensor_root(t->turned.reads.v[i]->u.t))) return false;
  t->last = n->n - 1;
  t->across = position(n, t->turned.across);
  return !is_short(extent_of(t, t->last)) && !is_short(extent_of(t, t->across));
}

// Elements of 16 bytes, where rows of this extent hold a whole number of them, and a tile has a vector for each thread.
static int vector_of(const Turning *t, Dtype d, const Expr *extent) {
  int lanes = t->g->m->vector_bytes * 8 / dtypes[d].bits;
  if (extent->op != OP_CONST) return 1;
  while (lanes > 1 && (extent->u.v.i % lanes || t->side * t->side < lanes * GPU_THREADS)) lanes /= 2;
  return lanes > 0 ? lanes : 1;
}

static void choose(Turning *t) {
  t->side = SIDE;
  for (int i = 0; i < t->turned.reads.n; i++) if (dtypes[t->turned.reads.v[i]->u.t->dtype].bits > 32) t->side = WIDE_SIDE;
  for (int i = 0; i < t->turned.reads.n; i++) {
    const Tensor *x = t->turned.reads.v[i]->u.t;
    t->from[i] = vector_of(t, x->dtype, x->extent[x->rank - 1]);
  }
  t->lanes = 16;
  for (const Stmt *s = t->n->body; s; s = s->next) {
    if (s->kind != ST_STORE) continue;
    int lanes = vector_of(t, s->t->dtype, extent_of(t, t->last));
    if (lanes < t->lanes) t->lanes = lanes;
  }
  gpu_want(t->g, t->n->k, extent_of(t, t->last));
  gpu_want(t->g, t->n->k, extent_of(t, t->across));
}

// ---- loading -----------------------------------------------------------------------------------

// The vector of a tile's row in which vector `v` of row `j` lies.
static Expr *place(Turning *t, int each, Expr *v, Expr *j) { return gpu_mod(t->g, gpu_plus(t->g, v, gpu_div(t->g, j, number(t, each))), number(t, t->side / each)); }

static Expr *below(Turning *t, Expr *at, int ix) {
  const Expr *extent = extent_of(t, ix);
  if (extent->op == OP_CONST && extent->u.v.i % t->side == 0) return NULL;
  return expr_op2(t->g->x, OP_LT, at, extent_of(t, ix), NO_SPAN);
}

// unroll u in 0 .. rounds: let n = u * 256 + thread: inside
static Stmt *rounds(Turning *t, Expr *thread, int vectors, Expr **n, Block *in) {
  Gpu *g = t->g;
  Index *u = gpu_index(g, "u");
  gpu_let(g, in, "n", gpu_plus(g, gpu_mul(g, expr_index(g->x, u), number(t, GPU_THREADS)), thread), n);
  return gpu_loop(g, HOW_UNROLL, u, number(t, 0), number(t, vectors / GPU_THREADS), NULL);
}

static Stmt *load(Turning *t, int k, Expr *thread) {
  Gpu *g = t->g;
  Expr *e = t->turned.reads.v[k], *n, *sub[8], *i, *j;
  int each = t->from[k], along = t->side / each;
  Block in = gpu_block();
  Stmt *loop = rounds(t, thread, t->side * along, &n, &in);
  Expr *v = gpu_mod(g, n, number(t, along)), *row = gpu_div(g, n, number(t, along));
  gpu_let(g, &in, "i", gpu_plus(g, t->i0, gpu_mul(g, v, number(t, each))), &i);
  gpu_let(g, &in, "j", gpu_plus(g, t->j0, row), &j);
  Index *ix[] = { t->n->ix[t->across], t->n->ix[t->last] };
  Expr *by[] = { i, j };
  for (int d = 0; d < e->u.t->rank; d++) sub[d] = expr_subst(g->x, e->arg[d], 2, ix, by);
  Expr *at = gpu_mul(g, place(t, each, v, row), number(t, each)), *guard = gpu_and(g, below(t, i, t->across), below(t, j, t->last));
  Stmt *move;
  if (each > 1) {
    move = gpu_move(g, e->u.t, e->u.t->rank, sub, t->tile[k], gpu_plus(g, gpu_mul(g, row, number(t, t->side)), at), each, false);
  } else {
    move = stmt_new(g->a, ST_STORE);
    move->t = t->tile[k];
    move->field = -1;
    move->nsub = 2;
    move->sub[0] = row;
    move->sub[1] = at;
    move->a = expr_make(g->x, OP_READ, (Dtype)e->dtype, 0, e->u.t, e->at, e->u.t->rank, sub);
  }
  gpu_add(&in, guard ? gpu_if(g, guard, move, NULL) : move);
  loop->body = in.first;
  return loop;
}

// ---- storing -----------------------------------------------------------------------------------

static Expr *from_tile(void *cx, ExprTable *x, Expr *e) {
  Turning *t = cx;
  for (int k = 0; k < t->turned.reads.n; k++) {
    if (t->turned.reads.v[k] != e) continue;
    int each = t->from[k];
    Expr *j = minus(t, expr_index(x, t->n->ix[t->last]), t->j0), *v = gpu_div(t->g, t->row, number(t, each));
    Expr *slot = each == t->lanes ? gpu_mod(t->g, gpu_plus(t->g, v, t->rotation), number(t, t->side / each)) : place(t, each, v, j);
    Expr *sub[] = { j, gpu_plus(t->g, gpu_mul(t->g, slot, number(t, each)), gpu_mod(t->g, t->row, number(t, each))) };
    return expr_make(x, OP_READ, (Dtype)e->dtype, 0, t->tile[k], e->at, 2, sub);
  }
  return e;
}

static Stmt *store(Turning *t, Expr *thread) {
  Nest *n = t->n;
  Gpu *g = t->g;
  int along = t->side / t->lanes;
  Expr *number_of, *first, *i;
  Block in = gpu_block();
  Map written = gpu_written(g, n->body);
  Stmt *loop = rounds(t, thread, t->side * along, &number_of, &in);
  gpu_let(g, &in, "row", gpu_div(g, number_of, number(t, along)), &t->row);
  gpu_let(g, &in, "place", gpu_mod(g, number_of, number(t, along)), &t->rotation);
  gpu_let(g, &in, "i", gpu_plus(g, t->i0, t->row), &i);
  gpu_let(g, &in, "first", gpu_plus(g, t->j0, gpu_mul(g, t->rotation, number(t, t->lanes))), &first);
  stmts_map(g->x, n->body, from_tile, t);
  Expr *end = extent_of(t, t->last), *guard = gpu_and(g, below(t, i, t->across), below(t, first, t->last));
  Vector v = { .g = g, .n = n, .written = &written, .ix = n->ix[t->last], .hi = end, .bound = end, .first = first, .lanes = t->lanes };
  Stmt *body = t->lanes > 1 ? gpu_vector(&v, n->body) : gpu_loop(g, HOW_ONE, n->ix[t->last], first, end, n->body);
  body = gpu_loop(g, HOW_ONE, n->ix[t->across], i, extent_of(t, t->across), body);
  gpu_add(&in, guard ? gpu_if(g, guard, body, NULL) : body);
  loop->body = in.first;
  return loop;
}

// ---- the frame ---------------------------------------------------------------------------------

static void alloc_tiles(Turning *t, Block *b, int64_t *bytes) {
  Gpu *g = t->g;
  for (int k = 0; k < t->turned.reads.n; k++) {
    const Tensor *x = t->turned.reads.v[k]->u.t;
    Expr *side[] = { number(t, t->side), number(t, t->side) };
    t->tile[k] = fn_tensor(g->f, intern(g->f->names, arena_printf(g->scratch, "%s_tile", x->name)), ROLE_LOCAL, x->dtype, NULL, 2, side, NO_SPAN);
    Stmt *s = stmt_new(g->a, ST_ALLOC);
    s->t = t->tile[k];
    s->space = SPACE_SHARED;
    s->a = number(t, *bytes);
    *bytes += (int64_t)t->side * t->side * dtypes[x->dtype].bits / 8;
    gpu_add(b, s);
  }
}

// The other indices, from the number of their point.
static Stmt *at_others(Turning *t, Expr *point, Stmt *body) {
  Gpu *g = t->g;
  Expr *inner = number(t, 1);
  int first = 0;
  while (first == t->across || first == t->last) first++;
  for (int k = t->n->n - 1; k >= 0; k--) {
    if (k == t->across || k == t->last) continue;
    Expr *at = gpu_div(g, point, inner);
    if (k != first) at = gpu_mod(g, at, extent_of(t, k));
    body = gpu_loop(g, HOW_ONE, t->n->ix[k], at, extent_of(t, k), body);
    inner = gpu_mul(g, inner, extent_of(t, k));
  }
  return body;
}

static void schedule(Turning *t) {
  Nest *n = t->n;
  Gpu *g = t->g;
  Frame f = gpu_frame(g);
  Block b = gpu_block(), in = gpu_block();
  int64_t bytes = 0;
  Expr *columns = gpu_div_up(g, extent_of(t, t->last), t->side), *rows = gpu_div_up(g, extent_of(t, t->across), t->side), *blocks = gpu_mul(g, rows, columns);
  gpu_let(g, &b, arena_printf(g->scratch, "%s0", n->ix[t->last]->name), gpu_mul(g, gpu_mod(g, f.b, columns), number(t, t->side)), &t->j0);
  Expr *tile = gpu_div(g, f.b, columns);
  if (n->n > 2) tile = gpu_mod(g, tile, rows);
  gpu_let(g, &b, arena_printf(g->scratch, "%s0", n->ix[t->across]->name), gpu_mul(g, tile, number(t, t->side)), &t->i0);
  alloc_tiles(t, &in, &bytes);
  for (int k = 0; k < t->turned.reads.n; k++) gpu_add(&in, load(t, k, f.t));
  gpu_add(&in, stmt_new(g->a, ST_BARRIER));
  gpu_add(&in, store(t, f.t));
  gpu_add(&b, at_others(t, gpu_div(g, f.b, blocks), in.first));
  for (int k = 0; k < n->n; k++) if (k != t->across && k != t->last) blocks = gpu_mul(g, blocks, n->extent[k]);
  gpu_close(n, &f, b.first, (Grid){ .blocks = blocks, .threads = GPU_THREADS, .team = GPU_THREADS, .shared_bytes = number(t, bytes) });
}

bool gpu_turn(Nest *n) {
  Turning t = { .n = n, .g = n->g };
  if (!find(&t)) return false;
  choose(&t);
  schedule(&t);
  return true;
}

// Note [Where an element lies in its tile]
//
// A tile's row is a row of the source, in vectors of 16 bytes; row j is rotated by j // (elements of a vector). Rows are written vector by
// vector. They are read down: threads next to each other want elements of one column, as many rows apart as a vector has elements,
// which would all lie in one bank of shared memory; rotated, they lie in as many as the row has vectors. Padding rows instead by a vector
// would leave conflicts of eight threads, by less, no aligned vectors.
