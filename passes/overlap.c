// overlap.c: where the end of a row may run beside the beginning of the next, and when that is worth it (CPU).
//
//   par i in 0 .. N                             row 0        row 1        row 2
//     lanes j:  m = max(m, x[i, j])             max
//     lanes j:  z = sum(z, e[j] = …)     ──▶    sum          max
//     vec j:    y[i, j] = e[j] / z              quotients  | sum          max
//                                                            quotients  | sum
//
// A row that is in the caches is worked on for a while, and a core's memory rests meanwhile: of a softmax in memory, for a quarter of the
// time. Here the results of a row leave while the next one is computed and the one after that is fetched (prefetch.c). This file looks for the two
// loops and says when; overlap_pipeline.c lays them beside one another. See Note [What goes beside what].
#include "passes/overlap.h"
#include "ir/far.h"
#include "ir/rewrite.h"

enum {
  LEAST_ROWS = 8,
  LEAST_NESTED = 256,   // of a nest of parallel loops, in all
  ROWS_KEPT = 2,        // in the second cache
  FEW_BLOCKS = 8,       // of a row, up to which it is not worth while to begin with a line
  SHORT_BLOCKS = 4,     // of a row, up to which a core waits for what lanes make together: see Note [Short rows]
};

// ---- what a row does ---------------------------------------------------------------------------

static Object *object_of(Overlap *o, const Var *var, const Tensor *t) {
  const void *key = var ? (const void *)var : (const void *)tensor_root(t);
  uintptr_t n = (uintptr_t)map_getp(&o->number, key);
  if (n) return &o->object.v[n - 1];
  vec_push(o->p->scratch, &o->object, (Object){ .var = var, .t = t ? tensor_root(t) : NULL });
  map_putp(&o->number, key, (void *)(uintptr_t)o->object.n);
  return &o->object.v[o->object.n - 1];
}

static void note(Overlap *o, const Var *var, const Tensor *t, bool writes) {
  if (var || t) object_of(o, var, t)->does |= (writes ? EARLY_WRITES : EARLY_READS) * (o->late ? 4 : 1);
}

static void note_read(void *cx, Expr *e) {
  if (e->op == OP_VAR) note(cx, e->u.var, NULL, false);
  if (e->op == OP_READ || e->op == OP_FIELD) note(cx, NULL, e->u.t, false);
}

static bool changes(const Stmt *s) { return s->kind == ST_SET || s->kind == ST_ACC || s->kind == ST_FOLD; }

static void note_writes(Overlap *o, const Stmt *s, bool inside) {
  bool block = s->kind == ST_LOOP || s->kind == ST_IF, known = block || s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_STORE || s->kind == ST_FAULT;
  if (!known && !changes(s) && (s->kind != ST_ALLOC || inside)) o->failed = true;
  if (s->kind == ST_LOOP && (s->how == HOW_PAR || s->how == HOW_PAR_VEC)) o->failed = true;
  if (changes(s)) note(o, s->var, NULL, true), note(o, s->var2, NULL, true);
  if (s->kind == ST_STORE) note(o, NULL, s->t, true);
  for (const Stmt *b = s->body; b; b = b->next) note_writes(o, b, true);
  for (const Stmt *b = s->els; b; b = b->next) note_writes(o, b, true);
}

static bool changed_in(const Stmt *s, const Var *v) {
  for (; s; s = s->next)
    if ((changes(s) && (s->var == v || s->var2 == v)) || changed_in(s->body, v) || changed_in(s->els, v)) return true;
  return false;
}

// Does the statement of the row belong to what comes late: the last loop, its accumulators and what is behind it?
bool overlap_is_late(const Overlap *o, const Stmt *s) {
  if (s->kind == ST_VAR) return changed_in(o->b, s->var);
  for (const Stmt *b = o->b; b; b = b->next) if (b == s) return true;
  return false;
}

static void note_statement(Overlap *o, Stmt *s) {
  Stmt one = *s;
  one.next = NULL;
  o->late = overlap_is_late(o, s);
  note_writes(o, s, false);
  stmts_visit(o->p->scratch, &one, note_read, o);
  if (s->kind == ST_LET || s->kind == ST_VAR) object_of(o, s->var, NULL)->declared = s;
  if (s->kind == ST_ALLOC) object_of(o, NULL, s->t)->declared = s;
}

// ---- arrays of a row ---------------------------------------------------------------------------

typedef struct Uses { const Tensor *t; const Index *ix; int good, all; } Uses;

static void count_read(void *cx, Expr *e) {
  Uses *p = cx;
  if (e->op != OP_READ || e->u.t != p->t) return;
  p->all++;
  p->good += e->nargs == 1 && expr_is_index(e->arg[0], p->ix);
}

static void count_stores(Uses *p, const Stmt *s) {
  for (; s; s = s->next) {
    bool writes = s->kind == ST_STORE && s->t == p->t;
    p->all += writes;
    p->good += writes && s->nsub == 1 && expr_is_index(s->sub[0], p->ix);
    count_stores(p, s->body);
    count_stores(p, s->els);
  }
}

// Is an element read where the next row's is written, and nowhere else? Then one array does for both rows.
bool overlap_is_in_place(Overlap *o, const Tensor *t) {
  if (o->a->how == HOW_SEQ || o->a->how == HOW_SCAN || t->rank != 1) return false;
  Uses stored = { t, o->a->ix, 0, 0 }, read = { t, o->b->ix, 0, 0 };
  count_stores(&stored, o->row->body);
  stmts_visit(o->p->scratch, o->b, count_read, &read);
  Uses in_a = { t, o->a->ix, 0, 0 };
  count_stores(&in_a, o->a->body);
  return stored.all == in_a.good && read.all == read.good;
}

// ---- which loops -------------------------------------------------------------------------------

static bool is_vector(const Stmt *s) { return s->kind == ST_LOOP && (s->how == HOW_LANES || s->how == HOW_VEC); }

// From 0 to an end that is known before the row?
static bool is_plain(const Stmt *loop) {
  const Expr *hi = loop->hi;
  return expr_is_int(loop->lo, 0) && !expr_has(hi, OP_VAR) && !expr_has(hi, OP_READ) && !expr_has(hi, OP_FIELD) && !loop->step && !loop->ordered;
}

// From 0 to the same end in all rows?
static bool is_whole(const Overlap *o, const Stmt *loop) { return is_plain(loop) && !expr_uses_index(loop->hi, o->row->ix); }

// Does a walk over a beginning of what b, a map, walks over, as long as the row says? See Note [Rows that grow].
static bool begins(Overlap *o, const Stmt *a, const Stmt *b) {
  if (!is_vector(a) || !is_vector(b) || b->how != HOW_VEC || a->lanes != b->lanes || !is_plain(a) || !is_whole(o, b) || a->hi == b->hi) return false;
  Ranges *facts = ranges_create(o->p->scratch, o->x);
  ranges_index(facts, o->row->ix, o->row->lo, o->row->hi);
  return range_prove_ge0(facts, o->x, a->hi) && range_prove_ge0(facts, o->x, minus(o, b->hi, a->hi));
}

// Do the loops walk over the same? Outside of the vector loops stand loops in order, with LETs beside the loop inside.
static bool match(const Overlap *o, const Stmt *a, const Stmt *b) {
  if (a->kind != ST_LOOP || b->kind != ST_LOOP || a->hi != b->hi || !is_whole(o, a) || !is_whole(o, b)) return false;
  if (is_vector(a) && is_vector(b)) return a->lanes == b->lanes && a->streams == b->streams;
  if (a->how == HOW_SCAN && b->how == HOW_VEC) return a->lanes == b->lanes;
  if (a->how != HOW_SEQ || b->how != HOW_SEQ || a->unroll != b->unroll) return false;
  for (a = a->body; a && a->kind == ST_LET; a = a->next) { }
  for (b = b->body; b && b->kind == ST_LET; b = b->next) { }
  return a && b && !a->next && !b->next && match(o, a, b);
}

const Stmt *overlap_last_loop(const Stmt *s) {
  const Stmt *last = NULL;
  for (; s; s = s->next) if (s->kind == ST_LOOP) last = s;
  return last;
}

// Where the tile ends that the loop over tiles has come to?
static bool is_tile_end(Overlap *o, const Stmt *tiles, const Expr *e) {
  const Expr *end = binary(o, OP_MIN, expr_plus(o->x, expr_index(o->x, tiles->ix), tiles->step), tiles->hi);
  for (const Stmt *s = tiles->body; s; s = s->next) if (s->kind == ST_LET && e->op == OP_VAR && s->var == e->u.var) return s->a == end;
  return e == end;
}

// Does `a` go by tiles over what b, a map, walks over, and ends each with a walk over it? See Note [Rows in tiles].
static bool is_tiles(Overlap *o, const Stmt *a, const Stmt *b) {
  if (a->kind != ST_LOOP || a->how != HOW_SEQ || !a->step || a->ordered || a->hi != b->hi || !expr_is_int(a->lo, 0)) return false;
  const Stmt *in = overlap_last_loop(a->body);
  return in && in->how == HOW_LANES && b->how == HOW_VEC && is_whole(o, b) && in->lanes == b->lanes && in->streams == b->streams &&
         expr_is_index(in->lo, a->ix) && is_tile_end(o, a, in->hi);
}

static bool is_free(const Object *q) {
  bool both = (q->does & EARLY) && (q->does & LATE);
  if (!(q->does & WRITES) || !both) return true;
  return q->declared && !(q->does & LATE_WRITES) && (q->var || q->t->rank + 1 <= 8);
}

static bool can_overlap(Overlap *o) {
  o->object.n = 0;
  o->number = map_make(o->p->scratch);
  o->failed = false;
  for (Stmt *s = o->row->body; s; s = s->next) note_statement(o, s);
  for (int i = 0; i < o->object.n; i++) o->failed |= !is_free(&o->object.v[i]);
  return !o->failed;
}

// ---- when it is worth it -----------------------------------------------------------------------

// Steps of the loop and those inside: all of one vector loop, or known ones in whole blocks. NULL: they are neither.
static Expr *steps_of(Overlap *o, const Stmt *loop, bool alone) {
  Scalar n;
  bool known = expr_fold(loop->hi, &n);
  if (is_vector(loop)) return alone || (known && n.i > 0 && n.i % loop->lanes == 0) ? loop->hi : NULL;
  const Stmt *in = loop->body;
  while (in && in->kind == ST_LET) in = in->next;
  Expr *steps = known && n.i > 0 && in ? steps_of(o, in, false) : NULL;
  return steps ? binary(o, OP_MUL, loop->hi, steps) : NULL;
}

bool overlap_is_known(const Expr *cond, bool truth) {
  Scalar v;
  return expr_fold(cond, &v) && (v.u != 0) == truth;
}

Expr *overlap_joined(Overlap *o, Op op, Expr *a, Expr *b) {
  bool neutral = op == OP_AND;
  if (!a || a == b || overlap_is_known(a, neutral) || overlap_is_known(b, !neutral)) return b;
  return overlap_is_known(b, neutral) || overlap_is_known(a, !neutral) ? a : binary(o, op, a, b);
}

// When is there a tensor that comes from memory?
static Expr *is_far(Overlap *o) {
  Expr *far = NULL;
  for (int i = 0; i < o->object.n; i++) {
    const Tensor *t = o->object.v[i].t;
    Expr *when = t && t->role != ROLE_LOCAL ? far_when(o->x, o->p->machine, o->k, t) : NULL;
    if (when) far = overlap_joined(o, OP_OR, far, when);
  }
  return far;
}

// When do the caches keep what two rows touch, but for what is only written? Where rows have no arrays of their own they need not: what is walked
// again then comes from further away, but beside other work.
static Expr *fit(Overlap *o, Expr *steps) {
  int64_t bits = 0;
  bool arrays = false;
  for (int i = 0; i < o->object.n; i++) {
    const Tensor *t = o->object.v[i].t;
    bool array = t && t->role == ROLE_LOCAL;
    if (t && t->rank && (array || (o->object.v[i].does & READS))) bits += dtypes[t->dtype].bits;
    arrays |= array;
  }
  return !arrays ? expr_bool(o->x, true, NO_SPAN) : binary(o, OP_LE, steps, number(o, o->p->machine->cache_bytes * 8 / (bits * ROWS_KEPT)));
}

// Are rows whole blocks?
static Expr *is_even(Overlap *o, Expr *steps) { return binary(o, OP_EQ, binary(o, OP_MOD, steps, number(o, o->b->lanes)), number(o, 0)); }

// When are there so many rows, from memory, and do the caches keep them? NULL: never. Tiles go by whole blocks.
static Expr *pays(Overlap *o, Expr *rows, int64_t least) {
  if (!o->p->machine->far_bytes) return binary(o, OP_GE, rows, number(o, 2));
  Expr *steps = steps_of(o, o->b, true), *far = is_far(o);
  if (!steps || !far) return NULL;
  Expr *when = overlap_joined(o, OP_AND, binary(o, OP_GE, rows, number(o, least)), far);
  if (o->a->step) when = overlap_joined(o, OP_AND, when, is_even(o, steps));
  return overlap_joined(o, OP_AND, when, fit(o, steps));
}

// ---- the choice --------------------------------------------------------------------------------

// Are rows known to be a few whole blocks? See overlap_pipeline.c, Note [Rows that begin within a line].
static bool is_few_blocks(const Stmt *loop) {
  Scalar n;
  return expr_fold(loop->hi, &n) && n.i % loop->lanes == 0 && n.i <= FEW_BLOCKS * loop->lanes;
}

// The first store of b, a map, that goes past the caches. Those of nests go by whole blocks; and on which lane the terms of a reduction fall, in
// which b may end as well, must not depend on an address. A piece of a tile begins where the tile does.
static const Stmt *line_of(const Overlap *o) {
  if (o->b->how != HOW_VEC || o->a->step || is_few_blocks(o->b)) return NULL;
  for (const Stmt *s = o->b->body; s; s = s->next) if (s->kind == ST_STORE && s->stream) return s;
  return NULL;
}

// Is the loop known to be so short that a core would wait for what its lanes make together?
static bool is_short(Overlap *o, const Stmt *loop) {
  Scalar n;
  return !o->p->machine->far_bytes || (expr_fold(loop->hi, &n) && n.i <= SHORT_BLOCKS * loop->lanes);
}

// Does the row's beginning, before `a`, only read what no row writes, and leave nothing but variables?
static bool can_lead(Overlap *o) {
  bool loops = false;
  for (const Stmt *s = o->row->body; s != o->a; s = s->next) {
    if (overlap_is_late(o, s) || s->kind == ST_ALLOC) continue;
    if (s->kind == ST_IF || stmts_have(s->body, ST_STORE) || stmts_have(s->body, ST_FAULT) || s->kind == ST_FAULT || s->kind == ST_STORE) return false;
    loops |= s->kind == ST_LOOP;
  }
  for (int i = 0; i < o->object.n; i++) {
    const Object *q = &o->object.v[i];
    if (q->t && (q->does & WRITES) && (q->does & EARLY_READS)) return false;
    if (q->var && !q->declared && (q->does & WRITES)) return false;
  }
  return loops && is_vector(o->a) && is_short(o, o->a);
}

bool overlap_is_ahead(const Overlap *o, const Stmt *s) {
  return o->leads && s->kind != ST_ALLOC && !overlap_is_late(o, s) && !(s->kind == ST_VAR && changed_in(o->a, s->var));
}

static bool choose(Overlap *o) {
  const Stmt *a = NULL;
  for (const Stmt *s = o->row->body; s; s = s->next) {
    if (s->kind != ST_LOOP && (stmts_have(s->body, ST_LOOP) || stmts_have(s->els, ST_LOOP))) return false;
    if (s->kind == ST_LOOP) o->b = s;
  }
  if (!o->b) return false;
  for (const Stmt *s = o->row->body; s != o->b; s = s->next) if (match(o, s, o->b) || begins(o, s, o->b) || is_tiles(o, s, o->b)) a = s;
  o->a = a;
  if (!a || !can_overlap(o) || (!a->step && a->how == HOW_SEQ && !steps_of(o, o->b, true))) return false;
  o->line = line_of(o);
  o->leads = can_lead(o);
  return true;
}

// Rows of all loops around and this one; NULL: data, or an index, decides it.
static Expr *rows_of(Overlap *o, const Stmt *loop, Expr *outer) {
  bool even = is_plain(loop) && !loop->lo->free->n && !loop->hi->free->n;
  return !even || !outer ? NULL : expr_is_int(outer, 1) ? loop->hi : binary(o, OP_MUL, outer, loop->hi);
}

// Where statements stand: outside of loops, in parallel loops alone, among the statements of such a loop's step, or further inside.
typedef enum Depth { OUTSIDE, PARALLEL, STEP, INSIDE } Depth;

// Does the loop go over rows that follow one another so?
static bool overlap(Overlap *o, Stmt *s, Depth depth, Expr *rows) {
  if (!rows || !choose(o)) return false;
  Expr *when = pays(o, rows, depth == OUTSIDE ? LEAST_ROWS : LEAST_NESTED);
  if (!when || overlap_is_known(when, false) || (depth == STEP && !overlap_is_known(when, true))) return false;
  if (depth == OUTSIDE) pipeline_shares(o, s, when);
  else if (depth == PARALLEL) pipeline_chunks(o, s, when, rows);
  else pipeline_in_order(o, s);
  return true;
}

static void walk(Pipe *p, const Kernel *k, Stmt *s, Depth depth, Expr *outer) {
  for (; s; s = s->next) {
    bool loop = s->kind == ST_LOOP && !s->step && !s->ordered, par = loop && s->how == HOW_PAR && depth <= PARALLEL;
    bool nest = par && s->body && s->body->kind == ST_LOOP && s->body->how == HOW_PAR && !s->body->next;
    Overlap o = { .p = p, .k = k, .x = p->plan->x, .row = s };
    Expr *rows = par ? rows_of(&o, s, outer) : loop && s->how == HOW_SEQ && depth == STEP ? number(&o, LEAST_NESTED) : NULL;
    if (!nest && overlap(&o, s, depth, rows)) continue;
    Depth in = nest ? PARALLEL : s->kind == ST_IF && depth <= PARALLEL ? depth : par ? STEP : INSIDE;
    walk(p, k, s->body, in, nest ? rows : outer);
    walk(p, k, s->els, in, outer);
  }
}

void overlap_rows(Pipe *p, Kernel *k) { walk(p, k, k->body, OUTSIDE, expr_int(p->plan->x, DT_I64, 1, NO_SPAN)); }

// Note [What goes beside what]
//
// The last loop over a row goes beside the one before it over the same range: two that compute, while what they fetch is of the row after
// next. Beside the first one, which waits for memory itself, it gains half as much, and three rows at once gain no more. Two cores of a
// Xeon, 128 MiB, rows of 4096 f32, the copy at 5.0 ms: softmax 8.1 -> 6.2 ms, log-softmax 8.0 -> 5.8, layer norm with residual
// 6.7 -> 5.7, RMS norm 5.6 -> 5.2.
//
// What a row changes may be touched by one of the two sides only, but for what it leaves in variables and arrays of its own: then the rows follow one
// another as they did (overlap_pipeline.c, Note [How rows follow one another]). Of a row's own array the caches must keep two rows; what
// is only written leaves past them and does not count.
//
// Note [Short rows]
//
// Of rows of a few blocks the lanes' values become one (a maximum, a sum) so often that a core waits for these chains of a few dozen cycles each: softmax of
// rows of 64 took 4.4 ms of 11.2 for them. So what stands before `a`, a maximum say, is computed a row ahead; then nothing in a step waits for
// anything else in it. Behind the last row it is computed once more of the last one, which nobody reads. 2^25 f32, two cores of a Xeon: rows of
// 64 11.3 -> 9.6 ms, of 128 9.0 -> 8.4, of 256 8.3 -> 7.5, but of 512 7.4 -> 8.5: there a row's own chains are short beside its work.
//
// Note [Long rows]
//
// Where a row is longer than a second cache, its loops read it from memory (or from a cache that all share) each time, and took turns: the first
// waits for memory and computes little, the last one writes. Beside one another they keep memory and the core busy, though nothing is saved:
// 2^25 f32, two cores of a Xeon with second caches of 2 MiB, ms (the second figure: prefetched as well as it goes, prefetch.c; the third: beside as well):
//
//   steps of a row        65536         131072               262144               1048576
//   RMS norm           7.8        6.3    12.0        6.8     14.5   8.6   8.2     13.8  10.1   8.6
//   softmax                                                  13.3  10.6   9.9     13.7  11.7  10.3
//
// What else was tried by hand: all cores share each row, a barrier behind each loop, so that half of it stays in either second cache: of 262144
// steps the RMS norm took 14 % less, softmax the same; of 1048576 the RMS norm took 14 % more. The second walk from the end of the row to its beginning, in chunks of
// 64 KiB: no gain, for the cache that all share has the rest. The exponentials of the first walk kept with the maximum that each tile knew, for the map to
// correct them: 8.8 ms of 1048576, but values then are off by more than the language's bound for a map.
