// What fusion must reach, in numbers that do not flake: kernels made and bytes moved.
#include "frontend/sema.h"
#include "ir/cost.h"
#include "passes/pass.h"
#include "tests/unit/unit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Built { Arena *a; Diags *d; Fn *fn; Plan *plan; } Built;

static Built build_on(const char *target, const char *text, const char *entry, const PassOptions *opt) {
  Built b = { .a = arena_create() };
  b.d = diags_create(b.a);
  Program *p = program_load(b.a, intern_create(b.a), b.d, "test.plait", text, strlen(text), NULL, NULL);
  b.fn = b.d->errors ? NULL : program_elaborate(p, entry, b.a);
  if (b.fn) b.plan = passes_run(b.a, b.fn, machine_default(target), opt, NULL);
  return b;
}

static Built build_with(const char *text, const char *entry, const PassOptions *opt) { return build_on("c", text, entry, opt); }

static Built build_well(const char *text, const PassOptions *opt) {
  Built b = build_with(text, NULL, opt);
  Buf out = buf_make(b.a);
  diags_print(b.d, &out, false);
  ck_assert_msg(b.plan != NULL, "%s", out.s);
  return b;
}

static Built build(const char *text) { return build_well(text, &(PassOptions){ .verify = true }); }

static Built build_file_with(const char *path, const PassOptions *opt) {
  static char text[1 << 16];
  FILE *in = fopen(path, "rb");
  ck_assert_msg(in != NULL, "cannot open %s: run from the project's folder", path);
  size_t n = fread(text, 1, sizeof text - 1, in);
  text[n] = '\0';
  fclose(in);
  return build_well(text, opt);
}

static Built build_file(const char *path) { return build_file_with(path, &(PassOptions){ .verify = true }); }

// The value of a cost for dimensions by name: "N=64 D=32".
static double bytes(const Built *b, const Expr *e, const char *dims) {
  int64_t v[16] = {0};
  for (int i = 0; i < b->fn->dims.n; i++) {
    char name[32];
    snprintf(name, sizeof name, "%s=", b->fn->dims.v[i]->name);
    const char *at = strstr(dims, name);
    ck_assert_msg(at != NULL, "no value for %s", name);
    v[i] = strtoll(at + strlen(name), NULL, 10);
  }
  return cost_value(e, v);
}

// One kernel that moves `least` bytes, which nothing could go below.
static void check_minimum(const char *path, const char *dims, double least) {
  Built b = build_file(path);
  ck_assert_int_eq(b.plan->kernels.n, 1);
  ck_assert_double_eq(bytes(&b, b.plan->bytes_minimum, dims), least);
  ck_assert_double_eq(bytes(&b, b.plan->bytes_fused, dims), least);
  ck_assert_double_gt(bytes(&b, b.plan->bytes_unfused, dims), least);
  arena_destroy(b.a);
}

START_TEST(a_chain_of_twenty_operations_moves_the_least) {
  // x, r read, y written: 3·N·D; b: D; s: N; 4 bytes each
  check_minimum("examples/fusion/chain20.plait", "N=64 D=32", 4 * (3 * 64 * 32 + 32 + 64));
}
END_TEST

START_TEST(a_causal_softmax_reads_half) {
  // s up to the diagonal: B·T·(T + 1) / 2; p written: B·T·T; 4 bytes each
  check_minimum("bench/cases/causal_softmax.plait", "B=3 T=17", 4 * (3 * 17 * 18 / 2 + 3 * 17 * 17));
}
END_TEST

// What one function reads and writes beside its results of 4 bytes a row.
static double read_of(const char *text, const char *dims) {
  Built b = build(text);
  double v = bytes(&b, b.plan->bytes_fused, dims);
  arena_destroy(b.a);
  return v;
}

START_TEST(bands_of_a_matrix_count_as_what_they_are) {
  // Rows 0, 1, 2, …, 9 of 7 columns have 1, 2, …, 7, 7, 7, 7 elements up to the diagonal: 28 + 3 * 7 = 49
  ck_assert_double_eq(read_of("fn f(x: f32[N, D]) -> s: f32[N] { s[i] = sum[j](x[i, j] if j <= i) }", "N=10 D=7"), 4 * (49 + 10));
  ck_assert_double_eq(read_of("fn f(x: f32[N, D]) -> s: f32[N] { s[i] = sum[j](if i >= j then x[i, j] else 0) }", "N=10 D=7"), 4 * (49 + 10));
  // the rest of 70
  ck_assert_double_eq(read_of("fn f(x: f32[N, D]) -> s: f32[N] { s[i] = sum[j](x[i, j] if not (j <= i)) }", "N=10 D=7"), 4 * (21 + 10));
  // 3 of each row and column but for the corner, where there are 1 and 2; rows 7, 8, 9 have 2, 1, 0: 1 + 2 + 5 * 3 + 2 + 1
  ck_assert_double_eq(read_of("fn f(x: f32[N, D]) -> s: f32[N] { s[i] = sum[j](x[i, j] if j <= i and j > i - 3) }", "N=10 D=7"), 4 * (21 + 10));
  // j < 10 - i: rows 0 .. 3 have all 7, then 6, 5, … 1: 28 + 21
  ck_assert_double_eq(read_of("fn f(x: f32[N, D]) -> s: f32[N] { s[i] = sum[j](x[i, j] if i + j < N) }", "N=10 D=7"), 4 * (49 + 10));
}
END_TEST

START_TEST(softmax_moves_the_least) {
  check_minimum("examples/fusion/softmax.plait", "N=64 D=32", 4 * 2 * 64 * 32);     // x read, y written
}
END_TEST

START_TEST(layer_norm_with_residual_and_two_outputs_moves_the_least) {
  check_minimum("examples/fusion/layer_norm_residual.plait", "N=64 D=32", 4 * (4 * 64 * 32 + 2 * 32));   // x, r, s, y; w, b
}
END_TEST

START_TEST(rms_norm_with_int8_quantisation_moves_the_least) {
  check_minimum("examples/fusion/rms_norm_int8.plait", "N=64 D=32", 4 * (64 * 32 + 32 + 64) + 64 * 32);  // x, w, scale; q in one byte
}
END_TEST

START_TEST(masked_scaled_softmax_moves_the_least) {
  check_minimum("examples/fusion/masked_softmax.plait", "N=64 D=32", 4 * 2 * 64 * 32 + 64 * 32);         // s, p; mask in one byte
}
END_TEST

START_TEST(siblings_that_share_inputs_read_them_once) {
  check_minimum("examples/fusion/siblings.plait", "N=64 D=32", 4 * 4 * 64 * 32);                          // x, r, y, z
}
END_TEST

START_TEST(rope_of_q_and_k_moves_the_least) {
  check_minimum("examples/fusion/rope_qk.plait", "T=8 H=4 E=16", 4 * (4 * 8 * 4 * 16 + 8));               // q, k, qr, kr; pos
}
END_TEST

START_TEST(unfused_each_equation_is_a_kernel) {
  const char *text = "fn f(x: f32[N]) -> y: f32[N] {\n  a = x + 1\n  b = a * 2\n  y = b - x\n}\n";
  Built b = build(text);
  // a: x, a; b: a, b; y: b, x, y; 7 passes over N elements of 4 bytes
  ck_assert_double_eq(bytes(&b, b.plan->bytes_unfused, "N=100"), 4 * 7 * 100);
  ck_assert_double_eq(bytes(&b, b.plan->bytes_fused, "N=100"), 4 * 2 * 100);
  arena_destroy(b.a);
}
END_TEST

START_TEST(a_read_in_part_counts_in_part) {
  Built b = build("fn f(x: f32[N, D]) -> y: f32[N] where D > 3 {\n  y[i] = x[i, 0] + x[i, 3]\n}\n");
  ck_assert_double_eq(bytes(&b, b.plan->bytes_minimum, "N=10 D=100"), 4 * (2 * 10 + 10));   // two columns, one result
  arena_destroy(b.a);
}
END_TEST

START_TEST(a_gather_counts_its_reads) {
  Built b = build("fn f(t: f32[V, D], id: i32[N]) -> y: f32[N, D] {\n  y[i, j] = t[id[i], j]\n}\n");
  ck_assert_double_eq(bytes(&b, b.plan->bytes_minimum, "V=1000 D=8 N=10"), 4 * (10 * 8 + 10 + 10 * 8));   // ten rows, ids, result
  ck_assert_double_eq(bytes(&b, b.plan->bytes_minimum, "V=4 D=8 N=10"), 4 * (4 * 8 + 10 + 10 * 8));       // at most the table
  arena_destroy(b.a);
}
END_TEST

// ---- views cost no kernel -------------------------------------------------------------------------

// One kernel that moves `least` bytes, from source text.
static void check_one_kernel_on(const char *target, const char *text, const char *dims, double least) {
  Built b = build_on(target, text, NULL, &(PassOptions){ .verify = true });
  ck_assert_ptr_nonnull(b.plan);
  ck_assert_msg(b.plan->kernels.n == 1, "%d kernels for %s:\n%s", b.plan->kernels.n, target, text);
  ck_assert_double_eq(bytes(&b, b.plan->bytes_minimum, dims), least);
  ck_assert_double_eq(bytes(&b, b.plan->bytes_fused, dims), least);
  arena_destroy(b.a);
}

static void check_one_kernel(const char *text, const char *dims, double least) { check_one_kernel_on("c", text, dims, least); }

// The same on a GPU. Reductions may be several launches there, so this is for maps.
static void check_view(const char *text, const char *dims, double least) {
  check_one_kernel_on("c", text, dims, least);
  check_one_kernel_on("cuda", text, dims, least);
}

// The five classes of fusions that PyTorch's compiler misses, as its authors list them.

START_TEST(another_loop_order_costs_no_kernel) {
  check_view("fn f(x: f32[N, D], b: f32[D]) -> (y: f32[D, N], z: f32[N, D]) {\n"
                   "  y[j, i] = x[i, j] + b[j]\n  z[i, j] = x[i, j] * b[j]\n}\n", "N=64 D=32", 4 * (3 * 64 * 32 + 32));     // x, y, z; b
}
END_TEST

START_TEST(slices_at_offsets_cost_no_kernel) {
  check_view("fn f(x: f32[T, 3 * H * E], g: f32[H, E]) -> (q: f32[T, H, E], k: f32[T, H, E], v: f32[T, H, E]) {\n"
                   "  q[t, h, e] = x[t, h * E + e] * g[h, e]\n  k[t, h, e] = x[t, H * E + h * E + e] * g[h, e]\n"
                   "  v[t, h, e] = x[t, 2 * H * E + h * E + e]\n}\n", "T=8 H=4 E=16", 4 * (6 * 8 * 4 * 16 + 4 * 16));    // x, q, k, v; g
}
END_TEST

START_TEST(broadcasts_cost_no_kernel) {
  check_view("fn f(x: f32[N, D], b: f32[D], r: f32[N]) -> (y: f32[N, D], z: f32[N, D], w: f32[N]) {\n"
                   "  e[j] = exp(b[j])\n  y[i, j] = x[i, j] * e[j]\n  z[i, j] = x[i, j] + r[i]\n  w[i] = r[i] * 2\n}\n",
                   "N=64 D=32", 4 * (3 * 64 * 32 + 32 + 2 * 64));        // x, y, z; b; r, w
}
END_TEST

START_TEST(a_concatenation_costs_no_kernel) {
  check_view("fn f(a: f32[N, D], b: f32[M, D]) -> y: f32[N + M, D] {\n  p = gelu(a)\n  q = silu(b)\n"
                   "  y[i < N + M, j] = if i < N then p[i, j] else q[i - N, j]\n}\n", "N=64 M=16 D=32", 4 * 2 * (64 + 16) * 32);     // a, b; y
}
END_TEST

START_TEST(one_random_mask_for_two_results_costs_no_kernel) {
  const char *text = "fn f(x: f32[N, D], r: f32[N, D], seed: u64) -> (y: f32[N, D], z: f32[N, D]) {\n"
                     "  keep[i < N, j < D] = if uniform(seed, i * D + j) < 0.1 then 0.0 else 1.0\n"
                     "  y[i, j] = x[i, j] * keep[i, j]\n  z[i, j] = r[i, j] * keep[i, j]\n}\n";
  check_view(text, "N=64 D=32", 4 * 4 * 64 * 32);                  // x, r, y, z
}
END_TEST

START_TEST(a_reduction_reads_its_producer_transposed) {
  check_one_kernel("fn f(x: f32[N, D], b: f32[D]) -> s: f32[D] {\n  t[i, j] = gelu(x[i, j] + b[j])\n  u[j, i] = t[i, j]\n"
                   "  s[j] = sum[i](u[j, i])\n}\n", "N=64 D=32", 4 * (64 * 32 + 2 * 32));       // x; b, s
}
END_TEST

START_TEST(readers_at_two_offsets_share_a_kernel) {
  check_view("fn f(x: f32[N]) -> (y: f32[N], z: f32[N]) {\n  t[i] = exp(x[i])\n  y[i] = t[i] - (t[i - 1] ?? 0)\n"
                   "  z[i] = t[i] + (t[i + 1] ?? 0)\n}\n", "N=100", 4 * 3 * 100);      // x, y, z
}
END_TEST

START_TEST(halves_of_a_normed_row_share_its_norm) {
  check_view("fn f(x: f32[T, H, E], w: f32[E], c: f32[T, E], s: f32[T, E]) -> q: f32[T, H, E] where E % 2 == 0 {\n"
                   "  n = rms_norm(x, w)\n  r[t, h, e < E] = if e < E // 2 then -n[t, h, e + E // 2] else n[t, h, e - E // 2]\n"
                   "  q[t, h, e] = n[t, h, e] * c[t, e] + r[t, h, e] * s[t, e]\n}\n",
                   "T=8 H=4 E=16", 4 * (2 * 8 * 4 * 16 + 16 + 2 * 8 * 16));     // x, q; w; c, s
}
END_TEST

START_TEST(what_follows_a_recurrence_shares_its_kernel) {
  check_view("fn f(x: f32[T, D], w: f32[D]) -> y: f32[T, D] {\n  h[t, i] = 0.9 * (h[t - 1, i] ?? 0) + x[t, i]\n"
             "  y[t, i] = max(h[t, i], 0) * w[i]\n}\n", "T=64 D=32", 4 * (2 * 64 * 32 + 32));       // x, y; w
  check_view("fn f(a: f32[B, T, D], x: f32[B, T, D]) -> (h: f32[B, T, D], y: f32[B, T, D]) {\n"
             "  h[b, t, i] = a[b, t, i] * (h[b, t - 1, i] ?? 0) + x[b, t, i]\n  y[b, t, i] = h[b, t, i] * x[b, t, i]\n}\n",
             "B=4 T=16 D=32", 4 * 4 * 4 * 16 * 32);     // a, x, h, y
}
END_TEST

START_TEST(what_follows_a_prefix_shares_its_kernel) {
  check_one_kernel("fn f(x: f32[N, D], w: f32[D]) -> y: f32[N, D] {\n  c[i, k < D] = sum[j <= k](x[i, j])\n  y[i, k] = c[i, k] * w[k]\n}\n",
                   "N=64 D=32", 4 * (2 * 64 * 32 + 32));      // x, y; w
  check_one_kernel("fn f(x: f32[D], w: f32[D]) -> y: f32[D] {\n  c[k < D] = sum[j < k](x[j])\n  y[k] = c[k] * w[k]\n}\n",
                   "D=1000", 4 * 3 * 1000);      // x, w, y
}
END_TEST

START_TEST(normed_rows_are_padded_split_and_joined_in_one_kernel) {
  check_one_kernel("fn f(x: f32[N, D]) -> y: f32[N, D + 2] {\n  s = softmax(x)\n  y[i, j < D + 2] = s[i, j - 1] ?? 0\n}\n",
                   "N=64 D=32", 4 * 64 * (32 + 34));                           // x; y
  check_one_kernel("fn f(x: f32[T, H * E], w: f32[H, E]) -> q: f32[T, H, E] {\n  n = rms_norm(x)\n"
                   "  q[t, h, e] = n[t, h * E + e] * w[h, e]\n}\n", "T=8 H=4 E=16", 4 * (2 * 8 * 4 * 16 + 4 * 16));   // x, q; w
  check_one_kernel("fn f(a: f32[N, D], b: f32[N, D]) -> y: f32[N, D + D] {\n  p = rms_norm(a)\n  q = rms_norm(b)\n"
                   "  y[i, j < D + D] = if j < D then p[i, j] else q[i, j - D]\n}\n", "N=64 D=32", 4 * 4 * 64 * 32);     // a, b; y
}
END_TEST

START_TEST(padding_and_windows_cost_no_kernel) {
  check_view("fn f(x: f32[N, D], b: f32[D]) -> y: f32[N + 2, D + 2] {\n  g[i, j] = gelu(x[i, j] + b[j])\n"
             "  y[i < N + 2, j < D + 2] = g[i - 1, j - 1] ?? 0\n}\n", "N=64 D=32", 4 * (64 * 32 + 32 + 66 * 34));     // x, b; y
  check_view("fn f(x: f32[N, 2 * D]) -> y: f32[N, D] {\n  a[i, j < D] = x[i, j]\n  g[i, j < D] = x[i, D + j]\n"
             "  y[i, j] = silu(a[i, j]) * g[i, j]\n}\n", "N=64 D=32", 4 * 3 * 64 * 32);      // x, y
}
END_TEST

START_TEST(views_of_views_cost_no_kernel) {
  // split into heads, turned, halves rotated, joined again
  check_view("fn f(x: f32[T, H * E], c: f32[T, E], s: f32[T, E]) -> y: f32[H * E, T] where E % 2 == 0 {\n"
             "  h[k < H, t, e < E] = x[t, k * E + e]\n  r[k < H, t, e < E] = if e < E // 2 then -h[k, t, e + E // 2] else h[k, t, e - E // 2]\n"
             "  q[k, t, e] = h[k, t, e] * c[t, e] + r[k, t, e] * s[t, e]\n  y[n < H * E, t] = q[n // E, t, n % E]\n}\n",
             "T=8 H=4 E=16", 4 * (2 * 8 * 4 * 16 + 2 * 8 * 16));      // x, y; c, s
}
END_TEST

// ---- reductions by the grid's indices ---------------------------------------------------------------

// What `group` makes for a lowering that takes more than today's.
static const char *schedule(Arena **a, const char *text, unsigned takes) {
  const char *stopped = NULL;
  PassOptions opt = { .verify = true, .stop_after = "group", .takes = takes };
  *a = arena_create();
  Diags *d = diags_create(*a);
  Program *p = program_load(*a, intern_create(*a), d, "test.plait", text, strlen(text), NULL, NULL);
  Fn *f = d->errors ? NULL : program_elaborate(p, NULL, *a);
  if (f) passes_run(*a, f, machine_default("c"), &opt, &stopped);
  ck_assert_msg(stopped != NULL, "%s", text);
  return stopped;
}

static int occurrences(const char *in, const char *what) {
  int n = 0;
  for (const char *s = in; (s = strstr(s, what)); s++) n++;
  return n;
}

// How many kernels there are, and how many of their equations each grid point only adds a share to.
static void check_shares(const char *text, int kernels, int shares) {
  Arena *a;
  const char *s = schedule(&a, text, LOWER_MIXED_AXES);
  ck_assert_msg(occurrences(s, "kernel ") == kernels && occurrences(s, "adds its share") == shares, "%s", s);
  arena_destroy(a);
}

START_TEST(the_gradients_of_layer_norm_are_one_kernel_over_rows) {
  check_shares("fn f(x: f32[N, D], w: f32[D], dy: f32[N, D]) -> (dx: f32[N, D], dw: f32[D], db: f32[D]) {\n"
               "  mu[i] = mean[j](x[i, j])\n  r[i] = rsqrt(mean[j]((x[i, j] - mu[i]) ** 2) + 1e-5)\n"
               "  h[i, j] = (x[i, j] - mu[i]) * r[i]\n  g[i, j] = dy[i, j] * w[j]\n"
               "  c1[i] = mean[j](g[i, j])\n  c2[i] = mean[j](g[i, j] * h[i, j])\n"
               "  dx[i, j] = r[i] * (g[i, j] - c1[i] - h[i, j] * c2[i])\n"
               "  dw[j] = sum[i](dy[i, j] * h[i, j])\n  db[j] = sum[i](dy[i, j])\n}\n", 1, 2);
}
END_TEST

START_TEST(a_maximum_over_all_joins_what_walks_its_input) {
  check_shares("fn f(x: f32[N, D], s: f32) -> (y: f8e4m3[N, D], t: f8e4m3[D, N], a: f32) {\n"
               "  a = max[i, j](abs(x[i, j]))\n  y[i, j] = x[i, j] * s\n  t[j, i] = x[i, j] * s\n}\n", 1, 1);
  check_shares("fn f(x: f32[N]) -> (y: f32[N], at: i32) where N > 0 {\n  y = x * 2\n  at = argmax[i](x[i])\n}\n", 1, 1);
}
END_TEST

START_TEST(sums_over_both_axes_walk_the_rows) {
  Arena *a;
  const char *s = schedule(&a, "fn f(x: f32[N, D]) -> (r: f32[N], c: f32[D]) {\n  r[i] = sum[j](x[i, j])\n  c[j] = sum[i](x[i, j])\n}\n", LOWER_MIXED_AXES);
  ck_assert_msg(strstr(s, "kernel 0 over i < N:") && !strstr(s, "kernel 1") && strstr(s, "c[j < D] = sum[i < N](x[i, j])    # each"), "%s", s);
  arena_destroy(a);
}
END_TEST

START_TEST(what_reads_a_shared_sum_is_another_kernel) {
  check_shares("fn f(x: f32[N, D], z: f32[N, D]) -> (y: f32[N, D], r: f32[N]) {\n  c[j] = sum[i](x[i, j])\n  r[i] = sum[j](x[i, j])\n"
               "  y[i, j] = z[i, j] * c[j]\n}\n", 2, 1);
}
END_TEST

START_TEST(shares_need_the_whole_range_and_a_walk_of_their_own) {
  // a part of the rows; a product of two, which each row would add to as a whole; a product, which keeps its order
  check_shares("fn f(x: f32[N, D]) -> (r: f32[N], c: f32[D]) where N > 1, D > 1 {\n"
               "  r[i] = sum[j in 1 .. D](x[i, j])\n  c[j] = sum[i in 1 .. N](x[i, j])\n}\n", 2, 0);
  check_shares("fn f(x: f32[N, K], d: f32[N, O]) -> (r: f32[N], w: f32[K, O]) {\n  r[i] = sum[k](x[i, k])\n  w[k, o] = sum[i](x[i, k] * d[i, o])\n}\n", 2, 0);
  check_shares("fn f(x: f32[N, D]) -> (r: f32[N], c: f32[D]) {\n  r[i] = prod[j](x[i, j])\n  c[j] = prod[i](x[i, j])\n}\n", 2, 0);
}
END_TEST

START_TEST(todays_lowering_gets_no_shares) {
  Arena *a;
  const char *s = schedule(&a, "fn f(x: f32[N, D]) -> (r: f32[N], c: f32[D]) {\n  r[i] = sum[j](x[i, j])\n  c[j] = sum[i](x[i, j])\n}\n", 0);
  ck_assert(LOWER_TAKES & LOWER_MIXED_AXES || !strstr(s, "adds its share"));
  arena_destroy(a);
}
END_TEST

static int kernels_of(const char *text) {
  Built b = build(text);
  int n = b.plan->kernels.n;
  arena_destroy(b.a);
  return n;
}

// ---- updates --------------------------------------------------------------------------------------

START_TEST(a_step_of_an_optimiser_in_place_is_one_kernel) {
  check_one_kernel("fn f(mut p: f32[N], mut m: f32[N], mut v: f32[N], g: f32[N]) {\n  m[i] <- m[i] * 0.9 + g[i] * 0.1\n"
                   "  v[i] <- v[i] * 0.999 + g[i] * g[i] * 0.001\n  p[i] <- p[i] - 0.01 * m[i] / (sqrt(v[i]) + 1e-8)\n}\n",
                   "N=100", 4 * 7 * 100);      // p, m, v read and written, g read
}
END_TEST

START_TEST(old_and_new_values_of_a_point_share_a_kernel_in_order) {
  Built b = build("fn f(mut c: f32[N], x: f32[N]) -> (y: f32[N], z: f32[N]) {\n  y[i] = c[i] * x[i]\n  c[i] <- x[i]\n  z[i] = c[i] + 1\n}\n");
  ck_assert_int_eq(b.plan->kernels.n, 1);
  const Kernel *k = b.plan->kernels.v[0];
  ck_assert_int_eq(k->eqns.n, 3);
  ck_assert_str_eq(k->eqns.v[0]->def->name, "y");
  ck_assert_ptr_nonnull(k->eqns.v[1]->base);
  ck_assert_str_eq(k->eqns.v[2]->def->name, "z");
  arena_destroy(b.a);
}
END_TEST

START_TEST(updates_elsewhere_or_perhaps_are_kernels_of_their_own) {
  ck_assert_int_eq(kernels_of("fn f(mut c: f32[N], x: f32[N]) -> y: f32[N] {\n  y[i] = c[N - 1 - i] + x[i]\n  c[i] <- x[i]\n}\n"), 2);
  ck_assert_int_eq(kernels_of("fn f(mut c: f32[N], x: f32[N], p: i32[N]) -> y: f32[N] {\n  y[i] = c[i] + 1\n  c[p[i]] <- x[i]\n}\n"), 2);
  ck_assert_int_eq(kernels_of("fn f(mut c: f32[N], x: f32[N]) -> y: f32[N] {\n  c[i] <- x[i] if x[i] > 0\n  y[i] = c[i] + 1\n}\n"), 2);
  // the transposed tensor is read at other points
  ck_assert_int_eq(kernels_of("fn f(mut c: f32[N, N], x: f32[N, N]) -> y: f32[N, N] {\n  y[i, j] = c[j, i] + x[i, j]\n  c[i, j] <- x[i, j]\n}\n"), 2);
  // a row is reduced while it changes
  ck_assert_int_eq(kernels_of("fn f(mut c: f32[N, D], x: f32[N, D]) -> y: f32[N] {\n  y[i] = sum[j](c[i, j] + x[i, j])\n  c[i, j] <- x[i, j]\n}\n"), 2);
}
END_TEST

// ---- launches ------------------------------------------------------------------------------------

static void check_launches(const char *text, int launches, int beside) {
  Arena *a;
  const char *s = schedule(&a, text, LOWER_SECTIONS);
  ck_assert_msg(occurrences(s, "kernel ") == launches && occurrences(s, "beside it over") == beside, "%s", s);
  arena_destroy(a);
}

START_TEST(small_unlike_problems_share_a_launch) {
  // a step of an optimiser for two parameters; the norms of queries, keys and values of one token
  check_launches("fn f(p: f32[N], g: f32[N], m: f32[N], p2: f32[M], g2: f32[M], m2: f32[M]) -> (pn: f32[N], mn: f32[N], pn2: f32[M], mn2: f32[M]) {\n"
                 "  mn = m * 0.9 + g * 0.1\n  pn = p - mn * 0.01\n  mn2 = m2 * 0.9 + g2 * 0.1\n  pn2 = p2 - mn2 * 0.01\n}\n", 1, 1);
  check_launches("fn f(q: f32[32, 128], k: f32[8, 128], v: f32[4, 128]) -> (qn: f32[32, 128], kn: f32[8, 128], vn: f32[4, 128]) {\n"
                 "  qn = rms_norm(q)\n  kn = rms_norm(k)\n  vn = rms_norm(v)\n}\n", 1, 2);
}
END_TEST

START_TEST(what_waits_for_another_has_a_launch_of_its_own) {
  check_launches("fn f(a: f32[64, 128], b: f32[32, 128]) -> y: f32[96, 128] {\n  p = rms_norm(a)\n  q = rms_norm(b)\n"
                 "  y[i < 96, j] = if i < 64 then p[i, j] else q[i - 64, j]\n}\n", 2, 1);
}
END_TEST

START_TEST(large_problems_and_sums_keep_their_launches) {
  check_launches("fn f(x: f32[4096, 4096], z: f32[2048, 8192]) -> (y: f32[4096, 4096], w: f32[2048, 8192]) {\n  y = x + 1\n  w = z + 1\n}\n", 2, 0);
  // the sum is added up at its end, the map is not
  check_launches("fn f(x: f32[M], z: f32[N]) -> (s: f32, w: f32[N]) {\n  s = sum[i](x[i])\n  w = z + 1\n}\n", 2, 0);
}
END_TEST

// ---- order and names decide nothing -------------------------------------------------------------

static double fused_of(const char *text, const char *dims) {
  Built b = build(text);
  double n = bytes(&b, b.plan->bytes_fused, dims);
  arena_destroy(b.a);
  return n;
}

START_TEST(grouping_does_not_depend_on_order_or_names) {
  const char *head = "fn f(x: f32[N, D], w: f32[D]) -> (y: f32[N, D], z: f32[D], q: f32[N]) {\n", *tail = "}\n";
  const char *eqn[] = {
    "  a[i] = max[j](x[i, j])\n", "  b[i] = sum[j](x[i, j] * w[j])\n", "  z[j] = sum[i](x[i, j])\n",
    "  y[i, j] = exp(x[i, j] - a[i]) * z[j]\n", "  q[i] = a[i] / b[i]\n",
  };
  static const int order[][5] = { { 0, 1, 2, 3, 4 }, { 2, 1, 0, 4, 3 }, { 1, 0, 4, 2, 3 }, { 2, 0, 3, 1, 4 } };
  int kernels = 0;
  double moved = 0;
  for (int k = 0; k < 4; k++) {
    char text[800];
    snprintf(text, sizeof text, "%s%s%s%s%s%s%s", head, eqn[order[k][0]], eqn[order[k][1]], eqn[order[k][2]], eqn[order[k][3]], eqn[order[k][4]], tail);
    int n = kernels_of(text);
    double m = fused_of(text, "N=100 D=50");
    if (!k) kernels = n, moved = m;
    ck_assert_int_eq(n, kernels);
    ck_assert_double_eq(m, moved);
  }
  // Other names for what is local.
  const char *renamed = "fn f(x: f32[N, D], w: f32[D]) -> (y: f32[N, D], z: f32[D], q: f32[N]) {\n"
    "  z[c] = sum[r](x[r, c])\n  zebra[r] = sum[c](x[r, c] * w[c])\n  apple[r] = max[c](x[r, c])\n"
    "  q[r] = apple[r] / zebra[r]\n  y[r, c] = exp(x[r, c] - apple[r]) * z[c]\n}\n";
  ck_assert_int_eq(kernels_of(renamed), kernels);
  ck_assert_double_eq(fused_of(renamed, "N=100 D=50"), moved);
}
END_TEST

// 300 sums over one row, more than a kernel takes.
static const char *many_sums(void) {
  static char text[60000];
  size_t n = (size_t)snprintf(text, sizeof text, "fn f(x: f32[N, D]) -> (y: f32[N], z: f32[N], u: f32[N]) {\n");
  for (int k = 0; k < 300; k++) n += (size_t)snprintf(text + n, sizeof text - n, "  s%d[i] = sum[j](x[i, j] * %d)\n", k, k + 2);
  static const char *const name[] = { "y", "z", "u" };
  for (int r = 0; r < 3; r++) {
    n += (size_t)snprintf(text + n, sizeof text - n, "  %s[i] = s%d[i]", name[r], 100 * r);
    for (int k = 1; k < 100; k++) n += (size_t)snprintf(text + n, sizeof text - n, " + s%d[i]", 100 * r + k);
    n += (size_t)snprintf(text + n, sizeof text - n, "\n");
  }
  snprintf(text + n, sizeof text - n, "}\n");
  return text;
}

// ---- the search ----------------------------------------------------------------------------------

// a and b share two inputs, c and d as well, b and c three; c needs all of a before its first element, d all of b. Merging
// b with c, which saves most, leaves a and d alone.
static const char *const four[] = {
  "  a[i] = x0[i] + x1[i]\n", "  b[i] = x0[i] * x1[i] + y0[i] + y1[i] + y2[i]\n",
  "  c[i] = y0[i] * y1[i] * y2[i] + z0[i] - a[p[i]]\n", "  d[i] = z0[i] + b[p[i]]\n",
};

static Built build_four(const int *order) {
  char text[800];
  snprintf(text, sizeof text, "fn f(x0: f32[N], x1: f32[N], y0: f32[N], y1: f32[N], y2: f32[N], z0: f32[N], p: i32[N]) -> "
           "(a: f32[N], b: f32[N], c: f32[N], d: f32[N]) {\n%s%s%s%s}\n", four[order[0]], four[order[1]], four[order[2]], four[order[3]]);
  return build(text);
}

START_TEST(a_few_equations_get_the_best_partition_not_the_greedy_one) {
  Built b = build_four((int[]){ 0, 1, 2, 3 });
  ck_assert(b.plan->choice.proved);
  ck_assert_int_eq(b.plan->kernels.n, 2);
  // {a, b}: x0, x1, y0, y1, y2 read, a, b written; {c, d}: y0, y1, y2, z0, p, a, b read, c, d written; 4 bytes each
  ck_assert_double_eq(bytes(&b, b.plan->bytes_fused, "N=100"), 4 * 16 * 100);
  arena_destroy(b.a);
}
END_TEST

START_TEST(the_best_partition_does_not_depend_on_order) {
  static const int order[][4] = { { 0, 1, 2, 3 }, { 1, 0, 2, 3 }, { 1, 3, 0, 2 }, { 0, 2, 1, 3 } };
  double ns = 0;
  for (int k = 0; k < 4; k++) {
    Built b = build_four(order[k]);
    if (!k) ns = b.plan->choice.ns;
    ck_assert_int_eq(b.plan->kernels.n, 2);
    ck_assert_double_eq(b.plan->choice.ns, ns);
    arena_destroy(b.a);
  }
}
END_TEST

START_TEST(equations_share_the_outer_indices_that_suit_both) {
  // m and t have k and j in common, but j stands behind another index of t: they share k
  Built b = build("fn f(v: f32[K], x: f32[M], z: f32[N]) -> t: f32[K, N, M] {\n  s[k] = sum[q < M](v[k] * x[q])\n"
                  "  m[k < K, j < M] = max[p < N](max(s[k], sin(x[j])) + z[p])\n  t[k < K, i < N, j < M] = sin(m[k, j])\n}\n");
  ck_assert_int_eq(b.plan->kernels.n, 1);
  ck_assert_int_eq(b.plan->kernels.v[0]->eqns.n, 3);
  arena_destroy(b.a);
}
END_TEST

START_TEST(no_choice_takes_longer_than_each_equation_alone) {
  static const char *const file[] = {
    "examples/model/layer.plait", "examples/training/layer_norm_grad.plait", "examples/training/cross_entropy.plait",
    "examples/fusion/rope_qk.plait", "examples/attention/decode.plait",
  };
  for (unsigned k = 0; k < sizeof file / sizeof *file; k++) {
    Built fused = build_file(file[k]), alone = build_file_with(file[k], &(PassOptions){ .verify = true, .no_fuse = true });
    ck_assert(fused.plan->choice.proved);
    ck_assert_double_lt(fused.plan->choice.ns, alone.plan->choice.ns);
    arena_destroy(fused.a);
    arena_destroy(alone.a);
  }
}
END_TEST

START_TEST(many_equations_are_merged_greedily) {
  Built b = build(many_sums());
  ck_assert(!b.plan->choice.proved);
  arena_destroy(b.a);
}
END_TEST

// ---- reasons ------------------------------------------------------------------------------------

static bool has_reason(const char *text, Reason r) {
  Built b = build(text);
  bool found = false;
  for (int i = 0; i < b.plan->remarks.n; i++) found |= b.plan->remarks.v[i].reason == r;
  arena_destroy(b.a);
  return found;
}

START_TEST(each_reason_for_staying_apart_can_be_had) {
  ck_assert(has_reason("fn f(x: f32[N]) -> y: f32[N] {\n  s = sum[i](x[i])\n  y[i] = x[i] / s\n}\n", REASON_REDUCTION));
  ck_assert(has_reason("fn f(x: f32[2 * N]) -> (a: f32[N], b: f32[2 * N]) {\n  a[i] = exp(x[i])\n  b[k] = x[k] + 1\n}\n", REASON_ITERATION_SPACE));
  ck_assert(has_reason("fn f(x: f32[N], p: i32[M]) -> (y: f32[N], z: f32[M]) {\n  y[i] = exp(x[i])\n  z[k] = y[p[k]]\n}\n", REASON_GATHER));
  ck_assert(has_reason("fn f(mut c: f32[N], x: f32[N]) -> y: f32[N] {\n  y[i] = c[N - 1 - i] + x[i]\n  c[i] <- x[i]\n}\n", REASON_ALIAS));
  ck_assert(has_reason("fn f(x: f32[T]) -> y: f32[T] {\n  h[t] = (h[t - 1] ?? 0) * 0.5 + x[t]\n  y[t] = h[t] + x[t]\n}\n", REASON_RECURRENCE));
  ck_assert(has_reason("fn f(x: f32[T]) -> (a: f32[T], y: f32[T]) {\n  a = x + 1\n  h[t] = (h[t - 1] ?? 0) * 0.5 + a[t]\n  y[t] = a[t] - h[t]\n}\n", REASON_ORDER));
  ck_assert(has_reason("fn f(x: f32[N, K], w: f32[O, K]) -> y: f32[N, O] {\n  h = gelu(x)\n  y[i, o] = sum[k](h[i, k] * w[o, k])\n}\n", REASON_RECOMPUTE));
  ck_assert(has_reason(many_sums(), REASON_LIMIT));
  // One row for two cores: in one kernel it would be read twice, by one core.
  ck_assert(has_reason("fn f(x: f32[1, 16777216]) -> y: f32[1, 16777216] {\n  s[i] = sum[j](x[i, j])\n  y[i, j] = x[i, j] / s[i]\n}\n", REASON_SLOWER));
  ck_assert(has_reason("fn f(x: f32[N, 32]) -> y: f32[N, 32] {\n  h: q8_0[i, j] = x[i, j]\n  y[i, j] = h[i, j]\n}\n", REASON_STORED));
}
END_TEST

// The bytes at stake in the program's only remark.
static double stake_of(const char *text, const char *dims) {
  Built b = build(text);
  ck_assert_int_eq(b.plan->remarks.n, 1);
  double n = bytes(&b, b.plan->remarks.v[0].bytes, dims);
  arena_destroy(b.a);
  return n;
}

START_TEST(a_remark_counts_what_one_kernel_would_not_have_moved) {
  // y, a result, is read once less: 4·N; the part of x that both read is: 4·N
  ck_assert_double_eq(stake_of("fn f(x: f32[N], p: i32[N]) -> (y: f32[N], z: f32[N]) {\n  y[i] = exp(x[i])\n  z[k] = y[p[k]] - x[k]\n}\n", "N=100"), 4 * 2 * 100);
  // s, a local of D elements: not written, not read; x, of N·D, read once less
  ck_assert_double_eq(stake_of("fn f(x: f32[N, D]) -> y: f32[N, D] {\n  s[j] = sum[i](x[i, j])\n  y[i, j] = x[i, j] / s[j]\n}\n", "N=100 D=10"),
                      4 * (2 * 10 + 100 * 10));
  // one reads the first half of x, the other all of it
  ck_assert_double_eq(stake_of("fn f(x: f32[2 * N]) -> (a: f32[N], b: f32[2 * N]) {\n  a[i] = exp(x[i])\n  b[k] = x[k] + 1\n}\n", "N=100"), 4 * 100);
}
END_TEST

// x has 40 readers, z 40 others, and one of these reads one of those: too many tensors for one kernel.
START_TEST(a_kernel_too_large_is_cut_where_least_passes) {
  Arena *a = arena_create();
  Buf text = buf_make(a);
  buf_puts(&text, "fn f(x: f64[N, D], z: f64[N, D]) -> (a0: f32[N, D]");
  for (int k = 1; k < 80; k++) buf_printf(&text, ", a%d: f32[N, D]", k);
  buf_puts(&text, ") {\n");
  for (int k = 0; k < 80; k++) buf_printf(&text, "  a%d[i, j] = f32(%s[i, j]) * %d%s\n", k, k < 40 ? "x" : "z", k + 2, k == 40 ? " + a0[i, j]" : "");
  buf_puts(&text, "}\n");
  Built b = build(text.s);
  ck_assert_int_eq(b.plan->kernels.n, 2);
  // x and z once, 80 results written, one of them read: 8 and 4 bytes each
  ck_assert_double_eq(bytes(&b, b.plan->bytes_fused, "N=10 D=10"), (2 * 8 + 81 * 4) * 100);
  ck_assert_int_eq(b.plan->remarks.n, 1);
  ck_assert_int_eq(b.plan->remarks.v[0].reason, REASON_LIMIT);
  ck_assert_double_eq(bytes(&b, b.plan->remarks.v[0].bytes, "N=10 D=10"), 4 * 100);
  arena_destroy(b.a);
  arena_destroy(a);
}
END_TEST

START_TEST(a_limit_on_kernels_that_fails_says_which_and_why) {
  PassOptions opt = { .verify = true };
  Built b = build_with("fn f(x: f32[N]) -> y: f32[N] where kernels <= 1 {\n  s = sum[i](x[i])\n  y[i] = x[i] / s\n}\n", NULL, &opt);
  ck_assert_ptr_null(b.plan);
  ck_assert_int_eq(b.d->errors, 1);
  Buf out = buf_make(b.a);
  diags_print(b.d, &out, false);
  ck_assert_ptr_nonnull(strstr(out.s, "PLT0507"));
  ck_assert_ptr_nonnull(strstr(out.s, "PLF0102"));
  arena_destroy(b.a);
}
END_TEST

// ---- work grows as programs do --------------------------------------------------------------------

typedef void (*Program_of)(Buf *out, int n);

static void chain(Buf *out, int n) {
  buf_puts(out, "fn f(x: f32[N]) -> y: f32[N] {\n  t0 = x + 1\n");
  for (int k = 1; k < n; k++) buf_printf(out, "  t%d = max(t%d * 1.5, 0.25)\n", k, k - 1);
  buf_printf(out, "  y = t%d\n}\n", n - 1);
}

// Each reads all before it when everything is substituted.
static void norms(Buf *out, int n) {
  buf_puts(out, "fn f(x: f32[N, D]) -> y: f32[N, D] {\n  t0 = x\n");
  for (int k = 1; k < n; k++) buf_printf(out, "  t%d = rms_norm(t%d)\n", k, k - 1);
  buf_printf(out, "  y = t%d\n}\n", n - 1);
}

// Results that add up 50 tensors each.
static void sums_of(Buf *out, int n, const char *name, const char *index) {
  for (int k = 0; k < n; k++) {
    if (k % 50 == 0) buf_printf(out, "\n  %s%d[%s] = 0", name, k / 50, index);
    buf_printf(out, " + %s_%d[%s]", name, k, index);
  }
}

// As results, which a function may have a few hundred of.
static void siblings(Buf *out, int n) {
  buf_puts(out, "fn f(x: f32[N, D]) -> (s0: f32[N]");
  for (int k = 1; k < n; k++) buf_printf(out, ", s%d: f32[N]", k);
  buf_puts(out, ") {\n");
  for (int k = 0; k < n; k++) buf_printf(out, "  s%d[i] = sum[j](x[i, j] * %d)\n", k, k + 2);
  buf_puts(out, "}\n");
}

// No two sums share a kernel.
static void barriers(Buf *out, int n) {
  buf_puts(out, "fn f(x: f32[N]) -> y: f32[N] {\n  t0 = x\n");
  for (int k = 1; k < n; k++) buf_printf(out, "  s%d = sum[i](t%d[i])\n  t%d[i] = t%d[i] / s%d\n", k, k - 1, k, k - 1, k);
  buf_printf(out, "  y = t%d\n}\n", n - 1);
}

// Nothing in common: chains over extents of their own.
static void independent(Buf *out, int n) {
  int chains = n / 8;
  for (int part = 0; part < 2; part++) {
    buf_puts(out, part ? ") -> (" : "fn f(");
    for (int k = 0; k < chains; k++) buf_printf(out, part ? "%sy%d: f32[N%d]" : "%sx%d: f32[N%d, D]", k ? ", " : "", k, k);
  }
  buf_puts(out, ") {\n");
  for (int k = 0; k < chains; k++) {
    buf_printf(out, "  a%d_0 = x%d\n", k, k);
    for (int i = 1; i < 8; i++) buf_printf(out, "  a%d_%d[i, j] = a%d_%d[i, j] + sum[l](a%d_%d[i, l])\n", k, i, k, i - 1, k, i - 1);
    buf_printf(out, "  y%d[i] = sum[j](a%d_7[i, j])\n", k, k);
  }
  buf_puts(out, "}\n");
}

// Maps, row sums and column sums of earlier ones, chosen by a small generator of random numbers.
static void tangle(Buf *out, int n) {
  uint32_t seed = 7;
  buf_puts(out, "fn f(x: f32[N, D]) -> (y: f32[N, D], z: f32[N, D]");
  for (int k = 0; k < (n + 49) / 50; k++) buf_printf(out, ", c%d: f32[D]", k);
  buf_puts(out, ") {\n  t0 = x\n  r0[i] = sum[j](x[i, j])\n  c_0[j] = max[i](x[i, j])\n");
  for (int k = 1; k < n; k++) {
    seed = seed * 1664525 + 1013904223;         // Numerical Recipes' linear congruence
    int back = 1 + (int)(seed >> 24) % 6, a = k > back ? k - back : 0;
    buf_printf(out, "  r%d[i] = sum[j](t%d[i, j])\n  c_%d[j] = max[i](t%d[i, j] - r%d[i])\n", k, a, k, k - 1, a);
    buf_printf(out, "  t%d[i, j] = t%d[i, j] * %s%s\n", k, k - 1, seed >> 20 & 1 ? "0.5" : "2", seed >> 21 & 1 ? " - r0[i]" : "");
  }
  sums_of(out, n, "c", "j");
  buf_printf(out, "\n  y[i, j] = t%d[i, j] + r%d[i]\n  z[i, j] = t%d[i, j] * r%d[i]\n}\n", n - 1, n - 1, n - 1, n / 2);
}

static double steps_of(Program_of program, int n) {
  int64_t steps = 0;
  Arena *a = arena_create();
  Buf text = buf_make(a);
  program(&text, n);
  PassOptions opt = { .stop_after = "group", .steps = &steps };
  Built b = build_with(text.s, NULL, &opt);
  ck_assert_int_eq(b.d->errors, 0);
  ck_assert_int_gt(steps, n);
  arena_destroy(b.a);
  arena_destroy(a);
  return (double)steps;
}

// Eight times the equations may take eight times the steps, and as much more as n log n grows beyond n.
static void check_growth(Program_of program, int n) {
  double few = steps_of(program, n), many = steps_of(program, 8 * n);
  double most = 8 * log(8.0 * n) / log(n);
  ck_assert_msg(many / few <= most, "%.0f steps, then %.0f: %.1f times as many, not %.1f", few, many, many / few, most);
}

START_TEST(a_chain_takes_steps_as_it_is_long) { check_growth(chain, 100); } END_TEST
START_TEST(norms_in_a_row_take_steps_as_they_are_many) { check_growth(norms, 100); } END_TEST
START_TEST(siblings_take_steps_as_they_are_many) { check_growth(siblings, 30); } END_TEST
START_TEST(sums_that_wait_take_steps_as_they_are_many) { check_growth(barriers, 200); } END_TEST
START_TEST(independent_chains_take_steps_as_they_are_many) { check_growth(independent, 100); } END_TEST
START_TEST(a_tangle_takes_steps_as_it_is_large) { check_growth(tangle, 200); } END_TEST

// ---- the runner ---------------------------------------------------------------------------------

typedef struct Seen { int dumps, timings; } Seen;
static void on_dump(void *cx, const char *pass, const char *text) { (void)pass; ck_assert(*text); ((Seen *)cx)->dumps++; }
static void on_time(void *cx, const char *pass, double ms) { (void)pass; ck_assert(ms >= 0); ((Seen *)cx)->timings++; }

START_TEST(every_pass_is_timed_and_dumped) {
  Seen seen = {0};
  PassOptions opt = { .dump_after = "all", .dump = on_dump, .dump_cx = &seen, .timing = on_time, .timing_cx = &seen };
  Built b = build_with("fn f(x: f32[N]) -> y: f32[N] {\n  y = x + 1\n}\n", NULL, &opt);
  ck_assert_ptr_nonnull(b.plan);
  ck_assert_int_eq(seen.timings, npasses);
  ck_assert_int_eq(seen.dumps, npasses);
  arena_destroy(b.a);
}
END_TEST

START_TEST(optional_passes_can_be_left_out_one_by_one) {
  for (int i = 0; i < npasses; i++) {
    PassOptions opt = { .verify = true, .disable = passes[i].name };
    Built b = build_with("fn f(x: f32[N, D]) -> y: f32[N, D] {\n  y = softmax(x * 1 + 0)\n}\n", NULL, &opt);
    ck_assert_msg(b.plan != NULL, "without %s", passes[i].name);
    arena_destroy(b.a);
  }
}
END_TEST

START_TEST(temporaries_that_never_live_together_share_memory) {
  // Four sums over everything, each needed by the next: four kernels, temporaries in turn.
  Built b = build("fn f(x: f32[N, N]) -> y: f32[N, N] {\n"
                  "  a[i, j] = sum[k](x[i, k] * x[k, j])\n  b[i, j] = sum[k](a[i, k] * a[k, j])\n"
                  "  c[i, j] = sum[k](b[i, k] * b[k, j])\n  y[i, j] = sum[k](c[i, k] * c[k, j])\n}\n");
  ck_assert_int_eq(b.plan->kernels.n, 4);
  ck_assert_int_eq(b.plan->temps.n, 3);
  ck_assert_double_eq(bytes(&b, b.plan->scratch_bytes, "N=64"), 2 * 4 * 64 * 64);      // a and c in one place
  arena_destroy(b.a);
}
END_TEST

static Built build_chain(const char *target, const char *params, const char *step, int n) {
  static char text[1 << 14];
  int at = snprintf(text, sizeof text, "fn f(%s) -> y: f32[N] {\n  a0 = x\n", params);
  for (int k = 1; k < n; k++) at += snprintf(text + at, sizeof text - (size_t)at, step, k, k - 1, k - 1);
  snprintf(text + at, sizeof text - (size_t)at, "  y = a%d\n}\n", n - 1);
  return build_on(target, text, NULL, &(PassOptions){ .verify = true });
}

// Written out, the last of these reads 2^29 elements.
START_TEST(neighbours_of_neighbours_are_stored_before_they_are_too_many) {
  static const char *const targets[] = {"c", "cuda"};
  for (int i = 0; i < 2; i++) {
    Built b = build_chain(targets[i], "x: f32[N]", "  a%d[i < N] = (a%d[i - 1] ?? 0) + (a%d[i + 1] ?? 0)\n", 30);
    ck_assert_ptr_nonnull(b.plan);
    ck_assert_int_gt(b.plan->kernels.n, 1);
    ck_assert_uint_lt(b.fn->x->n, 1 << 18);
    arena_destroy(b.a);
  }
}
END_TEST

// All of them are one expression, since only the elements that are read may fail.
START_TEST(a_hundred_gathers_of_gathers_are_one_kernel) {
  Built b = build_chain("c", "x: f32[N], k: i32[N]", "  a%d[i] = a%d[k[i]] + 1.5\n", 100);
  ck_assert_ptr_nonnull(b.plan);
  ck_assert_int_eq(b.plan->kernels.n, 1);
  ck_assert_int_eq(b.plan->sites.n, 99);
  arena_destroy(b.a);
}
END_TEST

int main(void) {
  const TTest *tests[] = {
    a_causal_softmax_reads_half, bands_of_a_matrix_count_as_what_they_are, a_chain_of_twenty_operations_moves_the_least, softmax_moves_the_least, layer_norm_with_residual_and_two_outputs_moves_the_least,
    rms_norm_with_int8_quantisation_moves_the_least, masked_scaled_softmax_moves_the_least, siblings_that_share_inputs_read_them_once,
    another_loop_order_costs_no_kernel, slices_at_offsets_cost_no_kernel, broadcasts_cost_no_kernel, a_concatenation_costs_no_kernel,
    one_random_mask_for_two_results_costs_no_kernel, a_reduction_reads_its_producer_transposed, readers_at_two_offsets_share_a_kernel,
    halves_of_a_normed_row_share_its_norm, what_follows_a_recurrence_shares_its_kernel, what_follows_a_prefix_shares_its_kernel, normed_rows_are_padded_split_and_joined_in_one_kernel,
    padding_and_windows_cost_no_kernel, views_of_views_cost_no_kernel,
    the_gradients_of_layer_norm_are_one_kernel_over_rows, a_maximum_over_all_joins_what_walks_its_input,
    sums_over_both_axes_walk_the_rows, what_reads_a_shared_sum_is_another_kernel,
    shares_need_the_whole_range_and_a_walk_of_their_own, todays_lowering_gets_no_shares,
    a_step_of_an_optimiser_in_place_is_one_kernel, old_and_new_values_of_a_point_share_a_kernel_in_order,
    updates_elsewhere_or_perhaps_are_kernels_of_their_own, small_unlike_problems_share_a_launch, what_waits_for_another_has_a_launch_of_its_own, large_problems_and_sums_keep_their_launches,
    rope_of_q_and_k_moves_the_least, unfused_each_equation_is_a_kernel, a_read_in_part_counts_in_part, a_gather_counts_its_reads,
    a_few_equations_get_the_best_partition_not_the_greedy_one, the_best_partition_does_not_depend_on_order,
    equations_share_the_outer_indices_that_suit_both, no_choice_takes_longer_than_each_equation_alone, many_equations_are_merged_greedily,
    grouping_does_not_depend_on_order_or_names, each_reason_for_staying_apart_can_be_had,
    a_remark_counts_what_one_kernel_would_not_have_moved, a_kernel_too_large_is_cut_where_least_passes, a_limit_on_kernels_that_fails_says_which_and_why,
    a_chain_takes_steps_as_it_is_long, norms_in_a_row_take_steps_as_they_are_many, siblings_take_steps_as_they_are_many,
    sums_that_wait_take_steps_as_they_are_many, independent_chains_take_steps_as_they_are_many, a_tangle_takes_steps_as_it_is_large,
    every_pass_is_timed_and_dumped, optional_passes_can_be_left_out_one_by_one, temporaries_that_never_live_together_share_memory,
    neighbours_of_neighbours_are_stored_before_they_are_too_many, a_hundred_gathers_of_gathers_are_one_kernel,
  };
  return UNIT_RUN("passes", tests);
}
