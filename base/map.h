// map.h: a hash map from 64-bit keys (ids, or pointers) to pointers, in an arena.
// Iteration is not offered: no output may depend on hash order.
#ifndef PLAIT_BASE_MAP_H
#define PLAIT_BASE_MAP_H
#include "base/arena.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct MapSlot { uint64_t key; void *value; } MapSlot;
typedef struct Map { MapSlot *slot; int n, cap; Arena *a; } Map;

Map map_make(Arena *a);
// A map that lives no longer than its caller, whose first slots are the caller's: zeros. It takes memory of the arena when it is half full.
enum { MAP_FEW = 64 };
Map map_on(MapSlot few[MAP_FEW], Arena *a);
void *map_get(const Map *m, uint64_t key);             // NULL when absent
void map_put(Map *m, uint64_t key, void *value);       // value must not be NULL; replaces
bool map_add(Map *m, uint64_t key);                    // true when the key was absent; it has some value now
#define map_getp(m, p) map_get((m), (uint64_t)(uintptr_t)(p))
#define map_putp(m, p, value) map_put((m), (uint64_t)(uintptr_t)(p), (value))
#endif
