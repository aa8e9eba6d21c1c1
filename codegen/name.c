// name.c: names in the printed text.
#include "codegen/name.h"
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Words that the text may not define: keywords of C and C++ (the header is for both), macros that GNU C predefines, and
// the text's own.
static const char *const reserved[] = {
  "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch", "char", "class",
  "compl", "concept", "const", "const_cast", "consteval", "constexpr", "constinit", "continue", "co_await", "co_return",
  "co_yield", "decltype", "default", "delete", "do", "double", "dynamic_cast", "else", "enum", "explicit", "export",
  "extern", "false", "float", "for", "friend", "goto", "if", "inline", "int", "long", "mutable", "namespace", "new",
  "noexcept", "not", "not_eq", "nullptr", "operator", "or", "or_eq", "private", "protected", "public", "register",
  "reinterpret_cast", "requires", "restrict", "return", "short", "signed", "sizeof", "static", "static_assert",
  "static_cast", "struct", "switch", "template", "this", "thread_local", "throw", "true", "try", "typedef", "typeid",
  "typename", "typeof", "union", "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq",
  "linux", "unix", "i386", "OMP", "NULL", "EOF", "main", "plait_entry", "fault", "scratch", "arg", "dim",
};

// Functions that compilers know under their plain names: no name of the whole file (a parameter may hide them).
static const char *const library[] = {
  "abort", "abs", "acos", "acosh", "alloca", "asin", "asinh", "atan", "atan2", "atanh", "bcmp", "bcopy", "bzero", "calloc",
  "carg", "cbrt", "ceil", "cexp", "cimag", "clog", "conj", "copysign", "cos", "cosh", "cpow", "cproj", "creal", "csin",
  "csqrt", "ctan", "drem", "erf", "erfc", "execl", "execv", "exit", "exp", "exp10", "exp2", "expm1", "fabs", "fdim",
  "ffs", "floor", "fma", "fmax", "fmin", "fmod", "fork", "fprintf", "fputc", "fputs", "free", "frexp", "fscanf", "fwrite",
  "gamma", "hypot", "ilogb", "index", "isalnum", "isalpha", "isdigit", "isfinite", "isinf", "islower", "isnan", "isspace",
  "isupper", "j0", "j1", "jn", "labs", "ldexp", "lgamma", "llabs", "llrint", "llround", "log", "log10", "log1p", "log2",
  "logb", "lrint", "lround", "malloc", "memchr", "memcmp", "memcpy", "memmove", "memset", "modf", "nan", "nearbyint",
  "nextafter", "pow", "pow10", "printf", "putc", "putchar", "puts", "realloc", "remainder", "remquo", "rindex", "rint",
  "round", "scalb", "scalbln", "scanf", "signbit", "significand", "sin", "sincos", "sinh", "snprintf", "sprintf", "sqrt",
  "sscanf", "stpcpy", "strcasecmp", "strcat", "strchr", "strcmp", "strcpy", "strdup", "strlen", "strncmp", "strncpy",
  "strspn", "strstr", "tan", "tanh", "tgamma", "tolower", "toupper", "trunc", "vprintf", "y0", "y1", "yn",
};

static const char present = 1, absent = 0;

static bool is_taken(const Names *n, Name name) {
  const char *mark = map_getp(&n->taken, name);
  return mark && *mark;
}

static void take(Names *n, Name name) {
  map_putp(&n->taken, name, (void *)&present);
  vec_push(n->a, &n->live, name);
}

Names names_make(Arena *a) {
  Names n = {.a = a, .in = intern_create(a), .taken = map_make(a), .bound = map_make(a), .next = map_make(a)};
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) take(&n, intern(n.in, reserved[i]));
  return n;
}

void names_open(Names *n) { vec_push(n->a, &n->scope, n->live.n); }

enum { FIRST_NUMBER = 2, MOST_DIGITS = 9 };

static int next_number(const Names *n, Name hint) {
  int next = (int)(uintptr_t)map_getp(&n->next, hint);
  return next ? next : FIRST_NUMBER;
}

// The number of a name that goes is free for its hint again.
static void free_number(Names *n, Name name) {
  size_t end = strlen(name), from = end;
  while (from && isdigit((unsigned char)name[from - 1])) from--;
  if (from < 2 || name[from - 1] != '_' || from == end || end - from > MOST_DIGITS) return;
  Name hint = intern_n(n->in, name, from - 1);
  int number = atoi(name + from);
  if (number >= FIRST_NUMBER && number < next_number(n, hint)) map_putp(&n->next, hint, (void *)(uintptr_t)number);
}

static void drop(Names *n, Name name) {
  map_putp(&n->taken, name, (void *)&absent);
  free_number(n, name);
}

void names_close(Names *n) {
  int mark = n->scope.v[--n->scope.n];
  while (n->live.n > mark) drop(n, n->live.v[--n->live.n]);
}

// The hint, or the hint with the first number that makes it nobody's. Many names have one hint, so it is known where to begin.
static Name untaken(Names *n, const char *hint) {
  char text[160];
  snprintf(text, sizeof text, "%.120s", hint);
  Name bare = intern(n->in, text), name = bare;
  if (!is_taken(n, bare)) return bare;
  int k = next_number(n, bare);
  for (;; k++) {
    snprintf(text, sizeof text, "%.120s_%d", hint, k);
    name = intern(n->in, text);
    if (!is_taken(n, name)) break;
  }
  map_putp(&n->next, bare, (void *)(uintptr_t)k);
  return name;
}

Name names_fresh(Names *n, const char *hint) {
  Name name = untaken(n, hint);
  take(n, name);
  return name;
}

Name names_keep(Names *n, const char *hint) {
  Name name = untaken(n, hint);
  map_putp(&n->taken, name, (void *)&present);
  return name;
}

Name names_global(Names *n, const char *hint) {
  for (size_t i = 0; i < sizeof library / sizeof *library; i++)
    if (strcmp(hint, library[i]) == 0) return names_fresh(n, arena_printf(n->a, "%s_", hint));
  return names_fresh(n, hint);
}

Name names_bind(Names *n, const void *object, const char *hint) {
  Name name = names_fresh(n, hint);
  names_bind_to(n, object, name);
  return name;
}

void names_bind_to(Names *n, const void *object, Name name) { map_putp(&n->bound, object, (void *)name); }

Name names_of(const Names *n, const void *object) { return map_getp(&n->bound, object); }
