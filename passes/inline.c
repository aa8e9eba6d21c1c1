// inline.c: substitute the definition of a tensor into its readers.
//
//   t[i] = x[i] * 2          y[i] = x[i] * 2 + 1
//   y[i] = t[i] + 1    ──▶
//
// Moved are definitions without a reduction. Reading the inputs again costs nothing when the readers share a kernel, and less
// than a store and a load when they do not; computing again is cheap beside memory. Kept are: results (the value is stored
// anyway, readers in the same kernel take it from there), recurrences, block formats, and a definition with some arithmetic
// that would move into the inner loop of a contraction, where each element would be computed once per output.
// [Halide PLDI'13 calls this compute-inline.]
//
// Laziness decides one case: a definition that may fail, and of which not every element is read, always moves, so that
// only what is read is checked. See Note [Elements that nothing reads].
#include "base/limits.h"
#include "ir/rewrite.h"
#include "ir/safe.h"
#include "passes/pass.h"

typedef struct Info {
  Eqn *q;               // the definition; NULL for inputs
  int order;            // its place among the equations
  bool whole;           // some reader that is wanted itself reads every element
  bool fails;           // evaluating an element may fail
  bool forced;
} Info;

typedef struct Inline {
  Pipe *p;
  Fn *f;
  Info *info;           // by tensor id
  int *updated_at;      // by tensor id: place of the update that ends this version's life; large when none
  Eqn *q;               // the reader being rewritten
  int order;            // and its place
  Map proven, unproven; // its READs whose subscripts are in range everywhere; somewhere perhaps not
} Inline;

static void see_use(void *cx, const SafeUse *u) {
  Inline *in = cx;
  if (!u->proven) in->info[in->q->def->id].fails = true;
  if (u->e->op == OP_READ && u->whole) in->info[u->e->u.t->id].whole = true;
}

// Fills info for all equations, readers before definitions so that `whole` is known of a reader first.
static void survey(Inline *in) {
  Fn *f = in->f;
  for (int i = 0; i < f->tensors.n; i++) in->updated_at[i] = 1 << 30;
  for (int i = 0; i < f->eqns.n; i++) {
    Eqn *q = f->eqns.v[i];
    in->info[q->def->id].q = q;
    in->info[q->def->id].order = i;
    if (q->base) in->updated_at[q->base->id] = i;
  }
  for (int i = f->eqns.n - 1; i >= 0; i--) {
    Eqn *q = in->q = f->eqns.v[i];
    Info *me = &in->info[q->def->id];
    if (fn_is_output(q->def)) me->whole = true;
    bool wanted = me->whole;
    bool *before = arena_array(in->p->scratch, bool, f->tensors.n + 1);
    for (int t = 0; t < f->tensors.n; t++) before[t] = in->info[t].whole;
    if (!safe_scan(f, q, in->p->scratch, see_use, in)) me->fails = true;
    if (!wanted)
      for (int t = 0; t < f->tensors.n; t++) in->info[t].whole = before[t];
    me->forced = me->fails && !me->whole && q->def->role == ROLE_LOCAL && !q->recurrent && !q->def->fmt;
  }
}

static int body_flops(Arena *scratch, Expr *e);
static void add_flops(void *cx, Expr *e) { *(int *)cx += ops[e->op].flops; }
static int body_flops(Arena *scratch, Expr *e) {
  int n = 0;
  expr_visit(scratch, e, add_flops, &n);
  return n;
}

typedef struct Contraction { Eqn *q; Expr *read; bool found; } Contraction;

static void look_for_weight(void *cx, Expr *e) {
  Contraction *c = cx;
  if (e->op != OP_READ || e == c->read) return;
  Binder *b = c->q->body->u.bind;
  bool reduced = false;
  for (int k = 0; k < b->n; k++) reduced |= expr_uses_index(e, b->ix[k]) && expr_uses_index(c->read, b->ix[k]);
  for (int k = 0; k < c->q->n && reduced; k++)
    if (expr_uses_index(e, c->q->ix[k]) && !expr_uses_index(c->read, c->q->ix[k])) c->found = true;
}

// Is `read` one side of a contraction in q: another read runs over the reduced index and an index of q that `read` lacks?
static bool in_contraction(Arena *scratch, Eqn *q, Expr *read) {
  if (q->body->op != OP_REDUCE) return false;
  Contraction c = { q, read, false };
  expr_visit(scratch, q->body, look_for_weight, &c);
  return c.found;
}

static void latest_version(void *cx, Expr *e) {
  void **pair = cx;
  const int *updated_at = pair[0];
  int *first = pair[1];
  if (e->op == OP_READ && updated_at[e->u.t->id] < *first) *first = updated_at[e->u.t->id];
}

// The body may only move to places where the versions of `mut` tensors that it reads still stand.
static bool outlives(Inline *in, Eqn *def) {
  int first = 1 << 30;
  expr_visit(in->p->scratch, def->body, latest_version, (void *[]){ in->updated_at, &first });
  return in->order <= first;
}

static bool should_inline(Inline *in, Expr *read) {
  Tensor *t = read->u.t;
  Info *i = &in->info[t->id];
  if (t->role != ROLE_LOCAL || !i->q || i->q->recurrent || t->fmt || read->aux == READ_FAILS) return false;
  if (!outlives(in, i->q)) return false;
  if (i->forced) return true;
  if (i->q->body->op == OP_REDUCE) return false;
  if (i->q->body->depth + in->q->body->depth > LIMIT_EXPR_DEPTH) return false;
  return body_flops(in->p->scratch, i->q->body) < 2 || !in_contraction(in->p->scratch, in->q, read);
}

static Expr *inline_read(void *cx, ExprTable *x, Expr *e) {
  Inline *in = cx;
  if (e->op != OP_READ || e->u.t == in->q->def || !should_inline(in, e)) return e;
  Tensor *t = e->u.t;
  Eqn *def = in->info[t->id].q;
  Expr *body = t->stored ? expr_cast(x, t->dtype, def->body, e->at) : def->body;
  Expr *value = expr_subst(x, body, def->n, def->ix, e->arg);
  if (e->aux == READ_DEFAULT) return expr_select(x, expr_in_range(x, t, e->arg, e->at), value, read_default(e), e->at);
  if (map_getp(&in->proven, e) && !map_getp(&in->unproven, e)) return value;   // a rebuilt read is in neither: checked
  return expr_select(x, expr_in_range(x, t, e->arg, e->at), value, expr_read_fails(x, e), e->at);
}

static void note_read(void *cx, const SafeUse *u) {
  Inline *in = cx;
  if (u->e->op == OP_READ) map_putp(u->proven ? &in->proven : &in->unproven, u->e, u->e);
}

bool pass_inline(Pipe *p) {
  Fn *f = p->fn;
  Inline in = { .p = p, .f = f };
  in.info = arena_array(p->scratch, Info, f->tensors.n + 1);
  in.updated_at = arena_array(p->scratch, int, f->tensors.n + 1);
  survey(&in);
  for (int i = 0; i < f->eqns.n; i++) {
    in.q = f->eqns.v[i];
    in.order = i;
    in.proven = map_make(p->scratch);
    in.unproven = map_make(p->scratch);
    if (!safe_scan(f, in.q, p->scratch, note_read, &in)) in.proven = map_make(p->scratch);   // not all seen: trust none
    eqn_map(f->x, in.q, inline_read, &in);
  }
  fn_drop_unread(f, p->scratch);
  return true;
}

// Note [Elements that nothing reads]
// ----------------------------------
// The language computes an element only when something reads it, so an error in an element that nothing reads must not be
// reported. A kernel that stores a whole temporary computes all of it. The two agree when no element can fail, or when
// every element is read. Otherwise the definition is `forced`: it moves into its readers, where each read is checked under
// the guards and ranges of that reader. In
//
//   a[b, t < M * 16] = sum[c](q[b, c] * k[page[b, t // 16], t % 16, c])
//   m[b] = max[t < len[b]](a[b, t])
//
// `page` may hold anything beyond len[b], so `a` moves. A subscript that is then not known to be inside a's own extent
// keeps its check: `if 0 <= t and t < M * 16 then … else a[b, t]`, where the second read is marked as one that fails.
