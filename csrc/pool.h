// Max-pooling and unpooling.
#pragma once

#include <cstdint>

namespace fastdet {

// The loops, compiled once per instruction set; see kernels.h.
struct PoolKernels {
    int none;
};

}  // namespace fastdet
