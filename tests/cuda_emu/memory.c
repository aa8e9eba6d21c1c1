// memory.c: the device's memory: host memory between inaccessible pages.
//
//   map: page of nothing | 0xa5 … | base: bytes | 0xa5 up to 255 | page of nothing
//
// Allocations end where the page of nothing begins, but for what 256-byte alignment costs; what is written there is
// found after the launch. Fresh memory is 0xff, which is NaN in every float type: a kernel that reads what nobody
// wrote gives a wrong result.
#include "state.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#define LOOKS_BESIDE __attribute__((no_sanitize("address")))
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define LOOKS_BESIDE
#endif

enum { ALIGNMENT = 256, BESIDE = 0xa5, FRESH = 0xff };

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }
static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

EmuDevice *emu_device_make(size_t memory, size_t shared_limit) {
  EmuDevice *d = calloc(1, sizeof *d);
  if (!d) return NULL;
  *d = (EmuDevice){.limit = memory, .shared_limit = shared_limit, .next_segment = SEGMENT_FIRST, .last_first = SEGMENT_FIRST};
  pthread_mutex_init(&d->lock, NULL);
  return d;
}

static void unmap(Allocation *a) {
  UNPOISON(a->map, a->map_bytes);
  munmap(a->map, a->map_bytes);
  if (a->shadow) munmap(a->shadow, a->bytes * sizeof(Shadow));
  free(a->written);
}

void emu_device_free(EmuDevice *d) {
  if (!d) return;
  for (int i = 0; i < d->n; i++) unmap(&d->v[i]);
  fiber_stacks_free(&d->stacks);
  free(d->v);
  free(d->any_order);
  pthread_mutex_destroy(&d->lock);
  free(d);
}

// ---- finding -----------------------------------------------------------------------------------------------------

// The last allocation whose map begins at p or before; -1: none.
static int last_before(const EmuDevice *d, const unsigned char *p) {
  int lo = 0, hi = d->n;
  while (lo < hi) {
    int mid = lo + (hi - lo) / 2;
    if (d->v[mid].map <= p) lo = mid + 1;
    else hi = mid;
  }
  return lo - 1;
}

Allocation *memory_near(const EmuDevice *d, const volatile void *p) {
  const unsigned char *at = (const unsigned char *)(uintptr_t)p;
  int i = last_before(d, at);
  return i >= 0 && at < d->v[i].map + d->v[i].map_bytes ? &d->v[i] : NULL;
}

Allocation *memory_find(const EmuDevice *d, const volatile void *p) {
  Allocation *a = memory_near(d, p);
  const unsigned char *at = (const unsigned char *)(uintptr_t)p;
  return a && at >= a->base && at < a->base + a->bytes ? a : NULL;
}

bool emu_in_memory(const EmuDevice *d, const void *p, size_t n) {
  const Allocation *a = memory_near(d, p);
  const unsigned char *at = p;
  return a && at >= a->base && at <= a->base + a->bytes && n <= (size_t)(a->base + a->bytes - at);
}

bool emu_allocation(const EmuDevice *d, const void *p, void **base, size_t *bytes) {
  const Allocation *a = emu_in_memory(d, p, 0) ? memory_near(d, p) : NULL;
  if (!a) return false;
  *base = a->base;
  *bytes = a->bytes;
  return true;
}

// ---- allocating --------------------------------------------------------------------------------------------------

size_t emu_memory_left(const EmuDevice *d) { return d->limit - d->used; }
size_t emu_memory_all(const EmuDevice *d) { return d->limit; }

static bool map_allocation(Allocation *a, size_t bytes, bool locked) {
  size_t room = round_up(bytes, ALIGNMENT), inner = round_up(room, page());
  *a = (Allocation){.bytes = bytes, .map_bytes = inner + 2 * page()};
  a->map = mmap(NULL, a->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (a->map == MAP_FAILED) return false;
  unsigned char *low = a->map + page();
  mprotect(low, inner, PROT_READ | PROT_WRITE);
  a->base = low + inner - room;
  memset(low, BESIDE, (size_t)(a->base - low));
  memset(a->base, FRESH, bytes);
  memset(a->base + bytes, BESIDE, room - bytes);
  POISON(low, (size_t)(a->base - low));
  POISON(a->base + bytes, room - bytes);
  if (locked) mprotect(low, inner, PROT_NONE);
  return true;
}

static bool make_room(EmuDevice *d) {
  if (d->n < d->room) return true;
  int room = d->room ? 2 * d->room : 16;
  Allocation *v = realloc(d->v, (size_t)room * sizeof *v);
  if (!v) return false;
  d->v = v;
  d->room = room;
  return true;
}

// Alignment counts, as it does on a device.
static size_t counted(size_t bytes) { return round_up(bytes, ALIGNMENT); }

void *emu_alloc(EmuDevice *d, size_t bytes) {
  Allocation a;
  if (bytes > SIZE_MAX / 2 || counted(bytes) > emu_memory_left(d) || !make_room(d) || !map_allocation(&a, bytes, d->locked)) return NULL;
  int at = last_before(d, a.map) + 1;
  memmove(&d->v[at + 1], &d->v[at], (size_t)(d->n - at) * sizeof *d->v);
  d->v[at] = a;
  d->n++;
  d->used += counted(bytes);
  return a.base;
}

bool emu_free(EmuDevice *d, void *p) {
  Allocation *a = memory_near(d, p);
  if (!a || a->base != p) return false;
  d->used -= counted(a->bytes);
  unmap(a);
  memmove(a, a + 1, (size_t)(d->v + d->n - (a + 1)) * sizeof *a);
  d->n--;
  return true;
}

// ---- the lock ----------------------------------------------------------------------------------------------------

static void protect(EmuDevice *d, int how) {
  for (int i = 0; i < d->n; i++) mprotect(d->v[i].map + page(), d->v[i].map_bytes - 2 * page(), how);
}

void emu_memory_lock(EmuDevice *d) {
  if (!d->locked) protect(d, PROT_NONE);
  d->locked = true;
}

void emu_memory_unlock(EmuDevice *d) {
  if (d->locked) protect(d, PROT_READ | PROT_WRITE);
  d->locked = false;
}

// ---- soundness and shadows ---------------------------------------------------------------------------------------

LOOKS_BESIDE static bool all_beside(const unsigned char *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i] != BESIDE) return false;
  return true;
}

bool memory_sound(const EmuDevice *d, EmuFault *f) {
  for (int i = 0; i < d->n; i++) {
    const Allocation *a = &d->v[i];
    const unsigned char *low = a->map + page(), *end = a->base + a->bytes, *high = a->map + a->map_bytes - page();
    if (!all_beside(low, (size_t)(a->base - low))) return emu_fault(f, EMU_BOUNDS, "memory before an allocation of %zu bytes was written", a->bytes);
    if (!all_beside(end, (size_t)(high - end))) return emu_fault(f, EMU_BOUNDS, "memory behind an allocation of %zu bytes was written", a->bytes);
  }
  return true;
}

Shadow *memory_shadow(Allocation *a) {
  if (a->shadow || !a->bytes) return a->shadow;
  void *p = mmap(NULL, a->bytes * sizeof(Shadow), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p != MAP_FAILED) a->shadow = p;
  return a->shadow;
}

// ---- copies by the host ------------------------------------------------------------------------------------------

static bool add_range(Allocation *a, Range new) {
  if (a->nwritten == a->written_room) {
    int room = a->written_room ? 2 * a->written_room : 4;
    Range *v = realloc(a->written, (size_t)room * sizeof *v);
    if (!v) return false;
    a->written = v;
    a->written_room = room;
  }
  a->written[a->nwritten++] = new;
  return true;
}

// Ranges that touch become one; most allocations are written whole, or from their start on.
static void note_written(Allocation *a, Range new) {
  int kept = 0;
  for (int i = 0; i < a->nwritten; i++) {
    Range old = a->written[i];
    if (old.p > new.p + new.n || new.p > old.p + old.n) {
      a->written[kept++] = old;
      continue;
    }
    const unsigned char *end = old.p + old.n > new.p + new.n ? old.p + old.n : new.p + new.n;
    new.p = old.p < new.p ? old.p : new.p;
    new.n = (size_t)(end - new.p);
  }
  a->nwritten = kept;
  add_range(a, new);         // without memory for it too much is reported, not too little
}

bool memory_initialised(const Allocation *a, const unsigned char *p) {
  for (int i = 0; i < a->nwritten; i++)
    if (p >= a->written[i].p && p < a->written[i].p + a->written[i].n) return true;
  return false;
}

// What kernels did to these bytes is of the past.
static void forget_accesses(Allocation *a, size_t from, size_t n) {
  unsigned char *low = (unsigned char *)(a->shadow + from), *high = (unsigned char *)(a->shadow + from + n);
  unsigned char *first = (unsigned char *)round_up((size_t)low, page()), *last = (unsigned char *)((size_t)high / page() * page());
  if (first >= last) {
    memset(low, 0, (size_t)(high - low));
    return;
  }
  memset(low, 0, (size_t)(first - low));
  memset(last, 0, (size_t)(high - last));
  madvise(first, (size_t)(last - first), MADV_DONTNEED);        // which fills with zeros, and gives memory back
}

void emu_initialised(EmuDevice *d, const void *p, size_t n) {
  Allocation *a = memory_near(d, p);
  if (!a || !n) return;
  if (a->shadow) forget_accesses(a, (size_t)((const unsigned char *)p - a->base), n);
  note_written(a, (Range){p, n});
}

bool emu_upload(EmuDevice *d, void *to, const void *from, size_t n) {
  if (!emu_in_memory(d, to, n)) return false;
  bool locked = d->locked;
  emu_memory_unlock(d);
  if (n) memcpy(to, from, n);
  emu_initialised(d, to, n);
  if (locked) emu_memory_lock(d);
  return true;
}

bool emu_download(EmuDevice *d, void *to, const void *from, size_t n) {
  if (!emu_in_memory(d, from, n)) return false;
  bool locked = d->locked;
  emu_memory_unlock(d);
  if (n) memcpy(to, from, n);
  if (locked) emu_memory_lock(d);
  return true;
}

bool emu_copy(EmuDevice *d, void *to, const void *from, size_t n) {
  if (!emu_in_memory(d, from, n) || !emu_in_memory(d, to, n)) return false;
  bool locked = d->locked;
  emu_memory_unlock(d);
  if (n) memmove(to, from, n);
  emu_initialised(d, to, n);
  if (locked) emu_memory_lock(d);
  return true;
}

bool emu_fill(EmuDevice *d, void *to, const void *pattern, size_t pattern_bytes, size_t n) {
  if (!emu_in_memory(d, to, n)) return false;
  bool locked = d->locked;
  emu_memory_unlock(d);
  if (pattern_bytes == 1) memset(to, *(const unsigned char *)pattern, n);
  else for (size_t i = 0; i < n; i++) ((unsigned char *)to)[i] = ((const unsigned char *)pattern)[i % pattern_bytes];
  emu_initialised(d, to, n);
  if (locked) emu_memory_lock(d);
  return true;
}

// ---- what may differ between orders --------------------------------------------------------------------------------

static bool note_range(EmuDevice *d, Range new) {
  for (int i = 0; i < d->nany; i++)
    if (d->any_order[i].p == new.p && d->any_order[i].n >= new.n) return true;
  if (d->nany == d->any_room) {
    int room = d->any_room ? 2 * d->any_room : 8;
    Range *v = realloc(d->any_order, (size_t)room * sizeof *v);
    if (!v) return false;
    d->any_order = v;
    d->any_room = room;
  }
  d->any_order[d->nany++] = new;
  return true;
}

void api_any_order(const volatile void *p, unsigned long bytes) {
  EmuDevice *d = run_now()->device;
  pthread_mutex_lock(&d->lock);
  bool good = note_range(d, (Range){(const unsigned char *)(uintptr_t)p, bytes});
  pthread_mutex_unlock(&d->lock);
  if (!good) run_fail(EMU_HOST, "out of memory");
}
