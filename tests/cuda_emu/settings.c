// settings.c: what the environment sets for the stand-ins of libcuda and NVRTC.
#include "settings.h"
#include <stdlib.h>
#include <string.h>

// A whole number, or what is there already when the variable is not set.
static bool number(const char *name, long long least, long long *v, EmuFault *f) {
  const char *s = getenv(name);
  char *end;
  if (!s || !*s) return true;
  *v = strtoll(s, &end, 10);
  return (end != s && !*end && *v >= least) || emu_fault(f, EMU_HOST, "%s=%s is no number from %lld on", name, s, least);
}

static bool read_orders(Settings *s, EmuFault *f) {
  const char *list = getenv("PLAIT_EMU_ORDERS");
  if (!list || !*list) list = "forward,reversed";
  for (s->norders = 0; *list; s->norders++) {
    size_t n = strcspn(list, ",");
    char one[64] = "";
    if (n < sizeof one) memcpy(one, list, n);
    if (s->norders == SETTINGS_MAX_ORDERS || !emu_order_parse(one, &s->order[s->norders]))
      return emu_fault(f, EMU_HOST, "PLAIT_EMU_ORDERS: `%s` is not forward, reversed or random:SEED", one);
    list += n + (list[n] == ',');
  }
  return true;
}

bool settings_read(Settings *s, EmuFault *f) {
  struct { const char *name; long long least, v; } n[] = {
    {"PLAIT_EMU_DEVICES", 0, 1}, {"PLAIT_EMU_ARCH", 50, 90}, {"PLAIT_EMU_MEMORY", 0, 80000000000}, {"PLAIT_EMU_DRIVER_VERSION", 1000, 13000},
    {"PLAIT_EMU_NVRTC_VERSION", 1000, 13000}, {"PLAIT_EMU_CHECK", 0, 1}, {"PLAIT_EMU_THREADS", 1, 1}, {"PLAIT_EMU_REGISTERS", 1, 32}, {"PLAIT_EMU_SPILL", 0, 0},
  };
  for (size_t i = 0; i < sizeof n / sizeof *n; i++)
    if (!number(n[i].name, n[i].least, &n[i].v, f)) return false;
  const char *cc = getenv("PLAIT_EMU_CC");
  *s = (Settings){.devices = (int)n[0].v, .arch = (int)n[1].v, .memory = (size_t)n[2].v, .driver_version = (int)n[3].v, .nvrtc_version = (int)n[4].v,
                  .check = n[5].v != 0, .host_threads = (int)n[6].v, .registers = (int)n[7].v, .spill = (int)n[8].v, .cc = cc && *cc == '/' ? cc : EMU_CC};
  return read_orders(s, f);
}
