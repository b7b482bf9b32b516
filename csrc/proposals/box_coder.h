// The box coder: the formulas, for scalars and vectors, and what its loops work on. Compiled by g++ and nvcc.
//
// The reference in fastdet/proposals/coder.py has the same operations in the same order.
#pragma once

#include <cstdint>

#include "boxes/box.h"
#include "core/isa.h"

namespace fastdet {

template <class T>
struct BoxCoding {
    T weight[4];  // of dx, dy, dw, dh
    T limit;      // of dw and dh after the division by the weights; at most 87: exp stays finite
};

// out: corners of the box that lies `delta` from `anchor`; both have the order of their rows.
template <class V>
FASTDET_HD void decode_box(const V* anchor, const V* delta, const V* weight, V limit, V* out) {
    using lanes::where_ge;
    const V half = lanes::all<V>(0.5f);
    for (int axis = 0; axis < 2; ++axis) {
        const V side = anchor[axis + 2] - anchor[axis];
        const V centre = delta[axis] / weight[axis] * side + (anchor[axis] + half * side);
        const V log_ratio = delta[axis + 2] / weight[axis + 2];
        const V ratio = lanes::exp_or_zero(where_ge(limit, log_ratio, log_ratio, limit));
        const V reach = half * (ratio * side);
        out[axis] = centre - reach;
        out[axis + 2] = centre + reach;
    }
}

// out: how far `box` lies from `anchor`, whose sides are above 0.
template <class V>
FASTDET_HD void encode_box(const V* box, const V* anchor, const V* weight, V* out) {
    const V half = lanes::all<V>(0.5f);
    for (int axis = 0; axis < 2; ++axis) {
        const V side = anchor[axis + 2] - anchor[axis], own = box[axis + 2] - box[axis];
        const V offset = (box[axis] + half * own) - (anchor[axis] + half * side);
        out[axis] = weight[axis] * offset / side;
        out[axis + 2] = weight[axis + 2] * lanes::log_positive(own / side);
    }
}

// Whether something can be measured against an anchor; not one with a NaN.
template <class T>
FASTDET_HD bool has_area(const Box<T>& anchor) {
    const T w = anchor.x2 - anchor.x1, h = anchor.y2 - anchor.y1;
    return w > 0 && h > 0 && is_finite(w) && is_finite(h);
}

template <class T>
struct CoderJob {
    const T* rows;       // (n, 4) boxes to encode, or deltas to decode
    const T* anchors;    // (n / per_anchor, 4)
    int64_t per_anchor;  // rows of each anchor, one after the other
    BoxCoding<T> coding;
    T* out;  // (n, 4)
};

// Rows [first, last).
template <class T>
struct CoderLoops {
    void (*encode)(const CoderJob<T>&, int64_t first, int64_t last);
    void (*decode)(const CoderJob<T>&, int64_t first, int64_t last);
};
using CoderKernels = ByFloat<CoderLoops>;
const CoderKernels& box_coder_kernels();

// Both return -1, or for a wrong row 2 * its index in the rows, or that in the anchors, plus 1.

// A NaN in a box, or an anchor without an area: the lowest of those numbers.
template <class T>
int64_t encode_boxes(const CoderJob<T>& job, int64_t n);
// A NaN: those of the deltas come first.
template <class T>
int64_t decode_boxes(const CoderJob<T>& job, int64_t n);

}  // namespace fastdet
