// lab.h: a device, a text and launches of its kernels, for tests of the emulator.
#ifndef PLAIT_CUDA_EMU_LAB_H
#define PLAIT_CUDA_EMU_LAB_H
#include "tests/cuda_emu/emu.h"
#include "tests/unit/unit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Lab { EmuDevice *device; EmuModule *module; EmuFault fault; } Lab;
typedef struct Shape { EmuDim grid, block; unsigned cluster; size_t dynamic; bool cooperative, dependent; int host_threads; } Shape;

static inline char *read_text(const char *path) {
  FILE *f = fopen(path, "r");
  ck_assert_msg(f != NULL, "%s", path);
  char *text = calloc(1, 1 << 16);
  ck_assert_uint_gt(fread(text, 1, (1 << 16) - 1, f), 0);
  fclose(f);
  return text;
}

static inline void *compile(const char *text, bool checked, size_t *size, EmuFault *f) {
  EmuCompile c = {.cc = EMU_CC, .file = "k.cu", .checked = checked, .arch = 90};
  char *log = NULL;
  void *bytes = emu_compile(&c, text, size, &log, f);
  free(log);
  return bytes;
}

static inline Lab lab_of(const char *text, bool checked) {
  Lab l = {.device = emu_device_make(64 << 20, 227 << 10)};
  size_t size;
  void *bytes = compile(text, checked, &size, &l.fault);
  ck_assert_msg(bytes != NULL, "%s", l.fault.text);
  l.module = emu_module_load(bytes, size, &l.fault);
  ck_assert_msg(l.module != NULL, "%s", l.fault.text);
  free(bytes);
  return l;
}

static inline Lab lab_of_file(const char *name, bool checked) {
  char path[256];
  snprintf(path, sizeof path, "tests/cuda_emu/kernels/%s", name);
  char *text = read_text(path);
  Lab l = lab_of(text, checked);
  free(text);
  return l;
}

static inline void lab_free(Lab *l) {
  emu_module_free(l->module);
  emu_device_free(l->device);
}

static inline void *put(Lab *l, const void *bytes, size_t n) {
  void *p = emu_alloc(l->device, n);
  ck_assert(p && emu_upload(l->device, p, bytes, n));
  return p;
}

static inline void *zeros(Lab *l, size_t n) {
  void *p = emu_alloc(l->device, n);
  ck_assert(p && emu_fill(l->device, p, "", 1, n));
  return p;
}

static inline void *fresh(Lab *l, size_t n) {
  void *p = emu_alloc(l->device, n);
  ck_assert(p != NULL);
  return p;
}

static inline void get(Lab *l, void *to, const void *from, size_t n) { ck_assert(emu_download(l->device, to, from, n)); }

static const EmuOrder orders[] = {{EMU_FORWARD, EMU_FORWARD, 0}, {EMU_REVERSED, EMU_REVERSED, 0}, {EMU_RANDOM, EMU_RANDOM, 1}, {EMU_RANDOM, EMU_RANDOM, 2}};
enum { ORDERS = sizeof orders / sizeof *orders };

static inline EmuLaunch launch_of(Lab *l, const char *kernel, Shape s, void **arg) {
  EmuDim one = {1, 1, 1};
  return (EmuLaunch){.module = l->module, .kernel = emu_module_find(l->module, kernel), .grid = s.grid.x ? s.grid : one, .block = s.block.x ? s.block : one,
                     .cluster = s.cluster, .dynamic = s.dynamic, .cooperative = s.cooperative, .dependent = s.dependent, .arg = arg, .check = true,
                     .host_threads = s.host_threads};
}

static inline bool launch(Lab *l, const char *kernel, Shape s, void **arg) {
  EmuLaunch it = launch_of(l, kernel, s, arg);
  ck_assert_ptr_nonnull(it.kernel);
  return emu_launch_orders(l->device, &it, orders, ORDERS, &l->fault);
}

static inline void launch_well(Lab *l, const char *kernel, Shape s, void **arg) {
  bool good = launch(l, kernel, s, arg);
  ck_assert_msg(good, "%s: %s: %s", kernel, emu_fault_name(l->fault.kind), l->fault.text);
}

#define ARGS(...) ((void *[]){__VA_ARGS__})

static inline float *numbers(size_t n, unsigned long long seed) {
  float *v = malloc(n * sizeof *v);
  for (size_t i = 0; i < n; i++) v[i] = (float)(unit_random(&seed) >> 40) / (1 << 23) - 1;
  return v;
}

static inline void within(double got, double wanted, double bound, size_t at) {
  ck_assert_msg(fabs(got - wanted) <= bound, "element %zu is %.9g, not %.9g within %g", at, got, wanted, bound);
}
#endif
