// rules.h: rules.def as data, and the matcher that `simplify` and the rules' test share.
#ifndef PLAIT_PASSES_RULES_H
#define PLAIT_PASSES_RULES_H
#include "ir/expr.h"

typedef struct Rule { char kind; const char *from, *to; } Rule;
extern const Rule rules[];
extern const int nrules;

// One side of a rule, parsed.
typedef struct Pattern Pattern;
struct Pattern {
  Op op;                // OP_NONE: a letter or a number
  char letter;          // 0: a number
  double number;
  int nargs; Pattern *arg[3];
};
Pattern *pattern_parse(Arena *a, const char *text);     // NULL when the text is malformed (our bug; tested)

// What the letters stand for.
typedef struct Binding { Expr *by[26]; } Binding;
bool pattern_match(const Pattern *p, Expr *e, Binding *b);
// The other side with the letters replaced; `like` gives numbers their type. NULL when it has no meaning for the type.
Expr *pattern_build(ExprTable *x, const Pattern *p, const Binding *b, const Expr *like);

// Is the rule for expressions of this type?
bool rule_applies(const Rule *r, Dtype d);
#endif
