// outputs.c: what plait run does with results and changed tensors: NPY files, or a line of summary each.
#include "cli/run.h"
#include <math.h>
#include <string.h>

// Result `name` or changed tensor `name`.
static bool find_output(const Run *r, const char *name, const plait_param **p, const plait_tensor **t) {
  int i = result_index(r, name), k = param_index(r, name);
  if (i >= 0) return *p = &r->result[i], *t = &r->results[i], true;
  if (k >= 0 && r->input[k].param.kind == PLAIT_MUT) return *p = &r->input[k].param, *t = &r->params[k], true;
  return false;
}

static const char *output_names(const Run *r, const char **names, size_t *n) {
  const char *list = "";
  for (size_t i = 0; i < r->info.nresults; i++) names[(*n)++] = r->result[i].name;
  for (size_t i = 0; i < r->info.nparams; i++)
    if (r->input[i].param.kind == PLAIT_MUT) names[(*n)++] = r->input[i].param.name;
  for (size_t i = 0; i < *n; i++) list = cli_printf(r->c, "%s%s%s", list, i ? ", " : "", names[i]);
  return list;
}

// Before anything is computed: a mistyped name should not cost a run.
int outputs_check(Run *r) {
  const char *text, *name, *path;
  for (int at = 0; (text = args_next(r->a, "--out", &at));) {
    const plait_param *p;
    const plait_tensor *t;
    int bad = args_pair(r->c, "--out", text, &name, &path);
    if (bad) return bad;
    if (find_output(r, name, &p, &t)) continue;
    const char **names = cli_array(r->c, const char *, r->info.nparams + r->info.nresults + 1);
    size_t n = 0;
    const char *list = output_names(r, names, &n), *near = closest(name, names, n);
    return cli_error(r->c, USAGE, near ? cli_printf(r->c, "did you mean `%s`?", near) : cli_printf(r->c, "it has: %s", list),
                     "`%s` has no result `%s`", r->info.name, name);
  }
  return GOOD;
}

static int save(Run *r, const char *path, const plait_param *p, const plait_tensor *t) {
  int64_t extent[PLAIT_MAX_RANK];
  NpyError e;
  int rank = numpy_shape(p, t, extent);
  if (npy_save(path, plait_dtype_numpy(p->dtype), rank, extent, t->data, t->bytes, &e)) return GOOD;
  return cli_file_error(r->c, "PLE0102", e.help, "`%s`: %s", path, e.text);
}

// ---- summary ----

enum { CHUNK = 4096, SHOWN = 4 };

typedef struct Summary { int64_t count, nan, inf, finite; double least, most, sum; double first[SHOWN]; } Summary;

static void count_value(Summary *s, double v) {
  if (s->count < SHOWN) s->first[s->count] = v;
  s->count++;
  if (isnan(v)) {
    s->nan++;
    return;
  }
  if (v < s->least) s->least = v;
  if (v > s->most) s->most = v;
  if (isinf(v)) {
    s->inf++;
    return;
  }
  s->finite++;
  s->sum += v;
}

static bool summarise(const Run *r, const plait_tensor *t, Summary *s) {
  double v[CHUNK];
  int64_t total = 1;
  *s = (Summary){.least = INFINITY, .most = -INFINITY};
  for (int i = 0; i < t->rank; i++) total *= t->extent[i];
  for (int64_t first = 0; first < total; first += CHUNK) {
    int n = total - first < CHUNK ? (int)(total - first) : CHUNK;
    if (plait_values_read(r->entry, t, first, n, v)) return false;
    for (int i = 0; i < n; i++) count_value(s, v[i]);
  }
  return true;
}

static const char *number(Cli *c, double v) { return cli_printf(c, "%.6g", v); }

static const char *first_values(Cli *c, const Summary *s) {
  const char *text = "";
  for (int i = 0; i < SHOWN && i < s->count; i++) text = cli_printf(c, "%s%s%s", text, i ? " " : "", number(c, s->first[i]));
  return s->count > SHOWN ? cli_printf(c, "%s …", text) : text;
}

static void put_summary(const Run *r, Table *t, const plait_param *p, const plait_tensor *x) {
  Summary s;
  if (!summarise(r, x, &s)) return;
  Cli *c = r->c;
  bool some = s.count > s.nan;
  const char *cells[] = {
    p->name, p->format ? p->format : plait_dtype_name(p->dtype), extents_text(c, x->rank, x->extent),
    some ? number(c, s.least) : "-", some ? number(c, s.most) : "-", s.finite ? number(c, s.sum / (double)s.finite) : "-",
    number(c, (double)s.nan), number(c, (double)s.inf), first_values(c, &s),
  };
  for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) table_cell(t, cells[i]);
}

static bool is_saved(const Run *r, const char *name) {
  const char *text;
  size_t n = strlen(name);
  for (int at = 0; (text = args_next(r->a, "--out", &at));)
    if (strncmp(text, name, n) == 0 && text[n] == '=') return true;
  return false;
}

static int save_all(Run *r) {
  const char *text, *name, *path;
  for (int at = 0; (text = args_next(r->a, "--out", &at));) {
    const plait_param *p;
    const plait_tensor *t;
    int bad = args_pair(r->c, "--out", text, &name, &path);
    if (!bad && find_output(r, name, &p, &t)) bad = save(r, path, p, t);
    if (bad) return bad;
  }
  return GOOD;
}

int outputs_write(Run *r) {
  static const char *const head[] = {"result", "type", "shape", "min", "max", "mean", "nan", "inf", "first"};
  Table t = table_make(r->c, "lllrrrrrl");
  for (size_t i = 0; i < sizeof head / sizeof *head; i++) table_cell(&t, head[i]);
  for (size_t i = 0; i < r->info.nresults; i++)
    if (!is_saved(r, r->result[i].name)) put_summary(r, &t, &r->result[i], &r->results[i]);
  for (size_t i = 0; i < r->info.nparams; i++)
    if (r->input[i].param.kind == PLAIT_MUT && !is_saved(r, r->input[i].param.name)) put_summary(r, &t, &r->input[i].param, &r->params[i]);
  if (t.rows > t.columns) table_print(&t, stdout, 0);
  return save_all(r);
}
