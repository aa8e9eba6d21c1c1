// inputs.c: the arguments of plait run: --in and --set, NPY files, extents.
#include "cli/run.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int param_index(const Run *r, const char *name) {
  for (size_t i = 0; i < r->info.nparams; i++)
    if (strcmp(r->input[i].param.name, name) == 0) return (int)i;
  return -1;
}

int result_index(const Run *r, const char *name) {
  for (size_t i = 0; i < r->info.nresults; i++)
    if (strcmp(r->result[i].name, name) == 0) return (int)i;
  return -1;
}

// ---- specifications ----

// "4096x1024" as extents; their number, -1 when it is none.
static int parse_shape(const char *text, size_t n, int64_t extent[PLAIT_MAX_RANK]) {
  int rank = 0;
  for (const char *p = text, *end = text + n; p < end; rank++) {
    size_t digits = strspn(p, "0123456789");
    if (!digits || digits > 18 || rank == PLAIT_MAX_RANK) return -1;
    extent[rank] = strtoll(p, NULL, 10);
    p += digits;
    if (p < end && *p++ != 'x') return -1;
    else if (p == end && p[-1] == 'x') return -1;
  }
  return rank;
}

static bool parse_range(const char *text, double *lo, double *hi) {
  char *end;
  const char *dots = strstr(text, "..");
  if (!dots) return false;
  char *low = strndup(text, (size_t)(dots - text));
  *lo = low ? strtod(low, &end) : 0;
  bool good = low && *low && !*end;
  free(low);
  *hi = strtod(dots + 2, &end);
  return good && dots[2] && !*end && *lo <= *hi && *hi - *lo < 1e300;
}

// random[:SHAPE][:LO..HI], zeros[:SHAPE], ones[:SHAPE], iota[:SHAPE]. True when the word before the first `:` is one.
static bool is_generator(const char *spec, How *how, size_t *word) {
  static const struct { const char *name; How how; } makers[] = {
    {"random", HOW_RANDOM}, {"zeros", HOW_ZEROS}, {"ones", HOW_ONES}, {"iota", HOW_IOTA}};
  *word = strcspn(spec, ":");
  for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
    if (strlen(makers[i].name) == *word && strncmp(spec, makers[i].name, *word) == 0) return *how = makers[i].how, true;
  return false;
}

static int bad_spec(Run *r, const Input *in) {
  return cli_error(r->c, USAGE, "write random, random:4096x1024, random:4096x1024:0..100, zeros:…, ones:…, iota:…, or the name of an NPY file",
                   "`--in %s=%s` cannot be read", in->param.name, in->spec);
}

static int read_generator(Run *r, Input *in, plait_tensor *t, size_t word) {
  for (const char *part = in->spec + word; *part;) {
    size_t n = strcspn(++part, ":");
    if (memchr(part, '.', n)) {
      if (in->how != HOW_RANDOM || part[n] || !parse_range(part, &in->lo, &in->hi)) return bad_spec(r, in);
      in->ranged = true;
    } else {
      int rank = t->rank < 0 && n ? parse_shape(part, n, t->extent) : -1;
      if (rank < 0) return bad_spec(r, in);
      t->rank = rank;
    }
    part += n;
  }
  return GOOD;
}

// ---- NPY files ----

int numpy_shape(const plait_param *p, const plait_tensor *t, int64_t extent[PLAIT_MAX_RANK]) {
  for (int i = 0; i < t->rank; i++) extent[i] = t->extent[i];
  int last = t->rank - 1;
  if (last >= 0 && plait_dtype_bits(p->dtype) == 4) extent[last] /= 2;
  if (last >= 0 && p->dtype == PLAIT_BLOCKS) extent[last] = extent[last] / p->block_values * p->block_bytes;
  return t->rank;
}

static const char *numpy_name(Cli *c, char kind, int size) {
  const char *name = kind == 'f' ? "float" : kind == 'i' ? "int" : kind == 'u' ? "uint" : NULL;
  if (kind == 'b') return "bool";
  return name ? cli_printf(c, "%s%d", name, 8 * size) : cli_printf(c, "'%c%d'", kind, size);
}

// bool is one byte of either kind; 'V' is how NumPy saves types of other packages (ml_dtypes).
static bool same_type(const plait_param *p, const NpyHeader *h) {
  const char *want = plait_dtype_numpy(p->dtype);
  bool kind = h->kind == want[1] || (h->kind == 'V' && want[1] == 'u') || (p->dtype == PLAIT_BOOL && h->kind == 'u');
  return kind && h->size == want[2] - '0';
}

static int check_type(Run *r, const Input *in, const NpyHeader *h) {
  const plait_param *p = &in->param;
  const char *want = plait_dtype_numpy(p->dtype), *type = numpy_name(r->c, want[1], want[2] - '0');
  const char *stored = p->format ? p->format : plait_dtype_name(p->dtype);
  if (!same_type(p, h))
    return cli_error(r->c, WRONG, cli_printf(r->c, "save it as np.%s: np.save(\"%s\", x.astype(np.%s))", type, in->spec, type),
                     "`%s` is %s, which a file carries as %s; `%s` holds %s", p->name, stored, type, in->spec, numpy_name(r->c, h->kind, h->size));
  if (h->order == '>' && h->size > 1)
    return cli_error(r->c, WRONG, cli_printf(r->c, "np.save(\"%s\", x.astype(np.%s))", in->spec, type), "`%s` is big-endian", in->spec);
  if (h->fortran && h->rank > 1)
    return cli_error(r->c, WRONG, cli_printf(r->c, "np.save(\"%s\", np.ascontiguousarray(x))", in->spec), "`%s` is in Fortran order", in->spec);
  return GOOD;
}

// The file's extents as those of the program: i4, u4 and formats travel as bytes.
static int file_shape(Run *r, const Input *in, const NpyHeader *h, plait_tensor *t) {
  const plait_param *p = &in->param;
  if (h->rank > PLAIT_MAX_RANK) return cli_error(r->c, WRONG, NULL, "`%s` has %d dimensions, the most is %d", in->spec, h->rank, PLAIT_MAX_RANK);
  t->rank = h->rank;
  memcpy(t->extent, h->extent, sizeof t->extent);
  int64_t *last = h->rank ? &t->extent[h->rank - 1] : NULL;
  if (last && plait_dtype_bits(p->dtype) == 4) *last *= 2;
  if (!last || p->dtype != PLAIT_BLOCKS) return GOOD;
  if (*last % p->block_bytes)
    return cli_error(r->c, WRONG, NULL, "rows of `%s` have %" PRId64 " bytes, which is no multiple of a block of %s (%" PRId64 " bytes)",
                     in->spec, *last, p->format, p->block_bytes);
  *last = *last / p->block_bytes * p->block_values;
  return GOOD;
}

static int npy_error(Cli *c, const char *path, const NpyError *e) {
  if (e->system) return cli_file_error(c, "PLE0101", e->help, "`%s`: %s", path, e->text);
  return cli_error(c, WRONG, e->help, "`%s`: %s", path, e->text);
}

static int read_file(Run *r, const Input *in, plait_tensor *t) {
  NpyFile f;
  NpyError e;
  if (!npy_open(in->spec, &f, &e)) return npy_error(r->c, in->spec, &e);
  int bad = check_type(r, in, &f.header);
  if (!bad) bad = file_shape(r, in, &f.header, t);
  if (!bad) {
    t->bytes = f.header.data_bytes;
    t->data = cli_alloc(r->c, t->bytes);
    if (!npy_read(&f, t->data, &e)) bad = npy_error(r->c, in->spec, &e);
  }
  npy_close(&f);
  return bad;
}

// ---- one argument ----

static const char *names_of(Run *r, bool scalars) {
  const char *list = "";
  for (size_t i = 0; i < r->info.nparams; i++) {
    const plait_param *p = &r->input[i].param;
    if ((p->kind == PLAIT_SCALAR) == scalars) list = cli_printf(r->c, "%s%s%s", list, *list ? ", " : "", p->name);
  }
  return *list ? list : "none";
}

static int find_param(Run *r, const char *option, const char *name, bool scalar, Input **out) {
  int i = param_index(r, name);
  if (i >= 0 && (r->input[i].param.kind == PLAIT_SCALAR) == scalar) return *out = &r->input[i], GOOD;
  if (i >= 0) return cli_error(r->c, USAGE, cli_printf(r->c, "write %s %s=…", scalar ? "--in" : "--set", name),
                               "`%s` is a %s", name, scalar ? "tensor" : "scalar");
  const char **names = cli_array(r->c, const char *, r->info.nparams + 1);
  for (size_t k = 0; k < r->info.nparams; k++) names[k] = r->input[k].param.name;
  const char *near = closest(name, names, r->info.nparams);
  return cli_error(r->c, USAGE, near ? cli_printf(r->c, "did you mean `%s`?", near) : cli_printf(r->c, "it has: %s", names_of(r, scalar)),
                   "`%s %s`: `%s` has no such parameter", option, name, r->info.name);
}

static int set_scalar(Run *r, const char *text) {
  const char *name, *value;
  Input *in;
  int bad = args_pair(r->c, "--set", text, &name, &value);
  if (!bad) bad = find_param(r, "--set", name, true, &in);
  if (bad) return bad;
  if (plait_scalar_parse(in->param.dtype, value, in->scalar))
    return cli_error(r->c, USAGE, NULL, "`--set %s`: `%s` is no value of %s", text, value, plait_dtype_name(in->param.dtype));
  in->how = HOW_SCALAR;
  plait_tensor *t = &r->params[in - r->input];
  t->data = in->scalar;
  t->bytes = sizeof in->scalar;
  return GOOD;
}

static int set_tensor(Run *r, const char *text) {
  const char *name, *spec;
  Input *in;
  size_t word;
  int bad = args_pair(r->c, "--in", text, &name, &spec);
  if (!bad) bad = find_param(r, "--in", name, false, &in);
  if (bad) return bad;
  if (in->how != HOW_MISSING) return cli_error(r->c, USAGE, NULL, "`%s` is given twice", name);
  plait_tensor *t = &r->params[in - r->input];
  in->spec = spec;
  if (is_generator(spec, &in->how, &word)) return read_generator(r, in, t, word);
  in->how = HOW_FILE;
  return read_file(r, in, t);
}

static int check_given(Run *r) {
  const char *missing = "", *example = "";
  bool scalar = false;
  for (size_t i = 0; i < r->info.nparams; i++) {
    const plait_param *p = &r->input[i].param;
    if (r->input[i].how != HOW_MISSING) continue;
    scalar = p->kind == PLAIT_SCALAR;
    missing = cli_printf(r->c, "%s%s`%s`", missing, *missing ? ", " : "", p->name);
    example = cli_printf(r->c, "%s %s %s=%s", example, scalar ? "--set" : "--in", p->name, scalar ? "1" : "random");
  }
  if (!*missing) return GOOD;
  return cli_error(r->c, USAGE, cli_printf(r->c, "add for example%s", example), "no value for %s of %s", missing, r->info.signature);
}

static void list_params(Run *r) {
  for (size_t i = 0; i < r->info.nparams; i++) {
    Input *in = &r->input[i];
    in->param.struct_size = sizeof in->param;
    plait_entry_param(r->entry, i, &in->param);
    in->how = in->param.kind == PLAIT_SCALAR && in->param.init ? HOW_DEFAULT : HOW_MISSING;
    r->params[i] = (plait_tensor){.dtype = in->param.dtype, .rank = in->param.kind == PLAIT_SCALAR ? 0 : -1};
  }
  for (size_t i = 0; i < r->info.nresults; i++) {
    r->result[i].struct_size = sizeof r->result[i];
    plait_entry_result(r->entry, i, &r->result[i]);
  }
}

// ---- extents and memory ----

static int allocate(Run *r, const plait_param *p, const plait_shape *shape, plait_tensor *t) {
  t->rank = shape->rank;
  memcpy(t->extent, shape->extent, sizeof t->extent);
  t->dtype = p->dtype;
  int64_t bytes = plait_param_bytes(p, shape);
  if (bytes < 0) return cli_error(r->c, WRONG, NULL, "`%s` cannot have the extents %s", p->name, extents_text(r->c, shape->rank, shape->extent));
  t->bytes = (size_t)bytes;
  t->data = cli_alloc(r->c, t->bytes);
  return GOOD;
}

static int allocate_all(Run *r, const plait_shape *params, const plait_shape *results) {
  int bad = GOOD;
  for (size_t i = 0; i < r->info.nparams && !bad; i++) {
    const Input *in = &r->input[i];
    if (in->how < HOW_RANDOM) continue;
    bad = allocate(r, &in->param, &params[i], &r->params[i]);
    if (!bad) bad = generate(r, in, &r->params[i], (int)i);
  }
  for (size_t i = 0; i < r->info.nresults && !bad; i++) bad = allocate(r, &r->result[i], &results[i], &r->results[i]);
  return bad;
}

static int infer(Run *r, plait_shape *params, plait_shape *results) {
  plait_messages *m = NULL;
  plait_status s = plait_entry_infer(r->entry, r->params, r->info.nparams, r->build.dims, r->build.ndims, r->dims, params, results, &m);
  return s || m ? cli_messages(r->c, s, m) : GOOD;
}

static int read_all(Run *r) {
  const char *text;
  int bad = GOOD;
  for (int at = 0; !bad && (text = args_next(r->a, "--set", &at));) bad = set_scalar(r, text);
  for (int at = 0; !bad && (text = args_next(r->a, "--in", &at));) bad = set_tensor(r, text);
  return bad ? bad : check_given(r);
}

int inputs_read(Run *r) {
  size_t np = r->info.nparams, nr = r->info.nresults;
  r->input = cli_array(r->c, Input, np + 1);
  r->params = cli_array(r->c, plait_tensor, np + 1);
  r->result = cli_array(r->c, plait_param, nr + 1);
  r->results = cli_array(r->c, plait_tensor, nr + 1);
  r->dims = cli_array(r->c, int64_t, r->info.ndims + 1);
  list_params(r);
  plait_shape *params = cli_array(r->c, plait_shape, np + 1), *results = cli_array(r->c, plait_shape, nr + 1);
  int bad = outputs_check(r);
  if (!bad) bad = read_all(r);
  if (!bad) bad = infer(r, params, results);
  return bad ? bad : allocate_all(r, params, results);
}
