// nvrtc_check.c: compiles CUDA texts with NVIDIA's NVRTC, needs no GPU, and looks at what ptxas says of each kernel.
//
//   cuda_emu_nvrtc_check [--nvrtc FILE] [--arch 80,90,100] [--registers N] [--shared BYTES] [--spill BYTES] [--expect WHAT] FILE…
//
// Prints a line for each kernel and architecture; fails on a text that does not compile, and on more spilled bytes (0
// unless said), registers or bytes of shared memory than allowed. A file may be stricter for its own kernels:
//
//   // nvrtc: registers <= 40, shared <= 4096, arch >= 90
//
// With --expect registers, shared or spill exactly that must be over its budget: for tests of this program. Without NVRTC it says so and leaves everything out.
#include "runtime/gpu_code.h"
#include <dlfcn.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Nvrtc {
  int (*version)(int *, int *), (*narchs)(int *), (*archs)(int *);
  int (*create)(void **, const char *, const char *, int, const char *const *, const char *const *), (*destroy)(void **);
  int (*compile)(void *, int, const char *const *), (*log_bytes)(void *, size_t *), (*log)(void *, char *);
  int arch[64], n;
} Nvrtc;

enum { OVER_REGISTERS = 1, OVER_SHARED = 2, OVER_SPILL = 4 };
typedef struct Budget { int registers, shared, spill, arch; int expected; } Budget;      // expected: what must be over
typedef struct Options { Budget budget; const char *nvrtc; int arch[16], narchs; } Options;
typedef struct Count { int passed, failed; } Count;

// ---- finding NVRTC -----------------------------------------------------------------------------------------------

static bool load(void *lib, Nvrtc *n) {
  struct { const char *name; void *to; } f[] = {
    {"nvrtcVersion", &n->version}, {"nvrtcGetNumSupportedArchs", &n->narchs}, {"nvrtcGetSupportedArchs", &n->archs}, {"nvrtcCreateProgram", &n->create},
    {"nvrtcDestroyProgram", &n->destroy}, {"nvrtcCompileProgram", &n->compile}, {"nvrtcGetProgramLogSize", &n->log_bytes}, {"nvrtcGetProgramLog", &n->log},
  };
  for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
    void *p = dlsym(lib, f[i].name);
    if (!p) return false;
    memcpy(f[i].to, &p, sizeof p);
  }
  return n->narchs(&n->n) == 0 && n->n <= 64 && n->archs(n->arch) == 0;
}

// The emulator's own would pass everything that C does.
static bool is_stand_in(void *lib) { return dlsym(lib, "plait_cuda_emu") != NULL; }

static bool open_one(const char *file, Nvrtc *n) {
  void *lib = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (lib && !is_stand_in(lib) && load(lib, n)) {
    printf("NVRTC: %s\n", file);
    return true;
  }
  if (lib) dlclose(lib);
  return false;
}

// NVRTC looks for a second library by name only; in a wheel it lies beside the first.
static void open_builtins(const char *file) {
  char pattern[4096];
  glob_t g;
  const char *slash = strrchr(file, '/');
  snprintf(pattern, sizeof pattern, "%.*s/libnvrtc-builtins.so.*", slash ? (int)(slash - file) : 0, file);
  if (!slash || glob(pattern, 0, NULL, &g)) return;
  for (size_t i = 0; i < g.gl_pathc; i++) dlopen(g.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
  globfree(&g);
}

static bool open_below(const char *pattern, Nvrtc *n) {
  glob_t g;
  bool found = false;
  if (glob(pattern, 0, NULL, &g)) return false;
  for (size_t i = g.gl_pathc; !found && i-- > 0;) {       // the highest version first
    open_builtins(g.gl_pathv[i]);
    found = open_one(g.gl_pathv[i], n);
  }
  globfree(&g);
  return found;
}

// What the loader knows, toolkits, and what scripts/prepare.sh has fetched into nvrtc/ beside this program.
static bool open_nvrtc(const Options *o, Nvrtc *n) {
  static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"};
  char self[4000], pattern[4096];
  ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
  self[len < 0 ? 0 : len] = 0;
  if (o->nvrtc) return open_one(o->nvrtc, n);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (open_one(names[i], n)) return true;
  if (open_below("/usr/local/cuda*/lib64/libnvrtc.so.[0-9]*", n)) return true;
  char *slash = strrchr(self, '/');
  if (slash) *slash = 0;
  snprintf(pattern, sizeof pattern, "%s/nvrtc/nvidia/*/lib/libnvrtc.so.[0-9]*", self);
  return open_below(pattern, n);
}

// ---- one text ----------------------------------------------------------------------------------------------------

static char *read_file(const char *path) {
  FILE *f = fopen(path, "r");
  char *text = NULL;
  size_t size = 0;
  if (f && getdelim(&text, &size, 0, f) < 0) {
    free(text);
    text = NULL;
  }
  if (f) fclose(f);
  return text;
}

// A number behind `word` in the line at s, or what it was.
static int after(const char *s, const char *end, const char *word, int before) {
  const char *p = strstr(s, word);
  return p && p < end ? atoi(p + strlen(word)) : before;
}

static Budget budget_of(const char *text, Budget b) {
  for (const char *s = text; (s = strstr(s, "// nvrtc:"));) {
    const char *end = s + strcspn(s, "\n");
    b.registers = after(s, end, "registers <= ", b.registers);
    b.shared = after(s, end, "shared <= ", b.shared);
    b.spill = after(s, end, "spill <= ", b.spill);
    b.arch = after(s, end, "arch >= ", b.arch);
    s = end;
  }
  return b;
}

static int over(int bit, const char *what, int got, int allowed) {
  if (got > allowed) printf("  %d %s, of %d allowed\n", got, what, allowed);
  return got > allowed ? bit : 0;
}

// "Used 32 registers, used 1 barriers, 80 bytes smem": the 80.
static int shared_in(const char *line) {
  const char *p = line, *end = line + strcspn(line, "\n");
  for (int n, chars = 0; p < end; p += strcspn(p, ",\n") + 1, chars = 0)
    if (sscanf(p, " %d bytes smem%n", &n, &chars) == 1 && chars) return n;
  return 0;
}

// ptxas's words on one kernel, from "Compiling entry function 'NAME'" to the next.
static void kernel(const char *file, int arch, const char *s, const char *end, Budget b, Count *c) {
  const char *name = strchr(s, '\'') + 1, *stack = strstr(s, "bytes stack frame,"), *used = strstr(s, "Used ");
  int stores = 0, loads = 0, registers = 0, shared = 0;
  if (stack && stack < end) sscanf(stack, "bytes stack frame, %d bytes spill stores, %d bytes spill loads", &stores, &loads);
  if (used && used < end) registers = atoi(used + 5);
  if (used && used < end) shared = shared_in(used);
  printf("%s %.*s sm_%d: %d registers, %d bytes of shared memory, %d bytes spilled\n", file, (int)strcspn(name, "'"), name, arch, registers, shared, stores + loads);
  int beyond = over(OVER_REGISTERS, "registers", registers, b.registers) | over(OVER_SHARED, "bytes of shared memory", shared, b.shared) |
               over(OVER_SPILL, "bytes spilled", stores + loads, b.spill);
  if (used && beyond == b.expected) c->passed++;
  else c->failed++;
}

static void kernels(const char *file, int arch, const char *log, Budget b, Count *c) {
  static const char head[] = "Compiling entry function '";
  int before = c->passed + c->failed;
  for (const char *s = strstr(log, head); s;) {
    const char *next = strstr(s + sizeof head, head);
    kernel(file, arch, s, next ? next : s + strlen(s), b, c);
    s = next;
  }
  if (c->passed + c->failed > before) return;
  printf("%s sm_%d: no kernel in it\n", file, arch);
  c->failed++;
}

static char *log_of(const Nvrtc *n, void *program) {
  size_t size = 0;
  char *log = n->log_bytes(program, &size) ? NULL : calloc(1, size + 1);
  if (log) n->log(program, log);
  return log;
}

// The log, or NULL when there is no program; *r: what the compiler says of it.
static char *compile(const Nvrtc *n, const char *file, const char *text, int arch, int *r) {
  char option[48];
  void *program;
  snprintf(option, sizeof option, "--gpu-architecture=sm_%d", arch);
  const char *options[] = {option, "--std=c++17", "--device-as-default-execution-space", "--ptxas-options=-v"};
  if (n->create(&program, text, file, 0, NULL, NULL)) return NULL;
  *r = n->compile(program, 4, options);
  char *log = log_of(n, program);
  n->destroy(&program);
  return log;
}

static int spilled(const char *log) {
  GpuUse *use;
  int n = gpu_log_read(log, &use), all = gpu_spilled(use, n);
  free(use);
  return all;
}

// As the library does it: kernels that spill are tried without room for other blocks.
static char *fitting(const Nvrtc *n, const char *file, const char *text, int arch, char *log) {
  GpuUse *use;
  int nuse = gpu_log_read(log, &use), r = 1;
  char *loose = gpu_loosen(text, strlen(text), use, nuse), *other = loose ? compile(n, file, loose, arch, &r) : NULL;
  bool better = other && !r && spilled(other) < spilled(log);
  free(use);
  free(loose);
  free(better ? log : other);
  return better ? other : log;
}

static void check(const Nvrtc *n, const char *file, const char *text, int arch, Budget b, Count *c) {
  int r = 0;
  char *log = compile(n, file, text, arch, &r);
  if (log && !r) log = fitting(n, file, text, arch, log);
  if (log && !r) {
    kernels(file, arch, log, b, c);
  } else {
    printf("%s sm_%d: does not compile\n%s\n", file, arch, log ? log : "NVRTC makes no program of it");
    c->failed++;
  }
  free(log);
}

static bool supports(const Nvrtc *n, int arch) {
  for (int i = 0; i < n->n; i++)
    if (n->arch[i] == arch) return true;
  return false;
}

static void check_file(const Nvrtc *n, const Options *o, const char *file, Count *c) {
  char *text = read_file(file);
  if (!text) {
    printf("%s cannot be read\n", file);
    c->failed++;
    return;
  }
  Budget b = budget_of(text, o->budget);
  for (int i = 0; i < o->narchs; i++) {
    if (o->arch[i] < b.arch) continue;
    if (supports(n, o->arch[i])) check(n, file, text, o->arch[i], b, c);
    else printf("%s sm_%d: left out, this NVRTC does not know it\n", file, o->arch[i]);
  }
  free(text);
}

// ---- the command line --------------------------------------------------------------------------------------------

static void set_archs(Options *o, const char *list) {
  for (o->narchs = 0; *list && o->narchs < 16; list += strcspn(list, ",") + (list[strcspn(list, ",")] == ',')) o->arch[o->narchs++] = atoi(list);
}

static int expected(const char *what) {
  return strcmp(what, "registers") == 0 ? OVER_REGISTERS : strcmp(what, "shared") == 0 ? OVER_SHARED : OVER_SPILL;
}

// One option with its value; false: it is none.
static bool option(Options *o, const char *name, const char *value) {
  if (strcmp(name, "--nvrtc") == 0) o->nvrtc = value;
  else if (strcmp(name, "--arch") == 0) set_archs(o, value);
  else if (strcmp(name, "--registers") == 0) o->budget.registers = atoi(value);
  else if (strcmp(name, "--shared") == 0) o->budget.shared = atoi(value);
  else if (strcmp(name, "--spill") == 0) o->budget.spill = atoi(value);
  else if (strcmp(name, "--expect") == 0) o->budget.expected = expected(value);
  else return false;
  return true;
}

int main(int argc, char **argv) {
  Options o = {.budget = {255, 48 << 10, 0, 0, 0}, .arch = {80, 90, 100}, .narchs = 3};
  Nvrtc n;
  Count c = {0, 0};
  int i = 1;
  for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
    if (option(&o, argv[i], argv[i + 1])) continue;
    fprintf(stderr, "unknown option %s\n", argv[i]);
    return 2;
  }
  if (!open_nvrtc(&o, &n)) {
    puts("left out: there is no NVRTC here (pip install nvidia-cuda-nvrtc)");
    return 0;
  }
  for (; i < argc; i++) check_file(&n, &o, argv[i], &c);
  printf("%d passed, %d failed\n", c.passed, c.failed);
  return c.failed > 0;
}
