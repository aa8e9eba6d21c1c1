// launch.h: what a generator of GPU text gives to the runtime (ir/launch.h has the types), and what it is asked for.
#ifndef PLAIT_CODEGEN_LAUNCH_H
#define PLAIT_CODEGEN_LAUNCH_H
#include "codegen/emit.h"
#include "ir/launch.h"

typedef struct CudaGenerator {
  // The whole file for a plan, and its launches (in the plan's arena, as the dimensions below). False when it cannot be printed for these
  // dimensions: then `dims` says which of them need a value. A plan in which all dimensions that `dims` names are
  // numbers is always printed.
  // arch: 90 for sm_90. opt->jit: kernels alone; else also the host function that launches them.
  bool (*emit)(const Plan *p, const EmitOptions *opt, int arch, Buf *text, Launches *launches);
  // The dimensions whose values decide how kernels are made (row lengths), appended to *dims: the runtime builds the
  // plan anew for each set of values that it meets, a bounded number of times, then for none of them. NULL: none ever.
  void (*dims)(const Plan *p, LaunchDims *dims);
  // What a text may call of CUDA's mathematical library, as text for a compiler that has no such library; in `a`. NULL: nothing.
  const char *(*library)(Arena *a);
} CudaGenerator;

extern const CudaGenerator cuda_generator;      // launches.c

// What a GPU target has beside the text.
struct GpuText {
  int arch;             // 90
  Launches *launches;
};

const char *cuda_library(Arena *a);             // library_cuda.c
// Whether kernels of this file wait for the one before them, and may be launched so that they have to.
bool cu_dependent(const Emit *e);
// The host functions that launch them: the documented entry of a file for people (entry_cuda.c).
void cu_entry(Emit *e, Buf *header);
// Appends the launches of the plan, whose kernels have been printed.
void launches_of_plan(Emit *e, Launches *out);
#endif
