// jam.c: grid points that lie side by side in memory run their loops together.
//
//   par j in 0 .. D                       par tile in 0 .. D by 1024
//     var s = 0                             for j in the tile:  s[j] = 0
//     for i in 0 .. N              ──▶      for i in 0 .. N
//       s = s + x[i, j]                       for j in the tile:  s[j] = s[j] + x[i, j]
//     y[j] = s                              for j in the tile:  y[j] = s[j]
//
// The loop over the grid moves inside: what stands between two loops becomes a loop over the tile, and variables that live from
// one such loop to another become arrays, which the first cache holds. Memory is then read in rows, and the inner loops
// are free of dependences, so `vector` takes them. [Unroll-and-jam with scalar expansion: Allen & Kennedy, Optimizing
// Compilers for Modern Architectures, 2001]
#include "ir/affine.h"
#include "ir/rewrite.h"
#include "passes/pass.h"

enum {
  TILE_BYTES = 16 << 10,        // of all arrays together that loops over rows use: half of a first cache
  MOST = 2048, LEAST = 64,      // steps of a tile: a row of it is at least some lines of memory, at most what pays
  WHOLE_ROW = 4096, PARTS = 64, // at most, where a tile is as wide as the rows, of which so many parts and more are shared out
  SHARED = 256, SHARES = 4,     // steps and tiles, at the least, of a loop whose steps are known and which alone is parallel
  NARROW = 512, WIDE = 4096     // steps of a tile where a recurrence has fewer than WIDE grid points, so that cores have a share
};

typedef struct Jam {
  Pipe *p;
  Plan *plan;
  Stmt *loop;           // over the grid's last index
  Index *ix;            // its index
  bool changed, failed;
  bool gpu;             // lanes of a thread: FOLDs combine threads
  Map varying;          // Var → itself: differs between grid points
  Map home;             // Var → the segment (its first statement) in which it is declared
  Map crosses;          // Var → itself: is used outside its segment
  Map deepest;          // Var → itself: is used in as many loops as stand inside each other
  int depth;            // their number
  JamArrays arrays;
  Index *tile;
  int64_t steps, most;
} Jam;

// ---- which variables differ between grid points --------------------------------------------------

typedef struct Uses { Jam *j; bool yes; } Uses;

static void look(void *cx, Expr *e) {
  Uses *u = cx;
  if (e->op == OP_VAR && map_getp(&u->j->varying, e->u.var)) u->yes = true;
}

static bool varies(Jam *j, Expr *e) {
  if (!e) return false;
  Uses u = { j, expr_uses_index(e, j->ix) };
  if (!u.yes) expr_visit(j->p->scratch, e, look, &u);
  return u.yes;
}

static void mark(Jam *j, Var *v) {
  if (!v || map_getp(&j->varying, v)) return;
  map_putp(&j->varying, v, v);
  j->changed = true;
}

static void mark_varying(Jam *j, const Stmt *s, bool guarded) {
  for (; s; s = s->next) {
    bool yes = guarded || varies(j, s->a) || varies(j, s->b);
    if (s->var && s->kind != ST_FOLD && yes) mark(j, s->var), mark(j, s->var2);
    mark_varying(j, s->body, guarded || (s->kind == ST_IF && yes));
    mark_varying(j, s->els, guarded || (s->kind == ST_IF && yes));
  }
}

// ---- does it pay, and can it be done? ------------------------------------------------------------

typedef struct Access { Jam *j; int rows, others; } Access;

// Reads that use the grid's index: along a row of memory (`x[…, j + k]`), or in another way.
static void look_at_read(void *cx, Expr *e) {
  Access *a = cx;
  if (e->op != OP_READ || !expr_uses_index(e, a->j->ix) || e->u.t->rank == 0) return;
  Expr *coef, *rest;
  Index *ix = a->j->ix;
  int last = e->u.t->rank - 1;
  bool row = affine_split(a->j->plan->x, e->arg[last], 1, &ix, &coef, &rest) && expr_is_int(coef, 1);
  for (int k = 0; k < last; k++) row &= !expr_uses_index(e->arg[k], ix);
  if (row) a->rows++; else a->others++;
}

static void look_inside(Access *a, const Stmt *s, bool in_loop) {
  for (; s; s = s->next) {
    if (in_loop && s->a) expr_visit(a->j->p->scratch, s->a, look_at_read, a);
    look_inside(a, s->body, in_loop || s->kind == ST_LOOP);
    look_inside(a, s->els, in_loop);
  }
}

static bool packed(const Tensor *t) { return dtypes[t->dtype].bits < 8; }

static bool can_move(Jam *j, const Stmt *s) {
  for (; s; s = s->next) {
    bool runs = s->how == HOW_SEQ || s->how == HOW_SCAN || (j->gpu && (s->how == HOW_UNROLL || s->how == HOW_ONE));
    if (s->kind == ST_LOOP && (!runs || varies(j, s->lo) || varies(j, s->hi))) return false;
    if (s->kind == ST_IF && varies(j, s->a) && (stmts_have(s->body, ST_LOOP) || stmts_have(s->els, ST_LOOP))) return false;
    if (s->kind == ST_ALLOC || s->field >= 0 || (s->kind == ST_STORE && packed(s->t))) return false;
    if (!can_move(j, s->body) || !can_move(j, s->els)) return false;
  }
  return true;
}

static bool pays(Jam *j) {
  Access a = { j, 0, 0 };
  look_inside(&a, j->loop->body, false);
  return a.rows > 0 && a.others == 0 && stmts_have(j->loop->body, ST_LOOP);
}

// ---- segments ------------------------------------------------------------------------------------

// Stays as it is, once for the whole tile: a loop, or what all grid points have in common.
static bool stands_alone(Jam *j, const Stmt *s) {
  if (s->kind == ST_LOOP || (s->kind == ST_IF && (stmts_have(s->body, ST_LOOP) || stmts_have(s->els, ST_LOOP))) || (j->gpu && s->kind == ST_FOLD)) return true;
  return s->var && !map_getp(&j->varying, s->var) && s->kind != ST_FAULT;
}

static void note_homes(Jam *j, const Stmt *s, const Stmt *segment) {
  for (; s; s = s->next) {
    if (stands_alone(j, s)) {
      segment = NULL;
      note_homes(j, s->body, NULL);
      note_homes(j, s->els, NULL);
      continue;
    }
    if (!segment) segment = s;
    if (s->kind == ST_LET || s->kind == ST_VAR) map_putp(&j->home, s->var, (void *)segment);
    note_homes(j, s->body, segment);
    note_homes(j, s->els, segment);
  }
}

typedef struct Use { Jam *j; const Stmt *segment; int depth; } Use;

static void see_var(void *cx, Expr *e) {
  Use *u = cx;
  if (e->op == OP_VAR && u->depth == u->j->depth) map_putp(&u->j->deepest, e->u.var, e->u.var);
  if (e->op == OP_VAR && map_getp(&u->j->varying, e->u.var) && map_getp(&u->j->home, e->u.var) != u->segment) map_putp(&u->j->crosses, e->u.var, e->u.var);
}

static void see_target(Use *u, Var *v) {
  if (v && u->depth == u->j->depth) map_putp(&u->j->deepest, v, v);
  if (v && map_getp(&u->j->varying, v) && map_getp(&u->j->home, v) != u->segment) map_putp(&u->j->crosses, v, v);
}

static int depth_of(const Stmt *s) {
  int most = 0;
  for (; s; s = s->next) {
    int body = depth_of(s->body) + (s->kind == ST_LOOP), els = depth_of(s->els);
    most = most > body ? most : body;
    most = most > els ? most : els;
  }
  return most;
}

static void note_uses(Jam *j, const Stmt *s, const Stmt *segment, int depth) {
  for (; s; s = s->next) {
    bool alone = stands_alone(j, s);
    if (alone) segment = NULL;
    else if (!segment) segment = s;
    Use u = { j, segment, depth };
    Expr *part[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) if (part[k]) expr_visit(j->p->scratch, part[k], see_var, &u);
    for (int k = 0; k < s->nsub; k++) expr_visit(j->p->scratch, s->sub[k], see_var, &u);
    if (s->kind != ST_FOLD || j->gpu) see_target(&u, s->var), see_target(&u, s->var2);
    note_uses(j, s->body, alone ? NULL : segment, depth + (s->kind == ST_LOOP));
    note_uses(j, s->els, alone ? NULL : segment, depth);
  }
}

// ---- arrays in the place of variables ------------------------------------------------------------

static Tensor *array_of(const Jam *j, const Var *v) {
  for (int i = 0; i < j->arrays.v.n; i++) if (j->arrays.v.v[i].var == v) return j->arrays.v.v[i].array;
  return NULL;
}

static Expr *place(Jam *j) { return expr_op2(j->plan->x, OP_SUB, expr_index(j->plan->x, j->ix), expr_index(j->plan->x, j->tile), NO_SPAN); }

static Expr *to_array(void *cx, ExprTable *x, Expr *e) {
  Jam *j = cx;
  Tensor *t = e->op == OP_VAR ? array_of(j, e->u.var) : NULL;
  if (!t) return e;
  Expr *at = place(j);
  return expr_make(x, OP_READ, (Dtype)e->dtype, 0, t, e->at, 1, &at);
}

static Expr *renamed(Jam *j, Expr *e) { return e ? expr_map(j->plan->x, e, to_array, j) : NULL; }

static Stmt *store_into(Jam *j, const Stmt *s, Tensor *t, Expr *value) {
  Stmt *st = stmt_new(j->p->a, ST_STORE);
  st->t = t;
  st->nsub = 1;
  st->sub[0] = place(j);
  st->a = value;
  st->note = s->note;
  st->at = s->at;
  return st;
}

// (v, at) = the better of (v, at) and (a, b), as three statements; as print_arg of the printer has it.
static Stmt *better_of(Jam *j, const Stmt *s, Tensor *v, Tensor *at) {
  ExprTable *x = j->plan->x;
  Expr *where = place(j), *a = renamed(j, s->a), *b = renamed(j, s->b);
  Expr *old = expr_make(x, OP_READ, (Dtype)a->dtype, 0, v, s->at, 1, &where), *old_at = expr_make(x, OP_READ, DT_I64, 0, at, s->at, 1, &where);
  Stmt *let = plan_let(j->plan, ST_LET, "better", reduce_better(x, s->reducer, a, old, old_at, expr_int(x, DT_I64, -INT64_MAX, s->at)));
  let->next = store_into(j, s, v, expr_select(x, expr_var(x, let->var), a, old, s->at));
  let->next->next = store_into(j, s, at, expr_select(x, expr_var(x, let->var), b, old_at, s->at));
  return let;
}

static Expr *combined(Jam *j, const Stmt *s, Expr *old) { return expr_op2(j->plan->x, reduce_op(s->reducer), old, renamed(j, s->a), s->at); }

static Stmt *moved(Jam *j, Stmt *s);

// A statement of a segment on arrays; may be several, linked.
static Stmt *on_arrays(Jam *j, Stmt *s) {
  Tensor *t = s->var ? array_of(j, s->var) : NULL, *t2 = s->var2 ? array_of(j, s->var2) : NULL;
  Expr *where = place(j);
  if (s->kind == ST_FOLD) return NULL;
  if (t && s->kind == ST_ACC && t2) return better_of(j, s, t, t2);
  if (t && s->kind == ST_ACC) return store_into(j, s, t, combined(j, s, expr_make(j->plan->x, OP_READ, s->var->dtype, 0, t, s->at, 1, &where)));
  if (t) return store_into(j, s, t, renamed(j, s->a));
  s->a = renamed(j, s->a);
  s->b = renamed(j, s->b);
  for (int k = 0; k < s->nsub; k++) s->sub[k] = renamed(j, s->sub[k]);
  s->body = moved(j, s->body);
  s->els = moved(j, s->els);
  s->next = NULL;
  return s;
}

static Stmt *moved(Jam *j, Stmt *s) {
  Stmt *first = NULL, **tail = &first;
  for (Stmt *next; s; s = next) {
    next = s->next;
    tail = stmts_append(tail, on_arrays(j, s));
  }
  return first;
}

// ---- the loops inside ----------------------------------------------------------------------------

static Stmt *tile_loop(Jam *j, Expr *to) {
  Stmt *l = stmt_new(j->p->a, ST_LOOP);
  l->how = HOW_SEQ;
  l->ix = j->ix;
  l->lo = expr_index(j->plan->x, j->tile);
  l->hi = to;
  return l;
}

static Stmt *new_var(Jam *j, const Var *like, Expr *first) {
  Stmt *s = stmt_new(j->p->a, ST_VAR);
  s->var = var_new(j->plan->x, like->name, like->dtype);
  s->a = first;
  return s;
}

static Stmt *new_set(Jam *j, Var *v, Expr *value) {
  Stmt *s = stmt_new(j->p->a, ST_SET);
  s->var = v;
  s->a = value;
  return s;
}

// A FOLD of each lane: over its variables, from the arrays and back.
static Stmt *fold_lanes(Jam *j, Stmt *fold) {
  Stmt *loop = tile_loop(j, expr_op2(j->plan->x, OP_ADD, expr_index(j->plan->x, j->tile), expr_int(j->plan->x, DT_I64, j->steps, NO_SPAN), NO_SPAN)), **tail = &loop->body;
  Tensor *array[2] = { array_of(j, fold->var), fold->var2 ? array_of(j, fold->var2) : NULL };
  Expr *where = place(j), *first[2];
  for (int k = 0; k < 2 && array[k]; k++) first[k] = expr_make(j->plan->x, OP_READ, array[k]->dtype, 0, array[k], NO_SPAN, 1, &where);
  Stmt *v = new_var(j, fold->var, first[0]), *v2 = array[1] ? new_var(j, fold->var2, expr_int(j->plan->x, DT_I64, -INT64_MAX, NO_SPAN)) : NULL;
  tail = stmts_append(tail, v);
  if (v2) tail = stmts_append(stmts_append(tail, v2), new_set(j, v2->var, first[1]));
  fold->var = v->var;
  fold->var2 = v2 ? v2->var : NULL;
  fold->again = true;
  tail = stmts_append(tail, fold);
  for (int k = 0; k < 2 && array[k]; k++) tail = stmts_append(tail, store_into(j, fold, array[k], expr_var(j->plan->x, k ? v2->var : v->var)));
  return loop;
}

static Stmt *distribute(Jam *j, Stmt *s, Expr *to) {
  Stmt *first = NULL, **tail = &first, *segment = NULL, **inside = NULL;
  for (Stmt *next; s; s = next) {
    next = s->next;
    if (stands_alone(j, s)) {
      segment = NULL;
      s->next = NULL;
      if (s->kind == ST_FOLD && array_of(j, s->var)) s = fold_lanes(j, s);
      else if (s->how == HOW_SCAN) s->how = HOW_SEQ;         // now each grid point has an accumulator
      if (s->ix != j->ix) {
        s->body = distribute(j, s->body, to);
        s->els = distribute(j, s->els, to);
      }
      tail = stmts_append(tail, s);
      continue;
    }
    Stmt *in = on_arrays(j, s);
    if (!in) continue;
    if (!segment) {
      segment = tile_loop(j, to);
      inside = &segment->body;
      tail = stmts_append(tail, segment);
    }
    inside = stmts_append(inside, in);
  }
  return first;
}

static void see_declared(Jam *j, const Stmt *s, int *bytes) {
  for (; s; s = s->next) {
    bool declares = s->kind == ST_LET || s->kind == ST_VAR;
    if (declares && map_getp(&j->crosses, s->var) && !array_of(j, s->var)) {
      vec_push(j->p->scratch, &j->arrays.v, (JamArray){ s->var, NULL });
      *bytes += dtypes[s->var->dtype].bits / 8;
      j->arrays.v.v[j->arrays.v.n - 1].array = fn_tensor(j->p->fn, s->var->name, ROLE_LOCAL, s->var->dtype, NULL, 0, NULL, NO_SPAN);
    }
    see_declared(j, s->body, bytes);
    see_declared(j, s->els, bytes);
  }
}

static Stmt *alloc_arrays(Jam *j, Stmt *before) {
  for (int i = j->arrays.v.n - 1; i >= 0; i--) {
    Tensor *t = j->arrays.v.v[i].array;
    t->rank = 1;
    t->extent[0] = expr_int(j->plan->x, DT_I64, j->steps, NO_SPAN);
    Stmt *s = stmt_new(j->p->a, ST_ALLOC);
    s->t = t;
    s->next = before;
    before = s;
  }
  return before;
}

// Variables that become arrays, and their bytes for one grid point.
static int find_arrays(Jam *j) {
  int bytes = 0;
  note_homes(j, j->loop->body, NULL);
  j->depth = depth_of(j->loop->body);
  note_uses(j, j->loop->body, NULL, 0);
  see_declared(j, j->loop->body, &bytes);
  return bytes;
}

// Of two arrays the one that the innermost loops use, where the other rests for whole parts of the rows.
static int used_bytes(const Jam *j, int all) {
  int bytes = 0;
  for (int i = 0; i < j->arrays.v.n; i++)
    if (map_getp(&j->deepest, j->arrays.v.v[i].var)) bytes += dtypes[j->arrays.v.v[i].var->dtype].bits / 8;
  return j->arrays.v.n == 2 && bytes ? bytes : all;
}

static void rewrite(Jam *j) {
  ExprTable *x = j->plan->x;
  int bytes = used_bytes(j, find_arrays(j));
  for (j->steps = j->most; j->steps > LEAST && j->steps * bytes > TILE_BYTES; j->steps /= 2) { }
  j->tile = plan_index(j->plan, arena_printf(j->p->scratch, "%s_tile", j->ix->name));
  Expr *end = expr_op2(x, OP_MIN, expr_plus(x, expr_index(x, j->tile), j->steps), j->loop->hi, NO_SPAN);
  Stmt *to = plan_let(j->plan, ST_LET, arena_printf(j->p->scratch, "%s_end", j->ix->name), end);
  Stmt *body = distribute(j, j->loop->body, expr_var(x, to->var));
  to->next = alloc_arrays(j, body);
  j->loop->ix = j->tile;
  j->loop->step = j->steps;
  j->loop->body = to;
}

static Jam jam_of(Pipe *p, Stmt *loop) {
  return (Jam){ .p = p, .most = MOST, .plan = p->plan, .loop = loop, .ix = loop->ix, .varying = map_make(p->scratch), .home = map_make(p->scratch), .crosses = map_make(p->scratch),
                .deepest = map_make(p->scratch) };
}

// Can the loop's grid points run together, and is it worth it?
static bool jams(Jam *j) {
  if (!pays(j)) return false;
  do {
    j->changed = false;
    mark_varying(j, j->loop->body, false);
  } while (j->changed);
  return can_move(j, j->loop->body);
}

static void jam_loop(Pipe *p, Stmt *loop, int64_t most) {
  Jam j = jam_of(p, loop);
  j.most = most;
  if (jams(&j)) rewrite(&j);
}

static bool runs_in_order(const Stmt *s) {
  for (; s; s = s->next) if (s->ordered || runs_in_order(s->body) || runs_in_order(s->els)) return true;
  return false;
}

// A recurrence has no other parallel loop than this one: by tiles of two widths. 32768 steps of 1024, two cores: 15.0 ms by one tile, 10.0 by two.
static void jam_in_order(Pipe *p, Stmt *loop) {
  ExprTable *x = p->plan->x;
  Expr *wide = expr_op2(x, OP_GE, loop->hi, expr_int(x, DT_I64, WIDE, NO_SPAN), NO_SPAN);
  Jam j = jam_of(p, loop);
  if (!jams(&j)) return;
  StmtCopy copy = { p->a, x, map_make(p->scratch) };
  Stmt *narrow = stmt_copy(&copy, loop), *whole = stmt_alone(p->a, loop), *next = loop->next;
  jam_loop(p, whole, MOST);
  jam_loop(p, narrow, NARROW);
  *loop = *stmt_either(p->a, wide, whole, narrow);
  loop->next = next;
}

bool jam_can(Pipe *p, Stmt *loop) {
  Jam j = jam_of(p, loop);
  j.gpu = true;
  return jams(&j);
}

Stmt *jam_lanes(Pipe *p, Stmt *loop, Index *first, int lanes, JamArrays *arrays) {
  Jam j = jam_of(p, loop);
  ExprTable *x = p->plan->x;
  j.gpu = true;
  if (!jams(&j)) return NULL;
  find_arrays(&j);
  j.steps = lanes;
  j.tile = first;
  Stmt *body = distribute(&j, loop->body, expr_op2(x, OP_ADD, expr_index(x, first), expr_int(x, DT_I64, lanes, NO_SPAN), NO_SPAN));
  *arrays = j.arrays;
  return alloc_arrays(&j, body);
}

Stmt *jam_points(Pipe *p, Stmt *loop, Index *first, int steps, Expr *end) {
  Jam j = jam_of(p, loop);
  do {
    j.changed = false;
    mark_varying(&j, loop->body, false);
  } while (j.changed);
  if (!can_move(&j, loop->body)) return NULL;
  find_arrays(&j);
  j.steps = steps;
  j.tile = first;
  return alloc_arrays(&j, distribute(&j, loop->body, end));
}

// So that cores have a share: sums over 256 rows of 1024 f32 in a cache, two cores: 8.6 us by one tile, 5.4 by four.
static int64_t steps_to_share(const Stmt *loop) {
  Scalar end;
  int64_t steps = MOST;
  for (bool known = expr_fold(loop->hi, &end); known && steps > SHARED && end.i < SHARES * steps; steps /= 2) { }
  return steps;
}

// Parts of the rows are shares already. A row that is one tile follows the one before in memory: [16384, 4096] f32, 8.5 ms by halves, 8.0 so.
static int64_t steps_of_parts(const Stmt *loop, int64_t parts) {
  Scalar end;
  return parts >= PARTS && expr_fold(loop->hi, &end) && end.i > MOST && end.i <= WHOLE_ROW ? WHOLE_ROW : MOST;
}

// The innermost of a nest of PAR loops, when it starts at 0. shares: steps of those around it, 1 where that is not known; 0: there are none.
static void walk(Pipe *p, Stmt *s, int64_t shares) {
  for (; s; s = s->next) {
    Scalar steps;
    bool par = s->kind == ST_LOOP && s->how == HOW_PAR, inner = par;
    for (const Stmt *b = s->body; b && par; b = b->next) inner &= b->kind != ST_LOOP || b->how != HOW_PAR;
    if (inner && expr_is_int(s->lo, 0)) {
      if (!shares && runs_in_order(s->body)) jam_in_order(p, s);
      else jam_loop(p, s, shares ? steps_of_parts(s, shares) : steps_to_share(s));
      continue;
    }
    walk(p, s->body, !par ? shares : expr_is_int(s->lo, 0) && expr_fold(s->hi, &steps) ? steps.i : 1);
    walk(p, s->els, shares);
  }
}

bool pass_jam(Pipe *p) {
  if (pipe_is_gpu(p)) return true;     // gpu.c gives columns to threads
  for (int i = 0; i < p->plan->kernels.n; i++) walk(p, p->plan->kernels.v[i]->body, 0);
  return true;
}
