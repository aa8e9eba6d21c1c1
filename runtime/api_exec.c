// api_exec.c: making an entry ready to run: passes, printing, compiling.
#include "runtime/api_exec.h"
#include "base/json.h"
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

// A plan's function is a copy of the entry's and may number the dimensions otherwise.
int *plan_dims(Arena *a, const Fn *source, const Fn *f) {
  int *plan_dim = arena_array(a, int, source->dims.n);
  for (int i = 0; i < source->dims.n; i++) {
    int k = dim_index(f, source->dims.v[i]->name);
    plan_dim[i] = k < 0 ? -1 : f->dims.v[k]->id;
  }
  return plan_dim;
}

static void map_dims(plait_exec *x) {
  const Fn *source = x->entry->fn, *f = x->kind == EXEC_REF ? source : x->build.plan->fn;
  x->room = dims_room(f) > dims_room(source) ? dims_room(f) : dims_room(source);
  x->plan_dim = plan_dims(x->build.a, source, f);
}

static const char *const targets[] = {[EXEC_C] = "c", [EXEC_CUDA] = "cuda", [EXEC_REF] = "ref"};
enum { NTARGETS = sizeof targets / sizeof *targets };

static int target_index(const char *name) {
  for (int i = 0; i < NTARGETS; i++)
    if (strcmp(targets[i], name) == 0) return i;
  return -1;
}

static bool build(plait_exec *x, const char *target, plait_build_options *o, plait_messages *m) {
  double since = now_ms();
  o->stop_after = NULL;
  x->kind = target_index(target);
  keep_dims(x, o);
  bool good = x->kind != EXEC_C || build_run(x->entry, target, o, &x->build, m);
  if (good && x->kind == EXEC_C) good = compile_plan(x, o, m);
  if (good && x->kind == EXEC_CUDA) good = exec_cuda_open(x, o, m);
  if (good) map_dims(x);
  x->build_ms = now_ms() - since;
  return good;
}

static bool check_target(const char *target, plait_messages *m) {
  if (target_index(target) >= 0) return true;
  diag_error(m->d, E_bad_option, NO_SPAN, "there is no target `%s`", target);
  help_nearest(m->d, target, targets, NTARGETS, "the targets are c, cuda and ref");
  return false;
}

void plait_exec_free(plait_exec *x) {
  if (!x) return;
  plait_program *p = x->entry->program;
  if (x->module) jit_release(x->module);
  exec_cuda_free(x->cuda);
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

// ---- how it was made ----

static size_t count_variants(const ExecCuda *c) {
  size_t n = 0;
  while (exec_variant_at(c, n)) n++;
  return n;
}

static size_t count_functions(const ExecCuda *c) {
  size_t n = 0;
  for (size_t i = 0; i < count_variants(c); i++) n += (size_t)exec_variant_at(c, i)->nuse;
  return n;
}

static void info_cuda(const ExecCuda *c, plait_exec_info *v) {
  const Variant *first = exec_variant_at(c, 0);
  v->compiler = first ? first->compiler : NULL;
  v->text = first ? first->text : NULL;
  v->build_ms += exec_cuda_ms(c);
  v->device = exec_device(c)->name;
  v->arch = exec_arch(c);
  v->nvariants = count_variants(c);
  v->nfunctions = count_functions(c);
}

plait_status plait_exec_get(const plait_exec *x, plait_exec_info *out) {
  if (!x || !out) return PLAIT_ERROR_USAGE;
  plait_exec_info v = {
    .target = targets[x->kind], .compiler = x->compiler,
    .nkernels = x->kind == EXEC_REF ? 0 : (size_t)x->build.plan->kernels.n, .build_ms = x->build_ms, .text = x->text,
  };
  if (x->cuda) info_cuda(x->cuda, &v);
  give(out, &v);
  return PLAIT_OK;
}

plait_status plait_exec_function(const plait_exec *x, size_t i, plait_function *out) {
  if (!x || !out || !x->cuda) return PLAIT_ERROR_USAGE;
  for (size_t k = 0; exec_variant_at(x->cuda, k); k++) {
    const Variant *v = exec_variant_at(x->cuda, k);
    if (i >= (size_t)v->nuse) {
      i -= (size_t)v->nuse;
      continue;
    }
    const GpuUse *u = &v->use[i];
    plait_function f = {
      .name = u->name, .dims = v->dims, .registers = u->registers, .shared_bytes = u->shared_bytes, .stack_bytes = u->stack_bytes,
      .spill_store_bytes = u->spill_stores, .spill_load_bytes = u->spill_loads,
    };
    give(out, &f);
    return PLAIT_OK;
  }
  return PLAIT_ERROR_USAGE;
}

static void json_text(Json *j, const char *key, const char *text) {
  json_key(j, key);
  if (text) json_str(j, text);
  else json_null(j);
}

static void json_number(Json *j, const char *key, int64_t v) {
  json_key(j, key);
  json_int(j, v);
}

static void json_function(Json *j, const plait_function *f) {
  json_open(j, '{');
  json_text(j, "name", f->name);
  json_text(j, "dims", f->dims);
  json_number(j, "registers", f->registers);
  json_number(j, "shared_bytes", f->shared_bytes);
  json_number(j, "stack_bytes", f->stack_bytes);
  json_number(j, "spill_store_bytes", f->spill_store_bytes);
  json_number(j, "spill_load_bytes", f->spill_load_bytes);
  json_close(j, '}');
}

static void json_exec(Json *j, const plait_exec *x, const plait_exec_info *v) {
  json_open(j, '{');
  json_text(j, "target", v->target);
  json_text(j, "compiler", v->compiler);
  json_text(j, "device", v->device);
  json_text(j, "arch", v->arch);
  json_number(j, "kernels", (int64_t)v->nkernels);
  json_number(j, "variants", (int64_t)v->nvariants);
  json_key(j, "build_ms");
  json_num(j, v->build_ms);
  json_key(j, "functions");
  json_open(j, '[');
  plait_function f = {.struct_size = sizeof f};
  for (size_t i = 0; plait_exec_function(x, i, &f) == PLAIT_OK; i++) json_function(j, &f);
  json_close(j, ']');
  json_close(j, '}');
}

plait_status plait_exec_json(const plait_exec *x, char **text, size_t *size) {
  if (!x || !text) return PLAIT_ERROR_USAGE;
  Arena *a = arena_create();
  Buf b = buf_make(a);
  Json j = json_make(&b);
  plait_exec_info v = {.struct_size = sizeof v};
  plait_exec_get(x, &v);
  json_exec(&j, x, &v);
  buf_putc(&b, '\n');
  return text_deliver(a, &b, text, size);
}
