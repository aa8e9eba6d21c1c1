// fold_ptx.h: folds of one f32 over a team as a statement of inline PTX, for vector_cuda.c.
#ifndef PLAIT_CODEGEN_FOLD_PTX_H
#define PLAIT_CODEGEN_FOLD_PTX_H
#include "base/arena.h"
#include "ir/ops.h"

// combine: an instruction. mask: of the lanes that take part, C text; NULL: of whole warps. threads: of a block; 0: lanes alone, `lanes`
// of them a team. stride: between the threads of a team, 1 unless a block folds columns.
typedef struct PtxFold { const char *combine, *mask; int lanes, threads, stride; } PtxFold;

const char *ptx_combine(Reducer r, Dtype d);           // NULL: more than an instruction
// `asm volatile(…);` that folds v in all threads, over values in `part`, which begins at a multiple of 16 bytes; NULL: left to C.
const char *ptx_fold(Arena *a, const PtxFold *f);
#endif
