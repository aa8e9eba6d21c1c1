// run.c: plait run.
#include "cli/run.h"
#include <inttypes.h>
#include <string.h>

static int number_option(Run *r, const char *option, int64_t least, int64_t most, int64_t *out) {
  const char *text = args_value(r->a, option);
  if (!text || parse_int(text, least, most, out)) return GOOD;
  return cli_error(r->c, USAGE, cli_printf(r->c, "%" PRId64 " to %" PRId64, least, most), "`%s %s` is no number that fits", option, text);
}

static int check_target(Run *r, const char **target) {
  static const char *const targets[] = {"c", "cuda", "ref"};
  const char *asked = args_value(r->a, "--target");
  *target = asked ? asked : "c";
  for (int i = 0; i < 3; i++)
    if (strcmp(targets[i], *target) == 0) return GOOD;
  const char *near = closest(asked, targets, 3);
  return cli_error(r->c, USAGE, near ? cli_printf(r->c, "did you mean `%s`?", near) : "c (compiled), cuda (on a GPU) or ref (the interpreter)",
                   "unknown target `%s`", asked);
}

// The tensors where the kernels can use them; scalars stay on the host.
static int place(Run *r) {
  int bad = GOOD;
  r->in = cli_array(r->c, plait_tensor, r->info.nparams + 1);
  r->out = cli_array(r->c, plait_tensor, r->info.nresults + 1);
  for (size_t i = 0; i < r->info.nparams && !bad; i++) {
    if (r->input[i].param.kind == PLAIT_SCALAR) r->in[i] = r->params[i];
    else bad = memory_copy(&r->memory, &r->params[i], true, &r->in[i]);
  }
  for (size_t i = 0; i < r->info.nresults && !bad; i++) bad = memory_copy(&r->memory, &r->results[i], false, &r->out[i]);
  return bad;
}

// What the kernels wrote, back on the host.
static int fetch(Run *r) {
  int bad = GOOD;
  for (size_t i = 0; i < r->info.nparams && !bad && r->memory.device; i++)
    if (r->input[i].param.kind == PLAIT_MUT) bad = memory_get(&r->memory, r->params[i].data, r->in[i].data, r->params[i].bytes);
  for (size_t i = 0; i < r->info.nresults && !bad && r->memory.device; i++)
    bad = memory_get(&r->memory, r->results[i].data, r->out[i].data, r->results[i].bytes);
  return bad;
}

static int launch(Run *r, const plait_exec *x) {
  plait_messages *m = NULL;
  plait_launch_options o = {.struct_size = sizeof o, .wait = 1};
  plait_status s = plait_launch(x, r->in, r->info.nparams, r->out, r->info.nresults, &o, &m);
  return s || m ? cli_messages(r->c, s, m) : fetch(r);
}

static void keep_mut(Run *r) {
  for (size_t i = 0; i < r->info.nparams; i++) {
    Input *in = &r->input[i];
    if (in->param.kind != PLAIT_MUT) continue;
    in->before = cli_alloc(r->c, r->params[i].bytes);
    memcpy(in->before, r->params[i].data, r->params[i].bytes);
  }
}

// The timed runs start from the tensors as they were given; the results that are shown are those of the first run.
static int run_prepared(Run *r, const plait_exec *x, int64_t times) {
  if (times) keep_mut(r);
  int bad = launch(r, x);
  if (!bad) bad = outputs_write(r);
  if (!bad && times) bad = time_runs(r, x, times);
  return bad;
}

static int run_entry(Run *r, const char *target, int64_t times) {
  r->info.struct_size = sizeof r->info;
  plait_entry_get(r->entry, &r->info);
  int bad = inputs_read(r);
  if (bad) return bad;
  plait_exec *x = NULL;
  plait_messages *m = NULL;
  plait_status s = plait_prepare(r->entry, target, &r->build, &x, &m);
  if (s || m) bad = cli_messages(r->c, s, m);
  if (!bad) bad = memory_open(&r->memory, r->c, strcmp(target, "cuda") == 0, r->build.device);
  if (!bad) bad = place(r);
  if (!bad) bad = run_prepared(r, x, times);
  memory_close(&r->memory);
  plait_exec_free(x);
  return bad;
}

static int run_run(Cli *c, const Args *a) {
  Run r = {.c = c, .a = a};
  const char *target;
  int64_t times = 0, seed = 0, device = 0;
  int bad = build_options(c, a, &r.stages, &r.build);
  if (!bad) bad = check_target(&r, &target);
  if (!bad) bad = number_option(&r, "--time", 1, 1000000, &times);
  if (!bad) bad = number_option(&r, "--seed", 0, INT64_MAX, &seed);
  if (!bad) bad = number_option(&r, "--device", 0, 1023, &device);
  if (!bad && args_has(a, "--device") && strcmp(target, "cuda") != 0)
    bad = cli_error(c, USAGE, "add --target cuda", "`--device` is a GPU's number, and target `%s` has none", target);
  if (bad) return bad;
  r.build.device = (int)device;
  r.seed = (uint64_t)seed;
  plait_program *p = NULL;
  plait_compile_options co = compile_options(&r.stages);
  bad = cli_entry(c, a, &co, &p, &r.entry);
  if (!bad) bad = run_entry(&r, target, times);
  plait_program_free(p);
  stages_print(&r.stages);
  return bad;
}

static const Option options[] = {
  {"--in", 'i', "NAME=WHAT", true, "a tensor: an NPY file, or random, zeros, ones or iota, with :SHAPE where the other arguments and -D do "
   "not decide it, as in random:4096x1024; random also takes a range, as in random:16:0..100"},
  {"--set", 's', "NAME=VALUE", true, "a scalar, as in --set eps=1e-6"},
  {"--out", 'o', "NAME=FILE", true, "write a result or changed tensor as NPY; the others are summarised (`-`: standard output)"},
  OPTION_ENTRY,
  {"--target", 0, "TARGET", false, "c: compiled for this machine (the default); cuda: on an NVIDIA GPU; ref: the interpreter, slow and exact"},
  {"--device", 0, "N", false, "the GPU to run on, from 0 (plait doctor lists them)"},
  OPTION_DIM,
  {"--seed", 0, "S", false, "of random tensors (default 0)"},
  {"--time", 0, "N", false, "time N runs: median, bytes moved, bandwidth, and a copy of as many bytes beside it"},
  OPTION_THREADS, OPTION_COMPILER, OPTION_CC, OPTION_MARCH, OPTION_GPU_COMPILER, OPTION_DEPENDENT,
  OPTIONS_PASSES,
  {0},
};

const Command command_run = {
  "run", "run a program on arrays", "FILE", 1, 1, options,
  "Gives an entry point its arguments, runs it, and writes or summarises what comes out: type, shape, least, greatest and mean "
  "value, how many NaN and infinities, the first elements.\n"
  "\n"
  "Arrays are NumPy's NPY files, little-endian and in C order, of exactly the parameter's type. Types that NumPy lacks travel as "
  "unsigned integers of their size: bf16 as uint16, f8e4m3 and f8e5m2 as uint8; i4, u4 and storage formats as uint8 with the last "
  "dimension in bytes. A mut parameter is read with --in and, changed, written with --out.\n"
  "\n"
  "random gives floats a normal distribution with mean 0 and deviation 1; integers of 8 and 4 bits all their values; larger ones 0 "
  "to 7, which suits positions and ids; bool both; formats floats of deviation 1/16 and all bits elsewhere. iota counts from 0.\n",
  "plait run softmax.plait --in x=random:4096x1024\n"
  "plait run norm.plait --in x=x.npy --in w=ones --set eps=1e-6 --out y=y.npy\n"
  "plait run decode.plait --entry decode --in q=random -D B=4 -D H=32 …\n"
  "plait run softmax.plait --in x=random:4096x4096 --time 50\n"
  "plait run softmax.plait --in x=random:4096x4096 --target cuda --time 50\n"
  "plait run append.plait --in cache=c.npy --in k=k.npy --in pos=p.npy --out cache=c.npy\n"
  "plait run new.plait --in x=random:8x8 --target ref      # needs no compiler\n",
  run_run,
};
