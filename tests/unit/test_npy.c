// The reader and writer of NPY files: what NumPy writes is read, what it would write is written, and no header makes the
// reader believe what the file does not hold.
#include "cli/npy.c"       // part of the program, not of the library
#include "unit.h"

static char file[4096];

// A file of version `major` with this dictionary and `data` bytes of elements; its bytes.
static size_t make(int major, const char *dictionary, size_t data) {
  size_t n = strlen(dictionary), prefix = major == 1 ? 10 : 12;
  memset(file, 0, sizeof file);
  memcpy(file, "\x93NUMPY", 6);
  file[6] = (char)major;
  file[8] = (char)(n & 255);
  file[9] = (char)(n >> 8);
  memcpy(file + prefix, dictionary, n);
  return prefix + n + data;
}

static NpyHeader header;
static NpyError trouble;

static bool parses(int major, const char *dictionary, size_t data) {
  size_t n = make(major, dictionary, data);
  return npy_parse(file, n, n, &header, &trouble);
}

static bool refused(const char *dictionary, size_t data, const char *why) {
  return !parses(1, dictionary, data) && strstr(trouble.text, why);
}

#define DICT(descr, shape) "{'descr': " descr ", 'fortran_order': False, 'shape': " shape ", }"

START_TEST(the_three_versions_are_read) {
  for (int major = 1; major <= 3; major++) {
    ck_assert(parses(major, DICT("'<f4'", "(3, 4)"), 48));
    ck_assert_int_eq(header.rank, 2);
    ck_assert_int_eq(header.extent[0], 3);
    ck_assert_int_eq(header.extent[1], 4);
    ck_assert_int_eq(header.kind, 'f');
    ck_assert_int_eq(header.size, 4);
    ck_assert_uint_eq(header.data_bytes, 48);
  }
} END_TEST

START_TEST(scalars_vectors_and_empty_arrays_are_read) {
  ck_assert(parses(1, DICT("'|u1'", "()"), 1));
  ck_assert_int_eq(header.rank, 0);
  ck_assert(parses(1, DICT("'<i8'", "(5,)"), 40));
  ck_assert_int_eq(header.rank, 1);
  ck_assert(parses(1, DICT("'<f8'", "(0, 9223372036854775807)"), 0));
  ck_assert_uint_eq(header.data_bytes, 0);
} END_TEST

START_TEST(keys_may_come_in_any_order_with_either_quote) {
  ck_assert(parses(1, "{\"shape\": (2,), 'fortran_order': True, 'descr': '>f4'}", 8));
  ck_assert(header.fortran);
  ck_assert_int_eq(header.order, '>');
} END_TEST

START_TEST(a_written_header_is_read_back_and_aligned) {
  char out[1024];
  int64_t extent[8] = {1, 22, 333, 4444, 0, 6, 7, 8};
  for (int rank = 0; rank <= 8; rank++) {
    size_t n = npy_format(out, "<f2", rank, extent);
    uint64_t data = 2;
    for (int i = 0; i < rank; i++) data *= (uint64_t)extent[i];
    ck_assert_uint_eq(n % 64, 0);
    ck_assert(npy_parse(out, n, n + data, &header, &trouble));
    ck_assert_int_eq(header.rank, rank);
    ck_assert_uint_eq(header.data_offset, n);
    for (int i = 0; i < rank; i++) ck_assert_int_eq(header.extent[i], extent[i]);
  }
} END_TEST

START_TEST(shapes_that_promise_more_than_the_file_are_refused) {
  ck_assert(refused(DICT("'<f4'", "(3, 4)"), 47, "promises 48 bytes"));
  ck_assert(refused(DICT("'<f4'", "(3, 4)"), 49, "the file holds 49"));
  ck_assert(refused(DICT("'<f8'", "(4294967296, 4294967296)"), 8, "more bytes than there can be"));
  ck_assert(refused(DICT("'<f8'", "(9223372036854775807,)"), 8, "more bytes than there can be"));
  ck_assert(refused(DICT("'<f8'", "(99999999999999999999,)"), 8, "too large"));
} END_TEST

START_TEST(malformed_dictionaries_are_refused) {
  ck_assert(refused("", 0, "no NPY file"));
  ck_assert(refused("    ", 0, "no dictionary"));
  ck_assert(refused("{   ", 0, "quoted string"));
  ck_assert(refused("{}", 0, "is missing"));
  ck_assert(refused(DICT("'<f4'", "(3)"), 12, "shape"));
  ck_assert(refused(DICT("'<f4'", "(-3,)"), 12, "no number"));
  ck_assert(refused(DICT("'<f4'", "3"), 12, "no tuple"));
  ck_assert(refused(DICT("'<f4'", "(3,)") "x", 12, "behind the dictionary"));
  ck_assert(refused("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", 4, "twice"));
  ck_assert(refused("{'descr': '<f4', 'fortran_order': 1, 'shape': ()}", 4, "neither True nor False"));
  ck_assert(refused("{'descr': '<f4', 'order': False, 'shape': ()}", 4, "unknown key"));
  ck_assert(refused("{'descr': '<f4, 'fortran_order': False, 'shape': ()}", 4, "unknown element type"));
} END_TEST

START_TEST(types_that_are_no_numbers_are_refused) {
  ck_assert(refused(DICT("[('a', '<f4')]", "()"), 4, "records"));
  ck_assert(refused(DICT("'|O'", "()"), 8, "objects"));
  ck_assert(refused(DICT("''", "()"), 8, "unknown element type"));
  ck_assert(refused(DICT("'<f'", "()"), 8, "unknown element type"));
  ck_assert(refused(DICT("'<f-4'", "()"), 8, "unknown element type"));
  ck_assert(refused(DICT("'<f99999999999'", "()"), 8, "unknown element type"));
} END_TEST

START_TEST(more_dimensions_than_numpy_has_are_refused) {
  char shape[256] = "(", text[512];
  for (int i = 0; i < NPY_MAX_RANK + 1; i++) strcat(shape, "1, ");
  snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': %s)}", shape);
  ck_assert(refused(text, 4, "too many dimensions"));
} END_TEST

START_TEST(a_header_cut_anywhere_is_refused) {
  size_t n = make(1, DICT("'<f4'", "(3, 4)"), 0);
  for (size_t cut = 0; cut < n; cut++) ck_assert(!npy_parse(file, cut, cut, &header, &trouble));
} END_TEST

START_TEST(random_changes_of_a_header_never_read_beyond_it) {
  unsigned long long seed = 20240607;
  for (int round = 0; round < 20000; round++) {
    size_t n = make(1 + round % 3, DICT("'<f4'", "(3, 4)"), 48);
    for (int k = 0; k < 3; k++) file[unit_random(&seed) % 80] = (char)unit_random(&seed);
    char *own = malloc(n);                       // exactly as long as it says: the sanitizer sees a byte too far
    memcpy(own, file, n);
    if (npy_parse(own, n, n, &header, &trouble)) ck_assert_uint_eq(header.data_offset + header.data_bytes, n);
    free(own);
  }
} END_TEST

START_TEST(a_saved_file_is_opened_and_read_back) {
  char path[] = "/tmp/plait_npy_XXXXXX";
  int fd = mkstemp(path);
  close(fd);
  float in[6] = {1, 2, 3, 4, 5, 6}, out[6];
  int64_t extent[2] = {2, 3};
  NpyFile f;
  ck_assert(npy_save(path, "<f4", 2, extent, in, sizeof in, &trouble));
  ck_assert(npy_open(path, &f, &trouble));
  ck_assert_uint_eq(f.header.data_bytes, sizeof out);
  ck_assert(npy_read(&f, out, &trouble));
  npy_close(&f);
  ck_assert_mem_eq(in, out, sizeof in);
  unlink(path);
} END_TEST

START_TEST(missing_files_and_folders_are_the_machines_fault) {
  NpyFile f;
  ck_assert(!npy_open("/nonexistent/x.npy", &f, &trouble));
  ck_assert(trouble.system);
  ck_assert(!npy_open("/tmp", &f, &trouble));
  ck_assert(trouble.system);
  ck_assert(!npy_save("/nonexistent/x.npy", "<f4", 0, NULL, "abcd", 4, &trouble));
  ck_assert(trouble.system);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    the_three_versions_are_read, scalars_vectors_and_empty_arrays_are_read, keys_may_come_in_any_order_with_either_quote,
    a_written_header_is_read_back_and_aligned, shapes_that_promise_more_than_the_file_are_refused,
    malformed_dictionaries_are_refused, types_that_are_no_numbers_are_refused, more_dimensions_than_numpy_has_are_refused,
    a_header_cut_anywhere_is_refused, random_changes_of_a_header_never_read_beyond_it, a_saved_file_is_opened_and_read_back,
    missing_files_and_folders_are_the_machines_fault,
  };
  return UNIT_RUN("npy", tests);
}
