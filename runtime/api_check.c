// api_check.c: --check-passes: the entry interpreted before and after each pass on equations, on random inputs.
//
// Both sides are ordinary functions and the interpreter is the meaning of the language, so this validates each pass on the
// program at hand. A difference counts when it exceeds the bound that the interpreter derives for compiled code; results in
// a block format are not compared, since a rounding step may go either way there.
#include "runtime/api_internal.h"
#include "passes/pass.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ATTEMPTS = 400, MOST_ELEMENTS = 1 << 12 };

typedef struct Trial {
  const plait_entry *e;
  Arena *a;
  uint64_t state;             // of the random numbers
  int64_t *dims;
  View *given, *params;       // as drawn; and the copies that a run may change
  View *results;
  double **bounds;            // of results, then of mut tensors
} Trial;

static uint64_t draw(Trial *t) {
  t->state = t->state * 6364136223846793005u + 1442695040888963407u;
  return t->state >> 33;
}

// ---- inputs ----

static void draw_block_field(Trial *t, const Format *f, const Field *x, char *data, int64_t bytes) {
  int n = x->array ? x->count : 1;
  for (char *block = data, *end = data + bytes; block < end; block += f->bytes)
    for (int i = 0; i < n; i++) {
      Scalar v = {.f = (double)(draw(t) % 17) / 16 - 0.5};
      if (!dtype_is_float(x->dtype)) v.i = (int64_t)(draw(t) % 16);
      dtype_store(x->dtype, block + x->offset, i, v);
    }
}

static void draw_elements(Trial *t, const Tensor *x, View *v, int64_t n, int64_t bytes) {
  for (int k = 0; x->fmt && k < x->fmt->nfields; k++) draw_block_field(t, x->fmt, &x->fmt->field[k], v->data, bytes);
  for (int64_t i = 0; !x->fmt && i < n; i++) {
    Scalar s = {.f = (double)(draw(t) % 129) / 32 - 2};
    if (!dtype_is_float(x->dtype)) s.i = (int64_t)(draw(t) % (x->dtype == DT_BOOL ? 2 : 4));
    dtype_store(x->dtype, v->data, i, s);
  }
}

static int64_t elements(const View *v) {
  int64_t n = 1;
  for (int k = 0; k < v->rank; k++) n *= v->extent[k];
  return n;
}

// Memory for a tensor with the extents of these dimensions; false when it cannot have them or would be too large.
static bool make_view(Trial *t, const Tensor *x, View *v) {
  Trouble quiet = {.program = t->e->program};
  v->rank = x->rank;
  bool good = tensor_extents(t->e->fn, x, t->dims, t->given, v->extent, &quiet) && elements(v) <= MOST_ELEMENTS;
  plait_messages_free(quiet.m);
  if (good) v->data = arena_alloc(t->a, (size_t)tensor_bytes(x, v->extent) + 8);
  return good;
}

// Dimensions from small numbers, later also from multiples of blocks; conditions such as H % G == 0 need several attempts.
static bool draw_inputs(Trial *t, int attempt) {
  static const int small[] = {1, 2, 3, 4, 4, 6, 2, 8}, large[] = {32, 64, 1, 2, 256, 2, 4, 32};
  const Fn *f = t->e->fn;
  Fault fault;
  for (int i = 0; i < f->dims.n; i++) t->dims[f->dims.v[i]->id] = (attempt % 2 ? large : small)[draw(t) % 8];
  for (int pass = 0; pass < 2; pass++)           // scalars first: extents may depend on them
    for (int i = 0; i < f->params.n; i++) {
      const Tensor *x = f->params.v[i];
      if ((x->rank == 0) != (pass == 0)) continue;
      if (!make_view(t, x, &t->given[i])) return false;
      draw_elements(t, x, &t->given[i], elements(&t->given[i]), tensor_bytes(x, t->given[i].extent));
    }
  for (int i = 0; i < f->results.n; i++)
    if (!make_view(t, f->results.v[i], &t->results[i])) return false;
  return fn_bind(f, t->given, t->dims, &fault);
}

// ---- runs ----

static void copy_params(Trial *t) {
  const Fn *f = t->e->fn;
  for (int i = 0; i < f->params.n; i++) {
    size_t bytes = (size_t)tensor_bytes(f->params.v[i], t->given[i].extent);
    t->params[i] = t->given[i];
    t->params[i].data = arena_alloc(t->a, bytes + 8);
    memcpy(t->params[i].data, t->given[i].data, bytes);
  }
}

// What the function writes: results, then mut tensors, as doubles one after the other.
static int written(const Trial *t, const Tensor **tensor, const View **view) {
  const Fn *f = t->e->fn;
  int n = 0;
  for (int i = 0; i < f->results.n; i++) tensor[n] = f->results.v[i], view[n++] = &t->results[i];
  for (int i = 0; i < f->params.n; i++)
    if (f->params.v[i]->role == ROLE_MUT) tensor[n] = f->params.v[i], view[n++] = &t->params[i];
  return n;
}

typedef struct Outcome { bool good; int n; const Tensor **tensor; int64_t *count; double **value; } Outcome;

static double number(const Tensor *x, const View *v, int64_t i) {
  Scalar s = dtype_load(x->dtype, v->data, i);
  return dtype_is_float(x->dtype) ? s.f : dtypes[dtype_wide(x->dtype)].kind == 'U' ? (double)s.u : (double)s.i;
}

static Outcome interpret(Trial *t, const Fn *f, double **bounds) {
  int most = f->results.n + f->params.n;
  Fault fault;
  Outcome o = {.tensor = arena_array(t->a, const Tensor *, most), .count = arena_array(t->a, int64_t, most), .value = arena_array(t->a, double *, most)};
  const View **view = arena_array(t->a, const View *, most);
  copy_params(t);
  o.good = fn_interpret(f, t->params, t->results, bounds, &fault);
  o.n = written(t, o.tensor, view);
  for (int k = 0; k < o.n; k++) {
    o.count[k] = o.tensor[k]->fmt ? 0 : elements(view[k]);
    o.value[k] = arena_array(t->a, double, o.count[k]);
    for (int64_t i = 0; i < o.count[k]; i++) o.value[k][i] = number(o.tensor[k], view[k], i);
  }
  return o;
}

static double **bounds_new(Trial *t) {
  int most = t->e->fn->results.n + t->e->fn->params.n;
  const Tensor **tensor = arena_array(t->a, const Tensor *, most);
  const View **view = arena_array(t->a, const View *, most);
  double **bounds = arena_array(t->a, double *, most);
  copy_params(t);
  int n = written(t, tensor, view);
  for (int k = 0; k < n; k++) bounds[k] = arena_array(t->a, double, elements(view[k]));
  return bounds;
}

static bool near_enough(double a, double b, double bound) { return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= bound || isinf(bound); }

static bool same_outcome(const Trial *t, const char *pass, const Outcome *before, const Outcome *after, plait_messages *m) {
  if (!after->good) return diag_error(m->d, E_internal, t->e->fn->at, "after pass `%s` the function refuses inputs that it took before", pass);
  for (int k = 0; k < before->n; k++)
    for (int64_t i = 0; i < before->count[k]; i++) {
      double a = before->value[k][i], b = after->value[k][i];
      if (near_enough(a, b, t->bounds[k][i])) continue;
      diag_error(m->d, E_internal, t->e->fn->at, "pass `%s` changes `%s`: element %" PRId64 " was %.9g and is %.9g", pass, before->tensor[k]->name, i, a, b);
      return false;
    }
  return true;
}

// ---- all passes ----

static bool draw_trial(Trial *t, Outcome *before) {
  for (int k = 0; k < ATTEMPTS; k++) {
    if (!draw_inputs(t, k)) continue;
    t->bounds = bounds_new(t);
    *before = interpret(t, t->e->fn, t->bounds);
    if (before->good) return true;
  }
  return false;
}

// The function as it is after one pass: passes_run changes it in place and stops.
static bool check_pass(Trial *t, const char *pass, const Outcome *before, const plait_build_options *o, plait_messages *m) {
  PassOptions po = {.disable = o->disable, .stop_after = pass, .no_fuse = o->no_fuse};
  const char *stopped;
  Fn *f = fn_copy(t->a, t->e->fn);
  f->d = m->d;
  passes_run(t->a, f, machine_default("c"), &po, &stopped);
  if (m->d->errors) return false;
  Outcome after = interpret(t, f, NULL);
  return same_outcome(t, pass, before, &after, m);
}

static void tell(const Trial *t, bool drawn, const plait_build_options *o) {
  Buf b = buf_make(t->a);
  if (!drawn) buf_puts(&b, "passes not checked: no inputs were found that the function takes\n");
  else buf_puts(&b, "passes checked on random inputs");
  for (int i = 0; drawn && i < t->e->fn->dims.n; i++) {
    const Dim *d = t->e->fn->dims.v[i];
    buf_printf(&b, "%s %s = %" PRId64, i ? "," : " with", d->name, t->dims[d->id]);
  }
  if (drawn) buf_putc(&b, '\n');
  if (o->dump) o->dump(o->user, "check-passes", b.s);
}

bool check_passes(const plait_entry *e, const plait_build_options *o, plait_messages *m) {
  Arena *a = arena_create();
  Trial t = {
    .e = e, .a = a, .state = 1, .dims = dims_new(a, e->fn), .given = arena_array(a, View, e->fn->params.n),
    .params = arena_array(a, View, e->fn->params.n), .results = arena_array(a, View, e->fn->results.n),
  };
  Outcome before;
  pthread_mutex_lock(&e->program->lock);
  bool drawn = draw_trial(&t, &before), good = true;
  for (int i = 0; drawn && good && i < npasses; i++)
    if (passes[i].stage == STAGE_FN) good = check_pass(&t, passes[i].name, &before, o, m);
  pthread_mutex_unlock(&e->program->lock);
  if (good) tell(&t, drawn, o);
  arena_destroy(a);
  return good;
}
