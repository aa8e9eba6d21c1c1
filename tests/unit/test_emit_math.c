// test_emit_math.c: what prints for operations, casts and storage types has the meaning of ops.def and dtype.c.
#include "built.h"
#include "ir/rewrite.h"
#include "tools/math/loops.h"
#include "unit.h"
#include <float.h>
#include <math.h>
#include <stdint.h>

enum { MOST_RESULTS = 60 };

static void *new_array(size_t n) {
  void *p = calloc(n ? n : 1, 1);
  ck_assert_ptr_nonnull(p);
  return p;
}

static void must_run(const Make *m, const View *params, const View *results) {
  Fault fault;
  ck_assert_int_eq(built_run(m, params, results, &fault), CALL_OK);
}

// The same value, any NaN being equal to any other.
static bool same_value(Dtype wide, Scalar a, Scalar b) {
  if (!dtype_is_float(wide)) return a.u == b.u;
  if (isnan(a.f) || isnan(b.f)) return isnan(a.f) && isnan(b.f);
  return a.f == b.f && signbit(a.f) == signbit(b.f);
}

static bool is_near(Dtype wide, Scalar got, Scalar want, double ulp) {
  if (same_value(wide, got, want)) return true;
  if (!dtype_is_float(wide) || ulp <= .5 || isnan(got.f) || isnan(want.f) || isinf(want.f)) return false;
  double unit = wide == DT_F32 ? nextafterf(fabsf((float)want.f), INFINITY) - fabsf((float)want.f) : nextafter(fabs(want.f), INFINITY) - fabs(want.f);
  return fabs(got.f - want.f) <= (ulp + .5) * unit;
}

static const double float_values[] = {
  0.0, -0.0, 1, -1, 0.5, -0.75, 1.5, -2.5, 3, 7, -7, 1e-3, 100.25, 1e10, -1e10, 0x1p-126, -0x1p-130, 0x1p-149, 0x1.fffffep127,
  2147483648.0, -2147483648.0, 4294967296.0, 0x1p63, 0x1p64, 127.5, -128.5, 65504, 65519, 65520, 65536, 448, 464, 480, 57344, 61440,
  1.0009765625, 1.00146484375, 1.00048828125, 0x1.01p0, 0x1.03p0, 0x1.0100000001p0, 0x1.00800000000001p0, INFINITY, -INFINITY, NAN,
};
static const int64_t int_values[] = {
  0, 1, -1, 2, -2, 3, 5, -7, 8, 15, 16, 31, 32, 33, 63, 64, 100, -100, 127, 128, 255, 256, 32767, 32768, 65535, 65536,
  INT32_MAX, INT32_MIN, (int64_t)INT32_MAX + 1, (int64_t)UINT32_MAX, (int64_t)UINT32_MAX + 1, 0x40400001, 0x7fffff80, (1ll << 53) + 1,
  0x4040000000000001, INT64_MAX, INT64_MIN, INT64_MIN + 1, -(1ll << 40),
};
enum { NFLOATS = sizeof float_values / sizeof *float_values, NINTS = sizeof int_values / sizeof *int_values };

static int count_values(Dtype d) { return dtype_is_float(d) ? NFLOATS : d == DT_BOOL ? 2 : NINTS; }

// Value k, as the wide type d has it.
static Scalar value_of(Dtype d, int k) {
  if (dtype_is_float(d)) return dtype_cast((Scalar){.f = float_values[k]}, DT_F64, d);
  if (d == DT_BOOL) return (Scalar){.u = (uint64_t)k};
  return dtype_cast((Scalar){.i = int_values[k]}, DT_I64, d);
}

static Make one_loop(const char *name, Expr **n) {
  Make m = make_plan(name);
  *n = make_dim(&m, "N");
  return m;
}

static void fill_values(Dtype d, void *array, int n, int step) {
  for (int i = 0; i < n; i++) dtype_store(d, array, i, value_of(d, i / step % count_values(d)));
}

// ---- operations --------------------------------------------------------------------------------

static bool exists_for(Op op, Dtype d) {
  Scalar a[3] = {value_of(d, 1), value_of(d, 1), value_of(d, 1)}, out;
  OpRule rule = ops[op].rule;
  bool structural = rule == R_NONE, joined = d == DT_BOOL && rule != R_BITS && rule != R_LOGIC && rule != R_COMPARE;     // as i32
  return !structural && !joined && ops[op].arity > 0 && op_eval(op, d, a, &out);
}

static int make_ops(Make *m, Dtype d, Expr *n, Op *op) {
  Tensor *in[3];
  const char *const names[] = {"a", "b", "c"};
  int count = 0;
  for (int k = 0; k < 3; k++) in[k] = make_param(m, names[k], d, 1, &n);
  make_kernel(m, "all_ops");
  Expr *i = make_for(m, "i", n, HOW_PAR_VEC);
  for (int o = 0; o < OP_COUNT_; o++) {
    if (!exists_for((Op)o, d)) continue;
    Expr *operand[3];
    for (int k = 0; k < ops[o].arity; k++) operand[k] = make_read(m, in[k], &i);
    Expr *e = expr_op(m->x, (Op)o, operand, NO_SPAN);
    make_store(m, make_result(m, "r", (Dtype)e->dtype, 1, &n), &i, e);
    op[count++] = (Op)o;
  }
  make_end(m);
  return count;
}

static void check_op(Dtype d, Op op, const void *const *in, const void *out, int n) {
  for (int i = 0; i < n; i++) {
    Scalar a[3] = {dtype_load(d, in[0], i), dtype_load(d, in[1], i), dtype_load(d, in[2], i)}, want, got;
    op_eval(op, d, a, &want);
    got = dtype_load(op_dtype(op, d), out, i);
    bool flushed = dtype_is_float(d) && fabs(want.f) < 0x1p-126 && fabs(got.f) < 0x1p-126 && ops[op].ulp > .5;
    ck_assert_msg(flushed || is_near(op_dtype(op, d), got, want, ops[op].ulp), "%s of %s: (%g, %g) or (%lld, %lld) gives %.9g or %lld, not %.9g or %lld",
                  ops[op].name, dtypes[d].name, a[0].f, a[1].f, (long long)a[0].i, (long long)a[1].i, got.f, (long long)got.i, want.f, (long long)want.i);
  }
}

static void check_ops(Dtype d) {
  Expr *size;
  Make m = one_loop("all", &size);
  Op op[MOST_RESULTS];
  int count = make_ops(&m, d, size, op), nv = count_values(d), n = nv * nv;
  void *in[3], *out[MOST_RESULTS];
  View params[3], results[MOST_RESULTS];
  const int step[] = {1, nv, 3};
  for (int k = 0; k < 3; k++) {
    in[k] = new_array((size_t)n * 8);
    fill_values(d, in[k], n, step[k]);
    params[k] = view1(in[k], n);
  }
  for (int k = 0; k < count; k++) results[k] = view1(out[k] = new_array((size_t)n * 8), n);
  must_run(&m, params, results);
  for (int k = 0; k < count; k++) check_op(d, op[k], (const void *const *)in, out[k], n);
  for (int k = 0; k < 3; k++) free(in[k]);
  for (int k = 0; k < count; k++) free(out[k]);
  arena_destroy(m.a);
}

START_TEST(operations_on_f32_mean_what_their_rows_say) { check_ops(DT_F32); } END_TEST
START_TEST(operations_on_f64_mean_what_their_rows_say) { check_ops(DT_F64); } END_TEST
START_TEST(operations_on_i32_mean_what_their_rows_say) { check_ops(DT_I32); } END_TEST
START_TEST(operations_on_i64_mean_what_their_rows_say) { check_ops(DT_I64); } END_TEST
START_TEST(operations_on_u32_mean_what_their_rows_say) { check_ops(DT_U32); } END_TEST
START_TEST(operations_on_u64_mean_what_their_rows_say) { check_ops(DT_U64); } END_TEST
START_TEST(operations_on_bool_mean_what_their_rows_say) { check_ops(DT_BOOL); } END_TEST

static const Op own[] = {OP_EXP, OP_EXP2, OP_EXPM1, OP_LOG, OP_LOG2, OP_LOG1P, OP_TANH, OP_ERF, OP_ERFC};
enum { OWN = sizeof own / sizeof *own, SWEEP = 9973 };

// Every SWEEP-th float of all; below 2^-126 results may be 0.
START_TEST(functions_of_our_own_keep_to_their_accuracy_over_all_floats) {
  Expr *size;
  Make m = one_loop("sweep", &size);
  Tensor *x = make_param(&m, "x", DT_F32, 1, &size);
  make_kernel(&m, "sweep_all");
  Expr *i = make_for(&m, "i", size, HOW_PAR_VEC);
  for (int k = 0; k < OWN; k++) make_store(&m, make_result(&m, "y", DT_F32, 1, &size), &i, make_op1(&m, own[k], make_read(&m, x, &i)));
  make_end(&m);
  int n = (int)((1ull << 32) / SWEEP);
  float *in = new_array((size_t)n * 4), *out[OWN];
  for (int k = 0; k < n; k++) dtype_store(DT_F32, in, k, dtype_decode(DT_F32, (uint64_t)k * SWEEP));
  const char *text = built_text(&m, true);
  const Way ways[] = {{"clang", "-O3 -march=native"}, {"gcc", "-O3"}};      // with and without FMA
  for (int w = 0; w < 2; w++) {
    void *so = built_load(ways[w].cc, ways[w].flags, text), *arg[OWN + 1] = {in};
    for (int k = 0; k < OWN; k++) arg[k + 1] = out[k] = new_array((size_t)n * 4);
    built_entry(so)(arg, (long long[]){n}, NULL, (long long[]){0, 0});
    for (int k = 0; k < OWN; k++) {
      for (int e = 0; e < n; e++) {
        Scalar a = {.f = in[e]}, want;
        op_eval(own[k], DT_F64, &a, &want);
        bool tiny = fabs(want.f) < 0x1p-126 && fabs((double)out[k][e]) <= 0x1p-126;
        ck_assert_msg(tiny || is_near(DT_F32, (Scalar){.f = out[k][e]}, dtype_cast(want, DT_F64, DT_F32), ops[own[k]].ulp), "%s of %a is %a, not %a",
                      ops[own[k]].name, in[e], out[k][e], want.f);
      }
      free(out[k]);
    }
    dlclose(so);
  }
  free(in);
  arena_destroy(m.a);
} END_TEST

// ---- functions that Clang's PTX carries along -----------------------------------------------------

typedef void Doubles(double *y, const double *x, int n);

static void check_doubles(const char *name, Math row, double (*exact)(double), double ulp, const double *x, double *y, int n) {
  char text[4096];
  snprintf(text, sizeof text,
           "static double __longlong_as_double(long long v) { double x; __builtin_memcpy(&x, &v, 8); return x; }\n"
           "static long long __double_as_longlong(double x) { long long v; __builtin_memcpy(&v, &x, 8); return v; }\n"
           "static %s\nvoid doubles(double *y, const double *x, int n) {\n  for (int i = 0; i < n; i++) y[i] = %s(x[i]);\n}\n", math_functions[row].text, name);
  void *so = built_load("gcc", "-O2 -mfma -w", text), *address = dlsym(so, "doubles");
  Doubles *f;
  ck_assert_ptr_nonnull(address);
  memcpy(&f, &address, sizeof f);
  f(y, x, n);
  for (int i = 0; i < n; i++)
    ck_assert_msg(is_near(DT_F64, (Scalar){.f = y[i]}, (Scalar){.f = exact(x[i])}, ulp), "%s(%a) is %a, not %a", name, x[i], y[i], exact(x[i]));
  dlclose(so);
}

// Special values, every exponent, arguments of exp with a finite result, and where a result or an argument is subnormal.
START_TEST(functions_of_doubles_for_a_compiler_without_them_keep_their_bounds) {
  enum { RANDOM = 20000, N = NFLOATS + 4 * RANDOM };
  static double x[N], y[N];
  unsigned long long state = 0x9876;
  memcpy(x, float_values, sizeof float_values);
  for (int i = NFLOATS; i < N; i++) {
    uint64_t bits = unit_random(&state);
    double unit = ldexp((double)(bits >> 11), -53), any;
    memcpy(&any, &bits, sizeof any);
    x[i] = i % 4 == 0 ? any : i % 4 == 1 ? 1460 * unit - 750 : i % 4 == 2 ? ldexp(unit, -1022 - (int)(bits % 40)) : 0.5 + 1.5 * unit;
  }
  check_doubles("library_exp", MATH_cuda_library_exp, exp, ops[OP_EXP].ulp, x, y, N);
  check_doubles("library_log", MATH_cuda_library_log, log, ops[OP_LOG].ulp, x, y, N);
} END_TEST

// ---- quotients by products ---------------------------------------------------------------------

typedef void Quotients(float *y, const float *x, float d, int n);

static Quotients *quotients_by(const Way *w, void **so) {
  char text[2048];
  snprintf(text, sizeof text, "static inline %s\nvoid quotients(float *y, const float *x, float d, int n) {\n  for (int i = 0; i < n; i++) y[i] = quotient_f32(x[i], d);\n}\n",
           math_functions[MATH_quotient_f32].text);
  void *address = dlsym(*so = built_load(w->cc, w->flags, text), "quotients");
  Quotients *f;
  ck_assert_ptr_nonnull(address);
  memcpy(&f, &address, sizeof f);
  return f;
}

// Units in the last place of x / d, of which those below 2^-126 are 2^-149 each.
static double units_off(float x, float d, float y) {
  double exact = (double)x / (double)d, size = fabs(exact);
  return fabs(y - exact) / ldexp(1, (size < 0x1p-126 ? -126 : ilogb(size)) - 23);
}

static void check_quotient(const Way *w, float x, float d, float y) {
  float want = x / d;
  bool special = isnan(want) || isinf(want) || want == 0 || isinf(y) || isnan(y), tiny = fabsf(x) < 0x1p-100f;
  bool same = isnan(want) ? isnan(y) : y == want && signbit(y) == signbit(want);
  bool lost = fabsf(want) <= 0x1p-149f && fabsf(y) <= 0x1p-149f && signbit(y) == signbit(want) && x != 0;      // to 0, or to the least float
  ck_assert_msg(special ? same || lost : units_off(x, d, y) <= (tiny ? 1.6 : .501), "%s: %a / %a is %a, not %a", w->flags, (double)x, (double)d, (double)y, (double)want);
}

// All exponents of the divisor, those that are scaled among them, beside special values and random ones.
START_TEST(a_quotient_by_a_product_is_that_of_a_division_and_keeps_special_values) {
  enum { RANDOM = 4000, N = NFLOATS + RANDOM };
  static const Way ways[] = {{"gcc", "-O3 -mfma"}, {"clang", "-O3 -march=native -mfma"}, {"gcc", "-O2"}, {"clang", "-O1 -mfma " BUILT_UBSAN}};
  static float x[N], y[N];
  unsigned long long state = 0x1234567;
  for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
    void *so;
    Quotients *f = quotients_by(&ways[w], &so);
    for (int k = 0; k < NFLOATS + 600; k++) {
      float d = (float)(k < NFLOATS ? float_values[k] : 0);
      uint32_t bits = (uint32_t)(unit_random(&state) >> 32);
      if (k >= NFLOATS) memcpy(&d, &bits, 4);
      for (int i = 0; i < N; i++) {
        bits = (uint32_t)(unit_random(&state) >> 32);
        if (i < NFLOATS) x[i] = (float)float_values[i];
        else memcpy(&x[i], &bits, 4);
      }
      f(y, x, d, N);
      for (int i = 0; i < N; i++) check_quotient(&ways[w], x[i], d, y[i]);
    }
    dlclose(so);
  }
} END_TEST

// ---- coarse forms ------------------------------------------------------------------------------

static Expr *marked(Make *m, Op op, Form form, int exactness, Expr *const *operand) {
  return expr_make(m->x, op, DT_F32, (int)form * EXACTNESSES + exactness, NULL, NO_SPAN, ops[op].arity, operand);
}

static bool prints(Op op, Form form, int exactness, const char *call) {
  Expr *size;
  Make m = one_loop("coarse", &size);
  Tensor *x = make_param(&m, "x", DT_F32, 1, &size), *y = make_result(&m, "y", DT_F32, 1, &size);
  make_kernel(&m, "coarse_y");
  Expr *i = make_for(&m, "i", size, HOW_PAR_VEC), *operand[] = {make_read(&m, x, &i)};
  make_store(&m, y, &i, marked(&m, op, form, exactness, operand));
  make_end(&m);
  bool found = strstr(built_text(&m, true), call) != NULL;
  arena_destroy(m.a);
  return found;
}

START_TEST(a_marked_function_prints_the_coarsest_row_that_is_allowed) {
  ck_assert(prints(OP_EXP, FORM_ANY, EXACT, "= exp_f32((x + i0)[lane])"));
  ck_assert(prints(OP_EXP, FORM_ANY, COARSE_F16, "= exp_f32_f16((x + i0)[lane])"));
  ck_assert(prints(OP_EXP, FORM_ANY, COARSE_BF16, "= exp_f32_bf16((x + i0)[lane])"));
  ck_assert(prints(OP_ERF, FORM_ANY, COARSE_BF16, "= erf_f32_f16((x + i0)[lane])"));       // there is no coarser one
  ck_assert(prints(OP_TANH, FORM_ANY, COARSE_F16, "= tanh_f32((x + i0)[lane])"));          // nor here one at all
  ck_assert(prints(OP_CBRT, FORM_ANY, COARSE_BF16, "= cbrt_f32((x + i0)[lane])"));
  ck_assert(prints(OP_EXP, FORM_ADDEND, COARSE_F16, "= exp_addend_f32_f16((x + i0)[lane])"));
  ck_assert(prints(OP_EXP2, FORM_NONPOSITIVE, COARSE_F16, "= exp2_f32_f16((x + i0)[lane])"));      // of exp2 there is no such form
} END_TEST

// All functions of the sweep's list that are coarse, on all pairs of special values, by all of built_ways.
START_TEST(coarse_functions_have_the_special_values_and_their_error) {
  Expr *size;
  Make m = one_loop("coarse", &size);
  LoopFn list[LOOPS_MOST];
  int count = 0, all = loops_list(list), n = NFLOATS * NFLOATS;
  Tensor *x = make_param(&m, "x", DT_F32, 1, &size), *y = make_param(&m, "y", DT_F32, 1, &size);
  make_kernel(&m, "coarse_all");
  Expr *i = make_for(&m, "i", size, HOW_PAR_VEC), *operand[] = {make_read(&m, x, &i), make_read(&m, y, &i)};
  for (int k = 0; k < all; k++) {
    if (list[k].exact || list[k].relative == 0) continue;
    Expr *value[] = {list[k].form == FORM_NONPOSITIVE ? expr_op1(m.x, OP_NEG, expr_op1(m.x, OP_ABS, operand[0], NO_SPAN), NO_SPAN) : operand[0], operand[1]};
    make_store(&m, make_result(&m, "r", DT_F32, 1, &size), &i,
               marked(&m, list[k].op, list[k].form, list[k].relative > 0x1p-14 ? COARSE_BF16 : COARSE_F16, value));
    list[count++] = list[k];
  }
  make_end(&m);
  ck_assert_int_gt(count, 8);
  float *in[2] = {new_array((size_t)n * 4), new_array((size_t)n * 4)}, *out[LOOPS_MOST];
  View results[LOOPS_MOST];
  fill_values(DT_F32, in[0], n, 1), fill_values(DT_F32, in[1], n, NFLOATS);
  for (int k = 0; k < count; k++) results[k] = view1(out[k] = new_array((size_t)n * 4), n);
  must_run(&m, (View[]){view1(in[0], n), view1(in[1], n)}, results);
  for (int k = 0; k < count; k++) {
    for (int e = 0; e < n; e++) {
      double error = loops_error(&list[k], loops_exact(&list[k], in[0][e], in[1][e]), out[k][e]);
      ck_assert_msg(error >= 0 && error <= list[k].relative, "%s(%a, %a) is %a", list[k].name, (double)in[0][e], (double)in[1][e], (double)out[k][e]);
    }
    free(out[k]);
  }
  free(in[0]), free(in[1]);
  arena_destroy(m.a);
} END_TEST

// ---- casts and storage -------------------------------------------------------------------------

// Every value cast to every type: as a value, and as what a store of that type holds.
static void check_casts(Dtype from) {
  Expr *size;
  Make m = one_loop("casts", &size);
  Tensor *x = make_param(&m, "x", from, 1, &size);
  make_kernel(&m, "casts_all");
  Expr *i = make_for(&m, "i", size, HOW_PAR);
  for (int d = DT_NONE + 1; d < DT_COUNT; d++) {
    Expr *e = make_cast(&m, (Dtype)d, make_read(&m, x, &i));
    make_store(&m, make_result(&m, "wide", dtype_wide((Dtype)d), 1, &size), &i, e);
    make_store(&m, make_result(&m, "kept", (Dtype)d, 1, &size), &i, e);
  }
  make_end(&m);
  int n = count_values(from) & ~1;
  void *in = new_array((size_t)n * 8), *out[2 * DT_COUNT];
  View results[2 * DT_COUNT];
  fill_values(from, in, n, 1);
  for (int k = 0; k < 2 * (DT_COUNT - 1); k++) results[k] = view1(out[k] = new_array((size_t)n * 8), n);
  must_run(&m, (View[]){view1(in, n)}, results);
  for (int d = DT_NONE + 1; d < DT_COUNT; d++)
    for (int k = 0; k < n; k++) {
      Scalar want = dtype_cast(dtype_load(from, in, k), from, (Dtype)d);
      Scalar got = dtype_load(dtype_wide((Dtype)d), out[2 * (d - 1)], k), kept = dtype_load((Dtype)d, out[2 * (d - 1) + 1], k);
      ck_assert_msg(same_value(dtype_wide((Dtype)d), got, want), "value %d of %s as %s: %.17g or %lld, not %.17g or %lld", k, dtypes[from].name, dtypes[d].name,
                    got.f, (long long)got.i, want.f, (long long)want.i);
      ck_assert_msg(same_value(dtype_wide((Dtype)d), kept, want), "value %d of %s stored as %s", k, dtypes[from].name, dtypes[d].name);
    }
  for (int k = 0; k < 2 * (DT_COUNT - 1); k++) free(out[k]);
  free(in);
  arena_destroy(m.a);
}

START_TEST(casts_of_floats_round_once_and_saturate) {
  check_casts(DT_F32);
  check_casts(DT_F64);
} END_TEST

START_TEST(casts_of_integers_wrap_and_round_once) {
  check_casts(DT_I32);
  check_casts(DT_U32);
  check_casts(DT_I64);
  check_casts(DT_U64);
  check_casts(DT_BOOL);
} END_TEST

// All bit patterns of d, read and stored again.
static void check_patterns(Dtype d) {
  Expr *size;
  Make m = one_loop("patterns", &size);
  Tensor *x = make_param(&m, "x", d, 1, &size), *y = make_result(&m, "y", dtype_wide(d), 1, &size), *z = make_result(&m, "z", d, 1, &size);
  make_kernel(&m, "patterns_all");
  Expr *i = make_for(&m, "i", size, dtypes[d].bits == 4 ? HOW_PAR : HOW_PAR_VEC);
  make_store(&m, y, &i, make_read(&m, x, &i));
  make_store(&m, z, &i, make_read(&m, x, &i));
  make_end(&m);
  int n = 1 << dtypes[d].bits;
  void *in = new_array((size_t)n * 2), *out = new_array((size_t)n * 4), *again = new_array((size_t)n * 2);
  for (int k = 0; k < n; k++) {
    bool nan = dtype_is_float(d) && isnan(dtype_decode(d, (uint64_t)k).f);      // one NaN: payloads may change
    uint16_t bits = (uint16_t)(nan ? dtype_encode(d, (Scalar){.f = NAN}) : (uint64_t)k);
    if (dtypes[d].bits == 16) memcpy((char *)in + 2 * k, &bits, 2);
    else if (dtypes[d].bits == 8) ((unsigned char *)in)[k] = (unsigned char)bits;
    else dtype_store(d, in, k, dtype_decode(d, (uint64_t)k));
  }
  must_run(&m, (View[]){view1(in, n)}, (View[]){view1(out, n), view1(again, n)});
  for (int k = 0; k < n; k++) {
    Scalar want = dtype_decode(d, (uint64_t)k);
    ck_assert_msg(same_value(dtype_wide(d), dtype_load(dtype_wide(d), out, k), want), "pattern %x of %s", (unsigned)k, dtypes[d].name);
    want = dtype_cast(want, dtype_wide(d), d);     // f8e5m2 has an infinity, but stores saturate
    ck_assert_msg(same_value(dtype_wide(d), dtype_load(d, again, k), want), "pattern %x of %s stored again", (unsigned)k, dtypes[d].name);
  }
  free(in), free(out), free(again);
  arena_destroy(m.a);
}

START_TEST(every_pattern_of_a_narrow_float_is_read_and_kept) {
  const Dtype types[] = {DT_F16, DT_BF16, DT_F8E4M3, DT_F8E5M2};
  for (int k = 0; k < 4; k++) check_patterns(types[k]);
} END_TEST

START_TEST(every_pattern_of_a_narrow_integer_is_read_and_kept) {
  const Dtype types[] = {DT_I16, DT_U16, DT_I8, DT_U8, DT_I4, DT_U4, DT_BOOL};
  for (int k = 0; k < 7; k++) check_patterns(types[k]);
} END_TEST

// f32 values beside all rounding boundaries of d: pattern, half way to the next, and a little to both sides of that.
static void check_roundings(Dtype d) {
  Expr *size;
  Make m = one_loop("roundings", &size);
  Tensor *x = make_param(&m, "x", DT_F32, 1, &size), *y = make_result(&m, "y", d, 1, &size);
  make_kernel(&m, "roundings_all");
  Expr *i = make_for(&m, "i", size, HOW_PAR_VEC);
  make_store(&m, y, &i, make_read(&m, x, &i));
  make_end(&m);
  int patterns = 1 << dtypes[d].bits, n = 4 * patterns;
  float *in = new_array((size_t)n * sizeof *in);
  void *out = new_array((size_t)n * 2);
  for (int k = 0; k < patterns; k++) {
    double a = dtype_decode(d, (uint64_t)k).f, b = dtype_decode(d, (uint64_t)(k + 1) % (uint64_t)patterns).f;
    float half = isfinite(b) ? (float)((a + b) / 2) : (float)a;
    in[4 * k] = (float)a, in[4 * k + 1] = half, in[4 * k + 2] = nextafterf(half, INFINITY), in[4 * k + 3] = nextafterf(half, -INFINITY);
  }
  must_run(&m, (View[]){view1(in, n)}, (View[]){view1(out, n)});
  for (int k = 0; k < n; k++) {
    Scalar want = dtype_decode(d, dtype_encode(d, (Scalar){.f = in[k]}));
    ck_assert_msg(same_value(DT_F32, dtype_load(d, out, k), want), "%a as %s", in[k], dtypes[d].name);
  }
  free(in), free(out);
  arena_destroy(m.a);
}

START_TEST(stores_of_narrow_floats_round_to_nearest_even) {
  const Dtype types[] = {DT_F16, DT_BF16, DT_F8E4M3, DT_F8E5M2};
  for (int k = 0; k < 4; k++) check_roundings(types[k]);
} END_TEST

static Expr *bitcast(Make *m, Dtype to, Expr *e) { return expr_make(m->x, OP_BITCAST, dtype_wide(to), to, NULL, NO_SPAN, 1, &e); }

// bitcast of a read in `from`, and of a cast to it, to every type as wide.
static void check_bitcast(Dtype from, Dtype to) {
  Expr *size;
  Make m = one_loop("bits", &size);
  Tensor *x = make_param(&m, "x", from, 1, &size), *y = make_result(&m, "y", dtype_wide(to), 1, &size), *z = make_result(&m, "z", dtype_wide(to), 1, &size);
  make_kernel(&m, "bits_all");
  Expr *i = make_for(&m, "i", size, HOW_PAR), *read = make_read(&m, x, &i);
  make_store(&m, y, &i, bitcast(&m, to, read));
  make_store(&m, z, &i, bitcast(&m, to, dtype_is_wide(from) ? read : make_cast(&m, from, read)));
  make_end(&m);
  enum { N = 256 };
  int bytes = dtypes[from].bits / 8;
  unsigned char in[N * 8];
  char out[N * 8], cast[N * 8];
  for (int k = 0; k < N * bytes; k++) in[k] = (unsigned char)(k % bytes == bytes - 1 ? k / bytes : k * 7);
  must_run(&m, (View[]){view1(in, N)}, (View[]){view1(out, N), view1(cast, N)});
  for (int k = 0; k < N; k++) {
    uint64_t bits = 0;
    memcpy(&bits, in + k * bytes, (size_t)bytes);
    Scalar want = dtype_decode(to, bits), given = dtype_decode(from, bits);
    ck_assert_msg(same_value(dtype_wide(to), dtype_load(dtype_wide(to), out, k), want), "%s as %s", dtypes[from].name, dtypes[to].name);
    if (dtype_is_float(from) && isnan(given.f)) continue;      // the cast may change a NaN's payload
    ck_assert_msg(same_value(dtype_wide(to), dtype_load(dtype_wide(to), cast, k), want), "cast %s as %s", dtypes[from].name, dtypes[to].name);
  }
  arena_destroy(m.a);
}

START_TEST(a_bitcast_keeps_the_stored_bits) {
  const Dtype pairs[][2] = {{DT_F32, DT_I32}, {DT_U32, DT_F32}, {DT_F64, DT_U64}, {DT_I64, DT_F64}, {DT_F16, DT_U16}, {DT_I16, DT_BF16}, {DT_BF16, DT_F16}, {DT_U8, DT_F8E4M3}, {DT_F8E5M2, DT_I8}};
  for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) check_bitcast(pairs[k][0], pairs[k][1]);
} END_TEST

START_TEST(uniform_is_the_generator_of_the_language) {
  Expr *size;
  Make m = one_loop("dice", &size);
  Tensor *c = make_param(&m, "c", DT_I64, 1, &size), *seed = make_param(&m, "seed", DT_U64, 0, NULL), *y = make_result(&m, "y", DT_F32, 1, &size);
  make_kernel(&m, "dice_y");
  Expr *i = make_for(&m, "i", size, HOW_PAR_VEC);
  Expr *operand[] = {make_read(&m, seed, NULL), make_read(&m, c, &i)};
  make_store(&m, y, &i, expr_op(m.x, OP_UNIFORM, operand, NO_SPAN));
  make_end(&m);
  enum { N = 2000 };
  int64_t at[N];
  float out[N];
  uint64_t key = 0x9E3779B97F4A7C15u;
  for (int k = 0; k < N; k++) at[k] = k % 2 ? k - 500 : (int64_t)(key * (uint64_t)k);
  must_run(&m, (View[]){view1(at, N), view0(&key)}, (View[]){view1(out, N)});
  for (int k = 0; k < N; k++) ck_assert(out[k] == op_uniform(key, at[k]));
  arena_destroy(m.a);
} END_TEST

// y[i] = uniform(seed, start + i), in loops of so many lanes.
static const char *row_of_numbers(Make *m, Expr *size, int lanes) {
  Tensor *start = make_param(m, "start", DT_I64, 0, NULL), *seed = make_param(m, "seed", DT_U64, 0, NULL), *y = make_result(m, "y", DT_F32, 1, &size);
  make_kernel(m, "row_y");
  Expr *i = make_for(m, "i", size, HOW_PAR_VEC);
  m->open[m->depth]->lanes = lanes;
  Expr *operand[] = {make_read(m, seed, NULL), expr_op2(m->x, OP_ADD, make_read(m, start, NULL), i, NO_SPAN)};
  make_store(m, y, &i, expr_op(m->x, OP_UNIFORM, operand, NO_SPAN));
  make_end(m);
  const char *text = built_text(m, true);
  ck_assert_ptr_nonnull(strstr(text, "= random[lane];"));
  return text;
}

static void check_row(CallEntry *entry, int64_t start, int n, const Way *w) {
  float out[256];
  uint64_t seed = 0xC2B2AE3D27D4EB4Fu;
  ck_assert_int_eq(entry((void *[]){&start, &seed, out}, (long long[]){n}, NULL, (long long[]){0, 0}), 0);
  for (int k = 0; k < n; k++) {
    int64_t c = (int64_t)((uint64_t)start + (uint64_t)k);
    ck_assert_msg(out[k] == op_uniform(seed, c), "%s %s: number %d of a row from %lld", w->cc, w->flags, k, (long long)start);
  }
}

// Rows that begin at each place among four, where the upper half of the counter changes within a row, where it wraps around, below 0.
START_TEST(random_numbers_drawn_by_blocks_are_those_of_each_place) {
  static const int64_t starts[] = {0, 1, 2, 3, 4099, (1ll << 34) - 150, (1ll << 34) - 127, (3ll << 34) - 64, (1ll << 34) + 2, INT64_MAX - 100, INT64_MAX, -5, -130, INT64_MIN};
  static const Way ways[] = {
    {"gcc", "-O3 -march=native"}, {"gcc", "-O3 -march=x86-64-v3"}, {"gcc", "-O2 -mavx"}, {"gcc", "-O3"}, {"clang", "-O3 -march=native"},
    {"clang", "-O3 -march=x86-64-v3"}, {"clang", "-O2 -mavx"}, {"clang", "-O3"}, {"gcc", "-O1 " BUILT_UBSAN}, {"clang", "-O1 " BUILT_UBSAN},
  };
  for (int lanes = 16; lanes <= 64; lanes *= 2) {
    Expr *size;
    Make m = one_loop("row", &size);
    const char *text = row_of_numbers(&m, size, lanes);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
      void *so = built_load(ways[w].cc, ways[w].flags, text);
      for (size_t s = 0; s < sizeof starts / sizeof *starts; s++)
        for (int n = 61; n < 256; n += 64) check_row(built_entry(so), starts[s], n, &ways[w]);
      dlclose(so);
    }
    arena_destroy(m.a);
  }
} END_TEST

START_TEST(literals_keep_their_values) {
  Expr *size;
  Make m = one_loop("literals", &size);
  make_param(&m, "x", DT_F32, 1, &size);
  const Dtype types[] = {DT_F32, DT_F64, DT_I32, DT_I64, DT_U32, DT_U64, DT_BOOL};
  Tensor *y[7];
  for (int t = 0; t < 7; t++) {
    Expr *n = make_int(&m, count_values(types[t]));
    y[t] = make_result(&m, "y", types[t], 1, &n);
  }
  make_kernel(&m, "literals_all");
  for (int t = 0; t < 7; t++)
    for (int k = 0; k < count_values(types[t]); k++) {
      Expr *at = make_int(&m, k);
      make_store(&m, y[t], &at, expr_scalar(m.x, types[t], value_of(types[t], k), NO_SPAN));
    }
  void *out[7];
  View results[7];
  for (int t = 0; t < 7; t++) results[t] = view1(out[t] = new_array(64 * 8), count_values(types[t]));
  must_run(&m, (View[]){view1(NULL, 0)}, results);
  for (int t = 0; t < 7; t++) {
    for (int k = 0; k < count_values(types[t]); k++) ck_assert(same_value(types[t], dtype_load(types[t], out[t], k), value_of(types[t], k)));
    free(out[t]);
  }
  arena_destroy(m.a);
} END_TEST

// ---- brackets and ranges -----------------------------------------------------------------------

enum { LEAVES = 9, TREES = 55 };
typedef struct Wood { Make *m; Tensor *leaf[LEAVES]; Scalar value[LEAVES]; unsigned long long seed; } Wood;
static const Dtype leaf_types[LEAVES] = {DT_I8, DT_U8, DT_I16, DT_I32, DT_U32, DT_I64, DT_U64, DT_F32, DT_BOOL};

static unsigned pick(Wood *w, unsigned n) { return (unsigned)(unit_random(&w->seed) >> 33) % n; }

static Expr *grow(Wood *w, Dtype d, int depth);

static Expr *grow_leaf(Wood *w, Dtype d) {
  if (pick(w, 4) == 0) return expr_scalar(w->m->x, d, value_of(d, (int)pick(w, (unsigned)count_values(d))), NO_SPAN);
  int k = (int)pick(w, LEAVES);
  while (dtype_is_float(leaf_types[k]) != dtype_is_float(d)) k = (int)pick(w, LEAVES);
  return make_cast(w->m, d, make_read(w->m, w->leaf[k], NULL));
}

static Expr *grow_test(Wood *w, int depth) {
  const Op compare[] = {OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE}, logic[] = {OP_AND, OP_OR, OP_BITAND, OP_BITOR, OP_BITXOR};
  const Dtype types[] = {DT_I32, DT_U32, DT_I64, DT_F32, DT_BOOL};
  if (pick(w, 5) == 0) return make_op1(w->m, pick(w, 2) ? OP_NOT : OP_BITNOT, grow(w, DT_BOOL, depth - 1));
  if (pick(w, 2)) return make_op(w->m, logic[pick(w, 5)], grow(w, DT_BOOL, depth - 1), grow(w, DT_BOOL, depth - 1));
  Dtype d = types[pick(w, 5)];
  return make_op(w->m, compare[pick(w, 6)], grow(w, d, depth - 1), grow(w, d, depth - 1));
}

static Expr *grow(Wood *w, Dtype d, int depth) {
  const Op arithmetic[] = {OP_ADD, OP_SUB, OP_MUL, OP_NEG, OP_MIN, OP_MAX, OP_ABS, OP_SIGN, OP_FLOORDIV, OP_MOD};
  const Op bits[] = {OP_BITAND, OP_BITOR, OP_BITXOR, OP_BITNOT, OP_SHL, OP_SHR};
  if (depth <= 0) return grow_leaf(w, d);
  if (pick(w, 6) == 0) return expr_select(w->m->x, grow(w, DT_BOOL, depth - 1), grow(w, d, depth - 1), grow(w, d, depth - 1), NO_SPAN);
  if (d == DT_BOOL) return grow_test(w, depth);
  Op op = !dtype_is_float(d) && pick(w, 2) ? bits[pick(w, 6)] : arithmetic[pick(w, dtype_is_float(d) ? 6 : 10)];
  Expr *a = grow(w, d, depth - 1);
  if (ops[op].arity == 1) return make_op1(w->m, op, a);
  bool shift = (op == OP_SHL || op == OP_SHR) && pick(w, 2);
  return make_op(w->m, op, a, shift ? expr_scalar(w->m->x, d, (Scalar){.i = (int64_t)pick(w, 40)}, NO_SPAN) : grow(w, d, depth - 1));
}

static Scalar evaluate(const Wood *w, const Expr *e) {
  Scalar a[3] = {{0}}, out;
  switch ((Op)e->op) {
  case OP_CONST: return e->u.v;
  case OP_READ:
    for (int k = 0; k < LEAVES; k++)
      if (w->leaf[k] == e->u.t) return w->value[k];
    break;
  case OP_SELECT: return evaluate(w, e->arg[evaluate(w, e->arg[0]).u ? 1 : 2]);
  case OP_CAST: return dtype_cast(evaluate(w, e->arg[0]), (Dtype)e->arg[0]->dtype, (Dtype)e->aux);
  default: break;
  }
  for (uint32_t k = 0; k < e->nargs; k++) a[k] = evaluate(w, e->arg[k]);
  ck_assert(op_eval((Op)e->op, (Dtype)e->arg[0]->dtype, a, &out));
  return out;
}

static void check_wood(unsigned long long seed) {
  Make m = make_plan("wood");
  Wood w = {.m = &m, .seed = seed};
  const Dtype types[] = {DT_I32, DT_I64, DT_U32, DT_U64, DT_F32, DT_BOOL};
  _Alignas(8) unsigned char stored[LEAVES][8];
  View params[LEAVES], results[TREES];
  for (int k = 0; k < LEAVES; k++) {
    w.leaf[k] = make_param(&m, "leaf", leaf_types[k], 0, NULL);
    uint64_t bits = leaf_types[k] == DT_BOOL ? 1 : leaf_types[k] == DT_F32 ? 0x3fc00000 + pick(&w, 999) : unit_random(&w.seed);
    w.value[k] = dtype_decode(leaf_types[k], bits);
    dtype_store(leaf_types[k], stored[k], 0, w.value[k]);
    params[k] = view0(stored[k]);
  }
  make_kernel(&m, "wood_all");
  Expr *tree[TREES];
  _Alignas(8) unsigned char out[TREES][8];
  for (int k = 0; k < TREES; k++) {
    tree[k] = grow(&w, types[k % 6], 1 + k % 5);
    make_store(&m, make_result(&m, "y", types[k % 6], 0, NULL), NULL, tree[k]);
    results[k] = view0(out[k]);
  }
  // Made-up expressions compare what cannot differ; that brackets and signs are clear is checked nevertheless.
  const char *quiet = "-Wno-type-limits -Wno-bool-compare -Wno-int-in-bool-context -Wno-tautological-compare -Wno-unknown-warning-option "
                      "-Wno-tautological-constant-compare -Wno-tautological-constant-out-of-range-compare";
  Fault fault;
  ck_assert_int_eq(built_run_with(&m, quiet, params, results, &fault), CALL_OK);
  for (int k = 0; k < TREES; k++) {
    Scalar want = evaluate(&w, tree[k]), got = dtype_load(types[k % 6], out[k], 0);
    Buf b = buf_make(m.a);
    expr_print(tree[k], &b);
    ck_assert_msg(same_value(types[k % 6], got, want), "seed %llu: %s\n%s", seed, b.s, built_text(&m, true));
  }
  arena_destroy(m.a);
}

START_TEST(random_expressions_keep_their_meaning_in_few_brackets) {
  for (unsigned long long seed = 1; seed <= 25; seed++) check_wood(seed);
} END_TEST

// y[i, j] = x[i · D + j]: the product is known to fit by the shape of y, i · D · 4 is not.
START_TEST(index_arithmetic_prints_plainly_where_shapes_bound_it) {
  Make m = make_plan("flat");
  Expr *n = make_dim(&m, "N"), *d = make_dim(&m, "D"), *shape[] = {n, d}, *all = make_op(&m, OP_MUL, n, d);
  Tensor *x = make_param(&m, "x", DT_F32, 1, &all), *y = make_result(&m, "y", DT_I64, 2, shape);
  make_kernel(&m, "flat_y");
  Expr *i = make_for(&m, "i", n, HOW_PAR), *j = make_for(&m, "j", d, HOW_VEC);
  Expr *at = make_op(&m, OP_ADD, make_op(&m, OP_MUL, i, d), j);
  make_store(&m, y, (Expr *[]){i, j}, make_cast(&m, DT_I64, make_read(&m, x, &at)));
  Expr *big = make_op(&m, OP_MUL, at, expr_int(m.x, DT_I64, 1ll << 40, NO_SPAN));
  make_store(&m, y, (Expr *[]){i, j}, big);
  make_end(&m);
  make_end(&m);
  const char *text = built_text(&m, true);
  ck_assert_ptr_nonnull(strstr(text, "y[i * D + j] = i64_from_f32(x[i * D + j]);"));
  ck_assert_ptr_nonnull(strstr(text, "y[i * D + j] = (long long)((unsigned long long)(i * D + j) * 1099511627776ull);"));
  arena_destroy(m.a);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    operations_on_f32_mean_what_their_rows_say, operations_on_f64_mean_what_their_rows_say, operations_on_i32_mean_what_their_rows_say,
    operations_on_i64_mean_what_their_rows_say, operations_on_u32_mean_what_their_rows_say, operations_on_u64_mean_what_their_rows_say,
    operations_on_bool_mean_what_their_rows_say, functions_of_our_own_keep_to_their_accuracy_over_all_floats,
    a_marked_function_prints_the_coarsest_row_that_is_allowed, coarse_functions_have_the_special_values_and_their_error, casts_of_floats_round_once_and_saturate, casts_of_integers_wrap_and_round_once,
    every_pattern_of_a_narrow_float_is_read_and_kept, every_pattern_of_a_narrow_integer_is_read_and_kept,
    stores_of_narrow_floats_round_to_nearest_even, a_bitcast_keeps_the_stored_bits, uniform_is_the_generator_of_the_language,
    functions_of_doubles_for_a_compiler_without_them_keep_their_bounds,
    a_quotient_by_a_product_is_that_of_a_division_and_keeps_special_values, random_numbers_drawn_by_blocks_are_those_of_each_place,
    literals_keep_their_values, random_expressions_keep_their_meaning_in_few_brackets,
    index_arithmetic_prints_plainly_where_shapes_bound_it,
  };
  return UNIT_RUN("emit_math", tests);
}
