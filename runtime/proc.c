// proc.c: running a program, without a shell, and collecting what it says.
#include "runtime/proc.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U       // Linux 6.3: say that the file may be mapped as code
#endif

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

// Its standard streams; anything else of ours stays closed to it.
static int set_files(posix_spawn_file_actions_t *fa, int in, int out) {
  int e = in < 0 ? posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0) : posix_spawn_file_actions_adddup2(fa, in, 0);
  if (!e) e = posix_spawn_file_actions_adddup2(fa, out, 1);
  if (!e) e = posix_spawn_file_actions_adddup2(fa, out, 2);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
  if (!e) e = posix_spawn_file_actions_addclosefrom_np(fa, 3);
#endif
  return e;
}

static int set_attributes(posix_spawnattr_t *at) {
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  int e = posix_spawnattr_setflags(at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  if (!e) e = posix_spawnattr_setpgroup(at, 0);
  if (!e) e = posix_spawnattr_setsigdefault(at, &all);
  if (!e) e = posix_spawnattr_setsigmask(at, &none);
  return e;
}

static int spawn(const char *const *argv, const char *const *env, int in, int out, pid_t *pid) {
  posix_spawn_file_actions_t fa;
  posix_spawnattr_t at;
  if (posix_spawn_file_actions_init(&fa)) return ENOMEM;
  if (posix_spawnattr_init(&at)) {
    posix_spawn_file_actions_destroy(&fa);
    return ENOMEM;
  }
  int e = set_files(&fa, in, out);
  if (!e) e = set_attributes(&at);
  // The strings are not written to; the prototype is older than const.
  if (!e) e = posix_spawn(pid, argv[0], &fa, &at, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)env);
  posix_spawnattr_destroy(&at);
  posix_spawn_file_actions_destroy(&fa);
  return e;
}

// Keeps what fits of a chunk.
static void keep(ProcResult *r, const char *chunk, size_t n) {
  if (!r->out) return;
  for (size_t i = 0; i < n && r->n < PROC_OUTPUT_BYTES; i++) r->out[r->n++] = chunk[i];
}

// Reads until the other end is closed, or the time is over.
static void read_all(int fd, int64_t end, ProcResult *r) {
  char chunk[4096];
  for (;;) {
    int64_t left = end - now_ms();
    struct pollfd p = { fd, POLLIN, 0 };
    int ready = left <= 0 ? 0 : poll(&p, 1, left > INT_MAX ? INT_MAX : (int)left);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      r->timed_out = true;
      return;
    }
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    keep(r, chunk, (size_t)n);
  }
}

// The exit status, waiting until `end`; the process is as good as over when it has closed its output.
static int wait_for(pid_t pid, int64_t end, ProcResult *r) {
  int status;
  for (long ns = 20000;; ns = ns < 2000000 ? ns * 2 : ns) {
    pid_t got = waitpid(pid, &status, r->timed_out ? 0 : WNOHANG);
    if (got < 0 && errno != EINTR) return -1;            // SIGCHLD is ignored, or the host waits for any child
    if (got == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (got == 0 && now_ms() >= end) {
      r->timed_out = true;
      kill(-pid, SIGKILL);
    }
    if (got == 0) nanosleep(&(struct timespec){ 0, ns }, NULL);
  }
}

void proc_run(const char *const *argv, const char *const *env, int stdin_fd, int limit_ms, ProcResult *r) {
  *r = (ProcResult){ .status = -1, .out = malloc(PROC_OUTPUT_BYTES + 1) };
  int64_t end = now_ms() + limit_ms;
  int pipes[2];
  pid_t pid;
  if (pipe2(pipes, O_CLOEXEC)) {
    r->error = errno;
    return;
  }
  r->error = spawn(argv, env, stdin_fd, pipes[1], &pid);
  close(pipes[1]);
  if (!r->error) {
    read_all(pipes[0], end, r);
    if (r->timed_out) kill(-pid, SIGKILL);
    r->status = wait_for(pid, end, r);
  }
  close(pipes[0]);
  if (r->out) r->out[r->n] = 0;
}

static int nameless(const char *dir) {
  int fd = memfd_create("plait", MFD_CLOEXEC | MFD_EXEC);
  if (fd < 0) fd = memfd_create("plait", MFD_CLOEXEC);
  if (fd < 0) fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0700);
  return fd;
}

int proc_file(const char *dir, const void *bytes, size_t n) {
  int fd = nameless(dir);
  if (fd < 0) return -1;
  for (size_t done = 0; done < n;) {
    ssize_t w = write(fd, (const char *)bytes + done, n - done);
    if (w < 0 && errno == EINTR) continue;
    if (w < 0) {
      int e = errno;
      close(fd);
      errno = e;
      return -1;
    }
    done += (size_t)w;
  }
  lseek(fd, 0, SEEK_SET);
  return fd;
}
