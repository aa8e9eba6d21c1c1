// cli.c: the state of one run: memory, messages, files, programs.
#include "cli/cli.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- memory: one list, freed at the end ----

typedef struct Block { struct Block *next; } Block;

void *cli_alloc(Cli *c, size_t bytes) {
  enum { HEAD = 64 };                            // keeps tensors aligned to a cache line
  char *p = bytes > SIZE_MAX - 2 * HEAD ? NULL : aligned_alloc(HEAD, (bytes + 2 * HEAD - 1) / HEAD * HEAD);
  if (!p) {
    cli_error(c, MACHINE, NULL, "out of memory: %zu bytes cannot be had", bytes);
    cli_end(c);
    exit(MACHINE);
  }
  memset(p, 0, bytes + HEAD);
  ((Block *)p)->next = c->blocks;
  c->blocks = (Block *)p;
  return p + HEAD;
}

static char *vprint(Cli *c, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  char *s = cli_alloc(c, (size_t)n + 1);
  vsnprintf(s, (size_t)n + 1, fmt, again);
  va_end(again);
  return s;
}

char *cli_printf(Cli *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *s = vprint(c, fmt, ap);
  va_end(ap);
  return s;
}

void cli_end(Cli *c) {
  if (c->messages == MESSAGES_JSON) fprintf(stderr, "[%s]\n", c->json ? c->json : "");
  plait_context_free(c->context);
  for (Block *b = c->blocks, *next; b; b = next) {
    next = b->next;
    free(b);
  }
  *c = (Cli){0};
}

// ---- messages ----

bool cli_talks(const Cli *c) { return c->messages == MESSAGES_TEXT; }

void cli_talk(Cli *c, const char *fmt, ...) {
  if (!cli_talks(c)) return;
  va_list ap;
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
}

static char *json_text(Cli *c, const char *s) {
  if (!s) return cli_printf(c, "null");
  char *out = cli_alloc(c, 6 * strlen(s) + 3), *p = out;
  *p++ = '"';
  for (; *s; s++) {
    unsigned char ch = (unsigned char)*s;
    if (ch == '"' || ch == '\\') *p++ = '\\', *p++ = *s;
    else if (ch < 32 || ch == 127) p += sprintf(p, "\\u%04x", ch);
    else *p++ = *s;
  }
  strcpy(p, "\"");
  return out;
}

static void add_json(Cli *c, const char *objects, size_t n) {
  if (n) c->json = cli_printf(c, "%s%s%.*s", c->json ? c->json : "", c->json ? ", " : "", (int)n, objects);
}

static void show_json(Cli *c, const char *id, const char *help, const char *text) {
  char *object = cli_printf(c, "{\"code\": %s, \"severity\": \"error\", \"message\": %s, \"file\": null, \"labels\": [], "
                            "\"notes\": [], \"help\": %s, \"fix\": null}", json_text(c, id), json_text(c, text), json_text(c, help));
  add_json(c, object, strlen(object));
}

static void show_text(const Cli *c, const char *id, const char *help, const char *text) {
  const char *red = paint(c->color_err, RED), *bold = paint(c->color_err, BOLD), *cyan = paint(c->color_err, CYAN);
  const char *plain = paint(c->color_err, PLAIN);
  fprintf(stderr, "%serror%s%s%s%s: %s%s%s\n", red, id ? "[" : "", id ? id : "", id ? "]" : "", plain, bold, text, plain);
  if (help) fprintf(stderr, "%shelp%s: %s\n", cyan, plain, help);
  if (id) fprintf(stderr, "more: plait help %s\n", id);
}

static int show(Cli *c, int code, const char *id, const char *help, const char *fmt, va_list ap) {
  const char *text = vprint(c, fmt, ap);
  if (help && !*help) help = NULL;
  if (c->messages == MESSAGES_JSON) show_json(c, id, help, text);
  else if (c->messages == MESSAGES_SHORT) fprintf(stderr, "plait: error%s%s%s: %s\n", id ? "[" : "", id ? id : "", id ? "]" : "", text);
  else show_text(c, id, help, text);
  return code;
}

int cli_error(Cli *c, int code, const char *help, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  show(c, code, NULL, help, fmt, ap);
  va_end(ap);
  return code;
}

int cli_file_error(Cli *c, const char *id, const char *help, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  show(c, MACHINE, id, help, fmt, ap);
  va_end(ap);
  return MACHINE;
}

int cli_status_exit(plait_status s) {
  switch (s) {
  case PLAIT_OK: return GOOD;
  case PLAIT_ERROR_PROGRAM: case PLAIT_ERROR_DATA: return WRONG;
  case PLAIT_ERROR_USAGE: return USAGE;
  case PLAIT_ERROR_ENVIRONMENT: return MACHINE;
  case PLAIT_ERROR_LIMIT: return LIMIT;
  case PLAIT_ERROR_INTERNAL: break;
  }
  return BUG;
}

int cli_messages(Cli *c, plait_status s, plait_messages *m) {
  static const plait_style styles[] = {[MESSAGES_TEXT] = PLAIT_STYLE_TEXT, [MESSAGES_JSON] = PLAIT_STYLE_JSON, [MESSAGES_SHORT] = PLAIT_STYLE_SHORT};
  plait_style style = c->messages == MESSAGES_TEXT && c->color_err ? PLAIT_STYLE_COLOR : styles[c->messages];
  char *text = NULL;
  size_t n = 0;
  if (m && plait_messages_render(m, style, &text, &n) == PLAIT_OK) {
    if (c->messages != MESSAGES_JSON) fputs(text, stderr);
    else if (n > 3) add_json(c, text + 1, strcspn(text, "\n") - 2);
  } else if (s) {
    cli_error(c, 0, NULL, "%s", plait_status_text(s));
  }
  plait_free(text);
  plait_messages_free(m);
  return cli_status_exit(s);
}

// ---- files ----

enum { MOST_TEXT = 64 << 20 };                   // far above what a program may have; the library refuses that with its code

static int read_stream(Cli *c, const char *shown, FILE *f, char **text, size_t *size) {
  size_t room = 1 << 16, n = 0;
  char *s = cli_alloc(c, room + 1);
  for (size_t got; (got = fread(s + n, 1, room - n, f)) > 0;) {
    n += got;
    if (n < room) continue;
    if (room >= MOST_TEXT) return cli_error(c, LIMIT, NULL, "`%s` is larger than %d MiB", shown, MOST_TEXT >> 20);
    char *more = cli_alloc(c, 2 * room + 1);
    memcpy(more, s, n);
    s = more;
    room *= 2;
  }
  if (ferror(f)) return cli_file_error(c, "PLE0101", NULL, "cannot read `%s`: %s", shown, strerror(errno));
  s[n] = 0;
  *text = s;
  *size = n;
  return GOOD;
}

int cli_read_file(Cli *c, const char *path, char **text, size_t *size) {
  if (strcmp(path, "-") == 0) return read_stream(c, "standard input", stdin, text, size);
  struct stat st;
  if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
    return cli_file_error(c, "PLE0101", "name a file in it", "`%s` is a directory", path);
  FILE *f = fopen(path, "rb");
  if (!f) return cli_file_error(c, "PLE0101", errno == ENOENT ? "check the name; `-` stands for standard input" : NULL,
                                "cannot read `%s`: %s", path, strerror(errno));
  int bad = read_stream(c, path, f, text, size);
  fclose(f);
  return bad;
}

// A reader that has seen enough (`plait help codes | head`) is no error.
int cli_write_error(Cli *c, const char *name, int why) {
  if (why == EPIPE) return GOOD;
  return cli_file_error(c, "PLE0102", NULL, "cannot write %s: %s", name, strerror(why));
}

int cli_write_file(Cli *c, const char *path, const char *text, size_t size) {
  bool standard = strcmp(path, "-") == 0;
  FILE *f = standard ? stdout : fopen(path, "wb");
  bool good = f && fwrite(text, 1, size, f) == size && fflush(f) == 0;
  int why = errno;
  if (f && !standard && fclose(f) != 0 && good) good = false, why = errno;
  return good ? GOOD : cli_write_error(c, standard ? "standard output" : path, why);
}

// ---- contexts and programs ----

static int gpu_compiler(Cli *c, const Args *a, plait_gpu_compiler *out) {
  static const char *const names[] = {"auto", "nvrtc", "clang"};
  const char *asked = args_value(a, "--gpu-compiler");
  for (int i = 0; i < 3 && asked; i++)
    if (strcmp(names[i], asked) == 0) return *out = (plait_gpu_compiler)i, GOOD;
  return asked ? cli_error(c, USAGE, "auto, nvrtc (NVIDIA's) or clang (in process)", "unknown GPU compiler `%s`", asked) : GOOD;
}

static int context_options(Cli *c, const Args *a, plait_context_options *o) {
  static const char *const names[] = {"auto", "clang", "cc"};
  const char *threads = args_value(a, "--threads"), *compiler = args_value(a, "--compiler");
  int64_t n = 0;
  if (threads && !parse_int(threads, 1, 1024, &n))
    return cli_error(c, USAGE, "1 to 1024", "`--threads %s` is no number of threads", threads);
  o->threads = (int)n;
  o->cc = args_value(a, "--cc");
  o->march = args_value(a, "--march");
  o->compiler = o->cc ? PLAIT_COMPILER_CC : PLAIT_COMPILER_AUTO;
  int bad = gpu_compiler(c, a, &o->gpu_compiler);
  if (bad || !compiler) return bad;
  int k = 0;
  while (k < 3 && strcmp(names[k], compiler) != 0) k++;
  if (k == 3) return cli_error(c, USAGE, "auto, clang (in process) or cc (a compiler of the system)", "unknown compiler `%s`", compiler);
  o->compiler = (plait_compiler)k;
  return GOOD;
}

int cli_context(Cli *c, const Args *a) {
  if (c->context) return GOOD;
  plait_context_options o = {.struct_size = sizeof o};
  int bad = context_options(c, a, &o);
  if (bad) return bad;
  plait_messages *m = NULL;
  plait_status s = plait_context_create(&o, &c->context, &m);
  return s || m ? cli_messages(c, s, m) : GOOD;
}

int cli_compile(Cli *c, const Args *a, const char *path, const plait_compile_options *o, plait_program **out) {
  char *text;
  size_t size;
  int bad = cli_context(c, a);
  if (!bad) bad = cli_read_file(c, path, &text, &size);
  if (bad) return bad;
  plait_messages *m = NULL;
  plait_status s = plait_compile(c->context, strcmp(path, "-") ? path : "<stdin>", text, size, o, out, &m);
  return s || m ? cli_messages(c, s, m) : GOOD;
}

int cli_entry(Cli *c, const Args *a, const plait_compile_options *o, plait_program **program, const plait_entry **entry) {
  int bad = cli_compile(c, a, a->operand[0], o, program);
  if (bad) return bad;
  plait_messages *m = NULL;
  plait_status s = plait_program_find(*program, args_value(a, "--entry"), entry, &m);
  if (!s) return GOOD;
  bad = cli_messages(c, s, m);
  plait_program_free(*program);
  *program = NULL;
  return bad;
}
