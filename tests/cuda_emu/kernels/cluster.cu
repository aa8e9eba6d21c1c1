// nvrtc: registers <= 40, shared <= 16
// What blocks do together, by the macros that have another body on the CPU (prelude.h).
#ifndef PLAIT_EMU
static __device__ __forceinline__ unsigned plait_cluster_rank(void) {
  unsigned r;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}
static __device__ __forceinline__ unsigned plait_cluster_size(void) {
  unsigned r;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(r));
  return r;
}
// The address of a generic pointer to shared memory, in another block of the cluster.
static __device__ __forceinline__ unsigned long long plait_cluster_map(const volatile void *p, unsigned rank) {
  unsigned long long r;
  asm volatile("mapa.u64 %0, %1, %2;" : "=l"(r) : "l"(p), "r"(rank));
  return r;
}
// All threads of the launch meet; c[0] counts arrivals, c[1] the barriers that are over.
static __device__ void plait_grid_sync(unsigned *c) {
  __syncthreads();
  if (threadIdx.x + threadIdx.y + threadIdx.z == 0) {
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z, turn = *(volatile unsigned *)(c + 1);
    __threadfence();
    if (atomicAdd(c, 1u) == blocks - 1) {
      *(volatile unsigned *)c = 0;
      __threadfence();
      *(volatile unsigned *)(c + 1) = turn + 1;
    } else {
      while (*(volatile unsigned *)(c + 1) == turn) {}
    }
    __threadfence();
  }
  __syncthreads();
}
#define PLAIT_CLUSTER_RANK() plait_cluster_rank()
#define PLAIT_CLUSTER_SIZE() plait_cluster_size()
#define PLAIT_CLUSTER_SYNC() \
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" : : : "memory")
#define PLAIT_CLUSTER_MAP(p, rank) ((decltype(&*(p)))plait_cluster_map(p, rank))
#define PLAIT_GRID_SYNC(counters) plait_grid_sync(counters)
#endif

#if __CUDA_ARCH__ >= 900
// A row for each cluster: its blocks share the columns, and all of them get the sum. 64 threads, dynamic memory for a block's share.
extern "C" __global__ void __launch_bounds__(64) cluster_rows(const float *__restrict__ x, float *__restrict__ y, int columns) {
  __shared__ float sums[2], whole;
  extern __shared__ float part[];
  const unsigned blocks = PLAIT_CLUSTER_SIZE(), rank = PLAIT_CLUSTER_RANK();
  const int share = columns / (int)blocks, tid = (int)threadIdx.x;
  const long long from = (long long)(blockIdx.x / blocks) * columns + (long long)rank * share;
  float sum = 0;
  for (int j = tid; j < share; j += 64) {
    part[j] = x[from + j];
    sum += part[j];
  }
  for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  if ((tid & 31) == 0) sums[tid >> 5] = sum;
  __syncthreads();
  if (tid == 0) whole = sums[0] + sums[1];
  PLAIT_CLUSTER_SYNC();
  sum = 0;
  for (unsigned b = 0; b < blocks; b++) sum += *PLAIT_CLUSTER_MAP(&whole, b);
  PLAIT_CLUSTER_SYNC();           // nobody ends while others read from it
  for (int j = tid; j < share; j += 64) y[from + j] = part[j] / sum;
}
#endif

// x / sum(x) in one cooperative launch: partial sums, a barrier of the grid, all of them added by everybody.
extern "C" __global__ void __launch_bounds__(64) grid_normalise(const float *__restrict__ x, float *__restrict__ y, float *partial, unsigned *counters, int n) {
  __shared__ float sums[2];
  const int tid = (int)threadIdx.x;
  float sum = 0;
  for (int i = (int)blockIdx.x * 64 + tid; i < n; i += (int)gridDim.x * 64) sum += x[i];
  for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  if ((tid & 31) == 0) sums[tid >> 5] = sum;
  __syncthreads();
  if (tid == 0) partial[blockIdx.x] = sums[0] + sums[1];
  PLAIT_GRID_SYNC(counters);
  sum = 0;
  for (unsigned b = 0; b < gridDim.x; b++) sum += __ldcg(&partial[b]);
  for (int i = (int)blockIdx.x * 64 + tid; i < n; i += (int)gridDim.x * 64) y[i] = x[i] / sum;
}
