// math.c: the table of math.def.
#include "codegen/math.h"
#include <string.h>

const MathInfo math_functions[MATH_COUNT] = {
#define MATH(NAME, calls, definition) [MATH_##NAME] = {.name = #NAME, .needs = calls, .text = definition},
#include "codegen/math.def"
#include "codegen/math_cuda.def"
#undef MATH
};

Math math_by_name(const char *name) {
  for (int m = 0; m < MATH_COUNT; m++)
    if (strcmp(math_functions[m].name, name) == 0) return (Math)m;
  return MATH_COUNT;
}

// Note [Polynomials]
//
// The coefficients come from Sollya 8.0, fpminimax(f, powers, [|SG...|], range, relative), in about these words:
//   exp     exp(x), [|2,...,6|] on [-log(2)/2; log(2)/2], after 1 + x;  expm1 the same to x^7 after x
//   exp2    2^x, [|1,...,6|] on [-1/2; 1/2], after 1
//   log1p   log1p(x), [|3,...,10|] on [sqrt(1/2) - 1; sqrt(2) - 1], after x - x^2/2
//   tanh    [|3,5,...,11|] on [0; 0.625], after x;  erf [|1,3,...,13|] on [0; 1], after x;  log(erfc(x)), degree 8 on [0.95; 3.95]
//   erfc    exp(a^2) erfc(a) (1 + 2 a) over u = 2 a / (a + 2) - 1/4, degree 9, for a from 0 to 10.1
// log(2) is split in 0x1.62e4p-1, of 17 bits so that its product with an exponent is exact, and the rest [Cody & Waite].
// erfc takes a^2 in two parts, and its polynomial about a point between 0 and the middle, for few roundings at both ends.
//
// Largest error over every 97th float against glibc's double functions, in units in the last place, with FMA (without),
// and time of an element that lies in L1, vectorised by clang 19 (and by gcc 12), AVX-512, Zen 4:
//   exp    1.01 (0.97)  0.34 (0.39) ns        log    0.82 (0.86)  0.72 (0.69) ns
//   exp2   0.78 (1.07)  0.26 (0.32) ns        log2   1.79 (1.87)  0.67 (0.68) ns
//   expm1  1.41 (1.42)  0.49 (0.50) ns        log1p  1.45 (1.52)  0.82 (3.2, scalar) ns
//   tanh   1.32 (1.32)  0.89 (0.91) ns        erf    1.07 (1.21)  1.3 (1.2) ns
//   erfc   3.4 (3.5)    1.2 (1.1) ns
// The functions of libm take 3 to 16 ns there and keep a loop from being vectorised. sin, cos and pow are still theirs.
