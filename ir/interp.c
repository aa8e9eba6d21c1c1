// interp.c: runs a function: its equations in order, results and updates whole, locals as they are read.
// See Note [How the interpreter runs].
#include "ir/interp_int.h"
#include <assert.h>
#include <math.h>
#include <string.h>

// ---- which results depend on an equation

// Relative errors that functions may have when only narrow results depend on them (language.md, "Scalar functions").
static double tolerance_of(const Tensor *t) {
  if (t->fmt) return 0;
  switch (t->dtype) {
  case DT_BF16: case DT_F8E4M3: case DT_F8E5M2: return 0x1p-12;
  case DT_F16: return 0x1p-15;
  default: return 0;
  }
}

// of: by the tensor's id; the equations of a recurrence share what the first of them has.
typedef struct Coarse { const Vm *vm; double *of; int *first; bool again; } Coarse;

// What a routine reads may be no coarser than what it defines.
static void lower_reads(Coarse *c, const Store *s) {
  double most = c->of[c->first[s->t->id]];
  for (int k = 0; k < s->routine->nreads; k++) {
    int id = s->routine->reads[k];
    double *of = &c->of[c->first[id]];
    const Eqn *q = c->vm->store[id].q;
    if (*of <= most) continue;
    *of = most;
    if (q && q->scc > 0) c->again = true;                  // shared with an equation that this pass may have passed
  }
}

static void share_recurrences(Coarse *c, Arena *a) {
  const Fn *f = c->vm->f;
  Map first = map_make(a);
  for (int k = 0; k < f->eqns.n; k++) {
    const Eqn *q = f->eqns.v[k];
    if (q->scc <= 0) continue;
    const Tensor *known = map_get(&first, (uint64_t)q->scc);
    if (!known) map_put(&first, (uint64_t)q->scc, q->def);
    else c->first[q->def->id] = known->id;
    if (known && c->of[known->id] > c->of[q->def->id]) c->of[known->id] = c->of[q->def->id];
  }
}

// From the results back to what they read. Once is enough but for equations that stand among those of a recurrence.
static void set_coarse(Vm *vm) {
  const Fn *f = vm->f;
  int n = f->tensors.n;
  Coarse c = {.vm = vm, .of = arena_array(vm->a, double, n), .first = arena_array(vm->a, int, n), .again = true};
  for (int k = 0; k < n; k++) {
    c.of[k] = fn_is_output(f->tensors.v[k]) ? tolerance_of(f->tensors.v[k]) : 0x1p-12;
    c.first[k] = k;
  }
  share_recurrences(&c, vm->a);
  while (c.again) {
    c.again = false;
    for (int k = f->eqns.n - 1; k >= 0; k--) lower_reads(&c, &vm->store[f->eqns.v[k]->def->id]);
  }
  for (int k = 0; k < f->eqns.n; k++) {
    int id = f->eqns.v[k]->def->id;
    vm->store[id].routine->coarse = c.of[c.first[id]];
  }
}

// ---- setting up

static void add_to_scc(Vm *vm, Store *s) {
  int k = s->q->scc;
  if (k <= 0) return;
  if (k >= vm->nscc) {
    Scc *more = arena_array(vm->a, Scc, 2 * k + 2);
    if (vm->nscc) memcpy(more, vm->scc, (size_t)vm->nscc * sizeof *more);
    for (int i = vm->nscc; i < 2 * k + 2; i++) more[i].swept = -1;
    vm->scc = more;
    vm->nscc = 2 * k + 2;
  }
  vec_push(vm->a, &vm->scc[k].stores, s);
}

static void set_up(Vm *vm) {
  const Fn *f = vm->f;
  vm->formats = map_make(vm->a);
  vm->store = arena_array(vm->a, Store, f->tensors.n);
  vm->reduced = arena_array(vm->a, bool, f->tensors.n);
  for (int k = 0; k < f->tensors.n; k++) store_init(vm, f->tensors.v[k]);
  for (int k = 0; k < f->params.n; k++) vm->store[f->params.v[k]->id].data = vm->params[k].data;
  for (int k = 0; k < f->eqns.n; k++) vm->reduced[f->eqns.v[k]->def->id] = f->eqns.v[k]->scc > 0;
  for (int k = 0; k < f->eqns.n; k++) {
    const Eqn *q = f->eqns.v[k];
    Store *s = &vm->store[q->def->id];
    s->q = q;
    s->routine = routine_of_eqn(vm, q);
    add_to_scc(vm, s);
  }
  if (vm->bounds) set_coarse(vm);
}

// ---- results

static bool run_cell(Vm *vm, Store *s, int64_t cell) {
  uint8_t state;
  if (!store_has(s, cell, &state)) {
    push_cell(vm, s, cell);
    vm_run(vm);
    if (vm->fatal) return false;
    store_has(s, cell, &state);
  }
  if (state == CELL_DONE) return true;
  assert(state == CELL_FAILED);
  vm->fatal = (const Trouble *)(uintptr_t)store_peek(s, cell)->v[cell & (PAGE_CELLS - 1)].u;
  return false;
}

static bool run_result(Vm *vm, Store *s) {
  for (int64_t c = 0; c < s->ncells; c++)
    if (!run_cell(vm, s, c)) return false;
  return true;
}

// ---- updates

// One value of an update, at ix. The value is in vm->ret and where it goes in vm->stored.
static bool run_routine(Vm *vm, const Store *s, const int64_t *ix) {
  Frame *f = push_eval(vm, s->routine, NULL, NULL, 0);
  if (!f) return false;
  for (int k = 0; k < s->q->n; k++) set_index(f, k, ix[k]);
  vm->stored = (Stored){0};
  vm_run(vm);
  if (!vm->fatal && vm->bad) vm->fatal = vm->bad;
  return !vm->fatal;
}

// Where an update stores, or -1 after a fault.
static int64_t store_position(Vm *vm, const Store *s) {
  int64_t at = 0;
  for (int k = 0; k < s->q->nstore; k++) {
    const Val *sub = &vm->stored.sub[k];
    if (sub->v.i < 0 || sub->v.i >= s->extent[k]) {
      vm->fatal = vm_trouble(vm, (Trouble){E_data_subscript, s->routine, NULL, k, sub->v.i, s->extent[k]});
      return -1;
    }
    at = at * s->extent[k] + sub->v.i;
  }
  return at;
}

static bool unsure_place(const Vm *vm, const Store *s) {
  bool unsure = false;
  for (int k = 0; vm->bounds && k < s->q->nstore; k++) unsure |= vm->stored.sub[k].err != 0;
  return unsure;
}

// Which of two values of one element stays is not specified.
static void either(const Store *s, const Val *old, Val *v) {
  Dtype t = dtype_wide(s->t->dtype);
  double d = fabs(scalar_double(old->v, t) - scalar_double(v->v, t));
  bool same = old->v.u == v->v.u;
  v->err = same ? fmax(old->err, v->err) : d >= 0 ? d + fmax(old->err, v->err) : INFINITY;
  if (t == DT_BOOL && !same) v->err = INFINITY;
  bound_atom(v, t);
}

// Was the cell stored by this update already?
static bool stored_twice(const Store *s, int64_t cell) {
  const Page *p = store_peek(s, cell);
  return p && p->owner == s && p->state[cell & (PAGE_CELLS - 1)] == CELL_DONE;
}

static bool store_one(Vm *vm, Store *s) {
  if (vm->bounds && (vm->stored.unsure || (vm->stored.yes && unsure_place(vm, s)))) s->uncertain = true;
  if (!vm->stored.yes) return true;
  int64_t at = store_position(vm, s);
  if (at < 0) return false;
  Val v = vm->ret;
  if (vm->bounds && stored_twice(s, at)) {
    Val old = store_value(vm, s, at, DT_NONE);
    either(s, &old, &v);
  }
  store_put(vm, s, at, &v);
  return !vm->fatal;
}

// The next index tuple, last index fastest; false after the last one. `skip`: an index left as it is.
static bool next_tuple(const Eqn *q, const int64_t *extent, int skip, int64_t *ix) {
  for (int k = q->n - 1; k >= 0; k--) {
    if (k == skip) continue;
    if (++ix[k] < extent[k]) return true;
    ix[k] = 0;
  }
  return false;
}

static bool empty_range(const Eqn *q, const int64_t *extent) {
  for (int k = 0; k < q->n; k++)
    if (extent[k] == 0) return true;
  return false;
}

static bool update_elements(Vm *vm, Store *s, const int64_t *extent) {
  int64_t ix[LIMIT_RANK] = {0};
  do
    if (!run_routine(vm, s, ix) || !store_one(vm, s)) return false;
  while (next_tuple(s->q, extent, -1, ix));
  return true;
}

// ---- updates of tensors in a format: whole rows, block by block

static bool old_value(Vm *vm, const Store *base, int64_t element, Val *out) {
  if (!push_decode(vm, base, element)) return false;
  vm_run(vm);
  if (!vm->fatal && vm->bad) vm->fatal = vm->bad;
  *out = vm->ret;
  return !vm->fatal;
}

static int row_index(const Eqn *q) {
  const Expr *last = q->store[q->nstore - 1];
  for (int k = 0; k < q->n; k++)
    if (last->op == OP_INDEX && last->u.ix == q->ix[k]) return k;
  assert(!"an update of a format covers whole rows");
  return 0;
}

// Stores the block whose first element has the row index's value `first`. A value whose condition is false stays.
static bool update_block(Vm *vm, Store *s, const Store *base, int row, int64_t first, int64_t *ix, Val *v) {
  const Format *fmt = s->t->fmt;
  int64_t cell = -1, n = 0;
  bool *stored = memset(v + fmt->block, 0, (size_t)fmt->block);
  for (int64_t k = 0; k < fmt->block; k++) {
    ix[row] = first + k;
    if (!run_routine(vm, s, ix)) return false;
    if (vm->bounds && (vm->stored.unsure || (vm->stored.yes && unsure_place(vm, s)))) s->uncertain = true;
    if (!vm->stored.yes) continue;
    int64_t at = store_position(vm, s);
    if (at < 0) return false;
    cell = at / fmt->block;
    v[k] = vm->ret;
    stored[k] = true;
    n++;
  }
  if (n == 0) return true;
  for (int64_t k = 0; k < fmt->block; k++)
    if (!stored[k] && !old_value(vm, base, cell * fmt->block + k, &v[k])) return false;
  if (vm->bounds && stored_twice(s, cell)) s->uncertain = true;
  if (!push_encode(vm, s, cell, v)) return false;
  vm_run(vm);
  if (!vm->fatal && vm->bad) vm->fatal = vm->bad;
  return !vm->fatal;
}

static bool update_rows(Vm *vm, Store *s, const Store *base, const int64_t *extent) {
  const Format *fmt = s->t->fmt;
  int64_t ix[LIMIT_RANK] = {0};
  int row = row_index(s->q);
  Val *v = memory_zeroed(&vm->mem, (size_t)fmt->block, sizeof *v + 1);
  if (!v) return vm_out_of_memory(vm);
  do
    for (int64_t first = 0; first < extent[row]; first += fmt->block)
      if (!update_block(vm, s, base, row, first, ix, v)) return false;
  while (next_tuple(s->q, extent, row, ix));
  return true;
}

static bool run_update(Vm *vm, Store *s) {
  const Store *base = &vm->store[s->q->base->id];
  int64_t extent[LIMIT_RANK];
  bool known = bind_extents(vm->f, vm->dims, vm->params, s->q->n, s->q->extent, extent);
  assert(known && "fn_bind checked the extents");
  (void)known;
  if (!store_start(vm, s, base)) return false;
  if (empty_range(s->q, extent)) return true;
  return s->t->fmt ? update_rows(vm, s, base, extent) : update_elements(vm, s, extent);
}

// ---- the outcome

static bool element_bound(Vm *vm, Store *s, int64_t element, double *out) {
  Dtype t = dtype_wide(s->t->dtype);
  Val v;
  if (!s->t->fmt) v = store_value(vm, s, element, DT_NONE);
  else if (!old_value(vm, s, element, &v)) return false;
  *out = s->uncertain ? INFINITY : val_error(&v, t);
  return true;
}

static bool write_bounds(Vm *vm, Store *s, double *out) {
  for (int64_t k = 0; out && k < s->n; k++)
    if (!element_bound(vm, s, k, &out[k])) return false;
  return true;
}

// The store with a mut parameter's final value.
static Store *last_version(const Vm *vm, const Tensor *param) {
  Store *last = &vm->store[param->id];
  for (int k = 0; k < vm->f->eqns.n; k++) {
    const Tensor *def = vm->f->eqns.v[k]->def;
    if (def->role == ROLE_VERSION && def->root == param) last = &vm->store[def->id];
  }
  return last;
}

static bool write_out(Vm *vm, const View *results, double **bounds) {
  const Fn *f = vm->f;
  for (int k = 0; bounds && k < f->results.n; k++)
    if (!write_bounds(vm, &vm->store[f->results.v[k]->id], bounds[k])) return false;
  for (int k = 0, n = f->results.n; bounds && k < f->params.n; k++)
    if (f->params.v[k]->role == ROLE_MUT && !write_bounds(vm, last_version(vm, f->params.v[k]), bounds[n++])) return false;
  for (int k = 0; k < f->results.n; k++) store_write_out(&vm->store[f->results.v[k]->id], results[k].data);
  for (int k = 0; k < f->params.n; k++)
    if (f->params.v[k]->role == ROLE_MUT) store_write_out(last_version(vm, f->params.v[k]), vm->params[k].data);
  return true;
}

static bool run_all(Vm *vm) {
  for (int k = 0; k < vm->f->eqns.n; k++) {
    Store *s = &vm->store[vm->f->eqns.v[k]->def->id];
    if (s->t->role == ROLE_VERSION && !run_update(vm, s)) return false;
    if (s->t->role == ROLE_RESULT && !run_result(vm, s)) return false;
  }
  return true;
}

bool fn_interpret(const Fn *f, const View *params, const View *results, double **bounds, Fault *fault) {
  Arena *a = arena_create();
  int64_t *dims = arena_array(a, int64_t, f->x->next_dim + 1);
  bool ok = fn_bind(f, params, dims, fault);
  if (ok) {
    Vm vm = {.f = f, .a = a, .params = params, .dims = dims, .bounds = bounds != NULL};
    vm.stack.m = &vm.mem;
    set_up(&vm);
    ok = run_all(&vm) && write_out(&vm, results, bounds);
    if (!ok) fault_report(&vm, vm.fatal, fault);
    memory_release(&vm.mem);
  }
  arena_destroy(a);
  return ok;
}

// Note [How the interpreter runs]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
// An element is computed when it is first read, and then kept with its state: empty, busy, done or failed. A failed
// element keeps why it failed, and each reader fails in turn for that reason; only a result or an update that fails
// makes the call fail. So an error in an element that nothing reads is never reported.
//
// A read of an element that is empty pushes a frame and is done again when that frame is gone. There is no C recursion, so
// chains of any number of equations are only memory: one frame for each equation at most, as an equation that is not
// recurrent cannot wait for itself.
//
// In a recurrence an element may wait for one that waits for one ... T times. Up to a few megabytes of frames it is
// done like that, and only what is read is computed. Past that a sweep computes the recurrence's elements in order of
// the ordering index, all of them up to the value that is wanted; faults stay with their elements, so that the result
// is the same.
//
// Updates are done whole and in their place among the equations; a version of a tensor has its own elements and shares
// the pages that it has not changed with the version before. The caller's memory is only written at the end.
//
// Time is proportional to the steps of reductions and the elements that the program asks for, and nothing else: an
// expression used twice is computed once while the indices it depends on stay the same. Memory is proportional to the
// elements computed, at most INTERP_MEMORY.
