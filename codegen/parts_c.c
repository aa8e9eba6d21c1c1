// parts_c.c: rows of a few elements taken apart into columns, and put together again, in C.
//
//   stage t = x[i, j] for j in 0 .. 8, i in it ..    ──▶   part_4_8(t, x + it * 8, rows);
//   stage y[i, j] = t for i in it .., j in 0 .. 8    ──▶   join_4_8(y + it * 8, t, rows, past_caches);
//
// 64 rows at a time, in vectors of 64 bytes. An even number of columns falls into the even and the odd ones, which are as many rows of
// half the length; of an odd number each column is picked from all vectors. Joining is the same backwards.
#include "codegen/turn_c.h"
#include <string.h>

enum { ROWS = 64 };

typedef struct Parts { Emit *e; int lanes, columns, count; } Parts;

static const char *shuffled(Parts *p, const char *a, const char *b, const int *from) {
  const char *name = arena_printf(p->e->a, "s%d", p->count++);
  buf_printf(p->e->out, "    const lanes_%d %s = __builtin_shufflevector(%s, %s", p->lanes, name, a, b);
  for (int l = 0; l < p->lanes; l++) buf_printf(p->e->out, ", %d", from[l]);
  buf_puts(p->e->out, ");\n");
  return name;
}

// Every second lane of two vectors.
static const char *half(Parts *p, const char *a, const char *b, int odd) {
  int from[64];
  for (int l = 0; l < p->lanes; l++) from[l] = 2 * l + odd;
  return shuffled(p, a, b, from);
}

// Lanes of two vectors in turn, from their first or second half.
static const char *zip(Parts *p, const char *a, const char *b, int second) {
  int from[64];
  for (int l = 0; l < p->lanes; l++) from[l] = l / 2 + l % 2 * p->lanes + second * p->lanes / 2;
  return shuffled(p, a, b, from);
}

// Lane l of the result is lane at[l] of v[of[l]].
static const char *picked(Parts *p, int n, const char **v, const int *of, const int *at) {
  const char *all = v[0];
  for (int k = 1; k < n; k++) {
    int from[64];
    for (int l = 0; l < p->lanes; l++) from[l] = of[l] == k ? p->lanes + at[l] : k > 1 ? l : of[l] ? 0 : at[l];
    all = shuffled(p, all, v[k], from);
  }
  return all;
}

static void take_apart(Parts *p, int n, const char **v, int first, int step, const char **column) {
  const char *even[8], *odd[8];
  int of[64], at[64];
  if (n == 1) { column[first] = v[0]; return; }
  if (n % 2 == 0) {
    for (int k = 0; k < n / 2; k++) even[k] = half(p, v[2 * k], v[2 * k + 1], 0), odd[k] = half(p, v[2 * k], v[2 * k + 1], 1);
    take_apart(p, n / 2, even, first, 2 * step, column);
    take_apart(p, n / 2, odd, first + step, 2 * step, column);
    return;
  }
  for (int c = 0; c < n; c++) {
    for (int l = 0; l < p->lanes; l++) of[l] = (l * n + c) / p->lanes, at[l] = (l * n + c) % p->lanes;
    column[first + c * step] = picked(p, n, v, of, at);
  }
}

static void put_together(Parts *p, int n, const char **v, int first, int step, const char **column) {
  const char *even[8], *odd[8], *own[16];
  int of[64], at[64];
  if (n == 1) { v[0] = column[first]; return; }
  if (n % 2 == 0) {
    put_together(p, n / 2, even, first, 2 * step, column);
    put_together(p, n / 2, odd, first + step, 2 * step, column);
    for (int k = 0; k < n / 2; k++) v[2 * k] = zip(p, even[k], odd[k], 0), v[2 * k + 1] = zip(p, even[k], odd[k], 1);
    return;
  }
  for (int c = 0; c < n; c++) own[c] = column[first + c * step];
  for (int k = 0; k < n; k++) {
    for (int l = 0; l < p->lanes; l++) of[l] = (k * p->lanes + l) % n, at[l] = (k * p->lanes + l) / n;
    v[k] = picked(p, n, own, of, at);
  }
}

static void load(Parts *p, const char *name, const char *from, const char *at) {
  buf_printf(p->e->out, "    lanes_%d %s;\n    __builtin_memcpy(&%s, %s + %s, sizeof %s);\n", p->lanes, name, name, from, at, name);
}

static void print_head(Parts *p, const char *what, const char *type, int bytes, bool out) {
  buf_printf(p->e->out,
    "static inline void %s_%d_%d(void *target, const void *source, long long rows%s) {\n"
    "  typedef %s any __attribute__((may_alias));\n"
    "  typedef %s lanes_%d __attribute__((vector_size(64), may_alias));\n"
    "  any *to = (any *)target;\n"
    "  const any *from = (const any *)source;\n"
    "  if (rows < %d) {\n"
    "    for (long long r = 0; r < rows; r++)\n"
    "      for (int c = 0; c < %d; c++) %s;\n"
    "    return;\n"
    "  }\n"
    "  for (int r = 0; r < %d; r += %d) {\n", what, bytes, p->columns, out ? ", int past_caches" : "", type, type, p->lanes, ROWS, p->columns,
    out ? arena_printf(p->e->a, "to[r * %d + c] = from[c * %d + r]", p->columns, ROWS) : arena_printf(p->e->a, "to[c * %d + r] = from[r * %d + c]", ROWS, p->columns),
    ROWS, p->lanes);
}

static const char *type_of(int bytes) { return bytes == 1 ? "unsigned char" : bytes == 2 ? "unsigned short" : bytes == 4 ? "unsigned int" : "unsigned long long"; }

static void print_part(Emit *e, int bytes, int columns) {
  Parts p = { e, 64 / bytes, columns, 0 };
  const char *v[16], *column[16];
  print_head(&p, "part", type_of(bytes), bytes, false);
  for (int k = 0; k < columns; k++) {
    v[k] = arena_printf(e->a, "v%d", k);
    load(&p, v[k], "from", arena_printf(e->a, "r * %d + %d", columns, k * p.lanes));
  }
  take_apart(&p, columns, v, 0, 1, column);
  for (int c = 0; c < columns; c++) buf_printf(e->out, "    __builtin_memcpy(to + %d + r, &%s, sizeof %s);\n", c * ROWS, column[c], column[c]);
  buf_puts(e->out, "  }\n}\n\n");
}

static void print_join(Emit *e, int bytes, int columns) {
  Parts p = { e, 64 / bytes, columns, 0 };
  const char *v[16], *column[16];
  print_head(&p, "join", type_of(bytes), bytes, true);
  for (int c = 0; c < columns; c++) {
    column[c] = arena_printf(e->a, "c%d", c);
    load(&p, column[c], "from", arena_printf(e->a, "%d + r", c * ROWS));
  }
  put_together(&p, columns, v, 0, 1, column);
  for (int k = 0; k < columns; k++) buf_printf(e->out, "    store_block(to + r * %d + %d, &%s, 64, past_caches);\n", columns, k * p.lanes, v[k]);
  buf_puts(e->out, "  }\n}\n\n");
}

// ---- which statements --------------------------------------------------------------------------

int c_parts(const Stmt *s) {
  const Tensor *t = s->nsub ? s->t : s->a->u.t, *tile = s->nsub ? s->a->u.t : s->t;
  Expr *const *sub = s->nsub ? s->sub : s->a->arg, *lo = s->nsub ? s->lo2 : s->lo, *hi = s->nsub ? s->hi2 : s->hi;
  const Index *row = s->nsub ? s->ix : s->ix2;
  int n = t->rank;
  bool whole = n >= 2 && expr_is_index(sub[n - 2], row) && expr_is_int(lo, 0) && hi == t->extent[n - 1] && expr_is_const(hi) && hi->u.v.i < 16;
  return whole && tile->rank == 2 && tile->extent[0] == hi && expr_is_int(tile->extent[1], ROWS) ? (int)hi->u.v.i : 0;
}

void c_stage_parts(Emit *e, const Stmt *s, const char *memory, const char *tile) {
  int bytes = dtypes[s->t->dtype].bits / 8, columns = c_parts(s);
  Expr *lo = s->nsub ? s->lo : s->lo2, *hi = s->nsub ? s->hi : s->hi2;
  const char *rows = arena_printf(e->a, "%s - %s", emit_expr(e, hi, LEVEL_ADD), emit_expr(e, lo, LEVEL_MUL));
  if (s->nsub) emit_line(e, "join_%d_%d(%s, %s, %s, %s);", bytes, columns, memory, tile, rows, s->stream ? emit_expr(e, s->stream, LEVEL_COND) : "0");
  else emit_line(e, "part_%d_%d(%s, %s, %s);", bytes, columns, tile, memory, rows);
  e->parts[s->nsub > 0][bytes][columns] = true;
}

void c_parts_prologue(Emit *e) {
  for (int bytes = 1; bytes <= 8; bytes *= 2)
    for (int columns = 1; columns < 16; columns++) {
      if (e->parts[0][bytes][columns]) print_part(e, bytes, columns);
      if (e->parts[1][bytes][columns]) print_join(e, bytes, columns);
    }
}
