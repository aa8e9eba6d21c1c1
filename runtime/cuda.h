// cuda.h: the GPUs of this machine and the compilers for them, as one context of the library uses them.
//
// Everything is found, loaded and opened when it is first needed, under a lock; what cannot be had is looked for again by
// the next call. A device is used through its primary context, which is kept until cuda_free: memory of the caller's own
// CUDA code and of other libraries works here. Which context is current on a thread is the same after every call as before.
#ifndef PLAIT_RUNTIME_CUDA_H
#define PLAIT_RUNTIME_CUDA_H
#include "runtime/cuda_driver.h"
#include "runtime/gpu_code.h"
#include "runtime/nvrtc.h"

typedef struct Cuda Cuda;
typedef enum GpuCompiler { GPU_AUTO, GPU_NVRTC, GPU_CLANG } GpuCompiler;      // AUTO: NVRTC, else Clang in the process

typedef struct CudaDevice {
  const CudaDriver *f;
  int number;
  CuDevice handle;
  CuContext context;
  char name[128];
  int arch;                  // 90
  int multiprocessors;
  size_t memory_bytes;
  int shared_bytes;          // that a block can have at most
  bool pools;                // memory can be allocated in the order of a stream
  bool clusters, cooperative;
  bool dependent;            // programmatic dependent launches, also in captured graphs
  bool reads_host;           // kernels can read any memory of the host
} CudaDevice;

// The strings of p must outlive it. NULL without memory.
Cuda *cuda_create(const SearchPaths *p, GpuCompiler c);
void cuda_free(Cuda *c);                                             // nothing that came of it may be in use

// NULL and *e when there is no driver that works.
const CudaDriver *cuda_driver(Cuda *c, CudaError *e);
// Devices; -1 and *e without a driver.
int cuda_device_count(Cuda *c, CudaError *e);
// What a device is, without opening it: its context stays NULL.
bool cuda_look(const CudaDriver *f, int number, CudaDevice *out, CudaError *e);
// The same object for the same number, valid until cuda_free.
const CudaDevice *cuda_device(Cuda *c, int number, CudaError *e);

// What `plait doctor` says about GPUs: the driver, its devices, NVRTC, and what compiles for them (cuda_report.c).
SearchItem *cuda_report(Arena *a, Cuda *c, int *n);

// ---- compiling (cuda_compile.c) ----

// The compilers there are for GPU code; NULL where one is not to be used or not to be had.
typedef struct CudaCompilers { const Nvrtc *nvrtc; const ClangTable *clang; } CudaCompilers;
// Opens them; false and *e when there is none. Clang is opened only when NVRTC is not to be used. driver: CudaDriver.number, 0 when the code is not for a driver of this machine.
bool cuda_compilers(Cuda *c, int driver, CudaCompilers *out, CudaError *e);

// Code that device architecture r->arch runs: a cubin where NVRTC knows it, else PTX for the highest one below, which the
// driver translates. `compiler` gets "NVRTC 13.0" or "clang 19.1.7 in process".
bool cuda_compile_for_device(Cuda *c, const CudaDevice *d, const GpuRequest *r, GpuCode *out, char compiler[64], CudaError *e);
// Code for exactly r->arch, of the kind that r->ptx says; no device is needed.
bool cuda_compile_exactly(Cuda *c, const GpuRequest *r, GpuCode *out, char compiler[64], CudaError *e);

// ---- a device (cuda_device.c) ----

// Makes the device's context current; leave puts the one before back. Everything below does so by itself.
typedef struct CudaScope { const CudaDriver *f; bool pushed; } CudaScope;
bool cuda_enter(const CudaDevice *d, CudaScope *s, CudaError *e);
void cuda_leave(const CudaScope *s);

bool cuda_alloc(const CudaDevice *d, size_t bytes, CuPointer *out, CudaError *e);           // 0 bytes: the pointer 0
void cuda_release(const CudaDevice *d, CuPointer p);
// Memory for work of a stream: cheap, without waiting and allowed while a stream is captured, if d->pools.
bool cuda_alloc_on(const CudaDevice *d, CuStream s, size_t bytes, CuPointer *out, CudaError *e);
void cuda_release_on(const CudaDevice *d, CuStream s, CuPointer p);                          // what cuda_alloc_on gave
size_t cuda_free_bytes(const CudaDevice *d);
bool cuda_clear(const CudaDevice *d, CuStream s, CuPointer p, size_t bytes, CudaError *e);
// Return when the bytes have been copied.
bool cuda_upload(const CudaDevice *d, CuStream s, CuPointer to, const void *from, size_t bytes, CudaError *e);
bool cuda_download(const CudaDevice *d, CuStream s, void *to, CuPointer from, size_t bytes, CudaError *e);
// Waits for all that the stream was given.
bool cuda_wait(const CudaDevice *d, CuStream s, CudaError *e);
// False for an address that kernels cannot use: CUDA has neither allocated it nor been told of it.
bool cuda_knows(const CudaDevice *d, const void *p);

// ---- a module: code on a device ----

typedef struct CudaModule CudaModule;
// Loads code. NULL and *e, which is CUDA_VERSIONS when the driver is too old for it: `compiler` is then named.
CudaModule *cuda_load(const CudaDevice *d, const GpuCode *code, const char *compiler, CudaError *e);
void cuda_unload(CudaModule *m);                                     // waits for the device: kernels of it may be running

// A kernel of it; what it takes, without what only the compiler's log tells; and the most threads and bytes of dynamic
// shared memory that a block of it can have.
typedef struct CudaKernel { CuFunction f; int most_threads, most_shared; GpuUse use; } CudaKernel;
// dynamic: it may use all the shared memory of a block; cluster: blocks of a cluster that it is launched with.
bool cuda_kernel(const CudaModule *m, const char *name, bool dynamic, int cluster, CudaKernel *out, CudaError *e);
#endif
