// diag_print.c: diagnostics as a user reads them.
//
//   error[PLT0404]: `x` has 2 dimensions but 1 subscript
//     --> a.plait:2:10
//      |
//    1 | fn f(x: f32[N, D]) -> y: f32[N] {
//      |      - declared here
//    2 |   y[i] = x[i]
//      |          ^^^^
//      = note: …
//   help: …
//   more: plait help PLT0404
//
// Each place of a diagnostic becomes a Mark on one line, or on its first and last line; a line is drawn once with
// all its marks. Source text may be hostile: nothing reaches the terminal but printable narrow characters, and of a
// long line only a window around its marks.
#include "base/diag.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 200, WINDOW_BYTES = 160, WINDOW_BEFORE = 40, TAB_COLUMNS = 4 };

typedef enum Style { S_PLAIN, S_BOLD, S_ERROR, S_WARNING, S_GUTTER, S_LABEL, S_HELP, S_FIX } Style;
static const char *const ansi[] = {
  [S_PLAIN] = "", [S_BOLD] = "\033[1m", [S_ERROR] = "\033[1;31m", [S_WARNING] = "\033[1;33m",
  [S_GUTTER] = "\033[1;34m", [S_LABEL] = "\033[1;34m", [S_HELP] = "\033[1;36m", [S_FIX] = "\033[32m",
};

// Bytes [lo, hi) of line `line` of `file`, underlined with c and explained by text (NULL: not).
typedef struct Mark {
  uint32_t file;
  int line;
  size_t lo, hi;
  char c;
  Style style;
  const char *text;
  bool goes_on;              // the span ends on a later line
} Mark;
typedef VEC(Mark) Marks;

typedef struct Printer { const Diags *d; Arena *a; Buf *out; bool color; int gutter; } Printer;

// Characters that stand in one column and change nothing around them. East Asian wide ones, combining marks, and
// controls (those of writing direction above all, which can make a line read as another) are left out.
static bool is_narrow(uint32_t cp) {
  static const struct { uint32_t lo, hi; } range[] = {
    {0x20, 0x7e}, {0xa1, 0xac}, {0xae, 0x2ff}, {0x370, 0x482}, {0x48a, 0x58f},
    {0x2010, 0x2027}, {0x2030, 0x205e}, {0x2070, 0x20bf}, {0x2190, 0x22ff}, {0x2500, 0x259f},
  };
  for (size_t i = 0; i < sizeof range / sizeof *range; i++)
    if (cp >= range[i].lo && cp <= range[i].hi) return true;
  return false;
}

// Puts the first character of s in a visible form; gives its bytes in s and adds its columns to *columns.
static size_t put_visible_char(Buf *b, const char *s, size_t n, int *columns) {
  uint32_t cp = 0;
  int len = utf8_decode(s, n, &cp);
  size_t before = b->n;
  if (cp == '\t') {
    int width = TAB_COLUMNS - *columns % TAB_COLUMNS;
    buf_printf(b, "%*s", width, "");
  } else if (len && is_narrow(cp)) {
    buf_putn(b, s, (size_t)len);
    *columns += 1;
    return (size_t)len;
  } else if (len && cp >= 0xa0) {
    buf_printf(b, "<U+%04X>", (unsigned)cp);
  } else {
    buf_printf(b, "<0x%02x>", (unsigned char)*s);
    len = 1;
  }
  *columns += (int)(b->n - before);
  return (size_t)len;
}

static void put_visible(Buf *b, const char *s, size_t n) {
  int columns = 0;
  for (size_t i = 0; i < n;) i += put_visible_char(b, s + i, n - i, &columns);
}

static void put_style(Printer *p, Style from, Style to) {
  if (!p->color || from == to) return;
  if (from != S_PLAIN) buf_puts(p->out, "\033[0m");
  buf_puts(p->out, ansi[to]);
}

static void put_styled(Printer *p, Style style, const char *s) {
  put_style(p, S_PLAIN, style);
  put_visible(p->out, s, strlen(s));
  put_style(p, style, S_PLAIN);
}

// "word: text"; the further lines of text are indented to stand under its first.
static void put_paragraph(Printer *p, int indent, const char *before, Style style, const char *word, const char *text) {
  buf_printf(p->out, "%*s%s", indent, "", before);
  put_styled(p, style, word);
  buf_puts(p->out, ": ");
  int under = indent + (int)strlen(before) + (int)strlen(word) + 2;
  for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
    put_visible(p->out, text, (size_t)(end - text));
    buf_printf(p->out, "\n%*s", under, "");
  }
  put_visible(p->out, text, strlen(text));
  buf_putc(p->out, '\n');
}

// The gutter: a line number, or nothing for line 0, and the bar.
static void put_gutter(Printer *p, int line) {
  put_style(p, S_PLAIN, S_GUTTER);
  if (line) buf_printf(p->out, " %*d |", p->gutter, line);
  else buf_printf(p->out, " %*s |", p->gutter, "");
  put_style(p, S_GUTTER, S_PLAIN);
}

// A row of single characters with styles, drawn under a source line.

typedef struct Row { char *c; unsigned char *style; int n; } Row;

static Row row_make(Arena *a, int columns) {
  return (Row){arena_array(a, char, columns), arena_array(a, unsigned char, columns), columns};
}

static void row_put(Row *r, int at, char c, Style style) {
  assert(at < r->n);
  r->c[at] = c;
  r->style[at] = (unsigned char)style;
}

// The row up to `end` columns (-1: as far as it is used), after a gutter. No line end.
static void put_row(Printer *p, const Row *r, int end) {
  int used = r->n;
  while (used && !r->c[used - 1]) used--;
  if (end < 0) end = used;
  put_gutter(p, 0);
  if (end) buf_putc(p->out, ' ');
  Style style = S_PLAIN;
  for (int i = 0; i < end; i++) {
    Style next = i < used && r->c[i] ? (Style)r->style[i] : S_PLAIN;
    put_style(p, style, next);
    buf_putc(p->out, i < used && r->c[i] ? r->c[i] : ' ');
    style = next;
  }
  put_style(p, style, S_PLAIN);
}

// One source line and its marks.

typedef struct Shown { const char *s; size_t lo, hi; int *column; int columns; } Shown;   // bytes [lo, hi) are shown; column[i - lo] for lo ≤ i ≤ hi
typedef struct Under { int lo, hi; const Mark *m; } Under;                                 // a mark in columns

static bool is_continuation(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

// Which bytes of a line of n to show: all, or a window that begins a little before the mark that matters most.
static Shown window_of(const char *s, size_t n, const Mark *m, int nmarks) {
  if (n <= LINE_BYTES) return (Shown){.s = s, .lo = 0, .hi = n};
  size_t at = 0;
  for (int i = nmarks - 1; i >= 0; i--)
    if (i == 0 || m[i].c == '^') at = m[i].lo;
  size_t lo = at > WINDOW_BEFORE ? at - WINDOW_BEFORE : 0;
  if (n - lo < WINDOW_BYTES) lo = n - WINDOW_BYTES;
  size_t hi = lo + WINDOW_BYTES;
  while (lo && is_continuation(s[lo])) lo--;
  while (hi < n && is_continuation(s[hi])) hi++;
  return (Shown){.s = s, .lo = lo, .hi = hi};
}

// Puts the window and notes the column of each byte; a character's later bytes have the column of its first.
static void put_shown(Printer *p, Shown *w, size_t n) {
  w->column = arena_array(p->a, int, w->hi - w->lo + 1);
  size_t start = p->out->n;
  int columns = 0;
  if (w->lo) buf_puts(p->out, "..."), columns = 3;
  for (size_t i = w->lo, len; i < w->hi; i += len) {
    int column = columns;
    len = put_visible_char(p->out, w->s + i, w->hi - i, &columns);
    for (size_t k = 0; k < len; k++) w->column[i + k - w->lo] = column;
  }
  w->column[w->hi - w->lo] = columns;
  if (w->hi < n) buf_puts(p->out, "...");
  w->columns = columns + 3;
  while (p->out->n > start && p->out->s[p->out->n - 1] == ' ') p->out->s[--p->out->n] = 0;
}

static int column_of(const Shown *w, size_t byte) {
  if (byte < w->lo) return 0;
  return w->column[(byte < w->hi ? byte : w->hi) - w->lo];
}

static Under under_of(const Shown *w, const Mark *m) {
  Under u = {column_of(w, m->lo), column_of(w, m->hi), m};
  if (u.hi <= u.lo) u.hi = u.lo + 1;
  return u;
}

// Long marks first, so that short ones stay visible on them; of equal ones the caret last.
static int by_length(const void *x, const void *y) {
  const Under *a = x, *b = y;
  int la = a->hi - a->lo, lb = b->hi - b->lo;
  if (la != lb) return lb - la;
  return (a->m->c == '^') - (b->m->c == '^');
}

// From right to left; of marks that begin together the one in front of the other in the diagnostic first.
static int by_column(const void *x, const void *y) {
  const Under *a = x, *b = y;
  if (a->lo != b->lo) return b->lo - a->lo;
  return a->m < b->m ? -1 : a->m > b->m;
}

static bool has_text(const Under *u) { return u->m->text && *u->m->text; }

// The mark whose text stands beside it: the one with a text that reaches furthest right, if no other reaches as far.
static const Under *beside_of(const Under *u, int n) {
  const Under *best = NULL;
  for (int i = 0; i < n; i++)
    if (!best || u[i].hi > best->hi || (u[i].hi == best->hi && has_text(&u[i]) && !has_text(best))) best = &u[i];
  return best && has_text(best) ? best : NULL;
}

static void put_label(Printer *p, const Mark *m) {
  put_style(p, S_PLAIN, m->style);
  for (const char *s = m->text; *s; s++) {
    size_t n = strcspn(s, "\n");
    put_visible(p->out, s, n);
    s += n;
    if (!*s) break;
    buf_putc(p->out, ' ');
  }
  put_style(p, m->style, S_PLAIN);
  buf_putc(p->out, '\n');
}

// The texts that found no room beside their marks, each on a row of its own under a bar.
static void put_hanging(Printer *p, const Under *u, int n, const Under *beside, int columns) {
  for (int i = -1; i < n; i++) {
    if (i >= 0 && (&u[i] == beside || !has_text(&u[i]))) continue;
    Row bars = row_make(p->a, columns);
    int below = 0;
    for (int k = 0; k < n; k++) {
      if (&u[k] == beside || !has_text(&u[k])) continue;
      if (i >= 0 && (k <= i || u[k].lo >= u[i].lo)) continue;
      row_put(&bars, u[k].lo, '|', u[k].m->style);
      below++;
    }
    if (i < 0 && !below) return;
    put_row(p, &bars, i < 0 ? -1 : u[i].lo);
    if (i < 0) {
      buf_putc(p->out, '\n');
      continue;
    }
    if (!u[i].lo) buf_putc(p->out, ' ');
    put_label(p, u[i].m);
  }
}

static void put_marks(Printer *p, const Shown *w, const Mark *m, int n) {
  Under *u = arena_array(p->a, Under, n);
  for (int i = 0; i < n; i++) u[i] = under_of(w, &m[i]);
  qsort(u, (size_t)n, sizeof *u, by_length);
  Row row = row_make(p->a, w->columns + 1);
  for (int i = 0; i < n; i++)
    for (int k = u[i].lo; k < u[i].hi; k++) row_put(&row, k, u[i].m->c, u[i].m->style);
  qsort(u, (size_t)n, sizeof *u, by_column);
  const Under *beside = beside_of(u, n);
  put_row(p, &row, -1);
  if (beside) {
    buf_putc(p->out, ' ');
    put_label(p, beside->m);
  } else {
    buf_putc(p->out, '\n');
  }
  put_hanging(p, u, n, beside, row.n);
}

static void put_line(Printer *p, int line, const char *s, size_t n, const Mark *m, int nmarks) {
  Shown w = window_of(s, n, m, nmarks);
  put_gutter(p, line);
  if (n) buf_putc(p->out, ' ');
  put_shown(p, &w, n);
  buf_putc(p->out, '\n');
  if (nmarks) put_marks(p, &w, m, nmarks);
}

// Places.

// Line `line` of a file, without its end.
static const char *line_text(const SourceFile *f, int line, size_t *n) {
  const char *s = f->text, *end = f->text + f->len;
  for (int i = 1; i < line; i++) s = (const char *)memchr(s, '\n', (size_t)(end - s)) + 1;
  const char *stop = s < end ? memchr(s, '\n', (size_t)(end - s)) : NULL;
  if (!stop) stop = end;
  *n = (size_t)(stop - s);
  if (*n && s[*n - 1] == '\r') --*n;
  return s;
}

static size_t first_visible(const char *s, size_t n) {
  size_t i = 0;
  while (i < n && (s[i] == ' ' || s[i] == '\t')) i++;
  return i;
}

// The mark or marks of a span; the text stands at its last line.
static void add_marks(Printer *p, Marks *marks, Span at, char c, Style style, const char *text) {
  Span end = {at.file, at.hi, at.hi};
  int line, column, end_line, end_column;
  diag_position(p->d, at, &line, &column);
  diag_position(p->d, end, &end_line, &end_column);
  Mark m = {.file = at.file, .line = line, .lo = (size_t)column - 1, .hi = (size_t)end_column - 1,
            .c = c, .style = style, .text = text};
  if (end_line <= line) {
    vec_push(p->a, marks, m);
    return;
  }
  size_t n;
  const char *s = line_text(&p->d->files.v[at.file], end_line, &n);
  Mark last = m;
  last.line = end_line;
  last.lo = first_visible(s, n);
  line_text(&p->d->files.v[at.file], line, &m.hi);
  bool ends_at_start = last.lo >= last.hi;      // the span ends with a line end: nothing of the last line is in it
  m.text = ends_at_start ? text : NULL;
  m.goes_on = !ends_at_start;
  vec_push(p->a, marks, m);
  if (!ends_at_start) vec_push(p->a, marks, last);
}

static bool same_span(Span a, Span b) { return a.file == b.file && a.lo == b.lo && a.hi == b.hi; }

static Style style_of(const Diag *x) { return code_info(x->code)->kind == CODE_WARNING ? S_WARNING : S_ERROR; }

static Marks marks_of(Printer *p, const Diag *x) {
  Marks marks = {0};
  const char *beside = NULL;
  for (int i = 0; i < x->labels.n; i++) {
    const Label *l = &x->labels.v[i];
    if (!l->at.file) continue;
    if (same_span(l->at, x->at) && !beside) beside = l->text;
    else add_marks(p, &marks, l->at, '-', S_LABEL, l->text);
  }
  if (x->at.file) add_marks(p, &marks, x->at, '^', style_of(x), beside);
  return marks;
}

// By file, the diagnostic's own first, and line; an insertion sort, since the order among equals counts.
static bool mark_before(const Mark *a, const Mark *b, uint32_t own) {
  if (a->file != b->file) return a->file == own || (b->file != own && a->file < b->file);
  return a->line < b->line;
}

static void sort_marks(Marks *marks, uint32_t own) {
  for (int i = 1; i < marks->n; i++) {
    Mark m = marks->v[i];
    int at = i;
    for (; at && mark_before(&m, &marks->v[at - 1], own); at--) marks->v[at] = marks->v[at - 1];
    marks->v[at] = m;
  }
}

static void put_arrow(Printer *p, const char *arrow, uint32_t file, int line, size_t column) {
  buf_printf(p->out, "%*s", p->gutter + 1, "");
  put_styled(p, S_GUTTER, arrow);
  buf_putc(p->out, ' ');
  put_visible(p->out, p->d->files.v[file].path, strlen(p->d->files.v[file].path));
  buf_printf(p->out, ":%d:%zu\n", line, column);
  put_gutter(p, 0);
  buf_putc(p->out, '\n');
}

static void put_marked_lines(Printer *p, const Marks *marks, Span at) {
  for (int i = 0, next; i < marks->n; i = next) {
    const Mark *m = &marks->v[i];
    for (next = i + 1; next < marks->n && !mark_before(m, &marks->v[next], at.file); next++) {}
    if (i && m[-1].file != m->file) put_arrow(p, ":::", m->file, m->line, m->lo + 1);
    size_t n;
    const char *s = line_text(&p->d->files.v[m->file], m->line, &n);
    put_line(p, m->line, s, n, m, next - i);
    bool goes_on = false;
    for (int k = i; k < next; k++) goes_on |= marks->v[k].goes_on;
    if (goes_on && next < marks->n && marks->v[next].line > m->line + 1) {
      put_styled(p, S_GUTTER, "...");
      buf_putc(p->out, '\n');
    }
  }
}

// The fix: the mended lines, with ++ under what is new and ~~ under what took another text's place.

static Mark fix_mark(const Diag *x, const char *old, size_t nold) {
  size_t nnew = strlen(x->fix), head = 0, tail = 0;
  while (head < nold && head < nnew && old[head] == x->fix[head]) head++;
  while (tail < nold - head && tail < nnew - head && old[nold - 1 - tail] == x->fix[nnew - 1 - tail]) tail++;
  bool inserted = head + tail == nold && nnew > nold;
  if (!inserted) head = tail = 0;
  return (Mark){.lo = head, .hi = nnew - tail, .c = inserted ? '+' : '~', .style = S_FIX};
}

static int count_lines(const char *s, size_t n) {
  int lines = 1;
  for (size_t i = 0; i < n; i++) lines += s[i] == '\n';
  return lines;
}

static void put_fix(Printer *p, const Diag *x, int line, size_t column) {
  const SourceFile *f = &p->d->files.v[x->fix_at.file];
  size_t lo = x->fix_at.lo < f->len ? x->fix_at.lo : f->len, hi = x->fix_at.hi < f->len ? x->fix_at.hi : f->len;
  size_t n, before = column - 1;
  const char *start = line_text(f, line, &n);
  if (lo != (size_t)(start - f->text) + before) lo = hi = (size_t)(start - f->text) + before;    // at the end of the file
  const char *rest = f->text + hi;
  const char *stop = hi < f->len ? memchr(rest, '\n', f->len - hi) : NULL;
  Buf b = buf_make(p->a);
  buf_putn(&b, start, before);
  buf_puts(&b, x->fix);
  buf_putn(&b, rest, stop ? (size_t)(stop - rest) : f->len - hi);
  Mark m = fix_mark(x, f->text + lo, hi - lo);
  m.lo += before;
  m.hi += before;
  for (size_t at = 0, len; at <= b.n; at += len + 1) {
    len = strcspn(b.s + at, "\n");
    Mark part = m;
    part.lo = m.lo > at ? m.lo - at : 0;
    part.hi = m.hi > at ? m.hi - at : 0;
    if (part.hi > len) part.hi = len;
    bool marked = m.lo == m.hi ? m.lo >= at && m.lo <= at + len : part.lo < part.hi;
    put_line(p, line++, b.s + at, len, &part, marked);
  }
}

static void put_help(Printer *p, const Diag *x) {
  if (x->help || x->fix) put_paragraph(p, 0, "", S_HELP, "help", x->help ? x->help : "try this");
  if (!x->fix || !x->fix_at.file) return;
  int line, column;
  diag_position(p->d, x->fix_at, &line, &column);
  put_fix(p, x, line, (size_t)column);
}

static int digits(int n) {
  int k = 1;
  while (n /= 10) k++;
  return k;
}

// Room for the greatest line number that the diagnostic shows.
static int gutter_of(const Printer *p, const Diag *x, const Marks *marks) {
  int most = 0;
  for (int i = 0; i < marks->n; i++)
    if (marks->v[i].line > most) most = marks->v[i].line;
  if (x->fix && x->fix_at.file) {
    int line, column;
    diag_position(p->d, x->fix_at, &line, &column);
    line += count_lines(x->fix, strlen(x->fix)) - 1;
    if (line > most) most = line;
  }
  return digits(most);
}

static void put_diag(Printer *p, const Diag *x) {
  const CodeInfo *info = code_info(x->code);
  Marks marks = marks_of(p, x);
  sort_marks(&marks, x->at.file);
  p->gutter = gutter_of(p, x, &marks);
  const char *kind = info->kind == CODE_WARNING ? "warning" : "error";
  put_styled(p, style_of(x), arena_printf(p->a, "%s[%s]", kind, info->id));
  buf_puts(p->out, ": ");
  put_styled(p, S_BOLD, x->text);
  buf_putc(p->out, '\n');
  if (x->at.file) {
    int line, column;
    diag_position(p->d, x->at, &line, &column);
    put_arrow(p, "-->", x->at.file, line, (size_t)column);
  }
  put_marked_lines(p, &marks, x->at);
  for (int i = 0; i < x->notes.n; i++) put_paragraph(p, p->gutter + 2, "= ", S_BOLD, "note", x->notes.v[i]);
  put_help(p, x);
  buf_printf(p->out, "more: plait help %s\n", info->id);
}

void diags_print(const Diags *d, Buf *out, bool color) {
  Arena *scratch = arena_create();
  Printer p = {.d = d, .a = scratch, .out = out, .color = color};
  const Diag **sorted = diags_sorted(d);
  int errors = 0;
  for (int i = 0; i < d->list.n; i++) {
    if (i) buf_putc(out, '\n');
    put_diag(&p, sorted[i]);
    errors += code_info(sorted[i]->code)->kind != CODE_WARNING;
  }
  int more = d->errors - errors;
  if (more > 0) buf_printf(out, "\n%d more error%s not shown\n", more, more > 1 ? "s are" : " is");
  arena_destroy(scratch);
}
