// cost.h: bytes and operations, as expressions over dimensions. Everything that `plait explain` shows comes from here.
#ifndef PLAIT_IR_COST_H
#define PLAIT_IR_COST_H
#include "ir/kernel.h"
#include "ir/machine.h"

// Bytes of a whole tensor as stored.
Expr *cost_tensor_bytes(ExprTable *x, const Tensor *t);

// Bytes that a set of equations must move when computed together: each element of a tensor that they read and do not
// define counts once, each element of a tensor that they define and that is wanted outside (`kept`) once. Reads through
// data count min(reads, tensor). Unit: bytes. Exact for affine reads of a box, an upper bound otherwise.
void cost_equations(Fn *f, int n, Eqn *const *q, bool (*kept)(void *cx, const Tensor *t), void *cx, Cost *out);

Expr *cost_bytes(ExprTable *x, const Cost *c);          // sum of the traffic
Expr *cost_unfused(Fn *f);      // each equation a kernel of its own
Expr *cost_minimum(Fn *f);      // parameters read once as far as used, results written once

// The number of an expression for given dimensions (data-free part; scalar arguments unknown count as 0). Saturates.
double cost_value(const Expr *e, const int64_t *dims);
#endif
