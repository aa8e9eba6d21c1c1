// search_cuda.c: where the CUDA driver and NVRTC are on this machine.
//
// Both come by many ways (the distribution, NVIDIA's installer, containers, Python wheels, conda), so a search is a list
// of places, tried in order, each with what came of it: `plait doctor` shows the list. Nothing is run, Python included.
#include "base/str.h"
#include "runtime/search.h"
#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef VEC(const char *) Names;

// A directory that may hold NVRTC under one of its names, or the path of a file.
typedef struct Look { Arena *a; const char **where; SearchPlaces *places; } Look;

// ---- opening -----------------------------------------------------------------------------------------------------

static void note(const Look *l, const char *path, const char *what) {
  if (l->places) vec_push(l->a, l->places, (SearchPlace){path, what});
}

// The file that an open library was loaded from.
static const char *path_of(Arena *a, void *lib, const char *name) {
  struct link_map *map = NULL;
  bool known = dlinfo(lib, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name && *map->l_name;
  return arena_printf(a, "%s", known ? map->l_name : name);
}

static void *open_library(const Look *l, const char *name) {
  void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (lib && l->where) *l->where = path_of(l->a, lib, name);
  return lib;
}

// A path that a user gave, or that exists: a failure is worth its reason.
static void *open_file(const Look *l, const char *path) {
  void *lib = open_library(l, path);
  const char *why = lib ? NULL : dlerror();
  note(l, path, lib ? "found" : arena_printf(l->a, "%s", why ? why : "cannot be loaded"));
  return lib;
}

// ---- directories -------------------------------------------------------------------------------------------------

static bool begins(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

static int by_name(const void *x, const void *y) { return strcmp(*(const char *const *)x, *(const char *const *)y); }

// The entries of a directory whose names begin with `prefix`, as paths with `below` added; the highest name first.
static void list_below(Arena *a, Names *out, const char *dir, const char *prefix, const char *below) {
  DIR *d = opendir(dir);
  Names found = {0};
  for (struct dirent *e; d && (e = readdir(d));)
    if (begins(e->d_name, prefix) && *e->d_name != '.') vec_push(a, &found, arena_printf(a, "%s/%s%s", dir, e->d_name, below));
  if (d) closedir(d);
  if (found.n) qsort(found.v, (size_t)found.n, sizeof *found.v, by_name);
  for (int i = found.n - 1; i >= 0; i--) vec_push(a, out, found.v[i]);
}

static bool absolute(const char *path) { return path && *path == '/'; }

// NVIDIA's wheels put the library below nvidia/cuda_nvrtc/lib (CUDA 11 and 12) and nvidia/cu13/lib (13).
static void list_wheels(Arena *a, Names *out, const char *prefix, const char *packages) {
  Names sites = {0};
  if (!absolute(prefix)) return;
  list_below(a, &sites, arena_printf(a, "%s/lib", prefix), "python3", packages);
  for (int i = 0; i < sites.n; i++) {
    const char *nvidia = arena_printf(a, "%s/nvidia", sites.v[i]);
    list_below(a, out, nvidia, "cu1", "/lib");
    list_below(a, out, nvidia, "cuda_nvrtc", "/lib");
  }
}

// The folder above the one that holds `file`; NULL when there is none.
static const char *prefix_of(Arena *a, const char *file) {
  const char *slash = file ? strrchr(file, '/') : NULL;
  const char *bin = slash ? arena_strndup(a, file, (size_t)(slash - file)) : NULL;
  const char *end = bin ? strrchr(bin, '/') : NULL;
  return end && end > bin ? arena_strndup(a, bin, (size_t)(end - bin)) : NULL;
}

// Of the python3 along PATH: where it stands, which is a virtual environment's own folder, and where it really is.
static void list_python(Arena *a, Names *out, const char *path) {
  const char *python = search_program(a, path, "python3"), *prefix = prefix_of(a, python);
  char *real = python ? realpath(python, NULL) : NULL;
  const char *base = prefix_of(a, real);
  free(real);
  list_wheels(a, out, prefix, "/site-packages");
  if (base && prefix && strcmp(base, prefix)) list_wheels(a, out, base, "/site-packages");
}

static void list_toolkit(Arena *a, Names *out, const char *prefix) {
  static const char *const below[] = {"lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"};
  for (size_t i = 0; absolute(prefix) && i < sizeof below / sizeof *below; i++) vec_push(a, out, arena_printf(a, "%s/%s", prefix, below[i]));
}

// Directories that the environment points at: they come before what the loader knows.
static Names named_directories(Arena *a, const SearchPaths *p) {
  Names dirs = {0};
  list_toolkit(a, &dirs, p->cuda_home);
  list_wheels(a, &dirs, p->virtual_env, "/site-packages");
  list_wheels(a, &dirs, p->conda, "/site-packages");
  list_toolkit(a, &dirs, p->conda);
  list_python(a, &dirs, p->path);
  return dirs;
}

static Names usual_directories(Arena *a, const SearchPaths *p) {
  static const char *const system[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib/cuda/lib64"};
  Names dirs = {0};
  if (absolute(p->home)) list_wheels(a, &dirs, arena_printf(a, "%s/.local", p->home), "/site-packages");
  list_wheels(a, &dirs, "/usr/local", "/dist-packages");
  list_wheels(a, &dirs, "/usr/local", "/site-packages");
  list_below(a, &dirs, "/usr/local", "cuda", "/lib64");
  list_below(a, &dirs, "/opt", "cuda", "/lib64");
  for (size_t i = 0; i < sizeof system / sizeof *system; i++) vec_push(a, &dirs, system[i]);
  return dirs;
}

// ---- NVRTC -------------------------------------------------------------------------------------------------------

// Newest first. 11.2 is the name that all of CUDA 11.2 to 11.8 have; the last may be of any version.
typedef struct NvrtcName { const char *name; int major; } NvrtcName;
static const NvrtcName nvrtc_names[] = {{"libnvrtc.so.13", 13}, {"libnvrtc.so.12", 12}, {"libnvrtc.so.11.2", 11}, {"libnvrtc.so", 99}};
enum { NVRTC_NAMES = sizeof nvrtc_names / sizeof *nvrtc_names };

static void *open_by_loader(const Look *l, int major) {
  void *lib = NULL;
  for (int i = 0; !lib && i < NVRTC_NAMES; i++)
    if (nvrtc_names[i].major <= major) lib = open_library(l, nvrtc_names[i].name);
  note(l, "libnvrtc.so, by the loader's own search", lib ? "found" : "not there");
  return lib;
}

static void *open_in(const Look *l, const char *dir, int major) {
  bool newer = false;
  for (int i = 0; i < NVRTC_NAMES; i++) {
    const char *file = arena_printf(l->a, "%s/%s", dir, nvrtc_names[i].name);
    if (access(file, R_OK)) continue;
    newer |= nvrtc_names[i].major > major;
    void *lib = nvrtc_names[i].major <= major ? open_file(l, file) : NULL;
    if (lib) return lib;
  }
  note(l, dir, newer ? "newer than the driver" : "not there");
  return NULL;
}

static void *open_in_any(const Look *l, const Names *dirs, int major) {
  void *lib = NULL;
  for (int i = 0; !lib && i < dirs->n; i++) lib = open_in(l, dirs->v[i], major);
  return lib;
}

static void *open_any(const Look *l, const SearchPaths *p, int major) {
  Names named = named_directories(l->a, p), usual = usual_directories(l->a, p);
  void *lib = open_in_any(l, &named, major);
  if (!lib) lib = open_by_loader(l, major);
  return lib ? lib : open_in_any(l, &usual, major);
}

void *search_nvrtc(Arena *a, const SearchPaths *p, int major, const char **where, SearchPlaces *places) {
  Look l = {a, where, places};
  if (p->nvrtc) return open_file(&l, p->nvrtc);
  void *lib = open_any(&l, p, major ? major : 99);
  return lib || !major ? lib : open_any(&l, p, 99);
}

// ---- the driver --------------------------------------------------------------------------------------------------

void *search_cuda_driver(Arena *a, const SearchPaths *p, const char **where, SearchPlaces *places) {
  // Debian, Red Hat, WSL, containers that mount it, NixOS.
  static const char *const files[] = {
    "/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/lib/aarch64-linux-gnu/libcuda.so.1", "/usr/lib64/libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1",
    "/usr/local/nvidia/lib64/libcuda.so.1", "/run/opengl-driver/lib/libcuda.so.1",
  };
  Look l = {a, where, places};
  if (p->cuda_driver) return open_file(&l, p->cuda_driver);
  void *lib = open_library(&l, "libcuda.so.1");
  note(&l, "libcuda.so.1, by the loader's own search", lib ? "found" : "not there");
  for (size_t i = 0; !lib && i < sizeof files / sizeof *files; i++) {
    if (access(files[i], R_OK) == 0) lib = open_file(&l, files[i]);
    else note(&l, files[i], "not there");
  }
  return lib;
}
