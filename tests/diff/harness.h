// harness.h: one program, run by the interpreter and by compiled kernels, and compared.
//
// A difference is a finding when it exceeds the bound that the interpreter derives from the computation (fn_interpret), when
// one faults and the other does not, or when NaN and infinity stand at different places. Nothing here has a tolerance.
#ifndef PLAIT_TESTS_DIFF_HARNESS_H
#define PLAIT_TESTS_DIFF_HARNESS_H
#include "frontend/sema.h"
#include "ir/interp.h"
#include "passes/pass.h"
#include "runtime/jit.h"
#include "tests/diff/gpu.h"

// A stream of random numbers, the same on every machine (splitmix64).
typedef struct Rng { uint64_t s; } Rng;
uint64_t rng_next(Rng *r);
int rng_below(Rng *r, int n);                   // 0 .. n - 1
double rng_unit(Rng *r);                        // [0, 1)
bool rng_chance(Rng *r, int percent);

typedef enum Verdict { SAME, DIFFERENT, REFUSED, BOTH_FAULT } Verdict;   // REFUSED: the front end reported errors

typedef struct Outcome {
  Verdict verdict;
  char text[2000];            // what differs, or the diagnostics
  long elements, ambiguous;   // compared; with an infinite bound
  int kernels;
  bool broken;                // the device failed, and will not work again in this process
} Outcome;

// The text that was compiled last. Plans serve every size, so that the runs of a program, with other sizes and inputs each, mostly have the
// same: nine tenths of the time went into compiling it again.
typedef struct Compiled { char *text; JitModule *module; } Compiled;
enum { HARNESS_PASSES = 2 };    // fused; every equation a kernel of its own

typedef struct Harness {
  Jit *jit;
  Compiled last[HARNESS_PASSES];
  Gpu_runner *gpu;            // instead of the JIT: on a GPU, with code for the sizes at hand and code for all sizes
  bool no_fuse;               // also compare with every equation a kernel of its own
  int dim_limit;              // dimensions are drawn from small numbers up to this
  const char *machine;        // ir/machine.c; NULL: the usual one
  bool specials;              // inputs hold NaN, infinities, zeros of both signs, subnormals, extremes
} Harness;

// Draws dimensions and inputs from `r`, runs `text` both ways. entry NULL: the only one.
Outcome diff_program(Harness *h, const char *name, const char *text, const char *entry, Rng *r);
void harness_close(Harness *h);                 // releases what was compiled last; before jit_free
#endif
