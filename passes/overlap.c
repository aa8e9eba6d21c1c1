// overlap.c: the end of a row beside the beginning of the next (CPU).
//
//   par i in 0 .. N                           par rows in 0 .. N by 32
//     lanes j:  m = max(m, x[i, j])             row `rows`, but for its last loop
//     lanes j:  z = sum(z, e[j] = …)            for i in rows + 1 .. end
//     vec j:    y[i, j] = e[j] / z      ──▶       lanes j:  m = max(m, x[i, j])
//                                                 lanes j:  y[i - 1, j] = e[j] / was;  z = sum(z, e[j] = …)
//                                               the last loop of row `end - 1`
//
// A row that is in the caches is worked on for a while, and a core's memory rests meanwhile: of a softmax in memory, for a quarter of the
// time. Here the results of a row leave while the next one is computed and the one after that is fetched (prefetch.c).
// Each row computes what it did, in the same order, so the bits are the same. See Note [What goes beside what] and the others at the end.
#include "ir/affine.h"
#include "ir/rewrite.h"
#include "passes/pass.h"
#include <string.h>

enum {
  CHUNK = 32,           // rows at most, of which the first and the last have nothing beside them
  LEAST_ROWS = 256,
  LEAST_CHUNKS = 64,
  ROWS_KEPT = 2,        // in the second cache
  LINE = 64,            // bytes of a line
};

enum { EARLY_READS = 1, EARLY_WRITES = 2, LATE_READS = 4, LATE_WRITES = 8, EARLY = 3, LATE = 12, WRITES = 10, READS = 5 };

// What a row's statements do with a variable or a tensor (its root).
typedef struct Object { const Var *var; const Tensor *t; const Stmt *declared; int does; } Object;    // declared: among the row's own statements

typedef struct Overlap {
  Pipe *p;
  ExprTable *x;
  Stmt *row;            // the loop over rows
  const Stmt *a, *b;    // loops among its statements: b, the last one, shall run beside a of the next row
  Expr *aligned;        // all its rows begin with a line: arrays need no second half; NULL: they may or not, or none would need one
  const Stmt *line;     // a store of b past the caches, whose rows may begin anywhere in a line; NULL: none
  VEC(Object) object;
  Map number;           // Var, Tensor → place in `object` + 1
  bool late;            // of the statement that is being looked at
  bool failed;
} Overlap;

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
static bool is_late(const Overlap *o, const Stmt *s) {
  if (s->kind == ST_VAR) return changed_in(o->b, s->var);
  for (const Stmt *b = o->b; b; b = b->next) if (b == s) return true;
  return false;
}

static void note_statement(Overlap *o, Stmt *s) {
  Stmt one = *s;
  one.next = NULL;
  o->late = is_late(o, s);
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
static bool is_in_place(Overlap *o, const Tensor *t) {
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

static Expr *minus(Overlap *o, Expr *a, Expr *b) { return expr_op2(o->x, OP_SUB, a, b, NO_SPAN); }

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

// Steps of the loop and those inside: all of one vector loop, or known ones in whole blocks. NULL: they are neither.
static Expr *steps_of(Overlap *o, const Stmt *loop, bool alone) {
  Scalar n;
  bool known = expr_fold(loop->hi, &n);
  if (is_vector(loop)) return alone || (known && n.i > 0 && n.i % loop->lanes == 0) ? loop->hi : NULL;
  const Stmt *in = loop->body;
  while (in && in->kind == ST_LET) in = in->next;
  Expr *steps = known && n.i > 0 && in ? steps_of(o, in, false) : NULL;
  return steps ? expr_op2(o->x, OP_MUL, loop->hi, steps, NO_SPAN) : NULL;
}

static Expr *number(Overlap *o, int64_t v) { return expr_int(o->x, DT_I64, v, NO_SPAN); }
static Expr *binary(Overlap *o, Op op, Expr *a, Expr *b) { return expr_op2(o->x, op, a, b, NO_SPAN); }

// Has the tensor so many bytes?
static Expr *is_large(Overlap *o, const Tensor *t, int64_t bytes) {
  Expr *n = t->extent[0];
  for (int k = 1; k < t->rank; k++) n = binary(o, OP_MUL, n, t->extent[k]);
  return binary(o, OP_GE, n, number(o, bytes * 8 / dtypes[t->dtype].bits));
}

static bool is_known(const Expr *cond, bool truth) {
  Scalar v;
  return expr_fold(cond, &v) && (v.u != 0) == truth;
}

// Both, or (OP_OR) one of them; NULL is no condition yet.
static Expr *joined(Overlap *o, Op op, Expr *a, Expr *b) {
  bool neutral = op == OP_AND;
  if (!a || a == b || is_known(a, neutral) || is_known(b, !neutral)) return b;
  return is_known(b, neutral) || is_known(a, !neutral) ? a : binary(o, op, a, b);
}

// When is there a tensor that comes from memory, so many rows, and do the caches keep what two of them touch? NULL: never.
static Expr *pays(Overlap *o, Expr *rows) {
  int64_t bits = 0, far = o->p->machine->far_bytes;
  Expr *steps = steps_of(o, o->b, true), *large = NULL;
  if (!far) return binary(o, OP_GE, rows, number(o, 2));
  for (int i = 0; i < o->object.n; i++) {
    const Tensor *t = o->object.v[i].t;
    if (!t || !t->rank) continue;
    if ((o->object.v[i].does & READS) || t->role == ROLE_LOCAL) bits += dtypes[t->dtype].bits;
    if (t->role != ROLE_LOCAL) large = joined(o, OP_OR, large, is_large(o, t, far));
  }
  if (!large || !steps || !bits) return NULL;
  Expr *fit = binary(o, OP_LE, steps, number(o, o->p->machine->cache_bytes * 8 / (bits * ROWS_KEPT)));
  return joined(o, OP_AND, joined(o, OP_AND, binary(o, OP_GE, rows, number(o, LEAST_ROWS)), large), fit);
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

// The first store of b, a map, that goes past the caches. Those of nests go by whole blocks; and on which lane the terms of a reduction fall, in
// which b may end as well, must not depend on an address.
static const Stmt *line_of(const Overlap *o) {
  for (const Stmt *s = o->b->body; s && o->b->how == HOW_VEC; s = s->next) if (s->kind == ST_STORE && s->stream) return s;
  return NULL;
}

static bool choose(Overlap *o) {
  const Stmt *a = NULL;
  for (const Stmt *s = o->row->body; s; s = s->next) {
    if (s->kind != ST_LOOP && (stmts_have(s->body, ST_LOOP) || stmts_have(s->els, ST_LOOP))) return false;
    if (s->kind == ST_LOOP) o->b = s;
  }
  if (!o->b) return false;
  for (const Stmt *s = o->row->body; s != o->b; s = s->next) if (match(o, s, o->b) || begins(o, s, o->b)) a = s;
  o->a = a;
  o->line = line_of(o);
  return a && can_overlap(o) && (o->a->how != HOW_SEQ || steps_of(o, o->b, true));
}

// ---- copies ------------------------------------------------------------------------------------

typedef struct Copy {
  Overlap *o;
  StmtCopy as;          // what the row's names are in it
  Expr *half;           // which of two arrays is its own
  Map *arrays;          // Tensor → two of them
  bool plain;           // without notes
} Copy;

static Copy copy_make(Overlap *o, Expr *row, Map *arrays, bool plain) {
  Copy c = { o, { o->p->a, o->x, map_make(o->p->scratch) }, NULL, arrays, plain };
  map_putp(&c.as.to, o->row->ix, row);
  return c;
}

static Expr *in_half(void *cx, ExprTable *x, Expr *e) {
  Copy *c = cx;
  Tensor *two = e->op == OP_READ ? map_getp(c->arrays, e->u.t) : NULL;
  if (!two) return e;
  Expr *sub[8] = { c->half };
  memcpy(sub + 1, e->arg, e->nargs * sizeof *sub);
  return expr_make(x, OP_READ, (Dtype)e->dtype, 0, two, e->at, (int)e->nargs + 1, sub);
}

static void store_in_half(Copy *c, Stmt *s) {
  Tensor *two = s->kind == ST_STORE ? map_getp(c->arrays, s->t) : NULL;
  if (!two) return;
  memmove(s->sub + 1, s->sub, (size_t)s->nsub++ * sizeof *s->sub);
  s->sub[0] = c->half;
  s->t = two;
}

static void finish_copy(Copy *c, Stmt *s) {
  for (; s; s = s->next) {
    store_in_half(c, s);
    if (c->plain) s->note = NULL;
    finish_copy(c, s->body);
    finish_copy(c, s->els);
  }
}

static Stmt *finished(Copy *c, Stmt *made) {
  stmts_map(c->o->x, made, in_half, c);
  finish_copy(c, made);
  return made;
}

static Stmt *copy_of(Copy *c, const Stmt *s) { return finished(c, stmt_copy(&c->as, s)); }
static Stmt *copy_list(Copy *c, const Stmt *s) { return finished(c, stmts_copy(&c->as, s)); }

// ---- the new loop ------------------------------------------------------------------------------

typedef struct Out { Stmt *first, **tail; } Out;

static void put(Out *out, Stmt *s) { out->tail = stmts_append(out->tail ? out->tail : &out->first, s); }

// Known early, used late.
static bool is_carried(const Overlap *o, const Object *q) { return q->var && q->declared && (q->does & LATE) && !is_late(o, q->declared); }

// Statements of a row, the early or the late ones, from one place to another, as they are in the copy.
static void put_some(Copy *c, Out *out, bool late, const Stmt *from, const Stmt *to) {
  for (const Stmt *s = from; s != to; s = s->next)
    if (s->kind != ST_ALLOC && is_late(c->o, s) == late) put(out, copy_of(c, s));
}

// So many steps further on; NULL: none.
static Expr *further(Overlap *o, Expr *steps, Index *ix) {
  Expr *at = expr_index(o->x, ix);
  return steps ? binary(o, OP_ADD, steps, at) : at;
}

// One loop for two: in each step first what the late one does, as it reads of the row before what the early one writes. The late one is `shift`
// steps further on in its row, unless that is NULL.
static Stmt *beside(Copy *early, Copy *late, const Stmt *a, const Stmt *b, Expr *shift) {
  Stmt *made = stmt_alone(early->o->p->a, a), *in_a = a->body, *in_b = b->body;
  made->ix = index_new(early->o->x, a->ix->name, a->ix->at);
  made->hi = stmt_copy_expr(&early->as, a->hi);
  if (b->how == HOW_LANES) made->how = HOW_LANES;
  if (!a->note) made->note = b->note;
  map_putp(&early->as.to, a->ix, expr_index(early->o->x, made->ix));
  map_putp(&late->as.to, b->ix, further(early->o, shift, made->ix));
  Out out = { 0 };
  if (a->how == HOW_SCAN) {         // before the sum would be printed twice
    put(&out, copy_list(early, in_a));
    put(&out, copy_list(late, in_b));
  } else if (a->how != HOW_SEQ) {
    put(&out, copy_list(late, in_b));
    put(&out, copy_list(early, in_a));
  } else {
    for (; in_b->next; in_b = in_b->next) put(&out, copy_of(late, in_b));
    for (; in_a->next; in_a = in_a->next) put(&out, copy_of(early, in_a));
    put(&out, beside(early, late, in_a, in_b, NULL));
  }
  made->body = out.first;
  return made;
}

// An array in two halves, for two rows.
static Tensor *two_of(Overlap *o, const Tensor *t) {
  Expr *extent[8] = { expr_int(o->x, DT_I64, 2, NO_SPAN) };
  memcpy(extent + 1, t->extent, (size_t)t->rank * sizeof *extent);
  return fn_tensor(o->p->fn, t->name, ROLE_LOCAL, t->dtype, NULL, t->rank + 1, extent, t->at);
}

// What is left of a loop behind `from`.
static Stmt *rest_of(Copy *c, const Stmt *loop, Expr *from) {
  Stmt *made = copy_of(c, loop);
  made->lo = from;
  made->note = NULL;
  return made;
}

static Expr *let(Overlap *o, Out *out, const char *name, Expr *value) {
  if (value->op == OP_CONST || value->op == OP_VAR) return value;
  Stmt *s = plan_let(o->p->plan, ST_LET, name, value);
  put(out, s);
  return expr_var(o->x, s->var);
}

static Expr *in_blocks(Overlap *o, Expr *steps) {
  Expr *lanes = number(o, o->a->lanes);
  return binary(o, OP_MUL, binary(o, OP_FLOORDIV, steps, lanes), lanes);
}

// As far as both loops go, in whole blocks, one loop; then the rest of b, then of a, which may write over what b reads.
static void put_growing(Copy *early, Copy *late, Out *out) {
  Overlap *o = early->o;
  Stmt *both = beside(early, late, o->a, o->b, NULL);
  put(out, both);
  both->row = both->hi;
  both->hi = in_blocks(o, both->hi);
  put(out, rest_of(late, o->b, both->hi));
  put(out, rest_of(early, o->a, both->hi));
}

// How far from an element, of a row of o->line, the next line begins.
static Expr *put_line(Overlap *o, Out *out, const char *name, Expr *const *sub) {
  Stmt *s = stmt_new(o->p->a, ST_LINE);
  s->var = var_new(o->x, intern(o->p->fn->names, name), DT_I64);
  s->a = o->b->hi;
  s->t = o->line->t;
  s->nsub = o->line->nsub;
  memcpy(s->sub, sub, (size_t)s->nsub * sizeof *sub);
  put(out, s);
  return expr_var(o->x, s->var);
}

// The same of the first element that the late loop of the copy's row stores.
static Expr *put_shift(Copy *late, Out *out) {
  Overlap *o = late->o;
  Expr *sub[8];
  map_putp(&late->as.to, o->b->ix, number(o, 0));
  for (int k = 0; k < o->line->nsub; k++) sub[k] = stmt_copy_expr(&late->as, o->line->sub[k]);
  return put_line(o, out, "shift", sub);
}

// Some steps of b, less than a block of `lanes`, from `from` on; NULL: from the first.
static Stmt *few(Copy *late, Expr *from, Expr *steps, int lanes) {
  Overlap *o = late->o;
  Stmt *made = stmt_alone(o->p->a, o->b);
  made->ix = index_new(o->x, o->b->ix->name, o->b->ix->at);
  made->hi = steps;
  made->lanes = lanes;
  made->streams = false;
  made->note = NULL;
  map_putp(&late->as.to, o->b->ix, further(o, from, made->ix));
  made->body = copy_list(late, o->b->body);
  for (Stmt *s = made->body; s; s = s->next) s->stream = NULL;
  return made;
}

// For whom does not know that a shift is no longer than its row.
static Expr *at_least_0(Overlap *o, Expr *steps) { return expr_has(steps, OP_DIM) || expr_has(steps, OP_READ) ? binary(o, OP_MAX, steps, number(o, 0)) : steps; }

// As before, but b runs from where its row's first line begins. See Note [Rows that begin within a line].
static void put_shifted(Copy *early, Copy *late, Out *out) {
  Overlap *o = early->o;
  Expr *shift = put_shift(late, out), *left = let(o, out, "left", at_least_0(o, minus(o, o->b->hi, shift)));
  put(out, few(late, NULL, shift, LINE * 8 / dtypes[o->line->t->dtype].bits));
  Stmt *both = beside(early, late, o->a, o->b, shift);
  Expr *most = o->a->hi == o->b->hi ? left : binary(o, OP_MIN, both->hi, left), *whole = let(o, out, "whole", in_blocks(o, most));
  both->row = both->hi;
  both->hi = whole;
  put(out, both);
  Expr *from = let(o, out, "from", binary(o, OP_ADD, shift, whole));
  put(out, o->a->hi == o->b->hi ? few(late, from, binary(o, OP_MOD, left, number(o, o->b->lanes)), o->b->lanes) : rest_of(late, o->b, from));
  Stmt *rest = rest_of(early, o->a, whole);
  rest->streams = false;
  put(out, rest);
}

static void put_both(Copy *early, Copy *late, Out *out) {
  Overlap *o = early->o;
  if (o->line) put_shifted(early, late, out);
  else if (o->a->hi != o->b->hi) put_growing(early, late, out);
  else put(out, beside(early, late, o->a, o->b, NULL));
}

typedef enum Halves { NO_HALVES, ROWS_OF_THEIR_OWN, IN_PLACE } Halves;      // IN_PLACE: two rows need one each only where they are shifted

static Halves halves_of(Overlap *o, const Object *q) {
  if (!q->t || !q->declared || !(q->does & EARLY_WRITES) || !(q->does & LATE)) return NO_HALVES;
  return !is_in_place(o, q->t) ? ROWS_OF_THEIR_OWN : o->line ? IN_PLACE : NO_HALVES;
}

// Arrays of a row stand before the loop over rows, two of each where both rows need their own.
static void put_arrays(Overlap *o, Out *out, Map *two) {
  for (int i = 0; i < o->object.n; i++) {
    const Object *q = &o->object.v[i];
    if (!q->t || !q->declared) continue;
    Stmt *s = stmt_alone(o->p->a, q->declared);
    if (halves_of(o, q)) map_putp(two, q->t, s->t = two_of(o, q->t));
    put(out, s);
  }
}

// Do all rows of o->line begin with a line? NULL: no.
static Expr *put_aligned(Overlap *o, Out *out) {
  const Tensor *t = o->line->t;
  Expr *sub[8], *none = number(o, 0);
  Expr *even = binary(o, OP_EQ, binary(o, OP_MOD, t->extent[t->rank - 1], number(o, LINE * 8 / dtypes[t->dtype].bits)), none);
  if (is_known(even, false)) return NULL;
  for (int k = 0; k < t->rank; k++) sub[k] = none;
  return let(o, out, "aligned", joined(o, OP_AND, even, binary(o, OP_EQ, put_line(o, out, "first", sub), none)));
}

// Are there arrays that need two halves only where rows are shifted, and none that always do?
static bool all_in_place(Overlap *o) {
  bool some = false;
  for (int i = 0; i < o->object.n; i++) {
    Halves n = halves_of(o, &o->object.v[i]);
    if (n == ROWS_OF_THEIR_OWN) return false;
    some |= n == IN_PLACE;
  }
  return some;
}

static Expr *before(Overlap *o, Expr *row) { return minus(o, row, number(o, 1)); }

// A half, or the first in place of both.
static Expr *put_half(Overlap *o, Out *out, const char *name, Expr *half) {
  Expr *value = o->aligned ? expr_select(o->x, o->aligned, number(o, 0), half, NO_SPAN) : half;
  return let(o, out, name, value);
}

// The half of `row` among the rows from `first` on; NULL: no array has two.
static Expr *half_of(Overlap *o, Out *out, const Map *two, Expr *row, Expr *first) {
  return two->n ? put_half(o, out, "half", binary(o, OP_MOD, minus(o, row, first), number(o, 2))) : NULL;
}

static Expr *other_half(Overlap *o, Out *out, Expr *half) { return half ? put_half(o, out, "other", minus(o, number(o, 1), half)) : NULL; }

// What a row leaves for what comes late of it.
static void carry(Overlap *o, Out *out, const Copy *from, Map *was) {
  for (int i = 0; i < o->object.n; i++) {
    if (!is_carried(o, &o->object.v[i])) continue;
    const Var *v = o->object.v[i].var;
    Expr *now = expr_var(o->x, map_getp(&from->as.to, v));
    Var *old = map_getp(was, v);
    Stmt *s = old ? stmt_value(o->p->a, ST_SET, old, now) : plan_let(o->p->plan, ST_VAR, v->name, now);
    map_putp(was, v, s->var);
    put(out, s);
  }
}

static void take_along(Overlap *o, Copy *to, const Map *was) {
  for (int i = 0; i < o->object.n; i++)
    if (is_carried(o, &o->object.v[i])) map_putp(&to->as.to, o->object.v[i].var, map_getp(was, o->object.v[i].var));
}

// The statements of a step: the row's early ones and those of the row before that come late.
static Stmt *step_of(Overlap *o, Expr *row, Expr *first, Map *two, Map *was) {
  Copy early = copy_make(o, row, two, false), late = copy_make(o, before(o, row), two, false);
  const Stmt *body = o->row->body;
  Out out = { 0 };
  take_along(o, &late, was);
  early.half = half_of(o, &out, two, row, first);
  late.half = other_half(o, &out, early.half);
  put_some(&early, &out, false, body, o->a);
  put_some(&late, &out, true, body, o->b);
  put_both(&early, &late, &out);
  put_some(&late, &out, true, o->b->next, NULL);
  put_some(&early, &out, false, o->a->next, NULL);
  carry(o, &out, &early, was);
  return out.first;
}

static Stmt *inner_loop(Overlap *o, Expr *lo, Expr *hi, Map *two, Map *was) {
  Stmt *loop = stmt_alone(o->p->a, o->row);
  loop->how = HOW_SEQ;
  loop->align = 0;
  loop->parallel_if = NULL;
  loop->lo = expr_plus(o->x, lo, 1), loop->hi = hi;
  loop->ix = index_new(o->x, o->row->ix->name, o->row->ix->at);
  loop->body = step_of(o, expr_index(o->x, loop->ix), lo, two, was);
  return loop;
}

// Rows from `lo` to `hi`, of which there is one at least.
static Stmt *overlapped(Overlap *o, Expr *lo, Expr *hi) {
  Out out = { 0 };
  Map two = map_make(o->p->scratch), was = map_make(o->p->scratch);
  put_arrays(o, &out, &two);
  o->aligned = all_in_place(o) ? put_aligned(o, &out) : NULL;
  Expr *last_row = before(o, hi);
  Copy first = copy_make(o, lo, &two, true), last = copy_make(o, last_row, &two, true);
  first.half = number(o, 0);
  put_some(&first, &out, false, o->row->body, NULL);
  carry(o, &out, &first, &was);
  put(&out, inner_loop(o, lo, hi, &two, &was));
  take_along(o, &last, &was);
  last.half = half_of(o, &out, &two, last_row, lo);
  put_some(&last, &out, true, o->row->body, NULL);
  return out.first;
}

// So many rows, of all up to `end`, in each step of a loop.
static void share_by(Overlap *o, Stmt *loop, Expr *end, Expr *rows) {
  Expr *first = expr_index(o->x, loop->ix);
  Out out = { 0 };
  Expr *behind = let(o, &out, arena_printf(o->p->scratch, "%s_end", o->row->ix->name), binary(o, OP_MIN, binary(o, OP_ADD, first, rows), end));
  put(&out, overlapped(o, first, behind));
  loop->body = out.first;
}

// Rows of a chunk: fewer of few, that there are some for each core.
static Expr *chunk_of(Overlap *o, Expr *rows) {
  Expr *least = binary(o, OP_FLOORDIV, rows, number(o, LEAST_CHUNKS));
  Scalar n;
  if (!o->p->machine->far_bytes) return number(o, CHUNK);
  return expr_fold(least, &n) ? number(o, n.i < CHUNK ? n.i : CHUNK) : binary(o, OP_MIN, binary(o, OP_MAX, least, number(o, 1)), number(o, CHUNK));
}

// Chunks of rows from 0 on; where it does not pay, of one row, which nothing stands beside.
static void share(Overlap *o, Stmt *loop, Expr *when, Expr *all) {
  const char *from = arena_printf(o->p->scratch, "%s_from", loop->ix->name);
  Stmt row = *loop;
  Expr *many = chunk_of(o, all);
  o->row = &row;
  if (many->op == OP_CONST && is_known(when, true)) {
    loop->ix = plan_index(o->p->plan, from);
    loop->step = many->u.v.i;
    share_by(o, loop, row.hi, many);
    return;
  }
  Index *chunk = plan_index(o->p->plan, arena_printf(o->p->scratch, "%s_chunk", loop->ix->name));
  Expr *rows = expr_select(o->x, when, many, number(o, 1), NO_SPAN);
  Stmt *let = plan_let(o->p->plan, ST_LET, "rows", rows), *one = stmt_alone(o->p->a, loop);
  Expr *first = binary(o, OP_MUL, expr_index(o->x, chunk), expr_var(o->x, let->var));
  one->how = HOW_SEQ;
  one->parallel_if = NULL;
  one->lo = first, one->hi = binary(o, OP_MIN, expr_plus(o->x, first, 1), loop->hi);
  one->ix = plan_index(o->p->plan, from);
  share_by(o, one, loop->hi, expr_var(o->x, let->var));
  let->next = one;
  loop->body = let;
  loop->ix = chunk;
  loop->hi = binary(o, OP_FLOORDIV, binary(o, OP_ADD, loop->hi, minus(o, rows, number(o, 1))), rows);
}

// Where there are rows at all.
static void guard(Overlap *o, Stmt *loop) {
  Stmt row = *loop, *either = stmt_value(o->p->a, ST_IF, NULL, expr_op2(o->x, OP_LT, loop->lo, loop->hi, NO_SPAN));
  o->row = &row;
  either->body = overlapped(o, loop->lo, loop->hi);
  either->next = loop->next;
  either->at = loop->at;
  *loop = *either;
}

// Rows of all loops around and this one; NULL: data, or an index, decides it.
static Expr *rows_of(Overlap *o, const Stmt *loop, Expr *outer) {
  bool even = is_plain(loop) && !loop->lo->free->n && !loop->hi->free->n;
  return !even || !outer ? NULL : expr_is_int(outer, 1) ? loop->hi : binary(o, OP_MUL, outer, loop->hi);
}

// Where statements stand: in parallel loops alone, among the statements of such a loop's step, or further inside.
typedef enum Depth { PARALLEL, STEP, INSIDE } Depth;

static void walk(Pipe *p, Stmt *s, Depth depth, Expr *outer) {
  for (; s; s = s->next) {
    bool loop = s->kind == ST_LOOP && !s->step && !s->ordered, par = loop && s->how == HOW_PAR && depth == PARALLEL;
    Overlap o = { .p = p, .x = p->plan->x, .row = s };
    Expr *rows = par ? rows_of(&o, s, outer) : NULL, *when = NULL;
    bool nest = par && s->body && s->body->kind == ST_LOOP && s->body->how == HOW_PAR && !s->body->next;
    if (par && !nest && rows && choose(&o)) when = pays(&o, rows);
    if (when && !is_known(when, false)) {
      share(&o, s, when, rows);
    } else if (loop && s->how == HOW_SEQ && depth == STEP && choose(&o) && (when = pays(&o, number(&o, LEAST_ROWS))) && is_known(when, true)) {
      guard(&o, s);
    } else {
      Depth in = nest || (s->kind == ST_IF && depth == PARALLEL) ? PARALLEL : par ? STEP : INSIDE;
      walk(p, s->body, in, nest ? rows : outer);
      walk(p, s->els, in, outer);
    }
  }
}

void overlap_rows(Pipe *p, Stmt *body) { walk(p, body, PARALLEL, expr_int(p->plan->x, DT_I64, 1, NO_SPAN)); }

// Note [What goes beside what]
//
// The last loop over a row goes beside the one before it over the same range: two that compute, while what they fetch is of the row after
// next. Beside the first one, which waits for memory itself, it gains half as much, and three rows at once gain no more. Two cores of a
// Xeon, 128 MiB, rows of 4096 f32, the copy at 5.0 ms: softmax 8.1 -> 6.2 ms, log-softmax 8.0 -> 5.8, layer norm with residual
// 6.7 -> 5.7, RMS norm 5.6 -> 5.2. Chunks of 16 rows lose 2 % of it, of 32 one.
//
// The order: what row i does up to its loop `a`; `a` beside the last loop `b` of row i - 1; what row i - 1 does behind b; what row i does
// between a and b, other loops too. So what b and the statements behind it know of their row is carried in variables, and an array that
// they read has a second one unless b reads each element in the step in which a writes the next row's. What else a row changes may be
// touched by one of the two sides only: then its rows follow one another as they did.
//
// Note [Rows that begin within a line]
//
// Where a row has 4100 elements, or an array begins 16 bytes behind a line (as NumPy's do), rows begin within lines of memory, and blocks that are
// not whole lines cannot go past the caches: each line is read before it is written, which costs more than rows beside one another gain. So
// b runs from where the first line of its row begins (ST_LINE): the elements before, less than a line, by themselves; then whole blocks, each
// beside that block of a which begins `shift` elements further to the front; then what is left of b, less than a block, and of a, at most one
// block and a part. What lane a step of a falls on, and in which order, depends on no address: it is that of the whole row (Stmt.row).
//
// An array that b reads behind the place where a writes needs a second one for the next row, as blocks come in four streams. Where the call
// shows that all rows begin with a line (`aligned`) both are in the first.
//
// Two cores of a Xeon, 128 MiB, by itself and so: softmax of rows of 4096, 16 bytes behind a line, 8.4 -> 7.4 ms (beside one another, but without this,
// 9.6); of 4100 elements 8.7 -> 7.9, of 1000 11.1 -> 9.5; RMS norm of 4100 7.0 -> 6.2, log-softmax 8.8 -> 7.3.
//
// Note [Sizes that the call brings]
//
// The text is the same for all sizes; what differs is how many rows a chunk has. With one row there is no row to stand beside: it is computed up to
// its last loop, and that follows. So a chunk has one row where there are few, where nothing comes from memory, and where two rows do not stay
// in the second cache. Of softmax in memory such text takes 7.0 ms, where that of known sizes takes 6.9 and that of rows by themselves 8.2.
//
// Note [Rows that grow]
//
// Of a causal softmax the sum ends at the diagonal and the map at the end of the row, so that they are one loop up to the last whole block
// of 64 before the diagonal. The steps of the sum fall on the same lanes in the same order as before: its rest is what was the block with a
// condition. Nothing else is asked of the two ends than that the map's is never the nearer one.
