// tile.c: maps that read across the rows of what they write go by tiles.
//
//   par i in 0 .. N                        par it in 0 .. N by 64
//     par j in 0 .. D                        par jt in 0 .. D by 64
//       y[i, j] = x[j, i]          ──▶         stage t[64, 64] = x[j, i] for j of the tile, i of the tile
//                                              for i of the tile
//                                                for j of the tile:  y[i, j] = t[i - it, j - jt]
//
// Memory is read and written in rows of a tile; turning it happens in registers or, where elements are few, in the first cache.
#include "ir/turned.h"
#include "passes/pass.h"
#include <string.h>

enum {
  ROWS = 64, COLUMNS = 64,      // of a tile
  MAX_STAGED = 2,       // tensors: together the whole of it
  FEW = 4               // columns that the printer takes from whole vectors (stride_c.c)
};

typedef struct Tiling {
  Pipe *p;
  Plan *plan;
  int n;
  Stmt *nest[8];        // perfectly nested PAR loops, outermost first
  Index *ix[8];         // of them
  Turned staged;        // READs; `across`: the index along their rows
  VEC(Tensor *) tile;
  Index *row, *column;  // of the tiles: where they start along `across` and the innermost index
} Tiling;

static Index *innermost(const Tiling *t) { return t->nest[t->n - 1]->ix; }

static Stmt *loop_of(const Tiling *t, const Index *ix) {
  for (int k = 0; k < t->n; k++) if (t->nest[k]->ix == ix) return t->nest[k];
  return NULL;
}

// ---- which nests -------------------------------------------------------------------------------

static bool straight(const Stmt *s) {
  for (; s; s = s->next)
    if ((s->kind != ST_LET && s->kind != ST_STORE) || s->field >= 0 || (s->kind == ST_STORE && dtypes[s->t->dtype].bits < 8)) return false;
  return true;
}

static bool find_nest(Tiling *t, Stmt *s) {
  t->n = 0;
  for (; s && s->kind == ST_LOOP && s->how == HOW_PAR && !s->step; s = s->body) {
    if (t->n == 8 || !expr_is_int(s->lo, 0)) return false;
    for (int k = 0; k < t->n; k++) if (expr_uses_index(s->hi, t->nest[k]->ix)) return false;
    t->nest[t->n++] = s;
    if (!s->body || s->body->next || s->body->kind != ST_LOOP) break;
  }
  return t->n >= 2 && straight(t->nest[t->n - 1]->body);
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

// Stores go along rows where what is read across them can be turned.
static void find_staged(Tiling *t) {
  Stmt *other = loop_of_stores(t), *inner = t->nest[t->n - 1];
  if (other) swap_loops(other, inner);
  for (int k = 0; k < t->n; k++) t->ix[k] = t->nest[k]->ix;
  t->staged = (Turned){ .a = t->p->scratch, .n = t->n, .ix = t->ix, .most = MAX_STAGED };
  for (const Stmt *b = inner->body; b; b = b->next) if (b->a) turned_find(&t->staged, b->a);
  if (other && !t->staged.reads.n) swap_loops(other, inner);
}

// ---- the tiles ---------------------------------------------------------------------------------

static Expr *number(Tiling *t, int64_t v) { return expr_int(t->plan->x, DT_I64, v, NO_SPAN); }
static Expr *minus(Tiling *t, Index *a, Index *b) { return expr_op2(t->plan->x, OP_SUB, expr_index(t->plan->x, a), expr_index(t->plan->x, b), NO_SPAN); }

static Expr *to_tile(void *cx, ExprTable *x, Expr *e) {
  Tiling *t = cx;
  for (int i = 0; i < t->staged.reads.n; i++) {
    if (t->staged.reads.v[i] != e) continue;
    Expr *sub[] = { minus(t, t->staged.across, t->row), minus(t, innermost(t), t->column) };
    return expr_make(x, OP_READ, (Dtype)e->dtype, 0, t->tile.v[i], e->at, 2, sub);
  }
  return e;
}

static Name name_of(Tiling *t, const char *stem, const char *tail) { return intern(t->p->fn->names, arena_printf(t->p->scratch, "%s_%s", stem, tail)); }

static Stmt *let_end(Tiling *t, Index *tile, int64_t side, Expr *hi, const char *stem) {
  Stmt *s = stmt_new(t->p->a, ST_LET);
  s->var = var_new(t->plan->x, name_of(t, stem, "end"), DT_I64);
  s->a = expr_op2(t->plan->x, OP_MIN, expr_op2(t->plan->x, OP_ADD, expr_index(t->plan->x, tile), number(t, side), NO_SPAN), hi, NO_SPAN);
  return s;
}

static Stmt *inner_loop(Tiling *t, Index *ix, Index *tile, const Stmt *end, Stmt *body) {
  Stmt *s = stmt_new(t->p->a, ST_LOOP);
  s->how = HOW_SEQ;
  s->ix = ix;
  s->lo = expr_index(t->plan->x, tile);
  s->hi = expr_var(t->plan->x, end->var);
  s->body = body;
  return s;
}

// alloc t; stage t = e; then `next`.
static Stmt *staged(Tiling *t, int i, const Stmt *row_end, const Stmt *column_end, Stmt *next) {
  Stmt *alloc = stmt_new(t->p->a, ST_ALLOC), *s = stmt_new(t->p->a, ST_STAGE);
  const Expr *e = t->staged.reads.v[i];
  alloc->t = s->t = t->tile.v[i];
  alloc->next = s;
  s->ix = t->staged.across;
  s->lo = expr_index(t->plan->x, t->row);
  s->hi = expr_var(t->plan->x, row_end->var);
  s->ix2 = innermost(t);
  s->lo2 = expr_index(t->plan->x, t->column);
  s->hi2 = expr_var(t->plan->x, column_end->var);
  s->a = t->staged.reads.v[i];
  s->at = e->at;
  s->next = next;
  return alloc;
}

static void rename_body(Tiling *t, Stmt *s) {
  for (; s; s = s->next) {
    if (s->a) s->a = expr_map(t->plan->x, s->a, to_tile, t);
    for (int k = 0; k < s->nsub; k++) s->sub[k] = expr_map(t->plan->x, s->sub[k], to_tile, t);
  }
}

static Stmt *tile_loop(Tiling *t, Index *tile, int64_t side, Expr *hi, Stmt *body) {
  Stmt *s = stmt_new(t->p->a, ST_LOOP);
  s->how = HOW_PAR;
  s->ix = tile;
  s->lo = number(t, 0);
  s->hi = hi;
  s->step = side;
  s->body = body;
  return s;
}

// The nest with its loops over tiles innermost among the parallel ones.
static Stmt *rewritten(Tiling *t) {
  Stmt *across = loop_of(t, t->staged.across), *last = t->nest[t->n - 1], *work = t->nest[0];
  Expr *side[] = { number(t, ROWS), number(t, COLUMNS) };
  t->row = index_new(t->plan->x, name_of(t, t->staged.across->name, "tile"), NO_SPAN);
  t->column = index_new(t->plan->x, name_of(t, last->ix->name, "tile"), NO_SPAN);
  for (int i = 0; i < t->staged.reads.n; i++) {
    const Tensor *x = t->staged.reads.v[i]->u.t;
    vec_push(t->p->scratch, &t->tile, fn_tensor(t->p->fn, name_of(t, x->name, "turned"), ROLE_LOCAL, x->dtype, NULL, 2, side, x->at));
  }
  Stmt *row_end = let_end(t, t->row, ROWS, across->hi, t->staged.across->name), *column_end = let_end(t, t->column, COLUMNS, last->hi, last->ix->name);
  rename_body(t, last->body);
  Stmt *in = inner_loop(t, t->staged.across, t->row, row_end, inner_loop(t, last->ix, t->column, column_end, last->body));
  for (int i = t->staged.reads.n - 1; i >= 0; i--) in = staged(t, i, row_end, column_end, in);
  row_end->next = column_end;
  column_end->next = in;
  Stmt *nest = tile_loop(t, t->row, ROWS, across->hi, tile_loop(t, t->column, COLUMNS, last->hi, row_end));
  for (int k = t->n - 2; k >= 0; k--) {
    if (t->nest[k] == across) continue;
    t->nest[k]->body = nest;
    nest = t->nest[k];
  }
  nest->parallel_if = work->parallel_if;
  return nest;
}

static bool has_few_columns(const Expr *read) {
  const Expr *columns = read->u.t->extent[read->u.t->rank - 1];
  return columns->op == OP_CONST && columns->u.v.i <= FEW;
}

static bool is_worth_tiles(const Tiling *t) {
  for (int i = 0; i < t->staged.reads.n; i++) if (has_few_columns(t->staged.reads.v[i])) return false;
  return t->staged.reads.n > 0;
}

static Stmt *walk(Pipe *p, Stmt *s) {
  Stmt *first = s, **link = &first;
  for (; s; link = &(*link)->next, s = *link) {
    Tiling t = { .p = p, .plan = p->plan };
    if (find_nest(&t, s)) {
      find_staged(&t);
      Stmt *next = s->next;
      if (is_worth_tiles(&t)) {
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
