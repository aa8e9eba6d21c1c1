// test_stack.c: the library's own runtime over the stand-ins: text, NVRTC, driver, launches, faults in the data.
#include "runtime/cuda_launch.h"
#include "tests/unit/plans.h"
#include "tests/unit/unit.h"
#include <string.h>

// y[i] = k h[i] + 1 with h[i] = x[ids[i]], a checked read, in a temporary.
static const char text[] =
  "extern \"C\" __global__ void gather(long long n, long long values, const float *x, const int *ids, float *h, long long *fault) {\n"
  "  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;\n"
  "  if (i >= n) return;\n"
  "  const bool good = ids[i] >= 0 && ids[i] < values;\n"
  "  if (!good) {\n"
  "    PLAIT_ANY_ORDER(fault, 16);\n"
  "    if (atomicCAS((unsigned long long *)fault, 0ull, 1ull) == 0) fault[1] = ids[i];\n"
  "  }\n"
  "  h[i] = good ? x[ids[i]] : 0.0f;\n"
  "}\n"
  "extern \"C\" __global__ void __launch_bounds__(128) scale(long long n, float k, const float *h, float *y) {\n"
  "  extern __shared__ float row[];\n"
  "  for (long long i = threadIdx.x; i < n; i += blockDim.x) row[i] = k * h[i];\n"
  "  BARRIER\n"
  "  for (long long i = threadIdx.x; i < n; i += blockDim.x) y[i] = row[n - 1 - i] + 1.0f;\n"
  "}\n";
enum { ROWS = 200, VALUES = 5 };

typedef struct Case {
  Make m;
  Launches launches;
  Cuda *cuda;
  const CudaDevice *d;
  CudaPlan *plan;
  CudaError e;
  CuPointer x, ids, y;
  float k;
  View params[3], results[1];
  int64_t dims[2];
} Case;

static void add_launch(Case *c, Launch l, int n, const LaunchArg *arg) {
  l.nargs = n;
  l.arg = arena_array(c->m.a, LaunchArg, n);
  memcpy(l.arg, arg, (size_t)n * sizeof *arg);
  vec_push(c->m.a, &c->launches, l);
}

static LaunchArg dim(const Expr *e) { return (LaunchArg){.dim = e->u.dim}; }
static LaunchArg tensor(const Tensor *t) { return (LaunchArg){.t = t}; }

static void make_program(Case *c) {
  Make *m = &c->m;
  *m = make_plan("f");
  Expr *n = make_dim(m, "N"), *v = make_dim(m, "V"), *four = make_int(m, 4);
  Tensor *x = make_param(m, "x", DT_F32, 1, &v), *ids = make_param(m, "ids", DT_I32, 1, &n), *k = make_param(m, "k", DT_F32, 0, NULL);
  Tensor *y = make_result(m, "y", DT_F32, 1, &n), *h = make_temp(m, "h", DT_F32, 1, &n, make_int(m, 64), make_op(m, OP_MUL, n, four));
  make_site(m, E_data_subscript, y, x, 0, v);
  add_launch(c, (Launch){.function = "gather", .blocks = make_int(m, 4), .threads = 64}, 6, (LaunchArg[]){dim(n), dim(v), tensor(x), tensor(ids), tensor(h), {.fault = true}});
  add_launch(c, (Launch){.function = "scale", .blocks = make_int(m, 1), .threads = 128, .shared_bytes = make_op(m, OP_MUL, n, four)}, 4,
             (LaunchArg[]){dim(n), tensor(k), tensor(h), tensor(y)});
}

static CuPointer upload(Case *c, const void *from, size_t bytes) {
  CuPointer p;
  ck_assert(cuda_alloc(c->d, bytes, &p, &c->e) && cuda_upload(c->d, NULL, p, from, bytes, &c->e));
  return p;
}

static View view(CuPointer p, int64_t n) { return (View){.data = (void *)(uintptr_t)p, .extent = {n}, .rank = 1}; }

static void make_data(Case *c) {
  float x[VALUES], y[ROWS] = {0};
  int ids[ROWS];
  for (int i = 0; i < VALUES; i++) x[i] = (float)(10 * i);
  for (int i = 0; i < ROWS; i++) ids[i] = i * 3 % VALUES;
  c->x = upload(c, x, sizeof x), c->ids = upload(c, ids, sizeof ids), c->y = upload(c, y, sizeof y);
  c->k = 2;
  c->params[0] = view(c->x, VALUES), c->params[1] = view(c->ids, ROWS), c->params[2] = (View){.data = &c->k};
  c->results[0] = view(c->y, ROWS);
  c->dims[0] = ROWS, c->dims[1] = VALUES;
}

static void load(Case *c, const char *barrier) {
  Buf b = buf_make(c->m.a);
  buf_printf(&b, "#define BARRIER %s\n%s", barrier, text);
  GpuCode code = {0};
  char compiler[64];
  bool good = cuda_compile_for_device(c->cuda, c->d, &(GpuRequest){.text = b.s, .len = strlen(b.s), .arch = c->d->arch}, &code, compiler, &c->e);
  ck_assert_msg(good, "%s\n%s", c->e.text, c->e.note ? c->e.note : "");
  CudaModule *m = cuda_load(c->d, &code, compiler, &c->e);
  ck_assert_msg(m != NULL, "%s", c->e.text);
  gpu_code_free(&code);
  c->plan = cuda_plan_create(c->d, c->m.p, &c->launches, m, &c->e);
  ck_assert_msg(c->plan != NULL, "%s", c->e.text);
}

static void open_case(Case *c, const char *barrier) {
  static const SearchPaths paths = {.nvrtc = EMU_LIBRARIES "/libnvrtc.so.13", .cuda_driver = EMU_LIBRARIES "/libcuda.so.1", .path = "/usr/bin:/bin"};
  *c = (Case){.cuda = cuda_create(&paths, GPU_NVRTC)};
  c->d = cuda_device(c->cuda, 0, &c->e);
  ck_assert_msg(c->d != NULL, "%s", c->e.text);
  make_program(c);
  make_data(c);
  load(c, barrier);
}

static void close_case(Case *c) {
  cuda_plan_free(c->plan);
  cuda_release(c->d, c->x);
  cuda_release(c->d, c->ids);
  cuda_release(c->d, c->y);
  cuda_error_clear(&c->e);
  cuda_free(c->cuda);
  arena_destroy(c->m.a);
}

static CudaRun run_of(const Case *c) { return (CudaRun){.params = c->params, .results = c->results, .dims = c->dims, .wait = true}; }

static void expect_result(Case *c) {
  float y[ROWS];
  ck_assert(cuda_download(c->d, NULL, y, c->y, sizeof y, &c->e));
  for (int i = 0; i < ROWS; i++) ck_assert(y[i] == 2 * 10 * (float)((ROWS - 1 - i) * 3 % VALUES) + 1);
}

START_TEST(a_plan_of_two_kernels_runs_without_a_gpu) {
  Case c;
  Fault fault;
  open_case(&c, "__syncthreads();");
  CudaRun r = run_of(&c);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  expect_result(&c);
  close_case(&c);
} END_TEST

START_TEST(repeated_runs_go_through_a_graph) {
  Case c;
  Fault fault;
  open_case(&c, "__syncthreads();");
  CudaRun r = run_of(&c);
  r.wait = false;
  r.replay = true;
  for (int i = 0; i < 5; i++) ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  ck_assert_int_eq(cuda_plan_wait(c.plan, NULL, &fault, &c.e), CALL_OK);
  expect_result(&c);
  close_case(&c);
} END_TEST

START_TEST(a_bad_subscript_in_the_data_is_reported_and_no_more) {
  Case c;
  Fault fault;
  int bad = 77, good = 99 * 3 % VALUES;
  open_case(&c, "__syncthreads();");
  CudaRun r = run_of(&c);
  ck_assert(cuda_upload(c.d, NULL, c.ids + 99 * sizeof bad, &bad, sizeof bad, &c.e));
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_FAULT);
  ck_assert_int_eq(fault.code, E_data_subscript);
  ck_assert_int_eq(fault.value, bad);
  ck_assert(cuda_upload(c.d, NULL, c.ids + 99 * sizeof good, &good, sizeof good, &c.e));
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_OK);
  expect_result(&c);
  close_case(&c);
} END_TEST

START_TEST(a_race_in_a_kernel_is_a_failed_call) {
  Case c;
  Fault fault;
  open_case(&c, "");
  CudaRun r = run_of(&c);
  ck_assert_int_eq(cuda_plan_run(c.plan, &r, &fault, &c.e), CALL_DEVICE);
  ck_assert_msg(strstr(c.e.text, "scale") != NULL, "%s", c.e.text);
  close_case(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {a_plan_of_two_kernels_runs_without_a_gpu, repeated_runs_go_through_a_graph, a_bad_subscript_in_the_data_is_reported_and_no_more,
                          a_race_in_a_kernel_is_a_failed_call};
  return UNIT_RUN("cuda_stack", tests);
}
