// call.h: running a plan's compiled code on arguments.
//
//   int64_t dims[…];
//   if (!fn_bind(plan->fn, params, dims, &fault)) …        // extents agree, `where` holds
//   switch (call_run(plan, entry, params, dims, results, NULL, 0, &fault)) …
//
// Nothing here locks, and nothing is allocated when the caller passes scratch memory and no check fails.
#ifndef PLAIT_RUNTIME_CALL_H
#define PLAIT_RUNTIME_CALL_H
#include "ir/interp.h"
#include "ir/kernel.h"

enum { CALL_SCRATCH_ALIGN = 64 };

// `plait_entry` of the compiled text (EmitOptions.jit). arg: Fn.params in order (scalars as pointers to their storage), then
// Fn.results; dim: by Dim.id; fault: two zeros, which become the number of the Site that failed and its value.
// Returns whether one failed.
typedef int CallEntry(void *const *arg, const long long *dim, void *scratch, long long *fault);

typedef enum CallStatus {
  CALL_OK,
  CALL_FAULT,         // *fault says what: a condition, before anything was written; or a check of data, on the way
  CALL_SCRATCH,       // the scratch memory passed is too small or not aligned
  CALL_MEMORY,        // scratch memory cannot be had, or its size overflows
  CALL_DEVICE,        // a GPU or its driver failed (cuda_launch.h)
} CallStatus;

// Bytes of scratch memory for these dimensions (by Dim.id of p->fn); 0: none is needed, -1: more than there can be.
int64_t call_scratch_bytes(const Plan *p, const int64_t *dims, const View *params);

// Whether the plan's conditions on dimensions and scalar arguments hold; else *fault.
bool call_conditions(const Plan *p, const View *params, const int64_t *dims, Fault *fault);

// scratch: call_scratch_bytes bytes, aligned to CALL_SCRATCH_ALIGN, or NULL to have them allocated for this call.
// params, results and dims must agree (fn_bind) and nothing written may overlap anything else.
CallStatus call_run(const Plan *p, CallEntry *entry, const View *params, const int64_t *dims, const View *results, void *scratch,
                    size_t scratch_bytes, Fault *fault);

// What a failed check says, in the words of the interpreter.
void call_fault(const Plan *p, const Site *s, int64_t value, const int64_t *dims, const View *params, Fault *out);
#endif
