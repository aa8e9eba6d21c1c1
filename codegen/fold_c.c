// fold_c.c: what the lanes of a reduction make together, in C: the upper half of the array onto the lower, until one is left.
//
//   fold z of 64 lanes   ──▶   const float z = sum_64_f32(z_lane);
//
// Floats are folded by a function on whole vectors; else it is two loops. See Note [Folds as vectors].
#include "codegen/fold_c.h"
#include <string.h>

enum { VECTOR = 64 };   // bytes of the functions' vectors, which smaller registers hold in pieces

// What a function does with a, the lower half, and b, as vectors; masks are all ones or zeros.
typedef struct Fold { Op op; const char *name, *combine; } Fold;

static const Fold folds[] = {
  { OP_ADD, "sum",     "a + b" },
  { OP_MUL, "product", "a * b" },
  { OP_MAX, "max",     "CHOOSE(~(b < a) & (a == a), b, a)" },
  { OP_MIN, "min",     "CHOOSE(~(b > a) & (a == a), b, a)" },
};
enum { ARGMAX = sizeof folds / sizeof *folds, ARGMIN, FOLDS };
_Static_assert((int)FOLDS == (int)FOLD_FUNCTIONS, "emit.h has a place for each");

static const char *name_of(int row) { return row == ARGMAX ? "argmax" : row == ARGMIN ? "argmin" : folds[row].name; }
static int log2_of(int lanes) { return lanes == 1 ? 0 : 1 + log2_of(lanes / 2); }
static bool is_arg(int row) { return row >= ARGMAX; }

// ---- functions ---------------------------------------------------------------------------------

// Where the upper half of the first `live` elements lies; of the rest nothing is said.
static const char *upper_half(Emit *e, int elements, int live) {
  Buf b = buf_make(e->a);
  for (int k = 0; k < elements; k++) buf_printf(&b, ", %d", k < live / 2 ? live / 2 + k : -1);
  return b.s;
}

static void print_better(Emit *e, int row) {
  const char *sign = row == ARGMAX ? ">" : "<";
  emit_line(e, "same = (N)((a == b) | ((a != a) & (b != b))), more = (N)((b %s a) | ((b != b) & (a == a)));", sign);
  emit_line(e, "better = (N)(k != nothing) & ((N)(i == nothing) | more | (same & (N)(k < i)));");
  emit_line(e, "a = CHOOSE(better, b, a), i = (k & better) | (i & ~better);");
}

// One halving: of `live` elements, in vectors of `elements` while there are several.
static void print_step(Emit *e, int row, int elements, int live) {
  bool arg = is_arg(row);
  const char *list = upper_half(e, elements, live);
  emit_line(e, "b = __builtin_shufflevector(a, a%s);", list);
  if (arg) emit_line(e, "k = __builtin_shufflevector(i, i%s);", list);
  if (arg) print_better(e, row);
  else emit_line(e, "a = %s;", folds[row].combine);
}

static void print_halves(Emit *e, int row, int vectors) {
  for (int half = vectors / 2; half > 0; half /= 2)
    for (int n = 0; n < half; n++) {
      emit_line(e, "a = v[%d], b = v[%d];", n, n + half);
      if (is_arg(row)) emit_line(e, "i = n[%d], k = n[%d];", n, n + half);
      if (is_arg(row)) print_better(e, row);
      else emit_line(e, "a = %s;", folds[row].combine);
      if (half > 1) emit_line(e, is_arg(row) ? "v[%d] = a, n[%d] = i;" : "v[%d] = a;", n, n);
    }
}

static void print_function(Emit *e, int row, int bits, int lanes) {
  const char *type = bits == 64 ? "double" : "float", *whole = bits == 64 ? "long long" : "int";
  int elements = VECTOR * 8 / bits, vectors = lanes > elements ? lanes / elements : 1;
  bool arg = is_arg(row);
  if (arg) emit_line(e, "static inline void %s_%d_f%d(%s *value, %s *at, %s nothing) {", name_of(row), lanes, bits, type, whole, whole);
  else emit_line(e, "static inline %s %s_%d_f%d(const %s *value) {", type, name_of(row), lanes, bits, type);
  emit_open(e);
  emit_line(e, "typedef %s V __attribute__((vector_size(%d)));", type, VECTOR);
  if (arg || strstr(folds[row].combine, "CHOOSE")) emit_line(e, "typedef %s N __attribute__((vector_size(%d)));", whole, VECTOR);
  emit_line(e, "V v[%d] = {0}, a, b;", vectors);
  emit_line(e, "__builtin_memcpy(v, value, %d);", lanes * bits / 8);
  if (arg) emit_line(e, "N n[%d] = {0}, i, k, same, more, better;", vectors);
  if (arg) emit_line(e, "__builtin_memcpy(n, at, %d);", lanes * bits / 8);
  print_halves(e, row, vectors);
  if (vectors == 1) emit_line(e, arg ? "a = v[0], i = n[0];" : "a = v[0];");
  for (int live = lanes < elements ? lanes : elements; live > 1; live /= 2) print_step(e, row, elements, live);
  if (arg) emit_line(e, "*value = a[0], *at = i[0];");
  else emit_line(e, "return a[0];");
  emit_close(e);
  emit_line(e, "}");
}

void c_fold_prologue(Emit *e) {
  bool first = true;
  for (int row = 0; row < FOLDS; row++)
    for (int wide = 0; wide < 2; wide++)
      for (int log = 1; log < 8; log++) {
        if (!(e->uses_folds[row][wide] >> log & 1)) continue;
        if (first) buf_puts(e->out, "// Lanes become one: the upper half onto the lower, again and again.\n"
                                    "#define CHOOSE(mask, x, y) (V)(((N)(mask) & (N)(x)) | (~(N)(mask) & (N)(y)))\n");
        first = false;
        print_function(e, row, wide ? 64 : 32, 1 << log);
      }
  if (!first) buf_puts(e->out, "\n");
}

void c_fold_names(Emit *e) {
  names_fresh(&e->names, "CHOOSE");
  for (int row = 0; row < FOLDS; row++)
    for (int bits = 32; bits <= 64; bits += 32)
      for (int log = 1; log < 8; log++) names_fresh(&e->names, arena_printf(e->a, "%s_%d_f%d", name_of(row), 1 << log, bits));
}

// ---- loops -------------------------------------------------------------------------------------

// (v[upper], i[upper]) is better than (v[lane], i[lane]): the lower index wins among equals.
static void fold_arg(Emit *e, const Stmt *s, const char *v, const char *i, const char *nothing) {
  const char *sign = s->reducer == RED_ARGMAX ? ">" : "<", *upper = "lane + half";
  bool nan = dtype_is_float(s->var->dtype);
  emit_line(e, "const %s a = %s[lane], b = %s[%s];", emit_type(s->var->dtype), v, v, upper);
  emit_line(e, "const %s i = %s[lane], k = %s[%s];", emit_type(s->var2->dtype), i, i, upper);
  emit_line(e, "const int same = a == b%s, more = b %s a%s;", nan ? " || (a != a && b != b)" : "", sign, nan ? " || (b != b && a == a)" : "");
  emit_line(e, "const int better = k != %s && (i == %s || more || (same && k < i));", nothing, nothing);
  emit_line(e, "%s[lane] = better ? b : a;", v);
  emit_line(e, "%s[lane] = better ? k : i;", i);
}

static void fold_value(Emit *e, const Stmt *s, const char *v) {
  Op op = reducers[s->reducer].combine;
  Dtype d = s->var->dtype;
  const char *low = arena_printf(e->a, "%s[lane]", v), *high = arena_printf(e->a, "%s[lane + half]", v);
  if (op == OP_ADD && d != DT_I32 && d != DT_I64) emit_line(e, "%s += %s;", low, high);
  else emit_line(e, "%s = %s;", low, emit_combine(e, op, d, low, high));
}

static void print_loops(Emit *e, const Stmt *s, int lanes, const char *v, const char *i, const char *nothing) {
  emit_line(e, "for (int half = %d; half > 0; half /= 2)", lanes / 2);
  emit_line(e, "  for (int lane = 0; lane < half; lane++)%s", s->var2 ? " {" : "");
  e->indent += 2;
  if (s->var2) fold_arg(e, s, v, i, nothing);
  else fold_value(e, s, v);
  e->indent -= 2;
  if (s->var2) emit_line(e, "  }");
}

// ---- a fold ------------------------------------------------------------------------------------

// The row of a function that does it, or -1.
static int row_of(const Stmt *s, int lanes) {
  Dtype d = s->var->dtype, at = s->var2 ? s->var2->dtype : DT_NONE;
  if ((d != DT_F32 && d != DT_F64) || lanes < 2 || lanes > 128 || (lanes & (lanes - 1))) return -1;
  if (s->var2) return at != (d == DT_F64 ? DT_I64 : DT_I32) ? -1 : s->reducer == RED_ARGMAX ? ARGMAX : ARGMIN;
  for (int row = 0; row < ARGMAX; row++) if (folds[row].op == reducers[s->reducer].combine) return row;
  return -1;
}

static const char *call_of(Emit *e, const Stmt *s, int row, int lanes, const char *arguments) {
  bool wide = s->var->dtype == DT_F64;
  e->uses_folds[row][wide] |= (unsigned char)(1 << log2_of(lanes));
  return arena_printf(e->a, "%s_%d_f%d(%s)", name_of(row), lanes, wide ? 64 : 32, arguments);
}

// The lanes' array gives way to a scalar.
static void fold_result(Emit *e, const Var *v, const char *value) {
  map_putp(&e->lanes, v, &e->folded);
  if (!map_getp(&e->read, v)) return;
  emit_line(e, "const %s %s = %s;", emit_type(v->dtype), names_bind(&e->names, v, v->name), value);
}

void c_fold(Emit *e, const Stmt *s) {
  const Stmt *var = map_getp(&e->lanes, s->var);
  if (!var || var->kind != ST_VAR) return;
  const char *v = names_of(&e->names, s->var), *i = s->var2 ? names_of(&e->names, s->var2) : NULL;
  const char *nothing = s->var2 ? emit_expr(e, map_getp(&e->first, s->var2), LEVEL_PREFIX) : NULL;
  int row = row_of(s, var->lanes);
  if (row < 0) print_loops(e, s, var->lanes, v, i, nothing);
  else if (s->var2) emit_line(e, "%s;", call_of(e, s, row, var->lanes, arena_printf(e->a, "%s, %s, %s", v, i, nothing)));
  bool at_once = row >= 0 && !s->var2;
  fold_result(e, s->var, at_once ? call_of(e, s, row, var->lanes, v) : arena_printf(e->a, "%s[0]", v));
  if (s->var2) fold_result(e, s->var2, arena_printf(e->a, "%s[0]", i));
}

// Note [Folds as vectors]
//
// As loops of 32, 16, … 1 steps over an array a fold is unrolled by compilers and then put together again as vectors, by chance: some
// became sixty shuffles of scalars. On a Xeon, variance and skewness (seven folds a row) of rows of 64 took 4.25 us with loops and
// 1.00 with functions, of rows of 512 1.62 and 0.95. The order is that of the loops, so are the bits.
