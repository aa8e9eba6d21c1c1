// meet.c: where threads of a block or warp wait for each other: barriers, shuffles, votes, reductions.
//
// The one that comes last computes what all get. A meeting of which somebody is missing is found when no thread can run.
#include "run.h"
#include <stdio.h>
#include <string.h>

// ---- calls -------------------------------------------------------------------------------------------------------
//
// Where a thread is in the text is its site and the calls that led there.

void api_call_from(const EmuSite *s) {
  Thread *t = run_now()->now;
  if (t->ncalls < MAX_CALLS) t->call[t->ncalls++] = s;
}

unsigned long api_call_enter(void) {
  Thread *t = run_now()->now;
  unsigned long before = t->from;
  const EmuSite *s = t->ncalls ? t->call[--t->ncalls] : NULL;
  t->from = (before ^ (unsigned long)(uintptr_t)s) * 0x9e3779b97f4a7c15ul;
  t->call_line = s ? s->line : 0;
  return before;
}

void api_call_leave(unsigned long before) { run_now()->now->from = before; }

// ---- the block ---------------------------------------------------------------------------------------------------

static void same_site(Run *r, const Block *b) {
  for (int i = 1; i < b->n; i++) {
    const EmuSite *s = b->thread[0].site, *o = b->thread[i].site;
    if (s == o && b->thread[0].from == b->thread[i].from) continue;
    if (s == o) emu_fault(&r->fault, EMU_BAD_BARRIER, "%s in line %d is reached by calls from different places: thread 0 came from line %d, thread %d from line %d", s->what,
                          s->line, b->thread[0].call_line, i, b->thread[i].call_line);
    else emu_fault(&r->fault, EMU_BAD_BARRIER, "thread 0 is at the %s in line %d while thread %d is at the one in line %d", s->what, s->line, i, o->line);
    return;
  }
}

static int combine(const Block *b) {
  int count = 0;
  for (int i = 0; i < b->n; i++) count += b->thread[i].predicate;
  EmuMeet how = b->thread[0].meet;
  return how == EMU_MEET_AND ? count == b->n : how == EMU_MEET_OR ? count > 0 : count;
}

static void release_barrier(Run *r, Block *b) {
  same_site(r, b);
  int result = combine(b);
  b->arrived = 0;
  check_barrier(r, b);
  for (int i = 0; i < b->n; i++) {
    b->thread[i].meet_result = result;
    thread_ready(&b->thread[i]);
  }
}

int api_barrier(const EmuSite *s, EmuMeet how, int predicate) {
  Run *r = run_now();
  Thread *t = r->now;
  Block *b = t->block;
  t->meet = how;
  t->predicate = predicate;
  run_mark(r, t, T_BARRIER, s);
  b->arrived++;
  barrier_left(r, b);
  if (b->arrived == b->n) release_barrier(r, b);
  run_yield(r, t);
  return t->meet_result;
}

static const Thread *first_in(const Block *b, ThreadState state) {
  for (int i = 0; i < b->n; i++)
    if (b->thread[i].state == state) return &b->thread[i];
  return NULL;
}

// A thread that has left can reach no barrier, on which the others then wait for ever.
void barrier_left(Run *r, Block *b) {
  if (!b->arrived || !b->done || b->arrived + b->done < b->n) return;
  char left[96], place[128], name[96];
  const Thread *waits = first_in(b, T_BARRIER);
  emu_fault(&r->fault, EMU_BAD_BARRIER, "%s %s, but %s has left the kernel", thread_name(r, waits, name), thread_place(waits, place),
            thread_name(r, first_in(b, T_DONE), left));
}

// ---- the warp ----------------------------------------------------------------------------------------------------

static Warp *warp_of(const Thread *t) { return &t->block->warp[t->id / EMU_WARP]; }
static Thread *lane_of(const Thread *t, int lane) { return &t->block->thread[t->id / EMU_WARP * EMU_WARP + lane]; }

// The lanes in t's mask are all here: are they here for the same thing, and no other lane waits for one of them?
static bool agree(Run *r, const Thread *t, unsigned lanes) {
  char a[96], b[96];
  for (unsigned m = warp_of(t)->arrived; m; m &= m - 1) {
    const Thread *o = lane_of(t, __builtin_ctz(m));
    if (!(o->mask & lanes)) continue;
    if (o->mask != t->mask)
      return emu_fault(&r->fault, EMU_BAD_MASK, "%s meets lanes 0x%08x in line %d, but %s meets lanes 0x%08x in line %d", thread_name(r, t, a), t->mask,
                       t->site->line, thread_name(r, o, b), o->mask, o->site->line);
    if (o->site == t->site && o->from != t->from && t->op != W_SYNC)
      return emu_fault(&r->fault, EMU_BAD_MASK, "%s in line %d is reached by calls from different places: %s came from line %d, %s from line %d", t->site->what, t->site->line,
                       thread_name(r, t, a), t->call_line, thread_name(r, o, b), o->call_line);
    if (o->op != t->op || (o->site != t->site && t->op != W_SYNC))
      return emu_fault(&r->fault, EMU_BAD_MASK, "%s is at %s in line %d while %s is at %s in line %d", thread_name(r, t, a), t->site->what, t->site->line,
                       thread_name(r, o, b), o->site->what, o->site->line);
  }
  return true;
}

// The lane that a shuffle reads (PTX, shfl.sync); its own where that lies outside of the segment.
static int source_lane(const Thread *t) {
  int width = t->width, base = t->lane & ~(width - 1), in = t->lane & (width - 1), by = (int)(t->by & 31);
  switch ((EmuShuffle)t->how) {
  case EMU_SHFL_IDX: return base | (by & (width - 1));
  case EMU_SHFL_UP: return in - by >= 0 ? t->lane - by : t->lane;
  case EMU_SHFL_DOWN: return in + by < width ? t->lane + by : t->lane;
  default: return (t->lane ^ by) < base + width ? t->lane ^ by : t->lane;
  }
}

static void shuffle(Run *r, Thread *t, unsigned lanes) {
  int from = source_lane(t);
  char name[96];
  if (!(lanes >> from & 1)) {
    emu_fault(&r->fault, EMU_BAD_MASK, "line %d: %s of %s reads lane %d, which %s", t->site->line, t->site->what, thread_name(r, t, name), from,
              t->mask >> from & 1 ? "has left the kernel" : "is not in the mask");
    return;
  }
  t->result = lane_of(t, from)->value;
}

static unsigned equal_lanes(const Thread *t, unsigned lanes) {
  unsigned equal = 0;
  for (unsigned m = lanes; m; m &= m - 1)
    if (lane_of(t, __builtin_ctz(m))->value == t->value) equal |= m & -m;
  return equal;
}

static void vote(Thread *t, unsigned lanes) {
  unsigned set = 0, equal = equal_lanes(t, lanes);
  for (unsigned m = lanes; m; m &= m - 1)
    if (lane_of(t, __builtin_ctz(m))->value) set |= m & -m;
  t->all = equal == lanes;
  switch ((EmuVote)t->how) {
  case EMU_BALLOT: t->result = set; return;
  case EMU_ANY: t->result = set != 0; return;
  case EMU_ALL: t->result = set == lanes; return;
  case EMU_MATCH_ANY: t->result = equal; return;
  case EMU_MATCH_ALL: t->result = t->all ? lanes : 0; return;
  }
}

static unsigned fold_two(EmuFold how, unsigned a, unsigned b) {
  switch (how) {
  case EMU_FOLD_ADD: return a + b;
  case EMU_FOLD_MIN: return (int)a < (int)b ? a : b;
  case EMU_FOLD_MAX: return (int)a > (int)b ? a : b;
  case EMU_FOLD_UMIN: return a < b ? a : b;
  case EMU_FOLD_UMAX: return a > b ? a : b;
  case EMU_FOLD_AND: return a & b;
  case EMU_FOLD_OR: return a | b;
  case EMU_FOLD_XOR: return a ^ b;
  }
  return 0;
}

static void fold(Thread *t, unsigned lanes) {
  unsigned v = (unsigned)lane_of(t, __builtin_ctz(lanes))->value;
  for (unsigned m = lanes & (lanes - 1); m; m &= m - 1) v = fold_two((EmuFold)t->how, v, (unsigned)lane_of(t, __builtin_ctz(m))->value);
  t->result = v;
}

static void compute(Run *r, Thread *t, unsigned lanes) {
  switch (t->op) {
  case W_SYNC: return;
  case W_SHUFFLE: shuffle(r, t, lanes); return;
  case W_VOTE: vote(t, lanes); return;
  case W_FOLD: fold(t, lanes); return;
  }
}

// Ends t's meeting if all lanes in its mask that have not left are here.
static void complete(Run *r, Thread *t) {
  Warp *w = warp_of(t);
  unsigned lanes = t->mask & w->alive;
  if ((lanes & ~w->arrived) || !agree(r, t, lanes)) return;
  Thread *here[EMU_WARP] = {t};
  int n = 0;
  for (unsigned m = lanes; m; m &= m - 1) here[n++] = lane_of(t, __builtin_ctz(m));
  for (int i = 0; i < n; i++) compute(r, here[i], lanes);
  if (t->op == W_SYNC) check_syncwarp(here, n);
  w->arrived &= ~lanes;
  for (int i = 0; i < n; i++) thread_ready(here[i]);
}

void warp_left(Run *r, Thread *t) {
  Warp *w = warp_of(t);
  w->alive &= ~(1u << t->lane);
  for (unsigned m = w->arrived; m; m &= m - 1)
    if (w->arrived & m & -m) complete(r, lane_of(t, __builtin_ctz(m)));
}

static void meet(Run *r, Thread *t, WarpOp op, const EmuSite *s, unsigned mask) {
  char name[96];
  if (!(mask >> t->lane & 1)) run_fail(EMU_BAD_MASK, "line %d: %s of %s has a mask, 0x%08x, without its own lane", s->line, s->what, thread_name(r, t, name), mask);
  t->op = op;
  t->mask = mask;
  run_mark(r, t, T_WARP, s);
  warp_of(t)->arrived |= 1u << t->lane;
  complete(r, t);
  run_yield(r, t);
}

void api_syncwarp(const EmuSite *s, unsigned mask) {
  Run *r = run_now();
  meet(r, r->now, W_SYNC, s, mask);
}

unsigned long long api_shuffle(const EmuSite *s, EmuShuffle how, unsigned mask, unsigned long long v, unsigned by, int width) {
  Run *r = run_now();
  Thread *t = r->now;
  if (width < 1 || width > EMU_WARP || (width & (width - 1))) run_fail(EMU_BAD_MASK, "line %d: %s with a width of %d, which is no power of two up to 32", s->line, s->what, width);
  t->how = (int)how;
  t->value = v;
  t->by = by;
  t->width = width;
  meet(r, t, W_SHUFFLE, s, mask);
  return t->result;
}

unsigned api_vote(const EmuSite *s, EmuVote how, unsigned mask, unsigned long long v, int *all) {
  Run *r = run_now();
  Thread *t = r->now;
  t->how = (int)how;
  t->value = v;
  meet(r, t, W_VOTE, s, mask);
  if (all) *all = t->all;
  return (unsigned)t->result;
}

unsigned api_fold(const EmuSite *s, EmuFold how, unsigned mask, unsigned v) {
  Run *r = run_now();
  Thread *t = r->now;
  t->how = (int)how;
  t->value = v;
  meet(r, t, W_FOLD, s, mask);
  return (unsigned)t->result;
}

// Which lanes happen to run together is nobody's business: all that are left in one order, the own alone in another.
unsigned api_activemask(void) {
  Run *r = run_now();
  return r->order.threads == EMU_FORWARD ? warp_of(r->now)->alive : 1u << r->now->lane;
}

// ---- when nobody can run -----------------------------------------------------------------------------------------

static const Thread *waiting(const Run *r, ThreadState state) {
  for (int i = 0; i < r->nblocks; i++) {
    const Thread *t = first_in(&r->block[i], state);
    if (t) return t;
  }
  return NULL;
}

// A lane that t waits for and that is elsewhere.
static const Thread *missing_lane(const Thread *t) {
  unsigned m = t->mask & warp_of(t)->alive & ~warp_of(t)->arrived;
  return m ? lane_of(t, __builtin_ctz(m)) : NULL;
}

// A thread of the block, or else of another, that is not where t waits.
static const Thread *absent(const Run *r, const Thread *t) {
  for (int i = 0; i < t->block->n; i++)
    if (t->block->thread[i].state != t->state) return &t->block->thread[i];
  for (int i = 0; i < r->nblocks; i++)
    for (int k = 0; k < r->block[i].n; k++)
      if (r->block[i].thread[k].state != t->state) return &r->block[i].thread[k];
  return NULL;
}

void run_stuck(Run *r) {
  static const ThreadState states[] = {T_WARP, T_BARRIER, T_CLUSTER, T_GRID};
  char name[96], place[128], other[96], where[128];
  for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
    const Thread *t = waiting(r, states[i]);
    const Thread *o = t && states[i] == T_WARP ? missing_lane(t) : t ? absent(r, t) : NULL;
    if (!t || !o) continue;
    EmuFaultKind kind = states[i] == T_WARP ? EMU_BAD_MASK : EMU_BAD_BARRIER;
    emu_fault(&r->fault, kind, "%s %s for %s, which %s", thread_name(r, t, name), thread_place(t, place), thread_name(r, o, other), thread_place(o, where));
    return;
  }
  emu_fault(&r->fault, EMU_STUCK, "all threads wait");
}
