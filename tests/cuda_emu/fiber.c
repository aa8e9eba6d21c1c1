// fiber.c: threads that run one at a time and switch by hand.
#include "fiber.h"
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// ---- stacks ------------------------------------------------------------------------------------------------------

static const uint64_t canary = 0x5afe57ac4ca7a5e5u;
enum { CANARY_WORDS = 8 };

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

bool fiber_stacks_make(FiberStacks *s, size_t n) {
  bool guarded = n <= FIBER_GUARDED;
  s->n = n;
  s->stride = FIBER_STACK + (guarded ? page() : 0);
  s->base = mmap(NULL, n * s->stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (s->base == MAP_FAILED) {
    *s = (FiberStacks){0};
    return false;
  }
  for (size_t i = 0; guarded && i < n; i++) mprotect(s->base + i * s->stride, page(), PROT_NONE);
  return true;
}

void fiber_stacks_free(FiberStacks *s) {
  if (!s->base) return;
#ifdef EMU_ASAN
  __asan_unpoison_memory_region(s->base, s->n * s->stride);      // what frames left poisoned may be mapped anew
#endif
  munmap(s->base, s->n * s->stride);
  *s = (FiberStacks){0};
}

unsigned char *fiber_stack(const FiberStacks *s, size_t i) { return s->base + i * s->stride + (s->stride - FIBER_STACK); }

bool fiber_is_sound(const Fiber *f) {
  uint64_t word[CANARY_WORDS];
  memcpy(word, f->stack, sizeof word);
  for (int i = 0; i < CANARY_WORDS; i++)
    if (word[i] != canary) return false;
  return true;
}

static void place_canary(Fiber *f) {
  for (int i = 0; i < CANARY_WORDS; i++) memcpy(f->stack + (size_t)i * sizeof canary, &canary, sizeof canary);
}

// ---- the switch --------------------------------------------------------------------------------------------------

#ifdef FIBER_UCONTEXT
static void boot(unsigned entry_high, unsigned entry_low, unsigned arg_high, unsigned arg_low) {
  void (*entry)(void *) = (void (*)(void *))(((uintptr_t)entry_high << 32) | entry_low);
  entry((void *)(((uintptr_t)arg_high << 32) | arg_low));
}

static void prepare(Fiber *f, void (*entry)(void *), void *arg) {
  uint64_t e = (uint64_t)(uintptr_t)entry, a = (uint64_t)(uintptr_t)arg;
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = f->stack;
  f->context.uc_stack.ss_size = FIBER_STACK;
  f->context.uc_link = NULL;
  makecontext(&f->context, (void (*)(void))boot, 4, (unsigned)(e >> 32), (unsigned)e, (unsigned)(a >> 32), (unsigned)a);
}

static void switch_to(FiberContext *from, FiberContext *to) { swapcontext(from, to); }

#elif defined(__x86_64__)
// Saves what a call keeps, and where it was. The floating-point modes are the same in all fibers.
void emu_fiber_switch(void **from, void *to);
void emu_fiber_boot(void);
__asm__(".text\n"
        ".globl emu_fiber_switch\n.hidden emu_fiber_switch\n.type emu_fiber_switch, @function\n"
        "emu_fiber_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n"
        ".size emu_fiber_switch, .-emu_fiber_switch\n"
        ".globl emu_fiber_boot\n.hidden emu_fiber_boot\n.type emu_fiber_boot, @function\n"
        "emu_fiber_boot:\n"
        "  movq %r12, %rdi\n"
        "  callq *%r13\n"
        "  ud2\n"
        ".size emu_fiber_boot, .-emu_fiber_boot\n");

static void prepare(Fiber *f, void (*entry)(void *), void *arg) {
  // r15 r14 r13 r12 rbx rbp, and where to return to; the stack pointer is a multiple of 16 before boot's call.
  uint64_t *top = (uint64_t *)(void *)(f->stack + FIBER_STACK);
  uint64_t frame[] = {0, 0, (uint64_t)(uintptr_t)entry, (uint64_t)(uintptr_t)arg, 0, 0, (uint64_t)(uintptr_t)emu_fiber_boot};
  f->context = top - 9;
  memcpy(f->context, frame, sizeof frame);
}

static void switch_to(FiberContext *from, FiberContext *to) { emu_fiber_switch(from, *to); }

#else   // aarch64
void emu_fiber_switch(void **from, void *to);
void emu_fiber_boot(void);
__asm__(".text\n"
        ".globl emu_fiber_switch\n.hidden emu_fiber_switch\n.type emu_fiber_switch, %function\n"
        "emu_fiber_switch:\n"
        "  sub sp, sp, #160\n"
        "  stp x19, x20, [sp]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n  stp x25, x26, [sp, #48]\n"
        "  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
        "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
        "  ldp x19, x20, [sp]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n  ldp x25, x26, [sp, #48]\n"
        "  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
        "  add sp, sp, #160\n"
        "  ret\n"
        ".size emu_fiber_switch, .-emu_fiber_switch\n"
        ".globl emu_fiber_boot\n.hidden emu_fiber_boot\n.type emu_fiber_boot, %function\n"
        "emu_fiber_boot:\n"
        "  mov x0, x19\n"
        "  blr x20\n"
        "  brk #1\n"
        ".size emu_fiber_boot, .-emu_fiber_boot\n");

static void prepare(Fiber *f, void (*entry)(void *), void *arg) {
  uint64_t frame[20] = {(uint64_t)(uintptr_t)arg, (uint64_t)(uintptr_t)entry};      // x19, x20
  frame[11] = (uint64_t)(uintptr_t)emu_fiber_boot;                                  // x30
  f->context = f->stack + FIBER_STACK - sizeof frame;
  memcpy(f->context, frame, sizeof frame);
}

static void switch_to(FiberContext *from, FiberContext *to) { emu_fiber_switch(from, *to); }
#endif

// ---- fibers ------------------------------------------------------------------------------------------------------

void fiber_start(Fiber *f, unsigned char *stack, void (*entry)(void *), void *arg) {
  f->stack = stack;
  f->fake = NULL;
#ifdef EMU_ASAN
  __asan_unpoison_memory_region(stack, FIBER_STACK);
#endif
  place_canary(f);
  prepare(f, entry, arg);
}

void fiber_run(FiberHost *host, Fiber *f) {
#ifdef EMU_ASAN
  __sanitizer_start_switch_fiber(&host->fake, f->stack, FIBER_STACK);
#endif
  switch_to(&host->context, &f->context);
#ifdef EMU_ASAN
  __sanitizer_finish_switch_fiber(host->fake, NULL, NULL);
#endif
}

void fiber_entered(FiberHost *host) {
  (void)host;
#ifdef EMU_ASAN
  __sanitizer_finish_switch_fiber(NULL, &host->stack, &host->bytes);
#endif
}

void fiber_yield(FiberHost *host, Fiber *f) {
#ifdef EMU_ASAN
  __sanitizer_start_switch_fiber(&f->fake, host->stack, host->bytes);
#endif
  switch_to(&f->context, &host->context);
#ifdef EMU_ASAN
  __sanitizer_finish_switch_fiber(f->fake, &host->stack, &host->bytes);
#endif
}

_Noreturn void fiber_leave(FiberHost *host, Fiber *f) {
#ifdef EMU_ASAN
  __sanitizer_start_switch_fiber(NULL, host->stack, host->bytes);
#endif
  switch_to(&f->context, &host->context);
  __builtin_trap();           // nobody runs it again
}
