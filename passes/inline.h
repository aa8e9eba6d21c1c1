// inline.h: shared by inline.c and inline_choose.c only.
#ifndef PLAIT_PASSES_INLINE_H
#define PLAIT_PASSES_INLINE_H
#include "passes/pass.h"

enum { NEVER = 1 << 30, TINY_STEPS = 8 };      // TINY_STEPS: of a reduction that may be written out

typedef struct Info Info;

// A READ of a tensor in the body of another equation. evals: how often it is evaluated while that body is evaluated at
// each of its elements once.
typedef struct Use { Info *reader; const Expr *read; double evals; } Use;

// A tensor and its definition.
struct Info {
  Eqn *q;               // NULL for inputs
  int order;            // its place among the equations
  int updated_at;       // place of the update that ends this version's life; NEVER when none
  bool whole;           // some reader that is wanted itself reads every element
  bool touched;         // some reader that is touched itself, or stored, reads a good part of it whatever the data
  bool fails, inherits; // evaluating an element may fail by itself, because of what may move into it
  bool heavy;           // there is a reduction in it, or in what may move into it
  bool scanned;         // all its reads were looked at
  bool forced;          // moves whatever it costs
  bool stays;           // the choice: stored, or kept in a variable by a reader in its loop
  bool reduces;         // there is a reduction in the body
  bool tiny;            // the body is a reduction of a few steps, which some reader needs at other places than its own
  int until;            // the last place at which it may be evaluated
  int depth;            // of its body, with what moves into it
  Expr *expanded;       // its body with what moves into it, where that is kept
  // inline_choose.c
  VEC(Use) uses;
  double points;        // elements
  double flops;         // of the body at one element, without what moves into it
  double evals;         // of the body, all readers together
  Info *carrier;        // the equation that is stored and bears its operations
  double slack;         // ns of operations that hide behind the traffic of its own
  int nodes;            // of its definition
  Info *root;           // the equation in which most of its copies stand, and how many those are; itself and 1 where it is not moved
  double copies, here;  // here: of what is being looked at, in this one
};

typedef struct Inline {
  Pipe *p;
  Fn *f;
  Info *info;           // by tensor id
  Eqn *q;               // being surveyed
  VEC(Info *) marked;   // tensors that q was the first to read whole
  Map proven, unproven; // READs by id: subscripts in range in some place; perhaps not in some place
  Map going;            // (equation, READ): substituted
  Map values;           // (equation, READ) → Map of what stands for it, by the READ that it is with subscripts rewritten
} Inline;

static inline bool inline_may_move(const Info *t) {
  return t->q && t->q->def->role == ROLE_LOCAL && !t->q->recurrent && !t->q->def->fmt && (t->forced || t->tiny || t->q->body->op != OP_REDUCE);
}

// Sets `stays` where storing is cheaper than computing again.
void inline_choose(Inline *in);
#endif
