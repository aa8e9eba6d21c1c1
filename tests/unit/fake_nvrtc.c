// fake_nvrtc.c: a look-alike of NVRTC. See fake_cuda.h.
#include "fake_cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

static FakeNvrtc fake = {.major = 13, .minor = 0, .narchs = 3, .arch = {80, 90, 100}, .log = ""};
static int program;

EXPORT FakeNvrtc *fake_nvrtc(void);
FakeNvrtc *fake_nvrtc(void) { return &fake; }

EXPORT int nvrtcVersion(int *major, int *minor);
int nvrtcVersion(int *major, int *minor) { *major = fake.major; *minor = fake.minor; return 0; }
EXPORT const char *nvrtcGetErrorString(int r);
const char *nvrtcGetErrorString(int r) { return r == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_FAKE"; }
EXPORT int nvrtcGetNumSupportedArchs(int *n);
int nvrtcGetNumSupportedArchs(int *n) { *n = fake.narchs; return 0; }
EXPORT int nvrtcGetSupportedArchs(int *arch);
int nvrtcGetSupportedArchs(int *arch) { memcpy(arch, fake.arch, (size_t)fake.narchs * sizeof *arch); return 0; }

EXPORT int nvrtcCreateProgram(void **p, const char *text, const char *name, int n, const char *const *headers, const char *const *names);
int nvrtcCreateProgram(void **p, const char *text, const char *name, int n, const char *const *headers, const char *const *names) {
  (void)name, (void)headers, (void)names;
  int k = __atomic_fetch_add(&fake.created, 1, __ATOMIC_RELAXED);
  if (k < 4) strncpy(fake.begin[k], text, sizeof fake.begin[k] - 1);
  strncpy(fake.text, text, sizeof fake.text - 1);
  *p = &program;
  __atomic_fetch_add(&program, 1, __ATOMIC_RELAXED);
  return n ? 3 : 0;
}
EXPORT int nvrtcDestroyProgram(void **p);
int nvrtcDestroyProgram(void **p) { *p = NULL; __atomic_fetch_sub(&program, 1, __ATOMIC_RELAXED); return 0; }

EXPORT int nvrtcCompileProgram(void *p, int n, const char *const *option);
int nvrtcCompileProgram(void *p, int n, const char *const *option) {
  (void)p;
  fake.noptions = n;
  for (int i = 0; i < n && i < FAKE_OPTIONS; i++) snprintf(fake.option[i], sizeof fake.option[i], "%s", option[i]);
  for (int i = 0; i < n && fake.unknown; i++)
    if (strncmp(option[i], fake.unknown, strlen(fake.unknown)) == 0) return 5;
  __atomic_fetch_add(&fake.compiled, 1, __ATOMIC_RELAXED);
  return fake.result;
}

// "cubin of sm_90" and "ptx of compute_90".
static const char *made(const char *kind) {
  static char text[64];
  snprintf(text, sizeof text, "%s of %s", kind, strchr(fake.option[0], '=') + 1);
  return text;
}

#define GETTER(NAME, SIZE, TEXT) \
  EXPORT int SIZE(void *p, size_t *n); \
  int SIZE(void *p, size_t *n) { (void)p; *n = strlen(TEXT) + 1; return 0; } \
  EXPORT int NAME(void *p, char *out); \
  int NAME(void *p, char *out) { (void)p; strcpy(out, TEXT); return 0; }
GETTER(nvrtcGetPTX, nvrtcGetPTXSize, made("ptx"))
GETTER(nvrtcGetCUBIN, nvrtcGetCUBINSize, made("cubin"))
GETTER(nvrtcGetProgramLog, nvrtcGetProgramLogSize, fake.loose_log && fake.text[0] == '#' ? fake.loose_log : fake.log)
