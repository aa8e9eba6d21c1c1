// kernel.c: plans and kernels as data, and as text for people and golden tests.
//
//   kernel softmax_y(x, y)
//     # m[i] = max[j](x[i, j])
//     par i in 0 .. N if N * D
//       var m: f32[16 lanes] = -inf
//       lanes j in 0 .. D
//         m = max(m, x[i, j])
//       fold m = max
//       vec j in 0 .. D
//         y[i, j] = exp(x[i, j] - m)
#include "ir/kernel.h"
#include <string.h>
#include <inttypes.h>

void plan_add_temp(Plan *p, Temp t) {
  vec_push(p->a, &p->temps, t);
  p->temp_of.a = p->a;
  map_putp(&p->temp_of, t.t, (void *)(uintptr_t)p->temps.n);
}

int plan_temp_of(const Plan *p, const Tensor *t) { return (int)(uintptr_t)map_getp(&p->temp_of, t) - 1; }

static bool is_temp(const Plan *p, const Tensor *t) { return plan_temp_of(p, t) >= 0 || (t->root && plan_temp_of(p, t->root) >= 0); }

Place tensor_place(const Plan *p, const Tensor *t) {
  switch (t->role) {
  case ROLE_TABLE: return PLACE_TABLE;
  case ROLE_LOCAL: return is_temp(p, t) ? PLACE_SCRATCH : PLACE_STACK;
  default: return PLACE_ARG;
  }
}

static const char *how_words[] = {
  [HOW_SEQ] = "for", [HOW_PAR] = "par", [HOW_VEC] = "vec", [HOW_PAR_VEC] = "par vec", [HOW_LANES] = "lanes", [HOW_SCAN] = "scan", [HOW_UNROLL] = "unroll", [HOW_ONE] = "at", [HOW_BLOCKS] = "blocks", [HOW_THREADS] = "threads", [HOW_TEAM] = "team",
};

static void indent(Buf *out, int depth) {
  for (int i = 0; i < depth; i++) buf_puts(out, "  ");
}

// An expression as source, but that integers alone need no type here.
static void print_value(const Expr *e, Buf *out) {
  if (e->op == OP_CONST && dtype_is_int((Dtype)e->dtype)) buf_printf(out, "%" PRId64, e->u.v.i);
  else expr_print(e, out);
}

static void print_list(Buf *out, int n, Expr *const *e) {
  for (int i = 0; i < n; i++) {
    if (i) buf_puts(out, ", ");
    print_value(e[i], out);
  }
}

static void print_loop(const Stmt *s, Buf *out) {
  buf_puts(out, how_words[s->how]);
  if (s->unroll) buf_printf(out, "(%d at a time)", s->unroll);
  if (s->how == HOW_LANES || (s->how == HOW_SCAN && s->lanes > 1)) buf_printf(out, "(%d)", s->lanes);
  if (s->streams) buf_puts(out, " in streams");
  buf_printf(out, " %s", s->ix->name);
  if (s->ix2) buf_printf(out, " .. %s", s->ix2->name);
  buf_puts(out, s->how == HOW_ONE ? " = " : s->ix2 ? " in shares of " : " in ");
  print_value(s->lo, out);
  if (s->how == HOW_ONE) return;
  buf_puts(out, " .. ");
  print_value(s->hi, out);
  if (s->row) buf_puts(out, " of "), print_value(s->row, out);
  if (s->step) buf_printf(out, " by %" PRId64, s->step);
  if (s->parallel_if) {
    buf_puts(out, " if ");
    print_value(s->parallel_if, out);
  }
}

static void print_var(const Stmt *s, Buf *out) {
  buf_printf(out, "%s %s: %s", s->kind == ST_LET ? "let" : "var", s->var->name, dtypes[s->var->dtype].name);
  if (s->kind == ST_VAR && s->lanes > 1) buf_printf(out, "[%d lanes]", s->lanes);
  buf_puts(out, " = ");
  print_value(s->a, out);
}

static void print_acc(const Stmt *s, Buf *out) {
  if (s->var2) buf_printf(out, "%s, %s", s->var->name, s->var2->name);
  else buf_puts(out, s->var->name);
  buf_printf(out, " = %s(%s, ", reducers[s->reducer].name, s->var->name);
  print_value(s->a, out);
  if (s->var2) {
    buf_puts(out, " at ");
    print_value(s->b, out);
  }
  buf_putc(out, ')');
}

static void print_stream(const Stmt *s, Buf *out) {
  if (!s->stream) return;
  buf_puts(out, " streaming if ");
  print_value(s->stream, out);
}

static void print_store(const Stmt *s, Buf *out) {
  buf_puts(out, s->t->name);
  if (s->field >= 0) buf_printf(out, ".%s", s->t->fmt->field[s->field].name);
  if (s->nsub) {
    buf_putc(out, '[');
    print_list(out, s->nsub, s->sub);
    buf_putc(out, ']');
  }
  buf_puts(out, " = ");
  print_value(s->a, out);
  print_stream(s, out);
}

static void print_alloc(const Stmt *s, Buf *out) {
  static const char *const words[] = {[SPACE_STACK] = "", [SPACE_PACKED] = "packed ", [SPACE_SHARED] = "shared "};
  buf_printf(out, "alloc %s%s: %s[", words[s->space], s->t->name, s->t->fmt ? s->t->fmt->name : dtypes[s->t->dtype].name);
  print_list(out, s->t->rank, s->t->extent);
  buf_putc(out, ']');
  if (s->space != SPACE_SHARED) return;
  buf_puts(out, " at ");
  print_value(s->a, out);
}

static void print_move(const Stmt *s, Buf *out) {
  if (!s->out) buf_printf(out, "%s[", s->t2->name), print_value(s->a, out), buf_puts(out, " ..] = ");
  buf_printf(out, "%d of %s[", s->lanes, s->t->name);
  print_list(out, s->nsub, s->sub);
  buf_putc(out, ']');
  if (s->out) buf_printf(out, " = %s[", s->t2->name), print_value(s->a, out), buf_puts(out, " ..]");
}

static void print_fold(const Stmt *s, Buf *out) {
  buf_printf(out, "fold %s%s%s = %s%s", s->var->name, s->var2 ? ", " : "", s->var2 ? s->var2->name : "", reducers[s->reducer].name, s->again ? ", again" : "");
}

static void print_stage(const Stmt *s, Buf *out) {
  buf_printf(out, "stage %s", s->t->name);
  if (s->nsub) buf_putc(out, '['), print_list(out, s->nsub, s->sub), buf_putc(out, ']');
  buf_puts(out, " = ");
  print_value(s->a, out);
  buf_printf(out, " for %s in ", s->ix->name);
  print_value(s->lo, out);
  buf_puts(out, " .. ");
  print_value(s->hi, out);
  buf_printf(out, ", %s in ", s->ix2->name);
  print_value(s->lo2, out);
  buf_puts(out, " .. ");
  print_value(s->hi2, out);
  print_stream(s, out);
}

static void print_prefetch(const Stmt *s, Buf *out) {
  if (s->lanes > 1) buf_printf(out, "prefetch %d of %s[", s->lanes, s->t->name);
  else buf_printf(out, "prefetch %s%d of %d: %s[", s->near ? "near " : "", s->part, s->parts, s->t->name);
  print_list(out, s->nsub, s->sub);
  buf_putc(out, ']');
}

static void print_line(const Stmt *s, Buf *out) {
  buf_printf(out, "let %s: i64 = to a line from %s[", s->var->name, s->t->name);
  print_list(out, s->nsub, s->sub);
  buf_puts(out, "], at most ");
  print_value(s->a, out);
}

// The line of s itself.
static void print_head(const Stmt *s, Buf *out) {
  switch (s->kind) {
  case ST_LOOP: print_loop(s, out); return;
  case ST_LET: case ST_VAR: print_var(s, out); return;
  case ST_SET: buf_printf(out, "%s = ", s->var->name); print_value(s->a, out); return;
  case ST_ACC: print_acc(s, out); return;
  case ST_FOLD: print_fold(s, out); return;
  case ST_STORE: print_store(s, out); return;
  case ST_IF: buf_puts(out, "if "); print_value(s->a, out); return;
  case ST_FAULT: buf_printf(out, "fault %d, ", s->site->id); print_value(s->a, out); return;
  case ST_ALLOC: print_alloc(s, out); return;
  case ST_MOVE: print_move(s, out); return;
  case ST_BARRIER: buf_puts(out, "barrier"); return;
  case ST_FORGET: buf_printf(out, "forget what came of %s", s->t->name); return;
  case ST_PREFIX: buf_printf(out, "prefix %s, %s = %s of those before, of all", s->var->name, s->var2->name, reducers[s->reducer].name); return;
  case ST_STAGE: print_stage(s, out); return;
  case ST_PREFETCH: print_prefetch(s, out); return;
  case ST_LINE: print_line(s, out); return;
  }
}

static void print_block(const Stmt *s, int depth, Buf *out) {
  for (; s; s = s->next) {
    for (const char *line = s->note; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
      indent(out, depth);
      buf_printf(out, "# %.*s\n", (int)strcspn(line, "\n"), line);
    }
    indent(out, depth);
    print_head(s, out);
    buf_putc(out, '\n');
    print_block(s->body, depth + 1, out);
    if (!s->els) continue;
    indent(out, depth);
    buf_puts(out, "else\n");
    print_block(s->els, depth + 1, out);
  }
}

static void print_grid(const Grid *g, Buf *out) {
  buf_puts(out, " in ");
  print_value(g->blocks, out);
  buf_printf(out, " blocks of %d threads", g->threads);
  if (g->cluster > 1) buf_printf(out, ", clusters of %d", g->cluster);
  if (g->team > 1) buf_printf(out, ", teams of %d", g->team);
  if (g->stride > 1) buf_printf(out, " every %d", g->stride);
  if (g->shared_bytes) buf_puts(out, ", shared "), print_value(g->shared_bytes, out);
  if (g->when) buf_puts(out, ", when "), print_value(g->when, out);
  for (int i = 0; i < g->wants.n; i++) buf_printf(out, "%s%s", i ? ", " : ", faster with ", g->wants.v[i]->name);
}

void kernel_print(const Plan *p, const Kernel *k, Buf *out) {
  (void)p;
  buf_printf(out, "kernel %s(", k->name);
  for (int i = 0; i < k->args.n; i++) {
    const KernelArg *arg = &k->args.v[i];
    buf_printf(out, "%s%s%s", i ? ", " : "", arg->writes ? arg->reads ? "inout " : "out " : "", arg->t->name);
  }
  buf_putc(out, ')');
  if (k->grid) print_grid(k->grid, out);
  buf_putc(out, '\n');
  print_block(k->body, 1, out);
}

static void print_temp(const Temp *t, Buf *out) {
  buf_printf(out, "temp %s: %s[", t->t->name, t->t->fmt ? t->t->fmt->name : dtypes[t->t->dtype].name);
  print_list(out, t->t->rank, t->t->extent);
  buf_puts(out, "] at ");
  print_value(t->offset, out);
  buf_printf(out, " in kernels %d .. %d\n", t->first, t->last);
}

static void print_site(const Site *s, Buf *out) {
  buf_printf(out, "site %d: %s", s->id, code_info(s->code)->title);
  if (s->tensor) buf_printf(out, ", %s", s->tensor);
  if (s->axis >= 0) buf_printf(out, " subscript %d", s->axis);
  if (s->extent) {
    buf_puts(out, " of 0 .. ");
    print_value(s->extent, out);
  }
  if (s->equation) buf_printf(out, ", in the equation of %s", s->equation);
  buf_putc(out, '\n');
}

void plan_print(const Plan *p, Buf *out) {
  for (int i = 0; i < p->temps.n; i++) print_temp(&p->temps.v[i], out);
  if (p->temps.n) {
    buf_puts(out, "scratch ");
    print_value(p->scratch_bytes, out);
    buf_puts(out, " bytes\n");
  }
  for (int i = 0; i < p->conds.n; i++) {
    buf_puts(out, "check ");
    print_value(p->conds.v[i].e, out);
    buf_putc(out, '\n');
  }
  for (int i = 0; i < p->sites.n; i++) print_site(p->sites.v[i], out);
  for (int i = 0; i < p->kernels.n; i++) {
    if (out->n) buf_putc(out, '\n');
    kernel_print(p, p->kernels.v[i], out);
  }
}
