// math.c: the table of math.def.
#include "codegen/math.h"
#include <string.h>

const MathInfo math_functions[MATH_COUNT] = {
#define MATH(NAME, calls, definition) [MATH_##NAME] = {.name = #NAME, .needs = calls, .text = definition},
#include "codegen/math.def"
#undef MATH
};

Math math_by_name(const char *name) {
  for (int m = 0; m < MATH_COUNT; m++)
    if (strcmp(math_functions[m].name, name) == 0) return (Math)m;
  return MATH_COUNT;
}
