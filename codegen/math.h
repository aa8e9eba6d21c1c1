// math.h: device functions as text (math.def): what C has no operator for.
#ifndef PLAIT_CODEGEN_MATH_H
#define PLAIT_CODEGEN_MATH_H

typedef enum Math {
#define MATH(NAME, ...) MATH_##NAME,
#include "codegen/math.def"
#include "codegen/math_cuda.def"
#undef MATH
  MATH_COUNT
} Math;

typedef struct MathInfo { const char *name, *needs, *text; } MathInfo;
extern const MathInfo math_functions[MATH_COUNT];

// What a row's name has behind the operation's for each Form (ir/rewrite.h).
extern const char *const math_forms[];

// MATH_COUNT when there is no such row.
Math math_by_name(const char *name);
#endif
