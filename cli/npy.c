// npy.c: reading and writing .npy files.
//
//   \x93NUMPY major minor  length (2 bytes; 4 from version 2)  {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
//
// Source: numpy/lib/format.py, "Format Version 1.0" to "3.0" (3 differs from 2 in that the text is UTF-8).
#include "cli/npy.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4)))
static bool fail(NpyError *e, const char *help, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(e->text, sizeof e->text, fmt, ap);
  va_end(ap);
  snprintf(e->help, sizeof e->help, "%s", help);
  e->system = false;
  return false;
}

static bool fail_system(NpyError *e, const char *doing) {
  fail(e, "", "%s: %s", doing, strerror(errno));
  e->system = true;
  return false;
}

// ---- the dictionary ----

typedef struct Text { const char *p, *end; NpyError *e; } Text;

static void skip_space(Text *t) {
  while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t' || *t->p == '\r')) t->p++;
}

static bool eat(Text *t, char c) {
  skip_space(t);
  if (t->p >= t->end || *t->p != c) return false;
  t->p++;
  return true;
}

static bool malformed(Text *t, const char *what) { return fail(t->e, "", "malformed NPY header: %s", what); }

// A quoted string without escapes; dtype and keys have none.
static bool read_string(Text *t, char *out, size_t room) {
  skip_space(t);
  if (t->p >= t->end || (*t->p != '\'' && *t->p != '"')) return malformed(t, "a quoted string is missing");
  const char quote = *t->p++, *start = t->p;
  while (t->p < t->end && *t->p != quote && *t->p != '\\') t->p++;
  if (t->p >= t->end || *t->p != quote) return malformed(t, "a string has no end");
  size_t n = (size_t)(t->p++ - start);
  if (n >= room) return malformed(t, "a string is too long");
  memcpy(out, start, n);
  out[n] = 0;
  return true;
}

static bool read_word(Text *t, const char *word) {
  size_t n = strlen(word);
  skip_space(t);
  if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0) return false;
  t->p += n;
  return true;
}

static bool read_bool(Text *t, bool *out) {
  if (read_word(t, "True")) return *out = true;
  *out = false;
  return read_word(t, "False") || malformed(t, "fortran_order is neither True nor False");
}

static bool read_extent(Text *t, int64_t *out) {
  skip_space(t);
  const char *start = t->p;
  int64_t v = 0;
  for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++)
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *t->p - '0', &v)) return malformed(t, "an extent is too large");
  if (t->p == start) return malformed(t, "an extent is no number");
  eat(t, 'L');                                   // written by Python 2
  *out = v;
  return true;
}

// (), (3,) or (3, 4)
static bool read_shape(Text *t, NpyHeader *h) {
  if (!eat(t, '(')) return malformed(t, "shape is no tuple");
  for (h->rank = 0; !eat(t, ')'); h->rank++) {
    if (h->rank == NPY_MAX_RANK) return malformed(t, "too many dimensions");
    if (!read_extent(t, &h->extent[h->rank])) return false;
    if (eat(t, ',')) continue;
    if (!eat(t, ')') || h->rank == 0) return malformed(t, "shape is no tuple");
    h->rank++;
    break;
  }
  return true;
}

static bool read_descr(Text *t, NpyHeader *h) {
  char s[32], *end;
  skip_space(t);
  if (t->p < t->end && *t->p == '[') return fail(t->e, "save each field as an array of its own", "arrays of records are not read");
  if (!read_string(t, s, sizeof s)) return false;
  const char *p = s;
  h->order = *p && strchr("<>|=", *p) ? *p++ : '=';
  h->kind = *p;
  long size = *p ? strtol(p + 1, &end, 10) : 0;
  if (h->kind == 'O') return fail(t->e, "convert it: x.astype(np.float32)", "arrays of Python objects are not read");
  if (!h->kind || !strchr("fiubcVSUmM", h->kind) || size < 1 || size > 1 << 16 || *end) return malformed(t, "unknown element type");
  h->size = (int)size * (h->kind == 'U' ? 4 : 1);
  return true;
}

static bool read_entry(Text *t, NpyHeader *h, unsigned *seen) {
  static const char *const keys[] = {"descr", "fortran_order", "shape"};
  char key[32];
  if (!read_string(t, key, sizeof key)) return false;
  unsigned k = 0;
  while (k < 3 && strcmp(key, keys[k]) != 0) k++;
  if (k == 3) return malformed(t, "unknown key");
  if (*seen & 1u << k) return malformed(t, "a key stands there twice");
  *seen |= 1u << k;
  if (!eat(t, ':')) return malformed(t, "`:` is missing");
  return k == 0 ? read_descr(t, h) : k == 1 ? read_bool(t, &h->fortran) : read_shape(t, h);
}

static bool read_dictionary(Text *t, NpyHeader *h) {
  unsigned seen = 0;
  if (!eat(t, '{')) return malformed(t, "no dictionary");
  while (!eat(t, '}')) {
    if (!read_entry(t, h, &seen)) return false;
    if (eat(t, ',')) continue;
    if (!eat(t, '}')) return malformed(t, "`}` is missing");
    break;
  }
  skip_space(t);
  if (t->p != t->end) return malformed(t, "text behind the dictionary");
  return seen == 7 || malformed(t, "descr, fortran_order or shape is missing");
}

// ---- the file ----

size_t npy_prefix(const void *bytes) {
  const unsigned char *b = bytes;
  if (memcmp(b, "\x93NUMPY", 6) != 0 || b[6] < 1 || b[6] > 3 || b[7] != 0) return 0;
  return b[6] == 1 ? 10 : 12;
}

static uint64_t little(const unsigned char *b, int n) {
  uint64_t v = 0;
  while (n--) v = v << 8 | b[n];
  return v;
}

static bool count_bytes(NpyHeader *h) {
  uint64_t n = (uint64_t)h->size;
  bool none = false;
  for (int i = 0; i < h->rank; i++) none |= h->extent[i] == 0;
  for (int i = 0; i < h->rank && !none; i++)
    if (__builtin_mul_overflow(n, (uint64_t)h->extent[i], &n) || n >> 62) return false;
  h->data_bytes = none ? 0 : n;
  return true;
}

static bool check_sizes(NpyHeader *h, uint64_t file_size, NpyError *e) {
  if (!count_bytes(h)) return fail(e, "", "the NPY header promises more bytes than there can be");
  if (file_size == UINT64_MAX) return true;
  uint64_t have = file_size - h->data_offset;
  if (have == h->data_bytes) return true;
  return fail(e, have < h->data_bytes ? "the file is cut short; save it again" : "one array a file",
              "the NPY header promises %" PRIu64 " bytes of elements, the file holds %" PRIu64, h->data_bytes, have);
}

bool npy_parse(const void *bytes, size_t size, uint64_t file_size, NpyHeader *out, NpyError *e) {
  const unsigned char *b = bytes;
  size_t prefix = size >= 12 ? npy_prefix(b) : 0;
  if (!prefix) return fail(e, "make one with numpy.save(\"x.npy\", x)", "no NPY file of version 1, 2 or 3");
  uint64_t length = little(b + 8, prefix == 10 ? 2 : 4);
  if (length > NPY_MAX_HEADER) return fail(e, "", "the NPY header is longer than %d bytes", NPY_MAX_HEADER);
  if (prefix + length > size) return fail(e, "the file is cut short; save it again", "the NPY header is incomplete");
  NpyHeader h = {.data_offset = prefix + length};
  Text t = {(const char *)b + prefix, (const char *)b + prefix + length, e};
  if (!read_dictionary(&t, &h) || !check_sizes(&h, file_size, e)) return false;
  *out = h;
  return true;
}

size_t npy_format(char out[1024], const char *descr, int rank, const int64_t *extent) {
  char *p = out + 10;
  p += sprintf(p, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
  for (int i = 0; i < rank; i++) p += sprintf(p, i ? ", %" PRId64 : "%" PRId64, extent[i]);
  p += sprintf(p, rank == 1 ? ",), }" : "), }");
  while ((p + 1 - out) % 64) *p++ = ' ';
  *p++ = '\n';
  size_t length = (size_t)(p - out) - 10;
  memcpy(out, "\x93NUMPY\x01\0", 8);
  out[8] = (char)(length & 255);
  out[9] = (char)(length >> 8);
  return length + 10;
}

// ---- reading ----

static bool read_header(NpyFile *f, NpyError *e) {
  static const char *const what = "cannot read";
  unsigned char bytes[12 + NPY_MAX_HEADER];
  size_t n = fread(bytes, 1, 12, f->f);
  if (ferror(f->f)) return fail_system(e, what);
  size_t prefix = n == 12 ? npy_prefix(bytes) : 0;
  uint64_t length = prefix ? little(bytes + 8, prefix == 10 ? 2 : 4) : 0;
  if (length <= NPY_MAX_HEADER && prefix + length > n) n += fread(bytes + n, 1, prefix + (size_t)length - n, f->f);
  if (ferror(f->f)) return fail_system(e, what);
  return npy_parse(bytes, n, f->size, &f->header, e);
}

bool npy_open(const char *path, NpyFile *out, NpyError *e) {
  *out = (NpyFile){.size = UINT64_MAX};
  struct stat st;
  bool standard = strcmp(path, "-") == 0;
  out->f = standard ? stdin : fopen(path, "rb");
  if (!out->f) return fail_system(e, "cannot open");
  if (fstat(fileno(out->f), &st) == 0 && S_ISDIR(st.st_mode)) {
    errno = EISDIR;
    fail_system(e, "cannot read");
  } else {
    if (!standard && S_ISREG(st.st_mode)) out->size = (uint64_t)st.st_size;
    if (read_header(out, e)) return true;
  }
  npy_close(out);
  return false;
}

bool npy_read(NpyFile *f, void *data, NpyError *e) {
  uint64_t n = fread(data, 1, f->header.data_bytes, f->f);
  if (ferror(f->f)) return fail_system(e, "cannot read");
  if (n == f->header.data_bytes) return true;
  return fail(e, "the file is cut short; save it again", "the NPY header promises %" PRIu64 " bytes of elements, there are %" PRIu64,
              f->header.data_bytes, n);
}

void npy_close(NpyFile *f) {
  if (f->f && f->f != stdin) fclose(f->f);
  f->f = NULL;
}

// ---- writing ----

static bool write_all(FILE *f, const char *head, size_t nhead, const void *data, size_t bytes) {
  return fwrite(head, 1, nhead, f) == nhead && (!bytes || fwrite(data, 1, bytes, f) == bytes) && fflush(f) == 0;
}

// Pipes and devices are written to as they are; they cannot be replaced.
static bool is_replaceable(const char *path) {
  struct stat st;
  return stat(path, &st) != 0 || S_ISREG(st.st_mode);
}

static bool save_directly(const char *path, const char *head, size_t nhead, const void *data, size_t bytes) {
  FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "wb");
  if (!f) return false;
  bool good = write_all(f, head, nhead, data, bytes);
  return (f == stdout || fclose(f) == 0) && good;
}

// The permissions that a new file would have: mkstemp makes files that only the owner reads.
static void open_to_others(int fd) {
  mode_t mask = umask(0);
  umask(mask);
  if (fchmod(fd, 0666 & ~mask) != 0) return;     // the file is still good for its owner
}

static bool save_atomically(const char *path, const char *head, size_t nhead, const void *data, size_t bytes) {
  size_t n = strlen(path);
  char *temp = malloc(n + 8);
  if (!temp) return false;
  sprintf(temp, "%s.XXXXXX", path);
  int fd = mkstemp(temp);
  FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
  bool good = f && write_all(f, head, nhead, data, bytes);
  if (f) open_to_others(fd);
  if (f) good = fclose(f) == 0 && good;
  good = good && rename(temp, path) == 0;
  int why = errno;
  if (fd >= 0 && !good) unlink(temp);
  free(temp);
  errno = why;
  return good;
}

bool npy_save(const char *path, const char *descr, int rank, const int64_t *extent, const void *data, size_t bytes, NpyError *e) {
  char head[1024];
  size_t n = npy_format(head, descr, rank, extent);
  bool direct = strcmp(path, "-") == 0 || !is_replaceable(path);
  if (direct ? save_directly(path, head, n, data, bytes) : save_atomically(path, head, n, data, bytes)) return true;
  return fail_system(e, "cannot write");
}
