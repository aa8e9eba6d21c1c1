// interp_exec.c: runs frames: one instruction after the other, until a read needs an element that is not there yet.
//
// Then a frame for that element goes on top, and the read is done again when it has been popped. A fault ends its
// frame; the element is marked as failed, and whoever reads it fails in turn. With bounds, a branch that rounding may
// take is run too ("speculation"); a fault in it only makes the result uncertain.
#include "ir/interp_int.h"
#include <assert.h>
#include <math.h>
#include <string.h>

static const Trouble no_memory = {.code = E_limit_extent, .axis = -1};

bool vm_out_of_memory(Vm *vm) {
  vm->fatal = &no_memory;
  return false;
}

const Trouble *vm_trouble(Vm *vm, Trouble t) {
  Trouble *copy = memory_zeroed(&vm->mem, 1, sizeof *copy);
  if (!copy) return vm_out_of_memory(vm), &no_memory;
  *copy = t;
  return copy;
}

// ---- frames

// All parts of a frame in one piece. The indices' slots and the controls start as zeros.
Frame *push_eval(Vm *vm, const Routine *u, Env *env, Store *s, int64_t cell) {
  size_t slots = (size_t)u->nslots * sizeof(Val), ctls = (size_t)u->nctl * sizeof(Ctl);
  size_t reds = (size_t)u->nred * sizeof(Red), ixs = (size_t)u->nix * sizeof(uint64_t);
  size_t head = (sizeof(Frame) + 15) & ~(size_t)15, bytes = head + slots + ctls + reds + ixs;
  unsigned char *p = stack_push(&vm->stack, bytes);
  if (!p) return vm_out_of_memory(vm), NULL;
  Frame *f = (Frame *)p;
  *f = (Frame){.kind = F_EVAL, .up = vm->top, .routine = u, .env = env, .store = s, .cell = cell, .bytes = bytes, .now = 1};
  f->val = (Val *)(p + head);
  f->ctl = (Ctl *)(p + head + slots);
  f->red = (Red *)(p + head + slots + ctls);
  f->changed = (uint64_t *)(p + head + slots + ctls + reds);
  memset(f->val, 0, (size_t)u->nix * sizeof(Val));
  memset(f->ctl, 0, ctls);
  memset(f->changed, 0, ixs);
  if (s && s->q->recurrent) vm->deep += bytes;
  return vm->top = f;
}

void frame_pop(Vm *vm) {
  Frame *f = vm->top;
  if (f->store && f->store->q && f->store->q->recurrent) vm->deep -= f->bytes;
  vm->top = f->up;
  stack_pop(&vm->stack, f);
}

void set_index(Frame *f, int slot, int64_t v) {
  f->val[slot].v.i = v;
  f->changed[slot] = ++f->now;
}

// Elements are numbered in row-major order; an equation's indices stand in its tensor's order.
static void set_element(Frame *f, const Store *s, int64_t element) {
  for (int k = s->t->rank - 1; k >= 0; k--) {
    set_index(f, k, element % s->extent[k]);
    element /= s->extent[k];
  }
}

bool push_cell(Vm *vm, Store *s, int64_t cell) {
  Page *p = store_page(vm, s, cell);
  if (!p) return false;
  p->state[cell & (PAGE_CELLS - 1)] = CELL_BUSY;
  if (s->t->fmt) return push_encode(vm, s, cell, NULL);
  Frame *f = push_eval(vm, s->routine, NULL, s, cell);
  if (f) set_element(f, s, cell);
  return f != NULL;
}

// ---- faults

static void spec_begin(Vm *vm, Frame *f, Ctl *ctl, Red *red, int resume) {
  Spec *s = stack_push(&vm->stack, sizeof *s + (size_t)f->routine->nix * sizeof s->ix[0]);
  if (!s) { vm_out_of_memory(vm); return; }
  *s = (Spec){.up = f->spec, .ctl = ctl, .red = red, .pc = resume};
  for (int k = 0; k < f->routine->nix; k++) s->ix[k] = f->val[k].v.i;
  f->spec = s;
}

static void spec_end(Vm *vm, Frame *f) {
  Spec *s = f->spec;
  f->spec = s->up;
  stack_pop(&vm->stack, s);
}

enum { PHASE_NONE, PHASE_OTHER /* the branch not taken runs */, PHASE_TAKEN /* after it */, PHASE_FAULT /* it failed */ };

// The branch not taken has failed: what it changed in the indices is put back.
static void spec_failed(Vm *vm, Frame *f) {
  Spec *s = f->spec;
  for (int k = 0; k < f->routine->nix; k++)
    if (f->val[k].v.i != s->ix[k]) set_index(f, k, s->ix[k]);
  s->ctl->phase = PHASE_FAULT;
  if (s->red) s->red->poison = true;
  f->pc = s->pc;
  f->waiting = false;
  spec_end(vm, f);
}

bool frame_fail(Vm *vm, Frame *f, const Trouble *bad) {
  if (vm->fatal) return false;
  if (f->kind == F_EVAL && f->spec) return spec_failed(vm, f), true;
  if (f->store) store_fail(vm, f->store, f->cell, bad);
  frame_pop(vm);
  vm->bad = bad;
  return false;
}

static bool fail_at(Vm *vm, Frame *f, const Ins *i, Code code, int axis, int64_t value, int64_t extent) {
  return frame_fail(vm, f, vm_trouble(vm, (Trouble){code, f->routine, i->e, axis, value, extent}));
}

// ---- reads

static bool unsure(const Vm *vm, const Frame *f, const Ins *i) {
  if (!vm->bounds) return false;
  for (int k = 0; k < i->nargs; k++)
    if (operand(f, f->routine->refs[i->a[0] + k])->err != 0) return true;
  return false;
}

static bool give(Vm *vm, Frame *f, const Ins *i, Val z) {
  if (unsure(vm, f, i)) z.err = INFINITY;
  f->val[i->dst] = z;
  f->pc++;
  return true;
}

// Row-major position of the subscripts, or -1 with the axis that is out of range.
static int64_t locate(const Frame *f, const Ins *i, const int64_t *extent, int n, int *axis) {
  int64_t at = 0;
  for (int k = 0; k < n; k++) {
    int64_t s = operand(f, f->routine->refs[i->a[0] + k])->v.i;
    if (s < 0 || s >= extent[k]) return *axis = k, -1;
    at = at * extent[k] + s;
  }
  return at;
}

static bool out_of_range(Vm *vm, Frame *f, const Ins *i, const int64_t *extent, int axis) {
  if (i->jump) return f->pc = i->jump, true;
  int64_t value = operand(f, f->routine->refs[i->a[0] + axis])->v.i;
  return fail_at(vm, f, i, E_data_subscript, axis, value, extent[axis]);
}

// Past this many bytes of frames, a recurrence is computed in order instead of from its reads.
enum { DEEP = 8 << 20 };

static bool push_sweep(Vm *vm, const Store *s, int64_t cell) {
  Frame *f = stack_push(&vm->stack, sizeof *f);
  if (!f) return vm_out_of_memory(vm);
  int64_t element = s->t->fmt ? cell * s->t->fmt->block : cell;
  for (int k = s->t->rank - 1; k > s->q->order_ix[0]; k--) element /= s->extent[k];
  *f = (Frame){.kind = F_SWEEP, .up = vm->top, .phase = s->q->scc, .last = element % s->extent[s->q->order_ix[0]]};
  vm->top = f;
  return true;
}

static bool demand(Vm *vm, Store *s, int64_t cell) {
  bool ordered = s->q->scc > 0 && s->q->order_ix[0] >= 0;
  if (ordered && vm->deep > DEEP) push_sweep(vm, s, cell);
  else push_cell(vm, s, cell);
  return false;
}

// What a cell that is not DONE means for its reader.
static bool await(Vm *vm, Frame *f, const Ins *i, Store *s, int64_t cell, uint8_t state) {
  if (state == CELL_EMPTY && s->routine) return demand(vm, s, cell);
  if (state < CELL_FAILED) return fail_at(vm, f, i, E_internal, -1, 0, 0);      // it waits for itself, or nothing defines it
  const Page *p = store_peek(s, cell);
  return frame_fail(vm, f, (const Trouble *)(uintptr_t)p->v[cell & (PAGE_CELLS - 1)].u);
}

static bool take_decoded(Vm *vm, Frame *f, const Ins *i) {
  f->waiting = false;
  return vm->bad ? frame_fail(vm, f, vm->bad) : give(vm, f, i, vm->ret);
}

static bool read_format(Vm *vm, Frame *f, const Ins *i, Store *s, int64_t element) {
  uint8_t state;
  store_has(s, element / s->t->fmt->block, &state);
  if (state != CELL_DONE) return await(vm, f, i, s, element / s->t->fmt->block, state);
  f->waiting = push_decode(vm, s, element);
  return false;
}

bool do_read(Vm *vm, Frame *f, const Ins *i) {
  if (f->waiting) return take_decoded(vm, f, i);
  Store *s = &vm->store[i->n];
  int axis = -1;
  int64_t at = locate(f, i, s->extent, s->t->rank, &axis);
  if (at < 0) return out_of_range(vm, f, i, s->extent, axis);
  if (s->t->fmt) return read_format(vm, f, i, s, at);
  uint8_t state;
  store_has(s, at, &state);
  return state == CELL_DONE ? give(vm, f, i, store_value(vm, s, at, (Dtype)i->from)) : await(vm, f, i, s, at, state);
}

// A field of a block: subscripts of the leading dimensions, the block's number, and for arrays the element.
bool do_field(Vm *vm, Frame *f, const Ins *i) {
  Store *s = &vm->store[i->n];
  const Field *field = &s->t->fmt->field[i->e->aux];
  int64_t extent[LIMIT_RANK + 1];
  int n = s->t->rank, axis = -1;
  memcpy(extent, s->extent, (size_t)n * sizeof *extent);
  extent[n - 1] /= s->t->fmt->block;
  extent[n] = field->count;
  int64_t at = locate(f, i, extent, i->nargs, &axis);
  if (at < 0) return out_of_range(vm, f, i, extent, axis);
  int64_t k = i->nargs > n ? at % field->count : 0, block = i->nargs > n ? at / field->count : at;
  uint8_t state;
  store_has(s, block, &state);
  if (state != CELL_DONE) return await(vm, f, i, s, block, state);
  double *err;
  unsigned char *bytes = store_block(s, block, &err);
  Val z = {.v = dtype_load(field->dtype, bytes + field->offset, k)};
  if (err) z.err = err[format_slot(s->t->fmt, i->e->aux) + k];
  if (vm->bounds) bound_atom(&z, dtype_wide(field->dtype));
  return give(vm, f, i, z);
}

// ---- operations

Scalar settled(Scalar v, Dtype t) {
  switch (t) {
  case DT_F32: v.f = (float)v.f; return v;
  case DT_I32: v.i = (int32_t)(uint32_t)v.u; return v;
  case DT_U32: v.u = (uint32_t)v.u; return v;
  case DT_BOOL: v.u &= 1; return v;
  default: return v;
  }
}

static void do_op(const Vm *vm, Frame *f, const Ins *i) {
  const Val *a[3] = {0};
  Scalar s[3] = {{0}};
  for (int k = 0; k < i->nargs; k++) s[k] = (a[k] = operand(f, i->a[k]))->v;
  Scalar exact = i->fn(s, (Dtype)i->from);
  Val z = {.v = settled(exact, (Dtype)i->to)};
  if (vm->bounds) bound_op(i, a, exact.f, f->routine->coarse, &z);
  f->val[i->dst] = z;
}

static void do_cast(const Vm *vm, Frame *f, const Ins *i) {
  const Val *a = operand(f, i->a[0]);
  Val z = {.v = dtype_cast(a->v, (Dtype)i->from, (Dtype)i->e->aux)};
  if (vm->bounds) bound_cast((Dtype)i->from, (Dtype)i->e->aux, a, &z);
  f->val[i->dst] = z;
}

static void do_bitcast(const Vm *vm, Frame *f, const Ins *i) {
  const Val *a = operand(f, i->a[0]);
  Val z = {.v = dtype_decode((Dtype)i->e->aux, dtype_encode(expr_stored(i->e->arg[0]), a->v))};
  if (vm->bounds) {
    z.err = val_error(a, (Dtype)i->from) != 0 ? INFINITY : 0;
    bound_atom(&z, (Dtype)i->to);
  }
  f->val[i->dst] = z;
}

static void do_uniform(const Vm *vm, Frame *f, const Ins *i) {
  const Val *seed = operand(f, i->a[0]), *c = operand(f, i->a[1]);
  Val z = {.v = {.f = (double)op_uniform(seed->v.u, c->v.i)}};
  if (vm->bounds) {
    z.err = seed->err != 0 || c->err != 0 ? 1 : 0;
    bound_atom(&z, DT_F32);
  }
  f->val[i->dst] = z;
}

// ---- branches

// An uncertain condition: the other branch first, then the one taken.
static void do_if(Vm *vm, Frame *f, const Ins *i) {
  const Val *c = operand(f, i->a[0]);
  Ctl *ctl = &f->ctl[i->m];
  int yes = f->pc + 1, no = i->jump;
  ctl->phase = PHASE_NONE;
  ctl->pc = c->v.u ? yes : no;
  if (!vm->bounds || c->err == 0) { f->pc = ctl->pc; return; }
  ctl->phase = PHASE_OTHER;
  f->pc = c->v.u ? no : yes;
  spec_begin(vm, f, ctl, NULL, ctl->pc);
}

static void join_branches(Val *z, const Val *other, Dtype t) {
  double e = val_error(z, t), d = fabs(scalar_double(z->v, t) - scalar_double(other->v, t)) + val_error(other, t);
  bool same = z->v.u == other->v.u;
  z->err = same ? fmax(e, val_error(other, t)) : d >= 0 ? fmax(e, d) : INFINITY;
  if (t == DT_BOOL && !same) z->err = INFINITY;
  bound_atom(z, t);
}

static void do_fi(Vm *vm, Frame *f, const Ins *i) {
  Ctl *ctl = &f->ctl[i->m];
  Val *z = &f->val[i->dst], *spare = &f->val[i->a[0]];
  f->pc++;
  if (ctl->phase == PHASE_NONE) return;
  if (ctl->phase == PHASE_OTHER) {
    spec_end(vm, f);
    *spare = *z;
    ctl->phase = PHASE_TAKEN;
    f->pc = ctl->pc;
    return;
  }
  if (ctl->phase == PHASE_TAKEN) join_branches(z, spare, (Dtype)i->to);
  else z->err = INFINITY, bound_atom(z, (Dtype)i->to);
}

static void do_short(Vm *vm, Frame *f, const Ins *i) {
  const Val *a = operand(f, i->a[0]);
  bool decides = a->v.u == (uint64_t)i->n;
  Ctl *ctl = &f->ctl[i->m];
  ctl->phase = PHASE_NONE;
  if (!vm->bounds || a->err == 0) { f->pc = decides ? i->jump : f->pc + 1; return; }
  ctl->phase = decides ? PHASE_OTHER : PHASE_TAKEN;
  f->pc++;
  if (decides) spec_begin(vm, f, ctl, NULL, i->jump);
}

// The first operand was uncertain: the value is certain only where the second decides it.
static void do_join(Vm *vm, Frame *f, const Ins *i) {
  Ctl *ctl = &f->ctl[i->m];
  Val *z = &f->val[i->dst];
  f->pc++;
  if (ctl->phase == PHASE_NONE) return;
  if (ctl->phase == PHASE_OTHER) spec_end(vm, f);
  bool settled_by_second = ctl->phase != PHASE_FAULT && z->err == 0 && z->v.u == (uint64_t)i->n;
  if (ctl->phase != PHASE_TAKEN) z->v = operand(f, i->a[0])->v;
  z->err = settled_by_second ? 0 : INFINITY;
}

static bool do_guard(const Vm *vm, Frame *f, const Ins *i, Stored *stored) {
  const Val *c = operand(f, i->a[0]);
  stored->unsure = vm->bounds && c->err != 0;
  f->pc = c->v.u ? f->pc + 1 : i->jump;
  return true;
}

// ---- shared expressions

static void do_call(Frame *f, const Ins *i) {
  const Shared *s = &f->routine->shared[i->n];
  Ctl *ctl = &f->ctl[i->m];
  bool holds = ctl->stamp != 0;
  for (int k = 0; holds && k < s->nix; k++) holds = f->changed[s->ix[k]] <= ctl->stamp;
  ctl->pc = holds ? ctl->pc : f->pc + 1;
  f->pc = holds ? f->pc + 1 : s->entry;
}

static void do_done(Frame *f, const Ins *i) {
  f->ctl[i->m].stamp = f->now;
  f->pc = f->ctl[i->m].pc;
}

// ---- reductions

static bool do_loop(Vm *vm, Frame *f, const Ins *i) {
  const Val *lo = operand(f, i->a[0]), *hi = operand(f, i->a[1]);
  uint64_t steps = lo->v.i < hi->v.i ? hi->v.u - lo->v.u : 0;
  if (i->a[2] && steps > (uint64_t)LIMIT_RANGE)
    return fail_at(vm, f, i, E_data_range, -1, steps > INT64_MAX ? INT64_MAX : (int64_t)steps, LIMIT_RANGE);
  if (vm->bounds && (lo->err != 0 || hi->err != 0)) f->red[i->n].poison = true;
  f->ctl[i->m] = (Ctl){.i = lo->v.i, .end = hi->v.i, .old = f->val[i->dst].v.i};
  if (steps) set_index(f, i->dst, lo->v.i);
  f->pc = steps ? f->pc + 1 : i->jump;
  return true;
}

// The index gets its old value back at the end: a reduction may lie inside another over the same index.
static void do_next(Frame *f, const Ins *i) {
  Ctl *ctl = &f->ctl[i->m];
  bool more = ++ctl->i < ctl->end;
  set_index(f, i->dst, more ? ctl->i : ctl->old);
  f->pc = more ? i->jump : f->pc + 1;
}

static void do_filter(Vm *vm, Frame *f, const Ins *i) {
  const Val *c = operand(f, i->a[0]);
  Red *r = &f->red[i->n];
  Ctl *ctl = &f->ctl[i->m];
  r->counted = c->v.u;
  r->maybe = vm->bounds && c->err != 0;
  ctl->phase = PHASE_NONE;
  if (!r->counted && !r->maybe) { f->pc = i->jump; return; }
  f->pc++;
  if (r->counted) return;
  ctl->phase = PHASE_OTHER;
  spec_begin(vm, f, ctl, r, i->jump);
}

static void do_step(Vm *vm, Frame *f, const Ins *i) {
  if (i->m >= 0 && f->ctl[i->m].phase == PHASE_OTHER) spec_end(vm, f);
  reduce_step(vm, &f->red[i->n], i, operand(f, i->a[0]), f->val[i->a[1]].v.i);
  f->pc++;
}

static bool do_reduced(Vm *vm, Frame *f, const Ins *i) {
  Val z = {.err = 0};
  if (!reduce_end(vm, &f->red[i->n], i, &z)) return fail_at(vm, f, i, E_data_argmax_empty, -1, 0, 0);
  f->val[i->dst] = z;
  f->pc++;
  return true;
}

// ---- the end of a routine

// The value as stored in `to`.
static Val as_stored(const Vm *vm, const Val *v, Dtype from, Dtype to, bool declared) {
  if (!declared && from == to) return *v;
  Val z = {.v = dtype_cast(v->v, from, to)};
  if (vm->bounds) bound_cast(from, to, v, &z);
  return z;
}

static bool do_ret(Vm *vm, Frame *f, const Ins *i) {
  const Routine *u = f->routine;
  if (i->n != RET_NOTHING) {
    const Val *v = operand(f, i->a[0]);
    vm->ret = u->def ? as_stored(vm, v, u->dtype, u->def->dtype, u->def->stored || u->def->role != ROLE_LOCAL) : *v;
  }
  vm->stored.yes = i->n == RET_STORE;
  for (int k = 0; i->n == RET_STORE && k < u->nstore; k++) vm->stored.sub[k] = *operand(f, u->store[k]);
  if (f->store) store_put(vm, f->store, f->cell, &vm->ret);
  vm->bad = NULL;
  frame_pop(vm);
  return false;
}

static void do_move(Frame *f, const Ins *i) { f->val[i->dst] = *operand(f, i->a[0]); }

#define GO(...) __VA_ARGS__; return true
#define ON(...) __VA_ARGS__; f->pc++; return true

// One instruction. False when another frame is on top now, or none.
static bool step(Vm *vm, Frame *f, const Ins *i) {
  switch ((InsKind)i->kind) {
  case I_OP: ON(do_op(vm, f, i));
  case I_CAST: ON(do_cast(vm, f, i));
  case I_BITCAST: ON(do_bitcast(vm, f, i));
  case I_UNIFORM: ON(do_uniform(vm, f, i));
  case I_MOVE: ON(do_move(f, i));
  case I_JUMP: GO(f->pc = i->jump);
  case I_IF: GO(do_if(vm, f, i));
  case I_FI: GO(do_fi(vm, f, i));
  case I_SHORT: GO(do_short(vm, f, i));
  case I_JOIN: GO(do_join(vm, f, i));
  case I_READ: return do_read(vm, f, i);
  case I_FIELD: return do_field(vm, f, i);
  case I_ENV: return do_env(vm, f, i);
  case I_CALL: GO(do_call(f, i));
  case I_DONE: GO(do_done(f, i));
  case I_REDUCE: ON(reduce_begin(&f->red[i->n], i));
  case I_LOOP: return do_loop(vm, f, i);
  case I_NEXT: GO(do_next(f, i));
  case I_FILTER: GO(do_filter(vm, f, i));
  case I_STEP: GO(do_step(vm, f, i));
  case I_REDUCED: return do_reduced(vm, f, i);
  case I_GUARD: return do_guard(vm, f, i, &vm->stored);
  case I_RET: return do_ret(vm, f, i);
  }
  assert(!"every instruction has a case");
  return false;
}

static void run_eval(Vm *vm, Frame *f) {
  const Ins *ins = f->routine->ins;
  while (step(vm, f, &ins[f->pc]) && !vm->fatal) {}
}

// ---- recurrences in order

// The next element of an equation whose ordering index has value t; `k` counts the elements of that value.
static int64_t sweep_element(const Store *s, int64_t t, int64_t k) {
  int order = s->q->order_ix[0];
  int64_t inner = 1;
  for (int d = order + 1; d < s->t->rank; d++) inner *= s->extent[d];
  return (k / inner * s->extent[order] + t) * inner + k % inner;
}

static int64_t sweep_count(const Store *s, int64_t t) {
  int64_t extent = s->extent[s->q->order_ix[0]];
  return t < extent ? s->n / extent : 0;
}

// Computes one more cell: for each value of the ordering index, for each equation, all elements. `own` has no use here:
// phase is the recurrence's number, k counts elements, cell is the equation.
static void sweep_step(Vm *vm, Frame *f) {
  Scc *scc = &vm->scc[f->phase];
  while (scc->swept < f->last) {
    int64_t t = scc->swept + 1;
    for (; f->cell < scc->stores.n; f->cell++, f->k = 0) {
      Store *s = scc->stores.v[f->cell];
      for (int64_t n = sweep_count(s, t); f->k < n;) {
        int64_t element = sweep_element(s, t, f->k++), cell = s->t->fmt ? element / s->t->fmt->block : element;
        uint8_t state;
        if (!store_has(s, cell, &state)) { push_cell(vm, s, cell); return; }
      }
    }
    f->cell = f->k = 0;
    if (scc->swept < t) scc->swept = t;
  }
  vm->bad = NULL;
  frame_pop(vm);
}

void vm_run(Vm *vm) {
  while (vm->top && !vm->fatal) {
    Frame *f = vm->top;
    switch (f->kind) {
    case F_EVAL: run_eval(vm, f); break;
    case F_ENCODE: encode_step(vm, f); break;
    case F_SWEEP: sweep_step(vm, f); break;
    }
  }
}
