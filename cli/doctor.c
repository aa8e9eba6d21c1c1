// doctor.c: plait doctor.
#include "cli/cli.h"
#include <string.h>

// Where something was looked for, one place a line.
static void put_places(const char *places) {
  for (const char *p = places; p && *p; p += strcspn(p, "\n"), p += *p == '\n') printf("           %.*s\n", (int)strcspn(p, "\n"), p);
}

static bool put_findings(Cli *c, const plait_doctor *d) {
  const char *green = paint(c->color_out, GREEN), *red = paint(c->color_out, RED), *plain = paint(c->color_out, PLAIN);
  for (size_t i = 0; i < plait_doctor_count(d); i++) {
    plait_finding f = {.struct_size = sizeof f};
    if (plait_doctor_finding(d, i, &f)) return false;
    printf("%s%s%s  %s: %s\n", f.good ? green : red, f.good ? "good   " : "missing", plain, f.name, f.text);
    if (f.help) put_wrapped(stdout, f.help, 9, 79);
    put_places(f.places);
  }
  return true;
}

static int put_json(Cli *c, const plait_doctor *d) {
  char *text = NULL;
  size_t n = 0;
  plait_status s = plait_doctor_json(d, &text, &n);
  int bad = s ? cli_messages(c, s, NULL) : cli_write_file(c, "-", text, n);
  plait_free(text);
  return bad;
}

static int run_doctor(Cli *c, const Args *a) {
  int bad = cli_context(c, a);
  if (bad) return bad;
  plait_doctor *d = NULL;
  plait_messages *m = NULL;
  plait_status s = plait_doctor_create(c->context, &d, &m);
  if (s || m) bad = cli_messages(c, s, m);
  if (!bad && args_has(a, "--json")) bad = put_json(c, d);
  else if (!bad && !put_findings(c, d)) bad = BUG;
  plait_doctor_free(d);
  return bad;
}

static const Option options[] = {
  {"--json", 0, NULL, false, "print the findings as JSON"},
  OPTION_COMPILER, OPTION_CC, OPTION_MARCH, OPTION_THREADS, OPTION_GPU_COMPILER,
  {0},
};

const Command command_doctor = {
  "doctor", "say what this machine offers and what is missing", "", 0, 0, options,
  "Looks for what compiling and running needs: Clang in the process, compilers of the system, threads; for GPUs the CUDA driver, its "
  "devices, and NVRTC, with the places where they were looked for. For what is missing it says what that costs and how to get it.\n",
  "plait doctor\n"
  "plait doctor --json | python3 -m json.tool\n",
  run_doctor,
};
