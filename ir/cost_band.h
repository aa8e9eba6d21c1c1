// cost_band.h: how many elements a read touches that only some pairs of two indices make.
//
//   sum[j <= i](s[i, j])          N·(N + 1) / 2 elements
//   if j <= i then s[i, j] …      the same
#ifndef PLAIT_IR_COST_BAND_H
#define PLAIT_IR_COST_BAND_H
#include "ir/affine.h"

// Comparisons of indices that hold where a read stands; those beyond MAX_GUARDS are forgotten.
enum { MAX_GUARDS = 4 };
typedef struct Guards { int n; Expr *e[MAX_GUARDS]; bool truth[MAX_GUARDS]; uint64_t hash; } Guards;
void guards_add(Guards *g, Expr *cond, bool truth);

// count[d]: elements along dimension d of what `read` touches; their product is the number of all. For a read by plain indices of which one is
// bounded by another, in its range or by guards; else false. *part: equal for equal parts, whatever the equation.
bool cost_band(ExprTable *x, Ranges *facts, const Expr *read, const Guards *g, Expr **count, uint64_t *part);
#endif
