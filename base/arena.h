// arena.h: memory that is freed all at once.
//
// Three lifetimes use it: a context (interned names), a module (AST, Fn, Plan) and a pass
// (scratch). Nothing in frontend, ir, passes or codegen calls free.
#ifndef PLAIT_BASE_ARENA_H
#define PLAIT_BASE_ARENA_H
#include <stdarg.h>
#include <stddef.h>

typedef struct Arena Arena;

// A new, empty arena; never NULL. Out of memory aborts: sizes that a program text can ask for are
// limited long before (limits.h).
Arena *arena_create(void);

// Frees the arena and all that came from it. NULL is allowed.
void arena_destroy(Arena *a);

// `bytes` zeroed bytes, aligned for any type; a size of 0 gives a valid pointer.
void *arena_alloc(Arena *a, size_t bytes);

// n elements of `size` bytes each, zeroed; the product is checked.
void *arena_alloc_array(Arena *a, size_t n, size_t size);

// Copies of text, NUL-terminated.
char *arena_strndup(Arena *a, const char *s, size_t n);
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *a, const char *fmt, va_list ap);

// Bytes handed out so far.
size_t arena_used(const Arena *a);

#define arena_new(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define arena_array(a, T, n) ((T *)arena_alloc_array((a), (size_t)(n), sizeof(T)))
#endif
