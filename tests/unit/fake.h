// fake.h: opening the look-alikes of fake_cuda.h in a test. FAKE_CUDA and FAKE_NVRTC are their paths.
#ifndef PLAIT_TESTS_FAKE_H
#define PLAIT_TESTS_FAKE_H
#include "fake_cuda.h"
#include "runtime/cuda.h"
#include "unit.h"
#include <dlfcn.h>
#include <string.h>

static inline void *fake_state(const char *path, const char *name) {
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!lib) ck_abort_msg("%s", dlerror());
  void *address = dlsym(lib, name);
  ck_assert_ptr_nonnull(address);
  return address;
}

static inline FakeCuda *fake_driver(void) {
  FakeCudaState *state;
  void *address = fake_state(FAKE_CUDA, "fake_cuda");
  memcpy(&state, &address, sizeof state);
  return state();
}

static inline FakeNvrtc *fake_compiler(void) {
  FakeNvrtcState *state;
  void *address = fake_state(FAKE_NVRTC, "fake_nvrtc");
  memcpy(&state, &address, sizeof state);
  return state();
}

static const SearchPaths fake_paths = {.nvrtc = FAKE_NVRTC, .cuda_driver = FAKE_CUDA, .path = "/usr/bin:/bin"};

// The error is of this kind and its text has these words; it is cleared.
static inline void fake_failed(CudaError *e, CudaFault fault, const char *words) {
  ck_assert_msg(e->fault == fault, "fault %d: %s", (int)e->fault, e->text ? e->text : "");
  ck_assert_msg(strstr(e->text, words) != NULL, "no `%s` in: %s", words, e->text);
  cuda_error_clear(e);
}
#endif
