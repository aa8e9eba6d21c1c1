// driver_launch.c: libcuda.so.1 without a GPU: modules, functions, launches.
#include "driver.h"
#include "ptx.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- modules -----------------------------------------------------------------------------------------------------

// As nvrtc.c compiles it; 'a' code runs on its own architecture only, other code on later minor ones too.
static CUresult compile_ptx(const Ptx *p, void **bytes, size_t *size, char **log, EmuFault *f) {
  const Settings *s = &emu_driver.settings;
  char feature[24];
  const char *define[33] = {feature};
  if (p->version > ptx_version_of(s->driver_version)) return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  if (p->arch > s->arch || (p->feature && p->arch != s->arch)) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  snprintf(feature, sizeof feature, p->feature ? "EMU_FEATURE='%c'" : "EMU_FEATURE=0", p->feature);
  for (int i = 0; i < p->ndefines; i++) define[i + 1] = p->define[i];
  EmuCompile c = {.cc = s->cc, .file = p->file, .checked = s->check, .arch = p->arch, .define = define, .ndefines = p->ndefines + 1};
  *bytes = emu_compile(&c, p->text, size, log, f);
  return *bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_PTX;
}

static CUresult load_ptx(const char *text, EmuModule **m, EmuFault *f) {
  Ptx p;
  void *bytes = NULL;
  char *log = NULL;
  size_t size;
  if (!ptx_read(text, &p)) {
    emu_fault(f, EMU_HOST, "PTX that the emulator's NVRTC has not made");
    return CUDA_ERROR_INVALID_PTX;
  }
  CUresult r = compile_ptx(&p, &bytes, &size, &log, f);
  if (!r) *m = emu_module_load(bytes, size, f);
  ptx_free(&p);
  free(bytes);
  free(log);
  return r ? r : *m ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
}

static CUresult load_cubin(const void *image, EmuModule **m, EmuFault *f) {
  char feature;
  const int arch = emu_driver.settings.arch;
  *m = emu_module_load(image, emu_elf_bytes(image), f);
  if (!*m) return CUDA_ERROR_INVALID_IMAGE;
  int of = emu_module_arch(*m, &feature);
  if (of / 10 == arch / 10 && of % 10 <= arch % 10 && (!feature || of == arch)) return CUDA_SUCCESS;
  emu_module_free(*m);
  *m = NULL;
  return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

static CUresult make_functions(struct CUmod_st *m) {
  m->nfunctions = emu_module_kernels(m->module);
  m->function = calloc((size_t)m->nfunctions + 1, sizeof *m->function);
  if (!m->function) return CUDA_ERROR_OUT_OF_MEMORY;
  for (int i = 0; i < m->nfunctions; i++) {
    const EmuKernel *k = emu_module_kernel(m->module, i);
    if (!handle_list(KIND_FUNCTION, &m->function[i])) return CUDA_ERROR_OUT_OF_MEMORY;
    m->function[i] = (struct CUfunc_st){.module = m, .kernel = k, .max_dynamic = (48 << 10) - (int)emu_shared_bytes(m->module, k)};
  }
  return CUDA_SUCCESS;
}

static void unload(struct CUmod_st *m) {
  for (int i = 0; m->function && i < m->nfunctions; i++) handle_unlist(&m->function[i]);
  emu_module_free(m->module);
  free(m->function);
  handle_free(m);
}

static CUresult load(CUmodule *out, const void *image, EmuFault *f) {
  struct CUmod_st *m = handle_make(KIND_MODULE, sizeof *m);
  if (!m) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult r = emu_elf_bytes(image) ? load_cubin(image, &m->module, f) : load_ptx(image, &m->module, f);
  if (!r) r = make_functions(m);
  if (!r) *out = m;
  else unload(m);
  return r;
}

// The buffers that the caller gives for the compiler's words.
static void give_log(const char *text, unsigned n, const CUjit_option *option, void **value) {
  char *buffer = NULL;
  size_t room = 0;
  for (unsigned i = 0; i < n; i++) {
    if (option[i] == CU_JIT_ERROR_LOG_BUFFER) buffer = value[i];
    if (option[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) room = (size_t)(uintptr_t)value[i];
  }
  if (buffer && room) snprintf(buffer, room, "%s", text);
}

CUresult cuModuleLoadDataEx(CUmodule *m, const void *image, unsigned n, CUjit_option *option, void **value) {
  EmuFault f = {0};
  ENTER(true);
  CUresult r = m && image ? load(m, image, &f) : CUDA_ERROR_INVALID_VALUE;
  give_log(f.text, n, option, value);
  LEAVE(r);
}

CUresult cuModuleLoadData(CUmodule *m, const void *image) { return cuModuleLoadDataEx(m, image, 0, NULL, NULL); }

CUresult cuModuleUnload(CUmodule m) {
  ENTER(true);
  if (!is_kind(m, KIND_MODULE)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  unload(m);
  LEAVE(CUDA_SUCCESS);
}

CUresult cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name) {
  ENTER(true);
  if (!f || !name) LEAVE(CUDA_ERROR_INVALID_VALUE);
  if (!is_kind(m, KIND_MODULE)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  for (int i = 0; i < m->nfunctions; i++) {
    if (strcmp(m->function[i].kernel->name, name)) continue;
    *f = &m->function[i];
    LEAVE(CUDA_SUCCESS);
  }
  LEAVE(CUDA_ERROR_NOT_FOUND);
}

// ---- functions ---------------------------------------------------------------------------------------------------

static int shared_of(const struct CUfunc_st *f) { return (int)emu_shared_bytes(f->module->module, f->kernel); }

static CUresult set_attribute(CUfunction f, CUfunction_attribute a, int value) {
  switch (a) {
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
    if (value < 0 || value > emu_driver.model.shared_optin - shared_of(f)) return CUDA_ERROR_INVALID_VALUE;
    f->max_dynamic = value;
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: f->large_clusters = value != 0; return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: return value >= -1 && value <= 100 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  default: return CUDA_ERROR_INVALID_VALUE;
  }
}

static CUresult get_attribute(int *value, CUfunction_attribute a, CUfunction f) {
  const Settings *s = &emu_driver.settings;
  char feature;
  switch (a) {
  case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = f->kernel->max_threads ? f->kernel->max_threads : EMU_MAX_THREADS; return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = shared_of(f); return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *value = 0; return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = s->spill; return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = s->registers; return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_PTX_VERSION: case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = emu_module_arch(f->module->module, &feature); return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = f->max_dynamic; return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: *value = f->large_clusters; return CUDA_SUCCESS;
  default: return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int value) {
  ENTER(true);
  LEAVE(is_kind(f, KIND_FUNCTION) ? set_attribute(f, a, value) : CUDA_ERROR_INVALID_HANDLE);
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute a, CUfunction f) {
  ENTER(true);
  if (!value) LEAVE(CUDA_ERROR_INVALID_VALUE);
  LEAVE(is_kind(f, KIND_FUNCTION) ? get_attribute(value, a, f) : CUDA_ERROR_INVALID_HANDLE);
}

static int least(int a, int b) { return a < b ? a : b; }

// Registers in units of 256 a warp, shared memory with the system's 1 KiB a block (CUDA C++ Guide, Compute Capabilities).
static int occupancy(const struct CUfunc_st *f, int threads, size_t dynamic) {
  const Model *m = &emu_driver.model;
  int warps = (threads + EMU_WARP - 1) / EMU_WARP, registers = (emu_driver.settings.registers * EMU_WARP + 255) / 256 * 256 * warps;
  size_t shared = (size_t)shared_of(f) + dynamic + 1024;
  if (threads < 1 || threads > EMU_MAX_THREADS || shared - 1024 > (size_t)m->shared_optin) return 0;
  return least(least(m->threads / (warps * EMU_WARP), m->blocks), least(65536 / registers, m->shared / (int)shared));
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction f, int threads, size_t dynamic) {
  ENTER(true);
  if (!n || threads < 1) LEAVE(CUDA_ERROR_INVALID_VALUE);
  if (!is_kind(f, KIND_FUNCTION)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  *n = occupancy(f, threads, dynamic);
  LEAVE(CUDA_SUCCESS);
}

// ---- launches ----------------------------------------------------------------------------------------------------

// Takes the values of the arguments out of an array of pointers, or of one buffer as a C struct would have them.
static CUresult take_arguments(Work *w, void **arg, void **extra) {
  const EmuKernel *k = w->f->kernel;
  const unsigned char *buffer = NULL;
  for (; extra && *extra != CU_LAUNCH_PARAM_END; extra += 2)
    if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = extra[1];
  if (k->nparams && !arg == !buffer) return CUDA_ERROR_INVALID_VALUE;
  size_t room = 16;
  for (int i = 0; i < k->nparams; i++) room += k->param[i].bytes + 16;
  w->values = calloc(1, room);
  w->arg = calloc((size_t)k->nparams + 1, sizeof *w->arg);
  if (!w->values || !w->arg) return CUDA_ERROR_OUT_OF_MEMORY;
  size_t at = 0;
  for (int i = 0; i < k->nparams; i++) {
    const EmuParam *p = &k->param[i];
    at = (at + p->align - 1) / p->align * p->align;
    memcpy(w->values + at, buffer ? buffer + at : arg[i], p->bytes);
    w->arg[i] = w->values + at;
    at += p->bytes;
  }
  return CUDA_SUCCESS;
}

// What the driver itself refuses, before anything runs.
static CUresult check(const Work *w) {
  const Model *m = &emu_driver.model;
  int threads = (int)(w->block.x * w->block.y * w->block.z);
  if (w->shared > (unsigned)w->f->max_dynamic) {
    driver_say("kernel `%s`: %u bytes of dynamic shared memory, but only %d are allowed (cuFuncSetAttribute)", w->f->kernel->name, w->shared, w->f->max_dynamic);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (w->cluster > 1 && (!m->clusters || w->cluster > (w->f->large_clusters ? 16 : 8))) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  uint64_t blocks = (uint64_t)w->grid.x * w->grid.y * w->grid.z;
  if (w->cooperative && blocks > (uint64_t)occupancy(w->f, threads, w->shared) * (uint64_t)m->multiprocessors) return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
  return CUDA_SUCCESS;
}

static CUresult result_of(EmuFaultKind kind) {
  switch (kind) {
  case EMU_BOUNDS: return CUDA_ERROR_ILLEGAL_ADDRESS;
  case EMU_MISALIGNED: return CUDA_ERROR_MISALIGNED_ADDRESS;
  case EMU_CONFIG: return CUDA_ERROR_INVALID_VALUE;
  case EMU_HOST: return CUDA_ERROR_UNKNOWN;
  default: return CUDA_ERROR_LAUNCH_FAILED;
  }
}

CUresult launch_do(const Work *w) {
  Driver *d = &emu_driver;
  const Settings *s = &d->settings;
  EmuFault f;
  EmuLaunch l = {.module = w->f->module->module, .kernel = w->f->kernel, .grid = w->grid, .block = w->block, .cluster = w->cluster, .dynamic = w->shared,
                 .cooperative = w->cooperative, .dependent = w->dependent, .arg = w->arg, .check = s->check, .host_threads = s->host_threads};
  if (emu_launch_orders(d->device, &l, s->order, s->norders, &f)) return CUDA_SUCCESS;
  driver_say("kernel `%s`: %s: %s", l.kernel->name, emu_fault_name(f.kind), f.text);
  CUresult r = result_of(f.kind);
  if (f.kind != EMU_CONFIG) d->broken = r;
  return r;
}

static CUresult launch(Work w, CUstream s, void **arg, void **extra) {
  if (!is_kind(w.f, KIND_FUNCTION)) return CUDA_ERROR_INVALID_HANDLE;
  CUresult r = check(&w);
  if (!r) r = take_arguments(&w, arg, extra);
  if (!r) return stream_do(s, w);
  work_free(&w);
  return r;
}

CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream s, void **arg, void **extra) {
  ENTER(true);
  LEAVE(launch((Work){.f = f, .grid = {gx, gy, gz}, .block = {bx, by, bz}, .shared = shared}, s, arg, extra));
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream s, void **arg) {
  ENTER(true);
  LEAVE(launch((Work){.f = f, .grid = {gx, gy, gz}, .block = {bx, by, bz}, .shared = shared, .cooperative = true}, s, arg, NULL));
}

// Clusters lie along x.
static CUresult take_attribute(Work *w, const CUlaunchAttribute *a) {
  if (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) w->cooperative = a->value.cooperative != 0;
  if (a->id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION) w->dependent = a->value.programmaticStreamSerializationAllowed != 0;
  if (a->id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) return CUDA_SUCCESS;
  if (!a->value.clusterDim.x || a->value.clusterDim.y != 1 || a->value.clusterDim.z != 1) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  w->cluster = a->value.clusterDim.x;
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *l, CUfunction f, void **arg, void **extra) {
  ENTER(true);
  if (!l || (l->numAttrs && !l->attrs)) LEAVE(CUDA_ERROR_INVALID_VALUE);
  Work w = {.f = f, .grid = {l->gridDimX, l->gridDimY, l->gridDimZ}, .block = {l->blockDimX, l->blockDimY, l->blockDimZ}, .shared = l->sharedMemBytes};
  for (unsigned i = 0; i < l->numAttrs; i++) {
    CUresult r = take_attribute(&w, &l->attrs[i]);
    if (r) LEAVE(r);
  }
  if (w.dependent && emu_driver.settings.arch < 90) LEAVE(CUDA_ERROR_NOT_SUPPORTED);
  LEAVE(launch(w, l->hStream, arg, extra));
}
