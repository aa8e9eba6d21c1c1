// tree.c: the nodes that the grammar builds, and the few checks that the tree could not carry to sema.
#include "frontend/parser.h"
#include <limits.h>
#include <string.h>

// Lists grow in scratch memory; the tree has copies of their final size.
static void *keep(Parser *p, const void *v, int n, size_t size) {
  if (!n) return NULL;
  void *copy = arena_alloc_array(p->a, (size_t)n, size);
  return memcpy(copy, v, (size_t)n * size);
}
#define KEEP(list) keep(p, (list).v, (list).n, sizeof *(list).v)

// Expressions. Every one comes from here: the height is limited because later stages recurse over the tree.

static int sub_height(const ASub *s) {
  if (s->kind == SUB_DOTS) return 0;
  if (s->kind == SUB_EXPR) return s->e->height;
  return s->lo->height > s->hi->height ? s->lo->height : s->hi->height;
}

static AExpr *node(Parser *p, AKind kind, Span name_at, Span at, Exprs args, Subs subs) {
  AExpr *e = arena_new(p->a, AExpr);
  *e = (AExpr){.kind = kind, .at = at, .name_at = name_at, .nargs = args.n, .arg = args.v, .nsubs = subs.n, .sub = subs.v};
  for (int i = 0; i < args.n; i++)
    if (args.v[i]->height > e->height) e->height = args.v[i]->height;
  for (int i = 0; i < subs.n; i++)
    if (sub_height(&subs.v[i]) > e->height) e->height = sub_height(&subs.v[i]);
  if (++e->height > LIMIT_NESTING && !p->stop) {
    diag_error(p->d, E_limit_nesting, name_at, "expression nested more than %d levels deep", LIMIT_NESTING);
    diag_help(p->d, "a chain of operators nests from the left; name a part of it in an equation of its own");
    p->stop = true;
  }
  return e;
}

static Exprs list(Parser *p, AExpr *a, AExpr *b, AExpr *c) {
  Exprs l = {.v = arena_array(p->a, AExpr *, 1 + (b != NULL) + (c != NULL))};
  l.v[l.n++] = a;
  if (b) l.v[l.n++] = b;
  if (c) l.v[l.n++] = c;
  return l;
}

AExpr *tree_leaf(Parser *p, AKind kind, Span at) { return node(p, kind, at, at, (Exprs){0}, (Subs){0}); }

static const char *spelling(Parser *p, Span at) { return arena_strndup(p->a, p->text + at.lo, at.hi - at.lo); }

AExpr *tree_integer(Parser *p, uint64_t value, Span at) {
  AExpr *e = tree_leaf(p, A_INT, at);
  e->i = value;
  e->text = spelling(p, at);
  return e;
}

AExpr *tree_float(Parser *p, double value, Span at) {
  AExpr *e = tree_leaf(p, A_FLOAT, at);
  e->f = value;
  e->text = spelling(p, at);
  return e;
}

AExpr *tree_name(Parser *p, Name name, Span at) {
  AExpr *e = tree_leaf(p, A_NAME, at);
  e->name = name;
  return e;
}

AExpr *tree_if(Parser *p, AExpr *cond, AExpr *yes, AExpr *no, Span word, Span at) {
  return node(p, A_IF, word, at, list(p, cond, yes, no), (Subs){0});
}

AExpr *tree_unary(Parser *p, AOp op, AExpr *e, Span op_at, Span at) {
  AExpr *u = node(p, A_UNARY, op_at, at, list(p, e, NULL, NULL), (Subs){0});
  u->op = op;
  return u;
}

AExpr *tree_binary(Parser *p, AOp op, AExpr *l, AExpr *r, Span op_at, Span at) {
  AExpr *b = node(p, A_BINARY, op_at, at, list(p, l, r, NULL), (Subs){0});
  b->op = op;
  return b;
}

static bool is_comparison(const AExpr *e) { return e->kind == A_BINARY && e->op >= AO_EQ && e->op <= AO_GE && !e->parens; }

// The text of an operand for a message; `…` for a long one.
static const char *excerpt(Parser *p, const AExpr *e) { return e->at.hi - e->at.lo > 24 ? "…" : spelling(p, e->at); }

AExpr *tree_comparison(Parser *p, AOp op, AExpr *l, AExpr *r, Span op_at, Span at) {
  if (is_comparison(l) && !p->stop) {
    const char *mid = excerpt(p, l->arg[1]);
    diag_error(p->d, E_chained_comparison, op_at, "comparisons do not chain");
    diag_label(p->d, l->name_at, "the first comparison");
    diag_help(p->d, "write `%s %s %s and %s %s %s`", excerpt(p, l->arg[0]), aop_text(l->op), mid, mid, aop_text(op),
              excerpt(p, r));
  }
  return tree_binary(p, op, l, r, op_at, at);
}

AExpr *tree_subscript(Parser *p, AExpr *base, Subs subs, Span at) {
  subs.v = KEEP(subs);
  return node(p, A_SUBSCRIPT, base->at, at, list(p, base, NULL, NULL), subs);
}

// The default joins the read that it follows: x[i] ?? 0 is one node.
AExpr *tree_default(Parser *p, AExpr *read, AExpr *otherwise, Span at) {
  bool joins = read->kind == A_SUBSCRIPT && !read->parens;
  AExpr *base = joins ? read->arg[0] : read;
  Subs subs = {0};
  if (joins) subs = (Subs){.v = read->sub, .n = read->nsubs};
  return node(p, A_SUBSCRIPT, base->at, at, list(p, base, otherwise, NULL), subs);
}

AExpr *tree_call(Parser *p, Name name, Exprs args, Span name_at, Span at) {
  args.v = KEEP(args);
  AExpr *e = node(p, A_CALL, name_at, at, args, (Subs){0});
  e->name = name;
  return e;
}

AExpr *tree_cast(Parser *p, AKind kind, ADtype type, AExpr *e, Span word, Span at) {
  AExpr *c = node(p, kind, word, at, list(p, e, NULL, NULL), (Subs){0});
  c->type = type;
  return c;
}

AExpr *tree_reduce(Parser *p, Reducer r, Subs subs, AExpr *e, AExpr *cond, Span word, Span at) {
  subs.v = KEEP(subs);
  AExpr *red = node(p, A_REDUCE, word, at, list(p, e, cond, NULL), subs);
  if (!cond) red->arg = arena_array(p->a, AExpr *, 2), red->arg[0] = e;     // arg[1] is NULL without a filter
  red->reducer = r;
  return red;
}

AExpr *tree_parens(AExpr *e, Span at) {
  e->parens = true;
  e->at = at;
  return e;
}

ASub tree_range(Name name, Span name_at, AExpr *lo, AExpr *hi, Span at) {
  return (ASub){.kind = SUB_RANGE, .at = at, .name = name, .name_at = name_at, .lo = lo, .hi = hi};
}

// Types. `..` leads the shape or is an error.

AType tree_type(Parser *p, ADtype dtype, const Subs *dims, Span at) {
  AType t = {.dtype = dtype, .shaped = dims != NULL, .at = at};
  int n = dims ? dims->n : 0;
  t.dim = arena_array(p->a, AExpr *, n);
  for (int i = 0; i < n; i++) {
    if (dims->v[i].kind == SUB_EXPR) t.dim[t.rank++] = dims->v[i].e;
    else if (i == 0) t.dots = true;
    else if (!p->stop) diag_error(p->d, E_misplaced_dots, dims->v[i].at, "`..` stands first in a shape, once");
  }
  return t;
}

// Statements.

AStmt tree_lhs(Parser *p, Name name, const ADtype *type, const Subs *subs, Span name_at, Span at) {
  AStmt s = {.kind = AS_EQUATION, .at = at, .name = name, .name_at = name_at, .typed = type != NULL, .shaped = subs != NULL};
  if (type) s.type = *type;
  if (subs) s.nsubs = subs->n, s.sub = KEEP(*subs);
  return s;
}

AStmt tree_equation(AStmt lhs, AExpr *e, Span at) {
  lhs.e = e;
  lhs.at = at;
  return lhs;
}

AStmt tree_update(Parser *p, AStmt lhs, AExpr *e, AExpr *cond, Span at) {
  if (!p->stop && (!lhs.shaped || lhs.typed)) {
    diag_error(p->d, E_syntax, lhs.at, lhs.typed ? "a store with `<-` has no type" : "a store with `<-` needs subscripts");
    if (lhs.typed) diag_help(p->d, "the tensor's type stands at its parameter");
    else diag_help(p->d, "write `%s[i] <- …` for each element, or `%s = …` to define a tensor", lhs.name, lhs.name);
  }
  lhs.kind = AS_UPDATE;
  lhs.e = e;
  lhs.cond = cond;
  lhs.at = at;
  return lhs;
}

AStmt tree_calls(Parser *p, Name first, Span first_at, Names rest, AExpr *call, Span at) {
  if (!p->stop && (call->kind != A_CALL || call->parens)) {
    diag_error(p->d, E_syntax, call->at, "several names take the results of one call");
    diag_help(p->d, "write an equation for each name");
  }
  int n = rest.name.n + 1;
  AStmt s = {.kind = AS_CALLS, .at = at, .name = first, .name_at = first_at, .e = call, .nnames = n};
  s.names = arena_array(p->a, Name, n);
  s.names_at = arena_array(p->a, Span, n);
  s.names[0] = first, s.names_at[0] = first_at;
  for (int i = 1; i < n; i++) s.names[i] = rest.name.v[i - 1], s.names_at[i] = rest.at.v[i - 1];
  return s;
}

// Items.

static AConst *new_const(Parser *p, Name name, const ADtype *type, Span name_at, Span at) {
  AConst *c = arena_new(p->a, AConst);
  *c = (AConst){.name = name, .name_at = name_at, .at = at, .typed = type != NULL};
  if (type) c->type = *type;
  return c;
}

AConst *tree_const(Parser *p, Name name, const ADtype *type, AExpr *value, Span name_at, Span at) {
  AConst *c = new_const(p, name, type, name_at, at);
  c->nvalues = 1;
  c->value = list(p, value, NULL, NULL).v;
  return c;
}

AConst *tree_table(Parser *p, Name name, const ADtype *type, Exprs values, Span name_at, Span at) {
  AConst *c = new_const(p, name, type, name_at, at);
  c->table = true;
  c->nvalues = values.n;
  c->value = KEEP(values);
  return c;
}

AFn *tree_fn(Parser *p, Name name, Span name_at, Params params, Results results, bool bracketed, Exprs where) {
  AFn *f = arena_new(p->a, AFn);
  *f = (AFn){.name = name, .name_at = name_at, .at = name_at, .nparams = params.n, .param = KEEP(params), .nresults = results.n,
             .result = KEEP(results), .bracketed = bracketed, .nwhere = where.n, .where = KEEP(where)};
  return f;
}

void tree_fn_body(Parser *p, AFn *f, Stmts stmts) {
  f->nstmts = stmts.n;
  f->stmt = KEEP(stmts);
}

AFormat *tree_format(Parser *p, Name name, Span name_at, uint64_t block) {
  AFormat *f = arena_new(p->a, AFormat);
  *f = (AFormat){.name = name, .name_at = name_at, .at = name_at, .block = block > INT64_MAX ? INT64_MAX : (int64_t)block};
  return f;
}

// `q: u8[16]`: the grammar reads a field as the left side of an equation with a type.
static int field_count(Parser *p, const AStmt *s) {
  if (!s->shaped) return 1;
  const ASub *n = &s->sub[0];
  bool integer = s->nsubs == 1 && n->kind == SUB_EXPR && n->e->kind == A_INT && !n->e->parens;
  if (integer) return n->e->i > INT_MAX ? INT_MAX : (int)n->e->i;
  if (!p->stop) diag_error(p->d, E_format_field, s->at, "the extent of a field is one integer");
  return 1;
}

void tree_field(Parser *p, Members *m, AStmt s) {
  if (s.type.dtype == DT_NONE && !p->stop)
    diag_error(p->d, E_format_field, s.type.at, "a field has one of the built-in types; `%s` is none", s.type.name);
  AField f = {.name = s.name, .name_at = s.name_at, .dtype = s.type.dtype, .array = s.shaped, .at = s.at};
  f.count = field_count(p, &s);
  vec_push(p->scratch, &m->field, f);
}

void tree_check_format_stmts(Parser *p, const Stmts *stmts) {
  for (int i = 0; i < stmts->n && !p->stop; i++)
    if (stmts->v[i].kind != AS_EQUATION)
      diag_error(p->d, E_format_equation, stmts->v[i].at, "a format has equations only");
}

void tree_encode(Parser *p, Members *m, AEncode *e, Stmts stmts, Span at) {
  if (m->encode && !p->stop) {
    diag_error(p->d, E_format_equation, at, "a format has one `encode` part");
    diag_label(p->d, m->encode->at, "the first");
  }
  e->nstmts = stmts.n;
  e->stmt = KEEP(stmts);
  e->at = at;
  if (!m->encode) m->encode = e;
}

void tree_format_body(Parser *p, AFormat *f, Members m) {
  tree_check_format_stmts(p, &m.stmt);
  f->nfields = m.field.n;
  f->field = KEEP(m.field);
  f->nstmts = m.stmt.n;
  f->stmt = KEEP(m.stmt);
  f->encode = m.encode;
}

// An item whose header was lost has no name and is dropped.
void tree_item(Parser *p, AItemKind kind, void *item) {
  AItem it = {.kind = kind};
  switch (kind) {
  case AI_IMPORT: it.import = item; break;
  case AI_CONST: it.cnst = item; break;
  case AI_FORMAT: it.format = item; break;
  case AI_FN: it.fn = item; break;
  }
  bool lost = (kind == AI_FN && !it.fn->name[0]) || (kind == AI_FORMAT && !it.format->name[0]);
  if (!lost) vec_push(p->scratch, &p->items, it);
}

AFile *tree_file(Parser *p) {
  if (!p->items.n && p->d->errors > p->errors) return NULL;
  AFile *f = arena_new(p->a, AFile);
  *f = (AFile){p->file, p->items.n, KEEP(p->items), p->comments.n, KEEP(p->comments)};
  return f;
}
