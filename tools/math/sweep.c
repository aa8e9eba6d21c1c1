// sweep.c: the errors of the functions of math.def over floats, and their times. tools/math/table.py builds and runs it.
//
//   sweep write                              C text with a loop for each function (loops.h)
//   sweep names                              lines of: function, operation, has it two operands, error allowed
//   sweep judge FIRST COUNT STEP NAMES SO... the floats of bits FIRST, FIRST + STEP, … below FIRST + COUNT, through the loops in each
//                                            of the shared objects; of functions of two operands COUNT / STEP random pairs, and
//                                            with FIRST 0 all pairs of special values. NAMES: forms of one operation, with commas
//   sweep time NAME SO...                    ns of an element, for each object
//   sweep clock                              GHz, if a multiplication of integers takes three cycles
//
// Judges against op_eval in double, which is glibc's: below two units in 2^-53, 2^-28 of a float's (tools/math/reference.c).
// A line for each name and object: error, relative error, x, y of the largest error, how many were wrong outright, and how many
// values differ from those of the object before it.
#include "tools/math/loops.h"
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, MOST_OBJECTS = 8, MOST_FORMS = 12 };

typedef struct Worst { double error; float x, y; long wrong, differ; } Worst;
typedef struct Object { void *loop; Worst worst; float z[BLOCK]; } Object;
typedef struct Variant { LoopFn f; Object object[MOST_OBJECTS]; } Variant;
typedef struct Sweep { int nforms, nobjects; Variant form[MOST_FORMS]; } Sweep;

static const float special[] = {
  0, -0.0f, 1, -1, 2, -2, 3, -3, .5f, -.5f, 1.5f, -1.5f, 0x1p-149f, -0x1p-149f, 0x1p-126f, -0x1p-126f, 0x1.fffffep127f, -0x1.fffffep127f,
  INFINITY, -INFINITY, NAN, 0x1.fffffep-1f, -0x1.fffffep-1f, 0x1.000002p0f, 8388607.5f, -8388609, 16777215, -16777215, 16777216, 0x1p26f, 1e10f, -1e10f,
};
enum { NSPECIAL = sizeof special / sizeof *special };

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void judge_one(const LoopFn *f, Worst *w, float x, float y, double want, float got) {
  double error = loops_error(f, want, got);
  if (error < 0 && !w->wrong++) fprintf(stderr, "wrong: %s(%a, %a) gives %a, not %a\n", f->name, (double)x, (double)y, (double)got, (double)(float)want);
  if (error > w->error) w->error = error, w->x = x, w->y = y;
}

// Whether all of the block is ordinary, within the normal floats, and no error above `least`: most blocks are.
static bool is_plain(const LoopFn *f, const double *want, const float *got, long n, double least) {
  int odd = 0;
  for (long i = 0; i < n; i++) {
    double size = fabs(want[i]), off = fabs((double)got[i] - want[i]), error = f->relative != 0 ? off / size : loops_units(off, size);
    if (f->exact) error = off / (size > 1 ? size : 1);
    odd |= !(size > 0x1p-125 && size < 0x1p127) | !(error <= least);
  }
  return !odd;
}

static void judge_all(const LoopFn *f, Worst *w, const float *x, const float *y, const double *want, const float *got, long n, double least) {
  if (is_plain(f, want, got, n, least)) return;
  for (long i = 0; i < n; i++) judge_one(f, w, x[i], y[i], want[i], got[i]);
}

static long count_unlike(const float *a, const float *b, long n) {
  long count = 0;
  if (memcmp(a, b, (size_t)n * sizeof *a) == 0) return 0;
  for (long i = 0; i < n; i++) count += !loops_same(a[i], b[i]);
  return count;
}

static void add(Worst *all, const Worst *part) {
  if (part->error > all->error) all->error = part->error, all->x = part->x, all->y = part->y;
  all->wrong += part->wrong;
  all->differ += part->differ;
}

// An object that gives what the one before it gave is not judged again.
static void block_of(Variant *m, int n_objects, const float *x, const float *y, const double *want, long n) {
  Worst part = {0};
  for (int k = 0; k < n_objects; k++) {
    Object *o = &m->object[k];
    loops_run(&m->f, o->loop, x, y, o->z, n);
    part.differ = k ? count_unlike(o->z, o[-1].z, n) : 0;
    if (!k || part.differ) {
      part = (Worst){.differ = part.differ};
      judge_all(&m->f, &part, x, y, want, o->z, n, o->worst.error);
    }
    add(&o->worst, &part);
  }
}

static void block(Sweep *s, const float *x, const float *y, long n) {
  double want[BLOCK];
  for (int k = 0; k < s->nforms; k++) {
    const LoopFn *f = &s->form[k].f;
    for (long i = 0; i < n && (!k || f->form != s->form[k - 1].f.form); i++) want[i] = loops_exact(f, x[i], y[i]);
    block_of(&s->form[k], s->nobjects, x, y, want, n);
  }
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

static void sweep_pairs(Sweep *s, uint64_t first, uint64_t count) {
  float x[BLOCK], y[BLOCK];
  int n = 0;
  for (int i = 0; i < NSPECIAL; i++)
    for (int k = 0; k < NSPECIAL; k++, n++) x[n] = special[i], y[n] = special[k];
  if (first == 0) block(s, x, y, n);
  uint64_t state = first + 1;
  for (uint64_t done = 0; done < count; done += BLOCK) {
    for (int i = 0; i < BLOCK; i++) pair(&state, &x[i], &y[i]);
    block(s, x, y, BLOCK);
  }
}

static void sweep_floats(Sweep *s, uint64_t first, uint64_t count, uint64_t step) {
  float x[BLOCK];
  if (first == 0) block(s, special, special, NSPECIAL);
  for (uint64_t bits = first; bits < first + count;) {
    long n = 0;
    for (; n < BLOCK && bits < first + count; n++, bits += step) x[n] = float_of((uint32_t)bits);
    block(s, x, x, n);
  }
}

// ---- time --------------------------------------------------------------------------------------

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// ns of an element in L1: the least of many runs, spread over a second so that some of them have the core to themselves.
static void times(const Sweep *s) {
  static float x[BLOCK], y[BLOCK], z[BLOCK];
  double best[MOST_OBJECTS];
  for (int i = 0; i < BLOCK; i++) x[i] = .01f + .98f * (float)(i * 2654435761u >> 8) * 0x1p-24f, y[i] = x[i * 7 % BLOCK] + .1f;
  for (int k = 0; k < s->nobjects; k++) best[k] = INFINITY;
  for (int round = 0; round < 4000; round++) {
    if (round % 50 == 0) usleep(10000);
    for (int k = 0; k < s->nobjects; k++) {
      double a = now();
      loops_run(&s->form[0].f, s->form[0].object[k].loop, x, y, z, BLOCK);
      best[k] = fmin(best[k], (now() - a) / BLOCK);
    }
  }
  for (int k = 0; k < s->nobjects; k++) printf("%.3f\n", best[k]);
}

static void show_clock(void) {
  double best = INFINITY;
  volatile unsigned long factor = 3;
  for (int round = 0; round < 400; round++) {
    unsigned long v = 1, f = factor;
    double a = now();
    for (int i = 0; i < 20000; i++) {
      v *= f;
      __asm__ volatile("" : "+r"(v));
    }
    best = fmin(best, (now() - a) / 20000);
  }
  printf("%.2f\n", 3 / best);
}

// ---- main --------------------------------------------------------------------------------------

static bool find(const char *name, LoopFn *f) {
  LoopFn list[LOOPS_MOST];
  int n = loops_list(list);
  for (int k = 0; k < n; k++)
    if (strcmp(list[k].name, name) == 0) return *f = list[k], true;
  return false;
}

static bool find_all(Sweep *s, char *list) {
  for (char *name = strtok(list, ","); name; name = strtok(NULL, ","))
    if (s->nforms == MOST_FORMS || !find(name, &s->form[s->nforms++].f)) return false;
  return s->nforms > 0;
}

static void load_loops(Sweep *s, void *so) {
  char name[64];
  for (int k = 0; k < s->nforms; k++) {
    snprintf(name, sizeof name, "loop_%s", s->form[k].f.name);
    s->form[k].object[s->nobjects].loop = dlsym(so, name);
  }
  s->nobjects++;
}

static bool load(Sweep *s, char **path) {
  for (; *path && s->nobjects < MOST_OBJECTS; path++) {
    void *so = dlopen(*path, RTLD_NOW | RTLD_LOCAL);
    if (!so) return fprintf(stderr, "sweep: %s\n", dlerror()), false;
    load_loops(s, so);
  }
  return s->nobjects > 0;
}

static int judge(Sweep *s, uint64_t first, uint64_t count, uint64_t step) {
  if (s->form[0].f.two) sweep_pairs(s, first, count / step);
  else sweep_floats(s, first, count, step);
  for (int m = 0; m < s->nforms; m++)
    for (int k = 0; k < s->nobjects; k++) {
      const Worst *w = &s->form[m].object[k].worst;
      printf("%.17g %a %a %ld %ld\n", w->error, (double)w->x, (double)w->y, w->wrong, w->differ);
    }
  return 0;
}

static void names(void) {
  LoopFn list[LOOPS_MOST];
  int n = loops_list(list);
  for (int k = 0; k < n; k++)
    printf("%s %s %d %g\n", list[k].name, ops[list[k].op].name, list[k].two, list[k].relative ? list[k].relative : ops[list[k].op].ulp);
}

int main(int argc, char **argv) {
  static Sweep s;
  if (argc == 2 && !strcmp(argv[1], "write")) return loops_write(stdout), 0;
  if (argc == 2 && !strcmp(argv[1], "names")) return names(), 0;
  if (argc == 2 && !strcmp(argv[1], "clock")) return show_clock(), 0;
  if (argc > 3 && !strcmp(argv[1], "time") && find_all(&s, argv[2]) && load(&s, argv + 3)) return times(&s), 0;
  if (argc > 6 && !strcmp(argv[1], "judge") && find_all(&s, argv[5]) && load(&s, argv + 6))
    return judge(&s, strtoull(argv[2], NULL, 0), strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
  return fputs("sweep: see the head of tools/math/sweep.c\n", stderr), 2;
}
