// marks.cu: kernels written by hand, as marks to reach. Without headers; compiled by NVRTC, see driver.py.

// ---- what memory can do ------------------------------------------------------------------------

// One 16-byte vector a thread.
extern "C" __global__ void __launch_bounds__(256) copy16(uint4 *__restrict__ to, const uint4 *__restrict__ from, long long n) {
  const long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i < n) to[i] = from[i];
}

// Sums of what each block reads, eight vectors in flight a thread.
extern "C" __global__ void __launch_bounds__(512) read16(float *out, const float4 *__restrict__ from, long long n) {
  const long long step = (long long)gridDim.x * 512;
  float total = 0;
  long long i = (long long)blockIdx.x * 512 + threadIdx.x;
  for (; i + 7 * step < n; i += 8 * step) {
    float4 v[8];
#pragma unroll
    for (int u = 0; u < 8; u++) v[u] = __ldcs(from + i + u * step);
#pragma unroll
    for (int u = 0; u < 8; u++) total += (v[u].x + v[u].y) + (v[u].z + v[u].w);
  }
  for (; i < n; i += step) total += (from[i].x + from[i].y) + (from[i].z + from[i].w);
  for (int d = 16; d > 0; d /= 2) total += __shfl_xor_sync(0xffffffffu, total, d);
  if (threadIdx.x % 32 == 0) out[blockIdx.x * 16 + threadIdx.x / 32] = total;
}

// ---- eight bf16 in a vector --------------------------------------------------------------------

static __device__ __forceinline__ void widened(const uint4 &v, float *f) {
  const unsigned int u[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int k = 0; k < 4; k++) {
    f[2 * k] = __uint_as_float(u[k] << 16);
    f[2 * k + 1] = __uint_as_float(u[k] & 0xffff0000u);
  }
}

// Two values to bf16, ties to even; there are no NaN here.
static __device__ __forceinline__ unsigned int narrow2(float low, float high) {
  unsigned int pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

static __device__ __forceinline__ uint4 narrowed(const float *f) {
  return make_uint4(narrow2(f[0], f[1]), narrow2(f[2], f[3]), narrow2(f[4], f[5]), narrow2(f[6], f[7]));
}

static __device__ __forceinline__ unsigned int fp8x2(float low, float high) {
  unsigned short pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
}

// ---- reductions of a block of T threads --------------------------------------------------------

template<int T> static __device__ __forceinline__ float block_sum(float v, float *part) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  v = 0;
#pragma unroll
  for (int n = 0; n < T / 32; n++) v += part[n];
  return v;
}

template<int T> static __device__ __forceinline__ float block_max(float v, float *part) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  v = part[0];
#pragma unroll
  for (int n = 1; n < T / 32; n++) v = fmaxf(v, part[n]);
  return v;
}

// ---- softmax: a row in the registers of a block, of T threads with V vectors each --------------

template<int T, int V> static __device__ __forceinline__ void softmax_row(uint4 *__restrict__ y, const uint4 *__restrict__ x) {
  __shared__ float part[2][T / 32];
  const long long at = (long long)blockIdx.x * T * V + threadIdx.x;
  const float log2e = 1.4426950408889634f;
  uint4 v[V];
#pragma unroll
  for (int i = 0; i < V; i++) v[i] = __ldcs(x + at + i * T);
  float top = -1e38f, f[8], z = 0;
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(v[i], f);
#pragma unroll
    for (int k = 0; k < 8; k++) top = fmaxf(top, f[k]);
  }
  top = block_max<T>(top, part[0]) * log2e;
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(v[i], f);
#pragma unroll
    for (int k = 0; k < 8; k++) z += exp2f(f[k] * log2e - top);
  }
  z = 1 / block_sum<T>(z, part[1]);
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(v[i], f);
#pragma unroll
    for (int k = 0; k < 8; k++) f[k] = exp2f(f[k] * log2e - top) * z;
    __stcs(y + at + i * T, narrowed(f));
  }
}

#define SOFTMAX(T, V) \
  extern "C" __global__ void __launch_bounds__(T) softmax_##T##_##V(uint4 *y, const uint4 *x) { softmax_row<T, V>(y, x); }
SOFTMAX(128, 1)
SOFTMAX(128, 4)
SOFTMAX(256, 2)
SOFTMAX(512, 8)
SOFTMAX(1024, 4)

// Rows of 1,024: a warp each, eight warps a block.
extern "C" __global__ void __launch_bounds__(256) softmax_warp(uint4 *__restrict__ y, const uint4 *__restrict__ x) {
  const long long at = ((long long)blockIdx.x * 8 + threadIdx.x / 32) * 128 + threadIdx.x % 32;
  uint4 v[4];
  float f[32], top = -1e38f, z = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) v[i] = __ldcs(x + at + i * 32);
#pragma unroll
  for (int i = 0; i < 4; i++) widened(v[i], f + 8 * i);
#pragma unroll
  for (int k = 0; k < 32; k++) top = fmaxf(top, f[k]);
#pragma unroll
  for (int d = 16; d > 0; d /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, d));
#pragma unroll
  for (int k = 0; k < 32; k++) z += f[k] = __expf(f[k] - top);
#pragma unroll
  for (int d = 16; d > 0; d /= 2) z += __shfl_xor_sync(0xffffffffu, z, d);
  z = 1 / z;
#pragma unroll
  for (int k = 0; k < 32; k++) f[k] *= z;
#pragma unroll
  for (int i = 0; i < 4; i++) __stcs(y + at + i * 32, narrowed(f + 8 * i));
}

// Rows of C * T * V vectors: a cluster of C blocks each. A block's largest value and sum go to all blocks of the cluster.
static __device__ __forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

static __device__ __forceinline__ float of_block(const float *shared, int rank) {
  unsigned int address = (unsigned int)__cvta_generic_to_shared(shared), there;
  float v;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(v) : "r"(there) : "memory");
  return v;
}

template<int C, int T, int V> static __device__ __forceinline__ void softmax_of_cluster(uint4 *__restrict__ y, const uint4 *__restrict__ x) {
  __shared__ float part[2][T / 32], mine[2];
  const long long at = (long long)blockIdx.x * T * V + threadIdx.x;
  uint4 v[V];
#pragma unroll
  for (int i = 0; i < V; i++) v[i] = __ldcs(x + at + i * T);
  float top = -1e38f, f[8], z = 0;
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(v[i], f);
#pragma unroll
    for (int k = 0; k < 8; k++) top = fmaxf(top, f[k]);
  }
  top = block_max<T>(top, part[0]);
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(v[i], f);
#pragma unroll
    for (int k = 0; k < 8; k++) z += __expf(f[k] - top);
  }
  z = block_sum<T>(z, part[1]);
  if (threadIdx.x == 0) mine[0] = top, mine[1] = z;
  cluster_barrier();
  float all = -1e38f, total = 0;
#pragma unroll
  for (int r = 0; r < C; r++) all = fmaxf(all, of_block(mine, r));
#pragma unroll
  for (int r = 0; r < C; r++) total += of_block(mine + 1, r) * __expf(of_block(mine, r) - all);
  cluster_barrier();
  total = 1 / total;
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(v[i], f);
#pragma unroll
    for (int k = 0; k < 8; k++) f[k] = __expf(f[k] - all) * total;
    __stcs(y + at + i * T, narrowed(f));
  }
}

#define SOFTMAX_CLUSTER(C, T, V)                                                                                          \
  extern "C" __global__ void __cluster_dims__(C, 1, 1) __launch_bounds__(T) softmax_cluster_##C##_##T##_##V(uint4 *y, const uint4 *x) { \
    softmax_of_cluster<C, T, V>(y, x);                                                                                    \
  }
SOFTMAX_CLUSTER(8, 512, 4)
SOFTMAX_CLUSTER(8, 1024, 2)
SOFTMAX_CLUSTER(4, 1024, 4)

// ---- RMS norm, and the norm of a sum with quantisation to fp8 behind it ------------------------

template<int T, int V> static __device__ __forceinline__ void rms_row(uint4 *__restrict__ y, const uint4 *__restrict__ x, const uint4 *__restrict__ w) {
  __shared__ float part[T / 32];
  const long long at = (long long)blockIdx.x * T * V + threadIdx.x;
  uint4 v[V], g[V];
  float f[8], h[8], s = 0;
#pragma unroll
  for (int i = 0; i < V; i++) v[i] = x[at + i * T], g[i] = w[threadIdx.x + i * T];
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(v[i], f);
#pragma unroll
    for (int k = 0; k < 8; k++) s += f[k] * f[k];
  }
  s = rsqrtf(block_sum<T>(s, part) / (T * V * 8) + 1e-5f);
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(v[i], f);
    widened(g[i], h);
#pragma unroll
    for (int k = 0; k < 8; k++) f[k] *= s * h[k];
    y[at + i * T] = narrowed(f);
  }
}

#define RMS(T, V) \
  extern "C" __global__ void __launch_bounds__(T) rms_##T##_##V(uint4 *y, const uint4 *x, const uint4 *w) { rms_row<T, V>(y, x, w); }
RMS(64, 1)
RMS(128, 4)
RMS(256, 2)
RMS(512, 1)
RMS(256, 8)
RMS(512, 4)
RMS(1024, 2)

template<int T, int V> static __device__ __forceinline__ void fp8_row(uint2 *__restrict__ q, uint4 *__restrict__ h, float *__restrict__ scale,
    const uint4 *__restrict__ x, const uint4 *__restrict__ r, const uint4 *__restrict__ w) {
  __shared__ float part[2][T / 32];
  const long long at = (long long)blockIdx.x * T * V + threadIdx.x;
  uint4 v[V], g[V], e[V];
  float f[V][8], t[8], s = 0, top = 0;
#pragma unroll
  for (int i = 0; i < V; i++) v[i] = x[at + i * T], e[i] = r[at + i * T], g[i] = w[threadIdx.x + i * T];
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(v[i], f[i]);
    widened(e[i], t);
#pragma unroll
    for (int k = 0; k < 8; k++) f[i][k] += t[k];
    h[at + i * T] = v[i] = narrowed(f[i]);
    widened(v[i], f[i]);
#pragma unroll
    for (int k = 0; k < 8; k++) s += f[i][k] * f[i][k];
  }
  s = rsqrtf(block_sum<T>(s, part[0]) / (T * V * 8) + 1e-5f);
#pragma unroll
  for (int i = 0; i < V; i++) {
    widened(g[i], t);
#pragma unroll
    for (int k = 0; k < 8; k++) f[i][k] *= s * t[k], top = fmaxf(top, fabsf(f[i][k]));
  }
  top = fmaxf(block_max<T>(top, part[1]) / 448, 1e-12f);
  if (threadIdx.x == 0) scale[blockIdx.x] = top;
  const float over = 1 / top;
#pragma unroll
  for (int i = 0; i < V; i++) {
    const unsigned int a = fp8x2(f[i][0] * over, f[i][1] * over) | fp8x2(f[i][2] * over, f[i][3] * over) << 16;
    const unsigned int b = fp8x2(f[i][4] * over, f[i][5] * over) | fp8x2(f[i][6] * over, f[i][7] * over) << 16;
    q[at + i * T] = make_uint2(a, b);
  }
}

#define FP8(T, V)                                                                                                        \
  extern "C" __global__ void __launch_bounds__(T) fp8_##T##_##V(uint2 *q, uint4 *h, float *scale, const uint4 *x, const uint4 *r, const uint4 *w) { \
    fp8_row<T, V>(q, h, scale, x, r, w);                                                                                 \
  }
FP8(64, 1)
FP8(256, 2)
FP8(512, 1)

// ---- log-sum-exp of rows in one pass, less the logit of a target where there is one ------------

template<int T> static __device__ __forceinline__ void lse_row(float *__restrict__ out, const uint4 *__restrict__ x, const long long *__restrict__ target,
    long long vectors) {
  __shared__ float part[2][T / 32];
  const uint4 *row = x + (long long)blockIdx.x * vectors;
  const float log2e = 1.4426950408889634f;
  float top = -1e38f, z = 0;
  for (long long first = threadIdx.x; first < vectors; first += 4 * T) {
    uint4 v[4];
    float f[4][8], larger = top;
#pragma unroll
    for (int u = 0; u < 4; u++) v[u] = first + u * T < vectors ? __ldcs(row + first + u * T) : make_uint4(0xff61ff61u, 0xff61ff61u, 0xff61ff61u, 0xff61ff61u);
#pragma unroll
    for (int u = 0; u < 4; u++) {
      widened(v[u], f[u]);
#pragma unroll
      for (int k = 0; k < 8; k++) larger = fmaxf(larger, f[u][k]);
    }
    z *= exp2f((top - larger) * log2e);
    top = larger;
#pragma unroll
    for (int u = 0; u < 4; u++)
#pragma unroll
      for (int k = 0; k < 8; k++) z += exp2f((f[u][k] - top) * log2e);
  }
  const float all = block_max<T>(top, part[0]);
  z = block_sum<T>(z * exp2f((top - all) * log2e), part[1]);
  if (threadIdx.x) return;
  float found = all + logf(z);
  if (target) found -= __uint_as_float((unsigned int)((const unsigned short *)row)[target[blockIdx.x]] << 16);
  out[blockIdx.x] = found;
}

#define LSE(T) \
  extern "C" __global__ void __launch_bounds__(T) lse_##T(float *out, const uint4 *x, const long long *target, long long vectors) { lse_row<T>(out, x, target, vectors); }
LSE(256)
LSE(512)
LSE(1024)

// ---- sums of f32 -------------------------------------------------------------------------------

// Four columns a thread, over a part of the rows; blockIdx.y says which. Parts are added by the last two kernels.
extern "C" __global__ void __launch_bounds__(256) columns_part(float4 *__restrict__ out, const float4 *__restrict__ x, long long vectors, long long rows) {
  const long long c = (long long)blockIdx.x * 256 + threadIdx.x, first = blockIdx.y * rows;
  float4 s = make_float4(0, 0, 0, 0);
  if (c >= vectors) return;
#pragma unroll 8
  for (long long r = first; r < first + rows; r++) {
    const float4 v = __ldcs(x + r * vectors + c);
    s.x += v.x, s.y += v.y, s.z += v.z, s.w += v.w;
  }
  out[blockIdx.y * vectors + c] = s;
}

extern "C" __global__ void __launch_bounds__(256) columns_end(float *__restrict__ out, const float *__restrict__ part, long long columns, long long parts) {
  const long long c = (long long)blockIdx.x * 256 + threadIdx.x;
  float s = 0;
  if (c >= columns) return;
#pragma unroll 8
  for (long long p = 0; p < parts; p++) s += part[p * columns + c];
  out[c] = s;
}

extern "C" __global__ void __launch_bounds__(256) rows_sum(float *__restrict__ out, const float4 *__restrict__ x, long long vectors) {
  __shared__ float part[8];
  const float4 *row = x + (long long)blockIdx.x * vectors;
  float s = 0;
#pragma unroll 8
  for (long long i = threadIdx.x; i < vectors; i += 256) {
    const float4 v = __ldcs(row + i);
    s += (v.x + v.y) + (v.z + v.w);
  }
  s = block_sum<256>(s, part);
  if (threadIdx.x == 0) out[blockIdx.x] = s;
}
