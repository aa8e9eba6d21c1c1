// operators.h: how the operators of the grammar are written and bind. Private to the front end.
#ifndef PLAIT_FRONTEND_OPERATORS_H
#define PLAIT_FRONTEND_OPERATORS_H
#include "frontend/ast.h"

// Levels of the grammar, loosest first.
typedef enum Level {
  LEVEL_EXPR, LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_BITOR, LEVEL_BITXOR, LEVEL_BITAND, LEVEL_SHIFT,
  LEVEL_SUM, LEVEL_PRODUCT, LEVEL_UNARY, LEVEL_POWER, LEVEL_POSTFIX, LEVEL_PRIMARY
} Level;

typedef struct Operator {
  const char *text;
  Level level;            // of the expression that it makes
  Level left, right;      // what its operands must bind at least as tightly as; unary: right only
} Operator;
extern const Operator operators[AO_COUNT];
#endif
