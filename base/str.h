// str.h: interned names and a text builder.
#ifndef PLAIT_BASE_STR_H
#define PLAIT_BASE_STR_H
#include "base/arena.h"
#include <stdbool.h>
#include <stdint.h>

// An interned, NUL-terminated name: two names are equal exactly when their pointers are.
typedef const char *Name;

typedef struct Interner Interner;
Interner *intern_create(Arena *a);
Name intern(Interner *in, const char *s);
Name intern_n(Interner *in, const char *s, size_t n);

// A text builder. Zero-initialise with buf_make; `s` is always NUL-terminated.
typedef struct Buf { char *s; size_t n, cap; Arena *a; } Buf;
Buf buf_make(Arena *a);
void buf_puts(Buf *b, const char *s);
void buf_putn(Buf *b, const char *s, size_t n);
void buf_putc(Buf *b, char c);
void buf_printf(Buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// The shortest decimal text that reads back as exactly x when read as the given precision
// (`single`: as a float), with a point or an exponent: "0.1", "1e-05", "3.0"; "inf", "-inf", "nan".
void buf_float(Buf *b, double x, bool single);

// Damerau-Levenshtein distance of two short names, at most `limit` + 1 (for "did you mean").
int str_distance(const char *a, const char *b, int limit);

// The code point that s starts with and the bytes it takes (1 to 4); 0 when the first of the n bytes begin no valid
// UTF-8 (overlong forms, surrogates and cut sequences are invalid) or n is 0.
int utf8_decode(const char *s, size_t n, uint32_t *cp);

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
#endif
