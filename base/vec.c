// vec.c: growth of arena arrays.
#include "base/vec.h"
#include <assert.h>
#include <limits.h>
#include <string.h>

void *vec_grow(Arena *a, const void *old, int *cap, int n, size_t size) {
  assert(n <= INT_MAX / 2 && "vector of 2^30 elements");
  *cap = n ? n * 2 : 4;
  void *v = arena_alloc_array(a, (size_t)*cap, size);
  if (n) memcpy(v, old, (size_t)n * size);
  return v;
}
