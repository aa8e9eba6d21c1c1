// uses.h: what a kernel, a loop or an entry uses of what the file has names for.
#ifndef PLAIT_CODEGEN_USES_H
#define PLAIT_CODEGEN_USES_H
#include "base/map.h"
#include "base/vec.h"
#include <stdbool.h>

typedef struct Uses {
  Arena *a;
  Map has;                  // object -> non-NULL
  VEC(const void *) list;   // each once, in the order of their first use
} Uses;

Uses uses_make(Arena *a);
void uses_put(Uses *u, const void *object);
bool uses_has(const Uses *u, const void *object);

// Positions of what u has of the numbered objects (`number`: object -> position + 1), ascending; the work is that of u's
// length, not of all that have a number. Returns how many there are.
int uses_sorted(const Uses *u, const Map *number, int **position);
#endif
