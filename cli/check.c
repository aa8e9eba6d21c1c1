// check.c: plait check.
#include "cli/cli.h"

// Entry points, one a line: what a caller wants to know of a file that is right.
static void put_entries(const plait_program *p) {
  for (size_t i = 0; i < plait_program_entry_count(p); i++) {
    plait_entry_info info = {.struct_size = sizeof info};
    if (plait_entry_get(plait_program_entry(p, i), &info) == PLAIT_OK) printf("%s\n", info.signature);
  }
}

static int check_file(Cli *c, const Args *a, const char *path, Stages *stages) {
  plait_program *p = NULL;
  plait_compile_options o = compile_options(stages);
  int bad = cli_compile(c, a, path, &o, &p);
  if (!bad && args_has(a, "--entries")) put_entries(p);
  plait_program_free(p);
  return bad;
}

// All files are checked; the exit code is the first failure's.
static int run_check(Cli *c, const Args *a) {
  Stages stages = {.c = c, .wanted = args_has(a, "--time-passes")};
  int code = GOOD;
  for (int i = 0; i < a->noperands; i++) {
    int bad = check_file(c, a, a->operand[i], &stages);
    if (!code) code = bad;
  }
  stages_print(&stages);
  return code;
}

static const Option options[] = {
  {"--entries", 0, NULL, false, "print the signature of every entry point, one a line"},
  {"--time-passes", 0, NULL, false, "print where the time went to stderr"},
  {0},
};

const Command command_check = {
  "check", "say whether programs are right", "FILE…", 1, -1, options,
  "Reads each FILE, its imports and the standard library, and checks names, types and extents of every function, called or not. "
  "Prints nothing when all is well. A message shows the place, what is wrong and, where that can be said, how to mend it; "
  "`plait help CODE` tells more.\n",
  "plait check softmax.plait\n"
  "plait check --diagnostics=short src/*.plait   # one line a message, for editors\n"
  "echo 'fn f(x: f32[N]) -> y: f32[N] { y[i] = 2 * x[i] }' | plait check --entries -\n",
  run_check,
};
