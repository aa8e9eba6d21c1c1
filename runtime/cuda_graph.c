// cuda_graph.c: runs replayed as CUDA graphs. See cuda_graph.h.
#include "runtime/cuda_graph.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef enum GraphState { GRAPH_NONE, GRAPH_SEEN, GRAPH_READY, GRAPH_REFUSED } GraphState;
typedef struct Graph { GraphState state; char *key; CuGraphExec exec; uint64_t used; } Graph;

struct CudaGraphs {
  const CudaDevice *d;
  pthread_mutex_t lock;
  size_t key_bytes;
  char *key;                           // of the run in work
  Graph graph[CUDA_GRAPHS];
  uint64_t runs;
  CuStream stream;                     // to capture on; NULL: none yet
};

static bool has_graphs(const CudaDriver *f) {
  return f->capture_begin && f->capture_end && f->graph_instantiate && f->graph_launch && f->graph_destroy && f->graph_exec_destroy;
}

CudaGraphs *cuda_graphs_create(const CudaDevice *d, size_t key_bytes) {
  CudaGraphs *g = has_graphs(d->f) ? calloc(1, sizeof *g) : NULL;
  char *keys = g ? calloc(CUDA_GRAPHS + 1, key_bytes ? key_bytes : 1) : NULL;
  if (!keys) return free(g), NULL;
  g->d = d;
  g->key_bytes = key_bytes;
  g->key = keys;
  for (int i = 0; i < CUDA_GRAPHS; i++) g->graph[i].key = keys + (size_t)(i + 1) * key_bytes;
  pthread_mutex_init(&g->lock, NULL);
  return g;
}

static void drop(const CudaGraphs *g, Graph *x) {
  if (x->state == GRAPH_READY) g->d->f->graph_exec_destroy(x->exec);
  x->state = GRAPH_NONE;
}

void cuda_graphs_free(CudaGraphs *g) {
  CudaScope s;
  if (!g) return;
  if (cuda_enter(g->d, &s, NULL)) {
    for (int i = 0; i < CUDA_GRAPHS; i++) drop(g, &g->graph[i]);
    if (g->stream) g->d->f->stream_destroy(g->stream);
    cuda_leave(&s);
  }
  pthread_mutex_destroy(&g->lock);
  free(g->key);
  free(g);
}

void *cuda_graphs_begin(CudaGraphs *g) { return g && pthread_mutex_trylock(&g->lock) == 0 ? g->key : NULL; }
void cuda_graphs_end(CudaGraphs *g) { pthread_mutex_unlock(&g->lock); }

// The place of the key; the one least recently used when it is new.
static int place_of(const CudaGraphs *g) {
  int oldest = 0;
  for (int i = 0; i < CUDA_GRAPHS; i++) {
    if (g->graph[i].state && memcmp(g->graph[i].key, g->key, g->key_bytes) == 0) return i;
    if (g->graph[i].used < g->graph[oldest].used) oldest = i;
  }
  return oldest;
}

int cuda_graphs_find(CudaGraphs *g) {
  int place = place_of(g);
  Graph *x = &g->graph[place];
  bool known = x->state && memcmp(x->key, g->key, g->key_bytes) == 0;
  x->used = ++g->runs;
  if (known) return x->state == GRAPH_REFUSED ? -1 : place;
  drop(g, x);
  memcpy(x->key, g->key, g->key_bytes);
  x->state = GRAPH_SEEN;
  return -1;
}

// Relaxed, so that captures of the caller's own threads are neither disturbed nor a hindrance.
static bool capture(CudaGraphs *g, CudaLaunches *launch, void *cx, CuGraph *out) {
  const CudaDriver *f = g->d->f;
  if (!g->stream && f->stream_create(&g->stream, CU_NON_BLOCKING)) return g->stream = NULL, false;
  if (f->capture_begin(g->stream, CU_CAPTURE_RELAXED)) return false;
  bool good = launch(cx, g->stream);
  return f->capture_end(g->stream, out) == CU_OK && good;
}

static bool make(CudaGraphs *g, Graph *x, CudaLaunches *launch, void *cx) {
  CuGraph graph = NULL;
  bool good = capture(g, launch, cx, &graph) && g->d->f->graph_instantiate(&x->exec, graph, 0) == CU_OK;
  if (graph) g->d->f->graph_destroy(graph);
  x->state = good ? GRAPH_READY : GRAPH_REFUSED;
  return good;
}

bool cuda_graphs_launch(CudaGraphs *g, int place, CuStream s, CudaLaunches *launch, void *cx) {
  Graph *x = &g->graph[place];
  if (x->state == GRAPH_SEEN && !make(g, x, launch, cx)) return false;
  if (g->d->f->graph_launch(x->exec, s) == CU_OK) return true;
  drop(g, x);
  x->state = GRAPH_REFUSED;
  return false;
}
