// explain.c: plait explain: kernels, bytes, why equations stayed apart, and what it means on this machine.
#include "cli/cli.h"
#include <math.h>
#include <string.h>

typedef struct Explain { Cli *c; const char *path; const plait_entry *entry; plait_entry_info info; plait_build_options o; } Explain;

// ---- dimensions ----

static bool has_dim(const Explain *e, const char *name) {
  for (size_t i = 0; i < e->o.ndims; i++)
    if (strcmp(e->o.dims[i].name, name) == 0) return true;
  return false;
}

// Bytes depend on all of them: say at once which are missing, and how to give them.
static int check_dims(Explain *e) {
  const char *missing = "", *example = "";
  int n = 0;
  for (size_t i = 0; i < e->info.ndims; i++) {
    const char *name = plait_entry_dim(e->entry, i);
    if (has_dim(e, name)) continue;
    missing = cli_printf(e->c, "%s%s`%s`", missing, n++ ? ", " : "", name);
    example = cli_printf(e->c, "%s -D %s=%d", example, name, n == 1 ? 4096 : 1024);
  }
  if (!n) return GOOD;
  return cli_error(e->c, USAGE, cli_printf(e->c, "plait explain %s%s", e->path, example), "dimension%s %s of %s need%s a value",
                   n > 1 ? "s" : "", missing, e->info.signature, n > 1 ? "" : "s");
}

// ---- text ----

static void put_traffic(Explain *e, const plait_report *r, size_t k, size_t ntensors) {
  Cli *c = e->c;
  Table t = table_make(c, "llr");
  for (int writes = 0; writes < 2; writes++)
    for (size_t i = 0; i < ntensors; i++) {
      plait_traffic f = {.struct_size = sizeof f};
      if (plait_report_traffic(r, k, i, &f)) continue;
      double bytes = writes ? f.write_bytes : f.read_bytes;
      if (bytes <= 0) continue;
      table_cell(&t, writes ? "writes" : "reads");
      table_cell(&t, f.tensor);
      table_cell(&t, human(c, bytes, "B"));
    }
  table_print(&t, stdout, 2);
}

static const char *duration(Cli *c, double s) {
  return s < 1e-3 ? cli_printf(c, "%.3g us", s * 1e6) : s < 1 ? cli_printf(c, "%.3g ms", s * 1e3) : cli_printf(c, "%.3g s", s);
}

static const char *intensity(Cli *c, double flops, double bytes) {
  return bytes > 0 ? cli_printf(c, "%.2f flop/B", flops / bytes) : "no memory";
}

static void put_kernel(Explain *e, const plait_report *r, size_t k) {
  Cli *c = e->c;
  plait_kernel info = {.struct_size = sizeof info};
  if (plait_report_kernel(r, k, &info)) return;
  printf("%skernel %zu  %s%s  %s, %s, %s, about %s\n", paint(c->color_out, BOLD), k + 1, info.name, paint(c->color_out, PLAIN),
         human(c, info.bytes, "B"), human(c, info.flops, "flop"), intensity(c, info.flops, info.bytes), duration(c, info.seconds));
  for (size_t i = 0; i < info.nequations; i++) put_wrapped(stdout, plait_report_equation(r, k, i), 2, 120);
  put_traffic(e, r, k, info.ntensors);
  putchar('\n');
}

static const char *ratio(Cli *c, double a, double b) { return b > 0 ? cli_printf(c, "%.2f", a / b) : "-"; }

static void put_yardsticks(Cli *c, const plait_cost *k) {
  Table t = table_make(c, "lrrr");
  const struct { const char *name; size_t kernels; double bytes; } rows[] = {
    {"unfused", (size_t)k->nequations, k->bytes_unfused}, {"now", k->nkernels, k->bytes_fused}, {"least", 0, k->bytes_minimum}};
  static const char *const head[] = {"", "kernels", "bytes", "beside the least"};
  for (int i = 0; i < 4; i++) table_cell(&t, head[i]);
  for (int i = 0; i < 3; i++) {
    table_cell(&t, rows[i].name);
    table_cell(&t, rows[i].kernels ? cli_printf(c, "%zu", rows[i].kernels) : "");
    table_cell(&t, human(c, rows[i].bytes, "B"));
    table_cell(&t, ratio(c, rows[i].bytes, k->bytes_minimum));
  }
  table_print(&t, stdout, 0);
}

static void put_remark(Cli *c, const plait_remark *m) {
  bool two = m->second && m->second_at.line && m->second_at.line != m->first_at.line;
  printf("%s %s", m->code, m->reason);
  if (m->first_at.line) printf(two ? ", lines %d and %d" : ", line %d", m->first_at.line, m->second_at.line);
  printf("%s%s\n", m->bytes > 0 ? ", at stake " : "", m->bytes > 0 ? human(c, m->bytes, "B") : "");
  put_wrapped(stdout, m->text, 2, 100);
}

static void put_remarks(Cli *c, const plait_report *r, size_t n) {
  if (!n) return;
  printf("\n%swhy not one kernel%s\n", paint(c->color_out, BOLD), paint(c->color_out, PLAIN));
  for (size_t i = 0; i < n; i++) {
    plait_remark m = {.struct_size = sizeof m};
    if (plait_report_remark(r, i, &m) == PLAIT_OK) put_remark(c, &m);
  }
}

// What to learn from the numbers, in a sentence or two.
static void put_lesson(Cli *c, const plait_cost *k) {
  if (k->gbs <= 0 || k->gflops <= 0 || k->bytes_fused <= 0) return;
  double balance = k->gflops / k->gbs, now = k->flops / k->bytes_fused, before = k->flops / k->bytes_unfused;
  double memory = k->bytes_fused / k->gbs / 1e3, compute = k->flops / k->gflops / 1e3, launches = (double)k->nkernels * k->launch_us;
  const char *saved = k->bytes_unfused > 1.005 * k->bytes_fused
    ? cli_printf(c, "Fusion leaves %.0f %% of the bytes, which raises the intensity from %.2f to %.2f flop per byte. ",
                 100 * k->bytes_fused / k->bytes_unfused, before, now)
    : cli_printf(c, "Fusion saves nothing %s; the intensity is %.2f flop per byte. ",
                 k->bytes_fused > 1.005 * k->bytes_minimum ? "yet" : "here, nor could it", now);
  const char *verdict = launches > memory && launches > compute
    ? cli_printf(c, "With so little data the start of %zu kernel%s (%.1f us) takes longest; larger tensors would hide it.", k->nkernels,
                 k->nkernels > 1 ? "s" : "", launches)
    : now < balance
    ? cli_printf(c, "It is memory-bound: below %.1f flop per byte a machine such as `%s` (%.0f GB/s, %.0f Gflop/s) waits for memory, so time "
                 "follows bytes: about %.3g ms. Fewer bytes make it faster, fewer operations do not.", balance, k->machine, k->gbs, k->gflops, memory / 1e3)
    : cli_printf(c, "It is compute-bound: above %.1f flop per byte a machine such as `%s` (%.0f GB/s, %.0f Gflop/s) is busy with arithmetic: "
                 "about %.3g ms. Further fusion would not make it faster.", balance, k->machine, k->gbs, k->gflops, compute / 1e3);
  putchar('\n');
  put_wrapped(stdout, cli_printf(c, "%s%s\n", saved, verdict), 0, 100);
}

static int put_text(Explain *e, const plait_report *r) {
  Cli *c = e->c;
  plait_cost cost = {.struct_size = sizeof cost};
  if (plait_report_cost(r, &cost)) return BUG;
  printf("%s", e->info.signature);
  for (size_t i = 0; i < e->o.ndims; i++) printf("%s%s = %lld", i ? ", " : "\n  with ", e->o.dims[i].name, (long long)e->o.dims[i].value);
  printf("\n\n");
  for (size_t k = 0; k < cost.nkernels; k++) put_kernel(e, r, k);
  put_yardsticks(c, &cost);
  put_remarks(c, r, cost.nremarks);
  put_lesson(c, &cost);
  return GOOD;
}

static int put_json(Cli *c, const plait_report *r) {
  char *text = NULL;
  size_t n = 0;
  plait_status s = plait_report_json(r, &text, &n);
  int bad = s ? cli_messages(c, s, NULL) : cli_write_file(c, "-", text, n);
  plait_free(text);
  return bad;
}

// --set n=100: integer scalars that extents depend on, beside the dimensions.
static int add_scalars(Explain *e, const Args *a) {
  const char *text, *name, *value;
  plait_dim *dims = cli_array(e->c, plait_dim, e->o.ndims + (size_t)a->ngiven + 1);
  if (e->o.ndims) memcpy(dims, e->o.dims, e->o.ndims * sizeof *dims);
  e->o.dims = dims;
  for (int at = 0; (text = args_next(a, "--set", &at));) {
    int64_t v;
    int bad = args_pair(e->c, "--set", text, &name, &value);
    if (bad) return bad;
    if (!parse_int(value, 0, INT64_MAX, &v)) return cli_error(e->c, USAGE, NULL, "`--set %s`: `%s` is no integer from 0", text, value);
    dims[e->o.ndims++] = (plait_dim){name, v};
  }
  return GOOD;
}

static int explain_entry(Explain *e, bool json) {
  e->info.struct_size = sizeof e->info;
  plait_entry_get(e->entry, &e->info);
  int bad = check_dims(e);
  if (bad) return bad;
  plait_report *r = NULL;
  plait_messages *m = NULL;
  plait_status s = plait_explain(e->entry, &e->o, &r, &m);
  if (s || m) bad = cli_messages(e->c, s, m);
  if (!bad) bad = json ? put_json(e->c, r) : put_text(e, r);
  plait_report_free(r);
  return bad;
}

static int run_explain(Cli *c, const Args *a) {
  Explain e = {.c = c, .path = a->operand[0]};
  Stages stages = {0};
  int bad = build_options(c, a, &stages, &e.o);
  if (!bad) bad = add_scalars(&e, a);
  if (bad) return bad;
  plait_program *p = NULL;
  plait_compile_options co = compile_options(&stages);
  bad = cli_entry(c, a, &co, &p, &e.entry);
  if (!bad) bad = explain_entry(&e, args_has(a, "--json"));
  plait_program_free(p);
  stages_print(&stages);
  return bad;
}

static const Option options[] = {
  OPTION_ENTRY, OPTION_DIM,
  {"--set", 's', "NAME=N", true, "an integer scalar that extents depend on; without it its default counts, or 0"},
  {"--json", 0, NULL, false, "print kernels[] {name, equations[], reads[], writes[], bytes, flops, seconds}, bytes_unfused, bytes_fused, "
   "bytes_minimum, flops, remarks[] {code, equations[], bytes, text} as JSON"},
  OPTIONS_PASSES,
  {0},
};

const Command command_explain = {
  "explain", "show kernels, bytes and why equations stayed apart", "FILE", 1, 1, options,
  "Nothing is run. For given dimensions it shows each kernel with its equations, the bytes that it reads and writes, its "
  "operations, their ratio and the time by the model of the machine; then three yardsticks for the bytes: unfused (every "
  "equation a kernel of its own), now, and the least (each input once, each result once); then for equations that stayed in different kernels the reason and the bytes at "
  "stake (plait help PLF0102 tells more); and last what it means for time.\n"
  "\n"
  "Bytes count traffic with memory, each element once a kernel. Ranges that depend on data count with their bound.\n",
  "plait explain softmax.plait -D N=4096 -D D=4096\n"
  "plait explain softmax.plait -D N=4096 -D D=4096 --no-fuse\n"
  "plait explain norm.plait --entry layer_norm -D N=1 -D D=8192 --json\n",
  run_explain,
};
