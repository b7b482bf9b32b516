// Cross-entropy against probabilities of classes, with its gradient, in one pass over logits and targets.
//
// As softmax_losses.cu: a block is a chunk of 256 pixels. Targets are read from memory where they are needed, once for
// the sums and once for the gradient (through the caches). Floor: logits and targets read, gradient written once.
// Weights are checked by count_labels_cuda, of no labels.
#include "losses/soft_pixel.h"
#include "losses/softmax_tile.h"

namespace fastdet {
namespace {

template <class S>
struct SoftCall {
    CudaLogits<S> x;
    const Compute<S>* target;
    LossTerms<Compute<S>> terms;
    bool smoothed;
    const LabelsFound* found;
    double* partial;  // (chunks,) out; null: every pixel's loss is wanted
};

template <class S, int V>
__global__ void __launch_bounds__(kPixelChunk / V, 640 * V / kPixelChunk) soft_kernel(const SoftCall<S> call) {
    using T = Compute<S>;
    FASTDET_SHARED_REST(T, rows);
    FASTDET_SHARED(T, losses, [kPixelChunk]);
    const CudaLogits<S>& x = call.x;
    SoftmaxTile<S, V> tile(x, rows);
    const bool here = tile.mine < tile.n;
    const auto highest = tile.maximum();
    const auto shares = [&](int64_t c) {
        Pack<T, V> a{};
        if (!here) return a;
        if constexpr (V > 1) {
            a = load_pack<V>(call.target + tile.place(c));
        } else {
            a.v[0] = call.target[tile.place(c)];
        }
        const T w = weight_of(x, c);
#pragma unroll
        for (int k = 0; k < V; ++k) a.v[k] = lanes::soft_target(call.terms, call.smoothed, w, a.v[k]);
        return a;
    };

    lanes::SoftSums<T> sums[V] = {};
    tile.each_part([&](int64_t first, int count) {
        if (!tile.resident) tile.stage(first, count);
        for (int c = 0; c < count; ++c) {
            const auto logit = tile.row(c);
            const Pack<T, V> a = shares(first + c);
            Pack<T, V> e;
#pragma unroll
            for (int k = 0; k < V; ++k) {
                const T z = logit.v[k] - highest.v[k];
                e.v[k] = lanes::exp_or_zero(z);
                sums[k].add(a.v[k], z, e.v[k]);
            }
            tile.put(c, e);
        }
    });

    const bool poison = call.found->poison;
    Pack<T, V> loss, factor;
#pragma unroll
    for (int k = 0; k < V; ++k) {
        loss.v[k] = poison ? T(NAN) : sums[k].loss();
        factor.v[k] = call.terms.scale / sums[k].total();
        losses[tile.mine + k] = here ? loss.v[k] : T(0);
    }
    if (!call.partial && here) store_narrowed<S, V>(x.loss + tile.pixel + tile.mine, loss);

    if (x.grad) {
        tile.each_part([&](int64_t first, int count) {
            if (!tile.resident) {
                tile.stage(first, count);
                tile.exponentials(count, highest, [](int, const Pack<T, V>&) {});
            }
            tile.write(first, count, [&](int c, Pack<T, V> e) {
                const Pack<T, V> a = shares(first + c);
#pragma unroll
                for (int k = 0; k < V; ++k) e.v[k] = poison ? T(NAN) : sums[k].gradient(a.v[k], e.v[k], factor.v[k]);
                return e;
            });
        });
    }
    if (call.partial) sum_chunk(losses, call.partial);
}

template <class S>
struct SoftTotal {
    Reduction reduction;
    double pixels;
    const LabelsFound* found;
    S* loss;
    __device__ void operator()(const double* total, int64_t) const {
        if (threadIdx.x) return;
        const double value = reduced_loss(reduction, *static_cast<const volatile double*>(total), pixels);
        *loss = stored<S>(found->poison ? Compute<S>(NAN) : Compute<S>(value));
    }
};

}  // namespace

template <class S>
void soft_cross_entropy_cuda(const CudaLogits<S>& x, const Compute<S>* target, const LossOptions& options,
                             void* workspace, int64_t* fault, cudaStream_t stream) {
    Parts parts(workspace);
    const int64_t chunks = chunks_of(x);
    const double pixels = double(x.images * x.pixels);
    const SoftmaxWorkspace w(parts, chunks, x.classes);
    check_cuda(cudaMemsetAsync(workspace, 0, size_t(w.zeroed), stream));
    const Labels none{nullptr, 8, true, false, INT64_MIN, x.classes};
    count_labels_cuda(none, 0, x.weight, x.even, options.reduction, w.counts, w.found, fault, stream);
    const bool reduced = options.reduction != Reduction::none;
    const auto terms = loss_terms<Compute<S>>(options, x.classes, pixels, 0);
    const SoftCall<S> call{x, target, terms, terms.smooth > 0, w.found, reduced ? w.partial : nullptr};
    if (chunks) {
        by_width(x, [&](auto width) {
            constexpr int V = decltype(width)::value;
            FASTDET_LAUNCH_SHARED((soft_kernel<S, V>), unsigned(chunks), unsigned(kPixelChunk / V),
                                  (SoftmaxTile<S, V>::bytes(x)), stream, call);
        });
    }
    if (reduced) {
        sum_columns(w.partial, chunks, 1, w.parts, w.done, SoftTotal<S>{options.reduction, pixels, w.found, x.loss},
                    stream);
    }
}

#define FASTDET_INSTANTIATE(S)                                                                                \
    template void soft_cross_entropy_cuda(const CudaLogits<S>&, const Compute<S>*, const LossOptions&, void*, \
                                          int64_t*, cudaStream_t);
FASTDET_INSTANTIATE(float)
FASTDET_INSTANTIATE(double)
FASTDET_INSTANTIATE(Half)
FASTDET_INSTANTIATE(BFloat16)

}  // namespace fastdet
