// test_ops.c: the tables of operations and reductions: their meaning, and that the C text of a row computes it.
#include "ir/ops.h"
#include "base/str.h"
#include "tests/unit/unit.h"
#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static Scalar real(double x) { return (Scalar){.f = x}; }
static Scalar integer(int64_t i) { return (Scalar){.i = i}; }

static double f1(Op op, Dtype t, double x) {
  Scalar out;
  ck_assert(op_eval(op, t, (Scalar[]){real(x)}, &out));
  return out.f;
}

static double f2(Op op, Dtype t, double x, double y) {
  Scalar out;
  ck_assert(op_eval(op, t, (Scalar[]){real(x), real(y)}, &out));
  return out.f;
}

static int64_t i2(Op op, Dtype t, int64_t x, int64_t y) {
  Scalar out;
  ck_assert(op_eval(op, t, (Scalar[]){integer(x), integer(y)}, &out));
  return out.i;
}

static const double reals[] = {0,    -0.0,  1,        -1,       0.5,      -0.5,    1.5,       2.5,   -2.5,  3,      -7,     0.1,  1e-20,
                               88.7, -103,  100.3,    -3.14159, INFINITY, -INFINITY, NAN,     FLT_MAX, -FLT_MAX, FLT_MIN, 1e-42, 0.75, 4};
static const int64_t integers[] = {0, 1, -1, 2, -2, 3, 7, -7, 16, 31, 32, 33, 63, 64, -64, 255, 12345678, INT32_MAX, INT32_MIN,
                                   INT32_MIN + 1, UINT32_MAX, INT64_MAX, INT64_MIN, INT64_MIN + 1};
enum { REALS = sizeof reals / sizeof *reals, INTEGERS = sizeof integers / sizeof *integers };

static bool same_bits(double a, double b) { return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b)); }

// The tables.

START_TEST(names_are_unique_and_functions_are_found_by_them) {
  for (int a = 0; a < OP_COUNT_; a++) {
    for (int b = 0; b < a; b++) ck_assert_str_ne(ops[a].name, ops[b].name);
    ck_assert_int_eq(op_by_name(ops[a].name), ops[a].callable ? a : OP_NONE);
    ck_assert_int_eq(ops[a].level > 0, ops[a].symbol != NULL);
  }
  ck_assert_int_eq(op_by_name("softmax"), OP_NONE);
} END_TEST

START_TEST(a_row_has_a_meaning_for_the_operands_that_its_rule_gives_it) {
  for (int op = 0; op < OP_COUNT_; op++) {
    const OpInfo *o = &ops[op];
    bool floats = false, ints = false, bools = false;
    switch (o->rule) {
    case R_ARITH: case R_COMPARE: floats = ints = true; break;
    case R_FLOAT: case R_ROUND: case R_TEST: floats = true; break;
    case R_BITS: ints = bools = true; break;
    case R_SHIFT: case R_COUNT: ints = true; break;
    case R_LOGIC: bools = true; break;
    case R_NONE: continue;
    }
    ck_assert_msg(!floats || o->f, "%s on floats", o->name);
    ck_assert_msg(!ints || (o->i && o->u), "%s on integers", o->name);
    ck_assert_msg(!bools || o->u, "%s on bool", o->name);
    ck_assert_msg(!floats || o->c_float, "%s as text on floats", o->name);
    ck_assert_msg(!(ints || bools) || o->c_int, "%s as text on integers", o->name);
  }
} END_TEST

START_TEST(texts_name_the_operands_that_exist) {
  for (int op = 0; op < OP_COUNT_; op++) {
    const char *texts[] = {ops[op].c_float, ops[op].c_int, ops[op].c_uint, ops[op].cuda_float, ops[op].cuda_int};
    for (int k = 0; k < 5; k++) {
      if (!texts[k]) continue;
      int seen[3] = {0};
      for (const char *s = texts[k]; *s; s++)
        if (*s == '$' && s[1] >= '0' && s[1] <= '2') seen[s[1] - '0']++;
      for (int n = 0; n < 3; n++) {
        ck_assert_msg((seen[n] > 0) == (n < ops[op].arity), "%s: %s", ops[op].name, texts[k]);
        ck_assert_msg(seen[n] <= 1 || ops[op].props & OP_DUP, "%s uses an operand twice: %s", ops[op].name, texts[k]);
      }
      ck_assert_msg(k < 3 || !strstr(texts[k], "__builtin"), "CUDA has no builtins: %s", texts[k]);
    }
  }
} END_TEST

START_TEST(reductions_combine_start_and_rescale) {
  for (int r = RED_NONE + 1; r < RED_COUNT_; r++) ck_assert_int_eq(reducer_by_name(reducers[r].name), r);
  ck_assert_int_eq(reducer_by_name("softmax"), RED_NONE);
  ck_assert_int_eq(reducers[RED_SUM].combine, OP_ADD);
  ck_assert_double_eq(reducers[RED_PROD].identity(DT_F32).f, 1);
  ck_assert_int_eq(reducers[RED_PROD].identity(DT_I32).i, 1);
  ck_assert_double_eq(reducers[RED_MAX].identity(DT_F32).f, -INFINITY);
  ck_assert_int_eq(reducers[RED_MIN].identity(DT_I64).i, INT64_MAX);
  ck_assert_uint_eq(reducers[RED_ALL].identity(DT_BOOL).u, 1);
  ck_assert_int_eq(reduce_dtype(RED_MEAN, DT_I64), DT_F32);
  ck_assert_int_eq(reduce_dtype(RED_MEAN, DT_F64), DT_F64);
  ck_assert_int_eq(reduce_dtype(RED_SUM, DT_BOOL), DT_I32);
  ck_assert_int_eq(reduce_dtype(RED_SUM, DT_U32), DT_U32);
  ck_assert_int_eq(reduce_dtype(RED_ARGMAX, DT_F32), DT_I32);
  ck_assert_int_eq(reduce_dtype(RED_MAX, DT_BOOL), DT_BOOL);
} END_TEST

START_TEST(identities_are_neutral) {
  static const Dtype types[] = {DT_F32, DT_F64, DT_I32, DT_I64, DT_U32, DT_U64};
  for (int r = RED_SUM; r <= RED_MEAN; r++)
    for (size_t t = 0; t < 6; t++)
      for (int k = 0; k < INTEGERS; k++) {
        Dtype d = types[t];
        Scalar v = dtype_is_float(d) ? real((double)(float)integers[k]) : dtype_cast(integer(integers[k]), DT_I64, d), out;
        ck_assert(op_eval(reducers[r].combine, d, (Scalar[]){reducers[r].identity(d), v}, &out));
        ck_assert_uint_eq(out.u, v.u);
      }
} END_TEST

// Meanings.

START_TEST(f32_operations_round_once) {
  ck_assert_double_eq(f2(OP_ADD, DT_F32, 16777216, 1), 16777216);
  ck_assert_double_eq(f2(OP_MUL, DT_F32, 1e30, 1e30), INFINITY);
  ck_assert_double_eq(f2(OP_DIV, DT_F32, 1, 3), (double)(1.0f / 3.0f));
  ck_assert_double_eq(f2(OP_DIV, DT_F64, 1, 3), 1.0 / 3.0);
  Scalar out;                                         // the exact sum is above a tie of f32 by less than double can tell
  ck_assert(op_eval(OP_FMA, DT_F32, (Scalar[]){real(0x1.000002p0), real(0x1.000002p0), real(0x1p-60)}, &out));
  ck_assert_double_eq(out.f, (double)fmaf(0x1.000002p0f, 0x1.000002p0f, 0x1p-60f));
} END_TEST

START_TEST(integers_wrap_to_their_width) {
  ck_assert_int_eq(i2(OP_ADD, DT_I32, INT32_MAX, 1), INT32_MIN);
  ck_assert_int_eq(i2(OP_MUL, DT_I64, INT64_MIN, -1), INT64_MIN);
  ck_assert_int_eq(i2(OP_SUB, DT_U32, 0, 1), UINT32_MAX);
  Scalar out;
  ck_assert(op_eval(OP_NEG, DT_I32, (Scalar[]){integer(INT32_MIN)}, &out));
  ck_assert_int_eq(out.i, INT32_MIN);
  ck_assert(op_eval(OP_ABS, DT_I64, (Scalar[]){integer(INT64_MIN)}, &out));
  ck_assert_int_eq(out.i, INT64_MIN);
} END_TEST

START_TEST(floor_division_and_its_remainder) {
  static const struct { int64_t x, y, q, r; } rows[] = {{7, 2, 3, 1},   {-7, 2, -4, 1}, {7, -2, -4, -1}, {-7, -2, 3, -1}, {6, 3, 2, 0},
                                                        {-6, 3, -2, 0}, {5, 0, 0, 5},   {-5, 0, 0, -5},  {0, 0, 0, 0}};
  for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
    ck_assert_int_eq(i2(OP_FLOORDIV, DT_I32, rows[n].x, rows[n].y), rows[n].q);
    ck_assert_int_eq(i2(OP_MOD, DT_I64, rows[n].x, rows[n].y), rows[n].r);
  }
  ck_assert_int_eq(i2(OP_FLOORDIV, DT_I32, INT32_MIN, -1), INT32_MIN);
  ck_assert_int_eq(i2(OP_FLOORDIV, DT_I64, INT64_MIN, -1), INT64_MIN);
  ck_assert_int_eq(i2(OP_MOD, DT_I64, INT64_MIN, -1), 0);
  ck_assert_int_eq(i2(OP_FLOORDIV, DT_U32, UINT32_MAX, UINT32_MAX), 1);
  ck_assert_double_eq(f2(OP_FLOORDIV, DT_F32, -7, 2), -4);
  ck_assert_double_eq(f2(OP_MOD, DT_F32, -7, 2), 1);
  ck_assert_double_eq(f2(OP_MOD, DT_F64, 5.5, -2), -0.5);
  ck_assert_double_eq(f2(OP_FLOORDIV, DT_F64, 1, 0), INFINITY);
  ck_assert_double_nan(f2(OP_MOD, DT_F64, 1, INFINITY));
} END_TEST

START_TEST(quotient_times_divisor_plus_remainder_is_the_dividend) {
  static const Dtype types[] = {DT_I32, DT_I64, DT_U32, DT_U64};
  for (size_t t = 0; t < 4; t++)
    for (int a = 0; a < INTEGERS; a++)
      for (int b = 0; b < INTEGERS; b++) {
        Dtype d = types[t];
        int64_t x = dtype_cast(integer(integers[a]), DT_I64, d).i, y = dtype_cast(integer(integers[b]), DT_I64, d).i;
        int64_t q = i2(OP_FLOORDIV, d, x, y), r = i2(OP_MOD, d, x, y);
        ck_assert_int_eq(i2(OP_ADD, d, i2(OP_MUL, d, q, y), r), x);
      }
} END_TEST

START_TEST(shifts_out_of_range_give_zero_or_the_sign) {
  ck_assert_int_eq(i2(OP_SHL, DT_I32, 1, 31), INT32_MIN);
  ck_assert_int_eq(i2(OP_SHL, DT_I32, 1, 32), 0);
  ck_assert_int_eq(i2(OP_SHL, DT_I32, 1, -1), 0);
  ck_assert_int_eq(i2(OP_SHR, DT_I32, -8, 1), -4);
  ck_assert_int_eq(i2(OP_SHR, DT_I32, -8, 32), -1);
  ck_assert_int_eq(i2(OP_SHR, DT_I64, -8, -1), -1);
  ck_assert_int_eq(i2(OP_SHR, DT_I64, 8, 64), 0);
  ck_assert_int_eq(i2(OP_SHR, DT_U32, 0x80000000, 31), 1);
  ck_assert_int_eq(i2(OP_SHR, DT_U32, 0x80000000, 32), 0);
  ck_assert_int_eq(i2(OP_SHL, DT_U64, 1, 63), INT64_MIN);
} END_TEST

START_TEST(minimum_and_maximum_propagate_nan) {
  for (int t = DT_F64; t <= DT_F32; t++)
    for (int k = 0; k < REALS; k++) {
      ck_assert_double_nan(f2(OP_MAX, (Dtype)t, NAN, reals[k]));
      ck_assert_double_nan(f2(OP_MIN, (Dtype)t, reals[k], NAN));
    }
  ck_assert_double_eq(f2(OP_MAX, DT_F32, -1, 2), 2);
  ck_assert_double_eq(f2(OP_MIN, DT_F32, -INFINITY, 2), -INFINITY);
} END_TEST

START_TEST(signs_and_roundings_of_special_values) {
  ck_assert(same_bits(f1(OP_SIGN, DT_F32, -0.0), -0.0));
  ck_assert_double_nan(f1(OP_SIGN, DT_F32, NAN));
  ck_assert_double_eq(f1(OP_SIGN, DT_F32, -INFINITY), -1);
  ck_assert_double_eq(f1(OP_ROUND, DT_F32, 2.5), 2);
  ck_assert_double_eq(f1(OP_ROUND, DT_F32, 3.5), 4);
  ck_assert(same_bits(f1(OP_ROUND, DT_F32, -0.4), -0.0));
  ck_assert_double_eq(f1(OP_TRUNC, DT_F32, -1.9), -1);
  ck_assert_double_eq(f1(OP_FLOOR, DT_F32, -1.1), -2);
  ck_assert_double_eq(f1(OP_CEIL, DT_F32, 1.1), 2);
  ck_assert_double_eq(f1(OP_RSQRT, DT_F32, 0.0), INFINITY);
  ck_assert_double_eq(f1(OP_RSQRT, DT_F32, -0.0), -INFINITY);
  ck_assert_double_eq(f2(OP_POW, DT_F32, 0, 0), 1);
  ck_assert_double_eq(f2(OP_POW, DT_F32, NAN, 0), 1);        // C17 F.10.4.4
} END_TEST

START_TEST(tests_are_of_type_bool) {
  Scalar out;
  ck_assert(op_eval(OP_ISNAN, DT_F32, (Scalar[]){real(NAN)}, &out) && out.u == 1);
  ck_assert(op_eval(OP_ISINF, DT_F32, (Scalar[]){real(-INFINITY)}, &out) && out.u == 1);
  ck_assert(op_eval(OP_ISFINITE, DT_F64, (Scalar[]){real(NAN)}, &out) && out.u == 0);
  ck_assert(op_eval(OP_EQ, DT_F32, (Scalar[]){real(NAN), real(NAN)}, &out) && out.u == 0);
  ck_assert(op_eval(OP_NE, DT_F32, (Scalar[]){real(NAN), real(NAN)}, &out) && out.u == 1);
  ck_assert(op_eval(OP_LT, DT_U32, (Scalar[]){{.u = 1}, {.u = UINT32_MAX}}, &out) && out.u == 1);
  ck_assert(op_eval(OP_BITNOT, DT_BOOL, (Scalar[]){{.u = 1}}, &out) && out.u == 0);
  ck_assert(op_eval(OP_POPCOUNT, DT_I32, (Scalar[]){integer(-1)}, &out) && out.i == 32);
  ck_assert(op_eval(OP_POPCOUNT, DT_I64, (Scalar[]){integer(-1)}, &out) && out.i == 64);
  ck_assert_int_eq(op_dtype(OP_LT, DT_F64), DT_BOOL);
  ck_assert_int_eq(op_dtype(OP_POPCOUNT, DT_I64), DT_I32);
  ck_assert_int_eq(op_dtype(OP_ADD, DT_U64), DT_U64);
  ck_assert(!op_eval(OP_EXP, DT_I32, (Scalar[]){integer(1)}, &out));
  ck_assert(!op_eval(OP_READ, DT_F32, NULL, &out));
} END_TEST

START_TEST(philox_gives_its_published_words) {
  uint32_t w[4];                                      // Random123's kat_vectors: philox4x32 10, zeros and ones
  op_philox(0, 0, w);
  ck_assert(w[0] == 0x6627e8d5 && w[1] == 0xe169c58d && w[2] == 0xbc57ac4c && w[3] == 0x9b00dbd8);
  for (int c = 0; c < 4; c++) ck_assert_float_eq(op_uniform(0, c), (float)(w[c] >> 8) / 16777216.0f);
  op_philox(0, -1, w);
  ck_assert_float_eq(op_uniform(0, -1), (float)(w[3] >> 8) / 16777216.0f);
  ck_assert_float_eq(op_uniform(0, -4), (float)(w[0] >> 8) / 16777216.0f);
  for (int64_t c = 0; c < 1000; c++) ck_assert(op_uniform(9, c) >= 0 && op_uniform(9, c) < 1);
} END_TEST

// Texts: a C function for each row and type, compiled with traps on undefined behaviour, against op_eval.

static const Dtype text_types[] = {DT_F32, DT_F64, DT_I32, DT_I64, DT_U32, DT_U64, DT_BOOL};
enum { TEXT_TYPES = sizeof text_types / sizeof *text_types };

static const char *c_type(Dtype d) { return d == DT_BOOL ? "int" : dtypes[d].c; }

static const char *text_of(Op op, Dtype d) {
  const OpInfo *o = &ops[op];
  if (d == DT_BOOL && o->rule != R_LOGIC) return NULL;
  if (d != DT_BOOL && o->rule == R_LOGIC) return NULL;
  if (dtype_is_float(d)) return o->f ? o->c_float : NULL;
  if (!o->u) return NULL;
  return dtypes[d].kind == 'U' && o->c_uint ? o->c_uint : o->c_int;
}

// The text with its places filled in as ops.h says.
static void expand(Buf *b, const char *text, Op op, Dtype d) {
  static const char *const names[] = {"a", "b", "c"};
  const char *uns = dtypes[d].bits == 64 ? "unsigned long long" : "unsigned int";
  bool wraps = ops[op].props & OP_WRAPS && dtype_is_int(d);
  for (const char *s = text; *s; s++) {
    if (*s == '@') buf_puts(b, d == DT_F32 ? "f" : "");
    else if (*s != '$') buf_putc(b, *s);
    else if (*++s == 'T') buf_puts(b, c_type(d));
    else if (*s == 'U') buf_puts(b, uns);
    else if (*s == 'B') buf_printf(b, "%d", dtypes[d].bits);
    else if (*s == 'L') buf_puts(b, dtypes[d].bits == 64 ? "ll" : "");
    else if (wraps) buf_printf(b, "(%s)%s", uns, names[*s - '0']);
    else buf_puts(b, names[*s - '0']);
  }
}

static void write_functions(Buf *b) {
  for (int op = 0; op < OP_COUNT_; op++)
    for (int t = 0; t < TEXT_TYPES; t++) {
      Dtype d = text_types[t];
      const char *text = text_of((Op)op, d), *T = c_type(d);
      if (!text) continue;
      Dtype result = op_dtype((Op)op, d);
      buf_printf(b, "void %s_%s(void *r, const %s *v) { %s a = v[0], b = v[1], c = v[2]; (void)b, (void)c; *(%s *)r = (%s)(", ops[op].name,
                 dtypes[d].name, T, T, c_type(result), c_type(result));
      expand(b, text, (Op)op, d);
      buf_puts(b, "); }\n");
    }
}

static void *compile(const char *cc, const char *flags, const char *text) {
  char dir[] = "/tmp/plait-ops-XXXXXX", path[64], command[512];
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/ops.c", dir);
  FILE *f = fopen(path, "w");
  ck_assert_ptr_nonnull(f);
  fputs(text, f);
  fclose(f);
  snprintf(command, sizeof command, "%s -std=c11 -w -shared -fPIC -ffp-contract=off %s %s/ops.c -o %s/ops.so -lm", cc, flags, dir, dir);
  ck_assert_int_eq(system(command), 0);
  snprintf(path, sizeof path, "%s/ops.so", dir);
  void *lib = dlopen(path, RTLD_NOW);
  snprintf(command, sizeof command, "rm -r %s", dir);
  ck_assert_int_eq(system(command), 0);
  ck_assert_msg(lib != NULL, "%s", dlerror());
  return lib;
}

static bool close_enough(Op op, Dtype d, double got, double want) {
  if (same_bits(got, want)) return true;
  if (isnan(got) || isnan(want) || ops[op].ulp == 0) return false;
  double unit = d == DT_F32 ? fmax((double)(nextafterf((float)fabs(want), INFINITY) - (float)fabs(want)), 0x1p-149)
                            : nextafter(fabs(want), INFINITY) - fabs(want);
  if (isinf(want) || isinf(got)) return fabs(want) >= FLT_MAX && fabs(got) >= FLT_MAX;
  return fabs(got - want) <= (ops[op].ulp + 0.5) * unit;
}

typedef struct Call { Op op; Dtype d; void (*fn)(void *, const void *); } Call;

static void check_call(const Call *c, const Scalar *v) {
  unsigned char in[24] = {0}, out[8] = {0};
  Dtype store = c->d == DT_BOOL ? DT_I32 : c->d, result = op_dtype(c->op, c->d);
  Scalar want, given[3];
  for (int k = 0; k < 3; k++) {
    given[k] = c->d == DT_BOOL ? (Scalar){.u = v[k].u & 1} : v[k];
    if (c->d == DT_F32) given[k].f = (float)given[k].f;      // what the C function will be given
    dtype_store(store, in, k, given[k]);
  }
  c->fn(out, in);
  Scalar got = dtype_load(result == DT_BOOL ? DT_I32 : result, out, 0);
  ck_assert(op_eval(c->op, c->d, given, &want));
  const char *name = ops[c->op].name, *type = dtypes[c->d].name;
  if (dtype_is_float(result))
    ck_assert_msg(close_enough(c->op, result, got.f, want.f), "%s_%s(%.9g, %.9g, %.9g) is %.17g, not %.17g", name, type, given[0].f, given[1].f,
                  given[2].f, got.f, want.f);
  else if (dtype_is_float(c->d))
    ck_assert_msg(got.i == want.i, "%s_%s(%.9g, %.9g) is %lld", name, type, given[0].f, given[1].f, (long long)got.i);
  else
    ck_assert_msg(got.i == want.i, "%s_%s(%lld, %lld) is %lld, not %lld", name, type, (long long)given[0].i, (long long)given[1].i,
                  (long long)got.i, (long long)want.i);
}

static Scalar special(Dtype d, int k) {
  if (d == DT_F32) return real((double)(float)reals[k % REALS]);
  if (d == DT_F64) return real(reals[k % REALS]);
  return dtype_cast(integer(integers[k % INTEGERS]), DT_I64, d == DT_BOOL ? DT_I64 : d);
}

static void check_all(void *lib) {
  int calls = 0;
  for (int op = 0; op < OP_COUNT_; op++)
    for (int t = 0; t < TEXT_TYPES; t++) {
      Call c = {.op = (Op)op, .d = text_types[t]};
      if (!text_of(c.op, c.d)) continue;
      char name[64];
      snprintf(name, sizeof name, "%s_%s", ops[op].name, dtypes[c.d].name);
      void *at = dlsym(lib, name);
      ck_assert_ptr_nonnull(at);
      memcpy(&c.fn, &at, sizeof at);
      int n = dtype_is_float(c.d) ? REALS : INTEGERS, second = ops[op].arity > 1 ? n : 1, third = ops[op].arity > 2 ? n : 1;
      for (int i = 0; i < n; i++)
        for (int j = 0; j < second; j++)
          for (int k = 0; k < third; k++, calls++) check_call(&c, (Scalar[]){special(c.d, i), special(c.d, j), special(c.d, k)});
    }
  ck_assert_int_gt(calls, 50000);
}

START_TEST(the_c_text_of_every_row_computes_its_meaning_without_undefined_behaviour) {
  static const char *const ways[][2] = {{"cc", "-O1 -fsanitize=undefined -fsanitize-undefined-trap-on-error"},
                                        {"cc", "-O2"},
                                        {"clang", "-O1 -fsanitize=undefined -fsanitize-undefined-trap-on-error"}};
  Arena *a = arena_create();
  Buf b = buf_make(a);
  char command[64];
  snprintf(command, sizeof command, "%s --version >/dev/null 2>&1", ways[_i][0]);
  if (system(command) == 0) {
    write_functions(&b);
    check_all(compile(ways[_i][0], ways[_i][1], b.s));
  }
  arena_destroy(a);
} END_TEST

int main(void) {
  const TTest *tests[] = {names_are_unique_and_functions_are_found_by_them,
                          a_row_has_a_meaning_for_the_operands_that_its_rule_gives_it,
                          texts_name_the_operands_that_exist,
                          reductions_combine_start_and_rescale,
                          identities_are_neutral,
                          f32_operations_round_once,
                          integers_wrap_to_their_width,
                          floor_division_and_its_remainder,
                          quotient_times_divisor_plus_remainder_is_the_dividend,
                          shifts_out_of_range_give_zero_or_the_sign,
                          minimum_and_maximum_propagate_nan,
                          signs_and_roundings_of_special_values,
                          tests_are_of_type_bool,
                          philox_gives_its_published_words};
  Suite *s = suite_create("ops");
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    TCase *c = tcase_create(tests[i]->name);
    tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
  }
  TCase *c = tcase_create("texts");
  tcase_add_loop_test(c, the_c_text_of_every_row_computes_its_meaning_without_undefined_behaviour, 0, 3);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
