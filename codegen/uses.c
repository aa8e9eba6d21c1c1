// uses.c: what a kernel, a loop or an entry uses.
//
// Plans of many kernels have more tensors than any kernel uses, so a kernel's are sorted rather than looked for among all.
#include "codegen/uses.h"
#include <stdint.h>
#include <stdlib.h>

static const char present = 1;

Uses uses_make(Arena *a) { return (Uses){ .a = a, .has = map_make(a) }; }

bool uses_has(const Uses *u, const void *object) { return map_getp(&u->has, object) != NULL; }

void uses_put(Uses *u, const void *object) {
  if (uses_has(u, object)) return;
  map_putp(&u->has, object, (void *)&present);
  vec_push(u->a, &u->list, object);
}

static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

int uses_sorted(const Uses *u, const Map *number, int **position) {
  int n = 0;
  *position = arena_array(u->a, int, u->list.n + 1);
  for (int i = 0; i < u->list.n; i++) {
    int at = (int)(uintptr_t)map_getp(number, u->list.v[i]);
    if (at) (*position)[n++] = at - 1;
  }
  qsort(*position, (size_t)n, sizeof **position, ascending);
  return n;
}
