// gpu_row.c: loops of a team over one row, in vectors, and what of the row threads keep in registers.
//
//   for j in 0 .. D:  m = max(m, x[i, j])          unroll k in 0 .. 2:  x_r[8 * k ..] = 8 of x[i, 8 * (256 * k + thread)]
//   for j in 0 .. D:  z = z + exp(x[i, j] - m)  ──▶  unroll k in 0 .. 2:  unroll v in 0 .. 8:  m = max(m, x_r[8 * k + v])
//   …                                              …
//
// Vector n of the row belongs to thread n % team, in all loops. How many threads a row gets follows from its length: enough that
// their registers hold what is used again. See Note [How many threads a row gets].
#include "passes/gpu_team.h"

enum {
  MOST_ITEMS = 16,              // vectors of a thread
  MOST_WORDS = 96,              // of what a thread keeps
  FILE_WORDS = 65536,           // registers of a multiprocessor (CUDA C++ Guide, Compute Capabilities)
  OTHER_WORDS = 28,             // of a thread beside what it keeps
  MOST_THREADS = 1024, LEAST_THREADS = 128, MOST_CLUSTER = 8
};

// ---- what loops walk ---------------------------------------------------------------------------

typedef struct Walked { Team *t; const Stmt *loop; int count, main, any; } Walked;       // main, any: bits of the widest element

static bool is_step(const Team *t, Expr *e, Index *ix) {
  Expr *coef, *rest;
  return expr_uses_index(e, ix) && affine_split(t->g->x, e, 1, &ix, &coef, &rest) && expr_is_int(coef, 1);
}

static bool in_memory(const Team *t, const Tensor *a) { return a->rank && !a->fmt && a->role != ROLE_TABLE && tensor_place(t->g->plan, a) != PLACE_STACK; }

static void see_access(Walked *w, const Tensor *a, Expr *const *sub, int n) {
  if (!in_memory(w->t, a) || !is_step(w->t, sub[n - 1], w->loop->ix)) return;
  for (int k = 0; k + 1 < n; k++) if (expr_uses_index(sub[k], w->loop->ix)) return;
  int bits = dtypes[a->dtype].bits;
  bool main = !w->t->n->n;
  for (int k = 0; k + 1 < n; k++) main |= sub[k]->op != OP_CONST;
  w->count++;
  if (main && bits > w->main) w->main = bits;
  if (bits > w->any) w->any = bits;
}

static void see_read(void *cx, Expr *e) { if (e->op == OP_READ && e->u.t->rank) see_access(cx, e->u.t, e->arg, e->u.t->rank); }

static void see_stores(Walked *w, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_STORE && s->field < 0 && s->nsub) see_access(w, s->t, s->sub, s->nsub);
    see_stores(w, s->body);
    see_stores(w, s->els);
  }
}

static void walk(Walked *w, const Stmt *loop) {
  w->loop = loop;
  gpu_visit(w->t->g, loop->body, see_read, w);
  see_stores(w, loop->body);
}

bool gpu_walks_memory(Team *t, const Stmt *loop) {
  Walked w = { .t = t };
  walk(&w, loop);
  return w.count > 0;
}

// ---- the row and its loops ---------------------------------------------------------------------

static bool is_leaf(const Stmt *loop) { return !gpu_has_loop(loop->body) && !gpu_has(loop->body, ST_ALLOC); }

static bool from_zero(const Stmt *loop) { return is_leaf(loop) && expr_is_int(loop->lo, 0); }

// The most steps that a loop of known length walks memory with.
static int64_t longest(Team *t) {
  int64_t most = 0;
  for (int i = 0; i < t->loops.n; i++) {
    const Stmt *s = t->loops.v[i];
    if (!from_zero(s) || !gpu_walks_memory(t, s)) continue;
    if (s->hi->op == OP_CONST && s->hi->u.v.i > most) most = s->hi->u.v.i;
    else if (gpu_dims_only(t->g, s->hi)) gpu_want(t->g, t->n->k, s->hi);
  }
  return most;
}

// A loop over a part of the row that begins where it begins.
static bool within_row(Team *t, const Stmt *s) {
  if (s->hi->op == OP_CONST) return s->hi->u.v.i == t->row;
  return range_prove_ge0(t->n->facts, t->g->x, expr_op2(t->g->x, OP_SUB, gpu_int(t->g, t->row), s->hi, NO_SPAN));
}

static void find_vectors(Team *t) {
  Walked w = { .t = t };
  for (int i = 0; i < t->loops.n; i++) {
    Stmt *s = t->loops.v[i];
    if (!from_zero(s) || !within_row(t, s)) continue;
    map_putp(&t->vector, s, s);
    walk(&w, s);
  }
  int bits = w.main ? w.main : w.any;
  t->lanes = bits ? 128 / bits : 1;
  if (t->lanes > 16) t->lanes = 16;
  while (t->lanes > 1 && (t->row % t->lanes || t->lanes * bits > 8 * t->g->m->vector_bytes)) t->lanes /= 2;
}

static bool on_own_level(const Team *t, const Stmt *loop) {
  for (const Stmt *s = t->n->body; s; s = s->next) if (s == loop) return true;
  return false;
}

// ---- what is kept ------------------------------------------------------------------------------

// A read of the row: in how many loops, and up to where elements are wanted (NULL: the whole row).
typedef struct Seen { Expr *read; int loops; const Stmt *last; Expr *to; bool whole; } Seen;
typedef struct Reads { Team *t; const Stmt *loop; VEC(Seen) v; } Reads;

static void see_var(void *cx, Expr *e) {
  void **p = cx;
  const Team *t = p[0];
  if (e->op == OP_VAR && gpu_declares(t->n->body, e->u.var)) *(bool *)p[1] = false;
  if ((e->op == OP_READ && e->u.t->rank) || e->op == OP_FIELD) *(bool *)p[1] = false;
}

// The read's place is known before all loops of the row.
static bool known_before(Team *t, Expr *read) {
  bool yes = true;
  for (uint32_t k = 0; k < read->nargs; k++) expr_visit(t->g->scratch, read->arg[k], see_var, (void *[]){ t, &yes });
  return yes;
}

static bool is_grid_index(const Nest *n, const Expr *sub, const Expr *extent) {
  for (int k = 0; k < n->n; k++) if (sub->op == OP_INDEX && sub->u.ix == n->ix[k] && n->extent[k] == extent) return true;
  return sub->op == OP_CONST && extent->op == OP_CONST && sub->u.v.i >= 0 && sub->u.v.i < extent->u.v.i;
}

// Which reads of a loop can be kept: t[…, j] of a tensor that is not written, in range over the whole row.
static bool can_keep(Team *t, const Stmt *loop, Expr *e) {
  Tensor *a = e->u.t;
  int last = a->rank - 1;
  if (e->op != OP_READ || !in_memory(t, a) || map_getp(&t->written, gpu_root(a))) return false;
  if (e->arg[last]->op != OP_INDEX || e->arg[last]->u.ix != loop->ix) return false;
  if (a->extent[last]->op != OP_CONST || a->extent[last]->u.v.i < t->row || (a->rank > 1 && a->extent[last]->u.v.i % t->lanes)) return false;
  int bits = dtypes[a->dtype].bits;
  if (bits * t->lanes % 32) return false;
  for (int k = 0; k < last; k++) if (!is_grid_index(t->n, e->arg[k], a->extent[k])) return false;
  return true;
}

static void see_kept(void *cx, Expr *e) {
  Reads *r = cx;
  Team *t = r->t;
  if (e->op != OP_READ || !e->u.t->rank || !can_keep(t, r->loop, e)) return;
  Expr *row = expr_index(t->g->x, t->rows.row);
  Index *ix = r->loop->ix;
  Expr *as_row = expr_subst(t->g->x, e, 1, &ix, &row);
  bool whole = r->loop->hi->op == OP_CONST;
  for (int i = 0; i < r->v.n; i++) {
    Seen *s = &r->v.v[i];
    if (s->read != as_row) continue;
    s->loops += s->last != r->loop;
    s->last = r->loop;
    if (!whole && s->to && s->to != r->loop->hi) s->whole = true;
    if (!whole) s->to = r->loop->hi;
    return;
  }
  vec_push(t->g->scratch, &r->v, (Seen){ as_row, 1, r->loop, whole ? NULL : r->loop->hi, false });
}

// ---- elements that are wanted only so far -------------------------------------------------------

typedef struct Guards { Team *t; const Stmt *loop; Expr *read, *to; bool covered; } Guards;

static void look(Guards *c, Expr *e, int fuel) {
  Ranges *facts = c->t->n->facts;
  ExprTable *x = c->t->g->x;
  if (!c->covered || !e->nargs) return;
  if (fuel <= 0) { c->covered = false; return; }
  if (e == c->read) {
    Expr *one = gpu_int(c->t->g, 1), *ix = expr_index(x, c->loop->ix);
    c->covered &= range_prove_ge0(facts, x, expr_op2(x, OP_SUB, expr_op2(x, OP_SUB, c->to, one, NO_SPAN), ix, NO_SPAN));
    return;
  }
  bool lazy = e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
  for (uint32_t k = 0; k < e->nargs; k++) {
    ranges_push(facts);
    if (lazy && k) ranges_assume(facts, e->arg[0], e->op == OP_SELECT ? k == 1 : e->op == OP_AND);
    look(c, e->arg[k], fuel - 1);
    ranges_pop(facts);
  }
}

static void look_at(Guards *c, const Stmt *s) {
  for (; s; s = s->next) {
    Expr *const part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) if (part[k]) look(c, part[k], 30);
    for (int k = 0; k < s->nsub; k++) look(c, s->sub[k], 30);
    look_at(c, s->body);
    look_at(c, s->els);
  }
}

// Do the loops over the whole row, too, read it only up to s->to?
static bool covered(Team *t, const Seen *s) {
  for (int i = 0; i < t->loops.n; i++) {
    const Stmt *loop = t->loops.v[i];
    Expr *ix = expr_index(t->g->x, loop->ix);
    if (!map_getp(&t->vector, loop) || loop->hi->op != OP_CONST) continue;
    Guards c = { t, loop, expr_subst(t->g->x, s->read, 1, &t->rows.row, &ix), s->to, true };
    ranges_push(t->n->facts);
    ranges_index(t->n->facts, loop->ix, loop->lo, loop->hi);
    look_at(&c, loop->body);
    ranges_pop(t->n->facts);
    if (!c.covered) return false;
  }
  return true;
}

// ---- how many threads --------------------------------------------------------------------------

static int words_of(const Team *t, Dtype d) { return (t->lanes * dtypes[d].bits + 31) / 32; }

static bool fits(int64_t items, int threads, int words) {
  int64_t kept = items * words;
  return items <= MOST_ITEMS && kept <= MOST_WORDS && (kept + OTHER_WORDS) * threads <= FILE_WORDS;
}

static int round_up(int64_t n, int to) { return (int)((n + to - 1) / to * to); }

// A warp, or a block of `items` vectors a thread, or a cluster of blocks.
static bool try_block(Team *t, int64_t vectors, int words) {
  static const int items[] = { 2, 3, 4, 1, 5, 6, 7, 8, 10, 12, 16 };
  int64_t clusters = t->g->m->arch >= 90 ? MOST_CLUSTER : 1;
  for (int cluster = 1; cluster <= clusters; cluster *= 2) {
    int64_t mine = (vectors + cluster - 1) / cluster;
    for (unsigned i = 0; i < sizeof items / sizeof *items; i++) {
      int threads = round_up((mine + items[i] - 1) / items[i], GPU_LANES);
      if (threads < LEAST_THREADS && items[i] > 1) continue;
      if (threads > MOST_THREADS || !fits(items[i], threads, words)) continue;
      t->items = items[i];
      t->threads = threads;
      t->cluster = cluster;
      t->size = threads * cluster;
      return true;
    }
  }
  return false;
}

static void choose_size(Team *t, int words, bool again) {
  int64_t vectors = t->row / t->lanes;
  int64_t warp_items = (vectors + GPU_LANES - 1) / GPU_LANES;
  t->items = 0;
  if (vectors <= GPU_LANES / 2) {
    for (t->size = 1; t->size < vectors; t->size *= 2) {}
    t->items = 1;
    t->threads = LEAST_THREADS;
  } else if (warp_items <= (again ? 4 : 8) && fits(warp_items, LEAST_THREADS, words)) {
    t->size = GPU_LANES;
    t->items = (int)warp_items;
    t->threads = LEAST_THREADS;
  } else if (!again || !try_block(t, vectors, words)) {
    t->threads = t->size = vectors <= 1024 ? 128 : vectors <= 8192 ? 256 : 512;
    t->items = !again && vectors <= 4LL * t->threads ? (int)((vectors + t->threads - 1) / t->threads) : 0;
  }
}

// ---- finding it --------------------------------------------------------------------------------

static Tensor *thread_array(Team *t, const char *name, Dtype d) {
  Gpu *g = t->g;
  Expr *n = gpu_int(g, (int64_t)t->items * t->lanes);
  return fn_tensor(g->f, intern(g->f->names, arena_printf(g->scratch, "%s_r", name)), ROLE_LOCAL, d, NULL, 1, &n, NO_SPAN);
}

typedef struct Uses { Team *t; const Stmt *loop; Map bad; } Uses;      // loop: of the row, on the team's own level; NULL: another place

static void use(Uses *u, const Tensor *a, Expr *const *sub, int n) {
  bool here = u->loop && n == 1 && sub[0]->op == OP_INDEX && sub[0]->u.ix == u->loop->ix;
  if (!here) map_putp(&u->bad, a, (void *)(uintptr_t)a);
}
static void use_read(void *cx, Expr *e) { if (e->op == OP_READ && e->u.t->role == ROLE_LOCAL) use(cx, e->u.t, e->arg, e->u.t->rank); }

static void find_uses(Uses *u, const Stmt *s) {
  for (; s; s = s->next) {
    const Stmt *outer = u->loop;
    if (map_getp(&u->t->vector, s) && on_own_level(u->t, s)) u->loop = s;
    Stmt one = *s;
    one.next = one.body = one.els = NULL;
    gpu_visit(u->t->g, &one, use_read, u);
    if (s->kind == ST_STORE && s->t->role == ROLE_LOCAL) use(u, s->t, s->sub, s->nsub);
    find_uses(u, s->body);
    find_uses(u, s->els);
    u->loop = outer;
  }
}

typedef struct Arrays { VEC(Stmt *) v; int words; } Arrays;

// Local arrays of the row, each element of which only one thread touches.
static void find_private(Team *t, Arrays *out) {
  Uses u = { .t = t, .bad = map_make(t->g->scratch) };
  find_uses(&u, t->n->body);
  for (Stmt *s = t->n->body; s; s = s->next) {
    if (s->kind != ST_ALLOC || s->t->fmt || s->t->rank != 1 || dtypes[s->t->dtype].bits < 32 || map_getp(&u.bad, s->t)) continue;
    vec_push(t->g->scratch, &out->v, s);
    out->words += words_of(t, s->t->dtype);
  }
}

void gpu_find_row(Team *t) {
  Gpu *g = t->g;
  Reads r = { .t = t };
  Arrays arrays = { .words = 0 };
  t->rows.row = gpu_index(g, "row");
  t->rows.arrays = map_make(g->scratch);
  t->row = longest(t);
  if (t->row < 2) { t->row = 0; return; }
  find_vectors(t);
  if (t->lanes < 2) { t->row = 0; return; }
  for (int i = 0; i < t->loops.n; i++) {
    r.loop = t->loops.v[i];
    if (map_getp(&t->vector, r.loop) && on_own_level(t, r.loop)) gpu_visit(g, r.loop->body, see_kept, &r);
  }
  find_private(t, &arrays);
  int words = arrays.words, loops = 0;
  bool again = arrays.v.n > 0;
  for (int i = 0; i < t->loops.n; i++) loops += map_getp(&t->vector, t->loops.v[i]) != NULL;
  for (int i = 0; i < r.v.n; i++) {
    if (r.v.v[i].loops > 1) words += words_of(t, r.v.v[i].read->u.t->dtype);
    again |= r.v.v[i].loops > 1;
  }
  choose_size(t, words, again);
  for (int i = 0; i < r.v.n && t->items; i++) {
    Seen *s = &r.v.v[i];
    int more = s->loops > 1 ? 0 : words_of(t, s->read->u.t->dtype);
    bool early = more && loops > 1 && known_before(t, s->read) && fits(t->items, t->threads, words + more);
    if (!known_before(t, s->read) || (s->loops < 2 && !early)) continue;
    words += more;
    Expr *to = s->to && !s->whole && covered(t, s) ? s->to : NULL;
    vec_push(g->scratch, &t->rows.kept, (Kept){ s->read, thread_array(t, s->read->u.t->name, s->read->u.t->dtype), to });
  }
  for (int i = 0; i < arrays.v.n && t->items; i++) map_putp(&t->rows.arrays, arrays.v.v[i]->t, thread_array(t, arrays.v.v[i]->t->name, arrays.v.v[i]->t->dtype));
}

// ---- the loops ---------------------------------------------------------------------------------

static Expr *less(const Team *t, Expr *a, Expr *b) { return expr_op2(t->g->x, OP_LT, a, b, NO_SPAN); }

static bool is_even(const Team *t) { return (int64_t)t->items * t->size * t->lanes == t->row; }

// unroll k in 0 .. items:  let first = (k * team + member) * lanes:  inside
static Stmt *over_items(Team *t, const char *name, Index **k, Expr **first, Block *in) {
  Gpu *g = t->g;
  *k = gpu_index(g, "k");
  Expr *at = gpu_plus(g, gpu_mul(g, expr_index(g->x, *k), gpu_int(g, t->size)), t->member);
  gpu_let(g, in, name, gpu_mul(g, at, gpu_int(g, t->lanes)), first);
  return gpu_loop(g, HOW_UNROLL, *k, gpu_int(g, 0), gpu_int(g, t->items), NULL);
}

static Expr *slot_of(const Team *t, Index *k) { return gpu_mul(t->g, expr_index(t->g->x, k), gpu_int(t->g, t->lanes)); }

Stmt *gpu_load_rows(Team *t) {
  Gpu *g = t->g;
  Block b = gpu_block();
  for (int i = 0; i < t->rows.kept.n; i++) {
    Kept *kept = &t->rows.kept.v[i];
    Tensor *a = kept->read->u.t;
    Index *k;
    Expr *first, *sub[8];
    Block in = gpu_block();
    Stmt *alloc = stmt_new(g->a, ST_ALLOC), *loop = over_items(t, "first", &k, &first, &in);
    alloc->t = kept->local;
    alloc->space = dtypes[a->dtype].bits < 32 ? SPACE_PACKED : SPACE_STACK;
    gpu_add(&b, alloc);
    for (int d = 0; d < a->rank; d++) sub[d] = expr_subst(g->x, kept->read->arg[d], 1, &t->rows.row, &first);
    Stmt *move = gpu_move(g, a, a->rank, sub, kept->local, slot_of(t, k), t->lanes, false);
    Expr *end = kept->to ? kept->to : is_even(t) ? NULL : gpu_int(g, t->row);
    gpu_add(&in, end ? gpu_if(g, less(t, first, end), move, NULL) : move);
    loop->body = in.first;
    gpu_add(&b, loop);
  }
  t->loaded = true;
  return b.first;
}

// The loop's body for the vector that begins at `first`.
static Stmt *one_vector(Team *t, Stmt *s, Expr *first, Expr *slot, bool keeps) {
  Gpu *g = t->g;
  bool part = s->hi->op != OP_CONST;
  if (part) s->body = gpu_if(g, less(t, expr_index(g->x, s->ix), s->hi), s->body, NULL);
  Vector v = { .g = g, .n = t->n, .written = &t->written, .ix = s->ix, .hi = s->hi, .bound = gpu_int(g, t->row), .first = first, .lanes = t->lanes,
               .rows = keeps ? &t->rows : NULL, .slot = slot };
  return gpu_vector(&v, s->body);
}

// One vector after the other.
static Stmt *stream(Team *t, Stmt *s) {
  Gpu *g = t->g;
  Index *at = gpu_index(g, arena_printf(g->scratch, "%s0", s->ix->name));
  Expr *lanes = gpu_int(g, t->lanes);
  Stmt *body = one_vector(t, s, expr_index(g->x, at), NULL, false);
  Stmt *loop = gpu_loop(g, HOW_SEQ, at, gpu_mul(g, t->member, lanes), s->hi, body);
  loop->step = (int64_t)t->size * t->lanes;
  loop->unroll = t->row / loop->step >= 8 ? 8 : 4;
  return loop;
}

Stmt *gpu_row_loop(Team *t, Stmt *s, bool keeps) {
  Gpu *g = t->g;
  Index *k;
  Expr *first;
  Block in = gpu_block();
  const char *note = s->note;
  s->note = NULL;
  Stmt *loop;
  if (!t->items) {
    loop = stream(t, s);
  } else {
    loop = over_items(t, arena_printf(g->scratch, "%s0", s->ix->name), &k, &first, &in);
    Expr *end = s->hi->op != OP_CONST ? s->hi : is_even(t) ? NULL : gpu_int(g, t->row);
    Stmt *body = one_vector(t, s, first, slot_of(t, k), keeps);
    gpu_add(&in, end ? gpu_if(g, less(t, first, end), body, NULL) : body);
    loop->body = in.first;
  }
  loop->note = note;
  return loop;
}

// Note [How many threads a row gets]
//
// A row that is used again stays in registers: `items` vectors of 16 bytes a thread, two where a block of 128 to 1024 threads can have
// them, since blocks then alternate between loading and computing; more only where rows are longer. What a thread keeps must fit its share
// of the register file, with some for the rest. Short rows get a warp, or a part of one: folds then need no
// barrier. Rows too long for a block get a cluster of blocks, where there are clusters; else they are read again.
