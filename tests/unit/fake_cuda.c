// fake_cuda.c: a look-alike of the CUDA driver. See fake_cuda.h.
#include "fake_cuda.h"
#include "runtime/cuda_driver.h"
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { MEMORIES = 1024, STACK = 16 };

typedef struct Memory { char *p; size_t bytes; } Memory;

static FakeCuda fake = {
  .version = 13000, .devices = 1, .major = 9, .minor = 0, .shared_optin = 227 << 10, .threads_most = 1024, .pools = true, .clusters = true,
  .cooperative = true, .memory = (size_t)1 << 30,
};
static Memory memory[MEMORIES];
static CuContext stack[STACK];
static int primary;                    // its address is the context

EXPORT FakeCuda *fake_cuda(void);
FakeCuda *fake_cuda(void) { return &fake; }

// ---- calls -------------------------------------------------------------------------------------------------------

// CU_OK, or the failure that the test has planned for this function.
static CuResult planned(const char *name) {
  if (!fake.fails || strcmp(fake.fails, name) != 0 || fake.skip-- > 0) return CU_OK;
  fake.fails = NULL;
  return fake.code;
}
#define CALL(name) do { CuResult planned_ = planned(name); if (planned_) return planned_; } while (0)

static CuResult with_context(void) {
  if (fake.depth > 0 && fake.contexts > 0 && stack[fake.depth - 1] == (CuContext)&primary) return CU_OK;
  fake.strict = true;
  return 201;
}
#define CONTEXT(name) do { CALL(name); if (with_context()) return 201; } while (0)

#define CUDA(FIELD, SYMBOL, SINCE, PARAMETERS) EXPORT CuResult fake_##FIELD PARAMETERS __asm__(SYMBOL);
#include "runtime/cuda_driver.def"
#undef CUDA

CuResult fake_init(unsigned flags) { (void)flags; CALL("cuInit"); return CU_OK; }
CuResult fake_version(int *v) { CALL("cuDriverGetVersion"); *v = fake.version; return CU_OK; }
CuResult fake_error_name(CuResult r, const char **name) { *name = r == CU_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_FAKE"; return CU_OK; }
CuResult fake_error_text(CuResult r, const char **text) { *text = r == CU_OUT_OF_MEMORY ? "out of memory" : "a planned failure"; return CU_OK; }

CuResult fake_device_count(int *n) { CALL("cuDeviceGetCount"); *n = fake.devices; return CU_OK; }
CuResult fake_device_get(CuDevice *d, int number) { CALL("cuDeviceGet"); *d = number; return number < fake.devices ? CU_OK : CU_INVALID_DEVICE; }
CuResult fake_device_name(char *name, int room, CuDevice d) { (void)d; strncpy(name, "Fake GPU", (size_t)room); return CU_OK; }
CuResult fake_device_memory(size_t *bytes, CuDevice d) { (void)d; *bytes = fake.memory; return CU_OK; }

CuResult fake_device_attribute(int *v, int attribute, CuDevice d) {
  (void)d;
  switch (attribute) {
  case CU_MULTIPROCESSORS: *v = 4; break;
  case CU_ARCH_MAJOR: *v = fake.major; break;
  case CU_ARCH_MINOR: *v = fake.minor; break;
  case CU_PAGEABLE_ACCESS: *v = fake.pageable; break;
  case CU_COOPERATIVE: *v = fake.cooperative; break;
  case CU_SHARED_OPTIN: *v = fake.shared_optin; break;
  case CU_MEMORY_POOLS: *v = fake.pools; break;
  case CU_CLUSTERS: *v = fake.clusters; break;
  default: return CU_INVALID_VALUE;
  }
  return CU_OK;
}

// ---- contexts ----------------------------------------------------------------------------------------------------

CuResult fake_primary_retain(CuContext *c, CuDevice d) {
  (void)d;
  CALL("cuDevicePrimaryCtxRetain");
  *c = (CuContext)&primary;
  fake.contexts++;
  return CU_OK;
}
CuResult fake_primary_release(CuDevice d) { (void)d; fake.contexts--; return CU_OK; }
CuResult fake_context_current(CuContext *c) { *c = fake.depth ? stack[fake.depth - 1] : NULL; return CU_OK; }
CuResult fake_context_push(CuContext c) { CALL("cuCtxPushCurrent"); stack[fake.depth++] = c; return CU_OK; }
CuResult fake_context_pop(CuContext *c) { *c = stack[--fake.depth]; return CU_OK; }
CuResult fake_context_wait(void) { CONTEXT("cuCtxSynchronize"); fake.waits++; return CU_OK; }

// ---- modules -----------------------------------------------------------------------------------------------------

typedef struct Function { char name[64]; struct Function *next; } Function;
static Function *functions;
static int module;

CuResult fake_module_load(CuModule *m, const void *image, unsigned n, int *option, void **value) {
  strncpy(fake.image, image, sizeof fake.image - 1);
  for (unsigned i = 0; i < n && fake.log; i++)
    if (option[i] == CU_JIT_ERROR_LOG) strcpy(value[i], fake.log);
  CONTEXT("cuModuleLoadDataEx");
  *m = (CuModule)&module;
  fake.modules++;
  fake.loads++;
  return CU_OK;
}
CuResult fake_module_unload(CuModule m) { (void)m; CONTEXT("cuModuleUnload"); fake.modules--; return CU_OK; }

CuResult fake_module_function(CuFunction *f, CuModule m, const char *name) {
  (void)m;
  CONTEXT("cuModuleGetFunction");
  if (fake.missing && strcmp(name, fake.missing) == 0) return CU_NOT_FOUND;
  Function *x = functions;
  while (x && strcmp(x->name, name)) x = x->next;
  if (!x) {
    x = calloc(1, sizeof *x);
    strncpy(x->name, name, sizeof x->name - 1);
    x->next = functions;
    functions = x;
  }
  *f = (CuFunction)x;
  return CU_OK;
}

CuResult fake_function_get(int *v, int attribute, CuFunction f) {
  (void)f;
  CONTEXT("cuFuncGetAttribute");
  *v = attribute == CU_MAX_THREADS ? fake.threads_most : attribute == CU_STATIC_SHARED ? fake.static_shared : attribute == CU_REGISTERS ? 40 : 0;
  return CU_OK;
}
CuResult fake_function_set(CuFunction f, int attribute, int v) {
  (void)f;
  CONTEXT("cuFuncSetAttribute");
  return attribute == CU_MAX_DYNAMIC_SHARED && v > fake.shared_optin - fake.static_shared ? CU_INVALID_VALUE : CU_OK;
}

// ---- launches ----------------------------------------------------------------------------------------------------

static void attributes(FakeLaunch *l, const CuAttribute *a, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    if (a[i].id == CU_ATTRIBUTE_CLUSTER) l->cluster = a[i].value.cluster.x;
    if (a[i].id == CU_ATTRIBUTE_COOPERATIVE) l->cooperative = a[i].value.flag;
    if (a[i].id == CU_ATTRIBUTE_DEPENDENT) l->dependent = a[i].value.flag;
  }
}

static CuStream capturing;

static CuResult note(const FakeLaunch *l, CuFunction f, void **arg) {
  if (capturing && l->stream == capturing) return fake.captured++, CU_OK;
  FakeLaunch *x = &fake.launch[__atomic_fetch_add(&fake.launches, 1, __ATOMIC_RELAXED) % FAKE_LAUNCHES];
  *x = *l;
  strcpy(x->function, ((Function *)f)->name);
  if (fake.kernel) fake.kernel(x->function, l->blocks, l->threads, arg);
  return CU_OK;
}

CuResult fake_launch(CuFunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CuStream s, void **arg,
                     void **extra) {
  CONTEXT("cuLaunchKernel");
  if (gy != 1 || gz != 1 || by != 1 || bz != 1 || extra) return CU_INVALID_VALUE;
  return note(&(FakeLaunch){.blocks = gx, .threads = bx, .shared = shared, .stream = s}, f, arg);
}
CuResult fake_launch_cooperative(CuFunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CuStream s,
                                 void **arg) {
  (void)gy, (void)gz, (void)by, (void)bz;
  CONTEXT("cuLaunchCooperativeKernel");
  return note(&(FakeLaunch){.blocks = gx, .threads = bx, .shared = shared, .stream = s, .cooperative = true}, f, arg);
}
CuResult fake_launch_ex(const CuLaunch *how, CuFunction f, void **arg, void **extra) {
  (void)extra;
  CONTEXT("cuLaunchKernelEx");
  FakeLaunch l = {.blocks = how->grid[0], .threads = how->block[0], .shared = how->shared, .stream = how->stream};
  attributes(&l, how->attribute, how->nattributes);
  return note(&l, f, arg);
}

// ---- memory ------------------------------------------------------------------------------------------------------

static CuResult allocate(CuPointer *p, size_t bytes) {
  int i = 0;
  if (!bytes) return CU_INVALID_VALUE;
  if (bytes > fake.memory - fake.used) return CU_OUT_OF_MEMORY;
  while (memory[i].p) i++;
  memory[i] = (Memory){aligned_alloc(256, (bytes + 255) / 256 * 256), bytes};
  memset(memory[i].p, 0xa5, bytes);
  fake.used += bytes;
  fake.memories++;
  *p = (CuPointer)(uintptr_t)memory[i].p;
  return CU_OK;
}

// The allocation that an address lies in, NULL when none.
static Memory *find(CuPointer p) {
  for (int i = 0; i < MEMORIES; i++)
    if (memory[i].p && (char *)(uintptr_t)p >= memory[i].p && (char *)(uintptr_t)p < memory[i].p + memory[i].bytes) return &memory[i];
  return NULL;
}

static CuResult release(CuPointer p) {
  Memory *m = find(p);
  if (!m || m->p != (char *)(uintptr_t)p) return CU_INVALID_VALUE;
  fake.used -= m->bytes;
  fake.memories--;
  free(m->p);
  m->p = NULL;
  return CU_OK;
}

// Whether n bytes at p lie in one allocation.
static bool inside(CuPointer p, size_t n) {
  const Memory *m = find(p);
  return m && (char *)(uintptr_t)p + n <= m->p + m->bytes;
}

CuResult fake_memory_alloc(CuPointer *p, size_t bytes) { CONTEXT("cuMemAlloc"); return allocate(p, bytes); }
CuResult fake_memory_free(CuPointer p) { CONTEXT("cuMemFree"); return release(p); }
CuResult fake_memory_alloc_async(CuPointer *p, size_t bytes, CuStream s) { (void)s; CONTEXT("cuMemAllocAsync"); return allocate(p, bytes); }
CuResult fake_memory_free_async(CuPointer p, CuStream s) { (void)s; CONTEXT("cuMemFreeAsync"); return release(p); }
CuResult fake_memory_info(size_t *left, size_t *all) { CONTEXT("cuMemGetInfo"); *all = fake.memory; *left = fake.memory - fake.used; return CU_OK; }
CuResult fake_memory_upload(CuPointer to, const void *from, size_t n, CuStream s) {
  (void)s;
  CONTEXT("cuMemcpyHtoDAsync");
  return inside(to, n) ? memcpy((void *)(uintptr_t)to, from, n), CU_OK : CU_INVALID_VALUE;
}
CuResult fake_memory_download(void *to, CuPointer from, size_t n, CuStream s) {
  (void)s;
  CONTEXT("cuMemcpyDtoHAsync");
  return inside(from, n) ? memcpy(to, (void *)(uintptr_t)from, n), CU_OK : CU_INVALID_VALUE;
}
CuResult fake_memory_clear(CuPointer p, unsigned char v, size_t n, CuStream s) {
  (void)s;
  CONTEXT("cuMemsetD8Async");
  return inside(p, n) ? memset((void *)(uintptr_t)p, v, n), CU_OK : CU_INVALID_VALUE;
}
CuResult fake_pointer_attribute(void *v, int attribute, CuPointer p) {
  CONTEXT("cuPointerGetAttribute");
  if (attribute != CU_POINTER_MEMORY_TYPE || !find(p)) return CU_INVALID_VALUE;
  *(unsigned *)v = 2;
  return CU_OK;
}

// ---- streams and events ------------------------------------------------------------------------------------------

static int stream, event;

CuResult fake_stream_create(CuStream *s, unsigned flags) { (void)flags; CONTEXT("cuStreamCreate"); *s = (CuStream)&stream; return CU_OK; }
CuResult fake_stream_destroy(CuStream s) { (void)s; CONTEXT("cuStreamDestroy"); return CU_OK; }
CuResult fake_stream_wait(CuStream s) { (void)s; CONTEXT("cuStreamSynchronize"); fake.waits++; return CU_OK; }
CuResult fake_capture_mode(int *mode) {
  static int now;
  int before = now;
  now = *mode;
  *mode = before;
  return CU_OK;
}
CuResult fake_capture_begin(CuStream s, int mode) { (void)mode; CONTEXT("cuStreamBeginCapture"); capturing = s; return CU_OK; }
CuResult fake_capture_end(CuStream s, CuGraph *g) {
  (void)s;
  capturing = NULL;
  CONTEXT("cuStreamEndCapture");
  *g = (CuGraph)&stream;
  fake.graphs++;
  return CU_OK;
}
CuResult fake_graph_instantiate(CuGraphExec *x, CuGraph g, unsigned long long flags) {
  (void)g, (void)flags;
  CONTEXT("cuGraphInstantiateWithFlags");
  *x = (CuGraphExec)&stream;
  fake.graphs++;
  return CU_OK;
}
CuResult fake_graph_launch(CuGraphExec x, CuStream s) { (void)x, (void)s; CONTEXT("cuGraphLaunch"); fake.replays++; return CU_OK; }
CuResult fake_graph_destroy(CuGraph g) { (void)g; fake.graphs--; return CU_OK; }
CuResult fake_graph_exec_destroy(CuGraphExec x) { (void)x; fake.graphs--; return CU_OK; }
CuResult fake_event_create(CuEvent *e, unsigned flags) { (void)flags; CONTEXT("cuEventCreate"); *e = (CuEvent)&event; fake.events++; return CU_OK; }
CuResult fake_event_record(CuEvent e, CuStream s) { (void)e, (void)s; CONTEXT("cuEventRecord"); return CU_OK; }
CuResult fake_event_wait(CuEvent e) { (void)e; CONTEXT("cuEventSynchronize"); return CU_OK; }
CuResult fake_event_elapsed(float *ms, CuEvent from, CuEvent to) { (void)from, (void)to; CONTEXT("cuEventElapsedTime"); *ms = 0.25f; return CU_OK; }
CuResult fake_event_destroy(CuEvent e) { (void)e; fake.events--; return CU_OK; }
