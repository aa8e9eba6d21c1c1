// cli.h: what the subcommands share: tables of commands and options, messages, files, memory.
//
// Data goes to stdout, talk to stderr. A command is a row (plait.c) with its options and its help; the parser of
// arguments, `--help`, `plait help` and docs/cli.md all come from these rows.
#ifndef PLAIT_CLI_CLI_H
#define PLAIT_CLI_CLI_H
#include "plait.h"
#include <stdbool.h>
#include <stdio.h>

// Exit codes, also shown by `plait help`.
enum { GOOD = 0, WRONG = 1, USAGE = 2, MACHINE = 3, BUG = 4, LIMIT = 5 };

typedef struct Option {
  const char *name;           // "--entry"
  char letter;                // 'e' for -e; 0: none
  const char *arg;            // "NAME"; NULL: a switch
  bool many;                  // may stand there several times
  const char *what;           // for the help
} Option;

typedef struct Cli Cli;
typedef struct Args Args;

typedef struct Command {
  const char *name, *what;    // what: one line
  const char *operands;       // "FILE…"
  int least, most;            // operands
  const Option *options;      // ended by a row without a name; NULL: none but those of every command
  const char *text;           // paragraphs for the help
  const char *examples;       // lines, each `plait …` or its comment
  int (*run)(Cli *c, const Args *a);
} Command;
extern const Command *const commands[];   // ended by NULL
extern const Option common_options[];     // of every command
const Command *command_find(const char *name);

// Options that several commands have.
#define OPTION_ENTRY {"--entry", 'e', "NAME", false, "the entry point; needed when the file has more than one"}
#define OPTION_DIM {"--dim", 'D', "NAME=N", true, "the value of a dimension, as in -D N=4096"}
#define OPTION_THREADS {"--threads", 't', "N", false, "threads that kernels use (default: all cores that the process may use)"}
#define OPTION_COMPILER {"--compiler", 0, "WHICH", false, "auto, clang (inside this process) or cc (a compiler of the system)"}
#define OPTION_CC {"--cc", 0, "PATH", false, "the system's C compiler to use; implies --compiler cc"}
#define OPTION_MARCH {"--march", 0, "NAME", false, "compile for at most this machine: native, avx512, avx2, sse4 or sse2"}
#define OPTION_GPU_COMPILER {"--gpu-compiler", 0, "WHICH", false, "auto, nvrtc (NVIDIA's) or clang (inside this process, as PTX)"}
#define OPTION_DEPENDENT {"--dependent", 0, "WHEN", false, "on sm_90 and newer a kernel may take its place while the one before ends: late (the default), early or off"}
#define OPTION_ARCH {"--arch", 0, "NAME", false, "the GPU to make text and code for, as in sm_90 (the default), sm_80, sm_100"}
#define OPTIONS_PASSES \
  {"--disable-pass", 0, "PASS,…", false, "leave passes out (plait help passes lists them)"}, \
  {"--dump-after", 0, "PASS", false, "print the program after this pass, or after each (all), to stderr"}, \
  {"--no-fuse", 0, NULL, false, "make every equation a kernel of its own, to compare with"}, \
  {"--time-passes", 0, NULL, false, "print where the time went to stderr"}, \
  {"--verify", 0, NULL, false, "check the invariants of the program between passes"}, \
  {"--check-passes", 0, NULL, false, "run the program before and after each pass on random inputs and compare"}

// ---- arguments (args.c) ----
typedef struct Given { const Option *option; const char *value; } Given;
struct Args { const Command *command; int ngiven; Given *given; int noperands; const char **operand; bool help; };

// Parse argv[0..n) for a command. GOOD, or USAGE after a message.
int args_parse(Cli *c, const Command *command, int n, char **argv, Args *out);
bool args_has(const Args *a, const char *option);
const char *args_value(const Args *a, const char *option);                 // the last one's, or NULL
const char *args_next(const Args *a, const char *option, int *at);         // each in turn, *at from 0; then NULL
// "NAME=VALUE" split at the first `=`; USAGE after a message when there is none.
int args_pair(Cli *c, const char *option, const char *text, const char **name, const char **value);
// The whole text as a decimal integer within [least, most].
bool parse_int(const char *text, int64_t least, int64_t most, int64_t *out);
// -D N=4096 … as dims, *n of them.
int args_dims(Cli *c, const Args *a, plait_dim **dims, size_t *n);
// Closest of `names` to a mistyped one, NULL when none is close.
const char *closest(const char *name, const char *const *names, size_t n);
const char *closest_option(const Command *command, const char *name);
const char *closest_command(const char *name);

// ---- the state of one run (cli.c) ----
typedef enum Messages { MESSAGES_TEXT, MESSAGES_JSON, MESSAGES_SHORT } Messages;
struct Cli {
  plait_context *context;     // NULL until cli_context
  Messages messages;          // how messages are shown
  bool color_err, color_out;
  struct Block *blocks;       // cli_alloc
  char *json;                 // messages so far, without the brackets
};

void cli_end(Cli *c);         // prints what --diagnostics=json collected, frees everything
void *cli_alloc(Cli *c, size_t bytes);                  // zeroed, freed at the end; ends the program when there is none
char *cli_printf(Cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define cli_array(c, T, n) ((T *)cli_alloc((c), (size_t)(n) * sizeof(T)))

// A message of the command line itself; returns `code` so that callers may return it. help NULL: none.
int cli_error(Cli *c, int code, const char *help, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
// The same about a file that cannot be read or written (PLE0101, PLE0102).
int cli_file_error(Cli *c, const char *id, const char *help, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
// Shows messages of the library, frees them, and gives the exit code for the status.
int cli_messages(Cli *c, plait_status s, plait_messages *m);
int cli_status_exit(plait_status s);
// Talk on stderr; silent with --diagnostics=json or short.
void cli_talk(Cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool cli_talks(const Cli *c);

// ---- files and programs (cli.c) ----
// Whole file or, for "-", stdin; NUL behind it. GOOD, MACHINE or LIMIT after a message.
int cli_read_file(Cli *c, const char *path, char **text, size_t *size);
int cli_write_file(Cli *c, const char *path, const char *text, size_t size);     // "-": stdout
int cli_write_error(Cli *c, const char *name, int why);                          // why: errno
// The context made from --threads, --compiler and --cc as far as given.
int cli_context(Cli *c, const Args *a);
// Reads and compiles a file; timing may be NULL.
int cli_compile(Cli *c, const Args *a, const char *path, const plait_compile_options *o, plait_program **out);
// The same, and picks --entry.
int cli_entry(Cli *c, const Args *a, const plait_compile_options *o, plait_program **program, const plait_entry **entry);

// ---- options of the passes, and the table of stages (stages.c) ----
typedef struct Stages { Cli *c; bool wanted; int n, room; struct Stage { const char *name; double ms; } *stage; } Stages;
// Fills o from -D and the options of OPTIONS_PASSES; `stages` collects timings when --time-passes is given.
int build_options(Cli *c, const Args *a, Stages *stages, plait_build_options *o);
plait_compile_options compile_options(Stages *stages);
void stages_print(const Stages *s);                     // nothing when not wanted

// ---- output (output.c) ----
const char *paint(bool color, const char *ansi);        // the ANSI sequence, or "" without colour
#define BOLD "\033[1m"
#define DIM "\033[2m"
#define RED "\033[1;31m"
#define GREEN "\033[32m"
#define CYAN "\033[1;36m"
#define PLAIN "\033[0m"
// 1234567 as "1.23 MB", 12 as "12 B"; SI prefixes. unit: "B", "B/s", "flop".
const char *human(Cli *c, double v, const char *unit);
const char *extents_text(Cli *c, int rank, const int64_t *extent);            // "4096×1024", "scalar"
// Paragraph text of `text` wrapped at `width` columns, each line indented; backquotes and blank lines are kept.
void put_wrapped(FILE *f, const char *text, int indent, int width);

// A table: columns are aligned to their widest cell, left or ('r') right.
typedef struct Table { Cli *c; const char *align; int columns, rows, room; const char **cell; } Table;
Table table_make(Cli *c, const char *align);            // one letter a column: 'l' or 'r'
void table_cell(Table *t, const char *text);            // row by row
void table_print(const Table *t, FILE *f, int indent);  // the first row is the heading
int text_columns(const char *s);                        // code points

// ---- help (help.c) ----
void help_program(Cli *c, FILE *f);
void help_command(Cli *c, FILE *f, const Command *command);

extern const Command command_check, command_fmt, command_emit, command_run, command_explain, command_doctor, command_help;
#endif
