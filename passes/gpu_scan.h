// gpu_scan.h: shared by the files gpu_scan*.c and gpu_team.c: prefixes along a loop, by threads side by side.
#ifndef PLAIT_PASSES_GPU_SCAN_H
#define PLAIT_PASSES_GPU_SCAN_H
#include "passes/gpu_vector.h"

enum { GPU_MOST_SUMS = 4 };

// A loop that runs in order for nothing but sums, of which it uses what they are so far.
typedef struct Scan {
  const Nest *n; Gpu *g;
  Stmt *loop;
  Stmt *acc[GPU_MOST_SUMS]; int sums;
  Map late;                     // Var → itself: depends on what a sum is so far
  Map written;
  int lanes, threads;           // elements that lie side by side of a thread; that have a tile
  Expr *member;                 // the thread's number among them
} Scan;

// Of loop, and n: where it stands. False when it is none.
bool gpu_scan_find(Scan *s, const Nest *n, Stmt *loop);
// Lanes for so many threads, from what the loop reads.
void gpu_scan_lanes(Scan *s);
int64_t gpu_scan_tile(const Scan *s);                      // elements of a tile
// The steps from..to by the threads, in tiles; from is a multiple of a tile, to too or the loop's end. The sums begin and end where the loop's did.
Stmt *gpu_scan_tiles(const Scan *s, Expr *from, Expr *to);
// What the steps from..to add, each thread its part, to sum[k]; no prefix is made.
Stmt *gpu_scan_totals(const Scan *s, Expr *from, Expr *to, Var *const *sum);
Stmt *gpu_scan_var(const Scan *s, int k, const char *name, Expr *first);     // a variable of sum k's type; first NULL: of no terms
Stmt *gpu_scan_add(const Scan *s, int k, Var *to, Expr *value);
// The steps' statements with other sums; without what depends on these if not `whole`.
Stmt *gpu_scan_body(const Scan *s, Var *const *sum, bool whole);
Expr *gpu_scan_div_up(Gpu *g, Expr *a, Expr *b);

// gpu_scan_wide.c: kernels for rows that are fewer than multiprocessors. False: n->k is still to be made, with a block a row; it has the condition for it.
bool gpu_scan_wide(Scan *s, Nest *n, Stmt *before);
bool gpu_scan_columns(Scan *s, Nest *n, Stmt *before);     // gpu_scan_columns.c: prefixes along columns; false: they are none
#endif
