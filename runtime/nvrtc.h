// nvrtc.h: CUDA text to machine code by NVIDIA's run-time compiler, a library that is opened when it is first needed.
//
// The text includes nothing. NVRTC needs no driver and no GPU, so code for any architecture that it knows can be made
// anywhere.
#ifndef PLAIT_RUNTIME_NVRTC_H
#define PLAIT_RUNTIME_NVRTC_H
#include "runtime/cuda_driver.h"
#include "runtime/gpu_code.h"

typedef struct NvrtcProgram NvrtcProgram;       // nvrtcProgram is a pointer to it

typedef struct Nvrtc {
  int (*version)(int *major, int *minor);
  const char *(*error_text)(int r);
  int (*arch_count)(int *n);
  int (*archs)(int *arch);
  int (*create)(NvrtcProgram **p, const char *text, const char *name, int nheaders, const char *const *headers, const char *const *names);
  int (*destroy)(NvrtcProgram **p);
  int (*compile)(NvrtcProgram *p, int noptions, const char *const *options);
  int (*ptx_bytes)(NvrtcProgram *p, size_t *n);
  int (*ptx)(NvrtcProgram *p, char *out);
  int (*cubin_bytes)(NvrtcProgram *p, size_t *n);
  int (*cubin)(NvrtcProgram *p, char *out);
  int (*log_bytes)(NvrtcProgram *p, size_t *n);
  int (*log)(NvrtcProgram *p, char *out);
  const char *path;
  int number;                // 13000: of CUDA 13.0
  int narchs, *arch;         // 75, 80, … in rising order
} Nvrtc;

// Fills *n, with what is text in `a`; false and *e when there is none. `driver`: CudaDriver.number, which a library that is
// chosen should not be newer than (0: no matter); *places (or NULL): where it was looked for.
bool nvrtc_open(Arena *a, const SearchPaths *p, int driver, Nvrtc *n, SearchPlaces *places, CudaError *e);
bool nvrtc_has(const Nvrtc *n, int arch);
// The highest architecture that it has and that is not above `arch`; 0 when there is none.
int nvrtc_arch_below(const Nvrtc *n, int arch);

// Fills *out, which holds a log also after CUDA_TEXT. A cubin, or with r->ptx PTX, for r->arch, which it must have.
bool nvrtc_compile(const Nvrtc *n, const GpuRequest *r, GpuCode *out, CudaError *e);
#endif
