// map.c: open addressing with linear probing, at most half full; an empty slot has no value.
#include "base/map.h"
#include <assert.h>
#include <stddef.h>

Map map_make(Arena *a) { return (Map){.a = a}; }

Map map_on(MapSlot few[MAP_FEW], Arena *a) { return (Map){.slot = few, .cap = MAP_FEW, .a = a}; }

// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every bit of the key reaches the low ones.
static uint64_t spread(uint64_t v) {
  v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
  v = (v ^ v >> 27) * 0x94d049bb133111ebu;
  return v ^ v >> 31;
}

// The slot that holds key, or the empty one where it belongs.
static MapSlot *map_slot(const Map *m, uint64_t key) {
  uint64_t mask = (uint64_t)m->cap - 1;
  uint64_t at = spread(key) & mask;
  while (m->slot[at].value && m->slot[at].key != key) at = (at + 1) & mask;
  return &m->slot[at];
}

static void map_grow(Map *m) {
  Map old = *m;
  m->cap = old.cap ? old.cap * 2 : 16;
  m->slot = arena_array(m->a, MapSlot, m->cap);
  for (int i = 0; i < old.cap; i++)
    if (old.slot[i].value) *map_slot(m, old.slot[i].key) = old.slot[i];
}

void *map_get(const Map *m, uint64_t key) { return m->cap ? map_slot(m, key)->value : NULL; }

bool map_add(Map *m, uint64_t key) {
  if (2 * (m->n + 1) > m->cap) map_grow(m);
  MapSlot *s = map_slot(m, key);
  if (s->value) return false;
  *s = (MapSlot){key, m};
  m->n++;
  return true;
}

void map_put(Map *m, uint64_t key, void *value) {
  assert(value);
  if (2 * (m->n + 1) > m->cap) map_grow(m);
  MapSlot *s = map_slot(m, key);
  if (!s->value) m->n++;
  *s = (MapSlot){key, value};
}
