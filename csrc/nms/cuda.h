// Non-maximum suppression on a GPU: launchers. Pointers are the device's; nms.h has the rule and the options.
#pragma once

#include "boxes/order_boxes.h"
#include "cuda/call.h"
#include "nms/soft_nms.h"

namespace fastdet {

// The workspace depends on the options' threshold and kind.
template <class T, class S>
int64_t nms_workspace(int64_t n, bool keys, const NmsOptions& options);
template <class T, class S>
void nms_cuda(const Box<T>* boxes, const S* scores, const int64_t* keys, int64_t n, const NmsOptions& options,
              void* workspace, int64_t* keep, Status* status, cudaStream_t stream);

// keep and new_scores (n,); options.max_output as in soft_nms.
template <class T>
int64_t soft_nms_workspace(int64_t n, bool keys);
template <class T>
void soft_nms_cuda(const Box<T>* boxes, const T* scores, const int64_t* keys, int64_t n, const SoftOptions& options,
                   void* workspace, int64_t* keep, T* new_scores, Status* status, cudaStream_t stream);

// multiclass_nms in three parts, around nms of the candidates:
// entries (batch * n * classes,) <- those with a score above `score_threshold`, how many into status->count; the
// status' NaN are flat indices. Then count of them as boxes, scores and keys (image * classes + class). Then, with
// nms's keep and status, the padded result.
int64_t multiclass_workspace(int64_t entries);
template <class T, class S>
void multiclass_select_cuda(const Box<T>* boxes, const S* scores, int64_t batch, int64_t n, int64_t classes,
                            S score_threshold, void* workspace, int64_t* entries, Status* status, cudaStream_t stream);
template <class T, class S>
void multiclass_gather_cuda(const Box<T>* boxes, const S* scores, int64_t classes, const int64_t* entries,
                            int64_t count, int64_t per_image, Box<T>* candidates, S* values, int64_t* keys,
                            cudaStream_t stream);
template <class T, class S>
void multiclass_place_cuda(const Box<T>* candidates, const S* values, const int64_t* keys, const int64_t* keep,
                           const Status* status, int64_t batch, int64_t classes, int64_t max_output, Box<T>* out_boxes,
                           S* out_scores, int64_t* out_labels, int64_t* counts, cudaStream_t stream);

}  // namespace fastdet
