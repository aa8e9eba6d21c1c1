// pass.h: the pipeline as one table. See the picture at the head of pass.c.
#ifndef PLAIT_PASSES_PASS_H
#define PLAIT_PASSES_PASS_H
#include "ir/affine.h"
#include "ir/fn.h"
#include "ir/kernel.h"
#include "ir/machine.h"

typedef enum Stage { STAGE_FN, STAGE_PLAN } Stage;
enum { PASS_REQUIRED = 1 };

enum { PASS_SHORT_LOOP = 16 };     // steps below which a loop is not worth lanes of its own (vector.c, short.c)

// What the lowering can take beyond equations that loop over their own indices. LOWER_TAKES is what it takes today.
enum {
  LOWER_MIXED_AXES = 1,         // a member whose reduced index is the grid's (group.h)
  LOWER_SECTIONS = 2,           // groups side by side in one launch
  LOWER_ROW_BUFFERS = 4,        // what one loop of a grid point leaves for the next stays in the core's cache
  LOWER_UPDATES = 8,            // updates among maps of the same points, in order
  LOWER_TAKES = LOWER_MIXED_AXES | LOWER_SECTIONS | LOWER_ROW_BUFFERS | LOWER_UPDATES,
  LOWER_GPU_TAKES = LOWER_SECTIONS | LOWER_ROW_BUFFERS | LOWER_UPDATES      // rows that add to columns would do so in memory
};

typedef struct PassOptions {
  const char *disable;          // comma-separated names; NULL
  const char *stop_after;       // name; NULL: all
  const char *dump_after;       // name or "all"; NULL
  bool verify;                  // run the verifiers between passes (always in debug builds)
  bool check;                   // interpret before and after each FN pass on random inputs
  bool no_fuse;                 // every equation a kernel of its own (for comparisons)
  unsigned takes;               // LOWER_ flags beside LOWER_TAKES, for tests that end at `group`
  void (*dump)(void *cx, const char *pass, const char *text);
  void *dump_cx;
  int64_t *steps;               // gets what the passes up to `group` did, in expressions made and pairs looked at; NULL
  void (*timing)(void *cx, const char *pass, double ms);
  void *timing_cx;
} PassOptions;

// What the passes work on. STAGE_FN passes change fn; group fills `groups`; lower makes plan.
typedef struct Group Group;     // passes/group.h
typedef struct Pipe {
  Fn *fn;
  const Fn *source;             // as elaborated
  Plan *plan;                   // from lower on
  VEC(Group *) groups;          // from group on
  const Machine *machine;
  PassOptions opt;
  Arena *a;                     // of the module
  Arena *scratch;               // reset after each pass
  Diags *d;
} Pipe;

typedef struct Pass {
  const char *name;
  Stage stage;
  bool (*run)(Pipe *p);         // false after a diagnostic
  unsigned flags;
  const char *what;             // one line for --help and docs
} Pass;
extern const Pass passes[];
extern const int npasses;

// Runs the pipeline on an elaborated function (consumed). NULL after diagnostics; also when stop_after ends it before a plan
// exists (*stopped then holds the text to show).
Plan *passes_run(Arena *a, Fn *fn, const Machine *m, const PassOptions *opt, const char **stopped);

bool pass_coarse(Pipe *p);      // mark functions on which only results of narrow types depend
bool pass_simplify(Pipe *p);    // fold constants, apply rules.def, drop unread equations
bool pass_split(Pipe *p);       // reductions inside expressions become equations of their own
bool pass_cse(Pipe *p);         // equal equations become one
bool pass_form(Pipe *p);        // mark exponentials for which a shorter form will do
bool pass_inline(Pipe *p);      // substitute cheap or once-read definitions into their readers
bool pass_group(Pipe *p);       // choose which equations share a kernel
bool pass_lower(Pipe *p);       // equations to loops
bool pass_carry(Pipe *p);       // recurrences: earlier elements in variables
bool pass_quotient(Pipe *p);    // coarse quotients by what a loop does not change
bool pass_short(Pipe *p);       // points with a few elements each: 64 at a time
bool pass_jam(Pipe *p);         // columns: the grid's last loop moves inside
bool pass_tile(Pipe *p);        // transposes: tiles that are turned on the way
bool pass_clip(Pipe *p);        // prefixes and windows: loops end where nothing is left to do
bool pass_prefix(Pipe *p);      // few long prefixes: in parts
bool pass_flat(Pipe *p);        // neighbouring dimensions of memory are walked as one
bool pass_vector(Pipe *p);      // choose lanes
bool pass_gpu(Pipe *p);         // for GPUs, in the place of jam and vector: launches, teams of threads
bool pass_buffers(Pipe *p);     // lifetimes and offsets of temporaries
static inline bool pipe_is_gpu(const Pipe *p) { return p->machine->arch != 0; }
static inline bool pipe_takes(const Pipe *p, unsigned what) { return (p->opt.takes | (pipe_is_gpu(p) ? LOWER_GPU_TAKES : LOWER_TAKES)) & what; }

// Grid points side by side run their loops together (jam.c), for a thread of a GPU.
typedef struct JamArray { Var *var; Tensor *array; } JamArray;
typedef struct JamArrays { VEC(JamArray) v; } JamArrays;       // local arrays in the place of variables: an element for each grid point

// `loop` is over a grid's last index. Its body for the grid points first … first + lanes, which is used up: what they do not have in common is loops over
// the loop's index from first to first + lanes, in which the arrays' subscript is the index less `first`. NULL when
// that cannot be done, or there is nothing to gain.
Stmt *jam_lanes(Pipe *p, Stmt *loop, Index *first, int lanes, JamArrays *arrays);
bool jam_can(Pipe *p, Stmt *loop);
// The body of a loop over points, for those from `first` to `end`, at most `steps` of them: loops over these inside its own. NULL: cannot be.
Stmt *jam_points(Pipe *p, Stmt *loop, Index *first, int steps, Expr *end);
// Indices of argmax and argmin in the statements that are known to fit 32 bits are kept in them (narrow.c). facts: what holds there.
void narrow_best(ExprTable *x, Arena *scratch, Ranges *facts, Stmt *body);
// Vector loops that add one row after the other to an array on the stack take several at once (rows.c).
Stmt *rows_at_once(Pipe *p, Stmt *s);
// The end of a row runs beside the beginning of the next where rows come from memory (overlap.c).
void overlap_rows(Pipe *p, Kernel *k);
// Prefixes of several rows side by side (scan_rows.c).
Stmt *scan_rows(Pipe *p, Stmt *s);
// Adds PREFETCH statements to the vector loops of a kernel (prefetch.c).
void prefetch_rows(Pipe *p, Stmt *body);
// Takes them out again where all that the kernel touches is known to fit the cores' second caches.
void prefetch_drop(Pipe *p, Kernel *k);
#endif
