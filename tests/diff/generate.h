// generate.h: random programs.
#ifndef PLAIT_TESTS_DIFF_GENERATE_H
#define PLAIT_TESTS_DIFF_GENERATE_H
#include "tests/diff/harness.h"

enum { GEN_TEXT = 400, GEN_LINE = 3 * GEN_TEXT + 64, GEN_MAX = 48 };      // of an expression, of an equation

// A program as lines, so that a failing one can be cut down: head, equations, and which of them are results.
typedef struct Gen {
  char params[1600];
  int n;
  char eqn[GEN_MAX][GEN_LINE];
  char name[GEN_MAX][8];                  // of the tensor defined; of the one updated, which begins with an m
  char type[GEN_MAX][GEN_TEXT + 16];      // declared type as a result: "f32[N, M]"
  bool drop[GEN_MAX];
} Gen;

// A typed program of 1 to 40 equations over up to three dimensions, or four with one of blocks: elementwise chains, broadcasts, reductions
// of every kind, filters, gathers, shifts with `??`, reversed and halved rows, prefixes, suffixes, windows, ranges from data, casts,
// narrow storage, formats, conditionals, concatenations, recurrences, cascades over a row, calls of the library, updates.
void generate(Gen *g, Rng *r);
// Its text; dropped equations left out. Tensors that nothing reads become results.
void generate_text(const Gen *g, char *out, size_t size);
#endif
