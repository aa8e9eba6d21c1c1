// test_asan.c: kernels compiled into a program with the address sanitizer, which then watches them run.
#include "emu.h"
#include "tests/unit/unit.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

EmuImage *emu_image_softmax(void);
EmuImage *emu_image_column(void);
EmuImage *emu_image_cluster(void);
EmuImage *emu_image_asan(void);

typedef struct Lab { EmuDevice *device; EmuModule *module; EmuFault fault; } Lab;
#define ARGS(...) ((void *[]){__VA_ARGS__})

static Lab lab_of(EmuImageFunction *image) {
  Lab l = {.device = emu_device_make(1 << 20, 48 << 10)};
  l.module = emu_module_linked(image, "/proc/self/exe", &l.fault);
  ck_assert_msg(l.module != NULL, "%s", l.fault.text);
  return l;
}

static void lab_free(Lab *l) {
  emu_module_free(l->module);
  emu_device_free(l->device);
}

static bool launch(Lab *l, const char *kernel, EmuDim grid, EmuDim block, unsigned cluster, size_t dynamic, void **arg) {
  const EmuOrder orders[] = {{EMU_FORWARD, EMU_FORWARD, 0}, {EMU_REVERSED, EMU_REVERSED, 0}, {EMU_RANDOM, EMU_RANDOM, 1}};
  EmuLaunch it = {.module = l->module, .kernel = emu_module_find(l->module, kernel), .grid = grid, .block = block, .cluster = cluster, .dynamic = dynamic, .arg = arg};
  ck_assert_ptr_nonnull(it.kernel);
  return emu_launch_orders(l->device, &it, orders, 3, &l->fault);
}

static void *filled(Lab *l, size_t n, float with) {
  void *p = emu_alloc(l->device, n * 4);
  ck_assert(p && emu_fill(l->device, p, &with, 4, n * 4));
  return p;
}

START_TEST(softmax_is_clean_and_right) {
  Lab l = lab_of(emu_image_softmax);
  enum { M = 64 };
  void *x = filled(&l, 2 * M, 3), *y = filled(&l, 2 * M, 0);
  float out[2 * M];
  int m = M;
  ck_assert_msg(launch(&l, "block_softmax", (EmuDim){2, 1, 1}, (EmuDim){256, 1, 1}, 1, 0, ARGS(&x, &y, &m)), "%s", l.fault.text);
  ck_assert(emu_download(l.device, out, y, sizeof out));
  for (int i = 0; i < 2 * M; i++) ck_assert(out[i] == 1.0f / M);       // equal elements, and M is a power of two
  lab_free(&l);
} END_TEST

START_TEST(column_sums_are_clean_and_right) {
  Lab l = lab_of(emu_image_column);
  enum { N = 37, D = 100, PARTS = 5 };
  void *x = filled(&l, N * D, 2), *y = filled(&l, D, 0), *partial = filled(&l, PARTS * D, 0), *count = filled(&l, 2, 0);
  float out[D];
  long long rows = N;
  int columns = D;
  ck_assert_msg(launch(&l, "column_sum", (EmuDim){2, PARTS, 1}, (EmuDim){64, 1, 1}, 1, 0, ARGS(&x, &y, &partial, &count, &rows, &columns)), "%s", l.fault.text);
  ck_assert(emu_download(l.device, out, y, sizeof out));
  for (int i = 0; i < D; i++) ck_assert(out[i] == 2 * N);
  lab_free(&l);
} END_TEST

START_TEST(clusters_are_clean_and_right) {
  Lab l = lab_of(emu_image_cluster);
  enum { D = 4 * 64 };
  void *x = filled(&l, D, 5), *y = filled(&l, D, 0);
  float out[D];
  int columns = D;
  ck_assert_msg(launch(&l, "cluster_rows", (EmuDim){4, 1, 1}, (EmuDim){64, 1, 1}, 4, D, ARGS(&x, &y, &columns)), "%s", l.fault.text);
  ck_assert(emu_download(l.device, out, y, sizeof out));
  for (int i = 0; i < D; i++) ck_assert(out[i] == 1.0f / D);
  lab_free(&l);
} END_TEST

// The child's words; it must not end well.
static void child_dies(const char *kernel, size_t bytes, int n, const char *says) {
  int out[2], status;
  char text[20000] = "";
  ck_assert_int_eq(pipe(out), 0);
  pid_t child = fork();
  if (!child) {
    dup2(out[1], 2);
    Lab l = lab_of(emu_image_asan);
    void *y = emu_alloc(l.device, bytes);
    bool good = launch(&l, kernel, (EmuDim){1, 1, 1}, (EmuDim){1, 1, 1}, 1, 0, ARGS(&y, &n));
    _exit(good ? 0 : 3);
  }
  close(out[1]);
  for (size_t at = 0, room = sizeof text - 1; room > at;) {
    ssize_t got = read(out[0], text + at, room - at);
    if (got <= 0) break;
    at += (size_t)got;
  }
  close(out[0]);
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3, "status %d\n%s", status, text);
  ck_assert_msg(strstr(text, says) != NULL, "%s", text);
}

START_TEST(an_overrun_local_array_is_seen) { child_dies("overruns_a_local_array", 4, 4, "stack-buffer-overflow"); } END_TEST
START_TEST(bytes_that_alignment_adds_are_seen) { child_dies("overruns_an_allocation", 3, 3, "use-after-poison"); } END_TEST

int main(void) {
  const TTest *tests[] = {softmax_is_clean_and_right, column_sums_are_clean_and_right, clusters_are_clean_and_right, an_overrun_local_array_is_seen, bytes_that_alignment_adds_are_seen};
  return UNIT_RUN("cuda_asan", tests);
}
