// gpu_best.c: argmax and argmin by vectors: their steps take the best value alone, and which vector has it.
//
//   unroll v in 0 .. 8:                        var t = -inf
//     (m, at) = argmax(x_v[v], j0 + v)         unroll v in 0 .. 8:  t = max(t, x_v[v])
//   fold m, at = argmax                 ──▶    (m, at) = argmax(t, j0)
//                                              fold m, at = argmax
//                                              var b = -inf;  var k = none
//                                              unroll v in 0 .. 8:  (b, k) = argmax(x[i, at + v], at + v)
//                                              at = k
//
// The first of the vectors that have the best value has the first element that has it. That one is read again.
#include "passes/gpu_team.h"

enum { LEAST_LANES = 4 };

// The loop's LETs and its ACC; what the two variables were declared with.
typedef struct Again { Stmt *body; Index *ix; int lanes; Expr *least, *none; } Again;

// ---- which -------------------------------------------------------------------------------------

static const Stmt *declared(const Stmt *s, const Var *v) {
  for (; s; s = s->next) {
    if (s->kind == ST_VAR && s->var == v) return s;
    const Stmt *in = declared(s->body, v), *els = in ? in : declared(s->els, v);
    if (els) return els;
  }
  return NULL;
}

static int changes(const Stmt *s, const Var *v) {
  int n = 0;
  for (; s; s = s->next) n += ((s->kind == ST_ACC || s->kind == ST_SET) && (s->var == v || s->var2 == v)) + changes(s->body, v) + changes(s->els, v);
  return n;
}

static const Stmt *index_acc(const Stmt *loop) {
  const Stmt *acc = NULL;
  for (const Stmt *s = loop->body; s; s = s->next) {
    if (s->kind != ST_LET && s->kind != ST_ACC) return NULL;
    if (s->kind == ST_ACC && s->var2) { if (acc) return NULL; acc = s; }
  }
  return acc;
}

static bool is_the_index(const Expr *e, const Index *ix) {
  if (e->op == OP_CAST) e = e->arg[0];
  return e->op == OP_INDEX && e->u.ix == ix;
}

// What its value comes of is not written here.
static bool reads_alone(Team *t, const Stmt *body) {
  for (const Stmt *s = body; s; s = s->next) if (gpu_reads_any(t->g, s->a, &t->written)) return false;
  return true;
}

static Stmt *lets_and(Team *t, const Stmt *body, const Stmt *acc) {
  Block b = gpu_block();
  for (const Stmt *s = body; s; s = s->next) {
    Stmt one = *s;
    one.next = NULL;
    if (s->kind == ST_LET || s == acc) gpu_add(&b, gpu_copy(t->g, &one));
  }
  return b.first;
}

static void find(Team *t, const Row *r, const Stmt *loop) {
  const Stmt *body = t->n->body, *acc = t->size > 1 && r->lanes >= LEAST_LANES && loop->hi->op == OP_CONST && loop->hi->u.v.i > 0 ? index_acc(loop) : NULL;
  if (!acc || acc->var->dtype != DT_F32 || !is_the_index(acc->b, loop->ix) || !reads_alone(t, loop->body)) return;
  const Stmt *v = declared(body, acc->var), *k = declared(body, acc->var2);
  if (!v || !k || changes(body, acc->var2) != 1 || changes(body, acc->var) != 1) return;
  Again *again = arena_new(t->g->scratch, Again);
  *again = (Again){ lets_and(t, loop->body, acc), loop->ix, r->lanes, v->a, k->a };
  map_putp(&t->again, loop, again);
}

void gpu_find_best(Team *t) {
  for (int i = 0; i < t->loops.n; i++) {
    const Row *r = gpu_row_of(t, t->loops.v[i]);
    if (r) find(t, r, t->loops.v[i]);
  }
}

// ---- the loop ----------------------------------------------------------------------------------

// The steps of a vector, with the index in the loop of one step right inside; *before: what points at them.
static Stmt **find_steps(Stmt **at, const Index *ix) {
  for (; *at; at = &(*at)->next) {
    Stmt *s = *at;
    if (s->kind == ST_LOOP && s->how == HOW_UNROLL && s->body && !s->body->next && s->body->how == HOW_ONE && s->body->ix == ix) return at;
    Stmt **in = find_steps(&s->body, ix);
    if (in) return in;
  }
  return NULL;
}

static Stmt *acc_of(Stmt *s) {
  while (s && !(s->kind == ST_ACC && s->var2)) s = s->next;
  return s;
}

static Stmt *statement(Team *t, StmtKind kind, Var *v, Expr *a) { return stmt_value(t->g->a, kind, v, a); }

static Stmt *arg_acc(Team *t, const Stmt *like, Expr *a, Expr *b) {
  Stmt *s = statement(t, ST_ACC, like->var, a);
  s->var2 = like->var2;
  s->reducer = like->reducer;
  s->b = b;
  return s;
}

// Where the vector begins: the step's place without the step.
static Expr *first_of(Team *t, const Stmt *steps) {
  Expr *zero = gpu_int(t->g, 0), *at = expr_subst(t->g->x, steps->body->lo, 1, &steps->ix, &zero);
  return at->op == OP_ADD ? gpu_plus(t->g, at->arg[0], at->arg[1]) : at;
}

static Expr *as_index(Team *t, const Stmt *acc, Expr *e) { return expr_cast(t->g->x, acc->var2->dtype, e, NO_SPAN); }

void gpu_best_of_vectors(Team *t, const Stmt *loop, Stmt *made) {
  Gpu *g = t->g;
  Again *again = map_getp(&t->again, loop);
  Stmt **at = again ? find_steps(&made, again->ix) : NULL, *steps = at ? *at : NULL, *one = steps ? steps->body : NULL, *acc = one ? acc_of(one->body) : NULL;
  if (!acc) return;
  Var *best = var_new(g->x, intern(g->f->names, "best"), DT_F32);
  Stmt *var = statement(t, ST_VAR, best, again->least), *whole = arg_acc(t, acc, expr_var(g->x, best), as_index(t, acc, first_of(t, steps)));
  map_putp(&t->again, acc->var2, again);
  acc->reducer = acc->reducer == RED_ARGMAX ? RED_MAX : RED_MIN;
  acc->var = best;
  acc->var2 = NULL;
  acc->b = NULL;
  *at = var;
  var->next = steps;
  whole->next = steps->next;
  steps->next = whole;
}

// ---- behind the fold ---------------------------------------------------------------------------

Stmt *gpu_best_again(Team *t, Stmt *fold) {
  Gpu *g = t->g;
  const Again *again = fold->var2 ? map_getp(&t->again, fold->var2) : NULL;
  if (!again) return fold;
  Var *best = var_new(g->x, intern(g->f->names, "best"), DT_F32), *index = var_new(g->x, fold->var2->name, fold->var2->dtype);
  Stmt *acc = acc_of(again->body), *first = statement(t, ST_VAR, best, again->least), *second = statement(t, ST_VAR, index, again->none);
  acc->var = best;
  acc->var2 = index;
  Index *step = gpu_index(g, "v");
  Expr *at = gpu_plus(g, expr_cast(g->x, DT_I64, expr_var(g->x, fold->var2), NO_SPAN), expr_index(g->x, step));
  Stmt *one = gpu_loop(g, HOW_ONE, again->ix, at, gpu_plus(g, at, gpu_int(g, 1)), again->body);
  Block b = gpu_block();
  gpu_add(&b, fold);
  gpu_add(&b, first);
  gpu_add(&b, second);
  gpu_add(&b, gpu_loop(g, HOW_UNROLL, step, gpu_int(g, 0), gpu_int(g, again->lanes), one));
  gpu_add(&b, statement(t, ST_SET, fold->var2, expr_var(g->x, index)));
  return b.first;
}
