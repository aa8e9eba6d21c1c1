// lower_format.c: values in block formats: decoding a read, encoding a block.
//
//   w[o, k]  with q8_0's  value[k] = d * q[k]   ──▶   w.d[o, k // 32] * w.q[o, k // 32, k % 32]
#include "ir/rewrite.h"
#include "passes/lower.h"
#include <string.h>

typedef struct Decode { const Tensor *t; Expr **lead; int nlead; Expr *block; } Decode;

// A field tensor's read in `value` becomes the field of the block at hand.
static Expr *to_field(void *cx, ExprTable *x, Expr *e) {
  const Decode *d = cx;
  if (e->op != OP_READ) return e;
  const Format *f = d->t->fmt;
  int field = 0;
  while (field < f->nfields && f->field[field].t != e->u.t) field++;
  if (field == f->nfields) return e;           // a const table
  Expr *arg[10];
  memcpy(arg, d->lead, (size_t)d->nlead * sizeof *arg);
  int n = d->nlead;
  arg[n++] = d->block;
  if (f->field[field].array) arg[n++] = e->arg[0];
  return expr_make(x, OP_FIELD, (Dtype)e->dtype, field, d->t->root, e->at, n, arg);
}

Expr *lower_decode(Lower *l, const Tensor *t, Expr *const *sub, Span at) {
  ExprTable *x = l->x;
  const Format *f = t->fmt;
  Expr *size = expr_int(x, DT_I64, f->block, at), *last = sub[t->rank - 1];
  Expr *lead[8];
  for (int k = 0; k < t->rank - 1; k++) lead[k] = sub[k];
  Expr *within = expr_op2(x, OP_MOD, last, size, at);
  Decode d = { t, lead, t->rank - 1, lower_named(l, expr_op2(x, OP_FLOORDIV, last, size, at), "block") };
  within = lower_named(l, within, "within");
  Index *k = f->k;
  Expr *value = expr_subst(x, f->value, 1, &k, &within);
  value = expr_map(x, value, to_field, &d);
  lower_count(l, value);
  return value;
}

static Stmt *store_local(Lower *l, Tensor *t, Expr *at, Expr *value) {
  Stmt *s = stmt_new(l->p->a, ST_STORE);
  s->t = t;
  s->field = -1;
  s->nsub = at != NULL;
  s->sub[0] = at;
  s->a = value;
  lower_emit(l, s);
  return s;
}

static Tensor *local_copy(Lower *l, const Tensor *t) {
  Tensor *c = fn_tensor(l->f, t->name, ROLE_LOCAL, t->dtype, NULL, t->rank, t->extent, t->at);
  Stmt *s = stmt_new(l->p->a, ST_ALLOC);
  s->t = c;
  lower_emit(l, s);
  return c;
}

typedef struct Rename { int n; Tensor *from[64], *to[64]; } Rename;

static Expr *rename_read(void *cx, ExprTable *x, Expr *e) {
  const Rename *r = cx;
  if (e->op != OP_READ) return e;
  for (int k = 0; k < r->n; k++)
    if (e->u.t == r->from[k]) return expr_make(x, OP_READ, (Dtype)e->dtype, e->aux, r->to[k], e->at, (int)e->nargs, e->arg);
  return e;
}

static void store_field(Lower *l, Item *it, Expr *block, const Field *fd, Expr *elem, Expr *value) {
  const Eqn *q = it->q;
  Stmt *s = stmt_new(l->p->a, ST_STORE);
  s->t = q->def->root;
  s->field = (int)(fd - q->def->fmt->field);
  for (int k = 0; k < q->def->rank - 1; k++) s->sub[s->nsub++] = q->base ? lower_expr(l, expr_subst(l->x, q->store[k], it->nbound, it->from, it->to))
                                                                          : expr_subst(l->x, expr_index(l->x, q->ix[k]), it->nbound, it->from, it->to);
  s->sub[s->nsub++] = block;
  if (fd->array) s->sub[s->nsub++] = elem;
  s->a = value;
  lower_emit(l, s);
}

// One equation of `encode`: into a local of the field's type, and from there (rounded) into the block.
static void encode_equation(Lower *l, Item *it, Expr *block, const FormatEqn *e, Rename *r) {
  Tensor *c = local_copy(l, e->def);
  Stmt *loop = NULL;
  Expr *body = e->body, *at = NULL;
  if (e->ix) {
    Index *ix = index_new(l->x, e->ix->name, e->ix->at);
    at = expr_index(l->x, ix);
    Index *old = e->ix;
    body = expr_subst(l->x, body, 1, &old, &at);
    loop = loop_open(l, ix, expr_int(l->x, DT_I64, 0, e->at), e->extent, HOW_SEQ);
  }
  body = expr_map(l->x, body, rename_read, r);
  lower_count(l, body);
  Expr *value = expr_cast(l->x, c->dtype, lower_expr(l, body), e->at);
  value = lower_named(l, value, e->def->name);
  store_local(l, c, at, value);
  if (e->field) store_field(l, it, block, e->field, at, value);
  if (loop) loop_close(l, loop);
  r->from[r->n] = e->def;
  r->to[r->n++] = c;
}

// All loops but that of the last dimension are open: for each block, compute its values, then its fields.
void lower_format_block(Lower *l, Item *it) {
  Eqn *q = it->q;
  const Format *f = q->def->fmt;
  ExprTable *x = l->x;
  int last = eqn_block_pos(q);
  Expr *zero = expr_int(x, DT_I64, 0, q->at), *size = expr_int(x, DT_I64, f->block, q->at);
  Index *blk = index_new(x, intern(l->f->names, "block"), q->at), *ix = index_new(x, q->ix[last]->name, q->at);
  Stmt *outer = loop_open(l, blk, zero, expr_op2(x, OP_FLOORDIV, q->extent[last], size, q->at), HOW_SEQ);
  Expr *block = expr_index(x, blk), *k = expr_index(x, ix);
  Rename r = { .n = 1 };
  r.from[0] = f->v;
  r.to[0] = local_copy(l, f->v);
  Stmt *inner = loop_open(l, ix, zero, size, HOW_SEQ);
  Item at = *it;
  at.from[at.nbound] = q->ix[last];
  at.to[at.nbound++] = expr_op2(x, OP_ADD, expr_op2(x, OP_MUL, block, size, q->at), k, q->at);
  Expr *value = expr_subst(x, q->body, at.nbound, at.from, at.to);
  lower_count(l, value);
  store_local(l, r.to[0], k, lower_expr(l, value));
  loop_close(l, inner);
  for (int e = 0; e < f->nencode && r.n < 64; e++) encode_equation(l, &at, block, &f->encode[e], &r);
  loop_close(l, outer);
}
