#include "ir/machine.h"
#include <string.h>

// Figures from vendors' data sheets unless said otherwise. cache_bytes: what one core or block keeps of a row between passes.
// tile_bytes: half of a first cache of 32 KiB. registers: three quarters of what the instruction set has (a thread's 255 on the GPUs, at the occupancy of half of them).
static const Machine machines[] = {
  // Two cores of a Zen 4 server, measured: non-temporal copy 43 GB/s, L3 85 GB/s, L2 1 MiB a core.
  { .name = "cpu", .target = "c", .dram_gbs = 43, .shared_gbs = 85, .cache_gbs = 340, .shared_bytes = 32 << 20, .cache_bytes = 1 << 20,
    .tile_bytes = 16 << 10, .launch_us = 2, .grain = 96 << 10, .grain_awake = 36 << 10, .gflops = 300, .cores = 2, .core_gbs = 30, .registers = 24,
    .vector_bytes = 64, .far_bytes = 8 << 20 },
  // None: rows of more than 16 f32 are long, so that tests reach what only long rows do, and all is shared out over cores.
  { .name = "tiny", .target = "c", .dram_gbs = 43, .shared_gbs = 85, .cache_gbs = 340, .shared_bytes = 32 << 20, .cache_bytes = 128,
    .tile_bytes = 64, .launch_us = 2, .grain = 1, .grain_awake = 1, .gflops = 300, .cores = 2, .core_gbs = 30, .registers = 24,
    .vector_bytes = 64, .far_bytes = 8 << 20 },
  // No cache that all share: all tensors come from memory, so that tests reach what only large ones do; all is shared out here too.
  { .name = "far", .target = "c", .dram_gbs = 43, .shared_gbs = 85, .cache_gbs = 340, .shared_bytes = 32 << 20, .cache_bytes = 1 << 20,
    .tile_bytes = 16 << 10, .launch_us = 2, .grain = 1, .grain_awake = 1, .gflops = 300, .cores = 2, .core_gbs = 30, .registers = 24, .vector_bytes = 64 },
  // GPUs. The shared caches' rates are what microbenchmarks find (Chips and Cheese, 2023), or scaled from those by clock and width; core_gbs is
  // half as much again as a core's share. cache_bytes: registers of a block (256 KiB), or of a cluster of 8 blocks from sm_90 on. threads, block_bytes: the CUDA C++ Guide, "Compute
  // Capabilities".
  { .name = "a100", .target = "cuda", .dram_gbs = 1935, .shared_gbs = 4500, .cache_gbs = 19400, .shared_bytes = 40 << 20, .cache_bytes = 256 << 10,
    .tile_bytes = 64 << 10, .launch_us = 3, .gflops = 19500, .cores = 108, .core_gbs = 27, .registers = 96, .vector_bytes = 16, .arch = 80, .threads = 2048, .block_bytes = 163 << 10 },
  { .name = "rtx3090", .target = "cuda", .dram_gbs = 936, .shared_gbs = 2200, .cache_gbs = 13900, .shared_bytes = 6 << 20, .cache_bytes = 256 << 10,
    .tile_bytes = 64 << 10, .launch_us = 3, .gflops = 35600, .cores = 82, .core_gbs = 17, .registers = 96, .vector_bytes = 16, .arch = 86, .threads = 1536, .block_bytes = 99 << 10 },
  { .name = "rtx4090", .target = "cuda", .dram_gbs = 1008, .shared_gbs = 5000, .cache_gbs = 32000, .shared_bytes = 72 << 20, .cache_bytes = 256 << 10,
    .tile_bytes = 64 << 10, .launch_us = 3, .gflops = 82600, .cores = 128, .core_gbs = 12, .registers = 96, .vector_bytes = 16, .arch = 89, .threads = 1536, .block_bytes = 99 << 10 },
  { .name = "h100", .target = "cuda", .dram_gbs = 3350, .shared_gbs = 5600, .cache_gbs = 33000, .shared_bytes = 50 << 20, .cache_bytes = 2 << 20,
    .tile_bytes = 64 << 10, .launch_us = 3, .gflops = 66900, .cores = 132, .core_gbs = 38, .registers = 96, .vector_bytes = 16, .arch = 90, .threads = 2048, .block_bytes = 227 << 10 },
  { .name = "b200", .target = "cuda", .dram_gbs = 8000, .shared_gbs = 10000, .cache_gbs = 36000, .shared_bytes = 126 << 20, .cache_bytes = 2 << 20,
    .tile_bytes = 64 << 10, .launch_us = 3, .gflops = 75000, .cores = 148, .core_gbs = 81, .registers = 96, .vector_bytes = 16, .arch = 100, .threads = 2048, .block_bytes = 227 << 10 },
  { .name = "rtx5090", .target = "cuda", .dram_gbs = 1792, .shared_gbs = 6500, .cache_gbs = 41000, .shared_bytes = 96 << 20, .cache_bytes = 2 << 20,
    .tile_bytes = 64 << 10, .launch_us = 3, .gflops = 104800, .cores = 170, .core_gbs = 16, .registers = 96, .vector_bytes = 16, .arch = 120, .threads = 1536, .block_bytes = 99 << 10 },
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

const Machine *machine_gpu(int n) {
  for (unsigned i = 0; i < sizeof machines / sizeof *machines; i++)
    if (machines[i].arch && !n--) return &machines[i];
  return 0;
}

const Machine *machine_of_arch(int arch) {
  const Machine *best = machine_default("cuda");
  for (unsigned i = 0; i < sizeof machines / sizeof *machines; i++)
    if (machines[i].arch && machines[i].arch <= arch && machines[i].arch > best->arch) best = &machines[i];
  return best;
}
