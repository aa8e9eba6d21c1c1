// target_c.c: C11 without headers, parallel and vectorised through OpenMP where it is on.
//
// Vector loops are in vector_c.c. See Note [Contraction].
#include "base/limits.h"
#include "codegen/entry_c.h"
#include "codegen/fold_c.h"
#include "codegen/region_c.h"
#include "codegen/turn_c.h"
#include "codegen/vector_c.h"
#include <assert.h>
#include <string.h>

static const char *op_text(const OpInfo *o, char kind) {
  if (kind == 'F') return o->c_float;
  return kind == 'U' && o->c_uint ? o->c_uint : o->c_int;
}

static bool any_faults(Emit *e) {
  for (int i = 0; i < e->p->kernels.n; i++)
    if (((const Params *)map_getp(&e->params, e->p->kernels.v[i]))->faults) return true;
  return false;
}

static void names(Emit *e) {
  c_vector_names(e);
  c_fold_names(e);
  c_turn_names(e);
  names_fresh(&e->names, "report_fault");
  names_fresh(&e->names, "plait_grain");
}

static void prologue(Emit *e) {
  buf_puts(e->out, "\n");
  if (!e->opt->jit) {
    buf_puts(e->out, "// C11 without headers. Build with -O3 -march=native -fno-math-errno -fno-trapping-math -fopenmp; link with -lm.\n"
                     "// With one -march compilers give the same bits if they do not fuse a * b + c: gcc with -std=c11 or -ffp-contract=off.\n");
  }
  if (e->uses_simd || !e->opt->jit) buf_puts(e->out, "#ifdef __clang__\n");
  if (!e->opt->jit) buf_puts(e->out, "#pragma STDC FP_CONTRACT OFF\n");
  if (e->uses_simd) buf_puts(e->out, "#pragma clang diagnostic ignored \"-Wpass-failed\"    // a loop may stay scalar\n");
  if (e->uses_simd || !e->opt->jit) buf_puts(e->out, "#endif\n");
  if (e->uses_simd || e->uses_parallel)
    buf_puts(e->out, "#ifdef _OPENMP\n#define OMP(...) _Pragma(#__VA_ARGS__)\n#else\n#define OMP(...)\n#endif\n");
  if (e->uses_grain) buf_puts(e->out, "int plait_grain(int awake, int asleep);\n");
  buf_puts(e->out, "\n");
  c_vector_prologue(e);
  c_fold_prologue(e);
  c_turn_prologue(e);
  if (!any_faults(e)) return;
  buf_puts(e->out, "// The first failed check is kept, whichever thread finds it.\n"
                   "static void report_fault(long long *fault, long long check, long long value) {\n"
                   "  long long none = 0;\n"
                   "  if (__atomic_compare_exchange_n(fault, &none, check, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) fault[1] = value;\n"
                   "}\n\n");
}

static void kernel_head(Emit *e, const Kernel *k) {
  const Params *p = map_getp(&e->params, k);
  Buf b = buf_make(e->a);
  const char *apart = c_region_stands_twice(e, k->id) ? "__attribute__((noinline)) " : "";
  buf_printf(&b, "static %svoid %s(", apart, (const char *)names_of(&e->names, k));
  for (int i = 0; i < p->list.n; i++) {
    const char *text = c_parameter(e, &p->list.v[i], e->t->restrict_word);
    c_append(&b, i > 0, text);
  }
  if (p->faults) c_append(&b, p->list.n > 0, "long long *fault");
  if (!p->faults && !p->list.n) buf_puts(&b, "void");
  emit_line(e, "%s) {", b.s);
}

// ---- loops -------------------------------------------------------------------------------------

static void loop_head(Emit *e, const Stmt *s, const char *lo, const char *hi) {
  const char *i = emit_index(e, s);
  const char *next = s->step ? arena_printf(e->a, "%s += %lld", i, (long long)s->step) : arena_printf(e->a, "%s++", i);
  emit_line(e, "for (long long %s = %s; %s < %s; %s) {", i, lo, i, hi, next);
  e->indent++;
}

static const char *loop_start(Emit *e, const Stmt *s) { return emit_expr(e, s->lo, LEVEL_COND); }

static void plain_loop(Emit *e, const Stmt *s) {
  const char *hi = emit_loop_end(e, s), *lo = loop_start(e, s);
  names_open(&e->names);
  loop_head(e, s, lo, hi);
  emit_block(e, s->body);
  if (e->in_region && !e->parallel) c_region_again(e, s);
  e->indent--;
  emit_line(e, "}");
  names_close(&e->names);
}

static const Stmt *nested_par(const Stmt *s) {
  const Stmt *b = s->body;
  bool alone = b && !b->next && b->kind == ST_LOOP && (b->how == HOW_PAR || b->how == HOW_PAR_VEC);
  return alone && !expr_uses_index(b->lo, s->ix) && !expr_uses_index(b->hi, s->ix) ? b : NULL;
}

enum { MAX_COLLAPSE = 8 };

// Tiles of the range are what cores share out; each is a vector loop, of four pages or so. The brace is left open.
static void tile_loop(Emit *e, const Stmt *s, const char *lo, const char *hi) {
  int steps = c_tile_steps(s);
  const char *tile = names_fresh(&e->names, arena_printf(e->a, "%s_tile", s->ix->name));
  const char *end = names_fresh(&e->names, arena_printf(e->a, "%s_end", s->ix->name));
  emit_line(e, "for (long long %s = %s; %s < %s; %s += %d) {", tile, lo, tile, hi, tile, steps);
  e->indent++;
  emit_line(e, "const long long %s = %s + %d < %s ? %s + %d : %s;", end, tile, steps, hi, tile, steps, hi);
  c_vector_loop(e, s, tile, end);
}

// ---- what a parallel loop takes along ----------------------------------------------------------
//
// Compilers make a function of the loop and give it what stands outside by reference: each pointer would then be loaded again behind every store
// to memory, which might have changed it. `firstprivate` gives values.

typedef struct Taken { Emit *e; Map own, seen; Buf list; int n; } Taken;

static void take(Taken *t, const char *name) { buf_printf(&t->list, "%s%s", t->n++ ? ", " : "", name); }

static void note_own(Taken *t, const Stmt *s) {
  for (; s; s = s->next) {
    if (s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_LINE) map_putp(&t->own, s->var, s->var);
    note_own(t, s->body);
    note_own(t, s->els);
  }
}

static void take_var(void *cx, Expr *x) {
  Taken *t = cx;
  if (x->op != OP_VAR || map_getp(&t->own, x->u.var) || map_getp(&t->seen, x->u.var)) return;
  map_putp(&t->seen, x->u.var, x);
  take(t, emit_var(t->e, x->u.var));
}

static void take_vars(Taken *t, const Stmt *s) {
  for (; s; s = s->next) {
    Expr *const part[] = { s->lo, s->hi, s->a, s->b, s->stream, s->lo2, s->hi2 };
    for (int k = 0; k < 7; k++) if (part[k]) expr_visit(t->e->a, part[k], take_var, t);
    for (int k = 0; k < s->nsub; k++) expr_visit(t->e->a, s->sub[k], take_var, t);
    take_vars(t, s->body);
    take_vars(t, s->els);
  }
}

// What the text of the loop has used goes to `outer` as well.
static void take_used(Taken *t, Uses *outer) {
  Emit *e = t->e;
  int *at, n = uses_sorted(&e->used, &e->number, &at);
  for (int i = 0; i < n; i++) {
    const Param *p = &e->known.v[at[i]];
    const void *object = p->dim ? (const void *)p->dim : p->t;
    uses_put(outer, object);
    take(t, names_of(&e->names, object));
  }
}

static const char *taken_clause(Emit *e, Uses *outer, const Stmt *loop) {
  Taken t = { e, map_make(e->a), map_make(e->a), buf_make(e->a), 0 };
  note_own(&t, loop->body);
  take_vars(&t, loop->body);
  take_used(&t, outer);
  return t.n ? arena_printf(e->a, " firstprivate(%s)", t.list.s) : "";
}

// A loop of a single step is nothing to share out, though its work may be much (columns that are one tile).
static bool has_one_step(const Stmt *s) { return stmt_steps_below(s, (s->step ? s->step : 1) + 1); }

static void lone_step(Emit *e, const Stmt *s) {
  e->parallel = true;
  plain_loop(e, s);
  e->parallel = false;
}

// What a region's threads have of a loop: they look at its indices once, which is nothing beside what they do with them.
//
//   long long from = hi, end = lo;
//   omp for schedule(static) nowait
//   for (long long i = lo; i < hi; i++) { from = i < from ? i : from; end = i + 1; }
//   if (from < end) { … }
static void print_share(Emit *e, const Stmt *s) {
  Stmt *end = stmt_alone(e->a, s);
  end->lo = expr_plus(e->p->x, s->lo, 1), end->hi = expr_plus(e->p->x, s->hi, 1);
  const char *hi = emit_loop_end(e, s), *lo = loop_start(e, s);
  const char *from = emit_index(e, s), *to = names_bind(&e->names, s->ix2, s->ix2->name);
  map_putp(&e->loops, s->ix2, end);
  emit_line(e, "long long %s = %s, %s = %s;", from, hi, to, lo);
  names_open(&e->names);
  const char *i = names_fresh(&e->names, "i");
  emit_line(e, "OMP(omp for schedule(static) nowait)");
  emit_line(e, "for (long long %s = %s; %s < %s; %s++) {", i, lo, i, hi, i);
  emit_line(e, "  %s = %s < %s ? %s : %s;", from, i, from, i, from);
  emit_line(e, "  %s = %s + 1;", to, i);
  emit_line(e, "}");
  names_close(&e->names);
  emit_line(e, "if (%s < %s) {", from, to);
  emit_open(e);
  e->parallel = true;
  emit_block(e, s->body);
  e->parallel = false;
  emit_close(e);
  emit_line(e, "}");
}

static const char *worth(Emit *e, const Stmt *s) {
  return s->parallel_if && !e->in_region ? arena_printf(e->a, " if(%s)", c_is_worth(e, s->parallel_if, true)) : "";
}

// A parallel loop is printed aside: its directive, which stands before it, names what it uses.
typedef struct Aside { Buf text, *out; Uses outer; } Aside;

static void aside_open(Emit *e, Aside *a) {
  *a = (Aside){ .text = buf_make(e->a), .out = e->out, .outer = e->used };
  e->uses_parallel = true;
  e->used = uses_make(e->a);
  e->out = &a->text;
}

// The clause of what it takes.
static const char *aside_close(Emit *e, Aside *a, const Stmt *s) {
  const char *taken = taken_clause(e, &a->outer, s);
  e->out = a->out;
  e->used = a->outer;
  return taken;
}

// A loop whose steps are the threads' shares.
static void shared_loop(Emit *e, const Stmt *s) {
  const char *when = worth(e, s);
  Aside body;
  aside_open(e, &body);
  emit_open(e);
  print_share(e, s);
  emit_close(e);
  const char *taken = aside_close(e, &body, s);
  if (!e->in_region) emit_line(e, "OMP(omp parallel%s%s)", taken, when);
  emit_line(e, "{");
  buf_puts(e->out, body.text.s);
  emit_line(e, "}");
}

static void parallel_loop(Emit *e, const Stmt *s) {
  const Stmt *nest[MAX_COLLAPSE] = {s};
  const char *lo[MAX_COLLAPSE], *hi[MAX_COLLAPSE];
  int n = 1;
  for (const Stmt *in = s; in->how == HOW_PAR && n < MAX_COLLAPSE && (in = nested_par(in)); n++) nest[n] = in;
  const Stmt *tiled = nest[n - 1]->how == HOW_PAR_VEC ? nest[n - 1] : NULL;
  for (int k = 0; k < n; k++) {
    if (k) emit_note(e, nest[k]);
    hi[k] = emit_loop_end(e, nest[k]);
    lo[k] = loop_start(e, nest[k]);
  }
  const char *collapse = n > 1 ? arena_printf(e->a, " collapse(%d)", n) : "";
  const char *when = worth(e, s);
  Aside body;
  aside_open(e, &body);
  names_open(&e->names);
  for (int k = 0; k < n - (tiled != NULL); k++) loop_head(e, nest[k], lo[k], hi[k]);
  e->parallel = true;
  if (tiled) tile_loop(e, tiled, lo[n - 1], hi[n - 1]);
  else emit_block(e, nest[n - 1]->body);
  e->parallel = false;
  for (int k = 0; k < n; k++) {
    e->indent--;
    emit_line(e, "}");
  }
  names_close(&e->names);
  const char *taken = aside_close(e, &body, s);
  if (e->in_region) emit_line(e, "OMP(omp for%s schedule(static) nowait)", collapse);
  else emit_line(e, "OMP(omp parallel for%s%s%s schedule(static))", collapse, taken, when);
  buf_puts(e->out, body.text.s);
}

// ---- lanes -------------------------------------------------------------------------------------

static void lanes_var(Emit *e, const Stmt *s) {
  const char *type = emit_type(s->var->dtype), *value = emit_expr(e, s->a, LEVEL_COND);
  const char *name = names_bind(&e->names, s->var, arena_printf(e->a, "%s_lane", s->var->name));
  map_putp(&e->lanes, s->var, (void *)s);
  if (expr_is_const(s->a) && s->a->u.v.u == 0) {
    emit_line(e, "%s %s[%d] = {0};", type, name, s->lanes);
    return;
  }
  emit_line(e, "%s %s[%d];", type, name, s->lanes);
  emit_line(e, "for (int lane = 0; lane < %d; lane++)", s->lanes);
  emit_line(e, "  %s[lane] = %s;", name, value);
}

static void vector_loop(Emit *e, const Stmt *s) {
  const char *hi = emit_loop_end(e, s), *lo = loop_start(e, s);
  c_vector_loop(e, s, lo, hi);
}

static void loop(Emit *e, const Stmt *s) {
  switch (s->how) {
  case HOW_LANES: case HOW_VEC: vector_loop(e, s); return;
  case HOW_SCAN:
    if (s->lanes > 1) vector_loop(e, s);
    else plain_loop(e, s);
    return;
  case HOW_PAR_VEC:
    if (e->parallel) vector_loop(e, s);
    else parallel_loop(e, s);
    return;
  case HOW_PAR:
    if (s->ix2) shared_loop(e, s);
    else if (e->parallel) plain_loop(e, s);
    else if (!e->in_region && has_one_step(s) && !nested_par(s)) lone_step(e, s);
    else parallel_loop(e, s);
    return;
  default: plain_loop(e, s); return;
  }
}

static void fault(Emit *e, int site, const char *value) { emit_line(e, "report_fault(fault, %d, %s);", site, value); }

const Target target_c = {
  .name = "c", .restrict_word = "restrict ", .function_words = "static inline ", .table_words = "static const ", .aligned_words = "_Alignas(64) ",
  .own_functions = true, .fixed_quotients = true, .int_magnitudes = true, .infinity = {"__builtin_inf()", "__builtin_inff()"}, .nan = {"__builtin_nan(\"\")", "__builtin_nanf(\"\")"},
  .op_text = op_text, .names = names, .prologue = prologue, .plan = c_region_plan, .kernel_open = c_region_open, .region_statement = c_region_statement,
  .kernel_head = kernel_head, .loop = loop, .lanes_var = lanes_var, .fold = c_fold,
  .stage = c_stage, .prefetch = c_prefetch, .line = c_line, .fault = fault, .entry = c_entry,
};

// Note [Contraction]
//
// a * b + c may be rounded once in the language, and which compiler fuses what differs: gcc's GNU modes fuse across
// statements, clang within an expression, ISO modes of gcc not at all. Printed files ask for no fusion, so that the same
// text gives the same bits everywhere; for the JIT, JitOptions.strict decides. It costs nothing where it was looked for
// (clang 19 and gcc 12, Zen 4, one thread, off against fast): softmax 64x2048 in L2 7.9 and 7.9 GB/s, layer norm 35.9 and 33.0,
// 8192x4096 in DRAM 6.3 and 6.3, 10.5 and 11.0. The polynomials of math.def, where it would, say __builtin_fmaf themselves where
// the machine has it (mad_f32): that choice depends on -march alone.
//
