// jit_cc.h: C text to code by a compiler of the system. Used by jit.c only.
#ifndef PLAIT_RUNTIME_JIT_CC_H
#define PLAIT_RUNTIME_JIT_CC_H
#include "runtime/jit.h"

typedef struct CcRequest {
  const char *cc;            // absolute path
  const char *tmpdir;        // absolute
  const char *march;         // for -march=
  int opt;                   // 0 to 3
  bool warnings, strict;
  int time_limit_ms;
} CcRequest;

// A shared library with the text's code, malloc'ed, and the compiler's messages in *log (malloc'ed, also on failure
// when there are any). NULL and *e on failure.
void *cc_compile(const CcRequest *r, const char *text, size_t len, size_t *size, char **log, JitError *e);

// Code that cc_compile made, mapped and connected to the pool.
typedef struct CcModule CcModule;
CcModule *cc_load(const void *library, size_t size, const char *tmpdir, JitError *e);
void *cc_symbol(const CcModule *m, const char *name);
void cc_unload(CcModule *m);

// Sets *e, if e is not NULL; returns NULL.
void *jit_fail(JitError *e, JitFault fault, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#endif
