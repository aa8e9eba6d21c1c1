// gpu_team.h: shared by gpu_team.c and what it calls.
#ifndef PLAIT_PASSES_GPU_TEAM_H
#define PLAIT_PASSES_GPU_TEAM_H
#include "passes/gpu_vector.h"

typedef struct Team {
  Nest *n; Gpu *g;
  int size, threads, cluster;   // of a team and of a block; blocks of a cluster
  Expr *member;                 // the thread's number in its team
  int level;                    // of the block being made: 1 is the team's own
  Map shared;                   // loops whose steps the team shares out -> themselves
  VEC(Stmt *) loops;            // the same in order
  Map whole;                    // IF and LOOP that the whole team runs -> themselves
  Map extents;                  // local array -> how many values it needs to hold
  Map folded;                   // Var -> itself: each thread has its part of the sum until FOLD
  Expr *shared_bytes;           // of the arrays so far
  Map written, owned;           // Tensor → itself: what the team writes; of that, what each thread reads only where it wrote
  // The row that loops walk in vectors (gpu_row.c); row 0: there is none.
  int64_t row;
  int lanes;                    // of a vector
  int items;                    // vectors of a row that each thread has, all at once; 0: one after the other
  Map vector;                   // its loops → themselves; those on the team's own level keep rows
  Rows rows; bool loaded;
} Team;

bool gpu_walks_memory(Team *t, const Stmt *loop);          // its steps read or write side by side
void gpu_find_row(Team *t);                                // the row, its loops, and the size of the team for it
Stmt *gpu_load_rows(Team *t);                              // before the first of them
Stmt *gpu_row_loop(Team *t, Stmt *loop, bool keeps);

Stmt *team_block(Team *t, Stmt *s, bool again);            // what each thread of the team runs
void gpu_owned(Team *t);                                   // gpu_barrier.c: before the team's statements are made
void gpu_barriers(Team *t, Stmt *body);
#endif
