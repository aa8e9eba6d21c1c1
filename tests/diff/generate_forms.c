// generate_forms.c: the equations of random programs: by themselves, and in the patterns that passes look for.
#include "tests/diff/generate_int.h"
#include <stdio.h>
#include <string.h>

static const char *const index_names[NDIMS] = { "i", "j", "k", "l" };

// The left side of an equation.
typedef struct Left { int rank, dim[3]; Text subs; } Left;

static Left left_of(Maker *m, int rank, const int *dim) {
  Left l = { rank, { 0 }, textf("") };
  memset(m->bound, 0, sizeof m->bound);
  memset(m->loose, 0, sizeof m->loose);
  for (int d = 0; d < rank; d++) {
    l.dim[d] = dim[d];
    m->bound[dim[d]] = true;
    snprintf(m->ix[dim[d]], sizeof m->ix[0], "%s", index_names[dim[d]]);
    l.subs = textf("%s%s%s < %s", l.subs.s, d ? ", " : "", index_names[dim[d]], dim_names[dim[d]]);
  }
  return l;
}

static Left any_left(Maker *m, int least) {
  int dim[3], rank = least + rng_below(m->r, 4 - least);
  if (rank == 3 && rng_chance(m->r, 60)) rank = 2;
  random_dims(m, rank, dim);
  return left_of(m, rank, dim);
}

static Kind any_kind(Maker *m) { return rng_chance(m->r, 70) ? FLOAT : rng_chance(m->r, 70) ? INT : BOOL_; }

// The type is written, so that a tensor means the same whether it is a result or not.
static void put(Maker *m, Kind kind, const char *type, const Left *l, Text body) {
  Gen *g = m->g;
  if (g->n == GEN_MAX) return;
  int n = g->n++;
  snprintf(g->name[n], sizeof g->name[n], "t%d", n % 1000);
  snprintf(g->eqn[n], sizeof g->eqn[n], "  t%d: %s%s%s%s = %s", n, type, l->rank ? "[" : "", l->subs.s, l->rank ? "]" : "", body.s);
  snprintf(g->type[n], sizeof g->type[n], "%s%s", type, shape_of(l->rank, l->dim).s);
  know(m, g->name[n], kind, l->rank, l->dim, false);
}

static const char *type_of(Maker *m, Kind kind, const Left *l) {
  static const char *const narrow[] = { "bf16", "f16", "f32", "f8e4m3" };
  if (kind != FLOAT) return kind == INT ? "i32" : "bool";
  if (l->rank && l->dim[l->rank - 1] == BLOCKS && rng_chance(m->r, 30)) return "q8_0";
  return rng_chance(m->r, 15) ? narrow[rng_below(m->r, 4)] : "f32";
}

static void plain(Maker *m) {
  Left l = any_left(m, 0);
  Kind kind = any_kind(m);
  Text body = make(m, kind, 1 + rng_below(m->r, 4));
  put(m, kind, type_of(m, kind, &l), &l, body);
}

// Prefixes, suffixes and windows along one of its indices.
static void prefix(Maker *m) {
  Left l = any_left(m, 1);
  Kind kind = any_kind(m);
  Text body = make_reduction(m, kind, 1 + rng_below(m->r, 3), l.dim[rng_below(m->r, l.rank)], true);
  if (kind == FLOAT && rng_chance(m->r, 40)) body = textf("(%s %s %s)", body.s, rng_chance(m->r, 50) ? "*" : "+", make(m, FLOAT, 1).s);
  put(m, kind, type_of(m, kind, &l), &l, body);
}

// Its own element one or two steps before; summed over another of its indices, where it has one.
static Text earlier(Maker *m, const Left *l, int order, bool *sums) {
  Text subs = textf("");
  for (int d = 0; d < l->rank; d++) {
    const char *i = m->ix[l->dim[d]];
    bool other = d != order && *sums;
    if (other) *sums = false;
    Text s = d == order ? textf("%s - %d", i, 1 + rng_chance(m->r, 20)) : textf("%s", other ? "before" : i);
    subs = textf("%s%s%s", subs.s, d ? ", " : "", s.s);
  }
  *sums = strstr(subs.s, "before");
  return textf("(t%d[%s] ?? %d)", m->g->n, subs.s, rng_below(m->r, 2));
}

static void recurrence(Maker *m) {
  Left l = any_left(m, 1);
  Kind kind = rng_chance(m->r, 75) ? FLOAT : INT;
  int order = rng_below(m->r, l.rank), other = order ? 0 : 1;
  bool sums = l.rank > 1 && rng_chance(m->r, 25);
  Text self = earlier(m, &l, order, &sums), a = make(m, kind, 1), b = make(m, kind, 2), c = make(m, BOOL_, 1), body;
  if (sums) self = textf("sum[before < %s](%s * 0.25)", dim_names[l.dim[other]], self.s);
  if (sums && kind == INT) self = textf("i32(%s)", self.s);
  switch (rng_below(m->r, 6)) {
  case 0: body = textf("(%s * %s + %s)", a.s, self.s, b.s); break;
  case 1: body = kind == FLOAT ? textf("(0.5 * %s + %s)", self.s, b.s) : textf("(%s + %s)", self.s, b.s); break;
  case 2: body = textf("max(%s, %s)", self.s, b.s); break;
  case 3: body = textf("(if %s then %s else %s)", c.s, self.s, b.s); break;
  case 4: body = kind == FLOAT ? textf("tanh(%s + %s)", self.s, b.s) : textf("((%s ^ %s) & 255)", self.s, b.s); break;
  default: body = textf("(%s - min(%s, %s))", a.s, self.s, b.s); break;
  }
  put(m, kind, rng_chance(m->r, 85) || kind == INT ? (kind == INT ? "i32" : "f32") : "bf16", &l, body);
}

// The same expression again, with another index in the place of dim's.
static Text again(Maker *m, Rng from, int fresh, int known, int dim, const char *ix, int depth) {
  Rng *r = m->r;
  int nt = m->nt, later = m->fresh;
  m->r = &from;
  m->fresh = fresh;
  m->nt = known;
  m->bound[dim] = true;
  snprintf(m->ix[dim], sizeof m->ix[dim], "%s", ix);
  Text t = make(m, FLOAT, depth);
  m->r = r;
  m->nt = nt;
  m->fresh = later;
  return t;
}

static Text last(Maker *m, int back, const char *subs) { return textf(*subs ? "t%d[%s]" : "t%d%s", m->g->n - 1 - back, subs); }

// A reduction of rows, one of what it makes of them, and a map: softmax, moments, the best and its place, quantisation.
static void cascade(Maker *m) {
  static const struct { const char *first, *second, *map; } of[] = {
    { "max[%r](f32(%e))", "sum[%r](exp(%e - %a))", "exp(%e - %a) / %b" },
    { "mean[%r](%e)", "mean[%r]((%e - %a) * (%e - %a))", "(%e - %a) * rsqrt(%b + 1e-3)" },
    { "f32(argmax[%r](%e))", "max[%r](f32(%e))", "(%e - %b) * %a" },
    { "max[%r](abs(f32(%e)))", "sum[%r](round(%e / (%a + 1e-3) * 15))", "round(%e / (%a + 1e-3) * 127) + %b" },
    { "sum[%r](%e)", "min[%r](f32(%e) + %a)", "%e * %a + %b" },
    { "max[%r](f32(%e))", "%a + log(sum[%r](exp(%e - %a)))", "%e - %b" },
  };
  int dim[3], rank = 1 + rng_below(m->r, 2), which = rng_below(m->r, 6), row, depth = 1 + rng_below(m->r, 2);
  random_dims(m, rank, dim);
  row = dim[rank - 1];
  if (m->g->n + 3 > GEN_MAX) return;
  Rng from = { rng_next(m->r) };
  int fresh = m->fresh, known = m->nt;
  const char *const shape[] = { of[which].first, of[which].second, of[which].map };
  for (int k = 0; k < 3; k++) {
    Left l = left_of(m, rank - (k < 2), dim);
    Text e = again(m, from, fresh, known, row, k < 2 ? "z" : index_names[row], depth), body = textf("");
    Text rows = textf("%s", rank > 1 ? index_names[dim[0]] : "");
    for (const char *s = shape[k]; *s; s++) {
      if (*s != '%') { body = textf("%s%c", body.s, *s); continue; }
      s++;
      if (*s == 'r') body = textf("%sz < %s", body.s, dim_names[row]);
      else if (*s == 'e') body = textf("%s%s", body.s, e.s);
      else body = textf("%s%s", body.s, last(m, *s == 'a' ? k - 1 : 0, rows.s).s);
    }
    put(m, FLOAT, "f32", &l, body);
  }
  m->fresh += 100;
}

// Two halves of a dimension, from different tensors.
static void halves(Maker *m) {
  Left l = any_left(m, 1);
  int dim = l.dim[rng_below(m->r, l.rank)];
  const char *i = index_names[dim];
  Kind kind = any_kind(m);
  Text first = make(m, kind, 1);
  snprintf(m->ix[dim], sizeof m->ix[dim], "(%s - %s // 2)", i, dim_operands[dim]);
  Text second = make(m, kind, 1);
  put(m, kind, type_of(m, kind, &l), &l, textf("if %s < %s // 2 then %s else %s", i, dim_operands[dim], first.s, second.s));
}

static void library(Maker *m) {
  static const char *const maps[] = { "softmax", "log_softmax", "layer_norm", "rms_norm", "l2_norm", "cumsum" };
  const Known *t = &m->t[rng_below(m->r, m->nt)];
  if (t->kind != FLOAT || !t->rank || t->wide) { plain(m); return; }
  bool map = rng_chance(m->r, 80);
  Left l = left_of(m, t->rank - !map, t->dim);
  Text subs = textf("");
  for (int d = 0; d < l.rank; d++) subs = textf("%s%s%s", subs.s, d ? ", " : "", index_names[l.dim[d]]);
  put(m, FLOAT, "f32", &l, textf(l.rank ? "%s(%s)[%s]" : "%s(%s)%s", map ? maps[rng_below(m->r, 6)] : rng_chance(m->r, 50) ? "logsumexp" : "variance", t->name, subs.s));
}

// Of the tensor that is `mut`, some of it or all.
static void update(Maker *m) {
  Known *t = NULL;
  Gen *g = m->g;
  for (int k = 0; k < m->nt; k++) if (m->t[k].name[0] == 'm') t = &m->t[k];
  if (!t || g->n == GEN_MAX) { plain(m); return; }
  Left l = left_of(m, t->rank, t->dim);
  const char *at = rng_chance(m->r, 50) ? "1" : "0", *colon = strstr(l.subs.s, ", ");
  bool row = rng_chance(m->r, 30);      // one row: of the elements that another index would give it is not said which is stored
  if (row) m->bound[t->dim[0]] = false, l.subs = textf("%s%s", at, colon ? colon : "");
  Text cond = rng_chance(m->r, 30) ? make(m, BOOL_, 1) : textf("");
  if (row) cond = textf("%s%s%s < %s", cond.s, *cond.s ? " and " : "", at, dim_names[t->dim[0]]);
  Text body = make(m, t->kind, 2);
  int n = g->n++;
  snprintf(g->name[n], sizeof g->name[n], "%s", t->name);
  snprintf(g->eqn[n], sizeof g->eqn[n], "  %s[%s] <- %s%s%s", t->name, l.subs.s, body.s, *cond.s ? " if " : "", cond.s);
}

void make_form(Maker *m) {
  int pick = rng_below(m->r, 100);
  if (pick < 55) plain(m);
  else if (pick < 64) prefix(m);
  else if (pick < 72) recurrence(m);
  else if (pick < 80) cascade(m);
  else if (pick < 85) halves(m);
  else if (pick < 92) library(m);
  else update(m);
}
