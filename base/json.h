// json.h: writing JSON (RFC 8259) to a Buf. Commas and escapes are handled here.
#ifndef PLAIT_BASE_JSON_H
#define PLAIT_BASE_JSON_H
#include "base/str.h"

typedef struct Json { Buf *b; int depth; bool comma[64]; bool after_key; } Json;
Json json_make(Buf *b);
void json_open(Json *j, char bracket);                 // '{' or '['
void json_close(Json *j, char bracket);                // '}' or ']'
void json_key(Json *j, const char *key);
void json_str(Json *j, const char *s);                 // invalid UTF-8 becomes U+FFFD
void json_int(Json *j, int64_t v);
void json_num(Json *j, double v);                      // non-finite numbers become null
void json_bool(Json *j, bool v);
void json_null(Json *j);
#endif
