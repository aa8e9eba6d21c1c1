// launches.c: how the kernels of a printed plan are started, and the generator of CUDA text that the runtime asks.
//
// The passes (gpu.c) have given each kernel its grid; here it becomes a Launch with the arguments that the printed text takes.
#include "codegen/emit.h"
#include "codegen/launch.h"
#include <string.h>

static void add_arg(const Plan *p, Launch *l, LaunchArg arg) {
  (void)p;
  l->arg[l->nargs++] = arg;
}

static void take_args(Emit *e, const Kernel *k, Launch *l) {
  const Params *params = map_getp(&e->params, k);
  l->arg = arena_array(e->p->a, LaunchArg, params->list.n + 1);
  for (int i = 0; i < params->list.n; i++) add_arg(e->p, l, (LaunchArg){.dim = params->list.v[i].dim, .t = params->list.v[i].t});
  if (params->faults) add_arg(e->p, l, (LaunchArg){.fault = true});
}

bool cu_dependent(const Emit *e) { return e->opt->dependent != DEPENDENT_OFF && e->opt->gpu->arch >= 90; }

void launches_of_plan(Emit *e, Launches *out) {
  for (int i = 0; i < e->p->kernels.n; i++) {
    const Kernel *k = e->p->kernels.v[i];
    const Grid *g = k->grid;
    const char *name = names_of(&e->names, k);
    const Params *params = map_getp(&e->params, k);
    Launch l = {.function = arena_strndup(e->p->a, name, strlen(name)), .blocks = g->blocks, .threads = g->threads, .shared_bytes = g->shared_bytes,
                .when = g->when, .from = params->from, .to = params->to, .cluster = g->cluster > 1 ? g->cluster : 0, .dependent = cu_dependent(e)};
    take_args(e, k, &l);
    vec_push(e->p->a, out, l);
  }
}

static bool emit(const Plan *p, const EmitOptions *opt, int arch, Buf *text, Launches *launches) {
  GpuText gpu = {.arch = arch, .launches = launches};
  EmitOptions o = {.target = &target_cuda, .jit = opt->jit, .line = opt->line, .dependent = opt->dependent, .gpu = &gpu};
  emit_plan(p, &o, text, opt->header);
  size_t before = launches->n ? text->n - launches->v[launches->n - 1].to : 0;      // kernels end the text
  for (int i = 0; i < launches->n && opt->jit; i++) launches->v[i].from += before, launches->v[i].to += before;
  return true;
}

static void add_dim(const Plan *p, const Dim *d, LaunchDims *dims) {
  for (int i = 0; i < dims->n; i++)
    if (dims->v[i] == d) return;
  vec_push(p->a, dims, d);
}

static void dims(const Plan *p, LaunchDims *out) {
  for (int i = 0; i < p->kernels.n; i++)
    for (int k = 0; k < p->kernels.v[i]->grid->wants.n; k++) add_dim(p, p->kernels.v[i]->grid->wants.v[k], out);
}

const CudaGenerator cuda_generator = {emit, dims, cuda_library};
