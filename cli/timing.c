// timing.c: plait run --time: medians, bytes moved, and a copy of as many bytes beside it.
//
// A bandwidth means little without the machine's own: the copy is a Plait program too, with the same compiler and
// threads, moves as many bytes, and is timed in the same process right after. `mut` tensors are put back before each run.
#include "cli/run.h"
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

typedef struct Launch {
  Cli *c;
  const plait_exec *x;
  const plait_tensor *params, *results;
  size_t nparams, nresults;
  plait_launch_options o;
  Memory *memory;
  Run *restore;               // NULL: nothing is changed in place
} Launch;

static int put_back(Run *r) {
  int bad = GOOD;
  for (size_t i = 0; r && i < r->info.nparams && !bad; i++)
    if (r->input[i].before) bad = memory_put(&r->memory, r->in[i].data, r->input[i].before, r->in[i].bytes);
  return bad;
}

static int give_scratch(Launch *l) {
  size_t align;
  plait_messages *m = NULL;
  plait_status s = plait_exec_scratch(l->x, l->params, l->nparams, &l->o.scratch_bytes, &align, &m);
  if (s) return cli_messages(l->c, s, m);
  l->o.struct_size = sizeof l->o;
  return memory_alloc(l->memory, l->o.scratch_bytes, &l->o.scratch);
}

// The first run is not counted: it pays for page faults and for the start of threads. The n times in ms, sorted.
static int time_launches(Launch *l, const char *what, int64_t n, double *ms) {
  int bad = give_scratch(l);
  for (int64_t i = -1; i < n && !bad; i++) {
    plait_messages *m = NULL;
    double spent = 0;
    l->o.ms = &spent;
    bad = put_back(l->restore);
    plait_status s = bad ? PLAIT_OK : plait_launch(l->x, l->params, l->nparams, l->results, l->nresults, &l->o, &m);
    if (i >= 0) ms[i] = spent;
    if (s) bad = cli_messages(l->c, s, m);
    if (l->c->color_err) cli_talk(l->c, "\r%s: %lld of %lld runs", what, (long long)i + 1, (long long)n);
  }
  if (l->c->color_err) cli_talk(l->c, "\r\033[K");
  qsort(ms, (size_t)n, sizeof *ms, by_value);
  return bad;
}

static double median(const double *ms, int64_t n) { return n % 2 ? ms[n / 2] : (ms[n / 2 - 1] + ms[n / 2]) / 2; }

// ---- the copy ----

static const char copy_text[] = "fn copy(x: f32[N]) -> y: f32[N] { y[i] = x[i] }\n";
enum { COPY_LEAST = 1 << 20, COPY_MOST = 1 << 30 };

// Something to copy: pages that nobody wrote are one page of zeros to the CPU, and GPUs move zeros faster.
static int fill(Run *r, const plait_tensor *t) {
  size_t n = t->bytes / 4;
  float *values = cli_array(r->c, float, n + 1);
  uint32_t state = 1;
  for (size_t i = 0; i < n; i++, state = state * 1664525 + 1013904223) values[i] = (float)(state >> 8);
  return memory_put(&r->memory, t->data, values, t->bytes);
}

// Median ms of a copy that moves *bytes (read and written together); -1 when it cannot be had.
static double time_copy(Run *r, const char *target, int64_t n, double *bytes) {
  double moved = *bytes < COPY_LEAST ? COPY_LEAST : *bytes > COPY_MOST ? COPY_MOST : *bytes;
  int64_t extent = (int64_t)moved / 8;
  plait_program *p = NULL;
  plait_exec *x = NULL;
  const plait_entry *e;
  plait_build_options o = {.struct_size = sizeof o, .device = r->build.device};
  double result = -1, *ms = cli_array(r->c, double, n);
  if (plait_compile(r->c->context, "<copy>", copy_text, strlen(copy_text), NULL, &p, NULL) == PLAIT_OK
      && plait_program_find(p, NULL, &e, NULL) == PLAIT_OK && plait_prepare(e, target, &o, &x, NULL) == PLAIT_OK) {
    plait_tensor t[2];
    int bad = GOOD;
    for (int i = 0; i < 2; i++) {
      t[i] = (plait_tensor){.dtype = PLAIT_F32, .rank = 1, .extent = {extent}, .bytes = 4 * (size_t)extent};
      if (!bad) bad = memory_alloc(&r->memory, t[i].bytes, &t[i].data);
    }
    if (!bad) bad = fill(r, &t[0]);
    Launch l = {.c = r->c, .x = x, .params = t, .results = t + 1, .nparams = 1, .nresults = 1, .memory = &r->memory};
    if (!bad && time_launches(&l, "copy", n, ms) == GOOD) result = median(ms, n);
  }
  *bytes = 8 * (double)extent;
  plait_exec_free(x);
  plait_program_free(p);
  return result;
}

// ---- the report ----

// Bytes that the kernels move with these dimensions; -1 when that cannot be told.
static double bytes_moved(const Run *r) {
  plait_build_options o = r->build;
  plait_report *report = NULL;
  plait_cost cost = {.struct_size = sizeof cost};
  plait_dim *dims = cli_array(r->c, plait_dim, r->info.ndims + 1);
  for (size_t i = 0; i < r->info.ndims; i++) dims[i] = (plait_dim){plait_entry_dim(r->entry, i), r->dims[i]};
  o.dims = dims;
  o.ndims = r->info.ndims;
  o.timing = NULL;
  o.dump_after = NULL;
  bool good = plait_explain(r->entry, &o, &report, NULL) == PLAIT_OK && plait_report_cost(report, &cost) == PLAIT_OK;
  plait_report_free(report);
  return good ? cost.bytes_fused : -1;
}

static void row(Table *t, const char *name, const char *value, const char *remark) {
  table_cell(t, name);
  table_cell(t, value);
  table_cell(t, remark);
}

static void put_bandwidth(Run *r, Table *t, const char *target, int64_t n, double ms) {
  Cli *c = r->c;
  double bytes = bytes_moved(r), copied = bytes;
  if (bytes <= 0 || ms <= 0) return;
  row(t, "moves", human(c, bytes, "B"), cli_printf(c, "%.1f GB/s", bytes / ms / 1e6));
  double copy = time_copy(r, target, n, &copied);
  if (copy <= 0) return;
  double gbs = copied / copy / 1e6;
  row(t, "copy", human(c, copied, "B"), cli_printf(c, "%.1f GB/s, measured now", gbs));
  row(t, "of copy", cli_printf(c, "%.0f %%", 100 * (bytes / ms / 1e6) / gbs), "");
}

// What each kernel takes of a GPU, which decides how many blocks run beside each other.
static void put_functions(Cli *c, Table *t, const plait_exec *x) {
  plait_function f = {.struct_size = sizeof f};
  for (size_t i = 0; plait_exec_function(x, i, &f) == PLAIT_OK; i++) {
    const char *spills = f.spill_store_bytes > 0 || f.spill_load_bytes > 0
      ? cli_printf(c, ", %d bytes spilled and %d read back", f.spill_store_bytes, f.spill_load_bytes) : "";
    row(t, "kernel", cli_printf(c, "%d regs", f.registers), cli_printf(c, "%s: %d bytes of shared memory%s", f.name, f.shared_bytes, spills));
  }
}

int time_runs(Run *r, const plait_exec *x, int64_t n) {
  Cli *c = r->c;
  plait_exec_info info = {.struct_size = sizeof info};
  plait_exec_get(x, &info);
  double *ms = cli_array(c, double, n);
  Launch l = {
    .c = c, .x = x, .params = r->in, .results = r->out, .nparams = r->info.nparams, .nresults = r->info.nresults, .memory = &r->memory, .restore = r};
  int bad = time_launches(&l, r->info.name, n, ms);
  if (bad) return bad;
  Table t = table_make(c, "lrl");
  row(&t, "median", cli_printf(c, "%.4f ms", median(ms, n)), cli_printf(c, "of %lld run%s", (long long)n, n == 1 ? "" : "s"));
  row(&t, "range", cli_printf(c, "%.4f ms", ms[0]), cli_printf(c, "to %.4f ms", ms[n - 1]));
  row(&t, "build", cli_printf(c, "%.1f ms", info.build_ms), info.compiler ? info.compiler : "the interpreter");
  if (info.device) row(&t, "device", "", cli_printf(c, "%s, %s", info.device, info.arch));
  put_functions(c, &t, x);
  if (info.compiler) put_bandwidth(r, &t, info.target, n, median(ms, n));
  table_print(&t, stdout, 0);
  return GOOD;
}
