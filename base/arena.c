// arena.c: a list of growing chunks; each allocation moves a pointer forward.
#include "base/arena.h"
#include <assert.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_FIRST = 1 << 10, CHUNK_MOST = 1 << 20 };

typedef struct Chunk {
  struct Chunk *next;
  size_t used, size;                      // of data
  alignas(max_align_t) char data[];
} Chunk;

struct Arena { Chunk *chunk; size_t used; };

Arena *arena_create(void) {
  Arena *a = calloc(1, sizeof *a);
  if (!a) abort();
  return a;
}

void arena_destroy(Arena *a) {
  if (!a) return;
  for (Chunk *c = a->chunk, *next; c; c = next) {
    next = c->next;
    free(c);
  }
  free(a);
}

static Chunk *chunk_create(size_t size) {
  Chunk *c = size > SIZE_MAX / 2 ? NULL : calloc(1, sizeof *c + size);
  if (!c) abort();
  c->size = size;
  return c;
}

// A chunk with room for `bytes`. A large request gets a chunk of its own behind the current one, which keeps
// serving the small ones.
static Chunk *chunk_for(Arena *a, size_t bytes) {
  Chunk *top = a->chunk;
  if (top && top->size - top->used >= bytes) return top;
  if (top && bytes > CHUNK_MOST / 4) {
    Chunk *own = chunk_create(bytes);
    own->next = top->next;
    return top->next = own;
  }
  size_t size = top ? top->size * 2 : CHUNK_FIRST;
  if (size > CHUNK_MOST) size = CHUNK_MOST;
  Chunk *c = chunk_create(size > bytes ? size : bytes);
  c->next = top;
  return a->chunk = c;
}

void *arena_alloc(Arena *a, size_t bytes) {
  size_t align = alignof(max_align_t);
  if (bytes > SIZE_MAX / 4) abort();
  bytes = bytes ? (bytes + align - 1) / align * align : align;
  Chunk *c = chunk_for(a, bytes);
  void *p = c->data + c->used;
  c->used += bytes;
  a->used += bytes;
  return p;
}

void *arena_alloc_array(Arena *a, size_t n, size_t size) {
  if (size && n > SIZE_MAX / size) abort();
  return arena_alloc(a, n * size);
}

char *arena_strndup(Arena *a, const char *s, size_t n) {
  char *p = arena_alloc(a, n + 1);
  if (n) memcpy(p, s, n);
  return p;
}

// Most texts are short: they are printed once.
char *arena_vprintf(Arena *a, const char *fmt, va_list ap) {
  char few[256];
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(few, sizeof few, fmt, ap);
  assert(n >= 0 && "format");
  char *p = arena_alloc(a, (size_t)n + 1);
  if ((size_t)n < sizeof few) memcpy(p, few, (size_t)n);
  else vsnprintf(p, (size_t)n + 1, fmt, again);
  va_end(again);
  return p;
}

char *arena_printf(Arena *a, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *p = arena_vprintf(a, fmt, ap);
  va_end(ap);
  return p;
}

size_t arena_used(const Arena *a) { return a->used; }
