// cost.h: bytes, operations and time. Bytes and operations are expressions over dimensions; everything that `plait explain`
// shows, and every choice of the passes, comes from here.
#ifndef PLAIT_IR_COST_H
#define PLAIT_IR_COST_H
#include "ir/kernel.h"
#include "ir/machine.h"

// Bytes of a whole tensor as stored.
Expr *cost_tensor_bytes(ExprTable *x, const Tensor *t);

// A read of an equation: the part of its tensor that it touches, over all steps of its loops.
typedef struct Touch {
  Expr *read;           // READ of the version that is seen
  bool whole;           // every element
  uint64_t part;        // equal for equal intervals of the subscripts, whatever the order of the elements
  Expr *bytes;          // of the elements touched, each once
} Touch;

// What one equation reads (no scalars, no tables; one entry for each READ and part), writes and computes.
typedef struct EqnCost { Eqn *q; VEC(Touch) reads; Expr *write_bytes, *flops; } EqnCost;
void cost_equation(Fn *f, Eqn *q, Arena *keep, EqnCost *out);

// What a set of equations must move when computed together: each element of a tensor that they read and do not
// define counts once, each element of a tensor that they define and that is wanted outside (`kept`) once. Reads through
// data count min(reads, tensor). Unit: bytes. Exact for affine reads of a box, an upper bound otherwise.
void cost_set(Fn *f, int n, const EqnCost *q, bool (*kept)(void *cx, const Tensor *t), void *cx, Cost *out);
void cost_equations(Fn *f, int n, Eqn *const *q, bool (*kept)(void *cx, const Tensor *t), void *cx, Cost *out);

// Bytes that n reads of one tensor touch together, each element once.
Expr *cost_touched(Fn *f, int n, const Touch *const *u);

// Bytes read of one tensor, and of all traffic. What is read in several passes over rows longer than `cache` bytes counts once
// for each pass.
Expr *cost_read_bytes(ExprTable *x, const Traffic *t, int64_t cache);
Expr *cost_bytes(ExprTable *x, const Cost *c, int64_t cache);
Expr *cost_unfused(Fn *f);      // each equation a kernel of its own
Expr *cost_minimum(Fn *f);      // parameters read once as far as used, results written once

// The number of an expression for given dimensions (data-free part; scalar arguments unknown count as 0). Saturates.
double cost_value(const Expr *e, const int64_t *dims);

// The same where nothing is given: what is not known counts as COST_NOMINAL.
enum { COST_NOMINAL = 1024 };
double cost_nominal(const Expr *e);
double cost_nominal_elements(const Tensor *t);
double cost_nominal_bytes(const Tensor *t);
bool cost_is_known(const Expr *e);      // a number whatever the call

// Work of a kernel in numbers: bytes by where they come from, operations, the cores that take part (0: all).
typedef struct Work { double dram, shared, cache, flops, cores; } Work;
#define COST_OVERLAP 0.05       // of what is not the longest of traffic and arithmetic shows all the same [XLA's cost model has as much]
#define COST_SHARE 0.5          // of the shared cache a tensor may fill and still be there for the next kernel
void cost_add_bytes(const Machine *m, Work *w, double bytes, double whole);     // of a tensor of `whole` bytes
double cost_time(const Machine *m, const Work *w);      // ns, without the launch
#endif
