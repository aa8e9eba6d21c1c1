// test_cuda.c: the driver, its devices, their memory and modules, and which compiler is chosen: with look-alikes.
#include "fake.h"
#include "codegen/launch.h"
#include "runtime/pool.h"
#include <stdio.h>
#include <unistd.h>

typedef struct Case { Cuda *c; FakeCuda *f; FakeNvrtc *n; CudaError e; const CudaDevice *d; } Case;

static Case open_with(const SearchPaths *p, GpuCompiler compiler) {
  return (Case){.c = cuda_create(p, compiler), .f = fake_driver(), .n = fake_compiler()};
}

static Case open_case(void) {
  Case x = open_with(&fake_paths, GPU_NVRTC);
  x.d = cuda_device(x.c, 0, &x.e);
  ck_assert_msg(x.d != NULL, "%s", x.e.text);
  return x;
}

// Everything that was opened has been closed, and each call had its context.
static void close_case(Case *x) {
  cuda_error_clear(&x->e);
  cuda_free(x->c);
  ck_assert_int_eq(x->f->depth, 0);
  ck_assert_int_eq(x->f->contexts, 0);
  ck_assert_int_eq(x->f->modules, 0);
  ck_assert_int_eq(x->f->memories, 0);
  ck_assert(!x->f->strict);
}

// ---- the driver ----

START_TEST(without_a_driver_the_error_says_what_to_install) {
  Case x = open_with(&(SearchPaths){.cuda_driver = "/nonexistent/libcuda.so.1"}, GPU_AUTO);
  ck_assert_ptr_null(cuda_driver(x.c, &x.e));
  ck_assert_ptr_nonnull(strstr(x.e.help, "install the NVIDIA driver"));
  fake_failed(&x.e, CUDA_NO_DRIVER, "was not found");
  ck_assert_ptr_null(cuda_device(x.c, 0, &x.e));
  fake_failed(&x.e, CUDA_NO_DRIVER, "was not found");
  ck_assert_int_eq(cuda_device_count(x.c, &x.e), -1);
  close_case(&x);
} END_TEST

START_TEST(a_driver_that_is_too_old_is_told_with_both_versions) {
  Case x = open_with(&fake_paths, GPU_AUTO);
  x.f->version = 11010;
  ck_assert_ptr_null(cuda_driver(x.c, &x.e));
  ck_assert_ptr_nonnull(strstr(x.e.text, "11.2"));
  ck_assert_ptr_nonnull(strstr(x.e.help, "newer NVIDIA driver"));
  fake_failed(&x.e, CUDA_OLD_DRIVER, "CUDA 11.1");
  close_case(&x);
} END_TEST

START_TEST(a_library_that_is_no_driver_is_told_with_what_it_lacks) {
  Case x = open_with(&(SearchPaths){.cuda_driver = FAKE_NVRTC}, GPU_AUTO);
  ck_assert_ptr_null(cuda_driver(x.c, &x.e));
  fake_failed(&x.e, CUDA_NO_DRIVER, "has no function `cuInit`");
  close_case(&x);
} END_TEST

START_TEST(a_driver_that_does_not_start_is_asked_again_by_the_next_call) {
  Case x = open_with(&fake_paths, GPU_AUTO);
  x.f->fails = "cuInit", x.f->code = 999;
  ck_assert_ptr_null(cuda_driver(x.c, &x.e));
  ck_assert_ptr_nonnull(strstr(x.e.text, "CUDA 13.0"));
  fake_failed(&x.e, CUDA_NO_DRIVER, "cuInit");
  ck_assert_ptr_nonnull(cuda_driver(x.c, &x.e));
  ck_assert_ptr_eq(cuda_driver(x.c, &x.e), cuda_driver(x.c, &x.e));
  close_case(&x);
} END_TEST

START_TEST(a_machine_without_a_device_is_told_what_to_check) {
  Case x = open_with(&fake_paths, GPU_AUTO);
  x.f->fails = "cuInit", x.f->code = CU_NO_DEVICE;
  ck_assert_ptr_null(cuda_device(x.c, 0, &x.e));
  ck_assert_ptr_nonnull(strstr(x.e.help, "CUDA_VISIBLE_DEVICES"));
  fake_failed(&x.e, CUDA_NO_DEVICE, "cuInit");
  x.f->devices = 0;
  ck_assert_ptr_null(cuda_device(x.c, 0, &x.e));
  ck_assert_ptr_nonnull(strstr(x.e.help, "CUDA_VISIBLE_DEVICES"));
  fake_failed(&x.e, CUDA_NO_DEVICE, "no device");
  close_case(&x);
} END_TEST

START_TEST(a_device_that_does_not_exist_is_told_with_how_many_there_are) {
  Case x = open_case();
  x.f->devices = 2;
  ck_assert_ptr_null(cuda_device(x.c, 2, &x.e));
  fake_failed(&x.e, CUDA_NO_DEVICE, "no CUDA device 2: the driver reports 2");
  ck_assert_ptr_null(cuda_device(x.c, -1, &x.e));
  fake_failed(&x.e, CUDA_NO_DEVICE, "no CUDA device -1");
  close_case(&x);
} END_TEST

START_TEST(a_device_is_described_and_opened_once) {
  Case x = open_case();
  ck_assert_ptr_eq(cuda_device(x.c, 0, &x.e), x.d);
  ck_assert_int_eq(x.f->contexts, 1);
  ck_assert_str_eq(x.d->name, "Fake GPU");
  ck_assert(x.d->arch == 90 && x.d->multiprocessors == 4 && x.d->shared_bytes == 227 << 10 && x.d->memory_bytes == (size_t)1 << 30);
  ck_assert(x.d->pools && x.d->clusters && x.d->cooperative && !x.d->reads_host);
  close_case(&x);
} END_TEST

START_TEST(a_context_that_cannot_be_had_is_an_error_and_leaves_nothing) {
  Case x = open_with(&fake_paths, GPU_AUTO);
  x.f->fails = "cuDevicePrimaryCtxRetain", x.f->code = CU_OUT_OF_MEMORY;
  ck_assert_ptr_null(cuda_device(x.c, 0, &x.e));
  fake_failed(&x.e, CUDA_CALL, "cuDevicePrimaryCtxRetain of device 0, Fake GPU");
  close_case(&x);
} END_TEST

// ---- contexts ----

START_TEST(the_current_context_is_the_same_after_a_call) {
  Case x = open_case();
  CuPointer p;
  CuContext mine = (CuContext)&p, now;
  x.d->f->context_push(mine);
  ck_assert(cuda_alloc(x.d, 16, &p, &x.e));
  x.d->f->context_current(&now);
  ck_assert_ptr_eq(now, mine);
  cuda_release(x.d, p);
  x.d->f->context_pop(&now);
  close_case(&x);
} END_TEST

START_TEST(a_context_that_is_current_already_is_not_pushed_again) {
  Case x = open_case();
  CudaScope outer, inner;
  ck_assert(cuda_enter(x.d, &outer, &x.e) && outer.pushed);
  ck_assert(cuda_enter(x.d, &inner, &x.e) && !inner.pushed);
  cuda_leave(&inner);
  ck_assert_int_eq(x.f->depth, 1);
  cuda_leave(&outer);
  x.f->fails = "cuCtxPushCurrent", x.f->code = 201;
  ck_assert(!cuda_enter(x.d, &outer, &x.e));
  cuda_leave(&outer);
  fake_failed(&x.e, CUDA_CALL, "cuCtxPushCurrent");
  close_case(&x);
} END_TEST

// ---- memory ----

START_TEST(out_of_memory_tells_what_was_asked_for_and_what_is_free) {
  Case x = open_case();
  CuPointer p;
  char want[200];
  ck_assert(!cuda_alloc(x.d, (size_t)2 << 30, &p, &x.e));
  snprintf(want, sizeof want, "%zu bytes of device memory cannot be had: %zu of %zu bytes are free on device 0, Fake GPU", (size_t)2 << 30, (size_t)1 << 30,
           (size_t)1 << 30);
  ck_assert_str_eq(x.e.text, want);
  fake_failed(&x.e, CUDA_DEVICE_MEMORY, "cannot be had");
  ck_assert(!cuda_alloc_on(x.d, NULL, (size_t)2 << 30, &p, &x.e));
  fake_failed(&x.e, CUDA_DEVICE_MEMORY, "cannot be had");
  ck_assert(cuda_alloc(x.d, 1 << 20, &p, &x.e));                        // nothing was lost
  cuda_release(x.d, p);
  close_case(&x);
} END_TEST

START_TEST(memory_goes_there_and_back) {
  Case x = open_case();
  CuPointer p;
  int in[4] = {1, 2, 3, 4}, out[4] = {0};
  ck_assert(cuda_alloc(x.d, sizeof in, &p, &x.e));
  ck_assert(cuda_upload(x.d, NULL, p, in, sizeof in, &x.e) && cuda_download(x.d, NULL, out, p, sizeof out, &x.e));
  ck_assert_mem_eq(in, out, sizeof in);
  ck_assert(cuda_clear(x.d, NULL, p, 8, &x.e) && cuda_download(x.d, NULL, out, p, sizeof out, &x.e));
  ck_assert(out[0] == 0 && out[1] == 0 && out[2] == 3);
  ck_assert(cuda_knows(x.d, (void *)(uintptr_t)p) && !cuda_knows(x.d, in));
  ck_assert_uint_eq(cuda_free_bytes(x.d), ((size_t)1 << 30) - sizeof in);
  cuda_release(x.d, p);
  close_case(&x);
} END_TEST

START_TEST(nothing_needs_no_memory_and_no_copy) {
  Case x = open_case();
  CuPointer p = 1;
  ck_assert(cuda_alloc(x.d, 0, &p, &x.e) && p == 0);
  ck_assert(cuda_alloc_on(x.d, NULL, 0, &p, &x.e) && p == 0);
  ck_assert(cuda_upload(x.d, NULL, 0, NULL, 0, &x.e) && cuda_download(x.d, NULL, NULL, 0, 0, &x.e) && cuda_clear(x.d, NULL, 0, 0, &x.e));
  cuda_release(x.d, 0);
  cuda_release_on(x.d, NULL, 0);
  close_case(&x);
} END_TEST

START_TEST(without_pools_memory_of_a_stream_is_freed_when_the_stream_is_done) {
  Case x = open_with(&fake_paths, GPU_AUTO);
  CuPointer p;
  x.f->pools = false;
  x.d = cuda_device(x.c, 0, &x.e);
  ck_assert(!x.d->pools && cuda_alloc_on(x.d, NULL, 64, &p, &x.e));
  int waits = x.f->waits;
  cuda_release_on(x.d, NULL, p);
  ck_assert_int_eq(x.f->waits, waits + 1);
  close_case(&x);
} END_TEST

START_TEST(each_failing_call_is_named) {
  static const struct { const char *fails, *words; } calls[] = {
    {"cuMemcpyHtoDAsync", "copying 4 bytes to device 0"}, {"cuStreamSynchronize", "waiting for a copy to device 0"},
  };
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    Case x = open_case();
    CuPointer p;
    ck_assert(cuda_alloc(x.d, 4, &p, &x.e));
    x.f->fails = calls[i].fails, x.f->code = 719;
    ck_assert(!cuda_upload(x.d, NULL, p, "abc", 4, &x.e));
    fake_failed(&x.e, CUDA_CALL, calls[i].words);
    cuda_release(x.d, p);
    close_case(&x);
  }
} END_TEST

START_TEST(an_illegal_address_says_that_the_device_is_lost_to_this_process) {
  Case x = open_case();
  x.f->fails = "cuStreamSynchronize", x.f->code = CU_ILLEGAL_ADDRESS;
  ck_assert(!cuda_wait(x.d, NULL, &x.e));
  ck_assert_ptr_nonnull(strstr(x.e.help, "cannot use the device any more"));
  fake_failed(&x.e, CUDA_CALL, "waiting for the kernels on device 0");
  close_case(&x);
} END_TEST

// ---- modules ----

static GpuCode code_of(char *bytes, bool ptx) { return (GpuCode){.bytes = bytes, .size = strlen(bytes), .ptx = ptx, .arch = 90}; }

START_TEST(a_kernel_tells_what_it_takes) {
  Case x = open_case();
  CudaKernel k;
  char cubin[] = "cubin";
  x.f->static_shared = 1024;
  GpuCode code = code_of(cubin, false);
  CudaModule *m = cuda_load(x.d, &code, "NVRTC 13.0", &x.e);
  ck_assert_ptr_nonnull(m);
  ck_assert_str_eq(x.f->image, "cubin");
  ck_assert(cuda_kernel(m, "f", true, 16, &k, &x.e));
  ck_assert_str_eq(k.use.name, "f");
  ck_assert(k.use.registers == 40 && k.use.shared_bytes == 1024 && k.use.spill_loads == -1);
  ck_assert(k.most_threads == 1024 && k.most_shared == (227 << 10) - 1024);
  x.f->missing = "g";
  ck_assert(!cuda_kernel(m, "g", false, 0, &k, &x.e));
  fake_failed(&x.e, CUDA_CALL, "looking for the kernel `g`");
  cuda_unload(m);
  close_case(&x);
} END_TEST

START_TEST(code_that_the_driver_is_too_old_for_is_told_with_both_versions_and_its_log) {
  Case x = open_with(&fake_paths, GPU_NVRTC);
  char ptx[] = "ptx";
  x.f->version = 12040;
  x.f->log = "ptxas fatal: Unsupported .version 9.0";
  x.d = cuda_device(x.c, 0, &x.e);
  x.f->fails = "cuModuleLoadDataEx", x.f->code = CU_UNSUPPORTED_PTX;
  GpuCode code = code_of(ptx, true);
  ck_assert_ptr_null(cuda_load(x.d, &code, "NVRTC 13.0", &x.e));
  ck_assert_ptr_nonnull(strstr(x.e.text, "NVRTC 13.0"));
  ck_assert_ptr_nonnull(strstr(x.e.help, "CUDA 12.4 or before"));
  ck_assert_str_eq(x.e.note, x.f->log);
  fake_failed(&x.e, CUDA_VERSIONS, "the driver, of CUDA 12.4");
  close_case(&x);
} END_TEST

// ---- compilers ----

static GpuRequest request(int arch) { return (GpuRequest){.text = "text", .len = 4, .arch = arch}; }

static const char *compiled_for(Case *x, int arch, bool *ptx) {
  static char made[64];
  char compiler[64];
  GpuCode code = {0};
  GpuRequest r = request(arch);
  if (!cuda_compile_for_device(x->c, x->d, &r, &code, compiler, &x->e)) ck_abort_msg("%s", x->e.text);
  ck_assert_str_eq(compiler, "NVRTC 13.0");
  snprintf(made, sizeof made, "%s", code.bytes);
  *ptx = code.ptx;
  gpu_code_free(&code);
  return made;
}

START_TEST(a_device_that_nvrtc_knows_gets_a_cubin_and_a_newer_one_ptx) {
  Case x = open_case();
  bool ptx;
  ck_assert_str_eq(compiled_for(&x, 90, &ptx), "cubin of sm_90");
  ck_assert(!ptx);
  ck_assert_str_eq(compiled_for(&x, 89, &ptx), "ptx of compute_80");
  ck_assert(ptx);
  ck_assert_str_eq(compiled_for(&x, 120, &ptx), "ptx of compute_100");
  ck_assert(ptx);
  close_case(&x);
} END_TEST

static int began(const FakeNvrtc *f, const char *text) {
  int n = 0;
  for (int i = 0; i < 4; i++) n += strcmp(f->begin[i], text) == 0;
  return n;
}

static GpuRequest three_kernels(void) {
  static const GpuSpan span[] = {{4, 8}, {8, 10}, {10, 11}};
  return (GpuRequest){.text = "headAAAABBC", .len = 11, .nspans = 3, .span = span, .arch = 90};
}

START_TEST(kernels_are_compiled_on_all_threads_each_behind_what_they_share) {
  Case x = open_case();
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = three_kernels();
  FakeNvrtc *f = fake_compiler();
  pool_set_threads(2);
  ck_assert(cuda_compile_for_device(x.c, x.d, &r, &code, compiler, &x.e));
  ck_assert_int_eq(f->created, 2);
  ck_assert_int_eq(began(f, "headAAAA"), 1);
  ck_assert_int_eq(began(f, "headBBC"), 1);
  CudaModule *m = cuda_load(x.d, &code, "NVRTC 13.0", &x.e);
  ck_assert_ptr_nonnull(m);
  ck_assert_int_eq(x.f->loads, 2);
  cuda_unload(m);
  ck_assert_int_eq(x.f->modules, 0);
  gpu_code_free(&code);
  close_case(&x);
} END_TEST

START_TEST(one_thread_compiles_all_kernels_at_once) {
  Case x = open_case();
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = three_kernels();
  pool_set_threads(1);
  ck_assert(cuda_compile_for_device(x.c, x.d, &r, &code, compiler, &x.e));
  ck_assert_int_eq(began(fake_compiler(), "headAAAABBC"), 1);
  ck_assert_ptr_null(code.next);
  gpu_code_free(&code);
  close_case(&x);
} END_TEST

START_TEST(a_kernel_that_does_not_compile_beside_others_is_the_error) {
  Case x = open_case();
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = three_kernels();
  fake_compiler()->result = 6;
  pool_set_threads(2);
  ck_assert(!cuda_compile_for_device(x.c, x.d, &r, &code, compiler, &x.e));
  gpu_code_free(&code);
  fake_failed(&x.e, CUDA_TEXT, "NVRTC 13.0 refused the generated text");
  close_case(&x);
} END_TEST

START_TEST(a_device_older_than_nvrtc_is_an_error) {
  Case x = open_case();
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = request(70);
  ck_assert(!cuda_compile_for_device(x.c, x.d, &r, &code, compiler, &x.e));
  fake_failed(&x.e, CUDA_NO_ARCH, "NVRTC 13.0 makes code for sm_80 and newer, the device is sm_70");
  close_case(&x);
} END_TEST

START_TEST(an_architecture_asked_for_exactly_is_made_or_refused) {
  Case x = open_with(&fake_paths, GPU_NVRTC);
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = request(100);
  ck_assert(cuda_compile_exactly(x.c, &r, &code, compiler, &x.e));
  ck_assert_str_eq(code.bytes, "cubin of sm_100");
  gpu_code_free(&code);
  r.arch = 103;
  ck_assert(!cuda_compile_exactly(x.c, &r, &code, compiler, &x.e));
  ck_assert_str_eq(x.e.help, "it knows sm_80 to sm_100");
  fake_failed(&x.e, CUDA_NO_ARCH, "makes no code for sm_103");
  close_case(&x);
} END_TEST

#define LOG(KERNEL, SPILL) "ptxas info    : Compiling entry function '" KERNEL "' for 'sm_90'\n    8 bytes stack frame, " SPILL " bytes spill stores, 0 bytes spill loads\n"

// Bytes spilled by what is taken of a text whose kernel k asks for room, and, with `loose`, of the same without that.
static int taken(const char *log, const char *loose, int *compiled) {
  static const char text[] = "\n#ifndef PLAIT_RESIDENT_k\n#define PLAIT_RESIDENT_k 8\n#endif\n";
  Case x = open_with(&fake_paths, GPU_NVRTC);
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = {.text = text, .len = sizeof text - 1, .arch = 90};
  x.n->log = log;
  x.n->loose_log = loose;
  x.n->compiled = 0;
  ck_assert(cuda_compile_exactly(x.c, &r, &code, compiler, &x.e));
  int spilled = gpu_spilled(code.use, code.nuse);
  *compiled = x.n->compiled;
  if (*compiled > 1) ck_assert_ptr_nonnull(strstr(x.n->text, "#define PLAIT_RESIDENT_k 1\n#line 1\n\n#ifndef PLAIT_RESIDENT_k\n"));
  gpu_code_free(&code);
  close_case(&x);
  return spilled;
}

START_TEST(a_kernel_that_spills_for_the_sake_of_other_blocks_is_made_without_them) {
  int compiled;
  ck_assert_int_eq(taken(LOG("k", "40"), LOG("k", "0"), &compiled), 0);
  ck_assert_int_eq(compiled, 2);
  ck_assert_int_eq(taken(LOG("k", "40"), LOG("k", "40"), &compiled), 40);      // it was not that
  ck_assert_int_eq(compiled, 2);
} END_TEST

START_TEST(what_does_not_spill_or_asks_for_no_room_is_compiled_once) {
  int compiled;
  ck_assert_int_eq(taken(LOG("k", "0") LOG("other", "40"), LOG("k", "0"), &compiled), 40);
  ck_assert_int_eq(compiled, 1);
  ck_assert_int_eq(taken(LOG("k2", "8") LOG("k", "0"), LOG("k", "0"), &compiled), 8);
  ck_assert_int_eq(compiled, 1);
} END_TEST

// Whether PTX is made of a text without room for other blocks, when code of it spills and code without that room does not, or does too.
static bool ptx_without_room(const char *text, const char *log, const char *loose, int *compiled) {
  Case x = open_with(&fake_paths, GPU_NVRTC);
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = {.text = text, .len = strlen(text), .arch = 90, .ptx = true};
  x.n->log = log;
  x.n->loose_log = loose;
  x.n->compiled = 0;
  ck_assert(cuda_compile_exactly(x.c, &r, &code, compiler, &x.e));
  ck_assert_str_eq(code.bytes, "ptx of compute_90");
  bool without = strncmp(x.n->text, "#define PLAIT_RESIDENT_k 1\n", 27) == 0;
  *compiled = x.n->compiled;
  gpu_code_free(&code);
  close_case(&x);
  return without;
}

START_TEST(ptx_is_made_of_the_text_whose_code_spills_less) {
  static const char asks[] = "\n#ifndef PLAIT_RESIDENT_k\n#define PLAIT_RESIDENT_k 8\n#endif\n";
  int compiled;
  ck_assert(ptx_without_room(asks, LOG("k", "40"), LOG("k", "0"), &compiled) && compiled == 3);
  ck_assert(!ptx_without_room(asks, LOG("k", "40"), LOG("k", "40"), &compiled) && compiled == 3);
  ck_assert(!ptx_without_room(asks, LOG("k", "0"), LOG("k", "0"), &compiled) && compiled == 2);
  ck_assert(!ptx_without_room("\n", LOG("k", "40"), LOG("k", "0"), &compiled) && compiled == 1);
} END_TEST

START_TEST(without_a_compiler_the_error_says_what_to_install) {
  Case x = open_with(&(SearchPaths){.nvrtc = "/nonexistent", .cuda_driver = FAKE_CUDA}, GPU_NVRTC);
  CudaCompilers have;
  ck_assert(!cuda_compilers(x.c, 0, &have, &x.e));
  fake_failed(&x.e, CUDA_NO_COMPILER, "NVRTC cannot be loaded from /nonexistent");
  close_case(&x);
} END_TEST

#ifdef PLAIT_CLANG
START_TEST(without_nvrtc_clang_makes_ptx_that_is_no_newer_than_sm_90) {
  static const char text[] = "extern \"C\" __global__ void f(long long n, float *y) { if (threadIdx.x < n) y[threadIdx.x] = rsqrtf(y[threadIdx.x]); }\n";
  Case x = open_with(&(SearchPaths){.nvrtc = "/nonexistent", .cuda_driver = FAKE_CUDA}, GPU_AUTO);
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = {.text = text, .len = sizeof text - 1, .arch = 120};
  x.d = cuda_device(x.c, 0, &x.e);
  if (!cuda_compile_for_device(x.c, x.d, &r, &code, compiler, &x.e)) ck_abort_msg("%s\n%.2000s", x.e.text, x.e.note);
  ck_assert_ptr_nonnull(strstr(compiler, "in process"));
  ck_assert_ptr_nonnull(strstr(code.bytes, ".target sm_90"));
  ck_assert_ptr_nonnull(strstr(code.bytes, ".entry f("));
  ck_assert_ptr_nonnull(strstr(code.bytes, "rsqrt.approx.f32"));
  ck_assert(code.ptx && code.arch == 90 && strlen(code.bytes) == code.size);
  gpu_code_free(&code);
  close_case(&x);
} END_TEST

START_TEST(a_driver_older_than_nvrtc_gets_clangs_ptx) {
  Case x = open_with(&fake_paths, GPU_AUTO);
  CudaCompilers have;
  ck_assert(cuda_compilers(x.c, 13000, &have, &x.e) && !have.clang);
  ck_assert(cuda_compilers(x.c, 12080, &have, &x.e) && have.clang);
  ck_assert(cuda_compilers(x.c, 0, &have, &x.e) && !have.clang);
  close_case(&x);
} END_TEST

START_TEST(clang_says_where_a_text_is_wrong_and_that_nvrtc_knows_more) {
  static const char text[] = "extern \"C\" __global__ void f(float *y) {\n  y[0] = erfcinvf(y[1]);\n}\n";
  Case x = open_with(&fake_paths, GPU_CLANG);
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = {.text = text, .len = sizeof text - 1, .arch = 80, .ptx = true};
  ck_assert(!cuda_compile_exactly(x.c, &r, &code, compiler, &x.e));
  ck_assert_ptr_nonnull(strstr(x.e.note, "plait.cu:2:"));
  ck_assert_ptr_nonnull(strstr(x.e.help, "nvidia-cuda-nvrtc"));
  gpu_code_free(&code);
  fake_failed(&x.e, CUDA_TEXT, "refused the generated text");
  r.ptx = false;
  ck_assert(!cuda_compile_exactly(x.c, &r, &code, compiler, &x.e));
  fake_failed(&x.e, CUDA_NO_ARCH, "makes PTX only");
  close_case(&x);
} END_TEST

// What the prelude declares, used as a generator would: all of it must become instructions.
static const char everything[] =
  "extern \"C\" __global__ void __launch_bounds__(256, 2) f(long long n, const float *__restrict__ x, float *y, int *c, unsigned *u, double *d) {\n"
  "  extern __shared__ float dynamic[];\n"
  "  __shared__ int fixed[32];\n"
  "  const unsigned all = 0xffffffffu;\n"
  "  const int lane = threadIdx.x % warpSize;\n"
  "  float4 v = __ldg((const float4 *)x + blockIdx.x * blockDim.x + threadIdx.x);\n"
  "  float a = fmaxf(fminf(v.x, v.y), fmaf(v.z, v.w, 1.0f)) + sqrtf(v.x) + rsqrtf(v.y) + fabsf(floorf(v.z)) + ceilf(truncf(rintf(v.w)));\n"
  "  for (int o = 16; o > 0; o /= 2) a += __shfl_xor_sync(all, a, o) + __shfl_down_sync(all, a, o) + __shfl_up_sync(all, a, o, 16);\n"
  "  double e = __shfl_sync(all, d[0], lane) + fma(d[1], d[2], d[3]) + sqrt(d[4]) + fmax(d[5], fmin(d[6], fabs(d[7])));\n"
  "  long long w = __shfl_xor_sync(all, n, 1) + __double_as_longlong(e);\n"
  "  fixed[lane] = __popc(__ballot_sync(all, a > 0)) + __clz(c[0]) + __ffs(c[1]) + __any_sync(all, a > 1) + __all_sync(all, a > 2) + min(c[2], max(c[3], 4));\n"
  "  dynamic[threadIdx.x] = __expf(a) + __logf(a) + exp2f(a) + __fmaf_rn(a, a, a) + __int_as_float(c[4]) + copysignf(a, v.x);\n"
  "  __syncthreads();\n"
  "  __syncwarp();\n"
  "  atomicAdd(c, fixed[0] + __reduce_add_sync(all, fixed[1]));\n"
  "  atomicMax(c + 1, fixed[2]);\n"
  "  if (atomicInc(u, gridDim.x - 1) == gridDim.x - 1) atomicExch(u + 1, atomicCAS(u + 2, 0u, __float_as_uint(a)));\n"
  "  atomicAdd((unsigned long long *)(u + 4), (unsigned long long)w);\n"
  "  __threadfence();\n"
  "  __stcs((float4 *)y + threadIdx.x, make_float4(dynamic[0], a, (float)e, (float)__umulhi(u[0], u[1])));\n"
  "  float h;\n"
  "  asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(h) : \"h\"((unsigned short)c[5]));\n"
  "  y[threadIdx.x + 4096] = h;\n"
  "}\n";

// And of the mathematical library, beside functions of the same name as rows that these use.
static const char mathematics[] =
  "static __device__ float mad_f32(float a, float b, float c) { return a + b + c; }\n"
  "static __device__ float library_exp(float x) { return x; }\n"
  "extern \"C\" __global__ void f(const float *x, float *y, double *d) {\n"
  "  const float a = x[0], b = x[1];\n"
  "  float s = expf(a) + exp2f(a) + expm1f(a) + logf(a) + log2f(a) + log1pf(a) + sinf(a) + cosf(a) + tanf(a) + asinf(a) + acosf(a) + atanf(a);\n"
  "  s += atan2f(a, b) + sinhf(a) + coshf(a) + tanhf(a) + erff(a) + erfcf(a) + cbrtf(a) + powf(a, b) + mad_f32(a, b, a) + library_exp(a);\n"
  "  y[0] = isnan(a) + isinf(a) + isfinite(a) + s;\n"
  "  d[0] = exp(d[1]) + log(d[2]) + isnan(d[3]) + isinf(d[4]) + isfinite(d[5]);\n"
  "}\n";

static void assemble(const GpuCode *code, int arch) {
#ifdef PTXAS
  char path[] = "/tmp/test_cuda-XXXXXX", command[256];
  int fd = mkstemp(path);
  ck_assert_int_eq(write(fd, code->bytes, code->size), (ssize_t)code->size);
  close(fd);
  snprintf(command, sizeof command, PTXAS " -arch=sm_%d -o /dev/null %s", arch, path);
  ck_assert_int_eq(system(command), 0);
  unlink(path);
#else
  (void)code, (void)arch;
#endif
}

START_TEST(the_generators_library_gives_clang_cudas_mathematics) {
  Case x = open_with(&fake_paths, GPU_CLANG);
  Arena *a = arena_create();
  GpuCode code = {0};
  char compiler[64];
  GpuRequest r = {.text = mathematics, .len = sizeof mathematics - 1, .library = cuda_generator.library(a), .arch = 80, .ptx = true};
  if (!cuda_compile_exactly(x.c, &r, &code, compiler, &x.e)) ck_abort_msg("%s\n%.2000s", x.e.text, x.e.note);
  ck_assert_ptr_null(strstr(code.bytes, ".extern .func"));
  assemble(&code, 80);
  gpu_code_free(&code);
  arena_destroy(a);
  close_case(&x);
} END_TEST

static void make_everything(Case *x, int arch, GpuCode *code) {
  char compiler[64];
  GpuRequest r = {.text = everything, .len = sizeof everything - 1, .arch = arch, .ptx = true};
  if (!cuda_compile_exactly(x->c, &r, code, compiler, &x->e)) ck_abort_msg("%s\n%.2000s", x->e.text, x->e.note);
}

START_TEST(what_the_prelude_declares_becomes_instructions_that_ptxas_takes) {
  static const int archs[] = {80, 86, 90};
  for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
    Case x = open_with(&fake_paths, GPU_CLANG);
    GpuCode code = {0};
    make_everything(&x, archs[i], &code);
    ck_assert_ptr_nonnull(strstr(code.bytes, "ld.global.nc.v4.f32"));     // __ldg of a float4 in one access
    ck_assert_ptr_nonnull(strstr(code.bytes, "shfl.sync.bfly.b32"));
    ck_assert_ptr_nonnull(strstr(code.bytes, "redux.sync.add.s32"));
    ck_assert_ptr_nonnull(strstr(code.bytes, ".maxntid 256"));
    ck_assert_ptr_null(strstr(code.bytes, ".extern .func"));
    assemble(&code, archs[i]);
    gpu_code_free(&code);
    close_case(&x);
  }
} END_TEST

START_TEST(the_prelude_declares_what_nvrtc_has_built_in) {
  Arena *a = arena_create();
  Nvrtc n = {0};
  CudaError e = {0};
  GpuCode code = {0};
  GpuRequest r = {.text = everything, .len = sizeof everything - 1, .arch = 90};
  if (!nvrtc_open(a, &(SearchPaths){.path = getenv("PATH"), .cuda_home = getenv("CUDA_HOME")}, 0, &n, NULL, &e))
    printf("left out, there is no NVRTC here: %s\n", e.text);
  else if (!nvrtc_compile(&n, &r, &code, &e)) ck_abort_msg("%s\n%.2000s", e.text, e.note);
  gpu_code_free(&code);
  cuda_error_clear(&e);
  arena_destroy(a);
} END_TEST
#endif

// ---- the report ----

static const SearchItem *item(const SearchItem *items, int n, const char *what) {
  for (int i = 0; i < n; i++)
    if (strcmp(items[i].what, what) == 0) return &items[i];
  ck_abort_msg("no item `%s`", what);
  return NULL;
}

START_TEST(the_report_names_driver_devices_and_compiler) {
  Case x = open_with(&fake_paths, GPU_AUTO);
  Arena *a = arena_create();
  int n;
  x.f->devices = 2;
  const SearchItem *items = cuda_report(a, x.c, &n);
  ck_assert_str_eq(item(items, n, "CUDA driver")->version, "CUDA 13.0");
  ck_assert_str_eq(item(items, n, "CUDA device 1")->detail, "Fake GPU, sm_90, 1.0 GiB, 4 multiprocessors, 227 KiB of shared memory a block");
  ck_assert_str_eq(item(items, n, "NVRTC")->detail, "for sm_80 to sm_100");
  ck_assert_str_eq(item(items, n, "NVRTC")->places.v[0].what, "found");
  ck_assert_str_eq(item(items, n, "GPU kernels are compiled by")->detail, "NVRTC 13.0");
  ck_assert_int_eq(x.f->contexts, 0);                                   // looking opens no device
  arena_destroy(a);
  close_case(&x);
} END_TEST

START_TEST(what_the_report_does_not_find_has_a_remedy_and_the_places) {
  Case x = open_with(&(SearchPaths){.nvrtc = "/nonexistent/a", .cuda_driver = "/nonexistent/b"}, GPU_NVRTC);
  Arena *a = arena_create();
  int n;
  const SearchItem *items = cuda_report(a, x.c, &n), *driver = item(items, n, "CUDA driver");
  ck_assert(!driver->found && *driver->remedy && driver->places.n == 1);
  ck_assert_str_eq(driver->places.v[0].path, "/nonexistent/b");
  ck_assert(!item(items, n, "NVRTC")->found && !item(items, n, "GPU kernels are compiled by")->found);
  arena_destroy(a);
  close_case(&x);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    without_a_driver_the_error_says_what_to_install, a_driver_that_is_too_old_is_told_with_both_versions, a_library_that_is_no_driver_is_told_with_what_it_lacks,
    a_driver_that_does_not_start_is_asked_again_by_the_next_call, a_machine_without_a_device_is_told_what_to_check,
    a_device_that_does_not_exist_is_told_with_how_many_there_are, a_device_is_described_and_opened_once,
    a_context_that_cannot_be_had_is_an_error_and_leaves_nothing, the_current_context_is_the_same_after_a_call,
    a_context_that_is_current_already_is_not_pushed_again, out_of_memory_tells_what_was_asked_for_and_what_is_free, memory_goes_there_and_back,
    nothing_needs_no_memory_and_no_copy, without_pools_memory_of_a_stream_is_freed_when_the_stream_is_done, each_failing_call_is_named,
    an_illegal_address_says_that_the_device_is_lost_to_this_process, a_kernel_tells_what_it_takes,
    code_that_the_driver_is_too_old_for_is_told_with_both_versions_and_its_log, a_device_that_nvrtc_knows_gets_a_cubin_and_a_newer_one_ptx,
    kernels_are_compiled_on_all_threads_each_behind_what_they_share, one_thread_compiles_all_kernels_at_once,
    a_kernel_that_does_not_compile_beside_others_is_the_error, a_device_older_than_nvrtc_is_an_error, an_architecture_asked_for_exactly_is_made_or_refused,
    a_kernel_that_spills_for_the_sake_of_other_blocks_is_made_without_them, what_does_not_spill_or_asks_for_no_room_is_compiled_once, ptx_is_made_of_the_text_whose_code_spills_less, without_a_compiler_the_error_says_what_to_install,
#ifdef PLAIT_CLANG
    without_nvrtc_clang_makes_ptx_that_is_no_newer_than_sm_90, a_driver_older_than_nvrtc_gets_clangs_ptx,
    clang_says_where_a_text_is_wrong_and_that_nvrtc_knows_more, what_the_prelude_declares_becomes_instructions_that_ptxas_takes,
    the_generators_library_gives_clang_cudas_mathematics,
    the_prelude_declares_what_nvrtc_has_built_in,
#endif
    the_report_names_driver_devices_and_compiler, what_the_report_does_not_find_has_a_remedy_and_the_places,
  };
  return UNIT_RUN("cuda", tests);
}
