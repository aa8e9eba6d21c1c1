#include "base/map.h"
#include "unit.h"

START_TEST(an_empty_map_has_no_keys) {
  Arena *a = arena_create();
  Map m = map_make(a);
  ck_assert_ptr_null(map_get(&m, 0));
  ck_assert_ptr_null(map_get(&m, UINT64_MAX));
  arena_destroy(a);
} END_TEST

START_TEST(zero_and_the_greatest_key_are_keys_like_others) {
  Arena *a = arena_create();
  Map m = map_make(a);
  int x, y;
  map_put(&m, 0, &x);
  map_put(&m, UINT64_MAX, &y);
  ck_assert_ptr_eq(map_get(&m, 0), &x);
  ck_assert_ptr_eq(map_get(&m, UINT64_MAX), &y);
  ck_assert_ptr_null(map_get(&m, 1));
  arena_destroy(a);
} END_TEST

START_TEST(putting_a_key_again_replaces_its_value) {
  Arena *a = arena_create();
  Map m = map_make(a);
  int x, y;
  map_put(&m, 5, &x);
  map_put(&m, 5, &y);
  ck_assert_ptr_eq(map_get(&m, 5), &y);
  ck_assert_int_eq(m.n, 1);
  arena_destroy(a);
} END_TEST

// Keys a power of two apart fall on one slot if only their low bits count.
START_TEST(growth_keeps_all_keys) {
  enum { N = 50000 };
  static int value[N];
  for (int shift = 0; shift < 48; shift += 16) {
    Arena *a = arena_create();
    Map m = map_make(a);
    for (uint64_t i = 0; i < N; i++) map_put(&m, i << shift, &value[i]);
    ck_assert_int_eq(m.n, N);
    for (uint64_t i = 0; i < N; i++) ck_assert_ptr_eq(map_get(&m, i << shift), &value[i]);
    for (uint64_t i = N; i < 2 * N; i++) ck_assert_ptr_null(map_get(&m, i << shift));
    arena_destroy(a);
  }
} END_TEST

START_TEST(pointers_are_keys) {
  Arena *a = arena_create();
  Map m = map_make(a);
  int k[3], v;
  map_putp(&m, &k[1], &v);
  ck_assert_ptr_eq(map_getp(&m, &k[1]), &v);
  ck_assert_ptr_null(map_getp(&m, &k[0]));
  arena_destroy(a);
} END_TEST

START_TEST(a_key_is_added_once) {
  Arena *a = arena_create();
  Map m = map_make(a);
  for (uint64_t i = 0; i < 100; i++) ck_assert(map_add(&m, i));
  for (uint64_t i = 0; i < 100; i++) ck_assert(!map_add(&m, i));
  ck_assert_int_eq(m.n, 100);
  ck_assert_ptr_nonnull(map_get(&m, 99));
  arena_destroy(a);
} END_TEST

START_TEST(a_map_on_the_stack_grows_into_the_arena) {
  Arena *a = arena_create();
  MapSlot few[MAP_FEW] = {0};
  Map m = map_on(few, a);
  int value[MAP_FEW];
  for (uint64_t i = 0; i < MAP_FEW / 2; i++) map_put(&m, i, &value[i]);
  ck_assert_ptr_eq(m.slot, few);
  for (uint64_t i = MAP_FEW / 2; i < MAP_FEW; i++) map_put(&m, i, &value[i]);
  ck_assert_ptr_ne(m.slot, few);
  for (uint64_t i = 0; i < MAP_FEW; i++) ck_assert_ptr_eq(map_get(&m, i), &value[i]);
  arena_destroy(a);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    an_empty_map_has_no_keys, zero_and_the_greatest_key_are_keys_like_others, putting_a_key_again_replaces_its_value,
    growth_keeps_all_keys, pointers_are_keys, a_key_is_added_once,
    a_map_on_the_stack_grows_into_the_arena,
  };
  return UNIT_RUN("map", tests);
}
