// gpu.h: running a program on a GPU, or on what looks like one (tests/cuda_emu), for the harness.
#ifndef PLAIT_TESTS_DIFF_GPU_H
#define PLAIT_TESTS_DIFF_GPU_H
#include "ir/interp.h"
#include <stdbool.h>

typedef struct Gpu_runner Gpu_runner;

// The device `number`, by the environment's libraries (PLAIT_CUDA_DRIVER, PLAIT_NVRTC). NULL after printing why.
Gpu_runner *gpu_open(int number);
void gpu_close_runner(Gpu_runner *g);

typedef enum GpuVerdict { GPU_RAN, GPU_FAULTED, GPU_FAILED } GpuVerdict;      // FAULTED: an error in data; FAILED: an error of ours

typedef struct GpuProgram {
  const char *name, *text, *entry;
  Fn *fn;                   // the same, elaborated
  bool no_fuse;
  bool general;             // code for all sizes, instead of that for the sizes at hand
  bool unaligned;           // tensors begin one element behind a multiple of 16 bytes
} GpuProgram;

// Runs it once. `mut` parameters and results are written in place. why: what failed.
GpuVerdict gpu_run(Gpu_runner *g, const GpuProgram *p, View *params, View *results, int64_t *dims, char *why, size_t n);
#endif
