// proc.h: running a program, without a shell, and collecting what it says.
#ifndef PLAIT_RUNTIME_PROC_H
#define PLAIT_RUNTIME_PROC_H
#include <stdbool.h>
#include <stddef.h>

enum { PROC_OUTPUT_BYTES = 256 << 10 };   // of output that is kept; the rest is read and dropped

typedef struct ProcResult {
  int status;                // exit status; 128 + signal when one ended it; -1 when another part of the process reaped it
  int error;                 // errno when it could not be started; else 0
  bool timed_out;            // killed, with all that it had started, after limit_ms
  char *out; size_t n;       // its standard output and error, NUL-terminated and malloc'ed; NULL when out of memory
} ProcResult;

// argv[0] is an absolute path; argv and env end with NULL. stdin_fd is its standard input, -1 for none. It gets no other
// file descriptor of ours, default signal handling and a process group of its own.
void proc_run(const char *const *argv, const char *const *env, int stdin_fd, int limit_ms, ProcResult *r);

// A new file without a name, open for reading and writing, with n bytes and the offset at 0; in memory where the system
// can, else in `dir`. -1 on failure, with errno.
int proc_file(const char *dir, const void *bytes, size_t n);
#endif
