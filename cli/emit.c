// emit.c: plait emit.
#include "cli/cli.h"
#include <string.h>
#include <unistd.h>

static const char *const targets[] = {"c", "cuda", "ptx", "cubin"};
enum { NTARGETS = sizeof targets / sizeof *targets };

static int choose_target(Cli *c, const Args *a, const char **target) {
  const char *asked = args_value(a, "--target");
  *target = asked ? asked : "c";
  for (int i = 0; i < NTARGETS; i++)
    if (strcmp(targets[i], *target) == 0) return GOOD;
  const char *near = closest(asked, targets, NTARGETS);
  return cli_error(c, USAGE, near ? cli_printf(c, "did you mean `%s`?", near) : "the targets are: c, cuda, ptx, cubin", "unknown target `%s`", asked);
}

// The target's name when no stage before it is asked for; NULL with --stop-after.
static int choose_stage(Cli *c, const Args *a, const char **stage) {
  static const char *const stages[] = {"fn", "fused", "schedule", "kernel"};
  const char *target, *asked = args_value(a, "--stage");
  int bad = choose_target(c, a, &target);
  *stage = NULL;
  if (bad) return bad;
  if (!asked) return *stage = args_has(a, "--stop-after") ? NULL : target, GOOD;
  for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
    if (strcmp(stages[i], asked) == 0) return *stage = asked, GOOD;
  const char *near = closest(asked, stages, sizeof stages / sizeof *stages);
  return cli_error(c, USAGE, near ? cli_printf(c, "did you mean `%s`?", near) : "the stages are: fn, fused, schedule, kernel",
                   "unknown stage `%s`", asked);
}

static bool is(const char *stage, const char *name) { return stage && strcmp(stage, name) == 0; }

static bool for_gpu(const Args *a) {
  const char *target = args_value(a, "--target");
  return target && !is(target, "c");
}

static int check_options(Cli *c, const Args *a, const char *stage) {
  const char *path = args_value(a, "--output");
  if (args_has(a, "--header") && !is(stage, "c") && !is(stage, "cuda"))
    return cli_error(c, USAGE, "leave --stage and --stop-after off, and --target but c and cuda", "--header belongs to the C and the CUDA C text");
  if (args_has(a, "--arch") && !for_gpu(a))
    return cli_error(c, USAGE, "add --target cuda, ptx or cubin", "--arch belongs to text and code of a GPU");
  if (is(stage, "cubin") && (!path || is(path, "-")) && isatty(STDOUT_FILENO))
    return cli_error(c, USAGE, "add -o FILE", "a cubin is no text for a terminal");
  return GOOD;
}

static int emit_text(Cli *c, const Args *a, const plait_entry *e, const char *stage, const plait_build_options *o) {
  char *text = NULL, *header = NULL;
  const char *path = args_value(a, "--output");
  plait_messages *m = NULL;
  plait_status s = plait_emit(e, stage, o, &text, args_has(a, "--header") ? &header : NULL, &m);
  int bad = s || m ? cli_messages(c, s, m) : GOOD;
  if (!bad) bad = cli_write_file(c, path ? path : "-", text, strlen(text));
  if (!bad && header) bad = cli_write_file(c, args_value(a, "--header"), header, strlen(header));
  plait_free(text);
  plait_free(header);
  return bad;
}

static int emit_cubin(Cli *c, const Args *a, const plait_entry *e, const plait_build_options *o) {
  char *code = NULL;
  size_t size = 0;
  const char *path = args_value(a, "--output");
  plait_messages *m = NULL;
  plait_status s = plait_emit_code(e, "cubin", o, &code, &size, &m);
  int bad = s || m ? cli_messages(c, s, m) : GOOD;
  if (!bad) bad = cli_write_file(c, path ? path : "-", code, size);
  plait_free(code);
  return bad;
}

static int run_emit(Cli *c, const Args *a) {
  Stages stages = {0};
  plait_build_options o;
  const char *stage;
  int bad = build_options(c, a, &stages, &o);
  if (!bad) bad = choose_stage(c, a, &stage);
  if (!bad && for_gpu(a) && !o.arch) o.arch = "sm_90";       // stages before the text are those for a GPU too
  if (!bad) bad = check_options(c, a, stage);
  if (bad) return bad;
  plait_program *p = NULL;
  const plait_entry *e;
  plait_compile_options co = compile_options(&stages);
  bad = cli_entry(c, a, &co, &p, &e);
  if (!bad) bad = is(stage, "cubin") ? emit_cubin(c, a, e, &o) : emit_text(c, a, e, stage, &o);
  plait_program_free(p);
  stages_print(&stages);
  return bad;
}

static const Option options[] = {
  OPTION_ENTRY,
  {"--target", 0, "TARGET", false, "what to print: c (the default); cuda: CUDA C; ptx: assembly text for NVIDIA GPUs; cubin: machine code for one"},
  OPTION_ARCH,
  {"--stage", 0, "STAGE", false, "fn: equations with everything inlined; fused: after the passes on equations; schedule: which "
   "equations share a kernel; kernel: loops. Without it: the text for the target"},
  OPTION_DIM,
  {"--output", 'o', "FILE", false, "where to write (default: standard output)"},
  {"--header", 0, "FILE", false, "also write the header that declares the entry point: of C, or of a function for the host that launches the kernels of CUDA C"},
  {"--stop-after", 0, "PASS", false, "print the program as it is after this pass"},
  OPTION_GPU_COMPILER,
  OPTION_DEPENDENT,
  OPTIONS_PASSES,
  {0},
};

const Command command_emit = {
  "emit", "print what the compiler makes of a program", "FILE", 1, 1, options,
  "Prints an entry point at a stage of its way from equations to C. The C needs no header and no library but libm; the header of "
  "--header declares its entry point and says what its arguments are. CUDA C has a function of the same name for the host, which nvcc "
  "compiles: pointers to memory of the device, scratch memory and a place for faults where the program needs them, and a stream. With -D the text is made for that value: the dimension "
  "becomes a number and is no argument any more. Nothing depends on time or chance: the same program and options give the same "
  "text.\n",
  "plait emit softmax.plait > softmax.c\n"
  "plait emit softmax.plait -o softmax.c --header softmax.h\n"
  "plait emit softmax.plait --stage fused        # what fusion did to the equations\n"
  "plait emit softmax.plait --stage kernel -D N=4096 -D D=1024\n"
  "plait emit softmax.plait --stage fn --dump-after all --time-passes\n"
  "plait emit softmax.plait --target cuda -o softmax.cu --header softmax.h      # then: nvcc -arch=sm_90 -c softmax.cu\n"
  "plait emit softmax.plait --target cubin --arch sm_90 -o softmax.cubin\n",
  run_emit,
};
