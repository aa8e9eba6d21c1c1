// abi.h: what a compiled kernel text and the emulator know of each other. Both include it, so it includes nothing.
//
// The text is C with prelude.h before it and a table of its kernels behind it (rewrite.c writes that). It has no undefined
// symbols: everything that a GPU would do for it, it asks for through EmuApi.
#ifndef PLAIT_CUDA_EMU_ABI_H
#define PLAIT_CUDA_EMU_ABI_H

enum { EMU_ABI = 1 };

typedef struct EmuDim { unsigned x, y, z; } EmuDim;

// A place in the text where threads meet; one object for each place, so its address tells places apart.
typedef struct EmuSite { const char *what; int line; } EmuSite;

// What the text reads of the thread that runs.
typedef struct EmuSelf {
  EmuDim thread, block, block_dim, grid_dim;
  unsigned long own_low, own_bytes;    // accesses to [own_low, own_low + own_bytes) need no look: its stack, or everything
} EmuSelf;

typedef enum EmuShuffle { EMU_SHFL_IDX, EMU_SHFL_UP, EMU_SHFL_DOWN, EMU_SHFL_XOR } EmuShuffle;
typedef enum EmuVote { EMU_BALLOT, EMU_ANY, EMU_ALL, EMU_MATCH_ANY, EMU_MATCH_ALL } EmuVote;
typedef enum EmuFold { EMU_FOLD_ADD, EMU_FOLD_MIN, EMU_FOLD_MAX, EMU_FOLD_UMIN, EMU_FOLD_UMAX, EMU_FOLD_AND, EMU_FOLD_OR, EMU_FOLD_XOR } EmuFold;
typedef enum EmuMeet { EMU_MEET, EMU_MEET_COUNT, EMU_MEET_AND, EMU_MEET_OR } EmuMeet;
typedef enum EmuAtomic {
  EMU_ATOMIC_ADD, EMU_ATOMIC_MIN, EMU_ATOMIC_MAX, EMU_ATOMIC_UMIN, EMU_ATOMIC_UMAX, EMU_ATOMIC_AND, EMU_ATOMIC_OR, EMU_ATOMIC_XOR,
  EMU_ATOMIC_EXCH, EMU_ATOMIC_CAS, EMU_ATOMIC_INC, EMU_ATOMIC_DEC,
} EmuAtomic;
typedef enum EmuScope { EMU_SCOPE_BLOCK, EMU_SCOPE_DEVICE } EmuScope;
enum { EMU_READ = 0, EMU_WRITE = 1, EMU_VOLATILE = 2, EMU_READ_ONLY_PATH = 4 };       // flags of an access

typedef struct EmuApi {
  // An access to memory, before it happens, by the instruction before pc.
  void (*access)(const volatile void *p, unsigned long bytes, int flags, void *pc);
  // Undefined behaviour that the compiler's checks found.
  void (*undefined)(const char *what, int line, void *pc);
  // Meetings of all threads of a block; the result is that of __syncthreads_count and its like.
  int (*barrier)(const EmuSite *s, EmuMeet how, int predicate);
  // Meetings of the lanes in mask. A shuffle's `by` is its lane, delta or lane mask.
  void (*syncwarp)(const EmuSite *s, unsigned mask);
  unsigned long long (*shuffle)(const EmuSite *s, EmuShuffle how, unsigned mask, unsigned long long v, unsigned by, int width);
  unsigned (*vote)(const EmuSite *s, EmuVote how, unsigned mask, unsigned long long v, int *all);
  unsigned (*fold)(const EmuSite *s, EmuFold how, unsigned mask, unsigned v);
  unsigned (*activemask)(void);
  // Integers of 2, 4 or 8 bytes; `compare` for CAS. Gives the value before.
  unsigned long long (*atomic)(const EmuSite *s, EmuAtomic how, volatile void *p, int bytes, unsigned long long v, unsigned long long compare, void *pc);
  void (*fence)(EmuScope scope);
  // Functions that contain meetings: from where, before a call; then on entry, which gives what leave needs.
  void (*call_from)(const EmuSite *s);
  unsigned long (*call_enter)(void);
  void (*call_leave)(unsigned long before);
  void (*pause)(const EmuSite *s);                     // others may run
  void (*stop)(const EmuSite *s, const char *why);     // __trap and broken assumptions
  void *(*dynamic_shared)(void);
  // Clusters, the whole grid, the launch before this one.
  unsigned (*cluster_rank)(void);
  unsigned (*cluster_size)(void);
  void (*cluster_sync)(const EmuSite *s);
  void *(*cluster_map)(const EmuSite *s, const volatile void *p, unsigned rank);
  void (*grid_sync)(const EmuSite *s);
  void (*dependency_wait)(void);
  // Asynchronous copies from global to shared memory.
  void (*copy_async)(const EmuSite *s, void *to, const void *from, unsigned long bytes, void *pc);
  void (*copy_commit)(void);
  void (*copy_wait)(const EmuSite *s, int pending);
  // Bulk copies and the barriers in shared memory that count their bytes.
  void (*mbarrier_init)(const EmuSite *s, void *bar, unsigned count);
  void (*mbarrier_arrive)(const EmuSite *s, void *bar, unsigned expected_bytes);
  void (*mbarrier_wait)(const EmuSite *s, void *bar, unsigned parity);
  void (*bulk_load)(const EmuSite *s, void *to, const void *from, unsigned long bytes, void *bar, void *pc);
  void (*bulk_store)(const EmuSite *s, void *to, const void *from, unsigned long bytes, void *pc);
  void (*bulk_commit)(void);
  void (*bulk_wait)(const EmuSite *s, int pending);
  void (*proxy_fence)(void);
  // What lies there may differ from one order of threads to another.
  void (*any_order)(const volatile void *p, unsigned long bytes);
} EmuApi;

typedef enum EmuPassing { EMU_BY_VALUE, EMU_POINTER, EMU_POINTER_TO_CONST, EMU_INDIRECT } EmuPassing;      // INDIRECT: a pointer to pointers
typedef struct EmuParam { unsigned bytes, align; EmuPassing how; const char *name; } EmuParam;

typedef struct EmuKernel {
  const char *name;
  void (*call)(void **arg);
  const EmuParam *param; int nparams;
  int max_threads;                     // of __launch_bounds__; 0: none
  int cluster;                         // blocks, of __cluster_dims__; 0: none
  char *shared, *shared_end;           // its static shared memory; NULL: none
} EmuKernel;

// A compiled text exports one function, emu_image, that returns this.
typedef struct EmuImage {
  int abi;
  int checked;                         // its accesses are reported
  int arch; char feature;              // 90 and 'a' for sm_90a
  const EmuApi *api;                   // filled in by the emulator, as is self at every switch of threads
  const EmuSelf *self;
  const EmuKernel *kernel; int nkernels;
} EmuImage;
typedef EmuImage *EmuImageFunction(void);
#endif
