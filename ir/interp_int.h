// interp_int.h: inside the interpreter: values, equations as instructions, frames and stores.
//
// An equation becomes a Routine: the instructions that compute one element. A Frame is a routine being run for one element.
// Frames lie on a stack of our own, so that a chain of tens of thousands of equations needs heap, not C stack.
// Elements already computed are kept in Stores. See Note [How the interpreter runs] in interp.c.
#ifndef PLAIT_IR_INTERP_INT_H
#define PLAIT_IR_INTERP_INT_H
#include "base/limits.h"
#include "ir/interp.h"

// A value, and with bounds what is known of the compiled one: see Note [Bounds] in interp_bounds.c.
typedef struct Val {
  Scalar v;
  double err;           // the compiled value differs by at most err + ops · u · mag (u: half a unit in the last place of 1)
  double mag;           // floats: sum of the |terms| of the value written out as a polynomial of its atoms
  double ops;           // floats: roundings that both sides may make in it; 0: an atom. Not finite: 1 when fragile
} Val;

// Memory that is released all at once. Sizes depend on data, so that running out is a fault, not an abort.
typedef struct Memory { struct MemoryBlock *last; size_t used; } Memory;
void *memory_zeroed(Memory *m, size_t n, size_t size);     // NULL when there is none, or past INTERP_MEMORY
void memory_release(Memory *m);
#define INTERP_MEMORY ((size_t)1 << 35)                    // bytes that one call may use

// A stack of pieces of any size; they do not move. Popping a piece pops all above it.
typedef struct Stack { struct StackChunk *top; Memory *m; } Stack;
void *stack_push(Stack *s, size_t bytes);                  // not zeroed; NULL when out of memory
void stack_pop(Stack *s, void *piece);

// ---- routines

typedef enum InsKind {
  I_OP,         // dst = fn(a…)
  I_CAST, I_BITCAST, I_UNIFORM,
  I_MOVE,       // dst = a0
  I_JUMP,
  I_IF,         // goes on when a0, else to jump; m: control; a1: where its I_FI is
  I_FI,         // dst: value of the branch taken; a0: spare slot
  I_SHORT,      // and, or: to jump when a0 decides; n: 1 for or
  I_JOIN,       // dst: value of the operand evaluated last, a0: the first
  I_READ,       // dst = element of tensor n at refs[a0 …], its bits as dtype `from` unless that is DT_NONE; out of range
                // to jump when there is a default
  I_FIELD,      // dst = field of a block
  I_ENV,        // dst = what the equations of a format read
  I_CALL,       // evaluates shared expression n unless its value still holds
  I_DONE,       // end of shared expression n
  I_REDUCE,     // starts reduction n
  I_LOOP,       // index in slot dst from a0 to a1, m: control; to jump when there is no step
  I_NEXT,       // next step, back to jump
  I_FILTER,     // to jump unless a0
  I_STEP,       // takes the term a0; a1: slot of the index (argmax)
  I_REDUCED,    // dst = its value
  I_GUARD,      // update: to jump unless a0
  I_RET         // a0: the value; n: a ReturnKind
} InsKind;

typedef enum ReturnKind { RET_VALUE, RET_STORE /* an update's: with Vm.stored */, RET_NOTHING /* its condition was false */ } ReturnKind;

typedef struct Ins {
  uint8_t kind, nargs;
  uint8_t from, to;     // Dtype of the operands and of the value
  int32_t dst;          // slot
  int32_t a[3];         // operands: slot k, or ~k for constant k
  int32_t jump;         // 0: none
  int32_t n, m;
  const Expr *e;
  Scalar (*fn)(const Scalar *a, Dtype t);
} Ins;

// What an instruction I_ENV reads.
typedef enum EnvSource { ENV_BLOCK, ENV_LOCAL, ENV_FIELD, ENV_TABLE } EnvSource;

typedef struct Shared { int32_t entry, ref; int nix; const int32_t *ix; } Shared;   // ix: slots of the indices that it depends on

typedef struct Routine {
  const Tensor *def;    // whose element it computes (faults name it); a format's: the field or local, NULL for `value`
  const Format *fmt;    // a format's routine
  Ins *ins; int nins;
  const int32_t *refs;
  const Val *konst;
  Shared *shared;
  const int32_t *reads; int nreads;        // ids of the tensors that it reads
  int nix;              // slots 0 … nix - 1 hold indices: the equation's own, then the reductions'
  int nslots, nctl, nred;
  int nstore; int32_t store[LIMIT_RANK];   // update: its subscripts
  Dtype dtype;          // of the value before it is stored
  double coarse;        // relative error that functions may have because of the results that depend on them
} Routine;

// ---- stores

enum { CELL_EMPTY, CELL_BUSY, CELL_FAILED, CELL_DONE, CELL_KEPT /* done, by the version before */ };
enum { PAGE_BITS = 10, PAGE_CELLS = 1 << PAGE_BITS };

typedef struct Slack { double err, mag, ops; } Slack;

// A cell is an element, or a block of a format.
typedef struct Page {
  const struct Store *owner;
  uint8_t *state;
  Scalar *v;            // FAILED: u is the address of the Trouble
  Slack *slack;         // with bounds; formats: NULL
  unsigned char *bytes; // formats: the blocks
  double *err;          // formats with bounds: of each field element
} Page;
typedef struct PageTable { const struct Store *owner; Page *page[]; } PageTable;

typedef struct FormatRoutines { Routine *value; Routine **encode; } FormatRoutines;

typedef struct Store {
  const Tensor *t;
  FormatRoutines *routines;   // formats
  const Eqn *q;         // NULL: a parameter or a table
  Routine *routine;
  int64_t extent[LIMIT_RANK];
  int64_t n, ncells;    // elements, cells
  unsigned char *data;  // parameters, and versions of them: the caller's memory; else NULL
  PageTable **table; int64_t ntables;      // NULL: nothing stored yet
  bool uncertain;       // a store whose place or condition rounding may change was made here
} Store;

// ---- frames

// Why an element has no value. Made into a Fault when it is reported.
typedef struct Trouble {
  Code code;
  const Routine *routine;
  const Expr *e;        // the read, field or reduction; NULL: a store of routine->def
  int axis;
  int64_t value, extent;
} Trouble;

typedef struct Ctl { uint64_t stamp; int64_t i, end, old; int pc, phase; } Ctl;

// A reduction under way, and with bounds what the compiled one may give.
typedef struct Red {
  Scalar acc;
  double n, most;       // terms counted; counted or maybe counted
  int64_t at;           // argmax, argmin: the index
  bool counted, maybe;  // the filter's answer for the term at hand: whether it counts; whether that is uncertain
  bool poison;          // the compiled value may be anything
  double err, mag, ops; // sum, prod: as of Val, over the terms; else: err is 0 while all is certain
  double exact;         // sum, prod: in double
  double partial;       // prod: least product that an order of the factors may pass through
  bool zero[2];             // max, min: a term of +0, of -0
  bool odd, nan, fragile;   // a term not finite; a NaN for sure; one that algebra or rounding may change
  bool sure;            // any, all: a term decides for sure
  double lo, hi;        // max, min: between them lies the compiled one; mirrored for min
  bool some; double far[2]; int64_t far_at; double near;   // arg: the greatest ends of terms, whose far[0] is; the winner's near end
} Red;

// A branch evaluated only because the compiled code may take it; a fault in it resumes at pc.
typedef struct Spec { struct Spec *up; Ctl *ctl; Red *red; int pc; int64_t ix[]; } Spec;

// The block that a format's routine works on.
typedef struct Env {
  const Format *fmt;
  unsigned char *bytes;
  double *err;          // of each field element, or NULL
  Val *v;               // encode: the values
  Val **local;          // encode: values of the equations that are no fields, by position in fmt->encode
  const Trouble ***local_bad;
} Env;

typedef enum FrameKind { F_EVAL, F_ENCODE, F_SWEEP } FrameKind;
typedef struct Frame {
  FrameKind kind;
  bool waiting;         // the instruction or step at hand waits for Vm.ret
  struct Frame *up;
  Store *store; int64_t cell;     // where the value goes; NULL: only to Vm.ret
  size_t bytes;
  // F_EVAL
  const Routine *routine;
  int pc;
  uint64_t now;
  Val *val; uint64_t *changed; Ctl *ctl; Red *red;
  Spec *spec;
  Env *env;
  // F_ENCODE (env too): phase -1 computes the values, then one phase for each equation; F_SWEEP: phase counts equations
  Env own;
  int phase;
  int64_t k, last;
} Frame;

// A recurrence: its equations, and up to which value of the ordering index all elements are known.
typedef struct Scc { VEC(Store *) stores; int64_t swept; } Scc;

// What an update's routine leaves besides Vm.ret.
typedef struct Stored { bool yes, unsure; Val sub[LIMIT_RANK]; } Stored;

typedef struct Vm {
  const Fn *f;
  Arena *a;             // routines
  Memory mem;
  Stack stack;
  const View *params;
  const int64_t *dims;
  bool bounds;
  Store *store;         // by Tensor.id
  Map formats;          // Format -> FormatRoutines
  Scc *scc; int nscc;
  bool *reduced;        // by Tensor.id: its value comes from a reduction
  Frame *top;
  Val ret; const Trouble *bad;    // of the frame popped last; bad NULL: it has a value
  Stored stored;
  size_t deep;          // bytes of frames of recurrent equations
  const Trouble *fatal; // the call ends now
} Vm;

// interp_compile.c
Routine *routine_of_eqn(Vm *vm, const Eqn *q);
FormatRoutines *routines_of_format(Vm *vm, const Format *fmt);
int format_slot(const Format *fmt, int field);             // where a field's errors start in Page.err
int format_slots(const Format *fmt);

// interp_store.c
void store_init(Vm *vm, const Tensor *t);
Page *store_peek(const Store *s, int64_t cell);            // NULL: nothing stored there
Page *store_page(Vm *vm, Store *s, int64_t cell);          // to be written; NULL after vm->fatal was set
bool store_start(Vm *vm, Store *to, const Store *from);    // a version starts as the one before
void store_fail(Vm *vm, Store *s, int64_t cell, const Trouble *bad);
void store_put(Vm *vm, Store *s, int64_t cell, const Val *v);
Val store_value(const Vm *vm, const Store *s, int64_t cell, Dtype as);   // of a cell that is DONE, or lies in memory; `as`: see I_READ
Scalar load_as(Dtype stored, const void *base, int64_t k, Dtype as);
bool store_has(const Store *s, int64_t cell, uint8_t *state);    // false: nothing there yet
unsigned char *store_block(const Store *s, int64_t cell, double **err);
bool store_put_block(Vm *vm, Store *s, int64_t cell, const unsigned char *bytes, const double *err);
void store_write_out(const Store *s, void *data);

// interp_exec.c
void vm_run(Vm *vm);                                       // until no frame is left
bool vm_out_of_memory(Vm *vm);                             // sets fatal; false
const Trouble *vm_trouble(Vm *vm, Trouble t);
Frame *push_eval(Vm *vm, const Routine *u, Env *env, Store *s, int64_t cell);   // caller sets the indices; NULL: fatal
bool push_cell(Vm *vm, Store *s, int64_t cell);            // computes a cell
void set_index(Frame *f, int slot, int64_t v);
void frame_pop(Vm *vm);
bool frame_fail(Vm *vm, Frame *f, const Trouble *bad);     // true: the frame goes on elsewhere
bool do_read(Vm *vm, Frame *f, const Ins *i);
bool do_field(Vm *vm, Frame *f, const Ins *i);
static inline const Val *operand(const Frame *f, int32_t ref) { return ref >= 0 ? &f->val[ref] : &f->routine->konst[~ref]; }

// interp_format.c
bool push_encode(Vm *vm, Store *s, int64_t block, const Val *values);   // values NULL: computed by s->routine
void encode_step(Vm *vm, Frame *f);
bool do_env(Vm *vm, Frame *f, const Ins *i);
bool push_decode(Vm *vm, const Store *s, int64_t element);

// interp_reduce.c
void reduce_begin(Red *r, const Ins *i);
void reduce_step(const Vm *vm, Red *r, const Ins *i, const Val *term, int64_t at);
bool reduce_end(const Vm *vm, Red *r, const Ins *i, Val *out);   // false: argmax of nothing
Scalar settled(Scalar v, Dtype t);                         // floats rounded, integers wrapped to t

// interp_bounds.c
double val_error(const Val *a, Dtype t);                   // the bound of a value of wide dtype t
void bound_atom(Val *z, Dtype t);                          // z is exact, or has only its err
void bound_op(const Ins *i, const Val *const *a, double exact, double coarse, Val *z);
void bound_cast(Dtype from, Dtype to, const Val *a, Val *z);
double bound_spread(double mid, double lo, double hi);     // greatest distance from mid; infinity when classes differ
double unit_roundoff(Dtype t);
double scalar_double(Scalar v, Dtype t);

// interp_fault.c
void fault_report(const Vm *vm, const Trouble *t, Fault *fault);

// bind.c
bool bind_extents(const Fn *f, const int64_t *dims, const View *params, int n, Expr *const *e, int64_t *out);
#endif
