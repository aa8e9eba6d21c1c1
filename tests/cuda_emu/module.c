// module.c: a compiled text in this process: its kernels, and where their shared variables are.
#include "state.h"
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/proc.h"

#define SECTION "plait_shared_"
#define GAP "emu_gap_"

// ---- ELF ---------------------------------------------------------------------------------------------------------

static bool is_elf(const void *bytes) {
  const unsigned char *b = bytes;
  return memcmp(b, ELFMAG, SELFMAG) == 0 && b[EI_CLASS] == ELFCLASS64;
}

// The section headers stand at the end of what linkers write.
size_t emu_elf_bytes(const void *image) {
  if (!is_elf(image)) return 0;
  Elf64_Ehdr h;
  memcpy(&h, image, sizeof h);
  return h.e_shoff + (size_t)h.e_shnum * h.e_shentsize;
}

typedef struct Elf { const unsigned char *bytes; const Elf64_Ehdr *head; const Elf64_Shdr *section; } Elf;

static bool elf_open(const void *bytes, size_t size, Elf *e) {
  if (size < sizeof(Elf64_Ehdr) || !is_elf(bytes) || emu_elf_bytes(bytes) > size) return false;
  e->bytes = bytes;
  e->head = bytes;
  e->section = (const void *)(e->bytes + e->head->e_shoff);
  return true;
}

static const char *section_name(const Elf *e, int i) {
  return (const char *)e->bytes + e->section[e->head->e_shstrndx].sh_offset + e->section[i].sh_name;
}

static int symbol_table(const Elf *e) {
  for (int i = 0; i < e->head->e_shnum; i++)
    if (e->section[i].sh_type == SHT_SYMTAB) return i;
  return -1;
}

// ---- shared variables --------------------------------------------------------------------------------------------

static bool begins(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

// "red" of gcc's "red.3" and of Clang's "kernel.red" and "kernel.red.3".
static char *source_name(const char *symbol, const char *kernel) {
  size_t n = strlen(kernel);
  if (begins(symbol, kernel) && symbol[n] == '.') symbol += n + 1;
  return strndup(symbol, strcspn(symbol, "."));
}

static bool add_variable(KernelMemory *m, const EmuKernel *k, const char *symbol, size_t offset, size_t bytes) {
  Variable *v = realloc(m->v, (size_t)(m->n + 1) * sizeof *v);
  if (!v) return false;
  m->v = v;
  m->v[m->n] = (Variable){source_name(symbol, k->name), offset, bytes};
  if (m->n < 255) memset(m->owner + offset, ++m->n, bytes);
  m->used += bytes;
  return true;
}

// The symbols of one section "plait_shared_KERNEL" are the kernel's shared variables.
static void read_variables(const Elf *e, const unsigned char *base, const EmuKernel *k, KernelMemory *m) {
  int table = symbol_table(e);
  if (table < 0) return;
  const Elf64_Sym *sym = (const void *)(e->bytes + e->section[table].sh_offset);
  const char *names = (const char *)e->bytes + e->section[e->section[table].sh_link].sh_offset;
  size_t n = e->section[table].sh_size / sizeof *sym;
  for (size_t i = 0; i < n; i++) {
    const char *name = names + sym[i].st_name;
    if (ELF64_ST_TYPE(sym[i].st_info) != STT_OBJECT || sym[i].st_shndx >= e->head->e_shnum) continue;
    const char *section = section_name(e, sym[i].st_shndx);
    if (!begins(section, SECTION) || strcmp(section + strlen(SECTION), k->name) || strstr(name, GAP)) continue;
    add_variable(m, k, name, (size_t)(base + sym[i].st_value - (unsigned char *)k->shared), sym[i].st_size);
  }
}

// Without symbols all of it is one variable without gaps.
static bool describe_memory(EmuModule *m, const Elf *e) {
  m->memory = calloc((size_t)m->image->nkernels + 1, sizeof *m->memory);
  for (int i = 0; m->memory && i < m->image->nkernels; i++) {
    const EmuKernel *k = &m->image->kernel[i];
    KernelMemory *of = &m->memory[i];
    of->bytes = k->shared ? (size_t)(k->shared_end - k->shared) : 0;
    of->owner = calloc(of->bytes + 1, 1);
    if (!of->owner) return false;
    if (e && of->bytes) read_variables(e, m->base, k, of);
    if (!of->n && of->bytes) add_variable(of, k, "shared memory", 0, of->bytes);
  }
  return m->memory != NULL;
}

size_t emu_shared_bytes(const EmuModule *m, const EmuKernel *k) { return m->memory[k - m->image->kernel].used; }

// ---- loading -----------------------------------------------------------------------------------------------------

typedef struct Extent { EmuModule *m; const unsigned char *inside; } Extent;

static int note_extent(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  Extent *x = data;
  unsigned char *base = (unsigned char *)info->dlpi_addr, *low = NULL, *high = NULL;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    if (p->p_type != PT_LOAD) continue;
    unsigned char *from = base + p->p_vaddr, *to = from + p->p_memsz;
    if (!low || from < low) low = from;
    if (to > high) high = to;
  }
  if (!low || x->inside < low || x->inside >= high) return 0;
  x->m->base = base;
  x->m->low = low;
  x->m->high = high;
  return 1;
}

static bool attach(EmuModule *m, EmuImageFunction *image, const Elf *e, EmuFault *f) {
  m->image = image();
  if (m->image->abi != EMU_ABI) return emu_fault(f, EMU_HOST, "the module was compiled for another version of the emulator");
  m->image->api = &emu_api;
  Extent x = {m, (const unsigned char *)m->image};
  dl_iterate_phdr(note_extent, &x);
  if (!describe_memory(m, e)) return emu_fault(f, EMU_HOST, "out of memory");
  return true;
}

static bool open_library(EmuModule *m, const void *bytes, size_t size, EmuFault *f) {
  char path[64];
  m->fd = proc_file("/tmp", bytes, size);
  if (m->fd < 0) return emu_fault(f, EMU_HOST, "no file for a module");
  snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)getpid(), m->fd);
  m->path = strdup(path);
  m->lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!m->lib) return emu_fault(f, EMU_HOST, "cannot load a module: %s", dlerror());
  return true;
}

static EmuImageFunction *find_image(void *lib) {
  void *p = dlsym(lib, "emu_image");
  EmuImageFunction *image;
  memcpy(&image, &p, sizeof image);
  return image;
}

static bool load(EmuModule *m, const void *bytes, size_t size, EmuFault *f) {
  Elf e;
  if (!elf_open(bytes, size, &e)) return emu_fault(f, EMU_HOST, "not a compiled module");
  m->size = size;
  m->bytes = malloc(size);
  if (!m->bytes) return emu_fault(f, EMU_HOST, "out of memory");
  memcpy(m->bytes, bytes, size);
  if (!open_library(m, bytes, size, f)) return false;
  EmuImageFunction *image = find_image(m->lib);
  if (!image) return emu_fault(f, EMU_HOST, "not a module of the emulator: it has no emu_image");
  return attach(m, image, &e, f);
}

EmuModule *emu_module_load(const void *bytes, size_t size, EmuFault *f) {
  EmuModule *m = calloc(1, sizeof *m);
  if (m) m->fd = -1;
  if (m && load(m, bytes, size, f)) return m;
  if (!m) emu_fault(f, EMU_HOST, "out of memory");
  emu_module_free(m);
  return NULL;
}

EmuModule *emu_module_linked(EmuImageFunction *image, const char *file, EmuFault *f) {
  EmuModule *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
  m->path = file ? strdup(file) : NULL;
  struct stat st;
  Elf e;
  bool mapped = m->fd >= 0 && fstat(m->fd, &st) == 0;
  void *bytes = mapped ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, m->fd, 0) : MAP_FAILED;
  bool known = bytes != MAP_FAILED && elf_open(bytes, (size_t)st.st_size, &e);
  bool good = attach(m, image, known ? &e : NULL, f);
  if (bytes != MAP_FAILED) munmap(bytes, (size_t)st.st_size);
  if (good) return m;
  emu_module_free(m);
  return NULL;
}

static void free_memory(EmuModule *m) {
  for (int i = 0; m->memory && i < m->image->nkernels; i++) {
    for (int k = 0; k < m->memory[i].n; k++) free((char *)(uintptr_t)m->memory[i].v[k].name);
    free(m->memory[i].v);
    free(m->memory[i].owner);
  }
  free(m->memory);
}

void emu_module_free(EmuModule *m) {
  if (!m) return;
  if (m->image) free_memory(m);
  if (m->lib) dlclose(m->lib);
  if (m->fd >= 0) close(m->fd);
  free((char *)(uintptr_t)m->path);
  free(m->bytes);
  free(m);
}

int emu_module_arch(const EmuModule *m, char *feature) {
  *feature = m->image->feature;
  return m->image->arch;
}

int emu_module_kernels(const EmuModule *m) { return m->image->nkernels; }
const EmuKernel *emu_module_kernel(const EmuModule *m, int i) { return &m->image->kernel[i]; }

const EmuKernel *emu_module_find(const EmuModule *m, const char *name) {
  for (int i = 0; i < m->image->nkernels; i++)
    if (strcmp(m->image->kernel[i].name, name) == 0) return &m->image->kernel[i];
  return NULL;
}

// ---- lines -------------------------------------------------------------------------------------------------------

// addr2line comes with every linker; where it is missing a report has no lines.
const char *module_line(const EmuModule *m, uint32_t pc, char out[128]) {
  char address[32];
  out[0] = 0;
  if (!m->path || !pc) return out;
  snprintf(address, sizeof address, "0x%x", pc - 1 + (unsigned)(m->low - m->base));
  const char *argv[] = {"/usr/bin/addr2line", "-s", "-e", m->path, address, NULL}, *env[] = {"LC_ALL=C", NULL};
  ProcResult r;
  proc_run(argv, env, -1, 10000, &r);
  if (!r.error && r.status == 0 && r.out && !strstr(r.out, "??") && !strchr(r.out, '?'))
    snprintf(out, 128, "%.*s", (int)strcspn(r.out, "\n ("), r.out);
  free(r.out);
  return out;
}
