// api_explain.c: what the kernels of an entry move and compute, as values and as JSON.
#include "runtime/api_internal.h"
#include "base/json.h"
#include "ir/cost.h"
#include "passes/pass.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct ReportKernel { plait_kernel info; const char **equation; plait_traffic *traffic; } ReportKernel;

struct plait_report {
  Arena *a;
  plait_program *program;
  plait_cost cost;
  ReportKernel *kernel;
  plait_remark *remark;
};

// ---- from the plan ----

static bool all_known(const plait_entry *e, const plait_build_options *o, plait_messages *m) {
  Buf missing = buf_make(m->a), example = buf_make(m->a);
  int n = 0;
  for (int i = 0; i < e->fn->dims.n; i++) {
    const char *name = e->fn->dims.v[i]->name;
    bool known = false;
    for (size_t k = 0; k < o->ndims && !known; k++) known = strcmp(o->dims[k].name, name) == 0;
    if (known) continue;
    buf_printf(&missing, "%s`%s`", n++ ? ", " : "", name);
    buf_printf(&example, " -D %s=%d", name, n == 1 ? 4096 : 1024);
  }
  if (!n) return true;
  diag_error(m->d, E_call_shape, e->fn->at, "dimension%s %s of `%s` need%s a value", n > 1 ? "s" : "", missing.s, e->fn->name, n > 1 ? "" : "s");
  diag_help(m->d, "for example%s", example.s);
  return false;
}

static bool is_integer_scalar(const plait_entry *e, const char *name) {
  for (int i = 0; i < e->fn->params.n; i++)
    if (e->param[i].kind == PLAIT_SCALAR && strcmp(e->param[i].name, name) == 0) return dtype_is_int(e->fn->params.v[i]->dtype);
  return false;
}

// Here dims may name integer scalars too.
static bool names_check(const plait_entry *e, const plait_build_options *o, plait_messages *m) {
  for (size_t i = 0; i < o->ndims; i++)
    if (!is_integer_scalar(e, o->dims[i].name) && !dims_check(e, &o->dims[i], 1, m)) return false;
  return true;
}

static int64_t *dim_values(Arena *a, const Fn *f, const plait_build_options *o) {
  int64_t *v = dims_new(a, f);
  for (size_t i = 0; i < o->ndims; i++) {
    int k = dim_index(f, o->dims[i].name);
    if (k >= 0) v[f->dims.v[k]->id] = o->dims[i].value;
  }
  return v;
}

// Scalars that extents depend on: from the options, else their defaults, else 0.
typedef struct Values { const Fn *f; ExprTable *x; const plait_build_options *o; const int64_t *dims; } Values;

static int scalar_position(const Fn *f, const Expr *e) {
  for (int i = 0; e->op == OP_READ && i < f->params.n; i++)
    if (f->params.v[i] == e->u.t && e->u.t->rank == 0) return i;
  return -1;
}

static Expr *scalar_number(void *cx, ExprTable *x, Expr *e) {
  const Values *v = cx;
  int k = scalar_position(v->f, e);
  if (k < 0) return e;
  for (size_t i = 0; i < v->o->ndims; i++)
    if (strcmp(v->o->dims[i].name, e->u.t->name) == 0 && dtype_is_int((Dtype)e->dtype)) return expr_int(x, (Dtype)e->dtype, v->o->dims[i].value, e->at);
  Expr *init = k < v->f->defaults.n ? v->f->defaults.v[k] : NULL;
  return init ? expr_cast(x, (Dtype)e->dtype, init, e->at) : e;
}

static double value(Expr *e, const Values *v) { return e ? cost_value(expr_map(v->x, e, scalar_number, (void *)v), v->dims) : 0; }

static const char *equation_text(Arena *a, const Plan *p, const Eqn *q) {
  Buf b = buf_make(a);
  eqn_print(p->fn, q, &b);
  while (b.n && (b.s[b.n - 1] == '\n' || b.s[b.n - 1] == ' ')) b.s[--b.n] = 0;
  return b.s + strspn(b.s, " ");
}

static const char *own(Arena *a, const char *s) { return s ? arena_strndup(a, s, strlen(s)) : NULL; }

// Its start, then the longer of its memory and its arithmetic.
static double kernel_seconds(const Cost *c, const Machine *m, const Values *v) {
  Work w = {.flops = value(c->flops, v)};
  for (int i = 0; i < c->traffic.n; i++) {
    const Traffic *t = &c->traffic.v[i];
    double bytes = value(cost_read_bytes(v->x, t, m->cache_bytes), v) + value(t->write_bytes, v);
    cost_add_bytes(m, &w, bytes, value(cost_tensor_bytes(v->x, t->t), v));
  }
  return m->launch_us * 1e-6 + cost_time(m, &w) * 1e-9;
}

static void fill_kernel(plait_report *r, ReportKernel *out, const Plan *p, const Kernel *k, const Machine *m, const Values *v) {
  int neqns = k->eqns.n, ntraffic = k->cost.traffic.n;
  out->info = (plait_kernel){.name = own(r->a, k->name), .nequations = (size_t)neqns, .ntensors = (size_t)ntraffic, .flops = value(k->cost.flops, v)};
  out->equation = arena_array(r->a, const char *, neqns);
  out->traffic = arena_array(r->a, plait_traffic, ntraffic);
  for (int i = 0; i < neqns; i++) out->equation[i] = equation_text(r->a, p, k->eqns.v[i]);
  for (int i = 0; i < ntraffic; i++) {
    const Traffic *t = &k->cost.traffic.v[i];
    double read = value(cost_read_bytes(v->x, t, m->cache_bytes), v), written = value(t->write_bytes, v);
    out->traffic[i] = (plait_traffic){.tensor = own(r->a, t->t->name), .read_bytes = read, .write_bytes = written};
    out->info.bytes += read + written;
  }
  out->info.seconds = kernel_seconds(&k->cost, m, v);
}

static void fill_remark(plait_report *r, plait_remark *out, const Remark *m, const Values *v) {
  const Diags *d = r->program->d;
  const ReasonInfo *info = &reasons[m->reason];
  *out = (plait_remark){.code = info->id, .reason = info->slug, .bytes = value(m->bytes, v), .text = own(r->a, m->text ? m->text : info->what)};
  if (m->a) out->first = own(r->a, m->a->def->name), out->first_at = span_public(d, m->a->at);
  if (m->b) out->second = own(r->a, m->b->def->name), out->second_at = span_public(d, m->b->at);
  if (!out->first) out->first = "";
}

// The yardsticks are expressions of the function before the passes, which has tensors of its own.
static void fill_report(plait_report *r, const Plan *p, const Values *v, const Values *source) {
  const Machine *m = machine_default("c");
  r->kernel = arena_array(r->a, ReportKernel, p->kernels.n);
  r->remark = arena_array(r->a, plait_remark, p->remarks.n);
  for (int i = 0; i < p->kernels.n; i++) fill_kernel(r, &r->kernel[i], p, p->kernels.v[i], m, v);
  for (int i = 0; i < p->remarks.n; i++) fill_remark(r, &r->remark[i], &p->remarks.v[i], v);
  r->cost = (plait_cost){
    .bytes_unfused = value(p->bytes_unfused, source), .bytes_fused = value(p->bytes_fused, v), .bytes_minimum = value(p->bytes_minimum, source),
    .flops = value(p->flops, v), .nkernels = (size_t)p->kernels.n, .nremarks = (size_t)p->remarks.n, .nequations = p->source->eqns.n,
    .machine = m->name, .gbs = m->dram_gbs, .gflops = m->gflops, .launch_us = m->launch_us,
  };
  for (int i = 0; i < p->kernels.n; i++) r->cost.seconds += r->kernel[i].info.seconds;
}

static plait_report *report_new(const plait_entry *e) {
  Arena *a = arena_create();
  plait_report *r = arena_new(a, plait_report);
  r->a = a;
  r->program = program_keep(e->program);
  return r;
}

void plait_report_free(plait_report *r) {
  if (!r) return;
  plait_program_free(r->program);
  arena_destroy(r->a);
}

plait_status plait_explain(const plait_entry *e, const plait_build_options *options, plait_report **out, plait_messages **messages) {
  if (messages) *messages = NULL;
  plait_build_options o;
  options_copy(&o, sizeof o, options);
  if (!e || !out || (o.ndims && !o.dims)) return PLAIT_ERROR_USAGE;
  o.stop_after = NULL;
  plait_messages *m = messages_new(e->program);
  plait_build_options general = o;               // as the plan is that a launch without promised dimensions runs
  general.ndims = 0;
  if (!build_check(e, &general, m) || !names_check(e, &o, m)) return messages_give_as(m, PLAIT_ERROR_USAGE, messages);
  if (!all_known(e, &o, m)) return messages_give(m, messages);
  Build b = {.a = arena_create()};
  plait_report *r = NULL;
  if (build_run(e, "c", &general, &b, m)) {
    r = report_new(e);
    Values v = {b.plan->fn, b.plan->x, &o, dim_values(b.a, b.plan->fn, &o)};
    Values source = {b.plan->source, b.plan->source->x, &o, dim_values(b.a, b.plan->source, &o)};
    fill_report(r, b.plan, &v, &source);
  }
  arena_destroy(b.a);
  plait_status s = messages_give(m, messages);
  if (s) plait_report_free(r);
  else *out = r;
  return s;
}

// ---- reading it ----

plait_status plait_report_cost(const plait_report *r, plait_cost *out) {
  if (!r || !out) return PLAIT_ERROR_USAGE;
  give(out, &r->cost);
  return PLAIT_OK;
}

plait_status plait_report_kernel(const plait_report *r, size_t k, plait_kernel *out) {
  if (!r || !out || k >= r->cost.nkernels) return PLAIT_ERROR_USAGE;
  give(out, &r->kernel[k].info);
  return PLAIT_OK;
}

const char *plait_report_equation(const plait_report *r, size_t k, size_t i) {
  return r && k < r->cost.nkernels && i < r->kernel[k].info.nequations ? r->kernel[k].equation[i] : NULL;
}

plait_status plait_report_traffic(const plait_report *r, size_t k, size_t i, plait_traffic *out) {
  if (!r || !out || k >= r->cost.nkernels || i >= r->kernel[k].info.ntensors) return PLAIT_ERROR_USAGE;
  give(out, &r->kernel[k].traffic[i]);
  return PLAIT_OK;
}

plait_status plait_report_remark(const plait_report *r, size_t i, plait_remark *out) {
  if (!r || !out || i >= r->cost.nremarks) return PLAIT_ERROR_USAGE;
  give(out, &r->remark[i]);
  return PLAIT_OK;
}

// ---- JSON ----

static void key_number(Json *j, const char *key, double v) {
  json_key(j, key);
  if (fabs(v) < 0x1p53 && v == floor(v)) json_int(j, (int64_t)v);
  else json_num(j, v);
}

static void key_text(Json *j, const char *key, const char *s) {
  json_key(j, key);
  json_str(j, s);
}

static void key_traffic(Json *j, const char *key, const ReportKernel *k, bool writes) {
  json_key(j, key);
  json_open(j, '[');
  for (size_t i = 0; i < k->info.ntensors; i++) {
    double bytes = writes ? k->traffic[i].write_bytes : k->traffic[i].read_bytes;
    if (bytes <= 0) continue;
    json_open(j, '{');
    key_text(j, "tensor", k->traffic[i].tensor);
    key_number(j, "bytes", bytes);
    json_close(j, '}');
  }
  json_close(j, ']');
}

static void json_kernel(Json *j, const ReportKernel *k) {
  json_open(j, '{');
  key_text(j, "name", k->info.name);
  json_key(j, "equations");
  json_open(j, '[');
  for (size_t i = 0; i < k->info.nequations; i++) json_str(j, k->equation[i]);
  json_close(j, ']');
  key_traffic(j, "reads", k, false);
  key_traffic(j, "writes", k, true);
  key_number(j, "bytes", k->info.bytes);
  key_number(j, "flops", k->info.flops);
  key_number(j, "seconds", k->info.seconds);
  json_close(j, '}');
}

static void json_remark(Json *j, const plait_remark *m) {
  json_open(j, '{');
  key_text(j, "code", m->code);
  json_key(j, "equations");
  json_open(j, '[');
  if (*m->first) json_str(j, m->first);
  if (m->second) json_str(j, m->second);
  json_close(j, ']');
  key_number(j, "bytes", m->bytes);
  key_text(j, "text", m->text);
  json_close(j, '}');
}

plait_status plait_report_json(const plait_report *r, char **text, size_t *size) {
  if (!r || !text) return PLAIT_ERROR_USAGE;
  Arena *a = arena_create();
  Buf b = buf_make(a);
  Json j = json_make(&b);
  json_open(&j, '{');
  json_key(&j, "kernels");
  json_open(&j, '[');
  for (size_t i = 0; i < r->cost.nkernels; i++) json_kernel(&j, &r->kernel[i]);
  json_close(&j, ']');
  key_number(&j, "bytes_unfused", r->cost.bytes_unfused);
  key_number(&j, "bytes_fused", r->cost.bytes_fused);
  key_number(&j, "bytes_minimum", r->cost.bytes_minimum);
  key_number(&j, "flops", r->cost.flops);
  json_key(&j, "remarks");
  json_open(&j, '[');
  for (size_t i = 0; i < r->cost.nremarks; i++) json_remark(&j, &r->remark[i]);
  json_close(&j, ']');
  json_close(&j, '}');
  buf_putc(&b, '\n');
  return text_deliver(a, &b, text, size);
}
