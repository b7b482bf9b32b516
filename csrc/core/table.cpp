// The table of one instruction set. Compiled once per instruction set.
#include "core/loops.h"

namespace fastdet {
namespace FASTDET_ISA {

#define FASTDET_NAME_(x) #x
#define FASTDET_NAME(x) FASTDET_NAME_(x)

template <class T>
constexpr Kernels<T> kernels_of = {box_iou<T>,  box_iou_aligned<T>, nms_dense<T>,
                                   nms_grid<T>, soft_nms<T>,        yolo_best<T>};

extern const KernelTable table;
const KernelTable table = {FASTDET_NAME(FASTDET_ISA), kernels_of<float>, kernels_of<double>,
                           &confusion_kernels,        &upsample_kernels, &pool_kernels,
                           &losses_kernels,           &box_loss_kernels, &sigmoid_focal_kernels};

}  // namespace FASTDET_ISA
}  // namespace fastdet
