// inline_choose.c: which definitions are stored, or kept as equations, because computing them again costs more time.
//
//   h[i, k] = gelu(x[i, k])                    h is evaluated N·O·K times inside the product, N·K times outside
//   y[i, o] = sum[k](h[i, k] * w[o, k])
//
// Readers are decided before definitions, so that it is known how often a body is evaluated when its own turn comes, and
// where: a body that moves is evaluated as often as its reader's. Operations cost nothing while the reader waits for
// memory anyway: each equation that stays has `slack`, which what moves into it uses up. An expensive part of a cheap
// body is another definition's business: it is decided later, with the counts that follow from here.
#include "ir/cost.h"
#include "ir/rewrite.h"
#include "passes/inline.h"
#include <math.h>

enum {
  FREE_FLOPS = 2,               // fewer ride along with the multiplication of a contraction (a conversion, a scale)
  MAX_COPIED = 2048             // nodes that several copies of one definition may come to: neighbours of neighbours double at each step
};

static double gigaflops(const Inline *in) { return in->p->machine->gflops; }         // operations a ns
static double memory(const Inline *in) { return in->p->machine->dram_gbs; }          // bytes a ns

// ---- one equation ----------------------------------------------------------------------------

// How often the parts of an equation are evaluated: loops run in the order of its indices, then of its reductions'.
typedef struct Loops {
  Inline *in;
  const Eqn *q;
  Map steps;            // Index of a reduction → double: steps of it and of the indices before it
  double points, flops, bytes;
  int nodes;
} Loops;

static void see_binder(void *cx, Expr *e) {
  Loops *l = cx;
  if (e->op != OP_REDUCE) return;
  double all = 1;
  for (int k = 0; k < e->u.bind->n; k++) {
    double *n = arena_new(l->in->p->scratch, double), lo = cost_nominal(reduce_lo(e, k)), hi = cost_nominal(reduce_hi(e, k));
    *n = all *= hi > lo ? hi - lo : 1;
    map_putp(&l->steps, e->u.bind->ix[k], n);
  }
}

static double steps_of(const Loops *l, const Index *ix) {
  double *n = map_getp(&l->steps, ix);
  return n ? *n : 0;
}

// Evaluations of e, a part of q: once for each step of the loops up to the innermost whose index it uses.
static double evaluations(const Loops *l, const Expr *e) {
  double inner = 0, all = 1;
  int last = -1;
  for (int k = 0; k < e->free->n; k++) {
    double n = steps_of(l, e->free->ix[k]);
    if (n > inner) inner = n;
    for (int j = 0; j < l->q->n; j++) if (l->q->ix[j] == e->free->ix[k] && j > last) last = j;
  }
  if (inner > 0) return l->points * inner;
  for (int j = 0; j <= last; j++) all *= cost_nominal(l->q->extent[j]);
  return all;
}

static void see_part(void *cx, Expr *e) {
  Loops *l = cx;
  l->nodes++;
  double n = e->nargs || e->op == OP_READ ? evaluations(l, e) : 0;
  int flops = e->op == OP_READ && e->aux == 1 ? 2 : e->dtype == DT_I64 ? 0 : ops[e->op].flops;     // `??`: two comparisons
  if (e->op == OP_REDUCE) n = evaluations(l, reduce_term(e)), flops = 1;
  l->flops += n * flops;
  if (e->op != OP_READ || !e->u.t->rank) return;
  Info *t = &l->in->info[e->u.t->id];
  double bytes = cost_nominal_bytes(e->u.t), touched = t->points > 0 ? n / t->points : 1;
  l->bytes += bytes * (touched < 1 ? touched : 1);
  if (t->q && e->u.t != l->q->def) vec_push(l->in->p->scratch, &t->uses, (Use){ &l->in->info[l->q->def->id], e, n });
}

static void look_at(Inline *in, Eqn *q) {
  Info *me = &in->info[q->def->id];
  Loops l = { .in = in, .q = q, .points = 1, .steps = map_make(in->p->scratch) };
  for (int k = 0; k < q->n; k++) l.points *= cost_nominal(q->extent[k]);
  eqn_visit(in->p->scratch, q, see_binder, &l);
  eqn_visit(in->p->scratch, q, see_part, &l);
  if (!q->base) me->points = l.points;
  me->flops = l.points > 0 ? l.flops / l.points : 0;
  me->evals = l.points;
  me->carrier = me->root = me;
  me->nodes = l.nodes;
  me->copies = 1;
  me->slack = (l.bytes + cost_nominal_bytes(q->def)) / memory(in) - l.flops / gigaflops(in);
  if (me->slack < 0) me->slack = 0;
}

// ---- the choice --------------------------------------------------------------------------------

// Without row buffers only a reduction is worth a temporary for what it reads again and again: it is another kernel's. Where
// few kernels are asked for, a map that would take one more is not worth it either.
static bool counts_once(const Inline *in, const Info *t, const Use *u) {
  bool few = in->f->max_kernels >= 0 || !pipe_takes(in->p, LOWER_ROW_BUFFERS);
  return t->flops < FREE_FLOPS || (u->reader->q->body->op != OP_REDUCE && few);
}

// How often t is evaluated because of this use, when it moves. A cheap conversion inside a contraction counts once.
static double demand(const Inline *in, const Info *t, const Use *u) {
  const Info *r = u->reader;
  double times = r->points > 0 ? r->evals / r->points : 1;
  double evals = u->evals > t->points && counts_once(in, t, u) ? t->points : u->evals;
  return evals * times;
}

// Time that moving t adds; hidden[k]: of use k, what fits into its carrier's slack, and is taken from it.
static double time_moved(const Inline *in, const Info *t, double *hidden) {
  double time = 0;
  for (int k = 0; k < t->uses.n; k++) {
    double work = demand(in, t, &t->uses.v[k]) * t->flops / gigaflops(in), slack = t->uses.v[k].reader->carrier->slack;
    hidden[k] = work < slack ? work : slack;
    t->uses.v[k].reader->carrier->slack -= hidden[k];
    time += work - hidden[k];
  }
  double once = t->points * t->flops / gigaflops(in);   // which it takes in any case
  return time > once ? time - once : 0;
}

// Copies that moving t makes in one equation, the most. Each read of it takes one, in each copy of its reader.
static Info *most_copied(const Info *t) {
  Info *most = NULL;
  for (int k = 0; k < t->uses.n; k++) t->uses.v[k].reader->root->here = 0;
  for (int k = 0; k < t->uses.n; k++) {
    Info *root = t->uses.v[k].reader->root;
    root->here += t->uses.v[k].reader->copies;
    if (!most || root->here > most->here) most = root;
  }
  return most;
}

// Time that a kernel for t takes, at the least: it is written and read once.
static double time_stored(const Inline *in, const Info *t) {
  return in->p->machine->launch_us * 1e3 + 2 * cost_nominal_bytes(t->q->def) / memory(in);
}

// Does the reader have the same row: an index of its own at the first place?
static bool same_row(const Use *u) {
  const Expr *e = u->read;
  for (int k = 0; e->u.t->rank && k < u->reader->q->n; k++) if (e->arg[0]->op == OP_INDEX && e->arg[0]->u.ix == u->reader->q->ix[k]) return true;
  return false;
}

// With row buffers one that stays joins the kernel of a reader that has its rows, whose slack is then its own.
static void join_reader(const Inline *in, Info *t) {
  const Use *most = NULL;
  for (int k = 0; k < t->uses.n; k++)
    if (same_row(&t->uses.v[k]) && (!most || t->uses.v[k].evals > most->evals)) most = &t->uses.v[k];
  if (!most || !pipe_takes(in->p, LOWER_ROW_BUFFERS)) return;
  t->carrier = most->reader->carrier;
  t->carrier->slack -= fmin(t->carrier->slack, t->points * t->flops / gigaflops(in));
}

static void stay(const Inline *in, Info *t, const double *hidden) {
  t->stays = true;
  for (int k = 0; k < t->uses.n; k++) t->uses.v[k].reader->carrier->slack += hidden[k];
  join_reader(in, t);
}

static void move(const Inline *in, Info *t) {
  double most = -1;
  t->evals = 0;
  for (int k = 0; k < t->uses.n; k++) {
    const Use *u = &t->uses.v[k];
    double n = demand(in, t, u);
    t->evals += n;
    if (n > most) most = n, t->carrier = u->reader->carrier;
  }
}

// ---- reductions of a few steps ------------------------------------------------------------------

// `any` and `all` are left alone: written out they would skip terms, and what may fail in them.
static bool few_steps(const Expr *e) {
  double steps = 1;
  if (e->op != OP_REDUCE) return false;
  Op combine = reducers[e->u.bind->reducer].combine;
  if (combine == OP_NONE || combine == OP_OR || combine == OP_AND) return false;
  for (int k = 0; k < e->u.bind->n; k++) {
    if (!expr_is_const(reduce_lo(e, k)) || !expr_is_const(reduce_hi(e, k))) return false;
    steps *= (double)(reduce_hi(e, k)->u.v.i - reduce_lo(e, k)->u.v.i);
  }
  return steps >= 1 && steps <= TINY_STEPS;
}

// Subscripts that are each an index of its own: the reader can share a kernel with what it reads.
static bool reads_plainly(const Expr *read) {
  for (int d = 0; d < read->u.t->rank; d++) {
    if (read->arg[d]->op != OP_INDEX) return false;
    for (int k = 0; k < d; k++) if (read->arg[k] == read->arg[d]) return false;
  }
  return true;
}

// Such a one is worth computing again where a reader would have to wait for all of it: for its neighbours, say.
static void find_tiny(Info *t) {
  bool elsewhere = false;
  for (int k = 0; k < t->uses.n; k++) elsewhere |= !reads_plainly(t->uses.v[k].read);
  t->tiny = elsewhere && few_steps(t->q->body);
}

void inline_choose(Inline *in) {
  Fn *f = in->f;
  for (int i = 0; i < f->tensors.n; i++) in->info[i].points = cost_nominal_elements(f->tensors.v[i]);
  for (int i = 0; i < f->eqns.n; i++) look_at(in, f->eqns.v[i]);
  for (int i = 0; i < f->eqns.n; i++) find_tiny(&in->info[f->eqns.v[i]->def->id]);
  for (int i = f->eqns.n - 1; i >= 0; i--) {
    Info *t = &in->info[f->eqns.v[i]->def->id];
    double *hidden = arena_array(in->p->scratch, double, t->uses.n + 1);
    if (!inline_may_move(t) || !t->uses.n) continue;
    Info *root = most_copied(t);
    bool large = root->here > 1 && root->here * t->nodes > MAX_COPIED;
    bool dear = time_moved(in, t, hidden) > time_stored(in, t);
    if ((dear || large) && !t->forced) {
      stay(in, t, hidden);
      continue;
    }
    move(in, t);
    t->root = root;
    t->copies = root->here;
  }
}
