// Soft-NMS: the call, and what its loops work on.
#pragma once

#include "nms/nms.h"

namespace fastdet {

struct SoftOptions {
    bool gaussian;
    double threshold, sigma, min_score;
    int64_t max_output;  // < 0: all
};

// Selected indices in order of selection and their scores, (n,) each; returns as nms does.
template <class T>
int64_t soft_nms(const Box<T>* boxes, const T* scores, const int64_t* keys, int64_t n, const SoftOptions& options,
                 int64_t* keep, T* new_scores);

// Boxes of one 64-byte vector, near ones together. Slots without a box that can overlap anything hold an empty box;
// those without any box have score -1.
template <class T>
struct Cluster {
    static constexpr int lanes = 64 / int(sizeof(T));
    T x1[lanes], y1[lanes], x2[lanes], y2[lanes];
    T share[lanes];  // of the area, as `Bound` makes it
    T score[lanes];
    int32_t index[lanes];
};

// Nodes of a tree over the clusters: a node of level 0 is a cluster, one of a higher level has as many children as a
// cluster has boxes. Arrays (padded,), `count` rounded up to whole clusters.
template <class T>
struct SoftLevel {
    int64_t count, padded;
    T *left, *top, *right, *bottom;  // the hull of its boxes that can still lose score
    T *wide, *high, *share;          // the largest width and height and the smallest share of those boxes
    T* best;                         // the best score
    int32_t* home;  // where it is: the child, or the slot of a cluster (-1: look); the lowest index of equals
};
constexpr int kSoftLevels = 12;

template <class T>
struct SoftJob {
    Cluster<T>* cluster;         // (clusters,) consumed
    int64_t clusters, ordinary;  // those from `ordinary` on hold extreme boxes, compared one by one
    SoftLevel<T> level[kSoftLevels];
    int levels;
    int32_t* near;   // scratch: (2, clusters)
    Bound<T> bound;  // an overlap under it leaves a score as it is
    bool gaussian;
    T threshold, sigma, min_score;
    int64_t limit;      // the maximum selected; < 0 for all
    int32_t* selected;  // (boxes,) out, the index of each selected box
    T* selected_score;  // (boxes,) out
    int64_t compared;   // out: pairs of boxes, or of a box and a hull
};

template <class T>
struct SoftNmsLoops {
    int64_t (*run)(SoftJob<T>&);  // boxes selected
};
using SoftNmsKernels = ByFloat<SoftNmsLoops>;
const SoftNmsKernels& soft_nms_kernels();

}  // namespace fastdet
