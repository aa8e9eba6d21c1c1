// api_exec.h: a prepared entry, between building and checking (api_exec.c) and running (api_run.c).
#ifndef PLAIT_RUNTIME_API_EXEC_H
#define PLAIT_RUNTIME_API_EXEC_H
#include "runtime/api_internal.h"
#include "runtime/call.h"

struct plait_exec {
  const plait_entry *entry;   // of a program that is kept
  Build build;                // "ref": only the arena
  bool is_ref;
  const char *text, *compiler;
  JitModule *module;
  CallEntry *run;
  plait_dim *dims; size_t ndims;   // promised at prepare
  double build_ms;
};

void report_jit(plait_messages *m, const JitError *e);
// Bytes of scratch memory for bound arguments; -1 after a message.
int64_t scratch_bytes(const plait_exec *x, const Bound *b, plait_messages *m);
// Conditions that depend on no data, then the kernels. False after a message in m, or with *fault.
bool run_plan(const plait_exec *x, const Bound *b, const View *results, void *scratch, size_t bytes, plait_messages *m, Fault *fault);
#endif
