// clip.c: loops run only where there is something to do.
//
//   for j in 0 .. D                                    for j in 0 .. min(D, i + 1):  m = max(m, s[i, j])
//     m = max(m, if j <= i then s[i, j] else -inf)
//                                              ──▶
//   for j in 0 .. D                                    for j in 0 .. min(D, i + 1):  p[i, j] = e
//     p[i, j] = if j <= i then e else 0                for j in max(0, i + 1) .. D:  p[i, j] = 0
//
// A comparison of the loop's index with what the loop does not change cuts the range in two; in each part it is known. That is done
// where one part has next to nothing left: nothing at all, an accumulator that gets its identity, a value that is the same at each
// step. So prefixes and windows read and compute what they need. And where each part reads less than the whole, as in a concatenation: of
// `j < A ? a[i, j] : b[i, j - A]` LLVM makes one read from a choice of addresses, lane by lane. [Index-set splitting: Banerjee 1979]
#include "ir/rewrite.h"
#include "ir/safe.h"
#include "passes/pass.h"

enum {
  MAX_CUTS = 8,         // places of one loop that are looked at
  MAX_PARTS = 4,        // cuts in one another
  FEW_FLOPS = 2,        // of a step that is next to nothing
  QUOTIENT_FLOPS = 8,   // of one that scales a value
  SHORT_ROW = 16384     // steps that one core takes, whatever the others do
};

// The index is below e + plus, or not: what a comparison asks.
typedef struct Cut { Expr *e; int plus; } Cut;

typedef struct Clip {
  Pipe *p;
  ExprTable *x;
  Ranges *facts;
  bool gpu;
  Map arrays;           // of this kernel's own, in a core's first cache
} Clip;

// A loop being looked at, or one part of it being made.
typedef struct Part {
  Clip *c;
  Stmt *loop;
  Map own, moved;       // indices and variables that the body declares or changes; those of them that stand before the loop now
  VEC(Cut) cuts;
  Cut cut; bool below;  // of a part
  bool renames;         // it is a second copy: indices and variables are new ones
  Map names, known;     // Var → the one in its place; its value, where that is a constant, or the variable itself
  int inside;           // branches that stay, around the place that is copied
  Stmt *before, **tail; // computed once, before the part
} Part;

// ---- what a loop changes -----------------------------------------------------------------------

static void note_own(Part *p, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->var) map_putp(&p->own, s->var, s->var);
    if (s->var2) map_putp(&p->own, s->var2, s->var2);
    if (s->kind == ST_LOOP) map_putp(&p->own, s->ix, s->ix);
    note_own(p, s->body);
    note_own(p, s->els);
  }
}

static void look_at_part(void *cx, Expr *e) {
  void **p = cx;
  const Part *part = p[0];
  const void *name = e->op == OP_VAR ? (void *)e->u.var : e->op == OP_INDEX ? (void *)e->u.ix : NULL;
  bool memory = e->op == OP_FIELD || (e->op == OP_READ && e->u.t->rank);
  if (memory || (name && map_getp(&part->own, name) && !map_getp(&part->moved, name))) *(bool *)p[1] = true;
}

// The same at each step, and no memory is asked.
static bool is_fixed(const Part *p, Expr *e) {
  bool varies = false;
  expr_visit(p->c->p->scratch, e, look_at_part, (void *[]){ (void *)p, &varies });
  return !varies;
}

// ---- comparisons -------------------------------------------------------------------------------

static Expr *number(Clip *c, int64_t v) { return expr_int(c->x, DT_I64, v, NO_SPAN); }
static Expr *minus(Clip *c, Expr *a, Expr *b) { return expr_op2(c->x, OP_SUB, a, b, NO_SPAN); }
static bool at_least(Clip *c, Expr *a, Expr *b) { return range_prove_ge0(c->facts, c->x, minus(c, a, b)); }

// Far from where 64 bits wrap.
static bool is_small(Clip *c, Expr *e) {
  Expr *most = number(c, (int64_t)1 << 60);
  return at_least(c, most, e) && range_prove_ge0(c->facts, c->x, expr_op2(c->x, OP_ADD, e, most, NO_SPAN));
}

// Where is a - b < 0? Index and rest on one side each, so that nothing is asked of sums that may wrap.
static bool difference(Part *p, Expr *a, Expr *b, int *sign, Expr **rest) {
  Clip *c = p->c;
  Expr *coef;
  if (!is_small(c, a) || !is_small(c, b) || !affine_split(c->x, minus(c, a, b), 1, &p->loop->ix, &coef, rest)) return false;
  *sign = expr_is_int(coef, 1) ? 1 : expr_is_int(coef, -1) ? -1 : 0;
  return *sign != 0 && is_fixed(p, *rest);
}

// e as `index < cut` (*is true) or its contrary.
static bool comparison(Part *p, const Expr *e, Cut *cut, bool *is) {
  Clip *c = p->c;
  Expr *rest;
  int sign;
  if ((e->op != OP_LT && e->op != OP_LE && e->op != OP_GT && e->op != OP_GE) || e->arg[0]->dtype != DT_I64 || !expr_uses_index(e, p->loop->ix)) return false;
  bool less = e->op == OP_LT || e->op == OP_LE, equal = e->op == OP_LE || e->op == OP_GE;
  if (!difference(p, e->arg[0], e->arg[1], &sign, &rest)) return false;
  // sign * index + rest < 0:  index < -rest, or index > rest
  bool below = less == (sign > 0);
  Expr *bound = sign > 0 ? expr_op1(c->x, OP_NEG, rest, NO_SPAN) : rest;
  Expr *none, *b;
  if (!affine_split(c->x, bound, 0, NULL, &none, &b)) return false;      // in its plain form
  *cut = (Cut){ b, below == equal };
  *is = below;
  return true;
}

static bool same_cut(Cut a, Cut b) { return a.e == b.e && a.plus == b.plus; }

static void note_cut(void *cx, Expr *e) {
  Part *p = cx;
  Cut cut;
  bool is;
  if (p->cuts.n == MAX_CUTS || !comparison(p, e, &cut, &is)) return;
  for (int i = 0; i < p->cuts.n; i++) if (same_cut(p->cuts.v[i], cut)) return;
  vec_push(p->c->p->scratch, &p->cuts, cut);
}

static void note_cuts(Part *p, const Stmt *s) {
  for (; s; s = s->next) {
    Expr *part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) if (part[k]) expr_visit(p->c->p->scratch, part[k], note_cut, p);
    note_cuts(p, s->body);
    note_cuts(p, s->els);
  }
}

// ---- a part ------------------------------------------------------------------------------------

static Expr *folded(Expr *e) {
  if (e->op == OP_NOT && expr_is_const(e->arg[0])) return NULL;
  if (e->op == OP_SELECT && expr_is_const(e->arg[0])) return e->arg[expr_is_true(e->arg[0]) ? 1 : 2];
  if (e->op == OP_AND) return expr_is_true(e->arg[0]) || expr_is_false(e->arg[1]) ? e->arg[1] : expr_is_true(e->arg[1]) || expr_is_false(e->arg[0]) ? e->arg[0] : e;
  if (e->op == OP_OR) return expr_is_false(e->arg[0]) || expr_is_true(e->arg[1]) ? e->arg[1] : expr_is_false(e->arg[1]) || expr_is_true(e->arg[0]) ? e->arg[0] : e;
  return e;
}

static Expr *known_now(void *cx, ExprTable *x, Expr *e) {
  Part *p = cx;
  Cut cut;
  bool is;
  if (e->op == OP_INDEX) {
    Expr *ix = map_getp(&p->names, e->u.ix);
    return ix ? ix : e;
  }
  if (e->op == OP_VAR) {
    Expr *v = map_getp(&p->known, e->u.var);
    if (!v) v = map_getp(&p->names, e->u.var);
    return v ? v : e;
  }
  if (comparison(p, e, &cut, &is) && same_cut(cut, p->cut)) return expr_bool(x, is == p->below, e->at);
  Expr *f = folded(e);
  return f ? f : expr_bool(x, expr_is_false(e->arg[0]), e->at);
}

static Expr *in_part(Part *p, Expr *e) { return e ? expr_map(p->c->x, e, known_now, p) : NULL; }

static Var *renamed_var(Part *p, Var *v) {
  Expr *now = v ? map_getp(&p->names, v) : NULL;
  return now ? now->u.var : v;
}

static void declare(Part *p, Stmt *s) {
  if (!p->renames) return;
  Var *v = var_like(p->c->x, s->var);
  map_putp(&p->names, s->var, expr_var(p->c->x, v));
  s->var = v;
}

// Behind `v = a`: v is that constant, or not known.
static void note_set(Part *p, Var *v, Expr *a) {
  bool known = expr_is_const(a) && !p->inside;
  map_putp(&p->known, v, known ? a : expr_var(p->c->x, renamed_var(p, v)));
}

static bool is_identity(Reducer r, const Expr *e) {
  if (!expr_is_const(e)) return false;
  Scalar none = reducers[r].identity((Dtype)e->dtype);
  return dtype_is_float((Dtype)e->dtype) ? e->u.v.f == none.f : e->u.v.i == none.i;
}

// t[sub] = t[sub] + 0, as `jam` has accumulators.
static bool stores_same(const Stmt *s) {
  if (s->t->role != ROLE_LOCAL || s->a->nargs != 2 || s->a->arg[0]->op != OP_READ || s->a->arg[0]->u.t != s->t) return false;
  for (int k = 0; k < s->nsub; k++) if (s->a->arg[0]->arg[k] != s->sub[k]) return false;
  for (int r = 0; r < RED_COUNT_; r++)
    if (!reducers[r].arg && r != RED_MEAN && s->a->op == reduce_op((Reducer)r) && is_identity((Reducer)r, s->a->arg[1])) return true;
  return false;
}

// Accumulating it changes nothing: sums begin with 0, so that -0 is no matter.
static bool adds_nothing(const Stmt *s) {
  if (s->kind == ST_STORE) return stores_same(s);
  return s->kind == ST_ACC && !s->var2 && is_identity(s->reducer, s->a);
}

static Stmt *copy_list(Part *p, const Stmt *s);

// What `if` leaves when its condition is known.
static Stmt *copy_branch(Part *p, const Stmt *s, Expr *cond) {
  if (expr_is_const(cond)) return copy_list(p, expr_is_true(cond) ? s->body : s->els);
  Stmt *made = stmt_alone(p->c->p->a, s);
  made->a = cond;
  p->inside++;
  made->body = copy_list(p, s->body);
  made->els = copy_list(p, s->els);
  p->inside--;
  return made->body || made->els ? made : NULL;
}

// A loop inside; without a body it is none.
static Stmt *copy_loop(Part *p, const Stmt *s) {
  Stmt *made = stmt_alone(p->c->p->a, s);
  made->lo = in_part(p, s->lo);
  made->hi = in_part(p, s->hi);
  if (p->renames) {
    made->ix = index_new(p->c->x, s->ix->name, s->ix->at);
    map_putp(&p->names, s->ix, expr_index(p->c->x, made->ix));
  }
  p->inside++;
  made->body = copy_list(p, s->body);
  p->inside--;
  return made->body ? made : NULL;
}

static Stmt *copy_stmt(Part *p, const Stmt *s) {
  if (s->kind == ST_LOOP) return copy_loop(p, s);
  Expr *a = in_part(p, s->a);
  if (s->kind == ST_IF) return copy_branch(p, s, a);
  if (s->kind == ST_LET && expr_is_const(a)) {
    map_putp(&p->known, s->var, a);
    return NULL;
  }
  Stmt *made = stmt_alone(p->c->p->a, s);
  made->a = a;
  made->b = in_part(p, s->b);
  for (int k = 0; k < s->nsub; k++) made->sub[k] = in_part(p, s->sub[k]);
  if (s->kind == ST_LET || s->kind == ST_VAR) declare(p, made);
  else made->var = renamed_var(p, s->var), made->var2 = renamed_var(p, s->var2);
  if (s->kind == ST_SET) note_set(p, s->var, a);
  return adds_nothing(made) ? NULL : made;
}

static Stmt *copy_list(Part *p, const Stmt *s) {
  Stmt *first = NULL, **tail = &first;
  for (; s; s = s->next) tail = stmts_append(tail, copy_stmt(p, s));
  return first;
}

static bool can_copy(const Stmt *s) {
  for (; s; s = s->next) {
    bool value = s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_SET || s->kind == ST_ACC || s->kind == ST_STORE;
    bool ok = value || (s->kind == ST_LOOP && !s->ordered && !s->step) || s->kind == ST_IF || s->kind == ST_FAULT;
    if (!ok || !can_copy(s->body) || !can_copy(s->els)) return false;
  }
  return true;
}

// ---- what is left of it ------------------------------------------------------------------------

static void note_var(void *cx, Expr *e) { if (e->op == OP_VAR) map_putp(cx, e->u.var, e->u.var); }

static void note_vars(Part *p, const Stmt *s, Map *used) {
  for (; s; s = s->next) {
    Expr *part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) if (part[k]) expr_visit(p->c->p->scratch, part[k], note_var, used);
    for (int k = 0; k < s->nsub; k++) expr_visit(p->c->p->scratch, s->sub[k], note_var, used);
    if (s->kind == ST_ACC) map_putp(used, s->var, s->var);
    note_vars(p, s->body, used);
    note_vars(p, s->els, used);
  }
}

// Variables of the body that are declared, or set, and not used.
static void note_declared(Stmt *s, Map *declared) {
  for (; s; s = s->next) {
    if (s->kind == ST_LET || s->kind == ST_VAR) map_putp(declared, s->var, s->var);
    note_declared(s->body, declared);
    note_declared(s->els, declared);
  }
}

static bool drop_unused(Stmt **at, const Map *declared, const Map *used) {
  bool any = false;
  while (*at) {
    Stmt *s = *at;
    bool names = s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_SET;
    bool drop = names && map_getp(declared, s->var) && !map_getp(used, s->var);
    bool inside = drop_unused(&s->body, declared, used), other = drop_unused(&s->els, declared, used);
    any = any || drop || inside || other;
    drop |= (s->kind == ST_IF || s->kind == ST_LOOP) && !s->body && !s->els;
    if (drop) *at = s->next;
    else at = &s->next;
  }
  return any;
}

// Without values that nothing uses any more.
static Stmt *without_unused(Part *p, Stmt *s) {
  Map declared = map_make(p->c->p->scratch);
  note_declared(s, &declared);
  for (bool again = true; again;) {
    Map used = map_make(p->c->p->scratch);
    note_vars(p, s, &used);
    again = drop_unused(&s, &declared, &used);
  }
  return s;
}

static void put_before(Part *p, Stmt *let) {
  let->next = NULL;
  *p->tail = let;
  p->tail = &let->next;
}

static void hoist_value(Part *p, Stmt *s) {
  Stmt *let = plan_let(p->c->p->plan, ST_LET, "t", s->a);
  s->a = expr_var(p->c->x, let->var);
  put_before(p, let);
}

// What is the same at each step is computed before them. Values first, since others use them.
static Stmt *without_fixed(Part *p, Stmt *s) {
  Stmt *first = NULL, **tail = &first;
  for (Stmt *next; s; s = next) {
    next = s->next;
    bool fixed = s->a && s->a->nargs && is_fixed(p, s->a);
    if (s->kind == ST_LET && fixed) {
      map_putp(&p->moved, s->var, s->var);
      put_before(p, s);
      continue;
    }
    if ((s->kind == ST_ACC || s->kind == ST_STORE) && fixed) hoist_value(p, s);
    s->next = NULL;
    *tail = s;
    tail = &s->next;
  }
  return first;
}

typedef struct Heavy { const Part *p; int flops; bool memory; } Heavy;
static void weigh(void *cx, Expr *e) {
  Heavy *h = cx;
  h->memory |= e->op == OP_FIELD;
  for (uint32_t k = 0; e->op == OP_READ && k < e->nargs; k++) h->memory |= !is_fixed(h->p, e->arg[k]);
  h->flops += ops[e->op].flops;
}

// Steps cost next to nothing.
static bool is_light(const Part *p, const Stmt *s) {
  Heavy h = { p, 0, false };
  for (; s; s = s->next) {
    if (s->kind != ST_LET && s->kind != ST_STORE && s->kind != ST_ACC) return false;
    expr_visit(p->c->p->scratch, s->a, weigh, &h);
    if (s->b) expr_visit(p->c->p->scratch, s->b, weigh, &h);
  }
  return !h.memory && h.flops <= FEW_FLOPS;
}

static Expr *rename_step(void *cx, ExprTable *x, Expr *e) {
  Index *const *ix = cx;
  return e->op == OP_INDEX && e->u.ix == ix[0] ? expr_index(x, ix[1]) : e;
}

static void rename_steps(Part *p, Stmt *s, Index **ix) {
  for (; s; s = s->next) {
    if (s->lo) s->lo = expr_map(p->c->x, s->lo, rename_step, ix), s->hi = expr_map(p->c->x, s->hi, rename_step, ix);
    if (s->a) s->a = expr_map(p->c->x, s->a, rename_step, ix);
    if (s->b) s->b = expr_map(p->c->x, s->b, rename_step, ix);
    for (int k = 0; k < s->nsub; k++) s->sub[k] = expr_map(p->c->x, s->sub[k], rename_step, ix);
    rename_steps(p, s->body, ix);
    rename_steps(p, s->els, ix);
  }
}

// The loop on one side of the cut, its range not set yet; its body may be empty.
static Stmt *make_part(Part *p, const Part *whole, Cut cut, bool below) {
  Clip *c = whole->c;
  *p = (Part){ .c = c, .loop = whole->loop, .own = whole->own, .cut = cut, .below = below, .renames = !below };
  p->known = map_make(c->p->scratch);
  p->names = map_make(c->p->scratch);
  p->moved = map_make(c->p->scratch);
  p->tail = &p->before;
  Stmt *made = stmt_new(c->p->a, ST_LOOP);
  *made = *whole->loop;
  made->next = NULL;
  made->body = without_unused(p, copy_list(p, whole->loop->body));
  p->own = map_make(c->p->scratch);
  map_putp(&p->own, made->ix, made->ix);
  note_own(p, made->body);
  made->body = without_fixed(p, made->body);
  if (below) return made;
  Index *ix[] = { made->ix, index_new(c->x, made->ix->name, made->ix->at) };
  rename_steps(p, made->body, ix);
  made->ix = ix[1];
  map_putp(&p->own, ix[1], ix[1]);
  return made;
}

// ---- the cut -----------------------------------------------------------------------------------

static Expr *end_below(Clip *c, const Stmt *loop, Expr *at) { return at_least(c, loop->hi, at) ? at : expr_op2(c->x, OP_MIN, loop->hi, at, NO_SPAN); }
static Expr *start_above(Clip *c, const Stmt *loop, Expr *at) { return at_least(c, at, loop->lo) ? at : expr_op2(c->x, OP_MAX, loop->lo, at, NO_SPAN); }

static Stmt *clipped(Clip *c, Stmt *loop, int depth, Stmt *next);

// The two parts in the place of the loop, `next` behind them.
static Stmt *both(Clip *c, const Stmt *loop, Part *part, Stmt **made, Expr *at, int depth, Stmt *next) {
  made[0]->hi = end_below(c, loop, at);
  made[1]->lo = start_above(c, loop, at);
  for (int k = 1; k >= 0; k--) {
    if (loop->how == HOW_PAR) made[k]->how = HOW_SEQ;
    if (!made[k]->body || at_least(c, made[k]->lo, made[k]->hi)) continue;
    next = clipped(c, made[k], depth + 1, next);
    if (part[k].before) *part[k].tail = next, next = part[k].before;
  }
  return next;
}

// Does the place of the cut depend on a loop around this one?
static bool depends(const Expr *e) { return e->free->n > 0; }

static bool may_cut(const Clip *c, const Stmt *loop, const Cut *cut) {
  return loop->how == HOW_SEQ || (loop->how == HOW_PAR && !c->gpu && depends(cut->e));
}

typedef struct Elements { const Part *p; Map seen; } Elements;

static void note_element(void *cx, Expr *e) {
  Elements *all = cx;
  for (uint32_t k = 0; e->op == OP_READ && k < e->nargs; k++)
    if (!is_fixed(all->p, e->arg[k])) map_putp(&all->seen, e, e);
}

// Different elements that a step of a map reads, and no other step.
static int count_elements(const Part *p, const Stmt *s) {
  Elements all = { p, map_make(p->c->p->scratch) };
  for (; s; s = s->next) {
    if (s->a) expr_visit(p->c->p->scratch, s->a, note_element, &all);
    for (int k = 0; k < s->nsub; k++) expr_visit(p->c->p->scratch, s->sub[k], note_element, &all);
  }
  return all.seen.n;
}

static bool is_map(const Stmt *s) {
  for (; s; s = s->next) if (s->kind != ST_LET && s->kind != ST_STORE) return false;
  return true;
}

// A row of a map that one core takes.
static bool is_short_map(const Clip *c, const Stmt *loop) {
  bool fixed = expr_is_const(loop->lo) && expr_is_const(loop->hi);
  return !c->gpu && fixed && loop->hi->u.v.i - loop->lo->u.v.i <= SHORT_ROW && is_map(loop->body);
}

// Does each part of a map read less than the whole?
static bool separates(const Part *whole, const Part *part, Stmt *const *made) {
  int all = count_elements(whole, whole->loop->body);
  return count_elements(&part[0], made[0]->body) < all && count_elements(&part[1], made[1]->body) < all;
}

static void see_memory(void *cx, Expr *e) {
  Elements *all = cx;
  if ((e->op == OP_READ || e->op == OP_FIELD) && !map_getp(&all->p->c->arrays, e->u.t) && !is_fixed(all->p, e)) map_putp(&all->seen, e, e);
}

// A map that finishes what lies in the first cache: whole vectors of it, to the end of the row, cost less than loops that begin at any place.
static bool is_last_step(const Part *p, const Stmt *s) {
  Elements all = { p, map_make(p->c->p->scratch) };
  Heavy h = { p, 0, false };
  bool reads = false;
  if (p->c->gpu || !is_map(s)) return false;
  for (; s; s = s->next) {
    reads |= expr_has(s->a, OP_READ);
    expr_visit(p->c->p->scratch, s->a, see_memory, &all);
    expr_visit(p->c->p->scratch, s->a, weigh, &h);
  }
  return reads && !all.seen.n && h.flops <= QUOTIENT_FLOPS;
}

// A GPU keeps rows in registers, in loops that begin where the row does: there they only end sooner, but for windows.
static bool pays(const Part *p, const Stmt *body, int depth) {
  return p->c->gpu ? !body && (!p->below || depth) : is_light(p, body);
}

static Stmt *clipped(Clip *c, Stmt *loop, int depth, Stmt *next) {
  Part whole = { .c = c, .loop = loop, .own = map_make(c->p->scratch), .moved = map_make(c->p->scratch) };
  loop->next = next;
  if (depth == MAX_PARTS || loop->step || !can_copy(loop->body)) return loop;
  ranges_push(c->facts);
  ranges_index(c->facts, loop->ix, loop->lo, loop->hi);
  note_own(&whole, loop->body);
  map_putp(&whole.own, loop->ix, loop->ix);
  note_cuts(&whole, loop->body);
  Stmt *made[2];
  Part part[2];
  int found = -1;
  bool light = is_light(&whole, loop->body) || is_last_step(&whole, loop->body);
  for (int i = 0; i < whole.cuts.n && !light && found < 0; i++) {
    bool may = may_cut(c, loop, &whole.cuts.v[i]);
    if (!may && !is_short_map(c, loop)) continue;
    for (int k = 0; k < 2; k++) made[k] = make_part(&part[k], &whole, whole.cuts.v[i], k == 0);
    bool less = may && (pays(&part[0], made[0]->body, depth) || pays(&part[1], made[1]->body, depth));
    if (less || (is_short_map(c, loop) && separates(&whole, part, made))) found = i;
  }
  ranges_pop(c->facts);
  if (found < 0) return loop;
  return both(c, loop, part, made, expr_plus(c->x, whole.cuts.v[found].e, whole.cuts.v[found].plus), depth, next);
}

// ---- all loops ---------------------------------------------------------------------------------

static void walk(Clip *c, Stmt **at, bool parallel);

static void walk_inside(Clip *c, Stmt *s, bool parallel) {
  ranges_push(c->facts);
  if (s->kind == ST_LOOP) ranges_index(c->facts, s->ix, s->lo, s->hi);
  walk(c, &s->body, parallel || (s->kind == ST_LOOP && s->how == HOW_PAR));
  walk(c, &s->els, parallel);
  ranges_pop(c->facts);
}

// What a value is, for proofs behind it.
static void assume(Clip *c, const Stmt *s) {
  if (s->kind != ST_LET || s->var->dtype != DT_I64 || expr_has(s->a, OP_READ) || expr_has(s->a, OP_FIELD)) return;
  ranges_assume(c->facts, expr_op2(c->x, OP_EQ, expr_var(c->x, s->var), s->a, NO_SPAN), true);
}

static void walk(Clip *c, Stmt **at, bool parallel) {
  ranges_push(c->facts);
  while (*at) {
    Stmt *s = *at, *next = s->next;
    assume(c, s);
    if (s->kind == ST_ALLOC) map_putp(&c->arrays, s->t, s->t);
    bool loop = s->kind == ST_LOOP && (s->how == HOW_SEQ || (s->how == HOW_PAR && parallel));
    if (loop) *at = clipped(c, s, 0, next);
    for (; *at != next; at = &(*at)->next) walk_inside(c, *at, parallel);
  }
  ranges_pop(c->facts);
}

bool pass_clip(Pipe *p) {
  SafeExtents extents = { .a = p->scratch };
  for (int i = 0; i < p->plan->kernels.n; i++) {
    Clip c = { .p = p, .x = p->plan->x, .facts = safe_ranges_again(p->fn, &extents, p->scratch), .gpu = pipe_is_gpu(p), .arrays = map_make(p->scratch) };
    walk(&c, &p->plan->kernels.v[i]->body, false);
  }
  return true;
}
