// jit_cc.c: C text to code by a compiler of the system: no shell, no file outside a private directory.
//
// The compiler reads the text from its standard input and writes one shared library, which is read back, removed and
// mapped from memory. Parallel loops run on our pool whichever compiler it is: see Note [The prelude].
#include "runtime/jit_cc.h"
#include "runtime/pool.h"
#include "runtime/proc.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Note [The prelude]
// GCC turns `omp parallel for` into calls of GOMP_parallel, Clang into __kmpc_fork_call, functions of libgomp and libomp.
// Neither library is wanted: they bring a second set of threads, and libomp's burn 200 ms of CPU after each region. So the
// text begins with hidden functions of those names, which call our pool through a table that cc_load fills in. The
// link is told to leave nothing undefined, so what is not here (dynamic schedules, say) is an error.
typedef struct Hooks {
  void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
  int (*part)(void), (*parts)(void), (*max)(void), (*grain)(int, int);
  void (*barrier)(void);
  void (*fork)(KmpMicrotask *, int32_t, void **);
  void (*push)(KmpIdent *, int32_t, int32_t);
  void (*init_4)(KmpIdent *, int32_t, int32_t, int32_t *, int32_t *, int32_t *, int32_t *, int32_t, int32_t);
  void (*init_4u)(KmpIdent *, int32_t, int32_t, int32_t *, uint32_t *, uint32_t *, int32_t *, int32_t, int32_t);
  void (*init_8)(KmpIdent *, int32_t, int32_t, int32_t *, int64_t *, int64_t *, int64_t *, int64_t, int64_t);
  void (*init_8u)(KmpIdent *, int32_t, int32_t, int32_t *, uint64_t *, uint64_t *, int64_t *, int64_t, int64_t);
} Hooks;
static const Hooks hooks = {
  plait_gomp_parallel, pool_part, pool_parts, plait_omp_max_threads, pool_grain, pool_barrier, plait_kmpc_fork_argv, plait_kmpc_push_num_threads,
  plait_kmpc_for_static_init_4, plait_kmpc_for_static_init_4u, plait_kmpc_for_static_init_8, plait_kmpc_for_static_init_8u,
};

// The same struct as Hooks, without its names' help: the text has no headers.
// The marker's 3 makes it a system header, so that -Wall is about the text only.
static const char prelude[] =
  "# 1 \"prelude\" 3\n"
  "struct plait_hooks {\n"
  "  void (*parallel)(void (*)(void *), void *, unsigned, unsigned);\n"
  "  int (*part)(void), (*parts)(void), (*max)(void), (*grain)(int, int);\n"
  "  void (*barrier)(void);\n"
  "  void (*fork)(void *, int, void **);\n"
  "  void (*push)(void *, int, int);\n"
  "  void (*init_4)(void *, int, int, int *, int *, int *, int *, int, int);\n"
  "  void (*init_4u)(void *, int, int, int *, unsigned *, unsigned *, int *, int, int);\n"
  "  void (*init_8)(void *, int, int, int *, long long *, long long *, long long *, long long, long long);\n"
  "  void (*init_8u)(void *, int, int, int *, unsigned long long *, unsigned long long *, long long *, long long, long long);\n"
  "} plait_hooks;\n"
  "#define PLAIT_HIDDEN __attribute__((visibility(\"hidden\")))\n"
  "PLAIT_HIDDEN int omp_get_thread_num(void) { return plait_hooks.part(); }\n"
  "PLAIT_HIDDEN int omp_get_num_threads(void) { return plait_hooks.parts(); }\n"
  "PLAIT_HIDDEN int omp_get_max_threads(void) { return plait_hooks.max(); }\n"
  "PLAIT_HIDDEN int plait_grain(int awake, int asleep) { return plait_hooks.grain(awake, asleep); }\n"
  "#ifdef __clang__\n"
  "PLAIT_HIDDEN void __kmpc_fork_call(void *loc, int n, void *fn, ...) {\n"
  "  void *argv[n + 1];\n"
  "  __builtin_va_list ap;\n"
  "  __builtin_va_start(ap, fn);\n"
  "  for (int i = 0; i < n; i++) argv[i] = __builtin_va_arg(ap, void *);\n"
  "  __builtin_va_end(ap);\n"
  "  plait_hooks.fork(fn, n, argv);\n"
  "}\n"
  "#define PLAIT_INIT(name, T, S) PLAIT_HIDDEN void __kmpc_for_static_init_##name(void *loc, int id, int sched, int *last, T *lo, T *hi, S *by, S incr, S chunk) "
  "{ plait_hooks.init_##name(loc, id, sched, last, lo, hi, by, incr, chunk); }\n"
  "PLAIT_INIT(4, int, int)\n"
  "PLAIT_INIT(4u, unsigned, int)\n"
  "PLAIT_INIT(8, long long, long long)\n"
  "PLAIT_INIT(8u, unsigned long long, long long)\n"
  "PLAIT_HIDDEN void __kmpc_for_static_fini(void *loc, int id) {}\n"
  "PLAIT_HIDDEN void __kmpc_barrier(void *loc, int id) { plait_hooks.barrier(); }\n"
  "PLAIT_HIDDEN int __kmpc_global_thread_num(void *loc) { return plait_hooks.part(); }\n"
  "PLAIT_HIDDEN void __kmpc_push_num_threads(void *loc, int id, int n) { plait_hooks.push(loc, id, n); }\n"
  "PLAIT_HIDDEN void __kmpc_serialized_parallel(void *loc, int id) { plait_hooks.push(loc, id, 0); }\n"
  "PLAIT_HIDDEN void __kmpc_end_serialized_parallel(void *loc, int id) {}\n"
  "PLAIT_HIDDEN int __kmpc_master(void *loc, int id) { return plait_hooks.part() == 0; }\n"
  "PLAIT_HIDDEN void __kmpc_end_master(void *loc, int id) {}\n"
  "#undef PLAIT_INIT\n"
  "#else\n"
  "PLAIT_HIDDEN void GOMP_parallel(void (*fn)(void *), void *data, unsigned n, unsigned flags) { plait_hooks.parallel(fn, data, n, flags); }\n"
  "PLAIT_HIDDEN void GOMP_barrier(void) { plait_hooks.barrier(); }\n"
  "#endif\n"
  "#undef PLAIT_HIDDEN\n"
  "# 1 \"plait.c\"\n";

void *jit_fail(JitError *e, JitFault fault, const char *fmt, ...) {
  if (!e) return NULL;
  jit_error_clear(e);
  e->fault = fault;
  va_list ap;
  va_start(ap, fmt);
  if (vasprintf(&e->text, fmt, ap) < 0) e->text = NULL;
  va_end(ap);
  return NULL;
}

// ---- the private directory ---------------------------------------------------------------------------------------

// Removes what the compiler left behind, also when it was killed, and the directory.
static void remove_directory(const char *dir) {
  DIR *d = opendir(dir);
  for (struct dirent *f; d && (f = readdir(d));)
    if (strcmp(f->d_name, ".") && strcmp(f->d_name, "..")) unlinkat(dirfd(d), f->d_name, 0);
  if (d) closedir(d);
  rmdir(dir);
}

static void *read_file(const char *path, size_t *size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  struct stat st;
  char *bytes = NULL;
  if (fd >= 0 && fstat(fd, &st) == 0 && (bytes = malloc((size_t)st.st_size + 1))) {
    size_t done = 0;
    ssize_t n = 1;
    while (done < (size_t)st.st_size && (n = read(fd, bytes + done, (size_t)st.st_size - done)) > 0) done += (size_t)n;
    *size = done;
  }
  if (fd >= 0) close(fd);
  return bytes;
}

// ---- running the compiler ----------------------------------------------------------------------------------------

enum { MAX_ARGS = 48 };
typedef struct Args { const char *v[MAX_ARGS]; int n; } Args;

static void add(Args *a, const char *arg) {
  if (a->n < MAX_ARGS - 1) a->v[a->n++] = arg;
}

// Whether a compiler takes Clang's flags: `cc` may be a link to it.
static bool is_clang(const char *cc) {
  char *real = realpath(cc, NULL);
  const char *base = real ? strrchr(real, '/') : NULL;
  bool yes = base && strstr(base, "clang");
  free(real);
  return yes;
}

// The language is that of jit_clang.cpp's flags_of: no errno, no traps, no aliasing by type. Linking without the default
// libraries keeps libomp away; libgomp, which GCC adds all the same, goes with --as-needed.
static void add_flags(Args *a, const CcRequest *r, bool openmp) {
  static const char *const common[] = {
    "-std=gnu17", "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing", "-fno-semantic-interposition",
    "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-shared", "-fPIC", "-pipe", "-nodefaultlibs", "-Wl,-z,defs",
    "-Wl,--as-needed", "-x", "c", "-",
#if defined(__x86_64__)
    "-fcf-protection=none", "-mprefer-vector-width=512",
#endif
  };
  static const char *const levels[] = { "-O0", "-O1", "-O2", "-O3" };
  for (size_t i = 0; i < sizeof common / sizeof *common; i++) add(a, common[i]);
  add(a, levels[r->opt]);
  add(a, openmp ? "-fopenmp" : "-fopenmp-simd");
  // GCC before 14 takes `on` for `off`.
  add(a, r->strict ? "-ffp-contract=off" : is_clang(r->cc) ? "-ffp-contract=on" : "-ffp-contract=fast");
  if (is_clang(r->cc)) add(a, "-fbracket-depth=2048");
  add(a, r->warnings ? "-Wall" : "-w");
  if (r->warnings) add(a, "-Wextra");
}

static void run_cc(const CcRequest *r, const char *dir, int text, bool openmp, ProcResult *out) {
  char library[4096], march[256], tmp[4096], path[4096];
  snprintf(library, sizeof library, "%s/k.so", dir);
  snprintf(path, sizeof path, "PATH=%.*s:/usr/local/bin:/usr/bin:/bin", (int)(strrchr(r->cc, '/') - r->cc), r->cc);
  snprintf(march, sizeof march, "-march=%s", r->march);
  snprintf(tmp, sizeof tmp, "TMPDIR=%s", dir);
  Args a = { .n = 0 };
  add(&a, r->cc);
  add_flags(&a, r, openmp);
  add(&a, march);
  add(&a, "-o");
  add(&a, library);
  add(&a, "-lm");
  add(&a, "-lc");
  add(&a, "-lgcc");
  const char *env[] = { "LC_ALL=C", path, tmp, NULL };
  lseek(text, 0, SEEK_SET);
  proc_run(a.v, env, text, r->time_limit_ms, out);
}

// A linker's complaint about a symbol: GNU ld's "undefined reference to `f'", lld's "undefined symbol: f".
static bool names_a_symbol(const char *log) { return strstr(log, "undefined reference to") || strstr(log, "undefined symbol"); }

static void *explain(const CcRequest *r, const ProcResult *p, JitError *e) {
  if (p->error) return jit_fail(e, JIT_SYSTEM, "cannot run %s: %s", r->cc, strerror(p->error));
  if (p->timed_out) return jit_fail(e, JIT_TIMEOUT, "%s took more than %d ms and was ended", r->cc, r->time_limit_ms);
  const char *log = p->out ? p->out : "";
  if (p->status >= 128) return jit_fail(e, JIT_SYSTEM, "%s was ended by signal %d\n%s", r->cc, p->status - 128, log);
  if (names_a_symbol(log)) return jit_fail(e, JIT_SYMBOL, "%s", log);
  return jit_fail(e, JIT_TEXT, "%s", *log ? log : "the compiler failed and said nothing");
}

static bool contains(const char *bytes, size_t n, const char *needle) { return memmem(bytes, n, needle, strlen(needle)) != NULL; }

static void *compile_in(const CcRequest *r, const char *dir, int text, size_t *size, char **log, JitError *e) {
  char path[4096];
  snprintf(path, sizeof path, "%s/k.so", dir);
  ProcResult p;
  run_cc(r, dir, text, true, &p);
  void *library = read_file(path, size);
  if (!library && p.out && strstr(p.out, "libgomp.spec")) {      // a GCC without its OpenMP: parallel loops run on one thread
    free(p.out);
    run_cc(r, dir, text, false, &p);
    library = read_file(path, size);
  }
  // The file decides, not the status: that is lost when the host reaps our children.
  if (!library || p.status > 0 || p.timed_out) {
    free(library);
    library = explain(r, &p, e);
  } else if (contains(library, *size, "libgomp.so")) {
    free(library);
    library = jit_fail(e, JIT_SYMBOL, "the text uses OpenMP beyond `parallel for schedule(static)` and `simd`");
  }
  *log = p.out;
  return library;
}

// The prelude and the text as one file.
static int text_file(const char *dir, const char *text, size_t len) {
  size_t head = sizeof prelude - 1;
  char *both = malloc(head + len + 1);
  if (!both) {
    errno = ENOMEM;
    return -1;
  }
  memcpy(both, prelude, head);
  if (len) memcpy(both + head, text, len);
  both[head + len] = '\n';
  int fd = proc_file(dir, both, head + len + 1);
  free(both);
  return fd;
}

void *cc_compile(const CcRequest *r, const char *text, size_t len, size_t *size, char **log, JitError *e) {
  char dir[4000];
  *log = NULL;
  snprintf(dir, sizeof dir, "%s/plait-XXXXXX", r->tmpdir);
  if (!mkdtemp(dir)) return jit_fail(e, JIT_SYSTEM, "cannot make a directory in %s: %s", r->tmpdir, strerror(errno));
  void *library = NULL;
  int fd = text_file(dir, text, len);
  if (fd < 0) jit_fail(e, JIT_SYSTEM, "cannot make a file for the text in %s: %s", dir, strerror(errno));
  else library = compile_in(r, dir, fd, size, log, e);
  if (fd >= 0) close(fd);
  remove_directory(dir);
  return library;
}

// ---- loading -----------------------------------------------------------------------------------------------------

struct CcModule {
  void *lib;
  int fd;                    // stays open: dlopen knows libraries by name, and this one's name is /proc/self/fd/N
};

// From a file, for systems that don't let memory files be mapped as code. Its directory is new, so is its name.
static void *open_from_directory(const void *library, size_t size, const char *tmpdir) {
  char dir[4000], path[4096];
  snprintf(dir, sizeof dir, "%s/plait-XXXXXX", tmpdir);
  if (!mkdtemp(dir)) return NULL;
  snprintf(path, sizeof path, "%s/k.so", dir);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
  void *lib = NULL;
  if (fd >= 0 && write(fd, library, size) == (ssize_t)size) lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (fd >= 0) close(fd);
  remove_directory(dir);
  return lib;
}

CcModule *cc_load(const void *library, size_t size, const char *tmpdir, JitError *e) {
  CcModule *m = calloc(1, sizeof *m);
  if (!m) return jit_fail(e, JIT_SYSTEM, "out of memory");
  char path[64];
  m->fd = proc_file(tmpdir, library, size);
  snprintf(path, sizeof path, "/proc/self/fd/%d", m->fd);
  if (m->fd >= 0) m->lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!m->lib) m->lib = open_from_directory(library, size, tmpdir);
  Hooks *table = m->lib ? dlsym(m->lib, "plait_hooks") : NULL;
  if (!table) {
    const char *why = dlerror();
    jit_fail(e, JIT_SYSTEM, "cannot load compiled code: %s", why ? why : "it has no table of hooks");
    cc_unload(m);
    return NULL;
  }
  *table = hooks;
  return m;
}

// dlsym looks into libm and libc too, which are no part of the module.
void *cc_symbol(const CcModule *m, const char *name) {
  void *p = dlsym(m->lib, name), *table = dlsym(m->lib, "plait_hooks");
  Dl_info of_p, of_table;
  return p && dladdr(p, &of_p) && dladdr(table, &of_table) && of_p.dli_fbase == of_table.dli_fbase ? p : NULL;
}

void cc_unload(CcModule *m) {
  if (m->lib) dlclose(m->lib);
  if (m->fd >= 0) close(m->fd);
  free(m);
}
