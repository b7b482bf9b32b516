// Confusion matrices of label maps, and of class scores: the class with the highest score is the prediction.
#pragma once

#include <cstdint>

#include "core/half.h"
#include "core/isa.h"

namespace fastdet {

// A map of integer labels, seen as unsigned numbers of its width. A label equal to `ignore` counts as `void_code`; any
// other must be at most `max_label`. Without labels to ignore, both are 0: the label 0 counts as itself.
struct LabelMap {
    const void* labels;
    int bytes;  // of a label: 1, 2, 4 or 8
    uint64_t max_label, ignore;
    uint16_t void_code;
};

// Whether a label, of the map's width or wider, is neither a class nor ignored: 0 or 1. And the class of one that is
// not.
template <class L>
FASTDET_HD L is_invalid(L label, L max_label, L ignore) {
    return L(label > max_label) & L(label != ignore);
}
template <class L>
FASTDET_HD L class_of(L label, L ignore, L void_code) {
    return label == ignore ? void_code : label;
}

// Whether a class of that score replaces an earlier class as the prediction. Equal scores: the earlier class stays.
template <class T>
FASTDET_HD bool is_better(T score, T best) {
    return !(best >= score);
}

// (side, side) counts, `copies` times over, each `copy_stride` cells from the one before: their sum counts.
struct Counts {
    int64_t* cells;
    int64_t side;
    int copies;  // 1 or 4
    int64_t copy_stride;
};

// Class scores, and the map they are looked at on: (height, width), to which each plane is resampled where it is not
// of that size.
template <class S>
struct Scores {
    const S* data;  // (N, C, in_height, in_width), or (N, in_height, in_width, C)
    bool channels_last;
    int64_t classes, in_height, in_width, height, width;
    bool align_corners;
    void* taps;    // resampling: scratch that `prepare` fills, then read only
    int64_t tile;  // resampling: columns at a time, a multiple of 64
};

template <class S>
struct ArgmaxKernels {
    int64_t (*taps_bytes)(const Scores<S>&);
    void (*prepare)(const Scores<S>&);
    // The prediction of pixels [first, last) of an image as it is. False: there is a NaN.
    bool (*plain)(const Scores<S>&, int64_t image, int64_t first, int64_t last, void* scratch, uint16_t* prediction);
    // The prediction of rows [first, last) of an image that is resampled.
    void (*resampled)(const Scores<S>&, int64_t image, int64_t first, int64_t last, void* scratch,
                      uint16_t* prediction);
    bool (*finite)(const S*, int64_t n);
};

// Bytes of scratch of a call of `plain` or `resampled`.
template <class S>
static inline int64_t argmax_scratch(const Scores<S>& scores) {
    const int64_t columns = scores.tile > 64 ? scores.tile : 64;
    return (2 * scores.classes * columns + scores.in_width + 64) * int64_t(sizeof(widen(S())));
}

// The loops, compiled once per instruction set; see core/isa.h.
struct ConfusionKernels {
    // Counts pixels [first, last); false where a label is out of range.
    bool (*count)(const LabelMap& target, const LabelMap& prediction, int64_t first, int64_t last, const Counts&);
    ArgmaxKernels<float> f;
    ArgmaxKernels<double> d;
    ArgmaxKernels<Half> h;
    ArgmaxKernels<BFloat16> b;
};
const ConfusionKernels& confusion_matrix_kernels();

// Both count n pixels into out, (side, side) zeros at first. -1, or twice the flat index of the first value that is
// out of range, in the target if there is one there, plus 1 if it is in the other array; `out` then holds anything.
// From logits, the prediction is a map of two bytes a label that has no labels yet.
int64_t confusion_matrix(const LabelMap& target, const LabelMap& prediction, int64_t n, int64_t side, int64_t* out);
template <class S>
int64_t confusion_matrix_from_logits(const LabelMap& target, LabelMap prediction, Scores<S> scores, int64_t images,
                                     int64_t side, int64_t* out);

}  // namespace fastdet
