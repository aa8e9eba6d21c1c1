// cuda_graph.h: runs that come again with the same arguments, replayed as one CUDA graph.
//
// A graph costs the host one call for all its kernels, and the device half as much time between them (1.1 us beside some
// 3.5 us a kernel of a stream, H100). Making one takes as long as some tens of launches, so it is made when arguments come
// for the second time. Few sets of arguments are kept: a caller who changes them all the time gains nothing here and
// should not ask for it.
#ifndef PLAIT_RUNTIME_CUDA_GRAPH_H
#define PLAIT_RUNTIME_CUDA_GRAPH_H
#include "runtime/cuda.h"

enum { CUDA_GRAPHS = 4 };              // sets of arguments that are kept

typedef struct CudaGraphs CudaGraphs;

// key_bytes: of what tells one run from another. NULL without memory, or with a driver that has no graphs.
CudaGraphs *cuda_graphs_create(const CudaDevice *d, size_t key_bytes);
void cuda_graphs_free(CudaGraphs *g);  // nothing of it may be running

// Where to write the key of a run; NULL when another thread is at it, and the run goes the plain way. Pairs with end.
void *cuda_graphs_begin(CudaGraphs *g);
// The place of this key, 0 to CUDA_GRAPHS - 1, if it has come before and a graph is worth trying; -1: not.
int cuda_graphs_find(CudaGraphs *g);
// Puts the graph at `place` on the stream; `launch` puts the run's kernels on the stream that it is given and is called to
// make the graph. False when there cannot be one (never tried again): the run goes the plain way.
typedef bool CudaLaunches(void *cx, CuStream s);
bool cuda_graphs_launch(CudaGraphs *g, int place, CuStream s, CudaLaunches *launch, void *cx);
void cuda_graphs_end(CudaGraphs *g);
#endif
