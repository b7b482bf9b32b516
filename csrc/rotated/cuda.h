// The ops of rotated boxes on a GPU: launchers. Pointers are the device's; the headers beside this one say what they
// compute. Boxes are rows of five numbers.
#pragma once

#include "boxes/order_boxes.h"
#include "cuda/call.h"
#include "rotated/nms_rotated.h"
#include "rotated/transforms.h"

namespace fastdet {

// out (n, m), or (n,) if aligned.
template <class T>
void box_iou_rotated_cuda(const T* a, int64_t n, const T* b, int64_t m, Angles angles, RotatedMeasure kind,
                          bool aligned, T* out, cudaStream_t stream);

template <class T>
void box_convert_rotated_cuda(const T* boxes, int64_t n, RotatedFormat from, RotatedFormat to, Angles given,
                              Angles wanted, T* out, cudaStream_t stream);

// points (n, count, 2), out (n, 5)
int64_t min_area_rect_workspace(int64_t n, int64_t count);
template <class T>
void min_area_rect_cuda(const T* points, int64_t n, int64_t count, Angles wanted, void* workspace, T* out,
                        cudaStream_t stream);

template <class T, class S>
int64_t nms_rotated_workspace(int64_t n, bool keys);
template <class T, class S>
void nms_rotated_cuda(const T* boxes, const S* scores, const int64_t* keys, int64_t n, const RotatedNmsOptions& options,
                      void* workspace, int64_t* keep, Status* status, cudaStream_t stream);

template <class T>
int64_t soft_nms_rotated_workspace(int64_t n, bool keys);
template <class T>
void soft_nms_rotated_cuda(const T* boxes, const T* scores, const int64_t* keys, int64_t n,
                           const RotatedSoftOptions& options, void* workspace, int64_t* keep, T* new_scores,
                           Status* status, cudaStream_t stream);

}  // namespace fastdet
