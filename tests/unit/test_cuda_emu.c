// test_cuda_emu.c: the emulator of GPUs runs kernels that are right.
#include "tests/cuda_emu/lab.h"

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
  for (int i = 0; i < 32; i++) w[i] = (i ^ 1) % 3 == 0;
  warp_gives("__shfl_xor_sync(0xffffffffu, lane % 3 == 0 ? (bool)1 : (bool)0, 1)", w);
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

START_TEST(shared_variables_have_the_alignment_of_their_types) {
  Lab l = lab_of("typedef struct { double d; char c; } Pair;\n"
                 "extern \"C\" __global__ void k(double *y) {\n  const int t = (int)threadIdx.x;\n"
                 "  __shared__ char a[5], *p;\n  __shared__ double b[32], c;\n  __shared__ unsigned long long u;\n  __shared__ float4 v[2];\n  __shared__ Pair q[3];\n"
                 "  __shared__ __align__(32) short s[7];\n  extern __shared__ double4 d[];\n"
                 "  if (t == 0) { a[1] = 1; p = a; c = 2; u = 3; v[1] = make_float4(4, 4, 4, 4); q[2].d = 5; s[6] = 6; d[1].x = 7; }\n"
                 "  b[t] = 8;\n  __syncthreads();\n"
                 "  y[t] = p[1] + c + (double)u + v[1].w + q[2].d + s[6] + d[1].x + b[31 - t] + 100 * ((unsigned long long)s % 32);\n}\n", true);
  double got[32];
  void *y = fresh(&l, sizeof got);
  launch_well(&l, "k", (Shape){.block = {32, 1, 1}, .dynamic = 64}, ARGS(&y));
  get(&l, got, y, sizeof got);
  for (int i = 0; i < 32; i++) ck_assert(got[i] == 36);       // 1 + … + 8
  lab_free(&l);
} END_TEST

START_TEST(structures_from_calls_count_as_written) {
  Lab l = lab_of("typedef struct { float v; int i; } Best;\n"
                 "static __device__ __noinline__ Best better(Best a, Best b) { return a.v < b.v ? b : a; }\n"
                 "static __device__ float2 *same(float2 *p) { return p; }\n"
                 "static __device__\n  float2 both(Best a) { return *same((float2[1]){{a.v, a.v}}); }\n"
                 "extern \"C\" __global__ void k(int *y) {\n  __shared__ Best best[32];\n  const int t = (int)threadIdx.x;\n  Best a = {(float)(t * 7 % 32), t}, b = {5.5f, -1};\n"
                 "  best[t] = better(a, b);\n  __syncthreads();\n  y[t] = best[31 - t].i;\n}\n", true);
  int got[32];
  void *y = fresh(&l, sizeof got);
  launch_well(&l, "k", (Shape){.block = {32, 1, 1}}, ARGS(&y));
  get(&l, got, y, sizeof got);
  for (int i = 0; i < 32; i++) ck_assert_int_eq(got[i], (31 - i) * 7 % 32 > 5 ? 31 - i : -1);
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
  ck_assert(k->param[0].how == EMU_POINTER_TO_CONST && k->param[1].how == EMU_BY_VALUE);
  ck_assert_uint_eq(k->param[1].bytes, 4);
  ck_assert_int_eq(k->max_threads, 32);
  ck_assert_uint_eq(emu_shared_bytes(l.module, k), 4);
  ck_assert_uint_eq(emu_shared_bytes(l.module, k2), 4 * 8);
  ck_assert_ptr_null(emu_module_find(l.module, "no"));
  lab_free(&l);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    block_softmax_is_right_in_all_orders, block_softmax_is_right_without_checks, warp_softmax_is_right_in_all_orders,
    blocks_run_on_several_host_threads, column_sums_merge_in_the_last_block_whichever_it_is, one_fence_behind_a_barrier_publishes_the_whole_block,
    transpose_goes_through_padded_shared_memory, bf16_is_the_nearest_and_comes_back, a_cluster_shares_its_shared_memory, a_cooperative_grid_meets,
    asynchronous_copies_arrive_when_they_are_waited_for, bulk_copies_go_in_and_out_of_shared_memory, a_launch_that_waits_for_the_one_before_is_right,
    a_scan_looks_back_at_what_earlier_tiles_published, shuffles_read_the_lane_that_ptx_says, votes_and_reductions_count_the_lanes_of_the_mask,
    bit_operations_are_those_of_the_gpu, conversions_round_and_saturate, atomics_give_the_value_before,
    indices_cover_blocks_and_grids_of_three_dimensions, a_barrier_counts_and_combines, structures_from_calls_count_as_written, shared_variables_have_the_alignment_of_their_types, memory_ends_where_the_device_does,
    copies_stay_inside_an_allocation, orders_have_names, comments_strings_and_prototypes_do_not_confuse_the_reader,
  };
  return UNIT_RUN("cuda_emu", tests);
}
