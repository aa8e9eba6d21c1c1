// api_values.c: dtypes by name, and single values in and out of tensors.
#include "runtime/api_internal.h"
#include "base/limits.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// The public numbers never change; the table's order is the same.
#define SAME(NAME) _Static_assert((int)PLAIT_##NAME == (int)DT_##NAME, "dtype.def and plait.h number " #NAME " differently");
#define DTYPE(NAME, ...) SAME(NAME)
#include "ir/dtype.def"
#undef DTYPE
_Static_assert(PLAIT_MAX_RANK == LIMIT_RANK, "ranks");

static bool is_dtype(plait_dtype d) { return (int)d > DT_NONE && (int)d < DT_COUNT; }

const char *plait_dtype_name(plait_dtype d) { return is_dtype(d) ? dtypes[d].name : d == PLAIT_BLOCKS ? "blocks" : NULL; }
plait_dtype plait_dtype_find(const char *name) { return name ? (plait_dtype)dtype_by_name(name) : (plait_dtype)DT_NONE; }
int plait_dtype_bits(plait_dtype d) { return is_dtype(d) ? dtypes[d].bits : 0; }
const char *plait_dtype_numpy(plait_dtype d) { return is_dtype(d) ? dtypes[d].numpy : d == PLAIT_BLOCKS ? "|u1" : NULL; }

int plait_dtype_kind(plait_dtype d) {
  if (d == PLAIT_BLOCKS) return 'x';
  return is_dtype(d) ? dtypes[d].kind - 'A' + 'a' : 0;
}

// ---- reading and storing ----

static double as_double(Dtype wide, Scalar v) {
  char kind = dtypes[wide].kind;
  return kind == 'F' ? v.f : kind == 'U' ? (double)v.u : (double)v.i;
}

// Elements that the memory of t holds, as far as its extents say; -1 when the extents cannot be.
static int64_t elements(const plait_tensor *t) {
  int64_t n = 1;
  if (t->rank < 0 || t->rank > PLAIT_MAX_RANK) return -1;
  for (int i = 0; i < t->rank; i++)
    if (t->extent[i] < 0 || t->extent[i] > LIMIT_EXTENT || __builtin_mul_overflow(n, t->extent[i], &n)) return -1;
  return n;
}

static bool in_tensor(const plait_tensor *t, int64_t first, int64_t n) {
  int64_t all = t ? elements(t) : -1;
  return all >= 0 && first >= 0 && n >= 0 && first <= all && n <= all - first && (t->data || n == 0);
}

static const Format *format_of(const plait_entry *e, const plait_tensor *t) {
  for (int i = 0; e && i < e->fn->formats.n; i++)
    if (!t->format || strcmp(e->fn->formats.v[i]->name, t->format) == 0) return e->fn->formats.v[i];
  return NULL;
}

// fn decode(w: format[values]) -> y: f32[values] { y[i] = w[i] }, built rather than parsed, and interpreted.
static bool decode(Arena *a, const plait_entry *e, Format *format, void *blocks, int64_t values, float *out) {
  Fn *f = fn_new(a, e->fn->names, NULL, e->fn->name);
  Expr *extent = expr_int(f->x, DT_I64, values, NO_SPAN);
  Tensor *w = fn_tensor(f, e->fn->name, ROLE_PARAM, DT_F32, format, 1, &extent, NO_SPAN);
  Tensor *y = fn_tensor(f, e->fn->name, ROLE_RESULT, DT_F32, NULL, 1, &extent, NO_SPAN);
  Index *ix = index_new(f->x, e->fn->name, NO_SPAN);
  Expr *sub = expr_index(f->x, ix);
  vec_push(a, &f->params, w);
  vec_push(a, &f->defaults, NULL);
  vec_push(a, &f->results, y);
  vec_push(a, &f->formats, format);
  fn_equation(f, y, 1, &ix, expr_read(f->x, w, 1, &sub, NULL, NO_SPAN), NO_SPAN);
  View in = {.data = blocks, .extent = {values}, .rank = 1}, result = {.data = out, .extent = {values}, .rank = 1};
  Fault fault;
  return fn_interpret(f, &in, &result, NULL, &fault);
}

static plait_status read_blocks(const plait_entry *e, const plait_tensor *t, int64_t first, int64_t n, double *out) {
  const Format *f = format_of(e, t);
  if (!f) return PLAIT_ERROR_USAGE;
  int64_t lo = first / f->block, hi = (first + n + f->block - 1) / f->block, values = (hi - lo) * f->block;
  if ((uint64_t)hi * (uint64_t)f->bytes > t->bytes) return PLAIT_ERROR_USAGE;
  Arena *a = arena_create();
  float *v = arena_array(a, float, values);
  pthread_mutex_lock(&e->program->lock);
  bool good = decode(a, e, (Format *)f, (char *)t->data + lo * f->bytes, values, v);
  pthread_mutex_unlock(&e->program->lock);
  for (int64_t i = 0; i < n && good; i++) out[i] = v[first - lo * f->block + i];
  arena_destroy(a);
  return good ? PLAIT_OK : PLAIT_ERROR_INTERNAL;
}

plait_status plait_values_read(const plait_entry *e, const plait_tensor *t, int64_t first, int64_t n, double *out) {
  if (!in_tensor(t, first, n) || (!out && n)) return PLAIT_ERROR_USAGE;
  if (t->dtype == PLAIT_BLOCKS) return n ? read_blocks(e, t, first, n, out) : PLAIT_OK;
  if (!is_dtype(t->dtype)) return PLAIT_ERROR_USAGE;
  Dtype d = (Dtype)t->dtype, wide = dtype_wide(d);
  if ((uint64_t)(first + n) * (uint64_t)dtypes[d].bits > (uint64_t)t->bytes * 8) return PLAIT_ERROR_USAGE;
  for (int64_t i = 0; i < n; i++) out[i] = as_double(wide, dtype_load(d, t->data, first + i));
  return PLAIT_OK;
}

plait_status plait_values_write(const plait_tensor *t, int64_t first, int64_t n, const double *values) {
  if (!in_tensor(t, first, n) || !is_dtype(t->dtype) || (!values && n)) return PLAIT_ERROR_USAGE;
  Dtype d = (Dtype)t->dtype;
  if ((uint64_t)(first + n) * (uint64_t)dtypes[d].bits > (uint64_t)t->bytes * 8) return PLAIT_ERROR_USAGE;
  for (int64_t i = 0; i < n; i++) dtype_store(d, t->data, first + i, dtype_cast((Scalar){.f = values[i]}, DT_F64, d));
  return PLAIT_OK;
}

// ---- scalars as text ----

// Digits in base 10, 16 or 2 with `_` between them; *negative says whether there was a minus.
static bool parse_integer(const char *s, bool *negative, uint64_t *out) {
  *negative = *s == '-';
  s += *negative;
  int base = s[0] != '0' ? 10 : s[1] == 'x' ? 16 : s[1] == 'b' ? 2 : 10;
  if (base != 10) s += 2;
  uint64_t v = 0;
  bool digit = false;
  for (; *s; s++) {
    if (*s == '_' && digit && s[1]) continue;
    int k = *s >= '0' && *s <= '9' ? *s - '0' : *s >= 'a' && *s <= 'f' ? *s - 'a' + 10 : *s >= 'A' && *s <= 'F' ? *s - 'A' + 10 : 99;
    if (k >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, (uint64_t)k, &v)) return false;
    digit = true;
  }
  *out = v;
  return digit;
}

static bool parse_float(const char *s, double *out) {
  const char *number = s + (*s == '-');
  if (strcmp(number, "inf") == 0 || strcmp(number, "nan") == 0) {
    *out = *number == 'i' ? (*s == '-' ? -INFINITY : INFINITY) : NAN;
    return true;
  }
  char *end;
  if (!*number || strspn(number, "0123456789.eE+-") != strlen(number)) return false;
  *out = strtod(s, &end);
  return !*end && end != s;
}

static bool store_integer(Dtype d, bool negative, uint64_t v, void *out) {
  int bits = dtypes[d].bits;
  bool is_signed = dtypes[d].kind == 'I';
  uint64_t most = is_signed ? ((uint64_t)1 << (bits - 1)) - !negative : bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
  if (v > most || (negative && !is_signed && v)) return false;
  Scalar x = {.u = negative ? 0 - v : v};
  dtype_store(d, out, 0, x);
  return true;
}

plait_status plait_scalar_parse(plait_dtype dtype, const char *text, void *out) {
  if (!is_dtype(dtype) || !text || !out) return PLAIT_ERROR_USAGE;
  Dtype d = (Dtype)dtype;
  char stored[8] = {0};
  bool negative, good = false;
  uint64_t v;
  double x;
  if (d == DT_BOOL) {
    good = strcmp(text, "true") == 0 || strcmp(text, "false") == 0 || strcmp(text, "1") == 0 || strcmp(text, "0") == 0;
    stored[0] = text[0] == 't' || text[0] == '1';
  } else if (!dtype_is_float(d)) {
    good = parse_integer(text, &negative, &v) && store_integer(d, negative, v, stored);
  } else if ((good = parse_float(text, &x))) {
    dtype_store(d, stored, 0, dtype_cast((Scalar){.f = x}, DT_F64, d));
  }
  if (!good) return PLAIT_ERROR_DATA;
  memcpy(out, stored, sizeof stored);
  return PLAIT_OK;
}
