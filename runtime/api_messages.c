// api_messages.c: diagnostics as objects of the public interface, and what is known about their codes.
#include "runtime/api_internal.h"
#include <stdlib.h>
#include <string.h>

plait_messages *messages_new(plait_program *keep) {
  Arena *a = arena_create();
  plait_messages *m = arena_new(a, plait_messages);
  m->a = a;
  m->d = diags_create(a);
  m->keep = keep ? program_keep(keep) : NULL;
  for (int i = 1; keep && i < keep->d->files.n; i++) {
    const SourceFile *f = &keep->d->files.v[i];
    diags_add_file(m->d, f->path, f->text, f->len);
  }
  return m;
}

void plait_messages_free(plait_messages *m) {
  if (!m) return;
  plait_program_free(m->keep);
  arena_destroy(m->a);
}

plait_status code_status(Code c) {
  switch (code_info(c)->kind) {
  case CODE_PROGRAM: return PLAIT_ERROR_PROGRAM;
  case CODE_DATA: return PLAIT_ERROR_DATA;
  case CODE_LIMIT: return PLAIT_ERROR_LIMIT;
  case CODE_ENVIRONMENT: return PLAIT_ERROR_ENVIRONMENT;
  case CODE_INTERNAL: return PLAIT_ERROR_INTERNAL;
  case CODE_WARNING: return PLAIT_OK;
  }
  return PLAIT_ERROR_INTERNAL;
}

// The first error's; one of our own outweighs them, since the others may follow from it.
static plait_status status_of(const Diags *d) {
  plait_status s = PLAIT_OK;
  for (int i = 0; i < d->list.n; i++) {
    plait_status one = code_status(d->list.v[i]->code);
    if (one == PLAIT_ERROR_INTERNAL) return one;
    if (!s) s = one;
  }
  return !s && d->errors ? PLAIT_ERROR_PROGRAM : s;
}

static plait_status deliver(plait_messages *m, plait_status s, plait_messages **out) {
  m->sorted = diags_sorted(m->d);
  m->status = s;
  if (out && m->d->list.n) *out = m;
  else plait_messages_free(m);
  return s;
}

plait_status messages_give(plait_messages *m, plait_messages **out) { return deliver(m, status_of(m->d), out); }

plait_status messages_give_as(plait_messages *m, plait_status s, plait_messages **out) { return deliver(m, s, out); }

void messages_fault(plait_messages *m, const Fault *f) {
  diag_error(m->d, f->code, f->at, "%s", f->text);
  m->has_fault = true;
  m->fault = *f;
  m->fault.equation = f->equation ? arena_strndup(m->a, f->equation, strlen(f->equation)) : NULL;
  m->fault.tensor = f->tensor ? arena_strndup(m->a, f->tensor, strlen(f->tensor)) : NULL;
}

Diags *trouble(Trouble *t) {
  if (!t->m) t->m = messages_new((plait_program *)t->program);
  return t->m->d;
}

plait_status trouble_give(Trouble *t, plait_messages **out) { return t->m ? messages_give(t->m, out) : PLAIT_OK; }

void help_nearest(Diags *d, const char *name, const char *const *names, int n, const char *otherwise) {
  int limit = (int)strlen(name) / 3 < 1 ? 1 : (int)strlen(name) / 3, least = limit + 1;
  const char *best = NULL;
  for (int i = 0; i < n; i++) {
    int distance = str_distance(name, names[i], limit);
    if (distance >= least) continue;
    least = distance;
    best = names[i];
  }
  if (best) diag_help(d, "did you mean `%s`?", best);
  else if (otherwise) diag_help(d, "%s", otherwise);
}

// ---- reading them ----

plait_span span_public(const Diags *d, Span at) {
  plait_span s = {0};
  if (!at.file) return s;
  s.file = d->files.v[at.file].path;
  s.begin = at.lo;
  s.end = at.hi;
  diag_position(d, at, &s.line, &s.column);
  diag_position(d, (Span){at.file, at.hi, at.hi}, &s.end_line, &s.end_column);
  return s;
}

size_t plait_messages_count(const plait_messages *m) { return m ? (size_t)m->d->list.n : 0; }

static const Diag *message_at(const plait_messages *m, size_t i) { return i < plait_messages_count(m) ? m->sorted[i] : NULL; }

plait_status plait_messages_get(const plait_messages *m, size_t i, plait_message *out) {
  const Diag *x = message_at(m, i);
  if (!x || !out) return PLAIT_ERROR_USAGE;
  plait_status s = code_status(x->code);
  plait_message v = {
    .code = code_info(x->code)->id, .severity = s ? PLAIT_ERROR : PLAIT_WARNING, .status = s ? m->status : PLAIT_OK, .text = x->text,
    .at = span_public(m->d, x->at), .nlabels = (size_t)x->labels.n, .nnotes = (size_t)x->notes.n, .help = x->help, .fix = x->fix,
  };
  if (x->fix) v.fix_at = span_public(m->d, x->fix_at);
  give(out, &v);
  return PLAIT_OK;
}

plait_status plait_message_label(const plait_messages *m, size_t i, size_t k, plait_span *at, const char **text) {
  const Diag *x = message_at(m, i);
  if (!x || k >= (size_t)x->labels.n) return PLAIT_ERROR_USAGE;
  if (at) *at = span_public(m->d, x->labels.v[k].at);
  if (text) *text = x->labels.v[k].text;
  return PLAIT_OK;
}

const char *plait_message_note(const plait_messages *m, size_t i, size_t k) {
  const Diag *x = message_at(m, i);
  return x && k < (size_t)x->notes.n ? x->notes.v[k] : NULL;
}

plait_status plait_message_fault(const plait_messages *m, size_t i, plait_fault *out) {
  if (!message_at(m, i) || !m->has_fault || !out) return PLAIT_ERROR_USAGE;
  plait_fault v = {.equation = m->fault.equation, .tensor = m->fault.tensor, .subscript = m->fault.axis, .value = m->fault.value, .extent = m->fault.extent};
  give(out, &v);
  return PLAIT_OK;
}

// ---- as text ----

static void print_short(const plait_messages *m, Buf *b) {
  for (int i = 0; i < m->d->list.n; i++) {
    const Diag *x = m->sorted[i];
    plait_span s = span_public(m->d, x->at);
    if (s.file) buf_printf(b, "%s:%d:%d: ", s.file, s.line, s.column);
    buf_printf(b, "%s[%s]: ", code_status(x->code) ? "error" : "warning", code_info(x->code)->id);
    for (const char *p = x->text; *p; p++) buf_putc(b, (unsigned char)*p < 32 ? ' ' : *p);
    buf_putc(b, '\n');
  }
}

plait_status plait_messages_render(const plait_messages *m, plait_style style, char **text, size_t *size) {
  if (!m || !text || (unsigned)style > PLAIT_STYLE_JSON) return PLAIT_ERROR_USAGE;
  Arena *a = arena_create();
  Diags d = *m->d;             // printing allocates: not from what other threads may be reading
  d.a = a;
  Buf b = buf_make(a);
  if (style == PLAIT_STYLE_JSON) diags_json(&d, &b);
  else if (style == PLAIT_STYLE_SHORT) print_short(m, &b);
  else diags_print(&d, &b, style == PLAIT_STYLE_COLOR);
  return text_deliver(a, &b, text, size);
}

// ---- codes ----

enum { NREASONS = REASON_COUNT };

size_t plait_code_count(void) { return E_COUNT + NREASONS; }

plait_status plait_code_get(size_t i, plait_code *out) {
  if (i >= plait_code_count() || !out) return PLAIT_ERROR_USAGE;
  plait_code v = {0};
  if (i < E_COUNT) {
    const CodeInfo *c = code_info((Code)i);
    v = (plait_code){.id = c->id, .title = c->title, .text = c->text, .failing = c->failing, .mended = c->mended, .status = code_status((Code)i)};
  } else {
    const ReasonInfo *r = &reasons[i - E_COUNT];
    v = (plait_code){.id = r->id, .title = r->slug, .text = r->what, .failing = "", .mended = ""};
  }
  give(out, &v);
  return PLAIT_OK;
}

plait_status plait_code_find(const char *id, plait_code *out) {
  plait_code v = {.struct_size = sizeof v};
  for (size_t i = 0; id && i < plait_code_count(); i++)
    if (plait_code_get(i, &v) == PLAIT_OK && strcasecmp(v.id, id) == 0) return plait_code_get(i, out);
  return PLAIT_ERROR_USAGE;
}
