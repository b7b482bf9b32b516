// exp(x) for x <= 0 by the same operations as nms.py's exp_negative: exp is no IEEE operation, libraries differ
// in the last bit, and one bit reorders near ties of Soft-NMS. Of floats, doubles and vectors; see lanes.h.
#pragma once

#include "core/lanes.h"

namespace fastdet {
namespace lanes {

struct InverseFactorials {
    static constexpr double series[] = {1.0,
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
};

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

// For x in [ExpConstants::low, 0] and NaN; of what is below, anything.
template <class V>
FASTDET_HD V exp_in_range(V x) {
    using T = ScalarOf<V>;
    using C = ExpConstants<T>;
    const V magic = all<V>(C::magic), shifted = x * all<V>(T(1.4426950408889634)) + magic, n = shifted - magic;
    const V r = minus_exact(x, n, all<V>(C::ln2_high)) - n * all<V>(C::ln2_low);  // high: n times it is exact
    return scale2(polynomial<InverseFactorials, C::degree + 1>(r), shifted);
}

// To 2 ulp; below ExpConstants::low as at it. NaN stays.
template <class V>
FASTDET_HD V exp_negative(V x) {
    return exp_in_range(max(all<V>(ExpConstants<ScalarOf<V>>::low), x));
}

}  // namespace lanes
}  // namespace fastdet
