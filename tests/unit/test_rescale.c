// test_rescale.c: how sums follow when the results that they read change: what splits, the states, and what is refused.
//
// Each accepted term is checked by value: states summed with one set of references, carried over to another by
// rescale_state, must be what summing with the other gives. All in f64, so that the laws hold to its last digits.
#include "frontend/sema.h"
#include "ir/rescale.h"
#include "unit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

// Earlier results are the scalars u, v, w, p, q and k; the rest are inputs like any other.
static const char *const head = "fn f(x: f64[N], y: f64[N], b: bool[N], c: f64, u: f64, v: f64, w: f64, p: f64, q: f64, k: i64) -> s: f64";

enum { STEPS = 7, SCALARS = 6 };
static const char scalar_name[SCALARS] = { 'c', 'u', 'v', 'w', 'p', 'q' };
typedef struct Values { double scalar[SCALARS]; int64_t j; } Values;
static const double xs[STEPS] = { 0.5, -1.25, 2, 0.75, -0.5, 1.5, -2.25 }, ys[STEPS] = { 1.5, 0.25, -0.75, -2, 1, 0.5, 1.25 };
static const bool bs[STEPS] = { true, false, true, true, false, true, false };
static const Values before = { { 1.5, 0.75, -1.25, 2, 0.5, -0.25 }, 0 }, after = { { 1.5, -0.5, 2, 1.25, -2, 0.75 }, 0 };

typedef struct Case { Arena *a; ExprTable *x; Expr *reduce; References refs; Rescale r; bool found; } Case;

static bool is_earlier(void *cx, const Tensor *t) {
  (void)cx;
  return t->rank == 0 && strlen(t->name) == 1 && strchr("uvwpqk", *t->name);
}

static Case case_of(const char *body) {
  Case c = { .a = arena_create() };
  Diags *d = diags_create(c.a);
  const char *text = arena_printf(c.a, "%s {\n  s = %s\n}\n", head, body);
  Program *p = program_load(c.a, intern_create(c.a), d, "test.plait", text, strlen(text), NULL, NULL);
  Fn *f = d->errors ? NULL : program_elaborate(p, NULL, c.a);
  Buf out = buf_make(c.a);
  diags_print(d, &out, false);
  ck_assert_msg(f != NULL, "%s\n%s", text, out.s);
  c.x = f->x;
  c.reduce = f->eqns.v[0]->body;
  ck_assert_msg(c.reduce->op == OP_REDUCE, "%s is no reduction", body);
  c.refs.a = c.a;
  c.found = rescale_find(c.x, c.reduce, is_earlier, NULL, &c.refs, &c.r);
  return c;
}

// ---- values of expressions ---------------------------------------------------------------------

typedef struct Binding { const Var *var; double v; } Binding;
typedef struct Bindings { Binding v[32]; int n; } Bindings;
static void bind(Bindings *b, const Var *var, double v) { b->v[b->n++] = (Binding){ var, v }; }

static Scalar eval(const Expr *e, const Values *at, const Bindings *vars);

static Scalar eval_read(const Expr *e, const Values *at) {
  Scalar s = { .f = 0 };
  char name = *e->u.t->name;
  if (name == 'k') s.i = (int64_t)at->scalar[1] + 3;    // moves as u does
  if (name == 'b') s.i = bs[at->j];
  else if (name == 'x' || name == 'y') s.f = (name == 'x' ? xs : ys)[at->j];
  else for (int k = 0; k < SCALARS; k++) if (scalar_name[k] == name) s.f = at->scalar[k];
  return s;
}

static Scalar eval(const Expr *e, const Values *at, const Bindings *vars) {
  Scalar arg[4], out = { .f = NAN };
  switch (e->op) {
  case OP_CONST: return e->u.v;
  case OP_INDEX: return (Scalar){ .i = at->j };
  case OP_READ: return eval_read(e, at);
  case OP_VAR:
    for (int k = 0; k < vars->n; k++) if (vars->v[k].var == e->u.var) return (Scalar){ .f = vars->v[k].v };
    ck_abort_msg("a variable without a value");
  case OP_SELECT: return eval(e->arg[eval(e->arg[0], at, vars).i ? 1 : 2], at, vars);
  case OP_CAST: return dtype_cast(eval(e->arg[0], at, vars), (Dtype)e->arg[0]->dtype, (Dtype)e->aux);
  case OP_AND: return eval(e->arg[0], at, vars).i ? eval(e->arg[1], at, vars) : (Scalar){ .i = 0 };
  default: break;
  }
  for (uint32_t k = 0; k < e->nargs; k++) arg[k] = eval(e->arg[k], at, vars);
  ck_assert_msg(op_eval((Op)e->op, (Dtype)e->arg[0]->dtype, arg, &out), "%s has no value", ops[e->op].name);
  return out;
}

// The sum of a term over all steps.
static double total(const Expr *term, const Values *at) {
  Values here = *at;
  double sum = 0;
  for (here.j = 0; here.j < STEPS; here.j++) sum += eval(term, &here, &(Bindings){ .n = 0 }).f;
  return sum;
}

// ---- claims about a program ----------------------------------------------------------------------

// State k after the references have moved, by rescale_state from states that were summed before.
static double carried(Case *c, int k) {
  Var *state[RESCALE_DEGREE + 1];
  Bindings b = { .n = 0 };
  for (int i = 0; i < c->r.nstates; i++) bind(&b, state[i] = var_new(c->x, NULL, DT_F64), total(c->r.term[i], &before));
  for (int i = 0; i < c->r.natoms; i++) {
    bind(&b, c->r.atom[i]->was, eval(c->r.atom[i]->atom, &before, &b).f);
    bind(&b, c->r.atom[i]->now, eval(c->r.atom[i]->atom, &after, &b).f);
  }
  return eval(rescale_state(c->x, &c->r, k, state, false), &before, &b).f;
}

// The reduction runs beside what it reads, with so many states, and every state follows.
static void check_follows(const char *body, int nstates, bool moment) {
  Case c = case_of(body);
  ck_assert_msg(c.found, "%s is refused", body);
  ck_assert_msg(c.r.nstates == nstates && (c.r.moment >= 0) == moment, "%s: %d states, moment of %d", body, c.r.nstates, c.r.moment);
  ck_assert_ptr_eq(c.r.term[0], reduce_term(c.reduce));
  for (int k = 0; k < nstates; k++) {
    double got = carried(&c, k), want = total(c.r.term[k], &after);
    ck_assert_msg(fabs(got - want) <= 1e-12 * (1 + fabs(want)), "%s: state %d becomes %.17g, not %.17g", body, k, got, want);
  }
  arena_destroy(c.a);
}

static void check_scales(const char *body) { check_follows(body, 1, false); }

static void check_refused(const char *body) {
  Case c = case_of(body);
  ck_assert_msg(!c.found, "%s is taken", body);
  arena_destroy(c.a);
}

// ---- factors -----------------------------------------------------------------------------------

START_TEST(products_and_quotients_by_a_result_scale) {
  check_scales("sum[j](x[j] * u)");
  check_scales("sum[j](x[j] / u)");
  check_scales("sum[j](u / (x[j] * v))");
  check_scales("sum[j](x[j] * (u * u + 1))");          // one factor, which reads u twice
  check_scales("mean[j](x[j] * u)");
} END_TEST

START_TEST(signs_and_magnitudes_keep_the_factor) {
  check_scales("sum[j](-(x[j] * u))");
  check_scales("sum[j](abs(x[j] * u))");               // u changes its sign
  check_scales("sum[j](abs(x[j] / u) * v)");
} END_TEST

START_TEST(terms_of_one_factor_add_up) {
  check_scales("sum[j](x[j] * u + y[j] * u)");
  check_scales("sum[j](x[j] * u - y[j] * u)");
  check_refused("sum[j](exp(x[j] * u + x[j]))");
} END_TEST

START_TEST(whole_powers_of_a_factor_scale) {
  check_scales("sum[j]((x[j] * u) ** 2.0)");
  check_scales("sum[j]((x[j] * u) ** 3.0)");
  check_refused("sum[j](abs(x[j] * u) ** 1.5)");
  check_refused("sum[j](abs(x[j] * u) ** 5.0)");       // more than RESCALE_DEGREE
  check_refused("sum[j](abs(x[j] * u) ** y[j])");
} END_TEST

START_TEST(a_choice_that_the_data_makes_keeps_the_factor) {
  check_scales("sum[j](if b[j] then x[j] * u else 0.0)");
  check_scales("sum[j](if b[j] then 0.0 else x[j] * u)");
  check_scales("sum[j](if b[j] then x[j] * u else y[j] * u)");
  check_refused("sum[j](exp(if b[j] then x[j] * u else 1.0))");
  check_refused("sum[j](if x[j] > u then x[j] else 0.0)");
} END_TEST

START_TEST(several_results_scale_together) {
  check_scales("sum[j](exp(x[j] - u) * y[j] / v)");
  check_scales("sum[j](exp(x[j] - u) * exp2(y[j] - v))");
} END_TEST

// ---- offsets, behind an exponential --------------------------------------------------------------

START_TEST(an_exponential_turns_an_offset_into_a_factor) {
  check_scales("sum[j](exp(x[j] - u))");
  check_scales("sum[j](exp(u - x[j]))");
  check_scales("sum[j](exp2(x[j] - u))");
  check_scales("sum[j](exp(x[j] + u + v))");
  check_scales("sum[j](exp(-(x[j] - u)))");
} END_TEST

START_TEST(what_stays_the_same_multiplies_an_offset) {
  check_scales("sum[j](exp((x[j] - u) * 0.5))");
  check_scales("sum[j](exp(c * (x[j] - u)))");
  check_scales("sum[j](exp((x[j] - u) / c))");
  check_refused("sum[j](exp((x[j] - u) * v))");        // v moves too
  check_refused("sum[j](exp((x[j] - u) * y[j]))");     // each term has another offset
  check_refused("sum[j](exp((x[j] - u) / y[j]))");
  check_refused("sum[j](exp((x[j] - u) / v))");
} END_TEST

START_TEST(masked_terms_stay_masked) {
  check_scales("sum[j](exp(if b[j] then x[j] - u else -inf))");
  check_scales("sum[j](exp(if b[j] then -inf else x[j] - u))");
  check_scales("sum[j](exp(if b[j] then x[j] - u else y[j] - u))");
  check_refused("sum[j](exp(if b[j] then x[j] - u else 0.0))");
  check_refused("sum[j](exp(if x[j] > u then x[j] - u else -inf))");
} END_TEST

// ---- moments -----------------------------------------------------------------------------------

START_TEST(a_polynomial_in_a_result_runs_with_its_derivatives) {
  check_follows("sum[j](x[j] - u)", 2, true);
  check_follows("sum[j]((x[j] - u) ** 2.0)", 3, true);
  check_follows("sum[j]((x[j] - u) * (y[j] - u))", 3, true);
  check_follows("sum[j]((x[j] - u) ** 3.0)", 4, true);
  check_follows("sum[j]((x[j] - u) ** 4.0)", 5, true);
  check_refused("sum[j]((x[j] - u) ** 5.0)");
  check_refused("sum[j]((x[j] - u) ** 1.5)");
  check_refused("sum[j]((x[j] - u) ** (-1.0))");
} END_TEST

START_TEST(derivatives_follow_the_rules_of_arithmetic) {
  check_follows("sum[j](-(x[j] - u))", 2, true);
  check_follows("sum[j](x[j] + (u - y[j]))", 2, true);
  check_follows("sum[j]((x[j] - u) / (1.0 + y[j] * y[j]))", 2, true);
  check_follows("sum[j](x[j] * ((y[j] - u) ** 2.0))", 3, true);
  check_follows("sum[j](if b[j] then (x[j] - u) ** 2.0 else 0.0)", 3, true);
  check_follows("sum[j](if b[j] then x[j] - u else y[j] - u)", 2, true);
} END_TEST

START_TEST(other_results_scale_the_moments_of_one) {
  check_follows("sum[j]((x[j] - u) ** 2.0 * exp(y[j] - v))", 3, true);
  check_follows("sum[j]((x[j] - u) * (y[j] * v))", 2, true);
  check_refused("sum[j]((x[j] - u) * (y[j] - v))");
} END_TEST

START_TEST(no_polynomial_no_moments) {
  check_refused("sum[j](1.0 / (x[j] - u))");
  check_refused("sum[j](2.0 ** (x[j] - u))");
  check_refused("sum[j](if x[j] > u then x[j] - u else 0.0)");
  check_refused("sum[j](sqrt(abs(x[j] - u)))");
  check_refused("sum[j](abs(x[j] - u))");
  check_refused("sum[j](sin(x[j] * u))");
} END_TEST

// ---- what never follows ----------------------------------------------------------------------------

START_TEST(only_sums_follow) {
  check_refused("max[j](x[j] - u)");
  check_refused("min[j](x[j] * u)");
  check_refused("prod[j](x[j] * u)");
} END_TEST

START_TEST(a_reduction_that_reads_no_result_does_not_follow) {
  check_refused("sum[j](exp(x[j] - c))");
} END_TEST

START_TEST(filters_ranges_and_subscripts_of_results_are_refused) {
  check_refused("sum[j](x[j] * u if x[j] > v)");
  check_scales("sum[j](x[j] * u if x[j] > c)");
  check_refused("sum[j in 0 .. k](x[j] * u)");
  check_refused("sum[j in k .. N](x[j] * u)");
  check_refused("sum[j < N](x[(j + k) % N] * u)");
} END_TEST

START_TEST(integers_that_change_are_refused) {
  check_refused("sum[j](x[j] * f64(j + k))");
  check_scales("sum[j](x[j] * f64(k))");               // as a float it is a factor
} END_TEST

START_TEST(a_rounding_of_what_changes_is_refused) {
  check_refused("sum[j](f64(bf16(x[j] * u)))");
  check_refused("sum[j](f64(f32(x[j] - u)))");
} END_TEST

START_TEST(at_most_four_results_are_followed) {
  ck_assert_int_eq(RESCALE_ATOMS, 4);
  check_scales("sum[j](exp(x[j] - u) * exp(y[j] - v) * exp(x[j] + w) * exp(y[j] + p))");
  check_refused("sum[j](exp(x[j] - u) * exp(y[j] - v) * exp(x[j] + w) * exp(y[j] + p) * exp(x[j] * 2.0 - q))");
} END_TEST

// n products by u, added up.
static const char *products(Arena *a, int n) {
  Buf b = buf_make(a);
  buf_puts(&b, "sum[j](x[j] * u");
  for (int k = 1; k < n; k++) buf_printf(&b, " + (x[j] + %d.0) * u", k);
  buf_puts(&b, ")");
  return b.s;
}

START_TEST(very_large_terms_are_refused) {
  Arena *a = arena_create();
  check_scales(products(a, 50));
  Case c = case_of(products(a, 200));
  ck_assert(!c.found);
  arena_destroy(c.a);
  arena_destroy(a);
} END_TEST

// ---- references --------------------------------------------------------------------------------

START_TEST(reductions_of_one_pass_share_their_references) {
  Case c = case_of("sum[j](exp(x[j] - u) * v)");
  Rescale again;
  ck_assert_int_eq(c.refs.v.n, 2);
  ck_assert(rescale_find(c.x, c.reduce, is_earlier, NULL, &c.refs, &again));
  ck_assert_int_eq(c.refs.v.n, 2);
  for (int k = 0; k < 2; k++) ck_assert_ptr_eq(again.atom[k], c.r.atom[k]);
  arena_destroy(c.a);
} END_TEST

START_TEST(an_atom_is_the_largest_part_without_the_index) {
  Case c = case_of("sum[j](x[j] * (u * c + sqrt(abs(v))))");
  ck_assert(c.found);
  ck_assert_int_eq(c.r.natoms, 1);
  ck_assert_ptr_eq(c.r.atom[0]->atom, reduce_term(c.reduce)->arg[1]);
  arena_destroy(c.a);
} END_TEST

static bool usable(Case *c, int atom, double v) {
  Var *var = var_new(c->x, NULL, DT_F64);
  Bindings b = { .n = 0 };
  bind(&b, var, v);
  return eval(rescale_usable(c->x, c->r.atom[atom], expr_var(c->x, var)), &before, &b).i != 0;
}

START_TEST(a_reference_is_finite_and_not_zero_where_it_divides) {
  Case offset = case_of("sum[j](exp(x[j] - u))"), factor = case_of("sum[j](x[j] * u)");
  ck_assert(!offset.r.atom[0]->divides && factor.r.atom[0]->divides);
  Case *const both[] = { &offset, &factor };
  for (int k = 0; k < 2; k++)
    ck_assert(usable(both[k], 0, 1) && usable(both[k], 0, -2) && !usable(both[k], 0, INFINITY) && !usable(both[k], 0, -INFINITY) && !usable(both[k], 0, NAN));
  ck_assert(usable(&offset, 0, 0) && !usable(&factor, 0, 0) && !usable(&factor, 0, -0.0));
  arena_destroy(offset.a);
  arena_destroy(factor.a);
} END_TEST

// The state of exp(x - u) that holds `state`, when u moves from `was` to `now`.
static double moved(double state, double was, double now, bool last) {
  Case c = case_of("sum[j](exp(x[j] - u))");
  Var *v = var_new(c.x, NULL, DT_F64);
  Bindings b = { .n = 0 };
  bind(&b, v, state);
  bind(&b, c.r.atom[0]->was, was);
  bind(&b, c.r.atom[0]->now, now);
  double out = eval(rescale_state(c.x, &c.r, 0, &v, last), &before, &b).f;
  arena_destroy(c.a);
  return out;
}

START_TEST(nothing_times_any_factor_is_nothing_until_the_end) {
  ck_assert_double_eq(moved(0, 2000, -2000, false), 0);         // a factor beyond all floats
  ck_assert(isnan(moved(0, 2000, -2000, true)));
  ck_assert(isnan(moved(0, 0, NAN, true)));                     // a NaN reaches the result
  ck_assert_double_eq(moved(3, 1, 1, false), 3);
} END_TEST

START_TEST(moments_without_another_result_have_no_factor) {
  Case c = case_of("sum[j]((x[j] - u) ** 2.0)");
  ck_assert(c.found);
  for (int k = 0; k < c.r.nstates; k++) ck_assert_ptr_null(c.r.factor[k]);
  ck_assert(!c.r.atom[0]->divides);
  arena_destroy(c.a);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    products_and_quotients_by_a_result_scale, signs_and_magnitudes_keep_the_factor, terms_of_one_factor_add_up, whole_powers_of_a_factor_scale,
    a_choice_that_the_data_makes_keeps_the_factor, several_results_scale_together, an_exponential_turns_an_offset_into_a_factor,
    what_stays_the_same_multiplies_an_offset, masked_terms_stay_masked, a_polynomial_in_a_result_runs_with_its_derivatives,
    derivatives_follow_the_rules_of_arithmetic, other_results_scale_the_moments_of_one, no_polynomial_no_moments, only_sums_follow,
    a_reduction_that_reads_no_result_does_not_follow, filters_ranges_and_subscripts_of_results_are_refused, integers_that_change_are_refused,
    a_rounding_of_what_changes_is_refused, at_most_four_results_are_followed, very_large_terms_are_refused,
    reductions_of_one_pass_share_their_references, an_atom_is_the_largest_part_without_the_index,
    a_reference_is_finite_and_not_zero_where_it_divides, nothing_times_any_factor_is_nothing_until_the_end,
    moments_without_another_result_have_no_factor,
  };
  return UNIT_RUN("rescale", tests);
}
