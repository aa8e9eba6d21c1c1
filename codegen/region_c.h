// region_c.h: one parallel region for kernels, and for parallel loops, that follow each other. See region_c.c.
#ifndef PLAIT_CODEGEN_REGION_C_H
#define PLAIT_CODEGEN_REGION_C_H
#include "codegen/emit.h"

// Hooks of the target.
void c_region_plan(Emit *e);                                  // chooses, before any kernel is printed
void c_region_open(Emit *e, const Kernel *k);                 // sets e->in_region for the kernel's outermost statements
const Stmt *c_region_statement(Emit *e, const Stmt *s);       // prints one such, or several; returns the last of them

void c_region_again(Emit *e, const Stmt *loop);               // at the end of the body of a loop around parallel loops

// Kernels first .. first + n - 1 of a plan run in one region.
typedef struct RegionRun {
  int first, n;
  VEC(const Expr *) work;            // of its parallel loops, each once
  bool always;                       // a loop whose work is not known
  VEC(const Stmt *) shared;          // ALLOCs: arrays that all threads share
} RegionRun;
const RegionRun *c_region_of(const Emit *e, int kernel);      // NULL: it has its own parallel loops
// Compilers make two functions of a region under a condition that they cannot decide, and all kernels of a region would be in one: such a
// kernel is to stay apart, which takes a third off their time.
bool c_region_stands_twice(const Emit *e, int kernel);
// All threads meet before the failure of a check in this kernel is looked for.
bool c_region_meets_behind(const Emit *e, int kernel);
#endif
