// Non-maximum suppression: the decision, and the call that sorts, groups and runs the loops of nms.cpp.
#pragma once

#include <cstdint>

#include "boxes/box.h"

namespace fastdet {

// The one rule: strictly above the threshold, rounded and compared in T.
template <class T>
FASTDET_HD bool suppresses(const Box<T>& a, const Box<T>& b, T threshold, Measure kind) {
    return measure(a, b, kind, false, 0.0) > threshold;
}

struct NmsOptions {
    double threshold;
    const double* score_threshold;  // null: none; compared in the scores' type
    int64_t max_output;             // < 0: all
    int64_t max_per_key;            // < 0: all
    Measure kind;                   // iou or ios
};

// Kept indices by falling score into keep (n,); returns how many, or for a NaN -1 - (2 * row + which), which = 0
// for boxes and 1 for scores. keys (n,) may be null. T, S: float or double. Throws std::bad_alloc.
template <class T, class S>
int64_t nms(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const NmsOptions& options,
            int64_t* keep);

struct SoftOptions {
    bool gaussian;
    double threshold, sigma, min_score;
    int64_t max_output;  // < 0: all
};

// Selected indices in order of selection and their scores, (n,) each; returns as nms does.
template <class T>
int64_t soft_nms(const Box<T>* boxes, const T* scores, const int64_t* keys, int64_t n, const SoftOptions& options,
                 int64_t* keep, T* new_scores);

}  // namespace fastdet
