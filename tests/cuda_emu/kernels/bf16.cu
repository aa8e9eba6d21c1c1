// nvrtc: registers <= 32, shared <= 0
// float to bfloat16 and back, eight elements a thread by 16-byte accesses, and the rest one by one.

static __device__ unsigned bf16_from_f32(float x) {
  unsigned bits = __float_as_uint(x);
  return x != x ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

extern "C" __global__ void to_bf16(const float *__restrict__ x, unsigned short *__restrict__ y, long long n) {
  const long long i = 8 * ((long long)blockIdx.x * blockDim.x + threadIdx.x);
  if (i + 8 <= n) {
    const float4 a = *(const float4 *)(x + i), b = *(const float4 *)(x + i + 4);
    uint4 out;
    out.x = bf16_from_f32(a.x) | bf16_from_f32(a.y) << 16;
    out.y = bf16_from_f32(a.z) | bf16_from_f32(a.w) << 16;
    out.z = bf16_from_f32(b.x) | bf16_from_f32(b.y) << 16;
    out.w = bf16_from_f32(b.z) | bf16_from_f32(b.w) << 16;
    *(uint4 *)(y + i) = out;
  } else {
    for (long long k = i; k < n; k++) y[k] = (unsigned short)bf16_from_f32(x[k]);
  }
}

extern "C" __global__ void from_bf16(const unsigned short *__restrict__ x, float *__restrict__ y, long long n) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = __uint_as_float((unsigned)x[i] << 16);
}
