// random_c.h: random numbers of a block of lanes, for vector_c.c.
#ifndef PLAIT_CODEGEN_RANDOM_C_H
#define PLAIT_CODEGEN_RANDOM_C_H
#include "codegen/emit.h"

// Draws, for the block of `loop` that begins at the step `block` (a text), the random numbers whose counters are those of neighbours from lane
// to lane; what is printed until c_random_close takes them from there. `whole`: all of its lanes run.
void c_random_open(Emit *e, const Stmt *loop, const char *block, bool whole);
void c_random_close(Emit *e);
// The functions that do it, once they are wanted.
void c_random_functions(Emit *e);
// Names that they take in the file.
void c_random_names(Emit *e);
#endif
