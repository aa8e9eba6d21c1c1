// nvrtc: registers <= 32, shared <= 1024
// Asynchronous copies, by the macros that have another body on the CPU (prelude.h).
#ifndef PLAIT_EMU
static __device__ __forceinline__ void plait_copy_async(void *to, const void *from, int n) {
  const unsigned shared = (unsigned)__cvta_generic_to_shared(to);
  if (n == 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(shared), "l"(from) : "memory");
  else if (n == 8) asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" : : "r"(shared), "l"(from) : "memory");
  else asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" : : "r"(shared), "l"(from) : "memory");
}
#define PLAIT_COPY_ASYNC(to, from, n) plait_copy_async(to, from, n)
#define PLAIT_COPY_COMMIT() asm volatile("cp.async.commit_group;" : : : "memory")
#define PLAIT_COPY_WAIT(n) asm volatile("cp.async.wait_group %0;" : : "n"(n) : "memory")
#define PLAIT_DEPENDENCY_WAIT() asm volatile("griddepcontrol.wait;" : : : "memory")
#define PLAIT_DEPENDENCY_TRIGGER() asm volatile("griddepcontrol.launch_dependents;")
#endif

// y = the sum of rows of 128 floats, a block of 32 threads a row group: the next row is on its way while one is added.
extern "C" __global__ void __launch_bounds__(32) pipelined_sums(const float *__restrict__ x, float *__restrict__ y, int rows) {
  __shared__ __align__(16) float buffer[2][128];
  const int lane = (int)threadIdx.x, step = (int)gridDim.x;
  int at = 0;
  if ((int)blockIdx.x < rows) PLAIT_COPY_ASYNC(&buffer[0][4 * lane], x + (long long)blockIdx.x * 128 + 4 * lane, 16);
  PLAIT_COPY_COMMIT();
  for (int r = (int)blockIdx.x; r < rows; r += step) {
    if (r + step < rows) PLAIT_COPY_ASYNC(&buffer[1 - at][4 * lane], x + (long long)(r + step) * 128 + 4 * lane, 16);
    PLAIT_COPY_COMMIT();
    PLAIT_COPY_WAIT(1);
    __syncwarp();
    float sum = buffer[at][lane] + buffer[at][lane + 32] + buffer[at][lane + 64] + buffer[at][lane + 96];
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (lane == 0) y[r] = sum;
    __syncwarp();
    at = 1 - at;
  }
}

#if __CUDA_ARCH__ >= 900
// A launch that may begin before the one that makes x has ended.
extern "C" __global__ void dependent_scale(const float *x, float *y, float a, int n) {
  const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  PLAIT_DEPENDENCY_TRIGGER();
  PLAIT_DEPENDENCY_WAIT();
  if (i < n) y[i] = a * x[i];
}
#endif
