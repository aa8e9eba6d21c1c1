// cuda_launch.c: running a plan on a device. See cuda_launch.h.
#include "runtime/cuda_launch.h"
#include "runtime/cuda_graph.h"
#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum SlotKind { SLOT_DIM, SLOT_SCALAR, SLOT_PARAM, SLOT_RESULT, SLOT_TEMP, SLOT_FAULT } SlotKind;
typedef struct Slot { SlotKind kind; int at; } Slot;       // where an argument comes from; at: an id or a position

typedef struct Step { const Launch *launch; CudaKernel kernel; Slot *slot; } Step;

// See Note [Fault records].
enum { RING = 64, WAITING = 64, UNREAD = RING + CUDA_GRAPHS, RECORDS = UNREAD + WAITING };
typedef struct Record { long long site, value; } Record;
typedef struct Remembered { _Atomic uint64_t run; _Atomic int64_t *dim; _Atomic uint64_t *scalar; } Remembered;

struct CudaPlan {
  Arena *a;
  const CudaDevice *d;
  const Plan *plan;
  CudaModule *module;
  int nsteps, most_args; Step *step;
  int room;                            // 1 + the greatest Dim.id
  CuPointer records;                   // UNREAD of runs that nobody waits for yet, then WAITING of runs that wait; 0: no faults
  Remembered of_run[UNREAD];
  _Atomic uint64_t runs;               // without wait, so far
  _Atomic uint64_t waiting;            // bit k: record UNREAD + k is in use
  pthread_mutex_t lock;                // of reading and clearing the first part
  CudaGraphs *graphs;                  // NULL: one kernel, or a driver without graphs
};

// ---- making ------------------------------------------------------------------------------------------------------

static bool is_scalar(const Tensor *t) { return t->rank == 0 && t->role == ROLE_PARAM; }

static Slot tensor_slot(const Plan *p, const Tensor *t) {
  const Tensor *root = tensor_root(t);
  for (int i = 0; i < p->fn->params.n; i++)
    if (p->fn->params.v[i] == root) return (Slot){is_scalar(root) ? SLOT_SCALAR : SLOT_PARAM, i};
  for (int i = 0; i < p->fn->results.n; i++)
    if (p->fn->results.v[i] == root) return (Slot){SLOT_RESULT, i};
  int temp = plan_temp_of(p, t);
  if (temp >= 0) return (Slot){SLOT_TEMP, temp};
  assert(!"a launch takes a tensor that the plan does not have in memory");
  return (Slot){0};
}

static Slot slot_of(const Plan *p, const LaunchArg *x) {
  if (x->fault) return (Slot){SLOT_FAULT, 0};
  return x->dim ? (Slot){SLOT_DIM, x->dim->id} : tensor_slot(p, x->t);
}

static bool beyond(const Launch *l, const CudaDevice *d, const char *what, int has, CudaError *e) {
  return cuda_fail(e, CUDA_BEYOND, "kernel `%s` needs %s, device %d, %s, has %d", l->function, what, d->number, d->name, has);
}

static bool fits_device(const CudaDevice *d, const Launch *l, const CudaKernel *k, CudaError *e) {
  char text[64];
  if (l->cluster > 1 && !d->clusters) return beyond(l, d, "clusters of blocks", 0, e);
  if (l->cooperative && !d->cooperative) return beyond(l, d, "cooperative launches", 0, e);
  snprintf(text, sizeof text, "%d threads a block with %d registers each", l->threads, k->use.registers);
  return l->threads <= k->most_threads || beyond(l, d, text, k->most_threads, e);
}

static bool make_step(CudaPlan *c, const Launch *l, Step *s, CudaError *e) {
  s->launch = l;
  s->slot = arena_array(c->a, Slot, l->nargs);
  for (int k = 0; k < l->nargs; k++) s->slot[k] = slot_of(c->plan, &l->arg[k]);
  if (l->nargs > c->most_args) c->most_args = l->nargs;
  return cuda_kernel(c->module, l->function, l->shared_bytes != NULL, l->cluster, &s->kernel, e) && fits_device(c->d, l, &s->kernel, e);
}

static bool any_faults(const Launches *l) {
  for (int i = 0; i < l->n; i++)
    for (int k = 0; k < l->v[i].nargs; k++)
      if (l->v[i].arg[k].fault) return true;
  return false;
}

static bool make_records(CudaPlan *c, CudaError *e) {
  size_t bytes = RECORDS * sizeof(Record);
  for (int i = 0; i < UNREAD; i++) {
    c->of_run[i].dim = arena_alloc_array(c->a, (size_t)c->room, sizeof *c->of_run[i].dim);
    c->of_run[i].scalar = arena_alloc_array(c->a, (size_t)c->plan->fn->params.n, sizeof *c->of_run[i].scalar);
  }
  return cuda_alloc(c->d, bytes, &c->records, e) && cuda_clear(c->d, NULL, c->records, bytes, e) && cuda_wait(c->d, NULL, e);
}

// What tells a run from another: blocks and shared memory of each launch, and its arguments.
static size_t key_bytes(const Launches *l) {
  size_t n = 0;
  for (int i = 0; i < l->n; i++) n += 1 + (size_t)l->v[i].nargs;
  return n * sizeof(uint64_t);
}

static bool make(CudaPlan *c, const Launches *launches, CudaError *e) {
  c->nsteps = launches->n;
  c->step = arena_array(c->a, Step, launches->n);
  for (int i = 0; i < launches->n; i++)
    if (!make_step(c, &launches->v[i], &c->step[i], e)) return false;
  if (launches->n > 1) c->graphs = cuda_graphs_create(c->d, key_bytes(launches));
  return !any_faults(launches) || make_records(c, e);
}

CudaPlan *cuda_plan_create(const CudaDevice *d, const Plan *p, const Launches *launches, CudaModule *m, CudaError *e) {
  Arena *a = arena_create();
  CudaPlan *c = arena_new(a, CudaPlan);
  *c = (CudaPlan){.a = a, .d = d, .plan = p, .module = m, .room = p->fn->x->next_dim};
  pthread_mutex_init(&c->lock, NULL);
  for (int i = 0; i < p->fn->dims.n; i++)
    if (p->fn->dims.v[i]->id >= c->room) c->room = p->fn->dims.v[i]->id + 1;
  if (make(c, launches, e)) return c;
  cuda_plan_free(c);
  return NULL;
}

void cuda_plan_free(CudaPlan *c) {
  if (!c) return;
  cuda_unload(c->module);                        // waits, so that nothing else of it is in use
  cuda_graphs_free(c->graphs);
  cuda_release(c->d, c->records);
  pthread_mutex_destroy(&c->lock);
  arena_destroy(c->a);
}

const GpuUse *cuda_plan_use(const CudaPlan *c, int i) { return i >= 0 && i < c->nsteps ? &c->step[i].kernel.use : NULL; }

// ---- geometry ----------------------------------------------------------------------------------------------------

enum { MOST_BLOCKS = 0x7fffffff };     // CUDA C++ Programming Guide, Technical Specifications: x-dimension of a grid

typedef struct Geometry { unsigned blocks, shared; } Geometry;     // blocks 0: left out

// What one run needs in host memory.
typedef struct Frame { Geometry *geometry; CuPointer *temp; void **arg; CuPointer record, scratch; void *own; } Frame;

typedef struct Running { CudaPlan *c; const CudaRun *r; Frame f; CudaError *e; } Running;

static bool evaluate(const Running *x, const Expr *e, Scalar *out) { return fn_eval_scalar(x->c->plan->fn, e, x->r->dims, x->r->params, out); }

static bool too_many(const Running *x, const Step *s, const char *what, int64_t n, int64_t most) {
  return cuda_fail(x->e, CUDA_BEYOND, "kernel `%s` needs %lld %s, and %lld are possible on device %d, %s", s->launch->function, (long long)n, what,
                   (long long)most, x->c->d->number, x->c->d->name);
}

static bool overflows(const Running *x, const Step *s) {
  return cuda_fail(x->e, CUDA_BEYOND, "the blocks of kernel `%s` are too many to be counted", s->launch->function);
}

static bool measure(const Running *x, const Step *s, Geometry *g) {
  const Launch *l = s->launch;
  Scalar when = {.u = 1}, blocks, shared = {0};
  *g = (Geometry){0};
  if (l->when && !evaluate(x, l->when, &when)) return overflows(x, s);
  if (!when.u) return true;
  if (!evaluate(x, l->blocks, &blocks) || (l->shared_bytes && !evaluate(x, l->shared_bytes, &shared))) return overflows(x, s);
  if (blocks.i < 0 || blocks.i > MOST_BLOCKS) return too_many(x, s, "blocks", blocks.i, MOST_BLOCKS);
  if (shared.i < 0 || shared.i > s->kernel.most_shared) return too_many(x, s, "bytes of shared memory a block", shared.i, s->kernel.most_shared);
  *g = (Geometry){(unsigned)blocks.i, (unsigned)shared.i};
  return true;
}

static bool measure_all(const Running *x) {
  for (int i = 0; i < x->c->nsteps; i++)
    if (!measure(x, &x->c->step[i], &x->f.geometry[i])) return false;
  return true;
}

// ---- arguments ---------------------------------------------------------------------------------------------------

// The driver reads what these point to during the call and writes nothing.
static void *argument(const Running *x, const Slot *s) {
  const void *p = NULL;
  switch (s->kind) {
  case SLOT_DIM: p = &x->r->dims[s->at]; break;
  case SLOT_SCALAR: p = x->r->params[s->at].data; break;
  case SLOT_PARAM: p = &x->r->params[s->at].data; break;
  case SLOT_RESULT: p = &x->r->results[s->at].data; break;
  case SLOT_TEMP: p = &x->f.temp[s->at]; break;
  case SLOT_FAULT: p = &x->f.record; break;
  }
  return (void *)(uintptr_t)p;
}
_Static_assert(sizeof(void *) == sizeof(CuPointer) && sizeof(int64_t) == sizeof(long long), "kernels take 8-byte pointers and numbers");

// Whether the tensors' addresses are as the launch wants them.
static bool suits(const Running *x, const Step *s) {
  int n = s->launch->aligned < 0 ? -s->launch->aligned : s->launch->aligned;
  bool all = true;
  for (int k = 0; k < s->launch->nargs && n; k++)
    if (s->slot[k].kind >= SLOT_PARAM && s->slot[k].kind <= SLOT_TEMP) all &= *(const CuPointer *)argument(x, &s->slot[k]) % (CuPointer)n == 0;
  return !n || all == (s->launch->aligned > 0);
}

static bool place_temps(Running *x) {
  const Plan *p = x->c->plan;
  for (int i = 0; i < p->temps.n; i++) {
    Scalar offset;
    if (!evaluate(x, p->temps.v[i].offset, &offset)) return cuda_fail(x->e, CUDA_BEYOND, "the temporaries are too large to be counted");
    x->f.temp[i] = x->f.scratch + (CuPointer)offset.i;
  }
  return true;
}

// ---- launching ---------------------------------------------------------------------------------------------------

// On the legacy default stream a kernel also waits for other streams, and they for it: nothing is to begin early there.
static bool dependent(const CudaDevice *d, const Launch *l, CuStream s) {
  return l->dependent && d->dependent && s && (uintptr_t)s != CU_STREAM_OF_LEGACY;
}

static unsigned attributes(const CudaDevice *d, const Launch *l, CuStream s, CuAttribute *a) {
  unsigned n = 0;
  if (l->cluster > 1) a[n++] = (CuAttribute){.id = CU_ATTRIBUTE_CLUSTER, .value.cluster = {(unsigned)l->cluster, 1, 1}};
  if (l->cooperative) a[n++] = (CuAttribute){.id = CU_ATTRIBUTE_COOPERATIVE, .value.flag = 1};
  if (dependent(d, l, s)) a[n++] = (CuAttribute){.id = CU_ATTRIBUTE_DEPENDENT, .value.flag = 1};
  return n;
}

static CuResult start(const Running *x, const Step *s, const Geometry *g) {
  const CudaDriver *f = x->c->d->f;
  const Launch *l = s->launch;
  CuFunction k = s->kernel.f;
  unsigned threads = (unsigned)l->threads;
  CuAttribute a[3];
  unsigned n = attributes(x->c->d, l, x->r->stream, a);
  if (!n) return f->launch(k, g->blocks, 1, 1, threads, 1, 1, g->shared, x->r->stream, x->f.arg, NULL);
  CuLaunch how = {{g->blocks, 1, 1}, {threads, 1, 1}, g->shared, x->r->stream, a, n};
  if (f->launch_ex) return f->launch_ex(&how, k, x->f.arg, NULL);
  if (l->cooperative) return f->launch_cooperative(k, g->blocks, 1, 1, threads, 1, 1, g->shared, x->r->stream, x->f.arg);
  return f->launch(k, g->blocks, 1, 1, threads, 1, 1, g->shared, x->r->stream, x->f.arg, NULL);
}

static bool launch(const Running *x, const Step *s, const Geometry *g) {
  if (!g->blocks || !suits(x, s)) return true;
  for (int k = 0; k < s->launch->nargs; k++) x->f.arg[k] = argument(x, &s->slot[k]);
  CuResult r = start(x, s, g);
  bool good = cuda_check(x->c->d->f, r, x->e, "launching `%s` with %u blocks of %d threads and %u bytes of shared memory", s->launch->function, g->blocks,
                         s->launch->threads, g->shared);
  if ((r == CU_OUT_OF_RESOURCES || r == CU_COOPERATIVE_TOO_LARGE) && x->e) x->e->fault = CUDA_BEYOND;
  return good;
}

static bool launch_all(const Running *x) {
  for (int i = 0; i < x->c->nsteps; i++)
    if (!launch(x, &x->c->step[i], &x->f.geometry[i])) return false;
  return true;
}

// ---- graphs ------------------------------------------------------------------------------------------------------

static int scalar_bytes(const CudaPlan *c, int i) { return dtypes[c->plan->fn->params.v[i]->dtype].bits / 8; }

// The record is left out: a graph has its own.
static void write_key(const Running *x, uint64_t *key) {
  for (int i = 0; i < x->c->nsteps; i++) {
    const Step *s = &x->c->step[i];
    *key++ = (uint64_t)x->f.geometry[i].blocks << 32 | x->f.geometry[i].shared;
    for (int k = 0; k < s->launch->nargs; k++, key++) {
      bool scalar = s->slot[k].kind == SLOT_SCALAR;
      *key = 0;
      if (s->slot[k].kind != SLOT_FAULT) memcpy(key, argument(x, &s->slot[k]), scalar ? (size_t)scalar_bytes(x->c, s->slot[k].at) : sizeof *key);
    }
  }
}

static bool launch_captured(void *cx, CuStream s) {
  Running x = *(const Running *)cx;
  CudaRun r = *x.r;
  CudaError ignored = {0};             // the run goes the plain way then, which will tell
  r.stream = s;
  x.r = &r;
  x.e = &ignored;
  bool good = launch_all(&x);
  cuda_error_clear(&ignored);
  return good;
}

// ---- fault records -----------------------------------------------------------------------------------------------

static CuPointer record_at(const CudaPlan *c, int i) { return c->records + (CuPointer)i * sizeof(Record); }

// The record of a run that nobody waits for yet, and what its fault will need to be told.
static int take_record(CudaPlan *c, const CudaRun *r, int graph) {
  const Fn *f = c->plan->fn;
  uint64_t run = atomic_fetch_add(&c->runs, 1);
  int record = graph >= 0 ? RING + graph : (int)(run % RING);
  Remembered *m = &c->of_run[record];
  atomic_store_explicit(&m->run, run, memory_order_relaxed);
  for (int i = 0; i < f->dims.n; i++) {
    int id = f->dims.v[i]->id;
    atomic_store_explicit(&m->dim[id], r->dims[id], memory_order_relaxed);
  }
  for (int i = 0; i < f->params.n; i++) {
    uint64_t bits = 0;
    if (!is_scalar(f->params.v[i])) continue;
    memcpy(&bits, r->params[i].data, (size_t)scalar_bytes(c, i));
    atomic_store_explicit(&m->scalar[i], bits, memory_order_relaxed);
  }
  return record;
}

// A record of its own for a run that waits. All of them are in use only while WAITING threads wait for the device.
static int take_waiting(CudaPlan *c) {
  for (;;) {
    uint64_t busy = atomic_load(&c->waiting);
    int k = busy == UINT64_MAX ? -1 : __builtin_ctzll(~busy);
    if (k >= 0 && atomic_compare_exchange_weak(&c->waiting, &busy, busy | (uint64_t)1 << k)) return UNREAD + k;
    if (k < 0) sched_yield();
  }
}

static void give_waiting(CudaPlan *c, int record) { atomic_fetch_and(&c->waiting, ~((uint64_t)1 << (record - UNREAD))); }

static CallStatus tell(const CudaPlan *c, const Record *got, const int64_t *dims, const View *params, Fault *fault, CudaError *e) {
  if (!got->site) return CALL_OK;
  if (got->site < 0 || got->site > c->plan->sites.n) {
    cuda_fail(e, CUDA_CALL, "a kernel reports the failure of check %lld, which does not exist", got->site);
    return CALL_DEVICE;
  }
  call_fault(c->plan, c->plan->sites.v[got->site - 1], got->value, dims, params, fault);
  return CALL_FAULT;
}

// What the run's own record says, which is left zero.
static CallStatus own_fault(const Running *x, Fault *fault) {
  Record got = {0};
  const CudaRun *r = x->r;
  if (!x->c->records) return CALL_OK;
  if (!cuda_download(x->c->d, r->stream, &got, x->f.record, sizeof got, x->e)) return CALL_DEVICE;
  if (got.site && (!cuda_clear(x->c->d, r->stream, x->f.record, sizeof got, x->e) || !cuda_wait(x->c->d, r->stream, x->e))) return CALL_DEVICE;
  return tell(x->c, &got, r->dims, r->params, fault, x->e);
}

// The record of the earliest run among those with a fault; NULL when there is none.
static const Record *earliest(const CudaPlan *c, const Record *got, int *which) {
  const Record *best = NULL;
  for (int i = 0; i < UNREAD; i++) {
    if (!got[i].site || (best && atomic_load(&c->of_run[i].run) > atomic_load(&c->of_run[*which].run))) continue;
    best = &got[i];
    *which = i;
  }
  return best;
}

static CallStatus tell_remembered(CudaPlan *c, const Record *got, int which, Fault *fault, CudaError *e) {
  const Fn *f = c->plan->fn;
  Arena *a = arena_create();
  int64_t *dims = arena_array(a, int64_t, c->room);
  uint64_t *scalar = arena_array(a, uint64_t, f->params.n);
  View *params = arena_array(a, View, f->params.n);
  for (int i = 0; i < c->room; i++) dims[i] = atomic_load(&c->of_run[which].dim[i]);
  for (int i = 0; i < f->params.n; i++) {
    scalar[i] = atomic_load(&c->of_run[which].scalar[i]);
    params[i].data = &scalar[i];
  }
  CallStatus s = tell(c, got, dims, params, fault, e);
  arena_destroy(a);
  return s;
}

// Those that were read only: a run on another stream may be writing its own.
static bool forget(const CudaPlan *c, CuStream s, const Record *got, CudaError *e) {
  for (int i = 0; i < UNREAD; i++)
    if (got[i].site && !cuda_clear(c->d, s, record_at(c, i), sizeof *got, e)) return false;
  return cuda_wait(c->d, s, e);
}

static CallStatus collect(CudaPlan *c, CuStream s, Fault *fault, CudaError *e) {
  Record got[UNREAD];
  int which = 0;
  if (!cuda_download(c->d, s, got, c->records, sizeof got, e)) return CALL_DEVICE;
  const Record *first = earliest(c, got, &which);
  if (!first) return CALL_OK;
  if (!forget(c, s, got, e)) return CALL_DEVICE;
  return tell_remembered(c, first, which, fault, e);
}

CallStatus cuda_plan_wait(CudaPlan *c, CuStream s, Fault *fault, CudaError *e) {
  if (!c->records) return cuda_wait(c->d, s, e) ? CALL_OK : CALL_DEVICE;
  pthread_mutex_lock(&c->lock);
  CallStatus status = collect(c, s, fault, e);
  pthread_mutex_unlock(&c->lock);
  return status;
}

// ---- timing ------------------------------------------------------------------------------------------------------

typedef struct Timer { CuEvent from, to; } Timer;

static bool timer_start(const Running *x, Timer *t) {
  const CudaDriver *f = x->c->d->f;
  *t = (Timer){0};
  if (!x->r->ms) return true;
  return cuda_check(f, f->event_create(&t->from, 0), x->e, "cuEventCreate") && cuda_check(f, f->event_create(&t->to, 0), x->e, "cuEventCreate") &&
         cuda_check(f, f->event_record(t->from, x->r->stream), x->e, "cuEventRecord");
}

static bool timer_stop(const Running *x, Timer *t) {
  const CudaDriver *f = x->c->d->f;
  float ms = 0;
  if (!x->r->ms) return true;
  bool good = cuda_check(f, f->event_record(t->to, x->r->stream), x->e, "cuEventRecord") &&
              cuda_check(f, f->event_wait(t->to), x->e, "waiting for the kernels on device %d", x->c->d->number) &&
              cuda_check(f, f->event_elapsed(&ms, t->from, t->to), x->e, "cuEventElapsedTime");
  *x->r->ms = ms;
  return good;
}

static void timer_free(const Running *x, Timer *t) {
  if (t->from) x->c->d->f->event_destroy(t->from);
  if (t->to) x->c->d->f->event_destroy(t->to);
}

// ---- running -----------------------------------------------------------------------------------------------------

enum { STACK_FRAME = 2048 };           // enough for some sixty kernels and a hundred arguments and temporaries

static void *carve(char *memory, size_t *used, int n, size_t size) {
  void *p = memory ? memory + *used : NULL;
  *used += ((size_t)n * size + 15) / 16 * 16;
  return p;
}

static size_t place(Running *x, char *memory) {
  size_t used = 0;
  x->f.geometry = carve(memory, &used, x->c->nsteps, sizeof *x->f.geometry);
  x->f.temp = carve(memory, &used, x->c->plan->temps.n, sizeof *x->f.temp);
  x->f.arg = carve(memory, &used, x->c->most_args, sizeof *x->f.arg);
  return used;
}

static bool open_frame(Running *x, char *stack) {
  size_t bytes = place(x, NULL);
  if (bytes > STACK_FRAME && !(x->f.own = malloc(bytes))) return cuda_fail(x->e, CUDA_HOST_MEMORY, "out of memory");
  place(x, x->f.own ? x->f.own : stack);
  return true;
}

static bool run_timed(Running *x) {
  Timer t;
  bool good = timer_start(x, &t) && launch_all(x) && timer_stop(x, &t);
  timer_free(x, &t);
  return good;
}

static void set_record(Running *x, int record) { x->f.record = record < 0 ? 0 : record_at(x->c, record); }

// A run that nobody waits for, as a graph where it has come before.
static bool run_freely(Running *x) {
  CudaPlan *c = x->c;
  uint64_t *key = x->r->replay ? cuda_graphs_begin(c->graphs) : NULL;
  int graph = -1;
  if (key) {
    write_key(x, key);
    graph = cuda_graphs_find(c->graphs);
  }
  set_record(x, c->records ? take_record(c, x->r, graph) : -1);
  bool done = graph >= 0 && cuda_graphs_launch(c->graphs, graph, x->r->stream, launch_captured, x);
  if (key) cuda_graphs_end(c->graphs);
  return done || launch_all(x);
}

static CallStatus run_waiting(Running *x, Fault *fault) {
  CudaPlan *c = x->c;
  int record = c->records ? take_waiting(c) : -1;
  set_record(x, record);
  CallStatus s = run_timed(x) && cuda_wait(c->d, x->r->stream, x->e) ? own_fault(x, fault) : CALL_DEVICE;
  if (record < 0) return s;
  if (s == CALL_DEVICE) cuda_clear(c->d, x->r->stream, x->f.record, sizeof(Record), NULL);   // for its next user
  give_waiting(c, record);
  return s;
}

// With the device's context current and all checks made.
static CallStatus run_placed(Running *x, Fault *fault) {
  if (x->r->wait || x->r->ms) return run_waiting(x, fault);
  return run_freely(x) ? CALL_OK : CALL_DEVICE;
}

static CallStatus run_with_scratch(Running *x, size_t need, Fault *fault) {
  const CudaRun *r = x->r;
  x->f.scratch = (CuPointer)(uintptr_t)r->scratch;
  if (!r->scratch && !cuda_alloc_on(x->c->d, r->stream, need, &x->f.scratch, x->e)) return CALL_DEVICE;
  CallStatus s = place_temps(x) ? run_placed(x, fault) : CALL_DEVICE;
  if (!r->scratch) cuda_release_on(x->c->d, r->stream, x->f.scratch);
  return s;
}

static CallStatus run_entered(Running *x, size_t need, Fault *fault) {
  CudaScope scope;
  if (!cuda_enter(x->c->d, &scope, x->e)) return CALL_DEVICE;
  CallStatus s = measure_all(x) ? run_with_scratch(x, need, fault) : CALL_DEVICE;
  cuda_leave(&scope);
  return s;
}

CallStatus cuda_plan_run(CudaPlan *c, const CudaRun *r, Fault *fault, CudaError *e) {
  Running x = {.c = c, .r = r, .e = e};
  _Alignas(16) char stack[STACK_FRAME];
  if (!call_conditions(c->plan, r->params, r->dims, fault)) return CALL_FAULT;
  int64_t need = call_scratch_bytes(c->plan, r->dims, r->params);
  if (need < 0) return CALL_MEMORY;
  if (r->scratch && ((uint64_t)need > r->scratch_bytes || (uintptr_t)r->scratch % CALL_SCRATCH_ALIGN)) return CALL_SCRATCH;
  CallStatus s = open_frame(&x, stack) ? run_entered(&x, (size_t)need, fault) : CALL_DEVICE;
  free(x.f.own);
  return s;
}

// Note [Fault records]
//
// A check of data that fails on the device writes two numbers, the check's and the value, into a record in device memory
// that was zero. Each run has a record of its own, so that a fault is told with the dimensions of its run. A run that waits
// takes one of WAITING that no other run uses meanwhile, reads it at its end, and its caller alone hears of it. A run
// that does not wait takes the next of a RING, without clearing it, so that a launch costs no more than its kernels and
// may be captured into a graph; cuda_plan_wait reads the ring and clears it. When more than RING runs pass between two
// waits, records are shared: a fault is still reported, with the dimensions of the latest run of that record. Our own graphs
// have their record's address in them, so each has one.
