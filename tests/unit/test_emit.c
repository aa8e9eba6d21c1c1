// test_emit.c: printed kernels compute what their statements say, read well and compile cleanly.
#include "built.h"
#include "codegen/name.h"
#include "unit.h"
#include <math.h>
#include <stdint.h>

static void *new_array(size_t n, size_t size) {
  void *p = calloc(n ? n : 1, size);
  ck_assert_ptr_nonnull(p);
  return p;
}

static float *random_floats(size_t n, unsigned long long seed) {
  float *x = new_array(n, sizeof *x);
  for (size_t i = 0; i < n; i++) x[i] = (float)(unit_random(&seed) >> 40) * 0x1p-22f - 2;
  return x;
}

static void must_run(const Make *m, const View *params, const View *results) {
  Fault fault;
  CallStatus s = built_run(m, params, results, &fault);
  ck_assert_msg(s == CALL_OK, "%s", fault.text);
}

static void must_contain(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) != NULL, "no `%s` in\n%s", part, text);
}

static void must_lack(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) == NULL, "`%s` in\n%s", part, text);
}

// y[i] = x[i] * a + 1 over N.
static Make make_scale(LoopHow how) {
  Make m = make_plan("scale");
  Expr *n = make_dim(&m, "N");
  Tensor *x = make_param(&m, "x", DT_F32, 1, &n), *a = make_param(&m, "a", DT_F32, 0, NULL), *y = make_result(&m, "y", DT_F32, 1, &n);
  make_kernel(&m, "scale_y");
  Expr *i = make_for(&m, "i", n, how);
  Expr *term = make_op(&m, OP_MUL, make_read(&m, x, &i), make_read(&m, a, NULL));
  make_store(&m, y, &i, make_op(&m, OP_ADD, term, make_float(&m, 1)));
  make_end(&m);
  return m;
}

START_TEST(an_elementwise_kernel_computes_each_element) {
  const LoopHow how[] = {HOW_SEQ, HOW_PAR, HOW_VEC, HOW_PAR_VEC};
  for (int k = 0; k < 4; k++) {
    Make m = make_scale(how[k]);
    enum { N = 1003 };
    float *x = random_floats(N, 5), *y = new_array(N, sizeof *y), a = 0.7f;
    must_run(&m, (View[]){view1(x, N), view0(&a)}, (View[]){view1(y, N)});
    for (int i = 0; i < N; i++) {
      volatile float product = x[i] * a;      // two roundings
      ck_assert(y[i] == product + 1);
    }
    free(x), free(y);
    arena_destroy(m.a);
  }
} END_TEST

START_TEST(an_empty_dimension_runs_nothing) {
  Make m = make_scale(HOW_PAR_VEC);
  float a = 1, x = 0, y = 7;
  must_run(&m, (View[]){view1(&x, 0), view0(&a)}, (View[]){view1(&y, 0)});
  ck_assert(y == 7);
  arena_destroy(m.a);
} END_TEST

static void check_softmax(int rows, int columns) {
  Make m = make_softmax();
  float *x = random_floats((size_t)(rows * columns), 9), *y = new_array((size_t)(rows * columns), sizeof *y);
  must_run(&m, (View[]){view2(x, rows, columns)}, (View[]){view2(y, rows, columns)});
  for (int i = 0; i < rows; i++) {
    double most = -INFINITY, sum = 0;
    for (int j = 0; j < columns; j++) most = fmax(most, x[i * columns + j]);
    for (int j = 0; j < columns; j++) sum += exp(x[i * columns + j] - most);
    for (int j = 0; j < columns; j++) {
      double want = exp(x[i * columns + j] - most) / sum;
      ck_assert_msg(fabs(y[i * columns + j] - want) <= 1e-6 * want, "row %d, column %d of %d: %g, not %g", i, j, columns, y[i * columns + j], want);
    }
  }
  free(x), free(y);
  arena_destroy(m.a);
}

// 1000 = 62 · 16 + 8 leaves a half block, 15 never fills one.
START_TEST(softmax_rows_are_right_in_lanes_and_tails) {
  check_softmax(50, 1000);
  check_softmax(3, 15);
  check_softmax(2, 16);
} END_TEST

// y[i] = argmax[j](x[i, j]), i32, in lanes or in one.
static Make make_argmax(Reducer r, int lanes) {
  Make m = make_plan("best");
  Expr *n = make_dim(&m, "N"), *d = make_dim(&m, "D"), *shape[] = {n, d};
  Tensor *x = make_param(&m, "x", DT_F32, 2, shape), *y = make_result(&m, "y", DT_I32, 1, &n);
  make_kernel(&m, "best_y");
  Expr *i = make_for(&m, "i", n, HOW_PAR);
  Expr *v = make_var(&m, "v", make_float(&m, r == RED_ARGMAX ? -INFINITY : INFINITY), lanes), *k = make_var(&m, "k", make_int(&m, -1), lanes);
  Expr *j = make_for(&m, "j", d, lanes > 1 ? HOW_LANES : HOW_SEQ);
  if (lanes > 1) m.open[m.depth]->lanes = lanes;
  make_acc_at(&m, r, v, k, make_read(&m, x, (Expr *[]){i, j}), j);
  make_end(&m);
  make_fold(&m, r, v, k);
  make_store(&m, y, &i, make_cast(&m, DT_I32, k));
  make_end(&m);
  return m;
}

static int expected_best(const float *x, int n, Reducer r) {
  int best = -1;
  for (int j = 0; j < n; j++) {
    bool better = best < 0 || (isnan(x[j]) && !isnan(x[best])) || (r == RED_ARGMAX ? x[j] > x[best] : x[j] < x[best]);
    if (better) best = j;
  }
  return best;
}

START_TEST(argmax_gives_the_lowest_index_of_the_extreme_and_of_the_first_nan) {
  enum { N = 200, D = 37 };
  float *x = new_array(N * D, sizeof *x);
  int *y = new_array(N, sizeof *y);
  unsigned long long seed = 3;
  const float values[] = {0, -0.0f, 1, 1, 2, -INFINITY, -INFINITY, INFINITY, NAN};
  for (int i = 0; i < N; i++)
    for (int j = 0; j < D; j++) x[i * D + j] = values[unit_random(&seed) % (i % 9 + 1u)];
  for (int j = 0; j < D; j++) x[j] = -INFINITY, x[D + j] = INFINITY, x[2 * D + j] = NAN;
  const Reducer reducers_[] = {RED_ARGMAX, RED_ARGMIN};
  for (int k = 0; k < 4; k++) {
    Reducer r = reducers_[k % 2];
    Make m = make_argmax(r, k < 2 ? 16 : 1);
    must_run(&m, (View[]){view2(x, N, D)}, (View[]){view1(y, N)});
    for (int i = 0; i < N; i++) ck_assert_int_eq(y[i], expected_best(x + i * D, D, r));
    arena_destroy(m.a);
  }
  free(x), free(y);
} END_TEST

START_TEST(argmax_of_nothing_leaves_the_first_value) {
  Make m = make_argmax(RED_ARGMAX, 16);
  float x = 0;
  int y[2];
  must_run(&m, (View[]){view2(&x, 2, 0)}, (View[]){view1(y, 2)});
  ck_assert_int_eq(y[0], -1);
  ck_assert_int_eq(y[1], -1);
  arena_destroy(m.a);
} END_TEST

// Sums, products, minima, any and all of rows; integers wrap.
static void check_reducer(Reducer r, Dtype d, int lanes) {
  Make m = make_plan("fold");
  Expr *n = make_dim(&m, "N"), *k = make_dim(&m, "D"), *shape[] = {n, k};
  Tensor *x = make_param(&m, "x", d, 2, shape), *y = make_result(&m, "y", d, 1, &n);
  make_kernel(&m, "fold_y");
  Expr *i = make_for(&m, "i", n, HOW_PAR);
  Expr *v = make_var(&m, "v", expr_scalar(m.x, d, reducers[r].identity(d), NO_SPAN), lanes);
  Expr *j = make_for(&m, "j", k, lanes > 1 ? HOW_LANES : HOW_SEQ);
  make_acc(&m, r, v, make_read(&m, x, (Expr *[]){i, j}));
  make_end(&m);
  make_fold(&m, r, v, NULL);
  make_store(&m, y, &i, v);
  make_end(&m);
  enum { N = 4, D = 37 };
  unsigned char *in = new_array(N * D, 8), *out = new_array(N, 8);
  unsigned long long seed = 7;
  for (int e = 0; e < N * D; e++) {
    uint64_t bits = unit_random(&seed);
    if (d == DT_BOOL) bits = e / D == 0 ? 0 : e / D == 1 ? 1 : bits & 1;
    dtype_store(d, in, e, dtype_decode(d, bits));
  }
  must_run(&m, (View[]){view2(in, N, D)}, (View[]){view1(out, N)});
  for (int row = 0; row < N; row++) {
    Scalar acc = reducers[r].identity(d);
    for (int e = 0; e < D; e++) ck_assert(op_eval(reducers[r].combine, d, (Scalar[]){acc, dtype_load(d, in, row * D + e)}, &acc));
    ck_assert_msg(dtype_load(d, out, row).u == acc.u, "%s of %s", reducers[r].name, dtypes[d].name);
  }
  free(in), free(out);
  arena_destroy(m.a);
}

START_TEST(integer_and_truth_reductions_are_exact) {
  const Dtype types[] = {DT_I32, DT_U32, DT_I64, DT_U64};
  const Reducer all[] = {RED_SUM, RED_PROD, RED_MAX, RED_MIN};
  for (int t = 0; t < 4; t++)
    for (int r = t % 2; r < 4; r += 2) check_reducer(all[r], types[t], r < 2 ? 16 : 1);
  check_reducer(RED_ANY, DT_BOOL, 16);
  check_reducer(RED_ALL, DT_BOOL, 1);
} END_TEST

// y[i] = if 0 <= ids[i] < V then table[ids[i]] else fault.
static Make make_gather(void) {
  Make m = make_plan("gather");
  Expr *n = make_dim(&m, "N"), *size = make_dim(&m, "V");
  Tensor *ids = make_param(&m, "ids", DT_I32, 1, &n), *table = make_param(&m, "table", DT_F32, 1, &size), *y = make_result(&m, "y", DT_F32, 1, &n);
  make_kernel(&m, "gather_y");
  Expr *i = make_for(&m, "i", n, HOW_PAR);
  Expr *at = make_let(&m, "at", make_cast(&m, DT_I64, make_read(&m, ids, &i)));
  Expr *ok = make_op(&m, OP_AND, make_op(&m, OP_GE, at, make_int(&m, 0)), make_op(&m, OP_LT, at, size));
  Expr *v = make_var(&m, "v", make_float(&m, 0), 1);
  make_if(&m, ok);
  make_set(&m, v, make_read(&m, table, &at));
  make_else(&m);
  make_fault(&m, make_site(&m, E_data_subscript, y, table, 0, size), at);
  make_end(&m);
  make_store(&m, y, &i, v);
  make_end(&m);
  return m;
}

START_TEST(a_gather_reads_what_its_subscripts_name) {
  Make m = make_gather();
  int ids[] = {3, 0, 2, 2, 1};
  float table[] = {10, 11, 12, 13}, y[5], want[] = {13, 10, 12, 12, 11};
  must_run(&m, (View[]){view1(ids, 5), view1(table, 4)}, (View[]){view1(y, 5)});
  ck_assert_mem_eq(y, want, sizeof want);
  arena_destroy(m.a);
} END_TEST

START_TEST(a_subscript_out_of_range_is_reported_with_its_value) {
  Make m = make_gather();
  int ids[] = {3, 0, -7, 2, 1};
  float table[] = {10, 11, 12, 13}, y[5];
  Fault fault;
  ck_assert_int_eq(built_run(&m, (View[]){view1(ids, 5), view1(table, 4)}, (View[]){view1(y, 5)}, &fault), CALL_FAULT);
  ck_assert_int_eq(fault.code, E_data_subscript);
  ck_assert_int_eq(fault.value, -7);
  ck_assert_int_eq(fault.extent, 4);
  ck_assert_str_eq(fault.text, "subscript 0 of `table` is -7, allowed 0..3 (in `y`)");
  arena_destroy(m.a);
} END_TEST

// y[j, i] = x[i, j], two parallel loops.
START_TEST(nested_parallel_loops_collapse) {
  Make m = make_plan("turn");
  Expr *n = make_dim(&m, "N"), *k = make_dim(&m, "D");
  Tensor *x = make_param(&m, "x", DT_F32, 2, (Expr *[]){n, k}), *y = make_result(&m, "y", DT_F32, 2, (Expr *[]){k, n});
  make_kernel(&m, "turn_y");
  Expr *j = make_for(&m, "j", k, HOW_PAR), *i = make_for(&m, "i", n, HOW_PAR);
  make_store(&m, y, (Expr *[]){j, i}, make_read(&m, x, (Expr *[]){i, j}));
  make_end(&m);
  make_end(&m);
  must_contain(built_text(&m, true), "OMP(omp parallel for collapse(2) firstprivate(N, D, x, y) schedule(static))\n  for (long long j = 0; j < D; j++) {\n    for (long long i = 0; i < N; i++) {\n      y[j * N + i] = x[i * D + j];");
  enum { N = 31, D = 17 };
  float *in = random_floats(N * D, 4), *out = new_array(N * D, sizeof *out);
  must_run(&m, (View[]){view2(in, N, D)}, (View[]){view2(out, D, N)});
  for (int e = 0; e < N * D; e++) ck_assert(out[e % D * N + e / D] == in[e]);
  free(in), free(out);
  arena_destroy(m.a);
} END_TEST

START_TEST(a_triangle_of_parallel_loops_does_not_collapse) {
  Make m = make_plan("corner");
  Expr *n = make_dim(&m, "N");
  Tensor *y = make_result(&m, "y", DT_F32, 2, (Expr *[]){n, n});
  make_param(&m, "x", DT_F32, 1, &n);
  make_kernel(&m, "corner_y");
  Expr *i = make_for(&m, "i", n, HOW_PAR), *j = make_for(&m, "j", i, HOW_PAR);
  make_store(&m, y, (Expr *[]){i, j}, make_float(&m, 3));
  make_end(&m);
  make_end(&m);
  const char *text = built_text(&m, true);
  must_lack(text, "collapse");
  must_contain(text, "    for (long long j = 0; j < i; j++) {\n      y[i * N + j] = 3.0f;");
  arena_destroy(m.a);
} END_TEST

// Odd counts and odd starts of rows: neighbours of a byte belong to different threads.
START_TEST(half_bytes_are_stored_whole_in_parallel) {
  const Dtype types[] = {DT_I4, DT_U4};
  for (int t = 0; t < 2; t++) {
    Make m = make_plan("pack");
    Expr *n = make_dim(&m, "N");
    Tensor *x = make_param(&m, "x", DT_I32, 1, &n), *z = make_param(&m, "z", types[t], 1, &n), *y = make_result(&m, "y", types[t], 1, &n);
    make_kernel(&m, "pack_y");
    Expr *i = make_for(&m, "i", n, HOW_PAR);
    make_store(&m, y, &i, make_op(&m, OP_ADD, make_read(&m, x, &i), make_read(&m, z, &i)));
    make_end(&m);
    enum { N = 1002 };
    int *in = new_array(N, sizeof *in);
    unsigned char *add = new_array(N / 2, 1), *out = new_array(N / 2, 1);
    for (int k = 0; k < N; k++) in[k] = k * 7919 - 4000;
    for (int k = 0; k < N / 2; k++) add[k] = (unsigned char)(k * 37);
    must_run(&m, (View[]){view1(in, N), view1(add, N)}, (View[]){view1(out, N)});
    for (int k = 0; k < N; k++) {
      Scalar want = dtype_decode(types[t], (uint64_t)(in[k] + dtype_load(types[t], add, k).i) & 15);
      ck_assert_int_eq(dtype_load(types[t], out, k).i, want.i);
    }
    free(in), free(add), free(out);
    arena_destroy(m.a);
  }
} END_TEST

// ---- formats -----------------------------------------------------------------------------------

static const MakeField q4_fields[] = {{"d", DT_F16, 0}, {"m", DT_F16, 0}, {"q", DT_U8, 16}};

// y[i, j] = d · ((q[k % 16] >> 4 · (k // 16)) & 15) + m of block j // 32, with k = j % 32.
START_TEST(fields_of_blocks_are_read_at_their_places) {
  Make m = make_plan("unpack");
  Expr *n = make_dim(&m, "N"), *c = make_dim(&m, "K"), *shape[] = {n, c};
  Format *q4 = make_format(&m, "q4_1", 32, 3, q4_fields);
  Tensor *w = make_param_in(&m, "w", DT_F32, q4, 2, shape), *y = make_result(&m, "y", DT_F32, 2, shape);
  make_kernel(&m, "unpack_y");
  Expr *i = make_for(&m, "i", n, HOW_PAR), *j = make_for(&m, "j", c, HOW_VEC);
  Expr *block = make_op(&m, OP_FLOORDIV, j, make_int(&m, 32)), *k = make_op(&m, OP_MOD, j, make_int(&m, 32));
  Expr *byte = make_field(&m, w, 2, 3, (Expr *[]){i, block, make_op(&m, OP_MOD, k, make_int(&m, 16))});
  Expr *shift = make_cast(&m, DT_I32, make_op(&m, OP_MUL, make_int(&m, 4), make_op(&m, OP_FLOORDIV, k, make_int(&m, 16))));
  Expr *q = make_op(&m, OP_BITAND, make_op(&m, OP_SHR, byte, shift), make_int32(&m, 15));
  Expr *scaled = make_op(&m, OP_MUL, make_field(&m, w, 0, 2, (Expr *[]){i, block}), make_cast(&m, DT_F32, q));
  make_store(&m, y, (Expr *[]){i, j}, make_op(&m, OP_ADD, scaled, make_field(&m, w, 1, 2, (Expr *[]){i, block})));
  make_end(&m);
  make_end(&m);
  must_contain(built_text(&m, true), "w[(i * (K / 32) + j / 32) * 20 + 4 + j % 32 % 16] >> (int)(4 * (j % 32 / 16))");
  enum { N = 3, K = 96, BYTES = N * K / 32 * 20 };
  unsigned char bytes[BYTES];
  float out[N * K];
  for (int b = 0; b < BYTES; b++) bytes[b] = (unsigned char)(b * 89 + 7);
  for (int b = 0; b < BYTES; b += 20) bytes[b + 1] &= 0x3f, bytes[b + 3] &= 0x3f;      // finite scales
  must_run(&m, (View[]){view2(bytes, N, K)}, (View[]){view2(out, N, K)});
  for (int e = 0; e < N * K; e++) {
    const unsigned char *at = bytes + e / 32 * 20;
    double d = dtype_load(DT_F16, at, 0).f, least = dtype_load(DT_F16, at, 1).f;
    volatile float product = (float)d * (float)(at[4 + e % 16] >> (e % 32 / 16 * 4) & 15);
    ck_assert(out[e] == product + (float)least);
  }
  arena_destroy(m.a);
} END_TEST

static const MakeField all_fields[] = {{"a", DT_U8, 0},  {"b", DT_F32, 0},  {"c", DT_I4, 4},   {"d", DT_F64, 2}, {"e", DT_BF16, 3},
                                       {"f", DT_BOOL, 0}, {"g", DT_I16, 1}, {"h", DT_F8E5M2, 2}, {"i", DT_I64, 0}, {"k", DT_I8, 1}};

// Each field of each block of w copied to y: any alignment, any type.
START_TEST(every_type_can_be_a_field) {
  Make m = make_plan("copy");
  Expr *n = make_dim(&m, "N");
  enum { FIELDS = sizeof all_fields / sizeof *all_fields };
  Format *fmt = make_format(&m, "all", 8, FIELDS, all_fields);
  Tensor *w = make_param_in(&m, "w", DT_F32, fmt, 1, &n), *y = make_result_in(&m, "y", DT_F32, fmt, 1, &n);
  make_kernel(&m, "copy_y");
  Expr *b = make_for(&m, "b", make_op(&m, OP_FLOORDIV, n, make_int(&m, 8)), HOW_PAR);
  for (int k = 0; k < FIELDS; k++)
    for (int e = 0; e < fmt->field[k].count; e++) {
      Expr *sub[] = {b, make_int(&m, e)};
      int nsub = 1 + fmt->field[k].array;
      make_store_field(&m, y, k, nsub, sub, make_field(&m, w, k, nsub, sub));
    }
  make_end(&m);
  enum { BLOCKS = 5 };
  int bytes = fmt->bytes * BLOCKS;
  unsigned char *in = new_array((size_t)bytes, 1), *out = new_array((size_t)bytes, 1);
  for (int k = 0; k < bytes; k++) in[k] = (unsigned char)(k * 31 % 120);
  for (int k = 0; k < BLOCKS; k++) in[k * fmt->bytes + fmt->field[5].offset] = k % 2;    // a bool is stored as 0 or 1
  must_run(&m, (View[]){view1(in, 8 * BLOCKS)}, (View[]){view1(out, 8 * BLOCKS)});
  ck_assert_mem_eq(in, out, (size_t)bytes);
  free(in), free(out);
  arena_destroy(m.a);
} END_TEST

// ---- memory ------------------------------------------------------------------------------------

// h[i] = x[i] + 1 in scratch behind 64 unused bytes, then y[i] = h[N - 1 - i] · h[i].
START_TEST(temporaries_live_in_scratch_memory) {
  Make m = make_plan("two");
  Expr *n = make_dim(&m, "N");
  Tensor *x = make_param(&m, "x", DT_F32, 1, &n), *y = make_result(&m, "y", DT_F32, 1, &n);
  Tensor *h = make_temp(&m, "h", DT_F32, 1, &n, make_int(&m, 64), make_op(&m, OP_MUL, n, make_int(&m, 4)));
  make_kernel(&m, "two_h");
  Expr *i = make_for(&m, "i", n, HOW_PAR_VEC);
  make_store(&m, h, &i, make_op(&m, OP_ADD, make_read(&m, x, &i), make_float(&m, 1)));
  make_end(&m);
  make_kernel(&m, "two_y");
  i = make_for(&m, "i", n, HOW_PAR_VEC);
  Expr *back = make_op(&m, OP_SUB, make_op(&m, OP_SUB, n, make_int(&m, 1)), i);
  make_store(&m, y, &i, make_op(&m, OP_MUL, make_read(&m, h, &back), make_read(&m, h, &i)));
  make_end(&m);
  const char *typed = built_text(&m, false);
  must_contain(typed, "long long two_scratch_bytes(long long N) {\n  return 64 + N * 4;\n}");
  must_contain(typed, "int two(long long N, const float *x, float *y, void *scratch) {");
  must_contain(typed, "float *h = (float *)((unsigned char *)scratch + 64);");
  enum { N = 100 };
  float *in = random_floats(N, 8), out[N];
  must_run(&m, (View[]){view1(in, N)}, (View[]){view1(out, N)});
  for (int k = 0; k < N; k++) ck_assert(out[k] == (in[N - 1 - k] + 1) * (in[k] + 1));
  free(in);
  arena_destroy(m.a);
} END_TEST

// y[i] = grid[i % 3] of a const table, and a local array of four squares.
START_TEST(tables_and_local_arrays_stand_in_the_text) {
  Make m = make_plan("look");
  Expr *n = make_dim(&m, "N"), *three = make_int(&m, 3), *four = make_int(&m, 4);
  make_param(&m, "x", DT_F32, 1, &n);
  Tensor *y = make_result(&m, "y", DT_F32, 1, &n), *grid = fn_tensor(m.f, make_name(&m, "grid"), ROLE_TABLE, DT_F32, NULL, 1, &three, NO_SPAN);
  static const Scalar values[] = {{.f = -1}, {.f = 0.25}, {.f = INFINITY}};
  grid->table = values;
  grid->ntable = 3;
  Tensor *square = make_local(&m, "square", DT_I32, 1, &four);
  make_kernel(&m, "look_y");
  Expr *i = make_for(&m, "i", n, HOW_PAR);
  make_alloc(&m, square);
  Expr *k = make_for(&m, "k", four, HOW_UNROLL);
  make_store(&m, square, &k, make_cast(&m, DT_I32, make_op(&m, OP_MUL, k, k)));
  make_end(&m);
  Expr *which = make_op(&m, OP_MOD, i, three), *s = make_op(&m, OP_MOD, i, four);
  make_store(&m, y, &i, make_op(&m, OP_ADD, make_read(&m, grid, &which), make_cast(&m, DT_F32, make_read(&m, square, &s))));
  make_end(&m);
  must_contain(built_text(&m, true), "static const float grid[3] = {\n  -1.0f, 0.25f, __builtin_inff()\n};");
  float x[7], out[7], want[] = {-1, 1.25f, INFINITY, 8, 0.25f, INFINITY, 3};
  must_run(&m, (View[]){view1(x, 7)}, (View[]){view1(out, 7)});
  ck_assert_mem_eq(out, want, sizeof want);
  arena_destroy(m.a);
} END_TEST

// `if m[i] then x[at[i]] else 0`, and `m[i] and x[at[i]] > 0`, where at is out of range for false m.
START_TEST(a_guarded_read_is_not_evaluated_where_its_guard_is_false) {
  Make m = make_plan("guard");
  Expr *n = make_dim(&m, "N");
  Tensor *mask = make_param(&m, "mask", DT_BOOL, 1, &n), *at = make_param(&m, "at", DT_I64, 1, &n), *x = make_param(&m, "x", DT_F32, 1, &n);
  Tensor *y = make_result(&m, "y", DT_F32, 1, &n), *z = make_result(&m, "z", DT_BOOL, 1, &n);
  make_kernel(&m, "guard_y");
  Expr *i = make_for(&m, "i", n, HOW_PAR_VEC);
  Expr *sub = make_read(&m, at, &i), *read = make_read(&m, x, &sub), *cond = make_read(&m, mask, &i);
  make_store(&m, y, &i, expr_select(m.x, cond, read, make_float(&m, 0), NO_SPAN));
  make_store(&m, z, &i, make_op(&m, OP_AND, cond, make_op(&m, OP_GT, read, make_float(&m, 0))));
  make_end(&m);
  unsigned char on[] = {1, 0, 255, 0}, truth[4], want[] = {1, 0, 0, 0};
  int64_t where[] = {3, INT64_MAX / 8, 0, INT64_MIN / 8};
  float in[] = {-4, 5, 6, 7}, out[4], values[] = {7, 0, -4, 0};
  must_run(&m, (View[]){view1(on, 4), view1(where, 4), view1(in, 4)}, (View[]){view1(out, 4), view1(truth, 4)});
  ck_assert_mem_eq(out, values, sizeof values);
  ck_assert_mem_eq(truth, want, sizeof want);
  arena_destroy(m.a);
} END_TEST

// ---- text --------------------------------------------------------------------------------------

START_TEST(words_of_c_and_of_the_text_itself_can_be_names) {
  Make m = make_plan("exp");
  Expr *n = make_dim(&m, "int"), *d = make_dim(&m, "OMP"), *shape[] = {n, d};
  Tensor *x = make_param(&m, "class", DT_F32, 2, shape), *z = make_param(&m, "max_f32", DT_F16, 2, shape);
  Tensor *s = make_param(&m, "linux", DT_F32, 0, NULL), *y = make_result(&m, "y1", DT_F16, 2, shape);
  make_kernel(&m, "exp");
  Expr *i = make_for(&m, "fault", n, HOW_PAR), *j = make_for(&m, "index", d, HOW_VEC);
  Expr *v = make_let(&m, "lane", make_op(&m, OP_MAX, make_read(&m, x, (Expr *[]){i, j}), make_read(&m, z, (Expr *[]){i, j})));
  Expr *w = make_let(&m, "f32_from_f16", make_op(&m, OP_MUL, v, make_read(&m, s, NULL)));
  make_store(&m, y, (Expr *[]){i, j}, make_op(&m, OP_ADD, w, v));
  make_end(&m);
  make_end(&m);
  float in[] = {1, -2, 3, 4, 5, 6}, scale = 2;
  unsigned short add[6] = {0}, out[6];
  must_run(&m, (View[]){view2(in, 2, 3), view2(add, 2, 3), view0(&scale)}, (View[]){view2(out, 2, 3)});
  for (int k = 0; k < 6; k++) ck_assert(dtype_load(DT_F16, out, k).f == fmaxf(in[k], 0) * 3);
  const char *dir = built_directory();
  built_compile(dir, "gcc", "-c", built_text(&m, false));
  built_compile(dir, "clang", "-c", built_text(&m, false));
  built_remove(dir);
  arena_destroy(m.a);
} END_TEST

START_TEST(sibling_loops_share_a_name_and_nested_ones_do_not) {
  Make m = make_plan("names");
  Expr *n = make_dim(&m, "N");
  Tensor *x = make_param(&m, "x", DT_F32, 1, &n), *y = make_result(&m, "y", DT_F32, 1, &n);
  make_kernel(&m, "names_y");
  Expr *i = make_for(&m, "i", n, HOW_SEQ);
  make_store(&m, y, &i, make_read(&m, x, &i));
  make_end(&m);
  i = make_for(&m, "i", n, HOW_SEQ);
  Expr *inner = make_for(&m, "i", i, HOW_SEQ);
  make_store(&m, y, &inner, make_read(&m, x, &i));
  make_end(&m);
  make_end(&m);
  const char *text = built_text(&m, true);
  must_contain(text, "for (long long i = 0; i < N; i++) {\n    y[i] = x[i];\n  }\n  for (long long i = 0; i < N; i++) {\n    for (long long i_2 = 0; i_2 < i; i_2++) {\n      y[i_2] = x[i];");
  arena_destroy(m.a);
} END_TEST

START_TEST(the_same_plan_prints_the_same_text) {
  Make a = make_softmax(), b = make_softmax();
  ck_assert_str_eq(built_text(&a, true), built_text(&a, true));
  ck_assert_str_eq(built_text(&a, false), built_text(&b, false));
  arena_destroy(a.a);
  arena_destroy(b.a);
} END_TEST

START_TEST(only_helpers_that_are_used_are_printed) {
  Make m = make_softmax();
  const char *text = built_text(&m, true);
  must_contain(text, "static inline float max_f32(float a, float b) {\n  return !(a <= b) && b == b ? a : b;\n}");
  must_lack(text, "min_f32");
  must_lack(text, "f16");
  must_lack(text, "report_fault");
  arena_destroy(m.a);
} END_TEST

START_TEST(the_typed_file_compiles_alone_under_every_flag) {
  Make m = make_softmax(), g = make_gather();
  const char *dir = built_directory();
  const char *const cc[] = {"gcc", "clang"}, *const flags[] = {"-O3 -c", "-O3 -fopenmp -c", "-O0 -std=gnu17 -c", "-O3 -march=native -fopenmp-simd -c"};
  for (int c = 0; c < 2; c++)
    for (int f = 0; f < 4; f++) {
      built_compile(dir, cc[c], flags[f], built_text(&m, false));
      built_compile(dir, cc[c], flags[f], built_text(&g, false));
    }
  built_remove(dir);
  arena_destroy(m.a);
  arena_destroy(g.a);
} END_TEST

START_TEST(the_header_declares_what_the_file_defines_in_c_and_cpp) {
  Make m = make_gather();
  Buf text = buf_make(m.a), header = buf_make(m.a), both = buf_make(m.a);
  emit_plan(m.p, &(EmitOptions){.target = &target_c}, &text, &header);
  must_contain(header.s, "#ifndef PLAIT_GATHER_H\n#define PLAIT_GATHER_H\n");
  must_contain(header.s, "//   1        subscript out of range: `table`, subscript 0, in the equation of `y`\n");
  must_contain(header.s, "int gather(long long N, long long V, const int *ids, const float *table, float *y);");
  buf_printf(&both, "%s%s%s", header.s, header.s, text.s);
  const char *dir = built_directory();
  built_compile(dir, "gcc", "-c", both.s);
  built_write(arena_printf(m.a, "%s/gather.h", dir), header.s);
  ck_assert_int_eq(system(arena_printf(m.a, "printf '#include \"gather.h\"\\nint (*f)(long long, long long, const int *, const float *, float *) = gather;\\n' > %s/use.cpp && "
                                            "g++ -Wall -Wextra -Werror -c %s/use.cpp -o %s/use.o", dir, dir, dir)), 0);
  built_remove(dir);
  arena_destroy(m.a);
} END_TEST

typedef int GatherEntry(long long, long long, const int *, const float *, float *);

START_TEST(the_typed_entry_returns_the_number_of_the_check_that_failed) {
  Make m = make_gather();
  Expr *n = expr_dim(m.x, m.f->dims.v[0]);
  vec_push(m.a, &m.f->where, (Where){.e = make_op(&m, OP_EQ, make_op(&m, OP_MOD, n, make_int(&m, 2)), make_int(&m, 1)), .text = "N % 2 == 1"});
  const char *text = built_text(&m, false);
  must_contain(text, "//   2        where N % 2 == 1 does not hold\n");
  void *so = built_load("gcc", "-O1", text), *address = dlsym(so, "gather");
  GatherEntry *entry;
  memcpy(&entry, &address, sizeof entry);
  int ids[] = {3, 0, 1}, bad[] = {3, 4, 1};
  float table[] = {1, 2, 3, 4}, y[3];
  ck_assert_int_eq(entry(3, 4, ids, table, y), 0);
  ck_assert_int_eq(entry(3, 4, bad, table, y), 1);
  ck_assert_int_eq(entry(2, 4, ids, table, y), 2);
  ck_assert_int_eq(entry(-1, 4, ids, table, y), 3);
  ck_assert_int_eq(entry(3, ((long long)1 << 40) + 1, ids, table, y), 3);
  dlclose(so);
  arena_destroy(m.a);
} END_TEST

START_TEST(line_directives_lead_back_to_the_source) {
  Make m = make_plan("back");
  static const char source[] = "fn back(x: f32[N]) -> y: f32[N] {\n  y[i] = x[i]\n}\n";
  m.f->d = diags_create(m.a);
  uint32_t file = diags_add_file(m.f->d, "a \"b\".plait", source, sizeof source - 1);
  Expr *n = make_dim(&m, "N");
  Tensor *x = make_param(&m, "x", DT_F32, 1, &n), *y = make_result(&m, "y", DT_F32, 1, &n);
  make_kernel(&m, "back_y");
  Expr *i = make_for(&m, "i", n, HOW_SEQ);
  make_store(&m, y, &i, make_read(&m, x, &i));
  m.last->at = (Span){file, 36, 47};       // the second line
  make_end(&m);
  Buf text = buf_make(m.a);
  emit_plan(m.p, &(EmitOptions){.target = &target_c, .line = true}, &text, NULL);
  must_contain(text.s, "#line 2 \"a \\\"b\\\".plait\"\n    y[i] = x[i];\n");
  must_lack(built_text(&m, false), "#line");
  arena_destroy(m.a);
} END_TEST

START_TEST(the_null_target_prints_plain_loops) {
  Make m = make_softmax();
  Buf text = buf_make(m.a);
  emit_plan(m.p, &(EmitOptions){.target = &target_null}, &text, NULL);
  must_contain(text.s, "void softmax_y(long long N, long long D, const float *x, float *y) {");
  must_contain(text.s, "      m = max_f32(m, x[i * D + j]);");
  must_lack(text.s, "OMP");
  const char *dir = built_directory();
  built_compile(dir, "gcc", "-c", text.s);
  built_remove(dir);
  arena_destroy(m.a);
} END_TEST

// ---- speed -------------------------------------------------------------------------------------

// How often the disassembly of the softmax kernel has `pattern` (a basic regular expression).
static int count_instructions(const char *cc, const char *flags, const char *pattern) {
  Make m = make_softmax();
  const char *dir = built_directory(), *object = built_compile(dir, cc, arena_printf(m.a, "-O3 -c %s", flags), built_text(&m, false));
  FILE *p = popen(arena_printf(m.a, "objdump -d --no-show-raw-insn %s | grep -c '%s'", object, pattern), "r");
  int n = 0;
  ck_assert_int_eq(fscanf(p, "%d", &n), 1);
  pclose(p);
  built_remove(dir);
  arena_destroy(m.a);
  return n;
}

// Two registers of AVX2 are 16 lanes; NaN takes two comparisons a register.
START_TEST(the_lanes_of_a_maximum_are_compared_in_whole_vectors) {
  const char *const cc[] = {"gcc", "clang"};
  for (int c = 0; c < 2; c++) ck_assert_int_ge(count_instructions(cc[c], "-fopenmp -march=x86-64-v3", "vcmp[a-z]*ps .*%ymm"), 4);
} END_TEST

START_TEST(a_name_is_the_hint_with_the_first_number_that_is_free) {
  Arena *a = arena_create();
  Names n = names_make(a);
  ck_assert_str_eq(names_fresh(&n, "t"), "t");
  ck_assert_str_eq(names_fresh(&n, "t_3"), "t_3");
  names_open(&n);
  ck_assert_str_eq(names_fresh(&n, "t"), "t_2");
  ck_assert_str_eq(names_keep(&n, "t"), "t_4");       // t_3 is taken
  ck_assert_str_eq(names_fresh(&n, "t"), "t_5");
  names_close(&n);
  ck_assert_str_eq(names_fresh(&n, "t"), "t_2");      // the scope has ended
  ck_assert_str_eq(names_fresh(&n, "t"), "t_5");      // t_4 is kept
  ck_assert_str_eq(names_fresh(&n, "t"), "t_6");
  arena_destroy(a);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    an_elementwise_kernel_computes_each_element, an_empty_dimension_runs_nothing, softmax_rows_are_right_in_lanes_and_tails,
    argmax_gives_the_lowest_index_of_the_extreme_and_of_the_first_nan, argmax_of_nothing_leaves_the_first_value,
    integer_and_truth_reductions_are_exact, a_gather_reads_what_its_subscripts_name,
    a_subscript_out_of_range_is_reported_with_its_value, nested_parallel_loops_collapse,
    a_triangle_of_parallel_loops_does_not_collapse, half_bytes_are_stored_whole_in_parallel,
    fields_of_blocks_are_read_at_their_places, every_type_can_be_a_field, temporaries_live_in_scratch_memory,
    tables_and_local_arrays_stand_in_the_text, a_guarded_read_is_not_evaluated_where_its_guard_is_false,
    a_name_is_the_hint_with_the_first_number_that_is_free, words_of_c_and_of_the_text_itself_can_be_names, sibling_loops_share_a_name_and_nested_ones_do_not,
    the_same_plan_prints_the_same_text, only_helpers_that_are_used_are_printed, the_typed_file_compiles_alone_under_every_flag,
    the_header_declares_what_the_file_defines_in_c_and_cpp, the_typed_entry_returns_the_number_of_the_check_that_failed,
    line_directives_lead_back_to_the_source, the_null_target_prints_plain_loops, the_lanes_of_a_maximum_are_compared_in_whole_vectors,
  };
  return UNIT_RUN("emit", tests);
}
