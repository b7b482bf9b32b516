// The loop of OKS that is compiled once per instruction set.
#pragma once

#include <cstdint>

namespace fastdet {

constexpr int64_t kOksStep = 8;  // rows of keypoints are padded to a multiple of this

// A true object. Rows of `padded` numbers, of which K count.
struct OksTruth {
    const double *x, *y, *variance;
    double scale;           // its area and the least step above 1
    bool by_box;            // distances are those to the box, not to the keypoints
    double x0, y0, x1, y1;  // the box enlarged to three times its size
};

struct OksLoops {
    // to[k]: the similarity of keypoint k of a detection
    void (*terms)(const double* x, const double* y, const OksTruth& truth, int64_t padded, double* to);
};
const OksLoops& oks_loops();

}  // namespace fastdet
