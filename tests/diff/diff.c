// diff.c: compares compiled kernels with the interpreter.
//
//   plait-diff fuzz [--seed S] [--count N] [--specials] [--unfused]    random programs; a failure shrinks and prints
//   plait-diff show [--seed S] [--count N]                              those programs
//   plait-diff ops [TYPE]...                                            every operation x type on special values
//   plait-diff files FILE[:ENTRY]... [--count N]                        programs, with random shapes and inputs
//   … --cc-path COMPILER                                                its absolute path: a script can add flags, as of sanitizers
//   … --target cuda                                                     on a GPU, or what PLAIT_CUDA_DRIVER and PLAIT_NVRTC say is one
//
// The last line is `N passed, N failed`; the exit status is 1 when something failed.
#include "tests/diff/generate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Tally { int passed, failed, faults, refused; long elements, ambiguous; bool broken; } Tally;     // broken: see Outcome

typedef struct Options { uint64_t seed; int count; Harness h; int nfiles; char **files; } Options;

static Outcome run_gen(Options *o, const Gen *g, uint64_t seed) {
  static char text[128 << 10];
  generate_text(g, text, sizeof text);
  Rng r = { seed ^ 0x5bd1e995 };
  return diff_program(&o->h, "random.plait", text, NULL, &r);
}

// Drop equations one by one, last first, as long as it still fails. What readers of a dropped equation need is gone then:
// those are refused, so only programs that still mean something stay.
static void shrink(Options *o, Gen *g, uint64_t seed) {
  for (bool changed = true; changed;) {
    changed = false;
    for (int k = g->n - 1; k >= 0; k--) {
      if (g->drop[k]) continue;
      g->drop[k] = true;
      if (run_gen(o, g, seed).verdict == DIFFERENT) changed = true;
      else g->drop[k] = false;
    }
  }
}

static void add(Tally *t, const Outcome *o) {
  t->elements += o->elements;
  t->ambiguous += o->ambiguous;
  if (o->verdict == BOTH_FAULT) t->faults++;
  if (o->verdict == REFUSED) t->refused++;
  if (o->verdict == SAME || o->verdict == BOTH_FAULT) t->passed++;
  else t->failed++;
}

static void report_program(Options *o, Gen *g, uint64_t seed, Outcome out) {
  static char text[128 << 10];
  if (!out.broken) {
    shrink(o, g, seed);
    out = run_gen(o, g, seed);
  }
  generate_text(g, text, sizeof text);
  printf("FAILED seed %llu%s\n%s%s\n", (unsigned long long)seed, o->h.specials ? " --specials" : "", out.text, text);
}

static void fuzz(Options *o, Tally *t) {
  for (int k = 0; k < o->count; k++) {
    uint64_t seed = o->seed + (uint64_t)k;
    Rng r = { seed };
    static Gen g;
    generate(&g, &r);
    Outcome out = run_gen(o, &g, seed);
    if (out.verdict == REFUSED) {
      // A generated program is valid by construction: a refusal is a finding too.
      static char text[128 << 10];
      generate_text(&g, text, sizeof text);
      printf("REFUSED seed %llu\n%s\n%s\n", (unsigned long long)seed, out.text, text);
    }
    add(t, &out);
    if (out.verdict == DIFFERENT) report_program(o, &g, seed, out);
    if (out.broken) return;
    if (o->count > 500 && k % 200 == 199) fprintf(stderr, "%d of %d programs, %d failed\n", k + 1, o->count, t->failed);
  }
}

static void show(const Options *o) {
  for (int k = 0; k < o->count; k++) {
    static Gen g;
    static char text[128 << 10];
    Rng r = { o->seed + (uint64_t)k };
    generate(&g, &r);
    generate_text(&g, text, sizeof text);
    printf("# seed %llu\n%s\n", (unsigned long long)(o->seed + (uint64_t)k), text);
  }
}

// ---- operations --------------------------------------------------------------------------------

static void op_program(Options *o, Tally *t, const char *what, const char *text) {
  o->h.specials = true;
  for (int k = 0; k < 3; k++) {
    Rng r = { o->seed + (uint64_t)k };
    Outcome out = diff_program(&o->h, "op.plait", text, NULL, &r);
    if (out.verdict == REFUSED) return;           // the operation does not exist for the type
    add(t, &out);
    if (out.verdict != SAME) { printf("FAILED %s\n%s%s\n", what, out.text, text); return; }
  }
}

static void one_op(Options *o, Tally *t, const OpInfo *i, Dtype d) {
  char text[600], what[64];
  const char *type = dtypes[d].name;
  snprintf(what, sizeof what, "%s of %s", i->name, type);
  int arity = i->arity;
  char call[200];
  const char *name = i->symbol ? i->symbol : i->name;
  if (arity == 1) snprintf(call, sizeof call, i->symbol ? "(%s a[n])" : "%s(a[n])", name);
  else if (arity == 2 && i->symbol) snprintf(call, sizeof call, "(a[n] %s b[n])", name);
  else if (arity == 2) snprintf(call, sizeof call, "%s(a[n], b[n])", name);
  else if (arity == 3) snprintf(call, sizeof call, "%s(a[n], b[n], c[n])", name);
  else return;
  snprintf(text, sizeof text, "fn f(a: %s[2 * N], b: %s[2 * N], c: %s[2 * N]) -> (y: f32[2 * N], z: f64[2 * N]) where N > 30 {\n  t[n] = %s\n  y = f32(t)\n  z = f64(t)\n}\n",
           type, type, type, call);
  op_program(o, t, what, text);
}

static void one_reduction(Options *o, Tally *t, const ReduceInfo *i, Dtype d) {
  char text[600], what[64];
  snprintf(what, sizeof what, "%s of %s", i->name, dtypes[d].name);
  snprintf(text, sizeof text, "fn f(a: %s[M, 2 * N], m: bool[2 * N]) -> (y: f64[M], z: f64[M]) where N > 3 {\n  y[i] = f64(%s[j](a[i, j]))\n  z[i] = f64(%s[j](a[i, j] if m[j] or j == 0))\n}\n",
           dtypes[d].name, i->name, i->name);
  op_program(o, t, what, text);
}

static void one_cast(Options *o, Tally *t, Dtype from, Dtype to) {
  char text[600], what[64];
  snprintf(what, sizeof what, "%s from %s", dtypes[to].name, dtypes[from].name);
  snprintf(text, sizeof text, "fn f(a: %s[2 * N]) -> (y: %s[2 * N], z: f64[2 * N]) where N > 30 {\n  y[i] = a[i]\n  z[i] = f64(%s(a[i]))\n}\n",
           dtypes[from].name, dtypes[to].name, dtypes[to].name);
  op_program(o, t, what, text);
}

static bool is_listed(const Options *o, Dtype d) {
  for (int k = 0; k < o->nfiles; k++) if (!strcmp(o->files[k], dtypes[d].name)) return true;
  return o->nfiles == 0;
}

static void all_ops(Options *o, Tally *t) {
  for (int d = DT_NONE + 1; d < DT_COUNT; d++) {
    if (!is_listed(o, (Dtype)d)) continue;
    for (int op = OP_NONE + 1; op < OP_COUNT_; op++) if (ops[op].callable || ops[op].symbol) one_op(o, t, &ops[op], (Dtype)d);
    for (int r = RED_NONE + 1; r < RED_COUNT_; r++) one_reduction(o, t, &reducers[r], (Dtype)d);
    for (int e = DT_NONE + 1; e < DT_COUNT; e++) one_cast(o, t, (Dtype)d, (Dtype)e);
    fprintf(stderr, "%s: %d passed, %d failed\n", dtypes[d].name, t->passed, t->failed);
  }
}

// ---- files -------------------------------------------------------------------------------------

// True when it could be run at all.
static bool one_entry(Options *o, Tally *t, const char *file, const char *text, const char *entry) {
  int faults = 0, same = 0, count = o->count < 400 ? o->count : 400;
  for (int k = 0; k < count; k++) {
    Rng r = { o->seed + (uint64_t)k };
    Outcome out = diff_program(&o->h, file, text, entry, &r);
    if (out.verdict == REFUSED && entry) return false;
    faults += out.verdict == BOTH_FAULT;
    same += out.verdict == SAME;
    if (out.verdict == BOTH_FAULT) continue;
    add(t, &out);
    t->broken |= out.broken;
    if (out.verdict != SAME) { printf("FAILED %s %s\n%s\n", file, entry ? entry : "", out.text); return true; }
  }
  if (!same) { t->failed++; printf("FAILED %s: all %d runs ended in a fault of the data\n", file, faults); }
  return true;
}

// Each function of a file that has several and can be an entry point.
static void all_entries(Options *o, Tally *t, const char *file, const char *text) {
  int found = 0, ran = 0;
  for (const char *s = text; s; s = strchr(s, '\n'), s += s != NULL) found += strncmp(s, "fn ", 3) == 0;
  if (found < 2) { one_entry(o, t, file, text, NULL); return; }
  for (const char *s = text; s && !t->broken; s = strchr(s, '\n'), s += s != NULL) {
    char name[64];
    if (sscanf(s, "fn %63[A-Za-z0-9_]", name) == 1 && strncmp(s, "fn ", 3) == 0) ran += one_entry(o, t, file, text, name);
  }
  if (!ran) { t->failed++; printf("FAILED %s: no function could be run\n", file); }
}

static void one_file(Options *o, Tally *t, char *arg) {
  char *colon = strchr(arg, ':');
  if (colon) *colon = '\0';
  FILE *in = fopen(arg, "rb");
  static char text[256 << 10];
  size_t n = in ? fread(text, 1, sizeof text - 1, in) : 0;
  text[n] = '\0';
  if (in) fclose(in);
  if (colon) one_entry(o, t, arg, text, colon + 1);
  else all_entries(o, t, arg, text);
}

int main(int argc, char **argv) {
  Options o = { .seed = 1, .count = 200, .h = { .dim_limit = 64 } };
  JitOptions j = { .backend = JIT_AUTO, .path = getenv("PATH"), .strict = false };
  const char *what = argc > 1 ? argv[1] : "", *target = "c";
  o.files = argv + 2;
  for (int k = 2; k < argc; k++) {
    if (!strcmp(argv[k], "--seed") && k + 1 < argc) o.seed = strtoull(argv[++k], NULL, 10);
    else if (!strcmp(argv[k], "--count") && k + 1 < argc) o.count = atoi(argv[++k]);
    else if (!strcmp(argv[k], "--specials")) o.h.specials = true;
    else if (!strcmp(argv[k], "--unfused")) o.h.no_fuse = true;
    else if (!strcmp(argv[k], "--cc")) j.backend = JIT_CC;
    else if (!strcmp(argv[k], "--cc-path") && k + 1 < argc) j.backend = JIT_CC, j.cc = argv[++k];
    else if (!strcmp(argv[k], "--machine") && k + 1 < argc) o.h.machine = argv[++k];
    else if (!strcmp(argv[k], "--march") && k + 1 < argc) j.march = argv[++k];
    else if (!strcmp(argv[k], "--target") && k + 1 < argc) target = argv[++k];
    else if (!strcmp(argv[k], "--limit") && k + 1 < argc) o.h.dim_limit = atoi(argv[++k]);
    else if (!strcmp(argv[k], "--small")) o.h.dim_limit = 8;
    else o.files[o.nfiles++] = argv[k];
  }
  if (!strcmp(what, "show")) { show(&o); return 0; }
  if (o.h.machine && !machine_by_name(o.h.machine)) { fprintf(stderr, "plait-diff: no machine `%s` (ir/machine.c)\n", o.h.machine); return 2; }
  if (!strcmp(target, "cuda") && !(o.h.gpu = gpu_open(0))) return 2;
  o.h.jit = jit_create(&j);
  Tally t = {0};
  if (!strcmp(what, "fuzz")) fuzz(&o, &t);
  else if (!strcmp(what, "ops")) all_ops(&o, &t);
  else if (!strcmp(what, "files")) for (int k = 0; k < o.nfiles && !t.broken; k++) one_file(&o, &t, o.files[k]);
  else { fprintf(stderr, "usage: plait-diff fuzz|show|ops|files [--seed S] [--count N] [--specials] [--unfused] [--cc] [--cc-path COMPILER] [--machine NAME] [--march NAME] [--limit N] [--target cuda] [FILE[:ENTRY]...|TYPE...]\n"); return 2; }
  harness_close(&o.h);
  jit_free(o.h.jit);
  gpu_close_runner(o.h.gpu);
  printf("%ld elements compared, %ld of them could go either way; %d programs ended in the same fault\n", t.elements, t.ambiguous, t.faults);
  printf("%d passed, %d failed\n", t.passed, t.failed);
  return t.failed ? 1 : 0;
}
