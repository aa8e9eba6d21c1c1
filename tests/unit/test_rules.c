// Every row of rules.def keeps every value: both sides are evaluated on special and random values of every type of its kind.
#include "passes/rules.h"
#include "tests/unit/unit.h"
#include <math.h>
#include <string.h>

enum { VALUES = 24, RANDOM = 200 };

static const double floats[] = { 0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, 1e-45, -1e-45, 1.17549435e-38, 3.40282347e38, -3.40282347e38, 1e300, -1e300, 16777217, 0.1, 1e-300, 7, -7, INFINITY, -INFINITY, NAN };

static Scalar value(Dtype d, int k, unsigned long long *seed) {
  unsigned long long r = unit_random(seed);
  Scalar s = {0};
  if (d == DT_F32) s.f = k < VALUES ? (float)floats[k] : (float)ldexp((double)(int64_t)r, (int)(r % 200) - 130);
  else if (d == DT_F64) s.f = k < VALUES ? floats[k] : ldexp((double)(int64_t)r, (int)(r % 900) - 500);
  else if (d == DT_BOOL) s.i = (int64_t)(r & 1);
  else s.i = k == 0 ? 0 : k == 1 ? 1 : k == 2 ? -1 : k == 3 ? INT64_MAX : k == 4 ? INT64_MIN : k == 5 ? INT32_MIN : k == 6 ? INT32_MAX : (int64_t)r >> (r % 64);
  return dtype_is_int(d) ? dtype_cast(s, DT_I64, d) : s;
}

// Equal, NaN to NaN, and zeros by sign: a rule may not even change that.
static bool equal(Scalar a, Scalar b, Dtype d) {
  if (!dtype_is_float(d)) return a.i == b.i;
  if (isnan(a.f) || isnan(b.f)) return isnan(a.f) && isnan(b.f);
  return !memcmp(&a.f, &b.f, sizeof a.f);
}

// Rules whose two sides are different computations, within the operation's own error (ops.def).
static bool approximate(const Rule *r) { return strstr(r->from, "pow") || strstr(r->to, "rsqrt"); }

static bool close_enough(Scalar a, Scalar b, Dtype d) {
  if (equal(a, b, d)) return true;
  if (!isfinite(a.f) || !isfinite(b.f)) return false;
  double unit = d == DT_F32 ? 0x1p-23 : 0x1p-52, tiny = d == DT_F32 ? 0x1p-126 : 0x1p-1022;
  return fabs(a.f - b.f) <= 4 * unit * fabs(a.f) || (fabs(a.f) <= tiny && fabs(b.f) <= tiny);
}

// Constants for the letters. `select`'s condition is a bool, whatever the type of the rest.
static Expr *subject(ExprTable *x, const Pattern *p, Binding *b, Dtype d, int k, unsigned long long *seed) {
  if (p->letter) {
    Expr **by = &b->by[p->letter - 'a'];
    if (!*by) *by = p->letter == 'c' ? expr_bool(x, unit_random(seed) & 1, NO_SPAN) : expr_scalar(x, d, value(d, k, seed), NO_SPAN);
    return *by;
  }
  if (p->op == OP_NONE) return dtype_is_float(d) ? expr_float(x, d, p->number, NO_SPAN) : d == DT_BOOL ? expr_bool(x, p->number != 0, NO_SPAN) : expr_int(x, d, (int64_t)p->number, NO_SPAN);
  Expr *arg[3];
  for (int j = 0; j < p->nargs; j++) {
    bool condition = p->op == OP_SELECT && j == 0;
    if (condition && p->arg[0]->op == OP_NOT) {
      arg[j] = expr_op1(x, OP_NOT, subject(x, p->arg[0]->arg[0], b, DT_BOOL, k, seed), NO_SPAN);
    } else if (condition && !p->arg[0]->letter) {
      arg[j] = expr_bool(x, p->arg[0]->number != 0, NO_SPAN);
    } else {
      arg[j] = subject(x, p->arg[j], b, d, k + (p->arg[j]->letter == 'y' ? (int)(unit_random(seed) % VALUES) : 0), seed);
    }
  }
  return expr_make(x, p->op, d, 0, NULL, NO_SPAN, p->nargs, arg);
}

static void check_rule(const Rule *r, Dtype d, unsigned long long *seed) {
  Arena *a = arena_create();
  Pattern *from = pattern_parse(a, r->from), *to = pattern_parse(a, r->to);
  ck_assert_msg(from && to, "malformed: %s -> %s", r->from, r->to);
  for (int k = 0; k < VALUES + RANDOM; k++) {
    ExprTable *x = expr_table(a);
    Binding b = {{0}};
    Expr *left = subject(x, from, &b, d, k, seed), *right = pattern_build(x, to, &b, left);
    Scalar u, v;
    ck_assert(expr_fold(left, &u));
    ck_assert_ptr_nonnull(right);
    if (!expr_fold(right, &v)) ck_abort_msg("%s does not fold", r->to);
    ck_assert_msg(approximate(r) ? close_enough(u, v, d) : equal(u, v, d), "%s -> %s of %s: %a becomes %a (%lld, %lld)", r->from, r->to, dtypes[d].name, u.f, v.f, (long long)u.i, (long long)v.i);
  }
  arena_destroy(a);
}

START_TEST(every_rule_keeps_every_value) {
  unsigned long long seed = 12345;
  int checked = 0;
  for (int i = 0; i < nrules; i++)
    for (int d = DT_NONE + 1; d < DT_COUNT; d++) {
      Dtype t = (Dtype)d;
      if (!dtype_is_wide(t) || !rule_applies(&rules[i], t)) continue;
      // Kind A covers bool only where the operation exists for it.
      if (t == DT_BOOL && rules[i].kind == 'A' && strncmp(rules[i].from, "select", 6)) continue;
      check_rule(&rules[i], t, &seed);
      checked++;
    }
  ck_assert_int_gt(checked, nrules);
}
END_TEST

// The test must be able to fail: x + 0 is not x for x = -0.
START_TEST(a_rule_that_changes_a_zero_s_sign_is_seen) {
  Arena *a = arena_create();
  ExprTable *x = expr_table(a);
  Expr *zero = expr_float(x, DT_F32, 0, NO_SPAN), *negative = expr_float(x, DT_F32, -0.0, NO_SPAN);
  Scalar u;
  ck_assert(expr_fold(expr_op2(x, OP_ADD, negative, zero, NO_SPAN), &u));
  ck_assert(!equal(u, (Scalar){ .f = -0.0 }, DT_F32));
  arena_destroy(a);
}
END_TEST

START_TEST(malformed_patterns_are_refused) {
  Arena *a = arena_create();
  ck_assert_ptr_null(pattern_parse(a, "add(x"));
  ck_assert_ptr_null(pattern_parse(a, "nonsense(x)"));
  ck_assert_ptr_null(pattern_parse(a, "add(x, 1) y"));
  ck_assert_ptr_null(pattern_parse(a, ""));
  arena_destroy(a);
}
END_TEST

int main(void) {
  const TTest *tests[] = { every_rule_keeps_every_value, a_rule_that_changes_a_zero_s_sign_is_seen, malformed_patterns_are_refused };
  return UNIT_RUN("rules", tests);
}
