// cuda_driver.c: opening the CUDA driver, and its errors in words.
#include "runtime/cuda_driver.h"
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- errors ------------------------------------------------------------------------------------------------------

static char *print(const char *fmt, va_list ap) {
  char *text = NULL;
  return vasprintf(&text, fmt, ap) < 0 ? NULL : text;
}

bool cuda_fail(CudaError *e, CudaFault fault, const char *fmt, ...) {
  if (!e || e->fault) return false;
  e->fault = fault;
  va_list ap;
  va_start(ap, fmt);
  e->text = print(fmt, ap);
  va_end(ap);
  return false;
}

void cuda_help(CudaError *e, const char *fmt, ...) {
  if (!e || e->help) return;
  va_list ap;
  va_start(ap, fmt);
  e->help = print(fmt, ap);
  va_end(ap);
}

enum { MOST_NOTE = 4000 };             // of a compiler's log, which may be long: the first complaints matter

void cuda_note(CudaError *e, const char *text, size_t n) {
  if (e && !e->note && n) e->note = strndup(text, n < MOST_NOTE ? n : MOST_NOTE);
}

void cuda_error_clear(CudaError *e) {
  free(e->text);
  free(e->note);
  free(e->help);
  *e = (CudaError){0};
}

const char *cuda_version_text(int number, char out[16]) {
  snprintf(out, 16, "%d.%d", number / 1000, number % 1000 / 10);
  return out;
}

// What can be done about it, for the errors that users meet.
typedef struct Advice { CuResult code; const char *text; } Advice;
static const Advice advices[] = {
  {CU_STUB, "this is the toolkit's stub for linking; take its `stubs` folder out of LD_LIBRARY_PATH and install the driver"},
  {CU_NO_DEVICE, "check that the GPU is visible here: `nvidia-smi -L`, CUDA_VISIBLE_DEVICES, and --gpus of a container"},
  {CU_DRIVER_MISMATCH, "the driver's library and its kernel module are of different versions; reboot after an update"},
  {CU_ILLEGAL_ADDRESS, "a kernel accessed memory that is not its own, after which this process cannot use the device any more; pass "
                       "pointers to device memory that is as large as `bytes` says, or find the place with compute-sanitizer"},
  {CU_MISALIGNED, "a kernel met a misaligned address, after which this process cannot use the device any more"},
  {CU_CAPTURE_UNSUPPORTED, "while a stream is captured, launch with scratch memory of your own and without `wait`, after one launch outside"},
};

static void advise(CudaError *e) {
  for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
    if (advices[i].code == e->code) cuda_help(e, "%s", advices[i].text);
}

// The driver's words for an error: "out of memory (CUDA_ERROR_OUT_OF_MEMORY)".
static const char *words(const CudaDriver *d, CuResult r, char *out, size_t room) {
  const char *name = NULL, *text = NULL;
  if (d->error_name && d->error_name(r, &name)) name = NULL;
  if (d->error_text && d->error_text(r, &text)) text = NULL;
  snprintf(out, room, "%s (%s%s%d)", text ? text : "it does not say why", name ? name : "error", name ? ", " : " ", r);
  return out;
}

bool cuda_check(const CudaDriver *d, CuResult r, CudaError *e, const char *what, ...) {
  if (r == CU_OK) return true;
  if (!e || e->fault) return false;
  char why[256], version[16], call[160];
  va_list ap;
  va_start(ap, what);
  vsnprintf(call, sizeof call, what, ap);
  va_end(ap);
  cuda_fail(e, CUDA_CALL, "%s failed: %s; the driver is of CUDA %s", call, words(d, r, why, sizeof why), cuda_version_text(d->number, version));
  e->code = r;
  advise(e);
  return false;
}

// ---- loading -----------------------------------------------------------------------------------------------------

typedef struct Symbol { const char *name; size_t offset; int since; } Symbol;
static const Symbol symbols[] = {
#define CUDA(FIELD, SYMBOL, SINCE, PARAMETERS) {SYMBOL, offsetof(CudaDriver, FIELD), SINCE},
#include "runtime/cuda_driver.def"
#undef CUDA
};
enum { NSYMBOLS = sizeof symbols / sizeof *symbols };

// The name of a function that the library lacks and should have; NULL when it has them all.
static const char *load_symbols(void *lib, CudaDriver *d) {
  const char *missing = NULL;
  for (int i = 0; i < NSYMBOLS; i++) {
    void *address = dlsym(lib, symbols[i].name);
    memcpy((char *)d + symbols[i].offset, &address, sizeof address);    // ISO C has no cast from data to functions; POSIX has
    if (!address && !symbols[i].since && !missing) missing = symbols[i].name;
  }
  return missing;
}

static bool too_old(const CudaDriver *d, CudaError *e) {
  char have[16], least[16];
  if (d->number >= CUDA_LEAST) return false;
  cuda_fail(e, CUDA_OLD_DRIVER, "the CUDA driver is too old: it is of CUDA %s, and %s is the least", cuda_version_text(d->number, have),
            cuda_version_text(CUDA_LEAST, least));
  cuda_help(e, "install a newer NVIDIA driver, or run with --target c");
  return true;
}

static bool lacks(const CudaDriver *d, const char *missing, CudaError *e) {
  if (!missing) return false;
  cuda_fail(e, CUDA_NO_DRIVER, "%s has no function `%s`", d->path, missing);
  cuda_help(e, "install a newer NVIDIA driver");
  return true;
}

static bool start(const CudaDriver *d, CudaError *e) {
  CuResult r = d->init(0);
  if (cuda_check(d, r, e, "cuInit of %s", d->path)) return true;
  if (e) e->fault = r == CU_NO_DEVICE ? CUDA_NO_DEVICE : CUDA_NO_DRIVER;
  return false;
}

const CudaDriver *cuda_driver_open(Arena *a, const SearchPaths *p, CudaDriver *loaded, SearchPlaces *places, CudaError *e) {
  void *lib = search_cuda_driver(a, p, &loaded->path, places);
  if (!lib) {
    cuda_fail(e, CUDA_NO_DRIVER, "the CUDA driver was not found (libcuda.so.1)");
    cuda_help(e, "install the NVIDIA driver, or run with --target c; `plait doctor` lists where it was looked for");
    return NULL;
  }
  const char *missing = load_symbols(lib, loaded);
  if (loaded->version && loaded->version(&loaded->number)) loaded->number = 0;
  if ((loaded->number && too_old(loaded, e)) || lacks(loaded, missing, e)) return NULL;
  return start(loaded, e) ? loaded : NULL;
}
