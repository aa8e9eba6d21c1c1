// region_c.c: kernels and parallel loops that follow each other become one parallel region.
//
//   omp parallel for    // part[p] = …       omp parallel
//   s = sum of part                           omp for … nowait    // part[p] = …
//   omp parallel for    // y[i] = x[i] / s    omp barrier
//                                       ──▶   s = sum of part     // each thread for itself
//                                             omp for … nowait    // y[i] = x[i] / s
//
// A fork and its join take longer than a barrier (pool.c), and what a loop has left in a core's cache is there for the next.
// All threads of a region run what stands outside of its parallel loops:
//
//   each for itself    what writes to nothing that threads share, and is short
//   one of them        (`omp master`) what writes to memory, but changes no variable
//   together           loops and branches around parallel loops: their bounds and conditions are the same for all
//
// Barriers stand where a statement touches what another wrote since the last one, or writes what another touched: Note [Barriers].
// A kernel with a statement that is none of these keeps its own regions.
#include "codegen/region_c.h"
#include "ir/rewrite.h"
#include <assert.h>
#include <string.h>

enum {
  QUICK = 8192,         // steps that each thread may take for itself: some 4 us
  MOST_KERNELS = 64,    // of a region
  MOST_LOOPS = 8,       // parallel ones of a kernel, which all stand in one function: compilers take more than twice as long for twice as many
  MOST_TAKEN = 200,     // variables of a region; the pool takes 1024 (MAX_CAPTURED)
  MOST_TOUCHED = 256,   // since a barrier, that every branch copies
};

// What was read and written since all threads met.
typedef struct Touched { Uses reads, writes; } Touched;

// A local array: each thread's own, or one for all.
typedef struct Array { const Stmt *alloc; bool shared; } Array;

// Of a kernel. meets_behind: threads meet before the entry asks whether a check in it has failed.
typedef struct Member { const RegionRun *run; bool meets_behind; } Member;

struct Region {
  VEC(Member) member;          // by kernel; run NULL: it has its own regions
  Map arrays;                  // tensor of an ALLOC at the level of the region -> Array
  Touched since;
};

// Stands for the record of a failed check.
static const char the_fault;

static Touched untouched(Emit *e) { return (Touched){ uses_make(e->a), uses_make(e->a) }; }

// ---- what a statement touches ------------------------------------------------------------------

typedef struct Look { Emit *e; Touched *at; Map inside; } Look;

static bool is_alloc(const Stmt *s) { return s->kind == ST_ALLOC; }

static Array *array_of(const Emit *e, const Tensor *t) { return map_getp(&e->region->arrays, tensor_root(t)); }

// Memory that may be another's: temporaries with one offset lie in one place. NULL: nobody else sees it.
static const void *object_of(const Look *l, const Tensor *t) {
  t = tensor_root(t);
  const Array *array = array_of(l->e, t);
  int temp = plan_temp_of(l->e->p, t);
  if (t->role == ROLE_TABLE || map_getp(&l->inside, t) || (array && !array->shared)) return NULL;
  return temp >= 0 ? (const void *)l->e->p->temps.v[temp].offset : t;
}

static void look_expr(void *cx, Expr *x) {
  Look *l = cx;
  const void *object = x->op == OP_READ || x->op == OP_FIELD ? object_of(l, x->u.t) : NULL;
  if (object) uses_put(&l->at->reads, object);
}

static void look_exprs(Look *l, const Stmt *s) {
  Expr *const part[] = {s->lo, s->hi, s->lo2, s->hi2, s->a, s->b, s->stream};
  for (int k = 0; k < 7; k++)
    if (part[k]) expr_visit(l->e->a, part[k], look_expr, l);
  for (int k = 0; k < s->nsub; k++) expr_visit(l->e->a, s->sub[k], look_expr, l);
}

static void look_block(Look *l, const Stmt *s);

static void look(Look *l, const Stmt *s) {
  if (s->kind == ST_PREFETCH) return;
  look_exprs(l, s);
  if (is_alloc(s)) map_putp(&l->inside, tensor_root(s->t), (void *)s);
  const void *object = s->kind == ST_STORE || s->kind == ST_STAGE ? object_of(l, s->t) : s->kind == ST_FAULT ? &the_fault : NULL;
  if (object) uses_put(&l->at->writes, object);
  look_block(l, s->body);
  look_block(l, s->els);
}

static void look_block(Look *l, const Stmt *s) {
  for (; s; s = s->next) look(l, s);
}

static void touch(Emit *e, const Stmt *s, Touched *at) {
  Look l = { e, at, map_make(e->a) };
  look(&l, s);
}

// Without its bodies.
static void touch_head(Emit *e, const Stmt *s, Touched *at) {
  Look l = { e, at, map_make(e->a) };
  look_exprs(&l, s);
}

static bool meet_in(const Uses *a, const Uses *b) {
  for (int i = 0; i < b->list.n; i++)
    if (uses_has(a, b->list.v[i])) return true;
  return false;
}

static bool conflict(const Touched *before, const Touched *now) {
  return meet_in(&before->writes, &now->writes) || meet_in(&before->writes, &now->reads) || meet_in(&before->reads, &now->writes);
}

static void add(Uses *to, const Uses *from) {
  for (int i = 0; i < from->list.n; i++) uses_put(to, from->list.v[i]);
}

static void add_touched(Touched *to, const Touched *from) {
  add(&to->reads, &from->reads);
  add(&to->writes, &from->writes);
}

// ---- who runs a statement ----------------------------------------------------------------------

static bool is_parallel(const Stmt *s) { return s->kind == ST_LOOP && (s->how == HOW_PAR || s->how == HOW_PAR_VEC); }

static bool has_parallel(const Stmt *s) {
  if (is_parallel(s)) return true;
  for (const Stmt *b = s->body; b; b = b->next) if (has_parallel(b)) return true;
  for (const Stmt *b = s->els; b; b = b->next) if (has_parallel(b)) return true;
  return false;
}

// Steps that it takes at most; beyond QUICK where that is not known.
static int64_t steps_of(const Stmt *s) {
  int64_t n = 1, times = 1;
  for (const Stmt *b = s->body; b; b = b->next) n += steps_of(b);
  for (const Stmt *b = s->els; b; b = b->next) n += steps_of(b);
  if (s->kind == ST_LOOP) {
    if (!stmt_steps_below(s, QUICK)) return QUICK + 1;
    for (times = QUICK; times > 1 && stmt_steps_below(s, times / 2); times /= 2) {}
  }
  return n > QUICK ? QUICK + 1 : n * times;
}

static bool declares(const Stmt *s, const Var *v) { return stmts_declare(s->body, v) || stmts_declare(s->els, v); }

static bool changes(const Stmt *outer, const Stmt *s) {
  for (; s; s = s->next) {
    bool sets = s->kind == ST_SET || s->kind == ST_ACC || s->kind == ST_FOLD;
    if (sets && (!declares(outer, s->var) || (s->var2 && !declares(outer, s->var2)))) return true;
    if (changes(outer, s->body) || changes(outer, s->els)) return true;
  }
  return false;
}

// Does a loop or branch change a variable that was declared before it?
static bool changes_variables(const Stmt *s) { return changes(s, s->body) || changes(s, s->els); }

// Writes to what threads share, but for the record of faults: the same fault by each of them is one.
static bool writes(Emit *e, const Stmt *s) {
  Touched at = untouched(e);
  touch(e, s, &at);
  return at.writes.list.n > uses_has(&at.writes, &the_fault);
}

static bool is_for_one(Emit *e, const Stmt *s) { return !has_parallel(s) && writes(e, s); }

// ---- which arrays threads share ----------------------------------------------------------------
//
// Arrays at the level of the region begin as each thread's own. One that a parallel loop writes, or that stands in a statement for
// one thread, is shared, which may make more statements be for one thread.

static void note_arrays(Emit *e, const Stmt *s) {
  for (; s; s = s->next) {
    if (is_alloc(s)) {
      Array *a = arena_new(e->a, Array);
      *a = (Array){s, false};
      map_putp(&e->region->arrays, tensor_root(s->t), a);
    }
    if (is_parallel(s) || !has_parallel(s)) continue;
    note_arrays(e, s->body);
    note_arrays(e, s->els);
  }
}

static bool share(Emit *e, const Tensor *t) {
  Array *a = array_of(e, t);
  bool more = a && !a->shared;
  if (more) a->shared = true;
  return more;
}

static bool share_stored(Emit *e, const Stmt *s) {
  bool more = (s->kind == ST_STORE || s->kind == ST_STAGE) && share(e, s->t);
  for (const Stmt *b = s->body; b; b = b->next) more |= share_stored(e, b);
  for (const Stmt *b = s->els; b; b = b->next) more |= share_stored(e, b);
  return more;
}

static bool share_arrays(Emit *e, const Stmt *s) {
  bool more = false;
  for (; s; s = s->next) {
    if (!is_parallel(s) && has_parallel(s)) {
      more |= share_arrays(e, s->body);
      more |= share_arrays(e, s->els);
    } else if (is_parallel(s) || writes(e, s) || steps_of(s) > QUICK) more |= share_stored(e, s);
  }
  return more;
}

// ---- which kernels run in a region -------------------------------------------------------------

static void look_fixed(void *cx, Expr *x) {
  if (x->op == OP_VAR || x->op == OP_INDEX || (x->op == OP_READ && x->u.t->rank)) *(bool *)cx = false;
}

// Is it known before the region begins?
static bool is_fixed(Emit *e, const Expr *x) {
  bool fixed = true;
  expr_visit(e->a, (Expr *)x, look_fixed, &fixed);
  return fixed;
}

static bool suits(Emit *e, const Stmt *s);

static bool suits_block(Emit *e, const Stmt *s) {
  for (; s; s = s->next)
    if (!suits(e, s)) return false;
  return true;
}

// Can threads run it for themselves, can one of them for all, or can all of them together?
static bool suits(Emit *e, const Stmt *s) {
  if (is_parallel(s)) return !s->parallel_if || is_fixed(e, s->parallel_if);
  if (has_parallel(s)) return (s->kind == ST_IF || s->how == HOW_SEQ) && suits_block(e, s->body) && suits_block(e, s->els);
  return is_for_one(e, s) ? !changes_variables(s) : steps_of(s) <= QUICK;
}

// Parallel loops in the text.
static int count_loops(const Stmt *s) {
  int n = 0;
  for (; s; s = s->next) n += is_parallel(s) ? 1 : count_loops(s->body) + count_loops(s->els);
  return n;
}

// Parallel loops one after another, as far as two; in a loop they are.
static int loops_of(const Stmt *s) {
  int n = 0;
  for (; s && n < 2; s = s->next) {
    int body = is_parallel(s) ? 1 : loops_of(s->body), els = is_parallel(s) ? 0 : loops_of(s->els), more = body > els ? body : els;
    n += !is_parallel(s) && s->kind == ST_LOOP ? 2 * more : more;
  }
  return n;
}

static bool kernel_suits(Emit *e, const Kernel *k) {
  if (count_loops(k->body) > MOST_LOOPS) return false;
  note_arrays(e, k->body);
  while (share_arrays(e, k->body)) {}
  return suits_block(e, k->body);
}

static void add_work(Emit *e, RegionRun *run, const Stmt *s) {
  for (; s; s = s->next) {
    bool known = !is_parallel(s) || stmt_steps_below(s, s->step ? s->step + 1 : 2);      // a single step is nothing to share out
    for (int i = 0; i < run->work.n && s->parallel_if; i++) known |= run->work.v[i] == s->parallel_if;
    if (!known && s->parallel_if) vec_push(e->a, &run->work, s->parallel_if);
    run->always |= is_parallel(s) && !s->parallel_if;
    if (is_parallel(s)) continue;
    add_work(e, run, s->body);
    add_work(e, run, s->els);
  }
}

static void add_shared(Emit *e, RegionRun *run, const Stmt *s) {
  for (; s; s = s->next) {
    if (is_alloc(s) && array_of(e, s->t)->shared) vec_push(e->a, &run->shared, s);
    if (is_parallel(s) || !has_parallel(s)) continue;
    add_shared(e, run, s->body);
    add_shared(e, run, s->els);
  }
}

static void add_kernel(Emit *e, RegionRun *run, const Kernel *k) {
  add_work(e, run, k->body);
  add_shared(e, run, k->body);
  run->n++;
}

// The kernels from `first` on that suit, as many as one region takes; of them at least the first.
static RegionRun *run_from(Emit *e, int first, int *loops) {
  RegionRun *run = arena_new(e->a, RegionRun);
  run->first = first;
  Uses taken = uses_make(e->a);
  for (int k = first; k < e->p->kernels.n && run->n < MOST_KERNELS; k++) {
    const Kernel *kernel = e->p->kernels.v[k];
    if (run->n && (taken.list.n + kernel->args.n > MOST_TAKEN || !kernel_suits(e, kernel))) break;
    for (int i = 0; i < kernel->args.n; i++) uses_put(&taken, tensor_root(kernel->args.v[i].t));
    *loops += loops_of(kernel->body);
    add_kernel(e, run, kernel);
  }
  return run;
}

// Arrays that threads share are declared before the region, under a name of the whole file.
static void name_shared(Emit *e, const RegionRun *run) {
  for (int i = 0; i < run->shared.n; i++) {
    const Tensor *t = tensor_root(run->shared.v[i]->t);
    names_bind(&e->names, t, t->name);
    emit_know(e, NULL, t);
  }
}

void c_region_plan(Emit *e) {
  Region *r = e->region = arena_new(e->a, Region);
  int n = e->p->kernels.n;
  r->arrays = map_make(e->a);
  for (int k = 0; k < n; k++) vec_push(e->a, &r->member, (Member){NULL, false});
  for (int k = 0; k < n;) {
    int loops = 0;
    const RegionRun *run = kernel_suits(e, e->p->kernels.v[k]) ? run_from(e, k, &loops) : NULL;
    bool worth = loops > 1 && (run->always || run->work.n);
    for (int i = 0; worth && i < run->n; i++) r->member.v[k + i].run = run;
    if (worth) name_shared(e, run);
    k += run ? run->n : 1;
  }
}

const RegionRun *c_region_of(const Emit *e, int kernel) { return e->region->member.v[kernel].run; }
bool c_region_meets_behind(const Emit *e, int kernel) { return e->region->member.v[kernel].meets_behind; }

bool c_region_stands_twice(const Emit *e, int kernel) {
  const RegionRun *run = c_region_of(e, kernel);
  Scalar known;
  if (!run || run->n > 1) return run != NULL;
  for (int i = 0; i < run->work.n; i++)
    if (!run->always && !expr_fold(run->work.v[i], &known)) return true;
  return false;
}

// ---- printing ----------------------------------------------------------------------------------

static void meet(Emit *e) {
  e->uses_parallel = true;
  e->region->since = untouched(e);
  emit_line(e, "OMP(omp barrier)");
}

// All threads meet where they must before `now` is touched.
static void before(Emit *e, const Touched *now) {
  Touched *since = &e->region->since;
  if (conflict(since, now) || since->reads.list.n + since->writes.list.n > MOST_TOUCHED) meet(e);
  add_touched(since, now);
}

static const Stmt *print_apart(Emit *e, const Stmt *s, const Stmt *last) {
  e->in_region = false;
  for (; s != last; s = s->next) emit_statement(e, s);
  emit_statement(e, last);
  e->in_region = true;
  return last;
}

static const Stmt *print_for_one(Emit *e, const Stmt *s) {
  const Stmt *last = s;
  Touched now = untouched(e);
  while (last->next && is_for_one(e, last->next)) last = last->next;
  for (const Stmt *k = s; k != last->next; k = k->next) touch(e, k, &now);
  before(e, &now);
  emit_line(e, "OMP(omp master)");
  emit_line(e, "{");
  emit_open(e);
  print_apart(e, s, last);
  emit_close(e);
  emit_line(e, "}");
  return last;
}

static void print_branch(Emit *e, const Stmt *s) {
  emit_open(e);
  emit_block(e, s);
  emit_close(e);
}

// After it, what either branch touched counts.
static void print_if(Emit *e, const Stmt *s) {
  Touched head = untouched(e), was = untouched(e);
  touch_head(e, s, &head);
  before(e, &head);
  add_touched(&was, &e->region->since);
  emit_note(e, s);
  emit_line(e, "if (%s) {", emit_expr(e, s->a, LEVEL_COND));
  print_branch(e, s->body);
  Touched then = e->region->since;
  e->region->since = was;
  if (s->els) {
    emit_line(e, "} else {");
    print_branch(e, s->els);
  }
  emit_line(e, "}");
  add_touched(&e->region->since, &then);
}

// Each step begins where all have met, if steps touch what others do.
static void print_loop(Emit *e, const Stmt *s) {
  Touched now = untouched(e);
  touch(e, s, &now);
  before(e, &now);
  Touched since = e->region->since;
  e->region->since = untouched(e);
  emit_statement(e, s);
  e->region->since = since;
}

const Stmt *c_region_statement(Emit *e, const Stmt *s) {
  Touched now = untouched(e);
  const Array *array = is_alloc(s) ? array_of(e, s->t) : NULL;
  if (array && array->shared) return s;
  if (is_for_one(e, s)) return print_for_one(e, s);
  if (!has_parallel(s) || is_parallel(s)) {
    touch(e, s, &now);
    before(e, &now);
    if (!is_parallel(s)) return print_apart(e, s, s);
    emit_statement(e, s);
  } else if (s->kind == ST_IF) print_if(e, s);
  else print_loop(e, s);
  return s;
}

void c_region_again(Emit *e, const Stmt *loop) {
  Touched now = untouched(e);
  touch(e, loop, &now);
  if (conflict(&now, &now)) meet(e);
}

// A check that failed in the kernel before this one ends the region: all look, once they have met, and before another may fail.
static void look_for_faults(Emit *e, int kernel) {
  const Params *before = map_getp(&e->params, e->p->kernels.v[kernel - 1]);
  Touched *since = &e->region->since;
  if (!before->faults) return;
  e->region->member.v[kernel - 1].meets_behind = uses_has(&since->writes, &the_fault);
  if (uses_has(&since->writes, &the_fault)) *since = untouched(e);
  uses_put(&since->reads, &the_fault);
}

void c_region_open(Emit *e, const Kernel *k) {
  assert(e->p->kernels.v[k->id] == k && "kernels are numbered");
  const RegionRun *run = c_region_of(e, k->id);
  e->in_region = run != NULL;
  if (!run) return;
  if (run->first == k->id) e->region->since = untouched(e);
  else look_for_faults(e, k->id);
}

// Note [Barriers]
//
// What statements touch is known by tensor: all of one, or nothing. Since the last barrier, `since` has what any thread may
// still be reading or writing. A statement that only reads what is only read needs no barrier, whoever runs it. So parallel
// loops that need nothing of each other run side by side (`nowait`), and a sum that each thread adds up for itself is read
// without waiting by the loop behind it.
//
// A loop around parallel loops has a barrier at the end of each step, so that a step begins with nothing touched; before its
// first step stands one if any of its steps may touch what stands before it.
//
// All threads come to the same barriers, because conditions and bounds at this level have the same value for all: they
// are computed from variables that each thread computed alike, and from memory that nobody writes before the next barrier.
// That goes for the record of faults too, which the entry looks at between kernels.
//
// The region's own end is a barrier, so the last loop needs none. Results do not depend on who computed what: the order of
// each sum is part of the program.
