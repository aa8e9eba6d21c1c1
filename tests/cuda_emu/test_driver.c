// test_driver.c: the stand-ins of libcuda.so.1 and libnvrtc.so.13, through dlopen, as programs use them.
//
// With NVIDIA's headers where they are installed: then their prototypes and structures are what is called.
#ifdef EMU_CUDA_HEADERS
#include <cuda.h>
#include <nvrtc.h>
#else
#include "cuda_api.h"
typedef int nvrtcResult;
typedef struct Program *nvrtcProgram;
const char *nvrtcGetErrorString(nvrtcResult r);
nvrtcResult nvrtcVersion(int *major, int *minor);
nvrtcResult nvrtcGetNumSupportedArchs(int *n);
nvrtcResult nvrtcGetSupportedArchs(int *out);
nvrtcResult nvrtcCreateProgram(nvrtcProgram *out, const char *text, const char *name, int n, const char *const *header, const char *const *include);
nvrtcResult nvrtcDestroyProgram(nvrtcProgram *p);
nvrtcResult nvrtcCompileProgram(nvrtcProgram p, int n, const char *const *option);
nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram p, size_t *n);
nvrtcResult nvrtcGetProgramLog(nvrtcProgram p, char *out);
nvrtcResult nvrtcGetCUBINSize(nvrtcProgram p, size_t *n);
nvrtcResult nvrtcGetCUBIN(nvrtcProgram p, char *out);
nvrtcResult nvrtcGetPTXSize(nvrtcProgram p, size_t *n);
nvrtcResult nvrtcGetPTX(nvrtcProgram p, char *out);
enum { NVRTC_ERROR_INVALID_OPTION = 5, NVRTC_ERROR_COMPILATION = 6 };
#endif
#include "tests/unit/unit.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FUNCTIONS(F) \
  F(cuInit) F(cuDriverGetVersion) F(cuGetErrorName) F(cuGetErrorString) F(cuDeviceGetCount) F(cuDeviceGet) F(cuDeviceGetName) F(cuDeviceGetAttribute) \
  F(cuDeviceTotalMem_v2) F(cuDevicePrimaryCtxRetain) F(cuDevicePrimaryCtxRelease_v2) F(cuDevicePrimaryCtxReset_v2) F(cuCtxGetCurrent) F(cuCtxSetCurrent) \
  F(cuCtxPushCurrent_v2) F(cuCtxPopCurrent_v2) F(cuCtxSynchronize) F(cuModuleLoadData) F(cuModuleLoadDataEx) F(cuModuleUnload) F(cuModuleGetFunction) \
  F(cuFuncSetAttribute) F(cuFuncGetAttribute) F(cuLaunchKernel) F(cuLaunchKernelEx) F(cuLaunchCooperativeKernel) F(cuMemAlloc_v2) F(cuMemFree_v2) \
  F(cuMemAllocAsync) F(cuMemFreeAsync) F(cuMemGetInfo_v2) F(cuMemcpyHtoD_v2) F(cuMemcpyDtoH_v2) F(cuMemcpyHtoDAsync_v2) F(cuMemcpyDtoHAsync_v2) \
  F(cuMemcpyDtoDAsync_v2) F(cuMemsetD8Async) F(cuMemsetD32Async) F(cuStreamCreate) F(cuStreamDestroy_v2) F(cuStreamSynchronize) F(cuStreamQuery) \
  F(cuStreamIsCapturing) F(cuThreadExchangeStreamCaptureMode) F(cuEventCreate) F(cuEventRecord) F(cuEventSynchronize) F(cuEventElapsedTime_v2) \
  F(cuEventDestroy_v2) F(cuOccupancyMaxActiveBlocksPerMultiprocessor) F(cuPointerGetAttribute) F(cuStreamBeginCapture_v2) F(cuStreamEndCapture) \
  F(cuGraphInstantiateWithFlags) F(cuGraphLaunch) F(cuGraphDestroy) F(cuGraphExecDestroy) \
  F(nvrtcGetErrorString) F(nvrtcVersion) F(nvrtcGetNumSupportedArchs) F(nvrtcGetSupportedArchs) F(nvrtcCreateProgram) F(nvrtcDestroyProgram) \
  F(nvrtcCompileProgram) F(nvrtcGetProgramLogSize) F(nvrtcGetProgramLog) F(nvrtcGetCUBINSize) F(nvrtcGetCUBIN) F(nvrtcGetPTXSize) F(nvrtcGetPTX)

typedef struct Api {
#define FIELD(name) __extension__ __typeof__(&name) name;
  FUNCTIONS(FIELD)
} Api;

// Both libraries; settings first, for the driver reads them when it starts.
static Api open_api(void) {
  Api a;
  void *cuda = dlopen(EMU_LIBRARIES "/libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *nvrtc = dlopen(EMU_LIBRARIES "/libnvrtc.so.13", RTLD_NOW | RTLD_LOCAL);
  ck_assert_msg(cuda && nvrtc, "%s", dlerror());
#define LOAD(name) { \
    void *p = dlsym(strncmp(#name, "cu", 2) ? nvrtc : cuda, #name); \
    ck_assert_msg(p != NULL, "no " #name); \
    memcpy(&a.name, &p, sizeof p); \
  }
  FUNCTIONS(LOAD)
  return a;
}

static void is(const Api *a, CUresult got, CUresult wanted) {
  const char *g = "?", *w = "?";
  a->cuGetErrorName(got, &g);
  a->cuGetErrorName(wanted, &w);
  ck_assert_msg(got == wanted, "%s, not %s", g, w);
}
static void good(const Api *a, CUresult r) { is(a, r, CUDA_SUCCESS); }

static Api start(void) {
  Api a = open_api();
  CUcontext c;
  good(&a, a.cuInit(0));
  good(&a, a.cuDevicePrimaryCtxRetain(&c, 0));
  good(&a, a.cuCtxSetCurrent(c));
  return a;
}

// ---- compiling ---------------------------------------------------------------------------------------------------

typedef struct Code { nvrtcResult r; char *log, *bytes; size_t n; bool ptx; } Code;

static Code compile(const Api *a, const char *text, const char *arch) {
  Code c = {.ptx = strstr(arch, "compute_") != NULL};
  const char *options[] = {arch, "--std=c++17", "--ptxas-options=-v"};
  nvrtcProgram p;
  size_t n;
  ck_assert_int_eq(a->nvrtcCreateProgram(&p, text, "k.cu", 0, NULL, NULL), 0);
  c.r = a->nvrtcCompileProgram(p, 3, options);
  ck_assert_int_eq(a->nvrtcGetProgramLogSize(p, &n), 0);
  c.log = malloc(n);
  ck_assert_int_eq(a->nvrtcGetProgramLog(p, c.log), 0);
  ck_assert_uint_eq(strlen(c.log) + 1, n);
  ck_assert_int_eq(c.ptx ? a->nvrtcGetPTXSize(p, &c.n) : a->nvrtcGetCUBINSize(p, &c.n), 0);
  c.bytes = malloc(c.n + 1);
  ck_assert_int_eq(c.ptx ? a->nvrtcGetPTX(p, c.bytes) : a->nvrtcGetCUBIN(p, c.bytes), 0);
  ck_assert_int_eq(a->nvrtcDestroyProgram(&p), 0);
  ck_assert_ptr_null(p);
  return c;
}

static void code_free(Code *c) {
  free(c->log);
  free(c->bytes);
}

static CUmodule load(const Api *a, const char *text, const char *arch) {
  CUmodule m;
  Code c = compile(a, text, arch);
  ck_assert_msg(c.r == 0, "%s", c.log);
  good(a, a->cuModuleLoadData(&m, c.bytes));
  code_free(&c);
  return m;
}

static CUfunction function(const Api *a, CUmodule m, const char *name) {
  CUfunction f;
  good(a, a->cuModuleGetFunction(&f, m, name));
  return f;
}

static const char scale[] = "extern \"C\" __global__ void __launch_bounds__(64) scale(const float *x, float *y, float a, int n) {\n"
                            "  const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);\n  if (i < n) y[i] = a * x[i];\n}\n";
enum { N = 100 };

static CUdeviceptr device_numbers(const Api *a) {
  float x[N];
  CUdeviceptr p;
  for (int i = 0; i < N; i++) x[i] = (float)i;
  good(a, a->cuMemAlloc_v2(&p, sizeof x));
  good(a, a->cuMemcpyHtoD_v2(p, x, sizeof x));
  return p;
}

static void expect_scaled(const Api *a, CUdeviceptr y, float by) {
  float out[N];
  good(a, a->cuMemcpyDtoH_v2(out, y, sizeof out));
  for (int i = 0; i < N; i++) ck_assert(out[i] == by * (float)i);
}

// ---- initialisation, devices, contexts ---------------------------------------------------------------------------

START_TEST(nothing_works_before_initialisation) {
  Api a = open_api();
  int n;
  CUcontext c;
  is(&a, a.cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED);
  is(&a, a.cuDevicePrimaryCtxRetain(&c, 0), CUDA_ERROR_NOT_INITIALIZED);
  good(&a, a.cuDriverGetVersion(&n));
  ck_assert_int_eq(n, 13000);
} END_TEST

START_TEST(most_calls_need_a_context) {
  Api a = open_api();
  CUdeviceptr p;
  CUcontext c, d;
  good(&a, a.cuInit(0));
  is(&a, a.cuMemAlloc_v2(&p, 4), CUDA_ERROR_INVALID_CONTEXT);
  good(&a, a.cuDevicePrimaryCtxRetain(&c, 0));
  is(&a, a.cuMemAlloc_v2(&p, 4), CUDA_ERROR_INVALID_CONTEXT);
  good(&a, a.cuCtxPushCurrent_v2(c));
  good(&a, a.cuMemAlloc_v2(&p, 4));
  good(&a, a.cuCtxGetCurrent(&d));
  ck_assert_ptr_eq(c, d);
  good(&a, a.cuCtxPopCurrent_v2(&d));
  is(&a, a.cuMemFree_v2(p), CUDA_ERROR_INVALID_CONTEXT);
  is(&a, a.cuCtxPopCurrent_v2(&d), CUDA_ERROR_INVALID_CONTEXT);
  good(&a, a.cuCtxGetCurrent(&d));
  ck_assert_ptr_null(d);
} END_TEST

START_TEST(the_device_is_an_sm_90_unless_told_otherwise) {
  Api a = start();
  char name[64];
  int v, n;
  size_t bytes;
  good(&a, a.cuDeviceGetCount(&n));
  ck_assert_int_eq(n, 1);
  good(&a, a.cuDeviceGetName(name, sizeof name, 0));
  ck_assert_ptr_nonnull(strstr(name, "sm_90"));
  good(&a, a.cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
  ck_assert_int_eq(v, 9);
  good(&a, a.cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
  ck_assert_int_eq(v, 132);
  good(&a, a.cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0));
  ck_assert_int_eq(v, 227 * 1024);
  good(&a, a.cuDeviceTotalMem_v2(&bytes, 0));
  ck_assert_uint_eq(bytes, 80000000000);
  CUdevice d;
  is(&a, a.cuDeviceGet(&d, 1), CUDA_ERROR_INVALID_DEVICE);
} END_TEST

START_TEST(another_architecture_has_other_limits) {
  setenv("PLAIT_EMU_ARCH", "86", 1);
  Api a = start();
  int v;
  good(&a, a.cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0));
  ck_assert_int_eq(v, 6);
  good(&a, a.cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0));
  ck_assert_int_eq(v, 99 * 1024);
  good(&a, a.cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, 0));
  ck_assert_int_eq(v, 0);
} END_TEST

START_TEST(there_may_be_no_device) {
  setenv("PLAIT_EMU_DEVICES", "0", 1);
  Api a = open_api();
  is(&a, a.cuInit(0), CUDA_ERROR_NO_DEVICE);
} END_TEST

START_TEST(settings_that_mean_nothing_are_refused) {
  Api a = open_api();
  setenv("PLAIT_EMU_ORDERS", "forward,backward", 1);
  is(&a, a.cuInit(0), CUDA_ERROR_UNKNOWN);
  setenv("PLAIT_EMU_ORDERS", "forward", 1);
  setenv("PLAIT_EMU_MEMORY", "1 GB", 1);
  is(&a, a.cuInit(0), CUDA_ERROR_UNKNOWN);
} END_TEST

START_TEST(errors_have_names_and_texts) {
  Api a = open_api();
  const char *s;
  good(&a, a.cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &s));
  ck_assert_str_eq(s, "CUDA_ERROR_ILLEGAL_ADDRESS");
  good(&a, a.cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &s));
  ck_assert_str_eq(s, "out of memory");
  is(&a, a.cuGetErrorName((CUresult)4711, &s), CUDA_ERROR_INVALID_VALUE);
} END_TEST

// ---- memory ------------------------------------------------------------------------------------------------------

START_TEST(out_of_memory_loses_nothing) {
  setenv("PLAIT_EMU_MEMORY", "1048576", 1);
  Api a = start();
  CUdeviceptr p, q;
  size_t left, all;
  good(&a, a.cuMemAlloc_v2(&p, 1 << 19));
  is(&a, a.cuMemAlloc_v2(&q, (1 << 19) + 1), CUDA_ERROR_OUT_OF_MEMORY);
  good(&a, a.cuMemGetInfo_v2(&left, &all));
  ck_assert_uint_eq(left, 1 << 19);
  ck_assert_uint_eq(all, 1 << 20);
  good(&a, a.cuMemAllocAsync(&q, 1 << 19, NULL));
  good(&a, a.cuMemFreeAsync(q, NULL));
  good(&a, a.cuMemFree_v2(p));
  is(&a, a.cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
  is(&a, a.cuMemAlloc_v2(&p, 0), CUDA_ERROR_INVALID_VALUE);
  good(&a, a.cuMemGetInfo_v2(&left, &all));
  ck_assert_uint_eq(left, all);
} END_TEST

START_TEST(copies_and_fills_reach_only_allocations) {
  Api a = start();
  CUdeviceptr p, q;
  unsigned out[4];
  good(&a, a.cuMemAlloc_v2(&p, 16));
  good(&a, a.cuMemAlloc_v2(&q, 16));
  good(&a, a.cuMemsetD32Async(p, 0x01020304, 4, NULL));
  good(&a, a.cuMemsetD8Async(p + 4, 0xab, 3, NULL));
  good(&a, a.cuMemcpyDtoDAsync_v2(q, p, 16, NULL));
  good(&a, a.cuMemcpyDtoHAsync_v2(out, q, 16, NULL));
  ck_assert_uint_eq(out[0], 0x01020304);
  ck_assert_uint_eq(out[1], 0x01ababab);
  is(&a, a.cuMemsetD32Async(p, 0, 5, NULL), CUDA_ERROR_INVALID_VALUE);
  is(&a, a.cuMemcpyHtoDAsync_v2(p + 8, out, 12, NULL), CUDA_ERROR_INVALID_VALUE);
  is(&a, a.cuMemcpyDtoH_v2(out, (CUdeviceptr)(uintptr_t)out, 4), CUDA_ERROR_INVALID_VALUE);
} END_TEST

START_TEST(pointers_can_be_asked_about) {
  Api a = start();
  CUdeviceptr p;
  unsigned type = 0;
  size_t bytes = 0;
  int host = 0;
  good(&a, a.cuMemAlloc_v2(&p, 100));
  good(&a, a.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p + 50));
  ck_assert_uint_eq(type, CU_MEMORYTYPE_DEVICE);
  good(&a, a.cuPointerGetAttribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, p + 50));
  ck_assert_uint_eq(bytes, 100);
  is(&a, a.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)&host), CUDA_ERROR_INVALID_VALUE);
} END_TEST

// The exit of a child that does it.
static int in_child(void (*what)(const Api *, CUdeviceptr), const Api *a, CUdeviceptr p) {
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (!child) {
    dup2(open("/dev/null", O_WRONLY), 2);
    what(a, p);
    _exit(0);
  }
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  return status;
}

static void touch(const Api *a, CUdeviceptr p) {
  (void)a;
  *(volatile char *)(uintptr_t)p = 1;
}

START_TEST(the_host_cannot_touch_device_memory) {
  Api a = start();
  int status = in_child(touch, &a, device_numbers(&a));
  ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status));        // a sanitizer exits
} END_TEST

// ---- compiling and launching -------------------------------------------------------------------------------------

START_TEST(a_text_becomes_a_cubin_and_runs) {
  Api a = start();
  CUmodule m = load(&a, scale, "--gpu-architecture=sm_90");
  CUdeviceptr x = device_numbers(&a), y = device_numbers(&a);
  float by = 3;
  int n = N;
  void *arg[] = {&x, &y, &by, &n};
  good(&a, a.cuLaunchKernel(function(&a, m, "scale"), 2, 1, 1, 64, 1, 1, 0, NULL, arg, NULL));
  good(&a, a.cuCtxSynchronize());
  expect_scaled(&a, y, 3);
  good(&a, a.cuModuleUnload(m));
} END_TEST

START_TEST(arguments_may_lie_in_one_buffer) {
  Api a = start();
  CUmodule m = load(&a, scale, "--gpu-architecture=sm_90");
  struct { CUdeviceptr x, y; float by; int n; } all = {device_numbers(&a), device_numbers(&a), 5, N};
  size_t size = sizeof all;
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &all, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
  CUfunction f = function(&a, m, "scale");
  good(&a, a.cuLaunchKernel(f, 2, 1, 1, 64, 1, 1, 0, NULL, NULL, extra));
  expect_scaled(&a, all.y, 5);
  is(&a, a.cuLaunchKernel(f, 2, 1, 1, 64, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
} END_TEST

START_TEST(ptx_is_compiled_by_the_driver) {
  Api a = start();
  CUmodule m = load(&a, scale, "--gpu-architecture=compute_80");
  CUdeviceptr x = device_numbers(&a), y = device_numbers(&a);
  float by = 2;
  int n = N;
  void *arg[] = {&x, &y, &by, &n};
  good(&a, a.cuLaunchKernel(function(&a, m, "scale"), 2, 1, 1, 64, 1, 1, 0, NULL, arg, NULL));
  expect_scaled(&a, y, 2);
} END_TEST

static void loads(const char *device, const char *arch, CUresult wanted) {
  setenv("PLAIT_EMU_ARCH", device, 1);
  Api a = start();
  Code c = compile(&a, scale, arch);
  CUmodule m;
  is(&a, a.cuModuleLoadData(&m, c.bytes), wanted);
  code_free(&c);
}

START_TEST(code_runs_on_its_own_kind_of_device) {
  loads("90", "--gpu-architecture=sm_80", CUDA_ERROR_NO_BINARY_FOR_GPU);
  loads("89", "-arch=sm_86", CUDA_SUCCESS);
  loads("86", "-arch=sm_89", CUDA_ERROR_NO_BINARY_FOR_GPU);
  loads("90", "-arch=sm_90a", CUDA_SUCCESS);
  loads("120", "-arch=compute_90", CUDA_SUCCESS);
  loads("100", "-arch=compute_90a", CUDA_ERROR_NO_BINARY_FOR_GPU);
  loads("80", "-arch=compute_90", CUDA_ERROR_NO_BINARY_FOR_GPU);
} END_TEST

START_TEST(an_older_driver_does_not_know_newer_ptx) {
  setenv("PLAIT_EMU_DRIVER_VERSION", "12080", 1);
  loads("90", "-arch=compute_90", CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  setenv("PLAIT_EMU_NVRTC_VERSION", "12040", 1);
  loads("90", "-arch=compute_90", CUDA_SUCCESS);
  Api a = open_api();
  int major, minor;
  ck_assert_int_eq(a.nvrtcVersion(&major, &minor), 0);
  ck_assert(major == 12 && minor == 4);
} END_TEST

START_TEST(what_is_no_code_is_no_module) {
  Api a = start();
  CUmodule m;
  char log[200] = "";
  CUjit_option option[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *value[] = {log, (void *)(uintptr_t)sizeof log};
  is(&a, a.cuModuleLoadDataEx(&m, "// some PTX\n.version 8.0\n", 2, option, value), CUDA_ERROR_INVALID_PTX);
  ck_assert_ptr_nonnull(strstr(log, "PTX"));
} END_TEST

START_TEST(mistakes_are_in_the_log) {
  Api a = start();
  Code c = compile(&a, "extern \"C\" __global__ void k(float *x) { atomicAdd(x, 1.0f); }", "--gpu-architecture=sm_90");
  ck_assert_int_eq(c.r, NVRTC_ERROR_COMPILATION);
  ck_assert_ptr_nonnull(strstr(c.log, "k.cu:1"));
  ck_assert_uint_eq(c.n, 0);
  code_free(&c);
  c = compile(&a, scale, "--no-such-option");
  ck_assert_int_eq(c.r, NVRTC_ERROR_INVALID_OPTION);
  code_free(&c);
  c = compile(&a, scale, "--gpu-architecture=sm_70");
  ck_assert_int_eq(c.r, NVRTC_ERROR_INVALID_OPTION);
  code_free(&c);
  c = compile(&a, "extern \"C\" __global__ void k(float *x) { __shared__ float s[20000]; s[(int)x[0]] = 1; __syncthreads(); x[1] = s[(int)x[2]]; }", "-arch=sm_90");
  ck_assert_int_eq(c.r, NVRTC_ERROR_COMPILATION);
  ck_assert_ptr_nonnull(strstr(c.log, "too much shared data"));
  code_free(&c);
} END_TEST

START_TEST(the_log_counts_registers_spills_and_shared_memory) {
  setenv("PLAIT_EMU_REGISTERS", "40", 1);
  setenv("PLAIT_EMU_SPILL", "16", 1);
  Api a = start();
  Code c = compile(&a, "extern \"C\" __global__ void k(float *x) { __shared__ float s[20]; s[threadIdx.x] = x[0]; __syncthreads(); x[1] = s[(int)x[2]]; }", "-arch=sm_90");
  ck_assert_msg(c.r == 0, "%s", c.log);
  ck_assert_ptr_nonnull(strstr(c.log, "Compiling entry function 'k' for 'sm_90'"));
  ck_assert_ptr_nonnull(strstr(c.log, "16 bytes spill stores, 16 bytes spill loads"));
  ck_assert_ptr_nonnull(strstr(c.log, "Used 40 registers, used 1 barriers, 80 bytes smem"));
  code_free(&c);
} END_TEST

START_TEST(a_kernel_without_extern_c_has_another_name) {
  Api a = start();
  CUmodule m = load(&a, "__global__ void k(void) {}\nextern \"C\" __global__ void l(void) {}", "-arch=sm_90");
  CUfunction f;
  is(&a, a.cuModuleGetFunction(&f, m, "k"), CUDA_ERROR_NOT_FOUND);
  good(&a, a.cuModuleGetFunction(&f, m, "l"));
} END_TEST

START_TEST(functions_know_their_limits) {
  Api a = start();
  CUmodule m = load(&a, scale, "-arch=sm_90");
  CUfunction f = function(&a, m, "scale");
  int v;
  good(&a, a.cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, f));
  ck_assert_int_eq(v, 64);
  good(&a, a.cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_NUM_REGS, f));
  ck_assert_int_eq(v, 32);
  good(&a, a.cuOccupancyMaxActiveBlocksPerMultiprocessor(&v, f, 64, 0));
  ck_assert_int_eq(v, 32);                   // 2048 / 64 threads, 32 blocks at most, 65536 / (32 * 64) registers
  good(&a, a.cuOccupancyMaxActiveBlocksPerMultiprocessor(&v, f, 64, 100 << 10));
  ck_assert_int_eq(v, 2);                    // 228 / (100 + 1) KiB
} END_TEST

START_TEST(much_shared_memory_must_be_asked_for) {
  Api a = start();
  CUmodule m = load(&a, "extern \"C\" __global__ void k(int *y, int n) { extern __shared__ int s[]; s[n] = n; *y = s[n]; }", "-arch=sm_90");
  CUfunction f = function(&a, m, "k");
  CUdeviceptr y = device_numbers(&a);
  int n = 25000, out;                        // 100,000 bytes
  void *arg[] = {&y, &n};
  is(&a, a.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 100004, NULL, arg, NULL), CUDA_ERROR_INVALID_VALUE);
  is(&a, a.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (227 << 10) + 1), CUDA_ERROR_INVALID_VALUE);
  good(&a, a.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100004));
  good(&a, a.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 100004, NULL, arg, NULL));
  good(&a, a.cuMemcpyDtoH_v2(&out, y, 4));
  ck_assert_int_eq(out, n);
} END_TEST

START_TEST(clusters_are_an_attribute_of_the_launch) {
  Api a = start();
  CUmodule m = load(&a, "extern \"C\" __global__ void k(int *y) { y[blockIdx.x] = (int)(PLAIT_CLUSTER_RANK() + 10 * PLAIT_CLUSTER_SIZE()); }", "-arch=sm_90");
  CUfunction f = function(&a, m, "k");
  CUdeviceptr y = device_numbers(&a);
  void *arg[] = {&y};
  int out[8];
  CUlaunchAttribute at = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, .value.clusterDim = {4, 1, 1}};
  CUlaunchConfig l = {.gridDimX = 8, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 1, .blockDimY = 1, .blockDimZ = 1, .attrs = &at, .numAttrs = 1};
  good(&a, a.cuLaunchKernelEx(&l, f, arg, NULL));
  good(&a, a.cuMemcpyDtoH_v2(out, y, sizeof out));
  for (int i = 0; i < 8; i++) ck_assert_int_eq(out[i], 40 + i % 4);
  at.value.clusterDim.x = 16;
  l.gridDimX = 16;
  is(&a, a.cuLaunchKernelEx(&l, f, arg, NULL), CUDA_ERROR_INVALID_CLUSTER_SIZE);
  good(&a, a.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1));
  good(&a, a.cuLaunchKernelEx(&l, f, arg, NULL));
} END_TEST

START_TEST(a_cooperative_launch_must_fit_on_the_device) {
  Api a = start();
  CUmodule m = load(&a, "extern \"C\" __global__ void k(int *y) { y[blockIdx.x] = 1; PLAIT_GRID_SYNC(y); y[blockIdx.x] += y[(blockIdx.x + 1) % gridDim.x] > 0; }", "-arch=sm_90");
  CUfunction f = function(&a, m, "k");
  CUdeviceptr y;
  good(&a, a.cuMemAlloc_v2(&y, 4 * 300));
  void *arg[] = {&y};
  is(&a, a.cuLaunchCooperativeKernel(f, 2 * 132 + 1, 1, 1, 1024, 1, 1, 0, NULL, arg), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  is(&a, a.cuLaunchCooperativeKernel(f, 3, 1, 1, 1, 1, 1, 0, NULL, arg), CUDA_ERROR_LAUNCH_FAILED);        // the last line is a race
} END_TEST

// ---- faults ------------------------------------------------------------------------------------------------------

// What is written to stderr meanwhile.
typedef struct Words { FILE *file; int before; } Words;
static Words listen_to_stderr(void) {
  Words w = {tmpfile(), dup(2)};
  ck_assert(w.file && dup2(fileno(w.file), 2) == 2);
  return w;
}
static void heard(Words w, char *out, size_t room) {
  dup2(w.before, 2);
  rewind(w.file);
  out[fread(out, 1, room - 1, w.file)] = 0;
  fclose(w.file);
}

START_TEST(a_fault_is_explained_and_breaks_the_context) {
  Api a = start();
  CUmodule m = load(&a, scale, "-arch=sm_90");
  CUdeviceptr x = device_numbers(&a), y = device_numbers(&a);
  float by = 1;
  int n = N + 1;
  void *arg[] = {&x, &y, &by, &n};
  char text[1000];
  Words w = listen_to_stderr();
  CUresult r = a.cuLaunchKernel(function(&a, m, "scale"), 2, 1, 1, 64, 1, 1, 0, NULL, arg, NULL);
  heard(w, text, sizeof text);
  is(&a, r, CUDA_ERROR_ILLEGAL_ADDRESS);
  ck_assert_msg(strstr(text, "kernel `scale`: out of bounds: k.cu:3: thread 36 of block 1 reads `x`, byte 400"), "%s", text);
  is(&a, a.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  is(&a, a.cuMemFree_v2(x), CUDA_ERROR_ILLEGAL_ADDRESS);
  good(&a, a.cuDevicePrimaryCtxReset_v2(0));
  good(&a, a.cuCtxSynchronize());
} END_TEST

static CUresult run_one(const Api *a, const char *text, unsigned blocks, char *words, size_t room) {
  CUmodule m = load(a, text, "-arch=sm_90");
  CUdeviceptr y = device_numbers(a);
  void *arg[] = {&y};
  Words w = listen_to_stderr();
  CUresult r = a->cuLaunchKernel(function(a, m, "k"), blocks, 1, 1, 64, 1, 1, 0, NULL, arg, NULL);
  heard(w, words, room);
  return r;
}

START_TEST(a_race_is_a_failed_launch) {
  Api a = start();
  char text[1000];
  is(&a, run_one(&a, "extern \"C\" __global__ void k(float *y) { y[0] = (float)threadIdx.x; }", 1, text, sizeof text), CUDA_ERROR_LAUNCH_FAILED);
  ck_assert_msg(strstr(text, "race") != NULL, "%s", text);
} END_TEST

START_TEST(without_checks_orders_are_compared) {
  setenv("PLAIT_EMU_CHECK", "0", 1);
  Api a = start();
  char text[1000];
  is(&a, run_one(&a, "extern \"C\" __global__ void k(float *y) { y[0] = (float)blockIdx.x; }", 2, text, sizeof text), CUDA_ERROR_LAUNCH_FAILED);
  ck_assert_msg(strstr(text, "order of blocks") != NULL, "%s", text);
} END_TEST

START_TEST(one_order_compares_nothing) {
  setenv("PLAIT_EMU_CHECK", "0", 1);
  setenv("PLAIT_EMU_ORDERS", "reversed", 1);
  Api a = start();
  char text[1000];
  good(&a, run_one(&a, "extern \"C\" __global__ void k(float *y) { y[0] = (float)blockIdx.x; }", 2, text, sizeof text));
} END_TEST

START_TEST(an_impossible_launch_breaks_nothing) {
  Api a = start();
  CUmodule m = load(&a, scale, "-arch=sm_90");
  CUdeviceptr x = device_numbers(&a);
  float by = 1;
  int n = N;
  void *arg[] = {&x, &x, &by, &n};
  char text[1000];
  Words w = listen_to_stderr();
  CUresult r = a.cuLaunchKernel(function(&a, m, "scale"), 2, 1, 1, 65, 1, 1, 0, NULL, arg, NULL);
  heard(w, text, sizeof text);
  is(&a, r, CUDA_ERROR_INVALID_VALUE);
  good(&a, a.cuCtxSynchronize());
} END_TEST

// ---- streams and graphs ------------------------------------------------------------------------------------------

START_TEST(a_captured_stream_becomes_a_graph) {
  Api a = start();
  CUmodule m = load(&a, scale, "-arch=sm_90");
  CUdeviceptr x = device_numbers(&a), y = device_numbers(&a);
  float by = 7;
  int n = N;
  void *arg[] = {&x, &y, &by, &n};
  CUstream s;
  CUgraph g;
  CUgraphExec e;
  CUstreamCaptureStatus status;
  good(&a, a.cuStreamCreate(&s, 0));
  good(&a, a.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  good(&a, a.cuStreamIsCapturing(s, &status));
  ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  good(&a, a.cuLaunchKernel(function(&a, m, "scale"), 2, 1, 1, 64, 1, 1, 0, s, arg, NULL));
  good(&a, a.cuMemcpyDtoDAsync_v2(x, y, N * 4, s));
  is(&a, a.cuStreamSynchronize(s), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  good(&a, a.cuStreamEndCapture(s, &g));
  by = 1000;                                 // the graph has the value of then
  expect_scaled(&a, y, 1);
  good(&a, a.cuGraphInstantiateWithFlags(&e, g, 0));
  good(&a, a.cuGraphDestroy(g));
  good(&a, a.cuGraphLaunch(e, s));
  expect_scaled(&a, y, 7);
  good(&a, a.cuGraphLaunch(e, s));
  expect_scaled(&a, y, 49);
  good(&a, a.cuGraphExecDestroy(e));
  is(&a, a.cuGraphLaunch(e, s), CUDA_ERROR_INVALID_HANDLE);
  good(&a, a.cuStreamDestroy_v2(s));
} END_TEST

START_TEST(nothing_is_allocated_while_a_stream_is_captured) {
  Api a = start();
  CUstream s;
  CUgraph g;
  CUdeviceptr p;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  good(&a, a.cuStreamCreate(&s, 0));
  good(&a, a.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  is(&a, a.cuMemAlloc_v2(&p, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  good(&a, a.cuThreadExchangeStreamCaptureMode(&mode));
  ck_assert_int_eq(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
  good(&a, a.cuMemAlloc_v2(&p, 4));
  good(&a, a.cuThreadExchangeStreamCaptureMode(&mode));
  good(&a, a.cuStreamEndCapture(s, &g));
  is(&a, a.cuStreamEndCapture(s, &g), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  good(&a, a.cuMemFree_v2(p));
} END_TEST

START_TEST(events_time_what_lies_between) {
  Api a = start();
  CUevent from, to, untimed;
  float ms = -1;
  good(&a, a.cuEventCreate(&from, 0));
  good(&a, a.cuEventCreate(&to, 0));
  good(&a, a.cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
  good(&a, a.cuEventRecord(from, NULL));
  is(&a, a.cuEventElapsedTime_v2(&ms, from, to), CUDA_ERROR_INVALID_HANDLE);      // not recorded
  good(&a, a.cuEventRecord(to, NULL));
  good(&a, a.cuEventRecord(untimed, NULL));
  good(&a, a.cuEventSynchronize(to));
  good(&a, a.cuEventElapsedTime_v2(&ms, from, to));
  ck_assert(ms >= 0);
  is(&a, a.cuEventElapsedTime_v2(&ms, from, untimed), CUDA_ERROR_INVALID_HANDLE);
  good(&a, a.cuEventDestroy_v2(from));
  is(&a, a.cuEventSynchronize((CUevent)(void *)&ms), CUDA_ERROR_INVALID_HANDLE);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    nothing_works_before_initialisation, most_calls_need_a_context, the_device_is_an_sm_90_unless_told_otherwise, another_architecture_has_other_limits,
    there_may_be_no_device, settings_that_mean_nothing_are_refused, errors_have_names_and_texts, out_of_memory_loses_nothing,
    copies_and_fills_reach_only_allocations, pointers_can_be_asked_about, the_host_cannot_touch_device_memory, a_text_becomes_a_cubin_and_runs,
    arguments_may_lie_in_one_buffer, ptx_is_compiled_by_the_driver, code_runs_on_its_own_kind_of_device, an_older_driver_does_not_know_newer_ptx,
    what_is_no_code_is_no_module, mistakes_are_in_the_log, the_log_counts_registers_spills_and_shared_memory, a_kernel_without_extern_c_has_another_name,
    functions_know_their_limits, much_shared_memory_must_be_asked_for, clusters_are_an_attribute_of_the_launch, a_cooperative_launch_must_fit_on_the_device,
    a_fault_is_explained_and_breaks_the_context, a_race_is_a_failed_launch, without_checks_orders_are_compared, one_order_compares_nothing,
    an_impossible_launch_breaks_nothing, a_captured_stream_becomes_a_graph, nothing_is_allocated_while_a_stream_is_captured, events_time_what_lies_between,
  };
  return UNIT_RUN("cuda_driver", tests);
}
