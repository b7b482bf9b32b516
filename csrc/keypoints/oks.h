// Object keypoint similarity (OKS), group by group; fastdet/keypoints/similarity.py has the reference.
#pragma once

#include <cstdint>
#include <vector>

namespace fastdet {

// Detections or true objects, and rows of them: those of group i are row[start[i]] to row[start[i + 1]].
struct KeypointGroups {
    const double* points;  // (n, K, 3) x y visibility
    const std::vector<int64_t>& row;
    const std::vector<int64_t>& start;
};
struct KeypointTruth {
    const double* areas;      // (n,)
    const double* boxes;      // (n, 4) x y w h
    const double* variances;  // (K,)
    int64_t K;
};

// Group after group, row-major.
void oks_of_groups(const KeypointGroups& d, const KeypointGroups& g, const KeypointTruth& truth, double* out);

}  // namespace fastdet
