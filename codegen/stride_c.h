// stride_c.h: every second, third or fourth element of memory as a block of lanes, for vector_c.c.
#ifndef PLAIT_CODEGEN_STRIDE_C_H
#define PLAIT_CODEGEN_STRIDE_C_H
#include "codegen/emit.h"

// Takes, for the block of `loop` that begins at the step `block` (a text), of which `rest` steps run (a text; NULL: all), what the loop reads at such a stride; what is
// printed until e->drawn is emptied takes it from there.
void c_stride_open(Emit *e, const Stmt *loop, const char *block, const char *rest);
// The functions that do it.
void c_stride_functions(Emit *e);
// Names that they take in the file.
void c_stride_names(Emit *e);
#endif
