// Cross-entropy and focal loss, with their gradient, in one pass over the logits.
//
// The labels are counted first (label_count.cu), since the gradient is divided by the sum of their weights; then a
// block makes a chunk of 256 pixels (softmax_tile.h): the maximum, the exponentials and their sum over the classes, the
// pixel's loss and factor (softmax_pixel.h), the gradient; then the chunks' losses are added up (cuda/sum.h). Four
// launches; nothing comes back to the host.
// Floor: logits read and gradient written once (8 x 21 x 1024^2 bfloat16: 705 MB, 164 us at 4.3 TB/s, and 31 us for
// int64 labels, which are read twice). Operations, counted in the code for Hopper: 36 instructions a logit (28 of them
// its exponential, which must round as the CPU's and so has no contraction to FMA) and some 200 a pixel: at 21 classes
// 240 to 270 us on an H200 that issues one a cycle. So arithmetic limits half precision, and memory limits float32. By
// this estimate half precision misses the aim, 1.3 times the bytes, by a fifth or more: a cheaper exponential is next.
// Above 40 classes (float64: 20) logits are read three times and exponentials made twice. Limit: 2^31 chunks.
#include "cuda/sum.h"
#include "losses/softmax_pixel.h"
#include "losses/softmax_tile.h"

namespace fastdet {
namespace {

template <class S>
struct SoftmaxCall {
    CudaLogits<S> x;
    LossTerms<Compute<S>> terms;  // without the fields that depend on the labels
    const LabelsFound* found;
    double* partial;  // (chunks,) out; null: every pixel's loss is wanted
};

// Add up weight times logit, less the maximum, over classes [first, first + count) in the rows.
template <class S, int V>
__device__ inline void add_weighted(const SoftmaxTile<S, V>& tile, const CudaLogits<S>& x, int64_t first, int count,
                                    const Pack<Compute<S>, V>& highest, Pack<Compute<S>, V>* weighted) {
    for (int c = 0; c < count; ++c) {
        const auto z = tile.row(c);
        const Compute<S> w = weight_of(x, first + c);
#pragma unroll
        for (int k = 0; k < V; ++k) weighted->v[k] = weighted->v[k] + w * (z.v[k] - highest.v[k]);
    }
}

template <class S, SoftmaxKind K, int V>
__global__ void __launch_bounds__(kPixelChunk / V, 640 * V / kPixelChunk) softmax_kernel(const SoftmaxCall<S> call) {
    using T = Compute<S>;
    constexpr bool kSmoothed = K == SoftmaxKind::smoothed;
    FASTDET_SHARED_REST(T, rows);
    FASTDET_SHARED(T, losses, [kPixelChunk]);
    const CudaLogits<S>& x = call.x;
    const int32_t classes = int32_t(x.classes);
    SoftmaxTile<S, V> tile(x, rows);
    LossTerms<T> terms = call.terms;
    terms.scale = T(call.found->scale);
    terms.weight_sum = T(call.found->weight_sum);

    const auto highest = tile.maximum();
    Pack<T, V> target{}, rest{}, weighted{};
    const auto hide_targets = [&](int64_t first, int count) {
#pragma unroll
        for (int k = 0; k < V; ++k) {
            if (!tile.holds(first, count, k)) continue;
            T& own = tile.own(tile.label[k] - first, k);
            target.v[k] = own;
            own = -T(INFINITY);
        }
    };
    tile.each_part([&](int64_t first, int count) {
        if (!tile.resident) tile.stage(first, count);
        if constexpr (kSmoothed) add_weighted(tile, x, first, count, highest, &weighted);
        hide_targets(first, count);
        tile.exponentials(count, highest, [&](int, const Pack<T, V>& e) {
#pragma unroll
            for (int k = 0; k < V; ++k) rest.v[k] = rest.v[k] + e.v[k];
        });
    });

    Pack<T, V> loss, factor, own, here;
    bool cleared[V], any_cleared = false;
#pragma unroll
    for (int k = 0; k < V; ++k) {
        const bool known = tile.label[k] < classes;
        const T w = known ? weight_of(x, tile.label[k]) : T(0);
        here.v[k] = known;
        cleared[k] = tile.is_cleared(kSmoothed ? known : w > 0, &rest.v[k]);
        any_cleared = any_cleared || cleared[k];
        const auto pixel =
            lanes::pixel_loss<K>(terms, w, rest.v[k], target.v[k] - highest.v[k], here.v[k], weighted.v[k]);
        loss.v[k] = pixel.loss, factor.v[k] = pixel.factor, own.v[k] = pixel.own;
        if (call.found->poison) loss.v[k] = factor.v[k] = T(NAN);
        losses[tile.mine + k] = tile.mine + k < tile.n ? loss.v[k] : T(0);
    }
    if (!call.partial && tile.mine < tile.n) {
        if (x.wide_loss) {
            store_pack(x.wide_loss + tile.pixel + tile.mine, loss);
        } else {
            store_narrowed<S, V>(x.loss + tile.pixel + tile.mine, loss);
        }
    }

    if (x.grad) {
        tile.each_part([&](int64_t first, int count) {
            if (!tile.resident) {
                tile.stage(first, count);
                hide_targets(first, count);
                tile.exponentials(count, highest, [](int, const Pack<T, V>&) {});
            }
            if (any_cleared) tile.clear(count, cleared);
#pragma unroll
            for (int k = 0; k < V; ++k) {
                if (tile.holds(first, count, k)) tile.own(tile.label[k] - first, k) = own.v[k];
            }
            tile.write(first, count, [&](int c, Pack<T, V> e) {
#pragma unroll
                for (int k = 0; k < V; ++k) {
                    e.v[k] = e.v[k] * factor.v[k];
                    if constexpr (kSmoothed)
                        e.v[k] = e.v[k] - ((terms.smooth * weight_of(x, first + c)) * terms.scale) * here.v[k];
                }
                (void)c;
                return e;
            });
        });
    }

    if (call.partial) sum_chunk(losses, call.partial);
}

template <class S>
struct TotalLoss {
    Reduction reduction;
    const LabelsFound* found;
    S* loss;
    __device__ void operator()(const double* total, int64_t) const {
        if (threadIdx.x) return;
        const double value = reduced_loss(reduction, *static_cast<const volatile double*>(total), found->divisor);
        *loss = stored<S>(found->poison ? Compute<S>(NAN) : Compute<S>(value));
    }
};

template <class S, SoftmaxKind K>
void run(const SoftmaxCall<S>& call, cudaStream_t stream) {
    by_width(call.x, [&](auto width) {
        constexpr int V = decltype(width)::value;
        FASTDET_LAUNCH_SHARED((softmax_kernel<S, K, V>), unsigned(chunks_of(call.x)), unsigned(kPixelChunk / V),
                              (SoftmaxTile<S, V>::bytes(call.x)), stream, call);
    });
}

}  // namespace

int64_t softmax_loss_workspace(int64_t images, int64_t classes, int64_t pixels) {
    Parts parts;
    SoftmaxWorkspace(parts, images * blocks_for(pixels, kPixelChunk), classes);
    return parts.bytes();
}

template <class S>
void softmax_loss_cuda(const CudaLogits<S>& x, const LossOptions& options, void* workspace, int64_t* fault,
                       cudaStream_t stream) {
    Parts parts(workspace);
    const int64_t chunks = chunks_of(x);
    const SoftmaxWorkspace w(parts, chunks, x.classes);
    check_cuda(cudaMemsetAsync(workspace, 0, size_t(w.zeroed), stream));
    count_labels_cuda(x.labels, x.images * x.pixels, x.weight, x.even, options.reduction, w.counts, w.found, fault,
                      stream);
    const bool reduced = options.reduction != Reduction::none;
    const SoftmaxCall<S> call{x, loss_terms<Compute<S>>(options, x.classes, 0, 0), w.found,
                              reduced ? w.partial : nullptr};
    if (chunks) {
        switch (options.kind()) {
            case SoftmaxKind::cross_entropy:
                run<S, SoftmaxKind::cross_entropy>(call, stream);
                break;
            case SoftmaxKind::smoothed:
                run<S, SoftmaxKind::smoothed>(call, stream);
                break;
            case SoftmaxKind::focal:
                run<S, SoftmaxKind::focal>(call, stream);
                break;
        }
    }
    if (reduced) {
        sum_columns(w.partial, chunks, 1, w.parts, w.done, TotalLoss<S>{options.reduction, w.found, x.loss}, stream);
    }
}

#define FASTDET_INSTANTIATE(S) \
    template void softmax_loss_cuda(const CudaLogits<S>&, const LossOptions&, void*, int64_t*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)
FASTDET_INSTANTIATE(Half)
FASTDET_INSTANTIATE(BFloat16)

}  // namespace fastdet
