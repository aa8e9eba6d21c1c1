// buffers.c: which locals live in memory, for how long, and where.
//
// `lower` stores every member of a kernel. A local that no statement reads from memory (its readers had it in a variable) is
// not stored at all. The others become temporaries in one scratch allocation; two share a place when
// they have the same size and the kernels that use them do not overlap.
#include "ir/cost.h"
#include "passes/pass.h"
#include <string.h>

enum { ALIGN = 64 };            // a cache line, and an AVX-512 vector

// unless: a condition over dimensions under which nothing uses it; NULL: none is known.
typedef struct Use { bool read, written, stack; int first, last; Expr *unless; } Use;

typedef struct Buffers { Pipe *p; Use *use; int kernel; Expr *unless; } Buffers;     // unless: of the branch being looked at

static void use_under(const Buffers *b, Use *u) {
  if (!u->read && !u->written) u->unless = b->unless;
  else if (u->unless != b->unless) u->unless = NULL;
}

static void see_expr(void *cx, Expr *e) {
  Buffers *b = cx;
  if (e->op != OP_READ && e->op != OP_FIELD) return;
  Use *u = &b->use[e->u.t->id];
  use_under(b, u);
  u->read = true;
  if (!u->written && !u->stack) u->first = b->kernel;
  u->last = b->kernel;
}

static void see_operand(Buffers *b, Expr *e) { if (e) expr_visit(b->p->scratch, e, see_expr, b); }

static void see_stmts(Buffers *b, Stmt *s) {
  for (; s; s = s->next) {
    Expr *operand[] = { s->lo, s->hi, s->a, s->b };
    for (int k = 0; k < 4; k++) see_operand(b, operand[k]);
    for (int k = 0; k < s->nsub; k++) see_operand(b, s->sub[k]);
    if (s->kind == ST_ALLOC) b->use[s->t->id].stack = true;
    if (stmt_stores(s)) {
      Use *u = &b->use[s->t->id];
      use_under(b, u);
      if (!u->written) u->first = b->kernel;
      u->written = true;
      if (u->last < b->kernel) u->last = b->kernel;
    }
    see_stmts(b, s->body);
    see_stmts(b, s->els);
  }
}

// The other form of a kernel that has two uses no memory for what it does not need.
static void see_kernel(Buffers *b, Stmt *s) {
  bool forms = s && !s->next && s->kind == ST_IF && s->els;
  if (!forms) { see_stmts(b, s); return; }
  Expr *outer = b->unless;
  see_operand(b, s->a);
  b->unless = expr_op1(b->p->plan->x, OP_NOT, s->a, NO_SPAN);
  see_kernel(b, s->body);
  b->unless = s->a;
  see_kernel(b, s->els);
  b->unless = outer;
}

static bool unread_store(const Buffers *b, const Stmt *s) {
  return (stmt_stores(s) || s->kind == ST_ALLOC) && s->t->role == ROLE_LOCAL && !b->use[s->t->id].read;
}

static Stmt *drop_stores(const Buffers *b, Stmt *s) {
  Stmt *first = NULL, **tail = &first;
  for (Stmt *next; s; s = next) {
    next = s->next;
    s->next = NULL;
    if (unread_store(b, s)) continue;
    s->body = drop_stores(b, s->body);
    s->els = drop_stores(b, s->els);
    if (s->kind == ST_LOOP && !s->body) continue;
    *tail = s;
    tail = &s->next;
  }
  return first;
}

// A loop that stored only what nobody reads leaves LETs and accumulators that nobody reads; compilers drop those.

static Expr *aligned(ExprTable *x, Expr *bytes) {
  Expr *align = expr_int(x, DT_I64, ALIGN, NO_SPAN), *up = expr_int(x, DT_I64, ALIGN - 1, NO_SPAN);
  return expr_op2(x, OP_MUL, expr_op2(x, OP_FLOORDIV, expr_op2(x, OP_ADD, bytes, up, NO_SPAN), align, NO_SPAN), align, NO_SPAN);
}

// ---- places ------------------------------------------------------------------------------------

typedef struct Slot { Expr *offset; int number; struct Size *size; } Slot;     // number: in the order in which they were made
typedef struct Size { VEC(Slot) unused; } Size;         // of one number of bytes; a heap, the first that was made on top
typedef struct Slots { VEC(Slot) v; } Slots;

// Temporaries come in the order of the kernels that use them first.
typedef struct Places {
  Arena *scratch;
  Map size;             // Expr, the bytes -> Size
  Slots *until;         // [kernel]: slots whose temporary no kernel behind it uses
  int released, made;   // kernels before `released` have given their slots back
} Places;

static void swap(Slot *a, Slot *b) { Slot t = *a; *a = *b; *b = t; }

static void give(Places *p, Slot s) {
  Size *z = s.size;
  vec_push(p->scratch, &z->unused, s);
  for (int i = z->unused.n - 1; i && z->unused.v[i].number < z->unused.v[(i - 1) / 2].number; i = (i - 1) / 2)
    swap(&z->unused.v[i], &z->unused.v[(i - 1) / 2]);
}

static Slot take(Size *z) {
  Slot first = z->unused.v[0], *v = z->unused.v;
  v[0] = v[--z->unused.n];
  for (int i = 0, least = 0;; i = least) {
    for (int c = 2 * i + 1; c <= 2 * i + 2; c++) if (c < z->unused.n && v[c].number < v[least].number) least = c;
    if (least == i) return first;
    swap(&v[i], &v[least]);
  }
}

static void release_before(Places *p, int kernel) {
  for (; p->released < kernel; p->released++) {
    Slots *s = &p->until[p->released];
    for (int i = 0; i < s->v.n; i++) give(p, s->v.v[i]);
  }
}

static Size *size_of(Places *p, Expr *bytes) {
  Size *z = map_getp(&p->size, bytes);
  if (z) return z;
  z = arena_new(p->scratch, Size);
  map_putp(&p->size, bytes, z);
  return z;
}

// The place of an earlier temporary of the same size that is dead by then, or new memory at the end.
static Expr *place(Places *p, Plan *plan, const Use *u, Expr *bytes) {
  Size *z = size_of(p, bytes);
  release_before(p, u->first);
  Slot s = {plan->scratch_bytes, p->made, z};
  if (z->unused.n) s = take(z);
  else plan->scratch_bytes = expr_op2(plan->x, OP_ADD, s.offset, aligned(plan->x, bytes), NO_SPAN), p->made++;
  vec_push(p->scratch, &p->until[u->last].v, s);
  return s.offset;
}

enum { MAX_LOCAL = 32 << 10 };  // bytes of a kernel's temporaries on the stack

// Bytes of a temporary that one kernel keeps to itself and that is small whatever the dimensions; 0: it is none.
static int64_t small_bytes(const Buffers *b, const Tensor *t) {
  const Use *u = &b->use[t->id];
  Scalar v;
  bool small = u->first == u->last && !t->fmt && expr_fold(cost_tensor_bytes(b->p->plan->x, t), &v) && v.i <= MAX_LOCAL;
  return small && !strcmp(b->p->machine->target, "c") ? v.i + 1 : 0;
}

static void keep_local(Plan *plan, int kernel, Tensor *t) {
  Stmt *s = stmt_new(plan->a, ST_ALLOC);
  s->t = t;
  s->next = plan->kernels.v[kernel]->body;
  plan->kernels.v[kernel]->body = s;
}

static void place_temp(Buffers *b, Places *places, int kernel, Tensor *t) {
  Plan *plan = b->p->plan;
  Use *u = &b->use[t->id];
  Expr *bytes = cost_tensor_bytes(plan->x, t);
  if (u->unless) bytes = expr_select(plan->x, u->unless, expr_int(plan->x, DT_I64, 0, NO_SPAN), bytes, NO_SPAN);
  plan_add_temp(plan, (Temp){ t, u->first, u->last, place(places, plan, u, bytes), bytes });
  // One that a kernel keeps to itself is a whole tensor in memory all the same: written, and read at least once.
  if (u->first == u->last) vec_push(plan->a, &plan->kernels.v[kernel]->cost.traffic, (Traffic){ .t = t, .read_bytes = bytes, .write_bytes = bytes, .passes = 1 });
}

typedef struct Firsts { VEC(Tensor *) t; } Firsts;      // temporaries that a kernel uses first, by id

static void place_temps(Buffers *b) {
  Plan *plan = b->p->plan;
  Fn *f = b->p->fn;
  Firsts *of = arena_array(b->p->scratch, Firsts, plan->kernels.n + 1);
  Places places = { b->p->scratch, map_make(b->p->scratch), arena_array(b->p->scratch, Slots, plan->kernels.n + 1), 0, 0 };
  plan->scratch_bytes = expr_int(plan->x, DT_I64, 0, NO_SPAN);
  for (int i = 0; i < f->tensors.n; i++) {
    const Use *u = &b->use[i];
    if (f->tensors.v[i]->role == ROLE_LOCAL && !u->stack && u->written && u->read) vec_push(b->p->scratch, &of[u->first].t, f->tensors.v[i]);
  }
  for (int k = 0; k < plan->kernels.n; k++) {
    int64_t kept = 0;
    for (int i = 0; i < of[k].t.n; i++) {
      int64_t small = small_bytes(b, of[k].t.v[i]);
      if (small && kept + small <= MAX_LOCAL) kept += small, keep_local(plan, k, of[k].t.v[i]);
      else place_temp(b, &places, k, of[k].t.v[i]);
    }
  }
}

bool pass_buffers(Pipe *p) {
  Plan *plan = p->plan;
  Buffers b = { .p = p, .use = arena_array(p->scratch, Use, p->fn->tensors.n + 1) };
  for (int i = 0; i < plan->kernels.n; i++) {
    b.kernel = i;
    see_kernel(&b, plan->kernels.v[i]->body);
  }
  for (int i = 0; i < plan->kernels.n; i++) plan->kernels.v[i]->body = drop_stores(&b, plan->kernels.v[i]->body);
  place_temps(&b);
  for (int i = 0; i < plan->kernels.n; i++) kernel_list_args(plan, plan->kernels.v[i]);
  return true;
}
