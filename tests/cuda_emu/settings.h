// settings.h: what the environment sets for the stand-ins of libcuda and NVRTC.
#ifndef PLAIT_CUDA_EMU_SETTINGS_H
#define PLAIT_CUDA_EMU_SETTINGS_H
#include "emu.h"

enum { SETTINGS_MAX_ORDERS = 16 };

typedef struct Settings {
  int devices;               // PLAIT_EMU_DEVICES, 1 unless set
  int arch;                  // PLAIT_EMU_ARCH, 90: what the device is, as in sm_90
  size_t memory;             // PLAIT_EMU_MEMORY, 80 GB: bytes of the device; of the host's only what is used
  int driver_version;        // PLAIT_EMU_DRIVER_VERSION, 13000
  int nvrtc_version;         // PLAIT_EMU_NVRTC_VERSION, 13000
  EmuOrder order[SETTINGS_MAX_ORDERS]; int norders;      // PLAIT_EMU_ORDERS, "forward,reversed"
  bool check;                // PLAIT_EMU_CHECK, 1: look at every access
  int host_threads;          // PLAIT_EMU_THREADS, 1; more: nothing is checked
  const char *cc;            // PLAIT_EMU_CC: absolute path of gcc or clang
  int registers, spill;      // PLAIT_EMU_REGISTERS, PLAIT_EMU_SPILL: what NVRTC's log says of every kernel, 32 and 0
} Settings;

// Reads the environment. False and *f when a value means nothing.
bool settings_read(Settings *s, EmuFault *f);
#endif
