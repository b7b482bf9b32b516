// The sigmoid focal loss and its gradient, in one pass, and a gradient times a number.
//
// A block is a block of the sum, 1024 values; a thread takes four neighbours, 16 bytes of float32. Floor: the bytes, 16
// a value of float32 with its gradient (1M: 3.7 us at 4.3 TB/s); operations: some 90 instructions a value, 3 us a
// million on an H200, so that half precision is limited by arithmetic.
#include "cuda/sum.h"
#include "cuda/vector.h"
#include "losses/cuda.h"
#include "losses/sigmoid_focal_loss.h"

namespace fastdet {
namespace {

constexpr int kEach = kSumBlock / kSumThreads;  // neighbours of a thread

// `count` of kEach values from p on, others 0.
template <class S>
__device__ inline Pack<Compute<S>, kEach> load_some(const S* p, int count) {
    if (count == kEach) {
        if constexpr (sizeof(S) * kEach <= 16) {
            return widened(load_pack<kEach>(p));
        } else {
            Pack<double, kEach> x;
            const auto low = load_pack<2>(p), high = load_pack<2>(p + 2);
            x.v[0] = low.v[0], x.v[1] = low.v[1], x.v[2] = high.v[0], x.v[3] = high.v[1];
            return x;
        }
    }
    Pack<Compute<S>, kEach> x{};
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
        if (k < count) x.v[k] = widen(p[k]);
    }
    return x;
}
template <class S>
__device__ inline void store_some(S* p, int count, const Pack<Compute<S>, kEach>& x) {
    if (count == kEach) {
        if constexpr (sizeof(S) * kEach <= 16) {
            return store_narrowed<S, kEach>(p, x);
        } else {
            store_narrowed<S, 2>(p, {x.v[0], x.v[1]});
            store_narrowed<S, 2>(p + 2, {x.v[2], x.v[3]});
            return;
        }
    }
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
        if (k < count) p[k] = stored<S>(x.v[k]);
    }
}

template <class S, FocalPower P>
__global__ void __launch_bounds__(kSumThreads, 2) sigmoid_focal_kernel(const CudaSigmoidFocal<S> x, double* sums) {
    using T = Compute<S>;
    FASTDET_SHARED(T, losses, [kSumBlock]);
    const int at = int(threadIdx.x) * kEach;
    const int64_t i = int64_t(blockIdx.x) * kSumBlock + at;
    const int count = x.n - i < kEach ? int(x.n > i ? x.n - i : 0) : kEach;
    const lanes::SigmoidFocalTerms<T> terms{x.alpha, x.beta, x.gamma, x.scale};
    const auto value = load_some(x.inputs + i, count);
    const auto target = x.targets ? load_some(x.targets + i, count) : load_some(x.wide_targets + i, count);
    Pack<T, kEach> loss, grad;
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
        loss.v[k] = lanes::sigmoid_focal<P, true>(terms, value.v[k], target.v[k], &grad.v[k]);
        losses[at + k] = k < count ? loss.v[k] : T(0);
    }
    if (x.grad) store_some(x.grad + i, count, grad);
    if (!sums) {
        store_some(x.loss + i, count, loss);
        return;
    }
    __syncthreads();
    double mine[4];
    for (int k = 0; k < 4; ++k) mine[k] = double(losses[threadIdx.x + k * kSumThreads]);
    const double sum = sum_of_block(mine);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <class S>
struct Total {
    double count;
    S* loss;
    __device__ void operator()(const double* total, int64_t) const {
        if (threadIdx.x == 0) *loss = stored<S>(Compute<S>(*static_cast<const volatile double*>(total) / count));
    }
};

constexpr int kScaleThreads = 256;

template <class S>
__global__ void __launch_bounds__(kScaleThreads) scale_kernel(S* grad, int64_t n, const S* factor) {
    const Compute<S> by = widen(*factor);
    if (by == 1) return;
    const int64_t step = int64_t(gridDim.x) * kScaleThreads * kEach;
    for (int64_t i = thread_index() * kEach; i < n; i += step) {
        const int count = n - i < kEach ? int(n - i) : kEach;
        auto x = load_some(grad + i, count);
#pragma unroll
        for (int k = 0; k < kEach; ++k) x.v[k] = x.v[k] * by;
        store_some(grad + i, count, x);
    }
}

}  // namespace

template <class S>
void sigmoid_focal_loss_cuda(const CudaSigmoidFocal<S>& x, double gamma, const CudaTotal& total, void* workspace,
                             cudaStream_t stream) {
    Parts parts(workspace);
    const SumWorkspace w(parts, x.n);
    double* sums = total.wanted ? w.sums : nullptr;
    const unsigned blocks = unsigned(blocks_for(x.n, kSumBlock));
    if (x.n) {
        switch (focal_power(gamma)) {
            case FocalPower::zero:
                FASTDET_LAUNCH((sigmoid_focal_kernel<S, FocalPower::zero>), blocks, kSumThreads, stream, x, sums);
                break;
            case FocalPower::one:
                FASTDET_LAUNCH((sigmoid_focal_kernel<S, FocalPower::one>), blocks, kSumThreads, stream, x, sums);
                break;
            case FocalPower::two:
                FASTDET_LAUNCH((sigmoid_focal_kernel<S, FocalPower::two>), blocks, kSumThreads, stream, x, sums);
                break;
            case FocalPower::any:
                FASTDET_LAUNCH((sigmoid_focal_kernel<S, FocalPower::any>), blocks, kSumThreads, stream, x, sums);
                break;
        }
    }
    if (total.wanted) w.sum(Total<S>{total.count, x.loss}, stream);
}

template <class S>
void scale_cuda(S* grad, int64_t n, const S* factor, cudaStream_t stream) {
    const int64_t blocks = blocks_for(n, kScaleThreads * kEach);
    if (n) {
        FASTDET_LAUNCH((scale_kernel<S>), unsigned(blocks < 4096 ? blocks : 4096), kScaleThreads, stream, grad, n,
                       factor);
    }
}

#define FASTDET_INSTANTIATE(S)                                                                                        \
    template void sigmoid_focal_loss_cuda(const CudaSigmoidFocal<S>&, double, const CudaTotal&, void*, cudaStream_t); \
    template void scale_cuda(S*, int64_t, const S*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)
FASTDET_INSTANTIATE(Half)
FASTDET_INSTANTIATE(BFloat16)

}  // namespace fastdet
