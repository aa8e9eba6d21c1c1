// dtype.c: the scalar types: their table, how values are stored, and casts.
//
// The narrow floats are all "sign, e exponent bits, m fraction bits": IEEE 754-2019 binary16; bfloat16 (binary32's
// upper half); E4M3 and E5M2 as in [Micikevicius et al., FP8 Formats for Deep Learning, 2022] and OCP OFP8.
#include "ir/dtype.h"
#include <assert.h>
#include <math.h>
#include <string.h>

const DtypeInfo dtypes[DT_COUNT] = {
  [DT_NONE] = {.name = "none"},
#define DTYPE(NAME, text, width, letter, WIDE, storage, code)                                   \
  [DT_##NAME] = {.name = #text, .bits = width, .kind = #letter[0], .wide = DT_##WIDE,           \
                 .c = storage, .numpy = code},
#include "ir/dtype.def"
#undef DTYPE
};

Dtype dtype_by_name(const char *name) {
  for (int d = DT_NONE + 1; d < DT_COUNT; d++)
    if (strcmp(dtypes[d].name, name) == 0) return (Dtype)d;
  return DT_NONE;
}

Dtype dtype_join(Dtype a, Dtype b) {
  assert(dtype_is_wide(a) && dtype_is_wide(b));
  if (a == DT_BOOL) a = DT_I32;
  if (b == DT_BOOL) b = DT_I32;
  if (a == b) return a;
  if (a == DT_F64 || b == DT_F64) return DT_F64;
  if (a == DT_F32 || b == DT_F32) return DT_F32;
  if (a == DT_U64 || b == DT_U64) return DT_U64;
  return DT_I64;                      // i64 with i32 or u32, and i32 with u32
}

// A narrow float. `most`: bits of the largest finite value; past it comes infinity, or with `saturates` nothing.
typedef struct Narrow { int exponent, fraction; uint32_t most, infinity, nan; bool saturates; } Narrow;

static Narrow narrow_of(Dtype d) {
  switch (d) {
  case DT_F16: return (Narrow){5, 10, 0x7BFF, 0x7C00, 0x7E00, false};
  case DT_BF16: return (Narrow){8, 7, 0x7F7F, 0x7F80, 0x7FC0, false};
  case DT_F8E4M3: return (Narrow){4, 3, 0x7E, 0, 0x7F, true};
  default: assert(d == DT_F8E5M2); return (Narrow){5, 2, 0x7B, 0x7C, 0x7E, true};
  }
}

// Round to nearest even in one step. The quantum is a power of two, so that scaling by it is exact, and rint does the
// rounding; a carry out of the fraction runs into the exponent field, which is what it means.
static uint64_t narrow_encode(Dtype d, double x) {
  Narrow n = narrow_of(d);
  uint32_t sign = signbit(x) ? 1u << (n.exponent + n.fraction) : 0;
  if (isnan(x)) return sign | n.nan;
  if (isinf(x)) return sign | (n.saturates ? n.most : n.infinity);
  if (x == 0) return sign;
  int bias = (1 << (n.exponent - 1)) - 1, e;
  frexp(x, &e);
  e -= 1;                                                     // 2^e <= |x| < 2^(e + 1)
  bool normal = e >= 1 - bias;
  if (e > bias + 1) return sign | (n.saturates ? n.most : n.infinity);
  double q = rint(ldexp(fabs(x), n.fraction - (normal ? e : 1 - bias)));
  uint32_t bits = (uint32_t)q;
  if (normal) bits += (uint32_t)(e + bias - 1) << n.fraction;   // the leading one of q adds the last unit
  if (bits > n.most) bits = n.saturates ? n.most : n.infinity;
  return sign | bits;
}

static double narrow_decode(Dtype d, uint32_t bits) {
  Narrow n = narrow_of(d);
  uint32_t magnitude = bits & ((1u << (n.exponent + n.fraction)) - 1);
  int bias = (1 << (n.exponent - 1)) - 1, e = (int)(magnitude >> n.fraction);
  double fraction = magnitude & ((1u << n.fraction) - 1), x;
  if (magnitude > n.most) x = n.infinity && magnitude == n.infinity ? (double)INFINITY : (double)NAN;
  else if (e == 0) x = ldexp(fraction, 1 - bias - n.fraction);
  else x = ldexp(fraction + (1 << n.fraction), e - bias - n.fraction);
  return bits >> (n.exponent + n.fraction) & 1 ? -x : x;
}

static uint64_t mask_of(int bits) { return bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1; }

uint64_t dtype_encode(Dtype d, Scalar v) {
  switch (d) {
  case DT_F64: { uint64_t u; memcpy(&u, &v.f, sizeof u); return u; }
  case DT_F32: { float f = (float)v.f; uint32_t u; memcpy(&u, &f, sizeof u); return u; }
  case DT_F16: case DT_BF16: case DT_F8E4M3: case DT_F8E5M2: return narrow_encode(d, v.f);
  case DT_BOOL: return v.u != 0;
  default: return v.u & mask_of(dtypes[d].bits);
  }
}

Scalar dtype_decode(Dtype d, uint64_t bits) {
  bits &= mask_of(dtypes[d].bits);
  switch (d) {
  case DT_F64: { double f; memcpy(&f, &bits, sizeof f); return (Scalar){.f = f}; }
  case DT_F32: { uint32_t u = (uint32_t)bits; float f; memcpy(&f, &u, sizeof f); return (Scalar){.f = f}; }
  case DT_F16: case DT_BF16: case DT_F8E4M3: case DT_F8E5M2: return (Scalar){.f = narrow_decode(d, (uint32_t)bits)};
  case DT_BOOL: return (Scalar){.u = bits != 0};
  default: break;
  }
  if (dtypes[d].kind == 'U') return (Scalar){.u = bits};
  uint64_t sign = (uint64_t)1 << (dtypes[d].bits - 1);
  return (Scalar){.i = (int64_t)((bits ^ sign) - sign)};
}

// An integer as a double whose last bit is odd when anything was lost below it ("round to odd"): rounding that once
// more to a format two or more bits shorter gives what rounding the integer would have. [Boldo & Melquiond 2008]
static double odd_double(uint64_t magnitude, bool negative) {
  int drop = 0;
  while (magnitude >> drop > (uint64_t)1 << 53) drop++;
  uint64_t kept = magnitude >> drop;
  if (kept << drop != magnitude) kept |= 1;
  double x = ldexp((double)kept, drop);
  return negative ? -x : x;
}

static Scalar cast_int_to_float(Scalar v, Dtype from, Dtype to) {
  bool negative = dtypes[from].kind == 'I' && v.i < 0;
  if (to == DT_F64) return (Scalar){.f = negative ? (double)v.i : (double)v.u};
  if (to == DT_F32) return (Scalar){.f = negative ? (float)v.i : (float)v.u};
  double x = odd_double(negative ? 0 - v.u : v.u, negative);
  return dtype_decode(to, dtype_encode(to, (Scalar){.f = x}));
}

// Truncates and saturates to the range of `to`; NaN gives 0. The bounds are powers of two, exact as doubles.
static Scalar cast_float_to_int(double x, Dtype to) {
  int bits = dtypes[to].bits;
  if (isnan(x)) return (Scalar){.u = 0};
  x = trunc(x);
  if (dtypes[to].kind == 'U') {
    if (x <= 0) return (Scalar){.u = 0};
    return (Scalar){.u = x >= ldexp(1, bits) ? mask_of(bits) : (uint64_t)x};
  }
  double limit = ldexp(1, bits - 1);
  if (x >= limit) return (Scalar){.i = (int64_t)mask_of(bits - 1)};
  if (x <= -limit) return (Scalar){.i = -(int64_t)mask_of(bits - 1) - 1};
  return (Scalar){.i = (int64_t)x};
}

Scalar dtype_cast(Scalar v, Dtype from, Dtype to) {
  assert(dtype_is_wide(from));
  if (to == DT_BOOL) return (Scalar){.u = dtype_is_float(from) ? v.f != 0 : v.u != 0};
  if (dtype_is_float(from))
    return dtype_is_float(to) ? dtype_decode(to, dtype_encode(to, v)) : cast_float_to_int(v.f, to);
  if (dtype_is_float(to)) return cast_int_to_float(v, from, to);
  return dtype_decode(to, dtype_encode(to, v));
}

Scalar dtype_load(Dtype d, const void *base, int64_t k) {
  const unsigned char *p = base;
  switch (dtypes[d].bits) {
  case 4: return dtype_decode(d, p[k / 2] >> (k % 2 * 4) & 15);
  case 8: return dtype_decode(d, p[k]);
  case 16: { uint16_t u; memcpy(&u, p + 2 * k, sizeof u); return dtype_decode(d, u); }
  case 32: { uint32_t u; memcpy(&u, p + 4 * k, sizeof u); return dtype_decode(d, u); }
  default: { uint64_t u; memcpy(&u, p + 8 * k, sizeof u); return dtype_decode(d, u); }
  }
}

void dtype_store(Dtype d, void *base, int64_t k, Scalar v) {
  unsigned char *p = base;
  uint64_t bits = dtype_encode(d, v);
  switch (dtypes[d].bits) {
  case 4: {
    int shift = (int)(k % 2 * 4);
    p[k / 2] = (unsigned char)((p[k / 2] & ~(15 << shift)) | (int)(bits << shift));
    return;
  }
  case 8: p[k] = (unsigned char)bits; return;
  case 16: { uint16_t u = (uint16_t)bits; memcpy(p + 2 * k, &u, sizeof u); return; }
  case 32: { uint32_t u = (uint32_t)bits; memcpy(p + 4 * k, &u, sizeof u); return; }
  default: memcpy(p + 8 * k, &bits, sizeof bits); return;
  }
}

int64_t dtype_bytes(Dtype d, int64_t n) {
  if (n <= 0) return 0;
  return dtypes[d].bits == 4 ? n / 2 + n % 2 : n * (dtypes[d].bits / 8);
}

Scalar dtype_least(Dtype d) {
  assert(dtype_is_wide(d));
  if (dtype_is_float(d)) return (Scalar){.f = -INFINITY};
  if (dtypes[d].kind != 'I') return (Scalar){.u = 0};
  return (Scalar){.i = d == DT_I32 ? INT32_MIN : INT64_MIN};
}

Scalar dtype_greatest(Dtype d) {
  assert(dtype_is_wide(d));
  if (dtype_is_float(d)) return (Scalar){.f = INFINITY};
  if (d == DT_BOOL) return (Scalar){.u = 1};
  if (dtypes[d].kind == 'U') return (Scalar){.u = d == DT_U32 ? UINT32_MAX : UINT64_MAX};
  return (Scalar){.i = d == DT_I32 ? INT32_MAX : INT64_MAX};
}
