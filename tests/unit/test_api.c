// The public interface, through plait.h alone.
#include "plait.h"
#include "unit.h"
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char scale_text[] = "fn scale(x: f32[N, D], k: f32 = 2.0) -> y: f32[N, D] {\n  y[i, j] = x[i, j] * k\n}\n";
static const char rows_text[] =
  "fn rows(x: f32[N, D]) -> y: f32[N, D] {\n  m[i]    = max[j](x[i, j])\n  z[i]    = sum[j](exp(x[i, j] - m[i]))\n"
  "  y[i, j] = exp(x[i, j] - m[i]) / z[i]\n}\n";
static const char gather_text[] = "fn gather(t: f32[V], ids: i32[T]) -> y: f32[T] {\n  y[n] = t[ids[n]]\n}\n";
static const char append_text[] = "fn append(mut c: f32[S], k: f32, pos: i64) {\n  c[pos] <- k\n}\n";
static const char blocks_text[] = "fn get(w: q8_0[K]) -> y: f32[K] { y[k] = w[k] }\n";

static plait_context *cx;
static plait_program *program;
static const plait_entry *entry;
static plait_messages *messages;

static void close_all(void) {
  plait_messages_free(messages);
  plait_program_free(program);
  plait_context_free(cx);
  messages = NULL;
  program = NULL;
  cx = NULL;
}

static plait_status compile(const char *text) {
  plait_context_options o = {.struct_size = sizeof o, .ignore_environment = 1, .compiler = PLAIT_COMPILER_AUTO};
  if (!cx) ck_assert_int_eq(plait_context_create(&o, &cx, NULL), PLAIT_OK);
  return plait_compile(cx, "test.plait", text, strlen(text), NULL, &program, &messages);
}

static void open_entry(const char *text) {
  ck_assert_int_eq(compile(text), PLAIT_OK);
  ck_assert_ptr_null(messages);
  ck_assert_int_eq(plait_program_find(program, NULL, &entry, NULL), PLAIT_OK);
}

static plait_exec *prepare(const char *target) {
  plait_exec *x = NULL;
  plait_messages *m = NULL;
  plait_status s = plait_prepare(entry, target, NULL, &x, &m);
  char *text = NULL;
  if (s && m) plait_messages_render(m, PLAIT_STYLE_TEXT, &text, NULL);
  ck_assert_msg(s == PLAIT_OK, "%s", text ? text : plait_status_text(s));
  plait_messages_free(m);
  return x;
}

static plait_tensor tensor(plait_dtype d, void *data, size_t bytes, int rank, int64_t a, int64_t b) {
  return (plait_tensor){.data = data, .dtype = d, .rank = rank, .extent = {a, b}, .bytes = bytes};
}

// The first message of a refused call has this code; the messages are freed.
static bool said(const char *code) {
  plait_message v = {.struct_size = sizeof v};
  bool same = plait_messages_get(messages, 0, &v) == PLAIT_OK && strcmp(v.code, code) == 0;
  if (!same) fprintf(stderr, "said %s: %s\n", v.code ? v.code : "nothing", v.text ? v.text : "");
  plait_messages_free(messages);
  messages = NULL;
  return same;
}

START_TEST(the_library_is_of_the_headers_version) {
  char text[32];
  snprintf(text, sizeof text, "%d.%d.%d", PLAIT_VERSION_MAJOR, PLAIT_VERSION_MINOR, PLAIT_VERSION_PATCH);
  ck_assert_str_eq(plait_version(), text);
  ck_assert_int_eq(plait_abi(), PLAIT_ABI);
} END_TEST

START_TEST(every_status_has_a_text) {
  for (int s = 1; s > -10; s--) ck_assert_ptr_nonnull(plait_status_text((plait_status)s));
} END_TEST

START_TEST(null_is_a_usage_error_or_nothing) {
  plait_context_free(NULL);
  plait_program_free(NULL);
  plait_exec_free(NULL);
  plait_messages_free(NULL);
  plait_report_free(NULL);
  plait_doctor_free(NULL);
  plait_free(NULL);
  ck_assert_int_eq(plait_context_create(NULL, NULL, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_compile(NULL, "", "", 0, NULL, &program, NULL), PLAIT_ERROR_USAGE);
  ck_assert_uint_eq(plait_messages_count(NULL), 0);
  ck_assert_uint_eq(plait_program_entry_count(NULL), 0);
  ck_assert_ptr_null(plait_program_entry(NULL, 0));
  ck_assert_int_eq(plait_launch(NULL, NULL, 0, NULL, 0, NULL, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_prepare(NULL, "ref", NULL, NULL, NULL), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_explain(NULL, NULL, NULL, NULL), PLAIT_ERROR_USAGE);
} END_TEST

START_TEST(bad_context_options_are_refused_with_a_message) {
  plait_context_options o = {.struct_size = sizeof o, .threads = -1};
  ck_assert_int_eq(plait_context_create(&o, &cx, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLE0109"));
  o = (plait_context_options){.struct_size = sizeof o, .cc = "gcc"};
  ck_assert_int_eq(plait_context_create(&o, &cx, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLE0109"));
  o = (plait_context_options){.struct_size = sizeof o, .imports = PLAIT_IMPORTS_READER};
  ck_assert_int_eq(plait_context_create(&o, &cx, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLE0109"));
  ck_assert_ptr_null(cx);
} END_TEST

START_TEST(a_shorter_options_struct_of_an_older_header_is_read_as_far_as_it_goes) {
  plait_context_options o = {.struct_size = offsetof(plait_context_options, compiler), .threads = 1, .compiler = (plait_compiler)99};
  ck_assert_int_eq(plait_context_create(&o, &cx, NULL), PLAIT_OK);
  close_all();
} END_TEST

START_TEST(a_shorter_output_struct_is_not_written_beyond) {
  open_entry(scale_text);
  plait_entry_info info;
  memset(&info, 0x55, sizeof info);
  info.struct_size = offsetof(plait_entry_info, nparams);
  ck_assert_int_eq(plait_entry_get(entry, &info), PLAIT_OK);
  ck_assert_str_eq(info.name, "scale");
  ck_assert_uint_eq(info.nresults, (size_t)0x5555555555555555);
  ck_assert_uint_eq(info.struct_size, offsetof(plait_entry_info, nparams));
  close_all();
} END_TEST

START_TEST(a_wrong_program_says_where_and_what) {
  ck_assert_int_eq(compile("fn f(x: f32[N]) -> y: f32[N] {\n  y[i] = z[i]\n}\n"), PLAIT_ERROR_PROGRAM);
  ck_assert_ptr_null(program);
  ck_assert_uint_eq(plait_messages_count(messages), 1);
  plait_message m = {.struct_size = sizeof m};
  ck_assert_int_eq(plait_messages_get(messages, 0, &m), PLAIT_OK);
  ck_assert_str_eq(m.at.file, "test.plait");
  ck_assert_int_eq(m.at.line, 2);
  ck_assert_int_eq(m.at.column, 10);
  ck_assert_int_eq(m.severity, PLAIT_ERROR);
  ck_assert_int_eq(m.status, PLAIT_ERROR_PROGRAM);
  plait_code code = {.struct_size = sizeof code};
  ck_assert_int_eq(plait_code_find(m.code, &code), PLAIT_OK);
  ck_assert_int_eq(plait_messages_get(messages, 1, &m), PLAIT_ERROR_USAGE);
  close_all();
} END_TEST

START_TEST(messages_outlive_all_that_they_came_from) {
  compile("fn f(x: f32[N]) -> y: f32[N] {\n  y[i] = z[i]\n}\n");
  plait_context_free(cx);
  cx = NULL;
  for (int style = PLAIT_STYLE_TEXT; style <= PLAIT_STYLE_JSON; style++) {
    char *text = NULL;
    size_t n = 0;
    ck_assert_int_eq(plait_messages_render(messages, (plait_style)style, &text, &n), PLAIT_OK);
    ck_assert_uint_eq(strlen(text), n);
    ck_assert_ptr_nonnull(strstr(text, "PLT"));
    plait_free(text);
  }
  close_all();
} END_TEST

START_TEST(text_beyond_the_limit_is_refused_and_the_limit_can_be_lowered) {
  plait_context_options o = {.struct_size = sizeof o, .max_source_bytes = 16};
  ck_assert_int_eq(plait_context_create(&o, &cx, NULL), PLAIT_OK);
  ck_assert_int_eq(compile(scale_text), PLAIT_ERROR_LIMIT);
  ck_assert(said("PLL0101"));
  close_all();
} END_TEST

START_TEST(text_need_not_end_with_nul) {
  char *own = malloc(sizeof scale_text - 1);
  memcpy(own, scale_text, sizeof scale_text - 1);
  plait_context_create(NULL, &cx, NULL);
  ck_assert_int_eq(plait_compile(cx, "a", own, sizeof scale_text - 1, NULL, &program, NULL), PLAIT_OK);
  free(own);
  ck_assert_uint_eq(plait_program_entry_count(program), 1);
  close_all();
} END_TEST

static int read_one(void *user, const char *path, const char **text, size_t *size) {
  static const char other[] = "fn twice(x: f32) -> y: f32 { y = 2 * x }\n";
  ++*(int *)user;
  if (strcmp(path, "lib/other.plait") != 0) return 1;
  *text = other;
  *size = sizeof other - 1;
  return 0;
}

START_TEST(imports_go_through_the_reader_or_nowhere) {
  static const char text[] = "import \"./x/../other.plait\"\nfn f(x: f32[N]) -> y: f32[N] { y[i] = twice(x[i]) }\n";
  int asked = 0;
  plait_context_options o = {.struct_size = sizeof o, .imports = PLAIT_IMPORTS_READER, .reader = read_one, .reader_user = &asked};
  ck_assert_int_eq(plait_context_create(&o, &cx, NULL), PLAIT_OK);
  ck_assert_int_eq(plait_compile(cx, "lib/main.plait", text, sizeof text - 1, NULL, &program, NULL), PLAIT_OK);
  ck_assert_int_eq(asked, 1);
  close_all();
  o.imports = PLAIT_IMPORTS_NONE;
  ck_assert_int_eq(plait_context_create(&o, &cx, NULL), PLAIT_OK);
  ck_assert_int_eq(plait_compile(cx, "lib/main.plait", text, sizeof text - 1, NULL, &program, &messages), PLAIT_ERROR_PROGRAM);
  ck_assert_int_eq(asked, 1);
  close_all();
} END_TEST

START_TEST(a_signature_names_kinds_types_and_extents) {
  open_entry("fn f(mut c: q8_0[N, 2 * D], x: bf16[N, D], k: i64, e: f32 = 1e-5) -> (y: f16[N], z: f32) {\n"
             "  y[i] = sum[j](x[i, j])\n  z = e\n  c[i, j] <- f32(k)\n}\n");
  plait_entry_info info = {.struct_size = sizeof info};
  plait_param p = {.struct_size = sizeof p};
  plait_entry_get(entry, &info);
  ck_assert_uint_eq(info.nparams, 4);
  ck_assert_uint_eq(info.nresults, 2);
  ck_assert_uint_eq(info.ndims, 2);
  ck_assert_int_eq(info.at.line, 1);
  plait_entry_param(entry, 0, &p);
  ck_assert_int_eq(p.kind, PLAIT_MUT);
  ck_assert_int_eq(p.dtype, PLAIT_BLOCKS);
  ck_assert_str_eq(p.format, "q8_0");
  ck_assert_int_eq(p.block_values, 32);
  ck_assert_int_eq(p.block_bytes, 34);
  ck_assert_int_eq(p.rank, 2);
  plait_entry_param(entry, 1, &p);
  ck_assert_int_eq(p.kind, PLAIT_TENSOR);
  ck_assert_int_eq(p.dtype, PLAIT_BF16);
  ck_assert_str_eq(p.extent[1], "D");
  plait_entry_param(entry, 2, &p);
  ck_assert_int_eq(p.kind, PLAIT_SCALAR);
  ck_assert_ptr_null(p.init);
  plait_entry_param(entry, 3, &p);
  ck_assert_ptr_nonnull(p.init);
  plait_entry_result(entry, 1, &p);
  ck_assert_int_eq(p.kind, PLAIT_RESULT);
  ck_assert_int_eq(p.rank, 0);
  ck_assert_int_eq(plait_entry_param(entry, 4, &p), PLAIT_ERROR_USAGE);
  ck_assert_ptr_null(plait_entry_dim(entry, 2));
  plait_field f = {.struct_size = sizeof f};
  ck_assert_int_eq(plait_entry_field(entry, "q8_0", 1, &f), PLAIT_OK);
  ck_assert_str_eq(f.name, "q");
  ck_assert_int_eq(f.offset, 2);
  ck_assert_int_eq(f.count, 32);
  ck_assert_int_eq(plait_entry_field(entry, "q8_0", 2, &f), PLAIT_ERROR_USAGE);
  close_all();
} END_TEST

START_TEST(entries_are_found_by_name_or_when_alone) {
  ck_assert_int_eq(compile("fn a(x: f32[N]) -> y: f32[N] { y[i] = x[i] }\nfn b(x: f32[N]) -> y: f32[N] { y[i] = x[i] }\n"), PLAIT_OK);
  ck_assert_int_eq(plait_program_find(program, "b", &entry, NULL), PLAIT_OK);
  ck_assert_ptr_eq(entry, plait_program_entry(program, 1));
  ck_assert_int_eq(plait_program_find(program, NULL, &entry, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLT0509"));
  ck_assert_int_eq(plait_program_find(program, "c", &entry, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLT0509"));
  close_all();
} END_TEST

START_TEST(extents_follow_from_any_argument_that_decides_them) {
  open_entry("fn f(x: f32[N, H * E], w: f32[H, E], n: i64) -> (y: f32[N, H], z: f32[n]) {\n"
             "  y[i, h] = sum[e](x[i, h * E + e] * w[h, e])\n  z[i] = f32(i)\n}\n");
  int64_t n = 5, dims[3];
  plait_tensor p[3] = {tensor(PLAIT_F32, NULL, 0, 2, 7, 12), tensor(PLAIT_F32, NULL, 0, -1, 0, 0), tensor(PLAIT_I64, &n, 8, 0, 0, 0)};
  plait_dim e = {"E", 4};
  plait_shape params[3], results[2];
  ck_assert_int_eq(plait_entry_infer(entry, p, 3, &e, 1, dims, params, results, NULL), PLAIT_OK);
  ck_assert_int_eq(params[1].extent[0], 3);
  ck_assert_int_eq(results[0].extent[1], 3);
  ck_assert_int_eq(results[1].extent[0], 5);
  ck_assert_int_eq(plait_entry_infer(entry, p, 3, NULL, 0, dims, params, results, &messages), PLAIT_ERROR_DATA);
  ck_assert(said("PLD0103"));
  e.value = 5;                                   // 12 is no multiple
  ck_assert_int_eq(plait_entry_infer(entry, p, 3, &e, 1, dims, params, results, &messages), PLAIT_ERROR_DATA);
  plait_messages_free(messages);
  messages = NULL;
  e.name = "Q";
  ck_assert_int_eq(plait_entry_infer(entry, p, 3, &e, 1, dims, params, results, &messages), PLAIT_ERROR_USAGE);
  close_all();
} END_TEST

START_TEST(extents_that_no_tensor_can_have_are_refused) {
  open_entry(scale_text);
  plait_tensor p[2] = {tensor(PLAIT_F32, NULL, 0, 2, -1, 4), {.dtype = PLAIT_F32}};
  plait_shape r;
  ck_assert_int_eq(plait_entry_infer(entry, p, 2, NULL, 0, NULL, NULL, &r, &messages), PLAIT_ERROR_DATA);
  ck_assert(said("PLD0109"));
  p[0].extent[0] = (int64_t)1 << 39;
  ck_assert_int_eq(plait_entry_infer(entry, p, 2, NULL, 0, NULL, NULL, &r, &messages), PLAIT_ERROR_LIMIT);
  ck_assert(said("PLL0113"));
  p[0].rank = 1;
  ck_assert_int_eq(plait_entry_infer(entry, p, 2, NULL, 0, NULL, NULL, &r, &messages), PLAIT_ERROR_DATA);
  ck_assert(said("PLD0108"));
  close_all();
} END_TEST

START_TEST(bytes_follow_the_type) {
  plait_param p = {.struct_size = sizeof p, .dtype = PLAIT_I4, .rank = 2, .block_values = 1};
  plait_shape s = {2, {3, 4}};
  ck_assert_int_eq(plait_param_bytes(&p, &s), 6);
  s.extent[1] = 5;
  ck_assert_int_eq(plait_param_bytes(&p, &s), -1);
  p = (plait_param){.struct_size = sizeof p, .dtype = PLAIT_BLOCKS, .rank = 2, .block_values = 32, .block_bytes = 34};
  s.extent[1] = 64;
  ck_assert_int_eq(plait_param_bytes(&p, &s), 3 * 2 * 34);
  s.extent[1] = 65;
  ck_assert_int_eq(plait_param_bytes(&p, &s), -1);
  s.rank = 1;
  ck_assert_int_eq(plait_param_bytes(&p, &s), -1);
} END_TEST

static void launch_scale(const char *target) {
  float x[6] = {1, 2, 3, 4, 5, 6}, y[6] = {0}, k = 10;
  plait_exec *exec = prepare(target);
  plait_tensor p[2] = {tensor(PLAIT_F32, x, sizeof x, 2, 2, 3), {.dtype = PLAIT_F32}}, r = tensor(PLAIT_F32, y, sizeof y, 2, 2, 3);
  ck_assert_int_eq(plait_launch(exec, p, 2, &r, 1, NULL, NULL), PLAIT_OK);
  for (int i = 0; i < 6; i++) ck_assert(y[i] == 2 * x[i]);
  p[1] = tensor(PLAIT_F32, &k, sizeof k, 0, 0, 0);
  ck_assert_int_eq(plait_launch(exec, p, 2, &r, 1, NULL, NULL), PLAIT_OK);
  for (int i = 0; i < 6; i++) ck_assert(y[i] == 10 * x[i]);
  plait_exec_free(exec);
}

START_TEST(an_entry_runs_interpreted_and_compiled) {
  open_entry(scale_text);
  launch_scale("ref");
  launch_scale("c");
  close_all();
} END_TEST

START_TEST(executables_outlive_program_and_context) {
  open_entry(scale_text);
  plait_exec *exec = prepare("ref");
  close_all();
  float x = 3, y = 0;
  plait_tensor p[2] = {tensor(PLAIT_F32, &x, 4, 2, 1, 1), {.dtype = PLAIT_F32}}, r = tensor(PLAIT_F32, &y, 4, 2, 1, 1);
  ck_assert_int_eq(plait_launch(exec, p, 2, &r, 1, NULL, NULL), PLAIT_OK);
  ck_assert(y == 6);
  plait_exec_free(exec);
} END_TEST

// One way to go wrong for each check; x[2, 3] and y[2, 3] are good before.
typedef struct Wrong { const char *what; plait_status status; const char *code; void (*spoil)(plait_tensor *x, plait_tensor *y); } Wrong;
static void bad_dtype(plait_tensor *x, plait_tensor *y) { x->dtype = PLAIT_I32; (void)y; }
static void bad_rank(plait_tensor *x, plait_tensor *y) { x->rank = 1; (void)y; }
static void bad_extent(plait_tensor *x, plait_tensor *y) { y->extent[1] = 2; (void)x; }
static void negative(plait_tensor *x, plait_tensor *y) { x->extent[0] = -2; (void)y; }
static void no_data(plait_tensor *x, plait_tensor *y) { y->data = NULL; (void)x; }
static void too_small(plait_tensor *x, plait_tensor *y) { x->bytes = 23; (void)y; }
static void misaligned(plait_tensor *x, plait_tensor *y) { x->data = (char *)x->data + 1; (void)y; }
static void overlapping(plait_tensor *x, plait_tensor *y) { y->data = (char *)x->data + 4; }
static void same(plait_tensor *x, plait_tensor *y) { y->data = x->data; }
static void strided(plait_tensor *x, plait_tensor *y) {
  static const int64_t stride[2] = {1, 2};
  x->stride = stride;
  (void)y;
}
static const Wrong wrongs[] = {
  {"dtype", PLAIT_ERROR_DATA, "PLD0106", bad_dtype}, {"rank", PLAIT_ERROR_DATA, "PLD0108", bad_rank},
  {"result extent", PLAIT_ERROR_DATA, "PLD0103", bad_extent}, {"negative", PLAIT_ERROR_DATA, "PLD0109", negative},
  {"null", PLAIT_ERROR_DATA, "PLD0113", no_data}, {"bytes", PLAIT_ERROR_DATA, "PLD0113", too_small},
  {"alignment", PLAIT_ERROR_DATA, "PLD0113", misaligned}, {"overlap", PLAIT_ERROR_DATA, "PLD0107", overlapping},
  {"alias", PLAIT_ERROR_DATA, "PLD0107", same}, {"strides", PLAIT_ERROR_DATA, "PLD0113", strided},
};

START_TEST(a_refused_launch_changes_nothing) {
  open_entry(scale_text);
  plait_exec *exec = prepare("ref");
  for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[6] = {9, 9, 9, 9, 9, 9}, before[8], after[6];
    memcpy(before, x, sizeof x);
    memcpy(after, y, sizeof y);
    plait_tensor p[2] = {tensor(PLAIT_F32, x, sizeof x, 2, 2, 3), {.dtype = PLAIT_F32}}, r = tensor(PLAIT_F32, y, sizeof y, 2, 2, 3);
    wrongs[i].spoil(&p[0], &r);
    ck_assert_msg(plait_launch(exec, p, 2, &r, 1, NULL, &messages) == wrongs[i].status, "%s", wrongs[i].what);
    ck_assert_msg(said(wrongs[i].code), "%s", wrongs[i].what);
    ck_assert_mem_eq(x, before, sizeof x);
    ck_assert_mem_eq(y, after, sizeof y);
  }
  ck_assert_int_eq(plait_launch(exec, NULL, 0, NULL, 0, NULL, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLD0111"));
  plait_exec_free(exec);
  close_all();
} END_TEST

START_TEST(strides_of_a_dense_tensor_are_accepted) {
  open_entry(scale_text);
  plait_exec *exec = prepare("ref");
  float x[2] = {1, 2}, y[2];
  int64_t stride[2] = {77, 1};                   // of an extent of 1: never used
  plait_tensor p[2] = {tensor(PLAIT_F32, x, sizeof x, 2, 1, 2), {.dtype = PLAIT_F32}}, r = tensor(PLAIT_F32, y, sizeof y, 2, 1, 2);
  p[0].stride = stride;
  ck_assert_int_eq(plait_launch(exec, p, 2, &r, 1, NULL, NULL), PLAIT_OK);
  plait_exec_free(exec);
  close_all();
} END_TEST

START_TEST(empty_tensors_need_no_memory) {
  open_entry(scale_text);
  plait_exec *exec = prepare("ref");
  plait_tensor p[2] = {tensor(PLAIT_F32, NULL, 0, 2, 0, 3), {.dtype = PLAIT_F32}}, r = tensor(PLAIT_F32, NULL, 0, 2, 0, 3);
  ck_assert_int_eq(plait_launch(exec, p, 2, &r, 1, NULL, NULL), PLAIT_OK);
  plait_exec_free(exec);
  close_all();
} END_TEST

static void fault_of(const char *target) {
  plait_exec *exec = prepare(target);
  float t[3] = {1, 2, 3}, y[4];
  int32_t ids[4] = {0, 2, 7, 1};
  plait_tensor p[2] = {tensor(PLAIT_F32, t, sizeof t, 1, 3, 0), tensor(PLAIT_I32, ids, sizeof ids, 1, 4, 0)}, r = tensor(PLAIT_F32, y, sizeof y, 1, 4, 0);
  ck_assert_int_eq(plait_launch(exec, p, 2, &r, 1, NULL, &messages), PLAIT_ERROR_DATA);
  plait_fault f = {.struct_size = sizeof f};
  ck_assert_int_eq(plait_message_fault(messages, 0, &f), PLAIT_OK);
  ck_assert_str_eq(f.equation, "y");
  ck_assert_str_eq(f.tensor, "t");
  ck_assert_int_eq(f.subscript, 0);
  ck_assert_int_eq(f.value, 7);
  ck_assert_int_eq(f.extent, 3);
  plait_message m = {.struct_size = sizeof m};
  plait_messages_get(messages, 0, &m);
  ck_assert_int_eq(m.at.line, 2);
  ck_assert(said("PLD0101"));
  plait_exec_free(exec);
}

START_TEST(a_subscript_from_data_out_of_range_is_described) {
  open_entry(gather_text);
  fault_of("ref");
  fault_of("c");
  close_all();
} END_TEST

START_TEST(mut_tensors_change_in_place) {
  for (int c = 0; c < 2; c++) {
    open_entry(append_text);
    plait_exec *exec = prepare(c ? "c" : "ref");
    float cache[3] = {1, 2, 3}, k = 9;
    int64_t pos = 1;
    plait_tensor p[3] = {tensor(PLAIT_F32, cache, sizeof cache, 1, 3, 0), tensor(PLAIT_F32, &k, 4, 0, 0, 0), tensor(PLAIT_I64, &pos, 8, 0, 0, 0)};
    ck_assert_int_eq(plait_launch(exec, p, 3, NULL, 0, NULL, NULL), PLAIT_OK);
    ck_assert(cache[0] == 1 && cache[1] == 9 && cache[2] == 3);
    pos = 3;
    ck_assert_int_eq(plait_launch(exec, p, 3, NULL, 0, NULL, &messages), PLAIT_ERROR_DATA);
    plait_messages_free(messages);
    messages = NULL;
    ck_assert(cache[0] == 1 && cache[1] == 9 && cache[2] == 3);
    plait_exec_free(exec);
    close_all();
  }
} END_TEST

START_TEST(scratch_can_be_the_callers) {
  open_entry(rows_text);
  plait_exec *exec = prepare("c");
  float x[12], y[12], z[12];
  for (int i = 0; i < 12; i++) x[i] = (float)i / 3;
  plait_tensor p = tensor(PLAIT_F32, x, sizeof x, 2, 3, 4), r = tensor(PLAIT_F32, y, sizeof y, 2, 3, 4);
  size_t bytes, align;
  ck_assert_int_eq(plait_exec_scratch(exec, &p, 1, &bytes, &align, NULL), PLAIT_OK);
  plait_launch_options o = {.struct_size = sizeof o, .scratch_bytes = bytes};
  o.scratch = aligned_alloc(align, (bytes + align) / align * align);
  ck_assert_int_eq(plait_launch(exec, &p, 1, &r, 1, &o, NULL), PLAIT_OK);
  r.data = z;
  ck_assert_int_eq(plait_launch(exec, &p, 1, &r, 1, NULL, NULL), PLAIT_OK);
  ck_assert_mem_eq(y, z, sizeof y);
  for (int i = 0; i < 3; i++) ck_assert(fabsf(y[4 * i] + y[4 * i + 1] + y[4 * i + 2] + y[4 * i + 3] - 1) < 1e-6f);
  free(o.scratch);
  plait_exec_free(exec);
  close_all();
} END_TEST

START_TEST(dimensions_promised_at_prepare_are_held_to) {
  open_entry(scale_text);
  plait_dim d = {"N", 2};
  plait_build_options o = {.struct_size = sizeof o, .dims = &d, .ndims = 1};
  plait_exec *exec = NULL;
  ck_assert_int_eq(plait_prepare(entry, "ref", &o, &exec, NULL), PLAIT_OK);
  float x[3] = {1, 2, 3}, y[3];
  plait_tensor p[2] = {tensor(PLAIT_F32, x, sizeof x, 2, 3, 1), {.dtype = PLAIT_F32}}, r = tensor(PLAIT_F32, y, sizeof y, 2, 3, 1);
  ck_assert_int_eq(plait_launch(exec, p, 2, &r, 1, NULL, &messages), PLAIT_ERROR_DATA);
  ck_assert(said("PLD0103"));
  plait_exec_free(exec);
  d.name = "M";
  ck_assert_int_eq(plait_prepare(entry, "ref", &o, &exec, &messages), PLAIT_ERROR_USAGE);
  close_all();
} END_TEST

START_TEST(code_made_for_known_dimensions_gives_the_same_bits) {
  open_entry(rows_text);
  plait_dim d[2] = {{"N", 3}, {"D", 4}};
  float x[12], y[2][12];
  for (int i = 0; i < 12; i++) x[i] = (float)(i * i % 7) / 3;
  for (int known = 0; known < 2; known++) {
    plait_build_options o = {.struct_size = sizeof o, .dims = d, .ndims = known ? 2 : 0};
    plait_exec *exec = NULL;
    ck_assert_int_eq(plait_prepare(entry, "c", &o, &exec, NULL), PLAIT_OK);
    plait_tensor p = tensor(PLAIT_F32, x, sizeof x, 2, 3, 4), r = tensor(PLAIT_F32, y[known], sizeof y[known], 2, 3, 4);
    ck_assert_int_eq(plait_launch(exec, &p, 1, &r, 1, NULL, NULL), PLAIT_OK);
    plait_exec_free(exec);
  }
  ck_assert_mem_eq(y[0], y[1], sizeof y[0]);
  plait_build_options o = {.struct_size = sizeof o, .dims = d, .ndims = 2};
  char *text = NULL;
  ck_assert_int_eq(plait_emit(entry, "fn", &o, &text, NULL, NULL), PLAIT_OK);
  ck_assert_ptr_nonnull(strstr(text, "x: f32[3, 4]"));
  plait_free(text);
  d[0].value = -1;
  ck_assert_int_eq(plait_emit(entry, "fn", &o, &text, NULL, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLD0109"));
  close_all();
} END_TEST

// 1030 rows from memory: no multiple of a chunk of 16 or 32. Lines of 64 bytes hold 16 elements, so that rows of 4112 begin where the first does.
static void run_rows(const plait_exec *exec, int64_t d, float *x, char *room, size_t from, float *y) {
  size_t bytes = (size_t)(1030 * d) * sizeof *x;
  plait_tensor p = tensor(PLAIT_F32, x, bytes, 2, 1030, d), r = tensor(PLAIT_F32, room + from, bytes, 2, 1030, d);
  memset(room, 0, bytes + 64);
  ck_assert_int_eq(plait_launch(exec, &p, 1, &r, 1, NULL, NULL), PLAIT_OK);
  memcpy(y, r.data, bytes);
}

START_TEST(results_from_memory_are_the_same_wherever_a_line_begins) {
  static const int64_t length[] = {4112, 4099};
  open_entry(rows_text);
  for (int k = 0; k < 2; k++) {
    size_t bytes = (size_t)(1030 * length[k]) * sizeof(float);
    float *x = malloc(bytes), *first = malloc(bytes), *y = malloc(bytes);
    char *room = aligned_alloc(64, (bytes + 127) / 64 * 64);
    ck_assert(x && first && y && room);
    for (int64_t i = 0; i < 1030 * length[k]; i++) x[i] = (float)(i * 7919 % 1009) / 100;
    for (int known = 0; known < 2; known++) {
      plait_dim d[2] = {{"N", 1030}, {"D", length[k]}};
      plait_build_options o = {.struct_size = sizeof o, .dims = d, .ndims = known ? 2 : 0};
      plait_exec *exec = NULL;
      ck_assert_int_eq(plait_prepare(entry, "c", &o, &exec, NULL), PLAIT_OK);
      for (size_t from = 0; from < 64; from += 20) {
        run_rows(exec, length[k], x, room, from, known || from ? y : first);
        if (known || from) ck_assert_int_eq(memcmp(first, y, bytes), 0);
      }
      plait_exec_free(exec);
    }
    free(x), free(first), free(y), free(room);
  }
  close_all();
} END_TEST

typedef struct Worker { const plait_exec *exec; int id; bool good; } Worker;
static void *work(void *arg) {
  Worker *w = arg;
  w->good = true;
  for (int round = 0; round < 50 && w->good; round++) {
    float x[8], y[8];
    for (int i = 0; i < 8; i++) x[i] = (float)(w->id * 100 + round + i);
    plait_tensor p[2] = {tensor(PLAIT_F32, x, sizeof x, 2, 2, 4), {.dtype = PLAIT_F32}}, r = tensor(PLAIT_F32, y, sizeof y, 2, 2, 4);
    w->good = plait_launch(w->exec, p, 2, &r, 1, NULL, NULL) == PLAIT_OK;
    for (int i = 0; i < 8; i++) w->good &= y[i] == 2 * x[i];
  }
  return NULL;
}

START_TEST(threads_may_share_an_executable) {
  open_entry(scale_text);
  for (int c = 0; c < 2; c++) {
    plait_exec *exec = prepare(c ? "c" : "ref");
    pthread_t thread[4];
    Worker w[4];
    for (int i = 0; i < 4; i++) {
      w[i] = (Worker){exec, i, false};
      pthread_create(&thread[i], NULL, work, &w[i]);
    }
    for (int i = 0; i < 4; i++) {
      pthread_join(thread[i], NULL);
      ck_assert(w[i].good);
    }
    plait_exec_free(exec);
  }
  close_all();
} END_TEST

static void *emit_work(void *arg) {
  char **text = arg;
  return (void *)(intptr_t)plait_emit(entry, "kernel", NULL, text, NULL, NULL);
}

START_TEST(threads_may_compile_one_entry_at_once) {
  open_entry(rows_text);
  pthread_t thread[4];
  char *text[4] = {0};
  for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, emit_work, &text[i]);
  for (int i = 0; i < 4; i++) {
    void *s;
    pthread_join(thread[i], &s);
    ck_assert_ptr_null(s);
    ck_assert_str_eq(text[i], text[0]);
  }
  for (int i = 0; i < 4; i++) plait_free(text[i]);
  close_all();
} END_TEST

START_TEST(every_stage_can_be_printed) {
  static const char *const stages[] = {"fn", "fused", "schedule", "kernel", "c"};
  open_entry(rows_text);
  for (int i = 0; i < 5; i++) {
    char *text = NULL;
    ck_assert_int_eq(plait_emit(entry, stages[i], NULL, &text, NULL, NULL), PLAIT_OK);
    ck_assert_uint_gt(strlen(text), 10);
    plait_free(text);
  }
  char *text = NULL, *header = NULL;
  ck_assert_int_eq(plait_emit(entry, "c", NULL, &text, &header, NULL), PLAIT_OK);
  ck_assert_ptr_nonnull(strstr(header, "int rows("));
  plait_free(text);
  plait_free(header);
  ck_assert_int_eq(plait_emit(entry, "d", NULL, &text, NULL, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLE0109"));
  close_all();
} END_TEST

START_TEST(unknown_and_required_passes_are_refused) {
  open_entry(rows_text);
  char *text;
  plait_build_options o = {.struct_size = sizeof o, .disable = "simplify,nosuch"};
  ck_assert_int_eq(plait_emit(entry, "c", &o, &text, NULL, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLE0109"));
  o.disable = "lower";
  ck_assert_int_eq(plait_emit(entry, "c", &o, &text, NULL, &messages), PLAIT_ERROR_USAGE);
  ck_assert(said("PLE0109"));
  const char *name, *what;
  int required;
  ck_assert(plait_pass_get(0, &name, &what, &required));
  ck_assert(!plait_pass_get(1000, &name, &what, &required));
  close_all();
} END_TEST

typedef struct Timings { int n; char names[64][24]; } Timings;
static void on_timing(void *user, const char *stage, double ms) {
  Timings *t = user;
  if (ms >= 0 && t->n < 64) snprintf(t->names[t->n++], 24, "%s", stage);
}

static bool timed(const Timings *t, const char *name) {
  for (int i = 0; i < t->n; i++)
    if (strcmp(t->names[i], name) == 0) return true;
  return false;
}

START_TEST(every_stage_is_timed) {
  Timings t = {0};
  plait_compile_options co = {.struct_size = sizeof co, .timing = on_timing, .user = &t};
  plait_build_options bo = {.struct_size = sizeof bo, .timing = on_timing, .user = &t};
  plait_context_create(NULL, &cx, NULL);
  ck_assert_int_eq(plait_compile(cx, "a", rows_text, sizeof rows_text - 1, &co, &program, NULL), PLAIT_OK);
  plait_program_find(program, NULL, &entry, NULL);
  plait_exec *exec = NULL;
  ck_assert_int_eq(plait_prepare(entry, "c", &bo, &exec, NULL), PLAIT_OK);
  const char *name;
  for (size_t i = 0; plait_pass_get(i, &name, NULL, NULL); i++) ck_assert_msg(timed(&t, name), "%s", name);
  ck_assert(timed(&t, "parse") && timed(&t, "sema") && timed(&t, "emit") && timed(&t, "compile"));
  plait_exec_info info = {.struct_size = sizeof info};
  ck_assert_int_eq(plait_exec_get(exec, &info), PLAIT_OK);
  ck_assert_ptr_nonnull(info.compiler);
  ck_assert_ptr_nonnull(strstr(info.text, "plait_entry"));
  plait_exec_free(exec);
  close_all();
} END_TEST

START_TEST(a_report_counts_bytes_and_is_json_too) {
  open_entry(scale_text);
  plait_dim d[2] = {{"N", 1024}, {"D", 1024}};
  plait_build_options o = {.struct_size = sizeof o, .dims = d, .ndims = 2};
  plait_report *r = NULL;
  ck_assert_int_eq(plait_explain(entry, &o, &r, NULL), PLAIT_OK);
  plait_cost cost = {.struct_size = sizeof cost};
  plait_kernel k = {.struct_size = sizeof k};
  ck_assert_int_eq(plait_report_cost(r, &cost), PLAIT_OK);
  ck_assert_uint_eq(cost.nkernels, 1);
  // one input and one output of 2^20 floats; the scalar's 4 bytes may count
  ck_assert(cost.bytes_fused >= 8 << 20 && cost.bytes_fused <= (8 << 20) + 64);
  ck_assert(cost.bytes_fused >= cost.bytes_minimum && cost.seconds > 0);
  ck_assert_int_eq(plait_report_kernel(r, 0, &k), PLAIT_OK);
  ck_assert(k.bytes == cost.bytes_fused);
  ck_assert_ptr_nonnull(plait_report_equation(r, 0, 0));
  ck_assert_ptr_null(plait_report_equation(r, 0, 99));
  ck_assert_int_eq(plait_report_kernel(r, 1, &k), PLAIT_ERROR_USAGE);
  char *text = NULL;
  ck_assert_int_eq(plait_report_json(r, &text, NULL), PLAIT_OK);
  ck_assert_ptr_nonnull(strstr(text, "\"bytes_fused\""));
  plait_free(text);
  plait_report_free(r);
  o.ndims = 1;
  ck_assert_int_eq(plait_explain(entry, &o, &r, &messages), PLAIT_ERROR_DATA);
  ck_assert(said("PLD0103"));
  close_all();
} END_TEST

START_TEST(layout_is_settled_at_once) {
  static const char text[] = "fn f(x:f32[N])->y:f32[N]{y[i]=x[i]}# end";
  char *once = NULL, *twice = NULL;
  size_t n;
  plait_context_create(NULL, &cx, NULL);
  ck_assert_int_eq(plait_format(cx, "a", text, sizeof text - 1, &once, &n, NULL), PLAIT_OK);
  ck_assert_int_eq(plait_format(cx, "a", once, n, &twice, NULL, NULL), PLAIT_OK);
  ck_assert_str_eq(once, twice);
  plait_free(once);
  plait_free(twice);
  ck_assert_int_eq(plait_format(cx, "a", "fn", 2, &once, NULL, &messages), PLAIT_ERROR_PROGRAM);
  close_all();
} END_TEST

START_TEST(codes_are_unique_and_found_in_any_case) {
  plait_code a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
  for (size_t i = 0; i < plait_code_count(); i++) {
    ck_assert_int_eq(plait_code_get(i, &a), PLAIT_OK);
    ck_assert_int_eq(plait_code_find(a.id, &b), PLAIT_OK);
    ck_assert_ptr_eq(a.id, b.id);
  }
  ck_assert_int_eq(plait_code_find("plt0404", &a), PLAIT_OK);
  ck_assert_int_eq(plait_code_find("PLX0000", &a), PLAIT_ERROR_USAGE);
  ck_assert_int_eq(plait_code_get(plait_code_count(), &a), PLAIT_ERROR_USAGE);
} END_TEST

START_TEST(dtypes_are_found_by_name) {
  for (int d = PLAIT_F64; d <= PLAIT_BOOL; d++) {
    ck_assert_int_eq(plait_dtype_find(plait_dtype_name((plait_dtype)d)), d);
    ck_assert_int_gt(plait_dtype_bits((plait_dtype)d), 0);
    ck_assert_ptr_nonnull(plait_dtype_numpy((plait_dtype)d));
  }
  ck_assert_int_eq(plait_dtype_find("f33"), 0);
  ck_assert_ptr_null(plait_dtype_name((plait_dtype)0));
  ck_assert_int_eq(plait_dtype_kind(PLAIT_BF16), 'f');
  ck_assert_int_eq(plait_dtype_kind(PLAIT_BLOCKS), 'x');
} END_TEST

START_TEST(values_go_in_and_out_of_every_dtype) {
  double in[4] = {0, 1, 1, 0}, out[4];
  for (int d = PLAIT_F64; d <= PLAIT_BOOL; d++) {
    char memory[32] = {0};
    plait_tensor t = tensor((plait_dtype)d, memory, sizeof memory, 1, 4, 0);
    ck_assert_int_eq(plait_values_write(&t, 0, 4, in), PLAIT_OK);
    ck_assert_int_eq(plait_values_read(NULL, &t, 0, 4, out), PLAIT_OK);
    ck_assert_mem_eq(in, out, sizeof in);
    ck_assert_int_eq(plait_values_read(NULL, &t, 1, 4, out), PLAIT_ERROR_USAGE);
    ck_assert_int_eq(plait_values_read(NULL, &t, -1, 1, out), PLAIT_ERROR_USAGE);
  }
} END_TEST

START_TEST(values_of_formats_are_decoded) {
  open_entry(blocks_text);
  unsigned char block[2 * 34] = {0};
  block[34 + 1] = 0x40;                          // f16 2.0 in the second block
  for (int i = 0; i < 32; i++) block[36 + i] = (unsigned char)i;
  plait_tensor t = tensor(PLAIT_BLOCKS, block, sizeof block, 1, 64, 0);
  double v[3];
  ck_assert_int_eq(plait_values_read(entry, &t, 31, 3, v), PLAIT_OK);
  ck_assert(v[0] == 0 && v[1] == 0 && v[2] == 2);
  ck_assert_int_eq(plait_values_read(NULL, &t, 0, 1, v), PLAIT_ERROR_USAGE);
  close_all();
} END_TEST

START_TEST(scalars_are_parsed_exactly_or_refused) {
  union { int64_t i; uint64_t u; float f; double d; int8_t b; char c[8]; } v;
  ck_assert_int_eq(plait_scalar_parse(PLAIT_U64, "18446744073709551615", &v), PLAIT_OK);
  ck_assert(v.u == UINT64_MAX);
  ck_assert_int_eq(plait_scalar_parse(PLAIT_I64, "-9223372036854775808", &v), PLAIT_OK);
  ck_assert(v.i == INT64_MIN);
  ck_assert_int_eq(plait_scalar_parse(PLAIT_I8, "-128", &v), PLAIT_OK);
  ck_assert_int_eq(v.b, -128);
  ck_assert_int_eq(plait_scalar_parse(PLAIT_F32, "1e-5", &v), PLAIT_OK);
  ck_assert(v.f == 1e-5f);
  ck_assert_int_eq(plait_scalar_parse(PLAIT_F64, "-inf", &v), PLAIT_OK);
  ck_assert(v.d == -INFINITY);
  ck_assert_int_eq(plait_scalar_parse(PLAIT_I32, "0x1_0", &v), PLAIT_OK);
  ck_assert_int_eq(v.i & 0xffffffff, 16);
  ck_assert_int_eq(plait_scalar_parse(PLAIT_BOOL, "true", &v), PLAIT_OK);
  ck_assert_int_eq(v.b, 1);
  static const struct { plait_dtype d; const char *text; } bad[] = {
    {PLAIT_U64, "18446744073709551616"}, {PLAIT_I8, "128"}, {PLAIT_I8, "-129"}, {PLAIT_U8, "-1"}, {PLAIT_I32, "1.5"}, {PLAIT_F32, "1e"},
    {PLAIT_F32, ""}, {PLAIT_I32, ""}, {PLAIT_I32, "0x"}, {PLAIT_F32, "one"}, {PLAIT_BOOL, "yes"}, {PLAIT_I32, "1__"}, {PLAIT_F32, " 1"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ck_assert_msg(plait_scalar_parse(bad[i].d, bad[i].text, &v) == PLAIT_ERROR_DATA, "%s", bad[i].text);
} END_TEST

START_TEST(the_doctor_finds_something) {
  plait_context_create(NULL, &cx, NULL);
  plait_doctor *d = NULL;
  ck_assert_int_eq(plait_doctor_create(cx, &d, NULL), PLAIT_OK);
  ck_assert_uint_gt(plait_doctor_count(d), 2);
  plait_finding f = {.struct_size = sizeof f};
  for (size_t i = 0; i < plait_doctor_count(d); i++) {
    ck_assert_int_eq(plait_doctor_finding(d, i, &f), PLAIT_OK);
    ck_assert(f.name && f.text);
  }
  plait_doctor_free(d);
  close_all();
} END_TEST

int main(void) {
  const TTest *tests[] = {
    the_library_is_of_the_headers_version, every_status_has_a_text, null_is_a_usage_error_or_nothing,
    bad_context_options_are_refused_with_a_message, a_shorter_options_struct_of_an_older_header_is_read_as_far_as_it_goes,
    a_shorter_output_struct_is_not_written_beyond, a_wrong_program_says_where_and_what, messages_outlive_all_that_they_came_from,
    text_beyond_the_limit_is_refused_and_the_limit_can_be_lowered, text_need_not_end_with_nul, imports_go_through_the_reader_or_nowhere,
    a_signature_names_kinds_types_and_extents, entries_are_found_by_name_or_when_alone, extents_follow_from_any_argument_that_decides_them,
    extents_that_no_tensor_can_have_are_refused, bytes_follow_the_type, an_entry_runs_interpreted_and_compiled,
    executables_outlive_program_and_context, a_refused_launch_changes_nothing, strides_of_a_dense_tensor_are_accepted,
    empty_tensors_need_no_memory, a_subscript_from_data_out_of_range_is_described, mut_tensors_change_in_place, scratch_can_be_the_callers,
    dimensions_promised_at_prepare_are_held_to, code_made_for_known_dimensions_gives_the_same_bits, results_from_memory_are_the_same_wherever_a_line_begins,
    threads_may_share_an_executable, threads_may_compile_one_entry_at_once, every_stage_can_be_printed,
    unknown_and_required_passes_are_refused, every_stage_is_timed, a_report_counts_bytes_and_is_json_too, layout_is_settled_at_once,
    codes_are_unique_and_found_in_any_case, dtypes_are_found_by_name, values_go_in_and_out_of_every_dtype, values_of_formats_are_decoded,
    scalars_are_parsed_exactly_or_refused, the_doctor_finds_something,
  };
  return UNIT_RUN("api", tests);
}
