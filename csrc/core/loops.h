// The loops of one instruction set, each defined in the file of its op. setup.py compiles those files once per
// instruction set with -DFASTDET_ISA=name; table.cpp gathers them for isa.cpp to choose from.
#pragma once

#include "core/kernels.h"

namespace fastdet {
namespace FASTDET_ISA {

template <class T>
void box_iou(const IouJob<T>& job, int64_t first_row, int64_t last_row);
template <class T>
void box_iou_aligned(const Box<T>* a, const Box<T>* b, const T* crowd, int64_t n, Measure kind, T eps, T* out);
template <class T>
int64_t nms_dense(NmsJob<T>& job);
template <class T>
int64_t nms_grid(NmsJob<T>& job, int64_t first, bool fresh);
template <class T>
int64_t soft_nms(SoftJob<T>& job);
template <class T>
bool yolo_best(const YoloJob<T>& job, const T* x, int64_t first, int64_t last, int32_t* label);

extern const ConfusionKernels confusion_kernels;
extern const UpsampleKernels upsample_kernels;
extern const PoolKernels pool_kernels;
extern const LossKernels losses_kernels;
extern const BoxLossKernels box_loss_kernels;
extern const SigmoidFocalKernels sigmoid_focal_kernels;

}  // namespace FASTDET_ISA
}  // namespace fastdet
