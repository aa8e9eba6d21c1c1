// emit.c: a plan as the text of a file; the one printer of kernels for all targets.
//
// Order of the file: comment with the source, the target's prologue, helper functions, tables, kernels, entry points.
// It is printed from the end: what kernels use decides what stands before them.
#include "codegen/emit.h"
#include "ir/rewrite.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- lines and names ---------------------------------------------------------------------------

void emit_line(Emit *e, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *s = arena_vprintf(e->a, fmt, ap);
  va_end(ap);
  for (int i = 0; i < e->indent && *s && *s != '#'; i++) buf_puts(e->out, "  ");
  buf_puts(e->out, s);
  buf_putc(e->out, '\n');
}

void emit_open(Emit *e) {
  e->indent++;
  names_open(&e->names);
}

void emit_close(Emit *e) {
  names_close(&e->names);
  e->indent--;
}

static const char present = 1;

const char *emit_dim(Emit *e, const Dim *d) {
  uses_put(&e->used, d);
  return names_of(&e->names, d);
}

// Versions of a mut tensor share its storage and its name.

const char *emit_tensor(Emit *e, const Tensor *t) {
  t = tensor_root(t);
  if (t->role == ROLE_TABLE) map_putp(&e->table_used, t, (void *)&present);
  else uses_put(&e->used, t);
  const char *name = names_of(&e->names, t);
  assert(name && "a tensor has a name where it is used");
  return name;
}

const char *emit_type(Dtype wide) { return wide == DT_BOOL ? "int" : dtypes[wide].c; }

const char *emit_storage(const Tensor *t) { return t->fmt ? "unsigned char" : dtypes[t->dtype].c; }

// ---- statements --------------------------------------------------------------------------------

static void print_note(Emit *e, const char *note) {
  while (note && *note) {
    size_t n = strcspn(note, "\n");
    if (n) emit_line(e, "// %.*s", (int)n, note);
    note += n + (note[n] == '\n');
  }
}

// #line with the place of s, where its file is known.
static void print_place(Emit *e, const Stmt *s) {
  const Diags *d = e->p->fn->d;
  if (!e->opt->line || !d || !s->at.file || (int)s->at.file >= d->files.n) return;
  int line, column;
  diag_position(d, s->at, &line, &column);
  Buf path = buf_make(e->a);
  for (const char *c = d->files.v[s->at.file].path; *c; c++) {
    if (*c == '"' || *c == '\\') buf_putc(&path, '\\');
    buf_putc(&path, *c);
  }
  emit_line(e, "#line %d \"%s\"", line, path.s);
}

void emit_note(Emit *e, const Stmt *s) {
  print_place(e, s);
  print_note(e, s->note);
}

bool emit_is_simple(const Expr *x) {
  if (x->op == OP_READ) return x->u.t->rank == 0;
  if (x->op == OP_ADD || x->op == OP_SUB) return emit_is_simple(x->arg[0]) && emit_is_simple(x->arg[1]);
  return x->op == OP_CONST || x->op == OP_DIM || x->op == OP_INDEX || x->op == OP_VAR;
}

const char *emit_loop_end(Emit *e, const Stmt *s) {
  const char *end = emit_expr(e, s->hi, 8);
  if (emit_is_simple(s->hi)) return end;
  const char *name = names_fresh(&e->names, arena_printf(e->a, "%s_end", s->ix->name));
  emit_line(e, "const long long %s = %s;", name, emit_expr(e, s->hi, LEVEL_COND));
  return name;
}

const char *emit_index(Emit *e, const Stmt *loop) {
  map_putp(&e->loops, loop->ix, (void *)loop);
  return names_bind(&e->names, loop->ix, loop->ix->name);
}

// An initialiser. C widens integers by itself.
static const char *first_value(Emit *e, const Expr *x) {
  if (x->op == OP_CAST && dtype_is_int((Dtype)x->dtype) && (Dtype)x->aux == (Dtype)x->dtype && !dtype_is_float((Dtype)x->arg[0]->dtype)) x = x->arg[0];
  return emit_expr(e, x, LEVEL_COND);
}

static void print_let(Emit *e, const Stmt *s) {
  if (!map_getp(&e->read, s->var)) return;
  map_putp(&e->first, s->var, s->a);
  const char *value = first_value(e, s->a);
  if (!dtype_is_float(s->var->dtype)) {
    Range *r = arena_new(e->a, Range);
    *r = emit_range(e, s->a);
    map_putp(&e->ranges, s->var, r);
  }
  emit_line(e, "const %s %s = %s;", emit_type(s->var->dtype), names_bind(&e->names, s->var, s->var->name), value);
}

static void print_var(Emit *e, const Stmt *s) {
  if (!map_getp(&e->read, s->var) && !map_getp(&e->changed, s->var)) return;
  map_putp(&e->first, s->var, s->a);
  if (s->lanes > 1) {
    e->t->lanes_var(e, s);
    return;
  }
  const char *value = emit_expr(e, s->a, LEVEL_COND);
  emit_line(e, "%s %s = %s;", emit_type(s->var->dtype), names_bind(&e->names, s->var, s->var->name), value);
}

static void print_set(Emit *e, const Stmt *s) {
  emit_line(e, "%s = %s;", emit_var(e, s->var), emit_expr(e, s->a, LEVEL_COND));
}

// A state whose index is still the first value holds nothing.
static const char *nothing(Emit *e, const Var *index) { return emit_expr(e, map_getp(&e->first, index), LEVEL_PREFIX); }

// argmax and argmin. Terms come in order of their index within a lane, so a later one must be strictly better; NaN is
// better than all but NaN.
static void print_arg(Emit *e, const Stmt *s) {
  const char *v = emit_var(e, s->var), *i = emit_var(e, s->var2), *type = emit_type(s->var->dtype), *best = v, *at = i;
  const char *sign = s->reducer == RED_ARGMAX ? ">" : "<", *not_better = s->reducer == RED_ARGMAX ? "<=" : ">=";
  const char *term = names_fresh(&e->names, "term"), *better = names_fresh(&e->names, "better");
  bool eager = e->opt->gpu || s->lanes > 1;         // lanes take no branch together
  const char *or = eager ? "|" : "||", *and = eager ? "&" : "&&";
  const char *value = emit_expr(e, s->a, LEVEL_COND), *index = emit_expr(e, s->b, LEVEL_COND);
  emit_line(e, "const %s %s = %s;", type, term, value);
  if (s->lanes > 1) {                               // read once: of a choice between a lane and itself Clang makes a store under a condition
    best = names_fresh(&e->names, "best"), at = names_fresh(&e->names, "at");
    emit_line(e, "const %s %s = %s;", type, best, v);
    emit_line(e, "const %s %s = %s;", emit_type(s->var2->dtype), at, i);
  }
  const char *wins = dtype_is_float(s->var->dtype) ? arena_printf(e->a, "(!(%s %s %s) %s (%s == %s))", term, not_better, best, and, best, best)
                                                   : arena_printf(e->a, "(%s %s %s)", term, sign, best);
  emit_line(e, "const int %s = %s %s (%s == %s);", better, wins, or, at, nothing(e, s->var2));
  emit_line(e, "%s = %s ? %s : %s;", v, better, term, best);
  emit_line(e, "%s = %s ? %s : %s;", i, better, index, at);
}

// A maximum of magnitudes and of nothing else.
static bool is_magnitude_max(const Emit *e, const Stmt *s) {
  return e->t->int_magnitudes && s->lanes > 1 && s->reducer == RED_MAX && s->var->dtype == DT_F32 && s->a->op == OP_ABS && !map_getp(&e->any_sign, s->var);
}

static void print_acc(Emit *e, const Stmt *s) {
  if (s == e->scan.acc) {
    if (e->scan.first) emit_line(e, "%s[%s] = %s;", e->scan.sums, e->lane, emit_expr(e, s->a, LEVEL_COND));
    return;
  }
  if (reducers[s->reducer].arg) {
    print_arg(e, s);
    return;
  }
  Op op = reducers[s->reducer].combine;
  Dtype d = s->var->dtype;
  const char *v = emit_var(e, s->var);
  if (is_magnitude_max(e, s)) {
    emit_line(e, "%s = %s(%s, %s);", v, emit_math(e, MATH_max_magnitude_f32), v, emit_expr(e, s->a, LEVEL_COND));
    return;
  }
  if (s->var->quiet && e->t->own_functions) {
    emit_line(e, "%s = %s(%s, %s);", v, emit_math(e, MATH_max_quiet_f32), v, emit_expr(e, s->a, LEVEL_COND));
    return;
  }
  if (d == DT_BOOL) emit_line(e, "%s %s= %s;", v, op == OP_OR || op == OP_MAX ? "|" : "&", emit_expr(e, s->a, LEVEL_COND));
  else if ((op == OP_ADD || op == OP_MUL) && d != DT_I32 && d != DT_I64)
    emit_line(e, "%s %s= %s;", v, op == OP_ADD ? "+" : "*", emit_expr(e, s->a, LEVEL_COND));
  else emit_line(e, "%s = %s;", v, emit_combine(e, op, d, v, emit_expr(e, s->a, op == OP_ADD || op == OP_MUL ? LEVEL_PREFIX : LEVEL_COND)));
}

static const char *store_nibble(Emit *e) { return emit_math(e, e->parallel ? MATH_store_u4_shared : MATH_store_u4); }

// Field k of a block: bytes, at any alignment.
static void print_store_field(Emit *e, const Stmt *s) {
  Dtype d = s->t->fmt->field[s->field].dtype;
  const char *p = emit_field(e, s->t, s->field, s->sub, s->nsub), *value = emit_stored(e, d, s->a);
  switch (dtypes[d].bits) {
  case 4: {
    const char *k = s->nsub > s->t->rank ? emit_expr(e, s->sub[s->t->rank], LEVEL_COND) : "0";
    emit_line(e, "%s(%s, %s, %s);", emit_math(e, MATH_store_u4), p, k, value);
    return;
  }
  case 16: emit_line(e, "%s(%s, %s);", emit_math(e, MATH_store_u16), p, value); return;
  case 32: if (d == DT_F32) value = arena_printf(e->a, "%s(%s)", emit_math(e, MATH_bits_from_f32), value);
    emit_line(e, "%s(%s, (unsigned int)%s);", emit_math(e, MATH_store_u32), p, value); return;
  case 64: if (d == DT_F64) value = arena_printf(e->a, "%s(%s)", emit_math(e, MATH_bits_from_f64), value);
    emit_line(e, "%s(%s, (unsigned long long)%s);", emit_math(e, MATH_store_u64), p, value); return;
  default: {
    const char *name = emit_tensor(e, s->t);     // p is "name + offset"
    emit_line(e, "%s[%s] = (unsigned char)%s;", name, p + strlen(name) + strlen(" + "), value);
  }
  }
}

static const Staged *staged(const Emit *e, const Stmt *s) {
  for (int i = 0; i < e->staged.n; i++)
    if (e->staged.v[i].store == s) return &e->staged.v[i];
  return NULL;
}

AtFirst emit_at_first(Emit *e, const Index *ix, const char *first) {
  AtFirst was = {ix, names_of(&e->names, ix), e->lane_first};
  names_bind_to(&e->names, ix, first);
  e->lane_first = first;
  return was;
}

void emit_at_first_end(Emit *e, const AtFirst *was) {
  if (was->name) names_bind_to(&e->names, was->ix, was->name);
  e->lane_first = was->first;
}

void emit_written(Emit *e, const Tensor *t) { map_putp(&e->written, tensor_root(t), (void *)&present); }

static void print_store(Emit *e, const Stmt *s) {
  const Tensor *t = s->t;
  emit_written(e, t);
  if (s->field >= 0) {
    print_store_field(e, s);
    return;
  }
  const Staged *lanes = staged(e, s);
  if (lanes) {
    emit_line(e, "%s[%s] = %s;", lanes->array, e->lane, lanes->words ? emit_word(e, t->dtype, s->a) : emit_stored(e, t->dtype, s->a));
    return;
  }
  const char *value = emit_stored(e, t->dtype, s->a), *at = emit_position(e, t, s->sub, s->nsub, 1, LEVEL_COND);
  if (dtypes[t->dtype].bits == 4) emit_line(e, "%s(%s, %s, %s);", store_nibble(e), emit_tensor(e, t), at, value);
  else emit_line(e, "%s[%s] = %s;", emit_tensor(e, t), at, value);
}

static void print_braced(Emit *e, const Stmt *body) {
  emit_open(e);
  emit_block(e, body);
  emit_close(e);
}

static void print_if(Emit *e, const Stmt *s) {
  emit_line(e, "if (%s) {", emit_expr(e, s->a, LEVEL_COND));
  print_braced(e, s->body);
  if (s->els) {
    emit_line(e, "} else {");
    print_braced(e, s->els);
  }
  emit_line(e, "}");
}

static int64_t elements_of(const Tensor *t) {
  int64_t n = 1;
  for (int k = 0; k < t->rank; k++) n *= t->extent[k]->u.v.i;
  return n;
}

void emit_array(Emit *e, const Tensor *t, const char *name) {
  int64_t n = elements_of(t), size = t->fmt ? n / t->fmt->block * t->fmt->bytes : dtypes[t->dtype].bits == 4 ? (n + 1) / 2 : n;
  const char *aligned = size >= 64 ? e->t->aligned_words : "";
  emit_line(e, "%s%s %s[%lld];", aligned, emit_storage(t), name, (long long)(size ? size : 1));
}

static void print_alloc(Emit *e, const Stmt *s) {
  const Tensor *t = s->t;
  if (s->space == SPACE_PACKED) map_putp(&e->packed, t, (void *)s);
  if (s->space != SPACE_STACK) {
    e->t->alloc(e, s);
    return;
  }
  emit_array(e, t, names_bind(&e->names, tensor_root(t), t->name));
}

static void print_fault(Emit *e, const Stmt *s) {
  e->faults = true;
  e->t->fault(e, s->site->id, emit_expr(e, s->a, LEVEL_COND));
}

void emit_statement(Emit *e, const Stmt *s) {
  emit_note(e, s);
  switch (s->kind) {
  case ST_LOOP: e->t->loop(e, s); return;
  case ST_LET: print_let(e, s); return;
  case ST_VAR: print_var(e, s); return;
  case ST_SET: print_set(e, s); return;
  case ST_ACC: print_acc(e, s); return;
  case ST_FOLD: e->t->fold(e, s); return;
  case ST_STORE: print_store(e, s); return;
  case ST_IF: print_if(e, s); return;
  case ST_FAULT: print_fault(e, s); return;
  case ST_ALLOC: print_alloc(e, s); return;
  case ST_LINE: e->t->line(e, s); return;
  case ST_MOVE: e->t->move(e, s); return;
  case ST_BARRIER: e->t->barrier(e, s); return;
  case ST_FORGET: e->t->forget(e, s); return;
  case ST_PREFIX: e->t->prefix(e, s); return;
  case ST_STAGE: e->t->stage(e, s); return;
  case ST_PREFETCH: if (s->lanes > 1) e->t->prefetch(e, s); return;      // others: the loop around prints them once a block
  }
}

void emit_block(Emit *e, const Stmt *s) {
  for (; s; s = s->next) {
    if (e->in_region && !e->parallel) s = e->t->region_statement(e, s);
    else emit_statement(e, s);
    if (e->scan.first && s == e->scan.acc) return;      // what follows needs the sums
  }
}

// ---- the file ----------------------------------------------------------------------------------

static void mark_var(void *cx, Expr *x) {
  if (x->op == OP_VAR) map_putp(&((Emit *)cx)->read, x->u.var, x);
}

static bool is_least(const Expr *x) { return x->op == OP_CONST && dtype_is_float((Dtype)x->dtype) && isinf(x->u.v.f) && x->u.v.f < 0; }

// A variable that becomes something else than magnitudes and -inf.
static void mark_sign(Emit *e, const Stmt *s) {
  bool sets = s->kind == ST_VAR || s->kind == ST_SET || s->kind == ST_ACC;
  if (sets && s->var && s->a && !is_least(s->a) && !(s->kind == ST_ACC && s->a->op == OP_ABS)) map_putp(&e->any_sign, s->var, s->var);
}

// Variables that some expression reads; compilers warn of others.
static void mark_reads(Emit *e, const Stmt *s) {
  for (; s; s = s->next) {
    Expr *const part[] = {s->lo, s->hi, s->parallel_if, s->a, s->b, s->stream, s->lo2, s->hi2};
    for (int k = 0; k < 8; k++)
      if (part[k]) expr_visit(e->a, part[k], mark_var, e);
    for (int k = 0; k < s->nsub; k++) expr_visit(e->a, s->sub[k], mark_var, e);
    bool declares = s->kind == ST_LET || s->kind == ST_VAR || s->kind == ST_LINE;
    if (s->var && !declares) map_putp(&e->changed, s->var, s->var);
    if (s->var2 && !declares) map_putp(&e->changed, s->var2, s->var2);
    mark_sign(e, s);
    mark_reads(e, s->body);
    mark_reads(e, s->els);
  }
}

static Params *params_of(Emit *e) {
  Params *p = arena_new(e->a, Params);
  int *at, n = uses_sorted(&e->used, &e->number, &at);
  p->faults = e->faults;
  for (int i = 0; i < n; i++) {
    Param known = e->known.v[at[i]];
    vec_push(e->a, &p->list, (Param){known.dim, known.t, known.t && map_getp(&e->written, known.t)});
  }
  return p;
}

static void print_kernel(Emit *e, const Kernel *k) {
  Buf body = buf_make(e->a), *out = e->out;
  e->used = uses_make(e->a);
  e->written = map_make(e->a);
  e->read = map_make(e->a);
  e->changed = map_make(e->a);
  e->any_sign = map_make(e->a);
  e->kernel = k;
  e->ranges = map_make(e->a);
  e->loose = map_make(e->a);
  mark_reads(e, k->body);
  if (e->t->variants || e->t->fixed_quotients) emit_find_loose(e, k->body);
  e->faults = e->uses_shared = false;
  e->out = &body;
  names_open(&e->names);
  e->indent = 1;
  if (e->t->kernel_open) e->t->kernel_open(e, k);
  emit_block(e, k->body);
  e->in_region = false;
  e->indent = 0;
  names_close(&e->names);
  e->out = out;
  e->kernel = NULL;
  Params *params = params_of(e);
  map_putp(&e->params, k, params);
  params->from = out->n;
  e->t->kernel_head(e, k);
  buf_puts(out, body.s);
  buf_puts(out, "}\n\n");
  params->to = out->n;
}

// A comment line by line; `//` ends at a backslash only by accident, so that one gets a point behind it.
static void print_comment(Emit *e, const char *text) {
  while (*text) {
    int n = (int)strcspn(text, "\n");
    emit_line(e, "//%s%.*s%s", n ? "   " : "", n, text, n && text[n - 1] == '\\' ? "." : "");
    text += n + (text[n] == '\n');
  }
}

static void print_source(Emit *e) {
  const Fn *f = e->p->source ? e->p->source : e->p->fn;
  emit_line(e, "// %s, printed by plait from", e->entry);
  emit_line(e, "//");
  Buf source = buf_make(e->a);
  fn_print(f, &source);
  print_comment(e, source.s);
}

// What is printed for row m: itself, or the target's own.
static Math variant_of(const Emit *e, Math m) {
  Math own = e->t->variants ? math_by_name(arena_printf(e->a, "%s%s", e->t->variants, math_functions[m].name)) : MATH_COUNT;
  return own == MATH_COUNT ? m : own;
}

static bool has_asm(Math m) { return strstr(math_functions[m].text, "asm(") != NULL; }

// A text with assembly in it is for the GPU: the emulator of the tests takes the plain row instead.
static void print_function(Emit *e, Math m) {
  Math own = variant_of(e, m);
  const char *words = e->math_host[m] ? e->t->host_words : e->t->function_words;
  bool both = own != m && has_asm(own) && e->opt->jit;
  if (both) buf_printf(e->out, "#ifdef PLAIT_EMU\n%s%s#else\n", words, math_functions[m].text);
  buf_printf(e->out, "%s%s%s\n", words, math_functions[own].text, both ? "#endif\n" : "");
}

static void mark_list(Emit *e, Math m, const char *s) {
  for (const char *end = strchr(s, ' '); end; s = end + 1, end = strchr(s, ' ')) {
    Math need = math_by_name(arena_strndup(e->a, s, (size_t)(end - s)));
    assert(need < m && "a function stands before its users");
    e->math_used[need] = true;
    e->math_host[need] |= e->math_host[m];
  }
}

static void mark_needs(Emit *e, Math m) {
  Math own = variant_of(e, m);
  mark_list(e, m, math_functions[own].needs);
  if (own != m && has_asm(own) && e->opt->jit) mark_list(e, m, math_functions[m].needs);
}

static void print_math(Emit *e) {
  for (int m = MATH_COUNT - 1; m >= 0; m--)
    if (e->math_used[m]) mark_needs(e, (Math)m);
  for (int m = 0; m < MATH_COUNT; m++)
    if (e->math_used[m]) print_function(e, (Math)m);
}

static void print_op(Emit *e, Op op, Dtype d) {
  static const char *const names[] = {"a", "b", "c"};
  const char *type = emit_type(d);
  const char *words = e->op_host[op * DT_COUNT + d] ? e->t->host_words : e->t->function_words;
  buf_printf(e->out, "%s%s %s_%s(", words, emit_type(op_dtype(op, d)), ops[op].name, dtypes[d].name);
  for (int k = 0; k < ops[op].arity; k++) buf_printf(e->out, "%s%s %s", k ? ", " : "", type, names[k]);
  const char *text = emit_fill(e, e->t->op_text(&ops[op], dtypes[d].kind), d, names);
  buf_printf(e->out, ") {\n  return %s;\n}\n\n", emit_strip(e, text));
}

static void print_ops(Emit *e) {
  for (int op = 0; op < OP_COUNT_; op++)
    for (int d = 0; d < DT_COUNT; d++)
      if (e->op_used[op * DT_COUNT + d]) print_op(e, (Op)op, (Dtype)d);
}

static void print_table(Emit *e, const Tensor *t) {
  buf_printf(e->out, "%s%s %s[%lld] = {", e->t->table_words, emit_storage(t), names_of(&e->names, t), (long long)t->ntable);
  int64_t bytes = dtypes[t->dtype].bits == 4 ? (t->ntable + 1) / 2 : t->ntable;
  for (int64_t i = 0; i < bytes; i++) {
    buf_puts(e->out, i == 0 ? "\n  " : i % 8 ? ", " : ",\n  ");
    buf_puts(e->out, emit_element(e, t, i));
  }
  buf_puts(e->out, "\n};\n\n");
}

static void print_tables(Emit *e) {
  const Fn *f = e->p->fn;
  for (int i = 0; i < f->tensors.n; i++)
    if (map_getp(&e->table_used, f->tensors.v[i])) print_table(e, f->tensors.v[i]);
}

// Names of the whole file: helpers first, then what the source named, so that the source's names keep clear of them.
static void take_names(Emit *e) {
  const Fn *f = e->p->fn;
  if (e->t->names) e->t->names(e);
  for (int m = 0; m < MATH_COUNT; m++) names_fresh(&e->names, math_functions[m].name);
  for (int op = 0; op < OP_COUNT_; op++)
    for (int d = 0; d < DT_COUNT; d++)
      if ((ops[op].props & OP_DUP) && d && dtype_is_wide((Dtype)d))
        names_fresh(&e->names, arena_printf(e->a, "%s_%s", ops[op].name, dtypes[d].name));
  e->entry = names_global(&e->names, f->name);
  for (int i = 0; i < f->dims.n; i++) names_bind(&e->names, f->dims.v[i], f->dims.v[i]->name);
  for (int i = 0; i < f->tensors.n; i++) {
    const Tensor *t = f->tensors.v[i];
    if (t->role == ROLE_TABLE) names_bind_to(&e->names, t, names_global(&e->names, t->name));
    else if (tensor_root(t) == t && tensor_place(e->p, t) != PLACE_STACK) names_bind(&e->names, t, t->name);
  }
  for (int i = 0; i < e->p->kernels.n; i++) {
    const Kernel *k = e->p->kernels.v[i];
    names_bind_to(&e->names, k, names_global(&e->names, k->name));
  }
}

void emit_know(Emit *e, const Dim *d, const Tensor *t) {
  vec_push(e->a, &e->known, (Param){d, t, false});
  map_putp(&e->number, d ? (const void *)d : t, (void *)(uintptr_t)e->known.n);
}

static void number_objects(Emit *e) {
  const Fn *f = e->p->fn;
  for (int i = 0; i < f->dims.n; i++) emit_know(e, f->dims.v[i], NULL);
  for (int i = 0; i < f->params.n; i++) emit_know(e, NULL, f->params.v[i]);
  for (int i = 0; i < f->results.n; i++) emit_know(e, NULL, f->results.v[i]);
  for (int i = 0; i < e->p->temps.n; i++) emit_know(e, NULL, e->p->temps.v[i].t);
}

static Emit emit_make(Arena *a, const Plan *p, const EmitOptions *opt) {
  Emit e = {.p = p, .t = opt->target, .opt = opt, .a = a, .names = names_make(a)};
  e.folded.kind = ST_FOLD;
  e.lanes = map_make(a);
  e.first = map_make(a);
  e.loops = map_make(a);
  e.ranges = map_make(a);
  e.loose = map_make(a);
  e.used = uses_make(a);
  e.number = map_make(a);
  e.table_used = map_make(a);
  e.written = map_make(a);
  e.params = map_make(a);
  e.packed = map_make(a);
  e.in_shared = map_make(a);
  e.helpers = map_make(a);
  e.own = arena_new(a, Buf);
  *e.own = buf_make(a);
  e.op_used = arena_array(a, bool, OP_COUNT_ * DT_COUNT);
  e.math_used = arena_array(a, bool, MATH_COUNT);
  e.rows = arena_array(a, short, OP_COUNT_ * DT_COUNT * EXACTNESSES * FORMS);
  e.op_host = arena_array(a, bool, OP_COUNT_ * DT_COUNT);
  e.math_host = arena_array(a, bool, MATH_COUNT);
  return e;
}

void emit_plan(const Plan *p, const EmitOptions *opt, Buf *text, Buf *header) {
  Arena *a = arena_create();
  Emit e = emit_make(a, p, opt);
  Buf kernels = buf_make(a);
  take_names(&e);
  number_objects(&e);
  e.out = &kernels;
  if (e.t->plan) e.t->plan(&e);
  for (int i = 0; i < p->kernels.n; i++) print_kernel(&e, p->kernels.v[i]);
  e.t->entry(&e, header);
  e.out = text;
  print_source(&e);
  e.t->prologue(&e);
  print_math(&e);
  print_ops(&e);
  buf_puts(text, e.own->s);
  print_tables(&e);
  buf_puts(text, kernels.s);
  arena_destroy(a);
}
