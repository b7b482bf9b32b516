// What stands in for <cuda_runtime.h> where g++ compiles the .cu files as C++: a test tool that runs a kernel's grid on
// one CPU thread, and finds errors of logic and of bounds (with the sanitizers), not of memory order.
//
// Every thread of a block is a fiber that runs until it waits: at __syncthreads, or at a warp's exchange until the
// lanes of its mask have come. Who runs next is drawn by a seed (fastdet_emulator_seed), the order of the blocks too,
// and an atomic sometimes gives way, so that a barrier that is missing shows. A wait that nobody can end is reported
// and aborts. Blocks run one after the other: a kernel must not wait for another block. "Device" pointers are host
// pointers; shared memory is allocated for each block, to its exact size, full of garbage.
#pragma once

#define CUDART_VERSION 13000

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

typedef struct EmulatedStream* cudaStream_t;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorIllegalAddress = 700 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3, cudaMemcpyDefault = 4 };

namespace emulator {

constexpr int kShared = 227 << 10;  // bytes of a block, as Hopper's

extern uint3 thread, block;
extern dim3 block_size, grid_size;

// What a thread of the host has chosen, and which devices have a context.
struct Host {
    int device, capture_mode, mode_of_last_launch;
    unsigned contexts;
    bool skips;  // launches do nothing: what is left of a call is the host's part
};
extern Host host;
int primary_context_state(int device, unsigned* flags, int* active);

void launch(dim3 grid, dim3 block, const std::function<void()>& kernel, size_t shared_bytes = 0);
cudaError_t last_error();
void sync_block();
void give_way();
void* shared(const void* site, size_t bytes);
void* shared_rest();
// Waits for the lanes of `mask`; what each of them gave is in the 32 places from the result on.
const uint64_t* exchange(uint32_t mask, uint64_t value);
int lane();

template <class T>
uint64_t bits_of(T x) {
    static_assert(sizeof(T) <= 8, "a warp exchanges at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &x, sizeof x);
    return bits;
}
template <class T>
T from_bits(uint64_t bits) {
    T x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

}  // namespace emulator

#define threadIdx (::emulator::thread)
#define blockIdx (::emulator::block)
#define blockDim (::emulator::block_size)
#define gridDim (::emulator::grid_size)

#define FASTDET_LAUNCH(kernel, blocks, threads, stream, ...)                             \
    do {                                                                                 \
        (void)(stream);                                                                  \
        ::emulator::launch(blocks, threads, [&] { FASTDET_STRIP kernel(__VA_ARGS__); }); \
        ::fastdet::check_cuda(::emulator::last_error());                                 \
    } while (false)
#define FASTDET_LAUNCH_SHARED(kernel, blocks, threads, bytes, stream, ...)                              \
    do {                                                                                                \
        (void)(stream);                                                                                 \
        ::emulator::launch(blocks, threads, [&] { FASTDET_STRIP kernel(__VA_ARGS__); }, size_t(bytes)); \
        ::fastdet::check_cuda(::emulator::last_error());                                                \
    } while (false)
#define FASTDET_SHARED_REST(T, name) T* const name = static_cast<T*>(::emulator::shared_rest())
#define FASTDET_STRIP(...) __VA_ARGS__
#define FASTDET_SHARED(T, name, extents) \
    static const char name##_site = 0;   \
    typedef T name##_type extents;       \
    name##_type& name = *static_cast<name##_type*>(::emulator::shared(&name##_site, sizeof(name##_type)))

inline void __syncthreads() { emulator::sync_block(); }
inline void __syncwarp(uint32_t mask = 0xffffffffu) { emulator::exchange(mask, 0); }
inline void __threadfence() {}
inline void __threadfence_system() {}
inline uint32_t __ballot_sync(uint32_t mask, int predicate) {
    const uint64_t* all = emulator::exchange(mask, predicate != 0);
    uint32_t votes = 0;
    for (int lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) votes |= uint32_t(all[lane] != 0) << lane;
    }
    return votes;
}
inline int __any_sync(uint32_t mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(uint32_t mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }
template <class T>
T __shfl_sync(uint32_t mask, T x, int from) {
    return emulator::from_bits<T>(emulator::exchange(mask, emulator::bits_of(x))[from & 31]);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T x, int other) {
    return emulator::from_bits<T>(emulator::exchange(mask, emulator::bits_of(x))[(emulator::lane() ^ other) & 31]);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T x, int by) {
    const int from = emulator::lane() - by;
    const T theirs = emulator::from_bits<T>(emulator::exchange(mask, emulator::bits_of(x))[from & 31]);
    return from < 0 ? x : theirs;
}
template <class T>
T __shfl_down_sync(uint32_t mask, T x, int by) {
    const int from = emulator::lane() + by;
    const T theirs = emulator::from_bits<T>(emulator::exchange(mask, emulator::bits_of(x))[from & 31]);
    return from > 31 ? x : theirs;
}
template <class T>
uint32_t __match_any_sync(uint32_t mask, T x) {
    const uint64_t* all = emulator::exchange(mask, emulator::bits_of(x));
    uint32_t same = 0;
    for (int lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) same |= uint32_t(all[lane] == emulator::bits_of(x)) << lane;
    }
    return same;
}
template <class F>
uint32_t emulated_reduce(uint32_t mask, uint32_t x, F&& f) {
    const uint64_t* all = emulator::exchange(mask, x);
    for (int lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) x = f(x, uint32_t(all[lane]));
    }
    return x;
}
inline uint32_t __reduce_max_sync(uint32_t mask, uint32_t x) {
    return emulated_reduce(mask, x, [](uint32_t a, uint32_t b) { return a > b ? a : b; });
}
inline uint32_t __reduce_min_sync(uint32_t mask, uint32_t x) {
    return emulated_reduce(mask, x, [](uint32_t a, uint32_t b) { return a < b ? a : b; });
}
inline uint32_t __reduce_or_sync(uint32_t mask, uint32_t x) {
    return emulated_reduce(mask, x, [](uint32_t a, uint32_t b) { return a | b; });
}

inline int __popc(uint32_t x) { return __builtin_popcount(x); }
inline int __ffs(uint32_t x) { return __builtin_ffs(int(x)); }
inline int __clz(uint32_t x) { return x ? __builtin_clz(x) : 32; }

template <class T>
void __stwb(T* p, T x) {
    *p = x;
}

// One fiber runs at a time: an atomic is an ordinary update between two chances to give way.
template <class T, class F>
T emulated_atomic(T* p, F&& f) {
    emulator::give_way();
    const T before = *p;
    *p = f(before);
    return before;
}
template <class T>
T atomicAdd(T* p, std::common_type_t<T> x) {
    return emulated_atomic(p, [&](T old) { return T(old + x); });
}
template <class T>
T atomicMin(T* p, std::common_type_t<T> x) {
    return emulated_atomic(p, [&](T old) { return x < old ? x : old; });
}
template <class T>
T atomicMax(T* p, std::common_type_t<T> x) {
    return emulated_atomic(p, [&](T old) { return x > old ? x : old; });
}
template <class T>
T atomicOr(T* p, std::common_type_t<T> x) {
    return emulated_atomic(p, [&](T old) { return T(old | x); });
}
template <class T>
T atomicExch(T* p, std::common_type_t<T> x) {
    return emulated_atomic(p, [&](T) { return x; });
}
template <class T>
T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> x) {
    return emulated_atomic(p, [&](T old) { return old == expected ? x : old; });
}

// The runtime: one device, whose work is done when a call returns.
inline cudaError_t cudaGetLastError() { return emulator::last_error(); }
inline const char* cudaGetErrorName(cudaError_t code) { return code ? "cudaErrorEmulated" : "cudaSuccess"; }
inline const char* cudaGetErrorString(cudaError_t) { return "an error that a test asked for"; }
inline cudaError_t cudaGetDevice(int* device) { return *device = emulator::host.device, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) {
    emulator::host.device = device;
    emulator::host.contexts |= 1u << device;
    return cudaSuccess;
}
constexpr uint64_t cudaEnableDefault = 0;
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess = 0 };
inline cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** found, unsigned, uint64_t,
                                                    cudaDriverEntryPointQueryResult* result) {
    *found = reinterpret_cast<void*>(&emulator::primary_context_state);
    return *result = cudaDriverEntryPointSuccess, cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
    *value = which == cudaDevAttrMultiProcessorCount ? 2 : emulator::kShared;
    return cudaSuccess;
}
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
template <class T>
cudaError_t cudaFuncSetAttribute(T*, cudaFuncAttribute, int value) {
    return value > emulator::kShared ? cudaErrorInvalidConfiguration : cudaSuccess;
}
template <class T>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, T*, int, size_t) {
    return *blocks = 2, cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
inline cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t) {
    return std::memset(p, value, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
    // no kernel wrote a status: no NaN, three results
    const int64_t status[3] = {-1, -1, 3};
    if (emulator::host.skips && bytes == sizeof status) from = status;
    return std::memcpy(to, from, bytes), cudaSuccess;
}
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal = 0, cudaStreamCaptureModeRelaxed = 2 };
inline cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
    const int before = emulator::host.capture_mode;
    emulator::host.capture_mode = *mode;
    return *mode = cudaStreamCaptureMode(before), cudaSuccess;
}
constexpr unsigned cudaHostAllocPortable = 1;
inline cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) { return *p = std::malloc(bytes), cudaSuccess; }
