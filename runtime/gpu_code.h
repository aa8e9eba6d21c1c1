// gpu_code.h: code for a GPU as a compiler gave it, and what its log says about registers and memory.
#ifndef PLAIT_RUNTIME_GPU_CODE_H
#define PLAIT_RUNTIME_GPU_CODE_H
#include <stdbool.h>
#include <stddef.h>

// What one kernel takes of a multiprocessor; -1: not known.
typedef struct GpuUse {
  char name[128];
  int registers;             // of a thread
  int shared_bytes;          // of a block, as far as it is fixed in the text
  int stack_bytes;           // of a thread, in memory
  int spill_stores, spill_loads;   // bytes of a thread: values that found no register
} GpuUse;

// Where a kernel stands in a text.
typedef struct GpuSpan { size_t from, to; } GpuSpan;

typedef struct GpuRequest {
  const char *text; size_t len;
  const char *library;       // functions that the text may call, for a compiler without CUDA's mathematical library; NULL: none
  int nspans; const GpuSpan *span; // its kernels, which end it, may be compiled apart from each other; 0: they may not
  int arch;                  // 90 for sm_90
  char feature;              // 'a' for sm_90a; 0: none
  bool ptx;                  // portable text for this and newer devices instead of code for this one
} GpuRequest;

// Zero-initialise; free after use.
typedef struct GpuCode {
  struct GpuCode *next;      // the code of further kernels; NULL: this is all
  char *bytes; size_t size;  // a NUL follows, which is not counted
  bool ptx;
  int arch;
  char *log;                 // of the compiler
  GpuUse *use; int nuse;     // kernels in the order of the log; none for PTX
  double ms;
} GpuCode;
void gpu_code_free(GpuCode *c);

// "sm_90", "sm_90a" or "90": false when it is no such name.
bool gpu_arch_parse(const char *name, int *arch, char *feature);

// Bytes that the kernels keep in memory for want of registers, as far as is known.
int gpu_spilled(const GpuUse *use, int n);
// A text in which the kernels that spill ask for room for one block only, malloc'ed; NULL when none of them asks for more.
// A kernel asks by `#ifndef PLAIT_RESIDENT_name`, `#define PLAIT_RESIDENT_name 8`.
char *gpu_loosen(const char *text, size_t len, const GpuUse *use, int n);

// Is there a kernel in it that asks?
bool gpu_asks_for_room(const char *text);

// The kernels in a log of ptxas -v, malloc'ed; their number.
int gpu_log_read(const char *log, GpuUse **out);
#endif
