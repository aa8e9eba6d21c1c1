// runtime_stub.h: as much of the CUDA runtime as the host function of a printed file needs, for a C++ compiler alone: launches
// are told to plait_stub_launch. A kernel is any function.
#include <dlfcn.h>
#include <stddef.h>
#ifndef CUDART_VERSION
#define CUDART_VERSION 13000
#endif
#define __host__
#define __device__
#define __forceinline__ inline

typedef enum cudaError_t {
  cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9, cudaErrorMisalignedAddress = 716,
} cudaError_t;
typedef struct CUstream_st *cudaStream_t;
#define cudaStreamLegacy ((cudaStream_t)1)
struct dim3 { unsigned x, y, z; dim3(unsigned n = 1) : x(n), y(1), z(1) {} };

typedef enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4, cudaLaunchAttributeProgrammaticStreamSerialization = 6 } cudaLaunchAttributeID;
typedef struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  union { struct { unsigned x, y, z; } clusterDim; int programmaticStreamSerializationAllowed; } val;
} cudaLaunchAttribute;
typedef struct cudaLaunchConfig_t { dim3 gridDim, blockDim; size_t dynamicSmemBytes; cudaStream_t stream; cudaLaunchAttribute *attrs; unsigned numAttrs; } cudaLaunchConfig_t;
typedef struct cudaFuncAttributes { int ptxVersion; } cudaFuncAttributes;
typedef enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributeNonPortableClusterSizeAllowed = 14 } cudaFuncAttribute;

// One launch, by the kernel's name. allowed: bytes of dynamic shared memory that have been asked for, 0: none.
typedef struct StubLaunch { const char *name; unsigned blocks, threads, cluster; size_t shared, allowed; int large_clusters, dependent; cudaStream_t stream; void **arg; } StubLaunch;
extern "C" {
void (*plait_stub_launch)(const StubLaunch *l);
int plait_stub_ptx = 90;
}

static const void *stub_kernel;      // that the two below are of
static size_t stub_allowed;
static int stub_large;

static inline cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute a, int value) {
  if (stub_kernel != kernel) stub_allowed = 0, stub_large = 0;
  stub_kernel = kernel;
  if (a == cudaFuncAttributeMaxDynamicSharedMemorySize) stub_allowed = (size_t)value;
  else stub_large = value;
  return cudaSuccess;
}

static inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *) { a->ptxVersion = plait_stub_ptx; return cudaSuccess; }

static inline cudaError_t stub_tell(StubLaunch l, const void *kernel) {
  Dl_info found;
  l.name = dladdr(kernel, &found) ? found.dli_sname : "?";
  l.allowed = stub_kernel == kernel ? stub_allowed : 0;
  l.large_clusters = stub_kernel == kernel && stub_large;
  plait_stub_launch(&l);
  return cudaSuccess;
}

static inline cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **arg, size_t shared, cudaStream_t stream) {
  StubLaunch l = {};
  l.blocks = grid.x, l.threads = block.x, l.shared = shared, l.stream = stream, l.arg = arg;
  return stub_tell(l, kernel);
}

static inline cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *kernel, void **arg) {
  StubLaunch l = {};
  l.blocks = c->gridDim.x, l.threads = c->blockDim.x, l.shared = c->dynamicSmemBytes, l.stream = c->stream, l.arg = arg;
  for (unsigned i = 0; i < c->numAttrs; i++) {
    if (c->attrs[i].id == cudaLaunchAttributeClusterDimension) l.cluster = c->attrs[i].val.clusterDim.x;
    else l.dependent = c->attrs[i].val.programmaticStreamSerializationAllowed;
  }
  return stub_tell(l, kernel);
}
