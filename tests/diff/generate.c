#include "tests/diff/generate.h"
#include "ir/ops.h"
#include <stdio.h>
#include <string.h>

enum { MAX_TENSORS = 64, NDIMS = 3 };
static const char *const dim_names[NDIMS] = { "N", "M", "K" };
static const char *const index_names[NDIMS] = { "i", "j", "k" };

// Kinds of value, by what a read gives.
typedef enum Kind { FLOAT, INT, BOOL_ } Kind;
typedef struct Known { char name[8]; Kind kind; int rank; int dim[3]; bool small; } Known;   // small: an i32 tensor of small numbers

typedef struct Maker {
  Gen *g; Rng *r;
  Known t[MAX_TENSORS]; int nt;
  bool bound[NDIMS];          // indices in scope
  int fresh;                  // reductions over an index that is bound use names of their own
  char ix[NDIMS][8];          // the name of each dimension's index in scope
} Maker;

typedef struct Text { char s[GEN_TEXT]; } Text;

static Text textf(const char *fmt, ...) {
  Text t;
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(t.s, sizeof t.s, fmt, ap);
  va_end(ap);
  if (n >= (int)sizeof t.s) snprintf(t.s, sizeof t.s, "1");     // too long: a literal instead
  return t;
}

static Text make(Maker *m, Kind kind, int depth);

// A subscript for a dimension: the index in scope, or one that may leave the range. *risky: 1 then, 2 when only data decides.
static Text subscript(Maker *m, int dim, int depth, int *risky) {
  if (m->bound[dim] && !rng_chance(m->r, 12)) return textf("%s", m->ix[dim]);
  int was = *risky;
  *risky = 1;           // a compiler may show that it leaves the range
  int other = rng_below(m->r, NDIMS);
  if (m->bound[dim] && rng_chance(m->r, 60)) return textf("%s %c %d", m->ix[dim], rng_chance(m->r, 50) ? '+' : '-', 1 + rng_below(m->r, 2));
  if (m->bound[other] && rng_chance(m->r, 50)) return textf("%s", m->ix[other]);
  for (int k = 0; k < m->nt && depth > 0; k++)
    if (m->t[k].small && m->t[k].rank == 1 && m->bound[m->t[k].dim[0]] && rng_chance(m->r, 50))
      return *risky = was == 1 ? 1 : 2, textf("%s[%s]", m->t[k].name, m->ix[m->t[k].dim[0]]);
  return textf("%d", rng_below(m->r, 3));
}

static Text read(Maker *m, const Known *t, int depth) {
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
  for (int tries = 0; tries < 8; tries++) {
    const Known *t = &m->t[rng_below(m->r, m->nt)];
    if (t->kind == kind || (kind == FLOAT && t->kind == INT && rng_chance(m->r, 20))) {
      Text s = read(m, t, depth);
      return t->kind == kind ? s : textf("f32(%s)", s.s);
    }
  }
  static const char *const floats[] = { "0.5", "1.0", "-2.0", "3.25", "1e-3", "0.0" };
  if (kind == FLOAT) return textf("%s", floats[rng_below(m->r, 6)]);
  if (kind == INT) return rng_chance(m->r, 30) && m->bound[0] ? textf("i32(%s)", m->ix[0]) : textf("%d", rng_below(m->r, 9) - 2);
  return textf("%s", rng_chance(m->r, 50) ? "true" : "false");
}

static Text reduction(Maker *m, Kind kind, int depth) {
  static const char *const of_floats[] = { "sum", "max", "min", "mean", "sum", "max", "prod" };
  int dim = rng_below(m->r, NDIMS);
  bool was = m->bound[dim];
  char old[8], name[8];
  memcpy(old, m->ix[dim], sizeof old);
  snprintf(name, sizeof name, "%c%d", 'p' + dim, m->fresh++ % 1000);
  Text range = textf("%s < %s", name, dim_names[dim]);
  if (was && rng_chance(m->r, 30)) range = textf("%s %s %s", name, rng_chance(m->r, 50) ? "<=" : "<", old);
  memcpy(m->ix[dim], name, sizeof name);
  m->bound[dim] = true;
  bool filter = rng_chance(m->r, 25);
  Text cond = filter ? make(m, BOOL_, depth - 2) : textf("");
  Text term = make(m, kind == BOOL_ ? BOOL_ : rng_chance(m->r, 10) ? BOOL_ : kind, depth - 1);
  m->bound[dim] = was;
  memcpy(m->ix[dim], old, sizeof old);
  const char *red = kind == FLOAT ? of_floats[rng_below(m->r, 7)] : kind == BOOL_ ? (rng_chance(m->r, 50) ? "any" : "all")
                  : rng_chance(m->r, 15) ? "argmax" : rng_chance(m->r, 50) ? "sum" : "max";
  if (!strcmp(red, "max") || !strcmp(red, "min") || !strcmp(red, "prod")) term = textf("%s(%s)", kind == FLOAT ? "f32" : "i32", term.s);
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

static Text make(Maker *m, Kind kind, int depth) {
  if (depth <= 0 || rng_chance(m->r, 15)) return leaf(m, kind, depth);
  if (depth > 1 && rng_chance(m->r, 18)) return reduction(m, kind, depth);
  return kind == FLOAT ? float_op(m, depth) : kind == INT ? int_op(m, depth) : bool_op(m, depth);
}

// ---- parameters and equations ------------------------------------------------------------------

static void know(Maker *m, const char *name, Kind kind, int rank, const int *dim, bool small) {
  Known *t = &m->t[m->nt++];
  snprintf(t->name, sizeof t->name, "%s", name);
  t->kind = kind;
  t->rank = rank;
  t->small = small;
  for (int d = 0; d < rank; d++) t->dim[d] = dim[d];
}

static Text shape(int rank, const int *dim) {
  Text s = textf("");
  for (int d = 0; d < rank; d++) s = textf("%s%s%s", s.s, d ? ", " : "", dim_names[dim[d]]);
  return rank ? textf("[%s]", s.s) : s;
}

static void param(Maker *m, const char *name, const char *type, Kind kind, int rank, const int *dim) {
  Text sh = shape(rank, dim);
  size_t n = strlen(m->g->params);
  snprintf(m->g->params + n, sizeof m->g->params - n, "%s%s: %s%s", n ? ", " : "", name, type, sh.s);
  know(m, name, kind, rank, dim, kind == INT);
}

static void random_dims(Rng *r, int rank, int *dim) {
  int first = rng_below(r, NDIMS);
  for (int d = 0; d < rank; d++) dim[d] = (first + d) % NDIMS;
  if (rank == 2 && rng_chance(r, 25)) { int t = dim[0]; dim[0] = dim[1]; dim[1] = t; }
}

static void params(Maker *m) {
  static const char *const floats[] = { "f32", "f32", "f16", "bf16", "f8e4m3", "f8e5m2" };
  static const char *const ints[] = { "i32", "i8", "u8", "i16", "u16" };
  // One vector for each dimension, so that every dimension has a value.
  for (int d = 0; d < NDIMS; d++) {
    char name[8];
    snprintf(name, sizeof name, "v%u", (unsigned)d % 10);
    param(m, name, d == 1 ? ints[rng_below(m->r, 5)] : floats[rng_below(m->r, 6)], d == 1 ? INT : FLOAT, 1, &d);
  }
  int more = 1 + rng_below(m->r, 4);
  for (int k = 0; k < more; k++) {
    char name[8];
    int dim[3], rank = 1 + rng_below(m->r, 3);
    random_dims(m->r, rank, dim);
    snprintf(name, sizeof name, "x%u", (unsigned)k % 100);
    int what = rng_below(m->r, 10);
    if (what < 6) param(m, name, floats[rng_below(m->r, 6)], FLOAT, rank, dim);
    else if (what < 8) param(m, name, ints[rng_below(m->r, 5)], INT, rank, dim);
    else param(m, name, "bool", BOOL_, rank, dim);
  }
  if (rng_chance(m->r, 40)) param(m, "c", "f32", FLOAT, 0, NULL);
}

static void equation(Maker *m, int n) {
  static const char *const stored[] = { "bf16", "f16", "f32", "f8e4m3" };
  Gen *g = m->g;
  int dim[3], rank = rng_below(m->r, 4);
  if (rank == 3 && rng_chance(m->r, 60)) rank = 2;
  random_dims(m->r, rank, dim);
  Kind kind = rng_chance(m->r, 70) ? FLOAT : rng_chance(m->r, 70) ? INT : BOOL_;
  memset(m->bound, 0, sizeof m->bound);
  Text subs = textf("");
  for (int d = 0; d < rank; d++) {
    m->bound[dim[d]] = true;
    snprintf(m->ix[dim[d]], sizeof m->ix[0], "%s", index_names[dim[d]]);
    subs = textf("%s%s%s < %s", subs.s, d ? ", " : "", index_names[dim[d]], dim_names[dim[d]]);
  }
  Text body = make(m, kind, 1 + rng_below(m->r, 4));
  const char *type = kind == FLOAT ? "f32" : kind == INT ? "i32" : "bool";
  bool narrow = kind == FLOAT && rng_chance(m->r, 15);
  if (narrow) type = stored[rng_below(m->r, 4)];
  snprintf(g->name[n], sizeof g->name[n], "t%d", n % 1000);
  // The type is written, so that a tensor means the same whether it is a result or not.
  snprintf(g->eqn[n], sizeof g->eqn[n], "  t%d: %s%s%s%s = %s", n, type, rank ? "[" : "", subs.s, rank ? "]" : "", body.s);
  snprintf(g->type[n], sizeof g->type[n], "%s%s", type, shape(rank, dim).s);
  know(m, g->name[n], kind, rank, dim, false);
}

void generate(Gen *g, Rng *r) {
  memset(g, 0, sizeof *g);
  Maker m = { .g = g, .r = r };
  params(&m);
  g->n = 1 + rng_below(r, rng_chance(r, 30) ? 40 : 8);
  for (int n = 0; n < g->n; n++) equation(&m, n);
}

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

void generate_text(const Gen *g, char *out, size_t size) {
  size_t n = (size_t)snprintf(out, size, "fn f(%s) -> (", g->params);
  int results = 0;
  bool result[GEN_MAX];
  for (int k = 0; k < g->n; k++) {
    // Some that are read are results too: stored and used.
    result[k] = !g->drop[k] && (!is_read(g, k) || k % 5 == 2);
    if (result[k] && n < size) n += (size_t)snprintf(out + n, size - n, "%s%s: %s", results++ ? ", " : "", g->name[k], g->type[k]);
  }
  if (n < size) n += (size_t)snprintf(out + n, size - n, ") {\n");
  for (int k = 0; k < g->n && n < size; k++) {
    if (g->drop[k]) continue;
    // A result's type stands in the signature.
    const char *colon = strchr(g->eqn[k], ':'), *rest = colon + 2 + strcspn(colon + 2, " [");
    if (result[k]) n += (size_t)snprintf(out + n, size - n, "  %s%s\n", g->name[k], rest);
    else n += (size_t)snprintf(out + n, size - n, "%s\n", g->eqn[k]);
  }
  if (n < size) snprintf(out + n, size - n, "}\n");
}
