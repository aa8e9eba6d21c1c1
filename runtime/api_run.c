// api_run.c: running compiled code on arguments that were checked.
#include "runtime/api_exec.h"
#include <inttypes.h>

void report_jit(plait_messages *m, const JitError *e) {
  static const Code codes[] = {
    [JIT_NO_BACKEND] = E_no_compiler, [JIT_TEXT] = E_compiler_failed, [JIT_SYMBOL] = E_internal, [JIT_SYSTEM] = E_compiler_failed,
    [JIT_TIMEOUT] = E_compiler_failed, [JIT_INTERNAL] = E_compiler_failed,
  };
  static const char *const what[] = {
    [JIT_NO_BACKEND] = "no C compiler was found", [JIT_TEXT] = "the C compiler refused the generated text", [JIT_SYMBOL] = "the generated text calls what it must not",
    [JIT_SYSTEM] = "the C compiler could not be run", [JIT_TIMEOUT] = "the C compiler took too long", [JIT_INTERNAL] = "the C compiler failed",
  };
  if (e->fault <= JIT_OK || e->fault > JIT_INTERNAL) return;
  diag_error(m->d, codes[e->fault], NO_SPAN, "%s", what[e->fault]);
  if (e->text && *e->text) diag_note(m->d, "%s", e->text);
  if (e->fault == JIT_NO_BACKEND) diag_help(m->d, "`plait doctor` says what is missing; --target ref needs no compiler");
}

// Values of the plan's dimensions: its function is a copy of the entry's and may number them otherwise.
static int64_t *plan_dims(const plait_exec *x, const Bound *b, Arena *a) {
  const Fn *source = x->entry->fn, *f = x->build.plan->fn;
  int64_t *dims = dims_new(a, f);
  for (int i = 0; i < f->dims.n; i++) {
    int k = dim_index(source, f->dims.v[i]->name);
    if (k >= 0) dims[f->dims.v[i]->id] = b->dims[source->dims.v[k]->id];
  }
  return dims;
}

int64_t scratch_bytes(const plait_exec *x, const Bound *b, plait_messages *m) {
  int64_t n = call_scratch_bytes(x->build.plan, plan_dims(x, b, m->a), b->params);
  if (n < 0) diag_error(m->d, E_limit_extent, x->entry->fn->at, "the temporaries of `%s` are too large", x->entry->fn->name);
  return n;
}

bool run_plan(const plait_exec *x, const Bound *b, const View *results, void *scratch, size_t bytes, plait_messages *m, Fault *fault) {
  const int64_t *dims = plan_dims(x, b, m->a);
  switch (call_run(x->build.plan, x->run, b->params, dims, results, scratch, bytes, fault)) {
  case CALL_OK: return true;
  case CALL_FAULT: return false;
  case CALL_SCRATCH:
    diag_error(m->d, E_call_layout, NO_SPAN, "the scratch memory needs %" PRId64 " bytes, aligned to %d", scratch_bytes(x, b, m), CALL_SCRATCH_ALIGN);
    return false;
  case CALL_MEMORY: break;
  }
  int64_t need = scratch_bytes(x, b, m);
  if (need >= 0) diag_error(m->d, E_no_memory, NO_SPAN, "%" PRId64 " bytes of scratch memory cannot be had", need);
  return false;
}
