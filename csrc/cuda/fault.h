// What a kernel finds wrong with values (a label that is no class, an index outside the image), told without waiting:
// a number in the host's memory, that the device writes and the next call on a GPU looks at. See
// fastdet/_cuda_fault.py.
#pragma once

#include "cuda/call.h"

namespace fastdet {

// One number each. The names are in module_cuda.cpp.
enum class Fault : int {
    confusion_matrix,
    confusion_matrix_from_logits,
    cross_entropy,
    focal_loss,
    dice_loss,
    max_pool2d_backward,
    max_unpool2d,
    max_unpool2d_backward,
    count
};

// Where a kernel writes 1 + the code that the op's function on the CPU would return, if there is one to tell; 0: none.
// One aligned store of 8 bytes, so that calls of several streams do not mix. Page-locked memory of the process.
int64_t* fault_slot(Fault op);

}  // namespace fastdet
