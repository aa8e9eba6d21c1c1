// diag.h: source files, spans, and the messages that a user sees.
#ifndef PLAIT_BASE_DIAG_H
#define PLAIT_BASE_DIAG_H
#include "base/str.h"
#include "base/vec.h"
#include <stdarg.h>

// A half-open byte range [lo, hi) of file `file` (index into Diags.files). file 0 with lo == hi == 0
// is no place ("<none>"); real files are numbered from 1.
typedef struct Span { uint32_t file, lo, hi; } Span;
#define NO_SPAN ((Span){0, 0, 0})
Span span_join(Span a, Span b);

// Codes: one row per code in base/codes.def: CODE(name, "PLT0203", kind, title, explanation, failing, mended).
typedef enum Code {
#define CODE(name, ...) E_##name,
#include "base/codes.def"
#undef CODE
  E_COUNT
} Code;

typedef enum CodeKind { CODE_PROGRAM, CODE_DATA, CODE_LIMIT, CODE_ENVIRONMENT, CODE_INTERNAL, CODE_WARNING } CodeKind;
typedef struct CodeInfo {
  const char *id;            // "PLT0203"
  CodeKind kind;
  const char *title;         // a short line
  const char *text;          // the explanation, Markdown paragraphs
  const char *failing;       // a program that shows it ("" when none can)
  const char *mended;        // the same program put right
} CodeInfo;
const CodeInfo *code_info(Code c);
const CodeInfo *code_by_id(const char *id);     // NULL when unknown; case-insensitive

typedef struct SourceFile { const char *path; const char *text; size_t len; } SourceFile;

typedef struct Label { Span at; const char *text; } Label;
typedef struct Diag {
  Code code;
  Span at;                   // the primary place
  const char *text;          // lower case, no full stop
  VEC(Label) labels;         // further places, with text; a label at `at` is drawn beside the caret
  VEC(const char *) notes;   // "= note: …" lines
  const char *help;          // "help: …", or NULL
  Span fix_at; const char *fix;   // suggested replacement of fix_at, or NULL
} Diag;

// All diagnostics of one compilation. Errors beyond LIMIT_ERRORS are counted, not kept.
typedef struct Diags {
  Arena *a;
  VEC(SourceFile) files;     // [0] is "<none>"
  VEC(Diag *) list;
  int errors;                // all errors, also those not kept
  Diag *last;                // where diag_label and friends attach; a sink when the last was dropped
  Diag sink;
} Diags;

Diags *diags_create(Arena *a);
uint32_t diags_add_file(Diags *d, const char *path, const char *text, size_t len);   // text is kept by pointer

// Report an error; returns NULL so that callers may `return diag_error(...)`. Two errors at one place with one
// code are one.
void *diag_error(Diags *d, Code code, Span at, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
// Attach to the error reported last.
void diag_label(Diags *d, Span at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_note(Diags *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void diag_help(Diags *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void diag_fix(Diags *d, Span at, const char *replacement);

// 1-based line and column (column counts bytes) of at.lo; the end of a file is behind its last visible character.
void diag_position(const Diags *d, Span at, int *line, int *column);

// The kept diagnostics by file and place, those of one place as they came; d->list.n of them.
const Diag **diags_sorted(const Diags *d);
// All messages as a user reads them (source line, caret, labels, notes, help; "more: plait help PLT0203"),
// ordered by file and place, tabs as spaces, control and wide characters escaped, long lines windowed; `color`: with ANSI colours.
void diags_print(const Diags *d, Buf *out, bool color);
// The same as a JSON array: [{code, severity, message, file, line, column, end_line, end_column, labels[], notes[], help, fix{}}].
void diags_json(const Diags *d, Buf *out);
#endif
