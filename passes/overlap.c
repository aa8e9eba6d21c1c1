// overlap.c: the end of a row beside the beginning of the next (CPU).
//
//   par i in 0 .. N                           par from .. end in shares of 0 .. N
//     lanes j:  m = max(m, x[i, j])             row `from`, but for its last loop
//     lanes j:  z = sum(z, e[j] = …)            for i in from + 1 .. end
//     vec j:    y[i, j] = e[j] / z      ──▶       lanes j:  m = max(m, x[i, j])
//                                                 lanes j:  y[i - 1, j] = e[j] / was;  z = sum(z, e[j] = …)
//                                               the last loop of row `end - 1`
//
// A row that is in the caches is worked on for a while, and a core's memory rests meanwhile: of a softmax in memory, for a quarter of the
// time. Here the results of a row leave while the next one is computed and the one after that is fetched (prefetch.c).
// Each row computes what it did, in the same order, so the bits are the same, whoever has which rows. See Note [What goes beside what].
#include "ir/affine.h"
#include "ir/far.h"
#include "ir/rewrite.h"
#include "passes/pass.h"
#include <string.h>

enum {
  CHUNK = 32,           // rows of a nest, of which the first and the last have nothing beside them
  LEAST_NESTED = 8 * CHUNK,
  LEAST_ROWS = 8,
  ROWS_KEPT = 2,        // in the second cache
  SHORT_BLOCKS = 4,     // of a row, up to which a core waits for what lanes make together: see Note [Short rows]
};

enum { EARLY_READS = 1, EARLY_WRITES = 2, LATE_READS = 4, LATE_WRITES = 8, EARLY = 3, LATE = 12, WRITES = 10 };

// What a row's statements do with a variable or a tensor (its root).
typedef struct Object { const Var *var; const Tensor *t; const Stmt *declared; int does; } Object;    // declared: among the row's own statements

typedef struct Overlap {
  Pipe *p;
  const Kernel *k;
  ExprTable *x;
  Stmt *row;            // the loop over rows
  const Stmt *a, *b;    // loops among its statements: b, the last one, shall run beside a of the next row
  VEC(Object) object;
  Map number;           // Var, Tensor → place in `object` + 1
  bool late;            // of the statement that is being looked at
  bool failed;
  bool leads;           // what stands before `a` is computed a row ahead
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

static const Stmt *last_loop(const Stmt *s) {
  const Stmt *last = NULL;
  for (; s; s = s->next) if (s->kind == ST_LOOP) last = s;
  return last;
}

// Where the tile ends that the loop over tiles has come to?
static bool is_tile_end(const Overlap *o, const Stmt *tiles, const Expr *e) {
  const Expr *end = expr_op2(o->x, OP_MIN, expr_plus(o->x, expr_index(o->x, tiles->ix), tiles->step), tiles->hi, NO_SPAN);
  for (const Stmt *s = tiles->body; s; s = s->next) if (s->kind == ST_LET && e->op == OP_VAR && s->var == e->u.var) return s->a == end;
  return e == end;
}

// Does `a` go by tiles over what b, a map, walks over, and ends each with a walk over it? See Note [Rows in tiles].
static bool is_tiles(const Overlap *o, const Stmt *a, const Stmt *b) {
  if (a->kind != ST_LOOP || a->how != HOW_SEQ || !a->step || a->ordered || a->hi != b->hi || !expr_is_int(a->lo, 0)) return false;
  const Stmt *in = last_loop(a->body);
  return in && in->how == HOW_LANES && b->how == HOW_VEC && is_whole(o, b) && in->lanes == b->lanes && in->streams == b->streams &&
         expr_is_index(in->lo, a->ix) && is_tile_end(o, a, in->hi);
}

// Steps of the loop and those inside; 0: not known, or not whole blocks.
static int64_t steps_of(const Stmt *loop) {
  Scalar n;
  if (!expr_fold(loop->hi, &n) || n.i <= 0 || (is_vector(loop) && n.i % loop->lanes)) return 0;
  const Stmt *in = loop->body;
  while (in && in->kind == ST_LET) in = in->next;
  return in && in->kind == ST_LOOP ? n.i * steps_of(in) : n.i;
}

static bool is_far(const Overlap *o, const Tensor *t) {
  const Expr *when = t->role == ROLE_LOCAL ? NULL : far_when(o->x, o->p->machine, o->k, t);
  return when && expr_is_true(when);
}

// Is there a tensor that comes from memory, and do the caches keep what two rows touch? Where rows have no arrays of their own they need not: what
// is walked again then comes from further away, but beside other work.
static bool pays(Overlap *o) {
  int64_t bits = 0, steps = steps_of(o->b);
  bool large = false, arrays = false;
  if (!o->p->machine->far_bytes) return true;
  for (int i = 0; i < o->object.n; i++) {
    const Tensor *t = o->object.v[i].t;
    if (!t || !t->rank) continue;
    bits += dtypes[t->dtype].bits;
    large |= is_far(o, t);
    arrays |= t->role == ROLE_LOCAL;
  }
  return large && steps && (!arrays || bits / 8 * steps * ROWS_KEPT <= o->p->machine->cache_bytes);
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
  return !o->failed && pays(o);
}

// Does the row's beginning, before `a`, only read what no row writes, and leave nothing but variables?
static bool can_lead(Overlap *o) {
  bool loops = false;
  for (const Stmt *s = o->row->body; s != o->a; s = s->next) {
    if (is_late(o, s) || s->kind == ST_ALLOC) continue;
    if (s->kind == ST_IF || stmts_have(s->body, ST_STORE) || stmts_have(s->body, ST_FAULT) || s->kind == ST_FAULT || s->kind == ST_STORE) return false;
    loops |= s->kind == ST_LOOP;
  }
  for (int i = 0; i < o->object.n; i++) {
    const Object *q = &o->object.v[i];
    if (q->t && (q->does & WRITES) && (q->does & EARLY_READS)) return false;
    if (q->var && !q->declared && (q->does & WRITES)) return false;
  }
  int64_t steps = loops && is_vector(o->a) ? steps_of(o->a) : 0;
  return loops && is_vector(o->a) && (!o->p->machine->far_bytes || (steps && steps <= SHORT_BLOCKS * o->a->lanes));
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
  bool good = a && can_overlap(o);
  o->leads = good && can_lead(o);
  return good;
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

// One loop for two: in each step first what the late one does, as it reads of the row before what the early one writes.
static Stmt *beside(Copy *early, Copy *late, const Stmt *a, const Stmt *b) {
  Stmt *made = stmt_alone(early->o->p->a, a), *in_a = a->body, *in_b = b->body;
  made->ix = index_new(early->o->x, a->ix->name, a->ix->at);
  made->hi = stmt_copy_expr(&early->as, a->hi);
  if (b->how == HOW_LANES) made->how = HOW_LANES;
  if (!a->note) made->note = b->note;
  map_putp(&early->as.to, a->ix, expr_index(early->o->x, made->ix));
  map_putp(&late->as.to, b->ix, expr_index(early->o->x, made->ix));
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
    put(&out, beside(early, late, in_a, in_b));
  }
  made->body = out.first;
  return made;
}

// The same where `a` goes by tiles: the map goes with the last loop of each.
static Stmt *beside_tiles(Copy *early, Copy *late, const Stmt *a, const Stmt *b) {
  Stmt *made = copy_of(early, a), *in = (Stmt *)last_loop(made->body);
  map_putp(&late->as.to, b->ix, expr_index(early->o->x, in->ix));
  Stmt *first = copy_list(late, b->body);
  Stmt **tail = &first;
  tail = stmts_append(tail, first);
  *tail = in->body;
  in->body = first;
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

// As far as both loops go, in whole blocks, one loop; then the rest of b, then of a, which may write over what b reads.
static void put_beside(Copy *early, Copy *late, Out *out) {
  Overlap *o = early->o;
  if (o->a->step) {
    put(out, beside_tiles(early, late, o->a, o->b));
    return;
  }
  Stmt *both = beside(early, late, o->a, o->b);
  put(out, both);
  if (o->a->hi == o->b->hi) return;
  Expr *lanes = expr_int(o->x, DT_I64, o->a->lanes, NO_SPAN);
  both->hi = expr_op2(o->x, OP_MUL, expr_op2(o->x, OP_FLOORDIV, both->hi, lanes, NO_SPAN), lanes, NO_SPAN);
  put(out, rest_of(late, o->b, both->hi));
  put(out, rest_of(early, o->a, both->hi));
}

// Arrays of a row stand before the loop over rows, two of each where both rows need their own.
static void put_arrays(Overlap *o, Out *out, Map *two) {
  for (int i = 0; i < o->object.n; i++) {
    const Object *q = &o->object.v[i];
    if (!q->t || !q->declared) continue;
    Stmt *s = stmt_alone(o->p->a, q->declared);
    if ((q->does & EARLY_WRITES) && (q->does & LATE) && !is_in_place(o, q->t)) map_putp(two, q->t, s->t = two_of(o, q->t));
    put(out, s);
  }
}

static Expr *number(Overlap *o, int64_t v) { return expr_int(o->x, DT_I64, v, NO_SPAN); }
static Expr *before(Overlap *o, Expr *row) { return minus(o, row, number(o, 1)); }

// The half of `row` among the rows from `first` on; NULL: no array has two.
static Expr *half_of(Overlap *o, Out *out, const Map *two, Expr *row, Expr *first) {
  if (!two->n) return NULL;
  Stmt *s = plan_let(o->p->plan, ST_LET, "half", expr_op2(o->x, OP_MOD, minus(o, row, first), number(o, 2), NO_SPAN));
  put(out, s);
  return expr_var(o->x, s->var);
}

static Expr *other_half(Overlap *o, Expr *half) { return half ? minus(o, number(o, 1), half) : NULL; }

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

// Is the statement, before `a`, one that is computed a row ahead? Accumulators of `a` begin with it.
static bool is_ahead(const Overlap *o, const Stmt *s) {
  return o->leads && s->kind != ST_ALLOC && !is_late(o, s) && !(s->kind == ST_VAR && changed_in(o->a, s->var));
}

// The beginning of the row behind `row`, or once more of the last one, and what it leaves, in the variables of `lead`.
static void put_ahead(Overlap *o, Out *out, Expr *row, Expr *last, Map *two, Map *lead, bool plain) {
  Copy ahead = copy_make(o, expr_op2(o->x, OP_MIN, expr_plus(o->x, row, 1), last, NO_SPAN), two, plain);
  for (const Stmt *s = o->row->body; s != o->a; s = s->next) {
    if (!is_ahead(o, s)) continue;
    put(out, copy_of(&ahead, s));
    if (s->kind == ST_VAR || s->kind == ST_LET) map_putp(lead, s->var, map_getp(&ahead.as.to, s->var));
  }
}

// The row takes from `lead` what was computed a row ahead.
static void keep_ahead(Overlap *o, Out *out, const Map *lead, Map *kept) {
  for (const Stmt *s = o->row->body; s != o->a; s = s->next) {
    Var *now = s->kind == ST_VAR || s->kind == ST_LET ? map_getp(lead, s->var) : NULL;
    if (!now) continue;
    Var *old = map_getp(kept, s->var);
    Expr *value = expr_var(o->x, now);
    Stmt *made = old ? stmt_value(o->p->a, ST_SET, old, value) : plan_let(o->p->plan, ST_VAR, s->var->name, value);
    map_putp(kept, s->var, made->var);
    put(out, made);
  }
}

// The statements of a step: the row's early ones and those of the row before that come late.
static Stmt *step_of(Overlap *o, Expr *row, Expr *first, Expr *last, Map *two, Map *was, Map *kept) {
  Copy early = copy_make(o, row, two, false), late = copy_make(o, before(o, row), two, false);
  const Stmt *body = o->row->body;
  Out out = { 0 };
  take_along(o, &late, was);
  early.half = half_of(o, &out, two, row, first);
  late.half = other_half(o, early.half);
  Map lead = map_make(o->p->scratch);
  put_ahead(o, &out, row, last, two, &lead, false);
  for (const Stmt *s = body; s != o->a; s = s->next) {
    Var *known = is_ahead(o, s) && s->var ? map_getp(kept, s->var) : NULL;
    if (known) map_putp(&early.as.to, s->var, known);
    else if (!is_ahead(o, s) && s->kind != ST_ALLOC && !is_late(o, s)) put(&out, copy_of(&early, s));
  }
  put_some(&late, &out, true, body, o->b);
  put_beside(&early, &late, &out);
  put_some(&late, &out, true, o->b->next, NULL);
  put_some(&early, &out, false, o->a->next, NULL);
  carry(o, &out, &early, was);
  keep_ahead(o, &out, &lead, kept);
  return out.first;
}

static Stmt *inner_loop(Overlap *o, Expr *lo, Expr *hi, Map *two, Map *was, Map *kept) {
  Stmt *loop = stmt_alone(o->p->a, o->row);
  loop->how = HOW_SEQ;
  loop->align = 0;
  loop->parallel_if = NULL;
  loop->lo = expr_plus(o->x, lo, 1), loop->hi = hi;
  loop->ix = index_new(o->x, o->row->ix->name, o->row->ix->at);
  loop->body = step_of(o, expr_index(o->x, loop->ix), lo, before(o, hi), two, was, kept);
  return loop;
}

// Rows from `lo` to `hi`, of which there is one at least.
static Stmt *overlapped(Overlap *o, Expr *lo, Expr *hi) {
  Out out = { 0 };
  Map two = map_make(o->p->scratch), was = map_make(o->p->scratch), lead = map_make(o->p->scratch), kept = map_make(o->p->scratch);
  put_arrays(o, &out, &two);
  Expr *last_row = before(o, hi);
  Copy first = copy_make(o, lo, &two, true), last = copy_make(o, last_row, &two, true);
  first.half = number(o, 0);
  put_some(&first, &out, false, o->row->body, NULL);
  carry(o, &out, &first, &was);
  put_ahead(o, &out, lo, last_row, &two, &lead, true);
  keep_ahead(o, &out, &lead, &kept);
  put(&out, inner_loop(o, lo, hi, &two, &was, &kept));
  take_along(o, &last, &was);
  last.half = half_of(o, &out, &two, last_row, lo);
  put_some(&last, &out, true, o->row->body, NULL);
  return out.first;
}

// A core's rows for each step of the parallel loop.
static void share(Overlap *o, Stmt *loop) {
  Stmt row = *loop;
  o->row = &row;
  const char *name = loop->ix->name;
  loop->ix = plan_index(o->p->plan, arena_printf(o->p->scratch, "%s_from", name));
  loop->ix2 = plan_index(o->p->plan, arena_printf(o->p->scratch, "%s_end", name));
  loop->body = overlapped(o, expr_index(o->x, loop->ix), expr_index(o->x, loop->ix2));
}

// Where it stands in another parallel loop, a chunk of them.
static void share_chunks(Overlap *o, Stmt *loop) {
  Stmt row = *loop;
  o->row = &row;
  Plan *plan = o->p->plan;
  const char *name = loop->ix->name;
  Index *from = plan_index(plan, arena_printf(o->p->scratch, "%s_from", name));
  Expr *first = expr_index(o->x, from), *behind = expr_op2(o->x, OP_MIN, expr_plus(o->x, first, CHUNK), loop->hi, NO_SPAN);
  Stmt *end = plan_let(plan, ST_LET, arena_printf(o->p->scratch, "%s_end", name), behind);
  end->next = overlapped(o, first, expr_var(o->x, end->var));
  loop->ix = from;
  loop->step = CHUNK;
  loop->body = end;
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

// Rows of all loops around and this one; 0: not known.
static int64_t rows_of(const Stmt *loop, int64_t outer) {
  Scalar lo, hi;
  return outer && expr_fold(loop->lo, &lo) && expr_fold(loop->hi, &hi) && hi.i > lo.i ? outer * (hi.i - lo.i) : 0;
}

// Where statements stand: outside of loops, in parallel loops alone, among the statements of such a loop's step, or further inside.
typedef enum Depth { OUTSIDE, PARALLEL, STEP, INSIDE } Depth;

static bool has_rows(const Pipe *p, Depth depth, int64_t rows) { return !p->machine->far_bytes || rows >= (depth == OUTSIDE ? LEAST_ROWS : LEAST_NESTED); }

static void walk(Pipe *p, const Kernel *k, Stmt *s, Depth depth, int64_t outer) {
  for (; s; s = s->next) {
    bool loop = s->kind == ST_LOOP && !s->step && !s->ordered, par = loop && s->how == HOW_PAR && depth <= PARALLEL;
    Overlap o = { .p = p, .k = k, .x = p->plan->x, .row = s };
    int64_t rows = par ? rows_of(s, outer) : 0;
    bool nest = par && s->body && s->body->kind == ST_LOOP && s->body->how == HOW_PAR && !s->body->next;
    if (par && !nest && has_rows(p, depth, rows) && choose(&o)) {
      if (depth == OUTSIDE) share(&o, s);
      else share_chunks(&o, s);
    } else if (loop && s->how == HOW_SEQ && depth == STEP && choose(&o)) {
      guard(&o, s);
    } else {
      Depth in = nest ? PARALLEL : s->kind == ST_IF && depth <= PARALLEL ? depth : par ? STEP : INSIDE;
      walk(p, k, s->body, in, nest ? rows : outer);
      walk(p, k, s->els, in, outer);
    }
  }
}

void overlap_rows(Pipe *p, Kernel *k) { walk(p, k, k->body, OUTSIDE, 1); }

// Note [What goes beside what]
//
// The last loop over a row goes beside the one before it over the same range: two that compute, while what they fetch is of the row after
// next. Beside the first one, which waits for memory itself, it gains half as much, and three rows at once gain no more. Two cores of a
// Xeon, 128 MiB, rows of 4096 f32, the copy at 5.0 ms: softmax 8.1 -> 6.2 ms, log-softmax 8.0 -> 5.8, layer norm with residual
// 6.7 -> 5.7, RMS norm 5.6 -> 5.2. A core's first and last row have nothing beside them; so have those of a chunk, where rows stand in a nest: chunks of 16
// rows lose 2 %, of 32 one.
//
// The order: what row i does up to its loop `a`; `a` beside the last loop `b` of row i - 1; what row i - 1 does behind b; what row i does
// between a and b, other loops too. So what b and the statements behind it know of their row is carried in variables, and an array that
// they read has a second one unless b reads each element in the step in which a writes the next row's. What else a row changes may be
// touched by one of the two sides only: then its rows follow one another as they did.
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
//
// Note [Rows in tiles]
//
// A row that is read in one pass (lower_online.c) goes by tiles: a loop for the tile's maximum, one for its exponentials. The map of the row before is
// cut like it, and each piece goes with the last loop of the tile, while the next tile comes.
//
// Note [Rows that grow]
//
// Of a causal softmax the sum ends at the diagonal and the map at the end of the row, so that they are one loop up to the last whole block
// of 64 before the diagonal. The steps of the sum fall on the same lanes in the same order as before: its rest is what was the block with a
// condition. Nothing else is asked of the two ends than that the map's is never the nearer one.
