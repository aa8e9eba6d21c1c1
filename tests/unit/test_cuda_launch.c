// test_cuda_launch.c: plans on a device: arguments, geometry, scratch memory, faults. The device is a look-alike whose
// kernels are C functions here.
#include "fake.h"
#include "plans.h"
#include "runtime/cuda_graph.h"
#include "runtime/cuda_launch.h"
#include <stdio.h>

// y[i] = h[i] * k + 1 through a temporary h; h[i] = x[ids[i]] is checked. Two kernels: `gather` and `scale`.
typedef struct Case {
  Make m;
  Launches launches;
  Expr *n;
  Tensor *x, *ids, *k, *y, *h;
  Cuda *cuda;
  const CudaDevice *d;
  FakeCuda *f;
  CudaError e;
  CudaPlan *plan;
  CuPointer dx, dids, dy;
  float scale;
  View params[3], results[1];
  int64_t dims[2];                     // N, of ids and y; V, of x
} Case;

enum { ROWS = 6, VALUES = 4 };
static const float values[VALUES] = {10, 20, 30, 40};

static LaunchArg dim_arg(const Expr *e) { return (LaunchArg){.dim = e->u.dim}; }
static LaunchArg tensor_arg(const Tensor *t) { return (LaunchArg){.t = t}; }

static void add_launch(Case *c, Launch l, int n, const LaunchArg *arg) {
  l.nargs = n;
  l.arg = arena_array(c->m.a, LaunchArg, n);
  if (n) memcpy(l.arg, arg, (size_t)n * sizeof *arg);
  if (!l.blocks) l.blocks = make_int(&c->m, 1);
  if (!l.threads) l.threads = 128;
  vec_push(c->m.a, &c->launches, l);
}

static void make_tensors(Case *c) {
  Make *m = &c->m;
  c->n = make_dim(m, "N");
  Expr *v = make_dim(m, "V");
  c->x = make_param(m, "x", DT_F32, 1, &v);
  c->ids = make_param(m, "ids", DT_I32, 1, &c->n);
  c->k = make_param(m, "k", DT_F32, 0, NULL);
  c->y = make_result(m, "y", DT_F32, 1, &c->n);
  c->h = make_temp(m, "h", DT_F32, 1, &c->n, make_int(m, 64), make_op(m, OP_MUL, c->n, make_int(m, 4)));
  make_site(m, E_data_subscript, c->y, c->x, 0, v);
}

static void make_launches(Case *c) {
  Expr *v = expr_dim(c->m.x, c->m.f->dims.v[1]);
  add_launch(c, (Launch){.function = "gather", .blocks = make_op(&c->m, OP_ADD, c->n, make_int(&c->m, 2)), .threads = 256}, 6,
             (LaunchArg[]){dim_arg(c->n), dim_arg(v), tensor_arg(c->x), tensor_arg(c->ids), tensor_arg(c->h), {.fault = true}});
  add_launch(c, (Launch){.function = "scale", .shared_bytes = make_op(&c->m, OP_MUL, c->n, make_int(&c->m, 8))}, 4,
             (LaunchArg[]){dim_arg(c->n), tensor_arg(c->k), tensor_arg(c->h), tensor_arg(c->y)});
}

// What the generated text would do, one thread for all.
static void gather(void **arg) {
  const long long n = *(long long *)arg[0], v = *(long long *)arg[1];
  const float *x = *(float **)arg[2];
  const int *ids = *(int **)arg[3];
  float *h = *(float **)arg[4];
  long long *fault = *(long long **)arg[5];
  for (long long i = 0; i < n; i++) {
    bool good = ids[i] >= 0 && ids[i] < v;
    if (!good && !fault[0]) fault[0] = 1, fault[1] = ids[i];
    h[i] = good ? x[ids[i]] : 0;
  }
}
static void scale(void **arg) {
  const long long n = *(long long *)arg[0];
  const float k = *(float *)arg[1], *h = *(float **)arg[2];
  float *y = *(float **)arg[3];
  for (long long i = 0; i < n; i++) y[i] = h[i] * k + 1;
}
static void kernel(const char *function, unsigned blocks, unsigned threads, void **arg) {
  (void)blocks, (void)threads;
  if (strcmp(function, "gather") == 0) gather(arg);
  if (strcmp(function, "scale") == 0) scale(arg);
}

static CuPointer on_device(const Case *c, const void *from, size_t bytes) {
  CuPointer p;
  CudaError e = {0};
  ck_assert(cuda_alloc(c->d, bytes, &p, &e) && cuda_upload(c->d, NULL, p, from, bytes, &e));
  return p;
}

static View device_view(CuPointer p, int64_t n) { return (View){.data = (void *)(uintptr_t)p, .extent = {n}, .rank = 1}; }

static void make_data(Case *c) {
  static const int ids[ROWS] = {0, 1, 2, 3, 0, 1};
  static const float nothing[ROWS] = {0};
  c->dx = on_device(c, values, sizeof values);
  c->dids = on_device(c, ids, sizeof ids);
  c->dy = on_device(c, nothing, sizeof nothing);
  c->scale = 2;
  c->params[0] = device_view(c->dx, VALUES);
  c->params[1] = device_view(c->dids, ROWS);
  c->params[2] = (View){.data = &c->scale};
  c->results[0] = device_view(c->dy, ROWS);
  c->dims[0] = ROWS, c->dims[1] = VALUES;
}

static CudaModule *load(Case *c) {
  char bytes[] = "cubin";
  GpuCode code = {.bytes = bytes, .size = 5, .arch = 90};
  CudaModule *m = cuda_load(c->d, &code, "NVRTC 13.0", &c->e);
  ck_assert_msg(m != NULL, "%s", c->e.text);
  return m;
}

static void open_empty(Case *c) {
  *c = (Case){.m = make_plan("f"), .f = fake_driver()};
  c->f->kernel = kernel;
  c->cuda = cuda_create(&fake_paths, GPU_NVRTC);
  c->d = cuda_device(c->cuda, 0, &c->e);
  make_tensors(c);
  make_data(c);
}

static void make_run(Case *c) {
  c->plan = cuda_plan_create(c->d, c->m.p, &c->launches, load(c), &c->e);
  if (!c->plan) ck_abort_msg("%s", c->e.text);
}

static void open_case(Case *c) {
  open_empty(c);
  make_launches(c);
  make_run(c);
}

static void close_case(Case *c) {
  cuda_plan_free(c->plan);
  cuda_release(c->d, c->dx);
  cuda_release(c->d, c->dids);
  cuda_release(c->d, c->dy);
  cuda_error_clear(&c->e);
  cuda_free(c->cuda);
  ck_assert_int_eq(c->f->memories, 0);
  ck_assert_int_eq(c->f->modules, 0);
  ck_assert_int_eq(c->f->contexts, 0);
  ck_assert_int_eq(c->f->events, 0);
  ck_assert_int_eq(c->f->graphs, 0);
  ck_assert_int_eq(c->f->depth, 0);
  ck_assert(!c->f->strict);
  arena_destroy(c->m.a);
}

static CudaRun run_of(const Case *c) { return (CudaRun){.params = c->params, .results = c->results, .dims = c->dims}; }

static void set_id(Case *c, int at, int id) { ck_assert(cuda_upload(c->d, NULL, c->dids + (CuPointer)at * sizeof id, &id, sizeof id, &c->e)); }

static float result(Case *c, int i) {
  float y[ROWS];
  ck_assert(cuda_download(c->d, NULL, y, c->dy, sizeof y, &c->e));
  return y[i];
}

// ---- arguments and geometry ----

START_TEST(kernels_get_dimensions_scalars_tensors_and_temporaries) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert(result(&c, 0) == 21 && result(&c, 3) == 81 && result(&c, 5) == 41);
  close_case(&c);
} END_TEST

START_TEST(blocks_threads_and_shared_memory_are_those_of_the_launch) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.stream = (CuStream)&c;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  const FakeLaunch *l = c.f->launch;
  ck_assert_int_eq(c.f->launches, 2);
  ck_assert_str_eq(l[0].function, "gather");
  ck_assert(l[0].blocks == ROWS + 2 && l[0].threads == 256 && l[0].shared == 0 && l[0].stream == &c);
  ck_assert(l[1].blocks == 1 && l[1].threads == 128 && l[1].shared == 8 * ROWS);
  close_case(&c);
} END_TEST

START_TEST(a_launch_with_no_blocks_or_a_false_condition_is_left_out) {
  Case c;
  Fault fault;
  open_empty(&c);
  add_launch(&c, (Launch){.function = "none", .blocks = make_op(&c.m, OP_SUB, c.n, make_int(&c.m, ROWS))}, 0, NULL);
  add_launch(&c, (Launch){.function = "long", .when = make_op(&c.m, OP_GT, c.n, make_int(&c.m, ROWS))}, 0, NULL);
  add_launch(&c, (Launch){.function = "short", .when = make_op(&c.m, OP_LE, c.n, make_int(&c.m, ROWS))}, 0, NULL);
  make_run(&c);
  CudaRun r = run_of(&c);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert_int_eq(c.f->launches, 1);
  ck_assert_str_eq(c.f->launch[0].function, "short");
  close_case(&c);
} END_TEST

START_TEST(clusters_cooperation_and_dependence_are_asked_for) {
  Case c;
  Fault fault;
  open_empty(&c);
  add_launch(&c, (Launch){.function = "cluster", .blocks = make_int(&c.m, 16), .cluster = 8}, 0, NULL);
  add_launch(&c, (Launch){.function = "all", .cooperative = true}, 0, NULL);
  add_launch(&c, (Launch){.function = "next", .dependent = true}, 0, NULL);
  make_run(&c);
  CudaRun r = run_of(&c);
  r.stream = (CuStream)&c;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  const FakeLaunch *l = c.f->launch;
  ck_assert(l[0].cluster == 8 && !l[0].cooperative && !l[0].dependent);
  ck_assert(l[1].cluster == 0 && l[1].cooperative && !l[1].dependent);
  ck_assert(l[2].cluster == 0 && !l[2].cooperative && l[2].dependent);
  close_case(&c);
} END_TEST

static int launched_of(Case *c, const View *params) {
  Fault fault;
  CudaRun r = run_of(c);
  r.params = params;
  c->f->launches = 0;
  ck_assert_int_eq(cuda_plan_run(c->plan, &r, &fault, &c->e), CALL_OK);
  ck_assert_int_eq(c->f->launches, 1);
  return strcmp(c->f->launch[0].function, "wide") == 0;
}

START_TEST(a_launch_for_aligned_tensors_gives_way_to_its_other_form) {
  Case c;
  open_empty(&c);
  c.m.p->temps.n = 0;
  add_launch(&c, (Launch){.function = "wide", .aligned = 16}, 2, (LaunchArg[]){dim_arg(c.n), tensor_arg(c.x)});
  add_launch(&c, (Launch){.function = "narrow", .aligned = -16}, 2, (LaunchArg[]){dim_arg(c.n), tensor_arg(c.x)});
  make_run(&c);
  View params[3];
  memcpy(params, c.params, sizeof params);
  ck_assert(launched_of(&c, params));
  params[0].data = (char *)params[0].data + 8;
  ck_assert(!launched_of(&c, params));
  close_case(&c);
} END_TEST

// Whether a launch on the stream asks to begin while the one before it ends.
static bool is_dependent(CuStream stream) {
  Case c;
  Fault fault;
  open_empty(&c);
  add_launch(&c, (Launch){.function = "next", .dependent = true}, 0, NULL);
  make_run(&c);
  CudaRun r = run_of(&c);
  r.stream = stream;
  c.f->launches = 0;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  bool asked = c.f->launch[0].dependent;
  close_case(&c);
  return asked;
}

static CuStream stream_number(uintptr_t n) { return (CuStream)n; }

START_TEST(a_device_before_sm_90_gets_no_dependent_launches) {
  ck_assert(is_dependent(stream_number(64)));
  fake_driver()->major = 8;
  ck_assert(!is_dependent(stream_number(64)));
} END_TEST

START_TEST(a_driver_whose_graphs_lack_programmatic_edges_gets_no_dependent_launches) {
  fake_driver()->version = 12030;
  ck_assert(is_dependent(stream_number(64)));
  fake_driver()->version = 12020;
  ck_assert(!is_dependent(stream_number(64)));
} END_TEST

START_TEST(launches_on_the_legacy_default_stream_are_not_dependent) {
  ck_assert(!is_dependent(NULL));
  ck_assert(!is_dependent(stream_number(1)));
  ck_assert(is_dependent(stream_number(2)));
} END_TEST

// ---- beyond the device ----

static void refused(Launch l, const char *words) {
  Case c;
  open_empty(&c);
  add_launch(&c, l, 0, NULL);
  c.plan = cuda_plan_create(c.d, c.m.p, &c.launches, load(&c), &c.e);
  ck_assert_ptr_null(c.plan);
  fake_failed(&c.e, CUDA_BEYOND, words);
  close_case(&c);
}

START_TEST(what_the_device_cannot_do_is_refused_when_the_plan_is_loaded) {
  FakeCuda *f = fake_driver();
  f->clusters = f->cooperative = false;
  refused((Launch){.function = "f", .cluster = 4}, "kernel `f` needs clusters of blocks, device 0, Fake GPU, has 0");
  refused((Launch){.function = "f", .cooperative = true}, "cooperative launches");
  f->threads_most = 512;
  refused((Launch){.function = "f", .threads = 1024}, "1024 threads a block with 40 registers each");
} END_TEST

START_TEST(a_kernel_that_the_module_lacks_is_an_error) {
  Case c;
  open_empty(&c);
  make_launches(&c);
  c.f->missing = "scale";
  c.plan = cuda_plan_create(c.d, c.m.p, &c.launches, load(&c), &c.e);
  ck_assert_ptr_null(c.plan);
  fake_failed(&c.e, CUDA_CALL, "looking for the kernel `scale`");
  close_case(&c);
} END_TEST

static void beyond(Expr *(*blocks)(Case *), Expr *(*shared)(Case *), const char *words) {
  Case c;
  Fault fault;
  open_empty(&c);
  add_launch(&c, (Launch){.function = "first"}, 0, NULL);
  add_launch(&c, (Launch){.function = "f", .blocks = blocks ? blocks(&c) : NULL, .shared_bytes = shared ? shared(&c) : NULL}, 0, NULL);
  make_run(&c);
  CudaRun r = run_of(&c);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_DEVICE);
  fake_failed(&c.e, CUDA_BEYOND, words);
  ck_assert_int_eq(c.f->launches, 0);                                    // not even the first
  close_case(&c);
}

static Expr *too_many(Case *c) { return make_op(&c->m, OP_MUL, c->n, make_int(&c->m, (int64_t)1 << 30)); }
static Expr *uncountable(Case *c) { return make_op(&c->m, OP_MUL, c->n, make_int(&c->m, INT64_MAX)); }
static Expr *negative(Case *c) { return make_op(&c->m, OP_SUB, c->n, make_int(&c->m, ROWS + 1)); }
static Expr *too_much(Case *c) { return make_op(&c->m, OP_ADD, c->n, make_int(&c->m, (227 << 10) - ROWS + 1)); }

START_TEST(geometry_beyond_the_device_is_refused_before_anything_is_launched) {
  beyond(too_many, NULL, "needs 6442450944 blocks, and 2147483647 are possible");          // 6 · 2^30
  beyond(uncountable, NULL, "too many to be counted");
  beyond(negative, NULL, "needs -1 blocks");
  beyond(NULL, too_much, "needs 232449 bytes of shared memory a block, and 232448 are possible");      // 227 KiB and one more
} END_TEST

START_TEST(a_launch_that_fails_is_named_with_its_geometry) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  c.f->fails = "cuLaunchKernel", c.f->skip = 1, c.f->code = 719;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_DEVICE);
  fake_failed(&c.e, CUDA_CALL, "launching `scale` with 1 blocks of 128 threads and 48 bytes of shared memory failed");
  c.f->fails = "cuLaunchKernel", c.f->code = CU_OUT_OF_RESOURCES;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_DEVICE);
  fake_failed(&c.e, CUDA_BEYOND, "launching `gather`");
  close_case(&c);
} END_TEST

// ---- scratch memory ----

START_TEST(scratch_memory_of_the_caller_is_used_and_nothing_is_allocated) {
  Case c;
  Fault fault;
  open_case(&c);
  CuPointer scratch = on_device(&c, values, sizeof values);
  cuda_release(c.d, scratch);
  ck_assert(cuda_alloc(c.d, 64 + 4 * ROWS, &scratch, &c.e));
  CudaRun r = run_of(&c);
  r.scratch = (void *)(uintptr_t)scratch;
  r.scratch_bytes = 64 + 4 * ROWS;
  c.f->fails = "cuMemAllocAsync", c.f->code = 2;                         // would fail if it were called
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  float h;
  ck_assert(cuda_download(c.d, NULL, &h, scratch + 64 + 4, sizeof h, &c.e));   // h stands at its offset
  ck_assert(h == 20 && c.f->fails != NULL);
  cuda_release(c.d, scratch);
  close_case(&c);
} END_TEST

START_TEST(scratch_memory_too_small_or_misaligned_is_refused) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.scratch = (void *)(uintptr_t)(c.dx & ~(CuPointer)63);
  r.scratch_bytes = 64 + 4 * ROWS - 1;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_SCRATCH);
  r.scratch = (char *)r.scratch + 4;
  r.scratch_bytes = 1 << 20;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_SCRATCH);
  ck_assert_int_eq(c.f->launches, 0);
  close_case(&c);
} END_TEST

START_TEST(without_device_memory_for_scratch_nothing_is_launched_or_lost) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  int before = c.f->memories;
  c.f->memory = c.f->used + 8;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_DEVICE);
  fake_failed(&c.e, CUDA_DEVICE_MEMORY, "88 bytes of device memory cannot be had: 8 of");
  ck_assert_int_eq(c.f->launches, 0);
  c.f->memory = 1 << 20;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert_int_eq(c.f->memories, before);
  close_case(&c);
} END_TEST

START_TEST(a_plan_without_temporaries_needs_no_scratch) {
  Case c;
  Fault fault;
  open_empty(&c);
  c.m.p->temps.n = 0;
  add_launch(&c, (Launch){.function = "f"}, 1, (LaunchArg[]){tensor_arg(c.y)});
  make_run(&c);
  CudaRun r = run_of(&c);
  int before = c.f->memories;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert_int_eq(c.f->memories, before);
  close_case(&c);
} END_TEST

// ---- conditions and faults ----

START_TEST(a_condition_that_fails_stops_the_call_before_anything_is_launched) {
  Case c;
  Fault fault;
  open_empty(&c);
  make_launches(&c);
  vec_push(c.m.a, &c.m.p->conds, (Where){.e = make_op(&c.m, OP_GT, c.n, make_int(&c.m, ROWS))});
  vec_push(c.m.a, &c.m.p->cond_sites, c.m.p->sites.v[0]);
  make_run(&c);
  CudaRun r = run_of(&c);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_FAULT);
  ck_assert_int_eq(c.f->launches, 0);
  close_case(&c);
} END_TEST

static const char *fault_text(const char *id) {
  static char text[128];
  snprintf(text, sizeof text, "subscript 0 of `x` is %s, allowed 0..3 (in `y`)", id);
  return text;
}

START_TEST(a_run_that_waits_reports_its_own_fault_and_the_next_one_starts_clean) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.wait = true;
  set_id(&c, 2, 7);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_FAULT);
  ck_assert_str_eq(fault.text, fault_text("7"));
  ck_assert(fault.value == 7 && fault.extent == VALUES && fault.axis == 0);
  set_id(&c, 2, 1);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_OK);
  close_case(&c);
} END_TEST

START_TEST(a_run_that_does_not_wait_reports_its_fault_when_it_is_waited_for) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  set_id(&c, 0, -5);
  int waits = c.f->waits;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert_int_eq(c.f->waits, waits);                                   // it did not wait
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_FAULT);
  ck_assert_str_eq(fault.text, fault_text("-5"));
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_OK);
  close_case(&c);
} END_TEST

START_TEST(a_fault_is_told_with_the_dimensions_of_its_run) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  set_id(&c, 1, 3);
  c.dims[1] = 2;                                                         // V: 3 is out of range now
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  c.dims[1] = VALUES;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_FAULT);
  ck_assert_int_eq(fault.extent, 2);
  close_case(&c);
} END_TEST

START_TEST(the_fault_of_the_earliest_run_is_told_first_and_all_are_forgotten) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  for (int i = 0; i < 70; i++) {                                         // more runs than there are records
    set_id(&c, 0, i >= 66 ? i : 0);
    ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  }
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_FAULT);
  ck_assert_int_eq(fault.value, 66);
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_OK);
  close_case(&c);
} END_TEST

START_TEST(a_fault_of_another_run_is_not_reported_to_one_that_waits) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  set_id(&c, 0, 9);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  set_id(&c, 0, 0);
  r.wait = true;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_FAULT);
  ck_assert_int_eq(fault.value, 9);
  close_case(&c);
} END_TEST

START_TEST(a_check_that_does_not_exist_is_an_error_of_the_device) {
  Case c;
  Fault fault;
  open_case(&c);
  c.m.p->sites.n = 0;
  set_id(&c, 0, 9);
  CudaRun r = run_of(&c);
  r.wait = true;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_DEVICE);
  fake_failed(&c.e, CUDA_CALL, "check 1, which does not exist");
  close_case(&c);
} END_TEST

START_TEST(an_error_while_kernels_run_comes_from_waiting) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.wait = true;
  c.f->fails = "cuStreamSynchronize", c.f->code = CU_ILLEGAL_ADDRESS;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_DEVICE);
  fake_failed(&c.e, CUDA_CALL, "waiting for the kernels");
  c.f->fails = "cuStreamSynchronize";
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_DEVICE);
  fake_failed(&c.e, CUDA_CALL, "waiting for a copy");
  close_case(&c);
} END_TEST

START_TEST(the_time_that_the_device_took_is_told) {
  Case c;
  Fault fault;
  double ms = 0;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.ms = &ms;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert(ms == 0.25);                                                 // the look-alike's
  c.f->fails = "cuEventElapsedTime", c.f->code = 1;
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_DEVICE);
  fake_failed(&c.e, CUDA_CALL, "cuEventElapsedTime");
  close_case(&c);
} END_TEST

// ---- graphs ----

static void run_again(Case *c, const CudaRun *r, int launches, int replays) {
  Fault fault;
  if (cuda_plan_run(c->plan, r, &fault, &c->e) != CALL_OK) ck_abort_msg("%s", c->e.text ? c->e.text : fault.text);
  ck_assert_int_eq(c->f->launches, launches);
  ck_assert_int_eq(c->f->replays, replays);
}

static void *own_scratch(Case *c) {
  CuPointer p;
  ck_assert(cuda_alloc(c->d, 256, &p, &c->e));
  return (void *)(uintptr_t)p;
}

START_TEST(the_same_arguments_become_a_graph_when_they_come_again) {
  Case c;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.replay = true, r.scratch = own_scratch(&c), r.scratch_bytes = 256;
  run_again(&c, &r, 2, 0);                                               // two kernels; then it is made, and used
  run_again(&c, &r, 2, 1);
  run_again(&c, &r, 2, 2);
  ck_assert_int_eq(c.f->captured, 2);
  cuda_release(c.d, (CuPointer)(uintptr_t)r.scratch);
  close_case(&c);
} END_TEST

START_TEST(any_other_argument_is_another_graph) {
  Case c;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.replay = true, r.scratch = own_scratch(&c), r.scratch_bytes = 256;
  run_again(&c, &r, 2, 0);
  c.scale = 3;                                                           // a scalar
  run_again(&c, &r, 4, 0);
  c.dims[1] = VALUES - 1;                                                // a dimension
  run_again(&c, &r, 6, 0);
  c.results[0] = device_view(c.dx, VALUES);                              // a pointer
  run_again(&c, &r, 8, 0);
  run_again(&c, &r, 8, 1);
  cuda_release(c.d, (CuPointer)(uintptr_t)r.scratch);
  close_case(&c);
} END_TEST

START_TEST(few_graphs_are_kept_and_the_oldest_goes) {
  Case c;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.replay = true, r.scratch = own_scratch(&c), r.scratch_bytes = 256;
  for (int i = 0; i < CUDA_GRAPHS + 1; i++) {
    c.scale = (float)i;
    run_again(&c, &r, 2 * (i + 1), i);
    run_again(&c, &r, 2 * (i + 1), i + 1);
  }
  ck_assert_int_eq(c.f->graphs, CUDA_GRAPHS);
  c.scale = 0;                                                           // forgotten
  run_again(&c, &r, 2 * (CUDA_GRAPHS + 2), CUDA_GRAPHS + 1);
  cuda_release(c.d, (CuPointer)(uintptr_t)r.scratch);
  close_case(&c);
} END_TEST

START_TEST(a_graph_that_cannot_be_made_or_launched_gives_way_to_plain_launches) {
  static const char *const fails[] = {"cuStreamCreate", "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphLaunch"};
  for (size_t i = 0; i < sizeof fails / sizeof *fails; i++) {
    Case c;
    open_case(&c);
    c.f->launches = c.f->replays = 0;
    CudaRun r = run_of(&c);
    r.replay = true, r.scratch = own_scratch(&c), r.scratch_bytes = 256;
    run_again(&c, &r, 2, 0);
    c.f->fails = fails[i], c.f->code = 900;
    run_again(&c, &r, 4, 0);
    ck_assert_ptr_null(c.f->fails);
    run_again(&c, &r, 6, 0);                                             // and is not tried again
    cuda_release(c.d, (CuPointer)(uintptr_t)r.scratch);
    close_case(&c);
  }
} END_TEST

START_TEST(runs_that_wait_and_plans_of_one_kernel_are_no_graphs) {
  Case c;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.replay = r.wait = true, r.scratch = own_scratch(&c), r.scratch_bytes = 256;
  for (int i = 1; i < 4; i++) run_again(&c, &r, 2 * i, 0);
  cuda_release(c.d, (CuPointer)(uintptr_t)r.scratch);
  close_case(&c);
  open_empty(&c);
  c.m.p->temps.n = 0;
  add_launch(&c, (Launch){.function = "f"}, 1, (LaunchArg[]){tensor_arg(c.y)});
  make_run(&c);
  r = run_of(&c);
  r.replay = true;
  c.f->launches = 0;
  for (int i = 1; i < 4; i++) run_again(&c, &r, i, 0);
  close_case(&c);
} END_TEST

// The look-alike's graphs run nothing: the fault is written as the kernel of the first run, captured, would.
START_TEST(a_fault_of_a_replayed_run_is_reported) {
  Case c;
  Fault fault;
  open_case(&c);
  CudaRun r = run_of(&c);
  r.replay = true, r.scratch = own_scratch(&c), r.scratch_bytes = 256;
  run_again(&c, &r, 2, 0);
  set_id(&c, 0, 11);
  c.f->fails = "cuGraphLaunch", c.f->code = 900;
  run_again(&c, &r, 4, 0);                                               // plain, with the graph's record
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_FAULT);
  ck_assert(fault.value == 11 && fault.extent == VALUES);
  cuda_release(c.d, (CuPointer)(uintptr_t)r.scratch);
  close_case(&c);
} END_TEST

// ---- many arguments ----

START_TEST(more_kernels_and_arguments_than_the_stack_holds_run_as_well) {
  Case c;
  Fault fault;
  LaunchArg many[600];
  open_empty(&c);
  for (int i = 0; i < 600; i++) many[i] = tensor_arg(c.y);
  for (int i = 0; i < 100; i++) add_launch(&c, (Launch){.function = "f"}, 600, many);
  make_run(&c);
  CudaRun r = run_of(&c);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert_int_eq(c.f->launches, 100);
  close_case(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    kernels_get_dimensions_scalars_tensors_and_temporaries, blocks_threads_and_shared_memory_are_those_of_the_launch,
    a_launch_with_no_blocks_or_a_false_condition_is_left_out, clusters_cooperation_and_dependence_are_asked_for,
    a_launch_for_aligned_tensors_gives_way_to_its_other_form, a_device_before_sm_90_gets_no_dependent_launches,
    a_driver_whose_graphs_lack_programmatic_edges_gets_no_dependent_launches, launches_on_the_legacy_default_stream_are_not_dependent, what_the_device_cannot_do_is_refused_when_the_plan_is_loaded,
    a_kernel_that_the_module_lacks_is_an_error, geometry_beyond_the_device_is_refused_before_anything_is_launched,
    a_launch_that_fails_is_named_with_its_geometry, scratch_memory_of_the_caller_is_used_and_nothing_is_allocated,
    scratch_memory_too_small_or_misaligned_is_refused, without_device_memory_for_scratch_nothing_is_launched_or_lost,
    a_plan_without_temporaries_needs_no_scratch, a_condition_that_fails_stops_the_call_before_anything_is_launched,
    a_run_that_waits_reports_its_own_fault_and_the_next_one_starts_clean, a_run_that_does_not_wait_reports_its_fault_when_it_is_waited_for,
    a_fault_is_told_with_the_dimensions_of_its_run, the_fault_of_the_earliest_run_is_told_first_and_all_are_forgotten,
    a_fault_of_another_run_is_not_reported_to_one_that_waits, a_check_that_does_not_exist_is_an_error_of_the_device,
    an_error_while_kernels_run_comes_from_waiting, the_time_that_the_device_took_is_told,
    the_same_arguments_become_a_graph_when_they_come_again, any_other_argument_is_another_graph, few_graphs_are_kept_and_the_oldest_goes,
    a_graph_that_cannot_be_made_or_launched_gives_way_to_plain_launches, runs_that_wait_and_plans_of_one_kernel_are_no_graphs,
    a_fault_of_a_replayed_run_is_reported, more_kernels_and_arguments_than_the_stack_holds_run_as_well,
  };
  return UNIT_RUN("cuda_launch", tests);
}
