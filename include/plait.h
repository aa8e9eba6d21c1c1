/* plait.h: the public interface of libplait, all of it.
 *
 * Plait is a language of tensor equations and a compiler that decides which equations share a kernel. This header
 * compiles program text, says what its entry points want, prepares one for a target and runs it on plain buffers;
 * it also shows what the compiler did and why.
 *
 *   plait_context *cx;       plait_context_create(NULL, &cx, NULL);
 *   plait_program *p;        plait_compile(cx, "a.plait", text, strlen(text), NULL, &p, &messages);
 *   const plait_entry *e;    plait_program_find(p, "rms_norm", &e, NULL);
 *   plait_exec *x;           plait_prepare(e, "c", NULL, &x, &messages);
 *   plait_launch(x, params, 2, results, 1, NULL, &messages);
 *
 * Rules that hold for every function unless it says otherwise:
 *
 * - Status. Functions that can fail return a plait_status; 0 is success. On failure no output is written but *messages.
 * - Messages. `plait_messages **messages` may be NULL. Otherwise it is set on every return: to NULL when there is
 *   nothing to say, else to a new object that the caller frees. Success may come with warnings.
 * - Text is UTF-8 and ends with NUL. A `const char *` that a function gives belongs to the object it came from and lives
 *   as long as it. A `char **` output is the caller's, to be released with plait_free.
 * - Objects keep what they need: a context may be freed before its programs, a program before its executables. An
 *   entry belongs to its program. Freeing NULL does nothing.
 * - Threads. Objects may be used by several threads at once; freeing one must be the last use of it. There is no global
 *   state, but for the pool of threads that run parallel kernels, which a process has once.
 * - Sized structs begin with struct_size, which the caller sets to sizeof; the rest of an options struct is zero for
 *   the defaults (`plait_build_options o = {0}; o.struct_size = sizeof o;`). Structs grow at their end only.
 * - Extents are in elements, the last dimension varies fastest, and tensors are dense.
 * - CUDA: streams and addresses of device memory are `void *`, so that no header of NVIDIA's is needed; a CUstream or
 *   cudaStream_t is passed as it is. The CUDA context that is current on a thread is the same after a call as before.
 * - Nothing is printed, nothing exits the process. Environment variables are read by plait_context_create alone.
 */
#ifndef PLAIT_H
#define PLAIT_H
#include <stddef.h>
#include <stdint.h>

#define PLAIT_VERSION_MAJOR 0
#define PLAIT_VERSION_MINOR 1
#define PLAIT_VERSION_PATCH 0
#define PLAIT_ABI 1
#define PLAIT_MAX_RANK 8

#if defined(_WIN32)
#define PLAIT_API
#else
#define PLAIT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Versions and status ------------------------------------------------------------------------------------- */

/* "0.1.0", of the library that runs (the macros are of the header). Never fails. */
PLAIT_API const char *plait_version(void);

/* PLAIT_ABI of the library that runs. A program built with another number must not go on. */
PLAIT_API int plait_abi(void);

typedef enum plait_status {
  PLAIT_OK = 0,
  PLAIT_ERROR_PROGRAM = -1,     /* the program text is wrong; the messages say where */
  PLAIT_ERROR_DATA = -2,        /* arguments do not fit, or a value in them cannot be (a subscript out of range) */
  PLAIT_ERROR_USAGE = -3,       /* this interface was used wrongly: a null pointer, an unknown name or option */
  PLAIT_ERROR_ENVIRONMENT = -4, /* the machine: no compiler, no memory, a file that cannot be read */
  PLAIT_ERROR_INTERNAL = -5,    /* a fault of the compiler; please report the program */
  PLAIT_ERROR_LIMIT = -6        /* a limit was reached; the message names it */
} plait_status;

/* One line without a full stop. Never NULL, also for numbers that are no status. */
PLAIT_API const char *plait_status_text(plait_status s);

/* Releases text that a `char **` output gave. NULL is allowed. */
PLAIT_API void plait_free(void *text);

/* ---- Messages ------------------------------------------------------------------------------------------------ */

typedef struct plait_messages plait_messages;

typedef enum plait_severity { PLAIT_ERROR, PLAIT_WARNING } plait_severity;

/* A place in a source file. file NULL: no place. Lines and columns count from 1, columns in bytes; begin and end are
 * byte offsets, end excluded. */
typedef struct plait_span {
  const char *file;
  int line, column, end_line, end_column;
  size_t begin, end;
} plait_span;

typedef struct plait_message {
  size_t struct_size;
  const char *code;             /* "PLT0404"; plait_code_find explains it */
  plait_severity severity;
  plait_status status;          /* that a call fails with for this message; PLAIT_OK for warnings */
  const char *text;             /* lower case, without full stop */
  plait_span at;
  size_t nlabels, nnotes;       /* further places and remarks: plait_message_label, plait_message_note */
  const char *help;             /* what to do; NULL when there is no advice */
  const char *fix;              /* text to put in fix_at's place; NULL when there is none */
  plait_span fix_at;
} plait_message;

/* What went wrong inside a launch; names are of the program. */
typedef struct plait_fault {
  size_t struct_size;
  const char *equation;         /* tensor whose equation was computed; NULL when none */
  const char *tensor;           /* tensor read or stored to; NULL when none */
  int subscript;                /* which one, from 0; -1 when none */
  int64_t value;                /* of the subscript */
  int64_t extent;               /* allowed: 0 to extent - 1 */
} plait_fault;

typedef enum plait_style {
  PLAIT_STYLE_TEXT,             /* source line, caret, labels, notes and help */
  PLAIT_STYLE_COLOR,            /* the same with ANSI colours */
  PLAIT_STYLE_SHORT,            /* one line each: file:line:column: severity[code]: text */
  PLAIT_STYLE_JSON              /* an array: code, severity, message, file, line, column, labels, notes, help, fix */
} plait_style;

/* Messages kept (at most 20 of one call); 0 for NULL. They are sorted by place. */
PLAIT_API size_t plait_messages_count(const plait_messages *m);
/* Message i. USAGE when i is out of range. */
PLAIT_API plait_status plait_messages_get(const plait_messages *m, size_t i, plait_message *out);
/* Label k of message i: a further place and its text. USAGE when out of range. */
PLAIT_API plait_status plait_message_label(const plait_messages *m, size_t i, size_t k, plait_span *at, const char **text);
/* Note k of message i, NULL when out of range. */
PLAIT_API const char *plait_message_note(const plait_messages *m, size_t i, size_t k);
/* The fault behind message i of a failed launch. USAGE when that message has none. */
PLAIT_API plait_status plait_message_fault(const plait_messages *m, size_t i, plait_fault *out);
/* All messages as text. *size (or NULL) gets its bytes without the NUL. */
PLAIT_API plait_status plait_messages_render(const plait_messages *m, plait_style style, char **text, size_t *size);
PLAIT_API void plait_messages_free(plait_messages *m);

/* ---- Contexts ------------------------------------------------------------------------------------------------ */

typedef struct plait_context plait_context;

typedef enum plait_compiler {
  PLAIT_COMPILER_AUTO,          /* Clang inside the process when it can be loaded, else a compiler of the system */
  PLAIT_COMPILER_CLANG,         /* Clang inside the process */
  PLAIT_COMPILER_CC             /* a compiler of the system, run as a process */
} plait_compiler;

typedef enum plait_gpu_compiler {
  PLAIT_GPU_COMPILER_AUTO,      /* NVRTC when it can be loaded and is no newer than the driver, else Clang inside the process */
  PLAIT_GPU_COMPILER_NVRTC,     /* NVIDIA's: machine code for the devices it knows */
  PLAIT_GPU_COMPILER_CLANG      /* Clang inside the process: PTX, which the driver translates */
} plait_gpu_compiler;

typedef enum plait_imports {
  PLAIT_IMPORTS_FILES,          /* `import "a.plait"` reads files, relative to the importing file */
  PLAIT_IMPORTS_NONE,           /* an import is an error; for text from strangers */
  PLAIT_IMPORTS_READER          /* the context's reader is asked */
} plait_imports;

/* Gives the text of an imported file; `path` is what the import names, joined to the folder of the importing file. On
 * success fills *text (which must stay valid until plait_compile returns) and *size and returns 0; anything else means
 * that there is no such file. Called by plait_compile, on its thread. */
typedef int (*plait_reader)(void *user, const char *path, const char **text, size_t *size);

typedef struct plait_context_options {
  size_t struct_size;
  int threads;                  /* that parallel kernels use, at most; 0: all cores the process may use. One pool serves
                                   the process: the context created last decides */
  plait_compiler compiler;
  const char *cc;               /* absolute path of the system compiler; NULL: clang, gcc or cc from PATH */
  plait_imports imports;
  plait_reader reader;          /* for PLAIT_IMPORTS_READER */
  void *reader_user;
  size_t max_source_bytes;      /* of one file; 0: the built-in 4 MiB, which cannot be raised */
  int ignore_environment;       /* 1: no environment variable has any effect */
  const char *march;            /* compile for at most this machine: native (NULL), avx512, avx2, sse4, sse2 */
  plait_gpu_compiler gpu_compiler;
  const char *nvrtc;            /* absolute path of NVRTC's library; NULL: plait_doctor_create says where it is looked for */
  const char *cuda_driver;      /* the same of the CUDA driver's */
} plait_context_options;

/* Makes a context; options may be NULL. Where an option is zero its environment variable counts (plait_setting_get lists them); one that
 * begins with PLAIT_ and is unknown gives a warning. USAGE for values that no option has, ENVIRONMENT without memory. */
PLAIT_API plait_status plait_context_create(const plait_context_options *options, plait_context **out, plait_messages **messages);
PLAIT_API void plait_context_free(plait_context *cx);

/* Environment variable i and what it does; false (0) when out of range. */
PLAIT_API int plait_setting_get(size_t i, const char **name, const char **what);

/* ---- Types --------------------------------------------------------------------------------------------------- */

typedef enum plait_dtype {
  PLAIT_F64 = 1, PLAIT_F32 = 2, PLAIT_F16 = 3, PLAIT_BF16 = 4, PLAIT_F8E4M3 = 5, PLAIT_F8E5M2 = 6,
  PLAIT_I64 = 7, PLAIT_I32 = 8, PLAIT_I16 = 9, PLAIT_I8 = 10, PLAIT_I4 = 11,
  PLAIT_U64 = 12, PLAIT_U32 = 13, PLAIT_U16 = 14, PLAIT_U8 = 15, PLAIT_U4 = 16,
  PLAIT_BOOL = 17,
  PLAIT_BLOCKS = 64             /* values in a storage format of the program */
} plait_dtype;

/* "bf16"; "blocks" for PLAIT_BLOCKS; NULL for numbers that are no dtype. */
PLAIT_API const char *plait_dtype_name(plait_dtype d);
/* The dtype of a name, 0 when there is none. */
PLAIT_API plait_dtype plait_dtype_find(const char *name);
/* Bits of one stored value (4 for i4 and u4, of which two share a byte, the low half first); 0 for PLAIT_BLOCKS. */
PLAIT_API int plait_dtype_bits(plait_dtype d);
/* 'f' float, 'i' signed, 'u' unsigned, 'b' bool, 'x' blocks, 0 unknown. */
PLAIT_API int plait_dtype_kind(plait_dtype d);
/* The NumPy type that carries it in a file: "<f4"; the unsigned integer of its size where NumPy has none; for i4, u4 and
 * blocks bytes, "|u1". NULL when unknown. */
PLAIT_API const char *plait_dtype_numpy(plait_dtype d);

/* A tensor in memory, owned by the caller: dense and row-major, aligned to its element (formats: any address). Two i4 or
 * u4 share a byte, so their last extent is even. bool: a byte, non-zero true. A scalar is a tensor of rank 0. */
typedef struct plait_tensor {
  void *data;
  plait_dtype dtype;
  int rank;                     /* -1: extents not known (plait_entry_infer only) */
  int64_t extent[PLAIT_MAX_RANK];
  const int64_t *stride;        /* NULL: dense; else, in elements, and they must describe a dense tensor */
  size_t bytes;                 /* of the memory at data; must be at least what the extents ask for */
  const char *format;           /* PLAIT_BLOCKS: the format's name, or NULL: as the parameter says */
} plait_tensor;

/* ---- Programs ------------------------------------------------------------------------------------------------ */

typedef struct plait_program plait_program;
typedef struct plait_entry plait_entry;

typedef struct plait_compile_options {
  size_t struct_size;
  void (*timing)(void *user, const char *stage, double ms);   /* called for parse and sema; NULL: not wanted */
  void *user;
} plait_compile_options;

/* Parses and checks a program: text of `size` bytes, copied; name is the path that messages show and that imports are
 * relative to. options may be NULL. PROGRAM or LIMIT with messages; ENVIRONMENT for an import that cannot be read. */
PLAIT_API plait_status plait_compile(plait_context *cx, const char *name, const char *text, size_t size,
                                     const plait_compile_options *options, plait_program **out, plait_messages **messages);
PLAIT_API void plait_program_free(plait_program *p);

/* The same text laid out in the one way that `plait fmt` knows. PROGRAM when it does not parse. */
PLAIT_API plait_status plait_format(plait_context *cx, const char *name, const char *text, size_t size,
                                    char **out, size_t *out_size, plait_messages **messages);

/* Entry points: the functions of the file with concrete types, in its order. */
PLAIT_API size_t plait_program_entry_count(const plait_program *p);
PLAIT_API const plait_entry *plait_program_entry(const plait_program *p, size_t i);      /* NULL when out of range */
/* An entry by name; name NULL: the only one. USAGE, with a message that lists them, when there is no such or more than one. */
PLAIT_API plait_status plait_program_find(const plait_program *p, const char *name, const plait_entry **out,
                                          plait_messages **messages);

/* ---- Signatures ---------------------------------------------------------------------------------------------- */

typedef struct plait_entry_info {
  size_t struct_size;
  const char *name;
  const char *signature;        /* one line of source: "rms_norm(x: f32[N, D], …) -> y: f32[N, D]" */
  size_t nparams, nresults, ndims, nequations;
  plait_span at;                /* the function */
} plait_entry_info;

typedef enum plait_kind { PLAIT_TENSOR, PLAIT_SCALAR, PLAIT_MUT, PLAIT_RESULT } plait_kind;

typedef struct plait_param {
  size_t struct_size;
  const char *name;
  plait_kind kind;
  plait_dtype dtype;
  const char *format;           /* PLAIT_BLOCKS: name of the format; else NULL */
  int64_t block_values;         /* PLAIT_BLOCKS: values and bytes of one block; else 1 and 0 */
  int64_t block_bytes;
  int rank;
  const char *extent[PLAIT_MAX_RANK];   /* as source: "N", "H * E" */
  const char *init;             /* a scalar's default as source; NULL: an argument is needed */
} plait_param;

typedef struct plait_field {    /* of a storage format */
  size_t struct_size;
  const char *name;
  plait_dtype dtype;
  int count;                    /* elements */
  int offset;                   /* bytes from the start of the block */
} plait_field;

/* What an entry is called and has. */
PLAIT_API plait_status plait_entry_get(const plait_entry *e, plait_entry_info *out);
/* Parameter i, or result i. USAGE when i is out of range. */
PLAIT_API plait_status plait_entry_param(const plait_entry *e, size_t i, plait_param *out);
PLAIT_API plait_status plait_entry_result(const plait_entry *e, size_t i, plait_param *out);
/* Name of dimension i; NULL when out of range. */
PLAIT_API const char *plait_entry_dim(const plait_entry *e, size_t i);
/* Field i of a format that the entry uses; USAGE when there is no such format or field. */
PLAIT_API plait_status plait_entry_field(const plait_entry *e, const char *format, size_t i, plait_field *out);

typedef struct plait_dim { const char *name; int64_t value; } plait_dim;
typedef struct plait_shape { int rank; int64_t extent[PLAIT_MAX_RANK]; } plait_shape;

/* Extents from extents. `params` (nparams of them, in order) may have rank -1 where the shape is not known, and data NULL
 * for scalars that keep their default; the data of other scalars is read. `dims` gives dimensions known otherwise.
 * Fills, each unless NULL: dim_values (ndims of the entry), param_shapes, result_shapes. DATA when the extents disagree
 * with each other or with the program, or do not decide all dimensions: the message names the ones that are missing. USAGE
 * for a dimension in `dims` that the entry does not have. */
PLAIT_API plait_status plait_entry_infer(const plait_entry *e, const plait_tensor *params, size_t nparams,
                                         const plait_dim *dims, size_t ndims, int64_t *dim_values,
                                         plait_shape *param_shapes, plait_shape *result_shapes, plait_messages **messages);

/* Bytes that a tensor of this parameter or result with these extents takes; -1 when the extents do not fit its type. */
PLAIT_API int64_t plait_param_bytes(const plait_param *p, const plait_shape *shape);

/* ---- Building and running ------------------------------------------------------------------------------------ */

typedef struct plait_exec plait_exec;

/* Options of everything that runs the passes. Strings and dims are copied. dump and timing are called on the caller's
 * thread and must not call the library. */
/* "cuda", on sm_90 and newer: when a kernel may take its place while the one before it in its stream ends (programmatic
 * dependent launch). It then waits for that one's end before it touches memory, so this changes times and nothing else. */
typedef enum plait_dependent {
  PLAIT_DEPENDENT_LATE,         /* when the blocks of the one before have ended */
  PLAIT_DEPENDENT_EARLY,        /* when they have all begun: takes room from kernels of other streams */
  PLAIT_DEPENDENT_OFF
} plait_dependent;

typedef struct plait_build_options {
  size_t struct_size;
  const plait_dim *dims;        /* dimensions known now: the code is made for them, and a launch with others is refused */
  size_t ndims;
  const char *disable;          /* passes to leave out, separated by commas (plait_pass_get lists them) */
  const char *stop_after;       /* plait_emit: show the program after this pass */
  const char *dump_after;       /* a pass, or "all": calls dump */
  int verify;                   /* 1: check the invariants of the IR between passes */
  int check;                    /* 1: interpret the program before and after each pass on equations, on random inputs,
                                   and compare; calls dump with the pass "check-passes" and what was checked */
  int no_fuse;                  /* 1: every equation becomes a kernel of its own */
  void (*dump)(void *user, const char *pass, const char *text);
  void (*timing)(void *user, const char *stage, double ms);    /* each pass, emit, compile; NULL: not wanted */
  void *user;
  int device;                   /* "cuda": number of the device, from 0 */
  const char *arch;             /* "cuda": the architecture to make code for, as in "sm_90"; NULL: that of the device;
                                   plait_emit and plait_emit_code: "sm_90" */
  plait_dependent dependent;    /* "cuda", plait_emit, plait_emit_code */
} plait_build_options;

/* Makes an entry ready to run on target "c" (compiled for this machine), "cuda" (on an NVIDIA GPU) or "ref" (the
 * interpreter, the meaning of the language: slow). Takes milliseconds to seconds; prepare once, launch often. options may
 * be NULL. "cuda": some of the work may be left to the first launch with new values of the dimensions that decide how
 * kernels are made; plait_exec_scratch with the same extents does it beforehand.
 * PROGRAM (a `where kernels` that cannot be kept), USAGE, LIMIT (a kernel beyond what the device can do), ENVIRONMENT (no
 * compiler, no driver, no device), INTERNAL. */
PLAIT_API plait_status plait_prepare(const plait_entry *e, const char *target, const plait_build_options *options,
                                     plait_exec **out, plait_messages **messages);
/* "cuda": waits for the device first; not while a stream of the process is captured. */
PLAIT_API void plait_exec_free(plait_exec *x);

typedef struct plait_exec_info {
  size_t struct_size;
  const char *target;           /* "c", "cuda", "ref" */
  const char *compiler;         /* what made the code: "clang 19.1.7 in process", "NVRTC 13.0"; NULL for "ref" and before
                                   anything was compiled */
  size_t nkernels;
  double build_ms;              /* passes, printing and compiling; "cuda": of all variants so far */
  const char *text;             /* what was compiled; NULL for "ref"; "cuda": of the first variant, NULL before */
  const char *device;           /* "cuda": "NVIDIA H100 80GB HBM3"; else NULL */
  const char *arch;             /* "cuda": "sm_90"; else NULL */
  size_t nvariants;             /* "cuda": sets of dimensions that code has been made for */
  size_t nfunctions;            /* "cuda": plait_exec_function has that many */
} plait_exec_info;

/* How it was made. */
PLAIT_API plait_status plait_exec_get(const plait_exec *x, plait_exec_info *out);

/* What a kernel on a GPU takes of a multiprocessor. -1 where it is not known: the compiler tells of spills only when it
 * makes machine code. */
typedef struct plait_function {
  size_t struct_size;
  const char *name;
  const char *dims;             /* the dimensions that it was made for: "D = 4096"; "" when it serves all */
  int registers;                /* of a thread */
  int shared_bytes;             /* of a block, as far as it is fixed */
  int stack_bytes;              /* of a thread, in memory */
  int spill_store_bytes, spill_load_bytes;   /* of a thread: values that found no register */
} plait_function;

/* Kernel i of those that were compiled so far. USAGE when i is out of range. */
PLAIT_API plait_status plait_exec_function(const plait_exec *x, size_t i, plait_function *out);
/* All of it: target, compiler, device, arch, kernels, variants, build_ms, functions[] {name, dims, registers, …}. */
PLAIT_API plait_status plait_exec_json(const plait_exec *x, char **text, size_t *size);

/* Bytes of scratch memory that a launch with these parameters uses ("cuda": of device memory), and its alignment. DATA when
 * they do not fit. "cuda": whatever has to be compiled for these extents is compiled. */
PLAIT_API plait_status plait_exec_scratch(const plait_exec *x, const plait_tensor *params, size_t nparams,
                                          size_t *bytes, size_t *alignment, plait_messages **messages);

typedef struct plait_launch_options {
  size_t struct_size;
  void *scratch;                /* NULL: allocated for the call; "cuda": in the order of the stream */
  size_t scratch_bytes;
  void *stream;                 /* "cuda": the CUstream to launch on; NULL: the default stream */
  int wait;                     /* "cuda": 1: return when it is done, as the other targets do */
  double *ms;                   /* NULL, or gets the time that it took in ms, on the device for "cuda", which then waits */
  int trust_pointers;           /* "cuda": 1: do not ask the driver whether it knows the tensors' addresses */
  int replay;                   /* "cuda": 1: the same arguments will come again: a program of several kernels is kept as a
                                   CUDA graph from the second time on, for the last 4 sets of arguments. Of no effect with
                                   `wait` or `ms`; not while the stream is captured */
} plait_launch_options;

/* Runs it and returns when it is done. params and results in the order of the signature; results' memory is the
 * caller's, with the extents that plait_entry_infer gives; `mut` parameters are changed in place; scalars may have data
 * NULL to take their default. options may be NULL.
 *
 * Everything that can be checked beforehand is: types, ranks, extents and their agreement, bytes, alignment, null
 * pointers, `where` conditions, overlap of what is written with any other argument. A call refused for one of these
 * (DATA, USAGE) has changed nothing. Errors in data met on the way (DATA, see plait_message_fault) leave the results and
 * `mut` tensors with unspecified values, and nothing else changed. Several launches of one exec may run at once on
 * different results.
 *
 * "cuda": tensors are in device memory (data is its address), scalars in host memory. Without `wait` the kernels are only
 * put on the stream: tensors and scratch must live until they have run, and plait_exec_wait tells of errors in data.
 * Once what the extents need is compiled, a launch takes no lock; with scratch of the caller's it allocates no device
 * memory and may be captured into a CUDA graph, which the exec must outlive. LIMIT without device memory for the scratch;
 * ENVIRONMENT when the driver reports an error, which may come from an earlier launch. */
PLAIT_API plait_status plait_launch(const plait_exec *x, const plait_tensor *params, size_t nparams,
                                    const plait_tensor *results, size_t nresults, const plait_launch_options *options,
                                    plait_messages **messages);

/* "cuda": waits for the stream, then reports the first error in data of this exec's launches without `wait` since the last
 * call (DATA, see plait_message_fault); launches on other streams may be among them as far as they have run. ENVIRONMENT when
 * the driver reports an error. Other targets: nothing is left to wait for. */
PLAIT_API plait_status plait_exec_wait(const plait_exec *x, void *stream, plait_messages **messages);

/* ---- GPUs ---------------------------------------------------------------------------------------------------- */

/* A CUDA device, for callers without CUDA code of their own: memory and waiting. It is used through its primary context,
 * as the CUDA runtime does, so memory from cudaMalloc or PyTorch can be launched on as well. */
typedef struct plait_device plait_device;

typedef struct plait_device_info {
  size_t struct_size;
  int number;
  const char *name;             /* "NVIDIA H100 80GB HBM3" */
  const char *arch;             /* "sm_90" */
  int multiprocessors;
  int shared_bytes;             /* that a block can have */
  int driver;                   /* 12040: the driver is of CUDA 12.4 */
  size_t memory_bytes, free_bytes;
} plait_device_info;

/* Devices that the driver reports. ENVIRONMENT without a driver. */
PLAIT_API plait_status plait_device_count(plait_context *cx, int *count, plait_messages **messages);
/* Device `number`, from 0. ENVIRONMENT when there is none. */
PLAIT_API plait_status plait_device_open(plait_context *cx, int number, plait_device **out, plait_messages **messages);
/* Memory that was allocated stays so. */
PLAIT_API void plait_device_close(plait_device *d);
/* What it is, and how much of its memory is free now. */
PLAIT_API plait_status plait_device_get(const plait_device *d, plait_device_info *out);

/* Device memory, aligned to 256 bytes at least; 0 bytes give NULL. LIMIT, with the bytes asked for and those free, when
 * there is not as much; nothing else is lost then. */
PLAIT_API plait_status plait_device_alloc(plait_device *d, size_t bytes, void **out, plait_messages **messages);
/* Frees what plait_device_alloc gave, after the device's work so far. NULL does nothing. */
PLAIT_API void plait_device_free(plait_device *d, void *memory);
/* Copies from host to device memory, behind what the stream has to do, and returns when it is done. */
PLAIT_API plait_status plait_device_upload(plait_device *d, void *to, const void *from, size_t bytes, void *stream,
                                           plait_messages **messages);
/* The same from device to host memory. */
PLAIT_API plait_status plait_device_download(plait_device *d, void *to, const void *from, size_t bytes, void *stream,
                                             plait_messages **messages);
/* Waits for all that the stream was given. Errors in data are not told here: see plait_exec_wait. */
PLAIT_API plait_status plait_device_wait(plait_device *d, void *stream, plait_messages **messages);

/* ---- Looking inside ------------------------------------------------------------------------------------------ */

/* The program at a stage, as text: "fn" (equations, everything inlined), "fused" (after the passes on equations),
 * "schedule" (which equations share a kernel), "kernel" (loops), "c" (the C that would be compiled), "cuda" (CUDA C),
 * "ptx". With options->stop_after, `stage` may be NULL. header (or NULL) gets for "c" the header that declares the entry
 * point, for "cuda" that of the function for the host which launches the kernels, for others nothing. */
PLAIT_API plait_status plait_emit(const plait_entry *e, const char *stage, const plait_build_options *options,
                                  char **text, char **header, plait_messages **messages);

/* Machine code for a GPU: "cubin" for options->arch, or "ptx". *size gets its bytes. Needs a compiler for GPUs but no GPU:
 * ENVIRONMENT when there is none, or none for that architecture. */
PLAIT_API plait_status plait_emit_code(const plait_entry *e, const char *kind, const plait_build_options *options, char **code,
                                       size_t *size, plait_messages **messages);

/* What the kernels of an entry move and compute for given dimensions. */
typedef struct plait_report plait_report;

typedef struct plait_cost {
  size_t struct_size;
  double bytes_unfused;         /* each equation a kernel of its own */
  double bytes_fused;           /* as compiled */
  double bytes_minimum;         /* parameters once, as far as used; results once */
  double flops;
  double seconds;               /* by the model of the machine: the sum over kernels */
  size_t nkernels, nremarks;
  int nequations;               /* kernels without fusion */
  const char *machine;          /* whose roofline: */
  double gbs, gflops;           /* bytes from memory and operations, each 10^9 a second */
  double launch_us;             /* of one kernel */
} plait_cost;

typedef struct plait_kernel {
  size_t struct_size;
  const char *name;
  size_t nequations, ntensors;
  double bytes, flops;
  double seconds;               /* by the model of the machine, its start included */
} plait_kernel;

typedef struct plait_traffic { size_t struct_size; const char *tensor; double read_bytes, write_bytes; } plait_traffic;

typedef struct plait_remark {   /* why two equations stayed in different kernels */
  size_t struct_size;
  const char *code;             /* "PLF0102" */
  const char *reason;           /* "reduction-boundary" */
  const char *first, *second;   /* the tensors of the two equations; second NULL when one is concerned */
  plait_span first_at, second_at;
  double bytes;                 /* that one kernel would save */
  const char *text;             /* one or two sentences */
} plait_remark;

/* Compiles without running and counts. Every dimension needs a value in options->dims, which here may also name integer
 * scalars that extents depend on (else they count with their default, or as 0). DATA, naming them, when dimensions have none. */
PLAIT_API plait_status plait_explain(const plait_entry *e, const plait_build_options *options, plait_report **out,
                                     plait_messages **messages);
/* The totals; then kernel k, tensor i of kernel k, remark i. USAGE when out of range. */
PLAIT_API plait_status plait_report_cost(const plait_report *r, plait_cost *out);
PLAIT_API plait_status plait_report_kernel(const plait_report *r, size_t k, plait_kernel *out);
/* Equation i of kernel k as source; NULL when out of range. */
PLAIT_API const char *plait_report_equation(const plait_report *r, size_t k, size_t i);
PLAIT_API plait_status plait_report_traffic(const plait_report *r, size_t k, size_t i, plait_traffic *out);
PLAIT_API plait_status plait_report_remark(const plait_report *r, size_t i, plait_remark *out);
/* All of it: kernels[] {name, equations[], reads[], writes[], bytes, flops, seconds}, bytes_unfused, bytes_fused, bytes_minimum,
 * flops, remarks[] {code, equations[], bytes, text}. */
PLAIT_API plait_status plait_report_json(const plait_report *r, char **text, size_t *size);
PLAIT_API void plait_report_free(plait_report *r);

/* ---- What there is to know ----------------------------------------------------------------------------------- */

typedef struct plait_code {
  size_t struct_size;
  const char *id;               /* "PLT0404", "PLF0102" */
  const char *title;            /* a short line */
  const char *text;             /* the explanation: Markdown paragraphs */
  const char *failing;          /* a program that shows it; "" when no program can */
  const char *mended;           /* the same program put right */
  plait_status status;          /* that calls fail with; PLAIT_OK for warnings and remarks */
} plait_code;

/* Codes of messages and remarks, 0 <= i < plait_code_count(). */
PLAIT_API size_t plait_code_count(void);
PLAIT_API plait_status plait_code_get(size_t i, plait_code *out);
/* By id, in any case of letters. USAGE when there is none. */
PLAIT_API plait_status plait_code_find(const char *id, plait_code *out);

/* Pass i in the order in which they run; *required: cannot be disabled. False (0) when out of range. */
PLAIT_API int plait_pass_get(size_t i, const char **name, const char **what, int *required);

/* What the machine offers: compilers, threads, vector units. Runs no compiler but to ask for its version. */
typedef struct plait_doctor plait_doctor;
typedef struct plait_finding {
  size_t struct_size;
  const char *name;             /* "clang in process" */
  int good;                     /* 1: works; 0: missing, and `help` says what that costs and how to mend it */
  const char *text;             /* what was found and where */
  const char *help;             /* NULL when there is nothing to do */
  const char *places;           /* where it was looked for, one place a line: "/usr/lib64: not there"; NULL: not told */
} plait_finding;

/* Looks around; then what was found, one by one. */
PLAIT_API plait_status plait_doctor_create(plait_context *cx, plait_doctor **out, plait_messages **messages);
PLAIT_API size_t plait_doctor_count(const plait_doctor *d);
PLAIT_API plait_status plait_doctor_finding(const plait_doctor *d, size_t i, plait_finding *out);
/* All of it: {findings: [{name, good, text, help, places: []}], usable: bool, cuda: bool}. */
PLAIT_API plait_status plait_doctor_json(const plait_doctor *d, char **text, size_t *size);
PLAIT_API void plait_doctor_free(plait_doctor *d);

/* ---- Values -------------------------------------------------------------------------------------------------- */

/* Reads n values from position `first` of a dense tensor as doubles (64-bit integers are rounded). e: the entry whose
 * program has the format, for PLAIT_BLOCKS; else it may be NULL. */
PLAIT_API plait_status plait_values_read(const plait_entry *e, const plait_tensor *t, int64_t first, int64_t n, double *out);

/* Stores n doubles from position `first`, cast as the language casts (not PLAIT_BLOCKS). */
PLAIT_API plait_status plait_values_write(const plait_tensor *t, int64_t first, int64_t n, const double *values);

/* Parses a scalar as written in a program ("-3", "0x10", "1e-5", "inf", "nan", "true") and stores it exactly as dtype at
 * out, which has room for 8 bytes. DATA when it is no number or does not fit. */
PLAIT_API plait_status plait_scalar_parse(plait_dtype dtype, const char *text, void *out);

#ifdef __cplusplus
}
#endif
#endif
