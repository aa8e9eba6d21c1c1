// help.c: every page of help, made from the tables: the program's, each command's, codes, passes, docs/cli.md.
#include "cli/cli.h"
#include <string.h>

enum { WIDTH = 88 };

static const char intro[] =
  "Plait compiles programs of tensor equations into fused kernels. A program says what each tensor is; the compiler decides which "
  "equations share a kernel, so that intermediate tensors never travel through memory.\n"
  "\n"
  "Every command reads FILE (ending .plait; `-` is standard input). Data goes to standard output, messages go to standard error.\n";

static const char first_steps[] =
  "plait check softmax.plait                     # is it right?\n"
  "plait run softmax.plait --in x=random:4x8     # run it on random numbers\n"
  "plait explain softmax.plait -D N=4096 -D D=4096\n"
  "plait emit softmax.plait --target c           # the kernel as C\n"
  "plait help PLT0404                            # what a message means\n";

static const struct { int code; const char *what; } exits[] = {
  {GOOD, "all is well"},
  {WRONG, "the program or the data is wrong; a message says where"},
  {USAGE, "the command line is wrong"},
  {MACHINE, "the machine: a file that cannot be read or written, no compiler, no memory"},
  {BUG, "an error of plait itself; please report it"},
  {LIMIT, "a limit was reached (source size, nesting, equations, …)"},
};

// ---- a page for the terminal ----

static void heading(const Cli *c, FILE *f, const char *text) {
  bool color = f == stdout ? c->color_out : c->color_err;
  fprintf(f, "\n%s%s%s\n", paint(color, BOLD), text, paint(color, PLAIN));
}

static void put_options(FILE *f, const Option *o) {
  for (; o && o->name; o++) {
    if (o->letter) fprintf(f, "  -%c, %s", o->letter, o->name);
    else fprintf(f, "      %s", o->name);
    fprintf(f, "%s%s%s\n", o->arg ? " " : "", o->arg ? o->arg : "", o->many ? "   (may be repeated)" : "");
    put_wrapped(f, o->what, 10, WIDTH - 10);
  }
}

static void put_lines(FILE *f, const char *text, int indent) {
  for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
    fprintf(f, "%*s%.*s\n", indent, "", (int)strcspn(p, "\n"), p);
}

static void put_exits(FILE *f) {
  for (size_t i = 0; i < sizeof exits / sizeof *exits; i++) fprintf(f, "  %d  %s\n", exits[i].code, exits[i].what);
}

static void put_settings(Cli *c, FILE *f) {
  Table t = table_make(c, "ll");
  const char *name, *what;
  for (size_t i = 0; plait_setting_get(i, &name, &what); i++) table_cell(&t, name), table_cell(&t, what);
  table_cell(&t, "NO_COLOR"), table_cell(&t, "no colours, when set and not empty");
  table_print(&t, f, 2);
}

static void put_commands(Cli *c, FILE *f) {
  Table t = table_make(c, "ll");
  for (const Command *const *k = commands; *k; k++) table_cell(&t, (*k)->name), table_cell(&t, (*k)->what);
  table_print(&t, f, 2);
}

void help_program(Cli *c, FILE *f) {
  fprintf(f, "plait %s - compile tensor equations into fused kernels\n", plait_version());
  heading(c, f, "USAGE");
  fprintf(f, "  plait COMMAND [OPTIONS] …\n  plait COMMAND --help\n  plait --version\n");
  heading(c, f, "COMMANDS");
  put_commands(c, f);
  heading(c, f, "DESCRIPTION");
  put_wrapped(f, intro, 2, WIDTH - 2);
  heading(c, f, "OPTIONS OF EVERY COMMAND");
  put_options(f, common_options);
  heading(c, f, "FIRST STEPS");
  put_lines(f, first_steps, 2);
  heading(c, f, "EXIT STATUS");
  put_exits(f);
  heading(c, f, "ENVIRONMENT");
  put_settings(c, f);
}

static const char *synopsis(Cli *c, const Command *k) {
  return cli_printf(c, "plait %s [OPTIONS]%s%s", k->name, *k->operands ? " " : "", k->operands);
}

void help_command(Cli *c, FILE *f, const Command *k) {
  fprintf(f, "plait %s - %s\n", k->name, k->what);
  heading(c, f, "USAGE");
  fprintf(f, "  %s\n", synopsis(c, k));
  heading(c, f, "DESCRIPTION");
  put_wrapped(f, k->text, 2, WIDTH - 2);
  heading(c, f, "OPTIONS");
  put_options(f, k->options);
  put_options(f, common_options);
  heading(c, f, "EXAMPLES");
  put_lines(f, k->examples, 2);
  heading(c, f, "EXIT STATUS");
  put_exits(f);
}

// ---- the same as Markdown: docs/cli.md ----

static void markdown_text(FILE *f, const char *text) {
  bool code = false;
  for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
    if ((*p == ' ') != code) fputs("```\n", f);
    code = *p == ' ';
    fprintf(f, "%.*s\n", (int)strcspn(p, "\n"), code ? p + 2 : p);
  }
  if (code) fputs("```\n", f);
}

static void markdown_options(FILE *f, const Option *o) {
  for (; o && o->name; o++) {
    fprintf(f, "- `%s%s%s`", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    if (o->letter) fprintf(f, ", `-%c`", o->letter);
    fprintf(f, ": %s%s\n", o->what, o->many ? "; may be repeated" : "");
  }
}

static void markdown_command(Cli *c, FILE *f, const Command *k) {
  fprintf(f, "\n## plait %s\n\n%c%s.\n\n```\n%s\n```\n\n", k->name, k->what[0] - 'a' + 'A', k->what + 1, synopsis(c, k));
  markdown_text(f, k->text);
  if (k->options) fputs("\n", f);
  markdown_options(f, k->options);
  fputs("\n```\n", f);
  put_lines(f, k->examples, 0);
  fputs("```\n", f);
}

static void markdown(Cli *c, FILE *f) {
  const char *name, *what;
  fputs("# The command line\n\nWritten by `plait help --markdown`; change the tables in `cli/`, not this page.\n\n", f);
  markdown_text(f, intro);
  fputs("\n```\n", f);
  put_lines(f, first_steps, 0);
  fputs("```\n\nOptions of every command:\n\n", f);
  markdown_options(f, common_options);
  fputs("\n| exit status | meaning |\n|---|---|\n", f);
  for (size_t i = 0; i < sizeof exits / sizeof *exits; i++) fprintf(f, "| %d | %s |\n", exits[i].code, exits[i].what);
  fputs("\n| environment | meaning |\n|---|---|\n", f);
  for (size_t i = 0; plait_setting_get(i, &name, &what); i++) fprintf(f, "| `%s` | %s |\n", name, what);
  fputs("| `NO_COLOR` | no colours, when set and not empty |\n", f);
  for (const Command *const *k = commands; *k; k++) markdown_command(c, f, *k);
}

// ---- plait help ----

static void put_program(const Cli *c, FILE *f, const char *title, const char *text) {
  if (!text || !*text) return;
  heading(c, f, title);
  put_lines(f, text, 2);
}

static int help_code(Cli *c, const char *id) {
  plait_code k = {.struct_size = sizeof k};
  if (plait_code_find(id, &k)) return USAGE;
  printf("%s%s%s: %s\n", paint(c->color_out, BOLD), k.id, paint(c->color_out, PLAIN), k.title);
  if (*k.text) putchar('\n');
  put_wrapped(stdout, k.text, 0, WIDTH);
  put_program(c, stdout, "FAILS", k.failing);
  put_program(c, stdout, "MENDED", k.mended);
  return GOOD;
}

static int help_codes(Cli *c) {
  Table t = table_make(c, "ll");
  for (size_t i = 0; i < plait_code_count(); i++) {
    plait_code k = {.struct_size = sizeof k};
    if (plait_code_get(i, &k)) continue;
    table_cell(&t, k.id);
    table_cell(&t, k.title);
  }
  table_print(&t, stdout, 0);
  return GOOD;
}

static int help_passes(Cli *c) {
  Table t = table_make(c, "lll");
  const char *name, *what;
  int required;
  for (size_t i = 0; plait_pass_get(i, &name, &what, &required); i++) {
    table_cell(&t, name);
    table_cell(&t, required ? "required" : "");
    table_cell(&t, what);
  }
  table_print(&t, stdout, 0);
  return GOOD;
}

static bool looks_like_code(const char *s) { return (s[0] == 'P' || s[0] == 'p') && (s[1] == 'L' || s[1] == 'l') && strpbrk(s, "0123456789"); }

static int unknown_topic(Cli *c, const char *topic) {
  if (looks_like_code(topic)) return cli_error(c, USAGE, "plait help codes lists them", "no message has the code `%s`", topic);
  const char *near = closest_command(topic);
  return cli_error(c, USAGE, near ? cli_printf(c, "did you mean `plait help %s`?", near) : "a command, a code such as PLT0404, codes or passes",
                   "there is no help on `%s`", topic);
}

static int run_help(Cli *c, const Args *a) {
  const char *topic = a->noperands ? a->operand[0] : NULL;
  if (args_has(a, "--markdown")) return markdown(c, stdout), GOOD;
  if (!topic) return help_program(c, stdout), GOOD;
  const Command *k = command_find(topic);
  if (k) return help_command(c, stdout, k), GOOD;
  if (strcmp(topic, "codes") == 0) return help_codes(c);
  if (strcmp(topic, "passes") == 0) return help_passes(c);
  return help_code(c, topic) == GOOD ? GOOD : unknown_topic(c, topic);
}

static const Option options[] = {
  {"--markdown", 0, NULL, false, "print the whole reference of the command line as Markdown (docs/cli.md)"},
  {0},
};

const Command command_help = {
  "help", "explain a command or the code of a message", "[COMMAND|CODE|codes|passes]", 0, 1, options,
  "Without an operand: the page of the program. With a command: its page. With the code of a message, such as PLT0404: what it "
  "means, a program that causes it and the same program mended. `codes` lists all codes, `passes` the passes of the compiler in "
  "the order in which they run.\n",
  "plait help run\n"
  "plait help PLT0404\n"
  "plait help codes\n",
  run_help,
};
