// interp_case.h: runs a Plait function in the interpreter, with arguments and results as doubles.
//
//   Case c = case_of("fn f(x: f32[N]) -> y: f32[N] { y[i] = x[i] + 1 }");
//   PUT(&c, "x", DIMS(3), 1, 2, 3);
//   RUN(&c);
//   ck_assert(get(&c, "y", 0) == 2);
//   case_end(&c);
//
// Buffers are exactly as large as their tensors, so that the address sanitizer sees a read or write beside them.
#ifndef PLAIT_TESTS_INTERP_CASE_H
#define PLAIT_TESTS_INTERP_CASE_H
#include "base/limits.h"
#include "frontend/sema.h"
#include "ir/interp.h"
#include "tests/unit/unit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Case {
  Arena *a;
  Fn *f;
  View params[LIMIT_PARAMS], results[LIMIT_PARAMS];
  double *bounds[LIMIT_PARAMS];
  int64_t *dims;
  Fault fault;
  bool ok, with_bounds;
} Case;

static inline void case_show(const Diags *d, Arena *a) {
  Buf b = buf_make(a);
  diags_print(d, &b, false);
  fprintf(stderr, "%s\n", b.s);
}

static inline Case case_entry(const char *text, const char *entry) {
  Case c = {.a = arena_create()};
  Diags *d = diags_create(c.a);
  Program *p = program_load(c.a, intern_create(c.a), d, "test.plait", text, strlen(text), NULL, NULL);
  c.f = d->errors ? NULL : program_elaborate(p, entry, c.a);
  if (!c.f) case_show(d, c.a);
  ck_assert_msg(c.f != NULL, "the program does not compile: %s", text);
  return c;
}

static inline Case case_of(const char *text) { return case_entry(text, NULL); }

// A program of tests/language, with bounds.
static inline Case case_file(const char *name) {
  char path[1000], text[1 << 14];
  const char *slash = strrchr(__FILE__, '/');
  snprintf(path, sizeof path, "%.*s/../language/%s.plait", slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".", name);
  FILE *in = fopen(path, "rb");
  ck_assert_msg(in != NULL, "cannot open %s", path);
  size_t n = fread(text, 1, sizeof text - 1, in);
  text[n] = '\0';
  fclose(in);
  Case c = case_entry(text, NULL);
  c.with_bounds = true;
  return c;
}

static inline int64_t view_elements(const View *v) {
  int64_t n = 1;
  for (int k = 0; k < v->rank; k++) n *= v->extent[k];
  return n;
}

static inline size_t view_bytes(const Tensor *t, const View *v) {
  int64_t n = view_elements(v);
  return (size_t)(t->fmt ? n / t->fmt->block * t->fmt->bytes : dtype_bytes(t->dtype, n));
}

static inline View *param_view(Case *c, const char *name, const Tensor **t) {
  for (int k = 0; k < c->f->params.n; k++)
    if (strcmp(c->f->params.v[k]->name, name) == 0) return *t = c->f->params.v[k], &c->params[k];
  ck_abort_msg("no parameter %s", name);
  return NULL;
}

// The memory of a parameter with these extents, zeroed.
static inline unsigned char *put_space(Case *c, const char *name, int rank, const int64_t *extent) {
  const Tensor *t;
  View *v = param_view(c, name, &t);
  v->rank = rank;
  for (int k = 0; k < rank; k++) v->extent[k] = extent[k];
  free(v->data);
  return v->data = calloc(1, view_bytes(t, v));
}

static inline Scalar wide_scalar(Dtype stored, double x) { return dtype_cast((Scalar){.f = x}, DT_F64, dtype_wide(stored)); }

static inline void put_doubles(Case *c, const char *name, int rank, const int64_t *extent, const double *x, int64_t n) {
  const Tensor *t;
  View *v = param_view(c, name, &t);
  put_space(c, name, rank, extent);
  ck_assert_msg(view_elements(v) == n, "%s has %lld elements, not %lld", name, (long long)view_elements(v), (long long)n);
  for (int64_t k = 0; k < n; k++) dtype_store(t->dtype, v->data, k, wide_scalar(t->dtype, x[k]));
}

#define DIMS(...) (int)(sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__}
#define SCALAR 0, NULL
#define VALUES(...) (const double[]){__VA_ARGS__}, (int64_t)(sizeof(double[]){__VA_ARGS__} / sizeof(double))
#define PUT(c, name, shape, ...) put_doubles((c), (name), shape, VALUES(__VA_ARGS__))
#define PUT_SCALAR(c, name, x) put_doubles((c), (name), SCALAR, VALUES(x))

// n random values in [-range, range], rounded as stored; they come back in out (or NULL).
static inline void put_random(Case *c, const char *name, int rank, const int64_t *extent, double range, unsigned long long *seed, double *out) {
  const Tensor *t;
  View *v = param_view(c, name, &t);
  put_space(c, name, rank, extent);
  for (int64_t k = 0, n = view_elements(v); k < n; k++) {
    double x = range * (2 * ((double)(unit_random(seed) >> 11) * 0x1p-53) - 1);
    dtype_store(t->dtype, v->data, k, wide_scalar(t->dtype, x));
    Scalar s = dtype_load(t->dtype, v->data, k);
    if (out) out[k] = dtypes[t->dtype].kind == 'F' ? s.f : (double)s.i;
  }
}

static inline void make_results(Case *c) {
  for (int k = 0; k < c->f->results.n; k++) {
    const Tensor *t = c->f->results.v[k];
    View *v = &c->results[k];
    v->rank = t->rank;
    for (int d = 0; d < t->rank; d++) {
      Scalar x;
      ck_assert(fn_eval_scalar(c->f, t->extent[d], c->dims, c->params, &x));
      v->extent[d] = x.i;
    }
    v->data = malloc(view_bytes(t, v) + 1);       // the byte more so that empty results are not NULL
    memset(v->data, 0xEE, view_bytes(t, v) + 1);
    c->bounds[k] = calloc((size_t)view_elements(v) + 1, sizeof(double));
  }
  for (int k = 0, n = c->f->results.n; k < c->f->params.n; k++)
    if (c->f->params.v[k]->role == ROLE_MUT) c->bounds[n++] = calloc((size_t)view_elements(&c->params[k]) + 1, sizeof(double));
}

// The same call with bounds, on copies: bounds change neither values nor faults.
static inline void check_with_bounds(const Case *c, void *const *before) {
  Case d = *c;
  for (int k = 0; k < c->f->params.n; k++)
    if (before[k]) d.params[k].data = before[k];
  for (int k = 0; k < c->f->results.n; k++) d.results[k].data = calloc(1, view_bytes(c->f->results.v[k], &c->results[k]) + 1);
  ck_assert(fn_interpret(c->f, d.params, d.results, d.bounds, &d.fault) == c->ok);
  if (!c->ok) ck_assert_str_eq(d.fault.text, c->fault.text);
  for (int k = 0; c->ok && k < c->f->results.n; k++)
    ck_assert(memcmp(d.results[k].data, c->results[k].data, view_bytes(c->f->results.v[k], &c->results[k])) == 0);
  for (int k = 0; c->ok && k < c->f->params.n; k++)
    if (before[k]) ck_assert(memcmp(before[k], c->params[k].data, view_bytes(c->f->params.v[k], &c->params[k])) == 0);
  for (int k = 0; k < c->f->results.n; k++) free(d.results[k].data);
}

static inline bool run(Case *c) {
  void *before[LIMIT_PARAMS] = {0};
  c->dims = arena_array(c->a, int64_t, c->f->x->next_dim + 1);
  c->ok = fn_bind(c->f, c->params, c->dims, &c->fault);
  if (!c->ok) return false;
  make_results(c);
  for (int k = 0; k < c->f->params.n; k++) {
    size_t n = view_bytes(c->f->params.v[k], &c->params[k]);
    if (c->f->params.v[k]->role == ROLE_MUT) before[k] = memcpy(malloc(n + 1), c->params[k].data, n);
  }
  c->ok = fn_interpret(c->f, c->params, c->results, c->with_bounds ? c->bounds : NULL, &c->fault);
  if (!c->with_bounds) check_with_bounds(c, before);
  for (int k = 0; k < c->f->params.n; k++) free(before[k]);
  return c->ok;
}

#define RUN(c) ck_assert_msg(run(c), "%s", (c)->fault.text)

static inline double stored_double(const Tensor *t, const void *data, int64_t k) {
  ck_assert(!t->fmt);
  Scalar s = dtype_load(t->dtype, data, k);
  return dtypes[t->dtype].kind == 'F' ? s.f : dtypes[t->dtype].kind == 'I' ? (double)s.i : (double)s.u;
}

// Element k of a result or, by its name, of a mut parameter.
static inline double get(Case *c, const char *name, int64_t k) {
  for (int r = 0; r < c->f->results.n; r++)
    if (strcmp(c->f->results.v[r]->name, name) == 0) {
      ck_assert(k >= 0 && k < view_elements(&c->results[r]));
      return stored_double(c->f->results.v[r], c->results[r].data, k);
    }
  const Tensor *t;
  View *v = param_view(c, name, &t);
  return stored_double(t, v->data, k);
}

static inline const void *result_data(Case *c, const char *name) {
  for (int r = 0; r < c->f->results.n; r++)
    if (strcmp(c->f->results.v[r]->name, name) == 0) return c->results[r].data;
  const Tensor *t;
  return param_view(c, name, &t)->data;
}

static inline double bound(Case *c, const char *name, int64_t k) {
  int at = 0;
  for (int r = 0; r < c->f->results.n; r++, at++)
    if (strcmp(c->f->results.v[r]->name, name) == 0) return c->bounds[at][k];
  for (int p = 0; p < c->f->params.n; p++)
    if (c->f->params.v[p]->role == ROLE_MUT) {
      if (strcmp(c->f->params.v[p]->name, name) == 0) return c->bounds[at][k];
      at++;
    }
  ck_abort_msg("no result %s", name);
  return 0;
}

static inline void case_end(Case *c) {
  for (int k = 0; k < c->f->params.n; k++) free(c->params[k].data);
  for (int k = 0; k < c->f->results.n; k++) free(c->results[k].data);
  for (int k = 0; k < LIMIT_PARAMS; k++) free(c->bounds[k]);
  arena_destroy(c->a);
}

// f16 bits to and from values, for the bytes of blocks (normal numbers and 0).
static inline double f16_value(const unsigned char *p) {
  unsigned u = p[0] | (unsigned)p[1] << 8;
  if ((u & 0x7FFF) == 0) return 0;
  return ldexp((u & 1023) + 1024, (int)(u >> 10 & 31) - 25) * (u >> 15 ? -1 : 1);
}
static inline void f16_put(unsigned char *p, double x) {
  int e;
  double m = frexp(fabs(x), &e);
  unsigned u = x == 0 ? 0 : (unsigned)(ldexp(m, 11) - 1024) | (unsigned)(e + 14) << 10 | (x < 0 ? 1u << 15 : 0);
  p[0] = (unsigned char)u;
  p[1] = (unsigned char)(u >> 8);
}

// uniform(seed, c): Philox-4x32-10 as the paper's table 2 and figure 2 give it, written out apart from ir/ops.c.
static inline double philox_uniform(uint64_t seed, int64_t c) {
  uint64_t block = (uint64_t)(c >= 0 ? c / 4 : -((3 - c) / 4));
  uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, ctr[4] = {(uint32_t)block, (uint32_t)(block >> 32)};
  for (int round = 0; round < 10; round++) {
    uint64_t p = ctr[0] * 0xD2511F53ull, q = ctr[2] * 0xCD9E8D57ull;
    uint32_t out[4] = {(uint32_t)(q >> 32) ^ ctr[1] ^ key[0], (uint32_t)q, (uint32_t)(p >> 32) ^ ctr[3] ^ key[1], (uint32_t)p};
    memcpy(ctr, out, sizeof out);
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return (ctr[(uint64_t)c - 4 * block] >> 8) * 0x1p-24;
}

#define ck_assert_close(a, b, rel)                                                                                  \
  do {                                                                                                              \
    double a_ = (a), b_ = (b);                                                                                      \
    ck_assert_msg(fabs(a_ - b_) <= (rel) * fmax(fabs(b_), 1e-30) + 1e-30 || a_ == b_, #a " = %.9g, want %.9g", a_, b_); \
  } while (0)
#endif
