// Box fusion on a GPU: launchers. Pointers are the device's; fusion.h says what they compute.
#pragma once

#include "cuda/call.h"
#include "fusion/fusion.h"
#include "fusion/nmm.h"

namespace fastdet {

// The status of a call, in device memory. All bytes are 0xff at first, so that -1 means "none".
struct FusionStatus {
    int64_t nan_box, nan_score, infinite_box, infinite_score, negative_score;  // the first row over all models
    int64_t count;                                                             // of results
};

// Boxes in float64, of all models one after the other.
struct DeviceFusionInput {
    Box<double>* boxes;
    double* scores;
    int64_t* labels;
    int32_t* model;
};

int64_t fusion_input_bytes(int64_t n);
DeviceFusionInput fusion_input(void* memory, int64_t n);
// Rows [first, first + n) of the input. labels may be null. Clears the status with the first model.
template <class T, class S>
void fusion_gather_cuda(const Box<T>* boxes, const S* scores, const int64_t* labels, int64_t n, int32_t model,
                        int64_t first, const DeviceFusionInput& to, FusionStatus* status, cudaStream_t stream);

// Results by falling score; out_boxes, out_scores, groups: (n,), of which status->count are written (all groups are).
int64_t merge_boxes_workspace(int64_t n);
template <class T, class S>
void merge_boxes_cuda(const DeviceFusionInput& input, int64_t n, double threshold, Measure kind, void* workspace,
                      Box<T>* out_boxes, S* out_scores, int64_t* groups, FusionStatus* status, cudaStream_t stream);

struct FusionOptions {
    double threshold, min_score;  // boxes of a lower score are left out
    Confidence confidence;
    bool allows_overflow;
    const double* share;  // (models,), on the device
    int models;
    double share_sum, max_share;
};

int64_t weighted_boxes_fusion_workspace(int64_t n, int models);
template <class T, class S>
void weighted_boxes_fusion_cuda(const DeviceFusionInput& input, int64_t n, const FusionOptions& options,
                                void* workspace, Box<T>* out_boxes, S* out_scores, int64_t* out_labels,
                                FusionStatus* status, cudaStream_t stream);

// Non-maximum merging. out_boxes, out_scores and keep: (n,), of which status->count are written; groups, order and
// parents: (n,). The status' negative_score stays -1.
struct DeviceGroups {
    int64_t *keep, *groups, *order, *parents;
};

template <class T, class S>
int64_t nmm_workspace(int64_t n, bool keys, const MergingRule& rule);
template <class T, class S>
void nmm_cuda(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const MergingRule& rule,
              void* workspace, Box<T>* out_boxes, S* out_scores, const DeviceGroups& out, FusionStatus* status,
              cudaStream_t stream);

}  // namespace fastdet
