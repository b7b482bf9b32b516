// YOLO's outputs (v5 and later) and the score of a class: for the loops and the call of yolo_candidates.
#pragma once

#include <cstdint>

#include "boxes/box.h"
#include "core/isa.h"

namespace fastdet {

// The outputs of a batch: each image's (candidates, channels), or (channels, candidates) where `planes`. Channels are
// cx, cy, w, h, Pr(object) if `objectness`, one for each class, and others that are not read.
template <class T>
struct YoloJob {
    const T* x;
    int64_t images, candidates, channels, classes;
    bool planes, objectness;
    T threshold;
};

// The number of channels before the classes' scores.
template <class T>
FASTDET_HD int64_t first_class(const YoloJob<T>& job) {
    return job.objectness ? 5 : 4;
}

// Whether a channel must not hold the value: a NaN, or a score (of a class, or Pr(object)) outside [0, 1].
template <class T>
FASTDET_HD bool is_wrong(T value, int64_t channel) {
    return channel < 4 ? value != value : !(value >= T(0) && value <= T(1));
}

// One rounding, as in the reference.
template <class T>
FASTDET_HD T class_score(T value, T object, bool objectness) {
    return objectness ? object * value : value;
}

template <class T>
struct YoloLoops {
    // label (candidates,) of one image x, or -1; false where a value is wrong
    bool (*best)(const YoloJob<T>&, const T* x, int64_t first, int64_t last, int32_t* label);
};
using YoloKernels = ByFloat<YoloLoops>;
const YoloKernels& yolo_kernels();

}  // namespace fastdet
