// compile.c: a text to a shared library, by gcc or clang, with the compiler's own checks calling the emulator.
//
// -fsanitize=thread makes the compiler report accesses, and -fsanitize=undefined what C leaves undefined; the functions that they
// call are prelude.h's, so no sanitizer's library is linked.
#include "emu.h"
#include "runtime/proc.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// abi.h and prelude.h, as they are beside this file when it is compiled (EMU_SOURCE is their folder).
extern const char emu_prelude[];
__asm__(".pushsection .rodata\n.globl emu_prelude\n.hidden emu_prelude\nemu_prelude:\n"
        ".incbin \"" EMU_SOURCE "/abi.h\"\n.incbin \"" EMU_SOURCE "/prelude.h\"\n.byte 0\n.popsection\n");

enum { LIMIT_MS = 120000, MAX_ARGS = 64 };
typedef struct Args { const char *v[MAX_ARGS]; int n; } Args;

static void add(Args *a, const char *arg) {
  if (a->n < MAX_ARGS - 1) a->v[a->n++] = arg;
}

static void add_all(Args *a, const char *const *arg) {
  for (; *arg; arg++) add(a, *arg);
}

// What NVRTC refuses must not pass: calls of unknown functions, one type of pointer for another.
static const char *const common_flags[] = {
  "-std=gnu17", "-fgnu89-inline", "-w", "-Werror=implicit-function-declaration", "-Werror=implicit-int", "-Werror=incompatible-pointer-types",
  "-Werror=int-conversion", "-Werror=return-type", "-O1", "-g1", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
  "-fvisibility=hidden", "-fPIC", "-shared", "-fno-stack-protector", "-fno-semantic-interposition", "-fstack-clash-protection", "-nodefaultlibs", "-Wl,-z,defs", "-Wl,--build-id=none",
#if defined(__x86_64__)
  "-fcf-protection=none",
#endif
  NULL,
};
static const char *const checked_flags[] = {
  "-DEMU_CHECKED", "-fsanitize=thread,alignment,shift,signed-integer-overflow,integer-divide-by-zero,unreachable", NULL,
};
// Volatile accesses are how threads poll. gcc would move reads out of loops that do not always make them. Clang's
// `bounds` would also trap by itself, and its `alignment` does not look at copies of structures: gcc is the better judge.
static const char *const gcc_flags[] = {NULL}, *const gcc_checked[] = {"-fsanitize=bounds", "-fno-tree-loop-im", "--param", "tsan-distinguish-volatile=1", NULL};
static const char *const clang_flags[] = {"-fbracket-depth=2048", NULL}, *const clang_checked[] = {"-fsanitize=array-bounds", "-mllvm", "-tsan-distinguish-volatile=1", NULL};

static bool is_clang(const char *cc) {
  char *real = realpath(cc, NULL);
  const char *base = real ? strrchr(real, '/') : NULL;
  bool yes = base && strstr(base, "clang");
  free(real);
  return yes;
}

static void run_cc(const EmuCompile *c, const char *library, int text, ProcResult *out) {
  char arch[48], path[4096];
  Args a = {.n = 0};
  snprintf(arch, sizeof arch, "-D__CUDA_ARCH__=%d", 10 * c->arch);
  snprintf(path, sizeof path, "PATH=%.*s:/usr/local/bin:/usr/bin:/bin", (int)(strrchr(c->cc, '/') - c->cc), c->cc);
  bool clang = is_clang(c->cc);
  add(&a, c->cc);
  add_all(&a, common_flags);
  add_all(&a, clang ? clang_flags : gcc_flags);
  if (c->checked) add_all(&a, checked_flags);
  if (c->checked) add_all(&a, clang ? clang_checked : gcc_checked);
  add(&a, arch);
  for (int i = 0; i < c->ndefines; i++) {
    add(&a, "-D");
    add(&a, c->define[i]);
  }
  add_all(&a, (const char *const[]){"-o", library, "-x", "c", "-", "-lm", "-lc", "-lgcc", NULL});
  proc_run(a.v, (const char *const[]){"LC_ALL=C", path, NULL}, text, LIMIT_MS, out);
}

static void *read_file(const char *path, size_t *size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  struct stat st;
  char *bytes = NULL;
  *size = 0;
  if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && (bytes = malloc((size_t)st.st_size)))
    for (ssize_t n; *size < (size_t)st.st_size && (n = read(fd, bytes + *size, (size_t)st.st_size - *size)) > 0;) *size += (size_t)n;
  if (fd >= 0) close(fd);
  return bytes;
}

static void *compile_file(const EmuCompile *c, int text, size_t *size, char **log, EmuFault *f) {
  char dir[] = "/tmp/plait-emu-XXXXXX", library[sizeof dir + 8];
  ProcResult r;
  if (!mkdtemp(dir)) {
    emu_fault(f, EMU_HOST, "cannot make a directory in /tmp: %s", strerror(errno));
    return NULL;
  }
  snprintf(library, sizeof library, "%s/k.so", dir);
  run_cc(c, library, text, &r);
  void *bytes = read_file(library, size);
  unlink(library);
  rmdir(dir);
  *log = r.out;
  if (r.error) emu_fault(f, EMU_HOST, "cannot run %s: %s", c->cc, strerror(r.error));
  else if (!bytes || r.status > 0) emu_fault(f, EMU_UNDEFINED, "%s", r.out && *r.out ? r.out : "the compiler failed and said nothing");
  else return bytes;
  free(bytes);
  return NULL;
}

char *emu_c_text(const char *text, const char *file, const char *image, EmuFault *f) {
  char *rewritten = emu_rewrite(text, file, image, f), *all = NULL;
  if (!rewritten) return NULL;
  if (asprintf(&all, "# 1 \"prelude\" 3\n%s\n%s", emu_prelude, rewritten) < 0) {
    emu_fault(f, EMU_HOST, "out of memory");
    all = NULL;
  }
  free(rewritten);
  return all;
}

// ---- what was compiled last ----------------------------------------------------------------------
//
// A test gives a program to several runtimes, and each of them compiles the same text: more than half of all texts.

enum { KEEP = 8 };
typedef struct Kept { char *key; void *bytes; size_t size; char *log; } Kept;      // the key is all that the compiler gets
static struct { pthread_mutex_t lock; Kept v[KEEP]; } kept = {.lock = PTHREAD_MUTEX_INITIALIZER};      // the latest first

static char *key_of(const EmuCompile *c, const char *all) {
  char *key = NULL, *longer;
  if (asprintf(&key, "%s\n%d %d\n", c->cc, c->checked, c->arch) < 0) return NULL;
  for (int i = 0; i <= c->ndefines; i++) {
    int n = asprintf(&longer, "%s%s\n", key, i < c->ndefines ? c->define[i] : all);
    free(key);
    if (n < 0) return NULL;
    key = longer;
  }
  return key;
}

static bool copy_out(const Kept *k, void **bytes, size_t *size, char **log) {
  *bytes = malloc(k->size);
  *log = k->log ? strdup(k->log) : NULL;
  if (!*bytes) return false;
  memcpy(*bytes, k->bytes, *size = k->size);
  return true;
}

static void *kept_result(const char *key, size_t *size, char **log) {
  void *bytes = NULL;
  pthread_mutex_lock(&kept.lock);
  for (int i = 0; i < KEEP && kept.v[i].key; i++) {
    if (strcmp(kept.v[i].key, key) != 0) continue;
    Kept k = kept.v[i];
    memmove(&kept.v[1], &kept.v[0], (size_t)i * sizeof k);
    kept.v[0] = k;
    if (!copy_out(&k, &bytes, size, log)) bytes = NULL;
    break;
  }
  pthread_mutex_unlock(&kept.lock);
  return bytes;
}

// Takes the key.
static void keep_result(char *key, const void *bytes, size_t size, const char *log) {
  Kept k = {.key = key, .bytes = malloc(size), .size = size, .log = log ? strdup(log) : NULL};
  if (!k.bytes) {
    free(key);
    return;
  }
  memcpy(k.bytes, bytes, size);
  pthread_mutex_lock(&kept.lock);
  Kept last = kept.v[KEEP - 1];
  memmove(&kept.v[1], &kept.v[0], (KEEP - 1) * sizeof k);
  kept.v[0] = k;
  pthread_mutex_unlock(&kept.lock);
  free(last.key);
  free(last.bytes);
  free(last.log);
}

static void *compile_all(const EmuCompile *c, const char *all, size_t *size, char **log, EmuFault *f) {
  int fd = proc_file("/tmp", all, strlen(all));
  void *bytes = NULL;
  if (fd < 0) emu_fault(f, EMU_HOST, "no file for the text");
  else bytes = compile_file(c, fd, size, log, f);
  if (fd >= 0) close(fd);
  return bytes;
}

void *emu_compile(const EmuCompile *c, const char *text, size_t *size, char **log, EmuFault *f) {
  *f = (EmuFault){0};
  *log = NULL;
  char *all = emu_c_text(text, c->file, "emu_image", f);
  if (!all) return NULL;
  char *key = key_of(c, all);
  void *bytes = key ? kept_result(key, size, log) : NULL;
  if (bytes) free(key);
  else if ((bytes = compile_all(c, all, size, log, f)) && key) keep_result(key, bytes, *size, *log);
  else free(key);
  free(all);
  return bytes;
}
