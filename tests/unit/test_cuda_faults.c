// test_cuda_faults.c: the emulator of GPUs finds what a GPU would punish; a kernel with the mistake for each.
#include "tests/cuda_emu/lab.h"

// ---- texts that must not compile ---------------------------------------------------------------------------------

static void does_not_compile(const char *text, const char *says) {
  EmuFault f;
  size_t size;
  void *bytes = compile(text, true, &size, &f);
  ck_assert_msg(!bytes, "it compiles: %s", text);
  ck_assert_msg(strstr(f.text, says) != NULL, "no \"%s\" in: %s", says, f.text);
}

START_TEST(float_atomics_do_not_compile) {
  does_not_compile("extern \"C\" __global__ void k(float *x) { atomicAdd(x, 1.0f); }", "float");
  does_not_compile("extern \"C\" __global__ void k(double *x) { atomicAdd(x, 1.0); }", "double");
  does_not_compile("extern \"C\" __global__ void k(float *x) { atomicExch(x, 1.0f); }", "float");
} END_TEST

START_TEST(unknown_functions_and_host_types_do_not_compile) {
  does_not_compile("extern \"C\" __global__ void k(float *x) { *x = __no_such_thing(1); }", "__no_such_thing");
  does_not_compile("extern \"C\" __global__ void k(uint32_t *x) { *x = 1; }", "uint32_t");
  does_not_compile("extern \"C\" __global__ void k(float *x) { *x = INFINITY; }", "INFINITY");
} END_TEST

START_TEST(shared_memory_belongs_into_a_kernel) {
  does_not_compile("extern __shared__ float s[];\nextern \"C\" __global__ void k(float *x) { *x = s[0]; }", "in the kernel");
  does_not_compile("static __device__ void f(void) { __shared__ float s[2]; s[0] = 1; }\nextern \"C\" __global__ void k(float *x) { f(); }", "in the kernel");
} END_TEST

// ---- what a GPU would punish -------------------------------------------------------------------------------------

// Kernel k(x, y, c, n) with x: n floats, y: n floats not written yet, c: 64 zeros.
enum { N = 256 };

static Lab broken_lab(const char *body, bool checked) {
  char text[4096];
  snprintf(text, sizeof text, "extern \"C\" __global__ void k(float *x, float *y, unsigned *c, int n) {\n  const int t = (int)threadIdx.x, i = (int)(blockIdx.x * blockDim.x + threadIdx.x);\n%s\n}\n", body);
  return lab_of(text, checked);
}

static bool run_broken(Lab *l, Shape s) {
  float *in = numbers(N, 10);
  int n = N;
  void *x = put(l, in, N * 4), *y = fresh(l, N * 4), *c = zeros(l, 64 * 4);
  if (!s.block.x) s.block = (EmuDim){64, 1, 1};
  free(in);
  return launch(l, "k", s, ARGS(&x, &y, &c, &n));
}

static void finds(const char *body, bool checked, Shape s, EmuFaultKind kind, const char *says) {
  Lab l = broken_lab(body, checked);
  ck_assert_msg(!run_broken(&l, s), "nothing is found in: %s", body);
  ck_assert_msg(l.fault.kind == kind, "%s: %s\n%s", emu_fault_name(l.fault.kind), l.fault.text, body);
  ck_assert_msg(strstr(l.fault.text, says) != NULL, "no \"%s\" in: %s", says, l.fault.text);
  lab_free(&l);
}

static void finds_nothing(const char *body, bool checked, Shape s) {
  Lab l = broken_lab(body, checked);
  bool good = run_broken(&l, s);
  ck_assert_msg(good, "%s: %s\n%s", emu_fault_name(l.fault.kind), l.fault.text, body);
  lab_free(&l);
}

// Races. The first text of each is right with the line that the second lacks.

START_TEST(a_missing_barrier_is_a_race) {
  finds_nothing("  __shared__ float s[64];\n  s[t] = x[t];\n  __syncthreads();\n  y[t] = s[63 - t];", true, (Shape){0});
  finds("  __shared__ float s[64];\n  s[t] = x[t];\n  y[t] = s[63 - t];", true, (Shape){0}, EMU_UNINITIALISED, "`s`");
  finds("  __shared__ float s[64];\n  s[t] = 0;\n  __syncthreads();\n  s[t] = x[t];\n  y[t] = s[63 - t];", true, (Shape){0}, EMU_RACE, "`s`");
} END_TEST

START_TEST(a_missing_barrier_before_the_next_write_is_a_race) {
  finds("  __shared__ float s[64];\n  s[t] = x[t];\n  __syncthreads();\n  const float v = s[63 - t];\n  s[t] = v;\n  y[t] = v;", true, (Shape){0}, EMU_RACE, "read");
} END_TEST

START_TEST(without_checks_another_order_shows_the_race) {
  finds_nothing("  __shared__ float s[64];\n  s[t] = x[t];\n  __syncthreads();\n  y[t] = s[63 - t];", false, (Shape){0});
  finds("  __shared__ float s[64];\n  s[t] = 0;\n  __syncthreads();\n  s[t] = x[t];\n  y[t] = s[(t + 1) % 64];", false, (Shape){0}, EMU_ORDER, "threads in a block: `y`, byte ");
} END_TEST

START_TEST(lanes_of_a_warp_need_syncwarp) {
  finds_nothing("  __shared__ float s[64];\n  s[t] = x[t];\n  __syncwarp();\n  y[t] = s[t ^ 1];", true, (Shape){0});
  finds("  __shared__ float s[64];\n  s[t] = 0;\n  __syncthreads();\n  s[t] = x[t];\n  y[t] = s[t ^ 1];", true, (Shape){0}, EMU_RACE, "nothing orders");
} END_TEST

START_TEST(a_shuffle_orders_no_memory) {
  finds("  __shared__ float s[64];\n  s[t] = 0;\n  __syncthreads();\n  s[t] = x[t];\n  const float v = __shfl_xor_sync(0xffffffffu, x[t], 1);\n  y[t] = s[t ^ 1] + v;", true, (Shape){0},
        EMU_RACE, "nothing orders");
} END_TEST

START_TEST(syncwarp_orders_no_other_warp) {
  finds("  __shared__ float s[64];\n  s[t] = 0;\n  __syncthreads();\n  s[t] = x[t];\n  __syncwarp();\n  y[t] = s[t ^ 32];", true, (Shape){0}, EMU_RACE, "nothing orders");
} END_TEST

START_TEST(half_a_warp_may_meet_alone) {
  finds_nothing("  __shared__ float s[64];\n  const unsigned half = t % 32 < 16 ? 0xffffu : 0xffff0000u;\n  s[t] = x[t];\n  __syncwarp(half);\n  y[t] = s[t ^ 1];", true, (Shape){0});
  finds("  __shared__ float s[64];\n  const unsigned half = t % 32 < 16 ? 0xffffu : 0xffff0000u;\n  s[t] = 0;\n  __syncthreads();\n  s[t] = x[t];\n  __syncwarp(half);\n  y[t] = s[t ^ 16];",
        true, (Shape){0}, EMU_RACE, "nothing orders");
} END_TEST

START_TEST(a_race_names_both_lines) {
  finds("  __shared__ float s[64];\n  s[t] = 0;\n  __syncthreads();\n  s[t] = x[t];\n  y[t] = s[63 - t];", true, (Shape){0}, EMU_RACE, "k.cu:6: thread 32 writes");
  finds("  __shared__ float s[64];\n  s[t] = 0;\n  __syncthreads();\n  s[t] = x[t];\n  y[t] = s[63 - t];", true, (Shape){0}, EMU_RACE, "which thread 31 read in k.cu:7");
} END_TEST

START_TEST(blocks_that_write_one_element_race) {
  finds("  y[t] = (float)blockIdx.x;", true, (Shape){.grid = {2, 1, 1}}, EMU_RACE, "`y`, byte 0, which thread 0 of block 0 wrote");
} END_TEST

START_TEST(without_checks_another_order_of_blocks_shows) {
  finds("  y[t] = (float)blockIdx.x;", false, (Shape){.grid = {2, 1, 1}}, EMU_ORDER, "order of blocks: `y`, byte ");
} END_TEST

START_TEST(reading_what_another_block_changes_in_place_is_a_race) {
  finds_nothing("  y[i] = x[i] + x[(i + 64) % n];", true, (Shape){.grid = {4, 1, 1}});
  finds("  x[i] += x[(i + 64) % n];", true, (Shape){.grid = {4, 1, 1}}, EMU_RACE, "`x`");
} END_TEST

#define LAST_ARRIVER(fence) \
  "  __shared__ bool last;\n  y[i] = x[i];\n" fence "  __syncthreads();\n" \
  "  if (t == 0) last = atomicAdd(c, 1u) == gridDim.x - 1;\n  __syncthreads();\n" \
  "  if (!last || t) return;\n  float s = 0;\n  for (int k = 0; k < n; k++) s += y[k];\n  x[0] = s;"

START_TEST(a_last_arriver_needs_the_fences_of_the_others) {
  finds_nothing(LAST_ARRIVER("  __threadfence();\n"), true, (Shape){.grid = {4, 1, 1}});
  finds(LAST_ARRIVER(""), true, (Shape){.grid = {4, 1, 1}}, EMU_RACE, "`y`");
  finds(LAST_ARRIVER("  __threadfence_block();\n"), true, (Shape){.grid = {4, 1, 1}}, EMU_RACE, "`y`");
} END_TEST

START_TEST(a_fence_before_the_write_publishes_nothing) {
  finds("  __shared__ bool last;\n  __threadfence();\n  y[i] = x[i];\n  __syncthreads();\n  if (t == 0) last = atomicAdd(c, 1u) == gridDim.x - 1;\n  __syncthreads();\n"
        "  if (!last || t) return;\n  float s = 0;\n  for (int k = 0; k < n; k++) s += y[k];\n  x[0] = s;", true, (Shape){.grid = {4, 1, 1}}, EMU_RACE, "`y`");
} END_TEST

START_TEST(an_atomic_beside_a_plain_write_is_a_race) {
  finds("  if (t == 40) c[0] = 7;\n  else atomicAdd(c, 1u);", true, (Shape){0}, EMU_RACE, "`c`");
} END_TEST

START_TEST(the_read_only_path_must_not_see_new_values) {
  finds("  y[i] = x[i];\n  __syncthreads();\n  x[i] = __ldg(&y[i]);", true, (Shape){0}, EMU_RACE, "__ldg");
} END_TEST

START_TEST(places_may_be_exempted_from_the_comparison_of_orders) {
  const char *first = "  if (atomicCAS(c, 0u, 1u) == 0) c[1] = (unsigned)t;";
  finds(first, true, (Shape){0}, EMU_ORDER, "`c`, byte 4");
  finds_nothing("  PLAIT_ANY_ORDER(c, 8);\n  if (atomicCAS(c, 0u, 1u) == 0) c[1] = (unsigned)t;", true, (Shape){0});
} END_TEST

// Barriers and warps.

START_TEST(a_barrier_in_a_branch_is_found) {
  finds("  if (t < 32) __syncthreads();\n  y[t] = 1;", true, (Shape){0}, EMU_BAD_BARRIER, "has left the kernel");
  finds("  if (t < 32) __syncthreads();\n  y[t] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);\n  __syncthreads();", false, (Shape){0}, EMU_BAD_BARRIER, "line");
} END_TEST

START_TEST(threads_at_different_barriers_are_found) {
  finds("  if (t < 32)\n    __syncthreads();\n  else\n    __syncthreads();", true, (Shape){0}, EMU_BAD_BARRIER, "line 4");
} END_TEST

START_TEST(threads_that_leave_before_a_barrier_are_found) {
  finds("  if (t >= 60) return;\n  __syncthreads();\n  y[t] = 1;", true, (Shape){0}, EMU_BAD_BARRIER, "thread 60 has left the kernel");
} END_TEST

START_TEST(lanes_missing_from_a_shuffle_are_found) {
  finds("  if (t % 2) y[t] = __shfl_xor_sync(0xffffffffu, x[t], 2);\n  __syncthreads();", true, (Shape){0}, EMU_BAD_MASK, "waits at __syncthreads");
  finds("  if (t % 2) y[t] = __shfl_xor_sync(0xaaaaaaaau, x[t], 1);", true, (Shape){0}, EMU_BAD_MASK, "not in the mask");
  finds("  if (t % 2) y[t] = __shfl_xor_sync(0x55555555u, x[t], 2);", true, (Shape){0}, EMU_BAD_MASK, "without its own lane");
} END_TEST

START_TEST(a_shuffle_from_a_lane_that_left_is_found) {
  finds("  if (t >= 48) return;\n  y[t] = __shfl_down_sync(0xffffffffu, x[t], 16);", true, (Shape){0}, EMU_BAD_MASK, "has left the kernel");
  finds("  y[t] = __shfl_down_sync(0xffffffffu, x[t], 16);", true, (Shape){.block = {48, 1, 1}}, EMU_BAD_MASK, "has left the kernel");
} END_TEST

START_TEST(lanes_at_different_shuffles_are_found) {
  finds("  float v = x[t];\n  if (t % 32 < 16) v += __shfl_xor_sync(0xffffffffu, v, 1);\n  else v -= __shfl_xor_sync(0xffffffffu, v, 1);\n  y[t] = v;", true, (Shape){0}, EMU_BAD_MASK, "line 4");
} END_TEST

// The lanes meet in one shuffle, but came from two places: on a GPU the function may have been copied into both.
START_TEST(meetings_in_a_function_reached_from_different_places_are_found) {
  const char *text = "static __device__ float other(float v, int by) { return __shfl_xor_sync(0xffffffffu, v, by); }\n"
                     "static __device__ float sum(float v) { for (int o = 16; o; o /= 2) v += other(v, o);\n  return v; }\n"
                     "static __device__ void all(void) { __syncthreads(); }\n"
                     "extern \"C\" __global__ void good(float *y) { const float v = sum((float)threadIdx.x); y[threadIdx.x] = sum(other(v, 1)); all(); }\n"
                     "extern \"C\" __global__ void bad(float *y) {\n  float v = 1;\n  if (threadIdx.x < 16) v = sum(v);\n  else\n    v = sum(-v);\n  y[threadIdx.x] = v;\n}\n"
                     "extern \"C\" __global__ void worse(float *y) {\n  if (threadIdx.x < 16) all();\n  else all();\n}\n";
  Lab l = lab_of(text, true);
  float out[32];
  void *y = fresh(&l, sizeof out);
  launch_well(&l, "good", (Shape){.block = {32, 1, 1}}, ARGS(&y));
  get(&l, out, y, sizeof out);
  for (int i = 0; i < 32; i++) ck_assert(out[i] == 32 * 31 * 16);       // 32 times the sum of 0 to 31
  ck_assert(!launch(&l, "bad", (Shape){.block = {32, 1, 1}}, ARGS(&y)));
  ck_assert_int_eq(l.fault.kind, EMU_BAD_MASK);
  ck_assert_msg(strstr(l.fault.text, "different places") != NULL, "%s", l.fault.text);
  ck_assert(!launch(&l, "worse", (Shape){.block = {32, 1, 1}}, ARGS(&y)));
  ck_assert_int_eq(l.fault.kind, EMU_BAD_BARRIER);
  ck_assert_msg(strstr(l.fault.text, "thread 0 came from line 14, thread 16 from line 15") != NULL, "%s", l.fault.text);
  lab_free(&l);
} END_TEST

START_TEST(lanes_with_different_masks_are_found) {
  finds("  y[t] = __shfl_xor_sync(t % 32 < 16 ? 0xffffffffu : 0xffff0000u, x[t], 1);", true, (Shape){0}, EMU_BAD_MASK, "0xffff0000");
} END_TEST

START_TEST(the_active_mask_is_no_ones_to_rely_on) {
  finds("  y[t] = __shfl_xor_sync(__activemask(), x[t], 1);", false, (Shape){0}, EMU_BAD_MASK, "not in the mask");
} END_TEST

// Memory.

START_TEST(reading_shared_memory_that_nobody_wrote_is_found) {
  finds("  __shared__ float s[64];\n  if (t) s[t] = x[t];\n  __syncthreads();\n  y[t] = s[t];", true, (Shape){0}, EMU_UNINITIALISED, "shared `s`, byte 0");
} END_TEST

// Nor does the compiler invent one: it could move reads out of loops and conditions.
START_TEST(a_read_that_the_text_does_not_make_is_none) {
  finds_nothing("  __shared__ float s[64];\n  float v = 0;\n  for (int k = 0; k < n - 256; k++) v += s[3];\n  if (n > 256) s[3] = v;\n  y[t] = v;", true, (Shape){0});
  finds_nothing("  __shared__ float s[64];\n  float v = 0;\n  for (int k = 0; k < n; k++)\n    if (k == 256) v += s[3];\n  if (n > 256) s[3] = v;\n  y[t] = v;", true, (Shape){0});
  finds_nothing("  __shared__ float s[64];\n  if (n > 256) s[t] = 1;\n  y[t] = n > 256 ? s[3] : 0.0f;", true, (Shape){0});
} END_TEST

START_TEST(unwritten_shared_memory_is_nan_without_checks) {
  Lab l = broken_lab("  __shared__ float s[64];\n  __shared__ unsigned short h[64];\n  if (t != 5) s[t] = h[t] = 0;\n  y[t] = s[t];\n  c[t] = h[t];", false);
  float in[N] = {0}, out[64];
  unsigned short_out[64];
  int n = N;
  void *x = put(&l, in, sizeof in), *y = fresh(&l, sizeof in), *c = zeros(&l, sizeof short_out);
  launch_well(&l, "k", (Shape){.grid = {1, 1, 1}, .block = {64, 1, 1}}, ARGS(&x, &y, &c, &n));
  get(&l, out, y, sizeof out);
  get(&l, short_out, c, sizeof short_out);
  ck_assert(isnan(out[5]) && short_out[5] == 0xffff);
  ck_assert(out[4] == 0 && short_out[4] == 0);
  lab_free(&l);
} END_TEST

START_TEST(reading_global_memory_that_nobody_wrote_is_found) { finds("  x[t] = y[t];", true, (Shape){0}, EMU_UNINITIALISED, "`y`, byte 0"); } END_TEST

START_TEST(one_element_too_far_is_found) {
  finds("  x[i + 1] = 0;", true, (Shape){.grid = {4, 1, 1}}, EMU_BOUNDS, "`x`, byte 1024");
  finds("  y[i] = x[i - 1];", true, (Shape){.grid = {4, 1, 1}}, EMU_BOUNDS, "-4");
} END_TEST

START_TEST(without_checks_guards_find_it) {
  finds("  x[i + 1] = 0;", false, (Shape){.grid = {4, 1, 1}}, EMU_BOUNDS, "0 bytes behind the end of an allocation of 1024");
  finds("  y[t] = 0;\n  if (i == 0) x[-1] = 0;", false, (Shape){0}, EMU_BOUNDS, "before an allocation");
  finds("  y[t] = x[1 << 28];", false, (Shape){0}, EMU_BOUNDS, "");
} END_TEST

START_TEST(an_overrun_that_alignment_hides_is_found_after_the_launch) {
  Lab l = broken_lab("  ((char *)c)[n] = 1;", false);
  void *p = NULL, *c = fresh(&l, 3);
  int n = 3;
  ck_assert(!launch(&l, "k", (Shape){0}, ARGS(&p, &p, &c, &n)));
  ck_assert_int_eq(l.fault.kind, EMU_BOUNDS);
  ck_assert_ptr_nonnull(strstr(l.fault.text, "behind an allocation of 3"));
  lab_free(&l);
} END_TEST

START_TEST(an_overrun_of_a_shared_array_is_found) {
  const char *beyond = "  __shared__ float a[64], b[64];\n  a[t] = b[t] = 0;\n  float *p = a;\n  if (t == 63) p[n - 192] = 1;\n  y[t] = a[t] + b[t];";
  finds(beyond, true, (Shape){0}, EMU_BOUNDS, "shared ");
  finds("  __shared__ float a[64];\n  a[t] = 0;\n  float *p = a;\n  if (t == 63) p[n - 192] = 1;\n  y[t] = a[t];", false, (Shape){0}, EMU_BOUNDS, "shared memory beside");
  finds("  __shared__ float a[64];\n  a[t + n - 255] = 1;", true, (Shape){0}, EMU_UNDEFINED, "an index outside its array");
} END_TEST

START_TEST(more_dynamic_shared_memory_than_asked_for_is_found) {
  const char *body = "  extern __shared__ float s[];\n  s[t] = x[t];\n  __syncthreads();\n  y[t] = s[63 - t];";
  finds_nothing(body, true, (Shape){.dynamic = 256});
  finds(body, true, (Shape){.dynamic = 252}, EMU_BOUNDS, "dynamic shared memory, byte 252");
  finds(body, false, (Shape){.dynamic = 128}, EMU_BOUNDS, "128 bytes into 128 of dynamic shared memory");
  finds(body, false, (Shape){.dynamic = 252}, EMU_BOUNDS, "shared memory beside or behind");
} END_TEST

START_TEST(a_misaligned_vector_is_found) {
  finds("  const float4 v = *(const float4 *)(x + 1);\n  y[t] = v.x;", true, (Shape){0}, EMU_MISALIGNED, "line 3");
  finds("  const float2 v = *(const float2 *)(x + t);\n  y[t] = v.x;", true, (Shape){0}, EMU_MISALIGNED, "line 3");
} END_TEST

START_TEST(shared_floats_are_no_vectors_without_align) {
  const char *body = "  __shared__ %s float s[256];\n  for (int k = t; k < 256; k += 64) s[k] = x[k];\n  __syncthreads();\n  const float4 v = ((const float4 *)s)[t];\n  y[t] = v.x + v.w;";
  char text[512];
  snprintf(text, sizeof text, body, "__align__(16)");
  finds_nothing(text, true, (Shape){0});
  snprintf(text, sizeof text, body, "");
  finds(text, true, (Shape){0}, EMU_MISALIGNED, "line 6");
} END_TEST

START_TEST(a_pointer_to_host_memory_is_found) {
  Lab l = broken_lab("  y[t] = x[t];", true);
  float host[N] = {0};
  void *p = host, *y = fresh(&l, N * 4);
  int n = N;
  ck_assert(!launch(&l, "k", (Shape){0}, ARGS(&p, &y, &y, &n)));
  ck_assert_int_eq(l.fault.kind, EMU_BOUNDS);
  ck_assert_ptr_nonnull(strstr(l.fault.text, "argument `x`"));
  lab_free(&l);
} END_TEST

START_TEST(what_arguments_only_read_is_not_written) {
  Lab l = lab_of("extern \"C\" __global__ void k(const float *x, float *y, float const *const z) { y[threadIdx.x] = x[threadIdx.x] + z[0]; }\n"
                 "extern \"C\" __global__ void bad(const float *x, float *y) { *(float *)x = y[0]; }\n"
                 "extern \"C\" __global__ void table(float *const *to) { to[threadIdx.x][0] = 1; }\n", true);
  void *x = zeros(&l, 256), *y = zeros(&l, 256), *both[2] = {x, y}, *to = put(&l, both, sizeof both);
  launch_well(&l, "k", (Shape){.block = {64, 1, 1}}, ARGS(&x, &y, &x));
  launch_well(&l, "k", (Shape){.block = {1, 1, 1}}, ARGS(&x, &x, &x));       // the same memory, as something to write too
  launch_well(&l, "table", (Shape){.block = {2, 1, 1}}, ARGS(&to));          // pointers in memory may lead anywhere
  ck_assert(!launch(&l, "bad", (Shape){.block = {1, 1, 1}}, ARGS(&x, &y)));
  ck_assert_int_eq(l.fault.kind, EMU_BOUNDS);
  ck_assert_msg(strstr(l.fault.text, "but to read") != NULL, "%s", l.fault.text);
  lab_free(&l);
} END_TEST

START_TEST(writes_by_the_host_count_piece_by_piece) {
  Lab l = lab_of("extern \"C\" __global__ void k(const char *x, char *y, int n) { for (int i = 0; i < n; i++) y[i] = x[i]; }\n", true);
  char bytes[100] = {0}, *x = fresh(&l, 100), *y = fresh(&l, 100);
  int n = 60;
  ck_assert(emu_upload(l.device, x + 20, bytes, 20) && emu_upload(l.device, x, bytes, 10) && emu_upload(l.device, x + 40, bytes, 20));
  ck_assert(!launch(&l, "k", (Shape){0}, ARGS(&x, &y, &n)));
  ck_assert_int_eq(l.fault.kind, EMU_UNINITIALISED);
  ck_assert_msg(strstr(l.fault.text, "`x`, byte 10") != NULL, "%s", l.fault.text);
  ck_assert(emu_upload(l.device, x + 10, bytes, 10));
  launch_well(&l, "k", (Shape){0}, ARGS(&x, &y, &n));
  n = 61;
  ck_assert(!launch(&l, "k", (Shape){0}, ARGS(&x, &y, &n)));
  ck_assert_msg(strstr(l.fault.text, "`x`, byte 60") != NULL, "%s", l.fault.text);
  lab_free(&l);
} END_TEST

START_TEST(freed_memory_is_no_memory) {
  Lab l = broken_lab("  y[t] = x[t];", true);
  void *x = zeros(&l, N * 4), *y = fresh(&l, N * 4);
  int n = N;
  ck_assert(emu_free(l.device, x));
  ck_assert(!launch(&l, "k", (Shape){.block = {64, 1, 1}}, ARGS(&x, &y, &y, &n)));
  ck_assert_int_eq(l.fault.kind, EMU_BOUNDS);
  lab_free(&l);
} END_TEST

START_TEST(variables_of_other_threads_and_of_the_module_are_found) {
  finds("  __shared__ float *p;\n  float own[2] = {x[t], 0};\n  if (t == 0) p = own;\n  __syncthreads();\n  y[t] = p[n - 256];", true, (Shape){0}, EMU_BOUNDS, "local variable of another thread");
  finds("  static float count;\n  count += x[t];\n  y[t] = count;", true, (Shape){0}, EMU_BOUNDS, "variable of the module");
} END_TEST

// Launches, and the rest.

static void cannot_launch(const char *body, Shape s, const char *says) { finds(body, true, s, EMU_CONFIG, says); }

START_TEST(launches_that_no_gpu_makes_are_refused) {
  cannot_launch("  y[t] = 0;", (Shape){.block = {1025, 1, 1}}, "1 to 1024");
  cannot_launch("  y[t] = 0;", (Shape){.block = {1, 1, 65}}, "64 of them along z");
  cannot_launch("  y[t] = 0;", (Shape){.grid = {1, 65536, 1}}, "65536");
  cannot_launch("  y[t] = 0;", (Shape){.dynamic = (227 << 10) + 1}, "232449");
  cannot_launch("  __shared__ float s[12000];\n  extern __shared__ float d[];\n  s[t] = d[t] = 0;\n  y[t] = s[t + n - 256];", (Shape){.dynamic = 190000}, "48000 bytes of static and 190000");
  cannot_launch("  __shared__ float s[12289];\n  s[t] = 0;\n  y[t] = s[t + n - 256];", (Shape){0}, "49156 bytes of static");
  cannot_launch("  y[t] = 0;", (Shape){.grid = {6, 1, 1}, .cluster = 4}, "clusters of 4 blocks in a grid of 6");
} END_TEST

START_TEST(launch_bounds_hold) {
  Lab l = lab_of("extern \"C\" __global__ void __launch_bounds__(64, 2) k(void) {}", true);
  ck_assert(!launch(&l, "k", (Shape){.block = {65, 1, 1}}, NULL));
  ck_assert_int_eq(l.fault.kind, EMU_CONFIG);
  launch_well(&l, "k", (Shape){.block = {64, 1, 1}}, NULL);
  lab_free(&l);
} END_TEST

START_TEST(waiting_for_what_never_comes_is_found) {
  finds("  volatile unsigned *p = c;\n  while (*p == 0) {}\n  y[t] = 1;", true, (Shape){0}, EMU_STUCK, "waits for something in memory");
  finds("  while (atomicAdd(c, 0u) < 65) {}\n  y[t] = 1;", false, (Shape){0}, EMU_STUCK, "atomicAdd in line 3");
} END_TEST

START_TEST(waiting_for_another_warp_ends_when_it_comes) {
  finds_nothing("  if (t == 0) {\n    y[0] = x[0];\n    __threadfence();\n    atomicExch(c, 1u);\n  }\n  if (t == 32) {\n    while (atomicAdd(c, 0u) == 0) {}\n    __threadfence();\n    y[1] = y[0];\n  }", true, (Shape){0});
} END_TEST

START_TEST(remote_shared_memory_needs_barriers_of_the_cluster) {
  Shape s = {.grid = {4, 1, 1}, .cluster = 4};
  const char *right = "  __shared__ float s;\n  if (t == 0) s = x[i];\n  PLAIT_CLUSTER_SYNC();\n  if (t == 0) y[i] = *PLAIT_CLUSTER_MAP(&s, (PLAIT_CLUSTER_RANK() + 1) % 4);\n  PLAIT_CLUSTER_SYNC();";
  finds_nothing(right, true, s);
  finds("  __shared__ float s;\n  if (t == 0) s = x[i];\n  __syncthreads();\n  if (t == 0) y[i] = *PLAIT_CLUSTER_MAP(&s, (PLAIT_CLUSTER_RANK() + 1) % 4);\n  PLAIT_CLUSTER_SYNC();", true, s,
        EMU_RACE, "cluster barrier must come first");
  finds("  __shared__ float s;\n  if (t == 0) s = x[i];\n  PLAIT_CLUSTER_SYNC();\n  if (t == 0) y[i] = *PLAIT_CLUSTER_MAP(&s, (PLAIT_CLUSTER_RANK() + 3) % 4);", true, s, EMU_RACE, "has ended");
  finds("  __shared__ float s;\n  if (t == 0) s = x[i];\n  PLAIT_CLUSTER_SYNC();\n  if (t == 0) *PLAIT_CLUSTER_MAP(&s, (PLAIT_CLUSTER_RANK() + 1) % 4) = 1;\n  __syncthreads();\n  y[i] = s;\n  PLAIT_CLUSTER_SYNC();",
        true, s, EMU_RACE, "shared `s`");
  finds("  y[t] = *PLAIT_CLUSTER_MAP(x, 0u);", true, s, EMU_BOUNDS, "not in its own shared memory");
} END_TEST

START_TEST(a_barrier_of_the_grid_needs_a_cooperative_launch) {
  finds("  PLAIT_GRID_SYNC(c);\n  y[i] = 1;", true, (Shape){.grid = {4, 1, 1}}, EMU_BAD_BARRIER, "not cooperative");
  finds_nothing("  x[i] = (float)i;\n  PLAIT_GRID_SYNC(c);\n  y[i] = x[(i + 64) % n];", true, (Shape){.grid = {4, 1, 1}, .cooperative = true});
  finds("  x[i] = (float)i;\n  __syncthreads();\n  y[i] = x[(i + 64) % n];\n  PLAIT_GRID_SYNC(c);", true, (Shape){.grid = {4, 1, 1}, .cooperative = true}, EMU_RACE, "`x`");
} END_TEST

#define COPY(end) "  __shared__ __align__(16) float s[256];\n  PLAIT_COPY_ASYNC(&s[4 * t], x + 4 * t, 16);\n  PLAIT_COPY_COMMIT();\n" end "  y[t] = s[%s];"

START_TEST(asynchronous_copies_must_be_waited_for) {
  char text[512];
  snprintf(text, sizeof text, COPY("  PLAIT_COPY_WAIT(0);\n  __syncthreads();\n"), "255 - t");
  finds_nothing(text, true, (Shape){0});
  snprintf(text, sizeof text, COPY(""), "4 * t");
  finds(text, true, (Shape){0}, EMU_RACE, "has not been waited for");
  snprintf(text, sizeof text, COPY("  PLAIT_COPY_WAIT(1);\n"), "4 * t");
  finds(text, true, (Shape){0}, EMU_RACE, "has not been waited for");
  snprintf(text, sizeof text, COPY(""), "4 * t");
  finds(text, false, (Shape){0}, EMU_ORDER, "`y`");
  snprintf(text, sizeof text, COPY("  PLAIT_COPY_WAIT(0);\n"), "(4 * t + 4) % 256");
  finds(text, true, (Shape){0}, EMU_UNINITIALISED, "shared `s`");
  finds("  __shared__ __align__(16) float s[260];\n  PLAIT_COPY_ASYNC(&s[4 * t + 1], x + 4 * t, 16);\n  PLAIT_COPY_WAIT(0);", true, (Shape){0}, EMU_MISALIGNED, "not aligned");
} END_TEST

#define BULK(end) \
  "  __shared__ __align__(16) float s[64];\n  __shared__ __align__(8) unsigned long long bar;\n  if (t == 0) PLAIT_MBARRIER_INIT(&bar, 1u);\n  __syncthreads();\n" \
  "  if (t == 0) {\n    PLAIT_MBARRIER_ARRIVE(&bar, 256u);\n    PLAIT_BULK_LOAD(s, x, 256u, &bar);\n  }\n" end

START_TEST(bulk_loads_must_be_waited_for) {
  finds_nothing(BULK("  PLAIT_MBARRIER_WAIT(&bar, 0u);\n  y[t] = s[63 - t];"), true, (Shape){0});
  finds(BULK("  __syncthreads();\n  y[t] = s[63 - t];"), true, (Shape){0}, EMU_RACE, "has not been waited for");
  finds(BULK("  __syncthreads();\n  y[t] = 0;"), true, (Shape){0}, EMU_RACE, "under way");
  finds(BULK("  PLAIT_MBARRIER_WAIT(&bar, 1u);\n  y[t] = s[63 - t];"), true, (Shape){0}, EMU_RACE, "");      // that of the phase before: no wait
  finds(BULK("  PLAIT_MBARRIER_WAIT(&bar, 0u);\n  PLAIT_MBARRIER_WAIT(&bar, 1u);"), true, (Shape){0}, EMU_STUCK, "PLAIT_MBARRIER_WAIT");
  finds(BULK("  s[t] = 1;\n  PLAIT_MBARRIER_WAIT(&bar, 0u);"), true, (Shape){0}, EMU_RACE, "");
} END_TEST

START_TEST(bulk_copies_have_sizes_and_places) {
  const char *text = "  __shared__ __align__(16) float s[64];\n  __shared__ __align__(8) unsigned long long bar;\n  if (t) return;\n  PLAIT_MBARRIER_INIT(&bar, 1u);\n  PLAIT_BULK_LOAD(%s, &bar);";
  char it[400];
  snprintf(it, sizeof it, text, "s, x, 24u");
  finds(it, true, (Shape){0}, EMU_MISALIGNED, "multiples of 16");
  snprintf(it, sizeof it, text, "s, x + 1, 32u");
  finds(it, true, (Shape){0}, EMU_MISALIGNED, "multiples of 16");
  snprintf(it, sizeof it, text, "s, x + 248, 64u");
  finds(it, true, (Shape){0}, EMU_BOUNDS, "beyond an allocation");
  snprintf(it, sizeof it, text, "s, x, 1024u");
  finds(it, true, (Shape){0}, EMU_BOUNDS, "beyond the block's shared memory");
  snprintf(it, sizeof it, text, "x, x, 32u");
  finds(it, true, (Shape){0}, EMU_BOUNDS, "not in shared memory");
  finds("  __shared__ __align__(8) unsigned long long bar;\n  PLAIT_MBARRIER_WAIT(&bar, 0u);", true, (Shape){0}, EMU_UNINITIALISED, "nobody has initialised");
} END_TEST

#define BULK_STORE(fence, after) \
  "  __shared__ __align__(16) float s[64];\n  s[t] = x[t];\n" fence "  __syncthreads();\n  if (t == 0) {\n    PLAIT_BULK_STORE(y, s, 256u);\n    PLAIT_BULK_COMMIT();\n  }\n" after

START_TEST(bulk_stores_need_fences_of_the_writers_and_an_end) {
  finds_nothing(BULK_STORE("  PLAIT_PROXY_FENCE();\n", "  if (t == 0) PLAIT_BULK_WAIT(0);\n  __syncthreads();\n  s[t] = 0;"), true, (Shape){0});
  finds(BULK_STORE("", "  if (t == 0) PLAIT_BULK_WAIT(0);"), true, (Shape){0}, EMU_RACE, "without PLAIT_PROXY_FENCE");
  finds(BULK_STORE("  if (t < 40) PLAIT_PROXY_FENCE();\n", "  if (t == 0) PLAIT_BULK_WAIT(0);"), true, (Shape){0}, EMU_RACE, "without PLAIT_PROXY_FENCE");
  finds(BULK_STORE("  PLAIT_PROXY_FENCE();\n", "  __syncthreads();\n  s[t] = 0;"), false, (Shape){0}, EMU_ORDER, "`y`");
} END_TEST

START_TEST(a_dependent_launch_must_wait_before_it_reads) {
  Lab l = broken_lab("  if (n != 3) PLAIT_DEPENDENCY_WAIT();\n  if (n == 1) y[i] = x[i];\n  else x[i] = y[i];", true);
  void *x = zeros(&l, N * 4), *y = fresh(&l, N * 4);
  Shape s = {.grid = {4, 1, 1}, .block = {64, 1, 1}, .dependent = true};
  int write = 1, wait = 2, hurry = 3;
  launch_well(&l, "k", s, ARGS(&x, &y, &y, &write));
  launch_well(&l, "k", s, ARGS(&x, &y, &y, &wait));
  launch_well(&l, "k", s, ARGS(&x, &y, &y, &write));
  ck_assert(!launch(&l, "k", s, ARGS(&x, &y, &y, &hurry)));
  ck_assert_int_eq(l.fault.kind, EMU_RACE);
  ck_assert_ptr_nonnull(strstr(l.fault.text, "launch before this one"));
  lab_free(&l);
} END_TEST

START_TEST(some_thread_of_a_dependent_launch_must_wait) {
  Lab l = broken_lab("  if (n != 2 && t < 40) PLAIT_DEPENDENCY_WAIT();", true);
  void *x = zeros(&l, N * 4), *y = fresh(&l, N * 4);
  Shape s = {.grid = {4, 1, 1}, .block = {64, 1, 1}, .dependent = true};
  int some = 1, none = 2;
  launch_well(&l, "k", s, ARGS(&x, &y, &y, &some));
  ck_assert(!launch(&l, "k", s, ARGS(&x, &y, &y, &none)));
  ck_assert_int_eq(l.fault.kind, EMU_RACE);
  s.dependent = false;
  launch_well(&l, "k", s, ARGS(&x, &y, &y, &none));
  lab_free(&l);
} END_TEST

START_TEST(a_stack_that_is_too_small_is_found) {
  finds("  volatile char big[100000];\n  for (int k = 0; k < 100000; k++) big[k] = (char)k;\n  y[t] = big[n];", false, (Shape){0}, EMU_STACK, "stack");
} END_TEST

START_TEST(traps_and_undefined_behaviour_are_found) {
  finds("  if (t == 3) __trap();", true, (Shape){0}, EMU_STOPPED, "thread 3");
  finds("  __builtin_assume(n < 100);\n  y[t] = 0;", true, (Shape){0}, EMU_STOPPED, "does not hold");
  finds("  y[t] = (float)(2147483647 - 10 + n);", true, (Shape){0}, EMU_UNDEFINED, "a sum outside its signed type");
  finds("  y[t] = (float)(1 << (n - 200));", true, (Shape){0}, EMU_UNDEFINED, "a shift");
  finds("  y[t] = (float)(5 / (n - 256));", true, (Shape){0}, EMU_UNDEFINED, "division");
} END_TEST

START_TEST(after_a_fault_the_device_works_on) {
  Lab l = broken_lab("  if (n == 1) __trap();\n  y[t] = (float)t;", true);
  void *y = fresh(&l, N * 4);
  int stop = 1, n = 2;
  float out[64];
  ck_assert(!launch(&l, "k", (Shape){.block = {64, 1, 1}}, ARGS(&y, &y, &y, &stop)));
  launch_well(&l, "k", (Shape){.block = {64, 1, 1}}, ARGS(&y, &y, &y, &n));
  get(&l, out, y, sizeof out);
  for (int i = 0; i < 64; i++) ck_assert(out[i] == (float)i);
  lab_free(&l);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    float_atomics_do_not_compile, unknown_functions_and_host_types_do_not_compile, shared_memory_belongs_into_a_kernel, a_missing_barrier_is_a_race,
    a_missing_barrier_before_the_next_write_is_a_race, without_checks_another_order_shows_the_race, lanes_of_a_warp_need_syncwarp,
    a_shuffle_orders_no_memory, syncwarp_orders_no_other_warp, half_a_warp_may_meet_alone, a_race_names_both_lines,
    blocks_that_write_one_element_race, without_checks_another_order_of_blocks_shows, reading_what_another_block_changes_in_place_is_a_race,
    a_last_arriver_needs_the_fences_of_the_others, a_fence_before_the_write_publishes_nothing, an_atomic_beside_a_plain_write_is_a_race,
    the_read_only_path_must_not_see_new_values, places_may_be_exempted_from_the_comparison_of_orders, a_barrier_in_a_branch_is_found,
    threads_at_different_barriers_are_found, threads_that_leave_before_a_barrier_are_found, lanes_missing_from_a_shuffle_are_found,
    a_shuffle_from_a_lane_that_left_is_found, lanes_at_different_shuffles_are_found, meetings_in_a_function_reached_from_different_places_are_found,
    lanes_with_different_masks_are_found, the_active_mask_is_no_ones_to_rely_on, reading_shared_memory_that_nobody_wrote_is_found,
    a_read_that_the_text_does_not_make_is_none, unwritten_shared_memory_is_nan_without_checks, reading_global_memory_that_nobody_wrote_is_found, one_element_too_far_is_found,
    without_checks_guards_find_it, an_overrun_that_alignment_hides_is_found_after_the_launch, an_overrun_of_a_shared_array_is_found,
    more_dynamic_shared_memory_than_asked_for_is_found, a_misaligned_vector_is_found, shared_floats_are_no_vectors_without_align,
    a_pointer_to_host_memory_is_found, what_arguments_only_read_is_not_written, writes_by_the_host_count_piece_by_piece, freed_memory_is_no_memory,
    variables_of_other_threads_and_of_the_module_are_found, launches_that_no_gpu_makes_are_refused, launch_bounds_hold,
    waiting_for_what_never_comes_is_found, waiting_for_another_warp_ends_when_it_comes, remote_shared_memory_needs_barriers_of_the_cluster,
    a_barrier_of_the_grid_needs_a_cooperative_launch, asynchronous_copies_must_be_waited_for, bulk_loads_must_be_waited_for,
    bulk_copies_have_sizes_and_places, bulk_stores_need_fences_of_the_writers_and_an_end, a_dependent_launch_must_wait_before_it_reads, some_thread_of_a_dependent_launch_must_wait,
    a_stack_that_is_too_small_is_found, traps_and_undefined_behaviour_are_found, after_a_fault_the_device_works_on,
  };
  return UNIT_RUN("cuda_faults", tests);
}
