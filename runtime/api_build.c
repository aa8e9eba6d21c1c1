// api_build.c: running the passes for the public interface; plait_emit and the list of passes.
#include "runtime/api_internal.h"
#include "codegen/target.h"
#include "passes/pass.h"
#include <string.h>

int plait_pass_get(size_t i, const char **name, const char **what, int *required) {
  if (i >= (size_t)npasses) return 0;
  if (name) *name = passes[i].name;
  if (what) *what = passes[i].what;
  if (required) *required = (passes[i].flags & PASS_REQUIRED) != 0;
  return 1;
}

enum { EMIT_ARCH = 90 };     // without options->arch: fixed, so that the same program gives the same text on every machine

// ---- options ----

static const Pass *pass_find(const char *name, size_t n) {
  for (int i = 0; i < npasses; i++)
    if (strlen(passes[i].name) == n && strncmp(passes[i].name, name, n) == 0) return &passes[i];
  return NULL;
}

static const Pass *check_pass(plait_messages *m, const char *name, size_t n) {
  const Pass *p = pass_find(name, n);
  if (p) return p;
  const char **names = arena_array(m->a, const char *, npasses);
  for (int i = 0; i < npasses; i++) names[i] = passes[i].name;
  const char *word = arena_strndup(m->a, name, n);
  diag_error(m->d, E_bad_option, NO_SPAN, "there is no pass `%s`", word);
  help_nearest(m->d, word, names, npasses, "`plait help passes` lists them");
  return NULL;
}

static void check_disabled(plait_messages *m, const char *list) {
  for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',') {
    const Pass *pass = check_pass(m, p, strcspn(p, ","));
    if (pass && pass->flags & PASS_REQUIRED) diag_error(m->d, E_bad_option, NO_SPAN, "pass `%s` is required and cannot be left out", pass->name);
  }
}

bool build_check(const plait_entry *e, const plait_build_options *o, plait_messages *m) {
  check_disabled(m, o->disable);
  if (o->stop_after) check_pass(m, o->stop_after, strlen(o->stop_after));
  if (o->dump_after && strcmp(o->dump_after, "all") != 0) check_pass(m, o->dump_after, strlen(o->dump_after));
  if ((unsigned)o->dependent > PLAIT_DEPENDENT_OFF) diag_error(m->d, E_bad_option, NO_SPAN, "there is no kind %d of dependent launches", (int)o->dependent);
  return dims_check(e, o->dims, o->ndims, m);
}

// ---- the passes ----

static PassOptions pass_options(const plait_build_options *o) {
  return (PassOptions){
    .disable = o->disable, .stop_after = o->stop_after, .dump_after = o->dump_after, .verify = o->verify,
    .no_fuse = o->no_fuse, .dump = o->dump, .dump_cx = o->user, .timing = o->timing, .timing_cx = o->user,
  };
}

// Dimensions with a value become numbers everywhere, and are dimensions no more.
typedef struct Known { const plait_dim *dims; size_t n; } Known;

static const plait_dim *known_dim(const Known *k, const char *name) {
  for (size_t i = 0; i < k->n; i++)
    if (strcmp(k->dims[i].name, name) == 0) return &k->dims[i];
  return NULL;
}

static Expr *number_for(void *cx, ExprTable *x, Expr *e) {
  const plait_dim *d = e->op == OP_DIM ? known_dim(cx, e->u.dim->name) : NULL;
  return d ? expr_int(x, DT_I64, d->value, e->at) : e;
}

static void map_all(Fn *f, int n, Expr **e, Known *k) {
  for (int i = 0; i < n; i++)
    if (e[i]) e[i] = expr_map(f->x, e[i], number_for, k);
}

static void specialise(Fn *f, const plait_build_options *o) {
  Known k = {o->dims, o->ndims};
  if (!k.n) return;
  for (int i = 0; i < f->tensors.n; i++) map_all(f, f->tensors.v[i]->rank, f->tensors.v[i]->extent, &k);
  for (int i = 0; i < f->eqns.n; i++) {
    Eqn *q = f->eqns.v[i];
    map_all(f, q->n, q->extent, &k);
    map_all(f, q->nstore, q->store, &k);
    map_all(f, 1, &q->body, &k);
    map_all(f, 1, &q->cond, &k);
  }
  for (int i = 0; i < f->where.n; i++) map_all(f, 1, &f->where.v[i].e, &k);
  int nsources = 0, ndims = 0;
  for (int i = 0; i < f->sources.n; i++) {
    DimSource *s = &f->sources.v[i];
    map_all(f, 1, &s->scale, &k);
    map_all(f, 1, &s->offset, &k);
    if (!known_dim(&k, s->dim->name)) f->sources.v[nsources++] = *s;
  }
  for (int i = 0; i < f->dims.n; i++)
    if (!known_dim(&k, f->dims.v[i]->name)) f->dims.v[ndims++] = f->dims.v[i];
  f->sources.n = nsources;
  f->dims.n = ndims;
}

static void build_copy(const plait_entry *e, const plait_build_options *o, Build *b, plait_messages *m) {
  b->fn = fn_copy(b->a, e->fn);
  b->fn->d = m->d;
  specialise(b->fn, o);
}

// The machine that the passes work for.
static bool find_machine(const char *target, const plait_build_options *o, const Build *b, Machine *machine, Diags *d) {
  int arch;
  char feature;
  *machine = *machine_default(target);
  if (strcmp(target, "cuda") != 0) return true;
  if (!arch_of(o->arch, EMIT_ARCH, &arch, &feature, d)) return false;
  *machine = *machine_of_arch(arch);
  if (b->unaligned) machine->vector_bytes = 1;
  return true;
}

bool build_run(const plait_entry *e, const char *target, const plait_build_options *o, Build *b, plait_messages *m) {
  PassOptions po = pass_options(o);
  plait_program *p = e->program;
  Machine machine;
  if (!find_machine(target, o, b, &machine, m->d) || (o->check && !check_passes(e, o, m))) return false;
  pthread_mutex_lock(&p->lock);
  build_copy(e, o, b, m);
  b->plan = passes_run(b->a, b->fn, &machine, &po, &b->stopped);
  pthread_mutex_unlock(&p->lock);
  if (!b->plan && !b->stopped && !m->d->errors) diag_error(m->d, E_internal, e->fn->at, "`%s` cannot be compiled, and no pass says why", e->fn->name);
  return !m->d->errors;
}

// ---- emit ----

static const char *const stages[] = {"fn", "fused", "schedule", "kernel", "c", "cuda", "ptx"};
enum { NSTAGES = sizeof stages / sizeof *stages };

static bool check_stage(const char *stage, plait_messages *m) {
  for (int i = 0; i < NSTAGES; i++)
    if (strcmp(stages[i], stage) == 0) return true;
  diag_error(m->d, E_bad_option, NO_SPAN, "there is no stage `%s`", stage);
  help_nearest(m->d, stage, stages, NSTAGES, "the stages are fn, fused, schedule, kernel, c, cuda and ptx");
  return false;
}

static bool is(const char *stage, const char *name) { return stage && strcmp(stage, name) == 0; }

// The target of a stage's passes.
static const char *stage_target(const char *stage, const plait_build_options *o) {
  return is(stage, "cuda") || is(stage, "ptx") || is(stage, "cubin") || o->arch ? "cuda" : "c";
}

// The last pass on equations, or the first on plans.
static const char *pass_at(Stage stage) {
  int i = 0;
  while (i < npasses && passes[i].stage == STAGE_FN) i++;
  return passes[stage == STAGE_FN ? i - 1 : i].name;
}

// ---- GPU text and code ----

// `kernels`: kernels alone, for a compiler; else a file for people.
static bool print_cuda(const plait_entry *e, const plait_build_options *o, const Build *b, bool kernels, GpuRequest *r, Buf *text, Buf *header, plait_messages *m) {
  Launches launches = {0};
  EmitOptions eo = {.jit = kernels, .dependent = (Dependent)o->dependent, .header = header};
  double since = now_ms();
  if (!arch_of(o->arch, EMIT_ARCH, &r->arch, &r->feature, m->d) || !cuda_text(e, b->plan, r->arch, &eo, 0, text, &launches, m->d)) return false;
  if (o->timing) o->timing(o->user, "emit", now_ms() - since);
  return true;
}

static bool compile_cuda(const plait_entry *e, const plait_build_options *o, const Build *b, bool ptx, Buf *out, plait_messages *m) {
  Buf text = buf_make(b->a);
  GpuRequest r = {.ptx = ptx};
  GpuCode code = {0};
  CudaError error = {0};
  char compiler[64];
  if (!print_cuda(e, o, b, true, &r, &text, NULL, m)) return false;
  r.text = text.s;
  r.len = text.n;
  r.library = cuda_functions(e, b->a);
  double since = now_ms();
  bool good = cuda_compile_exactly(e->program->cx->cuda, &r, &code, compiler, &error) || report_cuda(m->d, &error);
  if (good) buf_putn(out, code.bytes, code.size);
  gpu_code_free(&code);
  if (o->timing) o->timing(o->user, "compile", now_ms() - since);
  return good;
}

static bool print_gpu(const plait_entry *e, const char *stage, const plait_build_options *o, const Build *b, Buf *text, Buf *header, plait_messages *m) {
  GpuRequest r;
  return is(stage, "cuda") ? print_cuda(e, o, b, false, &r, text, header, m) : compile_cuda(e, o, b, is(stage, "ptx"), text, m);
}

// ---- stages ----

static void print_target(const plait_entry *e, const plait_build_options *o, const Build *b, Buf *text, Buf *header) {
  EmitOptions eo = {.target = &target_c};
  double since = now_ms();
  pthread_mutex_lock(&e->program->lock);
  emit_plan(b->plan, &eo, text, header);
  pthread_mutex_unlock(&e->program->lock);
  if (o->timing) o->timing(o->user, "emit", now_ms() - since);
}

static void print_fn(const plait_entry *e, const plait_build_options *o, Build *b, Buf *text, plait_messages *m) {
  pthread_mutex_lock(&e->program->lock);
  build_copy(e, o, b, m);
  fn_print(b->fn, text);
  pthread_mutex_unlock(&e->program->lock);
}

static bool print_stage(const plait_entry *e, const char *stage, plait_build_options *o, Build *b, Buf *text, Buf *header, plait_messages *m) {
  bool fn = is(stage, "fn"), gpu = strcmp(stage_target(stage, o), "cuda") == 0;
  if (fn) print_fn(e, o, b, text, m);
  if (fn && !o->dump_after && !o->timing && !o->check) return true;
  if (!o->stop_after && is(stage, "fused")) o->stop_after = pass_at(STAGE_FN);
  if (!o->stop_after && is(stage, "schedule")) o->stop_after = pass_at(STAGE_PLAN);
  if (!build_run(e, stage_target(stage, o), o, b, m)) return false;
  if (fn) return true;
  if (b->stopped) buf_puts(text, b->stopped);
  else if (is(stage, "kernel")) plan_print(b->plan, text);
  else if (gpu) return print_gpu(e, stage, o, b, text, header, m);
  else print_target(e, o, b, text, header);
  return true;
}

typedef struct Emitted { char *text, *header; size_t size; } Emitted;

static plait_status emit_stage(const plait_entry *e, const char *stage, plait_build_options *o, bool header, Emitted *out, plait_messages *m,
                               plait_messages **messages) {
  Build b = {.a = arena_create()};
  Buf t = buf_make(b.a), h = buf_make(b.a);
  bool good = print_stage(e, stage, o, &b, &t, header ? &h : NULL, m);
  *out = (Emitted){good ? text_give(&t, NULL) : NULL, good && header ? text_give(&h, NULL) : NULL, t.n};
  plait_status s = messages_give(m, messages);
  arena_destroy(b.a);
  if (!s) return PLAIT_OK;
  plait_free(out->text);
  plait_free(out->header);
  return s;
}

plait_status plait_emit(const plait_entry *e, const char *stage, const plait_build_options *options, char **text, char **header,
                        plait_messages **messages) {
  if (messages) *messages = NULL;
  plait_build_options o;
  Emitted made;
  options_copy(&o, sizeof o, options);
  if (!e || !text || (!stage && !o.stop_after) || (o.ndims && !o.dims)) return PLAIT_ERROR_USAGE;
  plait_messages *m = messages_new(e->program);
  if ((stage && !check_stage(stage, m)) || !build_check(e, &o, m)) return messages_give_as(m, PLAIT_ERROR_USAGE, messages);
  plait_status s = emit_stage(e, stage, &o, header != NULL, &made, m, messages);
  if (s) return s;
  *text = made.text;
  if (header) *header = made.header;
  return PLAIT_OK;
}

plait_status plait_emit_code(const plait_entry *e, const char *kind, const plait_build_options *options, char **code, size_t *size,
                             plait_messages **messages) {
  if (messages) *messages = NULL;
  plait_build_options o;
  Emitted made;
  options_copy(&o, sizeof o, options);
  if (!e || !code || !size || (!is(kind, "ptx") && !is(kind, "cubin")) || (o.ndims && !o.dims)) return PLAIT_ERROR_USAGE;
  plait_messages *m = messages_new(e->program);
  o.stop_after = NULL;
  if (!build_check(e, &o, m)) return messages_give_as(m, PLAIT_ERROR_USAGE, messages);
  plait_status s = emit_stage(e, kind, &o, false, &made, m, messages);
  if (s) return s;
  *code = made.text;
  *size = made.size;
  return PLAIT_OK;
}
