#include "base/diag.h"
#include "base/limits.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>

static Arena *arena;
static Diags *d;
static const char *text;
static uint32_t file;

static void start_n(const char *source, size_t n) {
  arena = arena_create();
  d = diags_create(arena);
  text = source;
  file = diags_add_file(d, "a.plait", source, n);
}

static void start(const char *source) { start_n(source, strlen(source)); }

// The k-th place where word stands, from 0.
static Span place(const char *word, int k) {
  const char *p = strstr(text, word);
  while (k--) p = strstr(p + 1, word);
  uint32_t lo = (uint32_t)(p - text);
  return (Span){file, lo, lo + (uint32_t)strlen(word)};
}

static const char *printed(void) {
  Buf b = buf_make(arena);
  diags_print(d, &b, false);
  return b.s;
}

static void expect(const char *want) {
  ck_assert_str_eq(printed(), want);
  arena_destroy(arena);
}

// Spans and positions.

START_TEST(joining_covers_both_and_ignores_no_place) {
  Span a = {1, 5, 7}, b = {1, 2, 6}, other = {2, 0, 1};
  Span j = span_join(a, b);
  ck_assert(j.file == 1 && j.lo == 2 && j.hi == 7);
  j = span_join(NO_SPAN, a);
  ck_assert(j.file == 1 && j.lo == 5 && j.hi == 7);
  j = span_join(a, NO_SPAN);
  ck_assert(j.file == 1 && j.lo == 5 && j.hi == 7);
  j = span_join(a, other);
  ck_assert(j.file == 1 && j.lo == 5 && j.hi == 7);
} END_TEST

static void check_position(uint32_t lo, int line, int column) {
  int l, c;
  diag_position(d, (Span){file, lo, lo}, &l, &c);
  ck_assert_int_eq(l, line);
  ck_assert_int_eq(c, column);
}

START_TEST(lines_and_columns_count_from_one) {
  start("ab\ncd\n\n");
  check_position(0, 1, 1);
  check_position(1, 1, 2);
  check_position(2, 1, 3);        // the line end belongs to its line
  check_position(3, 2, 1);
  check_position(6, 3, 1);
  arena_destroy(arena);
} END_TEST

START_TEST(the_end_of_a_file_is_behind_its_last_visible_character) {
  start("ab\ncd \n\n");
  check_position(8, 2, 3);
  check_position(5000, 2, 3);
  arena_destroy(arena);
  start("");
  check_position(0, 1, 1);
  arena_destroy(arena);
  start("\n\n");
  check_position(2, 1, 1);
  arena_destroy(arena);
} END_TEST

// The look.

START_TEST(caret_label_note_and_mended_line_stand_as_documented) {
  start("fn f(x: f32[N, D]) -> y: f32[N] {\n  y[i] = x[i]\n}\n");
  Span read = place("x[i]", 0);
  diag_error(d, E_rank_mismatch, read, "`%s` has %d dimensions but 1 subscript", "x", 2);
  diag_label(d, place("x: f32[N, D]", 0), "declared here");
  diag_note(d, "a read has as many subscripts as the tensor has dimensions");
  diag_help(d, "add one");
  diag_fix(d, (Span){file, read.hi - 1, read.hi - 1}, ", j");
  expect("error[PLT0404]: `x` has 2 dimensions but 1 subscript\n"
         "  --> a.plait:2:10\n"
         "   |\n"
         " 1 | fn f(x: f32[N, D]) -> y: f32[N] {\n"
         "   |      ------------ declared here\n"
         " 2 |   y[i] = x[i]\n"
         "   |          ^^^^\n"
         "   = note: a read has as many subscripts as the tensor has dimensions\n"
         "help: add one\n"
         " 2 |   y[i] = x[i, j]\n"
         "   |             +++\n"
         "more: plait help PLT0404\n");
} END_TEST

START_TEST(labels_of_one_line_hang_below_from_right_to_left) {
  start("  let y = x + t\n");
  diag_error(d, E_shape_mismatch, place("+", 0), "cannot add");
  diag_label(d, place("+", 0), "both must agree");
  diag_label(d, place("x", 0), "[B, N]");
  diag_label(d, place("t", 1), "[N, B]");
  expect("error[PLT0405]: cannot add\n"
         "  --> a.plait:1:13\n"
         "   |\n"
         " 1 |   let y = x + t\n"
         "   |           - ^ - [N, B]\n"
         "   |           | |\n"
         "   |           | both must agree\n"
         "   |           [B, N]\n"
         "more: plait help PLT0405\n");
} END_TEST

START_TEST(a_mark_inside_another_stays_visible) {
  start("y = f(a, b)\n");
  diag_error(d, E_argument_type, place("f(a, b)", 0), "outer");
  diag_label(d, place("f(a, b)", 0), "this call");
  diag_label(d, place("b", 0), "this argument");
  expect("error[PLT0502]: outer\n"
         "  --> a.plait:1:5\n"
         "   |\n"
         " 1 | y = f(a, b)\n"
         "   |     ^^^^^-^ this call\n"
         "   |          |\n"
         "   |          this argument\n"
         "more: plait help PLT0502\n");
} END_TEST

START_TEST(labels_in_the_first_column_have_their_place) {
  start("ab cd\n");
  diag_error(d, E_syntax, place("ab", 0), "e");
  diag_label(d, place("ab", 0), "one");
  diag_label(d, place("cd", 0), "two");
  expect("error[PLT0104]: e\n"
         "  --> a.plait:1:1\n"
         "   |\n"
         " 1 | ab cd\n"
         "   | ^^ -- two\n"
         "   | |\n"
         "   | one\n"
         "more: plait help PLT0104\n");
} END_TEST

START_TEST(two_labels_at_one_place_are_both_shown) {
  start("ab\n");
  diag_error(d, E_syntax, place("ab", 0), "e");
  diag_label(d, place("ab", 0), "one");
  diag_label(d, place("ab", 0), "two");
  const char *out = printed();
  ck_assert_ptr_nonnull(strstr(out, "one"));
  ck_assert_ptr_nonnull(strstr(out, "two"));
  arena_destroy(arena);
} END_TEST

START_TEST(a_span_over_lines_marks_its_first_and_last) {
  start("y = sum[j](\n  x[j]\n  + 1\n  )\n");
  Span at = place("sum[j](\n  x[j]\n  + 1\n  )", 0);
  diag_error(d, E_syntax, at, "long");
  diag_label(d, at, "all of it");
  expect("error[PLT0104]: long\n"
         "  --> a.plait:1:5\n"
         "   |\n"
         " 1 | y = sum[j](\n"
         "   |     ^^^^^^^\n"
         "...\n"
         " 4 |   )\n"
         "   |   ^ all of it\n"
         "more: plait help PLT0104\n");
} END_TEST

START_TEST(a_span_that_ends_with_a_line_end_stays_on_its_line) {
  start("abc\nnext\n");
  diag_error(d, E_syntax, (Span){file, 1, 4}, "e");
  diag_label(d, (Span){file, 1, 4}, "here");
  expect("error[PLT0104]: e\n"
         "  --> a.plait:1:2\n"
         "   |\n"
         " 1 | abc\n"
         "   |  ^^ here\n"
         "more: plait help PLT0104\n");
} END_TEST

START_TEST(the_end_of_the_file_is_pointed_at_behind_its_text) {
  start("fn f() {\n\n");
  uint32_t end = (uint32_t)strlen(text);
  diag_error(d, E_syntax, (Span){file, end, end}, "unexpected end");
  diag_fix(d, (Span){file, end, end}, " }");
  expect("error[PLT0104]: unexpected end\n"
         "  --> a.plait:1:9\n"
         "   |\n"
         " 1 | fn f() {\n"
         "   |         ^\n"
         "help: try this\n"
         " 1 | fn f() { }\n"
         "   |         ++\n"
         "more: plait help PLT0104\n");
} END_TEST

START_TEST(an_empty_file_can_be_pointed_at) {
  start("");
  diag_error(d, E_no_entry, (Span){file, 0, 0}, "nothing here");
  expect("error[PLT0508]: nothing here\n"
         "  --> a.plait:1:1\n"
         "   |\n"
         " 1 |\n"
         "   | ^\n"
         "more: plait help PLT0508\n");
} END_TEST

START_TEST(a_message_without_a_place_has_no_snippet) {
  start("x");
  diag_error(d, E_no_compiler, NO_SPAN, "no C compiler found");
  diag_note(d, "looked along /usr/bin");
  expect("error[PLE0103]: no C compiler found\n"
         "   = note: looked along /usr/bin\n"
         "more: plait help PLE0103\n");
} END_TEST

START_TEST(notes_of_several_lines_are_indented_and_labels_stay_on_one) {
  start("ab\n");
  diag_error(d, E_kernel_limit, place("ab", 0), "e");
  diag_label(d, place("ab", 0), "one\ntwo\n");
  diag_note(d, "first\n  second\nthird");
  expect("error[PLT0507]: e\n"
         "  --> a.plait:1:1\n"
         "   |\n"
         " 1 | ab\n"
         "   | ^^ one two \n"
         "   = note: first\n"
         "             second\n"
         "           third\n"
         "more: plait help PLT0507\n");
} END_TEST

START_TEST(places_in_another_file_have_their_own_heading) {
  start("y = g(x)\n");
  const char *lib = "\n\nfn g(a: f32) { }\n";
  uint32_t second = diags_add_file(d, "lib.plait", lib, strlen(lib));
  diag_error(d, E_argument_type, place("x", 0), "e");
  diag_label(d, (Span){second, 7, 13}, "declared here");
  expect("error[PLT0502]: e\n"
         "  --> a.plait:1:7\n"
         "   |\n"
         " 1 | y = g(x)\n"
         "   |       ^\n"
         "  ::: lib.plait:3:6\n"
         "   |\n"
         " 3 | fn g(a: f32) { }\n"
         "   |      ------ declared here\n"
         "more: plait help PLT0502\n");
} END_TEST

START_TEST(the_gutter_fits_the_greatest_line_number) {
  Arena *a = arena_create();
  Buf b = buf_make(a);
  for (int i = 1; i <= 1000; i++) buf_printf(&b, "l%d\n", i);
  start(b.s);
  diag_error(d, E_syntax, place("l1000", 0), "e");
  diag_label(d, place("l9\n", 0), "first");
  expect("error[PLT0104]: e\n"
         "     --> a.plait:1000:1\n"
         "      |\n"
         "    9 | l9\n"
         "      | -- first\n"
         " 1000 | l1000\n"
         "      | ^^^^^\n"
         "more: plait help PLT0104\n");
  arena_destroy(a);
} END_TEST

// Fixes.

START_TEST(a_replacement_is_marked_with_tildes) {
  start("y = soft_max(x)\n");
  diag_error(d, E_unknown_function, place("soft_max", 0), "e");
  diag_help(d, "did you mean `softmax`?");
  diag_fix(d, place("soft_max", 0), "softmax");
  const char *out = printed();
  ck_assert_ptr_nonnull(strstr(out, "help: did you mean `softmax`?\n 1 | y = softmax(x)\n   |     ~~~~~~~\nmore"));
  arena_destroy(arena);
} END_TEST

START_TEST(a_replacement_that_keeps_the_old_text_marks_what_it_adds) {
  start("y = x + 1\n");
  diag_error(d, E_syntax, place("x", 0), "e");
  diag_fix(d, place("x + 1", 0), "x[i] + 1");
  ck_assert_ptr_nonnull(strstr(printed(), "\n 1 | y = x[i] + 1\n   |      +++\n"));
  arena_destroy(arena);
} END_TEST

START_TEST(a_deletion_is_marked_where_the_text_was) {
  start("y = x ;; z\n");
  diag_error(d, E_syntax, place(";", 1), "e");
  diag_fix(d, place(";", 1), "");
  ck_assert_ptr_nonnull(strstr(printed(), " 1 | y = x ; z\n   |        ~\n"));
  arena_destroy(arena);
} END_TEST

START_TEST(a_fix_may_add_lines) {
  start("fn f() {\n  a\n");
  diag_error(d, E_syntax, place("a", 0), "e");
  diag_fix(d, (Span){file, 9, 9}, "  b\n");
  ck_assert_ptr_nonnull(strstr(printed(), "help: try this\n 2 |   b\n   | +++\n 3 |   a\nmore"));
  arena_destroy(arena);
} END_TEST

START_TEST(a_fix_may_take_the_place_of_several_lines) {
  start("a(\n  b\n)c\n");
  diag_error(d, E_syntax, place("a", 0), "e");
  diag_fix(d, (Span){file, 1, 8}, "");
  ck_assert_ptr_nonnull(strstr(printed(), "help: try this\n 1 | ac\n   |  ~\nmore"));
  arena_destroy(arena);
} END_TEST

// Hostile text.

START_TEST(tabs_line_up_with_their_marks) {
  start("\ty = x\tq\n");
  diag_error(d, E_unknown_name, place("q", 0), "e");
  ck_assert_ptr_nonnull(strstr(printed(), " 1 |     y = x   q\n   |             ^\n"));
  arena_destroy(arena);
} END_TEST

START_TEST(narrow_letters_pass_and_wide_or_bidirectional_ones_are_escaped) {
  // e with acute, a Chinese character, right-to-left override, a combining accent
  start("# \xc3\xa9 \xe4\xb8\xad \xe2\x80\xae a\xcc\x81 q\n");
  diag_error(d, E_unknown_name, place("q", 0), "e");
  ck_assert_ptr_nonnull(strstr(printed(), " 1 | # \xc3\xa9 <U+4E2D> <U+202E> a<U+0301> q\n"
                                          "   |                                 ^\n"));
  arena_destroy(arena);
} END_TEST

START_TEST(no_control_or_broken_byte_reaches_the_terminal) {
  char source[300];
  for (int i = 0; i < 256; i++) source[i] = (char)i;
  start_n(source, 256);
  for (uint32_t i = 0; i < 256; i += 16) {
    diag_error(d, E_bad_character, (Span){file, i, i + 1}, "byte %c%c in text", (int)i ? (int)i : 'x', 0x1b);
    diag_label(d, (Span){file, i, i + 40}, "label \033[31m %c", (int)i ? (int)i : 'x');
    diag_note(d, "note\r\033[2J");
    diag_help(d, "help\b");
    diag_fix(d, (Span){file, i, i + 3}, "\x1b\xff");
  }
  for (const char *p = printed(); *p; p++) ck_assert_msg(*p == '\n' || (unsigned char)*p >= 0x20, "byte %02x", *p);
  uint32_t cp;
  for (const char *p = printed(); *p;) {
    int n = utf8_decode(p, strlen(p), &cp);
    ck_assert_int_gt(n, 0);
    p += n;
  }
  arena_destroy(arena);
} END_TEST

START_TEST(carriage_returns_before_line_ends_are_no_part_of_lines) {
  start("ab\r\ncd\r\n");
  diag_error(d, E_syntax, place("ab", 0), "e");
  ck_assert_ptr_nonnull(strstr(printed(), " 1 | ab\n   | ^^\n"));
  arena_destroy(arena);
} END_TEST

static size_t longest_line(const char *s) {
  size_t most = 0;
  for (size_t n; *s; s += n + (s[n] == '\n')) {
    n = strcspn(s, "\n");
    if (n > most) most = n;
  }
  return most;
}

START_TEST(long_lines_are_windowed_around_the_mark) {
  char source[400];
  memset(source, 'a', sizeof source);
  memcpy(source + 280, "BCD", 3);
  source[300] = '\n';
  source[301] = 0;
  start(source);
  diag_error(d, E_syntax, place("BCD", 0), "e");
  const char *out = printed();
  const char *line = strstr(out, " 1 | ...a"), *marks = strstr(line ? line : out, "\n   | ");
  ck_assert_ptr_nonnull(line);
  ck_assert_int_eq(strstr(line, "BCD") - line, strstr(marks, "^^^") - (marks + 1));
  ck_assert_uint_le(longest_line(out), 200);
  arena_destroy(arena);
} END_TEST

START_TEST(a_line_of_megabytes_is_shown_in_a_window_too) {
  size_t n = 4 << 20;
  char *source = malloc(n + 1);
  for (size_t i = 0; i < n; i++) source[i] = "\xe4\xb8\xad"[i % 3];
  source[n] = 0;
  start_n(source, n);
  for (uint32_t i = 0; i < 30; i++) {
    diag_error(d, E_syntax, (Span){file, i * 100001, i * 100001 + 70000}, "e");
    diag_label(d, (Span){file, (uint32_t)n - 5, (uint32_t)n}, "far away");
    diag_label(d, (Span){file, 0, 5}, "far before");
  }
  ck_assert_uint_le(longest_line(printed()), 1000);
  arena_destroy(arena);
  free(source);
} END_TEST

START_TEST(spans_outside_the_file_are_harmless) {
  start("ab\n");
  diag_error(d, E_syntax, (Span){file, 100, 200}, "e");
  diag_label(d, (Span){file, 1, 4000000000u}, "to the end");
  diag_fix(d, (Span){file, 7, 9}, "x");
  ck_assert_ptr_nonnull(strstr(printed(), "a.plait:1:3"));
  arena_destroy(arena);
} END_TEST

// Random spans in random bytes: nothing crashes, and every line of a snippet has its gutter (run under sanitizers).
START_TEST(any_spans_in_any_bytes_can_be_printed) {
  unsigned long long seed = 3;
  for (int round = 0; round < 300; round++) {
    char source[600];
    size_t n = unit_random(&seed) % sizeof source;
    for (size_t i = 0; i < n; i++) {
      unsigned r = (unsigned)unit_random(&seed);
      source[i] = r % 8 == 0 ? '\n' : r % 3 ? (char)('a' + r % 20) : (char)(r >> 8);
    }
    start_n(source, n);
    for (int k = 0; k < 12; k++) {
      uint32_t lo = (uint32_t)(unit_random(&seed) % 620), hi = lo + (uint32_t)(unit_random(&seed) % 90);
      if (k % 4 == 0) diag_error(d, (Code)(unit_random(&seed) % E_COUNT), (Span){file, lo, hi}, "e%d", k);
      else if (k % 4 == 3) diag_fix(d, (Span){file, lo, hi}, k == 3 ? "a\nb\n" : "");
      else diag_label(d, (Span){file, lo, hi}, "label %d", k);
    }
    Buf b = buf_make(arena);
    diags_print(d, &b, true);
    diags_json(d, &b);
    arena_destroy(arena);
  }
} END_TEST

// Collecting.

START_TEST(two_errors_at_one_place_with_one_code_are_one) {
  start("ab\n");
  diag_error(d, E_syntax, place("ab", 0), "first");
  diag_error(d, E_syntax, place("ab", 0), "second");
  diag_note(d, "a note of the second");
  diag_error(d, E_unknown_name, place("ab", 0), "another code");
  diag_error(d, E_no_cuda, NO_SPAN, "no place");
  diag_error(d, E_no_cuda, NO_SPAN, "no place again");
  ck_assert_int_eq(d->errors, 4);
  ck_assert_int_eq(d->list.n, 4);
  ck_assert_int_eq(d->list.v[0]->notes.n, 0);
  arena_destroy(arena);
} END_TEST

START_TEST(errors_beyond_the_limit_are_counted) {
  char source[2 * LIMIT_ERRORS + 1];
  memset(source, 'a', sizeof source);
  start_n(source, sizeof source);
  for (uint32_t i = 0; i < LIMIT_ERRORS; i++) diag_error(d, E_syntax, (Span){file, i, i + 1}, "e");
  ck_assert_ptr_null(strstr(printed(), "not shown"));
  diag_error(d, E_syntax, (Span){file, 30, 31}, "e");
  ck_assert_ptr_nonnull(strstr(printed(), "\n1 more error is not shown\n"));
  diag_error(d, E_syntax, (Span){file, 31, 32}, "e");
  diag_label(d, (Span){file, 0, 1}, "dropped with it");
  ck_assert_ptr_nonnull(strstr(printed(), "\n2 more errors are not shown\n"));
  ck_assert_ptr_null(strstr(printed(), "dropped with it"));
  ck_assert_int_eq(d->errors, LIMIT_ERRORS + 2);
  ck_assert_int_eq(d->list.n, LIMIT_ERRORS);
  arena_destroy(arena);
} END_TEST

START_TEST(attaching_before_any_error_is_harmless) {
  start("ab\n");
  diag_label(d, place("ab", 0), "x");
  diag_note(d, "x");
  diag_help(d, "x");
  diag_fix(d, place("ab", 0), "x");
  expect("");
} END_TEST

START_TEST(messages_come_in_the_order_of_their_places) {
  start("ab cd ef\n");
  diag_error(d, E_syntax, place("ef", 0), "third");
  diag_error(d, E_syntax, place("ab", 0), "first");
  diag_error(d, E_unknown_name, place("ab", 0), "second");
  const char *out = printed();
  ck_assert(strstr(out, "first") < strstr(out, "second"));
  ck_assert(strstr(out, "second") < strstr(out, "third"));
  arena_destroy(arena);
} END_TEST

START_TEST(colours_only_where_asked_and_always_ended) {
  start("ab cd\n");
  diag_error(d, E_syntax, place("ab", 0), "e");
  diag_label(d, place("cd", 0), "l");
  diag_note(d, "n");
  diag_fix(d, place("ab", 0), "x");
  ck_assert_ptr_null(strchr(printed(), 033));
  Buf b = buf_make(arena);
  diags_print(d, &b, true);
  int on = 0, switches = 0;
  for (const char *p = b.s; (p = strchr(p, 033)); p++, switches++) on = strncmp(p, "\033[0m", 4) != 0;
  ck_assert_int_eq(on, 0);
  ck_assert_int_gt(switches, 6);
  arena_destroy(arena);
} END_TEST

START_TEST(json_has_places_labels_notes_and_fix) {
  start("y = soft_max(x)\n");
  diag_error(d, E_unknown_function, place("soft_max", 0), "no function \"soft_max\"");
  diag_label(d, place("x", 1), "its argument");
  diag_note(d, "a\nb");
  diag_fix(d, place("soft_max", 0), "softmax");
  diag_error(d, E_no_cuda, NO_SPAN, "none");
  Buf b = buf_make(arena);
  diags_json(d, &b);
  ck_assert_str_eq(b.s,
    "[{\"code\": \"PLE0105\", \"severity\": \"error\", \"message\": \"none\", \"file\": null, \"labels\": [], \"notes\": [], "
    "\"help\": null, \"fix\": null}, "
    "{\"code\": \"PLT0208\", \"severity\": \"error\", \"message\": \"no function \\\"soft_max\\\"\", \"file\": \"a.plait\", "
    "\"line\": 1, \"column\": 5, \"end_line\": 1, \"end_column\": 13, "
    "\"labels\": [{\"file\": \"a.plait\", \"line\": 1, \"column\": 14, \"end_line\": 1, \"end_column\": 15, \"text\": \"its argument\"}], "
    "\"notes\": [\"a\\nb\"], \"help\": null, "
    "\"fix\": {\"file\": \"a.plait\", \"line\": 1, \"column\": 5, \"end_line\": 1, \"end_column\": 13, \"text\": \"softmax\"}}]\n");
  arena_destroy(arena);
} END_TEST

START_TEST(no_diagnostics_are_an_empty_json_array) {
  start("");
  Buf b = buf_make(arena);
  diags_json(d, &b);
  ck_assert_str_eq(b.s, "[]\n");
  arena_destroy(arena);
} END_TEST

// The table of codes.

START_TEST(every_code_is_found_by_its_id_and_explained) {
  for (int i = 0; i < E_COUNT; i++) {
    const CodeInfo *c = code_info((Code)i);
    ck_assert_ptr_eq(code_by_id(c->id), c);
    ck_assert_msg(*c->title && *c->text, "%s", c->id);
    ck_assert_msg(!*c->failing == !*c->mended || c->kind == CODE_DATA, "%s", c->id);
    ck_assert_uint_eq(strlen(c->id), 7);
  }
  ck_assert_ptr_eq(code_by_id("plt0201"), code_info(E_unknown_name));
  ck_assert_ptr_null(code_by_id("PLT9999"));
  ck_assert_ptr_null(code_by_id(""));
} END_TEST

START_TEST(ids_ascend_within_a_family_and_name_their_kind) {
  static const char *const family[] = {
    [CODE_PROGRAM] = "PLT", [CODE_DATA] = "PLD", [CODE_LIMIT] = "PLL", [CODE_ENVIRONMENT] = "PLE", [CODE_INTERNAL] = "PLI",
    [CODE_WARNING] = "",          // a warning stands with the errors that it is near to
  };
  for (int i = 0; i < E_COUNT; i++) {
    const CodeInfo *c = code_info((Code)i);
    ck_assert_msg(strncmp(c->id, family[c->kind], strlen(family[c->kind])) == 0, "%s", c->id);
    const CodeInfo *before = i ? code_info((Code)(i - 1)) : NULL;
    if (before && strncmp(before->id, c->id, 3) == 0) ck_assert_msg(strcmp(before->id, c->id) < 0, "%s", c->id);
  }
} END_TEST

int main(void) {
  const TTest *tests[] = {
    joining_covers_both_and_ignores_no_place, lines_and_columns_count_from_one,
    the_end_of_a_file_is_behind_its_last_visible_character, caret_label_note_and_mended_line_stand_as_documented,
    labels_of_one_line_hang_below_from_right_to_left, a_mark_inside_another_stays_visible,
    labels_in_the_first_column_have_their_place, two_labels_at_one_place_are_both_shown,
    a_span_over_lines_marks_its_first_and_last, a_span_that_ends_with_a_line_end_stays_on_its_line,
    the_end_of_the_file_is_pointed_at_behind_its_text, an_empty_file_can_be_pointed_at,
    a_message_without_a_place_has_no_snippet, notes_of_several_lines_are_indented_and_labels_stay_on_one,
    places_in_another_file_have_their_own_heading,
    the_gutter_fits_the_greatest_line_number, a_replacement_is_marked_with_tildes,
    a_replacement_that_keeps_the_old_text_marks_what_it_adds, a_deletion_is_marked_where_the_text_was, a_fix_may_add_lines,
    a_fix_may_take_the_place_of_several_lines, tabs_line_up_with_their_marks,
    narrow_letters_pass_and_wide_or_bidirectional_ones_are_escaped, no_control_or_broken_byte_reaches_the_terminal,
    carriage_returns_before_line_ends_are_no_part_of_lines, long_lines_are_windowed_around_the_mark,
    a_line_of_megabytes_is_shown_in_a_window_too, spans_outside_the_file_are_harmless, any_spans_in_any_bytes_can_be_printed,
    two_errors_at_one_place_with_one_code_are_one, errors_beyond_the_limit_are_counted,
    attaching_before_any_error_is_harmless, messages_come_in_the_order_of_their_places,
    colours_only_where_asked_and_always_ended, json_has_places_labels_notes_and_fix,
    no_diagnostics_are_an_empty_json_array, every_code_is_found_by_its_id_and_explained,
    ids_ascend_within_a_family_and_name_their_kind,
  };
  return UNIT_RUN("diag", tests);
}
