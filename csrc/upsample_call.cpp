// Bilinear resampling: threads and scratch memory around the loops of upsample.cpp.
#include "upsample.h"

#include "kernels.h"
#include "memory.h"
#include "threads.h"

namespace fastdet {}  // namespace fastdet
