// emu.h: CUDA C kernels on the CPU, one thread of the GPU after another, and what a GPU would punish as an error.
//
//   text ──emu_rewrite, emu_compile──▶ shared library ──emu_module_load──▶ kernels ──emu_launch──▶ results, or a fault
//
// A kernel's threads are fibers of one host thread. A block runs in a chosen order of its threads, and blocks in a chosen
// order, so a result that depends on who comes first differs between two launches (emu_launch_orders). Texts compiled
// with checks also report each access to memory; then races, reads of what nobody wrote and accesses outside of
// memory are found by themselves (check.c).
#ifndef PLAIT_CUDA_EMU_EMU_H
#define PLAIT_CUDA_EMU_EMU_H
#include "abi.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EMU_WARP = 32, EMU_MAX_THREADS = 1024, EMU_MAX_CLUSTER = 16 };

// ---- faults ------------------------------------------------------------------------------------------------------

typedef enum EmuFaultKind {
  EMU_FINE,
  EMU_BAD_BARRIER,           // a barrier that not all threads reach, or not the same one
  EMU_BAD_MASK,              // lanes missing from a shuffle or vote, or at another one
  EMU_RACE,                  // two accesses that nothing orders
  EMU_UNINITIALISED,         // a read of memory that nobody wrote
  EMU_BOUNDS,                // an access outside of what it may touch
  EMU_MISALIGNED,
  EMU_CONFIG,                // a launch that no GPU would make
  EMU_ORDER,                 // the result depends on the order of threads or blocks
  EMU_STUCK,                 // all threads wait for each other
  EMU_STOPPED,               // __trap, or a broken __builtin_assume
  EMU_STACK,                 // a thread's stack is too small
  EMU_UNDEFINED,             // undefined behaviour of C
  EMU_HOST,                  // this machine: out of memory, no compiler
} EmuFaultKind;

typedef struct EmuFault { EmuFaultKind kind; char text[1024]; } EmuFault;

// Sets *f unless it holds a fault already; returns false, for callers to return.
bool emu_fault(EmuFault *f, EmuFaultKind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *emu_fault_name(EmuFaultKind kind);

// ---- texts -------------------------------------------------------------------------------------------------------

// CUDA C as C: hides `extern "C"`, gives shared variables their section, and appends the table of kernels. The lines keep their
// numbers. malloc'ed; NULL and *f for what is not understood. `image` names the function that returns the EmuImage.
char *emu_rewrite(const char *text, const char *file, const char *image, EmuFault *f);
// The same behind the prelude: a C file for any compiler. malloc'ed.
char *emu_c_text(const char *text, const char *file, const char *image, EmuFault *f);

typedef struct EmuCompile {
  const char *cc;            // absolute path of gcc or clang
  const char *file;          // the text's name in messages
  bool checked;              // report accesses (slower)
  int arch;                  // 90 for sm_90
  const char *const *define; int ndefines;    // "NAME=VALUE"
} EmuCompile;

// The bytes of a shared library, malloc'ed; NULL and *f. *log is the compiler's output, malloc'ed, or NULL.
void *emu_compile(const EmuCompile *c, const char *text, size_t *size, char **log, EmuFault *f);

typedef struct EmuModule EmuModule;
EmuModule *emu_module_load(const void *bytes, size_t size, EmuFault *f);
// A text that is linked into this program. `file` (or NULL) is an ELF file with its symbols.
EmuModule *emu_module_linked(EmuImageFunction *image, const char *file, EmuFault *f);
void emu_module_free(EmuModule *m);
// What it was compiled for: 90 and 'a' for sm_90a.
int emu_module_arch(const EmuModule *m, char *feature);
int emu_module_kernels(const EmuModule *m);
const EmuKernel *emu_module_kernel(const EmuModule *m, int i);
const EmuKernel *emu_module_find(const EmuModule *m, const char *name);     // or NULL
// Static shared memory of a kernel, without the gaps that are put between its variables.
size_t emu_shared_bytes(const EmuModule *m, const EmuKernel *k);
// Size of an ELF image, from its header; 0 when it is none.
size_t emu_elf_bytes(const void *image);

// ---- the device --------------------------------------------------------------------------------------------------

typedef struct EmuDevice EmuDevice;
EmuDevice *emu_device_make(size_t memory, size_t shared_limit);    // bytes that can be allocated; of a block. NULL: out of memory
void emu_device_free(EmuDevice *d);

// Device memory is host memory between inaccessible pages, filled with 0xff bytes, 256-byte aligned. NULL: not as much left.
void *emu_alloc(EmuDevice *d, size_t bytes);
bool emu_free(EmuDevice *d, void *p);                              // false: p is not the start of an allocation
size_t emu_memory_left(const EmuDevice *d);
size_t emu_memory_all(const EmuDevice *d);
// Whether the n bytes at p lie in one allocation. n = 0: p may be the end of one.
bool emu_in_memory(const EmuDevice *d, const void *p, size_t n);
// The allocation that p points into, or to the end of; false: none.
bool emu_allocation(const EmuDevice *d, const void *p, void **base, size_t *bytes);
// Makes device memory inaccessible for the host, or accessible; launches and copies open it for themselves.
void emu_memory_lock(EmuDevice *d);
void emu_memory_unlock(EmuDevice *d);
// Copies by the host; `to` or `from`, or both, are in device memory. False when they are not. Written bytes count as initialised.
bool emu_upload(EmuDevice *d, void *to, const void *from, size_t n);
bool emu_download(EmuDevice *d, void *to, const void *from, size_t n);
bool emu_copy(EmuDevice *d, void *to, const void *from, size_t n);
bool emu_fill(EmuDevice *d, void *to, const void *pattern, size_t pattern_bytes, size_t n);
void emu_initialised(EmuDevice *d, const void *p, size_t n);

// ---- launches ----------------------------------------------------------------------------------------------------

typedef enum EmuOrderKind { EMU_FORWARD, EMU_REVERSED, EMU_RANDOM } EmuOrderKind;
typedef struct EmuOrder { EmuOrderKind threads, blocks; uint64_t seed; } EmuOrder;
// "forward", "reversed", "random:SEED"; false for anything else.
bool emu_order_parse(const char *s, EmuOrder *o);

typedef struct EmuLaunch {
  const EmuModule *module;
  const EmuKernel *kernel;
  EmuDim grid, block;
  unsigned cluster;          // blocks of a cluster, along x; 0 or 1: none
  size_t dynamic;            // bytes of dynamic shared memory
  bool cooperative;          // all blocks are there at once
  bool dependent;            // may start before the launch before it has ended
  void **arg;                // pointers to the arguments
  bool check;                // look at every access, if the text was compiled for it
  int host_threads;          // more than 1: blocks run on so many, and nothing is checked
} EmuLaunch;

// Runs a kernel once. False and *f for a fault; memory is then as the kernel left it.
bool emu_launch(EmuDevice *d, const EmuLaunch *l, EmuOrder order, EmuFault *f);
// Runs it once in each order, each time on the same memory, and compares all device memory byte for byte. The memory is that
// of the last order. Accesses are checked in the first order only.
bool emu_launch_orders(EmuDevice *d, const EmuLaunch *l, const EmuOrder *order, int n, EmuFault *f);
#endif
