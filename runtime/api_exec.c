// api_exec.c: prepared entries: build, check the arguments of a launch, run.
//
// A launch is refused before anything is written; what can only be seen in data on the way comes back as a Fault.
#include "runtime/api_exec.h"
#include "base/limits.h"
#include "codegen/target.h"
#include "passes/pass.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// ---- building ----

static bool compile_plan(plait_exec *x, const plait_build_options *o, plait_messages *m) {
  plait_context *cx = x->entry->program->cx;
  EmitOptions eo = {.target = &target_c, .jit = true};
  Buf text = buf_make(x->build.a);
  double since = now_ms();
  pthread_mutex_lock(&x->entry->program->lock);
  emit_plan(x->build.plan, &eo, &text, NULL);
  pthread_mutex_unlock(&x->entry->program->lock);
  x->text = text.s;
  if (o->timing) o->timing(o->user, "emit", now_ms() - since);
  since = now_ms();
  JitError e = {0};
  x->module = jit_compile(cx->jit, text.s, text.n, &e);
  if (o->timing) o->timing(o->user, "compile", now_ms() - since);
  void *address = x->module ? jit_symbol(x->module, "plait_entry") : NULL;
  memcpy(&x->run, &address, sizeof x->run);      // ISO C has no cast from data to functions; POSIX has
  if (!x->module) report_jit(m, &e);
  else if (!x->run) diag_error(m->d, E_internal, NO_SPAN, "the compiled code has no entry");
  jit_error_clear(&e);
  x->compiler = compiler_name(cx, x->build.a);
  return x->run;
}

static void keep_dims(plait_exec *x, const plait_build_options *o) {
  x->ndims = o->ndims;
  x->dims = arena_array(x->build.a, plait_dim, o->ndims);
  for (size_t i = 0; i < o->ndims; i++)
    x->dims[i] = (plait_dim){x->entry->fn->dims.v[dim_index(x->entry->fn, o->dims[i].name)]->name, o->dims[i].value};
}

static bool build(plait_exec *x, const char *target, plait_build_options *o, plait_messages *m) {
  double since = now_ms();
  o->stop_after = NULL;
  x->is_ref = strcmp(target, "ref") == 0;
  keep_dims(x, o);
  bool good = x->is_ref || (build_run(x->entry, o, &x->build, m) && compile_plan(x, o, m));
  x->build_ms = now_ms() - since;
  return good;
}

static bool check_target(const char *target, plait_messages *m) {
  static const char *const targets[] = {"c", "ref"};
  if (strcmp(target, "c") == 0 || strcmp(target, "ref") == 0) return true;
  diag_error(m->d, E_bad_option, NO_SPAN, "there is no target `%s`", target);
  help_nearest(m->d, target, targets, 2, "the targets are c and ref");
  return false;
}

void plait_exec_free(plait_exec *x) {
  if (!x) return;
  plait_program *p = x->entry->program;
  if (x->module) jit_release(x->module);
  arena_destroy(x->build.a);
  plait_program_free(p);
}

plait_status plait_prepare(const plait_entry *e, const char *target, const plait_build_options *options, plait_exec **out,
                           plait_messages **messages) {
  if (messages) *messages = NULL;
  plait_build_options o;
  options_copy(&o, sizeof o, options);
  if (!e || !target || !out || (o.ndims && !o.dims)) return PLAIT_ERROR_USAGE;
  plait_messages *m = messages_new(e->program);
  if (!check_target(target, m) || !build_check(e, &o, m)) return messages_give_as(m, PLAIT_ERROR_USAGE, messages);
  Arena *a = arena_create();
  plait_exec *x = arena_new(a, plait_exec);
  x->build.a = a;
  x->entry = e;
  program_keep(e->program);
  build(x, target, &o, m);
  plait_status s = messages_give(m, messages);
  if (s) plait_exec_free(x);
  else *out = x;
  return s;
}

plait_status plait_exec_get(const plait_exec *x, plait_exec_info *out) {
  if (!x || !out) return PLAIT_ERROR_USAGE;
  plait_exec_info v = {
    .target = x->is_ref ? "ref" : "c", .compiler = x->compiler,
    .nkernels = x->is_ref ? 0 : (size_t)x->build.plan->kernels.n, .build_ms = x->build_ms, .text = x->text,
  };
  give(out, &v);
  return PLAIT_OK;
}

// ---- checking arguments ----

typedef struct Call {
  const plait_exec *x;
  const plait_tensor *params, *results;
  plait_messages *m;
  Bound *b;
  View result[MAX_ARGS];
} Call;

static const Fn *call_fn(const Call *c) { return c->x->entry->fn; }

static bool is_dense(const plait_tensor *t) {
  int64_t step = 1;
  for (int i = t->rank; t->stride && i-- > 0;) {
    if (t->extent[i] != 1 && t->stride[i] != step) return false;
    step *= t->extent[i];
  }
  return true;
}

static bool check_type(const Call *c, const Tensor *t, const plait_tensor *given) {
  Diags *d = c->m->d;
  const char *want = t->fmt ? t->fmt->name : dtypes[t->dtype].name, *have = plait_dtype_name(given->dtype);
  if (given->dtype != dtype_public(t))
    diag_error(d, E_call_dtype, t->at, "`%s` is %s, the argument %s", t->name, want, have ? have : "of no known type");
  else if (t->fmt && given->format && strcmp(given->format, t->fmt->name) != 0)
    diag_error(d, E_call_dtype, t->at, "`%s` is in format %s, the argument in %s", t->name, want, given->format);
  else if (given->rank != t->rank)
    diag_error(d, E_call_rank, t->at, "`%s` has %d dimension%s, the argument %d", t->name, t->rank, t->rank == 1 ? "" : "s", given->rank);
  else return true;
  return false;
}

// Extents that the type can have, dense, memory large enough and aligned.
static bool check_memory(const Call *c, const Tensor *t, const plait_tensor *given) {
  Diags *d = c->m->d;
  int64_t bytes = tensor_bytes(t, given->extent);
  size_t align = t->fmt ? 1 : (size_t)(dtypes[t->dtype].bits + 7) / 8;
  if (bytes < 0) report_extents(t, given->extent, d);
  else if (!is_dense(given)) diag_error(d, E_call_layout, t->at, "`%s` is not dense in row-major order", t->name);
  else if (bytes && !given->data) diag_error(d, E_call_layout, t->at, "`%s` has no memory: its pointer is null", t->name);
  else if ((uint64_t)bytes > given->bytes)
    diag_error(d, E_call_layout, t->at, "`%s` needs %" PRId64 " bytes, its memory has %zu", t->name, bytes, given->bytes);
  else if (bytes && (uintptr_t)given->data % align)
    diag_error(d, E_call_layout, t->at, "`%s` is not aligned to its elements of %zu bytes", t->name, align);
  else return true;
  return false;
}

static bool check_tensor(const Call *c, const Tensor *t, const plait_tensor *given, View *out) {
  if (!check_type(c, t, given) || !check_memory(c, t, given)) return false;
  *out = (View){.data = given->data, .rank = t->rank};
  memcpy(out->extent, given->extent, sizeof out->extent);
  return true;
}

// A scalar may be left to its default.
static bool check_scalar(const Call *c, const Tensor *t, const plait_tensor *given) {
  return !given->data || (check_type(c, t, given) && check_memory(c, t, given));
}

static bool check_params(Call *c) {
  const Fn *f = call_fn(c);
  bool good = true;
  for (int i = 0; i < f->params.n; i++) {
    const Tensor *t = f->params.v[i];
    bool scalar = c->x->entry->param[i].kind == PLAIT_SCALAR;
    good &= scalar ? check_scalar(c, t, &c->params[i]) : check_tensor(c, t, &c->params[i], &c->b->params[i]);
  }
  return good && bound_scalars(c->x->entry, c->params, c->b, c->m->d);
}

static bool check_dims(const Call *c) {
  for (size_t i = 0; i < c->x->ndims; i++) {
    const Dim *d = call_fn(c)->dims.v[dim_index(call_fn(c), c->x->dims[i].name)];
    if (c->b->dims[d->id] == c->x->dims[i].value) continue;
    diag_error(c->m->d, E_call_shape, d->at, "`%s` is %" PRId64 ", but this was prepared for %" PRId64, d->name, c->b->dims[d->id], c->x->dims[i].value);
    return false;
  }
  return true;
}

static bool check_result(Call *c, int i) {
  const Tensor *t = call_fn(c)->results.v[i];
  const plait_tensor *given = &c->results[i];
  int64_t extent[LIMIT_RANK];
  if (!tensor_extents(call_fn(c), t, c->b->dims, c->b->params, extent, c->m->d)) return false;
  if (!check_tensor(c, t, given, &c->result[i])) return false;
  for (int k = 0; k < t->rank; k++)
    if (given->extent[k] != extent[k]) {
      diag_error(c->m->d, E_call_shape, t->at, "extent %d of `%s` is %" PRId64 " here, the memory given has %" PRId64, k, t->name, extent[k], given->extent[k]);
      return false;
    }
  return true;
}

// ---- overlap ----

typedef struct Piece { const Tensor *t; uintptr_t lo, hi; bool written; } Piece;

static Piece piece_of(const Tensor *t, const View *v, bool written) {
  uintptr_t lo = (uintptr_t)v->data;
  return (Piece){t, lo, lo + (uintptr_t)tensor_bytes(t, v->extent), written};
}

static bool overlaps(const Piece *a, const Piece *b) { return (a->written || b->written) && a->lo < b->hi && b->lo < a->hi; }

static bool check_overlap(const Call *c) {
  const Fn *f = call_fn(c);
  Piece piece[2 * MAX_ARGS];
  int n = 0;
  for (int i = 0; i < f->params.n; i++)
    if (c->x->entry->param[i].kind != PLAIT_SCALAR) piece[n++] = piece_of(f->params.v[i], &c->b->params[i], f->params.v[i]->role == ROLE_MUT);
  for (int i = 0; i < f->results.n; i++) piece[n++] = piece_of(f->results.v[i], &c->result[i], true);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < i; k++)
      if (overlaps(&piece[i], &piece[k])) {
        diag_error(c->m->d, E_call_overlap, piece[i].t->at, "`%s` and `%s` share memory, and one of them is written", piece[k].t->name, piece[i].t->name);
        return false;
      }
  return true;
}

static bool check_count(const Call *c, size_t nparams, size_t nresults) {
  const Fn *f = call_fn(c);
  if (nparams == (size_t)f->params.n && nresults == (size_t)f->results.n) return true;
  diag_error(c->m->d, E_call_arguments, f->at, "`%s` has %d parameter%s and %d result%s, the call %zu and %zu", f->name, f->params.n, f->params.n == 1 ? "" : "s",
             f->results.n, f->results.n == 1 ? "" : "s", nparams, nresults);
  return false;
}

static bool bind(Call *c, Fault *fault) {
  c->b->dims = dims_new(c->m->a, call_fn(c));
  if (!check_params(c)) return false;
  if (!fn_bind(call_fn(c), c->b->params, c->b->dims, fault)) return diag_error(c->m->d, fault->code, fault->at, "%s", fault->text), false;
  return check_dims(c);
}

static bool check_call(Call *c, Fault *fault) {
  if (!bind(c, fault)) return false;
  bool good = true;
  for (int i = 0; i < call_fn(c)->results.n; i++) good &= check_result(c, i);
  return good && check_overlap(c);
}

// ---- running ----

static bool interpret(const Call *c, Fault *fault) {
  plait_program *p = c->x->entry->program;
  pthread_mutex_lock(&p->lock);
  bool good = fn_interpret(call_fn(c), c->b->params, c->result, NULL, fault);
  pthread_mutex_unlock(&p->lock);
  return good;
}

static bool run(Call *c, const plait_launch_options *o, Fault *fault) {
  if (c->x->is_ref) return interpret(c, fault);
  return run_plan(c->x, c->b, c->result, o->scratch, o->scratch_bytes, c->m, fault);
}

plait_status plait_launch(const plait_exec *x, const plait_tensor *params, size_t nparams, const plait_tensor *results, size_t nresults,
                          const plait_launch_options *options, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!x || (!params && nparams) || (!results && nresults)) return PLAIT_ERROR_USAGE;
  plait_launch_options o;
  options_copy(&o, sizeof o, options);
  plait_messages *m = messages_new(x->entry->program);
  Call *c = arena_new(m->a, Call);
  Fault fault = {0};
  *c = (Call){.x = x, .params = params, .results = results, .m = m, .b = arena_new(m->a, Bound)};
  if (!check_count(c, nparams, nresults)) return messages_give_as(m, PLAIT_ERROR_USAGE, messages);
  if (!check_call(c, &fault)) return messages_give(m, messages);
  if (run(c, &o, &fault)) return messages_give(m, messages);
  return m->d->errors ? messages_give(m, messages) : messages_fault(m, &fault, messages);
}

plait_status plait_exec_scratch(const plait_exec *x, const plait_tensor *params, size_t nparams, size_t *bytes, size_t *alignment,
                                plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!x || (!params && nparams) || !bytes) return PLAIT_ERROR_USAGE;
  plait_messages *m = messages_new(x->entry->program);
  Fault fault;
  Call *c = arena_new(m->a, Call);
  *c = (Call){.x = x, .params = params, .m = m, .b = arena_new(m->a, Bound)};
  int64_t n = 0;
  if (!check_count(c, nparams, (size_t)call_fn(c)->results.n)) return messages_give_as(m, PLAIT_ERROR_USAGE, messages);
  if (bind(c, &fault) && !x->is_ref) n = scratch_bytes(x, c->b, m);
  plait_status s = messages_give(m, messages);
  if (s) return s;
  *bytes = (size_t)n;
  if (alignment) *alignment = CALL_SCRATCH_ALIGN;
  return PLAIT_OK;
}
