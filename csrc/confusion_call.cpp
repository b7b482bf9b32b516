// Confusion matrices: threads and scratch memory around the loops of confusion.cpp.
#include "confusion.h"

#include "kernels.h"
#include "memory.h"
#include "threads.h"

namespace fastdet {}  // namespace fastdet
