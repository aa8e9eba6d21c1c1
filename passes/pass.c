// pass.c: the pipeline and the one runner that skips, runs, times, verifies, dumps and names passes.
//
//   Fn as elaborated: one equation per statement of the source, calls inlined
//    │ coarse     functions on which only narrow results depend: may be less exact
//    │ simplify   fold constants, algebra that keeps every value (rules.def), drop what nothing reads
//    │ split      each reduction becomes the whole body of an equation of its own
//    │ cse        equations that compute the same thing become one
//    │ form       exponentials for which a shorter form will do
//    │ inline     definitions move into their readers (fusion is substitution)
//    │ simplify   again, on what inline brought together
//    ▼
//   Fn in normal form: every equation is a map, one reduction, a recurrence, an update or a block store
//    │ group      which equations share a kernel, over which parallel indices
//    ▼
//   Plan: kernels of loops and statements
//    │ lower      nested loops, one per phase of a row; checks that data needs; checks made once at the call
//    │ carry      recurrences: what the next steps need, in variables
//    │ quotient   in loops, products instead of coarse quotients by one number
//    │ short      points with a few elements each: 64 at a time, a column beside the other
//    │ jam        columns: the grid's last loop moves inside the loops of its points
//    │ tile       transposes: maps that read across the rows they write go by tiles
//    │ clip       prefixes and windows: loops end where nothing is left to do
//    │ prefix     few long prefixes: in parts, over all cores
//    │ buffers    temporaries: lifetimes, offsets in the scratch memory
//    │ flat       maps walk neighbouring dimensions of memory as one
//    │ vector     lanes for reductions, vectors for maps
//    │ gpu        on GPUs, for short, jam, tile, prefix, flat and vector: launches, threads
//    ▼
//   codegen prints it
#include "passes/pass.h"
#include "passes/group.h"
#include "ir/cost.h"
#include <assert.h>
#include <string.h>
#include <time.h>

const Pass passes[] = {
  { "coarse",    STAGE_FN,   pass_coarse,   0,             "mark functions on which only results of 16 bits or fewer depend" },
  { "simplify",  STAGE_FN,   pass_simplify, 0,             "fold constants, apply the rules of rules.def, drop what nothing reads" },
  { "split",     STAGE_FN,   pass_split,    PASS_REQUIRED, "make every reduction an equation of its own" },
  { "cse",       STAGE_FN,   pass_cse,      0,             "make equations that compute the same thing one" },
  { "form",      STAGE_FN,   pass_form,     0,             "mark exponentials for which a shorter form will do" },
  { "inline",    STAGE_FN,   pass_inline,   PASS_REQUIRED, "substitute definitions into their readers" },
  { "simplify2", STAGE_FN,   pass_simplify, 0,             "simplify again, after inlining" },
  { "group",     STAGE_PLAN, pass_group,    PASS_REQUIRED, "choose which equations share a kernel" },
  { "lower",     STAGE_PLAN, pass_lower,    PASS_REQUIRED, "turn equations into loops and statements" },
  { "carry",     STAGE_PLAN, pass_carry,    0,             "keep what a recurrence's next steps need in variables" },
  { "quotient",  STAGE_PLAN, pass_quotient, 0,             "multiply coarse values by the reciprocal of what a loop divides by" },
  { "short",     STAGE_PLAN, pass_short,    0,             "run points of a few elements each 64 at a time" },
  { "jam",       STAGE_PLAN, pass_jam,      0,             "run grid points that lie side by side in memory together" },
  { "tile",      STAGE_PLAN, pass_tile,     0,             "turn tiles of what maps read across their rows" },
  { "clip",      STAGE_PLAN, pass_clip,     0,             "end loops where there is nothing left to do" },
  { "prefix",    STAGE_PLAN, pass_prefix,   0,             "share few long prefixes out over all cores" },
  { "buffers",   STAGE_PLAN, pass_buffers,  PASS_REQUIRED, "place temporaries in scratch memory" },
  { "flat",      STAGE_PLAN, pass_flat,     0,             "let maps walk neighbouring dimensions as one" },
  { "vector",    STAGE_PLAN, pass_vector,   0,             "give reductions lanes and maps vectors" },
  { "gpu",       STAGE_PLAN, pass_gpu,      PASS_REQUIRED, "share loops out over blocks and threads of a GPU" },
};
const int npasses = sizeof passes / sizeof *passes;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

// Is `name` an element of the comma-separated `list`?
static bool listed(const char *list, const char *name) {
  size_t n = strlen(name);
  for (const char *s = list; s && *s; s += strcspn(s, ","), s += *s == ',') {
    if (strcspn(s, ",") == n && !strncmp(s, name, n)) return true;
  }
  return false;
}

static void print_state(const Pipe *p, Buf *out) {
  if (p->plan && p->plan->kernels.n) plan_print(p->plan, out);
  else if (p->groups.n) groups_print(p, out);
  else fn_print(p->fn, out);
}

static const char *state_text(Pipe *p) {
  Buf b = buf_make(p->a);
  print_state(p, &b);
  return b.s;
}

// A broken invariant is our bug: the message names the pass and shows what it made.
static bool verified(Pipe *p, const Pass *pass) {
  Buf why = buf_make(p->scratch);
  bool ok = pass->stage == STAGE_FN || !p->plan ? fn_verify(p->fn, &why) : plan_verify(p->plan, &why);
  if (ok) return true;
  diag_error(p->d, E_internal, p->fn->at, "pass `%s` broke an invariant: %s", pass->name, why.s);
  diag_note(p->d, "after the pass:\n%s", state_text(p));
  return false;
}

static bool run_one(Pipe *p, const Pass *pass) {
  double t0 = now_ms();
  bool ok = pass->run(p);
  if (p->opt.timing) p->opt.timing(p->opt.timing_cx, pass->name, now_ms() - t0);
  if (!ok) return false;
  bool whole = p->plan && p->plan->scratch_bytes;     // a plan has invariants once its tensors have places
  if (p->opt.verify && (pass->stage == STAGE_FN || whole) && !verified(p, pass)) return false;
  if (p->opt.dump && p->opt.dump_after && (listed(p->opt.dump_after, pass->name) || !strcmp(p->opt.dump_after, "all")))
    p->opt.dump(p->opt.dump_cx, pass->name, state_text(p));
  return true;
}

static bool skipped(const Pipe *p, const Pass *pass) {
  return !(pass->flags & PASS_REQUIRED) && listed(p->opt.disable, pass->name);
}

static void yardsticks(Pipe *p) {
  Plan *plan = p->plan;
  plan->bytes_unfused = cost_unfused((Fn *)p->source);
  plan->bytes_minimum = cost_minimum((Fn *)p->source);
  Expr *bytes = expr_int(plan->x, DT_I64, 0, NO_SPAN), *flops = bytes;
  for (int i = 0; i < plan->kernels.n; i++) {
    Kernel *k = plan->kernels.v[i];
    bytes = expr_op2(plan->x, OP_ADD, bytes, cost_bytes(plan->x, &k->cost, p->machine->cache_bytes), NO_SPAN);
    if (k->cost.flops) flops = expr_op2(plan->x, OP_ADD, flops, k->cost.flops, NO_SPAN);
  }
  plan->bytes_fused = bytes;
  plan->flops = flops;
}

Plan *passes_run(Arena *a, Fn *fn, const Machine *m, const PassOptions *opt, const char **stopped) {
  if (stopped) *stopped = NULL;
  Pipe p = { .fn = fn, .source = fn_copy(a, fn), .machine = m, .opt = *opt, .a = a, .d = fn->d };
#ifndef NDEBUG
  p.opt.verify = true;
#endif
  for (int i = 0; i < npasses; i++) {
    p.scratch = arena_create();
    bool ok = skipped(&p, &passes[i]) || run_one(&p, &passes[i]);
    bool stop = ok && opt->stop_after && !strcmp(opt->stop_after, passes[i].name);
    if (stop && stopped) *stopped = state_text(&p);
    arena_destroy(p.scratch);
    if (!ok || stop) return NULL;
  }
  yardsticks(&p);
  return p.plan;
}
