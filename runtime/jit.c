// jit.c: choosing a back end, compiling, loading, freeing.
#include "runtime/jit.h"
#include "base/arena.h"
#include "base/str.h"
#include "runtime/jit_cc.h"
#include "runtime/jit_symbols.h"
#include "runtime/search.h"
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
  TIME_LIMIT_MS = 60000,
  OBJECT_ABI = 1,            // counts up when the prelude, the hooks or what the list of symbols means changes
};

struct Jit {
  JitOptions o;              // its strings, and all else that is text here, in `a`
  Arena *a;
  pthread_mutex_t lock;      // of `a` and all below, until backend is set; then of backend alone
  JitBackend backend;        // AUTO until chosen
  const char *march;         // a cap turned into what compilers know
  const char *identity;
  const ClangTable *clang;
  ClangSession *session;
  CcRequest cc;
};

struct JitModule {
  Jit *j;
  JitBackend backend;
  ClangModule *clang;        // one of these two
  CcModule *cc;
  void *object; size_t size; // when kept
  char *log;
  JitTimes times;
};

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

void jit_error_clear(JitError *e) {
  free(e->text);
  *e = (JitError){ 0 };
}

// ---- the machine -------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
// The level of the x86-64 psABI that this machine has, by those features that hypervisors mask.
static int host_level(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt")) return 1;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2")) return 2;
  if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) return 3;
  return 4;
}

static const char *cap_march(const char *cap) {
  static const char *const names[] = { "sse2", "sse4", "avx2", "avx512" };
  static const char *const levels[] = { "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4" };
  int host = host_level();
  for (int i = 0; i < 4; i++)
    if (strcmp(cap, names[i]) == 0) return levels[i < host ? i : host - 1];
  return cap;
}
#else
static const char *cap_march(const char *cap) { return cap; }
#endif

// What `native` means to a compiler that doesn't tell: the kernel's lines about the processor, hashed.
static uint64_t hash_cpu(void) {
  FILE *f = fopen("/proc/cpuinfo", "re");
  char *line = NULL;
  size_t cap = 0;
  uint64_t h = 0;
  for (ssize_t n; f && (n = getline(&line, &cap, f)) > 1;)         // an empty line ends the first processor
    if (!strncmp(line, "flags", 5) || !strncmp(line, "Features", 8) || !strncmp(line, "model", 5)) h = hash_bytes(line, (size_t)n, h);
  free(line);
  if (f) fclose(f);
  return h;
}

// ---- choosing ----------------------------------------------------------------------------------------------------

static void identify_clang(Jit *j) {
  char *host = strcmp(j->march, "native") == 0 ? j->clang->host() : NULL;
  j->identity = arena_printf(j->a, "clang %s in process, %s, -O%d%s, abi %d", j->clang->version, host ? host : j->march, j->o.opt,
                             j->o.strict ? ", strict" : "", OBJECT_ABI);
  free(host);
}

// A compiler is known by its file: asking for its version would take as long as a small compilation.
static void identify_cc(Jit *j) {
  struct stat st = { 0 };
  if (stat(j->cc.cc, &st)) st.st_size = 0;
  j->identity = arena_printf(j->a, "%s (%lld bytes of %lld), -march=%s on %016llx, -O%d%s, abi %d", j->cc.cc, (long long)st.st_size,
                             (long long)st.st_mtime, j->march, (unsigned long long)hash_cpu(), j->o.opt, j->o.strict ? ", strict" : "", OBJECT_ABI);
}

static bool choose_clang(Jit *j, JitError *e) {
  const char *why;
  char *error = NULL;
  const ClangTable *clang = search_clang(j->a, j->o.clang_dir, NULL, &why);
  if (!clang) return jit_fail(e, JIT_NO_BACKEND, "no Clang in the process: %s", why);
  j->clang = clang;
  j->session = clang->open(jit_symbols, jit_nsymbols, &error);
  if (j->session) identify_clang(j);
  else jit_fail(e, JIT_SYSTEM, "cannot set up Clang: %s", error);
  free(error);
  return j->session != NULL;
}

static bool choose_cc(Jit *j, JitError *e) {
  const char *cc = j->o.cc && *j->o.cc == '/' ? j->o.cc : search_cc(j->a, j->o.path);
  if (!cc) return jit_fail(e, JIT_NO_BACKEND, "no C compiler: install gcc, or what Clang in the process needs (apt-get install libllvm19 libclang-cpp19)");
  j->cc = (CcRequest){ cc, j->o.tmpdir, j->march, j->o.opt, j->o.warnings, j->o.strict, j->o.time_limit_ms };
  identify_cc(j);
  return true;
}

static void choose(Jit *j, JitError *e) {
  if (j->o.backend != JIT_CC && choose_clang(j, e)) j->backend = JIT_CLANG;
  else if (j->o.backend != JIT_CLANG && choose_cc(j, e)) j->backend = JIT_CC;
}

JitBackend jit_backend(Jit *j, JitError *e) {
  JitError why = { 0 };
  pthread_mutex_lock(&j->lock);
  if (j->backend == JIT_CLANG && search_clang_is_broken()) j->backend = JIT_AUTO;
  if (!j->backend) choose(j, &why);
  JitBackend b = j->backend;
  pthread_mutex_unlock(&j->lock);
  if (!b && e) {
    jit_error_clear(e);
    *e = why;
  } else {
    jit_error_clear(&why);
  }
  return b;
}

const char *jit_identity(Jit *j) { return jit_backend(j, NULL) ? j->identity : NULL; }

// LLVM gave up; whether this Jit can go on, with cc. The session is not closed, nor are its modules unlinked: see jit_clang.h.
static bool goes_on_with_cc(Jit *j) {
  search_clang_broken();
  return jit_backend(j, NULL) == JIT_CC;
}

static const char *copy(Arena *a, const char *s) { return s ? arena_printf(a, "%s", s) : NULL; }

Jit *jit_create(const JitOptions *o) {
  Jit *j = calloc(1, sizeof *j);
  if (!j) return NULL;
  j->a = arena_create();
  pthread_mutex_init(&j->lock, NULL);
  j->o = *o;
  j->o.cc = copy(j->a, o->cc);
  j->o.path = copy(j->a, o->path);
  j->o.clang_dir = copy(j->a, o->clang_dir);
  j->o.tmpdir = copy(j->a, o->tmpdir && *o->tmpdir == '/' ? o->tmpdir : "/tmp");
  j->o.march = copy(j->a, o->march ? o->march : "native");
  j->march = cap_march(j->o.march);
  j->o.opt = o->opt == 0 || o->opt > 3 ? 3 : o->opt < 0 ? 0 : o->opt;
  j->o.time_limit_ms = o->time_limit_ms > 0 ? o->time_limit_ms : TIME_LIMIT_MS;
  return j;
}

void jit_free(Jit *j) {
  if (!j) return;
  if (j->session && !search_clang_is_broken()) j->clang->close(j->session);
  pthread_mutex_destroy(&j->lock);
  arena_destroy(j->a);
  free(j);
}

// ---- compiling and loading ---------------------------------------------------------------------------------------

static JitModule *module_new(Jit *j, JitBackend b, JitError *e) {
  JitModule *m = calloc(1, sizeof *m);
  if (!m) return jit_fail(e, JIT_SYSTEM, "out of memory");
  m->j = j;
  m->backend = b;
  return m;
}

// Maps the module's object.
static bool load(JitModule *m, const void *object, size_t size, JitError *e) {
  double start = now_ms();
  char *error = NULL;
  int cause = CLANG_LINK_OTHER;
  if (m->backend == JIT_CC) m->cc = cc_load(object, size, m->j->o.tmpdir, e);
  else m->clang = m->j->clang->link(m->j->session, object, size, &cause, &error);
  if (error) jit_fail(e, cause == CLANG_LINK_SYMBOL ? JIT_SYMBOL : cause == CLANG_LINK_FATAL ? JIT_INTERNAL : JIT_SYSTEM, "%s", error);
  if (error && cause == CLANG_LINK_FATAL) search_clang_broken();
  free(error);
  m->times.link_ms = now_ms() - start;
  return m->cc || m->clang;
}

static bool object_by_clang(JitModule *m, const char *text, size_t len, JitError *e, bool *fatal) {
  Jit *j = m->j;
  ClangText in = { text, len, j->march, j->o.opt, j->o.warnings, j->o.strict };
  ClangObject out;
  j->clang->compile(&in, &out);
  m->object = out.object;
  m->size = out.size;
  m->log = out.log;
  m->times.parse_ms = out.parse_ms;
  m->times.opt_ms = out.opt_ms;
  m->times.codegen_ms = out.codegen_ms;
  *fatal = out.fatal;
  if (!out.object) jit_fail(e, out.fatal ? JIT_INTERNAL : JIT_TEXT, "%s", out.log && *out.log ? out.log : "Clang failed and said nothing");
  return out.object != NULL;
}

static bool object_by_cc(JitModule *m, const char *text, size_t len, JitError *e) {
  double start = now_ms();
  free(m->log);
  m->object = cc_compile(&m->j->cc, text, len, &m->size, &m->log, e);
  m->times.codegen_ms = now_ms() - start;
  return m->object != NULL;
}

static bool compile(JitModule *m, const char *text, size_t len, JitError *e) {
  bool fatal = false;
  if (m->backend == JIT_CC) return object_by_cc(m, text, len, e);
  if (object_by_clang(m, text, len, e, &fatal)) return true;
  if (!fatal || !goes_on_with_cc(m->j)) return false;
  if (e) jit_error_clear(e);
  m->backend = JIT_CC;
  return object_by_cc(m, text, len, e);
}

JitModule *jit_compile(Jit *j, const char *text, size_t len, JitError *e) {
  double start = now_ms();
  JitBackend b = jit_backend(j, e);
  if (!b) return NULL;
  JitModule *m = module_new(j, b, e);
  if (!m) return NULL;
  m->times.load_ms = now_ms() - start;
  if (!compile(m, text, len, e) || !load(m, m->object, m->size, e)) {
    jit_release(m);
    return NULL;
  }
  if (!j->o.keep_object) {
    free(m->object);
    m->object = NULL;
  }
  m->times.total_ms = now_ms() - start;
  return m;
}

JitModule *jit_load(Jit *j, const void *object, size_t len, JitError *e) {
  double start = now_ms();
  JitBackend b = jit_backend(j, e);
  JitModule *m = b ? module_new(j, b, e) : NULL;
  if (!m) return NULL;
  m->times.load_ms = now_ms() - start;
  if (!load(m, object, len, e)) {
    jit_release(m);
    return NULL;
  }
  m->times.total_ms = now_ms() - start;
  return m;
}

void jit_release(JitModule *m) {
  if (!m) return;
  if (m->clang && !search_clang_is_broken()) m->j->clang->unlink(m->clang);
  if (m->cc) cc_unload(m->cc);
  free(m->object);
  free(m->log);
  free(m);
}

static int by_name(const void *name, const void *export) { return strcmp(name, ((const ClangExport *)export)->name); }

void *jit_symbol(const JitModule *m, const char *name) {
  if (m->cc) return cc_symbol(m->cc, name);
  size_t n;
  const ClangExport *all = m->j->clang->exports(m->clang, &n);
  const ClangExport *found = n ? bsearch(name, all, n, sizeof *all, by_name) : NULL;
  return found ? found->address : NULL;
}

const void *jit_object(const JitModule *m, size_t *len) {
  *len = m->object ? m->size : 0;
  return m->object;
}
const char *jit_log(const JitModule *m) { return m->log ? m->log : ""; }
JitTimes jit_times(const JitModule *m) { return m->times; }
JitBackend jit_module_backend(const JitModule *m) { return m->backend; }
