// plait.c: the program: which command, and what to do when our own code fails.
#include "cli/cli.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const Command *const commands[] = {
  &command_check, &command_run, &command_explain, &command_emit, &command_fmt, &command_doctor, &command_help, NULL,
};

const Option common_options[] = {
  {"--help", 'h', NULL, false, "show this page"},
  {"--diagnostics", 0, "FORM", false, "messages as text, short (one line each) or json (one array on stderr, nothing else)"},
  {"--color", 0, "WHEN", false, "auto (on a terminal, unless NO_COLOR is set), always or never"},
  {0},
};

const Command *command_find(const char *name) {
  for (const Command *const *k = commands; *k; k++)
    if (strcmp((*k)->name, name) == 0) return *k;
  return NULL;
}

// An assertion or a bad access is our fault, whatever the program text was.
static void on_bug(int signal_number) {
  static const char text[] =
    "error[PLI0001]: plait failed on an error of its own\n"
    "help: please report the program and the command line; `plait run --target ref` may still work\n";
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(BUG);
  (void)signal_number;
  _exit(BUG);
}

// The sanitizers have handlers of their own, which say more.
#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static void catch_bugs(void) {
  static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  if (SANITIZED) return;
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], on_bug);
}

static int run_command(Cli *c, const Command *command, int n, char **argv) {
  Args a;
  int bad = args_parse(c, command, n, argv, &a);
  if (bad) return bad;
  if (a.help) help_command(c, stdout, command);
  return a.help ? GOOD : command->run(c, &a);
}

static int unknown_command(Cli *c, const char *word) {
  if (word[0] == '-') {
    const char *near = closest_option(NULL, word);
    return cli_error(c, USAGE, near ? cli_printf(c, "did you mean `%s`?", near) : "options stand behind the command; see plait --help",
                     "unknown option `%s`", word);
  }
  const char *near = closest_command(word), *dot = strrchr(word, '.');
  if (dot && strcmp(dot, ".plait") == 0)
    return cli_error(c, USAGE, cli_printf(c, "to run it: plait run %s; to check it: plait check %s", word, word), "`%s` is no command", word);
  return cli_error(c, USAGE, near ? cli_printf(c, "did you mean `%s`?", near) : "plait --help lists the commands", "unknown command `%s`", word);
}

static int dispatch(Cli *c, int argc, char **argv) {
  if (argc < 2) {
    help_program(c, stderr);
    return USAGE;
  }
  const char *word = argv[1];
  if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
    printf("plait %s\n", plait_version());
    return GOOD;
  }
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
    help_program(c, stdout);
    return GOOD;
  }
  const Command *command = command_find(word);
  return command ? run_command(c, command, argc - 2, argv + 2) : unknown_command(c, word);
}

static bool wants_color(int fd) {
  const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
  return isatty(fd) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

// Messages about the command line itself should have the form that it asks for, also before it was understood.
static Messages asked_form(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    static const char name[] = "--diagnostics";
    size_t n = sizeof name - 1;
    if (strncmp(argv[i], name, n) != 0) continue;
    const char *value = argv[i][n] == '=' ? argv[i] + n + 1 : i + 1 < argc ? argv[i + 1] : "";
    return strcmp(value, "json") == 0 ? MESSAGES_JSON : strcmp(value, "short") == 0 ? MESSAGES_SHORT : MESSAGES_TEXT;
  }
  return MESSAGES_TEXT;
}

int main(int argc, char **argv) {
  Cli c = {.messages = asked_form(argc, argv), .color_err = wants_color(STDERR_FILENO), .color_out = wants_color(STDOUT_FILENO)};
  catch_bugs();
  signal(SIGPIPE, SIG_IGN);                      // a closed pipe is a write that fails
  if (plait_abi() != PLAIT_ABI) return cli_error(&c, MACHINE, "install plait and libplait of one version", "libplait has another interface");
  int code = dispatch(&c, argc, argv);
  if ((fflush(stdout) != 0 || ferror(stdout)) && code == GOOD) code = cli_write_error(&c, "standard output", errno);
  cli_end(&c);
  return code;
}
