// interp_format.c: block formats. A stored block is decoded by the format's `value`, one element at a time, and made
// by its `encode`: all values of the block first, then its equations in order.
//
// Encoding is a frame with a step function, not a call, since the values of a block may need blocks of another
// tensor, and so on through as many equations as the program has.
#include "ir/interp_int.h"
#include <assert.h>
#include <math.h>
#include <string.h>

static int field_count(const Field *fl) { return fl->array ? fl->count : 1; }

static int64_t eqn_count(const FormatEqn *q) {
  Scalar n = {.i = 1};
  if (q->ix && !expr_fold(q->extent, &n)) assert(!"extents in a format are constants");
  return n.i;
}

int format_slot(const Format *fmt, int field) {
  int slot = 0;
  for (int k = 0; k < field; k++) slot += field_count(&fmt->field[k]);
  return slot;
}

int format_slots(const Format *fmt) { return format_slot(fmt, fmt->nfields); }

// ---- decode

// The frame's value goes to the reader through Vm.ret.
bool push_decode(Vm *vm, const Store *s, int64_t element) {
  const Format *fmt = s->t->fmt;
  Frame *f = push_eval(vm, s->routines->value, NULL, NULL, 0);
  if (!f) return false;
  f->own = (Env){.fmt = fmt};
  f->own.bytes = store_block(s, element / fmt->block, &f->own.err);
  f->env = &f->own;
  set_index(f, 0, element % fmt->block);
  return true;
}

// ---- what a format's equations read

static Val read_field(const Vm *vm, const Env *env, const Ins *i, int64_t k) {
  const Field *fl = &env->fmt->field[i->m];
  Val z = {.v = load_as(fl->dtype, env->bytes + fl->offset, k, (Dtype)i->from)};
  if (env->err) z.err = env->err[format_slot(env->fmt, i->m) + k];
  if (i->from && z.err != 0) z.err = INFINITY;
  if (vm->bounds) bound_atom(&z, (Dtype)i->to);
  return z;
}

static Val read_value(const Val *v, const Tensor *t, const Ins *i) {
  Val z = *v;
  if (!i->from) return z;
  z = (Val){.v = dtype_decode((Dtype)i->from, dtype_encode(t->dtype, v->v)), .err = v->err != 0 || v->ops > 2 ? INFINITY : 0};
  bound_atom(&z, (Dtype)i->to);
  return z;
}

static int64_t env_count(const Env *env, const Ins *i) {
  const Format *fmt = env->fmt;
  switch ((EnvSource)i->n) {
  case ENV_BLOCK: return fmt->block;
  case ENV_LOCAL: return eqn_count(&fmt->encode[i->m]);
  case ENV_FIELD: return field_count(&fmt->field[i->m]);
  case ENV_TABLE: return i->e->u.t->ntable;
  }
  return 0;
}

static Val env_value(const Vm *vm, const Env *env, const Ins *i, int64_t k) {
  const Tensor *t = i->e->u.t;
  Val z = {.err = 0};
  switch ((EnvSource)i->n) {
  case ENV_BLOCK: return read_value(&env->v[k], t, i);
  case ENV_LOCAL: return read_value(&env->local[i->m][k], t, i);
  case ENV_FIELD: return read_field(vm, env, i, k);
  case ENV_TABLE:
    z.v = t->table[k];
    bound_atom(&z, (Dtype)i->to);
    return read_value(&z, t, i);
  }
  return z;
}

bool do_env(Vm *vm, Frame *f, const Ins *i) {
  const Val *sub = i->nargs ? operand(f, f->routine->refs[i->a[0]]) : NULL;
  int64_t k = sub ? sub->v.i : 0, n = env_count(f->env, i);
  if (k < 0 || k >= n) {
    if (i->jump) return f->pc = i->jump, true;
    return frame_fail(vm, f, vm_trouble(vm, (Trouble){E_data_subscript, f->routine, i->e, 0, k, n}));
  }
  if (i->n == ENV_LOCAL && f->env->local_bad[i->m][k]) return frame_fail(vm, f, f->env->local_bad[i->m][k]);
  f->val[i->dst] = env_value(vm, f->env, i, k);
  if (vm->bounds && sub && sub->err != 0) f->val[i->dst].err = INFINITY;
  f->pc++;
  return true;
}

// ---- encode

// All that encoding a block needs, in one piece with the frame.
typedef struct EncodeParts { size_t head, v, local, bad, values, bads, err, bytes, all; } EncodeParts;

static EncodeParts encode_parts(const Format *fmt) {
  EncodeParts p = {0};
  size_t n = 0, at = 0;
  for (int k = 0; k < fmt->nencode; k++)
    if (!fmt->encode[k].field) n += (size_t)eqn_count(&fmt->encode[k]);
#define PART(name, count, T) p.name = at, at += ((size_t)(count) * sizeof(T) + 15) & ~(size_t)15
  PART(head, 1, Frame);
  PART(v, fmt->block, Val);
  PART(local, fmt->nencode, Val *);
  PART(bad, fmt->nencode, const Trouble **);
  PART(values, n, Val);
  PART(bads, n, const Trouble *);
  PART(err, format_slots(fmt), double);
  PART(bytes, fmt->bytes, unsigned char);
#undef PART
  p.all = at;
  return p;
}

static void encode_env(const Format *fmt, const EncodeParts *p, unsigned char *base, Env *env) {
  *env = (Env){.fmt = fmt, .bytes = base + p->bytes, .err = (double *)(base + p->err), .v = (Val *)(base + p->v)};
  env->local = (Val **)(base + p->local);
  env->local_bad = (const Trouble ***)(base + p->bad);
  Val *v = (Val *)(base + p->values);
  const Trouble **bad = (const Trouble **)(base + p->bads);
  for (int k = 0; k < fmt->nencode; k++) {
    if (fmt->encode[k].field) continue;
    env->local[k] = v;
    env->local_bad[k] = bad;
    v += eqn_count(&fmt->encode[k]);
    bad += eqn_count(&fmt->encode[k]);
  }
}

bool push_encode(Vm *vm, Store *s, int64_t block, const Val *values) {
  const Format *fmt = s->t->fmt;
  assert(fmt->v && "stored in a format that cannot be written");
  EncodeParts p = encode_parts(fmt);
  unsigned char *base = stack_push(&vm->stack, p.all);
  if (!base) return vm_out_of_memory(vm);
  memset(base, 0, p.all);
  Frame *f = (Frame *)base;
  *f = (Frame){.kind = F_ENCODE, .up = vm->top, .store = s, .cell = block, .bytes = p.all, .phase = values ? 0 : -1};
  encode_env(fmt, &p, base, &f->own);
  if (values) memcpy(f->own.v, values, (size_t)fmt->block * sizeof *values);
  if (s->q->recurrent) vm->deep += f->bytes;
  vm->top = f;
  return true;
}

static int64_t phase_count(const Frame *f) {
  const Format *fmt = f->own.fmt;
  return f->phase < 0 ? fmt->block : eqn_count(&fmt->encode[f->phase]);
}

// The value of the block's element k: its row's subscripts, then the position in the row.
static void push_value(Vm *vm, const Frame *e) {
  const Store *s = e->store;
  Frame *f = push_eval(vm, s->routine, NULL, NULL, 0);
  int64_t element = e->cell * s->t->fmt->block + e->k;
  for (int d = s->t->rank - 1; f && d >= 0; d--) {
    set_index(f, d, element % s->extent[d]);
    element /= s->extent[d];
  }
}

static void push_equation(Vm *vm, Frame *e) {
  const FormatEqn *q = &e->own.fmt->encode[e->phase];
  Frame *f = push_eval(vm, e->store->routines->encode[e->phase], &e->own, NULL, 0);
  if (f && q->ix) set_index(f, 0, e->k);
}

static Val as_field(const Vm *vm, const Field *fl, const Val *v, Dtype from) {
  Val z = {.v = dtype_cast(v->v, from, fl->dtype)};
  if (vm->bounds) bound_cast(from, fl->dtype, v, &z);
  return z;
}

static void take_field(const Vm *vm, Frame *f, const FormatEqn *q) {
  const Field *fl = q->field;
  assert(f->k < field_count(fl));
  Val z = as_field(vm, fl, &vm->ret, dtype_wide(q->def->dtype));
  dtype_store(fl->dtype, f->own.bytes + fl->offset, f->k, z.v);
  f->own.err[format_slot(f->own.fmt, (int)(fl - f->own.fmt->field)) + f->k] = z.err;
}

// The result of the frame just popped. False when the block has failed and with it this frame.
static bool take(Vm *vm, Frame *f) {
  const FormatEqn *q = f->phase < 0 ? NULL : &f->own.fmt->encode[f->phase];
  if (vm->bad && (!q || q->field)) return frame_fail(vm, f, vm->bad);
  if (!q) f->own.v[f->k] = vm->ret;
  else if (q->field) take_field(vm, f, q);
  else if (vm->bad) f->own.local_bad[f->phase][f->k] = vm->bad;
  else f->own.local[f->phase][f->k] = vm->ret;
  f->k++;
  return true;
}

void encode_step(Vm *vm, Frame *f) {
  const Format *fmt = f->own.fmt;
  if (f->waiting && !take(vm, f)) return;
  for (; f->phase < fmt->nencode && f->k >= phase_count(f); f->phase++) f->k = 0;
  if (f->phase >= fmt->nencode) {
    if (!store_put_block(vm, f->store, f->cell, f->own.bytes, f->own.err)) return;
    vm->bad = NULL;
    frame_pop(vm);
    return;
  }
  f->waiting = true;
  if (f->phase < 0) push_value(vm, f);
  else push_equation(vm, f);
}
