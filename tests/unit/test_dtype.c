// test_dtype.c: storage and casts, against formulas that share nothing with dtype.c.
#include "ir/dtype.h"
#include "tests/unit/unit.h"
#include <math.h>
#include <string.h>

static double decode(Dtype d, uint64_t bits) { return dtype_decode(d, bits).f; }
static uint64_t encode(Dtype d, double x) { return dtype_encode(d, (Scalar){.f = x}); }
static Scalar real(double x) { return (Scalar){.f = x}; }
static Scalar integer(int64_t i) { return (Scalar){.i = i}; }
static int64_t to_int(double x, Dtype d) { return dtype_cast(real(x), DT_F64, d).i; }

START_TEST(names_find_their_types) {
  for (int d = DT_NONE + 1; d < DT_COUNT; d++) ck_assert_int_eq(dtype_by_name(dtypes[d].name), d);
  ck_assert_int_eq(dtype_by_name("f8"), DT_NONE);
  ck_assert_int_eq(dtype_by_name("none"), DT_NONE);
} END_TEST

START_TEST(reading_gives_a_wide_type) {
  for (int d = DT_NONE + 1; d < DT_COUNT; d++) {
    Dtype w = dtype_wide((Dtype)d);
    ck_assert(dtype_is_wide(w));
    ck_assert(dtypes[w].bits >= 32 || w == DT_BOOL);
    ck_assert_int_eq(dtype_is_float(w), dtype_is_float((Dtype)d));
  }
  ck_assert_int_eq(dtype_wide(DT_U16), DT_I32);
  ck_assert_int_eq(dtype_wide(DT_U32), DT_U32);
} END_TEST

START_TEST(mixed_operands_join_as_the_language_says) {
  // Rows and columns: f64 f32 u64 i64 u32 i32 bool.
  static const Dtype t[] = {DT_F64, DT_F32, DT_U64, DT_I64, DT_U32, DT_I32, DT_BOOL};
  static const Dtype want[7][7] = {
    {DT_F64, DT_F64, DT_F64, DT_F64, DT_F64, DT_F64, DT_F64}, {DT_F64, DT_F32, DT_F32, DT_F32, DT_F32, DT_F32, DT_F32},
    {DT_F64, DT_F32, DT_U64, DT_U64, DT_U64, DT_U64, DT_U64}, {DT_F64, DT_F32, DT_U64, DT_I64, DT_I64, DT_I64, DT_I64},
    {DT_F64, DT_F32, DT_U64, DT_I64, DT_U32, DT_I64, DT_I64}, {DT_F64, DT_F32, DT_U64, DT_I64, DT_I64, DT_I32, DT_I32},
    {DT_F64, DT_F32, DT_U64, DT_I64, DT_I64, DT_I32, DT_I32}};
  for (int a = 0; a < 7; a++)
    for (int b = 0; b < 7; b++) ck_assert_int_eq(dtype_join(t[a], t[b]), want[a][b]);
} END_TEST

// Sign, exponent and fraction fields by the definition of a binary format.
static double by_fields(int exponent_bits, int fraction_bits, unsigned bits) {
  int bias = (1 << (exponent_bits - 1)) - 1, e = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  double f = (bits & ((1u << fraction_bits) - 1)) * pow(2, -fraction_bits);
  double x = e ? (1 + f) * pow(2, e - bias) : f * pow(2, 1 - bias);
  return bits >> (exponent_bits + fraction_bits) & 1 ? -x : x;
}

typedef struct Form { Dtype d; int exponent, fraction; unsigned finite, infinity; } Form;   // finite: greatest such bits
static const Form forms[] = {{DT_F16, 5, 10, 0x7BFF, 0x7C00}, {DT_BF16, 8, 7, 0x7F7F, 0x7F80}, {DT_F8E4M3, 4, 3, 0x7E, 0}, {DT_F8E5M2, 5, 2, 0x7B, 0x7C}};

START_TEST(every_narrow_float_decodes_to_its_formula) {
  for (size_t n = 0; n < 4; n++) {
    const Form *f = &forms[n];
    unsigned half = 1u << (dtypes[f->d].bits - 1);
    for (unsigned b = 0; b < 2 * half; b++) {
      double x = decode(f->d, b);
      if ((b & (half - 1)) <= f->finite) {
        ck_assert_double_eq(x, by_fields(f->exponent, f->fraction, b));
        ck_assert_int_eq(signbit(x) != 0, b >= half);
      } else if (f->infinity && (b & (half - 1)) == f->infinity) {
        ck_assert_double_eq(x, b >= half ? -INFINITY : INFINITY);
      } else {
        ck_assert(isnan(x));
      }
    }
  }
} END_TEST

START_TEST(every_narrow_float_survives_a_round_trip) {
  for (size_t n = 0; n < 4; n++) {
    const Form *f = &forms[n];
    unsigned half = 1u << (dtypes[f->d].bits - 1);
    for (unsigned b = 0; b < 2 * half; b++) {
      double x = decode(f->d, b);
      if (isnan(x)) ck_assert(isnan(decode(f->d, encode(f->d, x))));
      else if (isinf(x) && f->d == DT_F8E5M2) ck_assert_uint_eq(encode(f->d, x), (b & half) | f->finite);
      else ck_assert_uint_eq(encode(f->d, x), b);
    }
  }
} END_TEST

START_TEST(rounding_is_to_nearest_and_even_between_all_neighbours) {
  for (size_t n = 0; n < 4; n++) {
    const Form *f = &forms[n];
    unsigned half = 1u << (dtypes[f->d].bits - 1);
    for (unsigned b = 0; b < f->finite; b++) {
      double lo = decode(f->d, b), hi = decode(f->d, b + 1), mid = (lo + hi) / 2;       // exact in double
      ck_assert_uint_eq(encode(f->d, mid), b + (b & 1));
      ck_assert_uint_eq(encode(f->d, nextafter(mid, 0)), b);
      ck_assert_uint_eq(encode(f->d, nextafter(mid, INFINITY)), b + 1);
      ck_assert_uint_eq(encode(f->d, -mid), half | (b + (b & 1)));
    }
  }
} END_TEST

START_TEST(overflow_gives_infinity_or_the_largest_finite_value) {
  ck_assert_uint_eq(encode(DT_F16, nextafter(65520, 0)), 0x7BFF);        // 65520 is half a unit past 65504
  ck_assert_uint_eq(encode(DT_F16, 65520), 0x7C00);
  ck_assert_uint_eq(encode(DT_F16, 1e300), 0x7C00);
  ck_assert_uint_eq(encode(DT_BF16, 3.4e38), 0x7F80);           // the largest is 3.3895e38
  ck_assert_uint_eq(encode(DT_BF16, -INFINITY), 0xFF80);
  ck_assert_uint_eq(encode(DT_F8E4M3, 1e9), 0x7E);
  ck_assert_uint_eq(encode(DT_F8E4M3, 464), 0x7E);
  ck_assert_uint_eq(encode(DT_F8E4M3, -INFINITY), 0xFE);
  ck_assert_uint_eq(encode(DT_F8E5M2, INFINITY), 0x7B);
  ck_assert_uint_eq(encode(DT_F8E5M2, -61440), 0xFB);
  ck_assert_double_eq(decode(DT_F8E4M3, 0x7E), 448);                     // [Micikevicius et al. 2022], table 1
  ck_assert_double_eq(decode(DT_F8E4M3, 0x01), 0x1p-9);
  ck_assert_double_eq(decode(DT_F8E5M2, 0x7B), 57344);
  ck_assert_double_eq(decode(DT_F8E5M2, 0x01), 0x1p-16);
} END_TEST

START_TEST(the_smallest_values_round_to_zero_or_the_least_subnormal) {
  ck_assert_uint_eq(encode(DT_F16, 0x1p-25), 0);                         // a tie with zero, which is even
  ck_assert_uint_eq(encode(DT_F16, 0x1.001p-25), 1);
  ck_assert_uint_eq(encode(DT_F16, -5e-324), 0x8000);
  ck_assert_uint_eq(encode(DT_BF16, 0x1p-134), 0);
  ck_assert_uint_eq(encode(DT_F8E4M3, -0x1p-10), 0x80);
  ck_assert_uint_eq(encode(DT_F32, 0x1p-150), 0);
} END_TEST

START_TEST(bf16_is_the_rounded_upper_half_of_f32) {
  unsigned long long seed = 42;
  for (int n = 0; n < 200000; n++) {
    uint32_t u = (uint32_t)unit_random(&seed);
    float x;
    memcpy(&x, &u, sizeof x);
    if (isnan(x)) continue;
    uint32_t want = (u + 0x7FFF + (u >> 16 & 1)) >> 16;                   // the usual integer form
    ck_assert_uint_eq(encode(DT_BF16, (double)x), want);
  }
} END_TEST

START_TEST(f64_is_cast_to_narrow_floats_in_one_rounding) {
  double x = 1 + 0x1p-11 + 0x1p-40;                   // above the tie at 1 + 2^-11; as f32 it would be the tie
  ck_assert_double_eq(dtype_cast(real(x), DT_F64, DT_F16).f, 1 + 0x1p-10);
  ck_assert_double_eq(dtype_cast(real((double)(float)x), DT_F64, DT_F16).f, 1);
  ck_assert_double_eq(dtype_cast(real(0.1), DT_F64, DT_F32).f, (double)0.1f);
} END_TEST

START_TEST(integers_are_cast_to_floats_in_one_rounding) {
  ck_assert_double_eq(dtype_cast(integer(0x1010001), DT_I32, DT_BF16).f, 0x1020000);      // f32 first would give the tie 0x1010000
  ck_assert_double_eq(dtype_cast(integer(-0x1010001), DT_I32, DT_BF16).f, -0x1020000);
  int64_t big = ((int64_t)1 << 62) + ((int64_t)1 << 54) + 1;                              // a tie in bf16 but for its last bit, which double loses
  ck_assert_double_eq(dtype_cast(integer(big), DT_I64, DT_BF16).f, 0x1p62 + 0x1p55);
  ck_assert_double_eq(dtype_cast(integer(big - 1), DT_I64, DT_BF16).f, 0x1p62);
  ck_assert_double_eq(dtype_cast(integer(65520), DT_I32, DT_F16).f, INFINITY);
  ck_assert_double_eq(dtype_cast(integer(1000), DT_I32, DT_F8E4M3).f, 448);
  ck_assert_double_eq(dtype_cast(integer(16777217), DT_I32, DT_F32).f, 16777216);
  ck_assert_double_eq(dtype_cast(integer(INT64_MIN), DT_I64, DT_F32).f, -0x1p63);
  ck_assert_double_eq(dtype_cast((Scalar){.u = UINT64_MAX}, DT_U64, DT_F32).f, 0x1p64);
  ck_assert_double_eq(dtype_cast((Scalar){.u = UINT64_MAX}, DT_U64, DT_F64).f, 0x1p64);
  ck_assert_double_eq(dtype_cast((Scalar){.u = 1}, DT_BOOL, DT_F16).f, 1);
} END_TEST

START_TEST(floats_are_cast_to_integers_truncated_and_saturated) {
  ck_assert_int_eq(to_int(2.9, DT_I32), 2);
  ck_assert_int_eq(to_int(-2.9, DT_I32), -2);
  ck_assert_int_eq(to_int(3e9, DT_I32), INT32_MAX);
  ck_assert_int_eq(to_int(-3e9, DT_I32), INT32_MIN);
  ck_assert_int_eq(to_int(INFINITY, DT_I64), INT64_MAX);
  ck_assert_int_eq(to_int(-INFINITY, DT_I64), INT64_MIN);
  ck_assert_int_eq(to_int(0x1p63, DT_I64), INT64_MAX);
  ck_assert_int_eq(to_int(NAN, DT_I32), 0);
  ck_assert_int_eq(to_int(NAN, DT_U64), 0);
  ck_assert_int_eq(to_int(-1, DT_U32), 0);
  ck_assert_int_eq(to_int(4294967295.0, DT_U32), UINT32_MAX);
  ck_assert_int_eq(to_int(1e10, DT_U32), UINT32_MAX);
  ck_assert_uint_eq(dtype_cast(real(0x1p64), DT_F64, DT_U64).u, UINT64_MAX);
  ck_assert_uint_eq(dtype_cast(real(0x1p63), DT_F64, DT_U64).u, (uint64_t)1 << 63);
  ck_assert_int_eq(to_int(300, DT_I8), 127);
  ck_assert_int_eq(to_int(-300, DT_I8), -128);
  ck_assert_int_eq(to_int(300, DT_U8), 255);
  ck_assert_int_eq(to_int(9, DT_I4), 7);
  ck_assert_int_eq(to_int(-9, DT_I4), -8);
  ck_assert_int_eq(to_int(16, DT_U4), 15);
  ck_assert_int_eq(to_int(0.5, DT_BOOL), 1);
  ck_assert_int_eq(to_int(NAN, DT_BOOL), 1);
  ck_assert_int_eq(to_int(-0.0, DT_BOOL), 0);
} END_TEST

START_TEST(integers_wrap) {
  static const struct { int64_t from; Dtype to; int64_t want; } rows[] = {
    {300, DT_I8, 44}, {-129, DT_I8, 127}, {300, DT_U8, 44}, {-1, DT_U8, 255}, {8, DT_I4, -8}, {-9, DT_I4, 7}, {-1, DT_U4, 15},
    {65536, DT_I16, 0}, {40000, DT_I16, -25536}, {-1, DT_U16, 65535}, {(int64_t)1 << 32, DT_I32, 0}, {((int64_t)1 << 31), DT_I32, INT32_MIN},
    {-1, DT_U32, UINT32_MAX}, {2, DT_BOOL, 1}, {0, DT_BOOL, 0}};
  for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) ck_assert_int_eq(dtype_cast(integer(rows[n].from), DT_I64, rows[n].to).i, rows[n].want);
  ck_assert_uint_eq(dtype_cast(integer(-1), DT_I32, DT_U64).u, UINT64_MAX);
  ck_assert_int_eq(dtype_cast((Scalar){.u = UINT32_MAX}, DT_U32, DT_I64).i, UINT32_MAX);
  ck_assert_int_eq(dtype_cast((Scalar){.u = UINT32_MAX}, DT_U32, DT_I32).i, -1);
} END_TEST

START_TEST(all_stored_integers_survive_a_round_trip) {
  static const Dtype t[] = {DT_I16, DT_I8, DT_I4, DT_U16, DT_U8, DT_U4};
  for (size_t n = 0; n < sizeof t / sizeof *t; n++) {
    int bits = dtypes[t[n]].bits;
    for (uint64_t b = 0; b < (uint64_t)1 << bits; b++) {
      int64_t v = dtype_decode(t[n], b).i;
      bool negative = dtypes[t[n]].kind == 'I' && b >> (bits - 1);
      ck_assert_int_eq(v, negative ? (int64_t)b - ((int64_t)1 << bits) : (int64_t)b);
      ck_assert_uint_eq(dtype_encode(t[n], integer(v)), b);
    }
  }
} END_TEST

START_TEST(wide_bit_patterns_are_kept) {
  unsigned long long seed = 7;
  for (int n = 0; n < 10000; n++) {
    uint64_t u = unit_random(&seed);
    double f;
    memcpy(&f, &u, sizeof f);
    if (!isnan(f)) ck_assert_uint_eq(dtype_encode(DT_F64, dtype_decode(DT_F64, u)), u);
    ck_assert_uint_eq(dtype_encode(DT_I64, dtype_decode(DT_I64, u)), u);
    ck_assert_uint_eq(dtype_encode(DT_U32, dtype_decode(DT_U32, u)), (uint32_t)u);
    ck_assert_int_eq(dtype_decode(DT_I32, u).i, (int32_t)(uint32_t)u);
  }
} END_TEST

START_TEST(two_nibbles_share_a_byte_low_first) {
  unsigned char bytes[3] = {0xFF, 0xFF, 0xFF};
  dtype_store(DT_I4, bytes, 0, integer(-8));
  dtype_store(DT_I4, bytes, 1, integer(7));
  dtype_store(DT_U4, bytes, 5, integer(3));
  ck_assert_uint_eq(bytes[0], 0x78);
  ck_assert_uint_eq(bytes[1], 0xFF);
  ck_assert_uint_eq(bytes[2], 0x3F);
  ck_assert_int_eq(dtype_load(DT_I4, bytes, 0).i, -8);
  ck_assert_int_eq(dtype_load(DT_U4, bytes, 0).i, 8);
  ck_assert_int_eq(dtype_load(DT_I4, bytes, 1).i, 7);
} END_TEST

START_TEST(elements_are_loaded_where_they_were_stored_at_any_alignment) {
  unsigned char room[70];
  for (int d = DT_NONE + 1; d < DT_COUNT; d++) {
    memset(room, 0, sizeof room);
    unsigned char *base = room + 1;
    for (int k = 0; k < 7; k++) dtype_store((Dtype)d, base, k, dtype_is_float((Dtype)d) ? real(k & 3) : integer(d == DT_BOOL ? k & 1 : k));
    for (int k = 0; k < 7; k++) {
      if (dtype_is_float((Dtype)d)) ck_assert_double_eq(dtype_load((Dtype)d, base, k).f, k & 3);
      else ck_assert_int_eq(dtype_load((Dtype)d, base, k).i, d == DT_BOOL ? k & 1 : k);
    }
    ck_assert_uint_eq(room[1 + dtype_bytes((Dtype)d, 7)], 0);
  }
} END_TEST

START_TEST(sizes_in_bytes) {
  ck_assert_int_eq(dtype_bytes(DT_F64, 3), 24);
  ck_assert_int_eq(dtype_bytes(DT_F16, 3), 6);
  ck_assert_int_eq(dtype_bytes(DT_BOOL, 3), 3);
  ck_assert_int_eq(dtype_bytes(DT_I4, 6), 3);
  ck_assert_int_eq(dtype_bytes(DT_U4, 0), 0);
} END_TEST

START_TEST(a_stored_byte_that_is_not_zero_is_true) {
  for (unsigned b = 0; b < 256; b++) ck_assert_uint_eq(dtype_decode(DT_BOOL, b).u, b != 0);
} END_TEST

START_TEST(least_and_greatest_values) {
  ck_assert_double_eq(dtype_least(DT_F32).f, -INFINITY);
  ck_assert_double_eq(dtype_greatest(DT_F64).f, INFINITY);
  ck_assert_int_eq(dtype_least(DT_I32).i, INT32_MIN);
  ck_assert_int_eq(dtype_greatest(DT_I64).i, INT64_MAX);
  ck_assert_uint_eq(dtype_least(DT_U64).u, 0);
  ck_assert_uint_eq(dtype_greatest(DT_U32).u, UINT32_MAX);
  ck_assert_uint_eq(dtype_greatest(DT_BOOL).u, 1);
} END_TEST

int main(void) {
  const TTest *tests[] = {names_find_their_types,
                          reading_gives_a_wide_type,
                          mixed_operands_join_as_the_language_says,
                          every_narrow_float_decodes_to_its_formula,
                          every_narrow_float_survives_a_round_trip,
                          rounding_is_to_nearest_and_even_between_all_neighbours,
                          overflow_gives_infinity_or_the_largest_finite_value,
                          the_smallest_values_round_to_zero_or_the_least_subnormal,
                          bf16_is_the_rounded_upper_half_of_f32,
                          f64_is_cast_to_narrow_floats_in_one_rounding,
                          integers_are_cast_to_floats_in_one_rounding,
                          floats_are_cast_to_integers_truncated_and_saturated,
                          integers_wrap,
                          all_stored_integers_survive_a_round_trip,
                          wide_bit_patterns_are_kept,
                          two_nibbles_share_a_byte_low_first,
                          elements_are_loaded_where_they_were_stored_at_any_alignment,
                          sizes_in_bytes,
                          a_stored_byte_that_is_not_zero_is_true,
                          least_and_greatest_values};
  return UNIT_RUN("dtype", tests);
}
