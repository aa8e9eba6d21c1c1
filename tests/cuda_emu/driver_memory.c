// driver_memory.c: libcuda.so.1 without a GPU: memory and copies.
#include "driver.h"
#include <stdint.h>
#include <stdlib.h>

static void *pointer(CUdeviceptr p) { return (void *)(uintptr_t)p; }

// Allocation is not allowed while a stream is captured, but for a thread that says that it knows better.
static CUresult allocate(CUdeviceptr *p, size_t bytes) {
  if (!p || !bytes) return CUDA_ERROR_INVALID_VALUE;
  if (driver_capturing()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  void *at = emu_alloc(emu_driver.device, bytes);
  *p = (CUdeviceptr)(uintptr_t)at;
  return at ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult release(CUdeviceptr p) {
  if (!p) return CUDA_SUCCESS;
  if (driver_capturing()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  return emu_free(emu_driver.device, pointer(p)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t bytes) {
  ENTER(true);
  LEAVE(allocate(p, bytes));
}

CUresult cuMemFree_v2(CUdeviceptr p) {
  ENTER(true);
  LEAVE(release(p));
}

CUresult cuMemAllocAsync(CUdeviceptr *p, size_t bytes, CUstream s) {
  ENTER(true);
  (void)s;
  LEAVE(allocate(p, bytes));
}

CUresult cuMemFreeAsync(CUdeviceptr p, CUstream s) {
  ENTER(true);
  (void)s;
  LEAVE(p ? release(p) : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemGetInfo_v2(size_t *left, size_t *all) {
  ENTER(true);
  if (!left || !all) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *left = emu_memory_left(emu_driver.device);
  *all = emu_memory_all(emu_driver.device);
  LEAVE(CUDA_SUCCESS);
}

CUresult cuMemAllocHost_v2(void **p, size_t bytes) {
  ENTER(true);
  if (!p || !bytes) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *p = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  LEAVE(*p ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult cuMemFreeHost(void *p) {
  ENTER(true);
  free(p);
  LEAVE(CUDA_SUCCESS);
}

// ---- copies ------------------------------------------------------------------------------------------------------

static CUresult upload(CUdeviceptr to, const void *from, size_t n, CUstream s) { return stream_do(s, (Work){.kind = WORK_UPLOAD, .to = pointer(to), .from = from, .n = n}); }
static CUresult download(void *to, CUdeviceptr from, size_t n, CUstream s) { return stream_do(s, (Work){.kind = WORK_DOWNLOAD, .to = to, .from = pointer(from), .n = n}); }
static CUresult copy(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) { return stream_do(s, (Work){.kind = WORK_COPY, .to = pointer(to), .from = pointer(from), .n = n}); }

static CUresult fill(CUdeviceptr p, unsigned v, int bytes, size_t n, CUstream s) {
  if (p % (unsigned)bytes) return CUDA_ERROR_INVALID_VALUE;
  return stream_do(s, (Work){.kind = WORK_FILL, .to = pointer(p), .pattern = v, .pattern_bytes = bytes, .n = n * (size_t)bytes});
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t n) {
  ENTER(true);
  LEAVE(driver_capturing() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : upload(to, from, n, NULL));
}

CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t n) {
  ENTER(true);
  LEAVE(driver_capturing() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : download(to, from, n, NULL));
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t n) {
  ENTER(true);
  LEAVE(driver_capturing() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : copy(to, from, n, NULL));
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n, CUstream s) {
  ENTER(true);
  LEAVE(upload(to, from, n, s));
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t n, CUstream s) {
  ENTER(true);
  LEAVE(download(to, from, n, s));
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {
  ENTER(true);
  LEAVE(copy(to, from, n, s));
}

CUresult cuMemsetD8_v2(CUdeviceptr p, unsigned char v, size_t n) {
  ENTER(true);
  LEAVE(driver_capturing() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : fill(p, v, 1, n, NULL));
}

CUresult cuMemsetD32_v2(CUdeviceptr p, unsigned v, size_t n) {
  ENTER(true);
  LEAVE(driver_capturing() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : fill(p, v, 4, n, NULL));
}

CUresult cuMemsetD8Async(CUdeviceptr p, unsigned char v, size_t n, CUstream s) {
  ENTER(true);
  LEAVE(fill(p, v, 1, n, s));
}

CUresult cuMemsetD32Async(CUdeviceptr p, unsigned v, size_t n, CUstream s) {
  ENTER(true);
  LEAVE(fill(p, v, 4, n, s));
}

// ---- pointers ----------------------------------------------------------------------------------------------------

static CUresult pointer_attribute(void *value, CUpointer_attribute a, CUdeviceptr p) {
  void *base;
  size_t bytes;
  bool known = emu_allocation(emu_driver.device, pointer(p), &base, &bytes);
  if (a == CU_POINTER_ATTRIBUTE_MAPPED) return *(int *)value = known, CUDA_SUCCESS;
  if (!known) return CUDA_ERROR_INVALID_VALUE;
  switch (a) {
  case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)value = driver_context(); return CUDA_SUCCESS;
  case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *(unsigned *)value = CU_MEMORYTYPE_DEVICE; return CUDA_SUCCESS;
  case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr *)value = p; return CUDA_SUCCESS;
  case CU_POINTER_ATTRIBUTE_IS_MANAGED: case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)value = 0; return CUDA_SUCCESS;
  case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *(CUdeviceptr *)value = (CUdeviceptr)(uintptr_t)base; return CUDA_SUCCESS;
  case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *(size_t *)value = bytes; return CUDA_SUCCESS;
  default: return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuPointerGetAttribute(void *value, CUpointer_attribute a, CUdeviceptr p) {
  ENTER(true);
  LEAVE(value ? pointer_attribute(value, a, p) : CUDA_ERROR_INVALID_VALUE);
}
