// gpu_scan_wide.c: prefixes along rows that are fewer than multiprocessors: several blocks have a row, in two launches.
//
//   scan j in 0 .. D             totals:  block (row, part):  var s = 0;  s = s + x[i, j], for j of its part;  fold s;  t[row, part] = s
//     s = s + x[i, j]     ──▶
//     y[i, j] = s                parts:   block (row, part):  var s = 0;  s = s + t[row, q], for q in 0 .. part;  fold s
//                                                             then as in gpu_scan.c, for j of its part
//
// The second launch adds up the totals before its part in each block: a launch for that would take longer than the few kilobytes of the second
// cache. Parts depend on the machine and on the sizes alone, so the bits do not change between runs. (A block that waits for those before it would
// read the input once; but what it finds there, a total or a prefix, depends on time, and with it the order of additions.)
//
// Where rows and their length are known the choice is made here, else by conditions of the launches: gpu_scan.c makes the kernel that has a block a row.
#include "passes/gpu_scan.h"

enum {
  TILE_NS = 1000,               // of a tile in a block: a load from memory and two barriers. From an H100, where 64 rows of 8192 take 7.8 us with
  PHASE_NS = 4500               // a block each and 11.1 in parts, of 65536 32 and 21, 128 such rows 49 and 48; 8 rows of 2^21 970 and 82
};

typedef struct Wide {
  Scan *c; Nest *n; Gpu *g;
  Stmt *before;                 // what stands before the loop
  int64_t most_rows, most_parts;      // more rows are never wide; parts of all rows together, at most
  Expr *rows, *parts;           // parts: of a row
  Expr *few;                    // bool: rows are few
  Tensor *total[GPU_MOST_SUMS];
} Wide;

// ---- when --------------------------------------------------------------------------------------

typedef struct Bytes { Wide *w; Map seen; int64_t n; } Bytes;
static void count_read(void *cx, Expr *e) {
  Bytes *b = cx;
  if (e->op != OP_READ || !expr_uses_index(e, b->w->c->loop->ix) || !map_add(&b->seen, e->id + 1)) return;
  b->n += (dtypes[e->u.t->dtype].bits + 7) / 8;
}

static int64_t bytes_of_step(Wide *w) {
  Bytes b = { w, map_make(w->g->scratch), 0 };
  stmts_visit(w->g->scratch, w->c->loop->body, count_read, &b);
  for (const Stmt *s = w->c->loop->body; s; s = s->next) if (s->kind == ST_STORE) b.n += (dtypes[s->t->dtype].bits + 7) / 8;
  return b.n ? b.n : 1;
}

static Expr *greater(Gpu *g, Expr *a, int64_t than) {
  return a->op == OP_CONST ? expr_bool(g->x, a->u.v.i > than, NO_SPAN) : expr_op2(g->x, OP_GT, a, gpu_int(g, than), NO_SPAN);
}

static Expr *both(Gpu *g, Expr *a, Expr *b) { return expr_is_true(a) || expr_is_false(b) ? b : expr_is_true(b) || expr_is_false(a) ? a : gpu_and(g, a, b); }

static int64_t blocks_at_a_time(const Wide *w) { return (int64_t)w->g->m->cores * (w->g->m->threads / w->c->threads); }

// With a block each, rows that all run at a time take D / tile TILE_NS; with several, PHASE_NS more and 3/2 of all bytes from memory, as the input is read
// twice. With R rows, w bytes a step and a memory of B bytes a ns these are equal for D (B TILE_NS / (3/2 w tile) - R) = PHASE_NS B / (3/2 w).
static Expr *few_rows(Wide *w) {
  Gpu *g = w->g;
  Expr *steps = w->c->loop->hi;
  int64_t memory = (int64_t)g->m->dram_gbs * 2 / 3, bytes = bytes_of_step(w), gain = PHASE_NS * memory / bytes;
  w->most_rows = memory * TILE_NS / (bytes * gpu_scan_tile(w->c));
  if (w->most_rows > blocks_at_a_time(w)) w->most_rows = blocks_at_a_time(w);
  if (steps->op == OP_CONST && steps->u.v.i * (w->most_rows - 1) <= gain) return NULL;
  Expr *rest = gpu_minus(g, gpu_int(g, w->most_rows), w->rows);
  Expr *pays = both(g, greater(g, rest, 0), greater(g, gpu_mul(g, steps, rest), gain));
  return both(g, pays, greater(g, steps, gpu_scan_tile(w->c)));
}

Expr *gpu_scan_div_up(Gpu *g, Expr *a, Expr *b) { return gpu_div(g, gpu_minus(g, gpu_plus(g, a, b), gpu_int(g, 1)), b); }

// Parts for as many threads as the device has at a time, but no more than there are tiles. Where the sizes are not known the last ones may be empty.
static Expr *parts_of_row(Wide *w) {
  Gpu *g = w->g;
  int64_t blocks = blocks_at_a_time(w);
  w->most_parts = blocks + w->most_rows;
  Expr *tiles = gpu_div_up(g, w->c->loop->hi, gpu_scan_tile(w->c)), *parts = gpu_min(g, gpu_scan_div_up(g, gpu_int(g, blocks), w->rows), tiles);
  return parts->op == OP_CONST ? gpu_scan_div_up(g, tiles, gpu_scan_div_up(g, tiles, parts)) : expr_op2(g->x, OP_MAX, parts, gpu_int(g, 1), NO_SPAN);      // then divisions by it are plain
}

// Of whole tiles.
static Expr *steps_of_part(Wide *w, Expr *parts) {
  Gpu *g = w->g;
  return gpu_mul(g, gpu_scan_div_up(g, gpu_div_up(g, w->c->loop->hi, gpu_scan_tile(w->c)), parts), gpu_int(g, gpu_scan_tile(w->c)));
}

// ---- the kernels -------------------------------------------------------------------------------

typedef struct Part { Frame f; Block b; Expr *row, *parts, *part, *from, *to; } Part;

static Part begin(Wide *w) {
  Gpu *g = w->g;
  Part p = { .f = gpu_frame(g), .b = gpu_block() };
  Expr *steps;
  if (w->parts->op == OP_CONST) p.parts = w->parts;
  else gpu_let(g, &p.b, "parts", w->parts, &p.parts);
  gpu_let(g, &p.b, "steps", steps_of_part(w, p.parts), &steps);
  gpu_let(g, &p.b, "row", gpu_div(g, p.f.b, p.parts), &p.row);
  gpu_let(g, &p.b, "part", gpu_mod(g, p.f.b, p.parts), &p.part);
  gpu_let(g, &p.b, "from", gpu_mul(g, p.part, steps), &p.from);
  gpu_let(g, &p.b, "to", expr_op2(g->x, OP_MIN, gpu_plus(g, p.from, steps), w->c->loop->hi, NO_SPAN), &p.to);
  w->c->member = p.f.t;
  return p;
}

static void finish(Wide *w, Kernel *k, Part *p, Stmt *body) {
  Nest m = *w->n;
  int threads = w->c->threads;
  m.k = k;
  m.head = gpu_copy(w->g, w->n->head);
  gpu_add(&p->b, gpu_at(&m, m.n, p->row, body));
  gpu_close(&m, &p->f, p->b.first, (Grid){ .blocks = gpu_mul(w->g, w->rows, w->parts), .threads = threads, .team = threads });
}

static Stmt *fold(Wide *w, int k) {
  Stmt *s = stmt_new(w->g->a, ST_FOLD);
  s->reducer = w->c->acc[k]->reducer;
  s->var = w->c->acc[k]->var;
  return s;
}

static void totals(Wide *w, Kernel *kernel) {
  Gpu *g = w->g;
  Part p = begin(w);
  Block b = gpu_block(), stores = gpu_block();
  Var *sum[GPU_MOST_SUMS];
  for (int k = 0; k < w->c->sums; k++) sum[k] = w->c->acc[k]->var;
  gpu_add(&b, gpu_copy(g, w->before));
  gpu_add(&b, gpu_scan_totals(w->c, p.from, p.to, sum));
  for (int k = 0; k < w->c->sums; k++) {
    Stmt *s = stmt_new(g->a, ST_STORE);
    s->t = w->total[k];
    s->nsub = 1;
    s->sub[0] = p.f.b;
    s->a = expr_var(g->x, sum[k]);
    s->field = -1;
    gpu_add(&b, fold(w, k));
    gpu_add(&stores, s);
  }
  gpu_add(&b, gpu_if(g, expr_op2(g->x, OP_EQ, p.f.t, gpu_int(g, 0), NO_SPAN), stores.first, NULL));
  finish(w, kernel, &p, b.first);
}

// What the parts before have, to the sums.
static void carry(Wide *w, const Part *p, Block *b) {
  Gpu *g = w->g;
  Index *q = gpu_index(g, "q");
  Block adds = gpu_block();
  Expr *at = gpu_plus(g, gpu_mul(g, p->row, p->parts), expr_index(g->x, q));
  for (int k = 0; k < w->c->sums; k++) {
    Var *sum = w->c->acc[k]->var;
    gpu_add(&adds, gpu_scan_add(w->c, k, sum, expr_make(g->x, OP_READ, sum->dtype, 0, w->total[k], NO_SPAN, 1, &at)));
  }
  Stmt *loop = gpu_loop(g, HOW_SEQ, q, p->f.t, p->part, adds.first);
  loop->step = w->c->threads;
  gpu_add(b, loop);
  for (int k = 0; k < w->c->sums; k++) gpu_add(b, fold(w, k));
}

static void parts(Wide *w, Kernel *kernel) {
  Part p = begin(w);
  Block b = gpu_block();
  gpu_add(&b, gpu_copy(w->g, w->before));
  carry(w, &p, &b);
  gpu_add(&b, gpu_scan_tiles(w->c, p.from, p.to));
  finish(w, kernel, &p, b.first);
}

static Kernel *another(Wide *w, const char *what) {
  Kernel *k = gpu_beside(w->n, what);
  k->grid->when = gpu_and(w->g, w->n->k->grid->when, w->few);
  if (w->c->loop->hi->op != OP_CONST) gpu_want(w->g, k, w->c->loop->hi);
  return k;
}

static void make(Wide *w, Kernel *first, Kernel *second) {
  for (int k = 0; k < w->c->sums; k++) w->total[k] = gpu_temp(w->n, "total", w->c->acc[k]->var->dtype, gpu_int(w->g, w->most_parts));
  totals(w, first);
  kernel_list_args(w->g->plan, first);
  vec_push(w->g->a, &w->g->out, first);
  parts(w, second);
}

bool gpu_scan_wide(Scan *c, Nest *n, Stmt *before) {
  Gpu *g = n->g;
  Wide w = { .c = c, .n = n, .g = g, .before = before, .rows = n->n ? n->points : gpu_int(g, 1) };
  w.few = few_rows(&w);
  if (!w.few || expr_is_false(w.few)) return false;
  bool always = expr_is_true(w.few);
  if (always) w.few = NULL;
  w.parts = parts_of_row(&w);
  Kernel *second = always ? n->k : another(&w, "parts");
  make(&w, another(&w, "totals"), second);
  if (always) return true;
  kernel_list_args(g->plan, second);
  vec_push(g->a, &g->out, second);
  n->k->grid->when = gpu_and(g, n->k->grid->when, expr_op1(g->x, OP_NOT, w.few, NO_SPAN));
  return false;
}
