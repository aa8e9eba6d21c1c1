// jit_symbols.c: the functions that a kernel compiled in process may call.
//
// The list is all that compiled code sees of the process. It holds what our own text asks for, what Clang makes of
// builtins (__builtin_expf calls expf), and what LLVM puts in by itself: memcpy for loops, sincos for a sine beside a
// cosine, bcmp, exp10, helpers for types that the processor lacks.
#include "runtime/jit_symbols.h"
#include "runtime/pool.h"
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// ---- conversions of 16-bit floats, for machines without instructions for them -----------------------------------
// The compilers pass _Float16 and __bf16 in the low half of a float's register (x86-64 and AArch64 psABI), so a float
// stands for them here, with anything in its upper half.

static uint32_t bits_of(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}
static float float_of(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

// The double as a float rounded to odd: rounding that once more, to 16 bits, gives what one rounding would have.
static float to_odd(double x) {
  float f = (float)x;
  uint32_t u = bits_of(f);
  if (f != f || (double)f == x || u & 1) return f;
  bool away = f > 0 ? (double)f > x : (double)f < x;
  return float_of(away ? u - 1 : u + 1);       // one of the two neighbours of x is odd
}

static uint32_t half_bits(float x) {
  uint32_t u = bits_of(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
  if (a > 0x7f800000) return sign | 0x7e00 | (a >> 13 & 0x3ff);          // NaN stays, and becomes quiet
  if (a >= 0x477ff000) return sign | 0x7c00;                             // 65520, half way past the largest
  if (a >= 0x38800000) return sign | ((a + 0xfff + (a >> 13 & 1) - (112u << 23)) >> 13);
  return sign | (bits_of(float_of(a) + 0.5f) - 0x3f000000);              // subnormal: 0.5's ulp is 2^-24
}

static uint32_t bfloat_bits(float x) {
  uint32_t u = bits_of(x);
  if ((u & 0x7fffffff) > 0x7f800000) return u >> 16 | 0x40;
  return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

static float half_to_float(float h) {
  uint32_t u = bits_of(h) & 0xffff, sign = (u & 0x8000) << 16, a = u & 0x7fff;
  if (a >= 0x7c00) return float_of(sign | 0x7f800000 | (a & 0x3ff) << 13 | (a > 0x7c00) << 22);
  if (a >= 0x400) return float_of(sign | ((a << 13) + (112u << 23)));
  return float_of(sign | bits_of((float)a * 0x1p-24f));
}
static float float_to_half(float x) { return float_of(half_bits(x)); }
static float double_to_half(double x) { return float_of(half_bits(to_odd(x))); }
static float float_to_bfloat(float x) { return float_of(bfloat_bits(x)); }
static float double_to_bfloat(double x) { return float_of(bfloat_bits(to_odd(x))); }
// The older names pass the 16 bits as an integer.
static uint16_t gnu_float_to_half(float x) { return (uint16_t)half_bits(x); }
static float gnu_half_to_float(uint16_t h) { return half_to_float(float_of(h)); }

// Helpers of the compiler's own library for 128-bit integers.
#ifdef __SIZEOF_INT128__
__extension__ typedef __int128 Wide;
__extension__ typedef unsigned __int128 UWide;
static Wide div_wide(Wide a, Wide b) { return a / b; }
static Wide mod_wide(Wide a, Wide b) { return a % b; }
static UWide udiv_wide(UWide a, UWide b) { return a / b; }
static UWide umod_wide(UWide a, UWide b) { return a % b; }
#endif

#define AS(name, fn) { #name, (ClangFunction *)(fn) },
#define C(fn) AS(fn, fn)
#define M(fn) C(fn) C(fn##f)                     // the double and the float form of a function of libm
const ClangSymbol jit_symbols[] = {
  M(exp) M(exp2) M(expm1) M(exp10) M(log) M(log2) M(log10) M(log1p) M(logb) M(ilogb)
  M(sin) M(cos) M(tan) M(sincos) M(asin) M(acos) M(atan) M(atan2)
  M(sinh) M(cosh) M(tanh) M(asinh) M(acosh) M(atanh) M(erf) M(erfc) M(tgamma) M(lgamma)
  M(sqrt) M(cbrt) M(pow) M(hypot) M(fma) M(fmod) M(remainder) M(fabs) M(copysign) M(fmin) M(fmax) M(fdim)
  M(floor) M(ceil) M(rint) M(nearbyint) M(trunc) M(round) M(roundeven) M(lrint) M(llrint) M(lround) M(llround)
  M(ldexp) M(scalbn) M(frexp) M(modf) M(nextafter)
  C(memcpy) C(memmove) C(memset) C(memcmp) C(bcmp) C(strlen)
  C(malloc) C(calloc) C(free) C(aligned_alloc)
  AS(__extendhfsf2, half_to_float) AS(__truncsfhf2, float_to_half) AS(__truncdfhf2, double_to_half)
  AS(__truncsfbf2, float_to_bfloat) AS(__truncdfbf2, double_to_bfloat)
  AS(__gnu_h2f_ieee, gnu_half_to_float) AS(__gnu_f2h_ieee, gnu_float_to_half)
#ifdef __SIZEOF_INT128__
  AS(__divti3, div_wide) AS(__modti3, mod_wide) AS(__udivti3, udiv_wide) AS(__umodti3, umod_wide)
#endif
  AS(__kmpc_fork_call, plait_kmpc_fork_call)
  AS(__kmpc_for_static_init_4, plait_kmpc_for_static_init_4) AS(__kmpc_for_static_init_4u, plait_kmpc_for_static_init_4u)
  AS(__kmpc_for_static_init_8, plait_kmpc_for_static_init_8) AS(__kmpc_for_static_init_8u, plait_kmpc_for_static_init_8u)
  AS(__kmpc_for_static_fini, plait_kmpc_for_static_fini) AS(__kmpc_barrier, plait_kmpc_barrier)
  AS(__kmpc_global_thread_num, plait_kmpc_global_thread_num) AS(__kmpc_push_num_threads, plait_kmpc_push_num_threads)
  AS(__kmpc_serialized_parallel, plait_kmpc_serialized_parallel) AS(__kmpc_end_serialized_parallel, plait_kmpc_end_serialized_parallel)
  AS(__kmpc_master, plait_kmpc_master) AS(__kmpc_end_master, plait_kmpc_end_master)
  AS(plait_grain, pool_grain)
  AS(omp_get_thread_num, pool_part) AS(omp_get_num_threads, pool_parts) AS(omp_get_max_threads, plait_omp_max_threads)
};
const size_t jit_nsymbols = sizeof jit_symbols / sizeof *jit_symbols;
