// Bilinear resampling: the loops. Compiled once per instruction set.
#include "upsample.h"

#include "loops.h"

namespace fastdet {
namespace FASTDET_ISA {

const UpsampleKernels upsample_kernels = {0};

}  // namespace FASTDET_ISA
}  // namespace fastdet
