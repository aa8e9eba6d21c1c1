// gpu_code.c: names of architectures, and the log of ptxas.
#include "runtime/gpu_code.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gpu_code_free(GpuCode *c) {
  if (c->next) gpu_code_free(c->next);
  free(c->next);
  free(c->bytes);
  free(c->log);
  free(c->use);
  *c = (GpuCode){0};
}

bool gpu_arch_parse(const char *name, int *arch, char *feature) {
  if (strncmp(name, "sm_", 3) == 0) name += 3;
  char *end;
  if (*name < '1' || *name > '9') return false;
  long v = strtol(name, &end, 10);
  *feature = *end == 'a' || *end == 'f' ? *end++ : 0;
  *arch = (int)v;
  return !*end && v >= 50 && v < 1000;
}

// ---- the log -----------------------------------------------------------------------------------------------------

// ptxas info    : Compiling entry function 'softmax' for 'sm_90'
// ptxas info    : Function properties for softmax
//     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// ptxas info    : Used 32 registers, used 1 barriers, 132 bytes smem

// Where `what` stands on this line; NULL when it does not.
static const char *on_line(const char *line, const char *what) {
  const char *end = strchr(line, '\n'), *at = strstr(line, what);
  return at && end && at > end ? NULL : at;
}

static bool entry_of(const char *line, GpuUse *u) {
  const char *at = on_line(line, "Compiling entry function '");
  return at && sscanf(at, "Compiling entry function '%127[^']'", u->name) == 1;
}

// The number that stands before `what` on this line, -1 when there is none.
static int number_before(const char *line, const char *what) {
  const char *at = on_line(line, what);
  if (!at) return -1;
  while (at > line && at[-1] == ' ') at--;
  const char *digits = at;
  while (digits > line && digits[-1] >= '0' && digits[-1] <= '9') digits--;
  return digits < at ? atoi(digits) : -1;
}

static void take(int *field, int value) {
  if (value >= 0) *field = value;
}

static void read_line(const char *line, GpuUse *u) {
  int registers = number_before(line, "registers");
  take(&u->registers, registers);
  take(&u->stack_bytes, number_before(line, "bytes stack frame"));
  take(&u->spill_stores, number_before(line, "bytes spill stores"));
  take(&u->spill_loads, number_before(line, "bytes spill loads"));
  take(&u->shared_bytes, number_before(line, "bytes smem"));
  if (registers >= 0 && u->shared_bytes < 0) u->shared_bytes = 0;         // ptxas is silent where there is none
}

int gpu_log_read(const char *log, GpuUse **out) {
  int n = 0;
  *out = NULL;
  for (const char *line = log; line && *line; line = strchr(line, '\n'), line += line != NULL) {
    GpuUse next = {.registers = -1, .shared_bytes = -1, .stack_bytes = -1, .spill_stores = -1, .spill_loads = -1};
    if (!entry_of(line, &next)) {
      if (n) read_line(line, &(*out)[n - 1]);
      continue;
    }
    GpuUse *more = realloc(*out, (size_t)(n + 1) * sizeof **out);
    if (!more) return n;
    *out = more;
    more[n++] = next;
  }
  return n;
}

// ---- blocks beside each other, or registers ----------------------------------------------------------------------

static int spilled(const GpuUse *u) {
  if (u->spill_stores < 0) return u->stack_bytes > 0 ? u->stack_bytes : 0;
  return u->spill_stores + (u->spill_loads > 0 ? u->spill_loads : 0);
}

int gpu_spilled(const GpuUse *use, int n) {
  int all = 0;
  for (int i = 0; i < n; i++) all += spilled(&use[i]);
  return all;
}

static bool asks_for_room(const char *text, const GpuUse *u) {
  char define[sizeof u->name + 32];
  snprintf(define, sizeof define, "#ifndef PLAIT_RESIDENT_%s\n", u->name);
  return strstr(text, define) != NULL;
}

bool gpu_asks_for_room(const char *text) { return strstr(text, "#ifndef PLAIT_RESIDENT_") != NULL; }

char *gpu_loosen(const char *text, size_t len, const GpuUse *use, int n) {
  char *out = NULL;
  size_t size = 0;
  int found = 0;
  FILE *f = open_memstream(&out, &size);
  if (!f) return NULL;
  for (int i = 0; i < n; i++) {
    if (!spilled(&use[i]) || !asks_for_room(text, &use[i])) continue;
    fprintf(f, "#define PLAIT_RESIDENT_%s 1\n", use[i].name);
    found++;
  }
  fprintf(f, "#line 1\n%.*s", (int)len, text);
  if (fclose(f) == 0 && found) return out;
  free(out);
  return NULL;
}
