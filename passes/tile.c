// tile.c: maps that read or write across the rows of memory go by tiles.
//
//   par i in 0 .. N                        par jt in 0 .. D by 64
//     par j in 0 .. D                        par it in 0 .. N by 64
//       y[i, j] = x[j, i]          ──▶         stage t[64, 64] = x[j, i] for j of the tile, i of the tile
//                                              for i of the tile
//                                                for j of the tile:  y[i, j] = t[i - it, j - jt]
//
//   for i in 0 .. N                        for it in 0 .. N by 64
//     for j in 0 .. D                        for jt in 0 .. D by 64
//       m = max(m, x[i, j])                    for i of the tile
//       y[j, i] = x[i, j]          ──▶           for j of the tile:  m = max(m, x[i, j]);  t[i - it, j - jt] = x[i, j]
//                                              stage y[j, i] = t[i - it, j - jt] for j of the tile, i of the tile
//
// Memory is read and written in rows of a tile; turning it happens in registers.
#include "ir/turned.h"
#include "passes/pass.h"
#include <string.h>

enum {
  ROWS = 64, COLUMNS = 64,      // of a tile
  MAX_STAGED = 2,       // tensors read, and as many written: together most of a first cache
  MAX_WRITES = 8,       // stores of a nest that runs in order
  FEW = 4               // columns that the printer takes from whole vectors (stride_c.c)
};

typedef struct Tiling {
  Pipe *p;
  Plan *plan;
  int n;
  Stmt *nest[8];        // perfectly nested loops, outermost first: all PAR, or all SEQ without dependences but accumulators
  Index *ix[8];         // of them
  Index *across;        // the index along the rows of what is turned; NULL: nothing is
  Turned staged;        // READs
  VEC(Tensor *) tile;   // of them
  VEC(Stmt *) stores;   // across the rows
  Index *row, *column;  // of the tiles: where they start along `across` and the innermost index
} Tiling;

static Index *innermost(const Tiling *t) { return t->nest[t->n - 1]->ix; }

static Stmt *loop_of(const Tiling *t, const Index *ix) {
  for (int k = 0; k < t->n; k++) if (t->nest[k]->ix == ix) return t->nest[k];
  return NULL;
}

// ---- which nests -------------------------------------------------------------------------------

static bool straight(const Stmt *s, bool accumulates) {
  for (; s; s = s->next) {
    bool ok = s->kind == ST_LET || (s->kind == ST_STORE && dtypes[s->t->dtype].bits >= 8) || (s->kind == ST_ACC && accumulates && !s->var2 && stmt_may_reorder(s));
    if (!ok || s->field >= 0) return false;
  }
  return true;
}

typedef struct Reads { const Stmt *store; bool yes; } Reads;

static void look(void *cx, Expr *e) {
  Reads *r = cx;
  if ((e->op == OP_READ || e->op == OP_FIELD) && tensor_root(e->u.t) == tensor_root(r->store->t)) r->yes = true;
}

static bool writes_apart(const Tiling *t, const Stmt *store, const Stmt *body) {
  for (int k = 0; k < t->n; k++) {
    bool has = false;
    for (int s = 0; s < store->nsub; s++) has |= expr_is_index(store->sub[s], t->nest[k]->ix);
    if (!has) return false;
  }
  Reads r = { store, false };
  for (const Stmt *s = body; s; s = s->next) {
    if (s->a) expr_visit(t->p->scratch, s->a, look, &r);
    for (int k = 0; k < s->nsub; k++) expr_visit(t->p->scratch, s->sub[k], look, &r);
  }
  return !r.yes;
}

// Each step stores to places of its own, and no step reads them.
static bool independent(const Tiling *t, const Stmt *body) {
  int writes = 0;
  for (const Stmt *s = body; s; s = s->next) {
    if (s->kind != ST_STORE) continue;
    if (++writes > MAX_WRITES || !writes_apart(t, s, body)) return false;
    for (const Stmt *o = body; o != s; o = o->next) if (o->kind == ST_STORE && tensor_root(o->t) == tensor_root(s->t)) return false;
  }
  return true;
}

static bool find_nest(Tiling *t, Stmt *s) {
  t->n = 0;
  LoopHow how = s->how;
  for (; s && s->kind == ST_LOOP && s->how == how && !s->step && !s->ordered; s = s->body) {
    if (t->n == 8 || (how == HOW_PAR && !expr_is_int(s->lo, 0))) return false;
    for (int k = 0; k < t->n; k++) if (expr_uses_index(s->hi, t->nest[k]->ix) || expr_uses_index(s->lo, t->nest[k]->ix)) return false;
    t->nest[t->n++] = s;
    if (!s->body || s->body->next || s->body->kind != ST_LOOP) break;
  }
  if (t->n < 2) return false;
  const Stmt *body = t->nest[t->n - 1]->body;
  return straight(body, how == HOW_SEQ) && (how == HOW_PAR || independent(t, body));
}

static void swap_loops(Stmt *a, Stmt *b) {
  Index *ix = a->ix;
  Expr *hi = a->hi;
  a->ix = b->ix, a->hi = b->hi;
  b->ix = ix, b->hi = hi;
}

// The loop that the rows of all stores lie along, when it is not the innermost: the inputs decided the order of the loops.
static Stmt *loop_of_stores(const Tiling *t) {
  const Index *row = NULL;
  for (const Stmt *s = t->nest[t->n - 1]->body; s; s = s->next) {
    if (s->kind != ST_STORE) continue;
    const Expr *last = s->nsub ? s->sub[s->nsub - 1] : NULL;
    if (!last || last->op != OP_INDEX || (row && row != last->u.ix)) return NULL;
    row = last->u.ix;
  }
  return row && row != innermost(t) ? loop_of(t, row) : NULL;
}

static bool has_few_columns(const Tiling *t) {
  for (int i = 0; i < t->staged.reads.n; i++) {
    const Tensor *x = t->staged.reads.v[i]->u.t;
    const Expr *columns = x->extent[x->rank - 1];
    if (columns->op == OP_CONST && columns->u.v.i >= 2 && columns->u.v.i <= FEW) return true;
  }
  return false;
}

// Stores go along rows where what is read across them can be turned.
static void find_reads(Tiling *t) {
  Stmt *inner = t->nest[t->n - 1], *other = inner->how == HOW_PAR ? loop_of_stores(t) : NULL;
  if (other) swap_loops(other, inner);
  for (int k = 0; k < t->n; k++) t->ix[k] = t->nest[k]->ix;
  t->staged = (Turned){ .a = t->p->scratch, .n = t->n, .ix = t->ix, .most = MAX_STAGED };
  for (const Stmt *b = inner->body; b; b = b->next) if (b->a) turned_find(&t->staged, b->a);
  if (other && !t->staged.reads.n) swap_loops(other, inner);
  if (has_few_columns(t) && inner->how == HOW_PAR) t->staged.reads.n = 0, t->staged.across = NULL;
  t->across = t->staged.across;
}

// The last subscript is another loop's index, one of the others the innermost index.
static bool is_across(const Tiling *t, const Stmt *s) {
  if (s->kind != ST_STORE || s->nsub < 2 || s->t->role == ROLE_VERSION) return false;
  const Expr *last = s->sub[s->nsub - 1];
  if (last->op != OP_INDEX || last->u.ix == innermost(t) || !loop_of(t, last->u.ix) || (t->across && t->across != last->u.ix)) return false;
  int at = 0;
  for (int k = 0; k + 1 < s->nsub; k++) {
    if (expr_has(s->sub[k], OP_VAR) || expr_has(s->sub[k], OP_READ) || expr_uses_index(s->sub[k], last->u.ix)) return false;
    if (expr_is_index(s->sub[k], innermost(t))) at++;
    else if (expr_uses_index(s->sub[k], innermost(t))) return false;
  }
  return at == 1;
}

static void find_stores(Tiling *t) {
  for (Stmt *s = t->nest[t->n - 1]->body; s; s = s->next) {
    if (!is_across(t, s) || t->stores.n == MAX_STAGED) continue;
    t->across = s->sub[s->nsub - 1]->u.ix;
    vec_push(t->p->scratch, &t->stores, s);
  }
}

// ---- the tiles ---------------------------------------------------------------------------------

static Expr *number(Tiling *t, int64_t v) { return expr_int(t->plan->x, DT_I64, v, NO_SPAN); }
static Expr *minus(Tiling *t, Index *a, Index *b) { return expr_op2(t->plan->x, OP_SUB, expr_index(t->plan->x, a), expr_index(t->plan->x, b), NO_SPAN); }

// The place in a tile of the step at hand.
static void place(Tiling *t, Expr **sub) {
  sub[0] = minus(t, t->across, t->row);
  sub[1] = minus(t, innermost(t), t->column);
}

static Expr *read_tile(Tiling *t, Tensor *tile, Dtype d) {
  Expr *sub[2];
  place(t, sub);
  return expr_make(t->plan->x, OP_READ, d, 0, tile, NO_SPAN, 2, sub);
}

static Expr *to_tile(void *cx, ExprTable *x, Expr *e) {
  Tiling *t = cx;
  (void)x;
  for (int i = 0; i < t->staged.reads.n; i++) if (t->staged.reads.v[i] == e) return read_tile(t, t->tile.v[i], (Dtype)e->dtype);
  return e;
}

static Name name_of(Tiling *t, const char *stem, const char *tail) { return intern(t->p->fn->names, arena_printf(t->p->scratch, "%s_%s", stem, tail)); }

static Tensor *new_tile(Tiling *t, const Tensor *x) {
  Expr *side[] = { number(t, ROWS), number(t, COLUMNS) };
  return fn_tensor(t->p->fn, name_of(t, tensor_root(x)->name, "turned"), ROLE_LOCAL, x->dtype, NULL, 2, side, x->at);
}

static Stmt *let_end(Tiling *t, Index *tile, int64_t side, Expr *hi, const char *stem) {
  return plan_let(t->plan, ST_LET, name_of(t, stem, "end"), expr_op2(t->plan->x, OP_MIN, expr_plus(t->plan->x, expr_index(t->plan->x, tile), side), hi, NO_SPAN));
}

static Stmt *inner_loop(Tiling *t, Index *ix, Index *tile, const Stmt *end, Stmt *body) {
  return stmt_loop(t->p->a, HOW_SEQ, ix, expr_index(t->plan->x, tile), expr_var(t->plan->x, end->var), body);
}

static Stmt *alloc_tile(Tiling *t, Tensor *tile, Stmt *next) {
  Stmt *s = stmt_new(t->p->a, ST_ALLOC);
  s->t = tile;
  s->next = next;
  return s;
}

// stage t = e, over the tile: rows of e lie along `ix`.
static Stmt *stage(Tiling *t, Tensor *to, Expr *e, const Stmt *row_end, const Stmt *column_end, bool out) {
  Stmt *s = stmt_new(t->p->a, ST_STAGE);
  Expr *lo[] = { expr_index(t->plan->x, t->row), expr_index(t->plan->x, t->column) };
  Expr *hi[] = { expr_var(t->plan->x, row_end->var), expr_var(t->plan->x, column_end->var) };
  s->t = to;
  s->a = e;
  s->ix = out ? innermost(t) : t->across;
  s->ix2 = out ? t->across : innermost(t);
  s->lo = lo[out], s->hi = hi[out];
  s->lo2 = lo[!out], s->hi2 = hi[!out];
  s->at = e->at;
  return s;
}

// alloc t; stage t = e; then `next`.
static Stmt *stage_read(Tiling *t, int i, const Stmt *row_end, const Stmt *column_end, Stmt *next) {
  Stmt *s = stage(t, t->tile.v[i], t->staged.reads.v[i], row_end, column_end, false);
  s->next = next;
  return alloc_tile(t, t->tile.v[i], s);
}

// The store goes to a tile, which a statement behind the loops turns.
static Stmt *stage_store(Tiling *t, Stmt *store, const Stmt *row_end, const Stmt *column_end) {
  Tensor *tile = new_tile(t, store->t);
  Stmt *s = stage(t, store->t, read_tile(t, tile, dtype_wide(tile->dtype)), row_end, column_end, true);
  s->nsub = store->nsub;
  memcpy(s->sub, store->sub, sizeof s->sub);
  store->t = tile;
  store->nsub = 2;
  place(t, store->sub);
  return s;
}

// Each step of the loop over a tile's rows fetches as much of one row of memory for the next tile, so that memory works while this one is
// computed.
static Stmt *fetch_next(Tiling *t, Stmt *next) {
  ExprTable *x = t->plan->x;
  Index *from[] = { t->across, innermost(t) };
  Expr *to[] = { expr_op2(x, OP_ADD, expr_index(x, t->row), number(t, ROWS), NO_SPAN),
                 expr_op2(x, OP_ADD, expr_index(x, t->column), minus(t, t->across, t->row), NO_SPAN) };
  for (int i = t->staged.reads.n - 1; i >= 0; i--) {
    const Expr *e = t->staged.reads.v[i];
    Stmt *s = stmt_new(t->p->a, ST_PREFETCH);
    s->t = e->u.t;
    s->nsub = e->u.t->rank;
    for (int k = 0; k < s->nsub; k++) s->sub[k] = expr_subst(x, e->arg[k], 2, from, to);
    s->lanes = ROWS;
    s->parts = 1;
    s->next = next;
    next = s;
  }
  return next;
}

static void rename_body(Tiling *t, Stmt *s) {
  for (; s; s = s->next) {
    if (s->a) s->a = expr_map(t->plan->x, s->a, to_tile, t);
    for (int k = 0; k < s->nsub; k++) s->sub[k] = expr_map(t->plan->x, s->sub[k], to_tile, t);
  }
}

static Stmt *tile_loop(Tiling *t, Index *tile, int64_t side, const Stmt *loop, Stmt *body) {
  Stmt *s = stmt_loop(t->p->a, loop->how, tile, loop->lo, loop->hi, body);
  s->step = side;
  return s;
}

// What is done for a tile.
static Stmt *tile_body(Tiling *t, const Stmt *across, Stmt *last) {
  Stmt *row_end = let_end(t, t->row, ROWS, across->hi, t->across->name), *column_end = let_end(t, t->column, COLUMNS, last->hi, last->ix->name);
  Stmt *stored = NULL;
  for (int i = t->stores.n - 1; i >= 0; i--) {
    Stmt *s = stage_store(t, t->stores.v[i], row_end, column_end);
    s->next = stored;
    stored = s;
  }
  Stmt *in = inner_loop(t, t->across, t->row, row_end, fetch_next(t, inner_loop(t, last->ix, t->column, column_end, last->body)));
  in->next = stored;
  for (int i = t->staged.reads.n - 1; i >= 0; i--) in = stage_read(t, i, row_end, column_end, in);
  for (int i = t->stores.n - 1; i >= 0; i--) in = alloc_tile(t, t->stores.v[i]->t, in);
  row_end->next = column_end;
  column_end->next = in;
  return row_end;
}

// The nest with its loops over tiles innermost among those that it has. What is read goes on along its rows from tile to tile.
static Stmt *rewritten(Tiling *t) {
  Stmt *across = loop_of(t, t->across), *last = t->nest[t->n - 1];
  Expr *work = t->nest[0]->parallel_if;
  t->row = index_new(t->plan->x, name_of(t, t->across->name, "tile"), NO_SPAN);
  t->column = index_new(t->plan->x, name_of(t, last->ix->name, "tile"), NO_SPAN);
  for (int i = 0; i < t->staged.reads.n; i++) vec_push(t->p->scratch, &t->tile, new_tile(t, t->staged.reads.v[i]->u.t));
  rename_body(t, last->body);
  Stmt *body = tile_body(t, across, last);
  Stmt *nest = t->staged.reads.n ? tile_loop(t, t->column, COLUMNS, last, tile_loop(t, t->row, ROWS, across, body))
                                 : tile_loop(t, t->row, ROWS, across, tile_loop(t, t->column, COLUMNS, last, body));
  for (int k = t->n - 2; k >= 0; k--) {
    if (t->nest[k] == across) continue;
    t->nest[k]->body = nest;
    nest = t->nest[k];
  }
  nest->parallel_if = work;
  return nest;
}

static Stmt *walk(Pipe *p, Stmt *s) {
  Stmt *first = s, **link = &first;
  for (; s; link = &(*link)->next, s = *link) {
    Tiling t = { .p = p, .plan = p->plan };
    if ((s->how == HOW_PAR || s->how == HOW_SEQ) && find_nest(&t, s)) {
      find_reads(&t);
      find_stores(&t);
      Stmt *next = s->next;
      if (t.across) {
        *link = rewritten(&t);
        (*link)->next = next;
      }
      continue;
    }
    s->body = walk(p, s->body);
    s->els = walk(p, s->els);
  }
  return first;
}

bool pass_tile(Pipe *p) {
  if (pipe_is_gpu(p)) return true;     // gpu.c turns tiles in shared memory
  for (int i = 0; i < p->plan->kernels.n; i++) p->plan->kernels.v[i]->body = walk(p, p->plan->kernels.v[i]->body);
  return true;
}
