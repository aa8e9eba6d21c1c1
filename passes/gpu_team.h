// gpu_team.h: shared by gpu_team.c and what it calls.
#ifndef PLAIT_PASSES_GPU_TEAM_H
#define PLAIT_PASSES_GPU_TEAM_H
#include "passes/gpu.h"

typedef struct Team {
  Nest *n; Gpu *g;
  int size, threads, cluster;   // of a team and of a block; blocks of a cluster
  Expr *member;                 // the thread's number in its team
  Map shared;                   // loops whose steps the team shares out -> themselves
  VEC(Stmt *) loops;            // the same in order
  Map whole;                    // IF and LOOP that the whole team runs -> themselves
  Map extents;                  // local array -> how many values it needs to hold
  Map folded;                   // Var -> itself: each thread has its part of the sum until FOLD
  Expr *shared_bytes;           // of the arrays so far
} Team;

Stmt *team_block(Team *t, Stmt *s, bool again);            // what each thread of the team runs
void gpu_barriers(Team *t, Stmt *body);                    // gpu_barrier.c
#endif
