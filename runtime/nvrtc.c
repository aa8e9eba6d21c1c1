// nvrtc.c: opening NVRTC and compiling with it.
#include "runtime/nvrtc.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MINIMAL = 12080 };     // the first version with --minimal
enum { NVRTC_INVALID_OPTION = 5, NVRTC_COMPILATION = 6, NVRTC_BUILTINS = 7 };      // nvrtcResult

// ---- loading -----------------------------------------------------------------------------------------------------

typedef struct Symbol { const char *name; size_t offset; } Symbol;
#define SYMBOL(FIELD, NAME) {NAME, offsetof(Nvrtc, FIELD)}
static const Symbol symbols[] = {
  SYMBOL(version, "nvrtcVersion"), SYMBOL(error_text, "nvrtcGetErrorString"), SYMBOL(arch_count, "nvrtcGetNumSupportedArchs"),
  SYMBOL(archs, "nvrtcGetSupportedArchs"), SYMBOL(create, "nvrtcCreateProgram"), SYMBOL(destroy, "nvrtcDestroyProgram"),
  SYMBOL(compile, "nvrtcCompileProgram"), SYMBOL(ptx_bytes, "nvrtcGetPTXSize"), SYMBOL(ptx, "nvrtcGetPTX"),
  SYMBOL(cubin_bytes, "nvrtcGetCUBINSize"), SYMBOL(cubin, "nvrtcGetCUBIN"), SYMBOL(log_bytes, "nvrtcGetProgramLogSize"),
  SYMBOL(log, "nvrtcGetProgramLog"),
};
enum { NSYMBOLS = sizeof symbols / sizeof *symbols };

static const char *load_symbols(void *lib, Nvrtc *n) {
  const char *missing = NULL;
  for (int i = 0; i < NSYMBOLS; i++) {
    void *address = dlsym(lib, symbols[i].name);
    memcpy((char *)n + symbols[i].offset, &address, sizeof address);
    if (!address && !missing) missing = symbols[i].name;
  }
  return missing;
}

// NVRTC opens a second library by name only. Where the loader would not find it, as beside a wheel's, it must be there already.
static void open_builtins(Arena *a, const Nvrtc *n) {
  const char *slash = strrchr(n->path, '/');
  if (!slash) return;
  char version[16];
  const char *file = arena_printf(a, "%.*s/libnvrtc-builtins.so.%s", (int)(slash - n->path), n->path, cuda_version_text(n->number, version));
  dlopen(file, RTLD_NOW | RTLD_LOCAL);
}

static int by_value(const void *x, const void *y) { return *(const int *)x - *(const int *)y; }

static bool ask(Arena *a, Nvrtc *n) {
  int major = 0, minor = 0, count = 0;
  if (n->version(&major, &minor)) return false;
  n->number = major * 1000 + minor * 10;
  if (n->arch_count(&count) || count <= 0) return false;
  n->arch = arena_array(a, int, count);
  if (n->archs(n->arch)) return false;
  n->narchs = count;
  qsort(n->arch, (size_t)count, sizeof *n->arch, by_value);
  return true;
}

bool nvrtc_open(Arena *a, const SearchPaths *p, int driver, Nvrtc *n, SearchPlaces *places, CudaError *e) {
  void *lib = search_nvrtc(a, p, driver / 1000, &n->path, places);
  if (!lib && p->nvrtc) return cuda_fail(e, CUDA_NO_COMPILER, "NVRTC cannot be loaded from %s", p->nvrtc);
  const char *missing = lib ? load_symbols(lib, n) : NULL;
  if (missing) cuda_fail(e, CUDA_NO_COMPILER, "%s has no function `%s`: CUDA 11.2 is the least", n->path, missing);
  else if (!lib) cuda_fail(e, CUDA_NO_COMPILER, "NVRTC, the compiler for GPU code, was not found (libnvrtc.so)");
  else if (!ask(a, n)) cuda_fail(e, CUDA_NO_COMPILER, "%s does not work: it does not tell its version", n->path);
  else return open_builtins(a, n), true;
  cuda_help(e, "pip install nvidia-cuda-nvrtc, or install the CUDA toolkit; `plait doctor` lists where it was looked for");
  return false;
}

bool nvrtc_has(const Nvrtc *n, int arch) { return nvrtc_arch_below(n, arch) == arch; }

int nvrtc_arch_below(const Nvrtc *n, int arch) {
  int best = 0;
  for (int i = 0; i < n->narchs; i++)
    if (n->arch[i] <= arch) best = n->arch[i];
  return best;
}

// ---- compiling ---------------------------------------------------------------------------------------------------

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

typedef int Size(NvrtcProgram *p, size_t *n);
typedef int Get(NvrtcProgram *p, char *out);

// One of the program's texts, malloc'ed with a NUL behind it; NULL when it cannot be had.
static char *fetch(NvrtcProgram *p, Size *size, Get *get, size_t *n) {
  *n = 0;
  if (size(p, n)) return NULL;
  char *s = malloc(*n + 1);
  if (!s || get(p, s)) {
    free(s);
    return NULL;
  }
  s[*n] = 0;
  return s;
}

static bool failed(const Nvrtc *n, int r, const GpuCode *c, CudaError *e) {
  char version[16];
  cuda_version_text(n->number, version);
  if (r == NVRTC_COMPILATION) cuda_fail(e, CUDA_TEXT, "NVRTC %s refused the generated text", version);
  else cuda_fail(e, CUDA_CALL, "NVRTC %s failed: %s", version, n->error_text(r) ? n->error_text(r) : "it does not say why");
  if (r == NVRTC_BUILTINS) cuda_help(e, "libnvrtc-builtins.so.%s must lie beside %s", version, n->path);
  if (c->log) cuda_note(e, c->log, strlen(c->log));
  return false;
}

static int run(const Nvrtc *n, NvrtcProgram *p, const GpuRequest *r) {
  char arch[48];
  snprintf(arch, sizeof arch, "--gpu-architecture=%s_%d%.1s", r->ptx ? "compute" : "sm", r->arch, r->feature ? &r->feature : "");
  // a * b + c may be rounded once (docs/language.md), NVRTC's default; division and roots are IEEE 754's by default.
  // Without textures and the runtime's declarations a small text compiles in 3 ms less of 20.
  const char *options[6] = {arch, "--std=c++17", "--device-as-default-execution-space"};
  int count = 3;
  if (n->number >= MINIMAL) options[count++] = "--minimal";
  if (!r->ptx) options[count++] = "--ptxas-options=-v";
  int result = n->compile(p, count, options);
  return result == NVRTC_INVALID_OPTION ? n->compile(p, 3, options) : result;      // the oldest tell nothing of registers
}

static void keep_log(const Nvrtc *n, NvrtcProgram *p, GpuCode *out) {
  size_t size;
  out->log = fetch(p, n->log_bytes, n->log, &size);
  if (out->log) out->nuse = gpu_log_read(out->log, &out->use);
}

bool nvrtc_compile(const Nvrtc *n, const GpuRequest *r, GpuCode *out, CudaError *e) {
  double start = now_ms();
  char *text = strndup(r->text, r->len);
  NvrtcProgram *p = NULL;
  if (!text) return cuda_fail(e, CUDA_HOST_MEMORY, "out of memory");
  int result = n->create(&p, text, "plait.cu", 0, NULL, NULL);
  if (!result) result = run(n, p, r);
  if (p) keep_log(n, p, out);
  if (!result) out->bytes = r->ptx ? fetch(p, n->ptx_bytes, n->ptx, &out->size) : fetch(p, n->cubin_bytes, n->cubin, &out->size);
  if (out->bytes && r->ptx && out->size) out->size--;           // the size of PTX counts its NUL
  bool good = result ? failed(n, result, out, e) : out->bytes ? true : cuda_fail(e, CUDA_HOST_MEMORY, "out of memory for the code of NVRTC");
  if (p) n->destroy(&p);
  free(text);
  out->ptx = r->ptx;
  out->arch = r->arch;
  out->ms = now_ms() - start;
  return good;
}
