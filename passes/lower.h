// lower.h: shared by the files lower*.c only.
#ifndef PLAIT_PASSES_LOWER_H
#define PLAIT_PASSES_LOWER_H
#include "ir/safe.h"
#include "passes/group.h"

enum {
  LOWER_CHUNKS = 64,            // parts of a reduction that has no index to run in parallel over
  LOWER_CHUNK_ALIGN = 64,       // and their alignment: whole lane groups
  LOWER_ROW_VALUES = 65536,     // of all arrays on the stack that keep a row: 256 KiB of f32, a small part of any thread's stack
  LOWER_GPU_ROW_VALUES = 32768, // on a GPU, in registers of a block or cluster
  LOWER_TILE_UNIT = 16,         // a one-pass cascade's tile is so many steps, or a multiple
  LOWER_TILE_OUTER = 8,         // where loops of unknown length stand inside it
  LOWER_TILE_COLUMN = 32,       // where a step is a row of memory, some pages of it
  LOWER_PART_WHOLE = 1 << 20,   // more than a part has: nothing is looked at twice
  LOWER_FEW_ROWS = 8,           // fewer rows than this do not occupy a machine's cores,
  LOWER_GPU_REDUCED = 32 << 10, // bytes of a row that a GPU keeps to reduce it twice
  LOWER_LONG_ROW = 16384,       // and then rows from this length on are shared out
  LOWER_SPLIT_STEPS = 16,       // of a part at least, for a reduction over a column to be worth parts
  LOWER_MAX_STMTS = 50000,      // of one kernel
  LOWER_MAX_TREE = 600          // nodes that an expression may print as behind a guard
};

// The index of an argmax or argmin that has met no term yet; no range reaches it.
#define LOWER_NO_INDEX (-INT64_MAX)

// A block of statements being built, and what may be used in it.
typedef struct Scope Scope;
struct Scope {
  Scope *up;
  Stmt *first, **tail;
  Map memo;             // expression id + 1 → its lowered form, valid in this block and those inside
  Index *ix;            // of the loop that the block belongs to; NULL: an IF, or the kernel itself
  bool guard;           // an IF
  int depth;            // 0: the kernel
};

// What readers inside the kernel know of a member's tensor.
typedef struct Member_state {
  Expr *value;          // the element made last, in a variable; at these subscripts, while `scope` is open
  Scope *scope;
  int n; Expr *sub[8];
} Member_state;

// An equation on its way into the nest.
typedef struct Item {
  Eqn *q;
  int nbound; Index *from[16]; Expr *to[16];     // its indices that are bound, and to what
  bool has_pos[8];      // which indices left of `=` are bound
  int reduced;          // how many indices of its reduction are bound,
  unsigned bound;       // and which: bit k
  bool shares;          // the grid reduces it (lower_mixed.c): what is inside a grid point is its share
  Index *inner;         // the loop of the last of them
  Var *acc, *acc2;      // its accumulator, once the first is bound
  bool scans;           // a prefix (rewrite.h) whose last loop is open: each step adds a term, and has a value
} Item;

// By tensor id: the equations that read it, and the kernel of each.
typedef struct Reader { Eqn *q; int kernel; } Reader;
typedef struct ReaderList { Arena *a; VEC(Reader) v; } ReaderList;
typedef struct Readers { ReaderList *of; int n; } Readers;

// When elements of each tensor are read at all (lower_wanted.c).
typedef struct Wanted Wanted;

// What is known of the whole plan.
typedef struct Whole {
  Readers readers;
  Wanted *wanted;
  SafeExtents extents;
  Interner *names;      // of the next two
  Map source;           // Name → the source's Eqn of a tensor of that name
  Map kernel;           // Name → the Kernel
  Map note;             // Eqn → its text in a comment
} Whole;

// A reduction over the grid: each part of the grid has a value of its own, and argmax an index.
typedef struct Share { Eqn *q; Tensor *part, *at; Var *acc, *acc2; } Share;

typedef struct Lower {
  Pipe *p; Plan *plan; Fn *f; ExprTable *x;
  Group *u;
  Kernel *k;
  const Eqn *current;   // whose expressions are being lowered: what a fault names
  Ranges *facts;
  Scope *scope;
  Map index_scope;      // Index → Scope that binds it
  Map depths_now; unsigned epoch;       // … and those that hold until a member's value opens or closes, which ends an epoch
  Map depths;           // expression id → depth + 1 of the outermost scope in which it can be computed
  Map uses, counted;    // expression id → how many places use it; those whose arguments have been counted
  Map reads;            // Eqn → which tensors it reads, by id
  Map expansions;       // Eqn → what it says in a cascade (lower_online.c)
  Map names;            // Name → how often used
  Map state;            // Tensor → Member_state
  int ntensors;         // those that are newer are arrays that belong to no member
  Whole *whole;
  Wanted *wanted;
  int grid_depth;       // of the block inside the grid's loops (outside the innermost, where that is the vector's)
  const Expr *granted;  // a read that the guard around it has been made for
  int inline_guard;     // > 0: inside a branch that prints as `?:`; nothing may be evaluated before it
  VEC(Share *) shares;  // and the index of the part at hand
  Index *part;
  bool spread;          // loops of maps run in parallel too: rows are few
  bool online;          // cascades run in one pass
  Expr *row;            // steps of a row that a cascade walks, over dimensions, and the bytes of a step; NULL: no cascade
  int row_bytes;
  Tensor *row_tensor[4]; int nrows;     // members whose elements live only while their grid point is computed …
  Tensor *row_local[4]; // … and the arrays on the stack that hold them, by the index that is not the grid's
  bool few;             // grid points are fewer than LOWER_FEW_ROWS: what each has one of is in an array on the stack, …
  VEC(Tensor *) few_tensor, few_local;  // … of members here
  int nstmts;
  bool reported;
} Lower;

// Blocks (lower.c).
void lower_emit(Lower *l, Stmt *s);
Scope *scope_open(Lower *l, Index *ix, bool guard);
Stmt *scope_close(Lower *l);
Stmt *loop_open(Lower *l, Index *ix, Expr *lo, Expr *hi, LoopHow how);
void loop_close(Lower *l, Stmt *loop);
Var *lower_var(Lower *l, const char *hint, Dtype dtype);
Stmt *lower_decl(Lower *l, StmtKind kind, Var *v, Expr *a);
Var *lower_accumulator(Lower *l, Reducer r, const char *hint, Dtype term, Dtype value, Var **index, Span at);
void lower_accumulate(Lower *l, Reducer r, Var *v, Var *v2, Expr *cond, Expr *term, Index *ix);
Expr *lower_fold(Lower *l, Reducer r, Var *v, Var *v2, Expr *reduce, Eqn *q);
void lower_fold_lanes(Lower *l, Reducer r, Var *v, Var *v2);       // its first half: lanes to one value
Expr *lower_arg_value(Lower *l, Var *at, Expr *reduce, const Eqn *q, Expr *wanted);     // its second, for an index: checked, in its type
void lower_open_accumulator(Lower *l, Item *it);

// Kernels (lower.c).
Expr *lower_work(Lower *l);                        // steps of the member that loops most
void lower_forget(Lower *l);                       // what is known of members and names, before the kernel is lowered another way
void lower_start_items(Lower *l, Item *items, Index **grid);
void lower_open_grid(Lower *l, Index **grid, Stmt **loop);
void lower_close_grid(Lower *l, Stmt **loop);
bool lower_columns(Lower *l, Expr *work, Stmt **body, Expr **steps);      // lower_columns.c
bool lower_is_column(Lower *l, const Member *m);
typedef bool (*LowerFits)(Lower *l, const Member *m);
bool lower_find_split(Lower *l, int n, Item *items, const Member *const *m, LowerFits fits, bool *in, Expr **steps);
bool lower_team_columns(Lower *l, Stmt **body, Expr **steps);             // lower_team.c
bool lower_long_rows(Lower *l, Expr *work, Stmt **body, Expr **steps);

// Nests (lower_nest.c).
// The next loop of an item: an index left of `=`, in order, then the reduction's indices.
// backward: its first step is the index's last value.
typedef struct NextLoop { Index *ix; Expr *lo, *hi; int pos; bool reduce, backward; } NextLoop;
bool lower_next_loop(Lower *l, const Item *it, NextLoop *n);        // false: none is left
bool lower_same_loop(const NextLoop *a, const NextLoop *b);
void lower_bind(Lower *l, Item *it, const NextLoop *n, Index *loop);
Expr *lower_at_item(Lower *l, const Item *it, Expr *e);            // with the indices that are bound
bool lower_is_reduce(const Item *it);
void lower_block(Lower *l, int n, Item *items);
void lower_finish(Lower *l, Item *it, Expr *value);                // all loops of the item are open, or ended: its value
void lower_note(Lower *l, Stmt *s, const Eqn *q);                  // the equation as a comment above s

// One-pass cascades (lower_online.c).
bool lower_find_cascade(Lower *l, int n, Item *items, const NextLoop *next, const bool *loops, bool *in);
bool lower_expands(const Eqn *q);                  // a map: a cascade computes it for itself
bool lower_needs_more(Lower *l, int n, Item *items, const bool *in, int i);
bool lower_cascade_row(Lower *l, int n, Item *items, const bool *in, const NextLoop *next, Expr **steps, int *bytes);
void lower_cascade(Lower *l, int n, Item *items, const bool *in, const NextLoop *next);
// The same in `count` parts of the range: what a part leaves, and where.
typedef struct Parts {
  Expr *count;
  int64_t align;                // parts begin at multiples of it, as do their tiles; 0: that is not known
  Index *at[MAX_GRID + 1];      // the part's index and the grid's
  Expr *from, *to;              // of the part, or of a thread's share of it
  Index *team; int team_size;   // GPU: the thread's number in the team that has the part; NULL: nobody shares it
  Expr *share, *steps;          // of a team: rows of a thread, where they lie side by side; of all
  Expr *team_from, *team_to;    // then the part
  VEC(Tensor *) t; int taken;
} Parts;
void lower_parts(Lower *l, int n, Item *items, const bool *in, int64_t steps, Parts *p);
void lower_whole(Lower *l, int n, Item *items, const bool *in, int64_t steps, Parts *p);      // count is 1: finishes the items
int64_t lower_tile_steps(const Lower *l);
void lower_merge(Lower *l, int n, Item *items, const bool *in, Parts *p);      // and finishes the items

// What loops of a row share (lower_share.c).
Group *lower_share(Lower *l, Expr **steps);
// The array on the stack that stands for t, and where in it its element at these subscripts is; NULL: none does.
Tensor *lower_local(Lower *l, const Tensor *t, Expr *const *sub, Expr **at);
Expr *lower_flat(Lower *l, int n, Expr *const *sub, Expr *const *extent);      // row-major position

// Reductions over the grid (lower_mixed.c).
bool lower_has_shares(const Group *u);
Stmt *lower_mixed(Lower *l, Expr *work, bool online);
bool lower_join_share(const Lower *l, Item *it);
void lower_finish_share(Lower *l, Item *it);
void lower_share_term(Lower *l, Item *it);

// Expressions (lower_expr.c): statements that e needs go to the open block; the result prints as one expression.
Expr *lower_expr(Lower *l, Expr *e);
void lower_count(Lower *l, Expr *root);            // before lowering a root: how often its parts are used
bool lower_is_leaf(const Expr *e);
bool lower_is_member(const Lower *l, const Tensor *t);
bool lower_harmless(Lower *l, Expr *e);            // computing e here cannot fail and needs no statement
Stmt *lower_if_open(Lower *l, Expr *lowered, Expr *fact);    // fact: the condition before lowering, for proofs; NULL: none
void lower_if_close(Lower *l, Stmt *s);
Site *lower_site(Lower *l, Code code, Span at, const Eqn *q, const Tensor *t, int axis, Expr *extent);
void lower_fault_unless(Lower *l, Expr *cond, Site *site, Expr *value, Expr *wanted);
Expr *lower_check_store(Lower *l, Eqn *q, Expr *const *sub);    // NULL: nothing to check
Expr *lower_range_limit(Lower *l, const Eqn *q, Expr *lo, Expr *hi, Expr *wanted);    // from data: hi, or lo when the range is too long
bool lower_from_data(const Expr *e);               // reads a tensor
bool lower_dims_only(const Expr *e);                // dimensions and constants
Expr *lower_named(Lower *l, Expr *e, const char *hint);        // e, in a variable unless it is one
bool lower_nonempty(Lower *l, Expr *reduce);
bool lower_too_big(Lower *l);
bool lower_reads(Lower *l, Eqn *q, const Tensor *t);
bool lower_read_elsewhere(const Lower *l, const Tensor *t);       // by other kernels

// Faults (lower_wanted.c).
Wanted *lower_find_wanted(Pipe *p);
// When some element of these equations is read: a condition over dimensions and scalar arguments, without what is known at this place.
// NULL: always, as far as can be said.
Expr *lower_wanted(Lower *l, int n, Eqn *const *q);
Expr *lower_wanted_read(Lower *l, const Expr *read);     // of the members that evaluate this read,
Expr *lower_wanted_inside(Lower *l);                     // or a reduction inside an expression

// Split reductions (lower_split.c).
void lower_partials(Lower *l, Eqn *q, Expr *count, Tensor **part);
void lower_split_cascade(Lower *l, int n, Item *items, const bool *in, const NextLoop *next);
typedef struct Chunks { Expr *count; int64_t align; } Chunks;      // align: chunks begin at multiples of it
void lower_own_rows(Lower *l, Parts *p);         // lower_team.c: p->from and p->to of a thread whose rows lie side by side
Chunks lower_chunks(Lower *l, Expr *lo, Expr *hi, bool nested, bool states);
bool lower_flat_items(Lower *l, int n, Item **items, NextLoop *next);
Expr *lower_share_start(Lower *l, Expr *c, Expr *len, Expr *count);
void lower_chunk(Lower *l, const Chunks *all, Expr *c, Expr *lo, Expr *hi, Expr **from, Expr **to);
void lower_store_partial(Lower *l, Eqn *q, const Item *it, Tensor *const *part, Index *c);
Expr *lower_combine_partials(Lower *l, Eqn *q, Tensor *const *part, Expr *count);

// Block formats (lower_format.c).
Expr *lower_decode(Lower *l, const Tensor *t, Expr *const *sub, Span at);     // the value, over FIELDs, not lowered yet
void lower_format_block(Lower *l, Item *it);
#endif
