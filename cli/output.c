// output.c: colours, numbers for people, wrapped text, tables.
#include "cli/cli.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *paint(bool color, const char *ansi) { return color ? ansi : ""; }

const char *human(Cli *c, double v, const char *unit) {
  static const char *const prefix[] = {"", "k", "M", "G", "T", "P", "E"};
  int k = 0;
  double x = v;
  for (; fabs(x) >= 999.5 && k < 6; k++) x /= 1000;
  if (k == 0 && x == floor(x)) return cli_printf(c, "%.0f %s", x, unit);
  return cli_printf(c, "%.*f %s%s", fabs(x) < 9.995 ? 2 : fabs(x) < 99.95 ? 1 : 0, x, prefix[k], unit);
}

const char *extents_text(Cli *c, int rank, const int64_t *extent) {
  if (rank == 0) return "scalar";
  char *s = cli_printf(c, "%" PRId64, extent[0]);
  for (int i = 1; i < rank; i++) s = cli_printf(c, "%s×%" PRId64, s, extent[i]);
  return s;
}

int text_columns(const char *s) {
  int n = 0;
  for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
  return n;
}

// One paragraph, up to the line end: words fill lines of at most `width` columns.
static const char *put_paragraph(FILE *f, const char *p, int indent, int width) {
  int column = 0;
  while (*p && *p != '\n') {
    size_t n = strcspn(p, " \n");
    char word[256];
    if (n >= sizeof word) n = sizeof word - 1;
    memcpy(word, p, n);
    word[n] = 0;
    int columns = text_columns(word);
    if (column && column + 1 + columns > width) {
      fputc('\n', f);
      column = 0;
    }
    column += fprintf(f, "%*s%s", column ? 1 : indent, "", word) - (int)n + columns;
    p += n;
    while (*p == ' ') p++;
  }
  fputc('\n', f);
  return *p ? p + 1 : p;
}

// Lines that begin with white space stand as they are.
static const char *put_verbatim(FILE *f, const char *p, int indent) {
  size_t n = strcspn(p, "\n");
  fprintf(f, "%*s%.*s\n", indent, "", (int)n, p);
  return p[n] ? p + n + 1 : p + n;
}

void put_wrapped(FILE *f, const char *text, int indent, int width) {
  for (const char *p = text; *p;) {
    if (*p == '\n') {
      fputc('\n', f);
      p++;
    } else {
      p = *p == ' ' ? put_verbatim(f, p, indent) : put_paragraph(f, p, indent, width);
    }
  }
}

Table table_make(Cli *c, const char *align) { return (Table){.c = c, .align = align, .columns = (int)strlen(align)}; }

void table_cell(Table *t, const char *text) {
  if (t->rows == t->room) {
    int room = t->room ? 2 * t->room : 64;
    const char **cell = cli_array(t->c, const char *, room);
    if (t->rows) memcpy(cell, t->cell, (size_t)t->rows * sizeof *cell);
    t->cell = cell;
    t->room = room;
  }
  t->cell[t->rows++] = text;
}

static int column_width(const Table *t, int column) {
  int most = 0;
  for (int i = column; i < t->rows; i += t->columns)
    if (text_columns(t->cell[i]) > most) most = text_columns(t->cell[i]);
  return most;
}

void table_print(const Table *t, FILE *f, int indent) {
  int width[16];
  for (int k = 0; k < t->columns; k++) width[k] = column_width(t, k);
  for (int i = 0; i < t->rows; i++) {
    int k = i % t->columns, pad = width[k] - text_columns(t->cell[i]);
    bool last = k == t->columns - 1, right = t->align[k] == 'r';
    fprintf(f, "%*s%*s%s%*s%s", k ? 2 : indent, "", right ? pad : 0, "", t->cell[i], right || last ? 0 : pad, "", last ? "\n" : "");
  }
}
