// state.h: a launch while it runs. Private to the emulator.
#ifndef PLAIT_CUDA_EMU_STATE_H
#define PLAIT_CUDA_EMU_STATE_H
#include "emu.h"
#include "fiber.h"
#include <pthread.h>

typedef struct Run Run;
typedef struct Block Block;
typedef struct Thread Thread;

// ---- who accessed a byte last (check.c) --------------------------------------------------------------------------

// Every block has a new segment from each barrier to the next; segments of one device have rising numbers, so those of
// an earlier launch are known by theirs.
typedef struct Segment { uint32_t block, epoch; } Segment;
enum { SEGMENT_NONE = 0, SEGMENT_FIRST = 1 };

enum { BY_ATOMIC = 1, BY_SEVERAL = 2, BY_SEVERAL_BLOCKS = 4, BY_COPY = 8 };
typedef struct Access {
  uint32_t segment;
  uint32_t stamp;            // the thread's clock within its warp
  uint32_t pc;               // from the start of the module
  uint16_t thread;           // within its block
  uint16_t flags;
} Access;
typedef struct Shadow {      // of one byte
  Access write, read;
  uint32_t lanes;            // of read.thread's warp, that read it in read.segment
} Shadow;

// What a thread or block knows of others: accesses of `block` before its `epoch`, and in that epoch those of `thread`
// (-1: of none).
typedef struct KnownBlock { uint32_t block, epoch; int32_t thread; } KnownBlock;
typedef struct Known { KnownBlock *v; int n, room; } Known;     // sorted by block

// ---- memory (memory.c) -------------------------------------------------------------------------------------------

typedef struct Range { const unsigned char *p; size_t n; } Range;

typedef struct Allocation {
  unsigned char *base; size_t bytes;
  unsigned char *map; size_t map_bytes;      // with the pages around it
  Shadow *shadow;                            // one for each byte; NULL before the first look
  Range *written; int nwritten, written_room;      // by the host, where the shadow says nothing
  bool writable;                             // by the kernel that is launched
  unsigned char *before, *after;             // copies, while orders are compared
} Allocation;

struct EmuDevice {
  size_t limit, used, shared_limit;
  Allocation *v; int n, room;                // sorted by address
  bool locked;
  uint32_t next_segment, last_first;         // last_first: the first segment of the launch before
  FiberStacks stacks;
  pthread_mutex_t lock;                      // of any_order
  Range *any_order; int nany, any_room;
};

Allocation *memory_find(const EmuDevice *d, const volatile void *p);      // whose bytes hold p, or NULL
Allocation *memory_near(const EmuDevice *d, const volatile void *p);      // whose pages hold p, or NULL
Shadow *memory_shadow(Allocation *a);                                     // NULL: out of memory
bool memory_initialised(const Allocation *a, const unsigned char *p);     // by the host
bool memory_sound(const EmuDevice *d, EmuFault *f);                       // nothing was written beside an allocation

// ---- modules (module.c) ------------------------------------------------------------------------------------------

typedef struct Variable { const char *name; size_t offset, bytes; } Variable;      // from the kernel's `shared`
typedef struct KernelMemory { Variable *v; int n; unsigned char *owner; size_t bytes, used; } KernelMemory;
                                             // owner[i]: 1 + the variable that byte i belongs to, 0: a gap
struct EmuModule {
  void *lib; int fd;
  EmuImage *image;
  unsigned char *low, *high;                 // where its code and data are
  unsigned char *base;                       // what its symbols are relative to
  const char *path;                          // for addr2line
  KernelMemory *memory;                      // of each kernel
  void *bytes; size_t size;                  // to load it once more
};
// "file:line" of an instruction, in `out`; "" when unknown.
const char *module_line(const EmuModule *m, uint32_t pc, char out[128]);

// ---- threads and blocks ------------------------------------------------------------------------------------------

typedef enum ThreadState { T_READY, T_BARRIER, T_WARP, T_CLUSTER, T_GRID, T_SPIN, T_DONE } ThreadState;
enum { MAX_CALLS = 16 };
typedef enum WarpOp { W_SYNC, W_SHUFFLE, W_VOTE, W_FOLD } WarpOp;

typedef struct Copy { unsigned char *to; const unsigned char *from; size_t bytes; int group; void *pc; int thread; } Copy;

struct Thread {
  EmuSelf self;
  Fiber fiber;
  Block *block;
  int id, lane;                              // threadIdx in order of x, y, z; id % 32
  ThreadState state;
  const EmuSite *site;                       // where it waits
  unsigned long from;                        // the calls that it is in, as one number
  const EmuSite *call[MAX_CALLS]; int ncalls;            // calls that are being made; call_line: of the innermost it is in
  int call_line;
  // A meeting of a warp.
  WarpOp op; int how; unsigned mask, by; int width; uint64_t value, result; int all;
  EmuMeet meet; int predicate, meet_result;  // of a block
  uint32_t clock[EMU_WARP];                  // what it knows of its warp's clocks; its own at [lane]
  Known known;                               // learned since the last barrier
  uint32_t fenced;                           // 1 + the epoch of its last __threadfence
  bool dirty;                                // it wrote global memory since then
  bool waited;                               // for the launch before
  int spins;
  Copy *copy; int ncopies, copy_room, group; // asynchronous copies under way; the group being filled
  Copy *store; int nstores, store_room, store_group;     // bulk stores, the same
  bool shared_dirty;                         // it wrote shared memory since its last PLAIT_PROXY_FENCE
};

// A barrier in shared memory, and the bulk copies that it counts.
typedef struct Mbarrier {
  ptrdiff_t offset;
  unsigned count, waiting;                   // arrivals of a phase; those that are missing
  int64_t bytes;                             // expected and not yet there
  unsigned phase;
  Known known;                               // what those who arrived had done
  Copy *copy; int ncopies, copy_room;
} Mbarrier;

typedef struct Warp { unsigned alive, arrived; } Warp;

struct Block {
  uint32_t number;                           // in order of x, y, z
  Thread *thread; int n, done, arrived;
  uint64_t ready[EMU_MAX_THREADS / 64];
  Warp warp[EMU_MAX_THREADS / EMU_WARP];
  bool started;                              // a thread of it has run
  unsigned char *saved;                      // its static shared memory while another block runs
  unsigned char *dynamic;
  Shadow *shadow;                            // of static, then dynamic shared memory
  uint32_t first_segment, segment, epoch;
  uint32_t published;                        // accesses before this epoch are fenced
  uint32_t proxied;                          // shared memory written before this epoch may be stored in bulk
  Known known;
  Mbarrier *mbarrier; int nmbarriers, mbarrier_room;
  int cluster_arrived;                       // of the cluster that begins with this block
};

typedef struct Location { uintptr_t address; Known known; } Location;    // what an atomic's release gave to its location

struct Run {
  EmuDevice *device;
  const EmuLaunch *launch;
  const EmuModule *module;                   // launch->module, or a copy of it
  const KernelMemory *memory;
  EmuOrder order; uint64_t rng;
  bool check;
  FiberHost host;
  FiberStacks *stacks;
  Block *block; int nblocks;                 // resident ones
  Block *inside;                             // whose shared memory is in place
  Thread *now;                               // NULL outside of threads
  size_t static_bytes, dynamic_bytes, dynamic_room;
  int grid_arrived;
  bool waited;                               // a thread has, for the launch before
  bool progress; int rounds;                 // of spinning
  uint32_t first_segment, begin_segment;     // of this launch, since the last grid barrier; at its begin
  Segment *segment; size_t nsegments, segment_room;   // from begin_segment on
  Location *location; size_t nlocations, location_room;
  EmuFault fault;
};

// What runs on this host thread. The functions of EmuApi have no other way to know.
Run *run_now(void);

// From a thread: ends the launch with a fault.
_Noreturn void run_fail(EmuFaultKind kind, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void thread_ready(Thread *t);
const char *thread_name(const Run *r, const Thread *t, char out[96]);          // "thread 5 of block 2"
const char *index_name(const Run *r, uint32_t block, int thread, char out[96]);
const char *thread_place(const Thread *t, char out[128]);                      // "waits at __syncthreads in line 12"
uint64_t run_random(Run *r);

extern const EmuApi emu_api;
// Parts of emu_api, by file.
void api_call_from(const EmuSite *s);
unsigned long api_call_enter(void);
void api_call_leave(unsigned long before);
int api_barrier(const EmuSite *s, EmuMeet how, int predicate);
void api_syncwarp(const EmuSite *s, unsigned mask);
unsigned long long api_shuffle(const EmuSite *s, EmuShuffle how, unsigned mask, unsigned long long v, unsigned by, int width);
unsigned api_vote(const EmuSite *s, EmuVote how, unsigned mask, unsigned long long v, int *all);
unsigned api_fold(const EmuSite *s, EmuFold how, unsigned mask, unsigned v);
unsigned api_activemask(void);
void api_access(const volatile void *p, unsigned long bytes, int flags, void *pc);
unsigned long long api_atomic(const EmuSite *s, EmuAtomic how, volatile void *p, int bytes, unsigned long long v, unsigned long long compare, void *pc);
void api_fence(EmuScope scope);
unsigned api_cluster_rank(void);
unsigned api_cluster_size(void);
void api_cluster_sync(const EmuSite *s);
void *api_cluster_map(const EmuSite *s, const volatile void *p, unsigned rank);
void api_grid_sync(const EmuSite *s);
void api_dependency_wait(void);
void api_copy_async(const EmuSite *s, void *to, const void *from, unsigned long bytes, void *pc);
void api_copy_commit(void);
void api_copy_wait(const EmuSite *s, int pending);
void api_mbarrier_init(const EmuSite *s, void *bar, unsigned count);
void api_mbarrier_arrive(const EmuSite *s, void *bar, unsigned expected_bytes);
void api_mbarrier_wait(const EmuSite *s, void *bar, unsigned parity);
void api_bulk_load(const EmuSite *s, void *to, const void *from, unsigned long bytes, void *bar, void *pc);
void api_bulk_store(const EmuSite *s, void *to, const void *from, unsigned long bytes, void *pc);
void api_bulk_commit(void);
void api_bulk_wait(const EmuSite *s, int pending);
void api_proxy_fence(void);
void api_any_order(const volatile void *p, unsigned long bytes);

// Waking and diagnosis.
void warp_left(Run *r, Thread *t);             // t has left the kernel: a meeting may now be complete
void barrier_left(Run *r, Block *b);
void run_stuck(Run *r);                        // sets the fault: nobody can run, not all are done

// Order of accesses (check.c); no-ops when nothing is checked.
void check_block_start(Run *r, Block *b);
void check_barrier(Run *r, Block *b);
void check_syncwarp(Thread *const *lane, int n);
void check_cluster(Run *r, Block *b, int n);
void check_grid(Run *r);
void check_atomic(Thread *t, volatile void *p, int bytes, void *pc);
void check_copy_started(Thread *t, void *to, size_t n, void *pc);
void check_copy_done(Thread *t, const Copy *c, bool now);  // into shared memory
void check_written(Thread *t, const Copy *c);              // into global memory
void check_arrive(Thread *t, Known *k);        // what t has done becomes known through k
void check_wait(Thread *t, const Known *k);
void check_proxied(Thread *t, const EmuSite *s, const void *from, size_t n);      // before a bulk store
bool push_copy(Copy **v, int *n, int *room, Copy c);      // false: out of memory
void mbarrier_free(Block *b);
void check_free(Run *r);

// Shared memory of a block by address: offset into Block.shadow, or -1. *owner: the block whose it is.
ptrdiff_t own_shared_offset(const Run *r, const volatile void *p);        // of the block that runs
ptrdiff_t shared_offset(Run *r, const volatile void *p, Block **owner);
#endif
