// ops.h: the operations of expressions. Every fact about an operation is in its row of ops.def.
#ifndef PLAIT_IR_OPS_H
#define PLAIT_IR_OPS_H
#include "ir/dtype.h"

// How sema types a scalar operation before it inserts casts. In the IR itself all value operands of an operation
// have one dtype (SHL and SHR too: the left's; SELECT: the first is bool).
typedef enum OpRule {
  R_NONE,       // structural: built by the front end, no name in the language
  R_ARITH,      // operands joined (bool as i32); the result has that type
  R_FLOAT,      // operands joined, integers as f32; the result has that type
  R_ROUND,      // one operand; floats stay, integers are unchanged (floor, ceil, round, trunc)
  R_BITS,       // integers (and bool with bool, which stays bool: its values are 0 and 1) joined
  R_SHIFT,      // integers; the type of the left
  R_COMPARE,    // joined; bool
  R_LOGIC,      // bool operands (others as x != 0); bool
  R_TEST,       // one float; bool (isnan …); integers are finite
  R_COUNT       // popcount: an integer; i32
} OpRule;

enum {                  // OpInfo.props
  OP_COMMUTES = 1, OP_ASSOCIATES = 2 /* exactly (integers, min, max, bits) or up to rounding (float + *) */,
  OP_LAZY = 4 /* operands after the first are evaluated only when needed */,
  OP_CHEAP = 8 /* at most a few cycles: recompute rather than store */,
  OP_WRAPS = 16 /* the plain int text overflows: print it on unsigned operands, converted back, unless the ranges forbid */,
  OP_DUP = 32 /* a text uses an operand twice: the printer makes operands variables or constants first */
};

typedef enum Op {
#define OP(NAME, ...) OP_##NAME,
#include "ir/ops.def"
#undef OP
  OP_COUNT_
} Op;

typedef struct OpInfo {
  const char *name;     // lower case, unique: "add", "exp"; the language's function name where callable
  const char *symbol;   // "+" for operators, else NULL
  int level;            // operators: binding strength in Plait, 1 (or) to 12 (**); 0: no operator
  int arity;            // -1: varies
  OpRule rule;
  bool callable;        // a function of the language by this name
  // The meaning. f: float operands (f32 results are rounded from this double), i: signed, u: unsigned; NULL where the
  // operation does not exist for the kind. Integers wrap to their width after the call. Tests return 0 or 1 in i.
  Scalar (*f)(const Scalar *a, Dtype t);
  Scalar (*i)(const Scalar *a, Dtype t);
  Scalar (*u)(const Scalar *a, Dtype t);
  // Target text with operands $0 $1 $2; NULL where a target's hook prints it. In it `@` stands for the float suffix
  // ("f" or ""), $T for the operands' C type, $U for the unsigned one of that width, $B for its bits (32, 64), $L for
  // "" or "ll". Every text is an expression that is safe for all operand values (no undefined behaviour; OP_WRAPS: as
  // said there). With c_level > 0 it is `$0 op $1` or `op $0` and the printer adds brackets as C's grammar needs;
  // else it is a call or in brackets, and operands may need brackets of their own unless they are primaries.
  // An int text may have C's type int where its value is a small literal or a test: the assignment converts.
  const char *c_float, *c_int;      // c_int: signed of 32 and 64 bits, and unsigned where c_uint is NULL; logic on bool
  const char *c_uint;               // NULL: as c_int
  const char *cuda_float, *cuda_int;   // NULL: as C (unsigned: c_uint first)
  int c_level;          // of the texts in C: 1 || 2 && 3 | 4 ^ 5 & 6 == 7 < 8 << 9 + 10 * 11 prefix; 0: primary
  int flops;            // of one evaluation; 0 for moves and tests on integers
  double ulp;           // error of the compiled f32 form, units in the last place of the result; 0: exact; .5: one rounding
  int props;
} OpInfo;
extern const OpInfo ops[OP_COUNT_];

Op op_by_name(const char *name);      // a callable scalar function, or OP_NONE

// The dtype of an operation's value when its operands have dtype t (AND OR NOT and rows with a rule other than R_NONE).
Dtype op_dtype(Op op, Dtype t);

// The operation on constants of wide dtype t, by the row's meaning, rounded or wrapped to the result's dtype.
// False where it does not exist for t (structural operations among them; UNIFORM has op_uniform).
bool op_eval(Op op, Dtype t, const Scalar *a, Scalar *out);

// uniform(seed, c) of the language: exact, in [0, 1). And its generator, Philox-4x32-10: word k of out belongs to
// counters 4·block + k. [Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC'11]
float op_uniform(uint64_t seed, int64_t c);
void op_philox(uint64_t seed, int64_t block, uint32_t out[4]);

// Reductions (reduce.def), one row each: combine, identity, accumulator, how it rescales.
typedef enum Reducer {
#define REDUCE(NAME, ...) RED_##NAME,
#include "ir/reduce.def"
#undef REDUCE
  RED_COUNT_
} Reducer;

typedef struct ReduceInfo {
  const char *name;     // "sum"
  Op combine;           // of two accumulators: OP_ADD, OP_MUL, OP_MAX, OP_MIN, OP_OR, OP_AND; OP_NONE for argmax and argmin
  bool arg;             // argmax/argmin: the state is (value, index)
  bool counts;          // mean: divide by the number of terms
  Scalar (*identity)(Dtype acc);
  // How a state changes when a factor h of all its terms changes ('*': sum(h·g) = h·sum(g)), or an offset
  // ('+': max(h + g) = h + max(g)); 0: not at all. For the one-pass form.
  char rescales;
  const char *what;     // one line for the documentation
} ReduceInfo;
extern const ReduceInfo reducers[RED_COUNT_];

// May terms of this type come in another order? A float product may overflow then where the direct one met a zero first; the language
// does not allow that.
static inline bool reducer_may_reorder(Reducer r, Dtype d) { return r != RED_PROD || !dtype_is_float(d); }
Reducer reducer_by_name(const char *name);           // RED_NONE when none
Dtype reduce_dtype(Reducer r, Dtype term_wide);      // type of the value (mean of integers f32, argmax i32, sum of bool i32, any bool)
#endif
