// The geometry of RoIs that are pooled over whole pixels, by torchvision's rules. The reference has the same in
// fastdet/roi/bins.py. Compiled by g++ and nvcc.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/macros.h"

namespace fastdet {

// To the nearest integer, halves away from zero, cut to +-2^30. Not of NaN.
template <class T>
FASTDET_HD int64_t rounded_pixel(T x) {
    constexpr T kMax = T(0x1p30);
    const T whole = std::round(x);
    return int64_t(whole > kMax ? kMax : whole < -kMax ? -kMax : whole);
}

// A RoI along one axis, of a map of which the pixels [0, limit) can be pooled.
template <class T>
struct PixelAxis {
    int64_t start;
    T bin;
    int64_t limit;

    FASTDET_MEMBER int64_t cut(int64_t x) const { return x < 0 ? 0 : x > limit ? limit : x; }
    FASTDET_MEMBER int64_t begin(int64_t b) const { return cut(int64_t(std::floor(T(b) * bin)) + start); }
    FASTDET_MEMBER int64_t end(int64_t b) const { return cut(int64_t(std::ceil(T(b + 1) * bin)) + start); }
};

template <class T>
struct PixelAxes {
    PixelAxis<T> y, x;
};

template <class T>
FASTDET_HD PixelAxis<T> pixel_axis(T low, T high, bool inclusive, int64_t bins, int64_t size) {
    const int64_t start = rounded_pixel(low), length = rounded_pixel(high) - start + (inclusive ? 1 : 0);
    return {start, T(length > 1 ? length : 1) / T(bins), inclusive ? size : size - 1};
}

// box: image, x1, y1, x2, y2. `inclusive`: the last pixel belongs to the RoI; else neither it nor the map's last row
// and column.
template <class T>
FASTDET_HD PixelAxes<T> pixel_axes(const T* box, T scale, bool inclusive, int64_t bins_y, int64_t bins_x,
                                   int64_t height, int64_t width) {
    return {pixel_axis(box[2] * scale, box[4] * scale, inclusive, bins_y, height),
            pixel_axis(box[1] * scale, box[3] * scale, inclusive, bins_x, width)};
}

}  // namespace fastdet
