// unit.h: the main of a unit test program. A test's name is the claim that it checks.
//
//   START_TEST(interning_gives_one_pointer_per_text) { … } END_TEST
//   int main(void) {
//     const TTest *tests[] = {interning_gives_one_pointer_per_text};
//     return UNIT_RUN("str", tests);
//   }
#ifndef PLAIT_TESTS_UNIT_H
#define PLAIT_TESTS_UNIT_H
#include <check.h>
#include <stdlib.h>

// Check's line of totals ("100%: Checks: 3, Failures: 0, Errors: 0") is what ./test adds up.
static inline int unit_run(const char *suite, const TTest *const *tests, size_t n) {
  Suite *s = suite_create(suite);
  for (size_t i = 0; i < n; i++) {
    TCase *c = tcase_create(tests[i]->name);
    tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
  }
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
#define UNIT_RUN(suite, tests) unit_run((suite), (tests), sizeof(tests) / sizeof *(tests))

// A small generator for random tests (xorshift64*); the seed is in the test, so a failure repeats.
static inline unsigned long long unit_random(unsigned long long *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545f4914f6cdd1du;
}
#endif
