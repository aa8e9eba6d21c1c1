// cuda_device.c: memory, streams and modules of a device. See cuda.h.
#include "runtime/cuda.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// ---- the current context -----------------------------------------------------------------------------------------

bool cuda_enter(const CudaDevice *d, CudaScope *s, CudaError *e) {
  CuContext now = NULL;
  *s = (CudaScope){d->f, false};
  if (d->f->context_current(&now) == CU_OK && now == d->context) return true;
  s->pushed = cuda_check(d->f, d->f->context_push(d->context), e, "cuCtxPushCurrent");
  return s->pushed;
}

void cuda_leave(const CudaScope *s) {
  CuContext ours;
  if (s->pushed) s->f->context_pop(&ours);
}

// Calls that CUDA forbids while any stream of the process is captured in its strict mode, such as allocating, do no harm to
// the captures of others in relaxed mode. Gives the mode before.
static int relax(const CudaDevice *d) {
  int mode = CU_CAPTURE_RELAXED;
  if (d->f->capture_mode) d->f->capture_mode(&mode);
  return mode;
}

static void restore(const CudaDevice *d, int mode) {
  if (d->f->capture_mode) d->f->capture_mode(&mode);
}

// ---- memory ------------------------------------------------------------------------------------------------------

static size_t free_now(const CudaDevice *d) {
  size_t left = 0, all = 0;
  return d->f->memory_info(&left, &all) ? 0 : left;
}

size_t cuda_free_bytes(const CudaDevice *d) {
  CudaScope s;
  if (!cuda_enter(d, &s, NULL)) return 0;
  size_t n = free_now(d);
  cuda_leave(&s);
  return n;
}

static bool allocated(const CudaDevice *d, CuResult r, size_t bytes, CudaError *e) {
  if (r != CU_OUT_OF_MEMORY) return cuda_check(d->f, r, e, "allocating %zu bytes on device %d", bytes, d->number);
  cuda_fail(e, CUDA_DEVICE_MEMORY, "%zu bytes of device memory cannot be had: %zu of %zu bytes are free on device %d, %s", bytes, free_now(d),
            d->memory_bytes, d->number, d->name);
  if (e) e->code = r;
  return false;
}

bool cuda_alloc(const CudaDevice *d, size_t bytes, CuPointer *out, CudaError *e) {
  CudaScope s;
  *out = 0;
  if (!bytes) return true;
  if (!cuda_enter(d, &s, e)) return false;
  int mode = relax(d);
  bool good = allocated(d, d->f->memory_alloc(out, bytes), bytes, e);
  restore(d, mode);
  cuda_leave(&s);
  return good;
}

void cuda_release(const CudaDevice *d, CuPointer p) {
  CudaScope s;
  if (!p || !cuda_enter(d, &s, NULL)) return;
  int mode = relax(d);
  d->f->memory_free(p);
  restore(d, mode);
  cuda_leave(&s);
}

bool cuda_alloc_on(const CudaDevice *d, CuStream stream, size_t bytes, CuPointer *out, CudaError *e) {
  CudaScope s;
  *out = 0;
  if (!d->pools || !bytes) return cuda_alloc(d, bytes, out, e);
  if (!cuda_enter(d, &s, e)) return false;
  bool good = allocated(d, d->f->memory_alloc_async(out, bytes, stream), bytes, e);
  cuda_leave(&s);
  return good;
}

void cuda_release_on(const CudaDevice *d, CuStream stream, CuPointer p) {
  CudaScope s;
  if (!p) return;
  if (!d->pools) {
    cuda_wait(d, stream, NULL);
    cuda_release(d, p);
  } else if (cuda_enter(d, &s, NULL)) {
    d->f->memory_free_async(p, stream);
    cuda_leave(&s);
  }
}

bool cuda_clear(const CudaDevice *d, CuStream stream, CuPointer p, size_t bytes, CudaError *e) {
  CudaScope s;
  if (!bytes) return true;
  if (!cuda_enter(d, &s, e)) return false;
  bool good = cuda_check(d->f, d->f->memory_clear(p, 0, bytes, stream), e, "cuMemsetD8Async of %zu bytes", bytes);
  cuda_leave(&s);
  return good;
}

bool cuda_upload(const CudaDevice *d, CuStream stream, CuPointer to, const void *from, size_t bytes, CudaError *e) {
  CudaScope s;
  if (!bytes) return true;
  if (!cuda_enter(d, &s, e)) return false;
  bool good = cuda_check(d->f, d->f->memory_upload(to, from, bytes, stream), e, "copying %zu bytes to device %d", bytes, d->number) &&
              cuda_check(d->f, d->f->stream_wait(stream), e, "waiting for a copy to device %d", d->number);
  cuda_leave(&s);
  return good;
}

bool cuda_download(const CudaDevice *d, CuStream stream, void *to, CuPointer from, size_t bytes, CudaError *e) {
  CudaScope s;
  if (!bytes) return true;
  if (!cuda_enter(d, &s, e)) return false;
  bool good = cuda_check(d->f, d->f->memory_download(to, from, bytes, stream), e, "copying %zu bytes from device %d", bytes, d->number) &&
              cuda_check(d->f, d->f->stream_wait(stream), e, "waiting for a copy from device %d", d->number);
  cuda_leave(&s);
  return good;
}

bool cuda_wait(const CudaDevice *d, CuStream stream, CudaError *e) {
  CudaScope s;
  if (!cuda_enter(d, &s, e)) return false;
  bool good = cuda_check(d->f, d->f->stream_wait(stream), e, "waiting for the kernels on device %d", d->number);
  cuda_leave(&s);
  return good;
}

bool cuda_knows(const CudaDevice *d, const void *p) {
  CudaScope s;
  unsigned type = 0;
  if (d->reads_host || !cuda_enter(d, &s, NULL)) return true;
  CuResult r = d->f->pointer_attribute(&type, CU_POINTER_MEMORY_TYPE, (CuPointer)(uintptr_t)p);
  cuda_leave(&s);
  return r != CU_INVALID_VALUE;
}

// ---- modules -----------------------------------------------------------------------------------------------------

struct CudaModule {
  const CudaDevice *d;
  CuModule module;
  GpuUse *use; int nuse;        // its kernels, as far as the compiler's log tells; 0: it does not
  CudaModule *next;             // with further kernels
};

static bool with_kernels(CudaModule *m, const GpuCode *code) {
  if (!code->nuse) return true;
  if (!(m->use = calloc((size_t)code->nuse, sizeof *m->use))) return false;
  memcpy(m->use, code->use, (size_t)code->nuse * sizeof *m->use);
  m->nuse = code->nuse;
  return true;
}

static void module_free(CudaModule *m) {
  free(m->use);
  free(m);
}

// May the kernel be in it? The driver counts it as an error to look for one that is not.
static bool may_have(const CudaModule *m, const char *name) {
  for (int i = 0; i < m->nuse; i++) if (strncmp(m->use[i].name, name, sizeof m->use[i].name - 1) == 0) return true;
  return !m->nuse;
}

static bool is_of_version(CuResult r) {
  return r == CU_INVALID_IMAGE || r == CU_NO_BINARY || r == CU_INVALID_PTX || r == CU_UNSUPPORTED_PTX || r == CU_NO_JIT;
}

static bool loaded(const CudaDevice *d, CuResult r, const GpuCode *code, const char *compiler, const char *log, CudaError *e) {
  char version[16];
  if (r == CU_OK) return true;
  if (!is_of_version(r)) return cuda_check(d->f, r, e, "loading a module on device %d", d->number);
  CudaError why = {0};
  cuda_check(d->f, r, &why, "loading it");
  cuda_version_text(d->f->number, version);
  cuda_fail(e, CUDA_VERSIONS, "the driver, of CUDA %s, cannot load what %s made for sm_%d on device %d, sm_%d: %s", version, compiler, code->arch,
            d->number, d->arch, why.text ? why.text : "it does not say why");
  cuda_help(e, "install an NVIDIA driver that is as new as the compiler, or use an NVRTC of CUDA %s or before (PLAIT_NVRTC names its file)", version);
  cuda_note(e, log, strlen(log));
  cuda_error_clear(&why);
  return false;
}

// PTX is translated by the driver, which writes what it has against it into `log`.
static CuResult load(const CudaDevice *d, const GpuCode *code, char *log, size_t room, CuModule *out) {
  int option[] = {CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BYTES};
  void *value[] = {log, (void *)(uintptr_t)room};
  return d->f->module_load(out, code->bytes, code->ptx ? 2 : 0, option, value);
}

static CudaModule *load_one(const CudaDevice *d, const GpuCode *code, const char *compiler, CudaError *e) {
  CudaScope s;
  char log[2048] = "";
  CudaModule *m = calloc(1, sizeof *m);
  if (!m) return cuda_fail(e, CUDA_HOST_MEMORY, "out of memory"), NULL;
  m->d = d;
  if (!with_kernels(m, code)) return module_free(m), cuda_fail(e, CUDA_HOST_MEMORY, "out of memory"), NULL;
  if (!cuda_enter(d, &s, e)) return module_free(m), NULL;
  int mode = relax(d);
  bool good = loaded(d, load(d, code, log, sizeof log, &m->module), code, compiler, log, e);
  restore(d, mode);
  cuda_leave(&s);
  if (good) return m;
  module_free(m);
  return NULL;
}

CudaModule *cuda_load(const CudaDevice *d, const GpuCode *code, const char *compiler, CudaError *e) {
  CudaModule *first = NULL, **last = &first;
  for (; code; code = code->next) {
    if (!(*last = load_one(d, code, compiler, e))) return cuda_unload(first), NULL;
    last = &(*last)->next;
  }
  return first;
}

void cuda_unload(CudaModule *m) {
  CudaScope s;
  if (!m) return;
  cuda_unload(m->next);
  if (cuda_enter(m->d, &s, NULL)) {
    int mode = relax(m->d);
    m->d->f->context_wait();
    m->d->f->module_unload(m->module);
    restore(m->d, mode);
    cuda_leave(&s);
  }
  module_free(m);
}

static int value_of(const CudaModule *m, CuFunction f, int which) {
  int v = -1;
  return m->d->f->function_get(&v, which, f) ? -1 : v;
}

static void describe(const CudaModule *m, const char *name, CudaKernel *k) {
  k->use = (GpuUse){.spill_stores = -1, .spill_loads = -1};
  strncpy(k->use.name, name, sizeof k->use.name - 1);
  k->use.registers = value_of(m, k->f, CU_REGISTERS);
  k->use.shared_bytes = value_of(m, k->f, CU_STATIC_SHARED);
  k->use.stack_bytes = value_of(m, k->f, CU_LOCAL_BYTES);
  k->most_threads = value_of(m, k->f, CU_MAX_THREADS);
  k->most_shared = m->d->shared_bytes - (k->use.shared_bytes > 0 ? k->use.shared_bytes : 0);
}

// What must be asked for: more than 48 KiB of shared memory, clusters of more than 8 blocks.
static bool permit(const CudaModule *m, const CudaKernel *k, bool dynamic, int cluster, CudaError *e) {
  const CudaDriver *f = m->d->f;
  if (dynamic && !cuda_check(f, f->function_set(k->f, CU_MAX_DYNAMIC_SHARED, k->most_shared), e, "giving `%s` its shared memory", k->use.name)) return false;
  return cluster <= 8 || cuda_check(f, f->function_set(k->f, CU_LARGE_CLUSTERS, 1), e, "giving `%s` clusters of %d blocks", k->use.name, cluster);
}

bool cuda_kernel(const CudaModule *m, const char *name, bool dynamic, int cluster, CudaKernel *out, CudaError *e) {
  CudaScope s;
  if (!cuda_enter(m->d, &s, e)) return false;
  CuResult r = CU_NOT_FOUND;
  for (const CudaModule *in = m; in && r == CU_NOT_FOUND; in = in->next)
    if (may_have(in, name)) r = m->d->f->module_function(&out->f, in->module, name);
  bool good = cuda_check(m->d->f, r, e, "looking for the kernel `%s`", name);
  if (good) describe(m, name, out);
  if (good) good = permit(m, out, dynamic, cluster, e);
  cuda_leave(&s);
  return good;
}
