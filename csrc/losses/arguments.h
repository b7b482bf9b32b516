// Python's names of reductions and box losses, for the bindings of the CPU and of CUDA.
#pragma once

#include <stdexcept>
#include <string>

#include "losses/box_losses.h"
#include "losses/softmax_losses.h"

namespace fastdet {

inline Reduction reduction_of(const std::string& name) {
    static const char* const names[] = {"mean", "sum", "none"};
    for (int i = 0; i < 3; ++i) {
        if (name == names[i]) return Reduction(i);
    }
    throw std::invalid_argument("fastdet: unknown reduction " + name);
}

inline BoxLoss box_loss_of(const std::string& name) {
    static const char* const names[] = {"giou", "diou", "ciou"};
    for (int i = 0; i < 3; ++i) {
        if (name == names[i]) return BoxLoss(i);
    }
    throw std::invalid_argument("fastdet: unknown loss " + name);
}

}  // namespace fastdet
