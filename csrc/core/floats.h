// Floating-point numbers: limits, the smaller and the larger of two, whether one is finite. Compiled by g++ and nvcc.
#pragma once

#include <cmath>

#include "core/macros.h"

namespace fastdet {

// Limits of coordinates and areas within which the fast paths are finite and exact enough.
template <class T>
struct Limits;
template <>
struct Limits<float> {
    static constexpr float large = 0x1p60f;     // |coordinate| up to it: no area overflows
    static constexpr float tiny = 0x1p-100f;    // area from it on: an overlap that matters does not underflow
    static constexpr float rescale = 0x1p-66f;  // makes any finite box's area finite
};
template <>
struct Limits<double> {
    static constexpr double large = 0x1p500;
    static constexpr double tiny = 0x1p-900;
    static constexpr double rescale = 0x1p-514;
};

template <class T>
FASTDET_HD T lesser(T a, T b) {
    return b < a ? b : a;
}
template <class T>
FASTDET_HD T greater(T a, T b) {
    return b > a ? b : a;
}
template <class T>
FASTDET_HD bool is_finite(T x) {
    return x - x == T(0);
}

}  // namespace fastdet
