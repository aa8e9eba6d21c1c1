#include "runtime/search.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(programs_are_found_along_the_path_in_its_order) {
  Arena *a = arena_create();
  ck_assert_str_eq(search_program(a, "/nonexistent:/bin:/usr/bin", "sh"), "/bin/sh");
  ck_assert_ptr_null(search_program(a, "/nonexistent", "sh"));
  ck_assert_ptr_null(search_program(a, "", "sh"));
  ck_assert_ptr_null(search_program(a, "/", "usr"));                 // a directory
  ck_assert_ptr_nonnull(search_program(a, NULL, "sh"));
  arena_destroy(a);
} END_TEST

START_TEST(relative_directories_of_a_path_are_passed_over) {
  Arena *a = arena_create();
  ck_assert_int_eq(chdir("/bin"), 0);
  ck_assert_ptr_null(search_program(a, ".:bin:../bin:", "sh"));
  arena_destroy(a);
} END_TEST

static void put_program(const char *dir, const char *name) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  fputs("#!/bin/sh\necho \"$0 1.2.3\"\n", f);
  fclose(f);
  chmod(path, 0755);
}

START_TEST(clang_comes_before_gcc_and_newer_before_older) {
  char dir[] = "/tmp/test_search-XXXXXX", want[256], command[256];
  Arena *a = arena_create();
  ck_assert_ptr_nonnull(mkdtemp(dir));
  ck_assert_ptr_null(search_cc(a, dir));
  static const char *const order[] = { "cc", "gcc", "clang-14", "clang-19", "clang" };
  for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
    put_program(dir, order[i]);
    snprintf(want, sizeof want, "%s/%s", dir, order[i]);
    ck_assert_str_eq(search_cc(a, dir), want);
  }
  int n;
  SearchItem *items = search_all(a, &(SearchPaths){ .path = dir }, &n);
  ck_assert_str_eq(items[1].where, want);
  ck_assert_ptr_nonnull(strstr(items[1].version, "1.2.3"));
  snprintf(command, sizeof command, "rm -r %s", dir);
  ck_assert_int_eq(system(command), 0);
  arena_destroy(a);
} END_TEST

START_TEST(what_is_missing_has_a_remedy_and_what_is_found_has_a_place) {
  Arena *a = arena_create();
  int n;
  SearchItem *it = search_all(a, &(SearchPaths){ .home = "/root", .path = "/nonexistent" }, &n);
  ck_assert_int_ge(n, 2);
  for (int i = 0; i < n; i++) {
    if (it[i].found) ck_assert_msg(*it[i].where && !*it[i].remedy, "%s", it[i].what);
    else ck_assert_msg(*it[i].remedy && !*it[i].where, "%s", it[i].what);
  }
  ck_assert(!it[1].found);             // no compiler in /nonexistent
  arena_destroy(a);
} END_TEST

#ifdef PLAIT_CLANG
START_TEST(clang_of_this_build_is_found_and_stays_the_one) {
  Arena *a = arena_create();
  const char *where, *why, *again;
  const ClangTable *t = search_clang(a, NULL, &where, &why);
  ck_assert_msg(t != NULL, "%s", why);
  ck_assert_ptr_nonnull(strstr(where, "/libplait-clang.so"));
  ck_assert_ptr_eq(search_clang(a, "/elsewhere", &again, NULL), t);
  ck_assert_str_eq(where, again);
  search_clang_broken();
  ck_assert_ptr_null(search_clang(a, NULL, NULL, &why));
  ck_assert_ptr_nonnull(strstr(why, "failed"));
  arena_destroy(a);
} END_TEST
#endif

// Prints what `plait doctor` knows.
static int print(void) {
  Arena *a = arena_create();
  int n;
  SearchItem *it = search_all(a, &(SearchPaths){ .home = "/root" }, &n);
  for (int i = 0; i < n; i++) printf("%-18s %-3s %s | %s | %s | %s\n", it[i].what, it[i].found ? "yes" : "no", it[i].where, it[i].version, it[i].detail, it[i].remedy);
  arena_destroy(a);
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--print") == 0) return print();
  const TTest *tests[] = {
    programs_are_found_along_the_path_in_its_order, relative_directories_of_a_path_are_passed_over,
    clang_comes_before_gcc_and_newer_before_older, what_is_missing_has_a_remedy_and_what_is_found_has_a_place,
#ifdef PLAIT_CLANG
    clang_of_this_build_is_found_and_stays_the_one,
#endif
  };
  return UNIT_RUN("search", tests);
}
