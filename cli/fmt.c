// fmt.c: plait fmt.
#include "cli/cli.h"
#include <string.h>

typedef struct Layout { const char *text; size_t size; char *mended; size_t mended_size; } Layout;

static int lay_out(Cli *c, const char *path, Layout *out) {
  char *text;
  int bad = cli_read_file(c, path, &text, &out->size);
  if (bad) return bad;
  out->text = text;
  plait_messages *m = NULL;
  plait_status s = plait_format(c->context, strcmp(path, "-") ? path : "<stdin>", text, out->size, &out->mended, &out->mended_size, &m);
  return s || m ? cli_messages(c, s, m) : GOOD;
}

static int deliver(Cli *c, const Args *a, const char *path, const Layout *l) {
  bool same = l->size == l->mended_size && memcmp(l->text, l->mended, l->size) == 0;
  bool standard = strcmp(path, "-") == 0;
  if (args_has(a, "--check"))
    return same ? GOOD : cli_error(c, WRONG, standard ? NULL : cli_printf(c, "plait fmt -i %s", path), "`%s` is not laid out", path);
  if (args_has(a, "--in-place") && !standard) return same ? GOOD : cli_write_file(c, path, l->mended, l->mended_size);
  return cli_write_file(c, "-", l->mended, l->mended_size);
}

static int run_fmt(Cli *c, const Args *a) {
  bool in_place = args_has(a, "--in-place"), check = args_has(a, "--check");
  if (in_place && check) return cli_error(c, USAGE, NULL, "--in-place and --check exclude each other");
  if (a->noperands > 1 && !in_place && !check)
    return cli_error(c, USAGE, "write -i to change the files, or --check to compare them", "several files need --in-place or --check");
  int code = cli_context(c, a);
  for (int i = 0; i < a->noperands && !(code && !c->context); i++) {
    Layout l = {0};
    int bad = lay_out(c, a->operand[i], &l);
    if (!bad) bad = deliver(c, a, a->operand[i], &l);
    plait_free(l.mended);
    if (!code) code = bad;
  }
  return code;
}

static const Option options[] = {
  {"--in-place", 'i', NULL, false, "write the result back to each FILE that changes"},
  {"--check", 0, NULL, false, "write nothing; exit with 1 when a FILE is not laid out"},
  {0},
};

const Command command_fmt = {
  "fmt", "lay programs out in the one way", "FILE…", 1, -1, options,
  "Prints FILE with the spaces, line ends and alignment that all Plait programs have; comments stay. The text means the same, and "
  "laying it out again changes nothing. A FILE that does not parse is left alone.\n",
  "plait fmt softmax.plait\n"
  "plait fmt -i src/*.plait\n"
  "plait fmt --check src/*.plait      # for a commit hook\n"
  "plait fmt - < softmax.plait        # for an editor\n",
  run_fmt,
};
