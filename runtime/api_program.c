// api_program.c: program text to entry points and their signatures; `plait fmt`.
#include "runtime/api_internal.h"
#include "base/limits.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// ---- imports ----

// `path` as seen from the file `from`, without "." and ".." where the text alone can tell, so that a file has one name.
static char *join_path(Arena *a, const char *from, const char *path) {
  const char *slash = strrchr(from, '/');
  char *s = path[0] == '/' || !slash ? arena_printf(a, "%s", path) : arena_printf(a, "%.*s/%s", (int)(slash - from), from, path);
  char *start = s + (*s == '/'), *out = start, *floor = start;      // floor: behind the leading ".."
  for (const char *p = start; *p;) {
    size_t n = strcspn(p, "/");
    bool up = n == 2 && p[0] == '.' && p[1] == '.', here = n == 0 || (n == 1 && *p == '.');
    if (up && out > floor) {
      for (out--; out > floor && out[-1] != '/';) out--;
    } else if (!here) {
      memmove(out, p, n);
      out += n;
      *out++ = '/';
      if (up) floor = out;
    }
    p += n + (p[n] == '/');
  }
  out[out > start ? -1 : 0] = 0;
  return s;
}

static bool read_stream(Arena *a, FILE *f, size_t most, ImportText *out) {
  Buf b = buf_make(a);
  char part[1 << 14];
  for (size_t n; b.n <= most && (n = fread(part, 1, sizeof part, f)) > 0;) buf_putn(&b, part, n);
  if (ferror(f)) out->error = arena_printf(a, "%s", strerror(errno));
  else if (b.n > most) out->error = arena_printf(a, "it is larger than %zu bytes", most);
  out->text = b.s;
  out->len = b.n;
  return !out->error;
}

static size_t source_limit(const plait_context *cx) {
  size_t most = cx->o.max_source_bytes;
  return most && most < LIMIT_SOURCE_BYTES ? most : LIMIT_SOURCE_BYTES;
}

static bool read_file(const plait_context *cx, Arena *a, ImportText *out) {
  struct stat st;
  FILE *f = NULL;
  if (stat(out->path, &st) == 0 && S_ISDIR(st.st_mode)) errno = EISDIR;
  else f = fopen(out->path, "rb");
  if (!f) {
    out->error = arena_printf(a, "%s", strerror(errno));
    return false;
  }
  bool good = read_stream(a, f, source_limit(cx), out);
  fclose(f);
  return good;
}

static bool ask_reader(const plait_context *cx, Arena *a, ImportText *out) {
  const char *text = NULL;
  size_t size = 0;
  if (cx->o.reader(cx->o.reader_user, out->path, &text, &size) != 0 || !text) out->error = "there is no such file";
  else if (size > source_limit(cx)) out->error = arena_printf(a, "it is larger than %zu bytes", source_limit(cx));
  if (out->error) return false;
  out->text = arena_strndup(a, text, size);
  out->len = size;
  return true;
}

static bool read_import(void *user, Arena *a, const char *from, const char *path, ImportText *out) {
  const plait_context *cx = user;
  *out = (ImportText){.path = join_path(a, from, path)};
  if (cx->o.imports == PLAIT_IMPORTS_FILES) return read_file(cx, a, out);
  if (cx->o.imports == PLAIT_IMPORTS_READER) return ask_reader(cx, a, out);
  out->error = "imports are switched off";
  return false;
}

// ---- signatures ----

plait_dtype dtype_public(const Tensor *t) { return t->fmt ? PLAIT_BLOCKS : (plait_dtype)t->dtype; }

static const char *expr_text(Arena *a, const Expr *e) {
  Buf b = buf_make(a);
  expr_print(e, &b);
  return b.s;
}

// A number alone is printed without the type that it would need in an equation.
static const char *extent_text(Arena *a, const Expr *e) {
  return expr_is_const(e) ? arena_printf(a, "%lld", (long long)e->u.v.i) : expr_text(a, e);
}

static plait_param describe(Arena *a, const Tensor *t, const Expr *init) {
  plait_param p = {
    .name = t->name, .dtype = dtype_public(t), .format = t->fmt ? t->fmt->name : NULL, .block_values = t->fmt ? t->fmt->block : 1,
    .block_bytes = t->fmt ? t->fmt->bytes : 0, .rank = t->rank, .init = init ? expr_text(a, init) : NULL,
  };
  p.kind = t->role == ROLE_MUT ? PLAIT_MUT : t->role == ROLE_RESULT ? PLAIT_RESULT : t->rank ? PLAIT_TENSOR : PLAIT_SCALAR;
  for (int i = 0; i < t->rank; i++) p.extent[i] = extent_text(a, t->extent[i]);
  return p;
}

static void put_param(Buf *b, const plait_param *p) {
  buf_printf(b, "%s%s: %s", p->kind == PLAIT_MUT ? "mut " : "", p->name, p->format ? p->format : plait_dtype_name(p->dtype));
  for (int i = 0; i < p->rank; i++) buf_printf(b, "%s%s", i ? ", " : "[", p->extent[i]);
  if (p->rank) buf_putc(b, ']');
  if (p->init) buf_printf(b, " = %s", p->init);
}

static const char *signature(Arena *a, const plait_entry *e) {
  Buf b = buf_make(a);
  buf_printf(&b, "%s(", e->fn->name);
  for (int i = 0; i < e->fn->params.n; i++) {
    if (i) buf_puts(&b, ", ");
    put_param(&b, &e->param[i]);
  }
  buf_putc(&b, ')');
  int n = e->fn->results.n;
  if (n) buf_puts(&b, n > 1 ? " -> (" : " -> ");
  for (int i = 0; i < n; i++) {
    if (i) buf_puts(&b, ", ");
    put_param(&b, &e->result[i]);
  }
  if (n > 1) buf_putc(&b, ')');
  return b.s;
}

static void describe_entry(plait_program *p, plait_entry *e, Fn *fn) {
  e->program = p;
  e->fn = fn;
  e->param = arena_array(p->a, plait_param, fn->params.n);
  e->result = arena_array(p->a, plait_param, fn->results.n);
  for (int i = 0; i < fn->params.n; i++) e->param[i] = describe(p->a, fn->params.v[i], i < fn->defaults.n ? fn->defaults.v[i] : NULL);
  for (int i = 0; i < fn->results.n; i++) e->result[i] = describe(p->a, fn->results.v[i], NULL);
  e->signature = signature(p->a, e);
}

// ---- compiling ----

plait_program *program_keep(plait_program *p) {
  atomic_fetch_add(&p->refs, 1);
  return p;
}

void plait_program_free(plait_program *p) {
  if (!p || atomic_fetch_sub(&p->refs, 1) > 1) return;
  pthread_mutex_destroy(&p->lock);
  plait_context *cx = p->cx;
  arena_destroy(p->a);
  free(p);
  plait_context_free(cx);
}

static plait_program *program_new(plait_context *cx) {
  plait_program *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  atomic_init(&p->refs, 1);
  pthread_mutex_init(&p->lock, NULL);
  p->cx = context_keep(cx);
  p->a = arena_create();
  p->names = intern_create(p->a);
  p->d = diags_create(p->a);
  return p;
}

static bool check_size(plait_program *p, size_t size) {
  if (size <= source_limit(p->cx)) return true;
  diag_error(p->d, E_limit_source, NO_SPAN, "the source has %zu bytes, the most is %zu", size, source_limit(p->cx));
  return false;
}

static void elaborate_all(plait_program *p) {
  int n = program_entries(p->program, NULL, 0);
  Name *names = arena_array(p->a, Name, n);
  program_entries(p->program, names, n);
  p->entry = arena_array(p->a, plait_entry, n);
  for (int i = 0; i < n; i++) {
    Fn *fn = program_elaborate(p->program, names[i], p->a);
    if (fn) describe_entry(p, &p->entry[p->nentries++], fn);
  }
}

static void tell(const plait_compile_options *o, const char *stage, double *since) {
  double now = now_ms();
  if (o->timing) o->timing(o->user, stage, now - *since);
  *since = now;
}

static void compile(plait_program *p, const char *name, const char *text, size_t size, const plait_compile_options *o) {
  if (!check_size(p, size)) return;
  const char *path = arena_strndup(p->a, name, strlen(name)), *own = arena_strndup(p->a, text, size);
  double since = now_ms();
  p->program = program_load(p->a, p->names, p->d, path, own, size, read_import, p->cx);
  tell(o, "parse", &since);
  if (!p->d->errors && program_check(p->program)) elaborate_all(p);
  tell(o, "sema", &since);
}

// Hands over what compiling said. The messages keep the program's memory alive, also when there is no program to hand out.
static plait_status give_compiled(plait_program *p, plait_messages **messages) {
  plait_messages *m = messages_new(p);
  m->d->list.v = p->d->list.v;
  m->d->list.n = p->d->list.n;
  m->d->list.cap = 0;
  m->d->errors = p->d->errors;
  return messages_give(m, messages);
}

plait_status plait_compile(plait_context *cx, const char *name, const char *text, size_t size, const plait_compile_options *options,
                           plait_program **out, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!cx || !name || (!text && size) || !out) return PLAIT_ERROR_USAGE;
  plait_compile_options o;
  options_copy(&o, sizeof o, options);
  plait_program *p = program_new(cx);
  if (!p) return PLAIT_ERROR_ENVIRONMENT;
  compile(p, name, text ? text : "", size, &o);
  plait_status s = give_compiled(p, messages);
  if (s) plait_program_free(p);
  else *out = p;
  return s;
}

plait_status plait_format(plait_context *cx, const char *name, const char *text, size_t size, char **out, size_t *out_size,
                          plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!cx || !name || (!text && size) || !out) return PLAIT_ERROR_USAGE;
  plait_program *p = program_new(cx);
  if (!p) return PLAIT_ERROR_ENVIRONMENT;
  Buf b = buf_make(p->a);
  if (check_size(p, size)) {
    const char *path = arena_strndup(p->a, name, strlen(name)), *own = arena_strndup(p->a, text ? text : "", size);
    AFile *file = parse_file(p->a, p->names, p->d, diags_add_file(p->d, path, own, size));
    if (file && !p->d->errors) ast_print(file, p->d, &b);
  }
  plait_status s = give_compiled(p, messages);
  char *laid_out = s ? NULL : text_give(&b, out_size);
  if (!s && laid_out) *out = laid_out;
  plait_program_free(p);
  return s ? s : laid_out ? PLAIT_OK : PLAIT_ERROR_ENVIRONMENT;
}

// ---- entries ----

size_t plait_program_entry_count(const plait_program *p) { return p ? (size_t)p->nentries : 0; }

const plait_entry *plait_program_entry(const plait_program *p, size_t i) { return i < plait_program_entry_count(p) ? &p->entry[i] : NULL; }

static const char *entry_names(const plait_program *p, plait_messages *m, const char **names) {
  Buf b = buf_make(m->a);
  for (int i = 0; i < p->nentries; i++) {
    names[i] = p->entry[i].fn->name;
    buf_printf(&b, "%s%s", i ? ", " : "", names[i]);
  }
  return b.s;
}

static plait_status report_entry(const plait_program *p, const char *name, plait_messages **messages) {
  plait_messages *m = messages_new((plait_program *)p);
  const char **names = arena_array(m->a, const char *, p->nentries + 1);
  const char *list = entry_names(p, m, names);
  if (!p->nentries) {
    diag_error(m->d, E_no_entry, NO_SPAN, "the file has no entry point");
    diag_help(m->d, "write a function whose types are concrete, without `..` and type variables");
  } else if (name) {
    diag_error(m->d, E_unknown_entry, NO_SPAN, "the file has no entry point `%s`", name);
    help_nearest(m->d, name, names, p->nentries, arena_printf(m->a, "it has: %s", list));
  } else {
    diag_error(m->d, E_unknown_entry, NO_SPAN, "the file has %d entry points, and none was named", p->nentries);
    diag_help(m->d, "name one with --entry: %s", list);
  }
  return messages_give_as(m, PLAIT_ERROR_USAGE, messages);
}

plait_status plait_program_find(const plait_program *p, const char *name, const plait_entry **out, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!p || !out) return PLAIT_ERROR_USAGE;
  for (int i = 0; i < p->nentries && name; i++)
    if (strcmp(p->entry[i].fn->name, name) == 0) return *out = &p->entry[i], PLAIT_OK;
  if (name || p->nentries != 1) return report_entry(p, name, messages);
  *out = &p->entry[0];
  return PLAIT_OK;
}

plait_status plait_entry_get(const plait_entry *e, plait_entry_info *out) {
  if (!e || !out) return PLAIT_ERROR_USAGE;
  const Fn *f = e->fn;
  plait_entry_info v = {
    .name = f->name, .signature = e->signature, .nparams = (size_t)f->params.n, .nresults = (size_t)f->results.n,
    .ndims = (size_t)f->dims.n, .nequations = (size_t)f->eqns.n, .at = span_public(e->program->d, f->at),
  };
  give(out, &v);
  return PLAIT_OK;
}

plait_status plait_entry_param(const plait_entry *e, size_t i, plait_param *out) {
  if (!e || !out || i >= (size_t)e->fn->params.n) return PLAIT_ERROR_USAGE;
  give(out, &e->param[i]);
  return PLAIT_OK;
}

plait_status plait_entry_result(const plait_entry *e, size_t i, plait_param *out) {
  if (!e || !out || i >= (size_t)e->fn->results.n) return PLAIT_ERROR_USAGE;
  give(out, &e->result[i]);
  return PLAIT_OK;
}

const char *plait_entry_dim(const plait_entry *e, size_t i) { return e && i < (size_t)e->fn->dims.n ? e->fn->dims.v[i]->name : NULL; }

plait_status plait_entry_field(const plait_entry *e, const char *format, size_t i, plait_field *out) {
  if (!e || !format || !out) return PLAIT_ERROR_USAGE;
  for (int k = 0; k < e->fn->formats.n; k++) {
    const Format *f = e->fn->formats.v[k];
    if (strcmp(f->name, format) != 0 || i >= (size_t)f->nfields) continue;
    const Field *x = &f->field[i];
    plait_field v = {.name = x->name, .dtype = (plait_dtype)x->dtype, .count = x->array ? x->count : 1, .offset = x->offset};
    give(out, &v);
    return PLAIT_OK;
  }
  return PLAIT_ERROR_USAGE;
}
