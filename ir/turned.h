// turned.h: reads across the rows of what a nest of loops writes: x[…, j, …, i] in a nest whose innermost index is j.
#ifndef PLAIT_IR_TURNED_H
#define PLAIT_IR_TURNED_H
#include "ir/fn.h"

typedef struct Turned {
  Arena *a;
  int n; Index *const *ix;      // of the nest, innermost last
  int most;                     // reads wanted
  Index *across;                // the last subscript of all of them; NULL: there are none
  VEC(Expr *) reads;
} Turned;

// Adds the reads in e that are evaluated whatever the data, so that a whole tile of them may be loaded, and that are turned along one
// index. Elements have a byte or more; locals are left out.
void turned_find(Turned *t, Expr *e);
#endif
