// test_nvrtc.c: compiling CUDA text: the look-alike for errors, the real NVRTC where there is one.
#include "fake.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

// Everything a generated kernel may lean on: 16-byte access, shuffles, shared memory, fast mathematics.
static const char text[] =
  "extern \"C\" __global__ void __launch_bounds__(256) softmax(long long N, long long D, const float *__restrict__ x, float *__restrict__ y) {\n"
  "  extern __shared__ float row[];\n"
  "  __shared__ float part[8];\n"
  "  const long long i = blockIdx.x;\n"
  "  if (i >= N) return;\n"
  "  float m = __int_as_float(0xff800000);\n"
  "  for (long long j = threadIdx.x * 4; j + 4 <= D; j += blockDim.x * 4) {\n"
  "    const float4 v = *(const float4 *)(x + i * D + j);\n"
  "    row[j] = v.x, row[j + 1] = v.y, row[j + 2] = v.z, row[j + 3] = v.w;\n"
  "    m = fmaxf(fmaxf(m, v.x), fmaxf(fmaxf(v.y, v.z), v.w));\n"
  "  }\n"
  "  for (int o = 16; o > 0; o /= 2) m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, o));\n"
  "  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = m;\n"
  "  __syncthreads();\n"
  "  for (int w = 0; w < 8; w++) m = fmaxf(m, part[w]);\n"
  "  for (long long j = threadIdx.x; j < D; j += blockDim.x) y[i * D + j] = __expf(row[j] - m) * rsqrtf(fmaf(m, m, 1.0f));\n"
  "}\n";

static GpuRequest request(int arch, bool ptx) { return (GpuRequest){.text = text, .len = sizeof text - 1, .arch = arch, .ptx = ptx}; }

typedef struct Case { Arena *a; Nvrtc n; CudaError e; GpuCode code; } Case;

static bool open_case(Case *c, const SearchPaths *p) {
  *c = (Case){.a = arena_create()};
  return nvrtc_open(c->a, p, 0, &c->n, NULL, &c->e);
}

static void close_case(Case *c) {
  gpu_code_free(&c->code);
  cuda_error_clear(&c->e);
  arena_destroy(c->a);
}

// ---- the look-alike ----

START_TEST(the_version_and_the_architectures_are_asked_for) {
  Case c;
  FakeNvrtc *f = fake_compiler();
  f->narchs = 3;
  memcpy(f->arch, (int[]){100, 80, 90}, 3 * sizeof(int));
  ck_assert(open_case(&c, &fake_paths));
  ck_assert_int_eq(c.n.number, 13000);
  ck_assert_str_eq(c.n.path, FAKE_NVRTC);
  ck_assert(nvrtc_has(&c.n, 90) && !nvrtc_has(&c.n, 89));
  ck_assert_int_eq(nvrtc_arch_below(&c.n, 99), 90);
  ck_assert_int_eq(nvrtc_arch_below(&c.n, 120), 100);
  ck_assert_int_eq(nvrtc_arch_below(&c.n, 75), 0);
  close_case(&c);
} END_TEST

START_TEST(a_file_that_is_no_nvrtc_is_refused_with_what_it_lacks) {
  Case c;
  ck_assert(!open_case(&c, &(SearchPaths){.nvrtc = FAKE_CUDA}));
  fake_failed(&c.e, CUDA_NO_COMPILER, "has no function `nvrtcVersion`");
  close_case(&c);
  ck_assert(!open_case(&c, &(SearchPaths){.nvrtc = "/nonexistent/libnvrtc.so"}));
  fake_failed(&c.e, CUDA_NO_COMPILER, "/nonexistent/libnvrtc.so");
  close_case(&c);
} END_TEST

START_TEST(a_cubin_is_asked_for_by_sm_and_ptx_by_compute) {
  Case c;
  FakeNvrtc *f = fake_compiler();
  ck_assert(open_case(&c, &fake_paths));
  GpuRequest r = request(90, false);
  r.feature = 'a';
  ck_assert(nvrtc_compile(&c.n, &r, &c.code, &c.e));
  ck_assert_str_eq(c.code.bytes, "cubin of sm_90a");
  ck_assert_uint_eq(c.code.size, sizeof "cubin of sm_90a");
  ck_assert_str_eq(f->text, text);
  gpu_code_free(&c.code);
  r = request(80, true);
  ck_assert(nvrtc_compile(&c.n, &r, &c.code, &c.e));
  ck_assert_str_eq(c.code.bytes, "ptx of compute_80");
  ck_assert_uint_eq(c.code.size, sizeof "ptx of compute_80" - 1);        // without its NUL
  ck_assert(c.code.ptx && c.code.arch == 80);
  close_case(&c);
} END_TEST

START_TEST(an_nvrtc_that_cannot_tell_of_registers_compiles_all_the_same) {
  Case c;
  ck_assert(open_case(&c, &fake_paths));
  fake_compiler()->unknown = "--ptxas-options";
  GpuRequest r = request(90, false);
  ck_assert(nvrtc_compile(&c.n, &r, &c.code, &c.e));
  ck_assert_int_eq(c.code.nuse, 0);
  gpu_code_free(&c.code);
  fake_compiler()->unknown = "--std";
  ck_assert(!nvrtc_compile(&c.n, &r, &c.code, &c.e));
  fake_failed(&c.e, CUDA_CALL, "NVRTC_ERROR_FAKE");
  close_case(&c);
} END_TEST

START_TEST(a_refused_text_comes_back_with_the_compilers_log) {
  Case c;
  FakeNvrtc *f = fake_compiler();
  ck_assert(open_case(&c, &fake_paths));
  f->result = 6;
  f->log = "plait.cu(3): error: expected a ;";
  GpuRequest r = request(90, false);
  ck_assert(!nvrtc_compile(&c.n, &r, &c.code, &c.e));
  ck_assert_str_eq(c.e.note, f->log);
  ck_assert_ptr_null(c.code.bytes);
  fake_failed(&c.e, CUDA_TEXT, "NVRTC 13.0 refused");
  close_case(&c);
} END_TEST

START_TEST(a_missing_part_of_nvrtc_is_named) {
  Case c;
  ck_assert(open_case(&c, &fake_paths));
  fake_compiler()->result = 7;
  GpuRequest r = request(90, false);
  ck_assert(!nvrtc_compile(&c.n, &r, &c.code, &c.e));
  ck_assert_ptr_nonnull(strstr(c.e.help, "libnvrtc-builtins.so.13.0 must lie beside"));
  fake_failed(&c.e, CUDA_CALL, "NVRTC_ERROR_FAKE");
  close_case(&c);
} END_TEST

// ---- the real one ----

// False, and a line that says so, on a machine without NVRTC.
static bool open_real(Case *c) {
  const char *home = getenv("CUDA_HOME");
  if (open_case(c, &(SearchPaths){.cuda_home = home, .home = getenv("HOME"), .virtual_env = getenv("VIRTUAL_ENV"), .path = getenv("PATH")})) return true;
  printf("left out, there is no NVRTC here: %s\n", c->e.text);
  close_case(c);
  return false;
}

START_TEST(real_nvrtc_makes_cubins_and_tells_registers_of_each_architecture) {
  static const int archs[] = {80, 90, 100};
  Case c;
  if (!open_real(&c)) return;
  for (size_t i = 0; i < 3; i++) {
    GpuRequest r = request(archs[i], false);
    if (!nvrtc_has(&c.n, archs[i])) continue;
    if (!nvrtc_compile(&c.n, &r, &c.code, &c.e)) ck_abort_msg("%s\n%.2000s", c.e.text, c.e.note);
    ck_assert_int_eq(memcmp(c.code.bytes, "\177ELF", 4), 0);
    ck_assert_int_eq(c.code.nuse, 1);
    const GpuUse *u = &c.code.use[0];
    ck_assert_str_eq(u->name, "softmax");
    ck_assert_msg(u->registers > 0 && u->registers <= 64 && u->spill_stores == 0 && u->spill_loads == 0, "%s", c.code.log);
    ck_assert_int_ge(u->shared_bytes, 8 * 4);                            // part[8]
    gpu_code_free(&c.code);
  }
  close_case(&c);
} END_TEST

START_TEST(real_nvrtc_makes_ptx) {
  Case c;
  if (!open_real(&c)) return;
  GpuRequest r = request(80, true);
  ck_assert(nvrtc_compile(&c.n, &r, &c.code, &c.e));
  ck_assert_ptr_nonnull(strstr(c.code.bytes, ".target sm_80"));
  ck_assert_ptr_nonnull(strstr(c.code.bytes, ".entry softmax"));
  ck_assert_uint_eq(strlen(c.code.bytes), c.code.size);
  close_case(&c);
} END_TEST

START_TEST(real_nvrtc_says_where_a_text_is_wrong) {
  static const char wrong[] = "extern \"C\" __global__ void f(float *y) {\n  y[0] = nothing;\n}\n";
  Case c;
  if (!open_real(&c)) return;
  GpuRequest r = {.text = wrong, .len = sizeof wrong - 1, .arch = 90};
  ck_assert(!nvrtc_compile(&c.n, &r, &c.code, &c.e));
  ck_assert_int_eq(c.e.fault, CUDA_TEXT);
  ck_assert_ptr_nonnull(strstr(c.e.note, "plait.cu(2)"));
  ck_assert_ptr_nonnull(strstr(c.e.note, "nothing"));
  close_case(&c);
} END_TEST

// ---- the search ----

static const char *place(const SearchPlaces *p, const char *path) {
  for (int i = 0; i < p->n; i++)
    if (strcmp(p->v[i].path, path) == 0) return p->v[i].what;
  return "nowhere";
}

// A folder that looks like a virtual environment with NVIDIA's wheel of a CUDA version.
static const char *make_environment(char dir[], const char *package, const char *name) {
  static char file[256];
  char command[512];
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(file, sizeof file, "%s/lib/python3.11/site-packages/nvidia/%s/lib/%s", dir, package, name);
  snprintf(command, sizeof command, "mkdir -p %.*s && cp " FAKE_NVRTC " %s", (int)(strrchr(file, '/') - file), file, file);
  ck_assert_int_eq(system(command), 0);
  return file;
}

static void remove_environment(const char *dir) {
  char command[256];
  snprintf(command, sizeof command, "rm -r %s", dir);
  ck_assert_int_eq(system(command), 0);
}

START_TEST(wheels_of_a_virtual_environment_are_found_without_running_python) {
  static const struct { const char *package, *name; } wheels[] = {{"cuda_nvrtc", "libnvrtc.so.12"}, {"cu13", "libnvrtc.so.13"}, {"cuda_nvrtc", "libnvrtc.so.11.2"}};
  for (size_t i = 0; i < sizeof wheels / sizeof *wheels; i++) {
    char dir[] = "/tmp/test_nvrtc-XXXXXX";
    Arena *a = arena_create();
    SearchPlaces places = {0};
    const char *file = make_environment(dir, wheels[i].package, wheels[i].name);
    const char *where = NULL;
    ck_assert_ptr_nonnull(search_nvrtc(a, &(SearchPaths){.virtual_env = dir}, 0, &where, &places));
    ck_assert_str_eq(where, file);
    remove_environment(dir);
    arena_destroy(a);
  }
} END_TEST

START_TEST(the_python_along_the_path_has_its_wheels_looked_at) {
  char dir[] = "/tmp/test_nvrtc-XXXXXX", command[512], path[256];
  Arena *a = arena_create();
  SearchPlaces places = {0};
  const char *file = make_environment(dir, "cu13", "libnvrtc.so.13");
  snprintf(command, sizeof command, "mkdir %s/bin && printf '#!/bin/false' > %s/bin/python3 && chmod +x %s/bin/python3", dir, dir, dir);
  ck_assert_int_eq(system(command), 0);
  snprintf(path, sizeof path, "/nonexistent:%s/bin", dir);
  const char *where = NULL;
  ck_assert_ptr_nonnull(search_nvrtc(a, &(SearchPaths){.path = path}, 0, &where, &places));
  ck_assert_str_eq(where, file);
  remove_environment(dir);
  arena_destroy(a);
} END_TEST

START_TEST(an_nvrtc_no_newer_than_the_driver_comes_first) {
  char old[] = "/tmp/test_nvrtc-XXXXXX", new[] = "/tmp/test_nvrtc-XXXXXX", newer[256];
  Arena *a = arena_create();
  SearchPlaces places = {0};
  snprintf(newer, sizeof newer, "%s", make_environment(new, "cu13", "libnvrtc.so.13"));
  const char *file = make_environment(old, "cuda_nvrtc", "libnvrtc.so.12");
  const char *where = NULL;
  ck_assert_ptr_nonnull(search_nvrtc(a, &(SearchPaths){.virtual_env = new, .conda = old}, 12, &where, &places));
  ck_assert_str_eq(where, file);
  *strrchr(newer, '/') = 0;
  ck_assert_str_eq(place(&places, newer), "newer than the driver");
  remove_environment(old);
  remove_environment(new);
  arena_destroy(a);
} END_TEST

START_TEST(every_place_that_was_looked_at_is_told) {
  Arena *a = arena_create();
  SearchPlaces places = {0};
  const char *where;
  search_nvrtc(a, &(SearchPaths){.cuda_home = "/nonexistent"}, 0, &where, &places);
  ck_assert_str_eq(place(&places, "/nonexistent/lib64"), "not there");
  places.n = 0;
  ck_assert_ptr_null(search_nvrtc(a, &(SearchPaths){.nvrtc = "/nonexistent/libnvrtc.so.13"}, 0, &where, &places));
  ck_assert_int_eq(places.n, 1);
  ck_assert_ptr_nonnull(strstr(place(&places, "/nonexistent/libnvrtc.so.13"), "cannot open shared object"));
  places.n = 0;
  ck_assert_ptr_nonnull(search_cuda_driver(a, &fake_paths, &where, &places));
  ck_assert_str_eq(place(&places, FAKE_CUDA), "found");
  arena_destroy(a);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    the_version_and_the_architectures_are_asked_for, a_file_that_is_no_nvrtc_is_refused_with_what_it_lacks, a_cubin_is_asked_for_by_sm_and_ptx_by_compute,
    an_nvrtc_that_cannot_tell_of_registers_compiles_all_the_same, a_refused_text_comes_back_with_the_compilers_log, a_missing_part_of_nvrtc_is_named,
    real_nvrtc_makes_cubins_and_tells_registers_of_each_architecture, real_nvrtc_makes_ptx, real_nvrtc_says_where_a_text_is_wrong,
    wheels_of_a_virtual_environment_are_found_without_running_python, the_python_along_the_path_has_its_wheels_looked_at,
    an_nvrtc_no_newer_than_the_driver_comes_first, every_place_that_was_looked_at_is_told,
  };
  return UNIT_RUN("nvrtc", tests);
}
