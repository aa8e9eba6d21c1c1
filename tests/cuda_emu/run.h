// run.h: what launch.c and the functions of EmuApi need of run.c.
#ifndef PLAIT_CUDA_EMU_RUN_H
#define PLAIT_CUDA_EMU_RUN_H
#include "state.h"

bool run_make(Run *r, int resident);                   // blocks, stacks; false and r->fault
void run_blocks(Run *r, const uint32_t *number);       // the resident blocks with these numbers, to their end or a fault
void run_free(Run *r);

// The kernel of the module that runs (a copy has its own).
static inline const EmuKernel *run_kernel(const Run *r) { return &r->module->image->kernel[r->launch->kernel - r->launch->module->image->kernel]; }

// Waiting is: mark, look whether others are complete now and make them ready, yield.
void run_mark(Run *r, Thread *t, ThreadState state, const EmuSite *site);
void run_yield(Run *r, Thread *t);
// Called at each look for something that others write; lets them run now and then.
void run_spin(Run *r, Thread *t, const EmuSite *site, bool at_once);
// Whether asynchronous copies are made when they are waited for, or when they are started.
bool copies_are_late(const Run *r);
#endif
