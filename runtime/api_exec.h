// api_exec.h: a prepared entry, between building (api_exec.c) and running (api_launch.c).
#ifndef PLAIT_RUNTIME_API_EXEC_H
#define PLAIT_RUNTIME_API_EXEC_H
#include "runtime/api_internal.h"
#include "runtime/call.h"
#include "runtime/cuda_launch.h"

typedef enum ExecKind { EXEC_C, EXEC_CUDA, EXEC_REF } ExecKind;
typedef struct ExecCuda ExecCuda;       // api_variant.c

struct plait_exec {
  ExecKind kind;
  const plait_entry *entry;   // of a program that is kept
  Build build;                // "ref": only the arena
  const char *text, *compiler;   // "c"
  JitModule *module;
  CallEntry *run;
  ExecCuda *cuda;
  int room;                   // for a value per Dim.id, of the entry's function and the plan's
  int *plan_dim;              // see plan_dims
  plait_dim *dims; size_t ndims;   // promised at prepare
  double build_ms;
};

// Dim.id in a function of each dimension of the entry's function; -1 for those that have become numbers.
int *plan_dims(Arena *a, const Fn *source, const Fn *f);

// ---- "cuda": code for sets of dimensions (api_variant.c) ----

// A plan that was made for some values of the dimensions that its generator asks for, on the device.
typedef struct Variant {
  Build build;
  int64_t *value;             // of these dimensions; NULL: of all
  bool aligned;               // for tensors at multiples of EXEC_ALIGN bytes alone
  const char *dims;           // "D = 4096"; "" for all
  int *plan_dim;              // as above
  const char *text;
  char compiler[64];
  Launches launches;
  CudaPlan *run;
  GpuUse *use; int nuse;      // one a kernel
} Variant;

// Opens the device, runs the passes for it, asks the generator for its dimensions, and compiles where none are or all are known.
bool exec_cuda_open(plait_exec *x, const plait_build_options *o, plait_messages *m);
void exec_cuda_free(ExecCuda *c);
// The variant for these dimensions (by Dim.id of the entry's function), which lives as long as x. NULL after a message.
// Without a lock, but when it has to be compiled. aligned: all tensors begin at multiples of EXEC_ALIGN.
enum { EXEC_ALIGN = 16 };      // of the widest access
const Variant *exec_variant(const plait_exec *x, const int64_t *dims, bool aligned, Trouble *why);
// Variant i of those that there are, NULL when out of range.
const Variant *exec_variant_at(const ExecCuda *c, size_t i);
const CudaDevice *exec_device(const ExecCuda *c);
const char *exec_arch(const ExecCuda *c);        // "sm_90", that code is made for
double exec_cuda_ms(const ExecCuda *c);          // spent on variants after prepare
#endif
