// api_variant.c: a prepared entry on a GPU: code for the sets of dimensions that launches come with.
//
// Good kernels know the length of a row; a program knows it when it is called. The generator names the dimensions that
// matter, and the whole pipeline runs again with numbers in their place for each set of values, at most VARIANTS times;
// what comes then runs code made for all sizes. A variant stays as long as its exec, so that a launch needs no lock to use
// it and a captured CUDA graph stays valid.
#include "runtime/api_exec.h"
#include "base/limits.h"
#include <inttypes.h>
#include <string.h>

enum { VARIANTS = 64 };

struct ExecCuda {
  Arena *a;
  const CudaDevice *d;
  int arch; char feature;              // to make code for
  const char *arch_text;
  plait_build_options o;               // of prepare, without its callbacks
  int nspecial, *special;              // dimensions that matter, by position in the entry's function
  pthread_mutex_t lock;                // of making variants
  _Atomic(const Variant *) list[VARIANTS];
  _Atomic int n;
  _Atomic(const Variant *) general[2]; // made for all sizes, when the list was full; [1]: for aligned tensors
  _Atomic double ms;
};

const CudaDevice *exec_device(const ExecCuda *c) { return c->d; }
const char *exec_arch(const ExecCuda *c) { return c->arch_text; }
double exec_cuda_ms(const ExecCuda *c) { return c->ms; }

const Variant *exec_variant_at(const ExecCuda *c, size_t i) {
  size_t n = (size_t)c->n;
  if (i < n) return c->list[i];
  const Variant *first = c->general[0] ? c->general[0] : c->general[1], *second = c->general[0] ? c->general[1] : NULL;
  return i == n ? first : i == n + 1 ? second : NULL;
}

// ---- making one --------------------------------------------------------------------------------------------------

static void keep_spills(GpuUse *u, const GpuCode *code) {
  for (; code; code = code->next) {
    for (int k = 0; k < code->nuse; k++) {
      if (strcmp(code->use[k].name, u->name) != 0) continue;
      u->spill_stores = code->use[k].spill_stores;
      u->spill_loads = code->use[k].spill_loads;
    }
  }
}

// Each kernel once, with what the compiler's log says of spills.
static void keep_use(Variant *v, const GpuCode *code) {
  v->use = arena_array(v->build.a, GpuUse, v->launches.n);
  for (int i = 0; i < v->launches.n; i++) {
    const GpuUse *u = cuda_plan_use(v->run, i);
    bool known = false;
    for (int k = 0; k < v->nuse && !known; k++) known = strcmp(v->use[k].name, u->name) == 0;
    if (known) continue;
    v->use[v->nuse] = *u;
    keep_spills(&v->use[v->nuse++], code);
  }
}

// Code for an older device than the text was printed for has no wait in it (a compiler that does not know this one).
static void be_independent(Variant *v) {
  for (int i = 0; i < v->launches.n; i++) v->launches.v[i].dependent = false;
}

static bool load(const ExecCuda *c, Variant *v, const GpuCode *code, Diags *d) {
  CudaError e = {0};
  if (code->arch < 90) be_independent(v);
  CudaModule *m = cuda_load(c->d, code, v->compiler, &e);
  v->run = m ? cuda_plan_create(c->d, v->build.plan, &v->launches, m, &e) : NULL;
  if (!v->run) return report_cuda(d, &e);
  keep_use(v, code);
  return true;
}

// Where the kernels stand in the text; 0: not known.
static int spans_of(const Variant *v, GpuSpan **out) {
  GpuSpan *s = *out = arena_array(v->build.a, GpuSpan, v->launches.n);
  for (int i = 0; i < v->launches.n; i++) {
    s[i] = (GpuSpan){v->launches.v[i].from, v->launches.v[i].to};
    if (s[i].to <= s[i].from || (i && s[i].from != s[i - 1].to)) return 0;
  }
  return v->launches.n;
}

static bool compile(const plait_exec *x, const ExecCuda *c, Variant *v, const Buf *text, const plait_build_options *o, Diags *d) {
  CudaError e = {0};
  GpuCode code = {0};
  GpuSpan *span;
  int nspans = spans_of(v, &span);
  GpuRequest r = {.text = text->s, .len = text->n, .library = cuda_functions(x->entry, v->build.a), .nspans = nspans, .span = span, .arch = c->arch,
                  .feature = c->feature, .ptx = c->arch != c->d->arch};
  double since = now_ms();
  bool good = cuda_compile_for_device(x->entry->program->cx->cuda, c->d, &r, &code, v->compiler, &e) || report_cuda(d, &e);
  if (o->timing) o->timing(o->user, "compile", now_ms() - since);
  since = now_ms();
  if (good) good = load(c, v, &code, d);
  if (o->timing) o->timing(o->user, "load", now_ms() - since);
  gpu_code_free(&code);
  return good;
}

// From a plan to code on the device.
static bool finish(const plait_exec *x, const ExecCuda *c, Variant *v, const plait_build_options *o, Diags *d) {
  Buf text = buf_make(v->build.a);
  EmitOptions eo = {.jit = true, .dependent = (Dependent)c->o.dependent};
  double since = now_ms();
  if (!cuda_text(x->entry, v->build.plan, c->arch, &eo, c->n, &text, &v->launches, d)) return false;
  if (o->timing) o->timing(o->user, "emit", now_ms() - since);
  v->text = text.s;
  v->plan_dim = plan_dims(v->build.a, x->entry->fn, v->build.plan->fn);
  return compile(x, c, v, &text, o, d);
}

static void variant_free(const Variant *v, bool own) {
  if (!v) return;
  cuda_plan_free(v->run);
  if (own) arena_destroy(v->build.a);
}

// The values as text and as options of the passes.
static void name_values(const plait_exec *x, const ExecCuda *c, Variant *v, plait_build_options *o) {
  Arena *a = v->build.a;
  Buf b = buf_make(a);
  plait_dim *dims = arena_array(a, plait_dim, x->ndims + (size_t)c->nspecial);
  if (x->ndims) memcpy(dims, x->dims, x->ndims * sizeof *dims);
  o->ndims = x->ndims;
  for (int i = 0; i < c->nspecial && v->value; i++) {
    dims[o->ndims++] = (plait_dim){x->entry->fn->dims.v[c->special[i]]->name, v->value[i]};
    buf_printf(&b, "%s%s = %" PRId64, i ? ", " : "", dims[o->ndims - 1].name, v->value[i]);
  }
  o->dims = dims;
  v->dims = b.s;
}

// value NULL: for all sizes. NULL after a message.
static Variant *make_variant(const plait_exec *x, const ExecCuda *c, const int64_t *value, bool aligned, plait_messages *m) {
  Arena *a = arena_create();
  Variant *v = arena_new(a, Variant);
  plait_build_options o = c->o;
  v->build.a = a;
  v->build.unaligned = !aligned;
  v->aligned = aligned;
  if (value) v->value = memcpy(arena_array(a, int64_t, c->nspecial), value, (size_t)c->nspecial * sizeof *value);
  name_values(x, c, v, &o);
  if (build_run(x->entry, "cuda", &o, &v->build, m) && finish(x, c, v, &o, m->d)) return v;
  variant_free(v, true);
  return NULL;
}

// ---- finding one -------------------------------------------------------------------------------------------------

static const Variant *find(const ExecCuda *c, const int64_t *value, bool aligned) {
  int n = c->n;
  for (int i = 0; i < n; i++) {
    const Variant *v = c->list[i];
    if (v->aligned != aligned) continue;
    if (!c->nspecial || memcmp(v->value, value, (size_t)c->nspecial * sizeof *value) == 0) return v;
  }
  return n == VARIANTS ? c->general[aligned] : NULL;
}

static const Variant *add(const plait_exec *x, ExecCuda *c, const int64_t *value, bool aligned, plait_messages *m) {
  double since = now_ms();
  bool full = c->n == VARIANTS;
  const Variant *v = make_variant(x, c, full ? NULL : value, aligned, m);
  c->ms = c->ms + (now_ms() - since);
  if (!v) return NULL;
  if (full) {
    c->general[aligned] = v;
  } else {
    c->list[c->n] = v;
    c->n = c->n + 1;                   // only now may others see it
  }
  return v;
}

const Variant *exec_variant(const plait_exec *x, const int64_t *dims, bool aligned, Trouble *why) {
  ExecCuda *c = x->cuda;
  int64_t value[LIMIT_PARAMS];
  for (int i = 0; i < c->nspecial; i++) value[i] = dims[x->entry->fn->dims.v[c->special[i]]->id];
  const Variant *v = find(c, value, aligned);
  if (v) return v;
  trouble(why);
  pthread_mutex_lock(&c->lock);
  v = find(c, value, aligned);
  if (!v) v = add(x, c, value, aligned, why->m);
  pthread_mutex_unlock(&c->lock);
  return v;
}

// ---- the exec ----------------------------------------------------------------------------------------------------

static void keep_options(ExecCuda *c, const plait_build_options *o) {
  c->o = (plait_build_options){.struct_size = sizeof c->o, .verify = o->verify, .no_fuse = o->no_fuse, .device = o->device, .arch = c->arch_text, .dependent = o->dependent};
  if (o->disable) c->o.disable = arena_strndup(c->a, o->disable, strlen(o->disable));
}

// What the generator wants to know of the plan, by position; dimensions that have become numbers are in no plan.
static bool ask_dims(const plait_exec *x, ExecCuda *c, Diags *d) {
  const CudaGenerator *g = generator_of(x->entry, d);
  LaunchDims dims = {0};
  if (!g) return false;
  if (g->dims) g->dims(x->build.plan, &dims);
  if (dims.n > LIMIT_PARAMS) return diag_error(d, E_internal, NO_SPAN, "the generator of CUDA text asks for %d dimensions", dims.n);
  c->special = arena_array(c->a, int, dims.n);
  for (int i = 0; i < dims.n; i++) {
    int k = dim_index(x->entry->fn, dims.v[i]->name);
    if (k >= 0) c->special[c->nspecial++] = k;
  }
  return true;
}

static bool first_variant(const plait_exec *x, ExecCuda *c, const plait_build_options *o, plait_messages *m) {
  Variant *v = arena_new(c->a, Variant);
  v->build = x->build;
  v->aligned = true;
  v->dims = "";
  if (!finish(x, c, v, o, m->d)) return variant_free(v, false), false;
  c->list[0] = v;
  c->n = 1;
  return true;
}

bool exec_cuda_open(plait_exec *x, const plait_build_options *o, plait_messages *m) {
  plait_context *cx = x->entry->program->cx;
  ExecCuda *c = x->cuda = arena_new(x->build.a, ExecCuda);
  CudaError e = {0};
  c->a = x->build.a;
  pthread_mutex_init(&c->lock, NULL);
  c->d = cuda_device(cx->cuda, o->device, &e);
  if (!c->d) return report_cuda(m->d, &e);
  if (!arch_of(o->arch, c->d->arch, &c->arch, &c->feature, m->d)) return false;
  c->arch_text = arena_printf(c->a, "sm_%d%.1s", c->arch, c->feature ? &c->feature : "");
  keep_options(c, o);
  plait_build_options first = *o;
  first.arch = c->arch_text;
  if (!build_run(x->entry, "cuda", &first, &x->build, m)) return false;
  if (!ask_dims(x, c, m->d)) return false;
  return c->nspecial || first_variant(x, c, o, m);
}

void exec_cuda_free(ExecCuda *c) {
  if (!c) return;
  for (int i = 0; i < c->n; i++) variant_free(c->list[i], c->nspecial > 0 || i > 0);
  for (int i = 0; i < 2; i++) variant_free(c->general[i], true);
  pthread_mutex_destroy(&c->lock);
}
