// short.c: points with a few elements each run 64 at a time.
//
//   par i in 0 .. N                       par it in 0 .. N by 64
//     var s = 0                             stage t[8, 64] = x[i, j] for j < 8, i of the tile
//     for j in 0 .. 8             ──▶       for i of the tile:  s[i] = 0
//       s = s + x[i, j]                     for j in 0 .. 8
//     y[i] = s                                for i of the tile:  s[i] = s[i] + t[j, i]
//                                           for i of the tile:  y[i] = s[i]
//
// A loop of a few steps fills no vector; 64 of them side by side do. What lies in memory point by point is taken apart into columns,
// in registers, and put together again where it is stored. Each point adds up in the order that it had.
//
// Sums, maxima and maps of plain arithmetic are left as they are: compilers find the columns by themselves and run at the speed of
// memory. Around a function such as exp they do not.
#include "ir/ops.h"
#include "passes/pass.h"
#include <assert.h>
#include <string.h>

enum {
  POINTS = 64,          // of a tile
  HEAVY = 6,            // operations (ops.def, flops) of what a compiler does not spread over the lanes by itself
  ROOM = 32 << 10,      // bytes of what is staged: most of a first cache
  MOST = 8              // tensors and arrays
};

typedef struct Part {
  Tensor *t;            // memory, or an array of a point
  bool out, array;
  Expr *sub[8];         // of one read or store: those before the point's
  Tensor *tile;         // [elements, POINTS]
} Part;

typedef struct Short {
  Pipe *p;
  ExprTable *x;
  Stmt *loop;           // over points
  Index *tile;
  int n, bytes;
  Part part[MOST];
  Map full;             // indices of loops over 0 .. a constant → the loop
  bool heavy, failed;
} Short;

// ---- what a point reads and writes -------------------------------------------------------------

static bool is_short(const Stmt *loop) {
  return expr_is_int(loop->lo, 0) && expr_is_const(loop->hi) && loop->hi->u.v.i > 0 && loop->hi->u.v.i < PASS_SHORT_LOOP && !loop->step;
}

// Is t[sub] element j of row i, with an index j that runs over the whole row?
static bool is_row(const Short *s, const Tensor *t, int n, Expr *const *sub) {
  if (n < 2 || t->fmt || t->table || dtypes[t->dtype].bits < 8 || !expr_is_index(sub[n - 2], s->loop->ix) || sub[n - 1]->op != OP_INDEX) return false;
  const Stmt *loop = map_getp(&s->full, sub[n - 1]->u.ix);
  if (!loop || loop->hi != t->extent[n - 1]) return false;
  for (int k = 0; k + 2 < n; k++) {
    if (expr_uses_index(sub[k], s->loop->ix) || expr_has(sub[k], OP_VAR) || expr_has(sub[k], OP_READ)) return false;
    for (int f = 0; f < sub[k]->free->n; f++) if (map_getp(&s->full, sub[k]->free->ix[f])) return false;
  }
  return true;
}

static bool same_place(const Short *s, const Part *p, const Tensor *t, Expr *const *sub) {
  if (tensor_root(p->t) != tensor_root(t)) return false;
  if (p->array) return true;
  for (int k = 0; k + 2 < t->rank; k++) if (p->sub[k] != sub[k]) return false;
  return expr_is_index(sub[t->rank - 2], s->loop->ix) && !expr_uses_index(sub[t->rank - 1], s->loop->ix) && !expr_has(sub[t->rank - 1], OP_VAR);
}

static Part *part_of(Short *s, const Tensor *t, Expr *const *sub) {
  for (int i = 0; i < s->n; i++) if (same_place(s, &s->part[i], t, sub)) return &s->part[i];
  return NULL;
}

static void add_part(Short *s, Tensor *t, Expr *const *sub, int64_t elements, bool out, bool array) {
  Part *old = part_of(s, t, sub);
  if (old && !out && !old->out) return;
  s->bytes += (int)elements * POINTS * dtypes[t->dtype].bits / 8;
  if (old || s->n == MOST || s->bytes > ROOM) s->failed = true;
  if (s->failed) return;
  Part *p = &s->part[s->n++];
  *p = (Part){ .t = t, .out = out, .array = array };
  for (int k = 0; k + 2 < t->rank && !array; k++) p->sub[k] = sub[k];
}

static bool is_heavy(const Expr *e) {
  bool narrow = e->op == OP_CAST && dtype_is_float((Dtype)e->aux) && dtypes[e->aux].bits == 8;
  return narrow || (dtype_is_float((Dtype)e->dtype) && ops[e->op].flops >= HEAVY);
}

// What lies along the points is read as it is; of other reads nothing is known.
static void see_read(void *cx, Expr *e) {
  Short *s = cx;
  s->heavy |= is_heavy(e);
  if (e->op == OP_FIELD) s->failed |= expr_uses_index(e, s->loop->ix);
  if (e->op != OP_READ || part_of(s, e->u.t, e->arg)) return;
  if (is_row(s, e->u.t, e->u.t->rank, e->arg)) { add_part(s, e->u.t, e->arg, e->u.t->extent[e->u.t->rank - 1]->u.v.i, false, false); return; }
  for (uint32_t k = 0; k < e->nargs; k++) {
    bool uses = expr_uses_index(e->arg[k], s->loop->ix);
    if (uses && (k + 1 < e->nargs || !expr_is_index(e->arg[k], s->loop->ix))) s->failed = true;
  }
}

static void see_store(Short *s, Stmt *st, bool guarded) {
  Part *old = part_of(s, st->t, st->sub);
  if (old && old->array) return;
  if (st->field >= 0 || dtypes[st->t->dtype].bits < 8 || st->t->role == ROLE_VERSION) s->failed = true;
  else if (!guarded && is_row(s, st->t, st->nsub, st->sub)) add_part(s, st->t, st->sub, st->t->extent[st->nsub - 1]->u.v.i, true, false);
  else if (!st->nsub || !expr_is_index(st->sub[st->nsub - 1], s->loop->ix)) s->failed = true;
}

static void see(Short *s, Stmt *st, bool guarded) {
  for (; st && !s->failed; st = st->next) {
    if (st->kind == ST_LOOP) {
      bool runs = st->how == HOW_SEQ || st->how == HOW_SCAN || st->how == HOW_PAR;
      if (!runs || guarded || !is_short(st) || st->ordered) { s->failed = true; return; }
      map_putp(&s->full, st->ix, st);
    }
    if (st->kind == ST_FAULT || st->kind == ST_PREFETCH || st->kind == ST_STAGE) s->failed = true;
    if (st->kind == ST_ALLOC) {
      bool small = st->t->rank == 1 && expr_is_const(st->t->extent[0]) && st->t->extent[0]->u.v.i <= PASS_SHORT_LOOP && !st->t->fmt && dtypes[st->t->dtype].bits >= 8;
      if (small) add_part(s, st->t, NULL, st->t->extent[0]->u.v.i, false, true);
      else s->failed = true;
    }
    if (st->a) expr_visit(s->p->scratch, st->a, see_read, s);
    if (st->b) expr_visit(s->p->scratch, st->b, see_read, s);
    for (int k = 0; k < st->nsub && st->kind == ST_STORE; k++) expr_visit(s->p->scratch, st->sub[k], see_read, s);
    if (st->kind == ST_STORE) see_store(s, st, guarded);
    see(s, st->body, guarded || st->kind == ST_IF);
    see(s, st->els, true);
  }
}

static bool has_loop(const Stmt *s) {
  for (; s; s = s->next) if (s->kind == ST_LOOP) return true;
  return false;
}

// A tensor that is written here is not read.
static bool apart(const Short *s) {
  for (int i = 0; i < s->n; i++)
    for (int k = 0; k < i; k++) if (tensor_root(s->part[i].t) == tensor_root(s->part[k].t) && (s->part[i].out || s->part[k].out)) return false;
  return true;
}

static bool pays(Short *s) {
  Stmt *loop = s->loop;
  Scalar n;
  if (!expr_is_int(loop->lo, 0) || loop->step || !has_loop(loop->body) || (expr_fold(loop->hi, &n) && n.i < POINTS)) return false;
  see(s, loop->body, false);
  bool rows = false;
  for (int i = 0; i < s->n; i++) rows |= !s->part[i].array;
  return !s->failed && s->heavy && rows && apart(s);
}

// ---- the tile ----------------------------------------------------------------------------------

static Expr *number(Short *s, int64_t v) { return expr_int(s->x, DT_I64, v, NO_SPAN); }
static Name name_of(Short *s, const char *stem, const char *tail) { return intern(s->p->fn->names, arena_printf(s->p->scratch, "%s_%s", stem, tail)); }

static void place(Short *s, Expr *element, Expr **sub) {
  sub[0] = element;
  sub[1] = expr_op2(s->x, OP_SUB, expr_index(s->x, s->loop->ix), expr_index(s->x, s->tile), NO_SPAN);
}

static Expr *to_tile(void *cx, ExprTable *x, Expr *e) {
  Short *s = cx;
  const Part *p = e->op == OP_READ && e->u.t->rank ? part_of(s, e->u.t, e->arg) : NULL;
  if (!p) return e;
  Expr *sub[2];
  place(s, e->arg[e->nargs - 1], sub);
  return expr_make(x, OP_READ, (Dtype)e->dtype, 0, p->tile, e->at, 2, sub);
}

static void rename_store(Short *s, Stmt *st) {
  const Part *p = part_of(s, st->t, st->sub);
  if (!p) return;
  Expr *element = st->sub[st->nsub - 1];
  st->t = p->tile;
  st->nsub = 2;
  place(s, element, st->sub);
}

static Stmt *renamed(Short *s, Stmt *st) {
  Stmt *first = st, **link = &first;
  for (; st; st = *link) {
    if (st->kind == ST_ALLOC) { *link = st->next; continue; }
    if (st->kind == ST_LOOP && st->how == HOW_PAR) st->how = HOW_SEQ;
    if (st->a) st->a = expr_map(s->x, st->a, to_tile, s);
    if (st->b) st->b = expr_map(s->x, st->b, to_tile, s);
    for (int k = 0; k < st->nsub; k++) st->sub[k] = expr_map(s->x, st->sub[k], to_tile, s);
    if (st->kind == ST_STORE) rename_store(s, st);
    st->body = renamed(s, st->body);
    st->els = renamed(s, st->els);
    link = &st->next;
  }
  return first;
}

static void make_tile(Short *s, Part *p) {
  Expr *extent[] = { p->t->extent[p->t->rank - 1], number(s, POINTS) };
  p->tile = fn_tensor(s->p->fn, name_of(s, tensor_root(p->t)->name, p->array ? "points" : "columns"), ROLE_LOCAL, p->t->dtype, NULL, 2, extent, p->t->at);
}

// Element `column` of the point `point`: of memory, or of the tile.
static void subscripts(Short *s, const Part *p, Index *point, Index *column, Expr **sub) {
  for (int k = 0; k + 2 < p->t->rank; k++) sub[k] = p->sub[k];
  sub[p->t->rank - 2] = expr_index(s->x, point);
  sub[p->t->rank - 1] = expr_index(s->x, column);
}

static Stmt *stage(Short *s, const Part *p, Expr *end) {
  Stmt *st = stmt_new(s->p->a, ST_STAGE);
  Index *point = s->loop->ix, *column = index_new(s->x, intern(s->p->fn->names, "column"), NO_SPAN);
  Expr *memory[8], *tile[2], *zero = number(s, 0), *all = p->tile->extent[0], *first = expr_index(s->x, s->tile);
  subscripts(s, p, point, column, memory);
  place(s, expr_index(s->x, column), tile);
  st->t = p->out ? p->t : p->tile;
  st->nsub = p->out ? p->t->rank : 0;
  for (int k = 0; k < st->nsub; k++) st->sub[k] = memory[k];
  st->a = p->out ? expr_make(s->x, OP_READ, dtype_wide(p->tile->dtype), 0, p->tile, NO_SPAN, 2, tile)
                 : expr_make(s->x, OP_READ, dtype_wide(p->t->dtype), 0, p->t, NO_SPAN, p->t->rank, memory);
  st->ix = p->out ? point : column;
  st->lo = p->out ? first : zero, st->hi = p->out ? end : all;
  st->ix2 = p->out ? column : point;
  st->lo2 = p->out ? zero : first, st->hi2 = p->out ? all : end;
  return st;
}

static void rewrite(Short *s) {
  Stmt *loop = s->loop;
  s->tile = index_new(s->x, name_of(s, loop->ix->name, "tile"), NO_SPAN);
  Expr *behind = expr_op2(s->x, OP_MIN, expr_plus(s->x, expr_index(s->x, s->tile), POINTS), loop->hi, NO_SPAN);
  Stmt *end = plan_let(s->p->plan, ST_LET, name_of(s, loop->ix->name, "end"), behind), **tail = &end->next;
  Expr *to = expr_var(s->x, end->var);
  for (int i = 0; i < s->n; i++) {
    Stmt *alloc = stmt_new(s->p->a, ST_ALLOC);
    make_tile(s, &s->part[i]);
    alloc->t = s->part[i].tile;
    tail = stmts_append(tail, alloc);
  }
  loop->body = renamed(s, loop->body);
  for (int i = 0; i < s->n; i++) if (!s->part[i].array && !s->part[i].out) tail = stmts_append(tail, stage(s, &s->part[i], to));
  Stmt *body = jam_points(s->p, loop, s->tile, POINTS, to);
  assert(body && "see() lets only such statements pass as can move");
  tail = stmts_append(tail, body);
  for (int i = 0; i < s->n; i++) if (s->part[i].out) tail = stmts_append(tail, stage(s, &s->part[i], to));
  loop->ix = s->tile;
  loop->step = POINTS;
  loop->body = end;
}

// ---- the loops ---------------------------------------------------------------------------------

static bool try_loop(Pipe *p, Stmt *loop) {
  Short s = { .p = p, .x = p->plan->x, .loop = loop, .full = map_make(p->scratch) };
  if (!pays(&s)) return false;
  rewrite(&s);
  return true;
}

// The innermost PAR loop that is not short itself.
static void walk(Pipe *p, Stmt *s) {
  for (; s; s = s->next) {
    bool inner = s->kind == ST_LOOP && s->how == HOW_PAR;
    for (const Stmt *b = s->body; b && inner; b = b->next) inner = b->kind != ST_LOOP || b->how != HOW_PAR || is_short(b);
    if (inner && try_loop(p, s)) continue;
    walk(p, s->body);
    walk(p, s->els);
  }
}

bool pass_short(Pipe *p) {
  if (pipe_is_gpu(p)) return true;
  for (int i = 0; i < p->plan->kernels.n; i++) walk(p, p->plan->kernels.v[i]->body);
  return true;
}
