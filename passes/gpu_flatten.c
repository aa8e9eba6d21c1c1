// gpu_flatten.c: loops in each other that walk neighbouring dimensions of memory become one loop, a row as any other.
//
//   for c in 0 .. 8                               for cs in 0 .. 8192
//     let b = w[g, c]                               let b = w[g, cs // 1024]
//     for s in 0 .. 1024                  ──▶       m = sum(m, x[n, g, cs] * b)
//       m = sum(m, x[n, g, c, s] * b)
//
// x is seen through a view of one dimension less. The inner index may be used for nothing else; the outer one becomes a quotient, which
// is the same for all steps of a vector (gpu_vector.c).
#include "passes/gpu_team.h"

enum { LANES = 16 };          // the most steps of a vector: rows must end where vectors end

typedef struct Pair { Gpu *g; const Stmt *outer, *in; Map *views; Map seen; Index *ix; bool good; } Pair;      // seen: expressions that were checked

// ---- may it be? --------------------------------------------------------------------------------

// t[…, outer, inner], with both dimensions whole and in memory.
static bool is_merged(const Pair *p, const Tensor *t, Expr *const *sub, int n) {
  if (n < 2 || n != t->rank || t->fmt || t->role == ROLE_TABLE || tensor_place(p->g->plan, t) == PLACE_STACK) return false;
  if (!expr_is_index(sub[n - 2], p->outer->ix) || !expr_is_index(sub[n - 1], p->in->ix) || t->extent[n - 1] != p->in->hi) return false;
  for (int k = 0; k + 2 < n; k++) if (expr_uses_index(sub[k], p->in->ix) || expr_uses_index(sub[k], p->outer->ix)) return false;
  return true;
}

static void check(Pair *p, Expr *e) {
  if (!p->good || map_getp(&p->seen, e) || !expr_uses_index(e, p->in->ix)) return;
  map_putp(&p->seen, e, e);
  if (e->op == OP_READ && is_merged(p, e->u.t, e->arg, (int)e->nargs)) return;
  if (e->op == OP_INDEX) p->good = false;
  for (uint32_t k = 0; k < e->nargs; k++) check(p, e->arg[k]);
}

static void check_list(Pair *p, const Stmt *s) {
  for (; s; s = s->next) {
    Expr *const part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) if (part[k]) check(p, part[k]);
    bool merged = s->kind == ST_STORE && s->field < 0 && is_merged(p, s->t, s->sub, s->nsub);
    for (int k = 0; k < s->nsub && !merged; k++) check(p, s->sub[k]);
    p->good &= s->kind == ST_LET || s->kind == ST_ACC || s->kind == ST_SET || s->kind == ST_IF || s->kind == ST_STORE;
    check_list(p, s->body);
    check_list(p, s->els);
  }
}

static bool is_plain(const Stmt *s) {
  bool how = s->how == HOW_SEQ || s->how == HOW_PAR || s->how == HOW_PAR_VEC;
  return how && !s->ordered && !s->step && expr_is_int(s->lo, 0);
}

static bool has_numbers(const Pair *p) {
  const Expr *outer = p->outer->hi, *in = p->in->hi;
  return outer->op == OP_CONST && in->op == OP_CONST && outer->u.v.i > 0 && in->u.v.i > 0 && in->u.v.i % LANES == 0 && outer->u.v.i <= INT32_MAX / in->u.v.i;
}

static bool can_merge(Pair *p) {
  Expr *outer = p->outer->hi, *in = p->in->hi;
  p->good = is_plain(p->outer) && is_plain(p->in) && (has_numbers(p) || (gpu_dims_only(p->g, outer) && gpu_dims_only(p->g, in)));
  check_list(p, p->in->body);
  return p->good;
}

// ---- merging -----------------------------------------------------------------------------------

static Tensor *view_of(Pair *p, Tensor *t) {
  Tensor *v = map_getp(p->views, t);
  if (v) return v;
  v = arena_new(p->g->a, Tensor);
  *v = *t;
  v->root = tensor_root(t);
  v->rank = t->rank - 1;
  v->extent[v->rank - 1] = gpu_mul(p->g, t->extent[v->rank - 1], t->extent[v->rank]);
  map_putp(p->views, t, v);
  return v;
}

// Top-down: whole accesses first, then what is left of the outer index.
static Expr *merged(Pair *p, Expr *e, Map *memo) {
  Expr *seen = map_get(memo, (uint64_t)e->id + 1), *at = expr_index(p->g->x, p->ix), *arg[32];
  if (seen) return seen;
  if (expr_is_index(e, p->outer->ix)) return gpu_div(p->g, at, p->in->hi);
  bool whole = e->op == OP_READ && is_merged(p, e->u.t, e->arg, (int)e->nargs);
  for (uint32_t k = 0; k < e->nargs; k++) arg[k] = whole && k + 2 >= e->nargs ? at : merged(p, e->arg[k], memo);
  Expr *made = whole ? expr_make(p->g->x, OP_READ, (Dtype)e->dtype, e->aux, view_of(p, e->u.t), e->at, e->nargs - 1, arg) : e->nargs ? expr_rebuild(p->g->x, e, arg) : e;
  map_put(memo, (uint64_t)e->id + 1, made);
  return made;
}

static void merge_list(Pair *p, Stmt *s, Map *memo) {
  for (; s; s = s->next) {
    Expr **part[] = { &s->lo, &s->hi, &s->a, &s->b };
    if (s->kind == ST_STORE && s->field < 0 && is_merged(p, s->t, s->sub, s->nsub)) {
      s->t = view_of(p, s->t);
      s->sub[--s->nsub - 1] = expr_index(p->g->x, p->ix);
    }
    for (int k = 0; k < 4; k++) if (*part[k]) *part[k] = merged(p, *part[k], memo);
    for (int k = 0; k < s->nsub; k++) s->sub[k] = merged(p, s->sub[k], memo);
    merge_list(p, s->body, memo);
    merge_list(p, s->els, memo);
  }
}

// The outer loop takes the inner one's body, behind its own LETs.
static void merge(Pair *p, Stmt *outer, Stmt *in) {
  Map memo = map_make(p->g->scratch);
  p->ix = gpu_index(p->g, arena_printf(p->g->scratch, "%s%s", outer->ix->name, in->ix->name));
  Stmt **end = &outer->body;
  while (*end != in) end = &(*end)->next;
  *end = in->body;
  merge_list(p, outer->body, &memo);
  outer->ix = p->ix;
  outer->hi = gpu_mul(p->g, outer->hi, in->hi);
  outer->how = in->how;
  outer->lanes = in->lanes;
  outer->align = 0;
  if (!outer->note) outer->note = in->note;
}

// Where the lengths are dimensions still, they are asked for.
static void flatten(Nest *n, Stmt *s, Map *views) {
  for (; s; s = s->next) {
    flatten(n, s->body, views);
    flatten(n, s->els, views);
    Stmt *in = s->kind == ST_LOOP ? gpu_only_loop(s->body) : NULL;
    Pair p = { .g = n->g, .outer = s, .in = in, .views = views, .seen = map_make(n->g->scratch) };
    if (!in || !can_merge(&p)) continue;
    if (has_numbers(&p)) { merge(&p, s, in); continue; }
    gpu_want(n->g, n->k, s->hi);
    gpu_want(n->g, n->k, in->hi);
  }
}

void gpu_flatten(Nest *n) {
  Map views = map_make(n->g->scratch);
  flatten(n, n->body, &views);
}
