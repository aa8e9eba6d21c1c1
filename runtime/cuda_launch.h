// cuda_launch.h: running a plan on a device: its launches, in order, on a stream of the caller's.
//
//   CudaPlan *c = cuda_plan_create(plan, &launches, module, &e);
//   cuda_plan_run(c, &call, &fault, &e)                      enqueues; then, any time later:
//   cuda_plan_faults(c, stream, &site, …)                    waits and asks what failed in the data
//
// Running takes no lock and, with scratch memory of the caller's, allocates nothing on the device; it may be captured into
// a CUDA graph. See Note [Fault records].
#ifndef PLAIT_RUNTIME_CUDA_LAUNCH_H
#define PLAIT_RUNTIME_CUDA_LAUNCH_H
#include "ir/launch.h"
#include "runtime/call.h"
#include "runtime/cuda.h"

typedef struct CudaPlan CudaPlan;

// Takes the module over, also on failure. The plan and the launches must outlive it. NULL and *e when the device cannot run a
// launch (threads, clusters), or without memory.
CudaPlan *cuda_plan_create(const CudaDevice *d, const Plan *p, const Launches *launches, CudaModule *m, CudaError *e);
void cuda_plan_free(CudaPlan *c);              // waits for the device

// What the i-th launch's kernel takes of a multiprocessor; NULL when i is out of range. Kernels launched twice stand there twice.
const GpuUse *cuda_plan_use(const CudaPlan *c, int i);

// One run. Addresses of tensors are those of device memory; scalar arguments lie in host memory and are read during the run.
typedef struct CudaRun {
  const View *params, *results;                // in the order of the plan's function
  const int64_t *dims;                         // by Dim.id
  void *scratch; size_t scratch_bytes;         // device memory, aligned to CALL_SCRATCH_ALIGN; NULL: allocated in the stream's order
  CuStream stream;
  bool wait;                                   // return when it is done, and report its own fault
  double *ms;                                  // NULL, or gets the time that the device took; waits too
  bool replay;                                 // the same arguments will come again: see cuda_graph.h; no use with wait or ms
} CudaRun;

// CALL_FAULT: *fault says what, a condition before anything ran, or with `wait` a check in the data. CALL_SCRATCH and
// CALL_MEMORY (its size overflows) as in call.h. CALL_DEVICE: *e says what; if some launch was made before, what is
// written is unspecified.
CallStatus cuda_plan_run(CudaPlan *c, const CudaRun *r, Fault *fault, CudaError *e);

// Waits for the stream, then reports the first fault of runs without `wait` since the last time, and forgets them all.
// CALL_OK, CALL_FAULT or CALL_DEVICE.
CallStatus cuda_plan_wait(CudaPlan *c, CuStream s, Fault *fault, CudaError *e);
#endif
