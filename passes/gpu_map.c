// gpu_map.c: maps: a thread computes a few elements that lie side by side, with accesses of 16 bytes.
//
//   par i in 0 .. N                     let first = (block * 256 + thread) * 8
//     par j in 0 .. D                   if first + 8 <= N * D
//       y[i, j] = f(x[i, j])     ──▶      8 of y[first] = f(8 of x[first])
//                                       else:  one by one
//
// Where all tensors are walked in the order of the loops, the loops become one over a flat view of the tensors. Else the last
// extent must be a known multiple of the elements, and the place in the others is found from the block's number. [The order of
// blocks and threads is the order of memory.]
#include "passes/gpu_vector.h"
#include <string.h>

enum { MOST_LANES = 16, FEW_THREADS = 64 };

typedef struct Flat {
  Nest *n; Gpu *g;
  int lanes;
  bool flat;            // all tensors are walked in order
  Index *ix;            // of the one loop, where flat
  Map view;             // Tensor → its flat view
  Map written;          // Tensor → itself
  VEC(Tensor *) own;    // written, and read only where the same step writes
} Flat;

// ---- accesses ----------------------------------------------------------------------------------

typedef void (*OnAccess)(void *cx, Tensor *t, Expr *const *sub, int n);
typedef struct Visit { OnAccess f; void *cx; } Visit;

static void visit_read(void *cx, Expr *e) {
  Visit *v = cx;
  if (e->op == OP_READ && e->u.t->rank && e->u.t->role != ROLE_TABLE) v->f(v->cx, e->u.t, e->arg, e->u.t->rank);
}

static void visit_stores(const Stmt *s, Visit *v) {
  for (; s; s = s->next) {
    if (s->kind == ST_STORE && s->field < 0 && s->nsub) v->f(v->cx, s->t, s->sub, s->nsub);
    visit_stores(s->body, v);
    visit_stores(s->els, v);
  }
}

static void visit_accesses(Flat *m, OnAccess f, void *cx) {
  Visit v = { f, cx };
  stmts_visit(m->g->scratch, m->n->body, visit_read, &v);
  visit_stores(m->n->body, &v);
}

static bool by_last(Flat *m, Expr *const *sub, int n) {
  Index *ix = m->n->ix[m->n->n - 1];
  for (int k = 0; k + 1 < n; k++) if (expr_uses_index(sub[k], ix)) return false;
  return gpu_is_step(m->g, sub[n - 1], ix);
}

typedef struct Widest { Flat *m; int bits, any; } Widest;

static void see_width(void *cx, Tensor *t, Expr *const *sub, int n) {
  Widest *w = cx;
  int bits = dtypes[t->dtype].bits;
  bool rows = w->m->n->n == 1;
  if (t->fmt || !by_last(w->m, sub, n)) return;
  for (int k = 0; k + 1 < n; k++) rows |= sub[k]->op != OP_CONST;
  if (rows && bits > w->bits) w->bits = bits;
  if (bits > w->any) w->any = bits;
}

// Elements of 16 bytes of the widest tensor that is walked; 1: none is.
static int lanes_of(Flat *m) {
  Widest w = { .m = m };
  visit_accesses(m, see_width, &w);
  int bits = w.bits ? w.bits : w.any, lanes = bits ? 128 / bits : 1, most = m->g->m->vector_bytes * 8;
  if (lanes > MOST_LANES) lanes = MOST_LANES;
  while (lanes > 1 && lanes * bits > most) lanes /= 2;
  return lanes;
}

// ---- flat views --------------------------------------------------------------------------------

static bool in_order(const Flat *m, const Tensor *t, Expr *const *sub, int n) {
  if (n != m->n->n || t->fmt) return false;
  for (int k = 0; k < n; k++) {
    if (sub[k]->op != OP_INDEX || sub[k]->u.ix != m->n->ix[k] || (k && t->extent[k] != m->n->extent[k])) return false;
  }
  return true;
}

static Tensor *view_of(Flat *m, Tensor *t) {
  Tensor *v = map_getp(&m->view, t);
  if (v || m->n->n == 1) return v ? v : t;
  v = arena_new(m->g->a, Tensor);
  *v = *t;
  v->root = tensor_root(t);
  v->rank = 1;
  v->extent[0] = m->n->points;
  map_putp(&m->view, t, v);
  return v;
}

static Expr *row_major(const Flat *m) {
  Expr *at = expr_index(m->g->x, m->n->ix[0]);
  for (int k = 1; k < m->n->n; k++)
    at = expr_op2(m->g->x, OP_ADD, expr_op2(m->g->x, OP_MUL, at, m->n->extent[k], NO_SPAN), expr_index(m->g->x, m->n->ix[k]), NO_SPAN);
  return at;
}

// Top-down, so that whole accesses are seen before the indices in them.
static Expr *flattened(Flat *m, Expr *e, const Expr *whole, Map *memo) {
  Expr *seen = map_get(memo, (uint64_t)e->id + 1), *at = expr_index(m->g->x, m->ix), *arg[32];
  if (seen) return seen;
  if (e == whole) return at;
  if (e->op == OP_READ && e->u.t->rank && in_order(m, e->u.t, e->arg, e->u.t->rank))
    return expr_make(m->g->x, OP_READ, (Dtype)e->dtype, e->aux, view_of(m, e->u.t), e->at, 1, &at);
  for (uint32_t k = 0; k < e->nargs; k++) arg[k] = flattened(m, e->arg[k], whole, memo);
  Expr *made = e->nargs ? expr_rebuild(m->g->x, e, arg) : e;
  map_put(memo, (uint64_t)e->id + 1, made);
  return made;
}

typedef struct Left { const Nest *n; bool yes; } Left;
static void see_index(void *cx, Expr *e) {
  Left *l = cx;
  for (int k = 0; k < l->n->n; k++) l->yes |= e->op == OP_INDEX && e->u.ix == l->n->ix[k];
}

static void flatten_list(Flat *m, Stmt *s, const Expr *whole, Map *memo, Left *left) {
  for (; s; s = s->next) {
    Expr **part[] = { &s->lo, &s->hi, &s->a, &s->b };
    if (s->kind == ST_STORE && s->nsub && in_order(m, s->t, s->sub, s->nsub)) {
      s->t = view_of(m, s->t);
      s->nsub = 1;
      s->sub[0] = expr_index(m->g->x, m->ix);
    }
    for (int k = 0; k < 4; k++) if (*part[k]) *part[k] = flattened(m, *part[k], whole, memo);
    for (int k = 0; k < s->nsub; k++) s->sub[k] = flattened(m, s->sub[k], whole, memo);
    for (int k = 0; k < 4; k++) if (*part[k]) expr_visit(m->g->scratch, *part[k], see_index, left);
    for (int k = 0; k < s->nsub; k++) expr_visit(m->g->scratch, s->sub[k], see_index, left);
    flatten_list(m, s->body, whole, memo, left);
    flatten_list(m, s->els, whole, memo, left);
  }
}

// The body over one flat index; NULL when something else than the order of memory matters.
static Stmt *flatten(Flat *m) {
  Stmt *body = gpu_copy(m->g, m->n->body);
  Map memo = map_make(m->g->scratch);
  Left left = { m->n, false };
  m->view = map_make(m->g->scratch);
  m->ix = m->n->n == 1 ? m->n->ix[0] : gpu_index(m->g, "n");
  if (m->n->n == 1) return body;
  flatten_list(m, body, row_major(m), &memo, &left);
  return left.yes ? NULL : body;
}

// ---- what a step has to itself -----------------------------------------------------------------

typedef struct Owned { Flat *m; const Stmt *store; bool yes; } Owned;

static void see_other(void *cx, Expr *e) {
  Owned *o = cx;
  if (e->op == OP_FIELD && tensor_root(e->u.t) == tensor_root(o->store->t)) o->yes = false;
  if (e->op != OP_READ || tensor_root(e->u.t) != tensor_root(o->store->t)) return;
  for (int k = 0; k < o->store->nsub; k++) o->yes &= e->u.t->rank == o->store->nsub && e->arg[k] == o->store->sub[k];
}

static void find_own(Flat *m, const Stmt *body, const Stmt *s) {
  for (; s; s = s->next) {
    Owned o = { m, s, s->kind == ST_STORE };
    if (o.yes) stmts_visit(m->g->scratch, body, see_other, &o);
    if (o.yes) vec_push(m->g->scratch, &m->own, tensor_root(s->t));
    find_own(m, body, s->body);
    find_own(m, body, s->els);
  }
}

// ---- one flat loop -----------------------------------------------------------------------------

static void whole_order(Flat *m, Stmt *body) {
  Nest *n = m->n;
  Gpu *g = m->g;
  Frame f = gpu_frame(g);
  Block b = gpu_block();
  Expr *first, *lanes = gpu_int(g, m->lanes), *threads = gpu_int(g, GPU_THREADS);
  int64_t each = (int64_t)GPU_THREADS * m->lanes, total = n->points->op == OP_CONST ? n->points->u.v.i : -1;
  find_own(m, body, body);
  gpu_let(g, &b, "first", gpu_mul(g, gpu_plus(g, gpu_mul(g, f.b, threads), f.t), lanes), &first);
  Stmt *tail = total % m->lanes == 0 ? NULL : gpu_loop(g, HOW_SEQ, m->ix, first, n->points, gpu_copy(g, body));
  Vector v = { .g = g, .n = n, .written = &m->written, .own = m->own.v, .nown = m->own.n, .ix = m->ix, .hi = n->points, .bound = n->points, .first = first, .lanes = m->lanes };
  Stmt *vector = gpu_vector(&v, body);
  Expr *whole = expr_op2(g->x, OP_LE, gpu_plus(g, first, lanes), n->points, NO_SPAN);
  gpu_add(&b, total % each == 0 ? vector : gpu_if(g, whole, vector, tail));
  gpu_close(n, &f, b.first, (Grid){ .blocks = gpu_div_up(g, n->points, each), .threads = GPU_THREADS, .team = 1 });
}

// ---- rows of a known length --------------------------------------------------------------------

// Threads of a block for rows of so many vectors: whole rows where they are short, else a part of one.
typedef struct Shape { int threads; int64_t rows, tiles; } Shape;      // rows of a block; or tiles of a row

static Shape shape_for(int64_t vectors) {
  static const int sizes[] = { 256, 512, 384, 320, 448, 192, 128 };
  if (vectors <= GPU_THREADS) return (Shape){ (int)(vectors * (GPU_THREADS / vectors)), GPU_THREADS / vectors, 1 };
  Shape best = { 256, 1, (vectors + 255) / 256 };
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int64_t tiles = (vectors + sizes[i] - 1) / sizes[i];
    if (tiles * sizes[i] * 20 < best.tiles * best.threads * 19) best = (Shape){ sizes[i], 1, tiles };     // 5 % fewer idle threads
  }
  return best;
}

static void by_rows(Flat *m, int64_t row) {
  Nest *n = m->n;
  Gpu *g = m->g;
  Frame f = gpu_frame(g);
  Block b = gpu_block();
  int64_t vectors = row / m->lanes;
  Shape s = shape_for(vectors);
  Expr *rows = gpu_int(g, 1), *at, *first, *blocks, *guard = NULL;
  for (int k = 0; k + 1 < n->n; k++) rows = gpu_mul(g, rows, n->extent[k]);
  if (vectors > GPU_THREADS) {
    Expr *tiles = gpu_int(g, s.tiles), *size = gpu_int(g, s.threads);
    gpu_let(g, &b, "row", gpu_div(g, f.b, tiles), &at);
    gpu_let(g, &b, "first", gpu_mul(g, gpu_plus(g, gpu_mul(g, gpu_mod(g, f.b, tiles), size), f.t), gpu_int(g, m->lanes)), &first);
    blocks = gpu_mul(g, rows, tiles);
    if (s.tiles * s.threads != vectors) guard = expr_op2(g->x, OP_LT, first, gpu_int(g, row), NO_SPAN);
  } else {
    Expr *width = gpu_int(g, vectors);
    gpu_let(g, &b, "row", gpu_plus(g, gpu_mul(g, f.b, gpu_int(g, s.rows)), gpu_div(g, f.t, width)), &at);
    gpu_let(g, &b, "first", gpu_mul(g, gpu_mod(g, f.t, width), gpu_int(g, m->lanes)), &first);
    blocks = gpu_div_up(g, rows, s.rows);
    if (s.rows > 1) guard = expr_op2(g->x, OP_LT, at, rows, NO_SPAN);
  }
  find_own(m, n->body, n->body);
  Expr *end = n->extent[n->n - 1];
  Vector v = { .g = g, .n = n, .written = &m->written, .own = m->own.v, .nown = m->own.n, .ix = n->ix[n->n - 1], .hi = end, .bound = end, .first = first, .lanes = m->lanes };
  Stmt *body = gpu_at(n, n->n - 1, at, gpu_vector(&v, n->body));
  gpu_add(&b, guard ? gpu_if(g, guard, body, NULL) : body);
  gpu_close(n, &f, b.first, (Grid){ .blocks = blocks, .threads = s.threads, .team = 1 });
}

// ---- the choice --------------------------------------------------------------------------------

static bool is_straight(const Stmt *s) {
  for (; s; s = s->next)
    if (s->kind == ST_LOOP || s->kind == ST_ALLOC || s->kind == ST_ACC || s->kind == ST_FOLD || s->field >= 0 || !is_straight(s->body) || !is_straight(s->els)) return false;
  return true;
}

static bool stores_nibbles(const Stmt *s) {
  for (; s; s = s->next) if ((s->kind == ST_STORE && dtypes[s->t->dtype].bits == 4) || stores_nibbles(s->body) || stores_nibbles(s->els)) return true;
  return false;
}

bool gpu_map_nest(Nest *n) {
  Flat m = { .n = n, .g = n->g, .written = gpu_written(n->g, n->body) };
  if (!n->n || !is_straight(n->body)) return false;
  m.lanes = lanes_of(&m);
  if (m.lanes < 2) return false;
  Stmt *flat = flatten(&m);
  if (flat) return whole_order(&m, flat), true;
  Expr *last = n->extent[n->n - 1];
  for (int k = 1; k < n->n; k++) gpu_want(n->g, n->k, n->extent[k]);
  if (last->op != OP_CONST) return false;
  while (m.lanes > 1 && last->u.v.i % m.lanes) m.lanes /= 2;
  if (m.lanes < 2 || last->u.v.i == 0) return false;
  if (stores_nibbles(n->body) && m.lanes % 2) return false;
  by_rows(&m, last->u.v.i);
  return true;
}
