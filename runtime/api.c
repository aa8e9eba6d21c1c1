// api.c: versions, statuses, contexts. The only file that reads the environment.
#include "runtime/api_internal.h"
#include "runtime/pool.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *plait_version(void) { return TEXT(PLAIT_VERSION_MAJOR) "." TEXT(PLAIT_VERSION_MINOR) "." TEXT(PLAIT_VERSION_PATCH); }
int plait_abi(void) { return PLAIT_ABI; }
void plait_free(void *text) { free(text); }

const char *plait_status_text(plait_status s) {
  switch (s) {
  case PLAIT_OK: return "no error";
  case PLAIT_ERROR_PROGRAM: return "the program is wrong";
  case PLAIT_ERROR_DATA: return "the arguments do not fit the program";
  case PLAIT_ERROR_USAGE: return "the interface was used wrongly";
  case PLAIT_ERROR_ENVIRONMENT: return "the machine lacks something";
  case PLAIT_ERROR_INTERNAL: return "an error in the compiler itself";
  case PLAIT_ERROR_LIMIT: return "a limit was reached";
  }
  return "an unknown status";
}

// ---- what the files of the interface share ----

void options_copy(void *to, size_t size, const void *from) {
  memset(to, 0, size);
  if (!from) return;
  size_t theirs;
  memcpy(&theirs, from, sizeof theirs);
  memcpy(to, from, theirs < size ? theirs : size);
}

void struct_give(void *to, const void *from, size_t size) {
  size_t theirs;
  memcpy(&theirs, to, sizeof theirs);
  if (theirs > sizeof theirs) memcpy((char *)to + sizeof theirs, (const char *)from + sizeof theirs, (theirs < size ? theirs : size) - sizeof theirs);
}

char *text_give(const Buf *b, size_t *size) {
  char *s = malloc(b->n + 1);
  if (!s) return NULL;
  memcpy(s, b->s, b->n + 1);
  if (size) *size = b->n;
  return s;
}

// What a jit_identity begins with: the compiler; behind it stands what a cache key needs.
const char *compiler_name(plait_context *cx, Arena *a) {
  const char *s = jit_identity(cx->jit);
  return s ? arena_strndup(a, s, strcspn(s, "(,") - (s[strcspn(s, "(,")] == '(')) : NULL;
}

plait_status text_deliver(Arena *a, const Buf *b, char **text, size_t *size) {
  char *s = text_give(b, size);
  arena_destroy(a);
  if (s) *text = s;
  return s ? PLAIT_OK : PLAIT_ERROR_ENVIRONMENT;
}

double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

// ---- the environment ----

typedef struct Setting { const char *name, *what; } Setting;
static const Setting settings[] = {
  {"PLAIT_THREADS", "threads that kernels use, as --threads"},
  {"PLAIT_COMPILER", "auto, clang (in process) or cc, as --compiler"},
  {"PLAIT_CC", "absolute path of the system's C compiler, as --cc"},
  {"PLAIT_MARCH", "compile for at most this machine, as --march"},
  {"PLAIT_CLANG_DIR", "further directory to look in for libplait-clang.so"},
  {"PLAIT_GPU_COMPILER", "auto, nvrtc or clang (in process), as --gpu-compiler"},
  {"PLAIT_NVRTC", "absolute path of NVRTC's library, which is looked for otherwise (plait doctor)"},
  {"PLAIT_CUDA_DRIVER", "absolute path of the CUDA driver's library, the same"},
};
enum { NSETTINGS = sizeof settings / sizeof *settings };

int plait_setting_get(size_t i, const char **name, const char **what) {
  if (i >= NSETTINGS) return 0;
  if (name) *name = settings[i].name;
  if (what) *what = settings[i].what;
  return 1;
}

// Not believed when the process has rights that its caller lacks.
static const char *setting(const char *name) {
  const char *v = secure_getenv(name);
  return v && *v ? v : NULL;
}

static bool known_setting(const char *name) {
  for (int i = 0; i < NSETTINGS; i++)
    if (strcmp(settings[i].name, name) == 0) return true;
  return false;
}

extern char **environ;

static void warn_unknown_settings(plait_messages *m) {
  const char *names[NSETTINGS];
  for (int i = 0; i < NSETTINGS; i++) names[i] = settings[i].name;
  for (char **v = environ; v && *v; v++) {
    if (strncmp(*v, "PLAIT_", 6) != 0) continue;
    const char *name = arena_printf(m->a, "%.*s", (int)strcspn(*v, "="), *v);
    if (known_setting(name)) continue;
    diag_error(m->d, E_unknown_setting, NO_SPAN, "environment variable `%s` has no meaning", name);
    help_nearest(m->d, name, names, NSETTINGS, "`plait --help` lists those that have one");
  }
}

static void bad_setting(plait_messages *m, const char *name, const char *value, const char *help) {
  diag_error(m->d, E_bad_option, NO_SPAN, "environment variable `%s` cannot be `%s`", name, value);
  diag_help(m->d, "%s", help);
}

static void merge_threads(plait_context_options *o, plait_messages *m) {
  const char *text = setting("PLAIT_THREADS");
  if (!text || o->threads) return;
  char *end;
  long n = strtol(text, &end, 10);
  if (*end || n < 1 || n > POOL_MAX_THREADS) bad_setting(m, "PLAIT_THREADS", text, "a number from 1 to 1024");
  else o->threads = (int)n;
}

// The position of a setting's value in a list of three, 0 when it is not set.
static int one_of(const char *name, const char *const names[3], const char *help, plait_messages *m) {
  const char *text = setting(name);
  for (int i = 0; i < 3 && text; i++)
    if (strcmp(names[i], text) == 0) return i;
  if (text) bad_setting(m, name, text, help);
  return 0;
}

static void merge_compilers(plait_context_options *o, plait_messages *m) {
  static const char *const compilers[] = {"auto", "clang", "cc"}, *const gpu_compilers[] = {"auto", "nvrtc", "clang"};
  if (o->compiler == PLAIT_COMPILER_AUTO) o->compiler = (plait_compiler)one_of("PLAIT_COMPILER", compilers, "auto, clang or cc", m);
  if (o->gpu_compiler == PLAIT_GPU_COMPILER_AUTO)
    o->gpu_compiler = (plait_gpu_compiler)one_of("PLAIT_GPU_COMPILER", gpu_compilers, "auto, nvrtc or clang", m);
}

static void merge_library(const char **option, const char *name, plait_messages *m) {
  const char *path = setting(name);
  if (*option || !path) return;
  if (path[0] == '/') *option = path;
  else bad_setting(m, name, path, "an absolute path");
}

static void merge_environment(plait_context *cx, plait_messages *m) {
  plait_context_options *o = &cx->o;
  warn_unknown_settings(m);
  merge_threads(o, m);
  merge_compilers(o, m);
  merge_library(&o->nvrtc, "PLAIT_NVRTC", m);
  merge_library(&o->cuda_driver, "PLAIT_CUDA_DRIVER", m);
  if (!o->cc) o->cc = setting("PLAIT_CC");
  if (!o->march) o->march = setting("PLAIT_MARCH");
  const char *cuda_home = setting("CUDA_HOME");
  cx->paths = (SearchPaths){
    .path = setting("PATH"), .home = setting("HOME"), .extra = setting("PLAIT_CLANG_DIR"), .virtual_env = setting("VIRTUAL_ENV"),
    .conda = setting("CONDA_PREFIX"), .cuda_home = cuda_home ? cuda_home : setting("CUDA_PATH"),
  };
}

// ---- contexts ----

static const char *kept(Arena *a, const char *s) { return s ? arena_strndup(a, s, strlen(s)) : NULL; }

static void keep_strings(plait_context *cx) {
  plait_context_options *o = &cx->o;
  SearchPaths *p = &cx->paths;
  o->cc = kept(cx->a, o->cc);
  o->march = kept(cx->a, o->march);
  *p = (SearchPaths){
    .path = kept(cx->a, p->path), .home = kept(cx->a, p->home), .virtual_env = kept(cx->a, p->virtual_env), .conda = kept(cx->a, p->conda),
    .cuda_home = kept(cx->a, p->cuda_home), .nvrtc = kept(cx->a, cx->o.nvrtc), .cuda_driver = kept(cx->a, cx->o.cuda_driver), .extra = kept(cx->a, p->extra),
  };
}

static void check_path(const char *path, const char *what, const char *help, plait_messages *m) {
  if (!path || path[0] == '/') return;
  diag_error(m->d, E_bad_option, NO_SPAN, "%s `%s` is no absolute path", what, path);
  diag_help(m->d, "%s", help);
}

static bool check_options(const plait_context_options *o, plait_messages *m) {
  if (o->threads < 0 || o->threads > POOL_MAX_THREADS)
    diag_error(m->d, E_bad_option, NO_SPAN, "%d is no number of threads: 1 to %d, or 0 for all cores", o->threads, POOL_MAX_THREADS);
  if ((unsigned)o->compiler > PLAIT_COMPILER_CC) diag_error(m->d, E_bad_option, NO_SPAN, "compiler %d does not exist", (int)o->compiler);
  if ((unsigned)o->imports > PLAIT_IMPORTS_READER) diag_error(m->d, E_bad_option, NO_SPAN, "import policy %d does not exist", (int)o->imports);
  if (o->imports == PLAIT_IMPORTS_READER && !o->reader) diag_error(m->d, E_bad_option, NO_SPAN, "imports are to be read by the reader, but there is none");
  if ((unsigned)o->gpu_compiler > PLAIT_GPU_COMPILER_CLANG) diag_error(m->d, E_bad_option, NO_SPAN, "GPU compiler %d does not exist", (int)o->gpu_compiler);
  check_path(o->cc, "the compiler", "write where it lies, as in /usr/bin/gcc", m);
  check_path(o->nvrtc, "the library", "write where it lies, as in /usr/local/cuda/lib64/libnvrtc.so", m);
  check_path(o->cuda_driver, "the library", "write where it lies, as in /usr/lib/x86_64-linux-gnu/libcuda.so.1", m);
  return !m->d->errors;
}

static Jit *make_jit(const plait_context *cx) {
  static const JitBackend backends[] = {
    [PLAIT_COMPILER_AUTO] = JIT_AUTO, [PLAIT_COMPILER_CLANG] = JIT_CLANG, [PLAIT_COMPILER_CC] = JIT_CC};
  JitOptions o = {.backend = backends[cx->o.compiler], .cc = cx->o.cc, .path = cx->paths.path, .clang_dir = cx->paths.extra, .march = cx->o.march};
  return jit_create(&o);
}

static bool make_compilers(plait_context *cx) {
  static const GpuCompiler compilers[] = {
    [PLAIT_GPU_COMPILER_AUTO] = GPU_AUTO, [PLAIT_GPU_COMPILER_NVRTC] = GPU_NVRTC, [PLAIT_GPU_COMPILER_CLANG] = GPU_CLANG};
  cx->jit = make_jit(cx);
  cx->cuda = cuda_create(&cx->paths, compilers[cx->o.gpu_compiler]);
  cx->generator = cuda_generator_built_in();
  return cx->jit && cx->cuda;
}

plait_context *context_keep(plait_context *cx) {
  atomic_fetch_add(&cx->refs, 1);
  return cx;
}

void plait_context_free(plait_context *cx) {
  if (!cx || atomic_fetch_sub(&cx->refs, 1) > 1) return;
  jit_free(cx->jit);
  cuda_free(cx->cuda);
  arena_destroy(cx->a);
  free(cx);
}

plait_status plait_context_create(const plait_context_options *options, plait_context **out, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!out || (options && options->struct_size < sizeof options->struct_size)) return PLAIT_ERROR_USAGE;
  plait_context *cx = calloc(1, sizeof *cx);
  if (!cx) return PLAIT_ERROR_ENVIRONMENT;
  atomic_init(&cx->refs, 1);
  cx->a = arena_create();
  options_copy(&cx->o, sizeof cx->o, options);
  plait_messages *m = messages_new(NULL);
  bool good = check_options(&cx->o, m);
  if (good && !cx->o.ignore_environment) merge_environment(cx, m);
  keep_strings(cx);
  bool made = good && !m->d->errors && make_compilers(cx);
  plait_status s = good ? messages_give(m, messages) : messages_give_as(m, PLAIT_ERROR_USAGE, messages);
  if (!s && !made) s = PLAIT_ERROR_ENVIRONMENT;
  if (s) {
    plait_context_free(cx);
    return s;
  }
  if (cx->o.threads) pool_set_threads(cx->o.threads);
  *out = cx;
  return PLAIT_OK;
}
