#include "base/str.h"
#include "unit.h"
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

// Names.

START_TEST(interning_gives_one_pointer_per_text) {
  Arena *a = arena_create();
  Interner *in = intern_create(a);
  char text[] = "alpha";
  Name n = intern(in, text);
  ck_assert_ptr_ne(n, text);
  text[0] = 'X';
  ck_assert_str_eq(n, "alpha");
  ck_assert_ptr_eq(intern(in, "alpha"), n);
  ck_assert_ptr_eq(intern_n(in, "alphabet", 5), n);
  ck_assert_ptr_ne(intern(in, "alphabet"), n);
  arena_destroy(a);
} END_TEST

START_TEST(the_empty_name_and_names_with_zero_bytes_are_names) {
  Arena *a = arena_create();
  Interner *in = intern_create(a);
  ck_assert_ptr_eq(intern(in, ""), intern_n(in, "x", 0));
  ck_assert_ptr_ne(intern_n(in, "a\0b", 3), intern_n(in, "a\0c", 3));
  ck_assert_ptr_ne(intern_n(in, "a\0b", 3), intern(in, "a"));
  arena_destroy(a);
} END_TEST

START_TEST(pointers_stay_as_the_interner_grows) {
  enum { N = 20000 };
  static Name name[N];
  Arena *a = arena_create();
  Interner *in = intern_create(a);
  for (int i = 0; i < N; i++) name[i] = intern(in, arena_printf(a, "n%d", i));
  for (int i = 0; i < N; i++) ck_assert_ptr_eq(intern(in, arena_printf(a, "n%d", i)), name[i]);
  arena_destroy(a);
} END_TEST

// The builder.

START_TEST(a_buffer_is_always_terminated) {
  Arena *a = arena_create();
  Buf b = buf_make(a);
  ck_assert_str_eq(b.s, "");
  for (int i = 0; i < 500; i++) {
    buf_putc(&b, 'x');
    ck_assert_uint_eq(strlen(b.s), (size_t)i + 1);
  }
  buf_putn(&b, NULL, 0);
  buf_puts(&b, "");
  ck_assert_uint_eq(b.n, 500);
  arena_destroy(a);
} END_TEST

START_TEST(formatting_fits_at_every_fill) {
  Arena *a = arena_create();
  for (int fill = 0; fill < 140; fill++) {
    Buf b = buf_make(a);
    for (int i = 0; i < fill; i++) buf_putc(&b, '.');
    buf_printf(&b, "%s:%d", "abc", 42);
    ck_assert_uint_eq(b.n, (size_t)fill + 6);
    ck_assert_str_eq(b.s + fill, "abc:42");
  }
  arena_destroy(a);
} END_TEST

START_TEST(zero_bytes_are_text_too) {
  Arena *a = arena_create();
  Buf b = buf_make(a);
  buf_putn(&b, "a\0b", 3);
  buf_putc(&b, 0);
  ck_assert_uint_eq(b.n, 4);
  ck_assert_mem_eq(b.s, "a\0b\0", 5);
  arena_destroy(a);
} END_TEST

// Floats.

static const char *float_text(Arena *a, double x, bool single) {
  Buf b = buf_make(a);
  buf_float(&b, x, single);
  return b.s;
}

START_TEST(floats_have_their_usual_text) {
  static const struct { double x; bool single; const char *text; } row[] = {
    {0, false, "0.0"}, {-0.0, false, "-0.0"}, {1, true, "1.0"}, {3, false, "3.0"}, {0.1, false, "0.1"}, {0.1f, true, "0.1"},
    {0.1f, false, "0.10000000149011612"}, {1e-5, false, "1e-05"}, {0.0001, false, "0.0001"}, {0.00012, false, "0.00012"},
    {-1.5e-7, false, "-1.5e-07"}, {1e15, false, "1000000000000000.0"}, {123456789012345680.0, false, "1.2345678901234568e+17"},
    {1e16, false, "1e+16"}, {1e100, false, "1e+100"}, {16777216, true, "16777216.0"}, {16777217, false, "16777217.0"},
    {5e-324, false, "5e-324"}, {1.7976931348623157e308, false, "1.7976931348623157e+308"}, {1e-45f, true, "1e-45"},
    {3.4028234663852886e38, true, "3.4028235e+38"}, {INFINITY, true, "inf"}, {-INFINITY, false, "-inf"}, {NAN, false, "nan"},
    {-NAN, true, "nan"}, {9.5, false, "9.5"}, {99.999, false, "99.999"}, {0.5, true, "0.5"}, {1.0 / 3, false, "0.3333333333333333"},
    {1.0f / 3, true, "0.33333334"}, {100, false, "100.0"},
    {9007199254740993.0, false, "9007199254740992.0"}, {2.2250738585072014e-308, false, "2.2250738585072014e-308"},
    // At a power of two the numbers below lie twice as close as those above: the nearest decimal of 8 digits, just
    // below it, reads as its neighbour, and the next one up reads back.
    {0x1p-96, true, "1.2621775e-29"}, {0x1p87, true, "1.5474251e+26"},
  };
  Arena *a = arena_create();
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) ck_assert_str_eq(float_text(a, row[i].x, row[i].single), row[i].text);
  arena_destroy(a);
} END_TEST

static double double_of_bits(unsigned long long bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static float single_of_bits(unsigned bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

START_TEST(random_bit_patterns_read_back_exactly) {
  unsigned long long seed = 42;
  for (int i = 0; i < 20000; i++) {
    Arena *a = arena_create();
    unsigned long long bits = unit_random(&seed);
    double x = double_of_bits(bits);
    if (!isnan(x)) {
      double y = strtod(float_text(a, x, false), NULL);
      ck_assert_mem_eq(&x, &y, sizeof x);
    }
    float f = single_of_bits((unsigned)bits);
    if (!isnan(f)) {
      float g = strtof(float_text(a, f, true), NULL);
      ck_assert_mem_eq(&f, &g, sizeof f);
    }
    arena_destroy(a);
  }
} END_TEST

// A decimal of one digit less that reads back would be found by rounding down or up from the printed one.
START_TEST(no_shorter_text_reads_back) {
  unsigned long long seed = 7;
  for (int i = 0; i < 5000; i++) {
    // every power of two, then random patterns
    float f = i < 254 ? ldexpf(1, i - 127) : fabsf(single_of_bits((unsigned)unit_random(&seed)));
    if (!isfinite(f) || f == 0) continue;
    Arena *a = arena_create();
    const char *text = float_text(a, f, true);
    int digits = 0;
    bool leading = true;
    for (const char *p = text; *p && *p != 'e'; p++) {
      leading &= *p == '0' || *p == '.';
      digits += !leading && *p != '.';
    }
    if (strstr(text, ".0") && text[strlen(text) - 1] == '0') digits = 0;     // trailing zeros before the point are no digits
    if (digits > 1) {
      char shorter[64];
      snprintf(shorter, sizeof shorter, "%.*e", digits - 2, (double)f);
      double step = pow(10, atoi(strchr(shorter, 'e') + 1) - (digits - 2));
      for (int k = -1; k <= 1; k++) {
        snprintf(shorter, sizeof shorter, "%.*e", digits - 2, (double)f + k * step);
        ck_assert_msg(strtof(shorter, NULL) != f, "%s could be %s", text, shorter);
      }
    }
    arena_destroy(a);
  }
} END_TEST

START_TEST(the_point_does_not_depend_on_the_locale) {
  static const char *const comma[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
  for (size_t i = 0; i < sizeof comma / sizeof *comma; i++)
    if (setlocale(LC_NUMERIC, comma[i])) break;
  Arena *a = arena_create();
  ck_assert_str_eq(float_text(a, 1.5, false), "1.5");
  ck_assert_str_eq(float_text(a, 1.25e-9, true), "1.25e-09");
  arena_destroy(a);
} END_TEST

// UTF-8.

START_TEST(valid_utf8_is_decoded) {
  static const struct { const char *s; int len; uint32_t cp; } row[] = {
    {"A", 1, 'A'}, {"\x7f", 1, 0x7f}, {"\xc2\x80", 2, 0x80}, {"\xdf\xbf", 2, 0x7ff}, {"\xe0\xa0\x80", 3, 0x800},
    {"\xed\x9f\xbf", 3, 0xd7ff}, {"\xee\x80\x80", 3, 0xe000}, {"\xef\xbf\xbf", 3, 0xffff}, {"\xf0\x90\x80\x80", 4, 0x10000},
    {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
  };
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    uint32_t cp = 0;
    ck_assert_int_eq(utf8_decode(row[i].s, strlen(row[i].s), &cp), row[i].len);
    ck_assert_uint_eq(cp, row[i].cp);
  }
  uint32_t cp = 1;
  ck_assert_int_eq(utf8_decode("", 1, &cp), 1);
  ck_assert_uint_eq(cp, 0);
} END_TEST

START_TEST(overlong_cut_and_surrogate_utf8_is_refused) {
  static const char *const bad[] = {
    "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
    "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff", "\xc2", "\xc2" "A", "\xe2\x82", "\xe2\x82" "A", "\xf0\x9f\x98",
  };
  uint32_t cp;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) ck_assert_int_eq(utf8_decode(bad[i], strlen(bad[i]), &cp), 0);
  ck_assert_int_eq(utf8_decode("A", 0, &cp), 0);
} END_TEST

// Distance.

START_TEST(distance_counts_edits_and_swaps) {
  static const struct { const char *a, *b; int d; } row[] = {
    {"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"softmax", "soft_max", 1},
    {"rms_norm", "rmsnorm", 1}, {"gelu", "relu", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"a", "b", 1},
  };
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    ck_assert_int_eq(str_distance(row[i].a, row[i].b, 9), row[i].d);
    ck_assert_int_eq(str_distance(row[i].b, row[i].a, 9), row[i].d);
  }
} END_TEST

START_TEST(distance_stops_at_its_limit) {
  ck_assert_int_eq(str_distance("kitten", "sitting", 1), 2);
  ck_assert_int_eq(str_distance("abcdef", "uvwxyz", 2), 3);
  char a[200], b[200];
  memset(a, 'a', 199);
  a[199] = 0;
  strcpy(b, a);
  ck_assert_int_eq(str_distance(a, b, 3), 0);
  b[100] = 'b';
  ck_assert_int_eq(str_distance(a, b, 3), 4);         // too long to look at
  a[63] = b[63] = 0;
  b[62] = 'b';
  ck_assert_int_eq(str_distance(a, b, 3), 1);
} END_TEST

// Hashing.

START_TEST(hashes_differ_by_length_content_and_seed) {
  static const char zeros[64];
  for (size_t n = 0; n < 64; n++)
    for (size_t k = 0; k < n; k++) ck_assert_uint_ne(hash_bytes(zeros, n, 0), hash_bytes(zeros, k, 0));
  ck_assert_uint_ne(hash_bytes("abcdefgh", 8, 0), hash_bytes("abcdefgi", 8, 0));
  ck_assert_uint_ne(hash_bytes("a", 1, 0), hash_bytes("a", 1, 1));
} END_TEST

// Sets of consecutive keys fill 2^16 buckets about as evenly as chance would: n²/2m pairs collide in m buckets.
START_TEST(low_bits_of_hashes_spread) {
  static int bucket[1 << 16];
  long long pairs = 0;
  for (uint64_t i = 0; i < 1 << 16; i++) {
    uint64_t key = i << 20;
    pairs += bucket[hash_bytes(&key, sizeof key, 0) & 0xffff]++;
  }
  ck_assert_int_lt(pairs, 2 * (1 << 15));
} END_TEST

int main(void) {
  const TTest *tests[] = {
    interning_gives_one_pointer_per_text, the_empty_name_and_names_with_zero_bytes_are_names, pointers_stay_as_the_interner_grows,
    a_buffer_is_always_terminated, formatting_fits_at_every_fill, zero_bytes_are_text_too, floats_have_their_usual_text,
    random_bit_patterns_read_back_exactly, no_shorter_text_reads_back, the_point_does_not_depend_on_the_locale,
    valid_utf8_is_decoded, overlong_cut_and_surrogate_utf8_is_refused, distance_counts_edits_and_swaps,
    distance_stops_at_its_limit, hashes_differ_by_length_content_and_seed, low_bits_of_hashes_spread,
  };
  return UNIT_RUN("str", tests);
}
