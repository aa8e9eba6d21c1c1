// target.h: what a printer of kernels needs to know about a target: data and a few hooks.
#ifndef PLAIT_CODEGEN_TARGET_H
#define PLAIT_CODEGEN_TARGET_H
#include "base/str.h"
#include "ir/kernel.h"

typedef struct Emit Emit;       // emit.h: the state of one printing

typedef struct Target {
  const char *name;             // "c", "cuda", "null"
  const char *restrict_word;    // behind the `*` of kernel parameters; "" where the target has none
  const char *function_words;   // before the return type of helper functions
  const char *host_words;       // the same of those that the host calls too
  const char *table_words;      // before the element type of tables
  const char *aligned_words;    // before the element type of local arrays that vectors load from
  bool own_functions;           // exp_f32 and other rows of math.def take the place of library functions
  const char *variants;         // a row of math.def with this before its name takes the other's place: "cuda_"; NULL: none does
  bool fixed_quotients; // a quotient by what a vector loop does not change may be a product (quotient_f32 of math.def)
  bool int_magnitudes;  // maxima of magnitudes are found as those of their bits
  const char *infinity[2], *nan[2];     // of f64 and of f32
  // Text of an operation on operands of one kind, 'F' 'I' 'U' or 'B' (a column of ops.def).
  const char *(*op_text)(const OpInfo *o, char kind);
  // Hooks; statements go to e->out.
  void (*names)(Emit *e);                                  // takes what the target's text calls by name; NULL: nothing
  void (*prologue)(Emit *e);                               // behind the file comment: what helpers and kernels rely on
  void (*plan)(Emit *e);                                   // before all kernels; NULL: nothing
  void (*kernel_open)(Emit *e, const Kernel *k);           // before the body of one; NULL: nothing
  const Stmt *(*region_statement)(Emit *e, const Stmt *s); // with e->in_region: one or several; returns the last that it printed
  void (*kernel_head)(Emit *e, const Kernel *k);           // signature and opening brace, after the body was printed
  void (*loop)(Emit *e, const Stmt *loop);                 // a whole loop; the body by emit_block
  void (*lanes_var)(Emit *e, const Stmt *var);             // VAR with lanes > 1
  void (*fold)(Emit *e, const Stmt *fold);                 // FOLD
  void (*stage)(Emit *e, const Stmt *stage);               // STAGE
  void (*prefetch)(Emit *e, const Stmt *prefetch);         // PREFETCH that stands by itself
  void (*line)(Emit *e, const Stmt *line);
  void (*fault)(Emit *e, int site, const char *value);     // a statement
  // Of GPUs only.
  void (*alloc)(Emit *e, const Stmt *alloc);               // a local array elsewhere than on the stack
  void (*move)(Emit *e, const Stmt *move);
  void (*barrier)(Emit *e, const Stmt *barrier);
  void (*forget)(Emit *e, const Stmt *forget);
  void (*prefix)(Emit *e, const Stmt *prefix);             // PREFIX
  const char *(*packed)(Emit *e, Dtype d, const char *array, const char *at);    // the value of an element of a packed array
  void (*entry)(Emit *e, Buf *header);                     // behind the kernels: the documented entry points, and their
                                                           // declarations to header unless it is NULL
} Target;

extern const Target target_c;       // C11 with OpenMP
extern const Target target_cuda;    // CUDA C without headers
extern const Target target_null;    // loops alone, in plain C: the smallest target, for tests of the printer

typedef struct GpuText GpuText;         // launch.h

// Programmatic dependent launches (sm_90 and newer): a kernel may become resident while the one before it in its stream ends.
typedef enum Dependent {
  DEPENDENT_LATE,       // when the blocks of that one have ended
  DEPENDENT_EARLY,      // when they have all begun
  DEPENDENT_OFF,
} Dependent;

// Options of a printed file.
typedef struct EmitOptions {
  const Target *target;
  Dependent dependent;  // of GPU targets
  bool jit;             // the uniform entry `plait_entry` (runtime/call.h) in place of the typed one
  Buf *header;          // what a CudaGenerator writes the declarations to; NULL: not wanted
  bool line;            // #line directives to the Plait source
  GpuText *gpu;         // of GPU targets; else NULL
} EmitOptions;

// The whole file for a plan, and the header that declares its entry (guard from the name); NULL header: not wanted.
void emit_plan(const Plan *p, const EmitOptions *opt, Buf *text, Buf *header);
#endif
