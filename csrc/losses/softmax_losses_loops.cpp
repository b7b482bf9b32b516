// Losses on a softmax: the loops. Compiled once per instruction set.
//
// A tile of pixels at a time: its logits are copied into scratch memory, class by class, so that they are read once
// from memory (the rows of 2^k x 2^k planes share cache sets and would evict each other); the maximum over the
// classes, the exponentials and the gradient are made there, a vector of pixels at a time. The target's logit is taken
// out before the exponentials are summed: `rest`, the sum of the others, gives 1 - p without cancellation, and
//     nll = log(rest + e_target) - z_target,    gradient = m * e_class, but -m * rest for the target,
// with one number m per pixel, for cross-entropy and focal loss alike. One exponential a logit, three divisions a
// pixel. Floor: read the logits, write the gradient.
#include <cmath>
#include <type_traits>

#include "losses/softmax_pixel.h"
#include "losses/softmax_rows.h"

namespace fastdet {
namespace FASTDET_ISA {

namespace {

int64_t count_labels(const Labels& labels, int64_t first, int64_t last, int64_t* counts) {
    const int64_t classes = labels.classes, size = classes + 2;
    int32_t label[kPixelChunk];
    for (int64_t at = first; at < last; at += kPixelChunk) {
        const int64_t n = at + kPixelChunk < last ? kPixelChunk : last - at;
        read_labels(labels, at, n, int32_t(classes + 1), label);
        int64_t i = 0;
        for (; i + 4 <= n;
             i += 4) {  // four tables: neighbours have one class, and additions to one cell wait for each other
            for (int64_t k = 0; k < 4; ++k) ++counts[k * size + label[i + k]];
        }
        for (; i < n; ++i) ++counts[label[i]];
        int64_t bad = 0;
        for (int64_t k = 0; k < 4; ++k) bad += counts[k * size + classes + 1];
        for (i = 0; bad && i < n; ++i) {
            if (label[i] == classes + 1) return at + i;
        }
    }
    return -1;
}

template <class T, SoftmaxKind K>
void softmax(const SoftmaxJob<T>& job, int64_t first, int64_t last, T* scratch) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    const int64_t C = job.classes;
    const V zero = V::set(0);
    const LossTerms<T> terms = job.terms;
    Tile<T> tile(job, scratch);
    T counted[kPixelChunk];
    for (int64_t chunk = first; chunk < last; ++chunk) {
        double sum[kSumLanes] = {};
        tile.each_tile(chunk, [&] {
            tile.load();
            if constexpr (K == SoftmaxKind::smoothed) {
                for (int64_t i = 0; i < tile.padded; i += L) {
                    const V m = V::load(tile.highest + i);
                    V all = zero;
                    for (int64_t c = 0; c < C; ++c)
                        all = all + V::set(job.weight[c]) * (V::load(tile.rows + c * tile.stride + i) - m);
                    all.store(tile.extra + i);
                }
                for (int64_t i = 0; i < tile.padded; ++i) counted[i] = tile.label[i] < C;
            }
            for (int64_t i = 0; i < tile.padded; ++i) {
                T& own = tile.own(i);
                tile.target[i] = own;
                own = -T(INFINITY);
            }
            tile.template exponentials<false>();
            tile.clear_uncounted(K == SoftmaxKind::smoothed ? counted : tile.weight);
            for (int64_t i = 0; i < tile.padded; i += L) {
                const V z = V::load(tile.target + i) - V::load(tile.highest + i);
                const bool smoothed = K == SoftmaxKind::smoothed;
                const auto pixel = lanes::pixel_loss<K>(terms, V::load(tile.weight + i), V::load(tile.rest + i), z,
                                                        smoothed ? V::load(counted + i) : zero,
                                                        smoothed ? V::load(tile.extra + i) : zero);
                pixel.loss.store(tile.loss + i);
                pixel.factor.store(tile.factor + i);
                pixel.own.store(tile.rest + i);
            }
            for (int64_t i = 0; i < tile.padded; i += kSumLanes) {
                for (int64_t l = 0; l < kSumLanes; ++l) sum[l] += double(tile.loss[i + l]);
            }
            if (job.each)
                std::memcpy(job.each + tile.image * job.pixels + tile.at, tile.loss, size_t(tile.n) * sizeof(T));
            if (!job.grad) return;
            for (int64_t i = 0; i < tile.padded; ++i) tile.own(i) = tile.rest[i];
            tile.write([&](int64_t c, int64_t i, V e) {
                const V g = e * V::load(tile.factor + i);
                if constexpr (K == SoftmaxKind::smoothed) {
                    return g - V::set((terms.smooth * job.weight[c]) * terms.scale) * V::load(counted + i);
                } else {
                    (void)c;
                    return g;
                }
            });
        });
        double all = 0;
        for (int64_t l = 0; l < kSumLanes; ++l) all += sum[l];
        job.partial[chunk] = all;
    }
    if (job.stream) store_fence();
}

template <class T>
void dice_sums(const SoftmaxJob<T>& job, int64_t first, int64_t last, T* scratch) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    const int64_t C = job.classes;
    Tile<T> tile(job, scratch);
    T* lanes = scratch + (C + 1) * job.stride() + C;
    for (int64_t chunk = first; chunk < last; ++chunk) {
        double *all = job.sums + chunk * 2 * C, *own = all + C;
        for (int64_t c = 0; c < C; ++c) own[c] = 0;
        for (int64_t k = 0; k < C * kDiceLanes; ++k) lanes[k] = 0;
        tile.each_tile(chunk, [&] {
            tile.load();
            tile.template exponentials<false>();
            tile.clear_uncounted(tile.weight);
            for (int64_t i = 0; i < tile.padded; i += L)
                (V::load(tile.weight + i) / V::load(tile.rest + i)).store(tile.factor + i);
            for (int64_t c = 0; c < C; ++c) {
                const T* row = tile.rows + c * tile.stride;
                for (int64_t l = 0; l < kDiceLanes; l += L) {
                    V sum = V::load(lanes + c * kDiceLanes + l);
                    for (int64_t i = l; i < tile.padded; i += kDiceLanes)
                        sum = sum + V::load(row + i) * V::load(tile.factor + i);
                    sum.store(lanes + c * kDiceLanes + l);
                }
            }
            for (int64_t i = 0; i < tile.n; ++i) {
                if (tile.label[i] < C) own[tile.label[i]] += double(tile.own(i) * tile.factor[i]);
            }
        });
        for (int64_t c = 0; c < C; ++c) {
            all[c] = 0;
            for (int64_t l = 0; l < kDiceLanes; ++l) all[c] += double(lanes[c * kDiceLanes + l]);
        }
    }
}

template <class T>
void dice_gradient(const SoftmaxJob<T>& job, int64_t first, int64_t last, T* scratch) {
    using V = Vec<T>;
    constexpr int L = V::lanes;
    Tile<T> tile(job, scratch);
    T bonus[kPixelChunk];
    for (int64_t chunk = first; chunk < last; ++chunk) {
        tile.each_tile(chunk, [&] {
            tile.load();
            tile.template exponentials<true>();
            tile.clear_uncounted(tile.weight);
            for (int64_t i = 0; i < tile.padded; ++i) {
                tile.target[i] = tile.own(i);
                bonus[i] = job.bonus[tile.label[i]];
            }
            // p_k (slope_k - mean slope), and p_target * bonus more for the target
            for (int64_t i = 0; i < tile.padded; i += L) {
                const auto pixel =
                    lanes::dice_pixel(V::load(tile.weight + i), V::load(tile.rest + i), V::load(tile.extra + i),
                                      V::load(tile.target + i), V::load(bonus + i));
                pixel.inverse.store(tile.factor + i);
                pixel.mean.store(tile.highest + i);
                pixel.more.store(tile.loss + i);
            }
            for (int64_t c = 0; c < job.classes; ++c) {
                T* row = tile.rows + c * tile.stride;
                for (int64_t i = 0; i < tile.padded; i += L) {
                    const V p = V::load(row + i) * V::load(tile.factor + i);
                    (p * (V::set(job.slope[c]) - V::load(tile.highest + i))).store(row + i);
                }
            }
            for (int64_t i = 0; i < tile.padded; ++i) tile.own(i) += tile.loss[i];
            tile.write([](int64_t, int64_t, V g) { return g; });
        });
    }
    if (job.stream) store_fence();
}

template <class T>
constexpr SoftmaxLoops<T> loops_of = {softmax<T, SoftmaxKind::cross_entropy>, softmax<T, SoftmaxKind::smoothed>,
                                      softmax<T, SoftmaxKind::focal>, dice_sums<T>, dice_gradient<T>};

}  // namespace
}  // namespace FASTDET_ISA

FASTDET_KERNELS(LossKernels, softmax_losses_kernels, {count_labels, read_labels, loops_of<float>, loops_of<double>})

}  // namespace fastdet
