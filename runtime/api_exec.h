// api_exec.h: a prepared entry, between building and checking (api_exec.c) and running (api_run.c).
#ifndef PLAIT_RUNTIME_API_EXEC_H
#define PLAIT_RUNTIME_API_EXEC_H
#include "runtime/api_internal.h"

enum { SCRATCH_ALIGN = 64 };

// The entry of compiled code (codegen/entry_c.c): arguments are params, then results; dims by Dim.id of the plan's function;
// fault[0]: number of the site that failed, 0: none; fault[1]: its value. Non-zero after a fault.
typedef int PlanEntry(void *const *arg, const long long *dim, void *scratch, long long *fault);

struct plait_exec {
  const plait_entry *entry;   // of a program that is kept
  Build build;                // "ref": only the arena
  bool is_ref;
  const char *text, *compiler;
  JitModule *module;
  PlanEntry *run;
  plait_dim *dims; size_t ndims;   // promised at prepare
  double build_ms;
};

void report_jit(plait_messages *m, const JitError *e);
// Bytes of scratch memory for bound arguments; -1 after a message.
int64_t scratch_bytes(const plait_exec *x, const Bound *b, plait_messages *m);
// Conditions that depend on no data, then the kernels. False after a message in m, or with *fault.
bool run_plan(const plait_exec *x, const Bound *b, const View *results, void *scratch, size_t bytes, plait_messages *m, Fault *fault);
#endif
