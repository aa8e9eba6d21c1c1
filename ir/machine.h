// machine.h: what a machine can do, for the cost model.
#ifndef PLAIT_IR_MACHINE_H
#define PLAIT_IR_MACHINE_H
#include <stdint.h>

typedef struct Machine {
  const char *name;
  const char *target;           // "c" or "cuda"
  double dram_gbs, shared_gbs, cache_gbs;   // bytes a ns from memory, from the cache all share, from those of the cores; all cores together
  int64_t shared_bytes;         // of the cache that all share
  int64_t cache_bytes;          // of one core (block) that keep a row between passes
  int64_t tile_bytes;           // of one core (block) that stay while it works on a part of a row
  int64_t far_bytes;            // "c": of tensors that a kernel touches, from which on the caches have kept nothing for the next call; 0: they never do (far.h)
  double launch_us;             // of a kernel (fork and join, or a launch)
  int grain, grain_awake;       // work (lower_work) below which one core does it all; the same where the others' threads are awake
  double gflops;                // f32, all cores
  int cores;
  double core_gbs;              // bytes a ns that one core alone gets from memory
  int registers;                // values (vectors of them) that stay in registers in a loop
  int vector_bytes;             // 64: AVX-512
  int arch;                     // "cuda": 90 for sm_90; else 0
  int threads;                  // "cuda": of a multiprocessor at a time; else 0
  int block_bytes;              // "cuda": of shared memory that a block can have; a multiprocessor has 1 KiB more, and takes 1 KiB beside each block's; else 0
} Machine;

const Machine *machine_by_name(const char *name);    // NULL when unknown
const Machine *machine_default(const char *target);  // never NULL
const Machine *machine_gpu(int i);                   // the GPUs, oldest architecture first; NULL when there are no more
const Machine *machine_of_arch(int arch);            // the GPU of this architecture, or the newest older one; never NULL
#endif
