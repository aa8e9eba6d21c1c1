// nvrtc: registers <= 40, shared <= 32
// Softmax of rows: a block a row, and a warp a row.

// m is a multiple of 4, of at most 4096; 256 threads.
extern "C" __global__ void __launch_bounds__(256) block_softmax(const float *__restrict__ x, float *__restrict__ y, int m) {
  __shared__ float part[8];
  const float4 *row = (const float4 *)(x + (long long)blockIdx.x * m);
  float4 *out = (float4 *)(y + (long long)blockIdx.x * m);
  const int tid = threadIdx.x, n = m >> 2;
  float4 v[4];
  float high = -__int_as_float(0x7f800000), sum = 0;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const int i = tid + k * 256;
    if (i >= n) continue;
    v[k] = __ldg(row + i);
    high = fmaxf(high, fmaxf(fmaxf(v[k].x, v[k].y), fmaxf(v[k].z, v[k].w)));
  }
  for (int o = 16; o; o >>= 1) high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, o));
  if ((tid & 31) == 0) part[tid >> 5] = high;
  __syncthreads();
  high = part[0];
  for (int w = 1; w < 8; w++) high = fmaxf(high, part[w]);
  __syncthreads();
#pragma unroll
  for (int k = 0; k < 4; k++) {
    if (tid + k * 256 >= n) continue;
    v[k].x = expf(v[k].x - high);
    v[k].y = expf(v[k].y - high);
    v[k].z = expf(v[k].z - high);
    v[k].w = expf(v[k].w - high);
    sum += (v[k].x + v[k].y) + (v[k].z + v[k].w);
  }
  for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  if ((tid & 31) == 0) part[tid >> 5] = sum;
  __syncthreads();
  sum = 0;
  for (int w = 0; w < 8; w++) sum += part[w];
  const float scale = 1.0f / sum;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const int i = tid + k * 256;
    if (i >= n) continue;
    __stcs(out + i, make_float4(v[k].x * scale, v[k].y * scale, v[k].z * scale, v[k].w * scale));
  }
}

// Any m; a warp a row, rows dealt out to the warps of the grid.
extern "C" __global__ void __launch_bounds__(128) warp_softmax(const float *__restrict__ x, float *__restrict__ y, int rows, int m) {
  const int lane = threadIdx.x & 31, warp = (int)(blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5)), warps = (int)(gridDim.x * (blockDim.x >> 5));
  for (int r = warp; r < rows; r += warps) {
    const float *row = x + (long long)r * m;
    float high = -__int_as_float(0x7f800000), sum = 0;
    for (int j = lane; j < m; j += 32) high = fmaxf(high, row[j]);
    for (int o = 16; o; o >>= 1) high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, o));
    for (int j = lane; j < m; j += 32) sum += expf(row[j] - high);
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    for (int j = lane; j < m; j += 32) y[(long long)r * m + j] = expf(row[j] - high) / sum;
  }
}
