// gpu.c: kernels for a GPU out of the loops that `lower` made.
//
// Runs in the place of `jam` and `vector`, last of all. Each kernel falls apart into launches (gpu_split.c), and each of these gets
// a schedule: which threads do what. After it the statements are those of one thread of a team: plan_print shows them.
#include "passes/gpu.h"

bool pass_gpu(Pipe *p) {
  if (!pipe_is_gpu(p)) return true;
  Gpu g = { .p = p, .plan = p->plan, .f = p->fn, .x = p->fn->x, .a = p->a, .scratch = p->scratch, .m = p->machine, .extents = { .a = p->scratch } };
  for (int i = 0; i < p->plan->kernels.n; i++) gpu_split(&g, p->plan->kernels.v[i]);
  p->plan->kernels.n = 0;
  for (int i = 0; i < g.out.n; i++) vec_push(p->a, &p->plan->kernels, g.out.v[i]);
  return true;
}
