// YOLO's outputs (v5 and later) and the score of a class: for the loops and the call of yolo_candidates.
#pragma once

#include <cstdint>

#include "boxes/box.h"
#include "core/isa.h"

namespace fastdet {

// The outputs of a batch: each image's (candidates, channels), or (channels, candidates) where `planes`. Channels are
// cx, cy, w, h, Pr(object) if `objectness`, and one for each class.
template <class T>
struct YoloJob {
    const T* x;
    int64_t images, candidates, channels;
    bool planes, objectness;
    T threshold;
};

// One rounding, as in the reference. 0 * inf is NaN, which is above no threshold.
template <class T>
FASTDET_HD T class_score(T value, T object, bool objectness) {
    return objectness ? object * value : value;
}

template <class T>
struct YoloLoops {
    // label (candidates,) of one image x, or -1; false where there is a NaN
    bool (*best)(const YoloJob<T>&, const T* x, int64_t first, int64_t last, int32_t* label);
};
using YoloKernels = ByFloat<YoloLoops>;
const YoloKernels& yolo_kernels();

}  // namespace fastdet
