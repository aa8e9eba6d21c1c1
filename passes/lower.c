// lower.c: equations to loops and statements.
//
//   kernel over i:                      for i < N, in parallel
//     m[i]    = max[j](x[i, j])           for j < D:  m = max(m, x[i, j])
//     z[i]    = sum[j](exp(x - m))   ──▶  for j < D:  z = z + exp(x[i, j] - m)
//     y[i, j] = exp(x - m) / z            for j < D:  y[i, j] = exp(x[i, j] - m) / z
//
// A block of loops is made from a list of items: equations with the loops that they still need. Items whose next loops run over one range
// share the loop, unless one needs a value that the other has only when its loop ends; then they fall into successive
// phases. The same step, applied to the items inside a loop, makes the whole nest, grid loops included.
// Values of a member that are read inside the loops that made them stay in a variable; memory is written only for what
// is read elsewhere (pass `buffers` drops the stores of what is not).
//
// expr lowering is in lower_expr.c, block formats in lower_format.c.
#include "passes/lower.h"
#include "ir/cost.h"
#include "ir/rewrite.h"
#include <assert.h>
#include <string.h>

// ---- blocks ------------------------------------------------------------------------------------

void lower_emit(Lower *l, Stmt *s) {
  *l->scope->tail = s;
  l->scope->tail = &s->next;
  l->nstmts++;
}

Scope *scope_open(Lower *l, Index *ix, bool guard) {
  Scope *s = arena_new(l->p->scratch, Scope);
  *s = (Scope){ .up = l->scope, .tail = &s->first, .ix = ix, .guard = guard, .depth = l->scope ? l->scope->depth + 1 : 0 };
  s->memo = map_make(l->p->scratch);
  if (ix) map_putp(&l->index_scope, ix, s);
  l->scope = s;
  return s;
}

Stmt *scope_close(Lower *l) {
  Scope *s = l->scope;
  l->scope = s->up;
  return s->first;
}

Stmt *loop_open(Lower *l, Index *ix, Expr *lo, Expr *hi, LoopHow how) {
  Stmt *s = stmt_new(l->p->a, ST_LOOP);
  s->ix = ix;
  s->lo = lo;
  s->hi = hi;
  s->how = how;
  s->lanes = 1;
  ranges_push(l->facts);
  ranges_index(l->facts, ix, lo, hi);
  scope_open(l, ix, false);
  return s;
}

void loop_close(Lower *l, Stmt *loop) {
  loop->body = scope_close(l);
  ranges_pop(l->facts);
  lower_emit(l, loop);
}

Var *lower_var(Lower *l, const char *hint, Dtype dtype) {
  Name name = intern(l->f->names, hint);
  int *used = map_getp(&l->names, name);
  if (!used) {
    used = arena_new(l->p->scratch, int);
    map_putp(&l->names, name, used);
  }
  if ((*used)++) name = intern(l->f->names, arena_printf(l->p->scratch, "%s%d", hint, *used));
  return var_new(l->x, name, dtype);
}

Stmt *lower_decl(Lower *l, StmtKind kind, Var *v, Expr *a) {
  Stmt *s = stmt_new(l->p->a, kind);
  s->var = v;
  s->a = a;
  s->lanes = 1;
  lower_emit(l, s);
  map_putp(&l->index_scope, v, l->scope);
  return s;
}

// ---- items -------------------------------------------------------------------------------------

// The next loop of an item: an index left of `=`, in order, then the reduction's indices.
typedef struct NextLoop { Index *ix; Expr *lo, *hi; int pos; bool reduce; } NextLoop;

static Expr *at_item(Lower *l, const Item *it, Expr *e) {
  return it->nbound ? expr_subst(l->x, e, it->nbound, it->from, it->to) : e;
}

static bool is_reduce(const Item *it) { return it->q->body->op == OP_REDUCE && !it->q->def->fmt && !it->q->base; }

static bool next_loop(Lower *l, const Item *it, NextLoop *n) {
  const Eqn *q = it->q;
  int block = eqn_block_pos(q);
  if (q->scc && !it->has_pos[q->order_ix[0]]) {        // the index that runs in order comes first
    int pos = q->order_ix[0];
    *n = (NextLoop){ q->ix[pos], expr_int(l->x, DT_I64, 0, q->at), q->extent[pos], pos, false };
    return true;
  }
  for (int pos = 0; pos < q->n; pos++) {
    if (it->has_pos[pos] || pos == block) continue;
    *n = (NextLoop){ q->ix[pos], expr_int(l->x, DT_I64, 0, q->at), q->extent[pos], pos, false };
    return true;
  }
  if (!is_reduce(it) || it->reduced == q->body->u.bind->n) return false;
  int k = it->reduced;
  *n = (NextLoop){ q->body->u.bind->ix[k], at_item(l, it, reduce_lo(q->body, k)), at_item(l, it, reduce_hi(q->body, k)), k, true };
  return true;
}

static bool same_loop(const NextLoop *a, const NextLoop *b) { return a->lo == b->lo && a->hi == b->hi; }

typedef struct Carried { Lower *l; const Item *from; const Item *to; const NextLoop *a, *b; bool reads, same; } Carried;

// How `to` reads what `from` defines: at the value of the loop that they would share, or elsewhere.
static void look_at_read(void *cx, Expr *e) {
  Carried *c = cx;
  const Eqn *d = c->from->q;
  if (e->op != OP_READ || e->u.t != d->def || e->aux == READ_FAILS) return;
  if (d->scc && d->scc == c->to->q->scc) {
    // Inside a recurrence an earlier value of the ordered index is there already.
    Expr *sub = e->arg[d->order_ix[0]];
    const Eqn *q = c->to->q;
    bool now = sub->op == OP_INDEX && sub->u.ix == q->ix[q->order_ix[0]];
    if (c->to->has_pos[q->order_ix[0]] && !now) return;
  }
  c->reads = true;
  if (!c->a || c->a->reduce || !c->b) { c->same = false; return; }
  Expr *sub = e->arg[c->a->pos];
  c->same &= sub->op == OP_INDEX && sub->u.ix == c->b->ix;
}

// 0: `to` needs nothing of `from`; 1: it may run in the same loop; 2: only after it.
static int dependence(Lower *l, const Item *from, const NextLoop *a, const Item *to, const NextLoop *b) {
  if (!lower_reads(l, to->q, from->q->def)) return 0;
  if (from->q->scc && from->q->scc == to->q->scc && !from->has_pos[from->q->order_ix[0]]) return 1;   // they run in order together
  Carried c = { l, from, to, a, b, false, true };
  eqn_visit(l->p->scratch, to->q, look_at_read, &c);
  if (!c.reads) return 0;
  return c.same && a && b && same_loop(a, b) ? 1 : 2;
}

enum { MAX_NOTE = 160 };        // characters of an equation in a comment

// The equation as the source has it, where one of that name stands there; a long one is cut.
static const char *equation_text(Lower *l, const Eqn *q) {
  const Eqn *shown = q;
  const Fn *src = l->p->source;
  for (int i = 0; i < src->eqns.n; i++)
    if (src->eqns.v[i]->def->name == q->def->name || !strcmp(src->eqns.v[i]->def->name, q->def->name)) shown = src->eqns.v[i];
  Buf b = buf_make(l->p->a);
  eqn_print(shown == q ? l->f : src, shown, &b);
  return b.n <= MAX_NOTE ? b.s : arena_printf(l->p->a, "%.*s ...", MAX_NOTE, b.s);
}

static void note_equation(Lower *l, Stmt *s, const Eqn *q) {
  const char *text = equation_text(l, q);
  s->note = s->note ? arena_printf(l->p->a, "%s\n%s", s->note, text) : text;
}

// ---- accumulators ------------------------------------------------------------------------------

static void open_accumulator(Lower *l, Item *it) {
  Expr *e = it->q->body;
  Reducer r = e->u.bind->reducer;
  it->acc = lower_accumulator(l, r, it->q->def->root->name, (Dtype)reduce_term(e)->dtype, (Dtype)e->dtype, &it->acc2, it->q->at);
}

Var *lower_accumulator(Lower *l, Reducer r, const char *hint, Dtype term, Dtype value, Var **index, Span at) {
  Dtype t = reducers[r].arg ? term : value;
  Var *v = lower_var(l, reducers[r].arg ? arena_printf(l->p->scratch, "%s_best", hint) : hint, t);
  lower_decl(l, ST_VAR, v, expr_scalar(l->x, t, reducers[r].identity(t), at))->reducer = r;
  *index = NULL;
  if (reducers[r].arg) {
    *index = lower_var(l, hint, DT_I64);
    lower_decl(l, ST_VAR, *index, expr_int(l->x, DT_I64, LOWER_NO_INDEX, at));
  }
  return v;
}

// One term. A filter becomes a select of the identity where the term is harmless to compute, else an IF.
void lower_accumulate(Lower *l, Reducer r, Var *v, Var *v2, Expr *cond, Expr *term, Index *ix) {
  Dtype t = v->dtype;
  term = expr_cast(l->x, t, term, term->at);
  Expr *identity = expr_scalar(l->x, t, reducers[r].identity(t), term->at);
  bool filtered = !expr_is_true(cond);
  if (filtered && !reducers[r].arg && lower_harmless(l, term)) {
    term = expr_select(l->x, cond, term, identity, term->at);
    filtered = false;
  }
  Stmt *branch = NULL;
  if (filtered) branch = lower_if_open(l, lower_expr(l, cond), cond);
  Stmt *s = stmt_new(l->p->a, ST_ACC);
  s->reducer = r;
  s->var = v;
  s->var2 = v2;
  s->a = lower_expr(l, term);
  s->b = v2 ? expr_index(l->x, ix) : NULL;
  s->lanes = 1;
  lower_emit(l, s);
  if (branch) lower_if_close(l, branch);
}

Expr *lower_fold(Lower *l, Reducer r, Var *v, Var *v2, Expr *reduce, const Eqn *q) {
  Stmt *s = stmt_new(l->p->a, ST_FOLD);
  s->reducer = r;
  s->var = v;
  s->var2 = v2;
  s->lanes = 1;
  lower_emit(l, s);
  if (!v2) return expr_var(l->x, v);
  Expr *at = expr_var(l->x, v2), *zero = expr_int(l->x, DT_I64, 0, reduce->at);
  if (!lower_nonempty(l, reduce))
    lower_fault_unless(l, expr_op2(l->x, OP_NE, at, expr_int(l->x, DT_I64, LOWER_NO_INDEX, reduce->at), reduce->at), lower_site(l, E_data_argmax_empty, reduce->at, q, NULL, -1, NULL), zero);
  return expr_cast(l->x, (Dtype)reduce->dtype, at, reduce->at);
}

// ---- finishing an item -------------------------------------------------------------------------

static void store_value(Lower *l, Item *it, Expr *value) {
  Eqn *q = it->q;
  Stmt *s = stmt_new(l->p->a, ST_STORE);
  s->t = q->def->root;
  s->field = -1;
  s->a = value;
  s->nsub = q->n;
  for (int k = 0; k < q->n; k++) s->sub[k] = at_item(l, it, expr_index(l->x, q->ix[k]));
  s->at = q->at;
  lower_emit(l, s);
}

static bool read_inside(Lower *l, const Tensor *t) {
  for (int i = 0; i < l->u->m.n; i++) if (lower_reads(l, l->u->m.v[i].q, t)) return true;
  return false;
}

// All loops of the item are open: its value is computed, kept in a variable for readers in here, and stored.
static void finish(Lower *l, Item *it, Expr *value) {
  Eqn *q = it->q;
  Tensor *t = q->def;
  Member_state *st = &l->state[t->id];
  Stmt **first = l->scope->tail;
  value = lower_expr(l, value);
  if (t->stored || fn_is_output(t)) value = expr_cast(l->x, t->dtype, value, q->at);
  if (!lower_is_leaf(value) && read_inside(l, t)) {
    Var *v = lower_var(l, t->name, (Dtype)value->dtype);
    lower_decl(l, ST_LET, v, value);
    value = expr_var(l->x, v);
  }
  st->value = value;
  st->scope = l->scope;
  st->n = q->n;
  for (int k = 0; k < q->n; k++) st->sub[k] = at_item(l, it, expr_index(l->x, q->ix[k]));
  store_value(l, it, value);
  if (q->body->op != OP_REDUCE) note_equation(l, *first, q);      // a reduction's note stands on its loop
}

static void finish_map(Lower *l, Item *it) { finish(l, it, at_item(l, it, it->q->body)); }

static void store_element(Lower *l, Item *it, Expr *const *sub) {
  Eqn *q = it->q;
  Expr *value = at_item(l, it, q->body);
  Stmt *s = stmt_new(l->p->a, ST_STORE);
  s->t = q->def->root;
  s->field = -1;
  s->a = expr_cast(l->x, q->def->dtype, lower_expr(l, value), q->at);
  s->nsub = q->nstore;
  for (int k = 0; k < q->nstore; k++) s->sub[k] = lower_expr(l, sub[k]);
  s->at = q->at;
  lower_emit(l, s);
}

static void store_update(Lower *l, Item *it) {
  Eqn *q = it->q;
  Stmt **first = l->scope->tail, *branch = NULL;
  if (q->cond) {
    Expr *c = at_item(l, it, q->cond);
    branch = lower_if_open(l, lower_expr(l, c), c);
  }
  Expr *sub[8];
  for (int k = 0; k < q->nstore; k++) sub[k] = at_item(l, it, q->store[k]);
  Expr *ok = lower_check_store(l, q, sub);
  Stmt *check = ok ? lower_if_open(l, ok, NULL) : NULL;
  if (q->def->fmt) lower_format_block(l, it);
  else store_element(l, it, sub);
  if (check) lower_if_close(l, check);
  if (branch) lower_if_close(l, branch);
  if (*first) note_equation(l, *first, q);
}

// One step of a reduction: its term goes to the accumulator.
static void accumulate_item(Lower *l, Item *it) {
  Expr *e = it->q->body, *term = at_item(l, it, reduce_term(e));
  lower_accumulate(l, e->u.bind->reducer, it->acc, it->acc2, at_item(l, it, reduce_cond(e)), term, it->inner);
}

static void finish_reduction(Lower *l, Item *it) {
  Expr *e = it->q->body;
  finish(l, it, lower_fold(l, e->u.bind->reducer, it->acc, it->acc2, e, it->q));
}

// ---- blocks of items ---------------------------------------------------------------------------

static void lower_block(Lower *l, int n, Item *items);

static void bind(Lower *l, Item *it, const NextLoop *n, Index *loop) {
  it->from[it->nbound] = n->ix;
  it->to[it->nbound++] = expr_index(l->x, loop);
  if (n->reduce) it->reduced++, it->inner = loop;
  else it->has_pos[n->pos] = true;
}

// A loop that several items share; each goes on inside with the loop's index bound.
static void lower_loop(Lower *l, int n, Item **items, NextLoop *next) {
  for (int i = 0; i < n; i++)
    if (next[i].reduce && !items[i]->acc) open_accumulator(l, items[i]);
  Expr *lo = lower_expr(l, next[0].lo), *hi = lower_expr(l, next[0].hi);
  bool data = lower_from_data(next[0].lo) || lower_from_data(next[0].hi);
  if (data) lo = lower_named(l, lo, "from"), hi = lower_range_limit(l, items[0]->q, lo, hi, true);
  Index *ix = index_new(l->x, next[0].ix->name, next[0].ix->at);
  Stmt *s = loop_open(l, ix, lo, hi, HOW_SEQ);
  s->ordered = !next[0].reduce && items[0]->q->scc && next[0].pos == items[0]->q->order_ix[0];
  if (data) ranges_index(l->facts, ix, next[0].lo, next[0].hi);    // proofs know the bounds as written
  Item *inside = arena_array(l->p->scratch, Item, n);
  for (int i = 0; i < n; i++) {
    inside[i] = *items[i];
    bind(l, &inside[i], &next[i], ix);
    if (next[i].reduce && items[i]->reduced == 0) note_equation(l, s, items[i]->q);
  }
  lower_block(l, n, inside);
  loop_close(l, s);
  for (int i = 0; i < n; i++)
    if (next[i].reduce && items[i]->reduced == 0) finish_reduction(l, items[i]);
}

// Full reductions: nothing runs in parallel yet, so the range is cut into CHUNKS parts, whose results are combined in order. The cut
// does not depend on the number of threads, so neither do the bits.
static void lower_split_loop(Lower *l, int n, Item **items, NextLoop *next) {
  Expr *lo = lower_expr(l, next[0].lo), *hi = lower_expr(l, next[0].hi);
  Expr *count = expr_int(l->x, DT_I64, LOWER_CHUNKS, NO_SPAN), *zero = expr_int(l->x, DT_I64, 0, NO_SPAN);
  Tensor **part = arena_array(l->p->scratch, Tensor *, 2 * n);
  for (int i = 0; i < n; i++) lower_partials(l, items[i]->q, count, &part[2 * i]);
  Index *c = index_new(l->x, intern(l->f->names, "chunk"), NO_SPAN);
  Stmt *par = loop_open(l, c, zero, count, HOW_PAR);
  Expr *from, *to;
  lower_chunk(l, expr_index(l->x, c), lo, hi, &from, &to);
  Item *inside = arena_array(l->p->scratch, Item, n);
  for (int i = 0; i < n; i++) {
    inside[i] = *items[i];
    open_accumulator(l, &inside[i]);
  }
  Index *ix = index_new(l->x, next[0].ix->name, next[0].ix->at);
  Stmt *s = loop_open(l, ix, from, to, HOW_SEQ);
  ranges_index(l->facts, ix, lo, hi);       // a chunk lies inside the range
  Item *leaf = arena_array(l->p->scratch, Item, n);
  for (int i = 0; i < n; i++) {
    leaf[i] = inside[i];
    bind(l, &leaf[i], &next[i], ix);
    note_equation(l, s, items[i]->q);
  }
  lower_block(l, n, leaf);
  loop_close(l, s);
  for (int i = 0; i < n; i++) lower_store_partial(l, items[i]->q, &inside[i], &part[2 * i], c);
  loop_close(l, par);
  for (int i = 0; i < n; i++) {
    Expr *v = lower_combine_partials(l, items[i]->q, &part[2 * i], count);
    finish(l, items[i], v);
  }
}

static bool splits(const Lower *l, int n, Item **items, const NextLoop *next) {
  if (l->u->ngrid || l->scope->up) return false;
  for (int i = 0; i < n; i++) {
    if (!next[i].reduce || items[i]->q->scc) return false;
    // See may_reorder in vector.c.
    const Expr *e = items[i]->q->body;
    if (e->u.bind->reducer == RED_PROD && dtype_is_float((Dtype)e->dtype)) return false;
  }
  return true;
}

// Items of one phase and one range.
static void lower_cluster(Lower *l, int n, Item **items, NextLoop *next) {
  if (splits(l, n, items, next)) lower_split_loop(l, n, items, next);
  else lower_loop(l, n, items, next);
}

// Uses are counted over all equations of a block before any is lowered: what two of them read is loaded once.
static void count_leaf(Lower *l, const Item *it) {
  if (it->q->def->fmt) return;
  lower_count(l, at_item(l, it, is_reduce(it) ? reduce_term(it->q->body) : it->q->body));
}

static void lower_leaf(Lower *l, Item *it) {
  if (it->q->base) store_update(l, it);
  else if (it->q->def->fmt) lower_format_block(l, it);
  else if (is_reduce(it)) accumulate_item(l, it);
  else finish_map(l, it);
}

// phase[i]: how many loops must have ended before item i may start.
static void find_phases(Lower *l, int n, Item *items, NextLoop *next, const bool *loops, int *phase) {
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < n; j++) {
      bool earlier = j < i;
      if (j == i || !earlier) continue;
      int d = dependence(l, &items[j], loops[j] ? &next[j] : NULL, &items[i], loops[i] ? &next[i] : NULL);
      int after = phase[j] + (d == 2 && loops[j]);
      if (d && after > phase[i]) phase[i] = after;
    }
  }
}

static void lower_block(Lower *l, int n, Item *items) {
  if (lower_too_big(l)) return;
  NextLoop *next = arena_array(l->p->scratch, NextLoop, n);
  bool *loops = arena_array(l->p->scratch, bool, n), *done = arena_array(l->p->scratch, bool, n);
  int *phase = arena_array(l->p->scratch, int, n), last = 0;
  for (int i = 0; i < n; i++) loops[i] = next_loop(l, &items[i], &next[i]);
  for (int i = 0; i < n; i++) if (!loops[i]) count_leaf(l, &items[i]);
  find_phases(l, n, items, next, loops, phase);
  for (int i = 0; i < n; i++) if (phase[i] > last) last = phase[i];
  Item **cluster = arena_array(l->p->scratch, Item *, n);
  NextLoop *cnext = arena_array(l->p->scratch, NextLoop, n);
  for (int ph = 0; ph <= last; ph++) {
    for (int i = 0; i < n; i++) if (!loops[i] && phase[i] == ph) lower_leaf(l, &items[i]);
    for (int i = 0; i < n; i++) {
      if (!loops[i] || phase[i] != ph || done[i]) continue;
      int m = 0;
      for (int j = i; j < n; j++) {
        bool together = same_loop(&next[i], &next[j]) || (items[i].q->scc && items[i].q->scc == items[j].q->scc);
        if (!loops[j] || phase[j] != ph || done[j] || !together) continue;
        done[j] = true;
        cnext[m] = next[j];
        cluster[m++] = &items[j];
      }
      lower_cluster(l, m, cluster, cnext);
    }
  }
}

// ---- kernels -----------------------------------------------------------------------------------

// Steps of the member that loops most: what a kernel must have of work before it is worth splitting over cores.
static Expr *most_work(Lower *l) {
  Expr *most = NULL;
  int loops = -1;
  for (int i = 0; i < l->u->m.n; i++) {
    const Eqn *q = l->u->m.v[i].q;
    const Expr *e = q->body;
    Expr *work = NULL;
    int n = q->n;
    for (int k = 0; k < q->n; k++) work = work ? expr_op2(l->x, OP_MUL, work, q->extent[k], NO_SPAN) : q->extent[k];
    for (int k = 0; e->op == OP_REDUCE && k < e->u.bind->n; k++) {
      if (!expr_is_int(reduce_lo(e, k), 0) || !lower_dims_only(reduce_hi(e, k))) continue;
      work = work ? expr_op2(l->x, OP_MUL, work, reduce_hi(e, k), NO_SPAN) : reduce_hi(e, k);
      n++;
    }
    if (work && n > loops) loops = n, most = work;
  }
  return most;
}

static bool is_output(const Group *u, int i) { return fn_is_output(u->m.v[i].q->def); }

// Named after its outputs, or its last equation: "softmax_y".
static Name kernel_name(Lower *l) {
  const Group *u = l->u;
  Buf b = buf_make(l->p->a);
  buf_puts(&b, l->f->name);
  int named = 0;
  for (int i = 0; i < u->m.n; i++)
    if (is_output(u, i) && named++ < 3) buf_printf(&b, "_%s", u->m.v[i].q->def->root->name);
  if (!named) buf_printf(&b, "_%s", u->m.v[u->m.n - 1].q->def->name);
  for (int i = 0; i < l->plan->kernels.n; i++)
    if (!strcmp(l->plan->kernels.v[i]->name, b.s)) { buf_printf(&b, "_%d", l->plan->kernels.n); break; }
  return intern(l->f->names, b.s);
}

static void start_items(Lower *l, Item *items, Index **grid) {
  for (int i = 0; i < l->u->m.n; i++) {
    const Member *m = &l->u->m.v[i];
    items[i] = (Item){ .q = m->q };
    for (int g = 0; g < l->u->ngrid; g++) {
      items[i].from[items[i].nbound] = m->q->ix[m->pos[g]];
      items[i].to[items[i].nbound++] = expr_index(l->x, grid[g]);
      items[i].has_pos[m->pos[g]] = true;
    }
  }
}

// Nothing loops inside the grid: its innermost loop will be the vector's.
static bool all_leaves(Lower *l, const Item *items) {
  NextLoop n;
  for (int i = 0; i < l->u->m.n; i++) if (next_loop(l, &items[i], &n)) return false;
  return true;
}

static bool kept_outside(void *cx, const Tensor *t) {
  Lower *l = cx;
  return fn_is_output(t) || l->read_elsewhere[t->id];
}

// ---- is a kernel needed? -----------------------------------------------------------------------

// What one output needs, by tensor id: the tensors from which it is computed.
static bool *reaches(Lower *l, const Eqn *output) {
  Fn *f = l->f;
  bool *need = arena_array(l->p->scratch, bool, f->tensors.n + 1);
  need[output->def->id] = true;
  for (int round = 0; round < 2; round++)       // twice: recurrences read both ways
    for (int i = f->eqns.n - 1; i >= 0; i--) {
      Eqn *q = f->eqns.v[i];
      if (!need[q->def->id]) continue;
      lower_mark_reads(l->p->scratch, q, need);
      if (q->base) need[q->base->id] = true;
    }
  return need;
}

// Has the output any element? NULL: always.
static Expr *has_elements(Lower *l, const Eqn *q) {
  Expr *all = NULL, *zero = expr_int(l->x, DT_I64, 0, q->at);
  for (int k = 0; k < q->n; k++) {
    Expr *e = q->extent[k];
    if (expr_is_const(e) && e->u.v.i > 0) continue;
    Expr *some = expr_op2(l->x, OP_GT, e, zero, q->at);
    all = all ? expr_op2(l->x, OP_AND, all, some, q->at) : some;
  }
  return all;
}

// A kernel over exactly the elements of its outputs runs no step when there are none.
static bool covers_outputs(const Group *u) {
  for (int i = 0; i < u->m.n; i++)
    for (int k = 0; k < u->m.v[i].q->n; k++) {
      bool grid = false;
      for (int g = 0; g < u->ngrid; g++) grid |= u->m.v[i].pos[g] == k;
      if (!grid && fn_is_output(u->m.v[i].q->def)) return false;
    }
  return true;
}

// All it computes is one output, and what that needs.
static bool single_output(const Group *u) { return u->m.n == 1 && fn_is_output(u->m.v[0].q->def); }

// The condition over dimensions under which some element of some output needs this kernel; NULL: always. An element that nothing
// reads is not computed, so its errors are not reported: a kernel with checks runs only when it is needed.
static Expr *needed_when(Lower *l) {
  Expr *any = NULL;
  if (single_output(l->u) && covers_outputs(l->u)) return NULL;
  for (int i = 0; i < l->f->eqns.n; i++) {
    Eqn *q = l->f->eqns.v[i];
    if (!fn_is_output(q->def)) continue;
    bool *need = reaches(l, q), mine = false;
    for (int k = 0; k < l->u->m.n; k++) mine |= need[l->u->m.v[k].q->def->id];
    if (!mine) continue;
    Expr *some = has_elements(l, q);
    if (!some) return NULL;
    any = any ? expr_op2(l->x, OP_OR, any, some, NO_SPAN) : some;
  }
  return any;
}

static bool has_fault(const Stmt *s) {
  for (; s; s = s->next) if (s->kind == ST_FAULT || has_fault(s->body) || has_fault(s->els)) return true;
  return false;
}

static void run_only_when_needed(Lower *l) {
  Stmt *body = l->k->body;
  if (!l->needed || !has_fault(body)) return;
  Stmt *s = stmt_new(l->p->a, ST_IF);
  s->a = l->needed;
  s->body = body;
  l->k->body = s;
}

static void lower_kernel(Pipe *p, Group *u, const bool *read_elsewhere) {
  Lower l = { .p = p, .plan = p->plan, .f = p->fn, .x = p->fn->x, .u = u, .read_elsewhere = read_elsewhere };
  l.index_scope = map_make(p->scratch);
  l.names = map_make(p->scratch);
  l.depths = map_make(p->scratch);
  l.uses = map_make(p->scratch);
  l.counted = map_make(p->scratch);
  l.reads = map_make(p->scratch);
  l.ntensors = p->fn->tensors.n;
  l.state = arena_array(p->scratch, Member_state, l.ntensors + 1);
  for (int i = 0; i < u->m.n; i++) l.state[u->m.v[i].q->def->id].member = true;
  l.facts = safe_ranges(p->fn, p->scratch);
  Kernel *k = l.k = arena_new(p->a, Kernel);
  k->id = p->plan->kernels.n;
  k->name = kernel_name(&l);
  for (int i = 0; i < u->m.n; i++) vec_push(p->a, &k->eqns, u->m.v[i].q);
  l.needed = needed_when(&l);
  scope_open(&l, NULL, false);
  Index *grid[MAX_GRID];
  Stmt *loop[MAX_GRID];
  Expr *zero = expr_int(l.x, DT_I64, 0, NO_SPAN), *work = most_work(&l);
  for (int g = 0; g < u->ngrid; g++) {
    grid[g] = index_new(l.x, u->grid[g]->name, u->grid[g]->at);
    loop[g] = loop_open(&l, grid[g], zero, u->extent[g], HOW_PAR);
    loop[g]->parallel_if = g ? NULL : work;
  }
  Item *items = arena_array(p->scratch, Item, u->m.n);
  start_items(&l, items, grid);
  l.grid_depth = u->ngrid - (u->ngrid > 1 && all_leaves(&l, items));
  lower_block(&l, u->m.n, items);
  for (int g = u->ngrid - 1; g >= 0; g--) loop_close(&l, loop[g]);
  k->body = scope_close(&l);
  run_only_when_needed(&l);
  Eqn **q = k->eqns.v;
  cost_equations(p->fn, k->eqns.n, q, kept_outside, &l, &k->cost);
  kernel_list_args(p->plan, k);
  vec_push(p->a, &p->plan->kernels, k);
}

bool pass_lower(Pipe *p) {
  Fn *f = p->fn;
  for (int i = 0; i < p->groups.n; i++) {
    bool *elsewhere = arena_array(p->scratch, bool, f->tensors.n + 1);
    for (int j = 0; j < p->groups.n; j++)
      for (int k = 0; j != i && k < p->groups.v[j]->m.n; k++) lower_mark_reads(p->scratch, p->groups.v[j]->m.v[k].q, elsewhere);
    lower_kernel(p, p->groups.v[i], elsewhere);
  }
  return p->d ? p->d->errors == 0 : true;
}
