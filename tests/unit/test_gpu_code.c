#include "runtime/gpu_code.h"
#include "unit.h"
#include <string.h>

START_TEST(architectures_are_read_with_and_without_their_prefix_and_feature) {
  int arch;
  char feature;
  ck_assert(gpu_arch_parse("sm_90", &arch, &feature));
  ck_assert(arch == 90 && feature == 0);
  ck_assert(gpu_arch_parse("sm_90a", &arch, &feature));
  ck_assert(arch == 90 && feature == 'a');
  ck_assert(gpu_arch_parse("100", &arch, &feature));
  ck_assert_int_eq(arch, 100);
} END_TEST

START_TEST(what_is_no_architecture_is_refused) {
  static const char *const wrong[] = {"", "sm_", "sm_9", "sm_x", "sm_90b", "sm_90aa", "hopper", "-90", "sm_ 90", "sm_1000", "compute_90"};
  int arch;
  char feature;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) ck_assert_msg(!gpu_arch_parse(wrong[i], &arch, &feature), "%s", wrong[i]);
} END_TEST

// As NVRTC 13.0 gives it.
static const char log_text[] =
  "ptxas info    : 8 bytes gmem\n"
  "ptxas info    : Compiling entry function 'scale' for 'sm_90'\n"
  "ptxas info    : Function properties for scale\n"
  "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
  "ptxas info    : Used 12 registers, used 0 barriers\n"
  "ptxas info    : Compile time = 3.123 ms\n"
  "ptxas info    : Compiling entry function 'spill' for 'sm_90'\n"
  "ptxas info    : Function properties for spill\n"
  "    96 bytes stack frame, 40 bytes spill stores, 48 bytes spill loads\n"
  "ptxas info    : Used 255 registers, used 1 barriers, 96 bytes cumulative stack size, 4096 bytes smem\n";

START_TEST(the_log_tells_what_each_kernel_takes) {
  GpuUse *use;
  ck_assert_int_eq(gpu_log_read(log_text, &use), 2);
  ck_assert_str_eq(use[0].name, "scale");
  ck_assert(use[0].registers == 12 && use[0].shared_bytes == 0 && use[0].spill_stores == 0 && use[0].stack_bytes == 0);
  ck_assert_str_eq(use[1].name, "spill");
  ck_assert(use[1].registers == 255 && use[1].shared_bytes == 4096 && use[1].stack_bytes == 96);
  ck_assert(use[1].spill_stores == 40 && use[1].spill_loads == 48);
  free(use);
} END_TEST

START_TEST(what_a_log_does_not_say_stays_unknown) {
  GpuUse *use;
  ck_assert_int_eq(gpu_log_read("ptxas info : Compiling entry function 'f' for 'sm_80'", &use), 1);
  ck_assert(use[0].registers == -1 && use[0].shared_bytes == -1 && use[0].spill_loads == -1);
  free(use);
  ck_assert_int_eq(gpu_log_read("", &use), 0);
  ck_assert_ptr_null(use);
  ck_assert_int_eq(gpu_log_read(NULL, &use), 0);
} END_TEST

START_TEST(a_name_longer_than_there_is_room_for_is_cut) {
  char log[600] = "Compiling entry function '";
  GpuUse *use;
  memset(log + strlen(log), 'x', 300);
  strcat(log, "' for 'sm_80'\n");
  ck_assert_int_eq(gpu_log_read(log, &use), 1);
  ck_assert_uint_eq(strlen(use[0].name), sizeof use[0].name - 1);
  free(use);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    architectures_are_read_with_and_without_their_prefix_and_feature, what_is_no_architecture_is_refused, the_log_tells_what_each_kernel_takes,
    what_a_log_does_not_say_stays_unknown, a_name_longer_than_there_is_room_for_is_cut,
  };
  return UNIT_RUN("gpu_code", tests);
}
