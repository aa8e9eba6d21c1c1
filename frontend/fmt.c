// fmt.c: a file as canonical text (`plait fmt`).
//
// Indents are two spaces; the `=` of equations that follow each other without a blank line or comment between are
// aligned, and so are comments behind them; at most one blank line stays between things, and one stands around every
// function and format of more than a line. Line ends inside expressions and lists stay, and more are made where a line
// would become longer than LINE_WIDTH. A comment keeps its line or its place behind a line. Where comments stand
// inside a statement, a header or a table, that text is kept as written and only moved to its indent.
//
// Places come from spans into the source; a tree without source (file 0) has neither comments nor blank lines.
#include "frontend/print_expr.h"
#include <string.h>

// Stands before a comment behind a line until the comments of neighbouring lines are aligned; no source contains it.
enum { MARK = '\x01' };

typedef struct Printer {
  Pen pen;
  const AFile *f;
  const char *text;       // the source, or NULL
  int comment;            // the next comment to print
  uint32_t last;          // end of what was printed last, in the source
  int indent;
  bool fresh;             // nothing stands yet since the start of the file or an opening brace
} Printer;

// Statements, fields and encode parts, in the order of the source.
typedef struct Member { const AStmt *stmt; const AField *field; const AEncode *encode; Span at; } Member;

// Comments and blank lines.

// Whether the source has a blank line between what was printed last and lo.
static bool gap_before(const Printer *p, uint32_t lo) {
  int lines = 0;
  for (uint32_t i = p->last; p->text && i < lo; i++) lines += p->text[i] == '\n';
  return lines > 1;
}

static void start_line(Printer *p, bool blank) {
  if (p->pen.out->n > p->pen.line || (!p->fresh && p->pen.out->n)) pen_newline(&p->pen, 0);
  if (blank && !p->fresh) pen_newline(&p->pen, 0);
  for (int i = 0; i < p->indent; i++) buf_putc(p->pen.out, ' ');
  p->fresh = false;
}

static const AComment *next_comment(const Printer *p) {
  return p->comment < p->f->ncomments ? &p->f->comment[p->comment] : NULL;
}

static void put_comment(Printer *p, const AComment *c) {
  buf_putn(p->pen.out, p->text + c->lo, c->hi - c->lo);
  p->last = c->hi;
  p->comment++;
}

// Comments that stand before `lo`, each on a line of its own. `blank`: a blank line must stand before the first.
// Returns whether it printed any.
static bool comments_before(Printer *p, uint32_t lo, bool blank) {
  bool any = false;
  for (const AComment *c; (c = next_comment(p)) && c->lo < lo; any = true) {
    start_line(p, gap_before(p, c->lo) || (blank && !any));
    put_comment(p, c);
  }
  return any;
}

// The comment that follows on the line of what was just printed, which ends at `hi`, if it stands before `next`.
static void comment_behind(Printer *p, uint32_t hi, uint32_t next) {
  p->last = hi;
  const AComment *c = next_comment(p);
  if (!p->text || !c || c->lo < hi || c->lo >= next || pen_broken(&p->pen, hi, c->lo)) return;
  buf_putc(p->pen.out, MARK);
  put_comment(p, c);
}

static bool comments_inside(const Printer *p, uint32_t lo, uint32_t hi) {
  for (int i = p->comment; i < p->f->ncomments && p->f->comment[i].lo < hi; i++)
    if (p->f->comment[i].lo > lo) return true;
  return false;
}

// Text kept as written: its lines move with the first.

static int width_of_indent(const char *s, const char *end) {
  int width = 0;
  for (; s < end && (*s == ' ' || *s == '\t'); s++) width = *s == '\t' ? (width / 8 + 1) * 8 : width + 1;
  return width;
}

static const char *line_of(const char *text, const char *s) {
  while (s > text && s[-1] != '\n') s--;
  return s;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static void put_trimmed(Printer *p, const char *s, const char *end) {
  while (s < end && (*s == ' ' || *s == '\t')) s++;
  while (end > s && is_space(end[-1])) end--;
  buf_putn(p->pen.out, s, (size_t)(end - s));
}

static void put_verbatim(Printer *p, uint32_t lo, uint32_t hi) {
  const char *s = p->text + lo, *end = p->text + hi, *line = line_of(p->text, s);
  int shift = p->indent - width_of_indent(line, s);
  bool blank = false;
  for (const char *stop; s < end; s = stop + 1) {
    stop = memchr(s, '\n', (size_t)(end - s));
    if (!stop) stop = end;
    int width = width_of_indent(s, stop) + shift;
    bool empty = s + strspn(s, " \t\r") >= stop;
    if (s != p->text + lo && !(empty && blank)) {
      bool shallow = width < p->indent + 2;
      pen_newline(&p->pen, empty ? 0 : shallow ? p->indent + 2 : width);
    }
    put_trimmed(p, s, stop);
    blank = empty;
  }
  while (p->comment < p->f->ncomments && p->f->comment[p->comment].lo < hi) p->comment++;
}

// Statements.

static void put_lhs(Printer *p, const AStmt *s) {
  Pen *pen = &p->pen;
  for (int i = 0; i < s->nnames; i++) {
    if (i) pen_text(pen, ", ");
    pen_text(pen, s->names[i]);
  }
  if (!s->nnames) pen_text(pen, s->name);
  if (s->typed) {
    pen_text(pen, ": ");
    pen_dtype(pen, &s->type);
  }
  if (!s->shaped) return;
  pen_text(pen, "[");
  pen_subs(pen, s->nsubs, s->sub, 4);
  pen_text(pen, "]");
}

static int lhs_width(const Printer *p, const AStmt *s) {
  Printer m = {.pen = pen_measure(&p->pen)};
  put_lhs(&m, s);
  return m.pen.width;
}

// `width`: columns of the left side, filled up with spaces.
static void put_stmt(Printer *p, const AStmt *s, int width) {
  Pen *pen = &p->pen;
  int had = pen_column(pen);
  bool was = pen->flat;
  pen->flat = true;
  put_lhs(p, s);
  pen->flat = was;
  while (pen->out && pen_column(pen) < had + width) pen_text(pen, " ");
  pen_text(pen, s->kind == AS_UPDATE ? " <- " : " = ");
  int align = pen_column(pen);
  pen_expr(pen, s->e, 0);
  if (!s->cond) return;
  Pen m = pen_measure(&p->pen);
  pen_expr(&m, s->cond, 0);
  pen_space(pen, pen_broken(pen, s->e->at.hi, s->cond->at.lo), 3 + m.width, align);
  pen_text(pen, "if ");
  pen_expr(pen, s->cond, 0);
}

static int stmt_width(const Printer *p, const AStmt *s) {
  Printer m = {.pen = pen_measure(&p->pen)};
  put_stmt(&m, s, 0);
  return m.pen.width;
}

// Whether a statement prints as several lines where it starts at the indent.
static bool prints_broken(const Printer *p, const AStmt *s) {
  Buf b = buf_make(p->pen.a);
  Printer trial = {.pen = pen_make(&b, p->text)};
  for (int i = 0; i < p->indent; i++) buf_putc(&b, ' ');
  put_stmt(&trial, s, 0);
  return strchr(b.s, '\n') != NULL;
}

static void put_field(Printer *p, const AField *f) {
  pen_text(&p->pen, f->name);
  pen_text(&p->pen, ": ");
  pen_text(&p->pen, dtypes[f->dtype].name);
  if (f->array) buf_printf(p->pen.out, "[%d]", f->count);
}

// Whether no blank line and no comment inside keeps two statements apart.
static bool neighbours(const Printer *p, const Member *a, const Member *b) {
  if (!a->stmt || !b->stmt) return false;
  if (!p->text) return true;
  int lines = 0;
  for (uint32_t k = a->at.hi; k < b->at.lo; k++) lines += p->text[k] == '\n';
  return lines < 2 && !comments_inside(p, a->at.lo, a->at.hi) && !comments_inside(p, b->at.lo, b->at.hi);
}

static int max(int a, int b) { return a > b ? a : b; }

// The block of statements from i on that are aligned to one width of their left sides; its end is returned. A
// statement of several lines ends its block; no line becomes too long by being aligned.
static int align_block(const Printer *p, const Member *m, int n, int i, int *width) {
  int right = 0;
  *width = 0;
  for (; m[i].stmt; i++) {
    int left = lhs_width(p, m[i].stmt);
    *width = max(*width, left);
    right = max(right, stmt_width(p, m[i].stmt) - left);
    if (i + 1 == n || !neighbours(p, &m[i], &m[i + 1]) || prints_broken(p, m[i].stmt)) break;
    int next = max(*width, lhs_width(p, m[i + 1].stmt));
    if (p->indent + next + right > LINE_WIDTH) break;
  }
  return i + 1;
}

static void put_members(Printer *p, const Member *m, int n, uint32_t end);

// Behind the `{` of a header that ends at `from`.
static uint32_t brace_after(const Printer *p, uint32_t from) {
  for (int i = p->comment; p->text; from++) {
    while (i < p->f->ncomments && p->f->comment[i].hi <= from) i++;
    if (i < p->f->ncomments && p->f->comment[i].lo == from) from = p->f->comment[i].hi;
    if (p->text[from] == '{') return from + 1;
  }
  return from;
}

static void open_brace(Printer *p, uint32_t behind, uint32_t next) {
  comment_behind(p, behind, next);
  p->indent += 2;
  p->fresh = true;
}

static void close_brace(Printer *p, uint32_t end) {
  if (p->text) comments_before(p, end - 1, false);
  p->indent -= 2;
  p->fresh = false;
  start_line(p, false);
  pen_text(&p->pen, "}");
  p->last = end;
}

static int stmts_as_members(Member *m, int n, const AStmt *s) {
  for (int i = 0; i < n; i++) m[i] = (Member){.stmt = &s[i], .at = s[i].at};
  return n;
}

static void put_encode(Printer *p, const AEncode *e) {
  pen_text(&p->pen, "encode(");
  pen_text(&p->pen, e->var);
  pen_text(&p->pen, ") {");
  Member *m = arena_array(p->pen.a, Member, e->nstmts);
  int n = stmts_as_members(m, e->nstmts, e->stmt);
  open_brace(p, brace_after(p, e->var_at.hi), n ? m[0].at.lo : e->at.hi);
  put_members(p, m, n, e->at.hi);
  close_brace(p, e->at.hi);
}

static void put_member(Printer *p, const Member *m, int width) {
  bool verbatim = p->text && !m->encode && comments_inside(p, m->at.lo, m->at.hi);
  if (verbatim) put_verbatim(p, m->at.lo, m->at.hi);
  else if (m->stmt) put_stmt(p, m->stmt, width);
  else if (m->field) put_field(p, m->field);
  else put_encode(p, m->encode);
}

static void put_members(Printer *p, const Member *m, int n, uint32_t end) {
  int width = 0;
  for (int i = 0, block = 0; i < n; i++) {
    if (p->text) comments_before(p, m[i].at.lo, false);
    if (i == block) block = align_block(p, m, n, i, &width);
    start_line(p, gap_before(p, m[i].at.lo));
    put_member(p, &m[i], width);
    comment_behind(p, m[i].at.hi, i + 1 < n ? m[i + 1].at.lo : end);
  }
}

// Headers.

static void put_param(Pen *pen, const AParam *q) {
  if (q->mut) pen_text(pen, "mut ");
  pen_text(pen, q->name);
  pen_text(pen, ": ");
  pen_type(pen, &q->type);
  if (!q->init) return;
  pen_text(pen, " = ");
  pen_expr(pen, q->init, 1);
}

static void put_params(Pen *pen, const AFn *f) {
  int align = pen_column(pen);
  for (int i = 0; i < f->nparams; i++) {
    Pen m = pen_measure(pen);
    put_param(&m, &f->param[i]);
    if (i) pen_text(pen, ",");
    if (i) pen_space(pen, pen_broken(pen, f->param[i - 1].at.hi, f->param[i].at.lo), m.width + 1, align);
    put_param(pen, &f->param[i]);
  }
}

static void put_results(Pen *pen, const AFn *f) {
  bool brackets = f->bracketed || f->nresults > 1;
  if (f->nresults) pen_text(pen, brackets ? "-> (" : "-> ");
  for (int i = 0; i < f->nresults; i++) {
    if (i) pen_text(pen, ", ");
    pen_text(pen, f->result[i].name);
    pen_text(pen, ": ");
    pen_type(pen, &f->result[i].type);
  }
  if (brackets && f->nresults) pen_text(pen, ")");
}

// `fn name(params) -> results`
static void put_signature(Pen *pen, const AFn *f) {
  pen_text(pen, "fn ");
  pen_text(pen, f->name);
  pen_text(pen, "(");
  put_params(pen, f);
  pen_text(pen, ")");
  if (!f->nresults) return;
  Pen m = pen_measure(pen);
  put_results(&m, f);
  pen_space(pen, false, m.width + 2, 4);
  put_results(pen, f);
}

static void put_where(Pen *pen, const AFn *f) {
  pen_text(pen, "where ");
  pen_exprs(pen, f->nwhere, f->where, 2);
}

static int header_width(const Printer *p, const AFn *f) {
  Pen m = pen_measure(&p->pen);
  put_signature(&m, f);
  if (f->nwhere) pen_text(&m, " ");
  if (f->nwhere) put_where(&m, f);
  return m.width + 2;
}

// Whether the source has `where` at the start of a line.
static bool where_begins_line(const Printer *p, const AFn *f) {
  if (!p->text) return false;
  const char *s = p->text + f->where[0]->at.lo, *line = line_of(p->text, s);
  line += strspn(line, " \t");
  if (line == s) return true;
  return strncmp(line, "where", 5) == 0;
}

static uint32_t header_end(const AFn *f) {
  if (f->nwhere) return f->where[f->nwhere - 1]->at.hi;
  if (f->nresults) return f->result[f->nresults - 1].type.at.hi;
  return f->nparams ? f->param[f->nparams - 1].at.hi : f->name_at.hi;
}

// A header with comments inside; one that ends in a comment has its brace on the next line.
static void keep_header(Printer *p, uint32_t lo, uint32_t brace) {
  put_verbatim(p, lo, brace - 1);
  uint32_t end = brace - 1;
  while (end > lo && is_space(p->text[end - 1])) end--;
  const AComment *last = &p->f->comment[p->comment - 1];
  if (last->hi == end) pen_newline(&p->pen, p->indent);
  else pen_text(&p->pen, " ");
  pen_text(&p->pen, "{");
}

static void put_header(Printer *p, const AFn *f) {
  bool split = f->nwhere && (where_begins_line(p, f) || header_width(p, f) > LINE_WIDTH);
  put_signature(&p->pen, f);
  if (split) pen_newline(&p->pen, p->indent + 2);
  else if (f->nwhere) pen_text(&p->pen, " ");
  if (f->nwhere) put_where(&p->pen, f);
  if (split) pen_newline(&p->pen, p->indent);
  pen_text(&p->pen, split ? "{" : " {");
}

// Functions that were written on one line stay there if they fit.
static bool one_line(const Printer *p, const AFn *f) {
  if (!p->text || pen_broken(&p->pen, f->at.lo, f->at.hi) || f->nstmts > 1) return false;
  return header_width(p, f) + (f->nstmts ? stmt_width(p, &f->stmt[0]) + 3 : 3) <= LINE_WIDTH;
}

static void put_one_line(Printer *p, const AFn *f) {
  p->pen.flat = true;
  put_header(p, f);
  if (f->nstmts) pen_text(&p->pen, " ");
  if (f->nstmts) put_stmt(p, &f->stmt[0], 0);
  pen_text(&p->pen, f->nstmts ? " }" : "}");
  p->pen.flat = false;
}

static void put_fn(Printer *p, const AFn *f) {
  if (one_line(p, f)) {
    put_one_line(p, f);
    return;
  }
  uint32_t brace = brace_after(p, header_end(f));
  if (p->text && comments_inside(p, f->at.lo, brace)) keep_header(p, f->at.lo, brace);
  else put_header(p, f);
  Member *m = arena_array(p->pen.a, Member, f->nstmts);
  int n = stmts_as_members(m, f->nstmts, f->stmt);
  open_brace(p, brace, n ? m[0].at.lo : f->at.hi);
  put_members(p, m, n, f->at.hi);
  close_brace(p, f->at.hi);
}

// Formats: members in the order of the source; without one fields, equations, encode.
static int format_members(const AFormat *f, Member *m) {
  int n = 0;
  for (int i = 0; i < f->nfields; i++) m[n++] = (Member){.field = &f->field[i], .at = f->field[i].at};
  n += stmts_as_members(m + n, f->nstmts, f->stmt);
  if (f->encode) m[n++] = (Member){.encode = f->encode, .at = f->encode->at};
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && m[k].at.lo < m[k - 1].at.lo; k--) {
      Member t = m[k];
      m[k] = m[k - 1], m[k - 1] = t;
    }
  return n;
}

static void put_format(Printer *p, const AFormat *f) {
  uint32_t brace = brace_after(p, f->name_at.hi);
  if (p->text && comments_inside(p, f->at.lo, brace)) {
    keep_header(p, f->at.lo, brace);
  } else {
    pen_text(&p->pen, "format ");
    pen_text(&p->pen, f->name);
    buf_printf(p->pen.out, " of %lld {", (long long)f->block);
  }
  Member *m = arena_array(p->pen.a, Member, f->nfields + f->nstmts + 1);
  int n = format_members(f, m);
  open_brace(p, brace, n ? m[0].at.lo : f->at.hi);
  put_members(p, m, n, f->at.hi);
  close_brace(p, f->at.hi);
}

// `const t = [1, 2]`; a table that does not fit has its numbers on lines of their own.
static void put_const(Printer *p, const AConst *c) {
  Pen *pen = &p->pen;
  pen_text(pen, "const ");
  pen_text(pen, c->name);
  if (c->typed) {
    pen_text(pen, ": ");
    pen_dtype(pen, &c->type);
  }
  pen_text(pen, c->table ? " = [" : " = ");
  Pen m = pen_measure(&p->pen);
  pen_exprs(&m, c->nvalues, c->value, 0);
  bool broken = pen_broken(pen, c->value[0]->at.lo, c->at.hi);
  bool split = c->table && (broken || pen_column(pen) + m.width + 1 > LINE_WIDTH);
  if (split) pen_newline(pen, 2);
  pen_exprs(pen, c->nvalues, c->value, c->table);
  if (split) pen_newline(pen, 0);
  if (c->table) pen_text(pen, "]");
}

static Span item_span(const AItem *it) {
  switch (it->kind) {
  case AI_IMPORT: return it->import->at;
  case AI_CONST: return it->cnst->at;
  case AI_FORMAT: return it->format->at;
  case AI_FN: return it->fn->at;
  }
  return NO_SPAN;
}

static void put_item(Printer *p, const AItem *it) {
  Span at = item_span(it);
  bool simple = it->kind == AI_IMPORT || it->kind == AI_CONST;
  if (simple && p->text && comments_inside(p, at.lo, at.hi)) put_verbatim(p, at.lo, at.hi);
  else if (it->kind == AI_FN) put_fn(p, it->fn);
  else if (it->kind == AI_FORMAT) put_format(p, it->format);
  else if (it->kind == AI_CONST) put_const(p, it->cnst);
  else buf_printf(p->pen.out, "import \"%s\"", it->import->path);
}

static bool long_item(const Printer *p, const AItem *it) {
  return it->kind == AI_FORMAT || (it->kind == AI_FN && !one_line(p, it->fn));
}

// Comments behind lines.

static const char *line_end(const char *s) {
  const char *end = strchr(s, '\n');
  return end ? end : s + strlen(s);
}

static const char *mark_in(const char *s) { return memchr(s, MARK, (size_t)(line_end(s) - s)); }

// Text before the mark, in characters: code is ASCII.
static int comment_column(const char *s) {
  int column = 0;
  for (const char *mark; (mark = mark_in(s)); s = line_end(s) + 1) {
    if (mark - s + 2 > column) column = (int)(mark - s) + 2;
    if (!*line_end(s)) break;
  }
  return column;
}

// Replaces the marks: comments of lines that follow each other are aligned.
static void align_comments(const char *s, Buf *out) {
  int column = 0;
  while (*s) {
    const char *mark = mark_in(s), *end = line_end(s);
    if (mark && !column) column = comment_column(s);
    if (!mark) column = 0;
    buf_putn(out, s, (size_t)((mark ? mark : end) - s));
    if (mark) buf_printf(out, "%*s", column - (int)(mark - s), "");
    if (mark) buf_putn(out, mark + 1, (size_t)(end - mark - 1));
    buf_putc(out, '\n');
    s = *end ? end + 1 : end;
  }
}

void ast_print(const AFile *f, const Diags *d, Buf *out) {
  Buf raw = buf_make(out->a);
  const char *text = d && f->file ? d->files.v[f->file].text : NULL;
  Printer p = {.pen = pen_make(&raw, text), .f = f, .text = text, .fresh = true};
  bool after_long = false;
  for (int i = 0; i < f->nitems; i++) {
    const AItem *it = &f->item[i];
    Span at = item_span(it);
    bool is_long = long_item(&p, it), blank = i && (after_long || is_long);
    bool commented = p.text && comments_before(&p, at.lo, blank);
    start_line(&p, gap_before(&p, at.lo) || (blank && !commented));
    put_item(&p, it);
    comment_behind(&p, at.hi, i + 1 < f->nitems ? item_span(&f->item[i + 1]).lo : UINT32_MAX);
    after_long = is_long;
  }
  if (p.text) comments_before(&p, UINT32_MAX, false);
  align_comments(raw.s, out);
}
