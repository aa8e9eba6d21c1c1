// test_interp_format.c: how values are stored: block formats, packed integers, bits; and random numbers.
#include "tests/unit/interp_case.h"

#define Q4_1 "format q4_1 of 32 { d: f16  m: f16  q: u8[16]  value[k] = d * ((q[k % 16] >> (4 * (k // 16))) & 15) + m }\n"
#define Q8_0                                                                                                        \
  "format q8_0 of 32 { d: f16  q: i8[32]  value[k] = d * q[k]\n"                                                    \
  "  encode(v) { d = max[k](abs(v[k])) / 127  q[k] = i8(round(if d == 0 then 0 else v[k] / d)) } }\n"

// A float rounded to f16 (normal numbers).
static double f16_round(double x) {
  int e;
  if (x == 0) return 0;
  frexp(x, &e);
  return ldexp(rint(ldexp(x, 11 - e)), e - 11);
}
// ---- formats

START_TEST(a_block_format_is_read_as_its_value_says) {
  Case c = case_of(Q4_1 "fn f(w: q4_1[O, K]) -> y: f32[O, K] { y[o, k] = w[o, k] }");
  unsigned char *w = put_space(&c, "w", DIMS(2, 64));
  for (int b = 0; b < 4; b++) {
    f16_put(w + 20 * b, 0.5 + b);
    f16_put(w + 20 * b + 2, -3.25 + b);
    for (int k = 0; k < 16; k++) w[20 * b + 4 + k] = (unsigned char)(k * 17 + b * 29);
  }
  RUN(&c);
  for (int k = 0; k < 128; k++) {
    const unsigned char *block = w + 20 * (k / 32);
    int q = k % 32 < 16 ? block[4 + k % 16] & 15 : block[4 + k % 16] >> 4;
    ck_assert(get(&c, "y", k) == (double)(float)((float)f16_value(block) * (float)q + (float)f16_value(block + 2)));
  }
  case_end(&c);
} END_TEST

static void check_q8_0(const unsigned char *block, const double *x) {
  float most = 0;
  for (int k = 0; k < 32; k++) most = fmaxf(most, fabsf((float)x[k]));
  float d = (float)f16_round(most / 127.0f);
  ck_assert((d == 0 && block[0] == 0 && block[1] == 0) || f16_value(block) == (double)d);
  for (int k = 0; k < 32; k++) ck_assert((signed char)block[2 + k] == (d == 0 ? 0 : (int)rintf((float)x[k] / d)));
}

START_TEST(a_block_format_is_written_as_its_encode_says) {
  Case c = case_of(Q8_0 "fn f(x: f32[N, K]) -> y: q8_0[N, K] { y[i, k] = x[i, k] }");
  double x[128];
  unsigned long long seed = 9;
  put_random(&c, "x", DIMS(2, 64), 10, &seed, x);
  for (int k = 32; k < 64; k++) x[k] = 0;                  // a block of zeros: d == 0
  put_doubles(&c, "x", DIMS(2, 64), x, 128);
  RUN(&c);
  for (int b = 0; b < 4; b++) check_q8_0((const unsigned char *)result_data(&c, "y") + 34 * b, x + 32 * b);
  case_end(&c);
} END_TEST

START_TEST(an_intermediate_in_a_format_is_rounded_to_it) {
  Case c = case_of(Q8_0 "fn f(x: f32[K]) -> y: f32[K] { h: q8_0[k] = x[k]  y[k] = h[k] }");
  double x[32];
  unsigned long long seed = 10;
  put_random(&c, "x", DIMS(32), 3, &seed, x);
  RUN(&c);
  float most = 0;
  for (int k = 0; k < 32; k++) most = fmaxf(most, fabsf((float)x[k]));
  float d = (float)f16_round(most / 127.0f);
  for (int k = 0; k < 32; k++) ck_assert(get(&c, "y", k) == (double)(d * rintf((float)x[k] / d)));
  case_end(&c);
} END_TEST

START_TEST(a_block_fails_when_one_of_its_values_does) {
  Case c = case_of(Q8_0 "fn f(x: f32[N], p: i32[K]) -> y: f32 { h: q8_0[k] = x[p[k]]  y = h[0] }");
  PUT(&c, "x", DIMS(2), 1, 2);
  double p[64] = {0};
  p[31] = 5;
  put_doubles(&c, "p", DIMS(64), p, 64);
  ck_assert(!run(&c));
  ck_assert_str_eq(c.fault.equation, "h");
  ck_assert(c.fault.value == 5);
  case_end(&c);
  c = case_of(Q8_0 "fn f(x: f32[N], p: i32[K]) -> y: f32 { h: q8_0[k] = x[p[k]]  y = h[0] }");
  PUT(&c, "x", DIMS(2), 1, 2);
  p[31] = 0, p[32] = 5;                                    // in the next block, which nothing reads
  put_doubles(&c, "p", DIMS(64), p, 64);
  RUN(&c);
  case_end(&c);
} END_TEST

START_TEST(an_update_of_a_format_stores_whole_rows) {
  Case c = case_of(Q8_0 "fn f(mut cache: q8_0[S, K], k: f32[B, K], pos: i32[B]) -> y: f32[S, K] { cache[pos[b], e] <- k[b, e] if pos[b] >= 0  y[s, e] = cache[s, e] }");
  unsigned char *cache = put_space(&c, "cache", DIMS(3, 32));
  for (int b = 0; b < 3; b++) {
    f16_put(cache + 34 * b, 0.25);
    for (int k = 0; k < 32; k++) cache[34 * b + 2 + k] = (unsigned char)(k + b);
  }
  double k[64];
  unsigned long long seed = 11;
  put_random(&c, "k", DIMS(2, 32), 5, &seed, k);
  PUT(&c, "pos", DIMS(2), 2, -1);
  RUN(&c);
  check_q8_0(cache + 68, k);
  for (int e = 0; e < 64; e++) ck_assert(get(&c, "y", e) == 0.25 * (e % 32 + e / 32));
  ck_assert(f16_value(cache) == 0.25 && cache[34 + 2 + 5] == 6);
  for (int e = 0; e < 32; e++) ck_assert(get(&c, "y", 64 + e) == (double)((float)f16_value(cache + 68) * (signed char)cache[68 + 2 + e]));
  case_end(&c);
} END_TEST

START_TEST(helpers_and_local_equations_of_a_format_work) {
  Case c = case_of("format duo of 4 { lo: f16  s: u8  q: u8[4]\n"
                   "  step = 2.0 ** (i32(s) - 8)\n"
                   "  value[k] = lo + step * q[k]\n"
                   "  encode(v) { low = min[k](v[k])  lo = low  w[k < 4] = v[k] - lo  s = 9  q[k] = u8(round(w[k] / 2)) } }\n"
                   "fn f(x: f32[K]) -> (y: duo[K], z: f32[K]) { h: duo[k] = x[k]  y[k] = x[k]  z[k] = h[k] }");
  PUT(&c, "x", DIMS(4), 7, -1, 3.5, 8);
  RUN(&c);
  const unsigned char *y = result_data(&c, "y");
  const double q[] = {4, 0, 2, 4};                          // (v + 1) / 2 = 4, 0, 2.25, 4.5, to nearest even
  ck_assert(f16_value(y) == -1 && y[2] == 9);
  for (int k = 0; k < 4; k++) ck_assert(y[3 + k] == q[k] && get(&c, "z", k) == -1 + 2 * q[k]);
  case_end(&c);
} END_TEST

START_TEST(a_format_may_read_a_table) {
  Case c = case_of("const grid = [-1.0, -0.5, 0.5, 1.0]\nformat t4 of 4 { d: f32  q: u8  value[k] = d * grid[(q >> (2 * k)) & 3] }\n"
                   "fn f(w: t4[K]) -> y: f32[K] { y[k] = w[k] }");
  unsigned char *w = put_space(&c, "w", DIMS(4));
  float d = 3;
  memcpy(w, &d, 4);
  w[4] = 0xE4;                                             // 0, 1, 2, 3 from the low bits up
  RUN(&c);
  ck_assert(get(&c, "y", 0) == -3 && get(&c, "y", 1) == -1.5 && get(&c, "y", 2) == 1.5 && get(&c, "y", 3) == 3);
  case_end(&c);
} END_TEST

// Each link is a tensor in a format that needs the one before it.
START_TEST(a_chain_of_encoded_tensors_needs_no_deep_stack) {
  enum { LINKS = 3000 };
  Arena *a = arena_create();
  Buf b = buf_make(a);
  buf_puts(&b, Q8_0 "fn f(x: f32[K]) -> y: f32[K] { t0: q8_0[k] = x[k]");
  for (int k = 1; k < LINKS; k++) buf_printf(&b, "\nt%d: q8_0[k] = t%d[k]", k, k - 1);
  buf_printf(&b, "\ny[k] = t%d[k] }", LINKS - 1);
  Case c = case_of(b.s);
  double x[32] = {127, -127, 64};                          // multiples of d == 1: stable under encoding
  put_doubles(&c, "x", DIMS(32), x, 32);
  RUN(&c);
  for (int k = 0; k < 32; k++) ck_assert(get(&c, "y", k) == x[k]);
  case_end(&c);
  arena_destroy(a);
} END_TEST

START_TEST(a_recurrence_in_a_format_needs_no_deep_stack) {
  enum { T = 6000 };
  Case c = case_of(Q8_0 "fn f(x: f32[T, K]) -> y: f32[K] { h: q8_0[t, k] = (h[t - 1, K - 1 - k] ?? 0) + x[t, k]  y[k] = h[T - 1, k] }");
  double *x = calloc(T * 32, sizeof *x), h[32] = {0};
  for (int k = 0; k < 32; k++) x[k] = 4 * k - 127 + (k == 31 ? 3 : 0);       // 127 is the largest: d stays 1
  x[32 * 3000 + 5] = 1;
  put_doubles(&c, "x", DIMS(T, 32), x, T * 32);
  RUN(&c);
  for (int t = 0; t < T; t++) {
    double before[32];
    memcpy(before, h, sizeof h);
    for (int k = 0; k < 32; k++) h[k] = before[31 - k] + x[32 * t + k];
  }
  for (int k = 0; k < 32; k++) ck_assert(get(&c, "y", k) == h[k]);
  free(x);
  case_end(&c);
} END_TEST

// ---- packed integers and bits

START_TEST(four_bit_integers_lie_two_to_a_byte_low_nibble_first) {
  Case c = case_of("fn f(a: i4[N], b: u4[N]) -> (x: i32[N], y: i32[N], z: i4[N]) { x[i] = a[i]  y[i] = b[i]  z[i] = a[i] - 1 }");
  unsigned char *a = put_space(&c, "a", DIMS(4)), *b = put_space(&c, "b", DIMS(4));
  a[0] = 0x7F, a[1] = 0x80, b[0] = 0x7F, b[1] = 0x80;
  RUN(&c);
  const double x[] = {-1, 7, 0, -8}, y[] = {15, 7, 0, 8}, z[] = {-2, 6, -1, 7};        // -9 wraps to 7
  for (int k = 0; k < 4; k++) ck_assert(get(&c, "x", k) == x[k] && get(&c, "y", k) == y[k] && get(&c, "z", k) == z[k]);
  const unsigned char *packed = result_data(&c, "z");
  ck_assert(packed[0] == 0x6E && packed[1] == 0x7F);
  case_end(&c);
} END_TEST

START_TEST(any_byte_but_zero_is_true) {
  Case c = case_of("fn f(t: bool[N]) -> (s: i32, y: bool[N], b: u8[N]) { s = sum[i](t[i])  y[i] = not t[i]  b[i] = bitcast(u8, t[i]) }");
  unsigned char *t = put_space(&c, "t", DIMS(3));
  t[0] = 2, t[1] = 0, t[2] = 255;
  RUN(&c);
  ck_assert(get(&c, "s", 0) == 2 && get(&c, "y", 0) == 0 && get(&c, "y", 1) == 1 && get(&c, "b", 2) == 1);
  case_end(&c);
} END_TEST

START_TEST(bitcast_gives_the_bits_in_memory) {
  Case c = case_of("fn f(x: f32[N], h: f16[N], u: u32[N]) -> (a: u32[N], b: u16[N], v: f32[N], w: u16[N])\n"
                   "{ a[i] = bitcast(u32, x[i])  b[i] = bitcast(u16, h[i])  v[i] = bitcast(f32, u[i])  w[i] = bitcast(u16, bf16(x[i])) }");
  const uint32_t x[] = {0x7F800001, 0x80000000, 0x3F800000};         // a signalling NaN, -0, 1
  const uint16_t h[] = {0x7E01, 0xFC00, 0x0001};                     // a NaN with a payload, -inf, the least denormal
  memcpy(put_space(&c, "x", DIMS(3)), x, sizeof x);
  memcpy(put_space(&c, "h", DIMS(3)), h, sizeof h);
  memcpy(put_space(&c, "u", DIMS(3)), (const uint32_t[]){0x40490FDB, 0xFF800000, 1}, sizeof x);
  RUN(&c);
  for (int k = 0; k < 3; k++) ck_assert(get(&c, "a", k) == x[k] && get(&c, "b", k) == h[k]);
  ck_assert(get(&c, "v", 0) == (double)3.14159274f && get(&c, "v", 1) == -INFINITY && get(&c, "v", 2) == 0x1p-149);
  ck_assert(get(&c, "w", 1) == 0x8000 && get(&c, "w", 2) == 0x3F80);
  case_end(&c);
} END_TEST

START_TEST(popcount_counts_the_widened_value) {
  Case c = case_of("fn f(a: i8[N], b: u64[N]) -> (x: i32[N], y: i32[N]) { x[i] = popcount(a[i])  y[i] = popcount(b[i]) }");
  PUT(&c, "a", DIMS(2), -1, 5);
  PUT(&c, "b", DIMS(2), 18446744073709549568.0, 0);        // 2^64 - 2^11
  RUN(&c);
  ck_assert(get(&c, "x", 0) == 32 && get(&c, "x", 1) == 2 && get(&c, "y", 0) == 53 && get(&c, "y", 1) == 0);
  case_end(&c);
} END_TEST

// ---- random numbers

START_TEST(uniform_gives_the_published_words) {
  Case c = case_of("fn f(seed: u64, n: i64, first: i64) -> y: f32[n] { y[i] = uniform(seed, first + i) }");
  PUT_SCALAR(&c, "seed", 0);
  PUT_SCALAR(&c, "n", 4);
  PUT_SCALAR(&c, "first", 0);
  RUN(&c);
  const uint32_t words[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};       // Random123's test vectors
  for (int k = 0; k < 4; k++) ck_assert(get(&c, "y", k) == (words[k] >> 8) * 0x1p-24);
  case_end(&c);
} END_TEST

START_TEST(uniform_takes_both_halves_of_seed_and_counter) {
  Case c = case_of("fn f(seed: u64, n: i64, first: i64) -> y: f32[n] { y[i] = uniform(seed, first + i) }");
  uint64_t seed = 0x123456789ABCD000ull;
  int64_t first = -6;
  PUT_SCALAR(&c, "seed", 0x123456789ABCD000ull);           // exact as a double
  PUT_SCALAR(&c, "n", 10);
  PUT_SCALAR(&c, "first", -6);
  RUN(&c);
  for (int k = 0; k < 10; k++) ck_assert(get(&c, "y", k) == philox_uniform(seed, first + k));
  case_end(&c);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    a_block_format_is_read_as_its_value_says, a_block_format_is_written_as_its_encode_says,
    an_intermediate_in_a_format_is_rounded_to_it, a_block_fails_when_one_of_its_values_does,
    an_update_of_a_format_stores_whole_rows, helpers_and_local_equations_of_a_format_work, a_format_may_read_a_table,
    a_chain_of_encoded_tensors_needs_no_deep_stack,
    a_recurrence_in_a_format_needs_no_deep_stack, four_bit_integers_lie_two_to_a_byte_low_nibble_first,
    any_byte_but_zero_is_true, bitcast_gives_the_bits_in_memory, popcount_counts_the_widened_value,
    uniform_gives_the_published_words, uniform_takes_both_halves_of_seed_and_counter};
  return UNIT_RUN("interp_format", tests);
}
