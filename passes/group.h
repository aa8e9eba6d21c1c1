// group.h: what `group` hands to `lower`: sets of equations that become one kernel each.
#ifndef PLAIT_PASSES_GROUP_H
#define PLAIT_PASSES_GROUP_H
#include "passes/pass.h"

enum { MAX_GRID = 8 };

// One equation of a group. pos[g]: which of its indices is the group's grid index g.
typedef struct Member { Eqn *q; int pos[MAX_GRID]; } Member;

// Equations that share a kernel. Its grid indices run in parallel, outermost; each member has all of them, and every read
// of one member by another has exactly the grid's indices at their places: what a grid point reads of the group, the same
// grid point has made.
struct Group {
  int id;               // canonical: depends on the structure of the equations, not on their order or names
  VEC(Member) m;        // definitions before readers
  int ngrid;
  Index *grid[MAX_GRID];
  Expr *extent[MAX_GRID];
  uint64_t key;         // structural hash
};

void groups_print(const Pipe *p, Buf *out);
#endif
