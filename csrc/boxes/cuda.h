// The box operations on a GPU: launchers. Pointers are the device's; transforms.h and box_iou.h say what they
// compute.
#pragma once

#include "boxes/transforms.h"
#include "cuda/call.h"

namespace fastdet {

template <class T>
void box_area_cuda(const Box<T>* boxes, int64_t n, T* out, cudaStream_t stream);
template <class T>
void box_convert_cuda(const Box<T>* boxes, int64_t n, Format from, Format to, Box<T>* out, cudaStream_t stream);
template <class T>
void clip_boxes_to_image_cuda(const Box<T>* boxes, int64_t n, T height, T width, Box<T>* out, cudaStream_t stream);
// out = boxes with x2 and y2 moved by `offset`.
template <class T>
void extend_boxes_cuda(const Box<T>* boxes, int64_t n, T offset, Box<T>* out, cudaStream_t stream);

int64_t remove_small_workspace(int64_t n);
template <class T>
void remove_small_boxes_cuda(const Box<T>* boxes, int64_t n, T min_size, void* workspace, int64_t* keep, int64_t* count,
                             cudaStream_t stream);

// out (n, m), or (n,) if aligned; crowd (m,) may be null.
template <class T>
void box_iou_cuda(const Box<T>* a, int64_t n, const Box<T>* b, int64_t m, Measure kind, bool aligned, const bool* crowd,
                  double eps, T* out, cudaStream_t stream);

}  // namespace fastdet
