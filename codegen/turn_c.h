// turn_c.h: staging a turned copy of part of a matrix, in C, for target_c.c.
#ifndef PLAIT_CODEGEN_TURN_C_H
#define PLAIT_CODEGEN_TURN_C_H
#include "codegen/emit.h"

void c_stage(Emit *e, const Stmt *s);
// Rows of a few elements: how many, or 0 where `s` is not about such. `memory` and `tile` are addresses.
int c_parts(const Stmt *s);
void c_stage_parts(Emit *e, const Stmt *s, const char *memory, const char *tile);
void c_parts_prologue(Emit *e);
// The helpers that the STAGE statements of this file call.
void c_turn_prologue(Emit *e);
void c_turn_names(Emit *e);
#endif
