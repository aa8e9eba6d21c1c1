// vector.h: sixteen floats at a time for hand.c and ceiling.c, which are compiled with -O3 -march=native -fopenmp.
#ifndef BENCH_VECTOR_H
#define BENCH_VECTOR_H
#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LANES 16
typedef float V __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef float Unaligned __attribute__((vector_size(64), aligned(4)));

static inline V load(const float *p) { return *(const Unaligned *)p; }
static inline void store(float *p, V v) { *(Unaligned *)p = v; }
static inline V all(float a) { return (V){} + a; }
static inline V bits(I i) { return (V)i; }
static inline V choose(I c, V a, V b) { return bits((c & (I)a) | (~c & (I)b)); }
#if defined(__AVX512F__)
static inline V larger(V a, V b) { return (V)_mm512_max_ps((__m512)a, (__m512)b); }
static inline V smaller(V a, V b) { return (V)_mm512_min_ps((__m512)a, (__m512)b); }
#else
static inline V larger(V a, V b) { return choose(a > b, a, b); }
static inline V smaller(V a, V b) { return choose(a < b, a, b); }
#endif
static inline V magnitude(V a) { return bits((I)a & 0x7fffffff); }

// Past the caches; p is aligned to 64 bytes. fence() before another thread looks.
static inline void stream(float *p, V v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX__)
  const __m256 *half = (const __m256 *)&v;
  _mm256_stream_ps(p, half[0]);
  _mm256_stream_ps(p + 8, half[1]);
#else
  store(p, v);
#endif
}

static inline void fence(void) {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

static inline float sum_lanes(V v) {
  float s = 0;
  for (int i = 0; i < LANES; i++) s += v[i];
  return s;
}

static inline float max_lanes(V v) {
  float m = v[0];
  for (int i = 1; i < LANES; i++) m = v[i] > m ? v[i] : m;
  return m;
}
#endif
