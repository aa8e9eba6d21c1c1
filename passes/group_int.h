// group_int.h: shared by group*.c only.
//
//   group.c        the pass: order, printing
//   group_unit.c   what there is to group: staged updates, structural keys, units and what they read
//   group_value.c  what several equations compute alike
//   group_match.c  can two groups become one, and over which grid
//   group_join.c   two groups become one; the time that this saves
//   group_order.c  topological order
//   group_graph.c  which groups must run before which
//   group_greedy.c merge what saves most first
//   group_search.c the best partition of a few units
//   group_section.c  which groups share a launch
//   group_why.c    remarks on what stayed apart
#ifndef PLAIT_PASSES_GROUP_INT_H
#define PLAIT_PASSES_GROUP_INT_H
#include "ir/cost.h"
#include "passes/group.h"

enum {
  MAX_MEMBERS = 256,            // equations of a group
  MAX_TENSORS = 64,             // tensors in memory that a group touches: streams that a core can follow, arguments of a kernel
  MAX_NODES = 16384             // expressions of a group: code that the compiler is asked to optimise at once
};

// Which index stands plainly at a dimension of a read: an index of the equation, or (-1 - k) its reduced index k.
enum { AT_OTHER = 127 };

// A READ in an equation.
typedef struct Read {
  Tensor *t;
  signed char at[8];
  uint64_t part;        // which elements (cost.h); together with the tensor
  double bytes;
  bool whole;
} Read;

typedef struct Reads { VEC(Read) v; } Reads;

// What a node reads of one tensor, and where its grid indices stand in the reads of it. grid[d] -1: none.
typedef struct Spot { signed char grid[8]; } Spot;
typedef struct Part { uint64_t id; double bytes; } Part;
typedef struct Access {
  Tensor *t;            // a version
  VEC(Spot) spots;     // different ones
  VEC(Part) parts;      // different ones
  double part_bytes;    // their sum
  bool whole;
  int units;            // how many units read it
} Access;

// What a kernel costs, at nominal extents.
typedef struct Weight {
  Work work;
  int streams;          // tensors in memory that it touches
  int sums;             // accumulators that are alive together, at the most
  double sum_steps;     // their steps, all together
  double ns;            // time of all that, without the launch
} Weight;

// A group that is being made. Nodes are numbered; one that was merged into another points to it (group_find).
typedef struct Node {
  Group *u;
  int up;               // the node it was merged into; itself while it lives
  int rank;             // a place in an order in which every node stands before those that need it
  unsigned stamp;       // changes when it does
  VEC(Access) reads;
  Map read_at;          // tensor's id → place in reads + 1
  Map defines;          // tensor's id → place among the members + 1
  VEC(int) units;       // what it was made from, by number
  int nodes;            // expressions
  Weight w;
} Node;

typedef struct Edges { VEC(int) to; } Edges;

// can: the two units alone can merge; saved: what that would save; with_others: in a larger group they might be together.
typedef struct Pair { int a, b; bool can, with_others; double saved; } Pair;

typedef struct Grouping {
  Pipe *p;
  Fn *f;
  const Machine *machine;
  bool *live;           // by tensor id, as the next
  uint64_t *key;        // structural hash
  int *unit;            // which unit defines it; -1
  int *readers;         // how many units read it
  double *bytes;        // at nominal extents
  double *home;         // the same where the extents are known; else more than any cache holds
  double *worth;        // operations that are saved when two readers share it: of values (group_value.c), which come after the tensors
  Reads *reads;         // of its equation
  EqnCost *cost;        // of its equation
  Map values; int nvalues;      // values by a hash of what they are
  Node *node; int n;    // units
  Edges *after, *before;        // by unit: those that need it, those that it needs
  VEC(Pair) pairs;      // units that may be worth merging
  VEC(Pair) tied;       // readers of tensors that have too many for all their pairs
  int64_t steps;        // work done, for tests of how it grows
} Grouping;

int group_find(const Grouping *g, int node);
static inline Node *group_node(const Grouping *g, int unit) { return &g->node[group_find(g, unit)]; }
uint64_t group_mix(uint64_t a, uint64_t b);

// group_unit.c
void group_stage_updates(Pipe *p);
void group_find_units(Grouping *g);      // keys, units, their reads, edges and pairs

// group_value.c
void group_find_values(Grouping *g, Eqn *q);     // adds to its reads
int group_most_values(const Fn *f);
static inline bool group_is_value(const Grouping *g, const Tensor *t) { return t->id >= g->f->tensors.n; }

// group_match.c: a before b. Grid index ga[k] of a and gb[k] of b become one, number k. With `partial` the members of one
// of the two get reduced indices as the grid's instead: red[m * MAX_GRID + k] of member m.
typedef enum Partial { PARTIAL_NONE, PARTIAL_FIRST, PARTIAL_SECOND } Partial;
typedef struct Match {
  int n;
  int ga[MAX_GRID], gb[MAX_GRID];
  Partial partial;
  int *red;
  bool touches;         // they read a common tensor or value, or one reads the other
  bool depends;         // b reads what a makes
  bool common;          // they have indices in common, by which they might share a kernel with others
  Reason why;           // when they can't merge
} Match;
bool group_match(Grouping *g, const Node **a, const Node **b, Match *m);      // puts the two in order
Access *group_access(const Node *n, const Tensor *t);            // NULL: does not read it
const Member *group_definer(const Node *n, const Tensor *t);     // NULL: does not make it

// group_join.c
void group_weigh(Grouping *g, Node *n);  // of a unit
// A pair as it would merge: a before b, and the ns that it saves, a launch included. Below zero it costs time.
typedef struct Offer { const Node *a, *b; Match m; Weight sum; double saved; } Offer;
bool group_offer(Grouping *g, const Node *a, const Node *b, Offer *o);  // false: they can't; o->m.why says why, if they touch
Node group_copy(const Grouping *g, const Node *n);       // nothing shared with n that changes
void group_join(Grouping *g, Node *into, const Node *other, const Match *m, const Weight *sum, bool into_first);

// group_order.c: things 0 .. n - 1 in an order in which each stands after those it waits for. Of the ready ones the smallest
// key comes first, so that the order is the same whatever the source's.
typedef struct Order { Arena *a; int n; const uint64_t *key; Edges *after; int *waits; VEC(int) ready; } Order;
Order order_make(Arena *a, int n, const uint64_t *key);
void order_edge(Order *o, int from, int to);
bool order_take(Order *o, int *out);     // once; false for a circle

// group_graph.c
bool group_rank(Grouping *g);            // of all nodes that live; false for a circle
bool group_between(Grouping *g, int a, int b);  // must some third node run after one and before the other?
void group_merge(Grouping *g, const Offer *o);   // of two of g->node

void group_greedily(Grouping *g);        // group_greedy.c

// group_search.c
typedef struct Search Search;
Search *group_search_begin(Grouping *g);         // before merging
bool group_search_end(Search *s);        // after it: replaces what is not the best. True: all is proved to be
int group_sections(Grouping *g);         // group_section.c: which groups share a launch; how many launches there are
void group_remarks(Grouping *g);         // group_why.c
#endif
