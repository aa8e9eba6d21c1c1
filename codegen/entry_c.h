// entry_c.h: the C functions that run a plan: the documented entry with its types, and the uniform one for the JIT.
#ifndef PLAIT_CODEGEN_ENTRY_C_H
#define PLAIT_CODEGEN_ENTRY_C_H
#include "codegen/emit.h"

void c_entry(Emit *e, Buf *header);
// The condition under which so much work (parallel_if of a loop) is shared out over cores; `alone`: by a loop that is a region.
const char *c_is_worth(Emit *e, const Expr *work, bool alone);
// A kernel's parameter as C text.
const char *c_parameter(Emit *e, const Param *p, const char *restrict_word);

// Parts of the typed entry that the CUDA target's has too.
bool c_is_scalar(const Tensor *t);                 // a scalar argument, taken by value
Params c_entry_params(Emit *e);
bool c_any_faults(Emit *e);                        // some kernel can report one
void c_mark_uses(Emit *e, Uses *used);              // what kernels take
void c_print_temps(Emit *e);                       // pointers into `scratch`
// Dimensions, extents, `where`, conditions of the plan. A check that fails returns `otherwise`; NULL: its number.
void c_print_checks(Emit *e, const char *otherwise);
// `last` stands behind the parameters; "": nothing does.
const char *c_signature(Emit *e, const char *result, const char *name, const Params *p, const char *last);
void c_scratch_function(Emit *e, Buf *header);     // nothing where no scratch memory is needed
void c_print_params_doc(Emit *e, const Params *p, Buf *b);
void c_print_sites_doc(Emit *e, Buf *b);
void c_print_header(Emit *e, const char *kind, const char *body, Buf *header);     // kind: "c", "cu"

// Appends an item to a list in brackets, on a new line where the present one is full.
void c_append(Buf *list, bool comma, const char *item);
#endif
