// nvrtc: registers <= 40, shared <= 4128, arch >= 90
// Bulk copies, by the macros that have another body on the CPU (prelude.h).
#if __CUDA_ARCH__ >= 900
#ifndef PLAIT_EMU
static __device__ __forceinline__ unsigned plait_shared_address(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }
static __device__ __forceinline__ void plait_mbarrier_wait(const void *bar, unsigned parity) {
  asm volatile(
    "{\n.reg .pred done;\nplait_wait:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra plait_done;\nbra plait_wait;\nplait_done:\n}"
    : : "r"(plait_shared_address(bar)), "r"(parity) : "memory");
}
#define PLAIT_MBARRIER_INIT(bar, n) \
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\nfence.proxy.async.shared::cta;" : : "r"(plait_shared_address(bar)), "r"(n) : "memory")
#define PLAIT_MBARRIER_ARRIVE(bar, n) \
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1;\n}" : : "r"(plait_shared_address(bar)), "r"(n) : "memory")
#define PLAIT_MBARRIER_WAIT(bar, parity) plait_mbarrier_wait(bar, parity)
#define PLAIT_BULK_LOAD(to, from, n, bar) \
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" \
               : : "r"(plait_shared_address(to)), "l"(from), "r"(n), "r"(plait_shared_address(bar)) : "memory")
#define PLAIT_BULK_STORE(to, from, n) \
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" : : "l"(to), "r"(plait_shared_address(from)), "r"(n) : "memory")
#define PLAIT_BULK_COMMIT() asm volatile("cp.async.bulk.commit_group;" : : : "memory")
#define PLAIT_BULK_WAIT(n) asm volatile("cp.async.bulk.wait_group %0;" : : "n"(n) : "memory")
#define PLAIT_PROXY_FENCE() asm volatile("fence.proxy.async.shared::cta;" : : : "memory")
#endif

// y = 2 x in tiles of 256 floats, two of them on their way in; 64 threads, n a multiple of 4.
extern "C" __global__ void __launch_bounds__(64) bulk_double(const float *__restrict__ x, float *__restrict__ y, int n) {
  __shared__ __align__(16) float in[2][256], out[2][256];
  __shared__ __align__(8) unsigned long long bar[2];
  const int t = (int)threadIdx.x, tiles = (n + 255) / 256, step = (int)gridDim.x;
  if (t == 0) {
    PLAIT_MBARRIER_INIT(&bar[0], 1u);
    PLAIT_MBARRIER_INIT(&bar[1], 1u);
  }
  __syncthreads();
  for (int k = 0; k < 2; k++) {
    const int tile = (int)blockIdx.x + k * step;
    if (t || tile >= tiles) continue;
    const unsigned bytes = 4u * (unsigned)min(256, n - tile * 256);
    PLAIT_MBARRIER_ARRIVE(&bar[k], bytes);
    PLAIT_BULK_LOAD(in[k], x + tile * 256, bytes, &bar[k]);
  }
  for (int i = 0, tile = (int)blockIdx.x; tile < tiles; i++, tile += step) {
    const int at = i & 1, count = min(256, n - tile * 256), next = tile + 2 * step;
    PLAIT_MBARRIER_WAIT(&bar[at], (unsigned)(i >> 1 & 1));
    if (t == 0) PLAIT_BULK_WAIT(0);          // what was stored from out[at]
    __syncthreads();
    for (int j = t; j < count; j += 64) out[at][j] = 2 * in[at][j];
    PLAIT_PROXY_FENCE();
    __syncthreads();
    if (t == 0) {
      PLAIT_BULK_STORE(y + tile * 256, out[at], 4u * (unsigned)count);
      PLAIT_BULK_COMMIT();
      if (next < tiles) {
        const unsigned bytes = 4u * (unsigned)min(256, n - next * 256);
        PLAIT_MBARRIER_ARRIVE(&bar[at], bytes);
        PLAIT_BULK_LOAD(in[at], x + next * 256, bytes, &bar[at]);
      }
    }
  }
  if (t == 0) PLAIT_BULK_WAIT(0);
}
#endif
