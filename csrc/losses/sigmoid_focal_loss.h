// The sigmoid focal loss and its gradient. The formula is compiled by g++ and nvcc, for scalars and vectors.
#pragma once

#include <cstdint>

#include "core/elementary.h"
#include "core/isa.h"

namespace fastdet {

enum class FocalPower { zero, one, two, any };  // gamma

FASTDET_HD FocalPower focal_power(double gamma) {
    return gamma == 2   ? FocalPower::two
           : gamma == 1 ? FocalPower::one
           : gamma == 0 ? FocalPower::zero
                        : FocalPower::any;
}

namespace lanes {

template <class V>
struct SigmoidFocalTerms {
    V alpha, beta, gamma, scale;
};

// log(1 + e) = 2 atanh(z) = 2 z + z^3 (these by powers of z^2), z = e / (2 + e) in [0, 1/3]: within half an ulp.
template <class T>
struct SigmoidSeries;
template <>
struct SigmoidSeries<float> {
    static constexpr int terms = 4;
    static constexpr float series[] = {0.6666663885116577f, 0.40007561445236206f, 0.28236618638038635f,
                                       0.2685149908065796f};
};
template <>
struct SigmoidSeries<double> {
    static constexpr int terms = 10;
    static constexpr double series[] = {
        0.6666666666666666, 0.40000000000014585, 0.2857142856710876,  0.22222222717427864, 0.18181789436132856,
        0.153855700649586,  0.1331414420965543,  0.12001072809587722, 0.08800738486148968, 0.16164045611951677};
};

// The reference, line by line.
template <FocalPower P, bool Grad, class V>
FASTDET_HD V sigmoid_focal(const SigmoidFocalTerms<V>& terms, V x, V t, V* grad) {
    using T = ScalarOf<V>;
    const V zero = all<V>(0), one = all<V>(1);
    const V size = where_ge(x, zero, x, zero - x);
    const V wrong = where_ge(x, zero, one - t, t);  // the target of the unlikelier side
    const V e = exp_or_zero(zero - size), s = one + e, s2 = (one + one) + e;
    const V both = one / (s * s2);
    const V likely = s2 * both, unlikely = e * likely, z = (e * s) * both, u = z * z;
    const V p = polynomial<SigmoidSeries<T>, SigmoidSeries<T>::terms>(u);
    const V log1p = (z + z) + z * (u * p);
    const V ce = log1p + where_ge(zero, wrong, zero, wrong * size);  // not 0 * inf
    const V q = likely * wrong + unlikely * (one - wrong);           // 1 - p_t
    V power = one, by_q;                                             // q^gamma and its derivative
    if constexpr (P == FocalPower::zero) {
        by_q = zero;
    } else if constexpr (P == FocalPower::one) {
        power = q, by_q = one;
    } else if constexpr (P == FocalPower::two) {
        power = q * q, by_q = q + q;
    } else {
        power = exp_or_zero(terms.gamma * log_positive(q)), by_q = terms.gamma * (power / q);
    }
    const V weight = terms.alpha * t + terms.beta * (one - t);
    if constexpr (Grad) {
        const V turn = ((wrong + wrong) - one) * (likely * unlikely);
        const V slope = power * (wrong - unlikely) + where_positive(unlikely, ce * by_q * turn, zero);
        const V g = (weight * slope) * terms.scale;
        *grad = where_ge(x, zero, g, zero - g);
    }
    return weight * (ce * power);
}

}  // namespace lanes

enum class FloatType : int { half = 0, bfloat16 = 1, single = 2, twice = 3 };

struct SigmoidFocalJob {
    const void* inputs;   // (n,) of `type`
    const void* targets;  // (n,) of `type`, or of float where wide_targets
    FloatType type;
    bool wide_targets;
    double alpha, beta;  // weights of targets 1 and 0
    double gamma;
    double scale;  // of the gradient
    void* loss;    // (n,) of `type`; null where only the sum is wanted
    double* sums;  // one per kSumBlock values; null where the losses are wanted
    void* grad;    // (n,) of `type`; null without
};

// The loops, compiled once per instruction set; see core/isa.h. `first` is a multiple of kSumBlock.
struct SigmoidFocalKernels {
    void (*run)(const SigmoidFocalJob& job, int64_t first, int64_t last);
};
const SigmoidFocalKernels& sigmoid_focal_loss_kernels();

// The whole call; returns the sum of the losses where `sum`. Throws std::bad_alloc.
double sigmoid_focal_loss(SigmoidFocalJob job, int64_t n, bool sum);

}  // namespace fastdet
