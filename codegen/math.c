// math.c: the table of math.def.
#include "codegen/math.h"
#include "ir/rewrite.h"
#include <string.h>

const MathInfo math_functions[MATH_COUNT] = {
#define MATH(NAME, calls, definition) [MATH_##NAME] = {.name = #NAME, .needs = calls, .text = definition},
#include "codegen/math.def"
#include "codegen/math_cuda.def"
#undef MATH
};

const char *const math_forms[] = { "", "_nonpositive", "_addend" };
_Static_assert(sizeof math_forms / sizeof *math_forms == FORMS, "each form has its name");

Math math_by_name(const char *name) {
  for (int m = 0; m < MATH_COUNT; m++)
    if (strcmp(math_functions[m].name, name) == 0) return (Math)m;
  return MATH_COUNT;
}

// Note [Polynomials]
//
// tools/math/fit.sollya makes the coefficients, tools/math/table.py the tables of errors and times in docs/math.md.
//
// Written for compilers' vectorisers:
// - No branch, no call, no table. A choice of three values is two choices of two in two declarations: GCC takes a nested
//   `?:` for control flow, threads what uses its value into each arm, and then 1 / (1 + exp(-x)) divides twice.
// - An argument is clamped by `x > c ? c : x`, which lets a NaN through and is one instruction.
// - Where a product meets a sum, mad_f32 says whether they are rounded once, so that GCC (which joins them across
//   statements) and Clang (within one) give the same bits. A product that is exact needs no such care.
// - NaN must not pass through an addition of integers: its low bits would come to lie in the exponent. Multiply by 2^n, or
//   replace the value behind.
//
// log(2) is split in 0x1.62e4p-1, of 17 bits so that its product with an exponent is exact, and the rest [Cody & Waite 1980].
// exp adds n to the exponent of exp(r); t = x / log(2) + 0x1.8p23 is both the rounded n and, in its low bits, the integer.
// tanh is m / (m + 2) with m = exp(-2 |x|) - 1, which loses nothing near 0 and needs one division.
// erf beyond 1 is 1 - q^4: q falls off slowly, so that a polynomial of degree 8 is enough where erfc itself would need 14,
// and no exponential is needed; its rounding errors shrink with q^3.
// erfc is exp(-a^2) times a polynomial in a / (a + 1.75); a^2 is taken in two parts, and only the factor 1 / (a + 1.75), not the
// polynomial's argument, feels the rounding of a + 1.75 where a is small.

// Note [Quotients by products]
//
// Where r is 1 / d rounded, q = x * r may be off by one and a half units of its last place. over = q * d - x, which an FMA gives exactly, or all but its
// last bit, tells by how much, and q - over * r is the quotient with hardly more than one rounding [Markstein, Computation of elementary
// functions on the IBM RISC System/6000, 1990]. That holds while over's last bit is no less than 2^-149: divisors below
// 2^-64 are scaled, as are those beyond 2^126, whose reciprocals would be subnormal. Powers of two change nothing else: where x * 2^64
// overflows, x / d does; where x * 2^-64 falls to 0, x / d does. With the divisor made positive, 0 keeps its sign. Infinities, NaN and a
// quotient that overflows make a NaN of the correction: the product is the result then.
//
// So this is for quotients whose operands are nobody's promise in their last digits (emit_loose.c). The scale and 1 / d do not change in the
// loop, so compilers move them out of it. In a loop that does more than some twelve operations for each element the division would
// run beside these, and nothing is gained or lost.
