// sema_dims.c: what gives a dimension its value.
//
// A dimension stands alone as an extent of some parameter, or is the only unknown of an extent linear in it. For an
// entry point the place is recorded (Fn.sources); for a call the dimension becomes an expression over the caller's:
//
//   fn spmv(row: i32[M + 1], …)      called with row of extent K      M = K - 1
//
// Extents that give no dimension are compared: at compile time, or at the call.
#include "frontend/sema_int.h"

typedef struct DimName { Name name; Span at; bool known; } DimName;

typedef struct Solver {
  Frame *fr;
  bool entry;
  int nparams;
  const Shaped *p;
  VEC(DimName) dims;
} Solver;

// In a type a name is a scalar parameter, else a constant, else a dimension.
static bool names_dimension(Frame *fr, Name name) {
  const Binding *b = frame_find(fr, name);
  if (b && b->kind != BIND_DIM) return b->rank > 0 && b->kind != BIND_VALUE && b->kind != BIND_POISON;
  Item *item = unit_lookup(&fr->s->p->units, fr->unit, name);
  return !(item && item->kind == AI_CONST);
}

static DimName *find_dim(Solver *sv, Name name) {
  for (int i = 0; i < sv->dims.n; i++)
    if (sv->dims.v[i].name == name) return &sv->dims.v[i];
  return NULL;
}

static void collect(Solver *sv, const AExpr *e) {
  if (e->kind == A_NAME && names_dimension(sv->fr, e->name) && !find_dim(sv, e->name))
    vec_push(sv->fr->s->a, &sv->dims, (DimName){e->name, e->at, false});
  for (int i = 0; i < e->nargs; i++) collect(sv, e->arg[i]);
}

// The unknown dimensions of an extent: how many mentions of different ones, and one of them.
static int unknowns(Solver *sv, const AExpr *e, DimName **one) {
  int n = 0;
  if (e->kind == A_NAME) {
    DimName *d = find_dim(sv, e->name);
    if (!d || d->known || *one == d) return 0;
    n = 1;
    *one = d;
  }
  for (int i = 0; i < e->nargs; i++) n += unknowns(sv, e->arg[i], one);
  return n;
}

// extent = scale * dim + offset, both free of dim.
typedef struct Linear { Expr *scale, *offset; bool ok; } Linear;

static Expr *combine(Sema *s, Op op, Expr *a, Expr *b) { return extent_normal(s, expr_op2(s->x, op, a, b, a->at)); }

static Linear linear(Solver *sv, const AExpr *e, Name dim) {
  Sema *s = sv->fr->s;
  Expr *zero = expr_int(s->x, DT_I64, 0, e->at), *one = expr_int(s->x, DT_I64, 1, e->at);
  Linear no = {0};
  if (!mentions(e, dim)) {
    Expr *x = extent_expr(sv->fr, e, E_extent_from_data);
    return (Linear){zero, x, x != NULL};
  }
  if (e->kind == A_NAME) return (Linear){one, zero, true};
  if (e->kind != A_BINARY && e->kind != A_UNARY) return no;
  Linear a = linear(sv, e->arg[0], dim), b = e->nargs > 1 ? linear(sv, e->arg[1], dim) : (Linear){zero, zero, true};
  if (!a.ok || !b.ok) return no;
  switch (e->op) {
  case AO_NEG: return (Linear){combine(s, OP_SUB, zero, a.scale), combine(s, OP_SUB, zero, a.offset), true};
  case AO_ADD: return (Linear){combine(s, OP_ADD, a.scale, b.scale), combine(s, OP_ADD, a.offset, b.offset), true};
  case AO_SUB: return (Linear){combine(s, OP_SUB, a.scale, b.scale), combine(s, OP_SUB, a.offset, b.offset), true};
  case AO_MUL:
    if (mentions(e->arg[0], dim) && mentions(e->arg[1], dim)) return no;
    if (mentions(e->arg[0], dim))
      return (Linear){combine(s, OP_MUL, a.scale, b.offset), combine(s, OP_MUL, a.offset, b.offset), true};
    return (Linear){combine(s, OP_MUL, b.scale, a.offset), combine(s, OP_MUL, b.offset, a.offset), true};
  default: return no;
  }
}

static Dim *entry_dim(Frame *fr, Name name) {
  VEC(Dim *) *dims = (void *)&fr->s->f->dims;
  for (int i = 0; i < dims->n; i++)
    if (dims->v[i]->name == name) return dims->v[i];
  return NULL;
}

static void bind_dim(Frame *fr, Name name, Span at, Expr *value) {
  Binding *b = frame_bind(fr, BIND_DIM, name, at);
  b->val = val_of(value);
}

static void solved(Solver *sv, DimName *d, const Shaped *p, int axis, Linear l) {
  Sema *s = sv->fr->s;
  d->known = true;
  int k = axis + (p->param->type.dots ? sv->fr->ndots : 0);
  if (sv->entry) {
    vec_push(s->a, &s->f->sources, (DimSource){entry_dim(sv->fr, d->name), p->t, k, l.scale, l.offset});
    return;
  }
  bool exact;
  bind_dim(sv->fr, d->name, d->at, extent_solve(s, p->actual->extent[k], l.scale, l.offset, &exact));
}

static void solve_lone(Solver *sv) {
  Sema *s = sv->fr->s;
  for (int i = 0; i < sv->nparams; i++)
    for (int k = 0; k < sv->p[i].param->type.rank; k++) {
      const AExpr *e = sv->p[i].param->type.dim[k];
      DimName *d = e->kind == A_NAME ? find_dim(sv, e->name) : NULL;
      Linear itself = {expr_int(s->x, DT_I64, 1, e->at), expr_int(s->x, DT_I64, 0, e->at), true};
      if (d && !d->known) solved(sv, d, &sv->p[i], k, itself);
    }
}

static bool solve_linear(Solver *sv) {
  bool progress = false;
  for (int i = 0; i < sv->nparams; i++)
    for (int k = 0; k < sv->p[i].param->type.rank; k++) {
      const AExpr *e = sv->p[i].param->type.dim[k];
      DimName *d = NULL;
      if (unknowns(sv, e, &d) != 1) continue;
      Linear l = linear(sv, e, d->name);
      if (!l.ok) continue;
      solved(sv, d, &sv->p[i], k, l);
      progress = true;
    }
  return progress;
}

static bool all_known(Solver *sv) {
  Frame *fr = sv->fr;
  bool ok = true;
  for (int i = 0; i < sv->dims.n; i++) {
    DimName *d = &sv->dims.v[i];
    if (d->known) continue;
    ok = false;
    if (sv->entry || !fr->caller) {
      sema_error(fr, E_dimension_unbound, d->at, "no parameter decides dimension `%s`", d->name);
      diag_note(fr->s->d, "it must stand alone as an extent of some parameter, or be the only unknown of an extent linear in it");
    } else {
      sema_error(fr->caller, E_dimension_unbound, fr->call_at, "no argument of this call decides dimension `%s` of `%s`",
                 d->name, fr->fn->name);
      diag_label(fr->s->d, d->at, "dimension `%s`", d->name);
      diag_help(fr->s->d, "a scalar fills a tensor parameter only when other arguments give its shape");
    }
    bind_dim(fr, d->name, d->at, NULL);
  }
  return ok;
}

static bool argument_agrees(Frame *fr, const Shaped *p, int k, Expr *want) {
  Sema *s = fr->s;
  Expr *got = p->actual->extent[k];
  Agree agree = extents_agree(s, got, want);
  if (agree == AGREE_YES) return true;
  if (agree == AGREE_UNKNOWN) {
    add_where(s, expr_op2(s->x, OP_EQ, got, want, p->at), p->at,
              arena_printf(s->a, "`%s` of `%s` has extent %s in dimension %d, the argument %s", p->param->name, fr->fn->name,
                           expr_text(s, want), k + 1,
                           expr_text(s, got)));
    return true;
  }
  sema_error(fr->caller, E_argument_shape, p->at, "the argument has shape %s; dimension %d must be %s",
             shape_text(s, p->actual->rank, p->actual->extent),
             k + 1, expr_text(s, want));
  diag_label(s->d, p->param->at, "parameter `%s` of `%s`", p->param->name, fr->fn->name);
  return false;
}

static bool compare_extents(Solver *sv) {
  bool ok = true;
  for (int i = 0; i < sv->nparams; i++) {
    Expr *extent[LIMIT_RANK];
    int rank;
    if (!type_extents(sv->fr, &sv->p[i].param->type, &rank, extent)) return false;
    for (int k = 0; k < rank; k++) {
      if (sv->entry) sv->p[i].t->extent[k] = extent[k];
      else ok = argument_agrees(sv->fr, &sv->p[i], k, extent[k]) && ok;
    }
  }
  return ok;
}

// Gives the dimensions in the shapes of all parameters their values, from those listed (n, p), and checks the rest.
bool solve_dims(Frame *fr, int n, const Shaped *p, bool entry) {
  Solver sv = {.fr = fr, .entry = entry, .nparams = n, .p = p};
  Sema *s = fr->s;
  for (int i = 0; i < fr->fn->nparams; i++)
    for (int k = 0; k < fr->fn->param[i].type.rank; k++) collect(&sv, fr->fn->param[i].type.dim[k]);
  for (int i = 0; entry && i < sv.dims.n; i++) {
    Dim *d = dim_new(s->x, sv.dims.v[i].name, sv.dims.v[i].at);
    vec_push(s->a, &s->f->dims, d);
    bind_dim(fr, d->name, d->at, expr_dim(s->x, d));
  }
  solve_lone(&sv);
  while (solve_linear(&sv)) continue;
  return all_known(&sv) && compare_extents(&sv);
}

// The leading dimensions that `..` stands for: those of the first argument that has them; others must agree.
bool bind_dots(Frame *fr, int n, const Shaped *p) {
  Sema *s = fr->s;
  bool known = false;
  for (int i = 0; i < n; i++) {
    const AType *type = &p[i].param->type;
    if (!type->dots) continue;
    int lead = p[i].actual->rank - type->rank;
    if (known && lead != fr->ndots) {
      sema_error(fr->caller, E_argument_shape, p[i].at, "the argument has %d leading dimension%s, another one %d", lead,
                 lead == 1 ? "" : "s", fr->ndots);
      diag_note(s->d, "`..` stands for the same leading dimensions in all shapes of `%s`", fr->fn->name);
      return false;
    }
    for (int k = 0; !known && k < lead; k++) fr->dot_extent[k] = p[i].actual->extent[k];
    fr->ndots = lead;
    known = true;
  }
  return true;
}

static bool known_names(Frame *fr, const AExpr *e) {
  bool ok = true;
  if (e->kind == A_NAME && names_dimension(fr, e->name)) {
    Binding *b = frame_find(fr, e->name);
    if (b && b->kind == BIND_DIM) return b->val.e != NULL;
    sema_error(fr, E_dimension_unbound, e->at, "no parameter decides dimension `%s`", e->name);
    const char *near = near_name(fr, NULL, e->name);
    if (near) diag_help(fr->s->d, "did you mean `%s`?", near);
    return false;
  }
  for (int i = 0; i < e->nargs; i++) ok = known_names(fr, e->arg[i]) && ok;
  return ok;
}

// The extents of a declared shape, `..` expanded.
bool type_extents(Frame *fr, const AType *type, int *rank, Expr **extent) {
  bool ok = true;
  *rank = 0;
  for (int k = 0; type->dots && k < fr->ndots && *rank < LIMIT_RANK; k++) extent[(*rank)++] = fr->dot_extent[k];
  if (*rank + type->rank > LIMIT_RANK)
    return sema_error(fr, E_limit_rank, type->at, "a tensor has at most %d dimensions", LIMIT_RANK), false;
  for (int k = 0; k < type->rank; k++) {
    Expr *e = known_names(fr, type->dim[k]) ? extent_expr(fr, type->dim[k], E_extent_from_data) : NULL;
    extent[(*rank)++] = e;
    ok = ok && e;
  }
  return ok;
}

static bool check_blocks(Frame *fr, Dtype dtype, const Format *fmt, int rank, Expr *const *extent, Span at) {
  Sema *s = fr->s;
  int64_t last, block = fmt ? fmt->block : dtypes[dtype].bits < 8 ? 2 : 1;
  if (block == 1) return true;
  if (rank == 0 && fmt)
    return sema_error(fr, E_format_place, at, "`%s` describes blocks along a dimension; a scalar cannot have it",
                      fmt->name), false;
  if (rank == 0)
    return sema_error(fr, E_packed_extent, at, "%s is stored two to a byte; a scalar cannot have it", dtypes[dtype].name), false;
  if (!extent_const(extent[rank - 1], &last) || last % block == 0) return true;
  if (fmt) {
    sema_error(fr, E_format_block, at, "the last extent is %lld, no multiple of the %lld values in a block of `%s`",
               (long long)last, (long long)block, fmt->name);
    diag_label(s->d, fmt->at, "`%s` is defined here", fmt->name);
  } else {
    sema_error(fr, E_packed_extent, at, "the last extent is %lld; that of %s must be even", (long long)last, dtypes[dtype].name);
  }
  return false;
}

// What compile time shows of a tensor's extents: none negative or too large, whole blocks.
bool check_extents(Frame *fr, Dtype dtype, const Format *fmt, int rank, Expr *const *extent, Span at) {
  int64_t n, all = 1;
  for (int k = 0; k < rank; k++) {
    if (!extent_const(extent[k], &n)) continue;
    if (n < 0) return sema_error(fr, E_negative_extent, at, "extent %d is %lld", k + 1, (long long)n), false;
    if (n > LIMIT_EXTENT || (n && all > LIMIT_EXTENT / n))
      return sema_error(fr, E_limit_extent, at, "the tensor has more than 2^40 elements"), false;
    if (n) all *= n;
  }
  return check_blocks(fr, dtype, fmt, rank, extent, at);
}
