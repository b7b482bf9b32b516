// Cross-entropy of the pixels with the highest losses: the losses of all pixels, the choice, and the gradient of those
// that were chosen, with the loops of softmax_losses_loops.cpp.
//
// The choice takes no sort: the lowest loss that is kept is found in linear time, and pixels that are equal to it are
// taken in their order. Floor: logits read twice, gradient written once.
#include <algorithm>
#include <cmath>
#include <functional>

#include "core/memory.h"
#include "core/sums.h"
#include "losses/softmax_losses.h"

namespace fastdet {
namespace {

// NaN counts among the highest.
template <class T>
T score_of(T loss) {
    return loss == loss ? loss : T(INFINITY);
}

// kept[i]: the class of a pixel that is kept, -1 for others. weight (classes + 1,), the last 0. Returns how many.
template <class T>
int64_t choose(const T* loss, const int32_t* label, const T* weight, int64_t n, const OhemOptions& options,
               int32_t* kept) {
    Buffer<T> scores(n);
    int64_t counted = 0;
    for (int64_t i = 0; i < n; ++i) {
        scores[counted] = score_of(loss[i]);
        counted += weight[label[i]] > 0;
    }
    const int64_t least = options.least(counted);
    T lowest = T(INFINITY);
    int64_t ties = 0;
    if (least > 0) {
        std::nth_element(scores.get(), scores.get() + (least - 1), scores.get() + counted, std::greater<T>());
        lowest = scores[least - 1];
        ties = least;
        for (int64_t k = 0; k < least; ++k) ties -= scores[k] > lowest;
    }
    const T threshold = T(options.threshold);
    int64_t number = 0;
    for (int64_t i = 0; i < n; ++i) {
        const T score = score_of(loss[i]);
        bool keep = score > lowest || score > threshold;
        if (score == lowest && ties > 0 && weight[label[i]] > 0) {
            keep = true;
            --ties;
        }
        keep = keep && weight[label[i]] > 0;
        kept[i] = keep ? label[i] : -1;
        number += keep;
    }
    return number;
}

template <class T>
double sum_of_kept(const T* loss, const int32_t* kept, int64_t n) {
    const int64_t blocks = (n + kSumBlock - 1) / kSumBlock;
    Buffer<double> sums(blocks);
    for (int64_t k = 0; k < blocks; ++k) {
        T block[kSumBlock];
        for (int64_t i = 0; i < kSumBlock; ++i) {
            const int64_t at = k * kSumBlock + i;
            block[i] = at < n && kept[at] >= 0 ? loss[at] : T(0);
        }
        sums[k] = block_sum(block);
    }
    return sum_of_sums(sums.get(), blocks);
}

}  // namespace

template <class T>
LossResult ohem_cross_entropy(SoftmaxJob<T>& job, const T* weight, const OhemOptions& options) {
    const int64_t n = job.images * job.pixels, C = job.classes;
    Buffer<T> loss(n), weights(C + 1);
    void* const grad = job.grad;
    job.grad = nullptr;
    job.each = loss.get();
    const LossResult first = softmax_loss(job, weight, {false, 0, 0, Reduction::none});
    if (first.bad_label >= 0) return first;
    for (int64_t c = 0; c < C; ++c) weights[c] = weight[c];
    weights[C] = 0;
    Buffer<int32_t> label(n), kept(n);
    softmax_losses_kernels().read_labels(job.labels, 0, n, int32_t(C), label.get());
    const int64_t number = choose(loss.get(), label.get(), weights.get(), n, options, kept.get());
    const double total = sum_of_kept(loss.get(), kept.get(), n);
    if (grad) {
        const T share = T(number ? 1 / double(number) : 0);
        for (int64_t c = 0; c < C; ++c) weights[c] = weight[c] * share;
        job.grad = grad;
        job.each = nullptr;
        job.labels = Labels{kept.get(), 4, true, true, -1, C};
        softmax_loss(job, weights.get(), {false, 0, 0, Reduction::sum});
    }
    return {number ? total / double(number) : 0, double(number), -1};
}

template LossResult ohem_cross_entropy(SoftmaxJob<float>&, const float*, const OhemOptions&);
template LossResult ohem_cross_entropy(SoftmaxJob<double>&, const double*, const OhemOptions&);

}  // namespace fastdet
