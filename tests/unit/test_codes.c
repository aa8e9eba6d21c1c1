// The programs of base/codes.def do what their rows say.
#include "base/diag.h"
#include "plait.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>

static plait_context *context(void) {
  plait_context_options o = {.struct_size = sizeof o, .ignore_environment = 1};
  plait_context *cx;
  ck_assert_int_eq(plait_context_create(&o, &cx, NULL), PLAIT_OK);
  return cx;
}

// Messages of compiling a program and of making C text of all its entries; NULL when there are none.
static plait_messages *messages_of(const char *program) {
  plait_messages *messages = NULL;
  plait_context *cx = context();
  plait_program *p;
  if (plait_compile(cx, "example.plait", program, strlen(program), NULL, &p, &messages) == PLAIT_OK) {
    for (size_t i = 0; i < plait_program_entry_count(p) && !messages; i++) {
      char *text = NULL;
      plait_emit(plait_program_entry(p, i), "c", NULL, &text, NULL, &messages);
      plait_free(text);
    }
    plait_program_free(p);
  }
  plait_context_free(cx);
  return messages;
}

static const char *shown(const plait_messages *m) {
  char *text = NULL;
  if (m) plait_messages_render(m, PLAIT_STYLE_TEXT, &text, NULL);
  return text ? text : "no message";
}

START_TEST(a_failing_program_gives_its_code_and_no_other) {
  const CodeInfo *c = code_info((Code)_i);
  plait_messages *m = messages_of(c->failing);
  ck_assert_msg(plait_messages_count(m) == 1, "%s: not one message:\n%s%s", c->id, c->failing, shown(m));
  plait_message first = {.struct_size = sizeof first};
  plait_messages_get(m, 0, &first);
  ck_assert_msg(strcmp(first.code, c->id) == 0, "%s expected:\n%s%s", c->id, c->failing, shown(m));
  plait_messages_free(m);
} END_TEST

START_TEST(a_mended_program_gives_no_message) {
  const CodeInfo *c = code_info((Code)_i);
  const char *program[] = {c->mended, c->kind == CODE_DATA ? c->failing : ""};     // data errors come with the call
  for (int i = 0; i < 2; i++) {
    if (!*program[i]) continue;
    plait_messages *m = messages_of(program[i]);
    ck_assert_msg(plait_messages_count(m) == 0, "%s:\n%s%s", c->id, program[i], shown(m));
    plait_messages_free(m);
  }
} END_TEST

int main(void) {
  Suite *s = suite_create("codes");
  TCase *c = tcase_create("programs");
  for (int i = 0; i < E_COUNT; i++) {
    const CodeInfo *x = code_info((Code)i);
    if (*x->failing && x->kind != CODE_DATA) tcase_add_loop_test(c, a_failing_program_gives_its_code_and_no_other, i, i + 1);
    if (*x->failing) tcase_add_loop_test(c, a_mended_program_gives_no_message, i, i + 1);
  }
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
