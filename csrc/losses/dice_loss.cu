// Dice and Tversky loss, and their gradient, which depends on sums over all pixels: two passes over the logits.
//
// The first pass makes the probabilities of a chunk (softmax_tile.h) and adds them up as the CPU does: 16 interleaved
// lanes a class, a thread each, and those of the pixels of a class in the order of the pixels. The chunks' sums are
// added up per class (cuda/sum.h), and the last block makes of them the loss and two numbers a class, of which the
// second pass makes the gradient. Floor: logits read twice, gradient written once (8 x 21 x 1024^2 bfloat16: 1.06 GB,
// 246 us at 4.3 TB/s). Operations: one exponential a logit and pass, some 75 instructions a logit: 400 us on an H200.
#include "cuda/sum.h"
#include "losses/softmax_pixel.h"
#include "losses/softmax_tile.h"

namespace fastdet {
namespace {

template <class S>
struct DiceCall {
    CudaLogits<S> x;
    double* sums;                    // (2, classes, chunks) out: probabilities, and those of the class's own pixels
    const Compute<S>*slope, *bonus;  // (classes,)
};

template <class S, int V>
__global__ void __launch_bounds__(kPixelChunk / V, 640 * V / kPixelChunk) sums_kernel(const DiceCall<S> call) {
    using T = Compute<S>;
    constexpr int kThreads = SoftmaxTile<S, V>::kThreads;
    FASTDET_SHARED_REST(T, rows);
    FASTDET_SHARED(T, factor, [kPixelChunk]);
    FASTDET_SHARED(double, own, [kPixelChunk]);
    FASTDET_SHARED(int32_t, label, [kPixelChunk]);
    const int64_t classes = call.x.classes, chunks = gridDim.x;
    SoftmaxTile<S, V> tile(call.x, rows);
    const auto highest = tile.maximum();
    Pack<T, V> total{};
    tile.each_part([&](int64_t first, int count) {
        if (!tile.resident) tile.stage(first, count);
        tile.exponentials(count, highest, [&](int, const Pack<T, V>& e) {
#pragma unroll
            for (int k = 0; k < V; ++k) total.v[k] = total.v[k] + e.v[k];
        });
    });
    bool cleared[V];
#pragma unroll
    for (int k = 0; k < V; ++k) {
        const bool known = tile.label[k] < classes;
        cleared[k] = tile.is_cleared(known, &total.v[k]);
        factor[tile.mine + k] = T(known) / total.v[k];
        label[tile.mine + k] = tile.label[k];
    }
    tile.each_part([&](int64_t first, int count) {
        if (!tile.resident) {
            __syncthreads();  // the rows have been added up
            tile.stage(first, count);
            tile.exponentials(count, highest, [](int, const Pack<T, V>&) {});
        }
        tile.clear(count, cleared);
#pragma unroll
        for (int k = 0; k < V; ++k) {
            if (tile.holds(first, count, k))
                own[tile.mine + k] = double(tile.own(tile.label[k] - first, k) * factor[tile.mine + k]);
        }
        __syncthreads();
        for (int task = int(threadIdx.x); task < (count * kDiceLanes + kThreads - 1) / kThreads * kThreads;
             task += kThreads) {
            const int c = task / int(kDiceLanes), l = task % int(kDiceLanes);
            T sum = 0;
            for (int p = l; c < count && p < kPixelChunk; p += kDiceLanes) sum = sum + tile.at(c, p) * factor[p];
            double all = 0;
            for (int other = 0; other < kDiceLanes; ++other)
                all += double(__shfl_sync(kAllLanes, sum, int(threadIdx.x) % kWarp / kDiceLanes * kDiceLanes + other));
            if (l == 0 && c < count) call.sums[(first + c) * chunks + blockIdx.x] = all;
        }
        for (int c = int(threadIdx.x); c < count; c += kThreads) {
            double sum = 0;
            for (int p = 0; p < tile.n; ++p) {
                if (label[p] == first + c) sum += own[p];
            }
            call.sums[(classes + first + c) * chunks + blockIdx.x] = sum;
        }
    });
}

template <class S, int V>
__global__ void __launch_bounds__(kPixelChunk / V, 640 * V / kPixelChunk) gradient_kernel(const DiceCall<S> call) {
    using T = Compute<S>;
    FASTDET_SHARED_REST(T, rows);
    const int64_t classes = call.x.classes;
    SoftmaxTile<S, V> tile(call.x, rows);
    const auto highest = tile.maximum();
    Pack<T, V> total{}, sloped{}, target{}, inverse, mean, more;
    tile.each_part([&](int64_t first, int count) {
        if (!tile.resident) tile.stage(first, count);
        tile.exponentials(count, highest, [&](int c, const Pack<T, V>& e) {
            const T slope = call.slope[first + c];
#pragma unroll
            for (int k = 0; k < V; ++k) {
                total.v[k] = total.v[k] + e.v[k];
                sloped.v[k] = sloped.v[k] + e.v[k] * slope;
            }
        });
#pragma unroll
        for (int k = 0; k < V; ++k) {
            if (tile.holds(first, count, k)) target.v[k] = tile.own(tile.label[k] - first, k);
        }
    });
    bool cleared[V];
#pragma unroll
    for (int k = 0; k < V; ++k) {
        const bool known = tile.label[k] < classes;
        cleared[k] = tile.is_cleared(known, &total.v[k]);
        const auto pixel =
            lanes::dice_pixel(T(known), total.v[k], sloped.v[k], target.v[k], known ? call.bonus[tile.label[k]] : T(0));
        inverse.v[k] = pixel.inverse, mean.v[k] = pixel.mean, more.v[k] = pixel.more;
    }
    tile.each_part([&](int64_t first, int count) {
        if (!tile.resident) {
            tile.stage(first, count);
            tile.exponentials(count, highest, [](int, const Pack<T, V>&) {});
        }
        tile.clear(count, cleared);
        tile.write(first, count, [&](int c, Pack<T, V> e) {
            const T slope = call.slope[first + c];
#pragma unroll
            for (int k = 0; k < V; ++k) {
                e.v[k] = (e.v[k] * inverse.v[k]) * (slope - mean.v[k]);
                if (tile.label[k] == first + c) e.v[k] = e.v[k] + more.v[k];
            }
            return e;
        });
    });
}

// The loss, and the coefficients of the gradient.
template <class S>
struct DiceLoss {
    int64_t classes;
    OverlapTerms terms;
    const unsigned long long* counts;
    LabelsFound* found;
    double* scores;            // (classes,)
    Compute<S>*slope, *bonus;  // (classes,) out
    S* loss;
    __device__ void operator()(const double* totals, int64_t step) const {
        using T = Compute<S>;
        const volatile double* total = totals;
        const T nothing = found->poison ? T(NAN) : T(0);
        for (int64_t c = threadIdx.x; c < classes; c += kSumThreads) {
            const OverlapClass of_class(total[c * step], total[(classes + c) * step], int64_t(counts[c]), terms);
            scores[c] = of_class.score;
            slope[c] = T(of_class.slope / double(classes)) + nothing;
            bonus[c] = T(of_class.bonus / double(classes));
        }
        __syncthreads();
        if (threadIdx.x) return;
        double mean = 0;
        for (int64_t c = 0; c < classes; ++c) mean += static_cast<const volatile double*>(scores)[c];
        *loss = stored<S>(T(1 - mean / double(classes)) + nothing);
    }
};

template <class T>
struct Workspace {
    LabelsFound* found;
    unsigned* done;
    unsigned long long* counts;
    int64_t zeroed;  // bytes at the front that have to be 0
    double *scores, *sums, *parts;
    T *slope, *bonus;
    Workspace(Parts& memory, int64_t chunks, int64_t classes) {
        found = memory.take<LabelsFound>(1);
        done = memory.take<unsigned>(2 * classes + 1);
        counts = memory.take<unsigned long long>(classes + 2);
        zeroed = memory.bytes();
        scores = memory.take<double>(classes);
        sums = memory.take<double>(2 * classes * chunks);
        parts = memory.take<double>(2 * classes * parts_of(chunks));
        slope = memory.take<T>(classes);
        bonus = memory.take<T>(classes);
    }
};

}  // namespace

template <class S>
int64_t dice_loss_workspace(int64_t images, int64_t classes, int64_t pixels) {
    Parts parts;
    Workspace<Compute<S>>(parts, images * blocks_for(pixels, kPixelChunk), classes);
    return parts.bytes();
}

template <class S>
void overlap_loss_cuda(const CudaLogits<S>& x, const OverlapTerms& terms, void* workspace, int64_t* fault,
                       cudaStream_t stream) {
    using T = Compute<S>;
    Parts parts(workspace);
    const int64_t chunks = chunks_of(x);
    const Workspace<T> w(parts, chunks, x.classes);
    check_cuda(cudaMemsetAsync(workspace, 0, size_t(w.zeroed), stream));
    count_labels_cuda(x.labels, x.images * x.pixels, x.weight, x.even, Reduction::mean, w.counts, w.found, fault,
                      stream);
    const DiceCall<S> call{x, w.sums, w.slope, w.bonus};
    const auto run = [&](auto gradient) {
        by_width(x, [&](auto width) {
            constexpr int V = decltype(width)::value;
            const int64_t bytes = SoftmaxTile<S, V>::bytes(x);
            if constexpr (decltype(gradient)::value) {
                FASTDET_LAUNCH_SHARED((gradient_kernel<S, V>), unsigned(chunks), unsigned(kPixelChunk / V), bytes,
                                      stream, call);
            } else {
                FASTDET_LAUNCH_SHARED((sums_kernel<S, V>), unsigned(chunks), unsigned(kPixelChunk / V), bytes, stream,
                                      call);
            }
        });
    };
    if (chunks) run(std::false_type());
    const DiceLoss<S> loss{x.classes, terms, w.counts, w.found, w.scores, w.slope, w.bonus, x.loss};
    sum_columns(w.sums, chunks, 2 * x.classes, w.parts, w.done, loss, stream);
    if (x.grad && chunks) run(std::true_type());
}

#define FASTDET_INSTANTIATE(S)                                          \
    template int64_t dice_loss_workspace<S>(int64_t, int64_t, int64_t); \
    template void overlap_loss_cuda(const CudaLogits<S>&, const OverlapTerms&, void*, int64_t*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)
FASTDET_INSTANTIATE(Half)
FASTDET_INSTANTIATE(BFloat16)

}  // namespace fastdet
