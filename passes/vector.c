// vector.c: give reductions lanes and maps vectors.
//
//   for j < D:  z = z + x[i, j]     ──▶  16 sums, one per lane, combined in a fixed tree
//   for j < D:  y[i, j] = …         ──▶  the same loop, marked as free of dependences
//
// Lanes make the order of a reduction part of the program: the same bits with any compiler, vector width and thread count. Only
// innermost loops without branches change; a loop that is split over cores and has no loop inside is both.
#include "passes/pass.h"

enum { LANES = 16 };    // f32 values of an AVX-512 register; two AVX2 registers

static bool packed(const Tensor *t) { return t->dtype == DT_I4 || t->dtype == DT_U4; }

// A float product in another order may overflow where the direct one met a zero first; the language does not allow that.
static bool may_reorder(const Stmt *acc) { return acc->reducer != RED_PROD || !dtype_is_float(acc->var->dtype); }

// Straight-line code: no branch, no loop, nothing that shares a byte with its neighbour.
static bool straight(const Stmt *s, bool accumulates) {
  for (; s; s = s->next) {
    if (s->kind == ST_LET) continue;
    if (s->kind == ST_STORE && !packed(s->t) && s->field < 0) continue;
    if (s->kind == ST_ACC && accumulates && may_reorder(s)) continue;
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
  return expr_is_const(loop->lo) && expr_is_const(loop->hi) && loop->hi->u.v.i - loop->lo->u.v.i < LANES;
}

typedef struct Vector { Pipe *p; Map lanes; } Vector;      // lanes: Var → itself, accumulated in lanes

static void widen(Vector *v, Stmt *loop) {
  for (const Stmt *s = loop->body; s; s = s->next) {
    if (s->kind != ST_ACC) continue;
    map_putp(&v->lanes, s->var, s->var);
    if (s->var2) map_putp(&v->lanes, s->var2, s->var2);
  }
  loop->how = HOW_LANES;
  loop->lanes = LANES;
}

// A loop whose accumulators are all updated here and nowhere else gets lanes; a map without branches, a vector. Only perfectly
// nested PAR loops stay parallel together: one that stands inside another beside other statements runs in order.
static void choose(Vector *v, Stmt *loop, const Stmt *outer, bool in_parallel) {
  bool nested = outer && outer->how == HOW_PAR && outer->body == loop && !loop->next;
  if (loop->how == HOW_PAR && straight(loop->body, false)) {
    loop->how = in_parallel ? HOW_VEC : HOW_PAR_VEC;
  } else if (loop->how == HOW_PAR && in_parallel && !nested) {
    loop->how = HOW_SEQ;
  } else if (loop->how == HOW_SEQ && has_acc(loop->body)) {
    if (straight(loop->body, true) && !short_loop(loop)) widen(v, loop);
  } else if (loop->how == HOW_SEQ && stores(loop->body) && straight(loop->body, false) && !loop->ordered) {
    loop->how = HOW_VEC;
  }
}

static void walk(Vector *v, Stmt *s, const Stmt *outer, bool in_parallel) {
  for (; s; s = s->next) {
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
    bool named = s->var && map_getp(&v->lanes, s->var) && !map_getp(scalar, s->var);
    if (named && (s->kind == ST_VAR || s->kind == ST_ACC || s->kind == ST_FOLD)) s->lanes = LANES;
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

bool pass_vector(Pipe *p) {
  for (int i = 0; i < p->plan->kernels.n; i++) {
    Kernel *k = p->plan->kernels.v[i];
    Vector v = { p, map_make(p->scratch) };
    Map scalar = map_make(p->scratch);
    walk(&v, k->body, NULL, false);
    find_scalar(&v, k->body, false, &scalar);
    apply(&v, k->body, &scalar);
    k->body = drop_folds(k->body);
  }
  return true;
}
