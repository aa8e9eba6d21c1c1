// driver.h: what the files of the stand-in for libcuda.so.1 share. A driver is one per process, so its state is too.
#ifndef PLAIT_CUDA_EMU_DRIVER_H
#define PLAIT_CUDA_EMU_DRIVER_H
#include "cuda_api.h"
#include "settings.h"
#include <pthread.h>

// What differs between the GPUs that it can pretend to be (CUDA C++ Programming Guide, Compute Capabilities; H100 SXM's counts).
typedef struct Model {
  int arch;
  int multiprocessors, threads, blocks;      // the latter two of a multiprocessor
  int shared, shared_optin;                  // bytes of a multiprocessor; of a block that asks for it
  bool clusters;
} Model;

typedef struct Driver {
  pthread_mutex_t lock;      // held by every call
  bool ready;                // cuInit has succeeded
  Settings settings;
  Model model;
  EmuDevice *device;         // of the primary context; NULL: nobody has retained it
  int retained;
  CUresult broken;           // after a fault in a kernel every call fails with this, until the context is reset
} Driver;
extern Driver emu_driver;

// Handles are pointers; those that are alive are listed, so that a wrong or old one is noticed.
typedef enum Kind { KIND_MODULE, KIND_FUNCTION, KIND_STREAM, KIND_EVENT, KIND_GRAPH, KIND_EXEC } Kind;

struct CUfunc_st {
  struct CUmod_st *module;
  const EmuKernel *kernel;
  int max_dynamic;           // bytes that may be asked for
  bool large_clusters;
};
struct CUmod_st { EmuModule *module; struct CUfunc_st *function; int nfunctions; };

// ---- work in a stream: done at once, or kept while the stream is captured ----

typedef enum WorkKind { WORK_LAUNCH, WORK_UPLOAD, WORK_DOWNLOAD, WORK_COPY, WORK_FILL } WorkKind;
typedef struct Work {
  WorkKind kind;
  struct CUfunc_st *f;
  EmuDim grid, block;
  unsigned cluster, shared;
  bool cooperative, dependent;
  void **arg;                // pointers into the next
  unsigned char *values;
  void *to; const void *from; size_t n;      // copies; WORK_FILL has its pattern in `pattern`
  unsigned pattern; int pattern_bytes;
} Work;

typedef struct WorkList { Work *v; int n, room; } WorkList;
struct CUstream_st { bool capturing; WorkList captured; };
struct CUgraph_st { WorkList work; };
struct CUgraphExec_st { WorkList work; };
struct CUevent_st { bool timed, recorded; double ms; };

// Does it, or records it; takes w's arg and values over.
CUresult stream_do(CUstream s, Work w);
CUresult work_do(const Work *w);
void work_free(Work *w);
void worklist_free(WorkList *l);
bool work_copy(const Work *from, Work *to);
CUresult launch_do(const Work *w);

// ---- every call: lock, look at the state, unlock ----

CUresult driver_enter(bool needs_context);       // the lock is held when it is CUDA_SUCCESS
CUresult driver_leave(CUresult r);
CUcontext driver_context(void);                  // the current one
bool driver_capturing(void);                     // a stream is being captured: what is not work in a stream is not allowed
void driver_capture(int change);
bool is_kind(const void *handle, Kind kind);
void *handle_make(Kind kind, size_t bytes);      // zeroed; NULL: out of memory
bool handle_list(Kind kind, void *handle);       // one within another's memory
void handle_unlist(const void *handle);
void handle_free(void *handle);
void driver_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define ENTER(needs_context) do { CUresult entered_ = driver_enter(needs_context); if (entered_) return entered_; } while (0)
#define LEAVE(r) return driver_leave(r)
#endif
