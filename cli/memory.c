// memory.c: the memory that plait run's kernels work on: the host's own, or a GPU's with copies of the tensors.
#include "cli/run.h"
#include <string.h>

int memory_open(Memory *m, Cli *c, bool gpu, int number) {
  *m = (Memory){.c = c};
  if (!gpu) return GOOD;
  plait_messages *messages = NULL;
  plait_status s = plait_device_open(c->context, number, &m->device, &messages);
  return s || messages ? cli_messages(c, s, messages) : GOOD;
}

static void keep(Memory *m, void *p) {
  if (m->n == m->room) {
    int room = m->room ? 2 * m->room : 16;
    void **more = cli_array(m->c, void *, room);
    if (m->n) memcpy(more, m->own, (size_t)m->n * sizeof *more);
    m->own = more;
    m->room = room;
  }
  m->own[m->n++] = p;
}

int memory_alloc(Memory *m, size_t bytes, void **out) {
  if (!m->device) return *out = cli_alloc(m->c, bytes), GOOD;
  plait_messages *messages = NULL;
  plait_status s = plait_device_alloc(m->device, bytes, out, &messages);
  if (s || messages) return cli_messages(m->c, s, messages);
  keep(m, *out);
  return GOOD;
}

int memory_put(Memory *m, void *to, const void *from, size_t bytes) {
  if (!m->device) return memcpy(to, from, bytes), GOOD;
  plait_messages *messages = NULL;
  plait_status s = plait_device_upload(m->device, to, from, bytes, NULL, &messages);
  return s || messages ? cli_messages(m->c, s, messages) : GOOD;
}

int memory_get(Memory *m, void *to, const void *from, size_t bytes) {
  if (!m->device) return memcpy(to, from, bytes), GOOD;
  plait_messages *messages = NULL;
  plait_status s = plait_device_download(m->device, to, from, bytes, NULL, &messages);
  return s || messages ? cli_messages(m->c, s, messages) : GOOD;
}

// A tensor like t; with its elements if `filled`. In host memory t itself.
int memory_copy(Memory *m, const plait_tensor *t, bool filled, plait_tensor *out) {
  *out = *t;
  if (!m->device) return GOOD;
  int bad = memory_alloc(m, t->bytes, &out->data);
  if (!bad && filled && t->bytes) bad = memory_put(m, out->data, t->data, t->bytes);
  return bad;
}

void memory_close(Memory *m) {
  for (int i = 0; i < m->n; i++) plait_device_free(m->device, m->own[i]);
  plait_device_close(m->device);
}
