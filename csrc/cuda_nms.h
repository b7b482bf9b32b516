// Non-maximum suppression on a GPU: launchers. Pointers are the device's; see nms.h for the rule and the options.
#pragma once

#include "cuda_call.h"
#include "cuda_order.h"
#include "nms.h"

namespace fastdet {

// nms in two halves, so that a caller who can wait may read how many steps there are (Status::depth + 1) in between;
// nms_steps(n) are always enough. Both halves take the same workspace.
template <class T, class S>
int64_t nms_workspace(int64_t n, bool keys);
int64_t nms_steps(int64_t n);
template <class T, class S>
void nms_begin_cuda(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const NmsOptions& options,
                    void* workspace, Status* status, cudaStream_t stream);
template <class T>
void nms_end_cuda(int64_t n, const NmsOptions& options, int64_t steps, void* workspace, int64_t* keep, Status* status,
                  cudaStream_t stream);

}  // namespace fastdet
