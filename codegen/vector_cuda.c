// vector_cuda.c: what the threads of a team do together in CUDA C, and accesses of several elements.
//
//   fold m = max                 ──▶  __shared__ float m_part[8];
//                                     m = block256_max_f32(m, m_part);
//   x_r[8 * k ..] = 8 of x[i, j]  ──▶  load_8_bf16(x_r + 4 * k, x + i * D + j);
//
// Helpers are functions of the file, printed where they are used. A fold goes through the lanes of a warp, then through shared
// memory, in an order that is the same in all threads, so all of them get the same bits. See Note [Packed arrays].
#include "codegen/vector_cuda.h"
#include "codegen/fold_ptx.h"
#include "codegen/launch.h"
#include <assert.h>
#include <string.h>

// ---- helpers -----------------------------------------------------------------------------------

// The name of a helper: *name, unless something has that. Whether it must be printed: it is not there yet.
static bool wanted(Emit *e, const char **name) {
  Name n = intern(e->names.in, *name), known = map_getp(&e->helpers, n);
  if (!known) map_putp(&e->helpers, n, (void *)(uintptr_t)(*name = names_keep(&e->names, *name)));
  else *name = known;
  return !known;
}

static void helper(Emit *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void helper(Emit *e, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  buf_puts(e->own, arena_vprintf(e->a, fmt, ap));
  va_end(ap);
}

#define FUNCTION "static __device__ __forceinline__ "

// ---- teams -------------------------------------------------------------------------------------

typedef struct Team { int size, stride, threads, cluster; } Team;

static Team team_of(const Emit *e) {
  const Grid *g = e->kernel->grid;
  return (Team){g->team, g->stride, g->threads, g->cluster};
}

static bool in_warp(const Team *t) { return t->size <= 32 && t->stride == 1; }

// The lanes of a team inside a warp.
static const char *lanes_mask(Emit *e, int size) {
  if (size == 32) return "0xffffffffu";
  return arena_printf(e->a, "0x%xu << (threadIdx.x & %d)", (1u << size) - 1, 32 - size);
}

static const char *team_name(Emit *e, const Team *t) {
  if (in_warp(t)) return t->size == 32 ? "warp" : arena_printf(e->a, "lanes%d", t->size);
  if (t->stride > 1) return arena_printf(e->a, "every%d_of%d", t->stride, t->threads);
  if (t->cluster > 1) return arena_printf(e->a, "cluster%d_of%d", t->cluster, t->threads);
  return arena_printf(e->a, "block%d", t->threads);
}

// How many values of one variable lie in shared memory.
static int parts_of(const Team *t) {
  if (in_warp(t)) return 0;
  return t->stride > 1 ? t->threads : t->threads / 32 + (t->cluster > 1);
}

// ---- folds of one value ------------------------------------------------------------------------

typedef struct FoldText { const char *type, *combine, *ptx; } FoldText;       // of v and w; ptx: in one instruction, or NULL

static void lanes_text(Emit *e, int size, const FoldText *f) {
  const char *mask = lanes_mask(e, size);
  helper(e, "  for (int d = %d; d > 0; d /= 2) {\n    const %s w = __shfl_xor_sync(%s, v, d);\n    v = %s;\n  }\n", size / 2, f->type, mask, f->combine);
}

static void print_parts(Emit *e, const FoldText *f, const char *first, const char *loop, const char *next) {
  helper(e, "  v = %s;\n  for (%s) {\n    const %s w = %s;\n    v = %s;\n  }\n", first, loop, f->type, next, f->combine);
}

static void block_text(Emit *e, const Team *t, const FoldText *f) {
  lanes_text(e, 32, f);
  helper(e, "  if (threadIdx.x %% 32 == 0) part[threadIdx.x / 32] = v;\n  __syncthreads();\n");
  print_parts(e, f, "part[0]", arena_printf(e->a, "int n = 1; n < %d; n++", t->threads / 32), "part[n]");
}

static void column_text(Emit *e, const Team *t, const FoldText *f) {
  helper(e, "  part[threadIdx.x] = v;\n  __syncthreads();\n");
  print_parts(e, f, arena_printf(e->a, "part[threadIdx.x %% %d]", t->stride), arena_printf(e->a, "int n = %d; n < %d; n += %d", t->stride, t->threads, t->stride),
              arena_printf(e->a, "part[n + threadIdx.x %% %d]", t->stride));
}

// Inside a block; as PTX where that is shorter to compile.
static void print_block(Emit *e, const Team *t, const FoldText *f) {
  bool warp = in_warp(t);
  PtxFold fold = {f->ptx, warp && t->size < 32 ? lanes_mask(e, t->size) : NULL, t->size, warp ? 0 : t->threads, t->stride};
  const char *ptx = ptx_fold(e->a, &fold);
  if (ptx) helper(e, "#ifdef PLAIT_EMU\n");
  if (warp) lanes_text(e, t->size, f);
  else if (t->stride > 1) column_text(e, t, f);
  else block_text(e, t, f);
  if (ptx) helper(e, "#else\n  %s\n#endif\n", ptx);
}

static void print_cluster(Emit *e, const Team *t, const FoldText *f) {
  int mine = t->threads / 32;
  helper(e, "  if (threadIdx.x == 0) part[%d] = v;\n  PLAIT_CLUSTER_SYNC();\n", mine);
  print_parts(e, f, arena_printf(e->a, "*PLAIT_CLUSTER_MAP(part + %d, 0)", mine), arena_printf(e->a, "int n = 1; n < %d; n++", t->cluster),
              arena_printf(e->a, "*PLAIT_CLUSTER_MAP(part + %d, n)", mine));
}

static const char *value_helper(Emit *e, const Team *t, Reducer r, Dtype d) {
  const char *name = arena_printf(e->a, "%s_%s_%s", team_name(e, t), reducers[r].name, dtypes[d].name);
  FoldText f = {emit_type(d), emit_strip(e, emit_combine(e, reducers[r].combine, d, "v", "w")), ptx_combine(r, d)};
  if (!wanted(e, &name)) return name;
  if (in_warp(t)) helper(e, "// The same for all %d lanes of a team.\n" FUNCTION "%s %s(%s v) {\n", t->size, f.type, name, f.type);
  else helper(e, "// The same for all threads of a team. part: %d values.\n" FUNCTION "%s %s(%s v, %s *part) {\n", parts_of(t), f.type, name, f.type, f.type);
  print_block(e, t, &f);
  if (t->cluster > 1) print_cluster(e, t, &f);
  helper(e, "  return v;\n}\n\n");
  return name;
}

// ---- folds of argmax and argmin ----------------------------------------------------------------

typedef struct ArgText { const char *type, *index, *nothing, *sign; bool nan; const char *ordered; } ArgText;      // ordered: a helper's name

static void print_better(Emit *e, const ArgText *f) {
  helper(e, "    const int same = (*v == w)%s, more = (w %s *v)%s;\n", f->nan ? " | ((*v != *v) & (w != w))" : "", f->sign, f->nan ? " | ((w != w) & (*v == *v))" : "");
  helper(e, "    const int better = (k != %s) & ((*i == %s) | more | (same & (k < *i)));\n", f->nothing, f->nothing);
  helper(e, "    *v = better ? w : *v;\n    *i = better ? k : *i;\n  }\n");
}

// Groups of `size` lanes; `team` of them take part together.
static void arg_lanes(Emit *e, int size, int team, const ArgText *f) {
  const char *mask = lanes_mask(e, team);
  helper(e, "  for (int d = %d; d > 0; d /= 2) {\n    const %s w = __shfl_xor_sync(%s, *v, d);\n    const %s k = __shfl_xor_sync(%s, *i, d);\n", size / 2, f->type,
         mask, f->index, mask);
  print_better(e, f);
}

// From part[first], at[first], then those of the loop.
static void arg_parts(Emit *e, const ArgText *f, const char *pick, const char *first, const char *loop, const char *next) {
  helper(e, "  *v = %s, *i = %s;\n  for (%s) {\n    const %s w = %s;\n    const %s k = %s;\n", arena_printf(e->a, pick, "part", first),
         arena_printf(e->a, pick, "at", first), loop, f->type, arena_printf(e->a, pick, "part", next), f->index, arena_printf(e->a, pick, "at", next));
  print_better(e, f);
}

// Through `count` parts by the lanes of each warp: the best of them twice is the best.
static void arg_tree(Emit *e, const ArgText *f, const char *pick, int count) {
  int lanes = 2;
  while (lanes < count) lanes *= 2;
  const char *n = lanes == count ? arena_printf(e->a, "threadIdx.x %% %d", count) : arena_printf(e->a, "threadIdx.x %% 32 %% %d", count);
  helper(e, "  *v = %s, *i = %s;\n", arena_printf(e->a, pick, "part", n), arena_printf(e->a, pick, "at", n));
  arg_lanes(e, lanes == count ? lanes : 32, 32, f);
}

// Values as integers in their order, the best the largest: NaN before all, both zeros alike; 0 is nothing. See Note [The best of a block].
static const char *ordered_helper(Emit *e, const ArgText *f) {
  bool most = f->sign[0] == '>';
  const char *name = most ? "ordered_f32" : "ordered_down_f32";
  if (!wanted(e, &name)) return name;
  helper(e, FUNCTION "unsigned int %s(float v) {\n  const unsigned int b = __float_as_uint(v + 0.0f), k = b >> 31 ? ~b : b | 0x80000000u;\n", name);
  helper(e, "  return v != v ? 0xffffffffu : %sk;\n}\n\n", most ? "" : "~");
  return name;
}

static const char *value_of_key(const ArgText *f) {
  return f->sign[0] == '>' ? "m >> 31 ? m ^ 0x80000000u : ~m" : "m >> 31 ? m : ~m ^ 0x80000000u";
}

static void arg_reduce(Emit *e) {
  helper(e, "  asm volatile(\"redux.sync.max.u32 %%0, %%1, -1;\" : \"=r\"(m) : \"r\"(k));\n  n = k == m ? n : 0xffffffffu;\n");
  helper(e, "  asm volatile(\"redux.sync.min.u32 %%0, %%1, -1;\" : \"=r\"(w) : \"r\"(n));\n");
}

static bool can_reduce(const Emit *e, const ArgText *f) { return e->opt->gpu->arch >= 80 && f->nan && strcmp(f->type, "float") == 0 && strcmp(f->index, "int") == 0; }

static void arg_block(Emit *e, const Team *t, const ArgText *f) {
  int warps = t->threads / 32;
  const char *mine = arena_printf(e->a, (warps & (warps - 1)) == 0 ? "threadIdx.x %% %d" : "threadIdx.x %% 32 %% %d", warps);
  helper(e, "#ifdef PLAIT_EMU\n");
  arg_lanes(e, 32, 32, f);
  helper(e, "  if (threadIdx.x %% 32 == 0) part[threadIdx.x / 32] = *v, at[threadIdx.x / 32] = *i;\n  __syncthreads();\n");
  arg_tree(e, f, "%s[%s]", warps);
  helper(e, "#else\n  unsigned int k = *i == %s ? 0u : %s(*v), n = (unsigned int)*i, m, w;\n", f->nothing, f->ordered);
  arg_reduce(e);
  helper(e, "  if (threadIdx.x %% 32 == 0) part[threadIdx.x / 32] = __uint_as_float(m), at[threadIdx.x / 32] = (int)w;\n  __syncthreads();\n");
  helper(e, "  k = __float_as_uint(part[%s]);\n  n = (unsigned int)at[%s];\n", mine, mine);
  arg_reduce(e);
  helper(e, "  *v = m == 0xffffffffu ? __int_as_float(0x7fffffff) : m == 0u ? *v : __uint_as_float(%s);\n  *i = (int)w;\n#endif\n", value_of_key(f));
}

static void arg_body(Emit *e, const Team *t, const ArgText *f) {
  int warps = t->threads / 32;
  if (t->stride > 1) {
    helper(e, "  part[threadIdx.x] = *v, at[threadIdx.x] = *i;\n  __syncthreads();\n");
    arg_parts(e, f, "%s[%s]", arena_printf(e->a, "threadIdx.x %% %d", t->stride), arena_printf(e->a, "int n = %d; n < %d; n += %d", t->stride, t->threads, t->stride),
              arena_printf(e->a, "n + threadIdx.x %% %d", t->stride));
    return;
  }
  if (!in_warp(t) && warps > 1 && can_reduce(e, f)) {
    arg_block(e, t, f);
  } else {
    arg_lanes(e, in_warp(t) ? t->size : 32, in_warp(t) ? t->size : 32, f);
    if (in_warp(t)) return;
    helper(e, "  if (threadIdx.x %% 32 == 0) part[threadIdx.x / 32] = *v, at[threadIdx.x / 32] = *i;\n  __syncthreads();\n");
    if (warps > 1) arg_tree(e, f, "%s[%s]", warps);
  }
  if (t->cluster == 1) return;
  helper(e, "  if (threadIdx.x == 0) part[%d] = *v, at[%d] = *i;\n  PLAIT_CLUSTER_SYNC();\n", warps, warps);
  arg_tree(e, f, arena_printf(e->a, "*PLAIT_CLUSTER_MAP(%%s + %d, %%s)", warps), t->cluster);
}

static const char *arg_helper(Emit *e, const Team *t, const Stmt *s) {
  Dtype d = s->var->dtype;
  const char *name = arena_printf(e->a, "%s_%s_%s%s", team_name(e, t), reducers[s->reducer].name, dtypes[d].name, s->var2->dtype == DT_I64 ? "_i64" : "");
  ArgText f = {emit_type(d), emit_type(s->var2->dtype), emit_expr(e, map_getp(&e->first, s->var2), LEVEL_PREFIX), s->reducer == RED_ARGMAX ? ">" : "<", dtype_is_float(d), NULL};
  if (!wanted(e, &name)) return name;
  const char *parts = in_warp(t) ? "" : arena_printf(e->a, ", %s *part, %s *at", f.type, f.index);
  if (can_reduce(e, &f)) f.ordered = ordered_helper(e, &f);
  helper(e, "// The best of a team's values and where it is; the lower place among equals.\n" FUNCTION "void %s(%s *v, %s *i%s) {\n", name, f.type, f.index, parts);
  arg_body(e, t, &f);
  helper(e, "}\n\n");
  return name;
}

// ---- the statement -----------------------------------------------------------------------------

static const char *parts_for(Emit *e, const Team *t, const Var *v, const char *words) {
  const char *name = names_fresh(&e->names, arena_printf(e->a, "%s_part", v->name));
  emit_line(e, "__shared__ %s%s %s[%d];", words, emit_type(v->dtype), name, parts_of(t));
  return name;
}

static void print_sync(Emit *e, const Team *t) {
  if (t->cluster > 1) e->uses_clusters = true;
  emit_line(e, t->cluster > 1 ? "PLAIT_CLUSTER_SYNC();" : "__syncthreads();");
}

void cu_fold(Emit *e, const Stmt *s) {
  Team t = team_of(e);
  assert(t.size > 1 && "a thread alone folds nothing");
  const char *v = emit_var(e, s->var);
  if (t.cluster > 1) e->uses_clusters = true;
  if (s->again && !in_warp(&t)) print_sync(e, &t);
  if (s->var2) {
    const char *i = emit_var(e, s->var2), *name = arg_helper(e, &t, s);
    if (in_warp(&t)) emit_line(e, "%s(&%s, &%s);", name, v, i);
    else {
      const char *part = parts_for(e, &t, s->var, ""), *at = parts_for(e, &t, s->var2, "");
      emit_line(e, "%s(&%s, &%s, %s, %s);", name, v, i, part, at);
    }
    return;
  }
  const char *name = value_helper(e, &t, s->reducer, s->var->dtype);
  if (in_warp(&t)) emit_line(e, "%s = %s(%s);", v, name, v);
  else {
    const char *align = t.stride == 1 && ptx_combine(s->reducer, s->var->dtype) ? "__align__(16) " : "";      // four parts are loaded at a time
    const char *part = parts_for(e, &t, s->var, align);
    emit_line(e, "%s = %s(%s, %s);", v, name, v, part);
  }
}

void cu_barrier(Emit *e, const Stmt *s) {
  Team t = team_of(e);
  (void)s;
  if (in_warp(&t)) emit_line(e, "__syncwarp(%s);", lanes_mask(e, t.size));
  else print_sync(e, &t);
}

// Compilers keep what they unpacked for the next loop, in twice the registers, unless the words might have changed.
void cu_forget(Emit *e, const Stmt *s) {
  int64_t words = (s->t->extent[0]->u.v.i * dtypes[s->t->dtype].bits + 31) / 32;
  emit_line(e, "%s(%s, %lld);", emit_math(e, MATH_cuda_forget), (const char *)names_of(&e->names, s->t), (long long)words);
}

// ---- prefixes ----------------------------------------------------------------------------------

// Of the lanes of a team inside a warp.
static void prefix_of_lanes(Emit *e, const Team *t, const char *name, const char *type, const char *step) {
  const char *mask = lanes_mask(e, t->size);
  helper(e, "// What the threads before have, and what all have.\n" FUNCTION "void %s(%s *v, %s *all, %s none) {\n  %s s = *v;\n", name, type, type, type, type);
  helper(e, "  for (int d = 1; d < %d; d *= 2) {\n    const %s w = __shfl_up_sync(%s, s, d, %d);\n    if (threadIdx.x %% %d >= d) s = %s;\n  }\n", t->size, type, mask,
         t->size, t->size, step);
  helper(e, "  *all = __shfl_sync(%s, s, %d, %d);\n  s = __shfl_up_sync(%s, s, 1, %d);\n", mask, t->size - 1, t->size, mask, t->size);
  helper(e, "  *v = threadIdx.x %% %d > 0 ? s : none;\n}\n\n", t->size);
}

// Through the lanes of each warp, then over the warps, in their order.
static const char *prefix_helper(Emit *e, const Team *t, Reducer r, Dtype d) {
  const char *name = arena_printf(e->a, "%s_before_%s_%s", team_name(e, t), reducers[r].name, dtypes[d].name), *type = emit_type(d);
  const char *step = emit_strip(e, emit_combine(e, reducers[r].combine, d, "w", "s")), *next = emit_strip(e, emit_combine(e, reducers[r].combine, d, "sum", "part[n]"));
  const char *mine = emit_strip(e, emit_combine(e, reducers[r].combine, d, "before", "own"));
  if (!wanted(e, &name)) return name;
  if (in_warp(t)) return prefix_of_lanes(e, t, name, type, step), name;
  helper(e, "// What the threads before have, and what all have. part: %d values.\n" FUNCTION "void %s(%s *v, %s *all, %s none, %s *part) {\n", t->threads / 32, name, type, type,
         type, type);
  helper(e, "  %s s = *v, sum = none, before = none;\n  for (int d = 1; d < 32; d *= 2) {\n    const %s w = __shfl_up_sync(0xffffffffu, s, d);\n    if (threadIdx.x %% 32 >= d) s = %s;\n  }\n",
         type, type, step);
  helper(e, "  if (threadIdx.x %% 32 == 31) part[threadIdx.x / 32] = s;\n  s = __shfl_up_sync(0xffffffffu, s, 1);\n  const %s own = threadIdx.x %% 32 > 0 ? s : none;\n  __syncthreads();\n", type);
  helper(e, "  for (int n = 0; n < %d; n++) {\n    if (n == threadIdx.x / 32) before = sum;\n    sum = %s;\n  }\n  *v = %s;\n  *all = sum;\n}\n\n", t->threads / 32, next, mine);
  return name;
}

void cu_prefix(Emit *e, const Stmt *s) {
  Team t = team_of(e);
  assert((in_warp(&t) || (t.size == t.threads && t.threads % 32 == 0)) && t.cluster == 1 && "a warp's lanes or a block have the row");
  const char *v = emit_var(e, s->var), *all = emit_var(e, s->var2), *name = prefix_helper(e, &t, s->reducer, s->var->dtype);
  const char *none = emit_expr(e, s->a, LEVEL_COND);
  if (in_warp(&t)) { emit_line(e, "%s(&%s, &%s, %s);", name, v, all, none); return; }
  const char *part = parts_for(e, &t, s->var, "");
  print_sync(e, &t);            // what the last one left has been read
  emit_line(e, "%s(&%s, &%s, %s, %s);", name, v, all, none, part);
}

// ---- local arrays ------------------------------------------------------------------------------

static int64_t elements_of(const Tensor *t) {
  int64_t n = 1;
  for (int k = 0; k < t->rank; k++) n *= t->extent[k]->u.v.i;
  return n;
}

static bool is_packed(Dtype d) { return dtypes[d].bits < 32; }

void cu_alloc(Emit *e, const Stmt *s) {
  const Tensor *t = s->t;
  const char *name = names_bind(&e->names, t, t->name);
  if (s->space == SPACE_SHARED) {
    e->uses_shared = true;
    map_putp(&e->in_shared, t, (void *)(uintptr_t)s);
    emit_line(e, "%s *const %s = (%s *)(shared + %s);", emit_storage(t), name, emit_storage(t), emit_expr(e, s->a, LEVEL_ADD));
    return;
  }
  emit_line(e, "unsigned int %s[%lld];", name, (long long)(elements_of(t) * dtypes[t->dtype].bits / 32));
}

// The element at n of a packed array.
static const char *unpacked(Emit *e, Dtype d) {
  int each = 32 / dtypes[d].bits;
  const char *word = arena_printf(e->a, "w[n / %d] >> n %% %d * %d", each, each, dtypes[d].bits);
  switch (d) {
  case DT_BF16: return "__uint_as_float(n % 2 ? w[n / 2] & 0xffff0000u : w[n / 2] << 16)";
  case DT_F16: case DT_F8E4M3: case DT_F8E5M2:
    return arena_printf(e->a, "%s((%s)(%s))", emit_math(e, math_by_name(arena_printf(e->a, "f32_from_%s", dtypes[d].name))), dtypes[d].c, word);
  case DT_I4: return arena_printf(e->a, "((int)(%s & 15u) ^ 8) - 8", word);
  case DT_U4: return arena_printf(e->a, "(int)(%s & 15u)", word);
  case DT_BOOL: return arena_printf(e->a, "(unsigned char)(%s) != 0", word);
  default: return arena_printf(e->a, "(%s)(%s)", dtypes[d].c, word);
  }
}

const char *cu_packed(Emit *e, Dtype d, const char *array, const char *at) {
  const char *name = arena_printf(e->a, "%s_in", dtypes[d].name);
  if (wanted(e, &name)) helper(e, FUNCTION "%s %s(const unsigned int *w, int n) {\n  return %s;\n}\n\n", emit_type(dtype_wide(d)), name, unpacked(e, d));
  return arena_printf(e->a, "%s(%s, %s)", name, array, at);
}

// ---- moves -------------------------------------------------------------------------------------

// A vector type of CUDA with n components: "float4".
static const char *vector_type(Emit *e, Dtype d, int n) {
  static const char *const names[DT_COUNT] = {
    [DT_F64] = "double", [DT_F32] = "float", [DT_I64] = "longlong", [DT_I32] = "int", [DT_U64] = "ulonglong", [DT_U32] = "uint",
  };
  return arena_printf(e->a, "%s%d", names[d], n);
}

// An access of at most 16 bytes: how many elements of the array's type.
typedef struct Piece { Dtype d; int n, pieces; } Piece;

static Piece pieces_of(Dtype array, int elements) {
  int most = 128 / dtypes[array].bits, n = elements < most ? elements : most;
  return (Piece){array, n, elements / n};
}

static const char *piece_type(Emit *e, const Piece *p) { return p->n > 1 ? vector_type(e, p->d, p->n) : dtypes[p->d].c; }

// Where element `at` lies, counted in pieces. See Note [Places of accesses].
static const char *piece_at(Emit *e, int lanes, int pieces) {
  const char *at = lanes > 1 ? arena_printf(e->a, "(unsigned long long)at / %d", lanes) : "at";
  return pieces > 1 ? arena_printf(e->a, "%s * %d", at, pieces) : at;
}

// to[0 ..] = from[0 ..] of a local array of type d; text for one piece.
static void print_load(Emit *e, const Piece *p) {
  static const char component[] = "xyzw";
  const char *type = piece_type(e, p);
  helper(e, "  const %s *const p = (const %s *)from;\n", type, type);
  for (int k = 0; k < p->pieces; k++) {
    const char *v = p->pieces > 1 ? arena_printf(e->a, "v%d", k) : "v";
    helper(e, "  const %s %s = p[%d];\n", type, v, k);
  }
  for (int k = 0; k < p->pieces * p->n; k++) {
    const char *v = p->pieces > 1 ? arena_printf(e->a, "v%d", k / p->n) : "v";
    if (p->n > 1) helper(e, "  to[%d] = %s.%c;\n", k, v, component[k % p->n]);
    else helper(e, "  to[%d] = %s;\n", k, v);
  }
}

static const char *load_helper(Emit *e, Dtype d, int lanes) {
  bool packed = is_packed(d);
  int bytes = lanes * dtypes[d].bits / 8;
  const char *name = arena_printf(e->a, "load_%d_%s", lanes, dtypes[d].name);
  if (!wanted(e, &name)) return name;
  Piece p = packed ? pieces_of(DT_U32, bytes / 4) : pieces_of(d, lanes);
  helper(e, FUNCTION "void %s(%s *to, const %s *from) {\n", name, packed ? "unsigned int" : dtypes[d].c, dtypes[d].c);
  print_load(e, &p);
  helper(e, "}\n\n");
  return name;
}

// From memory to shared memory, as it is.
static const char *copy_helper(Emit *e, Dtype d, int lanes) {
  static const struct { int bytes; const char *type; } types[] = {{16, "uint4"}, {8, "uint2"}, {4, "unsigned int"}, {2, "unsigned short"}};
  int k = 0, bytes = lanes * dtypes[d].bits / 8;
  const char *name = arena_printf(e->a, "copy_%d_%s", lanes, dtypes[d].name);
  if (!wanted(e, &name)) return name;
  while (types[k].bytes != bytes) k++;
  helper(e, FUNCTION "void %s(void *to, const void *from, long long at) {\n  *(%s *)to = *((const %s *)from + %s);\n}\n\n", name, types[k].type, types[k].type,
         piece_at(e, lanes, 1));
  return name;
}

// Two f32 as one word of f16 or bf16.
static const char *pair_helper(Emit *e, Dtype d) {
  return emit_math(e, d == DT_BF16 ? MATH_cuda_bf16x2_from_f32 : MATH_cuda_f16x2_from_f32);
}

// Word k of the stored elements, from their values v.
static const char *word_of(Emit *e, Dtype d, int k) {
  int bits = dtypes[d].bits, each = 32 / bits;
  if (d == DT_BF16 || d == DT_F16) return arena_printf(e->a, "%s(v[%d], v[%d])", pair_helper(e, d), 2 * k, 2 * k + 1);
  Buf b = buf_make(e->a);
  for (int n = 0; n < each; n++) {
    const char *value = arena_printf(e->a, "v[%d]", k * each + n);
    if (d == DT_F8E4M3 || d == DT_F8E5M2)
      value = arena_printf(e->a, "(unsigned int)%s(%s)", emit_math(e, d == DT_F8E4M3 ? MATH_f8e4m3_from_f32 : MATH_f8e5m2_from_f32), value);
    else if (d == DT_BOOL) value = arena_printf(e->a, "(unsigned int)(%s != 0)", value);
    else value = arena_printf(e->a, "((unsigned int)%s & %uu)", value, (1u << bits) - 1);
    buf_printf(&b, n ? " | %s << %d" : "%s", value, n * bits);
  }
  return b.s;
}

// Fewer bytes than a word.
static void store_small(Emit *e, Dtype d, int lanes) {
  int bytes = lanes * dtypes[d].bits / 8;
  const char *type = bytes == 2 ? "unsigned short" : "unsigned char";
  Buf b = buf_make(e->a);
  for (int n = 0; n < lanes; n++) {
    const char *value = d == DT_BOOL ? arena_printf(e->a, "(unsigned int)(v[%d] != 0)", n) : arena_printf(e->a, "((unsigned int)v[%d] & %uu)", n, (1u << dtypes[d].bits) - 1);
    if (dtype_is_float(d)) value = arena_printf(e->a, "(unsigned int)%s(v[%d])", emit_math(e, math_by_name(arena_printf(e->a, "%s_from_f32", dtypes[d].name))), n);
    buf_printf(&b, n ? " | %s << %d" : "%s", value, n * dtypes[d].bits);
  }
  helper(e, "  *((%s *)to + %s) = (%s)(%s);\n", type, piece_at(e, lanes, 1), type, b.s);
}

static void store_words(Emit *e, Dtype d, int lanes) {
  Piece p = pieces_of(DT_U32, lanes * dtypes[d].bits / 32);
  const char *type = piece_type(e, &p);
  helper(e, "  %s *const p = (%s *)to + %s;\n", type, type, piece_at(e, lanes, p.pieces));
  for (int k = 0; k < p.pieces; k++) {
    Buf b = buf_make(e->a);
    for (int n = 0; n < p.n; n++) buf_printf(&b, "%s%s", n ? ", " : "", word_of(e, d, k * p.n + n));
    if (p.n > 1) helper(e, "  p[%d] = make_%s(%s);\n", k, type, b.s);
    else helper(e, "  p[%d] = %s;\n", k, b.s);
  }
}

static void store_plain(Emit *e, Dtype d, int lanes) {
  Piece p = pieces_of(d, lanes);
  const char *type = piece_type(e, &p);
  helper(e, "  %s *const p = (%s *)to + %s;\n", type, type, piece_at(e, lanes, p.pieces));
  for (int k = 0; k < p.pieces; k++) {
    Buf b = buf_make(e->a);
    for (int n = 0; n < p.n; n++) buf_printf(&b, "%sv[%d]", n ? ", " : "", k * p.n + n);
    if (p.n > 1) helper(e, "  p[%d] = make_%s(%s);\n", k, type, b.s);
    else helper(e, "  p[%d] = v[%d];\n", k, k);
  }
}

static const char *store_helper(Emit *e, Dtype d, int lanes) {
  const char *name = arena_printf(e->a, "store_%d_%s", lanes, dtypes[d].name);
  if (!wanted(e, &name)) return name;
  Buf *own = e->own, body = buf_make(e->a);      // helpers that it calls come first
  e->own = &body;
  helper(e, FUNCTION "void %s(%s *to, long long at, const %s *v) {\n", name, dtypes[d].c, dtypes[dtype_wide(d)].c);
  if (!is_packed(d)) store_plain(e, d, lanes);
  else if (lanes * dtypes[d].bits < 32) store_small(e, d, lanes);
  else store_words(e, d, lanes);
  helper(e, "}\n\n");
  e->own = own;
  buf_puts(e->own, body.s);
  return name;
}

// Place `a` of a local array, in words where it is packed.
static const char *place_in(Emit *e, const Tensor *t, const Expr *x, bool packed) {
  int each = packed ? 32 / dtypes[t->dtype].bits : 1;
  const char *name = emit_tensor(e, t);
  if (expr_is_int(x, 0)) return name;
  if (x->op == OP_CONST) return arena_printf(e->a, "%s + %lld", name, (long long)(x->u.v.i / each));
  if (x->op == OP_MUL && x->arg[1]->op == OP_CONST && x->arg[1]->u.v.i == each) return arena_printf(e->a, "%s + %s", name, emit_expr(e, x->arg[0], LEVEL_ADD));
  if (x->op == OP_MUL && x->arg[1]->op == OP_CONST && x->arg[1]->u.v.i % each == 0)
    return arena_printf(e->a, "%s + %s * %lld", name, emit_expr(e, x->arg[0], LEVEL_MUL), (long long)(x->arg[1]->u.v.i / each));
  if (each == 1) return arena_printf(e->a, "%s + %s", name, emit_expr(e, x, LEVEL_ADD));
  return arena_printf(e->a, "%s + %s / %d", name, emit_expr(e, x, LEVEL_MUL), each);
}

void cu_move(Emit *e, const Stmt *s) {
  const char *name = emit_tensor(e, s->t), *at = emit_position(e, s->t, s->sub, s->nsub, 1, LEVEL_COND);
  Dtype d = s->t->dtype;
  if (s->out) {
    map_putp(&e->written, tensor_root(s->t), e);
    emit_line(e, "%s(%s, %s, %s);", store_helper(e, d, s->lanes), name, at, place_in(e, s->t2, s->a, false));
  } else if (map_getp(&e->in_shared, s->t2)) {
    emit_line(e, "%s(%s + %s, %s, %s);", copy_helper(e, d, s->lanes), emit_tensor(e, s->t2), emit_expr(e, s->a, LEVEL_ADD), name, at);
  } else {
    if (dtypes[d].bits == 4) at = arena_printf(e->a, "(%s) / 2", at);
    else at = emit_position(e, s->t, s->sub, s->nsub, 1, LEVEL_ADD);
    emit_line(e, "%s(%s, %s%s%s);", load_helper(e, d, s->lanes), place_in(e, s->t2, s->a, is_packed(d)), name, strcmp(at, "0") == 0 ? "" : " + ", strcmp(at, "0") == 0 ? "" : at);
  }
}

// ---- the greatest of a vector ------------------------------------------------------------------

// v = max(v, w[0]), … of n packed halves, two at a time.
static const char *extreme_helper(Emit *e, Dtype d, int n, bool most) {
  const char *name = arena_printf(e->a, "%s_of_%d_%s", most ? "max" : "min", n, dtypes[d].name), *op = most ? "max.NaN" : "min.NaN", *two = d == DT_BF16 ? "bf16x2" : "f16x2";
  const char *one = cu_packed(e, d, "w", "n"), *math = emit_combine(e, most ? OP_MAX : OP_MIN, DT_F32, "v", one);
  if (!wanted(e, &name)) return name;
  helper(e, FUNCTION "float %s(float v, const unsigned int *w) {\n#ifdef PLAIT_EMU\n  for (int n = 0; n < %d; n++) v = %s;\n#else\n", name, n, emit_strip(e, math));
  helper(e, "  asm(\"{ .reg .b32 a, b; .reg .f32 x, y; .reg .b16 h, k;\"\n      \"");
  helper(e, n > 2 ? " %s.%s a, %%1, %%2;" : " mov.b32 a, %%1;", op, two);
  for (int k = 2; k < n / 2; k++) helper(e, " %s.%s a, a, %%%d;", op, two, k + 1);
  helper(e, d == DT_BF16 ? " shl.b32 b, a, 16; mov.b32 x, b; and.b32 a, a, 0xffff0000; mov.b32 y, a;" : " mov.b32 {h, k}, a; cvt.f32.f16 x, h; cvt.f32.f16 y, k;");
  helper(e, "\"\n      \" %s.f32 x, x, y; %s.f32 %%0, %%0, x; }\" : \"+f\"(v) :", op, op);
  for (int k = 0; k < n / 2; k++) helper(e, "%s \"r\"(w[%d])", k ? "," : "", k);
  helper(e, ");\n#endif\n  return v;\n}\n\n");
  return name;
}

// The ACC that a loop's steps are, through loops of one step; NULL: they are something else.
static const Stmt *only_acc(const Stmt *s) {
  while (s && !s->next && s->kind == ST_LOOP && s->how == HOW_ONE) s = s->body;
  return s && !s->next && s->kind == ST_ACC && !s->var2 ? s : NULL;
}

static bool is_even(const Expr *x) {
  if (x->op == OP_CONST) return x->u.v.i % 2 == 0;
  return (x->op == OP_MUL && is_even(x->arg[1])) || (x->op == OP_ADD && is_even(x->arg[0]) && is_even(x->arg[1]));
}

// max or min over the elements of a packed vector, as one statement.
bool cu_extreme(Emit *e, const Stmt *loop) {
  const Stmt *s = only_acc(loop->body);
  int64_t n = loop->hi->op == OP_CONST ? loop->hi->u.v.i : 0;
  if (!s || e->opt->gpu->arch < 80 || !expr_is_int(loop->lo, 0) || n < 2 || n > 16 || n % 2 || s->var->dtype != DT_F32 || (s->reducer != RED_MAX && s->reducer != RED_MIN)) return false;
  const Expr *x = s->a;
  if (x->op != OP_READ || !map_getp(&e->packed, x->u.t) || x->u.t->rank != 1 || (x->u.t->dtype != DT_BF16 && x->u.t->dtype != DT_F16)) return false;
  const Expr *at = x->arg[0];
  bool first = at->op == OP_INDEX && at->u.ix == loop->ix;
  if (!first && !(at->op == OP_ADD && at->arg[1]->op == OP_INDEX && at->arg[1]->u.ix == loop->ix && is_even(at->arg[0]))) return false;
  const char *place = first ? emit_tensor(e, x->u.t) : place_in(e, x->u.t, at->arg[0], true), *v = emit_var(e, s->var);
  emit_line(e, "%s = %s(%s, %s);", v, extreme_helper(e, x->u.t->dtype, (int)n, s->reducer == RED_MAX), v, place);
  return true;
}

// ---- the file ----------------------------------------------------------------------------------

static const char cluster_macros[] =
  "// Blocks of a cluster: a barrier of all their threads, and the address at which block `rank` has its p, in shared memory.\n"
  "#ifndef PLAIT_CLUSTER_SYNC\n"
  "static __device__ __forceinline__ unsigned long long cluster_address(const volatile void *p, unsigned int rank) {\n"
  "  unsigned long long there;\n"
  "  asm volatile(\"mapa.u64 %0, %1, %2;\" : \"=l\"(there) : \"l\"(p), \"r\"(rank));\n"
  "  return there;\n"
  "}\n"
  "#define PLAIT_CLUSTER_SYNC() asm volatile(\"barrier.cluster.arrive.release.aligned;\\nbarrier.cluster.wait.acquire.aligned;\" : : : \"memory\")\n"
  "#define PLAIT_CLUSTER_MAP(p, rank) ((decltype(&*(p)))cluster_address(p, rank))\n"
  "#endif\n\n";

void cu_prologue(Emit *e) {
  if (e->uses_clusters) buf_puts(e->out, cluster_macros);
}

// What the text calls by name: a parameter may not hide it.
void cu_names(Emit *e) {
  static const char *const words[] = {"threadIdx", "blockIdx", "report_fault", "shared", "memcpy", "isinf", "isfinite", "atomicCAS", "cluster_address", "stream", "bad", "launch_kernel"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) names_fresh(&e->names, words[i]);
  for (int op = 0; op < OP_COUNT_; op++) {
    const char *text = ops[op].cuda_float, *end = text ? strchr(text, '@') : NULL;
    if (!end || end == text || text[0] == '(') continue;
    names_fresh(&e->names, arena_strndup(e->a, text, (size_t)(end - text)));
    names_fresh(&e->names, arena_printf(e->a, "%.*sf", (int)(end - text), text));
  }
}

// Note [Packed arrays]
//
// What a thread keeps of narrow elements lies in 32-bit words, as it comes from memory: a row of 16 bf16 takes 8 registers instead of 16, and is
// widened where it is used, by a shift or a mask. In C an array of unsigned short would do; compilers for GPUs split that into a
// register for each element, or put it into memory. All indices are constants once loops are unrolled.

// Note [Places of accesses]
//
// Where a store begins, a multiple of the elements that it stores, is divided by them and counted in vectors. As `y + i * D + j` with 64-bit i and j, compilers
// (NVRTC 13.0) take the additions apart, no longer see that the four words of a vector lie side by side, and store each by itself. Loads they
// put together either way.

// Note [The best of a block]
//
// From sm_80 on a warp finds the largest of 32-bit integers by one instruction. So a value becomes an integer that has its order, the greatest of a warp's is
// found, then the least of the places that have it: two instructions in the place of five rounds of two shuffles and eight operations each. The emulator
// runs those rounds; that both agree is for plait-diff on a device to see.
