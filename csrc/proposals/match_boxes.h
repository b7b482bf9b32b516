// The matcher: the true box of each candidate.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace fastdet {

constexpr int64_t kBelowLow = -1, kBetween = -2;

// Columns [first, last) of iou (rows, columns), rows above 0: the highest of each column and the first row that has it,
// and the highest of these columns in each row. False: there is a NaN.
template <class T>
struct MatchLoops {
    bool (*best)(const T* iou, int64_t rows, int64_t columns, int64_t first, int64_t last, T* most, int32_t* best,
                 T* in_row);
};
using MatchKernels = ByFloat<MatchLoops>;
const MatchKernels& match_boxes_kernels();

// matches (columns,). Returns -1, or the flat index of a NaN. Throws std::bad_alloc.
template <class T>
int64_t match_boxes(const T* iou, int64_t rows, int64_t columns, double high, double low, bool allow_low_quality,
                    int64_t* matches);

}  // namespace fastdet
