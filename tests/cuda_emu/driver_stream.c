// driver_stream.c: libcuda.so.1 without a GPU: streams, events, graphs.
//
// A stream does its work at once; one that is captured keeps it for a graph.
#include "driver.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int capturing;                  // streams that are captured; under the driver's lock
static _Thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

bool driver_capturing(void) { return capturing > 0 && thread_mode != CU_STREAM_CAPTURE_MODE_RELAXED; }
void driver_capture(int change) { capturing += change; }

// ---- work --------------------------------------------------------------------------------------------------------

void work_free(Work *w) {
  free(w->arg);
  free(w->values);
  w->arg = NULL;
  w->values = NULL;
}

void worklist_free(WorkList *l) {
  for (int i = 0; i < l->n; i++) work_free(&l->v[i]);
  free(l->v);
  *l = (WorkList){0};
}

static bool worklist_add(WorkList *l, Work w) {
  if (l->n == l->room) {
    int room = l->room ? 2 * l->room : 8;
    Work *v = realloc(l->v, (size_t)room * sizeof *v);
    if (!v) return false;
    l->v = v;
    l->room = room;
  }
  l->v[l->n++] = w;
  return true;
}

static size_t values_bytes(const Work *w) {
  size_t n = 0;
  const EmuKernel *k = w->f->kernel;
  for (int i = 0; i < k->nparams; i++) n = (size_t)((unsigned char *)w->arg[i] - w->values) + k->param[i].bytes;
  return n;
}

bool work_copy(const Work *from, Work *to) {
  *to = *from;
  if (from->kind != WORK_LAUNCH) return true;
  int n = from->f->kernel->nparams;
  to->values = malloc(values_bytes(from) + 1);
  to->arg = calloc((size_t)n + 1, sizeof *to->arg);
  if (!to->values || !to->arg) {
    work_free(to);
    return false;
  }
  memcpy(to->values, from->values, values_bytes(from));
  for (int i = 0; i < n; i++) to->arg[i] = to->values + ((unsigned char *)from->arg[i] - from->values);
  return true;
}

CUresult work_do(const Work *w) {
  EmuDevice *d = emu_driver.device;
  bool good = false;
  switch (w->kind) {
  case WORK_LAUNCH: return launch_do(w);
  case WORK_UPLOAD: good = emu_upload(d, w->to, w->from, w->n); break;
  case WORK_DOWNLOAD: good = emu_download(d, w->to, w->from, w->n); break;
  case WORK_COPY: good = emu_copy(d, w->to, w->from, w->n); break;
  case WORK_FILL: good = emu_fill(d, w->to, &w->pattern, (size_t)w->pattern_bytes, w->n); break;
  }
  return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// The default stream and the two that have numbers for handles.
static bool is_default(CUstream s) { return (uintptr_t)s <= 2; }

CUresult stream_do(CUstream s, Work w) {
  CUresult r = CUDA_SUCCESS;
  if (!is_default(s) && !is_kind(s, KIND_STREAM)) r = CUDA_ERROR_INVALID_HANDLE;
  else if (is_default(s) && driver_capturing()) r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  else if (!is_default(s) && s->capturing) {
    if (worklist_add(&s->captured, w)) return CUDA_SUCCESS;
    r = CUDA_ERROR_OUT_OF_MEMORY;
  } else {
    r = work_do(&w);
  }
  work_free(&w);
  return r;
}

// ---- streams -----------------------------------------------------------------------------------------------------

CUresult cuStreamCreate(CUstream *s, unsigned flags) {
  ENTER(true);
  if (!s || flags > 1) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *s = handle_make(KIND_STREAM, sizeof **s);
  LEAVE(*s ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult cuStreamDestroy_v2(CUstream s) {
  ENTER(true);
  if (!is_kind(s, KIND_STREAM)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  if (s->capturing) driver_capture(-1);
  worklist_free(&s->captured);
  handle_free(s);
  LEAVE(CUDA_SUCCESS);
}

static CUresult idle(CUstream s) {
  if (is_default(s)) return driver_capturing() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
  if (!is_kind(s, KIND_STREAM)) return CUDA_ERROR_INVALID_HANDLE;
  return s->capturing ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream s) {
  ENTER(true);
  LEAVE(idle(s));
}

CUresult cuStreamQuery(CUstream s) {
  ENTER(true);
  LEAVE(idle(s));
}

CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned flags) {
  ENTER(true);
  (void)flags;
  LEAVE((is_default(s) || is_kind(s, KIND_STREAM)) && is_kind(e, KIND_EVENT) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE);
}

// ---- capture and graphs ------------------------------------------------------------------------------------------

CUresult cuStreamIsCapturing(CUstream s, CUstreamCaptureStatus *status) {
  ENTER(true);
  if (!status) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *status = !is_default(s) && is_kind(s, KIND_STREAM) && s->capturing ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
  LEAVE(CUDA_SUCCESS);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
  if (!mode || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL || *mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
  CUstreamCaptureMode before = thread_mode;
  thread_mode = *mode;
  *mode = before;
  return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream s, CUstreamCaptureMode mode) {
  ENTER(true);
  if (is_default(s)) LEAVE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  if (!is_kind(s, KIND_STREAM)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  if (s->capturing || mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED) LEAVE(CUDA_ERROR_INVALID_VALUE);
  s->capturing = true;
  driver_capture(1);
  LEAVE(CUDA_SUCCESS);
}

CUresult cuStreamEndCapture(CUstream s, CUgraph *g) {
  ENTER(true);
  if (!g) LEAVE(CUDA_ERROR_INVALID_VALUE);
  if (is_default(s) || !is_kind(s, KIND_STREAM)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  if (!s->capturing) LEAVE(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  s->capturing = false;
  driver_capture(-1);
  *g = handle_make(KIND_GRAPH, sizeof **g);
  if (!*g) LEAVE(CUDA_ERROR_OUT_OF_MEMORY);
  (*g)->work = s->captured;
  s->captured = (WorkList){0};
  LEAVE(CUDA_SUCCESS);
}

static bool copy_list(const WorkList *from, WorkList *to) {
  for (int i = 0; i < from->n; i++) {
    Work w;
    if (!work_copy(&from->v[i], &w)) return false;
    if (worklist_add(to, w)) continue;
    work_free(&w);
    return false;
  }
  return true;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *x, CUgraph g, unsigned long long flags) {
  ENTER(true);
  (void)flags;
  if (!x) LEAVE(CUDA_ERROR_INVALID_VALUE);
  if (!is_kind(g, KIND_GRAPH)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  *x = handle_make(KIND_EXEC, sizeof **x);
  if (*x && copy_list(&g->work, &(*x)->work)) LEAVE(CUDA_SUCCESS);
  if (*x) worklist_free(&(*x)->work);
  handle_free(*x);
  *x = NULL;
  LEAVE(CUDA_ERROR_OUT_OF_MEMORY);
}

// In a stream that is captured the graph's work becomes part of the new graph.
CUresult cuGraphLaunch(CUgraphExec x, CUstream s) {
  ENTER(true);
  if (!is_kind(x, KIND_EXEC)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  for (int i = 0; i < x->work.n; i++) {
    Work w;
    CUresult r = work_copy(&x->work.v[i], &w) ? stream_do(s, w) : CUDA_ERROR_OUT_OF_MEMORY;
    if (r) LEAVE(r);
  }
  LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphDestroy(CUgraph g) {
  ENTER(true);
  if (!is_kind(g, KIND_GRAPH)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  worklist_free(&g->work);
  handle_free(g);
  LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphExecDestroy(CUgraphExec x) {
  ENTER(true);
  if (!is_kind(x, KIND_EXEC)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  worklist_free(&x->work);
  handle_free(x);
  LEAVE(CUDA_SUCCESS);
}

// ---- events ------------------------------------------------------------------------------------------------------

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

CUresult cuEventCreate(CUevent *e, unsigned flags) {
  ENTER(true);
  if (!e) LEAVE(CUDA_ERROR_INVALID_VALUE);
  *e = handle_make(KIND_EVENT, sizeof **e);
  if (!*e) LEAVE(CUDA_ERROR_OUT_OF_MEMORY);
  **e = (struct CUevent_st){.timed = !(flags & CU_EVENT_DISABLE_TIMING)};
  LEAVE(CUDA_SUCCESS);
}

CUresult cuEventRecord(CUevent e, CUstream s) {
  ENTER(true);
  if (!is_kind(e, KIND_EVENT) || (!is_default(s) && !is_kind(s, KIND_STREAM))) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  e->recorded = true;
  e->ms = now_ms();
  LEAVE(CUDA_SUCCESS);
}

CUresult cuEventSynchronize(CUevent e) {
  ENTER(true);
  LEAVE(is_kind(e, KIND_EVENT) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE);
}

CUresult cuEventQuery(CUevent e) {
  ENTER(true);
  LEAVE(is_kind(e, KIND_EVENT) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE);
}

static CUresult elapsed(float *ms, CUevent from, CUevent to) {
  if (!ms) return CUDA_ERROR_INVALID_VALUE;
  if (!is_kind(from, KIND_EVENT) || !is_kind(to, KIND_EVENT) || !from->timed || !to->timed || !from->recorded || !to->recorded) return CUDA_ERROR_INVALID_HANDLE;
  *ms = (float)(to->ms - from->ms);
  return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *ms, CUevent from, CUevent to) {
  ENTER(true);
  LEAVE(elapsed(ms, from, to));
}

CUresult cuEventElapsedTime_v2(float *ms, CUevent from, CUevent to) {
  ENTER(true);
  LEAVE(elapsed(ms, from, to));
}

CUresult cuEventDestroy_v2(CUevent e) {
  ENTER(true);
  if (!is_kind(e, KIND_EVENT)) LEAVE(CUDA_ERROR_INVALID_HANDLE);
  handle_free(e);
  LEAVE(CUDA_SUCCESS);
}
