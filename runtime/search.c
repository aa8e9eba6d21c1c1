// search.c: where the compilers and the libraries of this machine are.
#include "runtime/search.h"
#include "base/str.h"
#include "base/vec.h"
#include "runtime/proc.h"
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
enum { VERSION_MS = 5000 };     // for `cc --version`; a compiler behind a slow wrapper is still found

typedef VEC(const char *) Names;

// The parts of a colon-separated list that are absolute directories.
static Names split_path(Arena *a, const char *list) {
  Names dirs = { 0 };
  while (list && *list) {
    size_t n = strcspn(list, ":");
    if (*list == '/') vec_push(a, &dirs, arena_strndup(a, list, n));
    list += n + (list[n] == ':');
  }
  return dirs;
}

// ---- programs --------------------------------------------------------------------------------------------------

static bool is_program(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

const char *search_program(Arena *a, const char *path, const char *name) {
  Names dirs = split_path(a, path ? path : DEFAULT_PATH);
  for (int i = 0; i < dirs.n; i++) {
    const char *file = arena_printf(a, "%s/%s", dirs.v[i], name);
    if (is_program(file)) return file;
  }
  return NULL;
}

const char *search_cc(Arena *a, const char *path) {
  const char *cc = search_program(a, path, "clang");
  for (int v = 22; !cc && v >= 14; v--) cc = search_program(a, path, arena_printf(a, "clang-%d", v));
  if (!cc) cc = search_program(a, path, "gcc");
  return cc ? cc : search_program(a, path, "cc");
}

// The first line that `program --version` prints, or "".
static const char *version_line(Arena *a, const char *program) {
  const char *argv[] = { program, "--version", NULL }, *env[] = { "LC_ALL=C", "PATH=" DEFAULT_PATH, NULL };
  ProcResult r;
  proc_run(argv, env, -1, VERSION_MS, &r);
  const char *line = r.status == 0 && r.out ? arena_strndup(a, r.out, strcspn(r.out, "\n")) : "";
  free(r.out);
  return line;
}

// ---- Clang in the process ----------------------------------------------------------------------------------------

// The one copy of LLVM that the process may hold; opened once, never closed (jit_clang.h).
static struct ClangLibrary {
  pthread_mutex_t lock;
  const ClangTable *table;
  char *path;
  atomic_bool broken;
} library = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int note_clang_cpp(struct dl_phdr_info *info, size_t size, void *found) {
  (void)size;
  if (info->dlpi_name && strstr(info->dlpi_name, "libclang-cpp")) *(char **)found = strdup(info->dlpi_name);
  return *(char **)found != NULL;
}

// The path of a libclang-cpp in the process, or NULL.
static const char *mapped_clang_cpp(Arena *a) {
  char *found = NULL;
  dl_iterate_phdr(note_clang_cpp, &found);
  const char *path = found ? arena_printf(a, "%s", found) : NULL;
  free(found);
  return path;
}

// The directory of the library or program that this code is in, without symbolic links; NULL when unknown.
static const char *own_directory(Arena *a) {
  Dl_info info;
  static const char here = 0;
  // For a program, dli_fname is what it was called by.
  const char *name = dladdr(&here, &info) && info.dli_fname && *info.dli_fname == '/' ? info.dli_fname : "/proc/self/exe";
  char *real = realpath(name, NULL);
  const char *slash = real ? strrchr(real, '/') : NULL;
  const char *dir = slash ? arena_strndup(a, real, (size_t)(slash - real)) : NULL;
  free(real);
  return dir;
}

static Names clang_candidates(Arena *a, const char *extra) {
  Names c = { 0 }, more = split_path(a, extra);
  for (int i = 0; i < more.n; i++) vec_push(a, &c, arena_printf(a, "%s/libplait-clang.so", more.v[i]));
  const char *own = own_directory(a), *const below[] = { "", "/plait", "/../lib", "/../lib/plait" };
  for (size_t i = 0; own && i < sizeof below / sizeof *below; i++)
    vec_push(a, &c, arena_printf(a, "%s%s/libplait-clang.so", own, below[i]));
  return c;
}

// Opens one candidate; on failure *why says why, if the file exists.
static const ClangTable *open_clang(Arena *a, const char *path, const char **why) {
  if (access(path, R_OK)) return NULL;
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const ClangTable *t = lib ? dlsym(lib, CLANG_TABLE_NAME) : NULL;
  if (t && t->abi == CLANG_TABLE_ABI) return t;
  const char *message = lib ? NULL : dlerror();
  *why = t ? arena_printf(a, "%s is of another version of Plait", path) : arena_printf(a, "%s", message ? message : path);
  return NULL;
}

static const ClangTable *find_clang(Arena *a, const char *extra, const char **why) {
  const char *other = mapped_clang_cpp(a);
  if (other) {
    *why = arena_printf(a, "the process holds another Clang, %s", other);
    return NULL;
  }
  *why = "libplait-clang.so is not installed";
  Names c = clang_candidates(a, extra);
  for (int i = 0; i < c.n; i++) {
    library.table = open_clang(a, c.v[i], why);
    if (!library.table) continue;
    library.path = strdup(c.v[i]);
    return library.table;
  }
  return NULL;
}

const ClangTable *search_clang(Arena *a, const char *extra, const char **where, const char **why) {
  const char *reason = "";
  pthread_mutex_lock(&library.lock);
  const ClangTable *t = library.table ? library.table : find_clang(a, extra, &reason);
  if (t) reason = "";
  if (where) *where = t && library.path ? library.path : "";
  pthread_mutex_unlock(&library.lock);
  if (atomic_load(&library.broken)) t = NULL, reason = "LLVM failed earlier in this process";
  if (why) *why = reason;
  return t;
}

void search_clang_broken(void) { atomic_store(&library.broken, true); }
bool search_clang_is_broken(void) { return atomic_load(&library.broken); }

// ---- the report --------------------------------------------------------------------------------------------------

static SearchItem report_clang(Arena *a) {
  SearchItem it = { .what = "in-process Clang", .where = "", .version = "", .detail = "", .remedy = "" };
  const ClangTable *t = search_clang(a, NULL, &it.where, &it.detail);
  it.found = t != NULL;
  if (t) it.version = t->version;
  else if (strstr(it.detail, "not installed")) it.remedy = "apt-get install llvm-19-dev libclang-19-dev libclang-cpp19-dev, then build Plait again";
  else if (strstr(it.detail, "cannot open shared object")) it.remedy = "apt-get install libllvm19 libclang-cpp19";
  return it;
}

static SearchItem report_program(Arena *a, const char *what, const char *path, bool needed) {
  SearchItem it = { .what = what, .found = path != NULL, .where = path ? path : "", .version = "", .detail = "", .remedy = "" };
  if (path) it.version = version_line(a, path);
  else if (needed) it.remedy = "apt-get install gcc";
  return it;
}

SearchItem *search_all(Arena *a, const SearchPaths *p, int *n) {
  VEC(SearchItem) items = { 0 };
  const char *clang = search_program(a, p->path, "clang"), *gcc = search_program(a, p->path, "gcc"), *cc = search_cc(a, p->path);
  vec_push(a, &items, report_clang(a));
  vec_push(a, &items, report_program(a, "C compiler", cc, true));
  if (clang && strcmp(clang, cc)) vec_push(a, &items, report_program(a, "clang", clang, false));
  if (gcc && strcmp(gcc, cc)) vec_push(a, &items, report_program(a, "gcc", gcc, false));
  *n = items.n;
  return items.v;
}
