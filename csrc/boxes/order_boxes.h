// Order boxes by falling score, and by segment (the boxes of one key) and falling score within it.
#pragma once

#include "boxes/box.h"
#include "cuda/call.h"

namespace fastdet {

// The status of a call, in device memory. All bytes are 0xff at first, so that -1 means "none".
struct Status {
    int64_t nan_box, nan_score;  // the first row
    int64_t count;               // of results
};

// The input of the order. keys may be null: all boxes are one segment. With `score_threshold`, boxes whose score is not
// above it are flagged as dropped, and come last by score.
template <class T, class S>
struct Candidates {
    const Box<T>* boxes;
    const S* scores;
    const int64_t* keys;
    int64_t n;                 // below 2^31
    const S* score_threshold;  // on the host
};

// Boxes by position, that is, by segment and rank. Ranks are by falling score, equal scores: lower index first.
template <class T>
struct Ordered {
    int32_t* order;    // (n,) the box of each rank
    int32_t* rank;     // (n,) the rank of each position
    int32_t* start;    // (n,) the first position of each position's segment
    uint8_t* dropped;  // (n,)
    Box<T>* boxes;     // (n,)
};

constexpr int kChunk = 1024;  // positions that one block decides: see nms.cu

template <class T>
Ordered<T> take_ordered(Parts& parts, int64_t n) {
    Ordered<T> o;
    o.order = parts.take<int32_t>(n);
    o.rank = parts.take<int32_t>(n);
    o.start = parts.take<int32_t>(n);
    o.dropped = parts.take<uint8_t>(n);
    o.boxes = parts.take<Box<T>>(n);
    return o;
}

// Bytes of scratch memory for n boxes.
template <class S>
int64_t order_scratch(int64_t n, bool keys);

template <class T, class S>
void order_boxes(const Candidates<T, S>& input, void* scratch, const Ordered<T>& to, Status* status,
                 cudaStream_t stream);

}  // namespace fastdet
