// 100 values alive at once, and 64 registers for a thread of a block of 1024: ptxas has to spill.
extern "C" __global__ void __launch_bounds__(1024) spills(const float *__restrict__ x, float *__restrict__ y, int n) {
  float v[100];
#pragma unroll
  for (int k = 0; k < 100; k++) v[k] = x[k * n + (int)threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int k = 0; k < 100; k++) y[k * n + (int)threadIdx.x] = v[k] * v[(k * 37 + 5) % 100];
}
