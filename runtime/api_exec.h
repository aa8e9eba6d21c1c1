// api_exec.h: a prepared entry, between building (api_exec.c) and running (api_launch.c).
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
  int room;                   // for a value per Dim.id, of the entry's function and the plan's
  int *plan_dim;              // Dim.id in the plan of each dimension of the entry's function
  plait_dim *dims; size_t ndims;   // promised at prepare
  double build_ms;
};
#endif
