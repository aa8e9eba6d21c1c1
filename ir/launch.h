// launch.h: how the kernels of a printed GPU file are started.
//
// Beside a file with `extern "C" __global__ void NAME(…)` a printer gives the list of launches that run the plan, in
// their order. What a launch needs is known from the dimensions and scalar arguments of a call, so everything here is
// an expression over those and is evaluated when the plan runs: one file and one list serve every size.
#ifndef PLAIT_IR_LAUNCH_H
#define PLAIT_IR_LAUNCH_H
#include "ir/kernel.h"

// One argument of a kernel; exactly one of the three is set.
typedef struct LaunchArg {
  const Dim *dim;               // its value, a long long
  const Tensor *t;              // a scalar argument by value, in its storage type; any other tensor (parameter, mut, result,
                                // temporary of the plan) as a pointer to device memory
  bool fault;                   // pointer to the fault record: two long long, zero before the first fault: the Site's id and its value
} LaunchArg;

typedef struct Launch {
  const char *function;         // NAME
  size_t from, to;              // where its kernel stands in a text of kernels alone: what is before the first one belongs to all
  int nargs; LaunchArg *arg;
  Expr *blocks;                 // i64; 0: this launch is left out
  int threads;                  // of a block: 1 to 1024
  Expr *shared_bytes;           // i64, dynamic shared memory of a block; NULL: none
  Expr *when;                   // bool: this launch is left out when it is false; NULL: always made
  int aligned;                  // n > 0: left out unless all its tensors' addresses are multiples of n; n < 0: left out if all are
                                // multiples of -n; 0: made for any (a caller's tensors are aligned to their elements)
  int cluster;                  // blocks of a cluster, a divisor of `blocks`; 0: no clusters
  bool cooperative;             // all blocks run at once: the kernel has grid-wide barriers
  bool dependent;               // programmatic dependent launch: may start while the launch before it ends; the kernel waits
                                // by itself (griddepcontrol.wait) before it reads what that one wrote
} Launch;

typedef VEC(Launch) Launches;
typedef VEC(const Dim *) LaunchDims;
#endif
