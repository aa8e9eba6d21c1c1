// emit_expr.c: expressions as C text, in few brackets.
//
// An operation prints as its text in ops.def says, with four exceptions: a row `<op>_<dtype>` of math.def may take its
// place; a text that uses an operand twice becomes a helper function; signed arithmetic that may overflow runs on
// unsigned operands; and divisions and shifts whose operands are known to be harmless print as C's own.
#include "codegen/emit.h"
#include "ir/rewrite.h"
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Text { const char *s; int level; } Text;

static Text text_of(Emit *e, const Expr *x);

static Text primary(const char *s) { return (Text){s, LEVEL_PRIMARY}; }

#define LEAST_NORMAL 0x1p-100      // of what math_cuda.def takes without scaling
#define TEXT(level, ...) ((Text){arena_printf(e->a, __VA_ARGS__), (level)})

static const char *bracket(Emit *e, Text t, int level) {
  return t.level < level ? arena_printf(e->a, "(%s)", t.s) : t.s;
}

const char *emit_expr(Emit *e, const Expr *x, int level) { return bracket(e, text_of(e, x), level); }

// A target's own row defines the function of the row that it stands for.
const char *emit_math(Emit *e, Math m) {
  const char *name = math_functions[m].name;
  size_t n = e->t->variants ? strlen(e->t->variants) : 0;
  e->math_used[m] = true;
  return n && strncmp(name, e->t->variants, n) == 0 ? name + n : name;
}

static const char *call_by_name(Emit *e, const char *name, const char *operand) {
  Math m = math_by_name(name);
  assert(m != MATH_COUNT && "every conversion has its row in math.def");
  return arena_printf(e->a, "%s(%s)", emit_math(e, m), operand);
}

// `to`_from_`from`(operand).
static const char *convert(Emit *e, const char *to, const char *from, const char *operand) {
  return call_by_name(e, arena_printf(e->a, "%s_from_%s", to, from), operand);
}

// ---- literals ----------------------------------------------------------------------------------

static Text float_literal(Emit *e, double v, Dtype d) {
  const char *f = d == DT_F32 ? "f" : "";
  if (isnan(v)) return primary(e->t->nan[d == DT_F32]);
  if (isinf(v)) return TEXT(v < 0 ? LEVEL_PREFIX : LEVEL_PRIMARY, "%s%s", v < 0 ? "-" : "", e->t->infinity[d == DT_F32]);
  Buf b = buf_make(e->a);
  buf_float(&b, v, d == DT_F32);
  buf_puts(&b, f);
  return (Text){b.s, signbit(v) ? LEVEL_PREFIX : LEVEL_PRIMARY};
}

// The least values of signed types have no literal.
static Text signed_literal(Emit *e, int64_t v, Dtype d) {
  if (d == DT_I32 && v == INT32_MIN) return TEXT(LEVEL_ADD, "-2147483647 - 1");
  if (v == INT64_MIN) return TEXT(LEVEL_ADD, "-9223372036854775807 - 1");
  return TEXT(v < 0 ? LEVEL_PREFIX : LEVEL_PRIMARY, "%" PRId64, v);
}

static Text literal(Emit *e, const Expr *x) {
  Dtype d = (Dtype)x->dtype;
  if (dtype_is_float(d)) return float_literal(e, x->u.v.f, d);
  if (d == DT_BOOL) return primary(x->u.v.u ? "1" : "0");
  if (dtypes[d].kind == 'U') return TEXT(LEVEL_PRIMARY, "%" PRIu64 "%s", x->u.v.u, d == DT_U64 ? "ull" : "u");
  return signed_literal(e, x->u.v.i, d);
}

const char *emit_element(Emit *e, const Tensor *t, int64_t i) {
  Dtype d = t->dtype, wide = dtype_wide(d);
  if (dtypes[d].bits == 4) {
    uint64_t high = 2 * i + 1 < t->ntable ? dtype_encode(d, t->table[2 * i + 1]) : 0;
    return arena_printf(e->a, "%" PRIu64, dtype_encode(d, t->table[2 * i]) | high << 4);
  }
  Scalar v = t->table[i];
  if (dtype_is_float(wide)) return d == wide ? float_literal(e, v.f, d).s : arena_printf(e->a, "%" PRIu64, dtype_encode(d, v));
  if (wide == DT_I64 || wide == DT_I32) return signed_literal(e, v.i, wide).s;
  return arena_printf(e->a, "%" PRIu64 "%s", v.u, wide == DT_U64 ? "ull" : "u");
}

// ---- reads -------------------------------------------------------------------------------------

static bool is_one(const Expr *x) { return expr_is_int(x, 1); }
static bool is_zero(const Expr *x) { return expr_is_int(x, 0); }

// A sum as a right operand of + needs no brackets: positions do not overflow.
static Text plus(Emit *e, Text a, Text b) {
  if (!a.s) return b;
  return TEXT(LEVEL_ADD, "%s + %s", bracket(e, a, LEVEL_ADD), bracket(e, b, LEVEL_ADD));
}

static Text times(Emit *e, Text a, Text b, bool b_is_product) {
  return TEXT(LEVEL_MUL, "%s * %s", bracket(e, a, LEVEL_MUL), bracket(e, b, b_is_product ? LEVEL_MUL : LEVEL_PREFIX));
}

// How many steps dimension k has; the last one of a format counts blocks.
static Text steps(Emit *e, const Tensor *t, int k, int64_t block) {
  const Expr *x = t->extent[k];
  if (k + 1 < t->rank || block == 1) return text_of(e, x);
  if (x->op == OP_CONST) return TEXT(LEVEL_PRIMARY, "%" PRId64, x->u.v.i / block);
  return TEXT(LEVEL_MUL, "%s / %" PRId64, bracket(e, text_of(e, x), LEVEL_MUL), block);
}

// How many steps the dimension has when that is known; 0 otherwise.
static int64_t known_steps(const Tensor *t, int k, int64_t block) {
  const Expr *x = t->extent[k];
  return x->op == OP_CONST ? x->u.v.i / (k + 1 == t->rank ? block : 1) : 0;
}

// Constants are multiplied here: in C they would be of type int.
const char *emit_position(Emit *e, const Tensor *t, Expr *const *sub, int n, int64_t block, int level) {
  Text at = {NULL, LEVEL_PRIMARY};      // and with !at.s the constant `known`
  int64_t known = 0;
  for (int k = 0; k < n; k++) {
    bool whole = k + 1 < t->rank || block == 1;
    int64_t count = known_steps(t, k, block);
    if (is_one(t->extent[k]) && whole) continue;
    if (!at.s && known && !count) at = TEXT(LEVEL_PRIMARY, "%" PRId64, known);
    if (at.s) at = times(e, at, steps(e, t, k, block), t->extent[k]->op == OP_MUL && whole);
    known *= count;
    if (!at.s && sub[k]->op == OP_CONST) known += sub[k]->u.v.i;
    else if (!at.s && known) at = plus(e, TEXT(LEVEL_PRIMARY, "%" PRId64, known), text_of(e, sub[k]));
    else if (!is_zero(sub[k])) at = plus(e, at, text_of(e, sub[k]));
  }
  if (!at.s) at = TEXT(LEVEL_PRIMARY, "%" PRId64, known);
  return bracket(e, at, level);
}

static const char *load_name(Dtype d) {
  switch (dtypes[d].bits) {
  case 16: return "load_u16";
  case 32: return "load_u32";
  default: return "load_u64";
  }
}

// Stored bits, as an unsigned (or plain) C value, to the wide value.
static Text widen(Emit *e, Dtype d, Text bits) {
  switch (d) {
  case DT_F16: case DT_BF16: case DT_F8E4M3: case DT_F8E5M2: return primary(convert(e, "f32", dtypes[d].name, bits.s));
  case DT_F32: return primary(call_by_name(e, "f32_from_bits", bits.s));
  case DT_F64: return primary(call_by_name(e, "f64_from_bits", bits.s));
  case DT_BOOL: return TEXT(6, "%s != 0", bracket(e, bits, 7));
  case DT_I4: return TEXT(LEVEL_ADD, "(((int)%s & 15) ^ 8) - 8", bracket(e, bits, LEVEL_PREFIX));
  case DT_U4: return TEXT(5, "(int)%s & 15", bracket(e, bits, LEVEL_PREFIX));
  default: return TEXT(LEVEL_PREFIX, "(%s)%s", dtypes[d].c, bracket(e, bits, LEVEL_PREFIX));
  }
}

// j; along a part of a row also from + j.
static bool steps_along(const Stmt *loop, const Expr *sub) {
  if (sub->op == OP_ADD && loop->row && sub->arg[0]->op == OP_VAR) sub = sub->arg[1];
  else if (sub->op == OP_ADD && loop->row && sub->arg[1]->op == OP_VAR) sub = sub->arg[0];
  return expr_is_index(sub, loop->ix);
}

// t[..., j] in a loop over j in lanes: all of its steps lie in the last dimension.
static bool is_in_lanes(const Emit *e, const Expr *x) {
  const Stmt *loop = e->lane_loop;
  int last = x->u.t->rank - 1;
  if (!loop || last < 0 || !steps_along(loop, x->arg[last])) return false;
  for (int k = 0; k < last; k++)
    if (expr_uses_index(x->arg[k], loop->ix)) return false;
  const Stmt *all = loop->lo->op == OP_INDEX ? map_getp(&e->loops, loop->lo->u.ix) : loop;      // it may be a tile of that
  return all && expr_is_int(all->lo, 0) && expr_same(all->row ? all->row : all->hi, x->u.t->extent[last], 0, NULL, NULL);
}

// See Note [Addresses of lanes] in vector_c.c.
static Text lane_of(Emit *e, const Expr *x) {
  const Tensor *t = x->u.t;
  const AtFirst was = emit_at_first(e, e->lane_loop->ix, e->lane_first);
  const char *at = emit_position(e, t, x->arg, t->rank, 1, LEVEL_ADD);
  emit_at_first_end(e, &was);
  return TEXT(LEVEL_PRIMARY, "(%s + %s)[%s]", emit_tensor(e, t), at, e->lane);
}

// The lane's element of an array that the block filled before its lanes run.
static Text drawn_before(Emit *e, const Expr *x) {
  for (int i = 0; i < e->drawn.n; i++)
    if (e->drawn.v[i].x == x) return TEXT(LEVEL_PRIMARY, "%s[%s]", e->drawn.v[i].array, e->lane);
  return (Text){0};
}

// An element as it is stored; i4, u4: as its value.
static Text element_bits(Emit *e, const Expr *x) {
  const Tensor *t = x->u.t;
  if (!t->rank && t->role == ROLE_PARAM) return primary(emit_tensor(e, t));
  if (dtypes[t->dtype].bits != 4 && is_in_lanes(e, x)) return lane_of(e, x);
  const char *name = emit_tensor(e, t), *at = emit_position(e, t, x->arg, t->rank, 1, LEVEL_COND);
  if (t->dtype == DT_I4) return TEXT(LEVEL_PRIMARY, "%s(%s, %s)", emit_math(e, MATH_load_i4), name, at);
  if (t->dtype == DT_U4) return TEXT(LEVEL_PRIMARY, "%s(%s, %s)", emit_math(e, MATH_load_u4), name, at);
  Text lane = drawn_before(e, x);
  return lane.s ? TEXT(LEVEL_PRIMARY, "TAKEN(%s, %s[%s])", lane.s, name, at) : TEXT(LEVEL_PRIMARY, "%s[%s]", name, at);
}

static bool is_narrow_float(Dtype d) { return dtype_is_float(d) && !dtype_is_wide(d); }

static Text read(Emit *e, const Expr *x) {
  const Tensor *t = x->u.t;
  if (map_getp(&e->packed, t)) return primary(e->t->packed(e, t->dtype, emit_tensor(e, t), emit_position(e, t, x->arg, t->rank, 1, LEVEL_COND)));
  Text bits = element_bits(e, x);
  Dtype d = x->u.t->dtype;
  bool packed_scalar = dtypes[d].bits == 4 && !x->u.t->rank;
  return is_narrow_float(d) || d == DT_BOOL || packed_scalar ? widen(e, d, bits) : bits;
}

const char *emit_field(Emit *e, const Tensor *t, int field, Expr *const *sub, int n) {
  const Field *f = &t->fmt->field[field];
  int lead = t->rank;       // leading subscripts and the block's number
  const char *block = emit_position(e, t, sub, lead, t->fmt->block, LEVEL_MUL);
  Buf b = buf_make(e->a);
  buf_printf(&b, "%s + %s * %d", emit_tensor(e, t), block, t->fmt->bytes);
  if (f->offset) buf_printf(&b, " + %d", f->offset);
  int bytes = dtypes[f->dtype].bits / 8;
  if (n == lead || bytes == 0) return b.s;
  if (bytes == 1) buf_printf(&b, " + %s", emit_expr(e, sub[lead], LEVEL_ADD));
  else buf_printf(&b, " + %s * %d", emit_expr(e, sub[lead], LEVEL_MUL), bytes);
  return b.s;
}

// A field's stored bits. Nibbles have their number beside the address of the first.
static Text field_bits(Emit *e, const Expr *x) {
  const Tensor *t = x->u.t;
  Dtype d = t->fmt->field[x->aux].dtype;
  const char *p = emit_field(e, t, x->aux, x->arg, (int)x->nargs);
  if (dtypes[d].bits == 4) {
    const char *k = (int)x->nargs > t->rank ? emit_expr(e, x->arg[t->rank], LEVEL_COND) : "0";
    return TEXT(LEVEL_PRIMARY, "%s(%s, %s)", emit_math(e, d == DT_I4 ? MATH_load_i4 : MATH_load_u4), p, k);
  }
  if (dtypes[d].bits > 8) return primary(call_by_name(e, load_name(d), p));
  const char *name = emit_tensor(e, t);      // p is "name + offset"
  return TEXT(LEVEL_PRIMARY, "%s[%s]", name, p + strlen(name) + strlen(" + "));
}

static Text field(Emit *e, const Expr *x) {
  Dtype d = x->u.t->fmt->field[x->aux].dtype;
  Text bits = field_bits(e, x);
  return d == DT_U8 || dtypes[d].bits == 4 ? bits : widen(e, d, bits);
}

// ---- casts -------------------------------------------------------------------------------------

// A float or integer in a narrow float's bits, rounded once.
static const char *narrow_bits(Emit *e, Dtype to, Dtype from, const char *x) {
  const char *name = dtypes[to].name;
  switch (from) {
  case DT_F32: return convert(e, name, "f32", x);
  case DT_BOOL: return convert(e, name, "f32", arena_printf(e->a, "(float)(%s)", x));
  case DT_U64: x = call_by_name(e, "odd_f64_from_u64", x); break;
  case DT_I64: x = call_by_name(e, "odd_f64_from_i64", x); break;
  default: break;
  }
  return convert(e, name, "f32", call_by_name(e, "odd_f32_from_f64", x));
}

// An integer wrapped to the width of `to`; `value`: plain C types convert by themselves.
static Text wrapped(Emit *e, Dtype to, const Expr *x) {
  Range r = emit_range(e, x);
  bool same = dtype_wide(to) == (Dtype)x->dtype || (x->dtype == DT_BOOL && dtype_wide(to) == DT_I32);
  double low = dtypes[to].kind == 'U' ? 0 : -ldexp(1, dtypes[to].bits - 1);
  bool fits = r.lo >= low && r.hi < ldexp(1, dtypes[to].bits - (dtypes[to].kind != 'U'));
  if (same && fits) return text_of(e, x);
  return widen(e, fits ? dtype_wide(to) : to, text_of(e, x));
}

static Text cast(Emit *e, const Expr *x) {
  const Expr *a = x->arg[0];
  Dtype from = (Dtype)a->dtype, to = (Dtype)x->aux;
  if (to == DT_BOOL) return TEXT(6, "%s != 0", emit_expr(e, a, 7));
  if (is_narrow_float(to)) return primary(convert(e, "f32", dtypes[to].name, narrow_bits(e, to, from, emit_expr(e, a, LEVEL_COND))));
  if (dtype_is_float(to)) return TEXT(LEVEL_PREFIX, "(%s)%s", dtypes[to].c, emit_expr(e, a, LEVEL_PREFIX));
  if (dtype_is_float(from)) return primary(convert(e, dtypes[to].name, dtypes[from].name, emit_expr(e, a, LEVEL_COND)));
  return wrapped(e, to, a);
}

// Elements of one narrow type, and choices among them and constants, move as their bits. Not of E5M2, whose infinities a store makes finite.
static bool is_moved(const Emit *e, Dtype storage, const Expr *x) {
  if (x->op != OP_SELECT) return x->op == OP_READ && x->u.t->dtype == storage && storage != DT_F8E5M2 && !map_getp(&e->packed, x->u.t);
  const Expr *a = x->arg[1], *b = x->arg[2];
  return a->op == OP_CONST ? is_moved(e, storage, b) : is_moved(e, storage, a) && (b->op == OP_CONST || is_moved(e, storage, b));
}

static Text choice(Emit *e, const Expr *x, Text a, Text b) {
  Text cond = text_of(e, x->arg[0]);
  bool bits = cond.level >= 3 && cond.level <= 5;         // a | b ? c : d
  return TEXT(LEVEL_COND, "%s ? %s : %s", bracket(e, cond, bits ? LEVEL_PRIMARY : 1), bracket(e, a, 1), bracket(e, b, LEVEL_COND));
}

static Text moved(Emit *e, Dtype storage, const Expr *x) {
  if (x->op == OP_CONST) return TEXT(LEVEL_PRIMARY, "%" PRIu64, dtype_encode(storage, x->u.v));
  return x->op == OP_READ ? element_bits(e, x) : choice(e, x, moved(e, storage, x->arg[1]), moved(e, storage, x->arg[2]));
}

static bool is_rounding_cast(Dtype storage, const Expr *x) {
  return x->op == OP_CAST && (Dtype)x->aux == storage && (is_narrow_float(storage) || !dtype_is_float((Dtype)x->arg[0]->dtype));
}

const char *emit_stored(Emit *e, Dtype storage, const Expr *x) {
  if (is_rounding_cast(storage, x)) x = x->arg[0];      // the store itself rounds
  Dtype from = (Dtype)x->dtype;
  if (is_narrow_float(storage) && is_moved(e, storage, x)) return moved(e, storage, x).s;
  if (is_narrow_float(storage)) return narrow_bits(e, storage, from, emit_expr(e, x, LEVEL_COND));
  if (storage == DT_BOOL) return from == DT_BOOL ? emit_expr(e, x, LEVEL_COND) : arena_printf(e->a, "%s != 0", emit_expr(e, x, 7));
  if (dtype_wide(storage) == storage) return emit_expr(e, x, LEVEL_COND);
  if (dtypes[storage].bits == 4) return arena_printf(e->a, "(int)%s", emit_expr(e, x, LEVEL_PREFIX));
  return arena_printf(e->a, "(%s)%s", dtypes[storage].c, emit_expr(e, x, LEVEL_PREFIX));
}

// Their rows of math.def for f32, which leave the bits somewhere in a word.
static Math word_of(Dtype storage) {
  return storage == DT_BF16 ? MATH_bf16_word_from_f32 : storage == DT_F8E4M3 ? MATH_f8e4m3_word_from_f32 : storage == DT_F8E5M2 ? MATH_f8e5m2_word_from_f32 : MATH_COUNT;
}

bool emit_has_word(const Emit *e, Dtype storage, const Expr *x) {
  if (is_rounding_cast(storage, x)) x = x->arg[0];
  if (storage == DT_I8 || storage == DT_U8) return x->dtype == DT_I32 || x->dtype == DT_U32;
  return word_of(storage) != MATH_COUNT && x->dtype == DT_F32 && !is_moved(e, storage, x);
}

// A value that the type has: what is chosen among its elements and constants needs no rounding.
static bool is_exact(Dtype storage, const Expr *x) {
  switch (x->op) {
  case OP_READ: return x->u.t->dtype == storage;
  case OP_CONST: return dtype_decode(storage, dtype_encode(storage, x->u.v)).f == x->u.v.f;
  case OP_NEG: case OP_ABS: return is_exact(storage, x->arg[0]);
  case OP_MIN: case OP_MAX: return is_exact(storage, x->arg[0]) && is_exact(storage, x->arg[1]);
  case OP_SELECT: return is_exact(storage, x->arg[1]) && is_exact(storage, x->arg[2]);
  default: return false;
  }
}

// i8(round(x)), of f32.
static bool is_rounded_integer(Dtype storage, const Expr *x) {
  return (storage == DT_I8 || storage == DT_U8) && x->op == OP_CAST && (Dtype)x->aux == storage && x->arg[0]->op == OP_ROUND && x->arg[0]->dtype == DT_F32;
}

const char *emit_word(Emit *e, Dtype storage, const Expr *x) {
  if (is_rounded_integer(storage, x)) {
    Math m = storage == DT_I8 ? MATH_i8_word_from_round_f32 : MATH_u8_word_from_round_f32;
    return arena_printf(e->a, "%s(%s)", emit_math(e, m), emit_expr(e, x->arg[0]->arg[0], LEVEL_COND));
  }
  if (is_rounding_cast(storage, x)) x = x->arg[0];
  Math m = storage == DT_BF16 && is_exact(storage, x) ? MATH_bits_from_f32 : word_of(storage);
  const char *value = emit_expr(e, x, LEVEL_COND);
  return m == MATH_COUNT ? value : arena_printf(e->a, "%s(%s)", emit_math(e, m), value);
}

static Text bitcast(Emit *e, const Expr *x) {
  const Expr *a = x->arg[0];
  Dtype from = expr_stored(a), to = (Dtype)x->aux;
  Text bits;
  if (is_narrow_float(from) && a->op == OP_READ) bits = element_bits(e, a);
  else if (is_narrow_float(from) && a->op == OP_FIELD) bits = field_bits(e, a);
  else if (is_narrow_float(from)) bits = primary(emit_stored(e, from, a));
  else if (from == DT_F32) bits = primary(call_by_name(e, "bits_from_f32", emit_expr(e, a, LEVEL_COND)));
  else if (from == DT_F64) bits = primary(call_by_name(e, "bits_from_f64", emit_expr(e, a, LEVEL_COND)));
  else bits = text_of(e, a);
  if (is_narrow_float(to)) bits = TEXT(LEVEL_PREFIX, "(%s)%s", dtypes[to].c, bracket(e, bits, LEVEL_PREFIX));
  return widen(e, to, bits);
}

// ---- operations --------------------------------------------------------------------------------

static const char *unsigned_type(Dtype d) { return dtypes[d].bits == 64 ? "unsigned long long" : "unsigned int"; }

// The text with operands in place; `operand` are primaries or known to be enclosed.
const char *emit_fill(Emit *e, const char *text, Dtype d, const char *const *operand) {
  Buf b = buf_make(e->a);
  for (; *text; text++) {
    if (*text == '@') { buf_puts(&b, d == DT_F32 ? "f" : ""); continue; }
    if (*text != '$') { buf_putc(&b, *text); continue; }
    switch (*++text) {
    case 'T': buf_puts(&b, emit_type(d)); break;
    case 'U': buf_puts(&b, unsigned_type(d)); break;
    case 'B': buf_printf(&b, "%d", dtypes[d].bits); break;
    case 'L': buf_puts(&b, dtypes[d].bits == 64 ? "ll" : ""); break;
    default: assert(isdigit((unsigned char)*text)); buf_puts(&b, operand[*text - '0']);
    }
  }
  return b.s;
}

const char *emit_strip(Emit *e, const char *s) {
  size_t n = strlen(s);
  int depth = 0;
  if (s[0] != '(') return s;
  for (size_t i = 0; i < n; i++) {
    depth += (s[i] == '(') - (s[i] == ')');
    if (depth == 0 && i + 1 < n) return s;
  }
  return arena_strndup(e->a, s + 1, n - 2);
}

// Operand k stands alone between brackets or commas wherever the text has it.
static bool is_enclosed(const char *text, int k) {
  for (const char *s = strchr(text, '$'); s; s = strchr(s + 1, '$')) {
    if (s[1] != '0' + k) continue;
    bool left = s > text && (s[-1] == '(' || (s[-1] == ' ' && s - 1 > text && s[-2] == ',')), right = s[2] == ')' || s[2] == ',';
    if (!left || !right) return false;
  }
  return true;
}

static bool uses_twice(const char *text) {
  int seen[10] = {0};
  for (const char *s = strchr(text, '$'); s; s = strchr(s + 1, '$'))
    if (isdigit((unsigned char)s[1]) && seen[s[1] - '0']++) return true;
  return false;
}

// The row of math.def for an operation in a form: the coarsest that is allowed, of those with `prefix`.
static Math row_in_form(Emit *e, const char *prefix, const char *name, Dtype d, Form form, int exactness) {
  static const char *const of_exactness[EXACTNESSES] = { "", "_f16", "_bf16" };
  Math m = MATH_COUNT;
  for (int k = exactness; k >= EXACT && m == MATH_COUNT; k--)
    m = math_by_name(arena_printf(e->a, "%s%s%s_%s%s", prefix, name, math_forms[form], dtypes[d].name, of_exactness[k]));
  return m;
}

// aux: of the operation's node.
static Math own_function(Emit *e, const char *prefix, Op op, Dtype d, int aux) {
  Math m = row_in_form(e, prefix, ops[op].name, d, (Form)(aux / EXACTNESSES), aux % EXACTNESSES);
  return m != MATH_COUNT || aux < EXACTNESSES ? m : row_in_form(e, prefix, ops[op].name, d, FORM_ANY, aux % EXACTNESSES);
}

// Of an operation; MATH_COUNT: it has none. Names are compared once in a file.
static Math row_of(Emit *e, Op op, Dtype d, int aux) {
  short *known = &e->rows[(op * DT_COUNT + (int)d) * EXACTNESSES * FORMS + aux];
  if (*known) return (Math)(*known - 1);
  Math m = e->t->own_functions ? own_function(e, "", op, d, aux) : MATH_COUNT;
  if (m == MATH_COUNT && e->t->variants) m = own_function(e, e->t->variants, op, d, aux);
  *known = (short)(m + 1);
  return m;
}

// What the operation prints as on operands of dtype d: a helper's name in *call, or a text.
static const char *form_of(Emit *e, Op op, Dtype d, int aux, const char **call) {
  *call = NULL;
  Math m = row_of(e, op, d, aux);
  if (m != MATH_COUNT) return *call = emit_math(e, m);
  const char *text = e->t->op_text(&ops[op], dtypes[d].kind);
  assert(text && "sema gives an operation only dtypes that its row has");
  bool may_be_int = (ops[op].props & OP_DUP) && !dtype_is_float(d);     // sign(u64) has C's type int; a function gives its own
  if (!uses_twice(text) && !may_be_int) return text;
  e->op_used[op * DT_COUNT + d] = true;
  return *call = arena_printf(e->a, "%s_%s", ops[op].name, dtypes[d].name);
}

// GCC and Clang ask for brackets where the language does not.
static int operand_level(int level, bool right) {
  if (level >= 3 && level <= 5) return LEVEL_PREFIX;      // & | ^ among operators
  if (level == 8) return LEVEL_PREFIX;                    // << >> of sums
  if (level == 1) return 3;                               // && inside ||
  return level == 6 || level == 7 ? 8 : level + right;    // comparisons of comparisons
}

// An i64 that C takes for an int: a small literal, or a choice of them. Nothing may be computed with that alone.
static bool is_c_int(const Expr *x) {
  if (x->dtype != DT_I64) return false;
  if (x->op == OP_SELECT) return is_c_int(x->arg[1]) && is_c_int(x->arg[2]);
  return x->op == OP_CONST && x->u.v.i >= INT32_MIN && x->u.v.i <= INT32_MAX;
}

static bool needs_width(const Expr *x, int level) {
  if (level < 3 || level == 6 || level == 7) return false;      // tests do not care
  for (uint32_t k = 0; k < x->nargs; k++)
    if (!is_c_int(x->arg[k])) return level == 8 && is_c_int(x->arg[0]);
  return true;
}

// The target's short form of an exponential beside a one.
static Text beside_one(Emit *e, const Expr *sum, uint32_t k) {
  Math m = e->t->variants && emit_beside_one(e, sum, k) ? math_by_name(arena_printf(e->a, "%sshort_exp_f32", e->t->variants)) : MATH_COUNT;
  return m != MATH_COUNT ? TEXT(LEVEL_PRIMARY, "%s(%s)", emit_math(e, m), emit_expr(e, sum->arg[k]->arg[0], LEVEL_COND)) : (Text){0};
}

static Text infix(Emit *e, const char *text, int level, Dtype d, const Expr *x) {
  const char *operand[3] = {0};
  bool chain = level == 1 || level == 2;                  // a && b && c
  for (uint32_t k = 0; k < x->nargs; k++) {
    Text t = beside_one(e, x, k);
    if (!t.s) t = text_of(e, x->arg[k]);
    bool truths = x->dtype == DT_BOOL && (x->op == OP_BITAND || x->op == OP_BITOR);         // (int) says that & is no slip for &&
    if (k == 0 && truths) t = TEXT(LEVEL_PREFIX, "(int)%s", bracket(e, t, LEVEL_PREFIX));
    if (k == 0 && needs_width(x, level)) t = TEXT(LEVEL_PREFIX, "(long long)%s", bracket(e, t, LEVEL_PREFIX));
    bool same = chain && x->arg[k]->op == x->op;
    operand[k] = same ? t.s : bracket(e, t, x->nargs == 1 ? LEVEL_PREFIX : operand_level(level, k == 1));
    bool odd = x->nargs == 1 ? operand[k][0] == '-' : level >= 3 && operand[k][0] == '!';      // --x, and !x == y
    if (odd) operand[k] = arena_printf(e->a, "(%s)", operand[k]);
  }
  return (Text){emit_fill(e, text, d, operand), level};
}

static const char *list(Emit *e, const Expr *x) {
  Buf b = buf_make(e->a);
  for (uint32_t k = 0; k < x->nargs; k++) buf_printf(&b, "%s%s", k ? ", " : "", emit_expr(e, x->arg[k], LEVEL_COND));
  return b.s;
}

// The target's fast form of an operation whose operands' last digits are open; 1 / y has one of its own.
static Text loose(Emit *e, const Expr *x) {
  if (!emit_is_loose(e, x)) return (Text){0};
  bool inverse = x->op == OP_DIV && x->arg[0]->op == OP_CONST && x->arg[0]->u.v.f == 1;
  Math m = math_by_name(arena_printf(e->a, "%sloose_%s_%s", e->t->variants, inverse ? "inverse" : ops[x->op].name, dtypes[x->dtype].name));
  if (m == MATH_COUNT) return (Text){0};
  if (inverse) return TEXT(LEVEL_PRIMARY, "%s(%s)", emit_math(e, m), emit_expr(e, x->arg[1], LEVEL_COND));
  return TEXT(LEVEL_PRIMARY, "%s(%s)", emit_math(e, m), list(e, x));
}

typedef struct Fixed { const Stmt *loop; bool yes; } Fixed;

static void see_fixed(void *cx, Expr *x) {
  Fixed *f = cx;
  if (x->op == OP_INDEX) f->yes &= x->u.ix != f->loop->ix;
  if (x->op == OP_READ || x->op == OP_FIELD) f->yes &= x->op == OP_READ && !x->u.t->rank;
  for (const Stmt *s = f->loop->body; s && x->op == OP_VAR; s = s->next) f->yes &= s->var != x->u.var && s->var2 != x->u.var;
}

// Compilers move what a vector loop does not change out of it, if no memory is read.
static bool is_fixed(Emit *e, const Expr *x) {
  Fixed f = { e->lane_loop, true };
  expr_visit(e->a, (Expr *)x, see_fixed, &f);
  return f.yes;
}

static bool has_fixed_divisor(Emit *e, const Expr *x) {
  bool here = e->t->fixed_quotients && e->lane_loop && x->op == OP_DIV && x->dtype == DT_F32 && emit_is_loose(e, x);
  return here && is_fixed(e, x->arg[1]) && !is_fixed(e, x->arg[0]);
}

// Is small_quotient_f32 of math.def the quotient, for all of these integers?
static bool divides_all(int low, int high, float d, float r) {
  for (int n = low; n <= high; n++) {
    float x = (float)n, q = x * r, y = fmaf(fmaf(-q, d, x), r, q);
    if (y != x / d) return false;
  }
  return true;
}

// A pixel over 255.
static bool is_small_quotient(Emit *e, const Expr *x, float *r) {
  enum { MOST = 1024 };                                    // integers that are tried
  const Expr *a = x->arg[0], *b = x->arg[1];
  if (!e->t->fixed_quotients || !e->lane_loop || x->op != OP_DIV || x->dtype != DT_F32) return false;
  if (b->op != OP_CONST || a->op != OP_CAST || !dtype_is_int((Dtype)a->arg[0]->dtype)) return false;
  Range n = emit_range(e, a->arg[0]);
  float d = (float)b->u.v.f;
  *r = 1 / d;
  return n.lo >= -MOST && n.hi <= MOST && n.hi - n.lo < MOST && isnormal(d) && isnormal(*r) && divides_all((int)n.lo, (int)n.hi, d, *r);
}

// The target's form of an f32 quotient with open last digits, or of a root, of what is known to be a normal number or more.
static Text of_normal(Emit *e, const Expr *x) {
  bool here = (x->op != OP_DIV || emit_is_loose(e, x)) && emit_least(e, x->arg[x->nargs - 1]) >= LEAST_NORMAL;
  Math m = here ? math_by_name(arena_printf(e->a, "%snormal_%s_%s", e->t->variants, ops[x->op].name, dtypes[x->dtype].name)) : MATH_COUNT;
  return m != MATH_COUNT ? TEXT(LEVEL_PRIMARY, "%s(%s)", emit_math(e, m), list(e, x)) : (Text){0};
}

static Text operation(Emit *e, const Expr *x);
static Text quotient_or_root(Emit *e, const Expr *x) {
  int exponent;                                            // by a power of two compilers multiply
  bool scale = x->op == OP_DIV && x->arg[1]->op == OP_CONST && fabs(frexp(x->arg[1]->u.v.f, &exponent)) == .5;
  float r;
  if (!scale && is_small_quotient(e, x, &r))
    return TEXT(LEVEL_PRIMARY, "%s(%s, %s)", emit_math(e, MATH_small_quotient_f32), list(e, x), float_literal(e, (double)r, DT_F32).s);
  if (!scale && has_fixed_divisor(e, x)) return TEXT(LEVEL_PRIMARY, "%s(%s)", emit_math(e, MATH_quotient_f32), list(e, x));
  Text t = e->t->variants && !scale ? of_normal(e, x) : (Text){0};
  if (!t.s && e->t->variants && !scale) t = loose(e, x);
  return t.s ? t : operation(e, x);
}

static Text operation(Emit *e, const Expr *x) {
  Dtype d = (Dtype)x->arg[0]->dtype;
  const char *call, *text = form_of(e, (Op)x->op, d, x->aux, &call);
  if (call) return TEXT(LEVEL_PRIMARY, "%s(%s)", call, list(e, x));
  if (ops[x->op].c_level) return infix(e, text, ops[x->op].c_level, d, x);
  const char *operand[3] = {0};
  for (uint32_t k = 0; k < x->nargs; k++) operand[k] = emit_expr(e, x->arg[k], is_enclosed(text, (int)k) ? LEVEL_COND : LEVEL_PRIMARY);
  const char *filled = emit_fill(e, text, d, operand), *inside = emit_strip(e, filled);
  return (Text){inside, inside == filled ? LEVEL_PRIMARY : LEVEL_COND};
}

// Arithmetic that may wrap: the same on unsigned operands, whole trees of it at once.
static Text on_unsigned(Emit *e, const Expr *x) {
  const char *u = unsigned_type((Dtype)x->dtype);
  if (x->op == OP_CONST && x->u.v.i >= 0) return TEXT(LEVEL_PRIMARY, "%" PRId64 "%s", x->u.v.i, x->dtype == DT_I64 ? "ull" : "u");
  if (!(ops[x->op].props & OP_WRAPS) || emit_fits(e, x)) return TEXT(LEVEL_PREFIX, "(%s)%s", u, emit_expr(e, x, LEVEL_PREFIX));
  Text a = on_unsigned(e, x->arg[0]);
  if (x->nargs == 1) return TEXT(LEVEL_ADD, "0u - %s", bracket(e, a, LEVEL_MUL));
  int level = ops[x->op].c_level;
  Text b = on_unsigned(e, x->arg[1]);
  return (Text){emit_fill(e, e->t->op_text(&ops[x->op], 'I'), DT_U64, (const char *[]){bracket(e, a, level), bracket(e, b, level + 1)}), level};
}

static bool is_signed_int(const Expr *x) { return x->dtype == DT_I32 || x->dtype == DT_I64; }

static Text wrapping(Emit *e, const Expr *x) {
  if (!is_signed_int(x) || emit_fits(e, x)) return operation(e, x);
  return TEXT(LEVEL_PREFIX, "(%s)(%s)", emit_type((Dtype)x->dtype), on_unsigned(e, x).s);
}

// x // y and x % y of numbers that are not negative are C's; y must not be 0.
static Text division(Emit *e, const Expr *x) {
  Dtype d = (Dtype)x->dtype;
  if (dtype_is_float(d) || emit_range(e, x->arg[0]).lo < 0 || emit_range(e, x->arg[1]).lo < 1) return operation(e, x);
  return infix(e, x->op == OP_MOD ? "$0 % $1" : "$0 / $1", LEVEL_MUL, d, x);
}

// Shifts by less than the width. A left shift must not lose bits of a signed value.
static Text shift(Emit *e, const Expr *x) {
  Dtype d = (Dtype)x->dtype;
  Range a = emit_range(e, x->arg[0]), b = emit_range(e, x->arg[1]);
  if (b.lo < 0 || b.hi >= dtypes[d].bits) return operation(e, x);
  if (x->op == OP_SHR) return infix(e, "$0 >> $1", 8, d, x);
  if (dtypes[d].kind == 'U' || (a.lo >= 0 && ldexp(a.hi, (int)b.hi) < ldexp(1, dtypes[d].bits - 2))) return infix(e, "$0 << $1", 8, d, x);
  return TEXT(LEVEL_PREFIX, "(%s)((%s)%s << %s)", emit_type(d), unsigned_type(d), emit_expr(e, x->arg[0], LEVEL_PREFIX),
              emit_expr(e, x->arg[1], LEVEL_PREFIX));
}

static Text select(Emit *e, const Expr *x) { return choice(e, x, text_of(e, x->arg[1]), text_of(e, x->arg[2])); }

const char *emit_var(Emit *e, const Var *v) {
  if (e->scan.acc && e->scan.acc->var == v && !e->scan.first) return arena_printf(e->a, "%s[%s]", e->scan.sums, e->lane);
  const char *name = names_of(&e->names, v);
  assert(name && "a VAR is declared before its use");
  const Stmt *lanes = map_getp(&e->lanes, v);
  if (!lanes || lanes->kind != ST_VAR) return name;
  assert(e->lane && "lanes are read inside their loop only; FOLD comes first");
  return arena_printf(e->a, "%s[%s]", name, e->lane);
}

// A comparison with a constant that the other's type or range decides; compilers warn of it.
static bool is_decided(Emit *e, const Expr *x, bool *value) {
  if (x->arg[0]->dtype == DT_BOOL || dtype_is_float((Dtype)x->arg[0]->dtype) || (x->arg[0]->op != OP_CONST && x->arg[1]->op != OP_CONST)) return false;
  Range a = emit_range(e, x->arg[0]), b = emit_range(e, x->arg[1]);
  bool below = a.hi < b.lo, above = a.lo > b.hi;
  switch (x->op) {
  case OP_EQ: return *value = false, below || above;
  case OP_NE: return *value = true, below || above;
  case OP_LT: return *value = below, below || a.lo >= b.hi;
  case OP_LE: return *value = a.hi <= b.lo, a.hi <= b.lo || above;
  case OP_GT: return *value = above, above || a.hi <= b.lo;
  default: return *value = a.lo >= b.hi, a.lo >= b.hi || below;
  }
}

static Text comparison(Emit *e, const Expr *x) {
  bool value;
  return is_decided(e, x, &value) ? primary(value ? "1" : "0") : operation(e, x);
}

// ~ of a truth value is no mistake here, but compilers think so.
static Text complement(Emit *e, const Expr *x) {
  if (x->dtype == DT_BOOL) return infix(e, "!$0", LEVEL_PREFIX, DT_BOOL, x);
  const Expr *a = x->arg[0];
  while (a->op == OP_CAST) a = a->arg[0];
  return a->dtype == DT_BOOL ? TEXT(4, "%s ^ -1", emit_expr(e, x->arg[0], LEVEL_PREFIX)) : operation(e, x);
}

// AND and OR, without what a range decided.
static Text logic(Emit *e, const Expr *x) {
  const char *neutral = x->op == OP_AND ? "1" : "0";
  Text a = text_of(e, x->arg[0]), b = text_of(e, x->arg[1]);
  if (strcmp(a.s, neutral) == 0) return b;
  return strcmp(b.s, neutral) == 0 ? a : operation(e, x);
}

static Text index_text(Emit *e, const Expr *x) {
  const char *name = names_of(&e->names, x->u.ix);
  assert(name && "an INDEX is used inside its loop");
  if (name != e->lane_first) uses_put(&e->used, x->u.ix);
  return primary(name);
}

// 4 * quad + n % 4, in either order.
static bool in_quads(const Expr *c, const Expr **quad, const Expr **word) {
  for (int k = 0; c->op == OP_ADD && k < 2; k++) {
    const Expr *a = c->arg[k], *b = c->arg[1 - k];
    if (a->op != OP_MUL || b->op != OP_MOD || !expr_is_int(b->arg[1], 4)) continue;
    bool first = expr_is_int(a->arg[0], 4);
    if (!first && !expr_is_int(a->arg[1], 4)) continue;
    *quad = a->arg[first];
    *word = b;
    return true;
  }
  return false;
}

// The row of the target's own for it, where there is one.
static Math variant(Emit *e, const char *name) { return e->t->variants ? math_by_name(arena_printf(e->a, "%s%s", e->t->variants, name)) : MATH_COUNT; }

static Text uniform(Emit *e, const Expr *x) {
  Text lane = drawn_before(e, x);
  if (lane.s) return lane;
  const Expr *quad, *word;
  Math parts = variant(e, "uniform_word_f32"), whole = variant(e, "uniform_at_f32");
  if (parts == MATH_COUNT || !in_quads(x->arg[1], &quad, &word))
    return TEXT(LEVEL_PRIMARY, "%s(%s)", emit_math(e, whole == MATH_COUNT ? MATH_uniform_f32 : whole), list(e, x));
  const char *seed = emit_expr(e, x->arg[0], LEVEL_COND);
  return TEXT(LEVEL_PRIMARY, "%s(%s, %s, (int)%s)", emit_math(e, parts), seed, emit_expr(e, quad, LEVEL_COND), emit_expr(e, word, LEVEL_PREFIX));
}

static Text text_of(Emit *e, const Expr *x) {
  switch ((Op)x->op) {
  case OP_CONST: return literal(e, x);
  case OP_DIM: return primary(emit_dim(e, x->u.dim));
  case OP_INDEX: return index_text(e, x);
  case OP_VAR: return primary(emit_var(e, x->u.var));
  case OP_READ: return read(e, x);
  case OP_FIELD: return field(e, x);
  case OP_CAST: return cast(e, x);
  case OP_BITCAST: return bitcast(e, x);
  case OP_SELECT: return select(e, x);
  case OP_UNIFORM: return uniform(e, x);
  case OP_AND: case OP_OR: return logic(e, x);
  case OP_FLOORDIV: case OP_MOD: return division(e, x);
  case OP_SHL: case OP_SHR: return shift(e, x);
  case OP_BITNOT: return complement(e, x);
  case OP_DIV: case OP_SQRT: return quotient_or_root(e, x);
  case OP_EQ: case OP_NE: case OP_LT: case OP_LE: case OP_GT: case OP_GE: return comparison(e, x);
  case OP_REDUCE: assert(!"reductions are loops in a kernel"); return primary("0");
  default: return ops[x->op].props & OP_WRAPS ? wrapping(e, x) : operation(e, x);
  }
}

const char *emit_combine(Emit *e, Op op, Dtype d, const char *x, const char *y) {
  const char *operand[] = {x, y};
  if (d == DT_BOOL) return arena_printf(e->a, "%s %s %s", x, op == OP_OR || op == OP_MAX ? "|" : "&", y);
  if ((ops[op].props & OP_WRAPS) && (d == DT_I32 || d == DT_I64)) {
    operand[0] = arena_printf(e->a, "(%s)%s", unsigned_type(d), x);
    operand[1] = arena_printf(e->a, "(%s)%s", unsigned_type(d), y);
    return arena_printf(e->a, "(%s)(%s)", emit_type(d), emit_fill(e, e->t->op_text(&ops[op], 'I'), d, operand));
  }
  const char *call, *text = form_of(e, op, d, EXACT, &call);
  return call ? arena_printf(e->a, "%s(%s, %s)", call, x, y) : emit_fill(e, text, d, operand);
}
