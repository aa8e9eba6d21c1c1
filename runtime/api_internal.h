// api_internal.h: what the files of the public interface share. Each public object is one struct here.
//
// Reference counts keep what an object needs: exec → program → context, and messages → the program whose text they show.
#ifndef PLAIT_RUNTIME_API_INTERNAL_H
#define PLAIT_RUNTIME_API_INTERNAL_H
#include "plait.h"
#include "base/diag.h"
#include "codegen/launch.h"
#include "frontend/sema.h"
#include "ir/fn.h"
#include "ir/interp.h"
#include "ir/kernel.h"
#include "runtime/cuda.h"
#include "runtime/jit.h"
#include "runtime/search.h"
#include <pthread.h>
#include <stdatomic.h>

struct plait_context {
  atomic_int refs;
  Arena *a;
  plait_context_options o;    // strings copied, environment merged in
  SearchPaths paths;
  Jit *jit;
  Cuda *cuda;
  const CudaGenerator *generator;   // of CUDA text; NULL: none is built in
};

struct plait_entry {
  plait_program *program;
  Fn *fn;                     // as elaborated; never changed
  const char *signature;
  plait_param *param, *result;
};

struct plait_program {
  atomic_int refs;
  plait_context *cx;
  pthread_mutex_t lock;       // while names are interned: passes
  Arena *a;
  Interner *names;
  Diags *d;                   // of compiling
  Program *program;
  int nentries;
  plait_entry *entry;
};

// Diagnostics that a caller holds. `d` shares the source texts of `keep`, which may be NULL.
struct plait_messages {
  Arena *a;
  Diags *d;
  plait_program *keep;
  const Diag **sorted;        // set by messages_give
  plait_status status;        // PLAIT_OK: as the codes say
  bool has_fault;
  Fault fault;                // of the only message
};

// ---- sized structs (api.c) ----

// Copies a struct of the caller's size: what the caller's header lacks stays zero.
void options_copy(void *to, size_t size, const void *from);
// Writes as much of `from` as the caller's struct holds and keeps its struct_size.
void struct_give(void *to, const void *from, size_t size);
#define give(to, from) struct_give((to), (from), sizeof *(from))
char *text_give(const Buf *b, size_t *size);         // malloc'ed copy of a text; *size may be NULL
// The last step of a function that prints: hands the text over and frees the arena it was made in.
plait_status text_deliver(Arena *a, const Buf *b, char **text, size_t *size);

const char *compiler_name(plait_context *cx, Arena *a);     // "clang 19.1.7 in process"; NULL without one
plait_context *context_keep(plait_context *cx);
plait_program *program_keep(plait_program *p);
double now_ms(void);

// ---- messages (api_messages.c) ----

// An empty list over the files of a program (NULL: none). Report with diag_error(m->d, …).
plait_messages *messages_new(plait_program *keep);
// The end of a call: the status that the messages ask for. Hands them to the caller, or frees them when there are none or
// nobody wants them.
plait_status messages_give(plait_messages *m, plait_messages **out);
// The same for calls that failed by the caller's fault, whatever the code.
plait_status messages_give_as(plait_messages *m, plait_status s, plait_messages **out);
// The fault as a message that plait_message_fault describes.
void messages_fault(plait_messages *m, const Fault *f);
plait_span span_public(const Diags *d, Span at);
plait_status code_status(Code c);

// Messages that are made when there is something to say: a launch that succeeds makes none.
typedef struct Trouble { const plait_program *program; plait_messages *m; } Trouble;
Diags *trouble(Trouble *t);
plait_status trouble_give(Trouble *t, plait_messages **out);     // PLAIT_OK when there were none

// "; did you mean `x`?" from a list, as help; nothing when none is near.
void help_nearest(Diags *d, const char *name, const char *const *names, int n, const char *otherwise);

// ---- GPUs (api_cuda.c) ----

// The generator that this library was built with, or NULL.
const CudaGenerator *cuda_generator_built_in(void);
// The error as a message; clears it. False, for callers to return.
bool report_cuda(Diags *d, CudaError *e);
// An architecture by its name in options; NULL: `otherwise`. False after a message.
bool arch_of(const char *name, int otherwise, int *arch, char *feature, Diags *d);
// The context's generator; NULL after a message.
const CudaGenerator *generator_of(const plait_entry *e, Diags *d);
// The CUDA text of a plan for an architecture, and its launches, under the program's lock; false after a message, which a
// plan that has no text for all sizes gets, and that says how many variants there are already (0: the text is printed).
// Of *eo what the generator asks for: jit, line, dependent, header.
bool cuda_text(const plait_entry *e, const Plan *p, int arch, const EmitOptions *eo, int variants, Buf *text, Launches *launches, Diags *d);
// Text of the functions that such a text may call, for a compiler that does not have them; NULL: there are none.
const char *cuda_functions(const plait_entry *e, Arena *a);

// ---- shapes (api_shape.c) ----

// The arguments of a call as the interpreter and compiled code take them, in the caller's memory: a view and room for a
// scalar per parameter, and a value per Dim.id.
typedef struct Bound { View *params; char (*scalar)[8]; int64_t *dims; } Bound;

// Views of the scalar parameters; those without data get their default. False after a message.
bool bound_scalars(const plait_entry *e, const plait_tensor *params, Bound *b, Trouble *t);
// Bytes of a tensor with these extents; -1 when they do not fit the type (negative, odd, no whole blocks, too many).
int64_t tensor_bytes(const Tensor *t, const int64_t *extent);
// Extents of t for known dimensions; false after a message.
bool tensor_extents(const Fn *f, const Tensor *t, const int64_t *dims, const View *params, int64_t *extent, Trouble *trouble);
// Says why tensor_bytes refused these extents.
void report_extents(const Tensor *t, const int64_t *extent, Diags *d);
plait_dtype dtype_public(const Tensor *t);
// Dimensions that the entry does not have, as messages. False when there are errors.
bool dims_check(const plait_entry *e, const plait_dim *dims, size_t n, plait_messages *m);
int dim_index(const Fn *f, const char *name);
int dims_room(const Fn *f);                            // 1 + the greatest Dim.id
int64_t *dims_new(Arena *a, const Fn *f);              // room for a value per Dim.id

// ---- building (api_build.c) ----

// What the passes gave. Lives in `a`, which the caller frees.
typedef struct Build {
  Arena *a;
  Fn *fn;
  Plan *plan;                 // NULL after a failure and when stopped
  const char *stopped;        // text of stop_after
  bool unaligned;             // "cuda": tensors may begin at any multiple of their elements; set before build_run
} Build;
// Copies the entry's function and runs the passes for a target ("c", "cuda") under the program's lock; reports to m.
bool build_run(const plait_entry *e, const char *target, const plait_build_options *o, Build *b, plait_messages *m);
// Interprets the entry before and after each pass on equations; false after a message (api_check.c).
bool check_passes(const plait_entry *e, const plait_build_options *o, plait_messages *m);
// Names in the options that do not exist, as messages. False when there are some.
bool build_check(const plait_entry *e, const plait_build_options *o, plait_messages *m);
#endif
