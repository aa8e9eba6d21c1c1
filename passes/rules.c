#include "passes/rules.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const Rule rules[] = {
#define RULE(kind, from, to) { #kind[0], from, to },
#include "passes/rules.def"
#undef RULE
};
const int nrules = sizeof rules / sizeof *rules;

bool rule_applies(const Rule *r, Dtype d) {
  switch (r->kind) {
  case 'F': return dtype_is_float(d);
  case 'I': return dtype_is_int(d);
  case 'S': return dtype_is_signed(d);
  case 'B': return d == DT_BOOL;
  default: return true;
  }
}

// An operation by the name of its row, also those that the language writes with symbols.
static Op op_named(const char *s, size_t n) {
  for (int op = 1; op < OP_COUNT_; op++)
    if (ops[op].name && strlen(ops[op].name) == n && !strncmp(ops[op].name, s, n)) return (Op)op;
  return OP_NONE;
}

static void skip_space(const char **s) { while (**s == ' ') ++*s; }

static Pattern *parse(Arena *a, const char **s) {
  skip_space(s);
  Pattern *p = arena_new(a, Pattern);
  size_t n = 0;
  while (isalpha((unsigned char)(*s)[n])) n++;
  if (!n) {
    char *end;
    p->number = strtod(*s, &end);
    if (end == *s) return NULL;
    *s = end;
    return p;
  }
  if (n == 1) { p->letter = *(*s)++; return p; }
  if (!strncmp(*s, "true", n) || !strncmp(*s, "false", n)) { p->number = **s == 't'; *s += n; return p; }
  p->op = op_named(*s, n);
  *s += n;
  if (p->op == OP_NONE || *(*s)++ != '(') return NULL;
  do {
    if (p->nargs == 3) return NULL;
    if (!(p->arg[p->nargs++] = parse(a, s))) return NULL;
    skip_space(s);
  } while (*(*s)++ == ',');
  return (*s)[-1] == ')' ? p : NULL;
}

Pattern *pattern_parse(Arena *a, const char *text) {
  Pattern *p = parse(a, &text);
  return p && !*text ? p : NULL;
}

// Floats compare by bits: -0.0 is not 0.
static bool is_number(const Expr *e, double v) {
  if (!expr_is_const(e)) return false;
  Dtype d = (Dtype)e->dtype;
  if (dtype_is_float(d)) return !memcmp(&e->u.v.f, &v, sizeof v);
  if (d == DT_BOOL) return (e->u.v.i != 0) == (v != 0);
  if (d == DT_U32) return v < 0 ? e->u.v.u == UINT32_MAX && v == -1 : e->u.v.u == (uint64_t)v;
  return v < 0 ? e->u.v.i == (int64_t)v : e->u.v.u == (uint64_t)v;
}

bool pattern_match(const Pattern *p, Expr *e, Binding *b) {
  if (p->letter) {
    Expr **by = &b->by[p->letter - 'a'];
    if (*by) return *by == e;
    *by = e;
    return true;
  }
  if (p->op == OP_NONE) return is_number(e, p->number);
  if (e->op != p->op || (int)e->nargs != p->nargs) return false;
  for (int k = 0; k < p->nargs; k++) if (!pattern_match(p->arg[k], e->arg[k], b)) return false;
  return true;
}

static Expr *number(ExprTable *x, double v, const Expr *like) {
  Dtype d = (Dtype)like->dtype;
  if (dtype_is_float(d)) return expr_float(x, d, v, like->at);
  if (d == DT_BOOL) return expr_bool(x, v != 0, like->at);
  return expr_int(x, d, (int64_t)v, like->at);
}

Expr *pattern_build(ExprTable *x, const Pattern *p, const Binding *b, const Expr *like) {
  if (p->letter) return b->by[p->letter - 'a'];
  if (p->op == OP_NONE) return number(x, p->number, like);
  Expr *arg[3];
  for (int k = 0; k < p->nargs; k++) {
    // All operands have the type of the whole but a select's condition, which is always a letter here.
    arg[k] = pattern_build(x, p->arg[k], b, like);
    if (!arg[k]) return NULL;
  }
  return expr_make(x, p->op, (Dtype)like->dtype, 0, NULL, like->at, p->nargs, arg);
}
