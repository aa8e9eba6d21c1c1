// gpu_barrier.c: barriers between what one thread of a team writes and what another reads or writes.
//
// A tensor needs none if the thread that touches an element is the same in all loops: those that share it out by one and
// the same of its subscripts, in the same way. Others are followed through the statements of the team: a barrier
// stands where something is touched that was written since the last one, or written that was read. A loop that
// the team runs is followed twice, so that its end meets its beginning.
#include "passes/gpu_team.h"

typedef struct Touched { VEC(Tensor *) reads, writes; } Touched;

typedef struct Barriers { Team *t; Map written; } Barriers;     // Tensor -> itself

typedef struct State { Touched since; } State;                             // the last barrier

static bool in_list(const Tensor *t, Tensor *const *v, int n) {
  for (int i = 0; i < n; i++) if (v[i] == t) return true;
  return false;
}

static void add(Gpu *g, Touched *s, Tensor *t, bool write) {
  if (write && !in_list(t, s->writes.v, s->writes.n)) vec_push(g->scratch, &s->writes, t);
  if (!write && !in_list(t, s->reads.v, s->reads.n)) vec_push(g->scratch, &s->reads, t);
}

// ---- what a statement touches ------------------------------------------------------------------

typedef struct Look { Barriers *b; Touched *out; } Look;

static bool followed(const Barriers *b, const Tensor *t) { return map_getp(&b->written, t) && !map_getp(&b->t->owned, t); }

static void see_read(void *cx, Expr *e) {
  Look *l = cx;
  if (e->op != OP_READ && e->op != OP_FIELD) return;
  Tensor *t = tensor_root(e->u.t);
  if (followed(l->b, t)) add(l->b->t->g, l->out, t, false);
}

static void see_writes(Barriers *b, const Stmt *s, Touched *out) {
  for (; s; s = s->next) {
    if ((s->kind == ST_STORE || s->kind == ST_MOVE) && followed(b, tensor_root(s->t))) add(b->t->g, out, tensor_root(s->t), s->kind == ST_STORE || s->out);
    see_writes(b, s->body, out);
    see_writes(b, s->els, out);
  }
}

// Of s alone, with what is inside it; `head`: only its own expressions.
static Touched touched(Barriers *b, Stmt *s, bool head) {
  Touched out = { .reads = { 0 } };
  Stmt one = *s;
  one.next = NULL;
  if (head) one.body = one.els = NULL;
  stmts_visit(b->t->g->scratch, &one, see_read, &(Look){ b, &out });
  see_writes(b, &one, &out);
  return out;
}

static bool conflicts(const State *s, const Touched *now) {
  for (int i = 0; i < now->reads.n; i++) if (in_list(now->reads.v[i], s->since.writes.v, s->since.writes.n)) return true;
  for (int i = 0; i < now->writes.n; i++)
    if (in_list(now->writes.v[i], s->since.writes.v, s->since.writes.n) || in_list(now->writes.v[i], s->since.reads.v, s->since.reads.n)) return true;
  return false;
}

static void clear(State *s) { s->since.reads.n = s->since.writes.n = 0; }

static void merge(Gpu *g, State *s, const Touched *now) {
  for (int i = 0; i < now->reads.n; i++) add(g, &s->since, now->reads.v[i], false);
  for (int i = 0; i < now->writes.n; i++) add(g, &s->since, now->writes.v[i], true);
}

// ---- the walk ----------------------------------------------------------------------------------

static void walk(Barriers *b, Stmt **at, State *st);

// A copy whose lists grow apart from the first.
static State copy_of(Gpu *g, const State *s) {
  State c = { .since = { .reads = { 0 } } };
  merge(g, &c, &s->since);
  return c;
}

static bool waits(const Team *t) { return t->size > GPU_LANES; }       // a fold of the team is a barrier too

// Puts a barrier before *at if s meets what went before; returns where s stands now.
static Stmt **guarded(Barriers *b, Stmt **at, State *st, const Touched *now) {
  if (conflicts(st, now)) {
    Stmt *barrier = stmt_new(b->t->g->a, ST_BARRIER);
    barrier->next = *at;
    *at = barrier;
    at = &barrier->next;
    clear(st);
  }
  merge(b->t->g, st, now);
  return at;
}

static void walk_if(Barriers *b, Stmt *s, State *st) {
  State other = copy_of(b->t->g, st);
  walk(b, &s->body, st);
  walk(b, &s->els, &other);
  merge(b->t->g, st, &other.since);
}

static void walk(Barriers *b, Stmt **at, State *st) {
  for (; *at; at = &(*at)->next) {
    Stmt *s = *at;
    if (s->kind == ST_BARRIER || (s->kind == ST_FOLD && waits(b->t))) { clear(st); continue; }
    bool whole = map_getp(&b->t->whole, s) != NULL;
    Touched now = touched(b, s, whole);
    at = guarded(b, at, st, &now);
    if (!whole) continue;
    if (s->kind == ST_IF) walk_if(b, s, st);
    else for (int round = 0; round < 2; round++) walk(b, &s->body, st);
  }
}

// ---- who touches what --------------------------------------------------------------------------

// By which subscript a tensor is shared out, where the loops that do so begin, and whether they go in vectors.
typedef struct Way { int pos, rank; Expr *lo; bool vector; } Way;
typedef struct Owner { Team *t; const Stmt *loop; Map way, bad; } Owner;     // Tensor -> Way; Tensor -> itself

static void touch(Owner *o, const Tensor *view, Expr *const *sub, int n) {
  Tensor *t = tensor_root(view);
  Way now = { -1, n, o->loop ? o->loop->lo : NULL, o->loop && gpu_row_of(o->t, o->loop) != NULL }, *before = map_getp(&o->way, t);
  for (int k = 0; k < n && o->loop; k++)
    if (sub[k]->op == OP_INDEX && sub[k]->u.ix == o->loop->ix) now.pos = k;
  bool same = !before || (before->pos == now.pos && before->rank == now.rank && before->lo == now.lo && before->vector == now.vector);
  if (now.pos < 0 || !same) map_putp(&o->bad, t, t);
  Way *kept = arena_new(o->t->g->scratch, Way);
  *kept = now;
  map_putp(&o->way, t, kept);
}

static void touch_read(void *cx, Expr *e) {
  if (e->op == OP_READ && e->u.t->rank) touch(cx, e->u.t, e->arg, e->u.t->rank);
  if (e->op == OP_FIELD) map_putp(&((Owner *)cx)->bad, tensor_root(e->u.t), e);
}

static void touch_all(Owner *o, const Stmt *s) {
  for (; s; s = s->next) {
    const Stmt *outer = o->loop;
    Stmt one = *s;
    one.next = one.body = one.els = NULL;
    stmts_visit(o->t->g->scratch, &one, touch_read, o);
    if (map_getp(&o->t->shared, s)) o->loop = s;
    if (s->kind == ST_STORE && s->field < 0) touch(o, s->t, s->sub, s->nsub);
    if (s->kind == ST_STORE && s->field >= 0) map_putp(&o->bad, tensor_root(s->t), (void *)(uintptr_t)s);
    touch_all(o, s->body);
    touch_all(o, s->els);
    o->loop = outer;
  }
}

static void find_owned(const Owner *o, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_STORE && !map_getp(&o->bad, tensor_root(s->t))) map_putp(&o->t->owned, tensor_root(s->t), tensor_root(s->t));
    find_owned(o, s->body);
    find_owned(o, s->els);
  }
}

void gpu_owned(Team *t) {
  Owner o = { .t = t, .way = map_make(t->g->scratch), .bad = map_make(t->g->scratch) };
  touch_all(&o, t->n->body);
  find_owned(&o, t->n->body);
}

void gpu_barriers(Team *t, Stmt *body) {
  Barriers b = { .t = t, .written = gpu_written(t->g, body) };
  State st = { .since = { .reads = { 0 } } };
  Stmt *first = body;
  if (t->size > 1) walk(&b, &first, &st);
}
