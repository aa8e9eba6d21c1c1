// sema_index.c: indices: binding them, finding their extents, reductions.
//
// While an equation is elaborated, each place where an index stands as a subscript is recorded (Uses). An index
// without a bound then takes its extent from the records: those unguarded, else those guarded (language.md,
// "Extents"). A read in the argument of a scalar function is recorded with the argument, and counts at each place
// where the function uses it, with the guards there: see Note [Uses of arguments].
#include "frontend/sema_int.h"

// Recording.

Uses *uses_new(Sema *s) { return arena_new(s->a, Uses); }

void use_index(Env *v, Index *ix, Expr *extent, const Tensor *t, int axis, Name tensor, Span at) {
  if (!v->uses) return;
  vec_push(v->fr->s->a, &v->uses->v,
           (Use){.ix = ix, .lone = true, .extent = extent, .t = t, .axis = axis, .tensor = tensor, .at = at, .guard = v->guard});
}

void use_longer(Env *v, Index *ix, Span at) {
  if (v->uses) vec_push(v->fr->s->a, &v->uses->v, (Use){.ix = ix, .at = at, .guard = v->guard});
}

void use_inner(Env *v, Uses *inner) {
  if (v->uses && inner->v.n) vec_push(v->fr->s->a, &v->uses->v, (Use){.inner = inner, .guard = v->guard});
}

// Finding an extent.

// The guards of the places where arguments were used, outward.
typedef struct Outer { const Guard *guard; const struct Outer *up; } Outer;

typedef struct Finder {
  Sema *s;
  const Index *ix;
  int stamp;
  bool longer;                        // stands inside a longer subscript
  bool computes;                      // some guard of a lone use computes with it
  VEC(const Use *) open, guarded;     // lone uses with a known extent
  bool unknown;                       // a lone use of a dimension that is not known yet
} Finder;

typedef struct Computes { const Index *ix; bool found; } Computes;

static void find_computing(void *cx, Expr *e) {
  Computes *c = cx;
  if (e->op == OP_READ) return;
  for (uint32_t k = 0; k < e->nargs; k++)
    if (e->arg[k]->op == OP_INDEX && e->arg[k]->u.ix == c->ix) c->found = true;
}

// Does the condition use the index other than alone as a subscript?
static bool computes_with(Expr *cond, const Index *ix) {
  Computes c = {ix, false};
  if (!expr_uses_index(cond, ix)) return false;
  Arena *scratch = arena_create();
  expr_visit(scratch, cond, find_computing, &c);
  arena_destroy(scratch);
  return c.found;
}

static bool guards_compute(const Guard *g, const Outer *out, const Index *ix) {
  for (; g; g = g->up)
    if (g->cond && computes_with(g->cond, ix)) return true;
  return out ? guards_compute(out->guard, out->up, ix) : false;
}

static bool is_guarded(const Guard *g, const Outer *out) {
  for (; !g && out; out = out->up) g = out->guard;
  return g != NULL;
}

static void find_lone(Finder *f, const Use *u, const Outer *out) {
  if (!u->extent && (!u->t || !u->t->extent[u->axis])) {
    f->unknown = true;
    return;
  }
  if (!is_guarded(u->guard, out)) {
    vec_push(f->s->a, &f->open, u);
    return;
  }
  vec_push(f->s->a, &f->guarded, u);
  if (!f->computes) f->computes = guards_compute(u->guard, out, f->ix);
}

// An argument may be used in many places; it is looked at once for unguarded and once for guarded ones.
static bool seen(Uses *u, int stamp, bool guarded) {
  int bit = guarded ? 2 : 1;
  if (u->mark / 4 != stamp) u->mark = stamp * 4;
  if (u->mark & (bit | 1)) return true;
  u->mark |= bit;
  return false;
}

static void find_uses(Finder *f, const Uses *uses, int from, const Outer *out) {
  for (int i = from; i < uses->v.n; i++) {
    const Use *u = &uses->v.v[i];
    if (u->inner) {
      Outer here = {u->guard, out};
      if (!seen(u->inner, f->stamp, is_guarded(u->guard, out))) find_uses(f, u->inner, 0, &here);
    } else if (u->ix == f->ix) {
      if (u->lone) find_lone(f, u, out);
      else f->longer = true;
    }
  }
}

static Expr *use_extent(const Use *u) { return u->extent ? u->extent : u->t->extent[u->axis]; }

static bool agree_with(Env *v, const Bound *b, const Use *first, const Use *other) {
  Sema *s = v->fr->s;
  Expr *p = use_extent(first), *q = use_extent(other);
  Agree agree = extents_agree(s, p, q);
  if (agree == AGREE_YES) return true;
  if (agree == AGREE_UNKNOWN) {
    add_where(s, expr_op2(s->x, OP_EQ, p, q, other->at), other->at,
              arena_printf(s->a, "index `%s` runs over %s of `%s` and over %s of `%s`", b->name, expr_text(s, p), first->tensor,
                           expr_text(s, q),
                           other->tensor));
    return true;
  }
  sema_error(v->fr, E_extent_conflict, other->at, "index `%s` has the extents %s and %s", b->name, expr_text(s, p),
             expr_text(s, q));
  diag_label(s->d, first->at, "%s, from `%s`", expr_text(s, p), first->tensor);
  diag_label(s->d, other->at, "%s, from `%s`", expr_text(s, q), other->tensor);
  diag_help(s->d, "write the bound that is meant: `%s < %s`", b->name, expr_text(s, p));
  return false;
}

static bool no_extent(Env *v, const Bound *b, const Finder *f) {
  Sema *s = v->fr->s;
  sema_error(v->fr, E_extent_missing, b->at, "index `%s` has no extent", b->name);
  if (f->longer) diag_note(s->d, "it stands only inside longer subscripts, which do not say how far it runs");
  else if (f->unknown) diag_note(s->d, "it subscripts only tensors of this recurrence, whose extents are not known yet");
  else diag_note(s->d, "it is no subscript of a tensor");
  diag_help(s->d, "write a bound: `%s < n`", b->name);
  return false;
}

static bool needs_bound(Env *v, const Bound *b, const Use *u) {
  Sema *s = v->fr->s;
  sema_error(v->fr, E_extent_guarded, b->at, "index `%s` needs a bound", b->name);
  diag_label(s->d, u->at, "read only under a condition on `%s`", b->name);
  diag_note(s->d, "the condition computes with `%s`, and `%s` stands inside a longer subscript too", b->name, b->name);
  diag_help(s->d, "write how far it runs: `%s < n`", b->name);
  return false;
}

// Does the index stand alone as a subscript somewhere in these uses?
bool index_has_use(Sema *s, const Index *ix, Uses *uses) {
  Finder f = {.s = s, .ix = ix, .stamp = ++s->stamp};
  find_uses(&f, uses, 0, NULL);
  return f.open.n + f.guarded.n > 0;
}

// Finds the extent of an index without a bound from the uses recorded in `uses`.
bool infer_extent(Env *v, Bound *b, Uses *uses) {
  Sema *s = v->fr->s;
  Finder f = {.s = s, .ix = b->ix, .stamp = ++s->stamp};
  find_uses(&f, uses, 0, NULL);
  bool open = f.open.n > 0;
  int n = open ? f.open.n : f.guarded.n;
  const Use **found = open ? f.open.v : f.guarded.v;
  if (n == 0) return no_extent(v, b, &f);
  if (!open && f.computes && f.longer) return needs_bound(v, b, found[0]);
  b->extent = use_extent(found[0]);
  bool ok = true;
  for (int i = 1; i < n; i++) ok = agree_with(v, b, found[0], found[i]) && ok;
  return ok;
}

// Binding.

static const char *another_name(const Env *v) {
  static const char *const names[] = {"i", "j", "k", "l", "m", "n", "p", "q", "r", "s", "t", "u"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    Name name = intern(v->fr->s->names, names[i]);
    if (!env_index(v, name) && !frame_find(v->fr, name)) return name;
  }
  return "ix";
}

bool index_taken(const Env *v, Name name, Span at) {
  Sema *s = v->fr->s;
  const Bound *outer = env_index(v, name);
  if (outer) {
    sema_error(v->fr, E_index_bound_twice, at, "index `%s` is bound twice", name);
    diag_label(s->d, outer->at, "first here");
    diag_help(s->d, "use another name, such as `%s`", another_name(v));
    return true;
  }
  const Binding *b = frame_find(v->fr, name);
  if (!b) return false;
  bool scalar = b->kind == BIND_VALUE || b->rank == 0;
  const char *what = b->kind == BIND_DIM ? "dimension" : scalar ? "scalar" : "tensor";
  sema_error(v->fr, E_index_name_taken, at, "index `%s` has the name of a %s", name, what);
  diag_label(s->d, b->at, "%s `%s`", what, name);
  diag_help(s->d, "use another name, such as `%s`", another_name(v));
  return true;
}

bool bind_index(Env *v, Name name, Span at, Bound **out) {
  Sema *s = v->fr->s;
  if (index_taken(v, name, at)) return false;
  Bound *b = arena_new(s->a, Bound);
  *b = (Bound){.ix = index_new(s->x, name, at), .name = name, .at = at, .from_zero = true, .up = v->bound};
  v->bound = b;
  *out = b;
  return true;
}

// The indices that `..` stands for, with the extents of the function's leading dimensions; they have no name in the text.
Dots *index_dots(Env *v, Span at, Bound **out, int *n) {
  Sema *s = v->fr->s;
  Dots *dots = arena_new(s->a, Dots);
  if (!v->fr->dots) {
    return sema_error(v->fr, E_dots_unmatched, at, "`..` stands for the leading dimensions of a function whose shapes have `..`");
  }
  *dots = (Dots){.n = v->fr->ndots, .up = v->dots};
  for (int k = 0; k < dots->n; k++) {
    Name name = intern(s->names, arena_printf(s->a, "b%d", k));
    Bound *b = arena_new(s->a, Bound);
    *b = (Bound){.ix = index_new(s->x, name, at), .name = NULL, .at = at, .extent = v->fr->dot_extent[k], .given = true,
                 .from_zero = true, .up = v->bound};
    v->bound = b;
    dots->ix[k] = b->ix;
    out[(*n)++] = b;
  }
  v->dots = dots;
  return dots;
}

static bool too_many(Env *v, Span at) {
  sema_error(v->fr, E_limit_rank, at, "more than %d indices", LIMIT_RANK);
  return false;
}

// The name of an index in brackets that bind, and its bound (NULL: plain); NULL when it is no such thing.
static Name binder_name(const ASub *sub, const AExpr **bound, bool *inclusive) {
  const AExpr *e = sub->e;
  *bound = NULL;
  if (sub->kind != SUB_EXPR) return NULL;
  if (e->kind == A_NAME) return e->name;
  if (e->kind != A_BINARY || (e->op != AO_LT && e->op != AO_LE) || e->arg[0]->kind != A_NAME) return NULL;
  *bound = e->arg[1];
  *inclusive = e->op == AO_LE;
  return e->arg[0]->name;
}

static Span binder_at(const ASub *sub) { return sub->e->kind == A_NAME ? sub->e->at : sub->e->arg[0]->at; }

Expr *upper_end(Sema *s, Expr *bound, bool inclusive, Span at) {
  if (!bound || !inclusive) return bound;
  int64_t c;
  if (bound->op == OP_CONST && !__builtin_add_overflow(bound->u.v.i, 1, &c)) return expr_int(s->x, DT_I64, c, at);
  return expr_op2(s->x, OP_ADD, bound, expr_int(s->x, DT_I64, 1, at), at);
}

// Left sides of equations.

static bool left_form(Env *v, const AStmt *st, const ASub *sub) {
  sema_error(v->fr, E_index_form, sub->at, "the left side of an equation takes index names");
  diag_note(v->fr->s->d, "an index is plain, `i`, or has a bound, `i < n`, `i <= k`");
  if (sub->kind == SUB_EXPR && frame_find(v->fr, st->name) && frame_find(v->fr, st->name)->kind == BIND_MUT)
    diag_help(v->fr->s->d, "to store at computed places of a `mut` tensor, use `<-`");
  else diag_help(v->fr->s->d, "define every element, choosing with `if`, or shift the index on the right side");
  return false;
}

static bool bound_in_limits(Env *v, Expr *extent, Span at) {
  int64_t c;
  if (!extent_const(extent, &c)) return true;
  if (c < 0) return sema_error(v->fr, E_negative_extent, at, "the extent is %lld", (long long)c), false;
  if (c > LIMIT_EXTENT) return sema_error(v->fr, E_limit_extent, at, "the extent %lld is larger than 2^40", (long long)c), false;
  return true;
}

static bool left_one(Env *v, const AStmt *st, const ASub *sub, Left *out) {
  const AExpr *bound;
  bool inclusive = false;
  Name name = binder_name(sub, &bound, &inclusive);
  Bound *b;
  if (!name) return left_form(v, st, sub);
  if (out->n == LIMIT_RANK) return too_many(v, sub->at);
  Expr *extent = bound ? extent_expr(v->fr, bound, E_extent_from_data) : NULL;
  if (!bind_index(v, name, binder_at(sub), &b)) return false;
  out->bound[out->n++] = b;
  if (!bound) return true;
  b->extent = upper_end(v->fr->s, extent, inclusive, bound->at);
  b->given = true;
  return b->extent && bound_in_limits(v, b->extent, bound->at);
}

// The indices in the brackets on the left; they are in scope in v afterwards.
bool left_indices(Env *v, const AStmt *st, Left *out) {
  bool ok = true;
  *out = (Left){0};
  for (int k = 0; k < st->nsubs; k++) {
    if (st->sub[k].kind == SUB_DOTS && k == 0) ok = index_dots(v, st->sub[k].at, out->bound, &out->n) && ok;
    else if (st->sub[k].kind == SUB_DOTS)
      ok = (sema_error(v->fr, E_misplaced_dots, st->sub[k].at, "`..` comes first among subscripts"), false);
    else ok = left_one(v, st, &st->sub[k], out) && ok;
  }
  return ok;
}

static bool shape_agrees(Env *v, const Binding *shape, int k, const Bound *b) {
  Sema *s = v->fr->s;
  Agree agree = extents_agree(s, b->extent, shape->extent[k]);
  if (agree == AGREE_YES) return true;
  if (agree == AGREE_UNKNOWN) {
    add_where(s, expr_op2(s->x, OP_EQ, b->extent, shape->extent[k], b->at), b->at,
              arena_printf(s->a, "index `%s` runs to %s, but `%s` is declared with %s there", b->name, expr_text(s, b->extent),
                           shape->name,
                           expr_text(s, shape->extent[k])));
    return true;
  }
  sema_error(v->fr, E_extent_conflict, b->at, "index `%s` runs to %s, but `%s` has %s there", b->name, expr_text(s, b->extent),
             shape->name,
             expr_text(s, shape->extent[k]));
  diag_label(s->d, shape->at, "declared %s", shape_text(s, shape->rank, shape->extent));
  return false;
}

// Extents from a declared shape (shape NULL: none).
bool left_extents(Env *v, const AStmt *st, Left *left, const Binding *shape) {
  Sema *s = v->fr->s;
  bool ok = true;
  if (!shape) return true;
  if (shape->rank != left->n) {
    sema_error(v->fr, E_rank_mismatch, st->at.lo ? st->name_at : st->at, "`%s` has %d dimension%s but %d ind%s here", st->name,
               shape->rank,
               shape->rank == 1 ? "" : "s", left->n, left->n == 1 ? "ex" : "ices");
    diag_label(s->d, shape->at, "declared %s", shape_text(s, shape->rank, shape->extent));
    return false;
  }
  for (int k = 0; k < left->n; k++) {
    Bound *b = left->bound[k];
    if (b->extent) ok = shape_agrees(v, shape, k, b) && ok;
    else b->extent = shape->extent[k];
    b->given = true;
  }
  return ok;
}

// Reductions.

typedef struct RangeList {
  int n;
  Bound *bound[LIMIT_RANK];
  Expr *lo[LIMIT_RANK];
  int nshapes; Val shaped[2 * LIMIT_RANK];      // ends that have a shape (scalar functions on whole tensors)
} RangeList;

static Expr *range_end(Env *v, const AExpr *e, const char *what, RangeList *r) {
  const Shape *shape = NULL;
  Expr *end = expr_scalar_int(v, e, what, &shape);
  if (end && shape) r->shaped[r->nshapes++] = val_shaped(end, shape);
  return end;
}

static bool range_one(Env *v, const ASub *sub, RangeList *r) {
  Sema *s = v->fr->s;
  const AExpr *bound;
  bool inclusive = false, ranged = sub->kind == SUB_RANGE;
  Name name = ranged ? sub->name : binder_name(sub, &bound, &inclusive);
  Bound *b;
  if (!name) {
    sema_error(v->fr, E_index_form, sub->at, "a reduction binds index names");
    diag_note(s->d, "an index is plain, `j`, has a bound, `j < n`, `j <= k`, or a range, `j in a .. b`");
    return false;
  }
  if (r->n == LIMIT_RANK) return too_many(v, sub->at);
  Expr *lo = ranged ? range_end(v, sub->lo, "the range's begin", r) : expr_int(s->x, DT_I64, 0, sub->at);
  const AExpr *end = ranged ? sub->hi : bound;
  Expr *hi = end ? range_end(v, end, ranged ? "the range's end" : "the bound", r) : NULL;
  if (!bind_index(v, name, ranged ? sub->name_at : binder_at(sub), &b)) return false;
  r->lo[r->n] = lo;
  r->bound[r->n++] = b;
  b->given = end != NULL;
  b->extent = end ? upper_end(s, hi, inclusive, end->at) : NULL;
  b->from_zero = !ranged;
  if (!lo || (end && !hi)) return false;
  int64_t steps;
  if (end && extent_difference(b->extent, lo, &steps) && steps > LIMIT_EXTENT)
    return sema_error(v->fr, E_limit_extent, end->at, "the range has %lld steps; 2^40 is the limit", (long long)steps), false;
  return true;
}

static bool ranges(Env *v, const AExpr *e, RangeList *r) {
  bool ok = true;
  *r = (RangeList){0};
  for (int k = 0; k < e->nsubs; k++) {
    if (e->sub[k].kind != SUB_DOTS) {
      ok = range_one(v, &e->sub[k], r) && ok;
      continue;
    }
    int first = r->n;
    if (k) ok = (sema_error(v->fr, E_misplaced_dots, e->sub[k].at, "`..` comes first among indices"), false);
    else ok = index_dots(v, e->sub[k].at, r->bound, &r->n) && ok;
    for (int i = first; i < r->n; i++) r->lo[i] = expr_int(v->fr->s->x, DT_I64, 0, e->at);
  }
  return ok;
}

// The term in the type in which the reduction accumulates.
static Expr *reduced_term(Env *v, Reducer r, const Val *term, Span at) {
  Sema *s = v->fr->s;
  Dtype t = (Dtype)term->e->dtype;
  switch (r) {
  case RED_ANY: case RED_ALL:
    if (t == DT_BOOL) return term->e;
    sema_error(v->fr, E_condition_type, at, "`%s` takes truth values; this is %s", reducers[r].name, dtypes[t].name);
    diag_help(s->d, "compare it with zero: `%s != 0`", source_text(s, at));
    return NULL;
  case RED_SUM: case RED_PROD: return t == DT_BOOL ? val_as(s, term, DT_I32, at) : term->e;
  case RED_MEAN: return dtype_is_float(t) ? term->e : val_as(s, term, s->wide_literals ? DT_F64 : DT_F32, at);
  default: return term->e;
  }
}

// Over no index at all (`sum[..]` where `..` is empty): the term itself, or the value over nothing.
static Expr *reduce_nothing(Sema *s, Reducer r, Expr *cond, Expr *term, Span at) {
  if (!cond) return term;
  Scalar empty = r == RED_MEAN ? (Scalar){.f = __builtin_nan("")} : reducers[r].identity((Dtype)term->dtype);
  return expr_select(s->x, cond, term, expr_scalar(s->x, (Dtype)term->dtype, empty, at), at);
}

static bool argmax_form(Env *v, const AExpr *e, const RangeList *r) {
  if (!reducers[e->reducer].arg) return true;
  bool dots = e->nsubs == 1 && e->sub[0].kind == SUB_DOTS;
  if (r->n != 1 || dots)
    return sema_error(v->fr, E_argmax_indices, e->name_at, "`%s` binds one index, not %d", reducers[e->reducer].name,
                      dots ? 0 : r->n), false;
  int64_t steps;
  Expr *hi = r->bound[0]->extent;
  if (hi && extent_difference(hi, r->lo[0], &steps) && steps <= 0)
    return sema_error(v->fr, E_argmax_empty, r->bound[0]->at, "`%s` over an empty range has no value",
                      reducers[e->reducer].name), false;
  return true;
}

static bool infer_ranges(Env *v, RangeList *r, Uses *uses) {
  bool ok = true;
  for (int k = 0; k < r->n; k++)
    if (!r->bound[k]->extent) ok = infer_extent(v, r->bound[k], uses) && ok;
  return ok;
}

static Expr *reduce_expr(Env *v, const AExpr *e, const RangeList *r, Expr *cond, Expr *term) {
  Sema *s = v->fr->s;
  Index *ix[LIMIT_RANK];
  Expr *hi[LIMIT_RANK];
  if (r->n == 0) return reduce_nothing(s, e->reducer, cond, term, e->at);
  for (int k = 0; k < r->n; k++) ix[k] = r->bound[k]->ix, hi[k] = r->bound[k]->extent;
  return expr_reduce(s->x, e->reducer, r->n, ix, r->lo, hi, cond, term, e->at);
}

static bool reduction_shape(Env *v, const AExpr *e, const RangeList *r, Val *part, Span *at, const Shape **shape) {
  if (!broadcast(v, 2, part, at, e->at, shape)) return false;
  for (int k = 0; k < r->nshapes; k++) {
    Val two[2] = {val_shaped(part[0].e, *shape), r->shaped[k]};
    if (!broadcast(v, 2, two, at, e->at, shape)) return false;
  }
  return true;
}

// A filter's records go with the reduction's, so that a list of its own keeps the search for extents short.
Val reduction(Env *v, const AExpr *e) {
  Env in = *v;
  RangeList r;
  Val part[2] = {NO_VAL, NO_VAL};
  Span at[2] = {e->arg[0]->at, e->arg[0]->at};
  in.w = NULL;
  in.in_sub = in.certain = false;
  in.uses = uses_new(v->fr->s);
  if (!ranges(&in, e, &r)) return NO_VAL;
  const AExpr *filter = e->nargs > 1 ? e->arg[1] : NULL;
  if (filter) part[1].e = expr_condition(&in, filter, &part[1].shape);
  Env term = in;
  if (part[1].e) {
    Guard *g = arena_new(v->fr->s->a, Guard);
    *g = (Guard){part[1].e, in.guard};
    term.guard = g;
  }
  part[0] = expr(&term, e->arg[0]);
  use_inner(v, in.uses);
  const Shape *shape;
  if (!part[0].e || (filter && !part[1].e) || !infer_ranges(&in, &r, in.uses) || !argmax_form(v, e, &r)) return NO_VAL;
  if (!reduction_shape(v, e, &r, part, at, &shape)) return NO_VAL;
  Expr *x = reduced_term(v, e->reducer, &part[0], e->arg[0]->at);
  return x ? val_shaped(reduce_expr(v, e, &r, part[1].e, x), shape) : NO_VAL;
}

// Note [Uses of arguments]
// "A guard inside a function also guards the reads in its arguments": in `pick(x[i], m[i])` with
// `fn pick(v: f32, m: bool) -> y: f32 { y = if m then v else 0 }` the read x[i] happens only where m[i] holds, so
// x[i] is a guarded subscript. The argument is elaborated once, before the function's body is seen; its uses go to a
// list of their own, and each mention of the parameter adds that list to the current one together with the guard
// there. find_uses walks the lists with the guards met on the way. Reductions use the same: in.guard of the term
// continues the guards around the reduction, so their own list needs none added; use_inner adds v->guard once more,
// which changes nothing.
