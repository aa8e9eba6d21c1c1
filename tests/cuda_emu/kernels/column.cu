// nvrtc: registers <= 40, shared <= 20
// Sums split over blocks. The block that comes last adds the partial sums, in their order, whichever block it is.

// Columns: blockIdx.x has 64 of them, blockIdx.y its share of the rows. count[gridDim.x] is zero before and after.
extern "C" __global__ void __launch_bounds__(64) column_sum(const float *__restrict__ x, float *__restrict__ y, float *partial, unsigned *count, long long rows, int columns) {
  __shared__ bool last;
  const int j = (int)(blockIdx.x * 64 + threadIdx.x);
  const long long from = rows * blockIdx.y / gridDim.y, to = rows * (blockIdx.y + 1) / gridDim.y;
  float sum = 0;
  if (j < columns) {
    for (long long i = from; i < to; i++) sum += x[i * columns + j];
    partial[(long long)blockIdx.y * columns + j] = sum;
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(&count[blockIdx.x], gridDim.y - 1) == gridDim.y - 1;
  __syncthreads();
  if (!last || j >= columns) return;
  sum = 0;
  for (unsigned b = 0; b < gridDim.y; b++) sum += __ldcg(&partial[(long long)b * columns + j]);
  y[j] = sum;
}

// All elements; here one thread fences for its block, behind the barrier.
extern "C" __global__ void __launch_bounds__(128) full_sum(const float *__restrict__ x, float *__restrict__ y, float *partial, unsigned *count, long long n) {
  __shared__ float part[4];
  __shared__ bool last;
  const int tid = threadIdx.x;
  float sum = 0;
  for (long long i = (long long)blockIdx.x * 128 + tid; i < n; i += (long long)gridDim.x * 128) sum += x[i];
  for (int o = 16; o; o >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, o);
  if ((tid & 31) == 0) part[tid >> 5] = sum;
  __syncthreads();
  if (tid == 0) {
    partial[blockIdx.x] = (part[0] + part[1]) + (part[2] + part[3]);
    __threadfence();
    last = atomicAdd(count, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  if (tid == 0) {
    *count = 0;
    sum = 0;
    for (unsigned b = 0; b < gridDim.x; b++) sum += partial[b];
    *y = sum;
  }
}
