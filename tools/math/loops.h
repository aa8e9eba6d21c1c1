// loops.h: for the sweep and the test of math.def: C text with a loop over each function of f32 that has a row there.
//
//   void loop_exp(const float *x, float *z, long n)     of two operands: (x, y, z, n)
#ifndef PLAIT_TOOLS_MATH_LOOPS_H
#define PLAIT_TOOLS_MATH_LOOPS_H
#include "codegen/math.h"
#include "ir/ops.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef void Loop1(const float *x, float *z, long n);
typedef void Loop2(const float *x, const float *y, float *z, long n);

// As the runtime compiles kernels (runtime/jit_cc.c), but for -ffp-contract.
#define LOOPS_FLAGS "-std=gnu17 -w -O3 -fopenmp-simd -fno-math-errno -fno-trapping-math -fno-strict-aliasing"

static inline bool loops_has(Op op) {
  char name[64];
  snprintf(name, sizeof name, "%s_f32", ops[op].name);
  return ops[op].name && math_by_name(name) != MATH_COUNT;
}

static inline void loops_write(FILE *out) {
  for (int m = 0; m < MATH_COUNT; m++)
    if (strncmp(math_functions[m].name, "cuda_", 5) != 0) fprintf(out, "static inline %s", math_functions[m].text);
  for (int op = 0; op < OP_COUNT_; op++) {
    if (!loops_has((Op)op) || op == OP_UNIFORM) continue;
    bool two = ops[op].arity == 2;
    const char *f = ops[op].name;
    fprintf(out, "void loop_%s(const float *restrict x, %sfloat *restrict z, long n) {\n#pragma omp simd\n", f, two ? "const float *restrict y, " : "");
    fprintf(out, "  for (long i = 0; i < n; i++) z[i] = %s_f32(x[i]%s);\n}\n", f, two ? ", y[i]" : "");
  }
}
#endif
