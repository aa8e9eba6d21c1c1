// cuda.c: the driver and the devices of one context, opened when they are first needed.
#include "runtime/cuda_int.h"
#include <stdlib.h>
#include <string.h>

// ---- the driver --------------------------------------------------------------------------------------------------

// Into an arena of its own, so that an attempt that fails leaves nothing.
static bool open_driver(Cuda *c, CudaError *e) {
  Arena *a = arena_create();
  memset(&c->loaded, 0, sizeof c->loaded);
  c->driver = cuda_driver_open(a, c->paths, &c->loaded, NULL, e);
  if (!c->driver) return arena_destroy(a), false;
  c->driver_arena = a;
  return true;
}

const CudaDriver *cuda_driver(Cuda *c, CudaError *e) {
  pthread_mutex_lock(&c->lock);
  const CudaDriver *d = c->driver || open_driver(c, e) ? c->driver : NULL;
  pthread_mutex_unlock(&c->lock);
  return d;
}

// ---- devices -----------------------------------------------------------------------------------------------------

int cuda_device_count(Cuda *c, CudaError *e) {
  const CudaDriver *f = cuda_driver(c, e);
  int n = 0;
  return f && cuda_check(f, f->device_count(&n), e, "cuDeviceGetCount") ? n : -1;
}

static bool no_such_device(int number, int n, CudaError *e) {
  if (n == 0) cuda_fail(e, CUDA_NO_DEVICE, "the CUDA driver reports no device");
  else cuda_fail(e, CUDA_NO_DEVICE, "there is no CUDA device %d: the driver reports %d", number, n);
  if (n == 0) cuda_help(e, "check that the GPU is visible here: `nvidia-smi -L`, CUDA_VISIBLE_DEVICES, and --gpus of a container");
  else cuda_help(e, "devices are numbered from 0; `plait doctor` lists them");
  return false;
}

static int attribute(const CudaDevice *d, int which) {
  int v = 0;
  return d->f->device_attribute(&v, which, d->handle) ? 0 : v;
}

static void ask(CudaDevice *d) {
  if (d->f->device_name(d->name, (int)sizeof d->name, d->handle)) strcpy(d->name, "a device without a name");
  if (d->f->device_memory(&d->memory_bytes, d->handle)) d->memory_bytes = 0;
  d->arch = attribute(d, CU_ARCH_MAJOR) * 10 + attribute(d, CU_ARCH_MINOR);
  d->multiprocessors = attribute(d, CU_MULTIPROCESSORS);
  d->shared_bytes = attribute(d, CU_SHARED_OPTIN);
  d->pools = d->f->memory_alloc_async && d->f->memory_free_async && attribute(d, CU_MEMORY_POOLS);
  d->clusters = d->f->launch_ex && attribute(d, CU_CLUSTERS);
  d->dependent = d->f->launch_ex && d->arch >= 90 && d->f->number >= CUDA_DEPENDENT;
  d->cooperative = attribute(d, CU_COOPERATIVE);
  d->reads_host = attribute(d, CU_PAGEABLE_ACCESS);
}

bool cuda_look(const CudaDriver *f, int number, CudaDevice *out, CudaError *e) {
  *out = (CudaDevice){.f = f, .number = number};
  if (!cuda_check(f, f->device_get(&out->handle, number), e, "cuDeviceGet of device %d", number)) return false;
  ask(out);
  return true;
}

static bool open_device(CudaDevice *d, const CudaDriver *f, int number, CudaError *e) {
  return cuda_look(f, number, d, e) &&
         cuda_check(f, f->primary_retain(&d->context, d->handle), e, "cuDevicePrimaryCtxRetain of device %d, %s", number, d->name);
}

static CudaDevice *find_device(Cuda *c, int number) {
  for (CudaDevices *d = c->devices; d; d = d->next)
    if (d->device.number == number) return &d->device;
  return NULL;
}

static CudaDevice *add_device(Cuda *c, int number, CudaError *e) {
  CudaDevices *d = calloc(1, sizeof *d);
  if (!d) return cuda_fail(e, CUDA_HOST_MEMORY, "out of memory"), NULL;
  if (!open_device(&d->device, c->driver, number, e)) return free(d), NULL;
  d->next = c->devices;
  c->devices = d;
  return &d->device;
}

const CudaDevice *cuda_device(Cuda *c, int number, CudaError *e) {
  int n = cuda_device_count(c, e);
  if (n < 0) return NULL;
  if (number < 0 || number >= n) return no_such_device(number, n, e), NULL;
  pthread_mutex_lock(&c->lock);
  CudaDevice *d = find_device(c, number);
  if (!d) d = add_device(c, number, e);
  pthread_mutex_unlock(&c->lock);
  return d;
}

// ---- life --------------------------------------------------------------------------------------------------------

Cuda *cuda_create(const SearchPaths *p, GpuCompiler compiler) {
  Cuda *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->paths = p;
  c->compiler = compiler;
  pthread_mutex_init(&c->lock, NULL);
  return c;
}

void cuda_free(Cuda *c) {
  if (!c) return;
  for (CudaDevices *d = c->devices, *next; d; d = next) {
    next = d->next;
    d->device.f->primary_release(d->device.handle);
    free(d);
  }
  arena_destroy(c->driver_arena);
  arena_destroy(c->nvrtc_arena);
  pthread_mutex_destroy(&c->lock);
  free(c);
}
