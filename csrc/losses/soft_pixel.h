// Cross-entropy of a pixel against probabilities of classes. The C++ and the CUDA backend compute it here. Compiled by
// g++ and nvcc, for scalars and for vectors; soft_cross_entropy_reference has the same operations in the same order.
#pragma once

#include "core/elementary.h"
#include "losses/softmax_losses.h"
#include "losses/where_zero.h"

namespace fastdet {
namespace lanes {

// Weight times probability, with label smoothing.
template <class V>
FASTDET_HD V soft_target(const LossTerms<ScalarOf<V>>& terms, bool smoothed, ScalarOf<V> weight, V t) {
    if (smoothed) t = all<V>(terms.keep) * t + all<V>(terms.smooth);
    return all<V>(weight) * t;
}

// Sums over the classes of a pixel. Classes of the highest logit, whose exponential is 1, are counted apart: the rest
// gives 1 - p without cancellation.
template <class V>
struct SoftSums {
    V share, weighted, rest, ties;

    // a: weight times probability; z: the logit, less the maximum; e: its exponential
    FASTDET_MEMBER void add(V a, V z, V e) {
        const V zero = all<V>(0), one = all<V>(1);
        share = share + a;
        weighted = weighted + where_zero(a, zero, a * z);
        rest = rest + where_ge(e, one, zero, e);
        ties = ties + where_ge(e, one, one, zero);
    }
    FASTDET_MEMBER V total() const { return rest + ties; }
    FASTDET_MEMBER V loss() const {
        const V all_of_it = total(), log_total = log_positive(all_of_it) + (rest - (all_of_it - ties)) / all_of_it;
        return where_zero(share, all<V>(0), share * log_total - weighted);
    }
    // factor: the scale of the gradient, divided by the total
    FASTDET_MEMBER V gradient(V a, V e, V factor) const {
        const V one = all<V>(1), others = where_ge(e, one, rest + (ties - one), total() - e);
        return where_zero(share, all<V>(0), (e * (share - a) - a * others) * factor);
    }
};

}  // namespace lanes
}  // namespace fastdet
