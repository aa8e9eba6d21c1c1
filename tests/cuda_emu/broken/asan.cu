// What only the address sanitizer sees: a local array that is overrun, and bytes that alignment puts behind an allocation.
extern "C" __global__ void overruns_a_local_array(float *y, int n) {
  float v[4] = {1, 2, 3, 4}, *p = v;
  *y = p[n] + (float)(long long)p;
}

extern "C" __global__ void overruns_an_allocation(char *y, int n) { y[n] = 1; }
