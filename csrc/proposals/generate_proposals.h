// Proposals from the output of a region proposal network: the job, its loops, and the whole call.
#pragma once

#include "boxes/transforms.h"
#include "nms/nms.h"
#include "proposals/box_coder.h"

namespace fastdet {

// 1 / (1 + exp(-x)).
template <class V>
FASTDET_HD V sigmoid(V x) {
    using lanes::where_ge;
    const V zero = lanes::all<V>(0), one = lanes::all<V>(1);
    const V e = lanes::exp_or_zero(where_ge(x, zero, zero - x, x));
    return where_ge(x, zero, one, e) / (one + e);
}

// Anchors that were chosen, by columns, padded to whole vectors.
template <class T>
struct Chosen {
    T* anchor[4];
    T* delta[4];
    T* logit;
    T* box[4];  // out
    T* score;   // out
};

template <class T>
struct ProposalLoops {
    // Indices of the scores (n,) that are at least `from`, rising, into found (n,); returns how many. nan is set where
    // there is one.
    int64_t (*at_least)(const T* scores, int64_t n, T from, int32_t* found, bool* nan);
    // Decode n anchors and make scores of their logits; whole vectors.
    void (*decode)(const Chosen<T>& chosen, int64_t n, T limit);
};
using ProposalKernels = ByFloat<ProposalLoops>;
const ProposalKernels& generate_proposals_kernels();

template <class T>
struct ProposalLevel {
    const T* scores;        // (images, anchors)
    const T* deltas;        // (images, anchors, 4)
    const Box<T>* anchors;  // (anchors,)
    int64_t count;          // of anchors
};

template <class T>
struct ProposalJob {
    const ProposalLevel<T>* level;
    int64_t levels, images;
    const double* sizes;  // (images, 2) height and width
    int64_t pre_nms_top_n, post_nms_top_n;
    double iou_threshold, min_size, score_threshold, max_log_ratio;
    Box<T>* boxes;    // out: (images, post_nms_top_n), padded with 0
    T* scores;        // out: (images, post_nms_top_n), padded with 0
    int64_t* counts;  // out: (images,)
};

// Returns -1, or for a NaN 3 * its place + 0 in the scores, 1 in the deltas, 2 in the anchors: the lowest, those of
// scores first. A place counts the scores level by level, image by image. Throws std::bad_alloc.
template <class T>
int64_t generate_proposals(const ProposalJob<T>& job);

}  // namespace fastdet
