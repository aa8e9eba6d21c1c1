// search.c: where the compilers and the libraries of this machine are.
#include "runtime/search.h"
#include "base/str.h"
#include "base/vec.h"
#include "runtime/proc.h"
#include <dirent.h>
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

// ---- libraries of the GPU ----------------------------------------------------------------------------------------

static bool begins(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

static int by_name(const void *x, const void *y) { return strcmp(*(const char *const *)x, *(const char *const *)y); }

// The entries of a directory whose names begin with `prefix`, as paths with `below` added; the highest name first.
static void list_below(Arena *a, Names *out, const char *dir, const char *prefix, const char *below) {
  DIR *d = opendir(dir);
  Names found = { 0 };
  for (struct dirent *e; d && (e = readdir(d));)
    if (begins(e->d_name, prefix) && *e->d_name != '.') vec_push(a, &found, arena_printf(a, "%s/%s%s", dir, e->d_name, below));
  if (d) closedir(d);
  if (found.n) qsort(found.v, (size_t)found.n, sizeof *found.v, by_name);
  for (int i = found.n - 1; i >= 0; i--) vec_push(a, out, found.v[i]);
}

// Where Python keeps packages: NVIDIA's wheels put libraries into site-packages/nvidia/*/lib.
static void list_sites(Arena *a, Names *sites, const SearchPaths *p) {
  if (p->virtual_env && *p->virtual_env == '/') list_below(a, sites, arena_printf(a, "%s/lib", p->virtual_env), "python3", "/site-packages");
  if (p->home && *p->home == '/') list_below(a, sites, arena_printf(a, "%s/.local/lib", p->home), "python3", "/site-packages");
  list_below(a, sites, "/usr/local/lib", "python3", "/dist-packages");
  list_below(a, sites, "/usr/local/lib", "python3", "/site-packages");
  vec_push(a, sites, "/usr/lib/python3/dist-packages");
}

// Directories that may hold NVRTC and are not known to the loader.
static Names cuda_directories(Arena *a, const SearchPaths *p) {
  Names dirs = { 0 }, sites = { 0 }, extra = split_path(a, p->extra);
  for (int i = 0; i < extra.n; i++) {
    vec_push(a, &dirs, extra.v[i]);
    vec_push(a, &sites, extra.v[i]);
  }
  if (p->cuda_home && *p->cuda_home == '/') vec_push(a, &dirs, arena_printf(a, "%s/lib64", p->cuda_home));
  list_sites(a, &sites, p);
  for (int i = 0; i < sites.n; i++) list_below(a, &dirs, arena_printf(a, "%s/nvidia", sites.v[i]), "", "/lib");
  list_below(a, &dirs, "/usr/local", "cuda", "/lib64");
  list_below(a, &dirs, "/opt", "cuda", "/lib64");
  return dirs;
}

// The file that an open library was loaded from.
static const char *path_of(Arena *a, void *lib, const char *name) {
  struct link_map *map = NULL;
  bool known = dlinfo(lib, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name && *map->l_name;
  return arena_printf(a, "%s", known ? map->l_name : name);
}

static void *open_library(Arena *a, const char *name, const char **where) {
  void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (lib && where) *where = path_of(a, lib, name);
  return lib;
}

// Newest first. 11.2 is the name that all of CUDA 11.2 to 11.8 have.
static const char *const nvrtc_names[] = { "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so" };
enum { NVRTC_NAMES = sizeof nvrtc_names / sizeof *nvrtc_names };

static void *open_nvrtc_in(Arena *a, const char *dir, const char **where) {
  void *lib = NULL;
  for (int i = 0; !lib && i < NVRTC_NAMES; i++) {
    const char *file = arena_printf(a, "%s/%s", dir, nvrtc_names[i]);
    if (access(file, R_OK) == 0) lib = open_library(a, file, where);
  }
  return lib;
}

void *search_nvrtc(Arena *a, const SearchPaths *p, const char **where) {
  void *lib = NULL;
  Names named = split_path(a, p->extra), dirs = cuda_directories(a, p);
  for (int i = 0; !lib && i < named.n; i++) lib = open_nvrtc_in(a, named.v[i], where);
  for (int i = 0; !lib && i < NVRTC_NAMES; i++) lib = open_library(a, nvrtc_names[i], where);
  for (int i = 0; !lib && i < dirs.n; i++) lib = open_nvrtc_in(a, dirs.v[i], where);
  return lib;
}

void *search_cuda_driver(Arena *a, const char **where) { return open_library(a, "libcuda.so.1", where); }

// ---- the report --------------------------------------------------------------------------------------------------

// A function of an open library; the detour is how C17 turns dlsym's pointer into one to a function.
typedef void AnyFunction(void);
static AnyFunction *function(void *lib, const char *name) {
  void *p = dlsym(lib, name);
  AnyFunction *f;
  memcpy(&f, &p, sizeof f);
  return f;
}

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

static SearchItem report_nvrtc(Arena *a, const SearchPaths *p) {
  SearchItem it = { .what = "NVRTC", .where = "", .version = "", .detail = "", .remedy = "pip install nvidia-cuda-nvrtc" };
  void *lib = search_nvrtc(a, p, &it.where);
  if (!lib) return it;
  it.found = true;
  it.remedy = "";
  int major = 0, minor = 0;
  int (*version)(int *, int *) = (int (*)(int *, int *))function(lib, "nvrtcVersion");
  if (version && version(&major, &minor) == 0) it.version = arena_printf(a, "%d.%d", major, minor);
  return it;
}

static const char *driver_detail(Arena *a, void *lib) {
  int (*init)(unsigned) = (int (*)(unsigned))function(lib, "cuInit");
  int (*count)(int *) = (int (*)(int *))function(lib, "cuDeviceGetCount");
  int n = 0, e = init ? init(0) : -1;
  if (e) return arena_printf(a, "cuInit fails with error %d", e);
  if (count) count(&n);
  return arena_printf(a, "%d device%s", n, n == 1 ? "" : "s");
}

static SearchItem report_driver(Arena *a) {
  SearchItem it = { .what = "CUDA driver", .where = "", .version = "", .detail = "", .remedy = "apt-get install nvidia-driver (with an NVIDIA GPU)" };
  void *lib = search_cuda_driver(a, &it.where);
  if (!lib) return it;
  it.found = true;
  it.remedy = "";
  int v = 0;
  int (*version)(int *) = (int (*)(int *))function(lib, "cuDriverGetVersion");
  if (version && version(&v) == 0) it.version = arena_printf(a, "CUDA %d.%d", v / 1000, v % 1000 / 10);
  it.detail = driver_detail(a, lib);
  return it;
}

SearchItem *search_all(Arena *a, const SearchPaths *p, int *n) {
  VEC(SearchItem) items = { 0 };
  const char *clang = search_program(a, p->path, "clang"), *gcc = search_program(a, p->path, "gcc"), *cc = search_cc(a, p->path);
  vec_push(a, &items, report_clang(a));
  vec_push(a, &items, report_program(a, "C compiler", cc, true));
  if (clang && strcmp(clang, cc)) vec_push(a, &items, report_program(a, "clang", clang, false));
  if (gcc && strcmp(gcc, cc)) vec_push(a, &items, report_program(a, "gcc", gcc, false));
  vec_push(a, &items, report_nvrtc(a, p));
  vec_push(a, &items, report_driver(a));
  *n = items.n;
  return items.v;
}
