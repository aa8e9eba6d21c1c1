// gpu_team.c: several threads a grid point.
//
//   var m = -inf                          var m = -inf
//   for j in 0 .. D                       for j in 0 + member .. D by 256
//     m = max(m, x[i, j])        ──▶        m = max(m, x[i, j])
//   fold m = max                          fold m = max                    (over the team)
//   s[i] = m                              if member == 0:  s[i] = m
//
// All threads of a team run what stands outside of loops, with the same values; loops whose steps are independent are
// shared out. A team is a part of a warp, a warp, a block, or a cluster of blocks. What one thread wrote and another
// reads has a barrier between (gpu_barrier.c).
#include "passes/gpu_scan.h"
#include "passes/gpu_team.h"

enum { LEAST_BLOCK = 128, STREAM_THREADS = 1024 };

// ---- which loops -------------------------------------------------------------------------------

static int uses_of(Gpu *g, const Stmt *s, const Var *v) { return gpu_uses_var(g, s, v); }

static int64_t values_of(const Tensor *t) {
  int64_t n = 1;
  for (int k = 0; k < t->rank; k++) n *= t->extent[k]->op == OP_CONST ? t->extent[k]->u.v.i : INT32_MAX;
  return n;
}

static bool is_nibble(const Stmt *s) { return s->field < 0 && dtypes[s->t->dtype].bits == 4 && s->t->role != ROLE_LOCAL; }

static bool allocates(const Stmt *s, const Tensor *t) {
  for (; s; s = s->next) if ((s->kind == ST_ALLOC && s->t == t) || allocates(s->body, t) || allocates(s->els, t)) return true;
  return false;
}

// Every step stores there, and maybe adds to what the others left.
static bool stores_one_place(const Stmt *loop, const Stmt *s) {
  for (int k = 0; k < s->nsub; k++) if (expr_uses_index(s->sub[k], loop->ix) || expr_has(s->sub[k], OP_VAR) || expr_has(s->sub[k], OP_READ)) return false;
  return !allocates(loop->body, s->t);
}

// May threads take different steps of the loop? What it changes outside of itself must be sums that are folded later.
static bool independent(Team *t, const Stmt *loop, const Stmt *s) {
  for (; s; s = s->next) {
    switch (s->kind) {
    case ST_SET: if (!stmts_declare(loop->body, s->var)) return false; break;
    case ST_FOLD: if (!stmts_declare(loop->body, s->var)) return false; break;
    case ST_ACC: if (!stmts_declare(loop->body, s->var) && (!stmt_may_reorder(s) || uses_of(t->g, loop->body, s->var))) return false; break;
    case ST_ALLOC: if (values_of(s->t) > GPU_STACK_VALUES) return false; break;
    case ST_STORE: if (is_nibble(s) || stores_one_place(loop, s)) return false; break;
    default: break;
    }
    if (!independent(t, loop, s->body) || !independent(t, loop, s->els)) return false;
  }
  return true;
}

// Sums from outside of `loop` that are added to somewhere else too would be folded wrongly.
static void count_sums(const Stmt *s, const Var *v, int *n) {
  for (; s; s = s->next) {
    *n += s->kind == ST_ACC && s->var == v;
    count_sums(s->body, v, n);
    count_sums(s->els, v, n);
  }
}

static bool sums_here_only(Team *t, const Stmt *loop, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_ACC && !stmts_declare(loop->body, s->var)) {
      int here = 0, all = 0;
      count_sums(loop->body, s->var, &here);
      count_sums(t->n->body, s->var, &all);
      if (here != all) return false;
    }
    if (!sums_here_only(t, loop, s->body) || !sums_here_only(t, loop, s->els)) return false;
  }
  return true;
}

static bool can_share(Team *t, const Stmt *loop) {
  bool how = loop->how == HOW_SEQ || loop->how == HOW_PAR || loop->how == HOW_PAR_VEC;
  return how && !loop->ordered && !loop->step && independent(t, loop, loop->body) && sums_here_only(t, loop, loop->body);
}

static bool is_short(const Stmt *loop) { return expr_is_const(loop->lo) && expr_is_const(loop->hi) && loop->hi->u.v.i - loop->lo->u.v.i < GPU_LANES; }

// Better share the loop inside: it walks memory, and the sums of both are the same.
static bool prefers_inner(Team *t, Stmt *loop) {
  Stmt *in = gpu_only_loop(loop->body);
  return in && can_share(t, in) && (!is_short(in) || is_short(loop));
}

static void find_loops(Team *t, Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_LOOP && can_share(t, s) && !prefers_inner(t, s)) {
      map_putp(&t->shared, s, s);
      vec_push(t->g->scratch, &t->loops, s);
      continue;
    }
    find_loops(t, s->body);
    find_loops(t, s->els);
  }
}

// ---- is it worth it? ---------------------------------------------------------------------------

typedef struct Access { Team *t; const Stmt *loop; int rows, columns; } Access;

// Which index walks memory: the grid's last, or a loop's.
static void look_at_read(void *cx, Expr *e) {
  Access *a = cx;
  const Nest *n = a->t->n;
  if (e->op != OP_READ || !e->u.t->rank) return;
  Expr *last = e->arg[e->u.t->rank - 1];
  if (n->n && gpu_is_step(a->t->g, last, n->ix[n->n - 1])) a->columns++;
  else if (gpu_is_step(a->t->g, last, a->loop->ix)) a->rows++;
}

static void look_inside(Access *a, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->a) expr_visit(a->t->g->scratch, s->a, look_at_read, a);
    const Stmt *outer = a->loop;
    if (s->kind == ST_LOOP) a->loop = s;
    look_inside(a, s->body);
    a->loop = outer;
    look_inside(a, s->els);
  }
}

static bool has_big_array(const Stmt *s) {
  for (; s; s = s->next) if ((s->kind == ST_ALLOC && values_of(s->t) > GPU_STACK_VALUES) || has_big_array(s->body) || has_big_array(s->els)) return true;
  return false;
}

static bool worth_it(Team *t) {
  Access a = { .t = t };
  bool any = false;
  if (has_big_array(t->n->body)) return true;
  for (int i = 0; i < t->loops.n; i++) {
    a.loop = t->loops.v[i];
    any |= !is_short(a.loop);
    look_inside(&a, a.loop->body);
  }
  return any && a.rows > 0 && a.columns == 0;
}

// ---- arrays ------------------------------------------------------------------------------------

// Steps that a loop over an array's index takes at most: what the array needs to hold.
typedef struct Reach { Team *t; const Tensor *a; Expr *most; bool known; } Reach;

static Expr *end_of(const Stmt *loops, const Expr *sub) {
  for (const Stmt *s = loops; s; s = s->next) {
    if (s->kind == ST_LOOP && sub->op == OP_INDEX && s->ix == sub->u.ix) return s->hi;
    Expr *e = end_of(s->body, sub);
    if (!e) e = end_of(s->els, sub);
    if (e) return e;
  }
  return NULL;
}

static void reach(Reach *r, Expr *sub) {
  Expr *end = end_of(r->t->n->body, sub);
  if (!end && sub->op != OP_INDEX) return;         // within what loops wrote
  if (!end || !gpu_dims_only(r->t->g, end) || (r->most && r->most != end)) r->known = false;
  else r->most = end;
}

static void reach_stores(Reach *r, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_STORE && s->t == r->a && s->nsub == 1) reach(r, s->sub[0]);
    reach_stores(r, s->body);
    reach_stores(r, s->els);
  }
}

// What the array holds is what is stored to it: fewer values than the room that was left, where rows are shorter.
static void find_arrays(Team *t, const Stmt *s) {
  for (; s; s = s->next) {
    Reach r = { t, s->t, NULL, s->kind == ST_ALLOC && s->t->rank == 1 };
    if (r.known) reach_stores(&r, t->n->body);
    if (s->kind == ST_ALLOC) map_putp(&t->extents, s->t, r.known && r.most ? r.most : gpu_int(t->g, values_of(s->t)));
    find_arrays(t, s->body);
    find_arrays(t, s->els);
  }
}

// ---- the team's statements ---------------------------------------------------------------------

static Stmt *by_first(Team *t, Stmt *s) {
  if (t->size == 1) return s;
  return gpu_if(t->g, expr_op2(t->g->x, OP_EQ, t->member, gpu_int(t->g, 0), NO_SPAN), s, NULL);
}

static void mark_sums(Team *t, const Stmt *loop, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_ACC && !stmts_declare(loop->body, s->var)) map_putp(&t->folded, s->var, s->var);
    mark_sums(t, loop, s->body);
    mark_sums(t, loop, s->els);
  }
}

static Stmt *row_loop(Team *t, Row *r, Stmt *s) {
  Stmt *made = gpu_row_loop(t, r, s, map_getp(&r->direct, s) != NULL);
  gpu_best_of_vectors(t, s, made);
  return made;
}

static Stmt *shared_loop(Team *t, Stmt *s) {
  mark_sums(t, s, s->body);
  s->how = HOW_SEQ;
  s->body = gpu_alone(s->body);
  Row *r = gpu_row_of(t, s);
  if (r) return row_loop(t, r, s);
  if (s->align) return gpu_stream(t, s);
  s->lo = gpu_plus(t->g, s->lo, t->member);
  s->step = t->size;
  return s;
}

static void add_shared_array(Team *t, Stmt *s) {
  Gpu *g = t->g;
  Tensor *a = s->t;
  s->space = SPACE_SHARED;
  s->a = t->shared_bytes;
  Expr *n = map_getp(&t->extents, a), *bytes = gpu_mul(g, n, gpu_int(g, dtypes[a->dtype].bits / 8));
  a->rank = a->rank ? a->rank : 1;
  if (a->rank == 1) a->extent[0] = n;
  t->shared_bytes = gpu_plus(g, t->shared_bytes, gpu_mul(g, gpu_div_up(g, bytes, 16), gpu_int(g, 16)));
}

Stmt *team_block(Team *t, Stmt *s, bool again);

// In order, by all threads: as prefixes where that can be, else each step by the first.
static Stmt *ordered_loop(Team *t, Stmt *s) {
  Scan c;
  if (t->size > 1 && t->cluster == 1 && gpu_scan_find(&c, t->n, s)) {
    c.member = t->member;
    c.threads = t->size;
    gpu_scan_lanes(&c);
    return gpu_scan_tiles(&c, s->lo, s->hi);
  }
  map_putp(&t->whole, s, s);
  s->body = team_block(t, s->body, true);
  return s;
}

static Stmt *team_statement(Team *t, Stmt *s, bool again) {
  switch (s->kind) {
  case ST_STORE: case ST_FAULT: return by_first(t, s);
  case ST_ACC:                                  // of a part: itself a part, until it is folded
    if (s->a->op == OP_VAR && map_getp(&t->folded, s->a->u.var) == s->a->u.var) map_putp(&t->folded, s->var, s->var);
    return s;
  case ST_FOLD:
    if (!map_getp(&t->folded, s->var) || t->size == 1) return NULL;
    map_putp(&t->folded, s->var, t);
    s->again = again;
    return gpu_best_again(t, s);
  case ST_ALLOC:
    if (gpu_row_array(t, s->t)) s->t = gpu_row_array(t, s->t);
    else if (t->size > 1) add_shared_array(t, s);
    return s;
  case ST_IF:
    map_putp(&t->whole, s, s);
    s->body = team_block(t, s->body, again);
    s->els = team_block(t, s->els, again);
    return s;
  case ST_LOOP:
    if (map_getp(&t->shared, s)) return shared_loop(t, s);
    if (s->how == HOW_SCAN) return ordered_loop(t, s);
    s->how = HOW_SEQ;
    map_putp(&t->whole, s, s);
    s->body = team_block(t, s->body, true);
    return s;
  default: return s;
  }
}

// again: stands in a loop that the whole team runs.
Stmt *team_block(Team *t, Stmt *s, bool again) {
  Block b = gpu_block();
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    Row *r = gpu_row_of(t, s);
    if (r && !r->loaded && map_getp(&r->direct, s)) gpu_add(&b, gpu_load_row(t, r));
    gpu_add(&b, team_statement(t, s, again));
  }
  return b.first;
}

// ---- the frame ---------------------------------------------------------------------------------

static Team team_make(Nest *n) {
  Gpu *g = n->g;
  gpu_flatten(n);
  narrow_best(n->g->x, n->g->scratch, n->facts, n->body);
  Team t = { .n = n, .g = g, .shared_bytes = gpu_int(g, 0), .cluster = 1 };
  Map *const maps[] = { &t.shared, &t.whole, &t.extents, &t.folded, &t.owned, &t.again };
  for (int k = 0; k < 6; k++) *maps[k] = map_make(g->scratch);
  t.written = gpu_written(g, n->body);
  find_loops(&t, n->body);
  find_arrays(&t, n->body);
  return t;
}

static void finish(Team *t, const Frame *f, Stmt *body, Expr *blocks) {
  bool shared = !expr_is_int(t->shared_bytes, 0);
  gpu_close(t->n, f, body, (Grid){ .blocks = blocks, .threads = t->threads, .team = t->size, .cluster = t->cluster, .resident = t->resident,
                             .shared_bytes = shared ? t->shared_bytes : NULL });
}

// A block or a cluster a grid point.
static void whole_blocks(Team *t) {
  Gpu *g = t->g;
  Frame f = gpu_frame(g);
  Block b = gpu_block();
  Expr *point = f.b, *cluster = gpu_int(g, t->cluster), *points = t->n->n ? t->n->points : gpu_int(g, 1);
  t->member = f.t;
  if (t->cluster > 1) {
    gpu_let(g, &b, "member", gpu_plus(g, gpu_mul(g, gpu_mod(g, f.b, cluster), gpu_int(g, t->threads)), f.t), &t->member);
    point = gpu_div(g, f.b, cluster);
  }
  gpu_owned(t);
  gpu_find_best(t);
  Stmt *body = team_block(t, t->n->body, false);
  gpu_barriers(t, body);
  Block all = gpu_block();
  gpu_add(&all, body);
  if (t->cluster > 1) gpu_add(&all, stmt_new(g->a, ST_BARRIER));      // others may still read this block's shared memory
  gpu_add(&b, gpu_at(t->n, t->n->n, point, all.first));
  finish(t, &f, b.first, gpu_mul(g, points, cluster));
}

// Several grid points a block, a warp or less for each.
static void parts_of_blocks(Team *t) {
  Gpu *g = t->g;
  Frame f = gpu_frame(g);
  Block b = gpu_block();
  int each = t->threads / t->size;
  Expr *size = gpu_int(g, t->size), *point;
  gpu_let(g, &b, "member", gpu_mod(g, f.t, size), &t->member);
  gpu_let(g, &b, "point", gpu_plus(g, gpu_mul(g, f.b, gpu_int(g, each)), gpu_div(g, f.t, size)), &point);
  gpu_owned(t);
  gpu_find_best(t);
  Stmt *body = team_block(t, t->n->body, false);
  gpu_barriers(t, body);
  body = gpu_at(t->n, t->n->n, point, body);
  gpu_add(&b, gpu_if(g, expr_op2(g->x, OP_LT, point, t->n->points, NO_SPAN), body, NULL));
  gpu_close(t->n, &f, b.first, (Grid){ .blocks = gpu_div_up(g, t->n->points, each), .threads = t->threads, .team = t->size });
}

int gpu_team_arrays(const Team *t, const Stmt *s) {
  int n = 0;
  for (; s; s = s->next) {
    n += s->kind == ST_ALLOC;
    if (!map_getp(&t->shared, s)) n += gpu_team_arrays(t, s->body) + gpu_team_arrays(t, s->els);
  }
  return n;
}

// Arrays that are no thread's own are one for a block.
static bool has_shared_array(const Team *t) {
  int own = 0;
  for (int i = 0; i < t->nrows; i++) own += (int)t->row[i].kept.arrays.n;
  return gpu_team_arrays(t, t->n->body) > own;
}

// Steps of the longest shared loop; 0: not known.
static int64_t most_steps(const Team *t) {
  int64_t most = 0;
  for (int i = 0; i < t->loops.n; i++) {
    const Stmt *s = t->loops.v[i];
    if (!expr_is_const(s->hi) || !expr_is_const(s->lo)) return 0;
    if (s->hi->u.v.i - s->lo->u.v.i > most) most = s->hi->u.v.i - s->lo->u.v.i;
  }
  return most;
}

// Without a row that is walked in vectors.
static void plain_size(Team *t) {
  int64_t steps = most_steps(t);
  bool warp = steps && steps <= 1024 && !has_big_array(t->n->body);
  bool streams = false;
  for (int i = 0; i < t->loops.n; i++) streams |= t->loops.v[i]->align > 0;
  t->threads = streams ? STREAM_THREADS : GPU_THREADS / 2;
  t->size = warp ? GPU_LANES : t->threads;
}

bool gpu_teams(Nest *n) {
  Team t = team_make(n);
  if (!t.loops.n || !worth_it(&t)) return false;
  gpu_find_rows(&t);
  if (!t.nrows) plain_size(&t);
  if (t.size <= GPU_LANES && has_shared_array(&t)) t.size = t.threads = LEAST_BLOCK;
  if (t.size > GPU_LANES) whole_blocks(&t);
  else parts_of_blocks(&t);
  return true;
}

void gpu_serial(Nest *n) {
  Team t = team_make(n);
  t.size = t.threads = t.loops.n ? GPU_THREADS : 1;
  whole_blocks(&t);
}
