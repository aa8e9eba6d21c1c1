// lower_nest.c: a list of equations to a nest of loops.
//
// A block of loops is made from a list of items: equations with the loops that they still need. Items whose next loops run over one range
// share the loop, unless one needs a value that the other has only when its loop ends; then they fall into successive
// phases. The same step, applied to the items inside a loop, makes the whole nest, grid loops included.
// Values of a member that are read inside the loops that made them stay in a variable; memory is written only for what
// is read elsewhere (pass `buffers` drops the stores of what is not).
#include "passes/lower.h"
#include "ir/rewrite.h"
#include <assert.h>
#include <string.h>

// ---- items -------------------------------------------------------------------------------------

Expr *lower_at_item(Lower *l, const Item *it, Expr *e) {
  l->current = it->q;
  return it->nbound ? expr_subst(l->x, e, it->nbound, it->from, it->to) : e;
}

bool lower_is_reduce(const Item *it) { return it->q->body->op == OP_REDUCE && !it->q->def->fmt && !it->q->base; }

bool lower_next_loop(Lower *l, const Item *it, NextLoop *n) {
  const Eqn *q = it->q;
  int block = eqn_block_pos(q);
  if (q->scc && !it->has_pos[q->order_ix[0]]) {        // the index that runs in order comes first
    int pos = q->order_ix[0];
    *n = (NextLoop){ q->ix[pos], expr_int(l->x, DT_I64, 0, q->at), q->extent[pos], pos, false, false };
    return true;
  }
  for (int pos = 0; pos < q->n; pos++) {
    if (it->has_pos[pos] || pos == block) continue;
    EqnScan scan = eqn_scan(q);
    *n = (NextLoop){ q->ix[pos], expr_int(l->x, DT_I64, 0, q->at), lower_at_item(l, it, q->extent[pos]), pos, false, scan.pos == pos && scan.backward };
    return true;
  }
  if (it->scans) return false;
  if (!lower_is_reduce(it) || it->reduced == q->body->u.bind->n) return false;
  int k = 0;
  while (it->bound >> k & 1) k++;
  *n = (NextLoop){ q->body->u.bind->ix[k], lower_at_item(l, it, reduce_lo(q->body, k)), lower_at_item(l, it, reduce_hi(q->body, k)), k, true, false };
  return true;
}

bool lower_same_loop(const NextLoop *a, const NextLoop *b) { return a->lo == b->lo && a->hi == b->hi && a->backward == b->backward; }

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
  return c.same && a && b && lower_same_loop(a, b) ? 1 : 2;
}

enum { MAX_NOTE = 160 };        // characters of an equation in a comment

// The equation as the source has it, where one of that name stands there; a long one is cut.
static const char *equation_text(Lower *l, const Eqn *q) {
  const char *known = map_getp(&l->whole->note, q);
  if (known) return known;
  const Eqn *shown = map_getp(&l->whole->source, intern(l->whole->names, q->def->name));
  Buf b = buf_make(l->p->a);
  eqn_print(shown ? l->p->source : l->f, shown ? shown : q, &b);
  known = b.n <= MAX_NOTE ? b.s : arena_printf(l->p->a, "%.*s ...", MAX_NOTE, b.s);
  map_putp(&l->whole->note, q, (void *)(uintptr_t)known);
  return known;
}

void lower_note(Lower *l, Stmt *s, const Eqn *q) {
  const char *text = equation_text(l, q);
  s->note = s->note ? arena_printf(l->p->a, "%s\n%s", s->note, text) : text;
}

// ---- accumulators ------------------------------------------------------------------------------

void lower_open_accumulator(Lower *l, Item *it) {
  if (it->shares && lower_join_share(l, it)) return;
  Expr *e = it->q->body;
  Reducer r = e->u.bind->reducer;
  it->acc = lower_accumulator(l, r, it->q->def->root->name, (Dtype)reduce_term(e)->dtype, (Dtype)e->dtype, &it->acc2, it->q->at);
  it->acc->quiet = it->q->def->quiet;
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

void lower_fold_lanes(Lower *l, Reducer r, Var *v, Var *v2) {
  Stmt *s = stmt_new(l->p->a, ST_FOLD);
  s->reducer = r;
  s->var = v;
  s->var2 = v2;
  lower_emit(l, s);
}

Expr *lower_arg_value(Lower *l, Var *v, Expr *reduce, const Eqn *q, Expr *wanted) {
  Expr *at = expr_var(l->x, v), *none = expr_int(l->x, DT_I64, LOWER_NO_INDEX, reduce->at), *zero = expr_int(l->x, DT_I64, 0, reduce->at);
  if (!lower_nonempty(l, reduce))
    lower_fault_unless(l, expr_op2(l->x, OP_NE, at, none, reduce->at), lower_site(l, E_data_argmax_empty, reduce->at, q, NULL, -1, NULL), zero, wanted);
  return expr_cast(l->x, (Dtype)reduce->dtype, at, reduce->at);
}

Expr *lower_fold(Lower *l, Reducer r, Var *v, Var *v2, Expr *reduce, Eqn *q) {
  lower_fold_lanes(l, r, v, v2);
  return v2 ? lower_arg_value(l, v2, reduce, q, lower_wanted(l, 1, &q)) : expr_var(l->x, v);
}

// ---- finishing an item -------------------------------------------------------------------------

static void store_value(Lower *l, Item *it, Expr *value) {
  Eqn *q = it->q;
  Stmt *s = stmt_new(l->p->a, ST_STORE);
  for (int k = 0; k < q->n; k++) s->sub[k] = lower_at_item(l, it, expr_index(l->x, q->ix[k]));
  Expr *at;
  Tensor *local = lower_local(l, q->def, s->sub, &at);
  s->t = local ? local : q->def->root;
  s->a = value;
  s->nsub = local ? 1 : q->n;
  if (local) s->sub[0] = at;
  s->at = q->at;
  lower_emit(l, s);
}

static bool read_inside(Lower *l, const Tensor *t) {
  for (int i = 0; i < l->u->m.n; i++) if (lower_reads(l, l->u->m.v[i].q, t)) return true;
  return false;
}

// All loops of the item are open: its value is computed, kept in a variable for readers in here, and stored.
void lower_finish(Lower *l, Item *it, Expr *value) {
  Eqn *q = it->q;
  Tensor *t = q->def;
  Member_state *st = map_getp(&l->state, t);
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
  l->epoch++;
  st->n = q->n;
  for (int k = 0; k < q->n; k++) st->sub[k] = lower_at_item(l, it, expr_index(l->x, q->ix[k]));
  store_value(l, it, value);
  if (q->body->op != OP_REDUCE) lower_note(l, *first, q);      // a reduction's note stands on its loop
}

static void finish_map(Lower *l, Item *it) { lower_finish(l, it, lower_at_item(l, it, it->q->body)); }

static void store_element(Lower *l, Item *it, Expr *const *sub) {
  Eqn *q = it->q;
  Expr *value = lower_at_item(l, it, q->body);
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
    Expr *c = lower_at_item(l, it, q->cond);
    branch = lower_if_open(l, lower_expr(l, c), c);
  }
  Expr *sub[8];
  for (int k = 0; k < q->nstore; k++) sub[k] = lower_at_item(l, it, q->store[k]);
  Expr *ok = lower_check_store(l, q, sub);
  Stmt *check = ok ? lower_if_open(l, ok, NULL) : NULL;
  if (q->def->fmt) lower_format_block(l, it);
  else store_element(l, it, sub);
  if (check) lower_if_close(l, check);
  if (branch) lower_if_close(l, branch);
  if (*first) lower_note(l, *first, q);
}

// The term that a prefix adds before it has its value for k: that of k, or where it excludes this, that of the step before, if there is one.
static Expr *scan_term(Lower *l, const Item *it, Expr *k, Expr **cond) {
  ExprTable *x = l->x;
  Expr *e = it->q->body, *one = expr_int(x, DT_I64, 1, NO_SPAN);
  EqnScan scan = eqn_scan(it->q);
  Expr *before = expr_op2(x, scan.backward ? OP_ADD : OP_SUB, k, one, NO_SPAN);
  Item at = *it;
  at.from[at.nbound] = e->u.bind->ix[0];
  at.to[at.nbound++] = scan.excludes ? before : k;
  Expr *term = lower_at_item(l, &at, reduce_term(e));
  *cond = lower_at_item(l, &at, reduce_cond(e));
  if (!scan.excludes) return term;
  Dtype t = it->acc->dtype;
  Expr *identity = expr_scalar(x, t, reducers[e->u.bind->reducer].identity(t), term->at);
  Expr *any = scan.backward ? expr_op2(x, OP_LT, before, it->q->extent[scan.pos], NO_SPAN) : expr_op2(x, OP_GE, before, expr_int(x, DT_I64, 0, NO_SPAN), NO_SPAN);
  term = expr_cast(x, t, term, term->at);
  if (!expr_is_true(*cond)) term = expr_select(x, *cond, term, identity, term->at);
  *cond = expr_bool(x, true, NO_SPAN);
  return expr_select(x, any, term, identity, term->at);
}

// On a GPU, whose loads want to be aligned, the sum so far is the value before its own term is added. The last step adds one that no prefix
// has: not where that could fail.
static Expr *own_term(Lower *l, const Item *it, Expr *k, Expr **cond) {
  ExprTable *x = l->x;
  Item at = *it;
  at.from[at.nbound] = it->q->body->u.bind->ix[0];
  at.to[at.nbound++] = k;
  Expr *term = lower_at_item(l, &at, reduce_term(it->q->body));
  *cond = lower_at_item(l, &at, reduce_cond(it->q->body));
  if (lower_harmless(l, term)) return term;
  Expr *more = expr_op2(x, OP_LT, expr_op2(x, OP_ADD, k, expr_int(x, DT_I64, 1, NO_SPAN), NO_SPAN), it->q->extent[eqn_scan(it->q).pos], NO_SPAN);
  *cond = expr_is_true(*cond) ? more : expr_op2(x, OP_AND, more, *cond, NO_SPAN);
  return term;
}

static void scan_step(Lower *l, Item *it) {
  EqnScan scan = eqn_scan(it->q);
  bool before = pipe_is_gpu(l->p) && scan.excludes && !scan.backward;
  Expr *e = it->q->body, *cond, *k = lower_at_item(l, it, expr_index(l->x, it->q->ix[scan.pos]));
  Var *v = lower_var(l, it->q->def->root->name, it->acc2 ? DT_I64 : it->acc->dtype);
  Expr *so_far = expr_var(l->x, it->acc2 ? it->acc2 : it->acc);
  if (before) lower_decl(l, ST_LET, v, so_far);
  Expr *term = before ? own_term(l, it, k, &cond) : scan_term(l, it, k, &cond);
  lower_accumulate(l, e->u.bind->reducer, it->acc, it->acc2, cond, term, k->u.ix);
  if (!before) lower_decl(l, ST_LET, v, so_far);
  lower_finish(l, it, it->acc2 ? lower_arg_value(l, v, e, it->q, lower_wanted(l, 1, &it->q)) : expr_var(l->x, v));
}

// One step of a reduction: its term goes to the accumulator.
static void accumulate_item(Lower *l, Item *it) {
  Expr *e = it->q->body, *term = lower_at_item(l, it, reduce_term(e));
  lower_accumulate(l, e->u.bind->reducer, it->acc, it->acc2, lower_at_item(l, it, reduce_cond(e)), term, it->inner);
}

static void finish_reduction(Lower *l, Item *it) {
  Expr *e = it->q->body;
  if (it->shares) { lower_finish_share(l, it); return; }
  lower_finish(l, it, lower_fold(l, e->u.bind->reducer, it->acc, it->acc2, e, it->q));
}

// ---- blocks of items ---------------------------------------------------------------------------

void lower_bind(Lower *l, Item *it, const NextLoop *n, Index *loop) {
  Expr *at = expr_index(l->x, loop);
  it->from[it->nbound] = n->ix;
  it->to[it->nbound++] = n->backward ? expr_op2(l->x, OP_SUB, expr_op2(l->x, OP_SUB, n->hi, expr_int(l->x, DT_I64, 1, NO_SPAN), NO_SPAN), at, NO_SPAN) : at;
  if (n->reduce) it->reduced++, it->bound |= 1u << n->pos, it->inner = loop;
  else it->has_pos[n->pos] = true;
}

// The loop that opens now is the last of a prefix.
static bool begins_scan(const Item *it, const NextLoop *next) {
  if (next->reduce || eqn_scan_pos(it->q) != next->pos) return false;
  for (int pos = 0; pos < it->q->n; pos++) if (pos != next->pos && !it->has_pos[pos]) return false;
  return true;
}

static Expr *items_wanted(Lower *l, int n, Item **items) {
  Eqn **q = arena_array(l->p->scratch, Eqn *, n);
  for (int i = 0; i < n; i++) q[i] = items[i]->q;
  return lower_wanted(l, n, q);
}

// A loop that several items share; each goes on inside with the loop's index bound.
static void lower_loop(Lower *l, int n, Item **items, NextLoop *next) {
  bool scans = false, *opens = arena_array(l->p->scratch, bool, n);      // a reduction starts here
  for (int i = 0; i < n; i++) {
    bool scan = begins_scan(items[i], &next[i]);
    opens[i] = next[i].reduce && !items[i]->acc;
    if (opens[i] || scan) lower_open_accumulator(l, items[i]);
    scans |= scan;
  }
  Expr *lo = lower_expr(l, next[0].lo), *hi = lower_expr(l, next[0].hi);
  bool data = lower_from_data(next[0].lo) || lower_from_data(next[0].hi);
  if (data) lo = lower_named(l, lo, "from"), hi = lower_range_limit(l, items[0]->q, lo, hi, items_wanted(l, n, items));
  Index *ix = index_new(l->x, next[0].ix->name, next[0].ix->at);
  bool spread = l->spread && l->scope->depth == l->grid_depth && !next[0].reduce && !data;
  for (int i = 0; i < n; i++) spread &= lower_expands(items[i]->q);
  Stmt *s = loop_open(l, ix, lo, hi, scans ? HOW_SCAN : spread ? HOW_PAR : HOW_SEQ);
  for (int i = 0; i < n; i++) s->ordered |= !next[i].reduce && items[i]->q->scc && next[i].pos == items[i]->q->order_ix[0];
  if (data) ranges_index(l->facts, ix, next[0].lo, next[0].hi);    // proofs know the bounds as written
  Item *inside = arena_array(l->p->scratch, Item, n);
  for (int i = 0; i < n; i++) {
    inside[i] = *items[i];
    inside[i].scans = begins_scan(items[i], &next[i]);
    lower_bind(l, &inside[i], &next[i], ix);
    if (opens[i]) lower_note(l, s, items[i]->q);
  }
  lower_block(l, n, inside);
  loop_close(l, s);
  for (int i = 0; i < n; i++)
    if (opens[i]) finish_reduction(l, items[i]);
}

// Full reductions: nothing runs in parallel yet, so the range is cut into CHUNKS parts, whose results are combined in order. The cut
// does not depend on the number of threads, so neither do the bits.
static void lower_split_loop(Lower *l, int n, Item **given, NextLoop *next) {
  Item **items = arena_array(l->p->scratch, Item *, n);
  memcpy(items, given, (size_t)n * sizeof *items);
  lower_flat_items(l, n, items, next);
  Expr *lo = lower_expr(l, next[0].lo), *hi = lower_expr(l, next[0].hi);
  Chunks chunks = lower_chunks(l, lo, hi, items[0]->q->body->u.bind->n > 1, false);
  Expr *count = chunks.count, *zero = expr_int(l->x, DT_I64, 0, NO_SPAN);
  Tensor **part = arena_array(l->p->scratch, Tensor *, 2 * n);
  for (int i = 0; i < n; i++) lower_partials(l, items[i]->q, count, &part[2 * i]);
  Index *c = index_new(l->x, intern(l->f->names, "chunk"), NO_SPAN);
  Stmt *par = loop_open(l, c, zero, count, HOW_PAR);
  par->parallel_if = lower_work(l);
  Expr *from, *to;
  lower_chunk(l, &chunks, expr_index(l->x, c), lo, hi, &from, &to);
  Item *inside = arena_array(l->p->scratch, Item, n);
  for (int i = 0; i < n; i++) {
    inside[i] = *items[i];
    lower_open_accumulator(l, &inside[i]);
  }
  Index *ix = index_new(l->x, next[0].ix->name, next[0].ix->at);
  Stmt *s = loop_open(l, ix, from, to, HOW_SEQ);
  s->align = expr_is_int(lo, 0) ? chunks.align : 1;
  ranges_index(l->facts, ix, lo, hi);       // a chunk lies inside the range
  Item *leaf = arena_array(l->p->scratch, Item, n);
  for (int i = 0; i < n; i++) {
    leaf[i] = inside[i];
    lower_bind(l, &leaf[i], &next[i], ix);
    lower_note(l, s, given[i]->q);
  }
  lower_block(l, n, leaf);
  loop_close(l, s);
  for (int i = 0; i < n; i++) lower_store_partial(l, items[i]->q, &inside[i], &part[2 * i], c);
  loop_close(l, par);
  for (int i = 0; i < n; i++) {
    Expr *v = lower_combine_partials(l, items[i]->q, &part[2 * i], count);
    lower_finish(l, given[i], v);
  }
}

static bool splits(const Lower *l, int n, Item **items, const NextLoop *next) {
  if (l->u->ngrid || l->scope->up) return false;
  for (int i = 0; i < n; i++) {
    if (!next[i].reduce || items[i]->q->scc) return false;
    const Expr *e = items[i]->q->body;
    if (!reducer_may_reorder(e->u.bind->reducer, (Dtype)e->dtype)) return false;
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
  if (it->scans) return;
  lower_count(l, lower_at_item(l, it, lower_is_reduce(it) ? reduce_term(it->q->body) : it->q->body));
}

static void lower_leaf(Lower *l, Item *it) {
  if (it->scans) { scan_step(l, it); return; }
  if (it->shares && !it->acc) { lower_share_term(l, it); return; }
  if (it->q->base) store_update(l, it);
  else if (it->q->def->fmt) lower_format_block(l, it);
  else if (lower_is_reduce(it)) accumulate_item(l, it);
  else finish_map(l, it);
}

// phase[i]: how many loops must have ended before item i may start. Those of a cascade start together, when all others that they
// need have ended, also those that a map needs which they compute for themselves (for_cascade).
static void find_phases(Lower *l, int n, Item *items, NextLoop *next, const bool *loops, const bool *cascade, int *phase) {
  int *for_cascade = arena_array(l->p->scratch, int, n);
  for (int i = 0; i < n; i++) {
    phase[i] = 0;
    for (int j = 0; j < i; j++) {
      int d = dependence(l, &items[j], loops[j] ? &next[j] : NULL, &items[i], loops[i] ? &next[i] : NULL);
      bool computed = !cascade[j] && lower_expands(items[j].q);
      bool ends = cascade[i] || cascade[j] ? cascade[i] != cascade[j] : d == 2;
      int after = phase[j] + (ends && loops[j]), before = cascade[j] ? 0 : computed ? for_cascade[j] : phase[j] + loops[j];
      if (cascade[i] && computed) after = for_cascade[j];
      if (d && after > phase[i]) phase[i] = after;
      if (d && before > for_cascade[i]) for_cascade[i] = before;
    }
  }
}

// The members of a cascade must be able to start in one phase; those that cannot leave it.
static void settle_phases(Lower *l, int n, Item *items, NextLoop *next, const bool *loops, bool *cascade, int *phase) {
  for (bool changed = true; changed;) {
    find_phases(l, n, items, next, loops, cascade, phase);
    changed = false;
    int first = 0;
    while (first < n && !cascade[first]) first++;
    for (int i = first; i < n; i++) {
      if (!cascade[i] || phase[i] == phase[first]) continue;
      cascade[i] = false;
      changed = true;
    }
  }
}

// A cascade among the items that runs in one pass; without one, all of cascade[] is false.
static void find_cascade(Lower *l, int n, Item *items, NextLoop *next, const bool *loops, bool *cascade, int *phase) {
  bool found = lower_find_cascade(l, n, items, next, loops, cascade), alone = !l->u->ngrid && !l->scope->up;
  if (found && !l->online && !alone && !l->row && !lower_cascade_row(l, n, items, cascade, next, &l->row, &l->row_bytes)) l->row = NULL;
  if (!found || !(l->online || alone)) memset(cascade, 0, (size_t)n * sizeof *cascade);
  settle_phases(l, n, items, next, loops, cascade, phase);
}

static bool any_of(int n, const bool *v) {
  for (int i = 0; i < n; i++) if (v[i]) return true;
  return false;
}

// A map that reads what another item makes backward at the same index runs backward as well: its order is free.
static void turn_maps(Lower *l, int n, Item *items, NextLoop *next, const bool *loops) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < i && loops[i] && !next[i].reduce && lower_expands(items[i].q); j++) {
      if (!loops[j] || !next[j].backward || next[i].backward) continue;
      next[i].backward = true;
      next[i].backward = dependence(l, &items[j], &next[j], &items[i], &next[i]) == 1;
    }
}

// The loops of one phase.
static void lower_phase(Lower *l, int n, Item *items, NextLoop *next, const bool *loops, const int *phase, int ph, bool *done) {
  Item **cluster = arena_array(l->p->scratch, Item *, n);
  NextLoop *cnext = arena_array(l->p->scratch, NextLoop, n);
  for (int i = 0; i < n; i++) {
    if (!loops[i] || phase[i] != ph || done[i]) continue;
    int m = 0;
    for (int j = i; j < n; j++) {
      bool together = lower_same_loop(&next[i], &next[j]) || (items[i].q->scc && items[i].q->scc == items[j].q->scc);
      if (!loops[j] || phase[j] != ph || done[j] || !together) continue;
      done[j] = true;
      cnext[m] = next[j];
      cluster[m++] = &items[j];
    }
    lower_cluster(l, m, cluster, cnext);
  }
}

void lower_block(Lower *l, int n, Item *items) {
  if (lower_too_big(l)) return;
  NextLoop *next = arena_array(l->p->scratch, NextLoop, n);
  bool *loops = arena_array(l->p->scratch, bool, n), *done = arena_array(l->p->scratch, bool, n), *cascade = arena_array(l->p->scratch, bool, n);
  int *phase = arena_array(l->p->scratch, int, n), last = 0, at = -1;
  for (int i = 0; i < n; i++) loops[i] = lower_next_loop(l, &items[i], &next[i]);
  for (int i = 0; i < n; i++) if (!loops[i]) count_leaf(l, &items[i]);
  turn_maps(l, n, items, next, loops);
  find_cascade(l, n, items, next, loops, cascade, phase);
  for (int i = 0; i < n; i++) {
    if (phase[i] > last) last = phase[i];
    if (cascade[i]) at = phase[i], done[i] = true;
  }
  for (int ph = 0; ph <= last; ph++) {
    for (int i = 0; i < n; i++) if (!loops[i] && phase[i] == ph) lower_leaf(l, &items[i]);
    if (ph == at && any_of(n, cascade)) {
      if (!l->u->ngrid && !l->scope->up) lower_split_cascade(l, n, items, cascade, next);
      else lower_cascade(l, n, items, cascade, next);
    }
    lower_phase(l, n, items, next, loops, phase, ph, done);
  }
}
