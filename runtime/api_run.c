// api_run.c: running compiled code on arguments that were checked.
#include "runtime/api_exec.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

// Values of the plan's dimensions: its function is a copy of the entry's, with the same dimensions in the same order.
static long long *plan_dims(const plait_exec *x, const Bound *b, Arena *a) {
  const Fn *source = x->entry->fn, *f = x->build.plan->fn;
  int most = f->x->next_dim + 1;
  for (int i = 0; i < f->dims.n; i++)
    if (f->dims.v[i]->id >= most) most = f->dims.v[i]->id + 1;
  long long *dims = arena_array(a, long long, most);
  for (int i = 0; i < f->dims.n; i++) {
    int k = dim_index(source, f->dims.v[i]->name);
    if (k >= 0) dims[f->dims.v[i]->id] = b->dims[source->dims.v[k]->id];
  }
  return dims;
}

_Static_assert(sizeof(long long) == sizeof(int64_t), "dims are passed as they are");

static int64_t scratch_for(const plait_exec *x, const Bound *b, const long long *dims, plait_messages *m) {
  const Plan *p = x->build.plan;
  Scalar v = {0};
  if (!p->temps.n || !p->scratch_bytes) return 0;
  if (fn_eval_scalar(p->fn, p->scratch_bytes, (const int64_t *)dims, b->params, &v) && v.i >= 0) return v.i;
  diag_error(m->d, E_limit_extent, x->entry->fn->at, "the temporaries of `%s` are too large", x->entry->fn->name);
  return -1;
}

int64_t scratch_bytes(const plait_exec *x, const Bound *b, plait_messages *m) { return scratch_for(x, b, plan_dims(x, b, m->a), m); }

// ---- faults ----

static void put_range(Fault *f) {
  size_t n = strlen(f->text);
  snprintf(f->text + n, sizeof f->text - n, " is %" PRId64 "; allowed are 0 to %" PRId64, f->value, f->extent - 1);
}

// What a check that failed says: which subscript of which tensor, in whose equation, and what it may be.
static void make_fault(const plait_exec *x, const Site *s, int64_t value, const long long *dims, const Bound *b, Fault *out) {
  Scalar extent = {0};
  *out = (Fault){.code = s->code, .at = s->at, .equation = s->equation, .tensor = s->tensor, .axis = s->axis, .value = value};
  bool ranged = s->extent && fn_eval_scalar(x->build.plan->fn, s->extent, (const int64_t *)dims, b->params, &extent);
  out->extent = extent.i;
  if (s->tensor && s->axis >= 0) snprintf(out->text, sizeof out->text, "subscript %d of `%s`", s->axis + 1, s->tensor);
  else snprintf(out->text, sizeof out->text, "%s", code_info(s->code)->title);
  if (s->tensor && s->axis >= 0 && ranged) put_range(out);
  if (s->equation && strlen(out->text) + strlen(s->equation) + 24 < sizeof out->text) {
    size_t n = strlen(out->text);
    snprintf(out->text + n, sizeof out->text - n, ", in the equation of `%s`", s->equation);
  }
}

// ---- running ----

static bool check_conditions(const plait_exec *x, const Bound *b, const long long *dims, Fault *fault) {
  const Plan *p = x->build.plan;
  for (int i = 0; i < p->conds.n; i++) {
    Scalar v = {0};
    if (fn_eval_scalar(p->fn, p->conds.v[i].e, (const int64_t *)dims, b->params, &v) && v.i) continue;
    make_fault(x, p->cond_sites.v[i], 0, dims, b, fault);
    return false;
  }
  return true;
}

static bool call(const plait_exec *x, const Bound *b, const View *results, const long long *dims, void *scratch, Fault *fault) {
  const Plan *p = x->build.plan;
  void *arg[2 * MAX_ARGS];
  int n = 0;
  long long failed[2] = {0, 0};
  for (int i = 0; i < p->fn->params.n; i++) arg[n++] = b->params[i].data;
  for (int i = 0; i < p->fn->results.n; i++) arg[n++] = results[i].data;
  x->run(arg, dims, scratch, failed);
  if (!failed[0]) return true;
  make_fault(x, p->sites.v[failed[0] - 1], failed[1], dims, b, fault);
  return false;
}

bool run_plan(const plait_exec *x, const Bound *b, const View *results, void *scratch, size_t bytes, plait_messages *m, Fault *fault) {
  const long long *dims = plan_dims(x, b, m->a);
  int64_t need = scratch_for(x, b, dims, m);
  if (need < 0 || !check_conditions(x, b, dims, fault)) return false;
  if (scratch && (bytes < (size_t)need || (uintptr_t)scratch % SCRATCH_ALIGN))
    return diag_error(m->d, E_call_layout, NO_SPAN, "the scratch memory needs %" PRId64 " bytes, aligned to %d", need, SCRATCH_ALIGN), false;
  void *own = NULL;
  if (!scratch && need && posix_memalign(&own, SCRATCH_ALIGN, (size_t)need))
    return diag_error(m->d, E_no_memory, NO_SPAN, "%" PRId64 " bytes of scratch memory cannot be had", need), false;
  bool good = call(x, b, results, dims, scratch ? scratch : own, fault);
  free(own);
  return good;
}
