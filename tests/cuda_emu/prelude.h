// prelude.h: what CUDA C has built in, as C. A kernel text is compiled as this, then abi.h's types, then the text.
//
// Only what NVRTC knows without a header is here: a text that needs more fails here as it does there. The text must be
// what C and CUDA C++ share: no templates, references, overloads or default arguments; structures by typedef; `extern
// __shared__` arrays declared in the kernel. Atomics exist for integers only. Inline PTX does not exist: where
// PLAIT_EMU is defined a text uses these instead, and in its other branch defines them for the GPU, for example as
// kernels/plait_gpu.cuh does.
//
//   PLAIT_CLUSTER_RANK()            this block's number in its cluster; PLAIT_CLUSTER_SIZE(): blocks of the cluster
//   PLAIT_CLUSTER_SYNC()            barrier of all threads of the cluster; orders shared and global memory
//   PLAIT_CLUSTER_MAP(p, rank)      the address at which block `rank` of the cluster has its p; p points to shared memory
//   PLAIT_GRID_SYNC(counters)       barrier of all threads of a cooperative launch; `counters`: two zeroed unsigned in global memory
//   PLAIT_COPY_ASYNC(to, from, n)   cp.async of n = 4, 8 or 16 bytes from global memory to shared, both aligned to n
//   PLAIT_COPY_COMMIT()             closes the group of copies that this thread has started
//   PLAIT_COPY_WAIT(n)              until at most n groups of this thread are under way; others see it after a barrier
//   PLAIT_MBARRIER_INIT(bar, n)     mbarrier.init for n arrivals; bar: an unsigned long long in shared memory
//   PLAIT_MBARRIER_ARRIVE(bar, n)   mbarrier.arrive.expect_tx: one arrival, and n more bytes belong to this phase
//   PLAIT_MBARRIER_WAIT(bar, p)     until the phase of parity p (0 first) is complete: all arrivals and all bytes
//   PLAIT_BULK_LOAD(to, from, n, bar)   cp.async.bulk of n bytes from global memory to shared, counted by bar; n and both addresses are multiples of 16
//   PLAIT_BULK_STORE(to, from, n)   cp.async.bulk of n bytes from shared memory to global; before it every thread that wrote them
//                                   has called PLAIT_PROXY_FENCE() (fence.proxy.async), then a barrier
//   PLAIT_BULK_COMMIT()             closes the group of bulk stores that this thread has started
//   PLAIT_BULK_WAIT(n)              until at most n groups of this thread are under way, and their sources may change
//   PLAIT_DEPENDENCY_WAIT()         griddepcontrol.wait; PLAIT_DEPENDENCY_TRIGGER(): griddepcontrol.launch_dependents
//   PLAIT_ANY_ORDER(p, n)           the n bytes at p may differ when threads run in another order (which of two faults comes first)

#define PLAIT_EMU 1
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#ifndef __CUDA_ARCH__
#define __CUDA_ARCH__ 900
#endif
#ifndef EMU_FEATURE
#define EMU_FEATURE 0
#endif

// No check of the compiler looks into these functions.
#define EMU_PLAIN __attribute__((unused, no_sanitize("thread", "undefined")))
#define EMU_FN static EMU_PLAIN
// Functions whose caller is of interest.
#define EMU_CALL static __attribute__((unused, noinline, no_sanitize("thread", "undefined")))
#define EMU_HERE __builtin_return_address(0)

static EmuImage emu_state;

// ---- words of the language ---------------------------------------------------------------------------------------

#define __global__
#define __device__ __attribute__((unused))
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __inline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __maxnreg__(n)
#define __grid_constant__
#define __constant__ static const
#define __align__(n) __attribute__((aligned(n)))
#define alignas(n) __attribute__((aligned(n)))
#define static_assert _Static_assert
typedef _Bool bool;
#define true ((bool)1)
#define false ((bool)0)
typedef __SIZE_TYPE__ size_t;

// `__shared__ float a[8];` in kernel K is `EMU_SHARED(K, float) float a[8];`. The gap before it belongs to nobody, so that an
// access beside an array is found; behind its 20 bytes an array without __align__ lies where the GPU may put it, at a
// multiple of its elements' alignment and not of 16. (Clang aligns arrays to 16 whatever one says.)
#ifdef __clang__
#define EMU_LEAST_ALIGNED(T)
#define EMU_IN_ORDER
#else
#define EMU_LEAST_ALIGNED(T) , aligned(_Alignof(T))
#define EMU_IN_ORDER , no_reorder
#endif
#define EMU_JOIN2(a, b) a##b
#define EMU_JOIN(a, b) EMU_JOIN2(a, b)
#define EMU_SECTION(kernel) section("plait_shared_" #kernel)
#define EMU_GAP(kernel) static __attribute__((EMU_SECTION(kernel), used, aligned(16) EMU_IN_ORDER)) unsigned char EMU_JOIN(emu_gap_, __COUNTER__)[20]
#define EMU_SHARED(kernel, T) EMU_GAP(kernel); static __attribute__((EMU_SECTION(kernel) EMU_LEAST_ALIGNED(T) EMU_IN_ORDER))
#define EMU_SHARED_ALIGNED(kernel) EMU_GAP(kernel); static __attribute__((EMU_SECTION(kernel) EMU_IN_ORDER))
#define EMU_SHARED_END(kernel) static __attribute__((EMU_SECTION(kernel), used, aligned(1) EMU_IN_ORDER)) unsigned char emu_gap_end_##kernel[64]
#define EMU_DYNAMIC emu_dynamic()

#define EMU_SITE(name) ({ static const EmuSite emu_site = {name, __LINE__}; &emu_site; })

// Threads that meet in a function must have come from the same place: a call of such a function f is written EMU_FROM(f), its
// body begins with EMU_ENTER.
EMU_FN void emu_call_from(const EmuSite *s) { emu_state.api->call_from(s); }
EMU_FN unsigned long emu_call_enter(void) { return emu_state.api->call_enter(); }
EMU_FN void emu_call_leave(unsigned long *before) { emu_state.api->call_leave(*before); }
#define EMU_FROM(f) (emu_call_from(EMU_SITE(#f)), f)
#define EMU_ENTER __attribute__((cleanup(emu_call_leave))) unsigned long emu_call_before = emu_call_enter();

// Calls of the emulator, in functions of their own: the compiler's checks would look at the reads of its table.
EMU_FN void *emu_dynamic(void) { return emu_state.api->dynamic_shared(); }
EMU_FN int emu_barrier(const EmuSite *s, EmuMeet how, int p) { return emu_state.api->barrier(s, how, p); }
EMU_FN void emu_syncwarp(const EmuSite *s, unsigned mask) { emu_state.api->syncwarp(s, mask); }
EMU_FN unsigned emu_vote(const EmuSite *s, EmuVote how, unsigned mask, unsigned long long v, int *all) {
  int ignored;
  return emu_state.api->vote(s, how, mask, v, all ? all : &ignored);
}
EMU_FN unsigned emu_fold(const EmuSite *s, EmuFold how, unsigned mask, unsigned v) { return emu_state.api->fold(s, how, mask, v); }
EMU_FN unsigned emu_activemask(void) { return emu_state.api->activemask(); }
EMU_FN void emu_fence(EmuScope scope) { emu_state.api->fence(scope); }
EMU_FN void emu_pause(const EmuSite *s) { emu_state.api->pause(s); }
EMU_FN void emu_stop(const EmuSite *s, const char *why) { emu_state.api->stop(s, why); }
EMU_FN unsigned emu_cluster_rank(void) { return emu_state.api->cluster_rank(); }
EMU_FN unsigned emu_cluster_size(void) { return emu_state.api->cluster_size(); }
EMU_FN void emu_cluster_sync(const EmuSite *s) { emu_state.api->cluster_sync(s); }
EMU_FN void *emu_cluster_map(const EmuSite *s, const volatile void *p, unsigned rank) { return emu_state.api->cluster_map(s, p, rank); }
EMU_FN void emu_grid_sync(const EmuSite *s) { emu_state.api->grid_sync(s); }
EMU_FN void emu_copy_commit(void) { emu_state.api->copy_commit(); }
EMU_FN void emu_copy_wait(const EmuSite *s, int pending) { emu_state.api->copy_wait(s, pending); }
EMU_FN void emu_mbarrier_init(const EmuSite *s, void *bar, unsigned n) { emu_state.api->mbarrier_init(s, bar, n); }
EMU_FN void emu_mbarrier_arrive(const EmuSite *s, void *bar, unsigned n) { emu_state.api->mbarrier_arrive(s, bar, n); }
EMU_FN void emu_mbarrier_wait(const EmuSite *s, void *bar, unsigned parity) { emu_state.api->mbarrier_wait(s, bar, parity); }
EMU_FN void emu_bulk_commit(void) { emu_state.api->bulk_commit(); }
EMU_FN void emu_bulk_wait(const EmuSite *s, int pending) { emu_state.api->bulk_wait(s, pending); }
EMU_FN void emu_proxy_fence(void) { emu_state.api->proxy_fence(); }
EMU_FN void emu_dependency_wait(void) { emu_state.api->dependency_wait(); }
EMU_FN void emu_any_order(const volatile void *p, unsigned long n) { emu_state.api->any_order(p, n); }

// ---- vector types ------------------------------------------------------------------------------------------------

#define EMU_VECTOR(T, name, a1, a2, a3, a4) \
  typedef struct { T x; } __attribute__((aligned(a1))) name##1; \
  typedef struct { T x, y; } __attribute__((aligned(a2))) name##2; \
  typedef struct { T x, y, z; } __attribute__((aligned(a3))) name##3; \
  typedef struct { T x, y, z, w; } __attribute__((aligned(a4))) name##4;
EMU_VECTOR(signed char, char, 1, 2, 1, 4)
EMU_VECTOR(unsigned char, uchar, 1, 2, 1, 4)
EMU_VECTOR(short, short, 2, 4, 2, 8)
EMU_VECTOR(unsigned short, ushort, 2, 4, 2, 8)
EMU_VECTOR(int, int, 4, 8, 4, 16)
EMU_VECTOR(unsigned, uint, 4, 8, 4, 16)
EMU_VECTOR(long, long, 8, 16, 8, 16)
EMU_VECTOR(unsigned long, ulong, 8, 16, 8, 16)
EMU_VECTOR(long long, longlong, 8, 16, 8, 16)
EMU_VECTOR(unsigned long long, ulonglong, 8, 16, 8, 16)
EMU_VECTOR(float, float, 4, 8, 4, 16)
EMU_VECTOR(double, double, 8, 16, 8, 16)
// As literals: gcc does not report what a call that returns a structure stores.
#define make_char1(x) ((char1){x})
#define make_char2(x, y) ((char2){x, y})
#define make_char3(x, y, z) ((char3){x, y, z})
#define make_char4(x, y, z, w) ((char4){x, y, z, w})
#define make_uchar1(x) ((uchar1){x})
#define make_uchar2(x, y) ((uchar2){x, y})
#define make_uchar3(x, y, z) ((uchar3){x, y, z})
#define make_uchar4(x, y, z, w) ((uchar4){x, y, z, w})
#define make_short1(x) ((short1){x})
#define make_short2(x, y) ((short2){x, y})
#define make_short3(x, y, z) ((short3){x, y, z})
#define make_short4(x, y, z, w) ((short4){x, y, z, w})
#define make_ushort1(x) ((ushort1){x})
#define make_ushort2(x, y) ((ushort2){x, y})
#define make_ushort3(x, y, z) ((ushort3){x, y, z})
#define make_ushort4(x, y, z, w) ((ushort4){x, y, z, w})
#define make_int1(x) ((int1){x})
#define make_int2(x, y) ((int2){x, y})
#define make_int3(x, y, z) ((int3){x, y, z})
#define make_int4(x, y, z, w) ((int4){x, y, z, w})
#define make_uint1(x) ((uint1){x})
#define make_uint2(x, y) ((uint2){x, y})
#define make_uint3(x, y, z) ((uint3){x, y, z})
#define make_uint4(x, y, z, w) ((uint4){x, y, z, w})
#define make_long1(x) ((long1){x})
#define make_long2(x, y) ((long2){x, y})
#define make_long3(x, y, z) ((long3){x, y, z})
#define make_long4(x, y, z, w) ((long4){x, y, z, w})
#define make_ulong1(x) ((ulong1){x})
#define make_ulong2(x, y) ((ulong2){x, y})
#define make_ulong3(x, y, z) ((ulong3){x, y, z})
#define make_ulong4(x, y, z, w) ((ulong4){x, y, z, w})
#define make_longlong1(x) ((longlong1){x})
#define make_longlong2(x, y) ((longlong2){x, y})
#define make_longlong3(x, y, z) ((longlong3){x, y, z})
#define make_longlong4(x, y, z, w) ((longlong4){x, y, z, w})
#define make_ulonglong1(x) ((ulonglong1){x})
#define make_ulonglong2(x, y) ((ulonglong2){x, y})
#define make_ulonglong3(x, y, z) ((ulonglong3){x, y, z})
#define make_ulonglong4(x, y, z, w) ((ulonglong4){x, y, z, w})
#define make_float1(x) ((float1){x})
#define make_float2(x, y) ((float2){x, y})
#define make_float3(x, y, z) ((float3){x, y, z})
#define make_float4(x, y, z, w) ((float4){x, y, z, w})
#define make_double1(x) ((double1){x})
#define make_double2(x, y) ((double2){x, y})
#define make_double3(x, y, z) ((double3){x, y, z})
#define make_double4(x, y, z, w) ((double4){x, y, z, w})
typedef struct dim3 { unsigned x, y, z; } dim3;

// These do not change while a thread runs, whoever runs in between.
#define EMU_INDEX(name, field) \
  static __attribute__((unused, const, noinline, no_sanitize("thread", "undefined"))) uint3 emu_##name(void) { \
    return (uint3){emu_state.self->field.x, emu_state.self->field.y, emu_state.self->field.z}; \
  }
EMU_INDEX(thread_index, thread)
EMU_INDEX(block_index, block)
EMU_INDEX(block_dim, block_dim)
EMU_INDEX(grid_dim, grid_dim)
#define threadIdx (emu_thread_index())
#define blockIdx (emu_block_index())
#define blockDim (emu_block_dim())
#define gridDim (emu_grid_dim())
#define warpSize 32

// ---- barriers, shuffles, votes -----------------------------------------------------------------------------------

#define __syncthreads() ((void)emu_barrier(EMU_SITE("__syncthreads"), EMU_MEET, 0))
#define __syncthreads_count(p) emu_barrier(EMU_SITE("__syncthreads_count"), EMU_MEET_COUNT, !!(p))
#define __syncthreads_and(p) emu_barrier(EMU_SITE("__syncthreads_and"), EMU_MEET_AND, !!(p))
#define __syncthreads_or(p) emu_barrier(EMU_SITE("__syncthreads_or"), EMU_MEET_OR, !!(p))
#define EMU_SYNCWARP(mask, ...) emu_syncwarp(EMU_SITE("__syncwarp"), mask)
#define __syncwarp(...) EMU_SYNCWARP(__VA_ARGS__ __VA_OPT__(, ) 0xffffffffu)

#define EMU_SHUFFLES(R, T) \
  R(int, int, T) R(uint, unsigned, T) R(long, long, T) R(ulong, unsigned long, T) R(llong, long long, T) \
  R(ullong, unsigned long long, T) R(float, float, T) R(double, double, T)
#define EMU_SHUFFLE_FN(name, T, unused) \
  EMU_FN T emu_shuffle_##name(const EmuSite *s, EmuShuffle how, unsigned mask, T v, unsigned by, int width) { \
    unsigned long long bits = 0; \
    __builtin_memcpy(&bits, &v, sizeof v); \
    bits = emu_state.api->shuffle(s, how, mask, bits, by, width); \
    __builtin_memcpy(&v, &bits, sizeof v); \
    return v; \
  }
EMU_SHUFFLES(EMU_SHUFFLE_FN, )
#define EMU_SHUFFLE_ROW(name, T, unused) T: emu_shuffle_##name,
#define EMU_SHUFFLE(name, how, mask, v, by, width, ...) \
  _Generic((v), EMU_SHUFFLES(EMU_SHUFFLE_ROW, ) bool: emu_shuffle_int, char: emu_shuffle_int, signed char: emu_shuffle_int, \
           unsigned char: emu_shuffle_int, short: emu_shuffle_int, unsigned short: emu_shuffle_int)(EMU_SITE(name), how, mask, v, (unsigned)(by), width)
#define __shfl_sync(mask, v, ...) EMU_SHUFFLE("__shfl_sync", EMU_SHFL_IDX, mask, v, __VA_ARGS__, 32, 0)
#define __shfl_up_sync(mask, v, ...) EMU_SHUFFLE("__shfl_up_sync", EMU_SHFL_UP, mask, v, __VA_ARGS__, 32, 0)
#define __shfl_down_sync(mask, v, ...) EMU_SHUFFLE("__shfl_down_sync", EMU_SHFL_DOWN, mask, v, __VA_ARGS__, 32, 0)
#define __shfl_xor_sync(mask, v, ...) EMU_SHUFFLE("__shfl_xor_sync", EMU_SHFL_XOR, mask, v, __VA_ARGS__, 32, 0)

#define EMU_VOTE(name, how, mask, v, all) emu_vote(EMU_SITE(name), how, mask, v, all)
#define __ballot_sync(mask, p) EMU_VOTE("__ballot_sync", EMU_BALLOT, mask, !!(p), 0)
#define __any_sync(mask, p) ((int)EMU_VOTE("__any_sync", EMU_ANY, mask, !!(p), 0))
#define __all_sync(mask, p) ((int)EMU_VOTE("__all_sync", EMU_ALL, mask, !!(p), 0))
#define EMU_BITS(v) ({ __typeof__(v) emu_v = (v); unsigned long long emu_b = 0; __builtin_memcpy(&emu_b, &emu_v, sizeof emu_v); emu_b; })
#define __match_any_sync(mask, v) EMU_VOTE("__match_any_sync", EMU_MATCH_ANY, mask, EMU_BITS(v), 0)
#define __match_all_sync(mask, v, all) EMU_VOTE("__match_all_sync", EMU_MATCH_ALL, mask, EMU_BITS(v), all)
#define __activemask() emu_activemask()

#define EMU_FOLD_SIGNED(name, how, uhow) \
  EMU_FN int emu_fold_##name##_int(const EmuSite *s, unsigned mask, int v) { return (int)emu_state.api->fold(s, how, mask, (unsigned)v); } \
  EMU_FN unsigned emu_fold_##name##_uint(const EmuSite *s, unsigned mask, unsigned v) { return emu_state.api->fold(s, uhow, mask, v); }
EMU_FOLD_SIGNED(add, EMU_FOLD_ADD, EMU_FOLD_ADD)
EMU_FOLD_SIGNED(min, EMU_FOLD_MIN, EMU_FOLD_UMIN)
EMU_FOLD_SIGNED(max, EMU_FOLD_MAX, EMU_FOLD_UMAX)
#define EMU_FOLD(name, mask, v) \
  _Generic((v), int: emu_fold_##name##_int, unsigned: emu_fold_##name##_uint)(EMU_SITE("__reduce_" #name "_sync"), mask, v)
#define __reduce_add_sync(mask, v) EMU_FOLD(add, mask, v)
#define __reduce_min_sync(mask, v) EMU_FOLD(min, mask, v)
#define __reduce_max_sync(mask, v) EMU_FOLD(max, mask, v)
#define __reduce_and_sync(mask, v) emu_fold(EMU_SITE("__reduce_and_sync"), EMU_FOLD_AND, mask, v)
#define __reduce_or_sync(mask, v) emu_fold(EMU_SITE("__reduce_or_sync"), EMU_FOLD_OR, mask, v)
#define __reduce_xor_sync(mask, v) emu_fold(EMU_SITE("__reduce_xor_sync"), EMU_FOLD_XOR, mask, v)

// ---- memory ------------------------------------------------------------------------------------------------------

#define __threadfence() emu_fence(EMU_SCOPE_DEVICE)
#define __threadfence_system() emu_fence(EMU_SCOPE_DEVICE)
#define __threadfence_block() emu_fence(EMU_SCOPE_BLOCK)

EMU_FN void emu_look(const volatile void *p, unsigned long bytes, int flags, void *pc) {
  if ((unsigned long)p - emu_state.self->own_low >= emu_state.self->own_bytes) emu_state.api->access(p, bytes, flags, pc);
}
// The path that is not kept coherent: what this launch writes must not be read through it.
#ifdef EMU_CHECKED
#define __ldg(p) (emu_ldg(p, sizeof *(p)), *(p))
EMU_CALL void emu_ldg(const void *p, unsigned long n) { emu_look(p, n, EMU_READ_ONLY_PATH, EMU_HERE); }
#else
#define __ldg(p) (*(p))
#endif
#define __ldca(p) (*(p))
#define __ldcg(p) (*(p))
#define __ldcs(p) (*(p))
#define __ldlu(p) (*(p))
#define __ldcv(p) (*(volatile __typeof__(*(p)) *)(p))
#define __stwb(p, v) ((void)(*(p) = (v)))
#define __stcg(p, v) ((void)(*(p) = (v)))
#define __stcs(p, v) ((void)(*(p) = (v)))
#define __stwt(p, v) ((void)(*(p) = (v)))

EMU_CALL void *emu_memcpy(void *to, const void *from, size_t n) {
  emu_look(from, n, EMU_READ, EMU_HERE);
  emu_look(to, n, EMU_WRITE, EMU_HERE);
  return __builtin_memmove(to, from, n);
}
EMU_CALL void *emu_memset(void *to, int v, size_t n) {
  emu_look(to, n, EMU_WRITE, EMU_HERE);
  return __builtin_memset(to, v, n);
}
#define memcpy(to, from, n) emu_memcpy(to, from, n)
#define memmove(to, from, n) emu_memcpy(to, from, n)
#define memset(to, v, n) emu_memset(to, v, n)

// Integers only: a float has no row here, so its atomics do not compile.
#define EMU_ATOMIC_FN(name, T) \
  EMU_CALL T emu_atomic_##name(const EmuSite *s, EmuAtomic how, volatile T *p, T v, T compare) { \
    return (T)emu_state.api->atomic(s, how, p, sizeof v, (unsigned long long)v, (unsigned long long)compare, EMU_HERE); \
  }
EMU_ATOMIC_FN(ushort, unsigned short)
EMU_ATOMIC_FN(int, int)
EMU_ATOMIC_FN(uint, unsigned)
EMU_ATOMIC_FN(llong, long long)
EMU_ATOMIC_FN(ullong, unsigned long long)
#define EMU_ATOMIC_I int: emu_atomic_int, unsigned: emu_atomic_uint, unsigned long long: emu_atomic_ullong
#define EMU_ATOMIC(name, how, p, v, compare, ...) _Generic(*(p), __VA_ARGS__)(EMU_SITE(name), how, p, v, compare)
#define EMU_ATOMIC_SIGNED(name, how, uhow, p, v) \
  EMU_ATOMIC(name, _Generic(*(p), unsigned: uhow, unsigned long long: uhow, default: how), p, v, 0, EMU_ATOMIC_I, long long: emu_atomic_llong)
#define atomicAdd(p, v) EMU_ATOMIC("atomicAdd", EMU_ATOMIC_ADD, p, v, 0, EMU_ATOMIC_I)
#define atomicSub(p, v) EMU_ATOMIC("atomicSub", EMU_ATOMIC_ADD, p, -(v), 0, int: emu_atomic_int, unsigned: emu_atomic_uint)
#define atomicExch(p, v) EMU_ATOMIC("atomicExch", EMU_ATOMIC_EXCH, p, v, 0, EMU_ATOMIC_I)
#define atomicMin(p, v) EMU_ATOMIC_SIGNED("atomicMin", EMU_ATOMIC_MIN, EMU_ATOMIC_UMIN, p, v)
#define atomicMax(p, v) EMU_ATOMIC_SIGNED("atomicMax", EMU_ATOMIC_MAX, EMU_ATOMIC_UMAX, p, v)
#define atomicAnd(p, v) EMU_ATOMIC("atomicAnd", EMU_ATOMIC_AND, p, v, 0, EMU_ATOMIC_I)
#define atomicOr(p, v) EMU_ATOMIC("atomicOr", EMU_ATOMIC_OR, p, v, 0, EMU_ATOMIC_I)
#define atomicXor(p, v) EMU_ATOMIC("atomicXor", EMU_ATOMIC_XOR, p, v, 0, EMU_ATOMIC_I)
#define atomicInc(p, v) EMU_ATOMIC("atomicInc", EMU_ATOMIC_INC, p, v, 0, unsigned: emu_atomic_uint)
#define atomicDec(p, v) EMU_ATOMIC("atomicDec", EMU_ATOMIC_DEC, p, v, 0, unsigned: emu_atomic_uint)
#define atomicCAS(p, old, v) EMU_ATOMIC("atomicCAS", EMU_ATOMIC_CAS, p, v, old, EMU_ATOMIC_I, unsigned short: emu_atomic_ushort)

#define __nanosleep(ns) ((void)(ns), emu_pause(EMU_SITE("__nanosleep")))
#define __trap() emu_stop(EMU_SITE("__trap"), "the kernel stops itself")
#define __builtin_assume(x) ((x) ? (void)0 : emu_stop(EMU_SITE("__builtin_assume"), "what it assumes does not hold"))

#define PLAIT_CLUSTER_RANK() emu_cluster_rank()
#define PLAIT_CLUSTER_SIZE() emu_cluster_size()
#define PLAIT_CLUSTER_SYNC() emu_cluster_sync(EMU_SITE("PLAIT_CLUSTER_SYNC"))
#define PLAIT_CLUSTER_MAP(p, rank) ((__typeof__(&*(p)))emu_cluster_map(EMU_SITE("PLAIT_CLUSTER_MAP"), p, rank))
#define PLAIT_GRID_SYNC(counters) ((void)(counters), emu_grid_sync(EMU_SITE("PLAIT_GRID_SYNC")))
#define PLAIT_COPY_ASYNC(to, from, n) emu_copy_async(EMU_SITE("PLAIT_COPY_ASYNC"), to, from, n)
#define PLAIT_COPY_COMMIT() emu_copy_commit()
#define PLAIT_COPY_WAIT(n) emu_copy_wait(EMU_SITE("PLAIT_COPY_WAIT"), n)
#define PLAIT_MBARRIER_INIT(bar, n) emu_mbarrier_init(EMU_SITE("PLAIT_MBARRIER_INIT"), bar, n)
#define PLAIT_MBARRIER_ARRIVE(bar, n) emu_mbarrier_arrive(EMU_SITE("PLAIT_MBARRIER_ARRIVE"), bar, n)
#define PLAIT_MBARRIER_WAIT(bar, parity) emu_mbarrier_wait(EMU_SITE("PLAIT_MBARRIER_WAIT"), bar, parity)
#define PLAIT_BULK_LOAD(to, from, n, bar) emu_bulk_load(EMU_SITE("PLAIT_BULK_LOAD"), to, from, n, bar)
#define PLAIT_BULK_STORE(to, from, n) emu_bulk_store(EMU_SITE("PLAIT_BULK_STORE"), to, from, n)
#define PLAIT_BULK_COMMIT() emu_bulk_commit()
#define PLAIT_BULK_WAIT(n) emu_bulk_wait(EMU_SITE("PLAIT_BULK_WAIT"), n)
#define PLAIT_PROXY_FENCE() emu_proxy_fence()
#define PLAIT_DEPENDENCY_WAIT() emu_dependency_wait()
#define PLAIT_DEPENDENCY_TRIGGER() ((void)0)
#define PLAIT_ANY_ORDER(p, n) emu_any_order(p, n)
EMU_CALL void emu_copy_async(const EmuSite *s, void *to, const void *from, unsigned long n) {
  emu_state.api->copy_async(s, to, from, n, EMU_HERE);
}
EMU_CALL void emu_bulk_load(const EmuSite *s, void *to, const void *from, unsigned long n, void *bar) {
  emu_state.api->bulk_load(s, to, from, n, bar, EMU_HERE);
}
EMU_CALL void emu_bulk_store(const EmuSite *s, void *to, const void *from, unsigned long n) { emu_state.api->bulk_store(s, to, from, n, EMU_HERE); }

// ---- mathematics -------------------------------------------------------------------------------------------------

#define EMU_MATH1(R) \
  R(acos) R(acosh) R(asin) R(asinh) R(atan) R(atanh) R(cbrt) R(ceil) R(cos) R(cosh) R(erf) R(erfc) R(exp) R(exp2) R(expm1) R(fabs) \
  R(floor) R(j0) R(j1) R(lgamma) R(log) R(log10) R(log1p) R(log2) R(logb) R(nearbyint) R(rint) R(round) R(sin) R(sinh) R(sqrt) \
  R(tan) R(tanh) R(tgamma) R(trunc) R(y0) R(y1)
#define EMU_MATH2(R) R(atan2) R(copysign) R(fdim) R(fmax) R(fmin) R(fmod) R(hypot) R(nextafter) R(pow) R(remainder)
#define EMU_DECLARE1(g) double g(double); float g##f(float);
#define EMU_DECLARE2(g) double g(double, double); float g##f(float, float);
EMU_MATH1(EMU_DECLARE1)
EMU_MATH2(EMU_DECLARE2)
double fma(double, double, double); float fmaf(float, float, float);
double ldexp(double, int); float ldexpf(float, int);
double scalbn(double, int); float scalbnf(float, int);
double frexp(double, int *); float frexpf(float, int *);
double modf(double, double *); float modff(float, float *);
int ilogb(double), ilogbf(float);
long lrint(double), lrintf(float), lround(double), lroundf(float);
long long llrint(double), llrintf(float), llround(double), llroundf(float);
#define nan(s) __builtin_nan(s)
#define nanf(s) __builtin_nanf(s)
#define isnan(x) __builtin_isnan(x)
#define isinf(x) (__builtin_isinf(x) != 0)
#define isfinite(x) __builtin_isfinite(x)
#define signbit(x) (__builtin_signbit(x) != 0)

EMU_FN float rsqrtf(float x) { return 1 / __builtin_sqrtf(x); }
EMU_FN double rsqrt(double x) { return 1 / __builtin_sqrt(x); }
EMU_FN float rcbrtf(float x) { return 1 / cbrtf(x); }
EMU_FN double rcbrt(double x) { return 1 / cbrt(x); }
EMU_FN double exp10(double x) { return pow(10, x); }
EMU_FN float exp10f(float x) { return (float)exp10(x); }
EMU_FN double sinpi(double x) { return sin(3.14159265358979323846 * fmod(x, 2)); }
EMU_FN double cospi(double x) { return cos(3.14159265358979323846 * fmod(x, 2)); }
EMU_FN float sinpif(float x) { return (float)sinpi(x); }
EMU_FN float cospif(float x) { return (float)cospi(x); }
EMU_FN double normcdf(double x) { return 0.5 * erfc(x * -0.70710678118654752440); }
EMU_FN float normcdff(float x) { return (float)normcdf(x); }
EMU_FN void sincosf(float x, float *s, float *c) { *s = sinf(x), *c = cosf(x); }
EMU_FN void sincos(double x, double *s, double *c) { *s = sin(x), *c = cos(x); }
EMU_FN float __saturatef(float x) { return x > 1 ? 1 : x > 0 ? x : 0; }
EMU_FN float __fdividef(float x, float y) { return x / y; }
EMU_FN float fdividef(float x, float y) { return x / y; }
EMU_FN float __frcp_rn(float x) { return 1 / x; }
EMU_FN double __drcp_rn(double x) { return 1 / x; }
EMU_FN float __frsqrt_rn(float x) { return (float)(1 / __builtin_sqrt((double)x)); }
EMU_FN float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
EMU_FN double __dsqrt_rn(double x) { return __builtin_sqrt(x); }
EMU_FN float __fadd_rn(float x, float y) { return x + y; }
EMU_FN float __fsub_rn(float x, float y) { return x - y; }
EMU_FN float __fmul_rn(float x, float y) { return x * y; }
EMU_FN float __fdiv_rn(float x, float y) { return x / y; }
EMU_FN double __dadd_rn(double x, double y) { return x + y; }
EMU_FN double __dsub_rn(double x, double y) { return x - y; }
EMU_FN double __dmul_rn(double x, double y) { return x * y; }
EMU_FN double __ddiv_rn(double x, double y) { return x / y; }
EMU_FN float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
EMU_FN double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
// The GPU's are approximations, these are not: a text must not rely on either's bits.
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
#define __tanhf(x) tanhf(x)
#define __powf(x, y) powf(x, y)

// ---- integers and bits -------------------------------------------------------------------------------------------

#define EMU_TYPES(R, F) \
  R(int, int, F) R(uint, unsigned, F) R(long, long, F) R(ulong, unsigned long, F) R(llong, long long, F) R(ullong, unsigned long long, F)
#define EMU_LESS(name, T, unused) \
  EMU_FN T emu_min_##name(T a, T b) { return a < b ? a : b; } \
  EMU_FN T emu_max_##name(T a, T b) { return a < b ? b : a; } \
  EMU_FN T emu_abs_##name(T a) { return a < 0 ? 0 - a : a; }
EMU_TYPES(EMU_LESS, )
#define EMU_TYPED(name, T, f) T: f##name,
#define min(a, b) _Generic((a) + (b), EMU_TYPES(EMU_TYPED, emu_min_) float: fminf, double: fmin)(a, b)
#define max(a, b) _Generic((a) + (b), EMU_TYPES(EMU_TYPED, emu_max_) float: fmaxf, double: fmax)(a, b)
#define abs(a) _Generic((a) + 0, int: emu_abs_int, long: emu_abs_long, long long: emu_abs_llong, float: fabsf, double: fabs)(a)
#define labs(a) emu_abs_long(a)
#define llabs(a) emu_abs_llong(a)
#define umin(a, b) emu_min_uint(a, b)
#define umax(a, b) emu_max_uint(a, b)

EMU_FN int __popc(unsigned x) { return __builtin_popcount(x); }
EMU_FN int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
EMU_FN int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
EMU_FN int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
EMU_FN int __ffs(int x) { return __builtin_ffs(x); }
EMU_FN int __ffsll(long long x) { return __builtin_ffsll(x); }
EMU_FN unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i);
  return r;
}
EMU_FN unsigned long long __brevll(unsigned long long x) { return (unsigned long long)__brev((unsigned)x) << 32 | __brev((unsigned)(x >> 32)); }
EMU_FN unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
  unsigned long long both = (unsigned long long)y << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) r |= (unsigned)(both >> 8 * (s >> 4 * i & 7) & 0xff) << 8 * i;
  return r;
}
EMU_FN unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) { return (unsigned)(((unsigned long long)hi << 32 | lo) << (n & 31) >> 32); }
EMU_FN unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) { return (unsigned)(((unsigned long long)hi << 32 | lo) >> (n & 31)); }
EMU_FN int __mulhi(int x, int y) { return (int)((long long)x * y >> 32); }
EMU_FN unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long long)x * y >> 32); }
EMU_FN long long __mul64hi(long long x, long long y) { return (long long)((__int128)x * y >> 64); }
EMU_FN unsigned long long __umul64hi(unsigned long long x, unsigned long long y) { return (unsigned long long)((unsigned __int128)x * y >> 64); }
EMU_FN int emu_dp4a_int(int a, int b, int c) {
  unsigned r = (unsigned)c;
  for (int i = 0; i < 32; i += 8) r += (unsigned)((signed char)(a >> i) * (signed char)(b >> i));
  return (int)r;
}
EMU_FN unsigned emu_dp4a_uint(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) c += (a >> i & 0xff) * (b >> i & 0xff);
  return c;
}
#define __dp4a(a, b, c) _Generic((c), int: emu_dp4a_int, unsigned: emu_dp4a_uint)(a, b, c)

#define EMU_PUN(name, from, to) EMU_FN to name(from x) { to r; __builtin_memcpy(&r, &x, sizeof r); return r; }
EMU_PUN(__float_as_int, float, int)
EMU_PUN(__int_as_float, int, float)
EMU_PUN(__float_as_uint, float, unsigned)
EMU_PUN(__uint_as_float, unsigned, float)
EMU_PUN(__double_as_longlong, double, long long)
EMU_PUN(__longlong_as_double, long long, double)
EMU_FN int __double2hiint(double x) { return (int)(__double_as_longlong(x) >> 32); }
EMU_FN int __double2loint(double x) { return (int)__double_as_longlong(x); }
EMU_FN double __hiloint2double(int hi, int lo) { return __longlong_as_double((long long)((unsigned long long)(unsigned)hi << 32 | (unsigned)lo)); }

// Conversions to integers saturate. NaN gives 0 in 32 bits and the top bit alone in 64 (PTX, `cvt`).
#define EMU_TO_INT(name, T, least, greatest, of_nan) \
  EMU_FN T emu_to_##name(double x) { return x != x ? of_nan : x <= (double)(least) ? (T)(least) : x >= (double)(greatest) ? (T)(greatest) : (T)x; }
EMU_TO_INT(int, int, -2147483647 - 1, 2147483647, 0)
EMU_TO_INT(uint, unsigned, 0, 4294967295u, 0)
EMU_TO_INT(ll, long long, -9223372036854775807 - 1, 9223372036854775807, -9223372036854775807 - 1)
EMU_TO_INT(ull, unsigned long long, 0, 18446744073709551615u, 9223372036854775808u)
#define EMU_CONVERT(from, F, to, T) \
  EMU_FN T __##from##2##to##_rn(F x) { return emu_to_##to(__builtin_rint(x)); } \
  EMU_FN T __##from##2##to##_rz(F x) { return emu_to_##to(__builtin_trunc(x)); } \
  EMU_FN T __##from##2##to##_ru(F x) { return emu_to_##to(__builtin_ceil(x)); } \
  EMU_FN T __##from##2##to##_rd(F x) { return emu_to_##to(__builtin_floor(x)); }
#define EMU_CONVERTS(from, F) \
  EMU_CONVERT(from, F, int, int) EMU_CONVERT(from, F, uint, unsigned) EMU_CONVERT(from, F, ll, long long) EMU_CONVERT(from, F, ull, unsigned long long)
EMU_CONVERTS(float, float)
EMU_CONVERTS(double, double)
EMU_FN float __int2float_rn(int x) { return (float)x; }
EMU_FN float __uint2float_rn(unsigned x) { return (float)x; }
EMU_FN float __ll2float_rn(long long x) { return (float)x; }
EMU_FN float __ull2float_rn(unsigned long long x) { return (float)x; }
EMU_FN double __int2double_rn(int x) { return x; }
EMU_FN double __uint2double_rn(unsigned x) { return x; }
EMU_FN double __ll2double_rn(long long x) { return (double)x; }
EMU_FN double __ull2double_rn(unsigned long long x) { return (double)x; }
EMU_FN float __double2float_rn(double x) { return (float)x; }

// ---- what the compiler's checks call -----------------------------------------------------------------------------

// -fsanitize=thread reports every access that may be seen by others before it is made.
#ifdef EMU_CHECKED
#define EMU_HOOK __attribute__((no_sanitize("thread", "undefined")))
#define EMU_LOOK(name, T, n, flags) EMU_HOOK void __tsan_##name##n(T *p) { emu_look(p, n, flags, EMU_HERE); }
#define EMU_LOOKS(name, T, flags) EMU_LOOK(name, T, 1, flags) EMU_LOOK(name, T, 2, flags) EMU_LOOK(name, T, 4, flags) EMU_LOOK(name, T, 8, flags) EMU_LOOK(name, T, 16, flags)
EMU_LOOKS(read, void, EMU_READ)
EMU_LOOKS(write, void, EMU_WRITE)
EMU_LOOKS(unaligned_read, void, EMU_READ)
EMU_LOOKS(unaligned_write, void, EMU_WRITE)
EMU_LOOKS(volatile_read, void, EMU_READ | EMU_VOLATILE)
EMU_LOOKS(volatile_write, void, EMU_WRITE | EMU_VOLATILE)
EMU_LOOKS(unaligned_volatile_read, void, EMU_READ | EMU_VOLATILE)
EMU_LOOKS(unaligned_volatile_write, void, EMU_WRITE | EMU_VOLATILE)
EMU_HOOK void __tsan_read_range(void *p, unsigned long n) { emu_look(p, n, EMU_READ, EMU_HERE); }
EMU_HOOK void __tsan_write_range(void *p, unsigned long n) { emu_look(p, n, EMU_WRITE, EMU_HERE); }
EMU_HOOK void *__tsan_memcpy(void *to, const void *from, unsigned long n) {
  emu_look(from, n, EMU_READ, EMU_HERE);
  emu_look(to, n, EMU_WRITE, EMU_HERE);
  return __builtin_memcpy(to, from, n);
}
EMU_HOOK void *__tsan_memmove(void *to, const void *from, unsigned long n) {
  emu_look(from, n, EMU_READ, EMU_HERE);
  emu_look(to, n, EMU_WRITE, EMU_HERE);
  return __builtin_memmove(to, from, n);
}
EMU_HOOK void *__tsan_memset(void *to, int v, unsigned long n) {
  emu_look(to, n, EMU_WRITE, EMU_HERE);
  return __builtin_memset(to, v, n);
}
EMU_HOOK void __tsan_func_entry(void *pc) { (void)pc; }
EMU_HOOK void __tsan_func_exit(void) {}
EMU_HOOK void __tsan_init(void) {}

// -fsanitize=undefined; the place is the first part of every handler's data.
typedef struct EmuPlace { const char *file; unsigned line, column; } EmuPlace;
#define EMU_CATCH(name, what) EMU_HOOK void __ubsan_handle_##name(void *data, void *x, void *y) { \
  (void)x, (void)y; emu_state.api->undefined(what, (int)((EmuPlace *)data)->line, EMU_HERE); }
EMU_HOOK void __ubsan_handle_type_mismatch_v1(void *data, void *p) {
  (void)p;
  emu_state.api->undefined(p ? "misaligned" : "null", (int)((EmuPlace *)data)->line, EMU_HERE);
}
EMU_CATCH(out_of_bounds, "an index outside its array")
EMU_CATCH(add_overflow, "a sum outside its signed type")
EMU_CATCH(sub_overflow, "a difference outside its signed type")
EMU_CATCH(mul_overflow, "a product outside its signed type")
EMU_CATCH(negate_overflow, "a negation outside its signed type")
EMU_CATCH(divrem_overflow, "a division by zero or outside its signed type")
EMU_CATCH(shift_out_of_bounds, "a shift by more than the type has bits, or of a negative number")
EMU_CATCH(builtin_unreachable, "a place that is said to be unreachable")
#endif

// The text must not use these names by accident.
#undef EMU_LOOK
#undef EMU_LOOKS
