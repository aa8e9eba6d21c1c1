// generate_int.h: what the parts of the generator share: expressions (generate.c) and equations (generate_forms.c).
#ifndef PLAIT_TESTS_DIFF_GENERATE_INT_H
#define PLAIT_TESTS_DIFF_GENERATE_INT_H
#include "tests/diff/generate.h"

enum { MAX_TENSORS = 96, NDIMS = 4, BLOCKS = 3 };      // BLOCKS: the dimension that tensors in formats end with, in few programs

// Kinds of value, by what a read gives.
typedef enum Kind { FLOAT, INT, BOOL_ } Kind;
typedef struct Known {
  char name[8];
  Kind kind;
  int rank, dim[3];
  bool small;           // integers as they are drawn, mostly small and not negative
  bool wide;            // a read of it gives more than 32 bits
} Known;

typedef struct Text { char s[GEN_TEXT]; } Text;

typedef struct Maker {
  Gen *g; Rng *r;
  Known t[MAX_TENSORS]; int nt;
  int ndims;                  // 3, or 4 with blocks
  bool bound[NDIMS];          // indices in scope
  bool loose[NDIMS];          // which may leave the range
  int fresh;                  // reductions over an index that is bound use names of their own
  char ix[NDIMS][24];         // the name of each dimension's index in scope, or what stands in its place
} Maker;

extern const char *const dim_names[NDIMS];     // as an extent; and where it is an operand
extern const char *const dim_operands[NDIMS];

Text textf(const char *fmt, ...);      // too long: `1`
// An expression of this kind, with at most so many operations inside each other.
Text make(Maker *m, Kind kind, int depth);
// A reduction over dim. prefix: where its index is in scope, over part of the range.
Text make_reduction(Maker *m, Kind kind, int depth, int dim, bool prefix);
Text make_read(Maker *m, const Known *t, int depth);
void know(Maker *m, const char *name, Kind kind, int rank, const int *dim, bool small);
void random_dims(Maker *m, int rank, int *dim);
Text shape_of(int rank, const int *dim);

// Adds an equation or several that belong together.
void make_form(Maker *m);
#endif
