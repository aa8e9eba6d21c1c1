// api_cuda.c: devices in the public interface, and what the files about GPUs share.
#include "runtime/api_internal.h"
#include "ir/machine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The generator of CUDA text is named here, and nowhere else.
const CudaGenerator *cuda_generator_built_in(void) { return &cuda_generator; }

// ---- errors ------------------------------------------------------------------------------------------------------

bool report_cuda(Diags *d, CudaError *e) {
  static const Code codes[] = {
    [CUDA_FINE] = E_internal, [CUDA_NO_DRIVER] = E_no_cuda, [CUDA_OLD_DRIVER] = E_no_cuda, [CUDA_NO_DEVICE] = E_no_cuda,
    [CUDA_NO_COMPILER] = E_no_nvrtc, [CUDA_NO_ARCH] = E_no_nvrtc, [CUDA_TEXT] = E_cuda_failed, [CUDA_VERSIONS] = E_cuda_failed,
    [CUDA_DEVICE_MEMORY] = E_limit_device_memory, [CUDA_BEYOND] = E_limit_launch, [CUDA_CALL] = E_cuda_failed, [CUDA_HOST_MEMORY] = E_no_memory,
  };
  diag_error(d, codes[e->fault], NO_SPAN, "%s", e->text ? e->text : "out of memory");
  if (e->note && *e->note) diag_note(d, "%s", e->note);
  if (e->help) diag_help(d, "%s", e->help);
  cuda_error_clear(e);
  return false;
}

static plait_status give_error(CudaError *e, plait_messages **messages) {
  plait_messages *m = messages_new(NULL);
  report_cuda(m->d, e);
  return messages_give(m, messages);
}

// There is no description of an older GPU than the first, and what kernels are printed with needs that one.
static bool report_old_arch(int arch, Diags *d) {
  char known[256];
  int n = 0;
  for (int i = 0; machine_gpu(i) && n < (int)sizeof known; i++)
    n += snprintf(known + n, sizeof known - (size_t)n, "%ssm_%d", i ? ", " : "", machine_gpu(i)->arch);
  diag_error(d, E_bad_option, NO_SPAN, "kernels are not made for sm_%d, which is older than sm_%d", arch, machine_gpu(0)->arch);
  diag_help(d, "known are %s; those between and beyond are treated like the next older one", known);
  return false;
}

bool arch_of(const char *name, int otherwise, int *arch, char *feature, Diags *d) {
  *arch = otherwise;
  *feature = 0;
  if (name && !gpu_arch_parse(name, arch, feature)) {
    diag_error(d, E_bad_option, NO_SPAN, "there is no architecture `%s`", name);
    diag_help(d, "they are written sm_80, sm_90, sm_100");
    return false;
  }
  return *arch >= machine_gpu(0)->arch || report_old_arch(*arch, d);
}

// ---- text --------------------------------------------------------------------------------------------------------

const CudaGenerator *generator_of(const plait_entry *e, Diags *d) {
  const CudaGenerator *g = e->program->cx->generator;
  if (!g) diag_error(d, E_internal, NO_SPAN, "the generator of CUDA text is not built in");
  return g;
}

// Names of dimensions, and options that give them values, as examples.
static int list_dims(const CudaGenerator *g, const Plan *p, Buf *names, Buf *example) {
  LaunchDims dims = {0};
  if (g->dims) g->dims(p, &dims);
  for (int i = 0; i < dims.n; i++) {
    buf_printf(names, "%s`%s`", i ? ", " : "", dims.v[i]->name);
    buf_printf(example, " -D %s=%d", dims.v[i]->name, i ? 1024 : 4096);
  }
  return dims.n;
}

static void say_no_text(const plait_entry *e, const CudaGenerator *g, const Plan *p, int variants, Diags *d) {
  Buf names = buf_make(d->a), example = buf_make(d->a);
  const char *name = e->fn->name;
  if (!list_dims(g, p, &names, &example)) {
    diag_error(d, E_internal, e->fn->at, "`%s` cannot be printed as CUDA, and the generator does not say why", name);
  } else if (variants) {
    diag_error(d, E_limit_launch, e->fn->at, "kernels of `%s` are made for values of %s, and %d sets of them have been made", name, names.s, variants);
    diag_help(d, "prepare `%s` once more for further ones", name);
  } else {
    diag_error(d, E_call_shape, e->fn->at, "the CUDA text of `%s` is made for values of %s", name, names.s);
    diag_help(d, "for example%s", example.s);
  }
}

bool cuda_text(const plait_entry *e, const Plan *p, int arch, const EmitOptions *eo, int variants, Buf *text, Launches *launches, Diags *d) {
  const CudaGenerator *g = generator_of(e, d);
  if (!g) return false;
  pthread_mutex_lock(&e->program->lock);
  bool good = g->emit(p, eo, arch, text, launches);
  if (!good) say_no_text(e, g, p, variants, d);
  pthread_mutex_unlock(&e->program->lock);
  return good;
}

const char *cuda_functions(const plait_entry *e, Arena *a) {
  const CudaGenerator *g = e->program->cx->generator;
  return g && g->library ? g->library(a) : NULL;
}

// ---- devices -----------------------------------------------------------------------------------------------------

struct plait_device { plait_context *cx; const CudaDevice *d; char arch[16]; };

plait_status plait_device_count(plait_context *cx, int *count, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!cx || !count) return PLAIT_ERROR_USAGE;
  CudaError e = {0};
  int n = cuda_device_count(cx->cuda, &e);
  if (n < 0) return give_error(&e, messages);
  *count = n;
  return PLAIT_OK;
}

plait_status plait_device_open(plait_context *cx, int number, plait_device **out, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!cx || !out) return PLAIT_ERROR_USAGE;
  CudaError e = {0};
  const CudaDevice *d = cuda_device(cx->cuda, number, &e);
  if (!d) return give_error(&e, messages);
  plait_device *x = calloc(1, sizeof *x);
  if (!x) return PLAIT_ERROR_ENVIRONMENT;
  x->cx = context_keep(cx);
  x->d = d;
  snprintf(x->arch, sizeof x->arch, "sm_%d", d->arch);
  *out = x;
  return PLAIT_OK;
}

void plait_device_close(plait_device *d) {
  if (!d) return;
  plait_context_free(d->cx);
  free(d);
}

plait_status plait_device_get(const plait_device *d, plait_device_info *out) {
  if (!d || !out) return PLAIT_ERROR_USAGE;
  plait_device_info v = {
    .number = d->d->number, .name = d->d->name, .arch = d->arch, .multiprocessors = d->d->multiprocessors, .shared_bytes = d->d->shared_bytes,
    .driver = d->d->f->number, .memory_bytes = d->d->memory_bytes, .free_bytes = cuda_free_bytes(d->d),
  };
  give(out, &v);
  return PLAIT_OK;
}

// ---- their memory ------------------------------------------------------------------------------------------------

static CuPointer address(const void *p) { return (CuPointer)(uintptr_t)p; }

plait_status plait_device_alloc(plait_device *d, size_t bytes, void **out, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!d || !out) return PLAIT_ERROR_USAGE;
  CudaError e = {0};
  CuPointer p;
  if (!cuda_alloc(d->d, bytes, &p, &e)) return give_error(&e, messages);
  *out = (void *)(uintptr_t)p;
  return PLAIT_OK;
}

void plait_device_free(plait_device *d, void *memory) {
  if (d && memory) cuda_release(d->d, address(memory));
}

plait_status plait_device_upload(plait_device *d, void *to, const void *from, size_t bytes, void *stream, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!d || (bytes && (!to || !from))) return PLAIT_ERROR_USAGE;
  CudaError e = {0};
  return cuda_upload(d->d, stream, address(to), from, bytes, &e) ? PLAIT_OK : give_error(&e, messages);
}

plait_status plait_device_download(plait_device *d, void *to, const void *from, size_t bytes, void *stream, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!d || (bytes && (!to || !from))) return PLAIT_ERROR_USAGE;
  CudaError e = {0};
  return cuda_download(d->d, stream, to, address(from), bytes, &e) ? PLAIT_OK : give_error(&e, messages);
}

plait_status plait_device_wait(plait_device *d, void *stream, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!d) return PLAIT_ERROR_USAGE;
  CudaError e = {0};
  return cuda_wait(d->d, stream, &e) ? PLAIT_OK : give_error(&e, messages);
}
