// run.h: what the parts of plait run share.
#ifndef PLAIT_CLI_RUN_H
#define PLAIT_CLI_RUN_H
#include "cli/cli.h"
#include "cli/npy.h"

typedef enum How { HOW_MISSING, HOW_DEFAULT, HOW_SCALAR, HOW_FILE, HOW_RANDOM, HOW_ZEROS, HOW_ONES, HOW_IOTA } How;

// One parameter of the entry and where its elements come from.
typedef struct Input {
  plait_param param;
  How how;
  const char *spec;           // behind the `=` of --in
  bool ranged; double lo, hi; // random:…:LO..HI
  char scalar[8];
  void *before;               // mut: the elements as given, for repeated runs
} Input;

// Where the kernels' tensors are: host memory (device NULL), or a GPU's. (memory.c)
typedef struct Memory { Cli *c; plait_device *device; void **own; int n, room; } Memory;
int memory_open(Memory *m, Cli *c, bool gpu, int number);
int memory_alloc(Memory *m, size_t bytes, void **out);
int memory_put(Memory *m, void *to, const void *from, size_t bytes);         // from the host
int memory_get(Memory *m, void *to, const void *from, size_t bytes);         // to the host
int memory_copy(Memory *m, const plait_tensor *t, bool filled, plait_tensor *out);
void memory_close(Memory *m);

typedef struct Run {
  Cli *c;
  const Args *a;
  const plait_entry *entry;
  plait_entry_info info;
  plait_build_options build;
  Stages stages;
  uint64_t seed;
  Input *input;               // info.nparams of them
  plait_tensor *params;       // the same, as plait_launch takes them
  plait_param *result;        // info.nresults of them
  plait_tensor *results;
  Memory memory;
  plait_tensor *in, *out;     // params and results where the kernels are; in host memory the same
  int64_t *dims;              // value of each dimension
} Run;

// Reads --in and --set, files included, and decides all extents; then makes the elements of the others. (inputs.c)
int inputs_read(Run *r);

// The file's view of a tensor: element type and extents as NumPy has them. (inputs.c)
int numpy_shape(const plait_param *p, const plait_tensor *t, int64_t extent[PLAIT_MAX_RANK]);

// Fills a tensor with what its input asks for. (generate.c)
int generate(Run *r, const Input *in, const plait_tensor *t, int position);

// Results and changed tensors: to --out, the rest as a summary. (outputs.c)
int outputs_check(Run *r);
int outputs_write(Run *r);

// --time N. (timing.c)
int time_runs(Run *r, const plait_exec *x, int64_t n);

// Index of a parameter (results: of a result) by name, -1 when there is none.
int param_index(const Run *r, const char *name);
int result_index(const Run *r, const char *name);
#endif
