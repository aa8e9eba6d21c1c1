// print_expr.c: expressions as text.
//
// A chain of operators may break before an operator, a list behind a comma, `if` before `else`. It does where the line
// would become too long and where the source has a line end; it goes on under the place where the chain or list began:
//
//   z[b, h] = sum[t < len[b]](exp(a[b, h, t] - m[b, h])
//                             * v[b, t]) / w[b]
//
// A break that printing made is one that the printed text has, so printing it again changes nothing.
#include "frontend/print_expr.h"
#include "frontend/operators.h"
#include <string.h>

enum { FAR = 4 * LINE_WIDTH };      // measuring stops here

Pen pen_make(Buf *out, const char *text) { return (Pen){.out = out, .a = out->a, .text = text, .line = out->n}; }
Pen pen_measure(const Pen *p) { return (Pen){.a = p->a, .flat = true}; }

int pen_column(const Pen *p) { return p->out ? (int)(p->out->n - p->line) : 0; }

void pen_text(Pen *p, const char *s) {
  if (p->out) buf_puts(p->out, s);
  else p->width += (int)strlen(s);
}

void pen_newline(Pen *p, int indent) {
  buf_putc(p->out, '\n');
  p->line = p->out->n;
  for (int i = 0; i < indent; i++) buf_putc(p->out, ' ');
}

bool pen_broken(const Pen *p, uint32_t lo, uint32_t hi) {
  return p->text && hi > lo && memchr(p->text + lo, '\n', hi - lo) != NULL;
}

// What does not fit on a line of its own either stays, and breaks inside.
void pen_space(Pen *p, bool kept, int width, int align) {
  bool fits = pen_column(p) + 1 + width <= LINE_WIDTH || align + width > LINE_WIDTH;
  if (!p->flat && (kept || !fits)) pen_newline(p, align);
  else pen_text(p, " ");
}

static void put(Pen *p, const AExpr *e, Level least, int tail);
static void put_sub(Pen *p, const ASub *s, int tail);

static int expr_width(const Pen *p, const AExpr *e, Level least) {
  Pen m = pen_measure(p);
  put(&m, e, least, 0);
  return m.width;
}

static int sub_width(const Pen *p, const ASub *s) {
  Pen m = pen_measure(p);
  put_sub(&m, s, 0);
  return m.width;
}

static Level level_of(const AExpr *e) {
  switch (e->kind) {
  case A_IF: return LEVEL_EXPR;
  case A_BINARY: case A_UNARY: return operators[e->op].level;
  case A_SUBSCRIPT: return LEVEL_POSTFIX;
  default: return LEVEL_PRIMARY;
  }
}

void pen_dtype(Pen *p, const ADtype *t) { pen_text(p, t->dtype != DT_NONE ? dtypes[t->dtype].name : t->name); }

// A comma, and a line end where the source has one in [lo, hi) or `width` columns do not fit.
static void put_comma(Pen *p, uint32_t lo, uint32_t hi, int width, int align) {
  pen_text(p, ",");
  pen_space(p, pen_broken(p, lo, hi), width, align);
}

void pen_exprs(Pen *p, int n, AExpr *const *e, int tail) {
  int align = pen_column(p);
  for (int i = 0; i < n; i++) {
    int follows = i + 1 < n ? 1 : tail;
    if (i) put_comma(p, e[i - 1]->at.hi, e[i]->at.lo, p->flat ? 0 : expr_width(p, e[i], LEVEL_EXPR) + follows, align);
    put(p, e[i], LEVEL_EXPR, follows);
  }
}

void pen_subs(Pen *p, int n, const ASub *sub, int tail) {
  int align = pen_column(p);
  for (int i = 0; i < n; i++) {
    int follows = i + 1 < n ? 1 : tail;
    if (i) put_comma(p, sub[i - 1].at.hi, sub[i].at.lo, p->flat ? 0 : sub_width(p, &sub[i]) + follows, align);
    put_sub(p, &sub[i], follows);
  }
}

static void put_sub(Pen *p, const ASub *s, int tail) {
  if (s->kind == SUB_EXPR) put(p, s->e, LEVEL_EXPR, tail);
  if (s->kind == SUB_DOTS) pen_text(p, "..");
  if (s->kind != SUB_RANGE) return;
  pen_text(p, s->name);
  pen_text(p, " in ");
  put(p, s->lo, LEVEL_EXPR, 4);
  pen_text(p, " .. ");
  put(p, s->hi, LEVEL_EXPR, tail);
}

static bool continues_chain(const AExpr *e, const AExpr *left) {
  const Operator *o = &operators[e->op];
  return left->kind == A_BINARY && !left->parens && operators[left->op].level == o->level && o->left == o->level;
}

static void put_chain(Pen *p, const AExpr *e, int align, int tail) {
  const Operator *o = &operators[e->op];
  if (continues_chain(e, e->arg[0])) put_chain(p, e->arg[0], align, 0);
  else put(p, e->arg[0], o->left, 0);
  bool kept = pen_broken(p, e->arg[0]->at.hi, e->arg[1]->at.lo);
  pen_space(p, kept, p->flat ? 0 : (int)strlen(o->text) + 1 + expr_width(p, e->arg[1], o->right) + tail, align);
  pen_text(p, o->text);
  pen_text(p, " ");
  put(p, e->arg[1], o->right, tail);
}

static const AExpr *else_if(const AExpr *e) { return e->arg[2]->kind == A_IF && !e->arg[2]->parens ? e->arg[2] : NULL; }

static bool breaks_before_else(const Pen *p, const AExpr *e) {
  for (; e; e = else_if(e))
    if (pen_broken(p, e->arg[1]->at.hi, e->arg[2]->at.lo)) return true;
  return false;
}

// Every `else` of a chain that does not fit begins a line.
static void put_if(Pen *p, const AExpr *e, int tail) {
  int align = pen_column(p);
  bool splits = !p->flat && (breaks_before_else(p, e) || align + expr_width(p, e, LEVEL_EXPR) + tail > LINE_WIDTH);
  for (const AExpr *more = e; more; e = more) {
    pen_text(p, "if ");
    put(p, e->arg[0], LEVEL_EXPR, 5);
    pen_text(p, " then ");
    put(p, e->arg[1], LEVEL_EXPR, 0);
    if (splits) pen_newline(p, align);
    else pen_text(p, " ");
    pen_text(p, "else ");
    more = else_if(e);
    if (!more) put(p, e->arg[2], LEVEL_EXPR, tail);
  }
}

static void put_unary(Pen *p, const AExpr *e, int tail) {
  pen_text(p, operators[e->op].text);
  if (e->op == AO_NOT) pen_text(p, " ");
  put(p, e->arg[0], operators[e->op].right, tail);
}

// A default may be negated: `x[i] ?? -1`.
static void put_default(Pen *p, const AExpr *e, int tail) {
  bool minus = e->kind == A_UNARY && e->op == AO_NEG && !e->parens;
  pen_text(p, minus ? " ?? -" : " ?? ");
  put(p, minus ? e->arg[0] : e, LEVEL_POSTFIX, tail);
}

static void put_subscript(Pen *p, const AExpr *e, int tail) {
  bool defaults = e->nargs > 1;
  put(p, e->arg[0], LEVEL_PRIMARY, e->nsubs ? 1 : 0);
  if (e->nsubs) {
    pen_text(p, "[");
    pen_subs(p, e->nsubs, e->sub, 1 + (defaults ? 0 : tail));
    pen_text(p, "]");
  }
  if (defaults) put_default(p, e->arg[1], tail);
}

static void put_reduce(Pen *p, const AExpr *e, int tail) {
  const AExpr *cond = e->nargs > 1 ? e->arg[1] : NULL;
  pen_text(p, reducers[e->reducer].name);
  pen_text(p, "[");
  pen_subs(p, e->nsubs, e->sub, 2);
  pen_text(p, "](");
  int align = pen_column(p);
  put(p, e->arg[0], LEVEL_EXPR, cond ? 0 : 1 + tail);
  if (cond) {
    pen_space(p, pen_broken(p, e->arg[0]->at.hi, cond->at.lo), p->flat ? 0 : 4 + expr_width(p, cond, LEVEL_EXPR) + tail, align);
    pen_text(p, "if ");
    put(p, cond, LEVEL_EXPR, 1 + tail);
  }
  pen_text(p, ")");
}

static void put_call(Pen *p, const AExpr *e, int tail) {
  if (e->kind == A_CALL) pen_text(p, e->name);
  if (e->kind == A_CAST) pen_dtype(p, &e->type);
  pen_text(p, e->kind == A_BITCAST ? "bitcast(" : "(");
  if (e->kind == A_BITCAST) {
    pen_dtype(p, &e->type);
    pen_text(p, ", ");
  }
  pen_exprs(p, e->nargs, e->arg, 1 + tail);
  pen_text(p, ")");
}

// Numbers keep their spelling; a tree that was not parsed has none.
static void put_number(Pen *p, const AExpr *e) {
  if (e->text) {
    pen_text(p, e->text);
    return;
  }
  Buf b = buf_make(p->a);
  if (e->kind == A_INT) buf_printf(&b, "%llu", (unsigned long long)e->i);
  else buf_float(&b, e->f, false);
  pen_text(p, b.s);
}

static void put_bare(Pen *p, const AExpr *e, int tail) {
  switch (e->kind) {
  case A_INT: case A_FLOAT: put_number(p, e); break;
  case A_INF: pen_text(p, "inf"); break;
  case A_NAN: pen_text(p, "nan"); break;
  case A_TRUE: pen_text(p, "true"); break;
  case A_FALSE: pen_text(p, "false"); break;
  case A_NAME: pen_text(p, e->name); break;
  case A_IF: put_if(p, e, tail); break;
  case A_BINARY: put_chain(p, e, pen_column(p), tail); break;
  case A_UNARY: put_unary(p, e, tail); break;
  case A_SUBSCRIPT: put_subscript(p, e, tail); break;
  case A_CALL: case A_CAST: case A_BITCAST: put_call(p, e, tail); break;
  case A_REDUCE: put_reduce(p, e, tail); break;
  }
}

// Brackets stand where the user wrote them and where the grammar needs them.
static void put(Pen *p, const AExpr *e, Level least, int tail) {
  if (!p->out && p->width > FAR) return;
  bool parens = e->parens || level_of(e) < least, was = p->flat;
  if (!p->flat) p->flat = !pen_broken(p, e->at.lo, e->at.hi) && pen_column(p) + expr_width(p, e, least) + tail <= LINE_WIDTH;
  if (parens) pen_text(p, "(");
  put_bare(p, e, tail + parens);
  if (parens) pen_text(p, ")");
  p->flat = was;
}

void pen_expr(Pen *p, const AExpr *e, int tail) { put(p, e, LEVEL_EXPR, tail); }

// Types stay on one line.
void pen_type(Pen *p, const AType *t) {
  bool was = p->flat;
  p->flat = true;
  pen_dtype(p, &t->dtype);
  if (t->shaped) pen_text(p, "[");
  if (t->dots) pen_text(p, t->rank ? "..," : "..");
  if (t->dots && t->rank) pen_text(p, " ");
  pen_exprs(p, t->rank, t->dim, 0);
  if (t->shaped) pen_text(p, "]");
  p->flat = was;
}

void ast_print_expr(const AExpr *e, Buf *out) {
  Pen p = pen_make(out, NULL);
  p.flat = true;
  pen_expr(&p, e, 0);
}
