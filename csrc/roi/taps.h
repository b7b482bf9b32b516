// The geometry of RoIs that are sampled: which pixels a bin is computed from, by torchvision's rule. The reference has
// the same in fastdet/roi/taps.py. Compiled by g++ and nvcc.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/floats.h"
#include "core/macros.h"

namespace fastdet {

constexpr int64_t kMaxAdaptive = 65536;  // samples of a bin along one axis, where the size of the RoI decides

// A RoI along one axis: bins of `grid` samples each.
template <class T>
struct RoiAxis {
    T start, bin;
    int64_t grid;

    // Where sample i of bin b is, in pixels.
    FASTDET_MEMBER T at(int64_t b, int64_t i) const {
        const T inside = (T(i) + T(0.5)) * bin / T(grid);
        return (start + T(b) * bin) + inside;
    }
    // Then no sample is NaN, and they lie in order: upwards, or downwards where `bin` is negative.
    FASTDET_MEMBER bool finite() const { return is_finite(start) && is_finite(bin); }
};

// The two pixels around a sample, and their weights.
template <class T>
struct Sample {
    int64_t low, high;
    T first, second;
};

// False: the sample is outside of the map.
template <class T>
FASTDET_HD bool sample_at(T at, int64_t size, Sample<T>* to) {
    if (!(at >= T(-1) && at <= T(size))) return false;
    at = at > 0 ? at : T(0);
    to->low = int64_t(at);
    if (to->low >= size - 1) {
        to->low = to->high = size - 1;
        at = T(to->low);
    } else {
        to->high = to->low + 1;
    }
    to->second = at - T(to->low);
    to->first = T(1) - to->second;
    return true;
}

template <class T>
struct RoiAxes {
    RoiAxis<T> y, x;
    T count;  // of samples of a bin, at least 1
};

template <class T>
FASTDET_HD RoiAxis<T> roi_axis(T low, T high, int64_t ratio, bool smallest, int64_t bins) {
    T length = high - low;
    if (smallest && !(length >= 1)) length = 1;
    RoiAxis<T> axis = {low, length / T(bins), ratio};
    if (ratio <= 0) {
        const T most = T(kMaxAdaptive), grid = std::ceil(axis.bin);
        axis.grid = axis.bin > 0 ? int64_t(grid < most ? grid : most) : 0;
    }
    return axis;
}

// box: image, x1, y1, x2, y2. `smallest`: a RoI is at least 1 x 1.
template <class T>
FASTDET_HD RoiAxes<T> roi_axes(const T* box, T scale, int64_t ratio, bool aligned, bool smallest, int64_t bins_y,
                               int64_t bins_x) {
    const T offset = aligned ? T(0.5) : T(0);
    RoiAxes<T> axes;
    axes.y = roi_axis(box[2] * scale - offset, box[4] * scale - offset, ratio, smallest, bins_y);
    axes.x = roi_axis(box[1] * scale - offset, box[3] * scale - offset, ratio, smallest, bins_x);
    const T count = T(axes.y.grid) * T(axes.x.grid);
    axes.count = count > 1 ? count : T(1);
    return axes;
}

// Whether its image is a whole number in [0, images) and its coordinates are finite.
template <class T>
FASTDET_HD bool is_good_box(const T* box, int64_t images) {
    constexpr T kLarge = T(0x1p60);  // beyond any number of images
    return box[0] >= 0 && box[0] < kLarge && int64_t(box[0]) < images && box[0] == T(int64_t(box[0])) &&
           is_finite(box[1]) && is_finite(box[2]) && is_finite(box[3]) && is_finite(box[4]);
}

// Pixels [begin, end) along one axis.
struct Range {
    int64_t begin, end;
    FASTDET_MEMBER int64_t size() const { return end > begin ? end - begin : 0; }
    FASTDET_MEMBER void add(Range other) {
        if (!other.size()) return;
        if (!size()) {
            *this = other;
        } else {
            begin = lesser(begin, other.begin), end = greater(end, other.end);
        }
    }
};

// Pixels among which are all that a RoI looks at along one axis.
template <class T>
FASTDET_HD Range reach_of(const RoiAxis<T>& axis, int64_t bins, int64_t size) {
    if (!axis.finite() || !axis.grid) return {0, 0};
    const double a = double(axis.start), b = a + double(axis.bin) * double(bins), large = 1 << 20;
    if (!(a > -large && a < large && b > -large && b < large)) return {0, size};  // rounding may move it by a pixel
    const double low = std::floor(lesser(a, b)) - 2, high = std::ceil(greater(a, b)) + 3;
    if (high < -1 || low > double(size)) return {0, 0};
    const int64_t begin = low > 0 ? int64_t(low) : 0;
    const Range found = {lesser(begin, size - 1), high < double(size) ? int64_t(high) : size};
    return {found.begin, greater(found.end, found.begin + 1)};
}

// Bounds between levels, as a kernel takes them.
struct RoiBounds {
    static constexpr int kMax = 15;
    int count;
    double area[kMax];
};

// How many of the ascending bounds the area of a box reaches.
template <class T>
FASTDET_HD int64_t roi_level(const T* box, const double* bounds, int count) {
    const T area = (box[3] - box[1]) * (box[4] - box[2]);
    int64_t level = 0;
    for (int i = 0; i < count; ++i) level += area >= T(bounds[i]);
    return level;
}

}  // namespace fastdet
