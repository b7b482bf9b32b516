// Confusion matrices: the loops. Compiled once per instruction set.
#include "confusion.h"

#include "loops.h"

namespace fastdet {
namespace FASTDET_ISA {

const ConfusionKernels confusion_kernels = {0};

}  // namespace FASTDET_ISA
}  // namespace fastdet
