// turn_c.c: staging a turned copy of part of a matrix, in C.
//
//   stage t = x[j, i] for i in it .. , j in jt ..   ──▶   turn_4(t, x + jt * N + it, N, rows, columns);
//
// Elements move as bits, in squares whose rows are vectors of 64 bytes, through registers: for f32 halves of pairs of rows change
// places four times, first 8 apart, then 4, 2 and 1 [Eklundh, A Fast Computer Method for Matrix Transposing, 1972].
#include "codegen/turn_c.h"

// Elements of a vector of 64 bytes.
static int square(int bytes) { return 64 / bytes; }

static Expr *stride_of(Emit *e, const Stmt *s) {
  const Tensor *t = s->a->u.t;
  ExprTable *x = e->p->x;
  Expr *all = NULL;
  int k = t->rank - 1;
  while (!(s->a->arg[k]->op == OP_INDEX && s->a->arg[k]->u.ix == s->ix2)) k--;
  for (k++; k < t->rank; k++) all = all ? expr_op2(x, OP_MUL, all, t->extent[k], NO_SPAN) : t->extent[k];
  return all;
}

void c_stage(Emit *e, const Stmt *s) {
  const Tensor *t = s->a->u.t;
  int bytes = dtypes[t->dtype].bits / 8;
  names_open(&e->names);
  names_bind_to(&e->names, s->ix, emit_expr(e, s->lo, LEVEL_PRIMARY));
  names_bind_to(&e->names, s->ix2, emit_expr(e, s->lo2, LEVEL_PRIMARY));
  const char *from = emit_position(e, t, s->a->arg, t->rank, 1, LEVEL_ADD);
  names_close(&e->names);
  emit_line(e, "turn_%d(%s, %s + %s, %s, %s - %s, %s - %s);", bytes, emit_tensor(e, s->t), emit_tensor(e, t), from, emit_expr(e, stride_of(e, s), LEVEL_COND),
            emit_expr(e, s->hi2, LEVEL_ADD), emit_expr(e, s->lo2, LEVEL_MUL), emit_expr(e, s->hi, LEVEL_ADD), emit_expr(e, s->lo, LEVEL_MUL));
  e->turns[bytes] = (int)s->t->extent[1]->u.v.i;
}

// Elements of one row (low) or the other change places at distance d.
static void mask(Buf *b, int n, int d, bool low) {
  for (int k = 0; k < n; k++) {
    int from = low ? (k & d ? n + k - d : k) : (k & d ? n + k : k + d);
    buf_printf(b, ", %d", from);
  }
}

static void print_square(Emit *e, const char *type, int n) {
  Buf *b = e->out;
  buf_printf(b,
    "typedef %s turned_%d __attribute__((vector_size(64), may_alias));\n"
    "static inline void turn_square_%d(void *to, const void *from, long long to_stride, long long from_stride) {\n"
    "  turned_%d v[%d];\n"
    "  for (int k = 0; k < %d; k++) __builtin_memcpy(&v[k], (const char *)from + k * from_stride, sizeof v[k]);\n", type, n, n, n, n, n);
  for (int d = n / 2; d; d /= 2) {
    buf_printf(b, "  for (int k = 0; k < %d; k++) {\n    if (k & %d) continue;\n    const turned_%d a = v[k], b = v[k + %d];\n    v[k] = __builtin_shufflevector(a, b", n, d, n, d);
    mask(b, n, d, true);
    buf_printf(b, ");\n    v[k + %d] = __builtin_shufflevector(a, b", d);
    mask(b, n, d, false);
    buf_puts(b, ");\n  }\n");
  }
  buf_printf(b, "  for (int k = 0; k < %d; k++) __builtin_memcpy((char *)to + k * to_stride, &v[k], sizeof v[k]);\n}\n", n);
}

static void print_turn(Emit *e, int bytes, int side) {
  const char *type = bytes == 1 ? "unsigned char" : bytes == 2 ? "unsigned short" : bytes == 4 ? "unsigned int" : "unsigned long long";
  int n = square(bytes);
  print_square(e, type, n);
  buf_printf(e->out,
    "// to[c][r] = from[r][c]; what lies below is fetched.\n"
    "static inline void turn_%d(void *target, const void *source, long long stride, long long rows, long long columns) {\n"
    "  typedef %s any __attribute__((may_alias));\n"
    "  any *to = (any *)target;\n"
    "  const any *from = (const any *)source;\n"
    "  long long r = 0;\n"
    "  for (; r + %d <= rows; r += %d) {\n"
    "    for (int k = 0; k < %d; k++)\n"
    "      for (long long c = 0; c < columns; c += %d) __builtin_prefetch(from + (r + k + %d) * stride + c, 0, 2);\n"
    "    long long c = 0;\n"
    "    for (; c + %d <= columns; c += %d) turn_square_%d(to + c * %d + r, from + r * stride + c, %d * %d, stride * %d);\n"
    "    for (; c < columns; c++)\n"
    "      for (int k = 0; k < %d; k++) to[c * %d + r + k] = from[(r + k) * stride + c];\n"
    "  }\n"
    "  for (; r < rows; r++)\n"
    "    for (long long c = 0; c < columns; c++) to[c * %d + r] = from[r * stride + c];\n"
    "}\n\n", bytes, type, n, n, n, n, side, n, n, n, side, side, bytes, bytes, n, side, side);
}

void c_turn_names(Emit *e) {
  for (int bytes = 1; bytes <= 8; bytes *= 2) {
    names_fresh(&e->names, arena_printf(e->a, "turn_%d", bytes));
    names_fresh(&e->names, arena_printf(e->a, "turned_%d", square(bytes)));
    names_fresh(&e->names, arena_printf(e->a, "turn_square_%d", square(bytes)));
  }
}

void c_turn_prologue(Emit *e) {
  for (int bytes = 1; bytes <= 8; bytes *= 2) if (e->turns[bytes]) print_turn(e, bytes, e->turns[bytes]);
}
