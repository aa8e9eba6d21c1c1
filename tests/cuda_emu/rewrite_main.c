// rewrite_main.c: a CUDA text as a C file, to be compiled into a program: cuda_emu_rewrite FILE FUNCTION > OUT.
#include "emu.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  char *text = NULL;
  size_t size = 0;
  EmuFault f = {0};
  FILE *in = argc == 3 ? fopen(argv[1], "r") : NULL;
  if (!in || getdelim(&text, &size, 0, in) < 0) {
    fputs("usage: cuda_emu_rewrite FILE FUNCTION\n", stderr);
    return 2;
  }
  fclose(in);
  char *out = emu_c_text(text, argv[1], argv[2], &f);
  if (out) puts(out);
  else fprintf(stderr, "%s: %s\n", argv[1], f.text);
  free(out);
  free(text);
  return !out;
}
