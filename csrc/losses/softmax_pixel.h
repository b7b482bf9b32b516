// Loss and gradient of a pixel, from the sum of its exponentials. The C++ and the CUDA backend compute them here.
// Compiled by g++ and nvcc, for scalars and for vectors; the reference has the same operations in the same order.
#pragma once

#include "core/elementary.h"
#include "losses/softmax_losses.h"

namespace fastdet {
namespace lanes {

// x^(whole + fraction) for x in [0, 1].
template <class V>
FASTDET_HD V power(V x, int64_t whole, ScalarOf<V> fraction) {
    V result = all<V>(1), square = x;
    for (int64_t left = whole; left; left >>= 1) {
        if (left & 1) result = result * square;
        square = square * square;
    }
    return fraction > 0 ? result * exp_or_zero(all<V>(fraction) * log_positive(x)) : result;
}

template <class V>
struct PixelLoss {
    V loss;
    V factor;  // times the exponential of a class: its gradient
    V own;     // replaces the target's exponential
};

// w: its weight; rest: the sum of the other classes' exponentials; z: the target's logit, less the maximum. smoothed:
// `here` is 1, or 0 where the pixel is ignored; weighted: the sum over the classes of weight times such z.
template <SoftmaxKind K, class V>
FASTDET_HD PixelLoss<V> pixel_loss(const LossTerms<ScalarOf<V>>& terms, V w, V rest, V z, V here, V weighted) {
    const V zero = all<V>(0), one = all<V>(1), scale = all<V>(terms.scale);
    const V e = exp_or_zero(z), total = rest + e, log_total = log_positive(total);
    const V nll = log_total + where_ge(z, zero, (rest - (total - one)) / total, zero - z);
    if constexpr (K == SoftmaxKind::smoothed) {
        const V smooth = all<V>(terms.smooth), weight_sum = all<V>(terms.weight_sum);
        const V mine = all<V>(terms.keep) * w, others = smooth * weight_sum, both = mine + others;
        const V loss = mine * nll + smooth * (weight_sum * log_total - weighted);
        return {where_positive(here, loss, zero), where_positive(here, (both * scale) / total, zero),
                where_positive(both, (others * e - mine * rest) / both, zero)};
    } else {
        V loss = w * nll, factor = w * scale;
        if constexpr (K == SoftmaxKind::focal) {
            const V p = e / total, q = rest / total, modulation = power(q, terms.whole, terms.fraction);
            const V ratio = where_positive(q, where_positive(p, p * nll, zero) / q, one);
            loss = modulation * loss;
            factor = (modulation * factor) * (one + all<V>(terms.gamma) * ratio);
        }
        return {where_positive(w, loss, zero), where_positive(w, factor / total, zero), zero - rest};
    }
}

// Of Dice. The gradient of class c is p_c (slope_c - mean), and `more` for the target. w: 1, or 0 where the pixel is
// ignored; total: the sum of all exponentials, sloped: that of exponential times slope; e: the target's.
template <class V>
struct DicePixel {
    V inverse;  // times an exponential: its probability
    V mean, more;
};
template <class V>
FASTDET_HD DicePixel<V> dice_pixel(V w, V total, V sloped, V e, V bonus) {
    const V inverse = w / total, extra = e * bonus;
    return {inverse, where_positive(w, (sloped + extra) * inverse, all<V>(0)), extra * inverse};
}

}  // namespace lanes
}  // namespace fastdet
