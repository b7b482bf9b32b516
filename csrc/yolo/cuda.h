// YOLO's candidates on a GPU: launchers. Pointers are the device's; yolo_candidates.h says what they compute.
#pragma once

#include "boxes/order_boxes.h"
#include "yolo/yolo_job.h"

namespace fastdet {

// In two parts; the caller reads the number of candidates in between: places (entries,) <- image, candidate and class
// of each, in order, as one number, and their count into the status; its nan_box is the flat index of the first wrong
// value,
// its nan_score the first (image, candidate) whose box is infinite less infinite. Then count of them are written.
// Entries are one a candidate, or with multi_label one a candidate and class.
int64_t yolo_workspace(int64_t entries);
template <class T>
void yolo_look_cuda(const YoloJob<T>& job, bool multi_label, void* workspace, int64_t* places, Status* status,
                    cudaStream_t stream);
template <class T>
void yolo_write_cuda(const YoloJob<T>& job, bool multi_label, const void* workspace, const int64_t* places,
                     int64_t count, Box<T>* boxes, T* scores, int64_t* labels, int64_t* images, int64_t* rows,
                     int64_t* keys, cudaStream_t stream);

}  // namespace fastdet
