#include "ir/machine.h"
#include <string.h>

// Figures from vendors' data sheets unless said otherwise. cache_bytes: what one core or block keeps of a row between passes.
// tile_bytes: half of a first cache of 32 KiB. registers: three quarters of what the instruction set has (a thread's 255 on the GPUs, at the occupancy of half of them).
static const Machine machines[] = {
  // Two cores of a Zen 4 server, measured: non-temporal copy 43 GB/s, L3 85 GB/s, L2 1 MiB a core.
  { .name = "cpu", .target = "c", .dram_gbs = 43, .shared_gbs = 85, .cache_gbs = 340, .shared_bytes = 32 << 20, .cache_bytes = 1 << 20,
    .tile_bytes = 16 << 10, .launch_us = 2, .gflops = 300, .cores = 2, .core_gbs = 30, .registers = 24, .vector_bytes = 64 },
  // None: rows of more than 16 f32 are long, so that tests reach what only long rows do.
  { .name = "tiny", .target = "c", .dram_gbs = 43, .shared_gbs = 85, .cache_gbs = 340, .shared_bytes = 32 << 20, .cache_bytes = 128,
    .tile_bytes = 64, .launch_us = 2, .gflops = 300, .cores = 2, .core_gbs = 30, .registers = 24, .vector_bytes = 64 },
  // The shared caches' rates are what microbenchmarks find (Chips and Cheese, 2023); core_gbs is half as much again as a core's share.
  { .name = "a100", .target = "cuda", .dram_gbs = 1935, .shared_gbs = 4500, .cache_gbs = 19400, .shared_bytes = 40 << 20,
    .cache_bytes = 164 << 10, .tile_bytes = 64 << 10, .launch_us = 3, .gflops = 19500, .cores = 108, .core_gbs = 27, .registers = 96, .vector_bytes = 16, .arch = 80 },
  { .name = "h100", .target = "cuda", .dram_gbs = 3350, .shared_gbs = 5600, .cache_gbs = 33000, .shared_bytes = 50 << 20,
    .cache_bytes = 227 << 10, .tile_bytes = 64 << 10, .launch_us = 3, .gflops = 66900, .cores = 132, .core_gbs = 38, .registers = 96, .vector_bytes = 16, .arch = 90 },
};

const Machine *machine_by_name(const char *name) {
  for (unsigned i = 0; i < sizeof machines / sizeof *machines; i++)
    if (!strcmp(machines[i].name, name)) return &machines[i];
  return 0;
}

const Machine *machine_default(const char *target) {
  for (unsigned i = 0; i < sizeof machines / sizeof *machines; i++)
    if (!strcmp(machines[i].target, target)) return &machines[i];
  return &machines[0];
}

const Machine *machine_of_arch(int arch) {
  const Machine *best = machine_default("cuda");
  for (unsigned i = 0; i < sizeof machines / sizeof *machines; i++)
    if (machines[i].arch && machines[i].arch <= arch && machines[i].arch > best->arch) best = &machines[i];
  return best;
}
