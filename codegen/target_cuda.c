// target_cuda.c: CUDA C without headers, in the subset that C and CUDA C++ share: NVRTC, nvcc, Clang and the emulator of the
// tests take the same text.
//
// What a team of threads does together (folds, scans, vector accesses) is in vector_cuda.c. Where inline PTX stands, the emulator has another body: PLAIT_EMU.
#include "codegen/entry_c.h"
#include "codegen/launch.h"
#include "codegen/vector_cuda.h"
#include <assert.h>
#include <string.h>

static const char *op_text(const OpInfo *o, char kind) {
  if (kind == 'F') return o->cuda_float ? o->cuda_float : o->c_float;
  if (kind == 'U' && o->c_uint) return o->c_uint;
  return o->cuda_int ? o->cuda_int : o->c_int;
}

static bool any_faults(Emit *e) {
  for (int i = 0; i < e->p->kernels.n; i++)
    if (((const Params *)map_getp(&e->params, e->p->kernels.v[i]))->faults) return true;
  return false;
}

// See Note [Dependent launches].
static void dependency_macros(Emit *e) {
  bool early = e->opt->dependent == DEPENDENT_EARLY;
  buf_printf(e->out, "// A kernel may begin while the one before it in its stream ends: it waits here until that one's memory is as it left it.\n"
                     "#ifndef PLAIT_DEPENDENCY_WAIT\n"
                     "#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900\n"
                     "#define PLAIT_DEPENDENCY_WAIT() asm volatile(\"griddepcontrol.wait;\" : : : \"memory\")\n%s"
                     "#else\n"
                     "#define PLAIT_DEPENDENCY_WAIT()\n%s"
                     "#endif\n"
                     "#endif\n\n",
             early ? "#define PLAIT_DEPENDENCY_TRIGGER() asm volatile(\"griddepcontrol.launch_dependents;\")\n" : "",
             early ? "#define PLAIT_DEPENDENCY_TRIGGER()\n" : "");
}

static void prologue(Emit *e) {
  buf_puts(e->out, "\n");
  if (!e->opt->jit)
    buf_puts(e->out, "// CUDA C without headers: for nvcc, or for NVRTC with --device-as-default-execution-space.\n"
                     "#ifdef __NVCC__\n#pragma nv_diag_suppress 177      // two forms of a loop declare what one of them reads\n#endif\n\n");
  cu_prologue(e);
  if (cu_dependent(e)) dependency_macros(e);
  if (!any_faults(e)) return;
  // In the place of each of many checks in an unrolled loop it made ptxas spill: 1304 bytes of tests/diff/programs/causal.plait, `checked`.
  buf_puts(e->out, "// The first failed check is kept, whichever thread finds it.\n"
                   "static __device__ __noinline__ void report_fault(long long *fault, long long check, long long value) {\n"
                   "  if (atomicCAS((unsigned long long *)fault, 0ull, (unsigned long long)check) == 0) fault[1] = value;\n");
  if (e->opt->jit) buf_puts(e->out, "#ifdef PLAIT_EMU\n  PLAIT_ANY_ORDER(fault, 16);\n#endif\n");
  buf_puts(e->out, "}\n\n");
}

// Room for several blocks is asked for by a macro, which whoever compiles the text can set to 1: see gpu_loosen in runtime/gpu_code.h.
static const char *resident(Emit *e, const Kernel *k) {
  if (k->grid->resident < 2) return "";
  const char *macro = arena_printf(e->a, "PLAIT_RESIDENT_%s", (const char *)names_of(&e->names, k));
  if (!e->opt->jit) emit_line(e, "// Blocks that a multiprocessor shall have room for; 1 where that makes the compiler spill.");
  emit_line(e, "#ifndef %s\n#define %s %d\n#endif", macro, macro, k->grid->resident);
  return arena_printf(e->a, ", %s", macro);
}

static void kernel_head(Emit *e, const Kernel *k) {
  const Params *p = map_getp(&e->params, k);
  Buf b = buf_make(e->a);
  buf_printf(&b, "extern \"C\" __global__ void __launch_bounds__(%d%s) %s(", k->grid->threads, resident(e, k), (const char *)names_of(&e->names, k));
  for (int i = 0; i < p->list.n; i++) {
    const char *text = c_parameter(e, &p->list.v[i], e->t->restrict_word);
    c_append(&b, i > 0, text);
  }
  if (p->faults) c_append(&b, p->list.n > 0, "long long *fault");
  emit_line(e, "%s) {", b.s);
  if (e->uses_shared) emit_line(e, "  extern __shared__ __align__(16) unsigned char shared[];");
  if (cu_dependent(e)) emit_line(e, "  PLAIT_DEPENDENCY_WAIT();");
  if (cu_dependent(e) && e->opt->dependent == DEPENDENT_EARLY) emit_line(e, "  PLAIT_DEPENDENCY_TRIGGER();");
}

// ---- loops -------------------------------------------------------------------------------------

// The index is one number; it is printed only where the body uses it.
static void single_index(Emit *e, const Stmt *s, const char *value) {
  Buf body = buf_make(e->a), *out = e->out;
  const char *i = emit_index(e, s);
  e->out = &body;
  emit_block(e, s->body);
  e->out = out;
  if (uses_has(&e->used, s->ix)) emit_line(e, "const long long %s = %s;", i, value);
  buf_puts(e->out, body.s);
}

// A loop of one step, as text of its own: the compiler needs not unroll it.
static void single_step(Emit *e, const Stmt *s) {
  emit_line(e, "{");
  e->indent++;
  names_open(&e->names);
  single_index(e, s, emit_expr(e, s->lo, LEVEL_COND));
  names_close(&e->names);
  e->indent--;
  emit_line(e, "}");
}

static void plain_loop(Emit *e, const Stmt *s) {
  const char *hi = emit_loop_end(e, s), *lo = emit_expr(e, s->lo, LEVEL_COND);
  bool whole = s->how == HOW_UNROLL;
  if (whole) emit_line(e, "#pragma unroll");
  else if (s->unroll > 0) emit_line(e, "#pragma unroll %d", s->unroll);
  else if (expr_has(s->hi, OP_MIN)) emit_line(e, "#pragma unroll 1");       // NVRTC 13.0 needs minutes to count the steps of such loops in tiles
  names_open(&e->names);
  const char *i = emit_index(e, s);
  const char *next = s->step ? arena_printf(e->a, "%s += %lld", i, (long long)s->step) : arena_printf(e->a, "%s++", i);
  emit_line(e, "for (%s %s = %s; %s < %s; %s) {", whole ? "int" : "long long", i, lo, i, hi, next);
  e->indent++;
  emit_block(e, s->body);
  e->indent--;
  emit_line(e, "}");
  names_close(&e->names);
}

static void loop(Emit *e, const Stmt *s) {
  switch (s->how) {
  case HOW_BLOCKS: single_index(e, s, "blockIdx.x"); return;
  case HOW_THREADS: single_index(e, s, "threadIdx.x"); return;
  case HOW_ONE: single_index(e, s, emit_expr(e, s->lo, LEVEL_COND)); return;
  case HOW_UNROLL: if (cu_extreme(e, s)) return;
    if (s->hi->u.v.i - s->lo->u.v.i == 1) { single_step(e, s); return; }
    plain_loop(e, s);
    return;
  default: plain_loop(e, s); return;
  }
}

static void lanes_var(Emit *e, const Stmt *s) {
  (void)e, (void)s;
  assert(!"no pass for GPUs makes lanes");
}

static void fault(Emit *e, int site, const char *value) { emit_line(e, "report_fault(fault, %d, %s);", site, value); }

static void entry(Emit *e, Buf *header) {
  if (e->opt->gpu->launches) launches_of_plan(e, e->opt->gpu->launches);
  if (!e->opt->jit) cu_entry(e, header);
}

const Target target_cuda = {
  .name = "cuda", .restrict_word = "__restrict__ ", .function_words = "static __device__ __forceinline__ ",
  .host_words = "static __host__ __device__ __forceinline__ ", .table_words = "__constant__ ",
  .aligned_words = "", .variants = "cuda_",
  .infinity = {"__longlong_as_double(0x7ff0000000000000)", "__int_as_float(0x7f800000)"},
  .nan = {"__longlong_as_double(0x7ff8000000000000)", "__int_as_float(0x7fc00000)"},
  .op_text = op_text, .names = cu_names, .prologue = prologue, .kernel_head = kernel_head, .loop = loop, .lanes_var = lanes_var, .fold = cu_fold, .fault = fault,
  .entry = entry, .alloc = cu_alloc, .move = cu_move, .barrier = cu_barrier, .forget = cu_forget, .prefix = cu_prefix, .packed = cu_packed,
};

// Note [Dependent launches]
//
// On sm_90 and newer kernels are launched with programmatic stream serialization: the blocks of the next kernel may take their
// places once those of this one have ended, before its memory is written back, which saves part of the gap between two
// kernels. Every thread therefore waits before its first access to memory, whatever it does later: `griddepcontrol.wait` returns when
// all of the grids that were waited for have ended and their writes can be seen. As all threads of all kernels wait, the end of one means the end
// of all before it, also where a kernel reads what one two before it has written, or writes what that one reads.
// A kernel of somebody else's after ours is launched without the attribute and begins when ours has ended; one before ours that
// never says that it may be overtaken has ended when the wait returns.
//
// DEPENDENT_EARLY says so behind the wait. The next grid starts when *all* blocks of this one have said it or ended, so none of
// ours is left to be placed then and blocks that wait take no room that ours need; but they take room from other streams.
// The runtime leaves the attribute out where it might not mean this: see dependent in runtime/cuda_launch.c.
