// vector.c: give reductions lanes and maps vectors.
//
//   for j < D:  z = z + x[i, j]     ──▶  64 sums, one per lane, combined in a fixed tree
//   for j < D:  y[i, j] = …         ──▶  the same loop, in blocks of 64 independent steps
//
// Values that nothing reads soon leave past the caches where these cannot keep what the kernel touches (`stream`). narrow.c, overlap.c, scan_rows.c,
// prefetch.c and rows.c add indices of 32 bits, rows beside one another, what loops fetch ahead, and rows taken together.
//
// Lanes make the order of a reduction part of the program: the same bits with any compiler, vector width and thread count. Only
// innermost loops without branches change; a loop that is split over cores and has no loop inside is both.
#include "ir/far.h"
#include "passes/pass.h"

enum {
  LANES = 64,           // of one block: f32 values of four AVX-512 registers, so that sums do not wait for one another
  LANES_OF_8_BYTES = 32,
  LANES_ARG = 32,       // argmax: a value and a 64-bit index a lane
  SHORT_ROW = 512,      // steps below which a block that is left over counts
  LEAST_STREAMS = 16    // blocks that are worth four streams
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
  const Kernel *k;
  Map lanes;            // Var → the loop that accumulates it in lanes
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

static void note_read(void *cx, Expr *e) {
  if (e->op == OP_READ || e->op == OP_FIELD) map_putp(cx, tensor_root(e->u.t), e);
}

static void stream_store(Vector *v, Stmt *s) {
  if (s->t->role != ROLE_LOCAL && !map_getp(&v->reads, tensor_root(s->t))) s->stream = far_when(v->p->plan->x, v->p->machine, v->k, s->t);
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

static void note_uniform(void *cx, Expr *e) { *(bool *)cx |= e->op == OP_UNIFORM; }

// Blocks of a short row are such that none is left over, where that is possible. Not where whole lines or vectors are put together behind the lanes.
static int lanes_of_map(const Vector *v, const Stmt *loop) {
  int64_t steps = expr_is_const(loop->lo) && expr_is_const(loop->hi) ? loop->hi->u.v.i - loop->lo->u.v.i : 0;
  if (steps <= 0 || steps >= SHORT_ROW || steps % LANES == 0) return loop->lanes;
  for (const Stmt *s = loop->body; s; s = s->next) {
    bool random = false;
    if (s->a) expr_visit(v->p->scratch, s->a, note_uniform, &random);
    if (s->stream || random) return loop->lanes;
  }
  return steps % 32 == 0 || (steps > 16 && steps < 32) ? 32 : steps % 16 == 0 || steps < 16 ? 16 : loop->lanes;
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
  if (loop->how == HOW_VEC || loop->how == HOW_PAR_VEC) loop->lanes = lanes_of_map(v, loop);
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
static Stmt *drop_fold(void *cx, Stmt *s) {
  if (s->kind == ST_FOLD && s->lanes <= 1) return NULL;
  s->body = stmts_replace(s->body, drop_fold, cx);
  s->els = stmts_replace(s->els, drop_fold, cx);
  return s;
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
    Vector v = { .p = p, .k = k, .lanes = map_make(p->scratch) };
    Map scalar = map_make(p->scratch);
    narrow_best(p->plan->x, p->scratch, ranges_create(p->scratch, p->plan->x), k->body);
    walk_forms(&v, k->body);
    find_scalar(&v, k->body, false, &scalar);
    apply(&v, k->body, &scalar);
    k->body = stmts_replace(k->body, drop_fold, NULL);
    overlap_rows(p, k);
    k->body = scan_rows(p, k->body);
    prefetch_rows(p, k->body);
    k->body = rows_at_once(p, k->body);
    prefetch_drop(p, k);
  }
  return true;
}
