// stride_c.c: every second, third or fourth element of memory as a block of lanes, in C: one component of pixels, pairs and the like.
//
//   y[c, w] = x[w, c]      ──▶   unsigned char x_part[64];                        // where x has 3 columns
//                                take_1_3(x_part, x + w0 * 3, c);                 // x_part[k] = x[(w0 + k) * 3 + c]
//                                for (int lane = 0; lane < 64; lane++) y_v[lane] = TAKEN(x_part[lane], x[(w0 + lane) * 3 + c]);
//
// Compilers read such elements one by one, or gather them. Here whole vectors are read, all of whose elements are the tensor's, as the block's
// steps have all columns of their rows, and two permutations for each vector of the result bring them together.
#include "codegen/stride_c.h"

enum { MOST = 4, LANES = 64, VECTOR = 64 };     // columns; lanes of a block; bytes of a vector

typedef struct Search { Emit *e; const Stmt *loop; const char *block, *rest; Map seen; } Search;

// ---- which -------------------------------------------------------------------------------------

static int columns_of(const Tensor *t) {
  const Expr *x = t->rank >= 2 ? t->extent[t->rank - 1] : NULL;
  return x && x->op == OP_CONST && x->u.v.i >= 2 && x->u.v.i <= MOST ? (int)x->u.v.i : 0;
}

static bool is_written(const Search *w, const Tensor *t) {
  for (const Stmt *s = w->loop->body; s; s = s->next)
    if (s->kind == ST_STORE && tensor_root(s->t) == tensor_root(t)) return true;
  return false;
}

// The same in all lanes, and known before the block: loops' indices and dimensions.
static bool is_plain(const Search *w, const Expr *x) { return x->op == OP_CONST || x->op == OP_DIM || (x->op == OP_INDEX && x->u.ix != w->loop->ix); }

static bool is_strided(const Search *w, const Expr *x) {
  const Tensor *t = x->u.t;
  int n = t->rank, bits = dtypes[t->dtype].bits;
  if (!columns_of(t) || t->fmt || t->table || bits < 8 || bits > 32 || map_getp(&w->e->packed, t) || is_written(w, t)) return false;
  if (x->arg[n - 2]->op != OP_INDEX || x->arg[n - 2]->u.ix != w->loop->ix) return false;
  for (int k = 0; k < n; k++) if (k != n - 2 && !is_plain(w, x->arg[k])) return false;
  return true;
}

// ---- the text ----------------------------------------------------------------------------------

static void take(Search *w, const Expr *x) {
  Emit *e = w->e;
  const Tensor *t = x->u.t;
  Expr *sub[8];
  int n = t->rank, bytes = dtypes[t->dtype].bits / 8, columns = columns_of(t);
  for (int k = 0; k < n; k++) sub[k] = x->arg[k];
  sub[n - 1] = expr_int(e->p->x, DT_I64, 0, NO_SPAN);
  const char *part = names_fresh(&e->names, arena_printf(e->a, "%s_part", tensor_root(t)->name)), *name = emit_tensor(e, t);
  const AtFirst was = emit_at_first(e, w->loop->ix, w->block);
  const char *at = emit_position(e, t, sub, n, 1, LEVEL_ADD);
  emit_at_first_end(e, &was);
  emit_line(e, "%s%s %s[%d];", e->t->aligned_words, emit_storage(t), part, LANES);
  const char *column = emit_expr(e, x->arg[n - 1], LEVEL_COND);
  if (w->rest) emit_line(e, "take_%d_%d_of(%s, %s + %s, %s, %s);", bytes, columns, part, name, at, column, w->rest);
  else emit_line(e, "take_%d_%d(%s, %s + %s, %s);", bytes, columns, part, name, at, column);
  vec_push(e->a, &e->drawn, (Drawn){ x, part });
  e->uses_strides[bytes][columns] = true;
}

// What is evaluated in every lane: a read in one arm of a choice may be out of range.
static void look(Search *w, const Expr *x) {
  if (map_get(&w->seen, x->id)) return;
  map_put(&w->seen, x->id, (void *)x);
  bool lazy = x->op == OP_SELECT || x->op == OP_AND || x->op == OP_OR;
  for (uint32_t k = 0; k < (lazy ? 1 : x->nargs); k++) look(w, x->arg[k]);
  if (x->op == OP_READ && is_strided(w, x)) take(w, x);
}

void c_stride_open(Emit *e, const Stmt *loop, const char *block, const char *rest) {
  Search w = { e, loop, block, rest, map_make(e->a) };
  if (loop->lanes != LANES || loop->how == HOW_SCAN) return;
  for (const Stmt *s = loop->body; s; s = s->next)
    if ((s->kind == ST_LET || s->kind == ST_STORE || s->kind == ST_ACC) && s->a) look(&w, s->a);
}

// ---- functions ---------------------------------------------------------------------------------

// The lane of (a, b), of n lanes each, for lane k of one permutation; -1: the lane is not there.
static int within(int element, int first, int n) { return element >= first && element < first + 2 * n ? element - first : -1; }

// Of four vectors, lanes of the first two and of the last two, then both; of three, the first two, then the third.
static void print_permutation(Emit *e, const char *to, const char *a, const char *b, const int *lane, int n) {
  buf_printf(e->out, "    %s = __builtin_shufflevector(%s, %s", to, a, b);
  for (int k = 0; k < n; k++) buf_printf(e->out, ", %d", lane[k] < 0 ? 0 : lane[k]);
  buf_puts(e->out, ");\n");
}

static void print_case(Emit *e, int columns, int column, int n) {
  int low[VECTOR], high[VECTOR], both[VECTOR];
  for (int k = 0; k < n; k++) {
    int element = k * columns + column;
    low[k] = within(element, 0, n);
    high[k] = within(element, 2 * n, n);
    both[k] = low[k] >= 0 ? k : columns == 3 ? n + element - 2 * n : n + k;
  }
  print_permutation(e, "low", "v[0]", "v[1]", low, n);
  if (columns == 4) print_permutation(e, "high", "v[2]", "v[3]", high, n);
  if (columns > 2) print_permutation(e, "low", "low", columns == 4 ? "high" : "v[2]", both, n);
}

static void print_take(Emit *e, int bytes, int columns) {
  const char *type = bytes == 1 ? "unsigned char" : bytes == 2 ? "unsigned short" : "unsigned int";
  int n = VECTOR / bytes;
  buf_printf(e->out,
    "// to[k] = from[k * %d + column], for %d elements.\n"
    "static inline void take_%d_%d(void *to, const void *from, long long column) {\n"
    "#ifdef __clang__\n"
    "  typedef %s vector __attribute__((vector_size(%d)));\n"
    "  for (int part = 0; part < %d; part++) {\n"
    "    vector v[%d], low%s;\n"
    "    __builtin_memcpy(v, (const char *)from + part * %d, sizeof v);\n", columns, LANES, bytes, columns, type, VECTOR, LANES / n, columns,
    columns == 4 ? ", high" : "", columns * VECTOR);
  for (int c = 0; c < columns; c++) {
    if (c + 1 < columns) buf_printf(e->out, "    %sif (column == %d) {\n", c ? "} else " : "", c);
    else buf_puts(e->out, "    } else {\n");
    print_case(e, columns, c, n);
  }
  buf_printf(e->out,
    "    }\n"
    "    __builtin_memcpy((char *)to + part * %d, &low, sizeof low);\n"
    "  }\n"
    "#else\n"
    "  (void)to, (void)from, (void)column;\n"
    "#endif\n"
    "}\n"
    "static inline void take_%d_%d_of(void *to, const void *from, long long column, int rows) {\n"
    "#ifdef __clang__\n"
    "  _Alignas(64) unsigned char all[%d] = {0};\n"
    "#ifdef __AVX512BW__\n"
    "  for (int k = 0; k < %d; k++) if (k < rows * %d) all[k] = ((const unsigned char *)from)[k];\n"
    "#else\n"
    "  __builtin_memcpy(all, from, (unsigned long)rows * %d);\n"
    "#endif\n"
    "  take_%d_%d(to, all, column);\n"
    "#else\n"
    "  (void)to, (void)from, (void)column, (void)rows;\n"
    "#endif\n"
    "}\n\n", VECTOR, bytes, columns, LANES * columns * bytes, LANES * columns * bytes, columns * bytes, columns * bytes, bytes, columns);
}

static bool is_used(const Emit *e) {
  for (int bytes = 1; bytes <= 4; bytes *= 2)
    for (int columns = 2; columns <= MOST; columns++) if (e->uses_strides[bytes][columns]) return true;
  return false;
}

void c_stride_functions(Emit *e) {
  if (is_used(e)) {
    buf_puts(e->out,
      "// gcc 12 makes single bytes of permutations of bytes: there each lane reads its element.\n"
      "#ifdef __clang__\n"
      "#define TAKEN(part, element) (1 ? (part) : (element))\n"
      "#else\n"
      "#define TAKEN(part, element) (element)\n"
      "#endif\n");
  }
  for (int bytes = 1; bytes <= 4; bytes *= 2)
    for (int columns = 2; columns <= MOST; columns++)
      if (e->uses_strides[bytes][columns]) print_take(e, bytes, columns);
}

void c_stride_names(Emit *e) {
  names_fresh(&e->names, "TAKEN");
  for (int bytes = 1; bytes <= 4; bytes *= 2)
    for (int columns = 2; columns <= MOST; columns++) {
      names_fresh(&e->names, arena_printf(e->a, "take_%d_%d", bytes, columns));
      names_fresh(&e->names, arena_printf(e->a, "take_%d_%d_of", bytes, columns));
    }
}
