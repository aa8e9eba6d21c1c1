// vec.h: growing arrays in an arena.
//
//   VEC(Expr *) terms = {0};
//   vec_push(arena, &terms, e);
//   for (int i = 0; i < terms.n; i++) use(terms.v[i]);
#ifndef PLAIT_BASE_VEC_H
#define PLAIT_BASE_VEC_H
#include "base/arena.h"

#define VEC(T) struct { T *v; int n, cap; }

// Appends x; the storage moves as it grows (the old one stays in the arena).
#define vec_push(a, vec, ...)                                                                  \
  ((vec)->n == (vec)->cap                                                                      \
     ? (void)((vec)->v = vec_grow((a), (vec)->v, &(vec)->cap, (vec)->n, sizeof *(vec)->v))     \
     : (void)0,                                                                                \
   (vec)->v[(vec)->n++] = (__VA_ARGS__))

// Storage for at least n + 1 elements holding the first n of `old`; *cap is updated.
void *vec_grow(Arena *a, const void *old, int *cap, int n, size_t size);
#endif
