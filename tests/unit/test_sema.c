// test_sema.c: programs become equations. A program is compared with the text of what it became; that text is read
// again and gives an equal function.
#include "frontend/sema.h"
#include "base/limits.h"
#include "source.h"

typedef struct Built { Arena *a; Diags *d; Program *p; Fn *f; const char *text; } Built;

static const char *messages(const Built *b) {
  Buf out = buf_make(b->a);
  diags_print(b->d, &out, false);
  return out.s;
}

// The entry `f` of a program; f NULL after errors.
static Built build_with(const char *text, ImportReader reader, void *cx) {
  Built b = {.a = arena_create()};
  Interner *names = intern_create(b.a);
  b.d = diags_create(b.a);
  b.p = program_load(b.a, names, b.d, "a.plait", text, strlen(text), reader, cx);
  b.f = b.d->errors ? NULL : program_elaborate(b.p, "f", b.a);
  Buf out = buf_make(b.a);
  if (b.f) fn_print(b.f, &out);
  b.text = out.s;
  return b;
}

static Built build(const char *text) { return build_with(text, NULL, NULL); }

static void is_sound(const Built *b, const char *program) {
  Buf why = buf_make(b->a);
  ck_assert_msg(fn_verify(b->f, &why), "%s\n%s", why.s, program);
  Diags *d = diags_create(b->a);
  Program *p = program_load(b->a, intern_create(b->a), d, "printed", b->text, strlen(b->text), NULL, NULL);
  Fn *again = d->errors ? NULL : program_elaborate(p, b->f->name, b->a);
  Buf out = buf_make(b->a);
  diags_print(d, &out, false);
  ck_assert_msg(again != NULL, "%s\n%s", b->text, out.s);
  ck_assert_msg(fn_equal(b->f, again), "not equal when read again:\n%s", b->text);
}

// The program's `f` becomes exactly this text.
static void becomes(const char *program, const char *expected) {
  Built b = build(program);
  ck_assert_msg(b.f != NULL, "%s\n%s", program, messages(&b));
  ck_assert_msg(strcmp(b.text, expected) == 0, "became\n%s\nnot\n%s", b.text, expected);
  is_sound(&b, program);
  arena_destroy(b.a);
}

// It elaborates, and its text has this in it.
static void has(const char *program, const char *part) {
  Built b = build(program);
  ck_assert_msg(b.f != NULL, "%s\n%s", program, messages(&b));
  ck_assert_msg(strstr(b.text, part) != NULL, "became\n%s\nwithout\n%s", b.text, part);
  is_sound(&b, program);
  arena_destroy(b.a);
}

// Checking it gives one error, of this code.
static void fails(const char *program, Code code) {
  Built b = {.a = arena_create()};
  b.d = diags_create(b.a);
  b.p = program_load(b.a, intern_create(b.a), b.d, "a.plait", program, strlen(program), NULL, NULL);
  program_check(b.p);
  ck_assert_msg(b.d->errors == 1 && b.d->list.v[0]->code == code, "expected one %s\n%.2000s", code_info(code)->id, messages(&b));
  arena_destroy(b.a);
}

START_TEST(every_program_of_the_language_page_elaborates_and_reads_back) {
  for (int i = 0; i < LANGUAGE_PROGRAMS; i++) {
    char *text = language_program(__FILE__, language_programs[i]);
    Arena *a = arena_create();
    Diags *d = diags_create(a);
    Program *p = program_load(a, intern_create(a), d, language_programs[i], text, strlen(text), NULL, NULL);
    Built b = {.a = a, .d = d, .p = p};
    ck_assert_msg(program_check(p), "%s", messages(&b));
    Name entry[8];
    int n = program_entries(p, entry, 8);
    for (int k = 0; k < n; k++) {
      b.f = program_elaborate(p, entry[k], a);
      ck_assert_msg(b.f != NULL, "%s", messages(&b));
      Buf out = buf_make(a);
      fn_print(b.f, &out);
      b.text = out.s;
      is_sound(&b, text);
    }
    arena_destroy(a);
    free(text);
  }
} END_TEST

START_TEST(the_library_checks) {
  for (const struct StdFile *f = std_files; f->name; f++) {
    Built b = {.a = arena_create()};
    b.d = diags_create(b.a);
    b.p = program_load(b.a, intern_create(b.a), b.d, f->name, f->text, f->len, NULL, NULL);
    ck_assert_msg(program_check(b.p), "%s", messages(&b));
    arena_destroy(b.a);
  }
} END_TEST

// Extents.

START_TEST(a_lone_subscript_gives_the_extent) {
  becomes("fn f(x: f32[N, D]) -> s: f32 { t[i, j] = x[i, j] * 2  s = sum[i, j](t[i, j]) }",
          "fn f(x: f32[N, D]) -> s: f32 {\n"
          "  t[i < N, j < D] = x[i, j] * 2.0\n"
          "  s = sum[i < N, j < D](t[i, j])\n"
          "}\n");
} END_TEST

START_TEST(a_bound_goes_before_a_declared_shape_before_subscripts) {
  has("fn f(x: f32[N]) -> y: f32[N] { y[i < N] = x[i] }", "y[i < N] = x[i]");
  has("fn f(x: f32[N]) -> y: f32[N - 1] { y[i] = x[i + 1] - x[i] }", "y[i < N - 1]");
  has("fn f(x: f32[N], k: i64) -> y: f32 { t[i <= k] = x[i]  y = sum[i](t[i]) }", "t[i < k + 1]");
} END_TEST

START_TEST(extents_that_may_differ_are_compared_at_the_call) {
  becomes("fn f(x: f32[N], z: f32[M]) -> y: f32 { y = sum[i](x[i] * z[i]) }",
          "fn f(x: f32[N], z: f32[M]) -> y: f32\n"
          "  where N == M\n"
          "{\n"
          "  y = sum[i < N](x[i] * z[i])\n"
          "}\n");
} END_TEST

START_TEST(a_stated_equality_is_used_and_not_repeated) {
  becomes("fn f(x: f32[N], z: f32[2 * M]) -> y: f32 where 2 * M == N { y = sum[i](x[i] * z[i]) }",
          "fn f(x: f32[N], z: f32[2 * M]) -> y: f32\n"
          "  where 2 * M == N\n"
          "{\n"
          "  y = sum[i < N](x[i] * z[i])\n"
          "}\n");
} END_TEST

START_TEST(a_guarded_subscript_gives_an_extent_when_no_other_does) {
  has("fn f(x: f32[N], k: i32) -> y: f32 { t[i] = if k > 0 then x[i] else 0  y = sum[i](t[i]) }", "t[i < N]");
  has("fn f(x: f32[N]) -> y: f32 { t[i] = (x[i] ?? 0) * 2  y = sum[i](t[i]) }", "t[i < N]");
  has("fn f(x: f32[N], m: bool[M]) -> y: f32 { t[i] = if m[i] then x[i] else 0  y = sum[i](t[i]) }", "t[i < M]");
  has("fn f(x: f32[N]) -> y: f32 { y = sum[i](x[i] if i > 2) }", "sum[i < N](x[i] if i > 2)");
} END_TEST

START_TEST(a_guard_that_computes_with_the_index_needs_a_bound_beside_a_longer_subscript) {
  fails("fn f(a: f32[N], b: f32[M]) -> s: f32 { y[i] = if i < N then a[i] else b[i - N]  s = sum[i](y[i]) }", E_extent_guarded);
  fails("fn f(a: f32[N]) -> s: f32 { s = sum[i](a[i] - a[i - 1] if i > 0) }", E_extent_guarded);
  has("fn f(a: f32[N], b: f32[M]) -> y: f32[N + M] { y[i] = if i < N then a[i] else b[i - N] }", "y[i < N + M]");
} END_TEST

START_TEST(a_guard_inside_a_function_guards_the_reads_in_its_arguments) {
  // x[i] alone would make N the extent; guarded by the function it gives way to m[i]
  has("fn when(v: f32, m: bool) -> y: f32 { y = if m then v else 0 }\n"
      "fn f(x: f32[N], m: bool[M]) -> s: f32 { t[i] = when(x[i], m[i])  s = sum[i](t[i]) }",
          "t[i < M] = if m[i] then x[i] else 0.0");
  has("fn twice(v: f32) -> y: f32 { y = v + v }\n"
      "fn f(x: f32[N], z: f32[N]) -> s: f32 { t[i] = twice(x[i] * z[i])  s = sum[i](t[i]) }", "t[i < N]");
} END_TEST

START_TEST(ranges_may_depend_on_indices_and_data) {
  has("fn f(x: f32[N, D]) -> y: f32[N, D] { y[i, k] = sum[j <= k](x[i, j]) }", "sum[j < k + 1](x[i, j])");
  has("fn f(row: i32[M + 1], v: f32[Z]) -> y: f32[M] { y[r] = sum[p in row[r] .. row[r + 1]](v[p]) }",
      "sum[p in row[r] .. row[r + 1]](v[p])");
} END_TEST

START_TEST(a_scalar_equation_over_dimensions_can_be_an_extent) {
  has("fn f(x: f32[N]) -> y: f32 { h = N // 2  t[i < h] = x[i]  y = sum[i](t[i]) }", "t[i < N // 2]");
} END_TEST

START_TEST(reads_that_surely_leave_a_tensor_are_reported) {
  fails("fn f(x: f32[N]) -> y: f32[N] { y[i] = x[i + 1] }", E_out_of_bounds);
  fails("fn f(x: f32[N]) -> y: f32[N] { y[i] = x[i - 2] }", E_out_of_bounds);
  has("fn f(x: f32[N]) -> y: f32[N] { t[i] = x[i] - x[i - 1]  y[i] = if i > 0 then t[i] else 0 }",
      "t[i < N]");   // t[0] is not read
} END_TEST

// Whole tensors.

START_TEST(whole_tensors_broadcast_from_the_last_dimension) {
  becomes("fn f(x: f32[N, D], b: f32[D], c: f32[N, 1]) -> y: f32[N, D] { y = gelu(x + b) * c }",
          "fn f(x: f32[N, D], b: f32[D], c: f32[N, 1]) -> y: f32[N, D] {\n"
          "  y[i < N, j < D] = 0.5 * (x[i, j] + b[j]) * erfc(-0.70710677 * (x[i, j] + b[j])) * c[i, 0]\n"
          "}\n");
} END_TEST

START_TEST(only_the_constant_one_stretches) {
  has("fn f(x: f32[A, 1], z: f32[1, B]) -> y: f32[A, B] { y = x * z }", "y[i < A, j < B] = x[i, 0] * z[0, j]");
  has("fn f(x: f32[A], z: f32[B]) -> y: f32[A] { y = x * z }", "where A == B");
} END_TEST

START_TEST(a_scalar_function_works_elementwise_with_all_that_is_in_it) {
  has("fn g(v: f32) -> y: f32 { t[i < 4] = v * i  y = sum[i](t[i]) + t[2] }\n"
      "fn f(x: f32[N]) -> y: f32[N] { y = g(x) }", "+ x[i] * 2.0");
  has("const grid = [1.0, 2.0, 4.0, 8.0]\n"
      "fn look(q: i32) -> y: f32 { y = grid[q] }\n"
      "fn f(q: u8[N]) -> y: f32[N] { y = look(q) }", "y[i < N] = grid[q[i]]");
} END_TEST

// Types.

START_TEST(mixed_operands_are_joined) {
  has("fn f(x: i32[N], z: u32[N]) -> y: i64[N] { y = x + z }", "i64(x[i]) + z[i]");
  has("fn f(x: i32[N]) -> y: f32[N] { y = x / 2 }", "f32(x[i]) / 2.0");
  has("fn f(x: i8[N], m: bool[N]) -> y: i32[N] { y[i] = x[i] + m[i] }", "y[i < N] = x[i] + m[i]");
  has("fn f(x: f64[N]) -> y: f64[N] { y[i] = x[i] * 0.1 + f64(0.1) }", "x[i] * 0.1 + 0.1");
  has("fn f(x: u32[N]) -> y: i64[N] { y[i] = x[i] + -1 }", "i64(x[i]) + -1");
} END_TEST

START_TEST(a_const_without_a_type_is_a_literal) {
  has("const third = 1 / 3\nfn f(x: f64[N]) -> y: f64[N] { y = x * third }", "0.3333333333333333\n");
  has("const third = 1 / 3\nfn f(x: f32[N]) -> y: f32[N] { y = x * third }", "0.33333334\n");
  has("const third: f16 = 1 / 3\nfn f(x: f32[N]) -> y: f32[N] { y = x * third }", "0.33325195\n");
} END_TEST

START_TEST(a_shift_count_never_wraps_into_range) {
  has("fn f(x: u32[N], s: i64[N]) -> y: u32[N] { y = x << s }", "x[i] << u32(min(max(s[i], -1), 64))");
  has("fn f(x: i32[N]) -> y: i32[N] { y[i] = x[i] >> (4 * (i % 8)) }", "x[i] >> i32(4 * (i % 8))");
} END_TEST

START_TEST(storing_rounds_and_reading_widens) {
  has("fn f(x: f32[N]) -> y: f32[N] { h: bf16[i] = x[i]  y[i] = h[i] * 2 }", "h: bf16[i < N] = x[i]");
  has("fn f(x: f32[N]) -> y: i8[N] { y[i] = x[i] }", "y[i < N] = i8(x[i])");
  has("fn f(x: f32[N]) -> y: u16[N] { y[i] = bitcast(u16, f16(x[i])) }", "bitcast(u16, f16(x[i]))");
} END_TEST

START_TEST(a_default_of_another_type_keeps_its_value) {
  has("fn f(k: i32[N]) -> y: f32[N] { y[i] = k[i - 1] ?? 0.5 }", "if 0 <= i - 1 and i - 1 < N then f32(k[i - 1]) else 0.5");
  has("fn f(k: i32[N]) -> y: i32[N] { y[i] = k[i - 1] ?? 7 }", "k[i - 1] ?? 7");
} END_TEST

// Calls.

START_TEST(a_local_of_a_scalar_function_is_checked_where_it_is_read) {
  has("fn g(k: i64) -> y: f32 { t[i < 4] = i * 0.5  y = t[k] }\nfn f(k: i64[N]) -> y: f32[N] { y[i] = g(k[i]) }",
      "y_t_range[i < 4] = i\n  y[i < N] = f32(y_t_range[k[i]]) * 0.5");
  has("fn g(k: i64) -> y: f32 { t[i < 4] = i * 0.5  y = t[k % 4] + (t[k] ?? 9) }\nfn f(k: i64[N]) -> y: f32[N] { y[i] = g(k[i]) }",
      "f32(k[i] % 4) * 0.5 + (if 0 <= k[i] and k[i] < 4 then f32(k[i]) * 0.5 else 9.0)");
} END_TEST

START_TEST(locals_of_a_called_function_are_named_after_what_they_serve) {
  becomes("fn center(x: T[.., N]) -> y: T[.., N] { m[..] = mean[j](x[.., j])  y[.., j] = x[.., j] - m[..] }\n"
          "fn f(a: f32[N, D]) -> y: f32[N, D] { p = center(a)  y[i, j] = center(p + a)[i, j] * 2 }",
          "fn f(a: f32[N, D]) -> y: f32[N, D] {\n"
          "  p_m[b0 < N] = mean[j < D](a[b0, j])\n"
          "  p[b0 < N, j < D] = a[b0, j] - p_m[b0]\n"
          "  y_center_x[i < N, j < D] = p[i, j] + a[i, j]\n"
          "  y_center_m[b0 < N] = mean[j < D](y_center_x[b0, j])\n"
          "  y_center[b0 < N, j < D] = y_center_x[b0, j] - y_center_m[b0]\n"
          "  y[i < N, j < D] = y_center[i, j] * 2.0\n"
          "}\n");
} END_TEST

START_TEST(an_argument_is_rounded_to_its_parameters_type) {
  becomes("fn g(x: bf16[N]) -> y: f32[N] { y[i] = x[i] * 2 }\n"
          "fn f(a: f32[N], b: bf16[N]) -> (y: f32[N], z: f32[N]) { y = g(a)  z = g(b) }",
          "fn f(a: f32[N], b: bf16[N]) -> (y: f32[N], z: f32[N]) {\n"
          "  y_x: bf16[i < N] = a[i]\n"
          "  y[i < N] = y_x[i] * 2.0\n"
          "  z[i < N] = b[i] * 2.0\n"
          "}\n");
  has("fn g(a: bf16) -> y: f32 { y = a }\nfn f(x: f32[N]) -> y: f32[N] { y[i] = g(x[i]) }", "y[i < N] = bf16(x[i])");
} END_TEST

START_TEST(a_scalar_fills_a_tensor_parameter) {
  has("fn f(x: f32[N, D]) -> y: f32[N, D] { y = layer_norm(x, 1, 0, 1e-6) }", "rsqrt(y_v[b0] + 1e-06) * 1.0 + 0.0");
  has("fn g(x: f32[N], w: f32[N]) -> y: f32[N] { y[i] = x[i] * (w[i - 1] ?? 0) }\nfn f(x: f32[N]) -> y: f32[N] { y = g(x, 3) }",
      "(if 0 <= i - 1 and i - 1 < N then f32(3.0) else 0.0)");
  has("fn g(x: f32[N], w: f32[N], k: i64) -> y: f32[N] { y[i] = x[i] * w[k] }\nfn f(x: f32[N], k: i64) -> y: f32[N] { y = g(x, 3, k) }",
      "y_w[i < N] = 3.0\n  y[i < N] = x[i] * y_w[k]");     // w[k] may be out of range and must say so
} END_TEST

START_TEST(dimensions_of_a_call_are_solved) {
  const char *lin = "fn lin(row: i32[M + 1], v: f32[G * 4, M]) -> y: f32[M] { y[r] = row[r] + sum[g < G](v[g * 4, r]) }\n";
  char text[512];
  snprintf(text, sizeof text, "%sfn f(row: i32[33], v: f32[8, 32]) -> y: f32[32] { y = lin(row, v) }", lin);
  has(text, "y[r < 32] = row[r] + sum[g < 2](v[g * 4, r])");
  snprintf(text, sizeof text, "%sfn f(row: i32[K], v: f32[Q, P]) -> y: f32[P] { y = lin(row, v) }", lin);
  has(text, "where K == P + 1, Q == Q // 4 * 4");
  snprintf(text, sizeof text, "%sfn f(row: i32[K + 1], v: f32[4 * Q, K]) -> y: f32[K] { y = lin(row, v) }", lin);
  has(text, "sum[g < Q](v[g * 4, r])");
  snprintf(text, sizeof text, "%sfn f(row: i32[33], v: f32[9, 32]) -> y: f32[32] { y = lin(row, v) }", lin);
  fails(text, E_argument_shape);
} END_TEST

START_TEST(entry_dimensions_have_sources) {
  Built b = build("fn f(w: f32[H * E], x: f32[H], row: i32[2 * M + 1], n: i64, z: f32[n]) -> y: f32[M] { y[i] = E }");
  ck_assert_msg(b.f != NULL, "%s", messages(&b));
  ck_assert_int_eq(b.f->sources.n, 3);
  const char *dims[] = {"H", "E", "M"}, *from[] = {"x", "w", "row"};
  for (int i = 0; i < 3; i++) {
    ck_assert_str_eq(b.f->sources.v[i].dim->name, dims[i]);
    ck_assert_str_eq(b.f->sources.v[i].t->name, from[i]);
  }
  ck_assert(expr_is_int(b.f->sources.v[2].scale, 2) && expr_is_int(b.f->sources.v[2].offset, 1));
  arena_destroy(b.a);
} END_TEST

START_TEST(where_conditions_of_called_functions_become_the_callers) {
  const char *g = "fn g(x: f32[N]) -> y: f32[N] where N % 2 == 0 { y[i] = x[i ^ 1] }\n";
  char text[512];
  snprintf(text, sizeof text, "%sfn f(x: f32[M]) -> y: f32[M] { y = g(x) }", g);
  has(text, "where M % 2 == 0");
  snprintf(text, sizeof text, "%sfn f(x: f32[2 * M]) -> y: f32[2 * M] { y = g(x) }", g);
  has(text, "-> y: f32[2 * M] {\n");                        // proved, so there is no condition
  snprintf(text, sizeof text, "%sfn f(x: f32[3]) -> y: f32[3] { y = g(x) }", g);
  fails(text, E_where_false);
  has("fn g(x: f32[N]) -> y: f32[N] where kernels <= 1 { y = x }\nfn f(x: f32[N]) -> y: f32[N] where kernels <= 3 { y = g(x) }",
      "where kernels <= 3\n");
} END_TEST

START_TEST(several_results_and_defaults) {
  becomes("fn two(x: f32[N], k: f32 = 127) -> (q: i8[N], s: f32) { s = max[i](abs(x[i])) / k  q[i] = round(x[i] / s) }\n"
          "fn f(x: f32[M]) -> y: f32[M] { q, s = two(x)  y[i] = q[i] * s }",
          "fn f(x: f32[M]) -> y: f32[M] {\n"
          "  s = max[i < M](abs(x[i])) / 127.0\n"
          "  q: i8[i < M] = i8(round(x[i] / s))\n"
          "  y[i < M] = q[i] * s\n"
          "}\n");
} END_TEST

START_TEST(dots_stand_for_any_leading_dimensions) {
  const char *tot = "fn tot(x: T[..]) -> y: T { y = sum[..](x[..]) }\nfn cum(x: T[.., N]) -> (a: T[..], b: T[.., N]) { b = cumsum(x)  a[..] = sum[j](b[.., j]) }\n";
  char text[512];
  snprintf(text, sizeof text, "%sfn f(x: f32[A, B]) -> y: f32 { y = tot(x) }", tot);
  has(text, "y = sum[b0 < A, b1 < B](x[b0, b1])");
  snprintf(text, sizeof text, "%sfn f(x: f32) -> y: f32 { y = tot(x) }", tot);
  has(text, "y = x\n");
  snprintf(text, sizeof text, "%sfn f(x: f32[A, B, C]) -> y: f32[A, B] { y, t = cum(x) }", tot);
  has(text, "t[b0 < A, b1 < B, k < C] = sum[j < k + 1](x[b0, b1, j])");
} END_TEST

// Updates.

START_TEST(updates_make_versions) {
  becomes("fn f(mut c: f32[S, E], x: f32[E], pos: i64) -> y: f32[E] {\n"
          "  c[pos, e] <- x[e]\n"
          "  y[e] = sum[s <= pos](c[s, e])\n"
          "  c[s, e] <- c[s, e] * 2 if s > pos\n"
          "}\n",
          "fn f(mut c: f32[S, E], x: f32[E], pos: i64) -> y: f32[E] {\n"
          "  c[pos, e < E] <- x[e]\n"
          "  y[e < E] = sum[s < pos + 1](c[s, e])\n"
          "  c[s < S, e < E] <- c[s, e] * 2.0 if s > pos\n"
          "}\n");
  Built b = build("fn f(mut c: f32[S], x: f32[S]) { c[i] <- x[i]  c[i] <- c[i] + 1 }");
  ck_assert_int_eq(b.f->eqns.n, 2);
  ck_assert(b.f->eqns.v[0]->base == b.f->params.v[0]);
  ck_assert(b.f->eqns.v[1]->base == b.f->eqns.v[0]->def);
  ck_assert(expr_reads(b.f->eqns.v[1]->body, b.f->eqns.v[0]->def));
  ck_assert(b.f->eqns.v[1]->def->root == b.f->params.v[0] && b.f->eqns.v[1]->def->role == ROLE_VERSION);
  arena_destroy(b.a);
} END_TEST

START_TEST(the_right_side_gives_an_updates_extents_before_the_left) {
  has("fn f(mut c: f32[S, E], k: f32[B, E], pos: i32[B]) { c[pos[b], e] <- k[b, e] if pos[b] >= 0 }",
      "c[pos[b], e < E] <- k[b, e] if pos[b] >= 0");
  has("fn f(mut c: f32[S]) { c[i] <- 0 }", "c[i < S] <- 0.0");
  has("fn f(mut c: f32[S], x: f32[N]) { c[i] <- x[i] }", "c[i < N] <- x[i]");      // i is checked against S where it is stored
} END_TEST

START_TEST(mut_arguments_are_changed_by_the_function_called) {
  becomes("fn set(mut c: f32[S], x: f32[S]) { c[i] <- x[i] }\n"
          "fn f(mut kv: f32[N], x: f32[N]) -> y: f32[N] { old = kv + 0  kv = set(kv, x)  y = kv - old }",
          "fn f(mut kv: f32[N], x: f32[N]) -> y: f32[N] {\n"
          "  old[i < N] = kv[i] + 0.0\n"
          "  kv[i < N] <- x[i]\n"
          "  y[i < N] = kv[i] - old[i]\n"
          "}\n");
} END_TEST

START_TEST(an_update_of_a_format_covers_rows) {
  has("fn f(mut c: q8_0[S, D], x: f32[N, D], pos: i32[N]) { c[pos[n], j] <- x[n, j] if pos[n] >= 0 }",
      "c[pos[n], j < D] <- x[n, j] if pos[n] >= 0");
  fails("fn f(mut c: q8_0[S, 64], x: f32[S, 32]) { c[n, j] <- x[n, j] }", E_format_update);
} END_TEST

// Recurrences.

static const Eqn *equation_of(const Built *b, const char *name) {
  for (int i = 0; i < b->f->eqns.n; i++)
    if (strcmp(b->f->eqns.v[i]->def->name, name) == 0) return b->f->eqns.v[i];
  ck_abort_msg("no equation of %s", name);
  return NULL;
}

START_TEST(an_equation_may_read_its_own_earlier_elements) {
  Built b = build("fn f(a: f32[T, N], h0: f32[N]) -> s: f32[N] { h[t, i] = a[t, i] * (h[t - 1, i] ?? h0[i])  s[i] = h[T - 1, i] }");
  ck_assert_msg(b.f != NULL, "%s", messages(&b));
  is_sound(&b, b.text);
  const Eqn *h = equation_of(&b, "h"), *s = equation_of(&b, "s");
  ck_assert(h->recurrent && h->scc == 1 && h->order_ix[0] == 0 && h->def->dtype == DT_F32);
  ck_assert(!s->recurrent && s->scc == 0 && s->order_ix[0] == -1);
  arena_destroy(b.a);
} END_TEST

START_TEST(the_index_in_order_may_stand_anywhere_and_be_bounded) {
  Built b = build("fn f(p: f32[T, X], k: i64) -> top: i32[T, k] { top[t, r] = argmax[e](p[t, e] if not any[q < r](top[t, q] == e)) }");
  ck_assert_msg(b.f != NULL, "%s", messages(&b));
  ck_assert_int_eq(equation_of(&b, "top")->order_ix[0], 1);
  arena_destroy(b.a);
  has("fn f(x: f32[T]) -> h: f32[T] { h[t] = x[t] + sum[s <= t - 2](h[s]) }", "sum[s < t - 2 + 1](h[s])");
  has("fn f(x: f32[T]) -> h: f32[T] { h[t] = x[t] + sum[s < t](h[s - 1] ?? 0) }", "h[s - 1] ?? 0.0");
  fails("fn f(x: f32[T]) -> h: f32[T] { h[t] = x[t] + sum[s <= t](h[s]) }", E_recurrence_order);
  fails("fn f(x: f32[T], p: i32[T]) -> h: f32[T] { h[t] = x[t] + (h[p[t]] ?? 0) }", E_recurrence_order);
} END_TEST

START_TEST(equations_that_read_each_other_run_together) {
  Built b = build("fn f(x: f32[T, N], w: f32[N, N]) -> c: f32[T, N] {\n"
                  "  g[t < T, i] = sum[j](w[i, j] * (h[t - 1, j] ?? 0))\n"
                  "  z = exp(x)\n"
                  "  c[t, i] = (c[t - 1, i] ?? 0) + g[t, i] * z[t, i]\n"
                  "  h[t, i] = tanh(c[t, i])\n"
                  "}\n");
  ck_assert_msg(b.f != NULL, "%s", messages(&b));
  is_sound(&b, b.text);
  const char *names[] = {"g", "c", "h"};
  for (int i = 0; i < 3; i++) {
    const Eqn *q = equation_of(&b, names[i]);
    ck_assert(q->recurrent && q->scc == 1 && q->order_ix[0] == 0 && q->def->dtype == DT_F32);
  }
  ck_assert_str_eq(b.f->eqns.v[0]->def->name, "z");         // what a recurrence needs goes before it
  arena_destroy(b.a);
} END_TEST

START_TEST(a_recurrence_takes_the_type_of_the_rest_of_its_expression) {
  Built b = build("fn f(n: i64) -> y: f32 { fib[t < n] = (fib[t - 1] ?? 1) + (fib[t - 2] ?? 0)  g[t < n] = if (h[t - 1] ?? 0) > 1 then fib[t] else (g[t - 1] ?? 0)\n"
                  "  h[t < n] = (h[t - 1] ?? 0) / 2 + g[t]  y = h[n - 1] }");
  ck_assert_msg(b.f != NULL, "%s", messages(&b));
  is_sound(&b, b.text);
  ck_assert(equation_of(&b, "fib")->def->dtype == DT_I32 && equation_of(&b, "fib")->scc == 1);
  ck_assert(equation_of(&b, "g")->def->dtype == DT_I32 && equation_of(&b, "h")->def->dtype == DT_F32);
  ck_assert(equation_of(&b, "g")->scc == 2 && equation_of(&b, "h")->scc == 2);
  arena_destroy(b.a);
} END_TEST

// Formats.

START_TEST(a_format_has_fields_a_value_and_an_encoder) {
  Built b = build("format f4 of 8 {\n  d: f16\n  q: u4[8]\n  two[k < 8] = q[k] * 2\n  value[k] = d * two[k]\n"
                  "  encode(v) {\n    m = max[k](abs(v[k]))\n    d = m / 15\n    q[k] = if d == 0 then 0 else v[k] / d\n  }\n}\n"
                  "fn f(x: f4[N, D]) -> y: f4[N, D] { y = x }");
  ck_assert_msg(b.f != NULL, "%s", messages(&b));
  is_sound(&b, b.text);
  const Format *m = b.f->formats.v[0];
  ck_assert_int_eq(m->bytes, 2 + 4);
  ck_assert_int_eq(m->field[1].offset, 2);
  ck_assert_int_eq(m->nencode, 3);
  ck_assert(m->value->dtype == DT_F32 && m->encode[1].field == &m->field[0] && m->encode[0].field == NULL);
  arena_destroy(b.a);
} END_TEST

START_TEST(fields_are_read_in_range_for_every_value_of_the_block) {
  fails("format h of 4 { q: i8[4]  value[k] = q[k] + q[k + 1] }", E_out_of_bounds);
  fails("format h of 4 { q: i8[4]  value[k] = q[q[k]] }", E_out_of_bounds);
  has("format h of 4 { q: i8[4]  value[k] = q[k] + (if k < 3 then q[k + 1] else 0) }\nfn f(x: h[4]) -> y: f32[4] { y = x }",
      "value[k]");
  has("const t = [1.0, 2.0]\nformat h of 4 { q: i8[4]  value[k] = t[q[k] & 1] }\nfn f(x: h[4]) -> y: f32[4] { y = x }",
      "t[q[k] & 1]");
} END_TEST

// Scopes.

typedef struct Files { const char *name, *text; } Files;

static bool read_files(void *cx, Arena *a, const char *from, const char *path, ImportText *out) {
  (void)a, (void)from;
  for (const Files *f = cx; f->name; f++)
    if (strcmp(f->name, path) == 0) return *out = (ImportText){f->name, f->text, strlen(f->text), NULL}, true;
  out->error = "no such file";
  return false;
}

START_TEST(own_names_hide_imported_ones_and_these_the_librarys) {
  Files files[] = {{"one", "const k = 1\nfn relu(x: f32) -> y: f32 { y = x + k }\nimport \"two\""},
                   {"two", "const k = 2\nconst deep = 3"}, {0}};
  Built b = build_with("import \"one\"\nconst k = 10\nfn f(x: f32[N]) -> y: f32[N] { y[i] = relu(x[i]) * k }", read_files, files);
  ck_assert_msg(b.f != NULL, "%s", messages(&b));
  ck_assert_msg(strstr(b.text, "(x[i] + 1.0) * 10.0") != NULL, "%s", b.text);
  arena_destroy(b.a);
  b = build_with("import \"one\"\nfn f(x: f32[N]) -> y: f32[N] { y[i] = x[i] * deep }", read_files, files);     // not passed on
  ck_assert(b.f == NULL && b.d->list.v[0]->code == E_unknown_name);
  arena_destroy(b.a);
} END_TEST

START_TEST(imports_are_read_once_and_without_cycles) {
  Files good[] = {{"a", "import \"c\"\nfn a(x: f32) -> y: f32 { y = c(x) }"},
                  {"b", "import \"c\"\nfn b(x: f32) -> y: f32 { y = c(x) }"},
                  {"c", "fn c(x: f32) -> y: f32 { y = x }"}, {0}};
  Built b = build_with("import \"a\"\nimport \"b\"\nimport \"a\"\nfn f(x: f32) -> y: f32 { y = a(x) + b(x) }", read_files, good);
  ck_assert_msg(b.f != NULL, "%s", messages(&b));
  arena_destroy(b.a);
  Files bad[] = {{"a", "import \"b\""}, {"b", "import \"a\""}, {0}};
  b = build_with("import \"a\"\nfn f(x: f32) -> y: f32 { y = x }", read_files, bad);
  ck_assert(b.d->errors == 1 && b.d->list.v[0]->code == E_import_cycle);
  arena_destroy(b.a);
} END_TEST

START_TEST(entry_points_have_concrete_types) {
  Built b = build("fn a(x: T[N]) -> y: T[N] { y = x }\nfn f(x: q8_0[32]) -> y: f32[32] { y = x }\nfn c(x: f32[.., N]) -> y: f32[.., N] { y = x }");
  Name name[4];
  ck_assert_int_eq(program_entries(b.p, name, 4), 1);
  ck_assert_str_eq(name[0], "f");
  ck_assert(program_elaborate(b.p, NULL, b.a) != NULL);
  ck_assert(program_elaborate(b.p, "a", b.a) == NULL && b.d->list.v[0]->code == E_generic_entry);
  arena_destroy(b.a);
  b = build("fn g(x: f32) -> y: f32 { y = x }");
  ck_assert(b.f == NULL && b.d->list.v[0]->code == E_unknown_entry);
  arena_destroy(b.a);
} END_TEST

START_TEST(generic_functions_are_checked_without_a_call) {
  fails("fn g(x: T[.., N]) -> y: T[..] { y[..] = x[.., 0] & 0.5 }", E_operand_type);
  fails("fn g(x: T[.., N]) -> y: T[..] { y[..] = sum[j](x[j]) }", E_rank_mismatch);
  Built b = build("fn at(x: T[.., N], i: I[..]) -> y: T[..] { y[..] = x[.., i[..]] }\nfn f(x: f32) -> y: f32 { y = x }");
  ck_assert_msg(program_check(b.p), "%s", messages(&b));     // I must be an integer, which is tried
  arena_destroy(b.a);
} END_TEST

// Limits.

typedef struct Text { char *s; size_t n, cap; } Text;

static void add(Text *t, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  if (t->cap - t->n < 4096) t->s = realloc(t->s, t->cap = 2 * t->cap + (1 << 16));
  t->n += (size_t)vsnprintf(t->s + t->n, t->cap - t->n, fmt, ap);
  va_end(ap);
}

static void fails_and_free(Text *t, Code code) {
  fails(t->s, code);
  free(t->s);
}

START_TEST(calls_nest_so_deep_and_no_deeper) {
  for (int deep = 0; deep < 2; deep++) {
    Text t = {0};
    int n = deep ? LIMIT_CALL_DEPTH + 2 : LIMIT_CALL_DEPTH - 2;
    add(&t, "fn g0(x: f32[N]) -> y: f32[N] { y = x * 2 }\n");
    for (int i = 1; i < n; i++) add(&t, "fn g%d(x: f32[N]) -> y: f32[N] { y = g%d(x) }\n", i, i - 1);
    Built b = {.a = arena_create()};
    b.d = diags_create(b.a);
    b.p = program_load(b.a, intern_create(b.a), b.d, "a", t.s, t.n, NULL, NULL);
    ck_assert(program_check(b.p) == !deep);
    if (deep) ck_assert(b.d->list.v[0]->code == E_limit_calls);
    arena_destroy(b.a);
    free(t.s);
  }
} END_TEST

START_TEST(calls_that_double_end_with_a_limit) {
  Text t = {0};
  add(&t, "fn g0(x: f32) -> y: f32 { y = x * 2 }\n");
  for (int i = 1; i < 60; i++) add(&t, "fn g%d(x: T) -> y: T { y = g%d(x) + g%d(x) }\n", i, i - 1, i - 1);
  add(&t, "fn f(x: f32[N]) -> y: f32[N] { y = g59(x) }\n");
  fails_and_free(&t, E_limit_nodes);
} END_TEST

START_TEST(equations_that_double_end_with_a_limit) {
  Text t = {0};
  add(&t, "fn g0(x: T[N]) -> y: T[N] { y = x * 2 }\n");
  for (int i = 1; i < 30; i++) add(&t, "fn g%d(x: T[N]) -> y: T[N] { a = g%d(x)  b = g%d(a)  y = a + b }\n", i, i - 1, i - 1);
  add(&t, "fn f(x: f32[N]) -> y: f32[N] { y = g29(x) }\n");
  Built b = build(t.s);
  ck_assert(b.f == NULL && b.d->errors == 1);
  Code c = b.d->list.v[0]->code;
  ck_assert_msg(c == E_limit_equations || c == E_limit_nodes, "%s", messages(&b));
  arena_destroy(b.a);
  free(t.s);
} END_TEST

START_TEST(deep_expressions_end_with_a_limit) {
  Text t = {0};
  add(&t, "fn g0(x: T) -> y: T { y = x }\n");
  for (int i = 1; i < 50; i++) {
    add(&t, "fn g%d(x: T) -> y: T { y = g%d(", i, i - 1);
    for (int k = 0; k < 40; k++) add(&t, "-(x + 1) * (");
    add(&t, "x");
    for (int k = 0; k < 40; k++) add(&t, ")");
    add(&t, ") }\n");
  }
  add(&t, "fn f(x: f32[N]) -> y: f32[N] { y = g49(x) }\n");
  Built b = build(t.s);
  ck_assert(b.f == NULL && b.d->errors == 1);
  ck_assert_msg(b.d->list.v[0]->code == E_limit_depth, "%s", messages(&b));
  arena_destroy(b.a);
  free(t.s);
} END_TEST

START_TEST(parameters_and_tables_have_limits) {
  Text t = {0};
  add(&t, "fn g(");
  for (int i = 0; i < LIMIT_PARAMS + 1; i++) add(&t, "%sx%d: f32", i ? ", " : "", i);
  add(&t, ") -> y: f32 { y = x0 }\n");
  fails_and_free(&t, E_limit_params);
  Text u = {0};
  add(&u, "const t = [0");
  for (int i = 0; i < LIMIT_TABLE; i++) add(&u, ",1");
  add(&u, "]\n");
  fails_and_free(&u, E_limit_table);
} END_TEST

static bool read_next(void *cx, Arena *a, const char *from, const char *path, ImportText *out) {
  (void)cx, (void)from;
  const char *text = arena_printf(a, "import \"%d\"\n", atoi(path) + 1);
  *out = (ImportText){arena_printf(a, "%s", path), text, strlen(text), NULL};
  return true;
}

START_TEST(files_have_limits) {
  Built b = build_with("import \"1\"\nfn f(x: f32) -> y: f32 { y = x }", read_next, NULL);
  ck_assert(b.d->errors == 1 && b.d->list.v[0]->code == E_limit_imports);
  arena_destroy(b.a);
  char *text = malloc(LIMIT_SOURCE_BYTES + 2);
  memset(text, ' ', LIMIT_SOURCE_BYTES + 1);
  text[LIMIT_SOURCE_BYTES + 1] = '\0';
  b = build(text);
  ck_assert(b.d->errors == 1 && b.d->list.v[0]->code == E_limit_source);
  arena_destroy(b.a);
  free(text);
} END_TEST

START_TEST(very_many_subscripts_and_errors_end_soon) {
  Text t = {0}, u = {0};
  add(&t, "fn f(x: f32[N]) -> y: f32[N] {\n  y[i0");
  for (int i = 1; i < 100000; i++) add(&t, ",i%d", i);
  add(&t, "] = sum[j0");
  for (int i = 1; i < 100000; i++) add(&t, ",j%d", i);
  add(&t, "](x[j0])\n}\n");
  Built b = build(t.s);
  ck_assert(b.f == NULL && b.d->errors > 0);
  arena_destroy(b.a);
  free(t.s);
  add(&u, "fn f(x: f32[N]) -> y: f32[N] {\n");
  for (int i = 0; i < 20000; i++) add(&u, "  a%d = unknown%d + x\n", i, i);
  add(&u, "  y = x\n}\n");
  b = build(u.s);
  ck_assert_int_eq(b.d->errors, 20000);
  arena_destroy(b.a);
  free(u.s);
} END_TEST

START_TEST(many_statements_take_a_short_time) {
  Text t = {0};
  add(&t, "fn f(x: f32[N]) -> y: f32[N] {\n  t0 = x\n");
  for (int i = 1; i < 20000; i++) add(&t, "  t%d[i] = t%d[i] + 1\n", i, i - 1);
  add(&t, "  y = t19999\n}\n");
  Built b = build(t.s);
  ck_assert_msg(b.f != NULL, "%.1000s", messages(&b));
  ck_assert_int_eq(b.f->eqns.n, 20001);
  arena_destroy(b.a);
  free(t.s);
} END_TEST

START_TEST(a_large_recurrence_takes_a_short_time) {
  Text t = {0};
  add(&t, "fn f(x: f32[T]) -> y: f32[T] {\n");
  for (int i = 0; i < 300; i++) add(&t, "  h%d[t] = (h%d[t - 1] ?? 0) + x[t]\n", i, (i + 7) % 300);
  add(&t, "  y[t] = h0[t]\n}\n");
  Built b = build(t.s);
  ck_assert_msg(b.f != NULL, "%.1000s", messages(&b));
  arena_destroy(b.a);
  free(t.s);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    every_program_of_the_language_page_elaborates_and_reads_back, the_library_checks, a_lone_subscript_gives_the_extent,
    a_bound_goes_before_a_declared_shape_before_subscripts, extents_that_may_differ_are_compared_at_the_call,
    a_stated_equality_is_used_and_not_repeated, a_guarded_subscript_gives_an_extent_when_no_other_does,
    a_guard_that_computes_with_the_index_needs_a_bound_beside_a_longer_subscript,
    a_guard_inside_a_function_guards_the_reads_in_its_arguments, ranges_may_depend_on_indices_and_data,
    a_scalar_equation_over_dimensions_can_be_an_extent, reads_that_surely_leave_a_tensor_are_reported,
    whole_tensors_broadcast_from_the_last_dimension, only_the_constant_one_stretches,
    a_scalar_function_works_elementwise_with_all_that_is_in_it, mixed_operands_are_joined,
    a_const_without_a_type_is_a_literal, a_shift_count_never_wraps_into_range, storing_rounds_and_reading_widens,
    a_default_of_another_type_keeps_its_value, a_local_of_a_scalar_function_is_checked_where_it_is_read,
        locals_of_a_called_function_are_named_after_what_they_serve,
    an_argument_is_rounded_to_its_parameters_type, a_scalar_fills_a_tensor_parameter, dimensions_of_a_call_are_solved,
    entry_dimensions_have_sources, where_conditions_of_called_functions_become_the_callers, several_results_and_defaults,
    dots_stand_for_any_leading_dimensions, updates_make_versions, the_right_side_gives_an_updates_extents_before_the_left,
    mut_arguments_are_changed_by_the_function_called, an_update_of_a_format_covers_rows,
    an_equation_may_read_its_own_earlier_elements, the_index_in_order_may_stand_anywhere_and_be_bounded,
    equations_that_read_each_other_run_together, a_recurrence_takes_the_type_of_the_rest_of_its_expression,
    a_format_has_fields_a_value_and_an_encoder, fields_are_read_in_range_for_every_value_of_the_block,
    own_names_hide_imported_ones_and_these_the_librarys, imports_are_read_once_and_without_cycles,
    entry_points_have_concrete_types, generic_functions_are_checked_without_a_call, calls_nest_so_deep_and_no_deeper,
    calls_that_double_end_with_a_limit, equations_that_double_end_with_a_limit, deep_expressions_end_with_a_limit,
    parameters_and_tables_have_limits, files_have_limits, very_many_subscripts_and_errors_end_soon,
        many_statements_take_a_short_time, a_large_recurrence_takes_a_short_time,
  };
  return UNIT_RUN("sema", tests);
}
