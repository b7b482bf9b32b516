// The sigmoid focal loss and its gradient.
#pragma once

#include <cstdint>

namespace fastdet {

enum class FloatType : int { half = 0, bfloat16 = 1, single = 2, twice = 3 };

struct SigmoidFocalJob {
    const void* inputs;   // (n,) of `type`
    const void* targets;  // (n,) of `type`, or of float where wide_targets
    FloatType type;
    bool wide_targets;
    double alpha, beta;  // weights of targets 1 and 0
    double gamma;
    double scale;  // of the gradient
    void* loss;    // (n,) of `type`; null where only the sum is wanted
    double* sums;  // one per kSumBlock values; null where the losses are wanted
    void* grad;    // (n,) of `type`; null without
};

// The loops, compiled once per instruction set; see kernels.h. `first` is a multiple of kSumBlock.
struct SigmoidFocalKernels {
    void (*run)(const SigmoidFocalJob& job, int64_t first, int64_t last);
};

// The whole call; returns the sum of the losses where `sum`. Throws std::bad_alloc.
double sigmoid_focal(SigmoidFocalJob job, int64_t n, bool sum);

}  // namespace fastdet
