// Losses and their gradients: the loops. Compiled once per instruction set.
#include "losses.h"

#include "loops.h"

namespace fastdet {
namespace FASTDET_ISA {

const LossKernels losses_kernels = {0};

}  // namespace FASTDET_ISA
}  // namespace fastdet
