// Non-maximum suppression of rotated boxes, greedy and soft.
#pragma once

#include "rotated/rotated.h"

namespace fastdet {

struct RotatedNmsOptions {
    Angles angles;
    double threshold;
    const double* score_threshold;  // null: none; compared in the scores' type
    int64_t max_output;             // < 0: all
    RotatedMeasure kind;            // iou or ios
};

// boxes (n, 5). Kept indices by falling score into keep (n,); returns how many, or for a NaN -1 - (2 * row + which),
// which = 0 for boxes and 1 for scores. keys (n,) may be null. T, S: float or double. Throws std::bad_alloc.
template <class T, class S>
int64_t nms_rotated(const T* boxes, const S* scores, const int64_t* keys, int64_t n, const RotatedNmsOptions& options,
                    int64_t* keep);

struct RotatedSoftOptions {
    Angles angles;
    bool gaussian;
    double threshold, sigma, min_score;
    int64_t max_output;  // < 0: all
};

// Selected indices in order of selection and their scores, (n,) each; returns as nms_rotated does.
template <class T>
int64_t soft_nms_rotated(const T* boxes, const T* scores, const int64_t* keys, int64_t n,
                         const RotatedSoftOptions& options, int64_t* keep, T* new_scores);

}  // namespace fastdet
