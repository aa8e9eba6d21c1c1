// str.c: interned names, the text builder, shortest floats, UTF-8, edit distance, hashing.
#include "base/str.h"
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Interner: open addressing over the texts, at most half full.

typedef struct Entry { uint64_t hash; size_t n; const char *s; } Entry;
struct Interner { Arena *a; Entry *entry; size_t n, cap; };

Interner *intern_create(Arena *a) {
  Interner *in = arena_new(a, Interner);
  in->a = a;
  in->cap = 64;
  in->entry = arena_array(a, Entry, in->cap);
  return in;
}

static Entry *entry_of(const Interner *in, const char *s, size_t n, uint64_t hash) {
  size_t at = hash & (in->cap - 1);
  for (Entry *e; e = &in->entry[at], e->s; at = (at + 1) & (in->cap - 1))
    if (e->hash == hash && e->n == n && memcmp(e->s, s, n) == 0) break;
  return &in->entry[at];
}

static void intern_grow(Interner *in) {
  Entry *old = in->entry;
  size_t cap = in->cap;
  in->cap *= 2;
  in->entry = arena_array(in->a, Entry, in->cap);
  for (size_t i = 0; i < cap; i++)
    if (old[i].s) *entry_of(in, old[i].s, old[i].n, old[i].hash) = old[i];
}

Name intern_n(Interner *in, const char *s, size_t n) {
  uint64_t hash = hash_bytes(s, n, 0);
  Entry *e = entry_of(in, s, n, hash);
  if (e->s) return e->s;
  *e = (Entry){hash, n, arena_strndup(in->a, s, n)};
  Name name = e->s;
  if (2 * ++in->n > in->cap) intern_grow(in);
  return name;
}

Name intern(Interner *in, const char *s) { return intern_n(in, s, strlen(s)); }

// Text builder.

Buf buf_make(Arena *a) {
  Buf b = {.a = a, .cap = 64};
  b.s = arena_alloc(a, b.cap);
  return b;
}

static void buf_reserve(Buf *b, size_t more) {
  if (b->cap - b->n > more) return;
  size_t cap = b->cap * 2 > b->n + more + 1 ? b->cap * 2 : b->n + more + 1;
  char *s = arena_alloc(b->a, cap);
  memcpy(s, b->s, b->n);
  b->s = s;
  b->cap = cap;
}

void buf_putn(Buf *b, const char *s, size_t n) {
  if (!n) return;
  buf_reserve(b, n);
  memcpy(b->s + b->n, s, n);
  b->n += n;
  b->s[b->n] = 0;
}

void buf_puts(Buf *b, const char *s) { buf_putn(b, s, strlen(s)); }
void buf_putc(Buf *b, char c) { buf_putn(b, &c, 1); }

void buf_printf(Buf *b, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(b->s + b->n, b->cap - b->n, fmt, ap);
  va_end(ap);
  assert(n >= 0 && "format");
  if ((size_t)n >= b->cap - b->n) {
    buf_reserve(b, (size_t)n);
    va_start(ap, fmt);
    vsnprintf(b->s + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
  }
  b->n += (size_t)n;
}

// Floats. The C library prints and reads decimals exactly, so the shortest text is the first precision that reads
// back as x. Its decimal point depends on the locale of the process; digits and exponent do not.

enum { DIGITS_MOST = 17 };
typedef struct Decimal { char digit[DIGITS_MOST + 1]; int n, exponent; } Decimal;   // d.ddd × 10^exponent

static Decimal decimal_of(double x, int precision) {
  char text[64];
  snprintf(text, sizeof text, "%.*e", precision - 1, x);
  Decimal d = {.n = 0};
  const char *p = text;
  for (; *p != 'e'; p++)
    if (*p >= '0' && *p <= '9') d.digit[d.n++] = *p;
  d.exponent = atoi(p + 1);
  return d;
}

// One unit more in the last digit.
static Decimal decimal_up(Decimal d) {
  int i = d.n - 1;
  while (i >= 0 && d.digit[i] == '9') d.digit[i--] = '0';
  if (i >= 0) {
    d.digit[i]++;
    return d;
  }
  d.digit[0] = '1';
  d.exponent++;
  return d;
}

static bool decimal_reads_as(const Decimal *d, double x, bool single) {
  char text[64];
  snprintf(text, sizeof text, "%se%d", d->digit, d->exponent - (d->n - 1));
  return single ? strtof(text, NULL) == (float)x : strtod(text, NULL) == x;
}

// Numbers that programs write most: whole ones, and eighths. Another decimal of no more places is off by one in the last of them, which
// is far more than floats lie apart here.
static bool decimal_few(double x, Decimal *d) {
  const double whole = 1 << 23, eighths = 1 << 10;
  int places = x == floor(x) && x < whole ? 0 : x * 8 == floor(x * 8) && x < eighths ? 3 : -1;
  if (places < 0 || x == 0) return false;
  char text[16];
  d->n = snprintf(text, sizeof text, "%d", (int)(places ? x * 1000 : x));
  d->exponent = d->n - 1 - places;
  while (d->n > 1 && text[d->n - 1] == '0') d->n--;
  memcpy(d->digit, text, (size_t)d->n);
  d->digit[d->n] = 0;
  return true;
}

// Above a power of two the neighbour is twice as far away as below it: there the nearest decimal of some precision may
// lie just below the numbers that read as x while the next one up still does.
static Decimal decimal_shortest(double x, bool single) {
  Decimal d = {.n = 0};
  if (decimal_few(x, &d)) return d;
  for (int precision = 1; precision <= DIGITS_MOST; precision++) {
    d = decimal_of(x, precision);
    if (decimal_reads_as(&d, x, single)) break;
    Decimal up = decimal_up(d);
    if (decimal_reads_as(&up, x, single)) {
      d = up;
      break;
    }
  }
  while (d.n > 1 && d.digit[d.n - 1] == '0') d.digit[--d.n] = 0;
  return d;
}

static void buf_decimal(Buf *b, const Decimal *d) {
  int e = d->exponent;
  if (e < -4 || e >= 16) {
    buf_putc(b, d->digit[0]);
    if (d->n > 1) buf_printf(b, ".%s", d->digit + 1);
    buf_printf(b, "e%c%02d", e < 0 ? '-' : '+', abs(e));
  } else if (e < 0) {
    buf_printf(b, "0.%.*s%s", -e - 1, "000", d->digit);
  } else if (e >= d->n - 1) {
    buf_printf(b, "%s%.*s.0", d->digit, e - (d->n - 1), "000000000000000");
  } else {
    buf_printf(b, "%.*s.%s", e + 1, d->digit, d->digit + e + 1);
  }
}

void buf_float(Buf *b, double x, bool single) {
  if (isnan(x)) {
    buf_puts(b, "nan");
    return;
  }
  if (signbit(x)) buf_putc(b, '-');
  x = fabs(x);
  if (isinf(x)) {
    buf_puts(b, "inf");
    return;
  }
  Decimal d = decimal_shortest(x, single);
  buf_decimal(b, &d);
}

// UTF-8: the least code point that each length may encode (RFC 3629).
int utf8_decode(const char *s, size_t n, uint32_t *cp) {
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (!n) return 0;
  unsigned char c = (unsigned char)s[0];
  int len = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;
  if (!len || (size_t)len > n) return 0;
  uint32_t v = len == 1 ? c : c & (0x7fu >> len);
  for (int i = 1; i < len; i++) {
    if (((unsigned char)s[i] & 0xc0) != 0x80) return 0;
    v = v << 6 | ((unsigned char)s[i] & 0x3f);
  }
  if (v < least[len] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) return 0;
  *cp = v;
  return len;
}

static int min2(int a, int b) { return a < b ? a : b; }

// Three rows of the table at a time: the transposition looks two rows back.
int str_distance(const char *a, const char *b, int limit) {
  enum { LONGEST = 63 };                       // beyond that nobody mistypes a name by a letter or two
  size_t na = strlen(a), nb = strlen(b);
  if (na > LONGEST || nb > LONGEST) return strcmp(a, b) ? limit + 1 : 0;
  int row[3][LONGEST + 1];
  for (size_t j = 0; j <= nb; j++) row[0][j] = (int)j;
  for (size_t i = 1; i <= na; i++) {
    int *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
    now[0] = (int)i;
    for (size_t j = 1; j <= nb; j++) {
      now[j] = min2(min2(up[j], now[j - 1]) + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = min2(now[j], up2[j - 2] + 1);
    }
  }
  return min2(row[na % 3][nb], limit + 1);
}

// Multiply and fold, eight bytes a step; the constants are the odd integers nearest 2^64 divided by the golden ratio
// and by pi.
static uint64_t hash_mix(uint64_t h, uint64_t v) {
  h = (h ^ v) * 0x9e3779b97f4a7c15u;
  h ^= h >> 32;
  return h * 0x517cc1b727220a95u ^ h >> 29;
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed) {
  const unsigned char *s = p;
  uint64_t h = hash_mix(seed, n);
  for (; n >= 8; s += 8, n -= 8) {
    uint64_t v;
    memcpy(&v, s, 8);
    h = hash_mix(h, v);
  }
  uint64_t v = 0;
  if (n) memcpy(&v, s, n);
  h = hash_mix(h, v);
  return h ^ h >> 32;
}
