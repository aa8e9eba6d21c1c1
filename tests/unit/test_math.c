// test_math.c: the functions of f32 in math.def: special values, errors within ops.def, and loops that vectorise.
#include "built.h"
#include "tools/math/loops.h"
#include "unit.h"
#include <math.h>
#include <stdint.h>

enum { BLOCK = 4096, STEP = 997 };     // every 997th float: 4.3 million, all exponents and both signs
static const Way ways[] = {
  {"gcc", "-march=native -ffp-contract=fast"},      // as jit_cc.c
  {"clang-19", "-march=native -ffp-contract=on"},
  {"gcc", "-march=native -ffp-contract=off"},
  {"gcc", "-ffp-contract=off"},                     // no FMA
};
enum { WAYS = sizeof ways / sizeof *ways };
static const float special[] = {0, -0.0f, 1, -1, 2, -2, 3, -3, .5f, -.5f, 2.5f, 0x1p-149f, -0x1p-149f, 0x1p-126f, 0x1.fffffep127f,
                                -0x1.fffffep127f, INFINITY, -INFINITY, NAN, 16777215, -16777215, 0x1p26f, 8388607.5f};
enum { NSPECIAL = sizeof special / sizeof *special };

static void write_loops(const char *path) {
  FILE *out = fopen(path, "w");
  ck_assert_ptr_nonnull(out);
  loops_write(out);
  ck_assert_int_eq(fclose(out), 0);
}

static bool has_compiler(const Way *w) {
  char command[128];
  snprintf(command, sizeof command, "%s --version >/dev/null 2>&1", w->cc);
  return system(command) == 0;
}

static void compile(const Way *w, const char *dir, const char *as) {
  char command[512], path[64];
  snprintf(path, sizeof path, "%s/f.c", dir);
  write_loops(path);
  snprintf(command, sizeof command, "%s " LOOPS_FLAGS " %s %s -o %s/f.out %s -lm", w->cc, w->flags, as, dir, path);
  if (system(command) != 0) ck_abort_msg("`%s` failed", command);
}

static void *load(const Way *w) {
  const char *dir = built_directory();
  char path[64];
  compile(w, dir, "-shared -fPIC");
  snprintf(path, sizeof path, "%s/f.out", dir);
  void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!so) ck_abort_msg("%s", dlerror());
  built_remove(dir);
  return so;
}

static void run(void *so, Op op, const float *x, const float *y, float *z, long n) {
  char name[64];
  snprintf(name, sizeof name, "loop_%s", ops[op].name);
  void *f = dlsym(so, name);
  ck_assert_ptr_nonnull(f);
  Loop1 *one;
  Loop2 *two;
  memcpy(&one, &f, sizeof f);
  memcpy(&two, &f, sizeof f);
  if (ops[op].arity == 2) two(x, y, z, n);
  else one(x, z, n);
}

static bool is_tested(int op) { return loops_has((Op)op) && op != OP_UNIFORM; }

static double exact(Op op, float x, float y) {
  Scalar a[2] = {{.f = (double)x}, {.f = (double)y}}, z;
  op_eval(op, DT_F64, a, &z);
  return z.f;
}

static double units_between(double got, double want) {
  int e;
  frexp(want, &e);
  return fabs(got - want) * ldexp(1, 24 - (e < -125 ? -125 : e));
}

static bool same(float a, float b) { return (isnan(a) && isnan(b)) || (a == b && !signbit(a) == !signbit(b)); }

// Exactly, where the outcome is 0, ±1, infinite or no number; elsewhere within the row's error. Below 2^-126 it may be 0.
static void check(Op op, float x, float y, float got, double units) {
  double want = exact(op, x, y);
  float f = (float)want;
  bool flushed = want != 0 && fabs(want) < 0x1p-126 && fabsf(got) <= 0x1p-126f, plain = f == 0 || isnan(f) || isinf(f) || want == 1 || want == -1;
  bool right = flushed || same(got, f) || (!plain && isfinite(got) && units_between(got, want) <= units);
  if (!right)      // an assertion writes to a pipe each time
    ck_abort_msg("%s(%a, %a) is %a, not %a: %.3f units", ops[op].name, (double)x, (double)y, (double)got, (double)f, units_between(got, want));
}

static void check_specials(void *so, Op op) {
  float x[NSPECIAL * NSPECIAL], y[NSPECIAL * NSPECIAL], z[NSPECIAL * NSPECIAL];
  for (int i = 0; i < NSPECIAL * NSPECIAL; i++) x[i] = special[i % NSPECIAL], y[i] = special[i / NSPECIAL];
  run(so, op, x, y, z, NSPECIAL * NSPECIAL);
  for (int i = 0; i < NSPECIAL * NSPECIAL; i++) check(op, x[i], y[i], z[i], ops[op].ulp);
}

START_TEST(special_values_are_those_of_annex_f) {
  for (int w = 0; w < WAYS; w++) {
    if (!has_compiler(&ways[w])) continue;
    void *so = load(&ways[w]);
    for (int op = 0; op < OP_COUNT_; op++) if (is_tested(op)) check_specials(so, (Op)op);
    dlclose(so);
  }
} END_TEST

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Block k of the floats; beside them, for functions of two operands, others in another order.
static void fill(uint64_t k, float *x, float *y) {
  unsigned long long seed = k + 1;
  for (int i = 0; i < BLOCK; i++) {
    x[i] = float_of((uint32_t)((k * BLOCK + (uint64_t)i) * STEP));
    uint32_t r = (uint32_t)(unit_random(&seed) >> 32);
    y[i] = float_of(i % 2 ? r : (r & 0x80ffffffu) + 0x3f000000u);
  }
}

enum { BLOCKS = (UINT64_C(1) << 32) / STEP / BLOCK + 1 };

static void check_errors(void *so, Op op) {
  float x[BLOCK], y[BLOCK], z[BLOCK];
  for (uint64_t k = 0; k < BLOCKS; k++) {
    fill(k, x, y);
    run(so, op, x, y, z, BLOCK);
    for (int i = 0; i < BLOCK; i++) check(op, x[i], y[i], z[i], ops[op].ulp);
  }
}

static void check_all_errors(const Way *w) {
  if (!has_compiler(w)) return;
  void *so = load(w);
  for (int op = 0; op < OP_COUNT_; op++) if (is_tested(op)) check_errors(so, (Op)op);
  dlclose(so);
}

START_TEST(errors_are_within_the_rows_of_operations_by_gcc) { check_all_errors(&ways[0]); } END_TEST
START_TEST(errors_are_within_the_rows_of_operations_by_clang) { check_all_errors(&ways[1]); } END_TEST
START_TEST(errors_are_within_the_rows_of_operations_without_fma) { check_all_errors(&ways[3]); } END_TEST

static void check_bits(void *a, void *b, Op op) {
  float x[BLOCK], y[BLOCK], z[2][BLOCK];
  for (uint64_t k = 0; k < BLOCKS; k += 7) {
    fill(k, x, y);
    run(a, op, x, y, z[0], BLOCK);
    run(b, op, x, y, z[1], BLOCK);
    for (int i = 0; i < BLOCK; i++)
      if (!same(z[0][i], z[1][i])) ck_abort_msg("%s(%a, %a): %a and %a", ops[op].name, (double)x[i], (double)y[i], (double)z[0][i], (double)z[1][i]);
  }
}

START_TEST(compilers_and_vector_widths_give_the_same_bits_where_products_are_not_fused) {
  const Way others[] = {{"clang-19", "-march=native -ffp-contract=off"}, {"gcc", "-march=native -ffp-contract=off -fno-tree-vectorize -fno-openmp-simd"}};
  void *so = load(&ways[2]);
  for (int k = 0; k < 2; k++) {
    if (!has_compiler(&others[k])) continue;
    void *other = load(&others[k]);
    for (int op = 0; op < OP_COUNT_; op++) if (is_tested(op)) check_bits(so, other, (Op)op);
    dlclose(other);
  }
  dlclose(so);
} END_TEST

// ---- machine code ------------------------------------------------------------------------------

typedef struct Listing { int packed, calls; bool seen; } Listing;

static bool is_packed(const char *line) {
  return strstr(line, "mulps") || strstr(line, "ddps") || strstr(line, "132ps") || strstr(line, "213ps") || strstr(line, "231ps") || strstr(line, "mulpd");
}

static Listing listing_of(const char *dir, Op op) {
  char command[256], line[512];
  Listing c = {0};
  snprintf(command, sizeof command, "objdump -d --no-show-raw-insn --disassemble=loop_%s %s/f.out", ops[op].name, dir);
  FILE *in = popen(command, "r");
  ck_assert_ptr_nonnull(in);
  while (fgets(line, sizeof line, in)) {
    c.seen |= strstr(line, ">:") != NULL;
    c.packed += is_packed(line);
    c.calls += strstr(line, "\tcall") != NULL;
  }
  ck_assert_int_eq(pclose(in), 0);
  return c;
}

static void check_code(const Way *w) {
  if (!has_compiler(w)) return;
  const char *dir = built_directory();
  compile(w, dir, "-c");
  for (int op = 0; op < OP_COUNT_; op++) {
    if (!is_tested(op)) continue;
    Listing c = listing_of(dir, (Op)op);
    ck_assert_msg(c.seen && c.packed > 0 && c.calls == 0, "%s by %s %s: %d packed instructions, %d calls", ops[op].name, w->cc, w->flags, c.packed, c.calls);
  }
  built_remove(dir);
}

START_TEST(a_loop_of_each_function_vectorises_without_a_call) {
#ifdef __x86_64__
  const char *const machines[] = {"-march=x86-64", "-march=x86-64-v3", "-march=x86-64-v4"}, *const compilers[] = {"gcc", "clang-19"};
  for (int c = 0; c < 2; c++)
    for (int m = 0; m < 3; m++) check_code(&(Way){compilers[c], machines[m]});
#endif
} END_TEST

START_TEST(every_function_that_host_kernels_need_has_its_row) {
  const Op needed[] = {OP_EXP, OP_EXP2, OP_EXPM1, OP_LOG, OP_LOG2, OP_LOG1P, OP_TANH, OP_ERF, OP_ERFC, OP_SIN, OP_COS, OP_TAN,
                       OP_SINH, OP_COSH, OP_ASIN, OP_ACOS, OP_ATAN, OP_ATAN2, OP_CBRT, OP_POW};
  for (size_t k = 0; k < sizeof needed / sizeof *needed; k++) ck_assert_msg(loops_has(needed[k]), "%s", ops[needed[k]].name);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    special_values_are_those_of_annex_f, errors_are_within_the_rows_of_operations_by_gcc, errors_are_within_the_rows_of_operations_by_clang,
    errors_are_within_the_rows_of_operations_without_fma, compilers_and_vector_widths_give_the_same_bits_where_products_are_not_fused,
    a_loop_of_each_function_vectorises_without_a_call, every_function_that_host_kernels_need_has_its_row,
  };
  return UNIT_RUN("math", tests);
}
