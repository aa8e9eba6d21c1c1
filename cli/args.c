// args.c: the arguments of a subcommand, against the table of its options.
//
// `--name value` and `--name=value`, `-D value` and `-Dvalue`, switches bundled after one dash (`-ij`); `--` ends the
// options, `-` alone is an operand.
#include "cli/cli.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// ---- near misses ----

static int least3(int a, int b, int c) { return a < b ? (a < c ? a : c) : (b < c ? b : c); }

// Damerau-Levenshtein distance of two short words; swapped neighbours count once.
static int distance(const char *a, const char *b) {
  enum { MOST = 40 };
  int na = (int)strlen(a), nb = (int)strlen(b);
  if (na > MOST || nb > MOST) return MOST;
  int d[MOST + 1][MOST + 1];
  for (int i = 0; i <= na; i++)
    for (int j = 0; j <= nb; j++) {
      if (!i || !j) d[i][j] = i + j;
      else d[i][j] = least3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < d[i][j]) d[i][j] = d[i - 2][j - 2] + 1;
    }
  return d[na][nb];
}

// A third of the letters may be wrong, at least one; a name that begins with the word is near too.
const char *closest(const char *name, const char *const *names, size_t n) {
  const char *best = NULL;
  int limit = (int)strlen(name) / 3 < 1 ? 1 : (int)strlen(name) / 3, least = limit + 1;
  for (size_t i = 0; i < n; i++) {
    int d = distance(name, names[i]);
    if (d < least) {
      least = d;
      best = names[i];
    }
  }
  for (size_t i = 0; i < n && !best && strlen(name) > 2; i++)
    if (strncmp(name, names[i], strlen(name)) == 0) best = names[i];
  return best;
}

enum { MOST_NAMES = 64 };

static size_t option_names(const Option *o, const char **names, size_t n) {
  for (; o && o->name && n < MOST_NAMES; o++) names[n++] = o->name;
  return n;
}

const char *closest_option(const Command *command, const char *name) {
  const char *names[MOST_NAMES];
  size_t n = option_names(command ? command->options : NULL, names, 0);
  return closest(name, names, option_names(common_options, names, n));
}

const char *closest_command(const char *name) {
  const char *names[MOST_NAMES];
  size_t n = 0;
  for (const Command *const *c = commands; *c && n < MOST_NAMES; c++) names[n++] = (*c)->name;
  return closest(name, names, n);
}

// ---- parsing ----

static const Option *option_in(const Option *o, const char *name, size_t n, char letter) {
  for (; o && o->name; o++)
    if (letter ? o->letter == letter : strlen(o->name) == n && strncmp(o->name, name, n) == 0) return o;
  return NULL;
}

static const Option *find_option(const Command *command, const char *name, size_t n, char letter) {
  const Option *o = option_in(command->options, name, n, letter);
  return o ? o : option_in(common_options, name, n, letter);
}

static bool takes(const Args *a, const Option *o) {
  for (int i = 0; i < a->ngiven; i++)
    if (a->given[i].option == o) return true;
  return false;
}

static int give(Cli *c, Args *a, const Option *o, const char *value) {
  if (!o->many && o->arg && takes(a, o)) return cli_error(c, USAGE, NULL, "option `%s` stands there twice", o->name);
  if (strcmp(o->name, "--help") == 0) a->help = true;
  a->given[a->ngiven++] = (Given){o, value};
  return GOOD;
}

static int unknown(Cli *c, const Command *command, const char *name) {
  const char *near = closest_option(command, name);
  const char *help = near ? cli_printf(c, "did you mean `%s`?", near) : cli_printf(c, "plait %s --help lists the options", command->name);
  return cli_error(c, USAGE, help, "unknown option `%s` of plait %s", name, command->name);
}

static int missing_value(Cli *c, const Command *command, const Option *o) {
  return cli_error(c, USAGE, cli_printf(c, "write %s %s; see plait %s --help", o->name, o->arg, command->name),
                   "option `%s` needs a value", o->name);
}

// --name, --name=value, --name value. *i is moved past what is used.
static int parse_long(Cli *c, Args *a, int n, char **argv, int *i) {
  const char *word = argv[(*i)++], *eq = strchr(word, '=');
  size_t len = eq ? (size_t)(eq - word) : strlen(word);
  const Option *o = find_option(a->command, word, len, 0);
  if (!o) return unknown(c, a->command, cli_printf(c, "%.*s", (int)len, word));
  if (!o->arg) return eq ? cli_error(c, USAGE, NULL, "option `%s` takes no value", o->name) : give(c, a, o, NULL);
  if (!eq && *i >= n) return missing_value(c, a->command, o);
  return give(c, a, o, eq ? eq + 1 : argv[(*i)++]);
}

// -i, -ij, -Dvalue, -D value.
static int parse_short(Cli *c, Args *a, int n, char **argv, int *i) {
  for (const char *p = argv[(*i)++] + 1; *p; p++) {
    const Option *o = find_option(a->command, NULL, 0, *p);
    int bad = GOOD;
    if (!o) return unknown(c, a->command, cli_printf(c, "-%c", *p));
    if (!o->arg) bad = give(c, a, o, NULL);
    else if (p[1]) return give(c, a, o, p + 1 + (p[1] == '='));
    else return *i < n ? give(c, a, o, argv[(*i)++]) : missing_value(c, a->command, o);
    if (bad) return bad;
  }
  return GOOD;
}

static int check_count(Cli *c, const Args *a) {
  const Command *k = a->command;
  if (a->help || (a->noperands >= k->least && (k->most < 0 || a->noperands <= k->most))) return GOOD;
  const char *help = cli_printf(c, "write plait %s%s%s", k->name, *k->operands ? " " : "", k->operands);
  if (a->noperands < k->least) return cli_error(c, USAGE, help, "plait %s: %s is missing", k->name, k->operands);
  return cli_error(c, USAGE, help, "plait %s does not take `%s`", k->name, a->operand[k->most]);
}

static int common_settings(Cli *c, const Args *a) {
  static const char *const forms[] = {"text", "json", "short"}, *const colors[] = {"auto", "always", "never"};
  const char *form = args_value(a, "--diagnostics"), *color = args_value(a, "--color");
  int f = 0, k = 0;
  while (form && f < 3 && strcmp(form, forms[f]) != 0) f++;
  while (color && k < 3 && strcmp(color, colors[k]) != 0) k++;
  if (f == 3) return cli_error(c, USAGE, "text, json or short", "unknown form of messages `%s`", form);
  if (k == 3) return cli_error(c, USAGE, "auto, always or never", "unknown setting of colour `%s`", color);
  if (form) c->messages = (Messages)f;
  if (color && k) c->color_err = c->color_out = k == 1;
  return GOOD;
}

int args_parse(Cli *c, const Command *command, int n, char **argv, Args *out) {
  int letters = 1;
  for (int i = 0; i < n; i++) letters += (int)strlen(argv[i]);       // bundled switches: at most one a letter
  *out = (Args){.command = command, .given = cli_array(c, Given, letters), .operand = cli_array(c, const char *, n + 1)};
  bool options = true;
  int bad = GOOD;
  for (int i = 0; i < n && !bad;) {
    const char *word = argv[i];
    if (!options || word[0] != '-' || !word[1]) out->operand[out->noperands++] = argv[i++];
    else if (strcmp(word, "--") == 0) options = false, i++;
    else bad = word[1] == '-' ? parse_long(c, out, n, argv, &i) : parse_short(c, out, n, argv, &i);
  }
  if (!bad) bad = common_settings(c, out);
  return bad ? bad : check_count(c, out);
}

// ---- reading them ----

const char *args_next(const Args *a, const char *option, int *at) {
  while (*at < a->ngiven) {
    const Given *g = &a->given[(*at)++];
    if (strcmp(g->option->name, option) == 0) return g->value ? g->value : "";
  }
  return NULL;
}

const char *args_value(const Args *a, const char *option) {
  const char *value = NULL, *v;
  for (int at = 0; (v = args_next(a, option, &at));) value = v;
  return value;
}

bool args_has(const Args *a, const char *option) { return args_value(a, option) != NULL; }

int args_pair(Cli *c, const char *option, const char *text, const char **name, const char **value) {
  const char *eq = strchr(text, '=');
  if (!eq || eq == text)
    return cli_error(c, USAGE, cli_printf(c, "write %s NAME=VALUE", option), "`%s %s` has no `=`", option, text);
  *name = cli_printf(c, "%.*s", (int)(eq - text), text);
  *value = eq + 1;
  return GOOD;
}

bool parse_int(const char *text, int64_t least, int64_t most, int64_t *out) {
  char *end;
  errno = 0;
  long long v = strtoll(text, &end, 10);
  if (end == text || *end || errno || v < least || v > most || text[0] == ' ' || text[0] == '+') return false;
  *out = v;
  return true;
}

int args_dims(Cli *c, const Args *a, plait_dim **dims, size_t *n) {
  *dims = cli_array(c, plait_dim, a->ngiven + 1);
  *n = 0;
  const char *text, *name, *value;
  for (int at = 0; (text = args_next(a, "--dim", &at));) {
    int64_t v;
    int bad = args_pair(c, "-D", text, &name, &value);
    if (bad) return bad;
    if (!parse_int(value, 0, INT64_MAX, &v))
      return cli_error(c, USAGE, NULL, "`-D %s`: `%s` is no extent", text, value);
    for (size_t i = 0; i < *n; i++)
      if (strcmp((*dims)[i].name, name) == 0) return cli_error(c, USAGE, NULL, "dimension `%s` is given twice", name);
    (*dims)[(*n)++] = (plait_dim){name, v};
  }
  return GOOD;
}
