#include "runtime/proc.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static ProcResult run(const char *script, int in, int limit_ms) {
  const char *argv[] = { "/bin/sh", "-c", script, NULL }, *env[] = { "WORD=hello", NULL };
  ProcResult r;
  proc_run(argv, env, in, limit_ms, &r);
  return r;
}

START_TEST(output_and_errors_and_status_come_back) {
  ProcResult r = run("echo out; echo err >&2; exit 3", -1, 5000);
  ck_assert_str_eq(r.out, "out\nerr\n");
  ck_assert_int_eq(r.status, 3);
  ck_assert(!r.timed_out && !r.error);
  free(r.out);
  r = run("kill -TERM $$", -1, 5000);
  ck_assert_int_eq(r.status, 128 + SIGTERM);
  free(r.out);
} END_TEST

START_TEST(the_environment_is_the_one_given) {
  ck_assert_int_eq(setenv("SECRET", "x", 1), 0);
  ProcResult r = run("echo $WORD$SECRET$HOME", -1, 5000);
  ck_assert_str_eq(r.out, "hello\n");
  free(r.out);
} END_TEST

START_TEST(no_other_file_descriptor_is_passed_on) {
  int leak = dup(0);                   // without close-on-exec
  ProcResult r = run("ls /proc/self/fd | wc -l", -1, 5000);
  ck_assert_str_eq(r.out, "4\n");      // 0, 1, 2 and the directory that ls reads
  free(r.out);
  close(leak);
} END_TEST

START_TEST(standard_input_is_the_file) {
  int fd = proc_file("/tmp", "some text", 9);
  ck_assert_int_ge(fd, 0);
  ProcResult r = run("cat", fd, 5000);
  ck_assert_str_eq(r.out, "some text");
  free(r.out);
  close(fd);
  r = run("cat", -1, 5000);
  ck_assert_str_eq(r.out, "");
  free(r.out);
} END_TEST

START_TEST(long_output_is_cut_and_does_not_block) {
  ProcResult r = run("head -c 1000000 /dev/zero | tr '\\0' x", -1, 10000);
  ck_assert_int_eq(r.status, 0);
  ck_assert_uint_eq(r.n, PROC_OUTPUT_BYTES);
  ck_assert_uint_eq(strlen(r.out), PROC_OUTPUT_BYTES);
  free(r.out);
} END_TEST

START_TEST(what_takes_too_long_is_ended_with_its_children) {
  time_t start = time(NULL);
  ProcResult r = run("sleep 100 & sleep 100", -1, 50);
  ck_assert(r.timed_out);
  ck_assert_int_eq(r.status, 128 + SIGKILL);
  ck_assert_int_lt(time(NULL) - start, 5);
  free(r.out);
  r = run("exec >&- 2>&-; sleep 100", -1, 50);       // closes its output and stays
  ck_assert(r.timed_out);
  free(r.out);
} END_TEST

START_TEST(a_program_that_is_not_there_is_an_error) {
  const char *argv[] = { "/nonexistent", NULL }, *env[] = { NULL };
  ProcResult r;
  proc_run(argv, env, -1, 1000, &r);
  ck_assert_int_eq(r.error, ENOENT);
  free(r.out);
} END_TEST

START_TEST(a_host_that_ignores_sigchld_still_gets_the_output) {
  signal(SIGCHLD, SIG_IGN);
  ProcResult r = run("echo x", -1, 5000);
  ck_assert_str_eq(r.out, "x\n");
  ck_assert_int_eq(r.status, -1);
  free(r.out);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    output_and_errors_and_status_come_back, the_environment_is_the_one_given, no_other_file_descriptor_is_passed_on,
    standard_input_is_the_file, long_output_is_cut_and_does_not_block, what_takes_too_long_is_ended_with_its_children,
    a_program_that_is_not_there_is_an_error, a_host_that_ignores_sigchld_still_gets_the_output,
  };
  return UNIT_RUN("proc", tests);
}
