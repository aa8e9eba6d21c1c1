#include "tests/diff/generate_int.h"
#include "ir/ops.h"
#include <stdio.h>
#include <string.h>

const char *const dim_names[NDIMS] = { "N", "M", "K", "32 * K" };
const char *const dim_operands[NDIMS] = { "N", "M", "K", "(32 * K)" };

Text textf(const char *fmt, ...) {
  Text t;
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(t.s, sizeof t.s, fmt, ap);
  va_end(ap);
  if (n >= (int)sizeof t.s) snprintf(t.s, sizeof t.s, "1");     // too long: a literal instead
  return t;
}

// The index, or where it comes to lie when the dimension is turned round, rotated by half or halved: all in range.
static Text moved(Maker *m, int dim) {
  const char *i = m->ix[dim], *n = dim_operands[dim];
  switch (rng_below(m->r, 4)) {
  case 0: return textf("%s - 1 - %s", n, i);
  case 1: return textf("(%s + %s // 2) %% %s", i, n, n);
  case 2: return textf("%s // 2", i);
  default: return textf("%s - %s %% 2", i, i);
  }
}

// A subscript for a dimension: the index in scope, or one that may leave the range. *risky: 1 then, 2 when only data decides.
static Text subscript(Maker *m, int dim, int depth, int *risky) {
  if (m->bound[dim] && m->loose[dim]) return *risky = 1, textf("%s", m->ix[dim]);
  if (m->bound[dim] && rng_chance(m->r, 4)) return moved(m, dim);
  if (m->bound[dim] && !rng_chance(m->r, 12)) return textf("%s", m->ix[dim]);
  int was = *risky;
  *risky = 1;           // a compiler may show that it leaves the range
  int other = rng_below(m->r, m->ndims);
  if (m->bound[dim] && rng_chance(m->r, 60)) return textf("%s %c %d", m->ix[dim], rng_chance(m->r, 50) ? '+' : '-', 1 + rng_below(m->r, 2));
  if (m->bound[other] && rng_chance(m->r, 50)) return textf("%s", m->ix[other]);
  for (int k = 0; k < m->nt && depth > 0; k++)
    if (m->t[k].small && m->t[k].rank == 1 && m->bound[m->t[k].dim[0]] && rng_chance(m->r, 50))
      return *risky = was == 1 ? 1 : 2, textf("%s[%s]", m->t[k].name, m->ix[m->t[k].dim[0]]);
  return textf("%d", rng_below(m->r, 3));
}

Text make_read(Maker *m, const Known *t, int depth) {
  if (!t->rank) return textf("%s", t->name);
  int risky = 0;
  Text subs = textf("");
  for (int d = 0; d < t->rank; d++) {
    Text s = subscript(m, t->dim[d], depth, &risky);
    subs = textf("%s%s%s", subs.s, d ? ", " : "", s.s);
  }
  if (risky == 1 || (risky && !rng_chance(m->r, 20))) return textf("(%s[%s] ?? %s)", t->name, subs.s, t->kind == BOOL_ ? "false" : rng_chance(m->r, 50) ? "0" : "1");
  return textf("%s[%s]", t->name, subs.s);
}

static Text leaf(Maker *m, Kind kind, int depth) {
  if (kind == FLOAT && m->bound[0] && !m->loose[0] && rng_chance(m->r, 4))
    return rng_chance(m->r, 50) ? textf("uniform(7, %s)", m->ix[0]) : textf("table[%s %% 4]", m->ix[0]);
  for (int tries = 0; tries < 8; tries++) {
    const Known *t = &m->t[rng_below(m->r, m->nt)];
    if (t->kind == kind || (kind == FLOAT && t->kind == INT && rng_chance(m->r, 20))) {
      Text s = make_read(m, t, depth);
      return t->kind != kind ? textf("f32(%s)", s.s) : t->wide ? textf(kind == INT ? "i32(%s)" : "f32(%s)", s.s) : s;
    }
  }
  static const char *const floats[] = { "0.5", "1.0", "-2.0", "3.25", "1e-3", "0.0" };
  if (kind == FLOAT) return textf("%s", floats[rng_below(m->r, 6)]);
  if (kind == INT) return rng_chance(m->r, 30) && m->bound[0] ? textf("i32(%s)", m->ix[0]) : textf("%d", rng_below(m->r, 9) - 2);
  return textf("%s", rng_chance(m->r, 50) ? "true" : "false");
}

// A small integer of an index that is in scope.
static const Known *small_one(Maker *m) {
  for (int k = 0; k < m->nt; k++)
    if (m->t[k].small && m->t[k].rank == 1 && m->bound[m->t[k].dim[0]] && !m->loose[m->t[k].dim[0]]) return &m->t[k];
  return NULL;
}

// Part of the range, by the index `old` of the same dimension.
static Text part_of_range(Maker *m, const char *name, const char *old, int dim, bool *loose) {
  const char *n = dim_names[dim];
  switch (rng_below(m->r, 7)) {
  case 0: return textf("%s < %s", name, old);
  case 1: return textf("%s in %s .. %s", name, old, n);
  case 2: return textf("%s in %s + 1 .. %s", name, old, n);
  case 3: return textf("%s in max(%s - 2, 0) .. min(%s + 2, %s)", name, old, old, n);
  case 4: return *loose = true, textf("%s in %s - 2 .. %s + 1", name, old, old);
  default: return textf("%s <= %s", name, old);
  }
}

static Text range_of(Maker *m, const char *name, const char *old, int dim, bool prefix, bool *loose) {
  const Known *small = small_one(m);
  *loose = false;
  if (prefix && old) return part_of_range(m, name, old, dim, loose);
  if (small && rng_chance(m->r, 12)) return textf("%s < min(i64(%s[%s]), %s)", name, small->name, m->ix[small->dim[0]], dim_names[dim]);
  return textf("%s < %s", name, dim_names[dim]);
}

typedef struct Scope { bool bound, loose; char ix[24]; } Scope;

// Binds an index over dim; the range it has.
static Text bind(Maker *m, int dim, bool prefix, Scope *was) {
  char name[24];
  bool loose;
  *was = (Scope){ m->bound[dim], m->loose[dim], { 0 } };
  memcpy(was->ix, m->ix[dim], sizeof was->ix);
  snprintf(name, sizeof name, "%c%d", 'p' + dim, m->fresh++ % 1000);
  Text range = range_of(m, name, was->bound && !was->loose ? was->ix : NULL, dim, prefix, &loose);
  memcpy(m->ix[dim], name, sizeof name);
  m->bound[dim] = true;
  m->loose[dim] = loose;
  return range;
}

static void unbind(Maker *m, int dim, const Scope *was) {
  m->bound[dim] = was->bound;
  m->loose[dim] = was->loose;
  memcpy(m->ix[dim], was->ix, sizeof was->ix);
}

Text make_reduction(Maker *m, Kind kind, int depth, int dim, bool prefix) {
  static const char *const of_floats[] = { "sum", "max", "min", "mean", "sum", "max", "prod" };
  int second = rng_chance(m->r, 15) ? (dim + 1) % m->ndims : dim;
  Scope was, was2;
  Text range = bind(m, dim, prefix, &was), range2 = second != dim ? bind(m, second, false, &was2) : textf("");
  bool filter = rng_chance(m->r, 25);
  Text cond = filter ? make(m, BOOL_, depth - 2) : textf("");
  Text term = make(m, kind == BOOL_ ? BOOL_ : rng_chance(m->r, 10) ? BOOL_ : kind, depth - 1);
  if (second != dim) unbind(m, second, &was2);
  unbind(m, dim, &was);
  bool one_index = second == dim && !prefix && !filter;          // argmax over nothing is an error
  const char *red = kind == FLOAT ? of_floats[rng_below(m->r, 7)] : kind == BOOL_ ? (rng_chance(m->r, 50) ? "any" : "all")
                  : rng_chance(m->r, 15) && (one_index || (second == dim && rng_chance(m->r, 20))) ? (rng_chance(m->r, 50) ? "argmax" : "argmin")
                  : rng_chance(m->r, 50) ? "sum" : "max";
  if (!strcmp(red, "max") || !strcmp(red, "min") || !strcmp(red, "prod")) term = textf("%s(%s)", kind == FLOAT ? "f32" : "i32", term.s);
  if (second != dim) range = textf("%s, %s", range.s, range2.s);
  Text e = filter ? textf("%s[%s](%s if %s)", red, range.s, term.s, cond.s) : textf("%s[%s](%s)", red, range.s, term.s);
  return kind == FLOAT ? textf("f32(%s)", e.s) : kind == INT ? textf("i32(%s)", e.s) : e;
}

static Text float_op(Maker *m, int depth) {
  static const char *const unary[] = { "exp", "tanh", "sqrt", "abs", "floor", "round", "sigmoid", "silu", "relu", "rsqrt", "log1p", "erf", "sin", "cos", "exp2", "trunc", "ceil", "sign", "gelu" };
  static const char *const narrow[] = { "bf16", "f16", "f8e4m3", "f8e5m2", "f64" };
  static const char *const binary[] = { "+", "-", "*", "+", "*", "/", "//", "%" };
  int pick = rng_below(m->r, 100);
  if (pick < 30) return textf("%s(%s)", unary[rng_below(m->r, 19)], make(m, FLOAT, depth - 1).s);
  if (pick < 70) return textf("(%s %s %s)", make(m, FLOAT, depth - 1).s, binary[rng_below(m->r, 8)], make(m, FLOAT, depth - 1).s);
  if (pick < 78) return textf("%s(%s, %s)", rng_chance(m->r, 50) ? "max" : "min", make(m, FLOAT, depth - 1).s, make(m, FLOAT, depth - 1).s);
  if (pick < 84) return textf("f32(%s(%s))", narrow[rng_below(m->r, 5)], make(m, FLOAT, depth - 1).s);
  if (pick < 90) return textf("f32(%s)", make(m, INT, depth - 1).s);
  if (pick < 96) return textf("(if %s then %s else %s)", make(m, BOOL_, depth - 1).s, make(m, FLOAT, depth - 1).s, make(m, FLOAT, depth - 1).s);
  return textf("-%s", make(m, FLOAT, depth - 1).s);
}

static Text int_op(Maker *m, int depth) {
  static const char *const binary[] = { "+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>" };
  static const char *const casts[] = { "i8", "u8", "i16", "i32", "u16" };
  int pick = rng_below(m->r, 100);
  if (pick < 55) return textf("(%s %s %s)", make(m, INT, depth - 1).s, binary[rng_below(m->r, 10)], make(m, INT, depth - 1).s);
  if (pick < 65) return textf("i32(%s(%s))", casts[rng_below(m->r, 5)], make(m, INT, depth - 1).s);
  if (pick < 75) return textf("i32(round(%s))", make(m, FLOAT, depth - 1).s);
  if (pick < 85) return textf("(if %s then %s else %s)", make(m, BOOL_, depth - 1).s, make(m, INT, depth - 1).s, make(m, INT, depth - 1).s);
  return textf("%s(%s, %s)", rng_chance(m->r, 50) ? "max" : "min", make(m, INT, depth - 1).s, make(m, INT, depth - 1).s);
}

static Text bool_op(Maker *m, int depth) {
  static const char *const compare[] = { "<", "<=", "==", "!=", ">", ">=" };
  int pick = rng_below(m->r, 100);
  if (pick < 60) {
    Kind k = rng_chance(m->r, 50) ? FLOAT : INT;
    return textf("(%s %s %s)", make(m, k, depth - 1).s, compare[rng_below(m->r, 6)], make(m, k, depth - 1).s);
  }
  if (pick < 85) return textf("(%s %s %s)", make(m, BOOL_, depth - 1).s, rng_chance(m->r, 50) ? "and" : "or", make(m, BOOL_, depth - 1).s);
  return textf("(not %s)", make(m, BOOL_, depth - 1).s);
}

Text make(Maker *m, Kind kind, int depth) {
  if (depth <= 0 || rng_chance(m->r, 15)) return leaf(m, kind, depth);
  if (depth > 1 && rng_chance(m->r, 18)) return make_reduction(m, kind, depth, rng_below(m->r, m->ndims), rng_chance(m->r, 40));
  return kind == FLOAT ? float_op(m, depth) : kind == INT ? int_op(m, depth) : bool_op(m, depth);
}

// ---- parameters --------------------------------------------------------------------------------

void know(Maker *m, const char *name, Kind kind, int rank, const int *dim, bool small) {
  Known *t = &m->t[m->nt++];
  *t = (Known){ .kind = kind, .rank = rank, .small = small };
  snprintf(t->name, sizeof t->name, "%s", name);
  for (int d = 0; d < rank; d++) t->dim[d] = dim[d];
}

Text shape_of(int rank, const int *dim) {
  Text s = textf("");
  for (int d = 0; d < rank; d++) s = textf("%s%s%s", s.s, d ? ", " : "", dim_names[dim[d]]);
  return rank ? textf("[%s]", s.s) : s;
}

static void param(Maker *m, const char *how, const char *name, const char *type, Kind kind, int rank, const int *dim) {
  Text sh = shape_of(rank, dim);
  size_t n = strlen(m->g->params);
  snprintf(m->g->params + n, sizeof m->g->params - n, "%s%s%s: %s%s", n ? ", " : "", how, name, type, sh.s);
  know(m, name, kind, rank, dim, kind == INT && !*how);
  m->t[m->nt - 1].wide = strstr(type, "64") || !strcmp(type, "u32");
}

void random_dims(Maker *m, int rank, int *dim) {
  int first = rng_below(m->r, m->ndims);
  for (int d = 0; d < rank; d++) dim[d] = (first + d) % m->ndims;
  if (rank == 2 && rng_chance(m->r, 25)) { int t = dim[0]; dim[0] = dim[1]; dim[1] = t; }
}

static const char *const float_types[] = { "f32", "f32", "f32", "f16", "bf16", "f8e4m3", "f8e5m2", "f64" };
static const char *const int_types[] = { "i32", "i8", "u8", "i16", "u16", "i64", "u32" };

static void any_param(Maker *m, const char *how, const char *name) {
  int dim[3], rank = 1 + rng_below(m->r, 3), what = rng_below(m->r, 10);
  random_dims(m, rank, dim);
  if (what < 6) param(m, how, name, float_types[rng_below(m->r, 8)], FLOAT, rank, dim);
  else if (what < 8) param(m, how, name, int_types[rng_below(m->r, 7)], INT, rank, dim);
  else param(m, how, name, "bool", BOOL_, rank, dim);
}

// One whose rows are blocks of bits or of a format.
static void packed_param(Maker *m) {
  static const char *const types[] = { "q8_0", "q4_0", "q4_1", "q5_1", "i4", "u4" };
  int dim[2] = { rng_below(m->r, 3), BLOCKS }, rank = 1 + rng_below(m->r, 2), what = rng_below(m->r, 6);
  param(m, "", "w0", types[what], what < 4 ? FLOAT : INT, rank, rank == 1 ? dim + 1 : dim);
}

static void params(Maker *m) {
  // One vector for each dimension, so that every dimension has a value.
  for (int d = 0; d < 3; d++) {
    char name[8];
    snprintf(name, sizeof name, "v%u", (unsigned)d % 10);
    param(m, "", name, d == 1 ? int_types[rng_below(m->r, 7)] : float_types[rng_below(m->r, 8)], d == 1 ? INT : FLOAT, 1, &d);
  }
  int more = 1 + rng_below(m->r, 4);
  for (int k = 0; k < more; k++) {
    char name[8];
    snprintf(name, sizeof name, "x%u", (unsigned)k % 100);
    any_param(m, "", name);
  }
  if (m->ndims > BLOCKS) packed_param(m);
  if (rng_chance(m->r, 20)) any_param(m, "mut ", "m0");
  if (rng_chance(m->r, 40)) param(m, "", "c", "f32", FLOAT, 0, NULL);
}

void generate(Gen *g, Rng *r) {
  memset(g, 0, sizeof *g);
  Maker m = { .g = g, .r = r, .ndims = rng_chance(r, 12) ? 4 : 3 };
  params(&m);
  int n = 1 + rng_below(r, rng_chance(r, 30) ? 40 : 8);
  while (g->n < n) make_form(&m);
}

// ---- the text ----------------------------------------------------------------------------------

// Does a kept equation after n read it?
static bool is_read(const Gen *g, int n) {
  char pattern[16];
  for (int k = n + 1; k < g->n; k++) {
    if (g->drop[k]) continue;
    for (const char *s = g->eqn[k]; (s = strstr(s, g->name[n])); s++) {
      snprintf(pattern, sizeof pattern, "%s", g->name[n]);
      char next = s[strlen(pattern)], before = s == g->eqn[k] ? ' ' : s[-1];
      bool word = !((next >= '0' && next <= '9') || (next >= 'a' && next <= 'z')) && !((before >= '0' && before <= '9') || (before >= 'a' && before <= 'z'));
      if (word) return true;
    }
  }
  return false;
}

static bool is_update(const Gen *g, int n) { return g->name[n][0] == 'm'; }

void generate_text(const Gen *g, char *out, size_t size) {
  size_t n = (size_t)snprintf(out, size, "const table = [0.5, -1.0, 2.0, 0.25]\nfn f(%s)", g->params);
  int results = 0;
  bool result[GEN_MAX];
  for (int k = 0; k < g->n; k++) {
    // Some that are read are results too: stored and used.
    result[k] = !g->drop[k] && !is_update(g, k) && (!is_read(g, k) || k % 5 == 2);
    if (result[k] && n < size) n += (size_t)snprintf(out + n, size - n, "%s%s: %s", results++ ? ", " : " -> (", g->name[k], g->type[k]);
  }
  if (n < size) n += (size_t)snprintf(out + n, size - n, results ? ") {\n" : " {\n");
  for (int k = 0; k < g->n && n < size; k++) {
    if (g->drop[k]) continue;
    // A result's type stands in the signature.
    const char *colon = strchr(g->eqn[k], ':'), *rest = result[k] ? colon + 2 + strcspn(colon + 2, " [") : "";
    if (result[k]) n += (size_t)snprintf(out + n, size - n, "  %s%s\n", g->name[k], rest);
    else n += (size_t)snprintf(out + n, size - n, "%s\n", g->eqn[k]);
  }
  if (n < size) snprintf(out + n, size - n, "}\n");
}
