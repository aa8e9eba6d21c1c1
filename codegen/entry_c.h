// entry_c.h: the C functions that run a plan: the documented entry with its types, and the uniform one for the JIT.
#ifndef PLAIT_CODEGEN_ENTRY_C_H
#define PLAIT_CODEGEN_ENTRY_C_H
#include "codegen/emit.h"

void c_entry(Emit *e, Buf *header);
// A kernel's parameter as C text.
const char *c_parameter(Emit *e, const Param *p, const char *restrict_word);
// Appends an item to a list in brackets, on a new line where the present one is full.
void c_append(Buf *list, bool comma, const char *item);
#endif
