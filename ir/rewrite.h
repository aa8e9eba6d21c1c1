// rewrite.h: what passes over equations share.
#ifndef PLAIT_IR_REWRITE_H
#define PLAIT_IR_REWRITE_H
#include "ir/fn.h"

// Map every expression of q (body, condition, store subscripts) with f (expr_map).
void eqn_map(ExprTable *x, Eqn *q, ExprMap f, void *cx);
// Replace one node of q's expressions by another.
void eqn_replace(ExprTable *x, Eqn *q, Expr *from, Expr *to);
// Give nodes of q's body another aux: node → it, and one.
void eqn_set_aux(ExprTable *x, Arena *scratch, Eqn *q, const Map *aux);
// Visit every node of q's expressions once, arguments first.
void eqn_visit(Arena *scratch, Eqn *q, ExprVisit f, void *cx);

// Expr.aux of a function's node is form * EXACTNESSES + how exact it is.
// Coarse ones may have a relative error of 2^-15, 2^-12 (passes/coarse.c).
enum { EXACT, COARSE_F16, COARSE_BF16, EXACTNESSES };
// What is known of an exponential, so that a shorter form will do (passes/form.c).
typedef enum Form {
  FORM_ANY,
  FORM_NONPOSITIVE,     // its argument is never above 0
  FORM_ADDEND,          // it is added to something so large that results below 2^-125 may be 0
  FORMS
} Form;
static inline int fn_exactness(const Expr *e) { return e->aux % EXACTNESSES; }

// live[id] for each tensor whose elements something needs: outputs, and what live equations read. A read that is known to
// fail (READ with aux READ_FAILS) needs nothing.
enum { READ_PLAIN, READ_DEFAULT, READ_FAILS };
bool *fn_live(Arena *a, const Fn *f);
// Removes equations of locals that no equation reads at all.
void fn_drop_unread(Fn *f, Arena *scratch);
// A READ of the same tensor and subscripts that is known to be out of range: evaluating it reports the fault.
Expr *expr_read_fails(ExprTable *x, Expr *read);
// The operation on values by which two accumulators become one: for truths the one that evaluates both sides.
Op reduce_op(Reducer r);
// argmax, argmin: is (value, at) better than (old, old_at)? NaN is better than all but NaN; `nothing`: the index of no term yet.
Expr *reduce_better(ExprTable *x, Reducer r, Expr *value, Expr *old, Expr *old_at, Expr *nothing);
// 0 <= s[d] < extent[d] for all dimensions of the tensor, as a condition.
Expr *expr_in_range(ExprTable *x, const Tensor *t, Expr *const *sub, Span at);
// A store in a block format makes whole blocks along one index of q: its position, or -1 without a format.
int eqn_block_pos(const Eqn *q);
// A prefix: one reduction whose range grows with an index of q and whose terms do not depend on it, c[i, k] = sum[j <= k](x[i, j]). Such an
// equation is computed in the order of k, a step each. pos: the position of k, or -1. excludes: without the element itself, sum[j < k].
// backward: from the element to the end, sum[j in k .. D], in the contrary order.
typedef struct EqnScan { int pos; bool excludes, backward; } EqnScan;
EqnScan eqn_scan(const Eqn *q);
int eqn_scan_pos(const Eqn *q);
#endif
