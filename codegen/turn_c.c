// turn_c.c: copying part of a matrix turned, in C: into a local array, or from one to memory.
//
//   stage t = x[j, i] for i in it .. , j in jt ..   ──▶   turn_4(t, 64, x + jt * N + it, N, rows, columns, 0);
//
// Elements move as bits, in squares whose rows are vectors of 64 bytes, through registers: for f32 halves of pairs of rows change
// places four times, first 8 apart, then 4, 2 and 1 [Eklundh, A Fast Computer Method for Matrix Transposing, 1972].
#include "codegen/turn_c.h"

// Elements of a vector of 64 bytes.
static int square(int bytes) { return 64 / bytes; }

// Elements from one step of ix to the next in t[sub].
static Expr *stride_of(Emit *e, const Tensor *t, Expr *const *sub, const Index *ix) {
  ExprTable *x = e->p->x;
  Expr *all = NULL;
  int k = t->rank - 1;
  while (!expr_uses_index(sub[k], ix)) k--;
  for (k++; k < t->rank; k++) all = all ? expr_op2(x, OP_MUL, all, t->extent[k], NO_SPAN) : t->extent[k];
  return all;
}

// The element of the first step.
static const char *address(Emit *e, const Stmt *s, const Tensor *t, Expr *const *sub) {
  names_open(&e->names);
  names_bind_to(&e->names, s->ix, emit_expr(e, s->lo, LEVEL_PRIMARY));
  names_bind_to(&e->names, s->ix2, emit_expr(e, s->lo2, LEVEL_PRIMARY));
  const char *at = emit_position(e, t, sub, t->rank, 1, LEVEL_ADD);
  names_close(&e->names);
  return arena_printf(e->a, "%s + %s", emit_tensor(e, t), at);
}

// Its address, and how far apart the elements of two steps of ix are.
static const char *corner(Emit *e, const Stmt *s, const Tensor *t, Expr *const *sub, const Index *ix) {
  return arena_printf(e->a, "%s, %s", address(e, s, t, sub), emit_expr(e, stride_of(e, t, sub, ix), LEVEL_COND));
}

void c_stage(Emit *e, const Stmt *s) {
  e->uses_streams = true;
  if (s->nsub) emit_written(e, s->t);
  if (c_parts(s)) {
    const char *memory = s->nsub ? address(e, s, s->t, s->sub) : address(e, s, s->a->u.t, s->a->arg);
    c_stage_parts(e, s, memory, emit_tensor(e, s->nsub ? s->a->u.t : s->t));
    return;
  }
  int bytes = dtypes[s->t->dtype].bits / 8;
  const char *to = s->nsub ? corner(e, s, s->t, s->sub, s->ix) : arena_printf(e->a, "%s, %s", emit_tensor(e, s->t), emit_expr(e, s->t->extent[1], LEVEL_COND));
  const char *from = corner(e, s, s->a->u.t, s->a->arg, s->ix2), *past = s->stream ? emit_expr(e, s->stream, LEVEL_COND) : "0";
  emit_line(e, "turn_%d(%s, %s, %s - %s, %s - %s, %s);", bytes, to, from, emit_expr(e, s->hi2, LEVEL_ADD), emit_expr(e, s->lo2, LEVEL_MUL),
            emit_expr(e, s->hi, LEVEL_ADD), emit_expr(e, s->lo, LEVEL_MUL), past);
  e->turns[bytes] = true;
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
    "static inline void turn_square_%d(void *to, const void *from, long long to_stride, long long from_stride, long long rows, long long columns, int past_caches) {\n"
    "  turned_%d v[%d];\n"
    "  const int whole = rows >= %d && columns >= %d;\n"
    "  if (whole) {\n"
    "    for (int k = 0; k < %d; k++) __builtin_memcpy(&v[k], (const char *)from + k * from_stride, sizeof v[k]);\n"
    "  } else {\n"
    "    __builtin_memset(v, 0, sizeof v);\n"
    "    for (int k = 0; k < rows && k < %d; k++) __builtin_memcpy(&v[k], (const char *)from + k * from_stride, (unsigned long)(columns < %d ? columns : %d) * %d);\n"
    "  }\n", type, n, n, n, n, n, n, n, n, n, n, 64 / n);
  for (int d = n / 2; d; d /= 2) {
    buf_printf(b, "  for (int k = 0; k < %d; k++) {\n    if (k & %d) continue;\n    const turned_%d a = v[k], b = v[k + %d];\n    v[k] = __builtin_shufflevector(a, b", n, d, n, d);
    mask(b, n, d, true);
    buf_printf(b, ");\n    v[k + %d] = __builtin_shufflevector(a, b", d);
    mask(b, n, d, false);
    buf_puts(b, ");\n  }\n");
  }
  buf_printf(b,
    "  if (whole) {\n"
    "    for (int k = 0; k < %d; k++) store_block((char *)to + k * to_stride, &v[k], 64, past_caches);\n"
    "  } else {\n"
    "    for (int k = 0; k < columns && k < %d; k++) __builtin_memcpy((char *)to + k * to_stride, &v[k], (unsigned long)(rows < %d ? rows : %d) * %d);\n"
    "  }\n"
    "}\n", n, n, n, n, 64 / n);
}

static void print_turn(Emit *e, int bytes) {
  const char *type = bytes == 1 ? "unsigned char" : bytes == 2 ? "unsigned short" : bytes == 4 ? "unsigned int" : "unsigned long long";
  int n = square(bytes);
  print_square(e, type, n);
  buf_printf(e->out,
    "// to[c][r] = from[r][c]\n"
    "static inline void turn_%d(void *target, long long to_stride, const void *source, long long stride, long long rows, long long columns, int past_caches) {\n"
    "  typedef %s any __attribute__((may_alias));\n"
    "  any *to = (any *)target;\n"
    "  const any *from = (const any *)source;\n"
    "  for (long long r = 0; r < rows; r += %d)\n"
    "    for (long long c = 0; c < columns; c += %d)\n"
    "      turn_square_%d(to + c * to_stride + r, from + r * stride + c, to_stride * %d, stride * %d, rows - r, columns - c, past_caches);\n"
    "}\n\n", bytes, type, n, n, n, bytes, bytes);
}

void c_turn_names(Emit *e) {
  for (int bytes = 1; bytes <= 8; bytes *= 2) {
    names_fresh(&e->names, arena_printf(e->a, "turn_%d", bytes));
    names_fresh(&e->names, arena_printf(e->a, "turned_%d", square(bytes)));
    names_fresh(&e->names, arena_printf(e->a, "turn_square_%d", square(bytes)));
  }
}

void c_turn_prologue(Emit *e) {
  c_parts_prologue(e);
  for (int bytes = 1; bytes <= 8; bytes *= 2) if (e->turns[bytes]) print_turn(e, bytes);
}
