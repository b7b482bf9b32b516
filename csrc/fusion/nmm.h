// Non-maximum merging: boxes that NMS would remove are kept with the box that claims them, and united with it.
#pragma once

#include <cstdint>
#include <vector>

#include "nms/nms.h"

namespace fastdet {

struct MergingRule {
    double threshold;
    Measure kind;     // iou or ios
    bool transitive;  // claimed boxes claim others for their group; else kept boxes alone claim
};

// Whether box a may claim box b, which comes later by score. Transitively, boxes of one score only if they are equal.
template <class T>
FASTDET_HD bool may_claim(const Box<T>& a, const Box<T>& b, bool tied, bool transitive) {
    return !transitive || !tied || (a.x1 == b.x1 && a.y1 == b.y1 && a.x2 == b.x2 && a.y2 == b.y2);
}

// The smallest box that holds both.
template <class T>
FASTDET_HD Box<T> unite(const Box<T>& a, const Box<T>& b) {
    return {lesser(a.x1, b.x1), lesser(a.y1, b.y1), greater(a.x2, b.x2), greater(a.y2, b.y2)};
}

template <class T>
struct MergedGroups {
    std::vector<Box<T>> boxes;  // (kept,) united
    std::vector<int64_t> keep;  // (kept,)
    int64_t* groups;            // (n,) the row of each box's group
    int64_t* order;             // (n,) all boxes group by group, in order of merging
    int64_t* parents;           // (n,) the box that claimed each, itself if none did
};

// keys (n,) may be null. T, S: float or double. Throws std::bad_alloc.
template <class T, class S>
void nmm(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const MergingRule& rule,
         MergedGroups<T>& out);

}  // namespace fastdet
