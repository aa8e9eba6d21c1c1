// tokens.c: the stream of tokens that the grammar reads, and where it goes on after an error.
//
// Statements have no separators, so a broken one ends where the next begins: at `}`, `;`, or at a token that begins a
// line and reads as the start of an equation, update or field (`NAME =`, `NAME[…] <-`, `NAME: …`, `NAME, NAME =`).
// The words fn, const, format and import always start an item; a `}` missing before them is made up.
// All tokens stay in an array: messages look back, recovery looks ahead, and may go back to the start of a line whose
// first name was swallowed by the unfinished line before.
#include "frontend/parser.h"
#include "frontend/parse.tab.h"
#include <assert.h>
#include <string.h>

enum { LOOK_AHEAD = 256 };      // tokens that equation_at reads at most: recovery stays linear

int plait_yylex(PLAIT_YYSTYPE *value, Span *at, Parser *p);

Token *token_at(Parser *p, int i) {
  while (p->tokens.n <= i) {
    if (p->tokens.n && p->tokens.v[p->tokens.n - 1].kind == T_FILE_END) return &p->tokens.v[p->tokens.n - 1];
    Token t = scan_next(p);
    vec_push(p->scratch, &p->tokens, t);
  }
  return &p->tokens.v[i];
}

static int kind_at(Parser *p, int i) { return token_at(p, i)->kind; }

Span token_span(const Parser *p, const Token *t) { return (Span){p->file, t->lo, t->hi}; }

bool first_of_line(Parser *p, int i) { return token_at(p, i)->line == i; }

// Behind the bracket that closes the one at token i; -1 when it is not closed within LOOK_AHEAD tokens.
static int behind_brackets(Parser *p, int i) {
  int depth = 0;
  for (int k = i; k < i + LOOK_AHEAD; k++) {
    int kind = kind_at(p, k);
    if (kind == T_FILE_END || kind == T_LBRACE || kind == T_RBRACE || kind == T_ASSIGN || kind == T_STORE) return -1;
    depth += (kind == T_LBRACKET || kind == T_LPAREN) - (kind == T_RBRACKET || kind == T_RPAREN);
    if (depth == 0) return k + 1;
  }
  return -1;
}

static int names_equation(Parser *p, int i) {
  int k = i + 1;
  while (k < i + LOOK_AHEAD && kind_at(p, k) == T_COMMA && kind_at(p, k + 1) == T_NAME) k += 2;
  return kind_at(p, k) == T_ASSIGN ? i + 1 : -1;
}

int equation_at(Parser *p, int i) {
  if (kind_at(p, i) != T_NAME) return -1;
  int next = kind_at(p, i + 1);
  if (next == T_ASSIGN || next == T_STORE || next == T_COLON) return i + 1;
  if (next == T_COMMA) return names_equation(p, i);
  if (next != T_LBRACKET) return -1;
  int k = behind_brackets(p, i + 1);
  return k >= 0 && (kind_at(p, k) == T_ASSIGN || kind_at(p, k) == T_STORE) ? k : -1;
}

// The words that start items are reserved, but may stand in a name's place by mistake: within a line more is asked.
bool starts_item(Parser *p, int i) {
  int kind = kind_at(p, i), next = kind_at(p, i + 1), then = kind_at(p, i + 2);
  bool first = first_of_line(p, i);
  if (kind == T_IMPORT) return next == T_STRING || first;
  if (kind != T_FN && kind != T_CONST && kind != T_FORMAT) return false;
  if (first) return next != T_LBRACKET && next != T_ASSIGN && next != T_COMMA && next != T_COLON && next != T_STORE;
  if (next != T_NAME) return false;
  return kind == T_FN ? then == T_LPAREN : kind == T_FORMAT ? then == T_OF : then == T_ASSIGN || then == T_COLON;
}

void nest(Parser *p, Span at) {
  if (++p->depth <= LIMIT_NESTING || p->stop) return;
  diag_error(p->d, E_limit_nesting, at, "expression nested more than %d levels deep", LIMIT_NESTING);
  p->stop = true;
}

// Recovery.

static bool ends_expression(int kind) {
  return kind == T_NAME || kind == T_INTEGER || kind == T_FLOAT || kind == T_RPAREN || kind == T_RBRACKET ||
         kind == T_INF || kind == T_NAN || kind == T_TRUE || kind == T_FALSE;
}

bool swallowed_line(Parser *p, int i) {
  int line = token_at(p, i)->line;
  if (!p->before.open || p->before.header || line == 0 || equation_at(p, line) != i) return false;
  int last = kind_at(p, line - 1);
  return last != T_LBRACE && last != T_RBRACE && last != T_SEMICOLON && !ends_expression(last);
}

static void queue(Parser *p, int kind) {
  assert(p->queued < (int)(sizeof p->queue / sizeof *p->queue));
  p->queue[p->queued++] = kind;
}

// Hand out RESYNC, then token i. `closing`: as many `}` as are missing stand between them.
static void resume(Parser *p, int i, bool closing) {
  p->next = p->resumed = i;
  for (int k = 0; closing && k < p->now.open; k++) queue(p, T_RBRACE);
  queue(p, T_RESYNC);
}

// A line that reads as a statement, if a wrong one: `let y = …`, `y[i] += …`, `y[i] == …`.
static bool statement_at(Parser *p, int i) {
  if (equation_at(p, i) >= 0) return true;
  int kind = kind_at(p, i), next = kind_at(p, i + 1);
  if (kind == T_ENCODE) return next == T_LPAREN;
  if (kind != T_NAME) return false;
  if (next == T_NAME || next == T_EQ) return true;
  int k = next == T_LBRACKET ? behind_brackets(p, i + 1) : i + 1;
  return k >= 0 && (kind_at(p, k) == T_EQ || kind_at(p, k + 1) == T_ASSIGN);
}

// In a body: over what a brace opened in the broken text encloses, to the next statement or `}`.
static void resume_in_body(Parser *p, int i) {
  int braces = 0;
  for (;; i++) {
    int kind = kind_at(p, i);
    if (kind == T_FILE_END || starts_item(p, i)) {
      resume(p, i, true);
      return;
    }
    if (kind == T_RBRACE && braces-- == 0) break;
    braces += kind == T_LBRACE;
    if (braces > 0) continue;
    if (kind == T_SEMICOLON) break;
    if (first_of_line(p, i) && statement_at(p, i)) break;
  }
  resume(p, i, false);
}

// In a header: to its `{`. Where there is none before the next item the function has no body; before an equation,
// the brace is made up.
static void resume_in_header(Parser *p, int i) {
  for (;; i++) {
    int kind = kind_at(p, i);
    if (kind == T_LBRACE) break;
    bool body = first_of_line(p, i) && kind == T_NAME && equation_at(p, i) >= 0 && kind_at(p, i + 1) != T_COLON;
    if (body) queue(p, T_LBRACE);
    else if (kind == T_RBRACE || kind == T_FILE_END || starts_item(p, i)) queue(p, T_NO_BODY);
    else continue;
    i += kind == T_RBRACE;
    break;
  }
  p->next = p->resumed = i;
  queue(p, T_RESYNC);
}

static void resume_at_item(Parser *p, int i) {
  while (kind_at(p, i) != T_FILE_END && !starts_item(p, i)) i++;
  resume(p, i, false);
}

// The token handed out last, at p->next - 1, was the wrong one. Always goes forward: not to where it resumed before.
static void recover(Parser *p) {
  int i = p->next - 1;
  p->recovering = false;
  p->queued = 0;
  p->now = p->before;
  if (i < 0) i = 0;
  int line = token_at(p, i)->line;
  if (line > p->resumed && swallowed_line(p, i)) resume(p, line, false);
  else if (p->now.header) resume_in_header(p, i);
  else if (p->now.open > 0) resume_in_body(p, i + (i == p->resumed && kind_at(p, i) != T_FILE_END));
  else resume_at_item(p, i + (i == p->resumed && kind_at(p, i) != T_FILE_END));
}

// Handing out.

static void track(Parser *p, int kind) {
  p->before = p->now;
  if (kind == T_FN || kind == T_FORMAT || kind == T_ENCODE) p->now.header = true;
  if (kind == T_LBRACE) {
    if (p->now.open < (int)(sizeof p->now.brace / sizeof *p->now.brace)) p->now.brace[p->now.open] = p->next - 1;
    p->now.open++;
    p->now.header = false;
  }
  if (kind == T_NO_BODY) p->now.header = false;
  if (kind == T_RBRACE && p->now.open > 0) p->now.open--;
}

static void set_value(Parser *p, const Token *t, PLAIT_YYSTYPE *value) {
  const char *s = p->text + t->lo;
  size_t n = t->hi - t->lo;
  switch (t->kind) {
  case T_NAME: value->T_NAME = intern_n(p->names, s, n); break;
  case T_INTEGER: value->T_INTEGER = read_integer(p, t); break;
  case T_FLOAT: value->T_FLOAT = read_float(p, t); break;
  case T_STRING: value->T_STRING = arena_strndup(p->a, s + 1, n - 1 - (t->slip != SLIP_STRING)); break;
  case T_DTYPE: value->T_DTYPE = dtype_by_name(intern_n(p->names, s, n)); break;
  case T_REDUCER: value->T_REDUCER = reducer_by_name(intern_n(p->names, s, n)); break;
  default: break;
  }
}

static int hand_out_queued(Parser *p, Span *at) {
  uint32_t lo = token_at(p, p->next)->lo;
  *at = (Span){p->file, lo, lo};
  int kind = p->queue[--p->queued];
  if (kind != T_RESYNC) track(p, kind);
  return kind;
}

static int hand_out_end(Parser *p, Span *at) {
  uint32_t end = (uint32_t)p->len;
  *at = (Span){p->file, end, end};
  if (p->ended) return 0;
  p->ended = true;
  return T_FILE_END;
}

int plait_yylex(PLAIT_YYSTYPE *value, Span *at, Parser *p) {
  if (p->recovering && !p->stop) recover(p);
  if (p->stop) return hand_out_end(p, at);
  if (p->queued) return hand_out_queued(p, at);
  Token t = *token_at(p, p->next++);
  if (t.kind == T_FILE_END && p->ended) return 0;
  p->ended = t.kind == T_FILE_END;
  *at = token_span(p, &t);
  track(p, t.kind);
  if (t.slip) report_slip(p, &t);
  else if (t.kind == T_STRING) report_text(p, t.lo, t.hi);
  bool stray = t.slip == SLIP_STRING && p->next > 1 && p->tokens.v[p->next - 2].kind != T_IMPORT;
  if (stray) t.kind = p->tokens.v[p->next - 1].kind = T_BAD;     // reported already
  set_value(p, &t, value);
  return t.kind;
}
