// Confusion matrices on a GPU: launchers. Pointers are the device's.
#pragma once

#include "cuda/call.h"
#include "segmentation/confusion_matrix.h"

namespace fastdet {

// (side, side) counts, which need not be zeros at first.
struct MatrixJob {
    int64_t* cells;
    int64_t side;
    bool each;        // a matrix for each image, one after the other; else one for all
    void* workspace;  // confusion_workspace() bytes
    int64_t* fault;  // 1 + the code that `confusion_matrix` returns goes here, if there is one; of the host's memory or
    bool clears;     // of the device's, where 0 is written first
};
int64_t confusion_workspace();

// Each of `images` has `pixels` of them, in rows of `width`.
void confusion_matrix_cuda(const LabelMap& target, const LabelMap& prediction, int64_t images, int64_t pixels,
                           int64_t width, const MatrixJob& job, cudaStream_t stream);
// The prediction is a map that has no labels; scores.taps and .tile are not used.
template <class S>
void confusion_matrix_from_logits_cuda(const LabelMap& target, const LabelMap& prediction, const Scores<S>& scores,
                                       int64_t images, const MatrixJob& job, cudaStream_t stream);

}  // namespace fastdet
