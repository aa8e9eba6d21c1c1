#include "base/json.h"
#include "unit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static Arena *arena;
static Buf b;
static Json j;

static void start(void) {
  arena = arena_create();
  b = buf_make(arena);
  j = json_make(&b);
}

static void expect(const char *text) {
  ck_assert_str_eq(b.s, text);
  arena_destroy(arena);
}

START_TEST(commas_stand_between_values_only) {
  start();
  json_open(&j, '{');
  json_key(&j, "a");
  json_open(&j, '[');
  json_close(&j, ']');
  json_key(&j, "b");
  json_open(&j, '[');
  json_int(&j, 1);
  json_open(&j, '{');
  json_close(&j, '}');
  json_bool(&j, true);
  json_null(&j);
  json_close(&j, ']');
  json_key(&j, "c");
  json_bool(&j, false);
  json_close(&j, '}');
  expect("{\"a\": [], \"b\": [1, {}, true, null], \"c\": false}");
} END_TEST

START_TEST(control_characters_and_quotes_are_escaped) {
  start();
  json_str(&j, "a\"b\\c\n\r\t\b\f\x01\x1f\x7f/");
  expect("\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u001f\\u007f/\"");
} END_TEST

START_TEST(keys_are_escaped_like_strings) {
  start();
  json_open(&j, '{');
  json_key(&j, "k\"\n");
  json_int(&j, 0);
  json_close(&j, '}');
  expect("{\"k\\\"\\n\": 0}");
} END_TEST

START_TEST(valid_utf8_passes_and_invalid_becomes_the_replacement_character) {
  start();
  json_str(&j, "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80|\xff|\xc3|\xed\xa0\x80");
  expect("\"\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80|\\ufffd|\\ufffd|\\ufffd\\ufffd\\ufffd\"");
} END_TEST

START_TEST(numbers_are_exact_and_non_finite_ones_null) {
  start();
  json_open(&j, '[');
  json_int(&j, INT64_MIN);
  json_int(&j, INT64_MAX);
  json_num(&j, 0.1);
  json_num(&j, 1e300);
  json_num(&j, NAN);
  json_num(&j, -INFINITY);
  json_close(&j, ']');
  expect("[-9223372036854775808, 9223372036854775807, 0.1, 1e+300, null, null]");
} END_TEST

START_TEST(deep_nesting_keeps_its_commas) {
  start();
  for (int i = 0; i < 60; i++) {
    json_open(&j, '[');
    json_int(&j, i);
  }
  for (int i = 0; i < 60; i++) json_close(&j, ']');
  ck_assert_uint_eq(j.depth, 0);
  ck_assert_ptr_null(strstr(b.s, "[,"));
  ck_assert_ptr_null(strstr(b.s, ", ]"));
  arena_destroy(arena);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    commas_stand_between_values_only, control_characters_and_quotes_are_escaped, keys_are_escaped_like_strings,
    valid_utf8_passes_and_invalid_becomes_the_replacement_character, numbers_are_exact_and_non_finite_ones_null,
    deep_nesting_keeps_its_commas,
  };
  return UNIT_RUN("json", tests);
}
