// nvrtc: registers <= 32, shared <= 4224
// y[j, i] = x[i, j], tiles of 32 x 32 through shared memory whose rows are one longer than a bank row; 32 x 8 threads.
extern "C" __global__ void __launch_bounds__(256) transpose(const float *__restrict__ x, float *__restrict__ y, int rows, int columns) {
  __shared__ float tile[32][33];
  const int i0 = (int)blockIdx.y * 32, j0 = (int)blockIdx.x * 32, tx = (int)threadIdx.x;
  for (int k = (int)threadIdx.y; k < 32; k += 8)
    if (i0 + k < rows && j0 + tx < columns) tile[k][tx] = x[(long long)(i0 + k) * columns + j0 + tx];
  __syncthreads();
  for (int k = (int)threadIdx.y; k < 32; k += 8)
    if (j0 + k < columns && i0 + tx < rows) y[(long long)(j0 + k) * rows + i0 + tx] = tile[tx][k];
}
