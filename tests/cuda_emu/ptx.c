// ptx.c: what the stand-in of NVRTC gives out as PTX.
#include "ptx.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char head[] = "//\n// Not PTX: CUDA C for the emulator's driver.\n//\n";
static const char mark[] = "//emu text\n";

// PTX ISA, Release Notes: 8.0 came with CUDA 12.0, 9.0 with 13.0, then a minor one with each minor release.
int ptx_version_of(int cuda) {
  int major = cuda / 1000, minor = cuda % 1000 / 10;
  return major >= 13 ? 90 + minor : major == 12 ? 80 + minor : 70 + minor;
}

char *ptx_write(const Ptx *p) {
  char *out = NULL;
  size_t size;
  FILE *f = open_memstream(&out, &size);
  char feature[2] = {p->feature, 0};
  if (!f) return NULL;
  fprintf(f, "%s.version %d.%d\n.target sm_%d%s\n.address_size 64\n//emu file %s\n", head, p->version / 10, p->version % 10, p->arch, feature, p->file);
  for (int i = 0; i < p->ndefines; i++) fprintf(f, "//emu define %s\n", p->define[i]);
  fprintf(f, "%s%s", mark, p->text);
  fclose(f);
  return out;
}

bool ptx_read(const char *s, Ptx *p) {
  int major, minor;
  *p = (Ptx){0};
  const char *text = strncmp(s, head, sizeof head - 1) == 0 ? strstr(s, mark) : NULL;
  if (!text) return false;
  s += sizeof head - 1;
  if (sscanf(s, ".version %d.%d .target sm_%d%1[a-f]", &major, &minor, &p->arch, &p->feature) < 3) return false;
  p->version = 10 * major + minor;
  p->text = text + sizeof mark - 1;
  for (; s < text; s += strcspn(s, "\n") + 1) {
    size_t n = strcspn(s, "\n");
    if (strncmp(s, "//emu file ", 11) == 0) snprintf(p->file, sizeof p->file, "%.*s", (int)(n - 11), s + 11);
    if (strncmp(s, "//emu define ", 13) == 0 && p->ndefines < 32) p->define[p->ndefines++] = strndup(s + 13, n - 13);
  }
  return true;
}

void ptx_free(Ptx *p) {
  for (int i = 0; i < p->ndefines; i++) free(p->define[i]);
  p->ndefines = 0;
}
