// coarse.c: mark the functions that may be computed coarsely because only results of narrow types depend on them.
//
//   fn f(x: bf16[N]) -> (y: bf16[N], z: f32[N]) {
//     y[i] = x[i] / (1 + exp(-x[i]))        exp of a relative error up to 2^-12
//     z[i] = exp(x[i])                      as exact as ever
//   }
//
// language.md, "Scalar functions built in": 2^-12 where only results of type bf16 or f8 depend on a function, 2^-15 where those
// are of type f16. The mark is Expr.aux of the function's node and so part of its identity; it is set here, before anything
// else, on the equations that the program has: fusion finds it and cannot change it. Targets print a row of math.def of
// that error where there is one.
//
// Method: the greatest mark that elements may have flows from results backwards, over equations and, in each, from a node to
// its operands. Less is marked than the language allows. See Note [What stays exact].
#include "base/limits.h"
#include "ir/rewrite.h"
#include "passes/pass.h"
#include <assert.h>

// Of a value: on which inputs it depends (a bit each, shared by inputs 64 apart; scalars have none), whether it comes of a
// function that could be marked, and its sign where that is known.
typedef struct Fact { uint64_t reads; bool function; int8_t sign; } Fact;

typedef struct Mark { Expr *e; uint8_t bound; uint64_t shape; } Mark;
typedef VEC(Mark) Marks;

typedef struct Coarse {
  Fn *f;
  Arena *a;
  Fact *of_tensor, *of_node;    // by id
  uint8_t *tensor, *node;       // by id: the greatest mark that it may have, as far as its readers are known
  VEC(Expr *) order;            // nodes of the equation at hand, operands first
  Marks *marks;                 // by place of the equation: functions in its body
  Map exact;                    // shapes of functions that stay exact
} Coarse;

static bool is_function(const Expr *e) {
  return ops[e->op].callable && ops[e->op].rule == R_FLOAT && !(ops[e->op].props & OP_CHEAP) && e->dtype == DT_F32;
}

// ---- facts, from inputs to results

static int sign_of_number(const Expr *e) {
  Dtype d = (Dtype)e->dtype;
  if (dtypes[d].kind == 'U' || d == DT_BOOL) return 1;
  if (dtype_is_float(d)) return e->u.v.f >= 0 ? 1 : e->u.v.f <= 0 ? -1 : 0;
  return e->u.v.i >= 0 ? 1 : -1;
}

// Of an operation on values of known signs s and t.
static int sign_of_operation(const Expr *e, int s, int t) {
  switch (e->op) {
  case OP_EXP: case OP_EXP2: case OP_ERFC: case OP_SQRT: case OP_RSQRT: case OP_ABS: case OP_COSH: case OP_ACOS: case OP_UNIFORM: return 1;
  case OP_CAST: case OP_TANH: case OP_ERF: case OP_ATAN: case OP_ASIN: case OP_SINH: case OP_CBRT: case OP_EXPM1: case OP_LOG1P: return s;
  case OP_NEG: return -s;
  case OP_MUL: return e->arg[0] == e->arg[1] ? 1 : s * t;
  case OP_DIV: return s * t;
  case OP_ADD: return s == t ? s : 0;
  case OP_SUB: return s == -t ? s : 0;
  case OP_MAX: return s == 1 || t == 1 ? 1 : s == t ? s : 0;
  case OP_MIN: return s == -1 || t == -1 ? -1 : s == t ? s : 0;
  case OP_POW: return s == 1;
  default: return 0;
  }
}

static int sign_of(const Coarse *c, const Expr *e) {
  const Fact *fact = c->of_node;
  switch (e->op) {
  case OP_CONST: return sign_of_number(e);
  case OP_DIM: case OP_INDEX: return 1;
  case OP_READ: {
    int s = c->of_tensor[e->u.t->id].sign;
    return read_default(e) && fact[read_default(e)->id].sign != s ? 0 : s;
  }
  case OP_REDUCE: return fact[reduce_term(e)->id].sign;
  case OP_SELECT: return fact[e->arg[1]->id].sign == fact[e->arg[2]->id].sign ? fact[e->arg[1]->id].sign : 0;
  default: return e->nargs ? sign_of_operation(e, fact[e->arg[0]->id].sign, e->nargs > 1 ? fact[e->arg[1]->id].sign : 0) : 0;
  }
}

static void note_node(void *cx, Expr *e) {
  Coarse *c = cx;
  Fact made = {.function = is_function(e)};
  if (e->op == OP_READ) made = c->of_tensor[e->u.t->id];
  for (uint32_t k = 0; k < e->nargs; k++) {
    made.reads |= c->of_node[e->arg[k]->id].reads;
    made.function |= c->of_node[e->arg[k]->id].function;
  }
  made.sign = (int8_t)sign_of(c, e);
  c->of_node[e->id] = made;
}

static void note_tensors(Coarse *c) {
  for (int i = 0; i < c->f->tensors.n; i++) {
    const Tensor *t = c->f->tensors.v[i];
    c->of_tensor[i] = (Fact){.reads = t->rank ? UINT64_C(1) << i % 64 : 0, .sign = dtypes[t->dtype].kind == 'U'};
  }
  for (int i = 0; i < c->f->eqns.n; i++) {
    Eqn *q = c->f->eqns.v[i];
    if (q->recurrent || q->base) {        // it depends on what stands later, or was there before
      c->of_tensor[q->def->id] = (Fact){.reads = UINT64_MAX, .function = true};
      continue;
    }
    expr_visit(c->a, q->body, note_node, c);
    c->of_tensor[q->def->id] = c->of_node[q->body->id];
    if (q->def->fmt) c->of_tensor[q->def->id].sign = 0;
  }
}

// ---- marks, from results to inputs

static uint8_t mark_of_result(const Tensor *t) {
  if (t->fmt) return EXACT;
  switch (t->dtype) {
  case DT_BF16: case DT_F8E4M3: case DT_F8E5M2: return COARSE_BF16;
  case DT_F16: return COARSE_F16;
  default: return EXACT;
  }
}

static void lower_to(uint8_t *mark, uint8_t most) {
  if (*mark > most) *mark = most;
}

// A sum of a and b in which a's relative error cannot grow much: both have one sign, or b is data that has nothing to do with a.
static bool keeps_digits(const Coarse *c, const Expr *e, const Expr *a, const Expr *b) {
  const Fact *p = &c->of_node[a->id], *q = &c->of_node[b->id];
  if (p->sign && p->sign == (e->op == OP_SUB ? -q->sign : q->sign)) return true;
  return !q->function && q->reads && !(p->reads & q->reads);
}

// A comparison of a with 0, where a's sign is known: a relative error makes nothing zero that was not, nor the other way round.
static bool is_with_zero(const Coarse *c, const Expr *a, const Expr *b) {
  return expr_is_const(b) && dtype_is_float((Dtype)b->dtype) && b->u.v.f == 0 && c->of_node[a->id].sign;
}

// Operations whose relative error is about that of their operands.
static const bool carries[OP_COUNT_] = {
  [OP_MUL] = true, [OP_DIV] = true, [OP_NEG] = true, [OP_ABS] = true, [OP_MIN] = true, [OP_MAX] = true, [OP_SQRT] = true,
  [OP_RSQRT] = true, [OP_CBRT] = true, [OP_TANH] = true, [OP_ERF] = true, [OP_ATAN] = true,
};

static bool carries_term(Reducer r) { return r == RED_SUM || r == RED_MEAN || r == RED_MAX || r == RED_MIN; }

// What operand k of e may have when e may have `most`.
static uint8_t mark_of_operand(const Coarse *c, const Expr *e, uint32_t k, uint8_t most) {
  switch (e->op) {
  case OP_ADD: case OP_SUB: return keeps_digits(c, e, e->arg[k], e->arg[1 - k]) ? most : EXACT;
  case OP_EQ: case OP_NE: case OP_LT: case OP_LE: case OP_GT: case OP_GE:
    return is_with_zero(c, e->arg[k], e->arg[1 - k]) ? COARSE_BF16 : EXACT;
  case OP_SELECT: return k ? most : EXACT;
  case OP_CAST: return dtype_is_float((Dtype)e->aux) ? most : EXACT;
  case OP_READ: return e->arg[k] == read_default(e) ? most : EXACT;
  case OP_REDUCE: return e->arg[k] == reduce_term(e) && carries_term(e->u.bind->reducer) ? most : EXACT;
  default: return carries[e->op] ? most : EXACT;
  }
}

static void mark_down(Coarse *c, const Expr *e) {
  uint8_t most = c->node[e->id];
  if (e->op == OP_READ) lower_to(&c->tensor[e->u.t->id], most);
  for (uint32_t k = 0; k < e->nargs; k++) lower_to(&c->node[e->arg[k]->id], mark_of_operand(c, e, k, most));
}

static void note_order(void *cx, Expr *e) {
  Coarse *c = cx;
  c->node[e->id] = COARSE_BF16;
  vec_push(c->a, &c->order, e);
}

static void forbid(void *cx, Expr *e) {
  Coarse *c = cx;
  c->node[e->id] = EXACT;
  if (e->op == OP_READ) c->tensor[e->u.t->id] = EXACT;
}

// Two nodes that are one but for the names of their indices have one shape, in whichever equations they stand.
static void keep_mark(Coarse *c, int at, Expr *e) {
  Mark m = {e, c->node[e->id], expr_shape_hash(e, e->free->n, e->free->ix)};
  vec_push(c->a, &c->marks[at], m);
  if (m.bound == EXACT) map_put(&c->exact, m.shape, e);
}

static void mark_equation(Coarse *c, int at) {
  Eqn *q = c->f->eqns.v[at];
  c->order.n = 0;
  expr_visit(c->a, q->body, note_order, c);
  if (q->cond) expr_visit(c->a, q->cond, forbid, c);
  for (int k = 0; k < q->nstore; k++) expr_visit(c->a, q->store[k], forbid, c);
  lower_to(&c->node[q->body->id], q->recurrent ? EXACT : c->tensor[q->def->id]);
  for (int k = c->order.n - 1; k >= 0; k--) {
    mark_down(c, c->order.v[k]);
    if (is_function(c->order.v[k])) keep_mark(c, at, c->order.v[k]);
  }
}

static void mark_equations(Coarse *c) {
  for (int i = 0; i < c->f->tensors.n; i++) c->tensor[i] = fn_is_output(c->f->tensors.v[i]) ? mark_of_result(c->f->tensors.v[i]) : COARSE_BF16;
  for (int i = c->f->eqns.n - 1; i >= 0; i--) mark_equation(c, i);
}

// ---- the new bodies

static void rewrite(Coarse *c, int at) {
  Map aux = map_make(c->a);
  for (int k = 0; k < c->marks[at].n; k++) {
    const Mark *m = &c->marks[at].v[k];
    if (m->bound != EXACT && !map_get(&c->exact, m->shape)) map_putp(&aux, m->e, (void *)(uintptr_t)(m->bound + 1));
  }
  eqn_set_aux(c->f->x, c->a, c->f->eqns.v[at], &aux);
}

bool pass_coarse(Pipe *p) {
  Fn *f = p->fn;
  Coarse c = {.f = f, .a = p->scratch};
  c.of_tensor = arena_array(c.a, Fact, f->tensors.n + 1);
  c.of_node = arena_array(c.a, Fact, f->x->n + 1);
  c.tensor = arena_array(c.a, uint8_t, f->tensors.n + 1);
  c.node = arena_array(c.a, uint8_t, f->x->n + 1);
  c.marks = arena_array(c.a, Marks, f->eqns.n + 1);
  c.exact = map_make(c.a);
  note_tensors(&c);
  mark_equations(&c);
  for (int i = 0; i < f->eqns.n; i++) rewrite(&c, i);
  return true;
}

// Note [What stays exact]
// -----------------------
// The language counts results only. A coarse value that is then subtracted from one nearly as large leaves nothing but its
// error, though, and where the exact function would have left digits, a user sees wrong ones. So the mark passes only where
// a relative error stays about as large as it is:
//
// - products, quotients, roots, tanh, erf and atan of it, least and greatest values, choices, casts to floats;
// - a sum or difference whose operands are known not to cancel, by their signs (1 + exp(-x)), or whose other operand is data that
//   comes of other inputs (a residual: r + gelu(x)). Data brings an error of its own, greater than ours if it is stored in
//   16 bits. 1 + erf(x) and x - tanh(x) are neither: there the function stays exact;
// - sums and means over an index, whatever the signs: such a sum is no better than its terms.
//
// It does not pass through another function's argument (exp(b * log(x)) would multiply the error by b * log(x)), products over
// an index, floor and the like, comparisons (but for z == 0, which is what it was), conditions, subscripts, casts to integers, or a recurrence, where errors add up.
//
// A function that stays exact in one place and could be coarse in another (softmax to bf16, with the sum as an f32 result) stays
// exact in both, lest it be computed twice. The table of shapes is one of hashes: two unlike functions with one hash would
// only leave a function exact.
