// bulk.c: bulk copies, and the barriers in shared memory that count their bytes.
//
// As with other asynchronous copies, in forward order a copy is made as late as it may be, in other orders at once.
#include "run.h"
#include <stdlib.h>
#include <string.h>

// ---- barriers ----------------------------------------------------------------------------------------------------

void mbarrier_free(Block *b) {
  for (int i = 0; i < b->nmbarriers; i++) {
    free(b->mbarrier[i].known.v);
    free(b->mbarrier[i].copy);
  }
  free(b->mbarrier);
  b->mbarrier = NULL;
  b->nmbarriers = b->mbarrier_room = 0;
}

static ptrdiff_t own_offset(Run *r, const EmuSite *s, const void *p, size_t align) {
  Block *owner;
  ptrdiff_t at = shared_offset(r, p, &owner);
  if (at < 0 || owner != r->now->block) run_fail(EMU_BOUNDS, "line %d: %s of something that is not in shared memory", s->line, s->what);
  if ((uintptr_t)p % align) run_fail(EMU_MISALIGNED, "line %d: %s at an address that is no multiple of %zu", s->line, s->what, align);
  return at;
}

static Mbarrier *find(const Block *b, ptrdiff_t at) {
  for (int i = 0; i < b->nmbarriers; i++)
    if (b->mbarrier[i].offset == at) return &b->mbarrier[i];
  return NULL;
}

static Mbarrier *made(Run *r, const EmuSite *s, const void *bar) {
  Mbarrier *m = find(r->now->block, own_offset(r, s, bar, 8));
  if (!m) run_fail(EMU_UNINITIALISED, "line %d: %s of a barrier that nobody has initialised", s->line, s->what);
  return m;
}

static Mbarrier *make(Block *b) {
  if (b->nmbarriers == b->mbarrier_room) {
    int room = b->mbarrier_room ? 2 * b->mbarrier_room : 4;
    Mbarrier *v = realloc(b->mbarrier, (size_t)room * sizeof *v);
    if (!v) run_fail(EMU_HOST, "out of memory");
    b->mbarrier = v;
    b->mbarrier_room = room;
  }
  b->mbarrier[b->nmbarriers] = (Mbarrier){0};
  return &b->mbarrier[b->nmbarriers++];
}

void api_mbarrier_init(const EmuSite *s, void *bar, unsigned count) {
  Run *r = run_now();
  ptrdiff_t at = own_offset(r, s, bar, 8);
  Mbarrier *m = find(r->now->block, at);
  if (!m) m = make(r->now->block);
  m->offset = at;
  m->count = m->waiting = count;
  m->phase = 0;
  m->bytes = 0;
  m->known.n = 0;
  check_arrive(r->now, &m->known);         // whoever waits for it has seen that it is there
}

static void end_phase(Mbarrier *m) {
  if (m->waiting || m->bytes) return;
  m->phase++;
  m->waiting = m->count;
}

void api_mbarrier_arrive(const EmuSite *s, void *bar, unsigned expected_bytes) {
  Run *r = run_now();
  char name[96];
  Mbarrier *m = made(r, s, bar);
  if (!m->waiting) run_fail(EMU_BAD_BARRIER, "line %d: %s arrives at a barrier at which all have arrived", s->line, thread_name(r, r->now, name));
  m->waiting--;
  m->bytes += expected_bytes;
  check_arrive(r->now, &m->known);
  end_phase(m);
}

static void finish(Run *r, Mbarrier *m, const Copy *c) {
  if (copies_are_late(r)) memcpy(c->to, c->from, c->bytes);
  check_copy_done(r->now, c, false);
  m->bytes -= (int64_t)c->bytes;
}

// Spins, so that a wait that nothing ends is found as any other.
void api_mbarrier_wait(const EmuSite *s, void *bar, unsigned parity) {
  Run *r = run_now();
  Thread *t = r->now;
  for (;;) {
    Mbarrier *m = made(r, s, bar);         // anew: the list may have grown meanwhile
    if ((m->phase & 1) != (parity & 1)) {
      check_wait(t, &m->known);
      return;
    }
    bool any = m->ncopies > 0;
    for (int i = 0; i < m->ncopies; i++) finish(r, m, &m->copy[i]);
    m->ncopies = 0;
    if (any) end_phase(m);
    else run_spin(r, t, s, true);
  }
}

// ---- copies ------------------------------------------------------------------------------------------------------

static void check_sizes(const EmuSite *s, const void *to, const void *from, unsigned long n) {
  if (n % 16 || (uintptr_t)to % 16 || (uintptr_t)from % 16) run_fail(EMU_MISALIGNED, "line %d: %s of %lu bytes: bytes and addresses must be multiples of 16", s->line, s->what, n);
}

static bool inside_shared(const Run *r, ptrdiff_t at, size_t n) {
  size_t end = (size_t)at + n;
  return (size_t)at < r->static_bytes ? end <= r->static_bytes : end <= r->static_bytes + r->dynamic_bytes;
}

static void check_ranges(const Run *r, const EmuSite *s, ptrdiff_t at, const void *global, unsigned long n) {
  if (!inside_shared(r, at, n)) run_fail(EMU_BOUNDS, "line %d: %s beyond the block's shared memory", s->line, s->what);
  if (!emu_in_memory(r->device, global, n)) run_fail(EMU_BOUNDS, "line %d: %s beyond an allocation in global memory", s->line, s->what);
}

void api_bulk_load(const EmuSite *s, void *to, const void *from, unsigned long n, void *bar, void *pc) {
  Run *r = run_now();
  Thread *t = r->now;
  check_sizes(s, to, from, n);
  check_ranges(r, s, own_offset(r, s, to, 16), from, n);
  made(r, s, bar);
  if (r->check) api_access(from, n, EMU_READ, pc);
  check_copy_started(t, to, n, pc);
  if (copies_are_late(r)) memset(to, 0xff, n);
  else memcpy(to, from, n);
  Mbarrier *m = made(r, s, bar);
  check_arrive(t, &m->known);
  if (!push_copy(&m->copy, &m->ncopies, &m->copy_room, (Copy){to, from, n, 0, pc, t->id})) run_fail(EMU_HOST, "out of memory");
}

void api_bulk_store(const EmuSite *s, void *to, const void *from, unsigned long n, void *pc) {
  Run *r = run_now();
  Thread *t = r->now;
  check_sizes(s, to, from, n);
  check_ranges(r, s, own_offset(r, s, from, 16), to, n);
  check_proxied(t, s, from, n);
  if (r->check) api_access(from, n, EMU_READ, pc);
  if (!copies_are_late(r)) memcpy(to, from, n);
  if (!push_copy(&t->store, &t->nstores, &t->store_room, (Copy){to, from, n, t->store_group, pc, t->id})) run_fail(EMU_HOST, "out of memory");
}

void api_bulk_commit(void) { run_now()->now->store_group++; }

void api_bulk_wait(const EmuSite *s, int pending) {
  Run *r = run_now();
  Thread *t = r->now;
  int kept = 0;
  (void)s;
  for (int i = 0; i < t->nstores; i++) {
    Copy c = t->store[i];
    if (c.group >= t->store_group - pending) {
      t->store[kept++] = c;
      continue;
    }
    if (copies_are_late(r)) memcpy(c.to, c.from, c.bytes);
    check_written(t, &c);
  }
  t->nstores = kept;
}

void api_proxy_fence(void) { run_now()->now->shared_dirty = false; }
