// sema.h: from the text of a program to the equations of one function: names, types, extents, calls inlined.
#ifndef PLAIT_FRONTEND_SEMA_H
#define PLAIT_FRONTEND_SEMA_H
#include "frontend/import.h"
#include "ir/fn.h"

// All files of one compilation: functions, formats and constants by scope.
typedef struct Program Program;

// Parses the main file `path` with text `text` (kept by pointer), its imports through `reader` (NULL: none can be
// read) and the standard library. Never NULL: what could not be parsed is missing and d has the errors.
Program *program_load(Arena *a, Interner *names, Diags *d, const char *path, const char *text, size_t len,
                      ImportReader reader, void *cx);

// The entry points of the main file in its order: functions whose types are concrete. Gives their number and writes
// the first `max` names (names may be NULL).
int program_entries(const Program *p, Name *names, int max);

// One entry point as a Fn in `a`, everything inlined; entry NULL: the only one. NULL after diagnostics.
Fn *program_elaborate(Program *p, const char *entry, Arena *a);

// Checks every function, format and constant of the main file, called or not; generic functions with f32 for type
// variables and two choices of `..`. True when there are no errors.
bool program_check(Program *p);
#endif
