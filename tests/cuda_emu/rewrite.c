// rewrite.c: CUDA C as C, as far as macros cannot.
//
//   extern "C" __global__ void k(const float *x) {            __global__ void k(const float *x) {
//     __shared__ float a[2], b;                ──▶              EMU_SHARED(k, float) float a[2]; EMU_SHARED(k, float) float b;
//     extern __shared__ float rows[];                           float *const rows = EMU_DYNAMIC;
//   }                                                         }
//
// functions in which threads meet note where they are called (prelude.h, EMU_FROM), and behind the text, for each kernel, a function that takes its arguments from an array of pointers, and the table of kernels.
// Lines stay where they are.
#include "emu.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KERNELS = 1024, MAX_PARAMS = 256, MAX_MEETING = 256 };

typedef struct Word { const char *p; size_t n; } Word;
#define WORD(w) (int)(w).n, (w).p          // for %.*s
typedef struct Param { Word type, name; const char *how; } Param;      // how: an EmuPassing
typedef struct Kernel { Word name, threads, cluster; Param *param; int nparams; bool shared, plain; } Kernel;      // plain: extern "C"

typedef struct Rewriter {
  const char *text, *at;     // at: the next character that is not copied yet
  FILE *out;
  EmuFault *fault;
  Kernel kernel[MAX_KERNELS]; int nkernels;
  Word meeting[MAX_MEETING]; int nmeeting;       // functions in which threads meet
  int depth;                 // of braces
  Kernel *inside;            // the kernel whose body this is
  bool pending;              // a head has been read, its body has not begun
  Word value_of;             // the function whose body this is, when it returns a structure
  const char *file;
  bool plain;                // `extern "C"` has been read and nothing that it may belong to
} Rewriter;

static int line_of(const Rewriter *w, const char *p) {
  int line = 1;
  for (const char *c = w->text; c < p; c++) line += *c == '\n';
  return line;
}

static bool fail(Rewriter *w, const char *p, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool fail(Rewriter *w, const char *p, const char *fmt, ...) {
  char text[256];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return emu_fault(w->fault, EMU_UNDEFINED, "line %d: %s", line_of(w, p), text);
}

// ---- scanning ----------------------------------------------------------------------------------------------------

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }
static bool is(Word w, const char *s) { return w.n == strlen(s) && memcmp(w.p, s, w.n) == 0; }

// Behind the string or character constant at p.
static const char *skip_quoted(const char *p) {
  char quote = *p++;
  while (*p && *p != quote && *p != '\n') p += *p == '\\' && p[1] ? 2 : 1;
  return *p == quote ? p + 1 : p;
}

static const char *skip_directive(const char *p) {
  while (*p && *p != '\n') p += *p == '\\' && p[1] ? 2 : 1;
  return p;
}

static const char *skip_space(const char *p) {
  while (isspace((unsigned char)*p)) p++;
  return p;
}

// Blanks for comments, so that nothing else has to know of them.
static void drop_comments(char *p) {
  while (*p) {
    if (*p == '"' || *p == '\'') {
      p = (char *)(uintptr_t)skip_quoted(p);
      continue;
    }
    bool line = p[0] == '/' && p[1] == '/', block = p[0] == '/' && p[1] == '*';
    const char *end = block ? strstr(p + 2, "*/") : p + strcspn(p, "\n");
    if (block) end = end ? end + 2 : p + strlen(p);
    if (!line && !block) p++;
    else for (; p < end; p++) *p = *p == '\n' ? '\n' : ' ';
  }
}

// The identifier or number at p.
static Word word_at(const char *p) {
  size_t n = 0;
  while (is_word(p[n])) n++;
  return (Word){p, n};
}

// The `)` that closes the `(` at p; NULL: none.
static const char *closing(const char *p) {
  int depth = 0;
  while (*p) {
    if (*p == '"' || *p == '\'') {
      p = skip_quoted(p);
      continue;
    }
    depth += (*p == '(') - (*p == ')');
    if (!depth) return p;
    p++;
  }
  return NULL;
}

static Word trimmed(const char *from, const char *to) {
  from = skip_space(from);
  while (to > from && isspace((unsigned char)to[-1])) to--;
  return (Word){from, to > from ? (size_t)(to - from) : 0};
}

// The start of the declared name that ends before `end`, not before p.
static const char *name_before(const char *p, const char *end) {
  while (end > p && isspace((unsigned char)end[-1])) end--;
  while (end > p && is_word(end[-1])) end--;
  return end;
}

// ---- heads of kernels --------------------------------------------------------------------------------------------

// By the stars in a type, and `const` before the first.
static const char *passing(Word type) {
  const char *end = type.p + type.n, *star = memchr(type.p, '*', type.n);
  if (!star) return "EMU_BY_VALUE";
  if (memchr(star + 1, '*', (size_t)(end - star - 1))) return "EMU_INDIRECT";
  for (const char *p = type.p; p < star; p++)
    if (is_word(*p) && is(word_at(p), "const") && (p == type.p || !is_word(p[-1]))) return "EMU_POINTER_TO_CONST";
  return "EMU_POINTER";
}

// One parameter, `const float *__restrict__ x` or `float x[]`.
static bool read_param(Rewriter *w, Kernel *k, const char *from, const char *to) {
  Word all = trimmed(from, to);
  const char *bracket = memchr(all.p, '[', all.n), *name = name_before(all.p, bracket ? bracket : all.p + all.n);
  Param p = {.type = trimmed(all.p, name), .name = word_at(name)};
  p.how = passing(p.type);
  if (!p.type.n || !p.name.n) return fail(w, from, "a kernel's parameter needs a type and a name: %.*s", (int)all.n, all.p);
  if (k->nparams == MAX_PARAMS) return fail(w, from, "more than %d parameters", MAX_PARAMS);
  if (bracket) return fail(w, from, "write parameter %.*s with `*`", (int)p.name.n, p.name.p);
  k->param[k->nparams++] = p;
  return true;
}

static bool read_params(Rewriter *w, Kernel *k, const char *open, const char *close) {
  const char *from = open + 1;
  int depth = 0;
  k->param = calloc(MAX_PARAMS, sizeof *k->param);
  if (!k->param) return emu_fault(w->fault, EMU_HOST, "out of memory");
  Word all = trimmed(from, close);
  if (!all.n || is(all, "void")) return true;
  for (const char *p = from; p < close; p++) {
    depth += (*p == '(') - (*p == ')');
    if (*p != ',' || depth) continue;
    if (!read_param(w, k, from, p)) return false;
    from = p + 1;
  }
  return read_param(w, k, from, close);
}

static Word first_argument(const char *open, const char *close) {
  const char *comma = memchr(open, ',', (size_t)(close - open));
  return trimmed(open + 1, comma ? comma : close);
}

// From behind `__global__` to the `{`, `;` or what else follows the parameters; NULL on failure.
static const char *read_head(Rewriter *w, const char *p, Kernel *k) {
  Word last = {0};
  for (p = skip_space(p); *p; p = skip_space(p)) {
    if (is_word(*p)) {
      last = word_at(p);
      p += last.n;
      continue;
    }
    if (*p != '(') {
      p++;
      continue;
    }
    const char *close = closing(p);
    if (!close) break;
    if (is(last, "__launch_bounds__")) k->threads = first_argument(p, close);
    else if (is(last, "__cluster_dims__")) k->cluster = first_argument(p, close);
    else if (!is(last, "__attribute__") && !is(last, "__maxnreg__") && !is(last, "__align__")) {
      k->name = last;
      return read_params(w, k, p, close) ? skip_space(close + 1) : NULL;
    }
    p = close + 1;
  }
  fail(w, p, "a kernel's head is not complete");
  return NULL;
}

// `word` is __global__.
static bool kernel_head(Rewriter *w, Word word) {
  Kernel k = {.plain = w->plain};
  w->plain = false;
  const char *after = read_head(w, word.p + word.n, &k);
  if (after && *after == '{' && w->nkernels < MAX_KERNELS) {
    w->kernel[w->nkernels] = k;
    w->inside = &w->kernel[w->nkernels++];
    w->pending = true;
    return true;
  }
  free(k.param);
  return after && (*after == ';' || fail(w, word.p, "what follows the parameters of %.*s is no body", (int)k.name.n, k.name.p));
}

// ---- shared memory -----------------------------------------------------------------------------------------------

static void copy_to(Rewriter *w, const char *p) {
  fwrite(w->at, 1, (size_t)(p - w->at), w->out);
  w->at = p;
}

// Blanks for what is left out; lines stay.
static void blank_to(Rewriter *w, const char *p) {
  for (; w->at < p; w->at++) fputc(*w->at == '\n' ? '\n' : ' ', w->out);
}

static bool in_kernel(Rewriter *w, Word word) {
  if (w->inside && !w->pending) return true;
  return fail(w, word.p, "shared memory is declared in the kernel that uses it");
}

// A type that says its alignment keeps it.
static void shared_words(Rewriter *w, Word type) {
  w->inside->shared = true;
  if (memchr(type.p, '(', type.n)) fprintf(w->out, "EMU_SHARED_ALIGNED(%.*s)", WORD(w->inside->name));
  else fprintf(w->out, "EMU_SHARED(%.*s, %.*s)", WORD(w->inside->name), WORD(type));
}

// `__shared__ float a[8], b;` becomes two declarations, each with its gap.
static bool static_shared(Rewriter *w, Word word) {
  const char *p = word.p + word.n, *name = name_before(p, p + strcspn(p, "[,;="));
  Word type = trimmed(p, name);
  while (type.n && (type.p[type.n - 1] == '*' || isspace((unsigned char)type.p[type.n - 1]))) type.n--;
  if (!in_kernel(w, word)) return false;
  copy_to(w, word.p);
  shared_words(w, type);
  w->at = p;
  for (int depth = 0; *p && *p != ';'; p++) {
    depth += (*p == '(' || *p == '[') - (*p == ')' || *p == ']');
    if (*p != ',' || depth) continue;
    copy_to(w, p);
    fputs("; ", w->out);
    shared_words(w, type);
    fprintf(w->out, " %.*s ", (int)type.n, type.p);
    w->at = p + 1;
  }
  copy_to(w, p);
  return true;
}

// `extern __shared__ TYPE NAME[];`; word is `extern`, shared is `__shared__`.
static bool dynamic_shared(Rewriter *w, Word word, Word shared) {
  const char *type = shared.p + shared.n, *end = type + strcspn(type, ";"), *bracket = memchr(type, '[', (size_t)(end - type));
  if (!in_kernel(w, word)) return false;
  if (!bracket || *end != ';') return fail(w, word.p, "dynamic shared memory is declared as `extern __shared__ TYPE NAME[];`");
  const char *name = name_before(type, bracket);
  copy_to(w, word.p);
  blank_to(w, type);
  copy_to(w, name);
  fputs("*const ", w->out);
  copy_to(w, bracket);
  fputs("= EMU_DYNAMIC", w->out);
  blank_to(w, end);
  return true;
}

// `extern` before "C" or __shared__; any other one stays.
static bool extern_word(Rewriter *w, Word word) {
  const char *next = skip_space(word.p + word.n);
  if (strncmp(next, "\"C\"", 3) == 0) {
    if (*skip_space(next + 3) == '{') return fail(w, word.p, "write `extern \"C\"` before each kernel, not around them");
    copy_to(w, word.p);
    blank_to(w, next + 3);
    w->plain = true;
    return true;
  }
  Word shared = word_at(next);
  return !is(shared, "__shared__") || dynamic_shared(w, word, shared);
}

// ---- functions in which threads meet -----------------------------------------------------------------------------

static bool meets(const Rewriter *w, Word word) {
  static const char *const names[] = {"__syncthreads", "__syncwarp", "__shfl_", "__ballot_sync", "__any_sync", "__all_sync", "__match_", "__reduce_",
                                      "PLAIT_CLUSTER_SYNC", "PLAIT_GRID_SYNC"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strncmp(word.p, names[i], strlen(names[i])) == 0) return true;
  for (int i = 0; i < w->nmeeting; i++)
    if (w->meeting[i].n == word.n && memcmp(w->meeting[i].p, word.p, word.n) == 0) return true;
  return false;
}

static bool body_meets(const Rewriter *w, const char *p) {
  int depth = 0;
  while (*p) {
    Word word = word_at(p);
    if (word.n && meets(w, word)) return true;
    depth += (*p == '{') - (*p == '}');
    if (!depth) return false;
    p = word.n ? p + word.n : *p == '"' || *p == '\'' ? skip_quoted(p) : p + 1;
  }
  return false;
}

// Whether the words before a function's name are those of a scalar, of a pointer or of nothing.
static bool returns_scalar(const Rewriter *w, Word name) {
  static const char *const scalars[] = {"void", "bool", "char", "short", "int", "long", "float", "double", "unsigned", "signed", "size_t"};
  const char *p = name.p;
  while (p > w->text && p[-1] != ';' && p[-1] != '}') p--;
  if (memchr(p, '*', (size_t)(name.p - p))) return true;
  for (; p < name.p; p++) {
    Word word = word_at(p);
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
      if (is(word, scalars[i])) return true;
    if (word.n) p += word.n - 1;
  }
  return false;
}

// gcc reports no store of a structure that a call returns. Behind the function its name becomes a copy of what it returns.
static void value_macro(Rewriter *w, const char *end) {
  Word f = w->value_of;
  if (!f.n) return;
  w->value_of = (Word){0};
  copy_to(w, end);
  fprintf(w->out, "\n#define %.*s(...) ({ __auto_type emu_value = %.*s(__VA_ARGS__); emu_value; })\n# %d \"%s\"\n", WORD(f), WORD(f), line_of(w, end), w->file);
}

// Outside of functions, `word (…) {` defines one.
static void function_head(Rewriter *w, Word word) {
  const char *open = skip_space(word.p + word.n), *close = *open == '(' ? closing(open) : NULL;
  const char *body = close ? skip_space(close + 1) : NULL;
  if (!body || *body != '{') return;
  if (!returns_scalar(w, word)) w->value_of = word;
  if (w->nmeeting == MAX_MEETING || !body_meets(w, body)) return;
  w->meeting[w->nmeeting++] = word;
  copy_to(w, body + 1);
  fputs(" EMU_ENTER ", w->out);
  w->depth++;
}

// Inside of one, `word (` calls it.
static void call(Rewriter *w, Word word) {
  if (*skip_space(word.p + word.n) != '(' || !meets(w, word) || strncmp(word.p, "__", 2) == 0 || strncmp(word.p, "PLAIT_", 6) == 0) return;
  copy_to(w, word.p);
  fprintf(w->out, "EMU_FROM(%.*s)", (int)word.n, word.p);
  w->at = word.p + word.n;
}

// ---- the walk ----------------------------------------------------------------------------------------------------

static void brace(Rewriter *w, char c) {
  w->plain = false;
  w->depth += c == '{' ? 1 : -1;
  if (c == '{') w->pending = false;
  else if (!w->depth) w->inside = NULL;
}

static bool handle_word(Rewriter *w, Word word) {
  if (is(word, "extern")) return extern_word(w, word);
  if (is(word, "__shared__")) return static_shared(w, word);
  if (is(word, "__global__")) return kernel_head(w, word);
  if (w->depth) call(w, word);
  else if (!w->pending) function_head(w, word);
  return true;
}

static bool walk(Rewriter *w) {
  bool line_start = true;
  for (const char *p = w->text; *p;) {
    const char *before = p;
    if (*p == '#' && line_start) p = skip_directive(p);
    else if (*p == '"' || *p == '\'') p = skip_quoted(p);
    else if (is_word(*p)) {
      Word word = word_at(p);
      if (!handle_word(w, word)) return false;
      p = w->at > p ? w->at : p + word.n;
    } else {
      if (*p == '{' || *p == '}') brace(w, *p);
      p++;
      if (!w->depth && p[-1] == '}') value_macro(w, p);
    }
    line_start = *before == '\n' || (line_start && isspace((unsigned char)*before));
  }
  copy_to(w, w->text + strlen(w->text));
  return true;
}

// ---- the table ---------------------------------------------------------------------------------------------------

static void write_call(FILE *o, const Kernel *k) {
  if (k->shared) fprintf(o, "EMU_SHARED_END(%.*s);\n", WORD(k->name));
  fprintf(o, "EMU_PLAIN static void emu_call_%.*s(void **p) {\n  (void)p;\n  %.*s(", WORD(k->name), WORD(k->name));
  for (int i = 0; i < k->nparams; i++) fprintf(o, "%s*(%.*s *)p[%d]", i ? ", " : "", WORD(k->param[i].type), i);
  fprintf(o, ");\n}\nstatic const EmuParam emu_params_%.*s[] = {\n", WORD(k->name));
  for (int i = 0; i < k->nparams; i++) {
    const Param *p = &k->param[i];
    fprintf(o, "  {sizeof(%.*s), _Alignof(%.*s), %s, \"%.*s\"},\n", WORD(p->type), WORD(p->type), p->how, WORD(p->name));
  }
  fprintf(o, "  {0, 0, 0, 0}\n};\n");
  fprintf(o, "extern char __start_plait_shared_%.*s[] __attribute__((weak, visibility(\"hidden\")));\n", WORD(k->name));
  fprintf(o, "extern char __stop_plait_shared_%.*s[] __attribute__((weak, visibility(\"hidden\")));\n", WORD(k->name));
}

// Without `extern "C"` a kernel has a name that C++ makes.
static void write_row(FILE *o, const Kernel *k) {
  Word none = {"0", 1}, threads = k->threads.n ? k->threads : none, cluster = k->cluster.n ? k->cluster : none;
  if (k->plain) fprintf(o, "  {\"%.*s\", ", WORD(k->name));
  else fprintf(o, "  {\"_Z%zu%.*sv\", ", k->name.n, WORD(k->name));
  fprintf(o, "emu_call_%.*s, emu_params_%.*s, %d, %.*s, %.*s, __start_plait_shared_%.*s, __stop_plait_shared_%.*s},\n", WORD(k->name), WORD(k->name), k->nparams, WORD(threads), WORD(cluster),
          WORD(k->name), WORD(k->name));
}

static void write_table(const Rewriter *w, const char *image) {
  fputs("\n# 1 \"table of kernels\" 3\n", w->out);
  for (int i = 0; i < w->nkernels; i++) write_call(w->out, &w->kernel[i]);
  fputs("static const EmuKernel emu_kernels[] = {\n", w->out);
  for (int i = 0; i < w->nkernels; i++) write_row(w->out, &w->kernel[i]);
  fprintf(w->out,
          "  {0, 0, 0, 0, 0, 0, 0, 0}\n};\n"
          "#ifdef EMU_CHECKED\nenum { emu_checked = 1 };\n#else\nenum { emu_checked = 0 };\n#endif\n"
          "EMU_PLAIN __attribute__((visibility(\"default\"))) EmuImage *%s(void);\n"
          "EMU_PLAIN EmuImage *%s(void) {\n"
          "  emu_state.abi = EMU_ABI;\n  emu_state.checked = emu_checked;\n"
          "  emu_state.arch = __CUDA_ARCH__ / 10;\n  emu_state.feature = EMU_FEATURE;\n  emu_state.kernel = emu_kernels;\n  emu_state.nkernels = %d;\n  return &emu_state;\n}\n",
          image, image, w->nkernels);
}

char *emu_rewrite(const char *text, const char *file, const char *image, EmuFault *f) {
  char *out = NULL, *copy = strdup(text);
  size_t size = 0;
  Rewriter *w = calloc(1, sizeof *w);
  if (copy) drop_comments(copy);
  if (w) *w = (Rewriter){.text = copy, .at = copy, .file = file, .fault = f, .out = open_memstream(&out, &size)};
  bool good = w && w->out && copy;
  if (!good) emu_fault(f, EMU_HOST, "out of memory");
  if (good) fprintf(w->out, "# 1 \"%s\"\n", file);
  good = good && walk(w);
  if (good) write_table(w, image);
  for (int i = 0; w && i < w->nkernels; i++) free(w->kernel[i].param);
  if (w && w->out) fclose(w->out);
  free(w);
  free(copy);
  if (good) return out;
  free(out);
  return NULL;
}
