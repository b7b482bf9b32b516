// Region proposals on a GPU: launchers. Pointers are the device's; the headers of the ops say what they compute.
#pragma once

#include "cuda/call.h"
#include "proposals/box_coder.h"
#include "proposals/match_boxes.h"

namespace fastdet {

// first: the lowest code of a wrong row, as encode_boxes gives it, or all bits set; of decode_boxes {deltas, anchors}.
template <class T>
void encode_boxes_cuda(const CoderJob<T>& job, int64_t n, int64_t* wrong, cudaStream_t stream);
template <class T>
void decode_boxes_cuda(const CoderJob<T>& job, int64_t n, int64_t* wrong, cudaStream_t stream);

// in_row (rows,) is scratch. wrong: the flat index of a NaN, or all bits set.
template <class T>
void match_boxes_cuda(const T* iou, int64_t rows, int64_t columns, T high, T low, bool allow_low_quality,
                      uint64_t* in_row, int32_t* best, int64_t* matches, int64_t* wrong, cudaStream_t stream);

constexpr int kMaxLevels = 16;

// The levels of a batch. A place counts the scores level by level, image by image; a position image by image, level by
// level, by falling score; a row the tops of levels, image by image.
template <class T>
struct CudaLevels {
    const T* scores[kMaxLevels];
    const T* deltas[kMaxLevels];
    const Box<T>* anchors[kMaxLevels];
    int64_t count[kMaxLevels];  // of anchors
    int64_t first_place[kMaxLevels + 1];
    int64_t first_anchor[kMaxLevels + 1];  // of an image's
    int64_t first_row[kMaxLevels + 1];     // of an image's
    int levels;
    int64_t images;
};

template <class T>
struct CudaProposals {
    const double* sizes;  // (images, 2) height and width
    T min_size, score_threshold, max_log_ratio;
    Box<T>* boxes;   // out: (rows of all images,); 0 for one that is dropped
    T* scores;       // out; -1 for one that is dropped
    int64_t* keys;   // out: image * levels + level
    int64_t* wrong;  // out: the lowest code of a NaN in the scores, and in others; all bits set for none
};

// The part of generate_proposals before NMS, of `places` scores, below 2^31.
template <class T>
int64_t propose_workspace(int64_t places);
template <class T>
void propose_cuda(const CudaLevels<T>& levels, const CudaProposals<T>& job, void* workspace, cudaStream_t stream);

}  // namespace fastdet
