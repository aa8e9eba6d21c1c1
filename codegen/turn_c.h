// turn_c.h: staging a turned copy of part of a matrix, in C, for target_c.c.
#ifndef PLAIT_CODEGEN_TURN_C_H
#define PLAIT_CODEGEN_TURN_C_H
#include "codegen/emit.h"

void c_stage(Emit *e, const Stmt *s);
// The helpers that the STAGE statements of this file call.
void c_turn_prologue(Emit *e);
void c_turn_names(Emit *e);
#endif
