// flat.c: maps that walk neighbouring dimensions of memory walk them as one (CPU).
//
//   par h in 0 .. 224                                       par hw_tile in 0 .. 50176 by 4096
//     let m = mu[c]                                           let m = mu[c]
//     par w in 0 .. 224                             ──▶       par hw in hw_tile .. min(hw_tile + 4096, 50176)
//       y[n, c, h, w] = x[n, h, w, c] - m                       y[n, c, hw] = x[n, hw, c] - m
//
// Rows that are no multiple of a block's lanes end in a part of a block each; seen through views of one dimension less there is one such end. The
// two indices may be used for nothing else. Without values between the loops there is no need of tiles: vector loops are shared out as they are.
#include "ir/rewrite.h"
#include "passes/pass.h"

enum { TILE_BYTES = 4 * 4096 };       // of 32-bit steps: the four pages of a vector loop (codegen/vector_c.c)

typedef struct Flat {
  Pipe *p;
  ExprTable *x;
  Map views;            // Tensor → its view with dimensions k and k + 1 as one, in a list by k
} Flat;

typedef struct View { int k; Tensor *t; struct View *next; } View;
typedef struct Pair { Flat *f; Stmt *outer, *in; Index *ix; bool good; Map seen; } Pair;

// ---- may it be? --------------------------------------------------------------------------------

// Where t[…, outer, inner, …] has the two, or -1. The inner one runs over its whole dimension.
static int place_of(const Pair *p, const Tensor *t, Expr *const *sub, int n) {
  int at = -1;
  if (n != t->rank || t->fmt || t->role == ROLE_TABLE || dtypes[t->dtype].bits < 8 || tensor_place(p->f->p->plan, t) == PLACE_STACK) return -1;
  for (int k = 0; k + 1 < n; k++)
    if (expr_is_index(sub[k], p->outer->ix) && expr_is_index(sub[k + 1], p->in->ix) && t->extent[k + 1] == p->in->hi) at = k;
  for (int k = 0; k < n && at >= 0; k++)
    if (k != at && k != at + 1 && (expr_uses_index(sub[k], p->outer->ix) || expr_uses_index(sub[k], p->in->ix))) at = -1;
  return at;
}

static void check(Pair *p, Expr *e) {
  if (!p->good || map_get(&p->seen, e->id) || (!expr_uses_index(e, p->in->ix) && !expr_uses_index(e, p->outer->ix))) return;
  map_put(&p->seen, e->id, e);
  if (e->op == OP_READ && place_of(p, e->u.t, e->arg, (int)e->nargs) >= 0) return;
  if (e->op == OP_INDEX) p->good = false;
  for (uint32_t k = 0; k < e->nargs; k++) check(p, e->arg[k]);
}

static bool is_plain(const Stmt *s) { return s->kind == ST_LOOP && s->how == HOW_PAR && !s->ordered && !s->step && expr_is_int(s->lo, 0); }

// The one loop inside, behind LETs that do not change with this one.
static Stmt *inner_of(const Stmt *outer) {
  Stmt *s = outer->body;
  for (; s && s->kind == ST_LET; s = s->next) if (expr_uses_index(s->a, outer->ix)) return NULL;
  return s && !s->next && is_plain(s) ? s : NULL;
}

static bool can_merge(Pair *p) {
  p->good = !expr_uses_index(p->in->hi, p->outer->ix);
  for (const Stmt *s = p->in->body; s && p->good; s = s->next) {
    p->good = s->kind == ST_LET || (s->kind == ST_STORE && s->field < 0 && place_of(p, s->t, s->sub, s->nsub) >= 0);
    check(p, s->a);
  }
  return p->good;
}

// ---- merging -----------------------------------------------------------------------------------

static Expr *times(Flat *f, Expr *a, Expr *b) {
  Scalar v;
  Expr *both = expr_op2(f->x, OP_MUL, a, b, NO_SPAN);
  return expr_fold(both, &v) ? expr_int(f->x, DT_I64, v.i, NO_SPAN) : both;
}

static Tensor *view_of(Flat *f, Tensor *t, int k) {
  for (View *v = map_getp(&f->views, t); v; v = v->next) if (v->k == k) return v->t;
  View *v = arena_new(f->p->scratch, View);
  Tensor *made = arena_new(f->p->a, Tensor);
  *made = *t;
  made->root = tensor_root(t);
  made->rank = t->rank - 1;
  made->extent[k] = times(f, t->extent[k], t->extent[k + 1]);
  for (int i = k + 1; i < made->rank; i++) made->extent[i] = t->extent[i + 1];
  *v = (View){ k, made, map_getp(&f->views, t) };
  map_putp(&f->views, t, v);
  return made;
}

// Subscripts with those of k and k + 1 as one.
static void join(Pair *p, Expr **to, Expr *const *sub, int n, int k) {
  for (int i = 0, m = 0; i < n; i++)
    if (i != k) to[m++] = i == k + 1 ? expr_index(p->f->x, p->ix) : sub[i];
}

static Expr *merged(void *cx, ExprTable *x, Expr *e) {
  Pair *p = cx;
  int k = e->op == OP_READ ? place_of(p, e->u.t, e->arg, (int)e->nargs) : -1;
  if (k < 0) return e;
  Expr *sub[8];
  join(p, sub, e->arg, (int)e->nargs, k);
  return expr_make(x, OP_READ, (Dtype)e->dtype, e->aux, view_of(p->f, e->u.t, k), e->at, e->nargs - 1, sub);
}

static void merge_body(Pair *p) {
  for (Stmt *s = p->in->body; s; s = s->next) {
    s->a = expr_map(p->f->x, s->a, merged, p);
    if (s->kind != ST_STORE) continue;
    for (int k = 0; k < s->nsub; k++) s->sub[k] = expr_map(p->f->x, s->sub[k], merged, p);
    int k = place_of(p, s->t, s->sub, s->nsub);
    join(p, s->sub, s->sub, s->nsub, k);
    s->t = view_of(p->f, s->t, k);
    s->nsub--;
  }
}

static int tile_steps(const Stmt *s) {
  int bytes = 4;
  for (; s; s = s->next) if (s->kind == ST_STORE && dtypes[s->t->dtype].bits <= 16) bytes = 2;
  return TILE_BYTES / bytes;
}

// The outer loop goes by tiles: what stands before the inner one is computed for each.
static void make_tiles(Pair *p, Expr *all) {
  Flat *f = p->f;
  int steps = tile_steps(p->in->body);
  Index *tile = plan_index(f->p->plan, arena_printf(f->p->scratch, "%s_tile", p->ix->name));
  Expr *behind = expr_op2(f->x, OP_MIN, expr_plus(f->x, expr_index(f->x, tile), steps), all, NO_SPAN);
  Stmt *end = plan_let(f->p->plan, ST_LET, arena_printf(f->p->scratch, "%s_end", p->ix->name), behind);
  stmts_insert(&p->outer->body, p->in, end);
  p->outer->step = steps;
  p->outer->ix = tile;
  p->outer->hi = all;
  p->in->ix = p->ix;
  p->in->lo = expr_index(f->x, tile);
  p->in->hi = expr_var(f->x, end->var);
}

static void merge(Pair *p) {
  Flat *f = p->f;
  Expr *all = times(f, p->outer->hi, p->in->hi);
  p->ix = plan_index(f->p->plan, arena_printf(f->p->scratch, "%s%s", p->outer->ix->name, p->in->ix->name));
  merge_body(p);
  if (p->outer->body != p->in) {
    make_tiles(p, all);
    return;
  }
  if (!p->outer->note) p->outer->note = p->in->note;
  p->outer->ix = p->ix;
  p->outer->hi = all;
  p->outer->body = p->in->body;
}

static void walk(Flat *f, Stmt *s) {
  for (; s; s = s->next) {
    walk(f, s->body);
    walk(f, s->els);
    Pair p = { .f = f, .outer = s, .in = is_plain(s) ? inner_of(s) : NULL, .seen = map_make(f->p->scratch) };
    if (p.in && can_merge(&p)) merge(&p);
  }
}

bool pass_flat(Pipe *p) {
  if (pipe_is_gpu(p)) return true;
  Flat f = { .p = p, .x = p->plan->x, .views = map_make(p->scratch) };
  for (int i = 0; i < p->plan->kernels.n; i++) walk(&f, p->plan->kernels.v[i]->body);
  return true;
}
