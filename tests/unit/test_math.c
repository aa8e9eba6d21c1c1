// test_math.c: the functions of f32 in math.def and their coarse forms: special values, errors, bits, loops that vectorise.
#include "built.h"
#include "tools/math/loops.h"
#include "unit.h"
#include <math.h>
#include <stdint.h>

enum { BLOCK = 4096, STEP = 997 };     // every 997th float: 4.3 million, all exponents and both signs
enum { BLOCKS = (UINT64_C(1) << 32) / STEP / BLOCK + 1 };
static const Way ways[] = {
  {"gcc", "-march=native -ffp-contract=fast"},      // as jit_cc.c
  {"clang-19", "-march=native -ffp-contract=on"},   // as jit_clang.cpp
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

static void run(void *so, const LoopFn *f, const float *x, const float *y, float *z, long n) {
  char name[64];
  snprintf(name, sizeof name, "loop_%s", f->name);
  void *loop = dlsym(so, name);
  ck_assert_ptr_nonnull(loop);
  loops_run(f, loop, x, y, z, n);
}

static double allowed(const LoopFn *f) { return f->relative != 0 ? f->relative : ops[f->op].ulp; }

static void must_be_near(const LoopFn *f, float x, float y, double want, float got, double most) {
  double error = loops_error(f, want, got);
  if (error < 0 || error > most)      // an assertion writes to a pipe each time
    ck_abort_msg("%s(%a, %a) is %a, not %a: %.3g", f->name, (double)x, (double)y, (double)got, (double)(float)want, error);
}

// Where the outcome is 0, ±1, infinite or no number nothing may be rounded. (Annex F does not have erfc(0).)
static void check_special(const LoopFn *f, float x, float y, float got) {
  double want = loops_exact(f, x, y);
  bool plain = (want == 1 || want == -1) && f->op != OP_ERFC;
  must_be_near(f, x, y, want, got, plain ? 0 : allowed(f));
}

static void check_specials(void *so, const LoopFn *f) {
  float x[NSPECIAL * NSPECIAL], y[NSPECIAL * NSPECIAL], z[NSPECIAL * NSPECIAL];
  for (int i = 0; i < NSPECIAL * NSPECIAL; i++) x[i] = special[i % NSPECIAL], y[i] = special[i / NSPECIAL];
  run(so, f, x, y, z, NSPECIAL * NSPECIAL);
  for (int i = 0; i < NSPECIAL * NSPECIAL; i++) check_special(f, x[i], y[i], z[i]);
}

START_TEST(special_values_are_those_of_annex_f) {
  LoopFn list[LOOPS_MOST];
  int n = loops_list(list);
  for (int w = 0; w < WAYS; w++) {
    if (!has_compiler(&ways[w])) continue;
    void *so = load(&ways[w]);
    for (int k = 0; k < n; k++)
      if (!list[k].exact) check_specials(so, &list[k]);
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

static void check_errors(void *const *so, const LoopFn *f) {
  float x[BLOCK], y[BLOCK], z[BLOCK];
  double want[BLOCK];
  for (uint64_t k = 0; k < BLOCKS; k++) {
    fill(k, x, y);
    for (int i = 0; i < BLOCK; i++) want[i] = loops_exact(f, x[i], y[i]);
    for (int w = 0; w < WAYS; w++) {
      if (!so[w]) continue;
      run(so[w], f, x, y, z, BLOCK);
      for (int i = 0; i < BLOCK; i++) must_be_near(f, x[i], y[i], want[i], z[i], allowed(f));
    }
  }
}

START_TEST(errors_are_within_their_bounds_by_both_compilers_with_and_without_fma) {
  LoopFn list[LOOPS_MOST];
  int n = loops_list(list);
  void *so[WAYS] = {NULL};
  for (int w = 0; w < WAYS; w++)
    if (has_compiler(&ways[w])) so[w] = load(&ways[w]);
  for (int k = 0; k < n; k++)
    if (!list[k].exact) check_errors(so, &list[k]);
  for (int w = 0; w < WAYS; w++)
    if (so[w]) dlclose(so[w]);
} END_TEST

// Rounding must not carry a value out of the function's range: 1 - erf(x) is never negative.
START_TEST(values_stay_in_the_range_of_the_function) {
  static const struct { Op op; float low, high; } bounded[] = {
    {OP_TANH, -1, 1}, {OP_ERF, -1, 1}, {OP_ERFC, 0, 2}, {OP_EXP, 0, INFINITY}, {OP_EXP2, 0, INFINITY}, {OP_EXPM1, -1, INFINITY}, {OP_COSH, 1, INFINITY},
  };
  LoopFn list[LOOPS_MOST];
  int n = loops_list(list);
  void *so[] = {load(&ways[0]), load(&ways[3])};
  float x[BLOCK], y[BLOCK], z[BLOCK];
  for (size_t b = 0; b < sizeof bounded / sizeof *bounded; b++)
    for (int m = 0; m < 2 * n; m++) {
      const LoopFn *f = &list[m / 2];
      if (f->exact || f->op != bounded[b].op) continue;
      for (uint64_t k = 0; k < BLOCKS; k++) {
        fill(k, x, y);
        run(so[m % 2], f, x, y, z, BLOCK);
        for (int i = 0; i < BLOCK; i++)
          if (z[i] < bounded[b].low || z[i] > bounded[b].high) ck_abort_msg("%s(%a) is %a", f->name, (double)x[i], (double)z[i]);
      }
    }
  dlclose(so[0]), dlclose(so[1]);
} END_TEST

static void check_bits(void *a, void *b, const LoopFn *f) {
  float x[BLOCK], y[BLOCK], z[2][BLOCK];
  for (uint64_t k = 0; k < BLOCKS; k += 3) {
    fill(k, x, y);
    run(a, f, x, y, z[0], BLOCK);
    run(b, f, x, y, z[1], BLOCK);
    for (int i = 0; i < BLOCK; i++)
      if (!loops_same(z[0][i], z[1][i])) ck_abort_msg("%s(%a, %a): %a and %a", f->name, (double)x[i], (double)y[i], (double)z[0][i], (double)z[1][i]);
  }
}

static void check_ways_agree(const Way *one, const Way *other, bool composed) {
  if (!has_compiler(one) || !has_compiler(other)) return;
  LoopFn list[LOOPS_MOST];
  int n = loops_list(list);
  void *a = load(one), *b = load(other);
  for (int k = 0; k < n; k++)
    if (composed || !list[k].exact) check_bits(a, b, &list[k]);
  dlclose(a), dlclose(b);
}

// Compositions are programs' own: there -ffp-contract decides.
START_TEST(compilers_give_the_same_bits_however_they_fuse_products) { check_ways_agree(&ways[0], &ways[1], false); } END_TEST

START_TEST(vector_widths_give_the_same_bits) {
#ifdef __x86_64__
  check_ways_agree(&ways[0], &(Way){"gcc", "-march=x86-64-v3 -ffp-contract=fast"}, true);
  check_ways_agree(&ways[2], &(Way){"gcc", "-march=native -ffp-contract=off -fno-tree-vectorize -fno-openmp-simd"}, true);
#endif
} END_TEST

// ---- machine code ------------------------------------------------------------------------------

typedef struct Listing { int packed, calls; bool seen; } Listing;

static bool is_packed(const char *line) {
  return strstr(line, "mulps") || strstr(line, "ddps") || strstr(line, "132ps") || strstr(line, "213ps") || strstr(line, "231ps") || strstr(line, "mulpd") || strstr(line, "sqrtps");
}

static Listing listing_of(const char *dir, const LoopFn *f) {
  char command[512], line[512];
  Listing c = {0};
  snprintf(command, sizeof command, "objdump -d --no-show-raw-insn --disassemble=loop_%.32s %s/f.out", f->name, dir);
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
  LoopFn list[LOOPS_MOST];
  int n = loops_list(list);
  const char *dir = built_directory();
  compile(w, dir, "-c");
  for (int k = 0; k < n; k++) {
    Listing c = listing_of(dir, &list[k]);
    ck_assert_msg(c.seen && c.packed > 0 && c.calls == 0, "%s by %s %s: %d packed instructions, %d calls", list[k].name, w->cc, w->flags, c.packed, c.calls);
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
    special_values_are_those_of_annex_f, errors_are_within_their_bounds_by_both_compilers_with_and_without_fma,
    values_stay_in_the_range_of_the_function, compilers_give_the_same_bits_however_they_fuse_products, vector_widths_give_the_same_bits,
    a_loop_of_each_function_vectorises_without_a_call, every_function_that_host_kernels_need_has_its_row,
  };
  return UNIT_RUN("math", tests);
}
