// look.h: one question about integer expressions, while it is being answered. Private to affine.c, look.c and prove.c.
#ifndef PLAIT_IR_LOOK_H
#define PLAIT_IR_LOOK_H
#include "ir/affine.h"
#include "ir/poly.h"

typedef struct Range { Index *ix; Expr *lo, *hi; } Range;
typedef struct Mark { int ranges, facts; } Mark;

struct Ranges {
  Arena *a;
  ExprTable *x;
  VEC(Range) list;
  VEC(const Poly *) facts;
  VEC(Mark) marks;
};

typedef struct Bounds { double lo, hi; } Bounds;           // real bounds, rounded outwards
typedef struct Value { const Poly *p; bool exact; } Value; // exact: the expression's value is p; else it is p modulo 2^64
typedef struct Equal { const Expr *e; const Poly *p; } Equal;      // e is p, in which it does not stand
typedef struct Floor { Expr *q; const Poly *d, *below, *above; } Floor;   // facts x - d·q >= 0 and d·q - x + d - 1 >= 0, or NULL

// One question. Everything in it is forgotten when it is answered.
typedef struct Look {
  Ranges *r;
  ExprTable *x;
  Arena *a;
  bool whole_mod;       // leave x % d as an atom
  Map values, bounds;   // of expressions, by id
  VEC(const Poly *) facts;
  VEC(const Poly *) given;     // the facts before equals were put in (still good for bounds)
  VEC(Equal) equals;           // put into facts and goals, in order
  VEC(Floor) floors;
  Map closed;           // atoms whose own facts are in
  Map halved;           // MIN, MAX, SELECT that a proof is looking at case by case
  VEC(const Poly *) path;
  int fuel, splits;
  bool cut;             // a goal was given up for its depth
} Look;

#define WORD 9.2e18       // a little less than 2^63

Look look(Ranges *r, ExprTable *x);               // the caller destroys its arena

// look.c: values and what is known of them.
Value value_of(Look *l, Expr *e);                 // e: an integer
Value value_atom(Look *l, Expr *e);               // e, not looked into
Bounds bounds_of(Look *l, Expr *e);               // e: an atom
Bounds mono_bounds(Look *l, const Mono *m);
Bounds poly_bounds(Look *l, const Poly *p);
static inline bool in_word(Bounds b) { return b.lo > -WORD && b.hi < WORD; }
bool value_not_above(Look *l, Value v);           // is the value at least what its polynomial says?
bool value_not_below(Look *l, Value v);

// Facts.
void add_fact(Look *l, const Poly *p);            // p >= 0; NULL adds nothing
void add_order(Look *l, Value a, Value b, int64_t k);      // a + k <= b, as values
void add_condition(Look *l, const Expr *c, bool truth);
const Poly *tighten(Look *l, const Poly *p);      // p divided by the common divisor of its coefficients, the constant rounded down
const Poly *put_in_all(Look *l, const Poly *p);   // p with the equals put in, tightened
int sole_term(const Poly *p, const Expr *e);      // the term of p that is e alone, when e stands nowhere else in p; else -1
int64_t gcd64(int64_t a, int64_t b);

// prove.c
bool is_scalar(const Expr *e);                    // over dimensions, scalar arguments and constants
bool prove_goal(Look *l, const Poly *p);          // p >= 0 wherever the facts hold?
#endif
