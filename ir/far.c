// far.c: which tensors are in memory whenever a kernel is called. See Note [What the caches keep].
#include "ir/far.h"
#include "ir/dtype.h"

// Extents multiplied in an order that permuted tensors share.
static Expr *elements(ExprTable *x, const Tensor *t) {
  Expr *extent[8], *n = expr_int(x, DT_I64, 1, NO_SPAN);
  for (int k = 0; k < t->rank; k++) {
    int at = k;
    for (; at && extent[at - 1]->id > t->extent[k]->id; at--) extent[at] = extent[at - 1];
    extent[at] = t->extent[k];
  }
  for (int k = 0; k < t->rank; k++) n = k ? expr_op2(x, OP_MUL, n, extent[k], NO_SPAN) : extent[k];
  Scalar v;
  return expr_fold(n, &v) ? expr_int(x, DT_I64, v.i, NO_SPAN) : n;
}

static bool is_first(const Kernel *k, int i) {
  for (int j = 0; j < i; j++) if (tensor_root(k->args.v[j].t) == tensor_root(k->args.v[i].t)) return false;
  return true;
}

// Bits of each element, of the kernel's tensors that have as many.
static int64_t bits_alike(ExprTable *x, const Kernel *k, const Tensor *t) {
  const Expr *n = elements(x, t);
  int64_t bits = 0;
  for (int i = 0; i < k->args.n; i++) {
    const Tensor *u = tensor_root(k->args.v[i].t);
    if (!u->fmt && is_first(k, i) && elements(x, u) == n) bits += dtypes[u->dtype].bits;
  }
  return bits;
}

Expr *far_when(ExprTable *x, const Machine *m, const Kernel *k, const Tensor *t) {
  t = tensor_root(t);
  int64_t bits = bits_alike(x, k, t);
  if (!t->rank || !bits) return NULL;
  int64_t least = (m->far_bytes * 8 + bits - 1) / bits;
  Expr *n = NULL;
  for (int d = 0; d < t->rank; d++) n = n ? expr_op2(x, OP_MUL, n, t->extent[d], NO_SPAN) : t->extent[d];
  Scalar v;
  if (expr_fold(n, &v)) return v.i >= least ? expr_bool(x, true, NO_SPAN) : NULL;
  return expr_op2(x, OP_GE, n, expr_int(x, DT_I64, least, NO_SPAN), NO_SPAN);
}

// Note [What the caches keep]
//
// A call finds what the one before has left in the cores' own caches, as far as all that the kernel touches fits there: walked in the same order
// again, of more nothing is left. So what counts is what all its tensors hold, not one of them. Beyond it results had better pass the caches
// (else each line is read before it is written) and rows run beside one another (overlap.c). Two cores of a Xeon with second caches of 2 MiB
// each, rows of 4096 f32, us a call: as it was below 16 MiB a tensor, and so. Cold: data from memory in each call; warm: always the same data.
//
//   bytes in all        2 MiB      4 MiB      8 MiB       16 MiB      32 MiB
//   softmax   cold     86   59   176  113   348  227    695   455  1375   929
//             warm     48   47    97   91   211  184    422   404   889   822
//   RMS norm  cold     73   51   143   99   321  213    627   452  1283   846
//             warm     23   31    48   59   163  136    332   336   684   682
//   a map     cold     73   52   147   96   294  199    594   396  1154   807
//             warm     22   30    49   56   149  126    303   351   612   693
//
// What reads such a result at once misses it in the caches: calls that read each other's results took 1.2 times as long for 64 MiB, as before,
// and 1.4 times for 8.
