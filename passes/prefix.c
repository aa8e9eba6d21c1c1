// prefix.c: a long prefix is shared out over cores where there are few (CPU).
//
//   var c = 0                          for tile in 0 .. D by 262144
//   scan k in 0 .. D                     par part in 0 .. 64:  total[part] = sum of the part's 4096 terms
//     c = c + x[k]             ──▶       scan part in 0 .. 64:  c = c + total[part]; total[part] = c
//     y[k] = c                           par part in 0 .. 64:  c' = total[part - 1]; scan k in the part:  c' = c' + x[k]; y[k] = c'
//
// Terms are computed twice, the second time from the cores' second caches, where a tile lies: memory is read once. Parts do not depend on
// the number of threads, so neither do the bits. Rows that occupy the cores keep a core each. 2^25 f32: 14.8 ms on one core; so 8.5 on
// two, but 19 on one. [Chunked scans: Blelloch, Prefix Sums and Their Applications, 1990]
#include "ir/affine.h"
#include "passes/pass.h"

// Parts of a tile; bytes of a step, a part being what a core keeps of a row; parts that are worth it; rows that occupy the cores.
enum { PARTS = 64, WIDTH = 4, LEAST_PARTS = 32, FEW_ROWS = 8, MOST_SUMS = 8 };

typedef struct Prefix {
  Pipe *p;
  ExprTable *x;
  int64_t part;         // its steps
  const Stmt *scan;
  int n; const Stmt *acc[MOST_SUMS];    // its accumulations,
  Expr *identity[MOST_SUMS];            // what they begin with,
  Tensor *total[MOST_SUMS];             // and those of the parts of a tile
  Var *start[MOST_SUMS];                // what they are where the tile begins
} Prefix;

static Expr *number(Prefix *c, int64_t v) { return expr_int(c->x, DT_I64, v, NO_SPAN); }
static Expr *var(Prefix *c, Var *v) { return expr_var(c->x, v); }
static Expr *total_at(Prefix *c, int j, Expr *part) { return expr_make(c->x, OP_READ, c->acc[j]->var->dtype, 0, c->total[j], NO_SPAN, 1, &part); }

// ---- which prefixes ----------------------------------------------------------------------------

// Does e, or a LET among the statements that it reads, use an accumulator?
typedef struct Uses { const Prefix *c; bool sums, stored; } Uses;

static void see(void *cx, Expr *e) {
  Uses *u = cx;
  for (const Stmt *s = u->c->scan->body; s; s = s->next) {
    if (e->op == OP_VAR && s->kind == ST_ACC && s->var == e->u.var) u->sums = true;
    if (e->op == OP_VAR && s->kind == ST_LET && s->var == e->u.var && s->a != e) expr_visit(u->c->p->scratch, s->a, see, u);
    if ((e->op == OP_READ || e->op == OP_FIELD) && s->kind == ST_STORE && tensor_root(s->t) == tensor_root(e->u.t)) u->stored = true;
  }
}

static Uses uses_of(const Prefix *c, Expr *e) {
  Uses u = { c, false, false };
  expr_visit(c->p->scratch, e, see, &u);
  return u;
}

static bool takes_acc(Prefix *c, const Stmt *s) {
  if (s->var2 || !stmt_may_reorder(s) || c->n == MOST_SUMS || uses_of(c, s->a).sums) return false;
  c->acc[c->n++] = s;
  return true;
}

// Its element is another at each step, in a byte of its own.
static bool takes_store(const Prefix *c, const Stmt *s) {
  bool moves = false;
  Index *ix = c->scan->ix;
  Expr *coef, *rest;
  for (int k = 0; k < s->nsub; k++) moves |= affine_split(c->x, s->sub[k], 1, &ix, &coef, &rest) && (expr_is_int(coef, 1) || expr_is_int(coef, -1));
  return moves && s->field < 0 && dtypes[s->t->dtype].bits >= 8;
}

// Over dimensions and scalar arguments.
static bool is_of_dims(const Expr *e) { return !e->free->n && !expr_has(e, OP_VAR) && !expr_has(e, OP_READ); }

// A prefix of plain sums, maxima and so on from 0 on, whose steps need nothing else of one another.
static bool can_share(Prefix *c, const Stmt *scan) {
  c->scan = scan;
  c->n = 0;
  if (scan->kind != ST_LOOP || scan->how != HOW_SCAN || scan->ordered || !expr_is_int(scan->lo, 0) || !is_of_dims(scan->hi)) return false;
  if (stmt_steps_below(scan, LEAST_PARTS * c->part)) return false;
  for (const Stmt *s = scan->body; s; s = s->next) {
    bool takes = s->kind == ST_LET || (s->kind == ST_ACC && takes_acc(c, s)) || (s->kind == ST_STORE && takes_store(c, s));
    if (!takes || uses_of(c, s->a).stored) return false;
  }
  return c->n > 0;
}

static bool begins_with(Prefix *c, const Stmt *before) {
  for (int j = 0; j < c->n; j++) {
    c->identity[j] = NULL;
    for (const Stmt *s = before; s; s = s->next) if (s->kind == ST_VAR && s->var == c->acc[j]->var) c->identity[j] = s->a;
    if (!c->identity[j] || !expr_is_const(c->identity[j])) return false;
  }
  return true;
}

// ---- the parts of a tile -----------------------------------------------------------------------

static Stmt *statement(Prefix *c, StmtKind kind, Var *v, Expr *a) { return stmt_value(c->p->a, kind, v, a); }

static Stmt *loop(Prefix *c, LoopHow how, const char *name, Expr *hi) {
  return stmt_loop(c->p->a, how, plan_index(c->p->plan, name), number(c, 0), hi, NULL);
}

static Stmt *store_total(Prefix *c, int j, Expr *part, Expr *value) {
  Stmt *s = statement(c, ST_STORE, NULL, value);
  s->t = c->total[j];
  s->nsub = 1;
  s->sub[0] = part;
  return s;
}

static Stmt *accumulate(Prefix *c, int j, Var *to, Expr *value) {
  Stmt *s = statement(c, ST_ACC, to, value);
  s->reducer = c->acc[j]->reducer;
  return s;
}

static Stmt *new_var(Prefix *c, int j, Expr *first) {
  const Var *like = c->acc[j]->var;
  Stmt *s = statement(c, ST_VAR, var_new(c->x, like->name, like->dtype), first);
  s->reducer = c->acc[j]->reducer;
  return s;
}

// What the totals need of a step: no store, and no value that follows an accumulation.
static Stmt *terms(Prefix *c) {
  Stmt *first = NULL, **tail = &first;
  for (const Stmt *s = c->scan->body; s; s = s->next) {
    if (s->kind == ST_STORE || (s->kind == ST_LET && uses_of(c, s->a).sums)) continue;
    tail = stmts_append(tail, stmt_alone(c->p->a, s));
  }
  return first;
}

// The steps of a part of the tile, with other accumulators.
static Stmt *steps(Prefix *c, LoopHow how, Stmt *part, Expr *tile, Var *const *sum) {
  Expr *from = expr_op2(c->x, OP_ADD, tile, expr_op2(c->x, OP_MUL, expr_index(c->x, part->ix), number(c, c->part), NO_SPAN), NO_SPAN);
  StmtCopy copy = { c->p->a, c->x, map_make(c->p->scratch) };
  for (int j = 0; j < c->n; j++) map_putp(&copy.to, c->acc[j]->var, sum[j]);
  Stmt one = *c->scan;
  if (how == HOW_SEQ) one.body = terms(c);
  Stmt *s = stmt_copy(&copy, &one);
  s->how = how;
  s->lo = from;
  s->hi = expr_op2(c->x, OP_MIN, expr_plus(c->x, from, c->part), c->scan->hi, NO_SPAN);
  s->align = c->part;
  return s;
}

static Stmt *par_parts(Prefix *c) {
  Stmt *s = loop(c, HOW_PAR, "part", number(c, PARTS));
  s->parallel_if = number(c, PARTS * c->part);
  return s;
}

static Stmt *find_totals(Prefix *c, Expr *tile) {
  Stmt *par = par_parts(c), **tail = &par->body;
  Var *sum[MOST_SUMS];
  for (int j = 0; j < c->n; j++) {
    Stmt *v = new_var(c, j, c->identity[j]);
    sum[j] = v->var;
    tail = stmts_append(tail, v);
  }
  tail = stmts_append(tail, steps(c, HOW_SEQ, par, tile, sum));
  for (int j = 0; j < c->n; j++) {
    Stmt *fold = statement(c, ST_FOLD, sum[j], NULL);
    fold->reducer = c->acc[j]->reducer;
    tail = stmts_append(stmts_append(tail, fold), store_total(c, j, expr_index(c->x, par->ix), var(c, sum[j])));
  }
  return par;
}

// total[part]: of all up to the part's end; the scan's own accumulator goes on to the next tile.
static Stmt *add_totals(Prefix *c, int j) {
  Stmt *s = loop(c, HOW_SCAN, "part", number(c, PARTS)), **tail = &s->body;
  Expr *part = expr_index(c->x, s->ix);
  Var *all = c->acc[j]->var, *upto = var_new(c->x, all->name, all->dtype);
  tail = stmts_append(tail, accumulate(c, j, all, total_at(c, j, part)));
  tail = stmts_append(tail, statement(c, ST_LET, upto, var(c, all)));
  stmts_append(tail, store_total(c, j, part, var(c, upto)));
  return s;
}

static Stmt *find_values(Prefix *c, Expr *tile) {
  Stmt *par = par_parts(c), **tail = &par->body;
  Expr *part = expr_index(c->x, par->ix), *first = expr_op2(c->x, OP_GT, part, number(c, 0), NO_SPAN);
  Var *sum[MOST_SUMS];
  for (int j = 0; j < c->n; j++) {
    Stmt *v = new_var(c, j, expr_select(c->x, first, total_at(c, j, expr_op2(c->x, OP_SUB, part, number(c, 1), NO_SPAN)), var(c, c->start[j]), NO_SPAN));
    sum[j] = v->var;
    tail = stmts_append(tail, v);
  }
  stmts_append(tail, steps(c, HOW_SCAN, par, tile, sum));
  return par;
}

static Stmt *in_parts(Prefix *c) {
  Stmt *tiles = loop(c, HOW_SEQ, "tile", c->scan->hi), **tail = &tiles->body;
  Expr *tile = expr_index(c->x, tiles->ix), *extent = number(c, PARTS);
  tiles->step = PARTS * c->part;
  for (int j = 0; j < c->n; j++) {
    Var *sum = c->acc[j]->var;
    c->start[j] = var_new(c->x, intern(c->p->fn->names, "start"), sum->dtype);
    c->total[j] = fn_tensor(c->p->fn, intern(c->p->fn->names, arena_printf(c->p->scratch, "%s_total", sum->name)), ROLE_LOCAL, sum->dtype, NULL, 1, &extent, NO_SPAN);
    tail = stmts_append(tail, statement(c, ST_LET, c->start[j], var(c, sum)));
  }
  tail = stmts_append(tail, find_totals(c, tile));
  for (int j = 0; j < c->n; j++) tail = stmts_append(tail, add_totals(c, j));
  stmts_append(tail, find_values(c, tile));
  return tiles;
}

// ---- where they stand --------------------------------------------------------------------------

static Expr *is_long(Prefix *c) { return expr_op2(c->x, OP_GE, c->scan->hi, number(c, LEAST_PARTS * c->part), NO_SPAN); }

// The statements of a row with one prefix, in parts; NULL: there is none, or not one alone.
static Stmt *row_in_parts(Prefix *c, const Stmt *body) {
  const Stmt *scan = NULL;
  for (const Stmt *s = body; s; s = s->next) {
    bool plain = s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_STORE;
    if (!plain && (scan || !can_share(c, s))) return NULL;
    if (!plain) scan = s;
  }
  if (!scan || !begins_with(c, body)) return NULL;
  Stmt *first = NULL, **tail = &first;
  for (const Stmt *s = body; s; s = s->next) tail = stmts_append(tail, s == scan ? in_parts(c) : stmt_alone(c->p->a, s));
  return first;
}

static bool is_par(const Stmt *s) { return s->kind == ST_LOOP && s->how == HOW_PAR; }

// A nest of parallel loops over rows: these one after the other, in parts, where they are few and long.
static Stmt *nest_in_parts(Prefix *c, Stmt *nest) {
  Expr *rows;
  Stmt *in = stmt_nest(c->x, nest, &rows), *body = in ? row_in_parts(c, in->body) : NULL, *whole = body ? in->body : NULL;
  Scalar v;
  if (!body) return nest;
  Expr *few = expr_op2(c->x, OP_LT, rows, number(c, FEW_ROWS), NO_SPAN);
  if (expr_fold(few, &v) && !v.u) return nest;
  in->body = body;
  StmtCopy copy = { c->p->a, c->x, map_make(c->p->scratch) };
  Stmt *made = stmts_copy(&copy, nest);
  in->body = whole;
  for (Stmt *s = made, *of = nest;; s = s->body, of = of->body) {
    s->how = HOW_SEQ;
    s->parallel_if = NULL;
    if (of == in) break;
  }
  return stmt_either(c->p->a, expr_op2(c->x, OP_AND, few, is_long(c), NO_SPAN), made, nest);
}

static Stmt *walk(Prefix *c, Stmt *s) {
  Stmt *first = NULL, **tail = &first;
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    Stmt *made = s;
    if (is_par(s)) made = nest_in_parts(c, s);
    else if (can_share(c, s) && begins_with(c, first)) made = stmt_either(c->p->a, is_long(c), in_parts(c), s);
    if (s->kind == ST_IF) s->body = walk(c, s->body), s->els = walk(c, s->els);
    tail = stmts_append(tail, made);
  }
  return first;
}

bool pass_prefix(Pipe *p) {
  Prefix c = { .p = p, .x = p->plan->x, .part = p->machine->tile_bytes / WIDTH };
  if (pipe_is_gpu(p)) return true;
  for (int i = 0; i < p->plan->kernels.n; i++) p->plan->kernels.v[i]->body = walk(&c, p->plan->kernels.v[i]->body);
  return true;
}
