// numbers.c: the values of number tokens.
#include "frontend/parser.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// `_` may stand between digits only.
static bool separators_ok(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (s[i] == '_' && (i == 0 || i + 1 == n || !isxdigit((unsigned char)s[i - 1]) || !isxdigit((unsigned char)s[i + 1])))
      return false;
  return true;
}

static void check_separators(Parser *p, const Token *t) {
  if (!t->slip && !separators_ok(p->text + t->lo, t->hi - t->lo))
    diag_error(p->d, E_bad_number, token_span(p, t), "`_` in a number stands between two digits");
}

static int digit_value(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

uint64_t read_integer(Parser *p, const Token *t) {
  if (t->slip) return 0;                     // reported with the token
  const char *s = p->text + t->lo, *end = p->text + t->hi;
  unsigned base = 10;
  if (end - s > 2 && s[0] == '0' && strchr("xXbB", s[1])) {
    base = s[1] == 'x' || s[1] == 'X' ? 16 : 2;
    s += 2;
  }
  check_separators(p, t);
  uint64_t v = 0;
  for (; s < end; s++) {
    if (*s == '_') continue;
    unsigned digit = (unsigned)digit_value(*s);
    if (v > (UINT64_MAX - digit) / base)
      return diag_error(p->d, E_integer_too_large, token_span(p, t), "integer does not fit in 64 bits"), 0;
    v = v * base + digit;
  }
  return v;
}

// The text without `_` and without its point, which strtod would take from the locale: 12.5e-3 as 125e-4.
static double decimal_value(Parser *p, const char *s, size_t n) {
  Buf b = buf_make(p->a);
  long exponent = 0, behind = 0;
  bool point = false;
  size_t i = 0;
  for (; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
    if (s[i] == '.') point = true;
    if (!isdigit((unsigned char)s[i])) continue;
    buf_putc(&b, s[i]);
    behind += point;
  }
  bool minus = i + 1 < n && s[i + 1] == '-';
  for (i++; i < n; i++)
    if (isdigit((unsigned char)s[i]) && exponent < 100000000) exponent = exponent * 10 + (s[i] - '0');
  buf_printf(&b, "e%ld", (minus ? -exponent : exponent) - behind);
  return strtod(b.s, NULL);
}

double read_float(Parser *p, const Token *t) {
  if (t->slip == SLIP_NUMBER) return 0;      // reported with the token
  check_separators(p, t);
  double v = decimal_value(p, p->text + t->lo, t->hi - t->lo);
  if (isinf(v)) diag_error(p->d, E_bad_number, token_span(p, t), "number is larger than any f64; write inf for infinity");
  return v;
}
