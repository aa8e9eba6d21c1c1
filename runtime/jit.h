// jit.h: C text in, callable code out.
//
// Two back ends compile the same text: Clang inside the process (libplait-clang.so, loaded on first use) and a
// compiler of the system (clang, gcc, cc), run without a shell. The first costs tens of milliseconds, the second
// about a hundred; results differ only by what the two compilers round differently.
//
// The text is header-free C (GNU C17) that declares what it calls. It may call the functions listed in
// jit_symbols.c (libm, memcpy, malloc …) and use OpenMP `parallel for schedule(static)` and `simd`; the threads are
// those of pool.h, whichever compiler made the code. Nothing in a kernel's result may depend on the number of threads:
// a region runs with one when another host thread is using the pool.
//
// Nothing here prints, exits or reads the environment. All functions may be called from several threads at once,
// jit_free excepted.
#ifndef PLAIT_RUNTIME_JIT_H
#define PLAIT_RUNTIME_JIT_H
#include <stdbool.h>
#include <stddef.h>

typedef struct Jit Jit;
typedef struct JitModule JitModule;

typedef enum JitBackend { JIT_AUTO, JIT_CLANG, JIT_CC } JitBackend;

// Zero-initialise for the defaults. Strings are copied.
typedef struct JitOptions {
  JitBackend backend;        // AUTO: Clang in the process if it can be loaded, else a system compiler
  const char *cc;            // absolute path of the compiler for JIT_CC; NULL: clang, gcc, cc along `path`
  const char *path;          // PATH to search; NULL: /usr/local/bin:/usr/bin:/bin
  const char *tmpdir;        // where the private directory of a cc run is made; NULL: /tmp
  const char *clang_dir;     // further directory to look in for libplait-clang.so; NULL: none
  const char *march;         // at most this machine: "native" (NULL), "avx512", "avx2", "sse4", "sse2"; other names are given to the compiler as they are
  int opt;                   // 0: the default (3); else 1 to 3; -1: no optimisation
  bool warnings;             // -Wall -Wextra, returned by jit_log
  bool strict;               // no fused multiply-add but what the text spells (-ffp-contract=off)
  bool keep_object;          // keep the object code, for jit_object
  int time_limit_ms;         // of one cc run; 0: 60 000
} JitOptions;

typedef enum JitFault {
  JIT_OK,
  JIT_NO_BACKEND,            // nothing here can compile C; the text says what to install
  JIT_TEXT,                  // the compiler refused the text: its messages
  JIT_SYMBOL,                // the text calls something that is not on the list; the text names it
  JIT_SYSTEM,                // the machine: no memory, no temporary directory, no process
  JIT_TIMEOUT,               // the compiler was killed after time_limit_ms
  JIT_INTERNAL,              // LLVM gave up; the Jit uses cc from now on when it was AUTO
} JitFault;

// Zero-initialise; clear after use. `text` is valid UTF-8 as far as the compiler's is, may hold several lines, and is
// never NULL after a failure.
typedef struct JitError { JitFault fault; char *text; } JitError;
void jit_error_clear(JitError *e);

// Where the time of jit_compile went, in ms. cc reports all of its run as codegen_ms.
typedef struct JitTimes {
  double load_ms;            // loading libplait-clang.so and what it needs; only the first compile of the process pays
  double parse_ms;           // lexing, parsing, checking, LLVM IR of the functions
  double opt_ms;             // LLVM's optimiser
  double codegen_ms;         // instruction selection to object code
  double link_ms;            // object code to callable code
  double total_ms;
} JitTimes;

// Never fails but for memory (NULL); what is missing is reported by the first jit_compile.
Jit *jit_create(const JitOptions *o);
// All modules must have been freed.
void jit_free(Jit *j);

// The back end that jit_compile will use (never AUTO), loading it if need be; JIT_AUTO and the reason in *e when none can be had.
JitBackend jit_backend(Jit *j, JitError *e);
// "clang 19.1.7 in process" or "/usr/bin/gcc"; what distinguishes the code made on this machine: back end, version,
// CPU and features, flags. For cache keys. Valid as long as j; NULL when there is no back end.
const char *jit_identity(Jit *j);

// NULL and *e on failure. e may be NULL.
JitModule *jit_compile(Jit *j, const char *text, size_t len, JitError *e);
// Load code that jit_object gave, in this or another process with the same jit_identity. Trusts the bytes.
JitModule *jit_load(Jit *j, const void *object, size_t len, JitError *e);
// Nothing of the module may be running or run afterwards.
void jit_release(JitModule *m);

// Address of an external function or variable of the text, NULL when there is none.
void *jit_symbol(const JitModule *m, const char *name);
// The object code (ELF relocatable or shared, by back end), if keep_object; valid as long as m.
const void *jit_object(const JitModule *m, size_t *len);
// Warnings of the compiler, "" when there were none.
const char *jit_log(const JitModule *m);
JitTimes jit_times(const JitModule *m);
JitBackend jit_module_backend(const JitModule *m);
#endif
