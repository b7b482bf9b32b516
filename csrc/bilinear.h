// Where a pixel of a resampled image takes its values from: torch's rule. upsample.py's `taps` is its twin.
#pragma once

#include <cstdint>

#include "box.h"

namespace fastdet {

// Along one axis, an output is w0 * x[i0] + w1 * x[i1].
template <class T>
struct Tap {
    int64_t i0, i1;
    T w0, w1;
};

// Steps of the input per step of the output. scale_factor <= 0: from the sizes.
template <class T>
FASTDET_HD T tap_step(int64_t in, int64_t out, bool align_corners, double scale_factor) {
    if (align_corners) return out > 1 ? T(in - 1) / T(out - 1) : T(0);
    return scale_factor > 0 ? T(1.0 / scale_factor) : T(in) / T(out);
}

template <class T>
FASTDET_HD Tap<T> tap(int64_t dst, int64_t in, int64_t out, bool align_corners, T step) {
    if (in == out) return {dst, dst, T(1), T(0)};
    T at = align_corners ? step * T(dst) : step * (T(dst) + T(0.5)) - T(0.5);
    at = at > 0 ? at : T(0);
    int64_t i0 = int64_t(at);
    i0 = i0 < in - 1 ? i0 : in - 1;
    T w1 = at - T(i0);
    w1 = w1 < 1 ? w1 : T(1);
    return {i0, i0 < in - 1 ? i0 + 1 : i0, T(1) - w1, w1};
}

}  // namespace fastdet
