// sema_scope.c: names of a function instance, and messages about them.
#include "frontend/sema_int.h"
#include <ctype.h>
#include <string.h>

Frame *frame_new(Sema *s, const AFn *fn, Unit *unit, Frame *caller, Span call_at) {
  Frame *fr = arena_new(s->a, Frame);
  fr->s = s;
  fr->fn = fn;
  fr->unit = unit;
  fr->caller = caller;
  fr->call_at = call_at;
  fr->depth = caller ? caller->depth + 1 : 0;
  fr->bind = map_make(s->a);
  fr->later = map_make(s->a);
  return fr;
}

Binding *frame_find(const Frame *fr, Name name) { return map_getp(&fr->bind, name); }

// Replaces a binding of that name; the caller has reported a duplicate where it is one.
Binding *frame_bind(Frame *fr, BindKind kind, Name name, Span at) {
  Binding *b = arena_new(fr->s->a, Binding);
  b->kind = kind;
  b->name = name;
  b->at = at;
  b->defined = true;
  if (!frame_find(fr, name)) vec_push(fr->s->a, &fr->order, name);
  map_putp(&fr->bind, name, b);
  return b;
}

// Names grow with the depth of calls; a long one keeps its end, which tells most.
static const char *clipped(const char *name) {
  enum { LONGEST = 48 };
  size_t n = strlen(name);
  if (n <= LONGEST) return name;
  name += n - LONGEST;
  while (*name && !isalpha((unsigned char)*name)) name++;
  return *name ? name : "t";
}

// In an inlined function, names are prefixed with that of the tensor it serves.
const char *full_name(const Frame *fr, const char *name) {
  return fr->prefix ? arena_printf(fr->s->a, "%s_%s", fr->prefix, name) : name;
}

Tensor *named_tensor(Sema *s, const char *name, Role role, Dtype dtype, Format *fmt, int rank, Expr *const *extent, Span at) {
  return fn_tensor(s->f, intern(s->names, clipped(name)), role, dtype, fmt, rank, extent, at);
}

Tensor *frame_tensor(Frame *fr, const char *hint, Role role, Dtype dtype, Format *fmt, int rank, Expr *const *extent, Span at) {
  return named_tensor(fr->s, full_name(fr, hint), role, dtype, fmt, rank, extent, at);
}

const Bound *env_index(const Env *v, Name name) {
  for (const Bound *b = v->bound; b; b = b->up)
    if (b->name == name) return b;
  return NULL;
}

void *sema_error(const Frame *fr, Code code, Span at, const char *fmt, ...) {
  enum { CALLS_SHOWN = 3 };
  va_list ap;
  va_start(ap, fmt);
  const char *text = arena_vprintf(fr->s->d->a, fmt, ap);
  va_end(ap);
  diag_error(fr->s->d, code, at, "%s", text);
  int shown = 0;
  for (const Frame *f = fr; f->caller && shown < CALLS_SHOWN; f = f->caller, shown++)
    diag_label(fr->s->d, f->call_at, "in this call of `%s`", f->fn ? f->fn->name : "?");
  return NULL;
}

// The nearer of two candidates for `name`.
typedef struct Near { Name name; const char *best; int distance; } Near;

static void consider(Near *n, const char *candidate) {
  if (!candidate || candidate == n->name) return;
  int d = str_distance(n->name, candidate, n->distance - 1);
  if (d < n->distance) n->best = candidate, n->distance = d;
}

// Names up to a third of their length away are taken for slips.
static Near near_start(Name name) {
  int limit = (int)strlen(name) / 3 + 1;
  return (Near){name, NULL, limit < 3 ? limit + 1 : 4};
}

// Suggestions cost a walk over all names; beyond the errors that are shown they are not looked for.
static bool worth_it(const Frame *fr, Name name) { return strlen(name) > 1 && fr->s->d->errors < LIMIT_ERRORS; }

const char *near_name(const Frame *fr, const Bound *bound, Name name) {
  Near n = near_start(name);
  if (!worth_it(fr, name)) return NULL;
  for (const Bound *b = bound; b; b = b->up) consider(&n, b->name);
  for (int i = 0; i < fr->order.n; i++) consider(&n, fr->order.v[i]);
  for (int i = 0; i < fr->unit->items.n; i++)
    if (fr->unit->items.v[i]->kind == AI_CONST) consider(&n, fr->unit->items.v[i]->name);
  return n.best;
}

static void consider_items(Near *n, const Frame *fr, AItemKind kind) {
  const Unit *u = fr->unit;
  for (int i = 0; i < u->items.n; i++)
    if (u->items.v[i]->kind == kind) consider(n, u->items.v[i]->name);
  for (int k = 0; k < u->imports.n; k++)
    for (int i = 0; i < u->imports.v[k]->items.n; i++)
      if (u->imports.v[k]->items.v[i]->kind == kind) consider(n, u->imports.v[k]->items.v[i]->name);
  const Units *all = &fr->s->p->units;
  for (int i = 0; i < all->library_items.n; i++)
    if (all->library_items.v[i]->kind == kind) consider(n, all->library_items.v[i]->name);
}

const char *near_function(const Frame *fr, Name name) {
  Near n = near_start(name);
  if (!worth_it(fr, name)) return NULL;
  consider_items(&n, fr, AI_FN);
  for (int op = 0; op < OP_COUNT_; op++)
    if (ops[op].callable) consider(&n, ops[op].name);
  consider(&n, "clamp");
  for (int r = 1; r < RED_COUNT_; r++) consider(&n, reducers[r].name);
  return n.best;
}

const char *near_type(const Frame *fr, Name name) {
  Near n = near_start(name);
  if (!worth_it(fr, name)) return NULL;
  for (int t = 1; t < DT_COUNT; t++) consider(&n, dtypes[t].name);
  consider_items(&n, fr, AI_FORMAT);
  return n.best;
}

void sema_unknown(const Env *v, Name name, Span at) {
  Frame *fr = v->fr;
  if (map_getp(&fr->later, name)) {
    const AStmt *st = map_getp(&fr->later, name);
    sema_error(fr, E_used_before, at, "`%s` is read before its equation", name);
    diag_label(fr->s->d, st->at, "the equation");
    diag_help(fr->s->d, "move the equation of `%s` up", name);
    return;
  }
  for (const Bound *b = v->hidden; b; b = b->up)
    if (b->name == name) {
      sema_error(fr, E_unknown_name, at, "index `%s` has no meaning in this argument", name);
      diag_note(fr->s->d, "the function takes a whole tensor or a scalar that is the same for all indices");
      diag_help(fr->s->d, "pass the whole tensor and subscript the call: `f(x)[%s]`", name);
      return;
    }
  Item *item = unit_lookup(&fr->s->p->units, fr->unit, name);
  if (item && item->kind == AI_FN) {
    sema_error(fr, E_not_a_value, at, "`%s` is a function", name);
    diag_help(fr->s->d, "call it with its arguments in brackets: `%s(…)`", name);
    return;
  }
  if (item && item->kind == AI_FORMAT) {
    sema_error(fr, E_not_a_value, at, "`%s` is a format; it has no value", name);
    return;
  }
  if (op_by_name(name) != OP_NONE || strcmp(name, "clamp") == 0) {
    sema_error(fr, E_not_a_value, at, "`%s` is a function", name);
    diag_help(fr->s->d, "call it with its arguments in brackets: `%s(…)`", name);
    return;
  }
  for (int i = 0; i < fr->types.n; i++)
    if (fr->types.v[i].name == name) {
      sema_error(fr, E_not_a_value, at, "`%s` is a type variable; it has no value", name);
      return;
    }
  if (map_getp(&fr->s->unknown, name)) return;
  map_putp(&fr->s->unknown, name, (void *)(uintptr_t)name);
  const char *near = near_name(fr, v->bound, name);
  sema_error(fr, E_unknown_name, at, "`%s` is not defined here", name);
  if (near) {
    diag_help(fr->s->d, "did you mean `%s`?", near);
    diag_fix(fr->s->d, at, near);
  } else if (fr->fn && (v->bound || !v->w) && strlen(name) < 3) {
    diag_note(fr->s->d, "an index is bound left of `=` or by a reduction: `sum[%s](…)`", name);
  }
}

const char *source_text(const Sema *s, Span at) {
  const SourceFile *f = &s->d->files.v[at.file];
  if (at.hi > f->len || at.lo > at.hi) return "";
  return arena_strndup(s->d->a, f->text + at.lo, at.hi - at.lo);
}

static void put_extent(Buf *b, const Expr *e) {
  if (!e) buf_putc(b, '?');
  else if (e->op == OP_CONST && e->dtype == DT_I64) buf_printf(b, "%lld", (long long)e->u.v.i);
  else expr_print(e, b);
}

// An extent or a condition as the program would write it.
const char *expr_text(const Sema *s, const Expr *e) {
  Buf b = buf_make(s->d->a);
  put_extent(&b, e);
  return b.s;
}

const char *shape_text(const Sema *s, int rank, Expr *const *extent) {
  Buf b = buf_make(s->d->a);
  buf_putc(&b, '[');
  for (int k = 0; k < rank; k++) {
    if (k) buf_puts(&b, ", ");
    put_extent(&b, extent[k]);
  }
  buf_putc(&b, ']');
  return b.s;
}

// Adds a condition that is to hold at the call, once.
void add_where(Sema *s, Expr *cond, Span at, const char *text) {
  for (int i = 0; i < s->f->where.n; i++)
    if (s->f->where.v[i].e == cond) return;
  vec_push(s->a, &s->f->where, (Where){cond, at, text});
}
