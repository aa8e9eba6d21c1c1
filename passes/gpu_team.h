// gpu_team.h: shared by gpu_team.c and what it calls.
#ifndef PLAIT_PASSES_GPU_TEAM_H
#define PLAIT_PASSES_GPU_TEAM_H
#include "passes/gpu_vector.h"

enum { GPU_MOST_ROWS = 8 };

// What loops over one row walk in vectors (gpu_row.c): a whole row, or the part of it that a tile is.
typedef struct Row {
  Stmt *host;                   // the loop over tiles that has these loops in its body; NULL: they stand on the team's own level
  int64_t length;
  int lanes;                    // of a vector
  int items;                    // vectors that each thread has, all at once; 0: one after the other
  Expr *steps;                  // of a tile
  Map vector, direct;           // its loops → themselves; those right in the body: they keep elements
  Rows kept; bool loaded, used, forgets;        // used: a loop over it has been made; forgets: what that unpacked is unpacked again
  bool in_shared;               // what is kept lies in shared memory, and items is 0
  bool in_part;                 // of the row's vectors `items` a thread are kept, the rest is read again by each loop
} Row;

typedef struct Team {
  Nest *n; Gpu *g;
  int size, threads, cluster;   // of a team and of a block; blocks of a cluster
  int resident;                 // blocks of a multiprocessor; 0: not asked for
  Expr *member;                 // the thread's number in its team
  Map shared;                   // loops whose steps the team shares out -> themselves
  VEC(Stmt *) loops;            // the same in order
  Map whole;                    // IF and LOOP that the whole team runs -> themselves
  Map extents;                  // local array -> how many values it needs to hold
  Map folded;                   // Var -> itself: each thread has its part of the sum until FOLD; then the team
  Expr *shared_bytes;           // of the arrays so far
  Map written, owned;           // Tensor → itself: what the team writes; of that, what each thread reads only where it wrote
  Map again;                    // loop, Var of argmax's index → what is looked at once more behind its FOLD (gpu_best.c)
  Row row[GPU_MOST_ROWS]; int nrows;
} Team;

void gpu_flatten(Nest *n);                                 // gpu_flatten.c: loops over neighbouring dimensions become one
// What of a row's elements loops use. Words: registers for a vector.
typedef struct RowNeeds {
  int words, once, widened;     // of what is used again; of what is read once; of narrow elements as they are computed with
  int loops, nodes, flops;      // how many, and of their expressions
  bool again;                   // something is used again
  bool made;                    // an array of the row, which loops write and others read
  bool whole;                   // a loop must stay one loop
  bool together;                // an array of the row lies in shared memory, where one block finds it
} RowNeeds;

// gpu_size.c
void gpu_size_row(Team *t, Row *r, const RowNeeds *k);     // the team and its vectors
void gpu_size_tiles(Team *t, Row *r, const RowNeeds *k);
bool gpu_row_fits(const Team *t, int items, const RowNeeds *k);
bool gpu_row_forgets(int items, const RowNeeds *k);        // narrow elements are unpacked again by each loop

// gpu_row.c
bool gpu_walks_memory(Team *t, const Stmt *loop);          // its steps read or write side by side
void gpu_find_rows(Team *t);                               // the rows, their loops, and the size of the team for them; none: nrows is 0
Row *gpu_row_of(Team *t, const Stmt *loop);                // NULL: it is no loop over a row
Tensor *gpu_row_array(const Team *t, const Tensor *local); // what of a local array is the thread's own; NULL: it is not in parts
Stmt *gpu_load_row(Team *t, Row *r);                       // before the first loop that keeps it
Stmt *gpu_row_loop(Team *t, Row *r, Stmt *loop, bool keeps);

void gpu_find_best(Team *t);                               // gpu_best.c: before the team's statements are made
void gpu_best_of_vectors(Team *t, const Stmt *loop, Stmt *made);       // `made` of a loop over a row: argmax by vectors
Stmt *gpu_best_again(Team *t, Stmt *fold);                 // with what comes behind

Stmt *gpu_stream(Team *t, Stmt *loop);                     // gpu_stream.c: a loop that begins at a multiple of a vector

Stmt *team_block(Team *t, Stmt *s, bool again);            // what each thread of the team runs
int gpu_team_arrays(const Team *t, const Stmt *s);         // local arrays of the team; those of a loop that it shares out are each thread's
void gpu_owned(Team *t);                                   // gpu_barrier.c: before the team's statements are made
void gpu_barriers(Team *t, Stmt *body);
#endif
