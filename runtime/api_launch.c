// api_launch.c: checking the arguments of a launch, and running it.
//
// A launch is refused before anything is written; what can only be seen in data on the way comes back as a Fault. A launch
// that succeeds takes no lock (but for the interpreter's) and, with scratch memory of the caller's, allocates nothing
// unless it has very many arguments.
#include "runtime/api_exec.h"
#include "base/limits.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// Memory of the arguments that the call writes or reads.
typedef struct Piece { const Tensor *t; uintptr_t lo, hi; bool written; } Piece;

typedef struct Call {
  const plait_exec *x;
  const plait_tensor *params, *results;
  bool trust;                 // addresses on a device are not asked about
  const Plan *plan;           // that runs; NULL for the interpreter
  const Variant *variant;     // "cuda"
  Trouble why;
  Bound b;
  View *result;
  int64_t *plan_dims;
  Piece *piece;
  void *own;                  // malloc'ed when the arguments are too many for the stack
} Call;

static const Fn *call_fn(const Call *c) { return c->x->entry->fn; }

// ---- memory of a call ----

enum { CALL_STACK = 1 << 13 };       // enough for some forty tensors

// The next n elements of memory; NULL memory: only counts.
static void *carve(char *memory, size_t *used, int n, size_t size) {
  void *p = memory ? memory + *used : NULL;
  *used += ((size_t)n * size + 15) / 16 * 16;
  return p;
}

static size_t place(Call *c, char *memory) {
  int np = call_fn(c)->params.n, nr = call_fn(c)->results.n;
  size_t used = 0;
  c->b.params = carve(memory, &used, np, sizeof *c->b.params);
  c->b.scalar = carve(memory, &used, np, sizeof *c->b.scalar);
  c->b.dims = carve(memory, &used, c->x->room, sizeof *c->b.dims);
  c->plan_dims = carve(memory, &used, c->x->room, sizeof *c->plan_dims);
  c->result = carve(memory, &used, nr, sizeof *c->result);
  c->piece = carve(memory, &used, np + nr, sizeof *c->piece);
  return used;
}

static bool call_open(Call *c, char *stack) {
  size_t bytes = place(c, NULL);
  if (bytes > CALL_STACK) c->own = malloc(bytes);
  if (bytes > CALL_STACK && !c->own) return diag_error(trouble(&c->why), E_no_memory, NO_SPAN, "%zu bytes cannot be had", bytes);
  place(c, c->own ? c->own : stack);
  memset(c->b.dims, 0, (size_t)c->x->room * sizeof *c->b.dims);
  memset(c->plan_dims, 0, (size_t)c->x->room * sizeof *c->plan_dims);
  return true;
}

// ---- checking arguments ----

static bool is_dense(const plait_tensor *t) {
  int64_t step = 1;
  for (int i = t->rank; t->stride && i-- > 0;) {
    if (t->extent[i] != 1 && t->stride[i] != step) return false;
    step *= t->extent[i];
  }
  return true;
}

static bool check_type(Call *c, const Tensor *t, const plait_tensor *given) {
  const char *want = t->fmt ? t->fmt->name : dtypes[t->dtype].name, *have = plait_dtype_name(given->dtype);
  if (given->dtype != dtype_public(t))
    diag_error(trouble(&c->why), E_call_dtype, t->at, "`%s` is %s, the argument %s", t->name, want, have ? have : "of no known type");
  else if (t->fmt && given->format && strcmp(given->format, t->fmt->name) != 0)
    diag_error(trouble(&c->why), E_call_dtype, t->at, "`%s` is in format %s, the argument in %s", t->name, want, given->format);
  else if (given->rank != t->rank)
    diag_error(trouble(&c->why), E_call_rank, t->at, "`%s` has %d dimension%s, the argument %d", t->name, t->rank, t->rank == 1 ? "" : "s", given->rank);
  else return true;
  return false;
}

// Extents that the type can have, dense, memory large enough and aligned.
static bool check_memory(Call *c, const Tensor *t, const plait_tensor *given) {
  int64_t bytes = tensor_bytes(t, given->extent);
  size_t align = t->fmt ? 1 : (size_t)(dtypes[t->dtype].bits + 7) / 8;
  if (bytes < 0) report_extents(t, given->extent, trouble(&c->why));
  else if (bytes && !is_dense(given)) diag_error(trouble(&c->why), E_call_layout, t->at, "`%s` is not dense in row-major order", t->name);
  else if (bytes && !given->data) diag_error(trouble(&c->why), E_call_layout, t->at, "`%s` has no memory: its pointer is null", t->name);
  else if ((uint64_t)bytes > given->bytes)
    diag_error(trouble(&c->why), E_call_layout, t->at, "`%s` needs %" PRId64 " bytes, its memory has %zu", t->name, bytes, given->bytes);
  else if (bytes && (uintptr_t)given->data % align)
    diag_error(trouble(&c->why), E_call_layout, t->at, "`%s` is not aligned to its elements of %zu bytes", t->name, align);
  else return true;
  return false;
}

static bool check_tensor(Call *c, const Tensor *t, const plait_tensor *given, View *out) {
  if (!check_type(c, t, given) || !check_memory(c, t, given)) return false;
  *out = (View){.data = given->data, .rank = t->rank};
  memcpy(out->extent, given->extent, sizeof out->extent);
  return true;
}

// A scalar may be left to its default.
static bool check_scalar(Call *c, const Tensor *t, const plait_tensor *given) {
  return !given->data || (check_type(c, t, given) && check_memory(c, t, given));
}

static bool check_params(Call *c) {
  const Fn *f = call_fn(c);
  bool good = true;
  for (int i = 0; i < f->params.n; i++) {
    const Tensor *t = f->params.v[i];
    bool scalar = c->x->entry->param[i].kind == PLAIT_SCALAR;
    good &= scalar ? check_scalar(c, t, &c->params[i]) : check_tensor(c, t, &c->params[i], &c->b.params[i]);
  }
  return good && bound_scalars(c->x->entry, c->params, &c->b, &c->why);
}

static bool check_dims(Call *c) {
  for (size_t i = 0; i < c->x->ndims; i++) {
    const Dim *d = call_fn(c)->dims.v[dim_index(call_fn(c), c->x->dims[i].name)];
    if (c->b.dims[d->id] == c->x->dims[i].value) continue;
    diag_error(trouble(&c->why), E_call_shape, d->at, "`%s` is %" PRId64 ", but this was prepared for %" PRId64, d->name, c->b.dims[d->id], c->x->dims[i].value);
    return false;
  }
  return true;
}

static bool check_result(Call *c, int i) {
  const Tensor *t = call_fn(c)->results.v[i];
  const plait_tensor *given = &c->results[i];
  int64_t extent[LIMIT_RANK];
  if (!tensor_extents(call_fn(c), t, c->b.dims, c->b.params, extent, &c->why)) return false;
  if (!check_tensor(c, t, given, &c->result[i])) return false;
  for (int k = 0; k < t->rank; k++)
    if (given->extent[k] != extent[k]) {
      diag_error(trouble(&c->why), E_call_shape, t->at, "extent %d of `%s` is %" PRId64 " here, the memory given has %" PRId64, k, t->name, extent[k], given->extent[k]);
      return false;
    }
  return true;
}

// ---- overlap ----

static Piece piece_of(const Tensor *t, const View *v, bool written) {
  uintptr_t lo = (uintptr_t)v->data;
  return (Piece){t, lo, lo + (uintptr_t)tensor_bytes(t, v->extent), written};
}

static bool overlaps(const Piece *a, const Piece *b) { return (a->written || b->written) && a->lo < b->hi && b->lo < a->hi; }

// All tensors of the call, in c->piece; their number.
static int pieces(Call *c) {
  const Fn *f = call_fn(c);
  int n = 0;
  for (int i = 0; i < f->params.n; i++)
    if (c->x->entry->param[i].kind != PLAIT_SCALAR) c->piece[n++] = piece_of(f->params.v[i], &c->b.params[i], f->params.v[i]->role == ROLE_MUT);
  for (int i = 0; i < f->results.n; i++) c->piece[n++] = piece_of(f->results.v[i], &c->result[i], true);
  return n;
}

static bool check_overlap(Call *c) {
  const Piece *piece = c->piece;
  int n = pieces(c);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < i; k++)
      if (overlaps(&piece[i], &piece[k])) {
        diag_error(trouble(&c->why), E_call_overlap, piece[i].t->at, "`%s` and `%s` share memory, and one of them is written", piece[k].t->name, piece[i].t->name);
        return false;
      }
  return true;
}

static bool check_count(Call *c, size_t nparams, size_t nresults) {
  const Fn *f = call_fn(c);
  if (nparams == (size_t)f->params.n && nresults == (size_t)f->results.n) return true;
  diag_error(trouble(&c->why), E_call_arguments, f->at, "`%s` has %d parameter%s and %d result%s, the call %zu and %zu", f->name, f->params.n, f->params.n == 1 ? "" : "s",
             f->results.n, f->results.n == 1 ? "" : "s", nparams, nresults);
  return false;
}

static bool is_aligned(const Tensor *t, const View *v) { return !t->rank || t->fmt || (uintptr_t)v->data % EXEC_ALIGN == 0; }

// Blocks of formats are read byte by byte.
static bool all_aligned(const Call *c) {
  const Fn *f = call_fn(c);
  bool all = true;
  for (int i = 0; i < f->params.n; i++) all &= is_aligned(f->params.v[i], &c->b.params[i]);
  for (int i = 0; i < f->results.n && c->results; i++) all &= is_aligned(f->results.v[i], &c->result[i]);
  return all;
}

// The plan for these dimensions, which a GPU may have several of, and their values as it numbers them.
static bool choose_plan(Call *c) {
  const plait_exec *x = c->x;
  const Fn *f = call_fn(c);
  if (x->kind == EXEC_REF) return true;
  if (x->kind == EXEC_CUDA && !(c->variant = exec_variant(x, c->b.dims, all_aligned(c), &c->why))) return false;
  c->plan = c->variant ? c->variant->build.plan : x->build.plan;
  const int *plan_dim = c->variant ? c->variant->plan_dim : x->plan_dim;
  for (int i = 0; i < f->dims.n; i++)
    if (plan_dim[i] >= 0) c->plan_dims[plan_dim[i]] = c->b.dims[f->dims.v[i]->id];
  return true;
}

static bool bind(Call *c) {
  Fault fault;
  const Fn *f = call_fn(c);
  if (!check_params(c)) return false;
  if (!fn_bind(f, c->b.params, c->b.dims, &fault)) return diag_error(trouble(&c->why), fault.code, fault.at, "%s", fault.text);
  return check_dims(c);
}

// A host pointer in a kernel would end the use of the device for the whole process.
static bool check_addresses(Call *c) {
  const CudaDevice *d = exec_device(c->x->cuda);
  int n = pieces(c);
  for (int i = 0; i < n; i++) {
    const Piece *p = &c->piece[i];
    if (p->lo == p->hi || cuda_knows(d, (const void *)p->lo)) continue;
    diag_error(trouble(&c->why), E_call_layout, p->t->at, "`%s` does not lie in memory that device %d can use", p->t->name, d->number);
    diag_help(c->why.m->d, "copy it to memory from plait_device_alloc or cudaMalloc");
    return false;
  }
  return true;
}

static bool check_call(Call *c) {
  if (!bind(c)) return false;
  bool good = true;
  for (int i = 0; i < call_fn(c)->results.n; i++) good &= check_result(c, i);
  good = good && check_overlap(c);
  return good && (c->x->kind != EXEC_CUDA || c->trust || check_addresses(c)) && choose_plan(c);
}

// ---- running ----

static int64_t scratch_bytes(Call *c) {
  int64_t n = c->plan ? call_scratch_bytes(c->plan, c->plan_dims, c->b.params) : 0;
  if (n < 0) diag_error(trouble(&c->why), E_limit_extent, call_fn(c)->at, "the temporaries of `%s` are too large", call_fn(c)->name);
  return n;
}

static CallStatus interpret(const Call *c, Fault *fault) {
  plait_program *p = c->x->entry->program;
  pthread_mutex_lock(&p->lock);
  bool good = fn_interpret(call_fn(c), c->b.params, c->result, NULL, fault);
  pthread_mutex_unlock(&p->lock);
  return good ? CALL_OK : CALL_FAULT;
}

static CallStatus run_cuda(Call *c, const plait_launch_options *o, Fault *fault) {
  CudaError e = {0};
  CudaRun r = {
    .params = c->b.params, .results = c->result, .dims = c->plan_dims, .scratch = o->scratch, .scratch_bytes = o->scratch_bytes,
    .stream = o->stream, .wait = o->wait, .ms = o->ms, .replay = o->replay,
  };
  CallStatus s = cuda_plan_run(c->variant->run, &r, fault, &e);
  if (s == CALL_DEVICE) report_cuda(trouble(&c->why), &e);
  return s;
}

static CallStatus run_here(const Call *c, const plait_launch_options *o, Fault *fault) {
  double since = o->ms ? now_ms() : 0;
  CallStatus s = c->x->kind == EXEC_REF ? interpret(c, fault)
    : call_run(c->plan, c->x->run, c->b.params, c->plan_dims, c->result, o->scratch, o->scratch_bytes, fault);
  if (o->ms) *o->ms = now_ms() - since;
  return s;
}

static void run(Call *c, const plait_launch_options *o) {
  Fault fault = {0};
  CallStatus s = c->x->kind == EXEC_CUDA ? run_cuda(c, o, &fault) : run_here(c, o, &fault);
  if (s == CALL_FAULT) {
    trouble(&c->why);
    messages_fault(c->why.m, &fault);
  }
  int64_t need = s == CALL_SCRATCH || s == CALL_MEMORY ? scratch_bytes(c) : -1;
  if (s == CALL_SCRATCH)
    diag_error(trouble(&c->why), E_call_layout, NO_SPAN, "the scratch memory needs %" PRId64 " bytes, aligned to %d", need, CALL_SCRATCH_ALIGN);
  else if (s == CALL_MEMORY && need >= 0)
    diag_error(trouble(&c->why), E_no_memory, NO_SPAN, "%" PRId64 " bytes of scratch memory cannot be had", need);
}

plait_status plait_launch(const plait_exec *x, const plait_tensor *params, size_t nparams, const plait_tensor *results, size_t nresults,
                          const plait_launch_options *options, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!x || (!params && nparams) || (!results && nresults)) return PLAIT_ERROR_USAGE;
  plait_launch_options o;
  options_copy(&o, sizeof o, options);
  Call c = {.x = x, .params = params, .results = results, .trust = o.trust_pointers, .why = {.program = x->entry->program}};
  _Alignas(16) char stack[CALL_STACK];
  if (!check_count(&c, nparams, nresults)) return messages_give_as(c.why.m, PLAIT_ERROR_USAGE, messages);
  if (call_open(&c, stack) && check_call(&c)) run(&c, &o);
  free(c.own);
  return trouble_give(&c.why, messages);
}

plait_status plait_exec_scratch(const plait_exec *x, const plait_tensor *params, size_t nparams, size_t *bytes, size_t *alignment,
                                plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!x || (!params && nparams) || !bytes) return PLAIT_ERROR_USAGE;
  Call c = {.x = x, .params = params, .why = {.program = x->entry->program}};
  _Alignas(16) char stack[CALL_STACK];
  if (!check_count(&c, nparams, (size_t)call_fn(&c)->results.n)) return messages_give_as(c.why.m, PLAIT_ERROR_USAGE, messages);
  int64_t n = call_open(&c, stack) && bind(&c) && choose_plan(&c) ? scratch_bytes(&c) : -1;
  free(c.own);
  plait_status s = trouble_give(&c.why, messages);
  if (s) return s;
  *bytes = (size_t)n;
  if (alignment) *alignment = CALL_SCRATCH_ALIGN;
  return PLAIT_OK;
}

plait_status plait_exec_wait(const plait_exec *x, void *stream, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!x) return PLAIT_ERROR_USAGE;
  Trouble why = {.program = x->entry->program};
  for (size_t i = 0; x->cuda && exec_variant_at(x->cuda, i); i++) {
    Fault fault = {0};
    CudaError e = {0};
    CallStatus s = cuda_plan_wait(exec_variant_at(x->cuda, i)->run, stream, &fault, &e);
    if (s == CALL_OK || why.m) {         // all are asked, so that none is reported another time
      cuda_error_clear(&e);
      continue;
    }
    trouble(&why);
    if (s == CALL_DEVICE) report_cuda(why.m->d, &e);
    else messages_fault(why.m, &fault);
  }
  return trouble_give(&why, messages);
}
