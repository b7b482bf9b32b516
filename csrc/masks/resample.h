// Resampled masks as bits: a row of pixels between two rows of values, compared with a threshold.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace fastdet {

struct MaskLoops {
    // Bit k: top[k] + weight * (bottom[k] - top[k]) >= level, or > level. 64 values a word.
    void (*row_bits)(const float* top, const float* bottom, float weight, float level, bool strict, int64_t words,
                     uint64_t* bits);
    // to[k] = from[at[k]] + weight[k] * (from[at[k] + 1] - from[at[k]])
    void (*expand)(const float* from, const int32_t* at, const float* weight, int64_t n, float* to);
    // to[i] = weight[0] * planes[i] + weight[1] * planes[step + i] + ..., in this order
    void (*combine)(const float* planes, int64_t step, const float* weight, int64_t count, int64_t n, float* to);
};
const MaskLoops& mask_loops();

}  // namespace fastdet
