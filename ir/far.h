// far.h: which tensors are in memory whenever a kernel is called, and not in the caches.
#ifndef PLAIT_IR_FAR_H
#define PLAIT_IR_FAR_H
#include "ir/kernel.h"
#include "ir/machine.h"

// When do the tensors of the kernel that have as many elements as t come to machine->far_bytes together? true or a condition on dimensions;
// NULL: never. With t alone it counts as much as with others, so a small result beside large inputs is never far.
Expr *far_when(ExprTable *x, const Machine *m, const Kernel *k, const Tensor *t);
#endif
