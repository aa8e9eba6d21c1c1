// json.c: JSON text with the commas and escapes put in.
#include "base/json.h"
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

Json json_make(Buf *b) { return (Json){.b = b}; }

// What separates a value from the one before it.
static void before_value(Json *j) {
  if (j->after_key) {
    j->after_key = false;
    return;
  }
  if (j->comma[j->depth]) buf_puts(j->b, ", ");
  j->comma[j->depth] = true;
}

void json_open(Json *j, char bracket) {
  assert(j->depth + 1 < (int)(sizeof j->comma / sizeof *j->comma));
  before_value(j);
  buf_putc(j->b, bracket);
  j->comma[++j->depth] = false;
}

void json_close(Json *j, char bracket) {
  assert(j->depth > 0 && !j->after_key);
  j->depth--;
  buf_putc(j->b, bracket);
}

static void put_char(Buf *b, const char *s, int len, uint32_t cp) {
  static const char named[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
  const char *at = cp && cp < 0x80 ? strchr(named, (int)cp) : NULL;
  if (at) buf_printf(b, "\\%c", letter[at - named]);
  else if (cp < 0x20 || cp == 0x7f) buf_printf(b, "\\u%04x", (unsigned)cp);
  else buf_putn(b, s, (size_t)len);
}

static void put_string(Buf *b, const char *s) {
  buf_putc(b, '"');
  for (size_t n = strlen(s); n;) {
    uint32_t cp;
    int len = utf8_decode(s, n, &cp);
    if (len) put_char(b, s, len, cp);
    else buf_puts(b, "\\ufffd");
    len += !len;
    s += len;
    n -= (size_t)len;
  }
  buf_putc(b, '"');
}

void json_key(Json *j, const char *key) {
  before_value(j);
  put_string(j->b, key);
  buf_puts(j->b, ": ");
  j->after_key = true;
}

void json_str(Json *j, const char *s) {
  before_value(j);
  put_string(j->b, s);
}

void json_int(Json *j, int64_t v) {
  before_value(j);
  buf_printf(j->b, "%" PRId64, v);
}

void json_num(Json *j, double v) {
  before_value(j);
  if (isfinite(v)) buf_float(j->b, v, false);
  else buf_puts(j->b, "null");
}

void json_bool(Json *j, bool v) {
  before_value(j);
  buf_puts(j->b, v ? "true" : "false");
}

void json_null(Json *j) {
  before_value(j);
  buf_puts(j->b, "null");
}
