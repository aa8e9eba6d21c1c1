// vector_c.c: vector loops in C: blocks of a fixed number of lanes that compilers turn into whole vectors.
//
//   vec j in 0 .. D                     for (; j0 + 64 <= D; j0 += 64) {
//     y[i, j] = x[i, j] * 2     ──▶       float y_v[64];
//                                         for (int lane = 0; lane < 64; lane++) y_v[lane] = x[i * D + j0 + lane] * 2;
//                                         store_block(y + i * D + j0, y_v, 256, big);
//                                       }
//                                       and the last steps with `if (lane < rest)`
//
// See Note [Lanes in C] and Note [Streaming stores].
#include "codegen/vector_c.h"
#include "codegen/random_c.h"
#include "codegen/side_c.h"
#include "codegen/stride_c.h"
#include <string.h>

enum {
  LINE = 64,            // bytes of a cache line
  PAGE = 4096,          // that a core's prefetcher does not look beyond
};

// ---- one pass over a block's lanes -------------------------------------------------------------

// Where a part of the lines begins. They come in pairs, as a core's memory fetches them, and the first parts have the more.
static int first_line(const Stmt *s, int part, int lines) { return 2 * ((part * ((lines + 1) / 2) + s->parts - 1) / s->parts); }

// The lines of `elements` from s->sub on, those of the part.
static void print_prefetch(Emit *e, const Stmt *s, int elements) {
  int bytes = dtypes[s->t->dtype].bits / 8;
  const char *name = emit_tensor(e, s->t), *at = emit_position(e, s->t, s->sub, s->nsub, 1, LEVEL_ADD);
  const int lines = (elements * bytes + LINE - 1) / LINE;
  for (int line = first_line(s, s->part, lines); line < first_line(s, s->part + 1, lines) && line < lines; line++) {
    const char *step = line ? arena_printf(e->a, " + %d", line * LINE / bytes) : "";
    emit_line(e, "__builtin_prefetch(%s + %s%s, 0, %d);", name, at, step, s->near ? 3 : 2);      // a read, into the first or second cache
  }
}

void c_prefetch(Emit *e, const Stmt *s) { print_prefetch(e, s, s->lanes); }

static void prefetches(Emit *e, const Stmt *loop, const char *block) {
  const AtFirst was = emit_at_first(e, loop->ix, block);
  for (const Stmt *s = loop->body; s; s = s->next)
    if (s->kind == ST_PREFETCH) print_prefetch(e, s, loop->lanes);
  emit_at_first_end(e, &was);
}

// Prints the loop's body there. Does it use the index, not only its lane?
static bool body_uses_index(Emit *e, const Stmt *s, Buf *body) {
  Buf *out = e->out;
  Uses all = e->used;
  e->used = uses_make(e->a);
  e->out = body;
  emit_block(e, s->body);
  bool uses = uses_has(&e->used, s->ix);
  for (int i = 0; i < e->used.list.n; i++) uses_put(&all, e->used.list.v[i]);
  e->used = all;
  e->out = out;
  return uses;
}

// for lane < count: body. With `rest`, a text, only the lanes below it do anything.
static void lane_pass(Emit *e, const Stmt *s, const char *block, int count, const char *rest) {
  Buf body = buf_make(e->a);
  const char *outer = e->lane, *outer_first = e->lane_first;
  const Stmt *outer_loop = e->lane_loop;
  names_open(&e->names);
  e->lane = names_fresh(&e->names, "lane"), e->lane_loop = s, e->lane_first = block;
  e->uses_simd = true;
  emit_line(e, "OMP(omp simd%s)", rest ? "" : c_side_by_side(e, s, count));
  emit_line(e, "for (int %s = 0; %s < %d; %s++) {", e->lane, e->lane, count, e->lane);
  emit_open(e);
  if (rest) {
    emit_line(e, "if (%s < %s) {", e->lane, rest);
    emit_open(e);
  }
  const char *i = emit_index(e, s);
  if (body_uses_index(e, s, &body)) emit_line(e, "const long long %s = %s + %s;", i, block, e->lane);
  buf_puts(e->out, body.s);
  if (rest) {
    emit_close(e);
    emit_line(e, "}");
  }
  emit_close(e);
  emit_line(e, "}");
  names_close(&e->names);
  e->lane = outer, e->lane_loop = outer_loop, e->lane_first = outer_first;
}

// ---- streaming stores --------------------------------------------------------------------------

typedef struct Stream { const Stmt *s; const char *array, *at; bool words; } Stream;
typedef struct Streams { VEC(Stream) v; } Streams;

static int stored_bytes(const Stmt *s) { return dtypes[s->t->dtype].bits / 8; }

// The address of the element that the store writes at step `block` of the loop.
static const char *address_at(Emit *e, const Stmt *s, const Stmt *loop, const char *block) {
  const AtFirst was = emit_at_first(e, loop->ix, block);
  const char *at = arena_printf(e->a, "%s + %s", emit_tensor(e, s->t), emit_position(e, s->t, s->sub, s->nsub, 1, LEVEL_ADD));
  emit_at_first_end(e, &was);
  return at;
}

static Streams streams_of(Emit *e, const Stmt *loop, const char *block) {
  Streams all = { .v = {0} };
  for (const Stmt *s = loop->body; s; s = s->next) {
    if (s->kind != ST_STORE || !s->stream) continue;
    const char *name = tensor_root(s->t)->name;
    vec_push(e->a, &all.v, (Stream){ s, names_fresh(&e->names, arena_printf(e->a, "%s_v", name)), address_at(e, s, loop, block), false });
  }
  return all;
}

// Values of 32 bits are packed as whole vectors behind the lanes: see Note [Packing].
static bool has_words(const Emit *e, const Stmt *s, const Stmt *store) {
  return s->lanes == 64 && emit_has_word(e, store->t->dtype, store->a);
}

static void open_arrays(Emit *e, const Stmt *s, const Streams *all) {
  for (int i = 0; i < all->v.n; i++) {
    Stream *w = &all->v.v[i];
    w->words = has_words(e, s, w->s);
    emit_line(e, "%s%s %s[%d];", e->t->aligned_words, w->words ? "unsigned int" : emit_storage(w->s->t), w->array, s->lanes);
    vec_push(e->a, &e->staged, (Staged){ w->s, w->array, w->words });
    if (w->words) e->packs[stored_bytes(w->s)] = true;
  }
}

static void close_arrays(Emit *e, const Stmt *s, const Streams *all, const char *big) {
  e->staged.n = 0;
  for (int i = 0; i < all->v.n; i++) {
    const Stream *w = &all->v.v[i];
    if (w->words) emit_line(e, "store_%s(%s, %s, %s);", stored_bytes(w->s) == 2 ? "halves" : "bytes", w->at, w->array, big);
    else emit_line(e, "store_block(%s, %s, %d, %s);", w->at, w->array, s->lanes * stored_bytes(w->s), big);
  }
}

static void scan_prologue(Emit *e) {
  if (!e->uses_scans) return;
  buf_puts(e->out,
    "// v[k] becomes start + v[0] + ... + v[k], for 64 values: within 16 by doubling distances, then 16 by 16.\n"
    "typedef float f32x16 __attribute__((vector_size(64), may_alias));\n"
    "#define SHIFTED(v, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) __builtin_shufflevector(v, zero, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)\n"
    "static inline void scan_block(float *v, float start) {\n"
    "  const f32x16 zero = {0};\n"
    "  f32x16 *block = (f32x16 *)v;\n"
    "  for (int k = 0; k < 4; k++) {\n"
    "    f32x16 s = block[k];\n"
    "    s += SHIFTED(s, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);\n"
    "    s += SHIFTED(s, 16, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13);\n"
    "    s += SHIFTED(s, 16, 16, 16, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);\n"
    "    s += SHIFTED(s, 16, 16, 16, 16, 16, 16, 16, 16, 0, 1, 2, 3, 4, 5, 6, 7);\n"
    "    block[k] = s;\n"
    "  }\n"
    "  float before = 0;\n"
    "  for (int k = 0; k < 4; k++) {\n"
    "    const float sum = before + v[16 * k + 15];\n"
    "    block[k] += before + start;\n"
    "    before = sum;\n"
    "  }\n"
    "}\n\n");
}

// See Note [Four streams].
static void streams_prologue(Emit *e) {
  if (!e->uses_block_order) return;
  buf_puts(e->out,
    "// The n-th block to compute of so many: four at a time, from the quarters of a tile of 4 * quarter, a power of two.\n"
    "static inline long long block_at(unsigned long long n, unsigned long long blocks, unsigned long long quarter) {\n"
    "  const unsigned long long k = n % (4 * quarter), from = n - k;\n"
    "  if (from + 4 * quarter <= blocks) return (long long)(from + k % 4 * quarter + k / 4);\n"
    "  quarter = blocks / 4;\n"
    "  return (long long)(from || n >= 4 * quarter ? n : n % 4 * quarter + n / 4);\n"
    "}\n\n");
}

static void wide_prologue(Emit *e) {
  if (!e->uses_streams && !e->uses_random) return;
  buf_puts(e->out,
    "// A whole vector.\n"
    "#if defined __AVX512F__\n"
    "#define WIDE 64\n"
    "#elif defined __AVX__\n"
    "#define WIDE 32\n"
    "#else\n"
    "#define WIDE 16\n"
    "#endif\n"
    "typedef float wide __attribute__((vector_size(WIDE), may_alias));\n");
}

// Every second lane of two vectors, of the lanes that are there.
static void print_second(Emit *e, int lanes, int odd) {
  for (int k = 0; k < lanes; k++) buf_printf(e->out, ", %d", 2 * k + odd);
  buf_puts(e->out, ");\n");
}

static bool stored_upper(const char *name) { return name[0] == 'h'; }

static void pack_function(Emit *e, const char *name, const char *what, const char *type, const char *element) {
  buf_printf(e->out,
    "// %s of 64 words.\n"
    "static inline __attribute__((always_inline)) void store_%s(void *to, const unsigned int *from, int past_caches) {\n"
    "  _Alignas(64) %s packed[64];\n"
    "#ifdef PACKS\n"
    "  typedef unsigned short halves __attribute__((vector_size(64)));\n"
    "  halves v[4];\n"
    "  __builtin_memcpy(v, from, sizeof v);\n", what, name, type);
  for (int k = 0; k < 4; k += 2) {
    buf_printf(e->out, "  v[%d] = __builtin_shufflevector(v[%d], v[%d]", k / 2, k, k + 1);
    print_second(e, 32, stored_upper(name));
  }
  if (!stored_upper(name)) {
    buf_puts(e->out, "  typedef unsigned char bytes __attribute__((vector_size(64)));\n"
                     "  const bytes low = (bytes)v[0], high = (bytes)v[1], all = __builtin_shufflevector(low, high");
    print_second(e, 64, 0);
  }
  buf_printf(e->out,
    "  __builtin_memcpy(packed, %s, sizeof packed);\n"
    "#else\n"
    "  for (int k = 0; k < 64; k++) packed[k] = (%s)%s;\n"
    "#endif\n"
    "  store_block(to, packed, sizeof packed, past_caches);\n"
    "}\n", stored_upper(name) ? "v" : "&all", type, element);
}

static void pack_functions(Emit *e) {
  if (!e->packs[1] && !e->packs[2]) return;
  buf_puts(e->out, "// gcc 12 permutes such vectors element by element.\n"
                   "#if defined __clang__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__\n"
                   "#define PACKS\n"
                   "#endif\n");
  if (e->packs[2]) pack_function(e, "halves", "Upper halves", "unsigned short", "(from[k] >> 16)");
  if (e->packs[1]) pack_function(e, "bytes", "Lowest bytes", "unsigned char", "from[k]");
}

void c_vector_prologue(Emit *e) {
  c_side_prologue(e);
  scan_prologue(e);
  streams_prologue(e);
  wide_prologue(e);
  c_random_functions(e);
  c_stride_functions(e);
  if (!e->uses_streams) return;
  buf_puts(e->out,
    "// 64 bytes past the caches, to a line that is written whole.\n"
    "static inline void store_wide(void *to, const void *from) {\n"
    "#if defined __clang__\n"
    "  __builtin_nontemporal_store(*(const wide *)from, (wide *)to);\n"
    "#elif defined __AVX512F__\n"
    "  __builtin_ia32_movntps512((float *)to, *(const wide *)from);\n"
    "#elif defined __AVX__\n"
    "  __builtin_ia32_movntps256((float *)to, *(const wide *)from);\n"
    "#elif defined __SSE__\n"
    "  __builtin_ia32_movntps((float *)to, *(const wide *)from);\n"
    "#else\n"
    "  *(wide *)to = *(const wide *)from;\n"
    "#endif\n"
    "}\n"
    "static inline __attribute__((always_inline)) void store_block(void *to, const void *from, int bytes, int past_caches) {\n"
    "  if (!past_caches || (unsigned long long)to % 64) __builtin_memcpy(to, from, (unsigned long)bytes);\n"
    "  else for (int k = 0; k < bytes; k += WIDE) store_wide((char *)to + k, (const char *)from + k);\n"
    "}\n");
  if (e->uses_lines) buf_puts(e->out,
    "// The first step whose element, of so many bytes, begins a line, `to` at most; that of step `from` is at p.\n"
    "static inline long long next_line(const void *p, int bytes, long long from, long long to) {\n"
    "  const long long line = from + (long long)((0 - (unsigned long long)p) % 64 / (unsigned)bytes);\n"
    "  return line < to ? line : to;\n"
    "}\n");
  pack_functions(e);
  buf_puts(e->out, "\n");
}

void c_vector_names(Emit *e) {
  static const char *const own[] = { "WIDE", "wide", "store_wide", "store_block", "store_halves", "store_bytes", "PACKS", "next_line", "block_at", "f32x16", "SHIFTED", "scan_block" };
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) names_fresh(&e->names, own[i]);
  c_side_names(e);
  c_random_names(e);
  c_stride_names(e);
}

// ---- the loop ----------------------------------------------------------------------------------

// Where the number of steps is known; else 0.
static int64_t known_steps(const Stmt *s) {
  return s->lo->op == OP_CONST && s->hi->op == OP_CONST && s->hi->u.v.i > s->lo->u.v.i ? s->hi->u.v.i - s->lo->u.v.i : 0;
}

static bool is_multiple(const Stmt *s) { return s->row || (known_steps(s) && known_steps(s) % s->lanes == 0); }

// No whole block: the text of one would have subscripts beyond arrays of few elements, of which gcc warns though it is never reached.
static bool is_short(const Stmt *s) { return known_steps(s) && known_steps(s) < s->lanes; }

// The block's terms are summed up by themselves, then the sum of all before is added: see scan_block.
static void scan_pass(Emit *e, const Stmt *s, const char *block) {
  const Stmt *acc = s->body;
  while (acc->kind != ST_ACC) acc = acc->next;
  const char *sums = names_fresh(&e->names, arena_printf(e->a, "%s_sums", acc->var->name)), *carry = names_of(&e->names, acc->var);
  emit_line(e, "%s%s %s[%d];", e->t->aligned_words, emit_type(acc->var->dtype), sums, s->lanes);
  e->scan = (Scan){ acc, sums, true };
  lane_pass(e, s, block, s->lanes, NULL);
  emit_line(e, "scan_block(%s, %s);", sums, carry);
  e->scan.first = false;
  lane_pass(e, s, block, s->lanes, NULL);
  e->scan = (Scan){ 0 };
  emit_line(e, "%s = %s[%d];", carry, sums, s->lanes - 1);
  e->uses_scans = true;
}

static void whole_block(Emit *e, const Stmt *s, const Streams *all, const char *block, const char *big) {
  prefetches(e, s, block);
  open_arrays(e, s, all);
  c_random_open(e, s, block, true);
  c_stride_open(e, s, block, NULL);
  if (s->how == HOW_SCAN) scan_pass(e, s, block);
  else lane_pass(e, s, block, s->lanes, NULL);
  c_random_close(e);
  close_arrays(e, s, all, big);
}

static void steps_in_order(Emit *e, const Stmt *s, const char *block, const char *rest) {
  const char *step = names_fresh(&e->names, "step");
  emit_line(e, "for (int %s = 0; %s < %s; %s++) {", step, step, rest, step);
  emit_open(e);
  const char *i = emit_index(e, s);
  Buf body = buf_make(e->a);
  if (body_uses_index(e, s, &body)) emit_line(e, "const long long %s = %s + %s;", i, block, step);
  buf_puts(e->out, body.s);
  emit_close(e);
  emit_line(e, "}");
}

// The first steps of a block.
static void part_of_block(Emit *e, const Stmt *s, const char *block, const char *to) {
  const char *rest = names_fresh(&e->names, "rest");
  emit_line(e, "const int %s = (int)(%s - %s);", rest, to, block);
  if (s->how == HOW_SCAN) {
    steps_in_order(e, s, block, rest);
    return;
  }
  c_random_open(e, s, block, false);
  c_stride_open(e, s, block, rest);
  lane_pass(e, s, block, s->lanes, rest);
  c_random_close(e);
}

void c_line(Emit *e, const Stmt *s) {
  int bytes = stored_bytes(s);
  Range *r = arena_new(e->a, Range);
  *r = (Range){0, LINE / bytes - 1};
  map_putp(&e->ranges, s->var, r);
  const char *at = emit_position(e, s->t, s->sub, s->nsub, 1, LEVEL_ADD), *name = names_bind(&e->names, s->var, s->var->name);
  emit_line(e, "const long long %s = next_line(%s + %s, %d, 0, %s);", name, emit_tensor(e, s->t), at, bytes, emit_expr(e, s->a, LEVEL_COND));
  e->uses_streams = e->uses_lines = true;
}

static const char *open_streams(Emit *e, const Streams *all) {
  if (!all->v.n) return "0";
  const char *big = names_fresh(&e->names, "big");
  emit_line(e, "const int %s = %s;", big, emit_expr(e, all->v.v[0].s->stream, LEVEL_COND));
  e->uses_streams = true;
  return big;
}

// Steps of four pages of what the loop stores, or of 32 bits.
int c_tile_steps(const Stmt *loop) {
  int bytes = 4;
  for (const Stmt *s = loop->body; s; s = s->next)
    if (s->kind == ST_STORE && dtypes[s->t->dtype].bits <= 16) bytes = 2;
  return 4 * PAGE / bytes;
}

// Where the n-th block is, in blocks; of so many, if the loop does not walk over a part of a row, where it is that of the row.
static const char *nth_block(Emit *e, const Stmt *s, const char *n, const char *blocks) {
  if (!s->streams) return n;
  e->uses_block_order = true;
  if (s->row) blocks = arena_printf(e->a, "%s / %d", emit_expr(e, s->row, LEVEL_MUL), s->lanes);
  return arena_printf(e->a, "block_at(%s, %s, %d)", n, blocks, c_tile_steps(s) / 4 / s->lanes);
}

static const char *single(Emit *e, const char *text) { return strchr(text, ' ') ? arena_printf(e->a, "(%s)", text) : text; }

static void blocks_in_streams(Emit *e, const Stmt *s, const Streams *all, const char *lo, const char *block, const char *hi) {
  const char *ix = s->ix->name, *n = names_fresh(&e->names, arena_printf(e->a, "%s_n", ix)), *big = open_streams(e, all);
  const char *blocks = names_fresh(&e->names, arena_printf(e->a, "%s_blocks", ix));
  const char *from = strcmp(lo, "0") ? arena_printf(e->a, "%s + ", lo) : "";
  const char *steps = *from ? arena_printf(e->a, "(%s - %s)", hi, single(e, lo)) : single(e, hi);
  emit_line(e, "const long long %s = %s / %d;", blocks, steps, s->lanes);
  emit_line(e, "for (long long %s = 0; %s < %s; %s++) {", n, n, blocks, n);
  emit_open(e);
  Buf body = buf_make(e->a), *out = e->out;
  e->out = &body;
  whole_block(e, s, all, block, big);
  e->out = out;
  if (strstr(body.s, block)) emit_line(e, "const long long %s = %s%s * %d;", block, from, nth_block(e, s, n, blocks), s->lanes);
  buf_puts(e->out, body.s);
  emit_close(e);
  emit_line(e, "}");
  if (is_multiple(s)) return;
  emit_line(e, "if (%s%s * %d < %s) {", from, blocks, s->lanes, hi);
  emit_open(e);
  emit_line(e, "const long long %s = %s%s * %d;", block, from, blocks, s->lanes);
  part_of_block(e, s, block, hi);
  emit_close(e);
  emit_line(e, "}");
}

static void plain_blocks(Emit *e, const Stmt *s, const Streams *all, const char *lo, const char *block, const char *hi) {
  const char *big = open_streams(e, all);
  emit_line(e, "long long %s = %s;", block, lo);
  emit_line(e, "for (; %s + %d <= %s; %s += %d) {", block, s->lanes, hi, block, s->lanes);
  emit_open(e);
  whole_block(e, s, all, block, big);
  emit_close(e);
  emit_line(e, "}");
  if (is_multiple(s)) return;
  emit_line(e, "if (%s < %s) {", block, hi);
  emit_open(e);
  part_of_block(e, s, block, hi);
  emit_close(e);
  emit_line(e, "}");
}

// Steps below those of a block: the ends of rows that begin within a line (overlap.c).
static bool is_part(Emit *e, const Stmt *s) {
  return s->how != HOW_PAR_VEC && expr_is_int(s->lo, 0) && s->hi->op != OP_CONST && emit_range(e, s->hi).hi < s->lanes;
}

static void one_part(Emit *e, const Stmt *s, const char *block, const char *hi) {
  emit_line(e, "if (0 < %s) {", hi);
  emit_open(e);
  emit_line(e, "const long long %s = 0;", block);
  part_of_block(e, s, block, hi);
  emit_close(e);
  emit_line(e, "}");
}

// From a variable on, one whole block: scan_rows.c has such.
static bool is_one_block(const Stmt *s) { return s->hi->op == OP_ADD && s->hi->arg[0] == s->lo && expr_is_int(s->hi->arg[1], s->lanes); }

static void one_block(Emit *e, const Stmt *s, const Streams *all, const char *lo, const char *block) {
  emit_line(e, "{");
  emit_open(e);
  const char *big = open_streams(e, all);
  emit_line(e, "const long long %s = %s;", block, lo);
  whole_block(e, s, all, block, big);
  emit_close(e);
  emit_line(e, "}");
}

static void short_block(Emit *e, const Stmt *s, const char *lo, const char *block, const char *hi) {
  emit_line(e, "{");
  emit_open(e);
  emit_line(e, "const long long %s = %s;", block, lo);
  part_of_block(e, s, block, hi);
  emit_close(e);
  emit_line(e, "}");
}

// The blocks of a map: a first part up to where the first stream's address stands at a line, whole blocks, and what is left.
// See Note [Four streams].
static void streamed_blocks(Emit *e, const Stmt *s, const Streams *all, const char *lo, const char *block, const char *hi) {
  const char *ix = s->ix->name, *big = open_streams(e, all), *n = names_fresh(&e->names, arena_printf(e->a, "%s_n", ix));
  const char *line = names_fresh(&e->names, arena_printf(e->a, "%s_line", ix)), *blocks = names_fresh(&e->names, arena_printf(e->a, "%s_blocks", ix));
  const Stmt *first = all->v.v[0].s;
  e->uses_lines = true;
  emit_line(e, "const long long %s = %s ? next_line(%s, %d, %s, %s) : %s;", line, big, address_at(e, first, s, lo), stored_bytes(first), lo, hi, lo);
  emit_line(e, "const long long %s = (%s - %s) / %d;", blocks, hi, line, s->lanes);
  emit_line(e, "for (long long %s = -(%s < %s); %s < %s + (%s + %s * %d < %s); %s++) {", n, lo, line, n, blocks, line, blocks, s->lanes, hi, n);
  emit_open(e);
  emit_line(e, "const long long %s = %s < 0 ? %s : %s + %s * %d;", block, n, lo, line, nth_block(e, s, n, blocks), s->lanes);
  emit_line(e, "if (0 <= %s && %s < %s) {", n, n, blocks);
  emit_open(e);
  whole_block(e, s, all, block, big);
  emit_close(e);
  emit_line(e, "} else {");
  emit_open(e);
  part_of_block(e, s, block, arena_printf(e->a, "(%s < 0 ? %s : %s)", n, line, hi));
  emit_close(e);
  emit_line(e, "}");
  emit_close(e);
  emit_line(e, "}");
}

void c_vector_loop(Emit *e, const Stmt *s, const char *lo, const char *hi) {
  const char *block = names_fresh(&e->names, arena_printf(e->a, "%s0", s->ix->name));
  // Which lane a step falls on must not depend on an address, where lanes add up.
  bool map = s->how == HOW_VEC || s->how == HOW_PAR_VEC;
  if (s->row) map_putp(&e->loops, s->ix, (void *)s);      // how far it goes is asked before its lanes are printed
  Streams all = streams_of(e, s, block);
  if (is_short(s)) short_block(e, s, lo, block, hi);
  else if (!map && is_one_block(s)) one_block(e, s, &all, lo, block);
  else if (is_part(e, s)) one_part(e, s, block, hi);
  else if (map && all.v.n && !s->row) streamed_blocks(e, s, &all, lo, block, hi);
  else if (s->streams) blocks_in_streams(e, s, &all, lo, block, hi);
  else plain_blocks(e, s, &all, lo, block, hi);
}

// Note [Lanes in C]
//
// Clang vectorises neither float maxima nor sums without being told that their order is free, and then chooses an order of
// its own. Here the order is the program's: element n of the range is always in lane n % lanes, an inner loop of a fixed count runs over
// an array of partial results, which compilers keep in registers, and FOLD halves the array log2(lanes) times. 64 lanes are four
// AVX-512 registers: with one, a sum waits for the latency of its additions. `omp simd` matters to gcc 12, which else unrolls
// before it looks for vectors. The last steps run the same body under a condition on the lane: both compilers make masked
// vectors of it, where a scalar loop would take longer than all whole blocks of a short row.
//
// Note [Four streams]
//
// A core's prefetcher follows one stream to the end of a page and starts anew in the next. So blocks are computed in the order of four
// streams side by side, each a page, and what comes next is fetched from two tiles of four pages further on, or from the next row
// (prefetch.c). Loops whose order counts keep it, and fetch what is near. Two cores of a Xeon, 128 MiB: exp with streaming stores 44.7 GB/s in
// order, 53.1 so; the sum of exp(x - max) 21 and 26.

// Note [Addresses of lanes]
//
// In x[i * 8192 + j], j = j0 + lane, all three are one number to LLVM, which writes the addition of the lane as an OR where
// the rest is a multiple of 64, does not know it again as a step of one, and gathers: a sum ran at 21 GB/s instead of 33. In
// (x + i * 8192 + j0)[lane] the lane is added to an address. It is printed where the block's first step lies in the same row, so
// that no address outside the tensor is formed.

// Note [Streaming stores]
//
// A store that misses the caches first reads its line; for an output larger than the caches that is a third of all traffic.
// A streaming store does not, if whole lines are written. A vectoriser turns a scalar loop with streaming stores into
// scalar ones, so values go through an array of a block's lanes, which lives in registers, and leave it as vectors. A first part of
// a map brings the address to a line; a reduction or scan streams where its blocks happen to lie so. Locked instructions, which end every region of the pool, order streaming stores.

// Note [Packing]
//
// Left to themselves, compilers truncate each vector of 32-bit words by itself and insert the halves or quarters into each other: two instructions
// and one for every 16 bf16, and three for bytes, all on the one port that permutes. From whole words two vectors make one by a permutation, which also does the
// shift that brings a bf16 down. So lanes leave words (emit_word), with anything in the bits that the permutation leaves out.
