// interp_store.c: the elements computed so far, in pages made when something is stored there.
//
// A tensor has at most 2^40 elements, most of which may never be read: pages of 1024 cells hang from tables of 1024
// pages. A version of a `mut` tensor starts with the pages of the version before and copies one when it stores to it; what
// no version has stored lies in the caller's memory, which is written when everything else is done.
#include "ir/interp_int.h"
#include <assert.h>
#include <math.h>
#include <string.h>

static int64_t table_pages(const Store *s, int64_t table) {
  int64_t pages = (s->ncells + PAGE_CELLS - 1) >> PAGE_BITS, left = pages - (table << PAGE_BITS);
  return left < PAGE_CELLS ? left : PAGE_CELLS;
}

static size_t page_cells(const Store *s, int64_t page) {
  int64_t left = s->ncells - (page << PAGE_BITS);
  return (size_t)(left < PAGE_CELLS ? left : PAGE_CELLS);
}

void store_init(Vm *vm, const Tensor *t) {
  Store *s = &vm->store[t->id];
  s->t = t;
  if (!bind_extents(vm->f, vm->dims, vm->params, t->rank, t->extent, s->extent)) assert(!"fn_bind checked the extents");
  s->n = 1;
  for (int k = 0; k < t->rank; k++) s->n *= s->extent[k];
  s->ncells = t->fmt ? s->n / t->fmt->block : s->n;
  s->routines = t->fmt ? routines_of_format(vm, t->fmt) : NULL;
  s->ntables = (s->ncells >> (2 * PAGE_BITS)) + 1;
}

Page *store_peek(const Store *s, int64_t cell) {
  if (!s->table) return NULL;
  const PageTable *t = s->table[cell >> (2 * PAGE_BITS)];
  return t ? t->page[cell >> PAGE_BITS & (PAGE_CELLS - 1)] : NULL;
}

static bool page_alloc(Vm *vm, const Store *s, size_t n, Page *p) {
  Memory *m = &vm->mem;
  const Format *fmt = s->t->fmt;
  p->owner = s;
  p->state = memory_zeroed(m, n, 1);
  p->v = memory_zeroed(m, n, sizeof *p->v);
  bool ok = p->state && p->v;
  if (fmt) ok = ok && (p->bytes = memory_zeroed(m, n, (size_t)fmt->bytes));
  if (fmt && vm->bounds) ok = ok && (p->err = memory_zeroed(m, n, (size_t)format_slots(fmt) * sizeof *p->err));
  if (!fmt && vm->bounds) ok = ok && (p->slack = memory_zeroed(m, n, sizeof *p->slack));
  return ok;
}

static void page_copy(const Vm *vm, const Store *s, size_t n, const Page *from, Page *to) {
  const Format *fmt = s->t->fmt;
  for (size_t k = 0; k < n; k++) to->state[k] = from->state[k] == CELL_DONE ? CELL_KEPT : from->state[k];
  memcpy(to->v, from->v, n * sizeof *to->v);
  if (fmt) memcpy(to->bytes, from->bytes, n * (size_t)fmt->bytes);
  if (fmt && vm->bounds) memcpy(to->err, from->err, n * (size_t)format_slots(fmt) * sizeof *to->err);
  if (!fmt && vm->bounds) memcpy(to->slack, from->slack, n * sizeof *to->slack);
}

// The table and the page that s may write: its own; another version's are copied first.
static PageTable *own_table(Vm *vm, Store *s, int64_t k) {
  PageTable *t = s->table[k];
  if (t && t->owner == s) return t;
  size_t n = (size_t)table_pages(s, k);
  PageTable *own = memory_zeroed(&vm->mem, 1, sizeof *own + n * sizeof own->page[0]);
  if (!own) return NULL;
  if (t) memcpy(own->page, t->page, n * sizeof own->page[0]);
  own->owner = s;
  return s->table[k] = own;
}

static Page *own_page(Vm *vm, Store *s, PageTable *t, int64_t page) {
  Page **at = &t->page[page & (PAGE_CELLS - 1)], *old = *at;
  if (old && old->owner == s) return old;
  size_t n = page_cells(s, page);
  Page *own = memory_zeroed(&vm->mem, 1, sizeof *own);
  if (!own || !page_alloc(vm, s, n, own)) return NULL;
  if (old) page_copy(vm, s, n, old, own);
  return *at = own;
}

Page *store_page(Vm *vm, Store *s, int64_t cell) {
  assert(cell >= 0 && cell < s->ncells);
  if (!s->table) s->table = memory_zeroed(&vm->mem, (size_t)s->ntables, sizeof *s->table);
  PageTable *t = s->table ? own_table(vm, s, cell >> (2 * PAGE_BITS)) : NULL;
  Page *p = t ? own_page(vm, s, t, cell >> PAGE_BITS) : NULL;
  if (!p) vm_out_of_memory(vm);
  return p;
}

bool store_start(Vm *vm, Store *to, const Store *from) {
  to->data = from->data;
  to->uncertain = from->uncertain;
  if (!from->table) return true;
  to->table = memory_zeroed(&vm->mem, (size_t)to->ntables, sizeof *to->table);
  if (!to->table) return vm_out_of_memory(vm);
  memcpy(to->table, from->table, (size_t)to->ntables * sizeof *to->table);
  return true;
}

void store_fail(Vm *vm, Store *s, int64_t cell, const Trouble *bad) {
  Page *p = store_page(vm, s, cell);
  if (!p) return;
  p->state[cell & (PAGE_CELLS - 1)] = CELL_FAILED;
  p->v[cell & (PAGE_CELLS - 1)].u = (uintptr_t)bad;
}

void store_put(Vm *vm, Store *s, int64_t cell, const Val *v) {
  Page *p = store_page(vm, s, cell);
  if (!p) return;
  int64_t k = cell & (PAGE_CELLS - 1);
  p->state[k] = CELL_DONE;
  p->v[k] = v->v;
  if (p->slack) p->slack[k] = (Slack){v->err, v->mag, v->ops};
}

bool store_has(const Store *s, int64_t cell, uint8_t *state) {
  const Page *p = store_peek(s, cell);
  *state = p ? p->state[cell & (PAGE_CELLS - 1)] : CELL_EMPTY;
  if (*state == CELL_KEPT || (*state == CELL_EMPTY && (s->data || s->t->role == ROLE_TABLE))) *state = CELL_DONE;
  return *state != CELL_EMPTY;
}

// Bits go from a float in memory to `as` without a turn through its value: NaNs differ in bits that the value has not.
Scalar load_as(Dtype stored, const void *base, int64_t k, Dtype as) {
  if (!as) return dtype_load(stored, base, k);
  static const Dtype raw[] = {[8] = DT_U8, [16] = DT_U16, [32] = DT_U32, [64] = DT_U64};
  if (dtype_is_float(stored)) return dtype_decode(as, dtype_load(raw[dtypes[stored].bits], base, k).u);
  return dtype_decode(as, dtype_encode(stored, dtype_load(stored, base, k)));
}

static Scalar value_as(Dtype stored, Scalar v, Dtype as) { return as ? dtype_decode(as, dtype_encode(stored, v)) : v; }

// An uncertain value's bits may be any.
static Val reinterpreted(Val z, Dtype stored, Dtype as) {
  z.err = z.err != 0 || (dtype_is_float(stored) && z.ops > 2) ? INFINITY : 0;
  bound_atom(&z, dtype_wide(as));
  return z;
}

Val store_value(const Vm *vm, const Store *s, int64_t cell, Dtype as) {
  const Page *p = store_peek(s, cell);
  int64_t k = cell & (PAGE_CELLS - 1);
  Val z = {.err = 0};
  if (p && p->state[k] >= CELL_DONE) {
    z.v = value_as(s->t->dtype, p->v[k], as);
    if (p->slack) z.err = p->slack[k].err, z.mag = p->slack[k].mag, z.ops = p->slack[k].ops;
  } else {
    bool table = s->t->role == ROLE_TABLE;
    z.v = table ? value_as(s->t->dtype, s->t->table[cell], as) : load_as(s->t->dtype, s->data, cell, as);
    if (vm->bounds) bound_atom(&z, as ? dtype_wide(as) : dtype_wide(s->t->dtype));
  }
  if (s->uncertain) z.err = INFINITY;
  return as ? reinterpreted(z, s->t->dtype, as) : z;
}

unsigned char *store_block(const Store *s, int64_t cell, double **err) {
  const Page *p = store_peek(s, cell);
  const Format *fmt = s->t->fmt;
  int64_t k = cell & (PAGE_CELLS - 1);
  *err = NULL;
  if (!p || p->state[k] < CELL_DONE) return s->data + cell * fmt->bytes;
  if (p->err) *err = p->err + k * format_slots(fmt);
  return p->bytes + k * fmt->bytes;
}

bool store_put_block(Vm *vm, Store *s, int64_t cell, const unsigned char *bytes, const double *err) {
  const Format *fmt = s->t->fmt;
  Page *p = store_page(vm, s, cell);
  if (!p) return false;
  int64_t k = cell & (PAGE_CELLS - 1);
  p->state[k] = CELL_DONE;
  memcpy(p->bytes + k * fmt->bytes, bytes, (size_t)fmt->bytes);
  if (p->err) memcpy(p->err + k * format_slots(fmt), err, (size_t)format_slots(fmt) * sizeof *err);
  return true;
}

// Everything computed goes to the caller's memory; cells that are not DONE are left as they are.
void store_write_out(const Store *s, void *data) {
  const Format *fmt = s->t->fmt;
  for (int64_t c = 0; s->table && c < s->ncells; c++) {
    const Page *p = store_peek(s, c);
    if (!p) c |= PAGE_CELLS - 1;                  // no page: on to the next one
    else if (p->state[c & (PAGE_CELLS - 1)] < CELL_DONE) continue;
    else if (!fmt) dtype_store(s->t->dtype, data, c, p->v[c & (PAGE_CELLS - 1)]);
    else memcpy((unsigned char *)data + c * fmt->bytes, p->bytes + (c & (PAGE_CELLS - 1)) * fmt->bytes, (size_t)fmt->bytes);
  }
}
