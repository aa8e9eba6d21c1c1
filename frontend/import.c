// import.c: the files of one compilation.
//
// Scopes: a file's own names hide imported ones, and these the library's. An import brings in what the file itself
// defines, not what that file imports in turn. Two imports that define one name: the first one listed is seen.
#include "frontend/import.h"
#include "base/limits.h"
#include <string.h>

typedef struct Loader {
  Units *u;
  Arena *a;
  Interner *names;
  Diags *d;
  ImportReader reader;
  void *cx;
} Loader;

// The file being loaded and those that wait for it, to find cycles.
typedef struct Chain { const Unit *unit; const struct Chain *up; } Chain;

static Item *item_new(Arena *a, Unit *unit, const AItem *ai) {
  Item *it = arena_new(a, Item);
  it->kind = ai->kind;
  it->unit = unit;
  switch (ai->kind) {
  case AI_CONST: it->cnst = ai->cnst; it->name = ai->cnst->name; it->at = ai->cnst->name_at; break;
  case AI_FORMAT: it->format = ai->format; it->name = ai->format->name; it->at = ai->format->name_at; break;
  case AI_FN: it->fn = ai->fn; it->name = ai->fn->name; it->at = ai->fn->name_at; break;
  case AI_IMPORT: return NULL;
  }
  return it;
}

static void define(Loader *l, Unit *unit, const AItem *ai) {
  Item *it = item_new(l->a, unit, ai);
  if (!it || !it->name) return;
  Item *before = map_getp(&unit->own, it->name);
  if (before) {
    diag_error(l->d, E_duplicate_name, it->at, "`%s` is defined twice in this file", it->name);
    diag_label(l->d, before->at, "first here");
    diag_help(l->d, "give one of the two another name");
    return;
  }
  map_putp(&unit->own, it->name, it);
  vec_push(l->a, &unit->items, it);
}

static Unit *unit_parse(Loader *l, const char *path, const char *text, size_t len, bool library) {
  Unit *unit = arena_new(l->a, Unit);
  unit->path = path;
  unit->library = library;
  unit->own = map_make(l->a);
  unit->file = diags_add_file(l->d, path, text, len);
  vec_push(l->a, &l->u->all, unit);
  if (len > LIMIT_SOURCE_BYTES) {
    diag_error(l->d, E_limit_source, (Span){unit->file, 0, 0}, "`%s` has %zu bytes; a file may have %d", path, len,
               LIMIT_SOURCE_BYTES);
    return unit;
  }
  unit->ast = parse_file(l->a, l->names, l->d, unit->file);
  for (int i = 0; unit->ast && i < unit->ast->nitems; i++) define(l, unit, &unit->ast->item[i]);
  return unit;
}

static Unit *known(const Units *u, const char *path) {
  for (int i = 0; i < u->all.n; i++)
    if (!u->all.v[i]->library && strcmp(u->all.v[i]->path, path) == 0) return u->all.v[i];
  return NULL;
}

static void load_imports(Loader *l, Unit *unit, const Chain *up);

static void report_cycle(Loader *l, const AImport *im, const Unit *target, const Chain *chain) {
  diag_error(l->d, E_import_cycle, im->at, "`%s` imports this file, directly or through others", im->path);
  for (const Chain *c = chain; c && c->unit != target; c = c->up)
    if (c->up) diag_note(l->d, "`%s` is imported by `%s`", c->unit->path, c->up->unit->path);
  diag_help(l->d, "move what both files need into a third one");
}

// The unit of one import, NULL after an error.
static Unit *import_one(Loader *l, const Unit *from, const AImport *im, const Chain *chain) {
  ImportText text = {0};
  if (!l->reader || !l->reader(l->cx, l->a, from->path, im->path, &text)) {
    diag_error(l->d, E_import_missing, im->at, "cannot read `%s`: %s", im->path, text.error ? text.error : "there is no reader");
    diag_note(l->d, "the path is relative to `%s`", from->path);
    return NULL;
  }
  Unit *unit = known(l->u, text.path);
  if (!unit && l->u->all.n >= LIMIT_IMPORTS)
    return diag_error(l->d, E_limit_imports, im->at, "more than %d files", LIMIT_IMPORTS);
  if (!unit) {
    unit = unit_parse(l, text.path, text.text, text.len, false);
    load_imports(l, unit, chain);
    return unit;
  }
  for (const Chain *c = chain; c; c = c->up)
    if (c->unit == unit) return report_cycle(l, im, unit, chain), NULL;
  return unit;
}

static void load_imports(Loader *l, Unit *unit, const Chain *up) {
  Chain chain = {unit, up};
  if (l->d->errors) return;               // after a slip in the text, what an import says is not to be relied on
  for (int i = 0; unit->ast && i < unit->ast->nitems; i++) {
    if (unit->ast->item[i].kind != AI_IMPORT) continue;
    Unit *other = import_one(l, unit, unit->ast->item[i].import, &chain);
    if (other) vec_push(l->a, &unit->imports, other);
  }
}

static void load_library(Loader *l) {
  Units *u = l->u;
  u->library = map_make(l->a);
  for (const struct StdFile *f = std_files; f->name; f++) {
    Unit *unit = unit_parse(l, arena_printf(l->a, "std/%s", f->name), f->text, f->len, true);
    for (int i = 0; i < unit->items.n; i++) {
      map_putp(&u->library, unit->items.v[i]->name, unit->items.v[i]);
      vec_push(l->a, &u->library_items, unit->items.v[i]);
    }
  }
}

Item *unit_lookup(const Units *u, const Unit *from, Name name) {
  Item *it = map_getp(&from->own, name);
  for (int i = 0; !it && i < from->imports.n; i++) it = map_getp(&from->imports.v[i]->own, name);
  return it ? it : map_getp(&u->library, name);
}

void units_load(Units *u, Arena *a, Interner *names, Diags *d, const char *path, const char *text, size_t len,
                ImportReader reader, void *cx) {
  Loader l = {u, a, names, d, reader, cx};
  u->main = unit_parse(&l, path, text, len, false);
  load_imports(&l, u->main, NULL);
  load_library(&l);
}
