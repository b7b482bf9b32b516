// Confusion matrices.
#pragma once

#include <cstdint>

namespace fastdet {

// The loops, compiled once per instruction set; see kernels.h.
struct ConfusionKernels {
    int none;
};

}  // namespace fastdet
