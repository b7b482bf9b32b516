// What box fusion refuses, found by the kernels that read the boxes first.
#pragma once

#include "boxes/load_box.h"
#include "fusion/cuda.h"

namespace fastdet {

template <class T>
__device__ inline bool is_infinite(T x) {
    return x == x && !is_finite(x);
}

template <class T, class S>
__device__ inline void note_faults(const Box<T>& b, S score, int64_t row, FusionStatus* status) {
    if (is_nan(b)) note_first(&status->nan_box, row);
    if (score != score) note_first(&status->nan_score, row);
    if (is_infinite(b.x1) || is_infinite(b.y1) || is_infinite(b.x2) || is_infinite(b.y2))
        note_first(&status->infinite_box, row);
    if (is_infinite(score)) note_first(&status->infinite_score, row);
}

}  // namespace fastdet
