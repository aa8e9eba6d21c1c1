// launch.h: what a generator of GPU text gives to the runtime (ir/launch.h has the types), and what it is asked for.
#ifndef PLAIT_CODEGEN_LAUNCH_H
#define PLAIT_CODEGEN_LAUNCH_H
#include "codegen/target.h"
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
} CudaGenerator;
#endif
