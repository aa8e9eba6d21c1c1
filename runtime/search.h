// search.h: where the compilers and the libraries of this machine are.
//
// Nothing here reads the environment: what matters of it comes in SearchPaths.
#ifndef PLAIT_RUNTIME_SEARCH_H
#define PLAIT_RUNTIME_SEARCH_H
#include "base/arena.h"
#include "base/vec.h"
#include "runtime/jit_clang.h"
#include <stdbool.h>

// Zero-initialise for the defaults; relative directories are passed over.
typedef struct SearchPaths {
  const char *path;          // $PATH; NULL: /usr/local/bin:/usr/bin:/bin
  const char *home;          // $HOME, for Python packages of the user
  const char *virtual_env;   // $VIRTUAL_ENV
  const char *conda;         // $CONDA_PREFIX
  const char *cuda_home;     // $CUDA_HOME or $CUDA_PATH
  const char *nvrtc;         // the one file to open as NVRTC; NULL: look for it
  const char *cuda_driver;   // the same for the driver
  const char *extra;         // further directories of libraries (site-packages too), separated by ':'; tried first
} SearchPaths;

// The absolute path of an executable `name` along a PATH, or NULL.
const char *search_program(Arena *a, const char *path, const char *name);
// The system compiler that is used when none is named: clang, clang-22 … clang-14, gcc, cc; NULL when there is none.
const char *search_cc(Arena *a, const char *path);

// libplait-clang.so, opened on the first success and kept: in `extra` (may be NULL), beside the library or program that
// this function is in, in ../lib and lib/plait there. Thread-safe. NULL with the reason in *why (in a; may be NULL);
// *where is its path. Refuses when the process has a libclang-cpp already that is not ours: its symbols have no
// versions, so that two would mix.
const ClangTable *search_clang(Arena *a, const char *extra, const char **where, const char **why);
// LLVM has failed in a way that makes it unsafe to call again: search_clang refuses from now on.
void search_clang_broken(void);
bool search_clang_is_broken(void);

// Where a library was looked for, and what came of it: "found", "not there", or the loader's words.
typedef struct SearchPlace { const char *path, *what; } SearchPlace;
typedef VEC(SearchPlace) SearchPlaces;

// An open handle of the library and the path that it came from, or NULL (search_cuda.c). Not closed again: both have
// threads and exit handlers. Every place tried is appended to *places, which may be NULL.
void *search_cuda_driver(Arena *a, const SearchPaths *p, const char **where, SearchPlaces *places);
// An NVRTC of CUDA `major` or before, if there is one, else any: newer ones make what a driver of that version cannot
// load. major 0: any.
void *search_nvrtc(Arena *a, const SearchPaths *p, int major, const char **where, SearchPlaces *places);

// What `plait doctor` reports, in the order that it is shown in.
typedef struct SearchItem {
  const char *what;          // "in-process Clang"
  bool found;
  const char *where;         // a path, or "" when not found
  const char *version;       // "19.1.7", or "" when not known
  const char *detail;        // why not, or what more there is to say; ""
  const char *remedy;        // the command that would install it, or "" when nothing is missing
  SearchPlaces places;       // where it was looked for, as far as that is worth telling
} SearchItem;
// Clang in the process and the compilers of the system.
SearchItem *search_all(Arena *a, const SearchPaths *p, int *n);
#endif
