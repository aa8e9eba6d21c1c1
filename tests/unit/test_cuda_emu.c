#include "tests/cuda_emu/emu.h"
#include "unit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- a device, a text, launches ----------------------------------------------------------------------------------

typedef struct Lab { EmuDevice *device; EmuModule *module; EmuFault fault; } Lab;
typedef struct Shape { EmuDim grid, block; unsigned cluster; size_t dynamic; bool cooperative, dependent; int host_threads; } Shape;

static char *read_text(const char *path) {
  FILE *f = fopen(path, "r");
  ck_assert_msg(f != NULL, "%s", path);
  char *text = calloc(1, 1 << 16);
  ck_assert_uint_gt(fread(text, 1, (1 << 16) - 1, f), 0);
  fclose(f);
  return text;
}

static void *compile(const char *text, bool checked, size_t *size, EmuFault *f) {
  EmuCompile c = {.cc = EMU_CC, .file = "k.cu", .checked = checked, .arch = 90};
  char *log = NULL;
  void *bytes = emu_compile(&c, text, size, &log, f);
  free(log);
  return bytes;
}

static Lab lab_of(const char *text, bool checked) {
  Lab l = {.device = emu_device_make(64 << 20, 227 << 10)};
  size_t size;
  void *bytes = compile(text, checked, &size, &l.fault);
  ck_assert_msg(bytes != NULL, "%s", l.fault.text);
  l.module = emu_module_load(bytes, size, &l.fault);
  ck_assert_msg(l.module != NULL, "%s", l.fault.text);
  free(bytes);
  return l;
}

static Lab lab_of_file(const char *name, bool checked) {
  char path[256];
  snprintf(path, sizeof path, "tests/cuda_emu/kernels/%s", name);
  char *text = read_text(path);
  Lab l = lab_of(text, checked);
  free(text);
  return l;
}

static void lab_free(Lab *l) {
  emu_module_free(l->module);
  emu_device_free(l->device);
}

static void *put(Lab *l, const void *bytes, size_t n) {
  void *p = emu_alloc(l->device, n);
  ck_assert(p && emu_upload(l->device, p, bytes, n));
  return p;
}

static void *zeros(Lab *l, size_t n) {
  void *p = emu_alloc(l->device, n);
  ck_assert(p && emu_fill(l->device, p, "", 1, n));
  return p;
}

static void *fresh(Lab *l, size_t n) {
  void *p = emu_alloc(l->device, n);
  ck_assert(p != NULL);
  return p;
}

static void get(Lab *l, void *to, const void *from, size_t n) { ck_assert(emu_download(l->device, to, from, n)); }

static const EmuOrder orders[] = {{EMU_FORWARD, EMU_FORWARD, 0}, {EMU_REVERSED, EMU_REVERSED, 0}, {EMU_RANDOM, EMU_RANDOM, 1}, {EMU_RANDOM, EMU_RANDOM, 2}};
enum { ORDERS = sizeof orders / sizeof *orders };

static EmuLaunch launch_of(Lab *l, const char *kernel, Shape s, void **arg) {
  EmuDim one = {1, 1, 1};
  return (EmuLaunch){.module = l->module, .kernel = emu_module_find(l->module, kernel), .grid = s.grid.x ? s.grid : one, .block = s.block.x ? s.block : one,
                     .cluster = s.cluster, .dynamic = s.dynamic, .cooperative = s.cooperative, .dependent = s.dependent, .arg = arg, .check = true,
                     .host_threads = s.host_threads};
}

static bool launch(Lab *l, const char *kernel, Shape s, void **arg) {
  EmuLaunch it = launch_of(l, kernel, s, arg);
  ck_assert_ptr_nonnull(it.kernel);
  return emu_launch_orders(l->device, &it, orders, ORDERS, &l->fault);
}

static void launch_well(Lab *l, const char *kernel, Shape s, void **arg) {
  bool good = launch(l, kernel, s, arg);
  ck_assert_msg(good, "%s: %s: %s", kernel, emu_fault_name(l->fault.kind), l->fault.text);
}

#define ARGS(...) ((void *[]){__VA_ARGS__})

static float *numbers(size_t n, unsigned long long seed) {
  float *v = malloc(n * sizeof *v);
  for (size_t i = 0; i < n; i++) v[i] = (float)(unit_random(&seed) >> 40) / (1 << 23) - 1;
  return v;
}

static void within(double got, double wanted, double bound, size_t at) {
  ck_assert_msg(fabs(got - wanted) <= bound, "element %zu is %.9g, not %.9g within %g", at, got, wanted, bound);
}

// ---- kernels that are right --------------------------------------------------------------------------------------

// exp within 2 ulp, a sum of m terms of one sign, a division: m + 8 roundings of 2^-24 are a generous relative bound.
static void check_softmax(const float *x, const float *y, int rows, int m) {
  for (int i = 0; i < rows; i++, x += m, y += m) {
    double high = -INFINITY, sum = 0;
    for (int j = 0; j < m; j++) high = fmax(high, (double)x[j]);
    for (int j = 0; j < m; j++) sum += exp((double)x[j] - high);
    for (int j = 0; j < m; j++) within(y[j], exp((double)x[j] - high) / sum, (m + 8) * 0x1p-24 * exp((double)x[j] - high) / sum, (size_t)j);
  }
}

static void softmax_is_right(const char *kernel, Shape s, bool by_warps, bool checked) {
  enum { ROWS = 9, M = 1028 };
  Lab l = lab_of_file("softmax.cu", checked);
  float *in = numbers(ROWS * M, 1), out[ROWS * M];
  int rows = ROWS, m = M;
  void *x = put(&l, in, sizeof out), *y = fresh(&l, sizeof out);
  launch_well(&l, kernel, s, by_warps ? ARGS(&x, &y, &rows, &m) : ARGS(&x, &y, &m));
  get(&l, out, y, sizeof out);
  check_softmax(in, out, ROWS, M);
  free(in);
  lab_free(&l);
}

START_TEST(block_softmax_is_right_in_all_orders) { softmax_is_right("block_softmax", (Shape){.grid = {9, 1, 1}, .block = {256, 1, 1}}, false, true); } END_TEST
START_TEST(block_softmax_is_right_without_checks) { softmax_is_right("block_softmax", (Shape){.grid = {9, 1, 1}, .block = {256, 1, 1}}, false, false); } END_TEST
START_TEST(warp_softmax_is_right_in_all_orders) { softmax_is_right("warp_softmax", (Shape){.grid = {2, 1, 1}, .block = {128, 1, 1}}, true, true); } END_TEST
START_TEST(blocks_run_on_several_host_threads) { softmax_is_right("warp_softmax", (Shape){.grid = {2, 1, 1}, .block = {128, 1, 1}, .host_threads = 3}, true, true); } END_TEST

START_TEST(column_sums_merge_in_the_last_block_whichever_it_is) {
  enum { N = 37, D = 100, PARTS = 5 };
  Lab l = lab_of_file("column.cu", true);
  float *in = numbers(N * D, 2), out[D];
  long long rows = N;
  int columns = D;
  void *x = put(&l, in, N * D * 4), *y = fresh(&l, sizeof out), *partial = fresh(&l, PARTS * D * 4), *count = zeros(&l, 2 * 4);
  launch_well(&l, "column_sum", (Shape){.grid = {2, PARTS, 1}, .block = {64, 1, 1}}, ARGS(&x, &y, &partial, &count, &rows, &columns));
  get(&l, out, y, sizeof out);
  for (size_t j = 0; j < D; j++) {
    double sum = 0, size = 0;
    for (size_t i = 0; i < N; i++) sum += (double)in[i * D + j], size += fabs((double)in[i * D + j]);
    within(out[j], sum, N * 0x1p-24 * size, j);
  }
  free(in);
  lab_free(&l);
} END_TEST

START_TEST(one_fence_behind_a_barrier_publishes_the_whole_block) {
  enum { N = 1000, BLOCKS = 6 };
  Lab l = lab_of_file("column.cu", true);
  float *in = numbers(N, 3), out;
  long long n = N;
  void *x = put(&l, in, N * 4), *y = fresh(&l, 4), *partial = fresh(&l, BLOCKS * 4), *count = zeros(&l, 4);
  launch_well(&l, "full_sum", (Shape){.grid = {BLOCKS, 1, 1}, .block = {128, 1, 1}}, ARGS(&x, &y, &partial, &count, &n));
  get(&l, &out, y, 4);
  double sum = 0, size = 0;
  for (size_t i = 0; i < N; i++) sum += (double)in[i], size += fabs((double)in[i]);
  within(out, sum, N * 0x1p-24 * size, 0);
  unsigned left;
  get(&l, &left, count, 4);
  ck_assert_uint_eq(left, 0);
  free(in);
  lab_free(&l);
} END_TEST

START_TEST(transpose_goes_through_padded_shared_memory) {
  enum { ROWS = 70, COLUMNS = 45 };
  Lab l = lab_of_file("transpose.cu", true);
  float *in = numbers(ROWS * COLUMNS, 4), out[ROWS * COLUMNS];
  int rows = ROWS, columns = COLUMNS;
  void *x = put(&l, in, sizeof out), *y = fresh(&l, sizeof out);
  launch_well(&l, "transpose", (Shape){.grid = {2, 3, 1}, .block = {32, 8, 1}}, ARGS(&x, &y, &rows, &columns));
  get(&l, out, y, sizeof out);
  for (size_t i = 0; i < ROWS; i++)
    for (size_t j = 0; j < COLUMNS; j++) ck_assert(out[j * ROWS + i] == in[i * COLUMNS + j]);
  free(in);
  lab_free(&l);
} END_TEST

// Of two neighbours in bfloat16 the nearer one, and of equally near ones that with the even last bit.
START_TEST(bf16_is_the_nearest_and_comes_back) {
  enum { N = 1003 };
  Lab l = lab_of_file("bf16.cu", true);
  float *in = numbers(N, 5), back[N];
  uint16_t half[N];
  long long n = N;
  in[0] = INFINITY, in[1] = -0.0f, in[2] = 1 + 0x1p-8f, in[3] = 1 + 3 * 0x1p-8f, in[N - 1] = NAN;
  void *x = put(&l, in, sizeof back), *h = fresh(&l, sizeof half), *y = fresh(&l, sizeof back);
  launch_well(&l, "to_bf16", (Shape){.grid = {2, 1, 1}, .block = {64, 1, 1}}, ARGS(&x, &h, &n));
  launch_well(&l, "from_bf16", (Shape){.grid = {16, 1, 1}, .block = {64, 1, 1}}, ARGS(&h, &y, &n));
  get(&l, back, y, sizeof back);
  ck_assert(isinf(back[0]) && signbit(back[1]) && isnan(back[N - 1]));
  ck_assert(back[2] == 1 && back[3] == 1 + 4 * 0x1p-8f);
  for (size_t i = 4; i < N - 1; i++) within(back[i], in[i], ldexp(1, ilogb(in[i]) - 8), i);     // half of 2^-7 of its power of two
  free(in);
  lab_free(&l);
} END_TEST

START_TEST(a_cluster_shares_its_shared_memory) {
  enum { ROWS = 3, BLOCKS = 4, D = 4 * 96 };
  Lab l = lab_of_file("cluster.cu", true);
  float *in = numbers(ROWS * D, 6), out[ROWS * D];
  int columns = D;
  for (size_t i = 0; i < ROWS * D; i++) in[i] += 2;
  void *x = put(&l, in, sizeof out), *y = fresh(&l, sizeof out);
  launch_well(&l, "cluster_rows", (Shape){.grid = {ROWS * BLOCKS, 1, 1}, .block = {64, 1, 1}, .cluster = BLOCKS, .dynamic = D}, ARGS(&x, &y, &columns));
  get(&l, out, y, sizeof out);
  for (size_t i = 0; i < ROWS; i++) {
    double sum = 0;
    for (size_t j = 0; j < D; j++) sum += (double)in[i * D + j];
    for (size_t j = 0; j < D; j++) within(out[i * D + j], (double)in[i * D + j] / sum, (D + 2) * 0x1p-24 * fabs((double)in[i * D + j] / sum), j);
  }
  free(in);
  lab_free(&l);
} END_TEST

START_TEST(a_cooperative_grid_meets) {
  enum { N = 900, BLOCKS = 5 };
  Lab l = lab_of_file("cluster.cu", true);
  float *in = numbers(N, 7), out[N];
  int n = N;
  for (size_t i = 0; i < N; i++) in[i] += 2;
  void *x = put(&l, in, sizeof out), *y = fresh(&l, sizeof out), *partial = fresh(&l, BLOCKS * 4), *counters = zeros(&l, 8);
  launch_well(&l, "grid_normalise", (Shape){.grid = {BLOCKS, 1, 1}, .block = {64, 1, 1}, .cooperative = true}, ARGS(&x, &y, &partial, &counters, &n));
  get(&l, out, y, sizeof out);
  double sum = 0;
  for (size_t i = 0; i < N; i++) sum += (double)in[i];
  for (size_t i = 0; i < N; i++) within(out[i], (double)in[i] / sum, (N + 2) * 0x1p-24 * (double)in[i] / sum, i);
  free(in);
  lab_free(&l);
} END_TEST

START_TEST(asynchronous_copies_arrive_when_they_are_waited_for) {
  enum { ROWS = 11 };
  Lab l = lab_of_file("copy.cu", true);
  float *in = numbers(ROWS * 128, 8), out[ROWS];
  int rows = ROWS;
  void *x = put(&l, in, ROWS * 128 * 4), *y = fresh(&l, sizeof out);
  launch_well(&l, "pipelined_sums", (Shape){.grid = {3, 1, 1}, .block = {32, 1, 1}}, ARGS(&x, &y, &rows));
  get(&l, out, y, sizeof out);
  for (size_t i = 0; i < ROWS; i++) {
    double sum = 0, size = 0;
    for (size_t j = 0; j < 128; j++) sum += (double)in[i * 128 + j], size += fabs((double)in[i * 128 + j]);
    within(out[i], sum, 128 * 0x1p-24 * size, i);
  }
  free(in);
  lab_free(&l);
} END_TEST

START_TEST(bulk_copies_go_in_and_out_of_shared_memory) {
  enum { SIZE = 256 * 7 + 100 };
  Lab l = lab_of_file("bulk.cu", true);
  float *in = numbers(SIZE, 11), out[SIZE];
  int n = SIZE;
  void *x = put(&l, in, sizeof out), *y = fresh(&l, sizeof out);
  launch_well(&l, "bulk_double", (Shape){.grid = {3, 1, 1}, .block = {64, 1, 1}}, ARGS(&x, &y, &n));
  get(&l, out, y, sizeof out);
  for (size_t i = 0; i < SIZE; i++) ck_assert(out[i] == 2 * in[i]);
  free(in);
  lab_free(&l);
} END_TEST

START_TEST(a_launch_that_waits_for_the_one_before_is_right) {
  enum { N = 100 };
  Lab l = lab_of_file("copy.cu", true);
  float *in = numbers(N, 9), out[N], a = 2;
  int n = N;
  void *x = put(&l, in, sizeof out), *y = fresh(&l, sizeof out), *z = fresh(&l, sizeof out);
  Shape s = {.grid = {4, 1, 1}, .block = {32, 1, 1}, .dependent = true};
  launch_well(&l, "dependent_scale", s, ARGS(&x, &y, &a, &n));
  launch_well(&l, "dependent_scale", s, ARGS(&y, &z, &a, &n));
  get(&l, out, z, sizeof out);
  for (size_t i = 0; i < N; i++) ck_assert(out[i] == 4 * in[i]);
  free(in);
  lab_free(&l);
} END_TEST

START_TEST(a_scan_looks_back_at_what_earlier_tiles_published) {
  enum { N = 1000, TILES = 8 };
  Lab l = lab_of_file("scan.cu", true);
  int in[N], out[N], n = N, sum = 0;
  for (int i = 0; i < N; i++) in[i] = i * 7 % 13 - 6;
  void *x = put(&l, in, sizeof in), *y = fresh(&l, sizeof out), *ticket = zeros(&l, 4), *state = zeros(&l, 4 * TILES), *own = fresh(&l, 4 * TILES), *through = fresh(&l, 4 * TILES);
  EmuLaunch it = launch_of(&l, "prefix_sum", (Shape){.grid = {TILES, 1, 1}, .block = {128, 1, 1}}, ARGS(&x, &y, &n, &ticket, &state, &own, &through));
  // Two orders that hand out tiles alike: `through` has what each tile published, which depends on nothing else.
  bool good = emu_launch_orders(l.device, &it, orders, 2, &l.fault);
  ck_assert_msg(good, "%s", l.fault.text);
  get(&l, out, y, sizeof out);
  for (int i = 0; i < N; i++) ck_assert_int_eq(out[i], sum += in[i]);
  lab_free(&l);
} END_TEST

// ---- what CUDA C has built in ------------------------------------------------------------------------------------

// One warp, out[lane] of each line.
static void warp_gives(const char *expression, const int wanted[32]) {
  char text[1024];
  snprintf(text, sizeof text, "extern \"C\" __global__ void k(int *out) {\n  const int lane = (int)threadIdx.x;\n  out[lane] = (int)(%s);\n}\n", expression);
  Lab l = lab_of(text, true);
  int got[32];
  void *out = fresh(&l, sizeof got);
  launch_well(&l, "k", (Shape){.block = {32, 1, 1}}, ARGS(&out));
  get(&l, got, out, sizeof got);
  for (int i = 0; i < 32; i++) ck_assert_msg(got[i] == wanted[i], "%s: lane %d has %d, not %d", expression, i, got[i], wanted[i]);
  lab_free(&l);
}

START_TEST(shuffles_read_the_lane_that_ptx_says) {
  int w[32];
  for (int i = 0; i < 32; i++) w[i] = i ^ 5;
  warp_gives("__shfl_xor_sync(0xffffffffu, lane, 5)", w);
  for (int i = 0; i < 32; i++) w[i] = i >= 3 ? i - 3 : i;
  warp_gives("__shfl_up_sync(0xffffffffu, (float)lane, 3)", w);
  for (int i = 0; i < 32; i++) w[i] = i + 3 < 32 ? i + 3 : i;
  warp_gives("__shfl_down_sync(0xffffffffu, (double)lane, 3)", w);
  for (int i = 0; i < 32; i++) w[i] = i / 8 * 8 + 9 % 8;
  warp_gives("__shfl_sync(0xffffffffu, (long long)lane, 9, 8)", w);
  for (int i = 0; i < 32; i++) w[i] = i % 16 + 4 < 16 ? i + 4 : i;
  warp_gives("__shfl_down_sync(0xffffffffu, (unsigned)lane, 4, 16)", w);
} END_TEST

START_TEST(votes_and_reductions_count_the_lanes_of_the_mask) {
  int w[32];
  for (int i = 0; i < 32; i++) w[i] = i % 2 ? 0x2222 : 0x11;      // odd lanes below 16 that are 1 mod 4; even ones that are 0 mod 4 below 8
  warp_gives("lane % 2 ? __ballot_sync(0xaaaaaaaau, lane % 4 == 1 && lane < 16) : __ballot_sync(0x55555555u, lane % 4 == 0 && lane < 8)", w);
  for (int i = 0; i < 32; i++) w[i] = 31 * 32 / 2 - 3 * 32;
  warp_gives("__reduce_add_sync(0xffffffffu, lane - 3)", w);
  for (int i = 0; i < 32; i++) w[i] = -3;
  warp_gives("__reduce_min_sync(0xffffffffu, lane - 3)", w);
  for (int i = 0; i < 32; i++) w[i] = 1 + 2 * 0;
  warp_gives("__any_sync(0xffffffffu, lane == 31) + 2 * __all_sync(0xffffffffu, lane < 31)", w);
  for (int i = 0; i < 32; i++) w[i] = (int)(0x01010101u << i % 8);
  warp_gives("__match_any_sync(0xffffffffu, lane % 8)", w);
} END_TEST

START_TEST(bit_operations_are_those_of_the_gpu) {
  int w[32];
  for (int i = 0; i < 32; i++) w[i] = 32 - (i == 0 ? 0 : 1 + (int)log2(i));
  warp_gives("__clz(lane)", w);
  for (int i = 0; i < 32; i++) w[i] = i ? 1 + __builtin_ctz((unsigned)i) : 0;
  warp_gives("__ffs(lane)", w);
  for (int i = 0; i < 32; i++) w[i] = (i & 1) + (i >> 1 & 1) + (i >> 2 & 1) + (i >> 3 & 1) + (i >> 4 & 1);
  warp_gives("__popc(lane) + __popcll(0ull)", w);
  for (int i = 0; i < 32; i++) w[i] = 0x33221100;
  warp_gives("__byte_perm(0x33aa11bbu, 0xcc22dd00u, 0x3614)", w);
  for (int i = 0; i < 32; i++) w[i] = i - 2;        // 1 * i - 2 * 1 + 3 * 0 + 4 * 0
  warp_gives("__dp4a(0x0403fe01, 0x00000100 + lane, 0)", w);
} END_TEST

START_TEST(conversions_round_and_saturate) {
  int w[32];
  for (int i = 0; i < 32; i++) w[i] = (int)rint((i - 16) * 0.5);
  warp_gives("__float2int_rn((lane - 16) * 0.5f)", w);
  for (int i = 0; i < 32; i++) w[i] = (int)floor((i - 16) * 0.25);
  warp_gives("__float2int_rd((lane - 16) * 0.25f)", w);
  for (int i = 0; i < 32; i++) w[i] = i % 2 ? INT32_MAX : INT32_MIN;
  warp_gives("__float2int_rz(lane % 2 ? 1e20f : -1e20f)", w);
  for (int i = 0; i < 32; i++) w[i] = 0;
  warp_gives("__float2int_rz(nanf(\"\")) + __double2uint_rn(-3.0)", w);
  for (int i = 0; i < 32; i++) w[i] = i < 20 ? 20 : i;
  warp_gives("max(lane, 20) + (int)min(0.5f, (float)lane * 0.0f)", w);
} END_TEST

START_TEST(atomics_give_the_value_before) {
  Lab l = lab_of("extern \"C\" __global__ void k(unsigned *c, int *s, unsigned long long *w) {\n"
                 "  atomicAdd(&c[0], 2u); atomicInc(&c[1], 6u); atomicMax(&c[2], threadIdx.x); atomicMin(&s[0], -(int)threadIdx.x);\n"
                 "  if (atomicCAS(&w[0], 0ull, 5ull) == 0) atomicAdd(&w[1], 7ull);\n"
                 "  atomicExch(&c[3], 9u); atomicDec(&c[4], 3u); atomicOr(&c[5], 1u << threadIdx.x); atomicSub(&s[1], 1);\n}\n", true);
  void *c = zeros(&l, 6 * 4), *s = zeros(&l, 2 * 4), *w = zeros(&l, 2 * 8);
  launch_well(&l, "k", (Shape){.block = {32, 1, 1}}, ARGS(&c, &s, &w));
  unsigned gc[6];
  int gs[2];
  unsigned long long gw[2];
  get(&l, gc, c, sizeof gc);
  get(&l, gs, s, sizeof gs);
  get(&l, gw, w, sizeof gw);
  // 32 increments modulo 7; 32 decrements that wrap to 3, so modulo 4.
  ck_assert_uint_eq(gc[0], 64);
  ck_assert_uint_eq(gc[1], 32 % 7);
  ck_assert_uint_eq(gc[2], 31);
  ck_assert_uint_eq(gc[3], 9);
  ck_assert_uint_eq(gc[4], 0);
  ck_assert_uint_eq(gc[5], ~0u);
  ck_assert_int_eq(gs[0], -31);
  ck_assert_int_eq(gs[1], -32);
  ck_assert_uint_eq(gw[0], 5);
  ck_assert_uint_eq(gw[1], 7);
  lab_free(&l);
} END_TEST

START_TEST(indices_cover_blocks_and_grids_of_three_dimensions) {
  Lab l = lab_of("extern \"C\" __global__ void k(int *out) {\n"
                 "  const unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);\n"
                 "  const unsigned b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);\n"
                 "  out[b * blockDim.x * blockDim.y * blockDim.z + t] += (int)(b * 1000 + t);\n}\n", true);
  enum { N = 2 * 3 * 4 * 5 * 2 * 3 };
  void *out = zeros(&l, N * 4);
  int got[N];
  launch_well(&l, "k", (Shape){.grid = {2, 3, 4}, .block = {5, 2, 3}}, ARGS(&out));
  get(&l, got, out, sizeof got);
  for (int i = 0; i < N; i++) ck_assert_int_eq(got[i], i / 30 * 1000 + i % 30);
  lab_free(&l);
} END_TEST

START_TEST(a_barrier_counts_and_combines) {
  Lab l = lab_of("extern \"C\" __global__ void k(int *out) {\n"
                 "  const int t = (int)threadIdx.x, n = __syncthreads_count(t % 3 == 0), a = __syncthreads_and(t < 100), o = __syncthreads_or(t == 5);\n"
                 "  out[t] = n * 100 + a * 10 + o;\n}\n", true);
  int got[100];
  void *out = fresh(&l, sizeof got);
  launch_well(&l, "k", (Shape){.block = {100, 1, 1}}, ARGS(&out));
  get(&l, got, out, sizeof got);
  for (int i = 0; i < 100; i++) ck_assert_int_eq(got[i], 3411);     // 34 multiples of 3 below 100
  lab_free(&l);
} END_TEST

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

// ---- the device --------------------------------------------------------------------------------------------------

START_TEST(memory_ends_where_the_device_does) {
  EmuDevice *d = emu_device_make(4096, 0);
  void *p = emu_alloc(d, 4000);
  ck_assert_ptr_nonnull(p);
  ck_assert_uint_eq((uintptr_t)p % 256, 0);
  ck_assert_ptr_null(emu_alloc(d, 1));         // 4000 count as 4096
  ck_assert_uint_eq(emu_memory_left(d), 0);
  ck_assert(!emu_free(d, (char *)p + 1));
  ck_assert(emu_free(d, p) && !emu_free(d, p));
  ck_assert_uint_eq(emu_memory_left(d), 4096);
  ck_assert_ptr_null(emu_alloc(d, SIZE_MAX));
  emu_device_free(d);
} END_TEST

START_TEST(copies_stay_inside_an_allocation) {
  EmuDevice *d = emu_device_make(1 << 20, 0);
  char *p = emu_alloc(d, 10), in[11] = "0123456789", out[11] = "";
  emu_memory_lock(d);
  ck_assert(emu_upload(d, p, in, 10) && !emu_upload(d, p, in, 11) && !emu_upload(d, p + 5, in, 6));
  ck_assert(emu_download(d, out, p + 5, 5) && !emu_download(d, out, p + 5, 6));
  ck_assert_str_eq(out, "56789");
  ck_assert(emu_fill(d, p + 2, "ab", 2, 4) && emu_download(d, out, p, 10));
  ck_assert_str_eq(out, "01abab6789");
  ck_assert(emu_upload(d, p + 10, in, 0) && !emu_upload(d, in, p, 1));
  emu_device_free(d);
} END_TEST

START_TEST(orders_have_names) {
  EmuOrder o;
  ck_assert(emu_order_parse("forward", &o) && o.threads == EMU_FORWARD && o.blocks == EMU_FORWARD);
  ck_assert(emu_order_parse("reversed", &o) && o.threads == EMU_REVERSED);
  ck_assert(emu_order_parse("random:12", &o) && o.threads == EMU_RANDOM && o.seed == 12);
  ck_assert(!emu_order_parse("random", &o) && !emu_order_parse("random:", &o) && !emu_order_parse("random:1x", &o) && !emu_order_parse("", &o));
} END_TEST

START_TEST(comments_strings_and_prototypes_do_not_confuse_the_reader) {
  Lab l = lab_of("// extern \"C\" __global__ void no(int x) {\n/* __shared__ */\n#define TEXT \"__shared__ {\"\n"
                 "extern \"C\" __global__ void __launch_bounds__(32) k(const /* , */ int *const __restrict__ a, int\n b);\n"
                 "extern \"C\" __global__ void __launch_bounds__(32)\nk(const /* , */ int *const __restrict__ a, int\n b)\n{ if (b == '}') { __shared__ int s; *(volatile int *)&s = *a; } }\n"
                 "static __device__ const char *f(void) { return TEXT; }\n"
                 "extern \"C\" __global__ void k2(void) { __shared__ __align__(8) double x, z[3]; *(volatile double *)&x = 1; *(volatile double *)&z[1] = x; (void)f; }\n", true);
  ck_assert_int_eq(emu_module_kernels(l.module), 2);
  const EmuKernel *k = emu_module_find(l.module, "k"), *k2 = emu_module_find(l.module, "k2");
  ck_assert_int_eq(k->nparams, 2);
  ck_assert_str_eq(k->param[0].name, "a");
  ck_assert(k->param[0].is_pointer && !k->param[1].is_pointer);
  ck_assert_uint_eq(k->param[1].bytes, 4);
  ck_assert_int_eq(k->max_threads, 32);
  ck_assert_uint_eq(emu_shared_bytes(l.module, k), 4);
  ck_assert_uint_eq(emu_shared_bytes(l.module, k2), 4 * 8);
  ck_assert_ptr_null(emu_module_find(l.module, "no"));
  lab_free(&l);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    block_softmax_is_right_in_all_orders, block_softmax_is_right_without_checks, warp_softmax_is_right_in_all_orders, blocks_run_on_several_host_threads,
    column_sums_merge_in_the_last_block_whichever_it_is, one_fence_behind_a_barrier_publishes_the_whole_block, transpose_goes_through_padded_shared_memory,
    bf16_is_the_nearest_and_comes_back, a_cluster_shares_its_shared_memory, a_cooperative_grid_meets, asynchronous_copies_arrive_when_they_are_waited_for, bulk_copies_go_in_and_out_of_shared_memory,
    a_launch_that_waits_for_the_one_before_is_right, a_scan_looks_back_at_what_earlier_tiles_published, shuffles_read_the_lane_that_ptx_says,
    votes_and_reductions_count_the_lanes_of_the_mask, bit_operations_are_those_of_the_gpu, conversions_round_and_saturate, atomics_give_the_value_before,
    indices_cover_blocks_and_grids_of_three_dimensions, a_barrier_counts_and_combines, float_atomics_do_not_compile, unknown_functions_and_host_types_do_not_compile,
    shared_memory_belongs_into_a_kernel, a_missing_barrier_is_a_race, a_missing_barrier_before_the_next_write_is_a_race, without_checks_another_order_shows_the_race,
    lanes_of_a_warp_need_syncwarp, a_shuffle_orders_no_memory, syncwarp_orders_no_other_warp, half_a_warp_may_meet_alone, a_race_names_both_lines,
    blocks_that_write_one_element_race, without_checks_another_order_of_blocks_shows, reading_what_another_block_changes_in_place_is_a_race,
    a_last_arriver_needs_the_fences_of_the_others, a_fence_before_the_write_publishes_nothing, an_atomic_beside_a_plain_write_is_a_race,
    the_read_only_path_must_not_see_new_values, places_may_be_exempted_from_the_comparison_of_orders, a_barrier_in_a_branch_is_found,
    threads_at_different_barriers_are_found, threads_that_leave_before_a_barrier_are_found, lanes_missing_from_a_shuffle_are_found,
    a_shuffle_from_a_lane_that_left_is_found, lanes_at_different_shuffles_are_found,
    meetings_in_a_function_reached_from_different_places_are_found, lanes_with_different_masks_are_found, the_active_mask_is_no_ones_to_rely_on,
    reading_shared_memory_that_nobody_wrote_is_found, unwritten_shared_memory_is_nan_without_checks, reading_global_memory_that_nobody_wrote_is_found,
    one_element_too_far_is_found, without_checks_guards_find_it, an_overrun_that_alignment_hides_is_found_after_the_launch, an_overrun_of_a_shared_array_is_found,
    more_dynamic_shared_memory_than_asked_for_is_found, a_misaligned_vector_is_found, shared_floats_are_no_vectors_without_align, a_pointer_to_host_memory_is_found,
    freed_memory_is_no_memory, variables_of_other_threads_and_of_the_module_are_found, launches_that_no_gpu_makes_are_refused, launch_bounds_hold,
    waiting_for_what_never_comes_is_found, waiting_for_another_warp_ends_when_it_comes, remote_shared_memory_needs_barriers_of_the_cluster,
    a_barrier_of_the_grid_needs_a_cooperative_launch, asynchronous_copies_must_be_waited_for, bulk_loads_must_be_waited_for,
    bulk_copies_have_sizes_and_places, bulk_stores_need_fences_of_the_writers_and_an_end, a_dependent_launch_must_wait_before_it_reads,
    a_stack_that_is_too_small_is_found, traps_and_undefined_behaviour_are_found, after_a_fault_the_device_works_on, memory_ends_where_the_device_does,
    copies_stay_inside_an_allocation, orders_have_names, comments_strings_and_prototypes_do_not_confuse_the_reader,
  };
  return UNIT_RUN("cuda_emu", tests);
}
