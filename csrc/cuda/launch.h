// What every .cu file shares: how a kernel is launched and how it asks for shared memory, which are macros so that
// tests/cuda_emulator can run the same kernels on a CPU, and a few device functions.
//
// The rules of the kernels: they take raw pointers, shapes and a stream; they never allocate (the caller passes a
// workspace, whose size it asks for first) and never synchronise; offsets are 64-bit; blocks are whole warps, and no
// block waits for another one of its launch. Compiled with --fmad=false: arithmetic rounds as the CPU's.
#pragma once

#include "core/macros.h"
#include "cuda/call.h"

#if !defined(FASTDET_LAUNCH)  // tests/cuda_emulator/cuda_runtime.h has its own

// FASTDET_LAUNCH((kernel<T, 4>), blocks, threads, stream, arguments...); throws CudaError where the launch fails.
#define FASTDET_LAUNCH(kernel, blocks, threads, stream, ...)               \
    do {                                                                   \
        FASTDET_STRIP kernel<<<blocks, threads, 0, stream>>>(__VA_ARGS__); \
        ::fastdet::check_cuda(cudaGetLastError());                         \
    } while (false)
// The same with `bytes` of shared memory more, which the kernel calls `name` by FASTDET_SHARED_REST(T, name).
#define FASTDET_LAUNCH_SHARED(kernel, blocks, threads, bytes, stream, ...)             \
    do {                                                                               \
        ::fastdet::ask_for_shared(FASTDET_STRIP kernel, bytes);                        \
        FASTDET_STRIP kernel<<<blocks, threads, size_t(bytes), stream>>>(__VA_ARGS__); \
        ::fastdet::check_cuda(cudaGetLastError());                                     \
    } while (false)
#define FASTDET_STRIP(...) __VA_ARGS__

// FASTDET_SHARED(float, tile, [32][33]): an array in the block's shared memory.
#define FASTDET_SHARED(T, name, extents) __shared__ T name extents
#define FASTDET_SHARED_REST(T, name)       \
    extern __shared__ uint4 name##_rest[]; \
    T* const name = reinterpret_cast<T*>(name##_rest)

#endif

namespace fastdet {

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

constexpr int64_t kUnaskedShared = 48 << 10;  // bytes of shared memory that a block has without asking

// For a kernel without static shared memory. Always asks for the maximum: another thread may ask for less in between.
template <class Kernel>
void ask_for_shared(Kernel* kernel, int64_t bytes) {
    if (bytes > kUnaskedShared)
        check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        int(device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin))));
}

// Blocks of a kernel that the device runs at once.
template <class Kernel>
int64_t at_once(Kernel* kernel, int threads, int64_t shared_bytes) {
    ask_for_shared(kernel, shared_bytes);
    int of_each = 0;
    check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&of_each, kernel, threads, size_t(shared_bytes)));
    return of_each * device_attribute(cudaDevAttrMultiProcessorCount);
}

// Of a one-dimensional launch.
__device__ inline int64_t thread_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

// The minimum of the values noted; at first it is -1, all bits set, which is the highest as unsigned.
__device__ inline void note_first(int64_t* to, int64_t value) {
    atomicMin(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

__device__ inline int warp_sum(int x) {
    for (int step = kWarp / 2; step; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
    return x;
}

}  // namespace fastdet
