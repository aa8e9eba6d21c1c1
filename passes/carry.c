// carry.c: a recurrence keeps what its next steps need in variables.
//
//   for t in 0 .. T                                               var h_1 = h0
//     let h = a[t] * (if t - 1 >= 0 then h[t - 1] else h0) + b[t]       ──▶   for t in 0 .. T
//     h[t] = h                                                      let h = a[t] * h_1 + b[t]
//                                                                   h[t] = h
//                                                                   h_1 = h
//
// Memory is then written only, so that large results leave past the caches, results that nobody wants are not stored at all, and what
// stands inside of the loop's steps is free of dependences: where grid points lie side by side, jam.c makes arrays of a tile of the variables. Where every
// read is guarded by one value that the loop does not change, that is what the variables start with, and no step asks.
// [Scalar replacement: Callahan, Carr & Kennedy, PLDI 1990]
#include "ir/affine.h"
#include "ir/rewrite.h"
#include "passes/pass.h"

enum { MOST_BACK = 4 };         // steps that are looked back

typedef struct Carry {
  Pipe *p;
  ExprTable *x;
  Stmt *loop;
  const Stmt *store;            // of the tensor at hand
  int order;                    // its subscript that is the loop's index
  Map lets;                     // variables of the loop's body → their LETs
  int back;                     // steps that its reads look back, at the most
  Dtype dtype;                  // of these reads
  bool good;                    // all of them can be variables,
  bool guarded;                 // and have `first` in their place where there is no such step
  Expr *first;
  Var *state[MOST_BACK + 1];    // the value so many steps back
} Carry;

// ---- what stands in the loop -------------------------------------------------------------------

static void note_lets(Carry *c, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_LET) map_putp(&c->lets, s->var, (void *)s);
    note_lets(c, s->body);
    note_lets(c, s->els);
  }
}

static const Stmt *let_of(const Carry *c, const Expr *e) { return e->op == OP_VAR ? map_getp(&c->lets, e->u.var) : NULL; }

static int stores_to(const Stmt *s, const Tensor *t) {
  int n = 0;
  for (; s; s = s->next) n += (stmt_stores(s) && tensor_root(s->t) == tensor_root(t)) + stores_to(s->body, t) + stores_to(s->els, t);
  return n;
}

// ---- reads of earlier steps --------------------------------------------------------------------

static bool reads_it(const Carry *c, const Expr *e) { return (e->op == OP_READ || e->op == OP_FIELD) && tensor_root(e->u.t) == tensor_root(c->store->t); }

// e is the loop's index and so much, which is added.
static bool from_index(const Carry *c, Expr *e, int64_t *plus) {
  Index *ix = c->loop->ix;
  Expr *coef, *rest;
  if (!affine_split(c->x, e, 1, &ix, &coef, &rest) || !expr_is_int(coef, 1) || !expr_is_const(rest)) return false;
  *plus = rest->u.v.i;
  return true;
}

// How many steps the read looks back; 0: it is none of an earlier step's element at the same place.
static int steps_back(const Carry *c, const Expr *e) {
  int64_t plus = 0;
  if (e->op != OP_READ || e->aux || (int)e->nargs != c->store->nsub) return 0;
  for (int k = 0; k < c->store->nsub; k++)
    if (k == c->order ? !from_index(c, e->arg[k], &plus) : e->arg[k] != c->store->sub[k]) return 0;
  return plus < 0 && plus >= -MOST_BACK ? (int)-plus : 0;
}

// Does the condition say that there is a step so far back?
static bool asks_for_step(const Carry *c, Expr *e, int back) {
  const Stmt *let = let_of(c, e);
  int64_t plus;
  if (let) e = let->a;
  if ((e->op != OP_GE && e->op != OP_GT) || e->arg[0]->dtype != DT_I64) return false;
  if (!from_index(c, expr_op2(c->x, OP_SUB, e->arg[0], e->arg[1], NO_SPAN), &plus)) return false;
  return plus == (e->op == OP_GE ? -back : 1 - back);
}

static void see_read(Carry *c, const Expr *e, const Expr *user) {
  int back = steps_back(c, e);
  c->good &= back > 0;
  if (!back) return;
  if (back > c->back) c->back = back;
  c->dtype = (Dtype)e->dtype;
  bool guards = user && user->op == OP_SELECT && user->arg[1] == e && user->arg[0] != e && user->arg[2] != e && asks_for_step(c, user->arg[0], back);
  Expr *first = guards ? user->arg[2] : NULL;
  if (guards && !c->first && stmt_keeps(c->p->scratch, c->loop, first)) c->first = first;
  c->guarded &= guards && c->first == first;
}

static void see_node(void *cx, Expr *e) {
  Carry *c = cx;
  for (int k = 0; k < (int)e->nargs; k++) if (reads_it(c, e->arg[k])) see_read(c, e->arg[k], e);
}

static void see_root(Carry *c, Expr *e) {
  if (!e) return;
  if (reads_it(c, e)) see_read(c, e, NULL);
  expr_visit(c->p->scratch, e, see_node, c);
}

static void see_stmts(Carry *c, const Stmt *s) {
  for (; s; s = s->next) {
    Expr *const part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) see_root(c, part[k]);
    for (int k = 0; k < s->nsub; k++) see_root(c, s->sub[k]);
    see_stmts(c, s->body);
    see_stmts(c, s->els);
  }
}

// ---- variables in their place ------------------------------------------------------------------

static int state_of(const Carry *c, const Expr *e) {
  for (int k = 1; k <= c->back; k++) if (e->op == OP_VAR && e->u.var == c->state[k]) return k;
  return 0;
}

static Expr *to_state(void *cx, ExprTable *x, Expr *e) {
  Carry *c = cx;
  if (reads_it(c, e)) return expr_var(x, c->state[steps_back(c, e)]);
  if (c->guarded && e->op == OP_SELECT && state_of(c, e->arg[1]) && asks_for_step(c, e->arg[0], state_of(c, e->arg[1]))) return e->arg[1];
  return e;
}

// The value that is stored, in a variable that does not change.
static Expr *stored_value(Carry *c, Stmt *store) {
  if (expr_is_const(store->a) || let_of(c, store->a)) return store->a;
  Stmt *after = stmt_alone(c->p->a, store);
  after->next = store->next;
  *store = *plan_let(c->p->plan, ST_LET, tensor_root(store->t)->name, after->a);
  store->note = after->note;
  after->note = NULL;
  store->next = after;
  return after->a = expr_var(c->x, store->var);
}

// Declarations that go before the loop.
static Stmt *carry(Carry *c, Stmt *store) {
  Stmt *before = NULL, **tail = &before, **end = &c->loop->body;
  Expr *first = c->guarded ? c->first : expr_scalar(c->x, c->dtype, (Scalar){0}, NO_SPAN);
  const char *name = tensor_root(store->t)->name;
  for (int k = 1; k <= c->back; k++) {
    c->state[k] = var_new(c->x, intern(c->p->fn->names, arena_printf(c->p->scratch, "%s_%d", name, k)), c->dtype);
    tail = stmts_append(tail, stmt_value(c->p->a, ST_VAR, c->state[k], first));
  }
  stmts_map(c->x, c->loop->body, to_state, c);
  Expr *value = stored_value(c, store);
  while (*end) end = &(*end)->next;
  for (int k = c->back; k > 0; k--) end = stmts_append(end, stmt_value(c->p->a, ST_SET, c->state[k], k > 1 ? expr_var(c->x, c->state[k - 1]) : value));
  return before;
}

// ---- which tensors -----------------------------------------------------------------------------

// The store's element is another at each step, by one subscript that is the loop's index.
static bool walks(Carry *c) {
  const Stmt *s = c->store;
  c->order = -1;
  for (int k = 0; k < s->nsub; k++) {
    if (expr_is_index(s->sub[k], c->loop->ix) && c->order < 0) c->order = k;
    else if (!stmt_keeps(c->p->scratch, c->loop, s->sub[k])) return false;
  }
  return c->order >= 0;
}

static bool carries(Carry *c) {
  const Stmt *s = c->store;
  bool rounded = s->t->stored || fn_is_output(s->t) || dtype_is_wide(s->t->dtype);
  c->lets = map_make(c->p->scratch);
  note_lets(c, c->loop->body);
  if (s->t->fmt || s->field >= 0 || !rounded || !walks(c) || stores_to(c->loop->body, s->t) != 1) return false;
  c->back = 0, c->good = c->guarded = true, c->first = NULL;
  see_stmts(c, c->loop->body);
  return c->good && c->back && c->dtype == (Dtype)s->a->dtype;
}

static Stmt *carry_loop(Pipe *p, Stmt *loop) {
  Carry c = { .p = p, .x = p->plan->x, .loop = loop };
  Stmt *before = NULL, **tail = &before;
  for (Stmt *s = loop->body; s; s = s->next) {
    if (s->kind != ST_STORE) continue;
    c.store = s;
    if (!carries(&c)) continue;
    tail = stmts_append(tail, carry(&c, s));
    if (s->kind == ST_LET) s = s->next;         // the store stands behind the value now
  }
  return before;
}

static bool is_recurrence(const Stmt *s) {
  return s->kind == ST_LOOP && s->ordered && (s->how == HOW_SEQ || s->how == HOW_SCAN) && !s->step && expr_is_int(s->lo, 0);
}

static Stmt *carry_stmt(void *p, Stmt *s) {
  Stmt *first = is_recurrence(s) ? carry_loop(p, s) : NULL;
  s->body = stmts_replace(s->body, carry_stmt, p);
  s->els = stmts_replace(s->els, carry_stmt, p);
  if (!first) return s;
  stmts_insert(&first, NULL, s);
  return first;
}

bool pass_carry(Pipe *p) {
  for (int i = 0; i < p->plan->kernels.n; i++) {
    Kernel *k = p->plan->kernels.v[i];
    k->body = stmts_replace(k->body, carry_stmt, p);
    kernel_list_args(p->plan, k);
  }
  return true;
}
