// test_cuda_api.c: the public interface on a GPU: a look-alike of the driver and of NVRTC, and a generator of the test's own.
//
// The generator prints one empty kernel a plan with all dimensions, parameters and results as arguments; the kernels
// that run are C functions here.
#include "fake.h"
#include "plait.h"
#include "runtime/api_internal.h"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static const char scale_text[] = "fn scale(x: f32[N, D], k: f32 = 2.0) -> y: f32[N, D] {\n  y[i, j] = x[i, j] * k\n}\n";
static const char gather_text[] = "fn gather(t: f32[V], ids: i32[T]) -> y: f32[T] {\n  y[n] = t[ids[n]]\n}\n";
static const char append_text[] = "fn append(mut c: f32[S], k: f32, pos: i64) {\n  c[pos] <- k\n}\n";

// ---- the generator ----

static int emitted;                    // texts printed
static bool needs_rows;                // D must be a number, but for texts that serve all sizes
static bool no_general;                // … and there are none of those

static const Dim *row_length(const Plan *p) {
  for (int i = 0; i < p->fn->dims.n; i++)
    if (strcmp(p->fn->dims.v[i]->name, "D") == 0) return p->fn->dims.v[i];
  return NULL;
}

static void add_arg(const Plan *p, Launch *l, Buf *head, LaunchArg x, const char *type, const char *name) {
  l->arg[l->nargs] = x;
  buf_printf(head, "%s%s%s", l->nargs++ ? ", " : "", type, name);
  (void)p;
}

static void add_tensors(const Plan *p, Launch *l, Buf *head) {
  for (int i = 0; i < p->fn->params.n; i++) {
    const Tensor *t = p->fn->params.v[i];
    const char *type = t->rank == 0 && t->role == ROLE_PARAM ? (t->dtype == DT_I64 ? "long long " : "float ") : t->dtype == DT_I32 ? "const int *" : "float *";
    add_arg(p, l, head, (LaunchArg){.t = t}, type, t->name);
  }
  for (int i = 0; i < p->fn->results.n; i++) add_arg(p, l, head, (LaunchArg){.t = p->fn->results.v[i]}, "float *", p->fn->results.v[i]->name);
}

static bool emit(const Plan *p, const EmitOptions *o, int arch, Buf *text, Launches *launches) {
  if (no_general && row_length(p)) return false;
  Launch l = {.function = p->fn->name, .threads = 128, .dependent = arch >= 90 && o->dependent != DEPENDENT_OFF, .arg = arena_array(p->a, LaunchArg, p->fn->dims.n + p->fn->params.n + p->fn->results.n + 1)};
  Buf head = buf_make(p->a);
  for (int i = 0; i < p->fn->dims.n; i++) add_arg(p, &l, &head, (LaunchArg){.dim = p->fn->dims.v[i]}, "long long ", p->fn->dims.v[i]->name);
  add_tensors(p, &l, &head);
  if (p->sites.n) add_arg(p, &l, &head, (LaunchArg){.fault = true}, "long long *", "fault");
  l.blocks = p->fn->dims.n ? expr_dim(p->x, p->fn->dims.v[0]) : expr_int(p->x, DT_I64, 1, NO_SPAN);
  buf_printf(text, "// sm_%d%s\nextern \"C\" __global__ void %s(%s) {}\n", arch, o->jit ? "" : ", for people", l.function, head.s);
  vec_push(p->a, launches, l);
  emitted++;
  return true;
}

static void dims(const Plan *p, LaunchDims *out) {
  const Dim *d = needs_rows ? row_length(p) : NULL;
  if (d) vec_push(p->a, out, d);
}

static const CudaGenerator generator = {emit, dims, NULL};

// ---- the kernels ----

static long long number(void *arg) { return *(long long *)arg; }

static void run_scale(void **arg) {
  const float *x = *(float **)arg[2];
  float k = *(float *)arg[3], *y = *(float **)arg[4];
  for (long long i = 0; i < number(arg[0]) * number(arg[1]); i++) y[i] = x[i] * k;
}
static void run_gather(void **arg) {
  const float *t = *(float **)arg[2];
  const int *ids = *(int **)arg[3];
  float *y = *(float **)arg[4];
  long long *fault = *(long long **)arg[5];
  for (long long i = 0; i < number(arg[1]); i++) {
    bool good = ids[i] >= 0 && ids[i] < number(arg[0]);
    if (!good && !fault[0]) fault[0] = 1, fault[1] = ids[i];
    y[i] = good ? t[ids[i]] : 0;
  }
}
static void run_append(void **arg) { (*(float **)arg[1])[number(arg[3])] = *(float *)arg[2]; }

static void kernel(const char *function, unsigned blocks, unsigned threads, void **arg) {
  (void)blocks, (void)threads;
  if (strcmp(function, "scale") == 0 && !needs_rows) run_scale(arg);
  if (strcmp(function, "gather") == 0) run_gather(arg);
  if (strcmp(function, "append") == 0) run_append(arg);
}

// ---- a case ----

typedef struct Case {
  plait_context *cx;
  plait_program *p;
  const plait_entry *e;
  plait_exec *x;
  plait_device *d;
  plait_messages *m;
  FakeCuda *f;
  FakeNvrtc *n;
} Case;

static void open_context(Case *c, const char *driver) {
  plait_context_options o = {.struct_size = sizeof o, .ignore_environment = 1, .nvrtc = FAKE_NVRTC, .cuda_driver = driver};
  *c = (Case){.f = fake_driver(), .n = fake_compiler()};
  c->f->kernel = kernel;
  ck_assert_int_eq(plait_context_create(&o, &c->cx, NULL), PLAIT_OK);
  c->cx->generator = &generator;
}

static void open_entry(Case *c, const char *text) {
  open_context(c, FAKE_CUDA);
  ck_assert_int_eq(plait_compile(c->cx, "test.plait", text, strlen(text), NULL, &c->p, NULL), PLAIT_OK);
  ck_assert_int_eq(plait_program_find(c->p, NULL, &c->e, NULL), PLAIT_OK);
}

static const char *messages_text(Case *c) {
  static char text[4096];
  char *s = NULL;
  if (!c->m || plait_messages_render(c->m, PLAIT_STYLE_TEXT, &s, NULL)) return "nothing";
  snprintf(text, sizeof text, "%s", s);
  plait_free(s);
  return text;
}

static void prepare_with(Case *c, const plait_build_options *o) {
  plait_status s = plait_prepare(c->e, "cuda", o, &c->x, &c->m);
  ck_assert_msg(s == PLAIT_OK, "%s", messages_text(c));
  if (!c->d) ck_assert_int_eq(plait_device_open(c->cx, 0, &c->d, NULL), PLAIT_OK);
}

static void open_case(Case *c, const char *text) {
  open_entry(c, text);
  prepare_with(c, NULL);
}

static void close_case(Case *c) {
  plait_messages_free(c->m);
  plait_exec_free(c->x);
  plait_device_close(c->d);
  plait_program_free(c->p);
  plait_context_free(c->cx);
  ck_assert_int_eq(c->f->memories, 0);
  ck_assert_int_eq(c->f->modules, 0);
  ck_assert_int_eq(c->f->contexts, 0);
  ck_assert_int_eq(c->f->depth, 0);
  ck_assert(!c->f->strict);
}

// The call failed with this status and code, and its text has these words; the messages are freed.
static void said(Case *c, plait_status s, plait_status want, const char *code, const char *words) {
  plait_message v = {.struct_size = sizeof v};
  ck_assert_msg(s == want, "status %d: %s", (int)s, messages_text(c));
  ck_assert_int_eq(plait_messages_get(c->m, 0, &v), PLAIT_OK);
  ck_assert_str_eq(v.code, code);
  ck_assert_msg(strstr(messages_text(c), words) != NULL, "no `%s` in %s", words, messages_text(c));
  plait_messages_free(c->m);
  c->m = NULL;
}

static plait_tensor on_device(Case *c, plait_dtype t, const void *data, size_t bytes, int rank, int64_t a, int64_t b) {
  plait_tensor x = {.dtype = t, .rank = rank, .extent = {a, b}, .bytes = bytes};
  ck_assert_int_eq(plait_device_alloc(c->d, bytes, &x.data, NULL), PLAIT_OK);
  if (data) ck_assert_int_eq(plait_device_upload(c->d, x.data, data, bytes, NULL, NULL), PLAIT_OK);
  return x;
}

typedef struct Scale { plait_tensor params[2], y; float host[6]; } Scale;

static Scale make_scale(Case *c, int64_t n, int64_t d) {
  float x[256] = {1, 2, 3, 4, 5, 6};
  size_t bytes = 4 * (size_t)(n * d);
  Scale s = {.params = {on_device(c, PLAIT_F32, x, bytes, 2, n, d), {.dtype = PLAIT_F32}}, .y = on_device(c, PLAIT_F32, NULL, bytes, 2, n, d)};
  return s;
}

static void free_scale(Case *c, Scale *s) {
  plait_device_free(c->d, s->params[0].data);
  plait_device_free(c->d, s->y.data);
}

static plait_status launch_scale(Case *c, const Scale *s, const plait_launch_options *o) { return plait_launch(c->x, s->params, 2, &s->y, 1, o, &c->m); }

static const plait_launch_options waiting = {.struct_size = sizeof waiting, .wait = 1};

// ---- launching ----

START_TEST(a_launch_runs_on_device_memory) {
  Case c;
  float y[6];
  open_case(&c, scale_text);
  Scale s = make_scale(&c, 2, 3);
  ck_assert_int_eq(launch_scale(&c, &s, &waiting), PLAIT_OK);
  ck_assert_int_eq(plait_device_download(c.d, y, s.y.data, sizeof y, NULL, NULL), PLAIT_OK);
  ck_assert(y[0] == 2 && y[5] == 12);                                    // k is 2 by default
  ck_assert_int_eq((int)c.f->launch[0].blocks, 2);
  free_scale(&c, &s);
  close_case(&c);
} END_TEST

START_TEST(a_launch_does_not_wait_unless_asked_and_uses_the_callers_stream) {
  Case c;
  open_case(&c, scale_text);
  Scale s = make_scale(&c, 2, 3);
  plait_launch_options o = {.struct_size = sizeof o, .stream = &c};
  int waits = c.f->waits;
  ck_assert_int_eq(launch_scale(&c, &s, &o), PLAIT_OK);
  ck_assert_int_eq(c.f->waits, waits);
  ck_assert_ptr_eq(c.f->launch[0].stream, &c);
  ck_assert_int_eq(plait_exec_wait(c.x, NULL, NULL), PLAIT_OK);
  ck_assert_int_eq(c.f->waits, waits + 1);
  free_scale(&c, &s);
  close_case(&c);
} END_TEST

START_TEST(the_time_on_the_device_is_told) {
  Case c;
  double ms = 0;
  open_case(&c, scale_text);
  Scale s = make_scale(&c, 2, 3);
  plait_launch_options o = {.struct_size = sizeof o, .ms = &ms};
  ck_assert_int_eq(launch_scale(&c, &s, &o), PLAIT_OK);
  ck_assert(ms == 0.25);
  free_scale(&c, &s);
  close_case(&c);
} END_TEST

START_TEST(host_memory_is_refused_before_a_kernel_can_touch_it) {
  Case c;
  float x[6] = {0};
  open_case(&c, scale_text);
  Scale s = make_scale(&c, 2, 3);
  void *device = s.params[0].data;
  s.params[0].data = x;
  said(&c, launch_scale(&c, &s, NULL), PLAIT_ERROR_DATA, "PLD0113", "`x` does not lie in memory that device 0 can use");
  ck_assert_int_eq(c.f->launches, 0);
  plait_launch_options o = {.struct_size = sizeof o, .trust_pointers = 1};
  ck_assert_int_eq(launch_scale(&c, &s, &o), PLAIT_OK);
  s.params[0].data = device;
  free_scale(&c, &s);
  close_case(&c);
} END_TEST

START_TEST(arguments_are_checked_as_on_the_cpu) {
  Case c;
  open_case(&c, scale_text);
  Scale s = make_scale(&c, 2, 3);
  plait_tensor y = s.y;
  s.y = s.params[0];
  ck_assert_int_eq(launch_scale(&c, &s, NULL), PLAIT_ERROR_DATA);        // overlap
  plait_messages_free(c.m);
  s.y = y;
  s.y.extent[1] = 4;
  ck_assert_int_eq(launch_scale(&c, &s, NULL), PLAIT_ERROR_DATA);
  plait_messages_free(c.m);
  c.m = NULL;
  s.y = y;
  ck_assert_int_eq(c.f->launches, 0);
  free_scale(&c, &s);
  close_case(&c);
} END_TEST

START_TEST(a_tensor_is_changed_in_place) {
  Case c;
  float cache[4] = {0}, k = 7;
  int64_t pos = 2;
  open_case(&c, append_text);
  plait_tensor params[3] = {on_device(&c, PLAIT_F32, cache, sizeof cache, 1, 4, 0), {.data = &k, .dtype = PLAIT_F32, .bytes = 4},
                            {.data = &pos, .dtype = PLAIT_I64, .bytes = 8}};
  ck_assert_int_eq(plait_launch(c.x, params, 3, NULL, 0, &waiting, &c.m), PLAIT_OK);
  ck_assert_int_eq(plait_device_download(c.d, cache, params[0].data, sizeof cache, NULL, NULL), PLAIT_OK);
  ck_assert(cache[2] == 7 && cache[1] == 0);
  pos = 4;
  said(&c, plait_launch(c.x, params, 3, NULL, 0, &waiting, &c.m), PLAIT_ERROR_DATA, "PLD0110", "out of range");
  plait_device_free(c.d, params[0].data);
  close_case(&c);
} END_TEST

// ---- errors in data ----

typedef struct Gather { plait_tensor params[2], y; } Gather;

static Gather make_gather(Case *c, int bad) {
  float t[4] = {1, 2, 3, 4};
  int ids[3] = {0, bad, 2};
  return (Gather){.params = {on_device(c, PLAIT_F32, t, sizeof t, 1, 4, 0), on_device(c, PLAIT_I32, ids, sizeof ids, 1, 3, 0)},
                  .y = on_device(c, PLAIT_F32, NULL, 12, 1, 3, 0)};
}

static void free_gather(Case *c, Gather *g) {
  plait_device_free(c->d, g->params[0].data);
  plait_device_free(c->d, g->params[1].data);
  plait_device_free(c->d, g->y.data);
}

START_TEST(a_wrong_subscript_is_reported_as_on_the_cpu) {
  Case c;
  plait_fault f = {.struct_size = sizeof f};
  char here[4096];
  open_case(&c, gather_text);
  Gather g = make_gather(&c, 9);
  ck_assert_int_eq(plait_launch(c.x, g.params, 2, &g.y, 1, &waiting, &c.m), PLAIT_ERROR_DATA);
  ck_assert_int_eq(plait_message_fault(c.m, 0, &f), PLAIT_OK);
  ck_assert_str_eq(f.tensor, "t");
  ck_assert(f.subscript == 0 && f.value == 9 && f.extent == 4);
  snprintf(here, sizeof here, "%s", messages_text(&c));
  plait_messages_free(c.m);
  free_gather(&c, &g);
  // The same call of the interpreter, on host memory.
  float t[4] = {0}, y[3];
  int ids[3] = {0, 9, 2};
  plait_exec *ref;
  ck_assert_int_eq(plait_prepare(c.e, "ref", NULL, &ref, NULL), PLAIT_OK);
  g.params[0].data = t, g.params[1].data = ids, g.y.data = y;
  ck_assert_int_eq(plait_launch(ref, g.params, 2, &g.y, 1, NULL, &c.m), PLAIT_ERROR_DATA);
  ck_assert_str_eq(messages_text(&c), here);
  plait_exec_free(ref);
  close_case(&c);
} END_TEST

START_TEST(without_waiting_a_wrong_subscript_is_reported_once_by_the_wait) {
  Case c;
  plait_fault f = {.struct_size = sizeof f};
  open_case(&c, gather_text);
  Gather g = make_gather(&c, -1);
  ck_assert_int_eq(plait_launch(c.x, g.params, 2, &g.y, 1, NULL, &c.m), PLAIT_OK);
  ck_assert_int_eq(plait_exec_wait(c.x, NULL, &c.m), PLAIT_ERROR_DATA);
  ck_assert_int_eq(plait_message_fault(c.m, 0, &f), PLAIT_OK);
  ck_assert_int_eq(f.value, -1);
  plait_messages_free(c.m);
  ck_assert_int_eq(plait_exec_wait(c.x, NULL, &c.m), PLAIT_OK);
  free_gather(&c, &g);
  close_case(&c);
} END_TEST

// ---- what is missing ----

START_TEST(without_a_driver_preparing_says_what_to_install) {
  Case c;
  open_context(&c, "/nonexistent/libcuda.so.1");
  ck_assert_int_eq(plait_compile(c.cx, "a", scale_text, strlen(scale_text), NULL, &c.p, NULL), PLAIT_OK);
  ck_assert_int_eq(plait_program_find(c.p, NULL, &c.e, NULL), PLAIT_OK);
  said(&c, plait_prepare(c.e, "cuda", NULL, &c.x, &c.m), PLAIT_ERROR_ENVIRONMENT, "PLE0105", "install the NVIDIA driver");
  said(&c, plait_device_open(c.cx, 0, &c.d, &c.m), PLAIT_ERROR_ENVIRONMENT, "PLE0105", "install the NVIDIA driver");
  int n = 7;
  said(&c, plait_device_count(c.cx, &n, &c.m), PLAIT_ERROR_ENVIRONMENT, "PLE0105", "was not found");
  ck_assert_int_eq(n, 7);
  close_case(&c);
} END_TEST

START_TEST(a_device_that_does_not_exist_is_refused) {
  Case c;
  plait_build_options o = {.struct_size = sizeof o, .device = 3};
  open_entry(&c, scale_text);
  said(&c, plait_prepare(c.e, "cuda", &o, &c.x, &c.m), PLAIT_ERROR_ENVIRONMENT, "PLE0105", "no CUDA device 3: the driver reports 1");
  close_case(&c);
} END_TEST

START_TEST(without_a_generator_nothing_else_breaks) {
  Case c;
  open_entry(&c, scale_text);
  c.cx->generator = NULL;
  char *text;
  said(&c, plait_prepare(c.e, "cuda", NULL, &c.x, &c.m), PLAIT_ERROR_INTERNAL, "PLI0001", "not built in");
  said(&c, plait_emit(c.e, "cuda", NULL, &text, NULL, &c.m), PLAIT_ERROR_INTERNAL, "PLI0001", "not built in");
  ck_assert_int_eq(plait_emit(c.e, "c", NULL, &text, NULL, &c.m), PLAIT_OK);
  plait_free(text);
  close_case(&c);
} END_TEST

START_TEST(text_that_nvrtc_refuses_comes_with_its_log) {
  Case c;
  open_entry(&c, scale_text);
  c.n->result = 6;
  c.n->log = "plait.cu(2): error: this cannot be";
  said(&c, plait_prepare(c.e, "cuda", NULL, &c.x, &c.m), PLAIT_ERROR_ENVIRONMENT, "PLE0107", "plait.cu(2): error: this cannot be");
  close_case(&c);
} END_TEST

START_TEST(code_that_cannot_be_loaded_or_started_is_an_error) {
  static const struct { const char *fails; int code; const char *id; plait_status s; const char *words; } cases[] = {
    {"cuModuleLoadDataEx", CU_UNSUPPORTED_PTX, "PLE0107", PLAIT_ERROR_ENVIRONMENT, "cannot load what NVRTC 13.0 made for sm_90"},
    {"cuModuleLoadDataEx", CU_OUT_OF_MEMORY, "PLE0107", PLAIT_ERROR_ENVIRONMENT, "loading a module"},
    {"cuModuleGetFunction", CU_NOT_FOUND, "PLE0107", PLAIT_ERROR_ENVIRONMENT, "looking for the kernel `scale`"},
    {"cuDevicePrimaryCtxRetain", 999, "PLE0107", PLAIT_ERROR_ENVIRONMENT, "cuDevicePrimaryCtxRetain"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Case c;
    open_entry(&c, scale_text);
    c.f->fails = cases[i].fails, c.f->code = cases[i].code;
    said(&c, plait_prepare(c.e, "cuda", NULL, &c.x, &c.m), cases[i].s, cases[i].id, cases[i].words);
    close_case(&c);
  }
} END_TEST

START_TEST(out_of_device_memory_is_a_limit_that_loses_nothing) {
  Case c;
  void *p = NULL;
  open_case(&c, scale_text);
  Scale s = make_scale(&c, 2, 3);
  said(&c, plait_device_alloc(c.d, (size_t)4 << 30, &p, &c.m), PLAIT_ERROR_LIMIT, "PLL0115", "4294967296 bytes of device memory cannot be had");
  ck_assert_ptr_null(p);
  ck_assert_int_eq(launch_scale(&c, &s, &waiting), PLAIT_OK);
  free_scale(&c, &s);
  close_case(&c);
} END_TEST

START_TEST(a_failing_launch_is_an_error_of_the_environment) {
  Case c;
  open_case(&c, scale_text);
  Scale s = make_scale(&c, 2, 3);
  c.f->fails = "cuLaunchKernel", c.f->code = 719;
  said(&c, launch_scale(&c, &s, NULL), PLAIT_ERROR_ENVIRONMENT, "PLE0107", "launching `scale`");
  c.f->fails = "cuStreamSynchronize", c.f->code = CU_ILLEGAL_ADDRESS;
  said(&c, plait_exec_wait(c.x, NULL, &c.m), PLAIT_ERROR_ENVIRONMENT, "PLE0107", "compute-sanitizer");
  free_scale(&c, &s);
  close_case(&c);
} END_TEST

// All that a caller does with a GPU; stops at the first failure.
static plait_status whole_life(Case *c) {
  float t[4] = {1, 2, 3, 4}, y[3];
  int ids[3] = {0, 1, 2};
  double ms;
  plait_tensor in[2] = {{.dtype = PLAIT_F32, .rank = 1, .extent = {4}, .bytes = 16}, {.dtype = PLAIT_I32, .rank = 1, .extent = {3}, .bytes = 12}}, out = in[0];
  out.extent[0] = 3;
  plait_launch_options timed = {.struct_size = sizeof timed, .ms = &ms};
  plait_status s = plait_prepare(c->e, "cuda", NULL, &c->x, &c->m);
  if (!s) s = plait_device_open(c->cx, 0, &c->d, &c->m);
  if (!s) s = plait_device_alloc(c->d, 16, &in[0].data, &c->m);
  if (!s) s = plait_device_alloc(c->d, 12, &in[1].data, &c->m);
  if (!s) s = plait_device_alloc(c->d, 16, &out.data, &c->m);
  if (!s) s = plait_device_upload(c->d, in[0].data, t, 16, NULL, &c->m);
  if (!s) s = plait_device_upload(c->d, in[1].data, ids, 12, NULL, &c->m);
  if (!s) s = plait_launch(c->x, in, 2, &out, 1, NULL, &c->m);
  if (!s) s = plait_exec_wait(c->x, NULL, &c->m);
  if (!s) s = plait_launch(c->x, in, 2, &out, 1, &waiting, &c->m);
  if (!s) s = plait_launch(c->x, in, 2, &out, 1, &timed, &c->m);
  if (!s) s = plait_device_wait(c->d, NULL, &c->m);
  if (!s) s = plait_device_download(c->d, y, out.data, 12, NULL, &c->m);
  plait_device_free(c->d, in[0].data);
  plait_device_free(c->d, in[1].data);
  plait_device_free(c->d, out.data);
  return s;
}

// The n-th call of a function fails: a status with a message comes of it, and all else is given back.
static bool fails_well(const char *name, int skip, int code) {
  Case c;
  open_entry(&c, gather_text);
  c.f->fails = name, c.f->skip = skip, c.f->code = code;
  plait_status s = whole_life(&c);
  bool called = c.f->fails == NULL;
  c.f->fails = NULL;
  if (called) ck_assert_msg(s == PLAIT_ERROR_ENVIRONMENT || s == PLAIT_ERROR_LIMIT, "%s after %d gives %d", name, skip, (int)s);
  else ck_assert_msg(s == PLAIT_OK, "%s", messages_text(&c));
  if (called) ck_assert_msg(plait_messages_count(c.m) > 0, "%s after %d says nothing", name, skip);
  close_case(&c);
  return called;
}

START_TEST(every_call_of_the_driver_may_fail_in_every_place) {
  // But for those that only ask, or give back what was had: their failure shows in no status.
  static const char *const names[] = {
    "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuModuleLoadDataEx", "cuModuleGetFunction",
    "cuLaunchKernel", "cuMemAlloc", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemsetD8Async", "cuStreamSynchronize", "cuEventCreate", "cuEventRecord",
    "cuEventSynchronize", "cuEventElapsedTime",
  };
  static const int codes[] = {CU_OUT_OF_MEMORY, CU_ILLEGAL_ADDRESS, CU_INVALID_IMAGE, 999};
  int failures = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (size_t k = 0; k < sizeof codes / sizeof *codes; k++)
      for (int skip = 0; fails_well(names[i], skip, codes[k]); skip++) failures++;
  ck_assert_int_gt(failures, 100);
} END_TEST

// ---- variants ----

static plait_exec_info info_of(const Case *c) {
  plait_exec_info v = {.struct_size = sizeof v};
  ck_assert_int_eq(plait_exec_get(c->x, &v), PLAIT_OK);
  return v;
}

static void launch_with(Case *c, int64_t n, int64_t d) {
  Scale s = make_scale(c, n, d);
  plait_status status = launch_scale(c, &s, &waiting);
  ck_assert_msg(status == PLAIT_OK, "%s", messages_text(c));
  free_scale(c, &s);
}

START_TEST(code_is_made_once_for_each_value_of_the_dimensions_that_matter) {
  Case c;
  needs_rows = true;
  open_case(&c, scale_text);
  ck_assert_int_eq((int)info_of(&c).nvariants, 0);
  ck_assert_ptr_null(info_of(&c).text);
  launch_with(&c, 2, 3);
  launch_with(&c, 5, 3);
  ck_assert_int_eq((int)info_of(&c).nvariants, 1);
  launch_with(&c, 2, 4);
  launch_with(&c, 2, 3);
  ck_assert_int_eq((int)info_of(&c).nvariants, 2);
  ck_assert_int_eq(c.n->compiled, 2);
  plait_function f = {.struct_size = sizeof f};
  ck_assert_int_eq(plait_exec_function(c.x, 1, &f), PLAIT_OK);
  ck_assert_str_eq(f.dims, "D = 4");
  ck_assert_ptr_nonnull(strstr(info_of(&c).text, "scale(long long N, float *x"));      // D has become a number
  close_case(&c);
} END_TEST

START_TEST(dimensions_that_are_promised_are_compiled_for_at_once) {
  Case c;
  plait_dim d = {"D", 3};
  plait_build_options o = {.struct_size = sizeof o, .dims = &d, .ndims = 1};
  needs_rows = true;
  open_entry(&c, scale_text);
  prepare_with(&c, &o);
  ck_assert_int_eq((int)info_of(&c).nvariants, 1);
  Scale s = make_scale(&c, 2, 4);
  said(&c, launch_scale(&c, &s, NULL), PLAIT_ERROR_DATA, "PLD0103", "prepared for 3");
  free_scale(&c, &s);
  launch_with(&c, 2, 3);
  ck_assert_int_eq(c.n->compiled, 1);
  close_case(&c);
} END_TEST

START_TEST(asking_for_scratch_compiles_beforehand) {
  Case c;
  size_t bytes = 1, align;
  needs_rows = true;
  open_case(&c, scale_text);
  Scale s = make_scale(&c, 2, 3);
  ck_assert_int_eq(plait_exec_scratch(c.x, s.params, 2, &bytes, &align, &c.m), PLAIT_OK);
  ck_assert(bytes == 0 && c.n->compiled == 1);
  ck_assert_int_eq(launch_scale(&c, &s, NULL), PLAIT_OK);
  ck_assert_int_eq(c.n->compiled, 1);
  free_scale(&c, &s);
  close_case(&c);
} END_TEST

START_TEST(after_many_sets_of_dimensions_code_for_all_sizes_serves_the_rest) {
  Case c;
  needs_rows = true;
  open_case(&c, scale_text);
  for (int d = 1; d <= 70; d++) launch_with(&c, 1, d);
  ck_assert_int_eq((int)info_of(&c).nvariants, 65);                      // 64 and the general one
  ck_assert_int_eq(c.n->compiled, 65);
  plait_function f = {.struct_size = sizeof f};
  ck_assert_int_eq(plait_exec_function(c.x, 64, &f), PLAIT_OK);
  ck_assert_str_eq(f.dims, "");
  close_case(&c);
} END_TEST

START_TEST(where_there_is_no_code_for_all_sizes_the_limit_is_told) {
  Case c;
  needs_rows = no_general = true;
  open_case(&c, scale_text);
  for (int d = 1; d <= 64; d++) launch_with(&c, 1, d);
  Scale s = make_scale(&c, 1, 65);
  said(&c, launch_scale(&c, &s, NULL), PLAIT_ERROR_LIMIT, "PLL0116", "made for values of `D`, and 64 sets of them have been made");
  free_scale(&c, &s);
  launch_with(&c, 1, 64);
  close_case(&c);
} END_TEST

START_TEST(a_variant_that_cannot_be_made_is_tried_again) {
  Case c;
  needs_rows = true;
  open_case(&c, scale_text);
  Scale s = make_scale(&c, 2, 3);
  c.n->result = 6;
  ck_assert_int_eq(launch_scale(&c, &s, NULL), PLAIT_ERROR_ENVIRONMENT);
  plait_messages_free(c.m);
  c.n->result = 0;
  ck_assert_int_eq(launch_scale(&c, &s, NULL), PLAIT_OK);
  free_scale(&c, &s);
  close_case(&c);
} END_TEST

typedef struct Thread { const Case *c; Scale s; plait_status status; } Thread;

static void *launch_many(void *arg) {
  Thread *t = arg;
  for (int i = 0; i < 20 && !t->status; i++) t->status = plait_launch(t->c->x, t->s.params, 2, &t->s.y, 1, NULL, NULL);
  return NULL;
}

// The look-alike keeps one stack of contexts for all threads: the context is current before they start.
START_TEST(threads_that_come_with_the_same_dimensions_share_one_compilation) {
  enum { THREADS = 8 };
  Case c;
  Thread t[THREADS];
  pthread_t id[THREADS];
  CudaScope scope;
  CudaError e = {0};
  needs_rows = true;
  open_case(&c, scale_text);
  for (int i = 0; i < THREADS; i++) t[i] = (Thread){.c = &c, .s = make_scale(&c, 2, 3 + i % 2)};
  ck_assert(cuda_enter(cuda_device(c.cx->cuda, 0, &e), &scope, &e));
  for (int i = 0; i < THREADS; i++) ck_assert_int_eq(pthread_create(&id[i], NULL, launch_many, &t[i]), 0);
  for (int i = 0; i < THREADS; i++) pthread_join(id[i], NULL);
  cuda_leave(&scope);
  for (int i = 0; i < THREADS; i++) {
    ck_assert_int_eq(t[i].status, PLAIT_OK);
    free_scale(&c, &t[i].s);
  }
  ck_assert_int_eq(c.n->compiled, 2);
  close_case(&c);
} END_TEST

// ---- looking inside ----

START_TEST(an_exec_tells_its_device_compiler_and_what_kernels_take) {
  Case c;
  char *json;
  open_entry(&c, scale_text);
  c.n->log = "ptxas info : Compiling entry function 'scale' for 'sm_90'\n    0 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n";
  prepare_with(&c, NULL);
  plait_exec_info v = info_of(&c);
  ck_assert_str_eq(v.target, "cuda");
  ck_assert_str_eq(v.compiler, "NVRTC 13.0");
  ck_assert_str_eq(v.device, "Fake GPU");
  ck_assert_str_eq(v.arch, "sm_90");
  ck_assert(v.nvariants == 1 && v.nfunctions == 1 && v.nkernels == 1);
  ck_assert_ptr_nonnull(strstr(v.text, "__global__ void scale("));
  plait_function f = {.struct_size = sizeof f};
  ck_assert_int_eq(plait_exec_function(c.x, 0, &f), PLAIT_OK);
  ck_assert_str_eq(f.name, "scale");
  ck_assert(f.registers == 40 && f.spill_store_bytes == 12 && f.spill_load_bytes == 16);
  ck_assert_int_eq(plait_exec_function(c.x, 1, &f), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_exec_json(c.x, &json, NULL), PLAIT_OK);
  ck_assert_ptr_nonnull(strstr(json, "\"registers\": 40"));
  ck_assert_ptr_nonnull(strstr(json, "\"spill_load_bytes\": 16"));
  plait_free(json);
  close_case(&c);
} END_TEST

START_TEST(text_and_code_are_printed_without_a_device) {
  Case c;
  char *text;
  size_t size = 0;
  plait_build_options o = {.struct_size = sizeof o, .arch = "sm_100"};
  open_entry(&c, scale_text);
  c.f->devices = 0;
  ck_assert_int_eq(plait_emit(c.e, "cuda", NULL, &text, NULL, &c.m), PLAIT_OK);
  ck_assert_int_eq(strncmp(text, "// sm_90, for people", 20), 0);        // the same on every machine
  plait_free(text);
  ck_assert_int_eq(plait_emit(c.e, "ptx", &o, &text, NULL, &c.m), PLAIT_OK);
  ck_assert_str_eq(text, "ptx of compute_100");
  plait_free(text);
  ck_assert_int_eq(plait_emit_code(c.e, "cubin", &o, &text, &size, &c.m), PLAIT_OK);
  ck_assert(size == sizeof "cubin of sm_100" && strcmp(text, "cubin of sm_100") == 0);
  ck_assert_int_eq(strncmp(c.n->text, "// sm_100\n", 10), 0);
  plait_free(text);
  close_case(&c);
} END_TEST

START_TEST(code_for_another_architecture_than_the_devices_is_ptx) {
  Case c;
  plait_build_options o = {.struct_size = sizeof o, .arch = "sm_80"};
  open_entry(&c, scale_text);
  prepare_with(&c, &o);
  ck_assert_str_eq(c.f->image, "ptx of compute_80");
  ck_assert_str_eq(info_of(&c).arch, "sm_80");
  plait_exec_free(c.x);
  o.arch = "sm_90a";
  prepare_with(&c, &o);
  ck_assert_str_eq(c.f->image, "cubin of sm_90a");
  close_case(&c);
} END_TEST

// Whether a launch on a stream of the caller's may begin while the one before it ends.
static bool launches_dependently(Case *c, const plait_build_options *o) {
  plait_launch_options on = {.struct_size = sizeof on, .stream = c};
  c->f->launches = 0;
  prepare_with(c, o);
  Scale s = make_scale(c, 2, 3);
  ck_assert_int_eq(launch_scale(c, &s, &on), PLAIT_OK);
  free_scale(c, &s);
  plait_exec_free(c->x);
  c->x = NULL;
  return c->f->launch[0].dependent;
}

START_TEST(launches_depend_on_those_before_unless_that_is_turned_off) {
  Case c;
  plait_build_options o = {.struct_size = sizeof o};
  open_entry(&c, scale_text);
  ck_assert(launches_dependently(&c, &o));
  o.dependent = PLAIT_DEPENDENT_EARLY;
  ck_assert(launches_dependently(&c, &o));
  o.dependent = PLAIT_DEPENDENT_OFF;
  ck_assert(!launches_dependently(&c, &o));
  o.dependent = (plait_dependent)3;
  said(&c, plait_prepare(c.e, "cuda", &o, &c.x, &c.m), PLAIT_ERROR_USAGE, "PLE0109", "kind 3 of dependent launches");
  close_case(&c);
} END_TEST

START_TEST(code_for_an_older_device_has_no_wait_and_is_not_launched_early) {
  Case c;
  plait_build_options o = {.struct_size = sizeof o};
  open_entry(&c, scale_text);
  c.n->narchs = 1;                     // sm_80 alone
  ck_assert(!launches_dependently(&c, &o));
  ck_assert_str_eq(c.f->image, "ptx of compute_80");
  close_case(&c);
} END_TEST

START_TEST(an_architecture_that_cannot_be_made_is_refused) {
  Case c;
  char *text;
  size_t size;
  plait_build_options o = {.struct_size = sizeof o, .arch = "sm_61"};
  open_entry(&c, scale_text);
  said(&c, plait_emit_code(c.e, "cubin", &o, &text, &size, &c.m), PLAIT_ERROR_ENVIRONMENT, "PLE0109", "not made for sm_61, which is older than sm_80");
  o.arch = "hopper";
  said(&c, plait_emit(c.e, "cuda", &o, &text, NULL, &c.m), PLAIT_ERROR_ENVIRONMENT, "PLE0109", "no architecture `hopper`");
  ck_assert_int_eq(plait_emit_code(c.e, "elf", &o, &text, &size, &c.m), PLAIT_ERROR_USAGE);
  close_case(&c);
} END_TEST

START_TEST(text_that_needs_values_of_dimensions_says_which) {
  Case c;
  char *text;
  plait_dim d = {"D", 128};
  plait_build_options o = {.struct_size = sizeof o, .dims = &d, .ndims = 1};
  needs_rows = no_general = true;
  open_entry(&c, scale_text);
  said(&c, plait_emit(c.e, "cuda", NULL, &text, NULL, &c.m), PLAIT_ERROR_DATA, "PLD0103", "made for values of `D`");
  ck_assert_int_eq(plait_emit(c.e, "cuda", &o, &text, NULL, &c.m), PLAIT_OK);
  plait_free(text);
  close_case(&c);
} END_TEST

START_TEST(a_mistyped_target_gets_a_hint) {
  Case c;
  open_entry(&c, scale_text);
  said(&c, plait_prepare(c.e, "cude", NULL, &c.x, &c.m), PLAIT_ERROR_USAGE, "PLE0109", "did you mean `cuda`?");
  close_case(&c);
} END_TEST

// ---- devices ----

START_TEST(a_device_tells_what_it_is) {
  Case c;
  int n = 0;
  plait_device_info v = {.struct_size = sizeof v};
  open_context(&c, FAKE_CUDA);
  ck_assert_int_eq(plait_device_count(c.cx, &n, NULL), PLAIT_OK);
  ck_assert_int_eq(n, 1);
  ck_assert_int_eq(plait_device_open(c.cx, 0, &c.d, NULL), PLAIT_OK);
  ck_assert_int_eq(plait_device_get(c.d, &v), PLAIT_OK);
  ck_assert_str_eq(v.name, "Fake GPU");
  ck_assert_str_eq(v.arch, "sm_90");
  ck_assert(v.driver == 13000 && v.memory_bytes == (size_t)1 << 30 && v.free_bytes == v.memory_bytes && v.multiprocessors == 4);
  close_case(&c);
} END_TEST

START_TEST(misuse_of_devices_is_a_usage_error_or_nothing) {
  void *p;
  int n;
  plait_device_close(NULL);
  plait_device_free(NULL, NULL);
  ck_assert_int_eq(plait_device_count(NULL, &n, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_device_open(NULL, 0, NULL, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_device_get(NULL, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_device_alloc(NULL, 1, &p, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_device_upload(NULL, &p, &p, 1, NULL, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_device_download(NULL, &p, &p, 1, NULL, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_device_wait(NULL, NULL, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_exec_wait(NULL, NULL, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_exec_function(NULL, 0, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_exec_json(NULL, NULL, NULL), PLAIT_ERROR_USAGE);
} END_TEST

START_TEST(a_device_keeps_its_context) {
  Case c;
  void *p = NULL;
  open_context(&c, FAKE_CUDA);
  ck_assert_int_eq(plait_device_open(c.cx, 0, &c.d, NULL), PLAIT_OK);
  plait_context_free(c.cx);
  c.cx = NULL;
  ck_assert_int_eq(plait_device_alloc(c.d, 16, &p, NULL), PLAIT_OK);
  plait_device_free(c.d, p);
  close_case(&c);
} END_TEST

START_TEST(waiting_for_a_cpu_exec_is_nothing) {
  Case c;
  double ms = -1;
  float x[6] = {1, 2, 3, 4, 5, 6}, y[6];
  plait_launch_options o = {.struct_size = sizeof o, .ms = &ms};
  open_entry(&c, scale_text);
  ck_assert_int_eq(plait_prepare(c.e, "ref", NULL, &c.x, NULL), PLAIT_OK);
  plait_tensor params[2] = {{.data = x, .dtype = PLAIT_F32, .rank = 2, .extent = {2, 3}, .bytes = 24}, {.dtype = PLAIT_F32}}, r = params[0];
  r.data = y;
  ck_assert_int_eq(plait_launch(c.x, params, 2, &r, 1, &o, NULL), PLAIT_OK);
  ck_assert(ms >= 0 && y[5] == 12);
  ck_assert_int_eq(plait_exec_wait(c.x, NULL, NULL), PLAIT_OK);
  plait_exec_info v = info_of(&c);
  ck_assert(!v.device && !v.arch && v.nfunctions == 0);
  close_case(&c);
} END_TEST

// ---- settings, doctor ----

START_TEST(settings_name_the_libraries_and_the_compiler) {
  Case c = {.f = fake_driver(), .n = fake_compiler()};
  setenv("PLAIT_CUDA_DRIVER", FAKE_CUDA, 1);
  setenv("PLAIT_NVRTC", FAKE_NVRTC, 1);
  setenv("PLAIT_GPU_COMPILER", "nvrtc", 1);
  ck_assert_int_eq(plait_context_create(NULL, &c.cx, &c.m), PLAIT_OK);
  ck_assert_ptr_null(c.m);
  ck_assert_int_eq(plait_device_open(c.cx, 0, &c.d, NULL), PLAIT_OK);
  ck_assert_int_eq(c.cx->o.gpu_compiler, PLAIT_GPU_COMPILER_NVRTC);
  close_case(&c);
} END_TEST

START_TEST(settings_with_values_that_cannot_be_are_errors) {
  static const char *const names[] = {"PLAIT_NVRTC", "PLAIT_CUDA_DRIVER", "PLAIT_GPU_COMPILER"};
  for (int i = 0; i < 3; i++) {
    Case c = {.f = fake_driver(), .n = fake_compiler()};
    setenv(names[i], "lib.so", 1);
    said(&c, plait_context_create(NULL, &c.cx, &c.m), PLAIT_ERROR_ENVIRONMENT, "PLE0109", names[i]);
    unsetenv(names[i]);
  }
  Case c = {.f = fake_driver(), .n = fake_compiler()};
  plait_context_options o = {.struct_size = sizeof o, .nvrtc = "libnvrtc.so"};
  said(&c, plait_context_create(&o, &c.cx, &c.m), PLAIT_ERROR_USAGE, "PLE0109", "no absolute path");
} END_TEST

static const char *doctor_json(Case *c) {
  static char text[1 << 16];
  char *s;
  plait_doctor *d;
  ck_assert_int_eq(plait_doctor_create(c->cx, &d, NULL), PLAIT_OK);
  ck_assert_int_eq(plait_doctor_json(d, &s, NULL), PLAIT_OK);
  snprintf(text, sizeof text, "%s", s);
  plait_free(s);
  plait_doctor_free(d);
  return text;
}

START_TEST(the_doctor_says_whether_kernels_can_run_on_a_gpu) {
  Case c;
  open_context(&c, FAKE_CUDA);
  ck_assert_ptr_nonnull(strstr(doctor_json(&c), "\"cuda\": true"));
  ck_assert_ptr_nonnull(strstr(doctor_json(&c), "Fake GPU, sm_90"));
  c.f->devices = 0;
  ck_assert_ptr_nonnull(strstr(doctor_json(&c), "\"cuda\": false"));
  close_case(&c);
  open_context(&c, "/nonexistent/libcuda.so.1");
  ck_assert_ptr_nonnull(strstr(doctor_json(&c), "\"cuda\": false"));
  ck_assert_ptr_nonnull(strstr(doctor_json(&c), "/nonexistent/libcuda.so.1: "));
  close_case(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    a_launch_runs_on_device_memory, a_launch_does_not_wait_unless_asked_and_uses_the_callers_stream, the_time_on_the_device_is_told,
    host_memory_is_refused_before_a_kernel_can_touch_it, arguments_are_checked_as_on_the_cpu, a_tensor_is_changed_in_place,
    a_wrong_subscript_is_reported_as_on_the_cpu, without_waiting_a_wrong_subscript_is_reported_once_by_the_wait,
    without_a_driver_preparing_says_what_to_install, a_device_that_does_not_exist_is_refused, without_a_generator_nothing_else_breaks,
    text_that_nvrtc_refuses_comes_with_its_log, code_that_cannot_be_loaded_or_started_is_an_error, out_of_device_memory_is_a_limit_that_loses_nothing,
    a_failing_launch_is_an_error_of_the_environment, every_call_of_the_driver_may_fail_in_every_place, code_is_made_once_for_each_value_of_the_dimensions_that_matter,
    dimensions_that_are_promised_are_compiled_for_at_once, asking_for_scratch_compiles_beforehand,
    after_many_sets_of_dimensions_code_for_all_sizes_serves_the_rest, where_there_is_no_code_for_all_sizes_the_limit_is_told,
    a_variant_that_cannot_be_made_is_tried_again, threads_that_come_with_the_same_dimensions_share_one_compilation,
    an_exec_tells_its_device_compiler_and_what_kernels_take, text_and_code_are_printed_without_a_device,
    code_for_another_architecture_than_the_devices_is_ptx, launches_depend_on_those_before_unless_that_is_turned_off,
    code_for_an_older_device_has_no_wait_and_is_not_launched_early, an_architecture_that_cannot_be_made_is_refused,
    text_that_needs_values_of_dimensions_says_which, a_mistyped_target_gets_a_hint, a_device_tells_what_it_is,
    misuse_of_devices_is_a_usage_error_or_nothing, a_device_keeps_its_context, waiting_for_a_cpu_exec_is_nothing,
    settings_name_the_libraries_and_the_compiler, settings_with_values_that_cannot_be_are_errors, the_doctor_says_whether_kernels_can_run_on_a_gpu,
  };
  return UNIT_RUN("cuda_api", tests);
}
