// cuda_driver.h: the CUDA driver, opened at run time: its functions, the few of its types and numbers that are used, and
// its errors in words.
//
// The declarations are our own, so that building needs no toolkit; test_cuda_abi compares them with cuda.h where there
// is one. A program that never asks for a GPU never loads the driver.
#ifndef PLAIT_RUNTIME_CUDA_DRIVER_H
#define PLAIT_RUNTIME_CUDA_DRIVER_H
#include "runtime/search.h"
#include <stddef.h>
#include <stdint.h>

typedef int CuResult;
typedef int CuDevice;
typedef struct CuContextObject *CuContext;
typedef struct CuModuleObject *CuModule;
typedef struct CuFunctionObject *CuFunction;
typedef struct CuStreamObject *CuStream;        // NULL: the default stream
typedef struct CuEventObject *CuEvent;
typedef struct CuGraphObject *CuGraph;
typedef struct CuGraphExecObject *CuGraphExec;
typedef unsigned long long CuPointer;           // an address in device memory

enum {                       // CUresult
  CU_OK = 0, CU_INVALID_VALUE = 1, CU_OUT_OF_MEMORY = 2, CU_DEINITIALIZED = 4, CU_STUB = 34, CU_NO_DEVICE = 100, CU_INVALID_DEVICE = 101,
  CU_INVALID_IMAGE = 200, CU_NO_BINARY = 209, CU_INVALID_PTX = 218, CU_NO_JIT = 221, CU_UNSUPPORTED_PTX = 222, CU_NOT_FOUND = 500,
  CU_ILLEGAL_ADDRESS = 700, CU_OUT_OF_RESOURCES = 701, CU_MISALIGNED = 716, CU_LAUNCH_FAILED = 719, CU_COOPERATIVE_TOO_LARGE = 720,
  CU_DRIVER_MISMATCH = 803, CU_CAPTURE_UNSUPPORTED = 900,
};
enum {                       // CUdevice_attribute
  CU_MULTIPROCESSORS = 16, CU_ARCH_MAJOR = 75, CU_ARCH_MINOR = 76, CU_PAGEABLE_ACCESS = 88, CU_COOPERATIVE = 95,
  CU_SHARED_OPTIN = 97, CU_MEMORY_POOLS = 115, CU_CLUSTERS = 120,
};
enum {                       // CUfunction_attribute
  CU_MAX_THREADS = 0, CU_STATIC_SHARED = 1, CU_LOCAL_BYTES = 3, CU_REGISTERS = 4, CU_MAX_DYNAMIC_SHARED = 8, CU_LARGE_CLUSTERS = 14,
};
enum { CU_JIT_ERROR_LOG = 5, CU_JIT_ERROR_LOG_BYTES = 6 };               // CUjit_option
enum { CU_POINTER_MEMORY_TYPE = 2 };                                     // CUpointer_attribute
enum { CU_CAPTURE_RELAXED = 2 };                                         // CUstreamCaptureMode
enum { CU_NON_BLOCKING = 1 };                                            // CUstream_flags
enum { CU_STREAM_OF_LEGACY = 1 };                                        // CU_STREAM_LEGACY: another name of the stream NULL
enum { CU_ATTRIBUTE_COOPERATIVE = 2, CU_ATTRIBUTE_CLUSTER = 4, CU_ATTRIBUTE_DEPENDENT = 6 };   // CUlaunchAttributeID

typedef struct CuAttribute {           // CUlaunchAttribute
  int id;
  char pad[4];
  union { char bytes[64]; struct { unsigned x, y, z; } cluster; int flag; } value;
} CuAttribute;

typedef struct CuLaunch {              // CUlaunchConfig
  unsigned grid[3], block[3], shared;
  CuStream stream;
  CuAttribute *attribute;
  unsigned nattributes;
} CuLaunch;

typedef struct CudaDriver {
#define CUDA(FIELD, SYMBOL, SINCE, PARAMETERS) CuResult (*FIELD) PARAMETERS;
#include "runtime/cuda_driver.def"
#undef CUDA
  int number;                          // 12040: it is of CUDA 12.4
  const char *path;
} CudaDriver;

enum { CUDA_LEAST = 11020 };           // the oldest driver that is supported, of CUDA 11.2
enum { CUDA_DEPENDENT = 12030 };       // the first whose graphs have programmatic edges

// ---- errors ----

typedef enum CudaFault {
  CUDA_FINE,
  CUDA_NO_DRIVER,            // no library, or one that lacks functions
  CUDA_OLD_DRIVER,
  CUDA_NO_DEVICE,            // none at all, or none of this number
  CUDA_NO_COMPILER,          // neither NVRTC nor Clang
  CUDA_NO_ARCH,              // the compilers that there are cannot make code for this architecture
  CUDA_TEXT,                 // the compiler refused the text
  CUDA_VERSIONS,             // the driver cannot load what the compiler made
  CUDA_DEVICE_MEMORY,        // there is not as much memory on the device
  CUDA_BEYOND,               // a launch beyond what the device can do
  CUDA_CALL,                 // a function of the driver or of NVRTC failed
  CUDA_HOST_MEMORY,
} CudaFault;

// Zero-initialise; clear after use. The first fault set stays. Texts are malloc'ed; `help` says what to do about it and
// may be NULL, `note` may have lines of a compiler.
typedef struct CudaError { CudaFault fault; CuResult code; char *text, *note, *help; } CudaError;

// Sets *e when it holds no fault yet; returns false, for callers to return.
bool cuda_fail(CudaError *e, CudaFault fault, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void cuda_help(CudaError *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));      // of the fault set last; the first stays
void cuda_note(CudaError *e, const char *text, size_t n);
void cuda_error_clear(CudaError *e);

// True for CU_OK; else sets *e to say that `what` ("cuMemAlloc of 12 bytes") failed, how, and the driver's version.
bool cuda_check(const CudaDriver *d, CuResult r, CudaError *e, const char *what, ...) __attribute__((format(printf, 4, 5)));

// "12.4" of 12040, in `out`.
const char *cuda_version_text(int number, char out[16]);

// ---- loading ----

// The driver found by search.h, ready for calls (cuInit has succeeded), in `a`; NULL and *e. *places (or NULL) gets where it was
// looked for. Failure leaves *loaded as far as it came, for reports: number and path may be set.
const CudaDriver *cuda_driver_open(Arena *a, const SearchPaths *p, CudaDriver *loaded, SearchPlaces *places, CudaError *e);
#endif
