// sema.c: entry points: from a function of the main file to a Fn; checking a whole file.
#include "frontend/sema_int.h"
#include <ctype.h>
#include <string.h>

Program *program_load(Arena *a, Interner *names, Diags *d, const char *path, const char *text, size_t len, ImportReader reader,
                      void *cx) {
  Program *p = arena_new(a, Program);
  *p = (Program){.a = a, .names = names, .d = d, .recursive = map_make(a)};
  units_load(&p->units, a, names, d, path, text, len, reader, cx);
  return p;
}

// A function with `..` or a type variable has no types of its own.
static bool generic_type(const Program *p, const Unit *u, const AType *t) {
  if (t->dots) return true;
  if (t->dtype.dtype != DT_NONE || !isupper((unsigned char)t->dtype.name[0])) return false;
  Item *item = unit_lookup(&p->units, u, t->dtype.name);
  return !(item && item->kind == AI_FORMAT);
}

static bool is_generic(const Program *p, const Item *item) {
  const AFn *fn = item->fn;
  for (int i = 0; i < fn->nparams; i++)
    if (generic_type(p, item->unit, &fn->param[i].type)) return true;
  for (int i = 0; i < fn->nresults; i++)
    if (generic_type(p, item->unit, &fn->result[i].type)) return true;
  return false;
}

int program_entries(const Program *p, Name *names, int max) {
  const Unit *u = p->units.main;
  int n = 0;
  for (int i = 0; i < u->items.n; i++) {
    if (u->items.v[i]->kind != AI_FN || is_generic(p, u->items.v[i])) continue;
    if (names && n < max) names[n] = u->items.v[i]->name;
    n++;
  }
  return n;
}

static Sema *sema_new(Program *p, Arena *a, Name name) {
  Sema *s = arena_new(a, Sema);
  *s = (Sema){.p = p, .a = a, .names = p->names, .d = p->d};
  s->f = fn_new(a, p->names, p->d, name);
  s->x = s->f->x;
  s->formats = map_make(a);
  s->tables = map_make(a);
  s->unknown = map_make(a);
  return s;
}

// Parameters of an entry point.

static bool param_type(Frame *fr, const AParam *p, TypeRef *t, Format **fmt) {
  *t = resolve_type(fr, &p->type.dtype);
  *fmt = t->ok ? type_format(fr, *t) : NULL;
  if (!t->ok || (t->format && !*fmt)) return false;
  if (p->mut && *fmt && !(*fmt)->v) {
    sema_error(fr, E_format_encode, p->type.at, "`%s` has no `encode`, so a `mut` tensor cannot be stored in it", (*fmt)->name);
    diag_label(fr->s->d, (*fmt)->at, "`%s` is defined here", (*fmt)->name);
    return false;
  }
  if (*fmt && !p->type.shaped)
    return sema_error(fr, E_format_place, p->type.dtype.at, "`%s` is a format; a scalar cannot have it", (*fmt)->name), false;
  return true;
}

static bool entry_param(Frame *fr, const AParam *p, Shaped *shaped, int *nshaped) {
  Sema *s = fr->s;
  TypeRef t;
  Format *fmt;
  Expr *none[LIMIT_RANK] = {0};
  if (!param_type(fr, p, &t, &fmt)) return poison(bind_param(fr, BIND_POISON, p)), false;
  int rank = p->type.rank + (p->type.dots ? fr->ndots : 0);
  if (rank > LIMIT_RANK) return sema_error(fr, E_limit_rank, p->type.at, "a tensor has at most %d dimensions", LIMIT_RANK), false;
  Tensor *x = frame_tensor(fr, p->name, p->mut ? ROLE_MUT : ROLE_PARAM, t.dtype, fmt, rank, none, p->name_at);
  vec_push(s->a, &s->f->params, x);
  Binding *b = bind_param(fr, p->mut ? BIND_MUT : p->type.shaped ? BIND_TENSOR : BIND_VALUE, p);
  b->t = x;
  b->dtype = t.dtype;
  b->rank = rank;
  if (p->mut) {
    b->cell = arena_new(s->a, MutCell);
    *b->cell = (MutCell){x, x};
  }
  if (p->type.shaped) shaped[(*nshaped)++] = (Shaped){.param = p, .t = x, .at = p->at};
  else b->val = val_of(expr_read(s->x, x, 0, NULL, NULL, p->name_at));
  return true;
}

static bool entry_extents(Frame *fr, int n, const Shaped *shaped) {
  bool ok = true;
  for (int i = 0; i < n; i++) {
    Tensor *t = shaped[i].t;
    Binding *b = frame_find(fr, shaped[i].param->name);
    for (int k = 0; k < t->rank; k++) b->extent[k] = t->extent[k];
    ok = check_extents(fr, t->dtype, t->fmt, t->rank, t->extent, shaped[i].param->type.at) && ok;
  }
  return ok;
}

// A default is known at compile time; that of a scalar is kept for callers that leave the argument off.
static bool entry_default(Frame *fr, const AParam *p) {
  Sema *s = fr->s;
  Env v = {.fr = fr, .pure = true, .pure_code = E_default_value};
  Expr *kept = NULL;
  bool ok = true;
  if (p->init) {
    Val val = expr(&v, p->init);
    TypeRef t = resolve_type(fr, &p->type.dtype);
    if (val.e && t.ok && t.dtype != DT_NONE) val = val_store(fr, val, t.dtype, p->init->at);
    ok = val.e != NULL;
    if (!p->type.shaped) kept = val.e;
  }
  vec_push(s->a, &s->f->defaults, kept);
  return ok;
}

// Leading dimensions for a check of a function with `..`: fresh ones, decided by the first parameter that has them.
static void invent_dots(Frame *fr, const Shaped *shaped, int n) {
  Sema *s = fr->s;
  const Shaped *from = NULL;
  for (int i = n - 1; i >= 0; i--)
    if (shaped[i].param->type.dots) from = &shaped[i];
  for (int k = 0; from && k < fr->ndots; k++) {
    Dim *d = dim_new(s->x, intern(s->names, arena_printf(s->a, "B_%d", k)), from->at);
    vec_push(s->a, &s->f->dims, d);
    fr->dot_extent[k] = expr_dim(s->x, d);
    vec_push(s->a, &s->f->sources,
             (DimSource){d, from->t, k, expr_int(s->x, DT_I64, 1, from->at), expr_int(s->x, DT_I64, 0, from->at)});
  }
}

static bool entry_head(Frame *fr) {
  const AFn *fn = fr->fn;
  Shaped *shaped = arena_array(fr->s->a, Shaped, fn->nparams);
  int n = 0;
  bool ok = signature(fr);
  if (!ok) return false;
  for (int i = 0; i < fn->nparams; i++) ok = entry_param(fr, &fn->param[i], shaped, &n) && ok;
  invent_dots(fr, shaped, n);
  ok = ok && solve_dims(fr, n, shaped, true) && entry_extents(fr, n, shaped);
  for (int i = 0; ok && i < fn->nparams; i++) ok = entry_default(fr, &fn->param[i]) && ok;
  if (!ok) return false;
  where_conditions(fr);
  declare_results(fr, 0, NULL);
  return true;
}

// What a generic function is checked with: f32 for its type variables but one (or none, -1), which is i32.
typedef struct Choice { int ndots; int ints; } Choice;

static void invent_types(Frame *fr, Choice c) {
  const AFn *fn = fr->fn;
  for (int i = 0; i < fn->nparams; i++) {
    const AType *t = &fn->param[i].type;
    if (t->dtype.dtype != DT_NONE || !isupper((unsigned char)t->dtype.name[0])) continue;
    Item *item = unit_lookup(&fr->s->p->units, fr->unit, t->dtype.name);
    if (item && item->kind == AI_FORMAT) continue;
    bool known = false;
    for (int k = 0; k < fr->types.n; k++) known = known || fr->types.v[k].name == t->dtype.name;
    Dtype dtype = fr->types.n == c.ints ? DT_I32 : DT_F32;
    if (!known) vec_push(fr->s->a, &fr->types, (TypeVar){t->dtype.name, dtype, t->dtype.at});
  }
}

// The equations of one function; NULL after errors.
static Fn *elaborate(Program *p, Item *item, Arena *a, Choice c) {
  Sema *s = sema_new(p, a, item->name);
  s->f->at = item->fn->at;
  Frame *fr = frame_new(s, item->fn, item->unit, NULL, NO_SPAN);
  fr->dots = has_dots(item->fn);
  fr->ndots = fr->dots ? c.ndots : 0;
  invent_types(fr, c);
  if (entry_head(fr)) function_body(fr);
  p->stopped = p->stopped || s->stop;
  for (int i = 0; i < fr->fn->nresults && !p->d->errors; i++) {
    const Binding *b = frame_find(fr, fr->fn->result[i].name);
    if (!b || b->kind == BIND_POISON)
      diag_error(p->d, E_internal, item->at, "`%s` could not be elaborated, and nothing says why", item->name);
  }
  if (s->x->overflow && !s->stop) sema_error(fr, E_limit_nodes, item->at, "more than %d expressions after inlining", LIMIT_NODES);
  return p->d->errors ? NULL : s->f;
}

static void *report_entry(Program *p, const char *entry, bool found) {
  Unit *u = p->units.main;
  Buf list = buf_make(p->a);
  int n = program_entries(p, NULL, 0);
  Name *names = arena_array(p->a, Name, n);
  program_entries(p, names, n);
  for (int i = 0; i < n && i < 20; i++) buf_printf(&list, "%s`%s`", i ? ", " : "", names[i]);
  Span at = {u->file, 0, 0};
  if (found) diag_error(p->d, E_generic_entry, at, "`%s` has `..` or type variables, so it is no entry point", entry);
  else if (entry) diag_error(p->d, E_unknown_entry, at, "there is no function `%s` in this file", entry);
  else if (n == 0) diag_error(p->d, E_no_entry, at, "this file has no entry point");
  else diag_error(p->d, E_unknown_entry, at, "this file has %d entry points; choose one", n);
  if (n) diag_note(p->d, "its entry points: %s", list.s);
  return NULL;
}

Fn *program_elaborate(Program *p, const char *entry, Arena *a) {
  Unit *u = p->units.main;
  Item *item = NULL;
  if (p->d->errors) return NULL;
  if (!entry && program_entries(p, NULL, 0) == 1) {
    Name only;
    program_entries(p, &only, 1);
    entry = only;
  }
  if (entry) item = map_getp(&u->own, intern(p->names, entry));
  if (!item || item->kind != AI_FN) return report_entry(p, entry, false);
  if (is_generic(p, item)) return report_entry(p, entry, true);
  return elaborate(p, item, a, (Choice){0, -1});
}

// Does the function make sense with one choice of types? Nothing is reported.
static bool makes_sense(Program *p, Item *item, Choice c) {
  Arena *a = arena_create();
  Program silent = *p;
  silent.silent = true;
  silent.d = diags_create(a);
  silent.recursive = map_make(a);
  for (int i = silent.d->files.n; i < p->d->files.n; i++) vec_push(a, &silent.d->files, p->d->files.v[i]);
  bool good = elaborate(&silent, item, a, c) != NULL;
  arena_destroy(a);
  return good;
}

// A generic function is right when it is for some types: f32, or an integer for one of its variables (a subscript, say).
static void check_function(Program *p, Item *item, int ndots) {
  for (int ints = -1; is_generic(p, item) && ints < item->fn->nparams; ints++)
    if (makes_sense(p, item, (Choice){ndots, ints})) return;
  Arena *a = arena_create();
  elaborate(p, item, a, (Choice){ndots, -1});
  arena_destroy(a);
}

static void check_item(Program *p, Item *item) {
  Arena *a = arena_create();
  if (item->kind == AI_CONST) {
    const_value(p, item);
  } else if (item->kind == AI_FORMAT) {
    Sema *s = sema_new(p, a, item->name);
    format_of(frame_new(s, NULL, item->unit, NULL, NO_SPAN), item);
  } else {
    check_function(p, item, 0);
    if (has_dots(item->fn)) check_function(p, item, 2);
  }
  arena_destroy(a);
}

bool program_check(Program *p) {
  Unit *u = p->units.main;
  if (p->d->errors) return false;
  for (int i = 0; i < u->items.n && !p->stopped; i++) check_item(p, u->items.v[i]);
  return p->d->errors == 0;
}
