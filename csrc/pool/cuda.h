// Max-pooling, unpooling and their gradients on a GPU: launchers. Pointers are the device's; see max_pool2d.h and
// max_unpool2d.h for the jobs.
#pragma once

#include "cuda/call.h"
#include "cuda/fault.h"
#include "pool/max_unpool2d.h"

namespace fastdet {

void max_pool2d_cuda(const PoolJob& job, cudaStream_t stream);

// Bytes of workspace of the two below.
int64_t pool_places_workspace(const PlaceJob& job);
// An index outside the image is noted in `fault`, by its position in (N, C, rows, columns).
void max_unpool2d_cuda(const PlaceJob& job, void* workspace, int64_t* fault, cudaStream_t stream);
void max_unpool2d_backward_cuda(const PlaceJob& job, void* workspace, int64_t* fault, cudaStream_t stream);

}  // namespace fastdet
