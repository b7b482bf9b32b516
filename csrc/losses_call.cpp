// Losses and their gradients: threads and scratch memory around the loops of losses.cpp.
#include "losses.h"

#include "kernels.h"
#include "memory.h"
#include "threads.h"

namespace fastdet {}  // namespace fastdet
