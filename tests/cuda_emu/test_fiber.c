// test_fiber.c: switching by hand; built once for each way of switching.
#include "fiber.h"
#include "tests/unit/unit.h"
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Task { Fiber fiber; FiberHost *host; int steps, *log, *n, name; double sum; int (*body)(struct Task *); } Task;

static void main_of(void *arg) {
  Task *t = arg;
  fiber_entered(t->host);
  t->steps = t->body(t);
  fiber_leave(t->host, &t->fiber);
}

static void start(Task *t, FiberHost *host, const FiberStacks *stacks, size_t i, int (*body)(Task *)) {
  t->host = host;
  t->body = body;
  fiber_start(&t->fiber, fiber_stack(stacks, i), main_of, t);
}

static int log_three(Task *t) {
  for (int i = 0; i < 3; i++) {
    t->log[(*t->n)++] = t->name;
    fiber_yield(t->host, &t->fiber);
  }
  return 3;
}

START_TEST(fibers_take_turns_as_the_host_says) {
  FiberStacks stacks;
  FiberHost host = {0};
  int log[6], n = 0;
  Task a = {.log = log, .n = &n, .name = 1}, b = {.log = log, .n = &n, .name = 2};
  ck_assert(fiber_stacks_make(&stacks, 2));
  start(&a, &host, &stacks, 0, log_three);
  start(&b, &host, &stacks, 1, log_three);
  Task *turn[] = {&a, &b, &b, &a, &a, &b};
  for (int i = 0; i < 6; i++) fiber_run(&host, &turn[i]->fiber);
  const int wanted[] = {1, 2, 2, 1, 1, 2};
  ck_assert_int_eq(n, 6);
  ck_assert_mem_eq(log, wanted, sizeof wanted);
  fiber_run(&host, &a.fiber);
  ck_assert(a.steps == 3 && b.steps == 0);
  fiber_stacks_free(&stacks);
} END_TEST

// Many live values, integers and floats, across switches to another fiber that has as many.
static int sum_much(Task *t) {
  double v[12];
  uint64_t w[12], x = (uint64_t)t->name;
  for (int i = 0; i < 12; i++) v[i] = t->name * 1.5 + i, w[i] = x * 7 + (uint64_t)i;
  for (int k = 0; k < 100; k++) {
    fiber_yield(t->host, &t->fiber);
    for (int i = 0; i < 12; i++) v[i] += 1, w[i] += 3;
  }
  for (int i = 0; i < 12; i++) t->sum += v[i] + (double)w[i];
  return 1;
}

START_TEST(registers_survive_a_switch) {
  FiberStacks stacks;
  FiberHost host = {0};
  Task t[5];
  ck_assert(fiber_stacks_make(&stacks, 5));
  for (int i = 0; i < 5; i++) {
    t[i] = (Task){.name = i};
    start(&t[i], &host, &stacks, (size_t)i, sum_much);
  }
  for (int k = 0; k < 101; k++)
    for (int i = 0; i < 5; i++) fiber_run(&host, &t[i].fiber);
  for (int i = 0; i < 5; i++) ck_assert(t[i].steps == 1 && t[i].sum == 12 * (i * 1.5 + i * 7 + 100 + 300) + 2 * 66);
  fiber_stacks_free(&stacks);
} END_TEST

static int aligned(Task *t) {
  _Alignas(16) volatile char local[16] = {0};
  (void)t;
  return (uintptr_t)local % 16 == 0 && (uintptr_t)__builtin_frame_address(0) % 16 == 0;
}

START_TEST(stacks_are_aligned) {
  FiberStacks stacks;
  FiberHost host = {0};
  Task t = {0};
  ck_assert(fiber_stacks_make(&stacks, 1));
  start(&t, &host, &stacks, 0, aligned);
  fiber_run(&host, &t.fiber);
  ck_assert_int_eq(t.steps, 1);
  fiber_stacks_free(&stacks);
} END_TEST

static int write_low(Task *t) {
  memset(t->fiber.stack, 1, 16);
  return 1;
}

START_TEST(a_used_up_stack_shows) {
  FiberStacks stacks;
  FiberHost host = {0};
  Task t = {0};
  ck_assert(fiber_stacks_make(&stacks, 1));
  start(&t, &host, &stacks, 0, aligned);
  fiber_run(&host, &t.fiber);
  ck_assert(fiber_is_sound(&t.fiber));
  start(&t, &host, &stacks, 0, write_low);
  fiber_run(&host, &t.fiber);
  ck_assert(!fiber_is_sound(&t.fiber));
  fiber_stacks_free(&stacks);
} END_TEST

START_TEST(below_a_stack_is_nothing) {
  FiberStacks stacks;
  ck_assert(fiber_stacks_make(&stacks, 3));
  pid_t child = fork();
  if (!child) {
    close(2);
    *(volatile unsigned char *)(fiber_stack(&stacks, 1) - 1) = 1;
    _exit(0);
  }
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status));       // a sanitizer exits
  fiber_stacks_free(&stacks);
} END_TEST

int main(void) {
  const TTest *tests[] = {fibers_take_turns_as_the_host_says, registers_survive_a_switch, stacks_are_aligned, a_used_up_stack_shows, below_a_stack_is_nothing};
  return UNIT_RUN("cuda_fiber", tests);
}
