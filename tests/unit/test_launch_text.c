// test_launch_text.c: the host function of a printed CUDA file makes the launches that the runtime would make: which, in which order,
// of how many blocks, with which arguments, and none of what the runtime refuses.
//
// The function is compiled by a C++ compiler with a stand-in of the CUDA runtime (tests/cuda_emu/runtime_stub.h) and told to a
// function here, which compares with the list of launches of the same plan.
#include "base/limits.h"
#include "passes/pass.h"
#include "plait.h"
#include "runtime/api_internal.h"
#include "runtime/call.h"
#include "unit.h"
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct StubLaunch { const char *name; unsigned blocks, threads, cluster; size_t shared, allowed; int large_clusters, dependent; void *stream; void **arg; } StubLaunch;
typedef int Call(void *const *tensor, const long long *dim, void *scratch, long long *fault, void *stream);
enum { INVALID_VALUE = 1, INVALID_CONFIGURATION = 9, MISALIGNED = 716, MOST_TENSORS = 64 };

// A plan, its text, and what a call of it is given.
typedef struct Case {
  plait_context *cx;
  plait_program *program;
  const plait_entry *entry;
  Arena *a;
  Plan *plan;
  Launches launches;
  Buf text, header;
  void *lib;
  Call *call;
  int64_t *dims;
  View *view;                          // parameters, results
  void *tensor[MOST_TENSORS];
  long long scalar[MOST_TENSORS];
  int next;                            // the next launch to come
  int made;
} Case;

static Case *now;                      // for the function that is told of launches
static char folder[] = "/tmp/plait-launch-XXXXXX";

// ---- making --------------------------------------------------------------------------------------------------------

static void open_program(Case *c, const char *path) {
  FILE *f = fopen(path, "r");
  char *text = NULL;
  size_t size = 0;
  ck_assert_msg(f && getdelim(&text, &size, 0, f) > 0, "%s", path);
  fclose(f);
  ck_assert_int_eq(plait_context_create(NULL, &c->cx, NULL), PLAIT_OK);
  ck_assert_int_eq(plait_compile(c->cx, path, text, strlen(text), NULL, &c->program, NULL), PLAIT_OK);
  free(text);
}

static bool make_plan(Case *c, int i, int arch) {
  PassOptions o = {.verify = true};
  c->a = arena_create();
  c->entry = &c->program->entry[i];
  c->plan = passes_run(c->a, fn_copy(c->a, c->entry->fn), machine_of_arch(arch), &o, NULL);
  if (!c->plan) return false;          // where kernels <= n, say
  c->text = buf_make(c->a);
  c->header = buf_make(c->a);
  c->launches = (Launches){0};
  EmitOptions e = {.header = &c->header};
  return cuda_generator.emit(c->plan, &e, arch, &c->text, &c->launches);
}

// Kernels as functions that do nothing, the helpers that the host calls, the host's part, and a call of it by position.
static void write_kernels(const Case *c, FILE *f) {
  for (int i = 0; i < c->launches.n; i++) fprintf(f, "extern \"C\" void %s(void) { __asm__ volatile(\"# %d\"); }\n", c->launches.v[i].function, i);
  for (const char *s = c->text.s; (s = strstr(s, "static __host__ "));) {
    const char *end = strstr(s, "\n}\n") + 3;
    fprintf(f, "%.*s", (int)(end - s), s);
    s = end;
  }
  fputs(strstr(c->text.s, "#ifndef __CUDACC_RTC__"), f);
}

static const char *type_of(const Tensor *t) { return t->fmt ? "unsigned char" : dtypes[t->dtype].c; }
static bool is_scalar(const Tensor *t) { return t->rank == 0 && t->role == ROLE_PARAM; }

static void write_tensor(FILE *f, const Tensor *t, int i, const char *comma) {
  fprintf(f, is_scalar(t) ? "%s*(%s *)tensor[%d]" : "%s(%s *)tensor[%d]", comma, type_of(t), i);
}

static bool has_faults(const Case *c) {
  for (int i = 0; i < c->launches.n; i++)
    for (int k = 0; k < c->launches.v[i].nargs; k++)
      if (c->launches.v[i].arg[k].fault) return true;
  return false;
}

static void write_call(const Case *c, FILE *f) {
  const Fn *fn = c->plan->fn;
  const char *comma = "";
  const char *entry = strstr(c->text.s, "\ncudaError_t ") + strlen("\ncudaError_t ");
  fprintf(f, "extern \"C\" int plait_call(void *const *tensor, const long long *dim, void *scratch, long long *fault, cudaStream_t stream) {\n  (void)tensor, (void)dim, (void)scratch, (void)fault;\n");
  fprintf(f, "  return %.*s(", (int)strcspn(entry, "("), entry);
  for (int i = 0; i < fn->dims.n; i++, comma = ", ") fprintf(f, "%sdim[%d]", comma, fn->dims.v[i]->id);
  for (int i = 0; i < fn->params.n; i++, comma = ", ") write_tensor(f, fn->params.v[i], i, comma);
  for (int i = 0; i < fn->results.n; i++, comma = ", ") write_tensor(f, fn->results.v[i], fn->params.n + i, comma);
  fprintf(f, "%s%s%sstream);\n}\n", comma, c->plan->temps.n ? "scratch, " : "", has_faults(c) ? "fault, " : "");
}

static void told(const StubLaunch *l);

static void compile(Case *c, const char *options) {
  char source[128], library[128], command[1024];
  static int number;
  snprintf(source, sizeof source, "%s/%d.cpp", folder, ++number);
  snprintf(library, sizeof library, "%s/%d.so", folder, number);
  FILE *f = fopen(source, "w");
  ck_assert_ptr_nonnull(f);
  fprintf(f, "#include \"tests/cuda_emu/runtime_stub.h\"\n");
  write_kernels(c, f);
  write_call(c, f);
  fclose(f);
  snprintf(command, sizeof command, "%s -std=c++17 -Wall -Wextra -Werror -O0 -I. -shared -fPIC %s -o %s %s", CXX_COMPILER, options, library, source);
  ck_assert_msg(system(command) == 0, "%s", command);
  c->lib = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  ck_assert_msg(c->lib != NULL, "%s", dlerror());
  void *call = dlsym(c->lib, "plait_call");
  memcpy(&c->call, &call, sizeof c->call);
  *(void (**)(const StubLaunch *))dlsym(c->lib, "plait_stub_launch") = told;
}

// ---- what the runtime would do ---------------------------------------------------------------------------------------

typedef enum Verdict { RUNS, REFUSED_VALUE, REFUSED_SIZE } Verdict;
typedef struct Sizes { int64_t blocks, shared; } Sizes;

// As runtime/cuda_launch.c measures. False: it overflows.
static bool measure(const Case *c, const Launch *l, Sizes *s) {
  Scalar when = {.u = 1}, blocks, shared = {0};
  const Fn *f = c->plan->fn;
  *s = (Sizes){0};
  if (l->when && !fn_eval_scalar(f, l->when, c->dims, c->view, &when)) return false;
  if (!when.u) return true;
  if (!fn_eval_scalar(f, l->blocks, c->dims, c->view, &blocks) || (l->shared_bytes && !fn_eval_scalar(f, l->shared_bytes, c->dims, c->view, &shared))) return false;
  *s = (Sizes){blocks.i, shared.i};
  return blocks.i >= 0 && blocks.i <= 0x7fffffff;
}

static Verdict verdict(const Case *c) {
  Fault fault;
  Sizes s;
  if (!call_conditions(c->plan, c->view, c->dims, &fault)) return REFUSED_VALUE;
  for (int i = 0; i < c->launches.n; i++)
    if (!measure(c, &c->launches.v[i], &s)) return REFUSED_SIZE;
  return RUNS;
}

// ---- comparing -------------------------------------------------------------------------------------------------------

static const void *address_of(const Case *c, const Tensor *t) {
  const Fn *f = c->plan->fn;
  const Tensor *root = t->root ? t->root : t;
  Scalar offset;
  for (int i = 0; i < f->params.n; i++) if (f->params.v[i] == root) return c->tensor[i];
  for (int i = 0; i < f->results.n; i++) if (f->results.v[i] == root) return c->tensor[f->params.n + i];
  for (int i = 0; i < c->plan->temps.n; i++) {
    if (c->plan->temps.v[i].t != t || !fn_eval_scalar(f, c->plan->temps.v[i].offset, c->dims, c->view, &offset)) continue;
    return (const char *)0x700000000000 + offset.i;
  }
  return NULL;
}

static void check_argument(const Case *c, const LaunchArg *x, const void *given) {
  if (x->fault) ck_assert(*(void *const *)given == (void *)0x500000000000);
  else if (x->dim) ck_assert_int_eq(*(const long long *)given, c->dims[x->dim->id]);
  else if (is_scalar(x->t)) ck_assert(memcmp(given, address_of(c, x->t), (size_t)dtypes[x->t->dtype].bits / 8) == 0);
  else ck_assert(*(const void *const *)given == address_of(c, x->t));
}

static void told(const StubLaunch *l) {
  Sizes s = {0};
  while (now->next < now->launches.n && measure(now, &now->launches.v[now->next], &s) && !s.blocks) now->next++;
  ck_assert_msg(now->next < now->launches.n, "`%s` is one launch too many", l->name);
  const Launch *want = &now->launches.v[now->next++];
  ck_assert_str_eq(l->name, want->function);
  ck_assert_msg(l->blocks == s.blocks && l->threads == (unsigned)want->threads && l->shared == (size_t)s.shared, "%s: %u of %lld blocks, %u threads, %zu of %lld bytes", l->name,
                l->blocks, (long long)s.blocks, l->threads, l->shared, (long long)s.shared);
  ck_assert_uint_eq(l->cluster, (unsigned)want->cluster);
  ck_assert(l->large_clusters == (want->cluster > 8));
  ck_assert(s.shared <= 40 << 10 || (int64_t)l->allowed >= s.shared);
  ck_assert_int_eq(l->dependent, want->dependent && l->stream != NULL);
  for (int k = 0; k < want->nargs; k++) check_argument(now, &want->arg[k], l->arg[k]);
  now->made++;
}

static void place_tensors(Case *c) {
  const Fn *f = c->plan->fn;
  ck_assert_int_lt(f->params.n + f->results.n, MOST_TENSORS);
  c->dims = arena_array(c->a, int64_t, dims_room(f));
  c->view = arena_array(c->a, View, f->params.n + f->results.n);
  for (int i = 0; i < f->params.n + f->results.n; i++) {
    const Tensor *t = i < f->params.n ? f->params.v[i] : f->results.v[i - f->params.n];
    c->scalar[i] = 3;
    c->tensor[i] = is_scalar(t) ? (void *)&c->scalar[i] : (void *)(uintptr_t)(0x10000 * (i + 1));
    c->view[i].data = c->tensor[i];
  }
}

// One call with dimension k = size[k % n]; what it returned.
static int call(Case *c, const int64_t *size, int n, void *stream) {
  for (int i = 0; i < c->plan->fn->dims.n; i++) c->dims[c->plan->fn->dims.v[i]->id] = size[i % n];
  c->next = c->made = 0;
  now = c;
  return c->call(c->tensor, (const long long *)c->dims, (void *)0x700000000000, (void *)0x500000000000, stream);
}

static void check_call(Case *c, const int64_t *size, int n) {
  int got = call(c, size, n, (void *)0x40);
  Verdict v = verdict(c);
  Sizes s;
  int want = v == RUNS ? 0 : v == REFUSED_SIZE ? INVALID_CONFIGURATION : INVALID_VALUE;
  ck_assert_msg(got == want || got == INVALID_VALUE,           // by extents, which the runtime looks at elsewhere
                 "%s(%lld, %lld, %lld): %d for %d", c->entry->fn->name, (long long)size[0], (long long)size[1], (long long)size[2], got, (int)v);
  if (got) ck_assert_int_eq(c->made, 0);
  if (got) return;
  while (c->next < c->launches.n && measure(c, &c->launches.v[c->next], &s) && !s.blocks) c->next++;
  ck_assert_int_eq(c->next, c->launches.n);
}

static const int64_t sizes[][3] = {
  {0, 0, 0}, {1, 1, 1}, {1000, 64, 3}, {64, 4096, 2}, {7, 300000, 5}, {300000, 7, 8}, {1, 5000000, 1}, {1ll << 31, 1, 1}, {1ll << 40, 1ll << 40, 1}, {-1, 4, 4},
};

static void close_entry(Case *c) {
  if (c->lib) dlclose(c->lib);
  c->lib = NULL;
  arena_destroy(c->a);
}

static int entries;

static void check_entry(Case *c, int i, int arch, const char *options) {
  if (make_plan(c, i, arch)) {
    compile(c, options);
    place_tensors(c);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) check_call(c, sizes[k], 3);
    entries++;
  }
  close_entry(c);
}

static void check_files(const char *pattern, int arch) {
  glob_t g;
  ck_assert_int_eq(glob(pattern, 0, NULL, &g), 0);
  for (size_t k = 0; k < g.gl_pathc; k++) {
    Case c = {0};
    open_program(&c, g.gl_pathv[k]);
    for (int i = 0; i < c.program->nentries; i++) check_entry(&c, i, arch, "");
    plait_program_free(c.program);
    plait_context_free(c.cx);
  }
  globfree(&g);
}

START_TEST(launches_are_those_of_the_runtime_on_sm_90) {
  check_files("examples/*/*.plait", 90);
  check_files("tests/diff/programs/*.plait", 90);
  ck_assert_int_gt(entries, 40);
} END_TEST

START_TEST(launches_are_those_of_the_runtime_on_sm_80) { check_files("examples/fusion/*.plait", 80); } END_TEST

static void open_entry(Case *c, const char *path, const char *options) {
  *c = (Case){0};
  open_program(c, path);
  ck_assert(make_plan(c, 0, 90));
  compile(c, options);
  place_tensors(c);
}

static void close_case(Case *c) {
  close_entry(c);
  plait_program_free(c->program);
  plait_context_free(c->cx);
}

START_TEST(tensors_that_are_not_aligned_are_refused) {
  Case c;
  const int64_t size[] = {8, 64};
  open_entry(&c, "examples/fusion/softmax.plait", "");
  c.tensor[0] = (char *)c.tensor[0] + 4;
  ck_assert_int_eq(call(&c, size, 2, NULL), MISALIGNED);
  ck_assert_int_eq(c.made, 0);
  close_case(&c);
} END_TEST

// A launch in code of an older architecture, on the legacy stream, or through a runtime without programmatic edges.
static void check_independent(const char *options, int ptx, void *stream) {
  Case c;
  const int64_t size[] = {8, 64};
  open_entry(&c, "examples/fusion/softmax.plait", options);
  *(int *)dlsym(c.lib, "plait_stub_ptx") = ptx;
  for (int i = 0; i < c.launches.n; i++) c.launches.v[i].dependent = false;
  ck_assert_int_eq(call(&c, size, 2, stream), 0);
  ck_assert_int_gt(c.made, 0);
  close_case(&c);
}

START_TEST(code_without_a_wait_is_not_launched_early) { check_independent("", 80, (void *)0x40); } END_TEST
START_TEST(the_legacy_stream_is_not_overtaken) { check_independent("", 90, (void *)1); } END_TEST
START_TEST(an_older_runtime_launches_as_it_can) { check_independent("-DCUDART_VERSION=12020", 90, (void *)0x40); } END_TEST

START_TEST(the_header_declares_the_function) {
  Case c = {0};
  open_program(&c, "examples/fusion/softmax.plait");
  ck_assert(make_plan(&c, 0, 90));
  const char *found = strstr(c.text.s, "\ncudaError_t "), *end = strstr(found, " {");
  ck_assert_ptr_nonnull(strstr(c.header.s, arena_printf(c.a, "%.*s;\n", (int)(end - found), found)));
  close_case(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    launches_are_those_of_the_runtime_on_sm_90, launches_are_those_of_the_runtime_on_sm_80, tensors_that_are_not_aligned_are_refused,
    code_without_a_wait_is_not_launched_early, the_legacy_stream_is_not_overtaken, an_older_runtime_launches_as_it_can, the_header_declares_the_function,
  };
  if (!mkdtemp(folder)) return EXIT_FAILURE;
  int failed = UNIT_RUN("launch_text", tests);
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command) ? EXIT_FAILURE : failed;
}
