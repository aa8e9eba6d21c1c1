// group.h: what `group` hands to `lower`: sets of equations that become one kernel each.
#ifndef PLAIT_PASSES_GROUP_H
#define PLAIT_PASSES_GROUP_H
#include "passes/pass.h"

enum { MAX_GRID = 8 };

// One equation of a group, and where the group's grid indices are in it. pos[g] >= 0: grid index g is its index number
// pos[g]. pos[g] < 0: grid index g is its reduced index number -1 - pos[g], over the full range of the grid index; each grid
// point adds its share, and the value is there only when the whole kernel has run, so no member of the group reads it. Such
// a member's other indices, left of `=` and reduced, are inside; either all its pos are negative or none is.
typedef struct Member { Eqn *q; int pos[MAX_GRID]; } Member;

static inline bool member_is_partial(const Member *m, int ngrid) { return ngrid > 0 && m->pos[0] < 0; }

// Equations that share a kernel. Its grid indices run in parallel, outermost; each member has all of them, and every read
// of one member by another has exactly the grid's indices at their places: what a grid point reads of the group, the same
// grid point has made.
struct Group {
  int id;               // canonical: depends on the structure of the equations, not on their order or names
  int kernel;           // groups of one number share a launch, side by side: none of them needs another
  VEC(Member) m;        // definitions before readers
  int ngrid;
  Index *grid[MAX_GRID];
  Expr *extent[MAX_GRID];
  uint64_t key;         // structural hash
  double ns;            // by the model, at nominal extents where the call decides them; without the launch
};

void groups_print(const Pipe *p, Buf *out);
#endif
