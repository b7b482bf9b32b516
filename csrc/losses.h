// Losses and their gradients.
#pragma once

#include <cstdint>

namespace fastdet {

// The loops, compiled once per instruction set; see kernels.h.
struct LossKernels {
    int none;
};

}  // namespace fastdet
