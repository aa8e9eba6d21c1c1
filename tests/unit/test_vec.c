#include "base/vec.h"
#include "unit.h"

typedef struct Pair { int a; double b; } Pair;

START_TEST(elements_keep_their_values_as_the_storage_grows) {
  Arena *a = arena_create();
  VEC(int) v = {0};
  for (int i = 0; i < 10000; i++) vec_push(a, &v, i * 3);
  ck_assert_int_eq(v.n, 10000);
  for (int i = 0; i < v.n; i++) ck_assert_int_eq(v.v[i], i * 3);
  arena_destroy(a);
} END_TEST

START_TEST(compound_literals_with_commas_can_be_pushed) {
  Arena *a = arena_create();
  VEC(Pair) v = {0};
  vec_push(a, &v, (Pair){1, 2.5});
  vec_push(a, &v, (Pair){.b = 4, .a = 3});
  ck_assert_int_eq(v.v[1].a, 3);
  ck_assert(v.v[0].b == 2.5);
  arena_destroy(a);
} END_TEST

START_TEST(a_pushed_element_may_come_from_the_vector_itself) {
  Arena *a = arena_create();
  VEC(int) v = {0};
  vec_push(a, &v, 7);
  for (int i = 0; i < 100; i++) vec_push(a, &v, v.v[i]);
  for (int i = 0; i < v.n; i++) ck_assert_int_eq(v.v[i], 7);
  arena_destroy(a);
} END_TEST

START_TEST(growth_allocates_a_linear_amount) {
  Arena *a = arena_create();
  VEC(int) v = {0};
  for (int i = 0; i < 1 << 16; i++) vec_push(a, &v, i);
  ck_assert_uint_le(arena_used(a), 3 * sizeof(int) << 16);      // 1 + 1/2 + 1/4 + … of the last, which is at most twice too long
  arena_destroy(a);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    elements_keep_their_values_as_the_storage_grows, compound_literals_with_commas_can_be_pushed,
    a_pushed_element_may_come_from_the_vector_itself, growth_allocates_a_linear_amount,
  };
  return UNIT_RUN("vec", tests);
}
