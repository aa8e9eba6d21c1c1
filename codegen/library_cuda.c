// library_cuda.c: functions of CUDA's mathematical library as text, for a compiler that has none.
//
// NVRTC and nvcc link NVIDIA's own. Clang in the process has no file of NVIDIA's, and gets the functions that kernels for CPUs carry along
// (math.def), which keep the same bounds, under the names of CUDA's. They stand in a namespace, so that a text may have the same rows for itself.
#include "codegen/launch.h"
#include "ir/ops.h"
#include <string.h>

// exp2f, roots and what rounds are instructions, which the compiler's own declarations have (runtime/jit_clang_cuda.inc).
static const struct { const char *name; Math row; int arity; bool wide; } functions[] = {
  {"expf", MATH_exp_f32, 1, false}, {"expm1f", MATH_expm1_f32, 1, false}, {"logf", MATH_log_f32, 1, false}, {"log2f", MATH_log2_f32, 1, false},
  {"log1pf", MATH_log1p_f32, 1, false}, {"sinf", MATH_sin_f32, 1, false}, {"cosf", MATH_cos_f32, 1, false}, {"tanf", MATH_tan_f32, 1, false},
  {"asinf", MATH_asin_f32, 1, false}, {"acosf", MATH_acos_f32, 1, false}, {"atanf", MATH_atan_f32, 1, false}, {"atan2f", MATH_atan2_f32, 2, false},
  {"sinhf", MATH_sinh_f32, 1, false}, {"coshf", MATH_cosh_f32, 1, false}, {"tanhf", MATH_tanh_f32, 1, false}, {"erff", MATH_erf_f32, 1, false},
  {"erfcf", MATH_erfc_f32, 1, false}, {"cbrtf", MATH_cbrt_f32, 1, false}, {"powf", MATH_pow_f32, 2, false},
  {"exp", MATH_cuda_library_exp, 1, true}, {"log", MATH_cuda_library_log, 1, true},
};
enum { NFUNCTIONS = sizeof functions / sizeof *functions };

// What `m` calls, and itself. Rows stand behind those that they call.
static void mark(Arena *a, bool *used, Math m) {
  used[m] = true;
  for (const char *s = math_functions[m].needs, *end; (end = strchr(s, ' ')) != NULL; s = end + 1)
    mark(a, used, math_by_name(arena_strndup(a, s, (size_t)(end - s))));
}

static const char *own_name(Math m) {
  const char *name = math_functions[m].name;
  return strncmp(name, "cuda_", 5) == 0 ? name + 5 : name;
}

// See mad_f32 of math.def for the macro.
const char *cuda_library(Arena *a) {
  Buf out = buf_make(a);
  bool *used = arena_array(a, bool, MATH_COUNT);
  memset(used, 0, MATH_COUNT * sizeof *used);
  for (int i = 0; i < NFUNCTIONS; i++) mark(a, used, functions[i].row);
  buf_puts(&out, "#define __FMA__ 1\nnamespace plait_math {\n");
  for (int m = 0; m < MATH_COUNT; m++)
    if (used[m]) buf_printf(&out, "static __device__ __forceinline__ %s", math_functions[m].text);
  buf_puts(&out, "}\n#undef __FMA__\n");
  for (int i = 0; i < NFUNCTIONS; i++) {
    const char *type = functions[i].wide ? "double" : "float";
    bool two = functions[i].arity == 2;
    buf_printf(&out, "static __device__ __forceinline__ %s %s(%s x%s%s) { return plait_math::%s(x%s); }\n", type, functions[i].name, type,
               two ? ", float" : "", two ? " y" : "", own_name(functions[i].row), two ? ", y" : "");
  }
  return out.s;
}
