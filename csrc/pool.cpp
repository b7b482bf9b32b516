// Max-pooling and unpooling: the loops. Compiled once per instruction set.
#include "pool.h"

#include "loops.h"

namespace fastdet {
namespace FASTDET_ISA {

const PoolKernels pool_kernels = {0};

}  // namespace FASTDET_ISA
}  // namespace fastdet
