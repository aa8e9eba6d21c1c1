// import.h: the files of one compilation and what their names stand for.
#ifndef PLAIT_FRONTEND_IMPORT_H
#define PLAIT_FRONTEND_IMPORT_H
#include "base/diag.h"
#include "base/map.h"
#include "frontend/ast.h"

// The standard library's files, embedded in the library; a row of nulls ends the table.
struct StdFile { const char *name, *text; size_t len; };
extern const struct StdFile std_files[];

// What a reader gives for an import: either the text (kept by pointer, NUL-terminated or not) and `path`, the name
// under which the file is known (a file reached in two ways has one path), or `error`, the reason in a few words.
typedef struct ImportText {
  const char *path;
  const char *text; size_t len;
  const char *error;
} ImportText;

// Reads the file that an import names: `path` as written, relative to the file `from`. False with out->error.
// The library reads files only through it.
typedef bool (*ImportReader)(void *cx, Arena *a, const char *from, const char *path, ImportText *out);

typedef struct Unit Unit;

// What a name of file scope stands for.
typedef enum ConstState { CONST_NEW, CONST_BUSY, CONST_DONE, CONST_BAD } ConstState;
typedef struct Item {
  AItemKind kind;           // AI_CONST, AI_FORMAT or AI_FN
  Name name;
  Span at;                  // of the name where it is defined
  Unit *unit;
  union { AConst *cnst; AFormat *format; AFn *fn; };
  ConstState state;         // AI_CONST: its value, once it was asked for (sema_const.c)
  struct ConstValue *value;
} Item;

// One source file.
struct Unit {
  uint32_t file;            // index in Diags.files
  const char *path;
  AFile *ast;               // NULL when nothing could be parsed
  bool library;
  VEC(Item *) items;        // own definitions, in order
  Map own;                  // Name to Item
  VEC(Unit *) imports;      // whose definitions are seen here, in order
};

typedef struct Units {
  VEC(Unit *) all;
  Unit *main;
  Map library;              // Name to Item, over all library files
  VEC(Item *) library_items;
} Units;

// Parses the main file, what it imports and the standard library. Errors go to d.
void units_load(Units *u, Arena *a, Interner *names, Diags *d, const char *path, const char *text, size_t len,
                ImportReader reader, void *cx);

// What `name` stands for in a file: its own definition, else an imported one, else the library's; NULL when none.
Item *unit_lookup(const Units *u, const Unit *from, Name name);
#endif
