// group_order.c: an order in which everything stands after what it waits for.
#include "passes/group_int.h"

Order order_make(Arena *a, int n, const uint64_t *key) {
  return (Order){ .a = a, .n = n, .key = key, .after = arena_array(a, Edges, n + 1), .waits = arena_array(a, int, n + 1) };
}

void order_edge(Order *o, int from, int to) {
  vec_push(o->a, &o->after[from].to, to);
  o->waits[to]++;
}

// The ready ones, a heap by key.

static void swap(Order *o, int i, int j) { int t = o->ready.v[i]; o->ready.v[i] = o->ready.v[j]; o->ready.v[j] = t; }
static bool less(const Order *o, int i, int j) { return o->key[o->ready.v[i]] < o->key[o->ready.v[j]]; }

static void push(Order *o, int x) {
  vec_push(o->a, &o->ready, x);
  for (int i = o->ready.n - 1; i > 0 && less(o, i, (i - 1) / 2); i = (i - 1) / 2) swap(o, i, (i - 1) / 2);
}

static int pop(Order *o) {
  int top = o->ready.v[0];
  o->ready.v[0] = o->ready.v[--o->ready.n];
  for (int i = 0, best;; i = best) {
    best = i;
    for (int c = 2 * i + 1; c <= 2 * i + 2; c++) if (c < o->ready.n && less(o, c, best)) best = c;
    if (best == i) return top;
    swap(o, i, best);
  }
}

bool order_take(Order *o, int *out) {
  int k = 0;
  for (int i = 0; i < o->n; i++) if (!o->waits[i]) push(o, i);
  while (o->ready.n) {
    int x = out[k++] = pop(o);
    for (int j = 0; j < o->after[x].to.n; j++) if (--o->waits[o->after[x].to.v[j]] == 0) push(o, o->after[x].to.v[j]);
  }
  return k == o->n;
}
