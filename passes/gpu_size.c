// gpu_size.c: how many threads, blocks and vectors a row gets.
#include "passes/gpu_team.h"

enum {
  MOST_ITEMS = 16,              // vectors of a thread
  MOST_REGISTERS = 128,         // of a thread
  FILE_WORDS = 65536,           // registers of a multiprocessor (CUDA C++ Guide, Compute Capabilities)
  OTHER_WORDS = 16,             // of a thread beside what it keeps
  MOST_THREADS = 1024, LEAST_THREADS = 128, MOST_CLUSTER = 8,
  IN_FLIGHT = 32 << 10,         // bytes that loads of one multiprocessor must wait for at a time, to fill the time that memory takes
  TILE_REGISTERS = 64,
  MANY_VECTORS = 4096,          // of a row in tiles, from which on its block has the most threads (H100, log-sum-exp of 32,768 bf16: 171.7 us, 177.4 with 256)
  LEAST_SHARE = 2048,           // vectors of a block that is one of a cluster
  MANY_ITEMS = 4,               // from which on widened elements are not kept, …
  CHEAP = 32,                   // … where all loops together take no more operations (ops.def, flops) for an element
  SHARED_COST = 40,             // of a row in shared memory, which goes there and back once more for each loop: more than a cluster's barriers (H100: 1.02 to 1.28 times
                                // the cluster's time), so for devices without clusters
  SIMPLE = 40,                  // nodes of expressions up to which the registers are known well enough to ask the compiler for them
  MOST_PART = 8, LEAST_PART = 4, // vectors of a thread that keeps part of its row
  CACHED = 20 << 20,            // bytes that are read again soon and come from the shared cache, of which an H100 has 50 MB
  EARLY_REGISTERS = 64          // what is used once is loaded ahead of time where that leaves room for others
};

bool gpu_row_forgets(int items, const RowNeeds *k) { return items >= MANY_ITEMS && k->flops <= CHEAP; }

// Registers of a thread that has so many vectors. What the last loop reads is loaded while others still run. Compilers keep narrow elements
// widened, too, unless told to forget; then those of two vectors or so.
static int registers(int64_t items, const RowNeeds *k) {
  return (int)(items * (k->words + (k->loops > 1 ? k->once : 0))) + k->widened * (gpu_row_forgets((int)items, k) ? 2 : (int)items) + OTHER_WORDS;
}

// Blocks of this size that a multiprocessor has registers for, when the compiler saves where it can.
static int room_for(const Team *t, int threads, int regs) {
  int blocks = 0;
  while ((blocks + 1) * threads <= t->g->m->threads && FILE_WORDS / ((blocks + 1) * threads) / 8 * 8 >= regs * 7 / 8) blocks++;
  return blocks;
}

static bool fits(const Team *t, int64_t items, int threads, const RowNeeds *k) {
  return items <= MOST_ITEMS && registers(items, k) <= MOST_REGISTERS && room_for(t, threads, registers(items, k)) > 0;
}

static int round_up(int64_t n, int to) { return (int)((n + to - 1) / to * to); }

typedef struct Size { int items, threads, cluster; bool in_shared, in_part; double worth; } Size;

// Blocks of one multiprocessor at a time, where there are enough.
static double resident(const Team *t, const Size *z, const RowNeeds *k) {
  double most = room_for(t, z->threads, registers(z->items, k)), points = 0;
  if (t->n->points->op == OP_CONST) points = (double)t->n->points->u.v.i * z->cluster / t->g->m->cores;
  return points > 0 && points < most ? points : most;
}

// See Note [How many threads a row gets]. Where rows are fewer than multiprocessors, threads with few steps end first.
static double worth(const Team *t, const Size *z, const RowNeeds *k) {
  double blocks = resident(t, z, k), loading = blocks * z->threads * z->items * 16;
  double barriers = z->cluster == 1 ? 0 : z->cluster == 2 ? 24 : z->cluster == 4 ? 30 : 36;
  double many = 100 * (loading < IN_FLIGHT ? loading / IN_FLIGHT : 1) + 10 * (blocks < 4 ? blocks : 4);
  return (blocks < 1 ? -z->items : many - (z->items > 8 ? 15 : 0)) - barriers;
}

static int64_t row_bytes(int64_t vectors, const RowNeeds *k) { return vectors * k->words * 4; }

// Blocks of a multiprocessor that have so much shared memory each.
static int blocks_with(const Team *t, int threads, int64_t bytes) {
  const Machine *m = t->g->m;
  int64_t blocks = (m->block_bytes + 1024) / (bytes + 1024);
  return (int)(blocks < m->threads / threads ? blocks : m->threads / threads);
}

// A block that keeps its row in shared memory: any number of threads can, and all of the row is on its way at a time. (Values that loops write
// there go one by one, with conflicts of banks.)
static Size best_shared(const Team *t, int64_t vectors, const RowNeeds *k) {
  int64_t bytes = row_bytes(vectors, k);
  Size z = { 0, vectors >= 8 * MOST_THREADS ? MOST_THREADS : MOST_THREADS / 2, 1, true, false, -1e9 };
  int blocks = blocks_with(t, z.threads, bytes + t->g->m->block_bytes / 64);       // and what folds take
  if (blocks < 1 || k->together || k->made || bytes < IN_FLIGHT) return z;
  z.worth = 100 + 10 * (blocks < 4 ? blocks : 4) - SHARED_COST;
  return z;
}

// As many vectors as a block of the most threads has registers for; 0: none.
static int most_kept(const Team *t, const RowNeeds *k) {
  int items = MOST_PART;
  while (items >= LEAST_PART && !fits(t, items, MOST_THREADS, k)) items--;
  return items >= LEAST_PART ? items : 0;
}

// A block that keeps the first part of its row and reads the rest again, from the cache that all share. See Note [Rows in part].
static bool best_part(const Team *t, int64_t vectors, const RowNeeds *k, Size *z) {
  const Expr *points = t->n->points;
  int items = k->made || k->together || k->whole ? 0 : most_kept(t, k);
  if (!items || t->g->m->arch < 90 || points->op != OP_CONST) return false;
  int64_t cores = t->g->m->cores, rows = points->u.v.i, left = vectors - (int64_t)items * MOST_THREADS;
  *z = (Size){ items, MOST_THREADS, 1, false, true, 0 };
  return left >= MOST_THREADS && rows <= cores && 4 * rows >= 3 * cores && rows * row_bytes(left, k) <= CACHED;
}

// A block of `items` vectors a thread, or a cluster of blocks.
static bool best_block(Team *t, Row *r, const RowNeeds *k) {
  static const int items[] = { 2, 3, 4, 1, 5, 6, 7, 8, 10, 12, 16 };
  int64_t vectors = r->length / r->lanes, clusters = t->g->m->arch >= 90 && !k->together ? MOST_CLUSTER : 1;
  Size best = { .worth = -1e9 };
  for (int cluster = 1; cluster <= clusters; cluster *= 2)
    for (unsigned i = 0; i < sizeof items / sizeof *items; i++) {
      int64_t mine = (vectors + cluster - 1) / cluster;
      if (cluster > 1 && mine < LEAST_SHARE) continue;
      Size z = { items[i], round_up((mine + items[i] - 1) / items[i], GPU_LANES), cluster, false, false, 0 };
      if ((z.threads < LEAST_THREADS && items[i] > 1) || z.threads > MOST_THREADS || !fits(t, items[i], z.threads, k)) continue;
      z.worth = worth(t, &z, k);
      if (z.worth > best.worth) best = z;
    }
  bool roomy = best.worth > -1e9 && best.cluster == 1 && best.items <= 8;       // in the registers of a block, and few of them
  Size shared = best_shared(t, vectors, k);
  if (!roomy && shared.worth > best.worth) best = shared;
  Size part;
  if (best.cluster > 1 && best_part(t, vectors, k, &part)) best = part;
  if (best.worth == -1e9) return false;
  r->in_shared = best.in_shared;
  r->in_part = best.in_part;
  r->items = best.items;
  t->threads = best.threads;
  t->cluster = best.cluster;
  t->size = t->threads * t->cluster;
  t->resident = best.in_part ? 0 : best.in_shared ? blocks_with(t, best.threads, row_bytes(vectors, k)) : k->nodes <= SIMPLE ? (int)resident(t, &best, k) : 0;
  return true;
}

// Few long rows get a cluster each, so that half the multiprocessors load; no more, for its barriers cost a microsecond.
static void spread(Team *t, int64_t vectors, const RowNeeds *k) {
  const Expr *points = t->n->points;
  if (t->g->m->arch < 90 || points->op != OP_CONST || k->together) return;
  while (t->cluster < MOST_CLUSTER && points->u.v.i <= t->g->m->cores / (4 * t->cluster) && vectors >= 4LL * t->cluster * t->threads) t->cluster *= 2;
  t->size = t->threads * t->cluster;
}

// A row that nothing is kept of.
static void size_for_stream(Team *t, Row *r, int64_t vectors, const RowNeeds *k) {
  t->threads = t->size = vectors <= 1024 ? 128 : vectors < 4096 ? 256 : 1024;
  spread(t, vectors, k);
  r->items = vectors <= 4LL * t->size ? (int)((vectors + t->size - 1) / t->size) : 0;
}

void gpu_size_row(Team *t, Row *r, const RowNeeds *k) {
  int64_t vectors = r->length / r->lanes;
  int64_t warp_items = (vectors + GPU_LANES - 1) / GPU_LANES;
  r->items = 0;
  if (vectors <= GPU_LANES / 2) {
    for (t->size = 1; t->size < vectors; t->size *= 2) {}
    r->items = 1;
    t->threads = LEAST_THREADS;
  } else if (warp_items <= (k->again ? 4 : 8) && fits(t, warp_items, LEAST_THREADS, k)) {
    t->size = GPU_LANES;
    r->items = (int)warp_items;
    t->threads = LEAST_THREADS;
  } else if (!k->again) {
    size_for_stream(t, r, vectors, k);
  } else if (!best_block(t, r, k)) {
    t->threads = t->size = vectors <= 8192 ? 256 : 512;
  }
}

void gpu_size_tiles(Team *t, Row *r, const RowNeeds *k) {
  if (!t->size) {
    int64_t vectors = r->host->hi->u.v.i / r->lanes;
    t->threads = t->size = vectors < MANY_VECTORS ? GPU_THREADS : MOST_THREADS;
    spread(t, vectors, k);
  }
  for (r->items = 4; r->items > 1 && registers(r->items, k) > TILE_REGISTERS; r->items--) {}
}

// What is used once can be loaded ahead of time, with the rest.
bool gpu_row_fits(const Team *t, int items, const RowNeeds *k) { return registers(items, k) <= EARLY_REGISTERS && fits(t, items, t->threads, k); }

// Note [How many threads a row gets]
//
// A row that is used again stays in registers: `items` vectors of 16 bytes a thread. Of the sizes of block that can have it, and of
// clusters of blocks where there are such, the one with the most worth is taken: enough bytes in flight on each multiprocessor (latency times
// bandwidth, some 25 KB on an H100), several blocks on it, so that one loads while another computes, and few barriers of a cluster.
// Shared memory is the next step: it has no more bytes than
// the registers, but keeps long rows with less of these for each thread. The compiler is then asked for room for as many blocks. Short rows get a warp, or a part of one: folds then need no
// barrier. Rows that nothing is kept of, and tiles, take blocks of one size; few long ones get a cluster each.
//
// Weights and limits are from sweeps on an H100 (2026-11-28) over softmax, RMS norm and layer norm of rows of 1,024 to 131,072 bf16 and of 1
// to 16,384 rows; they have not been swept again since narrow elements are forgotten between loops.

// Note [Rows in part]
//
// As many long rows as there are multiprocessors, or a few less, and each too long for a block's registers: a cluster of blocks has the registers, but then
// only half of the rows run at a time, and their loads, exponentials and stores come one behind the other, twice. A block that keeps half of its row
// and reads the other half once more for each loop finds that in the shared cache, as long as all rows' other halves fit there together: one wave, no barrier
// between blocks. H100, rows of bf16, us in clusters and in part: softmax [128, 131072] 32.1, 30.3; [128, 98304] 26.1, 23.0; RMS norm [128, 65536]
// 18.6, 14.6. Where rows are more, clusters of different rows overlap by themselves and win (softmax [1024, 131072]: 207, 233); beyond 20 MB, too.
