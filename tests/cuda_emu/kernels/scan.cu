// nvrtc: registers <= 32, shared <= 24
// Prefix sums in one launch: a block takes the next tile of 128 elements, adds what the tiles before it have published,
// and publishes its own. Tiles are handed out by a counter, so those before a tile have begun when it is taken.
// state[tiles] is 0, then 1 when sum[tile] holds the tile's own sum, then 2 when through[tile] holds that of all up to it.
extern "C" __global__ void __launch_bounds__(128) prefix_sum(const int *__restrict__ x, int *__restrict__ y, int n, unsigned *ticket, volatile unsigned *state, volatile int *sum, volatile int *through) {
  __shared__ int part[4], before;
  __shared__ unsigned tile;
  const int tid = (int)threadIdx.x, lane = tid & 31, warp = tid >> 5;
  if (tid == 0) tile = atomicAdd(ticket, 1u);
  __syncthreads();
  const int t = (int)tile, i = t * 128 + tid;
  int v = i < n ? x[i] : 0;
  for (int o = 1; o < 32; o *= 2) {
    const int w = __shfl_up_sync(0xffffffffu, v, o);
    if (lane >= o) v += w;
  }
  if (lane == 31) part[warp] = v;
  __syncthreads();
  for (int w = 0; w < warp; w++) v += part[w];
  if (tid == 127) {
    sum[t] = v;
    __threadfence();
    if (t) state[t] = 1;
    int all = 0;
    for (int k = t - 1; k >= 0;) {
      const unsigned s = state[k];
      if (s == 0) continue;
      __threadfence();
      all += s == 2 ? through[k] : sum[k];
      k = s == 2 ? -1 : k - 1;
    }
    before = all;
    through[t] = all + v;
    __threadfence();
    state[t] = 2;
  }
  __syncthreads();
  if (i < n) y[i] = before + v;
}
