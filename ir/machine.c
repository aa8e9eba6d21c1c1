#include "ir/machine.h"
#include <string.h>

// Figures from vendors' data sheets unless said otherwise. cache_bytes: what one core or block keeps of a row between passes;
// tile_bytes: half of a first cache of 32 KiB.
static const Machine machines[] = {
  // Two cores of a Zen 4 server, measured: non-temporal copy 43 GB/s, L2 1 MiB a core.
  { "cpu",  "c",    43,   340,  1 << 20,   16 << 10, 2,   300,   2,  64 },
  // None: rows of more than 16 f32 are long, so that tests reach what only long rows do.
  { "tiny", "c",    43,   340,  128,       64,       2,   300,   2,  64 },
  { "a100", "cuda", 1935, 19400, 164 << 10, 64 << 10, 3,  19500, 108, 16 },
  { "h100", "cuda", 3350, 33000, 227 << 10, 64 << 10, 3,  66900, 132, 16 },
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
