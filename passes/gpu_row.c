// gpu_row.c: loops of a team over one row, in vectors, and what of the row threads keep in registers.
//
//   for j in 0 .. D:  m = max(m, x[i, j])          unroll k in 0 .. 2:  x_r[8 * k ..] = 8 of x[i, 8 * (256 * k + thread)]
//   for j in 0 .. D:  z = z + exp(x[i, j] - m)  ──▶  unroll k in 0 .. 2:  unroll v in 0 .. 8:  m = max(m, x_r[8 * k + v])
//   …                                              …
//
// Vector n of the row belongs to thread n % team, in all loops. How many threads a row gets follows from its length: enough that
// their registers hold what is used again. See Note [How many threads a row gets] in gpu_size.c. A row that is read in tiles, one
// pass over memory, is such a row in each tile:
//
//   for tile in 0 .. D by 4096            for tile in 0 .. D by 8192
//     let to = min(tile + 4096, D)          let to = min(tile + 8192, D);  let steps = to - tile
//     for j in tile .. to:  …      ──▶      x_r[…] = …;  for j in 0 .. steps:  … at tile + j
#include "passes/gpu_team.h"

// ---- what loops walk ---------------------------------------------------------------------------

typedef struct Walked { Team *t; const Stmt *loop; int count, main, any; } Walked;       // main, any: bits of the widest element

static bool in_memory(const Team *t, const Tensor *a) { return a->rank && !a->fmt && a->role != ROLE_TABLE && tensor_place(t->g->plan, a) != PLACE_STACK; }

static void see_access(Walked *w, const Tensor *a, Expr *const *sub, int n) {
  if (!in_memory(w->t, a) || !gpu_is_step(w->t->g, sub[n - 1], w->loop->ix)) return;
  for (int k = 0; k + 1 < n; k++) if (expr_uses_index(sub[k], w->loop->ix)) return;
  int bits = dtypes[a->dtype].bits;
  bool main = !w->t->n->n;
  for (int k = 0; k + 1 < n; k++) main |= sub[k]->op != OP_CONST;
  w->count++;
  if (main && bits > w->main) w->main = bits;
  if (bits > w->any) w->any = bits;
}

static void see_read(void *cx, Expr *e) { if (e->op == OP_READ && e->u.t->rank) see_access(cx, e->u.t, e->arg, e->u.t->rank); }

static void see_stores(Walked *w, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_STORE && s->field < 0 && s->nsub) see_access(w, s->t, s->sub, s->nsub);
    see_stores(w, s->body);
    see_stores(w, s->els);
  }
}

static void walk(Walked *w, const Stmt *loop) {
  w->loop = loop;
  stmts_visit(w->t->g->scratch, loop->body, see_read, w);
  see_stores(w, loop->body);
}

bool gpu_walks_memory(Team *t, const Stmt *loop) {
  Walked w = { .t = t };
  walk(&w, loop);
  return w.count > 0;
}

// ---- the row and its loops ---------------------------------------------------------------------

static bool is_leaf(const Stmt *loop) { return !gpu_has_loop(loop->body) && !stmts_have(loop->body, ST_ALLOC); }

static bool from_zero(const Stmt *loop) { return is_leaf(loop) && expr_is_int(loop->lo, 0); }

// Of a loop whose end depends on the grid point: where it is furthest, if that is known.
static Expr *furthest(Team *t, Expr *hi) {
  Expr *least, *most, *of = hi->op == OP_MIN && gpu_dims_only(t->g, hi->arg[0]) ? hi->arg[0] : hi;
  return range_extremes(t->n->facts, t->g->x, of, &least, &most) ? most : hi;
}

// The most steps that a loop of known length walks memory with.
static int64_t longest(Team *t) {
  int64_t most = 0;
  for (int i = 0; i < t->loops.n; i++) {
    const Stmt *s = t->loops.v[i];
    if (!from_zero(s) || !gpu_walks_memory(t, s)) continue;
    Expr *end = furthest(t, s->hi);
    if (end->op == OP_CONST && end->u.v.i > most) most = end->u.v.i;
    else if (gpu_dims_only(t->g, end)) gpu_want(t->g, t->n->k, end);
  }
  return most;
}

static bool in_body(const Stmt *body, const Stmt *loop) {
  for (const Stmt *s = body; s; s = s->next) if (s == loop) return true;
  return false;
}

static const Stmt *body_of(const Team *t, const Row *r) { return r->host ? r->host->body : t->n->body; }

// A loop over a part of the row that begins where it begins.
static bool within_row(Team *t, const Row *r, const Stmt *s) {
  if (r->host) return in_body(body_of(t, r), s);
  if (s->hi->op == OP_CONST) return s->hi->u.v.i == r->length;
  return range_prove_ge0(t->n->facts, t->g->x, expr_op2(t->g->x, OP_SUB, gpu_int(t->g, r->length), s->hi, NO_SPAN));
}

// Where the row ends; tiles are parts of it.
static int64_t end_of_row(const Row *r) { return r->host ? r->host->hi->u.v.i : r->length; }

static void find_vectors(Team *t, Row *r) {
  Walked w = { .t = t };
  for (int i = 0; i < t->loops.n; i++) {
    Stmt *s = t->loops.v[i];
    if (!from_zero(s) || gpu_row_of(t, s) || !within_row(t, r, s)) continue;
    map_putp(&r->vector, s, s);
    if (in_body(body_of(t, r), s)) map_putp(&r->direct, s, s);
    walk(&w, s);
  }
  int bits = w.main ? w.main : w.any;
  r->lanes = bits ? 128 / bits : 1;
  if (r->lanes > 16) r->lanes = 16;
  while (r->lanes > 1 && (end_of_row(r) % r->lanes || r->lanes * bits > 8 * t->g->m->vector_bytes)) r->lanes /= 2;
}

Row *gpu_row_of(Team *t, const Stmt *loop) {
  for (int i = 0; i < t->nrows; i++) if (map_getp(&t->row[i].vector, loop)) return &t->row[i];
  return NULL;
}

Tensor *gpu_row_array(const Team *t, const Tensor *local) {
  for (int i = 0; i < t->nrows; i++) {
    Tensor *a = map_getp(&t->row[i].kept.arrays, local);
    if (a) return a;
  }
  return NULL;
}

// ---- tiles -------------------------------------------------------------------------------------

// The LET of min(tile + step, end) in the body of a loop over tiles.
static Stmt *end_of_tile(const Stmt *host) {
  for (Stmt *s = host->body; s; s = s->next)
    if (s->kind == ST_LET && s->a->op == OP_MIN && (s->a->arg[0] == host->hi || s->a->arg[1] == host->hi)) return s;
  return NULL;
}

static bool is_over_tile(Team *t, const Stmt *host, const Stmt *to, const Stmt *s) {
  return s->kind == ST_LOOP && map_getp(&t->shared, s) && is_leaf(s) && s->lo->op == OP_INDEX && s->lo->u.ix == host->ix
         && s->hi->op == OP_VAR && s->hi->u.var == to->var && gpu_walks_memory(t, s);
}

// Its loops from 0, over what is left of the tile.
static Expr *loops_from_zero(Team *t, Stmt *host, Stmt *to) {
  Gpu *g = t->g;
  Expr *tile = expr_index(g->x, host->ix), *steps = NULL;
  for (Stmt *s = to->next; s; s = s->next) {
    if (!is_over_tile(t, host, to, s)) continue;
    if (!steps) {
      Block b = gpu_block();
      gpu_let(g, &b, "steps", expr_op2(g->x, OP_SUB, expr_var(g->x, to->var), tile, NO_SPAN), &steps);
      b.first->next = to->next;
      to->next = b.first;
    }
    Expr *at = expr_op2(g->x, OP_ADD, tile, expr_index(g->x, s->ix), NO_SPAN);
    gpu_subst(g, s->body, 1, &s->ix, &at);
    s->lo = gpu_int(g, 0);
    s->hi = steps;
  }
  return steps;
}

static Row *add_row(Team *t, Stmt *host, int64_t length) {
  Row *r = &t->row[t->nrows];
  *r = (Row){ .host = host, .length = length, .vector = map_make(t->g->scratch), .direct = map_make(t->g->scratch),
              .kept = { .row = gpu_index(t->g, "row"), .arrays = map_make(t->g->scratch) } };
  return r;
}

static bool is_tiles(const Stmt *s) { return s->kind == ST_LOOP && s->how == HOW_SEQ && s->step > 0 && expr_is_int(s->lo, 0); }

static void find_tiles(Team *t) {
  for (Stmt *s = t->n->body; s && t->nrows < GPU_MOST_ROWS - 1; s = s->next) {
    Stmt *to = is_tiles(s) ? end_of_tile(s) : NULL;
    if (!to) continue;
    if (s->hi->op != OP_CONST) { if (gpu_dims_only(t->g, s->hi)) gpu_want(t->g, t->n->k, s->hi); continue; }
    Expr *steps = loops_from_zero(t, s, to);
    if (!steps) continue;
    Row *r = add_row(t, s, 0);
    r->steps = steps;
    find_vectors(t, r);
    t->nrows += r->lanes > 1;
  }
}

static void set_tile(Team *t, Row *r) {
  Gpu *g = t->g;
  r->length = (int64_t)t->size * r->items * r->lanes;
  r->host->step = r->length;
  end_of_tile(r->host)->a = expr_op2(g->x, OP_MIN, gpu_plus(g, expr_index(g->x, r->host->ix), gpu_int(g, r->length)), r->host->hi, NO_SPAN);
}

// ---- what is kept ------------------------------------------------------------------------------

// A read of the row: in how many loops, and up to where elements are wanted (NULL: the whole row).
typedef struct Seen { Expr *read; int loops; const Stmt *last; Expr *to; bool whole; } Seen;
typedef struct Reads { Team *t; const Row *r; const Stmt *loop; VEC(Seen) v; } Reads;

static void see_var(void *cx, Expr *e) {
  void **p = cx;
  const Team *t = p[0];
  if (e->op == OP_VAR && stmts_declare(t->n->body, e->u.var)) *(bool *)p[1] = false;
  if ((e->op == OP_READ && e->u.t->rank) || e->op == OP_FIELD) *(bool *)p[1] = false;
}

// The read's place is known before all loops of the row.
static bool known_before(Team *t, Expr *read) {
  bool yes = true;
  for (uint32_t k = 0; k < read->nargs; k++) expr_visit(t->g->scratch, read->arg[k], see_var, (void *[]){ t, &yes });
  return yes;
}

// The subscript of the row's element at `ix`.
static bool is_place(Team *t, const Row *r, Expr *e, Index *ix) {
  Expr *coef, *rest;
  if (!r->host) return e->op == OP_INDEX && e->u.ix == ix;
  return affine_split(t->g->x, e, 1, &ix, &coef, &rest) && expr_is_int(coef, 1) && rest->op == OP_INDEX && rest->u.ix == r->host->ix;
}

// Which reads of a loop can be kept: t[…, j] of a tensor that is not written, in range over the whole row.
static bool can_keep(Team *t, const Row *r, const Stmt *loop, Expr *e) {
  Tensor *a = e->u.t;
  int last = a->rank - 1;
  if (e->op != OP_READ || !in_memory(t, a) || map_getp(&t->written, tensor_root(a)) || !is_place(t, r, e->arg[last], loop->ix)) return false;
  if (a->extent[last]->op != OP_CONST || a->extent[last]->u.v.i < end_of_row(r) || (a->rank > 1 && a->extent[last]->u.v.i % r->lanes)) return false;
  int bits = dtypes[a->dtype].bits;
  if (bits * r->lanes % 32 || !gpu_can_move(t->g, bits, r->lanes)) return false;
  for (int k = 0; k < last; k++) if (!gpu_is_grid_index(t->n, e->arg[k], a->extent[k])) return false;
  return true;
}

static void see_kept(void *cx, Expr *e) {
  Reads *r = cx;
  Team *t = r->t;
  if (e->op != OP_READ || !e->u.t->rank || !can_keep(t, r->r, r->loop, e)) return;
  Expr *row = expr_index(t->g->x, r->r->kept.row);
  Index *ix = r->loop->ix;
  Expr *as_row = expr_subst(t->g->x, e, 1, &ix, &row);
  bool whole = r->r->host || r->loop->hi->op == OP_CONST;
  for (int i = 0; i < r->v.n; i++) {
    Seen *s = &r->v.v[i];
    if (s->read != as_row) continue;
    s->loops += s->last != r->loop;
    s->last = r->loop;
    if (!whole && s->to && s->to != r->loop->hi) s->whole = true;
    if (!whole) s->to = r->loop->hi;
    return;
  }
  vec_push(t->g->scratch, &r->v, (Seen){ as_row, 1, r->loop, whole ? NULL : r->loop->hi, false });
}

// ---- elements that are wanted only so far -------------------------------------------------------

typedef struct Guards { Team *t; const Stmt *loop; Expr *read, *to; bool covered; } Guards;

static void look(Guards *c, Expr *e, int fuel) {
  Ranges *facts = c->t->n->facts;
  ExprTable *x = c->t->g->x;
  if (!c->covered || !e->nargs) return;
  if (fuel <= 0) { c->covered = false; return; }
  if (e == c->read) {
    Expr *one = gpu_int(c->t->g, 1), *ix = expr_index(x, c->loop->ix);
    c->covered &= range_prove_ge0(facts, x, expr_op2(x, OP_SUB, expr_op2(x, OP_SUB, c->to, one, NO_SPAN), ix, NO_SPAN));
    return;
  }
  bool lazy = e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
  for (uint32_t k = 0; k < e->nargs; k++) {
    ranges_push(facts);
    if (lazy && k) ranges_assume(facts, e->arg[0], e->op == OP_SELECT ? k == 1 : e->op == OP_AND);
    look(c, e->arg[k], fuel - 1);
    ranges_pop(facts);
  }
}

static void look_at(Guards *c, const Stmt *s) {
  for (; s; s = s->next) {
    Expr *const part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) if (part[k]) look(c, part[k], 30);
    for (int k = 0; k < s->nsub; k++) look(c, s->sub[k], 30);
    look_at(c, s->body);
    look_at(c, s->els);
  }
}

static bool sets(const Stmt *s, const Var *v) {
  for (; s; s = s->next) if (s->var == v || s->var2 == v || sets(s->body, v) || sets(s->els, v)) return true;
  return false;
}

typedef struct Later { const Team *t; const Stmt *from; bool yes; } Later;

static void see_later(void *cx, Expr *e) {
  Later *l = cx;
  l->yes |= e->op == OP_FIELD || (e->op == OP_READ && map_getp(&l->t->written, tensor_root(e->u.t))) || (e->op == OP_VAR && sets(l->from, e->u.var));
}

// Is `to` only known once loops over the row have run? Elements are loaded before the first of them.
static bool is_later(const Team *t, const Row *r, Expr *to) {
  Later l = { t, body_of(t, r), false };
  while (!map_getp(&r->direct, l.from)) l.from = l.from->next;
  expr_visit(t->g->scratch, to, see_later, &l);
  return l.yes;
}

// Do the loops over the whole row, too, read it only up to s->to?
static bool covered(Team *t, Row *r, const Seen *s) {
  for (int i = 0; i < t->loops.n; i++) {
    const Stmt *loop = t->loops.v[i];
    Expr *ix = expr_index(t->g->x, loop->ix);
    if (!map_getp(&r->vector, loop) || loop->hi->op != OP_CONST) continue;
    Guards c = { t, loop, expr_subst(t->g->x, s->read, 1, &r->kept.row, &ix), s->to, true };
    ranges_push(t->n->facts);
    ranges_index(t->n->facts, loop->ix, loop->lo, loop->hi);
    look_at(&c, loop->body);
    ranges_pop(t->n->facts);
    if (!c.covered) return false;
  }
  return true;
}

// ---- finding it --------------------------------------------------------------------------------

static int words_of(const Row *r, Dtype d) { return (r->lanes * dtypes[d].bits + 31) / 32; }

static Tensor *thread_array(Team *t, const Row *r, const char *name, Dtype d) {
  Gpu *g = t->g;
  Expr *n = gpu_int(g, (int64_t)r->items * r->lanes);
  return fn_tensor(g->f, intern(g->f->names, arena_printf(g->scratch, "%s_r", name)), ROLE_LOCAL, d, NULL, 1, &n, NO_SPAN);
}

typedef struct Uses { Team *t; const Row *r; const Stmt *loop; Map bad; } Uses;      // loop: right in the row's body; NULL: another place

static void use(Uses *u, const Tensor *a, Expr *const *sub, int n) {
  bool here = u->loop && n == 1 && sub[0]->op == OP_INDEX && sub[0]->u.ix == u->loop->ix;
  if (!here) map_putp(&u->bad, a, (void *)(uintptr_t)a);
}
static void use_read(void *cx, Expr *e) { if (e->op == OP_READ && e->u.t->role == ROLE_LOCAL) use(cx, e->u.t, e->arg, e->u.t->rank); }

static void find_uses(Uses *u, const Stmt *s) {
  for (; s; s = s->next) {
    const Stmt *outer = u->loop;
    if (map_getp(&u->r->direct, s)) u->loop = s;
    Stmt one = *s;
    one.next = one.body = one.els = NULL;
    stmts_visit(u->t->g->scratch, &one, use_read, u);
    if (s->kind == ST_STORE && s->t->role == ROLE_LOCAL) use(u, s->t, s->sub, s->nsub);
    find_uses(u, s->body);
    find_uses(u, s->els);
    u->loop = outer;
  }
}

typedef struct Arrays { VEC(Stmt *) v; int words; } Arrays;

// Local arrays of the row, each element of which only one thread touches.
static void find_private(Team *t, const Row *r, Arrays *out) {
  Uses u = { .t = t, .r = r, .bad = map_make(t->g->scratch) };
  if (r->host) return;
  find_uses(&u, t->n->body);
  for (Stmt *s = t->n->body; s; s = s->next) {
    if (s->kind != ST_ALLOC || s->t->fmt || s->t->rank != 1 || dtypes[s->t->dtype].bits < 32 || map_getp(&u.bad, s->t)) continue;
    vec_push(t->g->scratch, &out->v, s);
    out->words += words_of(r, s->t->dtype);
  }
}

// What reads and arrays may be kept, and its words a vector.
typedef struct Keeping { Reads reads; Arrays arrays; RowNeeds needs; } Keeping;

static void count_node(void *cx, Expr *e) {
  RowNeeds *k = cx;
  k->nodes += e->nargs > 0;
  if (dtype_is_float((Dtype)e->dtype)) k->flops += (int)ops[e->op].flops;
}

static Keeping find_keeping(Team *t, Row *r) {
  Keeping k = { .reads = { .t = t, .r = r } };
  for (int i = 0; i < t->loops.n; i++) {
    k.reads.loop = t->loops.v[i];
    k.needs.loops += map_getp(&r->vector, k.reads.loop) != NULL;
    stmts_visit(t->g->scratch, k.reads.loop->body, count_node, &k.needs);
    if (map_getp(&r->direct, k.reads.loop)) stmts_visit(t->g->scratch, k.reads.loop->body, see_kept, &k.reads);
  }
  find_private(t, r, &k.arrays);
  k.needs.words = k.arrays.words;
  k.needs.again = k.needs.made = k.arrays.v.n > 0;
  k.needs.together = gpu_team_arrays(t, t->n->body) > k.arrays.v.n;
  bool narrow = false;
  for (int i = 0; i < k.reads.v.n; i++) {
    *(k.reads.v.v[i].loops > 1 ? &k.needs.words : &k.needs.once) += words_of(r, k.reads.v.v[i].read->u.t->dtype);
    k.needs.again |= k.reads.v.v[i].loops > 1;
    narrow |= k.reads.v.v[i].loops > 1 && dtypes[k.reads.v.v[i].read->u.t->dtype].bits < 32;
  }
  if (narrow) k.needs.widened = r->lanes;
  return k;
}

static bool is_even(const Team *t, const Row *r) { return r->in_part || end_of_row(r) % ((int64_t)r->items * t->size * r->lanes) == 0; }

// The end of what loops want of it, where that is known before them all; NULL: the end of the row.
static Expr *wanted_to(Team *t, Row *r, const Seen *s) { return s->to && !s->whole && !is_later(t, r, s->to) && covered(t, r, s) ? s->to : NULL; }

// The row as it lies in memory. Each thread has the same vectors of it in all loops, so no barrier is needed. Arrays of the row lie there anyway.
static void keep_in_shared(Team *t, Row *r, Keeping *k) {
  Gpu *g = t->g;
  for (int i = 0; i < k->reads.v.n; i++) {
    Seen *s = &k->reads.v.v[i];
    const Tensor *a = s->read->u.t;
    if (s->loops < 2 || !known_before(t, s->read)) continue;
    Expr *n = gpu_int(g, r->length);
    Tensor *row = fn_tensor(g->f, intern(g->f->names, arena_printf(g->scratch, "%s_r", a->name)), ROLE_LOCAL, a->dtype, NULL, 1, &n, NO_SPAN);
    vec_push(g->scratch, &r->kept.kept, (Kept){ s->read, row, wanted_to(t, r, s) });
  }
}

static void keep(Team *t, Row *r, Keeping *k) {
  r->forgets = gpu_row_forgets(r->items, &k->needs);
  RowNeeds with = k->needs;
  if (r->in_shared) keep_in_shared(t, r, k);
  for (int i = 0; i < k->reads.v.n && r->items; i++) {
    Seen *s = &k->reads.v.v[i];
    const Tensor *a = s->read->u.t;
    int more = s->loops > 1 ? 0 : words_of(r, a->dtype);
    with.words += more;
    with.once -= more;
    bool early = more && (k->needs.loops > 1 || !is_even(t, r)) && gpu_row_fits(t, r->items, &with);
    if (!early) with.words -= more, with.once += more;
    if (!known_before(t, s->read) || (s->loops < 2 && !early)) continue;
    vec_push(t->g->scratch, &r->kept.kept, (Kept){ s->read, thread_array(t, r, a->name, a->dtype), wanted_to(t, r, s) });
  }
  for (int i = 0; i < k->arrays.v.n && r->items; i++) {
    const Tensor *a = k->arrays.v.v[i]->t;
    map_putp(&r->kept.arrays, a, thread_array(t, r, a->name, a->dtype));
  }
}

static bool finds_index(const Stmt *s) {
  for (; s; s = s->next) if ((s->kind == ST_ACC && s->var2) || finds_index(s->body) || finds_index(s->els)) return true;
  return false;
}

// Argmax by vectors (gpu_best.c) makes one loop of one loop.
static bool has_index(const Team *t) { return finds_index(t->n->body); }

static void find_whole_row(Team *t) {
  int64_t length = longest(t);
  if (length < 2) return;
  Row *r = add_row(t, NULL, length);
  find_vectors(t, r);
  if (r->lanes < 2) return;
  t->nrows++;
  if (t->nrows > 1) return;                     // beside tiles: one vector after the other
  Keeping k = find_keeping(t, r);
  k.needs.whole = has_index(t);
  gpu_size_row(t, r, &k.needs);
  keep(t, r, &k);
}

void gpu_find_rows(Team *t) {
  find_tiles(t);
  for (int i = 0; i < t->nrows; i++) {
    Row *r = &t->row[i];
    Keeping k = find_keeping(t, r);
    gpu_size_tiles(t, r, &k.needs);
    set_tile(t, r);
    keep(t, r, &k);
  }
  find_whole_row(t);
}

// ---- the loops ---------------------------------------------------------------------------------

static Expr *less(const Team *t, Expr *a, Expr *b) { return expr_op2(t->g->x, OP_LT, a, b, NO_SPAN); }

// The end of a loop whose vectors may lie beyond; NULL: none does.
static Expr *end_for(Team *t, const Row *r, const Stmt *loop) {
  if (is_even(t, r) && (r->host || loop->hi->op == OP_CONST)) return NULL;
  return loop->hi;
}

// Which of a thread's vectors; the only one is 0.
static Expr *item(const Team *t, const Row *r, Index *k) { return r->items == 1 ? gpu_int(t->g, 0) : expr_index(t->g->x, k); }

// unroll k in 0 .. items:  let first = (k * team + member) * lanes:  inside
static Stmt *over_items(Team *t, const Row *r, const char *name, Index **k, Expr **first, Block *in) {
  Gpu *g = t->g;
  *k = gpu_index(g, "k");
  Expr *at = gpu_plus(g, gpu_mul(g, item(t, r, *k), gpu_int(g, t->size)), t->member);
  gpu_let(g, in, name, gpu_mul(g, at, gpu_int(g, r->lanes)), first);
  return gpu_loop(g, HOW_UNROLL, *k, gpu_int(g, 0), gpu_int(g, r->items), NULL);
}

static Expr *slot_of(const Team *t, const Row *r, Index *k) { return gpu_mul(t->g, item(t, r, k), gpu_int(t->g, r->lanes)); }

// The end of what is loaded; NULL: all vectors are there.
static Expr *end_of_load(Team *t, const Row *r, const Kept *kept) {
  if (kept->to) return kept->to;
  if (is_even(t, r)) return NULL;
  return r->host ? r->steps : gpu_int(t->g, r->length);
}

static Stmt *load_kept(Team *t, const Row *r, const Kept *kept, Index *k, Expr *first) {
  Gpu *g = t->g;
  Tensor *a = kept->read->u.t;
  Expr *sub[8], *end = end_of_load(t, r, kept);
  for (int d = 0; d < a->rank; d++) sub[d] = expr_subst(g->x, kept->read->arg[d], 1, &r->kept.row, &first);
  Stmt *move = gpu_move(g, a, a->rank, sub, kept->local, slot_of(t, r, k), r->lanes, false);
  return end ? gpu_if(g, less(t, first, end), move, NULL) : move;
}

enum { AT_A_TIME = 64 << 10 };     // bytes that the threads of a block wait for at a time; more registers for more gain nothing (argmax of 64 rows: 8.0 us, 9.1)

static int at_a_time(const Team *t, int64_t vectors) { return vectors < 8 || t->threads * 8 * 16 > AT_A_TIME ? 4 : 8; }

// The vectors that a thread does not keep.
static int64_t first_left(const Team *t, const Row *r) { return (int64_t)r->items * t->size * r->lanes; }

// A loop over the thread's vectors, one after the other.
static Stmt *over_vectors(Team *t, const Row *r, Index *at, Expr *end, Stmt *body) {
  Gpu *g = t->g;
  int64_t step = (int64_t)t->size * r->lanes, length = r->length - first_left(t, r);
  Stmt *loop = gpu_loop(g, HOW_SEQ, at, gpu_plus(g, gpu_mul(g, t->member, gpu_int(g, r->lanes)), gpu_int(g, first_left(t, r))), end, body);
  loop->step = step;
  loop->unroll = r->in_part ? 2 : at_a_time(t, length / step);
  return loop;
}

static Stmt *load_shared(Team *t, Row *r) {
  Gpu *g = t->g;
  Block b = gpu_block();
  for (int i = 0; i < r->kept.kept.n; i++) {
    const Kept *kept = &r->kept.kept.v[i];
    Tensor *a = kept->read->u.t;
    Stmt *alloc = stmt_new(g->a, ST_ALLOC);
    Index *ix = gpu_index(g, "at");
    Expr *sub[8], *at = expr_index(g->x, ix);
    alloc->t = kept->local;
    alloc->space = SPACE_SHARED;
    alloc->a = t->shared_bytes;
    t->shared_bytes = gpu_plus(g, t->shared_bytes, gpu_int(g, (dtype_bytes(a->dtype, r->length) + 15) / 16 * 16));
    for (int d = 0; d < a->rank; d++) sub[d] = expr_subst(g->x, kept->read->arg[d], 1, &r->kept.row, &at);
    gpu_add(&b, alloc);
    gpu_add(&b, over_vectors(t, r, ix, kept->to ? kept->to : gpu_int(g, r->length), gpu_move(g, a, a->rank, sub, kept->local, at, r->lanes, false)));
  }
  return b.first;
}

// All that is kept, by one loop.
Stmt *gpu_load_row(Team *t, Row *r) {
  Gpu *g = t->g;
  Block b = gpu_block(), in = gpu_block();
  Index *k;
  Expr *first;
  r->loaded = true;
  if (!r->kept.kept.n) return NULL;
  if (r->in_shared) return load_shared(t, r);
  Stmt *loop = over_items(t, r, "first", &k, &first, &in);
  for (int i = 0; i < r->kept.kept.n; i++) {
    const Kept *kept = &r->kept.kept.v[i];
    Stmt *alloc = stmt_new(g->a, ST_ALLOC);
    alloc->t = kept->local;
    alloc->space = dtypes[kept->local->dtype].bits < 32 ? SPACE_PACKED : SPACE_STACK;
    gpu_add(&b, alloc);
    gpu_add(&in, load_kept(t, r, kept, k, first));
  }
  loop->body = in.first;
  gpu_add(&b, loop);
  return b.first;
}

typedef struct Near { const Row *r; Index *ix; } Near;
static Expr *from_shared(void *cx, ExprTable *x, Expr *e) {
  const Near *n = cx;
  Expr *row = expr_index(x, n->r->kept.row), *at = expr_index(x, n->ix);
  if (e->op != OP_READ || !e->u.t->rank) return e;
  Expr *as_row = expr_subst(x, e, 1, (Index *const *)&n->ix, &row);
  for (int i = 0; i < n->r->kept.kept.n; i++)
    if (n->r->kept.kept.v[i].read == as_row) return expr_make(x, OP_READ, (Dtype)e->dtype, 0, n->r->kept.kept.v[i].local, e->at, 1, &at);
  return e;
}

// The loop's body for the vector that begins at `first`. Tiles end where vectors end.
static Stmt *one_vector(Team *t, Row *r, Stmt *s, Expr *first, Expr *slot, bool keeps) {
  Gpu *g = t->g;
  bool part = !r->host && s->hi->op != OP_CONST;
  if (part) s->body = gpu_if(g, less(t, expr_index(g->x, s->ix), s->hi), s->body, NULL);
  if (keeps && r->in_shared) stmts_map(g->x, s->body, from_shared, &(Near){ r, s->ix });
  Vector v = { .g = g, .n = t->n, .written = &t->written, .ix = s->ix, .hi = s->hi, .bound = r->host ? NULL : gpu_int(g, r->length), .first = first, .near = keeps && r->in_shared ? &r->kept : NULL,
               .base = r->host ? r->host->ix : NULL, .lanes = r->lanes, .rows = keeps && !r->in_shared ? &r->kept : NULL, .slot = slot };
  return gpu_vector(&v, s->body);
}

static Stmt *stream(Team *t, Row *r, Stmt *s, bool keeps) {
  Gpu *g = t->g;
  Index *at = gpu_index(g, arena_printf(g->scratch, "%s0", s->ix->name));
  return over_vectors(t, r, at, s->hi, one_vector(t, r, s, expr_index(g->x, at), NULL, keeps));
}

static bool is_packed(const Kept *k) { return dtypes[k->local->dtype].bits < 32; }

// What one loop unpacked is unpacked again by the next.
static Stmt *forget(Team *t, const Row *r) {
  Block b = gpu_block();
  for (int i = 0; i < r->kept.kept.n; i++) {
    if (!is_packed(&r->kept.kept.v[i])) continue;
    Stmt *s = stmt_new(t->g->a, ST_FORGET);
    s->t = r->kept.kept.v[i].local;
    gpu_add(&b, s);
  }
  return b.first;
}

Stmt *gpu_row_loop(Team *t, Row *r, Stmt *s, bool keeps) {
  Gpu *g = t->g;
  Index *k;
  Expr *first;
  Block in = gpu_block();
  const char *note = s->note;
  s->note = NULL;
  Stmt *loop, *left = r->in_part ? stream(t, r, gpu_copy(g, s), false) : NULL;
  if (!r->items) {
    loop = stream(t, r, s, keeps);
  } else {
    loop = over_items(t, r, arena_printf(g->scratch, "%s0", s->ix->name), &k, &first, &in);
    Expr *end = end_for(t, r, s);
    Stmt *body = one_vector(t, r, s, first, slot_of(t, r, k), keeps);
    gpu_add(&in, end ? gpu_if(g, less(t, first, end), body, NULL) : body);
    loop->body = in.first;
  }
  loop->note = note;
  Block all = gpu_block();
  if (keeps && r->used && r->forgets && !r->in_shared) gpu_add(&all, forget(t, r));
  r->used |= keeps;
  gpu_add(&all, loop);
  gpu_add(&all, left);
  return all.first;
}
