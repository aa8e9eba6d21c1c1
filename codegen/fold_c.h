// fold_c.h: what the lanes of a reduction make together, for target_c.c.
#ifndef PLAIT_CODEGEN_FOLD_C_H
#define PLAIT_CODEGEN_FOLD_C_H
#include "codegen/emit.h"

// FOLD: the arrays of `lanes` partial results give way to scalars.
void c_fold(Emit *e, const Stmt *s);
void c_fold_prologue(Emit *e);
void c_fold_names(Emit *e);
#endif
