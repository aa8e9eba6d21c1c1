// api_shape.c: from the extents that a caller knows to those of everything, and the bytes that they ask for.
#include "runtime/api_internal.h"
#include "base/limits.h"
#include <inttypes.h>
#include <string.h>

int dim_index(const Fn *f, const char *name) {
  for (int i = 0; i < f->dims.n; i++)
    if (strcmp(f->dims.v[i]->name, name) == 0) return i;
  return -1;
}

int dims_room(const Fn *f) {
  int room = f->x->next_dim;
  for (int i = 0; i < f->dims.n; i++)
    if (f->dims.v[i]->id >= room) room = f->dims.v[i]->id + 1;
  return room;
}

int64_t *dims_new(Arena *a, const Fn *f) { return arena_array(a, int64_t, dims_room(f)); }

// ---- bytes ----

static bool count_elements(int rank, const int64_t *extent, int64_t *out) {
  *out = 1;
  bool none = false;
  for (int i = 0; i < rank; i++) {
    if (extent[i] < 0 || extent[i] > LIMIT_EXTENT) return false;
    none |= extent[i] == 0;
  }
  for (int i = 0; i < rank && !none; i++)
    if (__builtin_mul_overflow(*out, extent[i], out) || *out > LIMIT_EXTENT) return false;
  if (none) *out = 0;
  return true;
}

// bits: of one element; blocks of `values` elements in `bytes` bytes when bytes > 0.
static int64_t count_bytes(int bits, int64_t values, int64_t bytes, int rank, const int64_t *extent) {
  int64_t n, last = rank ? extent[rank - 1] : 1;
  if (!count_elements(rank, extent, &n)) return -1;
  if (bytes > 0) return last % values ? -1 : n / values * bytes;       // at most 2^40 values, each of less than 2^12 bytes
  if (bits == 4) return last % 2 ? -1 : n / 2;
  return n * (bits / 8);
}

int64_t tensor_bytes(const Tensor *t, const int64_t *extent) {
  return count_bytes(dtypes[t->dtype].bits, t->fmt ? t->fmt->block : 1, t->fmt ? t->fmt->bytes : 0, t->rank, extent);
}

int64_t plait_param_bytes(const plait_param *p, const plait_shape *shape) {
  if (!p || !shape || shape->rank != p->rank) return -1;
  return count_bytes(plait_dtype_bits(p->dtype), p->block_values, p->block_bytes, shape->rank, shape->extent);
}

// ---- scalars ----

static bool scalar_default(const plait_entry *e, int i, char *out) {
  const Fn *f = e->fn;
  Scalar v;
  if (i >= f->defaults.n || !f->defaults.v[i] || !expr_fold(f->defaults.v[i], &v)) return false;
  dtype_store(f->params.v[i]->dtype, out, 0, v);
  return true;
}

bool bound_scalars(const plait_entry *e, const plait_tensor *params, Bound *b, Trouble *why) {
  bool good = true;
  for (int i = 0; i < e->fn->params.n; i++) {
    const Tensor *t = e->fn->params.v[i];
    if (e->param[i].kind != PLAIT_SCALAR) continue;
    b->params[i] = (View){.data = b->scalar[i]};
    if (params[i].data) memcpy(b->scalar[i], params[i].data, (size_t)dtypes[t->dtype].bits / 8);
    else if (!scalar_default(e, i, b->scalar[i])) good = diag_error(trouble(why), E_call_arguments, t->at, "scalar `%s` has no value and no default", t->name);
  }
  return good;
}

// ---- dimensions ----

typedef struct Solver {
  const Fn *f;
  Arena *a;
  Diags *d;
  Bound *b;
  bool *known;                // of each dimension, by position in f->dims
  int unknown, last;          // dimensions of the expression in work that are not known, and one of them
} Solver;

static int position_of(const Solver *s, const Dim *dim) {
  for (int i = 0; i < s->f->dims.n; i++)
    if (s->f->dims.v[i]->id == dim->id) return i;
  return -1;
}

static void count_unknown(void *cx, Expr *e) {
  Solver *s = cx;
  int i = e->op == OP_DIM ? position_of(s, e->u.dim) : -1;
  if (i < 0 || s->known[i]) return;
  s->unknown++;
  s->last = i;
}

static bool extent_with(const Solver *s, const Expr *e, int position, int64_t v, int64_t *out) {
  Scalar x;
  s->b->dims[s->f->dims.v[position]->id] = v;
  if (!fn_eval_scalar(s->f, e, s->b->dims, s->b->params, &x)) return false;
  *out = x.i;
  return true;
}

// An extent with one unknown dimension that is linear in it decides the dimension: v0 + slope·dim.
static bool solve_extent(Solver *s, Expr *e, int64_t extent) {
  int64_t v0, v1, slope, rest, again;
  s->unknown = 0;
  expr_visit(s->a, e, count_unknown, s);
  if (s->unknown != 1) return false;
  int k = s->last;
  if (!extent_with(s, e, k, 0, &v0) || !extent_with(s, e, k, 1, &v1)) return false;
  if (__builtin_sub_overflow(v1, v0, &slope) || __builtin_sub_overflow(extent, v0, &rest)) return false;
  if (slope == 0 || slope == -1 || rest % slope != 0 || rest / slope < 0 || rest / slope > LIMIT_EXTENT) return false;
  return s->known[k] = extent_with(s, e, k, rest / slope, &again) && again == extent;
}

static void solve_all(Solver *s, const plait_tensor *params) {
  for (bool more = true; more;) {
    more = false;
    for (int i = 0; i < s->f->params.n; i++) {
      const Tensor *t = s->f->params.v[i];
      for (int k = 0; k < t->rank && params[i].rank == t->rank; k++) more |= solve_extent(s, t->extent[k], params[i].extent[k]);
    }
  }
}

bool dims_check(const plait_entry *e, const plait_dim *dims, size_t n, plait_messages *m) {
  const Fn *f = e->fn;
  const char **names = arena_array(m->a, const char *, f->dims.n + 1);
  for (int k = 0; k < f->dims.n; k++) names[k] = f->dims.v[k]->name;
  for (size_t i = 0; i < n; i++) {
    if (dims[i].value < 0 || dims[i].value > LIMIT_EXTENT)
      diag_error(m->d, E_call_extent, f->at, "dimension `%s` cannot be %" PRId64, dims[i].name, dims[i].value);
    if (dim_index(f, dims[i].name) >= 0) continue;
    diag_error(m->d, E_bad_option, NO_SPAN, "`%s` has no dimension `%s`", f->name, dims[i].name);
    help_nearest(m->d, dims[i].name, names, f->dims.n, arena_printf(m->a, "its signature: %s", e->signature));
  }
  return !m->d->errors;
}

static void take_dims(Solver *s, const plait_dim *dims, size_t n) {
  for (size_t i = 0; i < n; i++) {
    int k = dim_index(s->f, dims[i].name);
    s->known[k] = true;
    s->b->dims[s->f->dims.v[k]->id] = dims[i].value;
  }
}

static bool report_missing(const Solver *s) {
  Buf names = buf_make(s->a), example = buf_make(s->a);
  int n = 0;
  for (int i = 0; i < s->f->dims.n; i++) {
    if (s->known[i]) continue;
    buf_printf(&names, "%s`%s`", n++ ? ", " : "", s->f->dims.v[i]->name);
    buf_printf(&example, " -D %s=%d", s->f->dims.v[i]->name, n == 1 ? 4096 : 1024);
  }
  if (!n) return true;
  diag_error(s->d, E_call_shape, s->f->at, "dimension%s %s of `%s` %s not decided by the arguments", n > 1 ? "s" : "", names.s, s->f->name, n > 1 ? "are" : "is");
  diag_help(s->d, "give %s, for example%s, or an argument's shape", n > 1 ? "their values" : "its value", example.s);
  return false;
}

void report_extents(const Tensor *t, const int64_t *extent, Diags *d) {
  int64_t n;
  for (int k = 0; k < t->rank; k++)
    if (extent[k] < 0 || extent[k] > LIMIT_EXTENT) {
      diag_error(d, E_call_extent, t->at, "extent %d of `%s` cannot be %" PRId64, k, t->name, extent[k]);
      return;
    }
  if (!count_elements(t->rank, extent, &n)) {
    diag_error(d, E_limit_extent, t->at, "`%s` would have more than 2^40 elements", t->name);
    return;
  }
  diag_error(d, E_call_block, t->at, "the last extent of `%s` is %" PRId64 ", which does not fill whole %s", t->name, extent[t->rank - 1],
             t->fmt ? "blocks" : "bytes");
}

static bool check_ranks(const plait_entry *e, const plait_tensor *params, Diags *d) {
  for (int i = 0; i < e->fn->params.n; i++) {
    const Tensor *t = e->fn->params.v[i];
    if (params[i].rank >= 0 && params[i].rank != t->rank)
      diag_error(d, E_call_rank, t->at, "`%s` has %d dimension%s, the argument %d", t->name, t->rank, t->rank == 1 ? "" : "s", params[i].rank);
    else if (params[i].rank > 0 && tensor_bytes(t, params[i].extent) < 0)
      report_extents(t, params[i].extent, d);
  }
  return !d->errors;
}

bool tensor_extents(const Fn *f, const Tensor *t, const int64_t *dims, const View *params, int64_t *extent, Trouble *why) {
  for (int k = 0; k < t->rank; k++) {
    Scalar v;
    if (!fn_eval_scalar(f, t->extent[k], dims, params, &v)) {
      diag_error(trouble(why), E_call_extent, t->at, "extent %d of `%s` is too large", k, t->name);
      return false;
    }
    extent[k] = v.i;
  }
  if (tensor_bytes(t, extent) >= 0) return true;
  report_extents(t, extent, trouble(why));
  return false;
}

// Extents of all params, given or computed; then the interpreter's own check of agreement.
static bool complete(Solver *s, const plait_tensor *params, Trouble *why) {
  const Fn *f = s->f;
  Fault fault;
  for (int i = 0; i < f->params.n; i++) {
    View *v = &s->b->params[i];
    v->rank = f->params.v[i]->rank;
    if (params[i].rank >= 0) memcpy(v->extent, params[i].extent, sizeof v->extent);
    else if (!tensor_extents(f, f->params.v[i], s->b->dims, s->b->params, v->extent, why)) return false;
  }
  if (fn_bind(f, s->b->params, s->b->dims, &fault)) return true;
  diag_error(trouble(why), fault.code, fault.at, "%s", fault.text);
  return false;
}

static bool infer(const plait_entry *e, const plait_tensor *params, const plait_dim *dims, size_t ndims, Bound *b, plait_messages *m) {
  Trouble why = {e->program, m};
  Solver s = {.f = e->fn, .a = m->a, .d = m->d, .b = b, .known = arena_array(m->a, bool, e->fn->dims.n + 1)};
  if (!check_ranks(e, params, m->d) || !bound_scalars(e, params, b, &why)) return false;
  take_dims(&s, dims, ndims);
  solve_all(&s, params);
  if (!report_missing(&s) || !complete(&s, params, &why)) return false;
  for (size_t i = 0; i < ndims; i++) {
    const Dim *dim = s.f->dims.v[dim_index(s.f, dims[i].name)];
    if (b->dims[dim->id] == dims[i].value) continue;
    diag_error(m->d, E_call_shape, dim->at, "dimension `%s` is %" PRId64 " from the arguments, but %" PRId64 " was asked for", dim->name, b->dims[dim->id], dims[i].value);
    return false;
  }
  return true;
}

static void give_shapes(const plait_entry *e, const Bound *b, const plait_shape *results, int64_t *dim_values, plait_shape *param_shapes, plait_shape *result_shapes) {
  const Fn *f = e->fn;
  for (int i = 0; dim_values && i < f->dims.n; i++) dim_values[i] = b->dims[f->dims.v[i]->id];
  for (int i = 0; param_shapes && i < f->params.n; i++) {
    param_shapes[i] = (plait_shape){.rank = b->params[i].rank};
    memcpy(param_shapes[i].extent, b->params[i].extent, sizeof param_shapes[i].extent);
  }
  if (result_shapes && f->results.n) memcpy(result_shapes, results, (size_t)f->results.n * sizeof *results);
}

static Bound *bound_new(Arena *a, const Fn *f) {
  Bound *b = arena_new(a, Bound);
  b->params = arena_array(a, View, f->params.n);
  b->scalar = arena_alloc_array(a, (size_t)f->params.n, sizeof *b->scalar);
  b->dims = dims_new(a, f);
  return b;
}

plait_status plait_entry_infer(const plait_entry *e, const plait_tensor *params, size_t nparams, const plait_dim *dims, size_t ndims,
                               int64_t *dim_values, plait_shape *param_shapes, plait_shape *result_shapes, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!e || (nparams && !params) || (ndims && !dims) || nparams != (size_t)e->fn->params.n) return PLAIT_ERROR_USAGE;
  plait_messages *m = messages_new(e->program);
  if (!dims_check(e, dims, ndims, m)) return messages_give_as(m, PLAIT_ERROR_USAGE, messages);
  Bound *b = bound_new(m->a, e->fn);
  Trouble why = {e->program, m};
  plait_shape *results = arena_array(m->a, plait_shape, e->fn->results.n);
  bool good = infer(e, params, dims, ndims, b, m);
  for (int i = 0; i < e->fn->results.n && good; i++) {
    results[i].rank = e->fn->results.v[i]->rank;
    good = tensor_extents(e->fn, e->fn->results.v[i], b->dims, b->params, results[i].extent, &why);
  }
  if (good) give_shapes(e, b, results, dim_values, param_shapes, result_shapes);
  return messages_give(m, messages);
}
