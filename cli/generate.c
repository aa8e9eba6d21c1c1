// generate.c: tensors made by plait run: random, zeros, ones, iota.
//
// random is a pure function of --seed, the position of the parameter and the element:
//   floats        normal with mean 0 and deviation 1
//   8 and 4 bits  all values of the type, as quantised data has
//   16 bits up    0 to 7: small enough to be a position or an id in most programs
//   bool          false or true
//   formats       floats of the block normal with deviation 1/16, everything else all bits
//   LO..HI        uniform: floats in [LO, HI), integers LO to HI
#include "cli/run.h"
#include <math.h>
#include <string.h>

enum { CHUNK = 4096 };

// SplitMix64 [Steele, Lea, Flood, OOPSLA'14].
static uint64_t next_bits(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static double next_unit(uint64_t *state) { return (double)(next_bits(state) >> 11) * 0x1p-53; }

// Box and Muller: two values from two. 1 - u is never 0.
static void put_normal(uint64_t *state, double *v, int n) {
  for (int i = 0; i < n; i += 2) {
    double radius = sqrt(-2 * log(1 - next_unit(state))), angle = 6.283185307179586 * next_unit(state);
    v[i] = radius * cos(angle);
    if (i + 1 < n) v[i + 1] = radius * sin(angle);
  }
}

static void put_integers(uint64_t *state, double *v, int n, double lo, double hi) {
  double count = floor(hi) - ceil(lo) + 1;
  for (int i = 0; i < n; i++) v[i] = ceil(lo) + floor(next_unit(state) * count);
}

static void put_uniform(uint64_t *state, double *v, int n, double lo, double hi) {
  for (int i = 0; i < n; i++) v[i] = lo + next_unit(state) * (hi - lo);
}

static void put_random(const Input *in, uint64_t *state, double *v, int n) {
  plait_dtype d = in->param.dtype;
  int kind = plait_dtype_kind(d), bits = plait_dtype_bits(d);
  double half = ldexp(1, bits - 1);
  if (in->ranged && kind == 'f') put_uniform(state, v, n, in->lo, in->hi);
  else if (in->ranged) put_integers(state, v, n, in->lo, in->hi);
  else if (kind == 'f') put_normal(state, v, n);
  else if (kind == 'b') put_integers(state, v, n, 0, 1);
  else if (bits > 8) put_integers(state, v, n, 0, 7);
  else put_integers(state, v, n, kind == 'i' ? -half : 0, kind == 'i' ? half - 1 : 2 * half - 1);
}

static void put_values(const Input *in, uint64_t *state, int64_t first, double *v, int n) {
  if (in->how == HOW_RANDOM) put_random(in, state, v, n);
  for (int i = 0; i < n && in->how == HOW_ONES; i++) v[i] = 1;
  for (int i = 0; i < n && in->how == HOW_IOTA; i++) v[i] = (double)(first + i);
}

static int generate_values(Run *r, const Input *in, const plait_tensor *t, uint64_t state) {
  double v[CHUNK];
  int64_t total = 1;
  for (int i = 0; i < t->rank; i++) total *= t->extent[i];
  for (int64_t first = 0; first < total; first += CHUNK) {
    int n = total - first < CHUNK ? (int)(total - first) : CHUNK;
    put_values(in, &state, first, v, n);
    if (plait_values_write(t, first, n, v)) return cli_error(r->c, BUG, NULL, "`%s` cannot be filled", in->param.name);
  }
  return GOOD;
}

// One field of all blocks.
static void fill_field(const plait_param *p, const plait_field *f, const plait_tensor *t, uint64_t *state) {
  double v[CHUNK];
  int64_t bytes = (int64_t)f->count * plait_dtype_bits(f->dtype) / 8;
  bool floats = plait_dtype_kind(f->dtype) == 'f' && f->count <= CHUNK;
  for (char *block = t->data, *end = block + t->bytes; block < end; block += p->block_bytes) {
    plait_tensor part = {.data = block + f->offset, .dtype = f->dtype, .rank = 1, .extent = {f->count}, .bytes = (size_t)bytes};
    if (floats) put_normal(state, v, f->count);
    for (int i = 0; floats && i < f->count; i++) v[i] /= 16;
    if (floats && plait_values_write(&part, 0, f->count, v) == PLAIT_OK) continue;
    for (int64_t i = 0; i < bytes; i++) block[f->offset + i] = (char)next_bits(state);
  }
}

static int generate_blocks(Run *r, const Input *in, const plait_tensor *t, uint64_t state) {
  if (in->how == HOW_ZEROS) return GOOD;         // allocated as zeros
  if (in->how != HOW_RANDOM || in->ranged)
    return cli_error(r->c, USAGE, "random, zeros or an NPY file", "`--in %s=%s`: %s holds blocks", in->param.name, in->spec, in->param.format);
  plait_field f = {.struct_size = sizeof f};
  for (size_t i = 0; plait_entry_field(r->entry, in->param.format, i, &f) == PLAIT_OK; i++) fill_field(&in->param, &f, t, &state);
  return GOOD;
}

int generate(Run *r, const Input *in, const plait_tensor *t, int position) {
  uint64_t state = r->seed * 0xd1342543de82ef95u + (uint64_t)position;
  next_bits(&state);
  if (in->param.dtype == PLAIT_BLOCKS) return generate_blocks(r, in, t, state);
  return in->how == HOW_ZEROS ? GOOD : generate_values(r, in, t, state);
}
