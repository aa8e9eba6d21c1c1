// check.c: looks at every access of a text that was compiled with checks: is it inside of what it may touch, has somebody written
// what it reads, and is it ordered with the accesses of others to the same bytes?
//
// What is no longer 0xff has been written, whether or not the write was reported.
//
// Of each byte the last write and the last reads are kept (Shadow). Two accesses, one of them a write, are a race unless
// one of these lies between: for threads of a block a barrier, within a warp also __syncwarp (a shuffle orders no
// memory); for blocks a barrier of the cluster or grid, or a fence, an atomic operation or volatile access on some
// location by the first, and one on the same location by the second. See Note [What a block knows].
#include "run.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- what others are known to have done --------------------------------------------------------------------------

enum { NO_THREAD = -1, ANY_THREAD = -2 };
enum { READ_TOO = 1 << 8 };           // flag of a write: an atomic operation

static int known_at(const Known *k, uint32_t block) {
  int lo = 0, hi = k->n;
  while (lo < hi) {
    int mid = (lo + hi) / 2;
    if (k->v[mid].block < block) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

static bool known_covers(const Known *k, uint32_t block, uint32_t epoch, int thread) {
  int i = known_at(k, block);
  if (i == k->n || k->v[i].block != block) return false;
  return k->v[i].epoch > epoch || (k->v[i].epoch == epoch && (k->v[i].thread == thread || k->v[i].thread == ANY_THREAD));
}

static void known_insert(Known *k, int i, KnownBlock b) {
  if (k->n == k->room) {
    int room = k->room ? 2 * k->room : 8;
    KnownBlock *v = realloc(k->v, (size_t)room * sizeof *v);
    if (!v) return;                    // then less is known, and more reported
    k->v = v;
    k->room = room;
  }
  memmove(&k->v[i + 1], &k->v[i], (size_t)(k->n - i) * sizeof *k->v);
  k->v[i] = b;
  k->n++;
}

static void known_add(Known *k, KnownBlock b) {
  int i = known_at(k, b.block);
  if (i == k->n || k->v[i].block != b.block) known_insert(k, i, b);
  else if (k->v[i].epoch < b.epoch || (k->v[i].epoch == b.epoch && k->v[i].thread == NO_THREAD)) k->v[i] = b;
  else if (k->v[i].epoch == b.epoch && b.thread != NO_THREAD && k->v[i].thread != b.thread) k->v[i].thread = ANY_THREAD;
}

static void known_join(Known *to, const Known *from) {
  for (int i = 0; i < from->n; i++) known_add(to, from->v[i]);
}

// What releases gave to a location; made on demand. Open addressing, at most half full.
static Location *slot_of(const Run *r, uintptr_t address) {
  size_t i = address * UINT64_C(0x9e3779b97f4a7c15) >> 20;
  while (r->location[i & (r->location_room - 1)].address && r->location[i & (r->location_room - 1)].address != address) i++;
  return &r->location[i & (r->location_room - 1)];
}

static bool grow_locations(Run *r) {
  Location *old = r->location;
  size_t n = r->location_room;
  Location *v = calloc(n ? 2 * n : 64, sizeof *v);
  if (!v) return false;
  r->location = v;
  r->location_room = n ? 2 * n : 64;
  for (size_t i = 0; i < n; i++)
    if (old[i].address) *slot_of(r, old[i].address) = old[i];
  free(old);
  return true;
}

static Known *location(Run *r, uintptr_t address, bool make) {
  if (2 * r->nlocations >= r->location_room && (!make || !grow_locations(r)) && !r->location_room) return NULL;
  Location *l = slot_of(r, address);
  if (l->address) return &l->known;
  if (!make) return NULL;
  l->address = address;
  r->nlocations++;
  return &l->known;
}

static void acquire(Run *r, Thread *t, uintptr_t address) {
  const Known *k = location(r, address, false);
  if (k) known_join(&t->known, k);
}

// Gives away what t's fence, or fences of all writers before the last barrier, made visible.
static void release(Run *r, Thread *t, uintptr_t address) {
  const Block *b = t->block;
  bool fenced = t->fenced == b->epoch + 1;
  if (!fenced && !b->published) return;
  Known *k = location(r, address, true);
  if (!k) return;
  known_join(k, &b->known);
  known_join(k, &t->known);
  known_add(k, fenced ? (KnownBlock){b->number, b->epoch, t->id} : (KnownBlock){b->number, b->published, NO_THREAD});
}

// ---- segments ----------------------------------------------------------------------------------------------------

static uint32_t new_segment(Run *r, const Block *b) {
  if (r->nsegments == r->segment_room) {
    size_t room = r->segment_room ? 2 * r->segment_room : 256;
    Segment *v = realloc(r->segment, room * sizeof *v);
    if (!v) {
      emu_fault(&r->fault, EMU_HOST, "out of memory");
      return b->segment;
    }
    r->segment = v;
    r->segment_room = room;
  }
  r->segment[r->nsegments] = (Segment){b->number, b->epoch};
  return r->begin_segment + (uint32_t)r->nsegments++;
}

static const Segment *segment(const Run *r, uint32_t s) { return &r->segment[s - r->begin_segment]; }

void check_block_start(Run *r, Block *b) {
  b->epoch = b->published = b->proxied = 0;
  b->known.n = 0;
  if (r->check) b->segment = b->first_segment = new_segment(r, b);
}

void check_barrier(Run *r, Block *b) {
  if (!r->check) return;
  bool dirty = false, shared_dirty = false;
  for (int i = 0; i < b->n; i++) {
    dirty |= b->thread[i].dirty;
    shared_dirty |= b->thread[i].shared_dirty;
    known_join(&b->known, &b->thread[i].known);
    b->thread[i].known.n = 0;
  }
  b->epoch++;
  if (!dirty) b->published = b->epoch;
  if (!shared_dirty) b->proxied = b->epoch;
  b->segment = new_segment(r, b);
}

void check_syncwarp(Thread *const *lane, int n) {
  Thread *first = lane[0];
  if (!run_now()->check) return;
  for (int i = 1; i < n; i++) {
    for (int k = 0; k < EMU_WARP; k++)
      if (lane[i]->clock[k] > first->clock[k]) first->clock[k] = lane[i]->clock[k];
    known_join(&first->known, &lane[i]->known);
  }
  for (int i = 1; i < n; i++) {
    memcpy(lane[i]->clock, first->clock, sizeof first->clock);
    known_join(&lane[i]->known, &first->known);
  }
  for (int i = 0; i < n; i++) lane[i]->clock[lane[i]->lane]++;
}

void check_cluster(Run *r, Block *b, int n) {
  if (!r->check) return;
  for (int i = 1; i < n; i++) known_join(&b[0].known, &b[i].known);
  for (int i = 0; i < n; i++) known_add(&b[0].known, (KnownBlock){b[i].number, b[i].epoch + 1, NO_THREAD});
  for (int i = 1; i < n; i++) known_join(&b[i].known, &b[0].known);
  for (int i = 0; i < n; i++) check_barrier(r, &b[i]);
}

void check_grid(Run *r) {
  if (!r->check) return;
  r->first_segment = r->begin_segment + (uint32_t)r->nsegments;
  for (int i = 0; i < r->nblocks; i++) check_barrier(r, &r->block[i]);
}

void check_free(Run *r) {
  for (size_t i = 0; i < r->location_room; i++) free(r->location[i].known.v);
  free(r->location);
  free(r->segment);
  r->location = NULL;
  r->segment = NULL;
}

// ---- words -------------------------------------------------------------------------------------------------------

// What p points to: a shared variable or a kernel's argument, and the byte in it.
static const char *global_name(const Run *r, const Allocation *a, const unsigned char *p, char out[128]) {
  const EmuKernel *k = run_kernel(r);
  const unsigned char *best = NULL;
  const char *name = NULL;
  for (int i = 0; i < k->nparams; i++) {
    const unsigned char *at;
    if (k->param[i].how == EMU_BY_VALUE) continue;
    memcpy(&at, r->launch->arg[i], sizeof at);
    if (memory_near(r->device, at) != a || at > p || (best && at <= best)) continue;
    best = at;
    name = k->param[i].name;
  }
  if (name) snprintf(out, 128, "`%s`, byte %td", name, p - best);
  else snprintf(out, 128, "byte %td of an allocation of %zu", p - a->base, a->bytes);
  return out;
}

static const char *shared_name(const Run *r, ptrdiff_t at, char out[128]) {
  if ((size_t)at >= r->static_bytes) {
    snprintf(out, 128, "dynamic shared memory, byte %zu", (size_t)at - r->static_bytes);
    return out;
  }
  const KernelMemory *m = r->memory;
  int v = m->owner[at];
  for (ptrdiff_t i = at; !v && i > 0;) v = m->owner[--i];       // of a gap: what lies before it
  if (v) snprintf(out, 128, "shared `%s`, byte %td", m->v[v - 1].name, at - (ptrdiff_t)m->v[v - 1].offset);
  else snprintf(out, 128, "shared memory, byte %td", at);
  return out;
}

typedef struct Look {                 // one access, while it is looked at
  Run *r; Thread *t;
  const unsigned char *p; size_t n; int flags;
  Access me;
  uint32_t floor;                     // accesses of earlier segments are ordered before it
  Block *owner; ptrdiff_t offset;     // shared memory: whose, where
  Allocation *a;                      // global memory
} Look;

static const char *memory_name(const Look *k, size_t i, char out[128]) {
  return k->a ? global_name(k->r, k->a, k->p + i, out) : shared_name(k->r, k->offset + (ptrdiff_t)i, out);
}

static const char *place(const Look *k, uint32_t pc, char out[140]) {
  char line[128];
  module_line(k->r->module, pc, line);
  snprintf(out, 140, *line ? "%s: " : "%s", line);
  return out;
}

static const char *verb(const Look *k) {
  return k->flags & EMU_WRITE ? (k->flags & READ_TOO ? "updates" : "writes") : "reads";
}

_Noreturn static void fail(const Look *k, EmuFaultKind kind, size_t byte, const char *why) {
  char where[140], who[96], what[128];
  run_fail(kind, "%s%s %s %s: %s", place(k, k->me.pc, where), thread_name(k->r, k->t, who), verb(k), memory_name(k, byte, what), why);
}

_Noreturn static void fail_race(const Look *k, size_t byte, const Access *other, const char *did) {
  char where[140], there[140], who[96], what[128], whom[96];
  const Segment *s = segment(k->r, other->segment);
  place(k, other->pc, there);
  there[strcspn(there, " ")] = 0;
  if (*there) there[strlen(there) - 1] = 0;
  run_fail(EMU_RACE, "%s%s %s %s, which %s %s%s%s; nothing orders the two", place(k, k->me.pc, where), thread_name(k->r, k->t, who), verb(k),
           memory_name(k, byte, what), index_name(k->r, s->block, other->thread, whom), did, *there ? " in " : "", there);
}

// ---- the order of two accesses -----------------------------------------------------------------------------------

// Whether `a`, an access by one thread, happened before what k->t does now.
static bool ordered(const Look *k, const Access *a) {
  if (a->segment < k->floor) return true;
  const Thread *t = k->t;
  const Block *b = t->block;
  const Segment *s = segment(k->r, a->segment);
  if (s->block != b->number)
    return known_covers(&b->known, s->block, s->epoch, a->thread) || known_covers(&t->known, s->block, s->epoch, a->thread);
  if (s->epoch < b->epoch || a->thread == t->id) return true;
  if (a->thread / EMU_WARP == t->id / EMU_WARP && a->stamp <= t->clock[a->thread % EMU_WARP]) return true;
  return known_covers(&t->known, s->block, s->epoch, a->thread);
}

// Whether all reads that s stands for happened before a write by k->t now.
static bool reads_ordered(const Look *k, const Shadow *s) {
  const Access *a = &s->read;
  if (a->segment < k->floor) return true;
  const Thread *t = k->t;
  if (segment(k->r, a->segment)->block != t->block->number) return ordered(k, a);
  if (segment(k->r, a->segment)->epoch < t->block->epoch) return true;
  if (a->flags & BY_SEVERAL || a->thread / EMU_WARP != t->id / EMU_WARP) return t->known.n && ordered(k, a);
  for (unsigned m = s->lanes & ~(1u << t->lane); m; m &= m - 1)
    if (a->stamp > t->clock[__builtin_ctz(m)]) return false;
  return true;
}

static void note_read(const Look *k, Shadow *s) {
  const Access *a = &s->read;
  bool current = a->segment >= k->floor, same = current && a->segment == k->me.segment;
  bool warp = same && a->thread / EMU_WARP == k->t->id / EMU_WARP;
  uint16_t flags = k->me.flags;
  if (same) flags |= a->flags & BY_SEVERAL;
  if (same && !warp) flags |= BY_SEVERAL;
  s->lanes = (warp ? s->lanes : 0) | 1u << k->t->lane;
  s->read = k->me;
  s->read.flags = flags;
}

static void look_at_byte(const Look *k, size_t i, Shadow *s) {
  bool atomic = k->me.flags & BY_ATOMIC, write = k->flags & EMU_WRITE;
  const Access *w = &s->write;
  if (w->flags & BY_COPY && w->segment >= k->floor) fail(k, EMU_RACE, i, "an asynchronous copy there has not been waited for");
  bool after = ordered(k, w), both_atomic = atomic && w->flags & BY_ATOMIC;
  if (!after && !both_atomic) fail_race(k, i, w, w->flags & BY_ATOMIC ? "updated" : "wrote");
  if (!write) {
    note_read(k, s);
    return;
  }
  if (!reads_ordered(k, s) && !(atomic && s->read.flags & BY_ATOMIC)) fail_race(k, i, &s->read, "read");
  s->write = k->me;
  s->read.segment = SEGMENT_NONE;
}

// ---- accesses ----------------------------------------------------------------------------------------------------

static void look_at_shared(Look *k) {
  const Run *r = k->r;
  const Block *o = k->owner;
  size_t at = (size_t)k->offset, end = at + k->n;
  bool inside = at < r->static_bytes ? end <= r->static_bytes && r->memory->owner[at] && r->memory->owner[end - 1] == r->memory->owner[at]
                                     : end - r->static_bytes <= r->dynamic_bytes;
  if (!inside && at < r->static_bytes) fail(k, EMU_BOUNDS, 0, "outside of every variable");
  if (!inside) fail(k, EMU_BOUNDS, 0, "more than the launch asked for");
  if (o->done == o->n) fail(k, EMU_RACE, 0, "that block has ended");
  k->floor = o->first_segment > r->first_segment ? o->first_segment : r->first_segment;
  bool reads = !(k->flags & EMU_WRITE) || k->flags & READ_TOO;
  for (size_t i = 0; i < k->n; i++) {
    Shadow *s = &k->owner->shadow[at + i];
    if (reads && s->write.segment < o->first_segment && k->p[i] == 0xff) fail(k, EMU_UNINITIALISED, i, "this block has written nothing there");
    look_at_byte(k, i, s);
  }
  if (k->flags & EMU_WRITE && !(k->me.flags & BY_COPY) && o == k->t->block) k->t->shared_dirty = true;
}

// A dependent launch may run while the launch before it does, until it waits.
static void look_at_overlap(const Look *k, size_t i, const Shadow *s) {
  uint32_t from = k->r->device->last_first, to = k->r->begin_segment;
  bool written = s->write.segment >= from && s->write.segment < to;
  bool read = k->flags & EMU_WRITE && s->read.segment >= from && s->read.segment < to;
  if (written || read) fail(k, EMU_RACE, i, "the launch before this one may still be at it, and has not been waited for");
}

static void look_at_global(Look *k) {
  Allocation *a = k->a;
  if (k->p < a->base || k->p + k->n > a->base + a->bytes) fail(k, EMU_BOUNDS, 0, "outside of its allocation");
  if (k->flags & EMU_WRITE && !a->writable) fail(k, EMU_BOUNDS, 0, "no argument points there but to read");
  Shadow *s = memory_shadow(a);
  if (!s) run_fail(EMU_HOST, "out of memory");
  s += k->p - a->base;
  bool reads = !(k->flags & EMU_WRITE) || k->flags & READ_TOO;
  k->floor = k->r->first_segment;
  for (size_t i = 0; i < k->n; i++, s++) {
    if (reads && s->write.segment == SEGMENT_NONE && k->p[i] == 0xff && !memory_initialised(a, k->p + i)) fail(k, EMU_UNINITIALISED, i, "nobody has written there");
    if (!k->t->waited) look_at_overlap(k, i, s);
    if (k->flags & EMU_READ_ONLY_PATH && s->write.segment >= k->r->begin_segment) fail(k, EMU_RACE, i, "__ldg must not read what the same launch writes");
    look_at_byte(k, i, s);
  }
  if (k->flags & EMU_WRITE) k->t->dirty = true;
}

static void look_elsewhere(const Look *k) {
  const EmuModule *m = k->r->module;
  char where[140], who[96];
  place(k, k->me.pc, where);
  thread_name(k->r, k->t, who);
  if (k->p >= m->low && k->p < m->high && !(k->flags & EMU_WRITE)) return;        // a constant table
  if (k->p >= m->low && k->p < m->high) run_fail(EMU_BOUNDS, "%s%s writes to a variable of the module, or to shared memory of another kernel", where, who);
  const FiberStacks *s = k->r->stacks;
  if (k->p >= s->base && k->p < s->base + s->n * s->stride) run_fail(EMU_BOUNDS, "%s%s %s a local variable of another thread", where, who, verb(k));
  run_fail(EMU_BOUNDS, "%s%s %s %zu bytes at %p, which is no memory of the device", where, who, verb(k), k->n, (const void *)k->p);
}

static void look(Run *r, const volatile void *p, size_t n, int flags, int by, void *pc) {
  Thread *t = r->now;
  Look k = {.r = r, .t = t, .p = (const unsigned char *)(uintptr_t)p, .n = n, .flags = flags};
  k.me = (Access){t->block->segment, t->clock[t->lane], (uint32_t)((unsigned char *)pc - r->module->low), (uint16_t)t->id, (uint16_t)by};
  if (!n) return;
  k.owner = t->block;
  k.offset = own_shared_offset(r, p);
  if (k.offset < 0 && !(k.a = memory_near(r->device, p))) k.offset = shared_offset(r, p, &k.owner);
  if (k.offset >= 0) look_at_shared(&k);
  else if (k.a) look_at_global(&k);
  else look_elsewhere(&k);
}

// A volatile access is to others what an atomic one is.
void api_access(const volatile void *p, unsigned long bytes, int flags, void *pc) {
  static const EmuSite spin = {"a volatile read", 0};
  Run *r = run_now();
  Thread *t = r->now;
  bool strong = flags & EMU_VOLATILE;
  if (!r->check) return;
  if (strong) run_spin(r, t, &spin, false);
  if (strong && !(flags & EMU_WRITE)) acquire(r, t, (uintptr_t)p);
  look(r, p, bytes, flags, strong ? BY_ATOMIC : 0, pc);
  if (strong && flags & EMU_WRITE) release(r, t, (uintptr_t)p);
}

void check_atomic(Thread *t, volatile void *p, int bytes, void *pc) {
  Run *r = run_now();
  if (!r->check) return;
  bool dirty = t->dirty;
  acquire(r, t, (uintptr_t)p);
  look(r, p, (size_t)bytes, EMU_WRITE | READ_TOO, BY_ATOMIC, pc);
  release(r, t, (uintptr_t)p);
  t->dirty = dirty;          // needs no fence
}

void check_copy_started(Thread *t, void *to, size_t n, void *pc) {
  Run *r = run_now();
  (void)t;
  if (r->check) look(r, to, n, EMU_WRITE, BY_COPY, pc);
}

// The write counts as that of the thread that started the copy: now, when that thread has waited, else as of then.
void check_copy_done(Thread *t, const Copy *c, bool now) {
  Run *r = run_now();
  Block *owner;
  if (!r->check) return;
  ptrdiff_t at = shared_offset(r, c->to, &owner);
  for (size_t i = 0; i < c->bytes; i++) {
    Access *w = &owner->shadow[at + (ptrdiff_t)i].write;
    w->flags &= (uint16_t)~BY_COPY;
    if (!now) continue;
    w->segment = t->block->segment;
    w->stamp = t->clock[t->lane];
  }
}

void check_written(Thread *t, const Copy *c) {
  Run *r = run_now();
  (void)t;
  if (r->check) look(r, c->to, c->bytes, EMU_WRITE, 0, c->pc);
}

void check_arrive(Thread *t, Known *k) {
  if (!run_now()->check) return;
  known_join(k, &t->known);
  known_add(k, (KnownBlock){t->block->number, t->block->epoch, t->id});
}

void check_wait(Thread *t, const Known *k) {
  if (run_now()->check) known_join(&t->known, k);
}

// A bulk store reads by another path than writes took.
void check_proxied(Thread *t, const EmuSite *s, const void *from, size_t n) {
  Run *r = run_now();
  Block *owner;
  char name[96];
  if (!r->check) return;
  ptrdiff_t at = shared_offset(r, from, &owner);
  for (size_t i = 0; i < n; i++) {
    const Access *w = &owner->shadow[at + (ptrdiff_t)i].write;
    if (w->segment < owner->first_segment) continue;          // nobody wrote it: the read is reported
    if (segment(r, w->segment)->epoch < t->block->proxied || (w->thread == t->id && !t->shared_dirty)) continue;
    run_fail(EMU_RACE, "line %d: %s stores shared memory that was written by %s without PLAIT_PROXY_FENCE and a barrier", s->line, s->what,
             index_name(r, owner->number, w->thread, name));
  }
}

// Note [What a block knows]
//
// Known lists, for other blocks, up to which of their barriers their accesses are ordered before ours. A thread learns by an
// atomic operation or volatile read of a location what was given to it there (acquire), and its block learns what it
// knows at the next barrier. A location gets what the block knows (release) and, of the block's own accesses, those before
// its last barrier, if the releasing thread has fenced since, or if every thread that wrote before the barrier has fenced
// between its last write and the barrier. Without fences nothing is given: then the other block may still see old
// values, and its read is reported.
//
// Formally the second thread needs a fence too. NVIDIA's own sample of this pattern (threadFenceReduction) has none, so none is
// asked for. Reads by several blocks are kept as the last of them; a write that only another one of them forbids is missed.
