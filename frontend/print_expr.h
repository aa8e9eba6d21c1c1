// print_expr.h: expressions as text with line breaks. Private to the formatter (fmt.c, print_expr.c).
#ifndef PLAIT_FRONTEND_PRINT_EXPR_H
#define PLAIT_FRONTEND_PRINT_EXPR_H
#include "frontend/ast.h"

enum { LINE_WIDTH = 120 };

// Text goes to out; `flat` forbids line breaks. Without out only its width is counted.
typedef struct Pen {
  Buf *out;             // NULL: measuring
  Arena *a;             // scratch
  const char *text;     // the source, where line breaks are kept; or NULL
  size_t line;          // offset in out at which the current line begins
  bool flat;
  int width;
} Pen;

Pen pen_make(Buf *out, const char *text);
Pen pen_measure(const Pen *p);       // for a width, on one line
int pen_column(const Pen *p);
void pen_text(Pen *p, const char *s);
void pen_newline(Pen *p, int indent);

// Whether the source has a line end in [lo, hi).
bool pen_broken(const Pen *p, uint32_t lo, uint32_t hi);

// A break point: a space, or a new line indented to `align` when `kept` or when the next `width` columns do not fit.
void pen_space(Pen *p, bool kept, int width, int align);

// `tail`: columns that must follow on the line of the last token.
void pen_expr(Pen *p, const AExpr *e, int tail);
void pen_exprs(Pen *p, int n, AExpr *const *e, int tail);       // filled lines, aligned to where the first begins
void pen_subs(Pen *p, int n, const ASub *sub, int tail);
void pen_dtype(Pen *p, const ADtype *t);
void pen_type(Pen *p, const AType *t);
#endif
