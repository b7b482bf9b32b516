// RoI max-pooling, forward and backward; and the pooling in which each bin has channels of its own.
#pragma once

#include "roi/roi_align.h"

namespace fastdet {

// Bins [top, bottom) x bins_x of a RoI, from a map whose channels are neighbours.
template <class T>
struct PoolBins {
    const T* map;
    int64_t row, pixel;  // from one row, and from one pixel to the next, in values
    int64_t channels;
    const int64_t *y, *x;  // begin and end of each bin, in pixels of `map`
    int64_t top, bottom, bins_x;
    int64_t first, width;  // the place of the first pixel of `map`, and how far rows are apart, in the whole map
    T* out;                // (bottom - top, bins_x, channels)
    int64_t* places;       // the same; may be null
};

// The loops, compiled once per instruction set; see core/isa.h.
template <class T>
struct RoiPoolLoops {
    void (*pool)(const PoolBins<T>&);
};
struct RoiPoolKernels {
    ByFloat<RoiPoolLoops> by;
};
const RoiPoolKernels& roi_pool_kernels();

// Whole calls, of a job without levels, ratio and `aligned`. -1, or the first row of `boxes` that is refused; then the
// result is not complete. Throw std::bad_alloc. places: (count, channels, bins_y, bins_x) as the result lies in memory,
// y * width + x of each maximum, -1 for an empty bin; may be null.
template <class S>
int64_t roi_pool(const RoiAlignJob& job, int64_t* places);
// Twice the row of a box that is refused, or twice the position of a place outside of the map, and one.
template <class S>
int64_t roi_pool_backward(const RoiAlignJob& job, const int64_t* places);

// `channels` are the map's; the pooled features have channels / (bins_y * bins_x).
template <class S>
int64_t ps_roi_align(const RoiAlignJob& job);
template <class S>
int64_t ps_roi_align_backward(const RoiAlignJob& job);
template <class S>
int64_t ps_roi_pool(const RoiAlignJob& job);
template <class S>
int64_t ps_roi_pool_backward(const RoiAlignJob& job);

}  // namespace fastdet
