// interp_memory.c: the interpreter's memory. How much it needs depends on data, so an arena, which aborts when
// there is no more, will not do; and it is the one place of ir that frees.
#include "ir/interp_int.h"
#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>

typedef struct MemoryBlock {
  struct MemoryBlock *before;
  alignas(max_align_t) unsigned char data[];
} MemoryBlock;

void *memory_zeroed(Memory *m, size_t n, size_t size) {
  if (size && n > INTERP_MEMORY / size) return NULL;
  size_t bytes = n * size;
  if (bytes > INTERP_MEMORY - m->used) return NULL;
  MemoryBlock *b = calloc(1, sizeof *b + bytes);
  if (!b) return NULL;
  b->before = m->last;
  m->last = b;
  m->used += bytes;
  return b->data;
}

void memory_release(Memory *m) {
  for (MemoryBlock *b = m->last, *before; b; b = before) {
    before = b->before;
    free(b);
  }
  *m = (Memory){0};
}

// Chunks form a list in both directions; those above the top are empty and wait to be used again.
typedef struct StackChunk {
  struct StackChunk *below, *above;
  size_t used, size;
  alignas(max_align_t) unsigned char data[];
} StackChunk;

enum { STACK_CHUNK = 1 << 16 };

static StackChunk *chunk_with(Stack *s, size_t bytes) {
  for (StackChunk *c = s->top ? s->top->above : NULL; c; c = c->above)
    if (c->size >= bytes) return c;      // those passed over stay empty until the stack has shrunk below them
  size_t size = bytes > STACK_CHUNK ? bytes : STACK_CHUNK;
  StackChunk *c = memory_zeroed(s->m, 1, sizeof *c + size), *last = s->top;
  if (!c) return NULL;
  while (last && last->above) last = last->above;
  c->size = size;
  c->below = last;
  if (last) last->above = c;
  return c;
}

void *stack_push(Stack *s, size_t bytes) {
  bytes = (bytes + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
  if (!s->top || s->top->size - s->top->used < bytes) {
    StackChunk *c = chunk_with(s, bytes);
    if (!c) return NULL;
    s->top = c;
  }
  void *p = s->top->data + s->top->used;
  s->top->used += bytes;
  return p;
}

// A chunk holds the piece when the piece's address lies in its used part; pieces are never empty.
static bool chunk_holds(const StackChunk *c, const void *piece) {
  uintptr_t p = (uintptr_t)piece, from = (uintptr_t)c->data;
  return p >= from && p < from + c->used;
}

void stack_pop(Stack *s, void *piece) {
  while (!chunk_holds(s->top, piece)) {
    s->top->used = 0;
    s->top = s->top->below;
    assert(s->top && "popped what was not pushed");
  }
  s->top->used = (size_t)((unsigned char *)piece - s->top->data);
}
