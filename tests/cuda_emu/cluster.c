// cluster.c: what blocks do together: clusters, the whole grid, launches that overlap; and asynchronous copies.
#include "run.h"
#include <stdlib.h>
#include <string.h>

// ---- clusters ----------------------------------------------------------------------------------------------------

static int cluster_blocks(const Run *r) { return r->launch->cluster > 1 ? (int)r->launch->cluster : 1; }

// The first block of t's cluster; clusters lie side by side in Run.block.
static Block *cluster_of(const Run *r, const Thread *t) {
  ptrdiff_t i = t->block - r->block, n = cluster_blocks(r);
  return &r->block[i / n * n];
}

unsigned api_cluster_rank(void) {
  Run *r = run_now();
  return (unsigned)(r->now->block - cluster_of(r, r->now));
}

unsigned api_cluster_size(void) { return (unsigned)cluster_blocks(run_now()); }

static void release(Block *b, int n) {
  for (int i = 0; i < n; i++)
    for (int k = 0; k < b[i].n; k++) thread_ready(&b[i].thread[k]);
}

void api_cluster_sync(const EmuSite *s) {
  Run *r = run_now();
  Thread *t = r->now;
  Block *first = cluster_of(r, t);
  run_mark(r, t, T_CLUSTER, s);
  if (++first->cluster_arrived == cluster_blocks(r) * first->n) {
    first->cluster_arrived = 0;
    check_cluster(r, first, cluster_blocks(r));
    release(first, cluster_blocks(r));
  }
  run_yield(r, t);
}

void *api_cluster_map(const EmuSite *s, const volatile void *p, unsigned rank) {
  Run *r = run_now();
  Thread *t = r->now;
  char name[96];
  Block *owner, *to = cluster_of(r, t) + rank;
  ptrdiff_t at = shared_offset(r, p, &owner);
  thread_name(r, t, name);
  if (at < 0 || owner != t->block) run_fail(EMU_BOUNDS, "line %d: %s maps an address that is not in its own shared memory", s->line, name);
  if (rank >= (unsigned)cluster_blocks(r)) run_fail(EMU_BOUNDS, "line %d: %s asks for block %u of a cluster of %d", s->line, name, rank, cluster_blocks(r));
  if (to != t->block && !to->started) run_fail(EMU_RACE, "line %d: %s maps shared memory of a block that may not have begun: a cluster barrier must come first", s->line, name);
  if (to->done == to->n) run_fail(EMU_RACE, "line %d: %s maps shared memory of a block that has ended", s->line, name);
  if ((size_t)at >= r->static_bytes) return to->dynamic + ((size_t)at - r->static_bytes);
  return to == t->block ? (void *)(uintptr_t)p : to->saved + at;
}

// ---- the grid ----------------------------------------------------------------------------------------------------

void api_grid_sync(const EmuSite *s) {
  Run *r = run_now();
  Thread *t = r->now;
  if (!r->launch->cooperative) run_fail(EMU_BAD_BARRIER, "line %d: a barrier of the grid in a launch that is not cooperative", s->line);
  run_mark(r, t, T_GRID, s);
  if (++r->grid_arrived == r->nblocks * t->block->n) {
    r->grid_arrived = 0;
    check_grid(r);
    release(r->block, r->nblocks);
  }
  run_yield(r, t);
}

void api_dependency_wait(void) { run_now()->now->waited = run_now()->waited = true; }

// ---- asynchronous copies -----------------------------------------------------------------------------------------
//
// In forward order a copy is made when it is waited for, in other orders when it is started: a text that changes the source
// too early, or reads the target too early, gets something else. Until it is waited for the target holds 0xff.

bool copies_are_late(const Run *r) { return r->order.threads == EMU_FORWARD; }

bool push_copy(Copy **v, int *n, int *room, Copy c) {
  if (*n == *room) {
    int more = *room ? 2 * *room : 8;
    Copy *grown = realloc(*v, (size_t)more * sizeof **v);
    if (!grown) return false;
    *v = grown;
    *room = more;
  }
  (*v)[(*n)++] = c;
  return true;
}

void api_copy_async(const EmuSite *s, void *to, const void *from, unsigned long bytes, void *pc) {
  Run *r = run_now();
  Thread *t = r->now;
  Block *owner;
  char name[96];
  thread_name(r, t, name);
  if (bytes != 4 && bytes != 8 && bytes != 16) run_fail(EMU_MISALIGNED, "line %d: an asynchronous copy of %lu bytes: there are those of 4, 8 and 16", s->line, bytes);
  if ((uintptr_t)to % bytes || (uintptr_t)from % bytes) run_fail(EMU_MISALIGNED, "line %d: %s copies %lu bytes between addresses that are not aligned to that", s->line, name, bytes);
  if (shared_offset(r, to, &owner) < 0 || owner != t->block) run_fail(EMU_BOUNDS, "line %d: %s copies to what is not its shared memory", s->line, name);
  if (!memory_find(r->device, from)) run_fail(EMU_BOUNDS, "line %d: %s copies from what is not global memory", s->line, name);
  if (r->check) api_access(from, bytes, EMU_READ, pc);
  check_copy_started(t, to, bytes, pc);
  if (copies_are_late(r)) memset(to, 0xff, bytes);
  else memcpy(to, from, bytes);
  if (!push_copy(&t->copy, &t->ncopies, &t->copy_room, (Copy){to, from, bytes, t->group, pc, t->id})) run_fail(EMU_HOST, "out of memory");
}

void api_copy_commit(void) { run_now()->now->group++; }

// Groups 0 .. group - 1 are closed; all but the last `pending` of them end here.
void api_copy_wait(const EmuSite *s, int pending) {
  Run *r = run_now();
  Thread *t = r->now;
  int kept = 0;
  (void)s;
  for (int i = 0; i < t->ncopies; i++) {
    Copy c = t->copy[i];
    if (c.group < t->group - pending) {
      if (copies_are_late(r)) memcpy(c.to, c.from, c.bytes);
      check_copy_done(t, &c, true);
    } else {
      t->copy[kept++] = c;
    }
  }
  t->ncopies = kept;
}
