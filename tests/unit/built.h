// built.h: for tests: a plan's text through the compilers of this machine, and calls of what they made.
//
// The text must compile without a warning under each, run without undefined behaviour, and give the same bits.
#ifndef PLAIT_TESTS_BUILT_H
#define PLAIT_TESTS_BUILT_H
#include "codegen/target.h"
#include "plans.h"
#include "runtime/call.h"
#include <check.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUILT_WARNINGS "-std=c11 -Wall -Wextra -Wpedantic -Werror -ffp-contract=off"
#define BUILT_UBSAN "-fsanitize=undefined -fsanitize-undefined-trap-on-error"

typedef struct Way { const char *cc, *flags; } Way;
static const Way built_ways[] = {
  {"gcc", "-O1 -mfma " BUILT_UBSAN},       // FMA decides bits; without F16C here
  {"gcc", "-O3 -march=native -fopenmp"},
  {"clang", "-O1 -mfma " BUILT_UBSAN},
  {"clang", "-O3 -march=native"},
};
enum { BUILT_WAYS = sizeof built_ways / sizeof *built_ways, BUILT_DATA = 64 };

static inline char *built_directory(void) {
  static char dir[64];
  strcpy(dir, "/tmp/plait-test-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(dir));
  return dir;
}

static inline void built_write(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  ck_assert_ptr_nonnull(f);
  fputs(text, f);
  ck_assert_int_eq(fclose(f), 0);
}

// Runs `cc flags file.c -o file.out` in a fresh directory on `text`; the path of file.out, kept by the caller's directory.
static inline const char *built_compile(const char *dir, const char *cc, const char *flags, const char *text) {
  static char out[128];
  char in[128], command[2048];
  snprintf(in, sizeof in, "%s/file.c", dir);
  snprintf(out, sizeof out, "%s/file.out", dir);
  built_write(in, text);
  snprintf(command, sizeof command, "%s " BUILT_WARNINGS " %s %s -o %s%s", cc, flags, in, out, strstr(flags, "-shared") ? " -lm" : "");
  if (system(command) != 0) ck_abort_msg("`%s` refused:\n%s", command, text);
  return out;
}

static inline void built_remove(const char *dir) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  ck_assert_int_eq(system(command), 0);
}

static inline void *built_load(const char *cc, const char *flags, const char *text) {
  char all[768];
  const char *dir = built_directory();
  snprintf(all, sizeof all, "%s -fPIC -shared", flags);
  void *so = dlopen(built_compile(dir, cc, all, text), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);     // libgomp's threads outlive a dlclose
  if (!so) ck_abort_msg("%s", dlerror());
  built_remove(dir);
  return so;
}

static inline CallEntry *built_entry(void *so) {
  CallEntry *entry;
  void *address = dlsym(so, "plait_entry");
  ck_assert_ptr_nonnull(address);
  memcpy(&entry, &address, sizeof entry);
  return entry;
}

static inline const char *built_text(const Make *m, bool jit) {
  Buf text = buf_make(m->a);
  emit_plan(m->p, &(EmitOptions){.target = &target_c, .jit = jit}, &text, NULL);
  return text.s;
}

static inline size_t built_bytes(const Tensor *t, const View *v) {
  int64_t n = 1;
  for (int k = 0; k < v->rank; k++) n *= v->extent[k];
  return (size_t)(t->fmt ? n / t->fmt->block * t->fmt->bytes : dtype_bytes(t->dtype, n));
}

// One run in every way. Results and mut tensors are filled with 0xA5 first, and the bits must be those of the first way.
// The results stay in views `results` as the last way left them. Gives the fault of the runs (they agree), or CALL_OK.
static inline CallStatus built_run_with(const Make *m, const char *flags, const View *params, const View *results, Fault *fault) {
  const char *text = built_text(m, true);
  int64_t dims[BUILT_DATA] = {0};
  void *first[BUILT_DATA] = {0};
  CallStatus status = CALL_OK;
  if (!fn_bind(m->f, params, dims, fault)) ck_abort_msg("%s", fault->text);
  for (int w = 0; w < BUILT_WAYS; w++) {
    void *so = built_load(built_ways[w].cc, arena_printf(m->a, "%s %s", built_ways[w].flags, flags), text);
    for (int i = 0; i < m->f->results.n; i++) memset(results[i].data, 0xA5, built_bytes(m->f->results.v[i], &results[i]));
    CallStatus s = call_run(m->p, built_entry(so), params, dims, results, NULL, 0, fault);
    if (w == 0) status = s;
    ck_assert_msg(s == status, "%s %s ends otherwise than %s", built_ways[w].cc, built_ways[w].flags, built_ways[0].cc);
    for (int i = 0; i < m->f->results.n; i++) {
      size_t n = built_bytes(m->f->results.v[i], &results[i]);
      if (w == 0) first[i] = memcpy(malloc(n + 1), results[i].data, n);
      else if (s == CALL_OK)
        ck_assert_msg(memcmp(first[i], results[i].data, n) == 0, "%s %s gives other bits for %s", built_ways[w].cc, built_ways[w].flags,
                      m->f->results.v[i]->name);
    }
    dlclose(so);
  }
  for (int i = 0; i < m->f->results.n; i++) free(first[i]);
  return status;
}

static inline CallStatus built_run(const Make *m, const View *params, const View *results, Fault *fault) {
  return built_run_with(m, "", params, results, fault);
}

static inline View view1(void *data, int64_t n) { return (View){.data = data, .extent = {n}, .rank = 1}; }
static inline View view2(void *data, int64_t n, int64_t k) { return (View){.data = data, .extent = {n, k}, .rank = 2}; }
static inline View view0(void *data) { return (View){.data = data}; }
#endif
