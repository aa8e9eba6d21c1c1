// sema_rec.c: the order of statements and recurrences.
//
// An equation stands before its readers; only equations that read each other at earlier values of one index (a
// strongly connected component of "reads", [Tarjan 1972]) may stand in either order. They are elaborated together: their
// tensors are there before any of their bodies, with a type found from the bodies' text (infer), then each own read
// is checked: one index of each equation runs in order, and what is read lies before it.
#include "frontend/sema_int.h"
#include <string.h>

// Which statements a statement reads.

typedef struct Deps { VEC(int) on; } Deps;
typedef struct Plan {
  Frame *fr;
  int n;
  Map defines;          // Name to its statement
  Deps *deps;
  bool forward;         // some statement reads itself or a later one
  int current;
} Plan;
typedef struct Bind { Name name; const struct Bind *up; } Bind;

static bool is_bound(const Bind *b, Name name) {
  for (; b; b = b->up)
    if (b->name == name) return true;
  return false;
}

static void note_read(Plan *p, Name name, const Bind *bound) {
  const AStmt *st = map_getp(&p->defines, name);
  if (!st || is_bound(bound, name)) return;
  int on = (int)(st - p->fr->fn->stmt);
  Deps *d = &p->deps[p->current];
  for (int i = 0; i < d->on.n; i++)
    if (d->on.v[i] == on) return;
  vec_push(p->fr->s->a, &d->on, on);
  if (on >= p->current) p->forward = true;
}

static void scan(Plan *p, const AExpr *e, const Bind *bound);

static void scan_sub(Plan *p, const ASub *sub, const Bind *bound) {
  if (sub->kind == SUB_EXPR) scan(p, sub->e, bound);
  if (sub->kind != SUB_RANGE) return;
  scan(p, sub->lo, bound);
  scan(p, sub->hi, bound);
}

// How many subscripts can bind: beyond the limit there is an error, which is reported elsewhere.
static int binding_subs(int nsubs) { return nsubs < 2 * LIMIT_RANK ? nsubs : 2 * LIMIT_RANK; }

static Name sub_binds(const ASub *sub) {
  if (sub->kind == SUB_RANGE) return sub->name;
  if (sub->kind != SUB_EXPR) return NULL;
  const AExpr *e = sub->e->kind == A_BINARY ? sub->e->arg[0] : sub->e;
  return e->kind == A_NAME ? e->name : NULL;
}

static void scan_reduction(Plan *p, const AExpr *e, int k, const Bind *bound) {
  if (k == binding_subs(e->nsubs)) {
    for (int i = 0; i < e->nargs; i++)
      if (e->arg[i]) scan(p, e->arg[i], bound);
    return;
  }
  Bind own = {sub_binds(&e->sub[k]), bound};
  scan_sub(p, &e->sub[k], own.name ? &own : bound);
  scan_reduction(p, e, k + 1, own.name ? &own : bound);
}

static void scan(Plan *p, const AExpr *e, const Bind *bound) {
  if (e->kind == A_REDUCE) {
    scan_reduction(p, e, 0, bound);
    return;
  }
  if (e->kind == A_NAME) note_read(p, e->name, bound);
  for (int i = 0; i < e->nargs; i++)
    if (e->arg[i]) scan(p, e->arg[i], bound);
  for (int i = 0; i < e->nsubs; i++) scan_sub(p, &e->sub[i], bound);
}

static void scan_left(Plan *p, const AStmt *st, int k, const Bind *bound) {
  if (k < binding_subs(st->nsubs)) {
    Bind own = {sub_binds(&st->sub[k]), bound};
    scan_left(p, st, k + 1, own.name ? &own : bound);
    return;
  }
  scan(p, st->e, bound);
}

// An update's unbound names are indices also where a later statement defines a tensor of that name.
static void scan_update(Plan *p, const AStmt *st) {
  bool forward = p->forward;
  scan(p, st->e, NULL);
  if (st->cond) scan(p, st->cond, NULL);
  for (int k = 0; k < st->nsubs; k++) scan_sub(p, &st->sub[k], NULL);
  p->forward = forward;
}

// The name of a parameter is no definition: an error, or `c = set(c, x)`, which changes a mut parameter.
static void define_first(Plan *p, Name name, const AStmt *st) {
  Binding *b = frame_find(p->fr, name);
  if (b && b->param) return;
  if (!map_getp(&p->defines, name)) map_putp(&p->defines, name, (void *)(uintptr_t)st);
}

static void plan_reads(Plan *p) {
  const AFn *fn = p->fr->fn;
  for (int i = 0; i < p->n; i++) {
    const AStmt *st = &fn->stmt[i];
    if (st->kind == AS_EQUATION) define_first(p, st->name, st);
    for (int k = 0; st->kind == AS_CALLS && k < st->nnames; k++) define_first(p, st->names[k], st);
  }
  for (p->current = 0; p->current < p->n; p->current++) {
    const AStmt *st = &fn->stmt[p->current];
    if (st->kind == AS_UPDATE) scan_update(p, st);
    else scan_left(p, st, 0, NULL);
  }
}

// Strongly connected components, with a stack of our own: a function may have very many statements.

typedef struct Tarjan { int *low, *num, *comp, *stack, *next, *call; int n, counter, top, depth, ncomp; } Tarjan;

static void visit_push(Tarjan *t, int i) {
  t->num[i] = t->low[i] = ++t->counter;
  t->stack[t->top++] = i;
  t->call[t->depth++] = i;
}

static void component(Tarjan *t, int i) {
  int k;
  do {
    k = t->stack[--t->top];
    t->comp[k] = t->ncomp;
  } while (k != i);
  t->ncomp++;
}

static void visit_step(Tarjan *t, const Plan *p) {
  int i = t->call[t->depth - 1];
  const Deps *d = &p->deps[i];
  if (t->next[i] < d->on.n) {
    int k = d->on.v[t->next[i]++];
    if (!t->num[k]) visit_push(t, k);
    else if (t->comp[k] < 0 && t->num[k] < t->low[i]) t->low[i] = t->num[k];
    return;
  }
  t->depth--;
  if (t->low[i] == t->num[i]) component(t, i);
  if (t->depth) {
    int up = t->call[t->depth - 1];
    if (t->low[i] < t->low[up]) t->low[up] = t->low[i];
  }
}

static int *components(Plan *p) {
  Arena *a = p->fr->s->a;
  Tarjan t = {.n = p->n, .low = arena_array(a, int, p->n), .num = arena_array(a, int, p->n), .comp = arena_array(a, int, p->n),
              .stack = arena_array(a, int, p->n), .next = arena_array(a, int, p->n), .call = arena_array(a, int, p->n)};
  for (int i = 0; i < p->n; i++) t.comp[i] = -1;
  for (int i = 0; i < p->n; i++) {
    if (!t.num[i]) visit_push(&t, i);
    while (t.depth) visit_step(&t, p);
  }
  return t.comp;
}

static bool reads(const Plan *p, int i, int on) {
  for (int k = 0; k < p->deps[i].on.n; k++)
    if (p->deps[i].on.v[k] == on) return true;
  return false;
}

// Statements between the first and the last of a recurrence go before it, or after it when they read it.
typedef struct Placing {
  Plan *p;
  const int *comp;
  bool *placed, *after;
  const AStmt **order;
  Group **group;
  int n;
} Placing;

static void place(Placing *q, int i, Group *g) {
  q->placed[i] = true;
  q->order[q->n] = &q->p->fr->fn->stmt[i];
  q->group[q->n++] = g;
}

static bool depends_on_placed_after(const Placing *q, int i, int comp, int first) {
  const Deps *d = &q->p->deps[i];
  for (int k = 0; k < d->on.n; k++)
    if (q->comp[d->on.v[k]] == comp || (d->on.v[k] > first && d->on.v[k] < i && q->after[d->on.v[k]])) return true;
  return false;
}

static void store_between(Placing *q, const AStmt *st, const AStmt *first) {
  sema_error(q->p->fr, E_cycle, st->at, "a store stands between equations of one recurrence");
  diag_label(q->p->fr->s->d, first->at, "the recurrence begins here");
  diag_help(q->p->fr->s->d, "move it before or after them");
}

static void place_group(Placing *q, int first, int last) {
  const AFn *fn = q->p->fr->fn;
  Arena *a = q->p->fr->s->a;
  Group *g = arena_new(a, Group);
  int comp = q->comp[first], k = 0;
  for (int i = first; i <= last; i++) {
    if (q->comp[i] == comp) g->n++;
    else if (fn->stmt[i].kind == AS_UPDATE) store_between(q, &fn->stmt[i], &fn->stmt[first]);
    else if (!q->placed[i] && !(q->after[i] = depends_on_placed_after(q, i, comp, first))) place(q, i, NULL);
  }
  g->m = arena_array(a, Member, g->n);
  for (int i = first; i <= last; i++) {
    if (q->comp[i] != comp) continue;
    g->m[k++].st = &fn->stmt[i];
    place(q, i, g);
  }
}

// For each component the last statement that is in it.
static int *last_members(const Plan *p, const int *comp) {
  int *last = arena_array(p->fr->s->a, int, p->n);
  for (int i = 0; i < p->n; i++) last[comp[i]] = i;
  return last;
}

// The statements in the order in which they are elaborated; members of a recurrence stand side by side with their group.
void statement_order(Frame *fr, const AStmt **order, Group **group) {
  Arena *a = fr->s->a;
  Plan p = {.fr = fr, .n = fr->fn->nstmts, .defines = map_make(a), .deps = arena_array(a, Deps, fr->fn->nstmts)};
  plan_reads(&p);
  for (int i = 0; i < p.n; i++)
    if (fr->fn->stmt[i].kind == AS_EQUATION) map_putp(&fr->later, fr->fn->stmt[i].name, &fr->fn->stmt[i]);
  Placing q = {.p = &p, .comp = p.forward ? components(&p) : NULL, .placed = arena_array(a, bool, p.n),
               .after = arena_array(a, bool, p.n), .order = order, .group = group};
  const int *last_of = p.forward ? last_members(&p, q.comp) : NULL;
  for (int i = 0; i < p.n; i++) {
    if (q.placed[i]) continue;
    int last = p.forward ? last_of[q.comp[i]] : i;
    if (last > i || reads(&p, i, i)) place_group(&q, i, last);
    else place(&q, i, NULL);
  }
}

// Types of a recurrence: "without a declared type they take that of the rest of the expression". Own reads have no
// type at first; each round gives one to what the last round made known.

typedef struct Infer { Frame *fr; const Bind *bound; } Infer;

// What is known of an expression's type: none yet, a literal (dtype: what it is alone), or a wide dtype.
typedef struct Known { Dtype dtype; Lit lit; } Known;

static Known infer(Infer *in, const AExpr *e);

static Known joined(Known a, Known b) {
  if (a.dtype == DT_NONE) return b;
  if (b.dtype == DT_NONE) return a;
  if (a.lit == LIT_NONE && b.lit == LIT_NONE)
    return (Known){a.dtype == DT_BOOL && b.dtype == DT_BOOL ? DT_BOOL : dtype_join(a.dtype, b.dtype), LIT_NONE};
  if (a.lit != LIT_NONE && b.lit != LIT_NONE) {
    Lit lit = a.lit == LIT_FLOAT || b.lit == LIT_FLOAT ? LIT_FLOAT : LIT_INT;
    return (Known){dtype_join(a.dtype, b.dtype), lit};
  }
  Known typed = a.lit == LIT_NONE ? a : b, literal = a.lit == LIT_NONE ? b : a;
  if (typed.dtype == DT_BOOL) return (Known){dtype_join(DT_I32, literal.dtype), LIT_NONE};
  if (literal.lit == LIT_FLOAT && dtype_is_int(typed.dtype)) return (Known){DT_F32, LIT_NONE};
  return typed;
}

static Known infer_name(Infer *in, Name name) {
  for (const Bind *b = in->bound; b; b = b->up)
    if (b->name == name) return (Known){DT_I64, LIT_NONE};
  Frame *fr = in->fr;
  Binding *b = frame_find(fr, name);
  Member *m = b ? b->member : NULL;
  if (m) return m->declared ? (Known){dtype_wide(m->dtype), LIT_NONE} : (Known){m->dtype, m->lit};
  if (b) {
    if (b->kind == BIND_DIM) return (Known){DT_I64, LIT_NONE};
    if (b->kind == BIND_VALUE || b->kind == BIND_FILL) return (Known){b->val.e ? (Dtype)b->val.e->dtype : DT_NONE, LIT_NONE};
    if (b->kind == BIND_MUT) return (Known){dtype_wide(b->cell->cur->dtype), LIT_NONE};
    return (Known){b->t ? dtype_wide(b->t->dtype) : DT_NONE, LIT_NONE};
  }
  Item *item = unit_lookup(&fr->s->p->units, fr->unit, name);
  ConstValue *c = item && item->kind == AI_CONST ? const_value(fr->s->p, item) : NULL;
  if (!c) return (Known){0};
  if (c->dtype != DT_NONE) return (Known){dtype_wide(c->dtype), LIT_NONE};
  return (Known){c->lit == LIT_FLOAT ? DT_F32 : DT_I32, c->lit};
}

static Known infer_op(Op op, Known x) {
  if (x.dtype == DT_NONE) return x;
  switch (ops[op].rule) {
  case R_COMPARE: case R_LOGIC: case R_TEST: return (Known){DT_BOOL, LIT_NONE};
  case R_COUNT: return (Known){DT_I32, LIT_NONE};
  case R_FLOAT: return (Known){dtype_is_float(x.dtype) ? x.dtype : DT_F32, x.lit == LIT_FLOAT ? LIT_FLOAT : LIT_NONE};
  case R_BITS: return x;
  default: return x.dtype == DT_BOOL ? (Known){DT_I32, LIT_NONE} : x;
  }
}

static Known infer_type(Infer *in, const ADtype *t) {
  TypeRef r = resolve_type(in->fr, t);
  return (Known){r.dtype == DT_NONE ? DT_NONE : dtype_wide(r.dtype), LIT_NONE};
}

// The declared type of a function's result; a type variable stands for the join of the arguments that have it.
static Known infer_function(Infer *in, const AExpr *e, const AFn *fn) {
  Known k = {0};
  if (fn->nresults != 1) return k;
  const ADtype *t = &fn->result[0].type.dtype;
  if (t->dtype != DT_NONE) return (Known){dtype_wide(t->dtype), LIT_NONE};
  for (int i = 0; i < fn->nparams && i < e->nargs; i++)
    if (fn->param[i].type.dtype.dtype == DT_NONE && fn->param[i].type.dtype.name == t->name) k = joined(k, infer(in, e->arg[i]));
  if (k.dtype != DT_NONE) k.lit = LIT_NONE;
  return k;
}

static Known infer_call(Infer *in, const AExpr *e) {
  Env v = {.fr = in->fr};
  Item *item = called_function(&v, e);
  for (int i = 0; i < in->fr->types.n; i++)
    if (in->fr->types.v[i].name == e->name) return (Known){dtype_wide(in->fr->types.v[i].dtype), LIT_NONE};
  if (item) return infer_function(in, e, item->fn);
  Known k = {0};
  for (int i = 0; i < e->nargs; i++) k = joined(k, infer(in, e->arg[i]));
  Op op = op_by_name(e->name);
  if (op == OP_UNIFORM) return (Known){DT_F32, LIT_NONE};
  return op == OP_NONE ? k : infer_op(op, k);
}

static Known infer_reduction(Infer *in, const AExpr *e, int k) {
  const Bind *bound = in->bound;
  bool binds = k < binding_subs(e->nsubs);
  Bind own = {binds ? sub_binds(&e->sub[k]) : NULL, bound};
  if (binds) {
    if (own.name) in->bound = &own;
    Known r = infer_reduction(in, e, k + 1);
    in->bound = bound;
    return r;
  }
  Known term = infer(in, e->arg[0]);
  switch (e->reducer) {
  case RED_ANY: case RED_ALL: case RED_ARGMAX: case RED_ARGMIN: return (Known){reduce_dtype(e->reducer, DT_I32), LIT_NONE};
  default: break;
  }
  if (term.dtype == DT_NONE) return term;
  return (Known){reduce_dtype(e->reducer, e->reducer == RED_PROD && term.dtype == DT_BOOL ? DT_I32 : term.dtype), LIT_NONE};
}

static Known infer_operator(Infer *in, const AExpr *e) {
  static const OpRule rule[AO_COUNT] = {[AO_DIV] = R_FLOAT, [AO_POW] = R_FLOAT, [AO_SHL] = R_SHIFT, [AO_SHR] = R_SHIFT};
  Known a = infer(in, e->arg[0]);
  if (e->op <= AO_GE) return (Known){DT_BOOL, LIT_NONE};
  if (e->kind == A_UNARY) return a.dtype == DT_BOOL && e->op == AO_NEG ? (Known){DT_I32, LIT_NONE} : a;
  if (rule[e->op] == R_SHIFT) return a.dtype == DT_BOOL ? (Known){DT_I32, LIT_NONE} : a;
  Known k = joined(a, infer(in, e->arg[1]));
  bool bits = e->op == AO_BITAND || e->op == AO_BITOR || e->op == AO_BITXOR;
  if (k.dtype == DT_BOOL && !bits) k.dtype = DT_I32;
  return rule[e->op] == R_FLOAT ? infer_op(OP_DIV, k) : k;
}

static Known infer(Infer *in, const AExpr *e) {
  switch (e->kind) {
  case A_INT: return (Known){e->i <= INT32_MAX ? DT_I32 : DT_I64, LIT_INT};
  case A_FLOAT: case A_INF: case A_NAN: return (Known){DT_F32, LIT_FLOAT};
  case A_TRUE: case A_FALSE: return (Known){DT_BOOL, LIT_NONE};
  case A_NAME: return infer_name(in, e->name);
  case A_IF: return joined(infer(in, e->arg[1]), infer(in, e->arg[2]));
  case A_BINARY: case A_UNARY: return infer_operator(in, e);
  case A_SUBSCRIPT: return e->nargs > 1 ? joined(infer(in, e->arg[0]), infer(in, e->arg[1])) : infer(in, e->arg[0]);
  case A_CALL: return infer_call(in, e);
  case A_CAST: case A_BITCAST: return infer_type(in, &e->type);
  case A_REDUCE: return infer_reduction(in, e, 0);
  }
  return (Known){0};
}

static Known infer_left(Infer *in, const AStmt *st, int k) {
  const Bind *bound = in->bound;
  if (k == binding_subs(st->nsubs)) return infer(in, st->e);
  Bind own = {sub_binds(&st->sub[k]), bound};
  if (own.name) in->bound = &own;
  Known r = infer_left(in, st, k + 1);
  in->bound = bound;
  return r;
}

static void infer_types(Frame *fr, Group *g) {
  enum { ROUNDS = 8 };              // types only move up the order of dtype_join, which is that high
  for (int round = 0, changed = 1; round < ROUNDS && changed; round++) {
    changed = 0;
    for (int i = 0; i < g->n; i++) {
      Member *m = &g->m[i];
      Infer in = {.fr = fr};
      if (m->declared) continue;
      Known k = infer_left(&in, m->st, 0);
      changed |= k.dtype != m->dtype || k.lit != m->lit;
      m->dtype = k.dtype;
      m->lit = k.lit;
    }
  }
  for (int i = 0; i < g->n; i++)
    if (g->m[i].dtype == DT_NONE) g->m[i].dtype = DT_F32;
}

// Beginning a recurrence.

static bool report_cycle(Frame *fr, Group *g) {
  Sema *s = fr->s;
  const AStmt *st = g->m[0].st;
  const char *name = st->kind == AS_CALLS ? st->names[0] : st->name;
  if (g->n == 1) sema_error(fr, E_cycle, st->at, "`%s` depends on itself", name);
  else sema_error(fr, E_cycle, st->at, "`%s` depends on equations that depend on it", name);
  for (int i = 1; i < g->n && i < 4; i++) diag_label(s->d, g->m[i].st->at, "reads on");
  diag_note(s->d, "equations may read each other at earlier values of an index: `h[t] = f(h[t - 1] ?? 0)`");
  return false;
}

static bool member_type(Frame *fr, Member *m) {
  m->declared = m->b->result || m->st->typed;
  if (m->b->result) m->dtype = m->b->dtype, m->fmt = m->b->t ? m->b->t->fmt : NULL;
  if (!m->st->typed) return true;
  TypeRef t = resolve_type(fr, &m->st->type);
  if (!t.ok || t.dtype == DT_NONE) return false;
  m->dtype = t.dtype;
  m->fmt = type_format(fr, t);
  return !t.format || m->fmt;
}

static int left_rank(const Frame *fr, const AStmt *st) {
  int n = 0;
  for (int k = 0; k < st->nsubs; k++) n += st->sub[k].kind == SUB_DOTS ? fr->ndots : 1;
  return n;
}

// Makes the tensors of all members, so that each body can read any of them.
bool group_begin(Frame *fr, Group *g) {
  bool ok = true;
  for (int i = 0; i < g->n; i++) {
    Member *m = &g->m[i];
    if (m->st->kind != AS_EQUATION || !m->st->shaped) return report_cycle(fr, g);
    if (left_rank(fr, m->st) > LIMIT_RANK)
      return sema_error(fr, E_limit_rank, m->st->at, "more than %d indices", LIMIT_RANK), false;
    m->b = define_name(fr, m->st->name, m->st->name_at);
    if (!m->b || m->b->kind == BIND_POISON || !member_type(fr, m)) return false;
    m->b->member = m;
  }
  infer_types(fr, g);
  for (int i = 0; i < g->n; i++) {
    Member *m = &g->m[i];
    Expr *none[LIMIT_RANK] = {0};
    m->b->pending = true;
    if (m->b->result) continue;
    m->b->rank = left_rank(fr, m->st);
    m->b->dtype = m->dtype;
    m->b->t = frame_tensor(fr, m->st->name, ROLE_LOCAL, m->dtype, m->fmt, m->b->rank, none, m->st->at);
  }
  return ok;
}

// Are own reads at earlier values?

// One read of a member's tensor by a member's equation. Those that concern one member last are chained.
typedef struct OwnRead { int reader, def; Expr *e; int next; } OwnRead;
typedef struct Order {
  Frame *fr;
  Group *g;
  Map member;           // Tensor to its Member
  VEC(OwnRead) reads;
  int *first;           // of the reads between members up to k, of which k is one
  VEC(Expr *) reductions;
  int reader;
  int *pos;             // chosen position of the index that runs in order, per member; -1: none yet
} Order;

static void note_own(void *cx, Expr *e) {
  Order *o = cx;
  if (e->op == OP_REDUCE) vec_push(o->fr->s->a, &o->reductions, e);
  Member *m = e->op == OP_READ ? map_getp(&o->member, e->u.t) : NULL;
  if (!m) return;
  int def = (int)(m - o->g->m), last = def > o->reader ? def : o->reader, next = o->first[last];
  o->first[last] = o->reads.n;
  vec_push(o->fr->s->a, &o->reads, (OwnRead){o->reader, def, e, next});
}

// The upper end of a reduction's index, NULL when it is none.
static Expr *index_end(const Order *o, const Index *ix) {
  for (int i = 0; i < o->reductions.n; i++) {
    const Expr *r = o->reductions.v[i];
    for (int k = 0; k < r->u.bind->n; k++)
      if (r->u.bind->ix[k] == ix) return reduce_hi(r, k);
  }
  return NULL;
}

// Is sub < t always (steps < 0), sub = t (steps 0)? The greatest difference sub - t that can be shown; 1: nothing is.
static int64_t latest(const Order *o, Expr *sub, Expr *t) {
  Sema *s = o->fr->s;
  int64_t d;
  if (extent_difference(sub, t, &d)) return d;
  for (int k = 0; k < sub->free->n; k++) {
    Index *ix = sub->free->ix[k];
    Expr *end = index_end(o, ix);
    int64_t shift;
    if (!end || !extent_difference(sub, expr_index(s->x, ix), &shift)) continue;
    d = latest(o, end, t);
    if (d <= 0) return d - 1 + shift;
  }
  return 1;
}

static bool read_is_earlier(const Order *o, const OwnRead *r) {
  int p = o->pos[r->reader], q = o->pos[r->def];
  if (p < 0 || q < 0) return true;
  Expr *t = expr_index(o->fr->s->x, o->g->m[r->reader].eqn->ix[p]);
  int64_t d = latest(o, r->e->arg[q], t);
  return d < 0 || (d == 0 && r->def < r->reader);
}

static bool consistent(const Order *o, int k) {
  for (int i = o->first[k]; i >= 0; i = o->reads.v[i].next)
    if (!read_is_earlier(o, &o->reads.v[i])) return false;
  return true;
}

// Chooses for each member the index that runs in order, going back where a choice leads nowhere.
static bool choose(Order *o) {
  long tries = 100000 + 16L * o->g->n;
  int k = 0;
  while (k >= 0 && k < o->g->n && tries-- > 0) {
    int n = o->g->m[k].eqn->n;
    do o->pos[k]++;
    while (o->pos[k] < n && !consistent(o, k));
    if (o->pos[k] < n) {
      k++;
    } else {
      o->pos[k--] = -1;
    }
  }
  return k == o->g->n;
}

static bool is_earlier_at(Order *o, const OwnRead *r, int p) {
  for (int k = 0; k < o->g->n; k++) o->pos[k] = -1;
  o->pos[r->reader] = p;
  if (o->pos[r->def] < 0) o->pos[r->def] = p < o->g->m[r->def].eqn->n ? p : -1;
  return read_is_earlier(o, r);
}

static bool same_value(Order *o, const OwnRead *r) {
  const Eqn *q = o->g->m[r->reader].eqn;
  for (int p = 0; r->def > r->reader && p < q->n; p++)
    for (int k = 0; k < (int)r->e->nargs; k++)
      if (r->e->arg[k]->op == OP_INDEX && r->e->arg[k]->u.ix == q->ix[p]) return true;
  return false;
}

// Names the reads for which no index is earlier, or says that different ones are.
static void report_order(Order *o) {
  Frame *fr = o->fr;
  Sema *s = fr->s;
  for (int i = 0; i < o->reads.n; i++) {
    const OwnRead *r = &o->reads.v[i];
    bool some = false;
    for (int p = 0; p < o->g->m[r->reader].eqn->n; p++) some = some || is_earlier_at(o, r, p);
    if (some) continue;
    const AStmt *st = o->g->m[r->reader].st;
    if (same_value(o, r)) {
      sema_error(fr, E_cycle, r->e->at, "`%s` and `%s` read each other at the same value", st->name, o->g->m[r->def].st->name);
      diag_label(s->d, o->g->m[r->def].st->at, "`%s` comes later and reads `%s`", o->g->m[r->def].st->name, st->name);
      diag_note(s->d, "equations may read each other at earlier values of one index, or at the same value in their order");
      return;
    }
    if (r->reader == r->def)
      sema_error(fr, E_recurrence_order, r->e->at, "`%s` reads itself at a value that is not shown to be earlier", st->name);
    else sema_error(fr, E_recurrence_order, r->e->at, "`%s` and `%s` read each other, and this read is not shown to be earlier",
                    st->name, o->g->m[r->def].st->name);
    diag_label(s->d, st->name_at, "in the equation of `%s`", st->name);
    diag_note(s->d, "earlier is `t - c` with a constant c > 0, or an index bounded by `< t`");
    return;
  }
  sema_error(fr, E_recurrence_index, o->reads.v[0].e->at, "no one index is earlier in all reads of `%s`",
             o->g->m[o->reads.v[0].def].st->name);
  for (int i = 1; i < o->reads.n && i < 4; i++) diag_label(s->d, o->reads.v[i].e->at, "and here");
  diag_note(s->d, "one and the same index runs in order; the other subscripts are free");
}

// A block is encoded as a whole, so its values cannot come one after the other.
static bool blocks_in_order(Frame *fr, Group *g, const int *pos) {
  bool bad = false;
  for (int i = 0; i < g->n; i++) {
    const Tensor *t = g->m[i].b->t;
    if (!t->fmt || pos[i] != t->rank - 1) continue;
    sema_error(fr, E_format_update, g->m[i].st->at,
               "`%s` is stored in whole blocks of `%s`, so its last index cannot run in order", t->name, t->fmt->name);
    poison(g->m[i].b);
    bad = true;
  }
  return bad;
}

void group_finish(Frame *fr, Group *g) {
  Sema *s = fr->s;
  Order o = {.fr = fr, .g = g, .member = map_make(s->a), .first = arena_array(s->a, int, g->n),
             .pos = arena_array(s->a, int, g->n)};
  for (int i = 0; i < g->n; i++)
    if (g->bad || !g->m[i].eqn) {
      for (int k = 0; k < g->n; k++) poison(g->m[k].b);
      return;
    }
  for (int i = 0; i < g->n; i++) {
    o.pos[i] = o.first[i] = -1;
    map_putp(&o.member, g->m[i].b->t, &g->m[i]);
  }
  for (int i = 0; i < g->n; i++) {
    Arena *scratch = arena_create();
    o.reader = i;
    expr_visit(scratch, g->m[i].eqn->body, note_own, &o);
    arena_destroy(scratch);
    g->m[i].b->pending = false;
  }
  if (!choose(&o)) {
    report_order(&o);
    for (int k = 0; k < g->n; k++) poison(g->m[k].b);
    return;
  }
  if (blocks_in_order(fr, g, o.pos)) return;
  s->scc++;
  for (int i = 0; i < g->n; i++) {
    Eqn *q = g->m[i].eqn;
    q->recurrent = true;
    q->scc = s->scc;
    q->order_ix[0] = o.pos[i];
  }
}
