// cost_band.c: see cost_band.h. With j between i + a and i + b, cut off at 0 and D, there are S(b) - S(a) pairs:
//
//   S(c) = sum over i < N of clamp(i + c, 0, D) = tri(N - 1 + c) - tri(c - 1) - (tri(N - 1 + c - D) - tri(c - 1 - D))
//   tri(n) = n·(n + 1) / 2, 0 for n < 0
#include "ir/cost_band.h"
#include "base/str.h"
#include "ir/fn.h"

// ---- guards ------------------------------------------------------------------------------------

static bool compares_indices(const Expr *e) {
  return (e->op == OP_LT || e->op == OP_LE || e->op == OP_GT || e->op == OP_GE) && e->arg[0]->dtype == DT_I64 && e->free->n == 2;
}

void guards_add(Guards *g, Expr *cond, bool truth) {
  if (cond->op == OP_NOT) { guards_add(g, cond->arg[0], !truth); return; }
  if ((cond->op == OP_AND && truth) || (cond->op == OP_OR && !truth)) {
    guards_add(g, cond->arg[0], truth);
    guards_add(g, cond->arg[1], truth);
    return;
  }
  if (!compares_indices(cond) || g->n == MAX_GUARDS) return;
  for (int i = 0; i < g->n; i++) if (g->e[i] == cond) return;
  g->e[g->n] = cond;
  g->truth[g->n++] = truth;
  g->hash = hash_bytes((uint32_t[]){ cond->id, truth }, 2 * sizeof(uint32_t), g->hash);
}

// ---- bounds ------------------------------------------------------------------------------------

// j runs from sign·i + lo, below sign·i + hi; NULL: no bound.
typedef struct Band {
  ExprTable *x;
  Ranges *facts;
  const Expr *read;
  int j, i, sign;       // positions among the subscripts; i is -1 until a bound names it
  Expr *lo, *hi;
} Band;

static Expr *num(Band *b, int64_t v) { return expr_int(b->x, DT_I64, v, NO_SPAN); }
static Expr *op2(Band *b, Op op, Expr *a, Expr *c) { return expr_op2(b->x, op, a, c, NO_SPAN); }

// In its plain form, so that what is equal is one expression.
static Expr *plain(Band *b, Expr *e) {
  Expr *none, *rest;
  return affine_split(b->x, e, 0, NULL, &none, &rest) ? rest : e;
}

static int position(const Band *b, const Index *ix) {
  for (int d = 0; d < b->read->u.t->rank; d++) if (b->read->arg[d]->u.ix == ix) return d;
  return -1;
}

// j < e, or j >= e.
static bool add_bound(Band *b, bool upper, Expr *e) {
  if (e->free->n != 1) return false;
  int i = position(b, e->free->ix[0]);
  Index *ix[] = { e->free->ix[0] };
  Expr *coef, *rest;
  if (i < 0 || i == b->j || (b->i >= 0 && b->i != i) || !affine_split(b->x, e, 1, ix, &coef, &rest)) return false;
  int sign = expr_is_int(coef, 1) ? 1 : expr_is_int(coef, -1) ? -1 : 0;
  if (!sign || (b->i >= 0 && b->sign != sign)) return false;
  b->i = i;
  b->sign = sign;
  if (upper && !b->hi) b->hi = rest;
  if (!upper && !b->lo) b->lo = rest;
  return true;
}

// e, or its contrary, as a bound of j.
static void add_guard(Band *b, const Expr *e, bool truth) {
  Index *ix[] = { b->read->arg[b->j]->u.ix };
  Expr *coef, *rest;
  if (!expr_uses_index(e, ix[0]) || !affine_split(b->x, op2(b, OP_SUB, e->arg[0], e->arg[1]), 1, ix, &coef, &rest)) return;
  int sign = expr_is_int(coef, 1) ? 1 : expr_is_int(coef, -1) ? -1 : 0;
  bool less = (e->op == OP_LT || e->op == OP_LE) == truth, equal = (e->op == OP_LE || e->op == OP_GE) == truth;
  if (!sign) return;
  // sign·j + rest compared with 0: j is below or above -sign·rest
  bool upper = less == (sign > 0);
  Expr *at = sign > 0 ? expr_op1(b->x, OP_NEG, rest, NO_SPAN) : rest;
  add_bound(b, upper, op2(b, OP_ADD, at, num(b, upper == equal)));
}

// The subscript that is bounded by another: by its range, or else by a guard.
static bool find_band(Band *b, const Guards *g) {
  const Tensor *t = b->read->u.t;
  b->j = -1;
  for (int d = 0; d < t->rank; d++) {
    if (b->read->arg[d]->op != OP_INDEX) return false;
    for (int k = 0; k < d; k++) if (b->read->arg[k] == b->read->arg[d]) return false;
    if (ranges_is_full(b->facts, b->read->arg[d]->u.ix, t->extent[d])) continue;
    if (b->j >= 0) return false;
    b->j = d;
  }
  bool ranged = b->j >= 0;
  Expr *lo, *hi;
  if (ranged) {
    if (!ranges_of(b->facts, b->read->arg[b->j]->u.ix, &lo, &hi)) return false;
    bool full = expr_is_int(lo, 0);
    if (!(hi == t->extent[b->j] || add_bound(b, true, hi)) || !(full || add_bound(b, false, lo))) return false;
  }
  for (int d = t->rank - 1; d >= 0 && !ranged && b->i < 0; d--) {
    b->j = d;
    for (int k = 0; k < g->n; k++) add_guard(b, g->e[k], g->truth[k]);
  }
  for (int k = 0; k < g->n && ranged; k++) add_guard(b, g->e[k], g->truth[k]);
  return b->i >= 0;
}

// ---- how many ----------------------------------------------------------------------------------

static Expr *triangle(Band *b, Expr *n) {
  n = plain(b, n);
  if (range_prove_ge0(b->facts, b->x, expr_op1(b->x, OP_NEG, n, NO_SPAN))) return num(b, 0);
  if (!range_prove_ge0(b->facts, b->x, n)) n = op2(b, OP_MAX, n, num(b, 0));
  return op2(b, OP_FLOORDIV, op2(b, OP_MUL, n, op2(b, OP_ADD, n, num(b, 1))), num(b, 2));
}

static Expr *minus(Band *b, Expr *a, Expr *c) { return expr_is_int(c, 0) ? a : op2(b, OP_SUB, a, c); }

// S(c), for bounds that fall as i grows with i counted from the end.
static Expr *pairs_below(Band *b, Expr *c) {
  Expr *n = b->read->u.t->extent[b->i], *d = b->read->u.t->extent[b->j], *one = num(b, 1);
  if (b->sign < 0) c = op2(b, OP_ADD, op2(b, OP_SUB, c, n), one);
  Expr *first = op2(b, OP_SUB, c, one), *last = op2(b, OP_ADD, n, first);
  Expr *all = minus(b, triangle(b, last), triangle(b, first));
  return minus(b, all, minus(b, triangle(b, op2(b, OP_SUB, last, d)), triangle(b, op2(b, OP_SUB, first, d))));
}

bool cost_band(ExprTable *x, Ranges *facts, const Expr *read, const Guards *g, Expr **count, uint64_t *part) {
  Band b = { .x = x, .facts = facts, .read = read, .i = -1 };
  const Tensor *t = read->u.t;
  if (t->rank < 2 || read->aux || !find_band(&b, g)) return false;
  Expr *all = b.hi ? pairs_below(&b, b.hi) : op2(&b, OP_MUL, t->extent[b.i], t->extent[b.j]);
  for (int d = 0; d < t->rank; d++) count[d] = d == b.i ? num(&b, 1) : t->extent[d];
  count[b.j] = b.lo ? minus(&b, all, pairs_below(&b, b.lo)) : all;
  uint32_t key[] = { 1, (uint32_t)b.i, (uint32_t)b.j, (uint32_t)(b.sign + 1), b.lo ? b.lo->id + 1 : 0, b.hi ? b.hi->id + 1 : 0 };
  *part = hash_bytes(key, sizeof key, 0);
  return true;
}
