// jit_clang.h: the table of functions that libplait-clang.so exports, and nothing of LLVM.
//
// That library is a module of its own, so that the core links neither LLVM nor Clang: linking them would cost every
// process 20 ms and 50 MB at start (docs/internals.md). It is opened on first use with RTLD_LOCAL and never closed,
// since LLVM has static destructors and threads' data.
#ifndef PLAIT_RUNTIME_JIT_CLANG_H
#define PLAIT_RUNTIME_JIT_CLANG_H
#include <stddef.h>

#define CLANG_TABLE_NAME "plait_clang_table"
enum { CLANG_TABLE_ABI = 3 };

// A function that compiled code may call, under the name that it is called by.
typedef void ClangFunction(void);
typedef struct ClangSymbol { const char *name; ClangFunction *address; } ClangSymbol;

// One compilation. All strings are the caller's.
typedef struct ClangText {
  const char *text; size_t len;
  const char *cpu;           // an LLVM CPU name, or "native"
  int opt;                   // 0 to 3
  int warnings, strict;      // as in JitOptions
} ClangText;

// One compilation of CUDA text to PTX, the assembly text that NVIDIA's driver translates for its device. What the text may
// use of CUDA without declaring it is in jit_clang_cuda.inc and in `library`.
typedef struct ClangGpuText {
  const char *text; size_t len;
  const char *library;       // text that goes before it; NULL: none
  int arch;                  // 50 to 90, for sm_90
  char feature;              // 'a' for sm_90a, else 0
} ClangGpuText;

// What came of it. `object` and `log` are malloc'ed and the caller's, on success and on failure.
typedef struct ClangObject {
  void *object; size_t size; // an ELF relocatable, or PTX with a NUL behind it that is not counted; NULL on failure
  char *log;                 // diagnostics, "" when there were none
  int fatal;                 // LLVM gave up (report_fatal_error): its state may be damaged, don't call it again
  double parse_ms, opt_ms, codegen_ms;
} ClangObject;

typedef enum ClangLinkCause { CLANG_LINK_OTHER, CLANG_LINK_SYMBOL, CLANG_LINK_FATAL } ClangLinkCause;
typedef struct ClangExport { const char *name; void *address; } ClangExport;
typedef struct ClangSession ClangSession;   // a list of callable symbols and the memory of modules
typedef struct ClangModule ClangModule;     // code that has been linked

// All are safe to call from several threads at once. Errors are malloc'ed text in *error.
typedef struct ClangTable {
  int abi;                   // CLANG_TABLE_ABI
  const char *version;       // "19.1.7"
  // The CPU and features that "native" means, e.g. "znver3+avx2-avx512f…"; malloc'ed.
  char *(*host)(void);
  void (*compile)(const ClangText *in, ClangObject *out);
  ClangSession *(*open)(const ClangSymbol *symbols, size_t n, char **error);
  void (*close)(ClangSession *s);
  // Links an object; what it exports is in exports[0..*n), valid until unlink, sorted by name. NULL on failure, for a
  // ClangLinkCause; after FATAL neither the session nor its modules may be used, closed or unlinked.
  ClangModule *(*link)(ClangSession *s, const void *object, size_t size, int *cause, char **error);
  const ClangExport *(*exports)(const ClangModule *m, size_t *n);
  void (*unlink)(ClangModule *m);
  void (*gpu)(const ClangGpuText *in, ClangObject *out);
} ClangTable;
#endif
