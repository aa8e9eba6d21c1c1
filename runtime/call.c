// call.c: running a plan's compiled code on arguments.
#include "runtime/call.h"
#include "base/limits.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_DIMS = LIMIT_PARAMS * LIMIT_RANK };    // each stands in an extent of some parameter

int64_t call_scratch_bytes(const Plan *p, const int64_t *dims, const View *params) {
  Scalar v;
  if (!p->temps.n) return 0;
  return fn_eval_scalar(p->fn, p->scratch_bytes, dims, params, &v) && v.i >= 0 ? v.i : -1;
}

// ---- faults ------------------------------------------------------------------------------------

static void say_subscript(const Site *s, const Fault *f, bool known, Buf *b) {
  buf_printf(b, "subscript %d of `%s`", s->axis, s->tensor);
  if (s->code == E_call_bounds) buf_puts(b, " is out of range for these extents");
  else buf_printf(b, " is %" PRId64, f->value);
  if (!known || s->code == E_call_bounds) return;
  if (f->extent > 0) buf_printf(b, ", allowed 0..%" PRId64, f->extent - 1);
  else buf_puts(b, ", but it has no elements");
}

static void say(const Site *s, const Fault *f, bool known, Buf *b) {
  if (s->e) {
    expr_print(s->e, b);
    buf_puts(b, ": ");
  }
  if (s->tensor && s->axis >= 0) say_subscript(s, f, known, b);
  else if (s->code == E_data_range) buf_printf(b, "%" PRId64 " steps, at most %" PRId64 " are allowed", f->value, LIMIT_RANGE);
  else if (s->code == E_data_argmax_empty) buf_puts(b, "the range is empty");
  else buf_puts(b, code_info(s->code)->title);
  if (s->equation) buf_printf(b, " (in `%s`)", s->equation);
}

void call_fault(const Plan *p, const Site *s, int64_t value, const int64_t *dims, const View *params, Fault *out) {
  Scalar extent = {0};
  *out = (Fault){.code = s->code, .at = s->at, .equation = s->equation, .tensor = s->tensor, .axis = s->axis, .value = value};
  bool known = s->extent && fn_eval_scalar(p->fn, s->extent, dims, params, &extent);
  out->extent = extent.i;
  Arena *a = arena_create();
  Buf b = buf_make(a);
  say(s, out, known, &b);
  snprintf(out->text, sizeof out->text, "%s", b.s);
  arena_destroy(a);
}

// ---- running -----------------------------------------------------------------------------------

bool call_conditions(const Plan *p, const View *params, const int64_t *dims, Fault *fault) {
  for (int i = 0; i < p->conds.n; i++) {
    Scalar v;
    if (fn_eval_scalar(p->fn, p->conds.v[i].e, dims, params, &v) && v.u) continue;
    call_fault(p, p->cond_sites.v[i], 0, dims, params, fault);
    return false;
  }
  return true;
}

static bool run_kernels(const Plan *p, CallEntry *entry, const View *params, const int64_t *dims, const View *results, void *scratch,
                        Fault *fault) {
  void *arg[2 * LIMIT_PARAMS];
  long long dim[MAX_DIMS + 1], failed[2] = {0, 0};
  int n = 0;
  assert(p->fn->params.n <= LIMIT_PARAMS && p->fn->results.n <= LIMIT_PARAMS);
  for (int i = 0; i < p->fn->params.n; i++) arg[n++] = params[i].data;
  for (int i = 0; i < p->fn->results.n; i++) arg[n++] = results[i].data;
  for (int i = 0; i < p->fn->dims.n; i++) {
    int id = p->fn->dims.v[i]->id;
    assert(id <= MAX_DIMS);
    dim[id] = dims[id];
  }
  if (!entry(arg, dim, scratch, failed)) return true;
  call_fault(p, p->sites.v[failed[0] - 1], failed[1], dims, params, fault);
  return false;
}

CallStatus call_run(const Plan *p, CallEntry *entry, const View *params, const int64_t *dims, const View *results, void *scratch,
                    size_t scratch_bytes, Fault *fault) {
  if (!call_conditions(p, params, dims, fault)) return CALL_FAULT;
  int64_t need = call_scratch_bytes(p, dims, params);
  if (need < 0) return CALL_MEMORY;
  if (scratch && ((uint64_t)need > scratch_bytes || (uintptr_t)scratch % CALL_SCRATCH_ALIGN)) return CALL_SCRATCH;
  void *own = NULL;
  if (!scratch && need && posix_memalign(&own, CALL_SCRATCH_ALIGN, (size_t)need)) return CALL_MEMORY;
  bool good = run_kernels(p, entry, params, dims, results, scratch ? scratch : own, fault);
  free(own);
  return good ? CALL_OK : CALL_FAULT;
}
