// run.c: the threads of a launch, one at a time, in a chosen order.
//
// A thread runs until it has to wait for others (meet.c, cluster.c) or has ended. Blocks that wait for each other, those of a
// cluster or all of a cooperative launch, are resident together; others run one after another. Static shared memory
// is at one address for all blocks, so it is put in place for the block that runs.
#include "run.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Thread_local Run *running;
Run *run_now(void) { return running; }

uint64_t run_random(Run *r) {
  r->rng ^= r->rng >> 12;
  r->rng ^= r->rng << 25;
  r->rng ^= r->rng >> 27;
  return r->rng * 0x2545f4914f6cdd1du;
}

// ---- names -------------------------------------------------------------------------------------------------------

static const char *dim_name(EmuDim size, uint32_t i, char out[40]) {
  if (size.y == 1 && size.z == 1) snprintf(out, 40, "%u", i);
  else snprintf(out, 40, "(%u, %u, %u)", i % size.x, i / size.x % size.y, i / size.x / size.y);
  return out;
}

const char *index_name(const Run *r, uint32_t block, int thread, char out[96]) {
  char t[40], b[40];
  dim_name(r->launch->block, (uint32_t)thread, t);
  dim_name(r->launch->grid, block, b);
  bool alone = r->launch->grid.x == 1 && r->launch->grid.y == 1 && r->launch->grid.z == 1;
  snprintf(out, 96, alone ? "thread %s" : "thread %s of block %s", t, b);
  return out;
}

const char *thread_name(const Run *r, const Thread *t, char out[96]) { return index_name(r, t->block->number, t->id, out); }

const char *thread_place(const Thread *t, char out[128]) {
  if (t->state == T_DONE) snprintf(out, 128, "has left the kernel");
  else if (!t->site) snprintf(out, 128, "is elsewhere");
  else snprintf(out, 128, "waits at %s in line %d", t->site->what, t->site->line);
  return out;
}

// ---- waiting and failing -----------------------------------------------------------------------------------------

_Noreturn void run_fail(EmuFaultKind kind, const char *fmt, ...) {
  Run *r = running;
  if (r->fault.kind == EMU_FINE) {
    va_list ap;
    va_start(ap, fmt);
    r->fault.kind = kind;
    vsnprintf(r->fault.text, sizeof r->fault.text, fmt, ap);
    va_end(ap);
  }
  fiber_leave(&r->host, &r->now->fiber);
}

void thread_ready(Thread *t) {
  t->state = T_READY;
  t->block->ready[t->id / 64] |= UINT64_C(1) << t->id % 64;
}

void run_mark(Run *r, Thread *t, ThreadState state, const EmuSite *site) {
  t->state = state;
  t->site = site;
  if (state == T_SPIN) return;
  r->progress = true;
  t->spins = 0;
}

void run_yield(Run *r, Thread *t) { fiber_yield(&r->host, &t->fiber); }

// Threads that wait for something in memory look again and again. After so many looks others get a turn.
enum { SPINS = 256, ROUNDS = 200 };

void run_spin(Run *r, Thread *t, const EmuSite *site, bool at_once) {
  if (!at_once && ++t->spins < SPINS) return;
  t->spins = 0;
  run_mark(r, t, T_SPIN, site);
  run_yield(r, t);
}

static void api_pause(const EmuSite *s) {
  Run *r = run_now();
  run_spin(r, r->now, s, true);
}

static void api_stop(const EmuSite *s, const char *why) {
  char name[96];
  Run *r = run_now();
  run_fail(EMU_STOPPED, "line %d: %s: %s (%s)", s->line, s->what, why, thread_name(r, r->now, name));
}

static void api_undefined(const char *what, int line, void *pc) {
  char name[96];
  Run *r = run_now();
  (void)pc;
  thread_name(r, r->now, name);
  if (strcmp(what, "misaligned") == 0) run_fail(EMU_MISALIGNED, "line %d: %s accesses an address that its type's alignment does not divide", line, name);
  run_fail(EMU_UNDEFINED, "line %d: %s: %s", line, what, name);
}

static void *api_dynamic_shared(void) { return run_now()->now->block->dynamic; }

const EmuApi emu_api = {
  .access = api_access, .undefined = api_undefined, .barrier = api_barrier, .syncwarp = api_syncwarp,
  .shuffle = api_shuffle,
  .vote = api_vote, .fold = api_fold, .activemask = api_activemask, .atomic = api_atomic, .fence = api_fence,
  .call_from = api_call_from, .call_enter = api_call_enter, .call_leave = api_call_leave, .pause = api_pause,
  .stop = api_stop,
  .dynamic_shared = api_dynamic_shared, .cluster_rank = api_cluster_rank,
  .cluster_size = api_cluster_size,
  .cluster_sync = api_cluster_sync, .cluster_map = api_cluster_map, .grid_sync = api_grid_sync,
  .dependency_wait = api_dependency_wait,
  .mbarrier_init = api_mbarrier_init, .mbarrier_arrive = api_mbarrier_arrive,
  .mbarrier_wait = api_mbarrier_wait, .bulk_load = api_bulk_load,
  .bulk_store = api_bulk_store, .bulk_commit = api_bulk_commit,
  .bulk_wait = api_bulk_wait, .proxy_fence = api_proxy_fence, .copy_async = api_copy_async, .copy_commit = api_copy_commit,
  .copy_wait = api_copy_wait, .any_order = api_any_order,
};

// ---- shared memory -----------------------------------------------------------------------------------------------

// What lies between and behind a block's variables must still be as it was filled.
static bool gaps_sound(const Run *r, const Block *b) {
  const unsigned char *at = (const unsigned char *)run_kernel(r)->shared;
  for (size_t i = 0; i < r->static_bytes; i++)
    if (!r->memory->owner[i] && at[i] != 0xff) return false;
  for (size_t i = r->dynamic_bytes; i < r->dynamic_room; i++)
    if (b->dynamic[i] != 0xff) return false;
  return true;
}

static void fill_shared(Run *r, Block *b) {
  if (r->static_bytes) memset(b->saved ? b->saved : (unsigned char *)run_kernel(r)->shared, 0xff, r->static_bytes);
  if (r->dynamic_room) memset(b->dynamic, 0xff, r->dynamic_room);
}

// Puts b's shared memory in place.
static void enter(Run *r, Block *b) {
  if (r->inside == b) return;
  char *place = run_kernel(r)->shared;
  if (r->static_bytes && r->inside && r->inside->saved) memcpy(r->inside->saved, place, r->static_bytes);
  if (r->static_bytes && b->saved) memcpy(place, b->saved, r->static_bytes);
  r->inside = b;
}

ptrdiff_t own_shared_offset(const Run *r, const volatile void *p) {
  uintptr_t at = (uintptr_t)p;
  const Block *b = r->now->block;
  if (at - (uintptr_t)b->dynamic < r->dynamic_room) return (ptrdiff_t)(r->static_bytes + (at - (uintptr_t)b->dynamic));
  if (at - (uintptr_t)run_kernel(r)->shared < r->static_bytes) return (ptrdiff_t)(at - (uintptr_t)run_kernel(r)->shared);
  return -1;
}

ptrdiff_t shared_offset(Run *r, const volatile void *p, Block **owner) {
  uintptr_t at = (uintptr_t)p;
  Block *b = *owner = r->now->block;
  ptrdiff_t own = own_shared_offset(r, p);
  if (own >= 0) return own;
  for (int i = 0; r->nblocks > 1 && i < r->nblocks; i++) {
    *owner = b = &r->block[i];
    if (at - (uintptr_t)b->dynamic < r->dynamic_room) return (ptrdiff_t)(r->static_bytes + (at - (uintptr_t)b->dynamic));
    if (at - (uintptr_t)b->saved < r->static_bytes) return (ptrdiff_t)(at - (uintptr_t)b->saved);
  }
  return -1;
}

// ---- threads -----------------------------------------------------------------------------------------------------

static void thread_main(void *arg) {
  Thread *t = arg;
  Run *r = running;
  fiber_entered(&r->host);
  run_kernel(r)->call(r->launch->arg);
  api_copy_commit();
  api_copy_wait(NULL, 0);
  api_bulk_commit();
  api_bulk_wait(NULL, 0);
  t->state = T_DONE;
  t->block->done++;
  r->progress = true;
  warp_left(r, t);
  barrier_left(r, t->block);
  fiber_leave(&r->host, &t->fiber);
}

static EmuDim dim_at(EmuDim size, uint32_t i) { return (EmuDim){i % size.x, i / size.x % size.y, i / size.x / size.y}; }

static void start_thread(Run *r, Block *b, int i, size_t stack) {
  Thread *t = &b->thread[i];
  Copy *copy = t->copy, *store = t->store;
  int room = t->copy_room, store_room = t->store_room;
  Known known = {t->known.v, 0, t->known.room};
  *t = (Thread){.block = b, .id = i, .lane = i % EMU_WARP, .copy = copy, .copy_room = room, .store = store, .store_room = store_room, .known = known, .waited = !r->launch->dependent};
  t->self = (EmuSelf){.thread = dim_at(r->launch->block, (uint32_t)i), .block = dim_at(r->launch->grid, b->number),
                      .block_dim = r->launch->block, .grid_dim = r->launch->grid, .own_bytes = ~0ul};
  t->clock[t->lane] = 1;
  unsigned char *low = fiber_stack(r->stacks, stack);
  if (r->check) t->self.own_low = (unsigned long)low, t->self.own_bytes = FIBER_STACK;
  fiber_start(&t->fiber, low, thread_main, t);
  thread_ready(t);
}

static void start_block(Run *r, Block *b, uint32_t number, size_t first_stack) {
  b->number = number;
  b->done = b->arrived = b->cluster_arrived = 0;
  b->started = false;
  mbarrier_free(b);
  for (int w = 0; w * EMU_WARP < b->n; w++) {
    int lanes = b->n - w * EMU_WARP;
    b->warp[w] = (Warp){.alive = lanes >= EMU_WARP ? ~0u : (1u << lanes) - 1};
  }
  fill_shared(r, b);
  check_block_start(r, b);
  for (int i = 0; i < b->n; i++) start_thread(r, b, i, first_stack + (size_t)i);
}

// ---- the order ---------------------------------------------------------------------------------------------------

static int count_ready(const Block *b) {
  int n = 0;
  for (int w = 0; w * 64 < b->n; w++) n += __builtin_popcountll(b->ready[w]);
  return n;
}

static int nth_ready(const Block *b, int k) {
  for (int w = 0; w * 64 < b->n; w++) {
    int n = __builtin_popcountll(b->ready[w]);
    if (k >= n) {
      k -= n;
      continue;
    }
    uint64_t bits = b->ready[w];
    while (k--) bits &= bits - 1;
    return w * 64 + __builtin_ctzll(bits);
  }
  return -1;
}

static int last_ready(const Block *b) {
  for (int w = (b->n - 1) / 64; w >= 0; w--)
    if (b->ready[w]) return w * 64 + 63 - __builtin_clzll(b->ready[w]);
  return -1;
}

static Thread *pick_thread(Run *r, Block *b) {
  int i;
  if (r->order.threads == EMU_FORWARD) i = nth_ready(b, 0);
  else if (r->order.threads == EMU_REVERSED) i = last_ready(b);
  else {
    int n = count_ready(b);
    i = n ? nth_ready(b, (int)(run_random(r) % (uint64_t)n)) : -1;
  }
  if (i < 0) return NULL;
  b->ready[i / 64] &= ~(UINT64_C(1) << i % 64);
  return &b->thread[i];
}

// A resident block that can run, in the order of blocks; NULL: none can.
static Block *pick_block(Run *r) {
  int n = r->nblocks, from = r->order.blocks == EMU_RANDOM ? (int)(run_random(r) % (uint64_t)n) : 0;
  for (int i = 0; i < n; i++) {
    int at = r->order.blocks == EMU_REVERSED ? n - 1 - i : (from + i) % n;
    if (count_ready(&r->block[at])) return &r->block[at];
  }
  return NULL;
}

static void resume(Run *r, Thread *t) {
  r->now = t;
  r->module->image->self = &t->self;
  fiber_run(&r->host, &t->fiber);
  r->now = NULL;
  char name[96];
  if (!fiber_is_sound(&t->fiber))
    emu_fault(&r->fault, EMU_STACK, "%s needs more than its stack of %d bytes", thread_name(r, t, name), FIBER_STACK);
}

// In random order other blocks may come in between.
static void run_block(Run *r, Block *b) {
  enter(r, b);
  b->started = true;
  for (Thread *t; r->fault.kind == EMU_FINE && (t = pick_thread(r, b));) {
    resume(r, t);
    if (r->order.blocks == EMU_RANDOM && r->nblocks > 1 && run_random(r) % 16 == 0) return;
  }
}

// Lets threads that wait for memory look again; false when there are none.
static bool wake_spinners(Run *r) {
  Thread *any = NULL;
  for (int i = 0; i < r->nblocks; i++)
    for (int k = 0; k < r->block[i].n; k++)
      if (r->block[i].thread[k].state == T_SPIN) thread_ready(any = &r->block[i].thread[k]);
  r->rounds = r->progress ? 0 : r->rounds + 1;
  r->progress = false;
  char name[96];
  if (any && r->rounds > ROUNDS)
    return emu_fault(&r->fault, EMU_STUCK, "%s waits for something in memory that no running thread brings: %s in line %d", thread_name(r, any, name),
                     any->site ? any->site->what : "a volatile read", any->site ? any->site->line : 0);
  return any != NULL;
}

static bool all_done(const Run *r) {
  for (int i = 0; i < r->nblocks; i++)
    if (r->block[i].done < r->block[i].n) return false;
  return true;
}

static void finish_block(Run *r, Block *b) {
  enter(r, b);
  for (int i = 0; i < b->nmbarriers; i++)
    if (b->mbarrier[i].ncopies) emu_fault(&r->fault, EMU_RACE, "block %u ends while bulk copies to its shared memory are under way", b->number);
  if (!gaps_sound(r, b)) emu_fault(&r->fault, EMU_BOUNDS, "shared memory beside or behind a block's variables was written");
}

// Blocks numbers[0..r->nblocks) together.
static void run_resident(Run *r, const uint32_t *number) {
  r->inside = NULL;
  r->progress = true;
  r->grid_arrived = 0;
  for (int i = 0; i < r->nblocks; i++) start_block(r, &r->block[i], number[i], (size_t)i * (size_t)r->block[i].n);
  while (r->fault.kind == EMU_FINE) {
    Block *b = pick_block(r);
    if (b) run_block(r, b);
    else if (!wake_spinners(r)) break;
  }
  if (r->fault.kind == EMU_FINE && !all_done(r)) run_stuck(r);
  for (int i = 0; r->fault.kind == EMU_FINE && i < r->nblocks; i++) finish_block(r, &r->block[i]);
}

// ---- making and freeing ------------------------------------------------------------------------------------------

// Ends where an inaccessible page begins.
static unsigned char *map_dynamic(size_t room, size_t *mapped) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (room + page - 1) / page * page;
  *mapped = inner + page;
  unsigned char *p = mmap(NULL, *mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return NULL;
  mprotect(p + inner, page, PROT_NONE);
  return p + inner - room;
}

static void unmap_dynamic(unsigned char *p, size_t room) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (room + page - 1) / page * page;
  if (p) munmap(p + room - inner, inner + page);
}

static bool make_block(Run *r, Block *b) {
  const EmuLaunch *l = r->launch;
  size_t mapped;
  b->n = (int)(l->block.x * l->block.y * l->block.z);
  b->thread = calloc((size_t)b->n, sizeof *b->thread);
  if (r->nblocks > 1 && r->static_bytes) b->saved = malloc(r->static_bytes);
  if (r->check) b->shadow = calloc(r->static_bytes + r->dynamic_room + 1, sizeof *b->shadow);
  b->dynamic = map_dynamic(r->dynamic_room, &mapped);
  return b->thread && b->dynamic && (r->nblocks == 1 || !r->static_bytes || b->saved) && (!r->check || b->shadow);
}

static void free_block(const Run *r, Block *b) {
  for (int i = 0; b->thread && i < b->n; i++) {
    free(b->thread[i].copy);
    free(b->thread[i].store);
    free(b->thread[i].known.v);
  }
  free(b->thread);
  free(b->saved);
  free(b->shadow);
  free(b->known.v);
  mbarrier_free(b);
  unmap_dynamic(b->dynamic, r->dynamic_room);
}

bool run_make(Run *r, int resident) {
  r->nblocks = resident;
  r->block = calloc((size_t)resident, sizeof *r->block);
  bool good = r->block != NULL;
  for (int i = 0; good && i < resident; i++) good = make_block(r, &r->block[i]);
  size_t threads = good ? (size_t)resident * (size_t)r->block[0].n : 0;
  if (good && r->stacks->n < threads) {
    fiber_stacks_free(r->stacks);
    good = fiber_stacks_make(r->stacks, threads);
  }
  return good || emu_fault(&r->fault, EMU_HOST, "out of memory for %d resident blocks", resident);
}

void run_free(Run *r) {
  for (int i = 0; r->block && i < r->nblocks; i++) free_block(r, &r->block[i]);
  free(r->block);
  check_free(r);
}

void run_blocks(Run *r, const uint32_t *number) {
  Run *before = running;
  running = r;
  run_resident(r, number);
  running = before;
}
