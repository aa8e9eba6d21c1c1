#include "ir/rescale.h"
#include <string.h>

typedef struct Find {
  ExprTable *x;
  Arena *scratch;
  RescaleEarlier earlier;
  void *cx;
  const Binder *bind;
  References *refs;
  Rescale *r;
  int moment;           // this atom counts as constant; -1: none does
  bool divides[RESCALE_ATOMS];
  bool failed;
} Find;

// ---- what changes ------------------------------------------------------------------------------

static bool reads_earlier(Find *f, const Expr *e);

static void look_for_read(void *cx, Expr *e) {
  Find *f = ((void **)cx)[0];
  if (e->op == OP_READ && f->earlier(f->cx, e->u.t)) *(bool *)((void **)cx)[1] = true;
}

static bool reads_earlier(Find *f, const Expr *e) {
  bool found = false;
  expr_visit(f->scratch, (Expr *)e, look_for_read, (void *[]){ f, &found });
  return found;
}

static bool is_free(const Find *f, const Expr *e) {
  for (int k = 0; k < f->bind->n; k++) if (expr_uses_index(e, f->bind->ix[k])) return false;
  return true;
}

static int atom_of(const Find *f, const Expr *e) {
  for (int k = 0; k < f->r->natoms; k++) if (f->r->atom[k]->atom == e) return k;
  return -1;
}

// Does e change with the references that are looked at?
static bool changes(Find *f, const Expr *e) {
  if (e == NULL) return false;
  int k = atom_of(f, e);
  if (k >= 0) return k != f->moment;
  for (uint32_t i = 0; i < e->nargs; i++) if (changes(f, e->arg[i])) return true;
  return false;
}

static Reference *reference(Find *f, Expr *e) {
  for (int i = 0; i < f->refs->v.n; i++) if (f->refs->v.v[i]->atom == e) return f->refs->v.v[i];
  Reference *r = arena_new(f->refs->a, Reference);
  *r = (Reference){ e, false, var_new(f->x, NULL, (Dtype)e->dtype), var_new(f->x, NULL, (Dtype)e->dtype) };
  vec_push(f->refs->a, &f->refs->v, r);
  return r;
}

// Collects the maximal parts of e that are free of the reduction's indices and read earlier results.
static void find_atoms(Find *f, Expr *e) {
  if (f->failed || atom_of(f, e) >= 0 || !reads_earlier(f, e)) return;
  if (is_free(f, e)) {
    f->failed |= !dtype_is_float((Dtype)e->dtype) || f->r->natoms == RESCALE_ATOMS;
    if (!f->failed) f->r->atom[f->r->natoms++] = reference(f, e);
    return;
  }
  if (e->op == OP_READ || e->op == OP_REDUCE) f->failed = true;      // a subscript, or a range, that depends on them
  for (uint32_t i = 0; i < e->nargs && !f->failed; i++) find_atoms(f, e->arg[i]);
}

// ---- small algebra -----------------------------------------------------------------------------

static bool is_number(const Expr *e, double v) { return e->op == OP_CONST && dtype_is_float((Dtype)e->dtype) && e->u.v.f == v; }
static Expr *number(Find *f, const Expr *like, double v) { return expr_float(f->x, (Dtype)like->dtype, v, like->at); }

// Of two numbers, the number.
static Expr *op2(Find *f, Op op, Expr *a, Expr *b) {
  Expr *e = expr_op2(f->x, op, a, b, a->at);
  Scalar v;
  return a->op == OP_CONST && b->op == OP_CONST && expr_fold(e, &v) ? expr_scalar(f->x, (Dtype)e->dtype, v, e->at) : e;
}

// Numbers stand first, and together.
static Expr *times(Find *f, Expr *a, Expr *b) {
  if (is_number(a, 0) || is_number(b, 1)) return a;
  if (is_number(b, 0) || is_number(a, 1)) return b;
  if (b->op == OP_CONST && a->op != OP_CONST) return times(f, b, a);
  if (a->op == OP_CONST && b->op == OP_MUL && b->arg[0]->op == OP_CONST) return times(f, op2(f, OP_MUL, a, b->arg[0]), b->arg[1]);
  return op2(f, OP_MUL, a, b);
}

static Expr *plus(Find *f, Expr *a, Expr *b) {
  if (is_number(a, 0)) return b;
  if (is_number(b, 0)) return a;
  return a == b ? times(f, number(f, a, 2), a) : op2(f, OP_ADD, a, b);
}

static Expr *negated(Find *f, Expr *a) {
  if (a->op == OP_CONST) return is_number(a, 0) ? a : number(f, a, -a->u.v.f);
  return expr_op1(f->x, OP_NEG, a, a->at);
}

static Expr *minus(Find *f, Expr *a, Expr *b) {
  if (is_number(b, 0)) return a;
  return is_number(a, 0) ? negated(f, b) : op2(f, OP_SUB, a, b);
}


// ---- offset: e(u') - e(u), free of the reduction's indices; NULL: it is not ----------------------

static Expr *offset(Find *f, Expr *e);

static Expr *offset_product(Find *f, Expr *e) {
  for (int k = 0; k < 2; k++) {
    Expr *fixed = e->arg[1 - k];
    if (changes(f, fixed) || !is_free(f, fixed)) continue;
    Expr *d = offset(f, e->arg[k]);
    return d ? times(f, d, fixed) : NULL;
  }
  return NULL;
}

static bool is_least(const Expr *e) { return e->op == OP_CONST && dtype_is_float((Dtype)e->dtype) && e->u.v.f < 0 && e->u.v.f * 0 != 0; }

// A branch that is -inf stays -inf with any offset.
static Expr *offset_choice(Find *f, Expr *e) {
  if (changes(f, e->arg[0])) return NULL;
  if (is_least(e->arg[1])) return offset(f, e->arg[2]);
  if (is_least(e->arg[2])) return offset(f, e->arg[1]);
  Expr *a = offset(f, e->arg[1]), *b = offset(f, e->arg[2]);
  return a == b ? a : NULL;
}

static Expr *offset(Find *f, Expr *e) {
  if (!changes(f, e)) return number(f, e, 0);
  int k = atom_of(f, e);
  if (k >= 0) return minus(f, expr_var(f->x, f->r->atom[k]->now), expr_var(f->x, f->r->atom[k]->was));
  Expr *a = NULL, *b = NULL;
  switch (e->op) {
  case OP_ADD: case OP_SUB:
    a = offset(f, e->arg[0]);
    b = offset(f, e->arg[1]);
    return !a || !b ? NULL : e->op == OP_ADD ? plus(f, a, b) : minus(f, a, b);
  case OP_NEG: a = offset(f, e->arg[0]); return a ? negated(f, a) : NULL;
  case OP_MUL: return offset_product(f, e);
  case OP_DIV:
    if (changes(f, e->arg[1]) || !is_free(f, e->arg[1])) return NULL;
    a = offset(f, e->arg[0]);
    return a ? op2(f, OP_DIV, a, e->arg[1]) : NULL;
  case OP_SELECT: return offset_choice(f, e);
  default: return NULL;
  }
}

// ---- scale: e(u') / e(u), free of the reduction's indices; NULL: it is not -----------------------

static Expr *scale(Find *f, Expr *e);

static Expr *quotient(Find *f, Expr *a, Expr *b) { return is_number(b, 1) ? a : op2(f, OP_DIV, a, b); }

static Expr *scale_power(Find *f, Expr *e) {
  double n = e->arg[1]->op == OP_CONST ? e->arg[1]->u.v.f : 0.5;
  if (n < 1 || n > RESCALE_DEGREE || n != (double)(int)n) return NULL;
  Expr *r = scale(f, e->arg[0]), *all = r;
  for (int k = 1; k < (int)n && r; k++) all = times(f, all, r);
  return all;
}

// A branch that is 0 stays 0 with any factor.
static Expr *scale_choice(Find *f, Expr *e) {
  if (changes(f, e->arg[0])) return NULL;
  if (is_number(e->arg[1], 0)) return scale(f, e->arg[2]);
  if (is_number(e->arg[2], 0)) return scale(f, e->arg[1]);
  Expr *a = scale(f, e->arg[1]), *b = scale(f, e->arg[2]);
  return a == b ? a : NULL;
}

static Expr *scale(Find *f, Expr *e) {
  if (!changes(f, e)) return number(f, e, 1);
  int k = atom_of(f, e);
  if (k >= 0) {
    f->divides[k] = true;
    return op2(f, OP_DIV, expr_var(f->x, f->r->atom[k]->now), expr_var(f->x, f->r->atom[k]->was));
  }
  Expr *a = NULL, *b = NULL;
  switch (e->op) {
  case OP_MUL: case OP_DIV:
    a = scale(f, e->arg[0]);
    b = scale(f, e->arg[1]);
    return !a || !b ? NULL : e->op == OP_MUL ? times(f, a, b) : quotient(f, a, b);
  case OP_ADD: case OP_SUB:
    a = scale(f, e->arg[0]);
    b = scale(f, e->arg[1]);
    return a == b ? a : NULL;
  case OP_NEG: return scale(f, e->arg[0]);
  case OP_ABS: a = scale(f, e->arg[0]); return a ? expr_op1(f->x, OP_ABS, a, e->at) : NULL;
  case OP_EXP: case OP_EXP2: a = offset(f, e->arg[0]); return a ? expr_op1(f->x, (Op)e->op, a, e->at) : NULL;
  case OP_POW: return scale_power(f, e);
  case OP_SELECT: return scale_choice(f, e);
  default: return NULL;
  }
}

// ---- moment: derivatives by an atom ------------------------------------------------------------

static Expr *derivative(Find *f, Expr *e, const Expr *u);

static bool holds(const Expr *e, const Expr *u) {
  if (e == u) return true;
  for (uint32_t i = 0; i < e->nargs; i++) if (holds(e->arg[i], u)) return true;
  return false;
}

static Expr *derivative_product(Find *f, Expr *e, const Expr *u) {
  Expr *a = derivative(f, e->arg[0], u), *b = derivative(f, e->arg[1], u);
  return a && b ? plus(f, times(f, a, e->arg[1]), times(f, e->arg[0], b)) : NULL;
}

static Expr *derivative_power(Find *f, Expr *e, const Expr *u) {
  double n = e->arg[1]->op == OP_CONST ? e->arg[1]->u.v.f : 0.5;
  if (n < 1 || n > RESCALE_DEGREE || n != (double)(int)n) return NULL;
  Expr *a = derivative(f, e->arg[0], u), *lower = number(f, e, n);
  for (int k = 1; k < (int)n; k++) lower = times(f, lower, e->arg[0]);
  return a ? times(f, lower, a) : NULL;
}

// By the rules of arithmetic; NULL: e is no polynomial in u.
static Expr *derivative(Find *f, Expr *e, const Expr *u) {
  if (!holds(e, u)) return number(f, e, 0);
  if (e == u) return number(f, e, 1);
  Expr *a = NULL, *b = NULL;
  switch (e->op) {
  case OP_ADD: case OP_SUB:
    a = derivative(f, e->arg[0], u);
    b = derivative(f, e->arg[1], u);
    return !a || !b ? NULL : e->op == OP_ADD ? plus(f, a, b) : minus(f, a, b);
  case OP_NEG: a = derivative(f, e->arg[0], u); return a ? negated(f, a) : NULL;
  case OP_MUL: return derivative_product(f, e, u);
  case OP_DIV:
    if (holds(e->arg[1], u)) return NULL;
    a = derivative(f, e->arg[0], u);
    return a ? is_number(a, 0) ? a : op2(f, OP_DIV, a, e->arg[1]) : NULL;
  case OP_POW: return holds(e->arg[1], u) ? NULL : derivative_power(f, e, u);
  case OP_SELECT:
    if (holds(e->arg[0], u)) return NULL;
    a = derivative(f, e->arg[1], u);
    b = derivative(f, e->arg[2], u);
    return !a || !b ? NULL : a == b ? a : expr_select(f->x, e->arg[0], a, b, e->at);
  default: return NULL;
  }
}

// ---- the two forms -----------------------------------------------------------------------------

static bool set_scale(Find *f, int k) {
  Expr *c = scale(f, f->r->term[k]);
  f->r->factor[k] = c && is_number(c, 1) ? NULL : c;
  return c != NULL;
}

// The term as a polynomial in atom k whose coefficients the other atoms scale.
static bool try_moment(Find *f, int k) {
  Rescale *r = f->r;
  memset(f->divides, 0, sizeof f->divides);
  f->moment = r->moment = k;
  for (r->nstates = 1;; r->nstates++) {
    Expr *d = derivative(f, r->term[r->nstates - 1], r->atom[k]->atom);
    if (!d) return false;
    if (is_number(d, 0)) break;
    if (r->nstates > RESCALE_DEGREE) return false;
    r->term[r->nstates] = times(f, number(f, d, 1.0 / r->nstates), d);
  }
  for (int i = 0; i < r->nstates; i++) if (!set_scale(f, i)) return false;
  return true;
}

static bool find_form(Find *f, Expr *term, char rescales) {
  f->r->nstates = 1;
  f->r->term[0] = term;
  if (rescales != '*') return false;
  if (set_scale(f, 0)) return true;
  for (int k = 0; k < f->r->natoms; k++) if (try_moment(f, k)) return true;
  return false;
}

static bool ranges_change(Find *f, const Expr *reduce) {
  for (int k = 0; k < f->bind->n; k++)
    if (reads_earlier(f, reduce_lo(reduce, k)) || reads_earlier(f, reduce_hi(reduce, k))) return true;
  return reads_earlier(f, reduce_cond(reduce));
}

enum { MAX_TREE = 1000 };       // the functions above see a shared part once for each use of it

static int tree_size(const Expr *e, int most) {
  int n = 1;
  for (uint32_t i = 0; i < e->nargs && n <= most; i++) n += tree_size(e->arg[i], most - n);
  return n;
}

bool rescale_find(ExprTable *x, const Expr *reduce, RescaleEarlier earlier, void *cx, References *refs, Rescale *out) {
  Find f = { .x = x, .scratch = arena_create(), .earlier = earlier, .cx = cx, .bind = reduce->u.bind, .refs = refs, .r = out, .moment = -1 };
  *out = (Rescale){ .moment = -1 };
  Expr *term = reduce_term(reduce);
  f.failed = !dtype_is_float((Dtype)term->dtype) || tree_size(term, MAX_TREE) > MAX_TREE || ranges_change(&f, reduce);
  if (!f.failed) find_atoms(&f, term);
  bool ok = !f.failed && out->natoms > 0 && find_form(&f, term, reducers[reduce->u.bind->reducer].rescales);
  for (int k = 0; k < out->natoms && ok; k++) out->atom[k]->divides |= f.divides[k];
  arena_destroy(f.scratch);
  return ok;
}

// ---- states ------------------------------------------------------------------------------------

static Expr *scaled(ExprTable *x, const Rescale *r, int k, Expr *v, bool last) {
  if (!r->factor[k]) return v;
  Expr *all = expr_op2(x, OP_MUL, v, r->factor[k], v->at);
  if (last) return all;
  Expr *nothing = expr_op2(x, OP_EQ, v, expr_float(x, (Dtype)v->dtype, 0, v->at), v->at);
  return expr_select(x, nothing, v, all, v->at);
}

static double binomial(int n, int k) {
  double b = 1;
  for (int i = 0; i < k; i++) b = b * (n - i) / (i + 1);
  return b;
}

// sum over q >= k of C(q, k) * state[q] * d^(q - k): Taylor's formula, by Horner's rule from the highest derivative.
Expr *rescale_state(ExprTable *x, const Rescale *r, int k, Var *const *state, bool last) {
  Expr *own = scaled(x, r, k, expr_var(x, state[k]), last);
  if (r->moment < 0 || k + 1 == r->nstates) return own;
  Dtype t = (Dtype)own->dtype;
  Expr *d = expr_op2(x, OP_SUB, expr_var(x, r->atom[r->moment]->now), expr_var(x, r->atom[r->moment]->was), own->at), *all = NULL;
  for (int q = r->nstates - 1; q > k; q--) {
    Expr *v = scaled(x, r, q, expr_var(x, state[q]), last);
    double b = binomial(q, k);
    if (b != 1) v = expr_op2(x, OP_MUL, expr_float(x, t, b, own->at), v, own->at);
    all = all ? expr_op2(x, OP_ADD, v, expr_op2(x, OP_MUL, d, all, own->at), own->at) : v;
  }
  return expr_op2(x, OP_ADD, own, expr_op2(x, OP_MUL, d, all, own->at), own->at);
}

Expr *rescale_usable(ExprTable *x, const Reference *r, Expr *v) {
  Expr *ok = expr_op1(x, OP_ISFINITE, v, v->at);
  if (!r->divides) return ok;
  return expr_op2(x, OP_AND, ok, expr_op2(x, OP_NE, v, expr_float(x, (Dtype)v->dtype, 0, v->at), v->at), v->at);
}
