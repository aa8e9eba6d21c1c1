// cuda_report.c: what there is for GPUs, in words. See cuda.h.
#include "base/str.h"
#include "runtime/cuda_int.h"
#include <stdio.h>

typedef struct Report { Arena *a; Cuda *c; VEC(SearchItem) items; } Report;

static SearchItem *add(Report *r, const char *what, bool found) {
  vec_push(r->a, &r->items, (SearchItem){.what = what, .found = found, .where = "", .version = "", .detail = "", .remedy = ""});
  return &r->items.v[r->items.n - 1];
}

static void excuse(Report *r, SearchItem *it, CudaError *e) {
  it->detail = arena_printf(r->a, "%s", e->text ? e->text : "out of memory");
  it->remedy = arena_printf(r->a, "%s", e->help ? e->help : "");
  cuda_error_clear(e);
}

// ---- the driver and its devices ----------------------------------------------------------------------------------

static const char *sizes(Arena *a, const CudaDevice *d) {
  return arena_printf(a, "sm_%d, %.1f GiB, %d multiprocessors, %d KiB of shared memory a block", d->arch, (double)d->memory_bytes / (1 << 30),
                      d->multiprocessors, d->shared_bytes >> 10);
}

static void report_device(Report *r, const CudaDriver *f, int number) {
  CudaDevice d;
  CudaError e = {0};
  SearchItem *it = add(r, arena_printf(r->a, "CUDA device %d", number), cuda_look(f, number, &d, &e));
  if (!it->found) excuse(r, it, &e);
  else it->detail = arena_printf(r->a, "%s, %s", d.name, sizes(r->a, &d));
}

static void report_devices(Report *r, const CudaDriver *f) {
  int n = 0;
  CudaError e = {0};
  if (!cuda_check(f, f->device_count(&n), &e, "cuDeviceGetCount") || n == 0) {
    SearchItem *it = add(r, "CUDA devices", false);
    it->detail = e.text ? arena_printf(r->a, "%s", e.text) : "none";
    it->remedy = "check that the GPU is visible here: `nvidia-smi -L`, CUDA_VISIBLE_DEVICES, and --gpus of a container";
  }
  cuda_error_clear(&e);
  for (int i = 0; i < n; i++) report_device(r, f, i);
}

// The driver's version, 0 without one that works.
static int report_driver(Report *r) {
  CudaError e = {0};
  CudaDriver *d = arena_new(r->a, CudaDriver);
  SearchPlaces places = {0};
  char version[16];
  const CudaDriver *f = cuda_driver_open(r->a, r->c->paths, d, &places, &e);
  SearchItem *it = add(r, "CUDA driver", f != NULL);
  if (d->path) it->where = d->path;
  if (d->number) it->version = arena_printf(r->a, "CUDA %s", cuda_version_text(d->number, version));
  it->places = places;
  if (!f) return excuse(r, it, &e), 0;
  report_devices(r, f);
  return d->number;
}

// ---- compilers ---------------------------------------------------------------------------------------------------

static void report_nvrtc(Report *r, int driver) {
  CudaError e = {0};
  Nvrtc n = {0};
  SearchPlaces places = {0};
  char version[16];
  SearchItem *it = add(r, "NVRTC", nvrtc_open(r->a, r->c->paths, driver, &n, &places, &e));
  if (n.path) it->where = n.path;
  it->places = places;
  if (!it->found) {
    excuse(r, it, &e);
    return;
  }
  it->version = arena_printf(r->a, "%s", cuda_version_text(n.number, version));
  it->detail = arena_printf(r->a, "for sm_%d to sm_%d", n.arch[0], n.arch[n.narchs - 1]);
}

static const char *words(const Report *r, const CudaCompilers *have) {
  char version[16];
  if (have->clang) return arena_printf(r->a, "clang %s in process, as PTX for sm_90 at most", have->clang->version);
  return arena_printf(r->a, "NVRTC %s", cuda_version_text(have->nvrtc->number, version));
}

static void report_compilers(Report *r, int driver) {
  CudaError e = {0};
  CudaCompilers have;
  SearchItem *it = add(r, "GPU kernels are compiled by", cuda_compilers(r->c, driver, &have, &e));
  if (it->found) it->detail = words(r, &have);
  else excuse(r, it, &e);
}

SearchItem *cuda_report(Arena *a, Cuda *c, int *n) {
  Report r = {.a = a, .c = c};
  int driver = report_driver(&r);
  report_nvrtc(&r, driver);
  report_compilers(&r, driver);
  *n = r.items.n;
  return r.items.v;
}
