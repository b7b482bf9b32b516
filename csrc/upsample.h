// Bilinear resampling.
#pragma once

#include <cstdint>

namespace fastdet {

// The loops, compiled once per instruction set; see kernels.h.
struct UpsampleKernels {
    int none;
};

}  // namespace fastdet
