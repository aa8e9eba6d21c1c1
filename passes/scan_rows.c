// scan_rows.c: prefixes of four rows side by side (CPU).
//
//   par i in 0 .. N                     par i in 0 .. N by 4
//     var y = 0                           if i + 4 <= N                 (where N >= 256)
//     scan(64) k in 0 .. D                  var y = 0; var y = 0; …
//       y = y + x[i, k]          ──▶        for k_block in 0 .. D // 64 * 64 by 64
//       c[i, k] = y                           scan(64) k in k_block .. k_block + 64:  y = y + x[i, k]; c[i, k] = y
//                                             scan(64) k in k_block .. k_block + 64:  y = y + x[i + 1, k]; …
//                                           scan(64) k in D // 64 * 64 .. D:  the rest of each row
//                                         else for i in i .. N:  as before
//
// A prefix walks its row in order, one stream of memory at a time, and each block waits for the sum of the one before. Four rows are four
// streams and four chains: 8192 rows of 4096 f32 went from 7.3 to 5.6 ms. Maxima and recurrences along rows, which go step by step, take
// a step of each row in one loop (8192 rows of 4096 h = a * h + b: 23.6 to 13.6 ms). The order of a row's steps is what it was.
#include "ir/affine.h"
#include "passes/pass.h"

// Steps of a block; blocks of a row, and steps of one without, that are worth it; rows, so that four at a time still occupy all cores.
enum { ROWS = 4, BLOCK = 64, LEAST_BLOCKS = 8, LEAST_STEPS = 16, LEAST_ROWS = 256 };

typedef struct ScanRows {
  Pipe *p;
  ExprTable *x;
  Stmt *loop;           // over the rows
  Index *row;           // the first of the four
  StmtCopy copy[ROWS];
} ScanRows;

// ---- which loops -------------------------------------------------------------------------------

static bool is_scan(const Stmt *s) { return s->kind == ST_LOOP && s->how == HOW_SCAN && s->lanes == BLOCK; }

// A prefix or recurrence that goes step by step.
static bool is_chain(const Stmt *s) {
  if (s->kind != ST_LOOP || s->step || !((s->how == HOW_SCAN && s->lanes <= 1) || (s->how == HOW_SEQ && s->ordered))) return false;
  for (const Stmt *b = s->body; b; b = b->next)
    if (b->kind != ST_LET && b->kind != ST_SET && b->kind != ST_ACC && b->kind != ST_STORE) return false;
  return true;
}

// A loop over rows, of prefixes and what a row has beside them; all prefixes from 0 to one end.
static bool has_prefixes(Pipe *p, const Stmt *loop) {
  int scans = 0;
  if (loop->kind != ST_LOOP || loop->how != HOW_PAR || loop->step) return false;
  for (const Stmt *s = loop->body; s; s = s->next) {
    if (s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_STORE) continue;
    if (!(is_scan(s) || is_chain(s)) || !expr_is_int(s->lo, 0) || !stmt_keeps(p->scratch, loop, s->hi)) return false;
    if (stmt_steps_below(s, is_chain(s) ? LEAST_STEPS : LEAST_BLOCKS * BLOCK)) return false;
    scans++;
  }
  return scans > 0;
}

// ---- copies ------------------------------------------------------------------------------------

static Expr *number(ScanRows *r, int64_t v) { return expr_int(r->x, DT_I64, v, NO_SPAN); }

// Only the first of four says what it computes.
static Stmt *silent(int at, Stmt *list) {
  for (Stmt *c = list; c && at; c = c->next) c->note = NULL;
  return list;
}

static Stmt *copy(ScanRows *r, int at, const Stmt *s) { return silent(at, stmt_copy(&r->copy[at], s)); }

// One row's prefix from `lo` to `hi`.
static Stmt *part(ScanRows *r, int at, const Stmt *scan, Expr *lo, Expr *hi) {
  Stmt *s = copy(r, at, scan);
  s->lo = lo, s->hi = hi;
  return s;
}

// ---- what comes further on ---------------------------------------------------------------------

typedef struct Walked { ScanRows *r; Index *ix; VEC(Expr *) read; } Walked;

static void see_walked(void *cx, Expr *e) {
  Walked *w = cx;
  int n = e->op == OP_READ ? e->u.t->rank : 0;
  if (n < 2 || e->u.t->role == ROLE_LOCAL || dtypes[e->u.t->dtype].bits < 8 || expr_has(e, OP_VAR)) return;
  for (int k = 0; k < n; k++) if (expr_has(e->arg[k], OP_READ)) return;
  Expr *coef, *rest;
  if (!affine_split(w->r->x, e->arg[n - 1], 1, &w->ix, &coef, &rest) || !expr_is_int(coef, 1)) return;
  if (!expr_uses_index(e, w->r->loop->ix)) return;
  for (int k = 0; k < w->read.n; k++) if (w->read.v[k] == e) return;
  vec_push(w->r->p->scratch, &w->read, e);
}

// The body of a prefix, behind what fetches its block of the row that is four further on.
static Stmt *with_next_rows(ScanRows *r, const Stmt *scan) {
  Walked w = { r, scan->ix, { 0 } };
  Expr *later = expr_plus(r->x, expr_index(r->x, r->loop->ix), ROWS);
  Stmt *body = scan->body;
  for (const Stmt *s = body; s; s = s->next) if (s->a) expr_visit(r->p->scratch, s->a, see_walked, &w);
  for (int i = 0; i < w.read.n; i++) {
    Stmt *f = stmt_new(r->p->a, ST_PREFETCH);
    f->t = w.read.v[i]->u.t;
    f->nsub = f->t->rank;
    f->parts = 1;
    for (int k = 0; k < f->nsub; k++) f->sub[k] = expr_subst(r->x, w.read.v[i]->arg[k], 1, &r->loop->ix, &later);
    f->next = body;
    body = f;
  }
  return body;
}

// ---- four rows ---------------------------------------------------------------------------------

// Whole blocks side by side.
static Stmt *blocks_of(ScanRows *r, const Stmt *scan, Expr *whole) {
  Index *ix = plan_index(r->p->plan, arena_printf(r->p->scratch, "%s_block", scan->ix->name));
  Stmt *blocks = stmt_loop(r->p->a, HOW_SEQ, ix, number(r, 0), whole, NULL), **in = &blocks->body, fetching = *scan;
  blocks->step = BLOCK;
  fetching.body = with_next_rows(r, scan);
  Expr *from = expr_index(r->x, blocks->ix);
  for (int k = 0; k < ROWS; k++) in = stmts_append(in, part(r, k, &fetching, from, expr_plus(r->x, from, BLOCK)));
  return blocks;
}

// The prefixes of four rows: whole blocks, then the rest of each.
static Stmt *side_by_side(ScanRows *r, const Stmt *scan) {
  Expr *block = number(r, BLOCK), *whole = expr_op2(r->x, OP_MUL, expr_op2(r->x, OP_FLOORDIV, scan->hi, block, NO_SPAN), block, NO_SPAN);
  Scalar v;
  if (expr_fold(whole, &v)) whole = number(r, v.i);
  Stmt *blocks = blocks_of(r, scan, whole), **tail = &blocks->next;
  for (int k = 0; k < ROWS && whole != scan->hi; k++) tail = stmts_append(tail, part(r, k, scan, whole, scan->hi));
  return blocks;
}

// Steps of four rows, one after the other.
static Stmt *chains(ScanRows *r, const Stmt *chain) {
  Stmt *four = part(r, 0, chain, chain->lo, chain->hi), **tail = &four->body->next;
  Expr *step = expr_index(r->x, four->ix);
  while (*tail) tail = &(*tail)->next;
  for (int k = 1; k < ROWS; k++) {
    map_putp(&r->copy[k].to, chain->ix, step);
    tail = stmts_append(tail, silent(k, stmts_copy(&r->copy[k], chain->body)));
  }
  return four;
}

static Stmt *rows_side_by_side(ScanRows *r) {
  Stmt *first = NULL, **tail = &first;
  for (int k = 0; k < ROWS; k++) {
    r->copy[k] = (StmtCopy){ r->p->a, r->x, map_make(r->p->scratch) };
    map_putp(&r->copy[k].to, r->loop->ix, expr_plus(r->x, expr_index(r->x, r->row), k));
  }
  for (const Stmt *s = r->loop->body; s; s = s->next) {
    if (is_scan(s)) tail = stmts_append(tail, side_by_side(r, s));
    else if (is_chain(s)) tail = stmts_append(tail, chains(r, s));
    else for (int k = 0; k < ROWS; k++) tail = stmts_append(tail, copy(r, k, s));
  }
  return first;
}

static void take_four(Pipe *p, Stmt *loop) {
  ScanRows r = { .p = p, .x = p->plan->x, .loop = loop };
  r.row = index_new(r.x, loop->ix->name, NO_SPAN);
  Expr *row = expr_index(r.x, r.row), *are_four = expr_op2(r.x, OP_LE, expr_plus(r.x, row, ROWS), loop->hi, NO_SPAN);
  Stmt *one = stmt_loop(p->a, HOW_SEQ, loop->ix, row, loop->hi, loop->body);
  loop->body = stmt_either(p->a, are_four, rows_side_by_side(&r), one);
  loop->ix = r.row;
  loop->step = ROWS;
}

// Takes the place of the nest `s`; as it was where there are few rows.
static Stmt *with_few_rows(Pipe *p, Stmt *s, Stmt *inner, Expr *rows) {
  Expr *many = expr_op2(p->plan->x, OP_GE, rows, expr_int(p->plan->x, DT_I64, LEAST_ROWS, NO_SPAN), NO_SPAN);
  StmtCopy copy = { p->a, p->plan->x, map_make(p->scratch) };
  Stmt *few = stmt_copy(&copy, s);
  take_four(p, inner);
  return stmt_either(p->a, many, s, few);
}

static Stmt *take_rows(void *cx, Stmt *s) {
  Pipe *p = cx;
  Expr *rows;
  Stmt *inner = stmt_nest(p->plan->x, s, &rows);
  if (inner && has_prefixes(p, inner)) return with_few_rows(p, s, inner, rows);
  s->body = scan_rows(p, s->body);
  s->els = scan_rows(p, s->els);
  return s;
}

Stmt *scan_rows(Pipe *p, Stmt *s) { return stmts_replace(s, take_rows, p); }
