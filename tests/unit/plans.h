// plans.h: building plans by hand, for the tests of kernels, of the printer and of calls.
//
//   Make m = make_plan("scale");
//   Expr *n = make_dim(&m, "N");
//   Tensor *x = make_param(&m, "x", DT_F32, 1, &n), *y = make_result(&m, "y", DT_F32, 1, &n);
//   make_kernel(&m, "scale_y");
//   Expr *i = make_loop(&m, "i", make_int(&m, 0), n, HOW_PAR_VEC);
//     make_store(&m, y, &i, make_op(&m, OP_MUL, make_read(&m, x, &i), make_float(&m, 2)));
//   make_end(&m);
#ifndef PLAIT_TESTS_PLANS_H
#define PLAIT_TESTS_PLANS_H
#include "base/limits.h"
#include "ir/kernel.h"

enum { MAKE_DEPTH = 16 };
typedef struct Make {
  Arena *a;
  Fn *f;
  ExprTable *x;
  Plan *p;
  Kernel *k;
  Stmt **tail[MAKE_DEPTH], *open[MAKE_DEPTH], *last;
  int depth;
} Make;

static inline Make make_plan(const char *name) {
  Make m = {.a = arena_create()};
  Interner *in = intern_create(m.a);
  m.f = fn_new(m.a, in, NULL, intern(in, name));
  m.x = m.f->x;
  m.p = arena_new(m.a, Plan);
  m.p->fn = m.f;
  m.p->a = m.a;
  m.p->x = m.x;
  m.p->grain = m.p->grain_awake = 32768;
  m.p->scratch_bytes = expr_int(m.x, DT_I64, 0, NO_SPAN);
  return m;
}

static inline Name make_name(Make *m, const char *s) { return intern(m->f->names, s); }
static inline Expr *make_int(Make *m, int64_t v) { return expr_int(m->x, DT_I64, v, NO_SPAN); }
static inline Expr *make_int32(Make *m, int64_t v) { return expr_int(m->x, DT_I32, v, NO_SPAN); }
static inline Expr *make_float(Make *m, double v) { return expr_float(m->x, DT_F32, v, NO_SPAN); }
static inline Expr *make_op1(Make *m, Op op, Expr *a) { return expr_op1(m->x, op, a, NO_SPAN); }
static inline Expr *make_op(Make *m, Op op, Expr *a, Expr *b) { return expr_op2(m->x, op, a, b, NO_SPAN); }
static inline Expr *make_cast(Make *m, Dtype to, Expr *a) { return expr_cast(m->x, to, a, NO_SPAN); }

// The value of dimension d comes from the first parameter that has it as an extent (fn_bind); see make_param.
static inline Expr *make_dim(Make *m, const char *name) {
  Dim *d = dim_new(m->x, make_name(m, name), NO_SPAN);
  vec_push(m->a, &m->f->dims, d);
  return expr_dim(m->x, d);
}

static inline bool make_has_source(const Make *m, const Dim *d) {
  for (int i = 0; i < m->f->sources.n; i++)
    if (m->f->sources.v[i].dim == d) return true;
  return false;
}

static inline Tensor *make_param_in(Make *m, const char *name, Dtype d, Format *fmt, int rank, Expr *const *extent) {
  Tensor *t = fn_tensor(m->f, make_name(m, name), ROLE_PARAM, d, fmt, rank, extent, NO_SPAN);
  vec_push(m->a, &m->f->params, t);
  vec_push(m->a, &m->f->defaults, NULL);
  for (int k = 0; k < rank; k++)
    if (extent[k]->op == OP_DIM && !make_has_source(m, extent[k]->u.dim))
      vec_push(m->a, &m->f->sources, (DimSource){extent[k]->u.dim, t, k, make_int(m, 1), make_int(m, 0)});
  return t;
}
static inline Tensor *make_param(Make *m, const char *name, Dtype d, int rank, Expr *const *extent) {
  return make_param_in(m, name, d, NULL, rank, extent);
}

static inline Tensor *make_result_in(Make *m, const char *name, Dtype d, Format *fmt, int rank, Expr *const *extent) {
  Tensor *t = fn_tensor(m->f, make_name(m, name), ROLE_RESULT, d, fmt, rank, extent, NO_SPAN);
  vec_push(m->a, &m->f->results, t);
  return t;
}
static inline Tensor *make_result(Make *m, const char *name, Dtype d, int rank, Expr *const *extent) {
  return make_result_in(m, name, d, NULL, rank, extent);
}

static inline Tensor *make_local(Make *m, const char *name, Dtype d, int rank, Expr *const *extent) {
  return fn_tensor(m->f, make_name(m, name), ROLE_LOCAL, d, NULL, rank, extent, NO_SPAN);
}

static inline Tensor *make_temp(Make *m, const char *name, Dtype d, int rank, Expr *const *extent, Expr *offset, Expr *bytes) {
  Tensor *t = make_local(m, name, d, rank, extent);
  plan_add_temp(m->p, (Temp){t, 0, m->p->kernels.n, offset, bytes});
  m->p->scratch_bytes = make_op(m, OP_ADD, offset, bytes);
  return t;
}

static inline void make_kernel(Make *m, const char *name) {
  m->k = arena_new(m->a, Kernel);
  m->k->name = make_name(m, name);
  m->k->id = m->p->kernels.n;
  vec_push(m->a, &m->p->kernels, m->k);
  m->depth = 0;
  m->tail[0] = &m->k->body;
}

static inline Stmt *make_stmt(Make *m, Stmt *s) {
  *m->tail[m->depth] = s;
  m->tail[m->depth] = &s->next;
  return m->last = s;
}

static inline void make_enter(Make *m, Stmt *s, Stmt **block) {
  m->open[++m->depth] = s;
  m->tail[m->depth] = block;
}
static inline void make_end(Make *m) { m->depth--; }

static inline Expr *make_loop(Make *m, const char *name, Expr *lo, Expr *hi, LoopHow how) {
  Stmt *s = make_stmt(m, stmt_new(m->a, ST_LOOP));
  s->how = how;
  s->ix = index_new(m->x, make_name(m, name), NO_SPAN);
  s->lo = lo;
  s->hi = hi;
  s->lanes = how == HOW_LANES || how == HOW_VEC || how == HOW_PAR_VEC ? 16 : 1;
  make_enter(m, s, &s->body);
  return expr_index(m->x, s->ix);
}
static inline Expr *make_for(Make *m, const char *name, Expr *hi, LoopHow how) { return make_loop(m, name, make_int(m, 0), hi, how); }

static inline void make_if(Make *m, Expr *cond) {
  Stmt *s = make_stmt(m, stmt_new(m->a, ST_IF));
  s->a = cond;
  make_enter(m, s, &s->body);
}
static inline void make_else(Make *m) {
  Stmt *s = m->open[m->depth--];
  make_enter(m, s, &s->els);
}

static inline Expr *make_declare(Make *m, StmtKind kind, const char *name, Expr *a, int lanes) {
  Stmt *s = make_stmt(m, stmt_new(m->a, kind));
  s->var = var_new(m->x, make_name(m, name), (Dtype)a->dtype);
  s->a = a;
  s->lanes = lanes;
  return expr_var(m->x, s->var);
}
static inline Expr *make_let(Make *m, const char *name, Expr *a) { return make_declare(m, ST_LET, name, a, 1); }
static inline Expr *make_var(Make *m, const char *name, Expr *a, int lanes) { return make_declare(m, ST_VAR, name, a, lanes); }

static inline void make_set(Make *m, Expr *var, Expr *a) {
  Stmt *s = make_stmt(m, stmt_new(m->a, ST_SET));
  s->var = var->u.var;
  s->a = a;
}

static inline void make_acc_at(Make *m, Reducer r, Expr *var, Expr *var2, Expr *a, Expr *b) {
  Stmt *s = make_stmt(m, stmt_new(m->a, ST_ACC));
  s->reducer = r;
  s->var = var->u.var;
  s->var2 = var2 ? var2->u.var : NULL;
  s->a = a;
  s->b = b;
}
static inline void make_acc(Make *m, Reducer r, Expr *var, Expr *a) { make_acc_at(m, r, var, NULL, a, NULL); }

static inline void make_fold(Make *m, Reducer r, Expr *var, Expr *var2) {
  Stmt *s = make_stmt(m, stmt_new(m->a, ST_FOLD));
  s->reducer = r;
  s->var = var->u.var;
  s->var2 = var2 ? var2->u.var : NULL;
}

static inline Expr *make_read(Make *m, Tensor *t, Expr *const *sub) { return expr_read(m->x, t, t->rank, sub, NULL, NO_SPAN); }

static inline void make_store(Make *m, Tensor *t, Expr *const *sub, Expr *a) {
  Stmt *s = make_stmt(m, stmt_new(m->a, ST_STORE));
  s->t = t;
  s->nsub = t->rank;
  for (int k = 0; k < t->rank; k++) s->sub[k] = sub[k];
  s->a = a;
}

static inline void make_store_field(Make *m, Tensor *t, int field, int n, Expr *const *sub, Expr *a) {
  Stmt *s = make_stmt(m, stmt_new(m->a, ST_STORE));
  s->t = t;
  s->field = field;
  s->nsub = n;
  for (int k = 0; k < n; k++) s->sub[k] = sub[k];
  s->a = a;
}

static inline Expr *make_field(Make *m, Tensor *t, int field, int n, Expr *const *sub) {
  Dtype d = dtype_wide(t->fmt->field[field].dtype);
  return expr_make(m->x, OP_FIELD, d, field, t, NO_SPAN, n, sub);
}

static inline void make_alloc(Make *m, Tensor *t) { make_stmt(m, stmt_new(m->a, ST_ALLOC))->t = t; }

static inline Site *make_site(Make *m, Code code, Tensor *equation, Tensor *tensor, int axis, Expr *extent) {
  Site *s = arena_new(m->a, Site);
  *s = (Site){.id = m->p->sites.n + 1, .code = code, .axis = axis, .extent = extent};
  s->equation = equation ? equation->name : NULL;
  s->tensor = tensor ? tensor->name : NULL;
  vec_push(m->a, &m->p->sites, s);
  return s;
}

static inline void make_fault(Make *m, Site *site, Expr *value) {
  Stmt *s = make_stmt(m, stmt_new(m->a, ST_FAULT));
  s->site = site;
  s->a = value;
}

static inline void make_note(Make *m, const char *note) { m->last->note = note; }

// Fields of a format from (name, dtype, count) triples; count 0: no array.
typedef struct MakeField { const char *name; Dtype dtype; int count; } MakeField;
static inline Format *make_format(Make *m, const char *name, int64_t block, int n, const MakeField *field) {
  Format *fmt = arena_new(m->a, Format);
  fmt->name = make_name(m, name);
  fmt->block = block;
  fmt->nfields = n;
  fmt->field = arena_array(m->a, Field, n);
  for (int k = 0; k < n; k++) {
    int count = field[k].count ? field[k].count : 1;
    fmt->field[k] = (Field){.name = make_name(m, field[k].name), .dtype = field[k].dtype, .count = count, .array = field[k].count > 0, .offset = fmt->bytes};
    fmt->bytes += (int)dtype_bytes(field[k].dtype, count);
  }
  return fmt;
}

// Every tensor that the kernels touch stands among their arguments (plan_verify).
static inline void make_args(Make *m, int n, const KernelArg *arg) {
  for (int k = 0; k < n; k++) vec_push(m->a, &m->k->args, arg[k]);
}

// y[i, :] = softmax(x[i, :]) with 16 lanes: the kernel that most tests look at.
static inline Make make_softmax(void) {
  Make m = make_plan("softmax");
  Expr *n = make_dim(&m, "N"), *d = make_dim(&m, "D"), *shape[] = {n, d};
  Tensor *x = make_param(&m, "x", DT_F32, 2, shape), *y = make_result(&m, "y", DT_F32, 2, shape);
  make_kernel(&m, "softmax_y");
  make_args(&m, 2, (KernelArg[]){{y, false, true}, {x, true, false}});
  Expr *i = make_for(&m, "i", n, HOW_PAR);
  m.open[m.depth]->parallel_if = make_op(&m, OP_MUL, n, d);
  Expr *mx = make_var(&m, "m", make_float(&m, -1.0 / 0.0), 16);
  Expr *j = make_for(&m, "j", d, HOW_LANES);
  make_note(&m, "m[i] = max[j](x[i, j])");
  make_acc(&m, RED_MAX, mx, make_read(&m, x, (Expr *[]){i, j}));
  make_end(&m);
  make_fold(&m, RED_MAX, mx, NULL);
  Expr *z = make_var(&m, "z", make_float(&m, 0), 16);
  j = make_for(&m, "j", d, HOW_LANES);
  make_note(&m, "z[i] = sum[j](exp(x[i, j] - m[i]))");
  make_acc(&m, RED_SUM, z, make_op1(&m, OP_EXP, make_op(&m, OP_SUB, make_read(&m, x, (Expr *[]){i, j}), mx)));
  make_end(&m);
  make_fold(&m, RED_SUM, z, NULL);
  j = make_for(&m, "j", d, HOW_VEC);
  make_note(&m, "y[i, j] = exp(x[i, j] - m[i]) / z[i]");
  Expr *e = make_op1(&m, OP_EXP, make_op(&m, OP_SUB, make_read(&m, x, (Expr *[]){i, j}), mx));
  make_store(&m, y, (Expr *[]){i, j}, make_op(&m, OP_DIV, e, z));
  make_end(&m);
  make_end(&m);
  return m;
}
#endif
