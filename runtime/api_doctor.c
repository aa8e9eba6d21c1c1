// api_doctor.c: what this machine offers, from search.h and the pool.
#include "runtime/api_internal.h"
#include "base/json.h"
#include "runtime/pool.h"
#include <stdio.h>
#include <string.h>

struct plait_doctor { Arena *a; VEC(plait_finding) list; bool usable, cuda; };

static plait_finding *add(plait_doctor *d, const char *name, bool good, const char *text, const char *help) {
  vec_push(d->a, &d->list, (plait_finding){.name = name, .good = good, .text = text, .help = help && *help ? help : NULL});
  return &d->list.v[d->list.n - 1];
}

static const char *joined(Arena *a, const SearchItem *s) {
  Buf b = buf_make(a);
  const char *parts[] = {s->version, s->where, s->detail};
  for (int i = 0; i < 3; i++)
    if (parts[i] && *parts[i]) buf_printf(&b, "%s%s", b.n ? ", " : "", parts[i]);
  return b.n ? b.s : s->found ? "found" : "not found";
}

static const char *places(Arena *a, const SearchItem *s) {
  Buf b = buf_make(a);
  for (int i = 0; i < s->places.n; i++) buf_printf(&b, "%s%s: %s", i ? "\n" : "", s->places.v[i].path, s->places.v[i].what);
  return b.n ? b.s : NULL;
}

static void add_items(plait_doctor *d, const SearchItem *items, int n) {
  for (int i = 0; i < n; i++)
    add(d, items[i].what, items[i].found, joined(d->a, &items[i]), items[i].found ? NULL : items[i].remedy)->places = places(d->a, &items[i]);
}

static void add_searched(plait_doctor *d, const plait_context *cx) {
  int n = 0;
  const SearchItem *items = search_all(d->a, &cx->paths, &n);
  add_items(d, items, n);
}

// A device that works and something to compile for it.
static void add_cuda(plait_doctor *d, const plait_context *cx) {
  int n = 0;
  const SearchItem *items = cuda_report(d->a, cx->cuda, &n);
  bool device = false;
  for (int i = 0; i < n; i++) device |= items[i].found && strncmp(items[i].what, "CUDA device ", 12) == 0;
  d->cuda = device && items[n - 1].found;
  add_items(d, items, n);
}

static void add_backend(plait_doctor *d, plait_context *cx) {
  JitError e = {0};
  d->usable = jit_backend(cx->jit, &e) != JIT_AUTO;
  if (d->usable) add(d, "kernels are compiled by", true, compiler_name(cx, d->a), NULL);
  else add(d, "kernels are compiled by", false, arena_printf(d->a, "nothing: %s", e.text ? e.text : "no compiler"),
           "Programs can be checked, printed and run with --target ref. Install clang or gcc to compile them.");
  jit_error_clear(&e);
}

plait_status plait_doctor_create(plait_context *cx, plait_doctor **out, plait_messages **messages) {
  if (messages) *messages = NULL;
  if (!cx || !out) return PLAIT_ERROR_USAGE;
  Arena *a = arena_create();
  plait_doctor *d = arena_new(a, plait_doctor);
  d->a = a;
  add(d, "libplait", true, plait_version(), NULL);
  add_searched(d, cx);
  add_backend(d, cx);
  add_cuda(d, cx);
  add(d, "threads", true, arena_printf(a, "%d", pool_threads()), NULL);
  *out = d;
  return PLAIT_OK;
}

size_t plait_doctor_count(const plait_doctor *d) { return d ? (size_t)d->list.n : 0; }

plait_status plait_doctor_finding(const plait_doctor *d, size_t i, plait_finding *out) {
  if (i >= plait_doctor_count(d) || !out) return PLAIT_ERROR_USAGE;
  give(out, &d->list.v[i]);
  return PLAIT_OK;
}

static void json_places(Json *j, const char *places) {
  char line[4096];
  json_open(j, '[');
  for (const char *p = places; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
    snprintf(line, sizeof line, "%.*s", (int)strcspn(p, "\n"), p);
    json_str(j, line);
  }
  json_close(j, ']');
}

static void json_finding(Json *j, const plait_finding *f) {
  json_open(j, '{');
  json_key(j, "name");
  json_str(j, f->name);
  json_key(j, "good");
  json_bool(j, f->good);
  json_key(j, "text");
  json_str(j, f->text);
  json_key(j, "help");
  if (f->help) json_str(j, f->help);
  else json_null(j);
  json_key(j, "places");
  json_places(j, f->places);
  json_close(j, '}');
}

plait_status plait_doctor_json(const plait_doctor *d, char **text, size_t *size) {
  if (!d || !text) return PLAIT_ERROR_USAGE;
  Arena *a = arena_create();
  Buf b = buf_make(a);
  Json j = json_make(&b);
  json_open(&j, '{');
  json_key(&j, "findings");
  json_open(&j, '[');
  for (int i = 0; i < d->list.n; i++) json_finding(&j, &d->list.v[i]);
  json_close(&j, ']');
  json_key(&j, "usable");
  json_bool(&j, d->usable);
  json_key(&j, "cuda");
  json_bool(&j, d->cuda);
  json_close(&j, '}');
  buf_putc(&b, '\n');
  return text_deliver(a, &b, text, size);
}

void plait_doctor_free(plait_doctor *d) {
  if (d) arena_destroy(d->a);
}
