// Non-maximum suppression of many boxes by rounds over near neighbours, for nms.cu.
#pragma once

#include "boxes/order_boxes.h"
#include "cuda/launch.h"
#include "nms/nms.h"

namespace fastdet {

template <class T>
struct Rule {
    T threshold;
    Measure kind;
    __device__ bool operator()(const Box<T>& a, const Box<T>& b) const {
        // boxes that do not meet have a metric of 0, which is above no threshold
        const T w = lesser(a.x2, b.x2) - greater(a.x1, b.x1), h = lesser(a.y2, b.y2) - greater(a.y1, b.y1);
        return w > 0 && h > 0 && suppresses(a, b, threshold, kind);
    }
};

// Whether nms_rounds serves these options. Only IoU above some threshold bounds sizes and distances well enough.
inline bool nms_in_rounds(int64_t n, double threshold, Measure kind) {
    return n > 4096 && kind == Measure::iou && threshold >= 0.02;
}

template <class T>
int64_t nms_rounds_workspace(int64_t n);
// flags, by rank: 0 at first, 1 where kept.
template <class T>
void nms_rounds(const Ordered<T>& ordered, int64_t n, const Rule<T>& rule, void* workspace, uint8_t* flags,
                cudaStream_t stream);

}  // namespace fastdet
