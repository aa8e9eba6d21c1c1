// test_cuda_abi.c: our declarations of the CUDA driver against those of the toolkit's cuda.h, where there is one.
#include "runtime/cuda_driver.h"
#include "unit.h"
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#ifdef HAVE_CUDA_H
#include <cuda.h>

#define SAME(OURS, THEIRS) ck_assert_int_eq((int)(OURS), (int)(THEIRS))

START_TEST(numbers_are_those_of_the_toolkit) {
  SAME(CU_OK, CUDA_SUCCESS); SAME(CU_INVALID_VALUE, CUDA_ERROR_INVALID_VALUE); SAME(CU_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY);
  SAME(CU_DEINITIALIZED, CUDA_ERROR_DEINITIALIZED); SAME(CU_STUB, CUDA_ERROR_STUB_LIBRARY); SAME(CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE);
  SAME(CU_INVALID_DEVICE, CUDA_ERROR_INVALID_DEVICE); SAME(CU_INVALID_IMAGE, CUDA_ERROR_INVALID_IMAGE); SAME(CU_NO_BINARY, CUDA_ERROR_NO_BINARY_FOR_GPU);
  SAME(CU_INVALID_PTX, CUDA_ERROR_INVALID_PTX); SAME(CU_NO_JIT, CUDA_ERROR_JIT_COMPILER_NOT_FOUND);
  SAME(CU_UNSUPPORTED_PTX, CUDA_ERROR_UNSUPPORTED_PTX_VERSION); SAME(CU_NOT_FOUND, CUDA_ERROR_NOT_FOUND);
  SAME(CU_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS); SAME(CU_OUT_OF_RESOURCES, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  SAME(CU_MISALIGNED, CUDA_ERROR_MISALIGNED_ADDRESS); SAME(CU_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_FAILED);
  SAME(CU_COOPERATIVE_TOO_LARGE, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE); SAME(CU_DRIVER_MISMATCH, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
  SAME(CU_CAPTURE_UNSUPPORTED, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  SAME(CU_MULTIPROCESSORS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT); SAME(CU_ARCH_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  SAME(CU_ARCH_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR); SAME(CU_PAGEABLE_ACCESS, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS);
  SAME(CU_COOPERATIVE, CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH); SAME(CU_SHARED_OPTIN, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  SAME(CU_MEMORY_POOLS, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED); SAME(CU_CLUSTERS, CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH);
  SAME(CU_MAX_THREADS, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK); SAME(CU_STATIC_SHARED, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
  SAME(CU_LOCAL_BYTES, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES); SAME(CU_REGISTERS, CU_FUNC_ATTRIBUTE_NUM_REGS);
  SAME(CU_MAX_DYNAMIC_SHARED, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES); SAME(CU_LARGE_CLUSTERS, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED);
  SAME(CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BUFFER); SAME(CU_JIT_ERROR_LOG_BYTES, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
  SAME(CU_POINTER_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_MEMORY_TYPE); SAME(CU_CAPTURE_RELAXED, CU_STREAM_CAPTURE_MODE_RELAXED);
  SAME(CU_NON_BLOCKING, CU_STREAM_NON_BLOCKING); ck_assert_ptr_eq((void *)(uintptr_t)CU_STREAM_OF_LEGACY, (void *)CU_STREAM_LEGACY);
  SAME(CU_ATTRIBUTE_COOPERATIVE, CU_LAUNCH_ATTRIBUTE_COOPERATIVE); SAME(CU_ATTRIBUTE_CLUSTER, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
  SAME(CU_ATTRIBUTE_DEPENDENT, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
} END_TEST

START_TEST(structs_are_laid_out_as_the_toolkits) {
  ck_assert_uint_eq(sizeof(CuLaunch), sizeof(CUlaunchConfig));
  ck_assert_uint_eq(offsetof(CuLaunch, block), offsetof(CUlaunchConfig, blockDimX));
  ck_assert_uint_eq(offsetof(CuLaunch, shared), offsetof(CUlaunchConfig, sharedMemBytes));
  ck_assert_uint_eq(offsetof(CuLaunch, stream), offsetof(CUlaunchConfig, hStream));
  ck_assert_uint_eq(offsetof(CuLaunch, attribute), offsetof(CUlaunchConfig, attrs));
  ck_assert_uint_eq(offsetof(CuLaunch, nattributes), offsetof(CUlaunchConfig, numAttrs));
  ck_assert_uint_eq(sizeof(CuAttribute), sizeof(CUlaunchAttribute));
  ck_assert_uint_eq(offsetof(CuAttribute, value), offsetof(CUlaunchAttribute, value));
  ck_assert_uint_eq(sizeof(CuPointer), sizeof(CUdeviceptr));
  ck_assert_uint_eq(sizeof(CuDevice), sizeof(CUdevice));
} END_TEST

// The signatures that cuda_driver.def was written from are still those of the toolkit.
START_TEST(the_toolkits_functions_have_the_signatures_that_ours_were_written_from) {
#define ARITY(OURS, THEIRS) _Generic(&THEIRS, OURS: 1, default: 0)
  ck_assert(ARITY(CUresult (*)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **, void **), cuLaunchKernel));
  ck_assert(ARITY(CUresult (*)(const CUlaunchConfig *, CUfunction, void **, void **), cuLaunchKernelEx));
  ck_assert(ARITY(CUresult (*)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **), cuLaunchCooperativeKernel));
  ck_assert(ARITY(CUresult (*)(CUmodule *, const void *, unsigned, CUjit_option *, void **), cuModuleLoadDataEx));
  ck_assert(ARITY(CUresult (*)(CUfunction *, CUmodule, const char *), cuModuleGetFunction));
  ck_assert(ARITY(CUresult (*)(int *, CUfunction_attribute, CUfunction), cuFuncGetAttribute));
  ck_assert(ARITY(CUresult (*)(CUfunction, CUfunction_attribute, int), cuFuncSetAttribute));
  ck_assert(ARITY(CUresult (*)(int *, CUdevice_attribute, CUdevice), cuDeviceGetAttribute));
  ck_assert(ARITY(CUresult (*)(char *, int, CUdevice), cuDeviceGetName));
  ck_assert(ARITY(CUresult (*)(size_t *, CUdevice), cuDeviceTotalMem));
  ck_assert(ARITY(CUresult (*)(CUcontext *, CUdevice), cuDevicePrimaryCtxRetain));
  ck_assert(ARITY(CUresult (*)(CUdeviceptr *, size_t), cuMemAlloc));
  ck_assert(ARITY(CUresult (*)(CUdeviceptr *, size_t, CUstream), cuMemAllocAsync));
  ck_assert(ARITY(CUresult (*)(CUdeviceptr, CUstream), cuMemFreeAsync));
  ck_assert(ARITY(CUresult (*)(size_t *, size_t *), cuMemGetInfo));
  ck_assert(ARITY(CUresult (*)(CUdeviceptr, const void *, size_t, CUstream), cuMemcpyHtoDAsync));
  ck_assert(ARITY(CUresult (*)(void *, CUdeviceptr, size_t, CUstream), cuMemcpyDtoHAsync));
  ck_assert(ARITY(CUresult (*)(CUdeviceptr, unsigned char, size_t, CUstream), cuMemsetD8Async));
  ck_assert(ARITY(CUresult (*)(void *, CUpointer_attribute, CUdeviceptr), cuPointerGetAttribute));
  ck_assert(ARITY(CUresult (*)(CUstreamCaptureMode *), cuThreadExchangeStreamCaptureMode));
  ck_assert(ARITY(CUresult (*)(CUstream, CUstreamCaptureMode), cuStreamBeginCapture));
  ck_assert(ARITY(CUresult (*)(CUstream, CUgraph *), cuStreamEndCapture));
  ck_assert(ARITY(CUresult (*)(CUgraphExec *, CUgraph, unsigned long long), cuGraphInstantiate));
  ck_assert(ARITY(CUresult (*)(CUgraphExec, CUstream), cuGraphLaunch));
  ck_assert(ARITY(CUresult (*)(CUevent *, unsigned), cuEventCreate));
  ck_assert(ARITY(CUresult (*)(float *, CUevent, CUevent), cuEventElapsedTime));
} END_TEST
#endif

#ifdef CUDA_STUB
// The toolkit's library for linking exports every name that the real driver does.
START_TEST(every_function_has_a_name_that_the_driver_exports) {
  static const char *const names[] = {
#define CUDA(FIELD, SYMBOL, SINCE, PARAMETERS) SYMBOL,
#include "runtime/cuda_driver.def"
#undef CUDA
  };
  void *lib = dlopen(CUDA_STUB, RTLD_NOW | RTLD_LOCAL);
  ck_assert_ptr_nonnull(lib);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) ck_assert_msg(dlsym(lib, names[i]) != NULL, "%s", names[i]);
} END_TEST

START_TEST(the_toolkits_stub_is_told_from_a_driver) {
  Arena *a = arena_create();
  CudaDriver d = {0};
  CudaError e = {0};
  ck_assert_ptr_null(cuda_driver_open(a, &(SearchPaths){.cuda_driver = CUDA_STUB}, &d, NULL, &e));
  ck_assert_int_eq(e.fault, CUDA_NO_DRIVER);
  ck_assert_ptr_nonnull(strstr(e.help, "stub"));
  cuda_error_clear(&e);
  arena_destroy(a);
} END_TEST
#endif

START_TEST(a_driver_version_is_read_as_the_driver_counts) {
  char text[16];
  ck_assert_str_eq(cuda_version_text(12040, text), "12.4");
  ck_assert_str_eq(cuda_version_text(13000, text), "13.0");
  ck_assert_str_eq(cuda_version_text(11080, text), "11.8");
} END_TEST

int main(void) {
#ifndef HAVE_CUDA_H
  printf("left out, there is no cuda.h here: comparing declarations with it\n");
#endif
  const TTest *tests[] = {
    a_driver_version_is_read_as_the_driver_counts,
#ifdef CUDA_STUB
    every_function_has_a_name_that_the_driver_exports, the_toolkits_stub_is_told_from_a_driver,
#endif
#ifdef HAVE_CUDA_H
    numbers_are_those_of_the_toolkit, structs_are_laid_out_as_the_toolkits,
    the_toolkits_functions_have_the_signatures_that_ours_were_written_from,
#endif
  };
  return UNIT_RUN("cuda_abi", tests);
}
