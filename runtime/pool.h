// pool.h: the threads that run parallel regions of compiled code.
//
// One pool for the process, since code that was compiled from OpenMP pragmas names no context when it forks
// (__kmpc_fork_call, GOMP_parallel). Threads are started on first need, spin for a short while after a region and then
// sleep; an idle pool costs no CPU time. A region inside a region, or one entered while another host thread is in one,
// runs on its caller alone. After fork() the child starts anew.
//
// An empty region of two parts takes 0.2 us when hot: Note [Cost of a region] in pool.c.
#ifndef PLAIT_RUNTIME_POOL_H
#define PLAIT_RUNTIME_POOL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  POOL_MAX_THREADS = 1024,
  POOL_COPIED = 208,           // bytes of a context that can be copied: 24 variables of a loop, and which function it is
};

// At most n threads from now on; 0: as many as the process may run on (sched_getaffinity, asked at first use).
void pool_set_threads(int n);
// Threads that the next region will be given, if the pool is free.
int pool_threads(void);

// body(ctx, part, parts) for each part in [0, parts), the caller being part 0; returns when all are done.
// parts = min(n, pool_threads()), with n <= 0 for all; 1 when nested or when the pool is in use.
typedef void PoolBody(void *ctx, int part, int parts);
void pool_run(PoolBody *body, void *ctx, int n);
// The same where ctx is `size` bytes without pointers into itself: up to POOL_COPIED of them are copied to each part, which
// begins the sooner.
void pool_run_copied(PoolBody *body, void *ctx, size_t size, int n);

// The work from which a region is worth while: `asleep` where its threads would have to be woken, `awake` where they are awake, or are
// to be because calls follow each other closely.
int pool_grain(int awake, int asleep);

// Part and parts of the calling thread in the innermost region; 0 and 1 outside.
int pool_part(void);
int pool_parts(void);
// Waits for all parts of the calling thread's region.
void pool_barrier(void);

// Ends and joins all threads; the next region starts them again. Not from inside a region.
void pool_stop(void);

// What compiled code calls. Clang's OpenMP (only static schedules; see Note [What Clang calls] in pool_omp.c) …
typedef struct KmpIdent KmpIdent;
typedef void KmpMicrotask(int32_t *gtid, int32_t *btid, ...);
void plait_kmpc_fork_call(KmpIdent *loc, int32_t argc, KmpMicrotask *fn, ...);
void plait_kmpc_fork_argv(KmpMicrotask *fn, int32_t argc, void **argv);
void plait_kmpc_for_static_init_4(KmpIdent *loc, int32_t gtid, int32_t sched, int32_t *last, int32_t *lower, int32_t *upper, int32_t *stride, int32_t incr, int32_t chunk);
void plait_kmpc_for_static_init_4u(KmpIdent *loc, int32_t gtid, int32_t sched, int32_t *last, uint32_t *lower, uint32_t *upper, int32_t *stride, int32_t incr, int32_t chunk);
void plait_kmpc_for_static_init_8(KmpIdent *loc, int32_t gtid, int32_t sched, int32_t *last, int64_t *lower, int64_t *upper, int64_t *stride, int64_t incr, int64_t chunk);
void plait_kmpc_for_static_init_8u(KmpIdent *loc, int32_t gtid, int32_t sched, int32_t *last, uint64_t *lower, uint64_t *upper, int64_t *stride, int64_t incr, int64_t chunk);
void plait_kmpc_for_static_fini(KmpIdent *loc, int32_t gtid);
void plait_kmpc_barrier(KmpIdent *loc, int32_t gtid);
int32_t plait_kmpc_global_thread_num(KmpIdent *loc);
void plait_kmpc_push_num_threads(KmpIdent *loc, int32_t gtid, int32_t n);
void plait_kmpc_serialized_parallel(KmpIdent *loc, int32_t gtid);
void plait_kmpc_end_serialized_parallel(KmpIdent *loc, int32_t gtid);
int32_t plait_kmpc_master(KmpIdent *loc, int32_t gtid);
void plait_kmpc_end_master(KmpIdent *loc, int32_t gtid);
// … and GCC's.
void plait_gomp_parallel(void (*fn)(void *), void *data, unsigned n, unsigned flags);
int plait_omp_max_threads(void);
#endif
