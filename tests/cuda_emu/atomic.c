// atomic.c: atomic operations on integers, and fences.
#include "run.h"
#include <string.h>



// The value as a signed number of its width.
static int64_t extend(uint64_t v, int bytes) { return bytes == 8 ? (int64_t)v : bytes == 4 ? (int32_t)v : (int16_t)v; }

static uint64_t next_value(EmuAtomic how, uint64_t old, uint64_t v, uint64_t compare, int bytes) {
  bool less = extend(v, bytes) < extend(old, bytes), uless = v < old;
  switch (how) {
  case EMU_ATOMIC_ADD: return old + v;
  case EMU_ATOMIC_MIN: return less ? v : old;
  case EMU_ATOMIC_MAX: return less ? old : v;
  case EMU_ATOMIC_UMIN: return uless ? v : old;
  case EMU_ATOMIC_UMAX: return uless ? old : v;
  case EMU_ATOMIC_AND: return old & v;
  case EMU_ATOMIC_OR: return old | v;
  case EMU_ATOMIC_XOR: return old ^ v;
  case EMU_ATOMIC_EXCH: return v;
  case EMU_ATOMIC_CAS: return old == compare ? v : old;
  case EMU_ATOMIC_INC: return old >= v ? 0 : old + 1;
  case EMU_ATOMIC_DEC: return old == 0 || old > v ? v : old - 1;
  }
  return old;
}

static uint64_t mask_of(int bytes) { return bytes == 8 ? ~UINT64_C(0) : (UINT64_C(1) << 8 * bytes) - 1; }

// Other host threads may be at the same place.
#define EXCHANGE(T) \
  static uint64_t exchange_##T(volatile T *p, EmuAtomic how, uint64_t v, uint64_t compare) { \
    T old = __atomic_load_n(p, __ATOMIC_SEQ_CST); \
    while (!__atomic_compare_exchange_n(p, &old, (T)next_value(how, old, v, compare, sizeof old), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {} \
    return old; \
  }
EXCHANGE(uint16_t)
EXCHANGE(uint32_t)
EXCHANGE(uint64_t)

unsigned long long api_atomic(const EmuSite *s, EmuAtomic how, volatile void *p, int bytes, unsigned long long v, unsigned long long compare, void *pc) {
  Run *r = run_now();
  Thread *t = r->now;
  char name[96];
  v &= mask_of(bytes);
  compare &= mask_of(bytes);
  if ((uintptr_t)p % (uintptr_t)bytes) run_fail(EMU_MISALIGNED, "line %d: %s of %s at an address that is no multiple of %d", s->line, s->what, thread_name(r, t, name), bytes);
  run_spin(r, t, s, r->order.threads == EMU_RANDOM && run_random(r) % 4 == 0);
  check_atomic(t, p, bytes, pc);
  if (bytes == 2) return exchange_uint16_t(p, how, v, compare);
  return bytes == 4 ? exchange_uint32_t(p, how, v, compare) : exchange_uint64_t(p, how, v, compare);
}

void api_fence(EmuScope scope) {
  Thread *t = run_now()->now;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (scope != EMU_SCOPE_DEVICE) return;
  t->fenced = t->block->epoch + 1;
  t->dirty = false;
}
