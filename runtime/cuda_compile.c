// cuda_compile.c: which compiler makes the code of a GPU, and for which architecture.
//
// NVRTC makes code for the devices that it knows and is the first choice. Clang inside the process makes PTX, which the
// driver translates; it needs nothing of NVIDIA's but the driver.
#include "runtime/cuda_int.h"
#include "runtime/pool.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLANG_MOST = 90 };    // the newest architecture that LLVM 19 has is sm_90a

// ---- room for several blocks -------------------------------------------------------------------------------------

// Where a kernel spills because it asks for room for more blocks than its registers leave, the one that does not is taken. *taken: what it was made
// of, malloc'ed; NULL: r's.
static bool compile_code(const Nvrtc *n, const GpuRequest *r, GpuCode *out, char **taken, CudaError *e) {
  *taken = NULL;
  if (!nvrtc_compile(n, r, out, e)) return false;
  char *text = gpu_loosen(r->text, r->len, out->use, out->nuse);
  if (!text) return true;
  GpuRequest loose = *r;
  GpuCode other = {0}, worse;
  loose.text = text;
  loose.len = strlen(text);
  bool better = nvrtc_compile(n, &loose, &other, NULL) && gpu_spilled(other.use, other.nuse) < gpu_spilled(out->use, out->nuse);
  worse = better ? *out : other;
  if (better) *out = other, *taken = text, out->ms += worse.ms;
  else free(text);
  gpu_code_free(&worse);
  return true;
}

// PTX has no log: code of its architecture tells.
static bool compile_ptx(const Nvrtc *n, const GpuRequest *r, GpuCode *out, CudaError *e) {
  GpuRequest asked = *r;
  GpuCode code = {0};
  char *text = NULL;
  asked.ptx = false;
  if (gpu_asks_for_room(r->text) && compile_code(n, &asked, &code, &text, NULL) && text) asked.text = text, asked.len = strlen(text);
  gpu_code_free(&code);
  asked.ptx = true;
  bool good = nvrtc_compile(n, &asked, out, e);
  free(text);
  return good;
}

static bool compile_fitting(const Nvrtc *n, const GpuRequest *r, GpuCode *out, CudaError *e) {
  char *text = NULL;
  bool good = r->ptx ? compile_ptx(n, r, out, e) : compile_code(n, r, out, &text, e);
  free(text);
  return good;
}

// ---- kernels side by side ----------------------------------------------------------------------------------------

// A text's kernels in `n` texts, each behind what all of them need. Most programs have one kernel; NVRTC takes 15 ms of 50 for what
// all share, so that a text for each kernel pays only where there are threads for them.
typedef struct Part { const Nvrtc *n; GpuRequest r; char *text; GpuCode code; CudaError e; bool good; } Part;
typedef struct Parts { Part *part; int n; } Parts;

static size_t size_of(const GpuSpan *s) { return s->to - s->from; }

static void append(Part *p, const char *text, size_t n) {
  memcpy(p->text + p->r.len, text, n);
  p->text[p->r.len += n] = 0;
}

static Part *shortest(const Parts *p) {
  Part *best = p->part;
  for (int i = 1; i < p->n; i++)
    if (p->part[i].r.len < best->r.len) best = &p->part[i];
  return best;
}

// Kernels go, in their order, to the part that is the shortest so far.
static bool share_out(const Nvrtc *n, const GpuRequest *r, Parts *p) {
  for (int i = 0; i < p->n; i++) {
    Part *x = &p->part[i];
    *x = (Part){.n = n, .r = *r, .text = malloc(r->len + 1)};
    if (!x->text) return false;
    x->r.text = x->text;
    x->r.len = 0;
    append(x, r->text, r->span[0].from);
  }
  for (int i = 0; i < r->nspans; i++) append(shortest(p), r->text + r->span[i].from, size_of(&r->span[i]));
  return true;
}

static void compile_some(void *cx, int part, int parts) {
  Parts *p = cx;
  for (int i = part; i < p->n; i += parts) {
    Part *x = &p->part[i];
    x->good = compile_fitting(x->n, &x->r, &x->code, &x->e);
  }
}

// All of it to *out, or the first error to *e.
static bool collect(Parts *p, GpuCode *out, CudaError *e) {
  GpuCode **last = &out->next;
  *out = p->part[0].code;
  for (int i = 1; i < p->n; i++) {
    GpuCode *c = *last = malloc(sizeof *c);
    if (!c) return cuda_fail(e, CUDA_HOST_MEMORY, "out of memory");
    *c = p->part[i].code;
    p->part[i].code = (GpuCode){0};
    out->ms += c->ms;
    last = &c->next;
  }
  return true;
}

static bool all_good(Parts *p, CudaError *e) {
  for (int i = 0; i < p->n; i++) {
    if (p->part[i].good) continue;
    if (e && !e->fault) *e = p->part[i].e, p->part[i].e = (CudaError){0};
    return false;
  }
  return true;
}

static void free_parts(Parts *p, bool kept) {
  for (int i = 0; i < p->n; i++) {
    free(p->part[i].text);
    if (i || !kept) gpu_code_free(&p->part[i].code);
    cuda_error_clear(&p->part[i].e);
  }
  free(p->part);
}

static int parts_of(const GpuRequest *r) {
  int most = r->nspans > 1 ? pool_threads() : 1;
  return r->nspans < most ? r->nspans : most;
}

static bool compile_apart(const Nvrtc *n, const GpuRequest *r, GpuCode *out, CudaError *e) {
  Parts p = {.n = parts_of(r)};
  if (p.n < 2 || !(p.part = calloc((size_t)p.n, sizeof *p.part))) return compile_fitting(n, r, out, e);
  bool good = share_out(n, r, &p) || cuda_fail(e, CUDA_HOST_MEMORY, "out of memory");
  if (good) pool_run(compile_some, &p, p.n);
  good = good && all_good(&p, e);
  bool kept = good;
  good = good && collect(&p, out, e);
  free_parts(&p, kept);
  return good;
}

// ---- the compilers -----------------------------------------------------------------------------------------------

static bool open_nvrtc(Cuda *c, int driver, CudaError *e) {
  Arena *a = arena_create();
  memset(&c->nvrtc, 0, sizeof c->nvrtc);
  c->has_nvrtc = nvrtc_open(a, c->paths, driver, &c->nvrtc, NULL, e);
  if (c->has_nvrtc) c->nvrtc_arena = a;
  else arena_destroy(a);
  return c->has_nvrtc;
}

static const Nvrtc *nvrtc(Cuda *c, int driver, CudaError *e) {
  pthread_mutex_lock(&c->lock);
  bool good = c->has_nvrtc || open_nvrtc(c, driver, e);
  pthread_mutex_unlock(&c->lock);
  return good ? &c->nvrtc : NULL;
}

static const ClangTable *clang(const Cuda *c, CudaError *e) {
  Arena *a = arena_create();
  const char *why;
  const ClangTable *t = search_clang(a, c->paths->extra, NULL, &why);
  if (!t) cuda_fail(e, CUDA_NO_COMPILER, "no Clang in the process, which could compile GPU code: %s", why);
  arena_destroy(a);
  return t;
}

// NVRTC of a newer CUDA than the driver's makes what that driver cannot load; Clang's PTX is older than both.
static bool suits(const Nvrtc *n, int driver) { return !driver || n->number / 1000 <= driver / 1000; }

bool cuda_compilers(Cuda *c, int driver, CudaCompilers *out, CudaError *e) {
  *out = (CudaCompilers){0};
  if (c->compiler != GPU_CLANG) out->nvrtc = nvrtc(c, driver, e);
  if (c->compiler == GPU_CLANG || (c->compiler == GPU_AUTO && !(out->nvrtc && suits(out->nvrtc, driver)))) out->clang = clang(c, e);
  bool any = out->nvrtc || out->clang;
  if (any && e) cuda_error_clear(e);
  return any;
}

static void name_nvrtc(const Nvrtc *n, char out[64]) {
  char version[16];
  snprintf(out, 64, "NVRTC %s", cuda_version_text(n->number, version));
}

// ---- Clang -------------------------------------------------------------------------------------------------------

static bool took(const ClangTable *t, const GpuRequest *r, ClangObject *made, GpuCode *out, CudaError *e) {
  *out = (GpuCode){.bytes = made->object, .size = made->size, .ptx = true, .arch = r->arch, .log = made->log};
  out->ms = made->parse_ms + made->opt_ms + made->codegen_ms;
  if (made->fatal) search_clang_broken();
  if (made->object) return true;
  cuda_fail(e, made->fatal ? CUDA_CALL : CUDA_TEXT, "Clang %s %s", t->version, made->fatal ? "failed on the generated text" : "refused the generated text");
  if (made->log) cuda_note(e, made->log, strlen(made->log));
  if (!made->fatal) cuda_help(e, "functions of CUDA's mathematical library need NVRTC: pip install nvidia-cuda-nvrtc");
  return false;
}

static bool compile_by_clang(const ClangTable *t, const GpuRequest *r, GpuCode *out, char compiler[64], CudaError *e) {
  ClangGpuText in = {.text = r->text, .len = r->len, .library = r->library, .arch = r->arch, .feature = r->feature};
  ClangObject made;
  snprintf(compiler, 64, "clang %s in process", t->version);
  t->gpu(&in, &made);
  return took(t, r, &made, out, e);
}

// ---- for a device ------------------------------------------------------------------------------------------------

static bool compile_by_nvrtc(const Nvrtc *n, const GpuRequest *r, GpuCode *out, char compiler[64], CudaError *e) {
  GpuRequest asked = *r;
  name_nvrtc(n, compiler);
  asked.arch = nvrtc_arch_below(n, r->arch);
  asked.ptx = r->ptx || asked.arch != r->arch;
  if (asked.arch != r->arch) asked.feature = 0;
  if (asked.arch) return compile_apart(n, &asked, out, e);
  cuda_fail(e, CUDA_NO_ARCH, "%s makes code for sm_%d and newer, the device is sm_%d", compiler, n->arch[0], r->arch);
  cuda_help(e, "use an NVRTC of an older CUDA");
  return false;
}

bool cuda_compile_for_device(Cuda *c, const CudaDevice *d, const GpuRequest *r, GpuCode *out, char compiler[64], CudaError *e) {
  CudaCompilers have;
  if (!cuda_compilers(c, d->f->number, &have, e)) return false;
  if (!have.clang) return compile_by_nvrtc(have.nvrtc, r, out, compiler, e);
  GpuRequest asked = *r;
  if (asked.arch > CLANG_MOST) asked.arch = CLANG_MOST, asked.feature = 0;
  return compile_by_clang(have.clang, &asked, out, compiler, e);
}

// ---- exactly -----------------------------------------------------------------------------------------------------

static bool no_arch(const CudaCompilers *have, const GpuRequest *r, const char *compiler, CudaError *e) {
  char feature[2] = {r->feature, 0};
  const Nvrtc *n = have->nvrtc;
  if (!n && !r->ptx) {
    cuda_fail(e, CUDA_NO_ARCH, "%s makes PTX only, no cubin", compiler);
    cuda_help(e, "ask for PTX, or pip install nvidia-cuda-nvrtc");
    return false;
  }
  cuda_fail(e, CUDA_NO_ARCH, "%s makes no code for sm_%d%s", compiler, r->arch, feature);
  if (n) cuda_help(e, "it knows sm_%d to sm_%d", n->arch[0], n->arch[n->narchs - 1]);
  else cuda_help(e, "it knows sm_50 to sm_%d", CLANG_MOST);
  return false;
}

bool cuda_compile_exactly(Cuda *c, const GpuRequest *r, GpuCode *out, char compiler[64], CudaError *e) {
  CudaCompilers have;
  if (!cuda_compilers(c, 0, &have, e)) return false;
  if (have.nvrtc) name_nvrtc(have.nvrtc, compiler);
  else snprintf(compiler, 64, "clang %s in process", have.clang->version);
  bool can = have.nvrtc ? nvrtc_has(have.nvrtc, r->arch) : r->ptx && r->arch <= CLANG_MOST;
  if (!can) return no_arch(&have, r, compiler, e);
  return have.nvrtc ? compile_fitting(have.nvrtc, r, out, e) : compile_by_clang(have.clang, r, out, compiler, e);
}
