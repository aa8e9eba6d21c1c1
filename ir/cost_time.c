// cost_time.c: numbers for the expressions of cost.c, and the time that a kernel takes.
//
// A kernel waits for memory, for the caches of the cores or for arithmetic, whichever takes longest; a part of the others shows
// (COST_OVERLAP). Bytes of a tensor come from memory, or from the cache that all cores share when the whole tensor fits there; what a kernel keeps
// between two passes over a row comes from the cache of one core. The figures are the machine's (machine.c).
#include "ir/cost.h"
#include <math.h>

static double value2(Op op, double a, double b) {
  switch (op) {
  case OP_ADD: return a + b;
  case OP_SUB: return a - b;
  case OP_MUL: return a * b;
  case OP_MIN: return a < b ? a : b;
  case OP_MAX: return a > b ? a : b;
  case OP_GT: return a > b;
  case OP_GE: return a >= b;
  case OP_LT: return a < b;
  case OP_LE: return a <= b;
  case OP_AND: return a != 0 && b != 0;
  case OP_OR: return a != 0 || b != 0;
  case OP_FLOORDIV: return b == 0 ? 0 : floor(a / b);
  case OP_MOD: return b == 0 ? 0 : a - b * floor(a / b);
  default: return 0;
  }
}

double cost_value(const Expr *e, const int64_t *dims) {
  switch (e->op) {
  case OP_CONST: return dtype_is_float((Dtype)e->dtype) ? e->u.v.f : (double)e->u.v.i;
  case OP_DIM: return (double)dims[e->u.dim->id];
  case OP_CAST: return cost_value(e->arg[0], dims);
  case OP_SELECT: return cost_value(e->arg[cost_value(e->arg[0], dims) != 0 ? 1 : 2], dims);
  default: return e->nargs == 2 ? value2((Op)e->op, cost_value(e->arg[0], dims), cost_value(e->arg[1], dims)) : 0;
  }
}

double cost_nominal(const Expr *e) {
  switch (e->op) {
  case OP_CONST: return dtype_is_float((Dtype)e->dtype) ? e->u.v.f : (double)e->u.v.i;
  case OP_CAST: return cost_nominal(e->arg[0]);
  case OP_SELECT: return cost_nominal(e->arg[cost_nominal(e->arg[0]) != 0 ? 1 : 2]);
  case OP_ADD: case OP_SUB: case OP_MUL: case OP_MIN: case OP_MAX: case OP_GT: case OP_GE: case OP_LT: case OP_LE: case OP_AND: case OP_OR: case OP_FLOORDIV: case OP_MOD:
    return value2((Op)e->op, cost_nominal(e->arg[0]), cost_nominal(e->arg[1]));
  default: return COST_NOMINAL;         // a dimension, a scalar argument, data
  }
}

double cost_nominal_elements(const Tensor *t) {
  double n = 1;
  for (int d = 0; d < t->rank; d++) n *= cost_nominal(t->extent[d]);
  return n;
}

double cost_nominal_bytes(const Tensor *t) {
  double n = cost_nominal_elements(t);
  return t->fmt ? n / (double)t->fmt->block * t->fmt->bytes : n * dtypes[t->dtype].bits / 8;
}

bool cost_is_known(const Expr *e) {
  if (e->op == OP_DIM || e->op == OP_READ || e->op == OP_INDEX || e->op == OP_REDUCE) return false;
  for (uint32_t k = 0; k < e->nargs; k++) if (!cost_is_known(e->arg[k])) return false;
  return true;
}

void cost_add_bytes(const Machine *m, Work *w, double bytes, double whole) {
  if (whole <= (double)m->shared_bytes * COST_SHARE) w->shared += bytes;
  else w->dram += bytes;
}

double cost_time(const Machine *m, const Work *w) {
  double part = w->cores > 0 && w->cores < m->cores ? w->cores / m->cores : 1;
  double memory = w->dram / fmin(m->dram_gbs, part * m->cores * m->core_gbs) + w->shared / (m->shared_gbs * part);
  double cache = w->cache / (m->cache_gbs * part), flops = w->flops / (m->gflops * part);
  double longest = fmax(memory, fmax(cache, flops));
  return longest + COST_OVERLAP * (memory + cache + flops - longest);
}
