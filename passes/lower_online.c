// lower_online.c: reductions of which one reads another over the same range, in one pass (ir/rescale.h has the algebra).
//
//   m = max[j](x[j])                      for j0 in 0 .. D, by tiles:
//   z = sum[j](exp(x[j] - m))     ──▶       for j in the tile:  a = max(a, x[j])
//                                           m = max(m, a);  z = z * exp(was - m)
//                                           for j in the tile:  b = b + exp(x[j] - m)
//                                           z = z + b;  was = m
//
// A tile stays in the first cache, so memory is read once, and rescaling costs nothing beside the tile. Rows that fit a cache are
// not worth it: there a second loop finds the row where the first left it (lower.c chooses).
#include "passes/lower.h"
#include "ir/rescale.h"
#include <assert.h>
#include <string.h>

// ---- which reductions --------------------------------------------------------------------------

// Candidates of one range: reductions that start their first loop here.
typedef struct Cascade {
  Lower *l;
  int n; Item *items;
  const bool *in;
  Map expansions;       // READ → what it says
  int fuel;             // of them, for one item; a term that needs more has no part in a cascade
} Cascade;

static bool is_member_of(void *cx, const Tensor *t) {
  const Cascade *c = cx;
  for (int i = 0; i < c->n; i++) if (c->in[i] && c->items[i].q->def == t) return true;
  return false;
}

bool lower_expands(const Eqn *q) { return q->body->op != OP_REDUCE && !q->scc && !q->base && !q->def->fmt; }

// An item, expanded once somebody asks, and which of the items it then reads.
typedef struct Asked { const Cascade *c; Expr *e; VEC(int) reads; } Asked;

static void note_item(void *cx, Expr *e) {
  Asked *a = cx;
  for (int i = 0; i < a->c->n && e->op == OP_READ; i++)
    if (a->c->items[i].q->def == e->u.t) vec_push(a->c->l->p->scratch, &a->reads, i);
}

static Expr *expand(Cascade *c, Expr *e);

// Equations of this block without a reduction count as what they say: they are not computed yet when the cascade runs.
static Expr *expand_read(void *cx, ExprTable *x, Expr *e) {
  Cascade *c = cx;
  if (e->op != OP_READ || e->aux || !lower_is_member(c->l, e->u.t)) return e;
  Expr *seen = map_get(&c->expansions, (uint64_t)e->id + 1);
  if (seen) return seen;
  for (int i = 0; i < c->n && c->fuel > 0; i++) {
    const Eqn *q = c->items[i].q;
    if (q->def != e->u.t || c->in[i] || !lower_expands(q)) continue;
    c->fuel--;
    Expr *body = q->def->stored || fn_is_output(q->def) ? expr_cast(x, q->def->dtype, q->body, e->at) : q->body;
    Expr *all = expand(c, expr_subst(x, body, q->n, q->ix, e->arg));
    map_put(&c->expansions, (uint64_t)e->id + 1, all);
    return all;
  }
  return e;
}

static Expr *expand(Cascade *c, Expr *e) { return expr_map(c->l->x, e, expand_read, c); }

enum { MAX_EXPANSIONS = 12 };

static Cascade cascade_of(Lower *l, int n, Item *items, const bool *in) {
  return (Cascade){ .l = l, .n = n, .items = items, .in = in };
}

// What an equation says among these others, which count as what they say. A kernel's forms all ask for it.
typedef struct Expansion { struct Expansion *next; int n; const Eqn **among; Expr *e; } Expansion;

static int expanding(const Cascade *c, const Eqn **q) {
  int n = 0;
  for (int i = 0; i < c->n; i++) if (!c->in[i] && lower_expands(c->items[i].q)) q[n++] = c->items[i].q;
  return n;
}

static Expr *known_expansion(const Cascade *c, const Eqn *q, int n, const Eqn *const *among) {
  for (const Expansion *x = map_getp(&c->l->expansions, q); x; x = x->next)
    if (x->n == n && !memcmp(x->among, among, (size_t)n * sizeof *among)) return x->e;
  return NULL;
}

// The same whenever it is asked: each item has expansions of its own.
static Expr *expanded(Cascade *c, const Item *it) {
  Lower *l = c->l;
  const Eqn **among = arena_array(l->p->scratch, const Eqn *, c->n);
  int n = expanding(c, among);
  Expr *e = known_expansion(c, it->q, n, among);
  if (e) return lower_at_item(l, it, e);
  c->expansions = map_make(l->p->scratch);
  c->fuel = MAX_EXPANSIONS;
  e = expand(c, it->q->body);
  Expansion *x = arena_new(l->p->scratch, Expansion);
  *x = (Expansion){ map_getp(&l->expansions, it->q), n, among, e };
  map_putp(&l->expansions, it->q, x);
  return lower_at_item(l, it, e);
}

static void ask(Cascade *c, Asked *a, const Item *it) {
  if (a->e) return;
  a->c = c;
  a->e = expanded(c, it);
  expr_visit(c->l->p->scratch, a->e, note_item, a);
}

static bool reads_cascade(const Cascade *c, const Asked *a) {
  for (int i = 0; i < a->reads.n; i++) if (c->in[a->reads.v[i]]) return true;
  return false;
}

// A map of this block that did not count as what it says, since its read has a default: its elements are not there yet.
static bool reads_map(const Cascade *c, const Asked *a) {
  for (int i = 0; i < a->reads.n; i++) if (!c->in[a->reads.v[i]] && lower_expands(c->items[a->reads.v[i]].q)) return true;
  return false;
}

// Products of floats keep their order: another may overflow where the direct one meets a zero first.
static bool can_start(const Item *it, const NextLoop *next, bool loops) {
  const Expr *e = it->q->body;
  if (e->op == OP_REDUCE && e->u.bind->reducer == RED_PROD && dtype_is_float((Dtype)e->dtype)) return false;
  return loops && next->reduce && it->reduced == 0 && !it->shares && !it->q->scc && !lower_from_data(next->lo) && !lower_from_data(next->hi);
}

// ---- exponents ---------------------------------------------------------------------------------

// Is it a sum over the row, or a product? The logarithm of a sum of exponentials is above each of them.
static bool wanders(const Cascade *c, const Expr *e) {
  if (e->op == OP_LOG || e->op == OP_LOG2) return false;
  for (int i = 0; i < c->n && e->op == OP_READ; i++)
    if (c->in[i] && c->items[i].q->def == e->u.t) return c->items[i].q->body->u.bind->reducer != RED_MAX && c->items[i].q->body->u.bind->reducer != RED_MIN;
  for (uint32_t k = 0; k < e->nargs; k++) if (wanders(c, e->arg[k])) return true;
  return false;
}

typedef struct Exponents { const Cascade *c; const Rescale *r; bool inside, unsafe; } Exponents;

static void see_reference(void *cx, Expr *e) {
  Exponents *x = cx;
  for (int k = 0; k < x->r->natoms; k++) x->unsafe |= x->inside && e->op == OP_VAR && e->u.var == x->r->atom[k]->now && wanders(x->c, x->r->atom[k]->atom);
}

static void see_exponential(void *cx, Expr *e) {
  Exponents *x = cx;
  if (e->op != OP_EXP && e->op != OP_EXP2) return;
  x->inside = true;
  expr_visit(x->c->l->p->scratch, e, see_reference, x);
}

// exp(x[j] - u) with a u that may be far below x[j] before all of its terms are in: it would overflow where the direct form is finite.
static bool may_overflow(const Cascade *c, const Rescale *r) {
  Exponents x = { .c = c, .r = r };
  for (int k = 0; k < r->nstates; k++) if (r->factor[k]) expr_visit(c->l->p->scratch, r->factor[k], see_exponential, &x);
  return x.unsafe;
}

// Adds item i when it needs nothing of the cascade, or follows it by rescaling; *follows: the latter.
static bool joins(Cascade *c, const Asked *a, bool *follows) {
  Rescale r;
  References refs = { .a = c->l->p->scratch };
  *follows = false;
  if (!reads_cascade(c, a)) return true;
  *follows = true;
  return rescale_find(c->l->x, a->e, is_member_of, c, &refs, &r) && !may_overflow(c, &r);
}

typedef struct Outside { const Cascade *c; bool found; } Outside;

static void look_outside(void *cx, Expr *e) {
  Outside *o = cx;
  if (e->op != OP_READ) return;
  for (int i = 0; i < o->c->n; i++) if (o->c->items[i].q->def == e->u.t && !o->c->in[i]) o->found = true;
}

// Does item i need a member that the cascade does not hold?
bool lower_needs_more(Lower *l, int n, Item *items, const bool *in, int i) {
  Cascade c = cascade_of(l, n, items, in);
  Outside o = { &c, false };
  expr_visit(l->p->scratch, expanded(&c, &items[i]), look_outside, &o);
  return o.found;
}

// in[i]: item i runs in one pass with item `first`. True when some item follows another.
static bool run_with(Cascade *c, int first, const NextLoop *next, const bool *loops, Asked *asked, bool *in) {
  bool any = false;
  for (int i = 0; i < c->n; i++) in[i] = false;
  for (int i = first; i < c->n; i++) {
    bool follows;
    if (!can_start(&c->items[i], &next[i], loops[i]) || !lower_same_loop(&next[first], &next[i])) continue;
    ask(c, &asked[i], &c->items[i]);
    in[i] = !reads_map(c, &asked[i]) && joins(c, &asked[i], &follows);
    any |= in[i] && follows;
  }
  return any;
}

// in[i]: item i runs in the first one-pass cascade that these items hold. False when they hold none: then in[] has those that start
// together with the first that can.
bool lower_find_cascade(Lower *l, int n, Item *items, const NextLoop *next, const bool *loops, bool *in) {
  int first = -1;
  Asked *asked = arena_array(l->p->scratch, Asked, n);
  Cascade c = cascade_of(l, n, items, in);
  for (int i = 0; i < n; i++) {
    if (!can_start(&items[i], &next[i], loops[i])) continue;
    if (run_with(&c, i, next, loops, asked, in)) return true;
    if (first < 0) first = i;
  }
  if (first >= 0) run_with(&c, first, next, loops, asked, in);
  return false;
}

static int first_of(const bool *in) {
  int first = 0;
  while (!in[first]) first++;
  return first;
}

// ---- how long the row is -----------------------------------------------------------------------

typedef struct RowBytes { Arena *a; const Index *ix; VEC(const Expr *) read; int bytes; } RowBytes;

static void add_read(void *cx, Expr *e) {
  RowBytes *r = cx;
  if (e->op != OP_READ || !expr_uses_index(e, r->ix)) return;
  for (int i = 0; i < r->read.n; i++) if (r->read.v[i] == e) return;
  vec_push(r->a, &r->read, e);
  r->bytes += (dtypes[e->u.t->dtype].bits + 7) / 8;
}

// Steps of the cascade's range, over dimensions, and the bytes that a step reads. False when the range depends on more.
bool lower_cascade_row(Lower *l, int n, Item *items, const bool *in, const NextLoop *next, Expr **steps, int *bytes) {
  int first = first_of(in);
  Expr *lo = next[first].lo, *hi = next[first].hi, *unused;
  if (!lower_dims_only(lo) && !range_extremes(l->facts, l->x, lo, &lo, &unused)) return false;
  if (!lower_dims_only(hi) && !range_extremes(l->facts, l->x, hi, &unused, &hi)) return false;
  *steps = expr_is_int(lo, 0) ? hi : expr_op2(l->x, OP_SUB, hi, lo, NO_SPAN);
  RowBytes r = { l->p->scratch, NULL, { 0 }, 0 };
  for (int i = first; i < n; i++) {
    if (!in[i]) continue;
    const Binder *b = items[i].q->body->u.bind;
    r.ix = b->ix[b->n - 1];
    r.read.n = 0;
    int before = r.bytes;
    r.bytes = 0;
    expr_visit(l->p->scratch, items[i].q->body, add_read, &r);
    if (before > r.bytes) r.bytes = before;
  }
  *bytes = r.bytes;
  return items[first].q->body->u.bind->n == 1;
}

// ---- the pass ----------------------------------------------------------------------------------

enum { MAX_STATES = RESCALE_DEGREE + 1 };

// One reduction in it.
typedef struct Runner {
  Item *it;
  Expr *reduce;                 // expanded, with the grid's indices bound
  bool follows;
  Rescale r;
  int nstates;
  Var *run[MAX_STATES], *at;    // the states so far; argmax: the index beside the first
  Var *any;                     // a filter's: has a term passed it?
  int phase;                    // of the tile: after how many others' loops
} Runner;

typedef struct Online {
  Lower *l;
  int n;
  Runner *run;
  References refs;
  Expr *lo, *hi, *from, *to;    // the range, or a part of it, and the tile
  Expr *all_lo, *all_hi;        // the range as written
  Expr *whole;                  // steps of the whole range, where this is a part of it; else NULL
  int64_t step;                 // of the tiles
  int64_t apart;                // of a thread's steps, where a team's threads take turns; 0: they lie side by side
  int64_t align;                // tiles begin at multiples of it
  bool team;                    // threads of a team have a share each of every tile, or of the range: they fold once, at the end
  bool settled;                 // they have, and agree on references
  Cascade c;
} Online;

static Runner *runner_of(Online *o, const Tensor *t) {
  for (int i = 0; i < o->n; i++) if (o->run[i].it->q->def == t) return &o->run[i];
  return NULL;
}

static void count_phase(void *cx, Expr *e) {
  void **p = cx;
  Runner *r = e->op == OP_READ ? runner_of(p[0], e->u.t) : NULL;
  if (r && r->phase + 1 > *(int *)p[1]) *(int *)p[1] = r->phase + 1;
}

static Reducer reducer_of(const Runner *r) { return r->reduce->u.bind->reducer; }

// A variable for values of an accumulator, outside the tiles.
static Var *outer_var(Lower *l, const char *hint, Dtype d, Expr *first) {
  Var *v = lower_var(l, hint, d);
  lower_decl(l, ST_VAR, v, first);
  return v;
}

static void open_runner(Online *o, Runner *r) {
  Lower *l = o->l;
  const char *name = r->it->q->def->root->name;
  Reducer red = reducer_of(r);
  Dtype t = reducers[red].arg ? (Dtype)reduce_term(r->reduce)->dtype : (Dtype)r->reduce->dtype;
  for (int k = 0; k < r->nstates; k++)
    r->run[k] = outer_var(l, k ? arena_printf(l->p->scratch, "%s_d%d", name, k) : name, t, expr_scalar(l->x, t, reducers[red].identity(t), r->it->q->at));
  if (reducers[red].arg) r->at = outer_var(l, arena_printf(l->p->scratch, "%s_at", name), DT_I64, expr_int(l->x, DT_I64, LOWER_NO_INDEX, r->it->q->at));
  if (r->follows && !expr_is_true(reduce_cond(r->reduce))) r->any = outer_var(l, "any", DT_BOOL, expr_bool(l->x, false, r->it->q->at));
}

static void set(Lower *l, Var *v, Expr *value) {
  Stmt *s = stmt_new(l->p->a, ST_SET);
  s->var = v;
  s->a = value;
  lower_emit(l, s);
}

// The references begin where nothing overflows: 0, or 1 where something is divided by them.
// A merge of parts meets each part's `was` in its turn.
static void open_references(Online *o, bool merges) {
  Lower *l = o->l;
  for (int i = 0; i < o->refs.v.n; i++) {
    Reference *r = o->refs.v.v[i];
    Expr *first = expr_float(l->x, r->now->dtype, r->divides ? 1 : 0, NO_SPAN);
    r->was->name = lower_var(l, "was", r->was->dtype)->name;
    r->now->name = lower_var(l, "now", r->now->dtype)->name;
    if (!merges) lower_decl(l, ST_VAR, r->was, first);
    lower_decl(l, ST_VAR, r->now, first);
  }
}

// ---- inside a tile -----------------------------------------------------------------------------

typedef struct Estimate { Online *o; bool extrapolate; Expr *share; } Estimate;

// What an earlier result is so far. Of a sum, a moment's reference takes what it will be if the rest is like this: a mean is a
// mean from the first tile on.
static Expr *so_far(void *cx, ExprTable *x, Expr *e) {
  Estimate *s = cx;
  Runner *r = e->op == OP_READ ? runner_of(s->o, e->u.t) : NULL;
  if (!r) return e;
  Expr *v = expr_var(x, r->run[0]);
  if (!s->extrapolate || reducer_of(r) != RED_SUM || !dtype_is_float((Dtype)v->dtype)) return v;
  return expr_op2(x, OP_MUL, v, expr_cast(x, (Dtype)v->dtype, s->share, e->at), e->at);
}

static bool is_moment(const Online *o, const Reference *ref) {
  for (int i = 0; i < o->n; i++)
    if (o->run[i].follows && o->run[i].r.moment >= 0 && o->run[i].r.atom[o->run[i].r.moment] == ref) return true;
  return false;
}

// All steps over the steps done, as f32: exactly 1 in the last tile of the whole range.
static Expr *share_of(Online *o) {
  ExprTable *x = o->l->x;
  Expr *all = o->whole ? o->whole : expr_op2(x, OP_SUB, o->hi, o->lo, NO_SPAN), *done = expr_op2(x, OP_SUB, o->to, o->lo, NO_SPAN);
  return expr_op2(x, OP_DIV, expr_cast(x, DT_F32, all, NO_SPAN), expr_cast(x, DT_F32, done, NO_SPAN), NO_SPAN);
}

// now = what the reference is so far, where that is usable.
static void move_reference(Online *o, const Reference *ref) {
  Lower *l = o->l;
  Estimate s = { o, is_moment(o, ref), NULL };
  if (s.extrapolate) s.share = lower_named(l, share_of(o), "share");
  Expr *u = expr_map(l->x, ref->atom, so_far, &s);
  lower_count(l, u);
  u = lower_named(l, lower_expr(l, u), "u");
  set(l, ref->now, expr_select(l->x, rescale_usable(l->x, ref, u), u, expr_var(l->x, ref->was), NO_SPAN));
}

static void rescale_runner(Online *o, Runner *r) {
  for (int k = 0; k < r->nstates; k++) {
    if (!r->r.factor[k] && k + 1 == r->nstates) continue;
    set(o->l, r->run[k], rescale_state(o->l->x, &r->r, k, r->run, false));
  }
}

// An equation whose reduction is one state over the tile.
static Item tile_item(Online *o, const Runner *r, Reducer red, Expr *cond, Expr *term) {
  Lower *l = o->l;
  Binder *b = r->reduce->u.bind;
  Expr *lo[8], *hi[8];
  for (int k = 0; k < b->n; k++) lo[k] = reduce_lo(r->reduce, k), hi[k] = reduce_hi(r->reduce, k);
  lo[0] = o->from;
  hi[0] = o->to;
  Eqn *q = arena_new(l->p->scratch, Eqn);
  *q = *r->it->q;
  q->body = expr_reduce(l->x, red, b->n, b->ix, lo, hi, cond, term, r->it->q->at);
  Item it = *r->it;
  it.q = q;
  return it;
}

// Top-down, since an atom may hold another.
static Expr *with_references(ExprTable *x, const Rescale *r, Expr *e) {
  for (int k = 0; k < r->natoms; k++) if (r->atom[k]->atom == e) return expr_var(x, r->atom[k]->now);
  if (!e->nargs || e->op == OP_REDUCE) return e;
  Expr *arg[16];
  assert(e->nargs <= 16 && "only reductions have more");
  for (uint32_t k = 0; k < e->nargs; k++) arg[k] = with_references(x, r, e->arg[k]);
  return expr_rebuild(x, e, arg);
}

// What accumulates in a tile, and where the tile's result goes.
typedef struct Target { Item it; Var *run, *at; Reducer red; } Target;
typedef struct Targets { VEC(Target) v; } Targets;

static void add_targets(Online *o, const Runner *r, Targets *all) {
  Lower *l = o->l;
  Expr *cond = reduce_cond(r->reduce);
  for (int k = 0; k < r->nstates; k++) {
    Expr *term = r->follows ? with_references(l->x, &r->r, r->r.term[k]) : reduce_term(r->reduce);
    vec_push(l->p->scratch, &all->v, (Target){ tile_item(o, r, reducer_of(r), cond, term), r->run[k], k ? NULL : r->at, reducer_of(r) });
  }
  if (r->any) vec_push(l->p->scratch, &all->v, (Target){ tile_item(o, r, RED_ANY, expr_bool(l->x, true, NO_SPAN), cond), r->any, NULL, RED_ANY });
}

static void fold_into(Online *o, const Target *t) {
  Lower *l = o->l;
  if (!o->team) lower_fold_lanes(l, t->red, t->it.acc, t->it.acc2);
  Stmt *s = stmt_new(l->p->a, ST_ACC);
  s->reducer = t->red;
  s->var = t->run;
  s->var2 = t->at;
  s->a = expr_var(l->x, t->it.acc);
  s->b = t->at ? expr_var(l->x, t->it.acc2) : NULL;
  lower_emit(l, s);
}

// One loop over the tile for all states of a phase.
static void tile_loop(Online *o, Targets *all) {
  Lower *l = o->l;
  int n = all->v.n;
  NextLoop *next = arena_array(l->p->scratch, NextLoop, n);
  Item *inside = arena_array(l->p->scratch, Item, n);
  for (int i = 0; i < n; i++) {
    lower_next_loop(l, &all->v.v[i].it, &next[i]);
    lower_open_accumulator(l, &all->v.v[i].it);
  }
  Index *ix = index_new(l->x, next[0].ix->name, next[0].ix->at);
  Stmt *s = loop_open(l, ix, o->from, o->to, HOW_SEQ);
  s->align = o->align;
  s->step = o->apart;
  ranges_index(l->facts, ix, o->all_lo, o->all_hi);         // a tile lies inside the range
  for (int i = 0; i < n; i++) {
    inside[i] = all->v.v[i].it;
    lower_bind(l, &inside[i], &next[i], ix);
  }
  for (int i = 0; i < o->n; i++) {
    bool here = false;
    for (int k = 0; k < n; k++) here |= all->v.v[k].it.q->def == o->run[i].it->q->def;
    if (here) lower_note(l, s, o->run[i].it->q);
  }
  lower_block(l, n, inside);
  loop_close(l, s);
  for (int i = 0; i < n; i++) fold_into(o, &all->v.v[i]);
}

// Brings the runner's states to what its references are now.
static void follow(Online *o, Runner *r, bool *moved) {
  for (int k = 0; k < r->r.natoms; k++)
    for (int j = 0; j < o->refs.v.n; j++) {
      if (o->refs.v.v[j] != r->r.atom[k] || moved[j]) continue;
      move_reference(o, r->r.atom[k]);
      moved[j] = true;
    }
  rescale_runner(o, r);
}

static void tile_phase(Online *o, int phase, bool *moved) {
  Targets all = { .v = { 0 } };
  for (int i = 0; i < o->n; i++) {
    Runner *r = &o->run[i];
    if (r->phase != phase) continue;
    if (r->follows) follow(o, r, moved);
    add_targets(o, r, &all);
  }
  if (all.v.n) tile_loop(o, &all);
}

// What is computed from variables that change with each tile may move no further out than the tile; afterwards, to where they stand.
static void set_scopes(Online *o, Scope *s) {
  for (int i = 0; i < o->n; i++) {
    Runner *r = &o->run[i];
    for (int k = 0; k < r->nstates; k++) map_putp(&o->l->index_scope, r->run[k], s);
    if (r->at) map_putp(&o->l->index_scope, r->at, s);
  }
  for (int i = 0; i < o->refs.v.n; i++) {
    map_putp(&o->l->index_scope, o->refs.v.v[i]->was, s);
    map_putp(&o->l->index_scope, o->refs.v.v[i]->now, s);
  }
}

int64_t lower_tile_steps(const Lower *l) {
  int64_t steps = l->p->machine->tile_bytes / (l->row_bytes > 0 ? l->row_bytes : 4) / LOWER_TILE_UNIT * LOWER_TILE_UNIT;
  return steps > LOWER_TILE_UNIT ? steps : LOWER_TILE_UNIT;
}

static int last_phase(const Online *o) {
  int last = 0;
  for (int i = 0; i < o->n; i++) if (o->run[i].phase > last) last = o->run[i].phase;
  return last;
}

static void end_tile(Online *o) {
  for (int i = 0; i < o->refs.v.n; i++) set(o->l, o->refs.v.v[i]->was, expr_var(o->l->x, o->refs.v.v[i]->now));
}

static void tiles(Online *o) {
  Lower *l = o->l;
  ExprTable *x = l->x;
  int last = last_phase(o);
  Index *t = index_new(x, intern(l->f->names, "tile"), NO_SPAN);
  Stmt *loop = loop_open(l, t, o->lo, o->hi, HOW_SEQ);
  set_scopes(o, l->scope);
  loop->step = o->step;
  o->from = expr_index(x, t);
  o->to = lower_named(l, expr_op2(x, OP_MIN, expr_op2(x, OP_ADD, o->from, expr_int(x, DT_I64, o->step, NO_SPAN), NO_SPAN), o->hi, NO_SPAN), "to");
  bool *moved = arena_array(l->p->scratch, bool, o->refs.v.n + 1);
  for (int phase = 0; phase <= last; phase++) tile_phase(o, phase, moved);
  end_tile(o);
  loop_close(l, loop);
  set_scopes(o, l->scope);
}

// Without references, and in a part that is looked at once, there are no tiles.
static void one_tile(Online *o) {
  bool none = false;
  o->from = o->lo;
  o->to = o->hi;
  tile_phase(o, 0, &none);
}

// The threads of a team, each of which has run a part, agree on references and sum up their states. team_lo … team_hi: all their parts.
static void settle(Online *o, Expr *team_lo, Expr *team_hi) {
  Lower *l = o->l;
  int last = last_phase(o);
  bool *moved = arena_array(l->p->scratch, bool, o->refs.v.n + 1);
  o->lo = team_lo;
  o->to = team_hi;
  for (int phase = 0; phase <= last; phase++)
    for (int i = 0; i < o->n; i++) {
      Runner *r = &o->run[i];
      if (r->phase != phase) continue;
      if (r->follows) follow(o, r, moved);
      for (int k = 0; k < r->nstates; k++) lower_fold_lanes(l, reducer_of(r), r->run[k], k ? NULL : r->at);
      if (r->any) lower_fold_lanes(l, RED_ANY, r->any, NULL);
    }
  end_tile(o);
  o->settled = true;
}

// ---- the end -----------------------------------------------------------------------------------

static Expr *all_usable(Online *o, const Runner *r) {
  ExprTable *x = o->l->x;
  Expr *usable = NULL;
  for (int k = 0; k < r->r.natoms; k++) {
    Expr *ok = rescale_usable(x, r->r.atom[k], expr_var(x, r->r.atom[k]->now));
    usable = usable ? expr_op2(x, OP_AND, usable, ok, NO_SPAN) : ok;
  }
  return lower_named(o->l, usable, "usable");
}

// The first state for the reference as it is now, where that may be used; without a choice where it makes no difference.
static Expr *moved_state(ExprTable *x, const Runner *r, Var *const *state, Expr *usable) {
  Expr *moved = rescale_state(x, &r->r, 0, state, false), *last = rescale_state(x, &r->r, 0, state, true);
  return moved == last ? moved : expr_select(x, usable, moved, last, NO_SPAN);
}

static Expr *both(ExprTable *x, Expr *a, Expr *b) { return expr_is_true(a) ? b : expr_is_true(b) ? a : expr_op2(x, OP_AND, a, b, NO_SPAN); }

// lo < hi of the reduction's ranges from the k-th on, but for those that depend on another of its indices.
static Expr *ranges_have_terms(Online *o, const Runner *r, int k) {
  ExprTable *x = o->l->x;
  Expr *some = expr_bool(x, true, NO_SPAN);
  for (; k < r->reduce->u.bind->n; k++) {
    Expr *lo = reduce_lo(r->reduce, k), *hi = reduce_hi(r->reduce, k);
    bool inner = false;
    for (int j = 0; j < k; j++) inner |= expr_uses_index(lo, r->reduce->u.bind->ix[j]) || expr_uses_index(hi, r->reduce->u.bind->ix[j]);
    Scalar from, to;
    if (inner || (expr_fold(lo, &from) && expr_fold(hi, &to) && from.i < to.i)) continue;
    Expr *less = expr_op2(x, OP_LT, lower_at_item(o->l, r->it, lo), lower_at_item(o->l, r->it, hi), NO_SPAN);
    some = both(x, some, lower_expr(o->l, less));
  }
  return some;
}

static Expr *has_terms(Online *o, const Runner *r) {
  ExprTable *x = o->l->x;
  Expr *some = both(x, expr_op2(x, OP_LT, o->lo, o->hi, NO_SPAN), ranges_have_terms(o, r, 1));
  return r->any ? both(x, some, expr_var(x, r->any)) : some;
}

// The state for the reference as it is in the end: nothing but 1, 0 or a difference of 0, unless it is infinite or NaN. Without terms the
// reduction is its identity whatever the others are.
static Expr *final_state(Online *o, const Runner *r) {
  ExprTable *x = o->l->x;
  Expr *v = moved_state(x, r, r->run, all_usable(o, r));
  Expr *some = has_terms(o, r);
  return expr_is_true(some) ? v : expr_select(x, some, v, expr_var(x, r->run[0]), NO_SPAN);
}

// After `settle` the state is for that reference already, unless it is infinite or NaN.
static void end_settled(Online *o, Runner *r) {
  ExprTable *x = o->l->x;
  Expr *lost = expr_op1(x, OP_NOT, all_usable(o, r), NO_SPAN);
  if (!expr_is_true(has_terms(o, r))) lost = expr_op2(x, OP_AND, has_terms(o, r), lost, NO_SPAN);
  Stmt *s = lower_if_open(o->l, lost, NULL);
  set(o->l, r->run[0], rescale_state(x, &r->r, 0, r->run, true));
  lower_if_close(o->l, s);
}

static void end_runner(Online *o, Runner *r, bool *final) {
  Lower *l = o->l;
  for (int k = 0; r->follows && k < r->r.natoms; k++)
    for (int j = 0; j < o->refs.v.n; j++) {
      if (o->refs.v.v[j] != r->r.atom[k] || final[j]) continue;
      lower_count(l, r->r.atom[k]->atom);
      set(l, r->r.atom[k]->now, lower_expr(l, r->r.atom[k]->atom));
      final[j] = true;
    }
  if (r->follows && o->settled) end_settled(o, r);
  else if (r->follows) set(l, r->run[0], final_state(o, r));
  lower_finish(l, r->it, r->at ? lower_arg_value(l, r->at, r->reduce, r->it->q, lower_wanted(l, 1, &r->it->q)) : expr_var(l->x, r->run[0]));
}

static void start_runner(Online *o, Runner *r, Item *it) {
  Asked asked = { .e = NULL };
  ask(&o->c, &asked, it);
  *r = (Runner){ .it = it, .reduce = asked.e, .nstates = 1 };
  r->follows = reads_cascade(&o->c, &asked);
  if (!r->follows) return;
  bool ok = rescale_find(o->l->x, r->reduce, is_member_of, &o->c, &o->refs, &r->r);
  assert(ok && "lower_find_cascade has asked");
  (void)ok;
  r->nstates = r->r.nstates;
  expr_visit(o->l->p->scratch, r->reduce, count_phase, (void *[]){ o, &r->phase });
}

static void start_online(Online *o, Lower *l, int n, Item *items, const bool *in) {
  *o = (Online){ .l = l, .refs = { .a = l->p->scratch }, .c = cascade_of(l, n, items, in) };
  NextLoop next;
  lower_next_loop(l, &items[first_of(in)], &next);
  o->all_lo = next.lo;
  o->all_hi = next.hi;
  o->run = arena_array(l->p->scratch, Runner, n);
  for (int i = 0; i < n; i++) {
    if (!in[i]) continue;
    o->n++;                             // runner_of sees those before it
    start_runner(o, &o->run[o->n - 1], &items[i]);
  }
}

// Threads of a GPU that have a share of each tile keep states of their own, which need no barrier. A moment's reference is of all steps so far.
static bool has_moment(const Online *o) {
  for (int i = 0; i < o->n; i++) if (o->run[i].follows && o->run[i].r.moment >= 0) return true;
  return false;
}

void lower_cascade(Lower *l, int n, Item *items, const bool *in, const NextLoop *next) {
  Online o;
  start_online(&o, l, n, items, in);
  o.team = pipe_is_gpu(l->p) && o.run[0].reduce->u.bind->n == 1 && !has_moment(&o);
  o.lo = lower_named(l, lower_expr(l, next[first_of(in)].lo), "from");
  o.hi = lower_named(l, lower_expr(l, next[first_of(in)].hi), "end");
  o.step = o.run[0].reduce->u.bind->n > 1 ? LOWER_TILE_OUTER : lower_tile_steps(l);
  for (int i = 0; i < o.n; i++) open_runner(&o, &o.run[i]);
  open_references(&o, false);
  tiles(&o);
  if (o.team) settle(&o, o.lo, o.hi);
  bool *final = arena_array(l->p->scratch, bool, o.refs.v.n + 1);
  for (int i = 0; i < o.n; i++) end_runner(&o, &o.run[i], final);
}

// ---- in parts ----------------------------------------------------------------------------------
//
// The range is cut into parts that run in parallel; each leaves its states and references in memory, and they are combined in
// order: what an earlier reduction is over all parts is the reference for the later ones.

// Where part c of a grid point leaves variable v.
static Tensor *part_tensor(Parts *p, Lower *l, const char *what, Dtype d) {
  Expr *extent[MAX_GRID + 1] = { p->count, expr_int(l->x, DT_I64, LOWER_FEW_ROWS, NO_SPAN) };
  for (int g = 0; g < l->u->ngrid && !l->few; g++) extent[g + 1] = l->u->extent[g];
  int rank = l->few ? 2 : l->u->ngrid + 1;
  Tensor *t = fn_tensor(l->f, intern(l->f->names, arena_printf(l->p->scratch, "%s_part", what)), ROLE_LOCAL, d, NULL, rank, extent, NO_SPAN);
  vec_push(l->p->scratch, &p->t, t);
  return t;
}

// Subscripts of the part, and of the grid point.
static int part_place(const Parts *p, Lower *l, Expr **sub) {
  int n = l->u->ngrid;
  for (int k = 0; k <= n; k++) sub[k] = expr_index(l->x, p->at[k]);
  if (!l->few) return n + 1;
  sub[1] = lower_flat(l, n, sub + 1, l->u->extent);
  return 2;
}

static void leave(Parts *p, Lower *l, Var *v, const char *what) {
  Stmt *s = stmt_new(l->p->a, ST_STORE);
  s->t = part_tensor(p, l, what, v->dtype);
  s->nsub = part_place(p, l, s->sub);
  s->a = expr_var(l->x, v);
  lower_emit(l, s);
}

// What `leave` left, in the same order, at the indices of p->at.
static Expr *found(Parts *p, Lower *l) {
  Tensor *t = p->t.v[p->taken++];
  Expr *sub[MAX_GRID + 1];
  part_place(p, l, sub);
  return expr_read(l->x, t, t->rank, sub, NULL, NO_SPAN);
}

// The threads of a team read rows that lie side by side, so that what a device reads at a time lies close together.
static void take_turns(Online *o, const Parts *p) {
  o->lo = expr_op2(o->l->x, OP_ADD, p->team_from, expr_index(o->l->x, p->team), NO_SPAN);
  o->hi = p->team_to;
  o->apart = p->team_size > 1 ? p->team_size : 0;
}

static void take_own(Online *o, Parts *p) {
  if (o->team) lower_own_rows(o->l, p);
  o->lo = p->from;
  o->hi = p->to;
}

static void start_part(Online *o, Lower *l, int n, Item *items, const bool *in, int64_t steps, Parts *p) {
  start_online(o, l, n, items, in);
  o->team = p->team != NULL;
  o->align = p->align > 0 && expr_is_int(o->all_lo, 0) ? p->align < LOWER_TILE_UNIT ? p->align : LOWER_TILE_UNIT : 0;
  o->whole = expr_is_int(o->all_lo, 0) ? lower_expr(l, o->all_hi) : lower_named(l, lower_expr(l, expr_op2(l->x, OP_SUB, o->all_hi, o->all_lo, NO_SPAN)), "steps");
  o->step = LOWER_PART_WHOLE;
  for (int i = 0; i < o->n; i++) if (o->run[i].follows) o->step = steps;
  if (o->team && o->step == LOWER_PART_WHOLE) take_turns(o, p);
  else take_own(o, p);
  for (int i = 0; i < o->n; i++) open_runner(o, &o->run[i]);
  open_references(o, false);
}

static void leave_states(Online *o, Parts *p) {
  Lower *l = o->l;
  for (int i = 0; i < o->n; i++) {
    Runner *r = &o->run[i];
    const char *name = r->it->q->def->root->name;
    for (int k = 0; k < r->nstates; k++) leave(p, l, r->run[k], name);
    if (r->at) leave(p, l, r->at, name);
    if (r->any) leave(p, l, r->any, "any");
    for (int k = 0; r->follows && k < r->r.natoms; k++) leave(p, l, r->r.atom[k]->was, "was");
  }
}

// steps: of a tile, where something follows.
void lower_parts(Lower *l, int n, Item *items, const bool *in, int64_t steps, Parts *p) {
  Online o;
  start_part(&o, l, n, items, in, steps, p);
  if (o.team && o.step == LOWER_PART_WHOLE) one_tile(&o);
  else tiles(&o);
  if (o.team) settle(&o, p->team_from, p->team_to);
  leave_states(&o, p);
}

// The only part: its team has the range to itself.
void lower_whole(Lower *l, int n, Item *items, const bool *in, int64_t steps, Parts *p) {
  Online o;
  start_part(&o, l, n, items, in, steps, p);
  if (o.step == LOWER_PART_WHOLE) one_tile(&o);
  else tiles(&o);
  settle(&o, p->team_from, p->team_to);
  o.lo = p->team_from;
  o.hi = p->team_to;
  bool *final = arena_array(l->p->scratch, bool, o.refs.v.n + 1);
  for (int i = 0; i < o.n; i++) end_runner(&o, &o.run[i], final);
}

static Var *found_as(Parts *p, Lower *l, const char *hint, Dtype d) {
  Var *v = lower_var(l, hint, d);
  lower_decl(l, ST_LET, v, found(p, l));
  return v;
}

// acc = combine(acc, v)
static void combine(Lower *l, Reducer red, Var *acc, Var *at, Expr *v, Expr *v_at) {
  Stmt *s = stmt_new(l->p->a, ST_ACC);
  s->reducer = red;
  s->var = acc;
  s->var2 = at;
  s->a = v;
  s->b = v_at;
  lower_emit(l, s);
}

typedef struct Swapped { int n; Var *from[RESCALE_ATOMS], *to[RESCALE_ATOMS]; } Swapped;
static Expr *swap_var(void *cx, ExprTable *x, Expr *e) {
  const Swapped *s = cx;
  for (int k = 0; k < s->n && e->op == OP_VAR; k++) if (s->from[k] == e->u.var) return expr_var(x, s->to[k]);
  return e;
}

// One part of a reduction that follows others, brought to the final references.
static void add_following_part(Online *o, Runner *r, Parts *p, Expr *usable) {
  Lower *l = o->l;
  Var *state[MAX_STATES];
  Swapped swapped = { .n = r->r.natoms };
  for (int k = 0; k < r->nstates; k++) state[k] = found_as(p, l, "state", r->run[k]->dtype);
  if (r->any) combine(l, RED_ANY, r->any, NULL, found(p, l), NULL);
  for (int k = 0; k < r->r.natoms; k++) {
    swapped.from[k] = r->r.atom[k]->was;
    swapped.to[k] = found_as(p, l, "was", r->r.atom[k]->was->dtype);
  }
  Expr *v = moved_state(l->x, r, state, usable);
  combine(l, RED_SUM, r->run[0], NULL, expr_map(l->x, v, swap_var, &swapped), NULL);
}

static void add_part(Online *o, Runner *r, Parts *p) {
  Lower *l = o->l;
  Expr *v = found(p, l), *at = r->at ? found(p, l) : NULL;
  Expr *none = at ? expr_op2(l->x, OP_NE, at, expr_int(l->x, DT_I64, LOWER_NO_INDEX, NO_SPAN), NO_SPAN) : NULL;
  Stmt *some = at ? lower_if_open(l, none, NULL) : NULL;      // a part without terms takes no part
  combine(l, reducer_of(r), r->run[0], r->at, v, at);
  if (some) lower_if_close(l, some);
}

static void merge_runner(Online *o, Runner *r, Parts *p) {
  Lower *l = o->l;
  ExprTable *x = l->x;
  Expr *usable = NULL;
  for (int k = 0; r->follows && k < r->r.natoms; k++) {
    lower_count(l, r->r.atom[k]->atom);
    set(l, r->r.atom[k]->now, lower_expr(l, r->r.atom[k]->atom));
  }
  if (r->follows) usable = all_usable(o, r);
  Index *c = index_new(x, intern(l->f->names, "part"), NO_SPAN);
  Stmt *loop = loop_open(l, c, p->team ? expr_index(x, p->team) : expr_int(x, DT_I64, 0, NO_SPAN), p->count, HOW_SEQ);
  if (p->team) loop->step = p->team_size;
  p->at[0] = c;
  if (r->follows) add_following_part(o, r, p, usable);
  else add_part(o, r, p);
  loop_close(l, loop);
  lower_fold_lanes(l, reducer_of(r), r->run[0], r->at);
  if (r->any) lower_fold_lanes(l, RED_ANY, r->any, NULL);
  Expr *v = expr_var(x, r->run[0]), *some = expr_bool(x, true, NO_SPAN);
  if (r->follows) some = ranges_have_terms(o, r, 0);
  if (r->any) some = both(x, some, expr_var(x, r->any));
  if (!expr_is_true(some)) v = expr_select(x, some, v, expr_float(x, r->run[0]->dtype, 0, NO_SPAN), NO_SPAN);
  lower_finish(l, r->it, r->at ? lower_arg_value(l, r->at, r->reduce, r->it->q, lower_wanted(l, 1, &r->it->q)) : v);
}

// The grid's indices stand in p->at[1 …].
void lower_merge(Lower *l, int n, Item *items, const bool *in, Parts *p) {
  Online o;
  start_online(&o, l, n, items, in);
  for (int i = 0; i < o.n; i++) open_runner(&o, &o.run[i]);
  open_references(&o, true);
  for (int i = 0; i < o.n; i++) merge_runner(&o, &o.run[i], p);
}
