// Max-pooling and unpooling: threads and scratch memory around the loops of pool.cpp.
#include "pool.h"

#include "kernels.h"
#include "memory.h"
#include "threads.h"

namespace fastdet {}  // namespace fastdet
