// Lovasz losses: what the C++ and the CUDA backend share.
#pragma once

#include <cstdint>

#include "losses/softmax_losses.h"

namespace fastdet {

struct LovaszOptions {
    bool present;  // the mean is over the classes that the target has, not over all
    bool per_image;
};

// The Jaccard distance of a class with `total` pixels once `rank` pixels are taken for it wrongly or not, `found` of
// them its own.
FASTDET_HD double jaccard_distance(int64_t total, int64_t found, int64_t rank) {
    return 1 - double(total - found) / double(total + (rank - found));
}

// The hinge error of a pixel, and the gradient from its step.
template <class T>
FASTDET_HD T hinge_error(T x, bool own) {
    const T margin = T(1) - x * (own ? T(1) : T(-1));
    return margin <= 0 ? T(0) : margin;
}
template <class T>
FASTDET_HD T hinge_gradient(T error, bool own, double step, double scale) {
    if (error <= 0) return 0;
    return error == error ? T((own ? -step : step) * scale) : error;
}
template <class T>
FASTDET_HD T lovasz_slope(bool own, double step, double scale) {
    return T((own ? -step : step) * scale);
}

// Labels of the job are the caller's. The divisor is the number of pixels that count.
template <class T>
LossResult lovasz_softmax_loss(SoftmaxJob<T>& job, const LovaszOptions& options);

// x (images, pixels) widened by the caller; grad of the same shape, or null. `images` is the number of groups.
template <class T>
LossResult lovasz_hinge_loss(const T* x, const Labels& labels, int64_t images, int64_t pixels, T* grad);

}  // namespace fastdet
