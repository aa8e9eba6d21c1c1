// pool_omp.c: the OpenMP entry points that compiled code calls, on the pool.
//
// Note [What Clang calls]
// `parallel for schedule(static)` becomes __kmpc_fork_call(loc, n, outlined, captured…) and, inside `outlined`, a
// __kmpc_for_static_init of the loop's type, which shrinks [lower, upper] to the caller's share. GCC computes the
// share itself from omp_get_thread_num and omp_get_num_threads, and forks by GOMP_parallel. Other schedules, and
// reductions and critical sections (whose order depends on timing), are left out on purpose: a kernel that has one does not link.
#include "runtime/pool.h"
#include <assert.h>
#include <stdarg.h>
#include <string.h>

enum {
  KMP_STATIC_CHUNKED = 33,             // openmp/runtime/src/kmp.h: kmp_sch_static_chunked; 34 is kmp_sch_static
  KMP_SCHEDULE = (1 << 29) - 1,        // above: the modifiers monotonic and nonmonotonic
  MAX_CAPTURED = 1024,                 // variables of the kernel that its loop uses
};

// num_threads of the next fork, from __kmpc_push_num_threads.
static _Thread_local int pushed;

// The first `argc` of argv, and zeros up to padded(argc); a region gets no more of it.
typedef struct Fork { KmpMicrotask *fn; int32_t argc; void *argv[MAX_CAPTURED]; } Fork;

// A call passes a fixed number of arguments, at least as many as fn takes: the x86-64 and AArch64 conventions have the
// caller clean up, so that extra ones are harmless. argv is padded accordingly.
#define P4(i) a[i], a[(i) + 1], a[(i) + 2], a[(i) + 3]
#define P16(i) P4(i), P4((i) + 4), P4((i) + 8), P4((i) + 12)
#define P64(i) P16(i), P16((i) + 16), P16((i) + 32), P16((i) + 48)
#define P256(i) P64(i), P64((i) + 64), P64((i) + 128), P64((i) + 192)
static int padded(int argc) { return argc <= 4 ? 4 : argc <= 16 ? 16 : argc <= 24 ? 24 : argc <= 64 ? 64 : argc <= 256 ? 256 : MAX_CAPTURED; }

// Clang's -fsanitize=function compares the types exactly, and by bytes before the function, which a JIT's code has not.
#ifdef __clang__
__attribute__((no_sanitize("function")))
#endif
static void call_microtask(void *ctx, int part, int parts) {
  (void)parts;
  Fork *f = ctx;
  void **a = f->argv;
  int32_t gtid = part, btid = part;
  switch (padded(f->argc)) {
  case 4: f->fn(&gtid, &btid, P4(0)); break;
  case 16: f->fn(&gtid, &btid, P16(0)); break;
  case 24: f->fn(&gtid, &btid, P16(0), P4(16), P4(20)); break;
  case 64: f->fn(&gtid, &btid, P64(0)); break;
  case 256: f->fn(&gtid, &btid, P256(0)); break;
  default: f->fn(&gtid, &btid, P256(0), P256(256), P256(512), P256(768)); break;
  }
}

static int take_pushed(void) {
  int n = pushed;
  pushed = 0;
  return n;
}

static void fork_and_join(Fork *f) {
  for (int i = f->argc; i < padded(f->argc); i++) f->argv[i] = NULL;
  pool_run_copied(call_microtask, f, offsetof(Fork, argv) + (size_t)padded(f->argc) * sizeof *f->argv, take_pushed());
}

void plait_kmpc_fork_argv(KmpMicrotask *fn, int32_t argc, void **argv) {
  assert(argc <= MAX_CAPTURED && "a loop of more variables than a kernel may have");
  Fork f;
  f.fn = fn, f.argc = argc;
  memcpy(f.argv, argv, (size_t)argc * sizeof *argv);
  fork_and_join(&f);
}

void plait_kmpc_fork_call(KmpIdent *loc, int32_t argc, KmpMicrotask *fn, ...) {
  (void)loc;
  assert(argc <= MAX_CAPTURED && "a loop of more variables than a kernel may have");
  Fork f;
  va_list ap;
  f.fn = fn, f.argc = argc;
  va_start(ap, fn);
  for (int i = 0; i < argc; i++) f.argv[i] = va_arg(ap, void *);
  va_end(ap);
  fork_and_join(&f);
}

// The calling part's iterations of `trip`: `count` from `first`, and with a chunk again every `hop`.
typedef struct Share { uint64_t first, count, hop; bool last; } Share;

static Share share_of(uint64_t trip, int32_t sched, uint64_t chunk) {
  uint64_t part = (uint64_t)pool_part(), parts = (uint64_t)pool_parts();
  if ((sched & KMP_SCHEDULE) == KMP_STATIC_CHUNKED && chunk) {
    uint64_t first = part * chunk, chunks = (trip + chunk - 1) / chunk;
    return (Share){ first, first < trip ? chunk : 0, parts * chunk, part == (chunks - 1) % parts };
  }
  uint64_t each = trip / parts, more = trip % parts;       // the first `more` parts do one more
  uint64_t first = part * each + (part < more ? part : more), count = each + (part < more);
  return (Share){ first, count, trip, count && first + count == trip };
}

// Bounds are inclusive; a part without iterations gets [1, 0]. Clang counts its loops upwards from 0, by 1, having
// checked that there is an iteration, but a step is easily served.
#define STATIC_INIT(suffix, T, S)                                                                                   \
  void plait_kmpc_for_static_init_##suffix(KmpIdent *loc, int32_t gtid, int32_t sched, int32_t *last, T *lower,     \
                                           T *upper, S *stride, S incr, S chunk) {                                  \
    (void)loc, (void)gtid;                                                                                          \
    uint64_t lo = (uint64_t)*lower, hi = (uint64_t)*upper, by = (uint64_t)incr;                                     \
    uint64_t trip = incr > 0 ? (hi - lo) / by + 1 : (lo - hi) / (0 - by) + 1;                                       \
    Share s = share_of(trip, sched, (uint64_t)chunk);                                                               \
    *lower = s.count ? (T)(lo + s.first * by) : (T)(incr > 0);                                                      \
    *upper = s.count ? (T)(lo + (s.first + s.count - 1) * by) : (T)(incr <= 0);                                     \
    *stride = (S)(s.hop * by);                                                                                      \
    if (last) *last = s.last;                                                                                       \
  }
STATIC_INIT(4, int32_t, int32_t)
STATIC_INIT(4u, uint32_t, int32_t)
STATIC_INIT(8, int64_t, int64_t)
STATIC_INIT(8u, uint64_t, int64_t)

void plait_kmpc_for_static_fini(KmpIdent *loc, int32_t gtid) { (void)loc, (void)gtid; }

void plait_kmpc_barrier(KmpIdent *loc, int32_t gtid) {
  (void)loc, (void)gtid;
  pool_barrier();
}

int32_t plait_kmpc_global_thread_num(KmpIdent *loc) {
  (void)loc;
  return pool_part();
}

void plait_kmpc_push_num_threads(KmpIdent *loc, int32_t gtid, int32_t n) {
  (void)loc, (void)gtid;
  pushed = n;
}

// A region under a false `if` clause: Clang calls the outlined function itself between these two. In a region of several
// parts, each would then still see its part of the outer one, which our emitter never nests.
void plait_kmpc_serialized_parallel(KmpIdent *loc, int32_t gtid) {
  (void)loc, (void)gtid;
  assert(pool_parts() == 1 && "an if clause inside a region");
  pushed = 0;
}
void plait_kmpc_end_serialized_parallel(KmpIdent *loc, int32_t gtid) { (void)loc, (void)gtid; }

int32_t plait_kmpc_master(KmpIdent *loc, int32_t gtid) {
  (void)loc, (void)gtid;
  return pool_part() == 0;
}
void plait_kmpc_end_master(KmpIdent *loc, int32_t gtid) { (void)loc, (void)gtid; }

typedef struct GompFork { void (*fn)(void *); void *data; } GompFork;
static void call_gomp(void *ctx, int part, int parts) {
  (void)part, (void)parts;
  const GompFork *f = ctx;
  f->fn(f->data);
}

void plait_gomp_parallel(void (*fn)(void *), void *data, unsigned n, unsigned flags) {
  (void)flags;                                   // proc_bind: threads are not bound
  pool_run(call_gomp, &(GompFork){ fn, data }, (int)n);
}

int plait_omp_max_threads(void) { return pool_parts() > 1 ? 1 : pool_threads(); }
