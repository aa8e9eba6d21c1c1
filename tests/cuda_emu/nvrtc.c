// nvrtc.c: libnvrtc.so.13 without NVIDIA: compiles CUDA C for the emulator.
//
// What it gives out as cubin is a shared library of this machine, as PTX the text (ptx.h). Its log has ptxas's lines for
// each kernel when they are asked for; registers and spills in them are settings, shared memory is counted.
#include "ptx.h"
#include "settings.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum nvrtcResult {
  NVRTC_SUCCESS, NVRTC_ERROR_OUT_OF_MEMORY, NVRTC_ERROR_PROGRAM_CREATION_FAILURE, NVRTC_ERROR_INVALID_INPUT, NVRTC_ERROR_INVALID_PROGRAM,
  NVRTC_ERROR_INVALID_OPTION, NVRTC_ERROR_COMPILATION, NVRTC_ERROR_BUILTIN_OPERATION_FAILURE, NVRTC_RESULTS,
} nvrtcResult;

typedef struct Program Program;
struct Program {
  char *text, file[64];
  char *log;
  void *cubin; size_t cubin_bytes;
  char *ptx;
  // Of the options.
  int arch; char feature;
  bool virtual_arch, verbose;
  char *define[32]; int ndefines;
};
typedef Program *nvrtcProgram;

#define NVRTC_EXPORT __attribute__((visibility("default")))
// CUDA 13.0's.
static const int archs[] = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};
enum { NARCHS = sizeof archs / sizeof *archs, DEFAULT_ARCH = 75, STATIC_LIMIT = 48 << 10, NVRTC_MAX_OPTIONS = 64 };

// ---- the log -----------------------------------------------------------------------------------------------------

static void say(Program *p, const char *s) {
  size_t n = p->log ? strlen(p->log) : 0;
  char *log = realloc(p->log, n + strlen(s) + 1);
  if (!log) return;
  strcpy(log + n, s);
  p->log = log;
}

static void say_kernel(Program *p, const Settings *s, const EmuModule *m, const EmuKernel *k) {
  char text[512], shared[48] = "", arch[16];
  size_t bytes = emu_shared_bytes(m, k);
  snprintf(arch, sizeof arch, "sm_%d%.1s", p->arch, p->feature ? &p->feature : "");
  if (bytes) snprintf(shared, sizeof shared, ", %zu bytes smem", bytes);
  snprintf(text, sizeof text,
           "ptxas info    : Compiling entry function '%s' for '%s'\nptxas info    : Function properties for %s\n"
           "ptxas         .     %d bytes stack frame, %d bytes spill stores, %d bytes spill loads\nptxas info    : Used %d registers, used %d barriers%s\n"
           "ptxas info    : Compile time = 1.000 ms\n",
           k->name, arch, k->name, s->spill, s->spill, s->spill, s->registers, bytes != 0, shared);
  say(p, text);
}

// What ptxas refuses, and what it says when asked.
static nvrtcResult look_at_kernels(Program *p, const Settings *s, EmuFault *f) {
  EmuModule *m = emu_module_load(p->cubin, p->cubin_bytes, f);
  nvrtcResult r = NVRTC_SUCCESS;
  if (!m) return NVRTC_ERROR_BUILTIN_OPERATION_FAILURE;
  if (p->verbose) say(p, "ptxas info    : 0 bytes gmem\n");
  for (int i = 0; i < emu_module_kernels(m); i++) {
    const EmuKernel *k = emu_module_kernel(m, i);
    if (p->verbose) say_kernel(p, s, m, k);
    if (emu_shared_bytes(m, k) <= STATIC_LIMIT) continue;
    char text[256];
    snprintf(text, sizeof text, "ptxas error   : Entry function '%s' uses too much shared data (0x%zx bytes, 0xc000 max)\n", k->name, emu_shared_bytes(m, k));
    say(p, text);
    r = NVRTC_ERROR_COMPILATION;
  }
  emu_module_free(m);
  return r;
}

// ---- options -----------------------------------------------------------------------------------------------------

static bool begins(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

static bool is_supported(int arch) {
  for (int i = 0; i < NARCHS; i++)
    if (archs[i] == arch) return true;
  return false;
}

// "sm_90", "compute_90", "sm_90a".
static bool read_arch(Program *p, const char *s) {
  char feature[2] = "";
  p->virtual_arch = begins(s, "compute_");
  if (!p->virtual_arch && !begins(s, "sm_")) return false;
  if (sscanf(strchr(s, '_') + 1, "%d%1[a-f]", &p->arch, feature) < 1) return false;
  p->feature = feature[0];
  return is_supported(p->arch);
}

static bool add_define(Program *p, const char *s) {
  if (p->ndefines == 32 || !*s) return false;
  p->define[p->ndefines] = strdup(s);
  return p->define[p->ndefines++] != NULL;
}

// Options that say nothing to the emulator, by what they begin with. One that is not here NVRTC does not know.
static const char *const ignored[] = {
  "--std=", "-std=", "--device-as-default-execution-space", "-default-device", "--fmad=", "-fmad=", "--use_fast_math", "-use_fast_math", "--ftz=", "-ftz=",
  "--prec-div=", "-prec-div=", "--prec-sqrt=", "-prec-sqrt=", "--maxrregcount=", "-maxrregcount=", "--minimal", "-minimal", "--generate-line-info", "-lineinfo",
  "--restrict", "-restrict", "--disable-warnings", "-w", "--extra-device-vectorization", "-extra-device-vectorization", "--split-compile", "-split-compile",
  "--relocatable-device-code=", "-rdc=", "--include-path=", "-I", "--diag-", "-diag-", "--device-debug", "-G", "--no-source-include", "-no-source-include",
  "--ofast-compile=", "-Ofc=", "--dopt", "-dopt", "--display-error-number", "-err-no", "--no-display-error-number", "-no-err-no",
};

static bool is_ignored(const char *s) {
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
    if (begins(s, ignored[i])) return true;
  return false;
}

static bool after(const char *s, const char *prefix, const char **value) {
  *value = s + strlen(prefix);
  return begins(s, prefix);
}

// An option whose value may be the next argument; *i moves on.
static bool read_option(Program *p, const char *const *o, int n, int *i) {
  const char *s = o[*i], *v;
  while (isspace((unsigned char)*s)) s++;
  if (after(s, "--gpu-architecture=", &v) || after(s, "-arch=", &v)) return read_arch(p, v);
  if (after(s, "--define-macro=", &v) || (after(s, "-D", &v) && *v)) return add_define(p, v);
  if ((strcmp(s, "-D") == 0 || strcmp(s, "--define-macro") == 0) && *i + 1 < n) return add_define(p, o[++*i]);
  if (after(s, "--ptxas-options=", &v) || after(s, "-Xptxas=", &v)) return p->verbose |= strstr(v, "-v") || strstr(v, "--verbose"), true;
  if ((strcmp(s, "-Xptxas") == 0 || strcmp(s, "--ptxas-options") == 0) && *i + 1 < n) return p->verbose |= strcmp(o[++*i], "-v") == 0, true;
  if ((strcmp(s, "-arch") == 0 || strcmp(s, "--gpu-architecture") == 0) && *i + 1 < n) return read_arch(p, o[++*i]);
  return is_ignored(s);
}

static bool read_options(Program *p, int n, const char *const *o) {
  p->arch = DEFAULT_ARCH;
  for (int i = 0; i < n; i++) {
    int at = i;
    if (read_option(p, o, n, &i)) continue;
    char text[256];
    snprintf(text, sizeof text, "nvrtc: error: invalid value or unknown option: %s\n", o[at]);
    say(p, text);
    return false;
  }
  return true;
}

// ---- compiling ---------------------------------------------------------------------------------------------------

static void forget(Program *p) {
  for (int i = 0; i < p->ndefines; i++) free(p->define[i]);
  free(p->log);
  free(p->cubin);
  free(p->ptx);
  p->log = p->ptx = NULL;
  p->cubin = NULL;
  p->cubin_bytes = 0;
  p->ndefines = 0;
  p->verbose = false;
}

static char *make_ptx(const Program *p, const Settings *s) {
  Ptx ptx = {.version = ptx_version_of(s->nvrtc_version), .arch = p->arch, .feature = p->feature, .ndefines = p->ndefines, .text = p->text};
  memcpy(ptx.file, p->file, sizeof ptx.file);
  memcpy(ptx.define, p->define, sizeof ptx.define);
  return ptx_write(&ptx);
}

static nvrtcResult compile(Program *p, const Settings *s) {
  EmuFault f = {0};
  char feature[24], *log = NULL;
  const char *define[33] = {feature};
  snprintf(feature, sizeof feature, p->feature ? "EMU_FEATURE='%c'" : "EMU_FEATURE=0", p->feature);
  for (int i = 0; i < p->ndefines; i++) define[i + 1] = p->define[i];
  EmuCompile c = {.cc = s->cc, .file = p->file, .checked = s->check, .arch = p->arch, .define = define, .ndefines = p->ndefines + 1};
  p->cubin = emu_compile(&c, p->text, &p->cubin_bytes, &log, &f);
  say(p, p->cubin && log ? log : "");
  if (!p->cubin) say(p, log && *log ? log : f.text);
  free(log);
  if (!p->cubin) return f.kind == EMU_HOST ? NVRTC_ERROR_BUILTIN_OPERATION_FAILURE : NVRTC_ERROR_COMPILATION;
  nvrtcResult r = look_at_kernels(p, s, &f);
  p->ptx = r ? NULL : make_ptx(p, s);
  if (p->virtual_arch || r) {
    free(p->cubin);
    p->cubin = NULL;
    p->cubin_bytes = 0;
  }
  return r || p->ptx ? r : NVRTC_ERROR_OUT_OF_MEMORY;
}

// ---- the interface -----------------------------------------------------------------------------------------------

NVRTC_EXPORT const char *nvrtcGetErrorString(nvrtcResult r);
NVRTC_EXPORT nvrtcResult nvrtcVersion(int *major, int *minor);
NVRTC_EXPORT nvrtcResult nvrtcGetNumSupportedArchs(int *n);
NVRTC_EXPORT nvrtcResult nvrtcGetSupportedArchs(int *out);
NVRTC_EXPORT nvrtcResult nvrtcCreateProgram(nvrtcProgram *out, const char *text, const char *name, int n, const char *const *header, const char *const *include);
NVRTC_EXPORT nvrtcResult nvrtcDestroyProgram(nvrtcProgram *p);
NVRTC_EXPORT nvrtcResult nvrtcCompileProgram(nvrtcProgram p, int n, const char *const *option);
NVRTC_EXPORT nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram p, size_t *n);
NVRTC_EXPORT nvrtcResult nvrtcGetProgramLog(nvrtcProgram p, char *out);
NVRTC_EXPORT nvrtcResult nvrtcGetCUBINSize(nvrtcProgram p, size_t *n);
NVRTC_EXPORT nvrtcResult nvrtcGetCUBIN(nvrtcProgram p, char *out);
NVRTC_EXPORT nvrtcResult nvrtcGetPTXSize(nvrtcProgram p, size_t *n);
NVRTC_EXPORT nvrtcResult nvrtcGetPTX(nvrtcProgram p, char *out);

extern NVRTC_EXPORT const int plait_cuda_emu;
const int plait_cuda_emu = EMU_ABI;      // tells that this is no NVRTC

const char *nvrtcGetErrorString(nvrtcResult r) {
  static const char *const names[NVRTC_RESULTS] = {
    "NVRTC_SUCCESS", "NVRTC_ERROR_OUT_OF_MEMORY", "NVRTC_ERROR_PROGRAM_CREATION_FAILURE", "NVRTC_ERROR_INVALID_INPUT", "NVRTC_ERROR_INVALID_PROGRAM",
    "NVRTC_ERROR_INVALID_OPTION", "NVRTC_ERROR_COMPILATION", "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE",
  };
  return (unsigned)r < NVRTC_RESULTS ? names[r] : "NVRTC_ERROR unknown";
}

nvrtcResult nvrtcVersion(int *major, int *minor) {
  Settings s;
  EmuFault f = {0};
  if (!major || !minor || !settings_read(&s, &f)) return NVRTC_ERROR_INVALID_INPUT;
  *major = s.nvrtc_version / 1000;
  *minor = s.nvrtc_version % 1000 / 10;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetNumSupportedArchs(int *n) {
  if (!n) return NVRTC_ERROR_INVALID_INPUT;
  *n = NARCHS;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetSupportedArchs(int *out) {
  if (!out) return NVRTC_ERROR_INVALID_INPUT;
  memcpy(out, archs, sizeof archs);
  return NVRTC_SUCCESS;
}

// Header-free texts only, so no header may be given.
nvrtcResult nvrtcCreateProgram(nvrtcProgram *out, const char *text, const char *name, int n, const char *const *header, const char *const *include) {
  (void)header, (void)include;
  if (!out || !text || n) return NVRTC_ERROR_INVALID_INPUT;
  Program *p = calloc(1, sizeof *p);
  if (!p || !(p->text = strdup(text))) {
    free(p);
    return NVRTC_ERROR_OUT_OF_MEMORY;
  }
  snprintf(p->file, sizeof p->file, "%s", name && *name ? name : "default_program");
  for (char *c = p->file; *c; c++)
    if (*c == '"' || *c == '\\' || *c == '\n') *c = '_';
  *out = p;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram *p) {
  if (!p || !*p) return NVRTC_ERROR_INVALID_PROGRAM;
  forget(*p);
  free((*p)->text);
  free(*p);
  *p = NULL;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram p, int n, const char *const *option) {
  Settings s;
  EmuFault f = {0};
  if (!p) return NVRTC_ERROR_INVALID_PROGRAM;
  forget(p);
  if (!settings_read(&s, &f)) {
    say(p, f.text);
    return NVRTC_ERROR_BUILTIN_OPERATION_FAILURE;
  }
  return read_options(p, n, option) ? compile(p, &s) : NVRTC_ERROR_INVALID_OPTION;
}

// Sizes of texts count their NUL.
static nvrtcResult size_of(const Program *p, const char *s, size_t *n) {
  if (!p) return NVRTC_ERROR_INVALID_PROGRAM;
  if (!n) return NVRTC_ERROR_INVALID_INPUT;
  *n = (s ? strlen(s) : 0) + 1;
  return NVRTC_SUCCESS;
}

static nvrtcResult text_of(const Program *p, const char *s, char *out) {
  if (!p) return NVRTC_ERROR_INVALID_PROGRAM;
  if (!out) return NVRTC_ERROR_INVALID_INPUT;
  strcpy(out, s ? s : "");
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram p, size_t *n) { return size_of(p, p ? p->log : NULL, n); }
nvrtcResult nvrtcGetProgramLog(nvrtcProgram p, char *out) { return text_of(p, p ? p->log : NULL, out); }
nvrtcResult nvrtcGetPTXSize(nvrtcProgram p, size_t *n) { return size_of(p, p ? p->ptx : NULL, n); }
nvrtcResult nvrtcGetPTX(nvrtcProgram p, char *out) { return text_of(p, p ? p->ptx : NULL, out); }

nvrtcResult nvrtcGetCUBINSize(nvrtcProgram p, size_t *n) {
  if (!p) return NVRTC_ERROR_INVALID_PROGRAM;
  if (!n) return NVRTC_ERROR_INVALID_INPUT;
  *n = p->cubin_bytes;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram p, char *out) {
  if (!p) return NVRTC_ERROR_INVALID_PROGRAM;
  if (!out) return NVRTC_ERROR_INVALID_INPUT;
  if (p->cubin) memcpy(out, p->cubin, p->cubin_bytes);
  return NVRTC_SUCCESS;
}
