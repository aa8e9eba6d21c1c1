// slips.c: syntax errors in the user's words.
//
// A token that cannot stand where it is found gets one message: "expected …, found …", or, for slips that people
// coming from other languages make, what the language has instead. The list `slips` at the end is tried in order.
#include "frontend/parser.h"
#include "frontend/parse.tab.h"
#include <string.h>

typedef struct Found {
  Parser *p;
  const Expected *x;
  int i;                    // position of the token that cannot stand here
  Token t, prev, next;      // it and its neighbours; prev.kind 0 at the start of the file
  int opener;               // the bracket that is open around it, -1 when none
  bool first;               // the token begins its line
  bool wants, after;        // an expression could stand here; one has just ended here
} Found;

// Malformed tokens.

static const char *character_help(uint32_t c) {
  static const struct { uint32_t c; const char *help; } rows[] = {
    {'.', "functions are called as `f(x)`, and a float has digits on both sides of its point"},
    {'?', "a choice is written `if c then a else b`, a default for reads out of range `x[i] ?? 0`"},
    {'@', "a matrix product is written `matmul(a, b)` or `sum[k](a[i, k] * b[k, j])`"},
    {'\'', "a transposed tensor is read with its subscripts swapped: `x[j, i]`"},
    {'\\', "lines may end anywhere; no mark is needed"},
    {0xa0, "this is a no-break space; write a plain space"},
    {0xd7, "multiplication is written `*`"},
    {0xf7, "division is written `/`"},
    {0x2212, "this is a typographic minus; write `-`"}, {0x2013, "this is a dash; write `-`"},
    {0x2264, "write `<=`"}, {0x2265, "write `>=`"}, {0x2260, "write `!=`"},
    {0x2190, "the store arrow is written `<-`"}, {0x2192, "the arrow is written `->`"},
    {0x2211, "a sum is written `sum[i](…)`"},
    {0x201c, "strings stand between plain quotes `\"`"}, {0x201d, "strings stand between plain quotes `\"`"},
    {0x200b, "this is a space without width; remove it"}, {0xfeff, "this is a byte order mark; remove it"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].c == c) return rows[i].help;
  return NULL;
}

static void report_character(Parser *p, const Token *t) {
  uint32_t c = 0;
  int n = utf8_decode(p->text + t->lo, t->hi - t->lo, &c);
  if (!n) {
    diag_error(p->d, E_bad_utf8, (Span){p->file, t->lo, t->lo + 1}, "byte 0x%02x is not UTF-8", (unsigned char)p->text[t->lo]);
    return;
  }
  Span at = {p->file, t->lo, t->lo + (uint32_t)n};
  if (c < 0x20 || c == 0x7f) diag_error(p->d, E_bad_character, at, "control character U+%04X", (unsigned)c);
  else if (c < 0x80) diag_error(p->d, E_bad_character, at, "`%c` is not a character of the language", (char)c);
  else diag_error(p->d, E_bad_character, at, "character U+%04X outside a comment", (unsigned)c);
  const char *help = character_help(c);
  if (help) diag_help(p->d, "%s", help);
}

static void report_replaced(Parser *p, Span at, const char *word, const char *wrong) {
  diag_error(p->d, E_syntax, at, "`%s` is written `%s`", wrong, word);
  diag_fix(p->d, at, at.hi - at.lo == 1 ? arena_printf(p->a, "%s ", word) : word);      // !x
}

static void report_point(Parser *p, const Token *t) {
  Span at = token_span(p, t);
  const char *s = p->text + t->lo;
  int n = (int)(t->hi - t->lo);
  diag_error(p->d, E_bad_number, at, "a float has digits on both sides of its point");
  diag_fix(p->d, at, s[0] == '.' ? arena_printf(p->a, "0%.*s", n, s) : arena_printf(p->a, "%.*s0", n, s));
}

static void report_number(Parser *p, const Token *t) {
  Span at = token_span(p, t);
  diag_error(p->d, E_bad_number, at, "`%.*s` is no number", at.hi - at.lo > 40 ? 40 : (int)(at.hi - at.lo), p->text + t->lo);
  char last = p->text[t->hi - 1];
  if (strchr("fFlLuU", last)) diag_help(p->d, "numbers have no suffix; a cast sets the type: `f16(0.5)`");
  else diag_help(p->d, "a name cannot begin with a digit; numbers look like 12, 0xff, 0b101, 1.0 and 1e-5");
}

void report_text(Parser *p, uint32_t lo, uint32_t hi) {
  uint32_t c;
  for (int n; lo < hi; lo += (uint32_t)n) {
    n = utf8_decode(p->text + lo, hi - lo, &c);
    Token t = {.lo = lo, .hi = hi};
    if (n && (c >= 0x20 || c == '\t') && c != 0x7f) continue;
    report_character(p, &t);
    return;
  }
}

void report_slip(Parser *p, const Token *t) {
  Span at = token_span(p, t);
  switch (t->slip) {
  case SLIP_NONE: break;
  case SLIP_AND: report_replaced(p, at, "and", "&&"); break;
  case SLIP_OR: report_replaced(p, at, "or", "||"); break;
  case SLIP_NOT: report_replaced(p, at, "not", "!"); break;
  case SLIP_POINT: report_point(p, t); break;
  case SLIP_NUMBER: report_number(p, t); break;
  case SLIP_STRING: diag_error(p->d, E_bad_string, at, "string without its closing quote on the same line"); break;
  case SLIP_BOM:
    diag_error(p->d, E_bad_character, at, "byte order mark");
    diag_help(p->d, "save the file as UTF-8 without a byte order mark");
    break;
  case SLIP_CHARACTER: case SLIP_CONTROL: case SLIP_UTF8: report_character(p, t); break;
  }
}

// What was expected.

static bool expects(const Found *f, const char *name) {
  for (int i = 0; i < f->x->n; i++)
    if (strcmp(f->x->name[i], name) == 0) return true;
  return false;
}

typedef struct Phrases { int n; const char *text[8]; } Phrases;

static void say(Phrases *s, const char *text) {
  if (s->n < 8) s->text[s->n++] = text;
}

static void say_token(const Found *f, Phrases *s, const char *name) {
  if (expects(f, name)) say(s, arena_printf(f->p->a, "`%s`", name));
}

// Behind a whole expression an operator is always possible; what would end it is more to the point.
static void say_after_expression(const Found *f, Phrases *s) {
  static const char *const ends[] = {",", ")", "]", "then", "else", "..", "{"};
  if (expects(f, "NAME")) say(s, "an operator or the next equation");
  else if (expects(f, "FILE_END")) say(s, "an operator or the next item");
  else if (expects(f, "=")) say_token(f, s, "=");
  for (size_t i = 0; !s->n && i < sizeof ends / sizeof *ends; i++)
    if (expects(f, ends[i]))
      for (; i < sizeof ends / sizeof *ends; i++) say_token(f, s, ends[i]);
  if (!s->n) say(s, "an operator");
}

static void say_tokens(const Found *f, Phrases *s) {
  for (int i = 0; i < f->x->n; i++) {
    const char *name = f->x->name[i];
    if (strcmp(name, "NAME") == 0) say(s, expects(f, "DTYPE") ? "a type" : "a name");
    else if (strcmp(name, "INTEGER") == 0) say(s, "an integer");
    else if (strcmp(name, "STRING") == 0) say(s, "a file name in quotes");
    else if (strcmp(name, ";") && strcmp(name, "FILE_END") && strcmp(name, "DTYPE") && strcmp(name, "NO_BODY"))
      say(s, arena_printf(f->p->a, "`%s`", name));
  }
}

static Phrases expected_phrases(const Found *f) {
  Phrases s = {0};
  if (f->wants) {
    say(&s, "an expression");
    say_token(f, &s, ")");
  } else if (f->after) {
    say_after_expression(f, &s);
  } else if (expects(f, "encode")) {
    say(&s, "a field, an equation or `}`");
  } else if (expects(f, ";")) {
    say(&s, "an equation or `}`");
  } else {
    say_tokens(f, &s);
  }
  return s;
}

static const char *expected_text(const Found *f) {
  Phrases s = expected_phrases(f);
  Buf b = buf_make(f->p->a);
  for (int i = 0; i < s.n; i++) buf_printf(&b, "%s%s", i == 0 ? "" : i + 1 == s.n ? " or " : ", ", s.text[i]);
  return b.s;
}

static const char *token_text(const Found *f, const Token *t) {
  enum { SHOWN = 40 };
  int n = (int)(t->hi - t->lo);
  if (t->kind == T_FILE_END) return "the end of the file";
  if (t->kind == T_STRING) return "a string";
  return arena_printf(f->p->a, "`%.*s%s`", n > SHOWN ? SHOWN : n, f->p->text + t->lo, n > SHOWN ? "…" : "");
}

static bool token_is(const Found *f, const Token *t, const char *word) {
  return t->hi - t->lo == strlen(word) && memcmp(f->p->text + t->lo, word, t->hi - t->lo) == 0;
}

static Span found_span(const Found *f) { return token_span(f->p, &f->t); }

// The common form, with a help line.
static bool unexpected(const Found *f, const char *help) {
  diag_error(f->p->d, E_syntax, found_span(f), "expected %s, found %s", expected_text(f), token_text(f, &f->t));
  if (help) diag_help(f->p->d, "%s", help);
  return true;
}

static bool opener_is(const Found *f, int kind) { return f->opener >= 0 && token_at(f->p, f->opener)->kind == kind; }

static int kind_before(const Found *f, int back) { return f->i >= back ? token_at(f->p, f->i - back)->kind : 0; }

static bool touches(const Token *a, const Token *b) { return a->hi == b->lo; }

// The innermost bracket that is open before token i, in the same statement.
static int opener_before(Parser *p, int i) {
  enum { LOOK_BACK = 4096 };
  int depth = 0;
  for (int k = i - 1; k >= 0 && k > i - LOOK_BACK; k--) {
    int kind = token_at(p, k)->kind;
    if (kind == T_LBRACE || kind == T_RBRACE || kind == T_SEMICOLON || kind == T_FN) return -1;
    depth += (kind == T_RPAREN || kind == T_RBRACKET) - (kind == T_LPAREN || kind == T_LBRACKET);
    if (depth < 0) return k;
  }
  return -1;
}

// Slips, one function each: true when it reported.

// y[i] = x[i] +        the unfinished equation swallowed the name of the next one
// z[i] = w[i]
static bool unfinished_line(const Found *f) {
  int line = f->t.line;
  if (!swallowed_line(f->p, f->i)) return false;
  Token last = *token_at(f->p, line - 1), name = *token_at(f->p, line);
  diag_error(f->p->d, E_syntax, token_span(f->p, &last), "expected an expression after %s", token_text(f, &last));
  diag_label(f->p->d, token_span(f->p, &name), "the next equation begins here");
  return true;
}

static const struct { const char *word, *help; } foreign[] = {
  {"let", "an equation needs no keyword: `y[i] = …`"}, {"var", "an equation needs no keyword: `y[i] = …`"},
  {"val", "an equation needs no keyword: `y[i] = …`"}, {"auto", "an equation needs no keyword: `y[i] = …`"},
  {"return", "a function's results are named behind `->` and defined by equations: `y[i] = …`"},
  {"for", "indices run by themselves: `y[i] = x[i] + 1` holds for each i, and `sum[j](…)` adds over each j"},
  {"while", "indices run by themselves; a recurrence reads earlier elements: `h[t] = a[t] * (h[t - 1] ?? 0)`"},
  {"def", "a function is written `fn name(x: f32[N]) -> y: f32[N] { … }`"},
  {"func", "a function is written `fn name(x: f32[N]) -> y: f32[N] { … }`"},
  {"function", "a function is written `fn name(x: f32[N]) -> y: f32[N] { … }`"},
  {"fun", "a function is written `fn name(x: f32[N]) -> y: f32[N] { … }`"},
  {"lambda", "a function is written `fn name(x: f32[N]) -> y: f32[N] { … }`"},
  {"struct", "a storage format is written `format name of 32 { … }`"},
  {"type", "a storage format is written `format name of 32 { … }`"},
  {"include", "another file is brought in by `import \"file.plait\"`"},
  {"use", "another file is brought in by `import \"file.plait\"`"},
  {"from", "another file is brought in by `import \"file.plait\"`"},
  {"elif", "a further case is written `else if c then a else b`"},
};

static const char *foreign_help(const Found *f, const Token *t) {
  for (size_t i = 0; t->kind == T_NAME && i < sizeof foreign / sizeof *foreign; i++)
    if (token_is(f, t, foreign[i].word)) return foreign[i].help;
  return NULL;
}

// let y = …   return y   for i …   def f(x)
static bool foreign_keyword(const Found *f) {
  const char *help = foreign_help(f, &f->prev);
  Token word = help ? f->prev : f->t;
  if (!help) help = foreign_help(f, &f->t);
  if (!help || (word.lo != f->t.lo && f->t.kind == T_ASSIGN)) return false;
  diag_error(f->p->d, E_syntax, token_span(f->p, &word), "%s is not a word of the language", token_text(f, &word));
  diag_help(f->p->d, "%s", help);
  return true;
}

// wher N > 0   improt "a"
static bool misspelt_word(const Found *f) {
  if (f->t.kind != T_NAME) return false;
  Name word = intern_n(f->p->names, f->p->text + f->t.lo, f->t.hi - f->t.lo);
  for (int i = 0; i < f->x->n; i++) {
    const char *want = f->x->name[i];
    size_t n = strlen(want);
    bool keyword = n > 2 && want[0] >= 'a' && want[0] <= 'z';
    int far = n > 4 ? 2 : 1;
    if (!keyword || str_distance(word, want, far) > far) continue;
    unexpected(f, arena_printf(f->p->a, "did you mean `%s`?", want));
    diag_fix(f->p->d, found_span(f), want);
    return true;
  }
  return false;
}

// argmx[j](x[j])   logsumexp[j](x[i, j])
static bool misspelt_reduction(const Found *f) {
  int open = f->t.kind == T_LPAREN && f->prev.kind == T_RBRACKET && f->after ? opener_before(f->p, f->i - 1) : -1;
  const Token *name = open > 0 ? token_at(f->p, open - 1) : NULL;
  if (!name || name->kind != T_NAME) return false;
  Name word = intern_n(f->p->names, f->p->text + name->lo, name->hi - name->lo);
  int far = strlen(word) > 4 ? 2 : 1;
  for (int r = RED_NONE + 1; r < RED_COUNT_; r++) {
    if (str_distance(word, reducers[r].name, far) > far) continue;
    diag_error(f->p->d, E_syntax, token_span(f->p, name), "`%s` is no reduction", word);
    diag_help(f->p->d, "did you mean `%s`?", reducers[r].name);
    diag_fix(f->p->d, token_span(f->p, name), reducers[r].name);
    return true;
  }
  diag_error(f->p->d, E_syntax, token_span(f->p, name), "`%s` is no reduction", word);
  diag_help(f->p->d, "a function takes whole tensors and its result is read with indices, `%s(x)[i]`; between factors stands `*`", word);
  return true;
}

// x<-1
static bool store_arrow(const Found *f) {
  if (f->t.kind != T_STORE || !f->after) return false;
  diag_error(f->p->d, E_store_arrow, found_span(f), "`<-` is the store arrow and cannot stand in an expression");
  diag_help(f->p->d, "to compare with a negative number put a space between: `< -`");
  diag_fix(f->p->d, found_span(f), "< -");
  return true;
}

static bool reserved(int kind) {
  return kind == T_DTYPE || kind == T_REDUCER || (kind >= T_FN && kind <= T_BITCAST);
}

static bool begins_equation(const Found *f) {
  const Token *next = &f->next;
  return f->first && (next->kind == T_ASSIGN || next->kind == T_LBRACKET || next->kind == T_COLON || next->kind == T_STORE);
}

// Who names a tensor `sum` does so in several places; that is one slip.
static bool first_misuse(const Found *f) {
  Parser *p = f->p;
  Name word = intern_n(p->names, p->text + f->t.lo, f->t.hi - f->t.lo);
  for (int i = 0; i < p->misused.n; i++)
    if (p->misused.v[i] == word) return false;
  vec_push(p->scratch, &p->misused, word);
  return true;
}

// sum[i] = …   fn of(…)   (in: f32)
static bool reserved_word(const Found *f) {
  if (!reserved(f->t.kind) || !expects(f, "NAME") || expects(f, "DTYPE")) return false;
  if (f->wants || starts_item(f->p, f->i)) return false;
  if ((expects(f, "}") || f->after) && !begins_equation(f)) return false;
  const char *what = f->t.kind == T_DTYPE ? "the name of a type"
                     : f->t.kind == T_REDUCER ? "the name of a reduction" : "a reserved word";
  if (f->t.kind == T_DTYPE && f->next.kind == T_NAME) return unexpected(f, "the type follows the name: `x: f32[N]`");
  if (f->t.kind == T_DTYPE && f->prev.kind == T_ARROW) return unexpected(f, "a result has a name: `-> y: f32[N]`");
  if (first_misuse(f))
    diag_error(f->p->d, E_reserved_word, found_span(f), "%s is %s and cannot name anything else", token_text(f, &f->t), what);
  return true;
}

// f(axis = 1)   if a = b   a = b = c
static bool single_equals(const Found *f) {
  if (f->t.kind != T_ASSIGN || !f->after) return false;
  bool single = f->prev.kind == T_NAME && (kind_before(f, 2) == T_LPAREN || kind_before(f, 2) == T_COMMA);
  bool argument = single && opener_is(f, T_LPAREN);
  if (argument && f->opener > 0 && token_at(f->p, f->opener - 1)->kind == T_NAME)
    return unexpected(f, "arguments come in order, without names; `==` compares");
  if (opener_is(f, T_LBRACKET) && f->prev.kind == T_NAME)
    return unexpected(f, "a range is written `i < n` or `i in a .. b`; `==` compares");
  return unexpected(f, "`==` compares");
}

// y[i] == x[i]
static bool double_equals(const Found *f) {
  if (f->t.kind != T_EQ || !expects(f, "=")) return false;
  unexpected(f, "an equation is written with one `=`");
  diag_fix(f->p->d, found_span(f), "=");
  return true;
}

// format g[16] { … }   encode { … }
static bool format_head(const Found *f) {
  if (f->t.kind == T_LBRACKET && expects(f, "of")) return unexpected(f, "a format says how many values a block has: `format name of 32 { … }`");
  if (f->t.kind != T_LBRACE || !expects(f, "(") || !token_is(f, &f->prev, "encode")) return false;
  return unexpected(f, "the values to store have a name: `encode(v) { … }`");
}

// y[i] += x   y := x   y[i] := x
static bool assignment_operator(const Found *f) {
  int k = f->t.kind;
  if (k == T_ASSIGN && f->prev.kind == T_COLON && touches(&f->prev, &f->t))
    return unexpected(f, "an equation is written with `=`");
  if (k == T_COLON && f->next.kind == T_ASSIGN && touches(&f->t, &f->next) && expects(f, "=")) return unexpected(f, "an equation is written with `=`");
  bool arithmetic = k == T_PLUS || k == T_MINUS || k == T_STAR || k == T_SLASH;
  if (!arithmetic || f->next.kind != T_ASSIGN || !touches(&f->t, &f->next) || !expects(f, "=")) return false;
  return unexpected(f, "each element is defined once, by one equation; adding up is a reduction: `y[i] = sum[j](…)`");
}

// x[i][j]
static bool split_brackets(const Found *f) {
  if (f->t.kind != T_LBRACKET || f->prev.kind != T_RBRACKET) return false;
  return unexpected(f, "subscripts stand in one pair of brackets: `x[i, j]`");
}

// f(a, b,)
static bool trailing_comma(const Found *f) {
  bool closer = f->t.kind == T_RPAREN || f->t.kind == T_RBRACKET || f->t.kind == T_LBRACE;
  if (!closer || f->prev.kind != T_COMMA) return false;
  unexpected(f, "remove the comma before it");
  diag_fix(f->p->d, token_span(f->p, &f->prev), "");
  return true;
}

// 1 + if …   a == not b   y = x if m   a if c else b
static bool word_operator(const Found *f) {
  if (f->wants && f->t.kind == T_IF)
    return unexpected(f, "inside an expression `if` needs brackets: `1 + (if c then a else b)`");
  if (f->wants && f->t.kind == T_NOT) return unexpected(f, "`not` binds loosely; put brackets around it: `a == (not b)`");
  if (f->after && f->t.kind == T_ELSE) return unexpected(f, "a choice is written `if c then a else b`");
  if (!f->after || f->t.kind != T_IF) return false;
  return unexpected(f, "a filter belongs to a store or stands inside a reduction; a choice is written `if c then a else b`");
}

// x[1:2]   sum[0 .. n](…)   sum[j row[r] .. e](…)
static bool bad_range(const Found *f) {
  if (!opener_is(f, T_LBRACKET) || !f->p->before.open) return false;
  if (f->t.kind == T_COLON)
    return unexpected(f, "there are no slices: name an index, `x[i + 1]`; a reduction may have a range, `i in a .. b`");
  if (f->t.kind == T_DOTS) return unexpected(f, "a range has an index: `i in a .. b`");
  bool index = f->prev.kind == T_NAME && (kind_before(f, 2) == T_LBRACKET || kind_before(f, 2) == T_COMMA);
  if (f->t.kind == T_IN) return unexpected(f, "left of `in` stands the name of an index");
  if (f->t.kind == T_NAME && index && f->after && !f->first) return unexpected(f, "a range is written `i in a .. b`");
  return false;
}

// y = [1, 2]
static bool list_value(const Found *f) {
  if (!f->wants || f->t.kind != T_LBRACKET) return false;
  return unexpected(f, "a table of numbers is a `const` of its own: `const t = [1, 2]`");
}

// // two words   /* comment
static bool foreign_comment(const Found *f) {
  int line = f->prev.kind ? f->prev.line : f->i;
  Token begin = *token_at(f->p, f->t.kind == T_FLOORDIV ? f->i : line);
  bool slashes = begin.kind == T_FLOORDIV &&
                 (f->t.kind != T_FLOORDIV || f->first || f->wants || f->prev.kind == T_LBRACE || expects(f, "FILE_END"));
  bool star = (f->t.kind == T_STAR && f->prev.kind == T_SLASH && touches(&f->prev, &f->t)) ||
              (f->t.kind == T_SLASH && f->next.kind == T_STAR && touches(&f->t, &f->next));
  if (star) return unexpected(f, "a comment starts with `#`");
  if (!slashes) return false;
  diag_error(f->p->d, E_syntax, token_span(f->p, &begin), "`//` is floor division");
  diag_help(f->p->d, "a comment starts with `#`");
  return true;
}

// append(cache, k)
static bool call_statement(const Found *f) {
  if (f->t.kind != T_LPAREN || f->prev.kind != T_NAME || f->wants || !expects(f, "=") || expects(f, "(")) return false;
  return unexpected(f, "a statement defines a tensor: `y = f(x)`");
}

// fn f(x, y)   fn f(x f32)
static bool untyped_parameter(const Found *f) {
  if (!f->p->before.header || f->prev.kind != T_NAME || !expects(f, ":")) return false;
  return unexpected(f, "a parameter and a result have a type: `x: f32[N]`");
}

// fn f(x: f32) -> f32: T[N]
static bool unnamed_result(const Found *f) {
  if (!f->p->before.header || !expects(f, ":") || f->prev.kind != T_DTYPE) return false;
  return unexpected(f, "a result has a name: `-> y: f32[N]`");
}

// Words that start an item, or the end of the file, inside braces.
static bool missing_brace(const Found *f) {
  bool outside = f->t.kind == T_FILE_END || starts_item(f->p, f->i);
  if (!outside || !f->p->before.open || !expects(f, "}")) return false;
  diag_error(f->p->d, E_syntax, found_span(f), "expected `}`, found %s", token_text(f, &f->t));
  const Context *cx = &f->p->before;
  int k = cx->brace[cx->open <= 4 ? cx->open - 1 : 3];
  if (token_at(f->p, k)->kind == T_LBRACE) diag_label(f->p->d, token_span(f->p, token_at(f->p, k)), "this brace is not closed");
  return true;
}

// What stands between items.
static bool not_an_item(const Found *f) {
  if (!expects(f, "FILE_END") || !expects(f, "fn")) return false;
  if (f->t.kind == T_RBRACE) return unexpected(f, "one `}` too many");
  if (f->t.kind == T_SEMICOLON) return unexpected(f, "functions, formats and constants need no `;`");
  if (f->t.kind == T_NAME && !f->after)
    return unexpected(f, "equations stand inside a function: `fn name(…) -> y: f32[N] { … }`");
  return false;
}

// A bracket left open on an earlier line, or closed by the wrong one.
static bool open_bracket(const Found *f) {
  if (f->opener < 0 || f->wants) return false;
  Token open = *token_at(f->p, f->opener);
  if (!expects(f, open.kind == T_LPAREN ? ")" : "]")) return false;
  unexpected(f, NULL);
  bool closer = f->t.kind == T_RPAREN || f->t.kind == T_RBRACKET || f->t.kind == T_RBRACE;
  if (f->first || closer || f->t.kind == T_FILE_END) diag_label(f->p->d, token_span(f->p, &open), "opened here");
  return true;
}

static bool plain(const Found *f) { return unexpected(f, NULL); }

static bool (*const slips[])(const Found *) = {
  unfinished_line, foreign_comment, foreign_keyword, misspelt_word, misspelt_reduction, store_arrow, reserved_word, single_equals, double_equals,
  assignment_operator, format_head,
  split_brackets, trailing_comma, word_operator, missing_brace, bad_range, list_value, call_statement,
  untyped_parameter, unnamed_result, not_an_item, open_bracket, plain,
};

void report_syntax(Parser *p, const Expected *x) {
  int i = p->next - 1;
  if (p->stop || token_at(p, i)->kind == T_BAD) return;
  Found f = {.p = p, .x = x, .i = i, .t = *token_at(p, i), .next = *token_at(p, i + 1), .opener = opener_before(p, i)};
  f.first = f.t.line == i;
  if (i > 0) f.prev = *token_at(p, i - 1);
  f.wants = expects(&f, "INTEGER") && expects(&f, "FLOAT");
  f.after = expects(&f, "+");
  for (size_t k = 0; k < sizeof slips / sizeof *slips; k++)
    if (slips[k](&f)) return;
}
