#include "runtime/jit.h"
#include "runtime/jit_symbols.h"
#include "runtime/pool.h"
#include "unit.h"
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__has_feature)
#define ADDRESS_SANITIZER (__has_feature(address_sanitizer))
#elif defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#else
#define ADDRESS_SANITIZER 0
#endif

// Asked by the leak sanitizer before it looks. When LLVM gives up, what it had allocated is lost.
static bool llvm_gave_up;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return llvm_gave_up; }

// The thread sanitizer does not see that the loader unmaps a library before it maps another there.
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) { return "race:cc_load\n"; }

// A pointer to compiled code as a function; ISO C has no cast for it.
typedef void Function(void);
static Function *entry(const JitModule *m, const char *name) {
  void *p = jit_symbol(m, name);
  ck_assert_msg(p != NULL, "no symbol %s", name);
  Function *f;
  memcpy(&f, &p, sizeof f);
  return f;
}
#define ENTRY(m, name, type) ((type)entry((m), (name)))

// The back ends that are here: Clang in the process, and each system compiler. A build with Clang must have Clang.
typedef struct BackEnd { JitBackend backend; const char *cc; } BackEnd;
static int back_ends(BackEnd *list) {
  static const BackEnd all[] = { { JIT_CLANG, NULL }, { JIT_CC, "/usr/bin/clang" }, { JIT_CC, "/usr/bin/clang-19" }, { JIT_CC, "/usr/bin/gcc" } };
  int n = 0;
  for (int i = 0; i < 4; i++) {
    JitError e = { 0 };
    Jit *j = jit_create(&(JitOptions){ .backend = all[i].backend });
    if (all[i].cc ? access(all[i].cc, X_OK) == 0 : jit_backend(j, &e) == all[i].backend) list[n++] = all[i];
#ifdef PLAIT_CLANG
    ck_assert_msg(n > 0, "%s", e.text);
#endif
    jit_error_clear(&e);
    jit_free(j);
  }
  ck_assert_int_gt(n, 0);
  return n;
}
#define EACH_BACK_END(b) \
  BackEnd all_[4]; \
  int n_ = back_ends(all_); \
  for (BackEnd *b = all_; b < all_ + n_; b++)
#define BACK_END(b) .backend = (b)->backend, .cc = (b)->cc

static JitModule *compile(Jit *j, const char *text) {
  JitError e = { 0 };
  JitModule *m = jit_compile(j, text, strlen(text), &e);
  ck_assert_msg(m != NULL, "%s", e.text);
  return m;
}

// The fault of a text that must not compile, with its message in buf.
static JitFault fault_of(Jit *j, const char *text, char *buf, size_t n) {
  JitError e = { 0 };
  JitModule *m = jit_compile(j, text, strlen(text), &e);
  ck_assert_msg(m == NULL, "compiled: %s", text);
  ck_assert_ptr_nonnull(e.text);
  snprintf(buf, n, "%s", e.text);
  JitFault f = e.fault;
  jit_error_clear(&e);
  return f;
}

static bool has_clang(void) {
  BackEnd list[4];
  return back_ends(list) && list[0].backend == JIT_CLANG;
}

// ---- right results ---------------------------------------------------------------------------------------------

static const char softmax[] =
  "void softmax(const float *restrict x, float *restrict y, long n, long d) {\n"
  "#pragma omp parallel for schedule(static)\n"
  "  for (long i = 0; i < n; i++) {\n"
  "    const float *row = x + i * d;\n"
  "    float m = -__builtin_inff(), s = 0;\n"
  "    for (long j = 0; j < d; j++) m = row[j] > m ? row[j] : m;\n"
  "    for (long j = 0; j < d; j++) s += y[i * d + j] = __builtin_expf(row[j] - m);\n"
  "#pragma omp simd\n"
  "    for (long j = 0; j < d; j++) y[i * d + j] /= s;\n"
  "  }\n"
  "}\n";
typedef void Softmax(const float *, float *, long, long);
enum { ROWS = 33, COLS = 100 };

START_TEST(softmax_is_right_with_every_back_end_and_count_of_threads) {
  static float x[ROWS * COLS], y[ROWS * COLS];
  for (int i = 0; i < ROWS * COLS; i++) x[i] = (float)(i * 7919 % 1000) / 100;
  EACH_BACK_END(b) {
    Jit *j = jit_create(&(JitOptions){ BACK_END(b) });
    JitModule *m = compile(j, softmax);
    ck_assert_int_eq(jit_module_backend(m), b->backend);
    for (int threads = 1; threads <= 5; threads++) {
      pool_set_threads(threads);
      memset(y, 0, sizeof y);
      ENTRY(m, "softmax", Softmax *)(x, y, ROWS, COLS);
      for (int i = 0; i < ROWS; i++) {
        double s = 0;
        for (int k = 0; k < COLS; k++) s += exp(x[i * COLS + k]);
        for (int k = 0; k < COLS; k++) ck_assert_double_eq_tol(y[i * COLS + k], exp(x[i * COLS + k]) / s, 1e-6);
      }
    }
    jit_release(m);
    jit_free(j);
  }
} END_TEST

// One loop of each type, each schedule that a kernel may have, collapsed loops, and loops that run no time.
static const char loops[] =
  "#define LOOP(name, T, pragma) void name(unsigned char *hit, T lo, T hi, T by) { _Pragma(pragma) for (T i = lo; i < hi; i += by) hit[i] += 1; }\n"
  "LOOP(i4, int, \"omp parallel for schedule(static)\")\n"
  "LOOP(u4, unsigned, \"omp parallel for schedule(static)\")\n"
  "LOOP(i8, long, \"omp parallel for schedule(static)\")\n"
  "LOOP(u8, unsigned long, \"omp parallel for schedule(static)\")\n"
  "LOOP(c4, int, \"omp parallel for schedule(static, 3)\")\n"
  "LOOP(c8, unsigned long, \"omp parallel for schedule(static, 2)\")\n"
  "LOOP(two, long, \"omp parallel for schedule(static) num_threads(2)\")\n"
  "LOOP(off, long, \"omp parallel for schedule(static) if(0)\")\n"
  "void pair(unsigned char *hit, long n, long m) {\n"
  "  _Pragma(\"omp parallel for collapse(2) schedule(static)\") for (long i = 0; i < n; i++) for (long j = 0; j < m; j++) hit[i * m + j] += 1;\n"
  "}\n"
  "void both(unsigned char *hit, int n) {\n"
  "#pragma omp parallel\n"
  "  {\n"
  "#pragma omp for schedule(static)\n"
  "    for (int i = 0; i < n; i++) hit[i] += 1;\n"
  "#pragma omp for schedule(static)\n"
  "    for (int i = 0; i < n; i++) hit[i] *= hit[n - 1 - i];\n"
  "  }\n"
  "}\n";

static int hits(const unsigned char *hit, int lo, int hi, int by) {
  int wrong = 0;
  for (int i = 0; i < 256; i++) wrong += hit[i] != (i >= lo && i < hi && (i - lo) % by == 0);
  return wrong;
}

#define CHECK_LOOP(m, name, T)                                                                    \
  for (int lo = 0; lo < 3; lo++)                                                                  \
    for (int hi = 0; hi < 60; hi += 7)                                                            \
      for (int by = 1; by < 4; by++) {                                                            \
        memset(hit, 0, sizeof hit);                                                               \
        ENTRY(m, name, void (*)(unsigned char *, T, T, T))(hit, (T)lo, (T)hi, (T)by);             \
        ck_assert_msg(hits(hit, lo, hi, by) == 0, "%s %d..%d by %d", name, lo, hi, by);           \
      }

START_TEST(parallel_loops_of_every_type_run_each_iteration_once) {
  static unsigned char hit[256];
  EACH_BACK_END(b) {
    Jit *j = jit_create(&(JitOptions){ BACK_END(b) });
    JitModule *m = compile(j, loops);
    for (int threads = 1; threads <= 7; threads += 2) {
      pool_set_threads(threads);
      CHECK_LOOP(m, "i4", int)
      CHECK_LOOP(m, "u4", unsigned)
      CHECK_LOOP(m, "i8", long)
      CHECK_LOOP(m, "u8", unsigned long)
      CHECK_LOOP(m, "c4", int)
      CHECK_LOOP(m, "c8", unsigned long)
      CHECK_LOOP(m, "two", long)
      CHECK_LOOP(m, "off", long)
      memset(hit, 0, sizeof hit);
      ENTRY(m, "pair", void (*)(unsigned char *, long, long))(hit, 11, 13);
      ck_assert_int_eq(hits(hit, 0, 11 * 13, 1), 0);
      memset(hit, 0, sizeof hit);
      ENTRY(m, "both", void (*)(unsigned char *, int))(hit, 200);
      ck_assert_int_eq(hits(hit, 0, 200, 1), 0);
    }
    jit_release(m);
    jit_free(j);
  }
} END_TEST

// A kernel may have hundreds of parameters, and its loop uses them all.
START_TEST(a_loop_may_use_three_hundred_variables) {
  static char text[32768];
  size_t n = 0;
#define PUT(...) n += (size_t)snprintf(text + n, sizeof text - n, __VA_ARGS__)
  PUT("void many(int *out, const int *in, int n) {\n");
  for (int i = 0; i < 300; i++) PUT("  int v%d = in[%d];\n", i, i);
  PUT("#pragma omp parallel for schedule(static)\n  for (int i = 0; i < n; i++) out[i] = i");
  for (int i = 0; i < 300; i++) PUT(" + v%d * %d", i, i + 1);
  PUT(";\n}\n");
#undef PUT
  int in[300], out[10], sum = 0;
  for (int i = 0; i < 300; i++) sum += (in[i] = i % 17) * (i + 1);
  pool_set_threads(3);
  EACH_BACK_END(b) {
    Jit *j = jit_create(&(JitOptions){ BACK_END(b), .opt = -1 });
    JitModule *m = compile(j, text);
    ENTRY(m, "many", void (*)(int *, const int *, int))(out, in, 10);
    for (int i = 0; i < 10; i++) ck_assert_int_eq(out[i], sum + i);
    jit_release(m);
    jit_free(j);
  }
} END_TEST

START_TEST(modules_may_use_the_same_names) {
  EACH_BACK_END(b) {
    Jit *j = jit_create(&(JitOptions){ BACK_END(b) });
    JitModule *one = compile(j, "int x = 10; int f(void) { return x + 1; }"), *two = compile(j, "int x = 20; int f(void) { return x + 2; }");
    ck_assert_int_eq(ENTRY(one, "f", int (*)(void))(), 11);
    ck_assert_int_eq(ENTRY(two, "f", int (*)(void))(), 22);
    *(int *)jit_symbol(one, "x") = 5;
    jit_release(two);
    ck_assert_int_eq(ENTRY(one, "f", int (*)(void))(), 6);
    ck_assert_ptr_null(jit_symbol(one, "g"));
    ck_assert_ptr_null(jit_symbol(one, "malloc"));
    jit_release(one);
    jit_free(j);
  }
} END_TEST

// (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 exactly, and 0 when the product is rounded to float first.
START_TEST(strict_text_is_not_contracted) {
  static const char text[] = "float f(float x, float y) { return x * x - y; }";
  EACH_BACK_END(b) {
    Jit *j = jit_create(&(JitOptions){ BACK_END(b), .strict = true });
    JitModule *m = compile(j, text);
    ck_assert(ENTRY(m, "f", float (*)(float, float))(0x1.001p0f, 0x1.002p0f) == 0);
    jit_release(m);
    jit_free(j);
  }
} END_TEST

START_TEST(a_cap_on_the_machine_gives_code_that_runs) {
  static const char *const caps[] = { "native", "sse2", "sse4", "avx2", "avx512" };
  float x[64], y[64];
  for (int i = 0; i < 64; i++) x[i] = (float)i;
  EACH_BACK_END(b)
    for (size_t c = 0; c < sizeof caps / sizeof *caps; c++) {
      Jit *j = jit_create(&(JitOptions){ BACK_END(b), .march = caps[c] });
      JitModule *m = compile(j, softmax);
      ENTRY(m, "softmax", Softmax *)(x, y, 1, 64);
      ck_assert_double_eq_tol(y[63], 1 - exp(-1), 1e-6);    // a geometric series
      jit_release(m);
      jit_free(j);
    }
} END_TEST

// The machine without instructions for them calls our conversions; the answers are by the compiler's own arithmetic.
START_TEST(conversions_of_16_bit_floats_round_to_nearest_even) {
  if (!has_clang()) return;
  static const char text[] =
    "_Float16 narrow(float x) { return (_Float16)x; }\n"
    "_Float16 narrow2(double x) { return (_Float16)x; }\n"
    "float widen(_Float16 x) { return x; }\n"
    "unsigned short narrow_bits(float x) { _Float16 h = x; return *(unsigned short *)&h; }\n"
    "unsigned short narrow2_bits(double x) { _Float16 h = x; return *(unsigned short *)&h; }\n"
    "float widen_bits(unsigned short u) { return *(_Float16 *)&u; }\n"
    "unsigned short brain_bits(float x) { __bf16 h = (__bf16)x; return *(unsigned short *)&h; }\n";
  Jit *a = jit_create(&(JitOptions){ .backend = JIT_CLANG, .march = "sse2" }), *n = jit_create(&(JitOptions){ .backend = JIT_CLANG });
  JitModule *ma = compile(a, text), *mn = compile(n, text);
  typedef unsigned short Narrow(float), Narrow2(double);
  Narrow *slow = ENTRY(ma, "narrow_bits", Narrow *), *fast = ENTRY(mn, "narrow_bits", Narrow *);
  Narrow2 *slow2 = ENTRY(ma, "narrow2_bits", Narrow2 *);
  float (*widen_slow)(unsigned short) = ENTRY(ma, "widen_bits", float (*)(unsigned short));
  float (*widen_fast)(unsigned short) = ENTRY(mn, "widen_bits", float (*)(unsigned short));
  for (uint32_t h = 0; h < 65536; h++) {
    float x = widen_slow((unsigned short)h), y = widen_fast((unsigned short)h);
    ck_assert_msg(memcmp(&x, &y, 4) == 0, "widening %04x", h);
  }
  int wrong = 0;
  for (uint64_t u = 0; u < UINT64_C(1) << 32; u += 997) {
    uint32_t bits = (uint32_t)u;
    float x;
    memcpy(&x, &bits, 4);
    wrong += slow(x) != fast(x) || slow2(x) != fast(x);
  }
  ck_assert_int_eq(wrong, 0);
  // A double just above the middle between two halves, which a float cannot tell from the middle.
  ck_assert_uint_eq(slow2(1 + 0x1p-11 + 0x1p-40), 0x3c01);
  ck_assert_uint_eq(slow2(1 + 0x1p-11), 0x3c00);
  ck_assert_uint_eq(slow2(1 + 0x1p-11 - 0x1p-40), 0x3c00);
  Narrow *brain = ENTRY(ma, "brain_bits", Narrow *);
  ck_assert_uint_eq(brain(1 + 0x1p-8f), 0x3f80);                // the middle: to even
  ck_assert_uint_eq(brain(1 + 0x1p-8f + 0x1p-20f), 0x3f81);
  ck_assert_uint_eq(brain(-INFINITY), 0xff80);
  jit_release(ma), jit_release(mn), jit_free(a), jit_free(n);
} END_TEST

// ---- errors ----------------------------------------------------------------------------------------------------

START_TEST(a_syntax_error_comes_back_as_text_with_its_line) {
  EACH_BACK_END(b) {
    char text[4096];
    Jit *j = jit_create(&(JitOptions){ BACK_END(b) });
    ck_assert_int_eq(fault_of(j, "int x;\nint f(void) { return y + ; }\n", text, sizeof text), JIT_TEXT);
    ck_assert_msg(strstr(text, "plait.c:2:") != NULL, "%s", text);
    ck_assert_msg(strstr(text, "error") != NULL, "%s", text);
    jit_release(compile(j, "int f(void) { return 1; }"));
    jit_free(j);
  }
} END_TEST

START_TEST(an_unknown_symbol_is_an_error_that_names_it) {
  EACH_BACK_END(b) {
    char text[4096];
    Jit *j = jit_create(&(JitOptions){ BACK_END(b) });
    ck_assert_int_eq(fault_of(j, "float no_such_thing(float); float f(float x) { return no_such_thing(x); }", text, sizeof text), JIT_SYMBOL);
    ck_assert_msg(strstr(text, "no_such_thing") != NULL, "%s", text);
    jit_release(compile(j, "int f(void) { return 1; }"));
    jit_free(j);
  }
} END_TEST

START_TEST(openmp_that_the_pool_does_not_serve_is_an_error) {
  EACH_BACK_END(b) {
    char text[4096];
    Jit *j = jit_create(&(JitOptions){ BACK_END(b) });
    ck_assert_int_eq(fault_of(j, "void f(int *x, int n) {\n#pragma omp parallel for schedule(dynamic)\nfor (int i = 0; i < n; i++) x[i]++;\n}\n", text, sizeof text), JIT_SYMBOL);
    jit_free(j);
  }
} END_TEST

START_TEST(warnings_are_text_and_no_error) {
  static const char text[] = "int f(int a) { int b; return 1; }";
  EACH_BACK_END(b) {
    Jit *quiet = jit_create(&(JitOptions){ BACK_END(b) }), *loud = jit_create(&(JitOptions){ BACK_END(b), .warnings = true });
    JitModule *q = compile(quiet, text), *l = compile(loud, text);
    ck_assert_str_eq(jit_log(q), "");
    ck_assert_msg(strstr(jit_log(l), "plait.c:1:") && strstr(jit_log(l), "unused") && !strstr(jit_log(l), "prelude"), "%s", jit_log(l));
    jit_release(q), jit_release(l), jit_free(quiet), jit_free(loud);
  }
} END_TEST

START_TEST(no_compiler_is_an_error_that_says_what_to_install) {
  JitError e = { 0 };
  Jit *j = jit_create(&(JitOptions){ .backend = JIT_CC, .path = "/nonexistent" });
  ck_assert_ptr_null(jit_compile(j, "", 0, &e));
  ck_assert_int_eq(e.fault, JIT_NO_BACKEND);
  ck_assert_ptr_nonnull(strstr(e.text, "install"));
  ck_assert_ptr_null(jit_identity(j));
  jit_error_clear(&e);
  jit_free(j);
  j = jit_create(&(JitOptions){ .backend = JIT_CC, .cc = "/nonexistent/cc" });
  ck_assert_ptr_null(jit_compile(j, "", 0, &e));
  ck_assert_int_eq(e.fault, JIT_SYSTEM);
  jit_error_clear(&e);
  jit_free(j);
} END_TEST

static int entries(const char *dir) {
  DIR *d = opendir(dir);
  int n = 0;
  while (readdir(d)) n++;
  closedir(d);
  return n - 2;                        // "." and ".."
}

START_TEST(cc_leaves_no_file_behind_and_ends_in_time) {
  char dir[] = "/tmp/test_jit-XXXXXX", text[4096];
  ck_assert_ptr_nonnull(mkdtemp(dir));
  Jit *j = jit_create(&(JitOptions){ .backend = JIT_CC, .tmpdir = dir });
  if (jit_backend(j, NULL)) {
    jit_release(compile(j, "int f(void) { return 1; }"));
    fault_of(j, "int f(", text, sizeof text);
    ck_assert_int_eq(entries(dir), 0);
    Jit *hasty = jit_create(&(JitOptions){ .backend = JIT_CC, .tmpdir = dir, .time_limit_ms = 2 });
    ck_assert_int_eq(fault_of(hasty, softmax, text, sizeof text), JIT_TIMEOUT);
    ck_assert_int_eq(entries(dir), 0);
    jit_free(hasty);
  }
  jit_free(j);
  rmdir(dir);
} END_TEST

// ---- text that means harm --------------------------------------------------------------------------------------

// What is written to file descriptor 2 while body runs; LLVM writes there by itself.
static size_t said_on_stderr(void (*body)(Jit *), Jit *j) {
  int saved = dup(2), file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
  dup2(file, 2);
  body(j);
  dup2(saved, 2);
  close(saved);
  off_t n = lseek(file, 0, SEEK_END);
  close(file);
  return (size_t)n;
}

static const char *const hostile[] = {
  "#include \"/etc/passwd\"\n",
  "#include </etc/passwd>\n",
  "#include <stdio.h>\n",
  "#include \"/proc/self/environ\"\n",
  "#include_next \"/etc/passwd\"\n",
  "const char x[] = {\n#embed \"/etc/passwd\"\n};\n",
  "#if __has_include(\"/etc/passwd\")\nint found;\n#else\n#error absent\n#endif\n",
  "#if __has_embed(\"/etc/passwd\")\nint found;\n#else\n#error absent\n#endif\n",
  "__asm__(\".incbin \\\"/etc/passwd\\\"\");\n",
  "void f(void) { __asm__(\".incbin \\\"/etc/passwd\\\"\"); }\n",
  "void f(void) { __asm__ volatile(\"syscall\"); }\n",
  "#pragma clang __debug crash\nint x;\n",
  "#pragma clang __debug llvm_fatal_error\nint x;\n",
  "_Pragma(\"clang __debug parser_crash\")\nint x;\n",
  "#pragma GCC dependency \"/etc/passwd\"\nint x;\n",
  "int system(const char *); int f(void) { return system(\"true\"); }\n",
  "char *getenv(const char *); char *f(void) { return getenv(\"HOME\"); }\n",
  "int open(const char *, int, ...); int f(void) { return open(\"/etc/passwd\", 0); }\n",
  "long syscall(long, ...); long f(void) { return syscall(39); }\n",
  "int f(void) { __builtin_printf(\"x\\n\"); return 0; }\n",
  "void abort(void); void f(void) { abort(); }\n",
  "extern int jit_symbols; int *f(void) { return &jit_symbols; }\n",
  "int x = 08;\n\xff\xfe\x01",
};

static void compile_hostile(Jit *j) {
  char text[4096];
  for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
    JitFault f = fault_of(j, hostile[i], text, sizeof text);
    ck_assert_msg((f == JIT_TEXT || f == JIT_SYMBOL) && !strstr(text, "root:"), "%s: fault %d: %s", hostile[i], f, text);
  }
}

START_TEST(hostile_text_reads_no_file_and_calls_nothing_of_the_process) {
  if (!has_clang()) return;
  Jit *j = jit_create(&(JitOptions){ .backend = JIT_CLANG });
  ck_assert_uint_eq(said_on_stderr(compile_hostile, j), 0);
  jit_release(compile(j, "int f(void) { return 1; }"));
  jit_free(j);
} END_TEST

static const char *const harmless[] = {
  "#pragma comment(lib, \"evil\")\nint f(void) { return 1; }",
  "#pragma weak absent\nextern void absent(void); int f(void) { return absent != 0; }",
  "__attribute__((constructor)) void start(void) { __builtin_trap(); }\nint f(void) { return 1; }",
  "__attribute__((section(\".init_array\"))) void (*p)(void) = (void (*)(void))1;\nint f(void) { return 1; }",
  "int f(void) { return sizeof __FILE__ + sizeof __DATE__ + sizeof __TIMESTAMP__; }",
  "_Thread_local int x; int *f(void) { return &x; }",
  "int f(void) { __builtin_unreachable(); }",
};

// Texts that may compile or not, but must not print or end the process.
static void compile_odd(Jit *j) {
  for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
    JitError e = { 0 };
    jit_release(jit_compile(j, harmless[i], strlen(harmless[i]), &e));
    jit_error_clear(&e);
  }
}

START_TEST(odd_text_prints_nothing_and_runs_nothing_by_itself) {
  if (!has_clang()) return;
  Jit *j = jit_create(&(JitOptions){ .backend = JIT_CLANG });
  ck_assert_uint_eq(said_on_stderr(compile_odd, j), 0);
  jit_release(compile(j, "int f(void) { return 1; }"));
  jit_free(j);
} END_TEST

// An intrinsic of a machine that this is not: LLVM calls report_fatal_error in instruction selection.
static const char fatal_text[] = "extern int odd(int) __asm__(\"llvm.aarch64.crc32b\");\nint f(int x) { return odd(x); }\n";
static void compile_fatal(Jit *j) {
  JitError e = { 0 };
  ck_assert_ptr_null(jit_compile(j, fatal_text, strlen(fatal_text), &e));
  jit_error_clear(&e);
}

START_TEST(when_llvm_gives_up_the_process_goes_on_with_cc) {
  if (!has_clang()) return;
  Jit *j = jit_create(&(JitOptions){ 0 }), *only = jit_create(&(JitOptions){ .backend = JIT_CLANG });
  JitModule *before = compile(j, "int f(void) { return 1; }");
  llvm_gave_up = true;
  ck_assert_int_eq(jit_module_backend(before), JIT_CLANG);
  ck_assert_uint_eq(said_on_stderr(compile_fatal, j), 0);
  char text[4096];
  ck_assert_int_eq(fault_of(only, "int x;", text, sizeof text), JIT_NO_BACKEND);
  ck_assert_int_eq(ENTRY(before, "f", int (*)(void))(), 1);
  if (jit_backend(j, NULL)) {
    JitModule *after = compile(j, "int f(void) { return 2; }");
    ck_assert_int_eq(jit_module_backend(after), JIT_CC);
    ck_assert_int_eq(ENTRY(after, "f", int (*)(void))(), 2);
    jit_release(after);
  }
  jit_release(before);
  jit_free(j);
  jit_free(only);
} END_TEST

// ---- the rest of the interface ---------------------------------------------------------------------------------

START_TEST(every_listed_function_can_be_called) {
  if (!has_clang()) return;
  static char text[65536];
  size_t n = 0;
  for (size_t i = 0; i < jit_nsymbols; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, "void p%zu(void) __asm__(\"%s\"); void *f%zu(void) { return (void *)p%zu; }\n", i, jit_symbols[i].name, i, i);
  Jit *j = jit_create(&(JitOptions){ .backend = JIT_CLANG });
  JitModule *m = compile(j, text);
  for (size_t i = 0; i < jit_nsymbols; i++) {
    char name[32];
    snprintf(name, sizeof name, "f%zu", i);
    ck_assert_uint_eq((uintptr_t)ENTRY(m, name, void *(*)(void))(), (uintptr_t)jit_symbols[i].address);
    for (size_t k = 0; k < i; k++) ck_assert_str_ne(jit_symbols[i].name, jit_symbols[k].name);
  }
  jit_release(m);
  jit_free(j);
} END_TEST

START_TEST(kept_objects_load_again) {
  EACH_BACK_END(b) {
    Jit *j = jit_create(&(JitOptions){ BACK_END(b), .keep_object = true }), *k = jit_create(&(JitOptions){ BACK_END(b) });
    JitModule *m = compile(j, softmax);
    size_t n;
    const void *object = jit_object(m, &n);
    ck_assert_uint_gt(n, 100);
    JitModule *again = jit_load(k, object, n, NULL);
    ck_assert_ptr_nonnull(again);
    float x[2] = { 1, 1 }, y[2];
    ENTRY(again, "softmax", Softmax *)(x, y, 1, 2);
    ck_assert(y[0] == 0.5f && y[1] == 0.5f);
    ck_assert_str_eq(jit_identity(j), jit_identity(k));
    JitError e = { 0 };
    ck_assert_ptr_null(jit_load(k, "nonsense", 8, &e));
    ck_assert_int_eq(e.fault, JIT_SYSTEM);
    jit_error_clear(&e);
    jit_release(again), jit_release(m), jit_free(k), jit_free(j);
  }
} END_TEST

START_TEST(the_same_text_gives_the_same_bytes) {
  EACH_BACK_END(b) {
    Jit *j = jit_create(&(JitOptions){ BACK_END(b), .keep_object = true });
    JitModule *m = compile(j, softmax), *again = compile(j, softmax);
    size_t n, k;
    const void *x = jit_object(m, &n), *y = jit_object(again, &k);
    ck_assert(n == k && memcmp(x, y, n) == 0);
    jit_release(m), jit_release(again), jit_free(j);
  }
} END_TEST

START_TEST(times_add_up) {
  EACH_BACK_END(b) {
    Jit *j = jit_create(&(JitOptions){ BACK_END(b) });
    JitModule *m = compile(j, softmax);
    JitTimes t = jit_times(m);
    double sum = t.load_ms + t.parse_ms + t.opt_ms + t.codegen_ms + t.link_ms;
    ck_assert(t.parse_ms >= 0 && t.opt_ms >= 0 && t.codegen_ms > 0 && t.link_ms > 0);
    ck_assert_double_le(sum, t.total_ms + 0.01);
    ck_assert_double_gt(sum, t.total_ms * 0.5);
    jit_release(m);
    jit_free(j);
  }
} END_TEST

static long resident_kib(void) {
  FILE *f = fopen("/proc/self/statm", "r");
  long size = 0, resident = 0;
  int n = fscanf(f, "%ld %ld", &size, &resident);
  fclose(f);
  return n == 2 ? resident * (sysconf(_SC_PAGESIZE) / 1024) : -1;
}

START_TEST(memory_does_not_grow_with_compilations) {
  EACH_BACK_END(b) {
    int cycles = b->backend == JIT_CLANG ? 200 : 8;
    Jit *j = jit_create(&(JitOptions){ BACK_END(b) });
    long start = 0;
    for (int i = 0; i < cycles; i++) {
      JitModule *m = compile(j, softmax);
      jit_release(m);
      if (i == cycles / 4) start = resident_kib();
    }
    long most = ADDRESS_SANITIZER ? 200 << 10 : 4096;     // its quarantine grows
    ck_assert_int_lt(resident_kib() - start, most);
    jit_free(j);
  }
} END_TEST

typedef struct Worker { Jit *j; int id; bool ok; pthread_t thread; } Worker;
static void *compile_many(void *arg) {
  Worker *w = arg;
  w->ok = true;
  for (int i = 0; i < 3; i++) {
    char text[256];
    int n = snprintf(text, sizeof text, "int f(int x) { return x * %d + %d; }", w->id, i);
    JitModule *m = jit_compile(w->j, text, (size_t)n, NULL);
    w->ok = w->ok && m && ENTRY(m, "f", int (*)(int))(3) == 3 * w->id + i;
    jit_release(m);
  }
  return NULL;
}

START_TEST(threads_may_compile_at_once) {
  EACH_BACK_END(b) {
    Worker w[4];
    Jit *j = jit_create(&(JitOptions){ BACK_END(b) });
    for (int i = 0; i < 4; i++) {
      w[i] = (Worker){ .j = j, .id = i + 1 };
      pthread_create(&w[i].thread, NULL, compile_many, &w[i]);
    }
    for (int i = 0; i < 4; i++) {
      pthread_join(w[i].thread, NULL);
      ck_assert(w[i].ok);
    }
    jit_free(j);
  }
} END_TEST

// ---- figures ---------------------------------------------------------------------------------------------------

static void bench_back_end(JitBackend backend, const char *cc) {
  Jit *j = jit_create(&(JitOptions){ .backend = backend, .cc = cc });
  for (int i = 0; i < 5; i++) {
    JitModule *m = jit_compile(j, softmax, strlen(softmax), NULL);
    if (i == 0) printf("%s\n", m ? jit_identity(j) : "not here");
    if (!m) break;
    JitTimes t = jit_times(m);
    printf("  load %.1f parse %.1f opt %.1f codegen %.1f link %.2f total %.1f ms, resident %ld MiB\n", t.load_ms, t.parse_ms, t.opt_ms,
           t.codegen_ms, t.link_ms, t.total_ms, resident_kib() >> 10);
    jit_release(m);
  }
  jit_free(j);
}

static int bench(void) {
  bench_back_end(JIT_CLANG, NULL);
  bench_back_end(JIT_CC, "/usr/bin/clang-19");
  bench_back_end(JIT_CC, "/usr/bin/gcc");
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--bench") == 0) return bench();
  const TTest *tests[] = {
    softmax_is_right_with_every_back_end_and_count_of_threads, parallel_loops_of_every_type_run_each_iteration_once,
    a_loop_may_use_three_hundred_variables, modules_may_use_the_same_names, strict_text_is_not_contracted,
    a_cap_on_the_machine_gives_code_that_runs, conversions_of_16_bit_floats_round_to_nearest_even,
    a_syntax_error_comes_back_as_text_with_its_line, an_unknown_symbol_is_an_error_that_names_it,
    openmp_that_the_pool_does_not_serve_is_an_error, warnings_are_text_and_no_error, no_compiler_is_an_error_that_says_what_to_install,
    cc_leaves_no_file_behind_and_ends_in_time, hostile_text_reads_no_file_and_calls_nothing_of_the_process,
    odd_text_prints_nothing_and_runs_nothing_by_itself, when_llvm_gives_up_the_process_goes_on_with_cc,
    every_listed_function_can_be_called, kept_objects_load_again, the_same_text_gives_the_same_bytes, times_add_up,
    memory_does_not_grow_with_compilations, threads_may_compile_at_once,
  };
  return UNIT_RUN("jit", tests);
}
