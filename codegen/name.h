// name.h: names in the printed text: those of the source where they can stay, never two visible ones alike.
#ifndef PLAIT_CODEGEN_NAME_H
#define PLAIT_CODEGEN_NAME_H
#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"

typedef struct Names {
  Arena *a;
  Interner *in;
  Map taken;            // Name -> a name is visible
  Map bound;            // object -> its Name
  Map next;             // hint, as a Name -> all its numbers from 2 to below this one are taken
  VEC(Name) live;       // visible names of the open scopes, outermost first
  VEC(int) scope;       // live.n where each scope began
} Names;

Names names_make(Arena *a);             // with the words that C and C++ claim
void names_open(Names *n);
void names_close(Names *n);
// A visible name that no other has: the hint, or the hint with a number. Stays taken until its scope closes.
Name names_fresh(Names *n, const char *hint);
// The same for the name of a function or variable of the file, which may not be one that the C library has.
Name names_global(Names *n, const char *hint);
// A name of the whole file, taken from now on whatever scopes are open: for what is printed before all that stands here.
Name names_keep(Names *n, const char *hint);
// A fresh name, as the name of an object from now on.
Name names_bind(Names *n, const void *object, const char *hint);
void names_bind_to(Names *n, const void *object, Name name);
Name names_of(const Names *n, const void *object);    // NULL when it has none
#endif
