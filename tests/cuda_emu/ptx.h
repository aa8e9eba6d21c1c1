// ptx.h: what the stand-in of NVRTC gives out as PTX: the text itself, for the stand-in of the driver to compile.
#ifndef PLAIT_CUDA_EMU_PTX_H
#define PLAIT_CUDA_EMU_PTX_H
#include "emu.h"

typedef struct Ptx {
  int version;               // 90 for PTX 9.0
  int arch; char feature;    // of its .target
  char file[64];
  char *define[32]; int ndefines;      // malloc'ed
  const char *text;          // within the PTX
} Ptx;

// malloc'ed, NUL-terminated; NULL: out of memory.
char *ptx_write(const Ptx *p);
// False when it is not such a PTX. Free with ptx_free.
bool ptx_read(const char *s, Ptx *p);
void ptx_free(Ptx *p);
int ptx_version_of(int cuda);          // the newest PTX of CUDA 13000: 90
#endif
