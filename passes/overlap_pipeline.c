// overlap_pipeline.c: the end of a row and the beginning of the next as one loop (CPU).
//
//   par i in 0 .. N                           par from .. end in shares of 0 .. N
//     lanes j:  m = max(m, x[i, j])             row `from`, but for its last loop
//     lanes j:  z = sum(z, e[j] = …)            for i in from + 1 .. end
//     vec j:    y[i, j] = e[j] / z      ──▶       lanes j:  m = max(m, x[i, j])
//                                                 lanes j:  y[i - 1, j] = e[j] / was;  z = sum(z, e[j] = …)
//                                               the last loop of row `end - 1`
//
// As a software pipeline does with the steps of a loop: a beginning, steps of two rows each, an end. overlap.c says which two loops go beside one
// another. Each row computes what it did, in the same order, so the bits are the same, whoever has which rows.
#include "ir/affine.h"
#include "ir/rewrite.h"
#include "passes/overlap.h"
#include <string.h>

enum {
  CHUNK = 32,           // rows of a nest at most, of which the first and the last have nothing beside them
  LEAST_CHUNKS = 64,
  LINE = 64,            // bytes of a line
};

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

// ---- two loops as one --------------------------------------------------------------------------

typedef struct Out { Stmt *first, **tail; } Out;

static void put(Out *out, Stmt *s) { out->tail = stmts_append(out->tail ? out->tail : &out->first, s); }

static Expr *let(Overlap *o, Out *out, const char *name, Expr *value) {
  if (value->op == OP_CONST || value->op == OP_VAR) return value;
  Stmt *s = plan_let(o->p->plan, ST_LET, name, value);
  put(out, s);
  return expr_var(o->x, s->var);
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

// The same where `a` goes by tiles: the map goes with the last loop of each.
static Stmt *beside_tiles(Copy *early, Copy *late, const Stmt *a, const Stmt *b) {
  Stmt *made = copy_of(early, a), *in = (Stmt *)overlap_last_loop(made->body);
  map_putp(&late->as.to, b->ix, expr_index(early->o->x, in->ix));
  Stmt *first = copy_list(late, b->body);
  Stmt **tail = &first;
  tail = stmts_append(tail, first);
  *tail = in->body;
  in->body = first;
  return made;
}

// What is left of a loop behind `from`.
static Stmt *rest_of(Copy *c, const Stmt *loop, Expr *from) {
  Stmt *made = copy_of(c, loop);
  made->lo = from;
  made->note = NULL;
  return made;
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

// ---- rows that begin within a line -------------------------------------------------------------

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
  if (o->a->step) put(out, beside_tiles(early, late, o->a, o->b));
  else if (o->line) put_shifted(early, late, out);
  else if (o->a->hi != o->b->hi) put_growing(early, late, out);
  else put(out, beside(early, late, o->a, o->b, NULL));
}

// ---- arrays of a row ---------------------------------------------------------------------------

typedef enum Halves { NO_HALVES, ROWS_OF_THEIR_OWN, IN_PLACE } Halves;      // IN_PLACE: two rows need one each only where they are shifted

static Halves halves_of(Overlap *o, const Object *q) {
  if (!q->t || !q->declared || !(q->does & EARLY_WRITES) || !(q->does & LATE)) return NO_HALVES;
  return !overlap_is_in_place(o, q->t) ? ROWS_OF_THEIR_OWN : o->line ? IN_PLACE : NO_HALVES;
}

// An array in two halves, for two rows.
static Tensor *two_of(Overlap *o, const Tensor *t) {
  Expr *extent[8] = { expr_int(o->x, DT_I64, 2, NO_SPAN) };
  memcpy(extent + 1, t->extent, (size_t)t->rank * sizeof *extent);
  return fn_tensor(o->p->fn, t->name, ROLE_LOCAL, t->dtype, NULL, t->rank + 1, extent, t->at);
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
  if (overlap_is_known(even, false)) return NULL;
  for (int k = 0; k < t->rank; k++) sub[k] = none;
  return let(o, out, "aligned", overlap_joined(o, OP_AND, even, binary(o, OP_EQ, put_line(o, out, "first", sub), none)));
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

// ---- from row to row ---------------------------------------------------------------------------

// Known early, used late.
bool is_carried(const Overlap *o, const Object *q) { return q->var && q->declared && (q->does & LATE) && !overlap_is_late(o, q->declared); }

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

// Statements of a row, the early or the late ones, from one place to another, as they are in the copy.
static void put_some(Copy *c, Out *out, bool late, const Stmt *from, const Stmt *to) {
  for (const Stmt *s = from; s != to; s = s->next)
    if (s->kind != ST_ALLOC && overlap_is_late(c->o, s) == late) put(out, copy_of(c, s));
}

// The beginning of the row behind `row`, or once more of the last one, and what it leaves, in the variables of `lead`.
static void put_ahead(Overlap *o, Out *out, Expr *row, Expr *last, Map *two, Map *lead, bool plain) {
  Copy ahead = copy_make(o, expr_op2(o->x, OP_MIN, expr_plus(o->x, row, 1), last, NO_SPAN), two, plain);
  for (const Stmt *s = o->row->body; s != o->a; s = s->next) {
    if (!overlap_is_ahead(o, s)) continue;
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

// ---- the new loop ------------------------------------------------------------------------------

static Expr *before(Overlap *o, Expr *row) { return minus(o, row, number(o, 1)); }

// The statements of a step: the row's early ones and those of the row before that come late.
static Stmt *step_of(Overlap *o, Expr *row, Expr *first, Expr *last, Map *two, Map *was, Map *kept) {
  Copy early = copy_make(o, row, two, false), late = copy_make(o, before(o, row), two, false);
  const Stmt *body = o->row->body;
  Out out = { 0 };
  take_along(o, &late, was);
  early.half = half_of(o, &out, two, row, first);
  late.half = other_half(o, &out, early.half);
  Map lead = map_make(o->p->scratch);
  put_ahead(o, &out, row, last, two, &lead, false);
  for (const Stmt *s = body; s != o->a; s = s->next) {
    Var *known = overlap_is_ahead(o, s) && s->var ? map_getp(kept, s->var) : NULL;
    if (known) map_putp(&early.as.to, s->var, known);
    else if (!overlap_is_ahead(o, s) && s->kind != ST_ALLOC && !overlap_is_late(o, s)) put(&out, copy_of(&early, s));
  }
  put_some(&late, &out, true, body, o->b);
  put_both(&early, &late, &out);
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
  o->aligned = all_in_place(o) ? put_aligned(o, &out) : NULL;
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

// Rows from `lo` to `hi` where `when` holds; else each by itself, which nothing stands beside. See Note [Sizes that the call brings].
static Stmt *overlapped_when(Overlap *o, Expr *when, Expr *lo, Expr *hi) {
  if (overlap_is_known(when, true)) return overlapped(o, lo, hi);
  const char *name = o->row->ix->name;
  Out out = { 0 }, in = { 0 };
  Expr *far = let(o, &out, "beside", when);
  Stmt *each = stmt_alone(o->p->a, o->row);
  each->how = HOW_SEQ;
  each->parallel_if = NULL;
  each->ix = plan_index(o->p->plan, arena_printf(o->p->scratch, "%s_first", name));
  each->lo = lo, each->hi = expr_select(o->x, far, expr_plus(o->x, lo, 1), hi, NO_SPAN);
  Expr *first = expr_index(o->x, each->ix), *behind = expr_select(o->x, far, hi, expr_plus(o->x, first, 1), NO_SPAN);
  Expr *end = let(o, &in, arena_printf(o->p->scratch, "%s_behind", name), behind);
  put(&in, overlapped(o, first, end));
  each->body = in.first;
  put(&out, each);
  return out.first;
}

void pipeline_shares(Overlap *o, Stmt *loop, Expr *when) {
  Stmt row = *loop;
  o->row = &row;
  const char *name = loop->ix->name;
  loop->ix = plan_index(o->p->plan, arena_printf(o->p->scratch, "%s_from", name));
  loop->ix2 = plan_index(o->p->plan, arena_printf(o->p->scratch, "%s_end", name));
  loop->body = overlapped_when(o, when, expr_index(o->x, loop->ix), expr_index(o->x, loop->ix2));
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
void pipeline_chunks(Overlap *o, Stmt *loop, Expr *when, Expr *all) {
  const char *from = arena_printf(o->p->scratch, "%s_from", loop->ix->name);
  Stmt row = *loop;
  Expr *many = chunk_of(o, all);
  o->row = &row;
  if (many->op == OP_CONST && overlap_is_known(when, true)) {
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
void pipeline_in_order(Overlap *o, Stmt *loop) {
  Stmt row = *loop, *either = stmt_value(o->p->a, ST_IF, NULL, binary(o, OP_LT, loop->lo, loop->hi));
  o->row = &row;
  either->body = overlapped(o, loop->lo, loop->hi);
  either->next = loop->next;
  either->at = loop->at;
  *loop = *either;
}

// Note [How rows follow one another]
//
// What row i does up to its loop `a`; `a` beside the last loop `b` of row i - 1; what row i - 1 does behind b; what row i does
// between a and b, other loops too. So what b and the statements behind it know of their row is carried in variables, and an array that
// they read has a second one unless b reads each element in the step in which a writes the next row's.
//
// The first and the last row of those that follow one another have nothing beside them. A core has its rows in one piece; those of a nest go in
// chunks: of 16 rows they lose 2 %, of 32 one.
//
// Note [Rows in tiles]
//
// A row that is read in one pass (lower_online.c) goes by tiles: a loop for the tile's maximum, one for its exponentials. The map of the row before is
// cut like it, and each piece goes with the last loop of the tile, while the next tile comes. A piece begins where the tile does, wherever the first line
// of its row begins: so rows go this way only where they are whole blocks.
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
// 9.6); of 4100 elements 8.7 -> 7.9, of 1000 11.1 -> 9.5; RMS norm of 4100 7.0 -> 6.2, log-softmax 8.8 -> 7.3. Known rows of a few whole blocks have
// no work for what it takes, and do without wherever they begin: softmax of rows of 64, 9.4 ms with and 8.2 without, of 512 7.8 and 7.0, of 1024 6.5 and 6.8;
// 16 bytes behind a line 13.4 and 9.1, 9.7 and 9.2, 9.4 and 9.5.
//
// Note [Sizes that the call brings]
//
// The text is the same for all sizes; what differs is how many rows follow one another: all that a core has, or one, which has nothing beside it: it is
// computed up to its last loop, and that follows. So each row is by itself where there are few, where nothing comes from memory, where two
// rows do not stay in the second cache if they have to, and where tiles would not be whole blocks. In a nest a chunk has as many rows as known
// sizes would give it, or one. Two cores of a Xeon, 128 MiB, ms, rows by themselves and so, sizes known and so:
//
//   rows                8192 x 4096        8192 x 4100       512 x 65536       32 x 1048576
//   softmax           8.6  7.1   7.2     8.9  7.7   7.6    7.9  6.3   6.9     9.7  9.0   8.9
//   RMS norm          6.4  5.5   5.5     6.2  5.1   5.0    5.1  4.8   4.8     9.6  7.4   7.3
//
// Note [Rows that grow]
//
// Of a causal softmax the sum ends at the diagonal and the map at the end of the row, so that they are one loop up to the last whole block
// of 64 before the diagonal. The steps of the sum fall on the same lanes in the same order as before: its rest is what was the block with a
// condition. Nothing else is asked of the two ends than that the map's is never the nearer one.
