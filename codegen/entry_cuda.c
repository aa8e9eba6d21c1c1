// entry_cuda.c: the host function that launches the kernels of a CUDA file, and the header that declares it.
//
//   extern "C" cudaError_t softmax(long long N, long long D, const float *x, float *y, void *scratch, long long *fault, cudaStream_t stream);
//
// It does what the runtime does with the list of launches (runtime/cuda_launch.c): all sizes are computed and looked at before the
// first kernel starts. NVRTC, which has no host, skips it.
#include "codegen/entry_c.h"
#include "codegen/launch.h"
#include <math.h>
#include <string.h>

enum { ALIGN = 16, MOST_BLOCKS = 0x7fffffff, FREE_SHARED = 32 << 10 };     // of dynamic shared memory, more of which is asked for: 48 KiB less the fixed

#define MOST_SUM 9e18      // a little below 2^63

static const Launches *launches_of(const Emit *e) { return e->opt->gpu->launches; }

static bool any_clusters(const Emit *e) {
  for (int i = 0; i < launches_of(e)->n; i++)
    if (launches_of(e)->v[i].cluster) return true;
  return false;
}

// ---- a launch ----------------------------------------------------------------------------------

// What cudaLaunchKernel has no argument for.
static void print_attributes(Emit *e, bool clusters) {
  emit_line(e, "  cudaLaunchConfig_t config = {};");
  emit_line(e, "  cudaLaunchAttribute how[2];");
  emit_line(e, "  config.gridDim = dim3((unsigned int)blocks);");
  emit_line(e, "  config.blockDim = dim3(threads);");
  emit_line(e, "  config.dynamicSmemBytes = (size_t)shared_bytes;");
  emit_line(e, "  config.stream = stream;");
  emit_line(e, "  config.attrs = how;");
  if (clusters) {
    emit_line(e, "  if (cluster > 8) bad = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);");
    emit_line(e, "  if (bad) return bad;");
    emit_line(e, "  if (cluster > 1) {");
    emit_line(e, "    how[config.numAttrs].id = cudaLaunchAttributeClusterDimension;");
    emit_line(e, "    how[config.numAttrs].val.clusterDim.x = cluster;");
    emit_line(e, "    how[config.numAttrs].val.clusterDim.y = how[config.numAttrs].val.clusterDim.z = 1;");
    emit_line(e, "    config.numAttrs++;");
    emit_line(e, "  }");
  }
}

// Kernels that wait by themselves: code for sm_90 or newer, on another stream than the legacy one.
static void print_dependence(Emit *e) {
  emit_line(e, "  cudaFuncAttributes code;");
  emit_line(e, "  bad = cudaFuncGetAttributes(&code, kernel);");
  emit_line(e, "  if (bad) return bad;");
  emit_line(e, "  if (code.ptxVersion >= 90 && stream && stream != cudaStreamLegacy) {");
  emit_line(e, "    how[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;");
  emit_line(e, "    how[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;");
  emit_line(e, "  }");
}

static void print_start(Emit *e) {
  bool clusters = any_clusters(e), dependent = cu_dependent(e);
  int least = dependent ? 12030 : 11080;
  if (clusters || dependent) {
    if (!clusters) emit_line(e, "#if CUDART_VERSION >= %d      // the first whose graphs take this", least);
    print_attributes(e, clusters);
    if (clusters && dependent) emit_line(e, "#if CUDART_VERSION >= %d      // the first whose graphs take this", least);
    if (dependent) print_dependence(e);
    if (clusters && dependent) emit_line(e, "#endif");
    emit_line(e, "  return cudaLaunchKernelExC(&config, kernel, arg);");
    if (!clusters) emit_line(e, "#else");
  }
  if (!clusters) emit_line(e, "  return cudaLaunchKernel(kernel, dim3((unsigned int)blocks), dim3(threads), arg, (size_t)shared_bytes, stream);");
  if (dependent && !clusters) emit_line(e, "#endif");
}

static void print_launcher(Emit *e) {
  const char *cluster = any_clusters(e) ? "unsigned int cluster, " : "";
  emit_line(e, "// Starts a kernel%s; nothing without blocks.", cu_dependent(e) ? ", on sm_90 and newer while the one before it in the stream ends" : "");
  emit_line(e, "static cudaError_t launch_kernel(const void *kernel, long long blocks, unsigned int threads, long long shared_bytes, %svoid **arg,", cluster);
  emit_line(e, "    cudaStream_t stream) {");
  emit_line(e, "  if (blocks == 0) return cudaSuccess;");
  emit_line(e, "  cudaError_t bad = cudaSuccess;");
  emit_line(e, "  if (shared_bytes > %d) bad = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);", FREE_SHARED);
  emit_line(e, "  if (bad) return bad;");
  print_start(e);
  emit_line(e, "}\n");
}

// ---- sizes -------------------------------------------------------------------------------------

// The greatest magnitude that x can have, by its dimensions alone: emit_range also relies on tensors being possible.
static double magnitude(Emit *e, const Expr *x) {
  double a = x->nargs > 0 ? magnitude(e, x->arg[0]) : 0, b = x->nargs > 1 ? magnitude(e, x->arg[1]) : 0;
  Range r = emit_range(e, x);
  switch (x->op) {
  case OP_ADD: case OP_SUB: return fmin(a + b, MOST_SUM);
  case OP_MUL: return fmin(a * b, MOST_SUM);
  case OP_FLOORDIV: return a / fmax(emit_range(e, x->arg[1]).lo, 1);
  case OP_MIN: return fmax(fmin(a, b), -r.lo);
  case OP_MAX: return fmax(a, b);
  default: return fmax(fabs(r.lo), fabs(r.hi));
  }
}

static const char *operand(Emit *e, const Expr *x) { return arena_printf(e->a, "(double)%s", emit_expr(e, x, LEVEL_PREFIX)); }

static void check_operation(Emit *e, const Expr *x) {
  const char *sign = x->op == OP_ADD ? "+" : x->op == OP_SUB ? "-" : "*";
  const char *value = arena_printf(e->a, "%s %s %s", operand(e, x->arg[0]), sign, operand(e, x->arg[1]));
  Range a = emit_range(e, x->arg[0]), b = emit_range(e, x->arg[1]);
  bool below = a.lo < 0 || b.lo < 0 || x->op == OP_SUB;
  const char *low = below ? arena_printf(e->a, " || %s < -9e18", value) : "";
  emit_line(e, "if (%s > 9e18%s) return cudaErrorInvalidConfiguration;", value, low);
}

// Sums of what has been looked at and of little stay below 2^63.
static bool may_overflow(Emit *e, const Expr *x) {
  if (x->dtype != DT_I64 || (x->op != OP_ADD && x->op != OP_SUB && x->op != OP_MUL)) return false;
  bool little = x->op != OP_MUL && fmin(magnitude(e, x->arg[0]), magnitude(e, x->arg[1])) < 1e16;
  return !little && magnitude(e, x) >= MOST_SUM;
}

// Lines that refuse what would overflow, the innermost operations first. known: those that have theirs.
static void check_sums(Emit *e, const Expr *x, Map *known) {
  if (map_getp(known, x)) return;
  map_putp(known, x, (void *)(uintptr_t)x);
  for (uint32_t k = 0; k < x->nargs; k++) check_sums(e, x->arg[k], known);
  if (may_overflow(e, x)) check_operation(e, x);
}

typedef struct Size { const char *blocks, *shared; } Size;     // of a launch: names or numbers

static void print_blocks(Emit *e, const Launch *l, const Size *s, bool declare, Map *known) {
  check_sums(e, l->blocks, known);
  if (l->shared_bytes) check_sums(e, l->shared_bytes, known);
  emit_line(e, "%s%s = %s;", declare ? "const long long " : "", s->blocks, emit_expr(e, l->blocks, LEVEL_COND));
  Range r = emit_range(e, l->blocks);
  const char *low = r.lo < 0 ? arena_printf(e->a, "%s < 0 || ", s->blocks) : "";
  if (r.lo < 0 || r.hi > MOST_BLOCKS) emit_line(e, "if (%s%s > %d) return cudaErrorInvalidConfiguration;", low, s->blocks, MOST_BLOCKS);
}

static Size print_size(Emit *e, const Launch *l, Map *known) {
  Size s = {.blocks = names_fresh(&e->names, arena_printf(e->a, "%s_blocks", l->function)), .shared = "0"};
  if (l->shared_bytes) s.shared = emit_expr(e, l->shared_bytes, LEVEL_COND);
  if (!l->when) {
    print_blocks(e, l, &s, true, known);
    return s;
  }
  Map within = map_make(e->a);
  check_sums(e, l->when, known);
  emit_line(e, "long long %s = 0;", s.blocks);
  emit_line(e, "if (%s) {", emit_expr(e, l->when, LEVEL_COND));
  e->indent++;
  print_blocks(e, l, &s, false, &within);
  e->indent--;
  emit_line(e, "}");
  return s;
}

// ---- the entry ---------------------------------------------------------------------------------

static const char *argument(Emit *e, const LaunchArg *x) {
  return x->fault ? "fault" : names_of(&e->names, x->dim ? (const void *)x->dim : tensor_root(x->t));
}

static void print_launch(Emit *e, const Launch *l, const Size *s) {
  Buf b = buf_make(e->a);
  const char *cluster = any_clusters(e) ? arena_printf(e->a, "%d, ", l->cluster ? l->cluster : 1) : "";
  for (int k = 0; k < l->nargs; k++) c_append(&b, k > 0, arena_printf(e->a, "(void *)&%s", argument(e, &l->arg[k])));
  emit_line(e, "{");
  emit_line(e, "  void *arg[] = {%s};", l->nargs ? b.s : "0");
  emit_line(e, "  const cudaError_t bad = launch_kernel((const void *)%s, %s, %d, %s, %sarg, stream);", l->function, s->blocks, l->threads, s->shared, cluster);
  emit_line(e, "  if (bad) return bad;");
  emit_line(e, "}");
}

static void check_alignment(Emit *e, const Params *p) {
  Buf b = buf_make(e->a);
  for (int i = 0; i < p->list.n; i++) {
    const Tensor *t = p->list.v[i].t;
    if (t && t->rank && !t->fmt) c_append(&b, false, arena_printf(e->a, "%s(size_t)%s", *b.s ? " | " : "", (const char *)names_of(&e->names, t)));
  }
  if (*b.s) emit_line(e, "  if ((%s) %% %d) return cudaErrorMisalignedAddress;", b.s, ALIGN);
}

static void print_body(Emit *e, const Params *p) {
  const Launches *l = launches_of(e);
  Size *s = arena_array(e->a, Size, l->n + 1);
  Map known = map_make(e->a);
  c_print_checks(e, "cudaErrorInvalidValue");
  check_alignment(e, p);
  c_print_temps(e);
  e->indent = 1;
  for (int i = 0; i < l->n; i++) s[i] = print_size(e, &l->v[i], &known);
  for (int i = 0; i < l->n; i++) print_launch(e, &l->v[i], &s[i]);
  e->indent = 0;
  emit_line(e, "  return cudaSuccess;");
}

static void print_unused(Emit *e, const Params *p) {
  for (int i = 0; i < p->list.n; i++)
    if (p->list.v[i].t && !uses_has(&e->used, p->list.v[i].t)) emit_line(e, "  (void)%s;", (const char *)names_of(&e->names, p->list.v[i].t));
}

static const char *documentation(Emit *e, const Params *p) {
  Buf b = buf_make(e->a);
  buf_printf(&b, "// Runs %s on a GPU, in the order of the stream; does not wait. Pointers are to memory of the device, aligned to %d bytes.\n"
                 "// Arrays are dense, row-major, of at most 2^40 elements; one that is written overlaps no other.\n//\n", e->entry, ALIGN);
  c_print_params_doc(e, p, &b);
  if (c_any_faults(e)) buf_puts(&b, "//   fault    two numbers, zero before: which check of the data failed first, and the value that failed it\n");
  buf_puts(&b, "//\n// Returns what the CUDA runtime does; cudaErrorInvalidValue for a dimension, an extent or a `where` that cannot be and\n"
               "// cudaErrorInvalidConfiguration for more blocks than a grid has, before anything is launched.\n");
  if (c_any_faults(e)) buf_puts(&b, "// Where fault[0] is not 0 afterwards, what is written holds unspecified values:\n");
  if (c_any_faults(e)) c_print_sites_doc(e, &b);
  return b.s;
}

static const char *last_params(Emit *e) {
  return arena_printf(e->a, "%s%scudaStream_t stream", e->p->temps.n ? "void *scratch, " : "", c_any_faults(e) ? "long long *fault, " : "");
}

static void print_entry(Emit *e, Buf *header) {
  Params p = c_entry_params(e);
  Buf more = buf_make(e->a), body = buf_make(e->a), *out = e->out;
  emit_line(e, "extern \"C\" {\n");
  c_scratch_function(e, &more);
  const char *doc = documentation(e, &p), *head = c_signature(e, "cudaError_t", e->entry, &p, last_params(e));
  e->used = uses_make(e->a);
  c_mark_uses(e, &e->used);
  e->out = &body;
  print_body(e, &p);
  e->out = out;
  buf_puts(e->out, doc);
  emit_line(e, "%s {", head);
  print_unused(e, &p);
  buf_puts(e->out, body.s);
  emit_line(e, "}\n\n}");
  if (header) c_print_header(e, "cu", arena_printf(e->a, "%s%s%s;\n\n", more.s, doc, head), header);
}

// Helper functions that the host calls are for both.
void cu_entry(Emit *e, Buf *header) {
  bool *op = e->op_used, *math = e->math_used;
  e->op_used = e->op_host;
  e->math_used = e->math_host;
  emit_line(e, "#ifndef __CUDACC_RTC__");
  print_launcher(e);
  print_entry(e, header);
  emit_line(e, "#endif");
  e->op_used = op;
  e->math_used = math;
  for (int i = 0; i < OP_COUNT_ * DT_COUNT; i++) op[i] |= e->op_host[i];
  for (int i = 0; i < MATH_COUNT; i++) math[i] |= e->math_host[i];
}
