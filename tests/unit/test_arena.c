#include "base/arena.h"
#include "unit.h"
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static bool filled_with(const unsigned char *p, int byte, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i] != byte) return false;
  return true;
}

START_TEST(memory_is_zeroed_and_aligned_for_any_size) {
  Arena *a = arena_create();
  for (size_t n = 0; n < 3000; n += 7) {
    unsigned char *p = arena_alloc(a, n);
    ck_assert_uint_eq((uintptr_t)p % _Alignof(max_align_t), 0);
    ck_assert(filled_with(p, 0, n));
    memset(p, 0xff, n);
  }
  arena_destroy(a);
} END_TEST

START_TEST(allocations_do_not_overlap) {
  enum { N = 2000 };
  static unsigned char *p[N];
  static size_t size[N];
  unsigned long long seed = 1;
  Arena *a = arena_create();
  for (int i = 0; i < N; i++) {
    size[i] = unit_random(&seed) % (i % 100 ? 300 : 600000);
    p[i] = arena_alloc(a, size[i]);
    memset(p[i], i % 251, size[i]);
  }
  for (int i = 0; i < N; i++)
    ck_assert(filled_with(p[i], i % 251, size[i]));
  arena_destroy(a);
} END_TEST

START_TEST(a_large_block_leaves_the_current_chunk_in_use) {
  Arena *a = arena_create();
  char *before = arena_alloc(a, 16);
  arena_alloc(a, 64 << 20);
  char *after = arena_alloc(a, 16);
  ck_assert_ptr_eq(after, before + 16);
  arena_destroy(a);
} END_TEST

START_TEST(used_counts_what_was_handed_out) {
  Arena *a = arena_create();
  ck_assert_uint_eq(arena_used(a), 0);
  arena_alloc(a, 100);
  ck_assert_uint_ge(arena_used(a), 100);
  size_t used = arena_used(a);
  arena_alloc(a, 0);
  ck_assert_uint_gt(arena_used(a), used);     // a size of 0 has an address of its own
  arena_destroy(a);
} END_TEST

START_TEST(text_is_copied_with_its_length) {
  Arena *a = arena_create();
  char *s = arena_strndup(a, "ab\0cd", 5);
  ck_assert_mem_eq(s, "ab\0cd", 6);
  ck_assert_str_eq(arena_strndup(a, NULL, 0), "");
  ck_assert_str_eq(arena_printf(a, "%s-%d", "x", 12), "x-12");
  char *wide = arena_printf(a, "%5000d", 7);
  ck_assert_uint_eq(strlen(wide), 5000);
  arena_destroy(a);
} END_TEST

START_TEST(destroying_nothing_is_allowed) {
  arena_destroy(NULL);
} END_TEST

// The process ends instead of handing out a block that is too small.
START_TEST(a_product_that_overflows_aborts) {
  Arena *a = arena_create();
  volatile size_t n = SIZE_MAX / 2;
  arena_alloc_array(a, n, 4);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    memory_is_zeroed_and_aligned_for_any_size, allocations_do_not_overlap,
    a_large_block_leaves_the_current_chunk_in_use, used_counts_what_was_handed_out, text_is_copied_with_its_length,
    destroying_nothing_is_allowed,
  };
  Suite *s = suite_create("arena abort");
  TCase *c = tcase_create("abort");
  tcase_add_test_raise_signal(c, a_product_that_overflows_aborts, SIGABRT);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return UNIT_RUN("arena", tests) || failed;
}
