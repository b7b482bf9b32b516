// RoI ops on a GPU: launchers. Pointers are the device's.
#pragma once

#include "cuda/call.h"
#include "roi/roi_align.h"

namespace fastdet {

// `job`: as for the CPU, but that levels and boxes are on the device. The forward pass writes 1 + k to *fault for the
// first box k that is refused, whose features are 0; `bad` is the device's scratch memory for that.
struct RoiCuda {
    RoiAlignJob job;
    bool own_channels;  // each bin has channels of its own: those of the map are (channel, bin)
    int64_t* bad;
    int64_t* fault;
};

template <class S>
void roi_align_cuda(const RoiCuda& call, cudaStream_t stream);
template <class S>
void roi_align_backward_cuda(const RoiCuda& call, cudaStream_t stream);
template <class S>
void roi_pool_cuda(const RoiCuda& call, int64_t* places, cudaStream_t stream);
// `sums`: (images, channels, height, width) in the type that is computed in. The fault is 1 + twice the row of a box,
// or 2 + twice the position of a place.
template <class S>
void roi_pool_backward_cuda(const RoiCuda& call, const int64_t* places, void* sums, cudaStream_t stream);
template <class S>
void ps_roi_pool_cuda(const RoiCuda& call, cudaStream_t stream);
template <class S>
void ps_roi_pool_backward_cuda(const RoiCuda& call, cudaStream_t stream);
// Of T: the type that the ops compute in. bounds: the host's.
template <class T>
void roi_levels_cuda(const T* boxes, int64_t count, const double* bounds, int n_bounds, int64_t* out,
                     cudaStream_t stream);

}  // namespace fastdet
