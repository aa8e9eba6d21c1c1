// stages.c: the options that all commands with passes have, and where the time went.
#include "cli/cli.h"
#include <string.h>

static void on_timing(void *user, const char *stage, double ms) {
  Stages *s = user;
  if (s->n == s->room) {
    int room = s->room ? 2 * s->room : 32;
    struct Stage *stages = cli_array(s->c, struct Stage, room);
    if (s->n) memcpy(stages, s->stage, (size_t)s->n * sizeof *stages);
    s->stage = stages;
    s->room = room;
  }
  s->stage[s->n++] = (struct Stage){cli_printf(s->c, "%s", stage), ms};
}

static void on_dump(void *user, const char *pass, const char *text) {
  Stages *s = user;
  size_t n = strlen(text);
  if (strcmp(pass, "check-passes") != 0) cli_talk(s->c, "# after %s\n%s%s\n", pass, text, n && text[n - 1] == '\n' ? "" : "\n");
  else cli_talk(s->c, "%s", text);
}

static int dependent(Cli *c, const Args *a, plait_dependent *out) {
  static const char *const names[] = {"late", "early", "off"};
  const char *asked = args_value(a, "--dependent");
  for (int i = 0; i < 3 && asked; i++)
    if (strcmp(names[i], asked) == 0) return *out = (plait_dependent)i, GOOD;
  return asked ? cli_error(c, USAGE, "late (the default), early or off", "unknown kind of dependent launches `%s`", asked) : GOOD;
}

int build_options(Cli *c, const Args *a, Stages *stages, plait_build_options *o) {
  stages->c = c;
  stages->wanted = args_has(a, "--time-passes");
  plait_dim *dims;
  *o = (plait_build_options){
    .struct_size = sizeof *o, .disable = args_value(a, "--disable-pass"), .stop_after = args_value(a, "--stop-after"),
    .dump_after = args_value(a, "--dump-after"), .verify = args_has(a, "--verify"), .check = args_has(a, "--check-passes"),
    .no_fuse = args_has(a, "--no-fuse"), .arch = args_value(a, "--arch"), .dump = on_dump, .timing = stages->wanted ? on_timing : NULL, .user = stages,
  };
  int bad = args_dims(c, a, &dims, &o->ndims);
  o->dims = dims;
  return bad ? bad : dependent(c, a, &o->dependent);
}

plait_compile_options compile_options(Stages *stages) {
  return (plait_compile_options){.struct_size = sizeof(plait_compile_options), .timing = stages->wanted ? on_timing : NULL, .user = stages};
}

void stages_print(const Stages *s) {
  if (!s->wanted || !cli_talks(s->c)) return;
  double total = 0;
  Table t = table_make(s->c, "lrr");
  for (int i = 0; i < s->n; i++) total += s->stage[i].ms;
  table_cell(&t, "stage");
  table_cell(&t, "ms");
  table_cell(&t, "share");
  for (int i = 0; i <= s->n; i++) {
    double ms = i < s->n ? s->stage[i].ms : total;
    table_cell(&t, i < s->n ? s->stage[i].name : "total");
    table_cell(&t, cli_printf(s->c, "%.3f", ms));
    table_cell(&t, cli_printf(s->c, "%.1f %%", total > 0 ? 100 * ms / total : 0));
  }
  table_print(&t, stderr, 0);
}
