// side_c.c: how many lanes of a block are computed side by side.
//
//   for lane < 64: y[lane] = exp(x[lane]) / z   ──▶   omp simd simdlen(SIDE_BY_SIDE)
//
// Of a block's 64 lanes a compiler makes four vectors of AVX-512 and, unasked, computes them one after another: each operation waits
// four cycles for the one before, and a core that starts two in a cycle has to find the others beyond eighty instructions. Asked for all
// lanes at once it writes each operation four times in a row, so long as the registers hold four times what is alive. See Note [Side by side].
#include "codegen/side_c.h"

enum {
  AT_ONCE = 64,         // lanes of SIDE_BY_SIDE with AVX-512
  FEW = 6,              // values alive so that four vectors of each, and a dozen constants, fit into 32 registers
  MANY = 12,            // the same for two
  OF_A_FUNCTION = 3,    // values that exp and the like keep beside their argument
  FLOPS_OF_ONE = 6,     // from which on an operation is such a function
  SHORT = 8,            // flops below which a map is too short to wait for itself
  DIVISIONS = 3,        // from which on a block waits for the unit that divides, in any order
};

typedef struct Side {
  Arena *a;
  const Stmt *loop;
  Map need;             // Expr → registers that its evaluation needs; none: it is the same in all lanes
  Map made;             // Var of the body → itself
  Map last;             // Var → the last statement that reads it
  const Stmt *at;
  int flops, divisions;
  bool narrow;          // it reads what is converted first
} Side;

// ---- an expression -----------------------------------------------------------------------------

static int registers_of_type(Dtype d) { return dtypes[d].bits == 64 ? 2 : 1; }
static int registers_of(const Expr *e) { return registers_of_type((Dtype)e->dtype); }
static int need_of(const Side *s, const Expr *e) { return e ? (int)(uintptr_t)map_getp(&s->need, e) : 0; }

static bool is_function(const Expr *e) { return ops[e->op].rule == R_FLOAT && ops[e->op].callable && ops[e->op].flops >= FLOPS_OF_ONE; }

// Operands are evaluated one after another, the most demanding first, while the results so far are kept.
// [Sethi and Ullman, The generation of optimal code for arithmetic expressions, JACM 1970]
static int need_of_operands(const Side *s, const Expr *e) {
  int most = 0, kept = 0;
  for (uint32_t k = 0; k < e->nargs; k++) {
    int n = need_of(s, e->arg[k]);
    if (!n) continue;
    int first = kept + n, second = most + registers_of(e->arg[k]);      // in this order, or this one before the others
    int before = second > n ? second : n, after = first > most ? first : most;
    most = before < after ? before : after;
    kept += registers_of(e->arg[k]);
  }
  return most;
}

static void see(void *cx, Expr *e) {
  Side *s = cx;
  s->narrow |= e->op == OP_READ && e->u.t->dtype != DT_BOOL && dtypes[e->u.t->dtype].bits < 32;
  if (e->op == OP_VAR) map_putp(&s->last, e->u.var, (void *)s->at);
  bool differs = expr_is_index(e, s->loop->ix) || (e->op == OP_VAR && map_getp(&s->made, e->u.var));
  s->flops += ops[e->op].flops;
  s->divisions += e->op == OP_DIV || e->op == OP_SQRT || e->op == OP_RSQRT;
  int n = differs ? registers_of(e) : need_of_operands(s, e);
  if (!n) return;
  if (e->op == OP_READ || e->op == OP_FIELD) n = registers_of(e);      // its subscripts make an address
  else if (is_function(e)) n += OF_A_FUNCTION;
  map_putp(&s->need, e, (void *)(uintptr_t)(n > registers_of(e) ? n : registers_of(e)));
}

static int most_needed(const Side *s, const Stmt *st) {
  int a = need_of(s, st->a), b = need_of(s, st->b);
  return a > b ? a : b;
}

// ---- a body ------------------------------------------------------------------------------------

static int registers_of_acc(const Stmt *st) {
  return registers_of_type(st->var->dtype) + (st->var2 ? registers_of_type(st->var2->dtype) : 0);
}

// Accumulators are alive throughout; who reads what last is noted.
static int look_over(Side *s) {
  int kept = 0;
  for (const Stmt *st = s->loop->body; st; st = st->next) {
    s->at = st;
    if (st->kind == ST_ACC) kept += registers_of_acc(st);
    if (st->kind == ST_LET) map_putp(&s->made, st->var, st->var);
    if (st->a) expr_visit(s->a, st->a, see, s);
    if (st->b) expr_visit(s->a, st->b, see, s);
  }
  return kept;
}

// Values of the body that are read for the last time in a statement, and their registers.
static Map ends_of(Side *s) {
  Map ends = map_make(s->a);
  for (const Stmt *st = s->loop->body; st; st = st->next) {
    const Stmt *last = st->kind == ST_LET && need_of(s, st->a) ? map_getp(&s->last, st->var) : NULL;
    if (last) map_putp(&ends, last, (void *)((uintptr_t)map_getp(&ends, last) + (uintptr_t)registers_of(st->a)));
  }
  return ends;
}

// kept: what accumulators hold.
static int alive_at_most(Side *s, int kept) {
  int most = kept;
  Map ends = ends_of(s);
  for (const Stmt *st = s->loop->body; st; st = st->next) {
    int here = most_needed(s, st);
    if (kept + here > most) most = kept + here;
    kept -= (int)(uintptr_t)map_getp(&ends, st);
    bool kept_on = st->kind == ST_LET ? map_getp(&s->last, st->var) && here : st->kind == ST_STORE && st->stream;
    if (kept_on) kept += registers_of(st->a);
  }
  return most;
}

// Sums of columns, which stand in an array, are left alone: they wait for the rows, and a moment's two loops lost a tenth.
static bool is_suited(const Stmt *st) {
  for (; st; st = st->next) {
    if (st->kind != ST_LET && st->kind != ST_ACC && st->kind != ST_STORE && st->kind != ST_PREFETCH) return false;
    if (st->kind == ST_STORE && expr_reads(st->a, st->t)) return false;
  }
  return true;
}

const char *c_side_by_side(Emit *e, const Stmt *loop, int count) {
  if (!is_suited(loop->body) || (count != AT_ONCE && count != AT_ONCE / 2)) return "";
  Side s = { .a = e->a, .loop = loop, .need = map_make(e->a), .made = map_make(e->a), .last = map_make(e->a) };
  int kept = look_over(&s);
  if ((!kept && s.flops < SHORT) || s.divisions >= DIVISIONS || s.narrow) return "";
  int alive = alive_at_most(&s, kept);
  if (alive > MANY) return "";
  e->uses_side = true;
  return alive > FEW || count < AT_ONCE ? " simdlen(SIDE_BY_SIDE / 2)" : " simdlen(SIDE_BY_SIDE)";
}

void c_side_names(Emit *e) { names_fresh(&e->names, "SIDE_BY_SIDE"); }

void c_side_prologue(Emit *e) {
  if (!e->uses_side) return;
  buf_puts(e->out,
    "// Lanes to compute at once: four vectors where there are 32 registers.\n"
    "#if defined __AVX512F__\n"
    "#define SIDE_BY_SIDE 64\n"
    "#else\n"
    "#define SIDE_BY_SIDE 16\n"
    "#endif\n\n");
}

// Note [Side by side]
//
// Two cores of a Xeon, time beside that of plain `omp simd`, with 1 MiB in the second cache: layer norm with residual 0.72, RMS norm
// with residual 0.69, variance and skewness 0.73, exact GELU 0.88, with a transpose 0.85, group norm 0.89, tanh GELU 0.95,
// softmax and log-softmax 0.97; the rest is within what repetitions differ by. From memory exact GELU takes 0.94, the others what they took. A
// chain of twenty multiply-adds: 4.4 ns for 16 lanes, 3.6 so, 2.8 would be the units' limit. With seven arrays and four divisions
// (AdamW) the loads of a block waited for stores of the one before whose addresses had the same last 12 bits: 1.25. Halves and bytes would be
// widened all at once, and the registers run out: RMS norm of bf16 from memory took 1.19. A number of lanes above the loop's makes LLVM
// leave vectors altogether (argmax, five times). Without AVX-512 there are 16 registers, and two vectors of AVX2 or four of SSE2 are
// as much as they hold.
