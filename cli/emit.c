// emit.c: plait emit.
#include "cli/cli.h"
#include <string.h>

static int choose_stage(Cli *c, const Args *a, const char **stage) {
  static const char *const stages[] = {"fn", "fused", "schedule", "kernel"};
  const char *target = args_value(a, "--target"), *asked = args_value(a, "--stage");
  *stage = NULL;
  if (target && strcmp(target, "c") != 0) return cli_error(c, USAGE, "the targets are: c", "unknown target `%s`", target);
  if (!asked) return *stage = args_has(a, "--stop-after") ? NULL : "c", GOOD;
  for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
    if (strcmp(stages[i], asked) == 0) return *stage = asked, GOOD;
  const char *near = closest(asked, stages, sizeof stages / sizeof *stages);
  return cli_error(c, USAGE, near ? cli_printf(c, "did you mean `%s`?", near) : "the stages are: fn, fused, schedule, kernel",
                   "unknown stage `%s`", asked);
}

static int deliver(Cli *c, const Args *a, const char *text, const char *header) {
  const char *path = args_value(a, "--output"), *header_path = args_value(a, "--header");
  int bad = cli_write_file(c, path ? path : "-", text, strlen(text));
  if (!bad && header) bad = cli_write_file(c, header_path, header, strlen(header));
  return bad;
}

static int emit_entry(Cli *c, const Args *a, const plait_entry *e, const char *stage, const plait_build_options *o) {
  char *text = NULL, *header = NULL;
  plait_messages *m = NULL;
  plait_status s = plait_emit(e, stage, o, &text, args_has(a, "--header") ? &header : NULL, &m);
  int bad = s || m ? cli_messages(c, s, m) : GOOD;
  if (!bad) bad = deliver(c, a, text, header);
  plait_free(text);
  plait_free(header);
  return bad;
}

static int run_emit(Cli *c, const Args *a) {
  Stages stages = {0};
  plait_build_options o;
  const char *stage;
  int bad = build_options(c, a, &stages, &o);
  if (!bad) bad = choose_stage(c, a, &stage);
  if (bad) return bad;
  if (args_has(a, "--header") && (!stage || strcmp(stage, "c") != 0))
    return cli_error(c, USAGE, "leave --stage and --stop-after off", "--header belongs to the C text");
  plait_program *p = NULL;
  const plait_entry *e;
  plait_compile_options co = compile_options(&stages);
  bad = cli_entry(c, a, &co, &p, &e);
  if (!bad) bad = emit_entry(c, a, e, stage, &o);
  plait_program_free(p);
  stages_print(&stages);
  return bad;
}

static const Option options[] = {
  OPTION_ENTRY,
  {"--target", 0, "TARGET", false, "what to print for: c (the default)"},
  {"--stage", 0, "STAGE", false, "fn: equations with everything inlined; fused: after the passes on equations; schedule: which "
   "equations share a kernel; kernel: loops. Without it: the text for the target"},
  OPTION_DIM,
  {"--output", 'o', "FILE", false, "where to write (default: standard output)"},
  {"--header", 0, "FILE", false, "also write the C header that declares the entry point"},
  {"--stop-after", 0, "PASS", false, "print the program as it is after this pass"},
  OPTIONS_PASSES,
  {0},
};

const Command command_emit = {
  "emit", "print what the compiler makes of a program", "FILE", 1, 1, options,
  "Prints an entry point at a stage of its way from equations to C. The C needs no header and no library but libm; the header of "
  "--header declares its entry point and says what its arguments are. With -D the text is made for that value: the dimension "
  "becomes a number and is no argument any more. Nothing depends on time or chance: the same program and options give the same "
  "text.\n",
  "plait emit softmax.plait > softmax.c\n"
  "plait emit softmax.plait -o softmax.c --header softmax.h\n"
  "plait emit softmax.plait --stage fused        # what fusion did to the equations\n"
  "plait emit softmax.plait --stage kernel -D N=4096 -D D=1024\n"
  "plait emit softmax.plait --stage fn --dump-after all --time-passes\n",
  run_emit,
};
