// loops.h: for the sweep and the test of math.def: C text with a loop over each function of f32, and what it should give.
//
//   void loop_exp(const float *x, float *z, long n)     of two operands: (x, y, z, n)
//
// A function is an operation that has a row in math.def or a text of its own (exp, sqrt), its coarse form (exp_bf16), one for what is
// known of it (exp_nonpositive), or one of the standard library's compositions (sigmoid).
#ifndef PLAIT_TOOLS_MATH_LOOPS_H
#define PLAIT_TOOLS_MATH_LOOPS_H
#include "codegen/math.h"
#include "ir/ops.h"
#include "ir/rewrite.h"
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void Loop1(const float *x, float *z, long n);
typedef void Loop2(const float *x, const float *y, float *z, long n);

typedef struct LoopFn {
  char name[32];
  Op op;                            // what it computes; OP_NONE for a composition
  bool two;                         // operands
  char text[128];                   // over x and y
  double (*exact)(double x);        // of a composition
  double relative;                  // of a coarse form: the relative error that it may have; 0: that of the operation's row, in units
  Form form;                        // what is known: arguments that are not so count as their negative
} LoopFn;
enum { LOOPS_MOST = 64 };

// As the runtime compiles kernels (runtime/jit_cc.c), but for -ffp-contract.
#define LOOPS_FLAGS "-std=gnu17 -w -O3 -fopenmp-simd -fno-math-errno -fno-trapping-math -fno-strict-aliasing"

static inline double loops_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static inline double loops_silu(double x) { return x / (1 + exp(-x)); }
static inline double loops_gelu(double x) { return .5 * x * erfc(-0.70710678118654752440 * x); }
static inline double loops_gelu_tanh(double x) { return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x))); }

// As in frontend/std/scalar.plait.
static const LoopFn loops_composed[] = {
  {"sigmoid", OP_NONE, false, "1 / (1 + exp_addend_f32(-x))", loops_sigmoid, 0, FORM_ANY},
  {"silu", OP_NONE, false, "x / (1 + exp_addend_f32(-x))", loops_silu, 0, FORM_ANY},
  {"gelu", OP_NONE, false, "0.5f * x * erfc_f32(-0.7071067811865475f * x)", loops_gelu, 0, FORM_ANY},
  {"gelu_tanh", OP_NONE, false, "x / (1 + exp_addend_f32(x * (-0.07135481627260025f * x * x - 1.5957691216057308f)))", loops_gelu_tanh, 0, FORM_ANY},
};

static inline bool loops_has(Op op) {
  char name[64];
  snprintf(name, sizeof name, "%s_f32", ops[op].name);
  return ops[op].name && math_by_name(name) != MATH_COUNT;
}

// The operation's text in ops.def for floats, over x.
static inline void loops_fill(char *to, const char *text) {
  for (; *text; text++) {
    if (*text == '@') *to++ = 'f';
    else if (*text == '$') *to++ = 'x', text++;
    else *to++ = *text;
  }
  *to = 0;
}

static inline void loops_add(LoopFn *list, int *n, Op op, Form form, const char *suffix, double relative) {
  LoopFn f = {.op = op, .two = ops[op].arity == 2, .relative = relative, .form = form};
  char row[64];
  snprintf(f.name, sizeof f.name, "%s%s%s", ops[op].name, math_forms[form], suffix);
  snprintf(row, sizeof row, "%s%s_f32%s", ops[op].name, math_forms[form], suffix);
  snprintf(f.text, sizeof f.text, "%s(%s%s)", row, form == FORM_NONPOSITIVE ? "x > 0 ? -x : x" : "x", f.two ? ", y" : "");
  bool own = math_by_name(row) != MATH_COUNT;
  if (!own && form != FORM_ANY) return;
  if (!own && !*suffix) loops_fill(f.text, ops[op].c_float);
  if (own || !*suffix) list[(*n)++] = f;
}

// All functions; how many.
static inline int loops_list(LoopFn *list) {
  int n = 0;
  for (int op = 0; op < OP_COUNT_; op++) {
    if (!ops[op].callable || ops[op].rule != R_FLOAT || ops[op].arity > 2) continue;
    for (int form = 0; form < FORMS; form++) {
      loops_add(list, &n, (Op)op, (Form)form, "", 0);
      loops_add(list, &n, (Op)op, (Form)form, "_f16", 0x1p-15);
      loops_add(list, &n, (Op)op, (Form)form, "_bf16", 0x1p-12);
    }
  }
  for (size_t k = 0; k < sizeof loops_composed / sizeof *loops_composed; k++) list[n++] = loops_composed[k];
  return n;
}

static inline double loops_exact(const LoopFn *f, float x, float y) {
  Scalar a[2] = {{.f = (double)(f->form == FORM_NONPOSITIVE && x > 0 ? -x : x)}, {.f = (double)y}}, z;
  if (f->exact) return f->exact((double)x);
  op_eval(f->op, DT_F64, a, &z);
  return z.f;
}

static inline void loops_write(FILE *out) {
  LoopFn list[LOOPS_MOST];
  int n = loops_list(list);
  for (int m = 0; m < MATH_COUNT; m++)
    if (strncmp(math_functions[m].name, "cuda_", 5) != 0) fprintf(out, "static inline %s", math_functions[m].text);
  for (int k = 0; k < n; k++) {
    fprintf(out, "void loop_%s(const float *restrict xs, %sfloat *restrict zs, long n) {\n#pragma omp simd\n", list[k].name,
            list[k].two ? "const float *restrict ys, " : "");
    fprintf(out, "  for (long i = 0; i < n; i++) {\n    const float x = xs[i]%s;\n    zs[i] = %s;\n  }\n}\n", list[k].two ? ", y = ys[i]" : "", list[k].text);
  }
}

static inline void loops_run(const LoopFn *f, void *so_function, const float *x, const float *y, float *z, long n) {
  Loop1 *one;
  Loop2 *both;
  memcpy(&one, &so_function, sizeof one), memcpy(&both, &so_function, sizeof both);
  if (f->two) both(x, y, z, n);
  else one(x, z, n);
}

static inline bool loops_same(float a, float b) { return (isnan(a) && isnan(b)) || (a == b && !signbit(a) == !signbit(b)); }

// Units in the last place of a float of this size in `off`.
static inline double loops_units(double off, double size) {
  uint64_t bits;
  double power;
  if (size < 0x1p-126) size = 0x1p-126;
  memcpy(&bits, &size, sizeof bits);
  bits = (UINT64_C(2069) << 52) - (bits & (UINT64_C(0x7ff) << 52));       // 2^23 over the power of two in size: 2069 is 2 * 1023 + 23
  memcpy(&power, &bits, sizeof power);
  return off * power;
}

// How far `got` is from `want`: in units in the last place; relative where f says so; of a composition absolute, or relative
// above 1. -1: wrong where nothing is rounded (infinities, NaN, signs of zeros). Below 2^-126 a result may be 0, of an addend below 2^-125; one
// that a coarse form brings beyond the floats may be infinite.
static inline double loops_error(const LoopFn *f, double want, float got) {
  double size = fabs(want), off = fabs((double)got - want), slack = f->relative < 1 ? 2 * f->relative : 0;
  float rounded = (float)want;
  bool sign = !signbit(want) == !signbit(got);
  if (isfinite(got) && isfinite(rounded) && want != 0) {
    if (f->exact) return off / fmax(size, 1);
    double least = f->form == FORM_ADDEND ? 0x1p-125 : 0x1p-126;
    if (size < least * (1 + slack) && fabs((double)got) <= least && sign) return 0;
    return f->relative ? off / size : loops_units(off, size);
  }
  if (isinf(got) && slack > 0 && size > (double)0x1.fffffep127f * (1 - slack) && sign) return 0;
  return loops_same(rounded, got) || (f->exact && want == got) ? 0 : -1;
}
#endif
