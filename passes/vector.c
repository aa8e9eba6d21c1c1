// vector.c: give reductions lanes and maps vectors.
//
//   for j < D:  z = z + x[i, j]     ──▶  64 sums, one per lane, combined in a fixed tree
//   for j < D:  y[i, j] = …         ──▶  the same loop, in blocks of 64 independent steps
//
// Values that nothing reads soon leave past the caches where the tensor is larger than these (`stream`); a loop that walks a row
// a second time fetches the next row (`prefetch`), so that memory works while it computes.
//
// Lanes make the order of a reduction part of the program: the same bits with any compiler, vector width and thread count. Only
// innermost loops without branches change; a loop that is split over cores and has no loop inside is both.
#include "passes/pass.h"
#include <string.h>

enum {
  LANES = 64,           // of one block: f32 values of four AVX-512 registers, so that sums do not wait for one another
  LANES_OF_8_BYTES = 32,
  LANES_ARG = 32,       // argmax: a value and a 64-bit index a lane
  LEAST_STREAMS = 16,   // blocks that are worth four streams
  STREAM_BYTES = 16 << 20   // a tensor this large is not in the cache any more when somebody reads it (see docs/numbers.md)
};

static bool packed(const Tensor *t) { return t->dtype == DT_I4 || t->dtype == DT_U4; }

// Straight-line code: no branch, no loop, nothing that shares a byte with its neighbour.
static bool straight(const Stmt *s, bool accumulates) {
  for (; s; s = s->next) {
    if (s->kind == ST_LET) continue;
    if (s->kind == ST_STORE && !packed(s->t) && s->field < 0) continue;
    if (s->kind == ST_ACC && accumulates && stmt_may_reorder(s)) continue;
    return false;
  }
  return true;
}

static bool has_acc(const Stmt *s) {
  for (; s; s = s->next) if (s->kind == ST_ACC) return true;
  return false;
}

static bool stores(const Stmt *s) {
  for (; s; s = s->next) if (s->kind == ST_STORE) return true;
  return false;
}

// Too few steps to fill the lanes.
static bool short_loop(const Stmt *loop) {
  return expr_is_const(loop->lo) && expr_is_const(loop->hi) && loop->hi->u.v.i - loop->lo->u.v.i < PASS_SHORT_LOOP;
}

typedef struct Vector {
  Pipe *p;
  Map lanes;            // Var → the loop that accumulates it in lanes
  Map loops;            // Index → its loop, of those around what is being looked at
  Map reads;            // Tensor → a read of it in the form of the kernel that is being looked at
} Vector;

static int lanes_of(const Stmt *loop) {
  int lanes = LANES;
  for (const Stmt *s = loop->body; s; s = s->next) {
    if (s->kind != ST_ACC) continue;
    if (s->var2) return LANES_ARG;
    if (dtypes[s->var->dtype].bits == 64) lanes = LANES_OF_8_BYTES;
  }
  return lanes;
}

static void widen(Vector *v, Stmt *loop) {
  for (const Stmt *s = loop->body; s; s = s->next) {
    if (s->kind != ST_ACC) continue;
    map_putp(&v->lanes, s->var, loop);
    if (s->var2) map_putp(&v->lanes, s->var2, loop);
  }
  loop->how = HOW_LANES;
  loop->lanes = lanes_of(loop);
}

// ---- streaming stores --------------------------------------------------------------------------

// Steps of the loop write elements that lie side by side.
static bool contiguous(const Stmt *store, const Index *ix) {
  for (int k = 0; k + 1 < store->nsub; k++) if (expr_uses_index(store->sub[k], ix)) return false;
  return store->nsub && expr_is_index(store->sub[store->nsub - 1], ix);
}

static Expr *is_large(ExprTable *x, const Tensor *t) {
  Expr *n = NULL, *most = expr_int(x, DT_I64, STREAM_BYTES * 8LL / dtypes[t->dtype].bits, NO_SPAN);
  for (int k = 0; k < t->rank; k++) n = n ? expr_op2(x, OP_MUL, n, t->extent[k], NO_SPAN) : t->extent[k];
  Scalar v;
  if (!n) return NULL;
  if (expr_fold(n, &v)) return v.i >= most->u.v.i ? expr_bool(x, true, NO_SPAN) : NULL;
  return expr_op2(x, OP_GE, n, most, NO_SPAN);
}

static void note_read(void *cx, Expr *e) {
  if (e->op == OP_READ || e->op == OP_FIELD) map_putp(cx, tensor_root(e->u.t), e);
}

static void stream_store(Vector *v, Stmt *s) {
  if (s->t->role != ROLE_LOCAL && !map_getp(&v->reads, tensor_root(s->t))) s->stream = is_large(v->p->plan->x, s->t);
}

static void stream_stores(Vector *v, Stmt *loop) {
  for (Stmt *s = loop->body; s; s = s->next)
    if (s->kind == ST_STORE && contiguous(s, loop->ix)) stream_store(v, s);
}

// ---- the choice of each loop -------------------------------------------------------------------

// One running sum of f32, and nothing else that must run in order: blocks can be summed by themselves.
static bool scans_in_blocks(const Stmt *loop) {
  int sums = 0;
  for (const Stmt *s = loop->body; s; s = s->next) {
    if (s->kind == ST_ACC && (s->reducer != RED_SUM || s->var->dtype != DT_F32)) return false;
    sums += s->kind == ST_ACC;
  }
  return sums == 1 && straight(loop->body, true) && !loop->ordered && !short_loop(loop);
}

// Does a store write one place in all steps? Then it adds to what the step before left there.
static bool stores_one_place(const Stmt *loop) {
  for (const Stmt *s = loop->body; s; s = s->next) {
    bool moves = s->kind != ST_STORE || !s->nsub;
    for (int k = 0; k < s->nsub && !moves; k++) moves = expr_uses_index(s->sub[k], loop->ix) || expr_has(s->sub[k], OP_VAR) || expr_has(s->sub[k], OP_READ);
    if (!moves) return true;
  }
  return false;
}

// May its blocks come in any order? Terms of argmax come in that of their index.
static bool in_any_order(const Stmt *loop) {
  if (loop->how != HOW_LANES && loop->how != HOW_VEC && loop->how != HOW_PAR_VEC) return false;
  for (const Stmt *s = loop->body; s; s = s->next) if (s->kind == ST_ACC && s->var2) return false;
  return true;
}

// The same part of one row after the other (jam.c): it stays in the first cache.
static bool is_part_of_rows(const Stmt *loop, const Stmt *outer) {
  return outer && outer->how == HOW_SEQ && !expr_is_const(loop->lo) && !expr_uses_index(loop->lo, outer->ix);
}

static bool short_of_streams(const Stmt *loop, const Stmt *outer) {
  int64_t least = LEAST_STREAMS * (int64_t)loop->lanes;
  if (outer && outer->step && outer->step < least && expr_is_index(loop->lo, outer->ix)) return true;      // one of its tiles
  return expr_is_const(loop->lo) && expr_is_const(loop->hi) && loop->hi->u.v.i - loop->lo->u.v.i < least;
}

// A loop whose accumulators are all updated here and nowhere else gets lanes; a map without branches, a vector. Only perfectly
// nested PAR loops stay parallel together: one that stands inside another beside other statements runs in order.
static void choose(Vector *v, Stmt *loop, const Stmt *outer, bool in_parallel) {
  bool nested = outer && outer->how == HOW_PAR && outer->body == loop && !loop->next;
  if (stores_one_place(loop) && (loop->how == HOW_SEQ || in_parallel)) {
    loop->how = HOW_SEQ;
  } else if (loop->how == HOW_PAR && straight(loop->body, false)) {
    loop->how = in_parallel && !nested ? HOW_VEC : HOW_PAR_VEC;
  } else if (loop->how == HOW_PAR && in_parallel && !nested) {
    loop->how = HOW_SEQ;
  } else if (loop->how == HOW_SEQ && has_acc(loop->body)) {
    if (straight(loop->body, true) && !short_loop(loop)) widen(v, loop);
  } else if (loop->how == HOW_SEQ && stores(loop->body) && straight(loop->body, false) && !loop->ordered) {
    loop->how = HOW_VEC;
  }
  if (loop->how == HOW_VEC || loop->how == HOW_PAR_VEC || (loop->how == HOW_SCAN && scans_in_blocks(loop))) loop->lanes = LANES;
  if (loop->lanes == LANES) stream_stores(v, loop);
  loop->streams = in_any_order(loop) && !short_of_streams(loop, outer) && !is_part_of_rows(loop, outer);
}

static void walk(Vector *v, Stmt *s, const Stmt *outer, bool in_parallel) {
  for (; s; s = s->next) {
    if (s->kind == ST_STAGE && s->nsub) stream_store(v, s);
    if (s->kind == ST_LOOP) choose(v, s, outer, in_parallel);
    bool parallel = in_parallel || (s->kind == ST_LOOP && (s->how == HOW_PAR || s->how == HOW_PAR_VEC));
    walk(v, s->body, s->kind == ST_LOOP ? s : NULL, parallel);
    walk(v, s->els, NULL, parallel);
  }
}

// An accumulator that some other loop or branch updates one term at a time must not have lanes there.
static void find_scalar(Vector *v, const Stmt *s, bool in_lanes, Map *scalar) {
  for (; s; s = s->next) {
    if (s->kind == ST_ACC && !in_lanes) {
      map_putp(scalar, s->var, s->var);
      if (s->var2) map_putp(scalar, s->var2, s->var2);
    }
    find_scalar(v, s->body, s->kind == ST_LOOP && s->how == HOW_LANES, scalar);
    find_scalar(v, s->els, false, scalar);
  }
}

static void apply(Vector *v, Stmt *s, const Map *scalar) {
  for (; s; s = s->next) {
    const Stmt *loop = s->var && !map_getp(scalar, s->var) ? map_getp(&v->lanes, s->var) : NULL;
    if (loop && (s->kind == ST_VAR || s->kind == ST_ACC || s->kind == ST_FOLD)) s->lanes = loop->lanes;
    if (s->kind == ST_LOOP && s->how == HOW_LANES)
      for (const Stmt *b = s->body; b; b = b->next)
        if (b->kind == ST_ACC && map_getp(scalar, b->var)) s->how = HOW_SEQ, s->lanes = 1;
    apply(v, s->body, scalar);
    apply(v, s->els, scalar);
  }
}

// A FOLD of a variable without lanes is nothing.
static Stmt *drop_folds(Stmt *s) {
  if (!s) return NULL;
  Stmt *first = NULL, **tail = &first;
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    if (s->kind == ST_FOLD && s->lanes <= 1) continue;
    s->body = drop_folds(s->body);
    s->els = drop_folds(s->els);
    *tail = s;
    tail = &s->next;
  }
  return first;
}

// ---- prefetching -------------------------------------------------------------------------------

// How far ahead a loop fetches which walks its row once, in bytes; rows lie one behind the other, so beyond the end is the next.
// See Note [Four streams] in codegen/vector_c.c.
enum { AHEAD = 2048, AHEAD_OF_STREAMS = 32768, MOST_ROWS_AHEAD = 16, MAX_WALK = 4 };

static int steps_ahead(const Stmt *loop, const Tensor *t) { return (loop->streams ? AHEAD_OF_STREAMS : AHEAD) * 8 / dtypes[t->dtype].bits; }

// Subscript of one step more as the loop goes one step on?
static bool steps_with(ExprTable *x, Expr *sub, Index *ix) {
  Expr *coef, *rest;
  return expr_is_index(sub, ix) || (!expr_has(sub, OP_VAR) && !expr_has(sub, OP_READ) && affine_split(x, sub, 1, &ix, &coef, &rest) && expr_is_int(coef, 1));
}

// Does the read walk a row of memory as the loop runs?
static bool walks(ExprTable *x, const Expr *read, Index *ix) {
  int n = read->u.t->rank;
  if (n < 1 || read->op != OP_READ || read->u.t->table || dtypes[read->u.t->dtype].bits < 8 || !steps_with(x, read->arg[n - 1], ix)) return false;
  for (int k = 0; k + 1 < n; k++) if (expr_uses_index(read->arg[k], ix) || expr_has(read->arg[k], OP_VAR) || expr_has(read->arg[k], OP_READ)) return false;
  return true;
}

static bool is_vector_loop(const Stmt *s) { return s->kind == ST_LOOP && (s->how == HOW_LANES || (s->how == HOW_SCAN && s->lanes > 1) || s->how == HOW_VEC || s->how == HOW_PAR_VEC); }

// Loops that stand one inside the other, beside nothing but LETs, the innermost a vector loop: a walk over a part of memory.
typedef struct Walk { int n; Stmt *loop[MAX_WALK]; } Walk;

static Walk walk_of(Stmt *s) {
  Walk w = { 0 };
  while (w.n < MAX_WALK && s && s->kind == ST_LOOP) {
    w.loop[w.n++] = s;
    if (is_vector_loop(s)) return w;
    if (s->how != HOW_SEQ || s->step || s->ordered) break;
    for (s = s->body; s && s->kind == ST_LET; s = s->next) { }
    if (s && s->next) break;
  }
  return (Walk){ 0 };
}

static Stmt *last_of(const Walk *w) { return w->loop[w->n - 1]; }

static bool same_range(const Walk *a, const Walk *b) {
  bool same = a->n == b->n;
  for (int k = 0; k < a->n && same; k++) same = a->loop[k]->lo == b->loop[k]->lo && a->loop[k]->hi == b->loop[k]->hi;
  return same;
}

typedef struct Walked { Pipe *p; Index *ix; bool again; VEC(Expr *) read; } Walked;    // again: the whole range, once for each step outside

static void find_walked(void *cx, Expr *e) {
  Walked *w = cx;
  if (e->op != OP_READ || e->u.t->role == ROLE_LOCAL || !walks(w->p->plan->x, e, w->ix)) return;
  if (w->again && e->free->n == 1) return;      // the same row every time stays in the cache
  for (int i = 0; i < w->read.n; i++) if (w->read.v[i] == e) return;
  vec_push(w->p->scratch, &w->read, e);
}

// Steps of a row that ends before what the loop fetches ahead; 0: it does not, or that is not known.
static int64_t short_steps(const Stmt *loop, const Tensor *t) {
  Scalar steps;
  bool known = expr_is_int(loop->lo, 0) && expr_fold(loop->hi, &steps);
  return known && steps.i > 0 && steps.i < steps_ahead(loop, t) ? steps.i : 0;
}

static int64_t rows_ahead(const Stmt *loop, const Tensor *t) {
  int64_t steps = short_steps(loop, t), rows = steps ? AHEAD_OF_STREAMS * 8 / dtypes[t->dtype].bits / steps : 1;
  return rows < MOST_ROWS_AHEAD ? rows : MOST_ROWS_AHEAD;
}

static int subscript_of(const Expr *read, const Index *row) {
  for (int k = read->u.t->rank - 2; k >= 0; k--) if (row && expr_is_index(read->arg[k], row)) return k;
  return -1;
}

// What a loop should fetch when it reads `read`: the element so many rows, or so many steps, further on.
static Expr *later_read(ExprTable *x, Expr *read, const Index *row, int64_t rows, int64_t steps) {
  int at = rows ? subscript_of(read, row) : read->u.t->rank - 1;
  if (at < 0) return NULL;
  Expr *sub[8];
  memcpy(sub, read->arg, (size_t)read->u.t->rank * sizeof *sub);
  sub[at] = expr_plus(x, sub[at], rows ? rows : steps);
  return expr_make(x, OP_READ, (Dtype)read->dtype, 0, read->u.t, read->at, read->u.t->rank, sub);
}

static void add_prefetch(Vector *v, Stmt *loop, Expr *read, bool near, int part, int parts) {
  if (!read) return;
  Stmt *f = stmt_new(v->p->a, ST_PREFETCH);
  f->t = read->u.t;
  f->nsub = read->u.t->rank;
  memcpy(f->sub, read->arg, (size_t)f->nsub * sizeof *f->sub);
  f->near = near;
  f->part = part;
  f->parts = parts;
  f->next = loop->body;
  loop->body = f;
}

// Does the loop run along a side of a tile of tile.c?
static bool is_side(const Vector *v, const Stmt *loop) {
  const Stmt *tiles = loop->lo->op == OP_INDEX ? map_getp(&v->loops, loop->lo->u.ix) : NULL;
  return tiles && tiles->step && tiles->step <= LANES;
}

// What a loop with none behind it over the same range fetches: further on in its row, or in rows to come where a row is short or where it walks
// but a part of it; in a tile, of the tile beside it.
static void look_ahead(Vector *v, Stmt *loop, const Stmt *outer, Expr *read) {
  ExprTable *x = v->p->plan->x;
  const Index *row = outer ? outer->ix : NULL;
  const Tensor *t = read->u.t;
  bool tile = outer && is_side(v, outer) && is_side(v, loop), part_of_row = row && !tile && !expr_is_int(loop->lo, 0);
  bool next_row = part_of_row || (!tile && short_steps(loop, t) && subscript_of(read, row) >= 0);
  Expr *later = next_row ? later_read(x, read, row, rows_ahead(loop, t), 0) : later_read(x, read, NULL, 0, tile ? loop->lanes : steps_ahead(loop, t));
  add_prefetch(v, loop, later, !next_row && !loop->streams, 0, 1);
}

typedef struct Locals { VEC(const Tensor *) t; Arena *a; } Locals;

static void see_local(void *cx, Expr *e) {
  Locals *l = cx;
  if (e->op != OP_READ || e->u.t->role != ROLE_LOCAL || e->u.t->rank != 1) return;
  for (int i = 0; i < l->t.n; i++) if (l->t.v[i] == e->u.t) return;
  vec_push(l->a, &l->t, e->u.t);
}

// Do a row of what `first` reads, the next one and the arrays that the walks behind keep beside them fit the first cache? Then the next row
// may go there at once: 16 KiB of f32 a row, RMS norm of 128 MiB, 48 GB/s instead of 43.
static bool rows_fit(Vector *v, const Walk *first, const Walked *w) {
  Scalar steps;
  const Stmt *loop = last_of(first);
  if (first->n > 1 || !expr_is_int(loop->lo, 0) || !expr_fold(loop->hi, &steps)) return false;
  Locals locals = { .a = v->p->scratch };
  stmts_visit(v->p->scratch, first->loop[0], see_local, &locals);
  int64_t bits = 0;
  for (int i = 0; i < w->read.n; i++) bits += 2 * dtypes[w->read.v[i]->u.t->dtype].bits;
  for (int i = 0; i < locals.t.n; i++) bits += dtypes[locals.t.v[i]->dtype].bits;
  return bits * steps.i / 8 <= 2 * v->p->machine->tile_bytes;
}

// Walks behind `first` over the same range fetch what it will read of the next row, each its part. With none behind it, it looks
// ahead itself.
static void prefetch_for(Vector *v, const Walk *first, const Stmt *outer) {
  ExprTable *x = v->p->plan->x;
  Stmt *loop = last_of(first);
  Walked w = { v->p, loop->ix, outer && first->n == 1 && expr_is_int(loop->lo, 0), { 0 } };
  for (const Stmt *s = loop->body; s; s = s->next) if (s->a) expr_visit(v->p->scratch, s->a, find_walked, &w);
  int later = 0, part = 0;
  bool near = outer && rows_fit(v, first, &w);
  for (Stmt *s = first->loop[0]->next; s; s = s->next) {
    Walk o = walk_of(s);
    later += o.n && same_range(first, &o);
  }
  for (int i = 0; i < w.read.n && (!later || !outer) && first->n == 1; i++) look_ahead(v, loop, outer, w.read.v[i]);
  for (Stmt *s = first->loop[0]->next; s && outer; s = s->next) {
    Walk o = walk_of(s);
    if (!o.n || !same_range(first, &o)) continue;
    Index *from[MAX_WALK];
    Expr *to[MAX_WALK];
    for (int k = 0; k < o.n; k++) from[k] = first->loop[k]->ix, to[k] = expr_index(x, o.loop[k]->ix);
    for (int i = 0; i < w.read.n; i++)
      add_prefetch(v, last_of(&o), later_read(x, expr_subst(x, w.read.v[i], o.n, from, to), outer->ix, 1, 0), near, part, later);
    part++;
  }
}

static bool has_walk_behind(const Walk *w) {
  for (Stmt *s = w->loop[0]->next; s; s = s->next) {
    Walk o = walk_of(s);
    if (o.n && same_range(w, &o)) return true;
  }
  return false;
}

static bool has_walk_before(Stmt *first, const Walk *w) {
  for (Stmt *s = first; s != w->loop[0]; s = s->next) {
    Walk o = walk_of(s);
    if (o.n && same_range(w, &o)) return true;
  }
  return false;
}

static void prefetch(Vector *v, Stmt *s, const Stmt *outer) {
  for (Stmt *t = s; t; t = t->next) {
    Walk w = walk_of(t);
    bool before = w.n && has_walk_before(s, &w), behind = w.n && outer && has_walk_behind(&w);
    if (w.n && !before && (w.n == 1 || behind)) prefetch_for(v, &w, outer);
    if (w.n > 1 && (before || behind) && outer) continue;
    if (t->kind == ST_LOOP) map_putp(&v->loops, t->ix, t);
    const Stmt *row = t->kind == ST_LOOP && (t->how == HOW_PAR || t->how == HOW_SEQ) ? t : NULL;
    prefetch(v, t->body, row);
    prefetch(v, t->els, NULL);
  }
}

// Each form of a kernel by itself.
static void walk_forms(Vector *v, Stmt *s) {
  bool forms = s && !s->next && s->kind == ST_IF && s->els;
  if (forms) {
    walk_forms(v, s->body);
    walk_forms(v, s->els);
    return;
  }
  v->reads = map_make(v->p->scratch);
  stmts_visit(v->p->scratch, s, note_read, &v->reads);
  walk(v, s, NULL, false);
}

bool pass_vector(Pipe *p) {
  if (pipe_is_gpu(p)) return true;
  for (int i = 0; i < p->plan->kernels.n; i++) {
    Kernel *k = p->plan->kernels.v[i];
    Vector v = { .p = p, .lanes = map_make(p->scratch), .loops = map_make(p->scratch) };
    Map scalar = map_make(p->scratch);
    narrow_best(p->plan->x, p->scratch, ranges_create(p->scratch, p->plan->x), k->body);
    walk_forms(&v, k->body);
    find_scalar(&v, k->body, false, &scalar);
    apply(&v, k->body, &scalar);
    k->body = drop_folds(k->body);
    prefetch(&v, k->body, NULL);
    k->body = rows_at_once(p, k->body);
  }
  return true;
}
