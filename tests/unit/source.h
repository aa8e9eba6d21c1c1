// source.h: parsing text in unit tests of the front end.
#ifndef PLAIT_TESTS_SOURCE_H
#define PLAIT_TESTS_SOURCE_H
#include "frontend/ast.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>

typedef struct Source { Arena *a; Interner *names; Diags *d; uint32_t file; const char *text; AFile *f; } Source;

static inline Source source_parse_n(const char *text, size_t n) {
  Source s = {.a = arena_create(), .text = text};
  s.names = intern_create(s.a);
  s.d = diags_create(s.a);
  s.file = diags_add_file(s.d, "a.plait", text, n);
  s.f = parse_file(s.a, s.names, s.d, s.file);
  return s;
}

static inline Source source_parse(const char *text) { return source_parse_n(text, strlen(text)); }
static inline void source_free(Source *s) { arena_destroy(s->a); }

static inline const char *source_messages(const Source *s) {
  Buf b = buf_make(s->a);
  diags_print(s->d, &b, false);
  return b.s;
}

static inline const char *source_formatted(const Source *s) {
  Buf b = buf_make(s->a);
  ast_print(s->f, s->d, &b);
  return b.s;
}

// A text that must parse.
static inline Source source_good(const char *text) {
  Source s = source_parse(text);
  ck_assert_msg(s.d->errors == 0 && s.f, "%s\n%s", text, source_messages(&s));
  return s;
}

// The programs of design/language.md, one a file, named after its function or format.
static const char *const language_programs[] = {
  "append", "attention", "conv3", "cross_entropy", "decode", "dropout_add", "gated_delta", "layer", "layer_norm_grad",
  "mlp_in", "moe", "next_token", "q4_1", "q8_0", "rms_norm", "sparse24", "spmv",
};
enum { LANGUAGE_PROGRAMS = sizeof language_programs / sizeof *language_programs };

// The text of tests/language/NAME.plait; `here`: __FILE__ of a test in tests/unit. The caller frees it.
static inline char *language_program(const char *here, const char *name) {
  char path[1024];
  int folder = (int)(strstr(here, "unit/") - here);
  snprintf(path, sizeof path, "%.*slanguage/%s.plait", folder, here, name);
  FILE *f = fopen(path, "rb");
  ck_assert_msg(f != NULL, "%s", path);
  char *text = calloc(1, 1 << 16);
  ck_assert(fread(text, 1, (1 << 16) - 1, f) > 0);
  fclose(f);
  return text;
}
#endif
