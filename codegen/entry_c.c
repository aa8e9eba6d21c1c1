// entry_c.c: the C functions that run a plan, and the header that declares them.
//
//   int softmax(long long N, long long D, const float *x, float *y);       dims, params, results, scratch
//   int plait_entry(void *const *arg, const long long *dim, void *scratch, long long *fault);
#include "base/limits.h"
#include "codegen/entry_c.h"
#include "codegen/region_c.h"
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

enum { WIDTH = 110 };       // columns of a line

// ---- parameters --------------------------------------------------------------------------------

void c_append(Buf *b, bool comma, const char *item) {
  if (comma) buf_putc(b, ',');
  const char *line = strrchr(b->s, '\n');
  size_t column = strlen(line ? line + 1 : b->s);
  if (comma && column + strlen(item) + 2 > WIDTH) buf_puts(b, "\n    ");
  else if (comma) buf_putc(b, ' ');
  buf_puts(b, item);
}

bool c_is_scalar(const Tensor *t) { return t->rank == 0 && t->role == ROLE_PARAM; }

const char *c_parameter(Emit *e, const Param *p, const char *restrict_word) {
  const char *name = names_of(&e->names, p->dim ? (const void *)p->dim : p->t);
  if (p->dim) return arena_printf(e->a, "long long %s", name);
  const char *type = emit_storage(p->t);
  if (c_is_scalar(p->t)) return arena_printf(e->a, "%s %s", type, name);
  return arena_printf(e->a, "%s%s *%s%s", p->writes ? "" : "const ", type, restrict_word, name);
}

// Of the typed entry: dims, params, results; all of them, used or not.
Params c_entry_params(Emit *e) {
  const Fn *f = e->p->fn;
  Params p = {.list = {0}};
  for (int i = 0; i < f->dims.n; i++) vec_push(e->a, &p.list, (Param){f->dims.v[i], NULL, false});
  for (int i = 0; i < f->params.n; i++) vec_push(e->a, &p.list, (Param){NULL, f->params.v[i], f->params.v[i]->role == ROLE_MUT});
  for (int i = 0; i < f->results.n; i++) vec_push(e->a, &p.list, (Param){NULL, f->results.v[i], true});
  return p;
}

static const Params *kernel_params(Emit *e, int k) { return map_getp(&e->params, e->p->kernels.v[k]); }

bool c_any_faults(Emit *e) {
  for (int k = 0; k < e->p->kernels.n; k++)
    if (kernel_params(e, k)->faults) return true;
  return false;
}

// As floats: an estimate may be larger than any integer.
static const char *product(Emit *e, const Expr *x) {
  if (x->op != OP_MUL) return arena_printf(e->a, "(double)%s", emit_expr(e, x, LEVEL_PREFIX));
  return arena_printf(e->a, "%s * %s", product(e, x->arg[0]), emit_expr(e, x->arg[1], LEVEL_PREFIX));
}

// The pool says whether its threads are awake; a file for others cannot ask. Several loops, whose threads have to meet, are not worth less.
static const char *grain_of(Emit *e, const Expr *work, bool alone) {
  const Plan *p = e->p;
  Scalar n;
  bool asks = alone && e->opt->jit && p->grain_awake < p->grain && !(expr_fold(work, &n) && (n.i >= p->grain || n.i < p->grain_awake));
  if (!asks) return arena_printf(e->a, "%d", p->grain);
  e->uses_grain = true;
  return arena_printf(e->a, "plait_grain(%d, %d)", p->grain_awake, p->grain);
}

// `work` is a number of elements, or a condition of its own.
const char *c_is_worth(Emit *e, const Expr *work, bool alone) {
  if (work->dtype == DT_BOOL) return emit_expr(e, work, LEVEL_COND);
  return arena_printf(e->a, "%s >= %s", work->op == OP_MUL && !emit_fits(e, work) ? product(e, work) : emit_expr(e, work, 8), grain_of(e, work, alone));
}

// ---- calls of kernels --------------------------------------------------------------------------

static void mark_kernel_uses(Emit *e, int k, Uses *used) {
  for (int i = 0; i < kernel_params(e, k)->list.n; i++) {
    const Param *q = &kernel_params(e, k)->list.v[i];
    uses_put(used, q->dim ? (const void *)q->dim : q->t);
  }
}

static const char *name_of(Emit *e, const Param *q) { return names_of(&e->names, q->dim ? (const void *)q->dim : q->t); }

static void print_call(Emit *e, int k, const char *indent) {
  const Params *p = kernel_params(e, k);
  Buf b = buf_make(e->a);
  buf_printf(&b, "%s%s(", indent, (const char *)names_of(&e->names, e->p->kernels.v[k]));
  for (int i = 0; i < p->list.n; i++) c_append(&b, i > 0, name_of(e, &p->list.v[i]));
  if (p->faults) c_append(&b, p->list.n > 0, "fault");
  emit_line(e, "%s);", b.s);
}

// What the region takes along, by value: behind the reference of another thread's variable each use would be a load. Arrays that
// threads share are the exception.
static void append_taken(Emit *e, const RegionRun *run, Buf *b) {
  Uses used = uses_make(e->a);
  for (int k = run->first; k < run->first + run->n; k++) mark_kernel_uses(e, k, &used);
  int *at, n = uses_sorted(&used, &e->number, &at), count = 0;
  for (int i = 0; i < n; i++) {
    const Param *q = &e->known.v[at[i]];
    if (q->t && tensor_place(e->p, q->t) == PLACE_STACK) continue;
    if (!count) buf_puts(b, " firstprivate(");
    c_append(b, count++ > 0, name_of(e, q));
  }
  if (count) buf_putc(b, ')');
}

static void append_worth(Emit *e, const RegionRun *run, Buf *b) {
  for (int i = 0; i < run->work.n && !run->always; i++) {
    const char *worth = c_is_worth(e, run->work.v[i], false);
    buf_puts(b, i ? " ||\n    " : " if(");
    buf_puts(b, worth);
  }
  if (run->work.n && !run->always) buf_putc(b, ')');
}

static void print_run(Emit *e, const RegionRun *run) {
  Buf b = buf_make(e->a);
  const char *end = NULL;
  append_taken(e, run, &b);
  append_worth(e, run, &b);
  e->indent = 1;
  for (int i = 0; i < run->shared.n; i++) emit_array(e, run->shared.v[i]->t, names_of(&e->names, tensor_root(run->shared.v[i]->t)));
  e->indent = 0;
  emit_line(e, "  // All loops run in one parallel region: threads share out each `omp for` and meet at barriers.");
  emit_line(e, "  OMP(omp parallel%s)\n  {", b.s);
  for (int k = run->first; k < run->first + run->n; k++) {
    print_call(e, k, "    ");
    if (!kernel_params(e, k)->faults || k + 1 == run->first + run->n) continue;
    if (!end) end = names_fresh(&e->names, "failed");
    if (c_region_meets_behind(e, k)) emit_line(e, "    OMP(omp barrier)");
    emit_line(e, "    if (fault[0]) goto %s;", end);
  }
  if (end) emit_line(e, "  %s:;", end);
  emit_line(e, "  }");
}

// All kernels, each behind those before it. `failed`: what to do when a check in one has failed.
static void print_calls(Emit *e, const char *failed) {
  int n = e->p->kernels.n;
  for (int k = 0; k < n;) {
    const RegionRun *run = c_region_of(e, k);
    int next = run ? run->first + run->n : k + 1;
    bool faults = false;
    if (run) print_run(e, run);
    else print_call(e, k, "  ");
    for (; k < next; k++) faults |= kernel_params(e, k)->faults;
    if (faults && next < n) emit_line(e, "  if (fault[0]) return %s;", failed);
  }
}

// Sums of sizes, each printed as the one before it and what comes on top: a plan of many temporaries would else print squares of them.
// places: such an Expr -> its name.
static const char *place_of(Emit *e, Map *places, const Expr *at) {
  const char *known = map_getp(places, at), *before = at->op == OP_ADD ? map_getp(places, at->arg[0]) : NULL;
  if (known) return known;
  if (expr_is_int(at, 0)) return "0";
  if (before || (at->op == OP_ADD && expr_is_int(at->arg[0], 0))) {
    const char *name = names_fresh(&e->names, "place"), *more = emit_expr(e, at->arg[1], LEVEL_MUL);
    emit_line(e, "  const long long %s = %s%s%s;", name, before ? before : "", before ? " + " : "", more);
    map_putp(places, at, (void *)(uintptr_t)name);
    return name;
  }
  return emit_expr(e, at, LEVEL_ADD);
}

void c_print_temps(Emit *e) {
  Map places = map_make(e->a);
  for (int i = 0; i < e->p->temps.n; i++) {
    const Temp *t = &e->p->temps.v[i];
    const char *type = emit_storage(t->t), *name = names_of(&e->names, t->t), *at = place_of(e, &places, t->offset);
    emit_line(e, "  %s *%s = (%s *)((unsigned char *)scratch + %s);", type, name, type, at);
  }
}

// ---- the uniform entry -------------------------------------------------------------------------

void c_mark_uses(Emit *e, Uses *used) {
  for (int k = 0; k < e->p->kernels.n; k++) mark_kernel_uses(e, k, used);
}

static void print_argument(Emit *e, const Tensor *t, int number, bool writes) {
  if (!uses_has(&e->used, t)) return;
  const char *type = emit_storage(t), *name = names_of(&e->names, t);
  if (c_is_scalar(t)) emit_line(e, "  const %s %s = *(const %s *)arg[%d];", type, name, type, number);
  else emit_line(e, "  %s%s *%s = arg[%d];", writes ? "" : "const ", type, name, number);
}

static void uniform_entry(Emit *e) {
  const Fn *f = e->p->fn;
  Buf body = buf_make(e->a), *out = e->out;
  e->used = uses_make(e->a);
  c_mark_uses(e, &e->used);
  e->out = &body;
  c_print_temps(e);
  print_calls(e, "1");
  e->out = out;
  emit_line(e, "int plait_entry(void *const *arg, const long long *dim, void *scratch, long long *fault) {");
  emit_line(e, "  (void)arg, (void)dim, (void)scratch;");
  for (int i = 0; i < f->dims.n; i++)
    if (uses_has(&e->used, f->dims.v[i])) emit_line(e, "  const long long %s = dim[%d];", (const char *)names_of(&e->names, f->dims.v[i]), f->dims.v[i]->id);
  for (int i = 0; i < f->params.n; i++) print_argument(e, f->params.v[i], i, f->params.v[i]->role == ROLE_MUT);
  for (int i = 0; i < f->results.n; i++) print_argument(e, f->results.v[i], f->params.n + i, true);
  buf_puts(e->out, body.s);
  emit_line(e, "  return fault[0] != 0;");
  emit_line(e, "}");
}

// ---- documentation -----------------------------------------------------------------------------

static void print_type(const Tensor *t, Buf *b) {
  buf_puts(b, t->fmt ? t->fmt->name : dtypes[t->dtype].name);
  for (int k = 0; k < t->rank; k++) {
    buf_puts(b, k ? ", " : "[");
    expr_print(t->extent[k], b);
  }
  if (t->rank) buf_putc(b, ']');
}

static const char *storage_words(const Tensor *t) {
  if (t->fmt) return ", blocks of bytes";
  switch (t->dtype) {
  case DT_F16: case DT_BF16: case DT_F8E4M3: case DT_F8E5M2: return " as its bits";
  case DT_I4: case DT_U4: return ", two to a byte, the low half first";
  default: return "";
  }
}

static void print_param_doc(Emit *e, const Param *p, Buf *b) {
  const Tensor *t = p->t;
  buf_printf(b, "//   %-8s ", (const char *)names_of(&e->names, t));
  print_type(t, b);
  buf_puts(b, storage_words(t));
  buf_puts(b, t->role == ROLE_MUT ? ", changed in place\n" : p->writes ? ", written\n" : c_is_scalar(t) ? "\n" : ", read\n");
}

static void print_dims_doc(Emit *e, Buf *b) {
  const Fn *f = e->p->fn;
  if (!f->dims.n) return;
  Buf names = buf_make(e->a);
  for (int i = 0; i < f->dims.n; i++) buf_printf(&names, "%s%s", i ? ", " : "", (const char *)names_of(&e->names, f->dims.v[i]));
  buf_printf(b, "//   %-8s dimension%s, 0 to 2^40\n", names.s, f->dims.n > 1 ? "s" : "");
}

static void print_site_doc(const Site *s, Buf *b) {
  buf_printf(b, "//   %-8d %s", s->id, code_info(s->code)->title);
  if (s->tensor) {
    buf_printf(b, ": `%s`", s->tensor);
    if (s->axis >= 0) buf_printf(b, ", subscript %d", s->axis);
  }
  if (s->equation) buf_printf(b, ", in the equation of `%s`", s->equation);
  buf_putc(b, '\n');
}

static void print_where_doc(const Where *w, int number, Buf *b) {
  buf_printf(b, "//   %-8d where ", number);
  if (w->text) buf_puts(b, w->text);
  else expr_print(w->e, b);
  buf_puts(b, " does not hold\n");
}

static int dims_check(const Emit *e) { return e->p->sites.n + e->p->fn->where.n + 1; }

void c_print_params_doc(Emit *e, const Params *p, Buf *b) {
  print_dims_doc(e, b);
  for (int i = 0; i < p->list.n; i++)
    if (p->list.v[i].t) print_param_doc(e, &p->list.v[i], b);
  if (e->p->temps.n) buf_printf(b, "//   scratch  %s_scratch_bytes(...) bytes, aligned to 64\n", e->entry);
}

void c_print_sites_doc(Emit *e, Buf *b) {
  for (int i = 0; i < e->p->sites.n; i++) print_site_doc(e->p->sites.v[i], b);
}

static const char *documentation(Emit *e, const Params *p) {
  const Fn *f = e->p->fn;
  Buf b = buf_make(e->a);
  buf_printf(&b, "// Runs %s. Arrays are dense, row-major, of at most 2^40 elements; one that is written overlaps no other.\n//\n", e->entry);
  c_print_params_doc(e, p, &b);
  buf_printf(&b, "//\n// Returns 0, or the number of the check that failed; %s\n",
             c_any_faults(e) ? "what is written then holds unspecified values:" : "nothing is written then:");
  c_print_sites_doc(e, &b);
  for (int i = 0; i < f->where.n; i++) print_where_doc(&f->where.v[i], e->p->sites.n + 1 + i, &b);
  buf_printf(&b, "//   %-8d a dimension or an extent is out of range\n", dims_check(e));
  return b.s;
}

// ---- the typed entry ---------------------------------------------------------------------------

// Dimensions, and integer arguments where the size depends on them.
static Params scratch_params(Emit *e) {
  const Fn *f = e->p->fn;
  Params p = {.list = {0}};
  for (int i = 0; i < f->dims.n; i++) vec_push(e->a, &p.list, (Param){f->dims.v[i], NULL, false});
  for (int i = 0; i < f->params.n; i++)
    if (c_is_scalar(f->params.v[i]) && expr_reads(e->p->scratch_bytes, f->params.v[i])) vec_push(e->a, &p.list, (Param){NULL, f->params.v[i], false});
  return p;
}

const char *c_signature(Emit *e, const char *result, const char *name, const Params *p, const char *last) {
  Buf b = buf_make(e->a);
  buf_printf(&b, "%s %s(", result, name);
  for (int i = 0; i < p->list.n; i++) c_append(&b, i > 0, c_parameter(e, &p->list.v[i], ""));
  if (*last) c_append(&b, p->list.n > 0, last);
  if (!p->list.n && !*last) buf_puts(&b, "void");
  buf_putc(&b, ')');
  return b.s;
}

void c_scratch_function(Emit *e, Buf *header) {
  if (!e->p->temps.n) return;
  const char *name = arena_printf(e->a, "%s_scratch_bytes", e->entry);
  Params p = scratch_params(e);
  const char *head = c_signature(e, "long long", name, &p, "");
  e->used = uses_make(e->a);
  Buf sums = buf_make(e->a), *out = e->out;
  Map places = map_make(e->a);
  e->out = &sums;
  for (int i = 0; i < e->p->temps.n; i++) place_of(e, &places, e->p->temps.v[i].offset);
  const char *bytes = place_of(e, &places, e->p->scratch_bytes);
  e->out = out;
  emit_line(e, "// Bytes of scratch memory that %s needs for these dimensions.", e->entry);
  emit_line(e, "%s {", head);
  for (int i = 0; i < p.list.n; i++) {
    const Param *q = &p.list.v[i];
    const void *object = q->dim ? (const void *)q->dim : q->t;
    if (!uses_has(&e->used, object)) emit_line(e, "  (void)%s;", (const char *)names_of(&e->names, object));
  }
  buf_puts(e->out, sums.s);
  emit_line(e, "  return %s;", bytes);
  emit_line(e, "}\n");
  if (header) buf_printf(header, "// Bytes of scratch memory that %s needs for these dimensions.\n%s;\n\n", e->entry, head);
}

// A check fails: `otherwise`, or where that is NULL its number.
static void refuse(Emit *e, const char *condition, int number, const char *otherwise) {
  if (otherwise) emit_line(e, "  if (%s) return %s;", condition, otherwise);
  else emit_line(e, "  if (%s) return %d;", condition, number);
}

static void check_extents(Emit *e, const Tensor *t, const char *otherwise) {
  for (int k = 0; k < t->rank; k++) {
    Range r = emit_range(e, t->extent[k]);
    if (r.lo >= 0 && r.hi <= (double)LIMIT_EXTENT) continue;
    const char *x = emit_expr(e, t->extent[k], 8), *low = r.lo >= 0 ? "" : arena_printf(e->a, "%s < 0 || ", x);
    refuse(e, arena_printf(e->a, "%s%s > %lld", low, x, (long long)LIMIT_EXTENT), dims_check(e), otherwise);
  }
}

static const char *not_that(Emit *e, const Expr *condition) { return arena_printf(e->a, "!(%s)", emit_expr(e, condition, LEVEL_COND)); }

void c_print_checks(Emit *e, const char *otherwise) {
  const Plan *p = e->p;
  const Fn *f = p->fn;
  for (int i = 0; i < f->dims.n; i++) {
    const char *d = names_of(&e->names, f->dims.v[i]);
    refuse(e, arena_printf(e->a, "%s < 0 || %s > %lld", d, d, (long long)LIMIT_EXTENT), dims_check(e), otherwise);
  }
  for (int i = 0; i < f->params.n; i++) check_extents(e, f->params.v[i], otherwise);
  for (int i = 0; i < f->results.n; i++) check_extents(e, f->results.v[i], otherwise);
  for (int i = 0; i < f->where.n; i++) refuse(e, not_that(e, f->where.v[i].e), p->sites.n + 1 + i, otherwise);
  for (int i = 0; i < p->conds.n; i++) refuse(e, not_that(e, p->conds.v[i].e), p->cond_sites.v[i]->id, otherwise);
}

static void print_body(Emit *e, const Params *p) {
  bool faults = c_any_faults(e);
  Buf body = buf_make(e->a), *out = e->out;
  e->used = uses_make(e->a);
  c_mark_uses(e, &e->used);
  e->out = &body;
  c_print_checks(e, NULL);
  c_print_temps(e);
  if (faults) emit_line(e, "  long long fault[2] = {0, 0};    // number of the check, and the value that failed it");
  print_calls(e, "(int)fault[0]");
  e->out = out;
  for (int i = 0; i < p->list.n; i++)
    if (p->list.v[i].t && !uses_has(&e->used, p->list.v[i].t)) emit_line(e, "  (void)%s;", (const char *)names_of(&e->names, p->list.v[i].t));
  buf_puts(e->out, body.s);
  emit_line(e, "  return %s;", faults ? "(int)fault[0]" : "0");
}

void c_print_header(Emit *e, const char *kind, const char *body, Buf *header) {
  Buf guard = buf_make(e->a);
  for (const char *c = e->entry; *c; c++) buf_putc(&guard, (char)toupper((unsigned char)*c));
  buf_printf(header, "// %s.h: declares what %s.%s defines.\n#ifndef PLAIT_%s_H\n#define PLAIT_%s_H\n", e->entry, e->entry, kind, guard.s, guard.s);
  if (strcmp(kind, "cu") == 0) buf_puts(header, "#include <cuda_runtime_api.h>\n");
  buf_puts(header, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
  buf_puts(header, body);
  buf_puts(header, "#ifdef __cplusplus\n}\n#endif\n#endif\n");
}

static void typed_entry(Emit *e, Buf *header) {
  Params p = c_entry_params(e);
  Buf more = buf_make(e->a);
  c_scratch_function(e, &more);
  const char *doc = documentation(e, &p), *head = c_signature(e, "int", e->entry, &p, e->p->temps.n ? "void *scratch" : "");
  buf_puts(e->out, doc);
  emit_line(e, "%s {", head);
  print_body(e, &p);
  emit_line(e, "}");
  if (header) c_print_header(e, "c", arena_printf(e->a, "%s%s%s;\n\n", more.s, doc, head), header);
}

void c_entry(Emit *e, Buf *header) {
  if (e->opt->jit) uniform_entry(e);
  else typed_entry(e, header);
}
