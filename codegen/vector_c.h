// vector_c.h: vector loops in C, for target_c.c.
#ifndef PLAIT_CODEGEN_VECTOR_C_H
#define PLAIT_CODEGEN_VECTOR_C_H
#include "codegen/emit.h"

// A LANES or VEC loop from `lo` to `hi` (texts; simple): whole blocks of s->lanes steps, then the rest of them.
void c_vector_loop(Emit *e, const Stmt *s, const char *lo, const char *hi);
// Steps of a tile that one core takes at a time where such a loop is split over cores.
int c_tile_steps(const Stmt *loop);
// A PREFETCH that stands by itself.
void c_prefetch(Emit *e, const Stmt *s);
void c_line(Emit *e, const Stmt *s);
// The helpers that such loops of this file call.
void c_vector_prologue(Emit *e);
// The names that these take.
void c_vector_names(Emit *e);
#endif
