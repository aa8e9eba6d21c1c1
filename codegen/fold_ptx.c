// fold_ptx.c: folds of one f32 over a team as a statement of inline PTX.
//
//   asm volatile("{ .reg .f32 w, x<8>; .reg .pred first; .reg .b32 n, at;"
//       " shfl.sync.bfly.b32 w, %0, 16, 31, -1; max.NaN.f32 %0, %0, w;"
//       …
//       " bar.sync 0;"
//       " ld.shared.v4.f32 {x0, x1, x2, x3}, [%1];"
//       " max.NaN.f32 x0, x0, x1;" …
//
// It is what a compiler makes of the C text, but for the order of the last step, a tree here. The statement is there for the time
// that NVRTC takes: in C a fold is some fifty operations in loops, which pass through each step of the optimiser, and
// takes 2 to 4 ms of the 50 of a softmax; as one statement it takes 1.
#include "codegen/fold_ptx.h"
#include "base/str.h"

enum { TREE = 16, MOST_PARTS = 32 };       // parts that are loaded together, in as many registers; in all

const char *ptx_combine(Reducer r, Dtype d) {
  if (d != DT_F32) return NULL;
  switch (r) {
  case RED_SUM: case RED_MEAN: return "add.f32";
  case RED_MAX: return "max.NaN.f32";
  case RED_MIN: return "min.NaN.f32";
  default: return NULL;
  }
}

static void line(Buf *b) { buf_puts(b, "\"\n      \""); }

// Through `count` lanes that lie side by side.
static void lanes(Buf *b, const PtxFold *f, int count) {
  for (int d = count / 2; d > 0; d /= 2) {
    line(b);
    buf_printf(b, " shfl.sync.bfly.b32 w, %%0, %d, 31, %s; %s %%0, %%0, w;", d, f->mask ? "%1" : "-1", f->combine);
  }
}

// x0 … to x0, neighbours first.
static void tree(Buf *b, const PtxFold *f, int count) {
  for (int d = 1; d < count; d *= 2) {
    line(b);
    for (int k = 0; k < count; k += 2 * d) buf_printf(b, " %s x%d, x%d, x%d;", f->combine, k, k, k + d);
  }
}

static void own_part(Buf *b) { buf_puts(b, " shr.u32 n, %2, 5; mad.lo.u32 at, n, 4, %1;"); }

// What each warp has: one value a warp, in order.
static void warps(Buf *b, const PtxFold *f) {
  int parts = f->threads / 32, each = parts < 4 ? parts : 4;
  line(b);
  buf_puts(b, " and.b32 n, %2, 31; setp.eq.u32 first, n, 0;");
  own_part(b);
  buf_puts(b, " @first st.shared.f32 [at], %0; bar.sync 0;");
  line(b);
  if (parts > TREE) {
    buf_puts(b, " and.b32 n, %2, 31; mad.lo.u32 at, n, 4, %1; ld.shared.f32 %0, [at];");
    lanes(b, f, parts);
    return;
  }
  for (int k = 0; k < parts; k += each) {
    buf_printf(b, " ld.shared.v%d.f32 {x%d, x%d", each, k, k + 1);
    if (each == 4) buf_printf(b, ", x%d, x%d", k + 2, k + 3);
    buf_printf(b, "}, [%%1 + %d];", 4 * k);
  }
  tree(b, f, parts);
  buf_puts(b, " mov.f32 %0, x0;");
}

// The threads of a column lie `stride` apart.
static void column(Buf *b, const PtxFold *f) {
  int parts = f->threads / f->stride, each = parts < TREE ? parts : TREE;
  line(b);
  buf_printf(b, " mad.lo.u32 at, %%2, 4, %%1; st.shared.f32 [at], %%0; bar.sync 0; and.b32 n, %%2, %d; mad.lo.u32 at, n, 4, %%1;", f->stride - 1);
  for (int from = 0; from < parts; from += each) {
    line(b);
    for (int k = 0; k < each; k++) buf_printf(b, " ld.shared.f32 x%d, [at + %d];", k, 4 * f->stride * (from + k));
    tree(b, f, each);
    if (from) buf_printf(b, " %s %%0, %%0, x0;", f->combine);
    else buf_puts(b, " mov.f32 %0, x0;");
  }
}

static bool is_power(int n) { return n > 0 && (n & (n - 1)) == 0; }

static bool can(const PtxFold *f) {
  if (!f->combine) return false;
  if (!f->threads) return is_power(f->lanes);
  int parts = f->threads / (f->stride > 1 ? f->stride : 32);
  return is_power(f->stride) && is_power(f->threads) && parts > 1 && parts <= MOST_PARTS;
}

const char *ptx_fold(Arena *a, const PtxFold *f) {
  if (!can(f)) return NULL;
  Buf b = buf_make(a);
  buf_puts(&b, "asm volatile(\"{ .reg .f32 w;");
  if (f->threads) buf_printf(&b, " .reg .f32 x<%d>; .reg .pred first; .reg .b32 n, at;", TREE);
  if (!f->threads) lanes(&b, f, f->lanes);
  else if (f->stride > 1) column(&b, f);
  else lanes(&b, f, 32), warps(&b, f);
  buf_puts(&b, " }\"\n      : \"+f\"(v)");
  if (f->threads) buf_puts(&b, " : \"r\"((unsigned int)__cvta_generic_to_shared(part)), \"r\"(threadIdx.x) : \"memory\");");
  else if (f->mask) buf_printf(&b, " : \"r\"(%s));", f->mask);
  else buf_puts(&b, ");");
  return b.s;
}
