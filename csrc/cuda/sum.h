// Sums on a GPU in the one order of core/sums.h, whatever the order in which blocks run.
#pragma once

#include "core/sums.h"
#include "cuda/launch.h"

namespace fastdet {

constexpr int kSumThreads = kSumBlock / 4;

// The sum of kSumBlock values, of which a thread gives x[k], that at threadIdx.x + k * kSumThreads; thread 0 has it.
__device__ inline double sum_of_block(const double (&x)[4]) {
    FASTDET_SHARED(double, half, [kSumThreads]);
    const int t = int(threadIdx.x);
    double mine = (x[0] + x[2]) + (x[1] + x[3]);
    for (int n = kSumThreads / 2; n >= kWarp; n /= 2) {
        if (t >= n && t < 2 * n) half[t - n] = mine;
        __syncthreads();
        if (t < n) mine += half[t];
        __syncthreads();
    }
    if (t < kWarp) {
        for (int step = kWarp / 2; step; step /= 2) mine += __shfl_down_sync(kAllLanes, mine, step);
    }
    return mine;
}

// Whether this block is the last one of `blocks` that come here; it then sees what the others have written before.
// *count is 0 at first.
__device__ inline bool comes_last(unsigned* count, unsigned blocks) {
    FASTDET_SHARED(bool, last, [1]);
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last[0] = atomicAdd(count, 1u) == blocks - 1;
        __threadfence();
    }
    __syncthreads();
    return last[0];
}

// Sums of the columns of sums (columns, n), each as sum_of_sums in core/sums.h: that of column k in
// parts[k * parts_of(n)]. The last block then calls finish(parts, parts_of(n)), all its threads. parts
// (columns * parts_of(n),); done (columns + 1,) 0 at first.
inline int64_t parts_of(int64_t n) { return n > kSumBlock ? blocks_for(n, kSumBlock) : 1; }

template <class Finish>
__global__ void __launch_bounds__(kSumThreads, 2)
    sum_kernel(const double* sums, int64_t n, int64_t columns, int64_t per_column, double* parts, unsigned* done,
               Finish finish) {
    const int64_t column = blockIdx.x / per_column;
    const auto block_of = [&](const double* from, int64_t count, int64_t block) {
        double x[4];
        for (int k = 0; k < 4; ++k) {
            const int64_t i = block * kSumBlock + threadIdx.x + k * kSumThreads;
            x[k] = i < count ? static_cast<const volatile double*>(from)[i] : 0;
        }
        return sum_of_block(x);
    };
    const double part = block_of(sums + column * n, n, blockIdx.x % per_column);
    if (threadIdx.x == 0) parts[blockIdx.x] = part;
    double* mine = parts + column * per_column;
    if (per_column > 1) {
        if (!comes_last(done + column, unsigned(per_column))) return;
        for (int64_t left = per_column; left > 1;) {
            const int64_t blocks = (left + kSumBlock - 1) / kSumBlock;
            for (int64_t k = 0; k < blocks; ++k) {
                const double total = block_of(mine, left, k);
                __syncthreads();
                if (threadIdx.x == 0) mine[k] = total;
            }
            __syncthreads();
            left = blocks;
        }
    }
    if (!comes_last(done + columns, unsigned(columns))) return;
    finish(parts, per_column);
}

template <class Finish>
void sum_columns(const double* sums, int64_t n, int64_t columns, double* parts, unsigned* done, const Finish& finish,
                 cudaStream_t stream) {
    const int64_t per_column = parts_of(n);
    FASTDET_LAUNCH((sum_kernel<Finish>), unsigned(columns * per_column), kSumThreads, stream, sums, n, columns,
                   per_column, parts, done, finish);
}

// The workspace for the sum of n values whose blocks of kSumBlock are added up already.
struct SumWorkspace {
    int64_t blocks;
    unsigned* done;
    double *sums, *parts;  // (blocks,) for the sums of the blocks

    SumWorkspace(Parts& memory, int64_t n) : blocks(blocks_for(n, kSumBlock)) {
        done = memory.take<unsigned>(2);
        sums = memory.take<double>(blocks);
        parts = memory.take<double>(parts_of(blocks));
    }
    template <class Finish>
    void sum(const Finish& finish, cudaStream_t stream) const {
        check_cuda(cudaMemsetAsync(done, 0, 2 * sizeof *done, stream));
        sum_columns(sums, blocks, 1, parts, done, finish, stream);
    }
};

}  // namespace fastdet
