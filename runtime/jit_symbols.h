// jit_symbols.h: the functions that a kernel compiled in process may call.
#ifndef PLAIT_RUNTIME_JIT_SYMBOLS_H
#define PLAIT_RUNTIME_JIT_SYMBOLS_H
#include "runtime/jit_clang.h"

extern const ClangSymbol jit_symbols[];
extern const size_t jit_nsymbols;
#endif
