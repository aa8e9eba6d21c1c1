#include "runtime/pool.h"
#include "unit.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct Marks { int parts; int part[64]; } Marks;
static void mark(void *ctx, int part, int parts) {
  Marks *m = ctx;
  m->part[part]++;
  if (part == 0) m->parts = parts;
}

START_TEST(each_part_runs_once_with_every_count) {
  pool_set_threads(64);
  for (int n = 1; n <= 64; n++) {
    Marks m = { 0 };
    pool_run(mark, &m, n);
    ck_assert_int_eq(m.parts, n);
    for (int i = 0; i < 64; i++) ck_assert_int_eq(m.part[i], i < n);
  }
} END_TEST

START_TEST(no_more_parts_than_the_cap) {
  pool_set_threads(3);
  ck_assert_int_eq(pool_threads(), 3);
  Marks m = { 0 };
  pool_run(mark, &m, 0);
  ck_assert_int_eq(m.parts, 3);
  pool_set_threads(0);
  ck_assert_int_ge(pool_threads(), 1);
} END_TEST

static void nest(void *ctx, int part, int parts) {
  Marks inner = { 0 };
  int *alone = ctx;
  pool_run(mark, &inner, 4);
  alone[part] = inner.parts == 1 && pool_part() == part && pool_parts() == parts;
}

START_TEST(a_nested_region_runs_on_its_caller) {
  int alone[4] = { 0 };
  pool_set_threads(4);
  pool_run(nest, alone, 4);
  for (int i = 0; i < 4; i++) ck_assert_int_eq(alone[i], 1);
  ck_assert_int_eq(pool_parts(), 1);
} END_TEST

static void add_shares(void *ctx, int part, int parts) {
  atomic_long *sum = ctx;
  for (long i = part; i < 1000; i += parts) atomic_fetch_add_explicit(sum, i, memory_order_relaxed);
}
static void *host(void *arg) {
  for (int i = 0; i < 2000; i++) {
    atomic_long sum = 0;
    pool_run(add_shares, &sum, 0);
    if (sum != 499500) return NULL;    // 999 * 1000 / 2
  }
  return arg;
}

START_TEST(host_threads_may_call_at_once) {
  pthread_t t[4];
  int ok;
  void *result;
  pool_set_threads(4);
  for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, host, &ok);
  for (int i = 0; i < 4; i++) {
    pthread_join(t[i], &result);
    ck_assert_ptr_eq(result, &ok);
  }
} END_TEST

// Plain writes before a barrier must be seen after it; a data race is also what TSan would report.
enum { ROUNDS = 300 };
typedef struct Relay { int cell[8]; int wrong[8]; } Relay;
static void relay(void *ctx, int part, int parts) {
  Relay *r = ctx;
  for (int i = 1; i <= ROUNDS; i++) {
    r->cell[part] = i;
    pool_barrier();
    for (int p = 0; p < parts; p++) r->wrong[part] += r->cell[p] != i;
    pool_barrier();
  }
}

START_TEST(a_barrier_holds_until_all_have_come) {
  pool_set_threads(8);
  for (int parts = 2; parts <= 8; parts++) {
    Relay r = { 0 };
    pool_run(relay, &r, parts);
    for (int i = 0; i < 8; i++) ck_assert_int_eq(r.wrong[i], 0);
  }
  pool_barrier();                      // outside of a region: nobody to wait for
} END_TEST

// Parts that come so late that the others sleep meanwhile.
static void late_relay(void *ctx, int part, int parts) {
  Relay *r = ctx;
  for (int i = 1; i <= 6; i++) {
    if (part == i % parts) usleep(400);
    r->cell[part] = i;
    pool_barrier();
    for (int p = 0; p < parts; p++) r->wrong[part] += r->cell[p] != i;
    pool_barrier();
  }
}

START_TEST(a_barrier_wakes_those_who_sleep) {
  pool_set_threads(8);
  for (int parts = 2; parts <= 7; parts++) {
    Relay r = { 0 };
    pool_run(late_relay, &r, parts);
    for (int i = 0; i < 8; i++) ck_assert_int_eq(r.wrong[i], 0);
  }
} END_TEST

typedef struct Sized { int *sum; int value[100]; } Sized;
static void add_up(void *ctx, int part, int parts) {
  (void)parts;
  const Sized *s = ctx;
  for (int i = 1; i <= s->value[0]; i++) s->sum[part] += s->value[i];
}

START_TEST(a_context_of_any_size_may_be_copied) {
  pool_set_threads(4);
  for (int n = 3; n < 100; n += 12) {  // past POOL_COPIED too
    int sum[4] = { 0 };
    Sized s = { sum, { n } };
    for (int i = 1; i <= n; i++) s.value[i] = i;
    pool_run_copied(add_up, &s, offsetof(Sized, value) + (size_t)(n + 1) * sizeof(int), 4);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(sum[i], n * (n + 1) / 2);
  }
} END_TEST

typedef struct Cells { int in, out[8]; } Cells;
static void copy_cell(void *ctx, int part, int parts) {
  (void)parts;
  Cells *c = ctx;
  c->out[part] = c->in + part;
}

START_TEST(plain_writes_pass_into_a_region_and_out_of_it) {
  Cells c;
  pool_set_threads(8);
  for (int i = 0; i < 1000; i++) {
    c.in = i;
    pool_run(copy_cell, &c, 8);
    for (int p = 0; p < 8; p++) ck_assert_int_eq(c.out[p], i + p);
    if (i % 100 == 0) usleep(200);     // so that threads also start from sleep
  }
} END_TEST

START_TEST(an_idle_pool_burns_no_time) {
  Marks m = { 0 };
  pool_set_threads(4);
  for (int i = 0; i < 100; i++) pool_run(mark, &m, 4);
  double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
  usleep(500000);
  ck_assert_double_lt(seconds(CLOCK_PROCESS_CPUTIME_ID) - before, 0.010);
} END_TEST

START_TEST(small_work_is_shared_out_while_calls_follow_each_other) {
  Marks m = { 0 };
  pool_set_threads(2);
  pool_run(mark, &m, 2);
  usleep(300000);
  ck_assert_int_eq(pool_grain(1, 9), 9);           // the thread sleeps, and nobody has asked lately
  int grain = 9;
  for (int i = 0; i < 100000 && grain == 9; i++) grain = pool_grain(1, 9);
  ck_assert_int_eq(grain, 1);
  pool_set_threads(1);
  ck_assert_int_eq(pool_grain(1, 9), 9);           // nobody to share with
} END_TEST

#ifndef __SANITIZE_THREAD__    // which does not let the child of a fork start threads
START_TEST(the_child_of_a_fork_has_a_pool) {
  Marks m = { 0 };
  pool_set_threads(4);
  pool_run(mark, &m, 4);
  pid_t pid = fork();
  if (pid == 0) {
    Marks c = { 0 };
    for (int i = 0; i < 10; i++) pool_run(mark, &c, 4);
    _exit(c.parts == 4 && c.part[3] == 10 ? 0 : 1);
  }
  int status;
  waitpid(pid, &status, 0);
  ck_assert_int_eq(status, 0);
  pool_run(mark, &m, 4);
  ck_assert_int_eq(m.part[3], 2);
} END_TEST
#endif

START_TEST(a_stopped_pool_starts_again) {
  Marks m = { 0 };
  pool_set_threads(4);
  pool_stop();
  for (int i = 0; i < 20; i++) {
    pool_run(mark, &m, 4);
    pool_stop();
  }
  ck_assert_int_eq(m.part[3], 20);
} END_TEST

#if defined(__SSE__)
static void read_control(void *ctx, int part, int parts) {
  (void)parts;
  ((unsigned *)ctx)[part] = _mm_getcsr() & 0xffc0;
}
START_TEST(parts_round_like_their_caller) {
  unsigned seen[4], old = _mm_getcsr();
  pool_set_threads(4);
  pool_run(read_control, seen, 4);
  _mm_setcsr(old | 0x8040);            // flush to zero, denormals are zero
  pool_run(read_control, seen, 4);
  for (int i = 0; i < 4; i++) ck_assert_uint_eq(seen[i] & 0x8040, 0x8040);
  _mm_setcsr(old);
  pool_run(read_control, seen, 4);
  for (int i = 0; i < 4; i++) ck_assert_uint_eq(seen[i] & 0x8040, 0);
} END_TEST
#endif

// ---- what compiled code calls ----------------------------------------------------------------------------------

typedef struct Case { int64_t lower, upper, incr, chunk; int32_t sched; unsigned char hit[200]; int lasts; } Case;

// The loops that Clang makes of a static schedule, plain and chunked.
static void work_4(void *ctx, int part, int parts) {
  (void)parts;
  Case *c = ctx;
  int32_t last = 0, lo = (int32_t)c->lower, hi = (int32_t)c->upper, stride = (int32_t)c->incr, end = (int32_t)c->upper;
  plait_kmpc_for_static_init_4(NULL, part, c->sched, &last, &lo, &hi, &stride, (int32_t)c->incr, (int32_t)c->chunk);
  for (; lo <= (hi < end ? hi : end); lo += stride, hi += stride) {
    for (int32_t i = lo; i <= (hi < end ? hi : end); i += (int32_t)c->incr) __atomic_fetch_add(&c->hit[i - c->lower], 1, __ATOMIC_RELAXED);
    if (c->sched == 34) break;
  }
  __atomic_fetch_add(&c->lasts, last, __ATOMIC_RELAXED);
}
static void work_8u(void *ctx, int part, int parts) {
  (void)parts;
  Case *c = ctx;
  int32_t last = 0;
  uint64_t lo = (uint64_t)c->lower, hi = (uint64_t)c->upper, end = hi;
  int64_t stride = c->incr;
  plait_kmpc_for_static_init_8u(NULL, part, c->sched, &last, &lo, &hi, &stride, c->incr, c->chunk);
  for (; lo <= (hi < end ? hi : end); lo += (uint64_t)stride, hi += (uint64_t)stride) {
    for (uint64_t i = lo; i <= (hi < end ? hi : end); i += (uint64_t)c->incr) __atomic_fetch_add(&c->hit[i - (uint64_t)c->lower], 1, __ATOMIC_RELAXED);
    if (c->sched == 34) break;
  }
  __atomic_fetch_add(&c->lasts, last, __ATOMIC_RELAXED);
}

static void check_schedule(PoolBody *work, int64_t lower, int trip, int64_t incr, int sched, int chunk, int parts) {
  Case c = { .lower = lower, .upper = lower + (trip - 1) * incr, .incr = incr, .chunk = chunk, .sched = sched };
  pool_run(work, &c, parts);
  int wrong = 0;
  for (int i = 0; i < 200; i++) wrong += c.hit[i] != (i < trip * incr && i % incr == 0);
  ck_assert_msg(!wrong && c.lasts == 1, "trip %d incr %d sched %d chunk %d parts %d", trip, (int)incr, sched, chunk, parts);
}

START_TEST(static_schedules_cover_each_iteration_once) {
  pool_set_threads(8);
  static const int trips[] = { 1, 2, 3, 7, 8, 9, 16, 31, 40 };
  for (int parts = 1; parts <= 8; parts += parts < 3 ? 1 : 5)
    for (size_t t = 0; t < sizeof trips / sizeof *trips; t++)
      for (int incr = 1, trip = trips[t]; incr <= 3; incr++) {
        check_schedule(work_4, -20, trip, incr, 34, 1, parts);
        check_schedule(work_8u, INT64_C(1) << 40, trip, incr, 34, 1, parts);
        for (int chunk = 1; chunk <= 9; chunk += 4) {
          check_schedule(work_4, 0, trip, incr, 33, chunk, parts);
          check_schedule(work_8u, 0, trip, incr, 33 | 1 << 29, chunk, parts);
        }
      }
} END_TEST

static void take_17(int32_t *gtid, int32_t *btid, void *a0, void *a1, void *a2, void *a3, void *a4, void *a5, void *a6, void *a7,
                    void *a8, void *a9, void *a10, void *a11, void *a12, void *a13, void *a14, void *a15, void *a16) {
  (void)btid, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8, (void)a9, (void)a10, (void)a11, (void)a12, (void)a13, (void)a14;
  ((int *)a0)[*gtid] = *(int *)a15 + *(int *)a16;
}

START_TEST(captured_variables_arrive_in_order) {
  int out[4] = { 0 }, x = 3, y = 4;
  pool_set_threads(4);
  plait_kmpc_fork_call(NULL, 17, (KmpMicrotask *)(void (*)(void))take_17, out, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &x, &y);
  for (int i = 0; i < 4; i++) ck_assert_int_eq(out[i], 7);
  memset(out, 0, sizeof out);
  plait_kmpc_push_num_threads(NULL, 0, 2);
  plait_kmpc_fork_call(NULL, 17, (KmpMicrotask *)(void (*)(void))take_17, out, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &y, &x, &y);
  ck_assert_int_eq(out[1], 7);
  ck_assert_int_eq(out[2], 0);
} END_TEST

// ---- figures ---------------------------------------------------------------------------------------------------

static void nothing(void *ctx, int part, int parts) { (void)ctx, (void)part, (void)parts; }

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void meet(void *ctx, int part, int parts) {
  (void)ctx, (void)part, (void)parts;
  for (int i = 0; i < 100; i++) pool_barrier();
}

// The median cost of a region in us, `gap` us after the one before.
static double region_us(PoolBody *body, int parts, int gap) {
  enum { RUNS = 2001 };
  static double us[RUNS];
  for (int i = 0; i < RUNS; i++) {
    for (double end = seconds(CLOCK_MONOTONIC) + gap * 1e-6; gap && seconds(CLOCK_MONOTONIC) < end;) {}
    double start = seconds(CLOCK_MONOTONIC);
    pool_run(body, NULL, parts);
    us[i] = (seconds(CLOCK_MONOTONIC) - start) * 1e6;
  }
  qsort(us, RUNS, sizeof *us, by_value);
  return us[RUNS / 2];
}

static int bench(void) {
  int most = pool_threads();
  for (int parts = 1; parts <= most; parts = parts * 2 > most && parts < most ? most : parts * 2)
    printf("%3d parts: hot %.2f us, after 20 us %.2f us, after 300 us %.2f us, a barrier %.2f us\n", parts, region_us(nothing, parts, 0),
           region_us(nothing, parts, 20), region_us(nothing, parts, 300), (region_us(meet, parts, 0) - region_us(nothing, parts, 0)) / 100);
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--bench") == 0) return bench();
  const TTest *tests[] = {
    each_part_runs_once_with_every_count, no_more_parts_than_the_cap, a_nested_region_runs_on_its_caller, host_threads_may_call_at_once,
    a_barrier_holds_until_all_have_come, a_barrier_wakes_those_who_sleep,
    a_context_of_any_size_may_be_copied, plain_writes_pass_into_a_region_and_out_of_it, an_idle_pool_burns_no_time,
    a_stopped_pool_starts_again, small_work_is_shared_out_while_calls_follow_each_other,
#ifndef __SANITIZE_THREAD__
    the_child_of_a_fork_has_a_pool,
#endif
#if defined(__SSE__)
    parts_round_like_their_caller,
#endif
    static_schedules_cover_each_iteration_once, captured_variables_arrive_in_order,
  };
  return UNIT_RUN("pool", tests);
}
