// npy.h: NumPy's array files (.npy, versions 1 to 3), read and written.
//
// A header is the text of a Python dictionary; it may come from anywhere, so nothing in it is believed before it was
// compared with the size of the file.
#ifndef PLAIT_CLI_NPY_H
#define PLAIT_CLI_NPY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { NPY_MAX_RANK = 32, NPY_MAX_HEADER = 1 << 16 };

typedef struct NpyHeader {
  char order;                 // '<' '>' '|' '='
  char kind;                  // 'f' 'i' 'u' 'b' 'V' …: NumPy's letter
  int size;                   // bytes of one element
  bool fortran;               // first dimension varies fastest
  int rank;
  int64_t extent[NPY_MAX_RANK];
  uint64_t data_offset;       // where the elements begin in the file
  uint64_t data_bytes;        // product of extents and size
} NpyHeader;

// What is wrong (one line, lower case) and what to do ("" when there is no advice). `system`: the machine's fault, not
// the file's.
typedef struct NpyError { bool system; char text[200]; char help[160]; } NpyError;

// Bytes from the start of the file up to and including the length of the header (10 or 12); 0 when `bytes` (at least 10
// of them) is no beginning of an NPY file of a known version.
size_t npy_prefix(const void *bytes);

// Parse the first `size` bytes of a file of file_size bytes (UINT64_MAX: not known). False with *e when the header is
// malformed or incomplete, or when it promises other than what the file holds.
bool npy_parse(const void *bytes, size_t size, uint64_t file_size, NpyHeader *out, NpyError *e);

// The header that NumPy would write for a C-ordered array of type `descr` ("<f4"), into out; its bytes (a multiple of 64).
size_t npy_format(char out[1024], const char *descr, int rank, const int64_t *extent);

// Open a file for reading ("-": standard input) and read its header; then its elements, all header.data_bytes of them.
typedef struct NpyFile { FILE *f; uint64_t size; NpyHeader header; } NpyFile;
bool npy_open(const char *path, NpyFile *out, NpyError *e);
bool npy_read(NpyFile *f, void *data, NpyError *e);
void npy_close(NpyFile *f);

// Write an array ("-": standard output). A file appears whole or not at all.
bool npy_save(const char *path, const char *descr, int rank, const int64_t *extent, const void *data, size_t bytes, NpyError *e);
#endif
