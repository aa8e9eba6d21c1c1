// fake_cuda.h: look-alikes of the CUDA driver and of NVRTC, for tests of what the runtime does with them: errors above all.
//
// Both are shared libraries (fake_cuda.so, fake_nvrtc.so) whose state a test reads and sets through the pointer that
// fake_cuda() or fake_nvrtc() of the opened library gives. Device memory is host memory, streams run at once, and a launch
// calls the test's own function. Nothing is compiled.
#ifndef PLAIT_TESTS_FAKE_CUDA_H
#define PLAIT_TESTS_FAKE_CUDA_H
#include <stdbool.h>
#include <stddef.h>

enum { FAKE_LAUNCHES = 256, FAKE_OPTIONS = 12 };

typedef struct FakeLaunch {
  char function[64];
  unsigned blocks, threads, shared, cluster;
  bool cooperative, dependent;
  void *stream;
} FakeLaunch;

typedef struct FakeCuda {
  // What it pretends.
  int version, devices, major, minor, shared_optin, threads_most, static_shared;
  bool pools, clusters, cooperative, pageable;
  size_t memory;                       // of a device
  const char *fails; int code, skip;   // the call of this function after `skip` others gives this CUresult, once
  const char *log;                     // that the driver writes when a module cannot be loaded
  const char *missing;                 // kernel that no module has
  void (*kernel)(const char *function, unsigned blocks, unsigned threads, void **arg);
  // What it saw.
  size_t used;                         // bytes of memory allocated now
  int memories, modules, contexts, events;   // alive
  int depth;                           // of the stack of contexts
  int waits, loads;
  bool strict;                         // a call was made without a context, or with one that is not alive
  int launches; FakeLaunch launch[FAKE_LAUNCHES];   // captured ones are not among them
  int captured, graphs, replays;       // launches while a stream was captured; graphs alive; times that one was launched
  char image[64];                      // the beginning of the module loaded last
} FakeCuda;
typedef FakeCuda *FakeCudaState(void);

typedef struct FakeNvrtc {
  int major, minor, narchs, arch[16];
  int result;                          // of nvrtcCompileProgram
  const char *unknown;                 // beginning of an option that it does not know
  const char *log;
  const char *loose_log;               // of texts that begin with a #define; NULL: as log
  int compiled, noptions; char option[FAKE_OPTIONS][64];   // of the compilation last made
  char text[4096];
  int created; char begin[4][64];      // programs, also of several threads; how the first of them begin
} FakeNvrtc;
typedef FakeNvrtc *FakeNvrtcState(void);
#endif
