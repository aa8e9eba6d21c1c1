// launch.c: a launch from its arguments to its result, in one order or compared in several.
#include "run.h"
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool emu_fault(EmuFault *f, EmuFaultKind kind, const char *fmt, ...) {
  if (f->kind != EMU_FINE) return false;
  va_list ap;
  va_start(ap, fmt);
  f->kind = kind;
  vsnprintf(f->text, sizeof f->text, fmt, ap);
  va_end(ap);
  return false;
}

const char *emu_fault_name(EmuFaultKind kind) {
  static const char *const names[] = {
    [EMU_FINE] = "no fault", [EMU_BAD_BARRIER] = "divergent barrier", [EMU_BAD_MASK] = "divergent warp", [EMU_RACE] = "race",
    [EMU_UNINITIALISED] = "uninitialised memory", [EMU_BOUNDS] = "out of bounds", [EMU_MISALIGNED] = "misaligned access",
    [EMU_CONFIG] = "impossible launch", [EMU_ORDER] = "order of threads", [EMU_STUCK] = "no thread can run", [EMU_STOPPED] = "stopped",
    [EMU_STACK] = "stack overflow", [EMU_UNDEFINED] = "undefined behaviour", [EMU_HOST] = "this machine",
  };
  return names[kind];
}

bool emu_order_parse(const char *s, EmuOrder *o) {
  EmuOrderKind kind = EMU_RANDOM;
  char *end = NULL;
  uint64_t seed = strncmp(s, "random:", 7) == 0 ? strtoull(s + 7, &end, 10) : 0;
  if (strcmp(s, "forward") == 0) kind = EMU_FORWARD;
  else if (strcmp(s, "reversed") == 0) kind = EMU_REVERSED;
  else if (!end || end == s + 7 || *end) return false;
  *o = (EmuOrder){kind, kind, seed};
  return true;
}

// ---- what no GPU would launch ------------------------------------------------------------------------------------

enum { STATIC_LIMIT = 48 << 10, GRID_YZ = 65535, BLOCK_Z = 64, GRID_X = 2147483647 };     // CUDA C++ Guide, Compute Capabilities

static bool check_shape(const EmuLaunch *l, EmuFault *f) {
  EmuDim b = l->block, g = l->grid;
  uint64_t threads = (uint64_t)b.x * b.y * b.z;
  if (!threads || b.z > BLOCK_Z || threads > EMU_MAX_THREADS)
    return emu_fault(f, EMU_CONFIG, "a block of %u x %u x %u threads: 1 to %d may be in a block, 64 of them along z", b.x, b.y, b.z, EMU_MAX_THREADS);
  if (l->kernel->max_threads && threads > (uint64_t)l->kernel->max_threads)
    return emu_fault(f, EMU_CONFIG, "%d threads, but the kernel is compiled for %d (__launch_bounds__)", (int)threads, l->kernel->max_threads);
  if (!g.x || !g.y || !g.z || g.x > GRID_X || g.y > GRID_YZ || g.z > GRID_YZ) return emu_fault(f, EMU_CONFIG, "a grid of %u x %u x %u blocks", g.x, g.y, g.z);
  if ((uint64_t)g.x * g.y * g.z > UINT32_MAX / 2) return emu_fault(f, EMU_CONFIG, "more blocks than the emulator counts");
  return true;
}

static bool check_cluster_shape(const EmuLaunch *l, EmuFault *f) {
  unsigned n = l->cluster > 1 ? l->cluster : 1;
  if (n > EMU_MAX_CLUSTER || l->grid.x % n) return emu_fault(f, EMU_CONFIG, "clusters of %u blocks in a grid of %u", n, l->grid.x);
  if (l->kernel->cluster && l->kernel->cluster != (int)n) return emu_fault(f, EMU_CONFIG, "clusters of %u blocks, but the kernel is compiled for %d", n, l->kernel->cluster);
  return true;
}

static bool check_shared_size(const EmuDevice *d, const EmuLaunch *l, EmuFault *f) {
  size_t fixed = emu_shared_bytes(l->module, l->kernel);
  if (fixed > STATIC_LIMIT) return emu_fault(f, EMU_CONFIG, "%zu bytes of static shared memory, of at most %d", fixed, STATIC_LIMIT);
  if (l->dynamic > d->shared_limit || fixed + l->dynamic > d->shared_limit)
    return emu_fault(f, EMU_CONFIG, "%zu bytes of static and %zu of dynamic shared memory, of at most %zu together", fixed, l->dynamic, d->shared_limit);
  return true;
}

static bool check_arguments(const EmuDevice *d, const EmuLaunch *l, EmuFault *f) {
  for (int i = 0; i < l->kernel->nparams; i++) {
    const void *p;
    if (l->kernel->param[i].how == EMU_BY_VALUE) continue;
    memcpy(&p, l->arg[i], sizeof p);
    if (p && !emu_in_memory(d, p, 0)) return emu_fault(f, EMU_BOUNDS, "argument `%s`, %p, is no pointer to device memory", l->kernel->param[i].name, p);
  }
  return true;
}

// ---- signals -----------------------------------------------------------------------------------------------------

// An access that has no page: beside an allocation, behind dynamic shared memory, below a stack, or anywhere. Without checks that
// is how most of them are found.
static void explain_address(const Run *r, const unsigned char *p, char *out, size_t n) {
  const Allocation *a = memory_near(r->device, p);
  const FiberStacks *s = r->stacks;
  if (a && p < a->base) snprintf(out, n, "%td bytes before an allocation of %zu", a->base - p, a->bytes);
  else if (a) snprintf(out, n, "%td bytes behind the end of an allocation of %zu", p - (a->base + a->bytes), a->bytes);
  else if (p >= s->base && p < s->base + s->n * s->stride) snprintf(out, n, "below its stack");
  else if (p - r->now->block->dynamic < 1 << 20 && p >= r->now->block->dynamic) snprintf(out, n, "%td bytes into %zu of dynamic shared memory", p - r->now->block->dynamic, r->dynamic_bytes);
  else snprintf(out, n, "%p, which is no memory of the device", (const void *)p);
}

static void on_signal(int sig, siginfo_t *info, void *context) {
  (void)context;
  Run *r = run_now();
  if (!r || !r->now) {                 // not from a kernel: as if we had not been here
    signal(sig, SIG_DFL);
    raise(sig);
    return;
  }
  char what[160], name[96];
  if (sig == SIGFPE) run_fail(EMU_UNDEFINED, "%s divides by zero", thread_name(r, r->now, name));
  if (sig == SIGILL) run_fail(EMU_STOPPED, "%s stops itself", thread_name(r, r->now, name));
  explain_address(r, info->si_addr, what, sizeof what);
  bool stack = memcmp(what, "below", 5) == 0;
  run_fail(stack ? EMU_STACK : EMU_BOUNDS, "%s accesses memory %s", thread_name(r, r->now, name), what);
}

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
enum { NSIGNALS = sizeof signals / sizeof *signals, SIGNAL_STACK = 64 << 10 };
typedef struct Signals { struct sigaction before[NSIGNALS]; } Signals;

static void catch_signals(Signals *s) {
  struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  for (int i = 0; i < NSIGNALS; i++) sigaction(signals[i], &act, &s->before[i]);
}

static void leave_signals(const Signals *s) {
  for (int i = 0; i < NSIGNALS; i++) sigaction(signals[i], &s->before[i], NULL);
}

// ---- one order ---------------------------------------------------------------------------------------------------

// The sets of resident blocks, in order: each a cluster, one block, or all.
typedef struct Sets { uint32_t *number; size_t n; int size; } Sets;

static bool order_sets(const EmuLaunch *l, EmuOrder o, Sets *s) {
  uint32_t blocks = l->grid.x * l->grid.y * l->grid.z;
  s->size = l->cooperative ? (int)blocks : l->cluster > 1 ? (int)l->cluster : 1;
  s->n = blocks / (uint32_t)s->size;
  s->number = malloc((size_t)blocks * sizeof *s->number);
  if (!s->number) return false;
  Run random = {.rng = o.seed * 2 + 0x9e3779b97f4a7c15u};
  uint32_t *first = s->number;
  for (size_t i = 0; i < s->n; i++) {             // place i takes set i, or that one goes to an earlier place and its set comes here
    size_t at = o.blocks == EMU_RANDOM ? run_random(&random) % (i + 1) : i;
    first[i] = first[at];
    first[at] = (uint32_t)(o.blocks == EMU_REVERSED ? s->n - 1 - i : i);
  }
  for (size_t i = s->n; i-- > 0;)
    for (int k = s->size - 1; k >= 0; k--) s->number[i * (size_t)s->size + (size_t)k] = first[i] * (uint32_t)s->size + (uint32_t)k;
  return true;
}

typedef struct Worker {
  EmuDevice *device;
  const EmuLaunch *launch;
  EmuModule *copy;                    // its own, where several host threads run; NULL: launch->module
  EmuOrder order;
  const Sets *sets;
  atomic_size_t *next;
  atomic_bool *stop;
  EmuFault fault;
} Worker;

static void set_up(Run *r, Worker *w, FiberStacks *stacks) {
  const EmuModule *m = w->copy ? w->copy : w->launch->module;
  const KernelMemory *memory = &m->memory[w->launch->kernel - w->launch->module->image->kernel];
  uint32_t begin = w->device->next_segment;
  *r = (Run){.device = w->device, .launch = w->launch, .module = m, .memory = memory, .order = w->order, .stacks = stacks,
             .check = w->launch->check && m->image->checked && w->launch->host_threads <= 1, .rng = w->order.seed * 2 + 1, .static_bytes = memory->bytes,
             .dynamic_bytes = w->launch->dynamic, .dynamic_room = (w->launch->dynamic + 127) / 128 * 128, .begin_segment = begin, .first_segment = begin};
}

static void run_sets(Run *r, Worker *w) {
  while (r->fault.kind == EMU_FINE && !atomic_load(w->stop)) {
    size_t i = atomic_fetch_add(w->next, 1);
    if (i >= w->sets->n) return;
    run_blocks(r, w->sets->number + i * (size_t)w->sets->size);
  }
}

static void work(Worker *w, FiberStacks *stacks) {
  Run r;
  void *stack = mmap(NULL, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack_t mine = {.ss_sp = stack, .ss_size = SIGNAL_STACK}, before;
  set_up(&r, w, stacks);
  if (stack == MAP_FAILED || sigaltstack(&mine, &before)) emu_fault(&r.fault, EMU_HOST, "out of memory");
  else {
    if (run_make(&r, w->sets->size)) run_sets(&r, w);
    sigaltstack(&before, NULL);
  }
  if (stack != MAP_FAILED) munmap(stack, SIGNAL_STACK);
  if (r.check && w->launch->dependent && !r.waited && r.fault.kind == EMU_FINE)
    emu_fault(&r.fault, EMU_RACE, "no thread has waited for the launch before, so that the next one cannot know that it has ended");
  w->fault = r.fault;
  if (r.fault.kind != EMU_FINE) atomic_store(w->stop, true);
  if (r.check) {
    w->device->last_first = r.begin_segment;
    w->device->next_segment = r.begin_segment + (uint32_t)r.nsegments;
  }
  run_free(&r);
}

static void *work_in_thread(void *arg) {
  FiberStacks stacks = {0};
  work(arg, &stacks);
  fiber_stacks_free(&stacks);
  return NULL;
}

enum { MAX_HOST_THREADS = 64 };

// Each further host thread has a copy of the module, for shared memory is at fixed addresses in it.
static void work_together(Worker *first, int n, EmuFault *f) {
  Worker w[MAX_HOST_THREADS];
  pthread_t id[MAX_HOST_THREADS];
  int started = 0;
  for (; started < n - 1 && f->kind == EMU_FINE; started++) {
    w[started] = *first;
    w[started].copy = emu_module_load(first->launch->module->bytes, first->launch->module->size, f);
    if (!w[started].copy) break;
    if (pthread_create(&id[started], NULL, work_in_thread, &w[started]) == 0) continue;
    emu_module_free(w[started].copy);
    emu_fault(f, EMU_HOST, "no more host threads");
    break;
  }
  work(first, &first->device->stacks);
  for (int i = 0; i < started; i++) {
    pthread_join(id[i], NULL);
    if (f->kind == EMU_FINE) *f = w[i].fault;
    emu_module_free(w[i].copy);
  }
}

static bool run_order(EmuDevice *d, const EmuLaunch *l, EmuOrder order, EmuFault *f) {
  Sets sets;
  Signals signals_before;
  atomic_size_t next = 0;
  atomic_bool stop = false;
  if (!order_sets(l, order, &sets)) return emu_fault(f, EMU_HOST, "out of memory");
  Worker w = {.device = d, .launch = l, .order = order, .sets = &sets, .next = &next, .stop = &stop};
  int n = l->host_threads > MAX_HOST_THREADS ? MAX_HOST_THREADS : l->host_threads;
  catch_signals(&signals_before);
  if (n > 1 && l->module->bytes) work_together(&w, n, f);
  else work(&w, &d->stacks);
  leave_signals(&signals_before);
  free(sets.number);
  if (f->kind == EMU_FINE) *f = w.fault;
  return f->kind == EMU_FINE && memory_sound(d, f);
}

// What a kernel may write: what a pointer to other than const leads to; everything where pointers may hide, in memory or in
// a structure.
static void note_writable(EmuDevice *d, const EmuLaunch *l) {
  const EmuKernel *k = l->kernel;
  bool hidden = false;
  for (int i = 0; i < k->nparams; i++) hidden |= k->param[i].how == EMU_INDIRECT || (k->param[i].how == EMU_BY_VALUE && k->param[i].bytes > 8);
  for (int i = 0; i < d->n; i++) d->v[i].writable = hidden;
  for (int i = 0; i < k->nparams; i++) {
    const void *p;
    if (k->param[i].how != EMU_POINTER) continue;
    memcpy(&p, l->arg[i], sizeof p);
    Allocation *a = memory_near(d, p);
    if (a) a->writable = true;
  }
}

static bool check_launch(EmuDevice *d, const EmuLaunch *l, EmuFault *f) {
  note_writable(d, l);
  return check_shape(l, f) && check_cluster_shape(l, f) && check_shared_size(d, l, f) && check_arguments(d, l, f);
}

bool emu_launch(EmuDevice *d, const EmuLaunch *l, EmuOrder order, EmuFault *f) {
  *f = (EmuFault){0};
  if (!check_launch(d, l, f)) return false;
  bool locked = d->locked;
  emu_memory_unlock(d);
  bool good = run_order(d, l, order, f);
  if (locked) emu_memory_lock(d);
  return good;
}

// ---- several orders ----------------------------------------------------------------------------------------------

static bool save(EmuDevice *d, bool before, EmuFault *f) {
  for (int i = 0; i < d->n; i++) {
    if (!d->v[i].writable) continue;
    unsigned char **copy = before ? &d->v[i].before : &d->v[i].after;
    if (!*copy && !(*copy = malloc(d->v[i].bytes + 1))) return emu_fault(f, EMU_HOST, "out of memory for a copy of device memory");
    memcpy(*copy, d->v[i].base, d->v[i].bytes);
  }
  return true;
}

static void restore(EmuDevice *d) {
  for (int i = 0; i < d->n; i++)
    if (d->v[i].writable) memcpy(d->v[i].base, d->v[i].before, d->v[i].bytes);
}

static void drop_copies(EmuDevice *d) {
  for (int i = 0; i < d->n; i++) {
    free(d->v[i].before);
    free(d->v[i].after);
    d->v[i].before = d->v[i].after = NULL;
  }
  d->nany = 0;
}

static bool may_differ(const EmuDevice *d, const unsigned char *p) {
  for (int i = 0; i < d->nany; i++)
    if (p >= d->any_order[i].p && p < d->any_order[i].p + d->any_order[i].n) return true;
  return false;
}

// The first byte that differs from the first order's; NULL: none.
static const unsigned char *difference(const EmuDevice *d, const Allocation **where) {
  for (int i = 0; i < d->n; i++) {
    const Allocation *a = &d->v[i];
    if (!a->writable || memcmp(a->base, a->after, a->bytes) == 0) continue;
    for (size_t k = 0; k < a->bytes; k++) {
      if (a->base[k] == a->after[k] || may_differ(d, a->base + k)) continue;
      *where = a;
      return a->base + k;
    }
  }
  return NULL;
}

static const char *argument_at(const EmuDevice *d, const EmuLaunch *l, const Allocation *a, const unsigned char *p, char out[128]) {
  const unsigned char *best = NULL;
  snprintf(out, 128, "byte %td of an allocation of %zu", p - a->base, a->bytes);
  for (int i = 0; i < l->kernel->nparams; i++) {
    const unsigned char *at;
    if (l->kernel->param[i].how == EMU_BY_VALUE) continue;
    memcpy(&at, l->arg[i], sizeof at);
    if (memory_near(d, at) != a || at > p || (best && at <= best)) continue;
    best = at;
    snprintf(out, 128, "`%s`, byte %td", l->kernel->param[i].name, p - at);
  }
  return out;
}

static bool differs(EmuDevice *d, const EmuLaunch *l, EmuOrder o, const Allocation **where, const unsigned char **p) {
  EmuFault ignored = {0};
  restore(d);
  if (!run_order(d, l, o, &ignored)) return false;
  *p = difference(d, where);
  return *p != NULL;
}

// Says whether the order of threads or that of blocks makes the difference, by changing only one of them.
static bool report_difference(EmuDevice *d, const EmuLaunch *l, EmuOrder first, EmuOrder other, const Allocation *a, const unsigned char *p, EmuFault *f) {
  EmuOrder threads = {other.threads, first.blocks, other.seed}, blocks = {first.threads, other.blocks, other.seed};
  char what[128];
  const char *whose = "threads and of blocks";
  argument_at(d, l, a, p, what);
  unsigned x = a->after[p - a->base], y = *p;
  if (differs(d, l, threads, &a, &p)) whose = "threads in a block";
  else if (differs(d, l, blocks, &a, &p)) whose = "blocks";
  return emu_fault(f, EMU_ORDER, "the result depends on the order of %s: %s is 0x%02x in one order and 0x%02x in another", whose, what, x, y);
}

static bool run_orders(EmuDevice *d, EmuLaunch l, const EmuOrder *order, int n, EmuFault *f) {
  if (n > 1 && !save(d, true, f)) return false;
  if (!run_order(d, &l, order[0], f)) return false;
  l.check = false;
  if (n > 1 && !save(d, false, f)) return false;
  for (int i = 1; i < n; i++) {
    const Allocation *a;
    restore(d);
    if (!run_order(d, &l, order[i], f)) return false;
    const unsigned char *p = difference(d, &a);
    if (p) return report_difference(d, &l, order[0], order[i], a, p, f);
  }
  return true;
}

bool emu_launch_orders(EmuDevice *d, const EmuLaunch *l, const EmuOrder *order, int n, EmuFault *f) {
  *f = (EmuFault){0};
  if (!check_launch(d, l, f)) return false;
  bool locked = d->locked;
  emu_memory_unlock(d);
  bool good = run_orders(d, *l, order, n, f);
  drop_copies(d);
  if (locked) emu_memory_lock(d);
  return good;
}
