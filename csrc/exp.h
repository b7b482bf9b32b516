// exp(x) for x <= 0 by the same operations as nms.py's exp_negative: exp is no IEEE operation, libraries differ
// in the last bit, and one bit reorders near ties of Soft-NMS.
#pragma once

#include <cstdint>
#include <cstring>

#include "box.h"

namespace fastdet {

static constexpr double kInverseFactorial[] = {1.0,
                                               1.0,
                                               1.0 / 2,
                                               1.0 / 2 / 3,
                                               1.0 / 2 / 3 / 4,
                                               1.0 / 2 / 3 / 4 / 5,
                                               1.0 / 2 / 3 / 4 / 5 / 6,
                                               1.0 / 2 / 3 / 4 / 5 / 6 / 7,
                                               1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8,
                                               1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9,
                                               1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9 / 10,
                                               1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9 / 10 / 11,
                                               1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9 / 10 / 11 / 12,
                                               1.0 / 2 / 3 / 4 / 5 / 6 / 7 / 8 / 9 / 10 / 11 / 12 / 13};

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
    static constexpr int degree = 7;
    static constexpr float low = -87, magic = 0x1.8p23f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
};
template <>
struct ExpConstants<double> {
    static constexpr int degree = 13;
    static constexpr double low = -708, magic = 0x1.8p52, ln2_high = 0.6931471803691238,
                            ln2_low = 1.9082149292705877e-10;
};

// The rest of the series by Horner's rule, from the K-th term on; the terms are constants of the code, which nvcc
// cannot take from an array at run time.
template <int K, class T>
FASTDET_HD T series(T r, T p) {
    constexpr T term = T(kInverseFactorial[K]);
    if constexpr (K > 0) {
        return series<K - 1>(r, p * r + term);
    } else {
        return p * r + term;
    }
}

template <class T>
FASTDET_HD T exp_negative(T x) {
    using C = ExpConstants<T>;
    x = greater(x, C::low);
    const T shifted = x * T(1.4426950408889634) + C::magic;
    const T n = shifted - C::magic;
    const T r = (x - n * C::ln2_high) - n * C::ln2_low;
    constexpr T first = T(kInverseFactorial[C::degree]);
    return T(std::ldexp(series<C::degree - 1>(r, first), int(n)));
}

}  // namespace fastdet
