// gpu.c: running a program on a GPU for the harness, as users do: through plait.h. Code for all sizes, which plait.h makes
// only when an exec has met very many, is made by hand.
#include "tests/diff/gpu.h"
#include "codegen/launch.h"
#include "passes/pass.h"
#include "plait.h"
#include "runtime/cuda_launch.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Gpu_runner {
  plait_context *cx;
  plait_device *d;
  Cuda *cuda;                 // for code of all sizes
  const CudaDevice *device;
  SearchPaths paths;
};

typedef struct Memory { void **own; char **of; int n; } Memory;       // device memory of all tensors, parameters first; what was allocated for it

typedef struct Job {
  Gpu_runner *g;
  const GpuProgram *p;
  View *params, *results;
  int64_t *dims;
  Memory m;
  char *why; size_t room;
} Job;

static GpuVerdict fails(Job *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static GpuVerdict fails(Job *j, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(j->why, j->room, fmt, ap);
  va_end(ap);
  return GPU_FAILED;
}

static void keep_messages(char *why, size_t n, plait_messages *m) {
  char *text = NULL;
  if (m) plait_messages_render(m, PLAIT_STYLE_TEXT, &text, NULL);
  snprintf(why, n, "%s", text ? text : "no message");
  plait_free(text);
  plait_messages_free(m);
}

// ---- the device --------------------------------------------------------------------------------

Gpu_runner *gpu_open(int number) {
  Gpu_runner *g = calloc(1, sizeof *g);
  plait_messages *m = NULL;
  char why[2000];
  if (!g || plait_context_create(NULL, &g->cx, &m) || plait_device_open(g->cx, number, &g->d, &m)) {
    keep_messages(why, sizeof why, m);
    fprintf(stderr, "no GPU: %s\n", why);
    gpu_close_runner(g);
    return NULL;
  }
  g->paths = (SearchPaths){.path = getenv("PATH"), .nvrtc = getenv("PLAIT_NVRTC"), .cuda_driver = getenv("PLAIT_CUDA_DRIVER")};
  g->cuda = cuda_create(&g->paths, GPU_AUTO);
  CudaError e = {0};
  g->device = g->cuda ? cuda_device(g->cuda, number, &e) : NULL;
  if (g->device) return g;
  fprintf(stderr, "no GPU: %s\n", e.text ? e.text : "?");
  gpu_close_runner(g);
  return NULL;
}

void gpu_close_runner(Gpu_runner *g) {
  if (!g) return;
  if (g->cuda) cuda_free(g->cuda);
  plait_device_close(g->d);
  plait_context_free(g->cx);
  free(g);
}

// Not the legacy default stream: launches depend on one another there as before CUDA 11.8.
#define CU_STREAM_PER_THREAD ((void *)2)

// ---- memory ------------------------------------------------------------------------------------

static const Tensor *tensor_at(const Job *j, int i) { return i < j->p->fn->params.n ? j->p->fn->params.v[i] : j->p->fn->results.v[i - j->p->fn->params.n]; }
static View *view_at(const Job *j, int i) { return i < j->p->fn->params.n ? &j->params[i] : &j->results[i - j->p->fn->params.n]; }
static bool is_scalar(const Tensor *t) { return t->rank == 0 && t->role == ROLE_PARAM; }

static size_t bytes_at(const Job *j, int i) {
  const Tensor *t = tensor_at(j, i);
  const View *v = view_at(j, i);
  int64_t n = 1;
  for (int k = 0; k < v->rank; k++) n *= v->extent[k];
  return (size_t)(t->fmt ? n / t->fmt->block * t->fmt->bytes : dtype_bytes(t->dtype, n));
}

// Results begin as what no kernel writes by accident.
static bool put_all(Job *j) {
  for (int i = 0; i < j->m.n; i++) {
    size_t n = bytes_at(j, i);
    if (is_scalar(tensor_at(j, i))) continue;
    const Tensor *t = tensor_at(j, i);
    size_t offset = j->p->unaligned && !t->fmt ? (size_t)(dtypes[t->dtype].bits + 7) / 8 : 0;
    if (plait_device_alloc(j->g->d, n + offset + 1, &j->m.own[i], NULL)) return false;
    j->m.of[i] = (char *)j->m.own[i] + offset;
    if (i >= j->p->fn->params.n) memset(view_at(j, i)->data, 0xa5, n);
    if (n && plait_device_upload(j->g->d, j->m.of[i], view_at(j, i)->data, n, NULL, NULL)) return false;
  }
  return true;
}

static bool get_all(Job *j) {
  for (int i = 0; i < j->m.n; i++) {
    size_t n = bytes_at(j, i);
    bool out = i >= j->p->fn->params.n || tensor_at(j, i)->role == ROLE_MUT;
    if (out && n && plait_device_download(j->g->d, view_at(j, i)->data, j->m.of[i], n, NULL, NULL)) return false;
  }
  return true;
}

static void free_all(Job *j) {
  for (int i = 0; i < j->m.n; i++) plait_device_free(j->g->d, j->m.own[i]);
  free(j->m.own);
  free(j->m.of);
}

// ---- through plait.h ---------------------------------------------------------------------------

static plait_tensor tensor_of(const Job *j, int i) {
  const Tensor *t = tensor_at(j, i);
  const View *v = view_at(j, i);
  plait_tensor out = {.data = is_scalar(t) ? v->data : j->m.of[i], .dtype = t->fmt ? PLAIT_BLOCKS : (plait_dtype)t->dtype, .rank = v->rank, .bytes = bytes_at(j, i)};
  memcpy(out.extent, v->extent, sizeof out.extent);
  return out;
}

static GpuVerdict launch(Job *j, plait_exec *x) {
  int np = j->p->fn->params.n, nr = j->p->fn->results.n;
  plait_tensor *t = calloc((size_t)(np + nr) + 1, sizeof *t);
  plait_messages *m = NULL;
  plait_launch_options o = {.struct_size = sizeof o, .wait = 1, .stream = CU_STREAM_PER_THREAD};
  for (int i = 0; i < np + nr; i++) t[i] = tensor_of(j, i);
  plait_status s = plait_launch(x, t, (size_t)np, t + np, (size_t)nr, &o, &m);
  free(t);
  if (s) keep_messages(j->why, j->room, m);
  return s == PLAIT_OK ? GPU_RAN : s == PLAIT_ERROR_DATA ? GPU_FAULTED : GPU_FAILED;
}

static GpuVerdict run_entry(Job *j, plait_program *p) {
  const plait_entry *e = NULL;
  plait_exec *x = NULL;
  plait_messages *m = NULL;
  plait_build_options o = {.struct_size = sizeof o, .no_fuse = j->p->no_fuse, .verify = 1};
  if (plait_program_find(p, j->p->entry, &e, &m) || plait_prepare(e, "cuda", &o, &x, &m)) {
    keep_messages(j->why, j->room, m);
    return GPU_FAILED;
  }
  GpuVerdict v = launch(j, x);
  plait_exec_free(x);
  return v;
}

static GpuVerdict run_as_users_do(Job *j) {
  plait_program *p = NULL;
  plait_messages *m = NULL;
  if (plait_compile(j->g->cx, j->p->name, j->p->text, strlen(j->p->text), NULL, &p, &m)) {
    keep_messages(j->why, j->room, m);
    return GPU_FAILED;
  }
  GpuVerdict v = run_entry(j, p);
  plait_program_free(p);
  return v;
}

// ---- code for all sizes ------------------------------------------------------------------------

static GpuVerdict run_plan(Job *j, CudaPlan *c) {
  int np = j->p->fn->params.n, nr = j->p->fn->results.n;
  View *v = calloc((size_t)(np + nr) + 1, sizeof *v);
  Fault fault = {0};
  CudaError e = {0};
  for (int i = 0; i < np + nr; i++) {
    v[i] = *view_at(j, i);
    if (!is_scalar(tensor_at(j, i))) v[i].data = j->m.of[i];
  }
  CudaRun r = {.params = v, .results = v + np, .dims = j->dims, .wait = true, .stream = CU_STREAM_PER_THREAD};
  CallStatus s = cuda_plan_run(c, &r, &fault, &e);
  free(v);
  if (s == CALL_OK) return GPU_RAN;
  snprintf(j->why, j->room, "%s", s == CALL_FAULT ? fault.text : e.text ? e.text : "a call failed");
  return s == CALL_FAULT ? GPU_FAULTED : GPU_FAILED;
}

static GpuVerdict compile_plan(Job *j, const Plan *plan, Arena *a) {
  Buf text = buf_make(a);
  Launches launches = {0};
  EmitOptions o = {.jit = true};
  GpuCode code = {0};
  CudaError e = {0};
  char compiler[64];
  if (!cuda_generator.emit(plan, &o, j->g->device->arch, &text, &launches)) return fails(j, "no text for all sizes");
  GpuRequest r = {.text = text.s, .len = text.n, .arch = j->g->device->arch};
  if (!cuda_compile_for_device(j->g->cuda, j->g->device, &r, &code, compiler, &e)) return fails(j, "%s\n%s\n%s", e.text, e.note ? e.note : "", text.s);
  CudaModule *m = cuda_load(j->g->device, &code, compiler, &e);
  CudaPlan *c = m ? cuda_plan_create(j->g->device, plan, &launches, m, &e) : NULL;
  gpu_code_free(&code);
  if (!c) return fails(j, "%s", e.text);
  GpuVerdict v = run_plan(j, c);
  cuda_plan_free(c);
  return v;
}

static GpuVerdict run_for_all_sizes(Job *j) {
  Arena *a = arena_create();
  PassOptions o = {.verify = true, .no_fuse = j->p->no_fuse};
  Machine m = *machine_of_arch(j->g->device->arch);
  if (j->p->unaligned) m.vector_bytes = 1;
  Plan *plan = passes_run(a, fn_copy(a, j->p->fn), &m, &o, NULL);
  GpuVerdict v = plan ? compile_plan(j, plan, a) : fails(j, "the passes failed");
  arena_destroy(a);
  return v;
}

GpuVerdict gpu_run(Gpu_runner *g, const GpuProgram *p, View *params, View *results, int64_t *dims, char *why, size_t n) {
  Job j = {.g = g, .p = p, .params = params, .results = results, .dims = dims, .why = why, .room = n};
  j.m.n = p->fn->params.n + p->fn->results.n;
  j.m.own = calloc((size_t)j.m.n + 1, sizeof *j.m.own);
  j.m.of = calloc((size_t)j.m.n + 1, sizeof *j.m.of);
  GpuVerdict v = !put_all(&j) ? fails(&j, "no device memory") : p->general ? run_for_all_sizes(&j) : run_as_users_do(&j);
  if (v == GPU_RAN && !get_all(&j)) v = fails(&j, "the results cannot be copied");
  free_all(&j);
  return v;
}
