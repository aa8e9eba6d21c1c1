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
