// side_c.h: how many lanes of a block a C compiler should compute side by side, for vector_c.c.
#ifndef PLAIT_CODEGEN_SIDE_C_H
#define PLAIT_CODEGEN_SIDE_C_H
#include "codegen/emit.h"

// A clause of `omp simd`, or "", for one pass of the loop's body over `count` lanes.
const char *c_side_by_side(Emit *e, const Stmt *loop, int count);
void c_side_prologue(Emit *e);
void c_side_names(Emit *e);
#endif
