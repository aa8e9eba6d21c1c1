// pool.c: a persistent pool of threads; regions fork and join through two words each.
//
// A thread waits on its own word `go`: a count of its starts in the upper bits, and in bit 0 whether it sleeps. A start
// adds 2 and clears bit 0; only when that bit was set is there a system call. The threads start each other as a
// binary tree (part i starts 2i+1 and 2i+2), so a fork takes log2(parts) steps. The join is a count of parts that
// still run, with the same bit 0 for a caller who sleeps.
//
// See Note [Cost of a region] at the end.
#include "runtime/pool.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  CACHE_LINE = 128,          // two lines of 64: x86 fetches them in pairs
  SPIN_NS = 30000,           // about what a sleeping thread needs to wake, so waiting costs at most twice the best
  ASLEEP = 1, START = 2,     // of `go` and `running`
};

typedef struct Worker {
  _Alignas(CACHE_LINE) atomic_uint go;
  pthread_t thread;
} Worker;

// The one pool. Static, because compiled code forks without naming a context; zero is a valid pool without threads.
static struct Pool {
  atomic_bool busy;                            // held by the thread whose region it runs
  atomic_int limit;                            // of pool_set_threads; 0: none
  atomic_int cpus;                             // sched_getaffinity; 0: not asked yet
  pthread_once_t at_fork;
  // The rest belongs to the holder of busy.
  int started;                                 // threads: worker[1..started]
  PoolBody *body;                              // NULL: end the thread
  void *ctx;
  int parts;
  unsigned fp_control;
  _Alignas(CACHE_LINE) atomic_uint running;    // parts not done, times START
  _Alignas(CACHE_LINE) atomic_uint arrived;    // at the barrier
  _Alignas(CACHE_LINE) atomic_uint barrier;    // count of barriers passed, times START
  Worker worker[POOL_MAX_THREADS];             // [0], the caller, is not used
} pool = { .at_fork = PTHREAD_ONCE_INIT };

// Where the calling thread is; outside of regions it is part 0 of 1.
static _Thread_local struct Place { int part, parts_less_1; } here;

static long futex(atomic_uint *word, int op, unsigned value) {
  return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

// Rounding, flush-to-zero and the like: parts must compute as the caller would, or a result depended on who ran it.
static unsigned fp_control(void) {
#if defined(__SSE__)
  return __builtin_ia32_stmxcsr() & ~0x3fu;    // without the sticky exception flags
#elif defined(__aarch64__)
  uint64_t r;
  __asm__ volatile("mrs %0, fpcr" : "=r"(r));
  return (unsigned)r;
#else
  return 0;
#endif
}

static void fp_control_set(unsigned control) {
  if (control == fp_control()) return;
#if defined(__SSE__)
  __builtin_ia32_ldmxcsr(control);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)control));
#endif
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

// *word has moved on from `old`, whether or not someone sleeps on it.
static bool passed(atomic_uint *word, unsigned old) {
  return (atomic_load_explicit(word, memory_order_acquire) & ~(unsigned)ASLEEP) != old;
}

// True when *word left `old` within SPIN_NS.
static bool spin_while(atomic_uint *word, unsigned old) {
  for (int i = 0; i < 64; i++, cpu_relax())    // most joins end here, without a look at the clock
    if (passed(word, old)) return true;
  for (int64_t end = now_ns() + SPIN_NS; now_ns() < end; sched_yield())    // who we wait for may need this very CPU
    for (int i = 0; i < 32; i++, cpu_relax())
      if (passed(word, old)) return true;
  return false;
}

// Waits until *word is no longer `old` (bit 0 clear), sleeping with bit 0 set.
static void wait_while(atomic_uint *word, unsigned old) {
  if (spin_while(word, old)) return;
  unsigned seen = old;
  // When another waiter has set the bit already, seen becomes old | ASLEEP, and that is as good.
  if (!atomic_compare_exchange_strong(word, &seen, old | ASLEEP) && seen != (old | ASLEEP)) return;
  while (atomic_load(word) == (old | ASLEEP)) futex(word, FUTEX_WAIT, old | ASLEEP);
}

static void start(int part) {
  atomic_uint *go = &pool.worker[part].go;
  unsigned old = atomic_load_explicit(go, memory_order_relaxed), next;
  do next = (old & ~(unsigned)ASLEEP) + START;
  while (!atomic_compare_exchange_weak(go, &old, next));
  if (old & ASLEEP) futex(go, FUTEX_WAKE, 1);
}

static void start_children(int part, int parts) {
  if (2 * part + 1 < parts) start(2 * part + 1);
  if (2 * part + 2 < parts) start(2 * part + 2);
}

static void *worker_main(void *arg) {
  int part = (int)((Worker *)arg - pool.worker);
  unsigned seen = 0;
  for (;; seen += START) {
    wait_while(&pool.worker[part].go, seen);
    PoolBody *body = pool.body;
    int parts = pool.parts;
    start_children(part, parts);
    if (!body) return NULL;
    here = (struct Place){ part, parts - 1 };
    fp_control_set(pool.fp_control);
    body(pool.ctx, part, parts);
    if (atomic_fetch_sub(&pool.running, START) == (START | ASLEEP)) futex(&pool.running, FUTEX_WAKE, 1);
  }
}

// In the child of a fork: its one thread has no helpers. What the parent's held is lost, about a page each.
static void forget_threads(void) {
  pool.started = 0;
  atomic_store(&pool.arrived, 0);
  atomic_store(&pool.busy, false);
}
static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_threads); }

// Starts thread `part`; signals stay with the host's threads.
static bool start_thread(int part) {
  Worker *w = &pool.worker[part];
  sigset_t all, old;
  sigfillset(&all);
  atomic_store(&w->go, 0);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int failed = pthread_create(&w->thread, NULL, worker_main, w);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (failed) return false;
  char name[16];
  snprintf(name, sizeof name, "plait-%u", (unsigned)part % POOL_MAX_THREADS);
  pthread_setname_np(w->thread, name);
  return true;
}

// Threads for n parts; how many parts there are threads for.
static int ensure_threads(int n) {
  while (pool.started + 1 < n && start_thread(pool.started + 1)) pool.started++;
  return pool.started + 1 < n ? pool.started + 1 : n;
}

static int count_cpus(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set)) return 1;    // more than 1024 CPUs: ask for what the set can hold
  int n = CPU_COUNT(&set);
  return n < 1 ? 1 : n > POOL_MAX_THREADS ? POOL_MAX_THREADS : n;
}

void pool_set_threads(int n) {
  atomic_store(&pool.limit, n < 0 ? 0 : n > POOL_MAX_THREADS ? POOL_MAX_THREADS : n);
}

int pool_threads(void) {
  int n = atomic_load_explicit(&pool.limit, memory_order_relaxed);
  if (n) return n;
  n = atomic_load_explicit(&pool.cpus, memory_order_relaxed);
  if (!n) atomic_store(&pool.cpus, n = count_cpus());
  return n;
}

int pool_part(void) { return here.part; }
int pool_parts(void) { return here.parts_less_1 + 1; }

static void run_alone(PoolBody *body, void *ctx) {
  struct Place outer = here;
  here = (struct Place){ 0, 0 };
  body(ctx, 0, 1);
  here = outer;
}

static void run_parts(PoolBody *body, void *ctx, int parts) {
  pool.body = body;
  pool.ctx = ctx;
  pool.parts = parts;
  pool.fp_control = fp_control();
  atomic_store(&pool.running, (unsigned)(parts - 1) * START);
  start_children(0, parts);
  if (!body) return;
  here = (struct Place){ 0, parts - 1 };
  body(ctx, 0, parts);
  here = (struct Place){ 0, 0 };
  unsigned left;
  while ((left = atomic_load(&pool.running) & ~(unsigned)ASLEEP)) wait_while(&pool.running, left);
}

void pool_run(PoolBody *body, void *ctx, int n) {
  int most = pool_threads();
  if (n <= 0 || n > most) n = most;
  if (n == 1 || here.parts_less_1 || atomic_exchange(&pool.busy, true)) {
    run_alone(body, ctx);
    return;
  }
  pthread_once(&pool.at_fork, watch_forks);
  n = ensure_threads(n);
  if (n == 1) run_alone(body, ctx);
  else run_parts(body, ctx, n);
  atomic_store(&pool.busy, false);
}

void pool_barrier(void) {
  unsigned parts = (unsigned)here.parts_less_1 + 1;
  if (parts == 1) return;
  unsigned now = atomic_load(&pool.barrier) & ~(unsigned)ASLEEP;
  if (atomic_fetch_add(&pool.arrived, 1) + 1 < parts) {
    wait_while(&pool.barrier, now);
    return;
  }
  atomic_store(&pool.arrived, 0);
  if (atomic_exchange(&pool.barrier, now + START) & ASLEEP) futex(&pool.barrier, FUTEX_WAKE, INT_MAX);
}

void pool_stop(void) {
  while (atomic_exchange(&pool.busy, true)) sched_yield();
  run_parts(NULL, NULL, pool.started + 1);
  for (int i = 1; i <= pool.started; i++) pthread_join(pool.worker[i].thread, NULL);
  pool.started = 0;
  atomic_store(&pool.busy, false);
}

// Note [Cost of a region]
// Median of 2001 empty regions of 2 parts, in us, by `build/test_pool --bench` on 2 cores of an AMD EPYC (Zen 3) under KVM:
//
//                                  hot    after 20 us of work    after 300 us
//   both cores free                0.19   0.21                   40    (the thread sleeps; waking it takes 5 to 40)
//   another process on one core    8.2    8.2                    8.3   (both threads on one core, by sched_yield)
//   the same, without yielding     70     36                     37
//
// libgomp takes 0.8 us and libomp 0.9 to 7 us hot; libomp spins 200 ms after each region.
