// ceiling.c: how fast this machine copies and reads, in several ways; the best is the ceiling of a case of that size.
//
// cc -O3 -march=native -fopenmp -shared -fPIC ceiling.c -o libceiling.so (bench/run.py does it)
#include "vector.h"
#include <omp.h>
#include <string.h>

void set_threads(int n) { omp_set_num_threads(n); }

// Writes zeros with the threads that will use the memory, in the split that all loops here have.
void touch(void *p, size_t bytes) {
#pragma omp parallel for schedule(static)
  for (size_t at = 0; at < bytes; at += 4096) memset((char *)p + at, 0, bytes - at < 4096 ? bytes - at : 4096);
}

// One thread's part of n, in multiples of 1024 floats.
static void part(size_t n, size_t *from, size_t *to) {
  size_t all = (n + 1023) / 1024, threads = (size_t)omp_get_num_threads(), t = (size_t)omp_get_thread_num();
  *from = all * t / threads * 1024;
  *to = all * (t + 1) / threads * 1024;
  if (*to > n) *to = n;
}

static void copy_plain(const float *x, float *y, size_t n) {
  for (size_t i = 0; i + 64 <= n; i += 64)
    for (int k = 0; k < 64; k += LANES) store(y + i + k, load(x + i + k));
}

static void copy_stream(const float *x, float *y, size_t n) {
  for (size_t i = 0; i + 64 <= n; i += 64)
    for (int k = 0; k < 64; k += LANES) stream(y + i + k, load(x + i + k));
  fence();
}

static void copy_stream_prefetch(const float *x, float *y, size_t n) {
  for (size_t i = 0; i + 64 <= n; i += 64)
    for (int k = 0; k < 64; k += LANES) {
      __builtin_prefetch(x + i + k + 1024, 0, 2);
      stream(y + i + k, load(x + i + k));
    }
  fence();
}

// Pages are fetched one after the other, so that memory turns from reading to writing seldom.
static void copy_stream_blocks(const float *x, float *y, size_t n) {
  for (size_t b = 0; b < n; b += 1024) {
    size_t end = n - b < 1024 ? n - b : 1024;
    for (size_t i = 0; i < end; i += LANES) __builtin_prefetch(x + b + i, 0, 3);
    copy_stream(x + b, y + b, end);
  }
}

// Four pages at once: as many streams as the memory keeps open without closing rows.
static void copy_stream_four(const float *x, float *y, size_t n) {
  size_t b = 0;
  for (; b + 4096 <= n; b += 4096)
    for (size_t i = b; i < b + 1024; i += 32)
      for (size_t page = 0; page < 4096; page += 1024)
        for (size_t k = 0; k < 32; k += LANES) stream(y + i + page + k, load(x + i + page + k));
  copy_stream(x + b, y + b, n - b);
}

static void copy_library(const float *x, float *y, size_t n) { memcpy(y, x, n * sizeof *x); }

static float read_plain(const float *x, size_t n) {
  V a[8] = {{0}};
  for (size_t i = 0; i + 128 <= n; i += 128)
    for (int k = 0; k < 8; k++) a[k] += load(x + i + k * LANES);
  for (int k = 1; k < 8; k++) a[0] += a[k];
  return sum_lanes(a[0]);
}

static float read_prefetch(const float *x, size_t n) {
  V a[8] = {{0}};
  for (size_t i = 0; i + 128 <= n; i += 128)
    for (int k = 0; k < 8; k++) {
      __builtin_prefetch(x + i + k * LANES + 2048, 0, 2);
      a[k] += load(x + i + k * LANES);
    }
  for (int k = 1; k < 8; k++) a[0] += a[k];
  return sum_lanes(a[0]);
}

static float read_four(const float *x, size_t n) {
  V a[8] = {{0}};
  size_t quarter = n / 4 / 32 * 32;
  for (size_t i = 0; i + 32 <= quarter; i += 32)
    for (int k = 0; k < 8; k++) a[k] += load(x + (size_t)(k / 2) * quarter + i + (size_t)(k % 2) * LANES);
  for (int k = 1; k < 8; k++) a[0] += a[k];
  return sum_lanes(a[0]) + read_plain(x + 4 * quarter, n - 4 * quarter);
}

typedef void Copy(const float *, float *, size_t);
typedef float Read(const float *, size_t);
static Copy *const copies[] = {copy_plain, copy_stream, copy_stream_prefetch, copy_stream_blocks,
                              copy_stream_four, copy_library};
static Read *const reads[] = {read_plain, read_prefetch, read_four};

const char *copy_name(int way) {
  static const char *const names[] = {"plain", "non-temporal", "non-temporal, prefetch", "non-temporal, pages",
                                      "non-temporal, four pages", "memcpy"};
  return way < 6 ? names[way] : 0;
}

const char *read_name(int way) {
  static const char *const names[] = {"plain", "prefetch", "four streams"};
  return way < 3 ? names[way] : 0;
}

// n floats; alone: by one thread, for data so small that waking others costs more.
void copy(int way, int alone, const float *x, float *y, size_t n) {
  if (alone) {
    copies[way](x, y, n);
    return;
  }
#pragma omp parallel
  {
    size_t from, to;
    part(n, &from, &to);
    if (to > from) copies[way](x + from, y + from, to - from);
  }
}

float read_all(int way, int alone, const float *x, size_t n) {
  float sum = 0;
  if (alone) return reads[way](x, n);
#pragma omp parallel reduction(+ : sum)
  {
    size_t from, to;
    part(n, &from, &to);
    if (to > from) sum += reads[way](x + from, to - from);
  }
  return sum;
}
