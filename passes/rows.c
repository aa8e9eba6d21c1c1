// rows.c: several rows at once, where a vector loop adds one row after the other to an array of the first cache (CPU).
//
//   for i in lo .. hi                        let whole = lo + max(hi - lo, 0) // 4 * 4
//     vec j in j_tile .. j_end         ──▶   for i in lo .. whole by 4
//       s[j - j_tile] = s[…] + x[i, j]         vec j in j_tile .. j_end
//                                                s[…] = s[…] + x[i, j];  s[…] = s[…] + x[i + 1, j];  …
//                                            for i in whole .. hi:  as before
//
// Each element of the array is added to in the same order. It is read and written once for four rows, and four streams of memory are open;
// a plain sum takes eight.
// What a row leaves in memory besides, of a prefix or a recurrence, is stored behind them: 8192 steps of 4096 recurrences h = a * h + b take
// 9.2 ms, one after the other 9.9.
#include "ir/rewrite.h"
#include "passes/pass.h"

// Rows that are taken at once; of a plain sum, which reads one stream of memory a row.
enum { ROWS = 4, ROWS_OF_A_SUM = 8, MOST_STATEMENTS = 8, MOST_PITCH = 32 << 10 };

enum { LINE = 64 };             // bytes that a streaming store writes as a whole

typedef struct Rows { Pipe *p; ExprTable *x; const Stmt *loop; bool good; int rows; } Rows;     // rows: that the loop takes at once

static const Stmt *store_of(const Stmt *body, const Tensor *t) {
  for (; body; body = body->next) if (body->kind == ST_STORE && tensor_root(body->t) == tensor_root(t)) return body;
  return NULL;
}

static bool is_array(const Stmt *s) { return s->t->role == ROLE_LOCAL && s->t->rank == 1 && s->nsub == 1; }

// What the loop adds to is read at the place that the step writes; what else it stores is not read.
static void see_read(void *cx, Expr *e) {
  Rows *r = cx;
  const Stmt *s = e->op == OP_READ ? store_of(r->loop->body, e->u.t) : NULL;
  if (s) r->good &= is_array(s) && e->u.t->rank == 1 && e->arg[0] == s->sub[0];
}

// Elements of a row of memory.
static bool along_row(const Stmt *s, const Index *ix) {
  for (int k = 0; k + 1 < s->nsub; k++) if (expr_uses_index(s->sub[k], ix)) return false;
  return s->t->role != ROLE_LOCAL && expr_is_index(s->sub[s->nsub - 1], ix);
}

static bool is_simple(Rows *r, const Stmt *loop) {
  int n = 0;
  bool adds = false;
  r->loop = loop, r->good = true;
  for (const Stmt *s = loop->body; s && n <= MOST_STATEMENTS; s = s->next, n++) {
    if (s->kind == ST_LET || s->kind == ST_PREFETCH) continue;
    bool local = s->kind == ST_STORE && is_array(s) && s->field < 0 && expr_uses_index(s->sub[0], loop->ix);
    bool memory = s->kind == ST_STORE && !is_array(s) && s->field < 0 && s->nsub && along_row(s, loop->ix);
    if ((!local && !memory) || store_of(loop->body, s->t) != s) return false;
    adds |= local;
  }
  stmts_visit(r->p->scratch, loop->body, see_read, r);
  return adds && n <= MOST_STATEMENTS && r->good;
}

typedef struct Reads { int n; const Expr *last; } Reads;

static void count_read(void *cx, Expr *e) {
  Reads *r = cx;
  if (e->op == OP_READ && e->u.t->role != ROLE_LOCAL) r->n++, r->last = e;
}

// Are so many bytes, at most, from one row of the read to the next?
static bool pitch_below(const Expr *read, const Index *row, int64_t most) {
  int64_t pitch = dtypes[read->u.t->dtype].bits / 8;
  Scalar extent;
  for (int k = (int)read->nargs - 1; k >= 0 && pitch <= most && !expr_uses_index(read->arg[k], row); k--)
    if (!expr_fold(read->u.t->extent[k], &extent) || __builtin_mul_overflow(pitch, extent.i, &pitch)) return false;
  return pitch <= most;
}

// [16384, 4096] f32, two cores: 8.1 ms by eight rows, 8.5 by four. [2048, 32768] takes a fifth longer by eight: that far apart, all that is read
// or fetched at a time competes for one place of the second cache.
static int rows_at_a_time(Rows *r, const Stmt *loop) {
  Reads reads = { 0, NULL };
  int stores = 0;
  for (const Stmt *s = loop->body->body; s; s = s->next) {
    if (s->a && s->kind != ST_PREFETCH) expr_visit(r->p->scratch, s->a, count_read, &reads);
    stores += s->kind == ST_STORE;
  }
  return reads.n == 1 && stores == 1 && pitch_below(reads.last, loop->ix, MOST_PITCH) ? ROWS_OF_A_SUM : ROWS;
}

static bool adds_rows(Rows *r, const Stmt *s) {
  const Stmt *in = s->body;
  r->rows = in && in->kind == ST_LOOP ? rows_at_a_time(r, s) : ROWS;
  return s->kind == ST_LOOP && s->how == HOW_SEQ && !s->step && in && !in->next && in->kind == ST_LOOP && in->how == HOW_VEC && !in->streams &&
         !stmt_steps_below(s, 2 * r->rows) && !expr_uses_index(in->lo, s->ix) && !expr_uses_index(in->hi, s->ix) && is_simple(r, in);
}

// Do the rows of all streaming stores begin at one place of a line? Else only the first of those taken together would stream.
static Expr *in_lines(Rows *r, const Stmt *loop) {
  ExprTable *x = r->x;
  Expr *all = expr_bool(x, true, NO_SPAN);
  for (const Stmt *s = loop->body->body; s; s = s->next) {
    if (s->kind != ST_STORE || !s->stream) continue;
    Expr *pitch = expr_int(x, DT_I64, dtypes[s->t->dtype].bits / 8, NO_SPAN);
    for (int k = s->nsub - 1; k >= 0 && !expr_uses_index(s->sub[k], loop->ix); k--) pitch = expr_op2(x, OP_MUL, pitch, s->t->extent[k], NO_SPAN);
    Expr *is = expr_op2(x, OP_EQ, expr_op2(x, OP_MOD, pitch, expr_int(x, DT_I64, LINE, NO_SPAN), NO_SPAN), expr_int(x, DT_I64, 0, NO_SPAN), NO_SPAN);
    all = expr_is_true(all) ? is : expr_op2(x, OP_AND, all, is, NO_SPAN);
  }
  return all;
}

static Expr *renamed(void *cx, ExprTable *x, Expr *e) {
  Var *v = e->op == OP_VAR ? map_getp(cx, e->u.var) : NULL;
  return v ? expr_var(x, v) : e;
}

// The body k rows further on; what it fetches is of the rows after these.
static Stmt *row_of(Rows *r, const Stmt *body, Index *row, int k) {
  Stmt *first = NULL, **tail = &first;
  Map vars = map_make(r->p->scratch);
  for (const Stmt *s = body; s; s = s->next) {
    Stmt *one = stmt_alone(r->p->a, s);
    if (k) one->note = NULL;
    Expr *to = expr_plus(r->x, expr_index(r->x, row), s->kind == ST_PREFETCH ? k + r->rows - 1 : k);
    if (one->a) one->a = expr_map(r->x, expr_subst(r->x, one->a, 1, &row, &to), renamed, &vars);
    for (int n = 0; n < one->nsub; n++) one->sub[n] = expr_map(r->x, expr_subst(r->x, one->sub[n], 1, &row, &to), renamed, &vars);
    if (k && s->kind == ST_LET) map_putp(&vars, s->var, one->var = var_new(r->x, s->var->name, s->var->dtype));
    tail = stmts_append(tail, one);
  }
  return first;
}

// The end of the rows that are taken four at a time; none is where `lines` does not hold.
static Stmt *let_whole(Rows *r, const Stmt *loop, Expr *lines) {
  ExprTable *x = r->x;
  Expr *rows = expr_int(x, DT_I64, r->rows, NO_SPAN), *zero = expr_int(x, DT_I64, 0, NO_SPAN);
  Expr *steps = expr_op2(x, OP_MAX, expr_op2(x, OP_SUB, loop->hi, loop->lo, NO_SPAN), zero, NO_SPAN);
  Expr *end = expr_op2(x, OP_ADD, loop->lo, expr_op2(x, OP_MUL, expr_op2(x, OP_FLOORDIV, steps, rows, NO_SPAN), rows, NO_SPAN), NO_SPAN);
  Scalar known;
  if (!expr_fold(lines, &known)) end = expr_select(x, lines, end, loop->lo, NO_SPAN);
  if (expr_fold(end, &known)) end = expr_int(x, DT_I64, known.i, NO_SPAN);
  return plan_let(r->p->plan, ST_LET, "whole", end);
}

static Stmt *at_once(Rows *r, Stmt *loop, Expr *lines) {
  Stmt *whole = let_whole(r, loop, lines), *rows = stmt_alone(r->p->a, loop), *vec = stmt_alone(r->p->a, loop->body), **tail = &vec->body;
  vec->body = NULL;
  for (int k = 0; k < r->rows; k++) tail = stmts_append(tail, row_of(r, loop->body->body, loop->ix, k));
  rows->body = vec;
  rows->hi = expr_var(r->x, whole->var);
  rows->step = r->rows;
  loop->lo = rows->hi;
  loop->note = NULL;
  whole->next = rows;
  rows->next = loop;
  return whole;
}

static Stmt *take_rows(void *cx, Stmt *s) {
  Rows *r = cx;
  Expr *lines = adds_rows(r, s) ? in_lines(r, s) : NULL;
  Scalar v;
  if (lines && !(expr_fold(lines, &v) && !v.u)) return at_once(r, s, lines);
  s->body = stmts_replace(s->body, take_rows, r);
  s->els = stmts_replace(s->els, take_rows, r);
  return s;
}

Stmt *rows_at_once(Pipe *p, Stmt *s) {
  Rows r = { .p = p, .x = p->plan->x };
  return stmts_replace(s, take_rows, &r);
}
