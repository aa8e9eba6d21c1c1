// diag.c: collecting diagnostics, places in source files, and the JSON form. diag_print.c draws them.
#include "base/diag.h"
#include "base/json.h"
#include "base/limits.h"
#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

static const CodeInfo codes[E_COUNT] = {
#define CODE(name, ...) [E_##name] = {__VA_ARGS__},
#include "base/codes.def"
#undef CODE
};

const CodeInfo *code_info(Code c) {
  assert(c < E_COUNT);
  return &codes[c];
}

const CodeInfo *code_by_id(const char *id) {
  for (int i = 0; i < E_COUNT; i++)
    if (strcasecmp(codes[i].id, id) == 0) return &codes[i];
  return NULL;
}

static bool is_place(Span s) { return s.file != 0; }

Span span_join(Span a, Span b) {
  if (!is_place(a)) return b;
  if (!is_place(b) || a.file != b.file) return a;
  return (Span){a.file, a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
}

Diags *diags_create(Arena *a) {
  Diags *d = arena_new(a, Diags);
  d->a = a;
  d->last = &d->sink;
  diags_add_file(d, "<none>", "", 0);
  return d;
}

uint32_t diags_add_file(Diags *d, const char *path, const char *text, size_t len) {
  vec_push(d->a, &d->files, (SourceFile){path, text, len});
  return (uint32_t)d->files.n - 1;
}

static bool span_equal(Span a, Span b) { return a.file == b.file && a.lo == b.lo && a.hi == b.hi; }

static bool reported(const Diags *d, Code code, Span at) {
  for (int i = 0; i < d->list.n; i++)
    if (d->list.v[i]->code == code && span_equal(d->list.v[i]->at, at)) return true;
  return false;
}

void *diag_error(Diags *d, Code code, Span at, const char *fmt, ...) {
  d->last = &d->sink;
  if (is_place(at) && reported(d, code, at)) return NULL;
  if (code_info(code)->kind != CODE_WARNING) d->errors++;
  if (d->list.n >= LIMIT_ERRORS) return NULL;
  va_list ap;
  va_start(ap, fmt);
  Diag *x = arena_new(d->a, Diag);
  *x = (Diag){.code = code, .at = at, .text = arena_vprintf(d->a, fmt, ap)};
  va_end(ap);
  vec_push(d->a, &d->list, x);
  d->last = x;
  return NULL;
}

// What belongs to a dropped error is dropped too, unformatted.
static bool dropped(const Diags *d) { return d->last == &d->sink; }

void diag_label(Diags *d, Span at, const char *fmt, ...) {
  if (dropped(d)) return;
  va_list ap;
  va_start(ap, fmt);
  vec_push(d->a, &d->last->labels, (Label){at, arena_vprintf(d->a, fmt, ap)});
  va_end(ap);
}

void diag_note(Diags *d, const char *fmt, ...) {
  if (dropped(d)) return;
  va_list ap;
  va_start(ap, fmt);
  vec_push(d->a, &d->last->notes, arena_vprintf(d->a, fmt, ap));
  va_end(ap);
}

void diag_help(Diags *d, const char *fmt, ...) {
  if (dropped(d)) return;
  va_list ap;
  va_start(ap, fmt);
  d->last->help = arena_vprintf(d->a, fmt, ap);
  va_end(ap);
}

void diag_fix(Diags *d, Span at, const char *replacement) {
  if (dropped(d)) return;
  d->last->fix_at = at;
  d->last->fix = arena_strndup(d->a, replacement, strlen(replacement));
}

// The end of a file is a place behind its last visible character: there is something to point at.
static size_t offset_shown(const SourceFile *f, size_t offset) {
  if (offset < f->len) return offset;
  size_t n = f->len;
  while (n && isspace((unsigned char)f->text[n - 1])) n--;
  return n;
}

void diag_position(const Diags *d, Span at, int *line, int *column) {
  const SourceFile *f = &d->files.v[at.file];
  size_t lo = offset_shown(f, at.lo), start = 0;
  *line = 1;
  for (size_t i = 0; i < lo; i++) {
    if (f->text[i] != '\n') continue;
    ++*line;
    start = i + 1;
  }
  *column = (int)(lo - start) + 1;
}

static const char *severity(Code c) { return code_info(c)->kind == CODE_WARNING ? "warning" : "error"; }

static void json_key_int(Json *j, const char *key, int v) {
  json_key(j, key);
  json_int(j, v);
}

static void json_key_str(Json *j, const char *key, const char *s) {
  json_key(j, key);
  if (s) json_str(j, s);
  else json_null(j);
}

static void json_place(Json *j, const Diags *d, Span at) {
  int line, column, end_line, end_column;
  if (!is_place(at)) {
    json_key_str(j, "file", NULL);
    return;
  }
  diag_position(d, at, &line, &column);
  diag_position(d, (Span){at.file, at.hi, at.hi}, &end_line, &end_column);
  json_key_str(j, "file", d->files.v[at.file].path);
  json_key_int(j, "line", line);
  json_key_int(j, "column", column);
  json_key_int(j, "end_line", end_line);
  json_key_int(j, "end_column", end_column);
}

static void json_placed_text(Json *j, const Diags *d, Span at, const char *text) {
  json_open(j, '{');
  json_place(j, d, at);
  json_key_str(j, "text", text);
  json_close(j, '}');
}

static void json_diag(Json *j, const Diags *d, const Diag *x) {
  json_open(j, '{');
  json_key_str(j, "code", code_info(x->code)->id);
  json_key_str(j, "severity", severity(x->code));
  json_key_str(j, "message", x->text);
  json_place(j, d, x->at);
  json_key(j, "labels");
  json_open(j, '[');
  for (int i = 0; i < x->labels.n; i++) json_placed_text(j, d, x->labels.v[i].at, x->labels.v[i].text);
  json_close(j, ']');
  json_key(j, "notes");
  json_open(j, '[');
  for (int i = 0; i < x->notes.n; i++) json_str(j, x->notes.v[i]);
  json_close(j, ']');
  json_key_str(j, "help", x->help);
  json_key(j, "fix");
  if (x->fix) json_placed_text(j, d, x->fix_at, x->fix);
  else json_null(j);
  json_close(j, '}');
}

static bool comes_before(const Diag *a, const Diag *b) {
  if (a->at.file != b->at.file) return a->at.file < b->at.file;
  return a->at.lo < b->at.lo;
}

const Diag **diags_sorted(const Diags *d) {
  const Diag **sorted = arena_array(d->a, const Diag *, d->list.n);
  for (int i = 0; i < d->list.n; i++) {
    int at = i;
    for (; at && comes_before(d->list.v[i], sorted[at - 1]); at--) sorted[at] = sorted[at - 1];
    sorted[at] = d->list.v[i];
  }
  return sorted;
}

void diags_json(const Diags *d, Buf *out) {
  const Diag **sorted = diags_sorted(d);
  Json j = json_make(out);
  json_open(&j, '[');
  for (int i = 0; i < d->list.n; i++) json_diag(&j, d, sorted[i]);
  json_close(&j, ']');
  buf_putc(out, '\n');
}
