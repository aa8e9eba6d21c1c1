// vector_cuda.h: what the threads of a team do together in CUDA C, and accesses of several elements, for target_cuda.c.
#ifndef PLAIT_CODEGEN_VECTOR_CUDA_H
#define PLAIT_CODEGEN_VECTOR_CUDA_H
#include "codegen/emit.h"

void cu_prologue(Emit *e);                             // macros that kernels of this file use
void cu_names(Emit *e);                                // takes the names of all helpers
void cu_fold(Emit *e, const Stmt *fold);
void cu_alloc(Emit *e, const Stmt *alloc);
void cu_move(Emit *e, const Stmt *move);
void cu_barrier(Emit *e, const Stmt *barrier);
void cu_forget(Emit *e, const Stmt *forget);
void cu_prefix(Emit *e, const Stmt *s);
bool cu_extreme(Emit *e, const Stmt *loop);            // prints a loop of max or min over a packed vector; false: it is none
const char *cu_packed(Emit *e, Dtype d, const char *array, const char *at);
#endif
