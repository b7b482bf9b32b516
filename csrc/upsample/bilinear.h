// Which input pixels an output pixel is computed from, by torch's rule. The reference has the same in `taps`.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace fastdet {

// Along one axis, an output is w0 * x[i0] + w1 * x[i1]. I: int on a GPU, where 64-bit integers are made of two.
template <class T, class I = int64_t>
struct Tap {
    I i0, i1;
    T w0, w1;
};

// Steps of the input per step of the output. scale_factor <= 0: from the sizes.
template <class T>
FASTDET_HD T tap_step(int64_t in, int64_t out, bool align_corners, double scale_factor) {
    if (align_corners) return out > 1 ? T(in - 1) / T(out - 1) : T(0);
    return scale_factor > 0 ? T(1.0 / scale_factor) : T(in) / T(out);
}

template <class T, class I>
FASTDET_HD Tap<T, I> tap(I dst, I in, I out, bool align_corners, T step) {
    if (in == out) return {dst, dst, T(1), T(0)};
    T at = align_corners ? step * T(dst) : step * (T(dst) + T(0.5)) - T(0.5);
    at = at > 0 ? at : T(0);
    I i0 = I(at);
    i0 = i0 < in - 1 ? i0 : in - 1;
    T w1 = at - T(i0);
    w1 = w1 < 1 ? w1 : T(1);
    return {i0, i0 < in - 1 ? i0 + 1 : i0, T(1) - w1, w1};
}

// Where outputs begin to have input `i0` or a later one as their first.
template <class T, class I>
FASTDET_HD I first_of(I i0, I in, I out, bool align_corners, T step) {
    I low = 0, high = out;
    while (low < high) {
        const I middle = low + (high - low) / 2;
        if (tap(middle, in, out, align_corners, step).i0 < i0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

}  // namespace fastdet
