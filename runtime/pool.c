// pool.c: a persistent pool of threads; regions fork, meet and join through words that one signals and another waits for.
//
// A word counts signals in its upper bits and has in bit 0 whether its one waiter sleeps; only then is a signal a system
// call. Every crossing of a line from core to core is some 60 to 100 ns, so each step makes one:
//   fork     what a thread is to run stands in the line of its word `go`. The threads start each other as a binary tree
//            (part i starts 2i+1 and 2i+2), so a fork takes log2(parts) steps.
//   barrier  in round r, part i signals part i + 2^r and waits for part i - 2^r (a dissemination barrier: log2(parts)
//            rounds, all parts alike, nobody reads what two write).
//   join     one word, `done`, counts parts that ended. It is never reset: the caller knows what it will come to.
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
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  CACHE_LINE = 128,          // two lines of 64: x86 fetches them in pairs
  SPIN_NS = 30000,           // about what a sleeping thread needs to wake, so waiting costs at most twice the best
  ASLEEP = 1, SIGNAL = 2,    // of a word
  ROUNDS = 10,               // of a barrier: log2 of POOL_MAX_THREADS
};

// What to run. A small ctx travels with it: behind a pointer to the caller's stack each part would wait for another line.
typedef struct Job {
  int parts;
  unsigned fp_control;
  PoolBody *body;                              // NULL: end the thread
  void *ctx;
  size_t size;                                 // of ctx, when it is to be copied; else 0
} Job;

typedef struct Worker {
  _Alignas(CACHE_LINE) atomic_uint go;
  Job job;
  _Alignas(16) char copy[POOL_COPIED];
  _Alignas(CACHE_LINE) atomic_uint meet[ROUNDS];
  _Alignas(CACHE_LINE) unsigned met[ROUNDS];   // the thread's own: signals of `meet` that it has waited for
  pthread_t thread;
} Worker;

// The one pool. Static, because compiled code forks without naming a context; zero is a valid pool without threads.
static struct Pool {
  atomic_bool busy;                            // held by the thread whose region it runs
  atomic_int limit;                            // of pool_set_threads; 0: none
  atomic_int cpus;                             // sched_getaffinity; 0: not asked yet
  _Atomic int64_t asked;                       // when pool_grain last found the threads asleep, in ns
  pthread_once_t at_fork;
  // The rest belongs to the holder of busy.
  int started;                                 // threads: worker[1..started]
  unsigned awaited;                            // what `done` comes to when all regions so far have ended
  _Alignas(CACHE_LINE) atomic_uint done;       // parts that ended, of all regions
  Worker worker[POOL_MAX_THREADS];             // [0] is the caller, who only meets the others
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

static bool reached(unsigned word, unsigned count) { return (int)((word & ~(unsigned)ASLEEP) - count) >= 0; }

static bool has_reached(atomic_uint *word, unsigned count) {
  return reached(atomic_load_explicit(word, memory_order_acquire), count);
}

// True when *word came to `count` within SPIN_NS.
static bool spin_for(atomic_uint *word, unsigned count) {
  for (int i = 0; i < 64; i++, cpu_relax())    // most waits end here, without a look at the clock
    if (has_reached(word, count)) return true;
  for (int64_t end = now_ns() + SPIN_NS; now_ns() < end; sched_yield())    // who we wait for may need this very CPU
    for (int i = 0; i < 32; i++, cpu_relax())
      if (has_reached(word, count)) return true;
  return false;
}

// Waits until *word has come to `count`. A word has one waiter.
static void wait_for(atomic_uint *word, unsigned count) {
  if (spin_for(word, count)) return;
  for (unsigned now = atomic_load(word); !reached(now, count); now = atomic_load(word))
    if ((now & ASLEEP) || atomic_compare_exchange_strong(word, &now, now | ASLEEP)) futex(word, FUTEX_WAIT, now | ASLEEP);
  atomic_fetch_and(word, ~(unsigned)ASLEEP);
}

static void give(atomic_uint *word) {
  if (atomic_fetch_add(word, SIGNAL) & ASLEEP) futex(word, FUTEX_WAKE, 1);
}

static void start(int part, const Job *job) {
  Worker *w = &pool.worker[part];
  w->job = *job;
  if (job->size) w->job.ctx = memcpy(w->copy, job->ctx, job->size);
  give(&w->go);
}

static void start_children(int part, const Job *job) {
  if (2 * part + 1 < job->parts) start(2 * part + 1, job);
  if (2 * part + 2 < job->parts) start(2 * part + 2, job);
}

static void *worker_main(void *arg) {
  Worker *w = arg;
  int part = (int)(w - pool.worker);
  for (unsigned starts = SIGNAL;; starts += SIGNAL) {
    wait_for(&w->go, starts);
    start_children(part, &w->job);
    if (!w->job.body) return NULL;
    here = (struct Place){ part, w->job.parts - 1 };
    fp_control_set(w->job.fp_control);
    w->job.body(w->job.ctx, part, w->job.parts);
    give(&pool.done);
  }
}

// In the child of a fork: its one thread has no helpers. What the parent's held is lost, about a page each.
static void forget_threads(void) {
  for (int i = 0; i <= pool.started; i++)
    for (int r = 0; r < ROUNDS; r++) atomic_store(&pool.worker[i].meet[r], pool.worker[i].met[r] = 0);
  pool.started = 0;
  atomic_store(&pool.done, pool.awaited = 0);
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

// A region of some microseconds is not worth waking a thread for, unless the next one comes before the thread sleeps again.
int pool_grain(int awake, int asleep) {
  unsigned go = atomic_load_explicit(&pool.worker[1].go, memory_order_relaxed);
  if (here.parts_less_1 || pool_threads() == 1) return asleep;
  if (go && !(go & ASLEEP)) return awake;
  int64_t now = now_ns();
  return now - atomic_exchange(&pool.asked, now) < SPIN_NS ? awake : asleep;
}

int pool_part(void) { return here.part; }
int pool_parts(void) { return here.parts_less_1 + 1; }

static void run_alone(PoolBody *body, void *ctx) {
  struct Place outer = here;
  here = (struct Place){ 0, 0 };
  body(ctx, 0, 1);
  here = outer;
}

static void run_parts(PoolBody *body, void *ctx, size_t size, int parts) {
  Job job = { .parts = parts, .fp_control = fp_control(), .body = body, .ctx = ctx, .size = size <= POOL_COPIED ? size : 0 };
  start_children(0, &job);
  if (!body) return;
  here = (struct Place){ 0, parts - 1 };
  body(ctx, 0, parts);
  here = (struct Place){ 0, 0 };
  wait_for(&pool.done, pool.awaited += (unsigned)(parts - 1) * SIGNAL);
}

void pool_run_copied(PoolBody *body, void *ctx, size_t size, int n) {
  int most = pool_threads();
  if (n <= 0 || n > most) n = most;
  if (n == 1 || here.parts_less_1 || atomic_exchange(&pool.busy, true)) {
    run_alone(body, ctx);
    return;
  }
  pthread_once(&pool.at_fork, watch_forks);
  n = ensure_threads(n);
  if (n == 1) run_alone(body, ctx);
  else run_parts(body, ctx, size, n);
  atomic_store_explicit(&pool.busy, false, memory_order_release);
}

void pool_run(PoolBody *body, void *ctx, int n) { pool_run_copied(body, ctx, 0, n); }

void pool_barrier(void) {
  int part = here.part, parts = here.parts_less_1 + 1;
  Worker *w = &pool.worker[part];
  for (int r = 0, hop = 1; hop < parts; r++, hop *= 2) {
    give(&pool.worker[(part + hop) % parts].meet[r]);
    wait_for(&w->meet[r], w->met[r] += SIGNAL);
  }
}

void pool_stop(void) {
  while (atomic_exchange(&pool.busy, true)) sched_yield();
  run_parts(NULL, NULL, 0, pool.started + 1);
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
//
// On 2 cores of an Intel Xeon (Sapphire Rapids) under KVM a word there and back takes 0.28, which is the least that a region can
// take: 0.24 to 0.31 hot, 5 after 300 us; a barrier 0.16 to 0.20 (signals cross). With what a region runs behind pointers to
// the caller's stack, and a join word that each region resets, it took 0.40; an `omp parallel` of Clang's took 0.70 and takes 0.40.
