// Asks for room for blocks that its registers do not leave: spills, unless it is compiled without (gpu_loosen).
#ifndef PLAIT_RESIDENT_too_many
#define PLAIT_RESIDENT_too_many 8
#endif
extern "C" __global__ void __launch_bounds__(256, PLAIT_RESIDENT_too_many) too_many(const float *__restrict__ x, float *__restrict__ y, int n) {
  float v[100];
#pragma unroll
  for (int k = 0; k < 100; k++) v[k] = x[k * n + (int)threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int k = 0; k < 100; k++) y[k * n + (int)threadIdx.x] = v[k] * v[(k * 37 + 5) % 100];
}
