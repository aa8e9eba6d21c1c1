// random_c.c: random numbers of a block of lanes, in C. Four neighbours share one evaluation of Philox, and a vector holds a counter
// in each 64 bits.
//
//   y[i, j] = uniform(seed, i * D + j)   ──▶   float random_v[128];
//                                              const float *random = uniform_block(random_v, seed, i * D + j0, 64);
//                                              for (int lane = 0; lane < 64; lane++) y_v[lane] = random[lane];
//
// Counters of another form (i + j * N, say) are evaluated lane by lane: uniform_f32 of math.def. See Note [Random numbers in blocks].
#include "codegen/random_c.h"
#include "ir/affine.h"

enum { ROOM = 128 };     // values that uniform_block may write: 64 at a time, more than 64 where the first counter is no multiple of 4

typedef struct Search { Emit *e; const Stmt *loop; const char *block, *draw; Map own; bool known; } Search;      // known: what is_known_before asks

// ---- which -------------------------------------------------------------------------------------

// What the body defines stands behind the place where its random numbers are drawn.
static void note_own(Search *w) {
  for (const Stmt *s = w->loop->body; s; s = s->next)
    if (s->var) map_putp(&w->own, s->var, (void *)s);
}

static void find_obstacle(void *cx, Expr *x) {
  Search *w = cx;
  bool in_memory = (x->op == OP_READ && x->u.t->rank) || x->op == OP_FIELD;       // it may be guarded, or change
  if (in_memory || (x->op == OP_VAR && map_getp(&w->own, x->u.var))) w->known = false;
}

static bool is_known_before(Search *w, Expr *x) {
  w->known = true;
  expr_visit(w->e->a, x, find_obstacle, w);
  return w->known;
}

// Does the counter grow by 1 from step to step, and can all be evaluated before the block?
static bool is_row(Search *w, Expr *x) {
  Expr *coef, *rest;
  Index *ix = w->loop->ix;
  return x->arg[1]->dtype == DT_I64 && !expr_uses_index(x->arg[0], ix) && affine_split(w->e->p->x, x->arg[1], 1, &ix, &coef, &rest) && expr_is_int(coef, 1) &&
         is_known_before(w, x->arg[0]) && is_known_before(w, x->arg[1]);
}

// ---- the text ----------------------------------------------------------------------------------

static void draw(void *cx, Expr *x) {
  Search *w = cx;
  Emit *e = w->e;
  if (x->op != OP_UNIFORM) return;
  for (int i = 0; i < e->drawn.n; i++) if (e->drawn.v[i].x == x) return;
  if (!is_row(w, x)) return;
  const char *name = names_fresh(&e->names, "random"), *room = names_fresh(&e->names, arena_printf(e->a, "%s_v", name));
  const AtFirst was = emit_at_first(e, w->loop->ix, w->block);
  const char *seed = emit_expr(e, x->arg[0], LEVEL_COND), *first = emit_expr(e, x->arg[1], LEVEL_COND);
  emit_at_first_end(e, &was);
  emit_math(e, MATH_uniform_f32);
  emit_line(e, "%sfloat %s[%d];", e->t->aligned_words, room, ROOM);
  emit_line(e, "const float *%s = %s(%s, %s, %s, %d);", name, w->draw, room, seed, first, w->loop->lanes);
  vec_push(e->a, &e->drawn, (Drawn){ x, name });
  e->uses_random = true;
}

void c_random_open(Emit *e, const Stmt *loop, const char *block, bool whole) {
  Search w = { e, loop, block, whole ? "uniform_block" : "uniform_part", map_make(e->a), true };
  note_own(&w);
  for (const Stmt *s = loop->body; s; s = s->next) {
    Expr *const part[] = { s->a, s->b };
    for (int k = 0; k < 2; k++) if (part[k]) expr_visit(e->a, part[k], draw, &w);
    for (int k = 0; k < s->nsub; k++) expr_visit(e->a, s->sub[k], draw, &w);
  }
}

void c_random_close(Emit *e) { e->drawn.n = 0; }

void c_random_names(Emit *e) {
  static const char *const own[] = { "u64_wide", "u32_wide", "i32_wide", "FIRST_LANES", "LOWER", "UPPER", "times_low", "uniform_wide", "uniform_steps", "uniform_block", "uniform_part" };
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) names_fresh(&e->names, own[i]);
}

void c_random_functions(Emit *e) {
  if (!e->uses_random) return;
  buf_puts(e->own,
    "typedef unsigned long long u64_wide __attribute__((vector_size(WIDE)));\n"
    "typedef unsigned int u32_wide __attribute__((vector_size(WIDE)));\n"
    "typedef int i32_wide __attribute__((vector_size(WIDE)));\n"
    "#if WIDE == 64\n"
    "#define FIRST_LANES {0, 1, 2, 3, 4, 5, 6, 7}\n"
    "#define LOWER 0, 8, 1, 9, 2, 10, 3, 11\n"
    "#define UPPER 4, 12, 5, 13, 6, 14, 7, 15\n"
    "#elif WIDE == 32\n"
    "#define FIRST_LANES {0, 1, 2, 3}\n"
    "#define LOWER 0, 4, 1, 5\n"
    "#define UPPER 2, 6, 3, 7\n"
    "#else\n"
    "#define FIRST_LANES {0, 1}\n"
    "#define LOWER 0, 2\n"
    "#define UPPER 1, 3\n"
    "#endif\n"
    "// The lower 32 bits of each lane times k.\n"
    "static inline __attribute__((always_inline)) u64_wide times_low(u64_wide a, unsigned int k) {\n"
    "  const u64_wide b = k - (u64_wide){0};\n"
    "#if defined __clang__ || !defined __SSE2__ || (defined __AVX__ && !defined __AVX2__)\n"
    "  return (a & 0xffffffffu) * b;\n"
    "#elif defined __AVX512F__\n"
    "  typedef long long i64_wide __attribute__((vector_size(WIDE)));\n"
    "  return (u64_wide)__builtin_ia32_pmuludq512_mask((i32_wide)a, (i32_wide)b, (i64_wide){0}, 255);\n"
    "#elif defined __AVX2__\n"
    "  return (u64_wide)__builtin_ia32_pmuludq256((i32_wide)a, (i32_wide)b);\n"
    "#else\n"
    "  return (u64_wide)__builtin_ia32_pmuludq128((i32_wide)a, (i32_wide)b);\n"
    "#endif\n"
    "}\n"
    "// WIDE numbers from 4 * quad on, as uniform_f32 gives them: two vectors of quads, all of whose upper 32 bits are those of the first.\n"
    "// The upper halves of lanes hold what is left of products.\n"
    "static inline __attribute__((always_inline)) void uniform_wide(float *v, unsigned long long seed, unsigned long long quad) {\n"
    "  unsigned int k0 = (unsigned int)seed, k1 = (unsigned int)(seed >> 32);\n"
    "  u64_wide c0[2], c1[2], c2[2], c3[2];\n"
    "  for (int i = 0; i < 2; i++) {\n"
    "    c0[i] = (u64_wide)FIRST_LANES + (quad + (unsigned long long)i * (WIDE / 8));\n"
    "    c1[i] = (quad >> 32) - (u64_wide){0};\n"
    "    c2[i] = c3[i] = (u64_wide){0};\n"
    "  }\n"
    "#pragma GCC unroll 10\n"
    "  for (int round = 0; round < 10; round++) {\n"
    "    for (int i = 0; i < 2; i++) {\n"
    "      const u64_wide p0 = times_low(c0[i], 0xD2511F53u), p1 = times_low(c2[i], 0xCD9E8D57u);\n"
    "      c0[i] = (p1 >> 32) ^ c1[i] ^ k0;\n"
    "      c1[i] = p1;\n"
    "      c2[i] = (p0 >> 32) ^ c3[i] ^ k1;\n"
    "      c3[i] = p0;\n"
    "    }\n"
    "    k0 += 0x9E3779B9u;\n"
    "    k1 += 0xBB67AE85u;\n"
    "  }\n"
    "  for (int i = 0; i < 2; i++) {\n"
    "    const u64_wide a = (c0[i] & 0xffffffffu) | c1[i] << 32, b = (c2[i] & 0xffffffffu) | c3[i] << 32;\n"
    "    const u32_wide lower = (u32_wide)__builtin_shufflevector(a, b, LOWER), upper = (u32_wide)__builtin_shufflevector(a, b, UPPER);\n"
    "    const wide x = __builtin_convertvector((i32_wide)(lower >> 8), wide) * 0x1p-24f, y = __builtin_convertvector((i32_wide)(upper >> 8), wide) * 0x1p-24f;\n"
    "    __builtin_memcpy(v + i * (WIDE / 2), &x, WIDE);\n"
    "    __builtin_memcpy(v + i * (WIDE / 2) + WIDE / 4, &y, WIDE);\n"
    "  }\n"
    "}\n"
    "static __attribute__((noinline, cold)) const float *uniform_steps(float *v, unsigned long long seed, long long c, int n) {\n"
    "  for (int k = 0; k < n; k++) {\n"
    "    v[k] = uniform_f32(seed, (long long)((unsigned long long)c + (unsigned int)k));\n"
    "    __asm__ volatile(\"\");     // no vectors: they would take longer to compile than they ever save\n"
    "  }\n"
    "  return v;\n"
    "}\n"
    "// Where uniform_f32(seed, c), ... (seed, c + n - 1) stand in v, which has room for 128.\n"
    "static inline __attribute__((always_inline)) const float *uniform_block(float *v, unsigned long long seed, long long c, int n) {\n"
    "  const unsigned long long quad = (unsigned long long)(c >> 2);\n"
    "  const int first = (int)(c & 3);\n"
    "  if ((unsigned int)quad > 0xffffffffu - 32) return uniform_steps(v, seed, c, n);      // the upper bits may change\n"
    "  for (int k = 0; k < first + n; k += WIDE) uniform_wide(v + k, seed, quad + (unsigned int)k / 4);\n"
    "  return v + first;\n"
    "}\n"
    "// The same for the last steps of a loop.\n"
    "static __attribute__((noinline)) const float *uniform_part(float *v, unsigned long long seed, long long c, int n) {\n"
    "  return uniform_block(v, seed, c, n);\n"
    "}\n\n");
}

// Note [Random numbers in blocks]
//
// A round of Philox is two products of 32 bits by 32 with both halves of the result. Vectors have that for the lower halves of 64-bit lanes
// (pmuludq), so a counter takes 64 bits, its four words a register each, and nothing is masked before the end: products ignore the upper
// halves, and sums by xor do not mix bits. That makes six instructions a round for four numbers of each lane. Two vectors at a time keep
// multipliers busy, whose result takes five cycles. The words of a lane are four neighbours; pairs of them, then pairs of pairs, bring
// these in order. Clang finds pmuludq itself, gcc 12 does not.
//
// Where a block's first counter is no multiple of 4, one vector more is computed, and the block begins 1 to 3 places on. For the usual
// counter i * D + j a streamed block begins at a line of memory, and so at a multiple of 4 as well. The last blocks of a row compute
// numbers that nothing reads, and do so by a call: the text of a block is long, and half of it is enough. One block in 2^28 has quads
// that differ in their upper 32 bits, or counters that wrap around: it goes lane by lane.
