// fiber.h: threads that run one at a time and switch by hand.
//
// One host thread runs a fiber until it yields. x86-64 and aarch64 switch in a dozen instructions (some 10 ns), other
// machines, and builds with FIBER_UCONTEXT, by ucontext, which enters the kernel at every switch.
#ifndef PLAIT_CUDA_EMU_FIBER_H
#define PLAIT_CUDA_EMU_FIBER_H
#include <stdbool.h>
#include <stddef.h>

// Built with the address sanitizer: it is told of stacks, and of what lies beside allocations.
#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN
#endif
#endif

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(FIBER_UCONTEXT)
#define FIBER_UCONTEXT
#endif
#ifdef FIBER_UCONTEXT
#include <ucontext.h>
typedef ucontext_t FiberContext;
#else
typedef void *FiberContext;       // the stack pointer; registers lie on the stack
#endif

typedef struct Fiber {
  FiberContext context;
  unsigned char *stack;           // lowest address
  void *fake;                     // the address sanitizer's own stack
} Fiber;

enum { FIBER_STACK = 64 << 10 };

// Stacks of one size side by side. Up to FIBER_GUARDED of them have an inaccessible page below; all have a canary.
enum { FIBER_GUARDED = 8192 };
typedef struct FiberStacks { unsigned char *base; size_t n, stride; } FiberStacks;
bool fiber_stacks_make(FiberStacks *s, size_t n);      // false: out of memory
void fiber_stacks_free(FiberStacks *s);
unsigned char *fiber_stack(const FiberStacks *s, size_t i);

// A host thread's side of the switch.
typedef struct FiberHost { FiberContext context; void *fake; const void *stack; size_t bytes; } FiberHost;

// The fiber will call entry(arg) when it is first run. The first act of entry is fiber_entered, its last fiber_leave.
void fiber_start(Fiber *f, unsigned char *stack, void (*entry)(void *), void *arg);
void fiber_run(FiberHost *host, Fiber *f);             // until it yields or leaves
void fiber_entered(FiberHost *host);
void fiber_yield(FiberHost *host, Fiber *f);           // back to whoever ran f
_Noreturn void fiber_leave(FiberHost *host, Fiber *f); // the same, for good
// Whether the stack's canary is as it was: false when the stack was too small.
bool fiber_is_sound(const Fiber *f);
#endif
