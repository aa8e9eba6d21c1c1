// ops.c: the tables of ops.def and reduce.def, and the meaning of an operation on constants.
#include "ir/ops.h"
#include <assert.h>
#include <math.h>
#include <string.h>

// Helpers of the rows' expressions.

static double rounded_to(Dtype t, double x) { return t == DT_F32 ? (double)(float)x : x; }
#define ROUNDED(e) rounded_to(t, (e))

static uint64_t width(Dtype t) { return (uint64_t)dtypes[t].bits; }

static int64_t floor_div(int64_t i, int64_t j) {
  if (j == 0) return 0;
  if (j == -1) return (int64_t)(0 - (uint64_t)i);
  return i / j - (i % j != 0 && (i ^ j) < 0);
}

static int64_t floor_mod(int64_t i, int64_t j) {
  if (j == 0) return i;
  if (j == -1) return 0;
  int64_t r = i % j;
  return r != 0 && (r ^ j) < 0 ? r + j : r;
}

static int bit_count(uint64_t u, Dtype t) {
  if (width(t) < 64) u &= ((uint64_t)1 << width(t)) - 1;
  int n = 0;
  for (; u; u &= u - 1) n++;
  return n;
}

// The meanings, as three functions a row; a row's NO makes one that op_meaning leaves out.
#define REAL(e) {.f = (e)}
#define SINT(e) {.i = (int64_t)(e)}
#define UINT(e) {.u = (uint64_t)(e)}
#define TEST(e) {.i = (e)}
#define NO {.u = 0}
#define MEANING(prefix, NAME, arity, E)                                                       \
  static Scalar prefix##_##NAME(const Scalar *a, Dtype t) {                                   \
    Scalar zero = {.u = 0}, p = arity > 0 ? a[0] : zero, q = arity > 1 ? a[1] : zero;         \
    double x = p.f, y = q.f, z = arity > 2 ? a[2].f : 0;                                      \
    int64_t i = p.i, j = q.i;                                                                 \
    uint64_t u = p.u, v = q.u;                                                                \
    (void)x, (void)y, (void)z, (void)i, (void)j, (void)u, (void)v, (void)t;                   \
    return (Scalar)E;                                                                         \
  }
#define OP(NAME, name, SYNTAX, arity, rule, F, I, U, ...) \
  MEANING(f, NAME, arity, F)                              \
  MEANING(i, NAME, arity, I)                              \
  MEANING(u, NAME, arity, U)
#include "ir/ops.def"
#undef OP
#undef REAL
#undef SINT
#undef UINT
#undef TEST
#undef NO

#define REAL(e) true
#define SINT(e) true
#define UINT(e) true
#define TEST(e) true
#define NO false
#define INTERNAL .symbol = NULL
#define OPERATOR(text, strength) .symbol = text, .level = strength
#define FUNCTION .callable = true
#define BOTH(text, strength) .symbol = text, .level = strength, .callable = true
#define NONE .c_float = NULL
#define TEXTS(...) __VA_ARGS__
#define SAME(text, strength) .c_float = text, .c_int = text, .c_level = strength
#define INFIX(op, strength) SAME("$0 " op " $1", strength)
#define PREFIX(op) SAME(op "$0", 11)
#define FLOATS(text, cuda, strength) .c_float = text, .cuda_float = cuda, .c_level = strength
#define INTS(text, strength) .c_int = text, .c_level = strength
#define LIBM1(fn) .c_float = "__builtin_" #fn "@($0)", .cuda_float = #fn "@($0)"
#define LIBM2(fn) .c_float = "__builtin_" #fn "@($0, $1)", .cuda_float = #fn "@($0, $1)"
#define LIBM3(fn) .c_float = "__builtin_" #fn "@($0, $1, $2)", .cuda_float = #fn "@($0, $1, $2)"
const OpInfo ops[OP_COUNT_] = {
#define OP(NAME, text, SYNTAX, n, r, F, I, U, TEXT, work, error, bits)                        \
  [OP_##NAME] = {.name = text, SYNTAX, .arity = n, .rule = r, .f = F ? f_##NAME : NULL,       \
                 .i = I ? i_##NAME : NULL, .u = U ? u_##NAME : NULL, TEXT, .flops = work,     \
                 .ulp = error, .props = bits},
#include "ir/ops.def"
#undef OP
};
#undef REAL
#undef SINT
#undef UINT
#undef TEST
#undef NO
#undef NONE

Op op_by_name(const char *name) {
  for (int op = 0; op < OP_COUNT_; op++)
    if (ops[op].callable && strcmp(ops[op].name, name) == 0) return (Op)op;
  return OP_NONE;
}

Dtype op_dtype(Op op, Dtype t) {
  if (op == OP_UNIFORM) return DT_F32;
  switch (ops[op].rule) {
  case R_COMPARE: case R_LOGIC: case R_TEST: return DT_BOOL;
  case R_COUNT: return DT_I32;
  default: return t;
  }
}

// A result as a value of wide dtype t: floats rounded, integers wrapped.
static Scalar settle(Scalar v, Dtype t) {
  switch (t) {
  case DT_F32: v.f = (float)v.f; return v;
  case DT_I32: v.i = (int32_t)(uint32_t)v.u; return v;
  case DT_U32: v.u = (uint32_t)v.u; return v;
  case DT_BOOL: v.u &= 1; return v;
  default: return v;
  }
}

bool op_eval(Op op, Dtype t, const Scalar *a, Scalar *out) {
  assert(dtype_is_wide(t));
  const OpInfo *o = &ops[op];
  Scalar (*meaning)(const Scalar *, Dtype) = dtype_is_float(t) ? o->f : t == DT_I64 || t == DT_I32 ? o->i : o->u;
  if (!meaning) return false;
  *out = settle(meaning(a, t), op_dtype(op, t));
  return true;
}

// Philox's multipliers and key increments: table 2 of the paper.
void op_philox(uint64_t seed, int64_t block, uint32_t out[4]) {
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  uint32_t c0 = (uint32_t)(uint64_t)block, c1 = (uint32_t)((uint64_t)block >> 32), c2 = 0, c3 = 0;
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)p0;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

float op_uniform(uint64_t seed, int64_t c) {
  uint32_t w[4];
  op_philox(seed, floor_div(c, 4), w);
  return (float)(w[floor_mod(c, 4)] >> 8) * 0x1p-24f;
}

// Identities.
static Scalar identity_ZERO(Dtype t) { (void)t; return (Scalar){.u = 0}; }
static Scalar identity_ONE(Dtype t) { return dtype_is_float(t) ? (Scalar){.f = 1} : (Scalar){.u = 1}; }
static Scalar identity_LEAST(Dtype t) { return dtype_least(t); }
static Scalar identity_GREATEST(Dtype t) { return dtype_greatest(t); }

const ReduceInfo reducers[RED_COUNT_] = {
#define REDUCE(NAME, text, COMBINE, is_arg, is_mean, IDENTITY, how, line)                     \
  [RED_##NAME] = {.name = text, .combine = OP_##COMBINE, .arg = is_arg, .counts = is_mean,    \
                  .identity = identity_##IDENTITY, .rescales = how, .what = line},
#include "ir/reduce.def"
#undef REDUCE
};

Reducer reducer_by_name(const char *name) {
  for (int r = RED_NONE + 1; r < RED_COUNT_; r++)
    if (strcmp(reducers[r].name, name) == 0) return (Reducer)r;
  return RED_NONE;
}

Dtype reduce_dtype(Reducer r, Dtype term) {
  switch (r) {
  case RED_SUM: return term == DT_BOOL ? DT_I32 : term;
  case RED_MEAN: return dtype_is_float(term) ? term : DT_F32;
  case RED_ANY: case RED_ALL: return DT_BOOL;
  case RED_ARGMAX: case RED_ARGMIN: return DT_I32;
  default: return term;
  }
}
