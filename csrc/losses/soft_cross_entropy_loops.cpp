// Cross-entropy against probabilities of classes: the loops. Compiled once per instruction set.
//
// As softmax_losses_loops.cpp, with the targets in rows beside those of the logits. One exponential a logit, two
// divisions a pixel. Floor: read logits and targets, write the gradient.
#include "losses/soft_pixel.h"
#include "losses/softmax_rows.h"

namespace fastdet {
namespace FASTDET_ISA {
namespace {

template <class T>
void soft(const SoftmaxJob<T>& job, int64_t first, int64_t last, T* scratch) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    const int64_t C = job.classes, step = job.stride();
    const bool smoothed = job.terms.smooth > 0;
    Tile<T> tile(job, scratch);
    T* targets = scratch + job.scratch_of_logits();
    T share[kPixelChunk], ties[kPixelChunk];
    for (int64_t chunk = first; chunk < last; ++chunk) {
        double sum[kSumLanes] = {};
        tile.each_tile(chunk, [&] {
            tile.load_logits();
            tile.load_beside(job.soft, targets);
            for (int64_t i = 0; i < tile.padded; i += L) {
                const V zero = V::set(0), highest = V::load(tile.highest + i);
                lanes::SoftSums<V> sums{zero, zero, zero, zero};
                for (int64_t c = 0; c < C; ++c) {
                    T *row = tile.rows + c * step + i, *target = targets + c * step + i;
                    const V a = lanes::soft_target(job.terms, smoothed, job.weight[c], V::load(target));
                    const V z = V::load(row) - highest, e = lanes::exp_or_zero(z);
                    sums.add(a, z, e);
                    a.store(target);
                    e.store(row);
                }
                sums.loss().store(tile.loss + i);
                (V::set(job.terms.scale) / sums.total()).store(tile.factor + i);
                sums.rest.store(tile.rest + i);
                sums.share.store(share + i);
                sums.ties.store(ties + i);
            }
            for (int64_t i = tile.n; i < tile.padded; ++i) tile.loss[i] = 0;
            for (int64_t i = 0; i < tile.padded; i += kSumLanes) {
                for (int64_t l = 0; l < kSumLanes; ++l) sum[l] += double(tile.loss[i + l]);
            }
            if (job.each)
                std::memcpy(job.each + tile.image * job.pixels + tile.at, tile.loss, size_t(tile.n) * sizeof(T));
            if (!job.grad) return;
            tile.write([&](int64_t c, int64_t i, V e) {
                const lanes::SoftSums<V> sums{V::load(share + i), V::set(0), V::load(tile.rest + i), V::load(ties + i)};
                return sums.gradient(V::load(targets + c * step + i), e, V::load(tile.factor + i));
            });
        });
        double all = 0;
        for (int64_t l = 0; l < kSumLanes; ++l) all += sum[l];
        job.partial[chunk] = all;
    }
    if (job.stream) store_fence();
}

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(SoftKernels, soft_cross_entropy_kernels, {soft<float>, soft<double>})

}  // namespace fastdet
