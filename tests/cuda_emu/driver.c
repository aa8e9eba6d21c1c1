// driver.c: libcuda.so.1 without a GPU: initialisation, devices, contexts, errors.
//
// All work is done when it is asked for, in the order of the calls, whatever its stream; a kernel runs in every order that
// PLAIT_EMU_ORDERS names, and a fault is written to stderr and breaks the context, as on a GPU.
#include "driver.h"
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Driver emu_driver = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct CUctx_st { int unused; } primary;
enum { MAX_CONTEXTS = 64 };
static _Thread_local struct ContextStack { CUcontext v[MAX_CONTEXTS]; int n; } contexts;

static const Model models[] = {
  {75, 72, 1024, 16, 64 << 10, 64 << 10, false},    {80, 108, 2048, 32, 164 << 10, 163 << 10, false}, {86, 84, 1536, 16, 100 << 10, 99 << 10, false},
  {89, 128, 1536, 24, 100 << 10, 99 << 10, false},  {90, 132, 2048, 32, 228 << 10, 227 << 10, true},  {100, 148, 2048, 32, 228 << 10, 227 << 10, true},
  {120, 170, 1536, 24, 100 << 10, 99 << 10, true},
};

// The newest one that is not newer than the architecture.
static Model model_of(int arch) {
  Model m = models[0];
  for (size_t i = 0; i < sizeof models / sizeof *models; i++)
    if (models[i].arch <= arch) m = models[i];
  m.arch = arch;
  return m;
}

void driver_say(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fputs("cuda_emu: ", stderr);
  vfprintf(stderr, fmt, ap);
  fputs("\n", stderr);
  va_end(ap);
}

// ---- handles -----------------------------------------------------------------------------------------------------

typedef struct Handle { const void *p; Kind kind; } Handle;
static struct Handles { Handle *v; int n, room; } handles;       // under the driver's lock

bool is_kind(const void *handle, Kind kind) {
  for (int i = handles.n - 1; i >= 0; i--)
    if (handles.v[i].p == handle) return handles.v[i].kind == kind;
  return false;
}

bool handle_list(Kind kind, void *handle) {
  if (handles.n == handles.room) {
    int room = handles.room ? 2 * handles.room : 32;
    Handle *v = realloc(handles.v, (size_t)room * sizeof *v);
    if (!v) return false;
    handles.v = v;
    handles.room = room;
  }
  handles.v[handles.n++] = (Handle){handle, kind};
  return true;
}

void handle_unlist(const void *handle) {
  int i = handles.n - 1;
  while (i >= 0 && handles.v[i].p != handle) i--;
  if (i < 0) return;
  memmove(&handles.v[i], &handles.v[i + 1], (size_t)(handles.n - i - 1) * sizeof *handles.v);
  handles.n--;
}

void *handle_make(Kind kind, size_t bytes) {
  void *p = calloc(1, bytes);
  if (p && handle_list(kind, p)) return p;
  free(p);
  return NULL;
}

void handle_free(void *handle) {
  handle_unlist(handle);
  free(handle);
}

CUcontext driver_context(void) { return contexts.n ? contexts.v[contexts.n - 1] : NULL; }

// ---- every call --------------------------------------------------------------------------------------------------

CUresult driver_enter(bool needs_context) {
  Driver *d = &emu_driver;
  pthread_mutex_lock(&d->lock);
  CUresult r = CUDA_SUCCESS;
  if (!d->ready) r = CUDA_ERROR_NOT_INITIALIZED;
  else if (needs_context && d->broken) r = d->broken;
  else if (needs_context && (!driver_context() || !d->device)) r = CUDA_ERROR_INVALID_CONTEXT;
  if (r) pthread_mutex_unlock(&d->lock);
  return r;
}

CUresult driver_leave(CUresult r) {
  pthread_mutex_unlock(&emu_driver.lock);
  return r;
}

CUresult cuInit(unsigned flags) {
  Driver *d = &emu_driver;
  EmuFault f = {0};
  CUresult r = CUDA_SUCCESS;
  pthread_mutex_lock(&d->lock);
  if (!settings_read(&d->settings, &f)) {
    driver_say("%s", f.text);
    r = CUDA_ERROR_UNKNOWN;
  } else if (flags) {
    r = CUDA_ERROR_INVALID_VALUE;
  } else if (!d->settings.devices) {
    r = CUDA_ERROR_NO_DEVICE;
  }
  d->model = model_of(d->settings.arch);
  d->ready |= !r;
  LEAVE(r);
}

CUresult cuDriverGetVersion(int *version) {
  Settings s;
  EmuFault f = {0};
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  if (!settings_read(&s, &f)) return CUDA_ERROR_UNKNOWN;
  *version = s.driver_version;
  return CUDA_SUCCESS;
}

CUresult cuGetProcAddress_v2(const char *name, void **f, int version, unsigned long long flags, void *status) {
  (void)version, (void)flags, (void)status;
  Dl_info here;
  if (!name || !f || !dladdr(&emu_driver, &here)) return CUDA_ERROR_INVALID_VALUE;
  void *lib = dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  *f = lib ? dlsym(lib, name) : NULL;
  if (lib) dlclose(lib);
  return *f ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

// ---- errors ------------------------------------------------------------------------------------------------------

typedef struct Error { CUresult r; const char *name, *text; } Error;
#define ERROR(r, text) {r, #r, text}
static const Error errors[] = {
  ERROR(CUDA_SUCCESS, "no error"), ERROR(CUDA_ERROR_INVALID_VALUE, "invalid argument"), ERROR(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
  ERROR(CUDA_ERROR_NOT_INITIALIZED, "initialization error"), ERROR(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
  ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"), ERROR(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
  ERROR(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"), ERROR(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
  ERROR(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed"), ERROR(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain."),
  ERROR(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"), ERROR(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
  ERROR(CUDA_ERROR_NOT_READY, "device not ready"), ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
  ERROR(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"), ERROR(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
  ERROR(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"), ERROR(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch"),
  ERROR(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"), ERROR(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
  ERROR(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "the capture was not initiated in this stream"), ERROR(CUDA_ERROR_INVALID_CLUSTER_SIZE, "cluster misconfiguration"),
  ERROR(CUDA_ERROR_UNKNOWN, "unknown error"),
};

static const Error *error_of(CUresult r) {
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (errors[i].r == r) return &errors[i];
  return NULL;
}

CUresult cuGetErrorName(CUresult r, const char **name) {
  const Error *e = error_of(r);
  *name = e ? e->name : NULL;
  return e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult r, const char **text) {
  const Error *e = error_of(r);
  *text = e ? e->text : NULL;
  return e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// ---- devices -----------------------------------------------------------------------------------------------------

static CUresult check_device(CUdevice d) { return d >= 0 && d < emu_driver.settings.devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE; }

CUresult cuDeviceGetCount(int *n) {
  ENTER(false);
  if (!n) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *n = emu_driver.settings.devices;
  LEAVE(CUDA_SUCCESS);
}

CUresult cuDeviceGet(CUdevice *d, int number) {
  ENTER(false);
  if (!d) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *d = number;
  LEAVE(check_device(number));
}

CUresult cuDeviceGetName(char *name, int room, CUdevice d) {
  ENTER(false);
  if (!name || room < 1) LEAVE(CUDA_ERROR_INVALID_VALUE);
  snprintf(name, (size_t)room, "CUDA emulator (sm_%d)", emu_driver.model.arch);
  LEAVE(check_device(d));
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice d) {
  ENTER(false);
  if (!bytes) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *bytes = emu_driver.settings.memory;
  LEAVE(check_device(d));
}

typedef struct Attribute { CUdevice_attribute a; int value; } Attribute;

// Those that are the same for all; H100's where they are of no consequence.
static const Attribute fixed[] = {
  {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, EMU_MAX_THREADS}, {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024}, {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
  {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64}, {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647}, {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
  {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535}, {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 48 << 10}, {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 64 << 10},
  {CU_DEVICE_ATTRIBUTE_WARP_SIZE, EMU_WARP}, {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536}, {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1980000},
  {CU_DEVICE_ATTRIBUTE_INTEGRATED, 0}, {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1}, {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 2619000},
  {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 5120}, {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 50 << 20}, {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3},
  {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1}, {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536}, {CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 0},
  {CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, 0}, {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1}, {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 1024},
  {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
};

static bool attribute_of(const Model *m, CUdevice_attribute a, int *value) {
  const Attribute varying[] = {
    {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, m->multiprocessors}, {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, m->threads},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, m->arch / 10}, {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, m->arch % 10},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, m->shared}, {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, m->shared_optin},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, m->blocks}, {CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, m->clusters},
  };
  for (size_t i = 0; i < sizeof varying / sizeof *varying; i++)
    if (varying[i].a == a) return *value = varying[i].value, true;
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
    if (fixed[i].a == a) return *value = fixed[i].value, true;
  return false;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute a, CUdevice d) {
  ENTER(false);
  if (!value || !attribute_of(&emu_driver.model, a, value)) LEAVE(CUDA_ERROR_INVALID_VALUE);
  LEAVE(check_device(d));
}

// ---- contexts ----------------------------------------------------------------------------------------------------

CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) {
  ENTER(false);
  Driver *e = &emu_driver;
  if (!c) LEAVE(CUDA_ERROR_INVALID_VALUE);
  if (check_device(d)) LEAVE(CUDA_ERROR_INVALID_DEVICE);
  if (!e->device) e->device = emu_device_make(e->settings.memory, (size_t)e->model.shared_optin);
  if (!e->device) LEAVE(CUDA_ERROR_OUT_OF_MEMORY);
  if (!e->retained) emu_memory_lock(e->device);
  e->retained++;
  *c = &primary;
  LEAVE(CUDA_SUCCESS);
}

static void drop_device(Driver *e) {
  emu_device_free(e->device);
  e->device = NULL;
  e->broken = CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice d) {
  ENTER(false);
  Driver *e = &emu_driver;
  if (check_device(d)) LEAVE(CUDA_ERROR_INVALID_DEVICE);
  if (!e->retained) LEAVE(CUDA_ERROR_INVALID_CONTEXT);
  if (--e->retained == 0) drop_device(e);
  LEAVE(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice d) {
  ENTER(false);
  Driver *e = &emu_driver;
  if (check_device(d)) LEAVE(CUDA_ERROR_INVALID_DEVICE);
  drop_device(e);
  if (e->retained) e->device = emu_device_make(e->settings.memory, (size_t)e->model.shared_optin);
  if (e->device) emu_memory_lock(e->device);
  LEAVE(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned *flags, int *active) {
  ENTER(false);
  if (flags) *flags = 0;
  if (active) *active = emu_driver.retained > 0;
  LEAVE(check_device(d));
}

CUresult cuCtxGetCurrent(CUcontext *c) {
  ENTER(false);
  if (!c) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *c = driver_context();
  LEAVE(CUDA_SUCCESS);
}

static CUresult push_context(CUcontext c) {
  if (c && c != &primary) return CUDA_ERROR_INVALID_CONTEXT;
  if (contexts.n == MAX_CONTEXTS) return CUDA_ERROR_UNKNOWN;
  contexts.v[contexts.n++] = c;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext c) {
  ENTER(false);
  if (contexts.n) contexts.n--;
  LEAVE(c ? push_context(c) : CUDA_SUCCESS);
}

CUresult cuCtxPushCurrent_v2(CUcontext c) {
  ENTER(false);
  LEAVE(c ? push_context(c) : CUDA_ERROR_INVALID_CONTEXT);
}

CUresult cuCtxPopCurrent_v2(CUcontext *c) {
  ENTER(false);
  if (!contexts.n) LEAVE(CUDA_ERROR_INVALID_CONTEXT);
  contexts.n--;
  if (c) *c = contexts.v[contexts.n];
  LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxGetDevice(CUdevice *d) {
  ENTER(true);
  if (!d) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *d = 0;
  LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxSynchronize(void) {
  ENTER(true);
  LEAVE(driver_capturing() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS);
}
