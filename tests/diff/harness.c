#include "tests/diff/harness.h"
#include "base/limits.h"
#include "codegen/target.h"
#include "runtime/call.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

uint64_t rng_next(Rng *r) {
  uint64_t z = r->s += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
int rng_below(Rng *r, int n) { return n > 0 ? (int)(rng_next(r) % (uint64_t)n) : 0; }
double rng_unit(Rng *r) { return (double)(rng_next(r) >> 11) * 0x1p-53; }
bool rng_chance(Rng *r, int percent) { return rng_below(r, 100) < percent; }

typedef struct Run {
  Harness *h;
  const char *name, *text, *entry;
  Arena *a;
  Diags *d;
  Fn *fn;
  View *params, *mine, *theirs;       // mine: mut parameters of the compiled run (copies); theirs …
  View *ref, *out;                    // results of the interpreter, of the kernels
  double **bounds;
  int64_t *dims;
  int int_limit, negative;            // integers are drawn below this; and negative with this chance in a hundred
  Outcome o;
} Run;

static void say(Run *r, const char *fmt, ...) {
  size_t n = strlen(r->o.text);
  va_list ap;
  va_start(ap, fmt);
  if (n + 1 < sizeof r->o.text) vsnprintf(r->o.text + n, sizeof r->o.text - n, fmt, ap);
  va_end(ap);
}

// ---- arguments ---------------------------------------------------------------------------------

static int64_t elements(const View *v) {
  int64_t n = 1;
  for (int k = 0; k < v->rank; k++) n *= v->extent[k];
  return n;
}

static int64_t bytes_of(const Tensor *t, const View *v) {
  int64_t n = elements(v);
  return t->fmt ? n / t->fmt->block * t->fmt->bytes : dtype_bytes(t->dtype, n);
}

static const double specials[] = { 0, -0.0, 1, -1, 0.5, -2, INFINITY, -INFINITY, NAN, 1e-40, -1e-40, 3.4e38, -3.4e38, 1e-7, 127, 128, 255, 65504, 2147483647, -2147483648.0 };

static double random_float(Run *r, Rng *g) {
  if (r->h->specials && rng_chance(g, 25)) return specials[rng_below(g, sizeof specials / sizeof *specials)];
  double u = rng_unit(g) + rng_unit(g) + rng_unit(g) + rng_unit(g) - 2;      // about normal, |u| ≤ 2
  return rng_chance(g, 10) ? u * 8 : u;
}

static Scalar random_value(Run *r, Dtype d, Rng *g) {
  Dtype w = dtype_wide(d);
  Scalar v = {0};
  if (dtype_is_float(w)) v.f = w == DT_F32 ? (double)(float)random_float(r, g) : random_float(r, g);
  else if (w == DT_BOOL) v.i = rng_below(g, 2);
  else if (r->h->specials && rng_chance(g, 20)) v.i = (int64_t)rng_next(g) >> rng_below(g, 64);
  else v.i = dtype_is_signed(d) && rng_chance(g, r->negative) ? -rng_below(g, 3) : rng_below(g, r->int_limit);
  return d == DT_BOOL ? v : dtype_cast(v, w, w);
}

static void fill(Run *r, const Tensor *t, View *v, Rng *g) {
  int64_t n = elements(v);
  if (t->fmt) {
    // Any bytes are a block; keep the scales small by clearing the top of every exponent that an f16 could have.
    unsigned char *b = v->data;
    for (int64_t k = 0; k < bytes_of(t, v); k++) b[k] = (unsigned char)(rng_next(g) & 0x3f);
    return;
  }
  for (int64_t k = 0; k < n; k++) dtype_store(t->dtype, v->data, k, random_value(r, t->dtype, g));
}

// Under the address sanitizer what lies behind it may not be touched: kernels that are compiled with it too (`--cc-path`) are found out.
static void *buffer(Run *r, int64_t bytes) {
  enum { BEHIND = 64 };
  char *p = arena_alloc(r->a, (size_t)bytes + BEHIND);
#ifdef __SANITIZE_ADDRESS__
  __asan_poison_memory_region(p + bytes, BEHIND);
#endif
  return p;
}

static bool shape_view(Run *r, const Tensor *t, View *v) {
  v->rank = t->rank;
  for (int k = 0; k < t->rank; k++) {
    Scalar s;
    if (!fn_eval_scalar(r->fn, t->extent[k], r->dims, r->params, &s) || s.i < 0 || s.i > 1 << 17) return false;
    v->extent[k] = s.i;
  }
  if (elements(v) > 1 << 18) return false;
  v->data = buffer(r, bytes_of(t, v));
  return true;
}

static int random_dim(Run *r, Rng *g) {
  static const int sizes[] = { 1, 2, 3, 4, 5, 7, 8, 16, 17, 32, 33, 64, 96, 250, 256, 1000, 1024, 1500, 4096, 5000, 16384, 40000 };
  int n, small = 12, all = sizeof sizes / sizeof *sizes;
  if (rng_chance(g, 4)) return 0;
  do n = sizes[rng_below(g, r->h->dim_limit > 64 ? all : small)]; while (n > r->h->dim_limit);
  return n;
}

// Dimensions, scalars, tensors; drawn again until the call's own conditions hold.
static bool arguments(Run *r, Rng *g) {
  Fn *f = r->fn;
  Fault fault = {0};
  r->params = arena_array(r->a, View, f->params.n + 1);
  r->dims = arena_array(r->a, int64_t, f->dims.n + 1);
  // Integers may be subscripts: small ones often are in range, and in some runs all are 0.
  r->int_limit = 1 << rng_below(g, 3);
  r->negative = r->h->specials ? 30 : rng_chance(g, 30) ? 4 : 0;
  for (int attempt = 0; attempt < 20000; attempt++) {
    if (attempt % 1000 == 999) r->int_limit = 1 << rng_below(g, 3);       // a condition may ask for more than 0
    for (int i = 0; i < f->dims.n; i++) r->dims[i] = random_dim(r, g);
    bool ok = true;
    for (int i = 0; i < f->params.n; i++) {
      if (f->params.v[i]->rank) continue;
      r->params[i] = (View){ .data = buffer(r, 8) };
      fill(r, f->params.v[i], &r->params[i], g);
    }
    for (int i = 0; i < f->params.n && ok; i++) if (f->params.v[i]->rank) ok = shape_view(r, f->params.v[i], &r->params[i]);
    if (!ok || !fn_bind(f, r->params, r->dims, &fault)) continue;
    View made;
    for (int i = 0; i < f->results.n && ok; i++) ok = shape_view(r, f->results.v[i], &made);
    if (!ok) continue;
    for (int i = 0; i < f->params.n; i++) if (f->params.v[i]->rank) fill(r, f->params.v[i], &r->params[i], g);
    return true;
  }
  say(r, "no arguments were found that the function accepts%s%s", *fault.text ? ": " : ", since an extent was below 0 or too large", fault.text);
  return false;
}

// ---- the two runs ------------------------------------------------------------------------------

static void results(Run *r, View **out) {
  Fn *f = r->fn;
  *out = arena_array(r->a, View, f->results.n + 1);
  for (int i = 0; i < f->results.n; i++) shape_view(r, f->results.v[i], &(*out)[i]);
}

static View *copy_params(Run *r) {
  Fn *f = r->fn;
  View *c = arena_array(r->a, View, f->params.n + 1);
  for (int i = 0; i < f->params.n; i++) {
    int64_t n = bytes_of(f->params.v[i], &r->params[i]);
    c[i] = r->params[i];
    c[i].data = buffer(r, n);
    memcpy(c[i].data, r->params[i].data, (size_t)n);
  }
  return c;
}

static bool interpret(Run *r, Fault *fault) {
  Fn *f = r->fn;
  results(r, &r->ref);
  r->theirs = copy_params(r);
  r->bounds = arena_array(r->a, double *, f->results.n + f->params.n + 1);
  int n = 0;
  for (int i = 0; i < f->results.n; i++) r->bounds[n++] = arena_array(r->a, double, elements(&r->ref[i]) + 1);
  for (int i = 0; i < f->params.n; i++)
    if (f->params.v[i]->role == ROLE_MUT) r->bounds[n++] = arena_array(r->a, double, elements(&r->params[i]) + 1);
  return fn_interpret(f, r->theirs, r->ref, r->bounds, fault);
}

typedef struct Built { Plan *plan; CallEntry *entry; } Built;

static void forget(Compiled *c) {
  free(c->text);
  if (c->module) jit_release(c->module);
  *c = (Compiled){0};
}

// The module of a text, of which the harness keeps one; NULL after saying why.
static JitModule *compiled(Run *r, Compiled *c, const Buf *text) {
  JitError err = {0};
  if (c->text && !strcmp(c->text, text->s)) return c->module;
  forget(c);
  c->module = jit_compile(r->h->jit, text->s, text->n, &err);
  if (c->module) c->text = strdup(text->s);
  else say(r, "the compiler refused the text: %s", err.text);
  jit_error_clear(&err);
  return c->module;
}

static Built build(Run *r, bool no_fuse) {
  Built b = {0};
  PassOptions opt = { .verify = true, .no_fuse = no_fuse };
  const Machine *m = r->h->machine ? machine_by_name(r->h->machine) : machine_default("c");
  b.plan = passes_run(r->a, fn_copy(r->a, r->fn), m, &opt, NULL);
  if (!b.plan) {
    Buf text = buf_make(r->a);
    diags_print(r->d, &text, false);
    say(r, "the passes failed:\n%s", text.s);
    return b;
  }
  Buf text = buf_make(r->a), header = buf_make(r->a);
  EmitOptions e = { .target = &target_c, .jit = true };
  emit_plan(b.plan, &e, &text, &header);
  JitModule *module = compiled(r, &r->h->last[no_fuse], &text);
  if (module) b.entry = (CallEntry *)(uintptr_t)jit_symbol(module, "plait_entry");
  return b;
}

// ---- comparison --------------------------------------------------------------------------------

static bool agree(Scalar a, Scalar b, Dtype d, double bound) {
  if (isinf(bound)) return true;
  if (!dtype_is_float(d)) return a.i == b.i || (bound > 0 && fabs((double)a.i - (double)b.i) <= bound);
  if (isnan(a.f) || isnan(b.f)) return isnan(a.f) && isnan(b.f);
  if (isinf(a.f) || isinf(b.f)) return a.f == b.f;
  return fabs(a.f - b.f) <= bound;
}

static void compare_view(Run *r, const Tensor *t, const View *ref, const View *out, const double *bound) {
  int64_t n = elements(ref);
  if (t->fmt) return;         // bytes of blocks: compared through programs that read them
  Dtype w = dtype_wide(t->dtype);
  for (int64_t k = 0; k < n; k++) {
    r->o.elements++;
    if (isinf(bound[k])) { r->o.ambiguous++; continue; }
    Scalar a = dtype_load(t->dtype, ref->data, k), b = dtype_load(t->dtype, out->data, k);
    if (agree(a, b, w, bound[k])) continue;
    if (r->o.verdict == SAME) {
      r->o.verdict = DIFFERENT;
      if (dtype_is_float(w)) say(r, "%s, element %lld: interpreter %.9g, kernels %.9g, differ by %.3g, bound %.3g\n", t->name, (long long)k, a.f, b.f, fabs(a.f - b.f), bound[k]);
      else say(r, "%s, element %lld: interpreter %lld, kernels %lld\n", t->name, (long long)k, (long long)a.i, (long long)b.i);
    }
  }
}

static void compare(Run *r) {
  Fn *f = r->fn;
  int n = 0;
  for (int i = 0; i < f->results.n; i++) compare_view(r, f->results.v[i], &r->ref[i], &r->out[i], r->bounds[n++]);
  for (int i = 0; i < f->params.n; i++)
    if (f->params.v[i]->role == ROLE_MUT) compare_view(r, f->params.v[i], &r->theirs[i], &r->mine[i], r->bounds[n++]);
}

static void run_built(Run *r, const Built *b, bool ref_ok, const Fault *ref_fault) {
  Fault fault = {0};
  results(r, &r->out);
  r->mine = copy_params(r);
  int64_t *dims = arena_array(r->a, int64_t, r->fn->dims.n + 1);
  memcpy(dims, r->dims, (size_t)r->fn->dims.n * sizeof *dims);
  CallStatus s = call_run(b->plan, b->entry, r->mine, dims, r->out, NULL, 0, &fault);
  if (s == CALL_OK && ref_ok) { compare(r); return; }
  if (s == CALL_FAULT && !ref_ok) { r->o.verdict = BOTH_FAULT; return; }
  r->o.verdict = DIFFERENT;
  say(r, "interpreter: %s; kernels: %s\n", ref_ok ? "fine" : ref_fault->text, s == CALL_OK ? "fine" : fault.text);
}

// How a run differs from the usual: code for all sizes, tensors that begin anywhere.
enum { WAY_USUAL, WAY_GENERAL, WAY_UNALIGNED, WAYS };

static void run_gpu(Run *r, bool no_fuse, int way, bool ref_ok, const Fault *ref_fault) {
  static char why[20000];
  GpuProgram p = { .name = r->name, .text = r->text, .entry = r->entry, .fn = r->fn, .no_fuse = no_fuse };
  p.general = way == WAY_GENERAL;
  p.unaligned = way == WAY_UNALIGNED;
  results(r, &r->out);
  r->mine = copy_params(r);
  GpuVerdict v = gpu_run(r->h->gpu, &p, r->mine, r->out, r->dims, why, sizeof why);
  if (v == GPU_RAN && ref_ok) { compare(r); if (r->o.verdict == SAME) return; }
  else if (v == GPU_FAULTED && !ref_ok) { r->o.verdict = BOTH_FAULT; return; }
  else say(r, "interpreter: %s; GPU: %.1500s\n", ref_ok ? "fine" : ref_fault->text, v == GPU_RAN ? "fine" : why);
  r->o.verdict = DIFFERENT;
  r->o.broken = v == GPU_FAILED;
  if (way) say(r, way == WAY_GENERAL ? "(code for all sizes)\n" : "(unaligned tensors)\n");
}

// The usual way, and one of the others.
static void on_gpu(Run *r, Rng *g, bool ref_ok, const Fault *ref_fault) {
  for (int pass = 0; pass < 2 * (1 + r->h->no_fuse) && r->o.verdict != DIFFERENT; pass++) {
    r->o.verdict = SAME;
    run_gpu(r, pass / 2, pass % 2 ? 1 + rng_below(g, WAYS - 1) : WAY_USUAL, ref_ok, ref_fault);
    if (r->o.verdict == DIFFERENT && pass / 2) say(r, "(with fusion off)\n");
  }
}

static void show_dims(Run *r) {
  say(r, "with");
  for (int i = 0; i < r->fn->dims.n; i++) say(r, " %s=%lld", r->fn->dims.v[i]->name, (long long)r->dims[i]);
  say(r, "\n");
}

static void both_ways(Run *r, Rng *g) {
  Fault ref_fault = {0};
  if (!arguments(r, g)) { r->o.verdict = REFUSED; return; }
  bool ok = interpret(r, &ref_fault);
  if (r->h->gpu) on_gpu(r, g, ok, &ref_fault);
  for (int pass = 0; pass <= r->h->no_fuse && r->o.verdict == SAME && !r->h->gpu; pass++) {
    Built b = build(r, pass);
    if (!b.entry) r->o.verdict = DIFFERENT;
    else run_built(r, &b, ok, &ref_fault);
    if (b.plan && !pass) r->o.kernels = b.plan->kernels.n;
    if (r->o.verdict == DIFFERENT && pass) say(r, "(with fusion off)\n");
  }
  if (r->o.verdict == DIFFERENT) show_dims(r);
}

Outcome diff_program(Harness *h, const char *name, const char *text, const char *entry, Rng *g) {
  Run r = { .h = h, .name = name, .text = text, .entry = entry, .a = arena_create() };
  r.d = diags_create(r.a);
  Program *p = program_load(r.a, intern_create(r.a), r.d, name, text, strlen(text), NULL, NULL);
  r.fn = r.d->errors ? NULL : program_elaborate(p, entry, r.a);
  if (r.fn) {
    both_ways(&r, g);
  } else {
    Buf b = buf_make(r.a);
    diags_print(r.d, &b, false);
    r.o.verdict = REFUSED;
    say(&r, "%s", b.s);
  }
  arena_destroy(r.a);
  return r.o;
}

void harness_close(Harness *h) {
  for (int k = 0; k < HARNESS_PASSES; k++) forget(&h->last[k]);
}
