// api_exec.c: making an entry ready to run: passes, printing, compiling.
#include "runtime/api_exec.h"
#include "codegen/target.h"
#include "passes/pass.h"
#include <string.h>

static void report_jit(plait_messages *m, const JitError *e) {
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

// The plan's function is a copy of the entry's and may number the dimensions otherwise.
static void map_dims(plait_exec *x) {
  const Fn *source = x->entry->fn, *f = x->is_ref ? source : x->build.plan->fn;
  x->room = dims_room(f) > dims_room(source) ? dims_room(f) : dims_room(source);
  x->plan_dim = arena_array(x->build.a, int, x->room);
  for (int i = 0; i < source->dims.n; i++) {
    int k = dim_index(f, source->dims.v[i]->name);
    x->plan_dim[i] = k < 0 ? -1 : f->dims.v[k]->id;
  }
}

static bool build(plait_exec *x, const char *target, plait_build_options *o, plait_messages *m) {
  double since = now_ms();
  o->stop_after = NULL;
  x->is_ref = strcmp(target, "ref") == 0;
  keep_dims(x, o);
  bool good = x->is_ref || (build_run(x->entry, o, &x->build, m) && compile_plan(x, o, m));
  if (good) map_dims(x);
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
