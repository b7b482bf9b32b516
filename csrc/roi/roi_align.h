// RoIAlign, forward and its transpose.
#pragma once

#include <cstdint>

#include "core/half.h"
#include "core/isa.h"

namespace fastdet {

struct RoiAlignJob {
    const void* from;    // forward: (images, channels, height, width); backward: (count, channels, bins_y, bins_x)
    void* to;            // the other
    bool channels_last;  // both have the channels last
    int64_t images, channels, height, width;
    int64_t count, bins_y, bins_x;
    const void* boxes;      // (count, 5) image, x1, y1, x2, y2 of the type that values are computed in
    const int64_t* levels;  // (count,) or null: boxes of other levels than `level` are left out
    int64_t level;
    double scale;
    int64_t ratio;  // samples of a bin along an axis; 0: its size decides
    bool aligned;
};

// The pixels that the bins of a RoI look at along one axis: those of bin b, ascending, at [first[b], first[b + 1]).
// Backward also turned round: the bins that look at a pixel.
template <class T>
struct TapList {
    const int64_t* first;
    const int32_t* place;
    const T* weight;
};

// Bins [top, bottom) x bins_x of a RoI, from a map whose channels are neighbours.
template <class T>
struct AlignBins {
    const T* map;
    int64_t row, pixel;  // from one row, and from one pixel to the next, in values
    int64_t channels;
    TapList<T> y, x;
    int64_t top, bottom, bins_x;
    T count;
    T* out;  // (bottom - top, bins_x, channels), `out_pixel` values from one bin to the next
    int64_t out_pixel;
};

// The gradient of a RoI's bins, added to that of the map.
template <class T>
struct SpreadBins {
    T* grad;  // (bins_y, bins_x, channels), without gaps; it is divided by `count` here
    T count;
    int64_t channels, bins_y, bins_x;
    TapList<T> y, x;                // of each pixel that is looked at: bins
    const int32_t *rows, *columns;  // (n_rows,), (n_columns,): these pixels
    int64_t n_rows, n_columns;
    T* wide;  // scratch: (bins_y, n_columns, channels)
    T* sums;  // the gradient of the map; `row` and `pixel` as above
    int64_t row, pixel;
};

// The loops, compiled once per instruction set; see core/isa.h.
template <class T>
struct RoiAlignLoops {
    void (*align)(const AlignBins<T>&);
    void (*spread)(const SpreadBins<T>&);
};
struct RoiAlignKernels {
    ByFloat<RoiAlignLoops> by;
};
const RoiAlignKernels& roi_align_kernels();

// How stored values are taken into pixels of neighbouring channels, and given back, once per instruction set.
template <class S>
struct PixelLoops {
    using T = Compute<S>;
    // to[i * to_row + c] = from[c * plane + i]: n values of each of `channels` planes
    void (*take_planes)(const S* from, int64_t plane, int64_t channels, int64_t n, T* to, int64_t to_row);
    // to[c * plane + i] = from[i * from_row + c]
    void (*give_planes)(const T* from, int64_t from_row, int64_t channels, int64_t n, S* to, int64_t plane);
    // n rows of `channels` values
    void (*take_rows)(const S* from, int64_t from_row, int64_t channels, int64_t n, T* to, int64_t to_row);
    void (*give_rows)(const T* from, int64_t from_row, int64_t channels, int64_t n, S* to, int64_t to_row);
};
struct PixelKernels {
    PixelLoops<float> f32;
    PixelLoops<double> f64;
    PixelLoops<Half> f16;
    PixelLoops<BFloat16> bf16;

    template <class S>
    const PixelLoops<S>& of() const {
        if constexpr (std::is_same_v<S, float>) return f32;
        if constexpr (std::is_same_v<S, double>) return f64;
        if constexpr (std::is_same_v<S, Half>) return f16;
        if constexpr (std::is_same_v<S, BFloat16>) return bf16;
    }
};
const PixelKernels& pixel_kernels();

// Whole calls. -1, or the first row of `boxes` that is refused; then the result is not complete. Throw std::bad_alloc.
template <class S>
int64_t roi_align(const RoiAlignJob& job);
template <class S>
int64_t roi_align_backward(const RoiAlignJob& job);

}  // namespace fastdet
