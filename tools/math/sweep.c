// sweep.c: the error of the functions of math.def over all floats, and their time beside libm's.
//
//   sweep [--step N] [--cc CC] [--flags FLAGS] [--time] [NAME]...
//
// Judges against op_eval in double, which is glibc's: below one unit in 2^-53, 2^-29 of a float's. Every N-th of the 2^32
// floats; of functions of two operands 2^28 / N random pairs, and all pairs of special values. Prints lines of the table of
// docs/math.md; a line that starts with `wrong` is a special value that C's Annex F has otherwise; the exit status is 1 then.
#include "tools/math/loops.h"
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096 };

typedef struct Worst { double units; float x, y; long wrong; } Worst;
typedef struct Sweep { void *so; Op op; bool two; uint32_t step; Worst worst; } Sweep;

static const float special[] = {
  0, -0.0f, 1, -1, 2, -2, 3, -3, .5f, -.5f, 1.5f, -1.5f, 0x1p-149f, -0x1p-149f, 0x1p-126f, -0x1p-126f, 0x1.fffffep127f, -0x1.fffffep127f,
  INFINITY, -INFINITY, NAN, 0x1.fffffep-1f, -0x1.fffffep-1f, 0x1.000002p0f, 8388607.5f, -8388609, 16777215, -16777215, 16777216, 0x1p26f, 1e10f, -1e10f,
};
enum { NSPECIAL = sizeof special / sizeof *special };

static float float_of(uint32_t bits) { float x; memcpy(&x, &bits, sizeof x); return x; }

static double exact(Op op, float x, float y) {
  Scalar a[2] = {{.f = (double)x}, {.f = (double)y}}, z;
  op_eval(op, DT_F64, a, &z);
  return z.f;
}

static void judge(Sweep *s, float x, float y, float got) {
  double want = exact(s->op, x, y);
  float rounded = (float)want;
  bool tiny = fabs(want) < 0x1p-126 && fabsf(got) <= 0x1p-126f && (want != 0 || got == 0);      // may be flushed
  if (tiny && (want != 0 || !signbit(want) == !signbit(got))) return;
  if (isnan(rounded) && isnan(got)) return;
  if (tiny || isnan(rounded) || isnan(got) || ((isinf(rounded) || isinf(got)) && rounded != got)) {
    if (!s->worst.wrong++) printf("wrong: %s(%a, %a) gives %a, not %a\n", ops[s->op].name, (double)x, (double)y, (double)got, (double)rounded);
    return;
  }
  int e;
  if (isinf(rounded)) return;
  frexp(want, &e);
  double units = fabs((double)got - want) * ldexp(1, 24 - (e < -125 ? -125 : e));
  if (units > s->worst.units) s->worst.units = units, s->worst.x = x, s->worst.y = y;
}

static void *loop_of(const Sweep *s) {
  char name[64];
  snprintf(name, sizeof name, "loop_%s", ops[s->op].name);
  return dlsym(s->so, name);
}

static void run(const Sweep *s, const float *x, const float *y, float *z, long n) {
  void *f = loop_of(s);
  Loop1 *one;
  Loop2 *both;
  if (s->two) memcpy(&both, &f, sizeof f), both(x, y, z, n);
  else memcpy(&one, &f, sizeof f), one(x, z, n);
}

static void block(Sweep *s, const float *x, const float *y, long n) {
  float z[BLOCK];
  run(s, x, y, z, n);
  for (long i = 0; i < n; i++) judge(s, x[i], y[i], z[i]);
}

static uint64_t random_bits(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (*state ^ *state >> 29) * 0x9e3779b97f4a7c15u;
}

static uint32_t near_one(uint32_t bits) { return (bits & 0x00ffffffu) + 0x3f000000u; }

// Every kind in turn: any two floats, two near 1, and a power with a finite outcome.
static void pair(uint64_t *state, float *x, float *y) {
  uint64_t r = random_bits(state);
  int kind = (int)(random_bits(state) >> 62);
  *x = float_of(kind == 1 ? near_one((uint32_t)r) : (uint32_t)r & (kind == 2 ? 0x7fffffffu : ~0u));
  *y = float_of(kind == 1 ? near_one((uint32_t)(r >> 32)) ^ (uint32_t)(r >> 63 << 31) : (uint32_t)(r >> 32));
  if (kind == 2) *y = (float)(((double)(r >> 32) * 0x1p-32 - .5) * 256 / log2((double)*x));
}

static void sweep_pairs(Sweep *s) {
  float x[BLOCK], y[BLOCK];
  int n = 0;
  for (int i = 0; i < NSPECIAL; i++)
    for (int k = 0; k < NSPECIAL; k++, n++) x[n] = special[i], y[n] = special[k];
  block(s, x, y, n);
  uint64_t state = 1;
  for (uint64_t done = 0; done < (UINT64_C(1) << 28) / s->step; done += BLOCK) {
    for (int i = 0; i < BLOCK; i++) pair(&state, &x[i], &y[i]);
    block(s, x, y, BLOCK);
  }
}

static void sweep_floats(Sweep *s) {
  float x[BLOCK];
  block(s, special, special, NSPECIAL);
  for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
    long n = 0;
    for (; n < BLOCK && bits < UINT64_C(1) << 32; n++, bits += s->step) x[n] = float_of((uint32_t)bits);
    block(s, x, x, n);
  }
}

// ---- time --------------------------------------------------------------------------------------

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void libm_loop(void *f, bool two, const float *x, const float *y, float *z) {
  float (*one)(float), (*both)(float, float);
  memcpy(&one, &f, sizeof f), memcpy(&both, &f, sizeof f);
  for (int i = 0; i < BLOCK; i++) z[i] = two ? both(x[i], y[i]) : one(x[i]);
}

// ns of an element in L1, the least of 400 runs in turn, so that both see the same machine.
static void times(const Sweep *s, double *ours, double *libm) {
  static float x[BLOCK], y[BLOCK], z[BLOCK];
  char name[64];
  snprintf(name, sizeof name, "%sf", ops[s->op].name);
  void *f = dlsym(RTLD_DEFAULT, name);
  for (int i = 0; i < BLOCK; i++) x[i] = .01f + .98f * (float)(i * 2654435761u >> 8) * 0x1p-24f, y[i] = x[i * 7 % BLOCK] + .1f;
  *ours = *libm = INFINITY;
  for (int k = 0; k < 400; k++) {
    double a = now();
    run(s, x, y, z, BLOCK);
    double b = now();
    if (f) libm_loop(f, s->two, x, y, z);
    *ours = fmin(*ours, (b - a) / BLOCK);
    *libm = fmin(*libm, (now() - b) / BLOCK);
  }
}

// ---- main --------------------------------------------------------------------------------------

static void *compile(const char *cc, const char *flags) {
  char dir[] = "/tmp/plait-sweep-XXXXXX", command[1024], path[64];
  if (!mkdtemp(dir)) return NULL;
  snprintf(path, sizeof path, "%s/f.c", dir);
  FILE *out = fopen(path, "w");
  if (!out) return NULL;
  loops_write(out);
  fclose(out);
  snprintf(command, sizeof command, "%s " LOOPS_FLAGS " %s -shared -fPIC -o %s/f.so %s/f.c -lm", cc, flags, dir, dir);
  snprintf(path, sizeof path, "%s/f.so", dir);
  void *so = system(command) ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command) ? NULL : so;
}

static bool line(Sweep *s, bool timed) {
  if (s->two) sweep_pairs(s);
  else sweep_floats(s);
  printf("| `%s` | %.3f | `%a`", ops[s->op].name, s->worst.units, (double)s->worst.x);
  if (s->two) printf(", `%a`", (double)s->worst.y);
  double ours = 0, libm = 0;
  if (timed) times(s, &ours, &libm), printf(" | %.2f | %.2f | %.1f |\n", ours, libm, libm / ours);
  else printf(" |\n");
  fflush(stdout);
  return !s->worst.wrong;
}

static bool is_wanted(const char *name, char **names, int n) {
  for (int k = 0; k < n; k++) if (!strcmp(name, names[k])) return true;
  return n == 0;
}

int main(int argc, char **argv) {
  const char *cc = "clang-19", *flags = "-march=native -ffp-contract=off";
  Sweep s = {.step = 1};
  bool timed = false, right = true;
  char **names = argv + 1;
  int n = 0;
  for (int k = 1; k < argc; k++) {
    if (!strcmp(argv[k], "--step") && k + 1 < argc) s.step = (uint32_t)strtoul(argv[++k], NULL, 10);
    else if (!strcmp(argv[k], "--cc") && k + 1 < argc) cc = argv[++k];
    else if (!strcmp(argv[k], "--flags") && k + 1 < argc) flags = argv[++k];
    else if (!strcmp(argv[k], "--time")) timed = true;
    else names[n++] = argv[k];
  }
  s.so = s.step ? compile(cc, flags) : NULL;
  if (!s.so) return fprintf(stderr, "sweep: %s does not compile the functions\n", cc), 2;
  for (int op = 0; op < OP_COUNT_; op++) {
    if (!loops_has((Op)op) || op == OP_UNIFORM || !is_wanted(ops[op].name, names, n)) continue;
    s.op = (Op)op, s.two = ops[op].arity == 2, s.worst = (Worst){0};
    right &= line(&s, timed);
  }
  return right ? 0 : 1;
}
