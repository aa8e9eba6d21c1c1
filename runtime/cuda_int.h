// cuda_int.h: what the files behind cuda.h share.
#ifndef PLAIT_RUNTIME_CUDA_INT_H
#define PLAIT_RUNTIME_CUDA_INT_H
#include "runtime/cuda.h"
#include <pthread.h>

typedef struct CudaDevices { CudaDevice device; struct CudaDevices *next; } CudaDevices;

struct Cuda {
  const SearchPaths *paths;
  GpuCompiler compiler;
  pthread_mutex_t lock;      // of all below, each of which is set once
  Arena *driver_arena, *nvrtc_arena;
  CudaDriver loaded;
  const CudaDriver *driver;  // &loaded when it works
  Nvrtc nvrtc;
  bool has_nvrtc;
  CudaDevices *devices;
};
#endif
