// Bilinear resampling on a GPU: launchers. Pointers are the device's; see upsample_bilinear.h for the job, without its
// cuts.
#pragma once

#include "cuda/call.h"
#include "upsample/upsample_bilinear.h"

namespace fastdet {

// S: as values are stored. Heights, and rows in values, below 2^30.
template <class S>
void upsample_bilinear_cuda(const UpsampleJob& job, cudaStream_t stream);
template <class S>
void upsample_bilinear_backward_cuda(const UpsampleJob& job, cudaStream_t stream);

}  // namespace fastdet
