// interp_fault.c: what the user reads when a call fails.
#include "ir/interp_int.h"
#include <inttypes.h>
#include <stdio.h>

// Expressions up to this many nodes are shown; a larger one, whose text might be endless, is only named.
enum { SHOWN_NODES = 60 };

static int tree_size(const Expr *e, int most) {
  int n = 1;
  for (uint32_t k = 0; k < e->nargs && n <= most; k++) n += tree_size(e->arg[k], most - n);
  return n;
}

static Name tensor_name(const Tensor *t) { return t->role == ROLE_VERSION ? t->root->name : t->name; }

static void show(Buf *b, const Expr *e) {
  if (tree_size(e, SHOWN_NODES) <= SHOWN_NODES) expr_print(e, b);
  else if (e->op == OP_READ || e->op == OP_FIELD) buf_printf(b, "%s[…]", tensor_name(e->u.t));
  else if (e->op == OP_REDUCE) buf_printf(b, "%s[…]", reducers[e->u.bind->reducer].name);
  else buf_puts(b, "…");
}

// A subscript is made an i64; the source does not say so.
static const Expr *as_written(const Expr *sub) {
  return sub->op == OP_CAST && sub->aux == DT_I64 && dtype_is_int((Dtype)sub->arg[0]->dtype) ? sub->arg[0] : sub;
}

static void show_store(Buf *b, const Eqn *q) {
  buf_printf(b, "%s[", tensor_name(q->def));
  for (int k = 0; k < q->nstore; k++) {
    if (k) buf_puts(b, ", ");
    show(b, as_written(q->store[k]));
  }
  buf_puts(b, "]");
}

static void show_subscript(Buf *b, const Trouble *t, Name tensor) {
  buf_printf(b, ": subscript %d of `%s` is %" PRId64, t->axis, tensor, t->value);
  if (t->extent > 0) buf_printf(b, ", allowed 0..%" PRId64, t->extent - 1);
  else buf_puts(b, ", but it has no elements");
}

static void describe(const Vm *vm, const Trouble *t, Buf *b, Fault *fault) {
  switch (t->code) {
  case E_data_subscript:
    if (t->e) show(b, t->e);
    else show_store(b, vm->store[t->routine->def->id].q);
    show_subscript(b, t, fault->tensor);
    break;
  case E_data_range:
    show(b, t->e);
    buf_printf(b, ": %" PRId64 " steps, at most %" PRId64 " are allowed", t->value, t->extent);
    break;
  case E_data_argmax_empty:
    show(b, t->e);
    buf_puts(b, ": the range is empty");
    break;
  case E_internal: buf_printf(b, "`%s` depends on its own element", fault->tensor ? fault->tensor : ""); break;
  default: buf_puts(b, "out of memory: the tensors of this call do not fit"); break;
  }
  if (fault->equation) buf_printf(b, " (in `%s`)", fault->equation);
}

// The first bytes of a longer text, cut between characters.
static void copy_text(const char *from, size_t n, char *to, size_t size) {
  size_t keep = n < size ? n : size - 1;
  if (keep < n)
    while (keep > 0 && ((unsigned char)from[keep] & 0xC0) == 0x80) keep--;
  snprintf(to, size, "%.*s", (int)keep, from);
}

void fault_report(const Vm *vm, const Trouble *t, Fault *fault) {
  *fault = (Fault){.code = t->code, .axis = t->axis, .value = t->value, .extent = t->extent};
  if (t->routine) fault->equation = t->routine->def ? tensor_name(t->routine->def) : t->routine->fmt->name;
  if (t->e) fault->at = t->e->at;
  else if (t->routine && t->routine->def) fault->at = vm->store[t->routine->def->id].q->at;
  if (t->e && (t->e->op == OP_READ || t->e->op == OP_FIELD)) fault->tensor = tensor_name(t->e->u.t);
  else if (t->routine && !t->e) fault->tensor = fault->equation;
  Arena *a = arena_create();
  Buf b = buf_make(a);
  describe(vm, t, &b, fault);
  copy_text(b.s, b.n, fault->text, sizeof fault->text);
  arena_destroy(a);
}
