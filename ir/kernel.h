// kernel.h: the lower level of the IR: a Fn becomes a Plan of Kernels; a Kernel is loops and statements.
//
// Expressions are those of expr.h with four differences: subscripts are known to be in range where they are evaluated
// (a read that may fail stands behind an IF whose other side is a FAULT), `??` is gone, reads of tensors in a format are
// FIELD reads, and VARs name values computed before. A REDUCE never appears: reductions are loops with accumulators.
#ifndef PLAIT_IR_KERNEL_H
#define PLAIT_IR_KERNEL_H
#include "ir/fn.h"

typedef enum StmtKind {
  ST_LOOP,      // for ix in lo .. hi: body
  ST_LET,       // var = a, never changed
  ST_VAR,       // declare var, initial value a; with lanes > 1 an array of lanes, each set to a
  ST_SET,       // var = a
  ST_ACC,       // var = combine(var, a) by `reducer`; arg reducers: (var, var2) = better of (var, var2) and (a, b). Inside a LANES loop
                // that names var it addresses the lane's element
  ST_FOLD,      // combine the lanes of var (and var2) in a fixed tree: afterwards var is a scalar
  ST_STORE,     // t[sub] = a (rounded to the storage type); field >= 0: field of a block, sub as in FIELD
  ST_IF,        // if a: body else els
  ST_FAULT,     // record `site` with value a; the statement is skipped when an earlier fault was recorded
  ST_PREFETCH,  // in a VEC or LANES loop: the part-th of `parts` parts of the lines of the block of t that begins at sub will be read soon; with lanes
                // above 1 anywhere: of so many elements
  ST_STAGE,     // t[ix - lo, ix2 - lo2] = the element that READ a stores at these indices, for lo ≤ ix < hi, lo2 ≤ ix2 < hi2; in a,
                // ix is the last subscript and ix2 another: t is a turned copy of part of a matrix. With subscripts: t[sub] is the
                // element that READ a of a local array stores; in sub, ix2 is the last and ix another
  ST_LINE,      // var (i64, never changed) = how many elements behind t[sub] a line of memory begins, where streaming stores may; a at most
  ST_ALLOC,     // a local array t, live to the end of the enclosing block, where `space` says
  ST_MOVE,      // GPU: `lanes` elements that lie side by side, in one access: from t[sub] to the local array t2 at a, or with `out` from
                // t2 at a to t[sub]. t2 has the elements as they are stored in t; with `out` as values
  ST_PREFIX,    // GPU: var = what `reducer` makes of the team's var before this thread's, in their order; var2 = of all; a: of none
  ST_FORGET,    // GPU: what was computed from the packed local array t is not to be kept: it is unpacked again, which is cheaper than registers
  ST_BARRIER    // GPU: the team's threads wait for each other; what they wrote is there for all of them
} StmtKind;

typedef enum LoopHow {
  HOW_SEQ,
  HOW_PAR,      // iterations are independent and go to cores (blocks): contiguous static split. Consecutive perfectly nested
                // PAR loops are collapsed
  HOW_VEC,      // iterations are independent: blocks of `lanes` vector lanes; no accumulators
  HOW_PAR_VEC,  // the same, split over cores too: the innermost of a nest of PAR loops, or a loop alone
  HOW_LANES,    // a reduction in `lanes` interleaved partial results: iteration lo + n goes to lane n % lanes
  HOW_SCAN,     // in order, with the value of an accumulator used at each step; with lanes > 1 in blocks of so many
  HOW_UNROLL,   // constant trip count, to be unrolled
  HOW_ONE,      // a single step, with the index at lo
  HOW_BLOCKS,   // GPU: the index is the number of the thread block
  HOW_THREADS,  // GPU: the index is the number of the thread in its block
  HOW_TEAM      // GPU: each thread of a team runs one step; the team's FOLDs combine them, and its first thread stores
} LoopHow;

// Where a local array lives. PACKED: a thread's, elements of less than 32 bits side by side in words. SHARED: one for a thread block, at byte `a` of
// its dynamic shared memory; extents may use dimensions.
typedef enum Space { SPACE_STACK, SPACE_PACKED, SPACE_SHARED } Space;

typedef struct Site Site;
typedef struct Stmt Stmt;
struct Stmt {
  StmtKind kind;
  LoopHow how;
  Index *ix; Expr *lo, *hi;     // LOOP, STAGE
  Index *ix2; Expr *lo2, *hi2;  // STAGE; ix2, LOOP (PAR): a step is all that one core has of lo .. hi, from ix up to ix2, and is not empty; NULL: an index
  int lanes;                    // LOOP (LANES, VEC, PAR_VEC), VAR, MOVE, PREFETCH
  int64_t step;                 // LOOP (SEQ, PAR): the index grows by so much; 0: by 1
  bool streams;                 // LOOP (LANES, VEC, PAR_VEC): its blocks are computed as four streams side by side
  Expr *row;                    // LOOP (LANES, VEC, SCAN) from 0 over a part of a row: where that ends. Of its blocks, computed in the order that they
                                // have in the row, the loop takes whole ones, all or all but the last
  int unroll;                   // LOOP (SEQ): that many steps at a time; 0: as the compiler likes
  int64_t align;                // LOOP: if there is a step at all, lo is a multiple of it; 0: not known
  bool ordered;                 // LOOP: a recurrence runs along it, iterations depend on earlier ones
  Expr *parallel_if;            // LOOP (PAR): work estimate (i64 elements) below which one core does it all; NULL: always parallel
  Var *var, *var2;              // LET VAR SET ACC FOLD PREFIX LINE; var2: index of arg reducers
  Reducer reducer;              // ACC FOLD PREFIX
  Expr *a, *b;                  // operands, see above
  Tensor *t; int nsub; Expr *sub[10]; int field;   // STORE, STAGE, ALLOC, PREFETCH, MOVE, LINE
  Space space;                  // ALLOC
  Tensor *t2; bool out;         // MOVE
  bool again;                   // FOLD: comes again for other values (it stands in a loop)
  Expr *stream;                 // STORE in a vector loop, STAGE: where true the values go past the caches; NULL: never
  int part, parts;              // PREFETCH
  bool near;                    // PREFETCH: of what is read next, into the first cache
  Stmt *body, *els;             // first statements of the blocks
  Stmt *next;
  Site *site;                   // FAULT
  const char *note;             // comment printed above: the equation as source; NULL: none
  Span at;
};

// A run-time check: where it stands in the source and what it says (Fault in interp.h is made from it).
struct Site {
  int id;               // 1.., position in Plan.sites + 1
  Code code;            // E_… (bad subscript, range too long, empty argmax …)
  Span at;
  Name equation, tensor;
  int axis;             // -1 when none
  Expr *extent;         // allowed 0 .. extent - 1, over dims and scalar arguments; NULL when none
  const Expr *e;        // the READ or REDUCE that is checked, as faults show it; NULL: none, or a store
};

// Where a tensor lives during a kernel's run.
typedef enum Place {
  PLACE_ARG,            // given by the caller: params, mut, results
  PLACE_SCRATCH,        // a temporary in the plan's scratch memory
  PLACE_TABLE,          // constants in the text
  PLACE_STACK           // ST_ALLOC
} Place;

typedef struct KernelArg { Tensor *t; bool reads, writes; } KernelArg;

// What a kernel moves and computes, as expressions over dims (i64; data-dependent ranges count as their bound).
// Read in `passes` successive walks over a row of row_bytes (NULL: none); 0 counts as 1.
typedef struct Traffic { Tensor *t; Expr *read_bytes, *write_bytes; int passes; Expr *row_bytes; } Traffic;   // bytes: either may be NULL
typedef struct Cost { VEC(Traffic) traffic; Expr *flops; } Cost;

// How a GPU runs a kernel. A grid point is computed by a team of threads: `team` of them, `stride` apart.
typedef struct Grid {
  Expr *blocks;         // i64; may be 0
  int threads;          // of a block
  int team, stride;     // team: 1, a power of two up to 32, all threads of the block or cluster, or, some apart, those of a block with one remainder
  int cluster;          // blocks of a cluster; 1: none
  int resident;         // blocks that a multiprocessor shall have room for; 0: as many as it happens to
  Expr *shared_bytes;   // dynamic shared memory; NULL: none
  Expr *when;           // bool: else the kernel is left out; NULL: always made
  VEC(const Dim *) wants;   // dimensions with whose values it would be faster
  VEC(const Dim *) some;    // dimensions that are not 0 when it runs
} Grid;

typedef struct Kernel {
  Name name;            // from its equations: "softmax_y", valid C identifier, unique in the plan
  int id;
  Stmt *body;
  VEC(KernelArg) args;  // tensors in memory that it touches, results and params by role then id
  VEC(Eqn *) eqns;      // the equations it computes, in order
  Cost cost;
  Grid *grid;           // for a GPU; else NULL
} Kernel;

// Why equations stayed in different kernels (closed list: reasons.def).
typedef enum Reason {
#define REASON(NAME, ...) REASON_##NAME,
#include "ir/reasons.def"
#undef REASON
  REASON_COUNT
} Reason;
typedef struct ReasonInfo { const char *id, *slug, *what; } ReasonInfo;   // "PLF0105", "reduction-boundary", one line
extern const ReasonInfo reasons[REASON_COUNT];

typedef struct Remark { Reason reason; Eqn *a, *b; Expr *bytes; const char *text; } Remark;   // bytes at stake

typedef struct Temp { Tensor *t; int first, last; Expr *offset; Expr *bytes; } Temp;    // kernels first..last use it; offset into scratch, 64-byte aligned

// How the kernels were chosen: proved to take least time by the model, or merged greedily; and the time it gives them.
typedef struct Choice { bool proved; double ns; } Choice;

typedef struct Plan {
  Fn *fn;               // after the Fn passes (params, results, dims as in the source)
  const Fn *source;     // as elaborated, for the unfused yardstick
  Arena *a;
  ExprTable *x;         // == fn->x
  VEC(Kernel *) kernels;
  VEC(Temp) temps;      // by plan_add_temp
  Map temp_of;          // Tensor -> its number in temps + 1
  Expr *scratch_bytes;  // i64 over dims
  VEC(Site *) sites;
  VEC(Where) conds;     // conditions checked at the call before anything is written (subscripts that depend on no data), beside fn->where
  VEC(Site *) cond_sites;   // their messages, same order
  VEC(Remark) remarks;
  Choice choice;
  int grain, grain_awake;   // CPU: work below which one core does it all (Machine)
  Expr *bytes_unfused, *bytes_fused, *bytes_minimum, *flops;
} Plan;

Place tensor_place(const Plan *p, const Tensor *t);
void plan_add_temp(Plan *p, Temp t);
int plan_temp_of(const Plan *p, const Tensor *t);      // position in temps; -1: t is none

// Statements (stmt.c).
Stmt *stmt_new(Arena *a, StmtKind kind);
Stmt *stmt_value(Arena *a, StmtKind kind, Var *var, Expr *value);         // LET, VAR, SET, ACC …
Stmt *stmt_loop(Arena *a, LoopHow how, Index *ix, Expr *lo, Expr *hi, Stmt *body);
Stmt *stmt_either(Arena *a, Expr *cond, Stmt *then, Stmt *els);           // an IF, or where cond is known, that side
Stmt *stmt_alone(Arena *a, const Stmt *s);                                // another like s, which shares its blocks
Stmt *plan_let(Plan *p, StmtKind kind, const char *name, Expr *value);    // LET or VAR of a new variable
Index *plan_index(Plan *p, const char *name);
// Visits every node of every expression in the statements and their blocks, once a statement.
void stmts_visit(Arena *scratch, const Stmt *s, ExprVisit f, void *cx);
// Maps every expression there, in place (expr_map).
void stmts_map(ExprTable *x, Stmt *s, ExprMap f, void *cx);
// Puts s and what follows it at the end of a list; returns the new end.
Stmt **stmts_append(Stmt **tail, Stmt *s);
// Each statement, taken out of the list, gives way to what f makes of it: a list, NULL for nothing. Returns the list that comes of it.
typedef Stmt *(*StmtMake)(void *cx, Stmt *s);
Stmt *stmts_replace(Stmt *s, StmtMake f, void *cx);
// Puts s before a statement of the list.
void stmts_insert(Stmt **list, const Stmt *before, Stmt *s);
// Copies of statements: what they declare gets new names, and what `to` has for a Var is a Var, for an Index an Expr. Local arrays stay shared.
typedef struct StmtCopy { Arena *a; ExprTable *x; Map to; } StmtCopy;
Stmt *stmts_copy(StmtCopy *c, const Stmt *s);
Stmt *stmt_copy(StmtCopy *c, const Stmt *s);      // of s alone
Expr *stmt_copy_expr(StmtCopy *c, Expr *e);
// Is the loop known to have fewer steps?
bool stmt_steps_below(const Stmt *loop, int64_t steps);
// May the terms of an ACC come in another order? (Of argmax the first of the best counts, whatever this says.)
static inline bool stmt_may_reorder(const Stmt *acc) { return reducer_may_reorder(acc->reducer, acc->var->dtype); }
// Is there a statement of this kind, at any depth?
bool stmts_have(const Stmt *s, StmtKind kind);
// Is e the same at each step of the loop, and asks no memory?
bool stmt_keeps(Arena *scratch, const Stmt *loop, Expr *e);
// Parallel loops over dimensions that stand one in the other, with nothing beside them, from s in: the innermost, and all their steps together.
// NULL: s is no such loop.
Stmt *stmt_nest(ExprTable *x, Stmt *s, Expr **rows);
// Is there a LET or VAR of v?
bool stmts_declare(const Stmt *s, const Var *v);
// Does s itself write elements of s->t to memory?
bool stmt_stores(const Stmt *s);
// Fills k->args from k->body: tensors in memory by role (parameters, mut, results, temporaries), then id.
void kernel_list_args(Plan *p, Kernel *k);

// As indented loops, for people and golden tests (`--stage kernel`).
void kernel_print(const Plan *p, const Kernel *k, Buf *out);
void plan_print(const Plan *p, Buf *out);
// Invariants of this file: every INDEX and VAR bound before use, no REDUCE, tensors in args, lanes match …
bool plan_verify(const Plan *p, Buf *why);
#endif
