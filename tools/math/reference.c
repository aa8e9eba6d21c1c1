// reference.c: how far the judge of the sweep is from the exact values: op_eval in double beside MPFR.
//
//   cc -O2 -std=gnu17 -I. tools/math/reference.c build/libplait_core.a -o build/math-reference -lmpfr -lm
//   build/math-reference [COUNT]              (Debian's libmpfr-dev; COUNT random floats for each function, 2^20 by default)
//
// Prints for each function the largest error of the double in units in its last place. A unit in the last place of a float
// is 2^29 of them.
#include "ir/ops.h"
#include <math.h>
#include <mpfr.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Exact1(mpfr_t, const mpfr_t, mpfr_rnd_t);
typedef int Exact2(mpfr_t, const mpfr_t, const mpfr_t, mpfr_rnd_t);
typedef struct Row { Op op; Exact1 *one; Exact2 *two; } Row;

static const Row rows[] = {
  {OP_SQRT, mpfr_sqrt, NULL}, {OP_RSQRT, mpfr_rec_sqrt, NULL}, {OP_CBRT, mpfr_cbrt, NULL}, {OP_EXP, mpfr_exp, NULL}, {OP_EXP2, mpfr_exp2, NULL},
  {OP_EXPM1, mpfr_expm1, NULL}, {OP_LOG, mpfr_log, NULL}, {OP_LOG2, mpfr_log2, NULL}, {OP_LOG1P, mpfr_log1p, NULL}, {OP_SIN, mpfr_sin, NULL},
  {OP_COS, mpfr_cos, NULL}, {OP_TAN, mpfr_tan, NULL}, {OP_ASIN, mpfr_asin, NULL}, {OP_ACOS, mpfr_acos, NULL}, {OP_ATAN, mpfr_atan, NULL},
  {OP_SINH, mpfr_sinh, NULL}, {OP_COSH, mpfr_cosh, NULL}, {OP_TANH, mpfr_tanh, NULL}, {OP_ERF, mpfr_erf, NULL}, {OP_ERFC, mpfr_erfc, NULL},
  {OP_ATAN2, NULL, mpfr_atan2}, {OP_POW, NULL, mpfr_pow},
};
enum { DIGITS = 160 };      // bits

static float random_float(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  uint32_t bits = (uint32_t)((*state ^ *state >> 29) * 0x9e3779b97f4a7c15u >> 32);
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// In units in the last place of the double; 0 where a float would be infinite, tiny or no number.
static double error_at(const Row *r, float x, float y, mpfr_t a, mpfr_t b, mpfr_t exact) {
  Scalar in[2] = {{.f = (double)x}, {.f = (double)y}}, got;
  op_eval(r->op, DT_F64, in, &got);
  if (!isfinite(got.f) || fabs(got.f) < 0x1p-149 || fabs(got.f) > 0x1p128) return 0;
  mpfr_set_flt(a, x, MPFR_RNDN), mpfr_set_flt(b, y, MPFR_RNDN);
  if (r->one) r->one(exact, a, MPFR_RNDN);
  else r->two(exact, a, b, MPFR_RNDN);
  mpfr_sub_d(exact, exact, got.f, MPFR_RNDN);
  return fabs(ldexp(mpfr_get_d(exact, MPFR_RNDN), 52 - ilogb(got.f)));
}

int main(int argc, char **argv) {
  long count = argc > 1 ? strtol(argv[1], NULL, 0) : 1 << 20;
  mpfr_t a, b, exact;
  mpfr_inits2(DIGITS, a, b, exact, (mpfr_ptr)NULL);
  for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
    uint64_t state = k;
    double worst = 0;
    for (long i = 0; i < count; i++) {
      float x = random_float(&state), y = random_float(&state);
      if (rows[k].two && i % 2) x = fabsf(fmodf(x, 8)), y = fmodf(y, 32);       // more powers that are finite
      worst = fmax(worst, error_at(&rows[k], x, y, a, b, exact));
    }
    printf("| `%s` | %.3f |\n", ops[rows[k].op].name, worst);
    fflush(stdout);
  }
  mpfr_clears(a, b, exact, (mpfr_ptr)NULL);
  return 0;
}
