// jit.c: compiles a program while this one runs, with libplait, and launches it on arrays of C.
#include "plait.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char program[] =
    "fn rms_norm_rows(x: f32[N, D], w: f32[D], eps: f32 = 1e-5) -> y: f32[N, D] {\n"
    "  ms[i]   = mean[j](x[i, j] * x[i, j])\n"
    "  y[i, j] = x[i, j] * rsqrt(ms[i] + eps) * w[j]\n"
    "}\n";

enum { N = 2, D = 4 };

// Prints what a call had to say and frees it; true when the call succeeded.
static int ok(plait_status s, plait_messages *m) {
  char *text = NULL;
  if (m && plait_messages_render(m, PLAIT_STYLE_TEXT, &text, NULL) == PLAIT_OK) fputs(text, stderr);
  else if (s) fprintf(stderr, "%s\n", plait_status_text(s));
  plait_free(text);
  plait_messages_free(m);
  return s == PLAIT_OK;
}

static plait_tensor matrix(float *data, int64_t rows, int64_t columns) {
  return (plait_tensor){ .data = data, .dtype = PLAIT_F32, .rank = 2, .extent = { rows, columns },
                         .bytes = (size_t)(rows * columns) * sizeof *data };
}

static plait_tensor vector(float *data, int64_t n) {
  return (plait_tensor){ .data = data, .dtype = PLAIT_F32, .rank = 1, .extent = { n }, .bytes = (size_t)n * sizeof *data };
}

// The text to something that can be launched; NULL when that fails. It outlives the context and the program.
static plait_exec *build(void) {
  plait_context *cx = NULL;
  plait_program *p = NULL;
  const plait_entry *e = NULL;
  plait_exec *x = NULL;
  plait_messages *m = NULL;
  if (ok(plait_context_create(NULL, &cx, &m), m) &&
      ok(plait_compile(cx, "norm.plait", program, strlen(program), NULL, &p, &m), m) &&
      ok(plait_program_find(p, NULL, &e, &m), m))
    ok(plait_prepare(e, "c", NULL, &x, &m), m);
  plait_program_free(p);
  plait_context_free(cx);
  return x;
}

// Each row's mean square must be 1, but for eps and some roundings.
static int is_normal(const float *y) {
  for (int i = 0; i < N; i++) {
    double square = 0;
    for (int j = 0; j < D; j++) square += (double)y[i * D + j] * y[i * D + j] / D;
    if (fabs(square - 1) > 1e-4) return 0;
  }
  return 1;
}

int main(void) {
  float x[N * D] = { 1, 2, 3, 4, -5, 6, -7, 8 }, w[D] = { 1, 1, 1, 1 }, y[N * D];
  plait_exec *norm = build();
  if (!norm) return 1;

  plait_exec_info info = { .struct_size = sizeof info };
  plait_exec_get(norm, &info);
  printf("%zu kernel, built by %s in %.0f ms\n", info.nkernels, info.compiler, info.build_ms);

  // The third parameter is eps: without data it keeps its default.
  plait_tensor params[3] = { matrix(x, N, D), vector(w, D), { .dtype = PLAIT_F32 } };
  plait_tensor result = matrix(y, N, D);
  plait_messages *m = NULL;
  int done = ok(plait_launch(norm, params, 3, &result, 1, NULL, &m), m);
  plait_exec_free(norm);
  if (!done) return 1;

  for (int k = 0; k < N * D; k++) printf("%9.5f%s", y[k], k % D == D - 1 ? "\n" : "");
  return !is_normal(y);
}
